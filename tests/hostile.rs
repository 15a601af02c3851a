//! Whatever a packet or a capture file has become, there is a result or a clear error: no panic, no
//! hang, no unbounded memory. bolero spoils our own captures, each time in other ways; it prints the seed of what fails.
//!
//!     BOLERO_RANDOM_ITERATIONS=200000 cargo test --release --test hostile -- --nocapture
//!
//! tries so many packets and so many files.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]
#![expect(clippy::print_stdout, reason = "what was measured is for who asks with --nocapture")]

mod captures;
#[path = "support/spoilt.rs"]
mod spoilt;

use std::cell::RefCell;
use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema};
use bolero::TypeGenerator;
use captures::{pcap, pcapng};
use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use pathspider::chain::Selection;
use pathspider::error::Error;
use pathspider::field::Timestamp;
use pathspider::observer::{FlowTable, Limits, Piece, file};
use pathspider::packet::{Link, Packet, dissect};
use spoilt::{Spoilt, place};

/// More time of a processor than any of these small inputs may take.
const LONG: Duration = Duration::from_secs(10);
/// Flows at the same time.
const MOST: usize = 1000;

/// How many packets are tried, unless `BOLERO_RANDOM_ITERATIONS` says another number.
const PACKETS: usize = 10_000;
/// How many files.
const FILES: usize = 2000;

/// What this thread has had of a processor: a busy machine does not change it.
fn cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// A spoilt frame, under which link type it is read, and when it came.
#[derive(Debug, TypeGenerator)]
struct Frame {
    spoilt: Spoilt,
    /// Its own for most of them.
    link: u8,
    /// Mostly as time goes, sometimes anywhere.
    time: (u8, i64),
}

/// The table with every function, and the records that come out of it, which must fit together.
struct Observer {
    table: FlowTable,
    schema: std::sync::Arc<Schema>,
    records: usize,
}

impl Observer {
    fn new() -> Self {
        let selection = Selection::everything();
        let fields: Vec<Field> = selection.fields().map(|field| field.arrow()).collect();
        let limits = Limits { max_flows: MOST, ..Limits::default() };
        let table = FlowTable::new(&selection, limits);
        Self { table, schema: Schema::new(fields).into(), records: 0 }
    }

    fn frame(&mut self, link: Link, bytes: &[u8], time: Timestamp) {
        if let Ok(packet) = dissect(link, bytes, time) {
            self.packets(&[packet]);
        }
    }

    fn packets(&mut self, packets: &[Packet<'_>]) {
        self.table.packets(packets);
        assert!(self.table.len() <= MOST);
        if self.table.completed() > 4096 {
            self.take();
        }
    }

    fn take(&mut self) {
        let flows = self.table.take().into_flows();
        let batch = RecordBatch::try_new(self.schema.clone(), flows.columns).unwrap();
        assert_eq!(batch.num_rows(), flows.keys.len());
        self.records += batch.num_rows();
    }
}

fn links() -> Vec<Link> {
    (0..300).filter_map(Link::from_linktype).collect()
}

#[test]
fn every_packet_is_taken_in_or_refused() {
    let captures = captures::all();
    let frames: Vec<_> = captures
        .iter()
        .flat_map(|capture| capture.frames.iter().map(|frame| (capture.link, &frame.bytes)))
        .collect();
    let links = links();
    let mut tried = vec![0; links.len()];
    let (mut observer, mut count) = (Observer::new(), 0);
    let each = AssertUnwindSafe(RefCell::new(|frame: &Frame| {
        let (own, bytes) = frames[place(frame.spoilt.which, frames.len())];
        let own = links.iter().position(|link| Link::from_linktype(own as i32) == Some(*link));
        let any = usize::from(frame.link) % links.len();
        let link = own.filter(|_| frame.link >= 64).unwrap_or(any);
        tried[link] += 1;
        count += 1;
        let time = match frame.time {
            (0, anywhere) => anywhere,
            _ => count * 1_000_000,
        };
        observer.frame(links[link], &frame.spoilt.of(bytes), Timestamp(time));
    }));
    bolero::check!().with_iterations(PACKETS).with_type::<Frame>().for_each(|input| {
        let each = &each;
        (each.borrow_mut())(input);
    });
    observer.table.flush(|_| true);
    observer.take();
    println!("{count} packets made {} flows; by link type {tried:?}", observer.records);
    assert!(observer.records > 100, "most of them were not spoilt beyond recognition");
    assert!(tried.iter().all(|tried| *tried > 0), "{tried:?}");
}

/// The same captures in every kind of file.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut files = Vec::new();
    for capture in captures::all() {
        let (link, frames) = (capture.link, &capture.frames);
        files.push((capture.name, pcap(link, frames, false, false)));
        files.push((capture.name, pcap(link, frames, true, true)));
        files.push((capture.name, pcapng(link, frames)));
    }
    files.push(("syns", pcapng(1, &captures::syns(50).frames)));
    files
}

