//! What a run is allowed to do while it goes on, and what it says when it may not.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};

use harness::Tests;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathspider::lab::{Lab, Spec};
use support::listed::Listed;
use support::wait::until_of;
use support::{NO_STRANGERS, stderr};

const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const NOBODY: u32 = 65_534;
const PROGRAM: &str = env!("CARGO_BIN_EXE_pathspider");

fn main() -> ExitCode {
    harness::main(outside, inside)
}

fn outside(tests: &mut Tests, namespaces: bool) {
    if nix::unistd::geteuid().is_root() && namespaces {
        tests.run("root becomes another user, with the output and the journal", another_user);
    } else {
        tests.skip("root becomes another user", "this is not root");
    }
}

fn inside(tests: &mut Tests) {
    let lab = Lab::build(&Spec::plain(40, 0).unwrap()).unwrap();
    let bench = Bench::new(&lab);
    // In a user namespace the kernel lets nobody forget Fast Open cookies, so `tfo` needs a lab of its own.
    for name in ["dscp", "ecn", "ecn-scoped", "evilbit", "h2", "mptcp", "mss", "tcpopt", "udpzero"]
    {
        tests.run(&format!("two capabilities are enough for {name}"), || bench.with_two(name));
    }
    for (name, permitted, programs) in [
        ("mss", 0, 0),
        ("udpzero", NET_RAW, 0),
        ("ecn", NET_ADMIN, 0),
        ("ecn-scoped", NET_ADMIN, NET_ADMIN),
        ("evilbit", NET_ADMIN | NET_RAW, NET_ADMIN),
    ] {
        tests.run(&format!("{name} keeps what it needs and no more"), || {
            bench.keeps(name, permitted, programs);
        });
    }
    tests.run("observe -i keeps nothing", || bench.observe());
    tests.run("programs of commands get no more than CAP_NET_ADMIN", || bench.command_steps());
    tests.run("missing capabilities are reported before anything is changed", || bench.missing());
    tests.run("a read-only folder is reported before anything is changed", || {
        bench.no_place();
    });
}

/// A line of `/proc/PID/status`.
fn status(path: &Path) -> Option<BTreeMap<String, String>> {
    let text = fs::read_to_string(path.join("status")).ok()?;
    let lines = text.lines().filter_map(|line| line.split_once(":\t"));
    Some(lines.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect())
}

/// The capabilities of every thread of a process: permitted, effective, inheritable, ambient, bounding.
fn capabilities(child: &Child) -> Vec<[u64; 5]> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", child.id())).unwrap() {
        let Some(status) = status(&task.unwrap().path()) else { continue };
        let set = |key: &str| u64::from_str_radix(&status[key], 16).unwrap();
        all.push(["CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd"].map(set));
    }
    all
}

/// Waits until a process has started the thread that captures.
fn wait_for_capture(child: &mut Child) {
    let tasks = format!("/proc/{}/task", child.id());
    let name = |task: &Path| fs::read_to_string(task.join("comm")).unwrap_or_default();
    until_of(child, "a thread that captures", || {
        fs::read_dir(&tasks).unwrap().any(|task| name(&task.unwrap().path()) == "capture\n")
    });
}

fn end(mut child: Child, signal: Signal) -> Output {
    if child.try_wait().unwrap().is_none() {
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    }
    child.wait_with_output().unwrap()
}

