//! The routers of a lab and the faults at them: which hops a path has, and where in a router a rule acts.
//!
//! The first router is next to the prober and on the path to every host. Further ones form a tree behind it. The number
//! of a hop is the TTL with which a packet of the prober expires there.

use std::net::{Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::lab::router_addresses;
use crate::lab::spec::{HostSpec, Spec};

/// The name of the first router, in faults and lists.
pub const FIRST: &str = "r1";
/// Number of routers besides the first that a lab can have: their addresses are from RFC 5737's third range.
pub const MOST_ROUTERS: usize = 200;
/// The autonomous system of the prober and the first router (RFC 5398).
pub const OWN_AS: u32 = 64_496;

/// A router beyond the first one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterSpec {
    /// Short unique name.
    pub name: String,
    /// The router before it on the way from the prober; `None` is the first router.
    pub behind: Option<usize>,
    /// The autonomous system of its address.
    pub asn: u32,
    /// Whether this program plays it in user space, for what Linux cannot do.
    pub wire: bool,
    /// Whether it sends no ICMP errors.
    pub silent: bool,
    /// ICMP errors per second to one address, after a burst of six, as Linux limits them by default. `None`: no limit.
    pub errors_per_second: Option<u32>,
}

/// The lab's networks and the ASes that announce them, in the format of CAIDA's pfx2as: network, prefix length and AS,
/// separated by tabs. A host is in the AS of the last router on its path.
pub fn as_table(spec: &Spec) -> String {
    let mut text = format!("192.0.2.0\t24\t{OWN_AS}\n2001:db8::\t64\t{OWN_AS}\n");
    for router in Router::all(spec).skip(1) {
        let Router { address_v4, address_v6, asn, .. } = router;
        text += &format!("{address_v4}\t32\t{asn}\n{address_v6}\t128\t{asn}\n");
    }
    for host in &spec.hosts {
        let asn = host.behind.and_then(|index| spec.routers.get(index)).map_or(OWN_AS, |r| r.asn);
        for prefix in [host.prefix_v4(), host.prefix_v6()] {
            text += &format!("{}\t{asn}\n", prefix.replace('/', "\t"));
        }
    }
    text
}

/// A router of a lab as a list shows it, the first one included.
pub struct Router<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hop number.
    pub hop: u8,
    /// The name of the router before it.
    pub behind: Option<&'a str>,
    /// The autonomous system of its addresses.
    pub asn: u32,
    /// The address of its errors over IPv4.
    pub address_v4: Ipv4Addr,
    /// The same over IPv6.
    pub address_v6: Ipv6Addr,
}

impl<'a> Router<'a> {
    /// Every router, the first one included.
    pub fn all(spec: &'a Spec) -> impl Iterator<Item = Router<'a>> {
        let indices = std::iter::once(None).chain((0..spec.routers.len()).map(Some));
        indices.map(|index| {
            let router = index.and_then(|index| spec.routers.get(index));
            let (address_v4, address_v6) = router_addresses(index);
            Router {
                name: spec.router_name(index),
                hop: spec.hop(index),
                behind: router.map(|router| spec.router_name(router.behind)),
                asn: router.map_or(OWN_AS, |router| router.asn),
                address_v4,
                address_v6,
            }
        })
    }
}

/// A fault at one router for the packets of one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The router; `None` is the first one.
    pub router: Option<usize>,
    /// Where in the router the rules act.
    pub hook: Hook,
    /// nftables rules for packets towards the host.
    pub path: Vec<String>,
    /// nftables rules for packets from the host.
    pub path_back: Vec<String>,
    /// What a router in user space does besides.
    pub edits: Edits,
    /// The ICMP errors about packets to the host that the router sends.
    pub errors: Errors,
}

