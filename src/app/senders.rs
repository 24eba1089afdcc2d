//! From the settings' senders to `auth`, and from their state to health.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    app::{Parts, sender_events::News, sender_log::Said},
    auth::{
        Auth, FreshKeys, Impersonation, SenderStatus,
        consent::Consent,
        device::{DeviceKey, KeyUri, Module, UriError},
        identity::Scopes,
        key_ring::{KeyState, KeyStatus},
        signing_key::{self, KeySource},
        user_info::AccountChoice,
    },
    config::{self, Config, ConfigError, EXAMPLE_KEY_FINGERPRINT},
    domain::{SenderName, TemplateNames, template_names::Ids},
    esign,
    ops::{PartStatus, Reason, health::NOT_CONNECTED},
    pairing::Pairings,
};

/// The code of a sender that still lacks consent, because somebody else gave theirs.
const CONSENT_BY_OTHER: &str = "consent_by_another_user";
/// How often the senders' state is carried over to health.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often a sender that nobody uses is asked whether its consent still stands. A used one is asked by its
/// refreshes, every half hour.
const PROBE_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// Senders that are registered in one step: what that takes is small, and used again for the next.
const AT_ONCE: usize = 1_000;

/// Registers every sender; its keys are read now. Sends nothing.
pub(super) async fn register(auth: &Auth, config: &Config) -> Result<(), ConfigError> {
    let module = config.signer.pkcs11.as_ref().map(|it| Module::new(it.module.clone(), it.pin.clone()));
    let all: Vec<_> = config.senders.iter().collect();
    for some in all.chunks(AT_ONCE) {
        register_some(auth, some, module.as_ref()).await?;
    }
    if config.upstream.is_emulator() {
        return Ok(());
    }
    for name in auth.senders() {
        // One that left meanwhile has no key.
        let keys = auth.status(&name).map_or_else(|_| Vec::new(), |status| status.keys);
        refuse_example_key(&name, &keys)?;
    }
    Ok(())
}

/// What templates are called: in the settings, and by callers for the senders that they made.
pub(super) fn template_names(config: &Config, pairings: &Pairings) -> TemplateNames {
    let ids = |named: &BTreeMap<String, uuid::Uuid>| -> Ids {
        named.iter().map(|(name, id)| (name.clone(), id.to_string())).collect()
    };
    let own = config.senders.iter().filter(|(_, sender)| !sender.templates.is_empty());
    let own = own.map(|(name, sender)| (SenderName::new(name.as_str()), ids(&sender.templates)));
    let pairings = pairings.clone();
    TemplateNames::new(ids(&config.templates), own.collect())
        .and_of_made(move |sender, name| pairings.made(sender)?.templates().get(name).cloned())
}

/// Reads the keys of senders whose lists name other ones now; nothing changes yet. Senders that customers
/// connected or callers made, and whatever else a sender's table says, wait for the next start.
pub(super) async fn read_keys(auth: &Auth, config: &Config) -> Result<FreshKeys, ConfigError> {
    let module = config.signer.pkcs11.as_ref().map(|it| Module::new(it.module.clone(), it.pin.clone()));
    let mut wanted = Vec::with_capacity(config.senders.len());
    for (name, sender) in config.senders.iter().filter(|(_, sender)| sender.user_id.is_some()) {
        wanted.push((Arc::from(name.as_str()), key_sources(name, sender, module.as_ref())?));
    }
    let fresh = auth.read_keys(wanted).await.map_err(|(name, error)| unreadable(&name, &error))?;
    if !config.upstream.is_emulator() {
        fresh.statuses().try_for_each(|(name, keys)| refuse_example_key(name, &keys))?;
    }
    Ok(fresh)
}

fn unreadable(name: &str, error: &signing_key::Error) -> ConfigError {
    let fix = "write the path of an RSA private key in PEM, readable by this user only";
    ConfigError::new(format!("senders.{name}.keys"), error.to_string(), fix)
}

async fn register_some(
    auth: &Auth,
    senders: &[(&String, &config::Sender)],
    module: Option<&Arc<Module>>,
) -> Result<(), ConfigError> {
    let mut all = Vec::with_capacity(senders.len());
    for (name, sender) in senders {
        // A connectable sender has no user yet; `pairing` adds it.
        let Some(user_id) = sender.user_id else { continue };
        let scopes = Scopes::new(&sender.scopes).map_err(|error| {
            let setting = format!("senders.{name}.scopes");
            ConfigError::new(setting, error.to_string(), "see docs of DocuSign scopes")
        })?;
        let impersonation = Impersonation {
            integration_key: sender.integration_key.into(),
            user_id: user_id.into(),
            scopes,
            keys: key_sources(name, sender, module)?,
            account: AccountChoice::parse(sender.account.as_deref()),
        };
        all.push((Arc::from(name.as_str()), impersonation));
    }
    auth.register_all(all).await.map_err(|(name, error)| unreadable(&name, &error))
}

