//! Where a request really came from, when reverse proxies stand in front of us.
//!
//! A header with addresses can be written by anyone, so it is read only when the connection comes from a
//! proxy that the settings trust, and from its right end: each trusted proxy appended whom it was called
//! by, and the first address that is not a trusted proxy's is the visitor's. Everything left of that is
//! the visitor's own word, and never looked at. Sources: RFC 7239, sections 4, 6 and 8.1; MDN,
//! "X-Forwarded-For: selecting an IP address".

use std::net::IpAddr;

use http::HeaderMap;

use crate::config::{Network, ProxyHeader};

/// Hops that are followed; a longer chain is no chain of ours.
const MAX_HOPS: usize = 16;

/// The proxies in front of this listener.
#[derive(Debug, Clone)]
pub struct Proxies {
    trusted: Vec<Network>,
    header: ProxyHeader,
}

impl Proxies {
    /// None: the address of the connection counts.
    pub const fn none() -> Self {
        Self { trusted: Vec::new(), header: ProxyHeader::XForwardedFor }
    }

    /// Those of the settings.
    pub const fn new(trusted: Vec<Network>, header: ProxyHeader) -> Self {
        Self { trusted, header }
    }

    /// The visitor's address. What a proxy says in words that cannot be read counts as its own address, so
    /// that garbage never buys a fresh allowance.
    pub(super) fn visitor(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let mut nearest = peer;
        for hop in self.hops(headers).take(MAX_HOPS) {
            let Some(address) = hop else { return nearest };
            nearest = address.to_canonical();
            if !self.trusts(nearest) {
                return nearest;
            }
        }
        nearest
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    /// The addresses of the header, from the right; none for what cannot be read.
    fn hops<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + use<'h> {
        let (name, read): (_, fn(&str) -> Option<IpAddr>) = match self.header {
            ProxyHeader::Forwarded => ("forwarded", forwarded),
            ProxyHeader::XForwardedFor => ("x-forwarded-for", node),
        };
        let lines = headers.get_all(name).iter().rev();
        lines.flat_map(move |line| line.to_str().unwrap_or("?").rsplit(',').map(read))
    }
}

/// The `for` of one element of `Forwarded`.
fn forwarded(element: &str) -> Option<IpAddr> {
    let mut named = element.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = named.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
    node(value.trim().trim_matches('"'))
}

/// An address, perhaps in brackets, perhaps with a port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, _) = rest.split_once(']')?;
        return address.parse().ok();
    }
    text.rsplit_once(':')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn proxies(header: ProxyHeader) -> Proxies {
        Proxies::new(["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().unwrap()).to_vec(), header)
    }

    fn visitor(header: ProxyHeader, peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        let name = if header == ProxyHeader::Forwarded { "forwarded" } else { "x-forwarded-for" };
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        proxies(header).visitor(peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn the_first_address_from_the_right_that_is_no_proxy_is_the_visitor() {
        let of = |peer, lines: &[&str]| visitor(ProxyHeader::XForwardedFor, peer, lines);
        assert_eq!(of("10.0.0.1", &["203.0.113.9"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1", &["203.0.113.9, 10.1.2.3"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1", &["203.0.113.9", "10.1.2.3"]), "203.0.113.9", "two lines are one list");
        assert_eq!(of("::ffff:10.0.0.1", &["[2001:db8::7]:443"]), "2001:db8::7");
        assert_eq!(of("fd00::1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(of("10.0.0.1", &["10.9.9.9"]), "10.9.9.9", "a visitor within the network");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_a_visitor_writes_is_never_believed() {
        let of = |peer, lines: &[&str]| visitor(ProxyHeader::XForwardedFor, peer, lines);
        assert_eq!(of("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "no proxy of ours");
        assert_eq!(of("10.0.0.1", &["198.51.100.1, 203.0.113.9"]), "203.0.113.9", "left of the visitor");
        assert_eq!(of("10.0.0.1", &["198.51.100.1", "203.0.113.9"]), "203.0.113.9");
        for garbage in ["unknown", "", "_hidden", "1.2.3", "a:b:c", "198.51.100.1, x"] {
            assert_eq!(of("10.0.0.1", &[garbage]), "10.0.0.1", "{garbage}");
        }
    }

    #[test]
    fn the_standard_header_is_read_where_it_is_the_one_that_is_set() {
        let of = |lines: &[&str]| visitor(ProxyHeader::Forwarded, "10.0.0.1", lines);
        assert_eq!(of(&["for=203.0.113.9;proto=https"]), "203.0.113.9");
        assert_eq!(of(&["for=198.51.100.1, For=\"[2001:db8::7]:4711\";by=10.0.0.1"]), "2001:db8::7");
        assert_eq!(of(&["proto=https"]), "10.0.0.1");
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("198.51.100.1"));
        let peer = "10.0.0.1".parse().unwrap();
        assert_eq!(
            proxies(ProxyHeader::Forwarded).visitor(peer, &headers),
            peer,
            "the other one passes unread"
        );
    }

    proptest! {
        #[test]
        fn no_header_panics_or_moves_a_stranger(value in "[ -~]{0,120}") {
            let mut headers = HeaderMap::new();
            for name in ["forwarded", "x-forwarded-for"] {
                headers.insert(name, HeaderValue::from_str(&value).unwrap());
            }
            let stranger: IpAddr = "203.0.113.9".parse().unwrap();
            for header in [ProxyHeader::Forwarded, ProxyHeader::XForwardedFor] {
                prop_assert_eq!(proxies(header).visitor(stranger, &headers), stranger);
                let _ = proxies(header).visitor("10.0.0.1".parse().unwrap(), &headers);
            }
        }
    }
}
