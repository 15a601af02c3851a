//! Nobody is harmed: caps that hold in every second, an order that spares neighbours, and those who are left alone, as
//! the packets on the wire show it.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

mod harness;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};

use harness::Tests;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pathspider::engine::scheduler::Caps;
use pathspider::lab::{Lab, LabTarget, Spec};
use serde_json::Value;
use support::wait::until_of;
use support::{NO_STRANGERS, pathspider, records};

/// Addresses of each family.
const HOSTS: usize = 360;
const RATE: usize = 500;
const PER_PREFIX: usize = 60;
const PER_ADDRESS: usize = 2;
/// Prefixes of 64 addresses.
const LENGTHS: (u8, u8) = (26, 122);

fn main() -> ExitCode {
    harness::main(|_, _| {}, inside)
}

fn inside(tests: &mut Tests) {
    let lab = Lab::build(&Spec::plain(HOSTS, 20).unwrap()).unwrap();
    let bench = Bench { lab: &lab, folder: tempfile::tempdir().unwrap() };
    tests.run("no second has more than the caps, and a dry run said so before", || bench.caps());
    tests.run("special-purpose networks are left alone", || bench.reserved());
    tests.run("what could send too much is refused", || bench.too_much());
    tests.run("the order can be that of the list", || {
        assert!(bench.order(&["--order", "list"]).is_sorted());
    });
    tests.run("the order is drawn", || bench.drawn(&[]));
    tests.run("the order is drawn by a seed", || bench.drawn(&["--seed", "7"]));
    tests.run("an opt-out takes effect at once", || bench.opt_out());
    tests.run("who asks can be reached", || bench.contact());
    let folder = bench.folder;
    drop(lab);
    let text = fs::read_to_string("tests/own_lab/locate.toml").unwrap();
    let lab = Lab::build(&Spec::parse("locate.toml", &text).unwrap()).unwrap();
    let bench = Bench { lab: &lab, folder };
    tests.run("a search spares targets and routers", || bench.search());
}

struct Bench<'a> {
    lab: &'a Lab,
    folder: tempfile::TempDir,
}

/// A packet of this host's.
struct Sent {
    /// Microseconds since 1970.
    at: i64,
    to: IpAddr,
    /// If it is a SYN: what tells it from others that are not sent again.
    syn: Option<(u16, u32)>,
    octets: u64,
    bytes: Vec<u8>,
}

impl Sent {
    /// Its source port, and its TTL or hop limit.
    fn port_and_ttl(&self) -> (u16, u8) {
        let ip = &self.bytes[14..];
        let (ttl, tcp) = if self.to.is_ipv4() { (ip[8], 20) } else { (ip[7], 40) };
        (u16::from_be_bytes([ip[tcp], ip[tcp + 1]]), ttl)
    }
}

