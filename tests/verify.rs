//! What was written is what is read: results that were changed on disk, by a bit or by hand, are found out.
//!
//! `PATHSPIDER_FLIPS` and `PATHSPIDER_SEED` set how many bits are flipped, and which.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, StructArray, new_null_array,
};
use arrow_schema::{DataType, Field, Fields, Schema};
use pathspider::measurement::{Plan, SHIPPED};
use pathspider::sink::{self, Checked, Folder, PartsSink, Sink, Stored};
use pathspider::{flags, sink::JOURNAL};
use serde_json::{Value, json};

/// Records of a part.
const ROWS: usize = 40;
const PARTS: usize = 3;

fn ecn() -> &'static str {
    SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap().1
}

/// Facts that differ from row to row and from column to column.
fn facts(fields: &Fields, first: usize) -> ArrayRef {
    let rows = first..first + ROWS;
    let columns = fields.iter().enumerate().map(|(number, field)| -> ArrayRef {
        let bit =
            move |row: usize| (row * 31 + 7).wrapping_mul(2_654_435_761 + 2 * number) >> 9 & 1 == 1;
        let rows = rows.clone();
        match (field.name().as_str(), field.data_type()) {
            ("state", _) => Arc::new(StringArray::from_iter_values(rows.map(|_| "ok"))),
            ("observed", _) => {
                Arc::new(rows.map(|row| Some(!row.is_multiple_of(7))).collect::<BooleanArray>())
            }
            (_, DataType::Boolean) => {
                Arc::new(rows.map(|row| (row % 5 > 0).then(|| bit(row))).collect::<BooleanArray>())
            }
            (_, DataType::Int64) => {
                Arc::new(rows.map(|row| Some((row * (number + 1)) as i64)).collect::<Int64Array>())
            }
            (name, DataType::Utf8) if name != "answer" => {
                Arc::new(rows.map(|row| Some(format!("{name} {row}"))).collect::<StringArray>())
            }
            (_, data_type) => new_null_array(data_type, ROWS),
        }
    });
    Arc::new(StructArray::new(fields.clone(), columns.collect(), None))
}

/// Judged records of a run, with the positions from `first` on.
fn records(first: usize) -> RecordBatch {
    let own: Fields = vec![Field::new("rank", DataType::Int64, true)].into();
    let plan = Plan::load("ecn.toml", ecn(), &own).unwrap();
    let plain = plan.record_schema(&own);
    let mut fields = plain.fields().to_vec();
    let more = [
        Field::new("position", DataType::Int64, false),
        flags::field(),
        Field::new("control", DataType::Boolean, false),
    ];
    fields.splice(1..1, more.map(Arc::new));
    let columns = fields.iter().map(|field| -> ArrayRef {
        match (field.name().as_str(), field.data_type()) {
            ("position", _) => {
                Arc::new(Int64Array::from_iter_values((first..first + ROWS).map(|at| at as i64)))
            }
            ("control", _) => Arc::new(BooleanArray::from(vec![false; ROWS])),
            ("flags", _) => flags::column(&[flags::Flags::default(); ROWS]),
            ("confirm", data_type) => {
                let empty = new_null_array(data_type, ROWS);
                let DataType::Struct(fields) = data_type else { return empty };
                let columns = fields.iter().map(|field| new_null_array(field.data_type(), ROWS));
                Arc::new(StructArray::new(fields.clone(), columns.collect(), None))
            }
            (_, DataType::Struct(fields)) => facts(fields, first),
            (name, _) => panic!("{name}"),
        }
    });
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns.collect());
    plan.rules.judge(&batch.unwrap()).unwrap()
}

fn metadata(run: &str, complete: bool) -> sink::Metadata {
    let of_all = [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("measurement", ecn().to_owned()),
        ("run_id", run.to_owned()),
        ("packets_seen", "7".to_owned()),
        ("complete", complete.to_string()),
    ];
    let last = (ROWS * PARTS).to_string();
    let of_whole = [
        ("records", last.clone()),
        ("ended", "2026-03-01T00:00:00Z".to_owned()),
        ("targets_last_position", last),
        ("targets_no_target", String::new()),
        ("targets_withheld", String::new()),
    ];
    let of_whole = of_whole.into_iter().filter(|_| complete);
    of_all.into_iter().chain(of_whole).map(|(key, value)| (key.to_owned(), value)).collect()
}

