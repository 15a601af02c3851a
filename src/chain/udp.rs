//! Group `udp`: datagrams without a checksum.

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::fields;
use crate::packet::{FlowKey, Packet, protocol};

/// The index of `udp_zero_checksum` in the table of functions.
const ZERO: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "udp",
    doc: "UDP checksums of zero",
    functions: &[
        FunctionDef {
            name: "udp_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what udp_zero_checksum records",
        },
        FunctionDef {
            name: "udp_zero_checksum",
            chains: ChainSet::of(&[Chain::Udp]),
            setup: Some("udp_setup"),
            alone: false,
            doc: "records whether the last datagram in each direction had a zero checksum, which means none",
        },
    ],
    fields: UdpFacts::FIELDS,
    usual: true,
    new: |selection| store::<UdpFacts>(&GROUP, selection),
};

fields! {
    /// Facts of the group `udp`.
    pub struct UdpFacts, UdpFactsColumns: Observer;
    "udp_zero_checksum" {
        /// Whether the checksum of the last forward datagram was 0, none (RFC 768; RFC 6936); NULL if there was none,
        /// or if it could not be read.
        udp_zero_checksum_fwd: Option<bool>,
        /// Whether the checksum of the last reverse datagram was 0; NULL likewise.
        udp_zero_checksum_rev: Option<bool>,
    }
}

impl Facts for UdpFacts {
    type Row = Self;
    fn row(&self, _: &FlowKey) -> Self {
        self.clone()
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let fact =
            of(seen.direction, &mut self.udp_zero_checksum_fwd, &mut self.udp_zero_checksum_rev);
        match packet.udp() {
            Some(udp) if runs.function(ZERO) => *fact = Some(udp.checksum == 0),
            None if packet.hides(protocol::UDP) => *fact = None,
            _ => {}
        }
        Progress::More
    }
}
