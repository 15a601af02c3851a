//! The flow table: assigns packets to flows and decides when a flow is complete.
//!
//! All times are packet times. A flow that a function has declared over is completed after
//! `expiry_timeout` (late packets still count), an idle flow after `idle_timeout`, and any flow on
//! request ([`FlowTable::flush`]). The facts of completed flows are set aside at once and become
//! columns later, on a thread with time for it ([`Completed`]).
//!
//! # Memory
//!
//! A live flow takes 120 octets here (44 of them for its numbers), 12 to 24 in the index, 16 in each queue
//! that it is in, and the state of each group: with basic, tcp, ecn, dscp and tcpopt about 380 octets together,
//! with every group about 560. Measured as the peak resident memory of `pathspider observe` on flows that all
//! stay live, less that on one flow (14 MB). [`Limits::max_flows`] bounds it. First fragments have a limit
//! of their own. An ICMP error about a flow that was not seen begins a flow like any other packet.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use arrow_schema::DataType;
use foldhash::fast::RandomState;

use super::completed::Completed;
use super::exchange::Exchange;
use super::expected::Fit;
use super::fragments::Fragments;
use super::groups::{Broken, Groups};
use super::identity::Identity;
use super::index::Index;
use super::kept::Belongs;
use super::steps::Steps;
use crate::chain::{Note, Seen, Selection, Visit};
use crate::field::Timestamp;
use crate::flags::{Flag, Flags};
use crate::packet::owner::Owners;
use crate::packet::template::Template;
use crate::packet::{Direction, FlowKey, Packet, flag};
use turnover::{Due, Flow, compact, current};

mod turnover;

/// Limit on stale queue entries (of flows that no longer exist), beyond one for each live flow.
const SPARE: usize = 1024;

/// Packets per batch: their look-ups overlap, and each group of functions gets all of them in one call.
const FEW: usize = 64;
const _: () = assert!(FEW <= Visit::MOST);

/// The bounds of the table.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Nanoseconds of packet time from the end of a flow to its completion.
    pub expiry_timeout: i64,
    /// Nanoseconds without a packet after which a flow is completed.
    pub idle_timeout: i64,
    /// Limit on live flows; above it the oldest is completed early and counted as evicted.
    pub max_flows: usize,
    /// Limit on finished flows that have not been taken; above it a flow's facts are lost, and counted.
    pub max_finished: usize,
    /// Whether the first packet of each flow is kept, to be copied; only in the table of a run.
    pub first_packets: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            expiry_timeout: 5_000_000_000,
            idle_timeout: 30_000_000_000,
            max_flows: 1_000_000,
            max_finished: usize::MAX,
            first_packets: false,
        }
    }
}

impl Limits {
    /// The bounds for a run with this many source ports: one flow for each, and one more for packets sent from the port
    /// before the address chosen by the kernel is known.
    pub fn of_run(ports: usize) -> Self {
        let flows = 2 * ports;
        Self { max_flows: flows, max_finished: flows, ..Self::default() }
    }
}

/// The flows that are not complete yet.
pub struct FlowTable {
    limits: Limits,
    index: Index,
    hasher: RandomState,
    flows: Vec<Option<Flow>>,
    free: Vec<u32>,
    /// Slots of completed flows that the groups have not closed yet; they are not free until then.
    closing: Vec<u32>,
    generation: u32,
    steps: Steps,
    idle: VecDeque<Due>,
    over: VecDeque<Due>,
    /// Entries at the head of `over` whose flows were loaded into the cache.
    fetched: usize,
    groups: Groups,
    /// The types of the groups' columns.
    types: Arc<[DataType]>,
    completed: Vec<FlowKey>,
    flags: Vec<Flags>,
    /// Complete flows without facts, because a function panicked.
    broken: Vec<(FlowKey, Flags, Option<Exchange>)>,
    evicted: u64,
    refused: u64,
    lost: u64,
    fragments: Fragments,
    /// Identities of the packets of the current batch; kept to reuse the memory.
    identities: Vec<Identity>,
    /// Tags that are about to be looked up; likewise.
    tags: Vec<u32>,
    /// Packets whose flows were found, and that no function has seen yet.
    visits: Vec<Visit>,
    /// The flows of the run. Without it every packet has a flow, and a flow's first packet defines forward.
    owners: Option<Arc<Owners>>,
    /// By slot: the course of each flow's exchange; empty without owners.
    exchanges: Vec<Exchange>,
    /// The exchanges of completed flows.
    completed_exchanges: Vec<Exchange>,
    /// By slot: the first packet of each flow; empty if they are not kept.
    firsts: Vec<Option<Box<Template>>>,
    /// Those of completed flows.
    completed_firsts: Vec<(FlowKey, Template)>,
    strangers: u64,
    unexpected: u64,
    /// If packets are kept: to which attempts packets belong, and the number of packets since that was taken.
    belonging: Option<(Vec<Belongs>, usize)>,
}

