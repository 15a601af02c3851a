//! Builds a lab: namespaces, devices, addresses, routes, rules, servers.
//!
//! Addresses cost nothing: each host is one prefix, which is routed as a whole, and local as a whole at its server.
//! There is no neighbour discovery and no duplicate address detection, so the first packet of a run is neither
//! delayed nor lost.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::{Doing, Error, Result};
use crate::lab::namespace::{self, Namespace, set_sysctl};
use crate::lab::prober::Situation;
use crate::lab::site::{Site, TOWARDS_PROBER};
use crate::lab::spec::{HostSpec, Play, ServerSpec, Spec};
use crate::lab::wire::{Kind, Wire};
use crate::lab::worker::Stop;
use crate::lab::{INTERFACE, Lab, net, relay, resolver, responder, server, targets};

/// The addresses of the lab's links (RFC 5737 and RFC 3849); `.1` is the prober's.
const LINK_V4: &str = "192.0.2";
const LINK_V6: &str = "2001:db8:0:";
const ROUTER: u8 = 254;
/// Maximum number of kinds of server besides prober and router.
const MOST_NODES: usize = 250;

/// A node behind the router: all hosts with the same server and the same delay.
struct Node<'a> {
    number: u8,
    server: &'a ServerSpec,
    delay: Duration,
    hosts: Vec<&'a HostSpec>,
}

impl Node<'_> {
    /// Its own addresses, which the lab uses to find out that it is reachable.
    fn own(&self) -> [IpAddr; 2] {
        [
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, self.number)),
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(self.number))),
        ]
    }

    /// The prefixes of its hosts, and its own addresses.
    fn prefixes(&self) -> Vec<String> {
        self.paths().into_iter().map(|(prefix, _)| prefix).collect()
    }

    /// The same, each with the MTU of the path to it.
    fn paths(&self) -> Vec<(String, Option<u32>)> {
        let of = |host: &&HostSpec| [host.prefix_v4(), host.prefix_v6()].map(|at| (at, host.mtu));
        let own = self.own().map(|address| (address.to_string(), None));
        self.hosts.iter().flat_map(of).chain(own).collect()
    }
}

