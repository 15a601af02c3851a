//! `pathspider observe` on captures that the project made itself (`tests/captures`), through the real
//! program: `tests/observe/NAME.ndjson` has the records that are agreed for each.
//! `UPDATE_GOLDENS=1 cargo test --test observe` accepts what is written now.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod captures;

mod support;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use captures::{Capture, Frame, pcap, pcapng};
use pathspider::run::keys;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use support::golden::Goldens;

/// A folder with one capture file, and the program's answer to it.
struct Run {
    folder: tempfile::TempDir,
    output: Output,
}

impl Run {
    fn new(capture: &[u8], arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("capture"), capture).unwrap();
        let output = observe(folder.path(), "capture", arguments).output().unwrap();
        Self { folder, output }
    }

    fn written(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("x.ndjson")).unwrap_or_default()
    }

    fn records(&self) -> Vec<Value> {
        self.written().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    fn expect(self, exit: i32) -> Self {
        assert_eq!(self.output.status.code(), Some(exit), "{}", self.said());
        self
    }
}

fn observe(folder: &Path, file: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.current_dir(folder).args(["observe", file, "-o", "x.ndjson"]).args(arguments);
    command.stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

fn plain(capture: &Capture) -> Vec<u8> {
    pcap(capture.link, &capture.frames, false, false)
}

fn named(name: &str) -> Capture {
    captures::all().into_iter().find(|capture| capture.name == name).unwrap()
}

fn golden(name: &str) -> PathBuf {
    // The link layer leaves no trace in a record.
    let name = if name.starts_with("link-") { "links" } else { name };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observe").join(name).with_extension("ndjson")
}

#[test]
fn every_capture_gives_the_records_that_were_agreed() {
    let mut goldens = Goldens::default();
    for capture in captures::all() {
        let written = Run::new(&plain(&capture), &[]).expect(0).written();
        goldens.compare(&golden(capture.name), &written);
    }
    goldens.end();
}

/// Whether a value says that something was seen.
fn says_something(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_u64() != Some(0)
}

#[test]
fn every_usual_field_says_something_in_one_record_and_nothing_in_another() {
    let agreed = captures::all().into_iter().map(|capture| golden(capture.name));
    let records: Vec<Value> = agreed
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        })
        .collect();
    for field in pathspider::chain::Selection::usual().fields() {
        let mut said = records.iter().map(|record| says_something(&record[field.name]));
        assert!(said.any(|said| said), "{} is in no record", field.name);
        // What every packet has.
        let always = matches!(
            field.name,
            "sip" | "dip" | "proto" | "pkt_first" | "pkt_last" | "pkt_fwd" | "oct_fwd"
        );
        let mut said = records.iter().map(|record| says_something(&record[field.name]));
        assert!(always || said.any(|said| !said), "{} is in every record", field.name);
    }
}

#[test]
fn every_kind_of_file_gives_the_same_records() {
    let capture = named("connection");
    let agreed = std::fs::read_to_string(golden(capture.name)).unwrap();
    let micro = plain(&capture);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&micro).unwrap();
    let (link, frames) = (capture.link, &capture.frames);
    for (kind, bytes) in [
        ("pcap, nanoseconds", pcap(link, frames, false, true)),
        ("pcap, big endian", pcap(link, frames, true, false)),
        ("pcap, nanoseconds, big endian", pcap(link, frames, true, true)),
        ("pcapng", pcapng(link, frames)),
        ("gzip", gzip.finish().unwrap()),
        ("zstd", zstd::encode_all(&micro[..], 1).unwrap()),
        ("zstd of pcapng", zstd::encode_all(&pcapng(link, frames)[..], 1).unwrap()),
    ] {
        assert_eq!(Run::new(&bytes, &[]).expect(0).written(), agreed, "{kind}");
    }
}

