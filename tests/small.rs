//! Small machines: with little memory the capture's buffer is small, and the labels are as true as with much.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::collections::BTreeMap;
use std::process::{Command, ExitCode};

use harness::Tests;
use nix::sys::resource::{UsageWho, getrusage};
use pathspider::lab::{Lab, Spec};
use serde_json::Value;
use support::listed::Listed;
use support::{NO_STRANGERS, records, stderr, summary};

const LAB: &str = r#"
[[host]]
name = "works"
title = "Linux as it comes."
count = 10

[[host]]
name = "refused"
title = "The server does not negotiate ECN."
count = 10
server = { sysctl = { "net.ipv4.tcp_ecn" = 0 } }

[[host]]
name = "reset"
title = "A box on the path resets what asks for ECN."
count = 10
path = ["tcp flags & (syn|ack|ecn|cwr) == (syn|ecn|cwr) reject with tcp reset"]
"#;

/// Kilobytes of address space that a run may take, and megabytes of its capture's buffer at most: a sixteenth.
const SMALL: u64 = 600_000;
const SMALL_BUFFER: u64 = SMALL / 1024 / 16;
/// Megabytes of the buffer on a machine with enough memory.
const USUAL_BUFFER: u64 = 128;

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    let lab = Lab::build(&Spec::parse("small", LAB).unwrap()).unwrap();
    let listed = Listed::new(&lab);
    tests.run("little memory makes the buffer small and no label wrong", || compare(&listed));
    tests.run("a dry run says how large the buffer will be, and why", || forecasts(&listed));
}

/// `run ecn` over the list, within this address space.
fn command(listed: &Listed, kilobytes: Option<u64>, more: &[&str]) -> Command {
    let limit = kilobytes.map_or("unlimited".to_owned(), |number| number.to_string());
    let mut command = Command::new("/bin/sh");
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATHSPIDER_STATE", listed.path("state"))
        .args(["-c", &format!("ulimit -v {limit} && exec \"$@\""), "sh"])
        .arg(env!("CARGO_BIN_EXE_pathspider"))
        .args(["run", "ecn", "--format", "json", "--confirm", "0", "-i", &listed.interface])
        .args(NO_STRANGERS)
        .args(more)
        .arg("--targets")
        .arg(&listed.list);
    command
}

/// The size of the capture's buffer in octets, and the labels of each target.
fn run(listed: &Listed, kilobytes: Option<u64>, more: &[&str]) -> (u64, BTreeMap<String, Value>) {
    let path = listed.path("out.ndjson");
    let done = command(listed, kilobytes, more).arg("-o").arg(&path).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
    assert_eq!(summary(&done)["packets"]["dropped"], 0);
    let about = std::fs::read_to_string(listed.path("out.ndjson.meta.json")).unwrap();
    let about: Value = serde_json::from_str(&about).unwrap();
    let buffer = about["pathspider.capture_buffer"].as_str().unwrap().parse().unwrap();
    let records = records(&path).into_iter();
    let labels = records.map(|record| {
        (record["target"]["ip"].as_str().unwrap().to_owned(), record["conditions"].clone())
    });
    (buffer, labels.collect())
}

/// Megabytes of the largest program that this one has run, its capture's buffer included.
fn peak() -> u64 {
    let kilobytes = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    u64::try_from(kilobytes).unwrap() / 1024
}

fn compare(listed: &Listed) {
    let (small, labels) = run(listed, Some(SMALL), &[]);
    let small_peak = peak();
    assert!((4 << 20..=SMALL_BUFFER << 20).contains(&small), "{small}");
    let (usual, usual_labels) = run(listed, None, &["--capture-buffer", "128M"]);
    assert_eq!(usual, USUAL_BUFFER << 20);
    assert_eq!(labels.len(), 60);
    assert_eq!(labels, usual_labels);
    // The rest is the same program.
    let saved = peak().saturating_sub(small_peak);
    assert!(saved > (USUAL_BUFFER - SMALL_BUFFER) * 3 / 4, "{saved} MB less than {} MB", peak());
}

fn forecasts(listed: &Listed) {
    let forecast = |kilobytes, more: &[&str]| {
        let done = command(listed, kilobytes, more).arg("--dry-run").output().unwrap();
        assert_eq!(done.status.code(), Some(0), "{}", stderr(&done));
        let memory = summary(&done)["memory"].clone();
        let octets = memory["capture_buffer"].as_u64().unwrap();
        assert!(memory["most"].as_u64().unwrap() > octets, "{memory}");
        (octets, memory["capture_buffer_by"].as_str().unwrap().to_owned())
    };
    let (octets, why) = forecast(Some(SMALL), &[]);
    assert!(octets <= SMALL_BUFFER << 20, "{octets}");
    assert_eq!(why, "a sixteenth of the available memory");
    let (octets, why) = forecast(None, &["--capture-buffer", "3M"]);
    assert_eq!((octets, why.as_str()), (3 << 20, "as given"));
}
