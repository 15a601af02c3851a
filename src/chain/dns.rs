//! Group `dns`: whether a question was answered (RFC 1035).

use super::group::{Facts, Runs, of, store};
use super::{Chain, ChainSet, FunctionDef, GroupDef, Progress, Seen};
use crate::field::{Perhaps, fields};
use crate::packet::dns::{Message, Question};
use crate::packet::{Direction, FlowKey, Packet, Transport, protocol};

/// The index of `dns_extract` in the table of functions.
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
    usual: true,
    new: |selection| store::<State>(&GROUP, selection),
};

fields! {
    /// Facts of the group `dns`.
    pub struct Dns, DnsColumns: Observer;
    "dns_extract" {
        /// Whether a response was seen that answers a question of this flow: same identifier, same question in the same
        /// case (RFC 1035, 4.1; RFC 5452, 9.1). If none was, and no wrong response either, also one with the name in
        /// another case, or an error without any question, such as a header alone. NULL instead of false if the
        /// capture cut some message short.
        dns_response_valid: Perhaps,
        /// RCODE of the first such response; NULL if there was none.
        dns_rcode: Option<u8> = (0, 15),
        /// TC bit of the first such response; NULL if there was none.
        dns_truncated: Option<bool>,
        /// Resource records in its answer section; NULL if there was none.
        dns_answers: Option<u32> = (0, 65_535),
        /// Whether a question was seen in the forward direction; NULL instead of false if the capture cut some
        /// forward message short.
        dns_question: Perhaps,
    }
}

/// The facts, and what distinguishes the first from later ones.
#[derive(Debug, Default)]
struct State {
    /// The first response that answers the question.
    answer: Option<Response>,
    /// The first one that answers it only in part: a host off the path can guess such a response.
    partial: Option<Response>,
    /// Whether there was a response to no question of the flow: it may be a guess.
    wrong: bool,
    asked: bool,
    /// Whether there were messages that the capture cut short, forward and reverse.
    hidden: [bool; 2],
    /// Identifies the answer to the last question: its identifier, and a digest of the rest.
    question: Option<(u16, Digests)>,
}

/// The contents of a response.
#[derive(Debug, Clone, Copy)]
struct Response {
    rcode: u8,
    truncated: bool,
    answers: u16,
}

/// How a response matches the question.
enum Fit {
    Answer,
    Partial,
    Wrong,
}

impl Facts for State {
    type Row = Dns;
    fn row(&self, _: &FlowKey) -> Dns {
        let response = self.answer.or(self.partial.filter(|_| !self.wrong));
        Dns {
            dns_response_valid: Perhaps::new(response.is_some(), self.hidden != [false; 2]),
            dns_rcode: response.map(|response| response.rcode),
            dns_truncated: response.map(|response| response.truncated),
            dns_answers: response.map(|response| response.answers.into()),
            dns_question: Perhaps::new(self.asked, self.hidden[0]),
        }
    }

    fn packet(&mut self, packet: &Packet<'_>, seen: Seen, runs: Runs<'_>) -> Progress {
        let placed = runs.function(EXTRACT) || packet.flaw.is_some();
        if !placed || !packet.ports.is_some_and(|(a, b)| a == PORT || b == PORT) {
            return Progress::More;
        }
        let (message, cut) = match &packet.transport {
            Transport::Udp(udp) => (udp.data, udp.cut),
            // Each message has two octets of length in front (RFC 1035, 4.2.2).
            Transport::Tcp(tcp) => {
                (tcp.data.get(2..).unwrap_or_default(), tcp.data.len() < tcp.payload as usize)
            }
            _ => (&[][..], packet.hides(protocol::UDP) || packet.hides(protocol::TCP)),
        };
        let Some(message) = Message::read(message) else {
            self.hidden[of(seen.direction, 0, 1)] |= cut;
            return Progress::More;
        };
        match (seen.direction, message.response, Digests::of(message.question)) {
            (Direction::Forward, false, Some(digests)) => {
                self.asked = true;
                self.question = Some((message.id, digests));
            }
            (Direction::Reverse, true, digests) => {
                let Message { rcode, truncated, answers, .. } = message;
                let response = Response { rcode, truncated, answers };
                match self.fit(&message, digests) {
                    Fit::Answer => _ = self.answer.get_or_insert(response),
                    Fit::Partial => _ = self.partial.get_or_insert(response),
                    Fit::Wrong => {
                        // Its question may have been cut off.
                        self.hidden[of(seen.direction, 0, 1)] |= cut;
                        self.wrong |= !cut;
                    }
                }
            }
            _ => self.hidden[of(seen.direction, 0, 1)] |= cut,
        }
        Progress::More
    }
}

const PORT: u16 = 53;

impl State {
    /// How a response with these digests matches the question that was asked.
    fn fit(&self, message: &Message<'_>, digests: Option<Digests>) -> Fit {
        let asked = self.question.filter(|(id, _)| *id == message.id).map(|(_, asked)| asked);
        match (asked, digests) {
            (None, _) => Fit::Wrong,
            (Some(asked), Some(digests)) if asked == digests => Fit::Answer,
            (Some(asked), Some(digests)) if asked.any_case == digests.any_case => Fit::Partial,
            // An error need not repeat the question.
            (Some(_), None) if message.question == Question::None && message.rcode != 0 => {
                Fit::Partial
            }
            _ => Fit::Wrong,
        }
    }
}

/// Digests of name, type and class of the only question: case-sensitive, and without case (RFC 4343).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digests {
    exact: u64,
    any_case: u64,
}

impl Digests {
    fn of(question: Question<'_>) -> Option<Self> {
        let Question::One { name, of } = question else { return None };
        let digest = |octet: fn(&u8) -> u8| {
            let octets = name.iter().map(octet).chain(of);
            // FNV-1a: an attacker gains nothing from two names with the same digest.
            octets.fold(0xcbf2_9ce4_8422_2325_u64, |digest, octet| {
                (digest ^ u64::from(octet)).wrapping_mul(0x100_0000_01b3)
            })
        };
        Some(Self { exact: digest(|octet| *octet), any_case: digest(u8::to_ascii_lowercase) })
    }
}
