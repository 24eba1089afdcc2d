//! A network by its prefix, such as `10.0.0.0/8`: whom a setting trusts.

use std::{net::IpAddr, str::FromStr};

use super::values::Setting;

/// All addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    bits: u128,
    mask: u128,
}

impl Network {
    /// Whether an address is in it. IPv4 is compared as IPv4, also where it came as `::ffff:…`.
    pub fn contains(&self, address: IpAddr) -> bool {
        as_bits(address.to_canonical()) & self.mask == self.bits
    }
}

impl Setting for Network {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Network {
    /// "Cause; fix".
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "not a network; write such as 10.0.0.0/8, 2001:db8::/32 or one address".to_owned();
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address = address.trim().parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(width), |prefix| prefix.trim().parse().map_err(|_| wrong()))?;
        if prefix > width {
            return Err(wrong());
        }
        let mask = u128::MAX.checked_shl(width - prefix).unwrap_or(0);
        // IPv4 is kept in the lowest bits of its mapped form, whose upper bits always count.
        let mask = if address.is_ipv4() { mask | !u128::from(u32::MAX) } else { mask };
        let bits = as_bits(address);
        if bits & mask != bits {
            return Err(
                "an address within a network, not the network; clear the bits behind the prefix".into()
            );
        }
        Ok(Self { bits, mask })
    }
}

const fn as_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        Network::parse(text).unwrap()
    }

    #[test]
    fn an_address_is_in_its_network_and_in_no_other() {
        for (text, inside, outside) in [
            ("10.0.0.0/8", "10.255.1.2", "11.0.0.1"),
            ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
            ("192.0.2.7/32", "::ffff:192.0.2.7", "192.0.2.6"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::1"),
            ("::1", "::1", "127.0.0.1"),
            ("0.0.0.0/0", "203.0.113.1", "2001:db8::1"),
            ("fe80::/10", "febf::1", "fec0::1"),
        ] {
            assert!(network(text).contains(inside.parse().unwrap()), "{inside} in {text}");
            assert!(!network(text).contains(outside.parse().unwrap()), "{outside} in {text}");
        }
        assert!(network("::/0").contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for wrong in ["", "10.0.0.0/33", "10.0.0.1/8", "example.com", "10.0.0.0/-1", "2001:db8::/129", "10/8"]
        {
            assert!(Network::parse(wrong).is_err(), "{wrong}");
        }
    }
}
