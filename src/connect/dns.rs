//! Kinds `dns_udp` and `dns_tcp`: one query to a name server (RFC 1035).
//!
//! The query is a [`Query`]: for the target's name unless the measurement names another one. The target counts as
//! reached when an answer with our identifier and our question arrives, whatever it says. An RCODE other than 0 is
//! recorded as the answer. Messages with a different identifier or question are skipped and counted. Queries are not
//! retried, since a retry would hide what the path did to the first one.
//!
//! # Forged answers
//!
//! Over UDP, an off-path host can send messages from the target's address. It does not see the query, so it
//! must guess the source port, the identifier (16 bits) and the case of each letter of the name
//! (draft-vixie-dnsext-dns0x20), all of which are random. A message that matches all of them is the answer.
//!
//! Some servers and middleboxes return the name in lower case, and some report an error with a header but
//! no question. Such an answer is a partial match: it is kept while the machine waits for a full match. At
//! the timeout, it is the answer if no wrong message came. An off-path host has only one guess, since its first
//! wrong guess reveals it; the attempt is then inconclusive ([`MAY_BE_FORGED`]). So an off-path host cannot make
//! such a server look silent.
//!
//! A second query without random case would not help: an off-path host can guess the answer to that one, too.
//!
//! Over TCP the kernel's sequence numbers keep off-path hosts out. The case is not random, and a partial match is
//! the answer at once.
//!
//! # Memory
//!
//! Over UDP at most one partial match is kept, as its [`Reply`]. Over TCP one incomplete message of at most 64 KiB
//! is kept, and at most [`MOST_BYTES`] are read in all. Parsing a message takes at most
//! [`MOST_TRANSIENT`](super::kind::MOST_TRANSIENT) octets, which are freed before the next event. At most 32
//! addresses of an answer are kept.

use std::net::IpAddr;

use super::answer::{Answer, DNS_BAD_ANSWER, DNS_INCOMPLETE, DNS_TOO_LONG};
use super::cost::{Part, segment, stream};
use super::facts::{Reply, Stage, State};
use super::kind::{KindDef, Transport};
use super::machine::{Action, Ending, Event, Machine, Peer};
use super::options::{EDNS, Options, QNAME, QUESTION, TFO};
use super::query::Query;
use super::tcp::{self, MOST_BYTES};
use crate::packet::dns::{DO, Data, Fit, Message};

/// The row of the kind over TCP.
pub(super) const OVER_TCP: KindDef = KindDef {
    name: "dns_tcp",
    doc: "send one query to a name server over TCP, for the target's name or example.org",
    port: 53,
    options: &[&TFO, &QUESTION, &QNAME, &EDNS],
    columns: &[
        "dns_reply_rcode",
        "dns_reply_answers",
        "dns_reply_addresses",
        "dns_reply_octets",
        "dns_reply_truncated",
        "dns_reply_authoritative",
        "dns_reply_edns_version",
        "dns_reply_edns_flags",
        "dns_reply_edns_do",
        "dns_reply_edns_buffer",
        "dns_reply_edns_padding",
        "dns_reply_mismatched",
        "dns_reply_case_kept",
    ],
    memory: 4 * MOST_BYTES,
    handshake_is_ok: false,
    start: |options, peer| Ok(Box::new(Dns::new(options, peer, true)?)),
    cost: |options, timeout| {
        let (usual, _) = query(options).octets();
        stream(timeout, MOST_BYTES, vec![segment(timeout, "query", 2 + usual, "sent once")])
    },
    ..tcp::BASE
};

/// The row of the kind over UDP.
pub(super) const OVER_UDP: KindDef = KindDef {
    name: "dns_udp",
    doc: "send one query to a name server over UDP, for the target's name or example.org",
    transport: Transport::Udp,
    options: &[&QUESTION, &QNAME, &EDNS],
    memory: 8 << 10,
    start: |options, peer| Ok(Box::new(Dns::new(options, peer, false)?)),
    cost: |options, _| {
        let (usual, most) = query(options).octets();
        vec![Part {
            packet: "query",
            usual: 1,
            most: 1,
            octets: (20 + 8 + usual, 40 + 8 + most),
            why: "sent once, even without an answer".into(),
        }]
    },
    ..OVER_TCP
};

/// The query that options describe.
fn query(options: &Options) -> Query {
    let plain = Query::default();
    Query {
        of: options.word(&QUESTION).unwrap_or(plain.of),
        name: options.text(&QNAME).map(str::to_owned),
        edns: options.edns(),
    }
}

/// The error of an inconclusive attempt: the only answer is a partial match, and wrong messages came, too.
pub const MAY_BE_FORGED: &str = "Answer may be forged";

/// The most addresses kept of an answer.
const MOST_ADDRESSES: usize = 32;

/// The messages received that are not certain to be the answer.
#[derive(Debug, Default)]
pub(super) struct Doubtful {
    /// Messages that do not match.
    pub(super) wrong: u32,
    /// How the attempt ends if no full match follows the first partial match.
    partial: Option<Ending>,
}

impl Doubtful {
    /// Counts a message that does not match.
    pub(super) fn wrong(&mut self) {
        self.wrong = self.wrong.saturating_add(1);
    }

    /// Keeps the ending that a partial match would lead to, unless there is an earlier one.
    pub(super) fn partial(&mut self, ending: Ending) {
        self.partial.get_or_insert(ending);
    }

