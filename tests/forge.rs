//! Packets made by hand, in a lab: what is sent, what counts as an answer, and that the kernel, which knows
//! nothing of such connections, stays out of them.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, ExitCode, Stdio};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use harness::Tests;
use pathspider::lab::{Lab, Spec};
use serde_json::Value;
use support::NO_STRANGERS;

const HOSTS: &str = r#"
[[host]]
name = "plain"
title = "Answers"
count = 20
# It says of every datagram that nobody wants it.
server = { sysctl = { "net.ipv4.icmp_ratelimit" = 0 } }

[[host]]
name = "silent"
title = "Never answers"
count = 2
path = ["drop"]

[[host]]
name = "closed"
title = "Answers with a reset"
count = 3
server = { plays = "nothing" }
"#;

const MEASUREMENT: &str = r#"
name = "forge"

[connect]
kind = "forge"
timeout = "1s"

[connect.packet]
ttl = 60

[config.zero]

[config.one.connect.packet]
ip_flags = ["evil"]
tcp_options = [{ mss = 1000 }, { kind = 253, data = "f989" }]

[config.two.connect.packet]
protocol = "udp"
question = "A"
udp_checksum = "zero"

[config.three.connect.packet]
tcp_flags = ["fin"]
answer = "any"

[observer]
use = ["basic"]
# No function for TCP: they take no flow that begins without a SYN.
udp_chain = ["udp_zero_checksum"]
new_flow_chain = ["udp_setup"]

[[conditions]]
name = "forge.connectivity"
compare = "ok"
"#;

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    let lab = Lab::build(&Spec::parse("hosts", HOSTS).unwrap()).unwrap();
    tests.run("every answer is what it is", || states(&lab, &measure(&lab).0));
    tests.run("one reset a SYN-ACK, ours", || {
        let (records, packets) = measure(&lab);
        resets(&records, &packets);
    });
    tests.run("each packet has the source address of its route", || sources(&lab));
}

/// All that was recorded, and all that was on the wire.
fn measure(lab: &Lab) -> (Vec<Value>, Vec<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (measurement, list) = (folder.join("forge.toml"), folder.join("targets.csv"));
    fs::write(&measurement, MEASUREMENT).unwrap();
    let mut targets = String::new();
    for target in lab.targets() {
        writeln!(targets, "{},{}", target.addr, target.port).unwrap();
    }
    fs::write(&list, targets).unwrap();
    let before = ruleset();
    let mut wire = pcap::Capture::from_device(lab.interface())
        .unwrap()
        .immediate_mode(true)
        .snaplen(200)
        .buffer_size(16 << 20)
        .open()
        .unwrap()
        .setnonblock()
        .unwrap();
    let output = folder.join("forge.ndjson");
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command
        .arg("run")
        .arg(&measurement)
        .args(NO_STRANGERS)
        .arg("--targets")
        .arg(&list)
        .arg("-o")
        .arg(&output);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let done = child.output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let mut packets = Vec::new();
    while let Ok(packet) = wire.next_packet() {
        packets.push(packet.data.to_vec());
    }
    assert_eq!(wire.stats().unwrap().dropped, 0);
    assert_eq!(ruleset(), before, "rules are left");
    let text = fs::read_to_string(&output).unwrap();
    (text.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), packets)
}

/// The prober's usual address, and another one.
const SOURCES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(198, 51, 100, 7)];

