//! What a run was and cost: for the terminal, for programs, and for the file's metadata.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use indicatif::{HumanBytes, HumanCount};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::writer::Totals;
use super::{Format, out};
use crate::engine::driver::Progress;
use crate::error::{Error, Exit, Result};
use crate::lab::verdict::Styles;
use crate::lab::{Lab, Tally};
use crate::measurement::Plan;
use crate::observer::capture::Counters;
use crate::rule::Rules;
use crate::sink::Written;
use crate::step::CommandOutput;

/// How a run ended.
pub struct Outcome {
    /// Targets handed to the engine.
    pub asked: u64,
    /// Lines of the target list that were refused.
    pub refused: u64,
    /// What was written.
    pub totals: Totals,
    /// Attempts by how they ended: ok, failed, timeout, local error, skipped.
    pub attempts: [u64; 5],
    /// Packets seen; dropped by the kernel, dropped by the interface; flows evicted; not understood.
    pub packets: [u64; 5],
    /// How long it took.
    pub elapsed: Duration,
    /// The interface watched.
    pub interface: String,
    /// Start, ISO 8601 in UTC.
    pub started: String,
    /// End, likewise.
    pub ended: String,
    /// The signal that ended the run, 0 if none did.
    pub signal: usize,
    /// The error that ended the run early.
    pub error: Option<Error>,
    /// What programs of `command` steps said.
    pub outputs: Vec<CommandOutput>,
    /// The file.
    pub written: Option<Written>,
}

impl Outcome {
    /// From the counters of a run's parts.
    pub fn new(
        asked: u64,
        totals: Totals,
        engine: &Progress,
        capture: &Counters,
        elapsed: Duration,
    ) -> Self {
        let attempts =
            [&engine.ok, &engine.failed, &engine.timeout, &engine.local_error, &engine.skipped];
        let unread = [&capture.not_ip, &capture.bad_ip, &capture.bad_transport];
        let unread = unread.iter().map(|count| count.load(Relaxed)).sum();
        let load = |count: &std::sync::atomic::AtomicU64| count.load(Relaxed);
        Self {
            asked,
            refused: 0,
            totals,
            attempts: attempts.map(load),
            packets: [
                load(&capture.packets),
                load(&capture.dropped),
                load(&capture.interface_dropped),
                load(&capture.evicted),
                unread,
            ],
            elapsed,
            interface: String::new(),
            started: String::new(),
            ended: String::new(),
            signal: 0,
            error: None,
            outputs: Vec::new(),
            written: None,
        }
    }

    /// Targets that have neither a record nor a reason: always 0, unless the program is wrong.
    fn missing(&self) -> u64 {
        self.asked.saturating_sub(self.totals.records + self.totals.unfinished)
    }

    fn lost(&self) -> Vec<String> {
        let [_, dropped, interface_dropped, evicted, _] = self.packets;
        let interrupted = self.signal != 0 || self.error.is_some();
        let missing = if interrupted { 0 } else { self.missing() + self.totals.unfinished };
        let losses = [
            (dropped, "packets dropped by the kernel: lower --rate or --concurrency"),
            (interface_dropped, "packets dropped by the interface"),
            (evicted, "flows given up early because the flow table was full"),
            (missing, "targets without a record"),
            (
                self.totals.unobserved,
                "attempts whose packets the capture did not see (another interface? see -i)",
            ),
        ];
        let losses = losses.into_iter().filter(|(count, _)| *count > 0);
        losses.map(|(count, what)| format!("{} {what}", HumanCount(count))).collect()
    }

    fn exit(&self, tally: Option<&Tally>) -> Exit {
        if let Some(error) = &self.error {
            return error.exit().max(Exit::Failed);
        }
        if self.signal != 0 {
            return Exit::Interrupted;
        }
        if !self.lost().is_empty() {
            return Exit::Lossy;
        }
        let untrue = tally.is_some_and(|tally| knows(tally) && !tally.agrees());
        if untrue { Exit::Untrue } else { Exit::Done }
    }