/// A run in parts.
fn folder(path: &Path, run: &str, ended: bool) {
    let mut folder = Folder::begin(path, path).unwrap();
    folder.note(&json!({ "run": { "measurement": "ecn" }, "run_id": run })).unwrap();
    folder.note(&json!({ "session": { "started": "2026-03-01T00:00:00Z" } })).unwrap();
    let mut sink = PartsSink::new(folder, records(1).schema(), &["packets_seen"]).unwrap();
    for part in 0..PARTS {
        sink.write(&records(1 + part * ROWS)).unwrap();
        let elapsed = Duration::from_secs(100 * (1 + part as u64));
        sink.checkpoint(elapsed, &|| metadata(run, false)).unwrap();
    }
    if ended {
        Box::new(sink).finish(&metadata(run, true)).unwrap();
    }
}

/// The same in one file.
fn file(path: &Path) {
    let mut sink = sink::open(path, records(1).schema()).unwrap();
    for part in 0..PARTS {
        sink.write(&records(1 + part * ROWS)).unwrap();
    }
    sink.finish(&metadata("a", true)).unwrap();
}

/// Results of all forms, by what they are called.
fn results(folder_of: &Path) -> [PathBuf; 3] {
    let [parts, parquet, lines] =
        ["parts", "x.parquet", "x.ndjson"].map(|name| folder_of.join(name));
    folder(&parts, "a", true);
    file(&parquet);
    file(&lines);
    [parts, parquet, lines]
}

/// The files of a result.
fn files(result: &Path) -> Vec<PathBuf> {
    if result.is_dir() {
        let folders = [result.to_owned(), result.join("records")];
        let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.is_file());
        files.sort();
        return files;
    }
    let beside = sink::metadata_of(result);
    [result.to_owned(), beside].into_iter().filter(|file| file.exists()).collect()
}

/// Every value that can be read from a result: records, metadata, and the lines of the journal.
fn values(result: &Path) -> Option<(Vec<RecordBatch>, sink::Metadata, Vec<String>)> {
    let (mut records, mut metadata, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    for file in files(result) {
        match file.extension().unwrap().to_str().unwrap() {
            "parquet" => {
                let stored = Stored::open(&file).ok()?;
                metadata.extend(stored.metadata());
                stored
                    .read(&[], |batch| {
                        records.push(batch);
                        Ok(())
                    })
                    .ok()?;
            }
            "json" => metadata.extend(sink::read_json(&file).ok()?),
            _ => texts.push(String::from_utf8(fs::read(&file).ok()?).ok()?),
        }
    }
    Some((records, metadata, texts))
}

/// Whether every reader refuses a result, or part of it.
fn is_found(result: &Path) -> bool {
    let Ok(Checked { spoiled, journal, .. }) = sink::check(result, &mut |_| ()) else {
        return true;
    };
    !spoiled.is_empty() || journal.is_some_and(|journal| !journal.spoiled.is_empty())
}

/// A number that looks random: splitmix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn a_flipped_bit_is_found_or_changes_no_value() {
    let folder = tempfile::tempdir().unwrap();
    let results = results(folder.path());
    let seed = setting("PATHSPIDER_SEED", 1);
    let flips = setting("PATHSPIDER_FLIPS", if cfg!(debug_assertions) { 200 } else { 1000 });
    eprintln!("seed {seed}, {flips} flips");
    let mut state = seed;
    let (mut found, mut harmless) = (BTreeMap::<String, u64>::new(), 0);
    for result in &results {
        assert!(!is_found(result), "{}", result.display());
    }
    let all: Vec<(&PathBuf, PathBuf)> = results
        .iter()
        .flat_map(|result| files(result).into_iter().map(move |file| (result, file)))
        .collect();
    let good: BTreeMap<&PathBuf, _> =
        results.iter().map(|result| (result, values(result).unwrap())).collect();
    for _ in 0..flips {
        // Every file alike, however small it is.
        let (result, file) = &all[next(&mut state) as usize % all.len()];
        let whole = fs::read(file).unwrap();
        let bit = next(&mut state) as usize % (8 * whole.len());
        let mut spoiled = whole.clone();
        spoiled[bit / 8] ^= 1 << (bit % 8);
        fs::write(file, spoiled).unwrap();
        if is_found(result) {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            *found.entry(name).or_default() += 1;
        } else {
            let same = values(result).as_ref() == Some(&good[result]);
            assert!(same, "bit {bit} of {} was accepted (seed {seed})", file.display());
            harmless += 1;
        }
        fs::write(file, whole).unwrap();
    }
    eprintln!("found: {found:?}; without effect: {harmless}");
    assert!(found.values().sum::<u64>() + harmless == flips && harmless * 20 <= flips);
}

