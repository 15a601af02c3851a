//! Frames of a live capture on their way from the ring to the flow table: copied, so that the kernel gets their places
//! back, then dissected and passed on together.

use super::frame::Batch;
use super::kept::{Belongs, Frame, Kept};
use super::table::FlowTable;
use crate::barrier::guard;
use crate::field::Timestamp;
use crate::packet::{Link, Unread};

/// The most frames that wait. They are read at the latest when the ring is empty.
const MOST: usize = 1024;
/// Frames that are dissected together.
const TOGETHER: usize = 64;

/// Frames that wait.
pub(super) struct Pending {
    link: Link,
    /// The run's packets, if they are kept.
    kept: Option<Kept>,
    /// Their packets, from the IP header on; whole frames if packets are kept.
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// Frames without a packet, by reason in the order of [`Unread::ALL`].
    unread: [u64; Unread::ALL.len()],
}

/// Numbers of frames that could not be read in full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Damage {
    /// They are not IP.
    pub(super) not_ip: u64,
    /// Their link or IP header could not be read.
    pub(super) bad_ip: u64,
    /// Their transport header could not be read.
    pub(super) bad_transport: u64,
}

/// A packet in `bytes`.
struct Place {
    at: usize,
    length: usize,
    time: Timestamp,
    /// Octets of the frame on the wire.
    wire: u32,
    /// Where the stored part of the frame is.
    stored: (usize, usize),
}

impl Pending {
    /// For frames of an interface with this kind of link.
    pub(super) fn new(link: Link) -> Self {
        let unread = [0; Unread::ALL.len()];
        let (kept, bytes, places) = (None, Vec::new(), Vec::with_capacity(MOST));
        Self { link, kept, bytes, places, unread }
    }

    /// Keeps the packets of attempts from now on.
    pub(super) fn keep(&mut self, kept: Kept) {
        self.kept = Some(kept);
    }

    /// The run's packets, if they are kept.
    pub(super) fn kept(&mut self) -> Option<&mut Kept> {
        self.kept.as_mut()
    }

    /// Adds a frame, which had `wire` octets on the wire.
    pub(super) fn add(&mut self, frame: &[u8], wire: u32, time: Timestamp) {
        let stripped = guard(|| self.link.strip(frame)).unwrap_or_else(|panic| {
            panic.report("a frame was not read");
            Err(Unread::BadLink)
        });
        match stripped {
            Ok(packet) => {
                let stored = if self.kept.is_some() { frame } else { packet };
                let (begin, length) = (self.bytes.len(), packet.len());
                // The packet is a part of the frame.
                let at = begin + (packet.as_ptr().addr() - stored.as_ptr().addr());
                let stored_at = (begin, begin + stored.len());
                self.places.push(Place { at, length, time, wire, stored: stored_at });
                self.bytes.extend_from_slice(stored);
            }
            Err(why) => self.unread[why as usize] += 1,
        }
    }

    /// Whether they must be read before another one is added.
    pub(super) fn is_full(&self) -> bool {
        self.places.len() >= MOST
    }

    /// Passes all frames to the table, in the order of the capture. Returns how many could not be read in full.
    pub(super) fn read(&mut self, table: &mut FlowTable) -> Damage {
        let mut unread = std::mem::take(&mut self.unread);
        let mut batch = Batch::default();
        // The places of the packets in the batch.
        let mut read: Vec<&Place> = Vec::new();
        for few in self.places.chunks(TOGETHER) {
            batch.clear();
            read.clear();
            for place in few {
                let Place { at, length, time, .. } = place;
                let packet = &self.bytes[*at..at + length];
                if let Err(panic) = guard(|| batch.add(packet, *time, *time)) {
                    panic.report("a packet was not read");
                    unread[Unread::BadIp as usize] += 1;
                }
                if self.kept.is_some() && batch.packets().len() > read.len() {
                    read.push(place);
                }
            }
            if log::log_enabled!(log::Level::Trace) {
                batch.packets().iter().for_each(|packet| log::trace!("{packet:?}"));
            }
            table.packets(batch.packets());
            if let Some(kept) = &mut self.kept {
                for belongs in table.belonging() {
                    match belongs {
                        Belongs::To { packet, port } => {
                            let Some(Place { time, wire, stored, .. }) = read.get(packet) else {
                                continue;
                            };
                            let data = &self.bytes[stored.0..stored.1];
                            kept.add(port, Frame { time: *time, wire: *wire, data });
                        }
                        Belongs::ToNone { port } => kept.forget(port),
                    }
                }
            }
            unread.iter_mut().zip(batch.unread).for_each(|(sum, more)| *sum += more);
        }
        self.places.clear();
        self.bytes.clear();
        let sum = |of: &[Unread]| of.iter().map(|why| unread[*why as usize]).sum();
        Damage {
            not_ip: sum(&[Unread::NotIp]),
            bad_ip: sum(&[Unread::BadLink, Unread::BadIp]),
            bad_transport: sum(&[Unread::CutTransport, Unread::BadTransport, Unread::BadQuote]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Selection;
    use crate::observer::table::Limits;
    use etherparse::PacketBuilder;

    #[test]
    fn frames_reach_the_table_in_order_and_what_is_not_read_is_counted() {
        let mut pending = Pending::new(Link::Ethernet);
        let selection = Selection::everything();
        let mut table = FlowTable::new(&selection, Limits::default());
        let frame = |port: u16| {
            let mut frame = Vec::new();
            let ends = ([192, 0, 2, 1], [192, 0, 2, 2]);
            let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(ends.0, ends.1, 64);
            builder.tcp(port, 80, 1, 1000).write(&mut frame, b"").unwrap();
            frame
        };
        for number in 0..200_u16 {
            pending.add(&frame(number % 100 + 1000), 60, Timestamp(number.into()));
        }
        let mut other = frame(1);
        // ARP, a broken version of IP, and half a TCP header.
        (other[12], other[13]) = (0x08, 0x06);
        pending.add(&other, 60, Timestamp(200));
        let mut broken = frame(1);
        broken[14] = 0x95;
        pending.add(&broken, 60, Timestamp(200));
        pending.add(&frame(5)[..40], 60, Timestamp(200));
        assert!(!pending.is_full());
        let damage = Damage { not_ip: 1, bad_ip: 1, bad_transport: 1 };
        assert_eq!(pending.read(&mut table), damage);
        assert_eq!(table.len(), 101, "the flow of the half header, too");
        assert_eq!(pending.read(&mut table), Damage::default(), "nothing is read twice");
        (0..MOST).for_each(|number| pending.add(&frame(7), 60, Timestamp(300 + number as i64)));
        assert!(pending.is_full());
    }
}
