//! Packets as the observer functions see them: time, addresses, and the relevant headers.
//!
//! [`dissect`] turns a captured frame into a [`Packet`] that borrows from it: [`link`] finds the IP
//! header, `ip` walks to the transport, `transport` reads it. A header that is not understood yields an
//! [`Unread`] reason, which is counted; nothing is guessed.
//!
//! [`template`] builds copies of packets that were seen.
//!
//! [`dns`] reads DNS messages, for observer functions and for clients.
//!
//! Imports [`field`](crate::field) only.

mod dissect;
pub mod dns;
pub mod extension;
mod ip;
pub mod link;
pub mod owner;
pub mod quoted;
pub mod tcp_option;
pub mod template;
mod transport;
mod unread;

pub use dissect::{dissect, dissect_into, endpoints};
pub use link::Link;
pub use unread::Unread;

use std::net::{IpAddr, Ipv4Addr};

use crate::field::Timestamp;

/// The direction of a packet in its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// That of the flow's first packet.
    Forward,
    /// The opposite one.
    Reverse,
}

impl Direction {
    /// The other direction.
    pub fn opposite(self) -> Self {
        match self {
            Direction::Forward => Direction::Reverse,
            Direction::Reverse => Direction::Forward,
        }
    }
}

/// IP protocol numbers (IANA).
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMP6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;
}

/// One dissected packet.
#[derive(Debug, Clone)]
pub struct Packet<'a> {
    /// When it crossed the interface, or [`Timestamp::UNKNOWN`].
    pub time: Timestamp,
    /// The capture's clock at this packet, which timeouts use: the packet's time, unless the capturing machine's clock
    /// jumped.
    pub clock: Timestamp,
    /// The outermost IP header.
    pub ip: Ip,
    /// Source and destination port, where the protocol has them and they were captured.
    pub ports: Option<(u16, u16)>,
    /// What follows the IP header.
    pub transport: Transport<'a>,
    /// Why a part could not be read, if so.
    pub flaw: Option<Unread>,
}

impl<'a> Packet<'a> {
    /// A packet before anything of it has been read.
    pub(crate) fn blank(time: Timestamp) -> Self {
        Self {
            time,
            clock: time,
            ip: Ip::BLANK,
            ports: None,
            transport: Transport::Other,
            flaw: None,
        }
    }

    /// The TCP header, if this is a TCP segment and its first 14 octets were captured.
    pub fn tcp(&self) -> Option<&Tcp<'a>> {
        match &self.transport {
            Transport::Tcp(tcp) => Some(tcp),
            _ => None,
        }
    }

    /// The UDP header, if this is a datagram and its header was captured whole.
    pub fn udp(&self) -> Option<&Udp<'a>> {
        match &self.transport {
            Transport::Udp(udp) => Some(udp),
            _ => None,
        }
    }

    /// The ICMP message, if it is one.
    pub fn icmp(&self) -> Option<&Icmp<'a>> {
        match &self.transport {
            Transport::Icmp(icmp) => Some(icmp),
            _ => None,
        }
    }

    /// The packet that an ICMP error quotes, if this is one and enough of the quote was captured to know the flow.
    pub fn quote(&self) -> Option<&Quote<'a>> {
        self.icmp().and_then(|icmp| icmp.quote.as_ref())
    }

    /// Whether it has a transport header of this protocol that could not be read.
    pub fn hides(&self, protocol: u8) -> bool {
        self.ip.protocol == protocol
            && self.flaw.is_some()
            && matches!(self.transport, Transport::Other)
    }

    /// Whether the marks of its IP header were set by the flow's sender: false for a later fragment (the first one
    /// counts) and for a router's error.
    pub fn carries_marks(&self) -> bool {
        !self.ip.is_later_fragment() && self.quote().is_none()
    }

    /// Whether it carries data, which may have marks: a TCP segment with payload, or
    /// anything that is not TCP.
    pub fn is_data(&self) -> bool {
        self.tcp().map_or(self.ip.protocol != protocol::TCP, |tcp| tcp.payload > 0)
    }
}

/// The fields of an IP header that functions use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ip {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// The transport's protocol number: for IPv6, what follows the extension headers (hop-by-hop,
    /// destination options, routing, fragment); AH and ESP are transports here.
    pub protocol: u8,
    /// Octets of the packet according to its header, without link layer and padding.
    pub length: u32,
    /// DSCP (RFC 2474) and ECN (RFC 3168) as one octet.
    pub traffic_class: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// The reserved flag of an IPv4 header (RFC 3514); `None` for IPv6.
    pub evil: Option<bool>,
    /// The flag "don't fragment" of an IPv4 header; false for IPv6, whose routers never fragment.
    pub dont_fragment: bool,
    /// The Identification of an IPv4 header, or that of an IPv6 fragment header.
    pub id: Option<u32>,
    /// The flow label of an IPv6 header (RFC 6437).
    pub flow_label: Option<u32>,
    /// If it is a fragment: its offset in octets.
    pub fragment: Option<u32>,
}

impl Ip {
    /// A header before anything of it has been read.
    const BLANK: Self = Self {
        source: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        destination: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        protocol: 0,
        length: 0,
        traffic_class: 0,
        ttl: 0,
        evil: None,
        dont_fragment: false,
        id: None,
        flow_label: None,
        fragment: None,
    };

    /// The ECN codepoint (RFC 3168, 5): 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
    pub fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// The DSCP (RFC 2474).
    pub fn dscp(&self) -> u8 {
        self.traffic_class >> 2
    }

