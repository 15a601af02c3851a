//! How flows begin and end in the table.

use std::collections::VecDeque;

use super::super::exchange::Exchange;
use super::super::expected::Expected;
use super::super::identity::Identity;
use super::{FlowTable, SPARE};
use crate::chain::Note;
use crate::field::Timestamp;
use crate::flags::{Flag, Flags};
use crate::packet::template::Template;
use crate::packet::{Direction, Packet};

/// The table's own state of a flow, close together: every packet needs most of it.
pub(super) struct Flow {
    pub(super) identity: Identity,
    /// The numbers that packets of the flow must match.
    pub(super) expected: Expected,
    /// The acknowledgment number of the segment that ended the flow, if it was a forward segment.
    pub(super) acknowledged: Option<u32>,
    pub(super) last: Timestamp,
    /// Distinguishes a slot's present flow from earlier ones in the queues.
    pub(super) generation: u32,
    pub(super) over: bool,
    pub(super) flags: Flags,
    /// A function refused it, or panicked (then the flags say so). It stays so that its packets do not begin another
    /// flow.
    pub(super) ignored: bool,
}

impl Flow {
    /// Whether the segment that ended the flow acknowledges this SYN of the other direction, which then belongs to the
    /// old connection.
    pub(super) fn acknowledges(&self, syn: &Packet<'_>) -> bool {
        let next = syn.tcp().map(|tcp| tcp.sequence.wrapping_add(1));
        next.is_some() && self.acknowledged == next
    }

    /// A function panicked on it: no function sees its packets any more, and it has no facts.
    #[cold]
    pub(super) fn give_up(&mut self) {
        self.ignored = true;
        self.flags |= Flag::InternalError.into();
    }
}

