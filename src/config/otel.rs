//! `[otel]`: traces.

use serde::Deserialize;
use url::Url;

use super::values;

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otel {
    /// Where traces go, OTLP over HTTP; none: nowhere.
    #[serde(default, deserialize_with = "values::maybe")]
    pub endpoint: Option<Url>,
}
