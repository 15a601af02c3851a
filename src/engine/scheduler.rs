//! When each connection starts: waves, configurations in turn, and the limits.
//!
//! A state machine without sockets and without a clock. The driver asks [`Scheduler::poll`] what to do at a time, does it, and
//! reports back; so every order of events can be tested in virtual time.

mod caps;
mod job;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

pub use caps::Caps;
pub use job::Job;

use caps::Neighbours;

use crate::step::Turns;

/// Limits on what is sent.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections in flight at the same time, at least 1.
    pub concurrency: usize,
    /// Connections started in any one second; no limit if `None`.
    pub rate: Option<u32>,
    /// Limits for each address and each prefix.
    pub caps: Caps,
}

/// What the driver must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Put these configurations in force and no others, then call [`Scheduler::handle_applied`].
    Apply(Range<usize>),
    /// Connect, then call [`Scheduler::handle_started`].
    Start(Job),
    /// Nothing until an attempt ends, or until this time if one is given.
    Wait(Option<Duration>),
    /// Every target of the wave has been probed under every configuration.
    WaveDone,
}

/// The order of a run. Times are durations since any fixed moment and never run backwards.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    turns: Turns,
    /// The configurations of this wave.
    configurations: Range<usize>,
    /// The addresses of the wave, by target.
    addresses: Vec<IpAddr>,
    /// The current turn: that of a configuration, or the only turn of all.
    turn: usize,
    applied: bool,
    /// The next attempt in this turn.
    next: usize,
    /// Attempts to repeat, the oldest first.
    repeats: VecDeque<Job>,
    /// The attempts that caps defer.
    neighbours: Neighbours,
    /// The attempt that was taken out of all these and starts next.
    offered: Option<Job>,
    in_flight: usize,
    stopping: bool,
    pace: Pace,
}

impl Scheduler {
    /// A scheduler with no wave yet.
    pub fn new(limits: Limits, turns: Turns) -> Self {
        Self {
            limits,
            turns,
            configurations: 0..0,
            addresses: Vec::new(),
            turn: usize::MAX,
            applied: false,
            next: 0,
            repeats: VecDeque::new(),
            neighbours: Neighbours::new(limits.caps),
            offered: None,
            in_flight: 0,
            stopping: false,
            pace: Pace::new(limits.rate),
        }
    }

    /// Begins a wave of targets with these addresses, each probed under each of these configurations. If all are in force at
    /// once, they stay so from wave to wave.
    pub fn handle_wave(&mut self, addresses: Vec<IpAddr>, configurations: Range<usize>) {
        let stay = self.turns == Turns::AtOnce && self.configurations == configurations;
        self.configurations = configurations;
        self.addresses = addresses;
        self.turn = 0;
        self.applied = self.applied && stay;
        self.next = 0;
    }

    /// What to do at this time.
    pub fn poll(&mut self, now: Duration) -> Next {
        if self.stopping || self.turn >= self.turns() {
            return if self.in_flight == 0 { Next::WaveDone } else { Next::Wait(None) };
        }
        if !self.is_left() {
            // The barrier: no attempt is in flight when the configuration changes, or when the wave ends.
            let last = self.turn + 1 == self.turns();
            if self.in_flight > 0 && (last || self.turns != Turns::Overlapping) {
                return Next::Wait(None);
            }
            self.turn += 1;
            // In an empty wave none was applied.
            self.applied = self.applied && self.turns == Turns::AtOnce;
            self.next = 0;
            return self.poll(now);
        }
        if !self.applied {
            return Next::Apply(match self.turns {
                Turns::AtOnce => self.configurations.clone(),
                Turns::Waves | Turns::Overlapping => self.in_turn()..self.in_turn() + 1,
            });
        }
        if self.in_flight >= self.limits.concurrency {
            return Next::Wait(None);
        }
        if let Some(later) = self.pace.free_at(now) {
            return Next::Wait(Some(later));
        }
        self.offered = self.offered.take().or_else(|| self.choose(now));
        match self.offered {
            Some(job) => Next::Start(job),
            None => Next::Wait(self.neighbours.due()),
        }
    }

    /// Whether an attempt of this turn has not been started.
    fn is_left(&self) -> bool {
        self.offered.is_some()
            || !self.repeats.is_empty()
            || self.neighbours.due().is_some()
            || self.job().is_some()
    }

