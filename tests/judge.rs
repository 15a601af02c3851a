//! `pathspider judge` as its users call it, over results that this test makes.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use arrow_array::{
    Array as _, ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray,
    UInt64Array,
    cast::AsArray as _,
    new_null_array,
    types::{Float64Type, Int64Type},
};
use arrow_schema::{DataType, Field, Fields, Schema};
use arrow_select::concat::concat_batches;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pathspider::measurement::{Plan, SHIPPED};
use pathspider::sink;
use serde_json::Value;

/// More than are read at once.
const RECORDS: usize = 20_000;

fn ecn() -> &'static str {
    SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap().1
}

/// Facts of all kinds, different from column to column; one flow in seven was not observed, one attempt
/// in eleven could not be made.
fn table(fields: &Fields, salt: usize) -> ArrayRef {
    let lost = |row: usize| (row + salt).is_multiple_of(7);
    let local = |row: usize| (row + salt).is_multiple_of(11);
    let columns = fields.iter().enumerate().map(|(number, field)| -> ArrayRef {
        let bit =
            move |row: usize| (row * 31 + salt).wrapping_mul(2_654_435_761 + 2 * number) >> 9 & 1;
        match (field.name().as_str(), field.data_type()) {
            ("state", _) => Arc::new(StringArray::from_iter_values(
                (0..RECORDS).map(|row| if local(row) { "local_error" } else { "ok" }),
            )),
            ("observed", _) => {
                Arc::new((0..RECORDS).map(|row| Some(!lost(row))).collect::<BooleanArray>())
            }
            ("ok", _) => Arc::new(
                (0..RECORDS)
                    .map(|row| (!local(row)).then(|| bit(row) == 1))
                    .collect::<BooleanArray>(),
            ),
            ("answer", _) => Arc::new(
                (0..RECORDS)
                    .map(|row| (!local(row) && bit(row) == 1).then_some("http:4xx"))
                    .collect::<StringArray>(),
            ),
            (_, DataType::Boolean) => Arc::new(
                (0..RECORDS)
                    .map(|row| (!lost(row)).then(|| bit(row) == 1))
                    .collect::<BooleanArray>(),
            ),
            (_, DataType::Int64) => {
                Arc::new((0..RECORDS).map(|row| Some(row as i64 % 9)).collect::<Int64Array>())
            }
            (_, DataType::UInt64) => {
                Arc::new((0..RECORDS).map(|row| Some(row as u64 % 9)).collect::<UInt64Array>())
            }
            (_, data_type) => new_null_array(data_type, RECORDS),
        }
    });
    Arc::new(StructArray::new(fields.clone(), columns.collect(), None))
}

fn records(schema: &Schema) -> RecordBatch {
    let fields = schema.fields().iter().enumerate();
    let tables = fields.map(|(salt, field)| match field.data_type() {
        DataType::Struct(fields) => table(fields, salt),
        other => panic!("{other}"),
    });
    RecordBatch::try_new(Arc::new(schema.clone()), tables.collect()).unwrap()
}

/// A schema as earlier versions had it: counts and durations were unsigned.
fn unsigned(schema: &Schema) -> Schema {
    let older = |field: &Field| match field.data_type() {
        DataType::Int64 => field.clone().with_data_type(DataType::UInt64),
        _ => field.clone(),
    };
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Struct(fields) => {
            let fields: Fields = fields.iter().map(|field| older(field)).collect();
            field.as_ref().clone().with_data_type(DataType::Struct(fields))
        }
        _ => field.as_ref().clone(),
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// Results as a run writes them, with a column of the target list's own.
fn results(folder: &Path) -> (PathBuf, RecordBatch) {
    results_with(folder, Schema::clone)
}

fn results_with(folder: &Path, version: impl Fn(&Schema) -> Schema) -> (PathBuf, RecordBatch) {
    let own: Fields = vec![Field::new("rank", DataType::UInt64, true)].into();
    let plan = Plan::load("ecn.toml", ecn(), &own).unwrap();
    let records = records(&version(&plan.record_schema(&own)));
    let judged = plan.rules.judge(&records).unwrap();
    let path = folder.join("results.parquet");
    let mut sink = sink::open(&path, judged.schema()).unwrap();
    sink.write(&judged).unwrap();
    let metadata = [
        ("version", "0.0.9"),
        ("measurement", ecn()),
        ("kernel", "Linux 6"),
        ("packets_seen", "7"),
    ];
    sink.finish(&metadata.map(|(key, value)| (key.to_owned(), value.to_owned()))).unwrap();
    (path, judged)
}

fn read(path: &Path) -> (RecordBatch, Value) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let pairs = builder.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let pairs = pairs.into_iter().filter(|pair| pair.key != "ARROW:schema");
    let metadata = Value::Object(
        pairs.map(|pair| (pair.key, pair.value.unwrap_or_default().into())).collect(),
    );
    let schema = builder.schema().clone();
    let batches: Vec<RecordBatch> = builder.build().unwrap().map(Result::unwrap).collect();
    (concat_batches(&schema, &batches).unwrap(), metadata)
}

