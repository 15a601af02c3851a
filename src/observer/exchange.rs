//! The course of an exchange by its packets: when it was sent, when it was answered, and how long this host kept
//! the target waiting.
//!
//! These are not facts about the path and do not become columns. The merge checks attempts against them: a response
//! that crossed the interface and did not reach the socket is this host's fault, and packet times decide whether a
//! response was in time, not the time at which the event loop woke.

use crate::field::Timestamp;
use crate::packet::tcp_option::{kind, options};
use crate::packet::{Direction, Packet, Tcp, Transport, flag};

/// The course of one exchange. Times are those of the capture; `None` where there was no such packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exchange {
    /// The first packet to the target.
    pub sent: Option<Timestamp>,
    /// The first packet from the target that answers it: a SYN-ACK or reset that acknowledges the SYN
    /// (RFC 9293, 3.10.7.3), or a datagram. Of a datagram in fragments, that which makes it complete: without the others
    /// the socket gets nothing.
    pub answered: Option<Timestamp>,
    /// Whether a reset or an ICMP error came that fits what was sent and may explain a socket's error.
    pub refused: bool,
    /// Whether a bare SYN came before the target's response. The kernel takes it for a simultaneous open (RFC 9293, 3.5)
    /// and then rejects the response. A bare SYN has nothing that could be checked.
    pub crossed: bool,
    /// The first segment of data that follows a SYN-ACK without a gap.
    pub data: Option<Timestamp>,
    /// The last packet from the target with data or, before this host has closed, with a FIN. What the target sends
    /// because this host closed is not part of its response.
    pub last: Option<Timestamp>,
    /// Nanoseconds from packets of the target to the packets that this host sent next, summed up.
    pub own_delay: i64,
    /// The values of the first and the last timestamp option on our SYNs.
    stamps: Option<(u32, u32)>,
    /// The first octet from the target.
    first: Option<u32>,
    /// The last packet from the target that may need a response, if this host sent nothing since.
    pending: Option<Timestamp>,
    /// Whether this host has sent a FIN or a reset.
    closed: bool,
    /// Octets that later fragments of a datagram from the target still have to bring.
    missing: Option<i64>,
}

impl Exchange {
    /// Whether this host's kernel rejects a segment from the target for its timestamp option: an echo of a value that was
    /// not sent, unless it is 0 (RFC 7323, 5.2 and Linux's tcp_rcv_synsent_state_process).
    pub(super) fn refuses(&self, packet: &Packet<'_>, direction: Direction) -> bool {
        let Some((first, last)) = self.stamps else { return false };
        let synack = |tcp: &&Tcp<'_>| tcp.has(flag::SYN) && direction == Direction::Reverse;
        let echo = packet.tcp().filter(synack).and_then(stamp).map(|(_, echo)| echo);
        echo.is_some_and(|echo| echo != 0 && echo.wrapping_sub(first) > last.wrapping_sub(first))
    }

    /// Records a packet that does not fit the flow.
    pub(super) fn unexpected(&mut self, packet: &Packet<'_>, direction: Direction) {
        let is_bare = |tcp: &Tcp<'_>| tcp.flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN;
        let is_first = direction == Direction::Reverse && self.answered.is_none();
        self.crossed |= is_first && packet.tcp().is_some_and(is_bare);
    }

    /// Records a packet that fits the flow.
    pub(super) fn packet(&mut self, packet: &Packet<'_>, direction: Direction) {
        match (packet.quote(), direction) {
            // An error comes from a router, not from the target.
            (Some(_), Direction::Reverse) => self.refused = true,
            (Some(_), Direction::Forward) => {}
            (None, Direction::Forward) => self.forward(packet),
            (None, Direction::Reverse) => self.reverse(packet),
        }
    }

    fn forward(&mut self, packet: &Packet<'_>) {
        self.sent.get_or_insert(packet.time);
        let says = match &packet.transport {
            Transport::Tcp(tcp) => {
                if tcp.has(flag::SYN)
                    && let Some((value, _)) = stamp(tcp)
                {
                    self.stamps = Some((self.stamps.map_or(value, |(first, _)| first), value));
                }
                self.closed |= tcp.has(flag::FIN) || tcp.has(flag::RST);
                // The kernel sends pure acknowledgments by itself, the program sends data.
                tcp.payload > 0
            }
            _ => true,
        };
        if says && let Some(heard) = self.pending.take() {
            self.own_delay += packet.time.0.saturating_sub(heard.0).max(0);
        }
    }

