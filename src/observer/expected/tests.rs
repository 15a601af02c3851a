//! Which packets fit, by examples of connections.

use super::*;
use crate::field::Timestamp;
use crate::packet::{Ip, Udp};
use Direction::{Forward, Reverse};

const SYN: u16 = flag::SYN;
const ACK: u16 = flag::ACK;
const FIN: u16 = flag::FIN;
const RST: u16 = flag::RST;

/// A window scale option with this shift.
const fn scale(shift: u8) -> [u8; 4] {
    [1, 3, 3, shift]
}

/// Flags, sequence and acknowledgment number, octets of data.
type Segment = (u16, u32, u32, u32);

/// The expectation for a flow that begins with this packet.
fn begun(packet: &Packet<'_>, own: bool) -> Expected {
    let mut expected = Expected::default();
    expected.begin(packet, own);
    expected
}

fn packet((flags, sequence, acknowledgment, payload): Segment, options: &[u8]) -> Packet<'_> {
    let (window, whole, data) = (1000, true, &[][..]);
    let tcp = Tcp { flags, sequence, acknowledgment, window, payload, options, whole, data };
    let blank = Packet::blank(Timestamp(1));
    let ip = Ip { protocol: protocol::TCP, ..blank.ip };
    Packet { ip, transport: Transport::Tcp(tcp), ..blank }
}

/// What is expected after these segments, each of which fits.
fn after(own: bool, segments: &[(Direction, Segment)]) -> Expected {
    let mut expected = begun(&packet(segments[0].1, &[]), own);
    for (direction, segment) in segments {
        assert_eq!(expected.packet(&packet(*segment, &[]), *direction), Fit::Fits, "{segment:?}");
    }
    expected
}

fn fits(expected: Expected, direction: Direction, segment: Segment) -> bool {
    let mut expected = expected;
    expected.packet(&packet(segment, &[]), direction) == Fit::Fits
}

const HANDSHAKE: [(Direction, Segment); 3] = [
    (Forward, (SYN, 1000, 0, 0)),
    (Reverse, (SYN | ACK, 7, 1001, 0)),
    (Forward, (ACK, 1001, 8, 100)),
];

#[test]
fn only_a_segment_that_acknowledges_the_syn_answers_it() {
    for own in [true, false] {
        for (flags, acknowledgment, payload, answers) in [
            (SYN | ACK, 1001, 0, true),
            (RST | ACK, 1001, 0, true),
            (SYN | ACK, 1000, 0, false),
            (SYN | ACK, 1002, 0, false),
            (RST | ACK, 1000, 0, false),
            (RST | ACK, 1002, 0, false),
            (SYN | ACK, 1001, 10, true),
            (SYN | ACK, 1011, 10, true),
            (SYN | ACK, 1012, 10, false),
            // In other captures these may refer to packets that are missing.
            (RST, 0, 0, !own),
            (SYN, 0, 0, !own),
            (ACK, 1001, 0, !own),
            (0, 0, 0, !own),
        ] {
            let expected = after(own, &[(Forward, (SYN, 1000, 0, payload))]);
            let answer = (flags, 7, acknowledgment, 0);
            assert_eq!(fits(expected, Reverse, answer), answers, "{own} {flags:#x} {answer:?}");
        }
    }
}

#[test]
fn segments_fit_the_window_and_what_was_sent() {
    for own in [true, false] {
        let expected = after(own, &HANDSHAKE);
        for (flags, numbers, payload, fit) in [
            (ACK, (8, 1001), 0, true),
            (ACK, (8, 1101), 20, true),
            (ACK, (8, 1000), 0, false),
            (ACK, (8, 500_000), 0, false),
            // Within the window, at its end, and after it.
            (ACK, (500, 1101), 20, true),
            (ACK, (1008, 1101), 20, true),
            (ACK, (1009, 1101), 20, false),
            // A retransmission, a keep-alive, and a segment older than a window.
            (ACK, (7, 1101), 0, true),
            (ACK, (7u32.wrapping_sub(1000), 1101), 0, true),
            (ACK, (7u32.wrapping_sub(1001), 1101), 0, false),
            (SYN | ACK, (7, 1001), 0, true),
            (SYN | ACK, (9, 1001), 0, false),
            (RST, (8, 0), 0, true),
            (RST, (900, 0), 0, true),
            (RST, (1009, 0), 0, false),
            (RST | ACK, (8, 1101), 0, true),
            (RST | ACK, (5000, 1101), 0, false),
            (FIN | ACK, (8, 1101), 0, true),
            // Segments without ACK are dropped.
            (FIN, (8, 0), 0, !own),
        ] {
            let segment = (flags, numbers.0, numbers.1, payload);
            assert_eq!(fits(expected, Reverse, segment), fit, "{own} {flags:#x} {numbers:?}");
        }
        // Other captures may lack the acknowledged data, as far as the window allowed it.
        assert_eq!(fits(expected, Reverse, (ACK, 8, 1102, 0)), !own);
        assert_eq!(fits(expected, Reverse, (ACK, 8, 2001, 0)), !own);
        assert!(!fits(expected, Reverse, (ACK, 8, 2002, 0)));
    }
}

