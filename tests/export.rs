//! What `export` and `describe` make of a result, and what a result says of itself.
//!
//! One run over a lab without faults gives the results; each test reads them with other code than the program's own.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{Array as _, ArrayRef, RecordBatch};
use arrow_schema::DataType;
use arrow_select::concat::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pathspider::run::keys::{self, Kind};
use pathspider::sink::{Folder, PartsSink, Sink as _, Stored};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::{namespaces, pathspider, stderr};

/// Text of strangers, in a column of the target list.
const NOTES: [&str; 4] =
    ["=HYPERLINK(\"http://x\",\"y\")", "two\nlines, \"quoted\"", "plain", "-1\\n"];
const OPT_OUTS: &str = "# opted out\n198.51.100.0/24\nexample.com\n";

/// A run over a small lab, into a folder and into a file.
struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listed = pathspider().args(["lab", "targets", "--size", "2"]).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let lines = listed.lines().zip(NOTES).map(|(line, note)| {
            let mut target: Value = serde_json::from_str(line).unwrap();
            target["note"] = note.into();
            format!("{target}\n")
        });
        let excluded = "{\"dip\": \"198.51.100.7\", \"dp\": 80}\n";
        let list = lines.collect::<String>() + excluded;
        fs::write(folder.path().join("targets.ndjson"), list).unwrap();
        fs::write(folder.path().join("optouts"), OPT_OUTS).unwrap();
        let lab = Self { folder };
        for output in ["ecn.parquet", "parts/"] {
            let output = lab.inside(&format!(
                "run ecn --targets targets.ndjson --allow-reserved --exclude optouts --rate 50 \
                 --vantage zrh-1 --note one --note =2 -o {output}"
            ));
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        }
        lab
    }

    /// A command of the program in the lab, with words that have no spaces.
    fn inside(&self, line: &str) -> Output {
        let mut command = pathspider();
        command.args(["lab", "shell", "--size", "2", "--", env!("CARGO_BIN_EXE_pathspider")]);
        command.args(line.split_whitespace()).current_dir(self.folder.path()).output().unwrap()
    }

    fn command(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_pathspider"))
            .args(words)
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// A command that succeeds.
    #[track_caller]
    fn done(&self, words: &[&str]) -> String {
        let output = self.command(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn metadata(&self, name: &str) -> BTreeMap<String, String> {
        Stored::open(&self.path(name)).unwrap().metadata().into_iter().collect()
    }
}

/// The lab, if one can be built here.
fn lab() -> Option<&'static Lab> {
    static LAB: LazyLock<Option<Lab>> = LazyLock::new(|| namespaces().then(Lab::new));
    LAB.as_ref()
}

/// The values of a column without a dictionary.
fn plain(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Dictionary(_, values) => arrow_cast::cast(column, values).unwrap(),
        _ => column.clone(),
    }
}

fn parquet(path: &Path) -> RecordBatch {
    let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    concat_batches(&schema, &batches).unwrap()
}

