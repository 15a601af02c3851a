//! Faults of the host that measures are not the path's: in every situation of the lab's prober, every label of every
//! shipped measurement is the truth or absent.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]
#![expect(clippy::print_stdout, reason = "the table is for people")]

#[path = "situations/matrix.rs"]
mod matrix;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use matrix::{all, faults, situations, table};
use serde_json::Value;
use support::{measurements, namespaces, pathspider};

#[test]
fn in_every_situation_a_label_of_any_measurement_is_the_truth_or_absent() {
    if !namespaces() {
        return;
    }
    let (situations, measurements) = (situations(), measurements());
    let matrix = all(&situations, &measurements);
    println!("{}", table(&matrix, &situations, &measurements));
    let faults = faults(&matrix, &situations);
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Runs `ecn` over hosts that all answer, in a situation: how often each label was given.
fn healthy(situation: &str, of_each_family: usize) -> Option<(BTreeMap<String, u64>, Vec<Value>)> {
    if !namespaces() {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (size, list) = (of_each_family.to_string(), folder.path().join("targets.ndjson"));
    let targets = pathspider().args(["lab", "targets", "--size", &size]).output().unwrap();
    fs::write(&list, targets.stdout).unwrap();
    let records = folder.path().join("records.ndjson");
    let mut run = pathspider();
    run.args(["lab", "shell", "--size", &size, "--lab-prober", situation, "--"])
        .args([env!("CARGO_BIN_EXE_pathspider"), "run", "measurements/ecn.toml", "--quiet"])
        .args(["--allow-reserved", "--rate-per-address", "0", "--rate-per-prefix", "0"])
        .args([Path::new("--targets"), &list, Path::new("--output"), &records])
        .env("PATHSPIDER_STATE", folder.path().join("state"));
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let records: Vec<Value> = fs::read_to_string(&records)
        .unwrap_or_else(|why| panic!("{why}: {said}"))
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 2 * of_each_family, "{said}");
    let mut labels = BTreeMap::new();
    for label in records.iter().flat_map(|record| record["conditions"].as_array().unwrap()) {
        *labels.entry(label.as_str().unwrap().to_owned()).or_default() += 1;
    }
    Some((labels, records))
}

#[test]
fn a_filter_on_half_of_the_source_ports_makes_no_healthy_target_broken_or_transient() {
    for situation in ["half-ports-low", "half-ports-high"] {
        let Some((labels, _)) = healthy(situation, 100) else { return };
        let blamed = labels.keys().filter(|label| {
            ["broken", "transient", "offline"].iter().any(|word| label.ends_with(word))
        });
        assert_eq!(blamed.count(), 0, "{situation}: {labels:?}");
    }
}

#[test]
fn a_host_firewall_that_drops_syn_acks_with_ece_leaves_no_label_at_all() {
    let Some((labels, records)) = healthy("host-firewall-ece", 10) else { return };
    for record in &records {
        assert_eq!(record["zero"]["ok"], true, "{record}");
        assert_eq!(record["one"]["state"], "local_error", "{record}");
        assert_eq!(record["one"]["stage"], "connect", "{record}");
    }
    let families = records.iter().filter(|record| record["target"]["ip"].to_string().contains(':'));
    assert_eq!(families.count(), 10);
    let concluded: Vec<_> = labels.keys().filter(|l| !l.ends_with(".insufficient")).collect();
    assert!(concluded.is_empty(), "{labels:?}");
}
