//! Packets made by etherparse, and packets that nobody should make.

use super::*;
use crate::packet::{Ip, flag, protocol};
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

const LINKS: [Link; 11] = [
    Link::Ethernet,
    Link::Raw,
    Link::LinuxSll,
    Link::LinuxSll2,
    Link::Null,
    Link::Ppp,
    Link::CiscoHdlc,
    Link::Pppoe,
    Link::Ieee80211,
    Link::Radiotap,
    Link::IpOverInfiniband,
];

fn raw(bytes: &[u8]) -> Result<Packet<'_>, Unread> {
    dissect(Link::Raw, bytes, Timestamp(0))
}

/// An IPv6 packet whose header says `next`, with these octets behind it.
fn v6(next: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0];
    bytes.extend((rest.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    bytes.extend([0x20; 32]);
    bytes.extend(rest);
    bytes
}

#[test]
fn ports_flags_and_lengths_come_from_the_headers() {
    let mut bytes = frame(b"hello");
    bytes.extend([0; 9]); // Ethernet padding
    let packet = dissect(Link::Ethernet, &bytes, Timestamp(5)).unwrap();
    assert_eq!(packet.ports, Some((1000, 80)));
    assert_eq!(packet.ip.length, 45);
    let tcp = packet.tcp().unwrap();
    assert!(tcp.has(flag::SYN | flag::ECE) && !tcp.has(flag::ACK));
    assert_eq!((tcp.payload, tcp.data), (5, &b"hello"[..]));
}

#[test]
fn a_packet_cut_anywhere_is_read_or_refused() {
    let bytes = frame(b"hello");
    for cut in 0..bytes.len() {
        for link in LINKS {
            let _ = dissect(link, &bytes[..cut], Timestamp(0));
        }
    }
    let cut = dissect(Link::Ethernet, &bytes[..54], Timestamp(0)).unwrap();
    assert_eq!(cut.tcp().unwrap().payload, 5, "the snap length cut the data, not the fact");
}

#[test]
fn vlan_tags_are_skipped() {
    let bytes = frame(b"");
    let mut tagged = bytes[..12].to_vec();
    tagged.extend([0x88, 0xa8, 0, 1, 0x81, 0x00, 0, 2]);
    tagged.extend(&bytes[12..]);
    assert!(dissect(Link::Ethernet, &tagged, Timestamp(0)).unwrap().tcp().is_some());
}

#[test]
fn a_header_length_of_zero_is_no_ip_header() {
    let mut bytes = frame(b"")[14..].to_vec();
    bytes[0] = 0x40;
    assert_eq!(raw(&bytes).err(), Some(Unread::BadIp));
}

#[test]
fn a_transport_header_that_contradicts_itself_is_a_flaw_and_keeps_its_ports() {
    let mut bytes = frame(b"")[14..].to_vec();
    bytes[32] = 0x10; // a data offset of 1
    let packet = raw(&bytes).unwrap();
    assert_eq!((packet.flaw, packet.ports), (Some(Unread::BadTransport), Some((1000, 80))));
}

#[test]
fn extension_headers_are_walked_and_a_chain_of_them_ends() {
    // Hop-by-hop, then destination options, then TCP.
    let mut rest = vec![60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0];
    rest.extend(&frame(b"")[34..]);
    let bytes = v6(0, &rest);
    let packet = raw(&bytes).unwrap();
    assert_eq!((packet.ip.protocol, packet.ports), (protocol::TCP, Some((1000, 80))));
    assert_eq!(packet.tcp().unwrap().payload, 0);
    // One that always announces another of its kind.
    let bytes = v6(60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(1000));
    assert!(raw(&bytes).is_ok());
    // One that is announced and not there.
    assert!(raw(&v6(0, &[])).is_ok());
    assert!(raw(&v6(43, &[6, 200, 0, 0, 0, 0, 0, 0])).is_ok());
}

#[test]
fn an_authentication_header_ends_the_chain() {
    let bytes = v6(51, &[6, 4, 0, 0, 0, 0, 0, 1]);
    assert_eq!(raw(&bytes).unwrap().ip.protocol, 51);
}

#[test]
fn later_fragments_have_no_ports_and_no_marks() {
    let mut bytes = frame(b"")[14..].to_vec();
    bytes[7] = 1; // offset 8
    let packet = raw(&bytes).unwrap();
    assert!(packet.ports.is_none() && !packet.carries_marks());
    // An atomic fragment (RFC 6946) is a whole packet.
    let mut rest = vec![6, 0, 0, 0, 0, 0, 0, 9];
    rest.extend(&frame(b"")[34..]);
    let bytes = v6(44, &rest);
    let packet = raw(&bytes).unwrap();
    assert!(packet.tcp().is_some() && packet.carries_marks());
    assert_eq!(packet.ip.id, Some(9));
}

/// An ICMP error from a router about `packet`.
fn unreachable(packet: &[u8]) -> Vec<u8> {
    let mut message = vec![3, 1, 0, 0, 0, 0, 0, 0];
    message.extend(packet);
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 9], [192, 0, 2, 1], 60)
        .write(&mut bytes, etherparse::IpNumber::ICMP, &message)
        .unwrap();
    bytes
}

