//! The grants: one POST to `/oauth/token`, and a reading of whatever comes back.
//!
//! The answer is not trusted. Only a JSON object with a bearer token and a believable life is a
//! success; everything else becomes one error that says whether asking again can help. Nothing of
//! an answer's text goes further, except the upstream's own word for its refusal, reduced to a
//! few harmless characters. Follows RFC 6749, sections 5.1 and 5.2, RFC 7523, section 2.1, and the
//! vendor's error words as they were observed (read 2026-10).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    access_token::MintedToken,
    account_server_calls::Question,
    assertion::Assertion,
    consent::PkceVerifier,
    error::{Error, Said},
    identity::{AccountServer, IntegrationKey},
};
use crate::http_client::{self, HttpClient, Request, Response};

/// Real answers have 1 to 2 KB.
const RESPONSE_LIMIT_BYTES: usize = 64 * 1024;
/// JWT tokens live an hour, those of the code grant eight. More than a day is a mistake.
const MAX_LIFE: Duration = Duration::from_secs(86_400);
/// Longer than any real token; header lines have limits.
const MAX_BEARER_BYTES: usize = 16 * 1024;
/// Longer requests to wait are cut to this: no answer may end the refresher (rule T4).
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// What a call of the account server brought, and what its clock showed.
#[derive(Debug)]
pub struct Reply<T> {
    /// What was asked for, or why there is none.
    pub result: Result<T, Error>,
    /// The `Date` header, of errors too; none behind a cache or without an answer.
    pub date: Option<Timestamp>,
}

impl<T> Reply<T> {
    /// What became of a request: `read` says what an answer means, `too_large` that there is more of it than it may have.
    pub(super) fn new(
        sent: Result<Response, http_client::Error>,
        too_large: &'static str,
        read: impl FnOnce(&Response) -> Result<T, Error>,
    ) -> Self {
        let error = match sent {
            Ok(answer) => {
                let result = read(&answer);
                return Self { date: date(&answer.headers, &result), result };
            }
            Err(http_client::Error::TooLarge) => Error::Malformed { status: 0, what: too_large },
            Err(error) => Error::Unreachable(error),
        };
        Self { result: Err(error), date: None }
    }
}

/// A successful grant.
pub struct Granted {
    /// The access token's text: visible ASCII, not empty.
    pub bearer: SecretString,
    /// How long it lives, from before the request was sent.
    pub life: Duration,
    /// For renewing without a person (code grant only).
    pub refresh_token: Option<SecretString>,
}

impl Granted {
    /// The token, which was asked for at this uptime.
    pub(super) fn minted(&self, sent: Duration) -> Result<MintedToken, Error> {
        MintedToken::new(self.bearer.expose_secret(), sent, self.life)
            .ok_or(Error::Malformed { status: 200, what: "no header can carry its token" })
    }
}

impl std::fmt::Debug for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Granted").field("life", &self.life).finish_non_exhaustive()
    }
}

/// How the one who exchanges a code or refresh token shows that it is his.
#[derive(Debug, Clone, Copy)]
pub enum ClientProof<'a> {
    /// A public client: the verifier of RFC 7636 (none for a refresh, which follows an exchange).
    Public(Option<&'a PkceVerifier>),
    /// A confidential client: its secret, as HTTP Basic credentials; and the verifier, if its page had a
    /// challenge (RFC 9700, section 2.1.1, wants both).
    Secret(&'a SecretString, Option<&'a PkceVerifier>),
}

