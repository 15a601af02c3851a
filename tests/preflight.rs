//! What is found before the first packet: a run that cannot work ends with 2, says what to do, and leaves nothing.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

use harness::Tests;
use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};
use pathspider::lab::{Lab, Spec};
use serde::Deserialize;
use support::listed::Listed;
use support::{NO_STRANGERS, stderr};

/// Steps that cannot work, with what is said of them.
#[derive(Deserialize)]
struct Case {
    name: String,
    code: String,
    says: Vec<String>,
    steps: String,
    /// What works in their place.
    mended: String,
    /// Whether `check` finds it, too.
    check: bool,
}

#[derive(Deserialize)]
struct Cases {
    case: Vec<Case>,
}

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    // For mounts that nobody else sees.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let lab = Lab::build(&Spec::plain(4, 0).unwrap()).unwrap();
    let bench = Bench { at: Listed::new(&lab) };
    let cases: Cases = toml::from_str(include_str!("preflight/steps.toml")).unwrap();
    for case in &cases.case {
        tests.run(&format!("steps: {}", case.name), || bench.steps(case));
    }
    tests.run("every configuration is tried, and restored", || bench.every_configuration());
    tests.run("an interface that is not there", || bench.no_interface());
    tests.run("a strict filter by reverse path", || bench.reverse_path());
    tests.run("a parameter of an interface with a dot in its name", || bench.dotted());
    tests.run("/proc/sys is read-only", || bench.read_only());
    tests.run("this host rewrites packets: not another interface", || bench.rewritten());
    tests.run("a default route that leads nowhere", || bench.nowhere());
    tests.run("IPv6 by another interface", || bench.two_interfaces());
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// All that steps may change, and the connections that were begun. Routes of devices that a test has just made come and go
/// by the kernel's own doing.
fn state() -> String {
    let all = sh("nft list ruleset; ip rule; ip -6 rule; ip route show table all; ip -6 route show table all
        cat /proc/sys/net/ipv4/tcp_ecn /proc/sys/net/ipv4/tcp_sack /proc/sys/net/ipv4/tcp_congestion_control
        grep ^Tcp: /proc/thread-self/net/snmp | cut -d' ' -f6");
    let fresh =
        |line: &str| ["p0", "p1", "q0", "q1"].iter().any(|d| line.contains(&format!("dev {d}")));
    all.lines().filter(|line| !fresh(line)).collect::<Vec<_>>().join("\n")
}

/// In a network namespace of its own, with nothing in it.
fn alone(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let inside = move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            sh("ip link set lo up; ip link add p0 type veth peer name p1; ip link add q0 type veth peer name q1
                ip link set p1 up; ip link set q1 up
                for i in p0 q0; do sysctl -qw net.ipv6.conf.$i.accept_dad=0; ip link set $i up; done
                ip addr add 10.9.0.1/24 dev p0; ip addr add fd00:9::1/64 dev p0
                ip addr add 10.8.0.1/24 dev q0; ip addr add fd00:8::1/64 dev q0");
            test();
        };
        scope.spawn(inside).join().unwrap();
    });
}

struct Bench {
    at: Listed,
}

