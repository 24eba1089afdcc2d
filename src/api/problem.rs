//! Errors as callers see them: problem documents (RFC 9457).
//!
//! One table gives each code its status, its usual next step, and whether repeating the same call can help;
//! a cause for which that is not so brings its own. A problem never repeats what was sent, and never quotes
//! what the upstream said beyond its code.

use std::{borrow::Cow, time::Duration};

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use jiff::Timestamp;
use serde::Serialize;

use crate::objects::{Invalid, Invalids, show};

/// What is fixed about a code.
#[derive(Debug, Clone, Copy)]
pub struct Code {
    /// The code: part of the API, never changed.
    pub code: &'static str,
    /// The HTTP status it comes with.
    pub status: u16,
    /// What it is about, in a few words.
    pub title: &'static str,
    /// The usual next step.
    pub fix: &'static str,
    /// Whether the same call may succeed later without anyone doing anything.
    pub retryable: bool,
}

macro_rules! codes {
    ($($code:ident $status:literal $retryable:literal $title:literal, $fix:literal;)*) => {
        /// Every code of the API, in the order of the alphabet.
        pub const CODES: &[Code] = &[$(Code {
            code: stringify!($code), status: $status, title: $title, fix: $fix, retryable: $retryable,
        },)*];
    };
}

codes! {
    anchor_not_found 422 false "An anchor is not in the document",
        "Put the anchor text into the PDF as real text (not an image, at least 4 pt), or correct its spelling in the request.";
    clock_skew 502 true "This machine's clock is wrong",
        "Set the clock of the machine that runs countersign (NTP); the detail says how far it is off.";
    consent_required 409 false "The sender has not consented",
        "Open `links.consent` once in a browser, signed in as the sender's own user, and repeat the call; where it is a path of this API, a GET of it answers with the address to open, individual_url. An administrator has another link, of GET /v1/senders/{name}/consent: own_organisation_url for your own organisation, organisation_url for a customer's.";
    content_encoding_unsupported 415 false "The body is compressed",
        "Send the body as it is, without Content-Encoding.";
    endpoint_disabled 409 false "The webhook endpoint is switched off",
        "Switch it on with PATCH /v1/webhook_endpoints/{id} and {\"disabled\": false}, and replay again. One of the settings is switched on by reading them again, too (SIGHUP).";
    forbidden 403 false "This caller may not do that",
        "Use a caller that may, or widen this caller's rights in the settings ([callers.NAME]).";
    idempotency_in_progress 409 true "The first call with this key is still running",
        "Repeat the same call after the time in Retry-After; it will tell the end.";
    idempotency_key_missing 400 false "The Idempotency-Key is missing or not usable",
        "Send a header Idempotency-Key with 1 to 255 visible characters that names this order, the same at every repetition.";
    idempotency_key_reused 422 false "The Idempotency-Key was used for another request",
        "Use a new key for a new request; to repeat the first one, send the same bytes: keep the body you sent.";
    internal 500 true "The daemon made a mistake",
        "Repeat the same call (a create with the same Idempotency-Key): it tells what became of the first. Give the operator the request_id; the log has a line of it.";
    invalid_request 400 false "The request is not valid",
        "Correct the places listed in errors, and send it again.";
    issuer_unavailable 503 true "The token's issuer cannot be asked",
        "Repeat the same call after the time in Retry-After; the operator finds the cause in the log: the key set of [oidc.NAME] cannot be read.";
    key_rejected 502 false "DocuSign refused our key",
        "Run `countersign doctor`: it says whether the private key, the integration key or the environment is wrong.";
    link_revoked 410 false "The link was revoked",
        "Make a new link for this signer.";
    method_not_allowed 405 false "The path does not take this method",
        "Use one of the methods listed in the header Allow; /docs has them all.";
    not_found 404 false "No such thing",
        "Check the id and the path (/docs has the paths); things of other callers do not exist for you.";
    outcome_unknown 502 false "Nobody knows whether DocuSign did it",
        "Do not repeat the call: list the envelopes changed since it was sent, and repeat only if yours is not among them. POST /v1/signings does this check by itself, and ends with this code only if its sender could not look for days.";
    payload_too_large 413 false "The request is too large",
        "Send a smaller document, or raise api.body_limit (for passed calls api.passthrough_limit) in the settings. A call without documents takes 64 KiB, whatever they say.";
    phone_invalid 400 false "The phone number is not valid",
        "Send the number as E.164: a plus sign, the country code and the number, digits only.";
    polling_budget 409 true "The envelope was checked too recently",
        "Wait for the event, or ask again at retry_at: DocuSign lets an application check an envelope once in 15 minutes.";
    precondition_failed 412 false "The document is another version",
        "Leave If-Match out, or send the ETag that the document has now: DocuSign may write it anew at each download.";
    provider_rate_limited 429 true "DocuSign's limit of calls is reached",
        "Repeat the call after the time in Retry-After.";
    provider_rejected 422 false "DocuSign refused the request",
        "Look up the provider code, correct the request, and send it again (a create with a new Idempotency-Key).";
    provider_unavailable 503 true "DocuSign cannot be reached",
        "Repeat the same call (a create with the same Idempotency-Key) after the time in Retry-After.";
    quota_exceeded 429 true "A quota is used up",
        "Repeat the call after the time in Retry-After, or have the operator raise what the detail names.";
    range_not_satisfiable 416 false "The range is not in the document",
        "Read Content-Range for the length, and ask for bytes that are there.";
    return_url_refused 400 false "The return URL is refused",
        "Use an https URL (http only on loopback) whose origin is listed under return_origins of this caller, or add it there and have the settings read again (SIGHUP).";
    sender_busy 503 true "The sender's connection is being renewed",
        "Repeat the same call (a create with the same Idempotency-Key) after the time in Retry-After.";
    sender_not_connected 409 false "The sender is not connected",
        "Give the customer the link of GET /v1/senders/NAME/connect, and repeat the call when they have accepted.";
    sender_not_in_account 502 false "The sender is not a member of the account",
        "Set senders.NAME.account to one of the accounts that the user belongs to; `countersign doctor` lists them.";
    sender_unknown 404 false "No such sender",
        "Use the name of a sender that this caller may use; GET /v1/senders lists them.";
    sender_unknown_user 502 false "DocuSign does not know the sender's user",
        "Set senders.NAME.user_id to the API user id (a GUID) shown under Apps and Keys, in the same environment.";
    sender_user_is_account 502 false "The sender's user id is an account's",
        "Set senders.NAME.user_id to the User ID on top of the Apps and Keys page; the API Account ID is another thing.";
    shutting_down 503 true "This daemon is stopping",
        "Repeat the same call; another daemon, or this one after its restart, will answer.";
    signer_not_ready 409 true "It is not yet time for that",
        "Wait for the event signer.ready, and ask again.";
    signing_closed 409 false "The signing has ended",
        "Read the signing for how it ended; make a new one if needed.";
    sms_auth_unavailable 422 false "No code can be sent by SMS",
        "Have phone authentication switched on for the DocuSign account; if the detail names the sender's own user, give that user a mailbox that no signer has, or the signer another e-mail address; or leave sms_auth out.";
    store_unavailable 503 true "The daemon's own store fails",
        "Repeat the same call with the same Idempotency-Key after the time in Retry-After; the operator finds the cause at /readyz and in the log.";
    template_role_mismatch 422 false "A role does not fit the template",
        "Give each signer a role that the template has, spelt exactly as there, and no role to two signers.";
    transfer_encoding_unsupported 501 false "The body comes in a transfer coding that is not taken",
        "Send the body with its Content-Length, or with Transfer-Encoding: chunked and no other coding.";
    unauthenticated 401 false "The API key is missing or wrong",
        "Send Authorization: Bearer with a key made by `countersign caller add`.";
    unknown_field 400 false "A field does not exist",
        "Correct or remove the fields listed in errors.";
    wrong_base_uri 502 false "The account lives on another host",
        "Check that sender, account and upstream.environment belong together; `countersign doctor` says which does not.";
    wrong_environment 502 false "Demo and production are mixed",
        "Use a user, an account and an integration key of the environment in upstream.environment: nothing is copied between the two.";
}

