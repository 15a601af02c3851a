//! Kinds `dns_udp` and `dns_tcp`: one question to a name server (RFC 1035).
//!
//! The question is for the target's name, or for [`DEFAULT_NAME`] where it has none. The target counts as
//! reached when an answer with our identifier and our question came, whatever it says. Whatever else
//! comes is passed over and counted: somebody may be guessing. Nothing is asked twice, since a
//! retry would hide what the path did to the first question.
//!
//! # Memory
//!
//! Over UDP nothing is kept of a datagram that is no answer. Over TCP it is one message that is not whole, of at most 64 KiB,
//! and no more than [`MOST_BYTES`] are read in all. A message is taken apart in at most
//! [`MOST_TRANSIENT`](super::MOST_TRANSIENT) octets, which are free again before the next event. Of an answer at most 32
//! addresses are kept.

use std::net::IpAddr;

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};

use super::tcp::MOST_BYTES;
use super::{Action, DEFAULT_NAME, Ending, Event, Machine, Options, Peer, Reply, Stage, State};

/// How many addresses of an answer are kept.
const MOST_ADDRESSES: usize = 32;

/// One question.
#[derive(Debug)]
pub struct Dns {
    id: u16,
    query: Query,
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
        let mut question = Message::new(id, MessageType::Query, OpCode::Query);
        question.metadata.recursion_desired = true;
        question.add_query(query.clone());
        let octets = question.to_vec().map_err(|_| WRONG)?;
        let mut message = Vec::with_capacity(octets.len() + 2);
        if over_tcp {
            message.extend(u16::try_from(octets.len()).map_err(|_| WRONG)?.to_be_bytes());
        }
        message.extend(octets);
        Ok(Self {
            id,
            query,
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
        (!over.is_empty()).then(|| self.ending(State::Failed, Some("Peer sent too much"), None))
    }

    /// Takes one message in.
    fn read(&mut self, octets: &[u8]) -> Option<Ending> {
        let ours = octets.first_chunk() == Some(&self.id.to_be_bytes());
        let response = octets.get(2).is_some_and(|flags| flags & 0x80 != 0);
        match Message::from_vec(octets) {
            _ if !ours || !response => {}
            Err(_) => {
                let error = Some("Peer's answer cannot be read");
                return Some(self.ending(State::Failed, error, None));
            }
            Ok(message) if self.is_answered_by(&message) => {
                return Some(self.ending(State::Ok, None, Some(&message)));
            }
            Ok(_) => {}
        }
        self.mismatched = self.mismatched.saturating_add(1);
        None
    }

    fn is_answered_by(&self, message: &Message) -> bool {
        match message.queries.as_slice() {
            [query] => *query == self.query,
            // A server that did not understand the question need not repeat it.
            [] => message.metadata.response_code == ResponseCode::FormErr,
            _ => false,
        }
    }

    fn ending(
        &self,
        state: State,
        error: Option<&'static str>,
        answer: Option<&Message>,
    ) -> Ending {
        let mut reply = Reply { dns_reply_mismatched: Some(self.mismatched), ..Reply::default() };
        if let Some(message) = answer {
            reply.dns_reply_rcode = Some(message.metadata.response_code.into());
            reply.dns_reply_truncated = Some(message.metadata.truncation);
            reply.dns_reply_authoritative = Some(message.metadata.authoritative);
            reply.dns_reply_answers = u16::try_from(message.answers.len()).ok();
            reply.dns_reply_addresses = Some(addresses(message));
        }
        let stage = if answer.is_some() { Stage::Done } else { Stage::Response };
        Ending { reply: Some(Box::new(reply)), ..Ending::new(state, stage, error) }
    }
}

/// The addresses of an answer, in an order that does not depend on that of the answer.
fn addresses(message: &Message) -> String {
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    let mut all: Vec<IpAddr> =
        message.answers.iter().filter_map(|record| address(&record.data)).collect();
    all.sort_unstable();
    all.truncate(MOST_ADDRESSES);
    all.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(" ")
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
            Event::PeerClosed => Some(self.ending(State::Failed, error, None)),
            Event::TimedOut => Some(self.ending(State::Timeout, None, None)),
            Event::Failed(fault) => {
                let state = Ending::failed(fault, Stage::Response).state;
                Some(self.ending(state, Some(fault.word), None))
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
