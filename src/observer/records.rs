//! pcap files, a window at a time: the next one is read by a thread of its own, while the packets of
//! this one are taken in.

use std::io::{self, Read};

use pcap_parser::pcap::parse_pcap_header;

use super::frame::{Batch, Interface};

/// Bytes of the file's header.
pub(super) const HEADER: usize = 24;
/// Bytes that are read at once.
const WINDOW: usize = 1 << 20;
/// Bytes before them, for what is left of those before.
const MARGIN: usize = 1 << 16;
/// Bytes of data in the largest record that is read; no sane one is that large.
const LARGEST: u32 = 64 << 20;
/// Frames that are handed out together.
const TOGETHER: u64 = 32;

/// A pcap file, open for reading.
pub(super) struct Records {
    input: Box<dyn Read + Send>,
    /// Whether more may come any time: what is there is taken in, however little it is.
    live: bool,
    layout: Layout,
    interface: Interface,
    window: Window,
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
    /// The first of some records: its time in fractions of a second, its data, and what comes after it. `None` if
    /// it is not whole.
    fn record(self, bytes: &[u8]) -> Option<(u64, &[u8], &[u8])> {
        let [seconds, fraction, length] = self.fields(bytes)?;
        let (data, rest) = bytes.get(self.header..)?.split_at_checked(length as usize)?;
        Some((u64::from(seconds) * self.per_second + u64::from(fraction), data, rest))
    }

    /// What the first record's header says: seconds, fractions of a second, octets of data.
    fn fields(self, bytes: &[u8]) -> Option<[u32; 3]> {
        let (fields, _) = bytes.first_chunk::<12>()?.as_chunks::<4>();
        let number = |place: usize| match self.big_endian {
            true => u32::from_be_bytes(fields[place]),
            false => u32::from_le_bytes(fields[place]),
        };
        Some([number(0), number(1), number(2)])
    }
}

/// A piece of a file.
#[derive(Default)]
struct Window {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Window {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Whether more could be read at once than there was room for.
    fn is_full(&self) -> bool {
        self.end == self.buffer.len()
    }

    /// Reads the next piece; says whether there was one.
    fn fill(&mut self, input: &mut impl Read, live: bool) -> io::Result<bool> {
        // Memory that nobody has touched yet is zero for nothing; most files are smaller than a window.
        match self.buffer.len() {
            length if length < MARGIN + WINDOW => self.buffer = vec![0; MARGIN + WINDOW],
            _ => self.buffer.truncate(MARGIN + WINDOW),
        }
        (self.start, self.end) = (MARGIN, MARGIN);
        while !self.is_full() {
            match input.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
                // What came before it can still be taken in; the error will come again.
                Err(_) if self.end > MARGIN => break,
                Err(why) => return Err(why),
            }
            if live {
                break;
            }
        }
        Ok(self.end > MARGIN)
    }

    /// Puts what was left of the piece before it in its front.
    fn begin_with(&mut self, left: &[u8]) {
        match self.start.checked_sub(left.len()) {
            Some(start) => {
                self.buffer[start..self.start].copy_from_slice(left);
                self.start = start;
            }
            None => {
                self.buffer.truncate(self.end);
                self.buffer.splice(..self.start, left.iter().copied());
                (self.start, self.end) = (0, self.buffer.len());
            }
        }
    }
}

impl Records {
    /// A file of which the header has been read.
    pub(super) fn new(header: Header, input: Box<dyn Read + Send>, live: bool) -> Self {
        let Header { layout, interface } = header;
        Self { input, live, layout, interface, window: Window::default(), consumed: HEADER }
    }

    /// Bytes that were read before the next record.
    pub(super) fn consumed(&self) -> usize {
        self.consumed
    }

    /// Hands every packet to `each`, some at a time; the error says why it cannot go on.
    pub(super) fn read(&mut self, each: &mut impl FnMut(&Batch<'_>) -> bool) -> Result<(), String> {
        let mut next = Window::default();
        loop {
            let Self { input, live, layout, interface, window, .. } = self;
            let (go_on, left, more) = if window.is_full() && !*live {
                let (input, next) = (&mut *input, &mut next);
                std::thread::scope(|scope| {
                    let thread = std::thread::Builder::new().name("read".into());
                    let thread = thread.spawn_scoped(scope, move || next.fill(input, false));
                    let thread = thread.map_err(|why| format!("no thread to read it: {why}"))?;
                    let (go_on, left) = hand_out(window.bytes(), *layout, interface, each);
                    let more = thread.join().map_err(|_| "the reading thread panicked")?;
                    Ok::<_, String>((go_on, left, more))
                })?
            } else {
                let (go_on, left) = hand_out(window.bytes(), *layout, interface, each);
                (go_on, left, if go_on { next.fill(input, *live) } else { Ok(false) })
            };
            self.consumed += window.bytes().len() - left.len();
            if !go_on {
                return Ok(());
            }
            if layout.fields(left).is_some_and(|[_, _, length]| length > LARGEST) {
                return Err("a record is larger than 64 MiB".into());
            }
            match more {
                Ok(true) => next.begin_with(left),
                Ok(false) if left.is_empty() => return Ok(()),
                Ok(false) => return Err("the capture is cut off".into()),
                Err(_) => return Err("it cannot be read on".into()),
            }
            std::mem::swap(&mut self.window, &mut next);
        }
    }
}

/// Hands on the packets of whole records; says whether `each` wants more, and what is left.
fn hand_out<'a>(
    bytes: &'a [u8],
    layout: Layout,
    interface: &Interface,
    each: &mut impl FnMut(&Batch<'_>) -> bool,
) -> (bool, &'a [u8]) {
    let mut rest = bytes;
    let mut batch = Batch::default();
    loop {
        batch.clear();
        let before = rest.len();
        while batch.frames < TOGETHER
            && let Some((ticks, data, after)) = layout.record(rest)
        {
            batch.add(interface.frame(interface.time(ticks), data));
            rest = after;
        }
        if rest.len() == before {
            return (true, rest);
        }
        if !each(&batch) {
            return (false, rest);
        }
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

    /// Frames, calls, bytes consumed, and the end.
    fn read(bytes: Vec<u8>, piece: usize, live: bool) -> (u64, usize, usize, Result<(), String>) {
        let header = Header::read(&header(), None).unwrap().unwrap();
        let mut records = Records::new(header, Box::new(Pieces(bytes, piece)), live);
        let (mut frames, mut calls) = (0, 0);
        let end = records.read(&mut |batch| {
            frames += batch.frames;
            calls += 1;
            true
        });
        (frames, calls, records.consumed(), end)
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
        assert_eq!((calls(true), calls(false)), (3, 1));
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

    #[test]
    fn who_takes_no_more_gets_no_more() {
        let bytes: Vec<u8> = (0..20_000).flat_map(|_| record(40)).collect();
        let header = Header::read(&header(), None).unwrap().unwrap();
        let mut records = Records::new(header, Box::new(Pieces(bytes, 1 << 20)), false);
        let mut calls = 0;
        assert_eq!(
            records.read(&mut |_| {
                calls += 1;
                false
            }),
            Ok(())
        );
        assert_eq!(calls, 1);
    }
}
