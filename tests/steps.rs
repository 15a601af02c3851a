//! Steps in force: what they do to packets, to whose, and that nothing of them is left.
//!
//! Has no harness of Rust's (see [`harness`]).
#![expect(clippy::unwrap_used, reason = "this is a test, though not one with a harness")]

#[path = "steps/commands.rs"]
mod commands;
mod harness;
mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use harness::Tests;
use pathspider::error::Error;
use pathspider::lab::{Lab, Spec};
use pathspider::step::Family;
use pathspider::step::netfilter::Hook;
use pathspider::step::sockopt::{SOCKOPTS, Value};
use pathspider::step::{self, Applied, Context, Flows, Netfilter, Route, Sockopt, Step, metrics};
use socket2::{Domain, Protocol, Socket, Type};
use support::wait::until;

const ECN: &str = "net.ipv4.tcp_ecn_fallback";
/// What a host has of its own, with a chain at the hook and the priority that ours has.
const USERS_RULES: &str = "
table inet filter {
    set friends { type ipv4_addr; elements = { 192.0.2.1, 192.0.2.2 } }
    chain input { type filter hook input priority filter; policy accept; ct state invalid drop; }
}
table ip mangle {
    chain OUTPUT { type route hook output priority mangle; policy accept; meta mark 0x7 ip dscp set ef; }
}
";

fn main() -> ExitCode {
    harness::main(as_root, inside)
}

/// What only the root of the host may do: in a network namespace, but not in one of users.
fn as_root(tests: &mut Tests, _: bool) {
    let name = "only some addresses are forgotten";
    if let Err(why) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
        tests.skip(name, &format!("no root: {why}"));
        return;
    }
    done("ip link set lo up");
    done("ip addr add 2001:db8::5/128 dev lo nodad");
    // The kernel makes an address usable in its own time.
    until("an address that can be used", || {
        said("ip -6 route show table local").contains("2001:db8::5")
    });
    tests.run(name, forget);
}

fn inside(tests: &mut Tests) {
    let lab = Lab::build(&Spec::plain(4, 1).unwrap()).unwrap_or_else(|why| panic!("{why}"));
    let bench = Bench::new(&lab);
    tests.state = Some(state);
    tests.run("an empty kernel parameter is empty again", empty_parameter);
    tests.run("rules are about a configuration's packets only", || bench.marked());
    tests.run("rules of two configurations at once", || bench.two_at_once());
    tests.run("rules about packets that come in", || bench.incoming());
    tests.run("a bad rule is told, and nothing is left", || bench.bad_rule());
    tests.run("somebody else's table of our name is left alone", table_of_others);
    tests.run("a table that vanished is told", vanished_table);
    tests.run("routes with ECN are for a configuration only", || bench.route_ecn());
    tests.run("every metric of a route", || bench.every_metric());
    tests.run("a latched parameter is read once for a connection", || bench.latched());
    tests.run("a main table with everything in it", || bench.many_routes());
    tests.run("a mark in use is refused", mark_in_use);
    tests.run("a route that the kernel refuses leaves nothing", bad_route);
    tests.run("the option mark", mark_of_socket);
    tests.run("commands are undone, whatever comes after", commands::commands);
    tests.run("a refusal to forget is told", refused_to_forget);
}

/// What a program says; empty if it fails (a routing table that does not exist).
fn said(words: &str) -> String {
    let mut words = words.split(' ');
    let mut command = Command::new(words.next().unwrap());
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = command.args(words).env("PATH", path).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn done(words: &str) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut parts = words.split(' ');
    let mut command = Command::new(parts.next().unwrap());
    let status = command.args(parts).env("PATH", path).status().unwrap();
    assert!(status.success(), "{words}: {status}");
}

fn nft(rules: &str) {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("nft");
    let mut child =
        command.args(["-f", "-"]).env("PATH", path).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{rules}");
}

/// All that steps may touch.
fn state() -> String {
    let mut text = said("nft list ruleset");
    for family in ["-4", "-6"] {
        text += &said(&format!("ip {family} rule"));
        text += &said(&format!("ip {family} route show table all"));
    }
    text + &parameter(ECN) + &parameter("net.ipv4.ip_local_reserved_ports")
}

