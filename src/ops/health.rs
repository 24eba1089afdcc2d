//! How well the daemon is: each part says how it does, the worst of them is the whole.
//!
//! Parts report when something changes; nothing here polls. An upstream outage while the token is
//! valid is *degraded*, not unready (rule H1): which of the two it is, the part decides. Parts named
//! `group.name` stand beside each other: one sender without consent must not take a daemon away from the
//! visitors of all others, so such a group is unready only when all of it is.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::clock::SharedClock;

/// How one part does, or the whole daemon. In order: the greatest decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All is well.
    Ready,
    /// Callers are served, but something needs attention or will run out.
    Degraded,
    /// Callers cannot be served.
    NotReady,
}

/// The code of a sender that no customer has connected yet.
pub const NOT_CONNECTED: &str = "sender_not_connected";

/// The part that speaks of very many senders together.
pub const SENDERS: &str = "senders";

/// What the parts of single senders begin with.
const SENDER: &str = "sender.";

/// The part that speaks of one sender.
pub fn sender_part(name: &str) -> String {
    format!("{SENDER}{name}")
}

/// The sender that a part speaks of; none if it speaks of something else, or of many.
pub fn sender_of(part: &str) -> Option<&str> {
    part.strip_prefix(SENDER)
}

/// What `/readyz` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst of the parts.
    pub status: Status,
    /// Since when it is that.
    pub since: Timestamp,
    /// The parts that are not ready, by name.
    pub reasons: Vec<Reason>,
    /// The parts that are well and wait for a person, by name: senders that no customer has connected yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<Reason>,
    /// Which settings these are, as the beginning of a digest: `doctor` knows the daemon of its own by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings_id: Option<String>,
}

/// Why the daemon is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Which part, such as `sender.system`.
    pub part: String,
    /// How it does.
    pub status: Status,
    /// Why, as one word of a closed set, where there is one: the code of the problem that a caller gets, or of a key
    /// that cannot be read, and of tokens that are refused, the one that `doctor` has for it. A part that is ready has
    /// one if it waits for a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Why, in words for an operator; no secrets, no names of people.
    pub detail: String,
    /// When it is tried again, if that is known.
    pub next_try: Option<Timestamp>,
}

/// The health of one daemon. Clones share it.
#[derive(Clone)]
pub struct Health {
    clock: SharedClock,
    settings_id: Option<Arc<str>>,
    state: Arc<Mutex<State>>,
}

struct State {
    phase: Phase,
    parts: BTreeMap<String, Reason>,
    overall: Status,
    since: Timestamp,
    started: bool,
}

/// Where the daemon is in its life; the first and the last phase are never ready.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Serving,
    Stopping,
}

impl Phase {
    fn reason(self) -> Option<Reason> {
        let detail = match self {
            Self::Starting => "starting",
            Self::Serving => return None,
            Self::Stopping => "stopping",
        };
        Some(Reason::new("daemon", Status::NotReady, detail))
    }
}

impl Reason {
    /// A part that does so, for this reason. `detail` is for operators and holds no secret.
    pub fn new(part: impl Into<String>, status: Status, detail: impl Into<String>) -> Self {
        Self { part: part.into(), status, code: None, detail: detail.into(), next_try: None }
    }
}

impl Health {
    /// Of a daemon that is starting: not ready, until [`Health::set`] has heard of a first part.
    pub fn new(clock: SharedClock) -> Self {
        let since = clock.now();
        let state = State {
            phase: Phase::Starting,
            parts: BTreeMap::new(),
            overall: Status::NotReady,
            since,
            started: false,
        };
        Self { clock, settings_id: None, state: Arc::new(Mutex::new(state)) }
    }

    /// Says from now on which settings these are; the id holds no secret.
    #[must_use]
    pub fn of_settings(self, id: &str) -> Self {
        Self { settings_id: Some(id.into()), ..self }
    }

    /// A part tells how it does.
    pub fn set(&self, reason: Reason) {
        self.change(|state| {
            if state.phase == Phase::Starting {
                state.phase = Phase::Serving;
            }
            state.parts.insert(reason.part.clone(), reason);
        });
    }

    /// A part is no more, such as a sender that the settings no longer name.
    pub fn forget(&self, part: &str) {
        self.change(|state| {
            state.parts.remove(part);
        });
    }

    /// The first good token is there: `/startupz` opens, for good.
    pub fn started(&self) {
        self.locked().started = true;
    }

    /// Whether there ever was a good token.
    pub fn has_started(&self) -> bool {
        self.locked().started
    }

    /// The stop began: not ready from now on, whatever the parts say (rule H2).
    pub fn stopping(&self) {
        self.change(|state| state.phase = Phase::Stopping);
    }

    /// The worst of the parts.
    pub fn status(&self) -> Status {
        self.locked().overall
    }

