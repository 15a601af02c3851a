//! Frames of a file, on their way to become packets.

use crate::field::Timestamp;
use crate::packet::{Link, Packet, Unread, dissect_into};

/// What was read and what was not understood.
#[derive(Debug, Default, Clone, Copy)]
pub struct Counts {
    /// Frames that were read and that the filter let through.
    pub packets: u64,
    /// Those of a link type that is not understood.
    pub unknown_link: u64,
    /// Those that are not IP.
    pub not_ip: u64,
    /// Those whose IP header could not be read.
    pub bad_ip: u64,
    /// Packets whose transport header could not be read.
    pub bad_transport: u64,
    /// Flows completed early because a table was full.
    pub evicted: u64,
    /// Flows that a function refused, and that are ignored.
    pub refused: u64,
}

impl Counts {
    /// Adds what else was counted.
    pub(super) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.unknown_link += other.unknown_link;
        self.not_ip += other.not_ip;
        self.bad_ip += other.bad_ip;
        self.bad_transport += other.bad_transport;
        self.evicted += other.evicted;
        self.refused += other.refused;
    }
}

/// Packets that are handed out together, and what else was read with them.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    /// Places for packets, of which so many are used.
    places: Vec<Packet<'a>>,
    used: usize,
    /// What was read, and what was not understood.
    pub counts: Counts,
}

impl<'a> Batch<'a> {
    /// Forgets everything, but keeps the memory.
    pub(super) fn clear(&mut self) {
        let places = std::mem::take(&mut self.places);
        *self = Self { places, ..Self::default() };
    }

    /// Packets that were understood, though perhaps not to the last header.
    pub fn packets(&self) -> &[Packet<'a>] {
        &self.places[..self.used]
    }

    /// Adds a frame: its packet, from the IP header on, if it has one.
    #[inline]
    pub(super) fn add(&mut self, packet: Packed, bytes: &'a [u8], time: Timestamp) {
        self.counts.packets += 1;
        if self.used == self.places.len() {
            self.places.push(Packet::blank(time));
        }
        let place = &mut self.places[self.used];
        let flaw = match packet {
            Packed::Ip => match dissect_into(place, bytes, time) {
                Ok(()) => {
                    self.used += 1;
                    place.flaw
                }
                Err(why) => Some(why),
            },
            Packed::Other => Some(Unread::NotIp),
            Packed::Unknown => {
                self.counts.unknown_link += 1;
                None
            }
        };
        match flaw {
            None => {}
            Some(Unread::NotIp) => self.counts.not_ip += 1,
            Some(Unread::BadIp) => self.counts.bad_ip += 1,
            Some(Unread::BadTransport) => self.counts.bad_transport += 1,
        }
    }
}

/// What a frame has in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packed {
    /// An IP packet.
    Ip,
    /// Something else.
    Other,
    /// Nobody knows: its link type is one that is not understood.
    Unknown,
}

/// An interface that a capture has packets of.
pub(super) struct Interface {
    /// What its frames begin with; `None` if that is not understood.
    pub(super) link: Option<Link>,
    per_second: u64,
    /// Nanoseconds of a tick, if it is so many whole ones: a division is too much for every packet.
    nanoseconds: Option<u64>,
    /// Seconds to be added to every time.
    offset: i64,
    filter: Option<pcap::BpfProgram>,
}

impl Interface {
    /// One with this link-layer header type, whose times are so many fractions of a second, `offset` seconds late.
    ///
    /// # Errors
    /// If the filter does not fit its link type.
    pub(super) fn new(
        linktype: i32,
        per_second: u64,
        offset: i64,
        filter: Option<&str>,
    ) -> Result<Self, String> {
        // The upper bits say how long the frame check sequence is.
        let linktype = linktype & 0xffff;
        let per_second = per_second.max(1);
        Ok(Self {
            link: Link::from_linktype(linktype),
            per_second,
            nanoseconds: 1_000_000_000u64
                .is_multiple_of(per_second)
                .then(|| 1_000_000_000 / per_second),
            offset,
            filter: filter.map(|text| compile(linktype, text)).transpose()?,
        })
    }

