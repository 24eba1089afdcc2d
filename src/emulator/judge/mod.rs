//! Watches the client for what DocuSign forbids or holds against an application at its go-live
//! review, though no call fails for it.
//!
//! A verdict names the rule, its source, and the requests that show the breach. The judge only
//! watches: no answer depends on it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::requests::Entry;

/// One status read of an envelope, or of one part of it, in so long.
const POLLING_INTERVAL: SignedDuration = SignedDuration::from_mins(15);
/// So many mints in a row, each used for at most [`FEW_CALLS`], are a mint a call.
const NEEDLESS_MINTS: usize = 4;
const FEW_CALLS: u64 = 2;
/// Calls under way together may come in any order, and when the first refusal came they are not held against the client.
const UNDER_WAY: SignedDuration = SignedDuration::from_secs(1);
/// Requests kept as proof of one breach.
const PROOF: usize = 50;

/// A rule of the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Rule {
    /// Called on after a limit error, before the budget was full again.
    LimitIgnored,
    /// Created an envelope again under a transaction id that has one.
    CreateRepeated,
    /// Minted a token for every call or two, while the last one was still good.
    MintPerCall,
    /// Read the status of one envelope, or one part of it, more than once in 15 minutes.
    Polling,
    /// Used a token on after it was refused.
    DeadTokenReused,
    /// Asked for a recipient view while that recipient was in the session of one.
    ViewReminted,
}

impl Rule {
    fn words(self) -> &'static str {
        match self {
            Self::CreateRepeated => {
                "a create is not idempotent: look the transaction id up before sending it again"
            }
            Self::DeadTokenReused => "renew a token once it was refused, instead of calling on with it",
            Self::LimitIgnored => "when the budget is gone, stop until it is full again",
            Self::MintPerCall => "keep the access token and use it until shortly before it expires",
            Self::Polling => "one status read of an envelope (and of each part of it) in 15 minutes",
            Self::ViewReminted => "a new recipient view puts out the signer who is using the last one",
        }
    }

    fn source(self) -> &'static str {
        match self {
            Self::CreateRepeated => "eSignature REST API, envelopeDefinition.transactionId",
            Self::DeadTokenReused | Self::MintPerCall => {
                "DocuSign developer FAQ, Administration and Authentication"
            }
            Self::LimitIgnored | Self::Polling => {
                "developers.docusign.com/docs/esign-rest-api/esign101/rules-and-limits"
            }
            Self::ViewReminted => "developers.docusign.com, EnvelopeViews: createRecipient",
        }
    }
}

/// What happened to one vendor request, as far as rules care.
#[derive(Debug)]
pub(super) struct Observed<'a> {
    /// The request, as it is in the log.
    pub(super) entry: &'a Entry,
    /// Its path in segments.
    pub(super) route: &'a [&'a str],
    /// The budgets it is counted in: the id of the account, or the id of the envelope and
    /// `reads` or `writes`. With each, until when it is spent, if it refused the call.
    pub(super) budgets: Vec<(String, Option<Timestamp>)>,
    /// Its bearer token.
    pub(super) bearer: Option<&'a str>,
    /// The method.
    pub(super) method: &'a Method,
    /// What is answered, or would have been.
    pub(super) status: StatusCode,
    /// Whether a fault answered, and nothing was done: what was not made or read is not held against the client.
    pub(super) is_faked: bool,
    /// The client's own id for a create.
    pub(super) transaction: Option<String>,
}

/// A successful JWT grant, or renewal by a refresh token.
#[derive(Debug)]
struct Mint {
    entry: Entry,
    calls: u64,
    expires: Timestamp,
}

/// A refusal that the client was told of.
#[derive(Debug, Clone)]
struct Refusal {
    entry: Entry,
    /// When it was told, which may be long after the request.
    told: Timestamp,
}

impl Refusal {
    /// Whether the client knew of it when it sent this.
    fn was_known_to(&self, entry: &Entry) -> bool {
        entry.at.duration_since(self.told) > UNDER_WAY
    }
}

/// What the answer to a request tells, which its client does not know before it has it.
#[derive(Debug)]
struct Untold {
    entry: Entry,
    /// The budgets that are spent, and until when.
    spent: Vec<(String, Timestamp)>,
    /// The bearer token that is dead.
    dead_token: Option<String>,
    /// Who gets a token, and until when it is good.
    minted: Option<(String, Timestamp)>,
}

