//! What a run was and cost: for the terminal, for programs, and for the file's metadata.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use indicatif::{HumanBytes, HumanCount};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::account::Account;
use super::counts::Counts;
use super::disturbed::Disturbed;
use super::output::Output;
use super::writer::Totals;
use super::{Format, out};
use crate::barrier::panic_point;
use crate::error::{Error, Exit, Result};
use crate::hex::hex;
use crate::lab::verdict::Styles;
use crate::lab::{Lab, Tally};
use crate::measurement::Plan;
use crate::printable;
use crate::rule::Rules;
use crate::signals;
use crate::sink::{self, Metadata, Sink, Written};
use crate::step::CommandOutput;
use crate::words::counted;

/// How a run ended.
pub struct Outcome {
    /// Targets handed to the engine.
    pub asked: u64,
    /// How often targets were asked again that looked broken or transient.
    pub again: u64,
    /// What became of the targets that were read.
    pub account: Account,
    /// What the records say, of a resumed run all of them.
    pub totals: Totals,
    /// What was counted, of a resumed run from its beginning.
    pub counts: Counts,
    /// Waves that were disturbed, since it was resumed.
    pub disturbed: Disturbed,
    /// How long it took, since it was resumed.
    pub elapsed: Duration,
    /// The interface watched.
    pub interface: String,
    /// The interface by which packets left that were not seen, if that is another one.
    pub elsewhere: Option<String>,
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
    /// Records in all, on disk.
    pub records: u64,
    /// The file.
    pub written: Option<Written>,
    /// What to resume, if the run did not come to its end and can be.
    pub resume: Option<PathBuf>,
}

impl Outcome {
    /// Whether every target that there is was asked.
    pub fn is_complete(&self) -> bool {
        self.signal == 0 && self.error.is_none() && self.account.missing() == 0
    }

    /// Finishes the file, whatever ended the run, and says whether it can be resumed: its targets can be read
    /// `again`, and it was written in parts.
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
        let number = i32::try_from(self.signal).ok().filter(|number| *number > 0);
        number.map(signals::name)
    }

    fn lost(&self) -> Vec<String> {
        let [_, dropped, interface_dropped, _] = self.counts.packets;
        let interrupted = self.signal != 0 || self.error.is_some();
        let unfinished = if interrupted { 0 } else { self.account.unfinished };
        let unobserved = match &self.elsewhere {
            Some(other) => format!(
                "attempt[s] whose packets left through {other}, which was not watched: see -i"
            ),
            None => format!(
                "attempt[s] whose packets were not seen on {} as they were sent (does this host rewrite or drop them? see \
                 `nft list ruleset`)",
                self.interface
            ),
        };
        let losses = [
            (dropped, "packet[s] dropped by the kernel: lower --rate or --concurrency"),
            (interface_dropped, "packet[s] dropped by the interface"),
            (self.counts.evicted, "flow[s] given up early because the flow table was full"),
            (
                self.disturbed.marked,
                "wave[s] disturbed twice: nothing is concluded from [its|their] attempts",
            ),
            (
                self.counts.internal[0],
                "attempt[s] ended by an internal error: nothing is concluded from [it|them] (please report what -v \
                 logs)",
            ),
            (
                self.counts.internal[1],
                "flow[s] given up because of an internal error: [it|they] count[s|] as not observed (please report what -v \
                 logs)",
            ),
            (unfinished + self.account.missing(), "target[s] without a record"),
            (
                self.counts.not_delivered,
                "attempt[s] whose answer crossed the interface and did not reach the socket: look at the host firewall, \
                 rp_filter and conntrack; nothing is concluded from [it|them]",
            ),
            (
                self.counts.starved,
                "attempt[s] of which this host was too busy to tell whether the answer was in time: nothing is \
                 concluded from [it|them]; lower --rate or --concurrency",
            ),
            (
                self.counts.unfounded,
                "attempt[s] ended by what fits nothing that was sent (a socket's error without an ICMP error or reset that fits, \
                 a SYN before the answer, a DNS answer among wrong ones): it may be forged, or is this host's own; \
                 nothing is concluded from [it|them]",
            ),
            (
                self.counts.port_dependent,
                "attempt[s] that failed from ports from which attempts fail far more often: nothing is concluded from \
                 [it|them]; look for a filter on source ports",
            ),
            (self.counts.unobserved, unobserved.as_str()),
        ];
        let losses = losses.into_iter().filter(|(count, _)| *count > 0);
        losses.map(|(count, what)| counted(count, what)).collect()
    }

    fn exit(&self, tally: Option<&Tally>) -> Exit {
        // Whatever kind it is: something was run.
        if self.error.is_some() {
            return Exit::Failed;
        }
        if self.signal != 0 && self.account.missing() == 0 {
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
pub fn params(plan: &Plan) -> String {
    let values = plan.params.iter().map(|param| (param.name.clone(), param.value.to_string()));
    json!(values.collect::<BTreeMap<_, _>>()).to_string()
}

/// The command line of this process.
pub fn command_line() -> String {
    let words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    words.collect::<Vec<_>>().join(" ")
}

fn owned<const N: usize>(pairs: [(&str, String); N]) -> Metadata {
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The metadata that is known when a run begins; `more` is what only its command line says.
pub fn about(plan: &Plan, interface: &str, started: &str, more: Metadata) -> Metadata {
    let kernel = nix::sys::utsname::uname()
        .map(|name| {
            format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy())
        })
        .unwrap_or_default();
    let mut about = owned([
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("measurement", plan.text.clone()),
        ("params", params(plan)),
        ("measurement_sha256", sha256(&plan.text)),
        ("conditions_sql", conditions_sql(&plan.rules)),
        ("command_line", command_line()),
        ("kernel", kernel),
        ("interface", interface.to_owned()),
        ("started", started.to_owned()),
    ]);
    about.extend(more);
    about
}

/// The metadata of a part, which is made while the run goes on; the sink puts `pathspider.` before each key.
pub fn metadata_meanwhile(about: &Metadata, counts: &Counts, records: u64) -> Metadata {
    let now = owned([("complete", false.to_string()), ("records", records.to_string())]);
    [about.clone(), now, counts.metadata()].concat()
}

/// The metadata of the result; the sink puts `pathspider.` before each key.
pub fn metadata(outcome: &Outcome, about: &Metadata) -> Metadata {
    let account = &outcome.account;
    let (last, vacant) = &account.positions;
    let mut now = owned([
        ("ended", outcome.ended.clone()),
        ("complete", outcome.is_complete().to_string()),
        ("targets_read", account.read.to_string()),
        ("targets_asked", outcome.asked.to_string()),
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
            ("targets_no_target", vacant.to_string()),
            ("targets_withheld", account.withheld.to_string()),
        ]));
    }
    // What is known now goes before what was known at the beginning.
    let fresh = |(key, _): &&(String, String)| now.iter().all(|(known, _)| known != key);
    let about: Metadata = about.iter().filter(fresh).cloned().collect();
    [about, now, outcome.counts.metadata()].concat()
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
    hex(&Sha256::digest(text.as_bytes()))
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
    match format {
        Format::Text => {
            let text = text(outcome, plan, lab) + "\n";
            match records_on_stdout {
                true => out::tell_page(&text),
                false => out::print_page(&text)?,
            }
        }
        Format::Json => out::json(&json(outcome, plan, tally), records_on_stdout)?,
    }
    for loss in outcome.lost() {
        log::warn!("lost: {loss}");
    }
    outcome.totals.ports.warnings().iter().for_each(|warning| log::warn!("{warning}"));
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
    lines.extend(
        plain_text(outcome, plan, lab).iter().map(|line| printable::lines(line).into_owned()),
    );
    lines.join("\n")
}

