//! What is written can be read, and a failed write leaves nothing.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    ArrayRef, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    TimestampNanosecondArray, types::Int32Type,
};
use arrow_schema::{DataType, Field, TimeUnit};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use sha2::{Digest as _, Sha256};

use super::ndjson::NdjsonSink;
use super::parquet::ParquetSink;
use super::temporary::Temporary;
use super::{
    Folder, JOURNAL, PartsSink, RECORDS, RUN, SingleSink, Sink as _, Stored, discard, open,
    parts_of,
};
use crate::error::Error;
use crate::files::Place;
use crate::hex::hex;

fn batch(rows: i64) -> RecordBatch {
    let started: ArrayRef = Arc::new(
        TimestampNanosecondArray::from_iter(
            (0..rows).map(|row| (row != 1).then_some(row * 1_000_000_007)),
        )
        .with_timezone("UTC"),
    );
    let utc = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    let ok: ArrayRef = Arc::new(BooleanArray::from_iter((0..rows).map(|row| Some(row % 2 == 0))));
    let zero = StructArray::from(vec![
        (Arc::new(Field::new("started", utc, true)), started),
        (Arc::new(Field::new("ok", DataType::Boolean, true)), ok),
    ]);
    let name =
        StringArray::from_iter((0..rows).map(|row| (row != 1).then(|| format!("host {row}"))));
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>(
        (0..rows).map(|row| (row != 1).then(|| vec![Some(row as i32), None])),
    );
    RecordBatch::try_from_iter_with_nullable([
        ("name", Arc::new(name) as ArrayRef, true),
        ("zero", Arc::new(zero), true),
        ("list", Arc::new(list), true),
    ])
    .unwrap()
}

fn metadata() -> Vec<(String, String)> {
    vec![("version".into(), "1".into()), ("measurement".into(), "name = \"x\"\n".into())]
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn parquet_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.parquet");
    let batch = batch(1000);
    let mut sink = open(&path, batch.schema()).unwrap();
    sink.write(&batch).unwrap();
    sink.write(&batch).unwrap();
    let written = sink.finish(&metadata()).unwrap();
    assert_eq!((written.rows, &written.path), (2000, &path));
    assert_eq!(written.bytes, fs::metadata(&path).unwrap().len());
    assert_eq!(names(folder.path()), ["out.parquet"]);

    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    let stored = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let find = |key: &str| stored.iter().find(|kv| kv.key == key).and_then(|kv| kv.value.clone());
    assert_eq!(find("pathspider.measurement").as_deref(), Some("name = \"x\"\n"));
    assert_eq!(find("pathspider.version").as_deref(), Some("1"));
    let read: Vec<RecordBatch> =
        reader.with_batch_size(1000).build().unwrap().map(Result::unwrap).collect();
    assert_eq!(read[0].columns(), batch.columns());
    assert_eq!(read[1].columns(), batch.columns());
}

#[test]
fn row_groups_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.parquet");
    let batch = batch(50_000);
    let mut sink = open(&path, batch.schema()).unwrap();
    for _ in 0..3 {
        sink.write(&batch).unwrap();
    }
    sink.finish(&[]).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
    let groups: Vec<i64> = reader.metadata().row_groups().iter().map(|g| g.num_rows()).collect();
    assert_eq!(groups, [65_536, 65_536, 18_928]);
}

#[test]
fn ndjson_has_every_column_in_every_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.ndjson");
    let batch = batch(2);
    let mut sink = open(&path, batch.schema()).unwrap();
    sink.write(&batch).unwrap();
    let written = sink.finish(&metadata()).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(
        text,
        "{\"name\":\"host 0\",\"zero\":{\"started\":\"1970-01-01T00:00:00.000000000Z\",\"ok\":true},\"list\":[0,null]}\n\
         {\"name\":null,\"zero\":{\"started\":null,\"ok\":false},\"list\":null}\n"
    );
    assert_eq!((written.rows, written.bytes), (2, text.len() as u64));
    assert_eq!(names(folder.path()), ["out.ndjson", "out.ndjson.meta.json"]);
    let metadata = fs::read_to_string(folder.path().join("out.ndjson.meta.json")).unwrap();
    let metadata: serde_json::Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["pathspider.measurement"], "name = \"x\"\n");
}

