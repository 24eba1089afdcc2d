//! Calls passed through for a caller, as they are: the path below the account, the body, the answer.
//!
//! What may be passed is the API's to decide. Here it is made sure that the call stays within the
//! account, that our limits hold for it as for any other, and that neither our token nor a foreign
//! header crosses over.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use url::{Url, form_urlencoded};
use uuid::Uuid;

use super::{
    Acting, Client, Error, MAX_LISTED,
    call::{Answer, Body, Call},
};
use crate::{
    budget::{Operation, Priority, Rule, Scope, Unclaimed, checks},
    clock::{Deadline, Now},
    domain::{CallerName, EnvelopeId},
    http_client::{BodyStream, Upload},
    places::{Place, Places},
};

/// The largest answer: that of a download.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;
/// Request headers that mean something to the upstream.
const PASSED_ON: [HeaderName; 5] = [
    header::ACCEPT,
    header::ACCEPT_LANGUAGE,
    header::CONTENT_DISPOSITION,
    header::CONTENT_TYPE,
    HeaderName::from_static("x-docusign-timetrack"),
];
/// How a file is to come, which is passed on with reads alone: of a body it would say how that is to be read, and what
/// was looked for in one (`envelopeId`, the addresses of a view) would not have been seen in it.
const ENCODING: HeaderName = HeaderName::from_static("content-transfer-encoding");
/// Headers of an answer that mean something to a client, beside those that begin with [`VENDOR`].
const PASSED_BACK: [HeaderName; 7] = [
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    ENCODING,
    header::ETAG,
];
const VENDOR: [&str; 3] = ["x-docusign-", "x-ratelimit-", "x-burstlimit-"];

/// A call to pass on.
pub struct ForwardRequest<'a> {
    /// Its method.
    pub method: Method,
    /// The path below the account, escaped as it came, without a leading slash: `envelopes/…`.
    pub path: &'a str,
    /// The query, as it came.
    pub query: Option<&'a str>,
    /// Its headers; only a few are passed on.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: ForwardBody,
}

/// The body of a call that is passed on.
#[derive(Debug)]
pub enum ForwardBody {
    /// In memory, in pieces: it can be sent again after a refused token (rule T7). None at all is empty.
    Whole(Vec<Bytes>),
    /// Sent as it arrives, for what is too large to be kept, in a place of its own. After a refused token the caller
    /// has to send it again ([`Error::SendAgain`]).
    Streamed(Upload, UploadPlace),
}

/// A place for a body that is sent as it arrives: each lasts as long as its caller likes, within its time.
pub type UploadPlace = Place<CallerName>;

/// The upstream's answer, of any status.
pub struct Forwarded {
    /// Its status.
    pub status: StatusCode,
    /// Those of its headers that are passed back.
    pub headers: HeaderMap,
    /// Its body.
    pub body: BodyStream,
}

impl std::fmt::Debug for Forwarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarded").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Client {
    /// The places for bodies that are sent as they arrive.
    pub fn uploads(&self) -> &Places<CallerName> {
        &self.uploads
    }

    /// Passes a call on, and its answer back: successes as a stream, refusals as the upstream words
    /// them. Only what no client can do anything about is an [`Error`]: no token, no answer, a limit.
    ///
    /// A `GET` of one envelope, or of something below it that is no document, is a status check, and one in 15
    /// minutes is all there is (rule B3): the next is [`Error::Limited`] with the scope `Polling`. A list by ids is
    /// refused in the same way if each of them was listed so lately. One that failed after it may have left is spent, too:
    /// that is [`Error::CheckSpent`], unless the failure is the upstream's own answer.
    pub async fn forward(
        &self,
        acting: &Acting,
        request: ForwardRequest<'_>,
        deadline: Deadline,
    ) -> Result<Forwarded, Error> {
        let url = place(acting, request.path, request.query)
            .ok_or(Error::Invalid("the path leaves the account"))?;
        let check = polled(&request.method, request.path);
        let listed = listed(&request.method, request.path, request.query);
        let mut call = Call::new(Operation::Forward, request.method.clone(), url, deadline).streamed();
        call.limit_bytes = MAX_ANSWER_BYTES;
        call.is_passed_on = true;
        call.priority = match request.method {
            Method::GET => Priority::Check,
            _ if request.path.ends_with("views/recipient") => Priority::Signer,
            _ => Priority::NewWork,
        };
        call.headers.extend(passed_on(&request.method, request.headers));
        let json = HeaderValue::from_static("application/json");
        let content_type = call.headers.get(header::CONTENT_TYPE).cloned().unwrap_or(json);
        // Until the answer begins.
        let _place = match request.body {
            ForwardBody::Whole(pieces) => {
                call.body = (!pieces.is_empty()).then_some((content_type, pieces));
                None
            }
            ForwardBody::Streamed(upload, place) => {
                call.headers.insert(header::CONTENT_TYPE, content_type);
                call.upload = std::sync::Mutex::new(Some(upload));
                Some(place)
            }
        };
        let answer = match check {
            Some((envelope, resource)) => self.checked(acting, &envelope, &resource, call, Ok).await,
            None if !listed.is_empty() => self.list_named(acting, &listed, call).await,
            None => self.call(acting, call).await,
        };
        answer.map(passed_back)
    }

    /// Makes a call that lists these envelopes, unless each of them was asked about by a list in the last 15
    /// minutes (rule B3), whether by a caller's or by one of ours.
    async fn list_named(
        &self,
        acting: &Acting,
        envelopes: &[EnvelopeId],
        call: Call,
    ) -> Result<Answer, Error> {
        let claimed = Now::read(&*self.clock);
        let others = self.budget.claim_listing(envelopes, claimed).await.map_err(Unclaimed::Store)?;
        let ours: Vec<_> = envelopes.iter().filter(|envelope| !others.contains(envelope)).cloned().collect();
        let until = checks::next_after(claimed);
        if ours.is_empty() {
            self.budget.held_back(Rule::Polling);
            // When they were asked about is not told; by then that is over, whenever it was.
            return Err(Error::Limited { until, scope: Scope::Polling, provider: None });
        }
        let error = match self.call(acting, call).await {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        if !error.never_left() {
            return Err(error.of_spent_check(until));
        }
        // What never left cost nothing.
        if let Err(error) = self.budget.return_listing(&ours, claimed).await {
            tracing::debug!(%error, "a list that was not had counts as had");
        }
        Err(error)
    }
}

