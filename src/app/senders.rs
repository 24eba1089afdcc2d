//! From the settings' senders to `auth`, and from their state to health.

use std::{sync::Arc, time::Duration};

use crate::{
    app::{Parts, sender_events::News},
    auth::{
        Auth, Impersonation, SenderStatus,
        consent::Consent,
        device::{DeviceKey, KeyUri, Module, UriError},
        identity::Scopes,
        key_ring::KeyStatus,
        signing_key::KeySource,
        user_info::AccountChoice,
    },
    config::{self, Config, ConfigError, EXAMPLE_KEY_FINGERPRINT},
    domain::SenderName,
    ops::{PartStatus, Reason},
};

/// The code of a sender that still lacks consent, because somebody else gave theirs.
const CONSENT_BY_OTHER: &str = "consent_by_another_user";
/// How often the senders' state is carried over to health.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a sender that nobody uses is asked whether its consent still stands. A used one is asked by its
/// refreshes, every half hour.
const PROBE_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// Registers every sender; its keys are read now. Sends nothing.
pub(super) async fn register(auth: &Auth, config: &Config) -> Result<(), ConfigError> {
    let module = config.signer.pkcs11.as_ref().map(|it| Module::new(it.module.clone(), it.pin.clone()));
    for (name, sender) in &config.senders {
        let setting = |key: &str| format!("senders.{name}.{key}");
        let scopes = Scopes::new(&sender.scopes).map_err(|error| {
            ConfigError::new(setting("scopes"), error.to_string(), "see docs of DocuSign scopes")
        })?;
        let impersonation = Impersonation {
            integration_key: sender.integration_key.into(),
            user_id: sender.user_id.into(),
            scopes,
            keys: key_sources(name, sender, module.as_ref())?,
            account: AccountChoice::parse(sender.account.as_deref()),
        };
        auth.register(name, impersonation).await.map_err(|error| {
            let fix = "write the path of an RSA private key in PEM, readable by this user only";
            ConfigError::new(setting("keys"), error.to_string(), fix)
        })?;
        if !config.upstream.is_emulator() {
            refuse_example_key(auth, name)?;
        }
    }
    Ok(())
}

/// The key of `keys.example/` is public, so a real upstream must never trust it (rule S4).
fn refuse_example_key(auth: &Auth, name: &str) -> Result<(), ConfigError> {
    let status = auth.status(name).ok();
    let is_example = |key: &KeyStatus| {
        // Shown as "SHA256:" and the digest.
        key.fingerprint.is_some_and(|print| print.to_string().ends_with(EXAMPLE_KEY_FINGERPRINT))
    };
    if status.is_some_and(|status| status.keys.iter().any(is_example)) {
        let cause = "this is the example key, which everybody has";
        return Err(ConfigError::new(
            format!("senders.{name}.keys"),
            cause,
            "make one with `countersign keygen`",
        ));
    }
    Ok(())
}

/// The keys as `auth` names them.
fn key_sources(
    sender_name: &str,
    sender: &config::Sender,
    module: Option<&Arc<Module>>,
) -> Result<Vec<KeySource>, ConfigError> {
    let of = |(index, source): (usize, &config::KeySource)| match source {
        config::KeySource::Device(uri) => {
            let wrong = |cause: String| {
                let fix = "write pkcs11:token=NAME;object=LABEL, and build with --features pkcs11";
                ConfigError::new(format!("senders.{sender_name}.keys.{index}"), cause, fix)
            };
            if !Module::is_built() {
                return Err(wrong("this binary was built without the feature pkcs11".to_owned()));
            }
            let uri: KeyUri = uri.parse().map_err(|error: UriError| wrong(error.to_string()))?;
            let module = module.ok_or_else(|| wrong("no PKCS#11 module is set".to_owned()))?;
            Ok(KeySource::Device(DeviceKey::new(Arc::clone(module), uri)))
        }
        config::KeySource::File(path) => Ok(KeySource::File(path.clone())),
        config::KeySource::Inline(text) => Ok(KeySource::Inline(text.clone())),
    };
    sender.keys.iter().enumerate().map(of).collect()
}