fn parameter(name: &str) -> String {
    fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).unwrap()
}

fn flows(number: usize) -> Flows {
    Flows { mark: step::mark(number) }
}

fn context() -> Context {
    Context { allow_commands: true, ..Context::default() }
}

/// Configuration one, alone in force.
fn apply(steps: &[Step]) -> Result<Applied, Error> {
    Applied::apply(&[(steps, &flows(1))], &context())
}

fn rule(rule: &str, hook: Hook) -> Step {
    Step::Netfilter(Netfilter { rule: rule.into(), hook })
}

fn sysctl(name: &str, value: &str) -> Step {
    Step::sysctl(name, value)
}

fn command(run: &str, undo: &str) -> Step {
    let sh = |script: &str| ["sh", "-c", script].map(str::to_owned).to_vec();
    let undo = if undo.is_empty() { Vec::new() } else { sh(undo) };
    Step::Command(step::Command { run: sh(run), undo, timeout: Duration::from_secs(30) })
}

/// What a SYN had on it when it left this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Syn {
    dscp: u8,
    ttl: u8,
    ecn_setup: bool,
    mss: u16,
}

struct Bench {
    plain: Vec<SocketAddr>,
    silent: SocketAddr,
    interface: String,
}

impl Bench {
    fn new(lab: &Lab) -> Self {
        let targets = lab.targets().iter();
        let plain = targets.filter(|target| lab.hosts()[target.host].name == "plain");
        let plain = plain.map(|target| SocketAddr::from((target.addr, target.port))).collect();
        let mut targets = lab.targets().iter();
        let silent = targets.find(|target| lab.hosts()[target.host].name == "silent").unwrap();
        let silent = SocketAddr::from((silent.addr, silent.port));
        Self { plain, silent, interface: lab.interface().to_owned() }
    }

    /// A target of each family.
    fn both(&self) -> [SocketAddr; 2] {
        let first = |v4| *self.plain.iter().find(|target| target.is_ipv4() == v4).unwrap();
        [first(true), first(false)]
    }

