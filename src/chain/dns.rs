//! Group `dns`: whether a question was answered (RFC 1035).

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::{Perhaps, fields};
use crate::packet::dns::{Message, Question};
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
        /// (RFC 1035, 4.1; RFC 5452, 9.1), or an error without any question, such as a header alone; NULL instead of
        /// false if the capture cut some message short.
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
    /// Of the last question, by which its answer is known: the identifier, and a digest of the rest.
    question: Option<(u16, u64)>,
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
        match (seen.direction, message.response, digest(message.question)) {
            (Direction::Forward, false, Some(digest)) => {
                self.asked = true;
                self.question = Some((message.id, digest));
            }
            (Direction::Reverse, true, digest) if self.is_answered_by(&message, digest) => {
                self.valid = true;
                self.facts.dns_rcode.get_or_insert(message.rcode);
                self.facts.dns_truncated.get_or_insert(message.truncated);
                self.facts.dns_answers.get_or_insert(message.answers);
            }
            // Its question may have been cut off.
            _ => self.hidden[of(seen.direction, 0, 1)] |= cut,
        }
        Progress::More
    }
}

const PORT: u16 = 53;

impl State {
    /// Whether a response with this digest of its question is for the question that was asked.
    fn is_answered_by(&self, message: &Message<'_>, digest: Option<u64>) -> bool {
        let Some((id, asked)) = self.question else { return false };
        let same = match message.question {
            // An error need not repeat the question.
            Question::None => message.rcode != 0,
            _ => digest == Some(asked),
        };
        same && message.id == id
    }
}

/// Of name (case aside, RFC 4343), type and class of the only question.
fn digest(question: Question<'_>) -> Option<u64> {
    let Question::One { name, of } = question else { return None };
    let mut digest = Digest::new();
    digest.add(name);
    digest.add(&of);
    Some(digest.0)
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
