//! The website's backend: its calls to the daemon, each one request of the public API.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use url::Url;

use crate::http_client::{HttpClient, Request, Response, StreamedResponse};

/// The daemon answers a create within its deadline of 25 s, with a 202 if need be.
const CREATE_TIMEOUT: Duration = Duration::from_secs(30);
/// A refusal is a page of JSON at most.
const PROBLEM_LIMIT_BYTES: usize = 256 * 1024;

/// The daemon, as the website knows it.
#[derive(Debug, Clone)]
pub(super) struct Backend {
    client: HttpClient,
    api: Url,
    authorization: HeaderValue,
}

/// What the website reads of a signing.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Signing {
    pub(super) id: String,
    pub(super) status: String,
    pub(super) signers: Vec<Signer>,
    #[serde(default)]
    pub(super) sequence: u64,
    pub(super) completed_at: Option<Timestamp>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) purge_requested_at: Option<Timestamp>,
    pub(super) purged_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) provider: Option<Provider>,
}

/// What the website reads of a signer.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Signer {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) view: Option<Address>,
    #[serde(default)]
    pub(super) link: Option<Link>,
    #[serde(default)]
    pub(super) last_return: Option<LastReturn>,
}

/// A place to send the visitor.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Address {
    pub(super) url: String,
}

/// A durable link: its address is told once, when it is made.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Link {
    pub(super) id: String,
    pub(super) url: String,
}

/// What the browser said when it came back.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct LastReturn {
    pub(super) claim: String,
    pub(super) at: Timestamp,
}

/// Where the envelope is.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Provider {
    pub(super) envelope_id: Option<String>,
}

/// What a preflight has looked at, and found good.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Preflight {
    pub(super) checks: Vec<Check>,
    pub(super) documents: Vec<SeenFile>,
}

/// One of its checks.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Check {
    pub(super) check: String,
}

/// What it saw of a file.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SeenFile {
    pub(super) name: String,
    pub(super) bytes: u64,
    /// None: it was not read.
    pub(super) pages: Option<u64>,
}

/// A line of the timeline.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Moment {
    pub(super) at: Timestamp,
    pub(super) text: String,
}

/// The daemon's public key for `result` tokens (RFC 8037: `x` is the key itself).
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Jwk {
    pub(super) x: String,
}

#[derive(Deserialize)]
struct List<T> {
    data: Vec<T>,
}

/// Why the daemon did not do it.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Refusal {
    /// The stable word for it.
    #[serde(default)]
    pub(super) code: String,
    /// What is wrong.
    #[serde(default)]
    pub(super) detail: String,
    /// What to do about it.
    #[serde(default)]
    pub(super) fix: String,
    /// What is wrong with which field.
    #[serde(default)]
    pub(super) errors: Vec<FieldError>,
}

/// What is wrong with one field.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FieldError {
    /// Its place in the request, a JSON pointer.
    pub(super) pointer: String,
    /// The words for it.
    pub(super) detail: String,
}

impl Signing {
    /// Whether nothing can change it any more.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self.status.as_str(), "creating" | "open" | "uncertain")
    }

    /// Whether the next word of DocuSign must be a moment away: somebody's browser says that they have signed,
    /// and nothing is known of it yet; or everyone has signed, and only the end of it is missing.
    pub(super) fn awaits_confirmation(&self) -> bool {
        let is_claimed = |signer: &Signer| {
            let last = signer.last_return.as_ref();
            !signer.has_signed() && last.is_some_and(|last| last.claim == "signing_complete")
        };
        let have_all_signed = self.signers.iter().all(Signer::has_signed);
        !self.is_final() && (have_all_signed || self.signers.iter().any(is_claimed))
    }

    /// Whether somebody has signed, and not everyone.
    pub(super) fn is_half_signed(&self) -> bool {
        let signed = self.signers.iter().filter(|signer| signer.has_signed()).count();
        !self.is_final() && signed > 0 && signed < self.signers.len()
    }

    /// The signer of this key.
    pub(super) fn signer(&self, key: &str) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.key == key)
    }
}

impl Signer {
    /// Whether DocuSign says that they have signed.
    pub(super) fn has_signed(&self) -> bool {
        self.status == "signed"
    }

    /// Where to send the visitor: straight into the ceremony, or to the link that works later, too.
    pub(super) fn address(&self) -> Option<&str> {
        let view = self.view.as_ref().map(|view| view.url.as_str());
        view.or(self.link.as_ref().map(|link| link.url.as_str()))
    }
}

