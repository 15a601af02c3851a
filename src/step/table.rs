//! Routing tables of configurations: each a copy of the main table with other metrics.
//!
//! The table of a configuration has the number of its mark, and a rule `fwmark MARK lookup TABLE`, placed
//! before all others but that of local addresses, leads there. It is made for IPv4 and IPv6,
//! each if the main table has routes of it. Routes are copied when the step is applied: what the main
//! table learns later is not seen by packets of the configuration until it is applied again.
//!
//! The rule and the tables are removed afterwards, and it is looked whether they are gone; the main table
//! is only ever read.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::applied::Flows;
use super::route::Route;
use super::tool::{IP, Said};
use crate::error::{Error, Result};

/// The families of addresses: what they are called, the option of ip(8), and what the kernel has only
/// if it knows them.
const FAMILIES: [(&str, &str, &str); 2] =
    [("IPv4", "-4", "/proc/sys/net/ipv4"), ("IPv6", "-6", "/proc/sys/net/ipv6")];

/// The metrics that JSON and the command line call by different names.
const CONGESTION: (&str, &str) = ("congestion", "congctl");
/// The features of a route, which JSON lists like metrics without value.
const FEATURES: [&str; 2] = ["ecn", "tcp_usec_ts"];

/// The numbers of our routing tables, each that of the mark which leads there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tables(Vec<u32>);

/// What makes the tables: the option of a family, and lines for `ip -batch`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan(Vec<(&'static str, String)>);

impl Tables {
    /// Those of these marks.
    #[cfg(test)]
    pub fn of(marks: impl IntoIterator<Item = u32>) -> Self {
        Tables(marks.into_iter().collect())
    }

    /// What to make for these configurations, out of the main table as it is now; with a device,
    /// out of its routes only.
    ///
    /// # Errors
    /// If one of the marks or tables is in use, if there is no route, or if one cannot be copied.
    pub fn plan(routes: &[(Route, &Flows)], device: Option<&str>) -> Result<(Self, Plan)> {
        let mut plan = Vec::new();
        for (name, option, _) in families() {
            let main = main_table(name, option, device)?;
            if main.is_empty() {
                log::info!("no {name} routes in the main table: no metrics for {name}");
                continue;
            }
            let mut lines = String::new();
            for (route, flows) in routes {
                let mark = flows.mark;
                carried(route, &main, option)?;
                if in_use(option, mark)? {
                    return Err(Error::Failed(format!(
                        "make routing table {mark}: it, or the mark {mark:#x}, is in use for {name} by another \
                         program; remove it: \
                         ip {option} rule del fwmark {mark:#x}; ip {option} route flush table {mark}"
                    )));
                }
                for copied in &main {
                    lines += &format!("route append {}\n", copied.with(route, mark));
                }
                lines += &format!("rule add fwmark {mark:#x} lookup {mark}\n");
            }
            plan.push((option, lines));
        }
        if plan.is_empty() {
            let of = device.map(|device| format!(" of {device}")).unwrap_or_default();
            let why = format!("there are no routes{of} in the main table");
            return Err(Error::failed("copy the main routing table", why));
        }
        Ok((Tables(routes.iter().map(|(_, flows)| flows.mark).collect()), Plan(plan)))
    }

    /// What there is to remove.
    pub fn describe(&self) -> String {
        let numbers: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        format!("routing tables {} and the rules that lead there", numbers.join(", "))
    }

    /// The rules that lead to the tables, and whether these have routes.
    pub fn look(&self) -> Result<String> {
        let mut text = String::new();
        for (name, option, _) in families() {
            let rules = json(option, &["rule", "show"])?;
            for mark in &self.0 {
                let hex = format!("{mark:#x}");
                let rules = rules.iter().filter(|rule| rule["fwmark"] == *hex).count();
                let routes = json(option, &["route", "show", "table", &mark.to_string()])?;
                text += &format!("{name} {hex}:{}\n", told(rules, !routes.is_empty()));
            }
        }
        Ok(text)
    }

    /// Removes the tables and the rules that lead there, whatever is there of them.
    ///
    /// # Errors
    /// If something is left.
    pub fn remove(&self) -> Result<()> {
        for (name, option, _) in families() {
            let lines: String = self
                .0
                .iter()
                .map(|mark| {
                    format!("rule del fwmark {mark:#x} lookup {mark}\nroute flush table {mark}\n")
                })
                .collect();
            let said = IP.run(&[option, "-force", "-batch", "-"], &lines)?;
            for mark in &self.0 {
                if in_use(option, *mark)? {
                    let doing = format!("remove the {name} routing table {mark} and its rule");
                    return Err(Error::failed(doing, said.complaint()));
                }
            }
        }
        Ok(())
    }
}

