//! System calls for each connection, counted by `strace`: `tests/calls/kinds.toml` lists them.
//!
//! Has no harness of Rust's (see [`harness`]). A run over twice the targets makes the calls of its connections twice and
//! all others once, so the difference is what the connections make. A number that is not exact is that of the larger run. Where strace is missing or must not trace, the checks
//! count as skipped.
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use harness::Tests;
use support::{NO_STRANGERS, pathspider, stderr};
use toml::Value;

/// Addresses of each family in the smaller run.
const SIZE: usize = 100;
/// The most calls of one name that a run makes besides those of its connections, where they are not exact.
const OTHERS: i64 = 150;
/// The calls that are counted.
const CALLS: [&str; 11] = [
    "socket",
    "setsockopt",
    "getsockopt",
    "bind",
    "connect",
    "getsockname",
    "epoll_ctl",
    "sendto",
    "recvfrom",
    "shutdown",
    "close",
];

fn main() -> ExitCode {
    harness::main(outside, |_| {})
}

fn outside(tests: &mut Tests, namespaces: bool) {
    let kinds: BTreeMap<String, Value> = toml::from_str(include_str!("calls/kinds.toml")).unwrap();
    for (kind, expected) in kinds {
        let name = format!("calls of the kind {kind}");
        match (namespaces, can_trace()) {
            (true, true) => tests.run(&name, || check(&kind, &expected)),
            (false, _) => tests.skip(&name, "no user namespace can be entered here"),
            (_, false) => tests.skip(&name, "strace is missing, or must not trace"),
        }
    }
}

fn can_trace() -> bool {
    let mut command = Command::new("strace");
    command.args(["-f", "-o", "/dev/null", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn check(kind: &str, expected: &Value) {
    let folder = tempfile::tempdir().unwrap();
    let [small, large] = [SIZE, 2 * SIZE].map(|size| counted(folder.path(), kind, size));
    // Two families, two configurations.
    let connections = 4 * SIZE as i64;
    for call in CALLS {
        let count = |run: &BTreeMap<String, i64>| run.get(call).copied().unwrap_or_default();
        let made = count(&large) - count(&small);
        match expected.get(call) {
            // The capture asks for its losses with getsockopt from time to time, and files are closed.
            exact @ (None | Some(Value::Integer(_))) => {
                let exact = exact.and_then(Value::as_integer).unwrap_or(0) * connections;
                let others = if matches!(call, "getsockopt" | "close") { OTHERS } else { 0 };
                assert!((made - exact).abs() <= others, "{kind}: {made} {call}, not {exact}");
            }
            Some(range) => {
                let [least, most]: [i64; 2] = range.clone().try_into().unwrap();
                let allowed = 2 * least * connections..=2 * most * connections + OTHERS;
                let made = count(&large);
                assert!(allowed.contains(&made), "{kind}: {made} {call}, not in {allowed:?}");
            }
        }
    }
}

/// The calls of a run over a lab of plain hosts.
fn counted(folder: &Path, kind: &str, size: usize) -> BTreeMap<String, i64> {
    let size_of = size.to_string();
    let targets = pathspider().args(["lab", "targets", "--size", &size_of]).output().unwrap();
    let list = folder.join(format!("{size}.ndjson"));
    let port = if kind == "dns_udp" { "53" } else { "80" };
    let text =
        String::from_utf8(targets.stdout).unwrap().replace("\"dp\":80", &format!("\"dp\":{port}"));
    fs::write(&list, text).unwrap();
    let measurement = folder.join(format!("{kind}.toml"));
    let text = format!("name = 'calls'\n[config.zero]\n[config.one]\n[connect]\nkind = '{kind}'\n");
    fs::write(&measurement, text).unwrap();
    let counts = folder.join(format!("{size}.txt"));
    let output = pathspider()
        .args([
            "lab",
            "shell",
            "--size",
            &size_of,
            "--",
            "strace",
            "-f",
            "-c",
            "-U",
            "name,calls",
            "-o",
        ])
        .arg(&counts)
        .arg(env!("CARGO_BIN_EXE_pathspider"))
        .args(["run", "--quiet", "--interface", "lab0", "--format", "json"])
        .args(NO_STRANGERS)
        .arg(&measurement)
        .arg("--targets")
        .arg(&list)
        .arg("--output")
        .arg(folder.join(format!("{size}.out.ndjson")))
        .env("PATHSPIDER_STATE", folder.join("state"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let summary = support::summary(&output);
    assert_eq!(summary["attempts"]["ok"], 4 * size, "{summary}");
    let mut counted = BTreeMap::new();
    for line in fs::read_to_string(&counts).unwrap().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [name, calls] = words[..]
            && let Ok(calls) = calls.parse()
        {
            counted.insert(name.to_owned(), calls);
        }
    }
    counted
}
