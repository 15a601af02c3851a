//! Corrects an attempt by its packets, where they contradict the socket.
//!
//! A socket knows only what this host let through, and when the event loop processed it. Neither is about the path.
//! So an attempt is compared with the packets of its own flow: if an answer crossed the interface and never reached
//! the socket, this host is at fault; whether an answer was in time follows from packet times; and where this host
//! was too slow to distinguish, nothing is concluded.

use std::time::Duration;

use crate::connect::{Attempt, Ended, KindDef, Stage, State, dns};
use crate::field::Timestamp;
use crate::flags::{Flag, Flags};
use crate::observer::Exchange;
use crate::packet::protocol;

/// What the merge needs to know about how a configuration connects.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The IP protocol of its flows.
    pub protocol: u8,
    /// The timeout of one attempt.
    pub timeout: Duration,
    /// Whether an attempt is `ok` once the handshake is done.
    pub by_handshake: bool,
}

impl Way {
    /// For a connection kind.
    pub fn new(kind: &KindDef, protocol: u8, timeout: Duration) -> Self {
        Self { protocol, timeout, by_handshake: kind.handshake_is_ok }
    }
}

/// Why the socket's outcome of an attempt is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Correction {
    /// An answer crossed the interface in time, but did not reach the socket.
    NotDelivered,
    /// No packet of it crossed the interface.
    NotSeen,
    /// The answer came after the timeout, however late the event loop was.
    Late,
    /// This host was too slow to determine what the target would have done.
    Starved,
    /// Its end may be forged: the socket reported an error, and no packet that fits what was sent could have caused
    /// it; or a SYN that the kernel cannot check came before the answer; or an answer to a DNS question fits only in
    /// part.
    Unfounded,
    /// It failed from the half of the ports from which a run's attempts fail significantly more often.
    PortDependent,
}

impl Correction {
    /// The text in the `error` column.
    pub fn error(self) -> Option<&'static str> {
        match self {
            Correction::NotDelivered => Some(
                "an answer crossed the interface and did not reach the socket: check the host firewall, rp_filter \
                 and conntrack",
            ),
            Correction::NotSeen => Some("no packet of this attempt was seen on the interface"),
            Correction::PortDependent => Some(
                "outcomes depend on the source port, and attempts from ports like this one fail: check for a filter on \
                 ports",
            ),
            Correction::Late => None,
            Correction::Unfounded => {
                Some("its end may be forged or caused by this host: it does not fit what was sent")
            }
            Correction::Starved => {
                Some("this host was too busy to determine whether the answer was in time")
            }
        }
    }

    /// Corrects the attempt and returns the flags of the record.
    pub(super) fn apply(self, ended: &mut Ended, way: &Way) -> Flags {
        let attempt = &mut ended.attempt;
        // Its machine has reported this already, and counted the wrong answers.
        if attempt.error.as_deref() == Some(dns::MAY_BE_FORGED) {
            return Flag::UnfoundedError.into();
        }
        ended.reply = None;
        attempt.answer = None;
        attempt.error = self.error().map(Into::into);
        match self {
            Correction::Late => {
                attempt.ok = Some(false);
                attempt.state = State::Timeout;
                if way.by_handshake {
                    attempt.stage = Stage::Connect;
                } else if attempt.stage == Stage::Done {
                    attempt.stage = Stage::Response;
                }
            }
            Correction::NotDelivered
            | Correction::NotSeen
            | Correction::Starved
            | Correction::Unfounded
            | Correction::PortDependent => {
                attempt.ok = None;
                attempt.state = State::LocalError;
            }
        }
        match self {
            Correction::NotDelivered => Flag::NotDelivered.into(),
            Correction::Starved => Flag::Starved.into(),
            Correction::Unfounded => Flag::UnfoundedError.into(),
            Correction::PortDependent => Flag::PortDependent.into(),
            Correction::NotSeen | Correction::Late => Flags::default(),
        }
    }
}

/// The share of an attempt's time that this host may use up before a failure says nothing.
const OWN_SHARE: i64 = 10;