fn pathspider(args: &[&str], result: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.args(args).arg(result).stdin(Stdio::null()).output().unwrap()
}

/// What `verify` says: its exit code, and lines of `outcome check message`.
fn verify(result: &Path) -> (i32, String) {
    let output = pathspider(&["verify", "--format", "json"], result);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let problems = report["problems"].as_array().unwrap().iter().map(|problem| {
        let word = |key: &str| problem[key].as_str().unwrap();
        let file = Path::new(word("file")).file_name().unwrap().to_string_lossy().into_owned();
        format!("{file}: {} {}: {}\n", word("outcome"), word("check"), word("message"))
    });
    (output.status.code().unwrap(), problems.collect())
}

#[test]
fn results_that_nobody_touched_are_whole() {
    let folder_of = tempfile::tempdir().unwrap();
    for result in results(folder_of.path()) {
        assert_eq!(verify(&result), (0, String::new()), "{}", result.display());
    }
    let unfinished = folder_of.path().join("unfinished");
    folder(&unfinished, "a", false);
    let (code, text) = verify(&unfinished);
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("unfinished: incomplete journal: the run was not finished"), "{text}");
    // As a program reads it, and as people do.
    let text = pathspider(&["verify"], &folder_of.path().join("x.parquet"));
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.ends_with("x.parquet: ok: 1 file, 120 records\n"), "{text}");
    assert_eq!(pathspider(&["verify"], &folder_of.path().join("nothing")).status.code(), Some(2));
}

/// Something that can happen to a folder of parts, the exit code of `verify`, and what it says.
type Damage = (&'static str, fn(&Path), i32, &'static str);

fn cut(file: &Path, octets: usize) {
    let whole = fs::read(file).unwrap();
    fs::write(file, &whole[..whole.len() - octets]).unwrap();
}

fn append(file: &Path, octets: &[u8]) {
    let whole = fs::read(file).unwrap();
    fs::write(file, [&whole, octets].concat()).unwrap();
}

/// Another line order in the journal.
fn reorder(folder: &Path, lines: impl FnOnce(&mut Vec<String>)) {
    let path = folder.join(JOURNAL);
    let mut all: Vec<String> =
        fs::read_to_string(&path).unwrap().split_inclusive('\n').map(str::to_owned).collect();
    lines(&mut all);
    fs::write(path, all.concat()).unwrap();
}

const DAMAGES: [Damage; 17] = [
    (
        "a part is cut",
        |at| cut(&at.join("records/part-00001.parquet"), 1),
        1,
        "part-00001.parquet: spoiled digest: it has",
    ),
    (
        "a part is cut to nothing",
        |at| fs::write(at.join("records/part-00001.parquet"), "").unwrap(),
        1,
        "part-00001.parquet: spoiled digest",
    ),
    (
        "octets are appended to a part",
        |at| append(&at.join("records/part-00001.parquet"), b"x"),
        1,
        "octets, but",
    ),
    (
        "a part is missing",
        |at| fs::remove_file(at.join("records/part-00002.parquet")).unwrap(),
        1,
        "part-00002.parquet: spoiled digest: it does not exist; 40 records",
    ),
    (
        "two parts are exchanged",
        |at| {
            fs::rename(at.join("records/part-00000.parquet"), at.join("records/aside")).unwrap();
            fs::rename(
                at.join("records/part-00001.parquet"),
                at.join("records/part-00000.parquet"),
            )
            .unwrap();
            fs::rename(at.join("records/aside"), at.join("records/part-00001.parquet")).unwrap();
        },
        1,
        "part-00000.parquet: spoiled digest: it is part-00001.parquet: rename it",
    ),
    (
        "a part of another run is put in the place of one",
        |at| {
            fs::copy(
                at.with_file_name("other").join("records/part-00001.parquet"),
                at.join("records/part-00001.parquet"),
            )
            .unwrap();
        },
        1,
        "part-00001.parquet: spoiled digest: its SHA-256 is not the one in the journal",
    ),
    (
        "a part of another run is added",
        |at| {
            fs::copy(
                at.with_file_name("other").join("records/part-00001.parquet"),
                at.join("records/part-00003.parquet"),
            )
            .unwrap();
        },
        1,
        "part-00003.parquet: spoiled digest: it does not belong to this run",
    ),
    (
        "a part is copied",
        |at| {
            fs::copy(at.join("records/part-00001.parquet"), at.join("records/part-00003.parquet"))
                .unwrap();
        },
        1,
        "part-00003.parquet: spoiled digest: it is a copy of part-00001.parquet",
    ),
    (
        "another file is added",
        |at| {
            fs::copy(at.with_file_name("x.parquet"), at.join("records/x.parquet")).unwrap();
        },
        1,
        "x.parquet: spoiled digest: it does not belong to this run",
    ),
    (
        "a line of the journal is repeated",
        |at| reorder(at, |lines| lines.insert(2, lines[2].clone())),
        1,
        "journal.ndjson: spoiled journal: line 4",
    ),
    (
        "a line of the journal is removed",
        |at| reorder(at, |lines| drop(lines.remove(2))),
        1,
        "journal.ndjson: spoiled journal: line 3",
    ),
    (
        "lines of the journal are exchanged",
        |at| reorder(at, |lines| lines.swap(2, 3)),
        1,
        "journal.ndjson: spoiled journal: line 3",
    ),
    (
        "octets are appended to the journal",
        |at| append(&at.join(JOURNAL), b"{}\n"),
        1,
        "journal.ndjson: spoiled journal",
    ),
    // As a kill leaves it: the parts without lines have their own digests.
    (
        "the journal is cut",
        |at| cut(&at.join(JOURNAL), 300),
        3,
        "parts: incomplete journal: the run was not finished",
    ),
    (
        "the journal is missing",
        |at| fs::remove_file(at.join(JOURNAL)).unwrap(),
        3,
        "parts: unchecked journal: there is no journal.ndjson",
    ),
    (
        "the metadata are missing",
        |at| fs::remove_file(at.join("run.json")).unwrap(),
        1,
        "run.json: spoiled digest: it does not exist, although",
    ),
    (
        "the metadata are those of another run",
        |at| {
            fs::copy(at.with_file_name("other").join("run.json"), at.join("run.json")).unwrap();
        },
        1,
        "run.json: spoiled digest: it belongs to another run",
    ),
];

