//! Situations of the prober: faults of the measuring host and of its own access to the network.
//!
//! The hosts of a lab have faults on the path and at the server. A situation instead affects all targets: a firewall,
//! a NAT, a busy processor. In each of them a label is true or absent; it is never wrong. Each row of [`SITUATIONS`]
//! has its behaviour, its effect on the truth, and its documentation.
//!
//! Rules and routes of a situation are in the lab's namespaces only and disappear with them.

use std::ops::RangeInclusive;

use crate::error::Result;
use crate::lab::namespace::{Namespace, set_sysctl};
use crate::lab::site::{Site, TOWARDS_PROBER};
use crate::lab::spec::{HostSpec, Spec};
use crate::lab::truth::Truth;
use crate::lab::{INTERFACE, busy, late, net};

/// The nftables table that a situation adds to a namespace.
const TABLE: &str = "table inet lab_prober";

/// One situation of the prober.
pub struct Situation {
    /// Unique name: small letters, digits and hyphens.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub title: &'static str,
    /// What a run can still conclude, in one sentence.
    pub expected: &'static str,
    /// Whether labels are missing because of it.
    pub absent: Absent,
    /// Whether a label may be a word for a target whose confirmation rounds differ.
    pub unconfirmed: bool,
    /// Whether answers are dropped, so that SYNs are retransmitted and hosts that count them miscount. Nothing is
    /// known of such hosts then.
    pub miscounts: bool,
    /// Whether sockets are bound to the prober's interface, as with `-i`.
    pub binds: bool,
    /// Labels that are true in this situation in place of the usual ones.
    truth: &'static [(&'static str, &'static str)],
    set_up: fn(&mut Site<'_>) -> Result<()>,
}

/// Whether labels are missing in a situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// Every true label is given.
    Never,
    /// Some labels are missing; a run in which none is missing shows that the situation had no effect.
    Always,
    /// It depends on how busy the machine is.
    Perhaps,
}

impl Absent {
    /// The word for lists and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Absent::Never => "never",
            Absent::Always => "always",
            Absent::Perhaps => "perhaps",
        }
    }
}

/// The default row: the lab's labels, all of them given, and unbound sockets.
const USUAL: Situation = Situation {
    name: "",
    title: "",
    expected: "",
    absent: Absent::Never,
    unconfirmed: false,
    miscounts: false,
    binds: false,
    truth: &[],
    set_up: |_| Ok(()),
};

/// Every situation, in the order of lists and tables.
pub static SITUATIONS: &[Situation] = &[
    Situation {
        name: "half-ports-low",
        title: "A stateless filter in front of the prober drops packets to the lower half of its source ports.",
        expected: "Nothing from failures in the filtered half (local_error); with few targets, results that differ between \
                   rounds are intermittent or not_confirmed.",
        absent: Absent::Always,
        unconfirmed: true,
        miscounts: true,
        set_up: |site| filter_ports(site, 0),
        ..USUAL
    },
    Situation {
        name: "half-ports-high",
        title: "A stateless filter in front of the prober drops packets to the upper half of its source ports.",
        expected: "Nothing from failures in the filtered half (local_error); with few targets, results that differ between \
                   rounds are intermittent or not_confirmed.",
        absent: Absent::Always,
        unconfirmed: true,
        miscounts: true,
        set_up: |site| filter_ports(site, 1),
        ..USUAL
    },
    Situation {
        name: "host-firewall-ece",
        title: "The prober's own firewall drops every SYN-ACK with the flag ECE.",
        expected: "If a server negotiates ECN, the attempt is local_error and nothing is concluded.",
        absent: Absent::Always,
        miscounts: true,
        set_up: |site| firewall(site, "tcp flags & (syn | ack | ecn) == (syn | ack | ecn) drop"),
        ..USUAL
    },
    Situation {
        name: "host-firewall-ports",
        title: "The prober's own firewall accepts only packets to the ports 32768 to 60999, Linux's default ephemeral \
                ports.",
        expected: "Everything: the default source ports are in that range.",
        set_up: |site| firewall(site, "meta l4proto { tcp, udp } th dport != 32768-60999 drop"),
        ..USUAL
    },
    Situation {
        name: "host-firewall-invalid",
        title: "The prober's own firewall drops packets that connection tracking calls invalid.",
        expected: "Everything: no packet of a shipped measurement is invalid.",
        set_up: |site| firewall(site, "ct state invalid drop"),
        ..USUAL
    },
    Situation {
        name: "host-firewall-untracked",
        title: "The prober's own firewall accepts only answers, and does not track connections from the upper half of \
                its source ports.",
        expected: "An attempt from a port that is not tracked is local_error and nothing is concluded.",
        absent: Absent::Always,
        miscounts: true,
        set_up: untracked,
        ..USUAL
    },
    Situation {
        name: "rp-filter",
        title: "Sockets are bound to the interface, more specific routes to all hosts lead into a tunnel, and strict \
                reverse path filtering drops the answers.",
        expected: "Every answered attempt is local_error.",
        absent: Absent::Always,
        miscounts: true,
        binds: true,
        set_up: reverse_path,
        ..USUAL
    },
    Situation {
        name: "nat",
        title: "The prober's own host translates source ports, so packets on the interface have other ports than \
                the sockets.",
        expected: "Only what sockets report; facts about packets are not observed.",
        absent: Absent::Always,
        set_up: translate,
        ..USUAL
    },
    Situation {
        name: "mtu-1280",
        title: "The prober's own link has an MTU of 1280 octets.",
        expected: "Everything; the announced segment size is that of the link.",
        truth: &[
            ("mss.option.local.value:1460", "mss.option.local.value:1240"),
            ("mss.option.local.value:1440", "mss.option.local.value:1220"),
        ],
        set_up: small_link,
        ..USUAL
    },
    Situation {
        name: "starved",
        title: "Every processor of the prober is busy with twice as many threads as there are processors.",
        expected: "Everything, unless the capture lost packets or the run was stopped for too long.",
        absent: Absent::Perhaps,
        set_up: |site| busy::start(site.prober, site.stop),
        ..USUAL
    },
    Situation {
        name: "late-answers",
        title: "SYN-ACKs, data and DNS answers of an earlier run still arrive at the prober's ports, before and after a \
                new SYN; the host firewall drops half of them, and the kernel resets the others.",
        expected: "Everything that is not spoiled: packets that do not fit a connection are ignored, but a reset that the kernel \
                   sends for a late answer may end a new connection.",
        absent: Absent::Perhaps,
        miscounts: true,
        set_up: late::start,
        ..USUAL
    },
];

