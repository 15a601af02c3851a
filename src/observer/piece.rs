//! A piece of a capture file: consecutive frames that are read together and distributed to the flow tables.

use std::hint::black_box;

use super::frame::{Batch, Counts};
use super::interface::{Interface, LeftOut};
use crate::field::Timestamp;
use crate::packet::{Link, endpoints};

/// The length of a place that marks a jump of the clock; no frame is that long.
const STEP: u32 = u32::MAX;
/// Frames that are dissected together.
const TOGETHER: usize = 64;
/// Most headers end within this many octets: IPv4 or IPv6, and TCP with options.
const HEADERS: usize = 59;

/// Some frames of a file.
#[derive(Debug)]
pub struct Piece {
    /// The bytes read; frames are ranges of them.
    pub(super) bytes: Vec<u8>,
    /// The frames of each table; at least one.
    shares: Vec<Vec<Place>>,
    frames: u64,
}

impl Default for Piece {
    /// A piece with one share.
    fn default() -> Self {
        Self { bytes: Vec::new(), shares: vec![Vec::new()], frames: 0 }
    }
}

/// A frame among the bytes of a piece.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    pub(super) time: Timestamp,
    /// Where its captured bytes begin in the piece.
    pub(super) at: usize,
    pub(super) length: usize,
    /// Its length on the wire, in octets.
    pub(super) wire: u32,
}

/// A packet from its IP header on, or a jump of the clock.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u32,
    /// Octets, or [`STEP`].
    length: u32,
    time: Timestamp,
    clock: Timestamp,
}

impl Piece {
    /// Removes all frames but keeps the memory and the number of shares.
    pub(super) fn clear(&mut self) {
        self.shares.iter_mut().for_each(Vec::clear);
        self.frames = 0;
    }

    /// Adds a frame of an interface; `clock` is the capture's clock at this frame. A frame without a packet is counted.
    #[inline(always)]
    pub(super) fn add(
        &mut self,
        interface: &Interface,
        frame: Frame,
        clock: Timestamp,
        counts: &mut Counts,
    ) {
        self.frames += 1;
        let bytes = &self.bytes[frame.at..frame.at + frame.length];
        let plain = interface.filter.is_none() && interface.left_out.is_none();
        let link = match interface.link {
            Some(link) if plain => link,
            _ => match link(interface, bytes, frame.wire, counts) {
                Some(link) => link,
                None => return,
            },
        };
        counts.packets += 1;
        match link.strip(bytes) {
            Ok(packet) => {
                // The link header is before the packet, padding may be after it. The numbers fit: readers reject
                // records larger than 64 MiB.
                let header = packet.as_ptr().addr() - bytes.as_ptr().addr();
                let (at, length) = ((frame.at + header) as u32, packet.len() as u32);
                let share = share(packet, self.shares.len());
                self.shares[share].push(Place { at, length, time: frame.time, clock });
            }
            Err(why) => counts.unread[why as usize] += 1,
        }
    }

    /// Adds a jump of the clock, which all shares get.
    pub(super) fn step(&mut self, clock: Timestamp) {
        let step = Place { at: 0, length: STEP, time: clock, clock };
        self.shares.iter_mut().for_each(|share| share.push(step));
    }

    /// The number of frames added.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Makes this many shares, from one. The frames that it has, and those that are added from now on, are distributed to
    /// them: all frames of a flow are in the same share, in file order.
    pub fn deal(&mut self, shares: usize) {
        if self.shares.len() == shares {
            return;
        }
        let places = self.shares.pop().unwrap_or_default();
        self.shares.resize_with(shares, Vec::new);
        for place in places {
            if place.length == STEP {
                self.shares.iter_mut().for_each(|share| share.push(place));
            } else {
                self.shares[share(place.bytes(&self.bytes), shares)].push(place);
            }
        }
    }

    /// Loads the headers of frames: another thread wrote them, and the misses overlap, so together they take as long
    /// as one.
    #[inline]
    fn fetch(&self, few: &[Place]) {
        let octet = |at: usize| self.bytes.get(at).copied().unwrap_or_default();
        let headers = few.iter().map(|place| place.at as usize);
        black_box(headers.fold(0, |all, at| all ^ octet(at) ^ octet(at + HEADERS)));
    }