/// Everything but the lab's table, which has styles.
fn plain_text(outcome: &Outcome, plan: &Plan, lab: Option<(&Lab, &Tally)>) -> Vec<String> {
    let mut lines = Vec::new();
    let Totals { flagged, .. } = &outcome.totals;
    let records = outcome.records;
    lines.push(format!(
        "{}: {}, {}",
        plan.title,
        counted(outcome.account.read, "target[s]"),
        counted(records, "record[s]")
    ));
    lines.extend(labels(&outcome.totals));
    if outcome.again > 0 {
        let what = "time[s] a target that looked broken or transient was asked again";
        lines.push(counted(outcome.again, what));
    }
    lines.extend(outcome.account.notes());
    lines.extend(outcome.counts.notes());
    for (word, count) in flagged {
        lines.push(counted(*count, &format!("record[s] [is|are] flagged {word}")));
    }
    lines.extend(outcome.disturbed.notes());
    if outcome.signal != 0 {
        lines.push(format!(
            "Interrupted by {}; what was finished is written.",
            outcome.signal_name().unwrap_or_default()
        ));
    }
    if let Some(written) = &outcome.written {
        let size = HumanBytes(written.bytes);
        lines.push(format!(
            "Results: {} ({}, {size})",
            written.path.display(),
            counted(written.rows, "record[s]")
        ));
    }
    if let Some(path) = &outcome.resume {
        lines.push(format!("Go on with the same command and --resume {}", path.display()));
    }
    let [seen, dropped, ..] = outcome.counts.packets;
    lines.push(format!(
        "Cost: {:.1} s, {:.0} targets/s, {}, {} seen on {}, {} dropped",
        outcome.elapsed.as_secs_f64(),
        outcome.per_second(),
        counted(outcome.counts.attempts.iter().sum(), "attempt[s]"),
        counted(seen, "packet[s]"),
        outcome.interface,
        HumanCount(dropped),
    ));
    if let Some((_, tally)) = lab {
        let end = match (knows(tally), tally.agrees(), tally.situation()) {
            (false, ..) => {
                "The lab states no truth for this measurement: nothing was compared.".to_owned()
            }
            (true, true, None) => "Every condition agrees with the truth.".to_owned(),
            (true, true, Some(_)) => format!(
                "No condition contradicts the truth; absent: {}.",
                HumanCount(tally.absent() as u64)
            ),
            (true, false, _) => "Some conditions do NOT agree with the truth.".to_owned(),
        };
        lines.push(end);
    }
    lines
}

