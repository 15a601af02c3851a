//! What a run does when something breaks under it: it goes on and says so, or stops in order and can be resumed. Each
//! test causes its fault.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, TcpListener};
use std::ops::RangeInclusive;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};

use harness::Tests;
use nix::mount::{MsFlags, mount, umount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathspider::lab::{Lab, Spec};
use serde_json::Value;
use support::listed::Listed;
use support::wait::{until, until_of};
use support::{NO_STRANGERS, pathspider, records, stderr, summary};

/// Of each version of IP.
const TARGETS: usize = 20;
/// Source ports of a run that has few of them.
const PORTS: RangeInclusive<u16> = 40_000..=40_999;
const ECN: &str = "/proc/sys/net/ipv4/tcp_ecn";

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    // For mounts that nobody else sees.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let lab = Lab::build(&Spec::plain(TARGETS, 0).unwrap()).unwrap();
    let bench = Bench::new(&lab);
    tests.run("a sysctl that another program changes: the wave is repeated", || {
        bench.sysctl_once();
    });
    tests.run("a sysctl that another program changes again: nothing is concluded", || {
        bench.sysctl_always();
    });
    tests.run("our rules deleted: the wave is repeated", || bench.scoped(delete_table));
    tests.run("our routes' rules deleted: the wave is repeated", || bench.scoped(delete_rules));
    tests.run("an address that comes and goes: the wave is repeated", || bench.extra_address());
    tests.run("a stopped process gives no wrong label", || bench.stopped());
    tests.run("the only address is lost: stops, and can be resumed", || {
        bench.broken("addr flush dev", "lost its IPv4 address");
    });
    tests.run("the interface goes down: stops, and can be resumed", || {
        bench.broken("link set down dev", "went down");
    });
    tests.run("few file descriptors", || bench.descriptors());
    tests.run("source ports that others hold", || bench.ports());
    tests.run("the output folder is renamed", || bench.renamed());
    tests.run("the output folder vanishes", || bench.vanished());
    tests.run("a hostile server's words reach no terminal as they are", || bench.hostile());
    tests.run("no ip, no nft", || bench.no_programs());
}