    fn reverse(&mut self, packet: &Packet<'_>) {
        let says = |tcp: &Tcp<'_>| tcp.payload > 0 || !self.closed && tcp.has(flag::FIN);
        if packet.tcp().is_none_or(says) {
            self.last = Some(packet.time);
        }
        // A pure acknowledgment needs no response.
        if packet.is_data() || packet.tcp().is_some_and(|tcp| tcp.has(flag::SYN)) {
            self.pending = Some(packet.time);
        }
        match &packet.transport {
            Transport::Tcp(tcp) => {
                self.refused |= tcp.has(flag::RST);
                if tcp.has(flag::SYN | flag::ACK) || tcp.has(flag::RST) {
                    self.answered.get_or_insert(packet.time);
                }
                if tcp.has(flag::SYN) {
                    self.first.get_or_insert(tcp.sequence.wrapping_add(1));
                } else if self.first == Some(tcp.sequence) && tcp.payload > 0 {
                    self.data.get_or_insert(packet.time);
                }
            }
            Transport::Udp(udp) => {
                let missing = i64::from(udp.length) - content(packet);
                match packet.ip.fragment {
                    Some(_) if missing > 0 => self.missing = Some(missing),
                    _ => self.datagram(packet.time),
                }
            }
            _ if packet.ip.is_later_fragment() => {
                if let Some(missing) = &mut self.missing {
                    *missing -= content(packet);
                    if *missing <= 0 {
                        self.missing = None;
                        self.datagram(packet.time);
                    }
                }
            }
            _ => {}
        }
    }

    /// A datagram from the target is complete.
    fn datagram(&mut self, at: Timestamp) {
        self.answered.get_or_insert(at);
        self.data.get_or_insert(at);
    }

    /// Combines two parts of one flow; `self` came first.
    pub fn and(self, later: Self) -> Self {
        Self {
            sent: self.sent.or(later.sent),
            answered: self.answered.or(later.answered),
            refused: self.refused || later.refused,
            crossed: self.crossed || later.crossed,
            data: self.data.or(later.data),
            last: later.last.or(self.last),
            own_delay: self.own_delay + later.own_delay,
            ..later
        }
    }
}

/// Octets of a fragment without its headers; more if those have options.
fn content(packet: &Packet<'_>) -> i64 {
    let headers = if packet.ip.source.is_ipv4() { 20 } else { 40 + 8 };
    i64::from(packet.ip.length) - headers
}

