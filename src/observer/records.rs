//! pcap files (draft-ietf-opsawg-pcap), record by record.

use super::filter::Filter;
use super::frames::{Frames, LARGEST, Parsed};
use super::interface::{Interface, Resolution};
use super::piece::Frame;
use crate::field::Timestamp;

/// Bytes of the file's header.
pub(super) const HEADER: usize = 24;

/// A pcap file whose header has been read.
pub(super) struct Records {
    layout: Layout,
    interface: Interface,
}

/// How records are written.
#[derive(Clone, Copy)]
struct Layout {
    big: bool,
    /// Fractions of a second in a record's second field.
    per_second: u64,
    /// Bytes of a record's header.
    header: usize,
    lengths: Lengths,
}

/// The order of a record's two lengths.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lengths {
    /// The captured length, then the length on the wire.
    CapturedWire,
    /// Before version 2.3, and in DIGITAL UNIX's version 543.0, the length on the wire comes first.
    WireCaptured,
    /// In version 2.3 programs differ; the captured length is the smaller one.
    ShorterLonger,
}

/// A record: its timestamp in ticks, its captured length, and its length on the wire.
type Record = (u64, usize, u32);

impl Records {
    /// Reads the header; `None` if this is not one.
    ///
    /// # Errors
    /// If the filter does not compile for the link type.
    pub(super) fn open(bytes: &[u8], filter: Option<&mut Filter>) -> Result<Option<Self>, String> {
        let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else { return Ok(None) };
        let Some((big, per_second, record)) = variant(header) else { return Ok(None) };
        let (fields, _) = header.as_chunks::<4>();
        let number = |place: usize| number(fields[place], big);
        let version = number(1);
        // Two numbers of 16 bits, the major one first.
        let version =
            if big { (version >> 16, version & 0xffff) } else { (version & 0xffff, version >> 16) };
        let lengths = match version {
            (543, 0) | (2, 0..=2) => Lengths::WireCaptured,
            (2, 3) => Lengths::ShorterLonger,
            _ => Lengths::CapturedWire,
        };
        let layout = Layout { big, per_second, header: record, lengths };
        // The upper bits say how long the frame check sequence is.
        let linktype = (number(5) & 0xffff) as u16;
        let (interface, fits) =
            Interface::new(linktype, Resolution::new(per_second, 0), big, filter);
        fits?;
        Ok(Some(Self { layout, interface }))
    }

    /// Whether a file that is shorter than a header begins with pcap's magic number.
    pub(super) fn begins(bytes: &[u8]) -> bool {
        bytes.first_chunk::<4>().is_some_and(|magic| variant(magic).is_some())
    }

    pub(super) fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Parses the complete records in the first `end` bytes of the piece.
    pub(super) fn parse(&mut self, frames: &mut Frames<'_>, end: usize) -> Parsed {
        let interfaces = std::slice::from_ref(&self.interface);
        let (layout, resolution) = (self.layout, self.interface.resolution);
        let mut at = 0;
        while let Some((ticks, length, wire)) = layout.record(&frames.piece.bytes[at..end]) {
            let time = resolution.time(ticks).unwrap_or(Timestamp::UNKNOWN);
            let frame = Frame { time, at: at + layout.header, length, wire };
            frames.frame(interfaces, 0, at, frame);
            at = frame.at + length;
        }
        let next = self.layout.fields(&frames.piece.bytes[at..end]);
        let oversized = next.is_some_and(|(_, length, _)| length > LARGEST as usize);
        let end = if oversized { Err("a record is larger than 64 MiB".into()) } else { Ok(()) };
        Parsed { bytes: at, end }
    }
}

impl Layout {
    /// The first record, if it is complete.
    #[inline]
    fn record(self, bytes: &[u8]) -> Option<Record> {
        let record = self.fields(bytes)?;
        (bytes.len() - self.header >= record.1).then_some(record)
    }

    /// The header of the first record, if it is complete.
    #[inline]
    fn fields(self, bytes: &[u8]) -> Option<Record> {
        let (fields, _) = bytes.get(..self.header)?.first_chunk::<16>()?.as_chunks::<4>();
        let [a, b, c, d] = *fields else { return None };
        let fields = [a, b, c, d].map(u32::from_le_bytes);
        let [seconds, fraction, first, second] =
            if self.big { fields.map(u32::swap_bytes) } else { fields };
        let ticks = u64::from(seconds) * self.per_second + u64::from(fraction);
        let (captured, wire) = match self.lengths {
            Lengths::CapturedWire => (first, second),
            Lengths::WireCaptured => (second, first),
            Lengths::ShorterLonger => (first.min(second), first.max(second)),
        };
        Some((ticks, captured as usize, wire))
    }
}

/// By the magic number: whether the file is big-endian, ticks per second, and the size of a record's header. `None`
/// if it is not pcap's.
fn variant(begin: &[u8]) -> Option<(bool, u64, usize)> {
    let magic = *begin.first_chunk()?;
    let variant = |magic| match magic {
        0xa1b2_c3d4 => Some((1_000_000, 16)),
        0xa1b2_3c4d => Some((1_000_000_000, 16)),
        // Kuznetzov's variant has additional fields in each record.
        0xa1b2_cd34 => Some((1_000_000, 24)),
        _ => None,
    };
    let little =
        variant(u32::from_le_bytes(magic)).map(|(fraction, record)| (false, fraction, record));
    little.or_else(|| {
        variant(u32::from_be_bytes(magic)).map(|(fraction, record)| (true, fraction, record))
    })
}

#[inline]
fn number(bytes: [u8; 4], big: bool) -> u32 {
    if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
}
