//! The counts of a run: summed over its sessions if it was resumed, and stored with its records.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::connect::State;
use crate::engine::driver::Progress;
use crate::merge::Correction;
use crate::observer::capture::Counters;
use crate::sink::Metadata;
use crate::words::counted;

/// The counts of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts by how they ended: ok, failed, timeout, local error, skipped.
    pub attempts: [u64; 5],
    /// Attempts sent whose flow was not observed.
    pub unobserved: u64,
    /// Packets seen; dropped by the kernel; dropped by the interface; not dissected.
    pub packets: [u64; 4],
    /// Flows evicted because the table was full.
    pub evicted: u64,
    /// Flows that belonged to no attempt.
    pub strays: u64,
    /// Attempts whose answer crossed the interface and did not reach the socket.
    pub not_delivered: u64,
    /// Attempts that this host was too busy to time.
    pub starved: u64,
    /// Attempts that failed from the half of the source ports with far more failures.
    pub port_dependent: u64,
    /// Attempts whose socket reported an error that no packet explains.
    pub unfounded: u64,
    /// Packets to or from our ports that belonged to no attempt.
    pub strangers: u64,
    /// Packets with the addresses and ports of an attempt that do not fit it.
    pub unexpected: u64,
    /// Skipped attempts whose target was down according to a probe.
    pub skipped_by_probe: u64,
    /// Attempts and flows ended by a panic of this program.
    pub internal: [u64; 2],
    /// Targets with evidence and its packets; targets without it because of the limit, and packets not kept.
    pub evidence: [u64; 4],
}

/// The keys of the metadata, in the order of `Counts`.
pub const KEYS: [&str; 25] = [
    "attempts_ok",
    "attempts_failed",
    "attempts_timeout",
    "attempts_local_error",
    "attempts_skipped",
    "attempts_not_observed",
    "packets_seen",
    "packets_dropped",
    "packets_dropped_by_interface",
    "packets_not_understood",
    "flows_evicted",
    "flows_of_others",
    "attempts_not_delivered",
    "attempts_starved",
    "attempts_port_dependent",
    "packets_of_others",
    "attempts_skipped_by_probe",
    "attempts_internal_error",
    "flows_internal_error",
    "attempts_unfounded_error",
    "packets_unexpected",
    "evidence_targets",
    "evidence_packets",
    "evidence_targets_omitted",
    "evidence_packets_omitted",
];

impl Counts {
    /// The counts of engine and capture so far.
    pub fn now(engine: &Progress, capture: &Counters) -> Self {
        let load = |count: &AtomicU64| count.load(Relaxed);
        let unread = [&capture.not_ip, &capture.bad_ip, &capture.bad_transport];
        Self {
            attempts: [
                &engine.ok,
                &engine.failed,
                &engine.timeout,
                &engine.local_error,
                &engine.skipped,
            ]
            .map(load),
            packets: [
                load(&capture.packets),
                load(&capture.dropped),
                load(&capture.interface_dropped),
                unread.into_iter().map(load).sum(),
            ],
            evicted: load(&capture.evicted),
            strangers: load(&capture.strangers),
            unexpected: load(&capture.unexpected),
            skipped_by_probe: load(&engine.skipped_by_probe),
            internal: [load(&engine.internal_error), 0],
            ..Self::default()
        }
    }

    /// Moves attempts to their corrected state: the engine counted the state that the socket reported.
    pub fn correct(&mut self, said: State, correction: Correction, attempts: u64) {
        let [ok, failed, timeout, local_error, _] = &mut self.attempts;
        let from = match said {
            State::Ok => &mut *ok,
            State::Failed => &mut *failed,
            _ => &mut *timeout,
        };
        *from = from.saturating_sub(attempts);
        match correction {
            Correction::Late => *timeout += attempts,
            Correction::NotSeen
            | Correction::NotDelivered
            | Correction::Starved
            | Correction::Unfounded
            | Correction::PortDependent => *local_error += attempts,
        }
        match correction {
            Correction::NotDelivered => self.not_delivered += attempts,
            Correction::Starved => self.starved += attempts,
            Correction::Unfounded => self.unfounded += attempts,
            Correction::PortDependent => self.port_dependent += attempts,
            Correction::NotSeen | Correction::Late => {}
        }
    }

