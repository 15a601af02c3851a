//! Kind `forge`: one crafted packet, and the answer to it.
//!
//! A measurement describes a [`Packet`]; [`Forge`] builds its octets for one target and recognizes the
//! answer. The packet is sent once: a retry would hide whether the path drops such packets, and conclusions
//! account for loss.
//!
//! An off-path host can send packets from the target's address, but has not seen ours. So an answer must contain
//! something that such a host cannot know: a segment acknowledges the packet's part of the sequence space or, if it is a
//! reset of a segment with the ACK flag, has that segment's acknowledgment number (RFC 9293, 3.5.2), both of which are
//! random; a DNS message has the identifier and the question, as for the kind [`dns_udp`](super::dns). Other packets
//! are skipped and counted (`forge_unexpected`). UDP with any other payload can only be checked by its
//! ports.
//!
//! A packet with a length is padded to it: a DNS query with the EDNS option Padding (RFC 7830), any other payload with
//! zeros, which in a SYN are data (RFC 9293, 3.4).
//!
//! A bit that the target's family lacks cannot be sent: an IPv6 target of a packet with the evil bit
//! (RFC 3514, IPv4 only) is skipped.
//!
//! # Memory
//!
//! The packet, and the ending of a partial match.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, TcpSlice, UdpHeader};

use super::answer::{self, DNS_BAD_ANSWER};
use super::cost::Part;
use super::dns::Doubtful;
use super::facts::{Reply, Stage, State};
use super::kind::{KindDef, Transport};
use super::machine::{Action, Ending, Event, Fault, Machine, Peer};
use super::options::{Options, PACKET};
use super::packet::{ACK, FIN, RST};
pub use super::packet::{
    ANSWERS, Answer, CHECKSUMS, Checksum, ECN, IP_FLAGS, MOST_OPTIONS, PROTOCOLS, Packet, Payload,
    Protocol, SYN, TCP_FLAGS, TcpOption, Words,
};
use super::tcp::{self, Tcp};
use crate::packet::dns::{Fit, Message, Question};
use crate::packet::tcp_option::kind::{EXPERIMENT_1, EXPERIMENT_2};
use crate::packet::tcp_option::options;

#[cfg(test)]
mod tests;

/// The row of the kind. The engine starts [`Forge`] itself, since it needs the source address.
pub(super) const KIND: KindDef = KindDef {
    name: "forge",
    doc: "send one crafted packet, and watch for the answer",
    transport: Transport::Raw,
    options: &[&PACKET],
    columns: &["forge_unexpected", "forge_syn_ack_options", "forge_exid_echoed"],
    memory: 8 << 10,
    handshake_is_ok: false,
    port_for,
    start: |_, _| Ok(Box::new(Tcp::default())),
    cost: |options, _| options.packet.as_ref().map(cost).unwrap_or_default(),
    ..tcp::BASE
};

/// A DNS query is for a name server, whether its octets are written or made.
fn port_for(options: &Options) -> Option<u16> {
    let asks = |octets: &[u8]| {
        let message = Message::read(octets);
        message.is_some_and(|m| !m.response && matches!(m.question, Question::One { .. }))
    };
    let is_query = |packet: &Packet| match &packet.payload {
        Payload::Question(_) => true,
        Payload::Bytes(octets) => packet.protocol == Protocol::Udp && asks(octets),
        Payload::Nothing => false,
    };
    options.packet.as_ref().is_some_and(is_query).then_some(53)
}

/// The packets of an attempt: the crafted packet once, with or without an answer.
fn cost(packet: &Packet) -> Vec<Part> {
    let mut parts = vec![Part {
        packet: "crafted packet",
        usual: 1,
        most: 1,
        octets: packet.octets(),
        why: "sent once, even without an answer".into(),
    }];
    if packet.opens() {
        parts.push(Part {
            packet: "RST",
            usual: 1,
            most: 1,
            octets: (40, 60),
            why: "once, in reply to a SYN-ACK; the kernel's own are suppressed".into(),
        });
    }
    parts
}

