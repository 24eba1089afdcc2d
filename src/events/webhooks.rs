//! One webhook: what is sent, how it is signed, where it may go, and what follows from the answer.
//!
//! The body is that of [`show::webhook`]; id, time and body are signed with every secret that is valid,
//! so that a receiver can change secrets without losing a delivery. What a receiver answers is believed
//! on two things only, status and `Retry-After`; its body is read for the sake of the connection, and
//! thrown away.
//!
//! A delivery leaves over an [`HttpClient`] that checks the addresses a name resolves to and connects to
//! those (rule F4): a name that points inside, or does so only the second time, leads nowhere.
//!
//! Source: the Standard Webhooks specification, "Signature scheme", "Webhook headers", "Deliverability
//! and reliability", "Delivery success and failure".

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use url::{Host, Url};

use crate::{
    clock::later,
    http_client::{self, BuildError, HttpClient, Reach, Request, is_public},
    objects::show,
    store::{Delivery, DeliveryState, DueDelivery, Endpoint},
    telemetry::metrics::AttemptResult,
};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The waits before each attempt, as the specification recommends them: 75 h 35 min 5 s in all. The
/// first attempt is made at once.
pub const SCHEDULE: [Duration; 10] = [
    Duration::ZERO,
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3_600),
    Duration::from_secs(5 * 3_600),
    Duration::from_secs(10 * 3_600),
    Duration::from_secs(14 * 3_600),
    Duration::from_secs(20 * 3_600),
    Duration::from_secs(24 * 3_600),
];
/// How much a wait may be longer or shorter, so that those who failed together do not return together.
const JITTER: f64 = 0.1;
/// The longest wait a receiver can ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// Time for one attempt.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How much of an answer is read, and for how long, so that the connection can be used again.
const MAX_ANSWER: usize = 4 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);
/// How long an old secret goes on signing after a new one has taken over.
pub const ROTATION: SignedDuration = SignedDuration::from_hours(24);

/// Where webhooks may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    /// Whether plain HTTP is fine on loopback: with the emulator only.
    pub plain_loopback: bool,
}

/// Why nothing is sent to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Forbidden(pub &'static str);

impl Targets {
    /// Whether an endpoint at this address may be private: as is wished, and else on loopback with the emulator
    /// alone. Refuses an address that may not be delivered to then, as [`check`](Self::check) does.
    pub fn may_be_private(self, url: &Url, wish: Option<bool>) -> Result<bool, Forbidden> {
        let allow_private = wish.unwrap_or(self.plain_loopback && is_loopback(url));
        self.check(url, allow_private)?;
        Ok(allow_private)
    }

    /// Whether an address may be delivered to, as far as it can be told before its name is resolved.
    pub fn check(self, url: &Url, allow_private: bool) -> Result<(), Forbidden> {
        let is_plain = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return Err(Forbidden("it is not an https address")),
        };
        if is_plain && !(self.plain_loopback && is_loopback(url)) {
            return Err(Forbidden("it is not https: events name signers"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden("it holds a user name or a password: receivers tell us by the signature"));
        }
        let is_private = is_loopback(url)
            || match url.host() {
                Some(Host::Ipv4(address)) => !is_public(address.into()),
                Some(Host::Ipv6(address)) => !is_public(address.into()),
                Some(Host::Domain(_)) => false,
                None => return Err(Forbidden("it names no host")),
            };
        if is_private && !allow_private {
            return Err(Forbidden("it is not on the public internet, and allow_private is not true"));
        }
        Ok(())
    }
}

/// Whether an address is on this machine by its spelling, also by one that nobody calls loopback elsewhere: such an
/// address is never one of the public internet.
fn is_loopback(url: &Url) -> bool {
    let in_disguise = match url.host() {
        Some(Host::Ipv6(address)) => address.to_ipv4_mapped().is_some_and(|inner| inner.is_loopback()),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(_)) | None => false,
    };
    in_disguise || http_client::is_loopback(url)
}

/// Sends webhooks. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Webhooks {
    public: HttpClient,
    anywhere: HttpClient,
    targets: Targets,
    dates: Option<Dates>,
}