/// What goes on of the headers of a request.
fn passed_on(method: &Method, headers: &HeaderMap) -> HeaderMap {
    let of_a_read = (method == Method::GET).then_some(ENCODING);
    let names = PASSED_ON.into_iter().chain(of_a_read).filter(|name| !is_for_one_hop(headers, name));
    names.filter_map(|name| headers.get(&name).map(|value| (name.clone(), value.clone()))).collect()
}

/// Whether `Connection` names this header, which then ends with the connection (RFC 9110, section 7.6.1).
fn is_for_one_hop(headers: &HeaderMap, name: &HeaderName) -> bool {
    let mut named = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    named.any(|value| value.split(',').any(|word| word.trim().eq_ignore_ascii_case(name.as_str())))
}

fn passed_back(answer: Answer) -> Forwarded {
    let is_passed = |name: &HeaderName| {
        PASSED_BACK.contains(name) || VENDOR.iter().any(|start| name.as_str().starts_with(start))
    };
    let headers = answer.headers.iter();
    let headers = headers.filter(|(name, _)| is_passed(name) && !is_for_one_hop(&answer.headers, name));
    let body: BodyStream = match answer.body {
        Body::Streamed(response) => response.into_stream(),
        Body::Whole(bytes) => futures_util::stream::once(std::future::ready(Ok(bytes))).boxed(),
    };
    Forwarded {
        status: answer.status,
        headers: headers.map(|(name, value)| (name.clone(), value.clone())).collect(),
        body,
    }
}

/// The URL of a path below the account; none if it would leave it.
fn place(acting: &Acting, path: &str, query: Option<&str>) -> Option<Url> {
    let mut url = acting.url([]);
    let below = format!("{}/{path}", url.path());
    let is_plain = |segment: &str| {
        let is_dots = segment.to_ascii_lowercase().replace("%2e", ".").chars().all(|c| c == '.');
        !segment.is_empty() && !is_dots
    };
    // An escaped slash or backslash could be unescaped on the way.
    let lower = path.to_ascii_lowercase();
    let is_odd = lower.contains("%2f") || lower.contains("%5c") || path.contains(['\\', '?', '#']);
    if is_odd || !path.split('/').all(is_plain) {
        return None;
    }
    url.set_path(&below);
    url.set_query(query);
    // Should the URL type think otherwise of what a path is, nothing leaves.
    url.path().starts_with(&below[..below.len() - path.len()]).then_some(url)
}

/// The check that a call amounts to: which envelope, and which resource of it.
fn polled(method: &Method, path: &str) -> Option<(EnvelopeId, String)> {
    if method != Method::GET {
        return None;
    }
    let mut segments = path.split('/');
    if segments.next() != Some("envelopes") {
        return None;
    }
    let envelope = segments.next()?;
    let resource: Vec<&str> = segments.collect();
    // Contents are not statuses; the vendor counts their downloads in its own way.
    let is_content = resource.len() > 1;
    let is_list = envelope == "status";
    (!is_content && !is_list).then(|| (EnvelopeId::new(envelope.to_ascii_lowercase()), resource.join("/")))
}

