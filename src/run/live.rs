//! Counters that the threads of a run publish.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::totals::Totals;
use super::verdicts::CLASSES;

/// Counters that the threads of a run publish.
#[derive(Debug, Default)]
pub struct Live {
    /// Targets to probe, as estimated; 0 while unknown.
    pub(super) expected: AtomicU64,
    /// Targets handed to the engine for the first time.
    pub(super) probed: AtomicU64,
    /// Number of re-probes.
    pub(super) reprobed: AtomicU64,
    /// The same, of the waves before the one in flight.
    pub(super) reprobed_before: AtomicU64,
    pub(super) waves: AtomicU64,
    /// Attempts of the wave in flight.
    pub(super) wave: AtomicU64,
    /// Attempts that had ended when this wave began.
    pub(super) before: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) verdicts: [AtomicU64; CLASSES.len()],
    pub(super) labels: Mutex<BTreeMap<String, u64>>,
}

impl Live {
    /// A wave begins: its numbers of new and of re-probed targets, its attempts, and the attempts ended so far.
    pub fn begin_wave(&self, [first, again]: [usize; 2], attempts: u64, ended: u64) {
        self.probed.fetch_add(first as u64, Relaxed);
        let before = self.reprobed.fetch_add(again as u64, Relaxed);
        self.reprobed_before.store(before, Relaxed);
        self.waves.fetch_add(1, Relaxed);
        self.wave.store(attempts, Relaxed);
        self.before.store(ended, Relaxed);
    }

    /// Sets the number of targets to probe, each counted once.
    pub fn expect(&self, targets: u64) {
        self.expected.store(targets, Relaxed);
    }

    /// Publishes the totals of all records, earlier ones included.
    pub fn tell(&self, totals: &Totals) {
        self.records.store(totals.records, Relaxed);
        for (shown, count) in self.verdicts.iter().zip(totals.verdicts) {
            shown.store(count, Relaxed);
        }
        let mut labels = self.labels.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        labels.clone_from(&totals.labels);
    }
}
