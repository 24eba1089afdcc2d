//! `[stop]`: how the daemon stops (rule H2).

use std::time::Duration;

use serde::Deserialize;

use super::values;

/// The section. Both times count from the signal.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// Not ready any more, but still accepting, so that load balancers can notice.
    #[serde(deserialize_with = "values::given")]
    pub grace: Duration,
    /// What is still running then is dropped, whatever the grace.
    #[serde(deserialize_with = "values::given")]
    pub deadline: Duration,
}
