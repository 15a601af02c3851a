//! `pathspider run` as its users call it: in its own lab, and in namespaces that this test made.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use harness::Tests;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathspider::lab::{Lab, Spec};
use pathspider::step::{Applied, Context, Flows, Step, mark};
use serde_json::Value;
use support::wait::until_of;
use support::{NO_STRANGERS, records, stderr, summary};

const NOBODY: u32 = 65_534;
const ECN: &str = "/proc/sys/net/ipv4/tcp_ecn";
const FALLBACK: &str = "/proc/sys/net/ipv4/tcp_ecn_fallback";

fn main() -> ExitCode {
    harness::main(outside, inside)
}

fn outside(tests: &mut Tests, namespaces: bool) {
    let folder = tempfile::tempdir().unwrap();
    tests.run("bad input is told before anything is done", || bad_input(folder.path()));
    if !namespaces {
        tests.skip("the lab", "no user namespace can be entered here");
        return;
    }
    tests.run("the lab agrees with the truth", || lab_run(folder.path(), None));
    if nix::unistd::geteuid().is_root() {
        tests.run("the lab agrees for an ordinary user", || lab_run(folder.path(), Some(NOBODY)));
    } else {
        tests.skip("the lab agrees for an ordinary user", "this is one already");
    }
    tests.run("Ctrl-C in the lab", || interrupted_lab(folder.path()));
}

fn inside(tests: &mut Tests) {
    let lab = Lab::build(&Spec::plain(300, 20).unwrap()).unwrap();
    let bench = Bench::new(&lab);
    tests.run("records out are targets in, each observed", || bench.whole_run());
    tests.run("SIGTERM puts settings back and leaves a readable file", || {
        bench.stopped(Signal::SIGTERM)
    });
    tests.run("SIGINT does too", || bench.stopped(Signal::SIGINT));
    tests.run("a second signal stops in mid-wave and puts settings back", || {
        bench.stopped_at_once()
    });
    tests.run("no second has more SYNs than --rate", || bench.rate());
    tests.run("a value that the kernel refuses is named and nothing is left", || bench.refused());
    tests.run("steps are undone by a panic", undone_by_a_panic);
    tests.run("a silent target is a record", || bench.silent());
    tests.run("socket options are those of one configuration", || bench.marked());
    tests.run("marks are on the packets that are named, and on no others", || bench.classes());
    tests.run("scoped steps leave other programs' connections alone", || bench.scoped());
}

fn lab_run(folder: &Path, user: Option<u32>) {
    // The user must be able to write there and to execute the program.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.join(format!("lab-{}.parquet", user.unwrap_or(0)));
    let table = folder.join("origins.dat");
    fs::write(&table, "0.0.0.0/0\t64496_64497\n::/0\t64498\n").unwrap();
    let mut command = pathspider();
    command.args(["run", "measurements/ecn.toml", "--lab", "--format", "json", "--as-table"]);
    command.arg(&table).arg("-o").arg(&path);
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}{said}", stderr(&output));
    let summary = summary(&output);
    assert_eq!(summary["lab_agrees"], true, "{summary}");
    assert_eq!(summary["records"], summary["targets"]["asked"]);
    assert_eq!(summary["packets"]["dropped"], 0);
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    assert!(python.exists(), "no {}: make test-setup", python.display());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/check_parquet.py");
    let check = Command::new(python).arg(script).arg(&path).output().unwrap();
    assert!(check.status.success(), "{}{}", String::from_utf8_lossy(&check.stdout), stderr(&check));
}

