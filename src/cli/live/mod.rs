//! How a run goes, while it goes: for a terminal, as JSON lines, as metrics for Prometheus.
//!
//! Threads of the run count in [`Live`], the engine's and the capture's own counters; [`View`] reads
//! them all at a moment as a [`Snapshot`], which is plain data, and everything that is shown is
//! made of that.

mod metrics;
mod server;
mod snapshot;
mod status;
mod view;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use server::Server;
pub use status::Status;
pub use view::{View, per_target};

use super::verdicts::CLASSES;
use super::writer::Totals;
use crate::error::{Error, Result};

/// Options of a command whose run can be watched from outside.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Append a JSON line about the run each second to FILE: `-` is standard output (the summary then goes to
    /// standard error), /dev/fd/3 an open descriptor. The last line says how the run ended
    #[arg(long, value_name = "FILE")]
    status: Option<PathBuf>,

    /// Serve metrics for Prometheus on http://ADDR/metrics while the run goes on, ADDR being an address and a
    /// port of this machine's loopback interface: 127.0.0.1:9464
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,

    /// Let --metrics serve on an address that others can reach: there is no password and no encryption
    #[arg(long, requires = "metrics")]
    metrics_exposed: bool,
}

impl Options {
    /// Whether the status goes to standard output.
    pub fn on_stdout(&self) -> bool {
        self.status.as_deref() == Some(Path::new("-"))
    }

    /// Opens what is asked for. Call it when rights have been given up, and before anything else is opened: in a lab of its
    /// own namespace the address could not be found.
    ///
    /// # Errors
    /// [`Error::Usage`] if the file or the address cannot be had, if others could reach the address without that having been
    /// said, or if records go to standard output, too.
    pub fn open(&self, records_on_stdout: bool) -> Result<(Option<Status>, Option<Server>)> {
        if self.on_stdout() && records_on_stdout {
            return Err(Error::Usage(
                "--status -: the records go to standard output; name a file for one of them".into(),
            ));
        }
        let status = self.status.as_deref().map(Status::open).transpose()?;
        let server = self.metrics.map(|at| Server::bind(at, self.metrics_exposed)).transpose()?;
        Ok((status, server))
    }
}

/// What the threads of a run tell of their work.
#[derive(Debug, Default)]
pub struct Live {
    /// Targets to be asked in all, as far as that can be told; 0 while it cannot.
    expected: AtomicU64,
    /// Targets handed to the engine for the first time.
    asked: AtomicU64,
    /// How often targets were asked again.
    again: AtomicU64,
    /// That, in the waves before the one in hand.
    again_before: AtomicU64,
    waves: AtomicU64,
    /// Attempts of the wave in hand.
    wave: AtomicU64,
    /// Attempts that had ended when it began.
    before: AtomicU64,
    records: AtomicU64,
    verdicts: [AtomicU64; CLASSES.len()],
    labels: Mutex<BTreeMap<String, u64>>,
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
