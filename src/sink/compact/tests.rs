use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field};
use parquet::file::reader::{FileReader as _, SerializedFileReader};

use super::*;
use crate::sink::names::SORTED_BY;
use crate::sink::{JOURNAL, PartsSink, RUN, RUN_ID, Stored, check, parquet_files};

#[test]
fn consecutive_parts_are_joined_up_to_the_goal() {
    let of = |rows: &[u64]| -> Vec<(usize, u64)> {
        let parts = rows.iter().map(|rows| (Path::new("x").to_owned(), *rows));
        groups(parts, 100).iter().map(|group| (group.parts.len(), group.rows)).collect()
    };
    assert_eq!(of(&[]), []);
    assert_eq!(of(&[7]), [(1, 7)]);
    assert_eq!(of(&[50, 50, 1]), [(2, 100), (1, 1)]);
    assert_eq!(of(&[99, 2, 300, 0, 3]), [(1, 99), (1, 2), (1, 300), (2, 3)]);
}

/// Records with these positions.
fn batch(positions: impl Iterator<Item = i64> + Clone) -> RecordBatch {
    let ips: ArrayRef = Arc::new(StringArray::from_iter_values(
        positions.clone().map(|at| format!("192.0.2.{}", at % 256)),
    ));
    let ip = Arc::new(Field::new("ip", DataType::Utf8, false));
    let target = StructArray::from(vec![(ip, ips)]);
    let positions = Int64Array::from_iter_values(positions);
    RecordBatch::try_from_iter([
        ("target", Arc::new(target) as ArrayRef),
        (SORTED_BY, Arc::new(positions)),
    ])
    .unwrap()
}

fn metadata(complete: bool) -> Vec<(String, String)> {
    [(RUN_ID, "a".to_owned()), ("complete", complete.to_string())]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
}

const PARTS: i64 = 4;
const ROWS: i64 = 50;

/// A run in parts, whose positions go down; it has not ended.
fn run(path: &Path) -> PartsSink {
    let mut folder = Folder::begin(path, path).unwrap();
    folder.note(&json!({ "run": { "x": "y" }, "run_id": "a" })).unwrap();
    let mut sink = PartsSink::new(folder, batch(0..1).schema(), &[]).unwrap().compacting();
    for part in 0..PARTS {
        let first = 1 + part * ROWS;
        crate::sink::Sink::write(&mut sink, &batch((first..first + ROWS).rev())).unwrap();
        let elapsed = Duration::from_secs(1000 * (1 + part as u64));
        sink.checkpoint(elapsed, &|| metadata(false)).unwrap();
    }
    sink
}

fn positions(folder: &Path) -> Vec<i64> {
    let mut found = Vec::new();
    for file in parquet_files(folder).unwrap() {
        let read = Stored::open(&file).unwrap().read(&[SORTED_BY], |batch| {
            found.extend_from_slice(batch[SORTED_BY].as_primitive::<Int64Type>().values());
            Ok(())
        });
        read.unwrap();
    }
    found
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &name),
            false => drop(fs::copy(entry.path(), name).unwrap()),
        }
    }
}

#[test]
fn the_parts_of_an_ended_run_are_one_sorted_part() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results");
    let sink = run(&path);
    assert_eq!(parquet_files(&path).unwrap().len(), PARTS as usize);
    let written = Box::new(sink).finish(&metadata(true)).unwrap();
    let parts = parquet_files(&path).unwrap();
    assert_eq!(parts, [path.join("records/part-00004.parquet")]);
    assert_eq!(written.rows, (PARTS * ROWS) as u64);
    assert_eq!(written.bytes, fs::metadata(&parts[0]).unwrap().len());
    assert_eq!(positions(&path), (1..=PARTS * ROWS).collect::<Vec<_>>());
    // The part says what is true of the whole.
    assert_eq!(Stored::open(&parts[0]).unwrap().metadata(), metadata(true));
    let checked = check(&path, &mut |_| ()).unwrap();
    assert!(checked.spoiled.is_empty() && checked.journal.unwrap().ended);

    let reader = SerializedFileReader::new(fs::File::open(&parts[0]).unwrap()).unwrap();
    let group = reader.metadata().row_group(0);
    let sorted = group.sorting_columns().unwrap();
    assert_eq!(group.column(sorted[0].column_idx as usize).column_path().string(), SORTED_BY);
    let ip = group.columns().iter().find(|column| column.column_path().string() == "target.ip");
    let length = ip.unwrap().bloom_filter_length();
    assert!(length.is_some_and(|length| length < 1024), "{length:?} octets of Bloom filter");
}