#[test]
fn windows_are_scaled_if_both_ends_have_the_option() {
    let option = scale(3);
    for (theirs, at, fit) in [
        (&option[..], 8 + 8000, true),
        (&option[..], 9 + 8000, false),
        (&[], 8 + 1000, true),
        (&[], 9 + 1000, false),
    ] {
        let syn = packet((SYN, 1000, 0, 0), &option);
        let mut expected = begun(&syn, true);
        expected.packet(&syn, Forward);
        expected.packet(&packet((SYN | ACK, 7, 1001, 0), theirs), Reverse);
        expected.packet(&packet((ACK, 1001, 8, 0), &[]), Forward);
        assert_eq!(fits(expected, Reverse, (ACK, at, 1001, 9)), fit, "{theirs:?} {at}");
    }
}

#[test]
fn numbers_wrap_and_long_connections_keep_their_window() {
    const MUCH: u32 = 1 << 20;
    for own in [true, false] {
        let start = u32::MAX - 5;
        let mut expected = after(
            own,
            &[
                (Forward, (SYN, start, 0, 0)),
                (Reverse, (SYN | ACK, start, start.wrapping_add(1), 0)),
            ],
        );
        // Six gigabytes in both directions.
        let (mut ours, mut theirs) = (start.wrapping_add(1), start.wrapping_add(1));
        for round in 0..6_000 {
            for (direction, segment) in [
                (Forward, (ACK, ours, theirs, MUCH)),
                (Reverse, (ACK, theirs, ours.wrapping_add(MUCH), MUCH)),
            ] {
                let fit = expected.packet(&packet(segment, &[]), direction);
                assert_eq!(fit, Fit::Fits, "{own} {round} {segment:?}");
            }
            (ours, theirs) = (ours.wrapping_add(MUCH), theirs.wrapping_add(MUCH));
        }
        let far = ours.wrapping_add(1 << 31);
        assert!(!fits(expected, Reverse, (ACK, theirs, far, 0)));
        assert!(!fits(expected, Reverse, (ACK, theirs.wrapping_add(1 << 20), ours, 0)));
    }
}

#[test]
fn the_kernels_responses_to_unexpected_segments_are_not_part_of_the_flow() {
    for (segment, is_of_it) in [
        ((RST, 1000, 0, 0), true),
        ((RST, 1001, 0, 0), true),
        ((RST, 1002, 0, 0), false),
        ((RST, 7, 0, 0), false),
        // To a bare SYN (simultaneous open).
        ((SYN | ACK, 1000, 99, 0), false),
        ((SYN, 1000, 0, 0), true),
    ] {
        let expected = after(true, &[(Forward, (SYN, 1000, 0, 0))]);
        assert_eq!(fits(expected, Forward, segment), is_of_it, "{segment:?}");
    }
}

#[test]
fn the_answer_to_a_forged_packet_acknowledges_it() {
    for (sent, answer, fit) in [
        ((FIN, 1000, 0, 0), (RST | ACK, 0, 1001, 0), true),
        ((FIN, 1000, 0, 0), (RST | ACK, 0, 1002, 0), false),
        ((FIN, 1000, 0, 0), (RST, 0, 0, 0), false),
        ((FIN, 1000, 0, 0), (ACK, 55, 1001, 0), true),
        ((FIN | ACK, 1000, 0, 0), (RST, 0, 0, 0), true),
        ((FIN | ACK, 1000, 0, 0), (RST, 100_000, 0, 0), false),
        ((ACK, 1000, 0, 50), (RST, 0, 0, 0), true),
    ] {
        let expected = after(true, &[(Forward, sent)]);
        assert_eq!(fits(expected, Reverse, answer), fit, "{sent:?} {answer:?}");
    }
}

#[test]
fn a_capture_that_begins_within_a_connection_checks_nothing() {
    let expected = after(false, &[(Forward, (ACK, 1000, 5, 9))]);
    assert!(!expected.checks(protocol::TCP) && expected.checks(protocol::UDP));
    assert!(fits(expected, Reverse, (ACK, 77_777, 88_888, 0)));
    // One that begins with the SYN-ACK has the numbers of both ends.
    let expected = after(false, &[(Forward, (SYN | ACK, 7, 1001, 0))]);
    assert!(expected.checks(protocol::TCP));
    assert!(fits(expected, Reverse, (ACK, 1001, 8, 0)));
    assert!(!fits(expected, Reverse, (ACK, 77_777, 8, 0)));
}

