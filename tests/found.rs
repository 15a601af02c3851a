//! Captures that were misread once (`tests/observe/found`), and what is right (`tests/observe/found.toml`), through
//! the real program: as they are, with a small table, from a pipe in small pieces, compressed, and made so long that
//! two tables share the work. The records are the same each time.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    record: BTreeMap<String, Expected>,
    case: Vec<Case>,
}

type Expected = BTreeMap<String, toml::Value>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    file: String,
    why: String,
    #[serde(default)]
    arguments: Vec<String>,
    #[serde(default)]
    exit: i32,
    /// Packets that are counted.
    packets: Option<u64>,
    #[serde(default)]
    says: Vec<String>,
    /// In any order.
    records: Option<Vec<Expected>>,
    /// Of many records, how many there are and all values of some columns.
    count: Option<usize>,
    #[serde(default)]
    distinct: BTreeMap<String, Vec<toml::Value>>,
}

/// A way to hand the file over.
struct Form {
    name: &'static str,
    bytes: Vec<u8>,
    arguments: &'static [&'static str],
    pipe: bool,
    /// Whether nothing was added to the file.
    whole: bool,
}

fn found(file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observe/found");
    std::fs::read(folder.join(file)).unwrap()
}

fn forms(file: &[u8]) -> Vec<Form> {
    let form = |name, bytes, arguments, pipe, whole| Form { name, bytes, arguments, pipe, whole };
    let mut forms = vec![
        form("as it is", file.to_vec(), &[][..], false, true),
        form("with a small table", file.to_vec(), &["--max-flows", "100"], false, true),
        form("from a pipe", file.to_vec(), &[], true, true),
    ];
    if file.starts_with(&[0x1f, 0x8b]) {
        return forms;
    }
    let long = longer(file);
    forms.extend([
        form("gzipped", gzip(file), &[], false, true),
        form("gzipped, from a pipe", gzip(file), &[], true, true),
        form("as zstd", zstd(file), &[], false, true),
        form("long", long.clone(), &[], false, false),
        form("long, with a small table", long.clone(), &["--max-flows", "100"], false, false),
        form("long, from a pipe", long.clone(), &[], true, false),
        form("long and gzipped", gzip(&long), &[], false, false),
        form("long, as zstd", zstd(&long), &[], false, false),
    ]);
    forms
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// The capture with more than a MiB of what has no packets after its first record.
fn longer(file: &[u8]) -> Vec<u8> {
    let ng = file.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]);
    let big = file[0] == 0xa1;
    let number = |at: usize| {
        let four = *file[at..].first_chunk().unwrap();
        if big { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    };
    let (at, padding) = if ng {
        // After the first block that is no header: a custom block, as long as can be.
        let mut at = 0;
        while matches!(number(at), 0x0a0d_0d0a | 1) {
            at += number(at + 4) as usize;
        }
        at += number(at + 4) as usize;
        let length = 60_000u32.to_le_bytes();
        let body = vec![0; 60_000 - 12];
        (at, [&0xbadu32.to_le_bytes(), &length, &body[..], &length].concat())
    } else {
        // A frame that nobody reads as IP, at the same time as the first one.
        let version = number(4);
        let length = if version == 0x0002_0002 { number(36) } else { number(32) };
        let octets = if big { 1400u32.to_be_bytes() } else { 1400u32.to_le_bytes() };
        let frame = [&file[24..32], &octets, &octets, &[0xff; 1400]].concat();
        (40 + length as usize, frame)
    };
    let copies = (5 << 18) / padding.len();
    [&file[..at], &padding.repeat(copies), &file[at..]].concat()
}

/// What the program wrote and said.
struct Answer {
    exit: Option<i32>,
    said: String,
    records: Vec<Value>,
}

