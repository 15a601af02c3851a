//! What an ICMP error shows of a packet that was sent: which packet the error quotes, and which of its fields were
//! changed on the way to the router that quotes it.
//!
//! Whoever sends packets and whoever captures them compare with the same functions.

use std::fmt::Write as _;

use super::tcp_option::{kind, options};
use super::{Packet, Quote, Transport, flag, protocol};

/// The longest options of a TCP header.
const MOST_OPTIONS: usize = 40;
/// The shortest TCP header.
const TCP_SHORTEST: usize = 20;

/// A field of a packet that a quote may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The ECN codepoint (RFC 3168).
    Ecn,
    /// The DSCP (RFC 2474).
    Dscp,
    /// The flags of the TCP header.
    Flags,
    /// The kinds of the TCP options in order, and all values but that of the segment size.
    Options,
    /// The value of the option for the maximum segment size.
    Mss,
    /// The window of the TCP header.
    Window,
    /// The length in the IP header.
    Length,
    /// Whether a UDP datagram has a checksum.
    Checksum,
    /// The flow label (RFC 6437).
    FlowLabel,
    /// The reserved flag of IPv4 (RFC 3514).
    Evil,
}

impl Field {
    /// Every field.
    pub const ALL: [Field; 10] = [
        Field::Ecn,
        Field::Dscp,
        Field::Flags,
        Field::Options,
        Field::Mss,
        Field::Window,
        Field::Length,
        Field::Checksum,
        Field::FlowLabel,
        Field::Evil,
    ];

    /// Its word in columns and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Field::Ecn => "ecn",
            Field::Dscp => "dscp",
            Field::Flags => "flags",
            Field::Options => "options",
            Field::Mss => "mss",
            Field::Window => "window",
            Field::Length => "length",
            Field::Checksum => "checksum",
            Field::FlowLabel => "flowlabel",
            Field::Evil => "evil",
        }
    }

    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// A set of fields.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FieldSet(u16);

impl FieldSet {
    /// Whether the field is in the set.
    pub const fn has(self, field: Field) -> bool {
        self.0 & field.bit() != 0
    }

    /// Adds a field.
    pub const fn add(&mut self, field: Field) {
        self.0 |= field.bit();
    }

    /// Whether no field is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The fields in the set.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.has(*field))
    }

    /// Their words, separated by spaces.
    pub fn words(self) -> String {
        self.iter().map(Field::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// What a quote shows of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shown {
    /// The fields that are in the quote, and in the packet.
    pub visible: FieldSet,
    /// Those of them with another value than was sent.
    pub changed: FieldSet,
}

/// A value of a field as a quote shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number; a flag is 0 or 1.
    Number(u32),
    /// The kinds of options, separated by spaces.
    Text(String),
}

/// The octets of a TCP header that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TcpPart {
    sequence: u32,
    flags: u16,
    window: u16,
    options: [u8; MOST_OPTIONS],
    length: u8,
}

/// What a packet was like when it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The identification of an IPv4 header.
    id: Option<u16>,
    /// Octets of the packet by its header.
    length: u32,
    evil: Option<bool>,
    flow_label: Option<u32>,
    tcp: Option<TcpPart>,
    /// Whether a UDP datagram has a checksum.
    checksum: Option<bool>,
}

impl Sent {
    /// A packet as it crossed the interface. `None` if its transport header could not be read whole, or it is a later
    /// fragment or an ICMP error.
    pub fn of(packet: &Packet<'_>) -> Option<Self> {
        let ip = &packet.ip;
        if ip.is_later_fragment() || packet.flaw.is_some() || packet.quote().is_some() {
            return None;
        }
        let tcp = packet.tcp().filter(|tcp| tcp.whole && tcp.options.len() <= MOST_OPTIONS);
        let tcp = tcp.map(|tcp| {
            let mut options = [0; MOST_OPTIONS];
            options[..tcp.options.len()].copy_from_slice(tcp.options);
            let length = tcp.options.len() as u8;
            let (flags, window) = (tcp.flags, tcp.window);
            TcpPart { sequence: tcp.sequence, flags, window, options, length }
        });
        let checksum = match &packet.transport {
            Transport::Udp(udp) => Some(udp.checksum != 0),
            _ => None,
        };
        Some(Self {
            ttl: ip.ttl,
            traffic_class: ip.traffic_class,
            id: ip.id.filter(|_| ip.source.is_ipv4()).map(|id| id as u16),
            length: ip.length,
            evil: ip.evil,
            flow_label: ip.flow_label,
            tcp,
            checksum,
        })
    }

    /// Whether a quote can be of this packet: the identification over IPv4 and the length over IPv6 are those that were
    /// sent, and so is the TCP sequence number, if it is quoted.
    pub fn is_quoted_by(&self, quote: &Quote<'_>) -> bool {
        let is = match (self.id, quote.ip.id) {
            (Some(sent), Some(quoted)) => u32::from(sent) == quoted,
            (None, None) => self.length == quote.ip.length,
            _ => false,
        };
        is && self.has_sequence(quote)
    }

    /// As [`is_quoted_by`](Self::is_quoted_by), for routers that quote the identification in their own byte order.
    pub fn is_quoted_swapped(&self, quote: &Quote<'_>) -> bool {
        let swapped = self.id.zip(quote.ip.id);
        let is = swapped.is_some_and(|(sent, quoted)| u32::from(sent.swap_bytes()) == quoted);
        is && self.length == quote.ip.length && self.has_sequence(quote)
    }

