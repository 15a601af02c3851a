//! Group `tcp`: how the connection was opened and how it ended.

use super::group::{Facts, Runs, store};
use super::{Admission, Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::{Timestamp, fields};
use crate::packet::{Direction, FlowKey, Packet, Tcp, flag};

/// Places in the table of functions.
const HANDSHAKE: usize = 1;
const COMPLETE: usize = 2;
const FROM_SYN: usize = 3;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "tcp",
    doc: "the TCP handshake and how the connection ended",
    functions: &[
        FunctionDef {
            name: "tcp_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what the other functions of the group record",
        },
        FunctionDef {
            name: "tcp_handshake",
            chains: ChainSet::of(&[Chain::Tcp]),
            setup: Some("tcp_setup"),
            alone: false,
            doc: "records the flags of the SYN and the SYN-ACK, first and last, and whether the handshake was completed",
        },
        FunctionDef {
            name: "tcp_complete",
            chains: ChainSet::of(&[Chain::Tcp]),
            setup: Some("tcp_setup"),
            alone: false,
            doc: "records FIN and RST in each direction; both FINs or one RST end the flow",
        },
        FunctionDef {
            name: "tcp_from_syn",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: true,
            doc: "refuses TCP flows that do not begin with a SYN: connections older than the capture; they are ignored and counted",
        },
    ],
    fields: TcpFacts::FIELDS,
    new: |selection| store::<TcpFacts>(&GROUP, selection),
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
        /// SYNs in the forward direction: more than 1 if it was retransmitted.
        tcp_syn_count_fwd: u32,
        /// SYNs (SYN-ACKs) in the reverse direction.
        tcp_syn_count_rev: u32,
        /// When the first SYN in the forward direction was seen (UTC); NULL if none.
        tcp_syn_time_fwd: Option<Timestamp>,
        /// When the first SYN-ACK was seen (UTC); NULL if none.
        tcp_syn_time_rev: Option<Timestamp>,
        /// Nanoseconds from SYN to SYN-ACK; NULL if the SYN had been sent again by then, for nobody knows which
        /// was answered (RFC 6298, 3).
        tcp_handshake_rtt: Option<u64>,
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

impl TcpFacts {
    fn handshake(&mut self, tcp: &Tcp<'_>, time: Timestamp, direction: Direction) {
        let syn = tcp.has(flag::SYN);
        match direction {
            Direction::Forward if syn => {
                self.tcp_syn_count_fwd = self.tcp_syn_count_fwd.saturating_add(1);
                self.tcp_syn_time_fwd.get_or_insert(time);
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
                self.tcp_syn_count_rev = self.tcp_syn_count_rev.saturating_add(1);
                self.tcp_syn_time_rev.get_or_insert(time);
                if self.tcp_syn_count_rev == 1 && self.tcp_syn_count_fwd == 1 {
                    let sent = self.tcp_syn_time_fwd.map_or(time.0, |sent| sent.0);
                    self.tcp_handshake_rtt = u64::try_from(time.0.saturating_sub(sent)).ok();
                }
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

impl Facts for TcpFacts {
    type Row = Self;
    fn row(&self) -> &Self {
        self
    }

    fn open(&mut self, _: &FlowKey, packet: &Packet<'_>, runs: Runs<'_>) -> Admission {
        let late = packet.tcp().is_some_and(|tcp| !tcp.has(flag::SYN));
        if late && runs.function(FROM_SYN) { Admission::Refuse } else { Admission::Watch }
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let Some(tcp) = packet.tcp() else { return Progress::More };
        if runs.function(HANDSHAKE) {
            self.handshake(tcp, packet.time, seen.direction);
        }
        if runs.function(COMPLETE) { self.complete(tcp, seen.direction) } else { Progress::More }
    }
}
