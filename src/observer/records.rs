//! pcap files, a piece at a time.

use std::io::{self, Read};

use pcap_parser::pcap::parse_pcap_header;

use super::frame::Interface;
use super::piece::Piece;

/// Bytes of the file's header.
pub(super) const HEADER: usize = 24;
/// Bytes that are read at once.
const WINDOW: usize = 1 << 20;
/// Room for what is left of those before.
const MARGIN: usize = 1 << 16;
/// Bytes of data in the largest record that is read; no sane one is that large.
const LARGEST: u32 = 64 << 20;

/// A pcap file, open for reading.
pub(super) struct Records {
    input: Box<dyn Read + Send>,
    /// Whether more may come any time: what is there is taken in, however little it is.
    live: bool,
    layout: Layout,
    interface: Interface,
    /// The begin of a record whose end has not been read yet.
    left: Vec<u8>,
    /// Bytes that were read before the next record.
    consumed: usize,
}

/// What the header of a pcap file says.
pub(super) struct Header {
    layout: Layout,
    interface: Interface,
}

impl Header {
    /// Reads it; `None` if this is none.
    ///
    /// # Errors
    /// If the filter does not fit the link type.
    pub(super) fn read(bytes: &[u8], filter: Option<&str>) -> Result<Option<Self>, String> {
        let Ok((_, header)) = parse_pcap_header(bytes) else { return Ok(None) };
        let nanoseconds = header.is_nanosecond_precision();
        let per_second = if nanoseconds { 1_000_000_000 } else { 1_000_000 };
        let layout = Layout {
            big_endian: header.is_bigendian(),
            per_second,
            // Kuznetzov's variant has more fields than the four that all have.
            header: if header.is_modified_format() { 24 } else { 16 },
        };
        let interface = Interface::new(header.network.0, per_second, 0, filter)?;
        Ok(Some(Self { layout, interface }))
    }
}

/// How records are written.
#[derive(Clone, Copy)]
struct Layout {
    big_endian: bool,
    /// Fractions of a second in a record's second field.
    per_second: u64,
    /// Bytes of a record's header.
    header: usize,
}

impl Layout {
    /// The first of some records: its time in fractions of a second, and the length of its data. `None` if it is
    /// not whole.
    #[inline]
    fn record(self, bytes: &[u8]) -> Option<(u64, usize)> {
        let [seconds, fraction, length] = self.fields(bytes)?;
        let length = length as usize;
        let whole = bytes.len() - self.header.min(bytes.len()) >= length;
        whole.then_some((u64::from(seconds) * self.per_second + u64::from(fraction), length))
    }

    /// What the first record's header says, if it is whole: seconds, fractions of a second, octets of data.
    #[inline]
    fn fields(self, bytes: &[u8]) -> Option<[u32; 3]> {
        let (fields, _) = bytes.get(..self.header)?.first_chunk::<12>()?.as_chunks::<4>();
        let number = |place: usize| match self.big_endian {
            true => u32::from_be_bytes(fields[place]),
            false => u32::from_le_bytes(fields[place]),
        };
        Some([number(0), number(1), number(2)])
    }
}

impl Records {
    /// A file of which the header has been read.
    pub(super) fn new(header: Header, input: Box<dyn Read + Send>, live: bool) -> Self {
        let Header { layout, interface } = header;
        Self { input, live, layout, interface, left: Vec::new(), consumed: HEADER }
    }

    /// Bytes that were read before the next record.
    pub(super) fn consumed(&self) -> usize {
        self.consumed
    }

