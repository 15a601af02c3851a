//! The identity of a flow, in a form that is fast to hash and compare.

use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;

use crate::packet::owner::{Owners, Remote};
use crate::packet::{Direction, FlowKey};

/// A flow's two ends, in the same order for both directions. Every packet hashes and compares it.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    low: [u64; 2],
    high: [u64; 2],
    /// The ports, the protocol, and whether the addresses are IPv4.
    rest: u64,
}

impl Ends {
    /// Whether both are equal, without branches and without a call of `memcmp`.
    #[inline(always)]
    pub(super) fn are(&self, other: &Self) -> bool {
        let differs = |a: [u64; 2], b: [u64; 2]| (a[0] ^ b[0]) | (a[1] ^ b[1]);
        let low = differs(self.low, other.low);
        low | differs(self.high, other.high) | (self.rest ^ other.rest) == 0
    }

    #[inline(always)]
    fn hash(&self, hasher: &RandomState) -> u64 {
        let mut state = hasher.build_hasher();
        let Self { low, high, rest } = *self;
        [low[0], low[1], high[0], high[1], rest].into_iter().for_each(|part| state.write_u64(part));
        state.finish()
    }
}

/// A [`FlowKey`] in the table's form.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    pub(super) ends: Ends,
    /// A part of the hash of the ends: the key of the index.
    pub(super) tag: u32,
    /// Whether the source is the lower end.
    pub(super) low_first: bool,
    pub(super) has_ports: bool,
}

impl Identity {
    /// Takes the parts of a key, which saves copying them into one for every packet.
    #[inline(always)]
    pub(super) fn of(
        protocol: u8,
        (source, destination): (&IpAddr, &IpAddr),
        ports: Option<(u16, u16)>,
        hasher: &RandomState,
    ) -> Self {
        let from_to = ports.unwrap_or_default();
        let (a, b) = ((bits(source), from_to.0), (bits(destination), from_to.1));
        let low_first = a <= b;
        // The order is unpredictable, so swap without a branch.
        let other = u64::from(low_first).wrapping_sub(1);
        let exchanged = |a: u64, b: u64| (a ^ (a ^ b) & other, b ^ (a ^ b) & other);
        let (upper, lower) = ((a.0 >> 64, b.0 >> 64), (a.0, b.0));
        let (low_upper, high_upper) = exchanged(upper.0 as u64, upper.1 as u64);
        let (low_lower, high_lower) = exchanged(lower.0 as u64, lower.1 as u64);
        let (low_port, high_port) = exchanged(a.1.into(), b.1.into());
        let kind = u64::from(protocol) << 1 | u64::from(source.is_ipv4());
        let rest = (low_port << 16 | high_port) << 16 | kind;
        let ends = Ends { low: [low_upper, low_lower], high: [high_upper, high_lower], rest };
        let tag = ends.hash(hasher) as u32;
        Self { ends, tag, low_first, has_ports: ports.is_some() }
    }

    /// The direction of a packet with this identity, by the owner of its ports. `None` if it is not the run's.
    pub(super) fn direction(&self, owners: &Owners) -> Option<Direction> {
        let Ends { low, high, rest } = self.ends;
        let remote = |[upper, lower]: [u64; 2], port: u64| -> Remote {
            (u128::from(upper) << 64 | u128::from(lower), port as u16)
        };
        let (low, high) = (remote(low, rest >> 32), remote(high, rest >> 16));
        let (source, destination) = if self.low_first { (low, high) } else { (high, low) };
        owners.direction(((rest >> 1) as u8, rest & 1 == 1), source, destination)
    }

    /// The port of the source, 0 if there is none.
    pub(super) fn source_port(&self) -> u16 {
        (self.ends.rest >> if self.low_first { 32 } else { 16 }) as u16
    }

    pub(super) fn key(&self) -> FlowKey {
        let Ends { low, high, rest } = self.ends;
        let address = |[upper, lower]: [u64; 2]| match rest & 1 {
            1 => IpAddr::V4(Ipv4Addr::from_bits(lower as u32)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(u128::from(upper) << 64 | u128::from(lower))),
        };
        let low = (address(low), (rest >> 32) as u16);
        let high = (address(high), (rest >> 16) as u16);
        let (source, destination) = if self.low_first { (low, high) } else { (high, low) };
        let protocol = (rest >> 1) as u8;
        FlowKey { protocol, source, destination, has_ports: self.has_ports }
    }
}

#[inline(always)]
fn bits(address: &IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
