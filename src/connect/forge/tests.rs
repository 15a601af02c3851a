//! Packets as they leave, read back; and what counts as an answer.

use etherparse::{Ipv4HeaderSlice, Ipv6HeaderSlice, UdpHeaderSlice};
use hickory_proto::op::{Message, MessageType};
use hickory_proto::rr::{Name, RecordType};

use super::*;
use crate::connect::edns::Edns;
use crate::connect::query::Query;

const RANDOM: u64 = 0x0102_0304_0506_0708;
const SEQUENCE: u32 = 0x0102_0304;
const ACKNOWLEDGMENT: u32 = 0x0506_0708;
const ID: u16 = 0x0708;

fn source(v6: bool) -> SocketAddr {
    if v6 { "[2001:db8::1]:20000" } else { "192.0.2.1:20000" }.parse().unwrap()
}

fn forge(packet: &Packet, v6: bool) -> Forge {
    let address = if v6 { "2001:db8::2" } else { "192.0.2.2" }.parse().unwrap();
    let peer = Peer { address, port: 80, name: Some("example.org"), random: RANDOM };
    Forge::new(packet.clone(), peer, source(v6))
}

/// The machine after its packet is sent, and the packet.
fn sent(packet: &Packet, v6: bool) -> (Forge, Vec<u8>) {
    let (mut forge, mut out) = (forge(packet, v6), Vec::new());
    assert_eq!(forge.handle(Event::Connected, &mut out), Action::Wait);
    (forge, out)
}

/// The sum of 16-bit words that the Internet checksum makes 0xffff (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The transport's part of a packet, and the sum over it with its pseudo-header.
fn transport(packet: &[u8]) -> (&[u8], u16) {
    let (inner, addresses, protocol) = match packet[0] >> 4 {
        4 => (&packet[20..], &packet[12..20], packet[9]),
        _ => (&packet[40..], &packet[8..40], packet[6]),
    };
    let length = (inner.len() as u32).to_be_bytes();
    (inner, sum(&[addresses, &length, &[0, protocol], inner]))
}

fn options() -> Vec<TcpOption> {
    let option = |kind, data: &[u8]| TcpOption { kind, data: Some(data.to_vec()) };
    vec![option(2, &[5, 180]), TcpOption { kind: 1, data: None }, option(4, &[]), option(3, &[7])]
}

#[test]
fn a_plain_syn_octet_for_octet() {
    #[rustfmt::skip]
    let v4 = [
        0x45, 0, 0, 40, 5, 7, 0, 0, 64, 6, 0xf1, 0xc5, 192, 0, 2, 1, 192, 0, 2, 2,
        0x4e, 0x20, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0xd9, 0x68, 0, 0,
    ];
    assert_eq!(sent(&Packet::default(), false).1, v4);
    #[rustfmt::skip]
    let v6 = [
        0x60, 4, 5, 7, 0, 20, 6, 64,
        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
        0x4e, 0x20, 0, 80, 1, 2, 3, 4, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0x01, 0xf8, 0, 0,
    ];
    assert_eq!(sent(&Packet::default(), true).1, v6);
}

