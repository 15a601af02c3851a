//! A piece of a capture file: some of its frames, read together, and dealt out to the tables that
//! share the work.

use super::frame::{Batch, Interface, Packed};
use crate::field::Timestamp;
use crate::packet::endpoints;

/// Frames that are dissected together.
const TOGETHER: usize = 32;

/// Some frames of a file.
#[derive(Debug, Default)]
pub struct Piece {
    /// What was read; the frames are places in it.
    pub(super) bytes: Vec<u8>,
    places: Vec<Place>,
    /// Those that were dealt out, by share.
    shares: Vec<Vec<Place>>,
}

/// Where a packet is, from its IP header on, or the frame that has none.
#[derive(Debug, Clone, Copy)]
struct Place {
    at: u32,
    length: u32,
    packed: Packed,
    time: Timestamp,
}

impl Piece {
    /// Forgets everything, but keeps the memory.
    pub(super) fn clear(&mut self) {
        self.places.clear();
        self.shares.iter_mut().for_each(Vec::clear);
    }

    /// Adds the frame of an interface that is at this place of the bytes, if its filter lets it through.
    #[inline(always)]
    pub(super) fn add(&mut self, interface: &Interface, time: Timestamp, at: usize, length: usize) {
        let bytes = &self.bytes[at..at + length];
        if !interface.wants(bytes) {
            return;
        }
        let (packed, length) = match interface.link.map(|link| link.strip(bytes)) {
            Some(Some(packet)) => (Packed::Ip, packet.len()),
            Some(None) => (Packed::Other, length),
            None => (Packed::Unknown, length),
        };
        // No piece is so large that they would not fit: readers refuse such frames.
        let (at, length) = ((at + bytes.len() - length) as u32, length as u32);
        self.places.push(Place { at, length, packed, time });
    }

    /// How many frames there are that have not been dealt out.
    pub fn frames(&self) -> u64 {
        self.places.len() as u64
    }

    /// Deals the frames out, in so many shares: all of one flow are in the same one, in their order.
    pub fn deal(&mut self, shares: usize) {
        self.shares.resize_with(shares, Vec::new);
        if let [all] = &mut self.shares[..] {
            std::mem::swap(all, &mut self.places);
            return;
        }
        for place in &self.places {
            // What has no addresses has no flow.
            let ends = match place.packed {
                Packed::Ip => endpoints(place.bytes(&self.bytes)).unwrap_or_default(),
                _ => 0,
            };
            let share = (u128::from(ends) * shares as u128) >> 64;
            self.shares[share as usize].push(*place);
        }
        self.places.clear();
    }

    /// Dissects the frames of a share and hands them on, some at a time.
    pub fn read(&self, share: usize, mut each: impl FnMut(&Batch<'_>)) {
        let mut batch = Batch::default();
        for few in self.shares.get(share).into_iter().flat_map(|share| share.chunks(TOGETHER)) {
            batch.clear();
            for place in few {
                batch.add(place.packed, place.bytes(&self.bytes), place.time);
            }
            each(&batch);
        }
    }
}

impl Place {
    #[inline]
    fn bytes(self, all: &[u8]) -> &[u8] {
        &all[self.at as usize..][..self.length as usize]
    }
}
