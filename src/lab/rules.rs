//! The nftables rules of a lab's routers: per host, family and direction a chain, looked up by the host's prefix, so the
//! cost of a packet does not depend on the number of hosts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::lab::chain::{Errors, Hook};
use crate::lab::spec::{HostSpec, Spec};

/// The rules of one host at one hook of a router.
type Rules<'a> = Vec<&'a str>;

/// Prefixes with a verdict, as elements of a map.
#[derive(Default)]
struct Maps {
    chains: String,
    /// Per family and direction.
    entries: [Vec<String>; 4],
}

impl Maps {
    fn add(&mut self, host: &HostSpec, hook: Hook, (path, path_back): (Rules<'_>, Rules<'_>)) {
        for (slot, rules, v6, direction) in [
            (0, &path, false, "out"),
            (1, &path, true, "out"),
            (2, &path_back, false, "back"),
            (3, &path_back, true, "back"),
        ] {
            let rules: Rules<'_> = rules.iter().copied().filter(|rule| applies(rule, v6)).collect();
            if rules.is_empty() {
                continue;
            }
            let (family, name) = (if v6 { 6 } else { 4 }, host.name.replace('-', "_"));
            let chain = format!("{}{direction}{family}_{name}", prefix_of(hook));
            let prefix = if v6 { host.prefix_v6() } else { host.prefix_v4() };
            self.entries[slot].push(format!("{prefix} : jump {chain}"));
            writeln!(self.chains, "chain {chain} {{\n{}\n}}", rules.join("\n")).ok();
        }
    }

    /// The chains, the maps and the base chain of a hook.
    fn text(&self, hook: Hook) -> String {
        let (mut maps, mut lookups) = (String::new(), String::new());
        for (entries, name, family, of) in [
            (&self.entries[0], "out4", "ipv4_addr", "ip daddr"),
            (&self.entries[1], "out6", "ipv6_addr", "ip6 daddr"),
            (&self.entries[2], "back4", "ipv4_addr", "ip saddr"),
            (&self.entries[3], "back6", "ipv6_addr", "ip6 saddr"),
        ] {
            if entries.is_empty() {
                continue;
            }
            let name = format!("{}{name}", prefix_of(hook));
            let elements = entries.join(",\n");
            writeln!(
                maps,
                "map {name} {{\ntype {family} : verdict\nflags interval\nelements = {{\n{elements}\n}}\n}}"
            )
            .ok();
            writeln!(lookups, "{of} vmap @{name}").ok();
        }
        if lookups.is_empty() {
            return String::new();
        }
        // Before connection tracking, so that a rule may exempt packets from it.
        let base = match hook {
            Hook::Ingress => "type filter hook prerouting priority raw",
            Hook::Forward => "type filter hook forward priority filter",
            Hook::Egress => "type filter hook postrouting priority mangle",
            Hook::Nat => "type nat hook postrouting priority srcnat",
        };
        format!(
            "{}{maps}chain {} {{\n{base}; policy accept;\n{lookups}}}\n",
            self.chains,
            hook.as_str()
        )
    }
}

/// The names of the chains at `forward`, where most rules are, have no prefix.
fn prefix_of(hook: Hook) -> String {
    if hook == Hook::Forward { String::new() } else { format!("{}_", hook.as_str()) }
}

/// All rules of a router; `None` is the first one.
pub(super) fn ruleset(spec: &Spec, router: Option<usize>) -> String {
    let mut hooks: BTreeMap<Hook, Maps> = BTreeMap::new();
    let mut errors = String::new();
    for host in &spec.hosts {
        let mut of_host: BTreeMap<Hook, (Rules<'_>, Rules<'_>)> = BTreeMap::new();
        if router.is_none() {
            let rules = of_host.entry(Hook::Forward).or_default();
            rules.0.extend(host.path.iter().map(String::as_str));
            rules.1.extend(host.path_back.iter().map(String::as_str));
            if !host.icmp {
                errors += &limited(host, Errors::None);
            }
        }
        for fault in host.faults.iter().filter(|fault| fault.router == router) {
            let rules = of_host.entry(fault.hook).or_default();
            rules.0.extend(fault.path.iter().map(String::as_str));
            rules.1.extend(fault.path_back.iter().map(String::as_str));
            errors += &limited(host, fault.errors);
        }
        for (hook, rules) in of_host {
            hooks.entry(hook).or_default().add(host, hook, rules);
        }
    }
    if let Some(router) = router.and_then(|index| spec.routers.get(index))
        && router.silent
    {
        errors += "icmp type { destination-unreachable, time-exceeded } drop\n\
                   icmpv6 type { destination-unreachable, packet-too-big, time-exceeded } drop\n";
    }
    let mut text = String::new();
    for (hook, maps) in &hooks {
        text += &maps.text(*hook);
    }
    if !errors.is_empty() {
        let base = "type filter hook output priority filter; policy accept;";
        writeln!(text, "chain output {{\n{base}\n{errors}}}").ok();
    }
    if text.is_empty() { text } else { format!("table inet lab {{\n{text}}}\n") }
}

/// Rules that drop the router's errors about packets to a host, or all beyond a number per second: those that quote a
/// packet to its prefix. The quoted destination begins 24 octets after the ICMP header's start over IPv4, and 32 after
/// it over IPv6.
fn limited(host: &HostSpec, errors: Errors) -> String {
    let verdict = match errors {
        Errors::All => return String::new(),
        Errors::None => "drop".to_owned(),
        Errors::PerSecond(number) => {
            format!("limit rate over {number}/second burst 5 packets drop")
        }
    };
    let (v4, v6) = (host.address_v4(0).to_bits(), host.address_v6(0).to_bits());
    let bits = host.block().ilog2();
    let (length_v4, length_v6) = (u32::BITS - bits, u128::BITS - bits);
    format!(
        "icmp type {{ destination-unreachable, time-exceeded }} @th,192,{length_v4} {:#x} {verdict}\n\
         icmpv6 type {{ destination-unreachable, packet-too-big, time-exceeded }} @th,256,{length_v6} {:#x} {verdict}\n",
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
    fn a_lab_without_faults_has_no_rules() {
        assert_eq!(ruleset(&Spec::plain(4, 0).unwrap(), None), "");
        let text = ruleset(&Spec::plain(4, 4).unwrap(), None);
        assert!(text.contains("hook forward"), "{text}");
        assert!(text.contains("198.18.0.32/28 : jump out4_silent"), "{text}");
    }
}
