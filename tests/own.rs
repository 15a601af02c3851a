//! Columns of a measurement's own: their values for flows of a capture, and that expressions over packets mean what
//! expressions over records mean.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "captures/file.rs"]
#[expect(dead_code, reason = "one format is enough here")]
mod file;

use std::process::{Command, Stdio};
use std::sync::Arc;

use arrow_array::{RecordBatch, cast::AsArray as _};
use arrow_schema::{DataType, Field, Fields, Schema};
use etherparse::PacketBuilder;
use file::{Frame, pcap};
use pathspider::chain::own::Value as Read;
use pathspider::field::Timestamp;
use pathspider::packet::{Link, dissect};
use pathspider::rule::{About, Columns, Question, RuleSource, Rules, Sql, packet_value};
use serde_json::{Value, json};

/// A segment in an Ethernet frame: its direction, flags by letter, window and data.
fn segment(rev: bool, flags: &str, window: u16, ttl: u8, data: &[u8]) -> Vec<u8> {
    let (us, them) = (([192, 0, 2, 1], 40_000), ([192, 0, 2, 2], 80));
    let (from, to) = if rev { (them, us) } else { (us, them) };
    let sequence = if flags.contains('S') { 1 } else { 2 };
    let mut packet = PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(from.0, to.0, ttl)
        .tcp(from.1, to.1, sequence, window);
    for flag in flags.chars() {
        packet = match flag {
            'S' => packet.syn(),
            'A' => packet.ack(2),
            'R' => packet.rst(),
            'F' => packet.fin(),
            'P' => packet.psh(),
            other => panic!("{other}"),
        };
    }
    if flags.contains('S') {
        packet = packet.options_raw(&[2, 4, 5, 180]).unwrap();
    }
    let mut bytes = Vec::new();
    packet.write(&mut bytes, data).unwrap();
    bytes
}

fn capture(frames: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let frames = frames
        .into_iter()
        .zip(1u64..)
        .map(|(bytes, at)| Frame { time: 1_700_000_000_000_000_000 + at * 10_000_000, bytes });
    pcap(1, &frames.collect::<Vec<_>>(), false, false)
}