impl FlowTable {
    /// Upper bound, in octets, of the memory of a run's flow with every group, while it is live and while its columns are
    /// made.
    pub const FLOW: usize = 1500;

    /// A table for captures; the selected functions see its flows.
    pub fn new(selection: &Selection, limits: Limits) -> Self {
        Self::watched_by(Groups::new(selection), selection, limits)
    }

    fn watched_by(groups: Groups, selection: &Selection, mut limits: Limits) -> Self {
        // Slots have 32-bit numbers. Memory runs out long before them.
        limits.max_flows = limits.max_flows.min(Index::MOST);
        Self {
            limits,
            index: Index::default(),
            hasher: RandomState::default(),
            flows: Vec::new(),
            free: Vec::new(),
            closing: Vec::new(),
            generation: 0,
            steps: Steps::default(),
            idle: VecDeque::new(),
            over: VecDeque::new(),
            fetched: 0,
            groups,
            types: selection.columns().map(|field| field.data_type().clone()).collect(),
            completed: Vec::new(),
            flags: Vec::new(),
            broken: Vec::new(),
            evicted: 0,
            refused: 0,
            lost: 0,
            fragments: Fragments::default(),
            identities: Vec::new(),
            tags: Vec::new(),
            visits: Vec::new(),
            owners: None,
            exchanges: Vec::new(),
            completed_exchanges: Vec::new(),
            firsts: Vec::new(),
            completed_firsts: Vec::new(),
            strangers: 0,
            unexpected: 0,
            belonging: None,
        }
    }

    /// The table of a run: only flows in `owners` are kept. They begin with a packet sent by this host, and end on
    /// request.
    pub fn of_run(selection: &Selection, limits: Limits, owners: Arc<Owners>) -> Self {
        Self { owners: Some(owners), ..Self::new(selection, limits) }
    }

    /// From now on notes to which attempt each packet belongs.
    pub(super) fn follow(&mut self) {
        self.belonging = Some(Default::default());
    }

    /// To which attempts packets belong, since the last call.
    pub(super) fn belonging(&mut self) -> Vec<Belongs> {
        self.belonging.as_mut().map(std::mem::take).unwrap_or_default().0
    }

    /// Packets that do not belong to a flow of the run.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Packets with the addresses and ports of a flow that do not fit it.
    pub fn unexpected(&self) -> u64 {
        self.unexpected
    }

    /// Finished flows whose facts were lost because too many had not been taken.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Flows completed early because the table was full.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Flows that a function in `new_flow_chain` refused; their packets are ignored.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Flows that are not complete yet.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether every flow is complete.
    pub fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    /// Adds packets; same result as [`FlowTable::packet`] for each, in less time.
    pub fn packets(&mut self, packets: &[Packet<'_>]) {
        packets.chunks(FEW).for_each(|few| self.few_packets(few));
    }

    /// Adds a packet, after completing the flows that are due at its time.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        self.few_packets(std::slice::from_ref(packet));
    }

