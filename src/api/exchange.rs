//! What all handlers read and write alike: small bodies, queries, our JSON.

use std::str::FromStr;

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, Path as AnyPath, Query, Request},
    response::Response,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{
    api::{Problem, bodies::small_body, router::Api},
    events::log::MAX_PAGE,
    objects::{
        Invalids,
        explain::{Kind, explain, from_object},
        invalid::token,
    },
};

/// The length of a page unless the caller says otherwise.
const DEFAULT_PAGE: u32 = 20;

/// An answer with a body of our JSON; views in it are secrets, so nobody keeps it.
pub(super) fn json(status: StatusCode, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The length of a page of a list.
pub(super) fn page(limit: Option<u32>, faults: &mut Invalids) -> u32 {
    let limit = limit.unwrap_or(DEFAULT_PAGE);
    if limit == 0 || limit > MAX_PAGE {
        faults.wrong("/limit", format!("must be 1 to {MAX_PAGE}"));
    }
    limit
}

/// A parameter of a list, if it says anything: a form sends the fields that nobody filled in, too.
pub(super) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A small body of JSON, and its shape as a table: for telling everything that is wrong with one that is not
/// of it.
pub(super) trait Shape: DeserializeOwned {
    /// What it must look like.
    const SHAPE: Kind;
}

/// A body of JSON in one form.
pub(super) async fn typed<T: Shape>(request: Request, api: &Api) -> Result<T, Problem> {
    read(&small_body(request, api).await?)
}

/// As [`typed`], of a body that may be left out: none is the same as `{}`.
pub(super) async fn optional<T: Shape + Default>(request: Request, api: &Api) -> Result<T, Problem> {
    let body = small_body(request, api).await?;
    if body.is_empty() { Ok(T::default()) } else { read(&body) }
}

/// As [`typed`], as far as it can be read, for who has more to say of it: with blanks in the places that are wrong.
pub(super) async fn readable<T: Shape>(request: Request, api: &Api) -> Result<(T, Invalids), Problem> {
    read_with_blanks(&small_body(request, api).await?)
}

fn read<T: Shape>(body: &[u8]) -> Result<T, Problem> {
    from_object(body).map_err(|error| explain(body, &error, T::SHAPE).0.into())
}

fn read_with_blanks<T: Shape>(body: &[u8]) -> Result<(T, Invalids), Problem> {
    let error = match from_object(body) {
        Ok(read) => return Ok((read, Invalids::default())),
        Err(error) => error,
    };
    let (faults, rest) = explain(body, &error, T::SHAPE);
    // Where it is the whole that is wrong, it has no places to look at.
    let is_whole = faults.0.iter().any(|fault| fault.pointer.is_empty());
    match serde_json::from_slice(&rest) {
        Ok(read) if !is_whole => Ok((read, faults)),
        _ => Err(faults.into()),
    }
}

/// The body of what only has to be asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Empty {}

impl Shape for Empty {
    const SHAPE: Kind = Kind::Object(&[]);
}

/// The name in a path as a handler's argument. What cannot be one, or is no text, is the name of nothing.
#[derive(Debug)]
pub(super) struct Path<T>(pub(super) T);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let name = AnyPath::<String>::from_request_parts(parts, state).await;
        let AnyPath(name) = name.map_err(|_| Problem::not_found())?;
        Ok(Self(named(&name)?))
    }
}

/// As [`Path`], of a path with two names.
#[derive(Debug)]
pub(super) struct Both<A, B>(pub(super) A, pub(super) B);

impl<A: FromStr, B: FromStr, S: Send + Sync> FromRequestParts<S> for Both<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let names = AnyPath::<(String, String)>::from_request_parts(parts, state).await;
        let AnyPath((first, second)) = names.map_err(|_| Problem::not_found())?;
        Ok(Self(named(&first)?, named(&second)?))
    }
}

/// What is of that name. What cannot be one is the name of nothing.
pub(super) fn named<T: FromStr>(name: &str) -> Result<T, Problem> {
    name.parse().map_err(|_| Problem::not_found())
}

/// What a parameter of a query may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Parameter {
    /// `true` or `false`.
    Bool,
    /// A whole number from 0.
    Count,
    /// Any text.
    Text,
}

/// A query, and its parameters as a table: for telling everything that is wrong with one that does not fit.
pub(super) trait Parameters: DeserializeOwned {
    /// Their names, and what each may be.
    const PARAMETERS: &[(&str, Parameter)];
}

/// A page of a list that is not narrowed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageQuery {
    pub(super) cursor: Option<String>,
    pub(super) limit: Option<u32>,
}

impl Parameters for PageQuery {
    const PARAMETERS: &[(&str, Parameter)] = &[("cursor", Parameter::Text), ("limit", Parameter::Count)];
}

/// The query as a handler's argument. A parameter that does not exist is refused like a field: it would be
/// ignored silently otherwise.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T: Parameters, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(query)) => Ok(Self(query)),
            Err(_) => Err(misfits(parts.uri.query().unwrap_or_default(), T::PARAMETERS)),
        }
    }
}

/// Refuses the query of a call that takes none, as [`Asked`] refuses a parameter that does not exist: whoever sends
/// `dry_run` to a call that has no dry run must not be served in earnest.
pub(super) fn refuse_query(method: &Method, route: &str, uri: &Uri) -> Result<(), Problem> {
    let query = uri.query().unwrap_or_default();
    let is_empty = url::form_urlencoded::parse(query.as_bytes()).next().is_none();
    if is_empty || takes_query(method, route) { Ok(()) } else { Err(misfits(query, &[])) }
}

/// Whether the handler of a route reads the query: with [`Asked`], or because it hands it on.
pub(super) fn takes_query(method: &Method, route: &str) -> bool {
    match route {
        "/v1/senders" => *method != Method::POST,
        "/v1/deliveries"
        | "/v1/events"
        | "/v1/senders/{name}/consent"
        | "/v1/senders/{name}/esign/{*path}"
        | "/v1/signings"
        | "/v1/signings/{id}/wait" => true,
        _ => false,
    }
}

/// Everything that is wrong with a query. What was given is not repeated: it may be personal.
fn misfits(query: &str, known: &[(&str, Parameter)]) -> Problem {
    let (mut faults, mut seen) = (Invalids::default(), Vec::new());
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        let place = format!("/{}", token(&name));
        let Some((_, kind)) = known.iter().find(|(known, _)| *known == name) else {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            let detail = match names.join(", ") {
                names if names.is_empty() => "there is no such parameter; this call takes none".to_owned(),
                names => format!("there is no such parameter; there are {names}"),
            };
            faults.add(place, "unknown_field", detail);
            continue;
        };
        if seen.contains(&name) {
            faults.wrong(place, "is given twice");
            continue;
        }
        match kind {
            Parameter::Bool if !matches!(&*value, "true" | "false") => {
                faults.wrong(place, "must be true or false");
            }
            Parameter::Count if value.parse::<u32>().is_err() => {
                faults.wrong(place, "must be a whole number from 0");
            }
            Parameter::Bool | Parameter::Count | Parameter::Text => {}
        }
        seen.push(name);
    }
    if faults.is_empty() {
        return Problem::new("invalid_request", "the query cannot be read")
            .fix("Send each parameter once, percent-encoded, as in /docs.");
    }
    faults.into()
}

/// Whether the caller asks for a stream of events.
pub(super) fn wants_stream(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.any(|value| {
        let mut kinds = value.split(',').map(|kind| kind.split(';').next().unwrap_or_default().trim());
        kinds.any(|kind| kind.eq_ignore_ascii_case("text/event-stream"))
    })
}
