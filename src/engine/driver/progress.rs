//! The progress of a run.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::connect::State;

/// The progress of the run, readable from other threads.
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
    /// Of those that ended `skipped`: their target did not answer a liveness probe.
    pub skipped_by_probe: AtomicU64,
    /// Attempts that a panic ended; they are among the failed ones.
    pub internal_error: AtomicU64,
    /// Searches for the places of labels that began, and that are over.
    pub searches: [AtomicU64; 2],
    /// The first configuration in force, and the one after the last.
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

    /// The configurations in force; while none is, the last that were.
    pub fn in_force(&self) -> Range<usize> {
        let [first, end] = &self.in_force;
        first.load(Relaxed)..end.load(Relaxed)
    }

    /// These are in force now.
    pub(super) fn set_in_force(&self, configurations: &Range<usize>) {
        let [first, end] = &self.in_force;
        first.store(configurations.start, Relaxed);
        end.store(configurations.end, Relaxed);
    }

    /// All attempts that ended.
    pub fn ended(&self) -> u64 {
        [&self.ok, &self.failed, &self.timeout, &self.local_error, &self.skipped]
            .iter()
            .map(|count| count.load(Relaxed))
            .sum()
    }
}
