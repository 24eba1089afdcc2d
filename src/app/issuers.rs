//! From the settings' issuers of tokens to `oidc`.

use std::collections::BTreeMap;

use crate::{
    app::from_settings::WRITE_CERTIFICATES,
    clock::SharedClock,
    config::{Config, ConfigError, Oidc},
    oidc::{Issuers, Settings, Source},
};

/// The issuers of these settings; those that are as `before` keep the keys they have read.
pub(super) fn issuers(
    config: &Config,
    before: &Issuers,
    clock: &SharedClock,
) -> Result<Issuers, ConfigError> {
    let all: BTreeMap<_, _> = config.oidc.iter().map(|(name, oidc)| (name.clone(), settings(oidc))).collect();
    Issuers::new(all, before, clock)
        .map_err(|error| ConfigError::new("oidc", error.to_string(), WRITE_CERTIFICATES))
}

fn settings(oidc: &Oidc) -> Settings {
    let source = match (&oidc.jwks_url, &oidc.jwks_file) {
        (Some(url), _) => Source::Url {
            url: url.clone(),
            ca_file: oidc.ca_file.clone(),
            token_file: oidc.token_file.clone(),
        },
        (None, file) => Source::File(file.clone().unwrap_or_default()),
    };
    Settings {
        issuer: oidc.issuer.clone(),
        audience: oidc.audience.clone(),
        algorithms: oidc.algorithms.iter().filter_map(|name| name.as_str().parse().ok()).collect(),
        source,
        refresh: oidc.refresh,
        max_age: oidc.max_age,
    }
}
