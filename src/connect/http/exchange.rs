//! One request and its response, in any version of HTTP, with and without TLS.

use std::borrow::Cow;
use std::time::Duration;

use super::http1::Http1;
use super::http2::Http2;
use super::request::Request;
use super::response::{Progress, Response};
use crate::connect::answer::{Answer, HTTP_INCOMPLETE, HTTP2_INCOMPLETE, HTTP2_TOO_LONG};
use crate::connect::facts::{Reply, Stage, State};
use crate::connect::machine::{Ending, Event};

/// The version of HTTP of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::connect) enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1 {
        /// The number after the dot.
        minor: u8,
    },
    /// HTTP/2 from the first octet.
    Http2,
    /// HTTP/1.1 with a request to upgrade to HTTP/2 (RFC 7540, 3.2).
    Upgrade,
}

enum Version {
    Http1(Http1),
    Http2(Http2),
}

/// One request and its response.
pub(in crate::connect) struct Exchange {
    version: Version,
    response: Response,
    has_body: bool,
    /// Octets of HTTP/2 received, and the most.
    bytes: usize,
    most: usize,
    /// The peer's answer if no octet of a response comes.
    nothing: Option<Answer>,
}

impl Exchange {
    /// A request. `nothing` is the peer's answer in the layer below, used if no octet of a response comes.
    pub(in crate::connect) fn new(
        request: Request,
        protocol: Protocol,
        nothing: Option<Answer>,
    ) -> Self {
        let (has_body, response) = (request.has_body(), Response::new(request.read));
        let most = request.most_read;
        let version = match protocol {
            Protocol::Http1 { minor } => Version::Http1(Http1::new(request, minor, most)),
            Protocol::Http2 => Version::Http2(Http2::new(request, false, most)),
            Protocol::Upgrade => Version::Http2(Http2::new(request, true, most)),
        };
        Self { version, response, has_body, bytes: 0, most, nothing }
    }

    /// The time since the attempt began.
    pub(in crate::connect) fn set_elapsed(&mut self, elapsed: Duration) {
        self.response.meter.set_now(elapsed);
    }

    /// Appends the request.
    pub(in crate::connect) fn begin(&mut self, out: &mut Vec<u8>) {
        self.response.meter.handle_request();
        match &mut self.version {
            Version::Http1(http1) => http1.begin(out),
            Version::Http2(http2) => http2.begin(out),
        }
    }

    /// Handles an event; returns the ending if the event ends the attempt. `reply` has the facts of the
    /// layer below.
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
        if let (Event::PeerClosed, Version::Http1(http1)) = (event, &self.version) {
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
            Event::PeerClosed => match &self.version {
                Version::Http1(http1) if http1.ends_with_connection() => (Stage::Done, None, None),
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

    /// The ending for an error of the layer below, with the peer's answer there.
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

    /// How far the attempt got.
    pub(in crate::connect) fn stage(&self) -> Stage {
        match &self.version {
            Version::Http2(http2) if http2.is_upgrading() => Stage::Request,
            _ => Stage::Response,
        }
    }

    /// The peer's answer so far, if its response is incomplete.
    fn partial(&self) -> Option<Answer> {
        match &self.version {
            Version::Http1(http1) if http1.has_begun() => Some(HTTP_INCOMPLETE),
            Version::Http2(http2) if http2.is_upgrading() && self.bytes > 0 => {
                Some(HTTP_INCOMPLETE)
            }
            Version::Http2(_) if self.bytes > 0 => Some(HTTP2_INCOMPLETE),
            _ => self.nothing,
        }
    }

    fn data(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Progress {
        let http2 = match &mut self.version {
            // Http1 bounds header and content itself.
            Version::Http1(http1) => {
                self.response.meter.handle_response();
                return http1.data(bytes, &mut self.response);
            }
            Version::Http2(http2) => http2,
        };
        let (bytes, over) = bytes.split_at(bytes.len().min(self.most - self.bytes));
        self.bytes += bytes.len();
        let progress = http2.data(bytes, &mut self.response, out);
        // The server's settings come before the response.
        if self.response.whole {
            self.response.meter.handle_response();
        }
        match progress {
            Progress::More if !over.is_empty() => {
                Progress::wrong("Peer sent too much", HTTP2_TOO_LONG)
            }
            other => other,
        }
    }

    /// Adds the facts of the response. If its header is complete, its status is the answer.
    fn ending(&mut self, ending: Ending, mut reply: Reply) -> Ending {
        reply.http_status = self.response.status;
        reply.http_version = self.response.version;
        if self.response.whole && self.has_body {
            reply.http_body = Some(self.response.text());
            reply.http_octets = Some(self.response.meter.octets());
            reply.goodput = self.response.meter.goodput();
        }
        if self.response.whole {
            reply.time_to_first_octet = self.response.meter.to_first_octet();
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
