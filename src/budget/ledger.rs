//! What was called, and which of the vendor's rules that broke or would have broken: the rehearsal for
//! the review before going live.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use serde::Serialize;

use super::{Forecast, Now, Operation, Outcome, Scope, lock};
use crate::{domain::AccountId, store::NotedCalls};

const OPERATIONS: usize = Operation::ALL.len();
const OUTCOMES: usize = Outcome::ALL.len();
/// How far back the report looks.
const MINUTES: u64 = 60;

/// A rule of the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Calls of an account in 30 seconds.
    BurstLimit,
    /// Calls about one envelope or document.
    EnvelopeLimit,
    /// Calls of an account in an hour.
    HourlyLimit,
    /// One status check an envelope in 15 minutes.
    Polling,
}

impl Rule {
    const ALL: [Self; 4] = [Self::BurstLimit, Self::EnvelopeLimit, Self::HourlyLimit, Self::Polling];

    /// The word for it, as in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BurstLimit => "burst_limit",
            Self::EnvelopeLimit => "envelope_limit",
            Self::HourlyLimit => "hourly_limit",
            Self::Polling => "polling",
        }
    }

    pub(super) const fn of(scope: Scope) -> Self {
        match scope {
            Scope::Burst => Self::BurstLimit,
            Scope::Document | Scope::Envelope => Self::EnvelopeLimit,
            Scope::Hour => Self::HourlyLimit,
            Scope::Polling => Self::Polling,
        }
    }
}

/// How a rule fared since the start.
#[derive(Debug, Clone, Serialize)]
pub struct RuleCount {
    /// The rule.
    pub rule: Rule,
    /// Calls that would have broken it and were held back or refused by us.
    pub avoided: u64,
    /// Calls that the upstream refused for it.
    pub broken: u64,
    /// The last of either.
    pub last_at: Option<Timestamp>,
}

/// One account in a report.
#[derive(Debug, Clone, Serialize)]
pub struct AccountPace {
    /// The account.
    pub account_id: String,
    /// Calls an hour at the present pace.
    pub calls_per_hour: u64,
    /// Left of this hour.
    pub remaining: u64,
    /// When they will be gone, if before the hour ends.
    pub exhausted_at: Option<Timestamp>,
}

/// What was called, and what it would have broken.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// When counting began: an hour ago, or at the start.
    pub since: Timestamp,
    /// Now.
    pub until: Timestamp,
    /// Calls by operation.
    pub calls: BTreeMap<&'static str, u64>,
    /// Their sum.
    pub total: u64,
    /// The accounts.
    pub accounts: Vec<AccountPace>,
    /// The rules, since the start.
    pub rules: Vec<RuleCount>,
}

/// What was called within a window, and which rules of the vendor that would have broken without us: what
/// is looked at in a rehearsal before an integration key goes live.
#[derive(Debug, Clone, Serialize)]
pub struct Window {
    /// Always `ledger`.
    pub object: &'static str,
    /// When it begins; the top of an hour.
    pub since: Timestamp,
    /// When it ends.
    pub until: Timestamp,
    /// Calls by operation.
    pub calls: BTreeMap<String, u64>,
    /// Their sum.
    pub total: u64,
    /// The most calls in one of its hours.
    pub busiest_hour: u64,
    /// The rules.
    pub rules: Vec<RuleCount>,
    /// Whether the upstream had to refuse nothing.
    pub kept_every_rule: bool,
}