fn judge(arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.arg("judge").args(arguments).stdin(Stdio::null());
    command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

fn flag(text: &str) -> &Path {
    Path::new(text)
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A stored column without the descriptions of its fields.
fn bare(stored: &ArrayRef, like: &DataType) -> ArrayRef {
    match (stored.as_struct_opt(), like) {
        (Some(stored), DataType::Struct(fields)) => {
            let columns = stored.columns().iter().zip(fields);
            let columns = columns.map(|(column, field)| bare(column, field.data_type())).collect();
            Arc::new(StructArray::new(fields.clone(), columns, stored.nulls().cloned()))
        }
        _ => stored.clone(),
    }
}

#[test]
fn the_same_rules_give_the_same_labels() {
    let folder = tempfile::tempdir().unwrap();
    let (path, judged) = results(folder.path());
    let again = folder.path().join("again.parquet");
    let output = judge(&[&path, flag("-o"), &again, flag("--format"), flag("json")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(!stderr(&output).contains("answer"), "{}", stderr(&output));
    let (records, metadata) = read(&again);
    assert_eq!(records.num_rows(), RECORDS);
    let names = |batch: &RecordBatch| -> Vec<String> {
        batch.schema().fields().iter().map(|field| field.name().clone()).collect()
    };
    assert_eq!(names(&records), names(&judged));
    for (number, name) in names(&judged).iter().enumerate() {
        let stored = bare(records.column(number), judged.column(number).data_type());
        assert_eq!(&stored, judged.column(number), "{name}");
    }
    let told = |key: &str| metadata[format!("pathspider.{key}")].as_str().unwrap();
    assert_eq!((told("version"), told("kernel"), told("packets_seen")), ("0.0.9", "Linux 6", "7"));
    assert_eq!(told("measurement"), ecn());
    assert_eq!(told("judged_by"), env!("CARGO_PKG_VERSION"));
    assert!(told("judged").ends_with('Z') && told("measurement_sha256").len() == 64);
    let sql: Value = serde_json::from_str(told("conditions_sql")).unwrap();
    assert!(sql["ecn.connectivity"].as_str().unwrap().starts_with("CASE WHEN "), "{sql}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["records"], RECORDS);
    let counts = summary["conditions"].as_object().unwrap().values();
    let labels: u64 = counts.map(|count| count.as_u64().unwrap()).sum();
    let conditions = records.column_by_name("conditions").unwrap();
    let conditions = arrow_array::cast::as_list_array(conditions);
    assert_eq!(labels, conditions.values().len() as u64);
}

/// Results of a version that did not write `answer` are judged by `ok` alone, and that is said.
#[test]
fn results_without_answers_are_judged_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let plan = Plan::load("ecn.toml", ecn(), &Fields::empty()).unwrap();
    let fields = plan.record_schema(&Fields::empty()).fields().clone();
    let older = fields.iter().map(|field| match field.data_type() {
        DataType::Struct(columns) => {
            let kept = columns.iter().filter(|column| column.name() != "answer").cloned();
            Field::new(field.name(), DataType::Struct(kept.collect()), field.is_nullable())
        }
        _ => field.as_ref().clone(),
    });
    let records = records(&Schema::new(older.collect::<Vec<_>>()));
    let path = folder.path().join("older.parquet");
    let mut sink = sink::open(&path, records.schema()).unwrap();
    sink.write(&records).unwrap();
    sink.finish(&[("measurement".to_owned(), ecn().to_owned())]).unwrap();
    let again = folder.path().join("again.parquet");
    let output = judge(&[&path, flag("-o"), &again]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("no column `answer`"), "{}", stderr(&output));
    let (judged, metadata) = read(&again);
    let sql: Value =
        serde_json::from_str(metadata["pathspider.conditions_sql"].as_str().unwrap()).unwrap();
    assert!(!sql["ecn.connectivity"].as_str().unwrap().contains("answer"), "{sql}");
    assert_eq!(judged.num_rows(), RECORDS);
}

#[test]
fn other_rules_give_other_labels() {
    let folder = tempfile::tempdir().unwrap();
    let (path, judged) = results(folder.path());
    let other = folder.path().join("other.toml");
    let (head, _) = ecn().split_once("[[conditions]]").unwrap();
    // Without labels to locate, which the conditions left out give.
    let head = head.replace(
        "[locate]\nlabels = [\"ecn.connectivity.broken\", \"ecn.negotiation.failed\"]\n",
        "",
    );
    let rule = "[[conditions]]\nname = \"rank\"\nvalue = \"target.rank % 2\"\n";
    fs::write(&other, format!("{head}{rule}")).unwrap();
    let lines = folder.path().join("again.ndjson");
    let output = judge(&[&path, flag("--measurement"), &other, flag("-o"), &lines]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("rank:0") && said.contains("20,000 records"), "{said}");
    let text = fs::read_to_string(&lines).unwrap();
    assert_eq!(text.lines().count(), judged.num_rows());
    let record: Value = serde_json::from_str(text.lines().nth(3).unwrap()).unwrap();
    assert_eq!(record["verdict"], serde_json::json!({ "rank": "1" }));
    assert_eq!(record["conditions"], serde_json::json!(["rank:1"]));
}

/// Writes a file anew with each of its writers and codecs, and prints the names.
const WRITE_ANEW: &str = r#"
import sys, duckdb, polars, pyarrow.parquet as pq
source, folder = sys.argv[1:]
table = pq.read_table(source)
for codec in ("snappy", "gzip", "lz4", "zstd", "none"):
    for dictionary in (True, False):
        name = f"{folder}/pyarrow-{codec}-{dictionary}.parquet"
        pq.write_table(table, name, compression=codec, use_dictionary=dictionary, data_page_version="2.0")
        print(name)
for codec in ("snappy", "gzip", "zstd", "lz4_raw", "uncompressed"):
    name = f"{folder}/duckdb-{codec}.parquet"
    duckdb.execute(f"COPY (SELECT * FROM '{source}') TO '{name}' (FORMAT parquet, CODEC '{codec}')")
    print(name)
for codec in ("snappy", "gzip", "zstd", "lz4", "uncompressed"):
    name = f"{folder}/polars-{codec}.parquet"
    polars.read_parquet(source).write_parquet(name, compression=codec)
    print(name)
"#;

fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    assert!(python.exists(), "no {}: make test-setup", python.display());
    python
}

#[test]
fn files_of_other_programs_are_judged() {
    let folder = tempfile::tempdir().unwrap();
    let (path, judged) = results(folder.path());
    let anew = folder.path().join("anew");
    fs::create_dir(&anew).unwrap();
    let output = Command::new(python()).args(["-c", WRITE_ANEW]).arg(&path).arg(&anew).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let files = String::from_utf8(output.stdout).unwrap();
    assert_eq!(files.lines().count(), 20);
    let words = |batch: &RecordBatch, of: &str| -> Vec<Vec<Option<String>>> {
        let of = batch.column_by_name(of).unwrap().as_struct().clone();
        let texts = of.columns().iter().map(|column| pathspider::rule::words(column).unwrap());
        texts.map(|texts| texts.iter().map(|text| text.map(str::to_owned)).collect()).collect()
    };
    let again = folder.path().join("again.parquet");
    for file in files.lines().map(Path::new) {
        // DuckDB and Polars drop the metadata, and with them the measurement.
        let output = judge(&[file, flag("-m"), flag("ecn"), flag("-o"), &again]);
        assert_eq!(output.status.code(), Some(0), "{}: {}", file.display(), stderr(&output));
        assert!(stderr(&output).contains("no checksums"), "{}", stderr(&output));
        let (records, _) = read(&again);
        for of in ["verdict", "insufficient"] {
            assert_eq!(words(&records, of), words(&judged, of), "{}", file.display());
        }
    }
}

#[test]
fn polars_reads_lines_with_its_defaults() {
    const READ: &str = r#"
import sys, polars
lines, records = polars.read_ndjson(sys.argv[1]), polars.read_parquet(sys.argv[2])
assert lines.height == records.height, lines.height
for column in ("zero", "one", "verdict", "insufficient", "target"):
    a, b = lines[column].struct.unnest(), records[column].struct.unnest()
    for name in b.columns:
        if b[name].null_count() < b.height:
            a_values, b_values = a[name].drop_nulls(), b[name].drop_nulls().cast(a[name].dtype)
            assert a_values.sort().equals(b_values.sort()), (column, name, a[name].dtype)
"#;
    let folder = tempfile::tempdir().unwrap();
    let (_, judged) = results(folder.path());
    // A column that is text once, late.
    let (fields, mut columns, nulls) =
        judged.column_by_name("one").unwrap().as_struct().clone().into_parts();
    let late = |row: usize| (row == RECORDS - 7).then_some("Connection refused");
    columns[fields.find("error").unwrap().0] =
        Arc::new((0..RECORDS).map(late).collect::<StringArray>());
    let one = judged.schema().index_of("one").unwrap();
    let mut all = judged.columns().to_vec();
    all[one] = Arc::new(StructArray::new(fields, columns, nulls));
    let judged = RecordBatch::try_new(judged.schema(), all).unwrap();
    let files = ["x.ndjson", "x.parquet"].map(|name| folder.path().join(name));
    for file in &files {
        let mut sink = sink::open(file, judged.schema()).unwrap();
        sink.write(&judged).unwrap();
        sink.finish(&[]).unwrap();
    }
    let output = Command::new(python()).args(["-c", READ]).args(&files).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn origins_of_targets_are_added_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let own: Fields = Fields::empty();
    let plan = Plan::load("ecn.toml", ecn(), &own).unwrap();
    let facts = records(&plan.record_schema(&own));
    // Other addresses than those of `table`, which has none.
    let ip = Arc::new(
        (0..RECORDS)
            .map(|row| (row % 3 > 0).then(|| format!("192.0.{}.7", row % 3)))
            .collect::<StringArray>(),
    );
    let (fields, mut columns, nulls) =
        facts.column_by_name("target").unwrap().as_struct().clone().into_parts();
    columns[fields.find("ip").unwrap().0] = ip;
    let mut all = facts.columns().to_vec();
    all[0] = Arc::new(StructArray::new(fields, columns, nulls));
    let facts = RecordBatch::try_new(facts.schema(), all).unwrap();
    let path = folder.path().join("results.parquet");
    let mut sink = sink::open(&path, facts.schema()).unwrap();
    sink.write(&facts).unwrap();
    sink.finish(&[("measurement".to_owned(), ecn().to_owned())]).unwrap();
    let (table, first) = (folder.path().join("table"), folder.path().join("first.parquet"));
    let last = folder.path().join("last.parquet");
    for (text, from, to, expected) in [
        ("192.0.1.0 24 64496_64497\n", &path, &first, [None, Some(vec![64496, 64497]), None]),
        ("192.0.0.0 16 64498\n", &first, &last, [None, Some(vec![64498]), Some(vec![64498])]),
    ] {
        fs::write(&table, text).unwrap();
        let output = judge(&[from, flag("--as-table"), &table, flag("-o"), to]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let (records, metadata) = read(to);
        let target = records.column_by_name("target").unwrap().as_struct();
        let asn = target.column_by_name("asn").unwrap().as_list::<i32>();
        let found = asn
            .iter()
            .take(3)
            .map(|list| list.map(|list| list.as_primitive::<Int64Type>().values().to_vec()));
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(target.fields().iter().filter(|field| field.name() == "asn").count(), 1);
        assert_eq!(metadata["pathspider.as_table_format"], "pfx2as");
        let said = metadata["pathspider.as_table_bytes"].as_str().unwrap();
        assert_eq!(said, text.len().to_string());
    }
    fs::write(&table, "192.0.1.0 24\n").unwrap();
    let output = judge(&[&path, flag("--as-table"), &table, flag("-o"), &last]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("line 1: it is neither"), "{}", stderr(&output));
}

#[test]
fn what_cannot_be_judged_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = results(folder.path());
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let whole = fs::read(&path).unwrap();
    let truncated = file("truncated.parquet", &whole[..whole.len() / 2]);
    let empty = file("empty.parquet", b"");
    let text = file("text.parquet", ecn().as_bytes());
    let link = folder.path().join("link.parquet");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let foreign = folder.path().join("foreign.parquet");
    let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Boolean, true)]));
    sink::open(&foreign, schema).unwrap().finish(&[]).unwrap();
    let nameless = folder.path().join("nameless.parquet");
    let plan = Plan::load("ecn.toml", ecn(), &Fields::empty()).unwrap();
    let schema = Arc::new(plan.record_schema(&Fields::empty()));
    sink::open(&nameless, schema).unwrap().finish(&[]).unwrap();
    // Facts that these results have not, and a column that no target list gave.
    let mistaken = ecn().replace("one.tcp_synack_ece\"", "one.tcp_synack_ece OR target.age > 3\"");
    let mistaken = file("mistaken.toml", mistaken.as_bytes());
    let narrow = folder.path().join("narrow.parquet");
    let narrow_plan = Plan::load(
        "narrow.toml",
        "name = \"narrow\"\n[config.zero]\n[config.one]\n[connect]\n[observer]\n",
        &Fields::empty(),
    );
    let narrow_plan = narrow_plan.unwrap_or_else(|report| panic!("{report}"));
    let schema = Arc::new(narrow_plan.record_schema(&Fields::empty()));
    sink::open(&narrow, schema).unwrap().finish(&[]).unwrap();
    let out = folder.path().join("out.parquet");
    let ecn = flag("ecn");
    for (results, measurement, output, code, expected) in [
        (&truncated, None, &out, 2, "not whole"),
        (&empty, None, &out, 2, "not a Parquet file"),
        (&text, None, &out, 2, "not a Parquet file"),
        (&foreign, None, &out, 2, "not a result of pathspider"),
        (&nameless, None, &out, 2, "--measurement"),
        (&folder.path().join("no.parquet"), None, &out, 1, "no.parquet"),
        (&folder.path().to_owned(), None, &out, 2, "not a regular file"),
        (&path, None, &path, 2, "choose another name"),
        (&path, None, &link, 2, "choose another name"),
        (&path, Some(mistaken.as_path()), &out, 2, "unknown column `target.age`"),
        (&narrow, Some(ecn), &out, 2, "the results do not have it"),
        (&narrow, Some(ecn), &out, 2, "ecn.toml (compiled in):"),
    ] {
        let mut arguments: Vec<&Path> = vec![results, flag("-o"), output];
        if let Some(measurement) = measurement {
            arguments.extend([flag("-m"), measurement]);
        }
        let output = judge(&arguments);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        // Where a name is searched, the repository's own folder comes first.
        let expected = expected.replace("ecn.toml (compiled in):", "ecn.toml:");
        assert!(said.contains(&expected), "{arguments:?}: {said}");
        assert!(!out.exists());
    }
    assert_eq!(fs::read(&path).unwrap(), whole, "the results are not as they were");
}

