//! Group `dscp`: the Differentiated Services codepoints of IP headers (RFC 2474).

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, Class, FunctionDef, GroupDef, Progress, Seen};
use crate::field::fields;
use crate::packet::{FlowKey, Packet};

/// The place of `dscp_extract` in the table of functions.
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
    new: |selection| store::<Dscp>(&GROUP, selection),
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
        /// Whether forward packets with data carried different DSCPs.
        dscp_data_varies_fwd: bool,
        /// Whether reverse packets with data carried different DSCPs.
        dscp_data_varies_rev: bool,
    }
}

impl Facts for Dscp {
    type Row = Self;
    fn row(&self, _: &FlowKey) -> Self {
        self.clone()
    }

    #[inline(always)]
    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let dscp = packet.ip.dscp();
        match seen.class.filter(|_| runs.function(EXTRACT)) {
            Some(Class::Syn) => {
                of(seen.direction, &mut self.dscp_mark_syn_fwd, &mut self.dscp_mark_syn_rev)
                    .get_or_insert(dscp);
            }
            Some(Class::Data) => {
                let first =
                    of(seen.direction, &mut self.dscp_mark_data_fwd, &mut self.dscp_mark_data_rev)
                        .get_or_insert(dscp);
                let other = *first != dscp;
                *of(
                    seen.direction,
                    &mut self.dscp_data_varies_fwd,
                    &mut self.dscp_data_varies_rev,
                ) |= other;
            }
            None => {}
        }
        Progress::More
    }
}
