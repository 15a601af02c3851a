//! Kind `http`, and `h2` without TLS: one request, and its response.
//!
//! The target counts as reached when the whole header of a final response was read, whatever its
//! status, or when the peer closed after a complete status line. How the rest of the read ends is recorded as the
//! attempt's error, but does not revert the `ok`. A status that is not a success is recorded as the answer.
//!
//! # Memory
//!
//! In HTTP/1 at most 300 KiB of header are read and 1 KiB of them kept, and
//! [`MOST_BYTES`] of content or what `read` allows, of which the first 256 octets are kept; chunks and trailers are
//! read octet by octet and not kept. In HTTP/2 as much is read in all. Kept are one
//! incomplete frame (at most 16 KiB and 9 octets, plus the rest of the same read), one header block (16 KiB), its
//! pseudo-header fields (16 KiB), and the dynamic table (4096 octets as RFC 7541 counts
//! them). Answers to PING and SETTINGS are no longer than the frames they answer, so a peer that does not read them
//! makes us hold at most as much as it has sent.
//!
//! `Exchange` is the part that is the same with and without TLS.

mod exchange;
mod head;
mod http1;
mod http2;
mod meter;
mod request;
mod response;

pub(super) use exchange::{Exchange, Protocol};
pub(super) use head::MOST_HEAD;
pub(super) use request::Request;

use std::time::Duration;

use super::cost::{Part, reading, segment, segments, stream};
use super::facts::{Reply, Stage, State};
use super::kind::{Conflict, KindDef, Started};
use super::machine::{Action, Ending, Event, Machine, Peer};
use super::options::{
    ALPN, GROUP, METHOD, Options, PATH, READ, REQUEST_OCTETS, TFO, VERSION, alpn_of,
};
use super::tcp::{self, MOST_BYTES};

/// The row of the kind.
pub(super) const KIND: KindDef = KindDef {
    name: "http",
    doc: "request a page by HTTP without encryption",
    options: &[&TFO, &VERSION, &METHOD, &PATH, &REQUEST_OCTETS, &READ],
    versions: &["1.1", "1.0", "h2c", "h2c_upgrade"],
    columns: &[
        "http_status",
        "http_version",
        "http_body",
        "http_octets",
        "time_to_first_octet",
        "goodput",
    ],
    most_read: |options| options.most_read(MOST_BYTES + MOST_HEAD),
    memory: 8 * MOST_BYTES,
    handshake_is_ok: false,
    conflict,
    start,
    cost: |options, timeout| cost(options, timeout, MOST_BYTES + MOST_HEAD),
    ..tcp::BASE
};

/// The machine for a request without TLS.
pub(super) fn start(options: &Options, peer: Peer<'_>) -> Started {
    let protocol = match options.word(&VERSION) {
        Some("1.0") => Protocol::Http1 { minor: 0 },
        Some("h2c") => Protocol::Http2,
        Some("h2c_upgrade") => Protocol::Upgrade,
        _ => Protocol::Http1 { minor: 1 },
    };
    Ok(Box::new(Http::new(Request::new(options, peer, "http")?, protocol)))
}

/// The packets of a request without TLS, of whose response at most this many octets are read.
pub(super) fn cost(options: &Options, timeout: Duration, read: usize) -> Vec<Part> {
    let mut parts = vec![request(options, timeout, 120, "fits a segment")];
    if options.word(&VERSION).is_some_and(|version| version.starts_with("h2c")) {
        let why = "with the other replies that HTTP/2 requires";
        parts.push(segment(timeout, "replies to HTTP/2 settings", 20, why));
    }
    reading(stream(timeout, options.most_read(read), parts), options.read())
}

/// The request, padded or not.
pub(super) fn request(options: &Options, timeout: Duration, octets: u64, why: &str) -> Part {
    match options.request_octets() {
        Some(octets) => {
            segments(timeout, "request", octets as u64, "as many as the path's MTU needs")
        }
        None => segment(timeout, "request", octets, why),
    }
}

/// A version of HTTP that the kind does not support, or options that it makes useless.
pub(super) fn conflict(kind: &KindDef, options: &Options) -> Option<Conflict> {
    let version = options.word(&VERSION)?;
    if options.request_octets().is_some() && !version.starts_with("1.") {
        let message = format!("a request in HTTP version `{version}` cannot be padded");
        return Some((&REQUEST_OCTETS, message));
    }
    if !kind.versions.contains(&version) {
        let message = format!(
            "kind {} does not support HTTP version `{version}`, only `{}`",
            kind.name,
            kind.versions.join("`, `")
        );
        return Some((&VERSION, message));
    }
    let plain = version.starts_with("h2c");
    if let Some(alpn) = options.texts(&ALPN)
        && (plain || !alpn.iter().any(|offered| offered == alpn_of(version)))
    {
        let message = match plain {
            true => format!("HTTP version `{version}` has no TLS to offer protocols in"),
            false => format!("HTTP version `{version}` is not among the offered protocols"),
        };
        return Some((&ALPN, message));
    }
    let message = || format!("HTTP version `{version}` has no TLS, so it has no groups");
    (plain && options.words(&GROUP).is_some()).then(|| (&GROUP, message()))
}

/// One request without encryption.
pub struct Http {
    exchange: Exchange,
    connected: bool,
    begun: bool,
}

impl Http {
    /// The machine for a request in a version of HTTP.
    pub(super) fn new(request: Request, protocol: Protocol) -> Self {
        Self { exchange: Exchange::new(request, protocol, None), connected: false, begun: false }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.exchange.begin(out);
        }
    }
}

impl Machine for Http {
    fn handle(&mut self, event: Event<'_>, out: &mut Vec<u8>) -> Action {
        if !self.connected {
            return match event {
                Event::Connected => {
                    self.connected = true;
                    self.begin(out);
                    Action::Wait
                }
                Event::Failed(fault) => Action::Close(Ending::failed(fault, Stage::Connect)),
                Event::TimedOut => Action::Close(Ending::new(State::Timeout, Stage::Connect, None)),
                Event::Data(_) | Event::PeerClosed => Action::Wait,
            };
        }
        match self.exchange.handle(event, Reply::default(), out) {
            Some(ending) => Action::Close(ending),
            None => Action::Wait,
        }
    }

    fn stage(&self) -> Stage {
        if self.connected { self.exchange.stage() } else { Stage::Connect }
    }

    fn early(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
    }

    fn set_elapsed(&mut self, elapsed: Duration) {
        self.exchange.set_elapsed(elapsed);
    }
}

#[cfg(test)]
mod tests;
