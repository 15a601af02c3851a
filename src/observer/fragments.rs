//! Finds the flow of a later fragment by the identification that it shares with the first one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use crate::packet::{FlowKey, Packet};

/// Limit on the first fragments that are kept; above it the oldest is dropped, so an attacker can push others out.
const MOST: usize = 65_536;
/// Nanoseconds of packet time that a receiver waits for the rest (RFC 8200, 4.5).
const LIFETIME: i64 = 60_000_000_000;

/// Source, destination, protocol (IPv4 only) and identification (RFC 791; RFC 8200, 4.5).
type Id = (IpAddr, IpAddr, u8, u32);

/// The flows of first fragments, by identification.
#[derive(Default)]
pub(super) struct Fragments {
    flows: HashMap<Id, (FlowKey, i64), RandomState>,
    order: VecDeque<(Id, i64)>,
}

impl Fragments {
    /// Keeps a first fragment.
    pub(super) fn first(&mut self, packet: &Packet<'_>, key: FlowKey) {
        let Some(id) = id(packet) else { return };
        if self.order.len() >= MOST {
            self.forget_oldest();
        }
        self.flows.insert(id, (key, packet.clock.0));
        self.order.push_back((id, packet.clock.0));
    }

    /// The flow of a later fragment, if its first fragment is known.
    pub(super) fn later(&mut self, packet: &Packet<'_>) -> Option<FlowKey> {
        let (key, seen) = self.flows.get(&id(packet)?)?;
        (packet.clock.0.saturating_sub(*seen) <= LIFETIME).then_some(*key)
    }

    /// The number of identifications, and of entries in their order.
    #[cfg(test)]
    pub(super) fn len(&self) -> (usize, usize) {
        (self.flows.len(), self.order.len())
    }

    fn forget_oldest(&mut self) {
        let Some((id, time)) = self.order.pop_front() else { return };
        // The identification may have been reused since.
        if self.flows.get(&id).is_some_and(|(_, seen)| *seen == time) {
            self.flows.remove(&id);
        }
    }
}

fn id(packet: &Packet<'_>) -> Option<Id> {
    let ip = &packet.ip;
    // In IPv6, the next header of a later fragment may be another extension header.
    let protocol = if ip.source.is_ipv4() { ip.protocol } else { 0 };
    Some((ip.source, ip.destination, protocol, ip.id?))
}
