//! When each connection starts: waves, configurations in turn, and the two limits.
//!
//! A state machine without sockets and without a clock. The driver asks [`Scheduler::poll`] what
//! to do at a time, does it, and reports back; so every order of events can be tested in
//! virtual time.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use crate::step::Turns;

/// Limits on what is sent.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections in flight at the same time, at least 1.
    pub concurrency: usize,
    /// Connections started in any one second; no limit if `None`.
    pub rate: Option<u32>,
}

/// One thing to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// A target of the wave.
    pub target: usize,
    /// The configuration to ask it under.
    pub configuration: usize,
}

/// What the driver is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Put these configurations in force and no others, then call [`Scheduler::handle_applied`].
    Apply(Range<usize>),
    /// Connect, then call [`Scheduler::handle_started`].
    Start(Job),
    /// Nothing before an attempt ends, or before this time if one is given.
    Wait(Option<Duration>),
    /// Every target of the wave has been asked under every configuration.
    WaveDone,
}

/// The order of a run. Times are durations since any fixed moment and never run backwards.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    turns: Turns,
    /// Those that targets are asked under in this wave.
    configurations: Range<usize>,
    targets: usize,
    /// Which turn it is: that of a configuration, or the only one of all.
    turn: usize,
    applied: bool,
    /// The next thing to ask in this turn.
    next: usize,
    /// What is to be asked once more, the oldest first.
    again: VecDeque<Job>,
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
            targets: 0,
            turn: usize::MAX,
            applied: false,
            next: 0,
            again: VecDeque::new(),
            in_flight: 0,
            stopping: false,
            pace: Pace::new(limits.rate),
        }
    }

    /// Begins a wave of this many targets, each asked under each of these configurations. Those that are all in
    /// force at once stay so from wave to wave.
    pub fn handle_wave(&mut self, targets: usize, configurations: Range<usize>) {
        let stay = self.turns == Turns::AtOnce && self.configurations == configurations;
        self.configurations = configurations;
        self.targets = targets;
        self.turn = 0;
        self.applied = self.applied && stay;
        self.next = 0;
    }

    /// What to do at this time.
    pub fn poll(&mut self, now: Duration) -> Next {
        if self.stopping || self.turn >= self.turns() {
            return if self.in_flight == 0 { Next::WaveDone } else { Next::Wait(None) };
        }
        let job = self.again.front().copied().or_else(|| self.job());
        let Some(job) = job else {
            // The barrier: nobody is under way when the configuration changes.
            if self.in_flight > 0 {
                return Next::Wait(None);
            }
            self.turn += 1;
            self.applied = self.turns == Turns::AtOnce;
            self.next = 0;
            return self.poll(now);
        };
        if !self.applied {
            return Next::Apply(match self.turns {
                Turns::AtOnce => self.configurations.clone(),
                Turns::Waves => self.in_turn()..self.in_turn() + 1,
            });
        }
        if self.in_flight >= self.limits.concurrency {
            return Next::Wait(None);
        }
        match self.pace.free_at(now) {
            Some(later) => Next::Wait(Some(later)),
            None => Next::Start(job),
        }
    }

    fn turns(&self) -> usize {
        match self.turns {
            Turns::AtOnce => 1,
            Turns::Waves => self.configurations.len(),
        }
    }

    /// The configuration whose turn it is.
    fn in_turn(&self) -> usize {
        self.configurations.start + self.turn
    }

    /// What comes next in this turn, if anything is left of it.
    fn job(&self) -> Option<Job> {
        let (target, configuration) = match self.turns {
            Turns::AtOnce => {
                let each = self.configurations.len();
                (self.next / each, self.configurations.start + self.next % each)
            }
            Turns::Waves => (self.next, self.in_turn()),
        };
        (target < self.targets).then_some(Job { target, configuration })
    }

    /// The configurations asked for are in force.
    pub fn handle_applied(&mut self) {
        self.applied = true;
    }

    /// What was asked for is under way; `now` is after its first packet was sent, so that two first packets
    /// are never closer than two of these times.
    pub fn handle_started(&mut self, now: Duration) {
        if self.again.pop_front().is_none() {
            self.next += 1;
        }
        self.in_flight += 1;
        self.pace.handle_started(now);
    }

    /// An attempt ended.
    pub fn handle_ended(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// An attempt ended, and the same is to be asked once more.
    pub fn handle_again(&mut self, job: Job) {
        self.handle_ended();
        self.again.push_back(job);
    }

    /// Starts nothing any more.
    pub fn handle_stop(&mut self) {
        self.stopping = true;
        self.again.clear();
    }
}

/// At most `rate` starts in any one second, spread over it as far as timers allow.
#[derive(Debug)]
struct Pace {
    rate: Option<usize>,
    /// Starts within the last second, oldest first; never more than `rate`.
    recent: VecDeque<Duration>,
    /// When the next start would be on a perfectly even schedule.
    even: Duration,
}

const SECOND: Duration = Duration::from_secs(1);
/// How far behind the even schedule a start may be and still be made up for: timers are coarse.
const SLACK: Duration = Duration::from_millis(10);

impl Pace {
    fn new(rate: Option<u32>) -> Self {
        let rate = rate.map(|rate| usize::try_from(rate.max(1)).unwrap_or(usize::MAX));
        Self { rate, recent: VecDeque::new(), even: Duration::ZERO }
    }

    /// `None` if a start is free now, otherwise when it will be.
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
