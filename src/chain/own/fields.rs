//! The fields of a packet's headers that the columns of a measurement may use.

use super::value::Value;
use crate::packet::tcp_option::{kind, options};
use crate::packet::{Packet, Tcp, Transport, Udp, flag, protocol};

/// The type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A boolean.
    Truth,
    /// An integer of 64 bits.
    Number,
}

/// One field: `tcp.window`.
#[derive(Debug)]
pub struct PacketField {
    /// The header, before the dot.
    pub header: &'static str,
    /// The field, after the dot.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its meaning, with the RFC where applicable.
    pub doc: &'static str,
    /// Reads it. NULL if the packet has no such header or field, unknown if it was not captured.
    pub(super) read: fn(&Packet<'_>) -> Value,
}

impl PartialEq for PacketField {
    fn eq(&self, other: &Self) -> bool {
        (self.header, self.name) == (other.header, other.name)
    }
}

/// The row of a field.
macro_rules! row {
    ($header:literal, $name:literal, $kind:ident, $doc:literal, $read:expr) => {
        PacketField { header: $header, name: $name, kind: Kind::$kind, doc: $doc, read: $read }
    };
}

/// Every field, by header.
pub static PACKET_FIELDS: &[PacketField] = &[
    row!("ip", "version", Number, "4 or 6", |p| int(if p.ip.source.is_ipv4() { 4u8 } else { 6 })),
    row!(
        "ip",
        "length",
        Number,
        "octets of the packet by its header, without link layer",
        |p| int(p.ip.length)
    ),
    row!("ip", "dscp", Number, "the DSCP, 0 to 63 (RFC 2474)", |p| int(p.ip.dscp())),
    row!(
        "ip",
        "ecn",
        Number,
        "the ECN codepoint: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE (RFC 3168)",
        |p| int(p.ip.ecn())
    ),
    row!("ip", "ttl", Number, "time to live, or hop limit", |p| int(p.ip.ttl)),
    row!(
        "ip",
        "protocol",
        Number,
        "the number of the transport: 6 TCP, 17 UDP, 1 ICMP, 58 ICMPv6",
        |p| int(p.ip.protocol)
    ),
    row!(
        "ip",
        "id",
        Number,
        "the Identification of IPv4, or of an IPv6 fragment; else NULL",
        |p| perhaps(p.ip.id)
    ),
    row!("ip", "flow_label", Number, "the flow label of IPv6 (RFC 6437); NULL for IPv4", |p| {
        perhaps(p.ip.flow_label)
    }),
    row!(
        "ip",
        "reserved_flag",
        Truth,
        "the reserved flag of IPv4 (RFC 3514); NULL for IPv6",
        |p| { p.ip.evil.map_or(Value::Null, Value::Truth) }
    ),
    row!(
        "ip",
        "fragment_offset",
        Number,
        "the offset of a fragment in octets; NULL if it is none",
        |p| perhaps(p.ip.fragment)
    ),
    row!("tcp", "source_port", Number, "source port", |p| tcp(p, |_| port(p, 0))),
    row!("tcp", "destination_port", Number, "destination port", |p| tcp(p, |_| port(p, 1))),
    row!(
        "tcp",
        "flags",
        Number,
        "nine flags as a number: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128, AE 256",
        |p| { tcp(p, |tcp| int(tcp.flags)) }
    ),
    row!("tcp", "fin", Truth, "FIN", |p| has(p, flag::FIN)),
    row!("tcp", "syn", Truth, "SYN", |p| has(p, flag::SYN)),
    row!("tcp", "rst", Truth, "RST", |p| has(p, flag::RST)),
    row!("tcp", "psh", Truth, "PSH", |p| has(p, 0x008)),
    row!("tcp", "ack", Truth, "ACK", |p| has(p, flag::ACK)),
    row!("tcp", "urg", Truth, "URG", |p| has(p, 0x020)),
    row!("tcp", "ece", Truth, "ECE (RFC 3168)", |p| has(p, flag::ECE)),
    row!("tcp", "cwr", Truth, "CWR (RFC 3168)", |p| has(p, flag::CWR)),
    row!("tcp", "ae", Truth, "AE, once NS (RFC 9768)", |p| has(p, 0x100)),
    row!("tcp", "sequence", Number, "sequence number", |p| tcp(p, |tcp| int(tcp.sequence))),
    row!("tcp", "acknowledgment", Number, "acknowledgment number", |p| tcp(p, |tcp| int(
        tcp.acknowledgment
    ))),
    row!("tcp", "window", Number, "the window field, not scaled", |p| {
        // The largest value also stands for one that was not captured.
        tcp(
            p,
            |tcp| if tcp.whole || tcp.window < u16::MAX { int(tcp.window) } else { Value::Unknown },
        )
    }),
    row!("tcp", "options_length", Number, "octets of options", |p| tcp(p, |tcp| whole(
        tcp,
        |tcp| int(tcp.options.len() as u64)
    ))),
    row!(
        "tcp",
        "mss",
        Number,
        "the value of a maximum segment size option; NULL without one",
        |p| option(p, kind::MSS)
    ),
    row!(
        "tcp",
        "window_scale",
        Number,
        "the shift of a window scale option (RFC 7323); NULL without one",
        |p| option(p, kind::WINDOW_SCALE)
    ),
    row!("udp", "source_port", Number, "source port", |p| udp(p, |_| port(p, 0))),
    row!("udp", "destination_port", Number, "destination port", |p| udp(p, |_| port(p, 1))),
    row!("udp", "length", Number, "the length field: octets of header and data", |p| udp(
        p,
        |udp| int(udp.length)
    )),
    row!("udp", "checksum", Number, "the checksum field; 0 means none", |p| udp(p, |udp| int(
        udp.checksum
    ))),
    row!("icmp", "type", Number, "type, of ICMP or ICMPv6", |p| icmp(p, |icmp| int(icmp.kind))),
    row!("icmp", "code", Number, "code", |p| icmp(p, |icmp| int(icmp.code))),
    row!(
        "icmp",
        "rest",
        Number,
        "octets 4 to 8 as a number: the MTU of a Packet Too Big (RFC 4443)",
        |p| icmp(p, |icmp| int(icmp.rest))
    ),
    row!("icmp", "is_error", Truth, "whether it quotes a packet of the flow", |p| {
        icmp(p, |icmp| Value::Truth(icmp.quote.is_some()))
    }),
    row!(
        "payload",
        "length",
        Number,
        "octets of data after a TCP or UDP header; NULL for other packets and later fragments",
        |p| {
            match &p.transport {
                Transport::Tcp(tcp) => int(tcp.payload),
                Transport::Udp(udp) => int(udp.length.saturating_sub(8)),
                Transport::Other if p.hides(protocol::TCP) || p.hides(protocol::UDP) => {
                    Value::Unknown
                }
                Transport::Icmp(_) | Transport::Other => Value::Null,
            }
        }
    ),
];

/// The field with these names.
pub fn packet_field(header: &str, name: &str) -> Option<&'static PacketField> {
    PACKET_FIELDS.iter().find(|field| field.header == header && field.name == name)
}

