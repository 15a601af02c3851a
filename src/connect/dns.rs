//! Kinds `dns_udp` and `dns_tcp`: one question to a name server (RFC 1035).
//!
//! The question is for the target's name, or for [`DEFAULT_NAME`] where it has none. The target counts as
//! reached when an answer with our identifier and our question came, whatever it says. An RCODE other than 0 is
//! noted as the answer. Messages with another identifier or question are skipped and counted. Nothing is asked
//! twice, since a retry would hide what the path did to the first question.
//!
//! # Forged answers
//!
//! Over UDP, a host off the path can send messages from the target's address. It does not see the question, so it
//! has to guess the source port, the identifier (16 bits) and the case of each letter of the name
//! (draft-vixie-dnsext-dns0x20), all of which are random. A message that has them all is the answer.
//!
//! Some servers and boxes on the path return the name in lower case, and some report an error by a header
//! without the question. Such an answer fits only in part: it is kept, and the wait for a better one goes on. When
//! the time is up, it is the answer if no wrong message came. A host that guesses has only one try, since its first
//! wrong guess shows that a host guesses; then the attempt says nothing ([`MAY_BE_FORGED`]). So such a server is
//! never taken for one that does not answer, whoever interferes.
//!
//! Another question without random case would be no better: whoever guesses can answer that one, too.
//!
//! Over TCP the kernel's sequence numbers keep other hosts out. The case is not random, and whatever fits in part is
//! an answer at once.
//!
//! # Memory
//!
//! Over UDP at most one answer that fits in part is kept, as its [`Reply`]. Over TCP it is one message that is not whole, of at most 64 KiB,
//! and no more than [`MOST_BYTES`] are read in all. A message is taken apart in at most
//! [`MOST_TRANSIENT`](super::MOST_TRANSIENT) octets, which are free again before the next event. Of an answer at most 32
//! addresses are kept.

use std::net::IpAddr;

use hickory_proto::op::{self, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};

use super::answer::{DNS_BAD_ANSWER, DNS_INCOMPLETE, DNS_TOO_LONG};
use super::tcp::MOST_BYTES;
use super::{
    Action, Answer, DEFAULT_NAME, Ending, Event, Machine, Options, Peer, Reply, Stage, State,
};
use crate::packet::dns::{Data, Fit, Message, randomize_case};

/// The error of an attempt that says nothing: an answer fits the question only in part, and wrong ones came, too.
pub const MAY_BE_FORGED: &str = "Answer may be forged";

/// How many addresses of an answer are kept.
const MOST_ADDRESSES: usize = 32;

/// What came of messages that are not surely the answer.
#[derive(Debug, Default)]
pub(super) struct Doubtful {
    /// Messages that do not fit.
    pub(super) wrong: u32,
    /// How the attempt ends if nothing better comes than the first message that fits in part.
    partial: Option<Ending>,
}

impl Doubtful {
    /// A message that does not fit.
    pub(super) fn wrong(&mut self) {
        self.wrong = self.wrong.saturating_add(1);
    }

    /// A message that fits in part, by which the attempt would end so.
    pub(super) fn partial(&mut self, ending: Ending) {
        self.partial.get_or_insert(ending);
    }

    /// How the attempt ends when nothing more can come; `None` if no message fits, not even in part.
    pub(super) fn end(&mut self) -> Option<Ending> {
        let ending = self.partial.take()?;
        let state = State::LocalError;
        Some(match self.wrong {
            0 => ending,
            _ => Ending::new(state, Stage::Response, Some(MAY_BE_FORGED)),
        })
    }
}

/// One question.
#[derive(Debug)]
pub struct Dns {
    /// The question as a message of its own.
    asked: Vec<u8>,
    /// The question as it is sent, until it is.
    message: Vec<u8>,
    over_tcp: bool,
    /// Over TCP: octets of a message that is not whole.
    stream: Vec<u8>,
    connected: bool,
    doubtful: Doubtful,
    /// Octets taken in.
    bytes: usize,
}

