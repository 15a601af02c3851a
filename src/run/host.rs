//! The lock of the network namespace and the journal, held by a run that changes the host.

use std::path::Path;

use super::handle::Handle;
use crate::error::{Error, Result};
use crate::measurement::Plan;
use crate::step::restore::{self, How, Item};
use crate::step::{Journal, Lock, Run, Slot, Step};

/// The lock and the journal. A run in the lab has neither: its namespace is its own and ends with it.
#[derive(Debug, Default)]
pub struct Host {
    journal: Option<Journal>,
    lock: Option<Lock>,
}

impl Host {
    /// Takes the lock, restores what killed runs left, and creates the journal. This run has changed nothing yet.
    ///
    /// # Errors
    /// If another run holds the lock, if a change of a killed run cannot be restored, or if the journal cannot be
    /// created.
    pub fn hold(state: Option<&Path>, plan: &Plan, handle: &Handle) -> Result<Self> {
        let steps = || plan.configs.iter().flat_map(|config| &config.steps);
        let run = Run::this(&plan.name)?;
        let lock = Lock::take(&run, plan.turns().take_turns())?;
        let report = restore::leftovers(state, Some(&lock), How::Restore, &|| handle.is_ended())?;
        handle.check(|| format!("run {}: nothing was sent", plan.name))?;
        for (items, what) in [
            (&report.restored, "restored a change of a killed run"),
            (&report.dropped, "dropped a change of a killed run"),
            (&report.kept, "a change of a killed run remains, see `pathspider restore`"),
        ] {
            for item in items {
                log::warn!("{what}: {}", describe_change(item));
            }
        }
        if let Some(item) = report.failed.first() {
            return Err(Error::Failed(format!(
                "restore changes of killed runs: {}; nothing was run; see `pathspider restore`",
                describe_change(item)
            )));
        }
        let changes = steps().any(Step::changes_host);
        let journal = changes.then(|| Journal::create(state, &run, &lock)).transpose()?;
        Ok(Self { journal, lock: Some(lock) })
    }

    /// The slot of the run among the runs in this network namespace.
    pub fn slot(&self) -> Slot {
        self.lock.as_ref().map(Lock::first).unwrap_or_default()
    }

    /// The journal in which the engine records its changes.
    pub fn journal(&self) -> Option<Journal> {
        self.journal.clone()
    }
}

/// Describes a change and the run that made it.
pub fn describe_change(item: &Item) -> String {
    match &item.run {
        Some(run) => format!("{} ({})", item.what, describe_run(run)),
        None => item.what.clone(),
    }
}

/// Describes a run.
pub fn describe_run(run: &Run) -> String {
    format!("run of `{}`, process {}, since {}", run.measurement, run.pid, run.since_utc())
}
