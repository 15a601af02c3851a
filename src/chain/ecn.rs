//! Group `ecn`: the ECN codepoints that IP packets carried.
//!
//! SYNs and data are separate. Segments without data and without SYN (pure ACKs, FINs) count in neither: RFC 3168,
//! section 6.1.4, forbids marks on them, so missing marks mean nothing.

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, Class, FunctionDef, GroupDef, Progress, Seen};
use crate::field::{Perhaps, fields};
use crate::packet::{FlowKey, Packet, protocol};

/// The index of `ecn_code` in the table of functions.
const CODE: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "ecn",
    doc: "the ECN codepoints of IP headers, on SYNs and on data, in each direction",
    functions: &[
        FunctionDef {
            name: "ecn_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what ecn_code records",
        },
        FunctionDef {
            name: "ecn_code",
            chains: ChainSet::of(&[Chain::Ip4, Chain::Ip6]),
            setup: Some("ecn_setup"),
            alone: false,
            doc: "records which ECN codepoints were seen, on SYNs and on data apart; pure ACKs count in neither",
        },
    ],
    fields: Ecn::FIELDS,
    usual: true,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `ecn`.
    pub struct Ecn, EcnColumns: Observer;
    "ecn_code" {
        /// Whether a forward SYN carried ECT(0) (RFC 3168, 5). This and the following are NULL instead of false if
        /// a segment with this codepoint had flags that could not be read.
        ecn_ect0_syn_fwd: Perhaps,
        /// Whether a forward SYN carried ECT(1).
        ecn_ect1_syn_fwd: Perhaps,
        /// Whether a forward SYN carried CE.
        ecn_ce_syn_fwd: Perhaps,
        /// Whether a reverse SYN carried ECT(0).
        ecn_ect0_syn_rev: Perhaps,
        /// Whether a reverse SYN carried ECT(1).
        ecn_ect1_syn_rev: Perhaps,
        /// Whether a reverse SYN carried CE.
        ecn_ce_syn_rev: Perhaps,
        /// Whether forward data was seen without a mark (Not-ECT).
        ecn_notect_data_fwd: Perhaps,
        /// Whether forward data carried ECT(0).
        ecn_ect0_data_fwd: Perhaps,
        /// Whether forward data carried ECT(1).
        ecn_ect1_data_fwd: Perhaps,
        /// Whether forward data carried CE.
        ecn_ce_data_fwd: Perhaps,
        /// Whether reverse data was seen without a mark (Not-ECT).
        ecn_notect_data_rev: Perhaps,
        /// Whether reverse data carried ECT(0).
        ecn_ect0_data_rev: Perhaps,
        /// Whether reverse data carried ECT(1).
        ecn_ect1_data_rev: Perhaps,
        /// Whether reverse data carried CE.
        ecn_ce_data_rev: Perhaps,
    }
}

/// The state behind the facts: for each class and direction, bits of the codepoints that were seen.
#[derive(Debug, Default)]
struct State {
    syn: [u8; 2],
    data: [u8; 2],
    /// Of segments whose flags could not be read: SYN, data or neither.
    hidden: [u8; 2],
}

impl Facts for State {
    type Row = Ecn;
    fn row(&self, _: &FlowKey) -> Ecn {
        // Not-ECT, ECT(1), ECT(0) and CE are 0 to 3.
        let fact = |codepoints: [u8; 2], way: usize| {
            let has = |codepoints: u8, codepoint: u8| codepoints >> codepoint & 1 != 0;
            let hidden = self.hidden[way];
            [0, 1, 2, 3].map(|code| Perhaps::new(has(codepoints[way], code), has(hidden, code)))
        };
        let (syn_fwd, syn_rev) = (fact(self.syn, 0), fact(self.syn, 1));
        let (data_fwd, data_rev) = (fact(self.data, 0), fact(self.data, 1));
        Ecn {
            ecn_ect0_syn_fwd: syn_fwd[2],
            ecn_ect1_syn_fwd: syn_fwd[1],
            ecn_ce_syn_fwd: syn_fwd[3],
            ecn_ect0_syn_rev: syn_rev[2],
            ecn_ect1_syn_rev: syn_rev[1],
            ecn_ce_syn_rev: syn_rev[3],
            ecn_notect_data_fwd: data_fwd[0],
            ecn_ect0_data_fwd: data_fwd[2],
            ecn_ect1_data_fwd: data_fwd[1],
            ecn_ce_data_fwd: data_fwd[3],
            ecn_notect_data_rev: data_rev[0],
            ecn_ect0_data_rev: data_rev[2],
            ecn_ect1_data_rev: data_rev[1],
            ecn_ce_data_rev: data_rev[3],
        }
    }

    #[inline(always)]
    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let marks = match seen.class.filter(|_| runs.function(CODE)) {
            Some(Class::Syn) => &mut self.syn,
            Some(Class::Data) => &mut self.data,
            None if packet.hides(protocol::TCP) && runs.function(CODE) => &mut self.hidden,
            None => return Progress::More,
        };
        marks[of(seen.direction, 0, 1)] |= 1 << packet.ip.ecn();
        Progress::More
    }
}
