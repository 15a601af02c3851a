//! From targets to waves whose attempts have ended.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;

use super::disturbed::{self, Disturbed};
use super::prepare::Preparation;
use super::writer::{Lost, Wave};
use crate::engine::driver;
use crate::error::{Error, Result};
use crate::observer::capture;
use crate::targets::{Reader, Reason, Target};

/// Feeds the engine.
pub struct Feed<'a, 'e> {
    /// What asks them.
    pub engine: &'a mut driver::Engine<'e>,
    /// Where they come from.
    pub reader: &'a mut Reader,
    /// What is done before.
    pub preparation: Preparation,
    /// What watches.
    pub capture: &'a capture::Capture,
    /// Where waves go that have ended.
    pub waves: mpsc::SyncSender<Wave>,
    /// The most targets of a wave.
    pub size: usize,
    /// Targets in all, as far as the list's length tells.
    pub expected: &'a AtomicU64,
    /// What became of them.
    pub fed: Fed,
}

/// What became of the targets that were read.
#[derive(Debug, Default)]
pub struct Fed {
    /// Targets handed to the engine.
    pub asked: u64,
    /// Targets in hand that a stop came before.
    pub unasked: u64,
    /// Waves that were disturbed.
    pub disturbed: Disturbed,
    /// Whether anything was sent.
    sent: bool,
}

impl Feed<'_, '_> {
    /// Runs wave after wave until the targets or the wish to go on are at an end.
    pub fn run(&mut self, mut batch: Vec<Target>, keep_going: &dyn Fn() -> bool) -> Result<()> {
        batch.extend(self.reader.next_batch(self.size.saturating_sub(batch.len()))?);
        while !batch.is_empty() && keep_going() {
            self.fed.asked += batch.len() as u64;
            self.expect();
            let ready = self.preparation.prepare(&mut batch, self.engine, keep_going)?;
            let addresses = ready.addresses(&batch);
            let mut was_disturbed = false;
            loop {
                let ports = self.engine.next_ports();
                let lost = Lost::now(&self.capture.counters);
                let mut asked = self.engine.run_wave(&addresses, keep_going)?;
                let again = self.fed.disturbed.again(&mut asked, was_disturbed, keep_going());
                let flows = self
                    .capture
                    .flush(move |key| ports.iter().any(|range| range.contains(&key.source.1)));
                let later = self.engine.next_ports();
                if again {
                    let asked = disturbed::nothing(&asked, ready.ports());
                    let (targets, prepared) = (Vec::new(), Vec::new());
                    if self
                        .waves
                        .send(Wave { targets, prepared, asked, flows, lost, later })
                        .is_err()
                    {
                        return Ok(());
                    }
                    was_disturbed = true;
                    continue;
                }
                self.stuck(&asked, batch.len())?;
                let (prepared, asked) = ready.complete(asked);
                let targets = std::mem::take(&mut batch);
                if self.waves.send(Wave { targets, prepared, asked, flows, lost, later }).is_err() {
                    // The writer has failed; its own error says why.
                    return Ok(());
                }
                break;
            }
            batch = self.reader.next_batch(self.size)?;
        }
        self.fed.unasked = batch.len() as u64;
        Ok(())
    }

    /// Refuses to go on where nothing can be sent any more: what is left of the list would be spent on it.
    fn stuck(&mut self, asked: &driver::Asked, targets: usize) -> Result<()> {
        if asked.disturbed.is_empty() && !disturbed::is_stuck(asked) {
            self.fed.sent = true;
        } else if self.fed.sent && disturbed::is_stuck(asked) && asked.disturbed.is_empty() {
            let errors = asked.attempts.iter().flatten().flatten();
            let error = errors.filter_map(|ended| ended.attempt.error.as_deref()).next();
            return Err(Error::failed(
                format!("ask {targets} targets: not one packet could be sent"),
                format!("{}; they have no record", error.unwrap_or_default()),
            ));
        }
        Ok(())
    }

    /// Estimates how many targets there are to be asked.
    fn expect(&self) {
        if let (read @ 1.., Some(total)) = self.reader.progress() {
            // Those that have their records were read fast and say nothing of the rest.
            let done = self.reader.refusals().of(Reason::Resumed);
            let all = (self.fed.asked + done).saturating_mul(total) / read;
            self.expected.store(all.saturating_sub(done), Relaxed);
        }
    }
}
