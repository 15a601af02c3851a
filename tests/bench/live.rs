//! Whether a live capture keeps up, and tells the truth when it cannot.
//!
//! `cargo bench --bench live` makes two network namespaces joined by a veth pair, sends UDP
//! datagrams over it at 200,000 a second for ten seconds while `pathspider observe -i` watches, and
//! compares what was sent with what was seen and dropped. Then once more with the observer stopped
//! (SIGSTOP) for two seconds, and for eight, which is more than its ring can hold.
#![expect(clippy::print_stdout, reason = "figures go to standard output")]

use std::io::{BufRead as _, BufReader};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathspider::lab;

const RATE: u64 = 200_000;
const SECONDS: u64 = 10;
/// Datagrams between two looks at the clock.
const BURST: u64 = 50;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    // `cargo test --benches` would run this too; it measures nothing then.
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    lab::enter()?;
    // The far end needs nobody: what arrives there is thrown away.
    for line in [
        "link add live0 type veth peer name live1",
        "addr add 198.18.0.1/24 dev live0",
        "link set live0 up",
        "link set live1 up arp off",
        "neigh replace 198.18.0.2 lladdr 02:00:00:00:00:02 dev live0 nud permanent",
    ] {
        let status = Command::new("ip").args(line.split(' ')).status()?;
        if !status.success() {
            return Err(format!("ip {line}: {status}").into());
        }
    }
    let folder = tempfile::tempdir()?;
    println!(
        "{:>10} {:>10} {:>10} {:>10} {:>12}",
        "stopped", "sent", "seen", "dropped", "unaccounted"
    );
    for stopped in [0, 2, 8] {
        let (sent, seen, dropped) = watch(folder.path(), Duration::from_secs(stopped))?;
        let lost = sent as i64 - (seen + dropped) as i64;
        println!("{stopped:>8} s {sent:>10} {seen:>10} {dropped:>10} {lost:>12}");
        if lost != 0 || (stopped == 0 && dropped > 0) {
            return Err("packets were lost, or not accounted for".into());
        }
    }
    Ok(())
}

/// Sends while the observer watches; what was sent, seen and dropped.
fn watch(folder: &Path, stopped: Duration) -> Result<(u64, u64, u64)> {
    let output = folder.join("live.ndjson");
    let mut observer = Command::new(env!("CARGO_BIN_EXE_pathspider"))
        .args(["observe", "-i", "live0", "--use", "basic,udp", "--filter", "udp", "-o"])
        .arg(&output)
        .stderr(Stdio::piped())
        .spawn()?;
    let mut words = BufReader::new(observer.stderr.take().ok_or("no standard error")?);
    let mut line = String::new();
    words.read_line(&mut line)?;
    if !line.starts_with("watching") {
        return Err(line.into());
    }
    let pid = Pid::from_raw(i32::try_from(observer.id())?);
    let sent = send(pid, stopped)?;
    kill(pid, Signal::SIGINT)?;
    observer.wait()?;
    let text = std::fs::read_to_string(folder.join("live.ndjson.meta.json"))?;
    let metadata: serde_json::Value = serde_json::from_str(&text)?;
    let count = |key: &str| -> Result<u64> {
        let value = metadata.get(key).or_else(|| metadata.get(format!("pathspider.{key}")));
        Ok(value.and_then(|value| value.as_str()).ok_or(format!("no {key} in {text}"))?.parse()?)
    };
    Ok((sent, count("packets_seen")?, count("packets_dropped")?))
}

/// Sends at the rate; stops the observer in the middle.
fn send(observer: Pid, stopped: Duration) -> Result<u64> {
    let sockets: Vec<UdpSocket> = (0..64)
        .map(|_| {
            let socket = UdpSocket::bind("198.18.0.1:0")?;
            socket.connect("198.18.0.2:9")?;
            Ok(socket)
        })
        .collect::<Result<_>>()?;
    let start = Instant::now();
    let (mut sent, mut attempts) = (0, 0u64);
    let (from, until) = (Duration::from_secs(1), Duration::from_secs(1) + stopped);
    let (mut halted, mut resumed) = (stopped.is_zero(), stopped.is_zero());
    while attempts < RATE * SECONDS {
        let now = start.elapsed();
        if !halted && now >= from {
            kill(observer, Signal::SIGSTOP)?;
            halted = true;
        }
        if halted && !resumed && now >= until {
            kill(observer, Signal::SIGCONT)?;
            resumed = true;
        }
        if attempts > now.as_micros() as u64 * RATE / 1_000_000 {
            std::thread::yield_now();
            continue;
        }
        for _ in 0..BURST {
            let socket = &sockets[attempts as usize % sockets.len()];
            sent += u64::from(socket.send(b"0123456789012345").is_ok());
            attempts += 1;
        }
    }
    if !resumed {
        kill(observer, Signal::SIGCONT)?;
    }
    println!("           ({:.0} packets/s)", sent as f64 / start.elapsed().as_secs_f64());
    Ok(sent)
}
