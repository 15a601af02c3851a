//! Whatever ends a run that can be caught: the host is restored, the journal is closed, the exit code is the documented
//! one, and the last line of `--status` says what it was. A row for each signal and for each thread that may panic.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
#[path = "support/listed.rs"]
mod listed;
#[path = "support/no_strangers.rs"]
mod no_strangers;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use harness::Tests;
use listed::Listed;
use no_strangers::NO_STRANGERS;
use pathspider::lab::{Lab, Spec};
use pathspider::signals::{self, Action, SIGNALS};
use serde_json::Value;

/// Of each version of IP.
const TARGETS: usize = 20;
const ECN: &str = "/proc/sys/net/ipv4/tcp_ecn";
/// What the steps below do not set.
const FOUND: &str = "2";
/// Steps of every kind that are not a socket's: in force from the first attempt on.
const MEASUREMENT: &str = r#"
name = "ends"
[config.zero]
steps = [
  { sysctl = { "net.ipv4.tcp_ecn" = 1 } },
  { netfilter = { rule = "ip dscp set 4", hook = "output" } },
  { command = { run = ["cat", "/proc/self/status"], undo = ["true"] } },
]
[config.one]
steps = [{ sysctl = { "net.ipv4.tcp_ecn" = 0 } }]
[connect]
kind = "tcp"
[observer]
use = ["basic"]
[[conditions]]
name = "ends.connectivity"
compare = "ok"
"#;

fn main() -> ExitCode {
    harness::main(outside, inside)
}

fn inside(tests: &mut Tests) {
    fs::write(ECN, FOUND).unwrap();
    let lab = Lab::build(&Spec::plain(TARGETS, 0).unwrap()).unwrap();
    let bench = Bench::new(&lab);
    for row in SIGNALS.iter().filter(|row| row.action.is_handled()) {
        let (first, last) = ((row.numbers)().min().unwrap(), (row.numbers)().max().unwrap());
        for number in [first, last].into_iter().take(if first == last { 1 } else { 2 }) {
            let name = signals::name(number);
            tests.run(&format!("{name} ends a run"), || bench.signal(number, row.action));
        }
    }
    tests.run("a signal while the list is read ends a run that sent nothing", || bench.waiting());
    tests.run("a signal while the lab is built", || bench.building());
    tests.run("blocked signals come, and children inherit none", || bench.blocked());
    tests.run("nohup is respected", || bench.nohup());
    tests.run("RLIMIT_FSIZE is a full disk", || bench.file_size());
    // They are in programs with debug assertions only, and so is this.
    #[cfg(debug_assertions)]
    for point in pathspider::barrier::PANIC_POINTS {
        tests.run(&format!("a panic: {point}"), || bench.panic(point));
    }
}

/// Commands that only read and write files.
fn outside(tests: &mut Tests, _: bool) {
    tests.run("RLIMIT_CPU ends in order", processor);
    for row in SIGNALS.iter().filter(|row| row.action.is_handled()) {
        let number = *(row.numbers)().start();
        for words in [&["targets", "filter", "-"][..], &["observe", "-"]] {
            let name = format!("{} ends {}", signals::name(number), words.join(" "));
            tests.run(&name, || listens(number, words));
        }
    }
}

