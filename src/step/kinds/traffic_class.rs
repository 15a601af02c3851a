//! The step `traffic_class`: DSCP and ECN bits of this configuration's packets, of both versions of IP.
//!
//! It is rules of nftables in the same table as the step `netfilter`. A socket option would not do: TCP sets the ECN
//! bits itself, and the SYN, data and pure acknowledgments of a socket cannot have different marks.

use crate::error::Result;
use crate::step::facts::Facts;
use crate::step::kind::{Change, GroupFaults, Need, Privilege, Scope, StepDef, StepKind, Together};
use crate::step::kinds::netfilter::{self, REVERT};
use crate::step::rule::Hook;
use crate::step::tool::NFT;

/// The row of the registry.
pub(super) static DEF: StepDef = StepDef {
    name: "traffic_class",
    scope: Scope::Packets,
    doc: "set the DSCP, the ECN bits, or both, of this configuration's packets of both IP versions, and leave all other bits",
    undo: "the rules are removed; other tables are never touched",
    example: r#"{ traffic_class = { dscp = "ef", on = "data" } }"#,
    privilege: Privilege::NetAdmin,
    group: Some("nftables"),
    revert: Some(&REVERT),
};

/// The packets that are marked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum On {
    /// TCP segments with SYN.
    Syn,
    /// TCP segments with payload and without SYN, and all packets of other transports.
    Data,
    /// All packets.
    #[default]
    All,
}

/// Every word of `on`, with its meaning.
pub static ON: &[(&str, On, &str)] = &[
    ("syn", On::Syn, "TCP segments with SYN, also retransmitted ones"),
    (
        "data",
        On::Data,
        "TCP segments with payload and without SYN, and all packets of other transports",
    ),
    ("all", On::All, "all packets: the default"),
];

/// The marks of a configuration's packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TrafficClass {
    /// The DSCP, 0 to 63.
    pub dscp: Option<u8>,
    /// The ECN codepoint, 0 to 3.
    pub ecn: Option<u8>,
    /// Which packets.
    pub on: On,
}

impl TrafficClass {
    /// Its rules, without a version of IP, each for packets that the others do not match.
    fn texts(&self) -> Vec<String> {
        let dscp = self.dscp.map(|dscp| format!("dscp set {dscp}"));
        let words = ["not-ect", "ect1", "ect0", "ce"];
        let ecn = self.ecn.and_then(|ecn| words.get(usize::from(ecn)));
        let ecn = ecn.map(|word| format!("ecn set {word}"));
        let set: Vec<String> = dscp.into_iter().chain(ecn).collect();
        let set = set.join(" ");
        match self.on {
            On::All => vec![set],
            On::Syn => vec![format!("tcp flags & syn == syn {set}")],
            // The first octet after the transport header can be loaded only if there is one.
            On::Data => vec![
                format!("tcp flags & syn == 0 @ih,0,8 >= 0 {set}"),
                format!("meta l4proto != tcp {set}"),
            ],
        }
    }

    fn words(&self) -> String {
        let dscp = self.dscp.map(|dscp| format!("DSCP {dscp}"));
        let words = ["Not-ECT", "ECT(1)", "ECT(0)", "CE"];
        let ecn = self.ecn.and_then(|ecn| words.get(usize::from(ecn))).map(|&ecn| ecn.to_owned());
        dscp.into_iter().chain(ecn).collect::<Vec<_>>().join(" and ")
    }
}

impl StepKind for TrafficClass {
    fn def(&self) -> &'static StepDef {
        &DEF
    }

    fn describe(&self) -> String {
        let packets = match self.on {
            On::All => "all of this configuration's packets",
            On::Syn => "this configuration's TCP segments with SYN",
            On::Data => "this configuration's packets with data",
        };
        format!("mark {packets} with {}, by nftables rules at the hook output", self.words())
    }

    fn describe_undo(&self) -> String {
        "remove the rules from the tool's own table".into()
    }

    fn written(&self) -> String {
        format!("traffic_class ({})", self.words())
    }

    fn needs(&self) -> Vec<Need> {
        vec![netfilter::need()]
    }

    fn needs_mark(&self) -> bool {
        true
    }

    fn rules(&self) -> Vec<(Hook, String)> {
        self.texts().into_iter().map(|rule| (Hook::Output, rule)).collect()
    }

    fn check(&self, _: bool) -> Result<()> {
        NFT.find().map(drop)
    }

    fn inspect_group(&self, together: &Together<'_>, facts: &dyn Facts) -> GroupFaults {
        netfilter::inspect_group(together, facts)
    }

    fn refused(&self, _: &str) -> (&'static str, &'static str) {
        ("E0505", "`on = \"data\"` needs Linux 5.16 and nft 1.0.1; a netfilter step takes any rule")
    }

    fn change(&self, together: &Together<'_>) -> Option<Box<dyn Change>> {
        Some(Box::new(netfilter::script(together)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::rule::by_family;

    #[test]
    fn only_named_bits_of_named_packets_are_set() {
        let rules = |dscp, ecn, on| TrafficClass { dscp, ecn, on }.texts();
        assert_eq!(rules(Some(46), None, On::All), ["dscp set 46"]);
        assert_eq!(
            rules(Some(0), Some(1), On::Syn),
            ["tcp flags & syn == syn dscp set 0 ecn set ect1"]
        );
        assert_eq!(
            rules(None, Some(3), On::Data),
            ["tcp flags & syn == 0 @ih,0,8 >= 0 ecn set ce", "meta l4proto != tcp ecn set ce"]
        );
        for on in ON.iter().map(|(_, on, _)| *on) {
            for rule in rules(Some(46), Some(2), on) {
                assert_eq!(by_family(&rule).len(), 2, "{rule}: both versions of IP");
            }
        }
    }
}