#[test]
fn times_keep_their_nanoseconds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let batch = batch(4).slice(3, 1);
    let mut sink = open(&path, batch.schema()).unwrap();
    sink.write(&batch).unwrap();
    sink.finish(&[]).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"1970-01-01T00:00:03.000000021Z\""), "{text}");
}

#[test]
fn an_empty_run_has_an_empty_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["out.parquet", "out.ndjson"] {
        let written =
            open(&folder.path().join(name), batch(0).schema()).unwrap().finish(&[]).unwrap();
        assert_eq!(written.rows, 0);
        assert!(written.path.exists());
    }
}

#[test]
fn a_drop_leaves_nothing_and_keeps_an_older_file() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["out.parquet", "out.ndjson"] {
        let path = folder.path().join(name);
        fs::write(&path, "older").unwrap();
        let mut sink = open(&path, batch(0).schema()).unwrap();
        sink.write(&batch(10)).unwrap();
        assert!(names(folder.path()).iter().any(|name| name.starts_with('.')));
        drop(sink);
        assert_eq!(names(folder.path()), [name]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "older");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_finished_file_replaces_an_older_one_also_through_a_link() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.parquet");
    let link = folder.path().join("latest.parquet");
    fs::write(&path, "older").unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    open(&link, batch(0).schema()).unwrap().finish(&[]).unwrap();
    assert!(fs::read(&path).unwrap().starts_with(b"PAR1"));
    assert!(link.is_symlink());
}

#[test]
fn a_failed_write_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let temporary = |name: &str| Temporary::onto(&folder.path().join(name), full());
    let batch = batch(100_000);

    let mut sink = ParquetSink::into_file(temporary("big.parquet"), batch.schema()).unwrap();
    let error = sink.write(&batch).and_then(|()| Box::new(sink).finish(&[])).unwrap_err();
    assert!(error.to_string().contains("big.parquet: No space left"), "{error}");

    let mut sink = NdjsonSink::into_files(temporary("big.ndjson"), temporary("big.meta")).unwrap();
    let error = sink.write(&batch).unwrap_err();
    assert!(error.to_string().contains("big.ndjson: No space left"), "{error}");

    // Little enough to stay in the buffer until the end.
    let sink = NdjsonSink::into_files(temporary("big.ndjson"), temporary("big.meta")).unwrap();
    let error = Box::new(sink).finish(&metadata()).unwrap_err();
    assert!(error.to_string().contains("big.meta: No space left"), "{error}");
    assert!(names(folder.path()).is_empty());
}

#[test]
fn an_impossible_output_is_rejected_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |name: &str| {
        let error = open(&folder.path().join(name), batch(0).schema()).unwrap_err();
        assert!(matches!(error, Error::Usage(_)), "{error}");
        error.to_string()
    };
    assert!(refuse("out.csv").contains(".parquet, .ndjson or .jsonl"));
    assert!(refuse("out").contains("unknown kind of file"));
    assert!(refuse("missing/out.parquet").contains("there is no folder"));
    fs::create_dir(folder.path().join("folder.parquet")).unwrap();
    assert!(refuse("folder.parquet").contains("not a regular file"));
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(refuse("file/out.ndjson").contains("there is no folder"));
    assert_eq!(names(folder.path()), ["file", "folder.parquet"]);
}

#[test]
fn a_folder_that_is_not_writable_is_rejected() {
    // No user, not even root, may create files there.
    let error = open(Path::new("/proc/self/out.parquet"), batch(0).schema()).unwrap_err();
    assert!(error.to_string().contains("cannot write in /proc/self"), "{error}");
}

