//! Answers that never end: each kind stops reading, or holds no more of them than it may.

use std::collections::BTreeMap;
use std::io::Write as _;

use pathspider::connect::options::VERSION;
use pathspider::connect::{Event, Transport};

use super::frames::{self, PING, SETTINGS, frame};
use super::{Attempt, Tally, peers, subjects};
use subjects::Subject;

/// More than this is not read of any stream.
const ENOUGH: usize = 4 << 20;

/// An answer of any length: its beginning, and what follows for ever.
type Endless = (&'static str, Vec<u8>, Vec<u8>);

fn endless(name: &'static str, begin: impl AsRef<[u8]>, again: impl AsRef<[u8]>) -> Endless {
    (name, begin.as_ref().to_vec(), again.as_ref().to_vec())
}

fn http1() -> Vec<Endless> {
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let chunked = format!("{OK}Transfer-Encoding: chunked\r\n\r\n");
    vec![
        endless("a status line", "HTTP/1.1 200 ", "x"),
        endless("a field", format!("{OK}X: "), "x"),
        endless("fields", OK, "X: y\r\n"),
        endless("folded lines", format!("{OK}X: y\r\n"), " z\r\n"),
        endless("interim responses", "", "HTTP/1.1 100 Continue\r\n\r\n"),
        endless("content", format!("{OK}\r\n"), "content"),
        endless("content of a length", format!("{OK}Content-Length: 99999999999\r\n\r\n"), "x"),
        endless("a chunk's size", &chunked, "0"),
        endless("a chunk's extension", format!("{chunked}5"), ";x=y"),
        endless("chunks", &chunked, "1\r\nx\r\n"),
        endless("a trailer", format!("{chunked}0\r\n"), "X: y\r\n"),
    ]
}

fn http2() -> Vec<Endless> {
    let of = |kind, flags, stream, payload: &[u8]| {
        let mut out = Vec::new();
        frame(&mut out, kind, flags, stream, payload);
        out
    };
    let greeting = of(SETTINGS, 0, 0, &[]);
    let then = |more: &[u8]| [greeting.as_slice(), more].concat();
    let headers = of(1, 0, 1, &[]);
    // An entry of 4000 octets, then 100 fields that refer to it.
    let mut block = b"\x48\x03100\x40\x01n".to_vec();
    frames::integer(&mut block, 0, 7, 3900);
    block.resize(block.len() + 3900, b'v');
    block.resize(block.len() + 100, 0xbe);
    // Entries without octets, and pseudo-fields.
    let small = b"\x40\0\0".repeat(4000);
    let pseudo = b"\0\x01:\0".repeat(4000);
    vec![
        endless("pings", &greeting, of(PING, 0, 0, b"12345678")),
        endless("settings", &greeting, of(SETTINGS, 0, 0, &[])),
        endless("window updates", &greeting, of(8, 0, 0, &[0, 0, 0, 1])),
        endless("frames of no known type", &greeting, of(0xfa, 0, 0, &[])),
        endless("continuations without octets", then(&headers), of(9, 0, 1, &[])),
        endless("continuations", then(&headers), of(9, 0, 1, &[0; 100])),
        endless("interim responses", &greeting, of(1, 4, 1, &block)),
        endless(
            "small entries",
            &greeting,
            of(1, 4, 1, &[b"\x48\x03100", small.as_slice()].concat()),
        ),
        endless(
            "pseudo-fields",
            &greeting,
            of(1, 4, 1, &[b"\x48\x03100", pseudo.as_slice()].concat()),
        ),
        endless("a frame", then(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]), "x"),
        endless("data", then(&of(1, 4, 1, &[0x88])), of(0, 0, 1, &[7; 1000])),
        endless("data without octets", then(&of(1, 4, 1, &[0x88])), of(0, 0, 1, &[])),
    ]
}

/// Before the handshake is done.
fn tls() -> Vec<Endless> {
    let record = |kind: u8, payload: &[u8]| {
        [&[kind, 3, 3], &(payload.len() as u16).to_be_bytes()[..], payload].concat()
    };
    vec![
        endless("a record", [22, 3, 3, 0x40, 0], [0]),
        endless("a handshake message", record(22, &[2, 0, 0xff, 0xf0]), record(22, &[0; 1000])),
        endless("one of 16 MB", record(22, &[11, 0xff, 0xff, 0xff]), record(22, &[0; 16_000])),
        endless("records without octets", [], record(22, &[])),
        endless("changes of cipher", [], record(20, &[1])),
        endless("warnings", [], record(21, &[1, 90])),
        endless("hello requests", [], record(22, &[0, 0, 0, 0])),
    ]
}

