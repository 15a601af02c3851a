//! How fast packets made by hand leave, and what a run over them takes, next to zmap in the same lab and minute.
//!
//! `cargo bench --bench forge` builds a lab whose plain server answers on 10,000 IPv4 addresses and, in the prober's
//! namespace, alternates between `zmap` (if it is installed) and `pathspider run measurements/evilbit.toml`: one SYN a target
//! and two, with observer, merge and Parquet. Both have no limit of rate. A capture of this process counts their SYNs by the
//! kernel's clock.
//!
//! * probes/s: from the first SYN to the last one, so that neither zmap's cooldown nor our start counts.
//! * whole run: the time of the process; for zmap, less its cooldown of a second.
//!
//! The figures to quote are ratios: machines and minutes differ.

#![expect(clippy::print_stdout, reason = "figures go to standard output")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;
use pathspider::lab::{self, Lab, Spec};
use serde_json::Value;

#[path = "../support/no_strangers.rs"]
mod no_strangers;

use no_strangers::NO_STRANGERS;

const TARGETS: usize = 10_000;
const ROUNDS: usize = 5;
/// Seconds for which zmap waits for answers after its last packet; its least.
const COOLDOWN: u64 = 1;
/// Milliseconds until the capture's last packets can be read.
const RELEASE: i32 = 100;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // `cargo test --benches` would run this too; it measures nothing then.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    lab::enter()?;
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let lab = Lab::build(&Spec::plain(TARGETS, 0)?)?;
    let (csv, plain) = (folder.join("targets.csv"), folder.join("targets.txt"));
    let mut files =
        [&csv, &plain].map(|path| std::fs::File::create(path).map(std::io::BufWriter::new));
    for target in lab.targets().iter().filter(|target| target.addr.is_ipv4()) {
        if let [Ok(csv), Ok(plain)] = &mut files {
            writeln!(csv, "{},{}", target.addr, target.port)?;
            writeln!(plain, "{}", target.addr)?;
        }
    }
    for file in files {
        file?.flush()?;
    }
    // The first run also makes the kernel resolve the gateway's address.
    ours(&lab, &csv, folder)?;
    let zmap = Zmap::find(&lab, &plain, folder)?;
    println!(
        "{TARGETS} IPv4 targets that answer; user and system time of the process in µs a probe"
    );
    println!(
        "{:>8} {:>11} {:>10} {:>10} {:>14}",
        "", "probes/s", "whole run", "SYNs", "µs a probe"
    );
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        let theirs = zmap.as_ref().map(Zmap::run).transpose()?;
        let ours = ours(&lab, &csv, folder)?;
        theirs.iter().for_each(|figures| figures.print("zmap"));
        ours.print("ours");
        if let Some(theirs) = theirs {
            let ratio = ours.rate() / theirs.rate();
            println!("round {round}: {ratio:.2} of zmap's probes/s");
            ratios.push(ratio);
        }
    }
    ratios.sort_by(f64::total_cmp);
    match ratios.get(ROUNDS / 2) {
        Some(ratio) => println!("median ratio to zmap: {ratio:.2}"),
        None => println!("zmap is not installed: nothing to compare with"),
    }
    Ok(())
}

/// What was measured of a process.
struct Figures {
    syns: u64,
    /// Between its first SYN and its last.
    sending: Duration,
    whole: Duration,
    /// Microseconds.
    user: i64,
    system: i64,
}

impl Figures {
    fn rate(&self) -> f64 {
        self.syns as f64 / self.sending.as_secs_f64()
    }

    fn print(&self, name: &str) {
        let each = |micros: i64| micros as f64 / self.syns as f64;
        let (user, system) = (each(self.user), each(self.system));
        let whole = self.whole.as_secs_f64();
        println!(
            "{name:>8} {:>11.0} {whole:>8.2} s {:>10} {user:>6.1} {system:>7.1}",
            self.rate(),
            self.syns
        );
    }
}

