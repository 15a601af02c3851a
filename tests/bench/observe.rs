//! How fast a capture file is observed, compared with only reading it in the same minute.
//!
//! `cargo bench --bench observe` captures the lab's interface while `pathspider run` measures 20,000 plain
//! targets, repeats the packets with other addresses up to a million, and alternates between a libpcap loop that
//! only counts them, `tcpdump -r FILE -w /dev/null` (if installed), the observer (from the file to flows in Arrow
//! columns), and `pathspider observe`, which also starts a process and writes Parquet. It begins with the peak
//! memory of observing 100,000 flows that are all live at once.
//!
//! The figures to quote are ratios: machines and minutes differ.

#![expect(clippy::print_stdout, reason = "figures go to standard output")]

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use pathspider::chain::{GROUPS, Selection};
use pathspider::lab::{self, Lab, Spec};
use pathspider::observer::{Limits, file, offline};
use pathspider::packet::Link;

#[path = "../support/no_strangers.rs"]
mod no_strangers;

use no_strangers::NO_STRANGERS;

const TARGETS: usize = 20_000;
const PACKETS: usize = 1_000_000;
const FLOWS: u32 = 100_000;
const ROUNDS: usize = 9;
/// Environment variable: the file to which this process writes the capture.
const CAPTURE: &str = "PATHSPIDER_BENCH_CAPTURE";
const USE: &str = "basic,tcp,ecn,dscp,tcpopt";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // `cargo test --benches` would run this too; it measures nothing then.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    if let Some(file) = std::env::var_os(CAPTURE) {
        lab::enter()?;
        return capture(Path::new(&file), &std::env::temp_dir());
    }
    let folder = tempfile::tempdir()?;
    // First, so that the peak memory of children is that of this one.
    memory(folder.path())?;
    // In another process: in the lab's namespaces tcpdump cannot change its user.
    let file = folder.path().join("lab.pcap");
    let mut child = Command::new(std::env::current_exe()?);
    child.arg("--bench").env(CAPTURE, &file).env("TMPDIR", folder.path());
    if !child.status()?.success() {
        return Err("no capture of the lab".into());
    }
    speed(&file, folder.path())
}

/// Observes flows that do not end.
fn memory(folder: &Path) -> Result<()> {
    let path = folder.join("flows.pcap");
    let mut file = pcap::Capture::dead(pcap::Linktype::ETHERNET)?.savefile(&path)?;
    let mut frame = Vec::new();
    for packet in 0..2 * FLOWS {
        let [_, a, b, c] = (packet % FLOWS).to_be_bytes();
        let (us, them) = ([10, a, b, c], [192, 0, 2, 1]);
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
        frame.clear();
        if packet < FLOWS {
            builder.ipv4(us, them, 64).tcp(40_000, 80, 1, 65_000).syn().write(&mut frame, &[])?;
        } else {
            let builder = builder.ipv4(them, us, 64).tcp(80, 40_000, 1, 65_000);
            builder.syn().ack(2).write(&mut frame, &[])?;
        }
        write(&mut file, &frame, i64::from(packet) * 100);
    }
    drop(file);
    observe(&path, folder)?;
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss() / 1024;
    println!("peak memory with {FLOWS} live flows: {peak} MB (goal: under 100)\n");
    Ok(())
}

/// Adds a frame to a file; `time` is in microseconds.
fn write(file: &mut pcap::Savefile, frame: &[u8], time: i64) {
    let length = frame.len() as u32;
    let ts = *TimeVal::microseconds(time).as_ref();
    let header = pcap::PacketHeader { ts, caplen: length, len: length };
    file.write(&pcap::Packet::new(&header, frame));
}

/// Writes a capture of a lab run, repeated with other addresses.
fn capture(path: &Path, folder: &Path) -> Result<()> {
    let (link, frames) = lab_run(folder)?;
    let strip = Link::from_linktype(link.0).ok_or("the lab's link type")?;
    let mut file = pcap::Capture::dead(link)?.savefile(path)?;
    let last = frames.last().ok_or("nothing was captured")?.0;
    let length = last - frames[0].0 + 1;
    let rounds = PACKETS.div_ceil(frames.len());
    for round in 0..rounds {
        for (time, frame) in &frames {
            let mut frame = frame.clone();
            let packet = strip.strip(&frame).ok().map(|ip| (frame.len() - ip.len(), ip[0] >> 4));
            // The same change at both ends, so that both directions stay one flow.
            match packet {
                Some((at, 4)) if frame.len() >= at + 20 => {
                    frame[at + 13] ^= round as u8;
                    frame[at + 17] ^= round as u8;
                }
                Some((at, 6)) if frame.len() >= at + 40 => {
                    frame[at + 12] ^= round as u8;
                    frame[at + 28] ^= round as u8;
                }
                _ => {}
            }
            write(&mut file, &frame, time + round as i64 * length);
        }
    }
    println!("{} packets of a lab run, {rounds} times", frames.len());
    Ok(())
}

