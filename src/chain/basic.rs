//! Group `basic`: a flow's ends, its times, and its size.

use std::net::IpAddr;

use super::group::{Facts, Runs, of, store};
use super::{Admission, Chain, ChainSet, FunctionDef, GroupDef, Note, Progress, Seen};
use crate::field::{Timestamp, fields};
use crate::packet::{FlowKey, Packet};

/// The largest IP packet in an ordinary Ethernet frame (RFC 894).
const ETHERNET_MTU: u64 = 1500;
/// Indices in the table of functions.
const COUNT: usize = 1;
const L4: usize = 2;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "basic",
    doc: "the 5-tuple, first and last packet, packets and octets per direction",
    functions: &[
        FunctionDef {
            name: "basic_flow",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "records the flow's 5-tuple and the time of its first and last packet",
        },
        FunctionDef {
            name: "basic_count",
            chains: ChainSet::of(&[Chain::Ip4, Chain::Ip6]),
            setup: Some("basic_flow"),
            alone: false,
            doc: "counts packets and octets in each direction",
        },
        FunctionDef {
            name: "l4_count",
            chains: ChainSet::of(&[Chain::L4]),
            setup: Some("basic_flow"),
            alone: false,
            doc: "counts packets with a transport other than TCP, UDP and ICMP: SCTP, DCCP, GRE and others",
        },
    ],
    fields: Basic::FIELDS,
    usual: true,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `basic`.
    pub struct Basic, BasicColumns: Observer;
    "basic_flow" {
        /// Source address of the flow's first packet.
        sip: Option<IpAddr>,
        /// Destination address of the flow's first packet.
        dip: Option<IpAddr>,
        /// IP protocol number (IANA): 6 is TCP.
        proto: u8,
        /// Source port of the first packet; NULL if the protocol has no ports.
        sp: Option<u16>,
        /// Destination port of the first packet; NULL if the protocol has no ports.
        dp: Option<u16>,
        /// When the flow's first packet crossed the interface (UTC); NULL if the capture does not say.
        pkt_first: Option<Timestamp>,
        /// When its last packet did (UTC); NULL if the capture does not say.
        pkt_last: Option<Timestamp>,
    }
    "basic_count" {
        /// Packets in the direction of the first packet.
        pkt_fwd: u64,
        /// Packets in the other direction: in a run those that fit the flow; of another capture, which may lack what they
        /// fit, all.
        pkt_rev: u64,
        /// Octets of IP packets (headers included, link layer and padding not) in the direction of the first.
        oct_fwd: u64,
        /// Octets of IP packets in the other direction, of the same packets as `pkt_rev`.
        oct_rev: u64,
        /// Forward TCP segments too large for Ethernet's 1500 octets: put together by the receiving host (GRO), or
        /// not cut yet by the sending one (TSO). One such segment was several packets on the wire.
        pkt_oversized_fwd: u64,
        /// Reverse TCP segments too large for Ethernet's 1500 octets.
        pkt_oversized_rev: u64,
        /// Reverse packets that have the flow's addresses and ports and do not fit it: forged, or late ones of another
        /// connection. Nothing else is taken from them. Of TCP these are segments that acknowledge what was not sent or
        /// are outside the window (RFC 9293, 3.10.7.4; RFC 5961); of any flow ICMP errors that quote what was not sent
        /// (RFC 5927, 4); in a run also datagrams with another identifier than the DNS query. NULL if that could
        /// not be checked, because the first packet seen of a TCP flow was not a SYN.
        pkt_unexpected_rev: Option<u32>,
    }
    "l4_count" {
        /// Forward packets with a header of another transport than TCP, UDP and ICMP.
        l4_pkt_fwd: u64,
        /// Reverse packets with a header of another transport than TCP, UDP and ICMP.
        l4_pkt_rev: u64,
    }
}

/// What the facts are made of; the 5-tuple is the flow's key.
#[derive(Debug, Default)]
struct State {
    first: Timestamp,
    last: Timestamp,
    /// Forward, reverse; so are the others.
    packets: [u64; 2],
    octets: [u64; 2],
    oversized: [u64; 2],
    others: [u64; 2],
    /// Reverse packets that did not fit.
    unexpected: u32,
    /// Whether that could not be checked.
    unchecked: bool,
}

impl Facts for State {
    type Row = Basic;
    fn row(&self, key: &FlowKey) -> Basic {
        let (sp, dp) = key.ports().unzip();
        Basic {
            sip: Some(key.source.0),
            dip: Some(key.destination.0),
            proto: key.protocol,
            sp,
            dp,
            pkt_first: self.first.known(),
            pkt_last: self.last.known(),
            pkt_fwd: self.packets[0],
            pkt_rev: self.packets[1],
            oct_fwd: self.octets[0],
            oct_rev: self.octets[1],
            pkt_oversized_fwd: self.oversized[0],
            pkt_oversized_rev: self.oversized[1],
            pkt_unexpected_rev: (!self.unchecked).then_some(self.unexpected),
            l4_pkt_fwd: self.others[0],
            l4_pkt_rev: self.others[1],
        }
    }

    fn open(&mut self, _: &FlowKey, packet: &Packet<'_>, _: Runs<'_>) -> Admission {
        self.first = packet.time;
        Admission::Watch
    }

    fn note(&mut self, note: Note) {
        match note {
            Note::Unexpected(octets) => {
                self.unexpected = self.unexpected.saturating_add(1);
                self.packets[1] += u64::from(octets.is_some());
                self.octets[1] += u64::from(octets.unwrap_or(0));
            }
            Note::Unchecked => self.unchecked = true,
        }
    }

    #[inline(always)]
    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        self.last = self.last.max(packet.time);
        let way = of(seen.direction, 0, 1);
        if runs.function(COUNT) {
            self.packets[way] += 1;
            let octets = u64::from(packet.ip.length);
            self.octets[way] += octets;
            if packet.tcp().is_some() && octets > ETHERNET_MTU {
                self.oversized[way] += 1;
            }
        }
        if runs.function(L4) {
            self.others[way] += 1;
        }
        Progress::More
    }
}
