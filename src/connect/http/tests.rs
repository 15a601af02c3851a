//! Every course of an attempt over HTTP, without sockets and time.

use super::*;
use crate::connect::http2::{Frames, flag, kind, write};
use crate::connect::kind::start;
use crate::connect::machine::Fault;
use crate::connect::options::Value;
use crate::connect::testing::{
    NO_ROUTE, REFUSED, answer, assert_same_however_cut, mutations, outcome, peer, play,
};

fn machine(version: &'static str, method: &'static str) -> Box<dyn Machine> {
    let options = Options::default()
        .with(&VERSION, Value::Word(version))
        .with(&METHOD, Value::Word(method))
        .with(&PATH, Value::Text("/p".into()));
    start(&KIND, &options, peer(80, Some("example.org")))
}

fn get() -> Box<dyn Machine> {
    machine("1.1", "GET")
}

/// The ending, in words, after the server sends this and then its FIN.
fn answered(machine: Box<dyn Machine>, sent: &[u8]) -> String {
    outcome(&play(machine, &[Event::Connected, Event::Data(sent), Event::PeerClosed]))
}

#[test]
fn requests() {
    for (version, method, line) in
        [("1.0", "GET", "GET /p HTTP/1.0"), ("1.1", "HEAD", "HEAD /p HTTP/1.1")]
    {
        let (mut machine, mut out) = (machine(version, method), Vec::new());
        assert_eq!(machine.handle(Event::Connected, &mut out), Action::Wait);
        let agent = concat!("pathspider/", env!("CARGO_PKG_VERSION"));
        let expected = format!(
            "{line}\r\nHost: example.org\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}

#[test]
fn a_request_is_sent_once_with_the_syn_or_later() {
    let (mut machine, mut early, mut later) = (get(), Vec::new(), Vec::new());
    machine.early(&mut early);
    machine.handle(Event::Connected, &mut later);
    assert!(early.starts_with(b"GET /p") && later.is_empty());
}

#[test]
fn every_answer_in_http1() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for (method, sent, expected) in [
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "ok done - 200 1.1 hello"),
        ("GET", "HTTP/1.0 404 Not Found\r\n\r\nhello", "ok done - 404 1.0 hello"),
        ("GET", &format!("{ok}Content-Length: 0\r\n\r\n"), "ok done - 200 1.1 "),
        ("HEAD", &format!("{ok}Content-Length: 500\r\n\r\n"), "ok done - 200 1.1 -"),
        ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", "ok done - 304 1.1 "),
        (
            "GET",
            "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
            "ok done - 204 1.1 ",
        ),
        (
            "GET",
            &format!(
                "{ok}Transfer-Encoding: chunked\r\n\r\n5;x=\"y\"\r\nhello\r\n00a\r\n, world!..\r\n0\r\nX: y\r\n\r\n"
            ),
            "ok done - 200 1.1 hello, world!..",
        ),
        (
            "GET",
            &format!("{ok}Transfer-Encoding: chunked\r\n\r\nhello"),
            "ok response Peer's chunks are malformed 200 1.1 ",
        ),
        (
            "GET",
            &format!("{ok}Content-Length: 9\r\n\r\nhello"),
            "ok response Peer closed too early 200 1.1 hello",
        ),
        ("GET", ok, "ok response Peer closed too early 200 1.1 "),
        ("GET", "", "failed response Peer closed before it answered - - -"),
        ("GET", "pathspider lab: hello\r\n", "failed response Peer's answer is not HTTP - - -"),
        ("GET", "HTTP/1.1 2x0 OK\r\n\r\n", "failed response Peer's HTTP status is invalid - - -"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "ok response Peer closed too early 200 1.1 ",
        ),
        (
            "GET",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "failed response Peer switched protocols without a request 101 1.1 -",
        ),
    ] {
        assert_eq!(answered(machine("1.1", method), sent.as_bytes()), expected, "{sent:?}");
        assert_same_however_cut(&|| machine("1.1", method), sent.as_bytes());
    }
}

#[test]
fn every_other_ending() {
    use Event::*;
    let header = b"HTTP/1.1 200 OK\r\n\r\nhe";
    let part = b"HTTP/1.1 200 OK\r\n";
    let reset = Fault { word: "Connection reset by peer", local: false };
    for (events, expected) in [
        (&[TimedOut][..], "timeout connect - - - -"),
        (&[Failed(REFUSED)], "failed connect Connection refused - - -"),
        (&[Failed(NO_ROUTE)], "local_error connect Network is unreachable - - -"),
        (&[Connected, TimedOut], "timeout response - - - -"),
        (&[Connected, Data(part), TimedOut], "timeout response - - - -"),
        (&[Connected, Failed(reset)], "failed response Connection reset by peer - - -"),
        (&[Connected, Failed(NO_ROUTE)], "local_error response Network is unreachable - - -"),
        (
            &[Connected, Data(header), TimedOut],
            "ok response Peer did not finish in time 200 1.1 he",
        ),
        (
            &[Connected, Data(header), Failed(reset)],
            "ok response Connection reset by peer 200 1.1 he",
        ),
        (
            &[Connected, Data(header), Failed(NO_ROUTE)],
            "local_error response Network is unreachable 200 1.1 he",
        ),
    ] {
        assert_eq!(outcome(&play(get(), events)), expected, "{events:?}");
    }
}

#[test]
fn http2_without_a_response_is_an_answer() {
    let reset = (kind::RST_STREAM, 0, 1, &[0, 0, 0, 7][..]);
    let goaway = (kind::GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11][..]);
    let ping = (kind::PING, 0, 0, &b"1"[..]);
    let switch = b"HTTP/1.1 101 Switching Protocols\r\n\r\n".to_vec();
    let refused =
        (kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, &[0x48, 0x82, 0x64, 0x02][..]);
    for (version, sent, expected) in [
        ("h2c", frames(&[reset]), "http2:reset"),
        ("h2c", frames(&[goaway]), "http2:goaway"),
        ("h2c", frames(&[ping]), "http2:malformed"),
        ("h2c", frames(&[]), "http2:incomplete"),
        ("h2c", frames(&[]).repeat(5000), "http2:too_long"),
        ("h2c", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "http2:not_http2"),
        ("h2c", Vec::new(), "-"),
        ("h2c", frames(&[refused]), "http:3xx"),
        ("h2c_upgrade", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), "http:no_upgrade"),
        ("h2c_upgrade", b"HTTP/1.1".to_vec(), "http:incomplete"),
        ("h2c_upgrade", switch.clone(), "http2:incomplete"),
        ("h2c_upgrade", [switch, frames(&[reset])].concat(), "http2:reset"),
        ("h2c_upgrade", Vec::new(), "-"),
    ] {
        let events = [Event::Connected, Event::Data(&sent), Event::PeerClosed];
        let ending = play(machine(version, "GET"), &events);
        assert_eq!(answer(&ending), expected, "{version} {}", outcome(&ending));
    }
}