/// A command that waits for its input ends by a signal.
fn listens(number: i32, words: &[&str]) {
    let mut child = program(words).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    if words[0] == "targets" {
        stdin.write_all(b"{\"dip\": \"192.0.2.1\", \"dp\": 80}\n").unwrap();
    } else {
        // The header of a capture file, and no packet.
        stdin.write_all(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap();
        stdin.write_all(&[0, 0, 4, 0, 1, 0, 0, 0]).unwrap();
    }
    handles(&child);
    send(&child, number);
    let (code, _, said) = ended(child);
    assert_eq!(code, Some(5), "{said}");
    drop(stdin);
}

/// The kernel sends SIGXCPU at the soft limit.
fn processor() {
    let line = r#"{"dip": "192.0.2.1", "dp": 80}"#;
    let script = format!(
        "yes '{line}' | sh -c 'ulimit -S -t 1; exec \"$0\" targets filter - -o -' \"$0\" 2>&1 >/dev/null"
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_pathspider")]);
    let (_, said, _) =
        ended(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    assert!(said.contains("ended early by SIGXCPU"), "{said}");
}

fn program(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(words).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Until the process handles SIGTERM, and waits for something.
fn handles(child: &Child) {
    until(|| {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
        mask & (1 << 14) != 0 && mask & (1 << 63) != 0
    });
}

/// By a program, since real-time signals have no name in nix.
fn send(child: &Child, number: i32) {
    let script = format!("kill -{number} {}", child.id());
    assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
}

fn until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "it never came to that");
        std::thread::yield_now();
    }
}

/// Its exit code, and what it wrote; a process that hangs fails the test.
fn ended(mut child: Child) -> (Option<i32>, String, String) {
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let read = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = err.read_to_string(&mut text);
        text
    });
    let written = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = out.read_to_string(&mut text);
        text
    });
    let end = Instant::now() + Duration::from_secs(90);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            panic!("it hangs: {}", read.join().unwrap());
        }
        std::thread::yield_now();
    };
    (status.code(), written.join().unwrap(), read.join().unwrap())
}

fn ecn() -> String {
    fs::read_to_string(ECN).unwrap().trim().to_owned()
}

/// Connections that were begun in this network namespace.
fn opened() -> usize {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut tcp = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let at = tcp.next().unwrap().split(' ').position(|name| name == "ActiveOpens").unwrap();
    tcp.next().unwrap().split(' ').nth(at).unwrap().parse().unwrap()
}

struct Bench {
    at: Listed,
    measurement: PathBuf,
}

/// How a run ended.
struct End {
    code: Option<i32>,
    summary: Value,
    /// The last line of the status.
    status: Value,
    said: String,
}

impl Bench {
    fn new(lab: &Lab) -> Self {
        let at = Listed::new(lab);
        let measurement = at.path("ends.toml");
        fs::write(&measurement, MEASUREMENT).unwrap();
        Self { at, measurement }
    }

    fn words(&self, rate: u32) -> Vec<String> {
        let path = |name: &str| self.at.path(name).display().to_string();
        for folder in ["out", "state"] {
            let _ = fs::remove_dir_all(self.at.path(folder));
        }
        let _ = fs::remove_file(self.at.path("status"));
        let mut words = vec!["run".to_owned(), self.measurement.display().to_string()];
        words.extend(NO_STRANGERS.map(str::to_owned));
        words.extend(["--format", "json", "--allow-commands"].map(str::to_owned));
        words.extend(["--rate".to_owned(), rate.to_string()]);
        words.extend(["-i".to_owned(), self.at.interface.clone()]);
        words.extend(["--targets".to_owned(), self.at.list.display().to_string()]);
        words.extend(["-o".to_owned(), path("out/"), "--status".to_owned(), path("status")]);
        words.extend(["--state".to_owned(), path("state")]);
        words
    }

    /// A run of which the first wave takes eight seconds.
    fn command(&self, more: &[&str]) -> Command {
        let words = self.words(5);
        program(&words.iter().map(String::as_str).chain(more.iter().copied()).collect::<Vec<_>>())
    }

    /// Until the first attempts are in flight, with the steps in force.
    fn in_flight(&self, child: &Child, before: usize) {
        let _ = child;
        until(|| opened() > before + 1);
        assert_eq!(ecn(), "1", "the steps are in force");
    }

    fn end(&self, child: Child) -> End {
        let (code, out, said) = ended(child);
        let status = fs::read_to_string(self.at.path("status")).unwrap_or_default();
        let status = status.lines().last().map(|line| serde_json::from_str(line).unwrap());
        let summary = serde_json::from_str(&out).unwrap_or_default();
        End { code, summary, status: status.unwrap_or_default(), said }
    }

    /// Nothing is left on the host.
    fn restored(&self) {
        assert_eq!(ecn(), FOUND, "the sysctl");
        let tables = Command::new("nft").args(["list", "tables"]).output().unwrap();
        assert!(!String::from_utf8_lossy(&tables.stdout).contains("pathspider"), "{tables:?}");
        let journals = fs::read_dir(self.at.path("state")).map_or(0, Iterator::count);
        assert_eq!(journals, 0, "journals");
    }