#[test]
fn one_damaged_number_does_not_reject_the_following_segments() {
    let mut expected = after(false, &HANDSHAKE);
    for damaged in [8 + (1 << 29), 8u32.wrapping_sub(1 << 29)] {
        expected.packet(&packet((ACK, 1101, damaged, 0), &[]), Forward);
        expected.packet(&packet((ACK, 1101, 8, 0), &[]), Forward);
        assert!(fits(expected, Reverse, (ACK, 8, 1101, 100)), "{damaged}");
    }
}

#[test]
fn a_capture_without_the_acknowledgments_follows_the_data() {
    let mut expected = after(false, &HANDSHAKE);
    let mut next = 8;
    for _ in 0..100 {
        let fit = expected.packet(&packet((ACK, next, 1101, 900), &[]), Reverse);
        assert_eq!(fit, Fit::Fits, "{next}");
        next += 900;
    }
}

fn quote<'a>(transport: &'a [u8], ip: &Ip) -> Packet<'a> {
    let quote = Some(Quote { ip: *ip, ports: Some((40_000, 80)), transport });
    let icmp = crate::packet::Icmp::error(3, 3, quote);
    let blank = Packet::blank(Timestamp(2));
    let ip = Ip { protocol: protocol::ICMP, ..blank.ip };
    Packet { ip, transport: Transport::Icmp(icmp), ..blank }
}

#[test]
fn an_error_about_a_connection_quotes_a_sent_number() {
    for (sequence, fit) in [
        (999u32, Fit::Unexpected),
        (1000, Fit::Quotes(4)),
        (1001, Fit::Quotes(4)),
        (1101, Fit::Quotes(4)),
        (1102, Fit::Unexpected),
    ] {
        let mut expected = after(true, &HANDSHAKE);
        let transport = [&[0; 4][..], &sequence.to_be_bytes()].concat();
        let packet = quote(&transport, &Packet::blank(Timestamp(1)).ip);
        assert_eq!(expected.packet(&packet, Reverse), fit, "{sequence}");
    }
    for (own, fit) in [(true, Fit::Unexpected), (false, Fit::Quotes(0))] {
        let packet = quote(&[0; 7], &Packet::blank(Timestamp(1)).ip);
        assert_eq!(after(own, &HANDSHAKE).packet(&packet, Reverse), fit, "it is too short");
    }
}

/// A DNS query with the identifier 0x1234, for example.
const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01";

fn datagram<'a>(data: &'a [u8], checksum: u16, v6: bool) -> Packet<'a> {
    let length = data.len() as u16 + 8;
    let blank = Packet::blank(Timestamp(1));
    let end = |last: u8| match v6 {
        false => [192, 0, 2, last].into(),
        true => [0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()].into(),
    };
    let mut ip = Ip { protocol: protocol::UDP, length: 20 + u32::from(length), ..blank.ip };
    (ip.source, ip.destination) = (end(1), end(2));
    match v6 {
        false => ip.id = Some(0xabcd),
        true => ip.flow_label = Some(0x54321),
    }
    let udp = Udp { length, checksum, data, cut: false };
    let ports = Some((40_000, 53));
    Packet { ip, ports, transport: Transport::Udp(udp), ..blank }
}

/// The sum of the pseudo header, and the checksum on the wire.
fn checksums(data: &[u8]) -> (u16, u16) {
    let header = etherparse::UdpHeader {
        source_port: 40_000,
        destination_port: 53,
        length: data.len() as u16 + 8,
        checksum: 0,
    };
    let whole = header.calc_checksum_ipv4_raw([192, 0, 2, 1], [192, 0, 2, 2], data).unwrap();
    let words = [0xc000, 0x0201, 0xc000, 0x0202, 17, header.length];
    let sum: u32 = words.into_iter().map(u32::from).sum();
    ((sum & 0xffff) as u16 + (sum >> 16) as u16, whole)
}

/// A router's quote of a datagram: this many octets after the IP header.
fn quoted(checksum: u16, data: &[u8], octets: usize) -> Vec<u8> {
    let mut quoted = vec![0x9c, 0x40, 0, 53];
    quoted.extend((data.len() as u16 + 8).to_be_bytes());
    quoted.extend(checksum.to_be_bytes());
    quoted.extend(data);
    quoted.truncate(octets);
    quoted
}

