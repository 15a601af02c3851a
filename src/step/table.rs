//! Routing tables of configurations: copies of the main table with other metrics.
//!
//! The table of a configuration has the number of its mark. A rule `fwmark MARK lookup TABLE`, placed before all others
//! but that of local addresses, leads there. Tables are made for IPv4 and IPv6, for each if the main table has routes of
//! it. Routes are copied when the step is applied: packets of the configuration do not see what the main table learns
//! later until the step is applied again.
//!
//! Rules and tables are removed afterwards, which is verified; the main table is only ever read.

use std::path::Path;

use netlink_packet_core::Nla as _;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHopFlags,
    RouteProtocol, RouteType,
};
use serde::{Deserialize, Serialize};

use super::rtnetlink::{Host, Link, destination, devices, has_gateway, table};
use crate::error::{Error, Result};

/// The versions of IP: name, number, and the folder that exists only if the kernel has it.
const FAMILIES: [(&str, AddressFamily, &str); 2] = [
    ("IPv4", AddressFamily::Inet, "/proc/sys/net/ipv4"),
    ("IPv6", AddressFamily::Inet6, "/proc/sys/net/ipv6"),
];

/// The numbers of our routing tables, each that of the mark which leads there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tables(Vec<u32>);

/// What makes the tables of one version of IP.
#[derive(Debug, PartialEq)]
struct Requests {
    name: &'static str,
    family: AddressFamily,
    /// The routes of all tables.
    routes: Vec<RouteMessage>,
    /// The marks of the rules.
    marks: Vec<u32>,
}

/// What makes the tables.
#[derive(Debug, PartialEq)]
pub(super) struct Plan(Vec<Requests>);

/// The metrics of one configuration's table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted {
    /// The mark of the configuration's packets, and the number of its table.
    pub mark: u32,
    /// The metrics; the others stay as the main table has them.
    pub metrics: Vec<RouteMetric>,
    /// The metrics in words, for messages.
    pub words: String,
}

impl Wanted {
    fn mtu(&self) -> Option<u32> {
        self.metrics.iter().find_map(|metric| match metric {
            RouteMetric::Mtu(mtu) => Some(*mtu),
            _ => None,
        })
    }
}

impl Tables {
    /// The tables of these configurations.
    pub fn of(wanted: &[Wanted]) -> Self {
        Tables(wanted.iter().map(|one| one.mark).collect())
    }

    /// What there is to remove.
    pub fn names(&self) -> String {
        let numbers: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        format!("routing tables {} and the rules that lead there", numbers.join(", "))
    }

    /// The rules that lead to the tables, and whether these have routes.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn look(&self) -> Result<String> {
        let mut text = String::new();
        for (name, family) in families() {
            let mut host = Host::open(name, family)?;
            let rules = host.rules()?;
            for mark in &self.0 {
                let rules = rules.iter().filter(|rule| rule.mark == Some(*mark)).count();
                let routes = !host.table(*mark)?.is_empty();
                text += &format!("{name} {mark:#x}:{}\n", status(rules, routes));
            }
        }
        Ok(text)
    }

    /// Removes all that exists of the tables and the rules that lead there.
    ///
    /// # Errors
    /// If something is left.
    pub fn remove(&self) -> Result<()> {
        for (name, family) in families() {
            let mut host = Host::open(name, family)?;
            for mark in &self.0 {
                let why = host.remove(*mark).err();
                if host.is_in_use(*mark)? {
                    let doing = format!("remove the {name} routing table {mark} and its rule");
                    let why = why.map(|why| why.to_string());
                    let why = why.unwrap_or_else(|| "it has been made again".into());
                    return Err(Error::failed(doing, why));
                }
            }
        }
        Ok(())
    }
}

