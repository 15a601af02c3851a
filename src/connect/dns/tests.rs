use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::*;
use crate::connect::kind::start;
use crate::connect::options::Value;
use crate::connect::testing::{NO_ROUTE, REFUSED, assert_same_however_cut, mutations, peer, play};
use crate::packet::dns::randomize_case;

const ID: u16 = 0xdef0;

fn machine(over_tcp: bool, question: Option<&'static str>, name: Option<&str>) -> Box<dyn Machine> {
    let kind = if over_tcp { OVER_TCP } else { OVER_UDP };
    let mut options = Options::default();
    question.into_iter().for_each(|word| options.set(&QUESTION, Value::Word(word)));
    start(&kind, &options, peer(53, name))
}

fn udp() -> Box<dyn Machine> {
    machine(false, None, Some("a.example"))
}

fn tcp() -> Box<dyn Machine> {
    machine(true, None, Some("a.example"))
}

fn name(name: &str) -> Name {
    Name::from_ascii(name).unwrap()
}

/// An answer to the query of [`udp`].
fn answer(change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::new(ID, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(name("A.Example."), RecordType::A));
    message.metadata.authoritative = true;
    for data in [
        RData::CNAME(CNAME(name("b.example."))),
        RData::A(A([192, 0, 2, 9].into())),
        RData::A(A([192, 0, 2, 10].into())),
        RData::AAAA(AAAA("2001:db8::1".parse().unwrap())),
    ] {
        message.add_answer(Record::from_rdata(name("a.example."), 60, data));
    }
    change(&mut message);
    let mut octets = message.to_vec().unwrap();
    randomize_case(&mut octets, peer(53, None).random.rotate_right(16));
    octets
}

/// An answer whose name is in lower case.
fn in_lower_case() -> Vec<u8> {
    let mut octets = answer(|_| {});
    randomize_case(&mut octets, 0);
    octets
}