impl Bench<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A list of the lab's targets, the first ones several times.
    fn list(&self, name: &str) -> PathBuf {
        let mut text = String::new();
        for (n, target) in self.lab.targets().iter().enumerate() {
            let line = format!("{},{},host{n}.example\n", target.addr, target.port);
            text += &line.repeat(if n < 10 { 3 } else { 1 });
        }
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn command(&self, list: &Path, output: &str, more: &[&str]) -> Command {
        let mut command = pathspider();
        command.env("PATHSPIDER_STATE", self.path("state"));
        command.args(["run", "ecn", "--format", "json", "--targets"]);
        command.arg(list).arg("-o").arg(self.path(output)).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn records(&self, output: &str) -> Vec<Value> {
        records(&self.path(output))
    }

    /// What this host sends from the engine's ports, until it is asked for.
    fn wire(&self) -> pcap::Capture<pcap::Active> {
        let capture = pcap::Capture::from_device(self.lab.interface()).unwrap();
        let capture = capture.snaplen(2000).buffer_size(32 << 20).immediate_mode(true).open();
        let mut capture = capture.unwrap().setnonblock().unwrap();
        capture.filter("src portrange 32768-60999 and dst port 80", true).unwrap();
        capture
    }

    fn caps(&self) {
        let list = self.list("caps.csv");
        let lengths = format!("{},{}", LENGTHS.0, LENGTHS.1);
        let caps = [
            ("--rate", RATE.to_string()),
            ("--rate-per-prefix", PER_PREFIX.to_string()),
            ("--rate-per-address", PER_ADDRESS.to_string()),
            ("--prefix-lengths", lengths),
        ];
        let mut options = vec!["--allow-reserved"];
        options.extend(caps.iter().flat_map(|(name, value)| [*name, value.as_str()]));
        let mut wire = self.wire();
        let dry = done(
            &self
                .command(&list, "dry.ndjson", &[&options[..], &["--dry-run"]].concat())
                .output()
                .unwrap(),
        );
        assert!(
            sent(&mut wire).is_empty() && !self.path("dry.ndjson").exists(),
            "a dry run did something"
        );
        let summary = done(&self.command(&list, "caps.ndjson", &options).output().unwrap());
        let packets = sent(&mut wire);
        assert_eq!(wire.stats().unwrap().dropped, 0);
        let syns = first_syns(&packets);
        let targets = 2 * (HOSTS + 20) + 20;
        assert_eq!((&summary["records"], syns.len()), (&targets.into(), 2 * targets));

        let neighbours = Caps { lengths: LENGTHS, ..Caps::default() };
        let mut of: BTreeMap<(&str, IpAddr), Vec<i64>> = BTreeMap::new();
        for syn in &syns {
            of.entry(("all", IpAddr::from([0, 0, 0, 0]))).or_default().push(syn.at);
            of.entry(("prefix", neighbours.prefix(syn.to))).or_default().push(syn.at);
            of.entry(("address", syn.to)).or_default().push(syn.at);
        }
        for (whose, cap) in [("all", RATE), ("prefix", PER_PREFIX), ("address", PER_ADDRESS)] {
            let of = of.iter().filter(|((of, _), _)| *of == whose);
            let most = of.map(|(_, times)| most_in_a_second(times)).max().unwrap();
            eprintln!("     most first SYNs in any second, {whose}: {most} of {cap} allowed");
            assert!(most <= cap, "{whose}: {most}");
            // And the caps are not kept by crawling.
            assert!(2 * most >= cap, "{whose}: only {most} of {cap}");
        }

        assert_eq!(dry["targets"]["asked"], targets);
        assert_eq!(dry["attempts"], 2 * targets);
        let within = |what: &str, measured: u64| {
            let bounds = ["least", "usual", "most"].map(|bound| dry[what][bound].as_u64().unwrap());
            eprintln!("     {what}: {measured}, said before: {bounds:?}");
            assert!((bounds[0]..=bounds[2]).contains(&measured), "{what}: {measured}, {bounds:?}");
            // One in twenty answers nothing, so that it gets less than usual.
            assert!(
                measured.abs_diff(bounds[1]) * 10 < bounds[1] * 3,
                "{what}: {measured}, {bounds:?}"
            );
        };
        within("packets", packets.len() as u64);
        within("octets", packets.iter().map(|packet| packet.octets).sum());
        let [least, silent] =
            ["least", "if_silent"].map(|key| dry["seconds"][key].as_f64().unwrap());
        let took = summary["seconds"].as_f64().unwrap();
        eprintln!("     seconds: {took:.1}, said before: {least:.1} to {silent:.1}");
        assert!(least <= took && took <= silent + 3.0, "{least} {took} {silent}");
    }

    fn reserved(&self) {
        let list = self.path("reserved.csv");
        fs::write(&list, "198.18.0.1,80\n2001:db8:1::1,80\n10.1.2.3,80\n").unwrap();
        let output = self.command(&list, "reserved.ndjson", &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("no targets: 3 targets in special-purpose networks"), "{said}");
        // Of the rest of the world, none is there: a name that leads into a reserved network is not followed, either.
        let far = self.path("far.csv");
        fs::write(&far, "198.18.0.1,80\n8.8.8.8,80\nbad\n").unwrap();
        let mut wire = self.wire();
        let summary = done(&self.command(&far, "far.parquet", &[]).output().unwrap());
        assert_eq!((&summary["records"], &summary["targets"]["read"]), (&1.into(), &3.into()));
        let refused = &summary["targets"]["refused"];
        assert_eq!((&refused["reserved"], &refused["bad_line"]), (&1.into(), &1.into()));
        let lab = IpAddr::from([198, 18, 0, 1]);
        assert!(sent(&mut wire).iter().all(|packet| packet.to != lab));
        let metadata =
            pathspider::sink::Stored::open(&self.path("far.parquet")).unwrap().metadata();
        let metadata: BTreeMap<String, String> = metadata.into_iter().collect();
        assert_eq!(
            (metadata["targets_withheld"].as_str(), metadata["targets_no_target"].as_str()),
            ("1", "3")
        );
        // It is whole: whom it left alone is not missing.
        let mut merge = Command::new(env!("CARGO_BIN_EXE_pathspider"));
        merge.args(["merge", "--format", "json"]).arg(self.path("far.parquet"));
        let merged = done(&merge.arg("-o").arg(self.path("merged.parquet")).output().unwrap());
        assert_eq!((&merged["withheld"], &merged["missing"]), (&1.into(), &0.into()));
    }

    fn too_much(&self) {
        let list = self.list("much.csv");
        let mut wire = self.wire();
        let more = ["--allow-reserved", "--max-packets-per-target", "100"];
        let output = self.command(&list, "much.ndjson", &more).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            said.contains(
                "packets, more than the limit of 100; set it with --max-packets-per-target"
            ),
            "{said}"
        );
        assert!(sent(&mut wire).is_empty() && !self.path("much.ndjson").exists());
    }

    /// The positions of all targets, in the order in which a run probed them.
    fn order(&self, more: &[&str]) -> Vec<u64> {
        let list = self.list("order.csv");
        let more = [&NO_STRANGERS[..], more].concat();
        done(&self.command(&list, "order.ndjson", &more).output().unwrap());
        let mut records = self.records("order.ndjson");
        records.sort_by_key(|record| record["zero"]["started"].as_str().unwrap().to_owned());
        let order: Vec<u64> =
            records.iter().map(|record| record["position"].as_u64().unwrap()).collect();
        let all: BTreeSet<u64> = (1..=2 * (HOSTS as u64 + 20) + 20).collect();
        assert_eq!(order.iter().copied().collect::<BTreeSet<_>>(), all);
        order
    }

    fn drawn(&self, more: &[&str]) {
        let drawn = self.order(more);
        let near = drawn.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 8).count();
        assert!(near < 40, "{near} of {} are probed after a neighbour", drawn.len());
    }

    fn opt_out(&self) {
        let list = self.list("opt-out.csv");
        let exclude = self.path("exclude");
        fs::write(&exclude, "# nobody yet\nhost700.example\n").unwrap();
        let more = ["--rate", "200", "--exclude", exclude.to_str().unwrap()];
        let more = [&NO_STRANGERS[..], &more].concat();
        let mut wire = self.wire();
        let mut run = self.command(&list, "opt-out.parquet", &more).spawn().unwrap();
        let mut packets = Vec::new();
        self.until(&mut run, &mut wire, &mut packets, 60);
        // What cannot be read changes nothing.
        fs::write(&exclude, "198.18.0.0/16\nnot a name\n").unwrap();
        let pid = Pid::from_raw(run.id() as i32);
        kill(pid, Signal::SIGHUP).unwrap();
        self.until(&mut run, &mut wire, &mut packets, 120);
        // All of IPv4, and one by its name.
        fs::write(&exclude, "host700.example\n0.0.0.0/0 # all\n").unwrap();
        kill(pid, Signal::SIGHUP).unwrap();
        let asked_at = now();
        let output = run.wait_with_output().unwrap();
        packets.extend(sent(&mut wire));
        let summary = done(&output);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("could NOT be read again") && said.contains("line 2"), "{said}");
        assert!(said.contains("the exclusion lists were read again: 1 prefix, 1 name"), "{said}");
        let syns = first_syns(&packets);
        let late = syns.iter().filter(|syn| syn.to.is_ipv4() && syn.at > asked_at).count();
        eprintln!("     {late} SYNs to excluded targets after SIGHUP");
        // Half of what is sent in 300 ms, as half of the targets have IPv4.
        assert!(late < 30, "{late} SYNs to excluded targets after SIGHUP");
        let before = syns.iter().filter(|syn| syn.to.is_ipv4() && syn.at <= asked_at).count();
        assert!(before > 40, "{before}: a broken list ended it");
        let targets = &summary["targets"];
        let excluded = targets["refused"]["excluded"].as_u64().unwrap();
        let records = summary["records"].as_u64().unwrap();
        // Every target with IPv4, since none had its second configuration yet, and one by its name. Of the ten that
        // are listed three times, five have IPv4.
        let by_name = u64::from(self.lab.targets()[700].addr.is_ipv6());
        assert_eq!(excluded, HOSTS as u64 + 20 + 10 + by_name, "{summary}");
        assert_eq!(records + excluded, targets["read"].as_u64().unwrap(), "{summary}");
        assert_eq!((&targets["unfinished"], &summary["complete"]), (&0.into(), &true.into()));
    }

    /// Waits until so many SYNs were sent.
    fn until(
        &self,
        run: &mut Child,
        wire: &mut pcap::Capture<pcap::Active>,
        packets: &mut Vec<Sent>,
        syns: usize,
    ) {
        until_of(run, "SYNs on the wire", || {
            packets.extend(sent(wire));
            first_syns(packets).len() >= syns
        });
    }

    /// Copies of packets go to targets that have a label to locate, and to no hop oftener than it answers.
    fn search(&self) {
        let lab = self.lab;
        let line = |target: &LabTarget| format!("{},{}\n", target.addr, target.port);
        let list = self.path("search.csv");
        fs::write(&list, lab.targets().iter().map(line).collect::<String>()).unwrap();
        let mut wire = self.wire();
        let options = [&NO_STRANGERS[..], &["--locate", "--confirm", "0"]].concat();
        done(&self.command(&list, "search.ndjson", &options).output().unwrap());
        let packets = sent(&mut wire);
        assert_eq!(wire.stats().unwrap().dropped, 0);

        let mut asked: BTreeMap<(bool, u8), Vec<i64>> = BTreeMap::new();
        let (mut located, mut clean) = (0, 0);
        for record in self.records("search.ndjson") {
            let ip: IpAddr = record["target"]["ip"].as_str().unwrap().parse().unwrap();
            let attempts =
                ["zero", "one"].map(|of| record[of]["source_port"].as_u64().unwrap_or_default());
            let mut copies = 0;
            for packet in packets.iter().filter(|packet| packet.to == ip) {
                let (port, ttl) = packet.port_and_ttl();
                if !attempts.contains(&port.into()) {
                    copies += 1;
                    asked.entry((ip.is_ipv6(), ttl)).or_default().push(packet.at);
                }
            }
            let locate = &record["locate"];
            let host = lab.targets().iter().find(|target| target.addr == ip).unwrap().host;
            if lab.hosts()[host].name == "clean" {
                assert_eq!((copies, &locate["packets"]), (0, &Value::Null), "{record}");
                clean += 1;
            } else {
                let said = locate["packets"].as_u64().unwrap();
                assert!(said > 0 && copies >= said && copies <= 40, "{copies}: {locate}");
                located += 1;
            }
        }
        assert_eq!((located, clean), (12, 4));
        // All paths have the same five routers. Linux answers six at once, and then one a second.
        let routers = asked.iter_mut().filter(|((_, ttl), _)| *ttl <= 5);
        let mut seen = 0;
        for (hop, times) in routers {
            times.sort_unstable();
            for (at, first) in times.iter().enumerate() {
                for (more, last) in times[at..].iter().enumerate() {
                    let allowed = 5 + (last - first) / 1_000_000;
                    assert!(more as i64 <= allowed, "{hop:?}: {} since {first}", more + 1);
                }
            }
            seen += times.len();
        }
        assert!(seen >= 24, "{seen} copies");
    }

    fn contact(&self) {
        let measurement = self.path("page.toml");
        fs::write(
            &measurement,
            "name = \"page\"\n[config.zero]\n[config.one]\n[connect]\nkind = \"http\"\n\
             [observer]\nuse = [\"basic\"]\n",
        )
        .unwrap();
        let list = self.path("page.csv");
        let host =
            self.lab.targets().iter().find(|t| self.lab.hosts()[t.host].name == "plain").unwrap();
        fs::write(&list, format!("{},{}\n", host.addr, host.port)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pathspider"));
        command.env("PATHSPIDER_STATE", self.path("state")).arg("run").arg(&measurement);
        command.args(["--allow-reserved", "--contact", "mailto:lab@example.org", "--targets"]);
        let mut wire = self.wire();
        let output = command.arg(&list).arg("-o").arg(self.path("page.parquet")).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let agent = b"(+mailto:lab@example.org)\r\n";
        let packets = sent(&mut wire);
        let says = |sent: &&Sent| sent.bytes.windows(agent.len()).any(|bytes| bytes == agent);
        assert_eq!(packets.iter().filter(says).count(), 2, "each configuration's request says so");
        let metadata =
            pathspider::sink::Stored::open(&self.path("page.parquet")).unwrap().metadata();
        assert!(metadata.contains(&("contact".into(), "mailto:lab@example.org".into())));
    }
}

