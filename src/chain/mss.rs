//! Group `mss`: the maximum segment size that each end announced.

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::fields;
use crate::packet::tcp_option::{kind, options};
use crate::packet::{FlowKey, Packet, flag};

/// The index of `mss_extract` in the table of functions.
const EXTRACT: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "mss",
    doc: "the MSS option of SYN and SYN-ACK",
    functions: &[
        FunctionDef {
            name: "mss_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what mss_extract records",
        },
        FunctionDef {
            name: "mss_extract",
            chains: ChainSet::of(&[Chain::Tcp]),
            setup: Some("mss_setup"),
            alone: false,
            doc: "records the MSS option of the first SYN in each direction",
        },
    ],
    fields: Mss::FIELDS,
    usual: true,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `mss`.
    pub struct Mss, MssColumns: Observer;
    "mss_extract" {
        /// Length octet of the MSS option in the first forward SYN (4 by RFC 9293, 3.7.1); NULL if absent.
        mss_len_fwd: Option<u32> = (2, 255),
        /// Length octet of the MSS option in the first reverse SYN; NULL if absent.
        mss_len_rev: Option<u32> = (2, 255),
        /// Octets announced by the MSS option of the first forward SYN; NULL if absent.
        mss_value_fwd: Option<u32> = (1, 65_535),
        /// Octets announced by the MSS option of the first reverse SYN; NULL if absent.
        mss_value_rev: Option<u32> = (1, 65_535),
    }
}

/// The facts, and what distinguishes the first from later ones.
#[derive(Debug, Default)]
struct State {
    facts: Mss,
    syn_fwd: bool,
    syn_rev: bool,
}

impl Facts for State {
    type Row = Mss;
    fn row(&self, _: &FlowKey) -> Mss {
        self.facts.clone()
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let syn = packet.tcp().filter(|tcp| tcp.has(flag::SYN) && runs.function(EXTRACT));
        let Some(tcp) = syn else { return Progress::More };
        // The first SYN counts: a later one may have fallen back.
        if std::mem::replace(of(seen.direction, &mut self.syn_fwd, &mut self.syn_rev), true) {
            return Progress::More;
        }
        if let Some(option) = options(tcp.options).find(|option| option.kind == kind::MSS) {
            let length = u32::try_from(option.value.len() + 2).ok();
            *of(seen.direction, &mut self.facts.mss_len_fwd, &mut self.facts.mss_len_rev) = length;
            let value =
                option.value.try_into().ok().map(|octets| u16::from_be_bytes(octets).into());
            *of(seen.direction, &mut self.facts.mss_value_fwd, &mut self.facts.mss_value_rev) =
                value;
        }
        Progress::More
    }
}
