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
#[derive(Debug, Default)]
pub struct Piece {
    /// The bytes read; frames are ranges of them.
    pub(super) bytes: Vec<u8>,
    places: Vec<Place>,
    /// The frames of each table.
    shares: Vec<Vec<Place>>,
    frames: u64,
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
    /// Removes all frames but keeps the memory.
    pub(super) fn clear(&mut self) {
        self.places.clear();
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
                self.places.push(Place { at, length, time: frame.time, clock });
            }
            Err(why) => counts.unread[why as usize] += 1,
        }
    }

    /// Adds a jump of the clock, which all shares get.
    pub(super) fn step(&mut self, clock: Timestamp) {
        self.places.push(Place { at: 0, length: STEP, time: clock, clock });
    }

    /// The number of frames added.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Distributes the frames to this many shares. All frames of a flow are in the same share, in file order.
    pub fn deal(&mut self, shares: usize) {
        self.shares.resize_with(shares, Vec::new);
        if let [all] = &mut self.shares[..] {
            std::mem::swap(all, &mut self.places);
            return;
        }
        for place in &self.places {
            if place.length == STEP {
                self.shares.iter_mut().for_each(|share| share.push(*place));
                continue;
            }
            // A frame without addresses has no flow.
            let ends = endpoints(place.bytes(&self.bytes)).unwrap_or_default();
            let share = (u128::from(ends) * shares as u128) >> 64;
            self.shares[share as usize].push(*place);
        }
        self.places.clear();
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
