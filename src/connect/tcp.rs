//! Kind `tcp`: connect, half-close, read until the peer closes too.
//!
//! The target counts as reached when the handshake is done. Reading on costs it nothing and puts
//! on the wire what the observer wants to see: data that can carry marks, and both FINs. How
//! that part ends is noted as the attempt's error, but does not undo the `ok`.

use super::State;

/// What the driver reports of the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The handshake is done.
    Connected,
    /// So many bytes were read and thrown away.
    Data(usize),
    /// The peer's FIN was read.
    PeerClosed,
    /// The attempt's time is up.
    TimedOut,
    /// The socket reported an error; the word for it, and whose fault it is.
    Failed(Fault),
}

/// An error of the operating system, put to one of two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The word for it, for the `error` column.
    pub word: &'static str,
    /// Whether this host is to blame: no port, descriptor, buffer, route or permission.
    pub local: bool,
}

/// What the driver is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Wait for the next event.
    Wait,
    /// Send a FIN, then wait.
    HalfClose,
    /// Close the socket: this is how the attempt ended.
    Close(State, Option<&'static str>),
}

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

/// More than this is not read of any target: enough for marks, little enough for everybody.
pub const MOST_BYTES: usize = 64 << 10;

impl Tcp {
    /// Takes in an event and says what follows.
    pub fn handle(&mut self, event: Event) -> Action {
        match (*self, event) {
            (Tcp::Connecting, Event::Connected) => {
                *self = Tcp::Reading { bytes: 0 };
                Action::HalfClose
            }
            (_, Event::Failed(Fault { word, local: true })) => {
                Action::Close(State::LocalError, Some(word))
            }
            (Tcp::Connecting, Event::Failed(Fault { word, .. })) => {
                Action::Close(State::Failed, Some(word))
            }
            (Tcp::Connecting, Event::TimedOut) => Action::Close(State::Timeout, None),
            (Tcp::Connecting, Event::Data(_) | Event::PeerClosed) => Action::Wait,
            (Tcp::Reading { .. }, Event::Connected) => Action::Wait,
            (Tcp::Reading { bytes }, Event::Data(more)) => {
                let bytes = bytes.saturating_add(more);
                *self = Tcp::Reading { bytes };
                if bytes > MOST_BYTES {
                    Action::Close(State::Ok, Some("Peer sent too much"))
                } else {
                    Action::Wait
                }
            }
            (Tcp::Reading { .. }, Event::PeerClosed) => Action::Close(State::Ok, None),
            (Tcp::Reading { .. }, Event::Failed(Fault { word, .. })) => {
                Action::Close(State::Ok, Some(word))
            }
            (Tcp::Reading { .. }, Event::TimedOut) => {
                Action::Close(State::Ok, Some("Peer did not close in time"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: Fault = Fault { word: "Connection refused", local: false };
    const NO_ROUTE: Fault = Fault { word: "Network is unreachable", local: true };

    /// Events until the connection is closed, and how.
    fn end(events: &[Event]) -> Option<(State, Option<&'static str>)> {
        let mut tcp = Tcp::default();
        events.iter().find_map(|event| match tcp.handle(*event) {
            Action::Close(state, error) => Some((state, error)),
            Action::Wait | Action::HalfClose => None,
        })
    }

    #[test]
    fn every_way_to_end() {
        use Event::*;
        let late = Some("Peer did not close in time");
        for (events, expected) in [
            (&[Connected, Data(9), Data(9), PeerClosed][..], (State::Ok, None)),
            (&[Connected, Data(1), Data(MOST_BYTES)], (State::Ok, Some("Peer sent too much"))),
            (&[Connected, PeerClosed], (State::Ok, None)),
            (&[Connected, Failed(REFUSED)], (State::Ok, Some("Connection refused"))),
            (&[Connected, Data(1), TimedOut], (State::Ok, late)),
            (&[Failed(REFUSED)], (State::Failed, Some("Connection refused"))),
            (&[TimedOut], (State::Timeout, None)),
            (&[Failed(NO_ROUTE)], (State::LocalError, Some("Network is unreachable"))),
            (&[Connected, Failed(NO_ROUTE)], (State::LocalError, Some("Network is unreachable"))),
        ] {
            assert_eq!(end(events), Some(expected), "{events:?}");
        }
    }

    #[test]
    fn the_half_close_comes_once_and_only_after_the_handshake() {
        let mut tcp = Tcp::default();
        assert_eq!(tcp.handle(Event::Data(1)), Action::Wait);
        assert_eq!(tcp.handle(Event::Connected), Action::HalfClose);
        assert_eq!(tcp.handle(Event::Connected), Action::Wait);
    }
}
