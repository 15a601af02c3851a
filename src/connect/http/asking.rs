//! The course of one request, whatever version of HTTP it is in and whatever carries it.

use std::borrow::Cow;

use super::ask::Ask;
use super::http1::Http1;
use super::http2::Http2;
use crate::connect::tcp::MOST_BYTES;
use crate::connect::{Ending, Event, Reply, Stage, State};

/// How much of a response's content is kept, in octets.
const MOST_BODY: usize = 256;

/// In which version of HTTP to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connect) enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1 {
        /// The number behind the dot.
        minor: u8,
    },
    /// HTTP/2 from the first octet.
    Http2,
    /// HTTP/1.1 that asks to go on with HTTP/2 (RFC 7540, 3.2).
    Upgrade,
}

/// What was read of the response.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The status code of the final response.
    pub(super) status: Option<u16>,
    /// The version that it came in.
    pub(super) version: Option<&'static str>,
    /// Whether the response that was asked for has begun: its header was read whole.
    pub(super) whole: bool,
    body: Vec<u8>,
}

impl Answer {
    /// Keeps the beginning of the content.
    pub(super) fn body(&mut self, part: &[u8]) {
        let room = MOST_BODY - self.body.len();
        self.body.extend_from_slice(&part[..part.len().min(room)]);
    }
}

/// What octets from the peer have led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More is to come.
    More,
    /// The response is over.
    Done,
    /// It will not be: what went wrong.
    Wrong(Cow<'static, str>),
}

enum Exchange {
    Http1(Http1),
    Http2(Http2),
}

/// One request and its response.
pub(in crate::connect) struct Asking {
    exchange: Exchange,
    answer: Answer,
    has_body: bool,
    /// Octets taken in.
    bytes: usize,
}

impl Asking {
    pub(in crate::connect) fn new(ask: Ask, protocol: Protocol) -> Self {
        let has_body = ask.has_body();
        let exchange = match protocol {
            Protocol::Http1 { minor } => Exchange::Http1(Http1::new(ask, minor)),
            Protocol::Http2 => Exchange::Http2(Http2::new(ask, false)),
            Protocol::Upgrade => Exchange::Http2(Http2::new(ask, true)),
        };
        Self { exchange, answer: Answer::default(), has_body, bytes: 0 }
    }

    /// Adds the request.
    pub(in crate::connect) fn begin(&mut self, out: &mut Vec<u8>) {
        match &mut self.exchange {
            Exchange::Http1(http1) => http1.begin(out),
            Exchange::Http2(http2) => http2.begin(out),
        }
    }

    /// Takes in an event; gives the ending if this is it. `reply` is what the layer below knows of
    /// the target.
    pub(in crate::connect) fn handle(
        &mut self,
        event: Event<'_>,
        reply: Reply,
        out: &mut Vec<u8>,
    ) -> Option<Ending> {
        let progress = match event {
            Event::Connected => return None,
            Event::Data(bytes) => self.data(bytes, out),
            _ => Progress::More,
        };
        let waiting = self.stage();
        let whole = self.answer.whole;
        let (stage, error) = match event {
            Event::Connected | Event::Data(_) => match progress {
                Progress::More => return None,
                Progress::Done => (Stage::Done, None),
                Progress::Wrong(word) => (waiting, Some(word)),
            },
            Event::PeerClosed => match &self.exchange {
                Exchange::Http1(http1) if http1.ends_with_connection() => (Stage::Done, None),
                _ if whole => (waiting, Some("Peer closed too early".into())),
                _ => (waiting, Some("Peer closed before it answered".into())),
            },
            Event::TimedOut if whole => (waiting, Some("Peer did not finish in time".into())),
            Event::TimedOut => (waiting, None),
            Event::Failed(fault) => (waiting, Some(fault.word.into())),
        };
        let state = match event {
            Event::Failed(fault) if fault.local => State::LocalError,
            _ if whole => State::Ok,
            Event::TimedOut => State::Timeout,
            _ => State::Failed,
        };
        Some(self.ending(state, stage, error, reply))
    }

    /// How the attempt ended for a reason of the layer below.
    pub(in crate::connect) fn broken(&mut self, error: Cow<'static, str>, reply: Reply) -> Ending {
        let state = if self.answer.whole { State::Ok } else { State::Failed };
        self.ending(state, self.stage(), Some(error), reply)
    }

    /// How far it has come.
    pub(in crate::connect) fn stage(&self) -> Stage {
        match &self.exchange {
            Exchange::Http2(http2) if http2.is_upgrading() => Stage::Request,
            _ => Stage::Response,
        }
    }

    fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Progress {
        let (bytes, over) = bytes.split_at(bytes.len().min(MOST_BYTES - self.bytes));
        self.bytes += bytes.len();
        let progress = match &mut self.exchange {
            Exchange::Http1(http1) => http1.data(bytes, &mut self.answer),
            Exchange::Http2(http2) => http2.data(bytes, &mut self.answer, out),
        };
        match progress {
            Progress::More if !over.is_empty() => Progress::Wrong("Peer sent too much".into()),
            other => other,
        }
    }

    fn ending(
        &mut self,
        state: State,
        stage: Stage,
        error: Option<Cow<'static, str>>,
        mut reply: Reply,
    ) -> Ending {
        reply.http_status = self.answer.status;
        reply.http_version = self.answer.version;
        if self.answer.whole && self.has_body {
            reply.http_body = Some(text(&self.answer.body));
        }
        let reply = (reply != Reply::default()).then(|| Box::new(reply));
        Ending { state, stage, error, reply }
    }
}

/// Octets as text, without a last character of which only a part was kept.
fn text(octets: &[u8]) -> String {
    let cut = match std::str::from_utf8(octets) {
        Err(wrong) if octets.len() == MOST_BODY && wrong.error_len().is_none() => {
            wrong.valid_up_to()
        }
        _ => octets.len(),
    };
    String::from_utf8_lossy(&octets[..cut]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_not_cut_inside_a_character() {
        let mut octets = vec![b'a'; MOST_BODY - 1];
        octets.push(0xc3);
        assert_eq!(text(&octets), "a".repeat(MOST_BODY - 1));
        assert_eq!(text(b"a\xc3\xa4\xff"), "aä\u{fffd}");
        assert_eq!(text(b"a\xc3"), "a\u{fffd}");
    }
}