    /// How the attempt ends when nothing more can come; `None` if no message matches, not even partially.
    pub(super) fn end(&mut self) -> Option<Ending> {
        let ending = self.partial.take()?;
        let state = State::LocalError;
        Some(match self.wrong {
            0 => ending,
            _ => Ending::new(state, Stage::Response, Some(MAY_BE_FORGED)),
        })
    }
}

/// One query.
#[derive(Debug)]
pub struct Dns {
    /// The query as a message.
    query: Vec<u8>,
    /// The octets still to be sent.
    message: Vec<u8>,
    over_tcp: bool,
    /// Over TCP: octets of an incomplete message.
    stream: Vec<u8>,
    connected: bool,
    doubtful: Doubtful,
    /// Octets received.
    bytes: usize,
}

impl Dns {
    /// The query for a peer.
    ///
    /// # Errors
    ///
    /// If the target's name cannot be queried; in the words of the `error` column.
    pub(super) fn new(
        options: &Options,
        peer: Peer<'_>,
        over_tcp: bool,
    ) -> Result<Self, &'static str> {
        let octets = query(options).message(peer, !over_tcp, None)?;
        let mut message = Vec::with_capacity(octets.len() + 2);
        if over_tcp {
            let length = u16::try_from(octets.len()).map_err(|_| "Query is too long")?;
            message.extend(length.to_be_bytes());
        }
        message.extend(&octets);
        Ok(Self {
            query: octets,
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
        // Each message is preceded by its length in two octets (RFC 1035, 4.2.2).
        while let Some((length, after)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((message, after)) = after.split_at_checked(length) else { break };
            if let Some(ending) = self.read(message) {
                return Some(ending);
            }
            rest = after;
        }
        let read = stream.len() - rest.len();
        stream.drain(..read);
        self.stream = stream;
        let too_much = Some("Peer sent too much");
        (!over.is_empty()).then(|| self.without(State::Failed, too_much, Some(DNS_TOO_LONG)))
    }

    /// Handles one message.
    fn read(&mut self, octets: &[u8]) -> Option<Ending> {
        let (Some(message), Some(query)) = (Message::read(octets), Message::read(&self.query))
        else {
            self.doubtful.wrong();
            return None;
        };
        let fit = message.fit(&query);
        let ending = match fit {
            Fit::Answer | Fit::Partial => {
                let keeps = (!self.over_tcp && message.question.is(&query.question))
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

    /// The ending for a message that is the answer. `keeps_case` says whether it repeats the name letter by letter.
    fn answered(&self, message: &Message<'_>, keeps_case: Option<bool>) -> Ending {
        let mut addresses = Vec::new();
        for record in message.records() {
            match record.map(|record| record.data) {
                Ok(Data::Address(address)) => addresses.push(address),
                Ok(_) => {}
                // A truncated message may end anywhere.
                Err(_) if message.truncated || message.rcode != 0 => break,
                Err(_) => return self.bad_answer(),
            }
        }
        let opt = message.opt();
        let rcode = message.whole_rcode(opt);
        let reply = Reply {
            dns_reply_rcode: Some(rcode),
            dns_reply_answers: Some(message.answers.into()),
            dns_reply_addresses: Some(text(addresses)),
            dns_reply_octets: u16::try_from(message.octets()).ok(),
            dns_reply_truncated: Some(message.truncated),
            dns_reply_authoritative: Some(message.authoritative),
            dns_reply_edns_version: opt.map(|opt| opt.version),
            dns_reply_edns_flags: opt.map(|opt| opt.flags),
            dns_reply_edns_do: opt.map(|opt| opt.flags & DO != 0),
            dns_reply_edns_buffer: opt.map(|opt| opt.buffer),
            dns_reply_edns_padding: opt.and_then(|opt| opt.padding),
            dns_reply_mismatched: Some(self.doubtful.wrong),
            dns_reply_case_kept: keeps_case,
            ..Reply::default()
        };
        let ending = Ending::new(State::Ok, Stage::Done, None);
        let ending = ending.answered(Answer::of_rcode(rcode));
        Ending { reply: Some(Box::new(reply)), ..ending }
    }

    /// The ending for an answer that cannot be parsed.
    fn bad_answer(&self) -> Ending {
        let error = Some("Peer's answer is malformed");
        self.without(State::Failed, error, Some(DNS_BAD_ANSWER))
    }

    /// An ending without an answer that can be parsed.
    fn without(&self, state: State, error: Option<&'static str>, answer: Option<Answer>) -> Ending {
        self.counted(Ending::new(state, Stage::Response, error).answered(answer))
    }

    /// Adds a reply with the count of wrong messages, unless the ending has a reply.
    fn counted(&self, ending: Ending) -> Ending {
        let counted =
            || Reply { dns_reply_mismatched: Some(self.doubtful.wrong), ..Reply::default() };
        let reply = ending.reply.unwrap_or_else(|| Box::new(counted()));
        Ending { reply: Some(reply), ..ending }
    }

    /// How the attempt ends with a partial match, if one came.
    fn partly(&mut self) -> Option<Ending> {
        let ending = self.doubtful.end()?;
        Some(self.counted(ending))
    }

    /// What the peer has answered when the time or the connection ends: over TCP, part of a message.
    fn partial(&self) -> Option<Answer> {
        (!self.stream.is_empty()).then_some(DNS_INCOMPLETE)
    }
}

/// Addresses in an order that does not depend on the answer's.
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
        out.append(&mut std::mem::take(&mut self.message));
    }
}

#[cfg(test)]
mod tests;