#[test]
fn standard_input_is_a_file_too() {
    let capture = named("connection");
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        observe(folder.path(), "-", &["--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // In pieces that end within headers.
    for piece in plain(&capture).chunks(11) {
        input.write_all(piece).unwrap();
        input.flush().unwrap();
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    let written = std::fs::read_to_string(folder.path().join("x.ndjson")).unwrap();
    assert_eq!(written, std::fs::read_to_string(golden(capture.name)).unwrap());
}

/// The captures on Ethernet again and again, each time between other hosts.
fn long_capture(times: u16) -> Vec<u8> {
    let captures: Vec<Capture> =
        captures::all().into_iter().filter(|capture| capture.link == 1).collect();
    let mut frames = Vec::new();
    for time in 0..times {
        let [upper, lower] = time.to_be_bytes();
        for frame in captures.iter().flat_map(|capture| &capture.frames) {
            let mut bytes = frame.bytes.clone();
            // In what ICMP errors quote, too.
            for at in 0..bytes.len() {
                if let Some([192, 0, 2]) = bytes.get(at..at + 3) {
                    bytes[at..at + 3].copy_from_slice(&[10, upper, lower]);
                } else if let Some([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0]) = bytes.get(at..at + 8) {
                    bytes[at + 6..at + 8].copy_from_slice(&[upper, lower]);
                }
            }
            // Octets behind the packet, so that the file is long and the packets are few.
            bytes.resize(bytes.len() + 1000, 0);
            let first = frames.first().map_or(frame.time, |first: &Frame| first.time);
            frames.push(Frame { time: first + frames.len() as u64 * 1_000_000, bytes });
        }
    }
    pcap(1, &frames, false, true)
}

#[test]
fn who_shares_the_work_finds_the_same_flows() {
    let capture = long_capture(150);
    assert!(capture.len() > 12 << 20, "a file of more pieces than may wait for anybody");
    let shared = Run::new(&capture, &[]).expect(0).written();
    assert_eq!(Run::new(&capture, &[]).expect(0).written(), shared, "the same order every time");
    // What comes through a pipe is the work of one.
    let folder = tempfile::tempdir().unwrap();
    let mut child =
        observe(folder.path(), "-", &["--quiet"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&capture).unwrap();
    assert!(child.wait().unwrap().success());
    let alone = std::fs::read_to_string(folder.path().join("x.ndjson")).unwrap();
    assert_ne!(alone, shared, "the work was shared");
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_unstable();
        lines
    };
    let (alone, shared) = (sorted(&alone), sorted(&shared));
    assert_eq!(alone.len(), shared.len());
    for (alone, shared) in alone.iter().zip(&shared) {
        assert_eq!(alone, shared);
    }
}

/// The SHA-256 of some octets, in hexadecimal.
fn sha256(octets: &[u8]) -> String {
    Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn a_result_says_which_capture_it_is_of_and_how_it_was_read() {
    let capture = named("connection");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&pcapng(capture.link, &capture.frames)).unwrap();
    let packed = packed.finish().unwrap();
    let options = ["--use", "tcp", "--filter", "tcp", "--idle-timeout", "7s", "--vantage", "zrh"];
    let run = Run::new(&packed, &options).expect(0);
    let text = std::fs::read_to_string(run.folder.path().join("x.ndjson.meta.json")).unwrap();
    let metadata: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    let value = |key: &str| &*metadata[&format!("pathspider.{key}")];
    for (key, value) in &metadata {
        let name = key.strip_prefix("pathspider.").unwrap();
        let key = keys::find(name).unwrap_or_else(|| panic!("{name} is not documented"));
        assert!(key.kind.fits(value), "{name}: {value}");
    }
    // As stored, not as unpacked.
    assert_eq!(value("capture_sha256"), sha256(&packed));
    assert_eq!(value("capture_bytes"), packed.len().to_string());
    let links: Value = serde_json::from_str(value("capture_links")).unwrap();
    // A section of each byte order, each with an interface that nothing came from.
    assert_eq!(links, serde_json::json!([{ "number": 1, "name": "EN10MB", "interfaces": 4 }]));
    assert_eq!((value("functions"), value("idle_timeout")), (r#"["tcp"]"#, "7"));
    assert_eq!((value("capture_filter"), value("vantage")), ("tcp", "zrh"));
    assert!(value("command_line").contains("--idle-timeout 7s") && value("commit").len() > 1);
    // A damaged file is what its digest says; `complete` says that it is damaged.
    let cut = &plain(&capture)[..plain(&capture).len() - 3];
    let run = Run::new(cut, &[]).expect(3);
    let text = std::fs::read_to_string(run.folder.path().join("x.ndjson.meta.json")).unwrap();
    let metadata: BTreeMap<String, String> = serde_json::from_str(&text).unwrap();
    assert_eq!(metadata["pathspider.complete"], "false");
    assert_eq!(metadata["pathspider.capture_sha256"], sha256(cut));
}

#[test]
fn use_chooses_the_columns() {
    let run = Run::new(&plain(&named("connection")), &["--use", "basic,ecn"]).expect(0);
    let records = run.records();
    assert_eq!(records.len(), 2);
    for record in records {
        let columns: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
        assert!(columns.iter().any(|name| name == "sip"), "{columns:?}");
        assert!(columns.iter().any(|name| name == "ecn_ect0_data_fwd"), "{columns:?}");
        assert!(!columns.iter().any(|name| name.starts_with("tcp")), "{columns:?}");
    }
    // With spaces, as people write lists.
    let spaced = Run::new(&plain(&named("connection")), &["--use", " basic, ecn "]).expect(0);
    let plainly = Run::new(&plain(&named("connection")), &["--use", "basic,ecn"]).expect(0);
    assert_eq!(spaced.written(), plainly.written());
    let run = Run::new(&plain(&named("connection")), &["--use", "basic,magic"]).expect(2);
    for group in ["magic", "basic", "tcpopt", "ttl"] {
        assert!(run.said().contains(group), "{}", run.said());
    }
}

#[test]
fn a_measurement_gives_its_columns_and_no_conclusions() {
    let run = Run::new(&plain(&named("connection")), &["--measurement", "ecn"]).expect(0);
    assert!(run.said().contains("which configuration a flow belongs to"), "{}", run.said());
    let records = run.records();
    assert_eq!(records.len(), 2);
    for record in records {
        let columns: Vec<_> = record.as_object().unwrap().keys().cloned().collect();
        assert!(columns.iter().any(|name| name == "tcp_synflags_fwd"), "{columns:?}");
        for conclusion in ["conditions", "verdict", "configuration"] {
            assert!(!columns.iter().any(|name| name.contains(conclusion)), "{columns:?}");
        }
    }
}

#[test]
fn timeouts_are_packet_time() {
    // Its packets come every 10 ms, those of one flow every 20 ms.
    let flows = |arguments: &[&str]| {
        Run::new(&plain(&named("connection")), arguments).expect(0).records().len()
    };
    assert_eq!(flows(&["--idle-timeout", "30ms"]), 2);
    assert_eq!(flows(&["--idle-timeout", "15ms"]), 20);
    // The last ACK comes 10 ms after the other end's FIN, or to what is a flow of its own by then.
    assert_eq!(flows(&["--expiry-timeout", "30ms"]), 2);
    assert_eq!(flows(&["--expiry-timeout", "5ms"]), 4);
}

#[test]
fn a_filter_lets_through_what_it_says() {
    let capture = plain(&named("connection"));
    for (filter, from) in [("ip6", "2001:db8::1"), ("tcp port 80", "192.0.2.1")] {
        let records = Run::new(&capture, &["--filter", filter]).expect(0).records();
        assert_eq!(records.len(), 1, "{filter}");
        assert_eq!(records[0]["sip"], from);
    }
    let run = Run::new(&capture, &["--filter", "tcp prt 80"]).expect(2);
    assert!(run.said().contains("tcp prt 80"), "{}", run.said());
}

#[test]
fn a_file_that_is_cut_off_gives_what_came_before() {
    let capture = named("fallback");
    let whole = plain(&capture);
    let files = [whole[..whole.len() - 5].to_vec(), {
        let file = pcapng(capture.link, &capture.frames);
        file[..file.len() - 5].to_vec()
    }];
    for file in files {
        let run = Run::new(&file, &[]).expect(3);
        let records = run.records();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0]["tcp_syn_count_fwd"], 2, "the SYNs stand before the cut");
        assert_eq!(records[0]["pkt_rev"], 0);
        assert!(run.said().contains("cut off"), "{}", run.said());
    }
}

#[test]
fn what_is_no_capture_is_refused_in_words() {
    for (bytes, words) in [
        (&b""[..], "it is empty"),
        (b"target,port\nexample.org,80\nexample.com,80\n", "neither pcap nor pcapng"),
        (&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0], "ends within its header"),
        (&[0x0a, 0x0d, 0x0d, 0x0a, 28, 0], "ends within its header"),
        (&[0x1f, 0x8b, 8], "the gzip data ends early"),
        (&[0xfd, b'7', b'z', b'X', b'Z', 0, 0, 4], "it is compressed by xz: write xz -dc FILE |"),
        (b"BZh91AY&SY", "it is compressed by bzip2: write bzip2 -dc FILE |"),
        (&[4, 0x22, 0x4d, 0x18, 0x64], "it is compressed by lz4: write lz4 -dc FILE |"),
    ] {
        let run = Run::new(bytes, &[]).expect(2);
        assert!(run.said().contains(words), "{}", run.said());
        assert!(!run.folder.path().join("x.ndjson").exists(), "nothing is left behind");
    }
    let folder = tempfile::tempdir().unwrap();
    let output = observe(folder.path(), "nowhere", &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nowhere"));
}

#[test]
fn a_full_table_loses_no_flow_and_says_so() {
    let capture = captures::syns(1000);
    let run = Run::new(&plain(&capture), &["--max-flows", "10", "--use", "basic"]).expect(3);
    assert_eq!(run.records().len(), 1000);
    assert!(run.said().contains("990 flows completed early"), "{}", run.said());
}

#[test]
fn a_link_type_that_nobody_knows_is_counted() {
    let frames = vec![Frame { time: 0, bytes: vec![1, 2, 3] }];
    let run = Run::new(&pcap(147, &frames, false, false), &[]).expect(3);
    let named = "1 of link type 147 (USER0), which is not supported";
    assert!(run.said().contains(named), "{}", run.said());
    assert!(run.said().contains("no packet of this capture could be read"), "{}", run.said());
    assert!(run.records().is_empty());
    // One that not even libpcap knows.
    let run = Run::new(&pcap(9999, &frames, false, false), &[]).expect(3);
    assert!(run.said().contains("1 of link type 9999 (without a name)"), "{}", run.said());
}

#[test]
fn records_do_not_go_onto_the_capture_whatever_its_name_is() {
    let capture = plain(&named("connection"));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("capture"), &capture).unwrap();
    std::fs::hard_link(path("capture"), path("hard")).unwrap();
    std::os::unix::fs::symlink("capture", path("soft")).unwrap();
    let observe = |input: &str, output: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
        command.current_dir(folder.path()).args(["observe", input, "-o", output]);
        command.stdin(std::fs::File::open(path("capture")).unwrap()).env_remove("RUST_LOG");
        command
    };
    let names = ["capture", "./capture", "hard", "soft"];
    let pairs = names.iter().flat_map(|input| names.map(|output| (*input, output)));
    for (input, output) in pairs.chain(names.map(|output| ("-", output))) {
        let answer = observe(input, output).output().unwrap();
        let said = String::from_utf8_lossy(&answer.stderr).into_owned();
        assert_eq!(answer.status.code(), Some(2), "{input} {output}: {said}");
        assert!(said.contains("this is the capture being read"), "{said}");
    }
    // Standard output may be it as well.
    let append = std::fs::OpenOptions::new().append(true).open(path("hard")).unwrap();
    let answer = observe("soft", "-").stdout(append).output().unwrap();
    assert_eq!(answer.status.code(), Some(2));
    assert!(std::fs::read(path("capture")).unwrap() == capture, "it is what it was");
    // Another file may be there already.
    std::fs::write(path("x.ndjson"), "old").unwrap();
    assert!(observe("capture", "x.ndjson").status().unwrap().success());
}

#[test]
fn help_lists_the_link_types() {
    let mut help = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    let output = help.args(["observe", "--help"]).output().unwrap();
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for row in pathspider::packet::link::TYPES {
        let listed = help.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(&row.number.to_string()) && words.next() == Some(row.name)
        });
        assert!(listed, "{} {}", row.number, row.name);
    }
}