/// Tells the date that messages bear.
#[derive(Clone)]
struct Dates(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl fmt::Debug for Dates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dates")
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The receiver answered.
    Answered {
        /// With this status.
        status: StatusCode,
        /// And wants to be left alone for so long.
        retry_after: Option<Duration>,
    },
    /// The address may not be delivered to.
    Forbidden(&'static str),
    /// There was no answer, because of this.
    Silent(String),
}

impl Webhooks {
    /// Builds the two ways out: for the public internet, and for endpoints that may be private.
    pub fn new(targets: Targets) -> Result<Self, BuildError> {
        let options = |reach| http_client::Options {
            timeout: TIMEOUT,
            read_timeout: TIMEOUT,
            response_limit_bytes: MAX_ANSWER,
            // There may be thousands of receivers, and most of them are called seldom.
            idle_timeout: Duration::from_secs(10),
            idle_per_host: 4,
            reach,
            ..http_client::Options::default()
        };
        Ok(Self {
            public: HttpClient::new(&options(Reach::PublicOnly))?,
            anywhere: HttpClient::new(&options(Reach::Anywhere))?,
            targets,
            dates: None,
        })
    }

    /// Dates messages by another clock than this machine's, which may be wrong: receivers refuse those of another time
    /// than theirs.
    #[must_use]
    pub fn dated_by(self, dates: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self { dates: Some(Dates(Arc::new(dates))), ..self }
    }

    /// Makes one attempt.
    pub async fn attempt(&self, due: &DueDelivery, now: Timestamp) -> Ended {
        let Ok(url) = Url::parse(&due.endpoint.url) else { return Ended::Forbidden("it is not an address") };
        if let Err(Forbidden(why)) = self.targets.check(&url, due.endpoint.allow_private) {
            return Ended::Forbidden(why);
        }
        let body = show::webhook(&due.event);
        let mut request = Request::post(url).timeout(TIMEOUT);
        let secrets = valid_secrets(&due.endpoint, now);
        let dated = self.dates.as_ref().map_or(now, |dates| (dates.0)());
        for (name, value) in headers(secrets, &due.event.id.to_string(), dated, &body) {
            request = request.header(name, value);
        }
        let client = if due.endpoint.allow_private { &self.anywhere } else { &self.public };
        match client.open(request.json(body)).await {
            Ok(answer) => {
                let (status, retry_after) = (answer.status, retry_after(&answer.headers, dated));
                let _ = tokio::time::timeout(DRAIN_TIME, answer.read(MAX_ANSWER)).await;
                Ended::Answered { status, retry_after }
            }
            Err(http_client::Error::Refused(why)) => Ended::Forbidden(why),
            Err(error) => Ended::Silent(silence(&error)),
        }
    }
}

/// Why no answer came. Not where from: the address is sealed, and this is kept and logged in the clear.
fn silence(error: &http_client::Error) -> String {
    match error {
        http_client::Error::Connect { .. } => "cannot connect".to_owned(),
        http_client::Error::Dns { .. } => "the host's name cannot be resolved".to_owned(),
        http_client::Error::Tls { .. } => "no TLS session could be agreed on".to_owned(),
        other => other.to_string(),
    }
}

/// What follows from an attempt: the delivery as it is now, and how it counts.
///
/// `chance` is from 0 to 1 and spreads the next attempt.
pub fn settle(
    mut delivery: Delivery,
    ended: Ended,
    now: Timestamp,
    chance: f64,
) -> (Delivery, AttemptResult) {
    delivery.attempts = delivery.attempts.saturating_add(1);
    delivery.attempted_at = Some(now);
    delivery.due_at = now;
    let mut asked_for = None;
    let result = match ended {
        Ended::Answered { status, retry_after } => {
            delivery.response_status = Some(status.as_u16());
            delivery.error =
                (!status.is_success()).then(|| format!("the receiver answered {}", status.as_u16()));
            asked_for = retry_after;
            match status {
                StatusCode::GONE => AttemptResult::Gone,
                status if status.is_success() => AttemptResult::Delivered,
                _ => AttemptResult::Failed,
            }
        }
        Ended::Forbidden(why) => {
            delivery.response_status = None;
            delivery.error = Some(format!("nothing is sent to this address: {why}"));
            AttemptResult::GivenUp
        }
        Ended::Silent(why) => {
            delivery.response_status = None;
            delivery.error = Some(why);
            AttemptResult::Failed
        }
    };
    let next = usize::try_from(delivery.attempts).ok().and_then(|made| SCHEDULE.get(made));
    let (state, result) = match (result, next) {
        (AttemptResult::Delivered, _) => (DeliveryState::Delivered, result),
        (AttemptResult::Gone | AttemptResult::GivenUp, _) => (DeliveryState::Failed, result),
        (AttemptResult::Failed, None) => (DeliveryState::Failed, AttemptResult::GivenUp),
        (AttemptResult::Failed, Some(wait)) => {
            let wait = wait.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance.clamp(0.0, 1.0));
            delivery.due_at = later(now, wait.max(asked_for.unwrap_or_default()));
            (DeliveryState::Pending, result)
        }
    };
    delivery.state = state;
    (delivery, result)
}

