//! A wave: the targets that are probed together. A target keeps its row in the wave from the moment it is chosen until
//! the writer has its record.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Receiver;

use super::record;
use crate::connect::{Attempt, Ended, Prepared, State};
use crate::engine::driver::{Address, Asked, Trace};
use crate::engine::ports::Bank;
use crate::flags::{Flag, Flags};
use crate::locate::Located;
use crate::observer;
use crate::observer::capture::Counters;
use crate::packet::owner::PortSet;
use crate::targets::Target;

/// The state of a target in its wave.
#[derive(Debug, Clone)]
pub enum Fate {
    /// It is still to be probed.
    Waiting,
    /// It has an attempt under each configuration, and so a record.
    Ended(Vec<Ended>),
    /// It has no record.
    Unprobed(Why),
}

/// Why a target has no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The run ended first.
    Stopped,
    /// It was excluded.
    Withdrawn,
}

/// The targets of a wave and the fate of each.
#[derive(Debug, Default)]
pub struct Wave {
    /// The targets, those of confirmation rounds first.
    pub targets: Vec<Target>,
    /// The fate of each.
    pub fates: Vec<Fate>,
    /// Results of the preparation of each; empty if the measurement has none.
    pub prepared: Vec<Prepared>,
    /// Source ports of probes before the attempts: their flows belong to no record.
    pub probe_ports: Vec<u16>,
    /// The groups in a confirmation round, and how many targets each has.
    pub again: Vec<(u64, usize)>,
    /// The source ports that targets in a confirmation round want, by configuration.
    pub wanted: Vec<Vec<Option<u16>>>,
    /// What to search for, by target; then the wave is of nothing else.
    pub traces: Vec<Trace>,
    /// What was found, by target; `None` where the end of the run stopped the search.
    pub located: Vec<Option<Located>>,
    /// The half of the source ports that it uses.
    pub bank: Bank,
    /// Whether its targets are controls.
    pub is_control: bool,
}

/// The part of a wave that becomes records, by row of the records.
pub struct Records {
    /// The targets.
    pub targets: Vec<Target>,
    /// The results of their preparation.
    pub prepared: Vec<Prepared>,
    /// The attempts, by configuration.
    pub attempts: Vec<Vec<Ended>>,
}

impl Wave {
    /// A wave of targets that wait: those of confirmation rounds, then `new` ones.
    pub fn new(
        again: Vec<(u64, usize)>,
        targets: Vec<Target>,
        wanted: Vec<Vec<Option<u16>>>,
    ) -> Self {
        let fates = vec![Fate::Waiting; targets.len()];
        Self { targets, fates, again, wanted, ..Self::default() }
    }

    /// Number of targets in a confirmation round.
    pub fn repeated(&self) -> usize {
        self.again.iter().map(|(_, targets)| targets).sum()
    }

    /// The rows that wait.
    pub fn waiting(&self) -> Vec<usize> {
        let waits = |row: &usize| matches!(self.fates[*row], Fate::Waiting);
        (0..self.fates.len()).filter(waits).collect()
    }

    /// The rows that wait, and the address of each. A row without an address is left out of both.
    pub fn to_probe(&self) -> (Vec<usize>, Vec<Address>) {
        let rows = self.waiting().into_iter().filter_map(|row| {
            let wanted = self.wanted.get(row).cloned().unwrap_or_default();
            Some((row, Address { wanted, ..address(&self.targets[row])? }))
        });
        rows.unzip()
    }

    /// Withdraws targets that must not be probed, unless they have ended.
    pub fn withdraw(&mut self, withdrawn: &dyn Fn(&Address) -> bool) {
        for (fate, target) in self.fates.iter_mut().zip(&self.targets) {
            let has_ended = matches!(fate, Fate::Ended(_));
            if !has_ended && address(target).is_some_and(|address| withdrawn(&address)) {
                *fate = Fate::Unprobed(Why::Withdrawn);
            }
        }
    }

    /// Takes the attempts of the rows that were probed. A target in a confirmation round that was withdrawn keeps its
    /// record, and the round says nothing about it.
    pub fn handle_attempts(&mut self, rows: &[usize], asked: &mut Asked) {
        let configurations = asked.attempts.len();
        let in_round = self.repeated();
        let mut columns: Vec<_> =
            std::mem::take(&mut asked.attempts).into_iter().map(Vec::into_iter).collect();
        for (at, row) in rows.iter().enumerate() {
            let attempts: Vec<Option<Ended>> =
                columns.iter_mut().map(|column| column.next().flatten()).collect();
            let is_withdrawn = asked.withdrawn.contains(&at);
            self.fates[*row] = match (is_withdrawn, *row < in_round) {
                (true, true) => Fate::Ended(
                    attempts.into_iter().map(|ended| ended.unwrap_or_else(withdrawn)).collect(),
                ),
                (true, false) => Fate::Unprobed(Why::Withdrawn),
                (false, _) => match attempts.into_iter().collect() {
                    Some(attempts) => Fate::Ended(attempts),
                    None => Fate::Unprobed(Why::Stopped),
                },
            };
        }
        for fate in self.fates.iter_mut().take(in_round) {
            if matches!(fate, Fate::Unprobed(Why::Withdrawn)) {
                *fate = Fate::Ended((0..configurations).map(|_| withdrawn()).collect());
            }
        }
    }

    /// The targets that were withdrawn.
    pub fn withdrawn(&self) -> impl Iterator<Item = &Target> {
        let rows = self.targets.iter().zip(&self.fates);
        rows.filter(|(_, fate)| matches!(fate, Fate::Unprobed(Why::Withdrawn))).map(|(t, _)| t)
    }

