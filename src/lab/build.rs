//! Builds a lab: namespaces, devices, addresses, routes, rules, servers.
//!
//! Addresses cost nothing: each host is one prefix, which is routed as a whole, and local as a whole at its server.
//! There is no neighbour discovery and no duplicate address detection, so the first packet of a run is neither
//! delayed nor lost.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::error::{Doing, Error, Result};
use crate::lab::chain::RouterSpec;
use crate::lab::namespace::{self, Namespace, set_sysctl};
use crate::lab::path::Path;
use crate::lab::prober::Situation;
use crate::lab::site::{Site, TOWARDS_PROBER};
use crate::lab::spec::{HostSpec, Play, ServerSpec, Spec};
use crate::lab::wire::{Kind, Wire};
use crate::lab::worker::Stop;
use crate::lab::{
    INTERFACE, Lab, net, relay, resolver, responder, router_addresses, rules, server, targets,
};

/// The addresses of the lab's links (RFC 5737 and RFC 3849); `.1` is the prober's.
const LINK_V4: &str = "192.0.2";
const LINK_V6: &str = "2001:db8:0:";
const ROUTER: u8 = 254;
/// Maximum number of kinds of server besides prober and routers.
const MOST_NODES: usize = 250;

/// The addresses of an end of a link.
#[derive(Clone)]
struct Own {
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl Own {
    /// Of a node, or of the prober.
    fn node(number: u8) -> Self {
        let v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number));
        Own { v4: Ipv4Addr::new(192, 0, 2, number), v6 }
    }

    /// Of a router; `None` is the first one.
    fn router(index: Option<usize>) -> Self {
        let (v4, v6) = router_addresses(index);
        Own { v4, v6 }
    }
}

/// A node behind a router: all hosts with the same server, the same delay and the same routers.
struct Node<'a> {
    number: u8,
    server: &'a ServerSpec,
    /// The last router before it.
    behind: Option<usize>,
    delay: Duration,
    hosts: Vec<&'a HostSpec>,
}

impl Node<'_> {
    /// Its own addresses, which the lab uses to find out that it is reachable.
    fn own(&self) -> [IpAddr; 2] {
        let Own { v4, v6 } = Own::node(self.number);
        [IpAddr::V4(v4), IpAddr::V6(v6)]
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
        net::nft(&rules::ruleset(spec, None))
    })?;
    if if_nametoindex(INTERFACE).is_ok() {
        // The interface of an earlier lab of this process, whose namespaces the kernel has not removed yet; it may do
        // so at this very moment.
        let deleted = prober.run(|| net::ip_batch(&format!("link delete {INTERFACE}\n")));
        if if_nametoindex(INTERFACE).is_ok() {
            deleted?;
        }
    }
    link(&router, None, TOWARDS_PROBER, &prober, INTERFACE, 1)?;
    prober.run(|| uplink(INTERFACE, 1, &Own::node(1)))?;
    let names = prober.run(|| resolver::start(spec, &mut stop))?;
    stop.joins(names);

    let routers = chain(spec, &router, &nodes)?;
    let mut parts = Parts { kind, identity, stop, namespaces, wires: 0 };
    let at = |behind: Option<usize>| {
        let own = behind.and_then(|index| routers.get(index)).and_then(Option::as_ref);
        own.unwrap_or(&router)
    };
    nodes.iter().try_for_each(|node| parts.add(spec, at(kernel(spec, node.behind)), node))?;
    let Parts { mut stop, mut namespaces, wires, .. } = parts;
    namespaces.extend(routers.into_iter().flatten());
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
    fn add(&mut self, spec: &Spec, router: &Namespace, node: &Node<'_>) -> Result<()> {
        let last = kernel(spec, node.behind);
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
            let on_wires = last != node.behind;
            if on_wires {
                self.path(spec, router, &home, node)?;
            } else {
                link(router, last, back, &home, "eth0", node.number)?;
            }
            home.run(|| {
                match on_wires {
                    true => on_wire("eth0", &Own::node(node.number))?,
                    false => uplink("eth0", node.number, &Own::node(node.number))?,
                }
                let mut lines = String::new();
                for prefix in node.prefixes() {
                    writeln!(lines, "route replace local {prefix} dev lo").ok();
                }
                net::ip_batch(&lines)
            })?;
            if !node.delay.is_zero() && !on_wires {
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
        router.run(|| routes(&device, node.number, last, &routed))
    }

    /// The routers in user space between a router and a server.
    fn path(
        &mut self,
        spec: &Spec,
        router: &Namespace,
        home: &Namespace,
        node: &Node<'_>,
    ) -> Result<()> {
        let near = Wire::open(self.kind, router, &format!("to{}", node.number), node.number)?;
        let far = Wire::open(self.kind, home, "eth0", node.number)?;
        let path = Path::new(spec, node.behind, &node.hosts);
        let blocks = node.hosts.iter().map(|host| host.block()).collect();
        let thread = path.start(home, near, far, blocks, &mut self.stop)?;
        self.stop.joins(thread);
        self.wires += 2;
        Ok(())
    }
}

