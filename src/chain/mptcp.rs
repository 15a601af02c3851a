//! Group `mptcp`: Multipath TCP (RFC 8684) in SYN and SYN-ACK.

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::fields;
use crate::packet::tcp_option::{kind, options};
use crate::packet::{FlowKey, Packet, flag};

/// The index of `mptcp_extract` in the table of functions.
const EXTRACT: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "mptcp",
    doc: "Multipath TCP in SYN and SYN-ACK",
    functions: &[
        FunctionDef {
            name: "mptcp_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what mptcp_extract records",
        },
        FunctionDef {
            name: "mptcp_extract",
            chains: ChainSet::of(&[Chain::Tcp]),
            setup: Some("mptcp_setup"),
            alone: false,
            doc: "records subtype and version of the MPTCP option of the first SYN in each direction",
        },
    ],
    fields: Mptcp::FIELDS,
    usual: true,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `mptcp`.
    pub struct Mptcp, MptcpColumns: Observer;
    "mptcp_extract" {
        /// Subtype of the MPTCP option in the first forward SYN: 0 MP_CAPABLE, 1 MP_JOIN (RFC 8684, 8); NULL if absent.
        mptcp_subtype_fwd: Option<u8>,
        /// Subtype of the MPTCP option in the first reverse SYN; NULL if absent.
        mptcp_subtype_rev: Option<u8>,
        /// Version in a forward MP_CAPABLE (RFC 8684, 3.1); NULL if absent.
        mptcp_version_fwd: Option<u8>,
        /// Version in a reverse MP_CAPABLE; NULL if absent.
        mptcp_version_rev: Option<u8>,
    }
}

/// The facts, and what distinguishes the first from later ones.
#[derive(Debug, Default)]
struct State {
    facts: Mptcp,
    syn_fwd: bool,
    syn_rev: bool,
}

impl Facts for State {
    type Row = Mptcp;
    fn row(&self, _: &FlowKey) -> Mptcp {
        self.facts.clone()
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let syn = packet.tcp().filter(|tcp| tcp.has(flag::SYN) && runs.function(EXTRACT));
        let Some(tcp) = syn else { return Progress::More };
        let direction = seen.direction;
        if std::mem::replace(of(direction, &mut self.syn_fwd, &mut self.syn_rev), true) {
            return Progress::More;
        }
        let option = options(tcp.options).find(|option| option.kind == kind::MPTCP);
        if let Some([first, ..]) = option.map(|option| option.value) {
            let (subtype, version) = (first >> 4, first & 0xf);
            *of(direction, &mut self.facts.mptcp_subtype_fwd, &mut self.facts.mptcp_subtype_rev) =
                Some(subtype);
            if subtype == 0 {
                *of(
                    direction,
                    &mut self.facts.mptcp_version_fwd,
                    &mut self.facts.mptcp_version_rev,
                ) = Some(version);
            }
        }
        Progress::More
    }
}
