//! How far a run is.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

    /// Attempts that ended, however they did.
    pub fn ended(&self) -> u64 {
        [&self.ok, &self.failed, &self.timeout, &self.local_error, &self.skipped]
            .iter()
            .map(|count| count.load(Relaxed))
            .sum()
    }
}
