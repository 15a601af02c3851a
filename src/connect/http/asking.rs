//! The course of one request, whatever version of HTTP it is in and whatever carries it.

use std::borrow::Cow;

use super::ask::Ask;
use super::http1::Http1;
use super::http2::Http2;
use crate::connect::answer::{Answer, HTTP_INCOMPLETE, HTTP2_INCOMPLETE, HTTP2_TOO_LONG};
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
pub(super) struct Response {
    /// The status code of the final response.
    pub(super) status: Option<u16>,
    /// The version that it came in.
    pub(super) version: Option<&'static str>,
    /// Whether the response that was asked for has begun: its header was read whole.
    pub(super) whole: bool,
    body: Vec<u8>,
}

impl Response {
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
    /// It will not be: what went wrong, and what the peer has answered instead of a response, if it was not whole.
    Wrong(Cow<'static, str>, Answer),
}

impl Progress {
    pub(super) fn wrong(word: impl Into<Cow<'static, str>>, answer: Answer) -> Self {
        Self::Wrong(word.into(), answer)
    }
}

enum Exchange {
    Http1(Http1),
    Http2(Http2),
}

/// One request and its response.
pub(in crate::connect) struct Asking {
    exchange: Exchange,
    response: Response,
    has_body: bool,
    /// Octets of HTTP/2 taken in.
    bytes: usize,
    /// What the peer has answered where no octet of a response came.
    nothing: Option<Answer>,
}

impl Asking {
    /// A request. `nothing` is what the peer has answered in the layer below, if no octet of a response comes.
    pub(in crate::connect) fn new(ask: Ask, protocol: Protocol, nothing: Option<Answer>) -> Self {
        let has_body = ask.has_body();
        let exchange = match protocol {
            Protocol::Http1 { minor } => Exchange::Http1(Http1::new(ask, minor)),
            Protocol::Http2 => Exchange::Http2(Http2::new(ask, false)),
            Protocol::Upgrade => Exchange::Http2(Http2::new(ask, true)),
        };
        Self { exchange, response: Response::default(), has_body, bytes: 0, nothing }
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
        if let (Event::PeerClosed, Exchange::Http1(http1)) = (event, &self.exchange) {
            http1.closed(&mut self.response);
        }
        let waiting = self.stage();
        let whole = self.response.whole;
        let (stage, error, answer) = match event {
            Event::Connected | Event::Data(_) => match progress {
                Progress::More => return None,
                Progress::Done => (Stage::Done, None, None),
                Progress::Wrong(word, answer) => (waiting, Some(word), Some(answer)),
            },
            Event::PeerClosed => match &self.exchange {
                Exchange::Http1(http1) if http1.ends_with_connection() => (Stage::Done, None, None),
                _ if whole => (waiting, Some("Peer closed too early".into()), None),
                _ => (waiting, Some("Peer closed before it answered".into()), self.partial()),
            },
            Event::TimedOut if whole => (waiting, Some("Peer did not finish in time".into()), None),
            Event::TimedOut => (waiting, None, self.partial()),
            Event::Failed(fault) => (waiting, Some(fault.word.into()), self.partial()),
        };
        let state = match event {
            Event::Failed(fault) if fault.local => State::LocalError,
            _ if whole => State::Ok,
            Event::TimedOut => State::Timeout,
            _ => State::Failed,
        };
        Some(self.ending(Ending { state, stage, error, answer, reply: None }, reply))
    }

    /// How the attempt ended for a reason of the layer below, and what the peer answered there.
    pub(in crate::connect) fn broken(
        &mut self,
        error: Cow<'static, str>,
        answer: Answer,
        reply: Reply,
    ) -> Ending {
        let state = if self.response.whole { State::Ok } else { State::Failed };
        let (stage, error, answer) = (self.stage(), Some(error), Some(answer));
        self.ending(Ending { state, stage, error, answer, reply: None }, reply)
    }

    /// How far it has come.
    pub(in crate::connect) fn stage(&self) -> Stage {
        match &self.exchange {
            Exchange::Http2(http2) if http2.is_upgrading() => Stage::Request,
            _ => Stage::Response,
        }
    }

    /// What the peer has answered so far, where its response is not whole.
    fn partial(&self) -> Option<Answer> {
        match &self.exchange {
            Exchange::Http1(http1) if http1.has_begun() => Some(HTTP_INCOMPLETE),
            Exchange::Http2(http2) if http2.is_upgrading() && self.bytes > 0 => {
                Some(HTTP_INCOMPLETE)
            }
            Exchange::Http2(_) if self.bytes > 0 => Some(HTTP2_INCOMPLETE),
            _ => self.nothing,
        }
    }

    fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Progress {
        let http2 = match &mut self.exchange {
            // It has bounds of its own for header and content.
            Exchange::Http1(http1) => return http1.data(bytes, &mut self.response),
            Exchange::Http2(http2) => http2,
        };
        let (bytes, over) = bytes.split_at(bytes.len().min(MOST_BYTES - self.bytes));
        self.bytes += bytes.len();
        match http2.data(bytes, &mut self.response, out) {
            Progress::More if !over.is_empty() => {
                Progress::wrong("Peer sent too much", HTTP2_TOO_LONG)
            }
            other => other,
        }
    }

    /// Adds what was read of the response. Where it is whole, its status is the answer.
    fn ending(&mut self, ending: Ending, mut reply: Reply) -> Ending {
        reply.http_status = self.response.status;
        reply.http_version = self.response.version;
        if self.response.whole && self.has_body {
            reply.http_body = Some(text(&self.response.body));
        }
        let answer = match ending.state {
            State::LocalError => None,
            _ if self.response.whole => self.response.status.and_then(Answer::of_status),
            _ => ending.answer,
        };
        let reply = (reply != Reply::default()).then(|| Box::new(reply));
        Ending { answer, reply, ..ending }
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
