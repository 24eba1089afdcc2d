//! What was called, and which of the vendor's rules that broke or would have broken: the rehearsal for
//! the review before going live.

use std::{collections::BTreeMap, fmt, sync::Mutex};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::{
    Now, Operation, lock,
    rules::{Rule, Weight},
};
use crate::{clock::start_of, store::NotedCalls};

/// How a rule fared.
#[derive(Debug, Clone, Serialize)]
pub struct RuleCount {
    /// The rule.
    pub rule: Rule,
    /// What becomes of who breaks it.
    pub weight: Weight,
    /// The rule in a sentence.
    pub says: &'static str,
    /// Where the vendor says so.
    pub source: &'static str,
    /// Calls that would have broken it and were held back or refused by us.
    pub avoided: u64,
    /// Calls that the upstream refused for it, or let pass although our own count shows that they broke it.
    pub broken: u64,
    /// The last of either.
    pub last_at: Option<Timestamp>,
}

impl RuleCount {
    const fn none(rule: Rule) -> Self {
        let (weight, says, source) = (rule.weight(), rule.says(), rule.source());
        Self { rule, weight, says, source, avoided: 0, broken: 0, last_at: None }
    }

    /// A fresh count of every rule.
    fn all() -> BTreeMap<Rule, Self> {
        Rule::ALL.iter().map(|rule| (*rule, Self::none(*rule))).collect()
    }
}

/// What the account server was asked for: no account's budget counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AccountServerCalls {
    /// Requests for a token.
    pub tokens: u64,
    /// Mints that began though a token was held whose refresh was not due.
    pub early: u64,
    /// Questions who a token is for.
    pub user_info: u64,
    /// Answers that refused for a limit.
    pub limited: u64,
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
    /// Calls to the account server, which no account's budget counts.
    pub account_server: BTreeMap<String, u64>,
    /// The most calls in one of its hours.
    pub busiest_hour: u64,
    /// The rules.
    pub rules: Vec<RuleCount>,
    /// Whether nothing broke a rule for which the upstream refuses a call or a review fails.
    pub kept_every_rule: bool,
    /// Whether nothing went against what the vendor only advises.
    pub followed_every_advice: bool,
}

impl Window {
    /// Sums up what the store has noted.
    pub fn of(since: Timestamp, until: Timestamp, noted: &[NotedCalls]) -> Self {
        let mut rules = RuleCount::all();
        let (mut calls, mut account_server) = (BTreeMap::new(), BTreeMap::new());
        let mut hours = BTreeMap::<_, u64>::new();
        for NotedCalls { hour, name, count } in noted {
            let Some((kind, name)) = name.split_once('.') else { continue };
            if kind == CALL {
                *calls.entry(name.to_owned()).or_default() += count;
                *hours.entry(*hour).or_default() += count;
                continue;
            }
            if kind == ACCOUNT_SERVER {
                *account_server.entry(name.to_owned()).or_default() += count;
                continue;
            }
            let Some(row) = rules.values_mut().find(|row| row.rule.as_str() == name) else { continue };
            match kind {
                AVOIDED => row.avoided += count,
                BROKEN => row.broken += count,
                _ => continue,
            }
            row.last_at = row.last_at.max(Some(*hour));
        }
        let rules: Vec<_> = rules.into_values().collect();
        let kept = |is_advice: bool| {
            rules.iter().all(|rule| rule.broken == 0 || (rule.weight == Weight::Advice) != is_advice)
        };
        Self {
            object: "ledger",
            since,
            until,
            total: calls.values().sum(),
            busiest_hour: hours.into_values().max().unwrap_or(0),
            kept_every_rule: kept(false),
            followed_every_advice: kept(true),
            calls,
            account_server,
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
        for (asked, calls) in &self.account_server {
            writeln!(f, "  {:<24}{:>10}", format!("account server, {asked}"), calls)?;
        }
        for (heading, is_advice) in [("rule", false), ("advice", true)] {
            writeln!(f, "\n  {heading:<24}{:>10}{:>10}", "held back", "broken")?;
            for rule in self.rules.iter().filter(|rule| (rule.weight == Weight::Advice) == is_advice) {
                writeln!(f, "  {:<24}{:>10}{:>10}", rule.rule.as_str(), rule.avoided, rule.broken)?;
            }
        }
        let verdict = if self.kept_every_rule { "every rule was kept" } else { "rules were broken" };
        writeln!(f, "\n{verdict}")?;
        for rule in self.rules.iter().filter(|rule| rule.broken > 0) {
            writeln!(f, "  {}: {} ({})", rule.rule.as_str(), rule.says, rule.source)?;
        }
        Ok(())
    }
}

/// The kinds of names under which the store keeps counts.
const CALL: &str = "call";
const AVOIDED: &str = "avoided";
const BROKEN: &str = "broken";
const ACCOUNT_SERVER: &str = "account_server";

/// The kind and the word of a count. They are written out only for the store: a call counts itself at every turn.
pub(super) type Name = (&'static str, &'static str);

/// Counts of one hour by name that the store does not know yet.
type Unsaved = BTreeMap<Timestamp, BTreeMap<Name, u64>>;

/// Counts as the store keeps them.
pub(super) fn named(counts: &[(Name, u64)]) -> Vec<(String, u64)> {
    counts.iter().map(|((kind, word), count)| (format!("{kind}.{word}"), *count)).collect()
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    unsaved: Mutex<Unsaved>,
}

impl Ledger {
    /// What the store should be told next; it is the caller's to put back if that fails.
    pub(super) fn take_unsaved(&self) -> Vec<(Timestamp, Vec<(Name, u64)>)> {
        let unsaved = std::mem::take(&mut *lock(&self.unsaved));
        unsaved.into_iter().map(|(hour, counts)| (hour, counts.into_iter().collect())).collect()
    }

    /// Takes back what could not be told.
    pub(super) fn put_back(&self, hour: Timestamp, counts: Vec<(Name, u64)>) {
        let mut unsaved = lock(&self.unsaved);
        let row = unsaved.entry(hour).or_default();
        for (name, count) in counts {
            *row.entry(name).or_default() += count;
        }
    }

    fn save_later(&self, kind: &'static str, word: &'static str, count: u64, now: Now) {
        let hour = start_of(now.date, SignedDuration::from_hours(1));
        *lock(&self.unsaved).entry(hour).or_default().entry((kind, word)).or_default() += count;
    }

    pub(super) fn called(&self, operation: Operation, now: Now) {
        self.save_later(CALL, operation.as_str(), 1, now);
    }

    pub(super) fn avoided(&self, rule: Rule, now: Now) {
        self.save_later(AVOIDED, rule.as_str(), 1, now);
    }

    pub(super) fn broken(&self, rule: Rule, times: u64, now: Now) {
        if times > 0 {
            self.save_later(BROKEN, rule.as_str(), times, now);
        }
    }

    /// Takes in what the account server was asked for since the last time.
    pub(super) fn account_server(&self, asked: AccountServerCalls, now: Now) {
        for (name, count) in [("token", asked.tokens), ("user_info", asked.user_info)] {
            if count > 0 {
                self.save_later(ACCOUNT_SERVER, name, count, now);
            }
        }
        self.broken(Rule::AccountServerLimit, asked.limited, now);
        self.broken(Rule::TokenKept, asked.early, now);
    }
}