#[test]
fn every_field_is_where_it_belongs() {
    let packet = Packet {
        ttl: 9,
        dscp: 46,
        ecn: 2,
        dont_fragment: true,
        flags: 0x1d2,
        window: 1024,
        options: options(),
        payload: Payload::Bytes(b"hello".to_vec()),
        ..Packet::default()
    };
    for v6 in [false, true] {
        let (_, octets) = sent(&packet, v6);
        if v6 {
            let ip = Ipv6HeaderSlice::from_slice(&octets).unwrap();
            assert_eq!((ip.traffic_class(), ip.hop_limit()), (46 << 2 | 2, 9));
            assert_eq!(usize::from(ip.payload_length()), octets.len() - 40);
        } else {
            assert_eq!(sum(&[&octets[..20]]), 0xffff);
            let ip = Ipv4HeaderSlice::from_slice(&octets).unwrap();
            assert_eq!((ip.dcp().value(), ip.ecn().value(), ip.ttl()), (46, 2, 9));
            assert_eq!((usize::from(ip.total_len()), octets[6]), (octets.len(), 0x40));
        }
        let (inner, sum) = transport(&octets);
        assert_eq!(sum, 0xffff);
        let tcp = TcpSlice::from_slice(inner).unwrap();
        // 10 octets of options, and two of padding.
        assert_eq!(tcp.options(), [2, 4, 5, 180, 1, 4, 2, 3, 3, 7, 0, 0]);
        assert_eq!((tcp.window_size(), tcp.payload()), (1024, &b"hello"[..]));
        assert_eq!((inner[12] & 1, inner[13]), (1, 0xd2), "AE, CWR, ECE, ACK, SYN");
        assert_eq!(
            (tcp.sequence_number(), tcp.acknowledgment_number()),
            (SEQUENCE, ACKNOWLEDGMENT)
        );
        assert_eq!(packet.octets(), (20 + 32 + 5, 40 + 32 + 5));
        assert_eq!(octets.len() as u64, if v6 { packet.octets().1 } else { packet.octets().0 });
    }
}

#[test]
fn each_flag_is_its_bit() {
    for (name, flag) in TCP_FLAGS {
        let (_, octets) = sent(&Packet { flags: *flag, ..Packet::default() }, false);
        let found = u16::from_be_bytes([octets[32] & 1, octets[33]]);
        assert_eq!(found, *flag, "{name}");
    }
}

#[test]
fn the_evil_bit_is_set_under_a_right_checksum_and_not_in_the_reset() {
    let packet = Packet { evil: true, ..Packet::default() };
    let (mut forge, octets) = sent(&packet, false);
    assert_eq!((octets[6], sum(&[&octets[..20]])), (0x80, 0xffff));
    let mut out = Vec::new();
    forge.handle(Event::Data(&segment(18, SEQUENCE + 1)), &mut out);
    assert_eq!((out[6], sum(&[&out[..20]])), (0, 0xffff));
}

#[test]
fn the_evil_bit_cannot_be_sent_over_ipv6() {
    let (mut forge, mut out) = (forge(&Packet { evil: true, ..Packet::default() }, true), vec![]);
    let fault = Ending::new(State::Skipped, Stage::Request, Some("IPv6 has no evil bit"));
    assert_eq!(forge.handle(Event::Connected, &mut out), Action::Close(fault));
    assert!(out.is_empty());
}

#[test]
fn a_packet_too_large_is_a_local_error() {
    for packet in [
        Packet { payload: Payload::Bytes(vec![0; 65_530]), ..Packet::default() },
        Packet { options: vec![options()[0].clone(); 11], ..Packet::default() },
    ] {
        let (mut forge, mut out) = (forge(&packet, false), Vec::new());
        let fault = Ending::new(State::LocalError, Stage::Request, Some("Packet too large"));
        assert_eq!(forge.handle(Event::Connected, &mut out), Action::Close(fault));
    }
}

#[test]
fn udp_checksums_are_right_zero_or_wrong() {
    let udp = |checksum| Packet {
        protocol: Protocol::Udp,
        checksum,
        payload: Payload::Bytes(b"odd".to_vec()),
        answer: Answer::Any,
        ..Packet::default()
    };
    for v6 in [false, true] {
        for checksum in [Checksum::Right, Checksum::Zero, Checksum::Wrong] {
            let (_, octets) = sent(&udp(checksum), v6);
            let (inner, sum) = transport(&octets);
            let header = UdpHeaderSlice::from_slice(inner).unwrap();
            assert_eq!((header.source_port(), header.destination_port()), (20_000, 80));
            assert_eq!((header.length(), &inner[8..]), (11, &b"odd"[..]));
            assert_eq!(header.checksum() == 0, checksum == Checksum::Zero);
            assert_eq!(sum == 0xffff, checksum == Checksum::Right);
        }
    }
}