    /// Connects with a mark, from some port; the SYN that went out, and whether there was a
    /// connection.
    fn connect(&self, to: SocketAddr, mark: u32, port: u16) -> (Syn, bool) {
        // ETH_P_ALL, in network byte order.
        let all = Protocol::from(i32::from(3_u16.to_be()));
        let watch = Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap();
        watch.set_nonblocking(true).unwrap();
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_linger(Some(Duration::ZERO)).unwrap();
        socket.set_mark(mark).unwrap();
        let from: IpAddr = if to.is_ipv4() { [0, 0, 0, 0].into() } else { [0_u16; 8].into() };
        socket.bind(&SocketAddr::new(from, port).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        let connected = socket.connect_timeout(&to.into(), Duration::from_secs(1)).is_ok();
        let mut frame = [0; 2048];
        loop {
            let length = (&watch).read(&mut frame).expect("no SYN was seen");
            if let Some(syn) = syn(&frame[..length], port) {
                return (syn, connected);
            }
        }
    }

    fn syn(&self, to: SocketAddr, mark: u32) -> Syn {
        self.connect(to, mark, 0).0
    }

    fn marked(&self) {
        nft(USERS_RULES);
        let before = said("nft list ruleset");
        let rules = [rule("dscp set 46", Hook::Output), rule("ttl set 33", Hook::Postrouting)];
        let applied = apply(&rules).unwrap();
        for target in self.both() {
            let marked = self.syn(target, step::mark(1));
            assert_eq!((marked.dscp, marked.ttl), (46, 33), "{target}");
            let others = self.syn(target, 0);
            assert_eq!((others.dscp, others.ttl), (0, 64), "{target}");
            let users = self.syn(target, 7);
            assert_eq!(users.dscp, if target.is_ipv4() { 46 } else { 0 }, "{target}");
        }
        let during = said("nft list ruleset");
        let ours =
            during.strip_prefix(&before).expect("the user's own rules come first, as before");
        assert!(ours.starts_with("table inet pathspider {"), "{ours}");
        assert_eq!(ours.matches("\ntable ").count(), 0, "{ours}");
        applied.undo().unwrap();
        assert_eq!(said("nft list ruleset"), before);
        nft("flush ruleset");
    }

    fn two_at_once(&self) {
        let zero = [rule("ip dscp set 10", Hook::Output), rule("ip6 dscp set 10", Hook::Output)];
        let one = [
            rule("tcp option maxseg size set 777", Hook::Output),
            rule("meta mark set 0x9", Hook::Output),
            rule("dscp set 12", Hook::Output),
        ];
        let (f0, f1) = (flows(0), flows(1));
        let applied = Applied::apply(&[(&zero, &f0), (&one, &f1)], &context()).unwrap();
        for target in self.both() {
            let [zero, one, none] = [f0.mark, f1.mark, 0].map(|mark| self.syn(target, mark));
            assert_eq!([zero.dscp, one.dscp, none.dscp], [10, 12, 0], "{target}");
            assert_eq!(one.mss, 777);
            assert!(zero.mss == none.mss && zero.mss > 1000, "{zero:?} {none:?}");
        }
        applied.undo().unwrap();
    }

    fn incoming(&self) {
        for (hook, offset) in [(Hook::Prerouting, 0), (Hook::Input, 10)] {
            let one = [rule("tcp flags & (syn|ack) == (syn|ack) drop", hook)];
            let (f0, f1) = (flows(0), flows(1));
            let applied = Applied::apply(&[(&[], &f0), (&one, &f1)], &context()).unwrap();
            // A port is of the configuration that used it last. No port is used again for a target whose server may
            // still wait for the end of a handshake.
            let [v4, v6] = self.both();
            for (target, port, mark, expected) in [
                (v4, 20_000, f1.mark, false),
                (v6, 20_000, f0.mark, true),
                (v4, 20_001, f0.mark, true),
                (v4, 20_001, f1.mark, false),
                (v6, 20_002, f1.mark, false),
                (v4, 20_002, f0.mark, true),
                (v6, 20_003, 0, true),
            ] {
                let port = port + offset;
                let (_, connected) = self.connect(target, mark, port);
                assert_eq!(connected, expected, "{hook:?} {target} from {port}, {mark:#x}");
            }
            drop(applied);
        }
    }

    fn bad_rule(&self) {
        for (bad, nfts) in [
            ("ip dscp set 99", "range"),
            ("dscp sett 9", "syntax error"),
            ("ip dscp set 1 ip6 dscp set 2", "conflicting"),
            ("jump nowhere", "No such file"),
        ] {
            let steps = [
                sysctl(ECN, "0"),
                rule("counter", Hook::Output),
                rule(bad, Hook::Output),
                rule("counter", Hook::Output),
            ];
            let error = apply(&steps).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("put the nftables rule `{bad}` in force: ")),
                "{error}"
            );
            assert!(error.contains(nfts) && !error.contains('\n'), "{error}");
        }
        assert!(self.syn(self.plain[0], step::mark(1)).mss > 0);
    }

    fn route_ecn(&self) {
        assert_eq!(parameter("net.ipv4.tcp_ecn"), "2\n");
        let before = said("ip route show table main") + &said("ip -6 route show table main");
        let ecn = [Step::Route(Route { features: vec!["ecn"], ..Route::default() })];
        for interface in [None, Some(self.interface.clone())] {
            let context = Context { interface, ..context() };
            let applied = Applied::apply(&[(&ecn, &flows(1))], &context).unwrap();
            for target in self.both() {
                assert!(self.syn(target, step::mark(1)).ecn_setup, "{target}");
                assert!(!self.syn(target, step::mark(0)).ecn_setup, "{target}");
                assert!(!self.syn(target, 0).ecn_setup, "{target}");
            }
            let now = said("ip route show table main") + &said("ip -6 route show table main");
            assert_eq!(now, before);
            applied.undo().unwrap();
            assert!(!self.syn(self.plain[0], step::mark(1)).ecn_setup);
        }
        let interface = Some("no-such0".to_owned());
        let error = Applied::apply(&[(&ecn, &flows(1))], &Context { interface, ..context() });
        assert!(error.unwrap_err().to_string().contains("no routes of no-such0"));
    }

    fn every_metric(&self) {
        let route = Route {
            features: vec!["ecn"],
            advmss: Some(1111),
            initcwnd: Some(3),
            mtu: Some(1400),
            mtu_lock: true,
            hoplimit: Some(77),
            congctl: Some("reno".into()),
            quickack: Some(true),
            fastopen_no_cookie: Some(true),
        };
        // Both configurations at once, each by its own table.
        let other = [Step::Route(Route { advmss: Some(999), ..Route::default() })];
        let one = [Step::Route(route)];
        let applied =
            Applied::apply(&[(&one, &flows(1)), (&other, &flows(2))], &context()).unwrap();
        for target in self.both() {
            let syn = self.syn(target, step::mark(1));
            assert_eq!(syn, Syn { dscp: 0, ttl: 77, ecn_setup: true, mss: 1111 }, "{target}");
            let syn = self.syn(target, step::mark(2));
            assert_eq!(syn, Syn { dscp: 0, ttl: 64, ecn_setup: false, mss: 999 }, "{target}");
        }
        for family in ["-4", "-6"] {
            let table = said(&format!("ip {family} route show table {}", step::mark(1)));
            for metric in [
                "features ecn",
                "advmss 1111",
                "initcwnd 3",
                "mtu lock 1400",
                "hoplimit 77",
                "congctl reno",
                "quickack 1",
                "fastopen_no_cookie 1",
            ] {
                assert!(table.lines().all(|line| line.contains(metric)), "{metric}: {table}");
            }
        }
        applied.undo().unwrap();
    }

    /// The flags and options of a SYN and of its retransmission, between which a parameter changes.
    fn syn_and_again(&self, name: &str, [first, then]: [&str; 2]) -> [(bool, Vec<u8>); 2] {
        let before = parameter(name);
        let set = |value: &str| {
            fs::write(format!("/proc/sys/{}", name.replace('.', "/")), value).unwrap();
        };
        let all = Protocol::from(i32::from(3_u16.to_be()));
        let watch = Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap();
        watch.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let domain = Domain::for_address(self.silent);
        let socket = Socket::new(domain, Type::STREAM.nonblocking(), None).unwrap();
        set(first);
        socket.connect(&self.silent.into()).unwrap_err();
        let port = socket.local_addr().unwrap().as_socket().unwrap().port();
        set(then);
        let mut frame = [0; 2048];
        let seen = [(); 2].map(|()| {
            loop {
                let length = (&watch).read(&mut frame).expect("no SYN was seen");
                let packet = etherparse::SlicedPacket::from_ethernet(&frame[..length]);
                let Some(etherparse::TransportSlice::Tcp(tcp)) = packet.unwrap().transport else {
                    continue;
                };
                if tcp.source_port() == port && tcp.syn() {
                    let kinds = tcp.options_iterator().filter_map(Result::ok);
                    let kinds = kinds.map(|option| match option {
                        etherparse::TcpOptionElement::Timestamp(..) => 8,
                        _ => 0,
                    });
                    break (tcp.ece() && tcp.cwr(), kinds.collect());
                }
            }
        });
        set(before.trim());
        seen
    }

    fn latched(&self) {
        assert_eq!(step::LATCHED_SYSCTLS, ["net.ipv4.tcp_ecn"], "a new row needs a case here");
        let fallback = "/proc/sys/net/ipv4/tcp_ecn_fallback";
        fs::write(fallback, "0").unwrap();
        for (values, asks) in [(["1", "2"], true), (["2", "1"], false), (["0", "1"], false)] {
            let [first, again] = self.syn_and_again("net.ipv4.tcp_ecn", values);
            assert_eq!((first.0, again.0), (asks, asks), "{values:?}");
        }
        fs::write(fallback, "1").unwrap();
        // The same test finds one that is not latched.
        let [first, again] = self.syn_and_again("net.ipv4.tcp_timestamps", ["1", "0"]);
        assert!(first.1.contains(&8) && !again.1.contains(&8), "{first:?} {again:?}");
    }

    fn many_routes(&self) {
        let device = &self.interface;
        done("ip link add va type veth peer name vb");
        done("ip link set va up");
        done("ip link add vc type veth peer name vd");
        done("ip link set vd up");
        done("ip link set vc up");
        done("ip addr add 10.77.0.1/24 dev vc");
        done("ip nexthop add id 5 via 10.77.0.9 dev vc");
        for route in [
            "10.1.0.0/16 via 10.77.0.2 mtu lock 1400 rto_min 7ms congctl lock reno features ecn".to_owned(),
            "10.2.0.0/16 via 10.77.0.2 metric 9 src 10.77.0.1".to_owned(),
            "10.3.0.0/16 tos 0x10 nexthop via 10.77.0.2 weight 3 nexthop via 10.88.0.3 dev vc onlink"
                .into(),
            "10.4.0.0/16 via inet6 fe80::5 dev vc".into(),
            "unreachable 10.5.0.0/16".into(),
            "blackhole 10.6.0.0/16 metric 7".into(),
            "10.7.0.0/16 nhid 5".into(),
            format!("2001:db8:77::/48 via fe80::1 dev {device} pref high mtu 1300 expires 300"),
            "2001:db8:78::/48 nexthop via fe80::1 dev vc nexthop via fe80::2 dev vc".into(),
            "prohibit 2001:db8:79::/48".into(),
        ] {
            done(&format!("ip route add {route}"));
        }
        let before = state();
        let metrics = Route { advmss: Some(1234), ..Route::default() };
        let applied = apply(&[Step::Route(metrics)]).unwrap();
        for family in ["-4", "-6"] {
            let plain = |text: String, strip: &[&str]| {
                let mut routes: Vec<String> = text
                    .split('\n')
                    .map(|line| {
                        let mut line = line.to_owned();
                        for word in strip {
                            line = line.replace(word, " ");
                        }
                        line.split_whitespace().collect::<Vec<_>>().join(" ")
                    })
                    .collect();
                routes.sort();
                routes
            };
            let main = said(&format!("ip {family} -oneline route show table main"));
            let main = main.replace("expires 300sec", "").replace("expires 299sec", "");
            let ours = said(&format!("ip {family} -oneline route show table {}", step::mark(1)));
            let routes = |text: &str| text.lines().filter(|line| !line.contains("dead")).count();
            assert!(ours.lines().all(|line| line.contains("advmss 1234")), "{ours}");
            assert_eq!(routes(&main), routes(&ours), "{main}\n{ours}");
            let main = plain(main, &["proto kernel", "linkdown", "nhid 5"]);
            let ours = plain(ours, &["advmss 1234", "linkdown"]);
            assert_eq!(main, ours);
        }
        applied.undo().unwrap();
        // But for the time that passes.
        assert_eq!(
            before.split_once("expires").unwrap().0,
            state().split_once("expires").unwrap().0
        );
        done("ip link del va");
        done("ip link del vc");
        for route in ["10.5.0.0/16", "10.6.0.0/16", "2001:db8:77::/48", "2001:db8:79::/48"] {
            done(&format!("ip route del {route}"));
        }
    }
}

