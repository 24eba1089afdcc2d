//! Which addresses may be connected to (rule F4).

use std::net::IpAddr;

use url::{Host, Url};

use super::{Error, look_ups::LookUps};

/// Which addresses a client may connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Any address.
    Anywhere,
    /// Only addresses of the public internet (rule F4). Checked on what a name resolves to, so a
    /// name that points inside does not help, nor one that changes after a first look.
    PublicOnly,
}

/// Whether a URL is one that a client of any [`Reach`] would call.
pub fn is_callable(url: &Url) -> bool {
    check_url(url, Reach::Anywhere).is_ok()
}

/// Whether a URL leads to this machine alone, by its spelling; nothing is resolved. The settings tell it alike, in
/// words of their own: they name no other module.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Plain HTTP is for loopback alone: a token must not cross a wire in the clear because of a typo.
pub(super) fn check_url(url: &Url, reach: Reach) -> Result<(), Error> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) => None,
        None => return Err(Error::Refused("it has no host")),
    };
    let loopback = is_loopback(url);
    match (url.scheme(), loopback) {
        ("https", _) | ("http", true) => {}
        ("http", false) => return Err(Error::Refused("plain HTTP is for loopback only")),
        _ => return Err(Error::Refused("it is not HTTP")),
    }
    if reach == Reach::PublicOnly && (loopback || address.is_some_and(|address| !is_public(address))) {
        return Err(Error::Refused("it is not on the public internet"));
    }
    Ok(())
}

/// Whether an address belongs to the public internet, by the IANA special-purpose registries.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            !(a == 0
                || a == 10
                || a == 127
                || a >= 224
                || (a == 100 && (64..128).contains(&b))
                || (a == 169 && b == 254)
                || (a == 172 && (16..32).contains(&b))
                || (a == 192 && b == 168)
                || (a == 192 && b == 0 && (c == 0 || c == 2))
                || (a == 198 && (18..20).contains(&b))
                || (a == 198 && b == 51 && c == 100)
                || (a == 203 && b == 0 && c == 113))
        }
        IpAddr::V6(address) => {
            if let Some(inside) = address.to_ipv4_mapped() {
                return is_public(IpAddr::V4(inside));
            }
            let [first, second, ..] = address.segments();
            // Only 2000::/3 is handed out. 6to4, Teredo and documentation lie inside it; the first
            // two wrap an IPv4 address that a gateway would unwrap.
            (first & 0xe000) == 0x2000
                && first != 0x2002
                && !(first == 0x2001 && (second < 0x0200 || second == 0x0db8))
        }
    }
}

/// Resolves as the system does, and drops what is not public.
#[derive(Debug)]
pub(super) struct PublicResolver(LookUps);

impl PublicResolver {
    pub(super) fn new() -> Self {
        Self(LookUps::of_system())
    }
}

impl reqwest::dns::Resolve for PublicResolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let look_ups = self.0.clone();
        Box::pin(async move {
            let mut found = look_ups.addresses(name.as_str()).await?;
            found.retain(|address| is_public(address.ip()));
            if found.is_empty() {
                return Err("the name leads to no public address".into());
            }
            Ok(Box::new(found.into_iter()) as reqwest::dns::Addrs)
        })
    }
}