/// Broken pages are an error, at the latest when they are read; the sum of a page is not checked, so
/// that damage may also go unnoticed, but never ends in a panic.
#[test]
fn damage_is_never_a_panic() {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = results(folder.path());
    let whole = fs::read(&path).unwrap();
    let broken = folder.path().join("broken.parquet");
    for part in 1..12 {
        let mut bytes = whole.clone();
        let at = bytes.len() * part / 12;
        for byte in bytes.iter_mut().skip(at).take(40) {
            *byte ^= 0x5A;
        }
        fs::write(&broken, bytes).unwrap();
        let output = judge(&[&broken, flag("-o"), &folder.path().join("out.parquet")]);
        let said = stderr(&output);
        assert!(matches!(output.status.code(), Some(0..=2)), "{part}: {said}");
        assert!(!said.contains("panicked"), "{part}: {said}");
    }
}

/// Round trips are 0 to 8 ns here, the same under both configurations.
const METRICS: &str = r#"
name = "metrics"

[config.zero]

[config.one]

[observer]
use = ["basic", "tcp"]

[[conditions]]
name = "rtt"
value = "one.tcp_handshake_rtt"

[[metrics]]
name = "rtt.difference"
value = "one.tcp_handshake_rtt - 2 * zero.tcp_handshake_rtt"
unit = "us"

