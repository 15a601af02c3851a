//! The metadata of merged results.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::coverage::Coverage;
use super::input::Input;
use crate::run::controls::Controls;
use crate::run::counts::{self, Counts};
use crate::run::outcome::positions;
use crate::sink::{self, Metadata};
use crate::targets::Reason;

/// Keys of one run alone, which merged results do not have even if all values are equal.
const OF_ONE_RUN: [&str; 9] = [
    "shard",
    "targets_read",
    "targets_asked",
    "targets_refused",
    "targets_unfinished",
    "sessions",
    "whole_run",
    "merged_from",
    sink::RUN_ID,
];

/// Keys that `merged_from` has of each result besides those that differ.
const OF_EACH: [&str; 12] = [
    "shard",
    sink::RUN_ID,
    "complete",
    "records",
    "sessions",
    "started",
    "ended",
    "targets_read",
    "targets_asked",
    "targets_refused",
    "interface",
    "command_line",
];

/// Keys that `merged_from` does not have: they say the same in fewer words elsewhere, or have the sizes of the list.
const LEFT_OUT: [&str; 8] = [
    "conditions_sql",
    "metrics_sql",
    "port_outcomes",
    "targets_no_target",
    "targets_withheld",
    "targets_missing",
    "targets_doubled",
    "records_flagged",
];

/// The merged metadata: values that all results share, sums of counts, and the origin of the rest. One result keeps all
/// that it has.
pub fn metadata(inputs: &[Input], coverage: &Coverage) -> Metadata {
    let mut all = inputs.first().map(|input| input.metadata.clone()).unwrap_or_default();
    all.retain(|key, value| inputs.iter().all(|input| input.value(key) == Some(value)));
    let from: Vec<Value> = inputs.iter().map(|input| of_each(input, &all)).collect();
    if inputs.len() > 1 {
        OF_ONE_RUN.iter().for_each(|key| drop(all.remove(*key)));
        all.extend(denominators(inputs, coverage));
    }
    all.remove("whole_run");
    let mut sum = Counts::default();
    for input in inputs {
        sum += &Counts::stored(|key| input.number(key));
    }
    all.extend(sum.metadata());
    let mut flagged: BTreeMap<String, u64> = BTreeMap::new();
    for input in inputs {
        let of: Option<BTreeMap<String, u64>> =
            input.value("records_flagged").and_then(|text| serde_json::from_str(text).ok());
        for (flag, count) in of.unwrap_or_default() {
            *flagged.entry(flag).or_default() += count;
        }
    }
    let controls = Controls::together(inputs.iter().filter_map(|input| input.value("controls")));
    all.extend(controls.map(|controls| ("controls".to_owned(), controls.to_string())));
    let ends = |key: &str| {
        inputs.iter().filter_map(|input| input.value(key).map(str::to_owned)).collect::<Vec<_>>()
    };
    let own = [
        ("merged_from", Value::Array(from).to_string()),
        ("records_flagged", json!(flagged).to_string()),
        ("complete", coverage.faults().is_none().to_string()),
        ("started", ends("started").into_iter().min().unwrap_or_default()),
        ("ended", ends("ended").into_iter().max().unwrap_or_default()),
    ];
    all.extend(own.map(|(key, value)| (key.to_owned(), value)));
    for key in ["targets_no_target", "targets_withheld", "targets_missing", "targets_doubled"] {
        all.remove(key);
    }
    let list = coverage.list.as_ref();
    all.extend(positions([
        ("targets_no_target", list.map(|(_, vacant)| vacant)),
        ("targets_withheld", list.map(|_| &coverage.withheld)),
        ("targets_missing", Some(&coverage.missing)),
        ("targets_doubled", Some(&coverage.doubled)),
    ]));
    if let Some((last, vacant)) = &coverage.list {
        let withheld = &coverage.withheld;
        let records = last - vacant.len() - withheld.len() - coverage.missing.len();
        for (key, value) in [
            ("targets_last_position", last.to_string()),
            ("lines_without_target", vacant.len().to_string()),
            ("targets_left_out", withheld.len().to_string()),
            ("records", records.to_string()),
        ] {
            all.insert(key.to_owned(), value);
        }
    }

    all.into_iter().collect()
}