/// Runs a program and watches its SYNs; the program's standard output is returned too.
fn watch(lab: &Lab, command: &mut Command) -> Result<(Figures, Vec<u8>)> {
    let mut wire = pcap::Capture::from_device(lab.interface())?
        .immediate_mode(false)
        // The kernel releases the last block of its ring after this many milliseconds.
        .timeout(RELEASE)
        .snaplen(64)
        .buffer_size(64 << 20)
        .open()?
        .setnonblock()?;
    wire.filter("tcp[tcpflags] == tcp-syn and dst port 80", true)?;
    let times = || -> Result<[i64; 2]> {
        let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        Ok([usage.user_time(), usage.system_time()].map(|time| time.num_microseconds()))
    };
    let before = times()?;
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output()?;
    let whole = start.elapsed();
    let after = times()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    std::thread::sleep(Duration::from_millis(3 * u64::from(RELEASE.unsigned_abs())));
    let mut stamps = Vec::new();
    while let Ok(packet) = wire.next_packet() {
        let time = packet.header.ts;
        stamps.push(time.tv_sec * 1_000_000 + time.tv_usec);
    }
    let (Some(first), Some(last)) = (stamps.iter().min(), stamps.iter().max()) else {
        return Err(format!("{command:?} sent nothing").into());
    };
    if wire.stats()?.dropped > 0 {
        return Err("the capture lost packets".into());
    }
    let figures = Figures {
        syns: stamps.len() as u64,
        sending: Duration::from_micros(u64::try_from(last - first)?),
        whole,
        user: after[0] - before[0],
        system: after[1] - before[1],
    };
    Ok((figures, output.stdout))
}

fn ours(lab: &Lab, list: &Path, folder: &Path) -> Result<Figures> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command
        .args(["run", "measurements/evilbit.toml", "--quiet", "--format", "json"])
        .args(NO_STRANGERS)
        .args(["--interface", lab.interface(), "--targets"])
        .arg(list)
        .arg("--output")
        .arg(folder.join("out.parquet"))
        .env("PATHSPIDER_STATE", folder.join("state"));
    let (figures, output) = watch(lab, &mut command)?;
    let summary: Value = serde_json::from_slice(&output)?;
    let zero = [&summary["attempts"]["not_observed"], &summary["packets"]["dropped"]];
    let works = summary["attempts"]["ok"].as_u64() == Some(2 * TARGETS as u64);
    if summary["records"] != TARGETS || zero.iter().any(|count| **count != 0) || !works {
        return Err(format!("something was lost: {summary}").into());
    }
    Ok(figures)
}

/// An installed zmap, for the same targets.
struct Zmap<'l> {
    lab: &'l Lab,
    arguments: Vec<String>,
}

impl<'l> Zmap<'l> {
    /// `None` if it is not installed.
    fn find(lab: &'l Lab, list: &Path, folder: &Path) -> Result<Option<Self>> {
        if Command::new("zmap").arg("--version").output().is_err() {
            return Ok(None);
        }
        let gateway =
            Command::new("ip").args(["-4", "neigh", "show", "dev", lab.interface()]).output()?;
        let gateway = String::from_utf8(gateway.stdout)?;
        let gateway = gateway.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
        // Its own files exclude reserved networks and have a limit of rate.
        let none = folder.join("none");
        std::fs::write(&none, "")?;
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let (rate, cooldown) = ("10000000".to_owned(), COOLDOWN.to_string());
        let options = [
            ("-p", "80".to_owned()),
            ("-w", text(list)),
            ("-b", text(&none)),
            ("-C", text(&none)),
            ("-i", lab.interface().to_owned()),
            ("-G", gateway.ok_or("the gateway's address is not known")?.to_owned()),
            ("-r", rate),
            ("-c", cooldown),
            ("-o", "/dev/null".to_owned()),
        ];
        let mut arguments: Vec<String> =
            options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
        arguments.extend(["-q", "--disable-syslog"].map(str::to_owned));
        Ok(Some(Self { lab, arguments }))
    }

    fn run(&self) -> Result<Figures> {
        let (figures, _) = watch(self.lab, Command::new("zmap").args(&self.arguments))?;
        if figures.syns != TARGETS as u64 {
            return Err(format!("zmap sent {} SYNs", figures.syns).into());
        }
        Ok(Figures {
            whole: figures.whole.saturating_sub(Duration::from_secs(COOLDOWN)),
            ..figures
        })
    }
}
