//! Checks whether a packet belongs to a flow, beyond its addresses and ports.
//!
//! A host off the path can forge any address and try all ports, but it does not see the flow's numbers.
//! So a reverse packet counts only if its numbers fit what was sent before:
//!
//! * A TCP segment acknowledges what was sent, and its sequence number is in the window that was
//!   advertised (RFC 9293, 3.10.7.4). A SYN-ACK acknowledges the SYN. A reset must fit likewise (RFC 5961, 3.2).
//! * An ICMP error quotes what was sent (RFC 5927, 4): a TCP sequence number, or for a datagram the IPv4
//!   identification, the IPv6 flow label, length, checksum and the first octets of the data. Fields beyond the end
//!   of the quote are not compared.
//! * The response to a DNS query of a run has the query's identifier (RFC 5452, 9.1).
//!
//! The capture of a run is taken on the sending host, so it has every packet that was sent. Other captures may
//! lack some: there a segment may also acknowledge anything that the other end's window allowed. A TCP flow
//! whose first packet is not a SYN cannot be checked.

mod datagram;

use crate::packet::tcp_option::{kind, options};
use crate::packet::{Direction, Packet, Quote, Tcp, Transport, Unread, flag, protocol};
use datagram::Datagram;

/// Whether a packet fits its flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// A packet of the flow.
    Fits,
    /// An ICMP error about the flow. This many octets of its quote, besides addresses and ports, match what was sent.
    Quotes(u8),
    /// It does not fit: forged, or of another connection.
    Unexpected,
}

/// What packets of a flow must match.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Expected {
    /// Nothing is known; every packet fits.
    #[default]
    Anything,
    /// A TCP connection.
    Segments(Segments),
    /// UDP datagrams.
    Datagram(Datagram),
}

impl Expected {
    /// Sets the expectation for a flow that begins with this packet. `own` means that it was captured on the sending
    /// host, in a run.
    pub(super) fn begin(&mut self, packet: &Packet<'_>, own: bool) {
        *self = match &packet.transport {
            Transport::Tcp(tcp) if own || tcp.has(flag::SYN) => {
                Self::Segments(Segments::of(tcp, own))
            }
            Transport::Udp(_) => Self::Datagram(Datagram::new(own)),
            _ => Self::Anything,
        };
    }

    /// Whether packets of a flow of this protocol can be checked.
    pub(super) fn checks(&self, protocol: u8) -> bool {
        protocol != protocol::TCP || matches!(self, Self::Segments(_))
    }

    /// Whether the flow began with a SYN.
    pub(super) fn has_syn(&self) -> bool {
        matches!(self, Self::Segments(segments) if segments.is(BY_SYN))
    }

    /// Updates the numbers by the flow's first packet, which always fits.
    #[inline(always)]
    pub(super) fn first(&mut self, packet: &Packet<'_>) -> Fit {
        match self {
            // [`of`](Self::of) has its numbers.
            Self::Segments(_) | Self::Anything => Fit::Fits,
            Self::Datagram(_) => self.other(packet, Direction::Forward),
        }
    }

    /// Checks a packet of the flow and updates the numbers.
    #[inline(always)]
    pub(super) fn packet(&mut self, packet: &Packet<'_>, direction: Direction) -> Fit {
        match (&mut *self, &packet.transport) {
            (Self::Segments(segments), Transport::Tcp(tcp)) => segments.segment(tcp, direction),
            (Self::Anything, _) => Fit::Fits,
            (_, _) => self.other(packet, direction),
        }
    }

    /// [`packet`](Self::packet) for everything but segments of a connection.
    #[inline(never)]
    fn other(&mut self, packet: &Packet<'_>, direction: Direction) -> Fit {
        match (self, packet.quote(), direction) {
            // An error sent by this host is about a packet that it received.
            (_, Some(_), Direction::Forward) => Fit::Fits,
            (Self::Segments(segments), Some(quote), _) => segments.quote(quote),
            (Self::Datagram(datagram), Some(quote), _) => datagram.quote(quote),
            (Self::Datagram(datagram), None, _) => match &packet.transport {
                Transport::Udp(udp) => datagram.datagram(packet, udp, direction),
                _ => Fit::Fits,
            },
            // The kernel drops a segment whose header contradicts itself.
            (Self::Segments(segments), None, Direction::Reverse)
                if segments.is(OWN) && packet.flaw == Some(Unread::BadTransport) =>
            {
                Fit::Unexpected
            }
            _ => Fit::Fits,
        }
    }
}

/// The capture was taken on the host that sent the first packet, in a run.
const OWN: u8 = 1;
/// The first packet was a SYN.
const BY_SYN: u8 = 2;
/// `next` and `edge` are known.
const KNOWN: u8 = 4;
/// `opened` is known.
const OPENED: u8 = 8;
/// The forward end has acknowledged something.
const CONFIRMED: u8 = 16;

/// The floor lags behind the acknowledgments by at least half of this, so that it and the end of what was sent are in
/// the same half of the sequence space.
const FAR: u32 = 1 << 30;
/// The largest shift of a window scale option (RFC 7323, 2.3).
const LARGEST_SHIFT: u8 = 14;

