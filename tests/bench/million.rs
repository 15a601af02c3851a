//! A million targets: how much memory a run takes, whether it slows down, and how fast it is against the floor
//! that this machine sets in the same minutes.
//!
//! `cargo bench --bench million` builds a lab whose plain server answers on a whole prefix of each family, half a million
//! addresses of each, by one listening socket of the kernel's own TCP. In the prober's namespace it runs `pathspider run
//! measurements/ecn.toml` over all of them, read from a file (two configurations in turn, so two million connections, with
//! observer, merge and Parquet). Before it and after it a bare event loop makes a million connections each: one thread, mio's
//! epoll, a thousand connections in flight, `connect` from a port of the kernel's choice, `close` as soon as the socket is
//! writable; no capture, no socket option, nothing written. Both talk to the same server, a thread of this process.
//!
//! The figures to quote are ratios: machines and minutes differ.

#![expect(clippy::print_stdout, reason = "figures go to standard output")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pathspider::lab::{self, Lab, Spec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

#[path = "floor.rs"]
mod floor;
#[path = "../support/no_strangers.rs"]
mod no_strangers;

use floor::{CONCURRENCY, floor};
use no_strangers::NO_STRANGERS;

const TARGETS: usize = 1_000_000;
/// Megabytes of resident memory that a run may take at its peak.
const MOST_MEMORY: u64 = 500;
/// Of the floor's connections a second, that a run makes at least.
const LEAST_RATIO: f64 = 0.6;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // `cargo test --benches` would run this too; it measures nothing then.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    // For a look at less: PATHSPIDER_BENCH_TARGETS=100000.
    let targets = match std::env::var("PATHSPIDER_BENCH_TARGETS") {
        Ok(number) => number.parse()?,
        Err(_) => TARGETS,
    };
    lab::enter()?;
    let folder = tempfile::tempdir()?;
    let lab = Lab::build(&Spec::plain(targets / 2, 0)?)?;
    let list = folder.path().join("targets.ndjson");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&list)?);
    for target in lab.targets() {
        writeln!(file, r#"{{"dip": "{}", "dp": {}}}"#, target.addr, target.port)?;
    }
    drop(file.into_inner()?);
    let addresses = lab.targets().iter().map(|t| SocketAddr::new(t.addr, t.port));
    let addresses: Vec<SocketAddr> = addresses.collect();
    println!("{targets} targets (half IPv4, half IPv6), {CONCURRENCY} at a time");

    let before = floor(&addresses)?;
    let run = pathspider(&lab, &list, folder.path())?;
    let after = floor(&addresses)?;
    let per_second = |connections: usize, time: Duration| connections as f64 / time.as_secs_f64();
    let (before, after) = (per_second(targets, before), per_second(targets, after));
    let ours = 2.0 * targets as f64 / run.seconds;
    let bare = 2.0 / (1.0 / before + 1.0 / after);
    println!("floor before: {before:.0} connections/s, after: {after:.0} connections/s");
    println!("pathspider:   {ours:.0} connections/s, {:.0} targets/s", ours / 2.0);
    println!("ratio to the floor: {:.2}", ours / bare);
    println!("peak memory: {} MB; when half was done: {} MB", run.memory, run.memory_half);
    let [first, last] = run.tenths.map(|seconds| targets as f64 / 10.0 / seconds);
    println!(
        "first tenth: {first:.0} targets/s, last tenth: {last:.0} targets/s ({:.2} of the first; the floor: {:.2})",
        last / first,
        after / before
    );
    if run.memory > MOST_MEMORY || ours / bare < LEAST_RATIO {
        return Err("too much memory, or too slow against the floor".into());
    }
    Ok(())
}

/// What a run cost.
struct Run {
    seconds: f64,
    /// Megabytes at its peak, and at the peak of its first half.
    memory: u64,
    memory_half: u64,
    /// Seconds of the first and of the last tenth.
    tenths: [f64; 2],
}

fn pathspider(lab: &Lab, list: &Path, folder: &Path) -> Result<Run> {
    let (status, summary) = (folder.join("status.ndjson"), folder.join("summary.json"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_pathspider"))
        .args(["run", "measurements/ecn.toml", "--quiet", "--format", "json"])
        .args(NO_STRANGERS)
        .args(["--interface", lab.interface(), "--concurrency", &CONCURRENCY.to_string()])
        .arg("--targets")
        .arg(list)
        .arg("--status")
        .arg(&status)
        .arg("--output")
        .arg(folder.join("results/"))
        .env("PATHSPIDER_STATE", folder.join("state"))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&summary)?)
        .spawn()?;
    let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let about = format!("/proc/{}/status", child.id());
    let mut peaks = Vec::new();
    let ended = loop {
        if let Some(ended) = child.try_wait()? {
            break ended;
        }
        // The line is gone once the process has ended and nobody has asked for its exit code.
        let text = std::fs::read_to_string(&about).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peaks.extend(peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok()));
        // Until then, or until the process has ended.
        poll(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], PollTimeout::from(100_u8))?;
    };
    let summary: Value = serde_json::from_str(&std::fs::read_to_string(summary)?)?;
    if !ended.success() || summary["records"] != summary["targets"]["read"] {
        return Err(format!("{ended}: {summary}").into());
    }
    let zero = [&summary["attempts"]["not_observed"], &summary["packets"]["dropped"]];
    if zero.iter().any(|count| **count != 0) {
        return Err(format!("something was lost: {summary}").into());
    }
    let read = summary["targets"]["read"].as_f64().unwrap_or(f64::NAN);
    let lines = std::fs::read_to_string(status)?;
    let lines: Vec<Value> =
        lines.lines().map(serde_json::from_str).collect::<std::result::Result<_, _>>()?;
    if lines.last().is_none_or(|line| line["event"] != "end" || line["complete"] != true) {
        return Err("the status has no last line".into());
    }
    let seconds = summary["seconds"].as_f64().unwrap_or(f64::NAN);
    let at = |share: f64| reached(&lines, share * read);
    let tenths = [at(0.1) - at(0.0), at(1.0) - at(0.9)];
    let memory_half = peaks.get(peaks.len() / 2).copied().unwrap_or_default() / 1024;
    Ok(Run {
        seconds,
        memory: peaks.last().copied().unwrap_or_default() / 1024,
        memory_half,
        tenths,
    })
}

/// When so many targets were done, in seconds: between two lines of the status as if the pace were even.
fn reached(lines: &[Value], targets: f64) -> f64 {
    let point = |line: &Value| {
        let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
        (number(&line["seconds"]), number(&line["targets"]["done"]))
    };
    let mut before = (0.0, 0.0);
    for (seconds, done) in lines.iter().map(point) {
        if done >= targets {
            let share = (targets - before.1) / (done - before.1).max(1.0);
            return before.0 + share * (seconds - before.0);
        }
        before = (seconds, done);
    }
    before.0
}
