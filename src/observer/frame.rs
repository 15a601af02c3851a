//! Counts of what was read, and batches of packets for the flow table.

use std::collections::BTreeMap;

use crate::field::Timestamp;
use crate::packet::{Packet, Unread, dissect_into};

/// Limit on the remarks; a hostile file could cause any number of them.
const REMARKS: usize = 8;

/// What was read and what was not understood.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    /// Frames that were read and that passed the filter.
    pub packets: u64,
    /// Packets that reached the flow table, perhaps with a broken transport header.
    pub understood: u64,
    /// Frames that did not pass the filter.
    pub filtered: u64,
    /// Frames and packets that could not be read in full, by reason in the order of [`Unread::ALL`].
    pub unread: [u64; Unread::ALL.len()],
    /// Frames of unsupported link types, by link type.
    pub unknown_links: BTreeMap<u16, u64>,
    /// Interfaces that the capture describes, by link type.
    pub links: BTreeMap<u16, u64>,
    /// Frames of interfaces for which the filter does not compile.
    pub unfiltered: u64,
    /// Frames of interfaces whose timestamps cannot be expressed in nanoseconds.
    pub inexpressible: u64,
    /// Blocks that contain, or may contain, packets and could not be read.
    pub unknown_blocks: u64,
    /// Packets whose timestamp does not fit; they are kept without one.
    pub bad_times: u64,
    /// Packets dropped during the capture, according to the file.
    pub dropped: u64,
    /// Jumps of the capturing machine's clock.
    pub clock_steps: u64,
    /// Flows completed early because a table was full.
    pub evicted: u64,
    /// Flows that a function refused; their packets are ignored.
    pub refused: u64,
    /// Packets that do not fit their flows.
    pub unexpected: u64,
    /// Finished flows whose facts were lost because too many had not been taken.
    pub lost: u64,
    /// Messages for the user.
    pub remarks: Vec<String>,
}

impl Counts {
    /// Adds other counts.
    pub(super) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.understood += other.understood;
        self.filtered += other.filtered;
        self.unread.iter_mut().zip(other.unread).for_each(|(sum, more)| *sum += more);
        for (linktype, frames) in other.unknown_links {
            *self.unknown_links.entry(linktype).or_default() += frames;
        }
        for (linktype, interfaces) in other.links {
            *self.links.entry(linktype).or_default() += interfaces;
        }
        self.unfiltered += other.unfiltered;
        self.inexpressible += other.inexpressible;
        self.unknown_blocks += other.unknown_blocks;
        self.bad_times += other.bad_times;
        self.dropped += other.dropped;
        self.clock_steps += other.clock_steps;
        self.evicted += other.evicted;
        self.refused += other.refused;
        self.unexpected += other.unexpected;
        self.lost += other.lost;
        other.remarks.into_iter().for_each(|remark| self.remark(remark));
    }

    /// Adds a message for the user, unless it is a repetition.
    pub(super) fn remark(&mut self, remark: String) {
        if self.remarks.len() < REMARKS && !self.remarks.contains(&remark) {
            self.remarks.push(remark);
        }
    }

    /// Whether there were frames, and no packet could be read.
    pub fn nothing_understood(&self) -> bool {
        let frames = self.packets + self.unfiltered + self.inexpressible + self.unknown_blocks;
        frames > 0 && self.understood + self.filtered == 0
    }
}

/// Packets that are passed to a flow table in one call.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// Places for packets; the first `used` ones are valid.
    places: Vec<Packet<'a>>,
    used: usize,
    /// Packets that could not be read in full, by reason in the order of [`Unread::ALL`].
    pub unread: [u64; Unread::ALL.len()],
    /// Set if the capture's clock jumped after these packets: the clock at that point.
    pub step: Option<Timestamp>,
}

impl<'a> Batch<'a> {
    /// Removes all packets but keeps the memory.
    pub(super) fn clear(&mut self) {
        let places = std::mem::take(&mut self.places);
        *self = Self { places, ..Self::default() };
    }

    /// Packets that were understood, perhaps not down to the last header.
    pub fn packets(&self) -> &[Packet<'a>] {
        &self.places[..self.used]
    }

    /// Adds the packet in `bytes`; `clock` is the capture's clock at this packet.
    #[inline]
    pub(super) fn add(&mut self, bytes: &'a [u8], time: Timestamp, clock: Timestamp) {
        if self.used == self.places.len() {
            self.places.push(Packet::blank(time));
        }
        let place = &mut self.places[self.used];
        let flaw = match dissect_into(place, bytes, time) {
            Ok(()) => {
                place.clock = clock;
                self.used += 1;
                place.flaw
            }
            Err(why) => Some(why),
        };
        if let Some(flaw) = flaw {
            self.unread[flaw as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    #[test]
    fn a_place_keeps_nothing_of_the_packet_before_it() {
        let ends = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let mut whole = Vec::new();
        PacketBuilder::ipv4(ends.0, ends.1, 64).udp(80, 81).write(&mut whole, b"hello").unwrap();
        let mut other = whole.clone();
        other[9] = 47;
        let mut echo = whole.clone();
        echo.truncate(26);
        let mut batch = Batch::default();
        batch.add(&echo, Timestamp(1), Timestamp(7));
        let cut = Unread::CutTransport as usize;
        assert_eq!((batch.packets().len(), batch.unread[cut]), (1, 1));
        let packet = &batch.packets()[0];
        assert_eq!((packet.flaw, packet.clock), (Some(Unread::CutTransport), Timestamp(7)));
        batch.clear();
        // It replaces the first one; then the place is empty.
        for (bytes, ports, udp) in [(&whole, Some((80, 81)), true), (&other, None, false)] {
            batch.add(bytes, Timestamp(2), Timestamp(2));
            let [packet] = batch.packets() else { panic!("{:?}", batch.packets()) };
            assert_eq!((packet.time, packet.ports, packet.flaw), (Timestamp(2), ports, None));
            assert_eq!((packet.udp().is_some(), packet.tcp().is_some()), (udp, false));
            assert_eq!(batch.unread[cut], 0);
            batch.clear();
        }
        batch.add(&whole[..19], Timestamp(3), Timestamp(3));
        assert_eq!((batch.packets().len(), batch.unread[Unread::BadIp as usize]), (0, 1));
    }

    #[test]
    fn remarks_are_bounded_and_not_repeated() {
        let mut counts = Counts::default();
        (0..100).for_each(|number| counts.remark((number / 2).to_string()));
        assert_eq!(counts.remarks.len(), REMARKS);
        let more = counts.clone();
        counts.add(more);
        assert_eq!(counts.remarks.len(), REMARKS);
    }
}
