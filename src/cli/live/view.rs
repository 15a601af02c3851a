//! Who looks at a run: reads the counters of its threads, and shows them until the run is over.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime};

use super::super::counts::Counts;
use super::super::progress::{Display, FRAME, LINE};
use super::super::stop::{Remaining, Stop};
use super::super::{summary, verdicts};
use super::snapshot::{Every, Pace, Snapshot};
use super::{Live, Status, metrics};
use crate::barrier::panic_point;
use crate::engine::driver::Progress;
use crate::engine::scheduler::Limits;
use crate::measurement::Plan;
use crate::observer::capture::Counters;

/// How often `--status` has a line.
const STATUS: Duration = Duration::from_secs(1);

/// Everything that tells of a run.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// What is run.
    pub plan: &'a Plan,
    /// Its limits.
    pub limits: Limits,
    /// When it began, or was resumed.
    pub began: Instant,
    /// The engine's counts.
    pub engine: &'a Progress,
    /// The capture's counts.
    pub capture: &'a Counters,
    /// What the other threads tell.
    pub live: &'a Live,
    /// What signals asked for.
    pub stop: &'a Stop,
}

impl View<'_> {
    /// The run as it is now.
    pub fn now(&self) -> Snapshot {
        let Self { plan, engine, live, .. } = self;
        let load = |count: &std::sync::atomic::AtomicU64| count.load(Relaxed);
        let counts = Counts::now(engine, self.capture);
        let ended: u64 = counts.attempts.iter().sum();
        let force = engine.in_force();
        let names = plan.configs.iter().map(|config| config.name).enumerate();
        let mut verdicts = [0; verdicts::CLASSES.len()];
        for (count, shown) in verdicts.iter_mut().zip(&live.verdicts) {
            *count = load(shown);
        }
        let labels = live.labels.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        Snapshot {
            elapsed: self.began.elapsed(),
            started: load(&engine.started),
            per_target: per_target(plan),
            expected: load(&live.expected),
            asked: load(&live.asked),
            again: load(&live.again),
            again_before: load(&live.again_before),
            records: load(&live.records),
            verdicts,
            labels,
            wave: load(&live.waves),
            wave_left: (load(&live.wave) + load(&live.before)).saturating_sub(ended),
            configurations: names
                .filter(|(n, _)| force.contains(n))
                .map(|(_, name)| name)
                .collect(),
            stopping: !self.stop.may_begin(),
            counts,
        }
    }

    /// The run as Prometheus wants it.
    pub fn metrics(&self) -> String {
        let names: Vec<&'static str> = self.plan.configs.iter().map(|config| config.name).collect();
        let now = self.now();
        let began = SystemTime::now().checked_sub(now.elapsed).unwrap_or(SystemTime::UNIX_EPOCH);
        let began = began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        metrics::text(&now, &self.plan.name, &names, began.as_secs_f64())
    }

    /// How long the wave in hand may take.
    pub fn remaining(&self, pace: &std::sync::Mutex<Pace>) -> Remaining {
        let pace = pace.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let attempts = self.now().wave_left;
        let timeout = self.plan.configs.iter().map(|config| config.connection.timeout).max();
        let most = longest(
            attempts,
            self.limits,
            timeout.unwrap_or(self.plan.timeout),
            self.plan.configs.len() as u32,
        );
        let likely = pace.time_for(attempts).map(|likely| likely.min(most));
        Remaining { attempts, likely, most }
    }

    /// Shows how the run goes, to a person and in the status, until `done` is closed. `pace` is for others to read.
    pub fn watch(
        &self,
        done: &Receiver<()>,
        quiet: bool,
        mut status: Option<&mut Status>,
        pace: &std::sync::Mutex<Pace>,
    ) {
        let display = Display::new(quiet);
        let (mut lines, mut states) = (Every::new(LINE), Every::new(STATUS));
        loop {
            let over = done.recv_timeout(FRAME) != Err(RecvTimeoutError::Timeout);
            let now = self.now();
            if now.wave > 0 {
                panic_point("live");
            }
            let pace = {
                let mut pace = pace.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                pace.handle(now.elapsed, now.progress());
                pace.clone()
            };
            let line = lines.is_due(now.elapsed);
            let text = || (now.phase(&pace), now.found(&pace));
            display.show(now.elapsed, (now.progress(), now.total()), line, &text);
            if let Some(status) = &mut status {
                let due = states.is_due(now.elapsed);
                let line = || now.json(&pace, &summary::utc(SystemTime::now()));
                match (over, due) {
                    (true, _) => status.remember(line()),
                    (false, true) => status.progress(line()),
                    (false, false) => {}
                }
            }
            if over {
                return display.end();
            }
        }
    }
}

/// Attempts that a target takes.
pub fn per_target(plan: &Plan) -> u64 {
    plan.configs.iter().map(|config| u64::from(config.connection.options.repeat())).sum()
}

/// How long so many attempts take if none is answered: each slot is then held for the timeout, and each
/// configuration's turn ends a timeout after its last start.
fn longest(attempts: u64, limits: Limits, timeout: Duration, turns: u32) -> Duration {
    let slots = limits.concurrency as f64 / timeout.as_secs_f64().max(1e-3);
    let per_second = limits.rate.map_or(slots, |rate| slots.min(f64::from(rate)));
    let starts = Duration::try_from_secs_f64(attempts as f64 / per_second.max(1e-9));
    starts.unwrap_or(Duration::MAX).saturating_add(timeout.saturating_mul(turns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::scheduler::Caps;

    #[test]
    fn a_wave_takes_as_long_as_its_limits_and_timeouts_say() {
        let second = Duration::from_secs(1);
        let limits = |concurrency, rate| Limits { concurrency, rate, caps: Caps::default() };
        assert_eq!(longest(5000, limits(1000, Some(100)), 3 * second, 2), 56 * second);
        assert_eq!(longest(5000, limits(1000, None), 3 * second, 2), 21 * second);
        assert_eq!(longest(0, limits(1, None), second, 2), 2 * second);
    }
}
