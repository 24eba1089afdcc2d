//! `[signer]`: the isolated signer.

use serde::Deserialize;

use super::values;

/// The section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// Whether private keys live in a child process of their own; key files are read there alone.
    #[serde(deserialize_with = "values::given")]
    pub isolate: bool,
}
