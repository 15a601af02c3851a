//! What a socket is ready for.

use mio::Interest;
use mio::event::Event;

/// What the event loop reported about a socket. It describes the socket at that moment; whatever comes later is another
/// event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    /// It can be written, or has an error.
    pub(super) writable: bool,
    /// There is something to read: data, the peer's FIN or an error.
    pub(super) readable: bool,
    /// No error, no FIN and no urgent data is pending. So a TCP socket that can be written is connected, and one that
    /// returns fewer octets than it was asked for is empty (epoll(7)).
    pub(super) plain: bool,
}

impl Ready {
    /// What the event loop reports.
    pub(super) const INTEREST: Interest =
        Interest::READABLE.add(Interest::WRITABLE).add(Interest::PRIORITY);

    /// Perhaps anything: every call must be tried.
    pub(super) const UNKNOWN: Self = Self { writable: true, readable: true, plain: false };

    /// What an event says.
    pub(super) fn of(event: &Event) -> Self {
        let failed = event.is_error() || event.is_write_closed();
        let special = failed || event.is_read_closed() || event.is_priority();
        Self {
            writable: event.is_writable() || failed,
            readable: event.is_readable() || special,
            plain: !special,
        }
    }
}