#[test]
fn an_error_after_the_header_is_not_an_answer() {
    let reset = Fault { word: "Connection reset by peer", local: false };
    for (sent, event, expected) in [
        (&b""[..], Event::TimedOut, "-"),
        (b"", Event::Failed(reset), "-"),
        (b"HTTP/1.1 200 OK\r\n", Event::TimedOut, "http:incomplete"),
        (b"HTTP/1.1 200 OK\r\n", Event::Failed(reset), "http:incomplete"),
        (b"HTTP/1.1 200 OK\r\n", Event::Failed(NO_ROUTE), "-"),
        (b"HTTP/1.1 200 OK\r\n\r\n", Event::Failed(reset), "-"),
        (b"HTTP/1.1 403 No\r\n\r\n", Event::TimedOut, "http:4xx"),
        (b"HTTP/1.1 403 No\r\n\r\n", Event::Failed(NO_ROUTE), "-"),
    ] {
        let ending = play(get(), &[Event::Connected, Event::Data(sent), event]);
        assert_eq!(answer(&ending), expected, "{}", outcome(&ending));
    }
    assert_eq!(answer(&play(get(), &[Event::Failed(REFUSED)])), "-");
}

#[test]
fn a_flood_is_cut_off() {
    let body = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'a'; 70_000]].concat();
    let expected = format!("ok response Peer sent too much 200 1.1 {}", "a".repeat(256));
    assert_eq!(answered(get(), &body), expected);
    let expected = "failed response Peer's HTTP header is too long - - -";
    let header = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'a'; 310_000]].concat();
    assert_eq!(answered(get(), &header), expected);
    let fields = format!("HTTP/1.1 200 OK\r\n{}", "X: y\r\n".repeat(60_000));
    assert_eq!(answered(get(), fields.as_bytes()), expected);
    let folds = format!("HTTP/1.1 200 OK\r\nX: y\n{}", " \n".repeat(200_000));
    assert_eq!(answered(get(), folds.as_bytes()), expected);
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(20_000);
    assert_eq!(answered(get(), interim.as_bytes()), expected);
}