/// A queue entry: check the slot's flow when packet time reaches `due`.
#[derive(Clone, Copy)]
pub(super) struct Due {
    pub(super) due: i64,
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl FlowTable {
    /// Begins a flow with this packet. `None` if the packet does not belong to an attempt of the run.
    pub(super) fn open(
        &mut self,
        identity: &Identity,
        packets: &[Packet<'_>],
        place: usize,
    ) -> Option<u32> {
        let packet = &packets[place];
        if let Some(owners) = &self.owners {
            // A flow of a run begins with a packet that this host sends. Earlier packets, and ICMP errors sent by this
            // host's kernel, do not belong to an attempt.
            let way = identity.direction(owners);
            if way != Some(Direction::Forward) || packet.quote().is_some() {
                self.strangers += 1;
                return None;
            }
        }
        if self.index.len() >= self.limits.max_flows {
            self.settle(packets);
            self.evicted += u64::from(self.complete_oldest(Flag::FlowEvicted.into()));
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.flows.push(None);
            self.flows.len() as u32 - 1
        });
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let key = identity.key();
        let opened = self.groups.open(slot as usize, &key, packet);
        let ignored = opened.unwrap_or_default();
        self.refused += u64::from(ignored);
        let of_run = self.owners.is_some();
        if of_run {
            let slots = self.flows.len();
            self.exchanges.resize_with(slots.max(self.exchanges.len()), Exchange::default);
            self.exchanges[slot as usize] = Exchange::default();
            if self.limits.first_packets {
                self.firsts.resize_with(slots.max(self.firsts.len()), || None);
                self.firsts[slot as usize] = Template::of(packet).map(Box::new);
            }
        }
        let flow = self.flows[slot as usize].insert(Flow {
            identity: *identity,
            expected: Expected::Anything,
            acknowledged: None,
            last: packet.clock,
            generation,
            over: false,
            flags: Flags::default(),
            ignored,
        });
        // In place: copying what was just written in parts stalls.
        flow.expected.begin(packet, of_run);
        let is_checked = flow.expected.checks(key.protocol);
        if opened.is_err() {
            flow.give_up();
        }
        if !is_checked {
            self.note(slot, Note::Unchecked);
        }
        self.index.insert(identity.tag, slot);
        // A flow without a timestamp never becomes idle, and a run's flow ends with its wave.
        let time = packet.clock.known().filter(|_| !of_run);
        let due = time.map_or(i64::MAX, |time| time.0.saturating_add(self.limits.idle_timeout));
        self.idle.push_back(Due { due, slot, generation });
        compact(&mut self.idle, &self.flows, self.index.len());
        Some(slot)
    }

    /// Passes a note about a flow to the groups.
    pub(super) fn note(&mut self, slot: u32, note: Note) {
        let Some(flow) = self.flows[slot as usize].as_mut().filter(|flow| !flow.ignored) else {
            return;
        };
        if self.groups.note(slot as usize, note).is_err() {
            flow.give_up();
        }
    }

    /// Completes the oldest flow with these flags. False if there is no flow.
    pub(super) fn complete_oldest(&mut self, flags: Flags) -> bool {
        let done = self.retire_oldest(flags);
        self.close();
        done
    }

    /// [`complete_oldest`](Self::complete_oldest) without [`close`](Self::close), which must follow.
    pub(super) fn retire_oldest(&mut self, flags: Flags) -> bool {
        while let Some(oldest) = self.idle.pop_front() {
            if let Some(Some(flow)) = self.flows.get_mut(oldest.slot as usize)
                && flow.generation == oldest.generation
            {
                flow.flags |= flags;
                self.retire(oldest.slot);
                return true;
            }
        }
        false
    }

    /// Completes a flow: its facts are set aside.
    pub(super) fn complete(&mut self, slot: u32) {
        self.retire(slot);
        self.close();
    }

    /// Lets the groups set the facts of retired flows aside: many in one call, so that cache misses overlap. No packet may
    /// be pending.
    pub(super) fn close(&mut self) {
        if !self.closing.is_empty() && self.groups.close(&self.closing).is_err() {
            self.restart();
        }
        self.free.append(&mut self.closing);
    }

    /// Completes a flow up to [`close`](Self::close), which must follow before flows are taken.
    pub(super) fn retire(&mut self, slot: u32) {
        let Some(flow) = self.remove(slot) else { return };
        let (key, mut flags) = (flow.identity.key(), flow.flags);
        let exchange = self.exchanges.get(slot as usize).copied();
        let is_broken = flags.has(Flag::InternalError);
        if flow.ignored && !is_broken {
            self.free.push(slot);
            return;
        }
        if self.completed() >= self.limits.max_finished {
            self.free.push(slot);
            self.lost += 1;
            return;
        }
        if is_broken {
            self.free.push(slot);
            self.broken.push((key, flags, exchange));
            return;
        }
        let silent = flow.last.0.saturating_add(self.limits.idle_timeout);
        if self.steps.between(flow.generation, self.generation, silent) {
            flags |= Flag::ClockStep.into();
        }
        self.completed.push(key);
        self.flags.push(flags);
        self.completed_exchanges.extend(exchange);
        let first = self.firsts.get_mut(slot as usize).and_then(Option::take);
        self.completed_firsts.extend(first.map(|first| (key, *first)));
        self.closing.push(slot);
    }

    /// Removes a flow without setting its facts aside.
    pub(super) fn discard(&mut self, slot: u32) {
        if self.remove(slot).is_some() {
            self.free.push(slot);
        }
    }

    fn remove(&mut self, slot: u32) -> Option<Flow> {
        let flow = self.flows[slot as usize].take()?;
        self.index.remove(flow.identity.tag, slot);
        Some(flow)
    }
}

/// The flow of a queue entry, unless it is complete.
pub(super) fn current(flows: &[Option<Flow>], due: Due) -> Option<&Flow> {
    flows[due.slot as usize].as_ref().filter(|flow| flow.generation == due.generation)
}

/// Removes stale entries once they outnumber those of live flows. A flow that ends early leaves its entry until it is
/// due, which takes long under a flood of short flows, or after one packet from the far future.
pub(super) fn compact(queue: &mut VecDeque<Due>, flows: &[Option<Flow>], live: usize) {
    if queue.len() > 2 * live + SPARE {
        queue.retain(|due| current(flows, *due).is_some());
    }
}