/// A segment from the target with these flags and this acknowledgment number.
fn segment(flags: u8, acknowledges: u32) -> Vec<u8> {
    let mut octets = vec![0, 80, 0x4e, 0x20, 0, 0, 0, 9];
    octets.extend(acknowledges.to_be_bytes());
    octets.extend([0x50, flags, 0x10, 0, 0, 0, 0, 0]);
    octets
}

/// The action after a segment, and the reset that is sent.
fn after(packet: &Packet, segment: &[u8]) -> (Option<(State, Option<String>)>, Vec<u8>) {
    let (mut forge, _) = sent(packet, false);
    let mut out = Vec::new();
    let end = match forge.handle(Event::Data(segment), &mut out) {
        Action::Close(ending) => Some((ending.state, ending.error.map(|e| e.into_owned()))),
        _ => None,
    };
    (end, out)
}

#[test]
fn a_syn_ack_is_an_answer_and_gets_a_reset() {
    let (end, out) = after(&Packet::default(), &segment(0x12, SEQUENCE + 1));
    assert_eq!(end, Some((State::Ok, None)));
    let (inner, sum) = transport(&out);
    assert_eq!(sum, 0xffff);
    let tcp = TcpSlice::from_slice(inner).unwrap();
    // Acceptable to the server (RFC 9293, 3.5.3): its number is the one that the server acknowledged.
    assert_eq!((tcp.sequence_number(), inner[13]), (SEQUENCE + 1, 4));
    assert_eq!((tcp.source_port(), tcp.destination_port(), tcp.header_len()), (20_000, 80, 20));
    assert_eq!(after(&Packet::default(), &segment(0x52, SEQUENCE + 1)).0, end, "with ECE");
}

#[test]
fn only_matching_segments_are_answers() {
    let refused = Some((State::Failed, Some("Connection refused".to_owned())));
    let ok = Some((State::Ok, None));
    let syn = Packet::default();
    let any = Packet { answer: Answer::Any, ..Packet::default() };
    let data = Packet { payload: Payload::Bytes(b"four".to_vec()), ..Packet::default() };
    let ack = Packet { flags: 18, ..Packet::default() };
    let (one, five) = (SEQUENCE + 1, SEQUENCE + 5);
    for (packet, flags, number, expected, resets) in [
        (&syn, 0x12, SEQUENCE, None, false),
        (&syn, 0x12, SEQUENCE + 2, None, false),
        (&syn, 0x14, one, refused.clone(), false),
        (&syn, 0x14, SEQUENCE, None, false),
        (&syn, 0x04, one, None, false),
        (&syn, 0x10, one, None, false),
        (&syn, 0x02, one, None, false),
        (&any, 0x14, one, ok.clone(), false),
        (&any, 0x10, SEQUENCE, ok.clone(), false),
        (&any, 0x12, one, ok.clone(), true),
        (&any, 0x12, SEQUENCE, ok.clone(), false),
        // Forged, or from an earlier connection: an answer has to match.
        (&any, 0x14, SEQUENCE + 2, None, false),
        (&any, 0x10, 0, None, false),
        (&any, 0x12, 0, None, false),
        (&any, 0x04, 0, None, false),
        (&any, 0x02, one, None, false),
        (&any, 0x18, 0, None, false),
        (&data, 0x12, five, ok.clone(), true),
        (&data, 0x12, one, ok.clone(), true),
        (&data, 0x12, SEQUENCE + 3, None, false),
        (&data, 0x14, five, refused.clone(), false),
        // A reset of an unexpected SYN-ACK has our acknowledgment number as its own, not 9.
        (&ack, 0x14, one, None, false),
        (&ack, 0x04, 0, None, false),
    ] {
        let (end, out) = after(packet, &segment(flags, number));
        assert_eq!((end, !out.is_empty()), (expected, resets), "{flags:#x} {number:#x} {packet:?}");
    }
    for (number, expected) in [(ACKNOWLEDGMENT, refused), (0, None)] {
        let mut reset = segment(4, 0);
        reset[4..8].copy_from_slice(&number.to_be_bytes());
        assert_eq!(after(&ack, &reset).0, expected);
    }
}