/// The next step where what is wrong has no place in a body.
const UNLISTED: &str = "Correct what the detail names, and send it again.";

/// What stands for a code that is not in the table. A failed create is read with the code that it was stored with,
/// maybe by a newer daemon; any other would be our mistake, and is no word of the upstream.
const UNKNOWN: &str = "internal";

/// The entry of a code.
pub fn code(name: &str) -> &'static Code {
    let find = |name: &str| CODES.iter().find(|code| code.code == name);
    find(name).or_else(|| find(UNKNOWN)).expect("the table holds it")
}

/// One refusal. Boxed, because every handler carries one in its result.
#[derive(Debug, Clone)]
pub struct Problem(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    code: &'static Code,
    detail: String,
    /// The next step, where the cause has another than its code.
    fix: Option<Cow<'static, str>>,
    /// Whether repeating can help, where that is otherwise than with its code.
    retryable: Option<bool>,
    errors: Vec<Invalid>,
    retry_at: Option<Timestamp>,
    retry_after: Option<Duration>,
    links: Vec<(&'static str, String)>,
    provider: Option<Provider>,
    replayed: bool,
}

/// What the upstream said, as far as it may be passed on.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Provider {
    /// Its HTTP status.
    pub http_status: Option<u16>,
    /// Its error code.
    pub code: Option<String>,
    /// Its trace token, for a support case.
    pub trace: Option<String>,
}