/// The situation with this name.
pub fn find(name: &str) -> Option<&'static Situation> {
    SITUATIONS.iter().find(|situation| situation.name == name)
}

impl Situation {
    /// The truth about a host in this situation.
    pub fn truth(&self, usual: &Truth) -> Truth {
        let replace = |label: &String| {
            let other = self.truth.iter().find(|(usual, _)| usual == label);
            other.map_or_else(|| label.clone(), |(_, now)| (*now).to_owned())
        };
        usual
            .iter()
            .map(|(measurement, labels)| {
                (measurement.clone(), labels.iter().map(replace).collect())
            })
            .collect()
    }

    /// The lab with its truth in this situation.
    #[must_use]
    pub fn truths(&self, spec: &Spec) -> Spec {
        let mut spec = spec.clone();
        let counting = |host: &&mut HostSpec| host.path.iter().any(|rule| rule.contains("numgen"));
        for host in spec.hosts.iter_mut().filter(counting).filter(|_| self.miscounts) {
            host.truth_v4.clear();
            host.truth_v6.clear();
            host.late_v4.clear();
            host.late_v6.clear();
        }
        let of_hosts =
            spec.hosts.iter_mut().flat_map(|host| [&mut host.truth_v4, &mut host.truth_v6]);
        for truth in of_hosts.chain([&mut spec.truth_v4, &mut spec.truth_v6]) {
            *truth = self.truth(truth);
        }
        spec
    }

    /// Whether a label means that nothing was concluded: not true, but not wrong either.
    pub fn concludes_nothing(&self, label: &str) -> bool {
        match label.rsplit('.').next() {
            Some("insufficient") => true,
            Some("intermittent" | "not_confirmed") => self.unconfirmed,
            _ => false,
        }
    }

    pub(crate) fn set_up(&self, site: &mut Site<'_>) -> Result<()> {
        (self.set_up)(site)
    }
}

impl std::fmt::Debug for Situation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Situation").field(&self.name).finish()
    }
}

