//! Kind `tcp`: connect, half-close, read until the peer closes.
//!
//! The target counts as reached when the handshake is done. Reading on costs the target nothing and puts
//! on the wire what the observer needs: data that can carry marks, and both FINs. How
//! reading ends is recorded as the attempt's error, but does not revert the `ok`.
//!
//! # Memory
//!
//! Octets read are counted, up to [`MOST_BYTES`], and not kept.

use super::cost::stream;
use super::facts::{Stage, State};
use super::kind::{KindDef, Transport};
use super::machine::{Action, Ending, Event, Fault, Machine};

/// The base of the rows of kinds over TCP, beginning with `tcp`.
pub(super) const BASE: KindDef = KindDef {
    name: "tcp",
    doc: "open a TCP connection, half-close it, and read what the server sends until it closes too",
    transport: Transport::Tcp,
    port: 80,
    port_for: |_| None,
    options: &[],
    versions: &[],
    columns: &[],
    most_read: |_| MOST_BYTES,
    memory: 4 << 10,
    early: false,
    handshake_is_ok: true,
    conflict: |_, _| None,
    start: |_, _| Ok(Box::new(Tcp::default())),
    cost: |_, timeout| stream(timeout, MOST_BYTES, Vec::new()),
};

/// One connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Tcp {
    /// The SYN is on its way.
    #[default]
    Connecting,
    /// The handshake is done and the FIN sent.
    Reading {
        /// Bytes read so far.
        bytes: usize,
    },
}

/// The most octets read from any target: enough to see marks, and little load on the target.
pub const MOST_BYTES: usize = 64 << 10;

impl Machine for Tcp {
    fn handle(&mut self, event: Event<'_>, _out: &mut Vec<u8>) -> Action {
        let ok = |stage, error| Action::Close(Ending::new(State::Ok, stage, error));
        match (*self, event) {
            (Tcp::Connecting, Event::Connected) => {
                *self = Tcp::Reading { bytes: 0 };
                Action::HalfClose
            }
            (Tcp::Connecting, Event::Failed(fault)) => {
                Action::Close(Ending::failed(fault, Stage::Connect))
            }
            (Tcp::Reading { .. }, Event::Failed(fault @ Fault { local: true, .. })) => {
                Action::Close(Ending::failed(fault, Stage::Response))
            }
            (Tcp::Connecting, Event::TimedOut) => {
                Action::Close(Ending::new(State::Timeout, Stage::Connect, None))
            }
            (Tcp::Connecting, Event::Data(_) | Event::PeerClosed) => Action::Wait,
            (Tcp::Reading { .. }, Event::Connected) => Action::Wait,
            (Tcp::Reading { bytes }, Event::Data(more)) => {
                let bytes = bytes.saturating_add(more.len());
                *self = Tcp::Reading { bytes };
                if bytes > MOST_BYTES {
                    ok(Stage::Response, Some("Peer sent too much"))
                } else {
                    Action::Wait
                }
            }
            (Tcp::Reading { .. }, Event::PeerClosed) => ok(Stage::Done, None),
            (Tcp::Reading { .. }, Event::Failed(Fault { word, .. })) => {
                ok(Stage::Response, Some(word))
            }
            (Tcp::Reading { .. }, Event::TimedOut) => {
                ok(Stage::Response, Some("Peer did not close in time"))
            }
        }
    }

    fn stage(&self) -> Stage {
        match self {
            Tcp::Connecting => Stage::Connect,
            Tcp::Reading { .. } => Stage::Response,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Fault = Fault { word: "Connection refused", local: false };
    const NO_ROUTE: Fault = Fault { word: "Network is unreachable", local: true };

    /// Events until the connection is closed, and how.
    fn end(events: &[Event<'_>]) -> Option<Ending> {
        let mut tcp = Tcp::default();
        events.iter().find_map(|event| match tcp.handle(*event, &mut Vec::new()) {
            Action::Close(ending) => Some(ending),
            Action::Wait | Action::HalfClose => None,
        })
    }

    #[test]
    fn every_ending() {
        use Event::*;
        use Stage::{Connect, Done, Response};
        let late = Some("Peer did not close in time");
        let much = Some("Peer sent too much");
        let (refused, no_route) = (Some(REFUSED.word), Some(NO_ROUTE.word));
        let flood = vec![0; MOST_BYTES];
        for (events, state, stage, error) in [
            (&[Connected, Data(b"ab"), Data(b"c"), PeerClosed][..], State::Ok, Done, None),
            (&[Connected, Data(b"a"), Data(&flood)], State::Ok, Response, much),
            (&[Connected, PeerClosed], State::Ok, Done, None),
            (&[Connected, Failed(REFUSED)], State::Ok, Response, refused),
            (&[Connected, Data(b"a"), TimedOut], State::Ok, Response, late),
            (&[Failed(REFUSED)], State::Failed, Connect, refused),
            (&[TimedOut], State::Timeout, Connect, None),
            (&[Failed(NO_ROUTE)], State::LocalError, Connect, no_route),
            (&[Connected, Failed(NO_ROUTE)], State::LocalError, Response, no_route),
        ] {
            assert_eq!(end(events), Some(Ending::new(state, stage, error)), "{events:?}");
        }
    }

    #[test]
    fn half_close_happens_once_after_the_handshake() {
        let (mut tcp, mut out) = (Tcp::default(), Vec::new());
        assert_eq!(tcp.handle(Event::Data(b"a"), &mut out), Action::Wait);
        assert_eq!(tcp.handle(Event::Connected, &mut out), Action::HalfClose);
        assert_eq!(tcp.handle(Event::Connected, &mut out), Action::Wait);
        assert!(out.is_empty());
    }
}