    /// Reads the next piece, of one record at least unless there are none; says whether more may come. The error says why it
    /// cannot go on after those that are in the piece.
    pub(super) fn fill(&mut self, piece: &mut Piece) -> Result<bool, String> {
        piece.clear();
        let mut end = self.left.len();
        // Memory that nobody has touched yet is zero for nothing; most files are smaller than a piece.
        if piece.bytes.len() != MARGIN.max(end) + WINDOW {
            piece.bytes = vec![0; MARGIN.max(end) + WINDOW];
        }
        piece.bytes[..end].copy_from_slice(&self.left);
        loop {
            let (read, end_of_input) = self.read(&mut piece.bytes[end..][..WINDOW]);
            end += read;
            let next = self.parse(piece, end);
            self.consumed += next;
            let left = &piece.bytes[next..end];
            let oversized = |[_, _, length]: [u32; 3]| length > LARGEST;
            if self.layout.fields(left).is_some_and(oversized) {
                return Err("a record is larger than 64 MiB".into());
            }
            // A record that is larger than the piece, or of which little has come yet.
            if next == 0 && end_of_input.is_none() {
                let length = piece.bytes.len().max(end + WINDOW);
                piece.bytes.resize(length, 0);
                continue;
            }
            self.left.clear();
            self.left.extend_from_slice(left);
            return match end_of_input {
                None => Ok(true),
                Some(Ok(())) if self.left.is_empty() => Ok(false),
                Some(Ok(())) => Err("the capture is cut off".into()),
                Some(Err(_)) => Err("it cannot be read on".into()),
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

    /// Finds the whole records of a piece whose bytes end there; says where they end.
    fn parse(&self, piece: &mut Piece, end: usize) -> usize {
        let mut at = 0;
        while let Some((ticks, length)) = self.layout.record(&piece.bytes[at..end]) {
            let data = at + self.layout.header;
            piece.add(&self.interface, self.interface.time(ticks), data, length);
            at = data + length;
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out what it has in pieces of a few bytes.
    struct Pieces(Vec<u8>, usize);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0.drain(..length);
            Ok(length)
        }
    }

    fn header() -> Vec<u8> {
        let mut header = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
        header.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0]);
        header
    }

    fn record(length: u32) -> Vec<u8> {
        let mut record: Vec<u8> =
            [1, 2, length, length].iter().flat_map(|field| field.to_le_bytes()).collect();
        record.resize(16 + length as usize, 0);
        record
    }

    /// Frames, pieces, bytes consumed, and the end.
    fn read(bytes: Vec<u8>, piece: usize, live: bool) -> (u64, usize, usize, Result<(), String>) {
        let header = Header::read(&header(), None).unwrap().unwrap();
        let mut records = Records::new(header, Box::new(Pieces(bytes, piece)), live);
        let (mut frames, mut pieces) = (0, 0);
        let mut piece = Piece::default();
        loop {
            let more = records.fill(&mut piece);
            frames += piece.frames();
            pieces += 1;
            if more != Ok(true) {
                return (frames, pieces, records.consumed(), more.map(drop));
            }
        }
    }

    #[test]
    fn records_come_whole_however_they_are_cut() {
        let bytes: Vec<u8> = (0..50).flat_map(record).collect();
        for (piece, live) in [(1, true), (7, true), (7, false), (1 << 20, false)] {
            let (frames, _, consumed, end) = read(bytes.clone(), piece, live);
            assert_eq!((frames, consumed, end), (50, 24 + bytes.len(), Ok(())), "{piece} {live}");
        }
    }

    #[test]
    fn a_live_input_is_not_waited_for() {
        let bytes: Vec<u8> = (0..3).flat_map(|_| record(4)).collect();
        let calls = |live| read(bytes.clone(), 20, live).1;
        // The last one says that there are no more.
        assert_eq!((calls(true), calls(false)), (4, 1));
    }

    #[test]
    fn a_record_may_be_larger_than_a_window() {
        let bytes = [record(10), record(5 << 20), record(10), record(100_000)].concat();
        let (frames, _, consumed, end) = read(bytes.clone(), 1 << 16, false);
        assert_eq!((frames, consumed, end), (4, 24 + bytes.len(), Ok(())));
    }

    #[test]
    fn what_is_cut_off_or_cannot_be_says_so_after_what_came_before() {
        let (whole, mut bytes) = (record(10), [record(10), record(10)].concat());
        bytes.truncate(bytes.len() - 1);
        let (frames, _, consumed, end) = read(bytes, 1 << 20, false);
        assert_eq!((frames, consumed), (1, 24 + whole.len()));
        assert_eq!(end, Err("the capture is cut off".into()));
        let endless = [whole.clone(), record(65 << 20)].concat();
        let (frames, _, consumed, end) = read(endless, 1 << 20, false);
        assert_eq!((frames, consumed), (1, 24 + whole.len()));
        assert_eq!(end, Err("a record is larger than 64 MiB".into()));
    }
}
