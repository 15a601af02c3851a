//! Group `tcpopt`: which TCP options SYN and SYN-ACK carried.

use arrow_array::ArrayRef;
use arrow_schema::DataType;

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::{Cell, Nullable, Perhaps, Texts, fields};
use crate::packet::tcp_option::{kind, options};
use crate::packet::{Direction, FlowKey, Packet, Tcp, flag};

/// The index of `tcpopt_extract` in the table of functions.
const EXTRACT: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "tcpopt",
    doc: "the options of SYN and SYN-ACK",
    functions: &[
        FunctionDef {
            name: "tcpopt_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what tcpopt_extract records",
        },
        FunctionDef {
            name: "tcpopt_extract",
            chains: ChainSet::of(&[Chain::Tcp]),
            setup: Some("tcpopt_setup"),
            alone: false,
            doc: "records timestamps, window scale, SACK permitted and unknown options of the first SYN in each direction",
        },
    ],
    fields: TcpOpt::FIELDS,
    usual: true,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `tcpopt`.
    pub struct TcpOpt, TcpOptColumns: Observer;
    "tcpopt_extract" {
        /// Whether the first forward SYN had the timestamps option (RFC 7323); NULL if there was no SYN, or if
        /// the capture cut its options short and those that are complete do not include it.
        tcpopt_ts_fwd: Option<bool>,
        /// Whether the first reverse SYN had the timestamps option; NULL likewise.
        tcpopt_ts_rev: Option<bool>,
        /// Shift count of the window scale option (RFC 7323) in the first forward SYN; NULL if absent.
        tcpopt_ws_fwd: Option<u32> = (0, 255),
        /// Shift count of the window scale option in the first reverse SYN; NULL if absent.
        tcpopt_ws_rev: Option<u32> = (0, 255),
        /// Whether the first forward SYN had the SACK-permitted option (RFC 2018); NULL likewise.
        tcpopt_sack_fwd: Option<bool>,
        /// Whether the first reverse SYN had the SACK-permitted option; NULL likewise.
        tcpopt_sack_rev: Option<bool>,
        /// All option kinds of the first forward SYN in order, separated by spaces; NULL if there was no SYN, or
        /// if the capture cut its options short.
        tcpopt_kinds_fwd: Option<Kinds>,
        /// All option kinds of the first reverse SYN in order, separated by spaces; NULL likewise.
        tcpopt_kinds_rev: Option<Kinds>,
    }
}

/// The facts, and what distinguishes the first from later ones.
#[derive(Debug, Default)]
struct State {
    facts: TcpOpt,
    syn_fwd: bool,
    syn_rev: bool,
}

impl Facts for State {
    type Row = TcpOpt;
    fn row(&self, _: &FlowKey) -> TcpOpt {
        self.facts.clone()
    }

    #[inline(always)]
    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let syn = packet.tcp().filter(|tcp| tcp.has(flag::SYN) && runs.function(EXTRACT));
        let Some(tcp) = syn else { return Progress::More };
        // The first SYN counts: a later one may have fallen back.
        if !std::mem::replace(of(seen.direction, &mut self.syn_fwd, &mut self.syn_rev), true) {
            self.facts.syn(tcp, seen.direction);
        }
        Progress::More
    }
}

impl TcpOpt {
    /// The first segment with SYN of a direction.
    #[inline(never)]
    fn syn(&mut self, tcp: &Tcp<'_>, direction: Direction) {
        let kinds = of(direction, &mut self.tcpopt_kinds_fwd, &mut self.tcpopt_kinds_rev);
        let kinds = kinds.insert(Kinds::default());
        let (mut timestamps, mut sack) = (false, false);
        for option in options(tcp.options) {
            kinds.push(option.kind);
            match (option.kind, option.value) {
                (kind::TIMESTAMPS, [_, _, _, _, _, _, _, _]) => timestamps = true,
                (kind::SACK_PERMITTED, []) => sack = true,
                (kind::WINDOW_SCALE, [shift]) => {
                    *of(direction, &mut self.tcpopt_ws_fwd, &mut self.tcpopt_ws_rev) =
                        Some((*shift).into());
                }
                _ => {}
            }
        }
        let fact = |seen| Perhaps::new(seen, !tcp.whole).0;
        *of(direction, &mut self.tcpopt_ts_fwd, &mut self.tcpopt_ts_rev) = fact(timestamps);
        *of(direction, &mut self.tcpopt_sack_fwd, &mut self.tcpopt_sack_rev) = fact(sack);
        if !tcp.whole {
            *of(direction, &mut self.tcpopt_kinds_fwd, &mut self.tcpopt_kinds_rev) = None;
        }
    }
}

/// Option kinds in order; a header has no room for more than these.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds {
    kinds: [u8; Texts::MOST],
    count: u8,
}

impl Kinds {
    fn push(&mut self, kind: u8) {
        if let Some(place) = self.kinds.get_mut(usize::from(self.count)) {
            *place = kind;
            self.count += 1;
        }
    }
}

impl Cell for Kinds {
    type Column = Texts;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn append(&self, column: &mut Texts) {
        column.add_numbers(&self.kinds[..usize::from(self.count)], b' ');
    }
    fn finish(column: &mut Texts) -> ArrayRef {
        column.finish()
    }
    fn collect<R>(rows: &[R], cell: impl Fn(&R) -> &Self) -> ArrayRef {
        Texts::of(rows.iter().map(|row| Some(cell(row))))
    }
}

impl Nullable for Kinds {
    fn append_null(column: &mut Texts) {
        column.add_null();
    }
    fn collect_some<R>(rows: &[R], cell: impl Fn(&R) -> &Option<Self>) -> ArrayRef {
        Texts::of(rows.iter().map(|row| cell(row).as_ref()))
    }
}
