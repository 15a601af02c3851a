//! Reads capture files of either format, a piece at a time.
//!
//! Bytes are read into a piece, and frames are found in place. An incomplete record or block at the end is moved to
//! the next piece. So is a frame whose timestamp leaps, because the next one decides what it means ([`Clock`]).
//! So the frames and their clock values do not depend on how the input is cut.

use std::io::{self, Read};

use super::blocks::Blocks;
use super::clock::Clock;
use super::frame::Counts;
use super::frames::{Frames, Parsed};
use super::interface::Interface;
use super::piece::Piece;
use super::records::Records;
use crate::field::Timestamp;

/// Bytes that are read at once.
const WINDOW: usize = 1 << 20;
/// Room for an incomplete record of the piece before.
const MARGIN: usize = 1 << 16;

/// A capture file, open for reading.
pub(super) struct Reader {
    input: Box<dyn Read + Send>,
    /// Whether to return what is available instead of waiting for a full window.
    live: bool,
    format: Format,
    clock: Clock,
    counts: Counts,
    /// The beginning of a record that is not complete yet.
    left: Vec<u8>,
    /// Bytes that were read before the next record.
    consumed: usize,
}

/// The formats of capture files.
pub(super) enum Format {
    Pcap(Records),
    PcapNg(Blocks),
}

impl Reader {
    /// A file whose format is known; `input` begins after the first `skip` bytes.
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

    /// Counts so far, without what only dissecting the pieces finds.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = self.counts.clone();
        match &self.format {
            Format::PcapNg(blocks) => counts.dropped += blocks.dropped(),
            Format::Pcap(records) => {
                counts.links.insert(records.interface().linktype, 1);
            }
        }
        counts
    }

    /// Reads the next piece; returns whether there may be more. The piece has at least one record unless the input has
    /// ended.
    ///
    /// # Errors
    /// Why reading cannot go on after the frames in the piece.
    pub(super) fn fill(&mut self, piece: &mut Piece) -> Result<bool, String> {
        piece.clear();
        let mut end = self.left.len();
        // Fresh memory is zeroed by the kernel on first use; most files are smaller than a piece.
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
            // The record is larger than the piece, or most of it has not been read yet.
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

    /// Fills the buffer, or reads once from a live input. Returns the number of bytes, and how the input ended if it
    /// did.
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

    /// Parses the complete records in the first `end` bytes of a piece; `last` if the input has ended.
    fn parse(&mut self, piece: &mut Piece, end: usize, last: bool) -> Parsed {
        let Self { format, clock, counts, .. } = self;
        let mut frames = Frames::new(piece, clock, counts);
        let mut parsed = match format {
            Format::Pcap(records) => records.parse(&mut frames, end),
            Format::PcapNg(blocks) => blocks.parse(&mut frames, end),
        };
        if last || parsed.end.is_err() {
            frames.settle(format.interfaces(), Timestamp::UNKNOWN);
        } else if let Some(record) = frames.pending() {
            parsed.bytes = record;
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

#[cfg(test)]
mod tests;