/// One packet for one target, and the wait for its answer.
#[derive(Debug)]
pub struct Forge {
    packet: Arc<Packet>,
    source: SocketAddr,
    target: SocketAddr,
    sequence: u32,
    /// The acknowledgment number, if the packet has the ACK flag; or else 0.
    acknowledgment: u32,
    /// The IPv4 identification (RFC 6864, 4.1) or, with the high bits, the IPv6 flow label (RFC 6437): an ICMP error
    /// quotes it, and an off-path host cannot guess it. Never 0, which the kernel would replace.
    label: u32,
    payload: Vec<u8>,
    /// Why the packet cannot be made.
    wrong: Option<&'static str>,
    /// Whether the payload is a DNS query.
    is_query: bool,
    doubtful: Doubtful,
    /// Whether the packet was sent: nothing before that is an answer.
    sent: bool,
}

impl Forge {
    /// For one target, from this address and port.
    pub fn new(packet: impl Into<Arc<Packet>>, peer: Peer<'_>, source: SocketAddr) -> Self {
        let packet = packet.into();
        let mut forge = Self {
            source,
            target: SocketAddr::new(peer.address, peer.port),
            // Both halves come from an unpredictable number.
            sequence: (peer.random >> 32) as u32,
            acknowledgment: if packet.flags & ACK != 0 { peer.random as u32 } else { 0 },
            // The lowest bits are the identifier of a query.
            label: ((peer.random >> 16) as u32 & 0xf_ffff) | 1,
            payload: Vec::new(),
            wrong: None,
            sent: false,
            is_query: false,
            doubtful: Doubtful::default(),
            packet,
        };
        match forge.content(peer) {
            Ok(payload) => forge.payload = payload,
            Err(why) => forge.wrong = Some(why),
        }
        forge.is_query = matches!(forge.packet.payload, Payload::Question(_));
        forge
    }

    /// The payload, padded if the packet has a length.
    fn content(&self, peer: Peer<'_>) -> Result<Vec<u8>, &'static str> {
        const LONG: &str = "Packet is longer than its length";
        let room = self.packet.room(peer.address.is_ipv6());
        let room = room.map(|room| usize::try_from(room).map_err(|_| LONG)).transpose()?;
        let mut payload = match &self.packet.payload {
            Payload::Nothing => Vec::new(),
            Payload::Bytes(bytes) => bytes.clone(),
            // A name that no query can have is left out.
            Payload::Question(query) => {
                let message = |peer| query.message(peer, true, room);
                message(peer).or_else(|_| message(Peer { name: None, ..peer }))?
            }
        };
        if let Some(room) = room {
            if payload.len() > room {
                return Err(LONG);
            }
            payload.resize(room, 0);
        }
        Ok(payload)
    }

    /// The IP packet with these flags, options and payload.
    fn build(&self, flags: u16, sequence: u32, first: bool) -> Option<Vec<u8>> {
        let (payload, options) = match first {
            true => (self.payload.as_slice(), self.packet.options_octets()),
            false => (&[][..], Vec::new()),
        };
        let (from, to) = (self.source.port(), self.target.port());
        let mut tcp = TcpHeader::new(from, to, sequence, self.packet.window);
        let bit = |name: u16| flags & name != 0;
        (tcp.fin, tcp.syn, tcp.rst, tcp.psh) = (bit(1), bit(2), bit(4), bit(8));
        (tcp.ack, tcp.urg, tcp.ece, tcp.cwr) = (bit(16), bit(32), bit(64), bit(128));
        tcp.ns = bit(256);
        tcp.acknowledgment_number = if first { self.acknowledgment } else { 0 };
        tcp.set_options_raw(&options).ok()?;
        let (header, number) = match self.packet.protocol {
            Protocol::Tcp => (tcp.header_len(), IpNumber::TCP),
            Protocol::Udp => (UdpHeader::LEN, IpNumber::UDP),
        };
        let length = u16::try_from(header + payload.len()).ok()?;
        let mut octets = Vec::with_capacity(60 + usize::from(length));
        let traffic_class = self.packet.dscp << 2 | self.packet.ecn;
        let mut udp = UdpHeader { source_port: from, destination_port: to, length, checksum: 0 };
        match (self.source.ip(), self.target.ip()) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                let (source, target) = (source.octets(), target.octets());
                let mut ip =
                    Ipv4Header::new(length, self.packet.ttl, number, source, target).ok()?;
                ip.dont_fragment = self.packet.dont_fragment;
                ip.identification = self.label as u16;
                tcp.checksum = tcp.calc_checksum_ipv4(&ip, payload).ok()?;
                udp.checksum = udp.calc_checksum_ipv4(&ip, payload).ok()?;
                ip.write(&mut octets).ok()?;
                octets[1] = traffic_class;
                if first && self.packet.evil {
                    octets[6] |= 0x80;
                }
                octets[10..12].fill(0);
                let sum = Sum16BitWords::new().add_slice(&octets).ones_complement();
                octets[10..12].copy_from_slice(&sum.to_ne_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                let ip = Ipv6Header {
                    traffic_class,
                    flow_label: Ipv6FlowLabel::try_new(self.label).ok()?,
                    payload_length: length,
                    next_header: number,
                    hop_limit: self.packet.ttl,
                    source: source.octets(),
                    destination: target.octets(),
                };
                tcp.checksum = tcp.calc_checksum_ipv6(&ip, payload).ok()?;
                udp.checksum = udp.calc_checksum_ipv6(&ip, payload).ok()?;
                ip.write(&mut octets).ok()?;
            }
            _ => return None,
        }
        match self.packet.protocol {
            Protocol::Tcp => tcp.write(&mut octets).ok()?,
            Protocol::Udp => {
                udp.checksum = match self.packet.checksum {
                    Checksum::Right => udp.checksum,
                    Checksum::Zero => 0,
                    // Never zero, which means no checksum.
                    Checksum::Wrong => match udp.checksum ^ 0x5555 {
                        0 => 1,
                        wrong => wrong,
                    },
                };
                udp.write(&mut octets).ok()?;
            }
        }
        octets.extend_from_slice(payload);
        Some(octets)
    }