impl Plan {
    /// Whether what is seen ([`Tables::look`]) has all tables, each with the rule that leads there.
    pub fn is_whole(&self, seen: &str) -> bool {
        let rules = self.0.iter().flat_map(|(_, lines)| lines.lines());
        let rules = rules.filter(|line| line.starts_with("rule add ")).count();
        seen.lines().filter(|line| line.ends_with(WHOLE)).count() == rules
    }

    /// Makes the tables, and then the rules that lead there. On error some of it may stand.
    pub fn make(&self) -> Result<()> {
        for (option, lines) in &self.0 {
            let said = IP.run(&[option, "-batch", "-"], lines)?;
            if !said.ok {
                return Err(refused(&said, lines));
            }
            log::info!("ip {option}: {} routes and rules", lines.lines().count());
        }
        Ok(())
    }
}

/// Whether there is a device that carries packets as large as a route says. The kernel does not mind: it would make
/// packets that no device sends.
fn carried(route: &Route, main: &[Copied], option: &str) -> Result<()> {
    let Some(mtu) = route.mtu else { return Ok(()) };
    let out = |copied: &&Copied| copied.has_gateway || !main.iter().any(|other| other.has_gateway);
    let devices: Vec<&String> =
        main.iter().filter(out).flat_map(|copied| &copied.devices).collect();
    let links = json(option, &["link", "show"])?;
    let ours = links.iter().filter_map(|link| {
        let name = link["ifname"].as_str()?;
        let mtu = link["mtu"].as_u64()?;
        devices.iter().any(|device| *device == name).then(|| (mtu, name.to_owned()))
    });
    match ours.max() {
        Some((most, device)) if most < u64::from(mtu) => Err(Error::Failed(format!(
            "route packets with mtu {mtu}: {device} carries {most}, so larger packets could not leave; write {most} or less"
        ))),
        _ => Ok(()),
    }
}

/// Why a batch was not done.
fn refused(said: &Said, lines: &str) -> Error {
    // What ip itself finds wrong with a line comes without its number.
    let line = said.line().and_then(|line| lines.lines().nth(line));
    let doing = match line {
        Some(line) => format!("ip {line}"),
        None => "make the routing tables".into(),
    };
    let hint = match said.error.contains("features") && lines.contains("tcp_usec_ts") {
        true => " (tcp_usec_ts needs iproute2 6.8 or later)",
        false => "",
    };
    Error::failed(doing, format!("{}{hint}", said.complaint()))
}

/// How a table is told that has its rule and routes.
const WHOLE: &str = " 1 rules, routes: true";

fn told(rules: usize, routes: bool) -> String {
    format!(" {rules} rules, routes: {routes}")
}

/// The families that this kernel knows.
fn families() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    FAMILIES.into_iter().filter(|(.., path)| Path::new(path).exists())
}

/// Whether a rule has this mark, or a table this number.
fn in_use(option: &str, mark: u32) -> Result<bool> {
    let rules = json(option, &["rule", "show"])?;
    let hex = format!("{mark:#x}");
    let number = mark.to_string();
    let ours = |rule: &Value| rule["fwmark"] == *hex || rule["table"] == *number;
    Ok(rules.iter().any(ours) || !json(option, &["route", "show", "table", &number])?.is_empty())
}

/// What ip(8) lists.
fn json(option: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    let said = IP.run(&[&[option, "-json"], arguments].concat(), "")?;
    let doing = || format!("ip {option} {}", arguments.join(" "));
    // A table with nothing in it does not exist, and some versions print nothing for an empty list.
    if (!said.ok && said.error.contains("table does not exist"))
        || (said.ok && said.output.trim().is_empty())
    {
        return Ok(Vec::new());
    }
    if !said.ok {
        return Err(Error::failed(doing(), said.complaint()));
    }
    serde_json::from_str(&said.output)
        .map_err(|why| Error::failed(format!("read what {} says", doing()), why))
}

/// How often the main table is read again because it changed between its two readings.
const READS: usize = 10;

