//! A host off the path decides nothing: it knows the targets, the measurement, the seed and the range of source ports, it can
//! send packets from any address, and it sees none. Whatever it sends, no label of any shipped measurement is another
//! one than without it; at worst it is `insufficient`, and then the run ends with exit code 3 and says why. Nor does it
//! change what the kernel keeps of paths.
//!
//! One round of all attacks at once. `PATHSPIDER_OFFPATH=N` runs N rounds, and one of each attack alone;
//! `PATHSPIDER_OFFPATH_ONLY=WORD` runs the measurements with this word in their names.
//!
//! `cargo test --test offpath -- --nocapture --test-threads 1` shows how many labels were left, and why not all.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

#[path = "offpath/attacker.rs"]
mod attacker;
#[path = "offpath/attacks.rs"]
mod attacks;
mod harness;
#[path = "support/router.rs"]
mod router;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::process::{Command, ExitCode};

use arrow_schema::Fields;
use attacker::{Aim, attacked};
use attacks::{ATTACKS, Attack, Transport};
use harness::Tests;
use pathspider::lab::{Lab, Spec};
use pathspider::measurement::{Plan, SHIPPED};
use support::listed::Listed;
use support::{NO_STRANGERS, pathspider, records};

/// 40 targets that answer, late enough for the attacker to try every source port before they do, and some that do not.
const LAB: &str = r#"
[[host]]
name = "plain"
title = "Linux as it comes."
count = 16
delay_ms = 150
server = { udp_zero6 = true }

[[host]]
name = "reset"
title = "A box on the path resets what asks for ECN."
count = 4
delay_ms = 150
path = ["tcp flags & (syn|ack|ecn|cwr) == (syn|ecn|cwr) reject with tcp reset"]

[[host]]
name = "silent"
title = "Never answers."
count = 2
path = ["drop"]
"#;

/// The host whose targets never answer.
const SILENT: &str = "silent";
/// Measurements of them, too, one over each transport: it takes as long as their timeouts.
const WITH_SILENT: [&str; 2] = ["ecn", "udpzero"];

/// What no run can do in a user namespace: have the kernel forget the cookies of the targets.
const SKIPPED: &str = "tfo";

const INSUFFICIENT: &str = ".insufficient";

/// The source ports of the runs. A real range is larger, which only makes the attacker slower.
const PORTS: RangeInclusive<u16> = 40_000..=40_383;

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    let lab = Lab::build(&Spec::parse("off-path", LAB).unwrap()).unwrap();
    let listed = Listed::new(&lab);
    let list = |with_silent: bool, port: u16| -> String {
        let targets = lab.targets().iter();
        let targets = targets
            .filter(|target| with_silent || lab.hosts()[target.host].name != SILENT)
            .map(|target| format!("{{\"dip\": \"{}\", \"dp\": {port}}}\n", target.addr));
        targets.collect()
    };
    assert_eq!(list(false, 80).lines().count(), 40);
    let variable = |name: &str| std::env::var(name).ok();
    let rounds: Option<usize> =
        variable("PATHSPIDER_OFFPATH").map(|rounds| rounds.parse().unwrap());
    let only = variable("PATHSPIDER_OFFPATH_ONLY").unwrap_or_default();
    for (name, text) in SHIPPED.iter().filter(|(name, _)| name.contains(&only)) {
        if *name == SKIPPED {
            tests.skip(&check(name), "the kernel forgets cookies only for the root of the host");
            continue;
        }
        let port = Plan::load(name, text, &Fields::empty()).unwrap().port();
        std::fs::write(&listed.list, list(WITH_SILENT.contains(name), port)).unwrap();
        let transport = match text.contains("protocol = \"udp\"") {
            true => Transport::Udp,
            false => Transport::Tcp,
        };
        let concerned: Vec<&Attack> =
            ATTACKS.iter().filter(|row| row.concerns(transport)).collect();
        let mut sets = vec![concerned.clone(); rounds.unwrap_or(1)];
        if rounds.is_some() {
            sets.extend(concerned.iter().map(|attack| vec![*attack]));
        }
        tests.run(&check(name), || {
            let quiet = run(&listed, name);
            let faults: Vec<String> = sets
                .iter()
                .flat_map(|set| faults(&lab, &listed, &quiet, name, (transport, port), set))
                .collect();
            assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
        });
    }
}

/// The name of a measurement's check.
fn check(measurement: &str) -> String {
    format!("no host off the path changes a label of {measurement}")
}

/// What a run said.
struct Said {
    code: i32,
    stderr: String,
    /// The labels of each target.
    labels: BTreeMap<String, BTreeSet<String>>,
}

impl Said {
    fn insufficient(&self) -> usize {
        self.labels.values().flatten().filter(|label| is_insufficient(label)).count()
    }
}

