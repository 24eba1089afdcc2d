//! From the senders' state to health, log and events; and their first tokens.
//!
//! It must ask nobody for what `auth` knows already: it looks twice a second, and when a first token is there or cannot
//! be had. `auth` decides when a consent that is missing is looked for again (rule T11).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::{
    app::{Parts, sender_events::News, sender_log::Said},
    auth::{
        Error, Kind, SenderStatus,
        consent::Consent,
        key_ring::{KeyState, KeyStatus},
    },
    clock::later,
    domain::SenderName,
    esign,
    ops::{
        Reason, Status,
        health::{NOT_CONNECTED, SENDERS, sender_part},
    },
    signing::HeldUp,
};

/// The code of a sender one of whose keys DocuSign refuses.
const KEY_REJECTED: &str = "key_rejected";
/// The code of a sender whose tokens DocuSign refuses one after the other: `provider_unavailable` to callers, which may
/// be anything.
const TOKEN_REFUSED: &str = "token_refused";
/// How often the senders' state is carried over to health.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Senders that are minted for at start; of more, each when it is first used.
const AT_START: usize = 20;
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
    let tried = Arc::new(Notify::new());
    for name in at_start {
        let (auth, esign) = (parts.auth.clone(), Arc::clone(&parts.esign));
        let (health, tried) = (parts.health.clone(), Arc::clone(&tried));
        // The failure, if it is one, is in the sender's status; the refresher goes on by itself.
        parts.life.spawn_work("first token", async move {
            let is_there = auth.token(&name).await.is_ok();
            if is_there {
                health.started();
            }
            // Callers may act from now on, and health is not to deny it until the next look.
            tried.notify_one();
            if is_there {
                // Known before the first call needs it: what names another account is refused unasked.
                let _ = esign.acting(&SenderName::new(Arc::clone(&name))).await;
                esign.keep_warm().await;
            }
        });
    }
    parts.repeat("warm connections", esign::WARM_EVERY, |parts| async move { parts.esign.keep_warm().await });
    let (looking, stopping) = (parts.clone(), parts.life.stopping());
    let task = async move {
        let (mut news, mut said) = (News::default(), Said::default());
        let mut reported = BTreeSet::new();
        loop {
            reported = report_and_forget(&looking, &reported);
            hasten_creates(&looking, said.tell(&looking));
            news.tell(&looking).await;
            tokio::select! {
                () = stopping.cancelled() => return,
                () = tried.notified() => {}
                () = looking.clock.sleep(LOOK_EVERY) => {}
            }
        }
    };
    parts.life.spawn("sender health", task);
}

/// What was accepted for senders that begin to act is not to wait for the round in which they would be tried again.
fn hasten_creates(parts: &Parts, acting: Vec<SenderName>) {
    if acting.is_empty() {
        return;
    }
    let signings = parts.signings.clone();
    // Apart: a store that hangs must not keep health from being told.
    parts.life.spawn_work("creates of senders that act", async move { signings.hasten(&acting).await });
}

/// Whether it waits for a customer, which is nobody's fault.
pub(super) fn is_unpaired(parts: &Parts, name: &str) -> bool {
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
            let part = sender_part(&status.name);
            let waits = Reason::new(part, Status::Ready, "waits for a customer to connect it");
            return Reason { code: Some(NOT_CONNECTED), ..waits };
        }
        if status.has_token() {
            parts.health.started();
        }
        parts.auth.look_for_consent(&status.name);
        judge(status)
    };
    parts.auth.statuses().iter().map(of).collect()
}

