//! The lab's servers and the program's own clients, talking in memory.

use std::net::IpAddr;

use super::*;
use crate::connect::edns::Edns;
use crate::connect::options::{EDNS, METHOD, PATH, QNAME, QUESTION, READ, VERSION, Value};
use crate::connect::{self, Action, Ending, Event, Options, Peer};
use crate::lab::spec::Answers;

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 16));

fn client(kind: &str, options: &Options, name: Option<&str>) -> Box<dyn connect::Machine> {
    let kind = connect::kind(kind).unwrap();
    let port = kind.port;
    connect::start(kind, options, Peer { address: ADDRESS, port, name, random: 7 })
}

/// A complete attempt; each side gets what the other sends in pieces of `size`.
fn talk(mut client: Box<dyn connect::Machine>, server: &mut dyn Session, size: usize) -> Ending {
    let (mut asked, mut said) = (Vec::new(), Vec::new());
    let mut then = Then::Wait;
    match client.handle(Event::Connected, &mut asked) {
        Action::Close(ending) => return ending,
        Action::HalfClose => {
            server.closed(&mut said);
            then = Then::Finish;
        }
        Action::Wait => {}
    }
    loop {
        let silent = asked.is_empty() && said.is_empty();
        for piece in std::mem::take(&mut asked).chunks(size) {
            if then == Then::Wait {
                then = server.data(piece, &mut said);
            }
        }
        for piece in std::mem::take(&mut said).chunks(size) {
            if let Action::Close(ending) = client.handle(Event::Data(piece), &mut asked) {
                return ending;
            }
        }
        if silent {
            let event = if then == Then::Finish { Event::PeerClosed } else { Event::TimedOut };
            let Action::Close(ending) = client.handle(event, &mut asked) else { panic!() };
            return ending;
        }
    }
}

/// State, stage, error, status and version.
fn words(ending: &Ending) -> String {
    let reply = ending.reply.clone().unwrap_or_default();
    format!(
        "{} {} {} {:?} {}",
        ending.state.as_str(),
        ending.stage.as_str(),
        ending.error.as_deref().unwrap_or("-"),
        reply.http_status.unwrap_or_default(),
        reply.http_version.unwrap_or("-"),
    )
}

#[test]
fn a_silent_client_is_greeted_and_one_that_speaks_is_not() {
    let ending = talk(client("tcp", &Options::default(), None), &mut web::Web::new(true), 9);
    assert_eq!(words(&ending), "ok done - 0 -");
    let mut out = Vec::new();
    web::Web::new(true).closed(&mut out);
    assert_eq!(out, GREETING);
    let mut web = web::Web::new(true);
    out.clear();
    assert_eq!(web.data(b"G", &mut out), Then::Wait);
    web.closed(&mut out);
    assert!(out.is_empty());
}

#[test]
fn every_version_of_http_without_tls() {
    let refused = "failed response Peer's answer is not HTTP/2 0 -";
    for (version, method, h2, expected) in [
        ("1.0", "GET", true, "ok done - 200 1.1"),
        ("1.1", "GET", true, "ok done - 200 1.1"),
        ("1.1", "HEAD", false, "ok done - 200 1.1"),
        ("h2c", "GET", true, "ok done - 200 2"),
        ("h2c", "HEAD", true, "ok done - 200 2"),
        ("h2c", "GET", false, refused),
        ("h2c_upgrade", "GET", true, "ok done - 200 2"),
        ("h2c_upgrade", "HEAD", true, "ok done - 200 2"),
        ("h2c_upgrade", "GET", false, "failed request Peer did not switch to HTTP/2 200 1.1"),
    ] {
        let options = Options::default()
            .with(&VERSION, Value::Word(version))
            .with(&METHOD, Value::Word(method));
        for size in [1, 10, 100_000] {
            let client = client("http", &options, None);
            let ending = talk(client, &mut web::Web::new(h2), size);
            assert_eq!(words(&ending), expected, "{version} {method} {h2} by {size}");
            let body = ending.reply.and_then(|reply| reply.http_body);
            let whole = expected.starts_with("ok") && method == "GET";
            assert_eq!(body, whole.then(|| String::from_utf8(GREETING.into()).unwrap()));
        }
    }
}

