//! What peers answer, and what is made of it: the tables in `tests/answers`, without sockets and in virtual time.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

#[path = "captures/packet.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod packet;

use std::fmt::Write as _;
use std::fs;

use arrow_array::{Array as _, RecordBatch, cast::AsArray as _};
use arrow_schema::{Field, Schema};
use pathspider::chain::Selection;
use pathspider::connect::{self, Action, Ending, Event, Options, Peer, Reply};
use pathspider::field::Timestamp;
use pathspider::observer::{FlowTable, Limits};
use pathspider::packet::{Link, dissect};
use serde::Deserialize;

fn read<T: for<'a> Deserialize<'a>>(name: &str) -> T {
    let path = format!("{}/tests/answers/{name}", env!("CARGO_MANIFEST_DIR"));
    toml::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// How an attempt of a kind ends by the first event that ends it; `question` gets what is sent first.
fn play(kind: &str, events: &[Event<'_>], question: &mut Vec<u8>) -> Ending {
    let kind = connect::kind(kind).unwrap();
    let (address, random) = ([192, 0, 2, 1].into(), 0x1234);
    let peer = Peer { address, port: 80, name: None, random };
    let mut machine = connect::start(kind, &Options::default(), peer);
    machine.handle(Event::Connected, question);
    let mut ends = events.iter().map(|event| machine.handle(*event, &mut Vec::new()));
    let ending = ends.find_map(|action| match action {
        Action::Close(ending) => Some(ending),
        _ => None,
    });
    ending.unwrap_or_else(|| panic!("still open after {events:?}"))
}

/// What of a case differs from what was expected, in a line each.
#[derive(Default)]
struct Differences(String);

impl Differences {
    fn compare<T: std::fmt::Debug + PartialEq>(
        &mut self,
        case: &str,
        what: &str,
        is: T,
        expected: T,
    ) {
        if is != expected {
            writeln!(self.0, "{case}: {what} is {is:?}, not {expected:?}").unwrap();
        }
    }

    fn end(self) {
        assert!(self.0.is_empty(), "{}", self.0);
    }
}

fn answer(ending: &Ending) -> Option<&'static str> {
    ending.answer.map(|answer| answer.as_str())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Responses {
    case: Vec<Response>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Response {
    name: String,
    sent: Vec<Part>,
    /// The exit code of curl.
    curl: u8,
    state: String,
    answer: Option<String>,
    status: Option<u16>,
    version: Option<String>,
    body: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Once(String),
    Times(String, usize),
}

impl Response {
    fn octets(&self) -> Vec<u8> {
        let text = self.sent.iter().map(|part| match part {
            Part::Once(text) => text.clone(),
            Part::Times(text, times) => text.repeat(*times),
        });
        text.collect::<String>().chars().map(|letter| u8::try_from(letter).unwrap()).collect()
    }
}

#[test]
fn http_is_read_as_curl_reads_it() {
    let Responses { case: cases } = read("http.toml");
    let mut wrong = Differences::default();
    assert!(cases.len() >= 35);
    for case in &cases {
        let octets = case.octets();
        let of_size = |size: usize| {
            let pieces = octets.chunks(size).map(Event::Data);
            let events: Vec<_> = pieces.chain([Event::PeerClosed]).collect();
            play("http", &events, &mut Vec::new())
        };
        let ending = of_size(1 << 20);
        // What is very long does not get other by being cut octet by octet.
        let sizes: &[usize] = if octets.len() < 10_000 { &[1, 2, 3, 7, 64] } else { &[1000, 1460] };
        for size in sizes {
            assert_eq!(of_size(*size), ending, "{} in pieces of {size}", case.name);
        }
        let mut compare = |what: &str, is: Option<String>, expected: Option<String>| {
            wrong.compare(&case.name, what, is, expected);
        };
        compare("answer", answer(&ending).map(str::to_owned), case.answer.clone());
        compare("state", Some(ending.state.as_str().into()), Some(case.state.clone()));
        if case.curl == 0 {
            compare("state, as of curl,", Some(ending.state.as_str().into()), Some("ok".into()));
        }
        let reply = ending.reply.unwrap_or_default();
        if case.status.is_some() {
            let text = |status: Option<u16>| status.map(|status| status.to_string());
            compare("status", text(reply.http_status), text(case.status));
        }
        if case.version.is_some() {
            compare("version", reply.http_version.map(str::to_owned), case.version.clone());
        }
        if case.body.is_some() {
            compare("body", reply.http_body.clone(), case.body.clone());
        }
        if case.error.is_some() {
            compare("error", ending.error.map(Into::into), case.error.clone());
        }
    }
    wrong.end();
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Messages {
    case: Vec<Message>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    name: String,
    message: String,
    state: String,
    answer: Option<String>,
    rcode: Option<u16>,
    addresses: Option<String>,
    /// For the tests of `targets resolve`, which read the same table.
    #[expect(dead_code, reason = "read by another test")]
    resolve: String,
    /// Whether the observer takes it for the answer.
    valid: bool,
}

impl Message {
    /// Its octets, after a question.
    fn octets(&self, question: &[u8]) -> Vec<u8> {
        let mut octets = Vec::new();
        for word in self.message.split_whitespace() {
            match word {
                "ID" => octets.extend(&question[..2]),
                "Q" => octets.extend(&question[12..]),
                _ => octets.extend(
                    (0..word.len())
                        .step_by(2)
                        .map(|at| u8::from_str_radix(&word[at..at + 2], 16).unwrap()),
                ),
            }
        }
        octets
    }
}

#[test]
fn every_message_of_a_name_server_is_an_answer_or_passed_over() {
    let Messages { case: cases } = read("dns.toml");
    let mut wrong = Differences::default();
    assert!(cases.len() >= 12);
    for (kind, length) in [("dns_udp", 0), ("dns_tcp", 2)] {
        let mut question = Vec::new();
        play(kind, &[Event::TimedOut], &mut question);
        for case in &cases {
            let message = case.octets(&question[length..]);
            let framed = [&(message.len() as u16).to_be_bytes()[..length], &message].concat();
            let events = [Event::Data(&framed), Event::TimedOut];
            let ending = play(kind, &events, &mut Vec::new());
            let name = format!("{} by {kind}", case.name);
            wrong.compare(&name, "state", ending.state.as_str(), &case.state);
            wrong.compare(&name, "answer", answer(&ending), case.answer.as_deref());
            let passed_over = u32::from(case.state == "timeout");
            let reply: Reply = *ending.reply.unwrap();
            wrong.compare(&name, "mismatched", reply.dns_reply_mismatched, Some(passed_over));
            wrong.compare(&name, "RCODE", reply.dns_reply_rcode, case.rcode);
            if case.addresses.is_some() {
                let addresses = reply.dns_reply_addresses.as_deref();
                wrong.compare(&name, "addresses", addresses, case.addresses.as_deref());
            }
        }
    }
    wrong.end();
}

#[test]
fn the_observer_reads_the_same_messages() {
    let Messages { case: cases } = read("dns.toml");
    let (us, them) = ([192, 0, 2, 1], [192, 0, 2, 53]);
    let mut question = Vec::new();
    play("dns_udp", &[Event::TimedOut], &mut question);
    let selection = Selection::everything();
    let fields: Vec<Field> = selection.fields().map(|field| field.arrow()).collect();
    let mut table = FlowTable::new(&selection, Limits::default());
    for (port, case) in (5000..).zip(&cases) {
        let ask = packet::udp(us, them, port, 53, true, &question);
        let answer = packet::udp(them, us, 53, port, true, &case.octets(&question));
        for frame in [ask, answer] {
            let frame = packet::ethernet(&[], &frame);
            let link = Link::from_linktype(1).unwrap();
            table.packet(&dissect(link, &frame, Timestamp(1)).unwrap());
        }
    }
    table.flush(|_| true);
    let flows = table.take().into_flows();
    let batch = RecordBatch::try_new(Schema::new(fields).into(), flows.columns).unwrap();
    let valid = batch.column_by_name("dns_response_valid").unwrap().as_boolean().clone();
    let rcode = batch.column_by_name("dns_rcode").unwrap().clone();
    let rcode = rcode.as_primitive::<arrow_array::types::UInt8Type>();
    let mut wrong = Differences::default();
    assert_eq!(flows.keys.len(), cases.len());
    for (row, key) in flows.keys.iter().enumerate() {
        let case = &cases[usize::from(key.source.1 - 5000)];
        wrong.compare(&case.name, "dns_response_valid", valid.value(row), case.valid);
        if let Some(expected) = case.rcode {
            let is = rcode.is_valid(row).then(|| u16::from(rcode.value(row)));
            wrong.compare(&case.name, "dns_rcode", is, Some(expected));
        }
    }
    wrong.end();
}
