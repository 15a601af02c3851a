//! Special-purpose networks by IANA's registries; targets in them must not be probed by accident.
//!
//! The table has the entries of the registries for
//! [IPv4](https://www.iana.org/assignments/iana-ipv4-special-registry) and
//! [IPv6](https://www.iana.org/assignments/iana-ipv6-special-registry), and the multicast networks
//! ([IPv4](https://www.iana.org/assignments/multicast-addresses),
//! [IPv6](https://www.iana.org/assignments/ipv6-multicast-addresses)), which have registries of their own. Globally
//! reachable entries (AS112, anycast of the IETF's protocols) are included: they are infrastructure that should not
//! be probed by accident. An address in the well-known prefix of NAT64, 64:ff9b::/96, is treated like its IPv4
//! address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A special-purpose network.
#[derive(Debug, PartialEq, Eq)]
pub struct Special {
    /// Its prefix.
    pub prefix: &'static str,
    first: IpAddr,
    length: u32,
    /// Its name in the registry.
    pub name: &'static str,
    /// The document that defines it.
    pub source: &'static str,
}

const fn v4(
    prefix: &'static str,
    first: [u8; 4],
    length: u32,
    about: [&'static str; 2],
) -> Special {
    let [a, b, c, d] = first;
    let first = IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    Special { prefix, first, length, name: about[0], source: about[1] }
}

const fn v6(prefix: &'static str, first: u128, length: u32, about: [&'static str; 2]) -> Special {
    let first = IpAddr::V6(Ipv6Addr::from_bits(first));
    Special { prefix, first, length, name: about[0], source: about[1] }
}

/// All special-purpose networks, IPv4 first.
pub static SPECIAL: &[Special] = &[
    v4("0.0.0.0/8", [0, 0, 0, 0], 8, ["\"This network\"", "RFC 791"]),
    v4("10.0.0.0/8", [10, 0, 0, 0], 8, ["Private-Use", "RFC 1918"]),
    v4("100.64.0.0/10", [100, 64, 0, 0], 10, ["Shared Address Space", "RFC 6598"]),
    v4("127.0.0.0/8", [127, 0, 0, 0], 8, ["Loopback", "RFC 1122"]),
    v4("169.254.0.0/16", [169, 254, 0, 0], 16, ["Link Local", "RFC 3927"]),
    v4("172.16.0.0/12", [172, 16, 0, 0], 12, ["Private-Use", "RFC 1918"]),
    v4("192.0.0.0/24", [192, 0, 0, 0], 24, ["IETF Protocol Assignments", "RFC 6890"]),
    v4("192.0.2.0/24", [192, 0, 2, 0], 24, ["Documentation (TEST-NET-1)", "RFC 5737"]),
    v4("192.31.196.0/24", [192, 31, 196, 0], 24, ["AS112-v4", "RFC 7535"]),
    v4("192.52.193.0/24", [192, 52, 193, 0], 24, ["AMT", "RFC 7450"]),
    v4("192.88.99.0/24", [192, 88, 99, 0], 24, ["Deprecated (6to4 Relay Anycast)", "RFC 7526"]),
    v4("192.168.0.0/16", [192, 168, 0, 0], 16, ["Private-Use", "RFC 1918"]),
    v4("192.175.48.0/24", [192, 175, 48, 0], 24, ["Direct Delegation AS112 Service", "RFC 7534"]),
    v4("198.18.0.0/15", [198, 18, 0, 0], 15, ["Benchmarking", "RFC 2544"]),
    v4("198.51.100.0/24", [198, 51, 100, 0], 24, ["Documentation (TEST-NET-2)", "RFC 5737"]),
    v4("203.0.113.0/24", [203, 0, 113, 0], 24, ["Documentation (TEST-NET-3)", "RFC 5737"]),
    v4("224.0.0.0/4", [224, 0, 0, 0], 4, ["Multicast", "RFC 5771"]),
    v4("240.0.0.0/4", [240, 0, 0, 0], 4, ["Reserved", "RFC 1112"]),
    v6("::/128", 0, 128, ["Unspecified Address", "RFC 4291"]),
    v6("::1/128", 1, 128, ["Loopback Address", "RFC 4291"]),
    v6("::ffff:0:0/96", 0xffff << 32, 96, ["IPv4-mapped Address", "RFC 4291"]),
    v6("64:ff9b:1::/48", 0x64_ff9b_0001 << 80, 48, ["IPv4-IPv6 Translation", "RFC 8215"]),
    v6("100::/64", 0x100 << 112, 64, ["Discard-Only Address Block", "RFC 6666"]),
    v6("100:0:0:1::/64", (0x100 << 112) | (1 << 64), 64, ["Dummy IPv6 Prefix", "RFC 9780"]),
    v6("2001::/23", 0x2001 << 112, 23, ["IETF Protocol Assignments", "RFC 2928"]),
    v6("2001:db8::/32", 0x2001_0db8 << 96, 32, ["Documentation", "RFC 3849"]),
    v6("2002::/16", 0x2002 << 112, 16, ["6to4", "RFC 3056"]),
    v6("2620:4f:8000::/48", 0x2620_004f_8000 << 80, 48, ["AS112 Service", "RFC 7534"]),
    v6("3fff::/20", 0x3fff << 112, 20, ["Documentation", "RFC 9637"]),
    v6("5f00::/16", 0x5f00 << 112, 16, ["Segment Routing (SRv6) SIDs", "RFC 9602"]),
    v6("fc00::/7", 0xfc00 << 112, 7, ["Unique-Local", "RFC 4193"]),
    v6("fe80::/10", 0xfe80 << 112, 10, ["Link-Local Unicast", "RFC 4291"]),
    v6("fec0::/10", 0xfec0 << 112, 10, ["Site-Local (deprecated)", "RFC 3879"]),
    v6("ff00::/8", 0xff00 << 112, 8, ["Multicast", "RFC 4291"]),
];

