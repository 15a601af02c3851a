//! Hosts that flood our source ports, and packets of strangers on the interface, give no other target a label that its
//! path did not earn, and take no memory beyond the bound.
//!
//! The flood lasts some seconds; `PATHSPIDER_FLOOD_SECONDS=60 cargo test --test flood` has it last longer.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
#[path = "support/router.rs"]
mod router;
mod support;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use etherparse::PacketBuilder;
use harness::Tests;
use nix::sys::resource::{UsageWho, getrusage};
use pathspider::lab::{Lab, Spec};
use pathspider::measurement::SHIPPED;
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use support::NO_STRANGERS;
use support::listed::Listed;

/// Hosts whose labels differ, and one that floods.
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

[[host]]
name = "silent"
title = "Nothing that is sent to it arrives."
count = 1
path = ["drop"]

[[host]]
name = "flooder"
title = "Floods."
count = 1
"#;

/// The prober's address in the lab.
const PROBER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    let lab = Lab::build(&Spec::parse("flood", LAB).unwrap()).unwrap();
    let listed = Listed::new(&lab);
    tests.run("a flood gives no other target a wrong label", || flooded(&lab, &listed, "128M"));
    tests.run("nor does it where the capture's buffer is too small", || {
        flooded(&lab, &listed, "1M");
    });
    tests.run("a flood takes no more memory than the bound", || bounded(&lab, &listed));
}

/// Octets that a run takes at most under a flood.
const MOST_MEMORY: u64 = 300_000_000;

/// Seconds that the target of the second test is waited for: in each of two configurations.
fn seconds() -> u64 {
    std::env::var("PATHSPIDER_FLOOD_SECONDS").map_or(4, |seconds| seconds.parse().unwrap())
}

/// IPv4 packets to the prober: from this host, to one of its ports.
fn packets(from: Ipv4Addr, port: u16) -> Vec<Vec<u8>> {
    let ip = || PacketBuilder::ipv4(from.octets(), PROBER.octets(), 60);
    let built = |builder: etherparse::PacketBuilderStep<etherparse::TcpHeader>, data: &[u8]| {
        let mut packet = Vec::new();
        builder.write(&mut packet, data).unwrap();
        packet
    };
    let number = u32::from(port) * 7919;
    let tcp = || ip().tcp(80, port, number, 1000);
    let mut udp = Vec::new();
    ip().udp(53, port).write(&mut udp, b"nothing").unwrap();
    vec![
        built(tcp().syn().ack(number), b""),
        built(tcp().syn().ece().cwr(), b""),
        built(tcp().ack(number).psh(), b"HTTP/1.1 200 OK\r\n\r\n"),
        built(tcp().rst(), b""),
        udp,
    ]
}

/// Sends until it is told to stop, from some addresses and from one that changes with each port; counts.
fn flood(from: &[Ipv4Addr], stop: &AtomicBool, sent: &AtomicU64) {
    router::enter_router();
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
    socket.set_header_included_v4(true).unwrap();
    let prober = SocketAddr::from((PROBER, 0)).into();
    // Every port that a run may have, and others, in no order: the step has no divisor in common with 64,000.
    for number in (0u64..).step_by(7919) {
        let port = 1024 + (number % 64_000) as u16;
        // 11.0.0.0 to 11.255.255.255, in no order.
        let anybody =
            Ipv4Addr::from_bits(11 << 24 | (number as u32).wrapping_mul(0x9e37_79b1) >> 8);
        for packet in from.iter().chain([&anybody]).flat_map(|from| packets(*from, port)) {
            // A full buffer is what a flood meets.
            sent.fetch_add(u64::from(socket.send_to(&packet, &prober).is_ok()), Relaxed);
        }
        if stop.load(Relaxed) {
            return;
        }
        thread::yield_now();
    }
}

/// `ecn`, with time for packets that the flood drops to be sent again, and with a condition that is wrong as soon as the
/// capture has lost a packet of the handshake.
fn measurement(listed: &Listed, timeout: u64) -> PathBuf {
    let (_, text) = SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap();
    let mut patient = text.replace("timeout = \"3s\"", &format!("timeout = \"{timeout}s\""));
    assert_ne!(*text, patient);
    patient.push_str("\n[[conditions]]\nname = \"seen.handshake\"\ncompare = \"tcp_connected\"\n");
    let path = listed.path("ecn.toml");
    std::fs::write(&path, patient).unwrap();
    path
}