/// The key of `keys.example/` is public, so a real upstream must never trust it (rule S4).
fn refuse_example_key(name: &str, keys: &[KeyStatus]) -> Result<(), ConfigError> {
    let is_example = |key: &KeyStatus| {
        // Shown as "SHA256:" and the digest.
        key.fingerprint.is_some_and(|print| print.to_string().ends_with(EXAMPLE_KEY_FINGERPRINT))
    };
    if keys.iter().any(is_example) {
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
            Ok(KeySource::Device(Box::new(DeviceKey::new(Arc::clone(module), uri))))
        }
        config::KeySource::File(path) => Ok(KeySource::File(path.clone())),
        config::KeySource::Inline(text) => Ok(KeySource::Inline(text.clone())),
    };
    sender.keys.iter().enumerate().map(of).collect()
}

/// The keys of a connectable sender: files and values only, until a device is shared by all who use it.
pub(super) fn file_keys(name: &str, sender: &config::Sender) -> Result<Vec<KeySource>, ConfigError> {
    let of = |source: &config::KeySource| match source {
        config::KeySource::Device(_) => {
            let cause = "a connectable sender's key cannot be in a device";
            Err(ConfigError::new(format!("senders.{name}.keys"), cause, "name a PEM file"))
        }
        config::KeySource::File(path) => Ok(KeySource::File(path.clone())),
        config::KeySource::Inline(text) => Ok(KeySource::Inline(text.clone())),
    };
    sender.keys.iter().map(of).collect()
}

/// Senders that are minted for at start; of more, each when it is first used.
const AT_START: usize = 20;
/// What health calls very many senders together.
const TOGETHER: &str = "senders";
/// Senders that it names then.
const NAMED: usize = 5;

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
    let names = parts.auth.senders();
    let at_start: Vec<_> =
        names.into_iter().filter(|name| !is_unpaired(parts, name)).take(AT_START).collect();
    if at_start.is_empty() {
        // All of them wait for customers: there is no first token to wait for.
        parts.health.started();
    }
    for name in at_start {
        let (auth, esign) = (parts.auth.clone(), Arc::clone(&parts.esign));
        // The failure, if it is one, is in the sender's status; the refresher goes on by itself.
        parts.life.spawn_work("first token", async move {
            if auth.token(&name).await.is_ok() {
                // Known before the first call needs it: what names another account is refused unasked.
                let _ = esign.acting(&SenderName::new(Arc::clone(&name))).await;
                esign.keep_warm().await;
            }
        });
    }
    parts.repeat("warm connections", esign::WARM_EVERY, |parts| async move { parts.esign.keep_warm().await });
    let (parts, stopping) = (parts.clone(), parts.life.stopping());
    let task = {
        let parts = parts.clone();
        async move {
            let (mut news, mut said) = (News::default(), Said::default());
            let mut reported = BTreeSet::new();
            loop {
                reported = report_and_forget(&parts, &reported);
                said.tell(&parts);
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
            if probing.auth.is_crowded() {
                // Of very many senders the idle ones are left alone.
                continue;
            }
            for name in probing.auth.senders() {
                // What it finds is in the sender's status.
                let _ = probing.auth.probe(&name).await;
            }
        }
    };
    parts.life.spawn("consent probe", task);
}

/// Whether it waits for a customer, which is nobody's fault.
fn is_unpaired(parts: &Parts, name: &str) -> bool {
    parts.pairings.is_connectable(name) && parts.pairings.paired(&SenderName::new(name)).is_none()
}

/// Carries the senders' state over, and takes back what was said of senders that are gone, or that are spoken of
/// together by now. Answers the parts that were reported.
fn report_and_forget(parts: &Parts, before: &BTreeSet<String>) -> BTreeSet<String> {
    report_signer(parts);
    report_upstream(parts);
    report_audit(parts);
    let reasons = if parts.auth.is_crowded() { vec![together(parts)] } else { one_by_one(parts) };
    let now: BTreeSet<String> = reasons.iter().map(|reason| reason.part.clone()).collect();
    for reason in reasons {
        parts.health.set(reason);
    }
    for gone in before.difference(&now) {
        parts.health.forget(gone);
    }
    now
}

fn one_by_one(parts: &Parts) -> Vec<Reason> {
    let of = |status: &SenderStatus| {
        if is_unpaired(parts, &status.name) {
            let part = format!("sender.{}", status.name);
            let waits = Reason::new(part, PartStatus::Ready, "waits for a customer to connect it");
            return Reason { code: Some(NOT_CONNECTED), ..waits };
        }
        if status.has_token() {
            parts.health.started();
        }
        judge(status)
    };
    parts.auth.statuses().iter().map(of).collect()
}

