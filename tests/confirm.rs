//! Conclusions with confidence: rounds, their counts in the records, and controls, in a lab whose paths cut off what they
//! do not like, so that nobody waits.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::BufRead as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use harness::Tests;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathspider::lab::{Lab, Spec};
use serde_json::{Value, json};
use support::{NO_STRANGERS, records, summary};

/// Half of the addresses are IPv6.
const HOSTS: &str = r#"
[[host]]
name = "plain"
title = "Works."
count = 30

[[host]]
name = "ecn-reset"
title = "Resets what asks for ECN."
count = 5
path = ["tcp flags & (syn|ack|ecn|cwr) == (syn|ecn|cwr) reject with tcp reset"]

[[host]]
name = "every-other"
title = "Resets every other connection, whatever it asks for."
count = 10
path = ["tcp flags & (syn|ack) == syn numgen inc mod 2 1 reject with tcp reset"]
"#;

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    let lab = Lab::build(&Spec::parse("a lab to be sure in", HOSTS).unwrap()).unwrap();
    let bench = Bench::new(&lab);
    tests.run("a record has how its rounds went, and that is all a verdict needs", || {
        bench.counts()
    });
    tests.run("rounds are apart as the file says, from baseline to experiment", || bench.spread());
    tests.run("who was not asked often enough is asked from the beginning", || bench.stopped());
    tests.run("controls of paths that are well alarm nobody", || bench.well());
    tests.run("what breaks without the experiment alarms falsely", || bench.alarmed());
    tests.run("controls are the same on every shard", || bench.shards());
}

struct Bench {
    folder: tempfile::TempDir,
    /// Lines of the list, by the kind of host.
    lines: BTreeMap<String, String>,
}

