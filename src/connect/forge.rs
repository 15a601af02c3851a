//! Kind `forge`: one handmade packet, and the answer to it.
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
//! A bit that the target's family lacks cannot be sent: an IPv6 target of a packet with the evil bit
//! (RFC 3514, IPv4 only) is skipped.
//!
//! # Memory
//!
//! The packet, and the ending of a partial match.

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, TcpSlice, UdpHeader};

use hickory_proto::rr::{Name, RecordType};

use super::answer::DNS_BAD_ANSWER;
use super::dns::{Doubtful, question};
use super::{Action, DEFAULT_NAME, Ending, Event, Fault, Machine, Peer, Reply, Stage, State};
use crate::packet::dns::{Fit, Message};

#[cfg(test)]
mod tests;

/// The transport of a handmade packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// The checksum in a UDP header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Checksum {
    /// The correct checksum.
    #[default]
    Right,
    /// Zero: none was computed (RFC 768; of IPv6, RFC 6935).
    Zero,
    /// An incorrect checksum.
    Wrong,
}

/// What counts as an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A SYN-ACK that acknowledges the packet.
    SynAck,
    /// A DNS message that answers the packet's query.
    Dns,
    /// Any packet from the target's port to ours, including a reset; a TCP segment only if its numbers answer ours.
    Any,
}

/// A TCP option (RFC 9293, 3.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpOption {
    /// Its kind.
    pub kind: u8,
    /// The octets after kind and length; `None` for the kinds without a length (0 and 1).
    pub data: Option<Vec<u8>>,
}

/// The payload of a packet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Payload {
    /// Nothing.
    #[default]
    Nothing,
    /// These octets.
    Bytes(Vec<u8>),
    /// A DNS query of this type for the target's name: `A` or `AAAA`.
    Question(&'static str),
}

/// One packet, as a measurement describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its transport.
    pub protocol: Protocol,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The codepoint in the IP header (RFC 2474): 0 to 63.
    pub dscp: u8,
    /// The ECN field of the IP header (RFC 3168): 0 to 3.
    pub ecn: u8,
    /// The reserved bit of the IPv4 header, "evil" in RFC 3514.
    pub evil: bool,
    /// The bit "don't fragment" of the IPv4 header.
    pub dont_fragment: bool,
    /// TCP flags, FIN being 1, and AE (formerly NS) 256.
    pub flags: u16,
    /// The TCP window, unscaled.
    pub window: u16,
    /// TCP options in their order; padded with zeros to a multiple of four octets.
    pub options: Vec<TcpOption>,
    /// The UDP checksum.
    pub checksum: Checksum,
    /// The payload.
    pub payload: Payload,
    /// What counts as an answer.
    pub answer: Answer,
}

impl Default for Packet {
    /// A plain SYN.
    fn default() -> Self {
        Self {
            protocol: Protocol::Tcp,
            ttl: 64,
            dscp: 0,
            ecn: 0,
            evil: false,
            dont_fragment: false,
            flags: SYN,
            window: u16::MAX,
            options: Vec::new(),
            checksum: Checksum::Right,
            payload: Payload::Nothing,
            answer: Answer::SynAck,
        }
    }
}

/// Names of values, with their meaning.
pub type Words<T> = &'static [(&'static str, T, &'static str)];

/// Transports.
pub static PROTOCOLS: Words<Protocol> =
    &[("tcp", Protocol::Tcp, "a TCP segment"), ("udp", Protocol::Udp, "a UDP datagram")];

/// Values of the ECN field (RFC 3168, 5).
pub static ECN: Words<u8> = &[
    ("not-ect", 0, "the sender does not use ECN"),
    ("ect1", 1, "the sender uses ECN with L4S (RFC 9331)"),
    ("ect0", 2, "the sender uses ECN"),
    ("ce", 3, "congestion was experienced"),
];

/// Values of the UDP checksum.
pub static CHECKSUMS: Words<Checksum> = &[
    ("right", Checksum::Right, "the correct checksum"),
    ("zero", Checksum::Zero, "zero: none was computed"),
    ("wrong", Checksum::Wrong, "an incorrect checksum"),
];

