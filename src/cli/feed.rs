//! From targets to waves whose attempts have ended.

use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use super::again::{Again, Group};
use super::control::Share;
use super::live::Live;
use super::prepare::Preparation;
use super::writer::{Lost, Wave};
use crate::engine::driver;
use crate::error::Result;
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
}

/// Targets that were never asked, those that are controls apart.
pub struct List<'a> {
    reader: &'a mut Reader,
    control: Option<Share>,
    targets: Vec<Target>,
    controls: Vec<Target>,
    is_read: bool,
}

impl<'a> List<'a> {
    /// What is `read` already, and the rest of it; so many of them are controls.
    pub fn new(reader: &'a mut Reader, control: Option<Share>, read: Vec<Target>) -> Self {
        let (targets, controls) = (Vec::new(), Vec::new());
        let mut list = Self { reader, control, targets, controls, is_read: false };
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

    /// Whether there are controls enough for a wave that costs no more time than it must, or no others any more.
    fn controls_are_due(&self, size: usize) -> bool {
        let last = self.is_read && self.targets.is_empty();
        !self.controls.is_empty() && (last || self.controls.len() * 4 >= size)
    }

    /// The next of them, so many at most.
    fn take(&mut self, controls: bool, most: usize) -> Vec<Target> {
        let from = if controls { &mut self.controls } else { &mut self.targets };
        from.drain(..most.min(from.len())).collect()
    }

    fn len(&self) -> usize {
        self.targets.len() + self.controls.len()
    }
}

/// Whom to ask next.
struct Next {
    again: Vec<(u64, usize)>,
    targets: Vec<Target>,
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
            match self.next(clock.elapsed())? {
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
        let groups = self.again.poll(now, self.size);
        let again: Vec<_> = groups.iter().map(|group| (group.id, group.targets.len())).collect();
        let of_groups = groups.first().map(|group| group.is_control);
        let mut targets: Vec<Target> = groups.into_iter().flat_map(|g| g.targets).collect();
        self.fed.again += targets.len() as u64;
        let room = if is_full { 0 } else { self.size - targets.len() };
        self.list.fill(room)?;
        let is_control = of_groups.unwrap_or_else(|| self.list.controls_are_due(self.size));
        let new = self.list.take(is_control, room);
        self.fed.asked += new.len() as u64;
        targets.extend(new);
        Ok((!targets.is_empty()).then_some(Next { again, targets, is_control }))
    }

    /// Has a wave asked; says whether the writer has taken it.
    fn ask(&mut self, next: Next, keep_going: &dyn Fn() -> bool) -> Result<bool> {
        let Next { again, mut targets, is_control } = next;
        self.expect();
        self.engine.control(is_control)?;
        let ready = self.preparation.prepare(&mut targets, self.engine, keep_going)?;
        let ports = self.engine.next_ports();
        let lost = Lost::now(&self.capture.counters);
        let addresses = ready.addresses(&targets);
        let attempts = addresses.len() as u64 * self.per_target;
        self.live.begin_wave(targets.len(), attempts, self.progress.ended());
        let asked = self.engine.run_wave(&addresses, keep_going)?;
        let (prepared, asked) = ready.complete(asked);
        let flows =
            self.capture.flush(move |key| ports.iter().any(|range| range.contains(&key.source.1)));
        self.again.handle_sent(again.iter().map(|(_, targets)| targets).sum());
        let later = self.engine.next_ports();
        let wave = Wave { targets, prepared, asked, flows, lost, later, again, is_control };
        Ok(self.waves.send(wave).is_ok())
    }

    /// Waits for the writer's answer, or for the time of somebody who is to be asked again.
    fn wait(&mut self, clock: &Instant) {
        let until = self.again.next().map_or(LOOK_UP, |at| at.saturating_sub(clock.elapsed()));
        let wait = until.min(LOOK_UP);
        if !self.again.is_owed() {
            std::thread::sleep(wait);
        } else if let Ok(groups) = self.answers.recv_timeout(wait) {
            self.again.handle_answer(clock.elapsed(), groups);
        }
    }

    /// Estimates how often there will be somebody to be asked.
    fn expect(&self) {
        let reader = &self.list.reader;
        if let (read @ 1.., Some(total)) = reader.progress() {
            // Those that have their records were read fast and say nothing of the rest.
            let done = reader.refusals().of(Reason::Resumed);
            let all = (self.fed.asked + done).saturating_mul(total) / read;
            self.live.expect(all.saturating_sub(done) + self.fed.again);
        }
    }
}
