//! Group `tcp`: how the connection was opened and how it ended.

use arrow::array::ArrayRef;

use super::{Chain, ChainSet, FunctionDef, Group, GroupDef, Progress, Seen, Selection, Slots};
use crate::field::fields;
use crate::packet::{Direction, Packet, Tcp, flag};

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "tcp",
    doc: "the TCP handshake and how the connection ended",
    functions: &[
        FunctionDef {
            name: "tcp_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            doc: "makes room for what the other functions of the group record",
        },
        FunctionDef {
            name: "tcp_handshake",
            chains: ChainSet::of(&[Chain::Tcp]),
            setup: Some("tcp_setup"),
            doc: "records the flags of the SYN and the SYN-ACK, first and last, and whether the handshake was completed",
        },
        FunctionDef {
            name: "tcp_complete",
            chains: ChainSet::of(&[Chain::Tcp]),
            setup: Some("tcp_setup"),
            doc: "records FIN and RST in each direction; both FINs or one RST end the flow",
        },
    ],
    fields: TcpFacts::FIELDS,
    new: |selection| Box::new(TcpGroup::new(selection)),
};

fields! {
    /// Facts of the group `tcp`.
    pub struct TcpFacts, TcpColumns;
    "tcp_handshake" {
        /// Flags of the first SYN in the forward direction, nine bits with AE (RFC 9293, 3.1; RFC 9768); NULL if none.
        tcp_synflags_fwd: Option<u16>,
        /// Flags of the first SYN (the SYN-ACK) in the reverse direction; NULL if none.
        tcp_synflags_rev: Option<u16>,
        /// Flags of the last SYN in the forward direction: differs from the first if a retransmission fell back.
        tcp_synflags_last_fwd: Option<u16>,
        /// Flags of the last SYN in the reverse direction.
        tcp_synflags_last_rev: Option<u16>,
        /// Whether the first SYN-ACK had ECE set (RFC 3168, 6.1.1); NULL if there was none.
        tcp_synack_ece: Option<bool>,
        /// Whether the first SYN-ACK had CWR set (RFC 3168, 6.1.1); NULL if there was none.
        tcp_synack_cwr: Option<bool>,
        /// Whether the handshake was completed: SYN, SYN-ACK, then a forward segment with ACK.
        tcp_connected: bool,
    }
    "tcp_complete" {
        /// Whether a FIN was seen in the forward direction.
        tcp_fin_fwd: bool,
        /// Whether a FIN was seen in the reverse direction.
        tcp_fin_rev: bool,
        /// Whether a RST was seen in the forward direction.
        tcp_rst_fwd: bool,
        /// Whether a RST was seen in the reverse direction.
        tcp_rst_rev: bool,
    }
}

struct TcpGroup {
    handshake: bool,
    complete: bool,
    selection: Selection,
    flows: Slots<TcpFacts>,
    columns: TcpColumns,
}

impl TcpGroup {
    fn new(selection: Selection) -> Self {
        Self {
            handshake: selection.has("tcp_handshake"),
            complete: selection.has("tcp_complete"),
            selection,
            flows: Slots::default(),
            columns: TcpColumns::default(),
        }
    }
}

impl TcpFacts {
    fn handshake(&mut self, tcp: &Tcp<'_>, direction: Direction) {
        let syn = tcp.has(flag::SYN);
        match direction {
            Direction::Forward if syn => {
                self.tcp_synflags_fwd.get_or_insert(tcp.flags);
                self.tcp_synflags_last_fwd = Some(tcp.flags);
            }
            Direction::Forward => {
                let synack = self.tcp_synack_ece.is_some();
                if synack && self.tcp_synflags_fwd.is_some() && tcp.has(flag::ACK) {
                    self.tcp_connected |= !tcp.has(flag::RST);
                }
            }
            Direction::Reverse if syn => {
                self.tcp_synflags_rev.get_or_insert(tcp.flags);
                self.tcp_synflags_last_rev = Some(tcp.flags);
                if tcp.has(flag::ACK) {
                    self.tcp_synack_ece.get_or_insert(tcp.has(flag::ECE));
                    self.tcp_synack_cwr.get_or_insert(tcp.has(flag::CWR));
                }
            }
            Direction::Reverse => {}
        }
    }

    fn complete(&mut self, tcp: &Tcp<'_>, direction: Direction) -> Progress {
        let (fin, rst) = match direction {
            Direction::Forward => (&mut self.tcp_fin_fwd, &mut self.tcp_rst_fwd),
            Direction::Reverse => (&mut self.tcp_fin_rev, &mut self.tcp_rst_rev),
        };
        *fin |= tcp.has(flag::FIN);
        *rst |= tcp.has(flag::RST);
        let closed = self.tcp_fin_fwd && self.tcp_fin_rev;
        if closed || self.tcp_rst_fwd || self.tcp_rst_rev { Progress::Over } else { Progress::More }
    }
}

impl Group for TcpGroup {
    fn open(&mut self, slot: usize, _: &Packet<'_>) {
        self.flows.open(slot);
    }

    fn packet(&mut self, slot: usize, packet: &Packet<'_>, seen: Seen) -> Progress {
        let Some(tcp) = &packet.tcp else { return Progress::More };
        let flow = self.flows.at(slot);
        if self.handshake {
            flow.handshake(tcp, seen.direction);
        }
        if self.complete { flow.complete(tcp, seen.direction) } else { Progress::More }
    }

    fn close(&mut self, slot: usize) {
        self.columns.push(self.flows.at(slot));
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.selection.pick(TcpFacts::FIELDS, self.columns.finish())
    }
}
