//! Evidence: the packets of a run's targets, as pcapng files that records name.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

#[path = "evidence/capture.rs"]
mod capture;
mod harness;
#[path = "resume/kills.rs"]
mod kills;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use capture::Captured;
use harness::Tests;
use pathspider::lab::{Lab, Spec};
use serde_json::{Map, Value};
use support::wait::until_of;
use support::{pathspider, records, stderr, summary};

fn main() -> ExitCode {
    harness::main(outside, inside)
}

fn outside(tests: &mut Tests, _: bool) {
    tests.run("bad options are errors before anything is done", bad_options);
}

fn inside(tests: &mut Tests) {
    let text = fs::read_to_string("tests/evidence/lab.toml").unwrap();
    let lab = Lab::build(&Spec::parse("lab.toml", &text).unwrap()).unwrap();
    let bench = Bench::new(&lab);
    tests.run("observe finds the facts of the run in the evidence", || bench.facts());
    tests.run("broken and transient targets have all rounds", || bench.rounds());
    tests.run("controls are marked", || bench.controls());
    tests.run("the limit leaves whole targets out and counts them", || bench.limit());
    tests.run("a file for each target", || bench.one_each());
    tests.run("parts never name packets that are not there", || bench.killed());
    tests.run("runs share a folder, and differ in the column only", || bench.unchanged());
    if Command::new("tshark").arg("--version").output().is_ok() {
        tests.run("tshark sees the same packets", || bench.tshark());
    } else {
        tests.skip("tshark sees the same packets", "there is no tshark");
    }
}

fn bad_options() {
    let folder = tempfile::tempdir().unwrap();
    let evidence = folder.path().join("evidence");
    let evidence = evidence.to_str().unwrap();
    let list = folder.path().join("targets.csv");
    fs::write(&list, "192.0.2.1,80\n").unwrap();
    let file = list.to_str().unwrap();
    for (more, expected) in [
        (&["--evidence", evidence, "--evidence-label", "brokne"][..], "has no such label"),
        (&["--evidence-label", "broken"], "--evidence <DIR>"),
        (&["--evidence", evidence, "--evidence-limit", "much"], "must be a number"),
        (&["--evidence", evidence, "--evidence-targets", "0"], "must be at least 1"),
        (&["--evidence", file], "targets.csv"),
    ] {
        let mut command = pathspider();
        command.args(["run", "ecn", "--allow-reserved", "--targets"]).arg(&list).arg("-o");
        let output = command.arg(folder.path().join("x.parquet")).args(more).output().unwrap();
        let said = stderr(&output);
        // Without the right to capture, that is what is missing first.
        let unprivileged = output.status.code() == Some(4) && more[1] == file;
        assert!(output.status.code() == Some(2) || unprivileged, "{more:?}: {said}");
        assert!(said.contains(expected) || unprivileged, "{more:?}: {said}");
    }
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["targets.csv"], "nothing else was made");
}

/// A lab around this process, and its targets in a file.
struct Bench {
    folder: tempfile::TempDir,
    list: PathBuf,
    truth: BTreeMap<u64, Vec<String>>,
}

/// What a run left.
struct Ran {
    summary: Value,
    records: Vec<Value>,
    evidence: PathBuf,
}

impl Ran {
    /// The packets of all files, by file.
    fn captured(&self) -> BTreeMap<String, Vec<Captured>> {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&self.evidence).unwrap() {
            let entry = entry.unwrap();
            let packets = capture::read(&fs::read(entry.path()).unwrap());
            files.insert(entry.file_name().into_string().unwrap(), packets);
        }
        files
    }

    /// Checks that each record names as many packets as its file has of it, and that no file has others. Gives the
    /// packets by position.
    fn packets(&self) -> BTreeMap<u64, Vec<Captured>> {
        let files = self.captured();
        let mut by_position = BTreeMap::new();
        for record in &self.records {
            let position = record["position"].as_u64().unwrap();
            let Some(file) = record["evidence"]["file"].as_str() else {
                assert!(record["evidence"].is_null(), "{record}");
                continue;
            };
            let of = format!(", position {position}");
            let is_own = |packet: &&Captured| {
                let target = packet.comment.split(';').next().unwrap();
                target.ends_with(&of) || target.ends_with(&format!("{of}, control"))
            };
            let own: Vec<_> = files[file].iter().filter(is_own).cloned().collect();
            assert_eq!(record["evidence"]["packets"], own.len(), "{record}");
            by_position.insert(position, own);
        }
        let (named, there) = (by_position.values().map(Vec::len).sum::<usize>(), files.values());
        assert_eq!(named, there.map(Vec::len).sum::<usize>(), "packets without a record");
        by_position
    }
}

