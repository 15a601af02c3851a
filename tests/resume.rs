//! Runs that are killed, that run out of disk, that are shared by several machines: whatever happened, the whole has
//! each target once, and what does not fit is refused.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
#[path = "resume/kills.rs"]
mod kills;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use harness::Tests;
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathspider::lab::Lab;
use pathspider::sink::{self, Stored};
use serde_json::{Value, json};
use support::wait::until_of;
use support::{pathspider, stderr, summary};

const TARGETS: usize = 300;
/// Of the moments in which runs are killed.
const SEED: u64 = 5;

fn main() -> ExitCode {
    harness::main(outside, inside)
}

fn outside(tests: &mut Tests, namespaces: bool) {
    if namespaces {
        tests.run("a killed lab run is resumed and agrees with the truth", killed_lab);
    } else {
        tests.skip(
            "a killed lab run is resumed and agrees with the truth",
            "no user namespace can be entered here",
        );
    }
}

fn inside(tests: &mut Tests) {
    // For file systems of our own, which nobody else sees.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let lab = Lab::build(&kills::spec(TARGETS)).unwrap();
    let bench = Bench::new(&lab);
    tests.run("killed at random moments, into a folder", || bench.killed("results/"));
    tests.run("killed at random moments, into a file", || bench.killed("x.parquet"));
    tests.run("interrupted, and resumed", || bench.interrupted());
    tests.run("what does not fit is refused", || bench.refused());
    tests
        .run("a spoiled part is kept aside and its targets are measured again", || bench.spoiled());
    tests.run("a full disk leaves a run that can be resumed", || bench.disk_full());
    tests.run("shards and merge", || bench.shards());
}

/// The summary of a run that ended well.
fn done(command: &mut Command) -> Value {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{command:?}: {}", stderr(&output));
    summary(&output)
}

/// A command is refused, with these words.
fn refused(command: &mut Command, words: &str) {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{command:?}: {}", stderr(&output));
    assert!(stderr(&output).contains(words), "{command:?}: {}", stderr(&output));
}

fn metadata(file: &Path) -> BTreeMap<String, String> {
    Stored::open(file).unwrap().metadata().into_iter().collect()
}

