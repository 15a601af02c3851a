//! A server that no kernel can play: its SYN-ACK carries the ECN flags of the SYN, as a
//! middlebox or a broken stack that copies reserved bits would have it.
//!
//! It keeps no state: every answer follows from the segment alone, since its sequence numbers
//! are a function of the ports.

use std::io;
use std::net::IpAddr;
use std::thread::JoinHandle;

use etherparse::{
    IpNumber, IpSlice, Ipv4Header, Ipv6Header, TcpHeader, TcpOptionElement, TcpSlice,
};
use mio::{Events, Poll};

use crate::error::{Doing, Result};
use crate::lab::namespace::Namespace;
use crate::lab::relay::pass;
use crate::lab::server::{GREETING, PORT};
use crate::lab::wire::Wire;
use crate::lab::worker::{self, Stop, Stopped};

/// Starts the responder on a wire.
pub(crate) fn start(namespace: &Namespace, wire: Wire, stop: &mut Stop) -> Result<JoinHandle<()>> {
    let (poll, stopped) = stop.worker()?;
    wire.register(&poll, worker::FIRST)?;
    namespace.spawn(move || run(poll, wire, &stopped).doing(|| "answer on a wire"))
}

fn run(mut poll: Poll, mut wire: Wire, stopped: &Stopped) -> io::Result<()> {
    let mut events = Events::with_capacity(8);
    while !stopped.is_set() {
        worker::poll(&mut poll, &mut events, None)?;
        while let Some(packet) = wire.receive()? {
            if let Some(answer) = answer(&packet) {
                pass(&mut wire, &answer);
            }
        }
    }
    Ok(())
}

/// What the server says to an IP packet, if anything.
pub(crate) fn answer(packet: &[u8]) -> Option<Vec<u8>> {
    let ip = IpSlice::from_slice(packet).ok()?;
    if ip.payload_ip_number() != IpNumber::TCP || ip.is_fragmenting_payload() {
        return None;
    }
    let tcp = TcpSlice::from_slice(ip.payload().payload).ok()?;
    let (ours, theirs) = (tcp.destination_port(), tcp.source_port());
    let length = tcp.payload().len() as u32;
    let start = initial_sequence(ours, theirs);
    let greeted = start.wrapping_add(1).wrapping_add(GREETING.len() as u32);
    // What the segment takes up of the client's sequence space ends here.
    let next = tcp
        .sequence_number()
        .wrapping_add(length)
        .wrapping_add(u32::from(tcp.syn()))
        .wrapping_add(u32::from(tcp.fin()));

    let mut reply = TcpHeader::new(ours, theirs, 0, 65_535);
    reply.ack = true;
    reply.acknowledgment_number = next;
    let mut payload: &[u8] = &[];
    if tcp.rst() {
        return None;
    } else if ours != PORT {
        if tcp.ack() {
            reply.ack = false;
            reply.acknowledgment_number = 0;
            reply.sequence_number = tcp.acknowledgment_number();
        }
        reply.rst = true;
    } else if tcp.syn() && !tcp.ack() {
        reply.syn = true;
        reply.sequence_number = start;
        reply.ece = tcp.ece();
        reply.cwr = tcp.cwr();
        // 1,220 fits the smallest path of IPv6.
        reply.set_options(&[TcpOptionElement::MaximumSegmentSize(1220)]).ok()?;
    } else if tcp.ack()
        && tcp.acknowledgment_number().wrapping_sub(start).wrapping_sub(1)
            > GREETING.len() as u32 + 1
    {
        // Never of ours: no state, and no connection that it could belong to.
        reply.ack = false;
        reply.acknowledgment_number = 0;
        reply.sequence_number = tcp.acknowledgment_number();
        reply.rst = true;
    } else if tcp.fin() {
        reply.fin = true;
        reply.sequence_number = greeted;
    } else if length > 0 {
        reply.sequence_number = greeted;
    } else if tcp.ack() && tcp.acknowledgment_number() == start.wrapping_add(1) {
        // The third packet of the handshake.
        reply.psh = true;
        reply.sequence_number = start.wrapping_add(1);
        payload = GREETING;
    } else {
        return None;
    }
    build(ip.destination_addr(), ip.source_addr(), reply, payload)
}

