//! Turns targets into waves and has the engine probe them.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::again::{Again, Group};
use super::controls::{Share, Turn};
use super::disturbed::{self, Disturbed};
use super::excluded::Excluded;
use super::live::Live;
use super::prepare::Preparation;
use super::wave::{Lost, Wave};
use crate::barrier::panic_point;
use crate::connect::{Attempt, Ended, State};
use crate::engine::driver;
use crate::engine::ports::Bank;
use crate::error::{Error, Result};
use crate::observer::capture;
use crate::targets::{Reader, Reason, Target};

/// Poll interval for the stop flag while idle.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Feeds the engine.
pub struct Feed<'a, 'e> {
    /// The engine.
    pub engine: &'a mut driver::Engine<'e>,
    /// The source of new targets.
    pub list: List<'a>,
    /// The exclusion policy.
    pub excluded: &'a Excluded,
    /// Look-ups and probes before a wave.
    pub preparation: Preparation,
    /// The capture.
    pub capture: &'a capture::Capture,
    /// Receives completed waves.
    pub waves: SyncSender<Wave>,
    /// For each wave, the groups to re-probe.
    pub answers: Receiver<Vec<Group>>,
    /// The queue of these groups.
    pub again: Again,
    /// Maximum number of targets in a wave.
    pub size: usize,
    /// Published counters.
    pub live: &'a Live,
    /// The engine's counts.
    pub progress: &'a driver::Progress,
    /// Attempts per target.
    pub per_target: u64,
    /// The bank of source ports that the last wave used.
    pub bank: Bank,
    /// The outcome so far.
    pub fed: Fed,
}

/// The outcome of feeding.
#[derive(Debug, Default)]
pub struct Fed {
    /// Targets handed to the engine.
    pub asked: u64,
    /// Number of re-probes.
    pub again: u64,
    /// Targets in flight that a stop left unfinished.
    pub unasked: u64,
    /// Waves that were disturbed.
    pub disturbed: Disturbed,
    /// Whether any packet was sent.
    sent: bool,
    /// Positions of targets that were excluded while in flight, and why.
    pub withdrawn: Vec<(u64, Reason)>,
}

impl Fed {
    fn withdraw(&mut self, batch: &[Target], rows: &BTreeSet<usize>, excluded: &Excluded) {
        let targets = rows.iter().filter_map(|row| batch.get(*row));
        self.withdrawn.extend(targets.map(|target| (target.position, excluded.reason(target))));
    }
}

/// New targets, with controls kept apart.
pub struct List<'a> {
    reader: &'a mut Reader,
    control: Option<Share>,
    /// When controls are due.
    turn: Turn,
    targets: Vec<Target>,
    controls: Vec<Target>,
    is_read: bool,
}

impl<'a> List<'a> {
    /// Starts from the targets already `read`; `control` is the share held out as controls.
    pub fn new(reader: &'a mut Reader, control: Option<Share>, read: Vec<Target>) -> Self {
        let (targets, controls) = (Vec::new(), Vec::new());
        let turn = Turn::default();
        let mut list = Self { reader, control, turn, targets, controls, is_read: false };
        list.sort(read);
        list
    }

    fn sort(&mut self, read: Vec<Target>) {
        let is_control = |target: &Target| self.control.is_some_and(|s| s.has(target.position));
        let (controls, targets): (Vec<_>, Vec<_>) = read.into_iter().partition(is_control);
        self.controls.extend(controls);
        self.targets.extend(targets);
    }

    /// Reads ahead until a wave of this size can be filled.
    fn fill(&mut self, size: usize) -> Result<()> {
        while self.targets.len() < size && !self.is_read {
            let read = self.reader.next_batch(size - self.targets.len())?;
            self.is_read = read.is_empty();
            self.sort(read);
            // If all targets read are controls, other targets may still follow.
            if !self.targets.is_empty() || self.controls_are_due(size) {
                break;
            }
        }
        Ok(())
    }

    /// Whether a control wave is due, or only controls are left.
    fn controls_are_due(&self, size: usize) -> bool {
        let last = self.is_read && self.targets.is_empty();
        let due = || last || self.turn.is_due(self.controls.len(), size, self.reader.expected());
        !self.controls.is_empty() && due()
    }

