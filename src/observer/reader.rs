//! Capture files, a piece at a time, whatever their format.
//!
//! Bytes are read into a piece and its frames are found in place. What is left of a record or block whose end has
//! not come yet is the begin of the next piece, and so is a frame whose time leaps, until the next one tells why
//! ([`Clock`]). So the frames, and where the clock stands at each, do not depend on how the file is cut.

use std::io::{self, Read};

use super::blocks::Blocks;
use super::clock::Clock;
use super::frame::Counts;
use super::interface::Interface;
use super::piece::{Frame, Piece};
use super::records::Records;
use crate::field::Timestamp;

/// Bytes that are read at once.
const WINDOW: usize = 1 << 20;
/// Room for what is left of those before.
const MARGIN: usize = 1 << 16;
/// Bytes of the largest record or block that is read; no sane one is that large.
pub(super) const LARGEST: u32 = 64 << 20;

/// A capture file, open for reading.
pub(super) struct Reader {
    input: Box<dyn Read + Send>,
    /// Whether more may come any time: what is there is taken in, however little it is.
    live: bool,
    format: Format,
    clock: Clock,
    counts: Counts,
    /// The begin of a record whose end has not been read yet.
    left: Vec<u8>,
    /// Bytes that were read before the next record.
    consumed: usize,
}

/// The formats of capture files.
pub(super) enum Format {
    Pcap(Records),
    PcapNg(Blocks),
}

/// How far some bytes were understood.
pub(super) struct Parsed {
    /// Bytes of whole records and blocks.
    pub(super) bytes: usize,
    /// Why it cannot go on after them, if it cannot.
    pub(super) end: Result<(), String>,
}

impl Reader {
    /// A file of which the begin has been looked at: `skip` bytes are the header.
    pub(super) fn new(
        format: Format,
        skip: usize,
        input: Box<dyn Read + Send>,
        live: bool,
    ) -> Self {
        let (clock, counts) = (Clock::default(), Counts::default());
        Self { input, live, format, clock, counts, left: Vec::new(), consumed: skip }
    }

    /// Bytes that were read before the next record.
    pub(super) fn consumed(&self) -> usize {
        self.consumed
    }

    /// What was counted so far; the packets of the pieces are not among it.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        if let Format::PcapNg(blocks) = &self.format {
            counts.dropped += blocks.dropped();
        }
        counts
    }

    /// Reads the next piece, of one record at least unless there are none; says whether more may come. The error says
    /// why it cannot go on after those that are in the piece.
    pub(super) fn fill(&mut self, piece: &mut Piece) -> Result<bool, String> {
        piece.clear();
        let mut end = self.left.len();
        // Memory that nobody has touched yet is zero for nothing; most files are smaller than a piece.
        if piece.bytes.len() != MARGIN.max(end) + WINDOW {
            piece.bytes = vec![0; MARGIN.max(end) + WINDOW];
        }
        piece.bytes[..end].copy_from_slice(&self.left);
        loop {
            let (read, input) = self.read(&mut piece.bytes[end..][..WINDOW]);
            end += read;
            let Parsed { bytes, end: parsed } = self.parse(piece, end, input.is_some());
            self.consumed += bytes;
            parsed?;
            let left = &piece.bytes[bytes..end];
            // A record that is larger than the piece, or of which little has come yet.
            if bytes == 0 && input.is_none() {
                let length = piece.bytes.len().max(end + WINDOW);
                piece.bytes.resize(length, 0);
                continue;
            }
            self.left.clear();
            self.left.extend_from_slice(left);
            return match input {
                None => Ok(true),
                Some(Ok(())) if self.left.is_empty() => Ok(false),
                Some(Ok(())) => Err("the capture is cut off".into()),
                Some(Err(why)) => Err(why.to_string()),
            };
        }
    }

    /// Reads on until the buffer is full, or for what is there of a live input. Says how much that was, and whether
    /// and how the input has ended.
    fn read(&mut self, buffer: &mut [u8]) -> (usize, Option<io::Result<()>>) {
        let mut end = 0;
        while end < buffer.len() {
            match self.input.read(&mut buffer[end..]) {
                Ok(0) => return (end, Some(Ok(()))),
                Ok(read) => end += read,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => return (end, Some(Err(why))),
            }
            if self.live {
                break;
            }
        }
        (end, None)
    }

    /// Finds the whole records of a piece whose bytes end there; `last` if no more will come.
    fn parse(&mut self, piece: &mut Piece, end: usize, last: bool) -> Parsed {
        let Self { format, clock, counts, .. } = self;
        let mut frames = Frames { piece, clock, counts, leap: None };
        let mut parsed = match format {
            Format::Pcap(records) => records.parse(&mut frames, end),
            Format::PcapNg(blocks) => blocks.parse(&mut frames, end),
        };
        if last || parsed.end.is_err() {
            frames.settle(format.interfaces(), Timestamp::UNKNOWN);
        } else if let Some(leap) = frames.leap {
            parsed.bytes = leap.record;
        }
        parsed
    }
}

impl Format {
    fn interfaces(&self) -> &[Interface] {
        match self {
            Format::Pcap(records) => std::slice::from_ref(records.interface()),
            Format::PcapNg(blocks) => blocks.interfaces(),
        }
    }
}

/// Where the frames of a piece go, in the order of the file.
pub(super) struct Frames<'a> {
    pub(super) piece: &'a mut Piece,
    pub(super) counts: &'a mut Counts,
    clock: &'a mut Clock,
    leap: Option<Leap>,
}

/// A frame whose time leaps.
struct Leap {
    frame: Frame,
    interface: usize,
    /// Where its record begins.
    record: usize,
}

impl Frames<'_> {
    /// A frame of an interface, in the record that begins there.
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

    /// Adds the frame that waits for the time of the next one: this, or none.
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

#[cfg(test)]
mod tests;