impl Problem {
    /// A problem of that code; `detail` says what happened this time.
    pub fn new(name: &str, detail: impl Into<String>) -> Self {
        let code = code(name);
        debug_assert_eq!(code.code, name, "a problem has a code of the table");
        Self(Box::new(Details {
            code,
            detail: detail.into(),
            fix: None,
            retryable: None,
            errors: Vec::new(),
            retry_at: None,
            retry_after: None,
            links: Vec::new(),
            provider: None,
            replayed: false,
        }))
    }

    /// Which problem it is.
    pub fn code(&self) -> &'static str {
        self.0.code.code
    }

    /// What happened this time.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// No such path, or not this caller's.
    pub fn not_found() -> Self {
        Self::new("not_found", "there is nothing here for this caller")
    }

    /// What a panic leaves. Our own calls can be repeated, and tell what became of the first.
    pub fn broken_off() -> Self {
        Self::new("internal", "the call broke off, through a fault of this program")
            .retry_after(Duration::from_secs(1))
    }

    /// What comes while the daemon stops.
    pub fn shutting_down() -> Self {
        Self::new("shutting_down", "the daemon has stopped taking work").retry_after(Duration::from_secs(2))
    }

    /// Everything that is wrong with a request.
    pub fn invalid(faults: Invalids) -> Self {
        // A place may be wrong in a way that has a name among the places alone.
        let name = Some(faults.code()).filter(|name| CODES.iter().any(|code| code.code == *name));
        let name = name.unwrap_or("invalid_request");
        let count = faults.0.len();
        let detail = match faults.0.first() {
            Some(first) if count == 1 && first.pointer.is_empty() => first.detail.clone(),
            Some(first) if count == 1 => format!("{} {}", first.pointer, first.detail),
            _ => format!("{count} places of the request are wrong"),
        };
        let mut problem = Self::new(name, detail);
        problem.0.errors = faults.0;
        problem
    }

    /// Lists what else is wrong with the request, beside what it is about.
    #[must_use]
    pub fn besides(mut self, faults: Invalids) -> Self {
        self.0.errors.extend(faults.0);
        self
    }

    /// Several refusals in one: the first is what it is about, the places of all are listed.
    pub fn join(problems: impl IntoIterator<Item = Self>) -> Option<Self> {
        let places = |problem: &Self| {
            let Details { code, detail, errors, .. } = &*problem.0;
            let whole = Invalid { pointer: String::new(), code: code.code, detail: detail.clone() };
            if errors.is_empty() { vec![whole] } else { errors.clone() }
        };
        let mut all = problems.into_iter().reduce(|mut all, more| {
            let mut errors = places(&all);
            errors.extend(places(&more));
            all.0.errors = errors;
            all
        })?;
        let errors = &mut all.0.errors;
        let mut seen = Vec::new();
        errors.retain(|place| {
            !seen.contains(place) && {
                seen.push(place.clone());
                true
            }
        });
        let has_several = errors.iter().any(|place| place.code != errors[0].code);
        if has_several {
            all.0.detail = format!("{} things are wrong with the request", errors.len());
            all.0.fix = Some(code("invalid_request").fix.into());
            if errors.iter().all(|place| !place.pointer.is_empty()) {
                all.0.code = code("invalid_request");
            }
        }
        Some(all)
    }

    /// Gives the next step of this cause, in the place of the one that is usual for the code.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<Cow<'static, str>>) -> Self {
        self.0.fix = Some(fix.into());
        self
    }

    /// Says that the same call will be refused again, although with this code it usually is not: there is no time to come
    /// back.
    #[must_use]
    pub fn for_good(mut self) -> Self {
        self.0.retryable = Some(false);
        self.0.retry_after = None;
        self
    }

    /// Whether it heals by itself, so that it is worth coming back.
    pub(super) fn is_passing(&self) -> bool {
        self.0.code.retryable && self.0.code.status >= 429
    }

    fn next_step(&self) -> &str {
        match &self.0.fix {
            Some(fix) => fix,
            // There is no list to look into.
            None if self.0.code.code == "invalid_request" && self.0.errors.is_empty() => UNLISTED,
            None => self.0.code.fix,
        }
    }

    /// Says after how long to come back, as `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    /// A time in the body; the middleware adds `Retry-After`, because it knows the time.
    #[must_use]
    pub(super) fn at(mut self, at: Timestamp) -> Self {
        self.0.retry_at = Some(at);
        self
    }

    /// What `Retry-After` says, if there is a time to come back.
    pub(super) fn wait(&self, now: Timestamp) -> Option<HeaderValue> {
        let until = |at: Timestamp| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO);
        let wait = self.0.retry_after.or_else(|| self.0.retry_at.map(until))?;
        // Rounded up: coming back a moment too early would be refused again.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Some(HeaderValue::from(seconds.max(1)))
    }

    /// Adds where to look or go next.
    #[must_use]
    pub fn link(mut self, name: &'static str, url: String) -> Self {
        self.0.links.push((name, url));
        self
    }

    /// Adds what the upstream said.
    #[must_use]
    pub fn provider(mut self, provider: Provider) -> Self {
        self.0.provider = Some(provider);
        self
    }

    /// Says that an earlier call got the same answer.
    #[must_use]
    pub fn replayed(mut self, replayed: bool) -> Self {
        self.0.replayed = replayed;
        self
    }

    /// Its HTTP status.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The document, once the request id is known.
    pub fn document(&self, request_id: &str) -> bytes::Bytes {
        self.written(request_id, None)
    }

    /// The same of a call that was to be passed on. What reads it is an SDK of the upstream's, which knows these two
    /// members of a refusal and no others (SPEC: errorDetails): they say again what ours say (RFC 9457, section 3.2).
    pub(super) fn document_for_sdks(&self, request_id: &str) -> bytes::Bytes {
        self.written(request_id, Some((self.code(), self.detail())))
    }

    fn written(&self, request_id: &str, for_sdks: Option<(&str, &str)>) -> bytes::Bytes {
        #[derive(Serialize)]
        struct Document<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            code: &'a str,
            detail: &'a str,
            #[serde(rename = "errorCode", skip_serializing_if = "Option::is_none")]
            error_code: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
            fix: &'a str,
            retryable: bool,
            #[serde(skip_serializing_if = "Option::is_none")]
            retry_at: Option<Timestamp>,
            #[serde(skip_serializing_if = "<[Invalid]>::is_empty")]
            errors: &'a [Invalid],
            links: std::collections::BTreeMap<&'a str, &'a str>,
            provider: Option<&'a Provider>,
            request_id: &'a str,
        }
        show::to_bytes(&Document {
            r#type: format!("/docs/errors/{}", self.0.code.code),
            title: self.0.code.title,
            status: self.0.code.status,
            code: self.0.code.code,
            detail: &self.0.detail,
            error_code: for_sdks.map(|(code, _)| code),
            message: for_sdks.map(|(_, message)| message),
            fix: self.next_step(),
            retryable: self.0.retryable.unwrap_or(self.0.code.retryable),
            retry_at: self.0.retry_at,
            errors: &self.0.errors,
            links: self.0.links.iter().map(|(name, url)| (*name, url.as_str())).collect(),
            provider: self.0.provider.as_ref(),
            request_id,
        })
    }
}

