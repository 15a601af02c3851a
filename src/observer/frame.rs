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
