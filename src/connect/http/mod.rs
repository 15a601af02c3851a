//! Kind `http`, and `h2` without TLS: one request, and its response.
//!
//! The target counts as reached when the whole header of a final response was read, whatever its
//! status, or when the peer closed after a complete status line. How the rest of the read ends is recorded as the
//! attempt's error, but does not revert the `ok`. A status that is not a success is recorded as the answer.
//!
//! # Memory
//!
//! In HTTP/1 at most [`MOST_HEAD`] octets of header are read and 1 KiB of them kept, and
//! [`MOST_BYTES`](super::tcp::MOST_BYTES) of content, of which the first 256 octets are kept; chunks and trailers are
//! read octet by octet and not kept. In HTTP/2 [`MOST_BYTES`](super::tcp::MOST_BYTES) are read in all. Kept are one
//! incomplete frame (at most 16 KiB and 9 octets, plus the rest of the same read), one header block (16 KiB), its
//! pseudo-header fields (16 KiB), and the dynamic table (4096 octets as RFC 7541 counts
//! them). Answers to PING and SETTINGS are no longer than the frames they answer, so a peer that does not read them
//! makes us hold at most as much as it has sent.
//!
//! [`Exchange`] is the part that is the same with and without TLS.

mod exchange;
mod head;
mod http1;
mod http2;
mod request;

pub(super) use exchange::{Exchange, Protocol};
pub(super) use head::MOST_HEAD;
pub(super) use request::Request;

use super::{Action, Ending, Event, Machine, Stage, State};
use crate::connect::Reply;

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
}

#[cfg(test)]
mod tests;