/// The only flow of a capture, observed with `[observer]` sections.
fn observe(capture: &[u8], observer: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("capture"), capture).unwrap();
    let text = format!("name = \"own\"\n[config.zero]\n{observer}");
    std::fs::write(folder.path().join("own.toml"), text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.args(["observe", "capture", "-o", "x.ndjson", "--measurement", "own.toml"]);
    let output = command.current_dir(folder.path()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let written = std::fs::read_to_string(folder.path().join("x.ndjson"));
    let written = written.unwrap_or_else(|why| panic!("{why}: {said}"));
    serde_json::from_str(&written).unwrap_or_else(|why| panic!("{why}: {written} {said}"))
}

const COLUMNS: &str = r#"
[observer.count.zero_window_rev]
direction = "rev"
when = "tcp.window = 0 AND NOT tcp.rst"

[observer.count.data]
when = "payload.length > 0"

[observer.any.reset]
when = "tcp.rst"

[observer.any.urgent]
when = "tcp.urg"

[observer.first.window]
direction = "rev"
when = "NOT tcp.syn"
value = "tcp.window"

[observer.last.window_last]
direction = "rev"
value = "tcp.window"

[observer.min.window_min]
value = "tcp.window"

[observer.max.octets_half]
value = "ip.length / 2"

[observer.first.mss]
direction = "rev"
value = "tcp.mss"

[observer.first.syn_first]
value = "tcp.syn"

[observer.min.label]
value = "ip.flow_label"
"#;

fn flow() -> Vec<Vec<u8>> {
    vec![
        segment(false, "S", 1000, 64, b""),
        segment(true, "SA", 2000, 64, b""),
        segment(false, "A", 3000, 64, b""),
        segment(false, "AP", 3000, 64, b"question"),
        segment(true, "A", 0, 64, b""),
        segment(true, "A", 0, 64, b""),
        segment(true, "AP", 500, 64, b"answer"),
    ]
}

#[test]
fn columns_are_those_of_the_packets() {
    let record = observe(&capture(flow()), COLUMNS);
    let expected = json!({
        "zero_window_rev": 2, "data": 2, "reset": false, "urgent": false, "window": 0,
        "window_last": 500, "window_min": 0, "octets_half": 24.0, "mss": 1460, "syn_first": true,
        "label": null, "flags": [],
    });
    assert_eq!(record, expected);
}

#[test]
fn what_was_not_captured_is_unknown() {
    // The SYN-ACK's window is beyond the snap length; its flags are not.
    let mut frames = flow();
    let whole = frames[1].len();
    frames[1].truncate(14 + 20 + 14);
    assert!(frames[1].len() < whole);
    let record = observe(&capture(frames), COLUMNS);
    for (column, expected) in [
        // It may have been zero.
        ("zero_window_rev", Value::Null),
        ("window_min", Value::Null),
        // NOT tcp.syn is false of it, whatever its window.
        ("window", json!(0)),
        // It was not the last.
        ("window_last", json!(500)),
        ("reset", json!(false)),
        ("data", json!(2)),
        ("mss", Value::Null),
        ("syn_first", json!(true)),
    ] {
        assert_eq!(record[column], expected, "{column}");
    }
    assert_eq!(record["flags"], json!(["short_packet"]));

    // The flags of the last one are beyond it, too.
    let mut frames = flow();
    let last = frames.len() - 1;
    frames[last].truncate(14 + 20 + 8);
    let record = observe(&capture(frames), COLUMNS);
    assert_eq!((&record["reset"], &record["data"]), (&Value::Null, &Value::Null));
    assert_eq!((&record["window_last"], &record["window"]), (&Value::Null, &json!(0)));
    // What was seen was seen.
    let mut frames = flow();
    frames[1].truncate(14 + 20 + 8);
    frames.push(segment(true, "RA", 0, 64, b""));
    assert_eq!(observe(&capture(frames), COLUMNS)["reset"], json!(true));
}

/// Conditions over columns that a lossy record has.
#[test]
fn a_rule_over_them_is_insufficient_where_packets_may_be_missing() {
    let text = r#"
name = "own"
[config.zero]
[observer.count.resets]
when = "tcp.rst"
[observer.min.window]
value = "tcp.window"
[[conditions]]
name = "resets"
value = "zero.resets"
[[conditions]]
name = "window"
value = "zero.window"
[[conditions]]
name = "none"
first_of = [{ is = "none", when = "zero.window IS NULL" }, { is = "some" }]
"#;
    let plan = pathspider::measurement::Plan::load("own.toml", text, &Fields::empty()).unwrap();
    let schema = plan.record_schema(&Fields::empty());
    let DataType::Struct(facts) = schema.field_with_name("zero").unwrap().data_type() else {
        panic!("no struct")
    };
    let wanted = ["state", "observed", "resets", "window"];
    let facts = facts.iter().filter(|field| wanted.contains(&field.name().as_str()));
    let zero = Field::new("zero", DataType::Struct(facts.cloned().collect()), false);
    let schema = Arc::new(Schema::new(vec![zero, pathspider::flags::field()]));
    let mut decoder = arrow_json::ReaderBuilder::new(schema).build_decoder().unwrap();
    let row = |observed: bool, window: Option<i64>, flags: Value| {
        json!({ "flags": flags, "zero": {
            "state": "ok", "observed": observed, "resets": observed.then_some(1),
            "window": window.filter(|_| observed) } })
    };
    let rows = [
        row(true, Some(7), json!([])),
        row(true, None, json!([])),
        row(true, Some(7), json!(["capture_dropped"])),
        row(false, None, json!([])),
    ];
    decoder.serialize(&rows).unwrap();
    let judged = plan.rules.judge(&decoder.flush().unwrap().unwrap()).unwrap();
    let mut out = arrow_json::ArrayWriter::new(Vec::new());
    out.write(&judged).unwrap();
    out.finish().unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&out.into_inner()).unwrap();
    let said: Vec<[&Value; 3]> = rows
        .iter()
        .map(|row| ["resets", "window", "none"].map(|name| &row["verdict"][name]))
        .collect();
    let [one, seven] = [json!("1"), json!("7")];
    let [some, none, unknown] = [json!("some"), json!("none"), json!("insufficient")];
    assert_eq!(said[0], [&one, &seven, &some]);
    assert_eq!(said[1], [&one, &unknown, &none], "none is a value only for IS NULL");
    assert_eq!(said[2], [&unknown; 3], "a packet that was missed may have been one");
    assert_eq!(said[3], [&unknown; 3]);
}

struct Always;

impl Columns for Always {
    fn elsewhere(&self, _: &str) -> Option<String> {
        None
    }

    fn about(&self, _: &str) -> About {
        About::ALWAYS
    }
}