/// The routes of the main table, each with its line of text if some have metrics: which of these are locked is in the
/// text only.
fn main_routes(name: &str, option: &str) -> Result<(Vec<Value>, String)> {
    let show = ["route", "show", "table", "main"];
    for _ in 0..READS {
        let routes = json(option, &show)?;
        if !routes.iter().any(|route| route.get("metrics").is_some()) {
            return Ok((routes, String::new()));
        }
        let text = IP.run(&[&[option, "-oneline"], &show[..]].concat(), "")?.output;
        if text.lines().count() == routes.len() && json(option, &show)? == routes {
            return Ok((routes, text));
        }
    }
    let why = "it changes all the time";
    Err(Error::failed(format!("copy the main routing table of {name}"), why))
}

/// The routes of the main table that can be used now, those of neighbours first: through them the others'
/// gateways are found.
fn main_table(name: &str, option: &str, device: Option<&str>) -> Result<Vec<Copied>> {
    let (routes, text) = main_routes(name, option)?;
    let lines: Vec<&str> = text.lines().collect();
    let mut copied = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        if usable(route, device) {
            copied.push(Copied::read(route, lines.get(number).copied().unwrap_or_default())?);
        }
    }
    copied.sort_by_key(|route| route.has_gateway);
    Ok(copied)
}

/// Whether packets can take a route now, and may: through the device that sockets are bound to.
fn usable(route: &Value, device: Option<&str>) -> bool {
    let dead = |hop: &Value| {
        hop["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "dead"))
    };
    let hops: Vec<&Value> = match route["nexthops"].as_array() {
        Some(hops) => hops.iter().collect(),
        None => vec![route],
    };
    // What leads nowhere (`unreachable`) is of no device.
    let nowhere = route["type"].as_str().is_some_and(|kind| kind != "unicast");
    nowhere
        || hops.iter().any(|hop| {
            !dead(hop) && device.is_none_or(|device| hop["dev"].as_str() == Some(device))
        })
}

/// A route of the main table, in the words of ip(8).
#[derive(Debug, PartialEq)]
struct Copied {
    /// What it is for: type, destination and what else tells it from others.
    whither: String,
    /// How: gateways, devices.
    how: String,
    /// Its metrics, with their values.
    metrics: Vec<(String, String)>,
    /// Its features.
    features: Vec<&'static str>,
    /// The devices that it leads through.
    devices: Vec<String>,
    has_gateway: bool,
}

impl Copied {
    /// Reads a route as ip(8) prints it, as JSON and as text.
    fn read(route: &Value, line: &str) -> Result<Self> {
        let destination = route["dst"].as_str().unwrap_or("default");
        if let Some(kind) = encapsulation(route) {
            return Err(Error::failed(
                format!("copy the route to {destination} of the main table"),
                format!("it encapsulates packets ({kind}), which a route step cannot copy"),
            ));
        }
        let mut whither = String::new();
        for (key, before) in
            [("type", ""), ("dst", ""), ("from", "from "), ("tos", "tos "), ("metric", "metric ")]
        {
            if let Some(value) = route.get(key).and_then(plain) {
                whither += &format!("{before}{value} ");
            }
        }
        let mut how = String::new();
        for (key, before) in [("scope", "scope "), ("prefsrc", "src "), ("pref", "pref ")] {
            if let Some(value) = route.get(key).and_then(plain) {
                how += &format!("{before}{value} ");
            }
        }
        let nowhere = route["type"].as_str().is_some_and(|kind| kind != "unicast");
        let hops = route["nexthops"].as_array();
        // A next hop that is an object of its own (`nhid`) is copied as what it stands for: ip cannot
        // flush routes through such objects.
        if hops.is_none() && !nowhere {
            how += &hop(route);
        }
        let mut metrics = Vec::new();
        let mut features = Vec::new();
        for (name, value) in
            route["metrics"].as_array().into_iter().flatten().filter_map(Value::as_object).flatten()
        {
            if let Some(feature) = FEATURES.iter().find(|feature| *feature == name) {
                features.push(*feature);
            } else if let Some(value) = plain(value) {
                let name = if name == CONGESTION.0 { CONGESTION.1 } else { name };
                let (_, text) = line.split_once(&format!(" {name} ")).unwrap_or_default();
                // As text, since there times have their unit, and locks are shown.
                let mut words = text.split_whitespace();
                let value = match (words.next(), words.next()) {
                    // Which ip locks by itself, and does not let one say so.
                    (Some("lock"), Some(value)) if name == "rto_min" => value.to_owned(),
                    (Some("lock"), Some(value)) => format!("lock {value}"),
                    (Some(value), _) => value.to_owned(),
                    (None, _) => value,
                };
                metrics.push((name.to_owned(), value));
            }
        }
        // These come last on the command line, after the metrics of the whole route.
        how += &hops
            .into_iter()
            .flatten()
            .map(|one| format!("nexthop {}", hop(one)))
            .collect::<String>();
        let has_gateway =
            hops.is_some() || ["gateway", "via"].iter().any(|key| route.get(key).is_some());
        let devices = hops.into_iter().flatten().chain([route]);
        let devices = devices.filter_map(|hop| hop["dev"].as_str()).map(str::to_owned).collect();
        Ok(Copied { whither, how, metrics, features, devices, has_gateway })
    }

    /// The route with these metrics instead of its own, in another table.
    fn with(&self, route: &Route, table: u32) -> String {
        let Self { whither, how, features, .. } = self;
        let mut metrics = self.metrics.clone();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                metrics.retain(|(other, _)| other != name);
                metrics.push((name.to_owned(), value));
            }
        };
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let switch = |value: Option<bool>| value.map(|on| u8::from(on).to_string());
        put("advmss", number(route.advmss));
        put("initcwnd", number(route.initcwnd));
        let lock = if route.mtu_lock { "lock " } else { "" };
        put("mtu", route.mtu.map(|mtu| format!("{lock}{mtu}")));
        put("hoplimit", number(route.hoplimit));
        put("congctl", route.congctl.clone());
        put("quickack", switch(route.quickack));
        put("fastopen_no_cookie", switch(route.fastopen_no_cookie));
        let features: Vec<&str> = FEATURES
            .into_iter()
            .filter(|name| features.contains(name) || route.features.contains(name))
            .collect();
        let mut line = format!("{whither}table {table} ");
        for (name, value) in metrics {
            line += &format!("{name} {value} ");
        }
        if !features.is_empty() {
            line += &format!("features {} ", features.join(" "));
        }
        line += how;
        line.truncate(line.trim_end().len());
        line
    }
}

