//! The size of the capture's ring: the kernel's buffer of packets that the capture thread has not read yet.
//!
//! It holds two seconds of packets at the rate of the run, since the thread may have to wait for a processor. A ring that
//! is too small loses packets. They are counted, and what was not observed is `insufficient`.

use std::fmt;

/// Octets of a packet in the ring: the snap length and the kernel's own header.
const FRAME: u64 = 336;
/// Octets of the largest ring: two seconds of 200,000 packets/s.
pub const MOST: u64 = 128 << 20;
/// Octets that no rate makes smaller: a burst of 100,000 packets of others to the run's ports.
const BURST: u64 = 32 << 20;
/// Octets of the smallest ring.
pub const LEAST: u64 = 4 << 20;
/// Packets of a connection, in both directions and with some to spare.
const PACKETS: u64 = 16;
/// Seconds of packets that it holds.
const SECONDS: u64 = 2;
/// It takes at most this part of the available memory.
const PART: u64 = 16;
/// Sizes are multiples of this.
const UNIT: u64 = 1 << 20;

/// The size of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ring {
    /// Octets.
    pub octets: u64,
    /// What determined it.
    pub why: Why,
}

/// What determined the size of a ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The user.
    Given,
    /// Nothing limits it further: two seconds of 200,000 packets/s.
    Most,
    /// The limit on connections started in a second.
    Rate,
    /// The available memory.
    Memory,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Given => "as given",
            Why::Most => "two seconds of 200,000 packets/s",
            Why::Rate => "two seconds at this rate, with some to spare",
            Why::Memory => "a sixteenth of the available memory",
        })
    }
}

impl Ring {
    /// The ring for a run that starts at most `rate` connections in a second, with this many octets of memory available;
    /// `None` if there is no limit, or none that is known.
    pub fn fitting(rate: Option<u32>, available: Option<u64>) -> Self {
        let needed = rate.map(|rate| u64::from(rate) * PACKETS * SECONDS * FRAME);
        let needed = needed.unwrap_or(MOST).next_multiple_of(UNIT).clamp(BURST, MOST);
        let affordable = available.unwrap_or(u64::MAX) / PART / UNIT * UNIT;
        let why = match () {
            () if affordable < needed => Why::Memory,
            () if needed < MOST => Why::Rate,
            () => Why::Most,
        };
        Self { octets: needed.min(affordable).max(LEAST), why }
    }

    /// The ring that the user asks for.
    pub fn given(octets: u64) -> Self {
        Self { octets, why: Why::Given }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_and_the_memory_decide() {
        let (megabyte, gigabyte) = (1 << 20, 1 << 30);
        for (rate, available, octets, why) in [
            (None, None, MOST, Why::Most),
            (None, Some(2 * gigabyte), MOST, Why::Most),
            (None, Some(400 * megabyte), 25 * megabyte, Why::Memory),
            (None, Some(10 * megabyte), LEAST, Why::Memory),
            (None, Some(0), LEAST, Why::Memory),
            (Some(100), None, BURST, Why::Rate),
            (Some(100), Some(2 * gigabyte), BURST, Why::Rate),
            (Some(100), Some(400 * megabyte), 25 * megabyte, Why::Memory),
            // 5,000 a second: 160,000 packets in two seconds.
            (Some(5000), None, 52 * megabyte, Why::Rate),
            (Some(20_000), None, MOST, Why::Most),
            (Some(u32::MAX), None, MOST, Why::Most),
        ] {
            let expected = Ring { octets, why };
            assert_eq!(Ring::fitting(rate, available), expected, "{rate:?} {available:?}");
        }
    }
}