    /// Dissects the frames of a share and passes them on in batches.
    pub fn read(&self, share: usize, mut each: impl FnMut(&Batch<'_>)) {
        let mut batch = Batch::default();
        for few in self.shares.get(share).into_iter().flat_map(|share| share.chunks(TOGETHER)) {
            batch.clear();
            self.fetch(few);
            for place in few {
                if place.length == STEP {
                    batch.step = Some(place.clock);
                    each(&batch);
                    batch.clear();
                } else {
                    batch.add(place.bytes(&self.bytes), place.time, place.clock);
                }
            }
            each(&batch);
        }
    }
}

/// The share of a packet.
#[inline(always)]
fn share(packet: &[u8], shares: usize) -> usize {
    if shares == 1 {
        return 0;
    }
    // A frame without addresses has no flow.
    let ends = endpoints(packet).unwrap_or_default();
    ((u128::from(ends) * shares as u128) >> 64) as usize
}

/// The link type of a frame; `None`, and a count, if the frame is not to be read.
#[inline(never)]
fn link(interface: &Interface, bytes: &[u8], wire: u32, counts: &mut Counts) -> Option<Link> {
    match interface.left_out {
        Some(LeftOut::Filter) => counts.unfiltered += 1,
        Some(LeftOut::Times) => counts.inexpressible += 1,
        None if interface.filter.as_ref().is_some_and(|filter| !filter.matches(bytes, wire)) => {
            counts.filtered += 1;
        }
        None if interface.link.is_none() => {
            counts.packets += 1;
            *counts.unknown_links.entry(interface.linktype).or_default() += 1;
        }
        None => return interface.link,
    }
    None
}

impl Place {
    #[inline]
    fn bytes(self, all: &[u8]) -> &[u8] {
        &all[self.at as usize..][..self.length as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::interface::Resolution;
    use etherparse::PacketBuilder;

    /// The source ports of the packets of each share, in order; a jump of the clock is 0.
    fn shares(piece: &Piece, shares: usize) -> Vec<Vec<u16>> {
        let read = |share| {
            let mut ports = Vec::new();
            piece.read(share, |batch| {
                let port = |packet: &crate::packet::Packet<'_>| packet.ports.unwrap().0;
                ports.extend(batch.packets().iter().map(port));
                ports.extend(batch.step.map(|_| 0));
            });
            ports
        };
        (0..shares).map(read).collect()
    }

    #[test]
    fn frames_are_distributed_alike_before_and_after_they_are_added() {
        const PACKETS: u8 = 200;
        let mut bytes = Vec::new();
        for host in 0..PACKETS {
            // Hosts have several packets, in both directions.
            let (us, host) = ([192, 0, 2, 1], [198, 51, 100, host % 37]);
            let (from, to) = if bytes.len() % 3 == 0 { (us, host) } else { (host, us) };
            let packet = PacketBuilder::ipv4(from, to, 64);
            packet.udp(1 + bytes.len() as u16, 9).write(&mut bytes, b"").unwrap();
        }
        let length = bytes.len() / usize::from(PACKETS);
        let (interface, _) = Interface::new(101, Resolution::new(1, 0), false, None);
        let filled = |dealt: bool| {
            let mut piece = Piece { bytes: bytes.clone(), ..Piece::default() };
            if dealt {
                piece.deal(2);
            }
            for (place, at) in (0..bytes.len()).step_by(length).enumerate() {
                let time = Timestamp(place as i64);
                let frame = Frame { time, at, length, wire: length as u32 };
                piece.add(&interface, frame, time, &mut Counts::default());
                if place == 100 {
                    piece.step(time);
                }
            }
            piece.deal(2);
            assert_eq!(piece.frames(), u64::from(PACKETS));
            piece
        };
        let [one, other] = [true, false].map(|dealt| shares(&filled(dealt), 2));
        assert_eq!(one, other);
        assert!(one.iter().all(|share| share.len() > 20 && share.contains(&0)), "{one:?}");
        let mut all = one.concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), usize::from(PACKETS) + 1, "each packet once, and the jump");
        // A piece that is used again keeps its shares.
        let mut again = filled(true);
        again.clear();
        assert!(shares(&again, 2).iter().all(Vec::is_empty));
    }
}
