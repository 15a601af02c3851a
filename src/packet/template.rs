//! Copies of a packet that crossed the interface.
//!
//! The capture of a packet that this host sends has an unfinished checksum, so a copy is built from its fields, not from its
//! octets. All copies of a packet with the same ports are of one flow for every load balancer: they differ in the TTL and in
//! the IPv4 identification only, which no balancer reads (RFC 6864 frees it for datagrams that are not fragmented).

use std::net::{IpAddr, SocketAddr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader};

use super::tcp_option::{kind, options};
use super::{Packet, Quote, Tcp, Transport, flag};

/// Names of the fields in which two packets can differ, by bit.
const NAMES: [&str; 8] = ["ecn", "dscp", "evil", "flags", "options", "checksum", "window", "data"];
const ECN: u8 = 1;
const DSCP: u8 = 2;
const EVIL: u8 = 4;
const FLAGS: u8 = 8;
const OPTIONS: u8 = 16;
const CHECKSUM: u8 = 32;
const WINDOW: u8 = 64;
const DATA: u8 = 128;

/// The octets of a TCP header without options, and of a UDP header.
const TCP: usize = 20;
const UDP: usize = 8;

/// A packet without its addresses, ports and TTL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    traffic_class: u8,
    ttl: u8,
    evil: bool,
    dont_fragment: bool,
    flow_label: u32,
    transport: Head,
    data: Vec<u8>,
    answer_ttl: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Head {
    Tcp {
        flags: u16,
        window: u16,
        options: Vec<u8>,
        sequence: u32,
        acknowledgment: u32,
    },
    /// Whether it has a checksum.
    Udp {
        has_checksum: bool,
    },
}

/// The fields in which two packets differ.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differing {
    bits: u8,
    /// The kinds of TCP options that differ.
    kinds: Vec<u8>,
}

impl Differing {
    /// The fields, joined by commas.
    pub fn names(&self) -> String {
        let names = (0..).zip(NAMES).filter(|(bit, _)| self.bits >> bit & 1 == 1);
        names.map(|(_, name)| name).collect::<Vec<_>>().join(",")
    }

    /// Whether the packets are alike.
    pub fn is_empty(&self) -> bool {
        self.bits == 0
    }

    /// A number that stands for the fields.
    pub fn digest(&self) -> u64 {
        let kinds = self
            .kinds
            .iter()
            .fold(0, |all: u64, kind| all.wrapping_mul(257).wrapping_add(u64::from(*kind) + 1));
        kinds << 8 | u64::from(self.bits)
    }

    fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }
}

/// The addresses, ports and marks of a copy.
#[derive(Debug, Clone, Copy)]
pub struct Ends {
    /// This host.
    pub source: SocketAddr,
    /// The target.
    pub target: SocketAddr,
    /// The TTL; `None` is that of the packet.
    pub ttl: Option<u8>,
    /// The IPv4 identification. Never 0, which the kernel would replace.
    pub identification: u16,
    /// The sequence number of a SYN; that of another segment is the packet's own.
    pub sequence: u32,
}

impl Template {
    /// Of a packet; `None` if a part of it was not captured, or it has headers that copies would lack.
    pub fn of(packet: &Packet<'_>) -> Option<Self> {
        let ip = &packet.ip;
        if ip.fragment.is_some() || packet.flaw.is_some() {
            return None;
        }
        let (transport, data, header) = match &packet.transport {
            Transport::Tcp(tcp) if tcp.whole && tcp.data.len() == tcp.payload as usize => {
                let Tcp { flags, window, sequence, acknowledgment, .. } = *tcp;
                let options = tcp.options.to_vec();
                let header = TCP + options.len();
                (Head::Tcp { flags, window, options, sequence, acknowledgment }, tcp.data, header)
            }
            Transport::Udp(udp) if !udp.cut && usize::from(udp.length) == udp.data.len() + UDP => {
                (Head::Udp { has_checksum: udp.checksum != 0 }, udp.data, UDP)
            }
            _ => return None,
        };
        let before = if ip.source.is_ipv4() { 20 } else { 40 };
        let plain = ip.length as usize == before + header + data.len();
        plain.then(|| Self {
            traffic_class: ip.traffic_class,
            ttl: ip.ttl,
            evil: ip.evil == Some(true),
            dont_fragment: ip.dont_fragment,
            flow_label: ip.flow_label.unwrap_or_default(),
            transport,
            data: data.to_vec(),
            answer_ttl: None,
        })
    }

    /// A packet from its target came with this TTL; the first counts.
    pub fn answered(&mut self, ttl: u8) {
        self.answer_ttl.get_or_insert(ttl);
    }

    /// The TTL of the first packet from its target.
    pub fn answer_ttl(&self) -> Option<u8> {
        self.answer_ttl
    }

