//! What a run holds while it changes the host: the lock of the network namespace, and its journal.

use std::path::Path;

use super::handle::Handle;
use crate::error::{Error, Result};
use crate::measurement::Plan;
use crate::step::restore::{self, How, Item};
use crate::step::{Journal, Lock, Run, Slot, Step, Turns};

/// The lock and the journal. A run in the lab has neither: its namespace is its own and ends with it.
#[derive(Debug, Default)]
pub struct Host {
    journal: Option<Journal>,
    lock: Option<Lock>,
}

impl Host {
    /// Takes the lock, puts back what killed runs left, and begins the journal. Nothing of this run
    /// is changed yet.
    ///
    /// # Errors
    /// If another run is in the way, if something is left that cannot be put back, or if there is no
    /// place for a journal.
    pub fn hold(state: Option<&Path>, plan: &Plan, handle: &Handle) -> Result<Self> {
        let steps = || plan.configs.iter().flat_map(|config| &config.steps);
        let run = Run::this(&plan.name)?;
        let lock = Lock::take(&run, Turns::of(steps()) == Turns::Waves)?;
        let report = restore::leftovers(state, Some(&lock), How::Restore, &|| handle.is_ended())?;
        handle.check(|| format!("run {}: nothing was sent", plan.name))?;
        for (items, what) in [
            (&report.restored, "put back what a killed run left"),
            (&report.dropped, "dropped what a killed run left"),
            (&report.kept, "left by a killed run, see `pathspider restore`"),
        ] {
            for item in items {
                log::warn!("{what}: {}", told(item));
            }
        }
        if let Some(item) = report.failed.first() {
            return Err(Error::Failed(format!(
                "put back what a killed run left: {}; nothing was run; see `pathspider restore`",
                told(item)
            )));
        }
        let changes = steps().any(Step::changes_host);
        let journal = changes.then(|| Journal::create(state, &run, &lock)).transpose()?;
        Ok(Self { journal, lock: Some(lock) })
    }

    /// The place of the run among others of this network namespace.
    pub fn slot(&self) -> Slot {
        self.lock.as_ref().map(Lock::first).unwrap_or_default()
    }

    /// Has the engine write down what it changes.
    pub fn journal(&self) -> Option<Journal> {
        self.journal.clone()
    }
}

/// One change and who left it, in words.
pub fn told(item: &Item) -> String {
    match &item.run {
        Some(run) => format!("{} ({})", item.what, run_told(run)),
        None => item.what.clone(),
    }
}

/// A run, in words.
pub fn run_told(run: &Run) -> String {
    format!("run of `{}`, process {}, since {}", run.measurement, run.pid, run.since_utc())
}
