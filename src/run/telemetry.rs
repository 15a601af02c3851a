//! Live counters of a run, readable at any moment.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::counts::Counts;
use super::handle::Handle;
use super::live::Live;
use super::snapshot::Snapshot;
use super::verdicts;
use crate::engine::driver::Progress;
use crate::engine::scheduler::Limits;
use crate::measurement::Plan;
use crate::observer::capture::Counters;

/// The counters of a run in progress.
#[derive(Clone, Copy)]
pub struct Telemetry<'a> {
    /// The measurement.
    pub plan: &'a Plan,
    /// Its limits.
    pub limits: Limits,
    /// When this session began.
    pub began: Instant,
    /// The engine's counts.
    pub engine: &'a Progress,
    /// The capture's counts.
    pub capture: &'a Counters,
    /// The counts of the run's own threads.
    pub live: &'a Live,
    /// Whether it was ended from outside.
    pub handle: &'a Handle,
}

impl Telemetry<'_> {
    /// The run as it is now.
    pub fn now(&self) -> Snapshot {
        let Self { plan, engine, live, .. } = self;
        let load = |count: &AtomicU64| count.load(Relaxed);
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
            probed: load(&live.probed),
            reprobed: load(&live.reprobed),
            reprobed_before: load(&live.reprobed_before),
            records: load(&live.records),
            verdicts,
            labels,
            wave: load(&live.waves),
            wave_left: (load(&live.wave) + load(&live.before)).saturating_sub(ended),
            searches: [load(&engine.searches[0]), load(&engine.searches[1])],
            configurations: names
                .filter(|(n, _)| force.contains(n))
                .map(|(_, name)| name)
                .collect(),
            stopping: !self.handle.may_begin(),
            counts,
        }
    }
}

/// Attempts per target.
pub fn per_target(plan: &Plan) -> u64 {
    plan.configs.iter().map(|config| u64::from(config.connection.options.repeat())).sum()
}