    /// The end of the packet's part of the sequence space.
    fn acknowledged(&self) -> u32 {
        let flags = self.packet.flags;
        let ends = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.sequence.wrapping_add(self.payload.len() as u32).wrapping_add(ends)
    }

    /// Whether a segment's numbers answer the packet.
    fn fits(&self, tcp: &TcpSlice<'_>) -> bool {
        if tcp.ack() {
            let taken = self.acknowledged().wrapping_sub(self.sequence);
            return tcp.acknowledgment_number().wrapping_sub(self.sequence) <= taken;
        }
        // The reset of a segment that acknowledges something has that number as its own (RFC 9293, 3.5.2).
        let resets = tcp.rst() && self.packet.flags & ACK != 0;
        resets && tcp.sequence_number() == self.acknowledgment
    }

    /// Handles a TCP segment from the target's port to ours.
    fn segment(&mut self, segment: &[u8], out: &mut Vec<u8>) -> Action {
        let tcp = TcpSlice::from_slice(segment).ok().filter(|tcp| self.fits(tcp));
        let Some(tcp) = tcp else { return self.unexpected() };
        // A server may leave the data of a SYN for retransmission (RFC 9293, 3.10.7.4).
        let mine = [self.acknowledged(), self.sequence.wrapping_add(1)];
        let acknowledges = tcp.ack() && mine.contains(&tcp.acknowledgment_number());
        if tcp.syn() && acknowledges {
            // The server has opened a connection: abort it.
            out.extend(self.build(RST, tcp.acknowledgment_number(), false).unwrap_or_default());
            let reply = self.syn_ack(tcp.options());
            return self.end_with(Ending::new(State::Ok, Stage::Done, None), reply);
        }
        // A matching segment without an acknowledgment is the reset of a segment that has one.
        let resets = if self.packet.flags & ACK != 0 { !tcp.ack() } else { acknowledges };
        let refuses = tcp.rst() && resets;
        match (self.packet.answer, refuses) {
            (Answer::Any, _) => self.end(Ending::new(State::Ok, Stage::Done, None)),
            (_, true) => {
                self.end(Ending::new(State::Failed, Stage::Done, Some("Connection refused")))
            }
            _ => self.unexpected(),
        }
    }