/// Random expressions over three fields.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }

    fn number(&mut self, depth: usize) -> String {
        let leaves =
            ["tcp.window", "tcp.mss", "ip.ttl", "0", "7", "65535", "-1", "9223372036854775807"];
        if depth == 0 {
            return leaves[self.below(leaves.len())].into();
        }
        let (a, b) = (self.number(depth - 1), self.number(depth - 1));
        match self.below(9) {
            0 => format!("({a}) + ({b})"),
            1 => format!("({a}) - ({b})"),
            2 => format!("({a}) * ({b})"),
            3 => format!("({a}) % ({b})"),
            4 => format!("({a}) & ({b})"),
            5 => format!("({a}) | ({b})"),
            6 => format!("-({a})"),
            7 => format!("COALESCE({a}, {b})"),
            _ => format!("CASE WHEN {} THEN {a} ELSE {b} END", self.truth(depth - 1)),
        }
    }

    fn truth(&mut self, depth: usize) -> String {
        let leaves = ["tcp.syn", "tcp.rst", "TRUE", "FALSE", "NULL"];
        if depth == 0 {
            return leaves[self.below(leaves.len())].into();
        }
        let (a, b) = (self.truth(depth - 1), self.truth(depth - 1));
        let (x, y, z) = (self.number(depth - 1), self.number(depth - 1), self.number(depth - 1));
        match self.below(10) {
            0 => format!("({a}) AND ({b})"),
            1 => format!("({a}) OR ({b})"),
            2 => format!("NOT ({a})"),
            3 => format!("({x}) IS NULL"),
            4 => format!("({a}) IS NOT TRUE"),
            5 => format!("({x}) NOT IN ({y}, {z})"),
            6 => format!("({x}) BETWEEN ({y}) AND ({z})"),
            7 => format!("({x}) / ({y}) > {z}"),
            8 => format!("CASE ({x}) WHEN {y} THEN {a} END"),
            _ => format!("({x}) {} ({y})", ["=", "<>", "<", "<=", ">", ">="][self.below(6)]),
        }
    }
}

#[test]
fn expressions_over_packets_mean_what_they_mean_over_records() {
    let frames: Vec<Vec<u8>> = [("S", 0, 1), ("A", 7, 64), ("R", 65_535, 255), ("SA", 1, 64)]
        .map(|(flags, window, ttl)| segment(false, flags, window, ttl, b""))
        .into();
    let packets: Vec<_> = frames
        .iter()
        .map(|frame| dissect(Link::from_linktype(1).unwrap(), frame, Timestamp::UNKNOWN).unwrap())
        .collect();
    let columns: Fields = [
        ("window", DataType::Int64),
        ("mss", DataType::Int64),
        ("ttl", DataType::Int64),
        ("syn", DataType::Boolean),
        ("rst", DataType::Boolean),
    ]
    .into_iter()
    .map(|(name, data_type)| Field::new(name, data_type, true))
    .collect();
    let schema = Schema::new(vec![Field::new("target", DataType::Struct(columns), false)]);
    let rows: Vec<Value> = packets
        .iter()
        .map(|packet| {
            let (ttl, tcp) = (packet.ip.ttl, packet.tcp().unwrap());
            let mss = tcp.has(2).then_some(1460);
            json!({ "target": { "window": tcp.window, "mss": mss, "ttl": ttl,
                                "syn": tcp.has(2), "rst": tcp.has(4) } })
        })
        .collect();
    let mut decoder =
        arrow_json::ReaderBuilder::new(Arc::new(schema.clone())).build_decoder().unwrap();
    decoder.serialize(&rows).unwrap();
    let batch: RecordBatch = decoder.flush().unwrap().unwrap();
    let mut random = Random(1);
    let (mut compared, mut known) = (0, 0);
    for number in 0..3000 {
        let text = if number % 2 == 0 { random.truth(3) } else { random.number(3) };
        let sql = |text: String| Sql { span: 0..text.len(), start: Some(0), text };
        let mut mistakes = Vec::new();
        let program = packet_value(&sql(text.clone()), &mut mistakes);
        let as_record = text.replace("tcp.", "target.").replace("ip.", "target.");
        let source =
            RuleSource { name: "x".into(), given: None, question: Question::Value(sql(as_record)) };
        let (rules, _) = Rules::compile(&[source], &schema, &Always);
        let Some((program, _)) = program else { continue };
        compared += 1;
        let judged = rules.judge(&batch).unwrap();
        let verdicts = judged.column_by_name("verdict").unwrap().as_struct();
        let words = pathspider::rule::words(verdicts.column(0)).unwrap();
        for (row, packet) in packets.iter().enumerate() {
            let ours = match program.evaluate(packet) {
                Read::Null => "insufficient".to_owned(),
                Read::Truth(value) => value.to_string(),
                Read::Int(value) => value.to_string(),
                other => panic!("{other:?}: {text}"),
            };
            known += usize::from(ours != "insufficient");
            assert_eq!(ours, words.value(row), "row {row}: {text}");
        }
    }
    assert!(compared > 2500 && known > 4000, "{compared} {known}");
}