impl Plan {
    /// What to make for these configurations out of the main table as it is now; with a device, out of its routes only.
    ///
    /// # Errors
    /// If one of the marks or tables is in use, if there is no route, or if one cannot be copied.
    pub fn new(wanted: &[Wanted], device: Option<&str>) -> Result<Self> {
        let mut plan = Vec::new();
        for (name, family) in families() {
            let mut host = Host::open(name, family)?;
            let links = host.links()?;
            let index = |device: &str| links.iter().find(|l| l.name == device).map(|l| l.index);
            // Without the device there is no route through it.
            let device = device.map(|device| index(device).unwrap_or_default());
            let main = host.main_table(device)?;
            if main.is_empty() {
                log::info!("no {name} routes in the main table: no metrics for {name}");
                continue;
            }
            let mut requests = Requests { name, family, routes: Vec::new(), marks: Vec::new() };
            for one in wanted {
                fits_devices(one, &main, &links)?;
                let mark = one.mark;
                if host.is_in_use(mark)? {
                    let option = if family == AddressFamily::Inet { "-4" } else { "-6" };
                    return Err(Error::Failed(format!(
                        "make routing table {mark}: it, or the mark {mark:#x}, is in use for {name} by another \
                         program; remove it: ip {option} rule del fwmark {mark:#x}; ip {option} route flush table {mark}"
                    )));
                }
                requests.routes.extend(main.iter().map(|route| copy(route, one)));
                requests.marks.push(mark);
            }
            plan.push(requests);
        }
        if plan.is_empty() {
            let of = device.map(|device| format!(" of {device}")).unwrap_or_default();
            let why = format!("there are no routes{of} in the main table");
            return Err(Error::failed("copy the main routing table", why));
        }
        Ok(Plan(plan))
    }

    /// Whether the result of [`Tables::look`] shows all tables, each with the rule that leads there.
    pub fn is_complete(&self, seen: &str) -> bool {
        let rules: usize = self.0.iter().map(|requests| requests.marks.len()).sum();
        seen.lines().filter(|line| line.ends_with(&status(1, true))).count() == rules
    }

    /// Makes the tables, and then the rules that lead there. After an error a part of them may exist.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn make(&self, wanted: &[Wanted]) -> Result<()> {
        for Requests { name, family, routes, marks } in &self.0 {
            let mut host = Host::open(name, *family)?;
            for route in routes {
                let why = host.add_route(route);
                why.map_err(|why| {
                    let table = table(route);
                    let words = wanted.iter().find(|one| one.mark == table);
                    let words = words.map(|one| format!(" with {}", one.words)).unwrap_or_default();
                    let doing = format!(
                        "add the route to {} to routing table {table}{words}",
                        destination(route)
                    );
                    Error::failed(doing, why)
                })?;
            }
            for mark in marks {
                let why = host.add_rule(*mark);
                why.map_err(|why| {
                    let doing = format!("add the {name} rule fwmark {mark:#x} lookup {mark}");
                    Error::failed(doing, why)
                })?;
            }
            log::info!("{name}: {} routes and {} rules", routes.len(), marks.len());
        }
        Ok(())
    }
}

/// The state of a table, as text: the number of its rules, and whether it has routes.
fn status(rules: usize, routes: bool) -> String {
    format!(" {rules} rules, routes: {routes}")
}

/// The versions of IP that this kernel knows.
fn families() -> impl Iterator<Item = (&'static str, AddressFamily)> {
    let known = FAMILIES.into_iter().filter(|(.., path)| Path::new(path).exists());
    known.map(|(name, family, _)| (name, family))
}

/// Whether some device carries packets as large as a route says. The kernel does not check this: it would make packets that
/// no device sends.
fn fits_devices(wanted: &Wanted, main: &[RouteMessage], links: &[Link]) -> Result<()> {
    let Some(mtu) = wanted.mtu() else { return Ok(()) };
    let gateways = main.iter().any(has_gateway);
    let out = main.iter().filter(|route| has_gateway(route) || !gateways);
    let devices: Vec<u32> = out.flat_map(devices).collect();
    let ours = links.iter().filter(|link| devices.contains(&link.index));
    match ours.map(|link| (link.mtu, &link.name)).max() {
        Some((most, device)) if most < mtu => Err(Error::Failed(format!(
            "route packets with mtu {mtu}: {device} carries {most}, so larger packets could not leave; write {most} or less"
        ))),
        _ => Ok(()),
    }
}

