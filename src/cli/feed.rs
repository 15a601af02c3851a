//! From targets to waves whose attempts have ended.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;

use super::prepare::Preparation;
use super::writer::{Lost, Wave};
use crate::engine::driver;
use crate::error::Result;
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
}

impl Feed<'_, '_> {
    /// Runs wave after wave until the targets or the wish to go on are at an end.
    pub fn run(&mut self, mut batch: Vec<Target>, keep_going: &dyn Fn() -> bool) -> Result<()> {
        batch.extend(self.reader.next_batch(self.size.saturating_sub(batch.len()))?);
        while !batch.is_empty() && keep_going() {
            self.fed.asked += batch.len() as u64;
            self.expect();
            let ready = self.preparation.prepare(&mut batch, self.engine, keep_going)?;
            let ports = self.engine.next_ports();
            let lost = Lost::now(&self.capture.counters);
            let asked = self.engine.run_wave(&ready.addresses(&batch), keep_going)?;
            let (prepared, asked) = ready.complete(asked);
            let flows = self
                .capture
                .flush(move |key| ports.iter().any(|range| range.contains(&key.source.1)));
            let later = self.engine.next_ports();
            let wave = Wave { targets: batch, prepared, asked, flows, lost, later };
            if self.waves.send(wave).is_err() {
                // The writer has failed; its own error says why.
                return Ok(());
            }
            batch = self.reader.next_batch(self.size)?;
        }
        self.fed.unasked = batch.len() as u64;
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
