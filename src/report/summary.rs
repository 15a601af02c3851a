//! The summary of a run, as text and JSON.

use std::collections::BTreeMap;
use std::path::PathBuf;

use indicatif::{HumanBytes, HumanCount};
use serde_json::json;

use super::format::Format;
use super::{numbers, page};
use crate::error::{Exit, Result};
use crate::lab::verdict::Styles;
use crate::lab::{Lab, Tally};
use crate::measurement::Plan;
use crate::printable;
use crate::run::Outcome;
use crate::run::counts::Counts;
use crate::run::totals::Totals;
use crate::words::counted;

/// Losses, one line each.
fn lost(outcome: &Outcome) -> Vec<String> {
    let [_, dropped, interface_dropped, _] = outcome.counts.packets;
    let interrupted = outcome.interrupted || outcome.error.is_some();
    let unfinished = if interrupted { 0 } else { outcome.account.unfinished };
    let unobserved = match &outcome.elsewhere {
        Some(other) => {
            format!(
                "attempt[s] whose packets left through {other}, which was not watched: use -i {other}"
            )
        }
        None => format!(
            "attempt[s] whose packets were not seen on {} as they were sent (does this host rewrite or drop them? see \
             `nft list ruleset`)",
            outcome.interface
        ),
    };
    let losses = [
        (dropped, "packet[s] dropped by the kernel: lower --rate or --concurrency"),
        (
            interface_dropped,
            "packet[s] dropped by the interface or by a receive queue of this host: lower --rate, or raise \
             net.core.netdev_max_backlog",
        ),
        (outcome.counts.evicted, "flow[s] evicted because the flow table was full"),
        (
            outcome.disturbed.marked,
            "wave[s] disturbed twice: no conclusions from [its|their] attempts",
        ),
        (
            outcome.counts.internal[0],
            "attempt[s] ended by an internal error: no conclusions from [it|them] (please report what -v \
             logs)",
        ),
        (
            outcome.counts.internal[1],
            "flow[s] lost to an internal error: [it|they] count[s|] as not observed (please report what -v \
             logs)",
        ),
        (unfinished + outcome.account.missing(), "target[s] without a record"),
        (
            outcome.counts.not_delivered,
            "attempt[s] whose answer crossed the interface but did not reach the socket: check the host firewall, \
             rp_filter and conntrack; nothing is concluded from [it|them]",
        ),
        (
            outcome.counts.starved,
            "attempt[s] of which this host was too busy to tell whether the answer was in time: nothing is \
             concluded from [it|them]; lower --rate or --concurrency",
        ),
        (
            outcome.counts.unfounded,
            "attempt[s] ended by what fits nothing that was sent (a socket's error without an ICMP error or reset that fits, \
             a SYN before the answer, a DNS answer among wrong ones): it may be forged, or is this host's own; \
             nothing is concluded from [it|them]",
        ),
        (
            outcome.counts.port_dependent,
            "attempt[s] that failed from ports from which attempts fail far more often: nothing is concluded from \
             [it|them]; look for a filter on source ports",
        ),
        (outcome.counts.unobserved, unobserved.as_str()),
    ];
    let losses = losses.into_iter().filter(|(count, _)| *count > 0);
    losses.map(|(count, what)| counted(count, what)).collect()
}

/// The exit code of an outcome.
fn exit(outcome: &Outcome, tally: Option<&Tally>) -> Exit {
    // Whatever the error: packets were sent, so it is not bad input.
    if outcome.error.is_some() {
        return Exit::Failed;
    }
    if outcome.interrupted && outcome.account.missing() == 0 {
        return Exit::Interrupted;
    }
    if !lost(outcome).is_empty() {
        return Exit::Lossy;
    }
    let untrue = tally.is_some_and(|tally| knows(tally) && !tally.agrees());
    if untrue { Exit::Untrue } else { Exit::Done }
}

fn per_second(outcome: &Outcome) -> f64 {
    outcome.probed as f64 / outcome.elapsed.as_secs_f64().max(1e-9)
}

/// Prints the summary and returns the exit code. Prints to standard error if the records go to standard output.
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
                true => page::tell_page(&text),
                false => page::print_page(&text)?,
            }
        }
        Format::Json => page::json(&json(outcome, plan, tally), records_on_stdout)?,
    }
    for loss in lost(outcome) {
        log::warn!("lost: {loss}");
    }
    outcome.totals.ports.warnings().iter().for_each(|warning| log::warn!("{warning}"));
    if let Some(error) = &outcome.error {
        log::error!("{error}");
    }
    Ok(exit(outcome, tally))
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