/// What can count as an answer.
pub static ANSWERS: Words<Answer> = &[
    ("syn_ack", Answer::SynAck, "a SYN-ACK that acknowledges the packet"),
    ("dns", Answer::Dns, "a DNS message that answers the query"),
    (
        "any",
        Answer::Any,
        "any packet from the target's port to ours, including a reset; for TCP, if its numbers answer the packet",
    ),
];

/// Types of DNS queries.
pub static QUESTIONS: Words<&str> =
    &[("A", "A", "the name's IPv4 addresses"), ("AAAA", "AAAA", "the name's IPv6 addresses")];

/// Flags of the IPv4 header.
pub static IP_FLAGS: &[(&str, &str)] = &[
    ("evil", "the reserved bit (RFC 3514); an IPv6 target is skipped"),
    ("df", "don't fragment; routers never fragment IPv6 packets anyway"),
];

/// The most octets of TCP options.
pub const MOST_OPTIONS: usize = 40;

/// TCP flags by their names (RFC 9293, 3.1; `ae` RFC 9768).
pub static TCP_FLAGS: &[(&str, u16)] = &[
    ("fin", 1),
    ("syn", 2),
    ("rst", 4),
    ("psh", 8),
    ("ack", 16),
    ("urg", 32),
    ("ece", 64),
    ("cwr", 128),
    ("ae", 256),
];
/// The flag that opens a connection.
pub const SYN: u16 = 2;
const FIN: u16 = 1;
const RST: u16 = 4;
const ACK: u16 = 16;

impl Packet {
    /// A description for people.
    pub fn describe(&self) -> String {
        let flags = TCP_FLAGS.iter().filter(|(_, bit)| self.flags & bit != 0);
        let flags: Vec<String> = flags.map(|(name, _)| name.to_uppercase()).collect();
        let mut words = match self.protocol {
            Protocol::Tcp if flags.is_empty() => "a TCP segment without flags".to_owned(),
            Protocol::Tcp => format!("a TCP segment with {}", flags.join(" and ")),
            Protocol::Udp => "a UDP datagram".to_owned(),
        };
        match self.checksum {
            Checksum::Zero if self.protocol == Protocol::Udp => words.push_str(" without checksum"),
            Checksum::Wrong if self.protocol == Protocol::Udp => {
                words.push_str(" with a wrong checksum");
            }
            _ => {}
        }
        let plain = Self::default();
        let mut more = |words_of: String| {
            words.push_str(", ");
            words.push_str(&words_of);
        };
        if self.evil {
            more("with the evil bit (IPv4 only)".into());
        }
        if self.dont_fragment {
            more("not to be fragmented".into());
        }
        if self.ttl != plain.ttl {
            more(format!("TTL {}", self.ttl));
        }
        if self.dscp != plain.dscp {
            more(format!("DSCP {}", self.dscp));
        }
        if let Some((name, ..)) = ECN.iter().find(|(_, ecn, _)| *ecn == self.ecn && *ecn != 0) {
            more(format!("ECN {name}"));
        }
        if self.protocol == Protocol::Tcp && self.window != plain.window {
            more(format!("window {}", self.window));
        }
        if !self.options.is_empty() {
            more(format!("{} octets of options", self.options_octets().len()));
        }
        match &self.payload {
            Payload::Nothing => {}
            Payload::Bytes(bytes) => more(format!("{} octets of payload", bytes.len())),
            Payload::Question(kind) => more(format!("a DNS query for the {kind} of its name")),
        }
        if let Some((.., doc)) = ANSWERS.iter().find(|(_, answer, _)| *answer == self.answer) {
            more(format!("answered by {doc}"));
        }
        words
    }

    /// Whether a server answers it with a SYN-ACK, to which we then reply with a reset.
    pub fn opens(&self) -> bool {
        self.protocol == Protocol::Tcp && self.flags & (SYN | RST | ACK) == SYN
    }

