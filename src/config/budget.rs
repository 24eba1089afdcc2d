//! `[budget]`: the upstream's limits.

use serde::Deserialize;

use super::{ConfigError, values};

/// The section.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Calls an hour, until the answers' headers tell the account's real limit.
    #[serde(deserialize_with = "values::given")]
    pub hourly_limit: u32,
    /// Calls within 30 seconds, likewise.
    #[serde(deserialize_with = "values::given")]
    pub burst_limit: u32,
    /// Share of both that is kept for people who are already signing (rule B2).
    #[serde(deserialize_with = "values::given")]
    pub reserve_percent: u32,
}

impl Budget {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        values::positive("budget.hourly_limit", &self.hourly_limit)?;
        values::positive("budget.burst_limit", &self.burst_limit)?;
        if self.reserve_percent > 90 {
            let fix = "write 90 or less";
            return Err(ConfigError::new("budget.reserve_percent", "leaves nothing for new work", fix));
        }
        Ok(())
    }
}