#[test]
fn an_invalid_name_is_a_local_error() {
    let machine = start(&KIND, &Options::default(), peer(80, Some("a b")));
    let expected = "local_error request Target's name is not a valid host name - - -";
    assert_eq!(outcome(&play(machine, &[Event::Connected])), expected);
}

/// A server's preface, then these frames.
fn frames(frames: &[(u8, u8, u32, &[u8])]) -> Vec<u8> {
    let mut wire = Vec::new();
    write(&mut wire, kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]);
    for (kind, flags, stream, payload) in frames {
        write(&mut wire, *kind, *flags, *stream, payload);
    }
    wire
}

/// `:status: 200`, by its index in the static table (RFC 7541, A).
const OK: &[u8] = &[0x88];
/// `:status: 100`, written out.
const CONTINUE: &[u8] = b"\x08\x03100";
const HEADERS: (u8, u8, u32, &[u8]) = (kind::HEADERS, flag::END_HEADERS, 1, OK);

#[test]
fn every_answer_in_http2() {
    let last = flag::END_STREAM;
    for (sent, expected) in [
        (frames(&[HEADERS, (kind::DATA, last, 1, b"hello")]), "ok done - 200 2 hello"),
        (frames(&[(kind::HEADERS, flag::END_HEADERS | last, 1, OK)]), "ok done - 200 2 "),
        (
            frames(&[
                (kind::PING, 0, 0, b"12345678"),
                (kind::WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]),
                (kind::HEADERS, flag::END_HEADERS, 1, CONTINUE),
                (kind::HEADERS, 0, 1, b""),
                (kind::CONTINUATION, flag::END_HEADERS, 1, OK),
                (kind::DATA, flag::PADDED, 1, b"\x02he\0\0"),
                (0xfa, 0, 7, b"grease"),
                (kind::DATA, last, 1, b"llo"),
            ]),
            "ok done - 200 2 hello",
        ),
        (frames(&[HEADERS]), "ok response Peer closed too early 200 2 "),
        (frames(&[]), "failed response Peer closed before it answered - - -"),
        (
            frames(&[(kind::RST_STREAM, 0, 1, &[0, 0, 0, 7])]),
            "failed response Peer reset the stream: REFUSED_STREAM - - -",
        ),
        (
            frames(&[HEADERS, (kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])]),
            "ok response Peer reset the stream: CANCEL 200 2 ",
        ),
        (
            frames(&[(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11])]),
            "failed response Peer went away: ENHANCE_YOUR_CALM - - -",
        ),
        (
            frames(&[
                (kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]),
                (kind::HEADERS, flag::END_HEADERS | last, 1, OK),
            ]),
            "ok done - 200 2 ",
        ),
        (
            frames(&[(kind::PUSH_PROMISE, flag::END_HEADERS, 1, &[0, 0, 0, 2])]),
            "failed response Peer pushed although push is disabled - - -",
        ),
        (
            frames(&[(kind::DATA, 0, 1, b"x")]),
            "failed response Peer's HTTP/2 data came before the header - - -",
        ),
        (
            frames(&[(kind::HEADERS, flag::END_HEADERS, 1, &[0xff, 0xff])]),
            "failed response Peer's HTTP/2 headers cannot be decoded - - -",
        ),
        (
            frames(&[(kind::HEADERS, flag::END_HEADERS, 1, &[0x3f])]),
            "failed response Peer's HTTP/2 headers cannot be decoded - - -",
        ),
        (
            frames(&[(kind::HEADERS, flag::END_HEADERS, 1, b"")]),
            "failed response Peer's HTTP status is invalid - - -",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
            "failed response Peer's answer is not HTTP/2 - - -",
        ),
    ] {
        assert_eq!(answered(machine("h2c", "GET"), &sent), expected);
        assert_same_however_cut(&|| machine("h2c", "GET"), &sent);
    }
}