/// The three headers of the specification, signed with each of these secrets.
pub fn headers(secrets: &[Vec<u8>], id: &str, now: Timestamp, body: &[u8]) -> [(HeaderName, HeaderValue); 3] {
    let at = now.as_second();
    let signatures: Vec<_> = secrets.iter().map(|secret| sign(secret, id, at, body)).collect();
    let text = |text: String| HeaderValue::try_from(text).expect("ids, numbers and base64 are visible ASCII");
    [(ID, text(id.to_owned())), (TIMESTAMP, HeaderValue::from(at)), (SIGNATURE, text(signatures.join(" ")))]
}

/// The secrets that sign now: of an endpoint from the settings all, else the newest, and the older ones
/// for a while after it took over.
pub fn valid_secrets(endpoint: &Endpoint, now: Timestamp) -> &[Vec<u8>] {
    let secrets = endpoint.secrets.reveal().as_slice();
    let is_over = endpoint.rotated_at.is_some_and(|at| now.duration_since(at) >= ROTATION);
    if is_over { &secrets[..secrets.len().min(1)] } else { secrets }
}

/// A signature: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
pub fn sign(secret: &[u8], id: &str, at: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(format!("{id}.{at}.").as_bytes());
    context.update(body);
    format!("v1,{}", STANDARD.encode(context.sign()))
}