/// A line a label: how often it was given, and how often falsely as far as controls tell.
pub fn labels(totals: &Totals) -> Vec<String> {
    let Totals { labels, controls, .. } = totals;
    let records = totals.records - controls.records;
    // Also those that only controls were given.
    let others = controls.labels.keys().filter(|label| !labels.contains_key(*label));
    let others = others.filter(|label| controls.alarms(label).is_some()).map(|label| (label, &0));
    let all: BTreeMap<&String, &u64> = labels.iter().chain(others).collect();
    let width = all.keys().map(|label| printable::short(label).len()).max().unwrap_or(0);
    let line = |(label, count): (&String, &u64)| {
        let alarms = controls.alarms(label).map(|alarms| format!("  {alarms}"));
        let share = 100.0 * *count as f64 / records.max(1) as f64;
        let (label, count) = (printable::short(label), HumanCount(*count).to_string());
        format!("  {label:width$}  {count:>9}  {share:5.1} %{}", alarms.unwrap_or_default())
    };
    let mut lines: Vec<String> = all.into_iter().map(line).collect();
    if controls.records > 0 {
        lines.push(counted(
            controls.records,
            "target[s] [was a control|were controls], asked under the baseline alone; shares are of the others, and of \
             false alarms Wilson's score interval of 95 %",
        ));
    }
    lines
}

fn json(outcome: &Outcome, plan: &Plan, tally: Option<&Tally>) -> String {
    let Counts { attempts, packets, .. } = &outcome.counts;
    let counts = &outcome.counts;
    let [ok, failed, timeout, local_error, skipped] = attempts;
    let [seen, dropped, interface_dropped, unread] = packets;
    let shown = |path: &PathBuf| path.display().to_string();
    json!({
        "measurement": plan.name,
        "complete": outcome.is_complete(),
        "exit": outcome.exit(tally) as u8,
        "error": outcome.error.as_ref().map(ToString::to_string),
        "signal": outcome.signal_name(),
        "started": outcome.started,
        "ended": outcome.ended,
        "seconds": outcome.elapsed.as_secs_f64(),
        "targets": {
            "read": outcome.account.read,
            "asked": outcome.asked,
            "asked_again": outcome.again,
            "refused": outcome.account.refusals(),
            "unfinished": outcome.account.unfinished,
            "per_second": outcome.per_second(),
        },
        "records": outcome.records,
        "attempts": {
            "ok": ok, "failed": failed, "timeout": timeout, "local_error": local_error,
            "skipped": skipped, "skipped_by_probe": counts.skipped_by_probe,
            "not_observed": counts.unobserved,
            "not_delivered": counts.not_delivered,
            "starved": counts.starved,
            "port_dependent": counts.port_dependent,
            "unfounded_error": counts.unfounded,
            "internal_error": counts.internal[0],
        },
        "packets": { "seen": seen, "dropped": dropped, "dropped_by_interface": interface_dropped,
                     "not_understood": unread, "of_others": counts.strangers,
                     "unexpected": counts.unexpected },
        "flows": { "evicted": counts.evicted, "of_others": counts.strays,
                   "internal_error": counts.internal[1] },
        "source_ports": outcome.totals.ports.json(),
        "interface": outcome.interface,
        "conditions": outcome.totals.labels,
        "controls": outcome.totals.controls.to_json(&outcome.totals.labels),
        "flags": outcome.totals.flagged,
        "disturbed": outcome.disturbed.json(),
        "output": outcome.written.as_ref().map(|written| shown(&written.path)),
        "resume": outcome.resume.as_ref().map(shown),
        "lab_prober": tally.and_then(Tally::situation).map(|situation| situation.name),
        "lab_absent": tally.filter(|tally| tally.situation().is_some()).map(Tally::absent),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(counts: Counts) -> Outcome {
        Outcome {
            asked: 0,
            again: 0,
            account: Account::default(),
            totals: Totals::default(),
            counts,
            disturbed: Disturbed::default(),
            elapsed: Duration::ZERO,
            interface: String::new(),
            elsewhere: None,
            started: String::new(),
            ended: String::new(),
            signal: 0,
            error: None,
            outputs: Vec::new(),
            records: 0,
            written: None,
            resume: None,
        }
    }

    #[test]
    fn an_internal_error_is_a_loss() {
        let none = outcome(Counts::default());
        assert_eq!((none.exit(None), none.lost().len()), (Exit::Done, 0));
        for internal in [[1, 0], [0, 2]] {
            let outcome = outcome(Counts { internal, ..Counts::default() });
            assert_eq!(outcome.exit(None), Exit::Lossy);
            let lost = outcome.lost();
            assert!(lost.len() == 1 && lost[0].contains("internal error"), "{lost:?}");
            let metadata = metadata(&outcome, &Metadata::new());
            for (key, count) in
                ["attempts_internal_error", "flows_internal_error"].into_iter().zip(internal)
            {
                assert!(metadata.contains(&(key.to_owned(), count.to_string())), "{metadata:?}");
            }
        }
    }
}