fn interrupted_lab(folder: &Path) {
    let mut command = pathspider();
    command
        .args(["run", "ecn", "--lab", "-v", "--format", "json", "-o"])
        .arg(folder.join("int.parquet"));
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Before the first wave all steps are tried and undone; a signal then ends the run before it begins.
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    until(&mut log, "wave 1: configurations");
    // The whole lab is one wave: one signal would let it end.
    interrupt_twice(&child, &mut log);
    std::io::copy(&mut log, &mut std::io::sink()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    let summary = summary(&output);
    assert_eq!(summary["complete"], false);
    // The turns of the wave overlap: targets whose attempts had ended have records, silent ones never.
    let [read, unfinished] =
        ["read", "unfinished"].map(|key| summary["targets"][key].as_u64().unwrap());
    assert!(unfinished > 0, "{summary}");
    assert_eq!(unfinished + summary["records"].as_u64().unwrap(), read, "{summary}");
}

/// Sends SIGINT, waits until the run has said what follows, and sends it again.
fn interrupt_twice(child: &Child, log: &mut impl BufRead) {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    until(log, "no new wave begins");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    until(log, "stopping at once");
}

/// Reads lines until one has these words; gives that one.
fn until(log: &mut impl BufRead, words: &str) -> String {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "nothing said {words:?}");
    }
    line
}

fn bad_input(folder: &Path) {
    let targets = folder.join("targets.csv");
    fs::write(&targets, "192.0.2.1,80\n").unwrap();
    let only_bad = folder.join("bad.csv");
    fs::write(&only_bad, "ip,port\nnonsense,80\n").unwrap();
    let mistaken = folder.join("mistaken.toml");
    let text = fs::read_to_string("measurements/ecn.toml").unwrap();
    fs::write(&mistaken, text.replace("ecn_code", "ecn_cod")).unwrap();
    let [targets, only_bad, mistaken] =
        [&targets, &only_bad, &mistaken].map(|path| path.to_str().unwrap());
    for (arguments, expected) in [
        (&["run", "ecn"][..], "--targets FILE"),
        (&["run", "ecn"], "--lab"),
        (&["run", "ecm", "--lab"], "did you mean `ecn`?"),
        (&["run", mistaken, "--lab"], "did you mean `ecn_code`?"),
        (&["run", "ecn", "--targets", "no/such/file"], "no/such/file"),
        (&["run", "ecn", "--targets", only_bad], "rejected"),
        (&["run", "ecn", "--targets", targets, "--concurrency", "0"], "at least 1"),
        (&["run", "ecn", "--lab", "--targets", targets], "cannot be used with"),
        (&["run", "ecn", "--lab", "-o", "no/such/folder/x.parquet"], "no/such/folder"),
        (&["run", "ecn", "--lab", "-o", "x.docx"], ".parquet"),
        (&["run", "ecn", "--lab", "--concurrency", "99999999"], "open files"),
    ] {
        let output = pathspider().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{arguments:?}: {}", stderr(&output));
    }
}

/// A lab around this process, and its targets in a file.
struct Bench<'a> {
    lab: &'a Lab,
    folder: tempfile::TempDir,
    list: PathBuf,
}