/// The envelopes that a list is asked for by their ids, each once and no more than one list takes; none if it is
/// asked for otherwise.
fn listed(method: &Method, path: &str, query: Option<&str>) -> Vec<EnvelopeId> {
    if method != Method::GET || path != "envelopes" {
        return Vec::new();
    }
    let mut named = named_in_list(query);
    named.truncate(MAX_LISTED);
    named
}

/// The envelopes that the query of a list names by their ids, each once. Names of parameters and spellings of ids are
/// read as generously as any reader may.
pub fn named_in_list(query: Option<&str>) -> Vec<EnvelopeId> {
    let mut ids = BTreeSet::new();
    for (name, list) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        if name.eq_ignore_ascii_case("envelope_ids") {
            ids.extend(list.split(',').filter_map(|id| Uuid::try_parse(id.trim()).ok()));
        }
    }
    ids.into_iter().map(|id| EnvelopeId::new(id.hyphenated().to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::user_info::UserInfo;

    fn acting() -> Acting {
        let base = Url::parse("https://demo.docusign.net").unwrap();
        let (account, user_id) = (uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2).into());
        let user = UserInfo { user_id, address: None, accounts: Vec::new() };
        Acting::new(crate::domain::SenderName::new("system"), account, &user, &base)
    }

    #[test]
    fn a_passed_call_stays_within_the_account() {
        let root = "https://demo.docusign.net/restapi/v2.1/accounts/00000000-0000-0000-0000-000000000001";
        let url = place(&acting(), "envelopes/1/documents/combined", Some("a=b%20c")).unwrap();
        assert_eq!(url.as_str(), format!("{root}/envelopes/1/documents/combined?a=b%20c"));
        for path in [
            "",
            "/",
            "..",
            "../x",
            "envelopes/../../2",
            "envelopes/%2e%2e/%2E%2e/2",
            "envelopes/.%2e/x",
            "a//b",
            "a/./b",
            "a%2f..%2fb",
            "a\\..\\b",
            "a?x",
            "a#x",
            "envelopes/",
        ] {
            assert!(place(&acting(), path, None).is_none(), "{path}");
        }
    }

    #[test]
    fn how_a_file_is_to_come_is_passed_on_with_reads_alone() {
        let headers: HeaderMap = ["accept", "authorization", "content-transfer-encoding", "cookie"]
            .map(|name| (HeaderName::from_static(name), HeaderValue::from_static("x")))
            .into_iter()
            .collect();
        let names = |method| {
            let passed = passed_on(&method, &headers);
            let mut names: Vec<_> = passed.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(Method::GET), ["accept", "content-transfer-encoding"]);
        assert_eq!(names(Method::POST), ["accept"]);
    }

    #[test]
    fn b3_only_status_reads_of_one_envelope_are_checks() {
        let is_check = |path| polled(&Method::GET, path).is_some();
        assert!(is_check("envelopes/1") && is_check("envelopes/1/recipients"));
        assert!(
            !is_check("envelopes") && !is_check("envelopes/1/documents/combined") && !is_check("templates/1")
        );
        assert!(!is_check("envelopes/status"));
        assert!(polled(&Method::PUT, "envelopes/1").is_none());
    }

    #[test]
    fn b3_a_list_by_ids_names_each_envelope_once_however_it_is_spelt() {
        let named = |query: &str| listed(&Method::GET, "envelopes", Some(query));
        let (one, two) = ("3c5fc6a7-5172-4e0d-9b1f-0a1b2c3d4e5f", "4c5fc6a7-5172-4e0d-9b1f-0a1b2c3d4e5f");
        let both = [EnvelopeId::new(one), EnvelopeId::new(two)];
        let (upper, plain) = (one.to_ascii_uppercase(), two.replace('-', ""));
        assert_eq!(named(&format!("envelope_ids={one},{two}&count=1")), both);
        assert_eq!(named(&format!("count=1&Envelope_IDs={plain}%2C%20{upper},{one}")), both);
        assert_eq!(named(&format!("envelope_ids={two}&envelope%5Fids={one}")), both);
        for none in ["", "envelope_ids=", "envelope_ids=x", "from_date=2026-05-31", "transaction_ids=x"] {
            assert_eq!(named(none), [], "{none}");
        }
        let many: Vec<_> = (0..2 * MAX_LISTED).map(|_| Uuid::new_v4().to_string()).collect();
        let many = format!("envelope_ids={}", many.join(","));
        assert_eq!(named(&many).len(), MAX_LISTED);
        assert_eq!(named_in_list(Some(&many)).len(), 2 * MAX_LISTED, "how many it names is seen");
        let query = format!("envelope_ids={one}");
        assert_eq!(listed(&Method::POST, "envelopes", Some(&query)), []);
        assert_eq!(listed(&Method::GET, "templates", Some(&query)), []);
    }
}
