//! DNS queries and their answers: messages only, no sockets and no clock.
//!
//! A stub resolver's part of RFC 1035 and 5452: the answer must have the identifier and the
//! question that were sent, each letter in its random case (draft-vixie-dnsext-dns0x20), and the recursive server has
//! followed every CNAME.

use std::net::IpAddr;

use hickory_proto::op::{self, Query};
use hickory_proto::rr::{Name, RecordType};
use serde::{Deserialize, Serialize};

use crate::barrier::guard;
use crate::packet::dns::{self, Data, Fit, Message, randomize_case};
use crate::targets;

/// Maximum number of CNAMEs followed within an answer.
const LONGEST_CHAIN: usize = 16;

/// The address family of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4: A records.
    V4,
    /// IPv6: AAAA records.
    V6,
}

impl Family {
    /// 4 or 6.
    pub fn number(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }

    /// Whether an address is of this family.
    fn has(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Family::V4)
    }

    fn record(self) -> RecordType {
        match self {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        }
    }
}

/// Why a question has no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// There is no such name.
    Nxdomain,
    /// The name exists, but has no address of this family.
    NoAddress,
    /// Only addresses that cannot be connected to.
    UnusableAddress,
    /// A CNAME loop, or too many CNAMEs.
    CnameLoop,
    /// The server failed (RFC 1035, 4.1.1: RCODE 2), each time.
    Servfail,
    /// The server refused (RCODE 5), each time.
    Refused,
    /// The server could not parse the query (RCODE 1), each time.
    Formerr,
    /// The server does not support such queries (RCODE 4), each time.
    Notimp,
    /// Another RCODE, each time.
    OtherRcode,
    /// An answer that could not be read.
    BadAnswer,
    /// No answer in time, each time.
    Timeout,
    /// The server cannot be reached.
    Unreachable,
    /// The text is not a valid name; no query was sent.
    BadName,
}

impl Reason {
    /// The word in reports, and what it means.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Reason::Nxdomain => ("nxdomain", "no such name"),
            Reason::NoAddress => ("no_address", "a name without an address"),
            Reason::UnusableAddress => {
                ("unusable_address", "only addresses that cannot be connected to")
            }
            Reason::CnameLoop => ("cname_loop", "a loop of aliases, or too many"),
            Reason::Servfail => ("servfail", "the resolver failed"),
            Reason::Refused => ("refused", "the resolver refused"),
            Reason::Formerr => ("formerr", "the resolver could not parse the query"),
            Reason::Notimp => ("notimp", "the resolver does not support such queries"),
            Reason::OtherRcode => ("other_rcode", "the resolver answered with another error"),
            Reason::BadAnswer => ("bad_answer", "an answer that cannot be read"),
            Reason::Timeout => ("timeout", "no answer in time"),
            Reason::Unreachable => ("unreachable", "the resolver cannot be reached"),
            Reason::BadName => ("bad_name", "not a name"),
        }
    }

    /// Whether this is an answer of the DNS: a retry would give the same.
    pub fn is_answer(self) -> bool {
        matches!(
            self,
            Reason::Nxdomain | Reason::NoAddress | Reason::UnusableAddress | Reason::CnameLoop
        )
    }
}

/// The relation of a datagram or TCP message to a query.
#[derive(Debug, PartialEq, Eq)]
pub enum Reply {
    /// Not the answer: another identifier or question, or not a response.
    Stranger,
    /// Truncated: retry over TCP.
    Truncated,
    /// Distinct addresses in the server's order; never empty.
    Addresses(Vec<IpAddr>),
    /// No address, and why.
    Nothing(Reason),
    /// A reply that matches the query only in part, so that an off-path host could have guessed it.
    Partial(Box<Reply>),
}

/// A query, with a fresh identifier each time it is sent.
#[derive(Debug, Clone)]
pub struct Question {
    query: Query,
    family: Family,
    /// The last message sent.
    asked: Vec<u8>,
}

