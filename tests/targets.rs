//! Target lists and what is read from them.
//!
//! A case is a list, `tests/targets/NAME.csv`, `.ndjson`, `.json` or `.list`; beside it stands what must come out,
//! `NAME.csv.txt`: the columns, the targets, the lines that were refused and why, or why the whole list was. A list may
//! begin with `# options: default_port=443 names column=rank:int`, of which any may be missing. `UPDATE_GOLDENS=1 cargo
//! test --test targets` accepts what comes out now.

#![expect(clippy::unwrap_used, reason = "a helper of a test may fail like the test")]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

use arrow_array::{Array as _, StructArray};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use pathspider::targets::{FixedColumn, Options, Reader, TOOLS, columns};
use support::golden::Goldens;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/targets");
    let mut cases: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension != "txt"))
        .collect();
    cases.sort();
    cases
}

/// How the list is to be read, and whether targets may have a name only.
fn options(text: &[u8]) -> (Options, bool) {
    let text = String::from_utf8_lossy(text);
    let words = text.strip_prefix("# options: ").and_then(|rest| rest.lines().next());
    let words: Vec<&str> = words.into_iter().flat_map(str::split_whitespace).collect();
    let port = words.iter().find_map(|word| word.strip_prefix("default_port="));
    let default_port = port.map(|port| port.parse().unwrap());
    let columns = words.iter().filter_map(|word| word.strip_prefix("column="));
    let columns = columns.map(|column| FixedColumn::parse(column).unwrap()).collect();
    (Options { default_port, columns, ..Options::default() }, words.contains(&"names"))
}

/// Reads the list in small batches and says what came out, as text.
fn outcome(text: Vec<u8>) -> String {
    let (options, names) = options(&text);
    let size = text.len() as u64;
    let mut reader = match Reader::new(Box::new(Cursor::new(text)), options) {
        Ok(reader) => reader,
        Err(refused) => return format!("refused: {refused}\n"),
    };
    if names {
        reader.names();
    }
    let fields = reader.fields();
    let mut out = String::from("columns\n");
    for field in &fields {
        writeln!(out, "  {}: {}", field.name(), field.data_type()).unwrap();
    }
    out += "targets\n";
    loop {
        let batch = reader.next_batch(2).unwrap();
        if batch.is_empty() {
            break;
        }
        let array = columns(&fields, &batch).unwrap();
        assert_eq!(array.len(), batch.len());
        for row in 0..array.len() {
            writeln!(out, "  {}", shown(&array, row)).unwrap();
        }
    }
    out += "refusals\n";
    for refusal in &reader.refusals().first {
        writeln!(out, "  line {}: {}", refusal.line, refusal.reason).unwrap();
    }
    writeln!(out, "lines: {}, refused: {}", reader.lines_read(), reader.refusals().count).unwrap();
    assert_eq!(reader.progress(), (size, None));
    out
}

fn shown(array: &StructArray, row: usize) -> String {
    let options = FormatOptions::default();
    let fields = array.fields().iter().zip(array.columns());
    let values = fields.filter(|(_, column)| column.is_valid(row)).map(|(field, column)| {
        let text = ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string();
        format!("{}={}", field.name(), text.escape_debug())
    });
    values.collect::<Vec<_>>().join(" | ")
}

#[test]
fn every_list_gives_what_stands_beside_it() {
    let mut goldens = Goldens::default();
    let cases = cases();
    assert!(cases.len() > 15, "the cases are not where they should be");
    for case in cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        let golden = case.with_file_name(format!("{name}.txt"));
        let outcome = outcome(fs::read(&case).unwrap());
        goldens.compare(&golden, &outcome);
    }
    goldens.end();
}

/// Each row of the table of tools has an example, from which one target comes.
#[test]
fn the_list_of_every_tool_is_read() {
    let target = |port| format!("port={port} | name=example.org");
    for tool in TOOLS {
        let text = format!("# options: default_port=80 names\n{}", tool.example);
        let outcome = outcome(text.into_bytes());
        let (_, targets) = outcome.split_once("targets\n").unwrap();
        let (targets, rest) = targets.split_once("refusals\n").unwrap();
        let addressed = targets.replace("ip=192.0.2.1 | ", "");
        let known = [443, 80].iter().any(|port| {
            addressed.trim().starts_with(&target(port))
                || targets.trim().starts_with(&format!("ip=192.0.2.1 | port={port}"))
        });
        assert!(known && targets.lines().count() == 1, "{}: {outcome}", tool.name);
        assert!(rest.ends_with("refused: 0\n"), "{}: {outcome}", tool.name);
    }
}
