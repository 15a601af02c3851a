//! Every shipped measurement, held to the lab's truth: label by label, how often it was true of a target,
//! how often it was given, and both. Fails on any miss and on any false alarm, and on a label that is
//! true of no host. Besides, what each target was sent is counted and held to what `explain` says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::parallel::at_once;
use crate::support::{measurements, namespaces, pathspider};
use serde_json::Value;

/// Most of a run is waiting for targets that are silent, so several go on at the same time.
const AT_ONCE: usize = 4;

/// Labels of which the lab has no host yet, by measurement, and why.
const WITHOUT_HOST: &[(&str, &[&str], &str)] = &[
    (
        "accecn-http",
        &["accecn.negotiation.reflected"],
        "one SYN does not tell a server that reflects its flags from one with Accurate ECN",
    ),
    (
        "accecn-syn",
        &[
            "accecn.connectivity.intermittent",
            "accecn.connectivity.not_confirmed",
            "accecn.ae.connectivity.broken",
            "accecn.ae.connectivity.intermittent",
            "accecn.ae.connectivity.not_confirmed",
            "accecn.ae.connectivity.transient",
            "accecn.ect0.connectivity.broken",
            "accecn.ect0.connectivity.intermittent",
            "accecn.ect0.connectivity.not_confirmed",
            "accecn.ect0.connectivity.transient",
            "accecn.ect1.connectivity.intermittent",
            "accecn.ect1.connectivity.not_confirmed",
            "accecn.ect1.connectivity.transient",
        ],
        "faults that depend on the mark of a SYN, now and then",
    ),
];

/// Truth by measurement, host and family.
type Truth = BTreeMap<(String, String, bool), BTreeSet<String>>;