/// The body and `Retry-After` are written by the middleware, which knows the request id and the time.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.0.code.status == 401 {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // RFC 9110, section 12.5.3: it says what is taken.
        if self.0.code.status == 415 {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if self.0.replayed {
            headers.insert("idempotency-replayed", HeaderValue::from_static("true"));
        }
        response.extensions_mut().insert(std::sync::Arc::new(self));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_are_sorted_and_each_has_a_next_step() {
        assert!(CODES.is_sorted_by_key(|code| code.code));
        for code in CODES {
            assert!(code.fix.ends_with('.') && !code.title.ends_with('.'), "{}", code.code);
            assert!((400..600).contains(&code.status));
        }
    }

    #[test]
    fn a_code_that_is_not_in_the_table_is_a_mistake_of_ours_and_no_refusal_of_docusigns() {
        let unknown = code("of_a_newer_daemon");
        assert_eq!((unknown.code, unknown.status), ("internal", 500));
    }

    #[test]
    fn retry_after_is_rounded_up() {
        let (now, problem) = (Timestamp::UNIX_EPOCH, Problem::new("polling_budget", ""));
        assert_eq!(problem.wait(now), None);
        let wait = |problem: &Problem| problem.wait(now).expect("a time");
        assert_eq!(wait(&problem.clone().retry_after(Duration::from_millis(1_200))), "2");
        assert_eq!(wait(&problem.clone().at(now + Duration::from_millis(1_200))), "2");
        assert_eq!(wait(&problem.at(now - Duration::from_secs(5))), "1", "a time that is over");
    }
}