    /// Octets of its IP packet: typically (to an IPv4 target with a name of usual length), and at most (to an IPv6
    /// target with the longest name).
    pub fn octets(&self) -> (u64, u64) {
        let transport = match self.protocol {
            Protocol::Tcp => 20 + self.options_octets().len() as u64,
            Protocol::Udp => 8,
        };
        // A query has a header, name, type and class.
        let (usual, most) = match &self.payload {
            Payload::Nothing => (0, 0),
            Payload::Bytes(bytes) => (bytes.len() as u64, bytes.len() as u64),
            Payload::Question(_) => (12 + 20 + 4, 12 + 255 + 4),
        };
        (20 + transport + usual, 40 + transport + most)
    }

    /// Length of its TCP options in octets, with padding.
    pub fn options_length(&self) -> usize {
        self.options_octets().len()
    }

    fn options_octets(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        for TcpOption { kind, data } in &self.options {
            octets.push(*kind);
            if let Some(data) = data {
                octets.push(u8::try_from(data.len() + 2).unwrap_or(u8::MAX));
                octets.extend_from_slice(data);
            }
        }
        octets.resize(octets.len().next_multiple_of(4), 0);
        octets
    }
}

/// One packet for one target, and the wait for its answer.
#[derive(Debug)]
pub struct Forge {
    packet: Packet,
    source: SocketAddr,
    target: SocketAddr,
    sequence: u32,
    /// The acknowledgment number, if the packet has the ACK flag; or else 0.
    acknowledgment: u32,
    /// The IPv4 identification (RFC 6864, 4.1) or, with the high bits, the IPv6 flow label (RFC 6437): an ICMP error
    /// quotes it, and an off-path host cannot guess it. Never 0, which the kernel would replace.
    label: u32,
    payload: Vec<u8>,
    /// Whether the payload is a DNS query.
    is_query: bool,
    doubtful: Doubtful,
    /// Whether the packet was sent: nothing before that is an answer.
    sent: bool,
}

impl Forge {
    /// For one target, from this address and port.
    pub fn new(packet: Packet, peer: Peer<'_>, source: SocketAddr) -> Self {
        let mut forge = Self {
            source,
            target: SocketAddr::new(peer.address, peer.port),
            // Both halves come from an unpredictable number.
            sequence: (peer.random >> 32) as u32,
            acknowledgment: if packet.flags & ACK != 0 { peer.random as u32 } else { 0 },
            // The lowest bits are the identifier of a query.
            label: ((peer.random >> 16) as u32 & 0xf_ffff) | 1,
            payload: Vec::new(),
            sent: false,
            is_query: false,
            doubtful: Doubtful::default(),
            packet,
        };
        match &forge.packet.payload {
            Payload::Nothing => {}
            Payload::Bytes(bytes) => forge.payload = bytes.clone(),
            Payload::Question(kind) => forge.query(kind, peer),
        }
        forge
    }

    fn query(&mut self, kind: &str, peer: Peer<'_>) {
        let name = peer.name.and_then(|name| Name::from_ascii(name).ok());
        let mut name =
            name.or_else(|| Name::from_ascii(DEFAULT_NAME).ok()).unwrap_or_else(Name::root);
        // Names in messages are always fully qualified.
        name.set_fqdn(true);
        let kind = if kind == "AAAA" { RecordType::AAAA } else { RecordType::A };
        // A name that was parsed fits a message.
        self.payload = question(name, kind, peer.random, true).unwrap_or_default();
        self.is_query = true;
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
            return self.end(Ending::new(State::Ok, Stage::Done, None));
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
        let ok = ok.answered(super::Answer::of_rcode(message.rcode));
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

    fn end(&self, ending: Ending) -> Action {
        let reply = Reply { forge_unexpected: Some(self.doubtful.wrong), ..Reply::default() };
        Action::Close(Ending { reply: Some(Box::new(reply)), ..ending })
    }
}

impl Machine for Forge {
    fn handle(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Action {
        match event {
            Event::Connected if self.packet.evil && self.target.is_ipv6() => {
                let why = Some("IPv6 has no evil bit");
                Action::Close(Ending::new(State::Skipped, Stage::Request, why))
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
