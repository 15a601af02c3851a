//! What the attacker sends: a row for each attack.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6Header,
    TcpHeader, UdpHeader, icmpv4, icmpv6,
};

use crate::attacker::Flow;

/// What carries a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// One kind of forged packet.
pub struct Attack {
    pub name: &'static str,
    /// The transport of the flows that it means; `None`: any.
    transport: Option<Transport>,
    /// The packet for a flow.
    pub packet: fn(&Flow) -> Vec<u8>,
}

impl Attack {
    pub fn concerns(&self, transport: Transport) -> bool {
        self.transport.is_none_or(|own| own == transport)
    }
}

/// Octets of UDP that is no DNS.
const JUNK: &[u8] = b"not an answer";
/// The attacker's own addresses, where it need not pretend to be the target.
const OWN: (Ipv4Addr, Ipv6Addr) =
    (Ipv4Addr::new(203, 0, 113, 66), Ipv6Addr::new(0x2001, 0xdb8, 0xbad, 0, 0, 0, 0, 1));
/// The ECN field says that congestion was met (RFC 3168).
const CE: u8 = 3;

const TCP: Option<Transport> = Some(Transport::Tcp);
const UDP: Option<Transport> = Some(Transport::Udp);

/// Every attack. Errors are of ICMP for both versions of IP, each with the nearest type and code.
pub static ATTACKS: &[Attack] = &[
    Attack {
        name: "port unreachable",
        transport: None,
        packet: |flow| {
            error(
                flow,
                (
                    dest(icmpv4::DestUnreachableHeader::Port),
                    unreachable(icmpv6::DestUnreachableCode::Port),
                ),
            )
        },
    },
    Attack {
        name: "host unreachable",
        transport: None,
        packet: |flow| {
            error(
                flow,
                (
                    dest(icmpv4::DestUnreachableHeader::Host),
                    unreachable(icmpv6::DestUnreachableCode::Address),
                ),
            )
        },
    },
    Attack {
        name: "net unreachable",
        transport: None,
        packet: |flow| {
            error(
                flow,
                (
                    dest(icmpv4::DestUnreachableHeader::Network),
                    unreachable(icmpv6::DestUnreachableCode::NoRoute),
                ),
            )
        },
    },
    Attack {
        name: "prohibited",
        transport: None,
        packet: |flow| {
            error(
                flow,
                (
                    dest(icmpv4::DestUnreachableHeader::FilterProhibited),
                    unreachable(icmpv6::DestUnreachableCode::Prohibited),
                ),
            )
        },
    },
    Attack {
        name: "too big",
        transport: None,
        packet: |flow| {
            let v4 = icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 600 };
            error(flow, (dest(v4), Icmpv6Type::PacketTooBig { mtu: 1280 }))
        },
    },
    Attack {
        name: "time exceeded",
        transport: None,
        packet: |flow| {
            let v4 = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
            let v6 = Icmpv6Type::TimeExceeded(icmpv6::TimeExceededCode::HopLimitExceeded);
            error(flow, (v4, v6))
        },
    },
    Attack {
        name: "SYN-ACK",
        transport: TCP,
        packet: |flow| segment(flow, 0, b"", |tcp| (tcp.syn, tcp.ack) = (true, true)),
    },
    Attack {
        name: "SYN-ACK with ECE and CE",
        transport: TCP,
        packet: |flow| {
            segment(flow, CE, b"", |tcp| (tcp.syn, tcp.ack, tcp.ece) = (true, true, true))
        },
    },
    Attack {
        name: "SYN",
        transport: TCP,
        packet: |flow| segment(flow, 0, b"", |tcp| tcp.syn = true),
    },
    Attack {
        name: "RST",
        transport: TCP,
        packet: |flow| {
            // The number that a peer without a number of its own has.
            segment(flow, 0, b"", |tcp| (tcp.rst, tcp.sequence_number) = (true, 0))
        },
    },
    Attack {
        name: "RST with ACK",
        transport: TCP,
        packet: |flow| segment(flow, 0, b"", |tcp| (tcp.rst, tcp.ack) = (true, true)),
    },
    Attack {
        name: "ACK",
        transport: TCP,
        packet: |flow| segment(flow, 0, b"", |tcp| tcp.ack = true),
    },
    Attack {
        name: "data with CE",
        transport: TCP,
        packet: |flow| {
            segment(flow, CE, b"HTTP/1.1 200 OK\r\n\r\n", |tcp| (tcp.ack, tcp.psh) = (true, true))
        },
    },
    Attack {
        name: "FIN",
        transport: TCP,
        packet: |flow| segment(flow, 0, b"", |tcp| (tcp.ack, tcp.fin) = (true, true)),
    },
    Attack {
        name: "DNS answer",
        transport: UDP,
        packet: |flow| datagram(flow, 0, &answer(flow, true, 0)),
    },
    Attack {
        name: "DNS error without question",
        transport: UDP,
        packet: |flow| datagram(flow, 0, &answer(flow, false, 5)),
    },
    Attack { name: "junk by UDP with CE", transport: UDP, packet: |flow| datagram(flow, CE, JUNK) },
];

fn dest(header: icmpv4::DestUnreachableHeader) -> Icmpv4Type {
    Icmpv4Type::DestinationUnreachable(header)
}

