//! The one shape of every call.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use tokio::sync::Semaphore;

use super::{
    Acting, Error, SenderOptions,
    account_settings::SenderChecks,
    accounts::Senders,
    call::{Answer, Body, Call, longest},
    identity::Workflows,
    refusal::{LimitKind, Refusal, Verdict, classify},
    templates::Templates,
    warm::Hosts,
    wire,
};
use crate::{
    auth::{self, AccessToken, Auth},
    budget::{
        Budget, Operation, Outcome, Permit, Scope,
        limits::{Reading, until_top_of_hour},
    },
    clock::{Now, SharedClock},
    domain::{CallerName, SenderName},
    http_client::{self, HttpClient, Request},
    places::Places,
};

/// The vendor's limit of a request, "Rules and limits".
pub(super) const MAX_REQUEST_BYTES: usize = 35_651_584;
/// An error's body is one short JSON object.
const MAX_ERROR_BYTES: usize = 256 * 1024;
/// No call is expected to end sooner, so none is begun with less time left.
const SHORTEST: Duration = Duration::from_millis(20);
/// A slow spell must not have us refuse calls for ever: more than this is never asked of a deadline.
const LONGEST_EXPECTED: Duration = Duration::from_secs(2);
/// Bodies sent as they arrive, at once: each lasts as long as its caller likes, within its time.
const UPLOADS_AT_ONCE: usize = 8;
/// One part in so many of all places is for signers' calls alone.
const SHARE_OF_SIGNERS: usize = 8;
/// The vendor's trace id of a call, for support cases.
const TRACE: HeaderName = HeaderName::from_static("x-docusign-tracetoken");
/// What is kept of it: a GUID has 36 characters.
const MAX_TRACE: usize = 64;
/// How long a burst lasts, and a limit that names no time.
const BURST: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3_600);

/// What a client needs.
pub struct Deps {
    /// The way out.
    pub http: HttpClient,
    /// Tokens and accounts of the senders.
    pub auth: Auth,
    /// What may be called.
    pub budget: Arc<Budget>,
    /// The time.
    pub clock: SharedClock,
    /// Who is told of every call that ended.
    pub observer: Option<Arc<dyn Observer>>,
    /// Settings of senders, by name; a sender without an entry has the defaults.
    pub senders: Vec<(SenderName, SenderOptions)>,
    /// Limits.
    pub options: Options,
}

/// Limits of a client.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Calls under way at once; new work gets three quarters of them, and uploads that stream a quarter, but no
    /// more than eight, and of one caller three quarters of those. An eighth, but at least one, is for signers alone.
    pub calls_at_once: usize,
    /// The longest that one call may take, except what is passed through.
    pub request_timeout: Duration,
    /// Where the upstream's own pages come from that a focused view stands in.
    pub apps_origin: &'static str,
    /// Whether [`Client::keep_warm`] does anything.
    pub keep_warm: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            calls_at_once: 64,
            request_timeout: Duration::from_secs(30),
            apps_origin: "https://apps-d.docusign.com",
            keep_warm: true,
        }
    }
}

/// Is told of every call that ended: for histograms, without this module knowing of any.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A call ended so, after so long. `trace` gives the upstream's trace id of it, if an answer came, to who
    /// wants it.
    fn observed(
        &self,
        operation: Operation,
        outcome: Outcome,
        duration: Duration,
        trace: &dyn Fn() -> Option<String>,
    );
}

/// The client. One for all senders; shared behind an [`Arc`].
pub struct Client {
    pub(super) auth: Auth,
    pub(super) budget: Arc<Budget>,
    pub(super) clock: SharedClock,
    pub(super) senders: Senders,
    pub(super) options_of: HashMap<SenderName, SenderOptions>,
    /// Brands of senders that are not in the settings.
    pub(super) worn: RwLock<HashMap<SenderName, String>>,
    pub(super) workflows: Workflows,
    pub(super) apps_origin: &'static str,
    request_timeout: Duration,
    pub(super) templates: Templates,
    pub(super) sender_checks: SenderChecks,
    pub(super) http: HttpClient,
    /// None: connections are left to themselves.
    pub(super) warm: Option<Hosts>,
    observer: Option<Arc<dyn Observer>>,
    pub(super) slots: Semaphore,
    pub(super) slots_of_new_work: Semaphore,
    /// Of all but signers' calls, so that a place is left for people who are at it.
    pub(super) slots_of_others: Semaphore,
    /// Of bodies that are sent as they arrive: slow callers must not take the places of creates, nor one of them those
    /// of the others.
    pub(super) uploads: Places<CallerName>,
    /// How long calls usually take, in milliseconds, by operation.
    usual_ms: [AtomicU64; Operation::ALL.len()],
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("http", &self.http).finish_non_exhaustive()
    }
}