#[test]
fn nothing_to_understand_is_no_loss() {
    Run::new(&pcap(1, &[], false, false), &[]).expect(0);
    Run::new(&plain(&named("connection")), &["--filter", "tcp port 81"]).expect(0);
    // Frames without IP alone are nothing that was understood.
    let arp = [&[2u8; 12][..], &[8, 6], &[0; 28]].concat();
    let frame = |bytes: &[u8]| Frame { time: 0, bytes: bytes.to_vec() };
    let run = Run::new(&pcap(1, &[frame(&arp)], false, false), &[]).expect(3);
    assert!(run.said().contains("1 not IP"), "{}", run.said());
    let mut frames = named("connection").frames;
    frames.push(frame(&arp));
    Run::new(&pcap(1, &frames, false, false), &[]).expect(0);
}

/// A file of one interface, some of whose blocks are of a type of their own.
fn with_blocks(kind: u32, body: &[u8]) -> Vec<u8> {
    let capture = named("connection");
    let mut file = pcapng(capture.link, &capture.frames);
    let length = (body.len() as u32 + 12).to_be_bytes();
    // The last section is big-endian.
    file.extend([&kind.to_be_bytes()[..], &length, body, &length].concat());
    file
}

#[test]
fn what_a_capture_says_was_lost_is_lost() {
    // The drop count of a Packet Block of the first interface, without data.
    let drops = |drops: u8| [&[0, 0, 0, drops][..], &[0; 16]].concat();
    let run = Run::new(&with_blocks(2, &drops(5)), &[]).expect(3);
    assert!(run.said().contains("lost: 5 packets dropped during the capture"), "{}", run.said());
    Run::new(&with_blocks(2, &drops(0)), &[]).expect(0);
    let run = Run::new(&with_blocks(0x0b0b, &[0; 8]), &[]).expect(3);
    assert!(
        run.said().contains("lost: 1 block that contains or may contain packets"),
        "{}",
        run.said()
    );
    assert!(run.said().contains("blocks of the unknown type 0xb0b were skipped"), "{}", run.said());
    Run::new(&with_blocks(4, &[0; 8]), &[]).expect(0);
    assert_eq!(run.records().len(), 2);
}