#[test]
fn damage_to_parts_is_named() {
    for (what, damage, code, words) in DAMAGES {
        let folder_of = tempfile::tempdir().unwrap();
        let [parts, ..] = results(folder_of.path());
        folder(&folder_of.path().join("other"), "b", true);
        damage(&parts);
        let (found, text) = verify(&parts);
        assert!(found == code && text.contains(words), "{what}: {found}: {text}");
    }
}

#[test]
fn a_single_file_that_was_cut_or_added_to_is_found() {
    let folder_of = tempfile::tempdir().unwrap();
    let [_, parquet, lines] = results(folder_of.path());
    for file in [&parquet, &lines, &sink::metadata_of(&lines)] {
        let whole = fs::read(file).unwrap();
        let result = if file == &parquet { &parquet } else { &lines };
        for wrong in
            [&whole[..whole.len() - 1], &whole[..whole.len() / 2], &[&whole[..], b"\n"].concat()]
        {
            fs::write(file, wrong).unwrap();
            let (code, text) = verify(result);
            assert!(
                code == 1 && text.contains("spoiled digest"),
                "{}: {code}: {text}",
                file.display()
            );
        }
        fs::write(file, whole).unwrap();
        assert_eq!(verify(result), (0, String::new()));
    }
}

#[test]
fn labels_targets_and_counts_are_held_to_facts_and_metadata() {
    let folder_of = tempfile::tempdir().unwrap();
    let written = |name: &str, batches: &[RecordBatch], metadata: sink::Metadata| {
        let path = folder_of.path().join(name);
        let mut sink = sink::open(&path, batches[0].schema()).unwrap();
        batches.iter().for_each(|batch| sink.write(batch).unwrap());
        sink.finish(&metadata).unwrap();
        path
    };
    let all: Vec<RecordBatch> = (0..PARTS).map(|part| records(1 + part * ROWS)).collect();
    let with = |key: &str, value: &str| {
        let mut metadata = metadata("a", true);
        metadata.retain(|(known, _)| known != key);
        metadata.push((key.to_owned(), value.to_owned()));
        metadata
    };
    for form in ["parquet", "ndjson"] {
        let name = |name: &str| format!("{name}.{form}");
        // The labels of other records.
        let relabelled = {
            let mut columns = all[0].columns().to_vec();
            for (at, field) in all[0].schema().fields().iter().enumerate() {
                if ["conditions", "verdict", "insufficient"].contains(&field.name().as_str()) {
                    columns[at] = all[1].column(at).clone();
                }
            }
            RecordBatch::try_new(all[0].schema(), columns).unwrap()
        };
        let batches = [relabelled, all[1].clone(), all[2].clone()];
        let cases = [
            (written(&name("labels"), &batches, metadata("a", true)), 1, "spoiled labels: "),
            (
                written(&name("few"), &all[..2], with("records", "80")),
                3,
                "incomplete targets: 40 targets have no record (line",
            ),
            (
                written(&name("count"), &all[..2], metadata("a", true)),
                1,
                "spoiled records: there are 80 records, but the metadata says 120",
            ),
            (
                written(&name("twice"), &[&all[..], &all[..1]].concat(), with("records", "160")),
                1,
                "spoiled targets: 40 targets have several records",
            ),
            (
                written(&name("foreign"), &all, with("targets_no_target", "7")),
                1,
                "spoiled targets: 1 record is of a line without a target",
            ),
            (
                written(&name("sha256"), &all, with("measurement_sha256", "00")),
                1,
                "spoiled metadata: the measurement",
            ),
            (
                written(&name("shard"), &all, with("shard", "1/2")),
                1,
                "spoiled targets: 60 records are of lines without a target",
            ),
            (
                written(&name("early"), &all, with("complete", "false")),
                3,
                "incomplete targets: the run ended early",
            ),
        ];
        for (path, code, words) in cases {
            let (found, text) = verify(&path);
            assert!(found == code && text.contains(words), "{}: {found}: {text}", path.display());
        }
    }
    // Of another measurement than the columns are.
    let text = ecn().replace("ecn.connectivity", "ecn.other");
    let path = written("columns.parquet", &all, with("measurement", &text));
    let (code, text) = verify(&path);
    assert!(code == 1 && text.contains("spoiled metadata: column"), "{code}: {text}");
}