    /// Number of these rows that have a record.
    pub fn ended(&self, rows: std::ops::Range<usize>) -> usize {
        let fates = self.fates.get(rows).unwrap_or_default();
        fates.iter().filter(|fate| matches!(fate, Fate::Ended(_))).count()
    }

    /// Number of targets left unfinished by the end of the run, without those in a confirmation round.
    pub fn stopped(&self) -> usize {
        let fates = self.fates.iter().skip(self.repeated());
        fates.filter(|fate| matches!(fate, Fate::Waiting | Fate::Unprobed(Why::Stopped))).count()
    }

    /// Takes out the part that becomes records. Rows are dropped nowhere else; the fates stay unchanged.
    pub fn take_records(&mut self, configurations: usize) -> Records {
        let mut attempts: Vec<Vec<Ended>> =
            (0..configurations).map(|_| Vec::with_capacity(self.fates.len())).collect();
        let mut prepared = std::mem::take(&mut self.prepared).into_iter();
        let (mut targets, mut found) = (Vec::with_capacity(self.targets.len()), Vec::new());
        for (target, fate) in std::mem::take(&mut self.targets).into_iter().zip(&mut self.fates) {
            let before = prepared.next();
            let Fate::Ended(ended) = fate else { continue };
            targets.push(target);
            found.extend(before);
            for (column, ended) in attempts.iter_mut().zip(std::mem::take(ended)) {
                column.push(ended);
            }
        }
        Records { targets, prepared: found, attempts }
    }
}

/// The attempt of a target that was excluded.
fn withdrawn() -> Ended {
    Ended {
        attempt: Attempt {
            state: State::Skipped,
            error: Some("it must not be probed any more".into()),
            ..Attempt::default()
        },
        ..Ended::default()
    }
}

/// The address of a target, once it is known.
fn address(target: &Target) -> Option<Address> {
    let (at, name) = (record::address(target)?, target.name.clone());
    Some(Address { at, name, wanted: Vec::new() })
}

/// A wave whose attempts have ended, as the writer gets it.
pub struct Sent {
    /// The wave; without targets if it is repeated.
    pub wave: Wave,
    /// Its flows, once they are complete.
    pub flows: Receiver<observer::Flows>,
    /// What the capture had lost before it.
    pub lost: Lost,
    /// Every source port of the wave.
    pub ports: PortSet,
    /// The source ports whose flows belong to no record.
    pub repeated: Vec<u16>,
    /// Flags of all its records.
    pub flags: Flags,
}

/// Losses of a capture that cannot be attributed to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    dropped: u64,
    short: u64,
}

impl Lost {
    /// The losses so far.
    pub fn now(counters: &Counters) -> Self {
        let load = |count: &AtomicU64| count.load(Relaxed);
        let dropped = load(&counters.dropped) + load(&counters.interface_dropped);
        Self { dropped, short: load(&counters.bad_ip) }
    }

    /// Flags for records of the time between `self` and `later`.
    pub(super) fn flags(self, later: Lost) -> Flags {
        let dropped = (later.dropped > self.dropped).then_some(Flag::CaptureDropped);
        let short = (later.short > self.short).then_some(Flag::ShortPacket);
        dropped.into_iter().chain(short).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(again: usize, new: usize) -> Wave {
        let target = |at: usize| Target::new([192, 0, 2, at as u8].into(), 80, None);
        let targets = (0..again + new).map(target).collect();
        Wave::new(vec![(1, again)], targets, Vec::new())
    }

    fn asked(attempts: [&[bool]; 2], withdrawn: &[usize]) -> Asked {
        let attempts = attempts.map(|of| {
            let one = |ended: &bool| ended.then(Ended::default);
            of.iter().map(one).collect::<Vec<_>>()
        });
        Asked {
            attempts: attempts.into(),
            withdrawn: withdrawn.iter().copied().collect(),
            ..Asked::default()
        }
    }

    #[test]
    fn a_target_in_a_confirmation_round_keeps_its_record_when_withdrawn() {
        let mut wave = wave(2, 1);
        let rows = wave.waiting();
        wave.handle_attempts(&rows, &mut asked([&[false, true, false]; 2], &[0, 2]));
        assert_eq!(wave.withdrawn().count(), 1, "the others have records");
        let records = wave.take_records(2);
        for attempts in &records.attempts {
            let states: Vec<State> = attempts.iter().map(|ended| ended.attempt.state).collect();
            assert_eq!(states, [State::Skipped, State::LocalError]);
        }
    }

    #[test]
    fn rows_stay_and_are_left_out_once() {
        let mut wave = wave(0, 4);
        wave.fates[1] = Fate::Ended(vec![withdrawn(); 2]);
        wave.fates[2] = Fate::Unprobed(Why::Withdrawn);
        let (rows, addresses) = wave.to_probe();
        assert_eq!((rows.as_slice(), addresses.len()), (&[0, 3][..], 2));
        // The run ended before the last was probed under the second configuration.
        wave.handle_attempts(&rows, &mut asked([&[true, true], &[true, false]], &[]));
        assert_eq!((wave.ended(0..4), wave.stopped(), wave.withdrawn().count()), (2, 1, 1));
        let records = wave.take_records(2);
        let last = records.targets.iter().map(|target| target.addr);
        assert_eq!(last.collect::<Vec<_>>(), [0, 1].map(|at| Some([192, 0, 2, at].into())));
        assert_eq!(records.attempts[1][1].attempt.state, State::Skipped);
    }

    #[test]
    fn losses_flag_the_records_of_their_time() {
        let before = Lost { dropped: 3, short: 1 };
        assert!(before.flags(before).is_empty(), "lost before");
        assert_eq!(before.flags(Lost { dropped: 4, ..before }), Flag::CaptureDropped.into());
        assert_eq!(before.flags(Lost { short: 2, ..before }), Flag::ShortPacket.into());
    }
}
