//! Group `hops`: packets that were sent to expire on the way, and what the routers quote of them.
//!
//! A packet with a small TTL expires at a router, whose error (RFC 792; RFC 4443) quotes it. The quote is compared with
//! the very octets that crossed the interface, so this works on any capture. Over IPv4 the identification says which
//! packet is quoted, over IPv6 the length: whoever sends copies gives each its own. A quote that could be of several
//! packets is of none.
//!
//! A router quotes a packet as it received it, or as it already changed it (RFC 1812, 4.3.2.3). So a change is between
//! the last router that shows what was sent and the first that does not.

mod list;
mod trace;
mod verdict;

use std::net::IpAddr;

use super::group::{Facts, Runs, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::fields;
use crate::packet::quoted::{Field, Value};
use crate::packet::{Direction, FlowKey, Packet};
pub use list::{Hop, Hops};
use trace::Trace;

/// The index of `hops_extract` in the table of functions.
const EXTRACT: usize = 1;

/// Packets with a larger TTL are not sent to expire.
pub const LARGEST_TTL: u8 = 32;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "hops",
    doc: "what routers quote of packets that expired there, and between which hops a field was changed",
    functions: &[
        FunctionDef {
            name: "hops_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what hops_extract records",
        },
        FunctionDef {
            name: "hops_extract",
            chains: ChainSet::of(&[Chain::Ip4, Chain::Ip6]),
            setup: Some("hops_setup"),
            alone: false,
            doc: "compares the quotes of ICMP errors with the forward packets of a TTL up to 32 that they quote",
        },
    ],
    fields: HopsFacts::FIELDS,
    usual: false,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `hops`.
    pub struct HopsFacts, HopsFactsColumns: Observer;
    "hops_extract" {
        /// The ICMP errors about forward packets with a TTL up to 32, in the order in which they came: `ttl` as sent, `from`,
        /// `type`, `code`, `rtt` in nanoseconds, `quote_octets` of the transport, `quote_tos`, `changed` (the fields that
        /// differ from what was sent), `outer_ttl` and `outer_tos` of the error, MPLS `labels` (RFC 4950) and `ifname` (RFC
        /// 5837). NULL if no such packet was sent.
        hops: Option<Hops>,
        /// Number of TTLs at which a router reported that the packet expired.
        hops_answered: u8,
        /// Largest TTL at which a router did; NULL if none did.
        hops_far: Option<u8>,
        /// Smallest TTL, beyond all of these, whose packet the target answered; NULL if it answered none.
        hops_reached: Option<u8>,
        /// Fewest octets of transport in a quote: 8 in RFC 792, more in RFC 1812 (4.3.2.3) and RFC 4443; NULL without any.
        hops_quote_min: Option<u16>,
        /// Errors that quote none of these packets, or may quote several of them that differ.
        hops_unpaired: u16,
        /// Largest TTL before any change whose quotes all show as it was sent the ECN codepoint (RFC 3168). NULL if none does.
        hops_ecn_same: Option<u8>,
        /// Smallest TTL with a quote that shows another value of it than was sent; NULL if none does.
        hops_ecn_changed: Option<u8>,
        /// What that quote shows (0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE); NULL if there is none, or if it shows none.
        hops_ecn_value: Option<u8> = (0, 3),
        /// Address of the router whose quote shows it last as sent.
        hops_ecn_same_from: Option<IpAddr>,
        /// Address of the router whose quote shows it first changed. The change is between these two routers, not at one of
        /// them.
        hops_ecn_changed_from: Option<IpAddr>,
        /// Whether the quotes of a larger TTL show it as sent again; NULL if no quote shows it.
        hops_ecn_undone: Option<bool>,
        /// Probability that the change is between `hops_ecn_same` and `hops_ecn_changed`; NULL if there is no change.
        hops_ecn_sure: Option<f64>,
        /// Largest TTL before any change whose quotes all show as it was sent the DSCP (RFC 2474). NULL if none does.
        hops_dscp_same: Option<u8>,
        /// Smallest TTL with a quote that shows another value of it than was sent; NULL if none does.
        hops_dscp_changed: Option<u8>,
        /// What that quote shows; NULL if there is none, or if it shows none.
        hops_dscp_value: Option<u8> = (0, 63),
        /// Address of the router whose quote shows it last as sent.
        hops_dscp_same_from: Option<IpAddr>,
        /// Address of the router whose quote shows it first changed. The change is between these two routers, not at one of
        /// them.
        hops_dscp_changed_from: Option<IpAddr>,
        /// Whether the quotes of a larger TTL show it as sent again; NULL if no quote shows it.
        hops_dscp_undone: Option<bool>,
        /// Probability that the change is between `hops_dscp_same` and `hops_dscp_changed`; NULL if there is no change.
        hops_dscp_sure: Option<f64>,
        /// Largest TTL before any change whose quotes all show as it was sent the TCP flags. NULL if none does.
        hops_flags_same: Option<u8>,
        /// Smallest TTL with a quote that shows another value of it than was sent; NULL if none does.
        hops_flags_changed: Option<u8>,
        /// What that quote shows; NULL if there is none, or if it shows none.
        hops_flags_value: Option<u16> = (0, 511),
        /// Address of the router whose quote shows it last as sent.
        hops_flags_same_from: Option<IpAddr>,
        /// Address of the router whose quote shows it first changed. The change is between these two routers, not at one of
        /// them.
        hops_flags_changed_from: Option<IpAddr>,
        /// Whether the quotes of a larger TTL show it as sent again; NULL if no quote shows it.
        hops_flags_undone: Option<bool>,
        /// Probability that the change is between `hops_flags_same` and `hops_flags_changed`; NULL if there is no change.
        hops_flags_sure: Option<f64>,
        /// Largest TTL before any change whose quotes all show as it was sent the TCP options: their kinds in order, and their values but for the segment size. NULL if none does.
        hops_options_same: Option<u8>,
        /// Smallest TTL with a quote that shows another value of it than was sent; NULL if none does.
        hops_options_changed: Option<u8>,
        /// What that quote shows (kinds, separated by spaces); NULL if there is none, or if it shows none.
        hops_options_value: Option<String>,
        /// Address of the router whose quote shows it last as sent.
        hops_options_same_from: Option<IpAddr>,
        /// Address of the router whose quote shows it first changed. The change is between these two routers, not at one of
        /// them.
        hops_options_changed_from: Option<IpAddr>,
        /// Whether the quotes of a larger TTL show it as sent again; NULL if no quote shows it.
        hops_options_undone: Option<bool>,
        /// Probability that the change is between `hops_options_same` and `hops_options_changed`; NULL if there is no change.
        hops_options_sure: Option<f64>,
        /// Largest TTL before any change whose quotes all show as it was sent the segment size in a SYN's option (RFC 9293, 3.7.1). NULL if none does.
        hops_mss_same: Option<u8>,
        /// Smallest TTL with a quote that shows another value of it than was sent; NULL if none does.
        hops_mss_changed: Option<u8>,
        /// What that quote shows; NULL if there is none, or if it shows none.
        hops_mss_value: Option<u16>,
        /// Address of the router whose quote shows it last as sent.
        hops_mss_same_from: Option<IpAddr>,
        /// Address of the router whose quote shows it first changed. The change is between these two routers, not at one of
        /// them.
        hops_mss_changed_from: Option<IpAddr>,
        /// Whether the quotes of a larger TTL show it as sent again; NULL if no quote shows it.
        hops_mss_undone: Option<bool>,
        /// Probability that the change is between `hops_mss_same` and `hops_mss_changed`; NULL if there is no change.
        hops_mss_sure: Option<f64>,
        /// Largest TTL before any change whose quotes all show as it was sent the TCP window field. NULL if none does.
        hops_window_same: Option<u8>,
        /// Smallest TTL with a quote that shows another value of it than was sent; NULL if none does.
        hops_window_changed: Option<u8>,
        /// What that quote shows; NULL if there is none, or if it shows none.
        hops_window_value: Option<u16>,
        /// Address of the router whose quote shows it last as sent.
        hops_window_same_from: Option<IpAddr>,
        /// Address of the router whose quote shows it first changed. The change is between these two routers, not at one of
        /// them.
        hops_window_changed_from: Option<IpAddr>,
        /// Whether the quotes of a larger TTL show it as sent again; NULL if no quote shows it.
        hops_window_undone: Option<bool>,
        /// Probability that the change is between `hops_window_same` and `hops_window_changed`; NULL if there is no change.
        hops_window_sure: Option<f64>,
        /// Largest TTL before any change whose quotes all show as it was sent the length of an IPv4 packet in octets. NULL if none does.
        hops_length_same: Option<u8>,
        /// Smallest TTL with a quote that shows another value of it than was sent; NULL if none does.
        hops_length_changed: Option<u8>,
        /// What that quote shows; NULL if there is none, or if it shows none.
        hops_length_value: Option<u32>,
        /// Address of the router whose quote shows it last as sent.
        hops_length_same_from: Option<IpAddr>,
        /// Address of the router whose quote shows it first changed. The change is between these two routers, not at one of
        /// them.
        hops_length_changed_from: Option<IpAddr>,
        /// Whether the quotes of a larger TTL show it as sent again; NULL if no quote shows it.
        hops_length_undone: Option<bool>,
        /// Probability that the change is between `hops_length_same` and `hops_length_changed`; NULL if there is no change.
        hops_length_sure: Option<f64>,
        /// Largest TTL before any change whose quotes all show as it was sent whether a UDP datagram has a checksum. NULL if none does.
        hops_checksum_same: Option<u8>,
        /// Smallest TTL with a quote that shows another value of it than was sent; NULL if none does.
        hops_checksum_changed: Option<u8>,
        /// What that quote shows; NULL if there is none, or if it shows none.
        hops_checksum_value: Option<bool>,
        /// Address of the router whose quote shows it last as sent.
        hops_checksum_same_from: Option<IpAddr>,
        /// Address of the router whose quote shows it first changed. The change is between these two routers, not at one of
        /// them.
        hops_checksum_changed_from: Option<IpAddr>,
        /// Whether the quotes of a larger TTL show it as sent again; NULL if no quote shows it.
        hops_checksum_undone: Option<bool>,
        /// Probability that the change is between `hops_checksum_same` and `hops_checksum_changed`; NULL if there is no change.
        hops_checksum_sure: Option<f64>,
        /// Largest TTL before any change whose quotes all show as it was sent the IPv6 flow label (RFC 6437). NULL if none does.
        hops_flowlabel_same: Option<u8>,
        /// Smallest TTL with a quote that shows another value of it than was sent; NULL if none does.
        hops_flowlabel_changed: Option<u8>,
        /// What that quote shows; NULL if there is none, or if it shows none.
        hops_flowlabel_value: Option<u32> = (0, 1_048_575),
        /// Address of the router whose quote shows it last as sent.
        hops_flowlabel_same_from: Option<IpAddr>,
        /// Address of the router whose quote shows it first changed. The change is between these two routers, not at one of
        /// them.
        hops_flowlabel_changed_from: Option<IpAddr>,
        /// Whether the quotes of a larger TTL show it as sent again; NULL if no quote shows it.
        hops_flowlabel_undone: Option<bool>,
        /// Probability that the change is between `hops_flowlabel_same` and `hops_flowlabel_changed`; NULL if there is no change.
        hops_flowlabel_sure: Option<f64>,
        /// Largest TTL before any change whose quotes all show as it was sent the reserved flag of IPv4 (RFC 3514). NULL if none does.
        hops_evil_same: Option<u8>,
        /// Smallest TTL with a quote that shows another value of it than was sent; NULL if none does.
        hops_evil_changed: Option<u8>,
        /// What that quote shows; NULL if there is none, or if it shows none.
        hops_evil_value: Option<bool>,
        /// Address of the router whose quote shows it last as sent.
        hops_evil_same_from: Option<IpAddr>,
        /// Address of the router whose quote shows it first changed. The change is between these two routers, not at one of
        /// them.
        hops_evil_changed_from: Option<IpAddr>,
        /// Whether the quotes of a larger TTL show it as sent again; NULL if no quote shows it.
        hops_evil_undone: Option<bool>,
        /// Probability that the change is between `hops_evil_same` and `hops_evil_changed`; NULL if there is no change.
        hops_evil_sure: Option<f64>,
    }
}