/// The text without the lab's table, which has styles.
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
    lines.extend(numbers::lines(&plan.rules, &outcome.totals));
    if outcome.reprobed > 0 {
        let what = "re-probe[s] of targets that looked broken or transient";
        lines.push(counted(outcome.reprobed, what));
    }
    lines.extend(outcome.account.notes());
    lines.extend(outcome.counts.notes());
    for (word, count) in flagged {
        lines.push(counted(*count, &format!("record[s] [is|are] flagged {word}")));
    }
    lines.extend(outcome.disturbed.notes());
    if outcome.interrupted {
        let by = outcome.signal_name().map(|name| format!(" by {name}")).unwrap_or_default();
        lines.push(format!("Interrupted{by}; finished records are written."));
    }
    if let Some(written) = &outcome.written {
        let size = HumanBytes(written.bytes);
        lines.push(format!(
            "Results: {} ({}, {size})",
            written.path.display(),
            counted(written.rows, "record[s]")
        ));
    }
    lines.extend(evidence(outcome));
    if let Some(path) = &outcome.resume {
        lines.push(format!("To continue, repeat the command with --resume {}", path.display()));
    }
    let [seen, dropped, ..] = outcome.counts.packets;
    lines.push(format!(
        "Cost: {:.1} s, {:.0} targets/s, {}, {} seen on {}, {} dropped",
        outcome.elapsed.as_secs_f64(),
        per_second(outcome),
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

/// What was kept of packets, and where.
fn evidence(outcome: &Outcome) -> Option<String> {
    let [targets, packets, targets_omitted, packets_omitted] = outcome.counts.evidence;
    let folder = outcome.evidence.as_ref()?.display();
    let of = format!("{} of {}", counted(packets, "packet[s]"), counted(targets, "target[s]"));
    let omitted = match (targets_omitted, packets_omitted) {
        (0, 0) => String::new(),
        (0, packets) => format!("; {} not kept for want of memory", counted(packets, "packet[s]")),
        (targets, packets) => format!(
            "; {} of {} left out: see --evidence-limit",
            counted(packets, "packet[s]"),
            counted(targets, "target[s]")
        ),
    };
    Some(format!("Evidence: {folder} ({of}{omitted})"))
}

/// A line per label: how often it was given, and its false-alarm rate according to controls.
pub fn labels(totals: &Totals) -> Vec<String> {
    let Totals { labels, controls, .. } = totals;
    let records = totals.records - controls.records;
    // Includes labels given to controls only.
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
    let mut summary = json!({
        "measurement": plan.name,
        "complete": outcome.is_complete(),
        "exit": exit(outcome, tally) as u8,
        "error": outcome.error.as_ref().map(ToString::to_string),
        "signal": outcome.signal_name(),
        "started": outcome.started,
        "ended": outcome.ended,
        "seconds": outcome.elapsed.as_secs_f64(),
        "targets": {
            "read": outcome.account.read,
            "asked": outcome.probed,
            "asked_again": outcome.reprobed,
            "refused": outcome.account.refusals(),
            "unfinished": outcome.account.unfinished,
            "per_second": per_second(outcome),
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
        "metrics": numbers::metrics_json(&plan.rules, &outcome.totals),
        "values": numbers::values_json(&plan.rules, &outcome.totals),
        "controls": outcome.totals.controls.to_json(&outcome.totals.labels),
        "flags": outcome.totals.flagged,
        "disturbed": outcome.disturbed.json(),
        "output": outcome.written.as_ref().map(|written| shown(&written.path)),
        "resume": outcome.resume.as_ref().map(shown),
        "lab_prober": tally.and_then(Tally::situation).map(|situation| situation.name),
        "lab_absent": tally.filter(|tally| tally.situation().is_some()).map(Tally::absent),
        "lab_agrees": tally.filter(|tally| knows(tally)).map(Tally::agrees),
    });
    if let Some(folder) = &outcome.evidence {
        let [targets, packets, targets_omitted, packets_omitted] = counts.evidence;
        summary["evidence"] = json!({
            "folder": shown(folder), "targets": targets, "packets": packets,
            "targets_omitted": targets_omitted, "packets_omitted": packets_omitted,
        });
    }
    summary.to_string()
}

/// Whether the lab states a truth for this measurement; for a user's own it does not.
fn knows(tally: &Tally) -> bool {
    tally.rows().iter().any(|row| row.is_known())
}

/// The width of the terminal, and whether to use colours.
fn terminal() -> (usize, Styles) {
    use anstyle::{AnsiColor, Style};
    let (_, width) = console::Term::stdout().size();
    if !page::colors(&std::io::stdout()) {
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
    use std::time::Duration;

    use super::*;
    use crate::run::account::Account;
    use crate::run::disturbed::Disturbed;
    use crate::run::outcome::metadata;
    use crate::sink::Metadata;

    fn outcome(counts: Counts) -> Outcome {
        Outcome {
            probed: 0,
            reprobed: 0,
            account: Account::default(),
            totals: Totals::default(),
            counts,
            disturbed: Disturbed::default(),
            elapsed: Duration::ZERO,
            interface: String::new(),
            elsewhere: None,
            started: String::new(),
            ended: String::new(),
            closing: Vec::new(),
            interrupted: false,
            signal: None,
            error: None,
            outputs: Vec::new(),
            records: 0,
            evidence: None,
            written: None,
            resume: None,
        }
    }

    #[test]
    fn an_internal_error_is_a_loss() {
        let none = outcome(Counts::default());
        assert_eq!((exit(&none, None), lost(&none).len()), (Exit::Done, 0));
        for internal in [[1, 0], [0, 2]] {
            let outcome = outcome(Counts { internal, ..Counts::default() });
            assert_eq!(exit(&outcome, None), Exit::Lossy);
            let lost = lost(&outcome);
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