#[test]
fn every_label_of_every_measurement_is_given_where_it_is_true_and_nowhere_else() {
    if !namespaces() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let names = measurements();
    let truth = truth(&names);
    let reports = at_once(AT_ONCE, &names, |name| measure(name, &truth, folder.path()));
    let mut wrong = Vec::new();
    for (name, report) in names.iter().zip(reports) {
        println!("{}", report.table);
        wrong.extend(report.wrong.into_iter().map(|what| format!("{name}: {what}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How often a label was expected, given, and both.
#[derive(Default)]
struct Count {
    expected: u32,
    given: u32,
    both: u32,
}

struct Report {
    table: String,
    wrong: Vec<String>,
}

/// Whether two labels differ in a number at most.
fn alike(one: &str, other: &str) -> bool {
    let is_number = |part: &str| part.bytes().all(|octet| octet.is_ascii_digit());
    let (one, other): (Vec<_>, Vec<_>) = (one.split('.').collect(), other.split('.').collect());
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(one, other)| *one == other || (is_number(one) && is_number(other)))
}

/// Runs a measurement over the lab and compares.
fn measure(name: &str, truth: &Truth, folder: &Path) -> Report {
    let out = folder.join(format!("{name}.ndjson"));
    let mut run = pathspider();
    run.args(["run", &format!("measurements/{name}.toml"), "--lab", "-o"]).arg(&out);
    let output = run.output().unwrap();
    let mut wrong = Vec::new();
    if output.status.code() != Some(0) {
        wrong.push(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    let plan = explain(name);
    for label in labels(&plan) {
        counts.entry(label).or_default();
    }
    for line in fs::read_to_string(&out).unwrap_or_default().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let host = record["target"]["name"].as_str().unwrap().to_owned();
        let v6 = record["target"]["ip"].as_str().unwrap().contains(':');
        wrong.extend(sent(&plan, &record).map(|what| format!("{host}: {what}")));
        // A host may be left out of a measurement for a reason that the lab states.
        let Some(expected) = truth.get(&(name.to_owned(), host.clone(), v6)) else { continue };
        let given: BTreeSet<String> = record["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|label| label.as_str().unwrap().to_owned())
            .collect();
        for label in expected.union(&given) {
            let (is_expected, is_given) = (expected.contains(label), given.contains(label));
            let count = counts.entry(label.clone()).or_default();
            count.expected += u32::from(is_expected);
            count.given += u32::from(is_given);
            count.both += u32::from(is_expected && is_given);
            if is_expected != is_given {
                let how = if is_given { "false alarm" } else { "missed" };
                let family = if v6 { "IPv6" } else { "IPv4" };
                wrong.push(format!("{how}: {host} ({family}): {label}"));
            }
        }
    }
    let mut table = format!("{name:44} expected  given  precision  recall\n");
    for (label, count) in &counts {
        let Count { expected, given, both } = count;
        let share = |of: &u32| match of {
            0 => "-".to_owned(),
            of => format!("{:.3}", f64::from(*both) / f64::from(*of)),
        };
        writeln!(
            table,
            "  {label:42} {expected:8} {given:6}  {:>9}  {:>6}",
            share(given),
            share(expected)
        )
        .unwrap();
        // What only a failing capture or host can give is proved elsewhere.
        let without = WITHOUT_HOST.iter().filter(|(of, ..)| *of == name);
        let is_without = without.flat_map(|(_, labels, _)| *labels).any(|known| known == label);
        // A label of a sweep is true somewhere if it is for another of its values.
        let is_true =
            || counts.iter().any(|(other, count)| count.expected > 0 && alike(label, other));
        if is_without && *expected > 0 {
            wrong.push(format!("true of a host after all: {label}"));
        }
        if !is_without && !label.ends_with(".insufficient") && !is_true() {
            wrong.push(format!("true of no host: {label}"));
        }
    }
    Report { table, wrong }
}

/// What is true of each host, as the program itself lists it.
fn truth(measurements: &[String]) -> Truth {
    let output = pathspider().args(["lab", "list", "--format", "json"]).output().unwrap();
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut truth = Truth::new();
    for host in list["hosts"].as_array().unwrap() {
        for measurement in measurements {
            for (v6, key) in [(false, "truth_v4"), (true, "truth_v6")] {
                let Some(labels) = host[key][measurement].as_array() else { continue };
                let labels =
                    labels.iter().map(|label| label.as_str().unwrap().to_owned()).collect();
                let name = host["name"].as_str().unwrap().to_owned();
                truth.insert((measurement.clone(), name, v6), labels);
            }
        }
    }
    assert!(!truth.is_empty(), "{list}");
    truth
}

/// What is wrong about the packets that a target was sent when it was first asked, if anything is.
fn sent(plan: &Value, record: &Value) -> Option<String> {
    let names = plan["configurations"].as_array().unwrap().iter();
    let packets = names.map(|config| record[config["name"].as_str().unwrap()]["pkt_fwd"].as_u64());
    let packets: Vec<Option<u64>> = packets.collect();
    let total: u64 = packets.iter().flatten().sum();
    let [usual, most] = ["usual", "most"]
        .map(|bound| plan["sent"]["per_asking"][bound]["packets"].as_u64().unwrap());
    if total > most {
        return Some(format!("sent {total} packets, more than {most}"));
    }
    // Over a path that loses nothing, to a server that answers at once: what is usual, but for a few ACKs in each
    // connection, which fall together or go with something else, or are one more on a busy machine.
    let connections = packets.len() as u64;
    let expected = usual.saturating_sub(4 * connections)..=usual + 2 * connections;
    let plain = record["target"]["name"] == "plain" && packets.iter().all(Option::is_some);
    (plain && !expected.contains(&total)).then(|| format!("sent {total} packets, not {expected:?}"))
}

fn explain(name: &str) -> Value {
    let output = pathspider().args(["explain", name, "--format", "json"]).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every label that a measurement can give, but for those that carry a value.
fn labels(plan: &Value) -> Vec<String> {
    let conditions = plan["conditions"].as_array().unwrap().iter();
    let labels = conditions.flat_map(|condition| condition["labels"].as_array().unwrap());
    let labels = labels.map(|label| label.as_str().unwrap().to_owned());
    labels.filter(|label| !label.contains(':')).collect()
}