impl Question {
    /// A query for the addresses of a name; `None` if the name is invalid.
    pub fn new(name: &str, family: Family) -> Option<Self> {
        let mut name = Name::from_ascii(name).ok()?;
        name.set_fqdn(true);
        Some(Self { query: Query::query(name, family.record()), family, asked: Vec::new() })
    }

    /// The message with a new random identifier, and a new random case of its letters.
    pub fn message(&mut self) -> Option<Vec<u8>> {
        let mut message = op::Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(self.query.clone());
        self.asked = message.to_vec().ok()?;
        randomize_case(&mut self.asked, rand::random());
        Some(self.asked.clone())
    }

    /// Classifies a message.
    pub fn reply(&self, octets: &[u8]) -> Reply {
        guard(|| self.read(octets)).unwrap_or_else(|panic| {
            panic.report("an answer of a resolver was dropped");
            Reply::Nothing(Reason::BadAnswer)
        })
    }

    fn read(&self, octets: &[u8]) -> Reply {
        let (Some(asked), Some(message)) = (Message::read(&self.asked), Message::read(octets))
        else {
            return Reply::Stranger;
        };
        let bad = Reply::Nothing(Reason::BadAnswer);
        match message.fit(&asked) {
            Fit::Answer => self.rcode(&message),
            Fit::Partial => Reply::Partial(Box::new(self.rcode(&message))),
            Fit::Unreadable if message.truncated => Reply::Partial(Box::new(Reply::Truncated)),
            Fit::Unreadable => Reply::Partial(Box::new(bad)),
            Fit::Stranger => Reply::Stranger,
        }
    }

    /// The reply of a matching answer, by its RCODE.
    fn rcode(&self, message: &Message<'_>) -> Reply {
        match message.rcode {
            _ if message.truncated => Reply::Truncated,
            0 => self.addresses(message),
            1 => Reply::Nothing(Reason::Formerr),
            2 => Reply::Nothing(Reason::Servfail),
            3 => Reply::Nothing(Reason::Nxdomain),
            4 => Reply::Nothing(Reason::Notimp),
            5 => Reply::Nothing(Reason::Refused),
            _ => Reply::Nothing(Reason::OtherRcode),
        }
    }

