//! The group `hops` and the command that shows it: quotes are compared with the packets that they are of, and never with
//! others, whatever becomes of a capture.
//!
//!     BOLERO_RANDOM_ITERATIONS=1000000 cargo test --release --test hops no_quote
//!
//! tries that many captures.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "captures/file.rs"]
#[expect(dead_code, reason = "one format is enough here")]
mod file;
#[path = "hops/packets.rs"]
mod packets;
mod support;

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Command;

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int64Type, UInt8Type, UInt16Type};
use arrow_array::{Array as _, ArrayRef, ListArray};
use bolero::TypeGenerator;
use file::{Frame, pcap};
use packets::{Copied, error, extended};
use pathspider::chain::{GROUPS, Selection};
use pathspider::field::Timestamp;
use pathspider::observer::{FlowTable, Limits};
use pathspider::packet::{Link, dissect};
use support::golden::Goldens;

/// How many captures are tried, unless `BOLERO_RANDOM_ITERATIONS` says another number.
const CAPTURES: usize = 4000;
/// Nanoseconds between two errors; all packets are sent within the first of them, so the time from a packet to an error
/// says which packet and which error they are.
const STEP: i64 = 1_000_000_000;

/// The columns of the group after these frames, by name.
fn columns(frames: &[(i64, Vec<u8>)]) -> Vec<(String, ArrayRef)> {
    let mut selection = Selection::default();
    selection.place_group(GROUPS.iter().find(|group| group.name == "hops").unwrap());
    let limits = Limits { idle_timeout: i64::MAX / 2, ..Limits::default() };
    let mut table = FlowTable::new(&selection, limits);
    for (time, frame) in frames {
        if let Ok(packet) = dissect(Link::from_linktype(1).unwrap(), frame, Timestamp(*time)) {
            table.packet(&packet);
        }
    }
    table.flush(|_| true);
    let flows = table.take().into_flows();
    selection.fields().map(|field| field.name.to_owned()).zip(flows.columns).collect()
}

fn named<'a>(columns: &'a [(String, ArrayRef)], name: &str) -> &'a ArrayRef {
    &columns.iter().find(|(column, _)| column == name).unwrap().1
}

fn framed(packet: &[u8]) -> Vec<u8> {
    let kind = if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] };
    [&[2; 12][..], &kind, packet].concat()
}

/// A capture to spoil: what decides of it.
#[derive(Debug, TypeGenerator)]
struct Spoils {
    seed: u64,
    v6: bool,
    udp: bool,
}

/// Numbers that follow from a seed (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }
}

/// A capture of packets and errors about them: some are missing, repeated, cut or damaged, and errors come in any order.
/// The result is the number of pairs and of errors that were whole.
fn try_one(spoils: &Spoils) -> (usize, usize) {
    let mut numbers = Numbers(spoils.seed | 1);
    let mut frames: Vec<(i64, Vec<u8>)> = Vec::new();
    let mut errors: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut whole = 0;
    for place in 0..3 + numbers.below(20) {
        let ttl = 1 + numbers.below(30) as u8;
        let class = numbers.below(256) as u8;
        let copied = Copied { v6: spoils.v6, udp: spoils.udp, ttl, place: place as u16, class };
        let packet = copied.packet(40_000 + numbers.below(2) as u16);
        if numbers.below(10) > 0 {
            frames.push((place as i64 * 1000, framed(&packet)));
        }
        if numbers.below(4) > 0 {
            let mut quoted = packet.clone();
            if numbers.below(3) == 0 {
                packets::set_class(&mut quoted, numbers.below(256) as u8);
            }
            let quote = 8 + numbers.below(60);
            let from = 1 + numbers.below(250) as u8;
            let error = if numbers.below(4) == 0 {
                extended(&quoted, from)
            } else {
                error(&quoted, quote, from)
            };
            errors.push((place, error));
        }
    }
    let mut of = Vec::new();
    while !errors.is_empty() {
        let (place, packet) = errors.swap_remove(numbers.below(errors.len()));
        let mut frame = framed(&packet);
        let message = 14 + if spoils.v6 { 40 } else { 20 };
        match numbers.below(8) {
            0 => continue,
            1 => frame.truncate(message + numbers.below(frame.len() - message)),
            2 => {
                frame[message + numbers.below(packet.len() - (message - 14))] ^=
                    1 << numbers.below(8)
            }
            _ => whole += 1,
        }
        for _ in 0..1 + numbers.below(6) / 5 {
            of.push(place);
            frames.push((of.len() as i64 * STEP, frame.clone()));
        }
    }
    let columns = columns(&frames);
    let hops: &ListArray = named(&columns, "hops").as_list();
    let entries = hops.values().as_struct();
    let rtt = entries.column_by_name("rtt").unwrap().as_primitive::<Int64Type>();
    let ttl = entries.column_by_name("ttl").unwrap().as_primitive::<UInt8Type>();
    for row in 0..entries.len() {
        // The time of the error is the next multiple of the step.
        let at = rtt.value(row).cast_unsigned().div_ceil(STEP as u64);
        let sent = at as i64 * STEP - rtt.value(row);
        let place = of[usize::try_from(at).unwrap() - 1];
        assert_eq!(
            sent / 1000,
            place as i64,
            "{spoils:?}: entry {row} with TTL {}",
            ttl.value(row)
        );
    }
    (entries.len(), whole)
}