    fn few_packets(&mut self, packets: &[Packet<'_>]) {
        let times = packets.iter().map(|packet| packet.clock.0);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return };
        let mut identities = std::mem::take(&mut self.identities);
        identities.clear();
        identities.extend(packets.iter().map(|packet| self.identity(packet)));
        self.tags.clear();
        self.tags.extend(identities.iter().map(|identity| identity.tag));
        // Few flows are due in each batch; load more of them, so that their cache misses overlap, too.
        if self.fetched == 0 && self.over.front().is_some_and(|next| next.due <= last) {
            let due = self.over.iter().take(FEW).map(|next| current(&self.flows, *next));
            self.tags.extend(due.flatten().map(|flow| flow.identity.tag));
            self.fetched = FEW;
        }
        self.fetch();
        // Whether nothing in the queues, and nothing added to them, is due before the last packet.
        let timeout = self.limits.expiry_timeout.min(self.limits.idle_timeout);
        let leap = last.saturating_sub(first) >= timeout;
        let calm = !leap && !self.is_due(last);
        for (place, (packet, identity)) in packets.iter().zip(&identities).enumerate() {
            if !calm && (leap || self.is_due(packet.clock.0)) {
                if leap {
                    self.settle(packets);
                }
                self.expire(packets, packet.clock);
            }
            self.take_in(packets, place, identity);
        }
        self.settle(packets);
        self.identities = identities;
        if let Some((_, passed)) = &mut self.belonging {
            *passed += packets.len();
        }
        if self.closing.len() >= FEW {
            self.close();
        }
    }

    /// Loads the index entries of all tags: the cache misses overlap, so together they take as long as one.
    fn fetch(&self) {
        black_box(self.tags.iter().fold(0, |all, tag| all ^ self.index.touch(*tag)));
    }

    /// The identity of the packet's flow, in the packet's direction. An ICMP error belongs to the flow of the
    /// packet that it quotes, in reverse direction; a later fragment to the flow of the first one.
    #[inline(always)]
    fn identity(&mut self, packet: &Packet<'_>) -> Identity {
        let other = match (packet.quote(), packet.ip.fragment) {
            (None, None) => None,
            (Some(quote), _) => Some(quote.key().reversed()),
            (None, Some(0)) => {
                let own = FlowKey::of(packet);
                // In IPv6, the next header of later fragments may be another extension header.
                let may_follow = own.has_ports || packet.ip.source.is_ipv6();
                if may_follow && self.is_wanted(&own) {
                    self.fragments.first(packet, own);
                }
                None
            }
            (None, Some(_)) => self.fragments.later(packet),
        };
        match other {
            None => {
                let ip = &packet.ip;
                let addresses = (&ip.source, &ip.destination);
                Identity::of(ip.protocol, addresses, packet.ports, &self.hasher)
            }
            Some(key) => {
                let addresses = (&key.source.0, &key.destination.0);
                Identity::of(key.protocol, addresses, key.ports(), &self.hasher)
            }
        }
    }

    /// Whether packets with this key belong to the run; true for every packet of a table without owners.
    fn is_wanted(&self, key: &FlowKey) -> bool {
        self.owners.as_ref().is_none_or(|owners| {
            let addresses = (&key.source.0, &key.destination.0);
            let identity = Identity::of(key.protocol, addresses, key.ports(), &self.hasher);
            identity.direction(owners).is_some()
        })
    }