/// What it has seen, and what it thinks of it.
#[derive(Debug, Default)]
pub(super) struct Judge {
    breaches: BTreeMap<(Rule, String), Breach>,
    polled: BTreeMap<String, Entry>,
    limited: BTreeMap<String, (Timestamp, Refusal)>,
    mints: BTreeMap<String, Vec<Mint>>,
    refused_tokens: BTreeMap<String, Refusal>,
    created: BTreeMap<String, Entry>,
    /// By the number of the request. What is never told stays here.
    untold: BTreeMap<u64, Untold>,
    /// The request that a handler told of last, without an answer yet.
    told_of: Option<u64>,
}

#[derive(Debug, Default)]
struct Breach {
    count: u64,
    requests: Vec<Entry>,
}

/// One verdict, as the control interface tells it.
#[derive(Debug, Serialize)]
pub(super) struct Verdict<'a> {
    rule: Rule,
    says: &'static str,
    source: &'static str,
    subject: &'a str,
    count: u64,
    requests: &'a [Entry],
}

impl Judge {
    /// The rules that were broken, and the requests that show it.
    pub(super) fn verdicts(&self) -> Vec<Verdict<'_>> {
        self.breaches
            .iter()
            .map(|((rule, subject), breach)| Verdict {
                rule: *rule,
                says: rule.words(),
                source: rule.source(),
                subject,
                count: breach.count,
                requests: &breach.requests,
            })
            .collect()
    }

    /// Records a breach that a handler saw: about what (an id or a path), and which requests show it.
    pub(super) fn broke(&mut self, rule: Rule, subject: &str, shown_by: &[&Entry]) {
        let breach = self.breaches.entry((rule, subject.to_owned())).or_default();
        breach.count += 1;
        for entry in shown_by {
            if entry.status.is_none() {
                self.told_of = Some(entry.number);
            }
            let is_shown = breach.requests.iter().any(|shown| shown.number == entry.number);
            if breach.requests.len() < PROOF && !is_shown {
                breach.requests.push((*entry).clone());
            }
        }
    }

    /// Notes the answer to a request. Its handler may have told of it, which it did before there was one.
    pub(super) fn answered(&mut self, number: u64, status: u16) {
        if self.told_of != Some(number) {
            return;
        }
        let shown = self.breaches.values_mut().flat_map(|breach| &mut breach.requests);
        let untold = self.untold.get_mut(&number).map(|untold| &mut untold.entry);
        for entry in shown.chain(untold).filter(|entry| entry.number == number) {
            entry.status = Some(status);
        }
    }

    /// Looks at one request whose answer was made. What that tells is held against nobody before it is [`Self::told`].
    pub(super) fn observe(&mut self, seen: &Observed<'_>) {
        for (budget, spent_until) in &seen.budgets {
            self.watch_limit(budget, *spent_until, seen.entry);
        }
        self.watch_tokens(seen);
        if seen.status.is_success() && !seen.is_faked {
            self.watch_polling(seen);
            self.watch_creates(seen);
        }
    }

    /// Notes that the client has the whole answer to a request, and knows from now on what it tells: that a budget is
    /// spent or a token dead, or a token, which it can use instead of minting another one.
    pub(super) fn told(&mut self, number: u64, now: Timestamp) {
        let Some(untold) = self.untold.remove(&number) else { return };
        let Untold { entry, spent, dead_token, minted } = untold;
        let refusal = Refusal { entry: entry.clone(), told: now };
        for (budget, until) in spent.into_iter().filter(|(_, until)| now < *until) {
            let known = self.limited.entry(budget).or_insert_with(|| (until, refusal.clone()));
            if known.0 <= now {
                // The budget has been full since that one.
                known.1 = refusal.clone();
            }
            known.0 = until;
        }
        if let Some(token) = dead_token {
            self.refused_tokens.entry(token).or_insert(refusal);
        }
        if let Some((who, expires)) = minted {
            self.mints.entry(who).or_default().push(Mint { entry, calls: 0, expires });
        }
    }

    /// Notes a successful JWT grant or renewal for one (integration key, user).
    pub(super) fn minted(&mut self, who: &str, entry: &Entry, expires: Timestamp) {
        self.untold(entry).minted = Some((who.to_owned(), expires));
        self.told_of = Some(entry.number);
        let Some(earlier) = self.mints.get_mut(who) else { return };
        earlier.retain(|mint| entry.at < mint.expires);
        let row: Vec<Entry> = earlier
            .iter()
            .rev()
            .take_while(|mint| mint.calls <= FEW_CALLS)
            .map(|mint| mint.entry.clone())
            .collect();
        if row.len() + 1 >= NEEDLESS_MINTS {
            let shown: Vec<&Entry> = row.iter().rev().chain([entry]).collect();
            self.broke(Rule::MintPerCall, who, &shown);
        }
    }

    /// Notes that a token of this owner was used: its mint was worth it.
    pub(super) fn used(&mut self, who: &str) {
        if let Some(mint) = self.mints.get_mut(who).and_then(|mints| mints.last_mut()) {
            mint.calls += 1;
        }
    }

    /// Notes that tokens of this owner died early: minting again is right.
    pub(super) fn died(&mut self, who: &str) {
        self.mints.remove(who);
        for untold in self.untold.values_mut() {
            if untold.minted.as_ref().is_some_and(|(owner, _)| owner == who) {
                untold.minted = None;
            }
        }
    }

    /// Notes that all budgets are full: calling on is right.
    pub(super) fn refilled(&mut self) {
        self.limited.clear();
        for untold in self.untold.values_mut() {
            untold.spent.clear();
        }
    }

    /// Notes that the clock was set back: how long ago a read or a refusal was, nobody can tell any more. The budgets may
    /// be those of another hour, and full; where they are not, the next refusal is noted anew.
    pub(super) fn turned_back(&mut self) {
        self.polled.clear();
        self.refilled();
    }

    fn untold(&mut self, entry: &Entry) -> &mut Untold {
        self.untold.entry(entry.number).or_insert_with(|| Untold {
            entry: entry.clone(),
            spent: Vec::new(),
            dead_token: None,
            minted: None,
        })
    }

    fn watch_limit(&mut self, budget: &str, spent_until: Option<Timestamp>, entry: &Entry) {
        if let Some((until, refusal)) = self.limited.get(budget).cloned() {
            if entry.at >= until {
                self.limited.remove(budget);
            } else if refusal.was_known_to(entry) {
                self.broke(Rule::LimitIgnored, budget, &[&refusal.entry, entry]);
            }
        }
        if let Some(until) = spent_until {
            self.untold(entry).spent.push((budget.to_owned(), until));
        }
    }

    fn watch_tokens(&mut self, seen: &Observed<'_>) {
        let Some(bearer) = seen.bearer else { return };
        if seen.status != StatusCode::UNAUTHORIZED {
            return;
        }
        if let Some(first) = self.refused_tokens.get(bearer).cloned() {
            if first.was_known_to(seen.entry) {
                // The subject must not repeat the token.
                self.broke(Rule::DeadTokenReused, &seen.entry.path, &[&first.entry, seen.entry]);
            }
        } else {
            self.untold(seen.entry).dead_token = Some(bearer.to_owned());
        }
    }

    fn watch_polling(&mut self, seen: &Observed<'_>) {
        if *seen.method != Method::GET {
            return;
        }
        let subject = match seen.route {
            [_, _, "accounts", _, "envelopes", id] if *id != "status" => (*id).to_owned(),
            [
                _,
                _,
                "accounts",
                _,
                "envelopes",
                id,
                part @ ("audit_events" | "custom_fields" | "documents" | "notification" | "recipients"),
            ] => format!("{id}/{part}"),
            _ => return,
        };
        let Some(last) = self.polled.insert(subject.clone(), seen.entry.clone()) else { return };
        // Calls under way overtake each other; one that is earlier than that came after the clock was set back.
        let elapsed = seen.entry.at.duration_since(last.at);
        if elapsed > -UNDER_WAY && elapsed < POLLING_INTERVAL {
            self.broke(Rule::Polling, &subject, &[&last, seen.entry]);
        }
    }

    fn watch_creates(&mut self, seen: &Observed<'_>) {
        let is_create = *seen.method == Method::POST && seen.route.last() == Some(&"envelopes");
        let Some(transaction) = seen.transaction.as_deref().filter(|id| is_create && !id.is_empty()) else {
            return;
        };
        if let Some(first) = self.created.get(transaction).cloned() {
            self.broke(Rule::CreateRepeated, transaction, &[&first, seen.entry]);
        } else {
            self.created.insert(transaction.to_owned(), seen.entry.clone());
        }
    }
}
