//! Events that a run reports to its caller.

use std::sync::mpsc::Receiver;

use arrow_array::RecordBatch;

use super::telemetry::Telemetry;
use crate::error::Result;

/// Receives what a run reports. Every method is called from a thread of the run.
pub trait Events: Sync {
    /// Judged records that belong to the result: first those of earlier sessions, if the run is resumed, then each
    /// batch as it is written.
    fn records(&self, _: &RecordBatch) {}

    /// Observes the run on a thread of its own until `ended` is closed.
    ///
    /// # Errors
    /// An error, or a return before `ended` is closed, stops the run gracefully.
    fn watch(&self, _: &Telemetry<'_>, ended: &Receiver<()>) -> Result<()> {
        // Closed, without a message.
        let _ = ended.recv();
        Ok(())
    }
}

/// Ignores all events; the outcome is enough.
impl Events for () {}
