//! Group `dscp`: the Differentiated Services codepoints of IP headers (RFC 2474).

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, Class, FunctionDef, GroupDef, Progress, Seen};
use crate::field::{Perhaps, fields};
use crate::packet::{FlowKey, Packet, protocol};

/// The index of `dscp_extract` in the table of functions.
const EXTRACT: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "dscp",
    doc: "the DSCP of IP headers, on SYNs and on data, in each direction",
    functions: &[
        FunctionDef {
            name: "dscp_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what dscp_extract records",
        },
        FunctionDef {
            name: "dscp_extract",
            chains: ChainSet::of(&[Chain::Ip4, Chain::Ip6]),
            setup: Some("dscp_setup"),
            alone: false,
            doc: "records the DSCP of the first SYN and of the first data packet in each direction",
        },
    ],
    fields: Dscp::FIELDS,
    usual: true,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `dscp`.
    pub struct Dscp, DscpColumns: Observer;
    "dscp_extract" {
        /// DSCP of the first forward SYN; NULL if there was none, 0 is a value.
        dscp_mark_syn_fwd: Option<u8> = (0, 63),
        /// DSCP of the first reverse SYN (the SYN-ACK); NULL if there was none.
        dscp_mark_syn_rev: Option<u8> = (0, 63),
        /// DSCP of the first forward packet with data; NULL if there was none, 0 is a value.
        dscp_mark_data_fwd: Option<u8> = (0, 63),
        /// DSCP of the first reverse packet with data; NULL if there was none.
        dscp_mark_data_rev: Option<u8> = (0, 63),
        /// Whether forward packets with data carried different DSCPs; NULL instead of false if some segment had a
        /// header that could not be read.
        dscp_data_varies_fwd: Perhaps,
        /// Whether reverse packets with data carried different DSCPs; NULL likewise.
        dscp_data_varies_rev: Perhaps,
    }
}

/// What the facts are made of. Pairs are forward, reverse.
#[derive(Debug, Default)]
struct State {
    syn: [Option<u8>; 2],
    data: [Option<u8>; 2],
    varies: [bool; 2],
    /// Whether there were segments whose header could not be read.
    hidden: [bool; 2],
}

impl Facts for State {
    type Row = Dscp;
    fn row(&self, _: &FlowKey) -> Dscp {
        Dscp {
            dscp_mark_syn_fwd: self.syn[0],
            dscp_mark_syn_rev: self.syn[1],
            dscp_mark_data_fwd: self.data[0],
            dscp_mark_data_rev: self.data[1],
            dscp_data_varies_fwd: Perhaps::new(self.varies[0], self.hidden[0]),
            dscp_data_varies_rev: Perhaps::new(self.varies[1], self.hidden[1]),
        }
    }

    #[inline(always)]
    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        if !runs.function(EXTRACT) {
            return Progress::More;
        }
        let (dscp, way) = (packet.ip.dscp(), of(seen.direction, 0, 1));
        match seen.class {
            Some(Class::Syn) => {
                self.syn[way].get_or_insert(dscp);
            }
            Some(Class::Data) => self.varies[way] |= *self.data[way].get_or_insert(dscp) != dscp,
            None => self.hidden[way] |= packet.hides(protocol::TCP),
        }
        Progress::More
    }
}