/// A run over a list: its summary, and the conditions of each target.
fn run(
    listed: &Listed,
    list: &Path,
    timeout: u64,
    output: &str,
    buffer: &str,
) -> (Value, BTreeMap<String, Vec<String>>) {
    let path = listed.path(output);
    let ended = Command::new(env!("CARGO_BIN_EXE_pathspider"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PATHSPIDER_STATE", listed.path("state"))
        .arg("run")
        .arg(measurement(listed, timeout))
        .args(["--format", "json", "--confirm", "0"])
        .args(["--rate", "40", "-i", &listed.interface, "--capture-buffer", buffer])
        .args(NO_STRANGERS)
        .arg("--targets")
        .arg(list)
        .arg("-o")
        .arg(&path)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(matches!(ended.status.code(), Some(0 | 3)), "{said}");
    let text = std::fs::read_to_string(path).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let labels = records.map(|record| {
        let labels = record["conditions"].as_array().unwrap().iter();
        let labels = labels.map(|label| label.as_str().unwrap().to_owned()).collect();
        (record["target"]["ip"].as_str().unwrap().to_owned(), labels)
    });
    (serde_json::from_slice(&ended.stdout).unwrap(), labels.collect())
}

/// The IPv4 addresses of a host.
fn addresses<'l>(lab: &'l Lab, name: &'l str) -> impl Iterator<Item = Ipv4Addr> + 'l {
    let of_host = lab.targets().iter().filter(move |target| lab.hosts()[target.host].name == name);
    of_host.filter_map(|target| match target.addr {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    })
}

/// A list of the targets that are of a host, or not of it.
fn list(lab: &Lab, listed: &Listed, file: &str, wanted: impl Fn(&str) -> bool) -> PathBuf {
    let targets = lab.targets().iter().filter(|of| wanted(&lab.hosts()[of.host].name));
    let lines = targets.map(|target| format!("{},{}\n", target.addr, target.port));
    let path = listed.path(file);
    std::fs::write(&path, lines.collect::<String>()).unwrap();
    path
}

/// Does something while packets come from these addresses and any others; gives how many were sent.
fn while_flooded<T>(from: &[Ipv4Addr], work: impl FnOnce() -> T) -> (T, u64) {
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let done = thread::scope(|scope| {
        scope.spawn(|| flood(from, &stop, &sent));
        while sent.load(Relaxed) == 0 {
            thread::yield_now();
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Relaxed);
        done
    });
    (done.unwrap(), sent.load(Relaxed))
}

/// Packets of random senders, and of the very target that a run waits for.
fn bounded(lab: &Lab, listed: &Listed) {
    let from: Vec<Ipv4Addr> = addresses(lab, "silent").collect();
    assert!(!from.is_empty());
    let list = list(lab, listed, "silent.csv", |name| name == "silent");
    let ((summary, labels), sent) =
        while_flooded(&from, || run(listed, &list, seconds(), "bounded.ndjson", "128M"));
    // In kilobytes; of all programs that this one has run.
    let peak = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss() as u64 * 1024;
    let took = summary["seconds"].as_f64().unwrap_or(0.0);
    eprintln!("{sent} packets in {took:.0} s; {}; peak {peak} octets", summary["packets"]);
    assert!(summary["packets"]["seen"].as_u64().unwrap() > 1000, "{summary}");
    assert!(peak < MOST_MEMORY, "{peak} octets");
    for (ip, labels) in labels {
        let wrong = |label: &&String| {
            !matches!(label.rsplit_once('.').unwrap().1, "offline" | "insufficient")
        };
        assert_eq!(labels.iter().find(wrong), None, "{ip}: {labels:?}");
    }
}

fn flooded(lab: &Lab, listed: &Listed, buffer: &str) {
    let name = |ip: &str| {
        let ip: IpAddr = ip.parse().unwrap();
        let target = lab.targets().iter().find(|target| target.addr == ip).unwrap();
        lab.hosts()[target.host].name.as_str()
    };
    let mut from: Vec<Ipv4Addr> = (1..5).map(|host| Ipv4Addr::new(203, 0, 113, host)).collect();
    from.extend(addresses(lab, "flooder"));
    assert_eq!(from.len(), 5);
    // One that answers nothing would be waited for.
    let list = list(lab, listed, "others.csv", |name| name != "silent");
    let ((summary, labels), sent) =
        while_flooded(&from, || run(listed, &list, 60, "flooded.ndjson", buffer));
    eprintln!("{sent} packets; {}, flags {}", summary["packets"], summary["flags"]);
    assert_eq!(labels.len(), lab.targets().len() - 2, "each target has its record");
    // Most went to our ports, so the observer had to look at them.
    assert!(summary["packets"]["seen"].as_u64().unwrap() > 1000, "{summary}");
    let mut right = 0;
    for (ip, labels) in &labels {
        let (connectivity, negotiation) = match name(ip) {
            "works" => ("works", "succeeded"),
            "refused" => ("works", "failed"),
            "reset" => ("broken", ""),
            _ => continue,
        };
        for label in labels {
            let expected = match label.rsplit_once('.').unwrap() {
                (_, "insufficient") => continue,
                ("ecn.connectivity" | "seen.handshake", word) => word == connectivity,
                ("ecn.negotiation", word) => word == negotiation,
                ("ecn.ipmark.ect0", word) => (word == "seen") == (negotiation == "succeeded"),
                (_, word) => word == "not_seen",
            };
            assert!(expected, "{} {ip}: {labels:?}", name(ip));
            right += 1;
        }
    }
    // Without drops all of them, but it is no promise that there are none.
    assert!(right > 0 || summary["packets"]["dropped"].as_u64() > Some(0), "{summary}");
}
