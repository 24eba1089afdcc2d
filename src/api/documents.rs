//! `GET /v1/signings/{id}/documents/{part}`: the signed documents, with digest and ranges.
//!
//! Preconditions and ranges are those of RFC 9110, 13 and 14: `If-Match` before `If-None-Match`, one `Range`, `If-Range`.
//! Several ranges at once are answered with the whole, as the RFC allows. `ETag` is the SHA-256 in hex,
//! strong; `Repr-Digest` (RFC 9530) says the same in its own way.

use std::{ops::Range, sync::Arc};

use axum::{
    body::Body,
    extract::State,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{
    api::{
        Problem, caller::Authenticated, exchange::Both, prefer::patience, router::Api, senders::of_signing,
    },
    digest::hex,
    domain::SigningId,
    esign::DocumentRef,
    signing::Document,
};

const REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

/// What of a document is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// None of it that there is.
    Nothing,
    /// These bytes.
    Part(Range<u64>),
    /// All of it.
    Whole,
}

/// The handler.
pub(super) async fn document(
    State(api): State<Arc<Api>>,
    Authenticated(caller): Authenticated,
    Both(id, part): Both<SigningId, String>,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let part = document_ref(&part).ok_or_else(Problem::not_found)?;
    caller.spend_share(|| api.signings.to_fetch(id, &[part]), api.hourly_limit, api.clock.now())?;
    let document = api.signings.document(&caller.name, id, part, patience(&headers)).await;
    let document = of_signing(&api, &caller.name, id, document).await?;
    let tag = etag(document.content.sha256());
    let mut response = if is_another(&headers, &tag) {
        Problem::new("precondition_failed", "the document is none of those that If-Match names")
            .into_response()
    } else if is_known(&headers, &tag) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        answer(&document, wanted(&method, &headers, &tag, document.content.length()))
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, tag);
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    // Kept by nobody but the caller, and by them only to ask whether it is still the same.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    Ok(response)
}

fn answer(document: &Document, wanted: Wanted) -> Response {
    let content = &document.content;
    let length = content.length();
    let (status, range) = match wanted {
        Wanted::Nothing => {
            let detail = format!("the document has {length} bytes, and none of the range");
            let mut response = Problem::new("range_not_satisfiable", detail).into_response();
            response.headers_mut().insert(header::CONTENT_RANGE, text(&format!("bytes */{length}")));
            return response;
        }
        Wanted::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Wanted::Whole => (StatusCode::OK, 0..length),
    };
    let mut response = Response::new(Body::from_stream(content.read(range.start, range.end)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let pdf = || HeaderValue::from_static("application/pdf");
    headers.insert(header::CONTENT_TYPE, document.content_type.clone().unwrap_or_else(pdf));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    headers.insert(REPR_DIGEST, text(&format!("sha-256=:{}:", STANDARD.encode(content.sha256()))));
    if status == StatusCode::PARTIAL_CONTENT {
        let (first, last) = (range.start, range.end.saturating_sub(1));
        headers.insert(header::CONTENT_RANGE, text(&format!("bytes {first}-{last}/{length}")));
    }
    response
}

fn text(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("digits, base64 and punctuation are a header value")
}

fn etag(sha256: &[u8; 32]) -> HeaderValue {
    text(&format!("\"{}\"", hex(sha256)))
}

/// Whether the caller means other versions of the document than this one (`If-Match`, compared strongly: a weak tag means
/// none).
fn is_another(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    headers.contains_key(header::IF_MATCH) && !lists(headers, header::IF_MATCH, |meant| meant == *tag)
}

/// Whether the caller has this document already (`If-None-Match`, compared weakly).
fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    lists(headers, header::IF_NONE_MATCH, |known| known.trim_start_matches("W/") == *tag)
}

/// Whether a header lists a tag that is this one; `*` is whatever there is.
fn lists(headers: &HeaderMap, name: HeaderName, is_this: impl Fn(&str) -> bool) -> bool {
    let mut lists = headers.get_all(name).iter().filter_map(|list| list.to_str().ok());
    lists.any(|list| list.split(',').map(str::trim).any(|tag| tag == "*" || is_this(tag)))
}

/// What a `Range` asks for. One that is not understood, or belongs to another version of the document
/// (`If-Range`), is as if it were not there.
fn wanted(method: &Method, headers: &HeaderMap, tag: &HeaderValue, length: u64) -> Wanted {
    let is_same = headers.get(header::IF_RANGE).is_none_or(|version| version == tag);
    let mut ranges = headers.get_all(header::RANGE).iter();
    match (ranges.next().and_then(|range| range.to_str().ok()), ranges.next()) {
        (Some(range), None) if is_same && method == Method::GET => parse_range(range, length),
        _ => Wanted::Whole,
    }
}

/// `bytes=first-last`, `bytes=first-` or `bytes=-last`.
fn parse_range(text: &str, length: u64) -> Wanted {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // Larger than any document is as good as the largest.
        is_number.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let Some((unit, range)) = text.split_once('=') else { return Wanted::Whole };
    let Some((first, last)) = range.trim().split_once('-') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(length),
        (Some(first), None) if last.is_empty() => first..length,
        (None, Some(last)) if first.is_empty() => length.saturating_sub(last)..length,
        _ => return Wanted::Whole,
    };
    if range.is_empty() { Wanted::Nothing } else { Wanted::Part(range) }
}

