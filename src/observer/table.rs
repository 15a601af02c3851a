//! The flow table: which packets belong together, and when a flow is complete.
//!
//! Time is the packets' own. A flow that a function called over is completed after
//! `expiry_timeout` (stragglers still count), one that fell silent after `idle_timeout`, and any
//! flow when its owner asks ([`FlowTable::flush`]). Completed flows become rows at once.

use std::collections::VecDeque;
use std::hash::BuildHasher as _;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrow::array::ArrayRef;
use foldhash::fast::RandomState;

use super::fragments::Fragments;
use super::index::Index;
use crate::chain::{Admission, ChainSet, Closed, Group, Progress, Seen, Selection};
use crate::field::Timestamp;
use crate::packet::{Direction, FlowKey, Packet, flag};

/// So many places in a queue may be those of flows that are gone, beyond one for each flow that is not.
const SPARE: usize = 1024;

/// The bounds of the table.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Nanoseconds of packet time from the end of a flow to its completion.
    pub expiry_timeout: i64,
    /// Nanoseconds without a packet after which a flow is completed.
    pub idle_timeout: i64,
    /// Flows at the same time; above it the oldest is completed early and counted as evicted.
    pub max_flows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { expiry_timeout: 5_000_000_000, idle_timeout: 30_000_000_000, max_flows: 1_000_000 }
    }
}

/// Completed flows: their keys, and one row of columns for each.
#[derive(Debug, Default)]
pub struct Flows {
    /// Keys, in the direction of each flow's first packet.
    pub keys: Vec<FlowKey>,
    /// The columns of [`Selection::fields`], one row per key.
    pub columns: Vec<ArrayRef>,
}

/// Completed flows of which no columns have been made yet.
pub struct Completed {
    keys: Vec<FlowKey>,
    groups: Vec<Box<dyn Closed>>,
}

impl Completed {
    /// Makes the columns.
    pub fn into_flows(self) -> Flows {
        let columns = self.groups.iter().flat_map(|group| group.columns(&self.keys)).collect();
        Flows { keys: self.keys, columns }
    }
}

/// A flow's two ends in an order that both directions share, in few words: it is hashed and compared
/// for every packet.
#[derive(PartialEq, Eq, Hash, Clone, Copy)]
struct Ends {
    low: [u64; 2],
    high: [u64; 2],
    /// Their ports, the protocol, and whether the addresses are of IPv4.
    rest: u64,
}

impl Ends {
    /// The ends of a key, and whether its source is the lower one.
    fn of(key: &FlowKey) -> (Self, bool) {
        let (a, b) = (end(key.source), end(key.destination));
        let low_first = a <= b;
        let (low, high) = if low_first { (a, b) } else { (b, a) };
        let ports = u64::from(low.1) << 16 | u64::from(high.1);
        let kind = u64::from(key.protocol) << 1 | u64::from(key.source.0.is_ipv4());
        (Self { low: low.0, high: high.0, rest: ports << 16 | kind }, low_first)
    }
}

fn end((address, port): (IpAddr, u16)) -> ([u64; 2], u16) {
    match address {
        IpAddr::V4(v4) => ([0, u64::from(v4.to_bits())], port),
        IpAddr::V6(v6) => ([(v6.to_bits() >> 64) as u64, v6.to_bits() as u64], port),
    }
}

/// What the table itself knows of a flow: one cache line.
#[derive(Clone, Copy)]
struct Flow {
    ends: Ends,
    last: Timestamp,
    /// By which the index knows it.
    tag: u32,
    /// Tells a slot's present flow from its earlier ones in the queues.
    generation: u32,
    /// Whether the first packet came from the lower end.
    low_first: bool,
    has_ports: bool,
    over: bool,
    /// A function refused it: it only keeps its packets from being taken for a new flow.
    ignored: bool,
}

