//! Probes targets in waves and hands each wave to the writer.

use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use arrow_schema::Fields;

use super::again::{Again, Group};
use super::controls::{Share, Turn};
use super::disturbed::{self, Disturbed};
use super::excluded::Excluded;
use super::live::Live;
use super::prepare::Preparation;
use super::wave::{Lost, Sent, Wave};
use crate::barrier::panic_point;
use crate::engine::driver::{self, Asked, Traced};
use crate::engine::ports::Bank;
use crate::error::{Error, ErrorKind, Result};
use crate::flags::Flags;
use crate::locate::Limits;
use crate::observer::capture;
use crate::targets::{Reader, Reason, Target};

/// Poll interval for the stop flag while idle.
const LOOK_UP: Duration = Duration::from_millis(100);

/// Feeds the engine.
pub struct Feed<'a, 'e> {
    /// The engine, which probes.
    pub engine: &'a mut driver::Engine<'e>,
    /// The targets that were not probed yet.
    pub list: List<'a>,
    /// The exclusion policy.
    pub excluded: &'a Excluded,
    /// Look-ups and probes before the attempts.
    pub preparation: Preparation,
    /// The limits of a search for the place of a label.
    pub limits: Limits,
    /// The capture.
    pub capture: &'a capture::Capture,
    /// Receives waves whose attempts have ended.
    pub waves: SyncSender<Sent>,
    /// For each wave, the groups of its targets that need a confirmation round.
    pub answers: Receiver<Vec<Group>>,
    /// Groups that wait for a confirmation round.
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
    /// The counts of targets.
    pub fed: Fed,
}

/// Counts of the targets that were read.
#[derive(Debug, Default)]
pub struct Fed {
    /// Targets handed to the engine.
    pub probed: u64,
    /// Targets handed to the engine for a confirmation round, each time.
    pub reprobed: u64,
    /// Targets that were read and not probed because the run ended.
    pub unasked: u64,
    /// Waves that were disturbed.
    pub disturbed: Disturbed,
    /// Whether any packet was sent.
    sent: bool,
    /// Positions of targets that were withdrawn in flight, and why.
    pub withdrawn: Vec<(u64, Reason)>,
}

/// Targets that were not probed yet; controls are kept apart.
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

    /// Whether a control wave is due, or nothing else is left.
    fn controls_are_due(&self, size: usize) -> bool {
        let last = self.is_read && self.targets.is_empty();
        let due = || last || self.turn.is_due(self.controls.len(), size, self.reader.expected());
        !self.controls.is_empty() && due()
    }

    /// Maximum number of new targets in a wave. With controls it is lower, so that control waves come in between.
    fn room(&self, size: usize) -> usize {
        self.control.map_or(size, |_| self.turn.room(size, self.reader.expected()))
    }

    /// The next targets, at most `most`.
    fn take(&mut self, controls: bool, most: usize) -> Vec<Target> {
        let from = if controls { &mut self.controls } else { &mut self.targets };
        let taken: Vec<Target> = from.drain(..most.min(from.len())).collect();
        self.turn.handle_taken(controls, taken.len());
        taken
    }

    /// The columns of the list.
    pub fn fields(&self) -> Fields {
        self.reader.fields()
    }

    fn len(&self) -> usize {
        self.targets.len() + self.controls.len()
    }
}