fn document_ref(part: &str) -> Option<DocumentRef> {
    match part {
        "certificate" => Some(DocumentRef::Certificate),
        "combined" => Some(DocumentRef::Combined),
        number => number.parse().ok().filter(|number| *number > 0).map(DocumentRef::Number),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        for (text, wanted) in [
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=0-99", Wanted::Part(0..100)),
            ("bytes=90-1000", Wanted::Part(90..100)),
            ("bytes=90-", Wanted::Part(90..100)),
            ("Bytes= 5-6 ", Wanted::Part(5..7)),
            ("bytes=-1", Wanted::Part(99..100)),
            ("bytes=-1000", Wanted::Part(0..100)),
            ("bytes=0-99999999999999999999999", Wanted::Part(0..100)),
            ("bytes=100-", Wanted::Nothing),
            ("bytes=100-200", Wanted::Nothing),
            ("bytes=-0", Wanted::Nothing),
            ("bytes=99999999999999999999999-", Wanted::Nothing),
            ("bytes=6-5", Wanted::Whole),
            ("bytes=-", Wanted::Whole),
            ("bytes=1", Wanted::Whole),
            ("bytes=+1-2", Wanted::Whole),
            ("bytes=0-1,5-6", Wanted::Whole),
            ("items=0-1", Wanted::Whole),
            ("", Wanted::Whole),
        ] {
            assert_eq!(parse_range(text, 100), wanted, "{text}");
        }
        assert_eq!(parse_range("bytes=0-", 0), Wanted::Nothing);
    }

    #[test]
    fn a_tag_is_known_in_a_list_and_weakly() {
        let tag = etag(&[0xab; 32]);
        let hex = "ab".repeat(32);
        let known = |value: &str| {
            is_known(
                &HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_str(value).unwrap())]),
                &tag,
            )
        };
        assert!(known("*") && known(&format!("\"{hex}\"")) && known(&format!("\"x\", W/\"{hex}\"")));
        assert!(!known(&hex) && !known("\"x\"") && !known("") && !is_known(&HeaderMap::new(), &tag));
    }

    #[test]
    fn another_version_is_meant_by_every_list_without_the_strong_tag() {
        let tag = etag(&[0xab; 32]);
        let hex = "ab".repeat(32);
        let means_another = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                let line = line.replace("TAG", &format!("\"{hex}\"")).replace("HEX", &hex);
                headers.append(header::IF_MATCH, HeaderValue::try_from(line).unwrap());
            }
            is_another(&headers, &tag)
        };
        let these: [&[&str]; 5] = [&[], &["*"], &["TAG"], &["\"x\", TAG"], &["\"x\"", "\"y\",TAG"]];
        for this in these {
            assert!(!means_another(this), "{this:?}");
        }
        let others: [&[&str]; 5] = [&[""], &["\"x\""], &["HEX"], &["W/TAG"], &["\"x\"", "W/TAG, \"y\""]];
        for other in others {
            assert!(means_another(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_range_reaches_beyond_the_document(text in "(bytes=)?[0-9,-]{0,12}", length in 0_u64..2_000) {
            if let Wanted::Part(range) = parse_range(&text, length) {
                prop_assert!(range.start < range.end && range.end <= length);
            }
        }
    }
}