/// The special-purpose network that contains an address, if any. An IPv4-mapped IPv6 address counts as the IPv4
/// address, and one in the well-known prefix 64:ff9b::/96 (RFC 6052) as the IPv4 address embedded in it.
pub fn special(address: IpAddr) -> Option<&'static Special> {
    let address = match address.to_canonical() {
        IpAddr::V6(v6) if v6.to_bits() >> 32 == 0x64_ff9b << 64 => {
            let [.., a, b, c, d] = v6.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        address => address,
    };
    SPECIAL.iter().find(|special| special.has(address))
}

impl Special {
    fn has(&self, address: IpAddr) -> bool {
        match (self.first, address) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()) >> (32 - self.length) == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()) >> (128 - self.length) == 0
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_what_they_say() {
        for special in SPECIAL {
            let (first, length) = special.prefix.split_once('/').unwrap();
            assert_eq!(first.parse(), Ok(special.first), "{}", special.prefix);
            assert_eq!(length.parse(), Ok(special.length), "{}", special.prefix);
            assert!(special.source.starts_with("RFC ") && !special.name.is_empty());
            let host_bits = match special.first {
                IpAddr::V4(first) => first.to_bits().checked_shl(special.length).unwrap_or(0) == 0,
                IpAddr::V6(first) => first.to_bits().checked_shl(special.length).unwrap_or(0) == 0,
            };
            assert!(host_bits, "{} has host bits set", special.prefix);
        }
    }

    #[test]
    fn the_edges_of_each() {
        for (address, name) in [
            ("9.255.255.255", None),
            ("10.0.0.0", Some("Private-Use")),
            ("10.255.255.255", Some("Private-Use")),
            ("11.0.0.0", None),
            ("100.63.255.255", None),
            ("100.64.0.0", Some("Shared Address Space")),
            ("100.127.255.255", Some("Shared Address Space")),
            ("172.31.255.255", Some("Private-Use")),
            ("172.32.0.0", None),
            ("198.19.255.255", Some("Benchmarking")),
            ("198.20.0.0", None),
            ("223.255.255.255", None),
            ("239.1.2.3", Some("Multicast")),
            ("255.255.255.255", Some("Reserved")),
            ("::ffff:127.0.0.1", Some("Loopback")),
            ("::ffff:8.8.8.8", None),
            ("64:ff9b::10.0.0.1", Some("Private-Use")),
            ("64:ff9b::8.8.8.8", None),
            ("64:ff9b:1::1", Some("IPv4-IPv6 Translation")),
            ("::1", Some("Loopback Address")),
            ("2001:1ff:ffff::", Some("IETF Protocol Assignments")),
            ("2001:200::1", None),
            ("2001:db8:ffff::1", Some("Documentation")),
            ("2001:db9::1", None),
            ("2606:4700::1", None),
            ("3fff:fff::1", Some("Documentation")),
            ("3fff:1000::1", None),
            ("fdff::1", Some("Unique-Local")),
            ("fe00::1", None),
            ("febf::1", Some("Link-Local Unicast")),
            ("ff02::1", Some("Multicast")),
        ] {
            let found = special(address.parse().unwrap()).map(|special| special.name);
            assert_eq!(found, name, "{address}");
        }
    }
}