fn killed_lab() {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results/");
    let command = |what: &str| {
        let mut command = pathspider();
        command
            .args(["run", "ecn", "--lab", "--wave", "300", "--format", "json", what])
            .arg(&results);
        command
    };
    let mut child = command("-o").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Once a part is there, a killed run has something to go on with.
    until_of(&mut child, "a part", || results.join("records/part-00000.parquet").exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let summary = done(&mut command("--resume"));
    assert_eq!(summary["lab_agrees"], true, "{summary}");
    let targets = &summary["targets"];
    // Those of the first wave that were not to be asked again.
    assert!(targets["refused"]["resumed"].as_u64() >= Some(20), "{summary}");
    assert_eq!(summary["records"], targets["read"]);
    assert_eq!(kills::records(&results).len() as u64, summary["records"].as_u64().unwrap());
    opens_as_a_folder(&results);
}

/// Readers of Parquet take the folder of records for one table.
fn opens_as_a_folder(results: &Path) {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    assert!(python.exists(), "no {}: make test-setup", python.display());
    let output = Command::new(python)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("tests/python/check_folder.py")
        .arg(results.join(sink::RECORDS))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}

/// A lab around this process, and its targets in a file.
struct Bench {
    folder: tempfile::TempDir,
    list: PathBuf,
    truth: BTreeMap<u64, Vec<String>>,
}

impl Bench {
    fn new(lab: &Lab) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("targets.ndjson");
        let truth = kills::list(lab, &list);
        assert_eq!(truth.len(), TARGETS);
        Self { folder, list, truth }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn killed(&self, output: &str) {
        let output = self.path(output);
        // Four seconds of work, in waves of a third of a second.
        let pace = ["--rate", "150", "--wave", "25"];
        let longest = Duration::from_millis(1800);
        let (killed, last) = kills::kill_and_resume(&self.list, &output, &pace, 8, longest, SEED);
        assert_eq!(last.status.code(), Some(0), "{}", stderr(&last));
        eprintln!("     killed {killed} times");
        assert!(killed >= 4, "it was done after {killed}");
        assert_eq!(kills::records(&output), self.truth);
        let summary = summary(&last);
        assert_eq!(summary["records"], TARGETS, "{summary}");
        assert_eq!(summary["targets"]["read"], TARGETS);
        assert_eq!(summary["complete"], true);
        let left = fs::read_dir(self.folder.path()).unwrap();
        let left = left
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.'));
        assert_eq!(left.count(), 0, "something is left");
    }

    fn interrupted(&self) {
        let output = self.path("interrupted.parquet");
        let mut command = kills::go_on(&self.list, &output, &["--rate", "200", "--wave", "20"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let parts = sink::parts_of(&output);
        until_of(&mut child, "a part", || parts.join("records/part-00000.parquet").exists());
        kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let stopped = child.wait_with_output().unwrap();
        assert_eq!(stopped.status.code(), Some(5));
        let stopped = summary(&stopped);
        assert_eq!(stopped["resume"], output.to_str().unwrap());
        // What was finished is in the file.
        let records = kills::records(&output);
        assert_eq!(stopped["records"], records.len(), "{stopped}");
        let read = stopped["targets"]["read"].as_u64().unwrap();
        let unfinished = stopped["targets"]["unfinished"].as_u64().unwrap();
        assert_eq!(read, records.len() as u64 + unfinished, "{stopped}");
        assert_eq!(metadata(&output)["complete"], "false");

        let mut again = kills::command(&self.list, &["-o"]);
        refused(again.arg(&output), "--resume");
        let whole = done(&mut kills::go_on(&self.list, &output, &[]));
        assert_eq!(whole["targets"]["refused"]["resumed"], records.len());
        assert_eq!(kills::records(&output), self.truth);
        let stored = metadata(&output);
        assert_eq!((stored["complete"].as_str(), stored["sessions"].as_str()), ("true", "2"));
        // Of both sessions; some of the first were of targets that it did not finish.
        let attempts: usize = stored["attempts_ok"].parse().unwrap();
        assert!((2 * TARGETS..2 * TARGETS + 40).contains(&attempts), "{attempts}");
        let mut again = kills::command(&self.list, &["--resume"]);
        refused(again.arg(&output), "nothing to resume");
    }

    fn spoiled(&self) {
        let results = self.path("spoiled/");
        let pace = ["--rate", "400", "--wave", "50"];
        done(&mut kills::go_on(&self.list, &results, &pace));
        // At the end of a run, its parts are joined.
        let part = || {
            let parts = sink::parquet_files(&results).unwrap();
            assert_eq!(parts.len(), 1, "{parts:?}");
            parts[0].clone()
        };
        let name = |part: &Path| part.file_name().unwrap().to_str().unwrap().to_owned();
        let verify = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
            command.args(["verify", "--format", "json"]).arg(&results).output().unwrap()
        };
        let flip = |file: &Path, at: usize| {
            let mut octets = fs::read(file).unwrap();
            octets[at] ^= 4;
            fs::write(file, octets).unwrap();
        };
        let resume = || kills::go_on(&self.list, &results, &pace).output().unwrap();
        assert_eq!(verify().status.code(), Some(0), "{:?}", verify());
        let first = part();
        flip(&first, 3000);
        assert_eq!(verify().status.code(), Some(1));

        // With what others say of it, and without.
        let whole = self.path("whole.parquet");
        let merge = |more: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
            command
                .args(["merge", "--format", "json"])
                .args(more)
                .arg(&results)
                .arg("-o")
                .arg(&whole);
            command
        };
        let is_spoiled = format!("{} is spoiled", name(&first));
        refused(&mut merge(&[]), &is_spoiled);

        let spoiled = fs::read(&first).unwrap();
        let output = resume();
        let (text, summary) = (stderr(&output), summary(&output));
        assert!(output.status.code() == Some(0) && text.contains(&is_spoiled), "{text}");
        assert_eq!(
            (&summary["targets"]["refused"]["resumed"], &summary["records"]),
            (&json!(0), &json!(TARGETS))
        );
        assert!(!first.exists());
        let aside = results.join(format!("{}.spoiled", name(&first)));
        assert_eq!(fs::read(aside).unwrap(), spoiled);
        assert_eq!(kills::records(&results), self.truth);
        assert_eq!(verify().status.code(), Some(0), "{:?}", verify());

        // A copy takes nothing away; what is in a missing part is measured again.
        let second = part();
        let copy = second.with_file_name("part-00090.parquet");
        fs::copy(&second, &copy).unwrap();
        let output = resume();
        let is_copy = format!("it is a copy of {}", name(&second));
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains(&is_copy), "{}", stderr(&output));
        assert_eq!(kills::records(&results), self.truth);
        fs::remove_file(part()).unwrap();
        assert_eq!(resume().status.code(), Some(0));
        assert_eq!(kills::records(&results), self.truth);
        assert_eq!(verify().status.code(), Some(0), "{:?}", verify());

        // A part with the name of another one is for the user to rename: nothing is lost.
        let third = part();
        fs::rename(&third, &copy).unwrap();
        let output = resume();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let is_misnamed = format!("it is {}: rename it", name(&third));
        assert!(stderr(&output).contains(&is_misnamed), "{}", stderr(&output));
        fs::rename(&copy, &third).unwrap();

        // A line of the journal, not the first.
        let journal = results.join(sink::JOURNAL);
        let at = fs::read_to_string(&journal).unwrap().find("\"rows\"").unwrap();
        flip(&journal, at + 8);
        assert_eq!(verify().status.code(), Some(1));
        let output = resume();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains("journal.ndjson.spoiled"), "{}", stderr(&output));
        assert_eq!(verify().status.code(), Some(0), "{:?}", verify());
        assert_eq!(kills::records(&results), self.truth);
        // The first line says which run it is: without it there is nothing to go on with.
        flip(&journal, 20);
        let output = resume();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("no longer identifies the run"), "{}", stderr(&output));
    }

    fn refused(&self) {
        let results = self.path("refused/");
        done(kills::command(&self.list, &["-o"]).arg(&results));
        let resume = |list: &Path, more: &[&str]| {
            let mut command = kills::command(list, more);
            command.arg("--resume").arg(&results);
            command
        };
        let text = fs::read_to_string(&self.list).unwrap();
        let other = self.path("other.ndjson");
        fs::write(&other, text.replacen("80", "81", 1)).unwrap();
        refused(&mut resume(&other, &[]), "its target list");
        refused(&mut resume(&self.list, &["--shard", "1/2"]), "its --shard");
        refused(&mut resume(&self.list, &["--port", "81"]), "its --port");
        refused(&mut resume(&self.list, &["--seed", "1"]), "its --seed");
        refused(&mut resume(&self.list, &["--order", "list"]), "its --order");
        refused(&mut resume(Path::new("-"), &[]), "standard input");
        refused(
            kills::command(&self.list, &["--resume"]).arg(self.path("none/")),
            "there is no run",
        );
        refused(
            &mut kills::command(&self.list, &["--resume", "x.ndjson"]),
            "only a run that writes to a folder",
        );
        refused(kills::command(&self.list, &["-o"]).arg(&results), "there are results already");
        let measurement = self.path("ecn.toml");
        let text = fs::read_to_string("measurements/ecn.toml").unwrap();
        fs::write(&measurement, text.replace("timeout = \"3s\"", "timeout = \"2s\"")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
        command.arg("run").arg(&measurement).arg("--targets").arg(&self.list);
        refused(command.arg("--resume").arg(&results), "its measurement");
        let _open = fs::File::open(results.join(sink::JOURNAL)).unwrap();
        _open.lock().unwrap();
        refused(&mut resume(&self.list, &[]), "another run is writing there");
    }

    fn disk_full(&self) {
        let disk = self.path("disk");
        fs::create_dir(&disk).unwrap();
        let size = |text: &str, flags: MsFlags| {
            mount(Some("none"), &disk, Some("tmpfs"), flags, Some(text)).unwrap();
        };
        // Two parts or three.
        size("size=150k", MsFlags::empty());
        let results = disk.join("results/");
        let full = kills::go_on(&self.list, &results, &["--rate", "100", "--wave", "25"]).output();
        let full = full.unwrap();
        assert_eq!(full.status.code(), Some(1), "{}", stderr(&full));
        assert!(stderr(&full).contains("No space left on device"), "{}", stderr(&full));
        let full = summary(&full);
        assert_eq!(full["resume"], results.to_str().unwrap(), "{full}");
        let records = kills::records(&results).len();
        assert!(records > 0 && records < TARGETS, "{full}");
        assert_eq!(full["records"], records, "{full}");
        let ended = records as u64 + full["targets"]["unfinished"].as_u64().unwrap();
        assert_eq!(full["targets"]["read"], ended, "{full}");
        size("size=100m", MsFlags::MS_REMOUNT);
        let whole = done(&mut kills::go_on(&self.list, &results, &[]));
        assert_eq!(whole["targets"]["refused"]["resumed"], records);
        assert_eq!(kills::records(&results), self.truth);
        umount(&disk).unwrap();
    }

    fn shards(&self) {
        let text = fs::read_to_string(&self.list).unwrap();
        let list = self.path("mixed.ndjson");
        fs::write(&list, format!("# a comment\n\n{{}}\n{text}")).unwrap();
        let shards: Vec<PathBuf> =
            ["one/", "two.parquet", "three/"].map(|name| self.path(name)).into();
        for (shard, output) in ["1/3", "2/3", "3/3"].iter().zip(&shards) {
            // One of the machines gets the list through a pipe.
            let piped = *shard == "2/3";
            let from = if piped { Path::new("-") } else { &list };
            let mut command = kills::command(from, &["--shard", shard, "-o"]);
            command.arg(output).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            if piped {
                stdin.write_all(&fs::read(&list).unwrap()).unwrap();
            }
            drop(stdin);
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            let targets = &summary(&output)["targets"];
            assert_eq!((&targets["asked"], &targets["read"]), (&json!(100), &json!(301)));
            let refused = &targets["refused"];
            assert_eq!(
                *refused,
                json!({"bad_line": 1, "other_shard": 200, "resumed": 0, "reserved": 0, "excluded": 0})
            );
        }
        let merge = |results: &[PathBuf], more: &[&str], output: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
            command.args(["merge", "--format", "json"]).args(results).args(more);
            command.arg("-o").arg(self.path(output));
            command
        };
        let whole = done(&mut merge(&shards, &[], "all.parquet"));
        assert_eq!(
            (&whole["records"], &whole["targets"], &whole["complete"]),
            (&json!(TARGETS), &json!(TARGETS), &json!(true))
        );
        let all = self.path("all.parquet");
        let shifted = self.truth.iter().map(|(line, labels)| (line + 3, labels.clone()));
        assert_eq!(kills::records(&all), shifted.collect());
        let stored = metadata(&all);
        assert_eq!(stored["attempts_ok"], (2 * TARGETS).to_string());
        assert_eq!(stored["targets_no_target"], "1-3");
        // The account of the whole list: each target once, the rejected line once.
        let account = ["targets_read", "targets_asked", "lines_without_target", "targets_left_out"];
        assert_eq!(account.map(|key| &*stored[key]), ["301", "300", "3", "0"]);
        let rejected: Value = serde_json::from_str(&stored["targets_refused"]).unwrap();
        assert_eq!(rejected, json!({"bad_line": 1, "reserved": 0, "excluded": 0}));
        let from: Value = serde_json::from_str(&stored["merged_from"]).unwrap();
        assert_eq!((&from[2]["shard"], &from[2]["targets_asked"]), (&json!("3/3"), &json!("100")));
        let labels: u64 =
            whole["conditions"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
        assert!(labels >= TARGETS as u64, "{whole}");

        refused(
            &mut merge(&shards[..2], &[], "not.parquet"),
            "100 targets have no record (lines 6,9,12",
        );
        refused(
            &mut merge(&[&shards[..], &shards[..1]].concat(), &[], "not.parquet"),
            "100 targets have several",
        );
        assert!(!self.path("not.parquet").exists());
        let part = done(&mut merge(&shards[..2], &["--allow-incomplete"], "part.parquet"));
        assert_eq!((&part["records"], &part["missing"]), (&json!(200), &json!(100)));
        assert_eq!(metadata(&self.path("part.parquet"))["complete"], "false");
        let twice = [&shards[..], &shards[..1]].concat();
        let twice = done(&mut merge(&twice, &["--allow-incomplete"], "twice.parquet"));
        assert_eq!((&twice["records"], &twice["doubled"]), (&json!(TARGETS), &json!(100)));
        // What is put together can be put together with the rest.
        let rest = [self.path("part.parquet"), shards[2].clone()];
        assert_eq!(done(&mut merge(&rest, &[], "again.parquet"))["records"], TARGETS);
        // Another list, and another measurement.
        let other = self.path("other.parquet");
        done(kills::command(&self.list, &["--shard", "1/3", "-o"]).arg(&other));
        refused(&mut merge(&[other, shards[1].clone()], &[], "not.parquet"), "target list");
        let plain = self.path("plain.parquet");
        let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
        command
            .args([
                "run",
                "ecn-scoped",
                "--allow-reserved",
                "--shard",
                "1/3",
                "--format",
                "json",
                "--targets",
            ])
            .arg(&list);
        done(command.arg("-o").arg(&plain));
        refused(&mut merge(&[plain, shards[1].clone()], &[], "not.parquet"), "their measurement");
    }
}
