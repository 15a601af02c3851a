//! The metadata of merged results.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::coverage::Coverage;
use super::input::Input;
use crate::run::controls::Controls;
use crate::run::counts::Counts;
use crate::sink::{self, Metadata};

/// The merged metadata: values that all results share, sums of counts, and the origin of the rest.
pub fn metadata(inputs: &[Input], coverage: &Coverage) -> Metadata {
    let mut all = inputs.first().map(|input| input.metadata.clone()).unwrap_or_default();
    all.retain(|key, value| inputs.iter().all(|input| input.value(key) == Some(value)));
    // Keys that describe one run only, even if all values are equal.
    for key in
        ["shard", "targets_read", "targets_asked", "targets_refused", "sessions", sink::RUN_ID]
    {
        all.remove(key);
    }
    let mut sum = Counts::default();
    for input in inputs {
        sum += &Counts::stored(|key| input.number(key));
    }
    all.extend(sum.metadata());
    let from = inputs.iter().map(|input| {
        let of = [
            "shard",
            sink::RUN_ID,
            "complete",
            "records",
            "started",
            "ended",
            "interface",
            "kernel",
            "command_line",
        ];
        let of = of.iter().filter_map(|key| Some(((*key).to_owned(), input.value(key)?.into())));
        let mut of: serde_json::Map<String, Value> = of.collect();
        of.insert("path".into(), input.path.display().to_string().into());
        Value::Object(of)
    });
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
        ("merged_from", Value::Array(from.collect()).to_string()),
        ("records_flagged", json!(flagged).to_string()),
        ("complete", coverage.faults().is_none().to_string()),
        ("targets_missing", coverage.missing.to_string()),
        ("targets_doubled", coverage.doubled.to_string()),
        ("started", ends("started").into_iter().min().unwrap_or_default()),
        ("ended", ends("ended").into_iter().max().unwrap_or_default()),
    ];
    all.extend(own.map(|(key, value)| (key.to_owned(), value)));
    if let Some((last, vacant)) = &coverage.list {
        let withheld = &coverage.withheld;
        let records = last - vacant.len() - withheld.len() - coverage.missing.len();
        for (key, value) in [
            ("targets_last_position", last.to_string()),
            ("targets_no_target", vacant.to_string()),
            ("targets_withheld", withheld.to_string()),
            ("records", records.to_string()),
        ] {
            all.insert(key.to_owned(), value);
        }
    }

    all.into_iter().collect()
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
        Input::open(&path, false).unwrap()
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
}
