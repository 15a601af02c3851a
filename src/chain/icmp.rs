//! Group `icmp`: ICMP errors about a flow's packets, and their quotes.

use std::net::IpAddr;

use super::group::{Facts, Runs, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::fields;
use crate::packet::{Direction, FlowKey, Packet, Quote, flag, protocol};

/// The index of `icmp_extract` in the table of functions.
const EXTRACT: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "icmp",
    doc: "ICMP errors about the flow's packets, and what they quote",
    functions: &[
        FunctionDef {
            name: "icmp_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what icmp_extract records",
        },
        FunctionDef {
            name: "icmp_extract",
            chains: ChainSet::of(&[Chain::Icmp4, Chain::Icmp6]),
            setup: Some("icmp_setup"),
            alone: false,
            doc: "records ICMP errors about the flow's forward packets, and the quoted packet as it was where the error arose",
        },
    ],
    fields: IcmpFacts::FIELDS,
    usual: true,
    new: |selection| store::<IcmpFacts>(&GROUP, selection),
};

fields! {
    /// Facts of the group `icmp`.
    pub struct IcmpFacts, IcmpFactsColumns: Observer;
    "icmp_extract" {
        /// Whether a destination-unreachable error about a forward packet was seen (RFC 792; RFC 4443, 3.1).
        icmp_unreachable: bool,
        /// Code of the first one; NULL if there was none.
        icmp_unreachable_code: Option<u8>,
        /// Whether a time-exceeded error about a forward packet was seen.
        icmp_time_exceeded: bool,
        /// Octets of MTU in a fragmentation-needed (RFC 1191) or packet-too-big (RFC 4443, 3.2) error; NULL if none.
        icmp_too_big_mtu: Option<u32> = (1, 4_294_967_295),
        /// Source address of the first error; NULL if there was none.
        icmp_from: Option<IpAddr>,
        /// TTL or hop limit of the packet as the first error quotes it; NULL if there was none.
        icmp_quote_ttl: Option<u32> = (0, 255),
        /// DSCP of the packet as the first error quotes it; NULL if there was none.
        icmp_quote_dscp: Option<u8> = (0, 63),
        /// ECN codepoint of the packet as the first error quotes it: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE; NULL if none.
        icmp_quote_ecn: Option<u8> = (0, 3),
        /// TCP flags of the packet as the first error quotes it; NULL if that part is not quoted.
        icmp_quote_tcpflags: Option<u16>,
        /// Octets of the first error's quote, besides addresses and ports, that were compared with what was sent and are
        /// the same: the TCP sequence number (4), or of UDP the IPv4 identification (2), the IPv6 flow label (2), length
        /// (2), checksum (2) and the first octets of the data (4). 0 if nothing could be compared: the quote is too
        /// short, or what it quotes was not captured. Errors that differ count in `pkt_unexpected_rev`. NULL if
        /// there was no error.
        icmp_quote_checked: Option<u32> = (0, 10),
    }
}

impl Facts for IcmpFacts {
    type Row = Self;
    fn row(&self, _: &FlowKey) -> Self {
        self.clone()
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let (Some(icmp), Some(quote)) = (packet.icmp(), packet.quote()) else {
            return Progress::More;
        };
        // An error travels in the opposite direction of the packet that it is about.
        if seen.direction == Direction::Forward || !runs.function(EXTRACT) {
            return Progress::More;
        }
        let v4 = packet.ip.protocol == protocol::ICMP;
        match (v4, icmp.kind, icmp.code) {
            (true, 3, 4) => {
                self.unreachable(icmp.code);
                self.icmp_too_big_mtu.get_or_insert(icmp.rest & 0xffff);
            }
            (true, 3, code) | (false, 1, code) => self.unreachable(code),
            (false, 2, _) => {
                self.icmp_too_big_mtu.get_or_insert(icmp.rest);
            }
            (true, 11, _) | (false, 3, _) => self.icmp_time_exceeded = true,
            _ => {}
        }
        if self.icmp_from.is_none() {
            self.icmp_from = Some(packet.ip.source);
            self.icmp_quote_ttl = Some(quote.ip.ttl.into());
            self.icmp_quote_dscp = Some(quote.ip.dscp());
            self.icmp_quote_ecn = Some(quote.ip.ecn());
            self.icmp_quote_tcpflags = tcp_flags(quote);
            self.icmp_quote_checked = Some(seen.quoted.into());
        }
        Progress::More
    }
}

impl IcmpFacts {
    fn unreachable(&mut self, code: u8) {
        self.icmp_unreachable = true;
        self.icmp_unreachable_code.get_or_insert(code);
    }
}

fn tcp_flags(quote: &Quote<'_>) -> Option<u16> {
    let flags = quote.transport.get(12..14).filter(|_| quote.ip.protocol == protocol::TCP)?;
    Some(u16::from_be_bytes([flags[0], flags[1]]) & flag::ALL)
}