/// The SYN in a frame of Ethernet, if it is one from this port.
fn syn(frame: &[u8], port: u16) -> Option<Syn> {
    let packet = etherparse::SlicedPacket::from_ethernet(frame).ok()?;
    let Some(etherparse::TransportSlice::Tcp(tcp)) = packet.transport else { return None };
    if tcp.source_port() != port || !tcp.syn() || tcp.ack() {
        return None;
    }
    let (class, ttl) = match packet.net? {
        etherparse::NetSlice::Ipv4(ip) => (ip.header().slice()[1], ip.header().ttl()),
        etherparse::NetSlice::Ipv6(ip) => (ip.header().traffic_class(), ip.header().hop_limit()),
        _ => return None,
    };
    let mss = tcp.options_iterator().find_map(|option| match option {
        Ok(etherparse::TcpOptionElement::MaximumSegmentSize(mss)) => Some(mss),
        _ => None,
    })?;
    Some(Syn { dscp: class >> 2, ttl, ecn_setup: tcp.ece() && tcp.cwr(), mss })
}

fn empty_parameter() {
    let name = "net.ipv4.ip_local_reserved_ports";
    let applied = apply(&[sysctl(name, "30000-30010")]).unwrap();
    assert_eq!(parameter(name), "30000-30010\n");
    applied.undo().unwrap();
    assert_eq!(parameter(name), "\n");
}

