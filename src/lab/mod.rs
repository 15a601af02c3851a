//! The lab: a small Internet with known truth, on one machine, without touching its network.
//!
//! It is for demonstrations, and it is the reference for every condition. It consists of network namespaces inside a
//! user namespace of this process:
//!
//! ```text
//! prober --veth-- router --veth-- servers (Linux; one namespace per kind)
//!                 nftables `------ wires (responders and relays in user space)
//! ```
//!
//! Nothing on the host changes, and everything disappears with the process.
//!
//! [`enter`] must come first, while the process has one thread; afterwards the process itself is in the prober's
//! namespace. Then [`Spec`] parses a lab, [`Lab::build`] builds it, and a [`Tally`] compares the measured conditions
//! with the true ones.
//!
//! The hosts' faults are on the path and at the server. [`prober`] has faults of the measuring host.
//!
//! Imports [`error`](crate::error), the HTTP/2 frames of [`connect`](crate::connect), and the socket options of
//! [`step`](crate::step). Touches the operating system. Of measurements it knows only the labels that a lab file
//! states as true.

mod build;
mod busy;
pub mod chain;
pub mod hops;
mod late;
mod namespace;
mod net;
mod path;
pub mod prober;
mod read;
mod relay;
mod resolver;
mod responder;
mod rules;
mod server;
mod site;
pub mod spec;
pub mod truth;
mod tun;
pub mod verdict;
mod wire;
mod worker;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

pub use namespace::{enter, entered};
pub use prober::Situation;
pub use read::{INTERNET, is_lab, measured, schema, unknown_labels};
pub use spec::Spec;
pub use verdict::Tally;

use crate::error::Result;
use spec::HostSpec;
use truth::Truth;

/// The prober's interface, which has the default route.
pub(crate) const INTERFACE: &str = "lab0";

/// Hosts' addresses: the ranges for benchmarks (RFC 2544) and for documentation (RFC 3849).
const HOSTS_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// If those do not suffice, private ones (RFC 1918): the lab's namespaces have no others.
const MORE_HOSTS_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 0);
const HOSTS_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0);

/// The addresses of a router, with which it reports errors (RFC 5737 and RFC 3849); `None` is the first one. The second
/// router of a lab ends in 2.
pub(crate) fn router_addresses(index: Option<usize>) -> (Ipv4Addr, Ipv6Addr) {
    let Some(index) = index else {
        return (Ipv4Addr::new(192, 0, 2, 254), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe));
    };
    let number = index as u16 + 2;
    let v4 = Ipv4Addr::new(203, 0, 113, number as u8);
    (v4, Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, number))
}

/// A running lab. It is taken down when this is dropped, or when the process ends.
pub struct Lab {
    hosts: Vec<Host>,
    targets: Vec<LabTarget>,
    description: String,
    situation: Option<&'static Situation>,
    /// Owns the threads, which keep the namespaces alive.
    _stop: worker::Stop,
    _namespaces: Vec<namespace::Namespace>,
}

/// One kind of host in a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Short unique name.
    pub name: String,
    /// What it does, in one sentence.
    pub title: String,
    /// Number of its IPv4 addresses, and of its IPv6 addresses.
    pub count: usize,
    /// The prefix of its IPv4 addresses.
    pub prefix_v4: String,
    /// The prefix of its IPv6 addresses.
    pub prefix_v6: String,
    /// Per measurement, all conditions that are true over IPv4, in order.
    pub truth_v4: Truth,
    /// The same over IPv6.
    pub truth_v6: Truth,
    /// Per measurement, what is true over IPv4 besides if a run locates one of those conditions.
    pub located_v4: Truth,
    /// The same over IPv6.
    pub located_v6: Truth,
    /// Per measurement, further conditions that are true over IPv4, but depend on packets that may come after the end
    /// of a run.
    pub late_v4: Truth,
    /// The same over IPv6.
    pub late_v6: Truth,
}

/// One address to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LabTarget {
    /// Its address.
    pub addr: IpAddr,
    /// Its TCP port.
    pub port: u16,
    /// Index of its kind in [`Lab::hosts`].
    pub host: usize,
}

