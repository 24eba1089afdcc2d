//! What a caller may do: senders, templates, return URLs, SMS, rate.
//!
//! With `enforcement = "audit"` nothing is refused: what would be is one warning in the log and one count in
//! the metrics, so that rights can be written for a caller that runs already, and tried before they bite.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::share::{Held, Share};
use crate::{
    api::Problem,
    bucket::Bucket,
    config::{self, Enforcement, Passthrough},
    domain::{CallerName, Document, Draft, SenderName, TemplateNames},
    objects::Invalids,
    signing,
    telemetry::metrics::{Decision, Metrics, Right},
};

/// One caller and its rights.
#[derive(Debug)]
pub struct Caller {
    /// Its name in the settings.
    pub name: CallerName,
    rights: config::Caller,
    /// Those of its rights, for looking up: there may be thousands.
    senders: Option<HashSet<String>>,
    bucket: Option<Mutex<Bucket>>,
    pub(super) share: Arc<Share>,
    metrics: Arc<Metrics>,
    outdated: CancellationToken,
}

impl Caller {
    pub(super) fn new(
        name: CallerName,
        rights: &config::Caller,
        share: Arc<Share>,
        metrics: Arc<Metrics>,
        outdated: CancellationToken,
    ) -> Self {
        let bucket = rights.rate.map(|rate| {
            let count = f64::from(rate.count);
            Mutex::new(Bucket::new(count, count / rate.per.as_secs_f64()))
        });
        let senders = rights.senders.as_ref().map(|names| names.iter().cloned().collect());
        Self { name, senders, bucket, share, rights: rights.clone(), metrics, outdated }
    }

    /// Fires when the callers of the settings are replaced: whoever was let in by the old ones may be nobody by now, and
    /// shows again who they are.
    pub(in crate::api) fn outdated(&self) -> CancellationToken {
        self.outdated.clone()
    }

    /// Counts a request against the caller's rate.
    pub fn spend(&self, uptime: Duration) -> Result<(), Problem> {
        let take =
            |bucket: &Mutex<Bucket>| bucket.lock().unwrap_or_else(PoisonError::into_inner).take(uptime);
        match self.bucket.as_ref().map_or(Ok(()), take) {
            Err(wait) if self.refuses(Right::Rate, "") => {
                let fix = self.or_raise("rate");
                Err(Problem::new("quota_exceeded", "this caller's rate in the settings is used up")
                    .fix(fix)
                    .retry_after(wait))
            }
            _ => Ok(()),
        }
    }

    /// What to do about a quota of this caller's.
    fn or_raise(&self, setting: &str) -> String {
        let name = self.name.as_str();
        format!(
            "Repeat the call after the time in Retry-After, or have the operator raise callers.{name}.{setting} (SIGHUP)."
        )
    }

    /// Whether a sender is among those that this caller is told of.
    pub fn sees_sender(&self, sender: &SenderName) -> bool {
        self.senders.as_ref().is_none_or(|names| names.contains(sender.as_str()))
    }

    /// Whether this caller may act as a sender.
    pub fn may_use_sender(&self, sender: &SenderName) -> bool {
        self.sees_sender(sender) || !self.refuses(Right::Sender, sender.as_str())
    }

    /// The same, asked by the way: nothing is counted.
    pub(super) fn is_let_use_sender(&self, sender: &SenderName) -> bool {
        self.sees_sender(sender) || self.rights.enforcement == Enforcement::Audit
    }

    /// Whether this caller may pass calls through, which are not looked into; and such as make an envelope.
    pub(in crate::api) fn may_pass_through(&self, makes_envelope: bool) -> bool {
        let may = match self.rights.passthrough {
            Passthrough::All => true,
            Passthrough::NoEnvelopes => !makes_envelope,
            Passthrough::Nothing => false,
        };
        may || !self.refuses(Right::Template, "passthrough")
    }

    /// Whether this caller may make senders like this one.
    pub(in crate::api) fn may_make_like(&self, pattern: &str) -> bool {
        self.patterns().iter().any(|name| name == pattern)
    }

    /// The senders that it may make others like.
    pub(super) fn patterns(&self) -> &[String] {
        &self.rights.sender_patterns
    }

    /// How many signings it may create in a day.
    pub(in crate::api) fn daily_signings(&self) -> Option<u32> {
        self.rights.daily_signings
    }

    /// What counting against the day's cap came to; a cap that is on trial stops nothing.
    pub(in crate::api) fn capped(&self, counted: Result<(), signing::Error>) -> Result<(), signing::Error> {
        let is_reached = matches!(counted, Err(signing::Error::DailyCap { .. }));
        if is_reached && !self.refuses(Right::Rate, "daily_signings") { Ok(()) } else { counted }
    }