/// Builds a lab; a situation of the prober comes with the source ports of its runs.
pub(crate) fn build(
    spec: &Spec,
    situation: Option<(&'static Situation, RangeInclusive<u16>)>,
) -> Result<Lab> {
    if !namespace::entered() {
        return Err(Error::failed("build the lab", "the process is not inside a user namespace"));
    }
    raise_descriptor_limit();
    let nodes = nodes(spec)?;
    let kind = Kind::available();
    let identity = server::Identity::new()?;
    let mut stop = Stop::default();
    let namespaces = Vec::new();

    let prober = Namespace::current("prober")?;
    prober.run(quiet)?;
    let router = Namespace::create("router")?;
    router.run(|| {
        quiet()?;
        forward()?;
        // First, since mistakes of a lab's author are most likely here.
        net::nft(&ruleset(spec))
    })?;
    if if_nametoindex(INTERFACE).is_ok() {
        // The interface of an earlier lab of this process, whose namespaces the kernel has not removed yet; it may do
        // so at this very moment.
        let deleted = prober.run(|| net::ip_batch(&format!("link delete {INTERFACE}\n")));
        if if_nametoindex(INTERFACE).is_ok() {
            deleted?;
        }
    }
    link(&router, TOWARDS_PROBER, &prober, INTERFACE, 1)?;
    prober.run(|| uplink(INTERFACE, 1))?;
    let names = prober.run(|| resolver::start(spec, &mut stop))?;
    stop.joins(names);

    let mut parts = Parts { kind, identity, stop, namespaces, wires: 0 };
    nodes.iter().try_for_each(|node| parts.add(&router, node))?;
    let Parts { mut stop, mut namespaces, wires, .. } = parts;
    reach(&nodes)?;
    let (situation, ports) = situation.unzip();
    if let (Some(situation), Some(ports)) = (situation, ports) {
        // Last: it must disturb the measurement, not the construction.
        situation.set_up(&mut Site {
            prober: &prober,
            router: &router,
            spec,
            ports,
            stop: &mut stop,
            namespaces: &mut namespaces,
        })?;
    }
    namespaces.push(router);

    let targets = targets(spec);
    let description = format!(
        "{} addresses of {} kinds of host, {} namespaces, {}{}",
        targets.len(),
        spec.hosts.len(),
        namespaces.len() + 1,
        if wires > 0 { format!("{wires} wires: {}", kind.describe()) } else { "no wires".into() },
        situation.map_or_else(String::new, |situation| format!("; the prober: {}", situation.name)),
    );
    let hosts = match situation {
        Some(situation) => situation.truths(spec).hosts.iter().map(HostSpec::host).collect(),
        None => spec.hosts.iter().map(HostSpec::host).collect(),
    };
    Ok(Lab { hosts, targets, description, situation, _stop: stop, _namespaces: namespaces })
}

/// What a lab is made of, so far.
struct Parts {
    kind: Kind,
    identity: server::Identity,
    stop: Stop,
    namespaces: Vec<Namespace>,
    /// Number of wires.
    wires: usize,
}

impl Parts {
    /// Builds the hosts of a node behind the router.
    fn add(&mut self, router: &Namespace, node: &Node<'_>) -> Result<()> {
        let device = format!("to{}", node.number);
        if let Some(script) = &node.server.responder {
            let wire = Wire::open(self.kind, router, &device, node.number)?;
            let thread = responder::start(router, wire, script.clone(), &mut self.stop)?;
            self.stop.joins(thread);
            self.wires += 1;
        } else {
            let home = Namespace::create(&format!("server {}", node.number))?;
            home.run(|| {
                quiet()?;
                serve(node.server)
            })?;
            let straight = format!("from{}", node.number);
            let back = if node.delay.is_zero() { &device } else { &straight };
            link(router, back, &home, "eth0", node.number)?;
            home.run(|| {
                uplink("eth0", node.number)?;
                let mut lines = String::new();
                for prefix in node.prefixes() {
                    writeln!(lines, "route replace local {prefix} dev lo").ok();
                }
                net::ip_batch(&lines)
            })?;
            if !node.delay.is_zero() {
                let from = Wire::open(self.kind, router, &device, node.number)?;
                let to = Wire::open(self.kind, &home, "slow", node.number)?;
                let thread = relay::start(&home, from, to, node.delay, node.own(), &mut self.stop)?;
                self.stop.joins(thread);
                self.wires += 2;
            }
            if node.server.plays != Play::Nothing {
                let thread = server::start(&home, node.server, &self.identity, &mut self.stop)?;
                self.stop.joins(thread);
            }
            self.namespaces.push(home);
        }
        let routed = node.paths();
        router.run(|| routes(&device, node.number, &routed))
    }
}

/// Hosts that can share a namespace.
fn nodes(spec: &Spec) -> Result<Vec<Node<'_>>> {
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for host in &spec.hosts {
        let delay = Duration::from_millis(host.delay_ms);
        match nodes.iter_mut().find(|node| *node.server == host.server && node.delay == delay) {
            Some(node) => node.hosts.push(host),
            None => {
                if nodes.len() == MOST_NODES {
                    return Err(Error::Usage(format!(
                        "a lab has at most {MOST_NODES} different kinds of server"
                    )));
                }
                // 1 is the prober's.
                let number = nodes.len() as u8 + 2;
                nodes.push(Node { number, server: &host.server, delay, hosts: vec![host] });
            }
        }
    }
    Ok(nodes)
}

/// The servers need a descriptor per open connection.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        log::debug!("lab: raise the limit of open files: {error}");
    }
}

/// A namespace that sends nothing on its own, and drops nothing because of its source.
fn quiet() -> Result<()> {
    for scope in ["all", "default"] {
        set_sysctl(&format!("net.ipv4.conf.{scope}.rp_filter"), "0")?;
        set_sysctl(&format!("net.ipv6.conf.{scope}.disable_ipv6"), "0")?;
        set_sysctl(&format!("net.ipv6.conf.{scope}.accept_dad"), "0")?;
        set_sysctl(&format!("net.ipv6.conf.{scope}.accept_ra"), "0")?;
        set_sysctl(&format!("net.ipv6.conf.{scope}.router_solicitations"), "0")?;
        // No link-local addresses: they are not needed here.
        set_sysctl(&format!("net.ipv6.conf.{scope}.addr_gen_mode"), "1")?;
    }
    Ok(())
}

/// A router that answers every packet that it rejects.
fn forward() -> Result<()> {
    set_sysctl("net.ipv4.ip_forward", "1")?;
    set_sysctl("net.ipv6.conf.all.forwarding", "1")?;
    set_sysctl("net.ipv4.icmp_ratelimit", "0")?;
    set_sysctl("net.ipv6.icmp.ratelimit", "0")?;
    // Per namespace only in newer kernels; older ones keep their global limit.
    for (name, value) in [
        ("net.ipv4.icmp_ratemask", "0"),
        ("net.ipv4.icmp_msgs_per_sec", "1000000000"),
        ("net.ipv4.icmp_msgs_burst", "1000000000"),
        // Limits no error, only a type that never is one; a mask cannot be empty.
        ("net.ipv6.icmp.ratemask", "128"),
    ] {
        if let Err(error) = set_sysctl(name, value) {
            log::debug!("lab: {error}");
        }
    }
    Ok(())
}

