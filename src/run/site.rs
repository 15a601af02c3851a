//! What a result says of the host that measured: its interface, its kernel parameters, its clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;

use nix::ifaddrs::getifaddrs;
use nix::sys::utsname::uname;
use serde_json::{Value, json};

use super::{clock, offloads};
use crate::measurement::Plan;
use crate::sink::Metadata;
use crate::step::Step;

/// Kernel parameters that affect connections, whatever the measurement sets.
const SYSCTLS: [&str; 27] = [
    "net.core.default_qdisc",
    "net.ipv4.ip_default_ttl",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_no_pmtu_disc",
    "net.ipv4.tcp_adv_win_scale",
    "net.ipv4.tcp_base_mss",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_ecn",
    "net.ipv4.tcp_ecn_fallback",
    "net.ipv4.tcp_ecn_option",
    "net.ipv4.tcp_fastopen",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_min_snd_mss",
    "net.ipv4.tcp_mtu_probing",
    "net.ipv4.tcp_retries1",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_syn_linear_timeouts",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_wmem",
    "net.ipv6.auto_flowlabels",
    "net.ipv6.conf.all.disable_ipv6",
    "net.mptcp.enabled",
];

/// Kernel parameters of the watched interface.
const OF_INTERFACE: [&str; 3] =
    ["ipv4.conf.{}.rp_filter", "ipv6.conf.{}.hop_limit", "ipv6.conf.{}.use_tempaddr"];

fn pairs<const N: usize>(pairs: [(&str, Option<String>); N]) -> Metadata {
    pairs.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// The program, the host and its clock.
pub fn host() -> Metadata {
    let name = uname().ok();
    let kernel = name.as_ref().map(|name| {
        format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
    });
    let host = name.map(|name| name.nodename().to_string_lossy().into_owned());
    let mut all = pairs([
        ("format", Some(super::keys::FORMAT.to_string())),
        ("version", Some(env!("CARGO_PKG_VERSION").to_owned())),
    ]);
    all.extend(crate::version::facts().map(|(name, value)| (name.to_owned(), value)));
    all.extend(pairs([("kernel", kernel), ("host", host), ("clock_started", clock_state())]));
    all
}

/// The state of the clock, as the metadata have it.
pub fn clock_state() -> Option<String> {
    Some(clock::state()).filter(Value::is_object).map(|state| state.to_string())
}

/// An interface of this thread's network namespace.
pub fn interface(name: &str) -> Metadata {
    let addresses = getifaddrs().into_iter().flatten().filter(|one| one.interface_name == name);
    let addresses: BTreeSet<IpAddr> = addresses
        .filter_map(|one| {
            let address = one.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::from(v6.ip())))
        })
        .collect();
    let mtu = fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok();
    let offloads = Some(offloads::of(name)).filter(Value::is_object);
    pairs([
        ("interface", Some(name.to_owned())),
        ("source_addresses", Some(json!(addresses).to_string())),
        ("interface_mtu", mtu.map(|mtu| mtu.trim().to_owned())),
        ("interface_offloads", offloads.map(|offloads| offloads.to_string())),
    ])
}

/// The parameters that steps set, per configuration.
fn set(plan: &Plan) -> BTreeMap<&str, BTreeMap<&str, &str>> {
    let mut set: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for config in &plan.configs {
        for step in &config.steps {
            if let Step::Sysctl(step) = step {
                set.entry(config.name).or_default().insert(&step.name, &step.value);
            }
        }
    }
    set
}

/// Kernel parameters, as they are and as the plan sets them.
pub fn sysctls(plan: &Plan, interface: &str) -> Metadata {
    let set = set(plan);
    let of_interface = OF_INTERFACE.map(|name| format!("net.{name}"));
    // A dot in an interface's name is written as a slash, as by sysctl(8).
    let of_interface = of_interface.map(|name| name.replace("{}", &interface.replace('.', "/")));
    let names = SYSCTLS.into_iter().chain(of_interface.iter().map(String::as_str));
    let names = names.chain(set.values().flat_map(|set| set.keys().copied()));
    let values: BTreeMap<&str, String> =
        names.filter_map(|name| Some((name, crate::step::sysctl(name)?))).collect();
    pairs([
        ("sysctls", Some(json!(values).to_string())),
        ("sysctls_set", Some(json!(set).to_string())),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_described_by_known_keys() {
        let all = [host(), interface("lo")].concat();
        for (name, value) in &all {
            let key = crate::run::keys::find(name).unwrap_or_else(|| panic!("{name}"));
            assert!(key.kind.fits(value), "{name}: {value}");
        }
        let value = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
        assert!(value("interface_mtu").unwrap().parse::<u32>().unwrap() > 0);
        assert!(value("kernel").unwrap().starts_with("Linux "));
    }
}