    /// Whether it is a SYN.
    pub fn is_syn(&self) -> bool {
        matches!(&self.transport, Head::Tcp { flags, .. } if flags & (flag::SYN | flag::ACK) == flag::SYN)
    }

    /// Whether it is a TCP segment.
    pub fn is_tcp(&self) -> bool {
        matches!(self.transport, Head::Tcp { .. })
    }

    /// Octets of its transport header.
    pub fn header(&self) -> u16 {
        match &self.transport {
            Head::Tcp { options, .. } => (TCP + options.len()) as u16,
            Head::Udp { .. } => UDP as u16,
        }
    }

    /// The numbers with which a TCP segment acknowledges a copy with this sequence number: all of it, or a SYN without its
    /// data (RFC 9293, 3.10.7.4).
    pub fn is_acknowledged(&self, sequence: u32, acknowledgment: u32) -> bool {
        let taken = acknowledgment.wrapping_sub(sequence);
        let all = self.data.len() as u32 + u32::from(self.is_syn());
        taken == all || self.is_syn() && taken == 1
    }

    /// The fields in which another packet differs from this one. What every connection has of its own (numbers, timestamps,
    /// keys) is not compared.
    pub fn differing(&self, other: &Self) -> Differing {
        let mut bits = 0;
        let mut kinds = Vec::new();
        let mut note = |bit: u8, differs: bool| bits |= if differs { bit } else { 0 };
        note(ECN, self.traffic_class & 3 != other.traffic_class & 3);
        note(DSCP, self.traffic_class >> 2 != other.traffic_class >> 2);
        note(EVIL, self.evil != other.evil);
        match (&self.transport, &other.transport) {
            (
                Head::Tcp { flags, window, options: mine, .. },
                Head::Tcp { flags: flags_2, window: window_2, options: theirs, .. },
            ) => {
                note(FLAGS, flags != flags_2);
                note(WINDOW, window != window_2);
                kinds = differing_kinds(mine, theirs);
                note(OPTIONS, !kinds.is_empty());
            }
            (Head::Udp { has_checksum: mine }, Head::Udp { has_checksum: theirs }) => {
                note(CHECKSUM, mine != theirs);
            }
            _ => {}
        }
        note(DATA, self.data != other.data);
        // The kernel derives the window from the options.
        if bits & !(WINDOW | DATA) != 0 {
            bits &= !WINDOW;
        }
        Differing { bits, kinds }
    }

    /// The fields that a path has no reason to change.
    pub fn comparable(&self) -> Differing {
        match &self.transport {
            Head::Tcp { options: own, .. } => Differing {
                bits: FLAGS | OPTIONS,
                kinds: options(own).map(|option| option.kind).collect(),
            },
            Head::Udp { .. } => Differing { bits: CHECKSUM, kinds: Vec::new() },
        }
    }

    /// Whether a quote shows these fields as they were sent: `None` if it is too short to show them all and what it shows is
    /// as sent.
    pub fn is_same(&self, fields: &Differing, quote: &Quote<'_>) -> Option<bool> {
        let (mut same, mut hidden) = (true, false);
        let mut check = |shown: Option<bool>| match shown {
            Some(is_same) => same &= is_same,
            None => hidden = true,
        };
        let marks = quote.ip.traffic_class;
        if fields.has(ECN) {
            check(Some(marks & 3 == self.traffic_class & 3));
        }
        if fields.has(DSCP) {
            check(Some(marks >> 2 == self.traffic_class >> 2));
        }
        if fields.has(EVIL) {
            check(quote.ip.evil.map(|evil| evil == self.evil));
        }
        match &self.transport {
            Head::Tcp { flags, window, options, .. } => {
                // A quote of eight octets may be padded with zeros.
                let head = quote.transport.get(..TCP).filter(|head| head[12] >> 4 >= 5);
                let word =
                    |at: usize| head.map(|head| u16::from_be_bytes([head[at], head[at + 1]]));
                if fields.has(FLAGS) {
                    let early = quote.transport.get(12..14).filter(|two| two[0] >> 4 >= 5);
                    let shown = early.map(|two| u16::from_be_bytes([two[0], two[1]]) & flag::ALL);
                    check(shown.map(|shown| shown == flags & flag::ALL));
                }
                if fields.has(WINDOW) {
                    check(word(14).map(|shown| shown == *window));
                }
                if fields.has(OPTIONS) {
                    let end = head.map(|head| usize::from(head[12] >> 4) * 4);
                    let shown = end.and_then(|end| quote.transport.get(TCP..end));
                    check(shown.map(|shown| have_same(&fields.kinds, options, shown)));
                }
            }
            Head::Udp { has_checksum } => {
                if fields.has(CHECKSUM) {
                    let shown = quote.transport.get(6..8).map(|sum| sum != [0, 0]);
                    check(shown.map(|shown| shown == *has_checksum));
                }
            }
        }
        match (same, hidden) {
            (false, _) => Some(false),
            (true, false) => Some(true),
            (true, true) => None,
        }
    }