/// How a route wraps packets, if it does.
fn encapsulation(route: &Value) -> Option<&str> {
    let hops = route["nexthops"].as_array().into_iter().flatten();
    hops.chain([route]).find_map(|hop| hop["encap"].as_str())
}

/// One way out, in the words of ip(8).
fn hop(hop: &Value) -> String {
    let mut text = String::new();
    if let Some(gateway) = hop["gateway"].as_str() {
        text += &format!("via {gateway} ");
    } else if let (Some(family), Some(host)) =
        (hop["via"]["family"].as_str(), hop["via"]["host"].as_str())
    {
        text += &format!("via {family} {host} ");
    }
    if let Some(device) = hop["dev"].as_str() {
        text += &format!("dev {device} ");
    }
    if let Some(weight) = hop.get("weight").and_then(plain) {
        text += &format!("weight {weight} ");
    }
    if hop["flags"].as_array().is_some_and(|flags| flags.iter().any(|flag| flag == "onlink")) {
        text += "onlink ";
    }
    text
}

/// A word or a number as text.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn copy(route: Value, line: &str, metrics: &Route) -> String {
        Copied::read(&route, line).unwrap().with(metrics, 7)
    }

    #[test]
    fn routes_are_said_as_they_were_but_for_the_metrics() {
        let ecn = Route { features: vec!["ecn"], ..Route::default() };
        for (route, expected) in [
            (
                json!({"dst": "default", "gateway": "10.0.0.2", "dev": "va", "protocol": "dhcp",
                       "prefsrc": "10.0.0.1", "metric": 50, "flags": []}),
                "default metric 50 table 7 features ecn src 10.0.0.1 via 10.0.0.2 dev va",
            ),
            (
                json!({"dst": "10.0.0.0/24", "dev": "va", "protocol": "kernel", "scope": "link",
                       "prefsrc": "10.0.0.1", "flags": ["linkdown"]}),
                "10.0.0.0/24 table 7 features ecn scope link src 10.0.0.1 dev va",
            ),
            (
                json!({"dst": "10.9.0.0/16", "tos": "0x10", "flags": [], "nexthops": [
                    {"gateway": "10.0.0.2", "dev": "va", "weight": 3, "flags": []},
                    {"gateway": "10.0.0.3", "dev": "va", "weight": 1, "flags": ["onlink"]}]}),
                "10.9.0.0/16 tos 0x10 table 7 features ecn nexthop via 10.0.0.2 dev va weight 3 \
                 nexthop via 10.0.0.3 dev va weight 1 onlink",
            ),
            (
                json!({"dst": "10.8.0.0/16", "via": {"family": "inet6", "host": "fe80::5"},
                       "dev": "va", "flags": []}),
                "10.8.0.0/16 table 7 features ecn via inet6 fe80::5 dev va",
            ),
            (
                json!({"type": "prohibit", "dst": "2001:db8:8::/48", "dev": "lo", "metric": 1024,
                       "flags": [], "pref": "medium"}),
                "prohibit 2001:db8:8::/48 metric 1024 table 7 features ecn pref medium",
            ),
            (
                json!({"dst": "10.5.0.0/16", "nhid": 5, "gateway": "10.0.0.9", "dev": "va",
                       "flags": []}),
                "10.5.0.0/16 table 7 features ecn via 10.0.0.9 dev va",
            ),
        ] {
            assert_eq!(copy(route, "", &ecn), expected);
        }
    }

    #[test]
    fn metrics_that_are_not_given_stay_with_their_locks() {
        let route = json!({"dst": "default", "gateway": "10.0.0.2", "dev": "va", "flags": [],
            "metrics": [{"mtu": 1400, "advmss": 1000, "ecn": null, "congestion": "cubic", "rto_min": 5}]});
        let line = "default via 10.0.0.2 dev va mtu lock 1400 advmss 1000 rto_min lock 5ms \
                    features ecn congctl cubic ";
        assert_eq!(
            copy(route.clone(), line, &Route { advmss: Some(900), ..Route::default() }),
            "default table 7 mtu lock 1400 congctl cubic rto_min 5ms advmss 900 features ecn \
             via 10.0.0.2 dev va"
        );
        let every = Route {
            features: vec!["tcp_usec_ts"],
            advmss: Some(900),
            initcwnd: Some(3),
            mtu: Some(1280),
            mtu_lock: true,
            hoplimit: Some(9),
            congctl: Some("reno".into()),
            quickack: Some(false),
            fastopen_no_cookie: Some(true),
        };
        assert_eq!(
            copy(route, line, &every),
            "default table 7 rto_min 5ms advmss 900 initcwnd 3 mtu lock 1280 hoplimit 9 \
             congctl reno quickack 0 fastopen_no_cookie 1 features ecn tcp_usec_ts \
             via 10.0.0.2 dev va"
        );
    }

    #[test]
    fn a_table_without_its_rule_is_not_whole() {
        let lines = "route append default table 7\nrule add fwmark 0x7 lookup 7\n";
        let plan = Plan(vec![("-4", lines.into()), ("-6", lines.into())]);
        let seen = |v6: String| format!("IPv4 0x7:{}\nIPv6 0x7:{v6}\n", told(1, true));
        assert!(plan.is_whole(&seen(told(1, true))));
        for gone in [told(0, true), told(1, false), told(0, false), told(11, true)] {
            assert!(!plan.is_whole(&seen(gone.clone())), "{gone}");
        }
    }

    #[test]
    fn what_cannot_be_copied_is_told() {
        let route = json!({"dst": "10.4.0.0/16", "encap": "mpls", "dev": "va", "flags": []});
        let error = Copied::read(&route, "").unwrap_err().to_string();
        assert!(error.contains("10.4.0.0/16") && error.contains("mpls"), "{error}");
    }

    #[test]
    fn with_a_device_only_its_routes_count() {
        let through = |device: &str| json!({"dst": "default", "dev": device, "flags": []});
        assert!(usable(&through("va"), None) && usable(&through("va"), Some("va")));
        assert!(!usable(&through("vb"), Some("va")));
        assert!(usable(&json!({"type": "unreachable", "dst": "default"}), Some("va")));
        assert!(!usable(&json!({"dst": "default", "dev": "va", "flags": ["dead"]}), None));
        let hops = json!({"dst": "default", "nexthops": [{"dev": "vb"}, {"dev": "va"}]});
        assert!(usable(&hops, Some("va")) && !usable(&hops, Some("vc")));
    }
}
