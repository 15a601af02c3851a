//! A server that no kernel can play: a responder whose SYN-ACK follows a script, with flags, a segment size and
//! options that a stack, a broken stack or a middlebox might send.
//!
//! It keeps no state: every answer follows from the packet alone, since its sequence numbers are a function of the
//! ports. It answers HTTP/1.1 on port 80 and DNS on port 53, and resets everything else.

use std::io;
use std::net::IpAddr;
use std::thread::JoinHandle;

use etherparse::{
    IpNumber, IpSlice, Ipv4Header, Ipv6Header, TcpHeader, TcpSlice, UdpHeader, UdpSlice,
};
use mio::{Events, Poll};

use crate::connect::forge::MOST_OPTIONS;
use crate::error::{Doing, Result};
use crate::lab::namespace::Namespace;
use crate::lab::relay::pass;
use crate::lab::server::{self, DNS_PORT, GREETING, PORT};
use crate::lab::spec::{Mirror, Responder};
use crate::lab::wire::Wire;
use crate::lab::worker::{self, Stop, Stopped};
use crate::packet::tcp_option;
use crate::packet::tcp_option::kind::{EXPERIMENT_1, EXPERIMENT_2};

/// Starts the responder on a wire.
pub(crate) fn start(
    namespace: &Namespace,
    wire: Wire,
    script: Responder,
    stop: &mut Stop,
) -> Result<JoinHandle<()>> {
    let (poll, stopped) = stop.worker()?;
    wire.register(&poll, worker::FIRST)?;
    namespace.spawn(move || run(poll, wire, &script, &stopped).doing(|| "answer on a wire"))
}

fn run(mut poll: Poll, mut wire: Wire, script: &Responder, stopped: &Stopped) -> io::Result<()> {
    let mut events = Events::with_capacity(8);
    while !stopped.is_set() {
        worker::poll(&mut poll, &mut events, None)?;
        while let Some(packet) = wire.receive()? {
            if let Some(answer) = answer(&packet, script) {
                pass(&mut wire, &answer);
            }
        }
    }
    Ok(())
}

/// The server's answer to an IP packet, if any.
pub(crate) fn answer(packet: &[u8], script: &Responder) -> Option<Vec<u8>> {
    let ip = IpSlice::from_slice(packet).ok()?;
    if ip.is_fragmenting_payload() {
        return None;
    }
    let (us, them) = (ip.destination_addr(), ip.source_addr());
    match ip.payload_ip_number() {
        IpNumber::TCP => {
            let tcp = TcpSlice::from_slice(ip.payload().payload).ok()?;
            // The lowest two bits of traffic class and type of service.
            let ecn = match &ip {
                IpSlice::Ipv4(v4) => v4.header().ecn().value(),
                IpSlice::Ipv6(v6) => v6.header().ecn().value(),
            };
            let (reply, payload) = segment(&tcp, us, ecn, script)?;
            build(us, them, IpNumber::TCP, |packet| {
                write_segment(packet, us, them, reply, &payload)
            })
        }
        IpNumber::UDP => {
            let udp = UdpSlice::from_slice(ip.payload().payload).ok()?;
            // RFC 8200, section 8.1: without a checksum it is not a valid datagram of IPv6.
            if udp.destination_port() != DNS_PORT || (us.is_ipv6() && udp.checksum() == 0) {
                return None;
            }
            let payload = server::dns_answer(udp.payload(), us)?;
            let (ours, theirs) = (udp.destination_port(), udp.source_port());
            build(us, them, IpNumber::UDP, |packet| {
                write_datagram(packet, us, them, (ours, theirs), &payload)
            })
        }
        _ => None,
    }
}

