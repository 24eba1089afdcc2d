//! The calls of the vendor's that the emulator does not have, and what it says of them.
//!
//! A client must be able to tell "DocuSign has no such thing" from "this emulator has no such thing": the first is 404
//! or 405 as at the vendor, the second 501 with a code that is not the vendor's. This module knows the names of calls
//! only, and of the headers that make any of them another call, and must never play one.

use http::StatusCode;

use super::{
    http::{Answer, Call},
    state::World,
};

/// The vendor's calls: path templates with their methods.
const CALLS: &str = include_str!("vendor_calls.txt");

/// Each path template of the vendor's (`{}` for a parameter), after its methods.
pub(super) fn calls() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = CALLS.lines().filter(|line| !line.starts_with('#'));
    rows.filter_map(|line| line.split_once(' ').map(|(template, methods)| (methods, template)))
}

/// What is answered to a call that no handler took.
pub(super) fn answer(call: &Call) -> Answer {
    let methods: Vec<&str> = methods(call).collect();
    if methods.contains(&call.method.as_str()) {
        return Answer::error(
            StatusCode::NOT_IMPLEMENTED,
            "NOT_EMULATED",
            "DocuSign has this call and this emulator does not: deploy/faults/EMULATED.md lists it under its gaps.",
        );
    }
    if methods.is_empty() {
        return Answer::error(
            StatusCode::NOT_FOUND,
            "RESOURCE_NOT_FOUND",
            "The URL provided does not resolve to a resource.",
        );
    }
    Answer::error(
        StatusCode::METHOD_NOT_ALLOWED,
        "HTTP_METHOD_NOT_SUPPORTED",
        "The resource does not take this method.",
    )
}

/// The headers by which a call is made for another user: that of shared access, and one that clients in the field send.
const ACTING: [&str; 2] = ["x-docusign-act-on-behalf", "x-docusign-act-as-user"];

/// What is answered to a call for another user; none if it names the token's own, by id or by address.
pub(super) fn on_behalf(world: &World, call: &Call) -> Option<Answer> {
    let own = call.user.as_deref().unwrap_or_default();
    let address = world.directory.users.get(own).map_or("", |user| user.email.as_str());
    let is_own = |named: &[u8]| [own, address].iter().any(|one| named.eq_ignore_ascii_case(one.as_bytes()));
    let mut named = ACTING.iter().flat_map(|header| call.headers.get_all(*header));
    named.any(|value| !is_own(value.as_bytes().trim_ascii())).then(|| {
        Answer::error(
            StatusCode::NOT_IMPLEMENTED,
            "NOT_EMULATED",
            "DocuSign lets a user act for another and this emulator does not: see the gaps in deploy/faults/EMULATED.md.",
        )
    })
}

/// What is answered to a call of the API before this one.
pub(super) fn older() -> Answer {
    Answer::error(
        StatusCode::NOT_IMPLEMENTED,
        "NOT_EMULATED",
        "DocuSign has the older API v2 as well, and this emulator v2.1 alone.",
    )
}

/// What the vendor takes at this path.
fn methods(call: &Call) -> impl Iterator<Item = &'static str> {
    let route = call.route();
    let path = if route.first() == Some(&"restapi") { &route[1..] } else { &[] };
    let here: Vec<&str> =
        calls().filter(|(_, template)| fits(template, path)).map(|(methods, _)| methods).collect();
    here.into_iter().flat_map(|methods| methods.split(' '))
}

fn fits(template: &str, path: &[&str]) -> bool {
    let parts: Vec<&str> = template.split('/').skip(1).collect();
    parts.len() == path.len() && parts.iter().zip(path).all(|(part, given)| *part == "{}" || part == given)
}
