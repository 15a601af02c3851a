//! A report of a million records: how long it takes, and how much memory.
//!
//! `cargo bench --bench report` writes a result of a million targets in 60,000 networks, once, and then makes its page
//! three times. `PATHSPIDER_BENCH_TARGETS=100000` takes fewer; `PATHSPIDER_BENCH_KEEP=FILE.parquet` keeps the result.
//! The bounds are those of ten seconds and 300 MB for a million records; seconds depend on the machine, memory hardly.

#![expect(clippy::print_stdout, reason = "figures go to standard output")]
#![expect(clippy::unwrap_used, reason = "a bench that panics has failed")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

#[path = "../support/synthetic.rs"]
mod synthetic;

use synthetic::Synthetic;

const TARGETS: usize = 1_000_000;
const NETWORKS: usize = 60_000;
/// Megabytes that a report of a million records may take at its peak.
const MOST_MEMORY: u64 = 300;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // `cargo test --benches` would run this too; it measures nothing then.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let targets = match std::env::var("PATHSPIDER_BENCH_TARGETS") {
        Ok(number) => number.parse()?,
        Err(_) => TARGETS,
    };
    let folder = tempfile::tempdir()?;
    let result = match std::env::var_os("PATHSPIDER_BENCH_KEEP") {
        Some(path) => PathBuf::from(path),
        None => folder.path().join("million.parquet"),
    };
    let begun = Instant::now();
    let made = Synthetic { faulty: vec![11, 61, 104], ..Synthetic::new(targets, NETWORKS) };
    made.write(&result);
    let size = result.metadata()?.len();
    println!(
        "made: {targets} records, {:.0} MB, in {:.1} s",
        size as f64 / 1e6,
        begun.elapsed().as_secs_f64()
    );
    let mut most = 0;
    for _ in 0..3 {
        let begun = Instant::now();
        let page = folder.path().join("page.html");
        let mut child = Command::new(env!("CARGO_BIN_EXE_pathspider"))
            .args(["--quiet", "report"])
            .arg(&result)
            .arg("-o")
            .arg(&page)
            .stdin(Stdio::null())
            .spawn()?;
        let mut peak = 0;
        let status = loop {
            peak = peak.max(memory(child.id()));
            match child.try_wait()? {
                Some(status) => break status,
                None => std::thread::sleep(std::time::Duration::from_millis(5)),
            }
        };
        assert!(status.success(), "{status}");
        most = most.max(peak);
        let octets = page.metadata()?.len();
        println!(
            "report: {:.2} s, {peak} MB at its peak, page of {octets} octets",
            begun.elapsed().as_secs_f64()
        );
    }
    assert!(targets > TARGETS || most <= MOST_MEMORY, "{most} MB");
    Ok(())
}

/// Megabytes of resident memory at the peak so far.
fn memory(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1024
}
