//! The outcome of a run, and the metadata of its results.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::about::owned;
use super::account::Account;
use super::counts::Counts;
use super::disturbed::Disturbed;
use super::output::Output;
use super::totals::Totals;
use crate::barrier::panic_point;
use crate::error::Error;
use crate::signals;
use crate::sink::{self, Metadata, Sink, Written};
use crate::step::CommandOutput;
use crate::targets::Positions;

/// How a run ended.
pub struct Outcome {
    /// Targets handed to the engine.
    pub probed: u64,
    /// Number of re-probes of targets that looked broken or transient.
    pub reprobed: u64,
    /// The outcome of every target read.
    pub account: Account,
    /// Totals of the records; of a resumed run, of all sessions.
    pub totals: Totals,
    /// Counts; of a resumed run, of all sessions.
    pub counts: Counts,
    /// Disturbed waves of this session.
    pub disturbed: Disturbed,
    /// Duration of this session.
    pub elapsed: Duration,
    /// The interface watched.
    pub interface: String,
    /// The interface through which unobserved packets left, if it is another one.
    pub elsewhere: Option<String>,
    /// Start, ISO 8601 in UTC.
    pub started: String,
    /// End, likewise.
    pub ended: String,
    /// Metadata that are known at the end only: the clock, the exclusion lists.
    pub closing: Metadata,
    /// Whether it was ended from outside.
    pub interrupted: bool,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// The error that ended the run early.
    pub error: Option<Error>,
    /// Output of the programs of `command` steps.
    pub outputs: Vec<CommandOutput>,
    /// Number of records on disk.
    pub records: u64,
    /// The folder of the evidence, if the run kept any.
    pub evidence: Option<PathBuf>,
    /// The output file or folder.
    pub written: Option<Written>,
    /// The output to resume, if the run is unfinished and can be resumed.
    pub resume: Option<PathBuf>,
}

impl Outcome {
    /// Whether every target was probed.
    pub fn is_complete(&self) -> bool {
        !self.interrupted && self.error.is_none() && self.account.missing() == 0
    }

    /// Finishes the output, whatever ended the run. The run can be resumed if its targets can be read `again` and it was
    /// written in parts.
    pub fn close(&mut self, sink: Box<dyn Sink>, about: &Metadata, output: &Output, again: bool) {
        panic_point("finish");
        if self.error.is_some() {
            self.account.close();
        }
        match sink.finish(&metadata(self, about)) {
            Ok(written) => self.written = Some(written),
            Err(error) => drop(self.error.get_or_insert(error)),
        }
        let parts = self.written.as_mut().and_then(|written| written.parts.take());
        if !self.is_complete() && again && output.has_parts() && output.is_there() {
            self.resume = Some(output.path().to_owned());
        } else if let Some(parts) = parts.filter(|_| output.is_single())
            && let Err(error) = sink::discard(&parts)
        {
            log::warn!("{error}");
        }
    }

    /// The name of the signal that ended the run, if one did.
    pub fn signal_name(&self) -> Option<String> {
        self.signal.map(signals::name)
    }
}

/// The metadata of the result; the sink puts `pathspider.` before each key.
pub fn metadata(outcome: &Outcome, about: &Metadata) -> Metadata {
    let account = &outcome.account;
    let (last, vacant) = &account.positions;
    let mut now = owned([
        ("ended", outcome.ended.clone()),
        ("complete", outcome.is_complete().to_string()),
        ("targets_read", account.read.to_string()),
        ("targets_asked", outcome.probed.to_string()),
        ("targets_refused", account.refusals().to_string()),
        ("targets_unfinished", account.unfinished.to_string()),
        ("records", outcome.records.to_string()),
        ("waves_repeated", outcome.disturbed.repeated.to_string()),
        ("waves_disturbed", outcome.disturbed.marked.to_string()),
        ("records_flagged", json!(outcome.totals.flagged).to_string()),
        ("command_outputs", outputs(&outcome.outputs)),
        ("port_outcomes", outcome.totals.ports.json().to_string()),
    ]);
    let Totals { labels, controls, .. } = &outcome.totals;
    if controls.records > 0 {
        now.extend(owned([("controls", controls.to_json(labels).to_string())]));
    }
    if let Some(digest) = &account.digest {
        now.extend(owned([
            ("targets_sha256", digest.clone()),
            ("targets_last_position", last.to_string()),
            ("lines_without_target", vacant.len().to_string()),
            ("targets_left_out", account.withheld.len().to_string()),
        ]));
    }
    now.extend(positions([
        ("targets_no_target", account.digest.as_ref().map(|_| vacant)),
        ("targets_withheld", account.digest.as_ref().map(|_| &account.withheld)),
    ]));
    now.extend(outcome.closing.iter().cloned());
    // Values known now take precedence over those known at the start.
    let fresh = |(key, _): &&(String, String)| now.iter().all(|(known, _)| known != key);
    let about: Metadata = about.iter().filter(fresh).cloned().collect();
    [about, now, outcome.counts.metadata()].concat()
}

/// Positions of a list as metadata; none are not a value.
pub fn positions<const N: usize>(
    pairs: [(&'static str, Option<&Positions>); N],
) -> impl Iterator<Item = (String, String)> {
    let there = pairs.into_iter().filter_map(|(key, positions)| Some((key, positions?)));
    let some = there.filter(|(_, positions)| !positions.is_empty());
    some.map(|(key, positions)| (key.to_owned(), positions.to_string()))
}

/// The output of programs as a JSON array.
fn outputs(outputs: &[CommandOutput]) -> String {
    let outputs = outputs.iter().map(|output| {
        let CommandOutput { line, status, stdout, stderr } = output;
        json!({ "line": line, "status": status, "stdout": stdout, "stderr": stderr })
    });
    serde_json::Value::Array(outputs.collect()).to_string()
}