/// What a router in user space does to packets and in its errors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edits {
    /// The codepoint that packets towards the host get.
    #[schemars(range(max = 63))]
    pub dscp: Option<u8>,
    /// The ECN codepoint that they get: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
    #[schemars(range(max = 3))]
    pub ecn: Option<u8>,
    /// Whether the flag AE (RFC 9768) of a SYN is cleared.
    #[serde(default)]
    pub clear_ae: bool,
    /// Kinds of TCP options that are removed, so that the header becomes shorter.
    #[serde(default)]
    pub strip: Vec<u8>,
    /// Whether the router writes the marks with which a packet came into errors that quote it on their way back.
    #[serde(default)]
    pub repair: bool,
    /// Whether the router has two branches, of which one makes the changes; it has another address there.
    pub branch: Option<Branch>,
    /// Octets of the transport that its errors quote.
    pub quote: Option<u8>,
    /// MPLS labels in its errors (RFC 4950).
    pub labels: Option<Vec<u32>>,
    /// The name of the incoming interface in its errors (RFC 5837).
    pub interface: Option<String>,
}

impl Edits {
    /// Whether it changes packets towards the host.
    pub fn changes(&self) -> bool {
        self.dscp.is_some() || self.ecn.is_some() || self.clear_ae || !self.strip.is_empty()
    }
}

/// How packets are distributed among two branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Branch {
    /// By source port.
    Flow,
    /// In turn.
    Packet,
}

impl Fault {
    /// Whether it changes or drops packets towards the host.
    pub fn shows(&self) -> bool {
        !self.path.is_empty() || self.edits.changes()
    }
}

/// The ICMP errors that a router sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Errors {
    /// Every one.
    #[default]
    All,
    /// None.
    None,
    /// This number per second, after a burst of five.
    PerSecond(u32),
}

/// Where in a router a rule acts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Hook {
    /// Before the TTL is checked, so the router's own quote shows a change: nftables' `prerouting`.
    Ingress,
    /// After the TTL is checked, so only later routers' quotes show a change: `forward`.
    #[default]
    Forward,
    /// As the packet leaves: `postrouting`.
    Egress,
    /// Translation of addresses as the packet leaves: `postrouting` of a chain of the type `nat`.
    Nat,
}

impl Hook {
    /// Every hook.
    pub const ALL: [Hook; 4] = [Hook::Ingress, Hook::Forward, Hook::Egress, Hook::Nat];

    /// The word in lab files and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Hook::Ingress => "ingress",
            Hook::Forward => "forward",
            Hook::Egress => "egress",
            Hook::Nat => "nat",
        }
    }
}

impl Spec {
    /// The hop number of a router: 1 is the first one.
    pub fn hop(&self, router: Option<usize>) -> u8 {
        u8::try_from(self.chain(router).len() + 1).unwrap_or(u8::MAX)
    }

    /// The name of a router.
    pub fn router_name(&self, router: Option<usize>) -> &str {
        router.and_then(|index| self.routers.get(index)).map_or(FIRST, |router| &router.name)
    }

    /// The routers on the way to this one and itself, the nearest to the prober first, without the first router.
    pub fn chain(&self, router: Option<usize>) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut next = router;
        // A router is behind an earlier one, so this ends.
        while let Some(index) = next {
            chain.push(index);
            next = self.routers.get(index).and_then(|router| router.behind);
        }
        chain.reverse();
        chain
    }

    /// Between which hops a fault shows in the quotes of routers that all answer: the last hop that quotes packets as
    /// they were sent, and the first that does not.
    pub fn interval(&self, fault: &Fault) -> (u8, u8) {
        let hop = self.hop(fault.router);
        match fault.hook {
            Hook::Ingress => (hop - 1, hop),
            Hook::Forward | Hook::Egress | Hook::Nat => (hop, hop.saturating_add(1)),
        }
    }
}

impl HostSpec {
    /// The number of routers on the path.
    pub fn hops(&self, spec: &Spec) -> u8 {
        spec.hop(self.behind)
    }
}