fn said(program: &str, words: &str) -> String {
    let output = Command::new(program).args(words.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {words}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Connections that were begun in this network namespace.
fn opened() -> usize {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").unwrap();
    let mut tcp = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let at = tcp.next().unwrap().split(' ').position(|name| name == "ActiveOpens").unwrap();
    tcp.next().unwrap().split(' ').nth(at).unwrap().parse().unwrap()
}

fn ecn() -> String {
    fs::read_to_string(ECN).unwrap().trim().to_owned()
}

fn delete_table() {
    let tables = said("nft", "list tables");
    let ours = tables.lines().find(|line| line.contains("pathspider")).unwrap();
    said("nft", &format!("delete {ours}"));
}

fn delete_rules() {
    let rules = said("ip", "rule");
    let marked = rules.lines().find_map(|line| line.split_once("fwmark ")).unwrap().1;
    said("ip", &format!("rule del fwmark {}", marked.split(' ').next().unwrap()));
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

    fn run(&self, measurement: &str, how: &str, output: &Path, more: &[&str]) -> Command {
        let mut command = pathspider();
        command.env("PATHSPIDER_STATE", self.path("state"));
        command.args(["run", measurement, "--format", "json"]).args(NO_STRANGERS);
        command.arg("--targets").arg(&self.at.list);
        command.arg(how).arg(output).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A run that takes two seconds for each configuration.
    fn slow(&self, measurement: &str, output: &str) -> Child {
        self.run(measurement, "-o", &self.path(output), &["--rate", "20"]).spawn().unwrap()
    }

    /// Until attempts of the experiment are in flight, so that all of its steps are in force. `before` is how many
    /// connections there were before the run.
    fn wait_for_experiment(&self, child: &mut Child, before: usize) {
        // The steps of every configuration are tried before the first packet: only connections tell.
        until_of(child, "attempts of the experiment", || opened() > before + 2 * TARGETS + 3);
    }

    fn records(&self, output: &str) -> Vec<Value> {
        records(&self.path(output))
    }

    /// The run came to its end, with true labels and one wave asked again.
    fn asked_again(&self, child: Child, output: &str, why: &str) {
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        let summary = summary(&ended);
        let disturbed = &summary["disturbed"];
        assert_eq!(
            (&disturbed["waves_repeated"], &disturbed["waves_marked"]),
            (&1.into(), &0.into())
        );
        assert!(disturbed["why"].to_string().contains(why), "{disturbed}");
        assert!(stderr(&ended).contains("the wave is repeated"), "{}", stderr(&ended));
        assert_eq!(summary["flows"]["of_others"], 0, "{summary}");
        let records = self.records(output);
        assert_eq!(records.len(), 2 * TARGETS);
        for record in records {
            assert_eq!(record["verdict"]["ecn_negotiation"], "succeeded", "{record}");
            assert_eq!(record["flags"], Value::Array(Vec::new()));
            assert_eq!(record["one"]["observed"], true);
        }
    }

    fn sysctl_once(&self) {
        let (before, opened) = (ecn(), opened());
        let mut child = self.slow("ecn", "once.ndjson");
        self.wait_for_experiment(&mut child, opened);
        fs::write(ECN, "0").unwrap();
        self.asked_again(
            child,
            "once.ndjson",
            "sysctl net.ipv4.tcp_ecn: another program set it to 0",
        );
        assert_eq!(ecn(), "0", "what the other program chose is left");
        fs::write(ECN, before).unwrap();
    }

    fn sysctl_always(&self) {
        let before = ecn();
        let mut child = self.slow("ecn", "always.ndjson");
        until("the run ends", || {
            if ecn() == "1" {
                fs::write(ECN, "0").unwrap();
            }
            child.try_wait().unwrap().is_some()
        });
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(3), "{}", stderr(&ended));
        let summary = summary(&ended);
        assert_eq!(summary["disturbed"]["waves_marked"], 1);
        let records = self.records("always.ndjson");
        assert_eq!(records.len(), 2 * TARGETS);
        for record in records {
            assert_eq!(record["flags"].to_string(), r#"["not_in_force"]"#);
            let one = &record["one"];
            assert_eq!((&one["state"], &one["ok"]), (&"local_error".into(), &Value::Null), "{one}");
            assert_eq!(one["observed"], false);
            assert_eq!(record["zero"]["ok"], true, "that was in force");
            assert!(record["verdict"]["ecn_connectivity"] == "insufficient", "{record}");
            assert!(record["verdict"]["ecn_negotiation"] == "insufficient", "{record}");
        }
        fs::write(ECN, before).unwrap();
    }

    fn scoped(&self, delete: fn()) {
        let before = opened();
        let mut child = self.slow("ecn-scoped", "scoped.ndjson");
        until_of(&mut child, "connections", || opened() > before + 3);
        delete();
        self.asked_again(child, "scoped.ndjson", "another program changed it");
        assert!(!said("ip", "rule").contains("fwmark"));
        assert!(!said("nft", "list tables").contains("pathspider"));
    }

    fn extra_address(&self) {
        said("ip", &format!("addr add 203.0.113.9/32 dev {}", self.at.interface));
        let before = opened();
        let mut child = self.slow("ecn", "address.ndjson");
        self.wait_for_experiment(&mut child, before);
        said("ip", &format!("addr del 203.0.113.9/32 dev {}", self.at.interface));
        self.asked_again(child, "address.ndjson", "lost an address");
    }

    fn stopped(&self) {
        let before = opened();
        let mut child = self.slow("ecn", "stopped.ndjson");
        self.wait_for_experiment(&mut child, before);
        let process = Pid::from_raw(child.id() as i32);
        kill(process, Signal::SIGSTOP).unwrap();
        // Longer than an attempt may take; whoever stands still says nothing meanwhile.
        let mut words = [PollFd::new(child.stdout.as_ref().unwrap().as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut words, PollTimeout::from(7000_u16)).unwrap(), 0);
        kill(process, Signal::SIGCONT).unwrap();
        self.asked_again(child, "stopped.ndjson", "was paused for");
    }

    /// What `ip` does to the interface ends the run, and the rest is asked when all is well again.
    fn broken(&self, what: &str, why: &str) {
        let interface = &self.at.interface;
        said("sysctl", &format!("-w net.ipv6.conf.{interface}.keep_addr_on_down=1"));
        let addresses = self.path("addresses");
        let sh = |script: String| {
            assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
        };
        sh(format!("ip addr save > {}", addresses.display()));
        let routes = |family: &str| said("ip", &format!("{family} route show dev {interface}"));
        let routes = [("-4", routes("-4")), ("-6", routes("-6"))];
        let neighbours = said("ip", &format!("neigh show dev {interface} nud permanent"));
        let settings = ecn();
        let output = self.path("broken.parquet");
        let more = ["--rate", "20", "--wave", "10"];
        let mut child = self.run("ecn", "-o", &output, &more).spawn().unwrap();
        let part = pathspider::sink::parts_of(&output).join("records/part-00000.parquet");
        until_of(&mut child, "a part", || part.exists());
        said("ip", &format!("{what} {}", self.at.interface));
        let ended = child.wait_with_output().unwrap();
        said("ip", &format!("link set {interface} up"));
        // Those that are still there are told.
        sh(format!("ip addr restore < {} 2>/dev/null; true", addresses.display()));
        for neighbour in neighbours.lines() {
            let neighbour = neighbour.replace("PERMANENT", "nud permanent");
            said("ip", &format!("neigh replace {} dev {interface}", neighbour.trim()));
        }
        for (family, routes) in &routes {
            for route in routes.lines().map(str::trim) {
                said("ip", &format!("{family} route replace {route} dev {interface}"));
            }
        }
        assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
        assert!(stderr(&ended).contains(why), "{}", stderr(&ended));
        assert_eq!(ecn(), settings);
        let early = summary(&ended);
        assert_eq!(early["resume"], output.to_str().unwrap());
        let records = early["records"].as_u64().unwrap();
        assert!(records >= 10 && records < 2 * TARGETS as u64, "{early}");
        let ended = self.run("ecn", "--resume", &output, &[]).output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        let whole = summary(&ended);
        assert_eq!(whole["records"], 2 * TARGETS);
        assert_eq!(whole["conditions"]["ecn.negotiation.succeeded"], 2 * TARGETS, "{whole}");
        fs::remove_file(output).unwrap();
    }

    fn descriptors(&self) {
        let few = |more: &[&str]| {
            let run = self.run("ecn", "-o", &self.path("few.ndjson"), more);
            let mut command = Command::new("prlimit");
            command.arg("--nofile=128:128").arg(run.get_program()).args(run.get_args());
            command.current_dir(env!("CARGO_MANIFEST_DIR"));
            command.env("PATHSPIDER_STATE", self.path("state")).output().unwrap()
        };
        let output = few(&[]);
        assert_eq!(output.status.code(), Some(2));
        assert!(
            stderr(&output).contains("need 1064 open files, the limit is 128"),
            "{}",
            stderr(&output)
        );
        let output = few(&["--concurrency", "64"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(summary(&output)["conditions"]["ecn.negotiation.succeeded"], 2 * TARGETS);
    }

    fn ports(&self) {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let all: Vec<u16> = PORTS.collect();
        let source = format!("{}-{}", PORTS.start(), PORTS.end());
        assert!(hard > all.len() as u64 + 100, "so few files cannot hold the ports: {hard}");
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
        // Of both versions of IP.
        let hold = |port: &u16| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).unwrap();
        let mut held: Vec<TcpListener> =
            all.iter().filter(|port| *port % 3 > 0).map(hold).collect();
        let run = |name: &str| {
            let more = ["--source-ports", &source];
            self.run("ecn", "-o", &self.path(name), &more).output().unwrap()
        };
        let output = run("some.ndjson");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let some = summary(&output);
        assert_eq!(some["conditions"]["ecn.negotiation.succeeded"], 2 * TARGETS);
        held.extend(all.iter().filter(|port| *port % 3 == 0).map(hold));
        let output = run("none.ndjson");
        drop(held);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let none = summary(&output);
        assert_eq!(none["attempts"]["local_error"], 4 * TARGETS, "{none}");
        let record = &self.records("none.ndjson")[0];
        assert_eq!(record["one"]["error"], "Cannot assign requested address", "{record}");
        assert!(record["verdict"]["ecn_connectivity"] == "insufficient");
    }

    fn renamed(&self) {
        let (before, after) = (self.path("before"), self.path("after"));
        let ended = self.lose(&before, || fs::rename(&before, &after).unwrap());
        assert!(!before.exists(), "nobody asked for a new one");
        assert!(stderr(&ended).contains("before"), "{}", stderr(&ended));
        let ended = self.run("ecn", "--resume", &after, &[]).output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
        let whole = summary(&ended);
        assert_eq!(whole["records"], 2 * TARGETS);
        assert!(whole["targets"]["refused"]["resumed"].as_u64() >= Some(10));
    }

    fn vanished(&self) {
        let folder = self.path("gone");
        let ended = self.lose(&folder, || fs::remove_dir_all(&folder).unwrap());
        assert!(!folder.exists());
        assert!(stderr(&ended).contains("gone"), "{}", stderr(&ended));
        assert_eq!(summary(&ended)["resume"], Value::Null, "there is nothing to go on with");
    }

    /// The folder of a run is lost when the first part is there.
    fn lose(&self, folder: &Path, lose: impl FnOnce()) -> Output {
        let settings = ecn();
        let output = PathBuf::from(format!("{}/", folder.display()));
        let more = ["--rate", "20", "--wave", "10"];
        let mut child = self.run("ecn", "-o", &output, &more).spawn().unwrap();
        until_of(&mut child, "a part", || folder.join("records/part-00000.parquet").exists());
        lose();
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(1), "{}", stderr(&ended));
        assert_eq!(ecn(), settings);
        ended
    }

    /// A web server whose page, header fields and reason would clear a terminal and set its title.
    fn hostile(&self) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let serve = move || {
            for stream in server.incoming().take(2) {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let body = "\u{1b}]0;\u{9b}31m=cmd|'x'!A\u{202e}\r\t\u{7}";
                let answer = format!(
                    "HTTP/1.1 200 \u{9b}2J\r\nServer: \u{9b}31m\u{202e}\r\nContent-Length: {}\r\n\
                     Connection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).unwrap();
            }
        };
        let serving = std::thread::spawn(serve);
        let (file, list) = (self.path("hostile.toml"), self.path("hostile.csv"));
        fs::write(
            &file,
            "name = \"hostile\"\n[config.zero]\n[config.one]\n[connect]\nkind = \"http\"\n[observer]\n\
             use = [\"basic\"]\n[[conditions]]\nname = \"hostile.server\"\nvalue = \"one.http_body\"\n",
        )
        .unwrap();
        fs::write(&list, format!("127.0.0.1,{port}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
        command.env("PATHSPIDER_STATE", self.path("state")).stdin(Stdio::null());
        command
            .args(["-vvv", "run", "--allow-reserved", "-i", "lo"])
            .arg(&file)
            .arg("--targets")
            .arg(&list);
        let output = command.arg("-o").arg(self.path("hostile.ndjson")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        serving.join().unwrap();
        let said = String::from_utf8(output.stdout.clone()).unwrap();
        assert!(said.contains("\\u{1b}]0;\\u{9b}31m=cmd|'x'!A\\u{202e}\\r\\t\\u{7}"), "{said}");
        for text in [said, stderr(&output)] {
            let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert_eq!(text.find(obeyed), None, "{}", text.escape_debug());
        }
        let record = &self.records("hostile.ndjson")[0];
        let body = record["one"]["http_body"].as_str().unwrap();
        assert!(body.starts_with("\u{1b}]0;\u{9b}31m="), "the file has it as it was: {record}");
    }

    fn no_programs(&self) {
        for (measurement, program, missing) in [
            // It has a route step, which needs no program.
            ("ecn-scoped", "ip", None),
            ("dscp", "nft", Some("install the package nftables")),
        ] {
            let path = said("which", program).trim().to_owned();
            let path = fs::canonicalize(path).unwrap();
            mount(Some("/dev/null"), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
            let state = self.path(&format!("no-{program}"));
            let results = self.path(&format!("no-{program}.parquet"));
            let mut run = self.run(measurement, "-o", &results, &[]);
            let output = run.env("PATHSPIDER_STATE", &state).output();
            umount(&path).unwrap();
            let output = output.unwrap();
            let error = stderr(&output);
            match missing {
                None => assert_eq!(output.status.code(), Some(0), "{error}"),
                Some(missing) => {
                    assert_eq!(output.status.code(), Some(2), "{error}");
                    assert!(error.contains(missing), "{error}");
                    assert!(!state.exists());
                }
            }
        }
    }
}
