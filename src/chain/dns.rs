//! Group `dns`: whether a question was answered (RFC 1035).

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::{Perhaps, fields};
use crate::packet::{Direction, FlowKey, Packet, Transport, protocol};

/// The place of `dns_extract` in the table of functions.
const EXTRACT: usize = 1;

/// The registry's row.
pub static GROUP: GroupDef = GroupDef {
    name: "dns",
    doc: "DNS responses that match a question of the flow",
    functions: &[
        FunctionDef {
            name: "dns_setup",
            chains: ChainSet::of(&[Chain::NewFlow]),
            setup: None,
            alone: false,
            doc: "makes room for what dns_extract records",
        },
        FunctionDef {
            name: "dns_extract",
            chains: ChainSet::of(&[Chain::Udp, Chain::Tcp]),
            setup: Some("dns_setup"),
            alone: false,
            doc: "records whether a response answers a question of the flow, its RCODE and whether it was truncated",
        },
    ],
    fields: Dns::FIELDS,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `dns`.
    pub struct Dns, DnsColumns: Observer;
    "dns_extract" {
        /// Whether a response was seen that answers a question of this flow: same identifier, same question
        /// (RFC 1035, 4.1; RFC 5452, 9.1); NULL instead of false if the capture cut some message short.
        dns_response_valid: Perhaps,
        /// RCODE of the first such response; NULL if there was none.
        dns_rcode: Option<u8> = (0, 15),
        /// TC bit of the first such response; NULL if there was none.
        dns_truncated: Option<bool>,
        /// Resource records in its answer section; NULL if there was none.
        dns_answers: Option<u16>,
        /// Whether a question was seen in the forward direction; NULL instead of false if the capture cut some
        /// forward message short.
        dns_question: Perhaps,
    }
}

/// The facts, and what is needed to tell the first from later ones.
#[derive(Debug, Default)]
struct State {
    facts: Dns,
    valid: bool,
    asked: bool,
    /// Whether there were messages that the capture cut short, forward and reverse.
    hidden: [bool; 2],
    /// Of the last question, by which its answer is known.
    question: Option<u64>,
}

impl Facts for State {
    type Row = Dns;
    fn row(&self, _: &FlowKey) -> Dns {
        Dns {
            dns_response_valid: Perhaps::new(self.valid, self.hidden != [false; 2]),
            dns_question: Perhaps::new(self.asked, self.hidden[0]),
            ..self.facts.clone()
        }
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let placed = runs.function(EXTRACT) || packet.flaw.is_some();
        if !placed || !packet.ports.is_some_and(|(a, b)| a == PORT || b == PORT) {
            return Progress::More;
        }
        let (message, cut) = match &packet.transport {
            Transport::Udp(udp) => (udp.data, udp.cut),
            // Two octets of length stand before each message (RFC 1035, 4.2.2).
            Transport::Tcp(tcp) => {
                (tcp.data.get(2..).unwrap_or_default(), tcp.data.len() < tcp.payload as usize)
            }
            _ => (&[][..], packet.hides(protocol::UDP) || packet.hides(protocol::TCP)),
        };
        let Some(message) = Message::read(message) else {
            self.hidden[of(seen.direction, 0, 1)] |= cut;
            return Progress::More;
        };
        match (seen.direction, message.response) {
            (Direction::Forward, false) => {
                self.asked = true;
                self.question = Some(message.digest);
            }
            (Direction::Reverse, true) if self.question == Some(message.digest) => {
                self.valid = true;
                self.facts.dns_rcode.get_or_insert(message.rcode);
                self.facts.dns_truncated.get_or_insert(message.truncated);
                self.facts.dns_answers.get_or_insert(message.answers);
            }
            _ => {}
        }
        Progress::More
    }
}

const PORT: u16 = 53;

/// What is needed of a message.
struct Message {
    response: bool,
    truncated: bool,
    rcode: u8,
    answers: u16,
    /// Of identifier, name (case aside, RFC 4343), type and class of the only question.
    digest: u64,
}

impl Message {
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..12)?;
        let questions = u16::from_be_bytes([header[4], header[5]]);
        if questions != 1 {
            return None;
        }
        let mut digest = Digest::new();
        digest.add(&header[..2]);
        let mut rest = &bytes[12..];
        loop {
            let length = usize::from(*rest.first()?);
            // A question is not compressed: there is nothing before it to point to.
            if length > 63 {
                return None;
            }
            let label = rest.get(..=length)?;
            digest.add(label);
            rest = &rest[length + 1..];
            if length == 0 {
                break;
            }
        }
        digest.add(rest.get(..4)?);
        Some(Self {
            response: header[2] & 0x80 != 0,
            truncated: header[2] & 0x02 != 0,
            rcode: header[3] & 0x0f,
            answers: u16::from_be_bytes([header[6], header[7]]),
            digest: digest.0,
        })
    }
}

/// FNV-1a: nothing hostile is gained by two names with one digest.
struct Digest(u64);

impl Digest {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x100_0000_01b3);
        }
    }
}
