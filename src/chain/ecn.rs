//! Group `ecn`: the ECN codepoints that IP packets carried.
//!
//! SYNs and data are kept apart. Segments without data and without SYN (pure ACKs, FINs) count
//! in neither: RFC 3168, section 6.1.4, forbids marks on them, so their absence says nothing.

use arrow::array::ArrayRef;

use super::{Chain, ChainSet, FunctionDef, Group, GroupDef, Progress, Seen, Selection, Slots};
use crate::field::fields;
use crate::packet::{Direction, Packet, flag};

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "ecn",
    doc: "the ECN codepoints of IP headers, on SYNs and on data, in each direction",
    functions: &[
        FunctionDef {
            name: "ecn_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            doc: "makes room for what ecn_code records",
        },
        FunctionDef {
            name: "ecn_code",
            chains: ChainSet::of(&[Chain::Ip4, Chain::Ip6]),
            setup: Some("ecn_setup"),
            doc: "records which ECN codepoints were seen, on SYNs and on data apart; pure ACKs count in neither",
        },
    ],
    fields: Ecn::FIELDS,
    new: |selection| Box::new(EcnGroup::new(selection)),
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

struct EcnGroup {
    selection: Selection,
    code: ChainSet,
    flows: Slots<Ecn>,
    columns: EcnColumns,
}

impl EcnGroup {
    fn new(selection: Selection) -> Self {
        let code = selection.chains("ecn_code");
        Self { selection, code, flows: Slots::default(), columns: EcnColumns::default() }
    }
}

impl Group for EcnGroup {
    fn open(&mut self, slot: usize, _: &Packet<'_>) {
        self.flows.open(slot);
    }

    fn packet(&mut self, slot: usize, packet: &Packet<'_>, seen: Seen) -> Progress {
        if !self.code.meets(seen.headers) {
            return Progress::More;
        }
        let flow = self.flows.at(slot);
        let syn = packet.tcp.as_ref().is_some_and(|tcp| tcp.has(flag::SYN));
        let data = packet.tcp.as_ref().is_none_or(|tcp| tcp.payload > 0);
        let marks = match (syn, data, seen.direction) {
            (true, _, Direction::Forward) => [
                None,
                Some(&mut flow.ecn_ect1_syn_fwd),
                Some(&mut flow.ecn_ect0_syn_fwd),
                Some(&mut flow.ecn_ce_syn_fwd),
            ],
            (true, _, Direction::Reverse) => [
                None,
                Some(&mut flow.ecn_ect1_syn_rev),
                Some(&mut flow.ecn_ect0_syn_rev),
                Some(&mut flow.ecn_ce_syn_rev),
            ],
            (false, true, Direction::Forward) => [
                Some(&mut flow.ecn_notect_data_fwd),
                Some(&mut flow.ecn_ect1_data_fwd),
                Some(&mut flow.ecn_ect0_data_fwd),
                Some(&mut flow.ecn_ce_data_fwd),
            ],
            (false, true, Direction::Reverse) => [
                Some(&mut flow.ecn_notect_data_rev),
                Some(&mut flow.ecn_ect1_data_rev),
                Some(&mut flow.ecn_ect0_data_rev),
                Some(&mut flow.ecn_ce_data_rev),
            ],
            (false, false, _) => return Progress::More,
        };
        if let Some(Some(mark)) = marks.into_iter().nth(usize::from(packet.ecn & 3)) {
            *mark = true;
        }
        Progress::More
    }

    fn close(&mut self, slot: usize) {
        self.columns.push(self.flows.at(slot));
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.selection.pick(Ecn::FIELDS, self.columns.finish())
    }
}
