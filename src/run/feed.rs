//! From targets to waves whose attempts have ended.

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

/// How often it is looked whether to stop while there is nobody to ask.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Feeds the engine.
pub struct Feed<'a, 'e> {
    /// What asks them.
    pub engine: &'a mut driver::Engine<'e>,
    /// Where they come from.
    pub list: List<'a>,
    /// Who must not be asked.
    pub excluded: &'a Excluded,
    /// What is done before.
    pub preparation: Preparation,
    /// What watches.
    pub capture: &'a capture::Capture,
    /// Where waves go that have ended.
    pub waves: SyncSender<Wave>,
    /// For each wave, who of it is to be asked again.
    pub answers: Receiver<Vec<Group>>,
    /// Those who are.
    pub again: Again,
    /// The most targets of a wave.
    pub size: usize,
    /// What is told of it.
    pub live: &'a Live,
    /// The engine's counts.
    pub progress: &'a driver::Progress,
    /// Attempts that a target takes.
    pub per_target: u64,
    /// The bank of source ports that the last wave used.
    pub bank: Bank,
    /// What became of them.
    pub fed: Fed,
}

/// What became of the targets that were read.
#[derive(Debug, Default)]
pub struct Fed {
    /// Targets handed to the engine.
    pub asked: u64,
    /// How often targets were asked again.
    pub again: u64,
    /// Targets in hand that a stop came before.
    pub unasked: u64,
    /// Waves that were disturbed.
    pub disturbed: Disturbed,
    /// Whether anything was sent.
    sent: bool,
    /// Positions of targets that were in hand when it came out that they must not be asked, and why.
    pub withdrawn: Vec<(u64, Reason)>,
}

impl Fed {
    fn withdraw(&mut self, batch: &[Target], rows: &BTreeSet<usize>, excluded: &Excluded) {
        let targets = rows.iter().filter_map(|row| batch.get(*row));
        self.withdrawn.extend(targets.map(|target| (target.position, excluded.reason(target))));
    }
}

/// Targets that were never asked, those that are controls apart.
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
    /// What is `read` already, and the rest of it; so many of them are controls.
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

    /// Reads on, so that there is somebody to fill a wave of this size with.
    fn fill(&mut self, size: usize) -> Result<()> {
        while self.targets.len() < size && !self.is_read {
            let read = self.reader.next_batch(size - self.targets.len())?;
            self.is_read = read.is_empty();
            self.sort(read);
            // Where all that was read are controls there may still be others.
            if !self.targets.is_empty() || self.controls_are_due(size) {
                break;
            }
        }
        Ok(())
    }

    /// Whether it is the turn of controls, or there are no others any more.
    fn controls_are_due(&self, size: usize) -> bool {
        let last = self.is_read && self.targets.is_empty();
        let due = || last || self.turn.is_due(self.controls.len(), size, self.reader.expected());
        !self.controls.is_empty() && due()
    }

    /// The most targets that are new in a wave: of a list with controls, so many that these come in between.
    fn room(&self, size: usize) -> usize {
        self.control.map_or(size, |_| self.turn.room(size, self.reader.expected()))
    }

    /// The next of them, so many at most.
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

/// Whom to ask next.
struct Next {
    again: Vec<(u64, usize)>,
    targets: Vec<Target>,
    /// The source ports that the first of them want.
    wanted: Vec<Vec<Option<u16>>>,
    bank: Bank,
    is_control: bool,
}

impl Feed<'_, '_> {
    /// Runs wave after wave until the targets are at an end, or until no wave may begin (`may_begin`) or the one in
    /// hand may not go on (`keep_going`).
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
                // A read of the list that waited for more was ended by a signal.
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

    /// Whom to ask now: first those whose time has come to be asked again.
    fn next(&mut self, now: Duration) -> Result<Option<Next>> {
        let is_full = self.again.is_full();
        let mut room = if is_full { 0 } else { self.list.room(self.size) };
        self.list.fill(room)?;
        let due = room > 0 && self.list.controls_are_due(self.size);
        // The last wave may still have packets on the way to its ports.
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

    /// Has a wave asked; says whether the writer has taken it.
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

    /// Waits for the writer's answer, or for the time of somebody who is to be asked again.
    fn wait(&mut self, clock: &Instant) {
        if !self.again.is_owed() {
            let until = self.again.next().map_or(LOOK_UP, |at| at.saturating_sub(clock.elapsed()));
            std::thread::sleep(until.min(LOOK_UP));
        } else if let Ok(groups) = self.answers.recv_timeout(LOOK_UP) {
            self.again.handle_answer(clock.elapsed(), groups);
        }
    }

    /// Refuses to go on where nothing can be sent any more: what is left of the list would be spent on it.
    fn stuck(&mut self, asked: &driver::Asked, targets: usize) -> Result<()> {
        if asked.disturbed.is_empty() && !disturbed::is_stuck(asked) {
            self.fed.sent = true;
        } else if self.fed.sent && disturbed::is_stuck(asked) && asked.disturbed.is_empty() {
            let errors = asked.attempts.iter().flatten().flatten();
            let error = errors.filter_map(|ended| ended.attempt.error.as_deref()).next();
            return Err(Error::failed(
                format!("ask {targets} targets: not one packet could be sent"),
                format!("{}; they have no record", error.unwrap_or_default()),
            ));
        }
        Ok(())
    }

    /// Estimates how many will be asked, once each.
    fn expect(&self) {
        if let Some(all) = self.list.reader.expected() {
            self.live.expect(all);
        }
    }
}

/// The first of a wave's targets were asked before and have records to be written: one of them that must not be asked
/// any more keeps its record, and the round tells nothing of it.
fn keep_records(asked: &mut driver::Asked, asked_before: usize) {
    let rest = asked.withdrawn.split_off(&asked_before);
    let kept = std::mem::replace(&mut asked.withdrawn, rest);
    for attempts in &mut asked.attempts {
        for row in &kept {
            attempts[*row].get_or_insert_with(|| Ended {
                attempt: Attempt {
                    state: State::Skipped,
                    error: Some("it must not be asked any more".into()),
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
    fn who_was_asked_before_keeps_its_record_when_withdrawn() {
        let attempts = vec![vec![None, Some(Ended::default()), None]; 2];
        let withdrawn = [0, 2].into();
        let mut asked = driver::Asked { attempts, withdrawn, ..driver::Asked::default() };
        keep_records(&mut asked, 2);
        assert_eq!(asked.withdrawn, [2].into(), "the others were asked before");
        for attempts in asked.attempts {
            let state = |row: usize| attempts[row].as_ref().map(|ended| ended.attempt.state);
            assert_eq!([0, 1, 2].map(state), [Some(State::Skipped), Some(State::LocalError), None]);
        }
    }
}
