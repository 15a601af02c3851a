//! How far a run is.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::connect::State;

/// How far the run is, readable from other threads.
#[derive(Debug, Default)]
pub struct Progress {
    /// Attempts started.
    pub started: AtomicU64,
    /// Attempts that ended `ok`.
    pub ok: AtomicU64,
    /// Attempts that ended `failed`.
    pub failed: AtomicU64,
    /// Attempts that ended `timeout`.
    pub timeout: AtomicU64,
    /// Attempts that ended `local_error`.
    pub local_error: AtomicU64,
    /// Attempts that ended `skipped`.
    pub skipped: AtomicU64,
    /// Of those that ended `skipped`, those whose target a probe had found down.
    pub skipped_by_probe: AtomicU64,
    /// Attempts that a panic ended; they are among the failed ones.
    pub internal_error: AtomicU64,
    /// The first configuration in force, and the one behind the last.
    in_force: [AtomicUsize; 2],
}

impl Progress {
    /// Counts an attempt that has ended.
    pub(super) fn count(&self, state: State) {
        let count = match state {
            State::Ok => &self.ok,
            State::Failed => &self.failed,
            State::Timeout => &self.timeout,
            State::LocalError => &self.local_error,
            State::Skipped => &self.skipped,
        };
        count.fetch_add(1, Relaxed);
    }

    /// The configurations in force; one that was, while none is.
    pub fn in_force(&self) -> Range<usize> {
        let [first, behind] = &self.in_force;
        first.load(Relaxed)..behind.load(Relaxed)
    }

    /// These are in force now.
    pub(super) fn set_in_force(&self, configurations: &Range<usize>) {
        let [first, behind] = &self.in_force;
        first.store(configurations.start, Relaxed);
        behind.store(configurations.end, Relaxed);
    }

    /// Attempts that ended, however they did.
    pub fn ended(&self) -> u64 {
        [&self.ok, &self.failed, &self.timeout, &self.local_error, &self.skipped]
            .iter()
            .map(|count| count.load(Relaxed))
            .sum()
    }
}