impl Feed<'_, '_> {
    /// Runs wave after wave until no target is left, until no wave may begin (`may_begin`), or until the one in flight
    /// may not go on (`keep_going`).
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
                Some(wave) => {
                    if !self.probe(wave, keep_going)? {
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

    /// The next wave: targets whose confirmation round is due, then new ones.
    fn next(&mut self, now: Duration) -> Result<Option<Wave>> {
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
        let mut traces = Vec::new();
        for group in groups {
            targets.extend(group.targets);
            wanted.extend(group.wanted);
            traces.extend(group.traces);
        }
        if traces.is_empty() {
            self.fed.reprobed += targets.len() as u64;
            room = room.min(self.size - targets.len());
        } else {
            room = 0;
        }
        let is_control = of_groups.unwrap_or(due);
        let new = self.list.take(is_control, room);
        self.fed.probed += new.len() as u64;
        targets.extend(new);
        let wave = Wave { bank, is_control, traces, ..Wave::new(again, targets, wanted) };
        Ok((!wave.targets.is_empty()).then_some(wave))
    }

    /// Searches for the places of labels, and hands the wave to the writer; says whether the writer has taken it.
    fn locate(&mut self, mut wave: Wave, keep_going: &dyn Fn() -> bool) -> Result<bool> {
        self.engine.control(false)?;
        self.bank = wave.bank;
        self.engine.use_bank(wave.bank);
        self.live.begin_wave([0; 2], 0, self.progress.ended());
        let excluded = self.excluded;
        let lost = Lost::now(&self.capture.counters);
        let Traced { located, stopped, ports } = self.engine.locate(
            &wave.traces,
            self.limits,
            keep_going,
            |address| excluded.withdrawn(address),
            |hop| excluded.has(hop),
        )?;
        let found = located.into_iter().zip(stopped);
        wave.located = found.map(|(located, stopped)| (!stopped).then_some(located)).collect();
        let flows = self.capture.flush(ports.clone());
        self.again.handle_sent(0);
        let (repeated, flags) = (Vec::new(), Flags::default());
        let sent = Sent { wave, flows, lost, ports, repeated, flags };
        Ok(self.waves.send(sent).is_ok())
    }

    /// Probes a wave and hands it to the writer; says whether the writer has taken it.
    fn probe(&mut self, mut wave: Wave, keep_going: &dyn Fn() -> bool) -> Result<bool> {
        panic_point("feed");
        self.expect();
        if !wave.traces.is_empty() {
            return self.locate(wave, keep_going);
        }
        self.engine.control(wave.is_control)?;
        self.bank = wave.bank;
        self.engine.use_bank(wave.bank);
        let excluded = self.excluded;
        let withdrawn = |address: &driver::Address| excluded.withdrawn(address);
        self.preparation.prepare(&mut wave, self.engine, keep_going, &withdrawn)?;
        let (rows, addresses) = wave.to_probe();
        let (all, in_round) = (wave.targets.len(), wave.repeated());
        let mut was_disturbed = false;
        loop {
            let lost = Lost::now(&self.capture.counters);
            let attempts = addresses.len() as u64 * self.per_target;
            let first = if was_disturbed { [0; 2] } else { [all - in_round, in_round] };
            self.live.begin_wave(first, attempts, self.progress.ended());
            let mut asked = self.engine.run_wave(&addresses, keep_going, withdrawn)?;
            let repeat = self.fed.disturbed.again(&mut asked, was_disturbed, keep_going());
            let flows = self.capture.flush(asked.ports.clone());
            if repeat {
                let repeated = disturbed::ports(&asked).chain(wave.probe_ports.iter().copied());
                let repeated = repeated.collect();
                let (wave, ports) = (Wave::default(), asked.ports);
                let flags = Flags::default();
                if self.waves.send(Sent { wave, flows, lost, ports, repeated, flags }).is_err() {
                    return Ok(false);
                }
                was_disturbed = true;
                self.bank = self.bank.other();
                self.engine.use_bank(self.bank);
                continue;
            }
            self.stuck(&asked, all)?;
            wave.bank = self.bank;
            wave.handle_attempts(&rows, &mut asked);
            let withdrawn = wave.withdrawn();
            self.fed.withdrawn.extend(withdrawn.map(|t| (t.position, excluded.reason(t))));
            self.again.handle_sent(in_round);
            let flags = disturbed::flags(&asked);
            let Asked { ports, mut repeated, .. } = asked;
            repeated.extend(&wave.probe_ports);
            let sent = Sent { wave, flows, lost, ports, repeated, flags };
            return Ok(self.waves.send(sent).is_ok());
        }
    }

    /// Waits for the writer's answer, or until a confirmation round is due.
    fn wait(&mut self, clock: &Instant) {
        if !self.again.is_owed() {
            let until = self.again.next().map_or(LOOK_UP, |at| at.saturating_sub(clock.elapsed()));
            std::thread::sleep(until.min(LOOK_UP));
        } else if let Ok(groups) = self.answers.recv_timeout(LOOK_UP) {
            self.again.handle_answer(clock.elapsed(), groups);
        }
    }

    /// Ends the run if nothing can be sent any more, rather than spend the rest of the list on errors.
    fn stuck(&mut self, asked: &driver::Asked, targets: usize) -> Result<()> {
        if asked.disturbed.is_empty() && !disturbed::is_stuck(asked) {
            self.fed.sent = true;
        } else if self.fed.sent && disturbed::is_stuck(asked) && asked.disturbed.is_empty() {
            let errors = asked.attempts.iter().flatten().flatten();
            let error = errors.filter_map(|ended| ended.attempt.error.as_deref()).next();
            return Err(Error::stopped(
                ErrorKind::NothingToSend,
                format!(
                    "probe {targets} targets: no packet could be sent: {}; they have no record",
                    error.unwrap_or_default()
                ),
            ));
        }
        Ok(())
    }

    /// Estimates how many targets will be probed, each counted once.
    fn expect(&self) {
        if let Some(all) = self.list.reader.expected() {
            self.live.expect(all);
        }
    }
}