impl Window {
    /// Sums up what the store has noted.
    pub fn of(since: Timestamp, until: Timestamp, noted: &[NotedCalls]) -> Self {
        let rule = |rule| (rule, RuleCount { rule, avoided: 0, broken: 0, last_at: None });
        let mut rules: BTreeMap<Rule, RuleCount> = Rule::ALL.map(rule).into();
        let (mut calls, mut hours) = (BTreeMap::new(), BTreeMap::new());
        for NotedCalls { hour, name, count } in noted {
            let Some((kind, name)) = name.split_once('.') else { continue };
            if kind == CALL {
                *calls.entry(name.to_owned()).or_default() += count;
                *hours.entry(*hour).or_default() += count;
                continue;
            }
            let Some(rule) = Rule::ALL.into_iter().find(|rule| rule.as_str() == name) else { continue };
            let Some(row) = rules.get_mut(&rule) else { continue };
            match kind {
                AVOIDED => row.avoided += count,
                BROKEN => row.broken += count,
                _ => continue,
            }
            row.last_at = row.last_at.max(Some(*hour));
        }
        let rules: Vec<_> = rules.into_values().collect();
        Self {
            object: "ledger",
            since,
            until,
            total: calls.values().sum(),
            busiest_hour: hours.into_values().max().unwrap_or(0),
            kept_every_rule: rules.iter().all(|rule| rule.broken == 0),
            calls,
            rules,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Upstream calls from {} to {}\n", self.since, self.until)?;
        for (operation, calls) in &self.calls {
            writeln!(f, "  {operation:<24}{calls:>10}")?;
        }
        writeln!(f, "  {:<24}{:>10}", "total", self.total)?;
        writeln!(f, "  {:<24}{:>10}\n", "busiest hour", self.busiest_hour)?;
        writeln!(f, "  {:<24}{:>10}{:>10}", "rule", "held back", "broken")?;
        for rule in &self.rules {
            writeln!(f, "  {:<24}{:>10}{:>10}", rule.rule.as_str(), rule.avoided, rule.broken)?;
        }
        let verdict = if self.kept_every_rule { "every rule was kept" } else { "rules were broken" };
        writeln!(f, "\n{verdict}")
    }
}

/// The kinds of names under which the store keeps counts.
const CALL: &str = "call";
const AVOIDED: &str = "avoided";
const BROKEN: &str = "broken";

/// Counts of one hour by name that the store does not know yet.
type Unsaved = BTreeMap<Timestamp, BTreeMap<String, u64>>;

#[derive(Debug)]
pub(super) struct Ledger {
    started: Now,
    ended: [[AtomicU64; OUTCOMES]; OPERATIONS],
    rolling: Mutex<VecDeque<(u64, [u64; OPERATIONS])>>,
    rules: Mutex<BTreeMap<Rule, RuleCount>>,
    unsaved: Mutex<Unsaved>,
}

impl Ledger {
    pub(super) fn new(now: Now) -> Self {
        let rule = |rule| (rule, RuleCount { rule, avoided: 0, broken: 0, last_at: None });
        Self {
            started: now,
            ended: std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0))),
            rolling: Mutex::default(),
            rules: Mutex::new(Rule::ALL.map(rule).into()),
            unsaved: Mutex::default(),
        }
    }

    /// What the store should be told next; it is the caller's to put back if that fails.
    pub(super) fn take_unsaved(&self) -> Vec<(Timestamp, Vec<(String, u64)>)> {
        let unsaved = std::mem::take(&mut *lock(&self.unsaved));
        unsaved.into_iter().map(|(hour, counts)| (hour, counts.into_iter().collect())).collect()
    }

    /// Takes back what could not be told.
    pub(super) fn put_back(&self, hour: Timestamp, counts: Vec<(String, u64)>) {
        let mut unsaved = lock(&self.unsaved);
        let row = unsaved.entry(hour).or_default();
        for (name, count) in counts {
            *row.entry(name).or_default() += count;
        }
    }

    fn save_later(&self, kind: &str, name: &str, now: Now) {
        let hour = now.date.as_second().div_euclid(3_600) * 3_600;
        let hour = Timestamp::from_second(hour).unwrap_or(Timestamp::MIN);
        *lock(&self.unsaved).entry(hour).or_default().entry(format!("{kind}.{name}")).or_default() += 1;
    }

    pub(super) fn called(&self, operation: Operation, now: Now) {
        self.save_later(CALL, operation.as_str(), now);
        let minute = now.uptime.as_secs() / 60;
        let mut rolling = lock(&self.rolling);
        while rolling.pop_front_if(|(at, _)| *at + MINUTES <= minute).is_some() {}
        if rolling.back().is_none_or(|(at, _)| *at < minute) {
            rolling.push_back((minute, [0; OPERATIONS]));
        }
        if let Some((_, calls)) = rolling.back_mut() {
            calls[operation.index()] += 1;
        }
    }

    pub(super) fn ended(&self, operation: Operation, outcome: Outcome) {
        self.ended[operation.index()][outcome.index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count(&self, operation: Operation, outcome: Outcome) -> u64 {
        self.ended[operation.index()][outcome.index()].load(Ordering::Relaxed)
    }

    pub(super) fn avoided(&self, rule: Rule, now: Now) {
        self.save_later(AVOIDED, rule.as_str(), now);
        self.note(rule, now, |count| count.avoided += 1);
    }

    pub(super) fn broken(&self, rule: Rule, now: Now) {
        self.save_later(BROKEN, rule.as_str(), now);
        self.note(rule, now, |count| count.broken += 1);
    }

    fn note(&self, rule: Rule, now: Now, change: impl FnOnce(&mut RuleCount)) {
        if let Some(count) = lock(&self.rules).get_mut(&rule) {
            change(count);
            count.last_at = Some(now.date);
        }
    }

    pub(super) fn report(&self, now: Now, accounts: Vec<(AccountId, Forecast)>) -> Report {
        let minute = now.uptime.as_secs() / 60;
        let mut sums = [0; OPERATIONS];
        for (_, calls) in lock(&self.rolling).iter().filter(|(at, _)| *at + MINUTES > minute) {
            for (sum, calls) in sums.iter_mut().zip(calls) {
                *sum += calls;
            }
        }
        let calls: BTreeMap<_, _> =
            Operation::ALL.iter().map(|operation| (operation.as_str(), sums[operation.index()])).collect();
        let hour_ago = now.date.saturating_sub(jiff::SignedDuration::from_hours(1)).unwrap_or(Timestamp::MIN);
        Report {
            since: hour_ago.max(self.started.date),
            until: now.date,
            total: calls.values().sum(),
            calls,
            accounts: accounts
                .into_iter()
                .map(|(account, forecast)| AccountPace {
                    account_id: account.as_str().to_owned(),
                    calls_per_hour: forecast.calls_per_hour,
                    remaining: forecast.remaining,
                    exhausted_at: forecast.exhausted_at,
                })
                .collect(),
            rules: lock(&self.rules).values().cloned().collect(),
        }
    }
}