/// Parts of a run, started in a folder.
fn parts(path: &Path, journaled: &'static [&'static str]) -> PartsSink {
    let folder = Folder::begin(path, path).unwrap();
    PartsSink::new(folder, batch(1).schema(), journaled).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A tool that infers types from a hundred lines sees a value of each column that has any.
#[test]
fn the_first_lines_have_a_value_of_each_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.ndjson");
    let late = |at: i64, row: i64| (row == at).then_some(row);
    let list = |row: i64| if row == 777 { vec![Some(row as i32)] } else { Vec::new() };
    let rows = |from: i64| -> RecordBatch {
        let numbers: ArrayRef =
            Arc::new(Int64Array::from_iter((from..from + 250).map(|row| late(300, row))));
        let inner = Arc::new(Field::new("inner", DataType::Int64, true));
        let of: ArrayRef =
            Arc::new(Int64Array::from_iter((from..from + 250).map(|row| late(900, row))));
        let flags = (from..from + 250).map(|row| Some(list(row)));
        RecordBatch::try_from_iter_with_nullable([
            ("row", Arc::new(Int64Array::from_iter(from..from + 250)) as ArrayRef, false),
            ("late", numbers, true),
            ("struct", Arc::new(StructArray::from(vec![(inner, of)])), true),
            ("flags", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(flags)), true),
        ])
        .unwrap()
    };
    let mut sink = open(&path, rows(0).schema()).unwrap();
    (0..4).for_each(|part| sink.write(&rows(250 * part)).unwrap());
    let written = sink.finish(&metadata()).unwrap();
    let octets = fs::read(&path).unwrap();
    assert_eq!(written.sha256, hex(&Sha256::digest(&octets)));
    assert_eq!((written.bytes, written.rows), (octets.len() as u64, 1000));
    assert!(super::check(&path, &mut |_| ()).unwrap().spoiled.is_empty());
    let text = String::from_utf8(octets).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<i64> = lines.iter().map(|line| line["row"].as_i64().unwrap()).collect();
    let others = (1..1000).filter(|row| ![300, 777, 900].contains(row));
    assert_eq!(numbers, [0, 300, 777, 900].into_iter().chain(others).collect::<Vec<_>>());
    assert_eq!((&lines[1]["late"], &lines[2]["flags"][0]), (&300.into(), &777.into()));
    assert_eq!(lines[3]["struct"]["inner"], 900);
    assert_eq!(names(folder.path()), ["out.ndjson", "out.ndjson.meta.json"]);
}

#[test]
fn a_part_is_closed_when_it_holds_a_twentieth_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results");
    let mut sink = parts(&path, &["version"]);
    let known = || metadata();
    let mut at = |elapsed: u64| {
        sink.write(&batch(10)).unwrap();
        sink.checkpoint(Duration::from_millis(elapsed), &known).unwrap();
        names(&path.join(RECORDS)).len()
    };
    // For its age: one second at first, five minutes in the end.
    assert_eq!([at(900), at(1100), at(1500), at(2100)], [0, 1, 1, 2]);
    assert_eq!([at(1_000_000), at(1_052_000), at(1_053_000)], [3, 3, 4]);
    assert_eq!([at(100_000_000), at(100_299_000), at(100_300_000)], [5, 5, 6]);
    // For its size.
    sink.write(&batch(600_000)).unwrap();
    assert_eq!(sink.rows(), 600_100);
    sink.checkpoint(Duration::from_millis(100_300_001), &known).unwrap();
    let written = Box::new(sink).finish(&metadata()).unwrap();
    assert_eq!((written.rows, written.parts.as_ref()), (600_100, Some(&path)));
    let stored = Stored::open(&path.join(RECORDS).join("part-00006.parquet")).unwrap();
    assert_eq!(
        (stored.rows(), stored.metadata()[0].clone()),
        (600_000, ("version".into(), "1".into()))
    );
    let journal = fs::read_to_string(path.join(JOURNAL)).unwrap();
    assert_eq!(journal.lines().count(), 8, "{journal}");
    let first: serde_json::Value = serde_json::from_str(journal.lines().next().unwrap()).unwrap();
    let part = fs::read(path.join(RECORDS).join("part-00000.parquet")).unwrap();
    let sha256 = hex(&Sha256::digest(&part));
    assert_eq!(
        (&first["part"], &first["rows"], &first["counts"]),
        (&"part-00000.parquet".into(), &20.into(), &serde_json::json!({"version": "1"}))
    );
    assert_eq!((&first["bytes"], &first["sha256"]), (&part.len().into(), &sha256.into()));
    assert!(path.join(RUN).exists());
}

#[test]
fn only_the_parts_of_a_killed_run_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results");
    let mut sink = parts(&path, &[]);
    sink.write(&batch(10)).unwrap();
    sink.checkpoint(seconds(2), &metadata).unwrap();
    sink.write(&batch(5)).unwrap();
    // As after kill -9: the open part has a temporary name, and the journal's last line is torn.
    let hidden = path.join(".part-00001.parquet.tmp-1");
    fs::write(&hidden, "PAR1").unwrap();
    drop(sink);
    let why = Folder::begin(&path, &path).unwrap_err();
    assert!(why.to_string().contains("--resume"), "{why}");
    let again = Folder::resume(&path).unwrap();
    assert!(!hidden.exists());
    assert_eq!(again.parts(), [path.join(RECORDS).join("part-00000.parquet")]);
    let mut sink = PartsSink::new(again, batch(1).schema(), &[]).unwrap();
    sink.write(&batch(7)).unwrap();
    assert_eq!(Box::new(sink).finish(&[]).unwrap().rows, 17);
    assert_eq!(Stored::open(&path.join(RECORDS).join("part-00001.parquet")).unwrap().rows(), 7);
}

