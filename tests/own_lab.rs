//! A lab of one's own: `run --lab FILE` builds what the file describes and holds the labels to its truth.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use support::{namespaces, pathspider};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/own_lab").join(name)
}

/// Runs a measurement over a lab; its exit code, what it printed, and its records.
fn run(folder: &Path, words: &[&str]) -> (Option<i32>, String, Vec<Value>) {
    let records = folder.join("records.ndjson");
    let mut run = pathspider();
    run.arg("run").args(words).args(["--quiet", "--output"]).arg(&records);
    let output = run.env("PATHSPIDER_STATE", folder.join("state")).output().unwrap();
    let read = fs::read_to_string(&records).unwrap_or_default();
    let records = read.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (output.status.code(), said(&output), records)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_run_over_an_own_lab_agrees_with_its_truth() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lab = file("isp.toml");
    let (code, said, records) = run(folder.path(), &["ecn", "--lab", lab.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(records.len(), 16, "{said}");
    let broken = |record: &&Value| record["conditions"][0] == "ecn.connectivity.broken";
    assert_eq!(records.iter().filter(broken).count(), 4, "{said}");
}

#[test]
fn a_path_has_the_mtu_of_the_file_and_its_router_reports_it_or_not() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (measurement, lab) = (file("pmtu.toml"), file("isp.toml"));
    let words = [measurement.to_str().unwrap(), "--lab", lab.to_str().unwrap(), "--confirm", "0"];
    let (code, said, records) = run(folder.path(), &words);
    assert_eq!(code, Some(0), "{said}");
    for (name, error) in [("too-big", Value::from(1280)), ("black-hole", Value::Null)] {
        let of = |record: &&Value| record["target"]["name"] == name;
        let found: Vec<_> = records.iter().filter(of).collect();
        assert_eq!(found.len(), 4, "{said}");
        for record in found {
            assert_eq!(record["one"]["icmp_too_big_mtu"], error, "{record}");
            assert_eq!(record["zero"]["ok"], true, "{record}");
        }
    }
}

#[test]
fn a_truth_that_is_not_so_is_a_contradiction_and_one_that_cannot_be_is_refused() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lab = folder.path().join("lab.toml");
    let text = fs::read_to_string(file("isp.toml")).unwrap();
    fs::write(&lab, text.replace("ecn.connectivity.broken", "ecn.connectivity.transient")).unwrap();
    let words = ["ecn", "--lab", lab.to_str().unwrap()];
    let (code, said, _) = run(folder.path(), &words);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("firewall"), "{said}");

    fs::write(&lab, text.replace("ecn.connectivity.broken", "ecn.connectivity.brocken")).unwrap();
    let (code, said, _) = run(folder.path(), &words);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("E0903") && said.contains("brocken") && said.contains(":21:"), "{said}");
    let check = pathspider().arg("check").arg(&lab).output().unwrap();
    assert_eq!(check.status.code(), Some(2));
    assert!(self::said(&check).contains("E0903"), "{check:?}");
}

#[test]
fn the_word_after_lab_is_the_measurement_if_there_is_no_other() {
    if !namespaces() {
        return;
    }
    let output = pathspider().args(["run", "--lab", "ecn", "--dry-run"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let output = pathspider().args(["run", "--lab"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(said(&output).contains("name a measurement"), "{output:?}");
}

#[test]
fn lab_commands_read_the_file() {
    let lab = file("isp.toml");
    let list = pathspider().args(["lab", "list", "--lab"]).arg(&lab).output().unwrap();
    let text = said(&list);
    assert!(text.contains("black-hole") && text.contains("at most 1280 octets"), "{text}");
    assert!(text.contains("the router reports no errors"), "{text}");
    let targets = pathspider().args(["lab", "targets", "--lab"]).arg(&lab).output().unwrap();
    assert_eq!(said(&targets).lines().count(), 16);
    let check = pathspider().arg("check").arg(&lab).output().unwrap();
    assert_eq!((check.status.code(), said(&check).contains("ok: a lab")), (Some(0), true));
}
