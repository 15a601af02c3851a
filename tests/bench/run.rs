//! How fast a whole run is, against the floor that this machine sets in the same minute.
//!
//! `cargo bench --bench run` builds a lab whose plain servers answer on 20,000 addresses and, in the prober's
//! namespace, takes turns between a bare event loop that connects and closes 40,000 times and
//! `pathspider run measurements/ecn.toml` over the same targets (two configurations, so
//! 40,000 connections, with observer, merge and Parquet). Then the same with one target in ten silent
//! and a timeout of 1 s, beside the bound that the waves set.
//!
//! The figures to quote are ratios: machines and minutes differ.

#![expect(clippy::print_stdout, reason = "figures go to standard output")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use pathspider::lab::{self, Lab, Spec};

#[path = "floor.rs"]
mod floor;
#[path = "../support/no_strangers.rs"]
mod no_strangers;

use floor::{CONCURRENCY, floor};
use no_strangers::NO_STRANGERS;

const TARGETS: usize = 20_000;
const ROUNDS: usize = 3;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // `cargo test --benches` would run this too; it measures nothing then.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    lab::enter()?;
    let folder = tempfile::tempdir()?;
    plain(folder.path())?;
    silent(folder.path())
}

/// A list of the lab's targets, and the addresses of those that answer.
fn list(lab: &Lab, path: &Path) -> Result<Vec<SocketAddr>> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let mut addresses = Vec::new();
    for target in lab.targets() {
        writeln!(file, r#"{{"dip": "{}", "dp": {}}}"#, target.addr, target.port)?;
        if lab.hosts()[target.host].name == "plain" {
            addresses.push(SocketAddr::new(target.addr, target.port));
        }
    }
    file.flush()?;
    Ok(addresses)
}

fn plain(folder: &Path) -> Result<()> {
    let lab = Lab::build(&Spec::plain(TARGETS / 2, 0)?)?;
    let targets = folder.join("plain.ndjson");
    let addresses = list(&lab, &targets)?;
    let connections = 2 * addresses.len();
    println!("{} plain targets (half IPv4, half IPv6), {CONCURRENCY} at a time", addresses.len());
    println!("{:>8} {:>16} {:>16} {:>8} {:>10}", "", "floor", "pathspider", "ratio", "targets/s");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let floor = connections as f64 / floor(&twice(&addresses))?.as_secs_f64();
        let summary = pathspider(&lab, &targets, "measurements/ecn.toml", folder)?;
        let seconds = summary["seconds"].as_f64().unwrap_or(f64::NAN);
        let ours = connections as f64 / seconds;
        check(&summary, addresses.len())?;
        ratios.push(ours / floor);
        let per_second = addresses.len() as f64 / seconds;
        println!(
            "round {round:>2} {floor:>12.0} c/s {ours:>12.0} c/s {:>8.2} {per_second:>10.0}",
            ours / floor
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio to the floor: {:.2}", ratios[ROUNDS / 2]);
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    println!("peak memory of pathspider: {} MB", usage.max_rss() / 1024);
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
    let (user, system) = (seconds(usage.user_time()), seconds(usage.system_time()));
    println!("its processor time: {user:.1} s in itself, {system:.1} s in the kernel\n");
    Ok(())
}

fn silent(folder: &Path) -> Result<()> {
    let quiet = TARGETS / 10;
    let lab = Lab::build(&Spec::plain((TARGETS - quiet) / 2, quiet / 2)?)?;
    let targets = folder.join("silent.ndjson");
    let addresses = list(&lab, &targets)?;
    shuffle(&targets)?;
    let measurement = folder.join("ecn-1s.toml");
    let text = std::fs::read_to_string("measurements/ecn.toml")?;
    std::fs::write(&measurement, text.replace(r#"timeout = "3s""#, r#"timeout = "1s""#))?;
    let summary = pathspider(&lab, &targets, &measurement.to_string_lossy(), folder)?;
    let seconds = summary["seconds"].as_f64().unwrap_or(f64::NAN);
    // What answers, at the floor's pace; and per wave and configuration, a second for each
    // thousand silent ones and a second for the last to start.
    let busy = 2.0 * floor(&twice(&addresses))?.as_secs_f64();
    let waves = TARGETS.div_ceil(5280) as f64;
    let bound = 2.0 * (quiet as f64 / CONCURRENCY as f64 + waves) + 2.0 * busy;
    println!(
        "{TARGETS} targets, {quiet} of them silent, timeout 1 s: {seconds:.1} s (bound {bound:.1} s)"
    );
    println!("attempts: {}", summary["attempts"]);
    if summary["records"].as_u64() != Some(TARGETS as u64) || seconds > bound {
        return Err("slower than the bound, or records are missing".into());
    }
    Ok(())
}

/// Puts lines in an order in which silent targets stand anywhere, the same each time.
fn shuffle(path: &Path) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let mut lines: Vec<&str> = text.lines().collect();
    let mut state = 88172645463325252u64;
    for place in (1..lines.len()).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        lines.swap(place, (state % (place as u64 + 1)) as usize);
    }
    Ok(std::fs::write(path, lines.join("\n"))?)
}

fn pathspider(
    lab: &Lab,
    targets: &Path,
    measurement: &str,
    folder: &Path,
) -> Result<serde_json::Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_pathspider"))
        .args(["run", measurement, "--quiet", "--format", "json", "--interface", lab.interface()])
        .args(NO_STRANGERS)
        .args(["--concurrency", &CONCURRENCY.to_string(), "--targets"])
        .arg(targets)
        .arg("--output")
        .arg(folder.join("out.parquet"))
        .env("PATHSPIDER_STATE", folder.join("state"))
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// A record for each target, all observed, nothing dropped.
fn check(summary: &serde_json::Value, targets: usize) -> Result<()> {
    let zero = [&summary["attempts"]["not_observed"], &summary["packets"]["dropped"]];
    if summary["records"] != targets || zero.iter().any(|count| **count != 0) {
        return Err(format!("something was lost: {summary}").into());
    }
    Ok(())
}

/// For two configurations.
fn twice(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    [addresses, addresses].concat()
}