/// Every second target is reached by a route with the other source address.
fn sources(lab: &Lab) {
    let ip = |line: &str| {
        let done = Command::new("ip").args(line.split_whitespace()).output().unwrap();
        assert!(done.status.success(), "ip {line}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let interface = lab.interface();
    ip(&format!("addr add {}/32 dev {interface}", SOURCES[1]));
    let default = ip("-4 route show default");
    let gateway = default.split_whitespace().skip_while(|word| *word != "via").nth(1).unwrap();
    let addresses = lab.targets().iter().filter_map(|target| match target.addr {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let addresses: Vec<Ipv4Addr> = addresses.collect();
    for address in addresses.iter().skip(1).step_by(2) {
        ip(&format!(
            "route add {address}/32 via {gateway} dev {interface} onlink src {}",
            SOURCES[1]
        ));
    }
    let (records, packets) = measure(lab);
    assert!(records.iter().all(|record| record["zero"]["observed"] == true));
    let mut seen = 0;
    for packet in &packets {
        let Ok(packet) = SlicedPacket::from_ethernet(packet) else { continue };
        let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) =
            (&packet.net, &packet.transport)
        else {
            continue;
        };
        let to = ip.header().destination_addr();
        let Some(at) = addresses.iter().position(|address| *address == to) else { continue };
        assert_eq!(ip.header().source_addr(), SOURCES[at % 2], "to {to}");
        seen += usize::from(tcp.syn());
    }
    assert_eq!(seen, 2 * addresses.len());
}

fn ruleset() -> Vec<u8> {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    Command::new("nft").args(["list", "ruleset"]).env("PATH", path).output().unwrap().stdout
}

fn states(lab: &Lab, records: &[Value]) {
    assert_eq!(records.len(), lab.targets().len());
    let hosts: BTreeMap<String, &str> = lab
        .targets()
        .iter()
        .map(|target| (target.addr.to_string(), lab.hosts()[target.host].name.as_str()))
        .collect();
    let refused = Value::from("Connection refused");
    for record in records {
        let ip = record["target"]["ip"].as_str().unwrap();
        let v6 = ip.contains(':');
        let (state, error) = match hosts[ip] {
            "plain" => ("ok", Value::Null),
            "silent" => ("timeout", Value::Null),
            _ => ("failed", refused.clone()),
        };
        let zero = &record["zero"];
        assert_eq!((&zero["state"], &zero["error"]), (&state.into(), &error), "{ip} {zero}");
        assert_eq!(zero["observed"], true);
        let one = &record["one"];
        match v6 {
            true => {
                assert_eq!(one["state"], "skipped", "{ip} {one}");
                assert_eq!(one["error"], "IPv6 has no evil bit");
                assert_eq!((&one["ok"], &one["observed"]), (&Value::Null, &false.into()));
            }
            false => assert_eq!((&one["state"], &one["error"]), (&state.into(), &error), "{one}"),
        }
        // Nobody serves DNS there: a host that is there says so.
        let (two, three) = (&record["two"], &record["three"]);
        match hosts[ip] {
            "silent" => {
                assert_eq!(
                    (&two["state"], &three["state"]),
                    (&"timeout".into(), &"timeout".into())
                );
            }
            _ => {
                // Without a checksum IPv6 takes no datagram (RFC 8200, 8.1).
                let (state, error) =
                    if v6 { ("timeout", &Value::Null) } else { ("failed", &refused) };
                assert_eq!((&two["state"], &two["error"]), (&state.into(), error), "{two}");
                // A listener says nothing to a FIN, a closed port resets (RFC 9293, 3.10.7).
                let expected = if hosts[ip] == "plain" { "timeout" } else { "ok" };
                assert_eq!(three["state"], expected, "{three}");
            }
        }
        assert_eq!((&two["udp_zero_checksum_fwd"], &three["pkt_fwd"]), (&true.into(), &1.into()));
    }
}

/// A flow's packets as they were seen: from us or not, and TCP flags.
type Flow = Vec<(bool, u8)>;

fn resets(records: &[Value], packets: &[Vec<u8>]) {
    let mut flows: BTreeMap<(SocketAddr, u16), Flow> = BTreeMap::new();
    let mut evil = 0;
    for packet in packets {
        let Ok(packet) = SlicedPacket::from_ethernet(packet) else { continue };
        let (source, target, hops, first) = match packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let ip = ip.header();
                let (source, target) = (ip.source_addr().into(), ip.destination_addr().into());
                (source, target, ip.ttl(), ip.slice()[6])
            }
            Some(NetSlice::Ipv6(ip)) => {
                let ip = ip.header();
                let (source, target) = (ip.source_addr().into(), ip.destination_addr().into());
                (source, target, ip.hop_limit(), 0)
            }
            _ => continue,
        };
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { continue };
        let source = SocketAddr::new(source, tcp.source_port());
        let target = SocketAddr::new(target, tcp.destination_port());
        let ours = target.port() == 80;
        let key = if ours { (target, source.port()) } else { (source, target.port()) };
        flows.entry(key).or_default().push((ours, tcp.slice()[13]));
        if ours {
            assert_eq!(hops, 60, "a packet that is not made by hand: {source} to {target}");
            evil += usize::from(first & 0x80 != 0);
        }
    }
    let mut answered = 0;
    for record in records {
        let ip = record["target"]["ip"].as_str().unwrap().parse().unwrap();
        for configuration in ["zero", "one", "three"] {
            let attempt = &record[configuration];
            let Some(port) = attempt["source_port"].as_u64() else { continue };
            let key = (SocketAddr::new(ip, 80), u16::try_from(port).unwrap());
            let flow = flows.remove(&key).unwrap_or_default();
            let expected: &[(bool, u8)] = match (configuration, attempt["state"].as_str().unwrap())
            {
                ("three", "ok") => &[(true, 1), (false, 0x14)],
                ("three", _) => &[(true, 1)],
                (_, "ok") => &[(true, 2), (false, 0x12), (true, 4)],
                (_, "failed") => &[(true, 2), (false, 0x14)],
                (_, "timeout") => &[(true, 2)],
                _ => &[],
            };
            assert_eq!(flow, expected, "{configuration} {key:?} {attempt}");
            answered += usize::from(expected.len() == 3);
        }
    }
    assert!(flows.is_empty(), "{flows:?}");
    // Both families under zero, and IPv4 under one.
    assert_eq!(answered, 60);
    // Every first packet under one, and no reset.
    assert_eq!(evil, 25);
}