/// JWT Grant: an assertion in, an access token out.
pub async fn exchange(client: &HttpClient, server: &AccountServer, assertion: &Assertion) -> Reply<Granted> {
    let form = [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
    post(client, server, token_request(server).form(form)).await
}

/// Authorization Code Grant: the code that the consent page sent back.
pub async fn exchange_code(
    client: &HttpClient,
    server: &AccountServer,
    integration_key: IntegrationKey,
    code: &str,
    proof: ClientProof<'_>,
) -> Reply<Granted> {
    let form = vec![("grant_type", "authorization_code"), ("code", code)];
    post(client, server, prove(token_request(server), form, integration_key, proof)).await
}

/// Renews with a refresh token.
pub async fn refresh(
    client: &HttpClient,
    server: &AccountServer,
    integration_key: IntegrationKey,
    refresh_token: &SecretString,
    proof: ClientProof<'_>,
) -> Reply<Granted> {
    let form = vec![("grant_type", "refresh_token"), ("refresh_token", refresh_token.expose_secret())];
    post(client, server, prove(token_request(server), form, integration_key, proof)).await
}

fn token_request(server: &AccountServer) -> Request {
    Request::post(server.endpoint("/oauth/token"))
        .header(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
        .header(header::ACCEPT, HeaderValue::from_static("application/json"))
        .response_limit_bytes(RESPONSE_LIMIT_BYTES)
}

fn prove<'a>(
    request: Request,
    mut form: Vec<(&'a str, &'a str)>,
    integration_key: IntegrationKey,
    proof: ClientProof<'a>,
) -> Request {
    let id = integration_key.to_string();
    let (ClientProof::Public(verifier) | ClientProof::Secret(_, verifier)) = proof;
    if let Some(verifier) = verifier {
        form.push(("code_verifier", verifier.as_str()));
    }
    match proof {
        ClientProof::Public(_) => request.form(form.into_iter().chain([("client_id", id.as_str())])),
        ClientProof::Secret(secret, _) => {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            let pair = Zeroizing::new(format!("{id}:{}", secret.expose_secret()));
            let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
            let basic = HeaderValue::try_from(text.as_str()).expect("base64 is visible ASCII");
            request.authorization(basic).form(form)
        }
    }
}

async fn post(client: &HttpClient, server: &AccountServer, request: Request) -> Reply<Granted> {
    let sent = client.send(request).await;
    server.asked().token(&sent);
    let reply = Reply::new(sent, "it is larger than 64 KiB", |answer| {
        read(answer.status, &answer.headers, &answer.body)
    });
    server.asked().ended(Question::Token, reply.result.as_ref().err());
    reply
}

/// The upstream's clock; not that of a cache, which repeats an old reading, nor that of a proxy which answers in its
/// place: what is decided by that clock, such as that a create is too late, is decided for good.
fn date<T>(headers: &HeaderMap, result: &Result<T, Error>) -> Option<Timestamp> {
    let may_be_foreign = matches!(
        result,
        Err(Error::Malformed { .. } | Error::RateLimited { .. } | Error::Unavailable { .. })
    );
    if may_be_foreign || headers.contains_key(header::AGE) { None } else { http_client::date(headers) }
}

/// What a token answer says. Pure, and the one place that decides.
pub(crate) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Result<Granted, Error> {
    if status == StatusCode::OK { read_success(body) } else { Err(refusal(status, headers, body)) }
}

/// The success answer. serde refuses a known field that comes twice: two readers could each believe
/// another one.
#[derive(Deserialize)]
struct Wire {
    access_token: SecretString,
    token_type: String,
    #[serde(deserialize_with = "seconds")]
    expires_in: Duration,
    #[serde(default)]
    refresh_token: Option<SecretString>,
}

fn read_success(body: &[u8]) -> Result<Granted, Error> {
    let malformed = |what| Error::Malformed { status: 200, what };
    // serde would also take the fields from an array, by position.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(malformed("it is not a valid JSON object"));
    }
    // The parser's own message may quote what it read, so it goes nowhere.
    let wire: Wire = serde_json::from_slice(body)
        .map_err(|_| malformed("it lacks a usable access_token, token_type or expires_in"))?;
    if !wire.token_type.eq_ignore_ascii_case("bearer") {
        return Err(malformed("token_type is not Bearer"));
    }
    let bearer = wire.access_token.expose_secret();
    if bearer.is_empty() || bearer.len() > MAX_BEARER_BYTES || !bearer.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(malformed("access_token cannot be sent in a header"));
    }
    if wire.expires_in.is_zero() || wire.expires_in > MAX_LIFE {
        return Err(malformed("expires_in is not between a second and a day"));
    }
    let refresh_token = wire.refresh_token.filter(|token| !token.expose_secret().is_empty());
    Ok(Granted { bearer: wire.access_token, life: wire.expires_in, refresh_token })
}