    /// Maximum number of new targets in a wave. With controls it is lower, so that control waves come in between.
    fn room(&self, size: usize) -> usize {
        self.control.map_or(size, |_| self.turn.room(size, self.reader.expected()))
    }

    /// Takes at most `most` targets, controls or others.
    fn take(&mut self, controls: bool, most: usize) -> Vec<Target> {
        let from = if controls { &mut self.controls } else { &mut self.targets };
        let taken: Vec<Target> = from.drain(..most.min(from.len())).collect();
        self.turn.handle_taken(controls, taken.len());
        taken
    }

    fn len(&self) -> usize {
        self.targets.len() + self.controls.len()
    }
}

/// The next wave.
struct Next {
    again: Vec<(u64, usize)>,
    targets: Vec<Target>,
    /// The source ports wanted by the first of its targets.
    wanted: Vec<Vec<Option<u16>>>,
    bank: Bank,
    is_control: bool,
}

impl Feed<'_, '_> {
    /// Runs waves until no targets are left, no wave may begin (`may_begin`), or the wave in flight must stop
    /// (`keep_going`).
    pub fn run(
        &mut self,
        may_begin: &dyn Fn() -> bool,
        keep_going: &dyn Fn() -> bool,
    ) -> Result<()> {
        let clock = Instant::now();
        while may_begin() {
            while let Ok(groups) = self.answers.try_recv() {
                self.again.handle_answer(clock.elapsed(), groups);
            }
            let next = match self.next(clock.elapsed()) {
                // A signal ended a blocking read of the list.
                Err(why) if why.is_interrupt() || !may_begin() => break,
                next => next?,
            };
            match next {
                Some(next) => {
                    if !self.ask(next, keep_going)? {
                        // The writer has failed; its own error says why.
                        return Ok(());
                    }
                }
                None if self.again.is_over() => break,
                None => self.wait(&clock),
            }
        }
        self.fed.unasked = self.list.len() as u64;
        Ok(())
    }

    /// Chooses the next wave: due re-probes first.
    fn next(&mut self, now: Duration) -> Result<Option<Next>> {
        let is_full = self.again.is_full();
        let mut room = if is_full { 0 } else { self.list.room(self.size) };
        self.list.fill(room)?;
        let due = room > 0 && self.list.controls_are_due(self.size);
        // Packets to the ports of the last wave may still arrive.
        let taken = self.again.is_owed().then_some(self.bank);
        let groups = self.again.poll(now, self.size, taken, due.then_some(true));
        let bank = groups.first().map_or(self.bank.other(), |group| group.bank);
        let again: Vec<_> = groups.iter().map(|group| (group.id, group.targets.len())).collect();
        let of_groups = groups.first().map(|group| group.is_control);
        let mut targets = Vec::new();
        let mut wanted = Vec::new();
        for group in groups {
            targets.extend(group.targets);
            wanted.extend(group.wanted);
        }
        self.fed.again += targets.len() as u64;
        room = room.min(self.size - targets.len());
        let is_control = of_groups.unwrap_or(due);
        let new = self.list.take(is_control, room);
        self.fed.asked += new.len() as u64;
        targets.extend(new);
        Ok((!targets.is_empty()).then_some(Next { again, targets, wanted, bank, is_control }))
    }