    /// The next attempt that the caps of its address and prefix allow; those that must wait are deferred.
    fn choose(&mut self, now: Duration) -> Option<Job> {
        let addresses = &self.addresses;
        if let Some(job) = self.neighbours.poll(now, |job: Job| addresses[job.target]) {
            return Some(job);
        }
        loop {
            let job = self.repeats.pop_front().or_else(|| {
                let job = self.job()?;
                self.next += 1;
                Some(job)
            })?;
            if let Some(job) = self.neighbours.admit(job, self.addresses[job.target], now) {
                return Some(job);
            }
        }
    }

    fn turns(&self) -> usize {
        match self.turns {
            Turns::AtOnce => 1,
            Turns::Waves | Turns::Overlapping => self.configurations.len(),
        }
    }

    /// The configuration whose turn it is.
    fn in_turn(&self) -> usize {
        self.configurations.start + self.turn
    }

    /// The next attempt of this turn, if there is one.
    fn job(&self) -> Option<Job> {
        let (target, configuration) = match self.turns {
            Turns::AtOnce => {
                let each = self.configurations.len();
                (self.next / each, self.configurations.start + self.next % each)
            }
            Turns::Waves | Turns::Overlapping => (self.next, self.in_turn()),
        };
        (target < self.addresses.len()).then_some(Job { target, configuration })
    }

    /// The requested configurations are in force.
    pub fn handle_applied(&mut self) {
        self.applied = true;
    }

    /// No configuration is in force any more.
    pub fn handle_undone(&mut self) {
        self.applied = false;
    }

    /// The requested attempt is in flight; `now` is after its first packet was sent, so that two first packets are never
    /// closer than two of these times.
    pub fn handle_started(&mut self, now: Duration) {
        if let Some(job) = self.offered.take() {
            self.neighbours.handle_started(self.addresses[job.target], now);
        }
        self.in_flight += 1;
        self.pace.handle_started(now);
    }

    /// The requested attempt was not started after all: nothing was sent.
    pub fn handle_withdrawn(&mut self) {
        self.offered = None;
    }

    /// Whether an attempt is in flight.
    pub fn is_busy(&self) -> bool {
        self.in_flight > 0
    }

    /// An attempt ended.
    pub fn handle_ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// An attempt ended, and must be repeated.
    pub fn handle_repeat(&mut self, job: Job) {
        self.handle_ended();
        self.repeats.push_back(job);
    }

    /// Starts no further attempts.
    pub fn handle_stop(&mut self) {
        self.stopping = true;
        self.repeats.clear();
        self.neighbours.clear();
        self.offered = None;
    }
}

/// At most `rate` starts in any one second, spread over it as far as timers allow.
#[derive(Debug)]
struct Pace {
    rate: Option<usize>,
    /// Starts within the last second, oldest first; never more than `rate`.
    recent: VecDeque<Duration>,
    /// The time of the next start on a perfectly even schedule.
    even: Duration,
}

const SECOND: Duration = Duration::from_secs(1);
/// How late a start may be and still be made up for: timers are coarse.
const SLACK: Duration = Duration::from_millis(10);

impl Pace {
    fn new(rate: Option<u32>) -> Self {
        let rate = rate.map(|rate| usize::try_from(rate.max(1)).unwrap_or(usize::MAX));
        Self { rate, recent: VecDeque::new(), even: Duration::ZERO }
    }

    /// `None` if an attempt may start now, otherwise when it may.
    fn free_at(&mut self, now: Duration) -> Option<Duration> {
        let rate = self.rate?;
        while self.recent.front().is_some_and(|start| *start + SECOND <= now) {
            self.recent.pop_front();
        }
        let window = match self.recent.front() {
            Some(oldest) if self.recent.len() >= rate => *oldest + SECOND,
            _ => Duration::ZERO,
        };
        let free = window.max(self.even);
        (free > now).then_some(free)
    }

    fn handle_started(&mut self, now: Duration) {
        let Some(rate) = self.rate else { return };
        self.recent.push_back(now);
        let gap = SECOND / u32::try_from(rate).unwrap_or(u32::MAX);
        self.even = self.even.max(now.saturating_sub(SLACK)) + gap;
    }
}

#[cfg(test)]
mod tests;
