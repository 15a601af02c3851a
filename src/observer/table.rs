//! The flow table: which packets belong together, and when a flow is complete.
//!
//! Time is the packets' own. A flow that a function called over is completed after
//! `expiry_timeout` (stragglers still count), one that fell silent after `idle_timeout`, and any
//! flow when its owner asks ([`FlowTable::flush`]). The facts of completed flows are set aside at
//! once, and become columns where there is time for it ([`Completed`]).
//!
//! # Memory
//!
//! A live flow takes 116 octets here (44 of them for its numbers), 12 to 24 in the index, 16 in each queue that it is in, and what
//! each group keeps of it: with basic, tcp, ecn, dscp and tcpopt about 380 octets together, with
//! every group about 560. Measured as the peak resident memory of `pathspider observe` on flows that all stay live, less
//! what it takes on one flow (14 MB). What bounds it is
//! [`Limits::max_flows`]. First fragments are remembered up to a number of their own, and an ICMP
//! error about a flow that nobody saw is a flow as any other.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use arrow::datatypes::DataType;
use foldhash::fast::RandomState;

use super::completed::Completed;
use super::exchange::Exchange;
use super::expected::{Expected, Fit};
use super::fragments::Fragments;
use super::groups::{Broken, Groups};
use super::identity::Identity;
use super::index::Index;
use super::steps::Steps;
use crate::chain::{Note, Seen, Selection, Visit};
use crate::field::Timestamp;
use crate::flags::{Flag, Flags};
use crate::packet::owner::Owners;
use crate::packet::{Direction, FlowKey, Packet, flag};
use turnover::{Due, Flow, compact, current};

mod turnover;

/// So many places in a queue may be those of flows that are gone, beyond one for each flow that is not.
const SPARE: usize = 1024;

/// So many packets are taken in together: their look-ups are begun at the same time, and each group of
/// functions gets all of them at once.
const FEW: usize = 32;
const _: () = assert!(FEW <= Visit::MOST);

/// The bounds of the table.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Nanoseconds of packet time from the end of a flow to its completion.
    pub expiry_timeout: i64,
    /// Nanoseconds without a packet after which a flow is completed.
    pub idle_timeout: i64,
    /// Flows at the same time; above it the oldest is completed early and counted as evicted.
    pub max_flows: usize,
    /// Finished flows that wait to be taken; above it the facts of a flow are lost, and counted.
    pub max_finished: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            expiry_timeout: 5_000_000_000,
            idle_timeout: 30_000_000_000,
            max_flows: 1_000_000,
            max_finished: usize::MAX,
        }
    }
}

impl Limits {
    /// Those of a run with this many source ports: a flow for each, and again as many for what is sent to a target
    /// from a port before the kernel's choice of an address is known.
    pub fn of_run(ports: usize) -> Self {
        let flows = 2 * ports;
        Self { max_flows: flows, max_finished: flows, ..Self::default() }
    }
}

/// All flows that are not complete yet.
pub struct FlowTable {
    limits: Limits,
    index: Index,
    hasher: RandomState,
    flows: Vec<Option<Flow>>,
    /// By slot: the acknowledgment number of the segment that ended the flow, if its direction was forward.
    acknowledged: Vec<Option<u32>>,
    /// By slot: what packets of the flow must say.
    expected: Vec<Expected>,
    free: Vec<u32>,
    generation: u32,
    steps: Steps,
    idle: VecDeque<Due>,
    over: VecDeque<Due>,
    groups: Groups,
    /// The types of the columns that the groups make.
    types: Arc<[DataType]>,
    completed: Vec<FlowKey>,
    flags: Vec<Flags>,
    /// Complete flows that were given up.
    broken: Vec<(FlowKey, Flags, Option<Exchange>)>,
    evicted: u64,
    refused: u64,
    lost: u64,
    fragments: Fragments,
    /// Of the packets that are being taken in; kept for its memory.
    identities: Vec<Identity>,
    /// By which the index knows what is about to be looked up; likewise.
    tags: Vec<u32>,
    /// Packets whose flows are found, but of which no function knows yet.
    visits: Vec<Visit>,
    /// Whose the flows of a run are. Without it every packet has a flow, whose first packet goes forward.
    owners: Option<Arc<Owners>>,
    /// The course of each flow's exchange, by slot; only where there are owners.
    exchanges: Vec<Exchange>,
    /// Those of completed flows.
    completed_exchanges: Vec<Exchange>,
    strangers: u64,
    unexpected: u64,
}

