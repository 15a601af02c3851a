//! What the threads of a run count of their work, for whoever looks at it meanwhile.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::totals::Totals;
use super::verdicts::CLASSES;

/// What the threads of a run tell of their work.
#[derive(Debug, Default)]
pub struct Live {
    /// Targets to be asked in all, as far as that can be told; 0 while it cannot.
    pub(super) expected: AtomicU64,
    /// Targets handed to the engine for the first time.
    pub(super) asked: AtomicU64,
    /// How often targets were asked again.
    pub(super) again: AtomicU64,
    /// That, in the waves before the one in hand.
    pub(super) again_before: AtomicU64,
    pub(super) waves: AtomicU64,
    /// Attempts of the wave in hand.
    pub(super) wave: AtomicU64,
    /// Attempts that had ended when it began.
    pub(super) before: AtomicU64,
    pub(super) records: AtomicU64,
    pub(super) verdicts: [AtomicU64; CLASSES.len()],
    pub(super) labels: Mutex<BTreeMap<String, u64>>,
}

impl Live {
    /// A wave begins: its targets that are asked for the first time and those that are asked again, the attempts that
    /// those take, and the attempts that have ended so far.
    pub fn begin_wave(&self, [first, again]: [usize; 2], attempts: u64, ended: u64) {
        self.asked.fetch_add(first as u64, Relaxed);
        let before = self.again.fetch_add(again as u64, Relaxed);
        self.again_before.store(before, Relaxed);
        self.waves.fetch_add(1, Relaxed);
        self.wave.store(attempts, Relaxed);
        self.before.store(ended, Relaxed);
    }

    /// Sets the number of targets to probe, each counted once.
    pub fn expect(&self, targets: u64) {
        self.expected.store(targets, Relaxed);
    }

    /// What the records say, earlier ones included.
    pub fn tell(&self, totals: &Totals) {
        self.records.store(totals.records, Relaxed);
        for (shown, count) in self.verdicts.iter().zip(totals.verdicts) {
            shown.store(count, Relaxed);
        }
        let mut labels = self.labels.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        labels.clone_from(&totals.labels);
    }
}