/// For how long a receiver asks to be left alone, within bounds.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    Some(http_client::retry_after(headers, Some(now))?.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;
    use crate::{
        domain::{CallerName, DeliveryId, EndpointId, EventId, Private},
        events::Limits,
        store,
    };

    fn now() -> Timestamp {
        Timestamp::from_second(1_772_000_000).unwrap()
    }

    #[test]
    fn nothing_waits_beyond_the_bounds_of_the_store() {
        let longest = SCHEDULE.iter().max().unwrap().mul_f64(1.0 + JITTER);
        for wait in [longest, MAX_RETRY_AFTER] {
            assert!(wait + store::CLOCKS < store::LONGEST_DELIVERY, "{wait:?}");
        }
        assert!(Limits::default().lease + store::CLOCKS < store::LONGEST_DELIVERY_LEASE);
    }

    fn delivery(attempts: u32) -> Delivery {
        Delivery {
            id: DeliveryId::generate(now()),
            event: EventId::generate(now()),
            endpoint: EndpointId::from_settings("website"),
            caller: CallerName::new("website"),
            state: DeliveryState::Pending,
            attempts,
            created_at: now(),
            due_at: now(),
            attempted_at: None,
            response_status: None,
            error: None,
        }
    }

    fn endpoint(secrets: &[&str], rotated_at: Option<Timestamp>) -> Endpoint {
        let secrets = secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect();
        Endpoint {
            id: EndpointId::from_settings("website"),
            caller: CallerName::new("website"),
            url: "https://example.com/hook".to_owned(),
            secrets: Private::new(secrets),
            rotated_at,
            events: Vec::new(),
            allow_private: false,
            from_settings: false,
            created_at: now(),
            disabled_at: None,
            dropped_at: None,
        }
    }

    fn answered(status: u16, retry_after: Option<u64>) -> Ended {
        let retry_after = retry_after.map(Duration::from_secs);
        Ended::Answered { status: StatusCode::from_u16(status).unwrap(), retry_after }
    }

    fn wait(attempts: u32, ended: Ended, chance: f64) -> SignedDuration {
        settle(delivery(attempts), ended, now(), chance).0.due_at.duration_since(now())
    }

    #[test]
    fn a_signature_is_that_of_the_specification_s_libraries() {
        // libraries/rust/src/lib.rs, test_sign.
        let secret = STANDARD.decode("C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            sign(&secret, "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn every_valid_secret_signs_and_an_old_one_stops_after_a_day() {
        let rotated = endpoint(&["new", "old"], Some(now()));
        let signatures = |endpoint: &Endpoint, at: Timestamp| {
            let [id, timestamp, signature] = headers(valid_secrets(endpoint, at), "evt_1", at, b"{}");
            assert_eq!(
                (id.1, timestamp.1),
                (HeaderValue::from_static("evt_1"), HeaderValue::from(at.as_second()))
            );
            signature.1.to_str().unwrap().to_owned()
        };
        let expected = |secrets: &[&str], at: Timestamp| {
            let each = secrets.iter().map(|secret| sign(secret.as_bytes(), "evt_1", at.as_second(), b"{}"));
            each.collect::<Vec<_>>().join(" ")
        };
        assert_eq!(signatures(&rotated, now()), expected(&["new", "old"], now()));
        let next_day = now() + ROTATION;
        assert_eq!(signatures(&rotated, next_day), expected(&["new"], next_day));
        assert_eq!(signatures(&endpoint(&["a", "b"], None), next_day), expected(&["a", "b"], next_day));
    }

    #[test]
    fn ten_attempts_over_seventy_five_hours() {
        let total: Duration = SCHEDULE.iter().sum();
        assert_eq!(total, Duration::from_secs(75 * 3_600 + 35 * 60 + 5));
        for (made, expected) in (0..9).zip(&SCHEDULE[1..]) {
            let expected = SignedDuration::try_from(*expected).unwrap();
            assert_eq!(wait(made, answered(500, None), 0.5), expected);
            assert_eq!(wait(made, answered(302, None), 0.0).as_secs(), expected.as_secs() * 9 / 10);
            assert_eq!(
                wait(made, Ended::Silent("x".to_owned()), 1.0).as_millis(),
                expected.as_millis() * 11 / 10
            );
        }
        let (last, result) = settle(delivery(9), answered(500, None), now(), 0.5);
        assert_eq!((last.state, last.attempts), (DeliveryState::Failed, 10));
        assert_eq!(result, AttemptResult::GivenUp);
    }

    #[test]
    fn an_answer_decides_what_becomes_of_a_delivery() {
        for (ended, state, result) in [
            (answered(200, None), DeliveryState::Delivered, AttemptResult::Delivered),
            (answered(204, Some(60)), DeliveryState::Delivered, AttemptResult::Delivered),
            (answered(301, None), DeliveryState::Pending, AttemptResult::Failed),
            (answered(410, None), DeliveryState::Failed, AttemptResult::Gone),
            (answered(429, None), DeliveryState::Pending, AttemptResult::Failed),
            (Ended::Forbidden("inside"), DeliveryState::Failed, AttemptResult::GivenUp),
            (Ended::Silent("no answer in time".to_owned()), DeliveryState::Pending, AttemptResult::Failed),
        ] {
            let (delivery, counted) = settle(delivery(0), ended.clone(), now(), 0.5);
            assert_eq!((delivery.state, counted), (state, result), "{ended:?}");
            assert_eq!(delivery.error.is_none(), state == DeliveryState::Delivered);
        }
    }

    #[test]
    fn a_receiver_can_ask_for_a_later_time_and_never_for_an_earlier_one() {
        assert_eq!(wait(0, answered(503, Some(60)), 0.5).as_secs(), 60);
        assert_eq!(wait(2, answered(503, Some(60)), 0.5).as_secs(), 30 * 60);
        let header = |text: &'static str| {
            HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(text))])
        };
        let now = Timestamp::from_second(0).unwrap();
        assert_eq!(retry_after(&header("7"), now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(&header("Thu, 01 Jan 1970 00:00:09 GMT"), now), Some(Duration::from_secs(9)));
        assert_eq!(retry_after(&header("99999999999999"), now), Some(MAX_RETRY_AFTER));
        for wrong in ["-1", "soon", "1.5"] {
            assert_eq!(retry_after(&header(wrong), now), None);
        }
    }

    #[test]
    fn only_public_https_addresses_are_delivered_to_unless_allowed() {
        let check = |url: &str, allow_private: bool, plain_loopback: bool| {
            Targets { plain_loopback }.check(&Url::parse(url).unwrap(), allow_private).is_ok()
        };
        for url in ["https://example.com/hook", "https://1.1.1.1/", "https://[2606:4700::1111]:8443/x?y=z"] {
            assert!(check(url, false, false), "{url}");
        }
        for url in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://localhost/",
            "https://a.localhost./",
            "https://10.0.0.8/",
            "https://169.254.169.254/latest/meta-data/",
            "https://100.64.0.1/",
            "https://[::1]/",
            "https://[fd00::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://[fe80::1]/",
            "https://0.0.0.0/",
        ] {
            assert!(!check(url, false, true), "{url}");
            assert!(check(url, true, false), "{url}");
        }
        for url in
            ["http://example.com/", "ftp://example.com/", "http://10.0.0.1/", "https://user:pw@example.com/"]
        {
            assert!(!check(url, true, true), "{url}");
        }
        assert!(check("http://127.0.0.1:9000/", true, true));
        assert!(!check("http://127.0.0.1:9000/", false, true));
        assert!(!check("http://127.0.0.1:9000/", true, false));
    }

    #[test]
    fn an_endpoint_is_private_where_that_is_wished_and_by_itself_on_loopback_with_the_emulator() {
        let may_be = |url: &str, wish: Option<bool>, plain_loopback: bool| {
            Targets { plain_loopback }.may_be_private(&Url::parse(url).unwrap(), wish).ok()
        };
        assert_eq!(may_be("http://127.0.0.1:9000/", None, true), Some(true));
        assert_eq!(may_be("http://127.0.0.1:9000/", Some(false), true), None);
        assert_eq!(may_be("https://127.0.0.1/", None, false), None);
        assert_eq!(may_be("https://10.0.0.8/", None, true), None);
        assert_eq!(may_be("https://10.0.0.8/", Some(true), false), Some(true));
        assert_eq!(may_be("https://example.com/hook", None, true), Some(false));
    }
}
