//! Which targets a configuration leaves out: those of the IP version that none of its steps is for.
//!
//! If all steps of a configuration are for one version, packets of the other are as under any other configuration: an
//! attempt would say about the experiment what is true of the baseline. Such attempts are not made.

use super::family::Family;
use super::kinds::Step;
use super::kinds::sockopt::Sockopt;

/// The version that these steps leave out: at least one step is for the other version only, and none is for this one.
pub fn left_out(steps: &[Step]) -> Option<Family> {
    // An option that another one sets for both versions, and this one again for IPv6, is for both.
    let again = |step: &Step| {
        let Step::Sockopt(Sockopt::Named(only, _)) = step else { return false };
        steps.iter().any(|other| {
            matches!(other, Step::Sockopt(Sockopt::Named(row, _)) if row.v6 == Some(only.number))
        })
    };
    let has = |family| steps.iter().any(|step| step.only() == Some(family) && !again(step));
    match (has(Family::V4), has(Family::V6)) {
        (true, false) => Some(Family::V6),
        (false, true) => Some(Family::V4),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::kinds::netfilter::{Hook, Netfilter};
    use crate::step::kinds::sockopt::{SOCKOPTS, Value};

    fn sysctl(name: &str) -> Step {
        Step::sysctl(name, "1")
    }

    fn rule(rule: &str) -> Step {
        Step::Netfilter(Netfilter { rule: rule.into(), hook: Hook::Output })
    }

    fn option(name: &str) -> Step {
        let row = SOCKOPTS.iter().find(|row| row.name == name).unwrap();
        Step::Sockopt(Sockopt::Named(row, Value::Integer(8)))
    }

    #[test]
    fn a_step_is_for_both_versions_or_for_one() {
        let raw = |level| Step::Sockopt(Sockopt::Raw { level, name: 1, value: 1 });
        let (v4, v6) = (Some(Family::V4), Some(Family::V6));
        for (step, only) in [
            (sysctl("net.ipv4.tcp_ecn"), None),
            (sysctl("net/ipv4/tcp_sack"), None),
            (sysctl("net.ipv4.ip_local_port_range"), None),
            (sysctl("net.core.rmem_max"), None),
            (sysctl("net.mptcp.enabled"), None),
            (sysctl("net.ipv4.ip_default_ttl"), v4),
            (sysctl("net/ipv4/conf/eth0.1/rp_filter"), v4),
            (sysctl("net.ipv6.conf.all.hop_limit"), v6),
            (rule("dscp set 46"), None),
            (rule("tcp flags syn tcp option maxseg size set 1000"), None),
            (rule("ip dscp set 46"), v4),
            (rule("tcp dport 80 ip ttl set 3"), v4),
            (rule("ip6 hoplimit set 3"), v6),
            (rule("meta nfproto ipv4 drop"), v4),
            (rule("meta nfproto != ipv4 drop"), v6),
            (rule("meta nfproto { ipv4, ipv6 } drop"), None),
            (rule("meta protocol ip6 drop"), v6),
            (rule("ip protocol != icmp drop"), v4),
            (rule("meta l4proto != icmp drop"), None),
            (rule("meta l4proto icmp drop"), v4),
            (rule("icmpv6 type packet-too-big drop"), v6),
            (rule("reject with icmpx admin-prohibited"), None),
            (rule("ip saddr 192.0.2.1 dscp set 4"), v4),
            (rule("counter comment \"ip dscp\""), None),
            (option("ip_tos"), None),
            (option("ip_ttl"), None),
            (option("ipv6_tclass"), v6),
            (option("mark"), None),
            (raw(0), v4),
            (raw(6), None),
            (raw(41), v6),
            (Step::HoldReset, None),
        ] {
            assert_eq!(step.only(), only, "{step:?}");
        }
    }

    #[test]
    fn one_version_is_left_out_unless_there_is_a_step_for_each() {
        let (four, six, both) =
            (rule("ip dscp set 46"), rule("ip6 dscp set 46"), rule("dscp set 46"));
        for (steps, expected) in [
            (vec![], None),
            (vec![both.clone()], None),
            (vec![four.clone()], Some(Family::V6)),
            (vec![both.clone(), four.clone()], Some(Family::V6)),
            (vec![six.clone(), both], Some(Family::V4)),
            (vec![four.clone(), six], None),
            (vec![four, option("ipv6_tclass")], None),
            (vec![option("ip_tos"), option("ipv6_tclass")], None),
            (vec![option("ip_ttl"), option("ipv6_tclass")], Some(Family::V4)),
        ] {
            assert_eq!(left_out(&steps), expected, "{steps:?}");
        }
    }
}