/// A server with its kernel's defaults where they matter to a measurement, and room for many concurrent connections.
fn serve(server: &ServerSpec) -> Result<()> {
    for (name, value) in [
        ("net.ipv4.tcp_ecn", "2"),
        // For incoming as well as outgoing connections.
        ("net.ipv4.tcp_fastopen", "3"),
        ("net.core.somaxconn", "65535"),
        ("net.ipv4.tcp_max_syn_backlog", "65535"),
        // A SYN cookie loses the options of the SYN.
        ("net.ipv4.tcp_syncookies", "0"),
        // Connections must not learn from earlier ones.
        ("net.ipv4.tcp_no_metrics_save", "1"),
    ] {
        set_sysctl(name, value)?;
    }
    for (name, value) in &server.sysctl {
        let value = value.to_string();
        set_sysctl(name, &value)?;
        let path = namespace::sysctl_path(name);
        let got = std::fs::read_to_string(path).doing(|| format!("read sysctl {name}"))?;
        if got.split_whitespace().ne(value.split_whitespace()) {
            return Err(Error::failed(
                format!("set sysctl {name} to {value} in the lab"),
                format!("it is {} afterwards", got.trim()),
            ));
        }
    }
    Ok(())
}

/// Connects the router to another namespace with a veth pair; each end knows the other's hardware address beforehand.
fn link(router: &Namespace, near: &str, other: &Namespace, far: &str, number: u8) -> Result<()> {
    router.run(|| {
        net::ip_batch(&format!(
            "link add {near} address 02:00:00:00:{number:02x}:01 type veth \
                peer name {far} address 02:00:00:00:{number:02x}:02 netns {}\n\
             link set {near} up\n\
             address add {LINK_V4}.{ROUTER}/32 dev {near}\n\
             address add {LINK_V6}:{ROUTER:x}/128 dev {near} nodad\n\
             neighbour replace {LINK_V4}.{number} lladdr 02:00:00:00:{number:02x}:02 \
                dev {near} nud permanent\n\
             neighbour replace fe80::2 lladdr 02:00:00:00:{number:02x}:02 \
                dev {near} nud permanent\n",
            other.path()
        ))?;
        if number == 1 {
            // The prober is not a node, so it needs its own route.
            let own = [format!("{LINK_V4}.1"), format!("{LINK_V6}:1")].map(|own| (own, None));
            routes(near, number, &own)?;
        }
        Ok(())
    })
}

/// The other end of [`link`]: its address, and a default route to the router.
fn uplink(device: &str, number: u8) -> Result<()> {
    net::ip_batch(&format!(
        "link set {device} up\n\
         address add {LINK_V4}.{number}/32 dev {device}\n\
         address add {LINK_V6}:{number:x}/128 dev {device} nodad\n\
         neighbour replace {LINK_V4}.{ROUTER} lladdr 02:00:00:00:{number:02x}:01 \
            dev {device} nud permanent\n\
         neighbour replace fe80::1 lladdr 02:00:00:00:{number:02x}:01 \
            dev {device} nud permanent\n\
         route add default via {LINK_V4}.{ROUTER} dev {device} onlink src {LINK_V4}.{number}\n\
         route add ::/0 via fe80::1 dev {device} onlink src {LINK_V6}:{number:x}\n"
    ))
}

/// The router's routes to the prefixes of a node, each with the MTU of its path.
fn routes(device: &str, number: u8, prefixes: &[(String, Option<u32>)]) -> Result<()> {
    let mut lines = String::new();
    for (prefix, mtu) in prefixes {
        let (via, src) = if prefix.contains(':') {
            ("fe80::2".to_owned(), format!("{LINK_V6}:{ROUTER:x}"))
        } else {
            (format!("{LINK_V4}.{number}"), format!("{LINK_V4}.{ROUTER}"))
        };
        // Locked: forwarded packets must obey it as well.
        let mtu = mtu.map_or_else(String::new, |mtu| format!(" mtu lock {mtu}"));
        writeln!(lines, "route add {prefix} via {via} dev {device} onlink src {src}{mtu}").ok();
    }
    net::ip_batch(&lines)
}

