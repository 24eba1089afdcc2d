//! From the settings' connectable senders to [`Pairings`], and the task that keeps up with other daemons.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    app::{Dependencies, Parts},
    auth::{Auth, user_info::AccountChoice},
    config::{Config, ConfigError, ConnectForm},
    esign,
    pairing::{self, Connectable, Form, PairingTickets, Pairings, RENEW_EVERY, SYNC_EVERY, Unused},
    telemetry::{
        chain,
        lasting_trouble::{LastingTrouble, Say},
    },
};

/// Puts the pairings together; nothing is read yet.
pub(super) fn pairings(
    config: &Config,
    auth: &Auth,
    esign: &Arc<esign::Client>,
    given: &Dependencies,
    tickets: &PairingTickets,
) -> Result<Pairings, ConfigError> {
    let (esign, wearing) = (Arc::clone(esign), Arc::clone(esign));
    Ok(Pairings::new(pairing::Dependencies {
        auth: auth.clone(),
        store: Arc::clone(&given.store),
        clock: Arc::clone(&given.clock),
        tickets: tickets.clone(),
        audit: given.audit.clone(),
        life: given.life.clone(),
        connectable: connectable(config)?,
        on_change: Box::new(move |sender| esign.forget(sender)),
        on_brand: Box::new(move |sender, brand| wearing.wear(sender, brand.map(str::to_owned))),
    }))
}

fn connectable(config: &Config) -> Result<BTreeMap<String, Arc<Connectable>>, ConfigError> {
    let mut all = BTreeMap::new();
    for (name, sender) in &config.senders {
        let Some(form) = sender.connect else { continue };
        let connectable = Connectable {
            form: form_of(form),
            integration_key: sender.integration_key.into(),
            secret: sender.client_secret.clone(),
            scopes: super::senders::scopes(name, sender)?,
            keys: super::senders::file_keys(name, sender)?,
            account: AccountChoice::parse(sender.account.as_deref()),
        };
        all.insert(name.clone(), Arc::new(connectable));
    }
    Ok(all)
}

/// How a sender that is connectable in this way comes by its tokens.
pub(crate) fn form_of(connect: ConnectForm) -> Form {
    match connect {
        ConnectForm::Code => Form::Code,
        ConnectForm::Impersonation => Form::Impersonation,
    }
}

/// Takes up what other daemons pair, for as long as this one runs.
pub(super) fn watch(parts: &Parts) {
    let (started, stopping) = (parts.clone(), parts.life.stopping());
    parts.life.spawn("unused connections", async move {
        tokio::select! {
            () = stopping.cancelled() => {}
            () = tell_of_unused(&started) => {}
        }
    });
    let trouble = Arc::new(LastingTrouble::default());
    parts.repeat("pairings", SYNC_EVERY, move |parts| {
        let trouble = Arc::clone(&trouble);
        async move { sync(&parts, &trouble).await }
    });
    parts.repeat("idle connections", RENEW_EVERY, |parts| async move {
        if let Err(error) = parts.pairings.renew_idle().await {
            tracing::warn!(error = %chain(&error), "cannot look for idle connections");
        }
    });
}

/// Says once whose refresh tokens are kept for nobody.
async fn tell_of_unused(parts: &Parts) {
    match parts.pairings.unused().await {
        Ok(None) => {}
        Ok(Some(unused)) => tracing::warn!(
            senders = %unused,
            fix = Unused::FIX,
            "refresh tokens are kept for senders that the settings do not let act by them"
        ),
        Err(error) => tracing::warn!(error = %chain(&error), "cannot look for unused connections"),
    }
}

async fn sync(parts: &Parts, trouble: &LastingTrouble) {
    let synced = parts.pairings.sync().await;
    match trouble.note(&synced, parts.clock.uptime()) {
        Some(Say::Fails(error)) => {
            tracing::warn!(error = %chain(error), "cannot look who is connected: trying again");
        }
        Some(Say::Over(lasted)) => {
            tracing::info!(seconds = lasted.as_secs(), "it can be looked again who is connected");
        }
        None => {}
    }
}