#[test]
fn http_inside_tls() {
    let identity = Identity::new().unwrap();
    let no_h2 = "failed tls Peer's TLS alert: no_application_protocol 0 -";
    for (kind, version, h2, expected) in [
        ("https", None, true, "ok done - 200 2"),
        ("https", None, false, "ok done - 200 1.1"),
        ("https", Some("1.1"), true, "ok done - 200 1.1"),
        ("https", Some("1.0"), true, "ok done - 200 1.1"),
        ("h2", None, true, "ok done - 200 2"),
        ("h2", None, false, no_h2),
    ] {
        let mut options = Options::default();
        version.into_iter().for_each(|version| options.set(&VERSION, Value::Word(version)));
        for (size, name, matches) in [(1, None, false), (5000, Some("a.lab.example"), true)] {
            let mut server = tls::Tls::new(identity.config(h2).unwrap()).unwrap();
            let ending = talk(client(kind, &options, name), &mut server, size);
            assert_eq!(words(&ending), expected, "{kind} {version:?} {h2}");
            let known = ending.reply.and_then(|reply| reply.tls_cert_matches);
            assert_eq!(known, expected.starts_with("ok").then_some(matches));
        }
    }
    // Without TLS nothing is understood.
    let mut server = tls::Tls::new(identity.config(true).unwrap()).unwrap();
    let ending = talk(client("http", &Options::default(), None), &mut server, 100);
    assert_eq!(words(&ending), "failed response Peer's answer is not HTTP 0 -");
}

#[test]
fn questions_and_their_answers() {
    let own = Some("198.18.0.16");
    for (question, answers, state, rcode, addresses, passed_over) in [
        ("A", Answers::Right, "ok", Some(0), own, 0),
        ("AAAA", Answers::Right, "ok", Some(0), Some("2001:db8::53"), 0),
        ("A", Answers::LowerCase, "ok", Some(0), own, 0),
        ("A", Answers::Servfail, "ok", Some(2), Some(""), 0),
        ("A", Answers::Refused, "ok", Some(5), Some(""), 0),
        ("A", Answers::OtherId, "timeout", None, None, 1),
        ("A", Answers::OtherQuestion, "timeout", None, None, 1),
        ("A", Answers::Silent, "timeout", None, None, 0),
        ("MX", Answers::Right, "ok", Some(0), Some(""), 0),
        ("A", Answers::NoEdns, "ok", Some(0), own, 0),
        ("A", Answers::EdnsFormerr, "ok", Some(0), own, 0),
    ] {
        let options = Options::default().with(&QUESTION, Value::Word(question));
        let mut udp = client("dns_udp", &options, None);
        let mut asked = Vec::new();
        udp.handle(Event::Connected, &mut asked);
        let answer = dns::answer(&asked, ADDRESS, answers);
        let action = answer.map(|answer| udp.handle(Event::Data(&answer), &mut Vec::new()));
        let over_udp = match action {
            Some(Action::Close(ending)) => ending,
            _ => match udp.handle(Event::TimedOut, &mut Vec::new()) {
                Action::Close(ending) => ending,
                other => panic!("{other:?}"),
            },
        };
        let mut server = dns::Stream::new(ADDRESS, answers);
        let over_tcp = talk(client("dns_tcp", &options, None), &mut server, 3);
        for ending in [over_udp, over_tcp] {
            assert_eq!(ending.state.as_str(), state, "{question} {answers:?}");
            let reply = ending.reply.unwrap();
            assert_eq!(reply.dns_reply_rcode, rcode);
            assert_eq!(reply.dns_reply_addresses.as_deref(), addresses);
            assert_eq!(reply.dns_reply_mismatched, Some(passed_over));
        }
    }
}

/// What a client reads of the answer to a question over UDP and over TCP: octets, RCODE, whether it is truncated, and
/// version, DO, buffer and padding of its EDNS.
fn answered_by_edns(octets: u16, edns: Option<Edns>, answers: Answers) -> [String; 2] {
    let name = Value::Text(format!("octets-{octets}.lab.example"));
    let mut options = Options::default().with(&QUESTION, Value::Word("TXT")).with(&QNAME, name);
    edns.into_iter().for_each(|edns| options.set(&EDNS, Value::Edns(edns)));
    let mut udp = client("dns_udp", &options, None);
    let mut asked = Vec::new();
    udp.handle(Event::Connected, &mut asked);
    let answer = dns::answer(&asked, ADDRESS, answers).unwrap();
    let over_udp = match udp.handle(Event::Data(&answer), &mut Vec::new()) {
        Action::Close(ending) => ending,
        _ => match udp.handle(Event::TimedOut, &mut Vec::new()) {
            Action::Close(ending) => ending,
            other => panic!("{other:?}"),
        },
    };
    let mut server = dns::Stream::new(ADDRESS, answers);
    let over_tcp = talk(client("dns_tcp", &options, None), &mut server, 1000);
    [over_udp, over_tcp].map(|ending| {
        let reply = ending.reply.unwrap();
        let truncated = if reply.dns_reply_truncated == Some(true) { " truncated" } else { "" };
        let edns = reply.dns_reply_edns_version.map_or(String::new(), |version| {
            let (on, buffer) = (reply.dns_reply_edns_do, reply.dns_reply_edns_buffer);
            let padding = reply.dns_reply_edns_padding;
            format!(" v{version} {:?} {:?} {padding:?}", on.unwrap(), buffer.unwrap())
        });
        let (octets, rcode) = (reply.dns_reply_octets.unwrap(), reply.dns_reply_rcode.unwrap());
        format!("{octets} {rcode}{truncated}{edns}")
    })
}