#[test]
fn an_icmp_error_quotes_the_packet_that_caused_it() {
    let quoted = &frame(b"")[14..14 + 28]; // 8 octets of TCP, as RFC 792 has it
    let bytes = unreachable(quoted);
    let packet = raw(&bytes).unwrap();
    let quote = packet.quote().unwrap();
    assert_eq!(quote.ports, Some((1000, 80)));
    let Ip { source, ttl, .. } = quote.ip;
    assert_eq!((source.to_string(), ttl), ("192.0.2.1".into(), 64));
    assert!(!packet.carries_marks());
}

#[test]
fn an_icmp_quote_cut_at_any_byte_is_a_quote_or_none() {
    let quoted = frame(b"hello")[14..].to_vec();
    for cut in 0..quoted.len() {
        let bytes = unreachable(&quoted[..cut]);
        assert_eq!(raw(&bytes).unwrap().quote().is_some(), cut >= 24, "{cut}");
    }
}

#[test]
fn all_packets_of_a_flow_have_the_same_endpoints() {
    let (us, them, router) = ([192, 0, 2, 1], [198, 51, 100, 7], [203, 0, 113, 1]);
    let v4 = |from: [u8; 4], to: [u8; 4], protocol: u8, fragment: u16, rest: &[u8]| {
        let mut bytes = vec![0x45, 0];
        bytes.extend((20 + rest.len() as u16).to_be_bytes());
        bytes.extend([0, 9]);
        bytes.extend(fragment.to_be_bytes());
        bytes.extend([64, protocol, 0, 0]);
        bytes.extend([from, to].concat());
        bytes.extend(rest);
        bytes
    };
    let question = v4(us, them, protocol::UDP, 0, &[4; 8]);
    let error = [&[3, 1, 0, 0, 0, 0, 0, 0], &question[..]].concat();
    let packets = [
        v4(them, us, protocol::UDP, 0, &[4; 8]),
        v4(us, them, protocol::UDP, 1, &[4; 8]),
        v4(router, us, protocol::ICMP, 0, &error),
        question,
    ];
    let [first, rest @ ..] = packets.map(|bytes| endpoints(&bytes).unwrap());
    assert!(rest.iter().all(|other| *other == first));
    assert_ne!(endpoints(&v4(us, router, protocol::UDP, 0, &[4; 8])), Some(first));

    // Behind extension headers as without them.
    let udp = [0, 80, 0, 81, 0, 8, 0, 0];
    let plain = v6(protocol::UDP, &udp);
    let extended = v6(60, &[&[protocol::UDP, 0, 1, 4, 0, 0, 0, 0], &udp[..]].concat());
    assert_eq!(endpoints(&plain), endpoints(&extended));
    let error = [&[1, 0, 0, 0, 0, 0, 0, 0], &plain[..]].concat();
    assert_eq!(endpoints(&v6(protocol::ICMP6, &error)), endpoints(&plain));
    // Each half of an address counts.
    let mut other = plain.clone();
    other[8] ^= 1;
    assert_ne!(endpoints(&other), endpoints(&plain));
    assert_eq!(endpoints(&[]), None);
    assert_eq!(endpoints(&plain[..39]), None);
}
