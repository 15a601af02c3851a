//! Group `ecn`: the ECN codepoints that IP packets carried.
//!
//! SYNs and data are kept apart. Segments without data and without SYN (pure ACKs, FINs) count
//! in neither: RFC 3168, section 6.1.4, forbids marks on them, so their absence says nothing.

use super::group::{Class, Facts, Runs, class, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::fields;
use crate::packet::{Direction, FlowKey, Packet};

/// The place of `ecn_code` in the table of functions.
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
    new: |selection| store::<Ecn>(&GROUP, selection),
};

fields! {
    /// Facts of the group `ecn`.
    pub struct Ecn, EcnColumns;
    "ecn_code" {
        /// Whether a forward SYN carried ECT(0) (RFC 3168, 5).
        ecn_ect0_syn_fwd: bool,
        /// Whether a forward SYN carried ECT(1).
        ecn_ect1_syn_fwd: bool,
        /// Whether a forward SYN carried CE.
        ecn_ce_syn_fwd: bool,
        /// Whether a reverse SYN carried ECT(0).
        ecn_ect0_syn_rev: bool,
        /// Whether a reverse SYN carried ECT(1).
        ecn_ect1_syn_rev: bool,
        /// Whether a reverse SYN carried CE.
        ecn_ce_syn_rev: bool,
        /// Whether forward data was seen without a mark (Not-ECT).
        ecn_notect_data_fwd: bool,
        /// Whether forward data carried ECT(0).
        ecn_ect0_data_fwd: bool,
        /// Whether forward data carried ECT(1).
        ecn_ect1_data_fwd: bool,
        /// Whether forward data carried CE.
        ecn_ce_data_fwd: bool,
        /// Whether reverse data was seen without a mark (Not-ECT).
        ecn_notect_data_rev: bool,
        /// Whether reverse data carried ECT(0).
        ecn_ect0_data_rev: bool,
        /// Whether reverse data carried ECT(1).
        ecn_ect1_data_rev: bool,
        /// Whether reverse data carried CE.
        ecn_ce_data_rev: bool,
    }
}

impl Facts for Ecn {
    type Row = Self;
    fn row(&self, _: &FlowKey) -> Self {
        self.clone()
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let class = class(packet).filter(|_| runs.function(CODE));
        let marks = match (class, seen.direction) {
            (Some(Class::Syn), Direction::Forward) => [
                None,
                Some(&mut self.ecn_ect1_syn_fwd),
                Some(&mut self.ecn_ect0_syn_fwd),
                Some(&mut self.ecn_ce_syn_fwd),
            ],
            (Some(Class::Syn), Direction::Reverse) => [
                None,
                Some(&mut self.ecn_ect1_syn_rev),
                Some(&mut self.ecn_ect0_syn_rev),
                Some(&mut self.ecn_ce_syn_rev),
            ],
            (Some(Class::Data), Direction::Forward) => [
                Some(&mut self.ecn_notect_data_fwd),
                Some(&mut self.ecn_ect1_data_fwd),
                Some(&mut self.ecn_ect0_data_fwd),
                Some(&mut self.ecn_ce_data_fwd),
            ],
            (Some(Class::Data), Direction::Reverse) => [
                Some(&mut self.ecn_notect_data_rev),
                Some(&mut self.ecn_ect1_data_rev),
                Some(&mut self.ecn_ect0_data_rev),
                Some(&mut self.ecn_ce_data_rev),
            ],
            (None, _) => return Progress::More,
        };
        if let Some(Some(mark)) = marks.into_iter().nth(usize::from(packet.ip.ecn())) {
            *mark = true;
        }
        Progress::More
    }
}