    /// Whether the filter lets a frame through.
    #[inline]
    pub(super) fn wants(&self, bytes: &[u8]) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.filter(bytes))
    }

    /// The time that is written as so many fractions of a second.
    #[inline]
    pub(super) fn time(&self, ticks: u64) -> Timestamp {
        let short = self.nanoseconds.and_then(|each| ticks.checked_mul(each));
        match short.map(i64::try_from) {
            Some(Ok(time)) if self.offset == 0 => Timestamp(time),
            _ => self.long_time(ticks),
        }
    }

    /// The same, where it takes more than one multiplication.
    fn long_time(&self, ticks: u64) -> Timestamp {
        let nanoseconds = match self.nanoseconds {
            Some(each) => u128::from(ticks) * u128::from(each),
            None => u128::from(ticks) * 1_000_000_000 / u128::from(self.per_second),
        };
        let offset = i128::from(self.offset) * 1_000_000_000;
        let time = i128::try_from(nanoseconds).unwrap_or(i128::MAX).saturating_add(offset);
        Timestamp(time.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    }
}

/// A filter for packets of this link type.
pub(super) fn compile(linktype: i32, filter: &str) -> Result<pcap::BpfProgram, String> {
    let failed = |why: pcap::Error| format!("filter {filter:?}: {why}");
    pcap::Capture::dead(pcap::Linktype(linktype))
        .map_err(failed)?
        .compile(filter, true)
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_of_one_packet_is_not_told_of_the_next_in_its_place() {
        let ipv4 = |protocol: u8, rest: &[u8]| {
            let mut bytes = vec![0x45, 0, 0, 20 + rest.len() as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
            bytes.extend([192, 0, 2, 1, 192, 0, 2, 2]);
            bytes.extend(rest);
            bytes
        };
        let (cut, whole) = (ipv4(6, &[0, 80, 0, 81]), ipv4(17, &[0, 80, 0, 81, 0, 8, 0, 0]));
        let (echo, other) = (ipv4(1, &[8, 0, 0, 0]), ipv4(99, &[]));
        let mut batch = Batch::default();
        batch.add(Packed::Ip, &cut, Timestamp(1));
        assert_eq!((batch.packets().len(), batch.counts.bad_transport), (1, 1));
        assert_eq!(batch.packets()[0].flaw, Some(Unread::BadTransport));
        batch.clear();
        // It stands in the first one's place; then nothing does.
        for (bytes, ports, udp) in [(&whole, Some((80, 81)), true), (&other, None, false)] {
            batch.add(Packed::Ip, bytes, Timestamp(2));
            let [packet] = batch.packets() else { panic!("{:?}", batch.packets()) };
            assert_eq!((packet.time, packet.ports, packet.flaw), (Timestamp(2), ports, None));
            assert_eq!((packet.udp().is_some(), packet.tcp().is_some()), (udp, false));
            assert_eq!((batch.counts.packets, batch.counts.bad_transport), (1, 0));
            batch.clear();
        }
        batch.add(Packed::Ip, &echo[..19], Timestamp(3));
        batch.add(Packed::Other, &[], Timestamp(3));
        batch.add(Packed::Unknown, &[], Timestamp(3));
        assert_eq!(batch.packets().len(), 0);
        let Counts { packets, unknown_link, not_ip, bad_ip, .. } = batch.counts;
        assert_eq!((packets, unknown_link, not_ip, bad_ip), (3, 1, 1, 1));
    }

    #[test]
    fn times_are_nanoseconds_whatever_a_tick_is() {
        let time = |per_second: u64, offset: i64, ticks: u64| {
            Interface::new(1, per_second, offset, None).unwrap().time(ticks).0
        };
        assert_eq!(time(1_000_000, 0, 1_700_000_000_000_001), 1_700_000_000_000_001_000);
        assert_eq!(time(1_000_000_000, 0, 7), 7);
        // Resolutions may be powers of two, and offsets of either sign (pcapng, 4.2).
        assert_eq!(time(1 << 10, 0, 1536), 1_500_000_000);
        assert_eq!(time(1_000_000_000_000, 0, 1999), 1);
        assert_eq!(time(1000, 2, 1), 2_001_000_000);
        assert_eq!(time(1000, -2, 1), -1_999_000_000);
        // What no clock says ends at what can be said.
        assert_eq!(time(1, 0, u64::MAX), i64::MAX);
        assert_eq!(time(1, i64::MIN, 0), i64::MIN);
    }
}
