//! Group `evil`: the reserved flag of IPv4 headers, the "evil bit" of RFC 3514.

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, Class, FunctionDef, GroupDef, Progress, Seen};
use crate::field::fields;
use crate::packet::{FlowKey, Packet};

/// The index of `evilbit_extract` in the table of functions.
const EXTRACT: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "evil",
    doc: "the reserved flag of IPv4 headers, on SYNs and on data, in each direction",
    functions: &[
        FunctionDef {
            name: "evilbit_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what evilbit_extract records",
        },
        FunctionDef {
            name: "evilbit_extract",
            chains: ChainSet::of(&[Chain::Ip4]),
            setup: Some("evilbit_setup"),
            alone: false,
            doc: "records the reserved IPv4 flag of the first SYN and of the first data packet in each direction",
        },
    ],
    fields: Evil::FIELDS,
    usual: true,
    new: |selection| store::<Evil>(&GROUP, selection),
};

fields! {
    /// Facts of the group `evil`.
    pub struct Evil, EvilColumns: Observer;
    "evilbit_extract" {
        /// The reserved flag (RFC 791, RFC 3514) of the first forward SYN; NULL if there was none, or IPv6.
        evilbit_syn_fwd: Option<bool>,
        /// The reserved flag of the first reverse SYN; NULL if there was none, or IPv6.
        evilbit_syn_rev: Option<bool>,
        /// The reserved flag of the first forward packet with data; NULL if there was none, or IPv6.
        evilbit_data_fwd: Option<bool>,
        /// The reserved flag of the first reverse packet with data; NULL if there was none, or IPv6.
        evilbit_data_rev: Option<bool>,
    }
}

impl Facts for Evil {
    type Row = Self;
    fn row(&self, _: &FlowKey) -> Self {
        self.clone()
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let fact = match seen.class.filter(|_| runs.function(EXTRACT)) {
            Some(Class::Syn) => {
                of(seen.direction, &mut self.evilbit_syn_fwd, &mut self.evilbit_syn_rev)
            }
            Some(Class::Data) => {
                of(seen.direction, &mut self.evilbit_data_fwd, &mut self.evilbit_data_rev)
            }
            None => return Progress::More,
        };
        if fact.is_none() {
            *fact = packet.ip.evil;
        }
        Progress::More
    }
}