/// The sequence numbers of a TCP connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Segments {
    bits: u8,
    /// Window scales of the SYNs, forward and reverse; 0 without the option (RFC 7323).
    shifts: [u8; 2],
    /// The first number after that of the SYN.
    first: u32,
    /// The end of the SYN and its data.
    syn_end: u32,
    /// Acknowledgments below it do not fit.
    floor: u32,
    /// The end of everything that was sent.
    sent_end: u32,
    /// The end of the largest window that the other end has advertised.
    allowed: u32,
    /// The first number after that of the other end's SYN.
    opened: u32,
    /// The next number expected from the other end, as the forward end has acknowledged it.
    next: u32,
    /// The end of the advertised window.
    edge: u32,
    /// The largest window that was advertised.
    window: u32,
}

/// Whether a number is in a range of the sequence space, both ends included.
#[inline(always)]
fn within(number: u32, low: u32, high: u32) -> bool {
    number.wrapping_sub(low) <= high.wrapping_sub(low)
}

/// The later of two numbers.
#[inline(always)]
fn later(a: u32, b: u32) -> u32 {
    if a.wrapping_sub(b).cast_signed() > 0 { a } else { b }
}

/// The number after the last that a segment takes up.
#[inline(always)]
fn end(tcp: &Tcp<'_>) -> u32 {
    let control = (tcp.flags & flag::FIN) + (tcp.flags >> 1 & 1);
    tcp.sequence.wrapping_add(control.into()).wrapping_add(tcp.payload)
}

/// The shift of a SYN's window scale option, if there is one; 0 if it is empty.
fn shift(tcp: &Tcp<'_>) -> Option<u8> {
    let option = options(tcp.options).find(|option| option.kind == kind::WINDOW_SCALE)?;
    Some(option.value.first().map_or(0, |shift| LARGEST_SHIFT.min(*shift)))
}

impl Segments {
    fn of(tcp: &Tcp<'_>, own: bool) -> Self {
        let syn = tcp.has(flag::SYN);
        let first = tcp.sequence.wrapping_add(syn.into());
        let end = end(tcp);
        let mut bits = if own { OWN } else { 0 };
        bits |= if syn { BY_SYN } else { 0 };
        let mut segments = Self {
            bits,
            shifts: [if syn { shift(tcp).unwrap_or(0) } else { 0 }, 0],
            first,
            syn_end: end,
            floor: first,
            sent_end: end,
            allowed: end,
            opened: 0,
            next: 0,
            edge: 0,
            window: tcp.window.into(),
        };
        if tcp.has(flag::ACK) && !tcp.has(flag::RST) {
            segments.acknowledge(tcp, 0);
        }
        segments
    }