/// While DocuSign leaves calls unanswered, callers are served all the same: what they ask for is queued (rule H1).
fn report_upstream(parts: &Parts) {
    let is_silent = parts.esign.is_upstream_silent();
    // Nobody who was not asked has left anything unanswered.
    if let Some(held_up) = parts.signings.held_up().filter(|_| !is_silent) {
        parts.health.set(not_asked(&held_up, parts.clock.now()));
        return;
    }
    let (state, detail) = if parts.signings.is_upstream_away() {
        let detail = "DocuSign leaves creates unanswered: they are queued, and sent when it is back; it is asked \
                      every few seconds";
        (Status::Degraded, detail)
    } else if is_silent {
        let detail = "DocuSign did not answer when it was last asked; it is asked again every few seconds, and what \
                      cannot be sent is queued";
        (Status::Degraded, detail)
    } else {
        (Status::Ready, "answers, or has not been asked yet")
    };
    let next_try = (state == Status::Degraded).then(|| soon(parts.clock.now()));
    parts.health.set(Reason { next_try, ..Reason::new("upstream", state, detail) });
}

/// When DocuSign is asked again at the latest: hosts are asked so often, and a create that waits more often.
fn soon(now: Timestamp) -> Timestamp {
    later(now, esign::WARM_EVERY)
}

/// Creates were left unanswered, and whether DocuSign is back is not known: the last try to find out did not come to ask it.
fn not_asked(held_up: &HeldUp, now: Timestamp) -> Reason {
    let HeldUp { code, why, until } = held_up;
    let detail = format!(
        "creates are queued since DocuSign left some unanswered, and at the last try to send or look for one it was not \
         asked: {why} ({code})"
    );
    // What held it up may be over, and no other try has ended since.
    let next_try = until.filter(|until| *until > now).unwrap_or_else(|| soon(now));
    Reason { next_try: Some(next_try), ..Reason::new("upstream", Status::Degraded, detail) }
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
                Status::NotReady,
                format!("the audit log cannot be written, and so nothing is done: {why}"),
            )
        },
        None => Reason::new("audit", Status::Ready, "can be written"),
    };
    parts.health.set(reason);
}

/// Without its signer process a sender still acts, until its token needs another signature.
fn report_signer(parts: &Parts) {
    let Some(signer) = parts.auth.signer_process() else { return };
    let (state, detail) = if let Some(pid) = signer.pid {
        (Status::Ready, format!("process {pid} holds the private keys"))
    } else {
        let why = signer.last_end.as_deref().unwrap_or("it is being started");
        (Status::Degraded, format!("the process that holds the private keys is gone: {why}"))
    };
    parts.health.set(Reason { next_try: signer.next_try, ..Reason::new("signer", state, detail) });
}

/// Of very many senders those in use count, together: one customer's trouble is not the daemon's, and it is
/// ready for as long as one of them can act. Each one's state is at `GET /v1/senders`.
fn together(parts: &Parts) -> Reason {
    let in_use = parts.auth.statuses_in_use();
    let in_use: Vec<_> = in_use.into_iter().filter(|status| !is_unpaired(parts, &status.name)).collect();
    if in_use.iter().any(SenderStatus::has_token) {
        parts.health.started();
    }
    let can_act = in_use.iter().filter(|status| status.has_token() && status.misplaced.is_none()).count();
    let unwell: Vec<_> = in_use.iter().filter_map(|status| Some((status, trouble(status)?))).collect();
    if unwell.is_empty() {
        let detail = format!("{can_act} in use, all well");
        let well = Reason::new(SENDERS, Status::Ready, detail);
        // Of so many nobody is told which of them wait, and so nobody must take them for connected.
        let code = parts.pairings.has_connectable().then_some(NOT_CONNECTED);
        return Reason { code, ..well };
    }
    let named = unwell.iter().take(NAMED).map(|(status, code)| format!("{} ({code})", status.name));
    let named: Vec<_> = named.collect();
    let detail = format!(
        "{} of {} in use are in trouble, among them {}",
        unwell.len(),
        in_use.len(),
        named.join(", ")
    );
    let next_try = unwell.iter().filter_map(|(status, _)| Some(status.failure.as_ref()?.next_try)).min();
    // What somebody has to mend at each of those says nothing of the ones that rest; an outage does.
    let is_their_own = |status: &SenderStatus| {
        let own =
            |error: &Error| error.kind() == Kind::Permanent || matches!(error, Error::TokenRefused { .. });
        status.failure.as_ref().is_none_or(|it| own(&it.error))
    };
    let others_can = || unwell.iter().all(|(status, _)| is_their_own(status));
    let one_can_act = can_act > 0 || others_can() && parts.auth.has_one_at_rest_that_can_act();
    let state = if one_can_act { Status::Degraded } else { Status::NotReady };
    Reason { next_try, ..Reason::new(SENDERS, state, detail) }
}