/// Mints the first tokens, and keeps health up to date with the senders' state.
pub(super) fn watch(parts: &Parts) {
    if let Some(signer) = parts.auth.signer_process() {
        // It was up before the log was: its keeper could not say this.
        tracing::info!(
            signer.pid = signer.pid,
            signer.memory_locked = signer.is_memory_locked,
            signer.own_network = signer.has_own_network,
            "the signer process holds the private keys"
        );
    }
    for name in parts.auth.senders() {
        let (auth, esign) = (parts.auth.clone(), Arc::clone(&parts.esign));
        // The failure, if it is one, is in the sender's status; the refresher goes on by itself.
        parts.life.spawn_work("first token", async move {
            if auth.token(&name).await.is_ok() {
                // Known before the first call needs it: what names another account is refused unasked.
                let _ = esign.acting(&SenderName::new(Arc::clone(&name))).await;
            }
        });
    }
    let (parts, stopping) = (parts.clone(), parts.life.stopping());
    let task = {
        let parts = parts.clone();
        async move {
            let mut news = News::default();
            loop {
                report(&parts);
                news.tell(&parts).await;
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = parts.clock.sleep(LOOK_EVERY) => {}
                }
            }
        }
    };
    parts.life.spawn("sender health", task);
    let (probing, stopping) = (parts.clone(), parts.life.stopping());
    let task = async move {
        loop {
            tokio::select! {
                () = stopping.cancelled() => return,
                () = probing.clock.sleep(PROBE_EVERY) => {}
            }
            for name in probing.auth.senders() {
                // What it finds is in the sender's status.
                let _ = probing.auth.probe(&name).await;
            }
        }
    };
    parts.life.spawn("consent probe", task);
}

fn report(parts: &Parts) {
    report_signer(parts);
    for status in parts.auth.statuses() {
        if status.has_token() {
            parts.health.started();
        }
        parts.health.set(judge(&status));
    }
}

/// Without its signer process a sender still acts, until its token needs another signature.
fn report_signer(parts: &Parts) {
    let Some(signer) = parts.auth.signer_process() else { return };
    let (state, detail) = if let Some(pid) = signer.pid {
        (PartStatus::Ready, format!("process {pid} holds the private keys"))
    } else {
        let why = signer.last_end.as_deref().unwrap_or("it is being started");
        (PartStatus::Degraded, format!("the process that holds the private keys is gone: {why}"))
    };
    parts.health.set(Reason { next_try: signer.next_try, ..Reason::new("signer", state, detail) });
}

/// An outage of the account server while a token is valid is degraded, not unready (rule H1).
fn judge(status: &SenderStatus) -> Reason {
    let part = format!("sender.{}", status.name);
    if status.is_idle() {
        return Reason::new(part, PartStatus::Ready, "idle; a token is minted when somebody asks");
    }
    let failure = status.failure.as_ref();
    let why = failure
        .map(|failure| format!("{} ({}): {}", failure.error, failure.error.code(), failure.error.fix()));
    let is_missing = status.consent == Consent::Missing;
    let defect = status.keys.iter().find_map(|key| key.defect.as_ref());
    let (state, detail) = match (status.has_token(), why) {
        (true, None) => match defect {
            Some(defect) => (PartStatus::Degraded, format!("the token is valid, but a key is bad: {defect}")),
            None => (PartStatus::Ready, "acts with a valid token".to_owned()),
        },
        (true, Some(why)) => (PartStatus::Degraded, format!("the token is valid, its refresh fails: {why}")),
        (false, Some(why)) => (PartStatus::NotReady, why),
        (false, None) if is_missing => (PartStatus::NotReady, "consent is missing".to_owned()),
        (false, None) => (PartStatus::NotReady, "no token yet".to_owned()),
    };
    let code = failure
        .map(|failure| failure.error.code())
        .or(is_missing.then_some("consent_required"))
        .or(defect.map(|_| "key_rejected"));
    let reason = Reason {
        code,
        next_try: failure.map(|failure| failure.next_try),
        ..Reason::new(part, state, detail)
    };
    match (status.consented_by_other, status.user_id) {
        (Some(other), Some(user)) if is_missing => Reason {
            code: Some(CONSENT_BY_OTHER),
            detail: format!(
                "user {other} consented, and the sender acts as user {user}: sign out of DocuSign, open the \
                 consent link again as that user, or set senders.{}.user_id to the one who consented",
                status.name
            ),
            ..reason
        },
        _ => reason,
    }
}