fn unreachable(code: icmpv6::DestUnreachableCode) -> Icmpv6Type {
    Icmpv6Type::DestinationUnreachable(code)
}

/// An IP packet with these ends.
fn ip(from: IpAddr, to: IpAddr, protocol: IpNumber, ecn: u8, content: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    let length = u16::try_from(content.len()).unwrap();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip = Ipv4Header::new(length, 60, protocol, from.octets(), to.octets()).unwrap();
            ip.ecn = ecn.try_into().unwrap();
            ip.header_checksum = ip.calc_header_checksum();
            ip.write(&mut packet).unwrap();
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = Ipv6Header {
                traffic_class: ecn,
                payload_length: length,
                next_header: protocol,
                hop_limit: 60,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            ip.write(&mut packet).unwrap();
        }
        _ => panic!("two versions of IP in one packet"),
    }
    packet.extend_from_slice(content);
    packet
}

/// An ICMP error about a packet of ours, with its numbers guessed.
fn error(flow: &Flow, (v4, v6): (Icmpv4Type, Icmpv6Type)) -> Vec<u8> {
    let (us, them) = (SocketAddr::new(flow.prober, flow.port), flow.target);
    let quoted = match flow.transport {
        Transport::Tcp => {
            let tcp = TcpHeader { syn: true, ..numbers(flow, us.port(), them.port()) };
            ip(us.ip(), them.ip(), IpNumber::TCP, 0, &tcp_octets(us.ip(), them.ip(), tcp, b""))
        }
        Transport::Udp => {
            let content = udp_octets(us, them, &answer(flow, true, 0));
            ip(us.ip(), them.ip(), IpNumber::UDP, 0, &content)
        }
    };
    let mut content = Vec::new();
    match flow.prober {
        IpAddr::V4(us) => {
            Icmpv4Header::with_checksum(v4, &quoted).write(&mut content).unwrap();
            content.extend(quoted);
            ip(OWN.0.into(), us.into(), IpNumber::ICMP, 0, &content)
        }
        IpAddr::V6(us) => {
            let from = OWN.1;
            let icmp = Icmpv6Header::with_checksum(v6, from.octets(), us.octets(), &quoted);
            icmp.unwrap().write(&mut content).unwrap();
            content.extend(quoted);
            ip(from.into(), us.into(), IpNumber::IPV6_ICMP, 0, &content)
        }
    }
}

/// A TCP header with guessed numbers.
fn numbers(flow: &Flow, from: u16, to: u16) -> TcpHeader {
    let mut tcp = TcpHeader::new(from, to, flow.random as u32, 65_535);
    tcp.acknowledgment_number = (flow.random >> 32) as u32;
    tcp
}

/// A segment from the target.
fn segment(flow: &Flow, ecn: u8, data: &[u8], change: impl FnOnce(&mut TcpHeader)) -> Vec<u8> {
    let (from, to) = (flow.target.ip(), flow.prober);
    let mut tcp = numbers(flow, flow.target.port(), flow.port);
    change(&mut tcp);
    ip(from, to, IpNumber::TCP, ecn, &tcp_octets(from, to, tcp, data))
}

fn tcp_octets(from: IpAddr, to: IpAddr, mut tcp: TcpHeader, data: &[u8]) -> Vec<u8> {
    let sum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            tcp.calc_checksum_ipv4_raw(from.octets(), to.octets(), data)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            tcp.calc_checksum_ipv6_raw(from.octets(), to.octets(), data)
        }
        _ => panic!("two versions of IP in one packet"),
    };
    tcp.checksum = sum.unwrap();
    let mut octets = Vec::new();
    tcp.write(&mut octets).unwrap();
    octets.extend_from_slice(data);
    octets
}

/// A datagram from the target.
fn datagram(flow: &Flow, ecn: u8, data: &[u8]) -> Vec<u8> {
    let (from, to) = (flow.target, SocketAddr::new(flow.prober, flow.port));
    ip(from.ip(), to.ip(), IpNumber::UDP, ecn, &udp_octets(from, to, data))
}

fn udp_octets(from: SocketAddr, to: SocketAddr, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(UdpHeader::LEN + data.len()).unwrap();
    let (source_port, destination_port) = (from.port(), to.port());
    let mut udp = UdpHeader { source_port, destination_port, length, checksum: 0 };
    let sum = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            udp.calc_checksum_ipv4_raw(from.octets(), to.octets(), data)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            udp.calc_checksum_ipv6_raw(from.octets(), to.octets(), data)
        }
        _ => panic!("two versions of IP in one packet"),
    };
    udp.checksum = sum.unwrap();
    let mut octets = Vec::new();
    udp.write(&mut octets).unwrap();
    octets.extend_from_slice(data);
    octets
}

/// A DNS message with a guessed identifier that answers the question which a target without a name is asked, or an
/// error that repeats no question.
fn answer(flow: &Flow, with_question: bool, rcode: u8) -> Vec<u8> {
    let [high, low] = (flow.random as u16).to_be_bytes();
    let mut octets = vec![high, low, 0x81, 0x80 | rcode, 0, with_question.into(), 0, 0, 0, 0, 0, 0];
    if with_question {
        octets.extend_from_slice(b"\x07example\x03org\0\0\x01\0\x01");
    }
    octets
}
