//! The interfaces of a capture: link type, timestamp resolution, and the filter compiled for them.

use std::sync::Arc;

use super::filter::{Filter, Program};
use crate::field::Timestamp;
use crate::packet::Link;

/// The resolution and offset of an interface's timestamps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Resolution {
    per_second: u64,
    /// Nanoseconds per tick if that is a whole number, to avoid a division for each packet.
    nanoseconds: Option<u64>,
    /// Seconds added to each timestamp.
    offset: i64,
}

impl Resolution {
    /// Timestamps count units of `1 / per_second` seconds; `offset` seconds are added.
    pub(super) fn new(per_second: u64, offset: i64) -> Self {
        let whole = 1_000_000_000u64.is_multiple_of(per_second);
        let nanoseconds = whole.then(|| 1_000_000_000 / per_second);
        Self { per_second: per_second.max(1), nanoseconds, offset }
    }

    /// From pcapng's `if_tsresol` option: a negative power of 10, or of 2 if the highest bit is set. `None` if the
    /// number of ticks per second exceeds 64 bits.
    pub(super) fn from_option(octet: u8, offset: i64) -> Option<Self> {
        let exponent = u32::from(octet & 0x7f);
        let per_second = match octet & 0x80 {
            0 => 10u64.checked_pow(exponent),
            _ => 2u64.checked_pow(exponent),
        };
        Some(Self::new(per_second?, offset))
    }

    /// The time of a tick count, rounded down to nanoseconds. `None` if it is before 1677 or after 2262 and does not
    /// fit.
    #[inline]
    pub(super) fn time(&self, ticks: u64) -> Option<Timestamp> {
        let short = self.nanoseconds.and_then(|each| ticks.checked_mul(each));
        match short.map(i64::try_from) {
            Some(Ok(time)) if self.offset == 0 => Some(Timestamp(time)),
            _ => self.long_time(ticks),
        }
    }

    /// As [`time`](Self::time), where one multiplication is not enough.
    fn long_time(&self, ticks: u64) -> Option<Timestamp> {
        let nanoseconds = match self.nanoseconds {
            Some(each) => u128::from(ticks) * u128::from(each),
            None => u128::from(ticks) * 1_000_000_000 / u128::from(self.per_second),
        };
        let offset = i128::from(self.offset) * 1_000_000_000;
        let time = i64::try_from(i128::try_from(nanoseconds).ok()?.checked_add(offset)?).ok()?;
        Some(Timestamp(time)).filter(|time| *time >= Timestamp::FIRST)
    }
}

/// Why the packets of an interface are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// The filter does not compile for its link type.
    Filter,
    /// Its timestamps cannot be expressed in nanoseconds.
    Times,
}

/// An interface of a capture file.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) linktype: u16,
    /// How its frames are read; `None` if the link type is not supported.
    pub(super) link: Option<Link>,
    pub(super) resolution: Resolution,
    /// Captured octets per frame; 0 means no limit.
    pub(super) snap_length: u32,
    pub(super) filter: Option<Arc<Program>>,
    pub(super) left_out: Option<LeftOut>,
    /// Dropped packets: the sum of the packets' own drop counts, and the last statistics.
    pub(super) dropped: [u64; 2],
}

impl Interface {
    /// An interface of a file with this byte order, and libpcap's message if the filter does not compile for it.
    pub(super) fn new(
        linktype: u16,
        resolution: Resolution,
        big: bool,
        filter: Option<&mut Filter>,
    ) -> (Self, Result<(), String>) {
        let program = filter.map(|filter| filter.program(linktype, big)).transpose();
        let (filter, result) = match program {
            Ok(program) => (program, Ok(())),
            Err(why) => (None, Err(why)),
        };
        let interface = Self {
            linktype,
            link: Link::from_linktype(linktype.into()),
            resolution,
            snap_length: 0,
            filter,
            left_out: result.is_err().then_some(LeftOut::Filter),
            dropped: [0; 2],
        };
        (interface, result)
    }

    /// Dropped packets. Packets and statistics may both count the same ones.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped[0].max(self.dropped[1])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(octet: u8, offset: i64, ticks: u64) -> Option<i64> {
        Resolution::from_option(octet, offset).unwrap().time(ticks).map(|time| time.0)
    }

    #[test]
    fn times_are_nanoseconds_whatever_a_tick_is() {
        assert_eq!(time(6, 0, 1_700_000_000_000_001), Some(1_700_000_000_000_001_000));
        assert_eq!(time(9, 0, 7), Some(7));
        assert_eq!(time(12, 0, 1999), Some(1));
        assert_eq!(time(19, 0, 10_000_000_000), Some(1));
        assert_eq!(time(0, 0, 5), Some(5_000_000_000));
        // Powers of two (pcapng, 4.2), rounded down to nanoseconds.
        assert_eq!(time(0x80, 0, 3), Some(3_000_000_000));
        assert_eq!(time(0x80 | 10, 0, 1536), Some(1_500_000_000));
        assert_eq!(time(0x80 | 30, 0, (1 << 30) + (1 << 24)), Some(1_015_625_000));
        assert_eq!(time(0x80 | 30, 0, 3), Some(2), "2.79 ns");
        assert_eq!(
            time(0x80 | 32, 0, 1_700_000_000 << 32 | 1 << 31),
            Some(1_700_000_000_500_000_000)
        );
        assert_eq!(time(0x80 | 63, 0, 1 << 62), Some(500_000_000));
        // Offsets of either sign.
        assert_eq!(time(3, 2, 1), Some(2_001_000_000));
        assert_eq!(time(3, -2, 1), Some(-1_999_000_000));
        // 0 is a time.
        assert_eq!(time(6, 0, 0), Some(0));
    }

    #[test]
    fn inexpressible_times_are_rejected() {
        for octet in [20, 64, 0x7f, 0x80 | 64, 0xff] {
            assert!(Resolution::from_option(octet, 0).is_none(), "{octet}");
        }
        assert_eq!(time(0, 0, u64::MAX), None);
        assert_eq!(time(0, i64::MIN, 0), None);
        assert_eq!(time(0, i64::MAX, u64::MAX), None);
        assert_eq!(time(9, 0, i64::MAX as u64), Some(i64::MAX));
        assert_eq!(time(9, 0, 1 << 63), None);
    }
}