/// While DocuSign leaves creates unanswered, callers are served all the same: what they ask for is queued
/// (rule H1).
fn report_upstream(parts: &Parts) {
    let (state, detail) = if parts.signings.is_upstream_away() {
        let detail = "DocuSign leaves creates unanswered: they are queued, and sent when it is back; it is asked \
                      every few seconds";
        (PartStatus::Degraded, detail)
    } else {
        (PartStatus::Ready, "answers, or has not been asked yet")
    };
    parts.health.set(Reason::new("upstream", state, detail));
}

/// What cannot be written down is not done (rule S6), whoever asks for it.
fn report_audit(parts: &Parts) {
    let audit = parts.signings.audit();
    if !audit.is_on() {
        return;
    }
    let reason = match audit.trouble() {
        Some(why) => Reason {
            code: Some("store_unavailable"),
            ..Reason::new(
                "audit",
                PartStatus::NotReady,
                format!("the audit log cannot be written, and so nothing is done: {why}"),
            )
        },
        None => Reason::new("audit", PartStatus::Ready, "can be written"),
    };
    parts.health.set(reason);
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

/// Of very many senders those in use count, together: one customer's trouble is not the daemon's, and it is
/// ready for as long as one of them can act. Each one's state is at `GET /v1/senders`.
fn together(parts: &Parts) -> Reason {
    let in_use = parts.auth.statuses_in_use();
    let in_use: Vec<_> = in_use.into_iter().filter(|status| !is_unpaired(parts, &status.name)).collect();
    let can_act = in_use.iter().filter(|status| status.has_token()).count();
    if can_act > 0 {
        parts.health.started();
    }
    let unwell: Vec<_> = in_use.iter().filter(|status| status.failure.is_some()).collect();
    if unwell.is_empty() {
        let detail = format!("{can_act} in use, all well");
        let well = Reason::new(TOGETHER, PartStatus::Ready, detail);
        // Of so many nobody is told which of them wait, and so nobody must take them for connected.
        let code = parts.pairings.has_connectable().then_some(NOT_CONNECTED);
        return Reason { code, ..well };
    }
    let named = unwell.iter().take(NAMED).filter_map(|status| {
        status.failure.as_ref().map(|failure| format!("{} ({})", status.name, failure.error.code()))
    });
    let named: Vec<_> = named.collect();
    let detail = format!(
        "{} of {} in use are in trouble, among them {}",
        unwell.len(),
        in_use.len(),
        named.join(", ")
    );
    let next_try = unwell.iter().filter_map(|status| Some(status.failure.as_ref()?.next_try)).min();
    let state = if can_act > 0 { PartStatus::Degraded } else { PartStatus::NotReady };
    Reason { next_try, ..Reason::new(TOGETHER, state, detail) }
}

/// What is wrong with a key, and what to do about it.
fn bad_key(key: &KeyStatus) -> Option<String> {
    let defect = key.defect.as_ref().map(|defect| format!("a key is bad: {defect}"));
    let print = key.fingerprint.filter(|_| key.state == KeyState::Rejected);
    let refused = || {
        let print = print?;
        Some(format!(
            "DocuSign refuses the key {print}: upload its public half to the app (Apps and Keys), or take it out of `keys`"
        ))
    };
    defect.or_else(refused)
}

/// An outage of the account server while a token is valid is degraded, not unready (rule H1).
fn judge(status: &SenderStatus) -> Reason {
    let part = format!("sender.{}", status.name);
    let has_only_that = status.has_token() || status.failure.is_none();
    if let Some(error) = status.misplaced.as_ref().filter(|_| has_only_that) {
        let cause =
            std::error::Error::source(&**error).map_or_else(|| error.to_string(), ToString::to_string);
        let detail = format!("{cause} ({}): {}", error.code(), error.fix());
        return Reason { code: Some(error.code()), ..Reason::new(part, PartStatus::NotReady, detail) };
    }
    if status.is_idle() {
        return Reason::new(part, PartStatus::Ready, "idle; a token is minted when somebody asks");
    }
    let failure = status.failure.as_ref();
    let why = failure
        .map(|failure| format!("{} ({}): {}", failure.error, failure.error.code(), failure.error.fix()));
    let is_missing = status.consent == Consent::Missing;
    let bad_key = status.keys.iter().find_map(bad_key);
    let (state, detail) = match (status.has_token(), why) {
        (true, None) => match &bad_key {
            Some(why) => (PartStatus::Degraded, format!("the token is valid, but {why}")),
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
        .or(bad_key.map(|_| "key_rejected"));
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