impl FlowTable {
    /// Octets that a flow of a run takes at most, with every group, while it is live and while its columns are made.
    pub const FLOW: usize = 1500;

    /// A table whose flows are watched by the selected functions.
    pub fn new(selection: &Selection, limits: Limits) -> Self {
        Self::watched_by(Groups::new(selection), selection, limits)
    }

    fn watched_by(groups: Groups, selection: &Selection, mut limits: Limits) -> Self {
        // As many as there are numbers for slots; nobody has the memory for so many.
        limits.max_flows = limits.max_flows.min(Index::MOST);
        Self {
            limits,
            index: Index::default(),
            hasher: RandomState::default(),
            flows: Vec::new(),
            acknowledged: Vec::new(),
            expected: Vec::new(),
            free: Vec::new(),
            generation: 0,
            steps: Steps::default(),
            idle: VecDeque::new(),
            over: VecDeque::new(),
            groups,
            types: selection.fields().map(|field| (field.data_type)()).collect(),
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
            strangers: 0,
            unexpected: 0,
        }
    }

    /// The table of a run: only flows that it owns are kept. They begin with a packet of this host's, and end when their
    /// owner asks.
    pub fn of_run(selection: &Selection, limits: Limits, owners: Arc<Owners>) -> Self {
        Self { owners: Some(owners), ..Self::new(selection, limits) }
    }

    /// Packets that belong to no flow of the run.
    pub fn strangers(&self) -> u64 {
        self.strangers
    }

    /// Packets that have the addresses and ports of a flow and do not fit it.
    pub fn unexpected(&self) -> u64 {
        self.unexpected
    }

    /// Finished flows whose facts were lost, since too many waited to be taken.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Flows that had to be completed early because the table was full.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Flows that a function of `new_flow_chain` refused, and that are ignored.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Flows that are not complete yet.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no flow is waiting for completion.
    pub fn is_empty(&self) -> bool {
        self.index.len() == 0
    }

    /// Takes in some packets, as [`FlowTable::packet`] does: in less time than one after the other.
    pub fn packets(&mut self, packets: &[Packet<'_>]) {
        packets.chunks(FEW).for_each(|few| self.few_packets(few));
    }

    /// Takes in one packet, after completing what its time makes due.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        self.few_packets(std::slice::from_ref(packet));
    }