/// Whether a record has a label that ends in one of these words.
fn has_label(record: &Value, words: &[&str]) -> bool {
    let labels =
        record["conditions"].as_array().unwrap().iter().map(|label| label.as_str().unwrap());
    labels.into_iter().any(|label| words.contains(&label.rsplit('.').next().unwrap()))
}

impl Bench {
    fn new(lab: &Lab) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("targets.ndjson");
        let truth = kills::list(lab, &list);
        Self { folder, list, truth }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, name: &str, more: &[&str]) -> Ran {
        let (output, evidence) = (self.path(&format!("{name}.ndjson")), self.path(name));
        let mut command = kills::command(&self.list, more);
        command.arg("--evidence").arg(&evidence).arg("-o").arg(&output);
        let ran = command.output().unwrap();
        assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
        Ran { summary: summary(&ran), records: records(&output), evidence }
    }

    /// All facts that the observer finds in the files are those of the records.
    fn facts(&self) {
        // In a round, attempts use the ports of others again.
        let ran = self.run("facts", &["--confirm", "0", "--evidence-label", "works"]);
        assert_eq!(ran.packets().len(), self.truth.len(), "{}", ran.summary);
        let mut flows = BTreeMap::new();
        for file in ran.captured().keys() {
            let facts = self.path("facts.of.ndjson");
            let mut command = pathspider();
            command.arg("observe").arg(ran.evidence.join(file)).arg("-o").arg(&facts);
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            for flow in records(&facts) {
                let ends = (flow["dip"].to_string(), flow["sp"].as_u64().unwrap());
                assert_eq!(flows.insert(ends, flow.clone()).map(drop), None, "twice: {flow}");
            }
        }
        let mut compared = BTreeSet::new();
        for record in &ran.records {
            for configuration in ["zero", "one"] {
                let facts = record[configuration].as_object().unwrap();
                assert_eq!(facts["observed"], true, "{record}");
                let port = facts["source_port"].as_u64().unwrap();
                let flow = &flows[&(record["target"]["ip"].to_string(), port)];
                assert_eq!(flow["flags"], record["flags"]);
                same_facts(facts, flow.as_object().unwrap(), &mut compared);
            }
        }
        assert!(compared.len() >= 25, "{compared:?}");
        assert_eq!(flows.len(), 2 * ran.records.len());
    }

    /// Without other labels, the packets of broken and transient targets are kept, those of rounds included.
    fn rounds(&self) {
        let ran = self.run("rounds", &[]);
        let packets = ran.packets();
        for record in &ran.records {
            let position = record["position"].as_u64().unwrap();
            let mut labels: Vec<_> = record["conditions"]
                .as_array()
                .unwrap()
                .iter()
                .map(|l| l.as_str().unwrap())
                .collect();
            labels.sort_unstable();
            assert_eq!(labels, self.truth[&position], "{record}");
            let is_wanted = has_label(record, &["broken", "transient"]);
            assert_eq!(packets.contains_key(&position), is_wanted, "{record}");
            let Some(packets) = packets.get(&position) else { continue };
            let rounds = record["confirm"]["ecn_connectivity"]["rounds"].as_u64().unwrap();
            assert!(rounds > 0, "{record}");
            for round in 0..=rounds {
                for configuration in ["zero", "one"] {
                    let of = format!("configuration {configuration} (");
                    let in_round = format!("; round {round}; ");
                    let mut own = packets
                        .iter()
                        .filter(|p| p.comment.contains(&of) && p.comment.contains(&in_round));
                    assert!(own.next().is_some(), "{of} {in_round}: {record}");
                }
            }
            for packet in packets {
                assert!(
                    packet.comment.ends_with(&format!(
                        "; {}",
                        record["conditions"]
                            .as_array()
                            .unwrap()
                            .iter()
                            .map(|l| l.as_str().unwrap())
                            .collect::<Vec<_>>()
                            .join(" ")
                    )),
                    "{packet:?}"
                );
                let ip = record["target"]["ip"].as_str().unwrap();
                assert!(packet.addresses.iter().any(|address| address == ip), "{packet:?}");
            }
        }
        let counts = &ran.summary["evidence"];
        assert_eq!(counts["targets"], packets.len(), "{counts}");
        assert_eq!(counts["packets"], packets.values().map(Vec::len).sum::<usize>());
        assert_eq!(
            (&counts["targets_omitted"], &counts["packets_omitted"]),
            (&0.into(), &0.into())
        );
    }

    fn controls(&self) {
        let ran = self.run("controls", &["--control", "50%", "--evidence-label", "works"]);
        let packets = ran.packets();
        let mut controls = 0;
        for record in &ran.records {
            let Some(packets) = packets.get(&record["position"].as_u64().unwrap()) else {
                continue;
            };
            let is_control = record["control"].as_bool().unwrap();
            controls += usize::from(is_control);
            assert!(
                packets.iter().all(|p| p.comment.contains(", control;") == is_control),
                "{record}"
            );
        }
        assert!(controls > 5 && controls < ran.records.len() - 5, "{controls}");
    }

    fn limit(&self) {
        let ran = self.run("limit", &["--confirm", "0", "--evidence-limit", "10K"]);
        let packets = ran.packets();
        let broken =
            ran.records.iter().filter(|record| has_label(record, &["broken", "transient"]));
        let (broken, kept) = (broken.count(), packets.len());
        assert!(kept > 0 && kept < broken, "{kept} of {broken}");
        let counts = &ran.summary["evidence"];
        assert_eq!(
            (&counts["targets"], &counts["targets_omitted"]),
            (&kept.into(), &(broken - kept).into())
        );
        assert!(counts["packets_omitted"].as_u64().unwrap() > 0, "{counts}");
        let octets: u64 = fs::read_dir(&ran.evidence)
            .unwrap()
            .map(|e| e.unwrap().metadata().unwrap().len())
            .sum();
        assert!(octets <= 10 << 10, "{octets}");
    }

    fn one_each(&self) {
        let ran = self.run("each", &["--confirm", "0", "--evidence-targets", "1"]);
        let packets = ran.packets();
        assert_eq!(ran.captured().len(), packets.len());
        let named = ran.records.iter().filter_map(|record| record["evidence"]["file"].as_str());
        assert_eq!(named.collect::<BTreeSet<_>>().len(), packets.len(), "names are unique");
    }

    /// Packets do not change what a run finds, and another run may use the same folder.
    fn unchanged(&self) {
        let ran = self.run("shared", &["--confirm", "0"]);
        let before = ran.captured();
        fs::rename(self.path("shared.ndjson"), self.path("first.ndjson")).unwrap();
        let again = self.run("shared", &["--confirm", "0"]);
        let mut after = again.captured();
        assert_eq!(after.len(), before.len() + 1);
        after.retain(|name, _| before.contains_key(name));
        assert_eq!(after, before, "the other run's files are as they were");
        let columns =
            |record: &Value| record.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let output = self.path("without.ndjson");
        let mut command = kills::command(&self.list, &["--confirm", "0", "-o"]);
        let without = command.arg(&output).output().unwrap();
        assert_eq!(without.status.code(), Some(0), "{}", stderr(&without));
        let mut with = columns(&ran.records[0]);
        assert_eq!(with.pop().as_deref(), Some("evidence"));
        assert_eq!(columns(&records(&output)[0]), with);
        assert_eq!(summary(&without).get("evidence"), None);
    }

    /// A run that is killed at any moment: what a record names is on disk.
    fn killed(&self) {
        let (output, evidence) = (self.path("killed/"), self.path("killed.evidence"));
        let evidence_of = evidence.to_str().unwrap().to_owned();
        let pace = [
            "--rate",
            "50",
            "--wave",
            "6",
            "--confirm",
            "0",
            "--evidence-label",
            "works",
            "--evidence",
        ];
        let more: Vec<&str> = pace.into_iter().chain([evidence_of.as_str()]).collect();
        let octets = || -> u64 {
            let files = fs::read_dir(&evidence).into_iter().flatten();
            files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
        };
        let parts = || fs::read_dir(output.join("records")).map_or(0, Iterator::count);
        // Killed as soon as packets are there, whose records may not be, and as soon as a part is.
        for what in ["packets", "a part", "packets"] {
            let mut command = kills::go_on(&self.list, &output, &more);
            let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let (octets_before, parts_before) = (octets(), parts());
            until_of(&mut child, what, || match what {
                "packets" => octets() > octets_before,
                _ => parts() > parts_before,
            });
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let last = kills::go_on(&self.list, &output, &more).output().unwrap();
        assert_eq!(last.status.code(), Some(0), "{}", stderr(&last));
        assert_eq!(kills::records(&output), self.truth);
        let whole = self.path("killed.ndjson");
        let mut command = pathspider();
        command.args(["merge", "-o"]).arg(&whole).arg(&output);
        assert!(command.output().unwrap().status.success());
        let ran = Ran { summary: summary(&last), records: records(&whole), evidence };
        let files = ran.captured();
        assert!(files.len() >= 4, "one of each session: {:?}", files.keys());
        for record in &ran.records {
            let of = format!(", position {};", record["position"]);
            let file = record["evidence"]["file"].as_str().unwrap_or_else(|| panic!("{record}"));
            let own = files[file].iter().filter(|packet| packet.comment.contains(&of)).count();
            // A target may have been written before a kill, and again after it, but not into the same file.
            assert_eq!(record["evidence"]["packets"], own, "{record}");
        }
        for file in files.keys() {
            let output = pathspider().arg("observe").arg(ran.evidence.join(file)).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{file}: {}", stderr(&output));
        }
        let verified = pathspider().arg("verify").arg(&output).output().unwrap();
        assert!(verified.status.success(), "{}", stderr(&verified));
        let mut other = kills::command(&self.list, &["--resume"]);
        let other = other.arg(&output).args(&more[..6]).output().unwrap();
        assert_eq!(other.status.code(), Some(2), "{}", stderr(&other));
    }

    /// Another program finds the same packets and comments.
    fn tshark(&self) {
        let ran = self.run("tshark", &["--confirm", "0"]);
        for (file, packets) in ran.captured() {
            let fields = ["frame.time_epoch", "frame.len", "frame.cap_len", "frame.comment"];
            let mut command = Command::new("tshark");
            command
                .args(["-n", "-T", "fields", "-E", "separator=|", "-r"])
                .arg(ran.evidence.join(file));
            command.args(fields.iter().flat_map(|field| ["-e", field]));
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", stderr(&output));
            let seen = String::from_utf8(output.stdout).unwrap();
            let wrote: Vec<String> = packets
                .iter()
                .map(|packet| {
                    let (seconds, nanos) =
                        (packet.time / 1_000_000_000, packet.time % 1_000_000_000);
                    let Captured { wire, octets, comment, .. } = packet;
                    format!("{seconds}.{nanos:09}|{wire}|{octets}|{comment}")
                })
                .collect();
            assert_eq!(seen.lines().collect::<Vec<_>>(), wrote);
        }
    }
}

/// Compares all facts that both have; notes which had a value.
fn same_facts(
    run: &Map<String, Value>,
    flow: &Map<String, Value>,
    compared: &mut BTreeSet<String>,
) {
    for (name, fact) in run.iter().filter(|(name, _)| flow.contains_key(*name)) {
        assert_eq!(&flow[name], fact, "{name}: {run:?}");
        if !fact.is_null() {
            compared.insert(name.clone());
        }
    }
}

// Not all of it is needed here.
const _: fn() = || {
    let _ = (kills::kill_and_resume, kills::spec);
};
