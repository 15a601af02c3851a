//! Packets built by etherparse, and invalid ones.

use super::*;
use crate::packet::{Ip, flag, link, protocol};
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

fn raw(bytes: &[u8]) -> Result<Packet<'_>, Unread> {
    dissect(Link::Raw, bytes, Timestamp(0))
}

/// An IPv6 packet with this next header and these octets after the header.
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
fn a_packet_cut_anywhere_is_read_or_rejected() {
    let bytes = frame(b"hello");
    for cut in 0..bytes.len() {
        for row in link::TYPES {
            let _ = dissect(row.link, &bytes[..cut], Timestamp(0));
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
fn a_header_length_of_zero_is_not_an_ip_header() {
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
    assert!(packet.hides(protocol::TCP));
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
    // A chain of headers of the same kind without an end.
    let bytes = v6(60, &[60, 0, 1, 4, 0, 0, 0, 0].repeat(1000));
    assert_eq!(raw(&bytes).err(), Some(Unread::BadIp));
    // A header that is announced and missing or incomplete: the transport is unknown.
    for (next, rest) in
        [(0, &[][..]), (43, &[6, 200, 0, 0, 0, 0, 0, 0]), (60, &[6]), (44, &[6, 0, 0])]
    {
        assert_eq!(raw(&v6(next, rest)).err(), Some(Unread::BadIp), "{next}");
    }
}

#[test]
fn a_total_length_below_the_header_is_broken_and_zero_means_the_captured_length() {
    let whole = frame(b"hello")[14..].to_vec();
    for (total, length) in
        [(0, Some(45)), (19, None), (20, Some(20)), (45, Some(45)), (60, Some(60))]
    {
        let mut bytes = whole.clone();
        bytes[2..4].copy_from_slice(&u16::to_be_bytes(total));
        let read = raw(&bytes).map(|packet| packet.ip.length);
        assert_eq!(read.ok(), length, "{total}");
    }
}

#[test]
fn an_ipv6_payload_length_of_zero_means_the_captured_length_if_a_header_follows() {
    let segment = &frame(b"hello")[34..];
    let length = |bytes: &mut Vec<u8>| {
        bytes[4..6].fill(0);
        raw(bytes).unwrap().ip.length
    };
    assert_eq!(length(&mut v6(protocol::TCP, segment)), 65);
    let mut options = vec![protocol::TCP, 0, 1, 4, 0, 0, 0, 0];
    options.extend(segment);
    assert_eq!(length(&mut v6(60, &options)), 73);
    // A jumbogram says its length in an option (RFC 2675).
    let mut jumbo = vec![protocol::TCP, 0, 0xc2, 4, 0, 1, 0, 0];
    jumbo.extend(segment);
    assert_eq!(length(&mut v6(0, &jumbo)), 65_536 + 40);
    // Without a next header there is only padding.
    assert_eq!(length(&mut v6(59, &[0; 6])), 40);
}

#[test]
fn the_captured_part_of_a_tcp_header_is_read() {
    let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).tcp(1000, 80, 7, 100);
    let options = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0];
    let mut whole = Vec::new();
    builder.syn().ece().options_raw(&options).unwrap().write(&mut whole, b"hello").unwrap();
    for captured in 20..whole.len() {
        let packet = raw(&whole[..captured]).unwrap();
        let header = captured - 20;
        let flaw = (header < 36).then_some(Unread::CutTransport);
        assert_eq!(packet.flaw, flaw, "{captured}");
        assert_eq!(packet.ports, (header >= 4).then_some((1000, 80)));
        // Flags and length of the header are octets 12 and 13.
        assert_eq!(packet.tcp().is_some(), header >= 14);
        assert_eq!(packet.hides(protocol::TCP), header < 14);
        let Some(tcp) = packet.tcp() else { continue };
        assert_eq!((tcp.sequence, tcp.flags, tcp.payload), (7, flag::SYN | flag::ECE, 5));
        assert_eq!(tcp.whole, header >= 36);
        let kinds = super::super::tcp_option::options(tcp.options).count();
        assert_eq!(
            kinds,
            [(24, 1), (26, 2), (36, 3)].iter().filter(|(at, _)| header >= *at).count()
        );
    }
    // The packet ends there by its length: then the header contradicts it.
    let mut short = whole[..50].to_vec();
    short[2..4].copy_from_slice(&[0, 50]);
    let packet = raw(&short).unwrap();
    assert_eq!((packet.flaw, packet.tcp().is_none()), (Some(Unread::BadTransport), true));
}

#[test]
fn icmp_is_that_of_its_ip_version() {
    let quoted = &frame(b"")[14..];
    let error = |kind: u8, protocol: u8| {
        let message = [&[kind, 0, 0, 0, 0, 0, 0, 0], quoted].concat();
        let mut bytes = Vec::new();
        PacketBuilder::ipv4([192, 0, 2, 9], [192, 0, 2, 1], 60)
            .write(&mut bytes, etherparse::IpNumber(protocol), &message)
            .unwrap();
        bytes
    };
    assert!(raw(&error(3, protocol::ICMP)).unwrap().quote().is_some());
    let other = error(1, protocol::ICMP6);
    let packet = raw(&other).unwrap();
    assert!(packet.icmp().is_none() && packet.flaw.is_none());
    // So its own addresses decide its share, as for any packet without a quote.
    let plain = error(128, 47);
    assert_eq!(endpoints(&other), endpoints(&plain));
    let other = v6(protocol::ICMP, &[&[3, 0, 0, 0, 0, 0, 0, 0], quoted].concat());
    assert!(raw(&other).unwrap().icmp().is_none());
    // An error of one version about a packet of the other.
    let other = v6(protocol::ICMP6, &[&[1, 0, 0, 0, 0, 0, 0, 0], quoted].concat());
    let packet = raw(&other).unwrap();
    assert_eq!((packet.quote().is_none(), packet.flaw), (true, Some(Unread::BadQuote)));
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
    let quoted = &frame(b"")[14..14 + 28]; // 8 octets of TCP (RFC 792)
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
        let packet = raw(&bytes).unwrap();
        assert_eq!(packet.quote().is_some(), cut >= 24, "{cut}");
        assert_eq!(packet.flaw, (cut < 24).then_some(Unread::BadQuote));
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

    // With extension headers as without them.
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