/// A route of the main table in the table of a configuration, with its metrics.
fn copy(route: &RouteMessage, wanted: &Wanted) -> RouteMessage {
    let mut copied = RouteMessage::default();
    copied.header = route.header.clone();
    // The number is larger than the header's field for it.
    copied.header.table = RouteHeader::RT_TABLE_UNSPEC;
    copied.header.protocol = RouteProtocol::Boot;
    copied.header.flags &= RouteFlags::Onlink;
    let nowhere = route.header.kind != RouteType::Unicast;
    let mut metrics: &[RouteMetric] = &[];
    for attribute in &route.attributes {
        let kept = match attribute {
            RouteAttribute::Metrics(own) => {
                metrics = own;
                continue;
            }
            RouteAttribute::Oif(_) | RouteAttribute::Gateway(_) | RouteAttribute::Via(_)
                if nowhere =>
            {
                continue;
            }
            RouteAttribute::MultiPath(hops) => {
                let mut hops = hops.clone();
                for hop in &mut hops {
                    hop.flags &= RouteNextHopFlags::Onlink;
                }
                RouteAttribute::MultiPath(hops)
            }
            RouteAttribute::Destination(_)
            | RouteAttribute::Source(_)
            | RouteAttribute::Oif(_)
            | RouteAttribute::Gateway(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::PrefSource(_)
            | RouteAttribute::Priority(_)
            | RouteAttribute::Preference(_)
            | RouteAttribute::Realm(_) => attribute.clone(),
            // What the kernel reports of it. A next hop that is an object of its own is copied as what it stands for: routes
            // through such objects cannot be flushed by ip(8).
            _ => continue,
        };
        copied.attributes.push(kept);
    }
    copied.attributes.push(RouteAttribute::Table(wanted.mark));
    copied.attributes.push(RouteAttribute::Metrics(merged(metrics, &wanted.metrics)));
    copied
}

/// Metrics of the main table with others in their place. Features add up; a metric that is replaced loses its lock.
fn merged(main: &[RouteMetric], wanted: &[RouteMetric]) -> Vec<RouteMetric> {
    let locks = |metrics: &[RouteMetric]| {
        metrics.iter().fold(0, |locks, metric| match metric {
            RouteMetric::Lock(bits) => locks | bits,
            _ => locks,
        })
    };
    let features = main.iter().chain(wanted).fold(0, |features, metric| match metric {
        RouteMetric::Features(bits) => features | bits,
        _ => features,
    });
    let is_plain =
        |metric: &&RouteMetric| !matches!(metric, RouteMetric::Lock(_) | RouteMetric::Features(_));
    let is_replaced = |metric: &RouteMetric| wanted.iter().any(|one| one.kind() == metric.kind());
    let replaced = wanted
        .iter()
        .fold(0, |bits, metric| bits | 1_u32.checked_shl(metric.kind().into()).unwrap_or_default());
    let locks = locks(main) & !replaced | locks(wanted);
    let kept = main.iter().filter(|metric| is_plain(metric) && !is_replaced(metric));
    let mut all: Vec<RouteMetric> = kept.chain(wanted.iter().filter(is_plain)).cloned().collect();
    all.extend((features != 0).then_some(RouteMetric::Features(features)));
    all.extend((locks != 0).then_some(RouteMetric::Lock(locks)));
    all
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use netlink_packet_route::route::RouteScope;

    use super::*;
    use crate::step::rtnetlink::next_hops;
    use crate::step::rtnetlink::tests::{self as tests_of_messages, hop};

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    /// A route to a directly connected network.
    fn route(kind: RouteType, attributes: Vec<RouteAttribute>) -> RouteMessage {
        let mut route = tests_of_messages::route(kind, attributes);
        route.header.scope = RouteScope::Link;
        route
    }

    fn wanted(metrics: Vec<RouteMetric>) -> Wanted {
        Wanted { mark: 0x5050_0001, metrics, words: String::new() }
    }

    #[test]
    fn a_copy_differs_in_table_and_metrics() {
        let gateway = RouteAttribute::Gateway(GATEWAY.into());
        let own = wanted(vec![RouteMetric::Advmss(900)]);
        let of_copy = [
            RouteAttribute::Table(0x5050_0001),
            RouteAttribute::Metrics(vec![RouteMetric::Advmss(900)]),
        ];
        let oif = RouteAttribute::Oif(7);
        let attributes = vec![
            RouteAttribute::Table(254),
            RouteAttribute::NhId(5),
            RouteAttribute::Priority(50),
            gateway.clone(),
            oif.clone(),
        ];
        let copied = copy(&route(RouteType::Unicast, attributes), &own);
        assert_eq!(copied.header.table, 0);
        assert_eq!(copied.header.protocol, RouteProtocol::Boot);
        assert_eq!(copied.header.scope, RouteScope::Link);
        assert_eq!(copied.header.flags, RouteFlags::Onlink);
        let kept = [vec![RouteAttribute::Priority(50), gateway, oif.clone()], of_copy.to_vec()];
        assert_eq!(copied.attributes, kept.concat());

        let nowhere = copy(&route(RouteType::Prohibit, vec![oif]), &own);
        assert_eq!(nowhere.header.kind, RouteType::Prohibit);
        assert_eq!(nowhere.attributes, of_copy);

        let hops = [RouteNextHopFlags::Onlink, RouteNextHopFlags::Linkdown];
        let hops = hops.map(|flags| hop(3, flags)).to_vec();
        let copied = copy(&route(RouteType::Unicast, vec![RouteAttribute::MultiPath(hops)]), &own);
        let expected = vec![hop(3, RouteNextHopFlags::Onlink), hop(3, RouteNextHopFlags::empty())];
        assert_eq!(next_hops(&copied), expected);
    }

    #[test]
    fn metrics_that_are_not_given_stay_with_their_locks() {
        let (mtu, congestion) = (1 << 2, 1 << 16);
        let main = [
            RouteMetric::Lock(mtu | congestion),
            RouteMetric::Mtu(1400),
            RouteMetric::Features(1),
            RouteMetric::CcAlgo("cubic".into()),
        ];
        let all = merged(&main, &[RouteMetric::Advmss(900)]);
        let expected = [
            RouteMetric::Mtu(1400),
            RouteMetric::CcAlgo("cubic".into()),
            RouteMetric::Advmss(900),
            RouteMetric::Features(1),
            RouteMetric::Lock(mtu | congestion),
        ];
        assert_eq!(all, expected);
        let given = [RouteMetric::CcAlgo("reno".into()), RouteMetric::Features(16)];
        let all = merged(&main, &given);
        let expected = [
            RouteMetric::Mtu(1400),
            RouteMetric::CcAlgo("reno".into()),
            RouteMetric::Features(17),
            RouteMetric::Lock(mtu),
        ];
        assert_eq!(all, expected);
        let all = merged(&main[1..3], &[RouteMetric::Mtu(1280), RouteMetric::Lock(mtu)]);
        let expected = [RouteMetric::Mtu(1280), RouteMetric::Features(1), RouteMetric::Lock(mtu)];
        assert_eq!(all, expected);
    }

    #[test]
    fn a_table_without_its_rule_is_not_complete() {
        let requests = |name, family| Requests { name, family, routes: vec![], marks: vec![7] };
        let plan = Plan(vec![
            requests("IPv4", AddressFamily::Inet),
            requests("IPv6", AddressFamily::Inet6),
        ]);
        let seen = |v6: String| format!("IPv4 0x7:{}\nIPv6 0x7:{v6}\n", status(1, true));
        assert!(plan.is_complete(&seen(status(1, true))));
        for gone in [status(0, true), status(1, false), status(0, false), status(11, true)] {
            assert!(!plan.is_complete(&seen(gone.clone())), "{gone}");
        }
    }
}