type Frames = Vec<(i64, Vec<u8>)>;

fn lab_run(folder: &Path) -> Result<(pcap::Linktype, Frames)> {
    let lab = Lab::build(&Spec::plain(TARGETS / 2, 0)?)?;
    let targets = folder.join("targets.ndjson");
    let mut list = std::io::BufWriter::new(std::fs::File::create(&targets)?);
    for target in lab.targets() {
        writeln!(list, r#"{{"dip": "{}", "dp": {}}}"#, target.addr, target.port)?;
    }
    list.into_inner()?;
    let capture = pcap::Capture::from_device(lab.interface())?.buffer_size(256 << 20).timeout(100);
    let mut capture = capture.open()?.setnonblock()?;
    let link = capture.get_datalink();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let reader = std::thread::spawn(move || {
        let mut frames = Frames::new();
        loop {
            let last = stopped.load(Relaxed);
            let mut read = 0;
            // An error shows up as packets that are missing.
            let _ = capture.dispatch(None, |packet| {
                let time = packet.header.ts;
                frames.push((time.tv_sec * 1_000_000 + time.tv_usec, packet.data.to_vec()));
                read += 1;
            });
            match (read, last) {
                (0, true) => return frames,
                (0, false) => {
                    let mut fds = [PollFd::new(capture.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut fds, 20u8);
                }
                _ => {}
            }
        }
    });
    let mut run = pathspider();
    run.args(["run", "measurements/ecn.toml", "--quiet", "--interface", lab.interface()])
        .args(NO_STRANGERS);
    run.args(["--concurrency", "1000", "--targets"]).arg(&targets);
    run.arg("--output").arg(folder.join("run.parquet"));
    let output = run.output()?;
    stop.store(true, Relaxed);
    let frames = reader.join().map_err(|_| "the capture thread panicked")?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok((link, frames))
}

fn speed(file: &Path, folder: &Path) -> Result<()> {
    let tcpdump = Command::new("tcpdump").arg("--version").output().is_ok();
    println!("packets/s of --use {USE}");
    let columns = ["bare loop", "tcpdump", "observer", "ratio", "with Parquet", "ratio"];
    println!("{:>8} {}", "", columns.map(|name| format!("{name:>12}")).join(" "));
    let mut ratios = [Vec::new(), Vec::new()];
    for round in 1..=ROUNDS {
        let begun = Instant::now();
        let packets = bare_loop(file)?;
        let per_second = |time: Duration| packets as f64 / time.as_secs_f64();
        let floor = per_second(begun.elapsed());
        let dumped = if tcpdump {
            let begun = Instant::now();
            let mut dump = Command::new("tcpdump");
            dump.arg("-r").arg(file).args(["-w", "/dev/null"]).stderr(Stdio::null());
            let fine = dump.status()?.success();
            if fine { format!("{:.0}", per_second(begun.elapsed())) } else { "failed".to_owned() }
        } else {
            "-".to_owned()
        };
        let observer = per_second(observer(file, packets)?);
        let whole = per_second(observe(file, folder)?);
        print!("round {round:>2} {floor:>12.0} {dumped:>12}");
        for (ours, ratios) in [observer, whole].into_iter().zip(&mut ratios) {
            print!(" {ours:>12.0} {:>12.2}", ours / floor);
            ratios.push(ours / floor);
        }
        println!();
    }
    let [observer, whole] = ratios.map(|mut ratios| {
        ratios.sort_by(f64::total_cmp);
        ratios[ROUNDS / 2]
    });
    println!("median ratios to the bare loop: {observer:.2} (goal: at least 0.4), {whole:.2}");
    Ok(())
}

/// libpcap's own cost: counts the packets and does nothing else.
fn bare_loop(file: &Path) -> Result<u64> {
    let mut capture = pcap::Capture::from_file(file)?;
    let mut packets = 0;
    capture.for_each(None, |_| packets += 1)?;
    Ok(packets)
}

/// The observer alone, to columns in memory.
fn observer(file: &Path, packets: u64) -> Result<Duration> {
    let begun = Instant::now();
    let mut selection = Selection::default();
    let groups = GROUPS.iter().filter(|group| USE.split(',').any(|name| name == group.name));
    groups.for_each(|group| selection.place_group(group));
    let file = file::File::open(file, None)?;
    let observed = offline::observe(file, &selection, Limits::default(), &|| false, |flows| {
        std::hint::black_box(flows);
        Ok(())
    })?;
    observed.end?;
    if observed.counts.packets != packets {
        return Err("not all packets were observed".into());
    }
    Ok(begun.elapsed())
}

fn observe(file: &Path, folder: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let mut observe = pathspider();
    observe.arg("observe").arg(file).args(["--quiet", "--use", USE, "--output"]);
    let output = observe.arg(folder.join("out.parquet")).output()?;
    let time = begun.elapsed();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    Ok(time)
}

fn pathspider() -> Command {
    Command::new(env!("CARGO_BIN_EXE_pathspider"))
}
