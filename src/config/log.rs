//! `[log]`: logging.

use serde::Deserialize;
use tracing::level_filters::LevelFilter;

use super::values;

/// The section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// How much of our own doings is logged.
    #[serde(deserialize_with = "values::given")]
    pub level: LevelFilter,
    /// For whom.
    pub format: LogFormat,
}

/// For whom logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// People at a terminal.
    Human,
    /// Programs: one JSON object a line.
    Json,
}