/// Differs from connection to connection, and follows from the ports alone.
fn initial_sequence(ours: u16, theirs: u16) -> u32 {
    (u32::from(theirs) << 16 | u32::from(ours)).wrapping_mul(2_654_435_761)
}

/// A Not-ECT packet.
fn build(from: IpAddr, to: IpAddr, mut tcp: TcpHeader, payload: &[u8]) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(40 + tcp.header_len() + payload.len());
    let length = tcp.header_len() + payload.len();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(length).ok()?;
            let ip = Ipv4Header::new(length, 64, IpNumber::TCP, from.octets(), to.octets()).ok()?;
            tcp.checksum = tcp.calc_checksum_ipv4(&ip, payload).ok()?;
            ip.write(&mut packet).ok()?;
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = Ipv6Header {
                payload_length: u16::try_from(length).ok()?,
                next_header: IpNumber::TCP,
                hop_limit: 64,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            tcp.checksum = tcp.calc_checksum_ipv6(&ip, payload).ok()?;
            ip.write(&mut packet).ok()?;
        }
        _ => return None,
    }
    tcp.write(&mut packet).ok()?;
    packet.extend_from_slice(payload);
    Some(packet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::PacketBuilder;

    const CLIENT: [u8; 4] = [192, 0, 2, 1];
    const SERVER: [u8; 4] = [198, 18, 0, 80];

    fn header(packet: &[u8]) -> (TcpHeader, Vec<u8>) {
        let ip = IpSlice::from_slice(packet).unwrap();
        let tcp = TcpSlice::from_slice(ip.payload().payload).unwrap();
        (tcp.to_header(), tcp.payload().to_vec())
    }

    fn send(change: impl FnOnce(&mut TcpHeader)) -> Option<(TcpHeader, Vec<u8>)> {
        let mut tcp = TcpHeader::new(40_000, 80, 1000, 1024);
        change(&mut tcp);
        let v4 = build(CLIENT.into(), SERVER.into(), tcp, &[]).unwrap();
        answer(&v4).as_deref().map(header)
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
    fn a_connection_from_syn_to_fin() {
        let (syn_ack, _) = send(|tcp| tcp.syn = true).unwrap();
        let start = syn_ack.sequence_number;
        let (greeting, text) = send(|tcp| {
            (tcp.ack, tcp.acknowledgment_number) = (true, start.wrapping_add(1));
        })
        .unwrap();
        assert_eq!((greeting.sequence_number, &text[..]), (start.wrapping_add(1), GREETING));
        let after = start.wrapping_add(1 + GREETING.len() as u32);
        assert!(send(|tcp| (tcp.ack, tcp.acknowledgment_number) = (true, after)).is_none());
        let (fin, _) = send(|tcp| {
            (tcp.fin, tcp.ack, tcp.acknowledgment_number) = (true, true, after);
        })
        .unwrap();
        assert!(fin.fin && fin.ack);
        assert_eq!((fin.sequence_number, fin.acknowledgment_number), (after, 1001));
        let last = after.wrapping_add(1);
        assert!(send(|tcp| (tcp.ack, tcp.acknowledgment_number) = (true, last)).is_none());
    }

    #[test]
    fn strangers_are_reset_and_resets_are_not_answered() {
        assert!(send(|tcp| tcp.rst = true).is_none());
        let (reset, _) = send(|tcp| (tcp.destination_port, tcp.syn) = (9, true)).unwrap();
        assert!(reset.rst && reset.ack);
        let (reset, _) = send(|tcp| (tcp.ack, tcp.acknowledgment_number) = (true, 5)).unwrap();
        assert_eq!((reset.rst, reset.sequence_number), (true, 5));
    }

    #[test]
    fn nothing_that_comes_in_can_hurt() {
        let mut syn = Vec::new();
        PacketBuilder::ipv6([1; 16], [2; 16], 9)
            .tcp(1, 80, 2, 3)
            .syn()
            .write(&mut syn, b"")
            .unwrap();
        assert!(header(&answer(&syn).unwrap()).0.syn);
        for length in 0..syn.len() {
            answer(&syn[..length]);
        }
        for at in 0..syn.len() {
            for bit in 0..8 {
                syn[at] ^= 1 << bit;
                answer(&syn);
                syn[at] ^= 1 << bit;
            }
        }
    }
}