fn messages(over_tcp: bool) -> Vec<Endless> {
    // As many records as there is room for, each of a name that refers to one before.
    let mut message = vec![0xde, 0xf0, 0x81, 0x80, 0, 0, 0xff, 0xff, 0, 0, 0, 0];
    while message.len() + 12 < 0xffff {
        message.extend([0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 1, 0, 0]);
    }
    message.splice(12..12, [0]);
    let framed = |message: &[u8]| match over_tcp {
        true => [&(message.len() as u16).to_be_bytes(), message].concat(),
        false => message.to_vec(),
    };
    let mut all = vec![
        endless("answers to others", [], framed(&[0; 12])),
        endless("long answers to others", [], framed(&[0; 60_000])),
        endless("answers full of records", [], framed(&message)),
    ];
    if over_tcp {
        all.push(endless("messages without octets", [], [0, 0]));
        all.push(endless("a message that does not come to its end", [0xff, 0xff], [0]));
    }
    all
}

fn answers(subject: &Subject) -> Vec<Endless> {
    let version = subject.options.word(&VERSION);
    match (subject.row.name, version) {
        (_, Some("h2c" | "h2c_upgrade")) => {
            let mut all = http2();
            if version == Some("h2c_upgrade") {
                let switch = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
                all.iter_mut().for_each(|(_, begin, _)| drop(begin.splice(..0, *switch)));
                all.extend(http1());
            }
            all
        }
        ("http", _) => http1(),
        ("https" | "h2", _) => tls(),
        ("dns_udp", _) => messages(false),
        ("dns_tcp", _) => messages(true),
        ("forge", _) => {
            vec![endless("segments of others", [], [0; 20]), endless("nothing", [], [])]
        }
        _ => vec![endless("octets", [], "x")],
    }
}

/// Feeds an endless answer in pieces of about this size until the machine closes; says whether it did.
fn feed(attempt: &mut Attempt<'_>, (_, begin, again): &Endless, size: usize) -> bool {
    attempt.handle(Event::Connected);
    let datagrams = attempt.subject.datagrams;
    let piece = match datagrams {
        true => again.clone(),
        false => again.repeat((size / again.len()).max(1)),
    };
    if !begin.is_empty() {
        attempt.handle(Event::Data(begin));
    }
    let mut octets = 0;
    while attempt.ending.is_none() && octets < ENOUGH {
        // A datagram costs its sender a packet whatever is in it.
        octets += piece.len() + if datagrams { 1000 } else { 0 };
        attempt.handle(Event::Data(&piece));
    }
    attempt.ending.is_some()
}

#[test]
fn an_endless_answer_is_left_or_forgotten() {
    let mut most = BTreeMap::new();
    for subject in subjects::all().iter().filter(|subject| !subject.cannot_start) {
        for answer in answers(subject) {
            for size in [1, 1000, 65_536] {
                let mut tally = Tally::default();
                let mut attempt = Attempt::start(subject, &mut tally);
                let closed = feed(&mut attempt, &answer, size);
                let stream = !matches!(subject.row.transport, Transport::Udp | Transport::Raw);
                assert!(closed || !stream, "{}: {} in pieces of {size}", subject.name, answer.0);
                note(&mut most, subject, &tally);
            }
        }
    }
    println!("{most:#?}");
}

/// By kind: octets held, and more in one call, at most.
type Most = BTreeMap<&'static str, (usize, usize)>;

fn note(most: &mut Most, subject: &Subject, tally: &Tally) {
    let (held, transient) = most.entry(subject.row.name).or_default();
    *held = tally.held.max(*held);
    *transient = tally.transient.max(*transient);
}

/// What a server sends inside of TLS.
#[test]
fn an_endless_answer_inside_of_tls_is_left() {
    let encrypted = |subject: &&Subject| {
        subject.row.columns.contains(&"tls_version")
            && subject.target == Some("a.example")
            && !subject.options.word(&VERSION).is_some_and(|version| version.starts_with("h2c"))
    };
    let subjects = subjects::all();
    let (mut most, mut done) = (BTreeMap::new(), 0);
    for subject in subjects.iter().filter(encrypted) {
        for variant in 0..4 {
            let (name, begin, again) = &if variant % 3 == 0 { http2() } else { http1() }[done % 11];
            done += 1;
            let mut tally = Tally::default();
            let mut attempt = Attempt::start(subject, &mut tally);
            let mut tls = peers::Tls::new(variant);
            attempt.handle(Event::Connected);
            let (mut octets, mut begun) = (0, false);
            while attempt.ending.is_none() && octets < ENOUGH {
                let mut sent = attempt.sent();
                while !sent.is_empty() && tls.server.read_tls(&mut sent).is_ok() {
                    let _ = tls.server.process_new_packets();
                }
                if !tls.server.is_handshaking() {
                    let part =
                        if begun { again.repeat(1 + 8000 / again.len()) } else { begin.clone() };
                    begun = true;
                    tls.server.writer().write_all(&part).unwrap();
                }
                let wire = tls.take();
                octets += wire.len();
                if wire.is_empty() {
                    // It refused the handshake, and has said so.
                    attempt.handle(Event::PeerClosed);
                }
                attempt.handle(Event::Data(&wire));
            }
            assert!(attempt.ending.is_some(), "{}: {name}", subject.name);
            note(&mut most, subject, &tally);
        }
    }
    println!("{most:#?}");
    assert!(done > 40);
}