fn table_of_others() {
    nft("table inet pathspider {\n chain mine {\n counter\n }\n}\n");
    let before = said("nft list ruleset");
    let steps = [sysctl(ECN, "0"), rule("counter", Hook::Output)];
    let error = apply(&steps).unwrap_err().to_string();
    assert!(error.contains("remove it: nft delete table inet pathspider"), "{error}");
    assert_eq!(said("nft list ruleset"), before);
    done("nft delete table inet pathspider");
}

fn vanished_table() {
    let applied = apply(&[sysctl(ECN, "0"), rule("counter", Hook::Output)]).unwrap();
    nft("flush ruleset");
    let error = applied.undo().unwrap_err().to_string();
    assert!(error.contains("another program removed it"), "{error}");
}

fn mark_in_use() {
    let mark = step::mark(1);
    let steps = [Step::Route(Route { advmss: Some(1000), ..Route::default() })];
    for (add, remove) in [
        (format!("rule add fwmark {mark:#x} lookup main"), format!("rule del fwmark {mark:#x}")),
        (
            format!("-6 route add unreachable default table {mark}"),
            format!("-6 route flush table {mark}"),
        ),
    ] {
        done(&format!("ip {add}"));
        let before = state();
        let error = apply(&steps).unwrap_err().to_string();
        assert!(error.contains("in use") && error.contains("rule del fwmark"), "{error}");
        assert_eq!(state(), before);
        done(&format!("ip {remove}"));
    }
}