fn is_insufficient(label: &str) -> bool {
    label.ends_with(INSUFFICIENT)
}

/// Whether nothing is concluded, among these labels, of the condition that a label is of.
fn is_unknown(label: &str, labels: &BTreeSet<String>) -> bool {
    let conditions = labels.iter().filter_map(|other| other.strip_suffix(INSUFFICIENT));
    conditions.into_iter().any(|condition| label.starts_with(condition))
}

fn run(listed: &Listed, measurement: &str) -> Said {
    let path = listed.path("records.ndjson");
    let _ = std::fs::remove_file(&path);
    let ended = pathspider()
        .env("PATHSPIDER_STATE", listed.path("state"))
        .args(["run", measurement, "--confirm", "0", "-i", &listed.interface])
        .args(["--source-ports", &format!("{}-{}", PORTS.start(), PORTS.end())])
        .args(NO_STRANGERS)
        .arg("--targets")
        .arg(&listed.list)
        .arg("-o")
        .arg(&path)
        .output()
        .unwrap();
    let stderr = support::stderr(&ended);
    let code = ended.status.code().unwrap_or(-1);
    assert!(matches!(code, 0 | 3), "{measurement}: {code}: {stderr}");
    let labels = records(&path).into_iter().map(|record| {
        let labels = record["conditions"].as_array().into_iter().flatten();
        let labels = labels.map(|label| label.as_str().unwrap().to_owned()).collect();
        (record["target"]["ip"].as_str().unwrap().to_owned(), labels)
    });
    Said { code, stderr, labels: labels.collect() }
}

/// What the kernel keeps of path MTUs, a line for each target; it forgets them.
fn path_mtus() -> impl Iterator<Item = String> {
    let ip = |arguments: &[&str]| {
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
        let output = Command::new("ip").args(arguments).env("PATH", path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let routes = ["-4", "-6"].map(|family| {
        let routes = ip(&[family, "-o", "route", "show", "cache"]);
        ip(&[family, "route", "flush", "cache"]);
        routes
    });
    let lines: Vec<String> = routes.concat().lines().map(str::to_owned).collect();
    lines.into_iter().filter(|line| line.contains("mtu"))
}

/// Runs a measurement under these attacks, and says what is not as it should be, a line each.
fn faults(
    lab: &Lab,
    listed: &Listed,
    quiet: &Said,
    measurement: &str,
    (transport, port): (Transport, u16),
    attacks: &[&Attack],
) -> Vec<String> {
    let aim = Aim::at(lab, (transport, port), PORTS);
    let (said, sent) = attacked(&aim, attacks, || run(listed, measurement));
    let names: Vec<&str> = attacks.iter().map(|attack| attack.name).collect();
    let names = names.join(", ");
    let mut faults: Vec<String> = path_mtus()
        .map(|route| format!("{measurement}: the kernel keeps a path MTU: {route} ({names})"))
        .collect();
    let (mut all, mut same) = (0, 0);
    for (ip, before) in &quiet.labels {
        let Some(now) = said.labels.get(ip) else {
            faults.push(format!("{measurement}: {ip} has no record ({names})"));
            continue;
        };
        all += before.len();
        same += now.intersection(before).count();
        // A label that differs has `insufficient` in its place, in one run or the other.
        let changed = |these: &BTreeSet<String>, those: &BTreeSet<String>| -> Vec<String> {
            let others = these.difference(those).filter(|label| !is_insufficient(label));
            others.filter(|label| !is_unknown(label, those)).cloned().collect()
        };
        for (word, labels) in [("given", changed(now, before)), ("missing", changed(before, now))] {
            let labels = labels.into_iter();
            faults.extend(
                labels.map(|label| format!("{measurement}: {ip}: {label} {word} ({names})")),
            );
        }
    }
    let insufficient = said.insufficient();
    if insufficient > quiet.insufficient() && said.code != 3 {
        faults.push(format!(
            "{measurement}: {insufficient} labels are insufficient, and the exit code is {} ({names}): {}",
            said.code, said.stderr
        ));
    }
    let mut line =
        format!("{measurement}: {same} of {all} labels as before, {insufficient} insufficient");
    write!(line, ", exit code {}, {sent} packets of {names}", said.code).unwrap();
    eprintln!("{line}");
    if said.code != quiet.code {
        let last: Vec<&str> = said.stderr.lines().rev().take(6).collect();
        eprintln!("{}", last.into_iter().rev().collect::<Vec<_>>().join("\n"));
    }
    // A run that concludes nothing under attack is no proof of anything.
    if same == 0 {
        faults.push(format!("{measurement}: none of {all} labels is left ({names})"));
    }
    faults
}