/// Whole seconds, as a number or as a number in quotes (rule T8).
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    struct Seconds;
    impl de::Visitor<'_> for Seconds {
        type Value = Duration;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("whole seconds")
        }
        fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
            Ok(Duration::from_secs(seconds))
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            // parse() alone would take a plus sign.
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse() {
                Ok(seconds) if digits => Ok(Duration::from_secs(seconds)),
                _ => Err(E::custom("not whole seconds")),
            }
        }
    }
    deserializer.deserialize_any(Seconds)
}

/// What an error answer means. The vendor's word decides; the status only where there is none.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let retry_after = retry_after(headers);
    let json = serde_json::from_slice::<Value>(body).ok();
    let word = |field: &str| {
        let text = json.as_ref().and_then(|json| json.get(field)).and_then(Value::as_str);
        text.unwrap_or_default().trim().to_ascii_lowercase()
    };
    // The REST API's form; its limits may come with any status.
    if matches!(
        word("errorCode").as_str(),
        "hourly_apiinvocation_limit_exceeded" | "burst_apiinvocation_limit_exceeded"
    ) || status == StatusCode::TOO_MANY_REQUESTS
    {
        return Error::RateLimited { retry_after };
    }
    if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT {
        return Error::Unavailable { status: status.as_u16(), retry_after };
    }
    if !status.is_client_error() {
        return Error::Malformed { status: status.as_u16(), what: "this status has no meaning here" };
    }
    let (error, description) = (word("error"), word("error_description"));
    let said = |word: &str| Said { status: status.as_u16(), word: harmless(word), trace: trace(headers) };
    match (error.as_str(), description.as_str()) {
        ("consent_required", _) => Error::ConsentRequired(said(&error)),
        ("temporarily_unavailable" | "server_error" | "internal_server_error", _) => {
            Error::Unavailable { status: status.as_u16(), retry_after }
        }
        (_, "no_valid_keys_or_signatures") => Error::KeyRejected(said(&description)),
        (_, "issuer_not_found") => Error::IssuerUnknown(said(&description)),
        (_, "user_not_found" | "invalid_subject") => Error::UserUnknown(said(&description)),
        ("user_not_found", _) => Error::UserUnknown(said(&error)),
        // Refined where the clock is known; alone it says just that.
        (_, "expired_grant") => Error::ClockSkew { offset: jiff::SignedDuration::ZERO },
        (_, "expired_client_token") => Error::CodeRejected,
        // A proxy's page, perhaps: nothing the account server would say.
        ("", "") => match status {
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
                Error::Refused { status: status.as_u16(), error: "no_error_word".to_owned() }
            }
            _ => Error::Malformed { status: status.as_u16(), what: "it names no error" },
        },
        (error, "") => Error::Refused { status: status.as_u16(), error: harmless(error) },
        (_, description) => Error::Refused { status: status.as_u16(), error: harmless(description) },
    }
}

/// The upstream's name for this answer, where it gives one that is a plain id.
fn trace(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("x-docusign-tracetoken")?.to_str().ok()?;
    let is_plain =
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    is_plain.then(|| text.to_owned())
}

/// A word of the upstream that may be shown: short, and of characters that carry nothing else.
pub fn harmless(word: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() || "_.-".contains(c) { c } else { '_' };
    word.chars().take(48).map(keep).collect()
}

/// `Retry-After`, or the vendor's `X-RateLimit-Reset` (seconds since 1970). Dates are compared with the answer's own.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let wait = if headers.contains_key(header::RETRY_AFTER) {
        http_client::retry_after(headers, None)?
    } else {
        let second = headers.get("x-ratelimit-reset")?.to_str().ok()?.trim().parse::<i64>().ok()?;
        let left = Timestamp::from_second(second).ok()?.duration_since(http_client::date(headers)?);
        Duration::try_from(left).unwrap_or_default()
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

#[cfg(test)]
pub(super) mod tests;