/// The answer to a segment for address `us` with the codepoint `ecn`.
fn segment(
    tcp: &TcpSlice<'_>,
    us: IpAddr,
    ecn: u8,
    script: &Responder,
) -> Option<(TcpHeader, Vec<u8>)> {
    let (ours, theirs) = (tcp.destination_port(), tcp.source_port());
    let length = tcp.payload().len() as u32;
    let start = initial_sequence(ours, theirs);
    // The end of the segment in the client's sequence space.
    let next = tcp.sequence_number().wrapping_add(length).wrapping_add(u32::from(tcp.fin()));

    let mut reply = TcpHeader::new(ours, theirs, 0, 65_535);
    let mut payload = Vec::new();
    reply.ack = true;
    if tcp.rst() {
        return None;
    } else if tcp.syn() && !tcp.ack() {
        // Does not acknowledge data in the SYN: it comes without a cookie of ours.
        reply.acknowledgment_number = tcp.sequence_number().wrapping_add(1);
        if ours != PORT && ours != DNS_PORT {
            reply.rst = true;
            return Some((reply, payload));
        }
        reply.syn = true;
        reply.sequence_number = start;
        (reply.ns, reply.cwr, reply.ece) = flags((tcp.ns(), tcp.cwr(), tcp.ece()), ecn, script);
        reply.set_options_raw(&options(us, tcp.options(), script)).ok()?;
    } else if (ours != PORT && ours != DNS_PORT) || !tcp.ack() || !in_window(tcp, start) {
        // Not one of ours: there is no state and no connection that it could belong to.
        reply.ack = false;
        reply.sequence_number = tcp.acknowledgment_number();
        reply.rst = true;
    } else if length > 0 || tcp.fin() {
        // There is no state, so the client's acknowledgement shows what was sent already.
        reply.sequence_number = tcp.acknowledgment_number();
        reply.acknowledgment_number = next;
        if tcp.acknowledgment_number() == start.wrapping_add(1) {
            (payload, reply.fin) = match (ours, length) {
                (DNS_PORT, 1..) => (server::dns_stream(tcp.payload(), us), false),
                (DNS_PORT, 0) => (Vec::new(), true),
                (_, 0) => (GREETING.to_vec(), true),
                _ => (page(), true),
            };
        } else if ours == DNS_PORT {
            reply.fin = tcp.fin();
        }
        reply.psh = !payload.is_empty();
    } else {
        return None;
    }
    Some((reply, payload))
}

/// Whether it acknowledges something that can have been sent: every answer is shorter than this.
fn in_window(tcp: &TcpSlice<'_>, start: u32) -> bool {
    const LONGEST: u32 = 2048;
    tcp.acknowledgment_number().wrapping_sub(start).wrapping_sub(1) <= LONGEST
}

/// AE, CWR and ECE of the SYN-ACK, from those of the SYN and its codepoint.
fn flags(syn: (bool, bool, bool), ecn: u8, script: &Responder) -> (bool, bool, bool) {
    match (script.ecn, syn) {
        (Mirror::None, _) | (Mirror::Accurate, (false, false, false)) => (false, false, false),
        (Mirror::Reflect, (_, cwr, ece)) => (false, cwr, ece),
        // A client of RFC 3168.
        (Mirror::Accurate, (false, true, true)) => (false, false, true),
        // RFC 9768, table 2.
        (Mirror::Accurate, _) => match ecn & 3 {
            0 => (false, true, false),
            1 => (false, true, true),
            2 => (true, false, false),
            _ => (true, true, false),
        },
    }
}

/// Options of the SYN-ACK, padded to whole words: the segment size, those of the script, and experiments of the SYN that
/// fit.
fn options(us: IpAddr, syn: &[u8], script: &Responder) -> Vec<u8> {
    // The size for Ethernet.
    let usual = if us.is_ipv4() { 1460 } else { 1440 };
    let [high, low] = script.mss.unwrap_or(usual).to_be_bytes();
    let mut options = vec![2, 4, high, low];
    for option in &script.options {
        let [kind, content @ ..] = option.as_slice() else { continue };
        // The length includes kind and length; a script's options are checked to be short.
        options.extend([*kind, (content.len() + 2) as u8]);
        options.extend_from_slice(content);
    }
    for option in tcp_option::options(syn).filter(|_| script.echoes_experiments) {
        let is_shared = matches!(option.kind, EXPERIMENT_1 | EXPERIMENT_2);
        if is_shared && options.len() + 2 + option.value.len() <= MOST_OPTIONS {
            options.extend([option.kind, (option.value.len() + 2) as u8]);
            options.extend_from_slice(option.value);
        }
    }
    // No operation.
    options.resize(options.len().next_multiple_of(4), 1);
    options
}

fn page() -> Vec<u8> {
    let mut page = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        GREETING.len()
    )
    .into_bytes();
    page.extend_from_slice(GREETING);
    page
}

/// Differs between connections, and follows from the ports alone.
fn initial_sequence(ours: u16, theirs: u16) -> u32 {
    (u32::from(theirs) << 16 | u32::from(ours)).wrapping_mul(2_654_435_761)
}

/// A Not-ECT packet with this content after the IP header.
pub(super) fn build(
    from: IpAddr,
    to: IpAddr,
    protocol: IpNumber,
    content: impl FnOnce(&mut Vec<u8>) -> Option<()>,
) -> Option<Vec<u8>> {
    let mut inner = Vec::new();
    content(&mut inner)?;
    let length = u16::try_from(inner.len()).ok()?;
    let mut packet = Vec::with_capacity(40 + inner.len());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let ip = Ipv4Header::new(length, 64, protocol, from.octets(), to.octets()).ok()?;
            ip.write(&mut packet).ok()?;
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = Ipv6Header {
                payload_length: length,
                next_header: protocol,
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            ip.write(&mut packet).ok()?;
        }
        _ => return None,
    }
    packet.extend_from_slice(&inner);
    Some(packet)
}