impl Lab {
    /// Builds the lab and waits until every server is reachable. [`enter`] must have been called. Takes a fraction of
    /// a second for any number of addresses. A process has one lab at a time: a new one disconnects the previous one.
    pub fn build(spec: &Spec) -> Result<Self> {
        build::build(spec, None)
    }

    /// Builds the lab with its prober in a situation. `ports` are the source ports of the coming runs: some
    /// situations treat a part of them differently.
    pub fn build_in(
        spec: &Spec,
        situation: &'static Situation,
        ports: RangeInclusive<u16>,
    ) -> Result<Self> {
        build::build(spec, Some((situation, ports)))
    }

    /// The situation of the prober; `None` is one without faults.
    pub fn situation(&self) -> Option<&'static Situation> {
        self.situation
    }

    /// The kinds of host in file order.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Every address of every host, IPv4 and IPv6; the kinds of host are evenly mixed.
    pub fn targets(&self) -> &[LabTarget] {
        &self.targets
    }

    /// The prober's interface, which carries every packet; it has the default route.
    pub fn interface(&self) -> &str {
        INTERFACE
    }

    /// The resolver for the names of all kinds of host; it knows no other names.
    pub fn resolver(&self) -> SocketAddr {
        resolver::ADDRESS
    }

    /// A one-line description of the lab.
    pub fn describe(&self) -> &str {
        &self.description
    }
}

impl HostSpec {
    /// One of its IPv4 addresses, counted from 0.
    pub fn address_v4(&self, index: usize) -> Ipv4Addr {
        let first = if self.private { MORE_HOSTS_V4 } else { HOSTS_V4 };
        Ipv4Addr::from_bits(first.to_bits() + (self.offset + index) as u32)
    }

    /// One of its IPv6 addresses, counted from 0.
    pub fn address_v6(&self, index: usize) -> Ipv6Addr {
        Ipv6Addr::from_bits(HOSTS_V6.to_bits() + (self.offset + index) as u128)
    }

    fn prefix_v4(&self) -> String {
        format!("{}/{}", self.address_v4(0), 32 - self.block().ilog2())
    }

    fn prefix_v6(&self) -> String {
        format!("{}/{}", self.address_v6(0), 128 - self.block().ilog2())
    }

    /// Its description in a lab.
    pub fn host(&self) -> Host {
        Host {
            name: self.name.clone(),
            title: self.title.clone(),
            count: self.count,
            prefix_v4: self.prefix_v4(),
            prefix_v6: self.prefix_v6(),
            truth_v4: self.truth_v4.clone(),
            truth_v6: self.truth_v6.clone(),
            located_v4: self.located_v4.clone(),
            located_v6: self.located_v6.clone(),
            late_v4: self.late_v4.clone(),
            late_v6: self.late_v6.clone(),
        }
    }
}

/// Every address, ordered such that any section of the list has each kind of host in proportion.
pub fn targets(spec: &Spec) -> Vec<LabTarget> {
    let mut placed = Vec::new();
    for (host, kind) in spec.hosts.iter().enumerate() {
        for index in 0..kind.count {
            // Its position in the list, in units of 2^-32.
            let place = ((2 * index as u64 + 1) << 31) / kind.count as u64;
            for addr in [IpAddr::V4(kind.address_v4(index)), IpAddr::V6(kind.address_v6(index))] {
                placed.push((place, LabTarget { addr, port: server::PORT, host }));
            }
        }
    }
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, target)| target).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lie_in_the_prefixes_and_hosts_are_mixed() {
        let spec = Spec::plain(90, 10).unwrap();
        assert_eq!(spec.hosts[0].prefix_v4(), "198.18.0.128/25");
        assert_eq!(spec.hosts[1].prefix_v6(), "2001:db8:1::100/124");
        let targets = targets(&spec);
        assert_eq!(targets.len(), 200);
        assert_eq!(targets.iter().filter(|t| t.addr.is_ipv4()).count(), 100);
        for stretch in targets.chunks(40) {
            assert_eq!(stretch.iter().filter(|t| t.host == 1).count(), 4);
        }
    }
}
