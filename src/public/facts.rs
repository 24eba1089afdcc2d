//! `/s/{token}/facts`: where a signing stands, for a page of the site that shows the link.
//!
//! Whoever holds the link may see what its page shows, in words for a program. Looking changes nothing
//! (rule L1). `status` is DocuSign's word, `claim` the browser's (rule F1), and `result` is the signed
//! statement that the return URL carries too, so that a page can hand it to its own backend. A browser lets
//! the page read it only from the origins that the caller named: `frame_ancestors` and the return URL's.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use url::Url;

use crate::{
    domain::{Claim, Signer, Signing},
    public::{Public, answer::keep_private},
    signing::{LinkState, OpenedLink, result},
};

#[derive(Serialize)]
struct Facts<'a> {
    object: &'static str,
    /// The one word to act on; what has become of the link, if it leads nowhere any more.
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer_status: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
}

/// GET and HEAD: the facts.
pub(super) async fn show(
    State(public): State<Arc<Public>>,
    token: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let head = request.into_parts().0;
    let opened = match public.open(token, &head).await {
        Ok(opened) => opened,
        Err(answer) => return answer,
    };
    let OpenedLink { state, signing, signer, .. } = &opened;
    let over = |status| Facts {
        object: "facts",
        status,
        signing_id: None,
        signing_status: None,
        signer_status: None,
        claim: None,
        result: None,
    };
    let (status, facts) = match state {
        LinkState::Expired => (StatusCode::GONE, over("link_expired")),
        LinkState::Live => (StatusCode::OK, public.facts(signing, signer)),
        LinkState::Revoked => (StatusCode::GONE, over("link_revoked")),
    };
    let mut response = Response::new(Body::from(serde_json::to_vec(&facts).unwrap_or_default()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    keep_private(headers);
    if let Some(origin) = reader(&head.headers, signing, signer) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(
            HeaderName::from_static("cross-origin-resource-policy"),
            HeaderValue::from_static("cross-origin"),
        );
    }
    response
}

impl Public {
    fn facts<'a>(&self, signing: &'a Signing, signer: &'a Signer) -> Facts<'a> {
        let claim = signer.last_return.map(|last| last.claim);
        // Who judges it goes by a clock of their own.
        let now = self.signings.corrected_now();
        let result = self.results.sign(signing, signer, claim.unwrap_or(Claim::Unknown), now);
        Facts {
            object: "facts",
            status: result::status(signing, signer),
            signing_id: Some(signing.id.to_string()),
            signing_status: Some(signing.status.as_str()),
            signer_status: Some(signer.status.as_str()),
            claim: claim.map(Claim::as_str),
            result: Some(result),
        }
    }
}

/// The origin of the page that asks, if the caller named it.
fn reader(headers: &HeaderMap, signing: &Signing, signer: &Signer) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let site = signer.return_url.as_deref().and_then(|url| Url::parse(url).ok());
    let site = site.map(|url| url.origin().ascii_serialization());
    let named =
        signing.frame_ancestors.iter().chain(&site).any(|named| named.as_bytes() == origin.as_bytes());
    named.then(|| origin.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SignerStatus, SigningStatus, sample};

    #[test]
    fn only_pages_of_origins_that_were_named_may_read() {
        let mut signing = sample::signing(SigningStatus::Open, SignerStatus::Ready);
        signing.frame_ancestors = vec!["https://shop.example.com".to_owned()];
        signing.signers[0].return_url = Some("https://www.example.com/done?x=1".to_owned());
        let may = |origin: Option<&'static str>| {
            let headers = origin.map(|origin| (header::ORIGIN, HeaderValue::from_static(origin)));
            reader(&headers.into_iter().collect(), &signing, &signing.signers[0]).is_some()
        };
        assert!(may(Some("https://shop.example.com")) && may(Some("https://www.example.com")));
        for other in [
            None,
            Some("null"),
            Some("https://www.example.com.evil.example"),
            Some("http://www.example.com"),
            Some("https://www.example.com:8443"),
            Some("*"),
        ] {
            assert!(!may(other), "{other:?}");
        }
    }
}
