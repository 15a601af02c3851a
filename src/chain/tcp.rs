//! Group `tcp`: how the connection was opened and how it ended.

use super::group::{Facts, Runs, of, store};
use super::{Admission, Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::{Perhaps, ROUND_TRIP, Timestamp, fields};
use crate::packet::{Direction, FlowKey, Packet, Tcp, flag, protocol};

/// Indices in the table of functions.
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
            doc: "rejects TCP flows that do not begin with a SYN: connections older than the capture; they are ignored and counted",
        },
    ],
    fields: TcpFacts::FIELDS,
    usual: true,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `tcp`.
    pub struct TcpFacts, TcpColumns: Observer;
    "tcp_handshake" {
        /// Flags of the first SYN in the forward direction, nine bits with AE (RFC 9293, 3.1; RFC 9768); NULL if none.
        tcp_synflags_fwd: Option<u16> = (2, 511),
        /// Flags of the first SYN (the SYN-ACK) in the reverse direction; NULL if none.
        tcp_synflags_rev: Option<u16> = (2, 511),
        /// Flags of the last SYN in the forward direction: differs from the first if a retransmission fell back.
        tcp_synflags_last_fwd: Option<u16> = (2, 511),
        /// Flags of the last SYN in the reverse direction.
        tcp_synflags_last_rev: Option<u16> = (2, 511),
        /// Whether the first SYN-ACK had ECE set (RFC 3168, 6.1.1); NULL if there was none.
        tcp_synack_ece: Option<bool>,
        /// Whether the first SYN-ACK had CWR set (RFC 3168, 6.1.1); NULL if there was none.
        tcp_synack_cwr: Option<bool>,
        /// SYNs in the forward direction: more than 1 if it was retransmitted.
        tcp_syn_count_fwd: u32,
        /// SYNs (SYN-ACKs) in the reverse direction.
        tcp_syn_count_rev: u32,
        /// When the first SYN in the forward direction was seen (UTC); NULL if none, or if the capture does not say.
        tcp_syn_time_fwd: Option<Timestamp>,
        /// When the first SYN in the reverse direction (the SYN-ACK) was seen (UTC); NULL likewise.
        tcp_syn_time_rev: Option<Timestamp>,
        /// Nanoseconds from SYN to SYN-ACK; NULL if the capture does not say when they came, or if the SYN had been
        /// retransmitted by then, since it is unknown which one was answered (RFC 6298, 3).
        tcp_handshake_rtt: Option<u64> = ROUND_TRIP,
        /// Whether the handshake was completed: SYN, SYN-ACK, then a forward segment with ACK; NULL instead of false
        /// if the flags of some segment could not be read.
        tcp_connected: Perhaps,
    }
    "tcp_complete" {
        /// Whether a FIN was seen in the forward direction; NULL instead of false if the flags of some segment could not be
        /// read.
        tcp_fin_fwd: Perhaps,
        /// Whether a FIN was seen in the reverse direction; NULL likewise.
        tcp_fin_rev: Perhaps,
        /// Whether a RST was seen in the forward direction; NULL likewise.
        tcp_rst_fwd: Perhaps,
        /// Whether a RST was seen in the reverse direction; NULL likewise.
        tcp_rst_rev: Perhaps,
    }
}

/// A FIN was seen.
const FIN: u8 = 1;
/// A RST was seen.
const RST: u8 = 4;
/// There were segments whose flags could not be read.
const HIDDEN: u8 = 16;

/// The state behind the facts. Pairs are forward, reverse.
#[derive(Debug, Default)]
struct State {
    syn_times: [Timestamp; 2],
    syn_counts: [u32; 2],
    /// Flags of the first SYN, and of the last one.
    flags: [Option<u16>; 2],
    last_flags: [Option<u16>; 2],
    /// Flags of the first valid SYN-ACK.
    synack: Option<u16>,
    /// Whether the first reverse SYN came after a forward one.
    answered: bool,
    connected: bool,
    /// Bits: [`FIN`], [`RST`] and [`HIDDEN`], shifted by one for the reverse direction.
    ends: u8,
}