#[test]
fn every_key_of_the_metadata_is_documented_and_has_its_kind() {
    let Some(lab) = lab() else { return };
    let metadata = lab.metadata("ecn.parquet");
    for (name, value) in &metadata {
        let key = keys::find(name).unwrap_or_else(|| panic!("{name} is not documented"));
        assert!(key.kind.fits(value), "{name}: {value}");
    }
    // Every limit has its value, whether it was given or not.
    let limits = keys::KEYS.iter().filter(|key| key.kind == Kind::Limit);
    assert!(
        limits.clone().count() >= 3 && limits.clone().all(|key| metadata.contains_key(key.name))
    );
    for (key, value) in [
        ("vantage", "zrh-1"),
        ("notes", r#"["one","=2"]"#),
        ("rate", "50"),
        ("rate_per_address", "10"),
        ("rate_per_prefix", "50"),
        ("prefix_lengths", "24,56"),
        ("allow_reserved", "true"),
        ("concurrency", "1000"),
        ("max_packets_per_target", "2000"),
        ("complete", "true"),
        ("lines_without_target", "0"),
        ("targets_left_out", "1"),
    ] {
        assert_eq!(metadata[key], value, "{key}");
    }
    let json = |key: &str| -> Value { serde_json::from_str(&metadata[key]).unwrap() };
    let digest: String =
        Sha256::digest(OPT_OUTS.as_bytes()).iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(
        json("exclude"),
        json!([{ "path": "optouts", "bytes": OPT_OUTS.len(), "sha256": digest, "entries": 2 }])
    );
    assert_eq!(json("configurations")["one"]["timeout"], 3.0);
    assert!(
        json("source_addresses").as_array().unwrap().len() >= 2,
        "{}",
        json("source_addresses")
    );
    assert!(json("clock_started")["synchronised"].is_boolean());
    // The kernel's value before, and those of the steps.
    assert!(json("sysctls")["net.ipv4.tcp_ecn"].is_string());
    assert_eq!(json("sysctls_set")["one"]["net.ipv4.tcp_ecn"], "1");
}

#[test]
fn a_part_does_not_say_that_the_run_is_incomplete() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("parts");
    let column = arrow_array::UInt64Array::from(vec![1]);
    let field = arrow_schema::Field::new("position", arrow_schema::DataType::UInt64, false);
    let described = field.with_metadata([("unit".to_owned(), "lines".to_owned())]);
    let schema = std::sync::Arc::new(arrow_schema::Schema::new(vec![described]));
    let batch = RecordBatch::try_new(schema.clone(), vec![std::sync::Arc::new(column)]).unwrap();
    let mut sink =
        PartsSink::new(Folder::begin(&path, &path).unwrap(), schema, &["attempts_ok"]).unwrap();
    for _ in 0..2 {
        sink.write(&batch).unwrap();
        sink.checkpoint(Duration::MAX, &Vec::new).unwrap();
    }
    Box::new(sink).finish(&[]).unwrap();
    // Only the first part takes the room for descriptions.
    let units: Vec<usize> = pathspider::sink::check(&path, &mut |_| ())
        .unwrap()
        .files
        .iter()
        .map(|file| Stored::open(file).unwrap().schema().field(0).metadata().len())
        .collect();
    assert_eq!(units, [1, 0]);
    let Some(lab) = lab() else { return };
    let run = fs::read_dir(lab.path("parts")).unwrap();
    assert!(run.count() >= 2);
    let about: Value =
        serde_json::from_str(&lab.done(&["describe", "parts", "--format", "json"])).unwrap();
    assert_eq!((&about["metadata"]["complete"], &about["records"]), (&json!("true"), &json!(4)));
}

#[test]
fn columns_say_what_they_mean_in_every_output() {
    let Some(lab) = lab() else { return };
    lab.done(&["judge", "ecn.parquet", "-o", "judged.parquet"]);
    lab.done(&["merge", "parts", "-o", "merged.parquet"]);
    lab.done(&["export", "ecn.parquet", "-o", "described.parquet"]);
    for name in ["ecn.parquet", "judged.parquet", "merged.parquet"] {
        let stored = Stored::open(&lab.path(name)).unwrap();
        for field in stored.schema().fields() {
            let arrow_schema::DataType::Struct(inside) = field.data_type() else {
                assert!(field.metadata().contains_key("description"), "{name}: {}", field.name());
                continue;
            };
            for inside in inside {
                let at = format!("{name}: {}.{}", field.name(), inside.name());
                assert!(inside.metadata()["description"].len() > 5, "{at}");
                assert!(!inside.metadata()["filled_by"].is_empty(), "{at}");
            }
        }
    }
    let stored = Stored::open(&lab.path("described.parquet")).unwrap();
    let rtt = stored.schema().field_with_name("one.tcp_handshake_rtt").unwrap();
    assert_eq!(rtt.metadata()["unit"], "ns");
    assert_eq!(rtt.metadata()["filled_by"], "observer (tcp_handshake)");
}

