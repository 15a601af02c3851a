//! Whatever a packet or a capture file has become, there is a result or a clear error: no panic, no
//! hang, no unbounded memory. `PATHSPIDER_MUTATIONS` says how many packets, and how many files, are tried.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]
#![expect(clippy::print_stdout, reason = "what was measured is for who asks with --nocapture")]

mod captures;

use std::io::Write as _;
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use captures::{pcap, pcapng};
use nix::sys::resource::{UsageWho, getrusage};
use pathspider::chain::Selection;
use pathspider::error::Error;
use pathspider::field::Timestamp;
use pathspider::observer::{FlowTable, Limits, file};
use pathspider::packet::{Link, Packet, dissect};

/// More time than any of these small inputs may take, on a busy machine.
const LONG: Duration = Duration::from_secs(10);
/// Flows at the same time.
const MOST: usize = 1000;

fn count() -> u64 {
    std::env::var("PATHSPIDER_MUTATIONS").map_or(5000, |count| count.parse().unwrap())
}

/// The same numbers each time (xorshift64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// A place in the bytes and another one after it, near by.
    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let from = self.below(bytes.len());
        from..(from + 1 + self.below(64)).min(bytes.len())
    }

    /// Does a few bad things to some bytes.
    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.below(4) {
            if bytes.is_empty() {
                return;
            }
            let at = self.below(bytes.len());
            match self.below(9) {
                0 => bytes[at] = self.next() as u8,
                1 => bytes[at] ^= 1 << self.below(8),
                2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                3 => bytes.truncate(at),
                // A length, near what it was or far from it.
                4 => bytes[at] = bytes[at].wrapping_add(self.below(9) as u8).wrapping_sub(4),
                5 => {
                    let extreme = [[0xff; 4], [0; 4], [0x7f, 0xff, 0xff, 0xff], [0, 0, 0, 1]];
                    let extreme = extreme[self.below(4)];
                    bytes.iter_mut().skip(at).zip(extreme).for_each(|(old, new)| *old = new);
                }
                6 => {
                    let again = bytes[self.range(bytes)].to_vec();
                    bytes.splice(at..at, again);
                }
                7 => drop(bytes.drain(self.range(bytes))),
                _ => {
                    let again = bytes[self.range(bytes)].to_vec();
                    let end = (at + again.len()).min(bytes.len());
                    bytes.splice(at..end, again);
                }
            }
        }
    }
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
    let (links, mut dice) = (links(), Dice(0x9e37_79b9_7f4a_7c15));
    let mut observer = Observer::new();
    for i in 0..count() {
        let (own, bytes) = frames[dice.below(frames.len())];
        let mut bytes = bytes.clone();
        dice.spoil(&mut bytes);
        let any = links[dice.below(links.len())];
        let own = Link::from_linktype(own as i32).filter(|_| dice.below(8) > 0);
        // Mostly as time goes, sometimes from anywhere.
        let time = if dice.below(1000) == 0 { dice.next() as i64 } else { i as i64 * 1_000_000 };
        observer.frame(own.unwrap_or(any), &bytes, Timestamp(time));
    }
    observer.table.flush(|_| true);
    observer.take();
    println!("{} packets made {} flows", count(), observer.records);
    assert!(observer.records > 100, "most of them were not spoilt beyond recognition");
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
    let whole = pcapng(1, &captures::syns(50).frames);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&whole).unwrap();
    files.push(("gzip", gzip.finish().unwrap()));
    files.push(("zstd", zstd::encode_all(&whole[..], 1).unwrap()));
    files.push(("pcapng", whole));
    files
}

#[test]
fn every_file_is_read_or_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture");
    let (files, mut dice) = (files(), Dice(0x2545_f491_4f6c_dd1d));
    let mut observer = Observer::new();
    let (mut frames, mut refused, mut broken, mut slowest) = (0u64, 0, 0, Duration::ZERO);
    for _ in 0..count() {
        let (name, mut bytes) = files[dice.below(files.len())].clone();
        dice.spoil(&mut bytes);
        std::fs::write(&path, &bytes).unwrap();
        let begun = Instant::now();
        let result = file::File::open(&path, None).and_then(|mut file| {
            file.read(|batch| {
                frames += batch.frames;
                observer.packets(&batch.packets);
                true
            })
        });
        slowest = slowest.max(begun.elapsed());
        assert!(slowest < LONG, "{name}: {bytes:?}");
        match result {
            Ok(()) => {}
            Err(Error::Usage(words)) => {
                refused += 1;
                assert!(words.contains("capture: "), "{words}");
            }
            Err(Error::Failed(words)) => {
                broken += 1;
                assert!(words.contains("what comes before it was read"), "{words}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    observer.table.flush(|_| true);
    observer.take();
    let peak = getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss() / 1024;
    println!(
        "{} files: {refused} refused, {broken} broken off; {frames} frames, {} flows, slowest {slowest:?}, \
         peak {peak} MB",
        count(),
        observer.records
    );
    assert!(frames > count() && refused > 0 && broken > 0);
    assert!(peak < 1024, "{peak} MB");
}