/// The faults of all paths: one chain per host, family and direction, looked up by prefix.
fn ruleset(spec: &Spec) -> String {
    let mut chains = String::new();
    let mut entries: [Vec<String>; 4] = Default::default();
    for host in &spec.hosts {
        for (slot, rules, v6, direction) in [
            (0, &host.path, false, "out"),
            (1, &host.path, true, "out"),
            (2, &host.path_back, false, "back"),
            (3, &host.path_back, true, "back"),
        ] {
            let rules: Vec<&str> =
                rules.iter().map(String::as_str).filter(|rule| applies(rule, v6)).collect();
            if rules.is_empty() {
                continue;
            }
            let chain =
                format!("{direction}{}_{}", if v6 { 6 } else { 4 }, host.name.replace('-', "_"));
            let prefix = if v6 { host.prefix_v6() } else { host.prefix_v4() };
            entries[slot].push(format!("{prefix} : jump {chain}"));
            writeln!(chains, "chain {chain} {{\n{}\n}}", rules.join("\n")).ok();
        }
    }
    let mut maps = String::new();
    let mut lookups = String::new();
    for (entries, name, family, of) in [
        (&entries[0], "out4", "ipv4_addr", "ip daddr"),
        (&entries[1], "out6", "ipv6_addr", "ip6 daddr"),
        (&entries[2], "back4", "ipv4_addr", "ip saddr"),
        (&entries[3], "back6", "ipv6_addr", "ip6 saddr"),
    ] {
        if entries.is_empty() {
            continue;
        }
        let elements = entries.join(",\n");
        writeln!(
            maps,
            "map {name} {{\ntype {family} : verdict\nflags interval\nelements = {{\n{elements}\n}}\n}}"
        )
        .ok();
        writeln!(lookups, "{of} vmap @{name}").ok();
    }
    let silent = spec.hosts.iter().filter(|host| !host.icmp).map(withheld).collect::<String>();
    format!(
        "table inet lab {{\n{chains}{maps}chain forward {{\n\
         type filter hook forward priority filter; policy accept;\n{lookups}}}\nchain output {{\n\
         type filter hook output priority filter; policy accept;\n{silent}}}\n}}\n"
    )
}

/// Rules that drop the router's errors about packets to a host: those that quote a packet to its prefix. The quoted
/// destination begins 24 octets after the ICMP header's start over IPv4, and 32 after it over IPv6.
fn withheld(host: &HostSpec) -> String {
    let (v4, v6) = (host.address_v4(0).to_bits(), host.address_v6(0).to_bits());
    let bits = host.block().ilog2();
    let (length_v4, length_v6) = (u32::BITS - bits, u128::BITS - bits);
    format!(
        "icmp type {{ destination-unreachable, time-exceeded }} @th,192,{length_v4} {:#x} drop\n\
         icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded }} @th,256,{length_v6} {:#x} drop\n",
        v4 >> bits,
        v6 >> bits,
    )
}

/// Whether a rule is for a family: a rule that mentions the other family's header is not.
fn applies(rule: &str, v6: bool) -> bool {
    let words: BTreeSet<&str> = rule.split_whitespace().collect();
    let only_v4 = words.contains("ip") || words.contains("icmp");
    let only_v6 = words.contains("ip6") || words.contains("icmpv6");
    if v6 { only_v6 || !only_v4 } else { only_v4 || !only_v6 }
}

/// Waits until each node answers the prober on its own addresses, at a port without a listener: devices come up in
/// the background, and the first target must not suffer from it.
fn reach(nodes: &[Node<'_>]) -> Result<()> {
    const DISCARD: u16 = 9;
    const PATIENCE: Duration = Duration::from_secs(10);
    let deadline = Instant::now() + PATIENCE;
    thread::scope(|scope| {
        let waiting: Vec<_> = nodes
            .iter()
            .flat_map(Node::own)
            .map(|address| {
                scope.spawn(move || {
                    let at = SocketAddr::from((address, DISCARD));
                    loop {
                        match TcpStream::connect_timeout(&at, Duration::from_millis(100)) {
                            Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                                return Ok(());
                            }
                            Err(e) if Instant::now() > deadline => {
                                return Err(Error::failed(
                                    format!("reach {address} in the lab"),
                                    e,
                                ));
                            }
                            _ => thread::yield_now(),
                        }
                    }
                })
            })
            .collect();
        waiting.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::failed("reach the lab", "panicked")))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_used_for_the_families_that_they_mention() {
        for (rule, v4, v6) in [
            ("drop", true, true),
            ("tcp flags syn ip ecn set ce", true, false),
            ("ip6 ecn set ce", false, true),
            ("reject with icmpx host-unreachable", true, true),
            ("reject with icmp host-unreachable", true, false),
        ] {
            assert_eq!((applies(rule, false), applies(rule, true)), (v4, v6), "{rule}");
        }
    }

    #[test]
    fn a_lab_without_faults_has_an_empty_chain() {
        let text = ruleset(&Spec::plain(4, 0).unwrap());
        assert!(text.contains("hook forward") && !text.contains("vmap"), "{text}");
        let text = ruleset(&Spec::plain(4, 4).unwrap());
        assert!(text.contains("198.18.0.32/28 : jump out4_silent"), "{text}");
    }
}
