//! Which hops the paths of a lab have, and whose they are.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::lab::chain::{FIRST, Fault, Hook, OWN_AS};
use crate::lab::router_addresses;
use crate::lab::spec::{HostSpec, Spec};

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