    /// The octets of a copy; `None` if the ends are of different families, or it would be too long.
    pub fn build(&self, ends: &Ends) -> Option<Vec<u8>> {
        let (from, to) = (ends.source.port(), ends.target.port());
        let header = usize::from(self.header());
        let length = u16::try_from(header + self.data.len()).ok()?;
        let ttl = ends.ttl.unwrap_or(self.ttl);
        let number = if self.is_tcp() { IpNumber::TCP } else { IpNumber::UDP };
        let mut out = Vec::with_capacity(40 + usize::from(length));
        let mut tcp = self.tcp(from, to, ends.sequence);
        let mut udp = UdpHeader { source_port: from, destination_port: to, length, checksum: 0 };
        match (ends.source.ip(), ends.target.ip()) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                let (source, target) = (source.octets(), target.octets());
                let mut ip = Ipv4Header::new(length, ttl, number, source, target).ok()?;
                ip.dont_fragment = self.dont_fragment;
                ip.identification = ends.identification.max(1);
                if let Some(tcp) = &mut tcp {
                    tcp.checksum = tcp.calc_checksum_ipv4(&ip, &self.data).ok()?;
                }
                udp.checksum = udp.calc_checksum_ipv4(&ip, &self.data).ok()?;
                ip.write(&mut out).ok()?;
                out[1] = self.traffic_class;
                if self.evil {
                    out[6] |= 0x80;
                }
                out[10..12].fill(0);
                let sum = Sum16BitWords::new().add_slice(&out).ones_complement();
                out[10..12].copy_from_slice(&sum.to_ne_bytes());
            }
            (IpAddr::V6(source), IpAddr::V6(target)) => {
                let ip = Ipv6Header {
                    traffic_class: self.traffic_class,
                    flow_label: Ipv6FlowLabel::try_new(self.flow_label & 0xf_ffff).ok()?,
                    payload_length: length,
                    next_header: number,
                    hop_limit: ttl,
                    source: source.octets(),
                    destination: target.octets(),
                };
                if let Some(tcp) = &mut tcp {
                    tcp.checksum = tcp.calc_checksum_ipv6(&ip, &self.data).ok()?;
                }
                udp.checksum = udp.calc_checksum_ipv6(&ip, &self.data).ok()?;
                ip.write(&mut out).ok()?;
            }
            _ => return None,
        }
        match (&self.transport, tcp) {
            (Head::Tcp { .. }, Some(tcp)) => tcp.write(&mut out).ok()?,
            (Head::Udp { has_checksum }, _) => {
                if !has_checksum {
                    udp.checksum = 0;
                }
                udp.write(&mut out).ok()?;
            }
            (Head::Tcp { .. }, None) => return None,
        }
        out.extend_from_slice(&self.data);
        Some(out)
    }

    fn tcp(&self, from: u16, to: u16, own: u32) -> Option<TcpHeader> {
        let Head::Tcp { flags, window, options, sequence, acknowledgment } = &self.transport else {
            return None;
        };
        let sequence = if self.is_syn() { own } else { *sequence };
        let mut tcp = TcpHeader::new(from, to, sequence, *window);
        let bit = |name: u16| flags & name != 0;
        (tcp.fin, tcp.syn, tcp.rst, tcp.psh) = (bit(1), bit(2), bit(4), bit(8));
        (tcp.ack, tcp.urg, tcp.ece, tcp.cwr) = (bit(16), bit(32), bit(64), bit(128));
        tcp.ns = bit(256);
        tcp.acknowledgment_number = *acknowledgment;
        tcp.set_options_raw(options).ok()?;
        Some(tcp)
    }
}

/// The kinds of options that only one packet has, or with another value.
fn differing_kinds(mine: &[u8], theirs: &[u8]) -> Vec<u8> {
    // Each connection has its own timestamps and keys; a cookie makes a difference by being there.
    let own = [kind::TIMESTAMPS, kind::MPTCP];
    let mut kinds = Vec::new();
    for (some, others) in [(mine, theirs), (theirs, mine)] {
        for option in options(some) {
            let mut same = options(others).filter(|other| other.kind == option.kind);
            let is = |value: &[u8]| own.contains(&option.kind) || value == option.value;
            if !same.any(|other| is(other.value)) && !kinds.contains(&option.kind) {
                kinds.push(option.kind);
            }
        }
    }
    kinds
}

