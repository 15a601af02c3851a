//! Upstream's target lists in, upstream's records out: `tests/upstream/targets.*` are read, put together with
//! the facts of `facts.ndjson`, stored as a run stores them, and judged with `--format pathspider`. What comes out
//! stands beside. `UPDATE_GOLDENS=1 cargo test --test upstream` accepts what comes out now.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, RecordBatch, StructArray, cast::AsArray as _, new_null_array,
    types::TimestampNanosecondType,
};
use arrow_json::ReaderBuilder;
use arrow_schema::{DataType, Field, Schema};
use pathspider::measurement::{Plan, SHIPPED};
use pathspider::rule::confirm;
use pathspider::sink;
use pathspider::targets::{Reader, columns};
use serde_json::Value;
use support::golden::Goldens;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstream")
}

/// The facts of a configuration. Times are read without a zone: arrow knows none by name.
fn facts(configuration: &Field) -> ArrayRef {
    let DataType::Struct(fields) = configuration.data_type() else { panic!("{configuration}") };
    let plain = fields.iter().map(|field| match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            Field::new(field.name(), DataType::Timestamp(*unit, None), field.is_nullable())
        }
        _ => field.as_ref().clone(),
    });
    let plain = DataType::Struct(plain.collect());
    let schema = Schema::new(vec![Field::new(configuration.name(), plain, false)]);
    let text = fs::File::open(folder().join("facts.ndjson")).unwrap();
    let mut reader =
        ReaderBuilder::new(Arc::new(schema)).build(std::io::BufReader::new(text)).unwrap();
    let read = reader.next().unwrap().unwrap();
    let zoned = fields.iter().zip(read.column(0).as_struct().columns());
    let zoned = zoned.map(|(field, column)| -> ArrayRef {
        match column.as_primitive_opt::<TimestampNanosecondType>() {
            Some(times) => match field.data_type() {
                DataType::Timestamp(_, zone) => {
                    Arc::new(times.clone().with_timezone_opt(zone.clone()))
                }
                other => panic!("{other}"),
            },
            None => column.clone(),
        }
    });
    Arc::new(StructArray::new(fields.clone(), zoned.collect(), None))
}

/// What a run over a list would have stored.
fn results(list: &str, into: &Path) -> PathBuf {
    let mut reader = Reader::open(&folder().join(list), None).unwrap();
    let own = reader.fields();
    let targets = reader.next_batch(usize::MAX).unwrap();
    assert_eq!(reader.refusals().count, 0);
    let ecn = SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap().1;
    let plan = Plan::load("ecn.toml", ecn, &own).unwrap();
    let schema = Arc::new(plan.record_schema(&own));
    let listed = columns(&own, &targets).unwrap();
    // A run adds the prefix, which upstream has not.
    let DataType::Struct(fields) = schema.field(0).data_type() else { panic!("{schema}") };
    let target = fields.iter().map(|field| {
        let column = listed.column_by_name(field.name()).cloned();
        column.unwrap_or_else(|| new_null_array(field.data_type(), targets.len()))
    });
    let target = StructArray::new(fields.clone(), target.collect(), None);
    let mut all: Vec<ArrayRef> = vec![Arc::new(target)];
    // Nobody was asked again.
    let unasked = vec![None; targets.len()];
    all.extend(schema.fields()[1..].iter().map(|field| match field.name().as_str() {
        confirm::CONFIRM => confirm::column(field, &unasked).unwrap(),
        _ => facts(field),
    }));
    let judged = plan.rules.judge(&RecordBatch::try_new(schema, all).unwrap()).unwrap();
    let path = into.join(format!("{list}.parquet"));
    let mut sink = sink::open(&path, judged.schema()).unwrap();
    sink.write(&judged).unwrap();
    sink.finish(&[("measurement".to_owned(), ecn.to_owned())]).unwrap();
    path
}

fn pathspider(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.args(arguments).stdin(Stdio::null());
    command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap()
}

#[test]
fn records_are_upstreams() {
    let out = tempfile::tempdir().unwrap();
    let mut goldens = Goldens::default();
    for (list, more, golden) in [
        ("targets.ndjson", [].as_slice(), "records.ndjson"),
        ("targets.csv", &[], "records-of-csv.ndjson"),
        ("targets.ndjson", &["--output-flows"], "records-with-flows.ndjson"),
    ] {
        let results = results(list, out.path());
        let to = out.path().join("out.ndjson");
        let mut arguments = vec!["judge", results.to_str().unwrap(), "--format", "pathspider"];
        arguments.extend(["-o", to.to_str().unwrap()]);
        arguments.extend(more);
        let output = pathspider(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(&to).unwrap();
        goldens.compare(&folder().join(golden), &text);
        let beside = fs::read_to_string(out.path().join("out.ndjson.meta.json")).unwrap();
        let beside: Value = serde_json::from_str(&beside).unwrap();
        assert_eq!(beside["_time_start"], "2026-03-01T12:00:00Z");
        assert_eq!(beside["_time_end"], "2026-03-01T12:00:08Z");
        assert!(beside["pathspider.judged"].is_string());
        // A program of upstream's is content: each line has what its analysis reads.
        for line in text.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            assert!(
                record["time"]["from"].is_string() && record["conditions"].is_array(),
                "{line}"
            );
            assert_eq!(record["path"].as_array().unwrap().last(), Some(&record["dip"]), "{line}");
            assert_eq!(record["flow_results"].is_array(), !more.is_empty(), "{line}");
        }
    }
    goldens.end();
}

#[test]
fn what_does_not_go_together_is_refused_before_anything_is_done() {
    for (arguments, why) in [
        (
            ["--format", "pathspider", "-o", "x.parquet"].as_slice(),
            "the name must end in .ndjson or .jsonl",
        ),
        (&["--output-flows", "-o", "x.ndjson"], "needs --format pathspider"),
    ] {
        let mut line = vec!["run", "measurements/ecn.toml", "--lab"];
        line.extend(arguments);
        let output = pathspider(&line);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
}
