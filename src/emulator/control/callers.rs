//! Whom the control interface answers: what runs on this machine, and no web page of anybody else's.
//!
//! A page can have its own name mean this machine (DNS rebinding), and then reads what it asks for with the browser of
//! whoever develops here; any page can post here without reading the answer. Neither shall see the codes in the outbox, or
//! reset the world. The ops listener of the daemon refuses foreign names for the same reason.

use std::net::IpAddr;

use http::{StatusCode, Uri, header, request::Parts, uri::Authority};

use crate::emulator::http::Answer;

/// The refusal of a request that a foreign page may have made; none of any other.
pub(in crate::emulator) fn refusal(parts: &Parts) -> Option<Answer> {
    let problem = match (names_this_machine(parts), is_of_this_machine(parts)) {
        (true, true) => return None,
        (false, _) => {
            "the request was for another host than this machine: ask by localhost, an address, or a name without a dot"
        }
        (true, false) => "the request was made by a web page of another machine (Origin)",
    };
    Some(Answer::control_error(StatusCode::FORBIDDEN, problem))
}

/// Whether all that says whom a request is for (RFC 9110, 7.2) means this machine. A browser never leaves it out.
fn names_this_machine(parts: &Parts) -> bool {
    let hosts = parts.headers.get_all(header::HOST).iter();
    let hosts = hosts.map(|host| Authority::try_from(host.as_bytes()).ok());
    let target = parts.uri.authority().cloned().map(Some);
    hosts.chain(target).all(|named| named.is_some_and(|named| is_this_machine(named.host())))
}

/// A name that somebody elsewhere can point here has a dot in it; an address is what it is.
fn is_this_machine(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    !name.contains('.') || is_local_name(name) || address(host).is_some()
}

/// Whether the page that a browser made it for, if there is one, is of this machine. One that a browser names to nobody
/// is `null`.
fn is_of_this_machine(parts: &Parts) -> bool {
    parts.headers.get_all(header::ORIGIN).iter().all(|origin| {
        let origin = Uri::try_from(origin.as_bytes()).ok().filter(|origin| origin.scheme().is_some());
        origin.is_some_and(|origin| {
            let host = origin.host().unwrap_or_default();
            is_local_name(host) || address(host).is_some_and(|address| address.is_loopback())
        })
    })
}

/// `localhost`, and what lies below it (RFC 6761, 6.3).
fn is_local_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// The address that a host is, with or without the brackets of IPv6.
fn address(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}