impl State {
    fn handshake(&mut self, tcp: &Tcp<'_>, time: Timestamp, direction: Direction) {
        let way = of(direction, 0, 1);
        if tcp.has(flag::SYN) {
            self.syn_counts[way] = self.syn_counts[way].saturating_add(1);
            if self.flags[way].is_none() {
                self.flags[way] = Some(tcp.flags);
                self.syn_times[way] = time;
            }
            self.last_flags[way] = Some(tcp.flags);
            if direction == Direction::Reverse {
                self.answered |= self.syn_counts == [1, 1];
                if tcp.has(flag::ACK) {
                    self.synack.get_or_insert(tcp.flags);
                }
            }
        } else if direction == Direction::Forward && tcp.has(flag::ACK) {
            let answered = self.synack.is_some() && self.flags[0].is_some();
            self.connected |= answered && !tcp.has(flag::RST);
        }
    }

    /// Nanoseconds from SYN to SYN-ACK, if known.
    fn round_trip(&self) -> Option<u64> {
        let (sent, answered) = (self.syn_times[0].known()?, self.syn_times[1].known()?);
        let time = answered.0.saturating_sub(sent.0);
        u64::try_from(time).ok().filter(|_| self.answered)
    }

    fn complete(&mut self, tcp: &Tcp<'_>, direction: Direction) -> Progress {
        let way = of(direction, 0, 1);
        let fin = if tcp.has(flag::FIN) { FIN } else { 0 };
        let rst = if tcp.has(flag::RST) { RST } else { 0 };
        self.ends |= (fin | rst) << way;
        let over = self.ends & (3 * FIN) == 3 * FIN || self.ends & (3 * RST) != 0;
        if over { Progress::Over } else { Progress::More }
    }
}

impl Facts for State {
    type Row = TcpFacts;
    fn row(&self, _: &FlowKey) -> TcpFacts {
        let has = |bit: u8| self.ends & bit != 0;
        TcpFacts {
            tcp_synflags_fwd: self.flags[0],
            tcp_synflags_rev: self.flags[1],
            tcp_synflags_last_fwd: self.last_flags[0],
            tcp_synflags_last_rev: self.last_flags[1],
            tcp_synack_ece: self.synack.map(|flags| flags & flag::ECE != 0),
            tcp_synack_cwr: self.synack.map(|flags| flags & flag::CWR != 0),
            tcp_syn_count_fwd: self.syn_counts[0],
            tcp_syn_count_rev: self.syn_counts[1],
            tcp_syn_time_fwd: self.syn_times[0].known(),
            tcp_syn_time_rev: self.syn_times[1].known(),
            tcp_handshake_rtt: self.round_trip(),
            tcp_connected: Perhaps::new(self.connected, has(3 * HIDDEN)),
            tcp_fin_fwd: Perhaps::new(has(FIN), has(HIDDEN)),
            tcp_fin_rev: Perhaps::new(has(FIN << 1), has(HIDDEN << 1)),
            tcp_rst_fwd: Perhaps::new(has(RST), has(HIDDEN)),
            tcp_rst_rev: Perhaps::new(has(RST << 1), has(HIDDEN << 1)),
        }
    }

    fn open(&mut self, _: &FlowKey, packet: &Packet<'_>, runs: Runs<'_>) -> Admission {
        let late = packet.tcp().is_some_and(|tcp| !tcp.has(flag::SYN));
        if late && runs.function(FROM_SYN) { Admission::Refuse } else { Admission::Watch }
    }

    #[inline(always)]
    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let Some(tcp) = packet.tcp() else {
            let hidden = if packet.hides(protocol::TCP) { HIDDEN } else { 0 };
            self.ends |= hidden << of(seen.direction, 0, 1);
            return Progress::More;
        };
        if runs.function(HANDSHAKE) {
            self.handshake(tcp, packet.time, seen.direction);
        }
        if runs.function(COMPLETE) { self.complete(tcp, seen.direction) } else { Progress::More }
    }
}