impl Backend {
    /// `key` is the caller key, as `countersign caller add` prints it.
    pub(super) fn new(client: HttpClient, api: Url, key: &str) -> Option<Self> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {key}")).ok()?;
        authorization.set_sensitive(true);
        Some(Self { client, api, authorization })
    }

    /// `POST /v1/signings`. The order's number is the idempotency key: a second press of the button,
    /// or a retry after a lost answer, gets the same envelope.
    pub(super) async fn create(&self, order: &str, body: &Value) -> Result<Signing, Refusal> {
        let key = HeaderValue::try_from(format!("\"{order}\"")).map_err(|_| Refusal::default())?;
        let request = Request::post(self.url(&["v1", "signings"]))
            .header(HeaderName::from_static("idempotency-key"), key)
            .json(body.to_string())
            .timeout(CREATE_TIMEOUT);
        self.ask(request).await
    }

    /// `POST /v1/signings?dry_run=true`: everything that the same order would be refused for, at once; nothing
    /// is sent to anyone.
    pub(super) async fn preflight(&self, body: &Value) -> Result<Preflight, Refusal> {
        let mut url = self.url(&["v1", "signings"]);
        url.query_pairs_mut().append_pair("dry_run", "true");
        self.ask(Request::post(url).json(body.to_string())).await
    }

    /// `GET /v1/signings/{id}`.
    pub(super) async fn signing(&self, id: &str) -> Result<Signing, Refusal> {
        self.ask(Request::get(self.url(&["v1", "signings", id]))).await
    }

    /// `GET /v1/signings/{id}/wait`: until something newer than `sequence` is known, or for so long.
    pub(super) async fn newer(&self, id: &str, sequence: u64, seconds: u64) -> Result<Signing, Refusal> {
        let mut url = self.url(&["v1", "signings", id, "wait"]);
        url.query_pairs_mut()
            .append_pair("timeout", &seconds.to_string())
            .append_pair("sequence", &sequence.to_string());
        self.ask(Request::get(url).timeout(Duration::from_secs(seconds + 5))).await
    }

    /// `POST …/views`: a fresh address for a signer who comes back.
    pub(super) async fn view(&self, id: &str, signer: &str) -> Result<String, Refusal> {
        let view: Address = self.tell(&[id, "signers", signer, "views"], &json!({})).await?;
        Ok(view.url)
    }

    /// `POST /v1/links/{id}/tickets`: the visitor has pressed one of our buttons already.
    pub(super) async fn ticket(&self, link: &str) -> Result<String, Refusal> {
        #[derive(Deserialize)]
        struct Ticket {
            ticket: String,
        }
        let made: Ticket =
            self.ask(Request::post(self.url(&["v1", "links", link, "tickets"])).json("{}")).await?;
        Ok(made.ticket)
    }

    /// `POST …/void`.
    pub(super) async fn void(&self, id: &str, reason: &str) -> Result<Signing, Refusal> {
        self.tell(&[id, "void"], &json!({ "reason": reason })).await
    }

    /// `POST …/refresh`: asks the upstream now, if this envelope may be asked about again.
    pub(super) async fn refresh(&self, id: &str) -> Result<Signing, Refusal> {
        self.tell(&[id, "refresh"], &json!({})).await
    }

    /// `POST …/purge`.
    pub(super) async fn purge(&self, id: &str) -> Result<Signing, Refusal> {
        self.tell(&[id, "purge"], &json!({})).await
    }

    /// `POST …/phone`: another number for the code.
    pub(super) async fn phone(&self, id: &str, signer: &str, phone: &str) -> Result<Signing, Refusal> {
        self.tell(&[id, "signers", signer, "phone"], &json!({ "phone": phone })).await
    }

    /// `POST …/links`: another durable link for a signer.
    pub(super) async fn link(&self, id: &str, signer: &str) -> Result<Link, Refusal> {
        self.tell(&[id, "signers", signer, "links"], &json!({})).await
    }

    /// `DELETE /v1/links/{id}`: from then on it leads to a page that says so.
    pub(super) async fn revoke(&self, link: &str) -> Result<(), Refusal> {
        let request = Request::new(Method::DELETE, self.url(&["v1", "links", link]));
        self.send(request).await.map(drop)
    }

    /// A `POST` to a part of a signing.
    async fn tell<T: DeserializeOwned>(&self, path: &[&str], body: &Value) -> Result<T, Refusal> {
        let url = self.url(&[&["v1", "signings"], path].concat());
        self.ask(Request::post(url).json(body.to_string())).await
    }

    /// `GET …/timeline`.
    pub(super) async fn timeline(&self, id: &str) -> Result<Vec<Moment>, Refusal> {
        let list: List<Moment> =
            self.ask(Request::get(self.url(&["v1", "signings", id, "timeline"]))).await?;
        Ok(list.data)
    }

    /// The key that `result` tokens are checked with.
    pub(super) async fn result_key(&self) -> Result<Jwk, Refusal> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Jwk>,
        }
        let set: Set = self.ask(Request::get(self.url(&[".well-known", "jwks.json"]))).await?;
        set.keys.into_iter().next().ok_or_else(Refusal::default)
    }

    /// `GET …/documents/{part}`, as it streams in.
    pub(super) async fn document(&self, id: &str, part: &str) -> Result<StreamedResponse, Refusal> {
        let request = Request::get(self.url(&["v1", "signings", id, "documents", part]));
        let answer = self.client.open(request.authorization(self.authorization.clone())).await;
        let answer = answer.map_err(|_| unreachable())?;
        if answer.status == StatusCode::OK {
            return Ok(answer);
        }
        let answer = answer.read(PROBLEM_LIMIT_BYTES).await.map_err(|_| unreachable())?;
        Err(refusal(&answer))
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, Refusal> {
        let answer = self.send(request).await?;
        serde_json::from_slice(&answer.body).map_err(|_| Refusal {
            detail: "the signing service answered something unexpected".to_owned(),
            ..Refusal::default()
        })
    }

    async fn send(&self, request: Request) -> Result<Response, Refusal> {
        let request = request.authorization(self.authorization.clone());
        let answer = self.client.send(request).await.map_err(|_| unreachable())?;
        if answer.status.is_success() { Ok(answer) } else { Err(refusal(&answer)) }
    }

    /// Segments are escaped, so that an id from a query string cannot lead elsewhere.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.api.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().extend(path);
        }
        url
    }
}

