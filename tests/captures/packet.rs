//! Packets from the IP header on, checksums included.

use std::net::IpAddr;

use etherparse::{
    Icmpv6Header, Icmpv6Type, IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header,
    TcpHeader, UdpHeader, checksum::Sum16BitWords,
};

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
const SCTP: u8 = 132;

/// The two ends of a TCP connection.
pub struct Connection {
    pub us: IpAddr,
    pub them: IpAddr,
    ports: (u16, u16),
}

impl Connection {
    pub fn new(us: IpAddr, them: IpAddr, port: u16, to: u16) -> Self {
        Self { us, them, ports: (port, to) }
    }

    /// A segment from us.
    pub fn out(&self, flags: u16, class: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
        tcp((self.us, self.ports.0), (self.them, self.ports.1), flags, class, options, data)
    }

    /// A segment to us.
    pub fn back(&self, flags: u16, class: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
        tcp((self.them, self.ports.1), (self.us, self.ports.0), flags, class, options, data)
    }
}

fn tcp(
    source: (IpAddr, u16),
    destination: (IpAddr, u16),
    flags: u16,
    class: u8,
    options: &[u8],
    data: &[u8],
) -> Vec<u8> {
    let mut header = TcpHeader::new(source.1, destination.1, 1, 65_000);
    let has = |bit: u16| flags & bit != 0;
    (header.fin, header.syn, header.rst, header.ack) = (has(1), has(2), has(4), has(0x10));
    (header.ece, header.cwr, header.ns) = (has(0x40), has(0x80), has(0x100));
    if header.ack {
        header.acknowledgment_number = 2;
    }
    header.set_options_raw(options).unwrap();
    header.checksum = match (source.0, destination.0) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), data)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), data)
        }
        _ => unreachable!("both ends are of one family"),
    }
    .unwrap();
    ip(source.0, destination.0, TCP, class, &[&header.to_bytes(), data].concat())
}

/// A packet of either version.
fn ip(source: IpAddr, destination: IpAddr, protocol: u8, class: u8, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = Ipv4Header::new(
                payload.len() as u16,
                64,
                IpNumber(protocol),
                from.octets(),
                to.octets(),
            )
            .unwrap();
            header.dscp = (class >> 2).try_into().unwrap();
            header.ecn = (class & 3).try_into().unwrap();
            header.identification = 7;
            finish(header, payload)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                traffic_class: class,
                flow_label: Ipv6FlowLabel::try_new(0x1234).unwrap(),
                payload_length: payload.len() as u16,
                next_header: IpNumber(protocol),
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
            };
            [&header.to_bytes()[..], payload].concat()
        }
        _ => unreachable!("both ends are of one family"),
    }
}

fn finish(mut header: Ipv4Header, payload: &[u8]) -> Vec<u8> {
    header.header_checksum = header.calc_header_checksum();
    [&header.to_bytes()[..], payload].concat()
}

/// The packet with the reserved flag of its IPv4 header set.
pub fn evil(mut packet: Vec<u8>) -> Vec<u8> {
    packet[6] |= 0x80;
    packet[10..12].fill(0);
    let sum = Sum16BitWords::new().add_slice(&packet[..20]).ones_complement().to_be();
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// A UDP datagram, perhaps without a checksum.
pub fn udp(
    source: [u8; 4],
    destination: [u8; 4],
    from: u16,
    to: u16,
    checksum: bool,
    data: &[u8],
) -> Vec<u8> {
    let mut header = UdpHeader {
        source_port: from,
        destination_port: to,
        length: 8 + data.len() as u16,
        checksum: 0,
    };
    if checksum {
        header.checksum = header.calc_checksum_ipv4_raw(source, destination, data).unwrap();
    }
    ip(source.into(), destination.into(), UDP, 0, &[&header.to_bytes(), data].concat())
}

/// A piece of a datagram from 192.0.2.1 to 192.0.2.2.
pub fn fragment(id: u16, offset: u16, more: bool, data: &[u8]) -> Vec<u8> {
    let (from, to) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let mut header = Ipv4Header::new(data.len() as u16, 64, IpNumber(UDP), from, to).unwrap();
    header.identification = id;
    header.more_fragments = more;
    header.fragment_offset = IpFragOffset::try_new(offset / 8).unwrap();
    finish(header, data)
}

/// An ICMP or ICMPv6 error about a packet.
pub fn icmp(from: IpAddr, to: IpAddr, kind: u8, code: u8, rest: u32, quote: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(quote);
    let (protocol, checksum) = match (from, to) {
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let bytes5to8 = rest.to_be_bytes();
            let about = Icmpv6Type::Unknown { type_u8: kind, code_u8: code, bytes5to8 };
            let header =
                Icmpv6Header::with_checksum(about, from.octets(), to.octets(), quote).unwrap();
            (ICMP6, header.checksum)
        }
        _ => {
            let sum = Sum16BitWords::new().add_slice(&message);
            (ICMP, sum.ones_complement().to_be())
        }
    };
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    ip(from, to, protocol, 0, &message)
}

/// The start of an SCTP packet, there or back.
pub fn sctp(out: bool) -> Vec<u8> {
    let ends = ([192, 0, 2, 1], [192, 0, 2, 2]);
    let (from, to, ports) =
        if out { (ends.0, ends.1, [5000u16, 5001]) } else { (ends.1, ends.0, [5001, 5000]) };
    let mut bytes = ports.map(u16::to_be_bytes).concat();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 4]);
    ip(from.into(), to.into(), SCTP, 0, &bytes)
}

/// A frame, with tags between the addresses and the type.
pub fn ethernet(tags: &[u8], packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(tags);
    let six = packet.first().is_some_and(|first| first >> 4 == 6);
    frame.extend(if six { [0x86, 0xdd] } else { [0x08, 0x00] });
    frame.extend(packet);
    frame
}
