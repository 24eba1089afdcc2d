//! From the settings of the public listener to its router.

use std::sync::Arc;

use axum::{Router, middleware::from_fn_with_state};

use crate::{
    api::middleware::{Asking, Watch, watch},
    app::Parts,
    config::{Config, ConfigError, Sender},
    public::{self, Dependencies, PATHS, Proxies, Public, Settings},
    theme::{Logo, Theme},
};

/// How the public side is set up; none if it is off.
pub(super) fn settings(config: &Config) -> Result<Option<Settings>, ConfigError> {
    let Some(origin) = &config.public.base_url else { return Ok(None) };
    let brand = &config.public.brand;
    let logo = brand.logo_file.as_ref().map(|path| {
        let bytes = std::fs::read(path).map_err(|error| {
            let fix = "give the path of an .svg or .png file that this user may read";
            ConfigError::new("public.brand.logo_file", format!("cannot be read: {error}"), fix)
        })?;
        let is_svg = path.extension().is_some_and(|kind| kind == "svg");
        Ok(if is_svg { Logo::Svg(bytes) } else { Logo::Png(bytes) })
    });
    let theme = Theme::new(&brand.name, &brand.color, &brand.background, logo.transpose()?)
        .map_err(|error| ConfigError::new("public.brand", error.to_string(), "write such as \"#1f4f8f\""))?;
    let origin = origin.as_str().to_owned();
    let proxies = Proxies::new(config.public.trusted_proxies.clone(), config.public.proxy_header);
    let secret_of = |(name, sender): (&String, &Sender)| Some((name.clone(), sender.client_secret.clone()?));
    let client_secrets = config.senders.iter().filter_map(secret_of).collect();
    Ok(Some(Settings { origin, theme, loopback: config.upstream.is_emulator(), proxies, client_secrets }))
}

/// The public listener's router, watched like the others.
pub(super) fn router(parts: &Parts, settings: Settings, connect: Router) -> Router {
    let public = Public::new(Dependencies {
        signings: parts.signings.clone(),
        auth: parts.auth.clone(),
        consents: parts.secrets.consents.clone(),
        pairings: parts.pairings.clone(),
        results: Arc::clone(&parts.secrets.results),
        tickets: parts.secrets.tickets.clone(),
        metrics: Arc::clone(&parts.metrics),
        clock: Arc::clone(&parts.clock),
        life: parts.life.clone(),
        settings,
    });
    let watcher = Watch::new(
        Asking::Browsers,
        PATHS,
        Arc::clone(&parts.metrics),
        parts.tracer.clone(),
        Arc::clone(&parts.clock),
    );
    public::router(public, connect).layer(from_fn_with_state(watcher, watch))
}