#[test]
fn merge_and_judge_refuse_what_is_spoiled() {
    let folder_of = tempfile::tempdir().unwrap();
    let [parts, parquet, _] = results(folder_of.path());
    append(&parquet, b"x");
    append(&parts.join("records/part-00001.parquet"), b"x");
    let out = folder_of.path().join("out.parquet");
    let out = out.to_str().unwrap();
    for args in [&["judge", "-o", out][..], &["merge", "-o", out]] {
        let output = pathspider(args, &parquet);
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && text.contains("x.parquet is spoiled: "),
            "{text}"
        );
    }
    let output = pathspider(&["merge", "-o", out], &parts);
    let text = String::from_utf8(output.stderr).unwrap();
    let words = ["part-00001.parquet is spoiled: it has", "(40 records are in it)", "--resume"];
    assert!(
        output.status.code() == Some(2) && words.iter().all(|word| text.contains(word)),
        "{text}"
    );
    assert!(!Path::new(out).exists());
}

#[test]
fn what_an_earlier_version_wrote_is_read_and_said_to_be_unchecked() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify/old");
    let (code, text) = verify(&old);
    assert!(
        code == 3
            && text.contains("part-00000.parquet: unchecked digest: it has neither a SHA-256"),
        "{text}"
    );
    assert!(!text.contains("spoiled"), "{text}");
    let folder_of = tempfile::tempdir().unwrap();
    let out = folder_of.path().join("out.parquet");
    let output =
        pathspider(&["judge", "-o", out.to_str().unwrap()], &old.join("part-00000.parquet"));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.contains("no checksums"), "{text}");
    // Judged, it has checksums; it is a part of a run still.
    let (_, text) = verify(&out);
    assert!(text.starts_with("out.parquet: incomplete") && text.lines().count() == 1, "{text}");
}

/// Another program's reader finds the checksums of pages right, and wrong after a flip.
#[test]
fn pyarrow_verifies_the_checksums_of_pages() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    assert!(python.exists(), "no {}: make test-setup", python.display());
    let folder_of = tempfile::tempdir().unwrap();
    let [_, parquet, _] = results(folder_of.path());
    let read = || {
        let script = "import sys, pyarrow.parquet as pq\n\
                      print(pq.read_table(sys.argv[1], page_checksum_verification=True).num_rows)";
        Command::new(&python).args(["-c", script]).arg(&parquet).output().unwrap()
    };
    let output = read();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "120", "{output:?}");
    // In the middle of the first page: behind the file's magic and the page's header.
    let mut whole = fs::read(&parquet).unwrap();
    let magic = whole.windows(4).position(|octets| octets == [0x28, 0xb5, 0x2f, 0xfd]).unwrap();
    whole[magic + 8] ^= 1;
    fs::write(&parquet, whole).unwrap();
    let text = String::from_utf8_lossy(&read().stderr).into_owned();
    assert!(text.contains("CRC checksum verification failed"), "{text}");
}
