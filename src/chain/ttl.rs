//! Group `ttl`: how far packets had come, and identifiers that distinguish responders.

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::fields;
use crate::packet::{Direction, FlowKey, Packet, flag};

/// The index of `ttl_extract` in the table of functions.
const EXTRACT: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "ttl",
    doc: "TTL or hop limit per direction; identification and flow label of the SYN-ACK",
    functions: &[
        FunctionDef {
            name: "ttl_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what ttl_extract records",
        },
        FunctionDef {
            name: "ttl_extract",
            chains: ChainSet::of(&[Chain::Ip4, Chain::Ip6]),
            setup: Some("ttl_setup"),
            alone: false,
            doc: "records the first TTL or hop limit in each direction, and identification and flow label of the SYN-ACK",
        },
    ],
    fields: Ttl::FIELDS,
    usual: true,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `ttl`.
    pub struct Ttl, TtlColumns: Observer;
    "ttl_extract" {
        /// TTL or hop limit of the first forward packet.
        ttl_first_fwd: Option<u32> = (1, 255),
        /// TTL or hop limit of the first reverse packet; NULL if there was none. A router's error is not one.
        ttl_first_rev: Option<u32> = (1, 255),
        /// Identification of the first SYN-ACK's IPv4 header; NULL if there was none, or IPv6.
        ipid_synack: Option<u32> = (0, 65_535),
        /// Flow label of the first SYN-ACK's IPv6 header (RFC 6437); NULL if there was none, or IPv4.
        flowlabel_synack: Option<u32> = (0, 1_048_575),
    }
}

/// The facts, and what distinguishes the first from later ones.
#[derive(Debug, Default)]
struct State {
    facts: Ttl,
    synack: bool,
}

impl Facts for State {
    type Row = Ttl;
    fn row(&self, _: &FlowKey) -> Ttl {
        self.facts.clone()
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        if !packet.carries_marks() || !runs.function(EXTRACT) {
            return Progress::More;
        }
        of(seen.direction, &mut self.facts.ttl_first_fwd, &mut self.facts.ttl_first_rev)
            .get_or_insert(packet.ip.ttl.into());
        let synack = packet.tcp().is_some_and(|tcp| tcp.has(flag::SYN | flag::ACK));
        if synack && seen.direction == Direction::Reverse && !self.synack {
            self.synack = true;
            self.facts.ipid_synack = packet.ip.id;
            self.facts.flowlabel_synack = packet.ip.flow_label;
        }
        Progress::More
    }
}