#[test]
fn flat_records_have_the_values_of_the_nested_ones_in_every_format() {
    let Some(lab) = lab() else { return };
    let nested = parquet(&lab.path("ecn.parquet"));
    for name in ["flat.parquet", "flat.arrow", "flat.csv", "flat.ndjson"] {
        lab.done(&["export", "ecn.parquet", "-o", name]);
    }
    let flat = parquet(&lab.path("flat.parquet"));
    let arrow = arrow_ipc::reader::FileReader::try_new(
        fs::File::open(lab.path("flat.arrow")).unwrap(),
        None,
    );
    let arrow: Vec<RecordBatch> = arrow.unwrap().map(Result::unwrap).collect();
    for (arrow, flat) in arrow[0].columns().iter().zip(flat.columns()) {
        assert_eq!(&plain(arrow), &plain(flat));
    }
    assert_eq!(arrow[0].schema_ref().metadata()["pathspider.vantage"], "zrh-1");
    let mut csv = csv::Reader::from_path(lab.path("flat.csv")).unwrap();
    let header: Vec<String> = csv.headers().unwrap().iter().map(str::to_owned).collect();
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    let lines = support::records(&lab.path("flat.ndjson"));
    let mut compared = 0;
    for (table, column) in nested.schema_ref().fields().iter().zip(nested.columns()) {
        let Some(inside) = column.as_struct_opt() else { continue };
        for (name, column) in inside.column_names().iter().zip(inside.columns()) {
            if column.as_struct_opt().is_some() {
                continue;
            }
            let name = format!("{}.{name}", table.name());
            assert_eq!(flat.column_by_name(&name).unwrap(), column, "{name}");
            let at = header.iter().position(|known| *known == name).unwrap();
            for (row, cells) in rows.iter().enumerate() {
                let (cell, value) = (&cells[at], &lines[row][&*name]);
                match value {
                    Value::Null => assert_eq!(cell, "", "{name}"),
                    Value::String(text) => assert_eq!(&unescaped(cell), text, "{name}"),
                    other => assert_eq!(cell, other.to_string(), "{name}"),
                }
                compared += 1;
            }
        }
    }
    assert!(compared > 400, "{compared}");
    let notes: Vec<&str> = lines.iter().map(|line| line["target.note"].as_str().unwrap()).collect();
    assert!(NOTES.iter().all(|note| notes.contains(note)), "{notes:?}");
    // A spreadsheet sees neither a formula nor a second line.
    let text = fs::read_to_string(lab.path("flat.csv")).unwrap();
    assert_eq!(text.lines().count(), 1 + rows.len(), "{text}");
    assert!(text.contains("\"'=HYPERLINK(") && text.contains("\"'-1\\\\n\""), "{text}");
}

/// A cell's text, as the guide says.
fn unescaped(cell: &str) -> String {
    let cell = cell.strip_prefix('\'').unwrap_or(cell).replace('"', "\\\"");
    serde_json::from_str(&format!("\"{cell}\"")).unwrap()
}