/// What of this host a run could change.
fn host() -> String {
    let says = |program: &str, words: &[&str]| {
        let output = Command::new(program).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    says("sysctl", &["-a", "-r", "^net.ipv4.tcp"])
        + &says("nft", &["list", "ruleset"])
        + &says("ip", &["rule"])
        + &says("ip", &["route", "show", "table", "all"])
}

struct Bench {
    at: Listed,
}

impl Bench {
    fn new(lab: &Lab) -> Self {
        Self { at: Listed::new(lab) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.path(name)
    }

    /// pathspider, begun with these capabilities.
    fn with(&self, capabilities: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command.env("PATHSPIDER_STATE", self.path("state"));
        command.arg(format!("--bounding-set=-all{capabilities}")).arg(PROGRAM);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, capabilities: &str, name: &str, output: &str, more: &[&str]) -> Command {
        let mut command = self.with(capabilities);
        command.args(["run", name, "--format", "json"]).args(NO_STRANGERS);
        command.arg("--targets").arg(&self.at.list);
        command.arg("-o").arg(self.path(output)).args(more);
        command
    }

    fn with_two(&self, name: &str) {
        let before = host();
        let both = ",+net_raw,+net_admin";
        let output = self.run(both, name, &format!("{name}.ndjson"), &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            (&summary["records"], &summary["attempts"]["local_error"]),
            (&80.into(), &0.into())
        );
        assert_eq!(host(), before);
    }

    fn keeps(&self, name: &str, permitted: u64, programs: u64) {
        // Begun with everything.
        let mut child = self
            .run(",+all", name, &format!("{name}-2.ndjson"), &["--rate", "20"])
            .spawn()
            .unwrap();
        wait_for_capture(&mut child);
        let all = capabilities(&child);
        let process = PathBuf::from(format!("/proc/{}", child.id()));
        let status = status(&process).unwrap();
        let output = end(child, Signal::SIGTERM);
        assert_eq!(output.status.code(), Some(5), "{}", stderr(&output));
        assert!(all.len() >= 2, "{all:?}");
        for sets in all {
            assert_eq!(sets, [permitted, permitted, programs, programs, NET_RAW | NET_ADMIN]);
        }
        assert_eq!(status["NoNewPrivs"], "1");
    }

    fn observe(&self) {
        let mut command = self.with(",+all");
        command.args(["observe", "-i", &self.at.interface, "-o"]).arg(self.path("flows.ndjson"));
        let mut child = command.spawn().unwrap();
        wait_for_capture(&mut child);
        let all = capabilities(&child);
        let output = end(child, Signal::SIGINT);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(all.iter().all(|sets| sets[..4] == [0; 4]), "{all:?}");

        let mut command = self.with("");
        command.args(["observe", "-i", &self.at.interface]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).contains("CAP_NET_RAW (to capture packets)"),
            "{}",
            stderr(&output)
        );
    }

    fn command_steps(&self) {
        let file = self.path("command.toml");
        let said = self.path("said");
        let run = format!(r#"run = ["cp", "/proc/self/status", "{}"]"#, said.display());
        let text = fs::read_to_string("measurements/ecn.toml").unwrap();
        let first = text.find("steps = [").unwrap() + "steps = [".len();
        let text = format!("{} {{ command = {{ {run} }} }}, {}", &text[..first], &text[first..]);
        fs::write(&file, text).unwrap();
        let output = self
            .run(",+all", file.to_str().unwrap(), "command.ndjson", &["--allow-commands"])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let said = fs::read_to_string(said).unwrap();
        let set = format!("{NET_ADMIN:016x}");
        for line in [format!("CapEff:\t{set}"), format!("CapPrm:\t{set}"), "NoNewPrivs:\t1".into()]
        {
            assert!(said.contains(&line), "{said}");
        }
    }

    fn missing(&self) {
        let before = host();
        for (capabilities, name, expected) in [
            (
                "",
                "ecn",
                "CAP_NET_RAW (to capture packets) and CAP_NET_ADMIN (for steps of the kind sysctl)",
            ),
            (",+net_admin", "ecn", "this process lacks CAP_NET_RAW (to capture packets);"),
            (
                ",+net_raw",
                "ecn-scoped",
                "this process lacks CAP_NET_ADMIN (for steps of the kind netfilter: to run nft",
            ),
            (",+net_admin", "evilbit", "to send raw packets and receive the answers"),
        ] {
            let state = self.path("no-state");
            let mut command = self.run(capabilities, name, "none/", &[]);
            let output = command.env("PATHSPIDER_STATE", &state).output().unwrap();
            let error = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{error}");
            assert!(error.contains(expected), "{error}");
            assert!(
                error.contains("sudo setcap cap_net_") && error.contains("run --lab"),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(!state.exists() && !self.path("none").exists());
        }
        assert_eq!(host(), before);
        // A measurement that changes nothing needs no more than the capture.
        let output = self.run(",+net_raw", "mss", "raw.ndjson", &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }

    fn no_place(&self) {
        let before = host();
        let folder = self.path("closed");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o555)).unwrap();
        let state = self.path("no-state");
        let mut command = self.run(",+all", "ecn", "closed/x.parquet", &[]);
        let output = command.env("PATHSPIDER_STATE", &state).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains("user root has no permission"), "{}", stderr(&output));
        assert!(!state.exists());
        assert_eq!(host(), before);
    }
}

/// In a network namespace, with folders in /run of nobody else's.
fn another_user() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (list, own) = (folder.path().join("targets.csv"), folder.path().join("own"));
    fs::write(&list, "127.0.0.1,81\n".repeat(30)).unwrap();
    fs::create_dir(&own).unwrap();
    let run = |output: &Path, more: &str| {
        let script = format!(
            "mount -t tmpfs none /run && ip link set lo up && sysctl -qw net.ipv4.tcp_ecn=2 && \
             {PROGRAM} run ecn -i lo --allow-reserved --rate-per-address 0 --rate-per-prefix 0 --rate 20 --user {NOBODY} --targets {} -o {} {more}; code=$?; \
             stat -c '%u %a %n' /run/pathspider-{NOBODY}; sysctl -n net.ipv4.tcp_ecn; exit $code",
            list.display(),
            output.display()
        );
        let mut command = Command::new("unshare");
        command.args(["-n", "-m", "sh", "-c", &script]).env_remove("PATHSPIDER_STATE");
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    // Root's folder is rejected before anything is changed, with advice.
    let output = run(&folder.path().join("x.parquet"), "").wait_with_output().unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{error}");
    let why = "it belongs to root, and user nobody has no permission";
    assert!(error.contains(why) && error.contains("--user OWNER"), "{error}");

    std::os::unix::fs::chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    let results = own.join("x.parquet");
    let mut child = run(&results, "");
    // The first configuration is in force when this is there.
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let mut seen = None;
    until_of(&mut child, "a process with the capabilities of the other user", || {
        for pid in fs::read_to_string(&children).unwrap_or_default().split_whitespace() {
            let process = PathBuf::from(format!("/proc/{pid}"));
            let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
            let many = fs::read_dir(process.join("task")).map(Iterator::count).unwrap_or(0);
            if name == "pathspider\n" && many >= 4 {
                seen = status(&process);
            }
        }
        seen.is_some()
    });
    let output = child.wait_with_output().unwrap();
    let (said, error) = (String::from_utf8_lossy(&output.stdout), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{said}{error}");
    assert!(said.ends_with(&format!("{NOBODY} 700 /run/pathspider-{NOBODY}\n2\n")), "{said}");
    assert_eq!(fs::metadata(&results).unwrap().uid(), NOBODY);
    let seen = seen.unwrap();
    let id = format!("{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}");
    assert_eq!((&seen["Uid"], &seen["Gid"]), (&id, &id));
    assert_eq!(seen["Groups"], NOBODY.to_string());
    // -i binds sockets.
    assert_eq!(seen["CapPrm"], format!("{:016x}", NET_ADMIN | NET_RAW));
    assert_eq!(seen["NoNewPrivs"], "1");
}