/// How one attempt failed.
enum Failed {
    /// The token was refused.
    Unauthorized,
    /// In another way.
    Error(Error),
}

impl Client {
    /// Puts a client together; calls nobody.
    pub fn new(deps: Deps) -> Arc<Self> {
        let calls = deps.options.calls_at_once.max(4);
        let uploads = (calls / 4).min(UPLOADS_AT_ONCE);
        Arc::new(Self {
            auth: deps.auth,
            budget: deps.budget,
            clock: deps.clock,
            senders: Senders::default(),
            options_of: deps.senders.into_iter().collect(),
            worn: RwLock::default(),
            apps_origin: deps.options.apps_origin,
            request_timeout: deps.options.request_timeout,
            workflows: Workflows::new(),
            templates: Templates::new(),
            sender_checks: SenderChecks::new(),
            http: deps.http,
            warm: deps.options.keep_warm.then(Hosts::default),
            observer: deps.observer,
            slots: Semaphore::new(calls),
            slots_of_new_work: Semaphore::new(calls * 3 / 4),
            slots_of_others: Semaphore::new(calls.saturating_sub((calls / SHARE_OF_SIGNERS).max(1)).max(1)),
            uploads: Places::new(uploads, (uploads * 3 / 4).max(1)),
            usual_ms: std::array::from_fn(|_| AtomicU64::new(0)),
        })
    }

    /// The date as the upstream has it, as far as its answers have told; this machine's before the
    /// first one, and where they do not say that it is wrong.
    pub fn corrected_now(&self) -> jiff::Timestamp {
        self.auth.corrected_now()
    }

    /// The date as the upstream has it; none before its first answer.
    pub fn told_now(&self) -> Option<jiff::Timestamp> {
        self.auth.clock_offset().map(|_| self.corrected_now())
    }

    /// The budget that its calls are counted in.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Makes a call; once more if the account turns out to have moved: the refusal says that nothing was done (rule E2).
    /// What is passed on is repeated by its own client, if at all.
    pub(super) async fn call(&self, acting: &Acting, call: Call) -> Result<Answer, Error> {
        let result = self.make(acting, &call).await;
        let Some(kind) = result.as_ref().err().and_then(Error::rejection) else { return result };
        // Rare and large: boxed, so that every call need not have room for it.
        match Box::pin(self.moved(acting, &call, kind)).await {
            Some((there, url)) => Box::pin(self.make(&there, &Call { url, ..call })).await,
            None => result,
        }
    }

    /// Makes a call, and tells whoever counts how it ended.
    async fn make(&self, acting: &Acting, call: &Call) -> Result<Answer, Error> {
        let began = self.clock.uptime();
        let result = self.perform(acting, call).await;
        let took = self.clock.uptime().saturating_sub(began);
        if let Some(observer) = &self.observer {
            let trace = || match &result {
                Ok(answer) => answer.trace(),
                Err(error) => error.trace().map(str::to_owned),
            };
            let outcome = match &result {
                Ok(answer) if answer.status.is_success() => Outcome::Ok,
                Ok(_) => Outcome::Rejected,
                Err(error) => error.outcome(),
            };
            observer.observed(call.operation, outcome, took, &trace);
        }
        if let Err(error) = &result {
            tracing::debug!(
                operation = call.operation.as_str(),
                account.id = acting.account.as_str(),
                trace = error.trace(),
                %error,
                "upstream call failed"
            );
        }
        result
    }

