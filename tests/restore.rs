//! What a killed run leaves, and that it is put back; that runs keep out of each other's way.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Lines};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitCode, Stdio};
use std::time::Duration;

use harness::{Tests, differences};
use nix::libc::O_NONBLOCK;
use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathspider::lab::{Lab, Spec};
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use support::wait::until;
use support::{records, stderr};

const ECN: &str = "/proc/sys/net/ipv4/tcp_ecn";
/// How often the run is killed, from each seed of the moments.
const KILLS: usize = 10;
const SEEDS: [u64; 5] = [6, 7, 8, 9, 10];

/// Every kind of step that changes the host; the program changes a kernel parameter, so it is seen.
const ALL_KINDS: &str = r#"
name = "everything"
[config.zero]
steps = [{ sysctl = { "net.ipv4.tcp_ecn" = 0 } }]
[config.one]
steps = [
  { sysctl = { "net.ipv4.tcp_ecn" = 1, "net.ipv4.tcp_ecn_fallback" = 0 } },
  { netfilter = { rule = "dscp set 46" } },
  { route = { advmss = 1000 } },
  { command = { run = ["sh", "-c", "echo 7 >/proc/sys/net/ipv4/tcp_retries1"], undo = ["sh", "-c", "echo 3 >/proc/sys/net/ipv4/tcp_retries1"] } },
  { sysctl = { "net.ipv4.tcp_retries2" = 9 } },
]
[observer]
use = ["basic", "tcp"]
"#;

/// Changes its own packets only.
const SCOPED: &str = r#"
name = "scoped"
[params]
dscp = { default = 46, help = "What packets are marked with" }
[config.zero]
[config.one]
steps = [
  { netfilter = { rule = "dscp set ${dscp}" } },
  { netfilter = { rule = "counter", hook = "input" } },
  { route = { advmss = 1000 } },
]
[observer]
use = ["basic", "dscp", "mss"]
"#;

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    let lab = Lab::build(&Spec::plain(12, 1).unwrap()).unwrap_or_else(|why| panic!("{why}"));
    let bench = Bench::new(&lab);
    tests.state = Some(dumps);
    tests.run("a run leaves nothing, and no journal", || bench.whole());
    for seed in SEEDS {
        let name = format!("kill -9 at any point leaves what restore puts back, seed {seed}");
        tests.run(&name, || bench.killed(seed));
    }
    tests.run("the next run puts it back too", || bench.next_run());
    tests.run("what another program changed is kept, unless forced", || bench.conflict());
    tests.run("what was left in a namespace that is gone is dropped", || bench.gone());
    tests.run("a folder that others may write is not trusted", || bench.not_trusted());
    tests.run("a program that outlived its run is waited for", || bench.outlived());
    tests.run("a second run is refused by name of the first", || bench.refused());
    tests.run("scoped runs go on at once", || bench.at_once());
}

fn said(words: &str) -> String {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap());
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = command.args(words).env("PATH", path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// All that a run may change: kernel parameters, rules, routes and the rules that lead to them.
/// Without the elements of sets: those are the source ports of what a run sends.
fn dumps() -> String {
    let mut text = String::new();
    parameters(Path::new("/proc/sys/net"), &mut text);
    for words in [
        "nft -t list ruleset",
        "ip -4 rule",
        "ip -6 rule",
        "ip -4 route show table all",
        "ip -6 route show table all",
    ] {
        writeln!(text, "# {words}\n{}", said(words)).unwrap();
    }
    text
}

/// What `sysctl -a` prints of a namespace's parameters, but for what the kernel itself counts.
fn parameters(folder: &Path, text: &mut String) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            parameters(&path, text);
        } else if !path.ends_with("nf_conntrack_count")
            && let Ok(value) = fs::read(&path)
        {
            writeln!(text, "{} = {}", path.display(), String::from_utf8_lossy(&value)).unwrap();
        }
    }
}