fn observe(form: &Form, arguments: &[String]) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    let input = if form.pipe { "-" } else { "capture" };
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.current_dir(folder.path()).args(["observe", input, "-o", "x.ndjson"]);
    command.args(form.arguments).args(arguments).env_remove("RUST_LOG");
    command.stderr(Stdio::piped());
    let child = if form.pipe {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        for piece in form.bytes.chunks(1024) {
            // It may have refused the file by now.
            if pipe.write_all(piece).and_then(|()| pipe.flush()).is_err() {
                break;
            }
        }
        child
    } else {
        std::fs::write(folder.path().join("capture"), &form.bytes).unwrap();
        command.stdin(Stdio::null()).spawn().unwrap()
    };
    let output = child.wait_with_output().unwrap();
    let written = std::fs::read_to_string(folder.path().join("x.ndjson")).unwrap_or_default();
    let records = written.lines().map(|line| serde_json::from_str(line).unwrap());
    Answer {
        exit: output.status.code(),
        said: String::from_utf8_lossy(&output.stderr).into_owned(),
        records: records.collect(),
    }
}

fn json(value: &toml::Value) -> Value {
    match value {
        toml::Value::String(text) if text == "NULL" => Value::Null,
        other => serde_json::to_value(other).unwrap(),
    }
}

/// How a record differs from what is expected.
fn differs(expected: &Expected, record: &Value, known: &BTreeMap<String, Expected>) -> Vec<String> {
    let like = expected.get("like").map(|name| &known[name.as_str().unwrap()]);
    let mut all = like.cloned().unwrap_or_default();
    all.extend(expected.clone());
    all.remove("like");
    let differs = all.iter().filter_map(|(column, value)| match record.get(column.as_str()) {
        None => Some(format!("there is no column {column}")),
        Some(found) if *found == json(value) => None,
        Some(found) => Some(format!("{column} is {found}, not {value}")),
    });
    differs.collect()
}

impl Case {
    /// What is not as it should be.
    fn faults(
        &self,
        form: &Form,
        answer: &Answer,
        known: &BTreeMap<String, Expected>,
    ) -> Vec<String> {
        let Answer { exit, said, records } = answer;
        let mut faults = Vec::new();
        if *exit != Some(self.exit) {
            faults.push(format!("it ended with {exit:?}: {said}"));
        }
        if form.whole {
            let packets = self.packets.map(|packets| {
                format!("{packets} packet{}, ", if packets == 1 { "" } else { "s" })
            });
            let says = self.says.iter().chain(&packets).filter(|words| !said.contains(*words));
            faults.extend(says.map(|words| format!("it does not say {words:?}: {said}")));
        }
        let count = self.records.as_ref().map(Vec::len).or(self.count).unwrap_or(0);
        if records.len() != count {
            faults.push(format!("there are {} records, not {count}", records.len()));
            return faults;
        }
        for expected in self.records.iter().flatten() {
            let nearest = records.iter().map(|record| differs(expected, record, known));
            faults.extend(nearest.min_by_key(Vec::len).unwrap());
        }
        for (column, values) in &self.distinct {
            let found: BTreeSet<String> =
                records.iter().map(|each| each[column].to_string()).collect();
            let values: BTreeSet<String> =
                values.iter().map(|each| json(each).to_string()).collect();
            if found != values {
                faults.push(format!("{column} is {found:?}, not {values:?}"));
            }
        }
        faults
    }
}

fn sorted(records: &[Value]) -> Vec<String> {
    let mut lines: Vec<String> = records.iter().map(Value::to_string).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_was_misread_is_read_in_every_form() {
    let cases = include_str!("observe/found.toml");
    let Cases { record, case } = toml::from_str(cases).unwrap();
    let mut faults = Vec::new();
    for case in &case {
        let file = found(&case.file);
        let mut agreed = None;
        for form in forms(&file) {
            let answer = observe(&form, &case.arguments);
            let name = format!("{}, {} ({})", case.file, form.name, case.why);
            let wrong = case.faults(&form, &answer, &record);
            faults.extend(wrong.into_iter().map(|fault| format!("{name}: {fault}")));
            let records = sorted(&answer.records);
            if *agreed.get_or_insert_with(|| records.clone()) != records {
                faults.push(format!("{name}: the records differ from those of the file as it is"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_capture_has_its_case() {
    let Cases { case, .. } = toml::from_str(include_str!("observe/found.toml")).unwrap();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/observe/found");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(case.iter().any(|case| case.file == name), "{name}");
    }
}