pub(super) fn write_segment(
    packet: &mut Vec<u8>,
    from: IpAddr,
    to: IpAddr,
    mut tcp: TcpHeader,
    payload: &[u8],
) -> Option<()> {
    tcp.checksum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            tcp.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload).ok()?
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            tcp.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload).ok()?
        }
        _ => return None,
    };
    tcp.write(packet).ok()?;
    packet.extend_from_slice(payload);
    Some(())
}

pub(super) fn write_datagram(
    packet: &mut Vec<u8>,
    from: IpAddr,
    to: IpAddr,
    (source_port, destination_port): (u16, u16),
    payload: &[u8],
) -> Option<()> {
    let length = u16::try_from(UdpHeader::LEN + payload.len()).ok()?;
    let mut udp = UdpHeader { source_port, destination_port, length, checksum: 0 };
    udp.checksum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            udp.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload).ok()?
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            udp.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload).ok()?
        }
        _ => return None,
    };
    udp.write(packet).ok()?;
    packet.extend_from_slice(payload);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, TcpOptionElement};

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const SERVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 80));

    fn reflect() -> Responder {
        Responder { ecn: Mirror::Reflect, ..Responder::default() }
    }

    fn header(packet: &[u8]) -> (TcpHeader, Vec<u8>) {
        let ip = IpSlice::from_slice(packet).unwrap();
        let tcp = TcpSlice::from_slice(ip.payload().payload).unwrap();
        (tcp.to_header(), tcp.payload().to_vec())
    }

    fn packet(payload: &[u8], change: impl FnOnce(&mut TcpHeader)) -> Vec<u8> {
        let mut tcp = TcpHeader::new(40_000, 80, 1000, 1024);
        change(&mut tcp);
        build(CLIENT, SERVER, IpNumber::TCP, |packet| {
            write_segment(packet, CLIENT, SERVER, tcp, payload)
        })
        .unwrap()
    }

    fn send(change: impl FnOnce(&mut TcpHeader)) -> Option<(TcpHeader, Vec<u8>)> {
        answer(&packet(&[], change), &reflect()).as_deref().map(header)
    }

    #[test]
    fn the_syn_ack_mirrors_the_flags() {
        for (ece, cwr) in [(false, false), (true, true), (true, false)] {
            let (reply, _) = send(|tcp| (tcp.syn, tcp.ece, tcp.cwr) = (true, ece, cwr)).unwrap();
            assert!(reply.syn && reply.ack && !reply.rst);
            assert_eq!((reply.ece, reply.cwr), (ece, cwr));
            assert_eq!(reply.acknowledgment_number, 1001);
        }
    }

    #[test]
    fn accurate_feedback_reports_the_codepoint_of_the_syn() {
        let script = Responder { ecn: Mirror::Accurate, ..Responder::default() };
        let ask = |syn: (bool, bool, bool), ecn: u8| {
            let mut syn = packet(&[], |tcp| {
                tcp.syn = true;
                (tcp.ns, tcp.cwr, tcp.ece) = syn;
            });
            syn[1] = ecn;
            let (reply, _) = header(&answer(&syn, &script).unwrap());
            [reply.ns, reply.cwr, reply.ece].map(u8::from)
        };
        let all = (true, true, true);
        assert_eq!(
            [ask(all, 0), ask(all, 1), ask(all, 2), ask(all, 3)],
            [[0, 1, 0], [0, 1, 1], [1, 0, 0], [1, 1, 0]]
        );
        assert_eq!(ask((false, true, true), 2), [0, 0, 1], "RFC 3168");
        assert_eq!(ask((false, false, false), 0), [0, 0, 0]);
        // RFC 9768, section 3.1.3: any other combination is treated like all three.
        assert_eq!(ask((true, false, false), 0), [0, 1, 0]);
    }

    #[test]
    fn the_syn_ack_has_the_options_of_the_script() {
        let script = Responder {
            mss: Some(8960),
            options: vec![vec![4], vec![3, 7], vec![253, 1, 2]],
            ..Responder::default()
        };
        let (reply, _) = header(&answer(&packet(&[], |tcp| tcp.syn = true), &script).unwrap());
        assert_eq!(reply.options.as_slice(), [2, 4, 0x23, 0, 4, 2, 3, 3, 7, 253, 4, 1, 2, 1, 1, 1]);
        let plain = Responder::default();
        let (reply, _) = header(&answer(&packet(&[], |tcp| tcp.syn = true), &plain).unwrap());
        let options: Vec<_> = reply.options_iterator().map(|option| option.unwrap()).collect();
        assert_eq!(options, [TcpOptionElement::MaximumSegmentSize(1460)]);
    }

    #[test]
    fn a_connection_from_syn_to_fin() {
        let (syn_ack, _) = send(|tcp| tcp.syn = true).unwrap();
        let first = syn_ack.sequence_number.wrapping_add(1);
        assert!(send(|tcp| (tcp.ack, tcp.acknowledgment_number) = (true, first)).is_none());
        let (greeting, text) = send(|tcp| {
            (tcp.ack, tcp.fin, tcp.acknowledgment_number) = (true, true, first);
        })
        .unwrap();
        assert_eq!((greeting.sequence_number, &text[..], greeting.fin), (first, GREETING, true));
        assert_eq!(greeting.acknowledgment_number, 1001);
        let last = first.wrapping_add(1 + GREETING.len() as u32);
        assert!(send(|tcp| (tcp.ack, tcp.acknowledgment_number) = (true, last)).is_none());
    }

    #[test]
    fn a_page_is_sent_once() {
        let (syn_ack, _) = send(|tcp| tcp.syn = true).unwrap();
        let first = syn_ack.sequence_number.wrapping_add(1);
        let request = packet(b"GET / HTTP/1.1\r\n\r\n", |tcp| {
            (tcp.ack, tcp.acknowledgment_number) = (true, first);
        });
        let (reply, text) = header(&answer(&request, &reflect()).unwrap());
        assert!(reply.fin && text.starts_with(b"HTTP/1.1 200 OK\r\n") && text.ends_with(GREETING));
        assert_eq!(reply.acknowledgment_number, 1000 + 18);
        let after = first.wrapping_add(text.len() as u32 + 1);
        let (last, text) = send(|tcp| {
            (tcp.fin, tcp.ack, tcp.acknowledgment_number) = (true, true, after);
        })
        .unwrap();
        assert!(!last.fin && last.ack && text.is_empty());
        assert_eq!((last.sequence_number, last.acknowledgment_number), (after, 1001));
    }

    #[test]
    fn unknown_connections_are_reset_and_resets_are_not_answered() {
        assert!(send(|tcp| tcp.rst = true).is_none());
        let (reset, _) = send(|tcp| (tcp.destination_port, tcp.syn) = (9, true)).unwrap();
        assert!(reset.rst && reset.ack);
        let (reset, _) = send(|tcp| (tcp.ack, tcp.acknowledgment_number) = (true, 5)).unwrap();
        assert_eq!((reset.rst, reset.sequence_number), (true, 5));
    }

    #[test]
    fn questions_are_answered_over_udp() {
        let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
        let ask = |from: IpAddr, to: IpAddr, port: u16, zero: bool| {
            let mut datagram = build(from, to, IpNumber::UDP, |packet| {
                write_datagram(packet, from, to, (40_000, port), question)
            })
            .unwrap();
            let at = datagram.len() - question.len() - 2;
            if zero {
                datagram[at..at + 2].fill(0);
            }
            answer(&datagram, &Responder::default())
        };
        let reply = ask(CLIENT, SERVER, 53, false).unwrap();
        let ip = IpSlice::from_slice(&reply).unwrap();
        let udp = UdpSlice::from_slice(ip.payload().payload).unwrap();
        assert_eq!((udp.source_port(), udp.destination_port()), (53, 40_000));
        assert!(
            udp.payload().starts_with(&question[..2]) && udp.payload().ends_with(&[198, 18, 0, 80])
        );
        assert!(ask(CLIENT, SERVER, 9, false).is_none());
        assert!(ask(CLIENT, SERVER, 53, true).is_some());
        let (one, two) = (IpAddr::from([1; 16]), IpAddr::from([2; 16]));
        assert!(ask(one, two, 53, false).is_some() && ask(one, two, 53, true).is_none());
    }

    #[test]
    fn no_input_causes_a_panic() {
        let mut syn = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 9)
            .tcp(1, 80, 2, 3)
            .syn()
            .write(&mut syn, b"")
            .unwrap();
        assert!(header(&answer(&syn, &reflect()).unwrap()).0.syn);
        for length in 0..syn.len() {
            answer(&syn[..length], &reflect());
        }
        for at in 0..syn.len() {
            for bit in 0..8 {
                syn[at] ^= 1 << bit;
                answer(&syn, &reflect());
                syn[at] ^= 1 << bit;
            }
        }
    }
}