    fn has_sequence(&self, quote: &Quote<'_>) -> bool {
        let quoted = quote.transport.get(4..8).and_then(|octets| octets.first_chunk().copied());
        match (&self.tcp, quoted) {
            (Some(tcp), Some(quoted)) if quote.ip.protocol == protocol::TCP => {
                tcp.sequence == u32::from_be_bytes(quoted)
            }
            _ => true,
        }
    }

    /// Whether another packet cannot be distinguished by what routers quote of it, except by its TTL.
    pub fn is_like(&self, other: &Self) -> bool {
        Self { id: other.id, ..*self } == *other
    }

    /// Compares a quote of this packet with it.
    pub fn compare(&self, quote: &Quote<'_>) -> Shown {
        let mut shown = Shown::default();
        let mut note = |field: Field, same: Option<bool>| {
            if let Some(same) = same {
                shown.visible.add(field);
                if !same {
                    shown.changed.add(field);
                }
            }
        };
        note(Field::Ecn, Some(self.traffic_class & 3 == quote.ip.ecn()));
        note(Field::Dscp, Some(self.traffic_class >> 2 == quote.ip.dscp()));
        // Over IPv6 the length identifies the packet.
        note(Field::Length, self.id.map(|_| self.length == quote.ip.length));
        note(Field::Evil, both(self.evil, quote.ip.evil));
        note(Field::FlowLabel, both(self.flow_label, quote.ip.flow_label));
        if let Some(tcp) = &self.tcp {
            let quoted = QuotedTcp::of(quote);
            note(Field::Flags, both(Some(tcp.flags), quoted.flags()));
            note(Field::Window, both(Some(tcp.window), quoted.window()));
            let sent = &tcp.options[..usize::from(tcp.length)];
            note(Field::Options, quoted.options().map(|quoted| alike(sent, quoted)));
            if let Some(size) = segment_size(sent) {
                note(Field::Mss, quoted.segment_size().map(|quoted| quoted == Some(size)));
            }
        }
        note(Field::Checksum, both(self.checksum, udp_checksum(quote)));
        shown
    }
}

/// Whether two values are equal, if both are known.
fn both<T: PartialEq>(sent: Option<T>, quoted: Option<T>) -> Option<bool> {
    Some(sent? == quoted?)
}

/// The value of a field in a quote; `None` if the quote does not show it, or shows that it is absent.
pub fn value(field: Field, quote: &Quote<'_>) -> Option<Value> {
    let tcp = QuotedTcp::of(quote);
    let number = match field {
        Field::Ecn => quote.ip.ecn().into(),
        Field::Dscp => quote.ip.dscp().into(),
        Field::Length => quote.ip.length,
        Field::Evil => u32::from(quote.ip.evil?),
        Field::FlowLabel => quote.ip.flow_label?,
        Field::Flags => tcp.flags()?.into(),
        Field::Window => tcp.window()?.into(),
        Field::Mss => tcp.segment_size()??.into(),
        Field::Checksum => u32::from(udp_checksum(quote)?),
        Field::Options => {
            let mut kinds = String::new();
            for option in options(tcp.options()?) {
                let space = if kinds.is_empty() { "" } else { " " };
                write!(kinds, "{space}{}", option.kind).ok()?;
            }
            return Some(Value::Text(kinds));
        }
    };
    Some(Value::Number(number))
}

fn udp_checksum(quote: &Quote<'_>) -> Option<bool> {
    let octets = quote.transport.get(6..8).filter(|_| quote.ip.protocol == protocol::UDP)?;
    Some(octets != [0, 0])
}

/// Whether options have the same kinds in the same order, and the same values but for the segment size.
fn alike(sent: &[u8], quoted: &[u8]) -> bool {
    let is =
        |(sent, quoted): (super::tcp_option::TcpOption<'_>, super::tcp_option::TcpOption<'_>)| {
            sent.kind == quoted.kind && (sent.kind == kind::MSS || sent.value == quoted.value)
        };
    options(sent).count() == options(quoted).count() && options(sent).zip(options(quoted)).all(is)
}

fn segment_size(octets: &[u8]) -> Option<u16> {
    let option = options(octets).find(|option| option.kind == kind::MSS)?;
    option.value.first_chunk().copied().map(u16::from_be_bytes)
}

/// The quoted part of a TCP header; empty for another protocol.
struct QuotedTcp<'a>(&'a [u8]);

impl<'a> QuotedTcp<'a> {
    fn of(quote: &Quote<'a>) -> Self {
        Self(if quote.ip.protocol == protocol::TCP { quote.transport } else { &[] })
    }

    fn number(&self, at: usize) -> Option<u16> {
        self.0.get(at..at + 2).and_then(|two| two.first_chunk().copied()).map(u16::from_be_bytes)
    }

    fn flags(&self) -> Option<u16> {
        self.number(12).map(|flags| flags & flag::ALL)
    }

    fn window(&self) -> Option<u16> {
        self.number(14)
    }

    /// The options, if the whole header is quoted.
    fn options(&self) -> Option<&'a [u8]> {
        let length = usize::from(*self.0.get(12)? >> 4) * 4;
        self.0.get(TCP_SHORTEST..length)
    }

    /// The segment size, if the whole header or at least that option is quoted; `Some(None)` if it has none.
    fn segment_size(&self) -> Option<Option<u16>> {
        match self.options() {
            Some(whole) => Some(segment_size(whole)),
            None => segment_size(self.0.get(TCP_SHORTEST..)?).map(Some),
        }
    }
}
