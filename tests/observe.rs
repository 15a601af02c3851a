//! `pathspider observe` on captures that the project made itself (`tests/captures`), through the real
//! program: `tests/observe/NAME.ndjson` has the records that are agreed for each.
//! `UPDATE_GOLDENS=1 cargo test --test observe` accepts what is written now.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod captures;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use captures::{Capture, Frame, pcap, pcapng};
use serde_json::Value;

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
    let update = std::env::var_os("UPDATE_GOLDENS").is_some();
    let mut wrong = Vec::new();
    for capture in captures::all() {
        let written = Run::new(&plain(&capture), &[]).expect(0).written();
        let path = golden(capture.name);
        if update {
            std::fs::write(&path, &written).unwrap();
        }
        if std::fs::read_to_string(&path).unwrap_or_default() != written {
            wrong.push(format!("{}:\n{written}", capture.name));
        }
    }
    assert!(wrong.is_empty(), "not as agreed (UPDATE_GOLDENS=1 accepts):\n{}", wrong.join("\n"));
}

/// Whether a value says that something was seen.
fn says_something(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && value.as_u64() != Some(0)
}

#[test]
fn every_field_says_something_in_one_record_and_nothing_in_another() {
    let agreed = captures::all().into_iter().map(|capture| golden(capture.name));
    let records: Vec<Value> = agreed
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
        })
        .collect();
    for field in pathspider::chain::Selection::everything().fields() {
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
    let run = Run::new(&plain(&named("connection")), &["--use", "basic,magic"]).expect(2);
    for group in ["magic", "basic", "tcpopt", "ttl"] {
        assert!(run.said().contains(group), "{}", run.said());
    }
}

#[test]
fn a_measurement_gives_its_columns_and_no_conclusions() {
    let run = Run::new(&plain(&named("connection")), &["--measurement", "ecn"]).expect(0);
    assert!(run.said().contains("which configuration made a flow"), "{}", run.said());
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
    let run = Run::new(&pcap(147, &frames, false, false), &[]).expect(0);
    assert!(run.said().contains("1 of a link type that is not understood"), "{}", run.said());
    assert!(run.records().is_empty());
}
