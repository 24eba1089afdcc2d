//! `[audit]`: the hash-chained log of what the key was used for (rule S6).

use std::path::PathBuf;

use serde::Deserialize;

use super::values;

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The file; none: there is no log.
    #[serde(default, deserialize_with = "values::maybe")]
    pub file: Option<PathBuf>,
    /// Whether each line is to survive a power cut before its effect begins.
    #[serde(deserialize_with = "values::given")]
    pub sync: bool,
}
