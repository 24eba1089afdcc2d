//! SIGHUP: what can change without a restart (rule H3).
//!
//! Callers and their issuers, webhooks, what proves Connect deliveries, the operators' password, the log level,
//! the listeners' certificates, and the senders' key files. Everything else of new settings is checked,
//! too, and waits for the next start: listeners, the store and the upstream hold connections that nobody
//! wants to lose to a reload.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use secrecy::ExposeSecret as _;

use crate::{
    app::{Parts, events},
    config::{self, Config},
    domain::{CallerName, EventKind, Private},
    events::{Endpoints, FromSettings, webhooks::Targets},
};

impl Parts {
    /// Takes up new settings, as far as that is possible without a restart. Whatever fails leaves
    /// everything as it was.
    pub async fn reload(&self, config: &Config) -> anyhow::Result<()> {
        // First what can fail.
        let issuers = super::issuers::issuers(config, &self.callers.issuers(), &self.clock)?;
        let targets = Targets { plain_loopback: config.upstream.is_emulator() };
        let endpoints = Endpoints::new(Arc::clone(&self.store), Arc::clone(&self.clock), targets);
        let callers: Vec<_> = config.callers.keys().map(|name| CallerName::new(name.as_str())).collect();
        endpoints.apply(&webhooks(config), &callers).await?;
        self.certificates.reload(config, &self.clock)?;
        events::prove(&self.inbox, &config.connect, &issuers);
        self.callers.replace(&config.callers, issuers);
        self.password.replace(config.ops.operator_password_hash.clone());
        // A sender whose keys are broken says so in its status.
        self.auth.wake_those_in_use().await;
        Ok(())
    }
}

/// The receivers of the settings, as `events` wants them.
pub(super) fn webhooks(config: &Config) -> Vec<FromSettings> {
    config.webhooks.iter().map(|(name, webhook)| receiver(name, webhook)).collect()
}

fn receiver(name: &str, webhook: &config::Webhook) -> FromSettings {
    let secret = |text: &secrecy::SecretString| {
        let bytes = text.expose_secret().strip_prefix("whsec_").and_then(|text| BASE64.decode(text).ok());
        bytes.expect("the settings checked the form")
    };
    let events = webhook.events.iter().flatten();
    FromSettings {
        name: name.to_owned(),
        url: webhook.url.to_string(),
        secrets: Private::new(webhook.secrets.iter().map(secret).collect()),
        events: events.filter_map(|word| EventKind::parse(word)).collect(),
        allow_private: webhook.allow_private,
    }
}

/// Says in the log how far the audit log has come: against this, missing lines at its end show.
pub(super) fn note_head(parts: &Parts, what: &str) {
    if let Some(head) = parts.signings.audit().head() {
        tracing::info!(%head, "the audit log {what}");
    }
}