impl Bench {
    fn new(lab: &Lab) -> Self {
        let mut lines: BTreeMap<String, String> = BTreeMap::new();
        for target in lab.targets() {
            let name = &lab.hosts()[target.host].name;
            let lines = lines.entry(name.clone()).or_default();
            let (addr, port) = (target.addr, target.port);
            writeln!(lines, r#"{{"dip": "{addr}", "dp": {port}, "domain": "{name}"}}"#).unwrap();
        }
        Self { folder: tempfile::tempdir().unwrap(), lines }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A list of these kinds of hosts.
    fn list(&self, hosts: &[&str]) -> PathBuf {
        let path = self.path(&format!("{}.ndjson", hosts.join("+")));
        let lines: Vec<&str> = hosts.iter().map(|host| self.lines[*host].as_str()).collect();
        fs::write(&path, lines.concat()).unwrap();
        path
    }

    fn command(&self, measurement: &str, hosts: &[&str], more: &[&str]) -> Command {
        let mut command = pathspider(&["run", measurement, "--format", "json"]);
        command.args(NO_STRANGERS).arg("--targets");
        command.env("PATHSPIDER_STATE", self.path("state"));
        command.arg(self.list(hosts)).args(more);
        command
    }

    fn run(&self, hosts: &[&str], more: &[&str], out: &Path) -> Value {
        let output = self.command("ecn", hosts, more).arg("-o").arg(out).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        summary(&output)
    }

    /// The measurement with another `[confirm]`.
    fn measurement(&self, confirm: &str) -> String {
        let path = self.path("confirm.toml");
        let text = fs::read_to_string("measurements/ecn.toml").unwrap();
        fs::write(&path, format!("{text}\n[confirm]\n{confirm}\n")).unwrap();
        path.display().to_string()
    }

    fn counts(&self) {
        let hosts = ["plain", "ecn-reset"];
        let out = self.path("counts.parquet");
        let measurement = self.measurement("spread = '10ms'");
        let run = |more: &[&str]| {
            let mut command = self.command(&measurement, &hosts, more);
            let output = command.arg("-o").arg(&out).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{output:?}");
            summary(&output)
        };
        let ran = run(&["--confirm", "3"]);
        // Two attempts for each of 70 targets, and six more for each that looks broken.
        assert_eq!(ran["attempts"]["ok"].as_u64(), Some(60 * 2 + 10 + 3 * 10), "{ran}");
        assert_eq!(ran["attempts"]["failed"].as_u64(), Some(4 * 10), "{ran}");
        assert_eq!(ran["targets"]["asked_again"], 30, "{ran}");
        let judged = self.path("judged.ndjson");
        let again = pathspider(&["judge"]).arg(&out).arg("-o").arg(&judged).output().unwrap();
        assert_eq!(again.status.code(), Some(0), "{again:?}");
        for record in records(&judged) {
            let broken = record["target"]["name"] == "ecn-reset";
            let expected = json!({ "rounds": 3, "works": 0, "broken": 3, "transient": 0, "offline": 0,
                                   "insufficient": 0 });
            let rounds = &record["confirm"]["ecn_connectivity"];
            assert_eq!(*rounds, if broken { expected } else { Value::Null }, "{record}");
            let word = if broken { "broken" } else { "works" };
            assert_eq!(record["verdict"]["ecn_connectivity"], word, "{record}");
            assert_eq!(record["control"], false);
        }
        let once = run(&["--confirm", "0"]);
        assert_eq!(once["attempts"]["failed"].as_u64(), Some(10), "{once}");
        assert_eq!(once["conditions"]["ecn.connectivity.broken"], 10, "{once}");
    }

    fn spread(&self) {
        let measurement = self.measurement("rounds = 2\nspread = '700ms'");
        let mut command = self.command(&measurement, &["ecn-reset"], &["-v", "-o"]);
        let start = Instant::now();
        let output = command.arg(self.path("spread.ndjson")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(start.elapsed() >= Duration::from_millis(2 * 700), "{:?}", start.elapsed());
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        let turns =
            log.lines().filter_map(|line| line.split_once("configurations ")?.1.chars().next());
        assert_eq!(turns.collect::<String>(), "010101", "{log}");
    }

    fn stopped(&self) {
        let measurement = self.measurement("spread = '2s'");
        let hosts = ["ecn-reset", "plain"];
        let results = self.path("stopped/");
        let mut command = self.command(&measurement, &hosts, &["-v", "--wave", "40", "-o"]);
        command.arg(&results).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        // Then the first wave, which has all that look broken, is with the writer.
        while !line.contains("wave 2: configurations 1") {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "there was no second wave");
        }
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
        std::io::copy(&mut log, &mut std::io::sink()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(5), "{output:?}");
        let stopped = summary(&output);
        assert_eq!(stopped["conditions"]["ecn.connectivity.broken"], Value::Null, "{stopped}");
        let numbers = ["records", "unfinished", "read"];
        let [records, unfinished, read] = numbers.map(|key| {
            let of = if key == "records" { &stopped } else { &stopped["targets"] };
            of[key].as_u64().unwrap()
        });
        assert!(records >= 30 && unfinished >= 10 && records + unfinished == read, "{stopped}");
        let mut command = self.command(&measurement, &hosts, &["--wave", "40", "--resume"]);
        let output = command.arg(&results).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let resumed = summary(&output);
        assert_eq!(resumed["records"], 70, "{resumed}");
        assert_eq!(resumed["conditions"]["ecn.connectivity.broken"], 10, "{resumed}");
        assert_eq!(resumed["conditions"]["ecn.connectivity.works"], 60, "{resumed}");
    }

    fn well(&self) {
        let out = self.path("well.ndjson");
        let ran = self.run(&["plain", "ecn-reset"], &["--control", "40%"], &out);
        let controls =
            records(&out).iter().filter(|record| record["control"] == true).count() as u64;
        assert!((10..60).contains(&controls), "{controls} controls");
        assert_eq!(ran["controls"]["records"], controls, "{ran}");
        let broken = &ran["controls"]["false_alarms"]["ecn.connectivity.broken"];
        assert_eq!((&broken["given"], &broken["of"]), (&json!(0), &json!(controls)), "{ran}");
        let high = broken["high"].as_f64().unwrap();
        // Wilson's bound for none: z squared over n and z squared.
        assert!((high - 3.841_46 / (controls as f64 + 3.841_46)).abs() < 1e-5, "{ran}");
        let told = ran["conditions"]["ecn.connectivity.broken"].as_u64().unwrap();
        assert!((1..10).contains(&told), "controls are counted apart: {ran}");
        // Some are asked before the last of the others is, though all would fit into one wave.
        let span = |whose: &str| {
            ["first", "last"].map(|end| ran["controls"][whose][end].as_str().unwrap().to_owned())
        };
        let ([first, last], [others_first, others_last]) =
            (span("started"), span("others_started"));
        assert!(others_first < first && first < others_last && first < last, "{ran}");
        let metadata = fs::read_to_string(self.path("well.ndjson.meta.json")).unwrap();
        assert!(metadata.contains("false_alarms") && metadata.contains("Wilson"), "{metadata}");
        for record in records(&out).iter().filter(|record| record["control"] == true) {
            assert_eq!(record["verdict"]["ecn_connectivity"], "works", "{record}");
            assert_eq!(record["verdict"]["ecn_negotiation"], "failed", "nobody asked: {record}");
        }
    }

    fn alarmed(&self) {
        let out = self.path("alarmed.parquet");
        // One target at a time: each of its experiments is every other connection.
        let ran = self.run(&["plain", "every-other"], &["--control", "0.4", "--wave", "1"], &out);
        let broken = &ran["controls"]["false_alarms"]["ecn.connectivity.broken"];
        assert!(broken["given"].as_u64() > Some(0), "{ran}");
        let [rate, low, high] = ["rate", "low", "high"].map(|key| broken[key].as_f64().unwrap());
        assert!(0.0 < low && low < rate && rate < high && high < 1.0, "{ran}");
        let output = pathspider(&["judge"])
            .arg(&out)
            .arg("-o")
            .arg(self.path("alarmed-again.parquet"))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            text.contains("  false alarms ") && text.contains("targets were controls"),
            "{text}"
        );
    }

    fn shards(&self) {
        let controls = |more: &[&str], name: &str| -> BTreeSet<u64> {
            let out = self.path(name);
            self.run(&["plain"], &[&["--control", "30%"], more].concat(), &out);
            let records = records(&out).into_iter().filter(|record| record["control"] == true);
            records.map(|record| record["position"].as_u64().unwrap()).collect()
        };
        let whole = controls(&["--wave", "7"], "whole.ndjson");
        let first = controls(&["--shard", "1/2"], "first.ndjson");
        let second = controls(&["--shard", "2/2"], "second.ndjson");
        assert!(!first.is_empty() && !second.is_empty(), "{whole:?}");
        assert_eq!(first.union(&second).copied().collect::<BTreeSet<_>>(), whole);
    }
}

fn pathspider(arguments: &[&str]) -> Command {
    let mut command = support::pathspider();
    command.args(arguments);
    command
}
