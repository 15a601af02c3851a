//! The frames that the parsers of both formats add to a piece.

use super::clock::Clock;
use super::frame::Counts;
use super::interface::Interface;
use super::piece::{Frame, Piece};
use crate::field::Timestamp;

/// Limit on the size of a record or block, in bytes.
pub(super) const LARGEST: u32 = 64 << 20;

/// The outcome of parsing a piece.
pub(super) struct Parsed {
    /// Bytes of complete records and blocks.
    pub(super) bytes: usize,
    /// Why parsing cannot go on after them.
    pub(super) end: Result<(), String>,
}

/// Receives the frames of a piece, in file order.
pub(super) struct Frames<'a> {
    pub(super) piece: &'a mut Piece,
    pub(super) counts: &'a mut Counts,
    clock: &'a mut Clock,
    leap: Option<Leap>,
}

/// A frame whose timestamp leaps.
struct Leap {
    frame: Frame,
    interface: usize,
    /// Where its record begins.
    record: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn new(piece: &'a mut Piece, clock: &'a mut Clock, counts: &'a mut Counts) -> Self {
        Self { piece, counts, clock, leap: None }
    }

    /// A new section begins: another capture, whose times may be before those of the last one.
    pub(super) fn section(&mut self) {
        self.clock.restart();
    }

    /// Where the record of the pending frame begins, if a frame is pending.
    pub(super) fn pending(&self) -> Option<usize> {
        self.leap.as_ref().map(|leap| leap.record)
    }

    /// Takes a frame of an interface; its record begins at `record`.
    #[inline(always)]
    pub(super) fn frame(
        &mut self,
        interfaces: &[Interface],
        interface: usize,
        record: usize,
        frame: Frame,
    ) {
        if self.leap.is_some() {
            self.settle(interfaces, frame.time);
        }
        match self.clock.tick(frame.time) {
            Some(clock) => self.piece.add(&interfaces[interface], frame, clock, self.counts),
            None => self.leap = Some(Leap { frame, interface, record }),
        }
    }

    /// Adds the pending frame, given the next frame's timestamp, or `UNKNOWN`.
    #[inline(never)]
    pub(super) fn settle(&mut self, interfaces: &[Interface], next: Timestamp) {
        let Some(Leap { frame, interface, .. }) = self.leap.take() else { return };
        let (clock, step) = self.clock.settle(frame.time, Some(next));
        self.piece.add(&interfaces[interface], frame, clock, self.counts);
        if step {
            self.counts.clock_steps += 1;
            self.piece.step(clock);
        }
    }
}