    /// The addresses at the end of the CNAMEs.
    fn addresses(&self, message: &Message<'_>) -> Reply {
        let Ok(records) = message.records().collect::<Result<Vec<_>, _>>() else {
            return Reply::Nothing(Reason::BadAnswer);
        };
        let dns::Question::One { name, .. } = message.question else {
            return Reply::Nothing(Reason::BadAnswer);
        };
        let name = name.to_ascii_lowercase();
        let mut name = &name;
        for _ in 0..=LONGEST_CHAIN {
            let mut found = Vec::new();
            let mut unusable = false;
            let mut alias = None;
            for record in records.iter().filter(|record| record.owner == *name) {
                let address = match &record.data {
                    Data::Address(address) if self.family.has(address) => *address,
                    Data::Alias(target) => {
                        alias = Some(target);
                        continue;
                    }
                    _ => continue,
                };
                match targets::usable(address) {
                    Ok(address) if !found.contains(&address) => found.push(address),
                    Ok(_) => {}
                    Err(_) => unusable = true,
                }
            }
            match alias {
                _ if !found.is_empty() => return Reply::Addresses(found),
                _ if unusable => return Reply::Nothing(Reason::UnusableAddress),
                Some(target) => name = target,
                None => return Reply::Nothing(Reason::NoAddress),
            }
        }
        Reply::Nothing(Reason::CnameLoop)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
    use hickory_proto::rr::rdata::{A, AAAA, CNAME};
    use hickory_proto::rr::{RData, Record};

    use super::*;
    use crate::packet::dns::HEADER;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    /// The question for `www.example.org` and a right answer to it with these records.
    fn answered(records: &[(&str, RData)]) -> (Question, Message) {
        let mut question = Question::new("www.example.org", Family::V4).unwrap();
        let asked = Message::from_vec(&question.message().unwrap()).unwrap();
        assert!(asked.metadata.recursion_desired);
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        answer.add_queries(asked.queries);
        for (owner, data) in records {
            answer.add_answer(Record::from_rdata(name(owner), 60, data.clone()));
        }
        (question, answer)
    }

    fn a(last: u8) -> RData {
        RData::A(A(Ipv4Addr::new(192, 0, 2, last)))
    }

    fn cname(to: &str) -> RData {
        RData::CNAME(CNAME(name(to)))
    }

    fn reply(records: &[(&str, RData)]) -> Reply {
        let (question, answer) = answered(records);
        question.reply(&answer.to_vec().unwrap())
    }

    #[test]
    fn answers() {
        let www = "WWW.example.org.";
        let ip = |last| IpAddr::from([192, 0, 2, last]);
        assert_eq!(
            reply(&[(www, a(2)), (www, a(1)), (www, a(2))]),
            Reply::Addresses(vec![ip(2), ip(1)])
        );
        // In any order, without records that the name does not lead to.
        let chain = [
            ("b.example.", a(3)),
            ("x.example.", a(9)),
            (www, cname("a.example.")),
            ("a.example.", cname("b.example.")),
        ];
        assert_eq!(reply(&chain), Reply::Addresses(vec![ip(3)]));
        let none = Reply::Nothing(Reason::NoAddress);
        assert_eq!(reply(&[]), none);
        assert_eq!(reply(&[("x.example.", a(1))]), none);
        assert_eq!(reply(&[(www, cname("a.example."))]), none);
        assert_eq!(reply(&[(www, RData::AAAA(AAAA("2001:db8::1".parse().unwrap())))]), none);
        let circle = [(www, cname("a.example.")), ("a.example.", cname(www))];
        assert_eq!(reply(&circle), Reply::Nothing(Reason::CnameLoop));
        let zero = RData::A(A(Ipv4Addr::UNSPECIFIED));
        assert_eq!(reply(&[(www, zero.clone())]), Reply::Nothing(Reason::UnusableAddress));
        assert_eq!(reply(&[(www, zero), (www, a(1))]), Reply::Addresses(vec![ip(1)]));
    }

    #[test]
    fn rcodes() {
        for (code, reason) in [
            (ResponseCode::NXDomain, Reason::Nxdomain),
            (ResponseCode::ServFail, Reason::Servfail),
            (ResponseCode::Refused, Reason::Refused),
            (ResponseCode::FormErr, Reason::Formerr),
            (ResponseCode::NotImp, Reason::Notimp),
            (ResponseCode::NotAuth, Reason::OtherRcode),
        ] {
            let (question, mut answer) = answered(&[]);
            answer.metadata.response_code = code;
            let whole = answer.to_vec().unwrap();
            assert_eq!(question.reply(&whole), Reply::Nothing(reason));
            // The header alone, as many servers refuse.
            let partial = || Reply::Partial(Box::new(Reply::Nothing(reason)));
            assert_eq!(question.reply(&whole[..HEADER]), partial());
            answer.queries.clear();
            assert_eq!(question.reply(&answer.to_vec().unwrap()), partial());
        }
    }

    #[test]
    fn messages_that_do_not_match() {
        let (question, answer) = answered(&[("www.example.org.", a(1))]);
        let right = answer.to_vec().unwrap();
        assert!(matches!(question.reply(&right), Reply::Addresses(_)));
        let change = |change: &dyn Fn(&mut Message)| {
            let mut other = answer.clone();
            change(&mut other);
            question.reply(&other.to_vec().unwrap())
        };
        let stranger = Reply::Stranger;
        assert_eq!(change(&|m| m.metadata.id ^= 1), stranger);
        assert_eq!(change(&|m| m.metadata.message_type = MessageType::Query), stranger);
        assert_eq!(change(&|m| m.queries.clear()), stranger);
        assert_eq!(change(&|m| _ = m.queries[0].set_name(name("ww.example.org."))), stranger);
        assert_eq!(change(&|m| _ = m.queries[0].set_query_type(RecordType::AAAA)), stranger);
        assert_eq!(change(&|m| m.queries.push(m.queries[0].clone())), stranger);
        for length in 0..right.len() {
            let _ = question.reply(&right[..length]); // no panic on anything
        }
    }

    #[test]
    fn a_message_cut_within_a_record_is_truncated() {
        let (question, mut answer) = answered(&[("www.example.org.", a(1))]);
        answer.metadata.truncation = true;
        let whole = answer.to_vec().unwrap();
        assert_eq!(question.reply(&whole), Reply::Truncated);
        assert_eq!(question.reply(&whole[..whole.len() - 2]), Reply::Truncated);
        answer.metadata.truncation = false;
        let whole = answer.to_vec().unwrap();
        let bad = || Reply::Nothing(Reason::BadAnswer);
        assert_eq!(question.reply(&whole[..whole.len() - 2]), bad());
        for length in [HEADER, HEADER + 3] {
            assert_eq!(question.reply(&whole[..length]), Reply::Partial(Box::new(bad())));
        }
    }

    #[test]
    fn each_message_has_a_random_case_that_its_answer_must_repeat() {
        let (mut question, answer) = answered(&[("www.example.org.", a(1))]);
        let found = || Reply::Addresses(vec![[192, 0, 2, 1].into()]);
        let mut octets = answer.to_vec().unwrap();
        assert_eq!(question.reply(&octets), found());
        octets[HEADER + 1] ^= 0x20;
        assert_eq!(question.reply(&octets), Reply::Partial(Box::new(found())));
        // 13 letters: two of 20 messages in the same case are all but impossible.
        let mut messages: Vec<_> =
            (0..20).map(|_| question.message().unwrap()[HEADER..].to_vec()).collect();
        messages.sort_unstable();
        messages.dedup();
        assert!(messages.len() > 15, "{}", messages.len());
    }

    #[test]
    fn unreadable_later_sections_do_not_hide_answers() {
        let (question, answer) = answered(&[("www.example.org.", a(1))]);
        let mut octets = answer.to_vec().unwrap();
        // One record in each of the sections authority and additional, neither of which can be read.
        octets[8..12].copy_from_slice(&[0, 1, 0, 1]);
        octets.extend_from_slice(b"\xff\xff\xff");
        assert_eq!(question.reply(&octets), Reply::Addresses(vec![[192, 0, 2, 1].into()]));
    }

    #[test]
    fn every_message_of_a_name_server_has_a_reason() {
        let cases: toml::Table = include_str!("../../tests/answers/dns.toml").parse().unwrap();
        for case in cases["case"].as_array().unwrap() {
            let text = |key: &str| case[key].as_str().unwrap();
            let mut question = Question::new("example.org", Family::V4).unwrap();
            let asked = question.message().unwrap();
            let octets: Vec<u8> = text("message")
                .split_whitespace()
                .flat_map(|word| match word {
                    "ID" => asked[..2].to_vec(),
                    "Q" => asked[HEADER..].to_vec(),
                    _ => (0..word.len())
                        .step_by(2)
                        .map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap())
                        .collect(),
                })
                .collect();
            let reply = match question.reply(&octets) {
                Reply::Partial(reply) => *reply,
                reply => reply,
            };
            let said = match reply {
                Reply::Partial(_) => "partial",
                Reply::Stranger => "stranger",
                Reply::Truncated => "truncated",
                Reply::Addresses(_) => "addresses",
                Reply::Nothing(reason) => reason.words().0,
            };
            assert_eq!(said, text("resolve"), "{}", text("name"));
        }
    }
}