/// A spoilt file, or a packed one that is spoilt in or after the packing.
#[derive(Debug, TypeGenerator)]
struct File {
    spoilt: Spoilt,
    packing: Packing,
    packed_first: bool,
}

#[derive(Debug, TypeGenerator)]
enum Packing {
    None,
    Gzip,
    Zstd,
}

impl Packing {
    fn pack(&self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Packing::None => bytes.to_vec(),
            Packing::Gzip => {
                let fast = flate2::Compression::fast();
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), fast);
                gzip.write_all(bytes).unwrap();
                gzip.finish().unwrap()
            }
            Packing::Zstd => zstd::encode_all(bytes, 1).unwrap(),
        }
    }
}

impl File {
    fn of(&self, bytes: &[u8]) -> Vec<u8> {
        let Self { spoilt, packing, packed_first } = self;
        match packed_first {
            true => spoilt.of(&packing.pack(bytes)),
            false => packing.pack(&spoilt.of(bytes)),
        }
    }
}

#[test]
fn every_file_is_read_or_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture");
    let files = files();
    let (mut observer, mut count) = (Observer::new(), 0);
    let (mut frames, mut refused, mut broken, mut slowest) = (0u64, 0, 0, Duration::ZERO);
    let each = AssertUnwindSafe(RefCell::new(|file: &File| {
        count += 1;
        let (name, bytes) = &files[place(file.spoilt.which, files.len())];
        let bytes = file.of(bytes);
        std::fs::write(&path, &bytes).unwrap();
        let before = cpu_time();
        let result = file::File::open(&path, None).and_then(|mut file| {
            let mut piece = Piece::default();
            loop {
                let more = file.fill(&mut piece);
                frames += piece.frames();
                piece.deal(2);
                for share in 0..2 {
                    piece.read(share, |batch| observer.packets(batch.packets()));
                }
                if !more? {
                    return Ok(());
                }
            }
        });
        slowest = slowest.max(cpu_time() - before);
        assert!(slowest < LONG, "{name}: {bytes:?}");
        match result {
            Ok(()) => {}
            Err(Error::Usage(words)) => {
                refused += 1;
                assert!(words.contains("capture: "), "{words}");
            }
            Err(Error::Failed(words)) => {
                broken += 1;
                assert!(words.contains("the packets before it were read"), "{words}");
            }
            Err(other) => panic!("{other}"),
        }
    }));
    bolero::check!().with_iterations(FILES).with_type::<File>().for_each(|input| {
        let each = &each;
        (each.borrow_mut())(input);
    });
    observer.table.flush(|_| true);
    observer.take();
    let peak = getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss() / 1024;
    println!(
        "{count} files: {refused} refused, {broken} broken off; {frames} frames, {} flows, slowest {slowest:?}, \
         peak {peak} MB",
        observer.records
    );
    assert!(frames > count / 4 && refused > 0 && broken > 0);
    assert!(peak < 1024, "{peak} MB");
}