impl Dns {
    /// The question for a peer.
    ///
    /// # Errors
    ///
    /// If the target's name cannot be asked for; in the words of the `error` column.
    pub(super) fn new(
        options: &Options,
        peer: Peer<'_>,
        over_tcp: bool,
    ) -> Result<Self, &'static str> {
        const WRONG: &str = "Target's name cannot be asked for";
        let mut name =
            Name::from_str_relaxed(peer.name.unwrap_or(DEFAULT_NAME)).map_err(|_| WRONG)?;
        name.set_fqdn(true);
        let of_type = match options.question {
            Some("AAAA") => RecordType::AAAA,
            _ => RecordType::A,
        };
        let octets = question(name, of_type, peer.random, !over_tcp).ok_or(WRONG)?;
        let mut message = Vec::with_capacity(octets.len() + 2);
        if over_tcp {
            message.extend(u16::try_from(octets.len()).map_err(|_| WRONG)?.to_be_bytes());
        }
        message.extend(&octets);
        Ok(Self {
            asked: octets,
            message,
            over_tcp,
            stream: Vec::new(),
            connected: false,
            doubtful: Doubtful::default(),
            bytes: 0,
        })
    }

    fn data(&mut self, bytes: &[u8]) -> Option<Ending> {
        if !self.over_tcp {
            return self.read(bytes);
        }
        let mut stream = std::mem::take(&mut self.stream);
        let (bytes, over) = bytes.split_at(bytes.len().min(MOST_BYTES - self.bytes));
        self.bytes += bytes.len();
        stream.extend_from_slice(bytes);
        let mut rest = stream.as_slice();
        // Two octets of length stand before each message (RFC 1035, 4.2.2).
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((message, behind)) = behind.split_at_checked(length) else { break };
            if let Some(ending) = self.read(message) {
                return Some(ending);
            }
            rest = behind;
        }
        let read = stream.len() - rest.len();
        stream.drain(..read);
        self.stream = stream;
        let too_much = Some("Peer sent too much");
        (!over.is_empty()).then(|| self.without(State::Failed, too_much, Some(DNS_TOO_LONG)))
    }

    /// Takes one message in.
    fn read(&mut self, octets: &[u8]) -> Option<Ending> {
        let (Some(message), Some(asked)) = (Message::read(octets), Message::read(&self.asked))
        else {
            self.doubtful.wrong();
            return None;
        };
        let fit = message.fit(&asked);
        let ending = match fit {
            Fit::Answer | Fit::Partial => {
                let keeps = (!self.over_tcp && message.question.is(&asked.question))
                    .then_some(fit == Fit::Answer);
                self.answered(&message, keeps)
            }
            Fit::Unreadable => self.bad_answer(),
            Fit::Stranger => {
                self.doubtful.wrong();
                return None;
            }
        };
        if !self.over_tcp && fit != Fit::Answer {
            self.doubtful.partial(ending);
            return None;
        }
        Some(ending)
    }

    /// The ending by a message that is the answer. `keeps_case` says whether it repeats the name letter by letter.
    fn answered(&self, message: &Message<'_>, keeps_case: Option<bool>) -> Ending {
        let mut addresses = Vec::new();
        for record in message.records() {
            match record.map(|record| record.data) {
                Ok(Data::Address(address)) => addresses.push(address),
                Ok(_) => {}
                // What was cut to fit a datagram may end anywhere.
                Err(_) if message.truncated || message.rcode != 0 => break,
                Err(_) => return self.bad_answer(),
            }
        }
        let reply = Reply {
            dns_reply_rcode: Some(message.rcode.into()),
            dns_reply_answers: Some(message.answers),
            dns_reply_addresses: Some(text(addresses)),
            dns_reply_truncated: Some(message.truncated),
            dns_reply_authoritative: Some(message.authoritative),
            dns_reply_mismatched: Some(self.doubtful.wrong),
            dns_reply_case_kept: keeps_case,
            ..Reply::default()
        };
        let ending = Ending::new(State::Ok, Stage::Done, None);
        let ending = ending.answered(Answer::of_rcode(message.rcode));
        Ending { reply: Some(Box::new(reply)), ..ending }
    }

    /// A message that is the answer, and cannot be read.
    fn bad_answer(&self) -> Ending {
        let error = Some("Peer's answer cannot be read");
        self.without(State::Failed, error, Some(DNS_BAD_ANSWER))
    }

    /// An ending without an answer that can be read.
    fn without(&self, state: State, error: Option<&'static str>, answer: Option<Answer>) -> Ending {
        self.counted(Ending::new(state, Stage::Response, error).answered(answer))
    }

    /// An ending with the count of wrong messages for its reply, unless it has a reply.
    fn counted(&self, ending: Ending) -> Ending {
        let counted =
            || Reply { dns_reply_mismatched: Some(self.doubtful.wrong), ..Reply::default() };
        let reply = ending.reply.unwrap_or_else(|| Box::new(counted()));
        Ending { reply: Some(reply), ..ending }
    }

    /// How the attempt ends by a message that fits in part, if one came.
    fn partly(&mut self) -> Option<Ending> {
        let ending = self.doubtful.end()?;
        Some(self.counted(ending))
    }

    /// What the peer has answered, where the time or the connection ends: over TCP, part of a message.
    fn partial(&self) -> Option<Answer> {
        (!self.stream.is_empty()).then_some(DNS_INCOMPLETE)
    }
}