/// The correction of an attempt, given its flow if that was seen.
pub(super) fn correction(
    ended: &Ended,
    exchange: Option<&Exchange>,
    way: &Way,
) -> Option<Correction> {
    let attempt = &ended.attempt;
    if attempt.error.as_deref() == Some(dns::MAY_BE_FORGED) {
        return Some(Correction::Unfounded);
    }
    if !attempt.state.is_conclusive()
        || attempt.source_port.is_none()
        || attempt.is_internal_error()
    {
        return None;
    }
    let limit = i64::try_from(way.timeout.as_nanos()).unwrap_or(i64::MAX);
    // Whatever it was, the target has answered.
    let answered = attempt.state == State::Failed && attempt.answer.is_some();
    if attempt.state == State::Ok || answered {
        // By the loop's own clock it was in time; the loop is never early.
        let answered = ended.connected.filter(|_| way.by_handshake).unwrap_or(attempt.ended);
        let took = answered.0.saturating_sub(attempt.started.0);
        return if took <= limit { None } else { late(exchange, way, limit) };
    }
    let Some(exchange) = exchange else {
        // An on-link address without a host: the kernel sent only neighbour solicitations, which got no answer.
        let vacant = attempt.error.as_deref() == Some(NO_HOST);
        return (!vacant).then_some(Correction::NotSeen);
    };
    let is_error = attempt.state == State::Failed && is_unfounded(ended, exchange, way);
    if is_error || exchange.crossed {
        return Some(Correction::Unfounded);
    }
    let in_time = |answer: Option<Timestamp>| since(exchange, answer).is_some_and(|at| at <= limit);
    let timeout = attempt.state == State::Timeout;
    let tcp = way.protocol == protocol::TCP;
    if timeout && !ended.heard && in_time(exchange.answered) {
        return Some(Correction::NotDelivered);
    }
    if timeout && tcp && ended.heard && !ended.heard_data && in_time(exchange.data) {
        return Some(Correction::NotDelivered);
    }
    // Data read before the timeout count only if their packets came before it.
    if timeout && attempt.answer.is_some() && !in_time(exchange.data) {
        return Some(Correction::Late);
    }
    let waited = attempt.stage > Stage::Connect && exchange.own_delay > limit / OWN_SHARE;
    waited.then_some(Correction::Starved)
}

/// EHOSTUNREACH, as in the error column.
const NO_HOST: &str = "No route to host";
/// ETIMEDOUT, likewise: the kernel has given up, which takes no packet.
const TIMED_OUT: &str = "Connection timed out";

/// Whether a failure that a packet must have caused has no such packet: any failure of a UDP attempt, and of a TCP
/// attempt one before the handshake was done. After that the kernel itself checks packets against the connection's
/// numbers.
fn is_unfounded(ended: &Ended, exchange: &Exchange, way: &Way) -> bool {
    let Attempt { stage, error, .. } = &ended.attempt;
    let by_socket = match way.protocol {
        protocol::TCP => !ended.heard && *stage == Stage::Connect,
        _ => true,
    };
    by_socket && !exchange.refused && error.as_deref() != Some(TIMED_OUT)
}

/// An attempt that was answered, but not in time by the loop's clock.
fn late(exchange: Option<&Exchange>, way: &Way, limit: i64) -> Option<Correction> {
    let answer = |exchange: &Exchange| match way.by_handshake {
        true => (exchange.answered, 0),
        false => (exchange.last, exchange.own_delay),
    };
    let took = exchange.and_then(|exchange| {
        let (answer, own) = answer(exchange);
        Some((since(exchange, answer)?, own))
    });
    match took {
        Some((took, _)) if took <= limit => None,
        Some((took, own)) if took.saturating_sub(own) > limit => Some(Correction::Late),
        Some(_) | None => Some(Correction::Starved),
    }
}