    fn few_packets(&mut self, packets: &[Packet<'_>]) {
        let times = packets.iter().map(|packet| packet.clock.0);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else { return };
        let mut identities = std::mem::take(&mut self.identities);
        identities.clear();
        identities.extend(packets.iter().map(|packet| self.identity(packet)));
        let due = self.over.iter().take_while(|next| next.due <= last).take(packets.len());
        let due = due.filter_map(|next| current(&self.flows, *next).map(|flow| flow.identity.tag));
        self.tags.clear();
        self.tags.extend(due.chain(identities.iter().map(|identity| identity.tag)));
        self.fetch();
        // Whether nothing that is in a queue, or comes into one, is due before the last packet.
        let timeout = self.limits.expiry_timeout.min(self.limits.idle_timeout);
        let leap = last.saturating_sub(first) >= timeout;
        let calm = !leap && !self.is_due(last);
        for (place, (packet, identity)) in packets.iter().zip(&identities).enumerate() {
            if !calm && (leap || self.is_due(packet.clock.0)) {
                self.settle(packets);
                self.advance(packet.clock);
            }
            self.take_in(packets, place, identity);
        }
        self.settle(packets);
        self.identities = identities;
    }

    /// Begins to read what will be looked up: it is far away in memory, all of it at once takes as
    /// long as one look-up.
    fn fetch(&self) {
        black_box(self.tags.iter().fold(0, |all, tag| all ^ self.index.touch(*tag)));
    }

    /// The identity of the packet's flow, in the packet's direction: its own, or that of the flow it
    /// is about (an ICMP error goes against the packet that it quotes), or that of the first
    /// fragment's flow.
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

    /// Whether packets with this key belong to the run; without one, all are wanted.
    fn is_wanted(&self, key: &FlowKey) -> bool {
        self.owners.as_ref().is_none_or(|owners| {
            let addresses = (&key.source.0, &key.destination.0);
            let identity = Identity::of(key.protocol, addresses, key.ports(), &self.hasher);
            identity.direction(owners).is_some()
        })
    }

    /// Finds the flow of a packet.
    fn take_in(&mut self, packets: &[Packet<'_>], place: usize, identity: &Identity) {
        let packet = &packets[place];
        let Identity { ends, tag, low_first, .. } = *identity;
        let flows = &self.flows;
        let is =
            |slot| matches!(&flows[slot as usize], Some(flow) if flow.identity.ends.are(&ends));
        let mut slot = self.index.find(tag, is);
        // The same ports again after the end, in either direction: another connection, not a straggler.
        if let Some(old) = slot.filter(|_| is_initial_syn(packet)) {
            // Perhaps one of those before it was the end.
            self.settle(packets);
            let own = |flow: &Flow| flow.identity.low_first == low_first;
            let again = |flow: &Flow| own(flow) || !self.acknowledges(old, packet);
            let over = self.flows[old as usize].is_some_and(|flow| flow.over && again(&flow));
            if self.owners.is_none() && over {
                self.complete(old);
                slot = None;
            } else if self.is_stale(old, low_first) {
                self.discard(old);
                slot = None;
            }
        }
        // The idle queue is only nearly in order and may not have reached this flow. The record must not depend on
        // the other flows in the table.
        if self.owners.is_none()
            && let Some(old) = slot.filter(|slot| self.is_silent(*slot, packet.clock))
        {
            self.settle(packets);
            self.complete(old);
            slot = None;
        }
        let slot = match slot {
            Some(slot) => slot,
            None => match self.open(identity, packets, place) {
                Some(slot) => slot,
                None => return,
            },
        };
        let Some(flow) = &mut self.flows[slot as usize] else { return };
        if flow.ignored {
            flow.last = flow.last.max(packet.clock);
            return;
        }
        let forward = flow.identity.low_first == low_first;
        let direction = if forward { Direction::Forward } else { Direction::Reverse };
        let exchange = self.exchanges.get_mut(slot as usize);
        let refuses = exchange.as_ref().is_some_and(|exchange| exchange.refuses(packet, direction));
        let fit = match refuses {
            false => self.expected[slot as usize].packet(packet, direction),
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
                    // A capture may lack the packets that it fits.
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
        self.visits.push(Visit { packet: place, slot: slot as usize, seen });
    }

    /// Whether the flow has been idle for longer than the timeout.
    #[inline]
    fn is_silent(&self, slot: u32, now: Timestamp) -> bool {
        let last = self.flows[slot as usize].as_ref().and_then(|flow| flow.last.known());
        last.is_some_and(|last| last.0.saturating_add(self.limits.idle_timeout) <= now.0)
    }

    /// Whether the segment that ended the flow acknowledges this SYN of the other direction: then the SYN belongs to the
    /// old connection.
    fn acknowledges(&self, slot: u32, syn: &Packet<'_>) -> bool {
        let next = syn.tcp().map(|tcp| tcp.sequence.wrapping_add(1));
        next.is_some() && self.acknowledged[slot as usize] == next
    }

    /// Whether a flow that our SYN would belong to has only packets that came before it: late ones of an earlier
    /// connection between the same ports.
    fn is_stale(&self, slot: u32, low_first: bool) -> bool {
        let flow = self.flows[slot as usize].as_ref();
        let has_syn = self.expected[slot as usize].has_syn();
        self.owners.is_some()
            && !has_syn
            && flow.is_some_and(|flow| flow.identity.low_first == low_first)
    }

    /// Lets the functions see the packets whose flows are found: before a flow is completed, and at last.
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
            // A run's flow ends with its wave: a reset may have been for a late packet of an earlier connection.
            if self.owners.is_some() {
                continue;
            }
            let tcp = packets[packet].tcp().filter(|tcp| tcp.has(flag::ACK));
            let tcp = tcp.filter(|_| seen.direction == Direction::Forward);
            self.acknowledged[slot] = tcp.map(|tcp| tcp.acknowledgment);
            let due = packets[packet].clock.0.saturating_add(self.limits.expiry_timeout);
            self.over.push_back(Due { due, slot: slot as u32, generation: flow.generation });
            compact(&mut self.over, &self.flows, self.index.len());
        }
        self.visits.clear();
    }

    /// Whether some flow may be due for completion at this packet time.
    fn is_due(&self, now: i64) -> bool {
        [&self.over, &self.idle]
            .iter()
            .any(|queue| queue.front().is_some_and(|next| next.due <= now))
    }

    /// Completes what is due at this packet time.
    pub fn advance(&mut self, now: Timestamp) {
        while let Some(next) = self.over.front().copied().filter(|next| next.due <= now.0) {
            self.over.pop_front();
            if self.current(next).is_some() {
                self.complete(next.slot);
            }
        }
        while let Some(next) = self.idle.front().copied().filter(|next| next.due <= now.0) {
            self.idle.pop_front();
            let Some(flow) = self.current(next) else { continue };
            let due = flow.last.0.saturating_add(self.limits.idle_timeout);
            if due <= now.0 {
                self.complete(next.slot);
            } else {
                // It spoke since: look again when it could be idle. Order by time is nearly kept.
                self.idle.push_back(Due { due, ..next });
            }
        }
    }

    /// The clock of the capture jumped at `clock`: flows that are not complete are flagged.
    pub fn clock_step(&mut self, clock: Timestamp) {
        self.advance(clock);
        let live = self.flows.iter().flatten().map(|flow| flow.generation);
        self.steps.add(self.generation, clock, self.index.len(), live);
    }

    /// Completes every flow whose key the owner wants now.
    pub fn flush(&mut self, wanted: impl Fn(&FlowKey) -> bool) {
        // There are no more than `max_flows`.
        for slot in 0..self.flows.len() as u32 {
            if self.flows[slot as usize].as_ref().is_some_and(|flow| wanted(&flow.identity.key())) {
                self.complete(slot);
            }
        }
    }

    /// Completes so many of the flows, the oldest ones.
    pub fn flush_oldest(&mut self, most: usize) {
        for few in (0..most).step_by(FEW).map(|done| FEW.min(most - done)) {
            let next = self.idle.iter().take(few);
            let next = next.filter_map(|next| current(&self.flows, *next));
            self.tags.clear();
            self.tags.extend(next.map(|flow| flow.identity.tag));
            self.fetch();
            for _ in 0..few {
                if !self.complete_oldest(Flags::default()) {
                    return;
                }
            }
        }
    }

    /// How many completed flows wait to be taken.
    pub fn completed(&self) -> usize {
        self.completed.len() + self.broken.len()
    }

    /// Takes the flows completed so far.
    pub fn take(&mut self) -> Completed {
        let groups = self.groups.take().unwrap_or_else(|Broken| {
            self.restart();
            Vec::new()
        });
        Completed {
            types: self.types.clone(),
            keys: std::mem::take(&mut self.completed),
            flags: std::mem::take(&mut self.flags),
            exchanges: std::mem::take(&mut self.completed_exchanges),
            groups,
            broken: std::mem::take(&mut self.broken),
        }
    }

    /// Gives up every flow that is not taken yet, since the rows of the groups may no longer be in step.
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

    fn current(&self, due: Due) -> Option<&Flow> {
        current(&self.flows, due)
    }
}

fn is_initial_syn(packet: &Packet<'_>) -> bool {
    packet.tcp().is_some_and(|tcp| tcp.has(flag::SYN) && !tcp.has(flag::ACK))
}

#[cfg(test)]
mod tests;