    /// Handles a UDP datagram from the target's port to ours.
    fn datagram(&mut self, payload: &[u8]) -> Action {
        let ok = Ending::new(State::Ok, Stage::Done, None);
        if !self.is_query || self.packet.answer != Answer::Dns {
            return self.end(ok);
        }
        let Some((message, query)) = Message::read(payload).zip(Message::read(&self.payload))
        else {
            return self.unexpected();
        };
        let rcode = message.whole_rcode(message.opt());
        let ok = ok.answered(answer::Answer::of_rcode(rcode));
        match message.fit(&query) {
            Fit::Answer => return self.end(ok),
            Fit::Partial => self.doubtful.partial(ok),
            Fit::Unreadable => {
                let error = Some("Peer's answer is malformed");
                let ending = Ending::new(State::Failed, Stage::Response, error);
                self.doubtful.partial(ending.answered(Some(DNS_BAD_ANSWER)));
            }
            Fit::Stranger => return self.unexpected(),
        }
        Action::Wait
    }

    /// Counts a packet that is not an answer.
    fn unexpected(&mut self) -> Action {
        self.doubtful.wrong();
        Action::Wait
    }

    /// What the options of a SYN-ACK say.
    fn syn_ack(&self, octets: &[u8]) -> Reply {
        let answered: Vec<_> = options(octets).map(|o| (o.kind, exid(o.kind, o.value))).collect();
        let word = |(kind, exid): &(u8, Option<u16>)| match exid {
            Some(exid) => format!("{kind}:{exid:04x}"),
            None => kind.to_string(),
        };
        let sent = self.packet.options.iter().filter_map(|option| {
            let exid = exid(option.kind, option.data.as_deref()?);
            exid.is_some().then_some((option.kind, exid))
        });
        let mut sent = sent.peekable();
        let any = sent.peek().is_some();
        Reply {
            forge_syn_ack_options: Some(answered.iter().map(word).collect::<Vec<_>>().join(" ")),
            forge_exid_echoed: any.then(|| sent.all(|option| answered.contains(&option))),
            ..Reply::default()
        }
    }

    fn end(&self, ending: Ending) -> Action {
        self.end_with(ending, Reply::default())
    }

    fn end_with(&self, ending: Ending, reply: Reply) -> Action {
        let reply = Reply { forge_unexpected: Some(self.doubtful.wrong), ..reply };
        Action::Close(Ending { reply: Some(Box::new(reply)), ..ending })
    }
}

/// The first two octets of the ExID of an option that experiments share (RFC 6994).
fn exid(kind: u8, value: &[u8]) -> Option<u16> {
    let is_shared = matches!(kind, EXPERIMENT_1 | EXPERIMENT_2);
    value.first_chunk().filter(|_| is_shared).map(|exid| u16::from_be_bytes(*exid))
}

impl Machine for Forge {
    fn handle(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Action {
        match event {
            Event::Connected if self.packet.evil && self.target.is_ipv6() => {
                let why = Some("IPv6 has no evil bit");
                Action::Close(Ending::new(State::Skipped, Stage::Request, why))
            }
            Event::Connected if let Some(word) = self.wrong => {
                Action::Close(Ending::failed(Fault { word, local: true }, Stage::Request))
            }
            Event::Connected => match self.build(self.packet.flags, self.sequence, true) {
                Some(packet) => {
                    out.extend(packet);
                    self.sent = true;
                    Action::Wait
                }
                None => {
                    let fault = Fault { word: "Packet too large", local: true };
                    Action::Close(Ending::failed(fault, Stage::Request))
                }
            },
            Event::Data(_) if !self.sent => self.unexpected(),
            Event::Data(data) => match self.packet.protocol {
                Protocol::Tcp => self.segment(data, out),
                Protocol::Udp => self.datagram(data),
            },
            Event::PeerClosed => Action::Wait,
            Event::TimedOut | Event::Failed(Fault { local: false, .. })
                if let Some(ending) = self.doubtful.end() =>
            {
                self.end(ending)
            }
            Event::TimedOut => self.end(Ending::new(State::Timeout, Stage::Response, None)),
            Event::Failed(fault) => self.end(Ending::failed(fault, Stage::Response)),
        }
    }

    fn stage(&self) -> Stage {
        if self.sent { Stage::Response } else { Stage::Request }
    }
}
