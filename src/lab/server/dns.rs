//! DNS of a lab's server: it answers for every name with its own addresses, and speaks EDNS (RFC 6891).
//!
//! A name whose first label is `octets-N` has a TXT record with which the answer has N octets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};

use super::{Session, Then};
use crate::lab::spec::Answers;

/// The address of every name in the family other than that of the query (RFC 5737, RFC 3849).
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);
/// The lifetime of an answer in seconds.
const TTL: u32 = 60;

/// The largest answer over UDP without EDNS, and with it.
const PLAIN: usize = 512;
const LARGEST: usize = 4096;
/// The largest answer that the server receives, as it announces by EDNS.
const BUFFER: u16 = 1232;
/// A padded query gets an answer that is padded to a multiple of this many octets (RFC 8467, 4.1).
const BLOCK: usize = 468;
/// The longest text that a name can have.
const LONGEST: usize = 60_000;
/// The largest message over TCP.
const MOST: usize = u16::MAX as usize;

/// The answer to a question over UDP that was sent to an address; `None` if it is not a question.
pub(super) fn answer(question: &[u8], asked: IpAddr, answers: Answers) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
    let edns = question.edns.as_ref().filter(|_| answers != Answers::NoEdns);
    let room = edns.map_or(PLAIN, |edns| usize::from(edns.max_payload()).clamp(PLAIN, LARGEST));
    whole(&question, asked, answers, room)
}

/// The correct answer to a question, of one packet.
pub(super) fn short_answer(question: &[u8], asked: IpAddr) -> Option<Vec<u8>> {
    whole(&Message::from_vec(question).ok()?, asked, Answers::Right, PLAIN)
}

/// The answer to a question, of at most `room` octets.
fn whole(question: &Message, asked: IpAddr, answers: Answers, room: usize) -> Option<Vec<u8>> {
    let [query] = question.queries.as_slice() else { return None };
    if question.metadata.message_type != MessageType::Query || answers == Answers::Silent {
        return None;
    }
    let mut answer = Message::new(question.metadata.id, MessageType::Response, OpCode::Query);
    answer.metadata.recursion_desired = question.metadata.recursion_desired;
    answer.metadata.recursion_available = true;
    answer.metadata.authoritative = true;
    let mut query = query.clone();
    match answers {
        Answers::OtherId => answer.metadata.id = !answer.metadata.id,
        Answers::OtherQuestion => {
            query.set_name(Name::from_ascii("other.example.").ok()?);
        }
        Answers::Refused => {
            answer.metadata.response_code = ResponseCode::Refused;
            return answer.to_vec().ok();
        }
        Answers::EdnsFormerr if question.edns.is_some() => {
            answer.metadata.response_code = ResponseCode::FormErr;
            return answer.to_vec().ok();
        }
        Answers::Servfail => answer.metadata.response_code = ResponseCode::ServFail,
        Answers::LowerCase => {
            query.set_name(query.name().to_lowercase());
        }
        Answers::Right | Answers::Silent | Answers::NoEdns | Answers::EdnsFormerr => {}
    }
    let edns = question.edns.as_ref().filter(|_| answers != Answers::NoEdns);
    if let Some(edns) = edns {
        let mut own = Edns::new();
        own.set_max_payload(BUFFER).set_dnssec_ok(edns.flags().dnssec_ok);
        answer.set_edns(own);
        if edns.version() > 0 {
            answer.metadata.response_code = ResponseCode::BADVERS;
        }
    }
    answer.add_query(query.clone());
    if answer.metadata.response_code == ResponseCode::NoError {
        fill(&mut answer, &query, asked)?;
        if edns.is_some_and(|edns| edns.option(EdnsCode::Padding).is_some()) {
            pad(&mut answer);
        }
    }
    let octets = answer.to_vec().ok()?;
    if octets.len() <= room {
        return Some(octets);
    }
    answer.answers.clear();
    answer.metadata.truncation = true;
    answer.to_vec().ok()
}

/// Adds the records of a name.
fn fill(answer: &mut Message, query: &Query, asked: IpAddr) -> Option<()> {
    let data = match (query.query_type(), asked) {
        (RecordType::A, IpAddr::V4(own)) => RData::A(rdata::A(own)),
        (RecordType::A, IpAddr::V6(_)) => RData::A(rdata::A(V4)),
        (RecordType::AAAA, IpAddr::V6(own)) => RData::AAAA(rdata::AAAA(own)),
        (RecordType::AAAA, IpAddr::V4(_)) => RData::AAAA(rdata::AAAA(V6)),
        (RecordType::TXT, _) => {
            let Some(octets) = stated(query.name()) else { return Some(()) };
            answer.add_answer(Record::from_rdata(query.name().clone(), TTL, text(1)));
            let shortest = answer.to_vec().ok()?.len();
            answer.answers.clear();
            text((octets + 1).saturating_sub(shortest).max(1))
        }
        _ => return Some(()),
    };
    answer.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
    Some(())
}

/// The octets that a name states: its first label is `octets-N`.
fn stated(name: &Name) -> Option<usize> {
    let label = std::str::from_utf8(name.iter().next()?).ok()?.to_ascii_lowercase();
    let octets: usize = label.strip_prefix("octets-")?.parse().ok()?;
    Some(octets.min(LONGEST))
}

/// Texts that take this many octets, at least one: each has an octet with its length in front.
fn text(mut octets: usize) -> RData {
    let mut texts = Vec::new();
    while octets > 0 {
        let length = (octets - 1).min(u8::MAX.into());
        octets -= length + 1;
        texts.push("x".repeat(length));
    }
    RData::TXT(rdata::TXT::new(texts))
}

/// Pads an answer with EDNS.
fn pad(answer: &mut Message) {
    const OPTION: usize = 4;
    let Ok(octets) = answer.to_vec() else { return };
    let length = octets.len() + OPTION;
    let padding = length.next_multiple_of(BLOCK) - length;
    if let Some(edns) = &mut answer.edns {
        let code = u16::from(EdnsCode::Padding);
        edns.options_mut().insert(EdnsOption::Unknown(code, vec![0; padding]));
    }
}

/// Questions over TCP, each with two octets of length in front (RFC 1035, 4.2.2).
pub(super) struct Stream {
    asked: IpAddr,
    answers: Answers,
    /// Octets of the largest answer.
    room: usize,
    /// An incomplete question: shorter than a length can say.
    buffer: Vec<u8>,
}

impl Stream {
    pub(super) fn new(asked: IpAddr, answers: Answers) -> Self {
        Self { asked, answers, room: MOST, buffer: Vec::new() }
    }

    /// With correct answers of one packet.
    pub(super) fn short(asked: IpAddr) -> Self {
        Self { room: PLAIN, ..Self::new(asked, Answers::Right) }
    }
}

impl Session for Stream {
    fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Then {
        self.buffer.extend_from_slice(bytes);
        while let Some((length, rest)) = self.buffer.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(question) = rest.get(..length) else { break };
            if let Ok(question) = Message::from_vec(question)
                && let Some(answer) = whole(&question, self.asked, self.answers, self.room)
                && let Ok(length) = u16::try_from(answer.len())
            {
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(&answer);
            }
            self.buffer.drain(..2 + length);
        }
        Then::Wait
    }
}