    /// Whether it is a fragment other than the first.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|offset| offset > 0)
    }
}

/// What follows the IP header.
#[derive(Debug, Clone)]
pub enum Transport<'a> {
    /// A TCP header.
    Tcp(Tcp<'a>),
    /// A UDP header and the captured data.
    Udp(Udp<'a>),
    /// An ICMP message, of either version.
    Icmp(Icmp<'a>),
    /// Another protocol, a later fragment, or a header that could not be read.
    Other,
}

/// A TCP header.
#[derive(Debug, Clone)]
pub struct Tcp<'a> {
    /// The flags, see [`flag`].
    pub flags: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgment number.
    pub acknowledgment: u32,
    /// The window field, unscaled; its largest value if it was not captured.
    pub window: u16,
    /// Octets of data after the header, by the lengths in the headers.
    pub payload: u32,
    /// The captured octets of the options; see [`tcp_option`].
    pub options: &'a [u8],
    /// Whether the whole header was captured; otherwise options may be missing.
    pub whole: bool,
    /// The captured part of the data.
    pub data: &'a [u8],
}

impl Tcp<'_> {
    /// Whether all the given flags are set.
    pub fn has(&self, flags: u16) -> bool {
        self.flags & flags == flags
    }
}

/// Bits of [`Tcp::flags`]: the eight of RFC 9293, section 3.1, and AE (RFC 9768), once NS.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u16 = 0x001;
    /// Synchronize sequence numbers.
    pub const SYN: u16 = 0x002;
    /// Reset the connection.
    pub const RST: u16 = 0x004;
    /// The acknowledgment field is valid.
    pub const ACK: u16 = 0x010;
    /// ECN echo (RFC 3168, section 6.1).
    pub const ECE: u16 = 0x040;
    /// Congestion window reduced (RFC 3168, section 6.1).
    pub const CWR: u16 = 0x080;
    /// The nine flags that are kept.
    pub const ALL: u16 = 0x1ff;
}

/// A UDP header.
#[derive(Debug, Clone)]
pub struct Udp<'a> {
    /// The length field: octets of header and data.
    pub length: u16,
    /// The checksum field; 0 means no checksum (RFC 768).
    pub checksum: u16,
    /// The captured part of the data.
    pub data: &'a [u8],
    /// Whether the capture cut the data.
    pub cut: bool,
}

/// An ICMP message (RFC 792) or ICMPv6 message (RFC 4443).
#[derive(Debug, Clone)]
pub struct Icmp<'a> {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Octets 4 to 8, whose meaning depends on the type; 0 if not captured.
    pub rest: u32,
    /// The quoted packet of an error message.
    pub quote: Option<Quote<'a>>,
    /// Whether the checksum of an error message is right; `None` if the capture cut it, or it is another message.
    pub intact: Option<bool>,
    /// What follows the quote (RFC 4884); empty if nothing does.
    pub extension: extension::Extension<'a>,
}

#[cfg(test)]
impl<'a> Icmp<'a> {
    /// An error with this quote.
    pub(crate) fn error(kind: u8, code: u8, quote: Option<Quote<'a>>) -> Self {
        let extension = extension::Extension::default();
        Icmp { kind, code, rest: 0, quote, intact: None, extension }
    }
}

impl<'a> Icmp<'a> {
    /// Reads a message that came without its IP header, from this address.
    pub fn read(message: &'a [u8], from: IpAddr) -> Option<Self> {
        let protocol = if from.is_ipv4() { protocol::ICMP } else { protocol::ICMP6 };
        let length = u32::try_from(message.len()).ok()?;
        let ip = Ip { source: from, protocol, length, ..Ip::BLANK };
        let mut transport = Transport::Other;
        transport::read(&ip, 0, message, &mut transport).ok()?;
        match transport {
            Transport::Icmp(icmp) => Some(icmp),
            _ => None,
        }
    }
}

/// The part of a packet that an ICMP error quotes, as the packet was where the error arose.
#[derive(Debug, Clone)]
pub struct Quote<'a> {
    /// The quoted IP header.
    pub ip: Ip,
    /// The quoted ports, if the protocol has them.
    pub ports: Option<(u16, u16)>,
    /// The quoted part of the transport, from its first octet on.
    pub transport: &'a [u8],
}

impl Quote<'_> {
    /// The key of the quoted packet's flow, in that packet's direction.
    pub fn key(&self) -> FlowKey {
        FlowKey::new(&self.ip, self.ports)
    }
}

/// The key of a flow: protocol, and both ends in the order of its first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// IP protocol number.
    pub protocol: u8,
    /// Address and port of the first packet's sender.
    pub source: (IpAddr, u16),
    /// Address and port of its receiver.
    pub destination: (IpAddr, u16),
    /// Whether the protocol has ports and they were seen.
    pub has_ports: bool,
}

impl FlowKey {
    fn new(ip: &Ip, ports: Option<(u16, u16)>) -> Self {
        let (source, destination) = ports.unwrap_or_default();
        Self {
            protocol: ip.protocol,
            source: (ip.source, source),
            destination: (ip.destination, destination),
            has_ports: ports.is_some(),
        }
    }

    /// The key of a flow that begins with this packet.
    pub fn of(packet: &Packet<'_>) -> Self {
        Self::new(&packet.ip, packet.ports)
    }

    /// The key of the other direction.
    pub fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source, ..self }
    }

    /// The ports, if the protocol has them and they were seen.
    pub fn ports(&self) -> Option<(u16, u16)> {
        self.has_ports.then_some((self.source.1, self.destination.1))
    }
}