impl PartialEq for Situation {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Situation {}

/// The lower (0) or upper (1) half of a range of ports, in nftables syntax.
fn half(ports: &RangeInclusive<u16>, which: u16) -> String {
    let (first, last) = (*ports.start(), *ports.end());
    let middle = first + (last - first) / 2;
    match which {
        0 => format!("{first}-{middle}"),
        _ => format!("{}-{last}", middle + 1),
    }
}

/// A filter at the first router: the prober's host sees its packets leave, and no answer.
fn filter_ports(site: &mut Site<'_>, which: u16) -> Result<()> {
    let ports = half(&site.ports, which);
    site.router.run(|| {
        net::nft(&format!(
            "{TABLE} {{\nchain forward {{\ntype filter hook forward priority 10; policy accept;\n\
             oifname {TOWARDS_PROBER} meta l4proto {{ tcp, udp }} th dport {ports} drop\n}}\n}}\n"
        ))
    })
}

/// A rule for packets that come in at the prober's interface. The capture sees a packet before the rule does.
fn firewall(site: &mut Site<'_>, rule: &str) -> Result<()> {
    site.prober.run(|| {
        net::nft(&format!(
            "{TABLE} {{\nchain input {{\ntype filter hook input priority filter; policy accept;\n\
             iifname {INTERFACE} {rule}\n}}\n}}\n"
        ))
    })
}

fn untracked(site: &mut Site<'_>) -> Result<()> {
    let ports = half(&site.ports, 1);
    site.prober.run(|| {
        net::nft(&format!(
            "{TABLE} {{\nchain output {{\ntype filter hook output priority raw; policy accept;\n\
             meta l4proto {{ tcp, udp }} th sport {ports} notrack\n}}\n\
             chain input {{\ntype filter hook input priority filter; policy accept;\n\
             iifname {INTERFACE} meta l4proto {{ tcp, udp }} ct state != {{ established, related }} drop\n}}\n}}\n"
        ))
    })
}

/// IPv6 has no sysctl for this; firewalld and others use such a rule instead.
fn reverse_path(site: &mut Site<'_>) -> Result<()> {
    let tunnel = Namespace::create("tunnel of the prober")?;
    site.prober.run(|| {
        net::ip_batch(&format!(
            "link add vpn0 type veth peer name far netns {}\nlink set vpn0 up\n",
            tunnel.path()
        ))
    })?;
    tunnel.run(|| net::ip_batch("link set far up\n"))?;
    let mut routes = String::new();
    for host in &site.spec.hosts {
        for prefix in [host.prefix_v4(), host.prefix_v6()] {
            routes.push_str(&format!("route add {prefix} dev vpn0\n"));
        }
    }
    site.prober.run(|| {
        net::ip_batch(&routes)?;
        set_sysctl(&format!("net.ipv4.conf.{INTERFACE}.rp_filter"), "1")?;
        net::nft(&format!(
            "{TABLE} {{\nchain prerouting {{\ntype filter hook prerouting priority raw; policy accept;\n\
             iifname {INTERFACE} meta nfproto ipv6 fib saddr oif != {INTERFACE} drop\n}}\n}}\n"
        ))
    })?;
    site.namespaces.push(tunnel);
    Ok(())
}

/// To ports that no run uses as source ports.
fn translate(site: &mut Site<'_>) -> Result<()> {
    site.prober.run(|| {
        net::nft(&format!(
            "{TABLE} {{\nchain postrouting {{\ntype nat hook postrouting priority srcnat; policy accept;\n\
             oifname {INTERFACE} meta l4proto {{ tcp, udp }} masquerade to :2048-9999\n}}\n}}\n"
        ))
    })
}

/// Both ends: a link has one MTU.
fn small_link(site: &mut Site<'_>) -> Result<()> {
    for (end, device) in [(site.prober, INTERFACE), (site.router, TOWARDS_PROBER)] {
        end.run(|| net::ip_batch(&format!("link set {device} mtu 1280\n")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_row_has_a_name_and_says_what_it_does() {
        let mut names = BTreeSet::new();
        for row in SITUATIONS {
            assert!(names.insert(row.name) && find(row.name) == Some(row), "{row:?}");
            let name = row.name.bytes();
            assert!(name.clone().count() > 2, "{row:?}");
            assert!(
                name.into_iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            );
            for text in [row.title, row.expected] {
                assert!(text.ends_with('.') && !text.contains("  "), "{row:?}: {text}");
            }
        }
        assert_eq!(find("usual"), None);
    }

    #[test]
    fn the_halves_of_a_range_cover_it_and_do_not_overlap() {
        assert_eq!([0, 1].map(|w| half(&(10240..=32767), w)), ["10240-21503", "21504-32767"]);
        assert_eq!([0, 1].map(|w| half(&(0..=65535), w)), ["0-32767", "32768-65535"]);
        assert_eq!([0, 1].map(|w| half(&(5..=7), w)), ["5-6", "7-7"]);
    }

    #[test]
    fn a_smaller_link_changes_the_truth_and_a_firewall_does_not() {
        let labels = ["mss.connectivity.online", "mss.option.local.value:1460"];
        let usual = BTreeMap::from([("mss".to_owned(), labels.map(str::to_owned).to_vec())]);
        let truth = |name: &str| find(name).unwrap().truth(&usual);
        assert_eq!(truth("mtu-1280")["mss"], [labels[0], "mss.option.local.value:1240"]);
        assert_eq!(truth("host-firewall-ece"), usual);
    }

    #[test]
    fn if_answers_are_dropped_nothing_is_known_of_hosts_that_count() {
        let spec = Spec::internet().unwrap();
        for (name, known) in [("half-ports-low", false), ("nat", true)] {
            let hosts = find(name).unwrap().truths(&spec).hosts;
            let counting = hosts.iter().find(|host| host.name == "ecn-once").unwrap();
            assert_eq!(counting.truth_v6.contains_key("ecn"), known, "{name}");
            assert!(hosts[0].truth_v4.contains_key("ecn"), "{name}");
        }
    }

    #[test]
    fn rounds_that_differ_conclude_nothing_only_where_ports_are_filtered() {
        for (situation, label, nothing) in [
            ("half-ports-low", "ecn.connectivity.intermittent", true),
            ("half-ports-low", "ecn.connectivity.not_confirmed", true),
            ("half-ports-low", "ecn.connectivity.broken", false),
            ("half-ports-low", "ecn.connectivity.offline", false),
            ("host-firewall-ece", "ecn.connectivity.intermittent", false),
            ("host-firewall-ece", "ecn.negotiation.insufficient", true),
        ] {
            let row = find(situation).unwrap();
            assert_eq!(row.concludes_nothing(label), nothing, "{situation} {label}");
        }
    }
}