    /// The parts are whole.
    fn readable(&self) {
        for entry in fs::read_dir(self.at.path("out")).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "parquet") {
                pathspider::sink::Stored::open(&path).unwrap().read(&[], |_| Ok(())).unwrap();
            }
        }
    }

    fn signal(&self, number: i32, action: Action) {
        let before = opened();
        let mut child = self.command(&[]).spawn().unwrap();
        self.in_flight(&child, before);
        send(&child, number);
        if action != Action::EndNow {
            // The wave goes on until the second one.
            let mut lines = BufReader::new(child.stderr.as_mut().unwrap()).lines();
            let said = lines.find(|line| line.as_ref().is_ok_and(|l| l.contains("no new wave")));
            assert!(said.unwrap().unwrap().starts_with(&signals::name(number)));
            assert_eq!(ecn(), "1", "the wave goes on");
            send(&child, nix::libc::SIGTERM);
        }
        let End { code, summary, status, said } = self.end(child);
        assert_eq!(code, Some(5), "{said}");
        self.restored();
        self.readable();
        let name = signals::name(number);
        assert_eq!(summary["signal"], name.as_str(), "{summary}");
        assert_eq!((&status["event"], &status["exit"]), (&"end".into(), &5.into()));
        assert_eq!((&status["signal"], &status["signal_name"]), (&number.into(), &name.into()));
    }

    /// Standard input from which nothing comes.
    fn waiting(&self) {
        let before = opened();
        for order in ["random", "list"] {
            let mut words = self.words(5);
            let at = words.iter().position(|word| word == "--targets").unwrap();
            words[at + 1] = "-".into();
            words.extend(["--order".into(), order.into()]);
            let mut child = program(&[]).args(words).stdin(Stdio::piped()).spawn().unwrap();
            let stdin = child.stdin.take().unwrap();
            handles(&child);
            send(&child, nix::libc::SIGUSR1);
            let End { code, status, said, .. } = self.end(child);
            assert_eq!(code, Some(5), "{said}");
            assert!(said.contains("SIGUSR1"), "{said}");
            assert_eq!(
                (&status["event"], &status["signal_name"]),
                (&"end".into(), &"SIGUSR1".into())
            );
            drop(stdin);
            self.restored();
        }
        assert_eq!(opened(), before, "nothing was sent");
    }

    fn building(&self) {
        let child = program(&["run", "ecn", "--lab", "-o", "-"]).spawn().unwrap();
        handles(&child);
        send(&child, nix::libc::SIGPWR);
        let (code, out, said) = ended(child);
        assert_eq!(code, Some(5), "{said}");
        assert!(out.is_empty() && said.contains("SIGPWR"), "{said}");
    }

    fn blocked(&self) {
        let before = opened();
        let words = self.words(5);
        let mut command = Command::new("env");
        command.args(["--block-signal=TERM,USR1", "--", env!("CARGO_BIN_EXE_pathspider")]);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        self.in_flight(&child, before);
        send(&child, nix::libc::SIGTERM);
        send(&child, nix::libc::SIGQUIT);
        let End { code, said, .. } = self.end(child);
        assert_eq!(code, Some(5), "{said}");
        self.restored();
        let run = fs::read_to_string(self.at.path("out/run.json")).unwrap();
        for mask in ["SigBlk:", "SigIgn:"] {
            let (_, mask) = run.split_once(mask).unwrap();
            let digits: String = mask.chars().filter(char::is_ascii_hexdigit).take(16).collect();
            let mask = u64::from_str_radix(&digits, 16).unwrap();
            for row in SIGNALS {
                let mut numbers = (row.numbers)();
                assert!(
                    numbers.all(|number| mask & (1 << (number - 1)) == 0),
                    "{}: {run}",
                    row.name
                );
            }
        }
    }

    fn nohup(&self) {
        let before = opened();
        let words = self.words(5);
        let mut command = Command::new("env");
        command.args(["--ignore-signal=HUP", "--", env!("CARGO_BIN_EXE_pathspider")]);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        self.in_flight(&child, before);
        send(&child, nix::libc::SIGHUP);
        send(&child, nix::libc::SIGQUIT);
        let End { code, status, .. } = self.end(child);
        assert_eq!((code, &status["signal_name"]), (Some(5), &"SIGQUIT".into()));
    }

    /// A run under a limit of the shell's.
    fn limited(&self, limit: &str, more: &[&str]) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_pathspider")).args(self.words(1000)).args(more);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn file_size(&self) {
        // In units of 512 octets: a part is larger.
        let End { code, summary, status, said } = self.end(self.limited("-f 16", &[]));
        assert_eq!(code, Some(1), "{said}");
        let error = summary["error"].as_str().unwrap_or_default().to_owned();
        assert!(
            error.contains("part-00000.parquet") && error.contains("RLIMIT_FSIZE"),
            "{error}: {said}"
        );
        assert_eq!((&summary["signal"], &status["exit"]), (&Value::Null, &1.into()));
        self.restored();
        // There was no room for a part, so there is nothing to resume, and nothing is left.
        assert_eq!((&summary["resume"], self.at.path("out").exists()), (&Value::Null, false));
    }

    #[cfg(debug_assertions)]
    fn panic(&self, point: &str) {
        let (path, env) = (|name: &str| self.at.path(name), ("PATHSPIDER_PANIC", point));
        let before = opened();
        let metrics = free_port();
        let child = match point {
            "lab" => {
                program(&["run", "ecn", "--lab", "-o", "-"]).env(env.0, env.1).spawn().unwrap()
            }
            "restore" => {
                self.killed();
                let state = path("state");
                let words = ["restore", "--state", state.to_str().unwrap()];
                program(&words).env(env.0, env.1).spawn().unwrap()
            }
            "merge" => {
                let words = self.words(1000);
                let words: Vec<&str> = words.iter().map(String::as_str).collect();
                self.end(program(&words).spawn().unwrap());
                let (from, to) = (path("out"), path("merged.parquet"));
                let words = ["merge", "--allow-incomplete", from.to_str().unwrap(), "-o"];
                program(&words).arg(&to).env(env.0, env.1).spawn().unwrap()
            }
            _ => self.command(&["--metrics", &metrics]).env(env.0, env.1).spawn().unwrap(),
        };
        match point {
            "metrics" => {
                until(|| TcpStream::connect(&metrics).is_ok());
                let mut client = TcpStream::connect(&metrics).unwrap();
                let _ = client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n");
            }
            "signals" => send_when(&child, || opened() > before + 1, nix::libc::SIGTERM),
            "capture" | "writer" | "finish" => {
                send_when(&child, || opened() > before + 1, nix::libc::SIGQUIT);
            }
            _ => {}
        }
        let End { code, status, said, .. } = self.end(child);
        assert_eq!(code, Some(1), "{said}");
        let line = said.lines().find(|line| line.contains("the thread")).unwrap_or(&said);
        for part in
            [" panicked: ", &format!("PATHSPIDER_PANIC is {point}"), ".rs:", "please report"]
        {
            assert!(line.contains(part), "{part}: {said}");
        }
        if point == "restore" {
            // What was not undone is in the journal still.
            let state = path("state");
            let words = ["restore", "--state", state.to_str().unwrap()];
            assert_eq!(program(&words).status().unwrap().code(), Some(0));
        } else if !matches!(point, "lab" | "merge") {
            assert_eq!((&status["event"], &status["exit"]), (&"end".into(), &1.into()), "{said}");
            assert!(status["error"].to_string().contains("panicked"), "{status}");
        }
        self.restored();
        self.readable();
    }

    /// A run whose steps are left in force.
    #[cfg(debug_assertions)]
    fn killed(&self) {
        let before = opened();
        let mut child = self.command(&[]).spawn().unwrap();
        self.in_flight(&child, before);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(ecn(), "1");
    }
}

#[cfg(debug_assertions)]
fn send_when(child: &Child, ready: impl FnMut() -> bool, number: i32) {
    until(ready);
    send(child, number);
}

#[cfg(debug_assertions)]
fn free_port() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