    /// Finds or begins the flow of a packet and checks that the packet fits it.
    fn take_in(&mut self, packets: &[Packet<'_>], place: usize, identity: &Identity) {
        let packet = &packets[place];
        let Identity { ends, tag, low_first, .. } = *identity;
        let flows = &self.flows;
        let is =
            |slot| matches!(&flows[slot as usize], Some(flow) if flow.identity.ends.are(&ends));
        let mut slot = self.index.find(tag, is);
        // A SYN with the ports of a flow that is over, in either direction: a new connection, not a late packet.
        if let Some(old) = slot.filter(|_| is_initial_syn(packet)) {
            // An earlier packet of this batch may have ended the flow.
            self.settle(packets);
            let own = |flow: &Flow| flow.identity.low_first == low_first;
            let again = |flow: &Flow| own(flow) || !flow.acknowledges(packet);
            let over = self.flow(old).is_some_and(|flow| flow.over && again(flow));
            if self.owners.is_none() && over {
                self.complete(old);
                slot = None;
            } else if self.is_stale(old, low_first) {
                if let Some((belonging, _)) = &mut self.belonging {
                    belonging.push(Belongs::ToNone { port: identity.source_port() });
                }
                self.discard(old);
                slot = None;
            }
        }
        // The idle queue is only nearly in order and may not have reached this flow yet. Records must not depend on
        // other flows in the table.
        if self.owners.is_none()
            && let Some(old) = slot.filter(|slot| self.is_silent(*slot, packet.clock))
        {
            self.settle(packets);
            self.complete(old);
            slot = None;
        }
        let begins = slot.is_none();
        let Some(slot) = slot.or_else(|| self.open(identity, packets, place)) else { return };
        let Some(flow) = &mut self.flows[slot as usize] else { return };
        if let Some((belonging, passed)) = &mut self.belonging {
            let (packet, port) = (*passed + place, flow.identity.source_port());
            belonging.push(Belongs::To { packet, port });
        }
        if flow.ignored {
            flow.last = flow.last.max(packet.clock);
            return;
        }
        let forward = flow.identity.low_first == low_first;
        let direction = if forward { Direction::Forward } else { Direction::Reverse };
        let exchange = self.exchanges.get_mut(slot as usize);
        let refuses = exchange.as_ref().is_some_and(|exchange| exchange.refuses(packet, direction));
        let fit = match refuses {
            false if begins => flow.expected.first(packet),
            false => flow.expected.packet(packet, direction),
            true => Fit::Unexpected,
        };
        let mut seen = Seen::of(packet, direction);
        match fit {
            Fit::Fits => {}
            Fit::Quotes(octets) => seen.quoted = octets,
            Fit::Unexpected => {
                self.unexpected += 1;
                if let Some(exchange) = exchange {
                    exchange.unexpected(packet, direction);
                }
                if direction == Direction::Reverse {
                    // The packets that it fits may be missing from a capture.
                    let octets = self.owners.is_none().then_some(packet.ip.length);
                    self.note(slot, Note::Unexpected(octets));
                }
                return;
            }
        }
        flow.last = flow.last.max(packet.clock);
        if packet.flaw.is_some() {
            flow.flags |= Flag::ShortPacket.into();
        }
        if let Some(exchange) = exchange {
            exchange.packet(packet, direction);
        }
        if direction == Direction::Reverse
            && packet.quote().is_none()
            && let Some(Some(first)) = self.firsts.get_mut(slot as usize)
        {
            first.answered(packet.ip.ttl);
        }
        self.visits.push(Visit { packet: place, slot: slot as usize, seen });
    }

    /// Whether the flow has been idle for longer than the timeout.
    #[inline]
    fn is_silent(&self, slot: u32, now: Timestamp) -> bool {
        let last = self.flow(slot).and_then(|flow| flow.last.known());
        last.is_some_and(|last| last.0.saturating_add(self.limits.idle_timeout) <= now.0)
    }

    /// Whether the flow to which our SYN would belong has only late packets of an earlier connection between the same
    /// ports.
    fn is_stale(&self, slot: u32, low_first: bool) -> bool {
        let late = |flow: &Flow| !flow.expected.has_syn() && flow.identity.low_first == low_first;
        self.owners.is_some() && self.flow(slot).is_some_and(late)
    }

    /// Passes the pending packets to the functions. Must be called before a flow is completed and at the end of a batch.
    fn settle(&mut self, packets: &[Packet<'_>]) {
        let visits = &self.visits;
        let Ok(mut over) = self.groups.packets(packets, visits) else {
            for visit in self.visits.drain(..) {
                self.flows[visit.slot].iter_mut().for_each(Flow::give_up);
            }
            return;
        };
        while over != 0 {
            let Visit { packet, slot, seen } = visits[over.trailing_zeros() as usize];
            over &= over - 1;
            let Some(flow) = self.flows[slot].as_mut().filter(|flow| !flow.over) else { continue };
            flow.over = true;
            // A run's flow ends with its wave: the reset may be for a late packet of an earlier connection.
            if self.owners.is_some() {
                continue;
            }
            let tcp = packets[packet].tcp().filter(|tcp| tcp.has(flag::ACK));
            let tcp = tcp.filter(|_| seen.direction == Direction::Forward);
            flow.acknowledged = tcp.map(|tcp| tcp.acknowledgment);
            let due = packets[packet].clock.0.saturating_add(self.limits.expiry_timeout);
            self.over.push_back(Due { due, slot: slot as u32, generation: flow.generation });
            compact(&mut self.over, &self.flows, self.index.len());
        }
        self.visits.clear();
    }

    /// [`settle`](Self::settle), if a packet of this flow is pending.
    fn settle_flow(&mut self, packets: &[Packet<'_>], slot: u32) {
        if self.visits.iter().any(|visit| visit.slot == slot as usize) {
            self.settle(packets);
        }
    }

    /// Whether some flow may be due for completion at this packet time.
    fn is_due(&self, now: i64) -> bool {
        [&self.over, &self.idle]
            .iter()
            .any(|queue| queue.front().is_some_and(|next| next.due <= now))
    }

    /// Completes the flows that are due at this packet time.
    pub fn advance(&mut self, now: Timestamp) {
        self.expire(&[], now);
    }

    /// [`advance`](Self::advance) within a batch of packets. Packets that are pending cannot make further flows due.
    fn expire(&mut self, packets: &[Packet<'_>], now: Timestamp) {
        while let Some(next) = self.over.front().copied().filter(|next| next.due <= now.0) {
            self.over.pop_front();
            self.fetched = self.fetched.saturating_sub(1);
            if self.current(next).is_some() {
                self.settle_flow(packets, next.slot);
                self.retire(next.slot);
            }
        }
        while let Some(next) = self.idle.front().copied().filter(|next| next.due <= now.0) {
            self.idle.pop_front();
            let Some(flow) = self.current(next) else { continue };
            let due = flow.last.0.saturating_add(self.limits.idle_timeout);
            if due <= now.0 {
                self.settle_flow(packets, next.slot);
                self.retire(next.slot);
            } else {
                // It had packets since: check again when it may be idle. The queue stays nearly in order.
                self.idle.push_back(Due { due, ..next });
            }
        }
    }

    /// The capture's clock jumped at `clock`: flags the flows that are not complete.
    pub fn clock_step(&mut self, clock: Timestamp) {
        self.advance(clock);
        let live = self.flows.iter().flatten().map(|flow| flow.generation);
        self.steps.add(self.generation, clock, self.index.len(), live);
    }

    /// Completes every flow whose key is `wanted`.
    pub fn flush(&mut self, wanted: impl Fn(&FlowKey) -> bool) {
        // `max_flows` bounds their number.
        for slot in 0..self.flows.len() as u32 {
            if self.flow(slot).is_some_and(|flow| wanted(&flow.identity.key())) {
                self.retire(slot);
            }
        }
    }

    /// Completes the oldest flows, at most `most` of them.
    pub fn flush_oldest(&mut self, most: usize) {
        for few in (0..most).step_by(FEW).map(|done| FEW.min(most - done)) {
            let next = self.idle.iter().take(few);
            let next = next.filter_map(|next| current(&self.flows, *next));
            self.tags.clear();
            self.tags.extend(next.map(|flow| flow.identity.tag));
            self.fetch();
            if !(0..few).all(|_| self.retire_oldest(Flags::default())) {
                return;
            }
        }
    }

    /// Completed flows that have not been taken.
    pub fn completed(&self) -> usize {
        self.completed.len() + self.broken.len()
    }

    /// Takes the flows completed so far.
    pub fn take(&mut self) -> Completed {
        self.close();
        let groups = self.groups.take().unwrap_or_else(|Broken| {
            self.restart();
            Vec::new()
        });
        Completed {
            types: self.types.clone(),
            keys: std::mem::take(&mut self.completed),
            flags: std::mem::take(&mut self.flags),
            exchanges: std::mem::take(&mut self.completed_exchanges),
            firsts: std::mem::take(&mut self.completed_firsts),
            groups,
            broken: std::mem::take(&mut self.broken),
        }
    }

    /// Drops the facts of every flow that has not been taken: the groups' rows may no longer match the keys.
    #[cold]
    fn restart(&mut self) {
        self.groups.restart();
        let mut exchanges = std::mem::take(&mut self.completed_exchanges).into_iter();
        for (key, mut flags) in self.completed.drain(..).zip(self.flags.drain(..)) {
            flags |= Flag::InternalError.into();
            self.broken.push((key, flags, exchanges.next()));
        }
        self.flows.iter_mut().flatten().filter(|flow| !flow.ignored).for_each(Flow::give_up);
    }

    fn flow(&self, slot: u32) -> Option<&Flow> {
        self.flows[slot as usize].as_ref()
    }

    fn current(&self, due: Due) -> Option<&Flow> {
        current(&self.flows, due)
    }
}

fn is_initial_syn(packet: &Packet<'_>) -> bool {
    packet.tcp().is_some_and(|tcp| tcp.has(flag::SYN) && !tcp.has(flag::ACK))
}

#[cfg(test)]
mod tests;