[[metrics]]
name = "rtt.raw"
given = "one.ok"
value = "one.tcp_handshake_rtt"
"#;

#[test]
fn metrics_are_computed_from_facts_and_summarised() {
    metrics_of(Schema::clone);
}

#[test]
fn unsigned_facts_of_earlier_versions_are_judged_alike() {
    metrics_of(unsigned);
}

fn metrics_of(version: impl Fn(&Schema) -> Schema) {
    let folder = tempfile::tempdir().unwrap();
    let (path, _) = results_with(folder.path(), version);
    let (file, out) = (folder.path().join("metrics.toml"), folder.path().join("out.parquet"));
    fs::write(&file, METRICS).unwrap();
    let output = judge(&[
        &path,
        flag("--measurement"),
        &file,
        flag("-o"),
        &out,
        flag("--format"),
        flag("json"),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let (records, metadata) = read(&out);
    let column = |table: &str, name: &str| {
        let table = records.column_by_name(table).unwrap().as_struct();
        table.column_by_name(name).unwrap().clone()
    };
    let (difference, raw) = (column("metric", "rtt_difference"), column("metric", "rtt_raw"));
    let difference = difference.as_primitive::<Float64Type>();
    let raw = raw.as_primitive::<Int64Type>();
    let local: Vec<bool> = ["zero", "one"]
        .map(|table| column(table, "state").as_string::<i32>().clone())
        .iter()
        .fold(vec![false; RECORDS], |local, states| {
            let failed = states.iter().map(|state| state == Some("local_error"));
            local.into_iter().zip(failed).map(|(a, b)| a || b).collect()
        });
    let ok = column("one", "ok").as_boolean().clone();
    for (row, failed) in local.iter().enumerate() {
        let rtt = row as f64 % 9.0;
        // A negative number, whether the columns are signed or not; nothing where this host failed.
        let expected = (!failed).then_some(-rtt / 1000.0);
        assert_eq!(difference.is_valid(row).then(|| difference.value(row)), expected, "{row}");
        let applies = ok.is_valid(row) && ok.value(row);
        let expected = applies.then_some(rtt as i64);
        assert_eq!(raw.is_valid(row).then(|| raw.value(row)), expected, "{row}");
    }
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = &summary["metrics"]["rtt.difference"];
    assert_eq!(of["n"], local.iter().filter(|local| !**local).count());
    assert_eq!(
        (&of["unit"], &of["min"], &of["max"]),
        (&"us".into(), &(-0.008).into(), &0.0.into())
    );
    assert_eq!((&of["median"], &of["sample"]), (&(-0.004).into(), &Value::Null));
    assert_eq!(of["median_interval"], serde_json::json!([-0.004, -0.004]));
    let of = &summary["metrics"]["rtt.raw"];
    assert_eq!((&of["unit"], &of["p90"]), (&"ns".into(), &8.0.into()));
    assert_eq!(of["median_interval"], Value::Null, "there is nothing to pair");
    assert_eq!(summary["values"], serde_json::json!({}), "nine different numbers are labels");
    let sql: Value =
        serde_json::from_str(metadata["pathspider.metrics_sql"].as_str().unwrap()).unwrap();
    assert!(sql["rtt.difference"].as_str().unwrap().contains("TRY("), "{sql}");

    let output = judge(&[&path, flag("--measurement"), &file, flag("-o"), &out]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("rtt.difference")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..2], ["rtt.difference", "(us)"], "{text}");
    assert_eq!(
        words[3..],
        ["-0.004000", "[-0.004000,", "-0.004000]", "-0.008000", "0", "-0.008000", "0"],
        "{text}"
    );
}