    /// Whether creates of its are counted, in the day or in the hour.
    pub(in crate::api) fn has_counted_creates(&self) -> bool {
        self.rights.daily_signings.is_some() || self.rights.budget_percent.is_some()
    }

    /// Counts the calls that a request costs upstream against the caller's share of the hour. How many they are is asked
    /// only for a caller that has one.
    pub(in crate::api) fn spend_share(
        &self,
        calls: impl FnOnce() -> u64,
        hourly_limit: u64,
        now: Timestamp,
    ) -> Result<(), Problem> {
        if let Some(held) = self.hold_share(calls, hourly_limit, now)? {
            held.keep(now);
        }
        Ok(())
    }

    /// As [`spend_share`](Self::spend_share), for what may still be refused: the calls count once they are kept. None: they
    /// never do.
    pub(in crate::api) fn hold_share(
        &self,
        calls: impl FnOnce() -> u64,
        hourly_limit: u64,
        now: Timestamp,
    ) -> Result<Option<Held>, Problem> {
        let Some(most) = self.most_calls(hourly_limit) else { return Ok(None) };
        let calls = calls();
        if calls == 0 {
            return Ok(None);
        }
        match self.share.hold(calls, most, now) {
            Ok(held) => Ok(Some(held)),
            Err(next) if self.refuses(Right::Rate, "budget_percent") => {
                let detail = format!("this caller's share of the hour ({most} calls) is used up");
                Err(Problem::new("quota_exceeded", detail).fix(self.or_raise("budget_percent")).at(next))
            }
            Err(_) => Ok(None),
        }
    }

    /// Takes calls that were counted then, and will not be made, back into the share.
    pub(in crate::api) fn return_share(&self, calls: u64, counted_at: Option<Timestamp>, now: Timestamp) {
        if let Some(counted_at) = counted_at {
            self.share.give_back(calls, counted_at, now);
        }
    }

    /// How many calls its share of the hour is, if it has one.
    fn most_calls(&self, hourly_limit: u64) -> Option<u64> {
        self.rights.budget_percent.map(|percent| (hourly_limit * u64::from(percent) / 100).max(1))
    }

    /// What it has spent of its share of the hour, if it has one.
    pub(super) fn share(&self) -> Option<&Arc<Share>> {
        self.rights.budget_percent.map(|_| &self.share)
    }

    /// Checks a draft against the caller's rights: template, return URLs, SMS. Templates are compared by what they
    /// are and not by what they are called, because one has several names.
    pub fn check(&self, draft: &Draft, templates: &TemplateNames) -> Invalids {
        let mut faults = Invalids::default();
        for (at, document) in draft.documents.iter().enumerate() {
            let (Document::Template { id, .. }, Some(allowed)) = (document, &self.rights.templates) else {
                continue;
            };
            let is_allowed = allowed.iter().any(|allowed| {
                // Some copy a GUID in capitals.
                allowed.eq_ignore_ascii_case(id) || templates.in_settings(&draft.sender, allowed) == Some(id)
            });
            if !is_allowed && self.refuses(Right::Template, id) {
                faults.add(
                    format!("/documents/{at}/template"),
                    "forbidden",
                    "this caller may not use this template",
                );
            }
        }
        for (at, signer) in draft.signers.iter().enumerate() {
            if signer.return_url.as_deref().is_some_and(|url| !self.may_return_to(url)) {
                faults.add(
                    format!("/signers/{at}/return_url"),
                    "return_url_refused",
                    format!("has an origin that is not among callers.{}.return_origins", self.name),
                );
            }
            if self.rights.sms_required && signer.sms.is_none() && self.refuses(Right::Sms, "") {
                faults.add(
                    format!("/signers/{at}/sms_auth"),
                    "forbidden",
                    "this caller must ask for an SMS code",
                );
            }
        }
        faults
    }

    /// Whether visitors may be sent back to this URL (rule L6).
    pub fn may_return_to(&self, url: &str) -> bool {
        let listed = &self.rights.return_origins;
        if listed.iter().any(|origin| origin.begins(url)) {
            return true;
        }
        let Ok(url) = url::Url::parse(url) else { return false };
        let origin = config::Origin::of(&url);
        listed.contains(&origin) || !self.refuses(Right::ReturnOrigin, origin.as_str())
    }

    /// Whether a right that is missing refuses; it is counted either way. `what` is a name of the settings,
    /// a template's id or an origin.
    fn refuses(&self, right: Right, what: &str) -> bool {
        let audits = self.rights.enforcement == Enforcement::Audit;
        self.metrics.right_missing(right, if audits { Decision::Audited } else { Decision::Refused });
        if audits {
            let (caller, right) = (self.name.as_str(), right.as_str());
            tracing::warn!(
                caller,
                right,
                what,
                "allowed for now: this caller lacks a right (enforcement = \"audit\")"
            );
        }
        !audits
    }
}
