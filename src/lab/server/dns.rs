//! DNS of a lab's server: it answers for every name with its own addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType, rdata};

use super::{Session, Then};
use crate::lab::spec::Answers;

/// The address of every name in the family other than that of the query (RFC 5737, RFC 3849).
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 53);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);
/// The lifetime of an answer in seconds.
const TTL: u32 = 60;

/// The answer to a question that was sent to an address; `None` if it is not a question.
pub(super) fn answer(question: &[u8], asked: IpAddr, answers: Answers) -> Option<Vec<u8>> {
    let question = Message::from_vec(question).ok()?;
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
        Answers::Servfail => answer.metadata.response_code = ResponseCode::ServFail,
        Answers::LowerCase => {
            query.set_name(query.name().to_lowercase());
        }
        Answers::Right | Answers::Silent => {}
    }
    let data = match (query.query_type(), asked) {
        _ if answers == Answers::Servfail => None,
        (RecordType::A, IpAddr::V4(own)) => Some(RData::A(rdata::A(own))),
        (RecordType::A, IpAddr::V6(_)) => Some(RData::A(rdata::A(V4))),
        (RecordType::AAAA, IpAddr::V6(own)) => Some(RData::AAAA(rdata::AAAA(own))),
        (RecordType::AAAA, IpAddr::V4(_)) => Some(RData::AAAA(rdata::AAAA(V6))),
        _ => None,
    };
    if let Some(data) = data {
        answer.add_answer(Record::from_rdata(query.name().clone(), TTL, data));
    }
    answer.add_query(query);
    answer.to_vec().ok()
}

/// Questions over TCP, each with two octets of length in front (RFC 1035, 4.2.2).
pub(super) struct Stream {
    asked: IpAddr,
    answers: Answers,
    /// An incomplete question: shorter than a length can say.
    buffer: Vec<u8>,
}

impl Stream {
    pub(super) fn new(asked: IpAddr, answers: Answers) -> Self {
        Self { asked, answers, buffer: Vec::new() }
    }
}

impl Session for Stream {
    fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Then {
        self.buffer.extend_from_slice(bytes);
        while let Some((length, rest)) = self.buffer.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(question) = rest.get(..length) else { break };
            if let Some(answer) = answer(question, self.asked, self.answers)
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