/// The state of a flow: most have no packet that was sent to expire.
#[derive(Debug, Default)]
struct State(Option<Box<Trace>>);

impl Facts for State {
    type Row = HopsFacts;

    fn row(&self, _: &FlowKey) -> HopsFacts {
        self.0.as_ref().map(|trace| row(trace)).unwrap_or_default()
    }

    #[inline(always)]
    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let expires = packet.ip.ttl <= LARGEST_TTL && seen.direction == Direction::Forward;
        if (expires || self.0.is_some()) && runs.function(EXTRACT) {
            self.trace(packet, seen.direction);
        }
        Progress::More
    }
}

impl State {
    #[cold]
    fn trace(&mut self, packet: &Packet<'_>, direction: Direction) {
        match (direction, packet.quote()) {
            (Direction::Forward, None) if packet.ip.ttl <= LARGEST_TTL => {
                self.0.get_or_insert_default().send(packet);
            }
            (Direction::Forward, _) => {}
            (Direction::Reverse, quote) => {
                let Some(trace) = &mut self.0 else { return };
                match quote {
                    Some(_) => trace.error(packet),
                    None => trace.answer(packet.time),
                }
            }
        }
    }
}

/// A value as a cell of its column.
trait FromValue: Sized {
    fn from_value(value: Value) -> Option<Self>;
}