    /// Probes a wave; returns whether the writer has taken it.
    fn ask(&mut self, next: Next, keep_going: &dyn Fn() -> bool) -> Result<bool> {
        let Next { again, mut targets, wanted, bank, is_control } = next;
        panic_point("feed");
        self.expect();
        self.engine.control(is_control)?;
        self.bank = bank;
        self.engine.use_bank(bank);
        let excluded = self.excluded;
        let withdrawn = |address: &driver::Address| excluded.withdrawn(address);
        let ready = self.preparation.prepare(&mut targets, self.engine, keep_going, &withdrawn)?;
        let addresses = ready.addresses(&targets, &wanted);
        let asked_again: usize = again.iter().map(|(_, targets)| targets).sum();
        let mut was_disturbed = false;
        loop {
            let lost = Lost::now(&self.capture.counters);
            let attempts = addresses.len() as u64 * self.per_target;
            let first =
                if was_disturbed { [0; 2] } else { [targets.len() - asked_again, asked_again] };
            self.live.begin_wave(first, attempts, self.progress.ended());
            let mut asked = self.engine.run_wave(&addresses, keep_going, withdrawn)?;
            let repeat = self.fed.disturbed.again(&mut asked, was_disturbed, keep_going());
            let flows = self.capture.flush(asked.ports.clone());
            if repeat {
                let asked = disturbed::nothing(&asked, ready.ports());
                let (targets, prepared, again) = (Vec::new(), Vec::new(), Vec::new());
                let wave = Wave { targets, prepared, asked, flows, lost, bank, again, is_control };
                if self.waves.send(wave).is_err() {
                    return Ok(false);
                }
                was_disturbed = true;
                self.bank = self.bank.other();
                self.engine.use_bank(self.bank);
                continue;
            }
            self.stuck(&asked, targets.len())?;
            let (prepared, mut asked) = ready.complete(asked);
            keep_records(&mut asked, asked_again);
            self.fed.withdraw(&targets, &asked.withdrawn, excluded);
            self.again.handle_sent(asked_again);
            let bank = self.bank;
            let wave = Wave { targets, prepared, asked, flows, lost, bank, again, is_control };
            return Ok(self.waves.send(wave).is_ok());
        }
    }

    /// Waits for the writer's answer, or until the next group is due.
    fn wait(&mut self, clock: &Instant) {
        if !self.again.is_owed() {
            let until = self.again.next().map_or(LOOK_UP, |at| at.saturating_sub(clock.elapsed()));
            std::thread::sleep(until.min(LOOK_UP));
        } else if let Ok(groups) = self.answers.recv_timeout(LOOK_UP) {
            self.again.handle_answer(clock.elapsed(), groups);
        }
    }

    /// Fails if no packet can be sent any more, before the rest of the list is spent.
    fn stuck(&mut self, asked: &driver::Asked, targets: usize) -> Result<()> {
        if asked.disturbed.is_empty() && !disturbed::is_stuck(asked) {
            self.fed.sent = true;
        } else if self.fed.sent && disturbed::is_stuck(asked) && asked.disturbed.is_empty() {
            let errors = asked.attempts.iter().flatten().flatten();
            let error = errors.filter_map(|ended| ended.attempt.error.as_deref()).next();
            return Err(Error::failed(
                format!("probe {targets} targets: no packet could be sent"),
                format!("{}; they have no record", error.unwrap_or_default()),
            ));
        }
        Ok(())
    }

    /// Estimates the number of targets to probe.
    fn expect(&self) {
        if let Some(all) = self.list.reader.expected() {
            self.live.expect(all);
        }
    }
}

/// Keeps the records of re-probed targets (the first `asked_before` of a wave) that were excluded since: each keeps the
/// record of its earlier attempts, and this round adds nothing to it.
fn keep_records(asked: &mut driver::Asked, asked_before: usize) {
    let rest = asked.withdrawn.split_off(&asked_before);
    let kept = std::mem::replace(&mut asked.withdrawn, rest);
    for attempts in &mut asked.attempts {
        for row in &kept {
            attempts[*row].get_or_insert_with(|| Ended {
                attempt: Attempt {
                    state: State::Skipped,
                    error: Some("the target was excluded".into()),
                    ..Attempt::default()
                },
                ..Ended::default()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excluded_target_keeps_the_record_of_earlier_attempts() {
        let attempts = vec![vec![None, Some(Ended::default()), None]; 2];
        let withdrawn = [0, 2].into();
        let mut asked = driver::Asked { attempts, withdrawn, ..driver::Asked::default() };
        keep_records(&mut asked, 2);
        assert_eq!(asked.withdrawn, [2].into(), "the others were probed before");
        for attempts in asked.attempts {
            let state = |row: usize| attempts[row].as_ref().map(|ended| ended.attempt.state);
            assert_eq!([0, 1, 2].map(state), [Some(State::Skipped), Some(State::LocalError), None]);
        }
    }
}
