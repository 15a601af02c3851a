//! From a captured frame to a [`Packet`]: link header by hand (a few bytes), the rest by
//! etherparse's lax slices, which take lengths from the headers and packets as cut as they come.

use std::net::IpAddr;

use etherparse::{LaxIpSlice, TcpSlice};

use super::{Packet, TCP, Tcp, Unread, flag};
use crate::field::Timestamp;

/// What stands before the IP header in a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Ethernet, with or without VLAN tags (IEEE 802.1Q, 802.1ad).
    Ethernet,
    /// Nothing: the frame is the IP packet.
    Raw,
    /// Linux cooked capture, version 1.
    LinuxSll,
    /// Linux cooked capture, version 2.
    LinuxSll2,
}

impl Link {
    /// From a link-layer header type (tcpdump.org/linktypes.html).
    pub fn from_linktype(linktype: i32) -> Option<Self> {
        match linktype {
            1 => Some(Link::Ethernet),
            // DLT_RAW is 12 on most systems and 14 on some; LINKTYPE_RAW, IPV4, IPV6.
            12 | 14 | 101 | 228 | 229 => Some(Link::Raw),
            113 => Some(Link::LinuxSll),
            276 => Some(Link::LinuxSll2),
            _ => None,
        }
    }

    /// The bytes from the IP header on.
    fn strip(self, frame: &[u8]) -> Option<&[u8]> {
        let (mut ethertype, mut rest) = match self {
            Link::Raw => return Some(frame),
            Link::Ethernet => (be16(frame, 12)?, frame.get(14..)?),
            Link::LinuxSll => (be16(frame, 14)?, frame.get(16..)?),
            Link::LinuxSll2 => (be16(frame, 0)?, frame.get(20..)?),
        };
        while matches!(ethertype, 0x8100 | 0x88a8 | 0x9100) {
            ethertype = be16(rest, 2)?;
            rest = rest.get(4..)?;
        }
        matches!(ethertype, 0x0800 | 0x86dd).then_some(rest)
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]))
}

/// Dissects one frame as it was captured (perhaps cut by the snap length).
pub fn dissect(link: Link, frame: &[u8], time: Timestamp) -> Result<Packet<'_>, Unread> {
    let bytes = link.strip(frame).ok_or(Unread::NotIp)?;
    let (ip, _) = LaxIpSlice::from_slice(bytes).map_err(|_| Unread::BadIp)?;
    let (source, destination, ip_length, ecn, payload): (IpAddr, IpAddr, _, _, _) = match &ip {
        LaxIpSlice::Ipv4(v4) => {
            let header = v4.header();
            let addresses = (header.source_addr().into(), header.destination_addr().into());
            let length = u32::from(header.total_len());
            (addresses.0, addresses.1, length, header.ecn().value(), v4.payload())
        }
        LaxIpSlice::Ipv6(v6) => {
            let header = v6.header();
            let addresses = (header.source_addr().into(), header.destination_addr().into());
            let length = 40 + u32::from(header.payload_length());
            (addresses.0, addresses.1, length, header.ecn().value(), v6.payload())
        }
    };
    let mut packet = Packet {
        time,
        source,
        destination,
        protocol: payload.ip_number.0,
        ports: None,
        ip_length,
        ecn,
        tcp: None,
    };
    if packet.protocol == TCP && !payload.fragmented {
        let segment = TcpSlice::from_slice(payload.payload).map_err(|_| Unread::BadTransport)?;
        packet.ports = Some((segment.source_port(), segment.destination_port()));
        packet.tcp = Some(tcp(&segment, payload.payload, ip_length, bytes));
    }
    Ok(packet)
}

/// The TCP header; its data's length comes from the IP header, for the capture may be cut.
fn tcp<'a>(segment: &TcpSlice<'a>, captured: &'a [u8], ip_length: u32, ip: &[u8]) -> Tcp<'a> {
    let header = segment.header_slice();
    let before = captured.as_ptr() as usize - ip.as_ptr() as usize + header.len();
    let low = u16::from(header[13]);
    let ae = u16::from(header[12] & 1) << 8;
    Tcp {
        flags: (ae | low) & flag::ALL,
        payload: ip_length.saturating_sub(u32::try_from(before).unwrap_or(u32::MAX)),
        options: &header[20..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    fn frame(payload: &[u8]) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6])
            .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .tcp(1000, 80, 7, 100)
            .syn()
            .ece();
        let mut bytes = Vec::new();
        builder.write(&mut bytes, payload).unwrap();
        bytes
    }

    #[test]
    fn ports_flags_and_lengths_come_from_the_headers() {
        let mut bytes = frame(b"hello");
        bytes.extend([0; 9]); // Ethernet padding
        let packet = dissect(Link::Ethernet, &bytes, Timestamp(5)).unwrap();
        assert_eq!(packet.ports, Some((1000, 80)));
        assert_eq!(packet.ip_length, 45);
        let tcp = packet.tcp.unwrap();
        assert!(tcp.has(flag::SYN | flag::ECE) && !tcp.has(flag::ACK));
        assert_eq!(tcp.payload, 5);
    }

    #[test]
    fn a_packet_cut_anywhere_is_read_or_refused() {
        let bytes = frame(b"hello");
        for cut in 0..bytes.len() {
            for link in [Link::Ethernet, Link::Raw, Link::LinuxSll, Link::LinuxSll2] {
                let _ = dissect(link, &bytes[..cut], Timestamp(0));
            }
        }
        let cut = dissect(Link::Ethernet, &bytes[..54], Timestamp(0)).unwrap();
        assert_eq!(cut.tcp.unwrap().payload, 5, "the snap length cut the data, not the fact");
    }

    #[test]
    fn vlan_tags_are_skipped() {
        let bytes = frame(b"");
        let mut tagged = bytes[..12].to_vec();
        tagged.extend([0x88, 0xa8, 0, 1, 0x81, 0x00, 0, 2]);
        tagged.extend(&bytes[12..]);
        assert!(dissect(Link::Ethernet, &tagged, Timestamp(0)).unwrap().tcp.is_some());
    }
}