/// The JSON of a command that ended well.
fn done(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_micros()).unwrap()
}

/// All that was captured so far.
fn sent(wire: &mut pcap::Capture<pcap::Active>) -> Vec<Sent> {
    let mut packets = Vec::new();
    while let Ok(packet) = wire.next_packet() {
        let at = packet.header.ts.tv_sec * 1_000_000 + packet.header.ts.tv_usec;
        // Behind Ethernet's header: IPv4 without options, or IPv6 without extensions.
        let ip = &packet.data[14..];
        let (to, tcp): (IpAddr, usize) = match ip[0] >> 4 {
            4 => (<[u8; 4]>::try_from(&ip[16..20]).unwrap().into(), 20),
            _ => (<[u8; 16]>::try_from(&ip[24..40]).unwrap().into(), 40),
        };
        let tcp = &ip[tcp..];
        let port = u16::from_be_bytes([tcp[0], tcp[1]]);
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]);
        let syn = (tcp[13] & 0x12 == 0x02).then_some((port, sequence));
        let octets = u64::from(packet.header.len) - 14;
        packets.push(Sent { at, to, syn, octets, bytes: packet.data.to_vec() });
    }
    packets
}

/// SYNs but those that were sent again.
fn first_syns(packets: &[Sent]) -> Vec<&Sent> {
    let mut seen = BTreeSet::new();
    packets.iter().filter(|p| p.syn.is_some_and(|syn| seen.insert((p.to, syn)))).collect()
}

/// The most of these times that lie in a second, wherever it begins.
fn most_in_a_second(times: &[i64]) -> usize {
    let mut times = times.to_vec();
    times.sort_unstable();
    let in_second =
        |first: usize| times.partition_point(|at| *at < times[first] + 1_000_000) - first;
    (0..times.len()).map(in_second).max().unwrap_or(0)
}
