//! Group `basic`: who spoke with whom, when, and how much.

use std::net::IpAddr;

use arrow::array::ArrayRef;

use super::{Chain, ChainSet, FunctionDef, Group, GroupDef, Progress, Seen, Selection, Slots};
use crate::field::{Timestamp, fields};
use crate::packet::{Direction, Packet};

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "basic",
    doc: "the 5-tuple, first and last packet, packets and octets per direction",
    functions: &[
        FunctionDef {
            name: "basic_flow",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            doc: "records the flow's 5-tuple and the time of its first and last packet",
        },
        FunctionDef {
            name: "basic_count",
            chains: ChainSet::of(&[Chain::Ip4, Chain::Ip6]),
            setup: Some("basic_flow"),
            doc: "counts packets and octets in each direction",
        },
    ],
    fields: Basic::FIELDS,
    new: |selection| Box::new(BasicGroup::new(selection)),
};

fields! {
    /// Facts of the group `basic`.
    pub struct Basic, BasicColumns;
    "basic_flow" {
        /// Source address of the flow's first packet.
        sip: Option<IpAddr>,
        /// Destination address of the flow's first packet.
        dip: Option<IpAddr>,
        /// IP protocol number (IANA): 6 is TCP.
        proto: u8,
        /// Source port of the first packet; NULL where the protocol has no ports.
        sp: Option<u16>,
        /// Destination port of the first packet; NULL where the protocol has no ports.
        dp: Option<u16>,
        /// When the flow's first packet crossed the interface (UTC).
        pkt_first: Timestamp,
        /// When its last packet did (UTC).
        pkt_last: Timestamp,
    }
    "basic_count" {
        /// Packets in the direction of the first packet.
        pkt_fwd: u64,
        /// Packets in the other direction.
        pkt_rev: u64,
        /// Octets of IP packets (headers included, link layer and padding not) in the direction of the first.
        oct_fwd: u64,
        /// Octets of IP packets in the other direction.
        oct_rev: u64,
    }
}

struct BasicGroup {
    selection: Selection,
    count: ChainSet,
    flows: Slots<Basic>,
    columns: BasicColumns,
}

impl BasicGroup {
    fn new(selection: Selection) -> Self {
        let count = selection.chains("basic_count");
        Self { selection, count, flows: Slots::default(), columns: BasicColumns::default() }
    }
}

impl Group for BasicGroup {
    fn open(&mut self, slot: usize, packet: &Packet<'_>) {
        let flow = self.flows.open(slot);
        flow.sip = Some(packet.source);
        flow.dip = Some(packet.destination);
        flow.proto = packet.protocol;
        (flow.sp, flow.dp) = packet.ports.unzip();
        flow.pkt_first = packet.time;
    }

    fn packet(&mut self, slot: usize, packet: &Packet<'_>, seen: Seen) -> Progress {
        let flow = self.flows.at(slot);
        flow.pkt_last = flow.pkt_last.max(packet.time);
        if self.count.meets(seen.headers) {
            let (packets, octets) = match seen.direction {
                Direction::Forward => (&mut flow.pkt_fwd, &mut flow.oct_fwd),
                Direction::Reverse => (&mut flow.pkt_rev, &mut flow.oct_rev),
            };
            *packets += 1;
            *octets += u64::from(packet.ip_length);
        }
        Progress::More
    }

    fn close(&mut self, slot: usize) {
        self.columns.push(self.flows.at(slot));
    }

    fn finish(&mut self) -> Vec<ArrayRef> {
        self.selection.pick(Basic::FIELDS, self.columns.finish())
    }
}