    fn per_second(&self) -> f64 {
        self.asked as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

/// `2026-11-22T18:30:00Z`, by Arrow's own formatting.
pub fn utc(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or_default();
    arrow::temporal_conversions::timestamp_s_to_datetime(seconds)
        .map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// The values of a plan's params, as a JSON object of texts.
fn params(plan: &Plan) -> String {
    let values = plan.params.iter().map(|param| (param.name.clone(), param.value.to_string()));
    json!(values.collect::<BTreeMap<_, _>>()).to_string()
}

/// The metadata of the result file; the sink puts `pathspider.` before each key.
pub fn metadata(outcome: &Outcome, plan: &Plan) -> Vec<(String, String)> {
    let command: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let kernel = nix::sys::utsname::uname()
        .map(|name| {
            format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
        })
        .unwrap_or_default();
    let [seen, dropped, interface_dropped, evicted, unread] = outcome.packets;
    let complete = outcome.signal == 0 && outcome.error.is_none();
    [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("measurement", plan.text.clone()),
        ("params", params(plan)),
        ("measurement_sha256", sha256(&plan.text)),
        ("conditions_sql", conditions_sql(&plan.rules)),
        ("command_line", command.join(" ")),
        ("kernel", kernel),
        ("interface", outcome.interface.clone()),
        ("started", outcome.started.clone()),
        ("ended", outcome.ended.clone()),
        ("complete", complete.to_string()),
        ("targets_asked", outcome.asked.to_string()),
        ("targets_refused", outcome.refused.to_string()),
        ("targets_unfinished", outcome.totals.unfinished.to_string()),
        ("records", outcome.totals.records.to_string()),
        ("packets_seen", seen.to_string()),
        ("packets_dropped", dropped.to_string()),
        ("packets_dropped_by_interface", interface_dropped.to_string()),
        ("packets_not_understood", unread.to_string()),
        ("flows_evicted", evicted.to_string()),
        ("flows_of_others", outcome.totals.strays.to_string()),
        ("attempts_not_observed", outcome.totals.unobserved.to_string()),
        ("attempts_local_error", outcome.attempts[3].to_string()),
        ("attempts_skipped", outcome.attempts[4].to_string()),
        ("command_outputs", outputs(&outcome.outputs)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

/// What programs said: a JSON array.
fn outputs(outputs: &[CommandOutput]) -> String {
    let outputs = outputs.iter().map(|output| {
        let CommandOutput { line, status, stdout, stderr } = output;
        json!({ "line": line, "status": status, "stdout": stdout, "stderr": stderr })
    });
    serde_json::Value::Array(outputs.collect()).to_string()
}

/// The hash of a measurement's text, in hexadecimal.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Each condition's verdict as one SQL expression over the file: a JSON object.
pub fn conditions_sql(rules: &Rules) -> String {
    let sql = rules.iter().map(|rule| (rule.name().to_owned(), rule.sql().into()));
    serde_json::Value::Object(sql.collect()).to_string()
}

/// Prints how the run went and says with which code to exit. Where the records themselves go to
/// standard output, this goes to standard error.
pub fn print(
    outcome: &Outcome,
    plan: &Plan,
    lab: Option<(&Lab, &Tally)>,
    format: Format,
    records_on_stdout: bool,
) -> Result<Exit> {
    let tally = lab.map(|(_, tally)| tally);
    let text = match format {
        Format::Text => text(outcome, plan, lab),
        Format::Json => json(outcome, plan, tally),
    };
    if records_on_stdout {
        eprintln!("{text}");
    } else {
        out::print(&format!("{text}\n"))?;
    }
    for loss in outcome.lost() {
        log::warn!("lost: {loss}");
    }
    if let Some(error) = &outcome.error {
        log::error!("{error}");
    }
    Ok(outcome.exit(tally))
}

fn text(outcome: &Outcome, plan: &Plan, lab: Option<(&Lab, &Tally)>) -> String {
    let mut lines = Vec::new();
    if let Some((lab, tally)) = lab {
        let (width, styles) = terminal();
        lines.push(format!("The lab: {}\n", lab.describe()));
        lines.push(tally.table(width, &styles));
    }
    let Totals { records, unfinished, labels, .. } = &outcome.totals;
    lines.push(format!(
        "{}: {} targets, {} records",
        plan.title,
        HumanCount(outcome.asked),
        HumanCount(*records)
    ));
    let width = labels.keys().map(String::len).max().unwrap_or(0);
    for (label, count) in labels {
        let share = 100.0 * *count as f64 / (*records).max(1) as f64;
        lines.push(format!(
            "  {label:width$}  {:>9}  {share:5.1} %",
            HumanCount(*count).to_string()
        ));
    }
    let [_, _, timeouts, local, skipped] = outcome.attempts;
    let notes = [
        (outcome.refused, "lines of the target list were refused"),
        (*unfinished, "targets were begun and not finished"),
        (timeouts, "attempts timed out"),
        (local, "attempts failed on this host (local_error): nothing is concluded from them"),
        (
            skipped,
            "attempts were skipped: the target's version of IP does not have what was to be sent",
        ),
    ];
    for (count, what) in notes.into_iter().filter(|(count, _)| *count > 0) {
        lines.push(format!("{} {what}", HumanCount(count)));
    }
    if outcome.signal != 0 {
        lines.push("Interrupted by a signal; what was finished is written.".into());
    }
    if let Some(written) = &outcome.written {
        let size = HumanBytes(written.bytes);
        lines.push(format!(
            "Results: {} ({} records, {size})",
            written.path.display(),
            written.rows
        ));
    }
    let [seen, dropped, ..] = outcome.packets;
    lines.push(format!(
        "Cost: {:.1} s, {:.0} targets/s, {} attempts, {} packets seen on {}, {} dropped",
        outcome.elapsed.as_secs_f64(),
        outcome.per_second(),
        HumanCount(outcome.attempts.iter().sum()),
        HumanCount(seen),
        outcome.interface,
        HumanCount(dropped),
    ));
    if let Some((_, tally)) = lab {
        let end = match (knows(tally), tally.agrees()) {
            (false, _) => "The lab states no truth for this measurement: nothing was compared.",
            (true, true) => "Every condition agrees with the truth.",
            (true, false) => "Some conditions do NOT agree with the truth.",
        };
        lines.push(end.to_owned());
    }
    lines.join("\n")
}

fn json(outcome: &Outcome, plan: &Plan, tally: Option<&Tally>) -> String {
    let [ok, failed, timeout, local_error, skipped] = outcome.attempts;
    let [seen, dropped, interface_dropped, evicted, unread] = outcome.packets;
    json!({
        "measurement": plan.name,
        "complete": outcome.signal == 0 && outcome.error.is_none(),
        "exit": outcome.exit(tally) as u8,
        "error": outcome.error.as_ref().map(ToString::to_string),
        "started": outcome.started,
        "ended": outcome.ended,
        "seconds": outcome.elapsed.as_secs_f64(),
        "targets": {
            "asked": outcome.asked,
            "refused": outcome.refused,
            "unfinished": outcome.totals.unfinished,
            "per_second": outcome.per_second(),
        },
        "records": outcome.totals.records,
        "attempts": {
            "ok": ok, "failed": failed, "timeout": timeout, "local_error": local_error,
            "skipped": skipped,
            "not_observed": outcome.totals.unobserved,
        },
        "packets": { "seen": seen, "dropped": dropped, "dropped_by_interface": interface_dropped,
                     "not_understood": unread },
        "flows": { "evicted": evicted, "of_others": outcome.totals.strays },
        "interface": outcome.interface,
        "conditions": outcome.totals.labels,
        "output": outcome.written.as_ref().map(|written| written.path.display().to_string()),
        "lab_agrees": tally.filter(|tally| knows(tally)).map(Tally::agrees),
    })
    .to_string()
}

/// Whether the lab states what is true of this measurement: of a user's own it cannot know.
fn knows(tally: &Tally) -> bool {
    tally.rows().iter().any(|row| row.is_known())
}

/// How wide the terminal is, and colours if there is one.
fn terminal() -> (usize, Styles) {
    use anstyle::{AnsiColor, Style};
    let (_, width) = console::Term::stdout().size();
    if !out::colors(&std::io::stdout()) {
        return (160, Styles::default());
    }
    let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
    let styles = Styles {
        heading: Style::new().bold(),
        good: color(AnsiColor::Green),
        bad: color(AnsiColor::Red),
    };
    (usize::from(width), styles)
}
