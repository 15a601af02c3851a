//! A crafted packet, as a measurement describes it.
//!
//! The kind [`forge`](super::forge) sends it.

use super::query::Query;

/// The transport of a crafted packet.
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
    /// A DNS query.
    Question(Query),
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
    /// Octets of the whole IP packet; its payload is padded to that.
    pub length: Option<u16>,
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
            length: None,
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
pub(super) const FIN: u16 = 1;
pub(super) const RST: u16 = 4;
pub(super) const ACK: u16 = 16;

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
            Payload::Question(query) => {
                let of = query.name.as_deref().unwrap_or("its name");
                more(format!("a DNS query for the {} of {of}", query.of));
                if let Some(edns) = query.edns {
                    more(edns.describe());
                }
            }
        }
        if let Some(length) = self.length {
            more(format!("padded to {length} octets"));
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
        match self.length {
            Some(length) => (length.into(), length.into()),
            None => self.unpadded(),
        }
    }

    /// The same without padding.
    pub fn unpadded(&self) -> (u64, u64) {
        let transport = self.header() as u64;
        let (usual, most) = match &self.payload {
            Payload::Nothing => (0, 0),
            Payload::Bytes(bytes) => (bytes.len() as u64, bytes.len() as u64),
            Payload::Question(query) => query.octets(),
        };
        (20 + transport + usual, 40 + transport + most)
    }

    /// Octets of its transport header.
    pub(super) fn header(&self) -> usize {
        match self.protocol {
            Protocol::Tcp => 20 + self.options_octets().len(),
            Protocol::Udp => 8,
        }
    }

    /// Octets of payload with which a packet of this version of IP has its length, if it has one; negative if its headers are
    /// longer.
    pub(super) fn room(&self, v6: bool) -> Option<isize> {
        let headers = if v6 { 40 } else { 20 } + self.header();
        Some(self.length? as isize - headers as isize)
    }

    /// Length of its TCP options in octets, with padding.
    pub fn options_length(&self) -> usize {
        self.options_octets().len()
    }

    pub(super) fn options_octets(&self) -> Vec<u8> {
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