impl<'a> Bench<'a> {
    fn new(lab: &'a Lab) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("targets.ndjson");
        let mut text = String::new();
        for target in lab.targets().iter().filter(|target| lab.hosts()[target.host].name == "plain")
        {
            writeln!(text, r#"{{"dip": "{}", "dp": {}, "rank": 7}}"#, target.addr, target.port)
                .unwrap();
        }
        fs::write(&list, text).unwrap();
        Self { lab, folder, list }
    }

    fn command(&self, list: &Path, output: &str, more: &[&str]) -> Command {
        let mut command = pathspider();
        command
            .args(["run", "ecn", "--format", "json"])
            .args(NO_STRANGERS)
            .arg("--targets")
            .arg(list);
        command.arg("-o").arg(self.folder.path().join(output)).args(more);
        command
    }

    fn records(&self, output: &str) -> Vec<Value> {
        records(&self.folder.path().join(output))
    }

    fn whole_run(&self) {
        // Some targets twice: each has a record and flows of its own.
        let list = fs::read_to_string(&self.list).unwrap();
        let twice: String = list.lines().take(50).map(|line| format!("{line}\n")).collect();
        let both = self.folder.path().join("twice.ndjson");
        fs::write(&both, format!("{list}{twice}not a target\n")).unwrap();
        let before = settings();
        let output = self.command(&both, "whole.ndjson", &["--wave", "97"]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stderr(&output).contains("line 651"), "{}", stderr(&output));
        let summary = summary(&output);
        let refused = &summary["targets"]["refused"]["bad_line"];
        assert_eq!((&summary["records"], refused), (&650.into(), &1.into()));
        assert_eq!(summary["targets"]["read"], 651);
        assert_eq!(settings(), before);
        let records = self.records("whole.ndjson");
        let mut asked: Vec<String> = list
            .lines()
            .chain(twice.lines())
            .map(|l| serde_json::from_str::<Value>(l).unwrap()["dip"].to_string())
            .collect();
        let mut found: Vec<String> =
            records.iter().map(|r| r["target"]["ip"].to_string()).collect();
        asked.sort();
        found.sort();
        assert_eq!(found, asked);
        let mut flows = BTreeSet::new();
        for record in &records {
            assert_eq!(record["target"]["rank"], 7);
            assert_eq!(record["verdict"]["ecn_negotiation"], "succeeded", "{record}");
            for configuration in ["zero", "one"] {
                let attempt = &record[configuration];
                assert_eq!(attempt["observed"], true);
                assert_eq!(attempt["source_port"], attempt["sp"]);
                assert!(
                    attempt["tcp_fin_fwd"] == true && attempt["tcp_fin_rev"] == true,
                    "{attempt}"
                );
                assert!(flows.insert(format!("{} {}", attempt["dip"], attempt["sp"])), "{attempt}");
            }
        }
    }

    fn stopped(&self, signal: Signal) {
        let before = settings();
        let mut command =
            self.command(&self.list, "stopped.ndjson", &["--wave", "40", "--rate", "400"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The third time that configuration one is in force, two waves are behind; before that it may have been seen
        // when its steps were tried.
        let (mut times, mut experiment) = (0, false);
        until_of(&mut child, "a third wave", || {
            let now = fs::read_to_string(ECN).unwrap().trim() == "1";
            times += u32::from(now && !experiment);
            experiment = now;
            times >= 4
        });
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(5));
        let said = stderr(&output);
        let word =
            format!("{}: no new wave begins; the wave in flight is completed", signal.as_str());
        assert!(said.contains(&word) && said.contains("at most"), "{said}");
        assert_eq!(settings(), before, "settings are not as they were");
        let summary = summary(&output);
        let records = self.records("stopped.ndjson");
        assert!(records.len() >= 80, "{summary}");
        assert_eq!(summary["records"], records.len());
        let read = summary["targets"]["read"].as_u64().unwrap();
        let unfinished = summary["targets"]["unfinished"].as_u64().unwrap();
        assert_eq!(unfinished, 0, "the wave in hand was not finished");
        assert!(read == records.len() as u64 && read < 600, "{summary}");
        assert!(records.iter().all(|record| record["one"]["observed"] == true));
        let left = fs::read_dir(self.folder.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("tmp"));
        assert_eq!(left.count(), 0, "a temporary file is left");
    }

    fn stopped_at_once(&self) {
        // Neither configuration's, so that there is something to put back under each.
        let usual = fs::read_to_string(ECN).unwrap();
        fs::write(ECN, "0").unwrap();
        let before = settings();
        // A wave of all: half a minute for each configuration.
        let mut command = self.command(&self.list, "at-once.ndjson", &["--rate", "20", "-v"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
        until(&mut log, "wave 1: configurations");
        until_of(&mut child, "changed settings", || settings() != before);
        interrupt_twice(&child, &mut log);
        std::io::copy(&mut log, &mut std::io::sink()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(5));
        assert_eq!(settings(), before, "settings are not as they were");
        fs::write(ECN, usual).unwrap();
        let summary = summary(&output);
        assert_eq!(summary["targets"]["read"], 600);
        assert_eq!(summary["targets"]["unfinished"], 600);
    }

    fn rate(&self) {
        const RATE: usize = 300;
        let output = self
            .command(&self.list, "rate.ndjson", &["--rate", &RATE.to_string()])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let mut syns: Vec<i64> = Vec::new();
        for record in self.records("rate.ndjson") {
            for configuration in ["zero", "one"] {
                syns.push(nanoseconds(record[configuration]["pkt_first"].as_str().unwrap()));
            }
        }
        syns.sort_unstable();
        assert_eq!(syns.len(), 1200);
        for (first, last) in syns.iter().zip(&syns[RATE..]) {
            assert!(last - first >= 1_000_000_000, "{} SYNs in {} ns", RATE + 1, last - first);
        }
    }

    fn refused(&self) {
        let before = settings();
        let text = fs::read_to_string("measurements/ecn.toml").unwrap();
        let path = self.folder.path().join("refused.toml");
        for (value, expected) in [
            (r#""net.ipv4.tcp_ecn" = 77"#, "set sysctl net.ipv4.tcp_ecn to 77"),
            (r#""net.ipv4.tcp_no_such" = 1"#, "no parameter `net.ipv4.tcp_no_such`"),
        ] {
            let text = text.replace(r#" = 2, "net.ipv4.tcp_ecn_fallback" = 0"#, " = 2");
            let text = text.replace(r#""net.ipv4.tcp_ecn_fallback" = 0"#, value);
            let text =
                text.replace(r#""net.ipv4.tcp_ecn" = 1,"#, r#""net.ipv4.tcp_retries1" = 5,"#);
            fs::write(&path, text).unwrap();
            let mut command = pathspider();
            command.arg("run").arg(&path).args(NO_STRANGERS).arg("--targets").arg(&self.list);
            let output =
                command.arg("-o").arg(self.folder.path().join("refused.ndjson")).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
            assert!(stderr(&output).contains(expected), "{}", stderr(&output));
            assert_eq!(settings(), before);
        }
    }

    fn marked(&self) {
        let path = self.folder.path().join("dscp.toml");
        let text = r#"
            name = "dscp"
            [config.zero]
            [config.one]
            steps = [{ sockopt = { ip_tos = 184, ip_ttl = 33, tcp_maxseg = 1000 } }]
            [config.two]
            steps = [{ sockopt = { ipv6_tclass = 32, ip_tos = 184 } }]
            [config.three]
            steps = [{ netfilter = { rule = "ip dscp set 46" } }]
            [config.four]
            steps = [{ sockopt = { ipv6_tclass = 184 } }]
            [observer]
            use = ["basic", "dscp", "mss", "ttl"]
            [[conditions]]
            name = "dscp.three"
            compare = "ok"
            between = ["zero", "three"]
            [[conditions]]
            name = "dscp.none"
            first_of = [{ is = "none", when = "three.dscp_mark_syn_fwd IS NULL" }, { is = "some" }]
        "#;
        fs::write(&path, text).unwrap();
        let mut command = pathspider();
        command.arg("run").arg(&path).args(NO_STRANGERS).arg("--targets").arg(&self.list).arg("-o");
        let output = command.arg(self.folder.path().join("dscp.ndjson")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let records = self.records("dscp.ndjson");
        assert_eq!(records.len(), 600);
        for record in records {
            let (zero, one) = (&record["zero"], &record["one"]);
            assert_eq!(
                (&zero["dscp_mark_syn_fwd"], &one["dscp_mark_syn_fwd"]),
                (&0.into(), &46.into())
            );
            assert!(zero["mss_value_fwd"] != 1000 && one["mss_value_fwd"] == 1000, "{record}");
            // One option is for both versions of IP, and what names IPv6 has the last word there.
            assert_eq!(one["ttl_first_fwd"], 33, "{record}");
            let v6 = record["target"]["ip"].as_str().unwrap().contains(':');
            assert_eq!(record["two"]["dscp_mark_syn_fwd"], if v6 { 8 } else { 46 }, "{record}");
            // What is for one version only leaves the other as it was: that one is not asked.
            for (config, skips) in [("three", v6), ("four", !v6)] {
                let attempt = &record[config];
                if skips {
                    assert_eq!(attempt["state"], "skipped", "{record}");
                    let error = attempt["error"].as_str().unwrap();
                    assert!(error.starts_with("the steps are for IPv"), "{record}");
                    assert_eq!(attempt["observed"], false);
                } else {
                    assert_eq!(attempt["dscp_mark_syn_fwd"], 46, "{record}");
                }
            }
            for (condition, otherwise) in [("dscp_three", "works"), ("dscp_none", "some")] {
                let (verdict, why) =
                    (&record["verdict"][condition], &record["insufficient"][condition]);
                match v6 {
                    true => assert_eq!(
                        (verdict, why),
                        (&"insufficient".into(), &"three: skipped".into())
                    ),
                    false => assert_eq!(verdict, otherwise, "{record}"),
                }
            }
        }
    }

    fn classes(&self) {
        let path = self.folder.path().join("classes.toml");
        fs::write(&path, include_str!("run/classes.toml")).unwrap();
        let mut command = pathspider();
        command.arg("run").arg(&path).args(NO_STRANGERS).arg("--targets").arg(&self.list).arg("-o");
        command.arg(self.folder.path().join("classes.ndjson")).args(["--format", "json"]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let records = self.records("classes.ndjson");
        assert_eq!(records.len(), 600);
        for record in &records {
            let count = |config: &str, column: &str| record[config][column].as_u64().unwrap();
            for config in ["zero", "one", "two", "three", "four"] {
                let data = count(config, "data");
                assert!(data > 0 && record[config]["ok"] == true, "{record}");
                let all = count(config, "sent");
                let expected = match config {
                    "one" => [("syn_ef", 1), ("dscp", 1), ("ecn", 0)],
                    "two" => [("data_cs1_ect1", data), ("dscp", data), ("ecn", data)],
                    "three" => [("le_ce", all), ("dscp", all), ("ecn", all)],
                    // The kernel's own ECN bits stay: ECT(0) on data, none on SYN and pure ACKs.
                    "four" => [("data_ef_ect0", data), ("dscp", all), ("ecn", data)],
                    _ => [("dscp", 0), ("ecn", 0), ("syn_ef", 0)],
                };
                for (column, expected) in expected {
                    assert_eq!(count(config, column), expected, "{config} {column} {record}");
                }
            }
            assert!(record["metric"]["rtt_difference"].is_f64(), "{record}");
        }
        let told = summary(&output);
        let rtt = &told["metrics"]["rtt.difference"];
        assert_eq!((&rtt["n"], &rtt["unit"]), (&600.into(), &"ms".into()), "{told}");
        let [low, high] = [0, 1].map(|end| rtt["median_interval"][end].as_f64().unwrap());
        let median = rtt["median"].as_f64().unwrap();
        assert!(low <= median && median <= high, "{rtt}");
        // Hundreds of different round trips are no labels.
        assert_eq!(told["values"]["rtt"]["n"], 600, "{told}");
        assert_eq!(told["conditions"], serde_json::json!({}), "{told}");
    }

    /// Makes connections of its own while a run goes on, and counts how many of their SYNs asked for ECN.
    fn scoped(&self) {
        let (seen, asked) = self.strangers("ecn-scoped");
        assert!(seen > 0 && asked == 0, "{asked} of {seen} SYNs of others asked for ECN");
        // What the count is worth: a namespace-wide step does reach them.
        let (seen, asked) = self.strangers("ecn");
        assert!(asked > 0, "none of {seen}");
    }

    /// SYNs of connections that are not the run's, and how many of them asked for ECN.
    fn strangers(&self, measurement: &str) -> (u32, u32) {
        let capture = pcap::Capture::from_device(self.lab.interface()).unwrap();
        let capture = capture.snaplen(128).timeout(10).open().unwrap();
        let mut capture = capture.setnonblock().unwrap();
        // Not from the engine's ports, but from those that the kernel chooses.
        let filter = "tcp[tcpflags] & (tcp-syn|tcp-ack) = tcp-syn and src portrange 32768-60999";
        capture.filter(filter, true).unwrap();
        let plain = self
            .lab
            .targets()
            .iter()
            .find(|t| t.addr.is_ipv4() && self.lab.hosts()[t.host].name == "plain");
        let plain = std::net::SocketAddr::new(plain.unwrap().addr, plain.unwrap().port);
        let mut command = pathspider();
        command
            .args(["run", measurement])
            .args(NO_STRANGERS)
            .arg("--targets")
            .arg(&self.list)
            .args(["--source-ports", "20000-29999", "-q", "-o"]);
        command.arg(self.folder.path().join("strangers.ndjson"));
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let (mut seen, mut asked, mut made) = (0, 0, 0);
        let mut next = Instant::now();
        while run.try_wait().unwrap().is_none() {
            // Spread over the whole run, and few enough for the kernel's ports.
            if Instant::now() >= next {
                std::net::TcpStream::connect(plain).unwrap();
                made += 1;
                next += Duration::from_millis(5);
            }
            std::thread::yield_now();
            while let Ok(packet) = capture.next_packet() {
                // Ethernet, IPv4 without options, then the flags of TCP.
                seen += 1;
                asked += u32::from(packet.data[14 + 20 + 13] & 0xc0 == 0xc0);
            }
        }
        assert!(run.wait().unwrap().success() && made > 0);
        (seen, asked)
    }

    fn silent(&self) {
        let list = self.folder.path().join("silent.csv");
        let silent = self
            .lab
            .targets()
            .iter()
            .filter(|target| self.lab.hosts()[target.host].name == "silent");
        let lines: String =
            silent.map(|target| format!("{},{}\n", target.addr, target.port)).collect();
        fs::write(&list, &lines).unwrap();
        let output = self.command(&list, "silent.ndjson", &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let records = self.records("silent.ndjson");
        assert_eq!(records.len(), lines.lines().count());
        for record in records {
            assert_eq!(record["conditions"], serde_json::json!(["ecn.connectivity.offline"]));
            assert_eq!(record["one"]["state"], "timeout");
            assert_eq!(
                (&record["one"]["observed"], &record["one"]["pkt_rev"]),
                (&true.into(), &0.into())
            );
        }
    }
}

fn undone_by_a_panic() {
    let before = settings();
    let step = |name: &str, value: &str| Step::sysctl(name, value);
    let panicked = std::panic::catch_unwind(|| {
        let steps = [step("net.ipv4.tcp_ecn", "1"), step("net.ipv4.tcp_ecn_fallback", "0")];
        let flows = Flows { mark: mark(1) };
        let _in_force = Applied::apply(&[(&steps, &flows)], &Context::default()).unwrap();
        assert_ne!(settings(), before);
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(panicked.is_err());
    assert_eq!(settings(), before);
}

/// The kernel parameters that the measurement touches.
fn settings() -> BTreeMap<&'static str, String> {
    [ECN, FALLBACK].into_iter().map(|path| (path, fs::read_to_string(path).unwrap())).collect()
}

fn pathspider() -> Command {
    let mut command = support::pathspider();
    command.env("PATHSPIDER_STATE", concat!(env!("CARGO_TARGET_TMPDIR"), "/state"));
    command
}

/// Nanoseconds since a fixed moment, of `2026-11-22T18:30:00.123456789Z`.
fn nanoseconds(text: &str) -> i64 {
    let parts: Vec<&str> = text.trim_end_matches('Z').split(['-', 'T', ':', '.']).collect();
    let number = |at: usize| parts[at].parse::<i64>().unwrap();
    // Days in the proleptic Gregorian calendar, years beginning in March.
    let (year, month) =
        if number(1) > 2 { (number(0), number(1)) } else { (number(0) - 1, number(1) + 12) };
    let days =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month - 457) / 5 + number(2);
    let seconds = ((days * 24 + number(3)) * 60 + number(4)) * 60 + number(5);
    let fraction = format!("{:0<9}", parts.get(6).copied().unwrap_or("0"));
    seconds % (1 << 32) * 1_000_000_000 + fraction.parse::<i64>().unwrap()
}