/// Whether options of these kinds are the same in both.
fn have_same(kinds: &[u8], sent: &[u8], shown: &[u8]) -> bool {
    let of = |bytes: &'_ [u8], kind: u8| {
        options(bytes)
            .filter(move |option| option.kind == kind)
            .map(|o| o.value.to_vec())
            .collect::<Vec<_>>()
    };
    kinds.iter().all(|kind| of(sent, *kind) == of(shown, *kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Timestamp;
    use crate::packet::{Icmp, dissect_into};

    fn blank() -> Packet<'static> {
        Packet::blank(Timestamp::UNKNOWN)
    }

    fn syn(marks: u8, flags: u16, options: &[u8]) -> Template {
        let (window, sequence, acknowledgment) = (64240, 1, 0);
        let transport =
            Head::Tcp { flags, window, options: options.to_vec(), sequence, acknowledgment };
        let (ttl, evil, flow_label) = (64, false, 0xbeef);
        Template {
            traffic_class: marks,
            ttl,
            evil,
            dont_fragment: true,
            flow_label,
            transport,
            data: Vec::new(),
            answer_ttl: None,
        }
    }

    fn ends(v6: bool) -> Ends {
        let at = |last: u16, port| {
            let ip: IpAddr = match v6 {
                false => [192, 0, 2, last as u8].into(),
                true => [0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into(),
            };
            SocketAddr::new(ip, port)
        };
        Ends {
            source: at(1, 40_000),
            target: at(2, 80),
            ttl: None,
            identification: 7,
            sequence: 99,
        }
    }

    #[test]
    fn a_copy_is_the_packet() {
        let mss = [2, 4, 5, 0xb4, 1, 1, 4, 2];
        for (template, v6) in [
            (syn(0, 2, &mss), false),
            (syn(2 << 2 | 1, 0xc2, &mss), true),
            (Template { evil: true, dont_fragment: false, ..syn(0, 2, &[]) }, false),
        ] {
            let octets = template.build(&ends(v6)).unwrap();
            let mut packet = blank();
            dissect_into(&mut packet, &octets, Timestamp::UNKNOWN).unwrap();
            let mut again = Template::of(&packet).unwrap();
            // Not of IPv4.
            again.flow_label = template.flow_label;
            let Head::Tcp { sequence, .. } = &mut again.transport else { panic!() };
            assert_eq!(std::mem::replace(sequence, 1), 99);
            if v6 {
                again.dont_fragment = template.dont_fragment;
            }
            assert_eq!(again, template);
        }
        let data = b"x".to_vec();
        let udp = Template { transport: Head::Udp { has_checksum: false }, data, ..syn(0, 0, &[]) };
        let octets = udp.build(&Ends { ttl: Some(3), ..ends(false) }).unwrap();
        assert_eq!((octets[8], &octets[26..28]), (3, &[0, 0][..]));
    }

    #[test]
    fn only_the_differing_fields_count() {
        let mss = [2, 4, 5, 0xb4];
        let plain = syn(0, 2, &mss);
        let ecn = syn(0, 0xc2, &mss);
        let fields = plain.differing(&ecn);
        assert_eq!(fields.names(), "flags");
        assert!(plain.differing(&plain).is_empty());
        let wiped = syn(46 << 2, 0x02, &mss);
        let octets = wiped.build(&ends(false)).unwrap();
        let shown = |octets: &[u8], length: usize, fields: &Differing, sent: &Template| {
            let mut message = vec![11, 0, 0, 0, 0, 0, 0, 0];
            message.extend(&octets[..length]);
            let icmp = Icmp::read(&message, "192.0.2.9".parse().unwrap()).unwrap();
            sent.is_same(fields, icmp.quote.as_ref().unwrap())
        };
        assert_eq!(shown(&octets, 44, &fields, &ecn), Some(false));
        assert_eq!(shown(&octets, 28, &fields, &ecn), None, "eight octets");
        let right = ecn.build(&ends(false)).unwrap();
        assert_eq!(shown(&right, 34, &fields, &ecn), Some(true), "down to the flags");
        // Eight octets that are padded with zeros.
        let mut padded = right.clone();
        padded[28..].fill(0);
        assert_eq!(shown(&padded, 44, &fields, &ecn), None);
        let scaled = syn(0, 2, &[2, 4, 5, 0xb4, 1, 3, 3, 7]);
        let fields = plain.differing(&scaled);
        assert_eq!((fields.names().as_str(), fields.kinds.as_slice()), ("options", &[3][..]));
        // A clamped MSS is not the feature.
        let clamped = syn(0, 2, &[2, 4, 5, 0, 1, 3, 3, 7]).build(&ends(false)).unwrap();
        assert_eq!(shown(&clamped, 48, &fields, &scaled), Some(true));
        let stripped = syn(0, 2, &[2, 4, 5, 0xb4, 1, 1, 1, 1]).build(&ends(false)).unwrap();
        assert_eq!(shown(&stripped, 48, &fields, &scaled), Some(false));
    }
}
