//! The network of an address: its /24, or its /48 of IPv6.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The length of an IPv4 prefix.
pub const V4_LENGTH: u8 = 24;
/// The length of an IPv6 prefix.
pub const V6_LENGTH: u8 = 48;

/// A prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    /// The address; of IPv4 in the lowest 32 bits.
    bits: u128,
    length: u8,
    is_v4: bool,
}

impl Network {
    /// The network of an address.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => {
                let bits = u32::from(ip) & (u32::MAX << (32 - V4_LENGTH));
                Self { bits: bits.into(), length: V4_LENGTH, is_v4: true }
            }
            IpAddr::V6(ip) => {
                let bits = u128::from(ip) & (u128::MAX << (128 - u32::from(V6_LENGTH)));
                Self { bits, length: V6_LENGTH, is_v4: false }
            }
        }
    }

    /// Reads `192.0.2.0/24`.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let length = length.parse().ok()?;
        match address.parse().ok()? {
            IpAddr::V4(ip) => Some(Self { bits: u32::from(ip).into(), length, is_v4: true }),
            IpAddr::V6(ip) => Some(Self { bits: ip.into(), length, is_v4: false }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bits, length, is_v4 } = *self;
        match u32::try_from(bits) {
            Ok(bits) if is_v4 => write!(f, "{}/{length}", Ipv4Addr::from(bits)),
            _ => write!(f, "{}/{length}", Ipv6Addr::from(bits)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_network() {
        for (ip, network) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("2001:db8:7:9::1", "2001:db8:7::/48"),
            ("2001:db8::1", "2001:db8::/48"),
            ("0:5::1", "0:5::/48"),
            ("::1", "::/48"),
        ] {
            let of = ip.parse().map(Network::of);
            assert_eq!(of.map(|of| of.to_string()), Ok(network.to_owned()));
            assert_eq!(Network::parse(network).map(|of| of.to_string()).as_deref(), Some(network));
        }
        assert_eq!(Network::parse("192.0.2.0"), None);
    }
}