fn refusal(answer: &Response) -> Refusal {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| Refusal {
        detail: format!("the signing service answered with status {}", answer.status.as_u16()),
        ..Refusal::default()
    })
}

fn unreachable() -> Refusal {
    Refusal {
        detail: "the signing service cannot be reached".to_owned(),
        fix: "Please try again in a moment; nothing is signed twice.".to_owned(),
        ..Refusal::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signing of this status whose signers stand so, each with what their browser said.
    fn signing(status: &str, signers: &[(&str, Option<&str>)]) -> Signing {
        let signers: Vec<_> = signers
            .iter()
            .map(|(status, claim)| {
                let last = claim.map(|claim| json!({ "claim": claim, "at": "2026-11-26T00:00:00Z" }));
                json!({ "id": "sgr_1", "key": "visitor", "status": status, "last_return": last })
            })
            .collect();
        serde_json::from_value(json!({ "id": "sig_1", "status": status, "signers": signers })).unwrap()
    }

    #[test]
    fn f1_a_page_waits_for_the_word_that_is_a_moment_away_and_for_no_other() {
        let done = Some("signing_complete");
        for (status, signers, waits) in [
            ("open", &[("ready", None)][..], false),
            ("open", &[("in_session", Some("cancel"))], false),
            ("open", &[("in_session", done)], true),
            // Everyone has signed, and the envelope's own event comes a moment after the signers'.
            ("open", &[("signed", done)], true),
            ("open", &[("signed", done), ("signed", None)], true),
            // The second one may take days.
            ("open", &[("signed", done), ("ready", None)], false),
            ("open", &[("signed", done), ("in_session", done)], true),
            ("completed", &[("signed", done)], false),
            ("voided", &[("in_session", done)], false),
        ] {
            assert_eq!(signing(status, signers).awaits_confirmation(), waits, "{status} {signers:?}");
        }
        assert!(signing("open", &[("signed", done), ("ready", None)]).is_half_signed());
        assert!(!signing("open", &[("signed", done), ("signed", done)]).is_half_signed());
        assert!(!signing("declined", &[("signed", done), ("declined", None)]).is_half_signed());
    }
}