/// Builds the routers beyond the first one, each linked to the one before it, with routes to what is behind it.
fn chain(spec: &Spec, first: &Namespace, nodes: &[Node<'_>]) -> Result<Vec<Option<Namespace>>> {
    let mut built: Vec<Option<Namespace>> = Vec::new();
    for (index, router) in spec.routers.iter().enumerate() {
        if router.wire {
            built.push(None);
            continue;
        }
        let home = Namespace::create(&format!("router {}", router.name))?;
        let number = (nodes.len() + index + 2) as u8;
        let before = router.behind.and_then(|index| built.get(index)?.as_ref()).unwrap_or(first);
        let own = Own::router(Some(index));
        home.run(|| {
            quiet()?;
            forward()?;
            limit(router)?;
            match rules::ruleset(spec, Some(index)) {
                none if none.is_empty() => Ok(()),
                rules => net::nft(&rules),
            }
        })?;
        let device = format!("to{number}");
        link(before, router.behind, &device, &home, "eth0", number)?;
        home.run(|| uplink("eth0", number, &own))?;
        // What is behind this router: its own addresses, later routers and nodes.
        let beyond = |at: Option<usize>| spec.chain(at).contains(&index);
        let mut paths = Vec::new();
        let kernels = (0..spec.routers.len()).filter(|later| !spec.routers[*later].wire);
        for later in kernels.filter(|later| beyond(Some(*later))) {
            let Own { v4, v6 } = Own::router(Some(later));
            paths.extend([(v4.to_string(), None), (v6.to_string(), None)]);
        }
        paths.extend(nodes.iter().filter(|node| beyond(node.behind)).flat_map(Node::paths));
        before.run(|| routes(&device, number, router.behind, &paths))?;
        built.push(Some(home));
    }
    Ok(built)
}

/// The last router on the way to this one that is Linux.
fn kernel(spec: &Spec, router: Option<usize>) -> Option<usize> {
    spec.chain(router).into_iter().rev().find(|index| !spec.routers[*index].wire)
}

/// Limits a router's errors to one address, as Linux does by default.
fn limit(router: &RouterSpec) -> Result<()> {
    let Some(number) = router.errors_per_second else { return Ok(()) };
    // Milliseconds between two errors; the burst is six.
    let interval = (1000 / number.max(1)).to_string();
    set_sysctl("net.ipv4.icmp_ratelimit", &interval)?;
    set_sysctl("net.ipv6.icmp.ratelimit", &interval)?;
    // Destination unreachable, time exceeded and parameter problem.
    for (name, value) in
        [("net.ipv4.icmp_ratemask", "6168"), ("net.ipv6.icmp.ratemask", "0-1,3-127")]
    {
        if let Err(error) = set_sysctl(name, value) {
            log::debug!("lab: {error}");
        }
    }
    Ok(())
}

/// Hosts that can share a namespace.
fn nodes(spec: &Spec) -> Result<Vec<Node<'_>>> {
    let mut nodes: Vec<Node<'_>> = Vec::new();
    for host in &spec.hosts {
        let delay = Duration::from_millis(host.delay_ms);
        let is = |node: &&mut Node<'_>| {
            *node.server == host.server && node.delay == delay && node.behind == host.behind
        };
        match nodes.iter_mut().find(is) {
            Some(node) => node.hosts.push(host),
            None => {
                if nodes.len() + spec.routers.len() >= MOST_NODES {
                    return Err(Error::Usage(format!(
                        "a lab has at most {MOST_NODES} routers and different kinds of server"
                    )));
                }
                // 1 is the prober's.
                let number = nodes.len() as u8 + 2;
                let behind = host.behind;
                nodes.push(Node { number, server: &host.server, behind, delay, hosts: vec![host] });
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
        // A box that answers SYNs itself must not take the client's next segment for a known connection. Only there is
        // connection tracking in use.
        ("net.netfilter.nf_conntrack_tcp_loose", "0"),
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

/// Connects a router to another namespace with a veth pair; each end knows the other's hardware address beforehand.
fn link(
    router: &Namespace,
    index: Option<usize>,
    near: &str,
    other: &Namespace,
    far: &str,
    number: u8,
) -> Result<()> {
    let Own { v4, v6 } = Own::router(index);
    router.run(|| {
        net::ip_batch(&format!(
            "link add {near} address 02:00:00:00:{number:02x}:01 type veth \
                peer name {far} address 02:00:00:00:{number:02x}:02 netns {}\n\
             link set {near} up\n\
             address add {v4}/32 dev {near}\n\
             address add {v6}/128 dev {near} nodad\n\
             neighbour replace {LINK_V4}.{number} lladdr 02:00:00:00:{number:02x}:02 \
                dev {near} nud permanent\n\
             neighbour replace fe80::2 lladdr 02:00:00:00:{number:02x}:02 \
                dev {near} nud permanent\n",
            other.path()
        ))?;
        if number == 1 {
            // The prober is not a node, so it needs its own route.
            let own = [format!("{LINK_V4}.1"), format!("{LINK_V6}:1")].map(|own| (own, None));
            routes(near, number, index, &own)?;
        }
        Ok(())
    })
}

/// The other end of [`link`]: its address, and a default route to the router.
fn uplink(device: &str, number: u8, own: &Own) -> Result<()> {
    let Own { v4, v6 } = own;
    net::ip_batch(&format!(
        "link set {device} up\n\
         address add {v4}/32 dev {device}\n\
         address add {v6}/128 dev {device} nodad\n\
         neighbour replace {LINK_V4}.{ROUTER} lladdr 02:00:00:00:{number:02x}:01 \
            dev {device} nud permanent\n\
         neighbour replace fe80::1 lladdr 02:00:00:00:{number:02x}:01 \
            dev {device} nud permanent\n\
         route add default via {LINK_V4}.{ROUTER} dev {device} onlink src {v4}\n\
         route add ::/0 via fe80::1 dev {device} onlink src {v6}\n"
    ))
}

/// The addresses and the default route of a server behind routers in user space.
fn on_wire(device: &str, own: &Own) -> Result<()> {
    let Own { v4, v6 } = own;
    net::ip_batch(&format!(
        "address add {v4}/32 dev {device}\n\
         address add {v6}/128 dev {device} nodad\n\
         route add default dev {device} src {v4}\n\
         route add ::/0 dev {device} src {v6}\n"
    ))
}

/// A router's routes to the prefixes of a node, each with the MTU of its path.
fn routes(
    device: &str,
    number: u8,
    router: Option<usize>,
    prefixes: &[(String, Option<u32>)],
) -> Result<()> {
    let own = Own::router(router);
    let mut lines = String::new();
    for (prefix, mtu) in prefixes {
        let (via, src) = if prefix.contains(':') {
            ("fe80::2".to_owned(), own.v6.to_string())
        } else {
            (format!("{LINK_V4}.{number}"), own.v4.to_string())
        };
        // Locked: forwarded packets must obey it as well.
        let mtu = mtu.map_or_else(String::new, |mtu| format!(" mtu lock {mtu}"));
        writeln!(lines, "route add {prefix} via {via} dev {device} onlink src {src}{mtu}").ok();
    }
    net::ip_batch(&lines)
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
