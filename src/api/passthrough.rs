//! `ANY /v1/senders/{name}/esign/restapi/…`: official SDKs work as a sender without a key or a token of
//! DocuSign: our address is their base path, and the caller's API key is their bearer.
//!
//! What may pass is a short list of methods and whole paths; everything else is refused before anything is
//! sent. Paths are compared as they came, and no segment that passes can hold a dot, an escape or a blank,
//! so there is nothing in them to read in two ways. The body is read whole and framed anew, and headers are
//! chosen one by one on the way out and back ([`esign::ForwardRequest`]), so the framing, the credentials
//! and the `X-DocuSign-Act-…` headers of a client never reach the upstream. No token ever comes back (S3).

use std::time::Duration;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderValue, Method, header};

use crate::{
    api::{Problem, caller::Authenticated, exchange::pieces, router::Api},
    budget::Deadline,
    esign::{Acting, ForwardRequest, MAX_REQUEST_BYTES},
};

/// The longest that a call may take, its turn and a fresh token included.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the path of every resource of an account begins with.
const ROOT: [&str; 3] = ["restapi", "v2.1", "accounts"];
/// Longer than any id of the vendor.
const MAX_ID: usize = 64;

/// What a segment of a path may be.
#[derive(Debug, Clone, Copy)]
enum Segment {
    /// This word.
    Word(&'static str),
    /// Any id.
    Id,
    /// The id of the user that the sender acts as: nobody else's signatures.
    OwnUser,
    /// An image of a signature.
    Image,
}

use Segment::{Id, Image, OwnUser, Word};

/// All that may pass, by the path below the account. Nothing here changes an envelope once it is made, and
/// nothing acts for a person but the sender.
const RULES: &[(&[Method], &[Segment])] = &[
    (&[Method::GET, Method::POST], &[Word("envelopes")]),
    (&[Method::GET], &[Word("envelopes"), Id]),
    (&[Method::GET], &[Word("envelopes"), Id, Word("recipients")]),
    (&[Method::POST], &[Word("envelopes"), Id, Word("views"), Word("recipient")]),
    (&[Method::GET], &[Word("envelopes"), Id, Word("documents")]),
    (&[Method::GET], &[Word("envelopes"), Id, Word("documents"), Id]),
    (&[Method::GET], &[Word("templates")]),
    (&[Method::GET], &[Word("templates"), Id]),
    (&[Method::GET], &[Word("templates"), Id, Word("recipients")]),
    (&[Method::GET], &[Word("templates"), Id, Word("documents")]),
    (&[Method::GET], &[Word("templates"), Id, Word("documents"), Id]),
    (&[Method::GET, Method::POST, Method::PUT], &[Word("users"), OwnUser, Word("signatures")]),
    (&[Method::GET, Method::PUT, Method::DELETE], &[Word("users"), OwnUser, Word("signatures"), Id]),
    (&[Method::GET, Method::PUT, Method::DELETE], &[Word("users"), OwnUser, Word("signatures"), Id, Image]),
];

/// Passes a call on, or refuses it without one.
pub(super) async fn forward(
    State(api): State<Api>,
    Authenticated(caller): Authenticated,
    request: Request,
) -> Result<Response, Problem> {
    if api.closing.is_cancelled() {
        return Err(Problem::new("shutting_down", "the daemon has stopped taking work")
            .retry_after(Duration::from_secs(2)));
    }
    let (head, body) = request.into_parts();
    let (sender, path) = parts_of(head.uri.path()).ok_or_else(Problem::not_found)?;
    let sender = api.sender_of(&caller, sender)?;
    let (account, below) = below_account(path).ok_or_else(refused)?;
    // First what needs to ask nobody: a method or path that no account has.
    allowed(&head.method, below, None).then_some(()).ok_or_else(refused)?;
    let acting = api.esign.acting(&sender).await.map_err(|error| problem(&api, error))?;
    if !is_own(&acting, account) || !allowed(&head.method, below, Some(&acting)) {
        return Err(refused());
    }
    // Whole, because a refused token means sending it twice (rule T7).
    let body = pieces(body, MAX_REQUEST_BYTES.min(api.body_limit), &api.clock).await?;
    let deadline = Deadline::within(&*api.clock, PATIENCE);
    let request = ForwardRequest {
        method: head.method,
        path: below,
        query: head.uri.query(),
        headers: &head.headers,
        body,
    };
    let answer = api.esign.forward(&acting, request, deadline).await.map_err(|error| problem(&api, error))?;
    let mut response = Response::new(Body::from_stream(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    Ok(response)
}

fn problem(api: &Api, error: crate::esign::Error) -> Problem {
    Problem::from(error).as_of(api.clock.now())
}

fn refused() -> Problem {
    Problem::new("forbidden", "this method and path are not passed on for this sender")
}

/// The sender's name and the path behind it, as they came.
fn parts_of(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix("/v1/senders/")?.split_once("/esign/")
}

/// The account in a path, and what follows it.
fn below_account(path: &str) -> Option<(&str, &str)> {
    let mut rest = path;
    for word in ROOT {
        rest = rest.strip_prefix(word)?.strip_prefix('/')?;
    }
    rest.split_once('/')
}

fn is_own(acting: &Acting, account: &str) -> bool {
    account.eq_ignore_ascii_case(acting.account.as_str())
}

/// Whether a rule takes the whole path; without an account, any user could be the own one.
fn allowed(method: &Method, path: &str, acting: Option<&Acting>) -> bool {
    let fits = |(segment, text): (&Segment, &str)| match segment {
        Word(word) => *word == text,
        Id => is_id(text),
        Image => matches!(text, "signature_image" | "initials_image"),
        OwnUser => {
            is_id(text) && acting.is_none_or(|acting| text.eq_ignore_ascii_case(&acting.user_id.to_string()))
        }
    };
    RULES.iter().any(|(methods, segments)| {
        methods.contains(method)
            && path.split('/').count() == segments.len()
            && segments.iter().zip(path.split('/')).all(fits)
    })
}

fn is_id(text: &str) -> bool {
    (1..=MAX_ID).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_paths_of_the_list_pass() {
        let get = |path| allowed(&Method::GET, path, None);
        assert!(get("envelopes") && get("envelopes/1f-2/documents/combined") && get("users/1/signatures/2"));
        for path in [
            "",
            "envelopes/",
            "envelopes//recipients",
            "envelopes/..",
            "envelopes/%2e%2e",
            "envelopes/1/../2",
            "envelopes/1%2f2",
            "envelopes/1/views/sender",
            "Envelopes",
            "users",
            "users/1",
            "users/1/signatures/2/stamp_image",
            "connect",
        ] {
            assert!(!get(path), "{path}");
        }
        assert!(
            !allowed(&Method::DELETE, "envelopes/1", None) && !allowed(&Method::PUT, "envelopes/1", None)
        );
        assert!(!allowed(&Method::GET, "envelopes/1/views/recipient", None));
    }

    #[test]
    fn the_account_is_taken_out_of_the_path_as_it_came() {
        assert_eq!(below_account("restapi/v2.1/accounts/1/envelopes/2"), Some(("1", "envelopes/2")));
        for path in ["restapi/v2/accounts/1/x", "/restapi/v2.1/accounts/1/x", "restapi/v2.1/accounts/1"] {
            assert_eq!(below_account(path), None, "{path}");
        }
    }
}
