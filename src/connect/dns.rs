//! Kinds `dns_udp` and `dns_tcp`: one question to a name server (RFC 1035).
//!
//! The question is for the target's name, or for [`DEFAULT_NAME`] where it has none. The target counts as
//! reached when an answer with our identifier and our question came, whatever it says. A server that
//! reports an error need not repeat the question: a header alone with our identifier counts too. An RCODE
//! other than 0 is noted as the answer. Messages with another identifier or question are passed over and
//! counted: somebody may be guessing. Nothing is asked twice, since a retry would hide what the path did
//! to the first question.
//!
//! # Memory
//!
//! Over UDP nothing is kept of a datagram that is no answer. Over TCP it is one message that is not whole, of at most 64 KiB,
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
use crate::packet::dns::{Data, Fit, Message};

/// How many addresses of an answer are kept.
const MOST_ADDRESSES: usize = 32;

/// One question.
#[derive(Debug)]
pub struct Dns {
    /// The question as a message of its own.
    asked: Vec<u8>,
    /// The question as it is sent, until it is.
    message: Vec<u8>,
    /// Over TCP: octets of a message that is not whole.
    stream: Option<Vec<u8>>,
    connected: bool,
    mismatched: u32,
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
        // The lowest bits are as random as any.
        let id = (peer.random & 0xffff) as u16;
        let query = Query::query(name, of_type);
        let mut question = op::Message::new(id, MessageType::Query, OpCode::Query);
        question.metadata.recursion_desired = true;
        question.add_query(query);
        let octets = question.to_vec().map_err(|_| WRONG)?;
        let mut message = Vec::with_capacity(octets.len() + 2);
        if over_tcp {
            message.extend(u16::try_from(octets.len()).map_err(|_| WRONG)?.to_be_bytes());
        }
        message.extend(&octets);
        Ok(Self {
            asked: octets,
            message,
            stream: over_tcp.then(Vec::new),
            connected: false,
            mismatched: 0,
            bytes: 0,
        })
    }

    fn data(&mut self, bytes: &[u8]) -> Option<Ending> {
        let Some(mut stream) = self.stream.take() else { return self.read(bytes) };
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
        self.stream = Some(stream);
        let too_much = Some("Peer sent too much");
        (!over.is_empty()).then(|| self.without(State::Failed, too_much, Some(DNS_TOO_LONG)))
    }

    /// Takes one message in.
    fn read(&mut self, octets: &[u8]) -> Option<Ending> {
        let (Some(message), Some(asked)) = (Message::read(octets), Message::read(&self.asked))
        else {
            return self.passed_over();
        };
        match message.fit(&asked) {
            Fit::Answer => {}
            Fit::Unreadable => return Some(self.bad_answer()),
            Fit::Stranger => return self.passed_over(),
        }
        let mut addresses = Vec::new();
        for record in message.records() {
            match record.map(|record| record.data) {
                Ok(Data::Address(address)) => addresses.push(address),
                Ok(_) => {}
                // What was cut to fit a datagram may end anywhere.
                Err(_) if message.truncated || message.rcode != 0 => break,
                Err(_) => return Some(self.bad_answer()),
            }
        }
        let reply = Reply {
            dns_reply_rcode: Some(message.rcode.into()),
            dns_reply_answers: Some(message.answers),
            dns_reply_addresses: Some(text(addresses)),
            dns_reply_truncated: Some(message.truncated),
            dns_reply_authoritative: Some(message.authoritative),
            dns_reply_mismatched: Some(self.mismatched),
            ..Reply::default()
        };
        let ending = Ending::new(State::Ok, Stage::Done, None);
        let ending = ending.answered(Answer::of_rcode(message.rcode));
        Some(Ending { reply: Some(Box::new(reply)), ..ending })
    }

    /// A message that is not the answer.
    fn passed_over(&mut self) -> Option<Ending> {
        self.mismatched = self.mismatched.saturating_add(1);
        None
    }

    /// A message that is the answer, and cannot be read.
    fn bad_answer(&self) -> Ending {
        let error = Some("Peer's answer cannot be read");
        self.without(State::Failed, error, Some(DNS_BAD_ANSWER))
    }

    /// An ending without an answer that can be read.
    fn without(&self, state: State, error: Option<&'static str>, answer: Option<Answer>) -> Ending {
        let reply = Reply { dns_reply_mismatched: Some(self.mismatched), ..Reply::default() };
        let ending = Ending::new(state, Stage::Response, error).answered(answer);
        Ending { reply: Some(Box::new(reply)), ..ending }
    }

    /// What the peer has answered, where the time or the connection ends: over TCP, part of a message.
    fn partial(&self) -> Option<Answer> {
        let part = self.stream.as_ref().is_some_and(|stream| !stream.is_empty());
        part.then_some(DNS_INCOMPLETE)
    }
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
            Event::TimedOut => Some(self.without(State::Timeout, None, self.partial())),
            Event::Failed(fault) => {
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