/// Value and echo of a segment's timestamp option (RFC 7323, 3.2).
fn stamp(tcp: &Tcp<'_>) -> Option<(u32, u32)> {
    let option = options(tcp.options).find(|option| option.kind == kind::TIMESTAMPS)?;
    let (value, echo) = option.value.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*value), u32::from_be_bytes(*echo.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Ip, Udp, protocol};

    const SYN: u16 = flag::SYN;
    const ACK: u16 = flag::ACK;
    const FIN: u16 = flag::FIN;
    const RST: u16 = flag::RST;

    fn segment(at: i64, flags: u16, numbers: (u32, u32), payload: u32) -> Packet<'static> {
        segment_with(at, flags, numbers, payload, &[])
    }

    fn segment_with(
        at: i64,
        flags: u16,
        (sequence, acknowledgment): (u32, u32),
        payload: u32,
        options: &[u8],
    ) -> Packet<'_> {
        let (window, whole, data) = (1000, true, &[][..]);
        let tcp = Tcp { flags, sequence, acknowledgment, window, payload, options, whole, data };
        let ip = Ip { protocol: protocol::TCP, ..Packet::blank(Timestamp(at)).ip };
        let transport = Transport::Tcp(tcp);
        Packet { ip, transport, ..Packet::blank(Timestamp(at)) }
    }

    #[test]
    fn a_datagram_in_fragments_answers_once_it_is_complete() {
        let udp = |at, fragment, length: u32| {
            let udp = Udp { length: 2000, checksum: 0, data: &[], cut: true };
            let blank = Packet::blank(Timestamp(at));
            let ip = Ip { protocol: protocol::UDP, fragment, length, ..blank.ip };
            let transport = match fragment {
                Some(1..) => Transport::Other,
                _ => Transport::Udp(udp),
            };
            Packet { ip, transport, ..Packet::blank(Timestamp(at)) }
        };
        let sent = (Forward, udp(1, None, 2020));
        let (first, later) = (udp(2, Some(0), 1500), udp(3, Some(1480), 540));
        for (answers, answered) in [
            (vec![udp(2, None, 2020)], Some(2)),
            (vec![first.clone()], None),
            (vec![later.clone()], None),
            (vec![first.clone(), later.clone()], Some(3)),
            (vec![first.clone(), udp(3, Some(1480), 539)], None),
        ] {
            let answers = answers.into_iter().map(|packet| (Reverse, packet));
            let exchange = course(&[sent.clone()].into_iter().chain(answers).collect::<Vec<_>>());
            assert_eq!(exchange.answered, answered.map(Timestamp));
            assert_eq!((exchange.data, exchange.last.is_some()), (exchange.answered, true));
        }
    }

    /// The exchange after these packets.
    fn course(packets: &[(Direction, Packet<'_>)]) -> Exchange {
        let mut exchange = Exchange::default();
        for (way, packet) in packets {
            if !exchange.refuses(packet, *way) {
                exchange.packet(packet, *way);
            }
        }
        exchange
    }

    use Direction::{Forward, Reverse};

    #[test]
    fn a_syn_ack_or_a_reset_is_an_answer() {
        for (flags, answers, refuses) in [
            (SYN | ACK, true, false),
            (RST | ACK, true, true),
            (RST, true, true),
            (ACK, false, false),
        ] {
            let answer = segment(2, flags, (7, 1001), 0);
            let exchange = course(&[(Forward, segment(1, SYN, (1000, 0), 0)), (Reverse, answer)]);
            assert_eq!(exchange.sent, Some(Timestamp(1)));
            assert_eq!(exchange.answered, answers.then_some(Timestamp(2)), "{flags:#x}");
            assert_eq!(exchange.refused, refuses, "{flags:#x}");
        }
    }

    #[test]
    fn an_echo_of_a_value_that_was_not_sent_is_not_an_answer() {
        let option = |value: u8, echo: u8| [1, 1, 8, 10, 0, 0, 0, value, 0, 0, 0, echo];
        let (first, again) = (option(5, 0), option(9, 0));
        for (echo, answers) in [(5, true), (7, true), (9, true), (4, false), (10, false), (0, true)]
        {
            let echo = option(99, echo);
            let exchange = course(&[
                (Forward, segment_with(1, SYN, (1000, 0), 0, &first)),
                (Forward, segment_with(2, SYN, (1000, 0), 0, &again)),
                (Reverse, segment_with(3, SYN | ACK, (7, 1001), 0, &echo)),
            ]);
            assert_eq!(exchange.answered.is_some(), answers, "{echo:?}");
        }
    }

    #[test]
    fn data_follows_the_syn_ack_without_a_gap() {
        for (sequence, follows) in [(8, true), (9, false), (7, false)] {
            let exchange = course(&[
                (Forward, segment(1, SYN, (1000, 0), 0)),
                (Reverse, segment(2, SYN | ACK, (7, 1001), 0)),
                (Reverse, segment(3, ACK, (sequence, 1001), 20)),
            ]);
            assert_eq!(exchange.data.is_some(), follows, "{sequence}");
        }
    }

    #[test]
    fn own_delay_is_the_time_until_this_host_sends_data() {
        let exchange = course(&[
            (Forward, segment(10, SYN, (1000, 0), 0)),
            (Reverse, segment(20, SYN | ACK, (7, 1001), 0)),
            // Sent by the kernel.
            (Forward, segment(21, ACK, (1001, 8), 0)),
            (Forward, segment(50, ACK, (1001, 8), 100)),
            (Reverse, segment(60, ACK, (8, 1101), 0)),
            (Reverse, segment(70, ACK, (8, 1101), 9)),
            (Forward, segment(75, ACK, (1101, 17), 5)),
        ]);
        assert_eq!(exchange.own_delay, 30 + 5, "the target's pause from 60 to 70 is not ours");
        assert_eq!(exchange.last, Some(Timestamp(70)));
    }

    #[test]
    fn packets_after_this_host_closed_are_not_part_of_the_answer() {
        for (ours, theirs, payload, last) in [
            (ACK, ACK | FIN, 0, 90),
            (ACK | FIN, ACK | FIN, 0, 30),
            (ACK | FIN, ACK | FIN, 5, 90),
            (ACK | FIN, ACK, 0, 30),
            (ACK, ACK, 0, 30),
        ] {
            let exchange = course(&[
                (Forward, segment(10, SYN, (1000, 0), 0)),
                (Reverse, segment(20, SYN | ACK, (7, 1001), 0)),
                (Reverse, segment(30, ACK, (8, 1001), 9)),
                (Forward, segment(80, ours, (1001, 17), 0)),
                (Reverse, segment(90, theirs, (17, 1001), payload)),
            ]);
            assert_eq!(exchange.last, Some(Timestamp(last)), "{ours} {theirs} {payload}");
        }
    }

    #[test]
    fn parts_of_a_flow_are_one_exchange() {
        let syn = course(&[(Forward, segment(1, SYN, (1000, 0), 0))]);
        let rest = course(&[(Reverse, segment(5, ACK, (8, 1001), 9))]);
        let both = syn.and(rest);
        assert_eq!((both.sent, both.last), (Some(Timestamp(1)), Some(Timestamp(5))));
    }
}