/// The folder as a kill leaves it at each moment: nothing is lost, and nothing is there twice.
#[test]
fn a_kill_at_any_moment_leaves_the_old_parts_or_the_new_ones() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let sink = run(&at("ended"));
    copy(&at("ended"), &at("before"));
    Box::new(sink).finish(&metadata(true)).unwrap();
    let journal = fs::read_to_string(at("ended").join(JOURNAL)).unwrap();
    let lines: Vec<&str> = journal.split_inclusive('\n').collect();
    let joined = 1 + lines.iter().position(|line| line.contains("\"joined\"")).unwrap();
    let half = |from: &Path, to: &Path| {
        fs::create_dir_all(to).unwrap();
        let part = &parquet_files(from).unwrap()[0];
        fs::write(to.join(part.file_name().unwrap()), &fs::read(part).unwrap()[..100]).unwrap();
    };
    let records = |name: &str| at(name).join(RECORDS);
    // What is in the folder of records and in the next one, and the lines of the journal.
    for (name, now, next, lines) in [
        ("while it is written", "before", None, joined - 1),
        ("once it is written", "before", Some("ended"), joined - 1),
        ("once it is announced", "before", Some("ended"), joined),
        ("once it is exchanged", "ended", Some("before"), joined),
        ("once the old one is removed", "ended", None, joined),
    ] {
        let path = at(name);
        copy(&records(now), &path.join(RECORDS));
        match next {
            Some(next) => copy(&records(next), &path.join(NEXT_RECORDS)),
            None => half(&at("ended"), &path.join(NEXT_RECORDS)),
        }
        fs::write(
            path.join(JOURNAL),
            journal.split_inclusive('\n').take(lines).collect::<String>(),
        )
        .unwrap();
        let all: Vec<i64> = (1..=PARTS * ROWS).collect();
        let check = || {
            let checked = check(&path, &mut |_| ()).unwrap();
            assert!(checked.spoiled.is_empty(), "{name}: {:?}", checked.spoiled);
            assert_eq!(checked.journal.unwrap().rows, (PARTS * ROWS) as u64, "{name}");
            let mut found = positions(&path);
            found.sort_unstable();
            assert_eq!(found, all, "{name}");
        };
        check();
        let mut resumed = Folder::resume(&path).unwrap();
        resumed.repair(&[]).unwrap();
        assert!(!path.join(NEXT_RECORDS).exists(), "{name}");
        let sink = PartsSink::new(resumed, batch(0..1).schema(), &[]).unwrap().compacting();
        assert_eq!(Box::new(sink).finish(&metadata(true)).unwrap().rows, (PARTS * ROWS) as u64);
        check();
        assert_eq!(parquet_files(&path).unwrap().len(), 1, "{name}");
        assert!(path.join(RUN).is_file());
    }
    // A part that comes back is no part of the run.
    let old = &parquet_files(&at("before")).unwrap()[0];
    fs::copy(old, records("ended").join(old.file_name().unwrap())).unwrap();
    let checked = check(&at("ended"), &mut |_| ()).unwrap();
    assert!(checked.spoiled[0].why.contains("were joined to another part"), "{checked:?}");
    assert_eq!(checked.files.len(), 1);
}

#[test]
fn a_folder_of_an_earlier_version_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("results");
    drop(run(&path));
    for part in parquet_files(&path).unwrap() {
        fs::rename(&part, path.join(part.file_name().unwrap())).unwrap();
    }
    fs::remove_dir(path.join(RECORDS)).unwrap();
    assert!(Folder::begin(&path, &path).is_err(), "there are results already");
    let mut resumed = Folder::resume(&path).unwrap();
    resumed.repair(&[]).unwrap();
    let mut sink = PartsSink::new(resumed, batch(0..1).schema(), &[]).unwrap().compacting();
    crate::sink::Sink::write(&mut sink, &batch(1000..1001)).unwrap();
    Box::new(sink).finish(&metadata(true)).unwrap();
    assert!(!path.join(RECORDS).exists() && path.join("part-00004.parquet").is_file());
    assert_eq!(positions(&path).len() as i64, PARTS * ROWS + 1);
    assert!(check(&path, &mut |_| ()).unwrap().spoiled.is_empty());
}