/// The code of what is wrong with a sender: of what keeps it from acting, or else of a key that will be needed.
fn trouble(status: &SenderStatus) -> Option<&'static str> {
    let of_a_key = || status.keys.iter().find_map(bad_key).map(|(code, _)| code);
    status.trouble().map(|(error, _)| code_of(&error)).or_else(of_a_key)
}

/// The code that its callers get, or the word of `doctor` where that tells an operator more.
fn code_of(error: &Error) -> &'static str {
    match error {
        Error::TokenRefused { .. } => TOKEN_REFUSED,
        other => other.code(),
    }
}

/// What is wrong with a key, as a word and in words, and what to do about it.
fn bad_key(key: &KeyStatus) -> Option<(&'static str, String)> {
    let defect = key.defect.as_ref().map(|it| (it.defect.code(), format!("a key is bad: {it}")));
    let print = key.fingerprint.filter(|_| key.state == KeyState::Rejected);
    let refused = || {
        let print = print?;
        let why = format!(
            "DocuSign refuses the key {print}: upload its public half to the app (Apps and Keys), or take it out of `keys`"
        );
        Some((KEY_REJECTED, why))
    };
    defect.or_else(refused)
}

/// A sender that nobody needs now. A bad key is said before somebody does: the next mint may need it.
fn idle(part: String, bad_key: Option<(&'static str, String)>) -> Reason {
    let detail = "idle; a token is minted when somebody asks";
    let Some((code, why)) = bad_key else { return Reason::new(part, Status::Ready, detail) };
    let degraded = Reason::new(part, Status::Degraded, format!("{detail}, but {why}"));
    Reason { code: Some(code), ..degraded }
}

/// An outage of the account server while a token is valid is degraded, not unready (rule H1).
fn judge(status: &SenderStatus) -> Reason {
    let part = sender_part(&status.name);
    let has_only_that = status.has_token() || status.failure.is_none();
    if let Some(error) = status.misplaced.as_ref().map(|it| &*it.error).filter(|_| has_only_that) {
        let cause = std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string);
        let detail = format!("{cause} ({}): {}", error.code(), error.fix());
        return Reason { code: Some(error.code()), ..Reason::new(part, Status::NotReady, detail) };
    }
    let bad_key = status.keys.iter().find_map(bad_key);
    if status.is_idle() {
        return idle(part, bad_key);
    }
    let failure = status.failure.as_ref();
    let why = failure
        .map(|failure| format!("{} ({}): {}", failure.error, code_of(&failure.error), failure.error.fix()));
    let is_missing = status.consent == Consent::Missing;
    let (state, detail) = match (status.has_token(), why) {
        (true, None) => match &bad_key {
            Some((_, why)) => (Status::Degraded, format!("the token is valid, but {why}")),
            None => (Status::Ready, "acts with a valid token".to_owned()),
        },
        (true, Some(why)) => (Status::Degraded, format!("the token is valid, its refresh fails: {why}")),
        (false, Some(why)) => (Status::NotReady, why),
        (false, None) if is_missing => (Status::NotReady, "consent is missing".to_owned()),
        (false, None) => (Status::NotReady, "no token yet".to_owned()),
    };
    let code = failure
        .map(|failure| code_of(&failure.error))
        .or(is_missing.then_some("consent_required"))
        .or(bad_key.map(|(code, _)| code));
    let reason = Reason {
        code,
        next_try: failure.map(|failure| failure.next_try),
        ..Reason::new(part, state, detail)
    };
    match (status.consented_by_other, status.user_id) {
        (Some(consented), Some(configured)) if is_missing => {
            // Also while something else keeps it from asking: nothing but the right user's consent mends this.
            let error = Error::ConsentByOther { consented, configured };
            Reason { code: Some(error.cause()), detail: format!("{error}: {}", error.fix()), ..reason }
        }
        _ => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::{
        access_token::Band,
        identity::UserId,
        signing_key::{self, Fingerprint},
    };

    fn key(state: KeyState) -> KeyStatus {
        KeyStatus {
            origin: "key.pem".to_owned(),
            number: Some(0),
            fingerprint: Some(Fingerprint::of_spki(b"a key")),
            bits: Some(2_048),
            state,
            loaded_at: None,
            last_success: None,
            defect: None,
        }
    }

    fn idle_with(keys: Vec<KeyStatus>) -> SenderStatus {
        SenderStatus {
            name: "system".into(),
            user_id: None,
            band: Band::None,
            generation: None,
            expires_at: None,
            runway: Duration::ZERO,
            is_refreshing: false,
            consent: Consent::Granted,
            consented_by_other: None,
            keys,
            failure: None,
            misplaced: None,
            mints: crate::auth::token_cache::Mints::default(),
        }
    }

    #[test]
    fn t11_health_says_of_consent_by_another_user_what_callers_are_told() {
        let user = |id: &str| id.parse::<UserId>().unwrap();
        let consented = user("7c2b8d7e-1111-2222-3333-444455556666");
        let configured = user("7c2b8d7e-1111-2222-3333-444455557777");
        let status = SenderStatus {
            user_id: Some(configured),
            consent: Consent::Missing,
            consented_by_other: Some(consented),
            ..idle_with(Vec::new())
        };
        let told = judge(&status);
        let error = Error::ConsentByOther { consented, configured };
        assert_eq!((told.status, told.code), (Status::NotReady, Some("consent_by_another_user")));
        assert_eq!(told.detail, format!("{error}: {}", error.fix()));
    }

    #[test]
    fn h1_the_next_try_of_an_upstream_that_was_not_asked_is_never_missing_nor_past() {
        let now = Timestamp::UNIX_EPOCH;
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let warm = later(now, esign::WARM_EVERY);
        for (until, expected) in [
            (Some(at(60)), at(60)),
            (Some(at(1)), at(1)),
            (Some(now), warm),
            (Some(at(-1)), warm),
            (None, warm),
        ] {
            let held_up = HeldUp { code: "key_rejected", why: "no token".to_owned(), until };
            let told = not_asked(&held_up, now);
            assert_eq!((told.status, told.next_try), (Status::Degraded, Some(expected)), "{until:?}");
            assert!(told.detail.contains("to send or look for one it was not asked: no token"), "{told:?}");
        }
    }

    #[test]
    fn h1_a_bad_key_of_an_idle_sender_is_said_before_it_is_needed() {
        let well = idle_with(vec![key(KeyState::Active), key(KeyState::Standby), key(KeyState::Unproven)]);
        assert_eq!((judge(&well).status, judge(&well).code), (Status::Ready, None));
        assert_eq!(trouble(&well), None);
        let defect = signing_key::Error { origin: "key.pem".into(), defect: signing_key::Defect::Empty };
        let broken = KeyStatus { defect: Some(Arc::new(defect)), ..key(KeyState::Broken) };
        // DocuSign has refused nothing where there is no key to show it.
        for (bad, code) in [(key(KeyState::Rejected), KEY_REJECTED), (broken, "key_unusable")] {
            let status = idle_with(vec![key(KeyState::Active), bad]);
            let told = judge(&status);
            assert_eq!((told.status, told.code), (Status::Degraded, Some(code)), "{told:?}");
            assert!(told.detail.starts_with("idle; ") && told.detail.contains(", but "), "{told:?}");
            assert_eq!(trouble(&status), Some(code), "of very many, too");
        }
    }
}