/// A run that is under way, and what it logs.
struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Running {
    /// Reads the log as far as a line with these words.
    fn until(&mut self, words: &str) {
        let mut seen = String::new();
        for line in self.log.by_ref() {
            let line = line.unwrap();
            if line.contains(words) {
                return;
            }
            writeln!(seen, "{line}").unwrap();
        }
        panic!("no line with {words}: {seen}");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn end(mut self) -> Option<i32> {
        for line in self.log {
            line.unwrap();
        }
        self.child.wait().unwrap().code()
    }

    fn kill(self) {
        self.signal(Signal::SIGKILL);
        let mut child = self.child;
        child.wait().unwrap();
    }
}

/// A lab around this process, with targets, measurements, and a folder of journals.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new(lab: &Lab) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plain = lab.targets().iter().filter(|t| lab.hosts()[t.host].name == "plain");
        let list: String = plain.map(|t| format!("{},{}\n", t.addr, t.port)).collect();
        fs::write(folder.path().join("targets.csv"), list).unwrap();
        fs::write(folder.path().join("everything.toml"), ALL_KINDS).unwrap();
        fs::write(folder.path().join("scoped.toml"), SCOPED).unwrap();
        Self { folder }
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
        command.args(line.split(' ')).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("PATHSPIDER_STATE", self.state());
        command
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn run(&self, measurement: &str, more: &str) -> Command {
        let line = format!(
            "-vv run {measurement}.toml --allow-reserved --rate-per-address 0 --rate-per-prefix 0 --targets targets.csv -i lab0 --allow-commands{more}"
        );
        let mut command = self.command(&line);
        if !more.contains(" -o ") {
            command.args(["-o", "out.ndjson"]);
        }
        command
    }

    fn start(&self, measurement: &str, more: &str) -> Running {
        let mut command = self.run(measurement, more);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        Running { child, log }
    }

    /// What `restore` says, which must end so.
    fn restore(&self, more: &str, exit: i32) -> Value {
        let output = self.command(&format!("restore --format json{more}")).output().unwrap();
        assert_eq!(output.status.code(), Some(exit), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn journals(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(self.state()) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn records(&self, name: &str) -> Vec<Value> {
        records(&self.folder.path().join(name))
    }

    fn whole(&self) {
        let nothing = self.restore("", 0);
        assert!(nothing.as_object().unwrap().values().all(|group| group == &serde_json::json!([])));
        let output = self.run("everything", " --wave 8").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(self.journals().is_empty(), "{:?}", self.journals());
        let text = String::from_utf8(self.command("restore").output().unwrap().stdout).unwrap();
        assert_eq!(text, "nothing is left of killed runs\n");
    }

    fn killed(&self, seed: u64) {
        let before = dumps();
        let whole = self.run("everything", " --wave 8").output().unwrap();
        let lines = stderr(&whole).lines().count();
        let mut random = rand::rngs::StdRng::seed_from_u64(seed);
        let (mut left, mut changed) = (0, 0);
        for number in 0..KILLS {
            let mut run = self.start("everything", " --wave 8");
            for _ in 0..random.random_range(0..lines) {
                run.log.next();
            }
            pass(&mut random, Duration::from_millis(20));
            run.kill();
            // What nft or the program may still do, it does before `restore` looks.
            if number % 5 == 0 {
                let mut restore = self.command("restore").stdout(Stdio::null()).spawn().unwrap();
                pass(&mut random, Duration::from_millis(60));
                kill(Pid::from_raw(restore.id().cast_signed()), Signal::SIGKILL).unwrap();
                restore.wait().unwrap();
            } else {
                changed += usize::from(dumps() != before);
            }
            let list = self.restore(" --list", 0);
            let report = self.restore("", 0);
            let restored = report["restored"].as_array().unwrap().len();
            assert_eq!(list["left"].as_array().unwrap().len(), restored, "{list} {report}");
            left += usize::from(restored > 0);
            let after = dumps();
            assert!(after == before, "kill {number}: {report}\n{}", differences(&before, &after));
            assert!(self.journals().is_empty(), "{:?}", self.journals());
        }
        eprintln!("of {KILLS} kills {left} left something to put back, {changed} were seen to");
        assert!(left > KILLS / 4 && changed > KILLS / 8, "the kills were at the wrong points");
    }

    /// Leaves what configuration one changes, all of it.
    fn leave(&self) {
        let mut run = self.start("everything", " --rate 1 --wave 1");
        run.until("sysctl net.ipv4.tcp_retries2 = 9");
        run.kill();
        assert_eq!(fs::read_to_string(ECN).unwrap(), "1\n");
        assert_eq!(self.restore(" --list", 0)["left"].as_array().unwrap().len(), 6);
    }

    fn next_run(&self) {
        self.leave();
        let output = self.run("scoped", "").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let told = "restored a change of a killed run: sysctl net.ipv4.tcp_ecn is 2 again";
        assert!(stderr(&output).contains(told), "{}", stderr(&output));
        assert!(self.journals().is_empty(), "{:?}", self.journals());
    }

    fn conflict(&self) {
        self.leave();
        // Torn, as after a failure of power.
        let journal = &self.journals()[0];
        let text = fs::read_to_string(journal).unwrap();
        fs::write(journal, text + r#"{"undone":{"#).unwrap();
        fs::write(ECN, "0\n").unwrap();
        let report = self.restore("", 1);
        assert_eq!(report["restored"].as_array().unwrap().len(), 5, "{report}");
        let kept = report["kept"][0]["what"].as_str().unwrap();
        assert!(kept.starts_with("sysctl net.ipv4.tcp_ecn is 0: another program"), "{report}");
        assert_eq!(report["kept"][0]["run"]["measurement"], "everything");
        // A run tells so, works with what is there, and puts that back.
        let output = self.run("everything", "").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains("another program changed it"), "{}", stderr(&output));
        assert_eq!(fs::read_to_string(ECN).unwrap(), "0\n");
        let report = self.restore(" --force", 0);
        assert_eq!(report["restored"].as_array().unwrap().len(), 1, "{report}");
        assert!(self.journals().is_empty(), "{:?}", self.journals());

        self.leave();
        assert_eq!(fs::read_to_string(ECN).unwrap(), "1\n");
        fs::write(ECN, "0\n").unwrap();
        self.restore("", 1);
        let report = self.restore(" --forget", 0);
        assert_eq!(report["dropped"].as_array().unwrap().len(), 1, "{report}");
        assert!(self.journals().is_empty(), "{:?}", self.journals());
        fs::write(ECN, "2\n").unwrap();
    }

    fn gone(&self) {
        self.leave();
        let journal = &self.journals()[0];
        let text = fs::read_to_string(journal).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let before = dumps();
        fs::write(journal, text.replace(boot.trim(), "earlier")).unwrap();
        let report = self.restore("", 0);
        assert_eq!(report["dropped"].as_array().unwrap().len(), 6, "{report}");
        assert!(report["dropped"].to_string().contains("of an earlier boot"), "{report}");
        assert!(before == dumps() && self.journals().is_empty());
        fs::write(journal, text).unwrap();
        self.restore("", 0);
    }

    fn not_trusted(&self) {
        fs::create_dir(self.state()).unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        let others = |mode| {
            fs::set_permissions(self.state(), fs::Permissions::from_mode(mode)).unwrap();
        };
        others(0o777);
        for mut command in [self.command("restore"), self.run("everything", "")] {
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(stderr(&output).contains("others may write"), "{output:?}");
        }
        others(0o700);
    }

    fn outlived(&self) {
        let fifo = self.folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let slow = ALL_KINDS.replace("\"echo 7", "\"cat fifo; echo 7");
        fs::write(self.folder.path().join("slow.toml"), slow).unwrap();
        let mut run = self.start("slow", " --rate 10 --wave 1");
        run.until("running sh");
        // Can be opened so once the program reads from it.
        let open = || fs::OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(&fifo);
        let mut held = None;
        until("the program reads", || {
            held = open().ok();
            held.is_some()
        });
        run.kill();
        let mut restore = self.command("restore -v");
        let mut child = restore.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut restore = Running { child, log };
        restore.until("waiting for a program of the killed run");
        // Now the program goes on, and changes what only then is put back.
        drop(held);
        assert_eq!(restore.end(), Some(0));
    }

    fn refused(&self) {
        for (first, second) in
            [("everything", "everything"), ("everything", "scoped"), ("scoped", "everything")]
        {
            let mut run = self.start(first, " --rate 1 --wave 1");
            // Before that, its steps were tried and undone.
            run.until("wave 1: configurations");
            run.until("IPv6: ");
            let during = dumps();
            let output = self.run(second, "").output().unwrap();
            let named = format!(
                "a run of `{first}` is active in this network namespace: process {}, since 2",
                run.child.id()
            );
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(stderr(&output).contains(&named), "{}", stderr(&output));
            let report = self.restore("", 0);
            assert_eq!(report["under_way"][0]["pid"], run.child.id(), "{report}");
            assert_eq!(report["restored"], serde_json::json!([]));
            if first == "scoped" {
                let now = dumps();
                assert!(now == during, "{}", differences(&during, &now));
            }
            run.signal(Signal::SIGTERM);
            assert_eq!(run.end(), Some(5));
        }
    }

    fn at_once(&self) {
        let mut first = self.start("scoped", " --rate 20 --wave 2 --set dscp=10");
        first.until("wave 1: configurations");
        first.until("rules in table inet pathspider");
        let mut third = self.start("scoped", " --rate 20 --wave 2 --set dscp=12 -o third.ndjson");
        third.until("wave 1: configurations");
        third.until("rules in table inet pathspider_1");
        let output = self.run("scoped", " -o second.ndjson").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let fourth = "rules in table inet pathspider_2";
        assert!(stderr(&output).contains(fourth), "{}", stderr(&output));
        for run in [&mut first, &mut third] {
            assert!(run.child.try_wait().unwrap().is_none(), "they were not at once");
        }
        // One is killed: what it left is put back, and the other goes on.
        third.kill();
        let report = self.restore("", 0);
        assert_eq!(report["restored"].as_array().unwrap().len(), 2, "{report}");
        assert_eq!(report["under_way"][0]["pid"], first.child.id(), "{report}");
        assert_eq!(first.end(), Some(0));
        for (name, dscp) in [("out.ndjson", 10), ("second.ndjson", 46)] {
            let records = self.records(name);
            assert_eq!(records.len(), 24);
            for record in records {
                let [zero, one] = ["zero", "one"].map(|name| &record[name]);
                let marks = [zero, one].map(|attempt| attempt["dscp_mark_syn_fwd"].as_u64());
                assert_eq!(marks, [Some(0), Some(dscp)], "{record}");
                assert_eq!(one["mss_value_fwd"], 1000, "{record}");
                assert_ne!(zero["mss_value_fwd"], 1000, "{record}");
            }
        }
    }
}

/// Lets a random time pass, at most this long, in which a process goes on.
fn pass(random: &mut rand::rngs::StdRng, most: Duration) {
    let time = PollTimeout::try_from(most.mul_f64(random.random())).unwrap();
    poll(&mut [], time).unwrap();
}