    /// What `/readyz` says.
    pub fn report(&self) -> Report {
        let state = self.locked();
        let unwell = state.parts.values().filter(|part| part.status != Status::Ready).cloned();
        let reasons = state.phase.reason().into_iter().chain(unwell).collect();
        let is_waiting = |part: &&Reason| part.status == Status::Ready && part.code == Some(NOT_CONNECTED);
        let waiting = state.parts.values().filter(is_waiting).cloned().collect();
        let settings_id = self.settings_id.as_deref().map(str::to_owned);
        Report { status: state.overall, since: state.since, reasons, waiting, settings_id }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let now = self.clock.now();
        let mut state = self.locked();
        change(&mut state);
        let phase = state.phase.reason().map(|reason| reason.status);
        let overall = overall(&state.parts).into_iter().chain(phase).max().unwrap_or(Status::Ready);
        if overall != state.overall {
            (state.overall, state.since) = (overall, now);
        }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Health").field(&self.status()).finish()
    }
}

/// How each group does, a part without a group being one of its own.
fn overall(parts: &BTreeMap<String, Reason>) -> Vec<Status> {
    let mut groups: BTreeMap<&str, (Status, Status)> = BTreeMap::new();
    for (name, part) in parts {
        let group = name.split_once('.').map_or(name.as_str(), |(group, _)| group);
        let (best, worst) = groups.entry(group).or_insert((part.status, part.status));
        (*best, *worst) = (part.status.min(*best), part.status.max(*worst));
    }
    let status =
        |(best, worst): (Status, Status)| if best < worst { worst.min(Status::Degraded) } else { worst };
    groups.into_values().map(status).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn the_whole_is_as_well_as_its_worst_part_and_since_tells_when_that_changed() {
        let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
        let health = Health::new(Arc::new(clock.clone()));
        let second = |second: i64| Timestamp::from_second(second).unwrap();
        let steps = [
            ("store", Status::Ready, Status::Ready, 1),
            ("token:a", Status::Degraded, Status::Degraded, 2),
            // Another part in the same state, and the same part with another detail: no change.
            ("token:b", Status::Degraded, Status::Degraded, 2),
            ("token:a", Status::NotReady, Status::NotReady, 4),
            ("token:b", Status::Ready, Status::NotReady, 4),
            ("token:a", Status::Degraded, Status::Degraded, 6),
            ("token:a", Status::Ready, Status::Ready, 7),
        ];
        assert_eq!((health.report().status, health.report().since), (Status::NotReady, second(0)));
        for (part, status, overall, since) in steps {
            clock.advance(Duration::from_secs(1));
            health.set(Reason::new(part, status, "because"));
            let report = health.report();
            assert_eq!((report.status, report.since), (overall, second(since)), "{part} {status:?}");
            assert!(report.reasons.iter().all(|reason| reason.status != Status::Ready));
        }
    }

    #[test]
    fn a_stopping_daemon_is_not_ready_whatever_its_parts_say() {
        let health = Health::new(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)));
        health.set(Reason::new("store", Status::Ready, ""));
        health.stopping();
        health.set(Reason::new("store", Status::Ready, ""));
        assert_eq!(health.status(), Status::NotReady);
        let report = health.report();
        assert_eq!((report.reasons.len(), report.reasons[0].detail.as_str()), (1, "stopping"));
    }

    #[test]
    fn the_part_of_one_sender_is_told_from_that_of_all() {
        assert_eq!(sender_of(&sender_part("system")), Some("system"));
        assert_eq!((sender_of(SENDERS), sender_of("store")), (None, None));
    }

    #[test]
    fn a_forgotten_part_no_longer_counts() {
        let health = Health::new(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)));
        health.set(Reason::new("store", Status::Ready, ""));
        health.set(Reason::new("sender.gone", Status::NotReady, "no consent"));
        health.forget("sender.gone");
        assert_eq!(health.status(), Status::Ready);
    }

    #[test]
    fn h1_one_of_several_senders_that_cannot_act_does_not_make_the_daemon_unready() {
        let health = Health::new(Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)));
        health.set(Reason::new("sender.one", Status::NotReady, "no consent"));
        assert_eq!(health.status(), Status::NotReady, "the only one there is");
        health.set(Reason::new("sender.two", Status::Ready, ""));
        assert_eq!(health.status(), Status::Degraded);
        assert_eq!(health.report().reasons[0].status, Status::NotReady, "the part itself is what it is");
        health.set(Reason::new("sender.two", Status::NotReady, "no key"));
        assert_eq!(health.status(), Status::NotReady);
        health.set(Reason::new("sender.two", Status::Ready, ""));
        health.set(Reason::new("store", Status::NotReady, "the disk is full"));
        assert_eq!(health.status(), Status::NotReady, "a part of its own counts for itself");
    }
}
