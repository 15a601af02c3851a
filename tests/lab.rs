//! The lab by itself: what its hosts do to plain sockets, without the rest of the program.
//!
//! Runs as whoever calls it, and for root again as an ordinary user. Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
#[path = "lab/portrait.rs"]
mod portrait;

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use harness::Tests;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpFastOpenConnect;
use pathspider::connect::options::{VERSION, Value};
use pathspider::connect::{self, Action, Ending, Event, Fault, Options, Peer, Transport};
use pathspider::lab::{self, Lab, Spec};
use socket2::{Domain, Protocol, Socket, Type};

const TIMEOUT: Duration = Duration::from_secs(3);
/// For answers of hosts without delay.
const SHORT: Duration = Duration::from_millis(700);

fn main() -> ExitCode {
    harness::main_as_users(inside)
}

fn inside(tests: &mut Tests) {
    let spec = LazyCell::new(|| portrait::with_ends(Spec::internet().unwrap()));
    let lab = LazyCell::new(|| Lab::build(&spec).unwrap_or_else(|error| panic!("{error}")));
    tests.run("entering a namespace twice does nothing", || lab::enter().unwrap());
    tests.run("a wrong rule is shown", a_wrong_rule_is_shown);
    tests.run("a lab has room for 10,000 hosts", || {
        drop(Lab::build(&Spec::plain(10_000, 1_000).unwrap()).unwrap());
    });
    tests.run("the default route leads into the lab", || default_route_is(lab.interface()));
    tests.run("every host is as it was drawn, packet by packet", || portrait::check(&lab, &spec));
    tests.run("lossy paths lose as many segments as they say", || portrait::losses(&lab, &spec));
    tests.run("every connection ends as it should", || {
        every_connection_ends_as_it_should(&lab, &spec);
    });
    tests.run("applications answer", || applications_answer(&lab));
    tests.run("data in the SYN is taken", || data_in_the_syn_is_taken(&lab));
    tests.run("only hosts that break ECN fail with ECN", || ask_for_ecn(&lab));
    tests.run("servers that are other than usual", switches_of_servers);
}

/// With the kernel as it comes.
fn every_connection_ends_as_it_should(lab: &Lab, spec: &Spec) {
    let mut seen = observe(lab);
    for host in &spec.hosts {
        let name = host.name.as_str();
        let fates = seen.remove(name).unwrap_or_else(|| panic!("no host {name}"));
        assert_eq!(fates.len(), 2 * host.count, "{name}");
        // Two packets towards the host, each held back.
        let delay = Duration::from_millis(2 * host.delay_ms);
        if host.path.iter().any(|rule| rule.contains("numgen")) && !name.starts_with("lossy") {
            // What was sent before was counted; the portraits have it.
            continue;
        }
        for (address, fate, took) in fates {
            assert_eq!(fate, expected_fate(name, address), "{name} {address}");
            assert!(fate != Fate::Greeted || took >= delay, "{name} {address} took {took:?}");
        }
    }
}

fn expected_fate(host: &str, address: IpAddr) -> Fate {
    let by_family = |v4, v6| Fate::Failed(if address.is_ipv4() { v4 } else { v6 });
    match host {
        "early-close" => Fate::Closed,
        "closed" | "options-reset" | "port-unreachable" => {
            Fate::Failed(ErrorKind::ConnectionRefused)
        }
        "silent" | "too-slow" | "dscp-only" | "mptcp-only" | "tfo-only" | "ecn-only" => {
            Fate::Failed(ErrorKind::TimedOut)
        }
        "evil-only" if address.is_ipv4() => Fate::Failed(ErrorKind::TimedOut),
        "unreachable" => Fate::Failed(ErrorKind::HostUnreachable),
        "prohibited" => by_family(ErrorKind::HostUnreachable, ErrorKind::PermissionDenied),
        "host-prohibited" => by_family(ErrorKind::HostUnreachable, ErrorKind::PermissionDenied),
        "net-unreachable" => Fate::Failed(ErrorKind::NetworkUnreachable),
        "net-prohibited" => by_family(ErrorKind::NetworkUnreachable, ErrorKind::PermissionDenied),
        "protocol-unreachable" if address.is_ipv4() => Fate::NoProtocol,
        "protocol-unreachable" => Fate::Failed(ErrorKind::PermissionDenied),
        _ => Fate::Greeted,
    }
}

