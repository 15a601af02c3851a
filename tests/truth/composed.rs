//! Experiments as a network researcher composes them (`tests/composed`), short and without code, run over the lab: they
//! give the labels of `truth.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::support::parallel::at_once;
use crate::support::{namespaces, pathspider, records, stderr};

/// The most lines of an experiment.
const LONGEST: usize = 25;

/// Labels by host.
type Truth = BTreeMap<String, BTreeSet<String>>;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/composed")
}

fn truth() -> BTreeMap<String, Truth> {
    toml::from_str(&std::fs::read_to_string(folder().join("truth.toml")).unwrap()).unwrap()
}

#[test]
fn experiments_are_short_and_each_has_a_truth() {
    let truth = truth();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if path.extension().is_some_and(|end| end == "toml") && name != "truth" {
            let lines = std::fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= LONGEST, "{name} has {lines} lines");
            assert!(truth.contains_key(name), "{name} has no truth");
        }
    }
}

#[test]
fn experiments_say_what_is_true() {
    if !namespaces() {
        return;
    }
    let truth = truth();
    let names: Vec<&String> = truth.keys().collect();
    let wrong = at_once(4, &names, |name| measure(name, &truth[name.as_str()]));
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn measure(name: &str, truth: &Truth) -> Vec<String> {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("x.ndjson");
    let mut run = pathspider();
    run.arg("run").arg(folder().join(format!("{name}.toml"))).args(["--lab", "--allow-commands"]);
    let output = run.env("TMPDIR", scratch.path()).arg("-o").arg(&out).output().unwrap();
    let mut wrong = Vec::new();
    // 3: this host was too busy to tell of some attempts, which conclude nothing.
    if !matches!(output.status.code(), Some(0 | 3)) {
        return vec![format!("{name}: {}: {}", output.status, stderr(&output))];
    }
    let mut seen: Truth = BTreeMap::new();
    for record in records(&out) {
        let host = record["target"]["name"].as_str().unwrap().to_owned();
        let Some(expected) = truth.get(&host) else { continue };
        let given = record["conditions"].as_array().unwrap().iter();
        let given = given.map(|label| label.as_str().unwrap().to_owned());
        let given: BTreeSet<String> = given.filter(|l| !l.ends_with(".insufficient")).collect();
        if !given.is_subset(expected) {
            wrong.push(format!("{name}: {host}: {given:?}"));
        }
        seen.entry(host).or_default().extend(given);
    }
    if seen != *truth {
        wrong.push(format!("{name}: not all that is true: {seen:?}"));
    }
    // The program of the arm is next to the file, wherever the run is started.
    if name == "e8-arm" {
        let positions = scratch.path().join("arm-positions");
        let positions = std::fs::read_to_string(positions).unwrap_or_default();
        if !positions.starts_with("east\n") || !positions.ends_with("west\n") {
            wrong.push(format!("{name}: the arm went {positions:?}"));
        }
    }
    wrong
}