/// The ending of an attempt without any reply.
fn closed(state: State, error: Option<&'static str>) -> Action {
    let reply = Some(Box::new(Reply { forge_unexpected: Some(0), ..Reply::default() }));
    Action::Close(Ending { reply, ..Ending::new(state, Stage::Response, error) })
}

#[test]
fn packets_that_do_not_answer_are_counted() {
    let (mut forge, _) = sent(&Packet::default(), false);
    let mut out = Vec::new();
    for wrong in [segment(0x12, 0), segment(0x14, 0), segment(0x10, SEQUENCE), b"short".to_vec()] {
        assert_eq!(forge.handle(Event::Data(&wrong), &mut out), Action::Wait);
    }
    match forge.handle(Event::Data(&segment(0x12, SEQUENCE + 1)), &mut out) {
        Action::Close(ending) => assert_eq!(ending.reply.unwrap().forge_unexpected, Some(4)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_of_the_socket_end_it() {
    let refused = Fault { word: "Connection refused", local: false };
    let (mut forge, mut out) = (sent(&Packet::default(), true).0, Vec::new());
    for (event, expected) in [
        (Event::PeerClosed, Action::Wait),
        (Event::Failed(refused), closed(State::Failed, Some(refused.word))),
        (Event::TimedOut, closed(State::Timeout, None)),
    ] {
        assert_eq!(forge.handle(event, &mut out), expected);
    }
    assert!(out.is_empty());
}

fn question(kind: &'static str) -> Packet {
    Packet {
        protocol: Protocol::Udp,
        payload: Payload::Question(Query { of: kind, ..Query::default() }),
        answer: Answer::Dns,
        ..Packet::default()
    }
}

#[test]
fn only_its_answer_answers_a_query() {
    for (kind, record) in [("A", RecordType::A), ("AAAA", RecordType::AAAA)] {
        let (_, octets) = sent(&question(kind), false);
        assert_eq!(transport(&octets).1, 0xffff);
        let asked = Message::from_vec(&octets[28..]).unwrap();
        assert_eq!((asked.metadata.id, asked.queries[0].query_type()), (ID, record));
        let name = asked.queries[0].name().to_ascii();
        assert!(name.eq_ignore_ascii_case("example.org.") && name != name.to_ascii_lowercase());
        assert!(asked.metadata.recursion_desired);
        let answer = |change: &dyn Fn(&mut Message)| {
            let mut message = asked.clone();
            message.metadata.message_type = MessageType::Response;
            change(&mut message);
            after(&question(kind), &message.to_vec().unwrap()).0
        };
        assert_eq!(answer(&|_| {}), Some((State::Ok, None)));
        assert_eq!(answer(&|m| m.metadata.id = ID + 1), None);
        assert_eq!(answer(&|m| m.metadata.message_type = MessageType::Query), None);
        assert_eq!(answer(&|m| m.queries.clear()), None);
        let refused = |m: &mut Message| {
            m.metadata.response_code = hickory_proto::op::ResponseCode::Refused;
            m.queries.clear();
        };
        assert_eq!(answer(&refused), None, "an error without a question may be forged");
        let other = |m: &mut Message| {
            m.queries[0].set_query_type(RecordType::MX);
        };
        assert_eq!(answer(&other), None);
        let other = |m: &mut Message| {
            m.queries[0].set_name(Name::from_ascii("example.com.").unwrap());
        };
        assert_eq!(answer(&other), None);
    }
}

#[test]
fn a_partial_match_counts_without_a_full_match_or_wrong_messages() {
    let (_, octets) = sent(&question("A"), false);
    let mut right = octets[28..].to_vec();
    right[2] |= 0x80;
    let [lower, wrong, unreadable] =
        [right.to_ascii_lowercase(), right.clone(), right[..20].to_vec()];
    let wrong = [&[!wrong[0]], &wrong[1..]].concat();
    let forged = (State::LocalError, Some("Answer may be forged"));
    let bad = (State::Failed, Some("Peer's answer is malformed"));
    for (messages, (state, error), skipped) in [
        (&[&right][..], (State::Ok, None), 0),
        (&[&lower], (State::Ok, None), 0),
        (&[&unreadable, &lower, &right], (State::Ok, None), 0),
        (&[&unreadable], bad, 0),
        (&[&lower, &wrong], forged, 1),
        (&[&wrong, &unreadable], forged, 1),
        (&[&wrong, &right], (State::Ok, None), 1),
        (&[&wrong, &wrong], (State::Timeout, None), 2),
    ] {
        let (mut forge, _) = sent(&question("A"), false);
        let events = messages.iter().map(|message| Event::Data(message)).chain([Event::TimedOut]);
        let mut ends = events.map(|event| forge.handle(event, &mut Vec::new()));
        let ending = ends.find_map(|action| match action {
            Action::Close(ending) => Some(ending),
            _ => None,
        });
        let ending = ending.unwrap();
        assert_eq!((ending.state, ending.error.as_deref()), (state, error), "{messages:?}");
        assert_eq!(ending.reply.unwrap().forge_unexpected, Some(skipped));
    }
}

#[test]
fn a_query_may_accept_any_answer() {
    let packet = Packet { answer: Answer::Any, ..question("A") };
    assert_eq!(after(&packet, b"x").0, Some((State::Ok, None)));
}

#[test]
fn a_target_without_a_name_is_queried_for_the_default_name() {
    for name in [None, Some("a..b")] {
        let peer = Peer { address: "192.0.2.2".parse().unwrap(), port: 53, name, random: RANDOM };
        let mut forge = Forge::new(question("A"), peer, source(false));
        let mut out = Vec::new();
        forge.handle(Event::Connected, &mut out);
        let asked = Message::from_vec(&out[28..]).unwrap();
        let name = asked.queries[0].name().to_ascii();
        assert!(name.eq_ignore_ascii_case("example.org."), "{name}");
    }
}

#[test]
fn no_reply_makes_it_panic() {
    let response = {
        let (_, octets) = sent(&question("A"), false);
        octets[28..].to_vec()
    };
    for (packet, good) in
        [(Packet::default(), segment(0x12, SEQUENCE + 1)), (question("A"), response)]
    {
        for length in 0..good.len() {
            after(&packet, &good[..length]);
        }
        for at in 0..good.len() {
            for value in [0, 1, 0x7f, 0x80, 0xc0, 0xf0, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                after(&packet, &bad);
            }
        }
    }
}

#[test]
fn descriptions() {
    assert_eq!(
        Packet::default().describe(),
        "a TCP segment with SYN, answered by a SYN-ACK that acknowledges the packet"
    );
    let packet = Packet { evil: true, ttl: 9, dscp: 46, ecn: 3, ..question("AAAA") };
    assert_eq!(
        Packet { checksum: Checksum::Zero, ..packet }.describe(),
        "a UDP datagram without checksum, with the evil bit (IPv4 only), TTL 9, DSCP 46, ECN ce, a DNS query \
         for the AAAA of its name, answered by a DNS message that answers the query"
    );
}

#[test]
fn a_query_goes_to_a_name_server_however_it_is_written() {
    // The header of a query for one name, and example.org, type A, class IN.
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07example\x03org\0\0\x01\0\x01";
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    for (protocol, payload, port) in [
        (Protocol::Udp, Payload::Question(Query::default()), 53),
        (Protocol::Udp, Payload::Bytes(query.to_vec()), 53),
        (Protocol::Tcp, Payload::Bytes(query.to_vec()), 80),
        (Protocol::Udp, Payload::Bytes(answer), 80),
        (Protocol::Udp, Payload::Bytes(b"hello, who is there?".to_vec()), 80),
        (Protocol::Udp, Payload::Nothing, 80),
    ] {
        let packet = Packet { protocol, payload: payload.clone(), ..Packet::default() };
        let options = Options { packet: Some(packet), ..Options::default() };
        assert_eq!(KIND.port_with(&options), port, "{payload:?}");
    }
}

#[test]
fn a_packet_is_padded_to_its_length() {
    let edns = Some(Edns::default());
    let query = |edns| Payload::Question(Query { of: "TXT", name: None, edns });
    let mss = TcpOption { kind: 2, data: Some(vec![5, 180]) };
    for (protocol, payload, length, fits) in [
        (Protocol::Tcp, Payload::Nothing, 1500, true),
        (Protocol::Tcp, Payload::Bytes(b"hello".to_vec()), 69, true),
        (Protocol::Tcp, Payload::Bytes(b"hello".to_vec()), 48, false),
        (Protocol::Udp, Payload::Nothing, 48, true),
        (Protocol::Udp, Payload::Bytes(vec![7; 1000]), 1400, true),
        (Protocol::Udp, query(edns), 1400, true),
        (Protocol::Udp, query(edns), 60, false),
        (Protocol::Udp, query(None), 1400, false),
    ] {
        for v6 in [false, true] {
            let options = vec![mss.clone()];
            let payload = payload.clone();
            let packet =
                Packet { protocol, payload, length: Some(length), options, ..Packet::default() };
            if !fits {
                let (mut forge, mut out) = (forge(&packet, v6), Vec::new());
                let action = forge.handle(Event::Connected, &mut out);
                let Action::Close(ending) = action else { panic!("{action:?}") };
                assert_eq!((ending.state, out.len()), (State::LocalError, 0), "{packet:?}");
                continue;
            }
            let (_, octets) = sent(&packet, v6);
            let stated = match v6 {
                false => usize::from(u16::from_be_bytes([octets[2], octets[3]])),
                true => 40 + usize::from(u16::from_be_bytes([octets[4], octets[5]])),
            };
            assert_eq!((octets.len(), stated), (usize::from(length), usize::from(length)));
            assert_eq!(transport(&octets).1, 0xffff);
            if let Payload::Question(_) = packet.payload {
                let message = crate::packet::dns::Message::read(&transport(&octets).0[8..]);
                let padding = message.and_then(|message| message.opt()?.padding).unwrap();
                assert!(usize::from(padding) > 1000 && octets.ends_with(&[0; 1000]));
            }
        }
    }
}

#[test]
fn experiments_of_the_syn_ack_are_those_of_the_syn_or_not() {
    let option = |kind, data: &[u8]| TcpOption { kind, data: Some(data.to_vec()) };
    let mss: &[u8] = &[2, 4, 5, 180];
    let (abcd, other) = (option(253, &[0xab, 0xcd, 1]), option(254, &[0, 7]));
    for (sent, answered, words, echoed) in [
        (vec![option(2, &[5, 180])], mss, "2", None),
        (vec![abcd.clone()], mss, "2", Some(false)),
        (vec![abcd.clone()], &[253, 4, 0xab, 0xcd, 1, 4, 2], "253:abcd 4", Some(true)),
        (vec![abcd.clone()], &[254, 4, 0xab, 0xcd], "254:abcd", Some(false)),
        (vec![abcd.clone()], &[253, 4, 0xab, 0xce], "253:abce", Some(false)),
        (vec![abcd.clone(), other.clone()], &[253, 4, 0xab, 0xcd], "253:abcd", Some(false)),
        (
            vec![abcd.clone(), other.clone()],
            &[254, 4, 0, 7, 253, 4, 0xab, 0xcd],
            "254:0007 253:abcd",
            Some(true),
        ),
        (vec![abcd.clone()], &[253, 2], "253", Some(false)),
        (vec![abcd], &[], "", Some(false)),
    ] {
        let packet = Packet { options: sent, ..Packet::default() };
        let reply = forge(&packet, false).syn_ack(answered);
        assert_eq!(reply.forge_syn_ack_options.as_deref(), Some(words));
        assert_eq!(reply.forge_exid_echoed, echoed, "{words}");
    }
}