    /// Authorises, sends, and repeats once with a fresh token if that was what was wrong (rule T7).
    async fn perform(&self, acting: &Acting, call: &Call) -> Result<Answer, Error> {
        let size: usize = call.body.iter().flat_map(|(_, pieces)| pieces).map(Bytes::len).sum();
        if size > MAX_REQUEST_BYTES {
            return Err(Error::Invalid(
                "it is larger than the 34 MiB that the upstream takes in one request",
            ));
        }
        let token = self.token(acting, call).await?;
        // A token that is refused twice is our trouble and not the caller's: nothing was done, and it passes.
        let refused = || {
            let retry_after = self.auth.held_back(acting.sender.as_str());
            Error::Auth(Arc::new(auth::Error::TokenRefused { retry_after }))
        };
        let is_upload = call.is_upload();
        match self.attempt(acting, call, &token).await {
            Err(Failed::Unauthorized) => {}
            Err(Failed::Error(error)) => return Err(error),
            Ok(answer) => return Ok(answer),
        }
        self.auth.retire(acting.sender.as_str(), token.generation());
        let fresh = self.token(acting, call).await?;
        if is_upload && fresh.generation() != token.generation() {
            // What streamed past is gone, so only its sender can repeat it; a 401 did nothing.
            return Err(Error::SendAgain);
        }
        if fresh.generation() == token.generation() {
            return Err(refused());
        }
        self.attempt(acting, call, &fresh).await.map_err(|failed| match failed {
            Failed::Unauthorized => {
                // No later call is to try it again.
                self.auth.retire(acting.sender.as_str(), fresh.generation());
                refused()
            }
            Failed::Error(error) => error,
        })
    }

    async fn token(&self, acting: &Acting, call: &Call) -> Result<AccessToken, Error> {
        if let Some(token) = self.auth.ready(acting.sender.as_str()) {
            return Ok(token);
        }
        // Rare and large: boxed, so that every call need not have room for it.
        let left = call.deadline.left(self.clock.uptime());
        let waiting = Box::pin(self.auth.token_within(acting.sender.as_str(), left));
        Ok(call.deadline.hold(&*self.clock, waiting).await.ok_or(Error::Deadline)??)
    }

    /// Spends one call.
    async fn attempt(&self, acting: &Acting, call: &Call, token: &AccessToken) -> Result<Answer, Failed> {
        let usual = &self.usual_ms[call.operation as usize];
        let expected = Duration::from_millis(usual.load(Ordering::Relaxed)).clamp(SHORTEST, LONGEST_EXPECTED);
        let (_turn, permit, left) =
            self.leave_announced(acting, call, expected).await.map_err(Failed::Error)?;
        let began = self.clock.uptime();
        let before = self.call_begins(&call.url, began);
        let timeout = longest(call.operation, self.request_timeout).min(left);
        let sent = self.send(call, call.request(token, timeout)).await;
        self.call_ended(&call.url, before, &sent);
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => return Err(Failed::Error(no_answer(error, permit))),
        };
        let now = Now::read(&*self.clock);
        if answer.status.is_success() {
            permit.answered(&answer.headers, now);
            note_usual(usual, now.uptime.saturating_sub(began));
            return Ok(answer);
        }
        let refusal = refusal(&answer);
        let verdict = classify(&refusal);
        if call.is_passed_on && matches!(verdict, Verdict::Rejected(_) | Verdict::Unavailable) {
            if let Verdict::Rejected(kind) = verdict {
                self.doubt_passed_on(acting, kind);
            }
            permit.answered(&answer.headers, now);
            return Ok(answer);
        }
        Err(refused(&answer.headers, refusal, verdict, permit, now))
    }

    async fn send(&self, call: &Call, request: Request) -> Result<Answer, http_client::Error> {
        let upload = call.upload.lock().unwrap_or_else(PoisonError::into_inner).take();
        if !call.is_streamed {
            let whole = self.http.send(request).await?;
            return Ok(Answer {
                status: whole.status,
                headers: whole.headers,
                body: Body::Whole(whole.body),
            });
        }
        let mut opened = match upload {
            Some(upload) => self.http.open_upload(request, upload).await?,
            None => self.http.open(request).await?,
        };
        if opened.status.is_success() {
            let headers = std::mem::take(&mut opened.headers);
            return Ok(Answer { status: opened.status, headers, body: Body::Streamed(Box::new(opened)) });
        }
        let whole = opened.read(MAX_ERROR_BYTES).await?;
        Ok(Answer { status: whole.status, headers: whole.headers, body: Body::Whole(whole.body) })
    }
}