fn int(value: impl Into<u64>) -> Value {
    Value::Int(i64::try_from(value.into()).unwrap_or(i64::MAX))
}

fn perhaps(value: Option<u32>) -> Value {
    value.map_or(Value::Null, int)
}

fn absent(packet: &Packet<'_>, protocols: &[u8]) -> Value {
    let hidden = protocols.iter().any(|protocol| packet.hides(*protocol));
    if hidden { Value::Unknown } else { Value::Null }
}

fn tcp(packet: &Packet<'_>, read: impl FnOnce(&Tcp<'_>) -> Value) -> Value {
    packet.tcp().map_or_else(|| absent(packet, &[protocol::TCP]), read)
}

fn whole(tcp: &Tcp<'_>, read: impl FnOnce(&Tcp<'_>) -> Value) -> Value {
    if tcp.whole { read(tcp) } else { Value::Unknown }
}

fn has(packet: &Packet<'_>, flags: u16) -> Value {
    tcp(packet, |tcp| Value::Truth(tcp.has(flags)))
}

fn option(packet: &Packet<'_>, kind: u8) -> Value {
    tcp(packet, |tcp| {
        let found = options(tcp.options).find(|option| option.kind == kind);
        match found.map(|option| option.value) {
            Some([a, b]) => int(u16::from_be_bytes([*a, *b])),
            Some([a]) => int(*a),
            Some(_) => Value::Null,
            None => whole(tcp, |_| Value::Null),
        }
    })
}

fn udp(packet: &Packet<'_>, read: impl FnOnce(&Udp<'_>) -> Value) -> Value {
    packet.udp().map_or_else(|| absent(packet, &[protocol::UDP]), read)
}

fn icmp(packet: &Packet<'_>, read: impl FnOnce(&crate::packet::Icmp<'_>) -> Value) -> Value {
    packet.icmp().map_or_else(|| absent(packet, &[protocol::ICMP, protocol::ICMP6]), read)
}

fn port(packet: &Packet<'_>, which: usize) -> Value {
    match packet.ports {
        Some((source, destination)) => int([source, destination][which]),
        None => Value::Unknown,
    }
}