#[test]
fn a_run_that_never_began_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(parts(&folder.path().join("results"), &[]));
    assert!(names(folder.path()).is_empty());
    // A folder of the user's own stays.
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    drop(parts(&own, &[]));
    assert_eq!(names(folder.path()), ["own"]);
    // Without records there is still a part, for readers of *.parquet.
    Box::new(parts(&own, &[])).finish(&[]).unwrap();
    assert_eq!(Stored::open(&own.join(RECORDS).join("part-00000.parquet")).unwrap().rows(), 0);
}

#[test]
fn a_single_file_is_made_of_parts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let hidden = parts_of(&path);
    let mut sink = Box::new(SingleSink::new(Place::of(&path).unwrap(), parts(&hidden, &[])));
    for at in 1..4 {
        sink.write(&batch(10)).unwrap();
        sink.checkpoint(seconds(2 * at), &metadata).unwrap();
    }
    let written = sink.finish(&metadata()).unwrap();
    assert_eq!((written.rows, &written.path, written.parts.as_ref()), (30, &path, Some(&hidden)));
    let stored = Stored::open(&path).unwrap();
    assert_eq!(stored.schema().fields(), batch(1).schema().fields());
    assert_eq!(stored.metadata(), metadata());
    let mut rows = 0;
    let read = stored.read(&["name", "zero.ok"], |batch| {
        assert_eq!((batch.num_columns(), batch["zero"].data_type().is_nested()), (2, true));
        rows += batch.num_rows();
        Ok(())
    });
    read.unwrap();
    assert_eq!(rows, 30);
    discard(&hidden).unwrap();
    assert_eq!(names(folder.path()), ["x.parquet"]);
}

#[test]
fn a_part_that_fails_costs_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results");
    let mut sink = parts(&path, &[]);
    sink.write(&batch(10)).unwrap();
    sink.checkpoint(seconds(2), &metadata).unwrap();
    fs::remove_file(path.join(JOURNAL)).unwrap();
    let aside = folder.path().join("aside");
    fs::rename(&path, &aside).unwrap();
    assert!(sink.write(&batch(5)).is_err(), "the folder is gone");
    assert_eq!(sink.rows(), 10);
    fs::rename(&aside, &path).unwrap();
    assert_eq!(Box::new(sink).finish(&[]).unwrap().rows, 10);
}

#[test]
fn parts_are_written_to_the_open_folder_wherever_its_path_leads() {
    let folder = tempfile::tempdir().unwrap();
    let (path, aside) = (folder.path().join("results"), folder.path().join("aside"));
    let other = folder.path().join("other");
    let mut sink = parts(&path, &[]);
    sink.write(&batch(10)).unwrap();
    fs::rename(&path, &aside).unwrap();
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::symlink(&other, &path).unwrap();
    // The open part is finished.
    sink.checkpoint(seconds(2), &metadata).unwrap();
    let why = sink.write(&batch(5)).unwrap_err().to_string();
    assert!(why.contains("another folder is in its place"), "{why}");
    assert!(Box::new(sink).finish(&[]).is_err());
    assert_eq!(names(&aside), [JOURNAL, RECORDS]);
    assert_eq!(names(&aside.join(RECORDS)), ["part-00000.parquet"]);
    assert_eq!(names(&other), <[&str; 0]>::default());
}

#[test]
fn leftovers_of_a_killed_run_are_removed_but_not_a_file_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.parquet");
    let left = folder.path().join(".x.parquet.tmp-1");
    let other = folder.path().join(".y.parquet.tmp-1");
    for file in [&left, &other] {
        std::fs::write(file, "half").unwrap();
    }
    let making = Temporary::create(&path).unwrap();
    Temporary::sweep(&Place::of(&path).unwrap());
    assert!(!left.exists() && other.exists());
    making.keep().unwrap();
    assert!(path.exists());
}