#[test]
fn http2_acknowledges_and_says_goodbye() {
    let (mut machine, mut out) = (machine("h2c", "HEAD"), Vec::new());
    machine.handle(Event::Connected, &mut out);
    assert!(out.starts_with(crate::connect::http2::PREFACE));
    out.clear();
    let sent = frames(&[
        (kind::PING, 0, 0, b"12345678"),
        (kind::HEADERS, flag::END_HEADERS | flag::END_STREAM, 1, OK),
    ]);
    let Action::Close(ending) = machine.handle(Event::Data(&sent), &mut out) else { panic!() };
    assert_eq!(outcome(&ending), "ok done - 200 2 -");
    let (mut frames, mut kinds) = (Frames::default(), Vec::new());
    frames.feed(&out);
    while let Some(frame) = frames.next().unwrap() {
        kinds.push((frame.kind, frame.flags));
    }
    assert_eq!(kinds, [(kind::SETTINGS, flag::ACK), (kind::PING, flag::ACK), (kind::GOAWAY, 0)]);
}

#[test]
fn upgrades() {
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    let then = |rest: &[u8]| [switch.to_vec(), rest.to_vec()].concat();
    let refused = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    for (sent, expected) in [
        (then(&frames(&[HEADERS, (kind::DATA, flag::END_STREAM, 1, b"hi")])), "ok done - 200 2 hi"),
        (then(b""), "failed response Peer closed before it answered - - -"),
        (refused.to_vec(), "failed request Peer did not switch to HTTP/2 200 1.1 -"),
        (b"".to_vec(), "failed request Peer closed before it answered - - -"),
        (b"no".to_vec(), "failed request Peer's answer is not HTTP - - -"),
        (then(refused), "failed response Peer's answer is not HTTP/2 - - -"),
    ] {
        assert_eq!(answered(machine("h2c_upgrade", "GET"), &sent), expected);
        assert_same_however_cut(&|| machine("h2c_upgrade", "GET"), &sent);
    }
    let (mut machine, mut out) = (machine("h2c_upgrade", "GET"), Vec::new());
    machine.handle(Event::Connected, &mut out);
    let asked = String::from_utf8(out.split_off(0)).unwrap();
    assert!(asked.contains("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"), "{asked}");
    assert!(asked.ends_with("HTTP2-Settings: AAIAAAAAAAQAEAAA\r\n\r\n"), "{asked}");
    machine.handle(Event::Data(switch), &mut out);
    assert!(out.starts_with(crate::connect::http2::PREFACE));
    let end = play(machine, &[Event::TimedOut]);
    assert_eq!(outcome(&end), "timeout response - - - -");
}

#[test]
fn garbage_neither_panics_nor_grows() {
    let http1 = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let http2 = frames(&[HEADERS, (kind::DATA, flag::END_STREAM, 1, b"hello")]);
    for (version, sent) in [("1.1", &http1[..]), ("h2c", &http2), ("h2c_upgrade", &http1[..])] {
        mutations(sent, |garbage| {
            let (mut machine, mut out) = (machine(version, "GET"), Vec::new());
            machine.handle(Event::Connected, &mut out);
            for part in garbage.chunks(7) {
                if let Action::Close(ending) = machine.handle(Event::Data(part), &mut out) {
                    let body = ending.reply.and_then(|reply| reply.http_body).unwrap_or_default();
                    assert!(body.len() <= 3 * 256);
                    break;
                }
            }
            assert!(out.len() < 2 * garbage.len() + 1000);
        });
    }
}
