//! Packets as the observer functions see them: time, addresses, the headers that matter.
//!
//! [`dissect`] turns a captured frame into a [`Packet`] that borrows from it. What it does not
//! understand is an [`Unread`] reason to be counted, never a guess.
//!
//! Imports [`field`](crate::field) only.

mod dissect;

pub use dissect::{Link, dissect};

use std::net::IpAddr;

use crate::field::Timestamp;

/// Which way a packet goes in its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// As the flow's first packet.
    Forward,
    /// Against it.
    Reverse,
}

/// IP protocol number of TCP (IANA).
pub const TCP: u8 = 6;

/// One dissected packet.
#[derive(Debug, Clone)]
pub struct Packet<'a> {
    /// When it crossed the interface.
    pub time: Timestamp,
    /// Source address of the outermost IP header.
    pub source: IpAddr,
    /// Destination address of the outermost IP header.
    pub destination: IpAddr,
    /// The transport's IP protocol number.
    pub protocol: u8,
    /// Source and destination port, where the protocol has them.
    pub ports: Option<(u16, u16)>,
    /// Octets of the IP packet by its own header, link layer and padding excluded.
    pub ip_length: u32,
    /// The ECN codepoint of the IP header (RFC 3168, section 5): 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
    pub ecn: u8,
    /// The TCP header, if this is a TCP segment with a whole one.
    pub tcp: Option<Tcp<'a>>,
}

/// A TCP header.
#[derive(Debug, Clone)]
pub struct Tcp<'a> {
    /// The flags, see [`flag`].
    pub flags: u16,
    /// Octets of data after the header, by the lengths in the headers.
    pub payload: u32,
    /// The options as they stand in the header.
    pub options: &'a [u8],
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
    /// The acknowledgment field counts.
    pub const ACK: u16 = 0x010;
    /// ECN echo (RFC 3168, section 6.1).
    pub const ECE: u16 = 0x040;
    /// Congestion window reduced (RFC 3168, section 6.1).
    pub const CWR: u16 = 0x080;
    /// The nine flags that are kept.
    pub const ALL: u16 = 0x1ff;
}

/// Why a frame was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unread {
    /// Not IP at all: ARP, LLDP and the like.
    NotIp,
    /// An IP header that is cut short or contradicts itself.
    BadIp,
    /// A transport header that is cut short or contradicts itself.
    BadTransport,
}

/// A flow's identity: protocol, and both ends in the order of its first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// IP protocol number.
    pub protocol: u8,
    /// Address and port of the first packet's sender.
    pub source: (IpAddr, u16),
    /// Address and port of its receiver.
    pub destination: (IpAddr, u16),
}

impl FlowKey {
    /// The key of a flow that begins with this packet.
    pub fn of(packet: &Packet<'_>) -> Self {
        let (source, destination) = packet.ports.unwrap_or_default();
        Self {
            protocol: packet.protocol,
            source: (packet.source, source),
            destination: (packet.destination, destination),
        }
    }

    /// The key as the other end would write it.
    pub fn reversed(self) -> Self {
        Self { protocol: self.protocol, source: self.destination, destination: self.source }
    }
}