/// An error without the question, if there is an RCODE; otherwise an empty message.
fn header_alone(rcode: ResponseCode) -> Vec<u8> {
    answer(|message| {
        message.metadata.response_code = rcode;
        message.queries.clear();
        message.answers.clear();
    })
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

fn words(ending: &Ending) -> String {
    let reply = ending.reply.clone().unwrap_or_default();
    format!(
        "{} {} {} {:?} {:?} {:?} {:?}",
        ending.state.as_str(),
        ending.stage.as_str(),
        ending.error.as_deref().unwrap_or("-"),
        reply.dns_reply_rcode,
        reply.dns_reply_answers,
        reply.dns_reply_addresses,
        reply.dns_reply_mismatched,
    )
}

#[test]
fn questions() {
    for (over_tcp, question, of, asked) in [
        (false, None, Some("a.example"), "a.example. IN A"),
        (true, Some("AAAA"), Some("B.example."), "b.example. IN AAAA"),
        (false, None, None, "example.org. IN A"),
        (false, None, Some("bücher.example"), "xn--bcher-kva.example. IN A"),
    ] {
        let (mut machine, mut out) = (machine(over_tcp, question, of), Vec::new());
        assert_eq!(machine.handle(Event::Connected, &mut out), Action::Wait);
        assert_eq!(machine.handle(Event::Connected, &mut Vec::new()), Action::Wait);
        let octets = if over_tcp { &out[2..] } else { &out[..] };
        let message = Message::from_vec(octets).unwrap();
        assert_eq!(message.metadata.id, ID);
        assert!(message.metadata.recursion_desired && message.queries.len() == 1);
        let query = &message.queries[0];
        let name = query.name().to_ascii();
        let said = format!("{} {} {}", name, query.query_class(), query.query_type());
        assert!(said.eq_ignore_ascii_case(asked), "{said}");
        // The case of each letter is random, except over TCP.
        let is_mixed = name.to_ascii_lowercase() != name && name.to_ascii_uppercase() != name;
        assert_eq!(is_mixed, !over_tcp, "{name}");
        assert!(!over_tcp || out == framed(octets));
    }
}

#[test]
fn an_answer_is_ours_or_skipped() {
    let right = answer(|_| {});
    let expected = r#"ok done - Some(0) Some(4) Some("192.0.2.9 192.0.2.10 2001:db8::1") Some(0)"#;
    assert_eq!(words(&play(udp(), &[Event::Connected, Event::Data(&right)])), expected);
    let mut machine = udp();
    machine.handle(Event::Connected, &mut Vec::new());
    for wrong in [
        answer(|message| message.metadata.id ^= 1),
        answer(|message| {
            message.queries[0].set_name(name("b.example."));
        }),
        answer(|message| {
            message.queries[0].set_query_type(RecordType::AAAA);
        }),
        answer(|message| message.queries.clear()),
        answer(|message| {
            message.queries[0].set_query_class(hickory_proto::rr::DNSClass::CH);
        }),
        answer(|message| message.metadata.message_type = MessageType::Query),
        b"garbage".to_vec(),
        Vec::new(),
    ] {
        assert_eq!(machine.handle(Event::Data(&wrong), &mut Vec::new()), Action::Wait);
    }
    let Action::Close(ending) = machine.handle(Event::Data(&right), &mut Vec::new()) else {
        panic!()
    };
    assert_eq!(ending.reply.unwrap().dns_reply_mismatched, Some(8));
}

#[test]
fn contents_of_answers() {
    let servfail = answer(|message| {
        message.metadata.response_code = ResponseCode::ServFail;
        message.metadata.truncation = true;
        message.metadata.authoritative = false;
        message.answers.clear();
    });
    let ending = play(udp(), &[Event::Connected, Event::Data(&servfail)]);
    assert_eq!(words(&ending), r#"ok done - Some(2) Some(0) Some("") Some(0)"#);
    let reply = ending.reply.unwrap();
    assert_eq!(reply.dns_reply_truncated, Some(true));
    assert_eq!(reply.dns_reply_authoritative, Some(false));
    let mut cut = answer(|_| {});
    cut.truncate(cut.len() - 3);
    let ending = play(udp(), &[Event::Connected, Event::Data(&cut)]);
    assert_eq!(words(&ending), "failed response Peer's answer is malformed None None None Some(0)");
}

/// How an attempt over UDP ends if these messages arrive and then the time is up.
fn until_the_end(messages: &[&[u8]]) -> Ending {
    let mut machine = udp();
    machine.handle(Event::Connected, &mut Vec::new());
    for message in messages {
        let action = machine.handle(Event::Data(message), &mut Vec::new());
        if let Action::Close(ending) = action {
            return ending;
        }
    }
    play(machine, &[Event::TimedOut])
}

#[test]
fn a_partial_match_counts_without_a_full_match_or_wrong_messages() {
    let (right, lower) = (answer(|_| {}), in_lower_case());
    let (formerr, empty) =
        (header_alone(ResponseCode::FormErr), header_alone(ResponseCode::NoError));
    let wrong = answer(|message| message.metadata.id ^= 1);
    let ok = r#"ok done - Some(0) Some(4) Some("192.0.2.9 192.0.2.10 2001:db8::1") Some(0)"#;
    let refused = r#"ok done - Some(1) Some(0) Some("") Some(0)"#;
    let bad = "failed response Peer's answer is malformed None None None Some(0)";
    let forged =
        |wrong| format!("local_error response Answer may be forged None None None Some({wrong})");
    for (messages, expected, case_kept) in [
        (&[&right][..], ok.to_owned(), Some(true)),
        (&[&lower], ok.to_owned(), Some(false)),
        // The full match comes later, also after a forged message.
        (&[&lower, &right], ok.to_owned(), Some(true)),
        (&[&formerr, &right], ok.to_owned(), Some(true)),
        (&[&empty, &right], ok.to_owned(), Some(true)),
        (&[&formerr], refused.to_owned(), None),
        // The first one counts.
        (&[&formerr, &lower], refused.to_owned(), None),
        (&[&empty], bad.to_owned(), None),
        // An off-path host guesses.
        (&[&lower, &wrong], forged(1), None),
        (&[&wrong, &wrong, &formerr], forged(2), None),
        (&[&wrong, &empty, &wrong], forged(2), None),
        (
            &[&wrong, &right],
            ok.replace("Some(0)", "Some(1)").replacen("Some(1)", "Some(0)", 1),
            Some(true),
        ),
        (&[&wrong], "timeout response - None None None Some(1)".to_owned(), None),
    ] {
        let ending = until_the_end(&messages.iter().map(|m| m.as_slice()).collect::<Vec<_>>());
        assert_eq!(words(&ending), expected);
        assert_eq!(ending.reply.unwrap().dns_reply_case_kept, case_kept, "{expected}");
    }
    // Over TCP no off-path host can answer: it counts at once, and the case is NULL.
    let ending = play(tcp(), &[Event::Connected, Event::Data(&framed(&lower))]);
    assert_eq!(words(&ending), ok);
    assert_eq!(ending.reply.unwrap().dns_reply_case_kept, None);
}

#[test]
fn a_socket_error_does_not_revert_a_partial_match() {
    let lower = in_lower_case();
    for (fault, state) in [(REFUSED, "ok"), (NO_ROUTE, "local_error")] {
        let events = [Event::Connected, Event::Data(&lower), Event::Failed(fault)];
        assert_eq!(play(udp(), &events).state.as_str(), state);
    }
}

#[test]
fn a_stream_of_messages_may_be_cut_anywhere() {
    let wrong = framed(&answer(|message| message.metadata.id ^= 1));
    let sent = [wrong.clone(), framed(b""), framed(&answer(|_| {}))].concat();
    assert_same_however_cut(&tcp, &sent);
    let ending = play(tcp(), &[Event::Connected, Event::Data(&sent)]);
    assert_eq!(ending.reply.unwrap().dns_reply_mismatched, Some(2));
    let half = &sent[..sent.len() - 1];
    let ending = play(tcp(), &[Event::Connected, Event::Data(half), Event::PeerClosed]);
    assert_eq!(
        words(&ending),
        "failed response Peer closed before it answered None None None Some(2)"
    );
    let flood = framed(b"xyz").repeat(20_000);
    let ending = play(tcp(), &[Event::Connected, Event::Data(&flood)]);
    assert_eq!(ending.error.as_deref(), Some("Peer sent too much"));
}

#[test]
fn every_other_ending() {
    use Event::*;
    for over_tcp in [false, true] {
        for (events, expected) in [
            (&[TimedOut][..], "timeout connect - None None None None"),
            (&[Failed(REFUSED)], "failed connect Connection refused None None None None"),
            (&[Failed(NO_ROUTE)], "local_error connect Network is unreachable None None None None"),
            (&[Connected, TimedOut], "timeout response - None None None Some(0)"),
            (
                &[Connected, Failed(REFUSED)],
                "failed response Connection refused None None None Some(0)",
            ),
            (
                &[Connected, Failed(NO_ROUTE)],
                "local_error response Network is unreachable None None None Some(0)",
            ),
        ] {
            let machine = machine(over_tcp, None, Some("a.example"));
            assert_eq!(words(&play(machine, events)), expected, "{events:?}");
        }
    }
    let machine = machine(false, None, Some(&"a".repeat(64)));
    let expected = "local_error request Target's name cannot be queried None None None None";
    assert_eq!(words(&play(machine, &[Connected])), expected);
}

#[test]
fn garbage_neither_panics_nor_grows() {
    mutations(&answer(|_| {}), |garbage| {
        udp_and_tcp(garbage);
    });
    mutations(&framed(&answer(|_| {})), |garbage| {
        udp_and_tcp(garbage);
    });
}

fn udp_and_tcp(garbage: &[u8]) {
    for machine in [&mut udp(), &mut tcp()] {
        let mut out = Vec::new();
        machine.handle(Event::Connected, &mut out);
        machine.handle(Event::Data(garbage), &mut out);
        assert!(out.len() < 100);
    }
}