#[test]
fn a_clock_that_jumps_flags_the_same_flows_whoever_shares_the_work() {
    let mut file = long_capture(20);
    let flags = |run: &Run| {
        let mut flags: Vec<String> = run
            .records()
            .iter()
            .map(|record| {
                let key = ["sip", "dip", "sp", "dp", "pkt_first", "pkt_fwd", "flags"];
                key.map(|column| record[column].to_string()).join(" ")
            })
            .collect();
        flags.sort_unstable();
        flags
    };
    // A record in the middle has a time of its own: its first field is seconds.
    let mut at = 24;
    for _ in 0..400 {
        let length: [u8; 4] = file[at + 8..at + 12].try_into().unwrap();
        at += 16 + u32::from_le_bytes(length) as usize;
    }
    file[at..at + 4].copy_from_slice(&2_000_000_000u32.to_le_bytes());
    let shared = Run::new(&file, &["--idle-timeout", "100ms"]).expect(0);
    let alone = Run::new(&file, &["--idle-timeout", "100ms", "--max-flows", "999999"]).expect(0);
    assert_ne!(shared.written(), alone.written(), "the work was shared");
    let (shared, flagged) = (flags(&shared), flags(&alone));
    assert_eq!(shared.len(), flagged.len());
    for (shared, alone) in shared.iter().zip(&flagged) {
        assert_eq!(shared, alone);
    }
    let count = flagged.iter().filter(|flags| flags.contains("clock_step")).count();
    assert!(count > 1 && count < flagged.len() / 2, "{count}");
    assert!(alone.said().contains("clock_step"), "{}", alone.said());
}