macro_rules! number {
    ($($type:ty)*) => {$(
        impl FromValue for $type {
            fn from_value(value: Value) -> Option<Self> {
                match value {
                    Value::Number(number) => Self::try_from(number).ok(),
                    Value::Text(_) => None,
                }
            }
        }
    )*};
}

number!(u8 u16 u32);

impl FromValue for bool {
    fn from_value(value: Value) -> Option<Self> {
        u8::from_value(value).map(|number| number != 0)
    }
}

impl FromValue for String {
    fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text),
            Value::Number(_) => None,
        }
    }
}

/// Fills the columns of a field.
macro_rules! fill {
    (
        $row:ident, $verdict:expr, $same:ident, $changed:ident, $value:ident, $same_from:ident,
        $changed_from:ident, $undone:ident, $sure:ident
    ) => {
        let verdict = $verdict;
        ($row.$same, $row.$same_from) = verdict.same.unzip();
        ($row.$changed, $row.$changed_from) = verdict.changed.unzip();
        $row.$value = verdict.value.and_then(FromValue::from_value);
        $row.$undone = verdict.undone;
        $row.$sure = verdict.sure;
    };
}

fn row(trace: &Trace) -> HopsFacts {
    let mut row = HopsFacts {
        hops: Some(trace.hops()),
        hops_answered: trace.answered(),
        hops_far: trace.far(),
        hops_reached: trace.reached(),
        hops_quote_min: trace.shortest(),
        hops_unpaired: trace.unpaired,
        ..HopsFacts::default()
    };
    // Most traces have answers to none of these.
    if row.hops_answered > 0 {
        fill!(
            row,
            trace.verdict(Field::Ecn),
            hops_ecn_same,
            hops_ecn_changed,
            hops_ecn_value,
            hops_ecn_same_from,
            hops_ecn_changed_from,
            hops_ecn_undone,
            hops_ecn_sure
        );
        fill!(
            row,
            trace.verdict(Field::Dscp),
            hops_dscp_same,
            hops_dscp_changed,
            hops_dscp_value,
            hops_dscp_same_from,
            hops_dscp_changed_from,
            hops_dscp_undone,
            hops_dscp_sure
        );
        fill!(
            row,
            trace.verdict(Field::Flags),
            hops_flags_same,
            hops_flags_changed,
            hops_flags_value,
            hops_flags_same_from,
            hops_flags_changed_from,
            hops_flags_undone,
            hops_flags_sure
        );
        fill!(
            row,
            trace.verdict(Field::Options),
            hops_options_same,
            hops_options_changed,
            hops_options_value,
            hops_options_same_from,
            hops_options_changed_from,
            hops_options_undone,
            hops_options_sure
        );
        fill!(
            row,
            trace.verdict(Field::Mss),
            hops_mss_same,
            hops_mss_changed,
            hops_mss_value,
            hops_mss_same_from,
            hops_mss_changed_from,
            hops_mss_undone,
            hops_mss_sure
        );
        fill!(
            row,
            trace.verdict(Field::Window),
            hops_window_same,
            hops_window_changed,
            hops_window_value,
            hops_window_same_from,
            hops_window_changed_from,
            hops_window_undone,
            hops_window_sure
        );
        fill!(
            row,
            trace.verdict(Field::Length),
            hops_length_same,
            hops_length_changed,
            hops_length_value,
            hops_length_same_from,
            hops_length_changed_from,
            hops_length_undone,
            hops_length_sure
        );
        fill!(
            row,
            trace.verdict(Field::Checksum),
            hops_checksum_same,
            hops_checksum_changed,
            hops_checksum_value,
            hops_checksum_same_from,
            hops_checksum_changed_from,
            hops_checksum_undone,
            hops_checksum_sure
        );
        fill!(
            row,
            trace.verdict(Field::FlowLabel),
            hops_flowlabel_same,
            hops_flowlabel_changed,
            hops_flowlabel_value,
            hops_flowlabel_same_from,
            hops_flowlabel_changed_from,
            hops_flowlabel_undone,
            hops_flowlabel_sure
        );
        fill!(
            row,
            trace.verdict(Field::Evil),
            hops_evil_same,
            hops_evil_changed,
            hops_evil_value,
            hops_evil_same_from,
            hops_evil_changed_from,
            hops_evil_undone,
            hops_evil_sure
        );
    }
    row
}
