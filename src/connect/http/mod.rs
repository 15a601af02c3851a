//! Kind `http`, and `h2` without TLS: one request, and its response.
//!
//! The target counts as reached when the header of a final response was read whole, whatever its
//! status, or when the peer closed after a whole status line. How reading on ends is noted as the attempt's error,
//! but does not undo the `ok`. A status other than one of success is noted as the answer.
//!
//! # Memory
//!
//! In HTTP/1 at most [`MOST_HEAD`] octets of header are read and 1 KiB of them kept, and
//! [`MOST_BYTES`](super::tcp::MOST_BYTES) of content, of which the first 256 octets are kept; chunks and trailers are
//! read octet by octet and not kept. In HTTP/2 [`MOST_BYTES`](super::tcp::MOST_BYTES) are read in all. Kept are one frame
//! that is not whole (at most 16 KiB and 9 octets, besides what came in the same read), one header block (16 KiB), the
//! fields kept of it (16 KiB), and the dynamic table (4096 octets as RFC 7541 counts
//! them). Answers to PING and SETTINGS are no longer than what they answer, so a peer that does not read them makes us
//! hold no more of them than it has sent.
//!
//! [`Asking`] is the part that is the same with TLS and without.

mod ask;
mod asking;
mod head;
mod http1;
mod http2;

pub(super) use ask::Ask;
pub(super) use asking::{Asking, Protocol};
pub(super) use head::MOST_HEAD;

use super::{Action, Ending, Event, Machine, Stage, State};
use crate::connect::Reply;

/// One request without encryption.
pub struct Http {
    asking: Asking,
    connected: bool,
    begun: bool,
}

impl Http {
    /// What is asked, and how.
    pub(super) fn new(ask: Ask, protocol: Protocol) -> Self {
        Self { asking: Asking::new(ask, protocol, None), connected: false, begun: false }
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            self.asking.begin(out);
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
        match self.asking.handle(event, Reply::default(), out) {
            Some(ending) => Action::Close(ending),
            None => Action::Wait,
        }
    }

    fn stage(&self) -> Stage {
        if self.connected { self.asking.stage() } else { Stage::Connect }
    }

    fn early(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
    }
}

#[cfg(test)]
mod tests;