#[test]
fn no_quote_is_paired_with_a_wrong_packet() {
    let mut all = (0, 0);
    let each = AssertUnwindSafe(RefCell::new(|spoils: &Spoils| {
        let (paired, whole) = try_one(spoils);
        all = (all.0 + paired, all.1 + whole);
    }));
    bolero::check!().with_iterations(CAPTURES).with_type::<Spoils>().for_each(|spoils| {
        let each = &each;
        (each.borrow_mut())(spoils);
    });
    // A packet in ten was not captured, and its quote has no partner; others were sent twice.
    assert!(all.0 * 10 > all.1 * 8, "{} pairs of {} whole errors", all.0, all.1);
}

/// A path of six routers; from the fifth on, codepoint and option are changed. Each quotes at most this number of octets.
fn path(v6: bool, octets: usize) -> Vec<(i64, Vec<u8>)> {
    let mut frames = Vec::new();
    for hop in 1..=6u8 {
        let copied = Copied { v6, udp: false, ttl: hop, place: u16::from(hop), class: 46 << 2 | 1 };
        let packet = copied.packet(40_000);
        let mut quoted = packet.clone();
        if hop >= 5 {
            packets::set_class(&mut quoted, 1);
        }
        let time = i64::from(hop) * 50_000_000;
        frames.push((time, framed(&packet)));
        frames.push((time + 2_000_000, framed(&error(&quoted, octets, hop))));
    }
    frames
}

#[test]
fn a_change_is_between_two_hops_and_short_quotes_show_less() {
    for v6 in [false, true] {
        for (octets, flags) in [(8, None), (60, Some(6))] {
            let columns = columns(&path(v6, octets));
            let number = |name: &str| {
                let column = named(&columns, name).as_primitive::<UInt8Type>();
                column.is_valid(0).then(|| column.value(0))
            };
            assert_eq!(number("hops_dscp_same"), Some(4));
            assert_eq!(number("hops_dscp_changed"), Some(5));
            assert_eq!(number("hops_dscp_value"), Some(0));
            assert_eq!(number("hops_ecn_changed"), None);
            assert_eq!(number("hops_ecn_same"), Some(6));
            assert_eq!(number("hops_flags_same"), flags, "{octets} octets of {v6}");
            assert_eq!(number("hops_far"), Some(6));
            let least = named(&columns, "hops_quote_min").as_primitive::<UInt16Type>().value(0);
            assert_eq!(usize::from(least), octets.min(if v6 { 41 } else { 24 }));
            for name in ["hops_flags_undone", "hops_options_undone", "hops_mss_same"] {
                assert_eq!(named(&columns, name).is_null(0), flags.is_none(), "{name}");
            }
        }
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hops").join(name)
}

/// The program in a folder; what it printed.
fn program(folder: &Path, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    let output = command.current_dir(folder).args(words).env_remove("RUST_LOG").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_command_says_between_which_hops_and_whose() {
    let folder = tempfile::tempdir().unwrap();
    let frames: Vec<Frame> = path(false, 60)
        .into_iter()
        .map(|(time, bytes)| Frame { time: time.cast_unsigned(), bytes })
        .collect();
    std::fs::write(folder.path().join("x.pcap"), pcap(1, &frames, false, false)).unwrap();
    let table = program(folder.path(), &["lab", "as-table"]);
    std::fs::write(folder.path().join("lab.pfx2as"), table).unwrap();
    let here = folder.path();
    program(here, &["observe", "--use", "basic,hops", "x.pcap", "-o", "flows.parquet"]);
    let said = program(here, &["hops", "flows.parquet", "--as-table", "lab.pfx2as"]);
    let json = program(here, &["hops", "flows.parquet", "--format", "json"]);
    let mut goldens = Goldens::default();
    goldens.compare(&golden("path.txt"), &said);
    goldens.compare(&golden("path.ndjson"), &json);
    goldens.end();
}

#[test]
fn a_result_without_hops_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("x.pcap"), pcap(1, &[], false, false)).unwrap();
    program(folder.path(), &["observe", "--use", "basic", "x.pcap", "-o", "flows.parquet"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    let output =
        command.current_dir(folder.path()).args(["hops", "flows.parquet"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("no columns about hops"), "{said}");
}