/// What a result says of itself that the merged metadata do not say.
fn of_each(input: &Input, shared: &BTreeMap<String, String>) -> Value {
    let is_count = |key: &str| counts::KEYS.contains(&key);
    let differs =
        |key: &str| !shared.contains_key(key) && !LEFT_OUT.contains(&key) && !is_count(key);
    let kept = input.metadata.iter().filter(|(key, _)| OF_EACH.contains(&&***key) || differs(key));
    let mut of: serde_json::Map<String, Value> =
        kept.map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    of.insert("path".into(), input.path.display().to_string().into());
    Value::Object(of)
}

/// The account of a sharded run: how many targets were read, probed and rejected by all shards together. Every shard
/// reads the whole list, so lines that were rejected are the same in each. Unknown if a result does not have its own, or
/// if targets have several records.
fn denominators(inputs: &[Input], coverage: &Coverage) -> BTreeMap<String, String> {
    let own = |reason: Reason| word(reason).unwrap_or_default();
    let [bad, others, resumed] = [Reason::BadLine, Reason::OtherShard, Reason::Resumed].map(own);
    let (mut read, mut asked, mut unfinished) = (0, 0, 0);
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    for input in inputs {
        let of: Option<BTreeMap<String, u64>> =
            input.value("targets_refused").and_then(|text| serde_json::from_str(text).ok());
        let known = (of, input.number("targets_read"), input.number("targets_asked"));
        let (Some(of), Some(of_read), Some(of_asked)) = known else { return BTreeMap::new() };
        let count = |reason: &str| of.get(reason).copied().unwrap_or_default();
        read += of_read.saturating_sub(count(others) + count(bad));
        // Targets with a record from an earlier session were probed then.
        asked += of_asked + count(resumed);
        unfinished += input.number("targets_unfinished").unwrap_or_default();
        for (reason, count) in &of {
            let sum = refused.entry(reason.clone()).or_default();
            match reason == bad {
                true => *sum = (*sum).max(*count),
                false => *sum += count,
            }
        }
    }
    if !coverage.doubled.is_empty() {
        return BTreeMap::new();
    }
    refused.retain(|reason, _| reason != others && reason != resumed);
    read += refused.get(bad).copied().unwrap_or_default();
    [
        ("targets_read", read.to_string()),
        ("targets_asked", asked.to_string()),
        ("targets_refused", json!(refused).to_string()),
        ("targets_unfinished", unfinished.to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// The word of a reason in the metadata.
fn word(reason: Reason) -> Option<&'static str> {
    Reason::ALL.iter().find(|(known, ..)| *known == reason).map(|(_, word, _)| *word)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::run::record::POSITION;
    use arrow_array::{ArrayRef, Int64Array, RecordBatch};

    /// Results of a list of three lines, the first of which is a header.
    fn input(folder: &Path, name: &str, positions: &[i64], metadata: &[(&str, &str)]) -> Input {
        let path = folder.join(name);
        let column: ArrayRef = Arc::new(Int64Array::from(positions.to_vec()));
        let batch = RecordBatch::try_from_iter([(POSITION, column)]).unwrap();
        let mut sink = sink::open(&path, batch.schema()).unwrap();
        sink.write(&batch).unwrap();
        let known = [("targets_last_position", "3"), ("targets_no_target", "1")];
        let metadata = known.iter().chain(metadata);
        let metadata = metadata.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        sink.finish(&metadata.collect::<Metadata>()).unwrap();
        Input::open(&path, "merge", false).unwrap()
    }

    #[test]
    fn coverage_is_of_the_lines_that_have_targets() {
        let folder = tempfile::tempdir().unwrap();
        let input = |name, positions: &[i64]| input(folder.path(), name, positions, &[]);
        let of = |inputs: &[Input]| Coverage::of(inputs).map(|coverage| coverage.faults());
        let [two, three, both] = [&[2][..], &[3], &[2, 3]];
        assert_eq!(of(&[input("a.parquet", two), input("b.parquet", three)]).unwrap(), None);
        let faults = of(&[input("a.parquet", two), input("b.parquet", two)]).unwrap().unwrap();
        assert!(faults.contains("1 target has no record (line 3)"), "{faults}");
        assert!(faults.contains("1 target has several records (line 2)"), "{faults}");
        for foreign in [1, 4] {
            let why = of(&[input("a.parquet", both), input("b.parquet", &[foreign])]).unwrap_err();
            assert!(why.to_string().contains(&format!("line {foreign},")), "{why}");
        }
    }

    #[test]
    fn counts_are_summed_and_differing_values_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name, position, interface| {
            let metadata = [("packets_seen", "20"), ("interface", interface), ("kernel", "x")];
            input(folder.path(), name, &[position], &metadata)
        };
        let inputs = [of("a.parquet", 2, "eth0"), of("b.parquet", 3, "eth1")];
        let coverage = Coverage::of(&inputs).unwrap();
        let metadata: BTreeMap<_, _> = metadata(&inputs, &coverage).into_iter().collect();
        assert_eq!((&*metadata["packets_seen"], &*metadata["records"]), ("40", "2"));
        assert_eq!((&*metadata["kernel"], metadata.get("interface")), ("x", None));
        assert!(metadata["merged_from"].contains("eth1"));
    }

    /// The account of a shard of a list of three lines, the first of which is a header and the last excluded.
    fn shard<'a>(refused: &'a str, asked: &'a str, unfinished: &'a str) -> [(&'a str, &'a str); 4] {
        [
            ("targets_read", "3"),
            ("targets_asked", asked),
            ("targets_refused", refused),
            ("targets_unfinished", unfinished),
        ]
    }

    #[test]
    fn shards_together_have_the_account_of_the_whole_list() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name, positions: &[i64], account: &[(&str, &str)]| {
            input(folder.path(), name, positions, account)
        };
        let inputs = [
            of("a.parquet", &[2], &shard(r#"{"bad_line":1,"other_shard":1}"#, "0", "0")),
            of(
                "b.parquet",
                &[3],
                &shard(r#"{"bad_line":1,"other_shard":1,"resumed":1}"#, "0", "0"),
            ),
        ];
        let of = |inputs: &[Input]| -> BTreeMap<String, String> {
            let coverage = Coverage::of(inputs).unwrap();
            metadata(inputs, &coverage).into_iter().collect()
        };
        let merged = of(&inputs);
        assert_eq!((&*merged["targets_read"], &*merged["targets_asked"]), ("3", "1"));
        assert_eq!(merged["targets_refused"], r#"{"bad_line":1}"#);
        let each: Value = serde_json::from_str(&merged["merged_from"]).unwrap();
        assert_eq!(each[1]["targets_refused"], r#"{"bad_line":1,"other_shard":1,"resumed":1}"#);
        // One result keeps what it says of itself.
        let one = of(&inputs[..1]);
        assert_eq!(one["targets_refused"], r#"{"bad_line":1,"other_shard":1}"#);
        assert_eq!((&*one["lines_without_target"], &*one["targets_left_out"]), ("1", "0"));
    }

    #[test]
    fn an_account_that_would_count_twice_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let account = shard("{}", "1", "0");
        let inputs =
            ["a.parquet", "b.parquet"].map(|name| input(folder.path(), name, &[2], &account));
        let merged: BTreeMap<_, _> =
            metadata(&inputs, &Coverage::of(&inputs).unwrap()).into_iter().collect();
        assert_eq!((merged.get("targets_read"), &*merged["targets_doubled"]), (None, "2"));
    }
}