/// Every kind of connection against a host of the lab, over both families.
fn applications_answer(lab: &Lab) {
    let plain = lab.hosts().iter().position(|host| host.name == "plain").unwrap();
    for target in lab.targets().iter().filter(|target| target.host == plain) {
        for (kind, options, expected) in [
            ("tcp", Options::default(), "ok done -"),
            ("http", Options::default(), "ok done 200 1.1"),
            ("http", version("h2c"), "ok done 200 2"),
            ("h2", version("h2c_upgrade"), "ok done 200 2"),
            ("https", version("1.1"), "ok done 200 1.1"),
            ("h2", Options::default(), "ok done 200 2"),
            ("dns_udp", Options::default(), "ok done 0"),
            ("dns_tcp", Options::default(), "ok done 0"),
            ("tcp_fastopen", Options::default(), "ok done -"),
        ] {
            assert_eq!(said(kind, &options, target.addr), expected, "{kind} {}", target.addr);
        }
    }
}

fn version(version: &'static str) -> Options {
    Options::default().with(&VERSION, Value::Word(version))
}

/// Asks by plain sockets, and says how that ended: state, stage, and what was answered.
fn said(kind: &str, options: &Options, address: IpAddr) -> String {
    let kind = connect::kind(kind).unwrap();
    let port = kind.port_with(options);
    let peer = Peer { address, port, name: None, random: 0x1234 };
    let machine = connect::start(kind, options, peer);
    let at = SocketAddr::from((address, port));
    let ending = match kind.transport {
        Transport::Udp => {
            let any: IpAddr =
                if at.is_ipv4() { [0; 4].into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
            let socket = UdpSocket::bind((any, 0)).unwrap();
            // So that an answer from any other address than the one that was asked is not heard.
            socket.connect(at).unwrap();
            socket.set_read_timeout(Some(SHORT)).unwrap();
            play(machine, |buffer| socket.recv(buffer), |bytes| drop(socket.send(bytes)), || {})
        }
        _ => {
            let stream = TcpStream::connect_timeout(&at, TIMEOUT).unwrap();
            stream.set_read_timeout(Some(SHORT)).unwrap();
            let half_close = || stream.shutdown(Shutdown::Write).unwrap();
            play(
                machine,
                |buffer| (&stream).read(buffer),
                |bytes| (&stream).write_all(bytes).unwrap(),
                half_close,
            )
        }
    };
    let reply = ending.reply.unwrap_or_default();
    let mut words = vec![ending.state.as_str().to_owned(), ending.stage.as_str().to_owned()];
    match (reply.http_status, reply.dns_reply_rcode) {
        (Some(status), _) => words.extend([status.to_string(), reply.http_version.unwrap().into()]),
        (None, Some(rcode)) => words.push(rcode.to_string()),
        (None, None) => words.push(ending.error.unwrap_or("-".into()).into_owned()),
    }
    if let Some(addresses) = reply.dns_reply_addresses.filter(|text| !text.is_empty()) {
        let own = if address.is_ipv4() { address.to_string() } else { "192.0.2.53".into() };
        assert_eq!(addresses, own);
    }
    words.join(" ")
}

/// Drives a machine.
fn play(
    mut machine: Box<dyn connect::Machine>,
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    mut send: impl FnMut(&[u8]),
    half_close: impl Fn(),
) -> Ending {
    let (mut buffer, mut out) = ([0; 2048], Vec::new());
    let mut action = machine.handle(Event::Connected, &mut out);
    loop {
        if !out.is_empty() {
            send(&out);
            out.clear();
        }
        match action {
            Action::Close(ending) => return ending,
            Action::HalfClose => half_close(),
            Action::Wait => {}
        }
        let event = match read(&mut buffer) {
            Ok(0) => Event::PeerClosed,
            Ok(length) => Event::Data(&buffer[..length]),
            Err(why) if why.kind() == ErrorKind::WouldBlock => Event::TimedOut,
            Err(why) if why.kind() == ErrorKind::ConnectionRefused => {
                Event::Failed(Fault { word: "refused", local: false })
            }
            Err(why) => panic!("{why}"),
        };
        action = machine.handle(event, &mut out);
    }
}

/// The first connection brings the cookie, the second carries data in its SYN: the kernel counts
/// those whose data were acknowledged in the SYN-ACK.
fn data_in_the_syn_is_taken(lab: &Lab) {
    let plain = lab.hosts().iter().position(|host| host.name == "plain").unwrap();
    let active = || netstat("TCPFastOpenActive");
    let before = active();
    let targets: Vec<_> = lab.targets().iter().filter(|target| target.host == plain).collect();
    for target in &targets {
        for _ in 0..2 {
            let domain = if target.addr.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = Socket::new(domain, Type::STREAM, None).unwrap();
            setsockopt(&socket, TcpFastOpenConnect, &true).unwrap();
            socket.connect(&SocketAddr::from((target.addr, target.port)).into()).unwrap();
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            stream.write_all(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    }
    assert_eq!(active() - before, targets.len() as u64);
}

/// A server takes Multipath TCP as such, or the connection is one of plain TCP: the kernel counts the
/// SYN-ACKs that agree.
fn multipath(lab: &Lab) {
    for (name, agreed) in [("old", 2), ("mute", 0)] {
        let host = lab.hosts().iter().position(|host| host.name == name).unwrap();
        let targets = lab.targets().iter().filter(|target| target.host == host);
        let agreements = || netstat("MPCapableSYNACKRX");
        let before = agreements();
        for index in [0, 1] {
            let target = targets.clone().nth(index).unwrap();
            let domain = if target.addr.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = match Socket::new(domain, Type::STREAM, Some(Protocol::MPTCP)) {
                Ok(socket) => socket,
                Err(why) => return eprintln!("Multipath TCP ... skipped: {why}"),
            };
            socket.connect(&SocketAddr::from((target.addr, target.port)).into()).unwrap();
            let mut stream = TcpStream::from(socket);
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert_eq!(text, "pathspider lab: hello\r\n");
        }
        assert_eq!(agreements() - before, agreed, "{name}");
    }
}

/// A counter of this network namespace.
fn netstat(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
    let pair = lines.chunks(2).find(|pair| pair[0].contains(&name)).unwrap();
    let place = pair[0].iter().position(|known| *known == name).unwrap();
    pair[1][place].parse().unwrap()
}

/// Servers that are other than usual.
fn switches_of_servers() {
    let text = "
        [[host]]
        name = 'old'
        title = 'Knows HTTP/1 alone'
        server = { h2 = false, dns = 'other_id', mptcp = true }
        [[host]]
        name = 'mute'
        title = 'Answers no question'
        server = { dns = 'silent' }
        [[host]]
        name = 'ill'
        title = 'Answers that it cannot'
        server = { dns = 'servfail' }
        [[host]]
        name = 'shut'
        title = 'Closes'
        server = { plays = 'close' }
    ";
    let lab = Lab::build(&Spec::parse("x.toml", text).unwrap()).unwrap();
    multipath(&lab);
    let expected = [
        ("old", "http", Options::default(), "ok done 200 1.1"),
        ("old", "https", Options::default(), "ok done 200 1.1"),
        ("old", "h2", Options::default(), "failed tls Peer's TLS alert: no_application_protocol"),
        ("old", "h2", version("h2c"), "failed response Peer's answer is not HTTP/2"),
        ("old", "http", version("h2c_upgrade"), "failed request 200 1.1"),
        ("old", "dns_udp", Options::default(), "timeout response -"),
        ("mute", "dns_udp", Options::default(), "timeout response -"),
        ("mute", "dns_tcp", Options::default(), "timeout response -"),
        ("ill", "dns_udp", Options::default(), "ok done 2"),
        ("shut", "dns_udp", Options::default(), "timeout response -"),
    ];
    thread::scope(|scope| {
        for (name, kind, options, expected) in expected {
            for index in [0, 1] {
                let host = lab.hosts().iter().position(|host| host.name == name).unwrap();
                let mut targets = lab.targets().iter().filter(|target| target.host == host);
                let address = targets.nth(index).unwrap().addr;
                let options = options.clone();
                scope.spawn(move || {
                    assert_eq!(said(kind, &options, address), expected, "{name} {kind} {address}");
                });
            }
        }
    });
}

fn a_wrong_rule_is_shown() {
    let text = "[[host]]\nname = 'a'\ntitle = 'b'\npath = ['drop', 'abolish']";
    let Err(error) = Lab::build(&Spec::parse("x.toml", text).unwrap()) else { panic!() };
    assert!(error.to_string().contains("abolish"), "{error}");
}

/// Under a configuration that insists on ECN, those that break it fail, and nobody else.
fn ask_for_ecn(lab: &Lab) {
    std::fs::write("/proc/sys/net/ipv4/tcp_ecn", "1").unwrap();
    std::fs::write("/proc/sys/net/ipv4/tcp_ecn_fallback", "0").unwrap();
    let mut seen = observe(lab);
    for (host, expected) in [
        ("plain", Fate::Greeted),
        ("ecn-refused", Fate::Greeted),
        ("ecn-blackhole", Fate::Failed(ErrorKind::TimedOut)),
        ("ecn-reset", Fate::Failed(ErrorKind::ConnectionRefused)),
        ("ecn-reflect", Fate::Greeted),
        ("bleached", Fate::Greeted),
        ("ce-marked", Fate::Greeted),
        ("ect1-marked", Fate::Greeted),
        ("slow", Fate::Greeted),
        ("early-close", Fate::Closed),
    ] {
        for (address, fate, _) in seen.remove(host).unwrap() {
            assert_eq!(fate, expected, "{host} {address} with ECN");
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Greeted,
    Closed,
    Failed(ErrorKind),
    /// An error without a kind of its own.
    NoProtocol,
}

/// Connects to every address at once.
fn observe(lab: &Lab) -> BTreeMap<String, Vec<(IpAddr, Fate, Duration)>> {
    let mut seen: BTreeMap<String, Vec<_>> = BTreeMap::new();
    thread::scope(|scope| {
        let attempts: Vec<_> = lab
            .targets()
            .iter()
            .map(|target| {
                scope.spawn(move || {
                    let began = Instant::now();
                    let fate = match attempt(SocketAddr::from((target.addr, target.port))) {
                        Ok(text) if text.is_empty() => Fate::Closed,
                        Ok(text) => {
                            assert_eq!(text, "pathspider lab: hello\r\n");
                            Fate::Greeted
                        }
                        Err(error) if error.raw_os_error() == Some(nix::libc::ENOPROTOOPT) => {
                            Fate::NoProtocol
                        }
                        Err(error) => Fate::Failed(error.kind()),
                    };
                    (target, fate, began.elapsed())
                })
            })
            .collect();
        for attempt in attempts {
            let (target, fate, took) = attempt.join().unwrap();
            let name = lab.hosts()[target.host].name.clone();
            seen.entry(name).or_default().push((target.addr, fate, took));
        }
    });
    seen
}

fn attempt(at: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&at, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    // A server that closed early may have ended the connection by now.
    match stream.shutdown(Shutdown::Write) {
        Err(error) if error.kind() != ErrorKind::NotConnected => return Err(error),
        _ => {}
    }
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn default_route_is(interface: &str) {
    for family in ["-4", "-6"] {
        let output =
            Command::new("ip").args([family, "route", "show", "default"]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(&format!("dev {interface}")), "{family}: {text}");
    }
}