#[test]
fn edns_allows_long_answers() {
    let plain = Edns::default();
    let with = |buffer| Some(Edns { buffer, ..plain });
    let right = Answers::Right;
    for (octets, edns, answers, udp, tcp) in [
        (400, None, right, "400 0", "400 0"),
        (513, None, right, "40 0 truncated", "513 0"),
        (1232, with(1232), right, "1232 0 v0 false 1232 None", "1232 0 v0 false 1232 None"),
        (1233, with(1232), right, "52 0 truncated v0 false 1232 None", "1233 0 v0 false 1232 None"),
        (4096, with(65_535), right, "4096 0 v0 false 1232 None", "4096 0 v0 false 1232 None"),
        (
            4097,
            with(65_535),
            right,
            "52 0 truncated v0 false 1232 None",
            "4097 0 v0 false 1232 None",
        ),
        (
            400,
            Some(Edns { dnssec: true, padding: Some(128), ..plain }),
            right,
            "468 0 v0 true 1232 Some(64)",
            "468 0 v0 true 1232 Some(64)",
        ),
        (
            400,
            Some(Edns { version: 1, ..plain }),
            right,
            "51 16 v0 false 1232 None",
            "51 16 v0 false 1232 None",
        ),
        (2000, with(4096), Answers::NoEdns, "41 0 truncated", "2000 0"),
        (2000, with(4096), Answers::EdnsFormerr, "12 1", "12 1"),
    ] {
        let seen = answered_by_edns(octets, edns, answers);
        assert_eq!(seen, [udp, tcp].map(str::to_owned), "{octets} {edns:?} {answers:?}");
    }
}

#[test]
fn as_much_of_a_page_is_read_as_was_wanted() {
    const QUARTER: i64 = 256 << 10;
    let identity = Identity::new().unwrap();
    let too_much = "ok response Peer sent too much";
    for (kind, version) in [
        ("http", "1.1"),
        ("http", "h2c"),
        ("http", "h2c_upgrade"),
        ("https", "1.1"),
        ("https", "h2"),
    ] {
        for (octets, read, expected, content) in [
            (100_000, None, too_much, None),
            (60_000, None, "ok done -", Some(60_000)),
            (300_000, Some(QUARTER), "ok done -", Some(QUARTER as u64)),
            (1000, Some(QUARTER), "ok done -", Some(1000)),
            (3_000_000, Some(2_500_000), "ok done -", Some(2_500_000)),
        ] {
            let path = Value::Text(format!("/octets-{octets}"));
            let mut options = Options::default().with(&PATH, path);
            options.set(&VERSION, Value::Word(version));
            read.into_iter().for_each(|read| options.set(&READ, Value::Integer(read)));
            let mut server: Box<dyn Session> = match kind {
                "http" => Box::new(web::Web::new(true)),
                _ => Box::new(tls::Tls::new(identity.config(true).unwrap()).unwrap()),
            };
            let ending = talk(client(kind, &options, None), &mut *server, 20_000);
            let reply = ending.reply.unwrap();
            let (state, stage) = (ending.state.as_str(), ending.stage.as_str());
            let words = format!("{state} {stage} {}", ending.error.as_deref().unwrap_or("-"));
            // Over TLS there is room for records.
            if content.is_some() || kind == "http" {
                assert_eq!(words, expected, "{kind} {version} {octets}");
            }
            if let Some(content) = content {
                assert_eq!(reply.http_octets, Some(content), "{kind} {version} {octets}");
            }
        }
    }
}

#[test]
fn invalid_requests_are_rejected_and_buffers_are_bounded() {
    for request in [&b"GET\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n\r\nno\r\n\r\n", &[0xff; 100]] {
        let (mut web, mut out) = (web::Web::new(false), Vec::new());
        assert_eq!(web.data(request, &mut out), Then::Finish);
        assert!(out.starts_with(b"HTTP/1.1 400 "), "{request:?}");
    }
    let (mut web, mut out) = (web::Web::new(true), Vec::new());
    let endless = [b"GET / HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 20_000]].concat();
    assert_eq!(web.data(&endless, &mut out), Then::Finish);
    let preface = crate::connect::http2::PREFACE;
    for wrong in [&b"\xff\xff\xff\0\0\0\0\0\0"[..], b"\0\0\x02\x06\0\0\0\0\0ab"] {
        let (mut web, mut out) = (web::Web::new(true), Vec::new());
        assert_eq!(web.data(&[preface, wrong].concat(), &mut out), Then::Finish);
    }
    assert_eq!(dns::answer(b"garbage", ADDRESS, Answers::Right), None);
    assert_eq!(dns::answer(&[], ADDRESS, Answers::Right), None);
}