fn answer_to(sent: &Packet<'_>, error: &Packet<'_>, own: bool) -> Fit {
    let mut expected = begun(sent, own);
    assert_eq!(expected.packet(sent, Forward), Fit::Fits);
    expected.packet(error, Reverse)
}

#[test]
fn an_error_about_a_datagram_quotes_what_was_sent() {
    let (unfinished, wire) = checksums(QUERY);
    // The checksum as the capture has it, and on the wire.
    for (captured, wire) in [(wire, wire), (unfinished, wire), (0, 0), (0x1111, 0x1111)] {
        let sent = datagram(QUERY, captured, false);
        let same = |octets| quoted(wire, QUERY, octets);
        let other_id = Ip { id: Some(0xabce), ..sent.ip };
        let swapped = Ip { id: Some(0xcdab), ..sent.ip };
        let mut other_message = same(40);
        other_message[8] ^= 1;
        let mut shorter = same(8);
        shorter[5] -= 1;
        for (why, transport, ip, fit) in [
            ("whole", same(40), sent.ip, Fit::Quotes(10)),
            ("eight octets", same(8), sent.ip, Fit::Quotes(6)),
            ("less", same(6), sent.ip, Fit::Unexpected),
            ("another identification", same(40), other_id, Fit::Unexpected),
            ("the other byte order", same(40), swapped, Fit::Quotes(10)),
            ("another length", shorter, sent.ip, Fit::Unexpected),
            // A NAT may have changed it; the identification is right.
            ("another checksum", quoted(wire ^ 1, QUERY, 40), sent.ip, Fit::Quotes(8)),
            ("only another checksum", quoted(wire ^ 1, QUERY, 8), other_id, Fit::Unexpected),
            ("another identifier", other_message, sent.ip, Fit::Unexpected),
        ] {
            let error = quote(&transport, &ip);
            assert_eq!(answer_to(&sent, &error, true), fit, "{why}, {captured:#x} {wire:#x}");
        }
    }
    // A checksum computed after the capture over missing octets is unknown.
    let sent = datagram(QUERY, unfinished, false);
    let error = quoted(unfinished, QUERY, 8);
    let mut sent = sent;
    sent.ip.id = Some(0);
    assert_eq!(answer_to(&sent, &quote(&error, &sent.ip), true), Fit::Unexpected);
    let error = quoted(wire, QUERY, 8);
    assert_eq!(answer_to(&sent, &quote(&error, &sent.ip), true), Fit::Quotes(4));
}

#[test]
fn an_error_about_an_ipv6_datagram_quotes_its_flow_label() {
    let sent = datagram(QUERY, 0x1111, true);
    let transport = quoted(0x1111, QUERY, 40);
    for (label, fit) in [(0x54321, Fit::Quotes(10)), (0, Fit::Unexpected)] {
        let ip = Ip { flow_label: Some(label), ..sent.ip };
        assert_eq!(answer_to(&sent, &quote(&transport, &ip), true), fit);
    }
}

#[test]
fn an_error_about_an_unsent_datagram_does_not_fit_a_run() {
    let sent = datagram(QUERY, 0, false);
    let transport = quoted(0, QUERY, 8);
    let error = quote(&transport, &sent.ip);
    for (own, fit) in [(true, Fit::Unexpected), (false, Fit::Quotes(0))] {
        assert_eq!(begun(&sent, own).packet(&error, Reverse), fit);
        // Of several datagrams only the first is known.
        let mut expected = begun(&sent, own);
        expected.packet(&sent, Forward);
        expected.packet(&datagram(b"another", 0, false), Forward);
        let other = quoted(0, b"another", 8);
        assert_eq!(expected.packet(&quote(&other, &sent.ip), Reverse), Fit::Quotes(0));
    }
}

#[test]
fn the_answer_to_a_query_of_a_run_has_its_identifier() {
    let sent = datagram(QUERY, 0, false);
    for (data, cut, own, fit) in [
        (&b"\x12\x34\x81\x80"[..], false, true, Fit::Fits),
        (b"\x12\x35\x81\x80", false, true, Fit::Unexpected),
        (b"\x12\x35\x81\x80", false, false, Fit::Fits),
        (b"", false, true, Fit::Unexpected),
        (b"", true, true, Fit::Fits),
    ] {
        let mut answer = datagram(data, 0, false);
        if let Transport::Udp(udp) = &mut answer.transport {
            udp.cut = cut;
        }
        assert_eq!(answer_to(&sent, &answer, own), fit, "{data:?} {cut} {own}");
    }
    // Any datagram may answer one that is not a query.
    let answer = datagram(b"anything", 0, false);
    assert_eq!(answer_to(&datagram(b"hello", 0, false), &answer, true), Fit::Fits);
}
