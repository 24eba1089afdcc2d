//! `[otel]`: traces.

use std::path::PathBuf;

use serde::Deserialize;
use url::Url;

use super::{ConfigError, values};

/// The section.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Otel {
    /// Where traces go, OTLP over HTTP; none: nowhere.
    #[serde(default, deserialize_with = "values::maybe")]
    pub endpoint: Option<Url>,
    /// The CA of the endpoint; none: the operating system's.
    #[serde(default, deserialize_with = "values::maybe")]
    pub ca_file: Option<PathBuf>,
}

impl Otel {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(endpoint) = &self.endpoint
            && endpoint.scheme() != "https"
            && !values::is_loopback(endpoint)
        {
            let fix = "use https, or a collector on this machine";
            return Err(ConfigError::new("otel.endpoint", "plain http outside of loopback", fix));
        }
        self.ca_file.as_ref().map_or(Ok(()), |path| values::readable("otel.ca_file", path))
    }
}