    #[inline(always)]
    fn is(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    #[inline(always)]
    fn segment(&mut self, tcp: &Tcp<'_>, direction: Direction) -> Fit {
        let fits = match direction {
            Direction::Forward => self.forward(tcp),
            Direction::Reverse => self.reverse(tcp),
        };
        if fits { Fit::Fits } else { Fit::Unexpected }
    }

    /// Handles a forward segment. One that does not fit is the kernel's response to a segment that does not fit either.
    #[inline(always)]
    fn forward(&mut self, tcp: &Tcp<'_>) -> bool {
        if tcp.flags & (flag::SYN | flag::RST) != 0 {
            return self.forward_control(tcp);
        }
        self.sent_end = later(end(tcp), self.sent_end);
        if tcp.has(flag::ACK) {
            self.acknowledge(tcp, self.shifts[0]);
        }
        true
    }

    fn forward_control(&mut self, tcp: &Tcp<'_>) -> bool {
        if tcp.has(flag::RST) {
            // Its sequence number is the one that the refused segment acknowledged (RFC 9293, 3.10.7.3).
            let initial = self.first.wrapping_sub(1);
            return !self.is(OWN) || within(tcp.sequence, initial, self.sent_end);
        }
        let first = tcp.sequence.wrapping_add(1);
        if self.is(BY_SYN) && self.first == first {
            if tcp.has(flag::ACK) && self.is(OWN) && !self.is(CONFIRMED) {
                // The kernel responds to a bare SYN of the other end (simultaneous open, RFC 9293, 3.5).
                return false;
            }
            // A retransmission may have less data; the first SYN's data may still be acknowledged.
            self.syn_end = later(end(tcp), self.syn_end);
            self.sent_end = later(self.syn_end, self.sent_end);
        } else if self.is(OWN) && tcp.has(flag::ACK) {
            return false;
        } else {
            *self = Self::of(tcp, self.is(OWN));
        }
        true
    }

    /// Records the acknowledgment and the window of a forward segment.
    #[inline(always)]
    fn acknowledge(&mut self, tcp: &Tcp<'_>, shift: u8) {
        let window = u32::from(tcp.window) << shift;
        let edge = tcp.acknowledgment.wrapping_add(window);
        if self.is(KNOWN) && self.is(OWN) {
            self.next = later(tcp.acknowledgment, self.next);
            self.edge = later(edge, self.edge);
        } else if self.is(KNOWN) && self.edge.wrapping_sub(tcp.acknowledgment) <= FAR {
            self.next = tcp.acknowledgment;
            self.edge = later(edge, self.edge);
        } else {
            // The first one, or the capture has a segment with damaged numbers.
            (self.next, self.edge) = (tcp.acknowledgment, edge);
        }
        self.window = self.window.max(window);
        self.bits |= KNOWN | CONFIRMED;
    }

    /// Handles a reverse segment; false if it does not fit.
    #[inline(always)]
    fn reverse(&mut self, tcp: &Tcp<'_>) -> bool {
        if tcp.flags & (flag::SYN | flag::RST) != 0 {
            return self.reverse_control(tcp);
        }
        let own = self.is(OWN);
        let fits = match (tcp.has(flag::ACK), self.is(KNOWN)) {
            (true, true) => self.is_acknowledgment(tcp) & self.is_in_window(tcp),
            // This host's kernel drops segments before the handshake, and segments without ACK.
            (acknowledges, _) if own => {
                acknowledges && !self.is(BY_SYN) && self.is_acknowledgment(tcp)
            }
            (true, false) => self.is_acknowledgment(tcp),
            (false, true) => self.is_in_window(tcp),
            (false, false) => true,
        };
        if fits && tcp.has(flag::ACK) {
            if tcp.acknowledgment.wrapping_sub(self.floor) > FAR {
                self.floor = tcp.acknowledgment.wrapping_sub(FAR / 2);
            }
            if !own {
                // The capture may lack segments that were sent and acknowledged in between.
                let window = u32::from(tcp.window) << self.shifts[1];
                self.allowed = later(tcp.acknowledgment.wrapping_add(window), self.allowed);
                self.edge = later(end(tcp).wrapping_add(self.window), self.edge);
            }
        }
        fits
    }

    fn reverse_control(&mut self, tcp: &Tcp<'_>) -> bool {
        let own = self.is(OWN);
        let acknowledges = within(tcp.acknowledgment, self.first, self.syn_end);
        match (tcp.has(flag::RST), tcp.has(flag::ACK)) {
            (true, _) if self.is(KNOWN) => self.is_in_window(tcp),
            (true, true) => self.is_acknowledgment(tcp),
            // It has only a sequence number, and there is nothing to compare it with.
            (true, false) => !own,
            (false, true) => {
                let next = tcp.sequence.wrapping_add(1);
                let again = !self.is(OPENED) || self.opened == next || !own && !self.is(CONFIRMED);
                if acknowledges && again {
                    self.open(tcp);
                }
                acknowledges && again
            }
            (false, false) => {
                if !own {
                    self.open(tcp);
                }
                !own
            }
        }
    }

    /// The other end's SYN.
    fn open(&mut self, tcp: &Tcp<'_>) {
        self.opened = tcp.sequence.wrapping_add(1);
        let shift = shift(tcp);
        self.shifts[1] = shift.unwrap_or(0);
        // Both ends scale their windows, or neither does (RFC 7323, 2.2).
        if shift.is_none() && tcp.whole {
            self.shifts[0] = 0;
        }
        if !self.is(CONFIRMED) {
            self.next = self.opened;
            self.edge = self.opened.wrapping_add(self.window);
        }
        let allowed = tcp.acknowledgment.wrapping_add(tcp.window.into());
        if tcp.has(flag::ACK) {
            self.allowed = later(allowed, self.allowed);
        }
        self.bits |= KNOWN | OPENED;
    }

    /// Whether it acknowledges what was sent and nothing beyond.
    #[inline(always)]
    fn is_acknowledgment(&self, tcp: &Tcp<'_>) -> bool {
        within(tcp.acknowledgment, self.floor, self.sent_at_most())
    }

    /// Whether its sequence number is in the window, or in the one before, as in a retransmission or keep-alive.
    #[inline(always)]
    fn is_in_window(&self, tcp: &Tcp<'_>) -> bool {
        let low = self.next.wrapping_sub(self.window).wrapping_sub(1);
        within(tcp.sequence, low, self.edge)
    }

    /// The end of what was sent, or of what may have been sent if the capture lacks packets.
    #[inline(always)]
    fn sent_at_most(&self) -> u32 {
        if self.is(OWN) { self.sent_end } else { later(self.allowed, self.sent_end) }
    }

    fn quote(&self, quote: &Quote<'_>) -> Fit {
        let sequence = quote.transport.get(4..8).and_then(|four| four.first_chunk().copied());
        match sequence.map(u32::from_be_bytes) {
            Some(sequence) => {
                let initial = self.floor.wrapping_sub(1);
                match within(sequence, initial, self.sent_at_most()) {
                    true => Fit::Quotes(4),
                    false => Fit::Unexpected,
                }
            }
            // RFC 792 requires eight octets, and kernels ignore shorter quotes.
            None if self.is(OWN) => Fit::Unexpected,
            None => Fit::Quotes(0),
        }
    }
}

#[cfg(test)]
mod tests;