#[test]
fn columns_and_records_are_chosen() {
    let Some(lab) = lab() else { return };
    let rows = |more: &[&str]| -> Vec<Value> {
        let text = lab.done(&[&["export", "ecn.parquet", "--as", "ndjson"], more].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let chosen = rows(&["--columns", "position,*.ok", "--where", "position = 2 AND NOT control"]);
    assert_eq!(chosen, [json!({ "position": 2, "zero.ok": true, "one.ok": true })]);
    assert_eq!(rows(&["--where", "one.ok IS NULL"]), Vec::<Value>::new());
    assert_eq!(rows(&["--where", "verdict.ecn_connectivity = 'works'"]).len(), 4);
    let metadata = || {
        lab.done(&["export", "ecn.parquet", "-o", "two.parquet", "--where", "position < 3"]);
        lab.metadata("two.parquet")
    };
    let metadata = metadata();
    assert_eq!((&*metadata["records"], &*metadata["exported_where"]), ("2", "position < 3"));
    assert_eq!((metadata.get("conditions_sql"), &*metadata["vantage"]), (None, "zrh-1"));
    lab.done(&["verify", "two.parquet"]);
}

#[test]
fn several_results_become_one_table() {
    let Some(lab) = lab() else { return };
    lab.done(&[
        "export",
        "ecn.parquet",
        "parts",
        "-o",
        "both.parquet",
        "--columns",
        "position,flags",
    ]);
    let both = parquet(&lab.path("both.parquet"));
    let names: Vec<String> =
        both.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(
        (names, both.num_rows()),
        (vec!["position".into(), "flags".into(), "result".into()], 8)
    );
    let result = both.column_by_name("result").unwrap().as_string::<i32>();
    assert_eq!((result.value(0), result.value(7)), ("ecn.parquet", "parts"));
    let mut positions: Vec<i64> = both.column(0).as_primitive::<Int64Type>().values().to_vec();
    positions.sort_unstable();
    assert_eq!(positions, [1, 1, 2, 2, 3, 3, 4, 4]);
    // A column of one of them alone is NULL in the other.
    lab.done(&["export", "ecn.parquet", "-o", "some.parquet", "--columns", "position,one.ok"]);
    let json =
        lab.done(&["export", "some.parquet", "parts", "--as", "ndjson", "--columns", "zero.ok"]);
    assert_eq!(json.lines().filter(|line| line.contains("\"zero.ok\":null")).count(), 4, "{json}");
}

#[test]
fn mistakes_name_what_to_write() {
    let Some(lab) = lab() else { return };
    let spoilt = fs::read(lab.path("ecn.parquet")).unwrap();
    let half = spoilt.len() / 2;
    let mut bytes = spoilt;
    bytes[half] ^= 0xff;
    fs::write(lab.path("spoilt.parquet"), bytes).unwrap();
    for (words, exit, expected) in [
        (&["export", "ecn.parquet", "--columns", "one.okk"][..], 2, "did you mean `one.ok`?"),
        (&["export", "ecn.parquet", "--where", "one.okk"], 2, "did you mean `one.ok`?"),
        (&["export", "ecn.parquet", "--where", "flags"], 2, "unknown column `flags`"),
        (&["export", "ecn.parquet", "-o", "x.xlsx"], 2, "must end in .parquet, .csv, .arrow"),
        (&["export", "ecn.parquet", "-o", "ecn.parquet"], 2, "this is an input file"),
        (&["export", "nothing.parquet"], 1, "nothing.parquet"),
        (&["export", "spoilt.parquet"], 2, "is spoiled"),
        (&["describe", "spoilt.parquet"], 2, "is spoiled"),
        (&["describe", "targets.ndjson"], 2, "targets.ndjson"),
    ] {
        let output = lab.command(words);
        assert_eq!(output.status.code(), Some(exit), "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{words:?}: {}", stderr(&output));
    }
    // Of a folder, what is whole can be exported, and the exit code says that something is missing.
    let parts: Vec<PathBuf> =
        pathspider::sink::check(&lab.path("parts"), &mut |_| ()).unwrap().files;
    let copy = lab.path("copy");
    fs::create_dir(&copy).unwrap();
    fs::copy(&parts[0], copy.join("part-00000.parquet")).unwrap();
    fs::copy(lab.path("spoilt.parquet"), copy.join("part-00001.parquet")).unwrap();
    assert_eq!(lab.command(&["export", "copy"]).status.code(), Some(2));
    assert_eq!(lab.command(&["export", "copy", "--allow-incomplete"]).status.code(), Some(3));
}

#[test]
fn a_description_counts_what_is_there() {
    let Some(lab) = lab() else { return };
    let about: Value =
        serde_json::from_str(&lab.done(&["describe", "ecn.parquet", "--format", "json"])).unwrap();
    let column = |name: &str| -> Value {
        let columns = about["columns"].as_array().unwrap();
        columns.iter().find(|column| column["name"] == name).unwrap().clone()
    };
    let nested = parquet(&lab.path("ecn.parquet"));
    for table in ["zero", "one", "verdict", "insufficient"] {
        let inside = nested.column_by_name(table).unwrap().as_struct();
        for (name, values) in inside.column_names().iter().zip(inside.columns()) {
            let column = column(&format!("{table}.{name}"));
            assert_eq!(column["nulls"], values.null_count(), "{table}.{name}");
            assert!(column["description"].as_str().unwrap().len() > 5, "{table}.{name}");
        }
    }
    assert_eq!(column("zero.tcp_handshake_rtt")["unit"], "ns");
    assert_eq!(column("one.error")["null_share"], 1.0);
    let labels = &about["conditions"][0]["labels"];
    assert_eq!(
        (&labels[0]["label"], &labels[0]["records"], &labels[0]["share"]),
        (&json!("ecn.connectivity.works"), &json!(4), &json!(1.0))
    );
    assert!(labels[0]["meaning"].as_str().unwrap().contains("complete under zero and under one"));
    let text = lab.done(&["describe", "parts"]);
    for words in
        ["Columns of zero and one", "tcp_handshake_rtt", "Condition ecn.negotiation", "zrh-1"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
}

/// A file of an earlier version has no descriptions; the program's own registries have.
#[test]
fn old_results_are_described_by_the_programs_own_words() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify/old");
    let output =
        pathspider().arg("describe").arg(&old).args(["--format", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let about: Value = serde_json::from_slice(&output.stdout).unwrap();
    let columns = about["columns"].as_array().unwrap();
    let known = columns.iter().filter(|column| column["description"].is_string()).count();
    assert_eq!(known, columns.len(), "{about}");
    assert!(columns.len() > 20 && about["records"].as_u64() > Some(0), "{about}");
}
