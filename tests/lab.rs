//! The lab by itself: what its hosts do to plain sockets, without the rest of the program.
//!
//! Runs as whoever calls it, and, for root, once more as an ordinary user. Has no harness: a
//! user namespace can be entered only by a process with one thread. Where none can be entered,
//! it says so and counts as skipped.
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use pathspider::lab::{self, Lab, Spec};

/// Set in the children that do the work.
const INSIDE: &str = "PATHSPIDER_TEST_INSIDE";
const SKIPPED: u8 = 77;
const NOBODY: u32 = 65_534;
const TIMEOUT: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    if std::env::var_os(INSIDE).is_some() {
        inside()
    } else if std::env::args().any(|argument| argument == "--list") {
        ExitCode::SUCCESS
    } else {
        outside()
    }
}

/// Runs the checks in children, one for each kind of user.
fn outside() -> ExitCode {
    let mut failed = 0;
    for (who, user) in [("as the caller", None), ("as an ordinary user", Some(NOBODY))] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env(INSIDE, "1").current_dir("/");
        if let Some(user) = user {
            if !nix::unistd::geteuid().is_root() {
                eprintln!("test lab {who} ... skipped: only root can become one");
                continue;
            }
            command.uid(user).gid(user);
        }
        match command.status() {
            Ok(status) if status.success() => eprintln!("test lab {who} ... ok"),
            Ok(status) if status.code() == Some(SKIPPED.into()) => {
                eprintln!("test lab {who} ... skipped: no user namespace can be entered");
            }
            Ok(status) => {
                eprintln!("test lab {who} ... FAILED: {status}");
                failed += 1;
            }
            Err(error) if error.kind() == ErrorKind::PermissionDenied && user.is_some() => {
                eprintln!("test lab {who} ... skipped: that user cannot execute this: {error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    ExitCode::from(u8::from(failed > 0))
}

/// The checks themselves.
fn inside() -> ExitCode {
    if let Err(error) = lab::enter() {
        eprintln!("skipped: {error}");
        return ExitCode::from(SKIPPED);
    }
    lab::enter().expect("entering twice does nothing");
    a_wrong_rule_is_shown();
    drop(Lab::build(&Spec::plain(10_000, 1_000).unwrap()).unwrap());
    let began = Instant::now();
    let lab = Lab::build(&Spec::internet().unwrap()).unwrap_or_else(|error| panic!("{error}"));
    eprintln!("{} (built in {:?})", lab.describe(), began.elapsed());
    default_route_is(lab.interface());

    let mut seen = observe(&lab);
    for (host, expected) in [
        ("plain", Fate::Greeted),
        ("ecn-refused", Fate::Greeted),
        ("ecn-blackhole", Fate::Greeted),
        ("ecn-reset", Fate::Greeted),
        ("ecn-reflect", Fate::Greeted),
        ("bleached", Fate::Greeted),
        ("ce-marked", Fate::Greeted),
        ("ect1-marked", Fate::Greeted),
        ("slow", Fate::Greeted),
        ("early-close", Fate::Closed),
        ("closed", Fate::Failed(ErrorKind::ConnectionRefused)),
        ("silent", Fate::Failed(ErrorKind::TimedOut)),
        ("unreachable", Fate::Failed(ErrorKind::HostUnreachable)),
        ("prohibited", Fate::Failed(ErrorKind::HostUnreachable)),
    ] {
        let fates = seen.remove(host).unwrap_or_else(|| panic!("no host {host}"));
        assert_eq!(fates.len(), 8, "{host}");
        for (address, fate, took) in fates {
            let fate = match fate {
                // What IPv6 calls administratively prohibited.
                Fate::Failed(ErrorKind::PermissionDenied) if host == "prohibited" => expected,
                other => other,
            };
            assert_eq!(fate, expected, "{host} {address}");
            // Two packets towards the host, each held back.
            let delay = if host == "slow" { Duration::from_millis(2200) } else { Duration::ZERO };
            assert!(took >= delay, "{host} {address} took {took:?}");
        }
    }
    assert!(seen.is_empty(), "hosts that this test does not know: {seen:?}");
    ask_for_ecn(&lab);
    drop(lab);
    ExitCode::SUCCESS
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