impl Flow {
    fn key(&self) -> FlowKey {
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

/// Where to look for a flow.
#[derive(Clone, Copy)]
struct Place {
    key: FlowKey,
    ends: Ends,
    low_first: bool,
    tag: u32,
}

/// A place in a queue: look at the slot's flow when packet time reaches `due`.
#[derive(Clone, Copy)]
struct Due {
    due: i64,
    slot: u32,
    generation: u32,
}

/// All flows that are not complete yet.
pub struct FlowTable {
    limits: Limits,
    index: Index,
    hasher: RandomState,
    flows: Vec<Option<Flow>>,
    free: Vec<u32>,
    generation: u32,
    idle: VecDeque<Due>,
    over: VecDeque<Due>,
    groups: Vec<Box<dyn Group>>,
    completed: Vec<FlowKey>,
    evicted: u64,
    refused: u64,
    fragments: Fragments,
    /// Kept between [`FlowTable::packets`], for their memory.
    places: Vec<Place>,
    tags: Vec<u32>,
}

impl FlowTable {
    /// A table whose flows are watched by the selected functions.
    pub fn new(selection: &Selection, mut limits: Limits) -> Self {
        // As many as there are numbers for slots; nobody has the memory for so many.
        limits.max_flows = limits.max_flows.min(Index::MOST);
        Self {
            limits,
            index: Index::default(),
            hasher: RandomState::default(),
            flows: Vec::new(),
            free: Vec::new(),
            generation: 0,
            idle: VecDeque::new(),
            over: VecDeque::new(),
            groups: selection.groups().map(|group| (group.new)(selection.clone())).collect(),
            completed: Vec::new(),
            evicted: 0,
            refused: 0,
            fragments: Fragments::default(),
            places: Vec::new(),
            tags: Vec::new(),
        }
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
        let Some(last) = packets.last() else { return };
        let mut places = std::mem::take(&mut self.places);
        places.clear();
        places.extend(packets.iter().map(|packet| self.place(packet)));
        // What the packets need is far away in memory: begin to fetch all of it at once. First the
        // flows that will be completed, then the index, for which the former say where to look.
        let due = self.over.iter().take_while(|next| next.due <= last.time.0).take(packets.len());
        let tags = due.filter_map(|next| self.flows[next.slot as usize].map(|flow| flow.tag));
        self.tags.clear();
        self.tags.extend(tags);
        let tags = self.tags.iter().copied().chain(places.iter().map(|place| place.tag));
        black_box(tags.fold(0, |all, tag| all ^ self.index.touch(tag)));
        for (packet, place) in packets.iter().zip(&places) {
            self.take_in(packet, place);
        }
        self.places = places;
    }

    /// Takes in one packet, after completing what its time makes due.
    pub fn packet(&mut self, packet: &Packet<'_>) {
        let place = self.place(packet);
        self.take_in(packet, &place);
    }

    /// Where to look for the packet's flow.
    fn place(&mut self, packet: &Packet<'_>) -> Place {
        let key = self.key(packet);
        let (ends, low_first) = Ends::of(&key);
        Place { key, ends, low_first, tag: self.hasher.hash_one(ends) as u32 }
    }

    fn take_in(&mut self, packet: &Packet<'_>, place: &Place) {
        self.advance(packet.time);
        let Place { ref key, ends, low_first, tag } = *place;
        let flow = |slot: u32| self.flows[slot as usize].as_ref();
        let found = self.index.find(tag, |slot| flow(slot).is_some_and(|flow| flow.ends == ends));
        // The same ports again after the end: another connection, not a straggler.
        let again = |flow: &Flow| flow.over && flow.low_first == low_first && is_initial_syn(packet);
        let slot = match found {
            Some(slot) if flow(slot).is_some_and(again) => {
                self.complete(slot);
                self.open(key, tag, packet)
            }
            Some(slot) => slot,
            None => self.open(key, tag, packet),
        };
        let Some(flow) = &mut self.flows[slot as usize] else { return };
        flow.last = flow.last.max(packet.time);
        if flow.ignored {
            return;
        }
        let forward = flow.low_first == low_first;
        let seen = Seen {
            headers: ChainSet::of_packet(packet),
            direction: if forward { Direction::Forward } else { Direction::Reverse },
        };
        let mut progress = Progress::More;
        for group in &mut self.groups {
            if group.packet(slot as usize, packet, seen) == Progress::Over {
                progress = Progress::Over;
            }
        }
        if progress == Progress::Over && !flow.over {
            flow.over = true;
            let due = packet.time.0.saturating_add(self.limits.expiry_timeout);
            self.over.push_back(Due { due, slot, generation: flow.generation });
            compact(&mut self.over, &self.flows, self.index.len());
        }
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

    /// Completes every flow whose key the owner wants now.
    pub fn flush(&mut self, wanted: impl Fn(&FlowKey) -> bool) {
        // There are no more than `max_flows`.
        for slot in 0..self.flows.len() as u32 {
            if self.flows[slot as usize].as_ref().is_some_and(|flow| wanted(&flow.key())) {
                self.complete(slot);
            }
        }
    }

    /// Completes so many of the flows, the oldest ones.
    pub fn flush_oldest(&mut self, most: usize) {
        for _ in 0..most {
            if !self.complete_oldest() {
                return;
            }
        }
    }

    /// How many completed flows wait to be taken.
    pub fn completed(&self) -> usize {
        self.completed.len()
    }

    /// Takes the flows completed so far.
    pub fn take(&mut self) -> Completed {
        Completed {
            keys: std::mem::take(&mut self.completed),
            groups: self.groups.iter_mut().map(|group| group.take()).collect(),
        }
    }

    /// The key of the packet's flow, in the packet's direction: its own, or that of the flow it
    /// is about (an ICMP error goes against the packet that it quotes), or that of the first
    /// fragment's flow.
    fn key(&mut self, packet: &Packet<'_>) -> FlowKey {
        if let Some(quote) = packet.quote() {
            return quote.key().reversed();
        }
        let own = FlowKey::of(packet);
        match packet.ip.fragment {
            Some(0) if own.has_ports => {
                self.fragments.first(packet, own);
                own
            }
            Some(1..) => self.fragments.later(packet).unwrap_or(own),
            _ => own,
        }
    }

    fn current(&self, due: Due) -> Option<&Flow> {
        current(&self.flows, due)
    }

    fn open(&mut self, key: &FlowKey, tag: u32, packet: &Packet<'_>) -> u32 {
        if self.index.len() >= self.limits.max_flows {
            self.evicted += u64::from(self.complete_oldest());
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flows.push(None);
            self.flows.len() as u32 - 1
        });
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let mut ignored = false;
        for group in &mut self.groups {
            ignored |= group.open(slot as usize, key, packet) == Admission::Refuse;
        }
        self.refused += u64::from(ignored);
        let (ends, low_first) = Ends::of(key);
        self.flows[slot as usize] = Some(Flow {
            ends,
            last: packet.time,
            tag,
            generation,
            low_first,
            has_ports: key.has_ports,
            over: false,
            ignored,
        });
        self.index.insert(tag, slot);
        // Nobody can say when a flow without a time falls silent.
        let due = packet
            .time
            .known()
            .map_or(i64::MAX, |time| time.0.saturating_add(self.limits.idle_timeout));
        self.idle.push_back(Due { due, slot, generation });
        compact(&mut self.idle, &self.flows, self.index.len());
        slot
    }

    /// Completes the oldest flow; whether there was one.
    fn complete_oldest(&mut self) -> bool {
        while let Some(oldest) = self.idle.pop_front() {
            if self.current(oldest).is_some() {
                self.complete(oldest.slot);
                return true;
            }
        }
        false
    }

    fn complete(&mut self, slot: u32) {
        let Some(flow) = self.flows[slot as usize].take() else { return };
        self.index.remove(flow.tag, slot);
        self.free.push(slot);
        if flow.ignored {
            return;
        }
        self.completed.push(flow.key());
        for group in &mut self.groups {
            group.close(slot as usize);
        }
    }
}

/// The flow that a place in a queue is about, unless it is complete.
fn current(flows: &[Option<Flow>], due: Due) -> Option<&Flow> {
    flows[due.slot as usize].as_ref().filter(|flow| flow.generation == due.generation)
}

/// Forgets the places of flows that are gone once they are more than those of flows that are not. A
/// flow that ends early leaves its place until its time comes, which under a flood of short flows,
/// or behind one packet from the far future, is long.
fn compact(queue: &mut VecDeque<Due>, flows: &[Option<Flow>], live: usize) {
    if queue.len() > 2 * live + SPARE {
        queue.retain(|due| current(flows, *due).is_some());
    }
}

fn is_initial_syn(packet: &Packet<'_>) -> bool {
    packet.tcp().is_some_and(|tcp| tcp.has(flag::SYN) && !tcp.has(flag::ACK))
}

#[cfg(test)]
mod tests;