fn bad_route() {
    let bad = Route { congctl: Some("no_such".into()), ..Route::default() };
    let steps = [sysctl(ECN, "0"), rule("counter", Hook::Output), Step::Route(bad)];
    let error = apply(&steps).unwrap_err().to_string();
    assert!(error.starts_with("add the route to "), "{error}");
    assert!(error.contains(" with congctl no_such: "), "{error}");
}

fn mark_of_socket() {
    let row = SOCKOPTS.iter().find(|row| row.name == "mark").unwrap();
    for mark in [7, u32::MAX] {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let option = Sockopt::Named(row, Value::Integer(mark.into()));
        option.set(socket.as_fd(), Family::V4).unwrap();
        assert_eq!(socket.mark().unwrap(), mark);
    }
}

/// In a user namespace the kernel does not let anybody.
fn refused_to_forget() {
    let error = metrics::forget(&["192.0.2.99".parse().unwrap()]).unwrap_err().to_string();
    assert!(error.contains("not permitted") && error.contains("user namespace"), "{error}");
}

fn forget() {
    let addresses =
        ["127.0.0.2", "127.0.0.3", "2001:db8::5"].map(|ip| ip.parse::<IpAddr>().unwrap());
    let [forgotten, kept, forgotten_v6] = addresses;
    let known = |ip: IpAddr| {
        let start = format!("{ip} ");
        said("ip tcp_metrics show").lines().any(|line| line.starts_with(&start))
    };
    for ip in addresses {
        // The kernel remembers connections that were acknowledged something and ended in order.
        let listener = std::net::TcpListener::bind((ip, 0)).unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"ping").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        server.read_to_end(&mut Vec::new()).unwrap();
        drop(server);
        client.read_to_end(&mut Vec::new()).unwrap();
    }
    assert!(addresses.into_iter().all(known), "{}", said("ip tcp_metrics show"));
    let some = [forgotten, forgotten_v6, "192.0.2.99".parse().unwrap(), forgotten];
    // The second time nothing is left to forget.
    for _ in 0..2 {
        metrics::forget(&some).unwrap();
        assert_eq!(addresses.map(known), [false, true, false], "{}", said("ip tcp_metrics show"));
    }
    metrics::forget(&[]).unwrap();
    assert!(known(kept));
}