    /// Reads stored counts; missing ones are 0.
    pub fn stored(value: impl Fn(&str) -> Option<u64>) -> Self {
        let mut counts = Self::default();
        for (key, count) in KEYS.into_iter().zip(counts.values_mut()) {
            *count = value(key).unwrap_or_default();
        }
        counts
    }

    /// The counts as metadata.
    pub fn metadata(&self) -> Metadata {
        let mut counts = self.clone();
        let values = counts.values_mut().map(|count| count.to_string());
        KEYS.into_iter().map(str::to_owned).zip(values).collect()
    }

    /// Lines of a summary: attempts without information about the path, and why.
    pub fn notes(&self) -> Vec<String> {
        let [_, _, timeouts, local, skipped] = self.attempts;
        let by_version = skipped.saturating_sub(self.skipped_by_probe);
        let notes = [
            (timeouts, "attempt[s] timed out"),
            (local, "attempt[s] failed on this host (local_error): no conclusions from [it|them]"),
            (self.skipped_by_probe, "attempt[s] [was|were] skipped: a probe found the target down"),
            (
                by_version,
                "attempt[s] [was|were] skipped: not possible with the target's IP version",
            ),
        ];
        let notes = notes.into_iter().filter(|(count, _)| *count > 0);
        notes.map(|(count, what)| counted(count, what)).collect()
    }

    fn values_mut(&mut self) -> [&mut u64; 25] {
        let Self {
            attempts,
            unobserved,
            packets,
            evicted,
            strays,
            not_delivered,
            starved,
            port_dependent,
            unfounded,
            strangers,
            unexpected,
            skipped_by_probe,
            internal,
            evidence,
        } = self;
        let [ok, failed, timeout, local_error, skipped] = attempts;
        let [seen, dropped, interface_dropped, unread] = packets;
        let [broken_attempts, broken_flows] = internal;
        let [kept_targets, kept_packets, omitted_targets, omitted_packets] = evidence;
        [
            ok,
            failed,
            timeout,
            local_error,
            skipped,
            unobserved,
            seen,
            dropped,
            interface_dropped,
            unread,
            evicted,
            strays,
            not_delivered,
            starved,
            port_dependent,
            strangers,
            skipped_by_probe,
            broken_attempts,
            broken_flows,
            unfounded,
            unexpected,
            kept_targets,
            kept_packets,
            omitted_targets,
            omitted_packets,
        ]
    }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, more: &Counts) {
        let mut more = more.clone();
        for (count, more) in self.values_mut().into_iter().zip(more.values_mut()) {
            *count += *more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_have_numbers_and_reasons() {
        let notes = |attempts, skipped_by_probe| {
            Counts { attempts, skipped_by_probe, ..Counts::default() }.notes()
        };
        assert!(notes([5, 2, 0, 0, 0], 0).is_empty());
        assert_eq!(
            notes([0, 0, 1, 2, 4], 3),
            [
                "1 attempt timed out",
                "2 attempts failed on this host (local_error): no conclusions from them",
                "3 attempts were skipped: a probe found the target down",
                "1 attempt was skipped: not possible with the target's IP version",
            ]
        );
        assert_eq!(notes([0, 0, 0, 0, 2], 2).len(), 1);
    }

    #[test]
    fn stored_counts_are_read_back_and_add_up() {
        let mut number = 0;
        let mut counts = Counts::default();
        for count in counts.values_mut() {
            number += 1;
            *count = number;
        }
        let stored = counts.metadata();
        let find = |key: &str| stored.iter().find(|(known, _)| known == key)?.1.parse().ok();
        assert_eq!(Counts::stored(find), counts);
        counts += &Counts::stored(find);
        assert_eq!((counts.attempts[0], counts.strays), (2, 24));
    }

    #[test]
    fn a_corrected_attempt_is_counted_once() {
        let mut counts = Counts { attempts: [5, 5, 5, 5, 5], ..Counts::default() };
        counts.correct(State::Ok, Correction::Late, 1);
        counts.correct(State::Timeout, Correction::NotDelivered, 1);
        counts.correct(State::Failed, Correction::NotSeen, 1);
        counts.correct(State::Ok, Correction::Starved, 1);
        assert_eq!(counts.attempts, [3, 4, 5, 8, 5]);
        assert_eq!((counts.not_delivered, counts.unobserved, counts.starved), (1, 0, 1));
    }
}