/// No answer came: what that means for the budget and for the caller.
fn no_answer(error: http_client::Error, permit: Permit) -> Error {
    match error {
        http_client::Error::TooLarge => {
            Error::BadAnswer { status: 0, what: "it is larger than what is read", trace: None }
        }
        error if error.outcome() == http_client::Outcome::NotSent => {
            permit.not_sent();
            Error::NotSent(error)
        }
        // The permit is dropped: the call may have counted.
        error => Error::Unknown(error),
    }
}

/// The answer is no success: what it means for the budget and for the caller.
fn refused(headers: &HeaderMap, refusal: Refusal, verdict: Verdict, permit: Permit, now: Now) -> Failed {
    let reading = Reading::of(headers);
    match verdict {
        Verdict::Limited(kind) => {
            let reset = reading.until_reset(now).map(|left| now.uptime.saturating_add(left));
            permit.limited(kind.scope, until(kind, &reading, now), reset, now);
        }
        Verdict::Rejected(_) | Verdict::Unauthorized | Verdict::Unavailable => permit.answered(headers, now),
    }
    meant(refusal, verdict, &reading, now)
}

/// What it means for the caller.
fn meant(refusal: Refusal, verdict: Verdict, reading: &Reading, now: Now) -> Failed {
    match verdict {
        Verdict::Limited(kind) => Failed::Error(Error::Limited {
            until: now.date_of(until(kind, reading, now)),
            scope: kind.scope,
            provider: Some(refusal.provider()),
        }),
        Verdict::Rejected(kind) => Failed::Error(refusal.rejected(kind)),
        Verdict::Unauthorized => Failed::Unauthorized,
        Verdict::Unavailable => Failed::Error(Error::Unavailable {
            provider: refusal.provider(),
            retry_after: reading.retry_after,
        }),
    }
}

/// What an answer that is no success says, for the fuzzers: a call's way without its budget.
#[cfg(any(test, fuzzing))]
pub(crate) fn read_refusal(status: http::StatusCode, headers: &HeaderMap, body: Bytes) -> Error {
    let now = Now { date: jiff::Timestamp::UNIX_EPOCH, uptime: Duration::ZERO };
    let answer = Answer { status, headers: headers.clone(), body: Body::Whole(body) };
    let said = refusal(&answer);
    let verdict = classify(&said);
    match meant(said, verdict, &Reading::of(headers), now) {
        Failed::Error(error) => error,
        Failed::Unauthorized => refusal(&answer).rejected(super::RejectionKind::Unauthorized),
    }
}

/// The uptime at which a limit ends: as the answer says, or as the vendor's page does.
fn until(kind: LimitKind, reading: &Reading, now: Now) -> Duration {
    let lasts = reading.retry_after.unwrap_or_else(|| match kind {
        LimitKind { scope: Scope::Document, .. } => HOUR,
        LimitKind { is_hourly: true, .. } => {
            reading.until_reset(now).unwrap_or_else(|| until_top_of_hour(now.date))
        }
        LimitKind { is_hourly: false, .. } => BURST,
    });
    now.uptime.saturating_add(lasts)
}

fn refusal(answer: &Answer) -> Refusal {
    let body = match &answer.body {
        Body::Whole(body) => body.as_ref(),
        Body::Streamed(_) => &[],
    };
    let read = wire::error_code(body);
    Refusal {
        status: answer.status,
        is_foreign: read.is_err() && !body.is_empty(),
        code: read.ok().flatten(),
        trace: trace(&answer.headers),
    }
}

/// The vendor's id of the call that these headers answer, of plain characters and no longer than it may be.
pub fn trace(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(TRACE)?.to_str().ok()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let plain = if text.len() <= MAX_TRACE && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        text.chars().filter(|c| is_plain(*c)).take(MAX_TRACE).collect()
    };
    Some(plain).filter(|plain| !plain.is_empty())
}

/// A moving average, an eighth at a time. Two that write at once lose one sample, which is no matter.
fn note_usual(usual: &AtomicU64, took: Duration) {
    let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).min(60_000);
    let before = usual.load(Ordering::Relaxed);
    let after = if before == 0 { took } else { (before * 7 + took) / 8 };
    usual.store(after, Ordering::Relaxed);
}