impl Bench {
    fn measurement(&self, text: &str) -> String {
        let path = self.at.path("measurement.toml");
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn with_steps(&self, steps: &str) -> String {
        self.measurement(&format!(
            "name = \"preflight\"\n[config.zero]\n[config.one]\nsteps = [{steps}]\n[[conditions]]\n\
             name = \"preflight.connectivity\"\ncompare = \"ok\"\n"
        ))
    }

    fn pathspider(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
        command.current_dir(&self.at.folder).env("PATHSPIDER_STATE", self.at.path("state"));
        command.args(words).stdin(Stdio::null());
        command
    }

    fn run(&self, measurement: &str, list: &Path, output: &str, more: &[&str]) -> Output {
        let mut command = self.pathspider(&["run", measurement, "--allow-commands"]);
        command.args(NO_STRANGERS).arg("--targets").arg(list).args(["-o", output]).args(more);
        command.output().unwrap()
    }

    fn list(&self, targets: &str) -> std::path::PathBuf {
        let path = self.at.path("few.csv");
        fs::write(&path, targets.replace(' ', "\n") + "\n").unwrap();
        path
    }

    /// What is in the folder besides what the test put there.
    fn left(&self) -> Vec<String> {
        let ours = ["targets.ndjson", "measurement.toml", "few.csv"];
        let names = fs::read_dir(&self.at.folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.to_str().unwrap().to_owned()).collect();
        names.retain(|name| !ours.contains(&name.as_str()));
        let state = self.at.path("state");
        if state.is_dir() {
            names.retain(|name| name != "state");
            names.extend(fs::read_dir(state).unwrap().map(|e| format!("{:?}", e.unwrap().path())));
        }
        names
    }

    fn refused(&self, output: &Output, says: &[&str]) {
        let error = stderr(output);
        assert_eq!(output.status.code(), Some(2), "{error}");
        for words in says {
            assert!(error.contains(words), "{words}: {error}");
        }
        assert_eq!(self.left(), Vec::<String>::new(), "{error}");
    }

    fn steps(&self, case: &Case) {
        let says: Vec<&str> = case.says.iter().map(String::as_str).collect();
        let place = [case.code.as_str(), "measurement.toml:4:"];
        let says = [&place[..], &says].concat();
        let bad = self.with_steps(&case.steps);
        let before = state();
        let checked = self.pathspider(&["check", &bad]).output().unwrap();
        let text = String::from_utf8_lossy(&checked.stdout).into_owned();
        assert_eq!(checked.status.code(), Some(if case.check { 2 } else { 0 }), "{text}");
        assert_eq!(text.contains(&case.code), case.check, "{text}");
        let file_only = self.pathspider(&["check", "--file-only", &bad]).output().unwrap();
        assert_eq!(file_only.status.code(), Some(0), "{file_only:?}");
        for output in ["x.parquet", "x.ndjson", "x/"] {
            self.refused(&self.run(&bad, &self.at.list, output, &[]), &says);
        }
        assert_eq!(state(), before, "nothing was sent, and all is restored");
        let good = self.with_steps(&case.mended);
        let ended = self.run(&good, &self.at.list, "x.parquet", &[]);
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        fs::remove_file(self.at.path("x.parquet")).unwrap();
    }

    fn every_configuration(&self) {
        let file = self.measurement(
            "name = \"preflight\"\n[config.zero]\nsteps = [{ sysctl = { \"net.ipv4.tcp_sack\" = 0 } }]\n[config.one]\n\
             steps = [{ sysctl = { \"net.ipv4.tcp_ecn\" = 77 } }]\n[config.two]\n\
             steps = [{ route = { features = [\"ecn\"] } }, { sysctl = { \"net.ipv4.tcp_ecn\" = 78 } }]\n\
             [[conditions]]\nname = \"preflight.connectivity\"\ncompare = \"ok\"\n",
        );
        let before = state();
        let output = self.run(&file, &self.at.list, "x.parquet", &[]);
        self.refused(
            &output,
            &["measurement.toml:5:", "tcp_ecn to 77", "measurement.toml:7:", "tcp_ecn to 78"],
        );
        assert_eq!(state(), before);
    }

    fn no_interface(&self) {
        let before = state();
        let output = self.run("ecn", &self.at.list, "x.parquet", &["-i", "no-such0"]);
        self.refused(&output, &["no-such0: there is no such interface", "lo", &self.at.interface]);
        assert_eq!(state(), before);
        let output =
            self.pathspider(&["observe", "-i", "no-such0", "-o", "x.ndjson"]).output().unwrap();
        self.refused(&output, &["no-such0: there is no such interface", "lo"]);
    }

    fn reverse_path(&self) {
        sh("ip link add q0 type veth peer name q1; ip link set q1 up; ip addr add 10.10.0.1/24 dev q0; ip link set q0 up
            sysctl -qw net.ipv4.conf.q0.rp_filter=1
            ip route add default via 10.10.0.2 dev q0 metric 20000");
        let before = state();
        let output = self.run("ecn", &self.at.list, "x.parquet", &["-i", "q0"]);
        self.refused(
            &output,
            &[
                "q0 filters by reverse path strictly",
                "net.ipv4.conf.q0.rp_filter=2",
                &self.at.interface,
            ],
        );
        assert_eq!(state(), before);
        sh("ip link del q0");
    }

    fn dotted(&self) {
        sh("ip link add q0.100 type veth peer name q1; ip link set q0.100 up");
        let value = || fs::read_to_string("/proc/sys/net/ipv4/conf/q0.100/forwarding").unwrap();
        let before = value();
        for name in ["net.ipv4.conf.q0/100.forwarding", "net/ipv4/conf/q0.100/forwarding"] {
            let file = self.with_steps(&format!("{{ sysctl = {{ \"{name}\" = 1 }} }}"));
            let ended = self.run(&file, &self.at.list, "x.ndjson", &["-v"]);
            assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
            assert!(stderr(&ended).contains(&format!("sysctl {name} = 1")), "{}", stderr(&ended));
            assert_eq!(value(), before);
        }
        let file = self.with_steps("{ sysctl = { \"net.ipv4.conf.q0.100.forwarding\" = 1 } }");
        let output = self.run(&file, &self.at.list, "y.ndjson", &[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains("E0501"), "{}", stderr(&output));
        fs::remove_file(self.at.path("x.ndjson")).unwrap();
        fs::remove_file(self.at.path("x.ndjson.meta.json")).unwrap();
        sh("ip link del q0.100");
    }

    fn read_only(&self) {
        let (path, bind) = ("/proc/sys", MsFlags::MS_BIND);
        mount(Some(path), path, None::<&str>, bind, None::<&str>).unwrap();
        let flags = bind | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        // What is locked of a mount of the host stays as it is.
        let locked = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(None::<&str>, path, None::<&str>, flags | locked, None::<&str>).unwrap();
        let before = state();
        let output = self.run("ecn", &self.at.list, "x.parquet", &[]);
        let after = state();
        umount(path).unwrap();
        self.refused(
            &output,
            &["E0502", "ecn.toml", "Read-only file system", "/proc/sys is mounted read-only"],
        );
        assert_eq!(after, before);
    }

    fn rewritten(&self) {
        // Ports that no run uses.
        sh(
            "nft 'table ip preflight { chain out { type nat hook postrouting priority srcnat; meta l4proto tcp masquerade to :50000-60000; }; }'",
        );
        let output = self.run("ecn", &self.at.list, "x.ndjson", &[]);
        sh("nft delete table ip preflight");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{text}");
        assert!(text.contains("does this host rewrite or drop them?"), "{text}");
        assert!(!text.contains("which was not watched"), "{text}");
        fs::remove_file(self.at.path("x.ndjson")).unwrap();
        fs::remove_file(self.at.path("x.ndjson.meta.json")).unwrap();
    }

    fn nowhere(&self) {
        alone(|| {
            for (kind, why) in [
                ("blackhole", "its route is a blackhole"),
                ("unreachable", "its route is unreachable"),
                ("prohibit", "its route is prohibited"),
            ] {
                sh(&format!(
                    "ip route add {kind} default metric 6; ip -6 route add {kind} default metric 6"
                ));
                let before = state();
                for targets in ["192.0.2.1,80 192.0.2.2,80", "2001:db8::1,80"] {
                    let list = self.list(targets);
                    let output = self.run("ecn", &list, "x.parquet", &[]);
                    self.refused(&output, &["the default route leads nowhere", "-i"]);
                    let output = self.run("ecn", &list, "x.parquet", &["-i", "p0"]);
                    self.refused(&output, &["no route to any of the first", why]);
                }
                assert_eq!(state(), before);
                sh("ip route del default metric 6; ip -6 route del default metric 6");
            }
        });
    }

    fn two_interfaces(&self) {
        alone(|| {
            sh(
                "ip route add default via 10.9.0.2 dev p0; ip -6 route add default via fd00:8::2 dev q0",
            );
            let before = state();
            let both = self.list("192.0.2.1,80 2001:db8::1,80");
            let output = self.run("ecn", &both, "x.parquet", &[]);
            self.refused(
                &output,
                &[
                    "packets to 2001:db8::1 leave through q0, but p0 is watched",
                    "IPv6 targets a run of their own on q0; choose an interface with -i",
                ],
            );
            // A folder that was there keeps what was in it, and nothing else.
            let folder = self.at.path("theirs");
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("notes"), "x").unwrap();
            let output = self.run("ecn", &both, "theirs/", &[]);
            assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
            let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
            assert_eq!(names.collect::<Vec<_>>(), ["notes"]);
            fs::remove_dir_all(folder).unwrap();
            assert_eq!(state(), before);
        });
    }
}