/// Nanoseconds from the first packet to the target until this time.
fn since(exchange: &Exchange, at: Option<Timestamp>) -> Option<i64> {
    Some(at?.0.saturating_sub(exchange.sent?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: i64 = 1000;

    fn way(by_handshake: bool, protocol: u8) -> Way {
        Way { protocol, timeout: Duration::from_nanos(LIMIT as u64), by_handshake }
    }

    fn ended(state: State, stage: Stage, took: i64) -> Ended {
        let attempt = Attempt {
            ok: Some(state == State::Ok),
            state,
            stage,
            started: Timestamp(0),
            ended: Timestamp(took),
            source_port: Some(40_000),
            ..Attempt::default()
        };
        Ended { attempt, ..Ended::default() }
    }

    /// Sent at 0.
    fn exchange(answered: Option<i64>, data: Option<i64>, last: i64, own_delay: i64) -> Exchange {
        let mut exchange = Exchange::default();
        exchange.sent = Some(Timestamp(0));
        exchange.answered = answered.map(Timestamp);
        exchange.data = data.map(Timestamp);
        exchange.last = Some(Timestamp(last));
        exchange.own_delay = own_delay;
        exchange
    }

    #[test]
    fn other_answers_have_the_same_time_limits() {
        let (way, seen) = (way(false, protocol::TCP), exchange(Some(10), Some(20), 1400, 0));
        for (took, exchange, expected) in [
            (900, Some(&seen), None),
            (900, None, None),
            (1500, Some(&seen), Some(Correction::Late)),
        ] {
            let mut ended = ended(State::Failed, Stage::Tls, took);
            ended.attempt.answer = Some(crate::connect::ANSWERS[0].answer);
            assert_eq!(correction(&ended, exchange, &way), expected, "{took}");
            if let Some(correction) = expected {
                correction.apply(&mut ended, &way);
                assert_eq!((ended.attempt.state, ended.attempt.answer), (State::Timeout, None));
            }
        }
    }

    #[test]
    fn a_part_of_an_answer_counts_if_it_came_in_time() {
        let way = way(false, protocol::TCP);
        for (data, expected) in [(Some(900), None), (Some(1001), Some(Correction::Late))] {
            let mut ended = ended(State::Timeout, Stage::Tls, 1002);
            (ended.heard, ended.heard_data) = (true, true);
            ended.attempt.answer = Some(crate::connect::ANSWERS[0].answer);
            let seen = exchange(Some(10), data, 1001, 0);
            assert_eq!(correction(&ended, Some(&seen), &way), expected);
        }
    }

    #[test]
    fn packet_times_decide_whether_an_answer_was_in_time() {
        use Correction::{Late, Starved};
        for (by_handshake, took, seen, expected) in [
            (true, 900, None, None),
            (true, 1500, Some(exchange(Some(900), None, 1400, 0)), None),
            (true, 1500, Some(exchange(Some(1001), None, 1400, 0)), Some(Late)),
            (true, 1500, None, Some(Starved)),
            (false, 1500, Some(exchange(Some(10), Some(20), 990, 0)), None),
            (false, 1500, Some(exchange(Some(10), Some(20), 1400, 0)), Some(Late)),
            (false, 1500, Some(exchange(Some(10), Some(20), 1400, 500)), Some(Starved)),
        ] {
            let ended = ended(State::Ok, Stage::Done, took);
            let way = way(by_handshake, protocol::TCP);
            assert_eq!(correction(&ended, seen.as_ref(), &way), expected, "{took} {seen:?}");
        }
    }

    #[test]
    fn an_answer_that_crossed_the_interface_but_not_the_host_is_this_hosts_fault() {
        use Correction::{NotDelivered, NotSeen, Starved};
        use Stage::{Connect, Response};
        let answered = exchange(Some(100), None, 100, 0);
        let silent = exchange(None, None, 0, 0);
        let data = exchange(Some(100), Some(200), 200, 0);
        let mut refused = answered;
        refused.refused = true;
        for (state, stage, heard, seen, expected) in [
            (State::Timeout, Connect, (false, false), Some(answered), Some(NotDelivered)),
            (State::Timeout, Connect, (false, false), Some(silent), None),
            (State::Timeout, Connect, (false, false), None, Some(NotSeen)),
            (State::Failed, Connect, (false, false), Some(refused), None),
            (State::Failed, Connect, (false, false), None, Some(NotSeen)),
            (State::Timeout, Response, (true, false), Some(data), Some(NotDelivered)),
            (State::Timeout, Response, (true, true), Some(data), None),
            (State::Timeout, Response, (true, false), Some(answered), None),
            (
                State::Timeout,
                Connect,
                (false, false),
                Some(exchange(Some(LIMIT + 1), None, LIMIT + 1, 0)),
                None,
            ),
            (
                State::Failed,
                Response,
                (true, true),
                Some(exchange(Some(1), Some(2), 900, 500)),
                Some(Starved),
            ),
        ] {
            let (heard, heard_data) = heard;
            let ended = Ended { heard, heard_data, ..ended(state, stage, LIMIT) };
            let found = correction(&ended, seen.as_ref(), &way(true, protocol::TCP));
            assert_eq!(found, expected, "{state:?} {stage:?} {heard} {heard_data} {seen:?}");
        }
    }

    #[test]
    fn an_error_of_the_socket_needs_a_packet_that_explains_it() {
        use Stage::{Connect, Response};
        let refused = |mut exchange: Exchange| {
            exchange.refused = true;
            exchange
        };
        let (silent, answered) = (exchange(None, None, 0, 0), exchange(Some(10), None, 10, 0));
        let (tcp, udp) = (protocol::TCP, protocol::UDP);
        let refused_text = "Connection refused";
        for (of, stage, error, heard, seen, founded) in [
            (udp, Response, refused_text, false, silent, false),
            (udp, Response, refused_text, false, refused(silent), true),
            (udp, Response, NO_HOST, true, answered, false),
            (tcp, Connect, refused_text, false, silent, false),
            (tcp, Connect, refused_text, false, refused(silent), true),
            // A SYN-ACK is not a reason to fail.
            (tcp, Connect, refused_text, false, answered, false),
            (tcp, Connect, TIMED_OUT, false, silent, true),
            // The kernel has checked the numbers of what ended a connection.
            (tcp, Response, "Connection reset by peer", true, answered, true),
        ] {
            let mut ended = Ended { heard, ..ended(State::Failed, stage, 20) };
            ended.attempt.error = Some(error.into());
            let found = correction(&ended, Some(&seen), &way(true, of));
            let expected = (!founded).then_some(Correction::Unfounded);
            assert_eq!(found, expected, "{of} {stage:?} {error} {seen:?}");
        }
    }

    #[test]
    fn a_datagram_that_the_machine_ignored_was_delivered() {
        let seen = exchange(Some(100), Some(100), 100, 0);
        for (heard, expected) in [(false, Some(Correction::NotDelivered)), (true, None)] {
            let ended =
                Ended { heard, heard_data: heard, ..ended(State::Timeout, Stage::Response, LIMIT) };
            assert_eq!(correction(&ended, Some(&seen), &way(false, protocol::UDP)), expected);
        }
    }

    #[test]
    fn an_attempt_that_connected_in_time_need_not_have_been_seen() {
        // It was read until its time was up.
        let ended = |connected| Ended {
            connected: Some(Timestamp(connected)),
            ..ended(State::Ok, Stage::Response, LIMIT + 1)
        };
        let (tcp, http) = (way(true, protocol::TCP), way(false, protocol::TCP));
        assert_eq!(correction(&ended(900), None, &tcp), None);
        assert_eq!(correction(&ended(LIMIT + 1), None, &tcp), Some(Correction::Starved));
        assert_eq!(correction(&ended(900), None, &http), Some(Correction::Starved));
    }

    #[test]
    fn an_attempt_that_was_not_made_is_left_alone() {
        for state in [State::LocalError, State::Skipped] {
            let ended = ended(state, Stage::Connect, 5000);
            assert_eq!(correction(&ended, None, &way(true, protocol::TCP)), None);
        }
        let mut vacant = ended(State::Failed, Stage::Connect, 500);
        vacant.attempt.error = Some(NO_HOST.into());
        assert_eq!(correction(&vacant, None, &way(true, protocol::TCP)), None);
    }

    #[test]
    fn what_may_be_forged_concludes_nothing() {
        let mut crossed = exchange(None, None, 0, 0);
        crossed.crossed = true;
        let way = way(true, protocol::TCP);
        for (state, expected) in [
            (State::Timeout, Some(Correction::Unfounded)),
            (State::Failed, Some(Correction::Unfounded)),
            (State::Ok, None),
        ] {
            let ended = ended(state, Stage::Response, 900);
            assert_eq!(correction(&ended, Some(&crossed), &way), expected, "{state:?}");
        }
        let mut doubtful = ended(State::LocalError, Stage::Response, LIMIT);
        doubtful.attempt.error = Some(dns::MAY_BE_FORGED.into());
        doubtful.reply = Some(Box::default());
        let found = correction(&doubtful, None, &way);
        assert_eq!(found, Some(Correction::Unfounded));
        let flags = Correction::Unfounded.apply(&mut doubtful, &way);
        assert!(flags.has(Flag::UnfoundedError) && doubtful.reply.is_some());
        assert_eq!(doubtful.attempt.error.as_deref(), Some(dns::MAY_BE_FORGED));
    }

    #[test]
    fn corrections_are_recorded() {
        for (correction, ok, state) in [
            (Correction::Late, Some(false), State::Timeout),
            (Correction::Starved, None, State::LocalError),
            (Correction::NotDelivered, None, State::LocalError),
            (Correction::NotSeen, None, State::LocalError),
            (Correction::Unfounded, None, State::LocalError),
        ] {
            let mut ended = ended(State::Ok, Stage::Done, 1);
            correction.apply(&mut ended, &way(true, protocol::TCP));
            assert_eq!((ended.attempt.ok, ended.attempt.state), (ok, state));
            assert_eq!(ended.attempt.error.as_deref(), correction.error());
        }
    }
}