/// A question as a message, with an identifier from the lowest bits of `random`; with `random_case`, the others give
/// the case of its letters. `None` if the name does not fit a message.
pub(super) fn question(
    name: Name,
    of_type: RecordType,
    random: u64,
    random_case: bool,
) -> Option<Vec<u8>> {
    const ID_BITS: u32 = 16;
    let mut message = op::Message::new(random as u16, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, of_type));
    let mut octets = message.to_vec().ok()?;
    if random_case {
        randomize_case(&mut octets, random.rotate_right(ID_BITS));
    }
    Some(octets)
}

/// Addresses in an order that does not depend on that of the answer.
fn text(mut addresses: Vec<IpAddr>) -> String {
    addresses.sort_unstable();
    addresses.truncate(MOST_ADDRESSES);
    addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
}

impl Machine for Dns {
    fn handle(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Action {
        if !self.connected {
            return match event {
                Event::Connected => {
                    self.connected = true;
                    self.early(out);
                    Action::Wait
                }
                Event::Failed(fault) => Action::Close(Ending::failed(fault, Stage::Connect)),
                Event::TimedOut => Action::Close(Ending::new(State::Timeout, Stage::Connect, None)),
                Event::Data(_) | Event::PeerClosed => Action::Wait,
            };
        }
        let error = Some("Peer closed before it answered");
        let ending = match event {
            Event::Connected => None,
            Event::Data(bytes) => self.data(bytes),
            Event::PeerClosed => Some(self.without(State::Failed, error, self.partial())),
            Event::TimedOut => {
                let answer = self.partial();
                self.partly().or_else(|| Some(self.without(State::Timeout, None, answer)))
            }
            Event::Failed(fault) => {
                if !fault.local
                    && let Some(ending) = self.partly()
                {
                    return Action::Close(ending);
                }
                let state = Ending::failed(fault, Stage::Response).state;
                let answer = self.partial().filter(|_| !fault.local);
                Some(self.without(state, Some(fault.word), answer))
            }
        };
        ending.map_or(Action::Wait, Action::Close)
    }

    fn stage(&self) -> Stage {
        if self.connected { Stage::Response } else { Stage::Connect }
    }

    fn early(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.message);
    }
}

#[cfg(test)]
mod tests;
