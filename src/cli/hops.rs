//! `pathspider hops`: between which hops a field was changed or a packet dropped, and whose they are.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::signals;
use crate::as_table::AsTable;
use crate::error::{Exit, Result};
use crate::printable;
use crate::report::format::Format;
use crate::report::page;
use crate::results::hops::{self, Finding, Quote, Router, Target, Trace};
use crate::words::counted;

/// Show where on the path something happens: between which hops, how sure that is, and whose they are
///
/// The result is one of a run that located faults or whose measurement has use = ["hops"] in [observer], or a Parquet
/// file of `observe --use hops`. A router may change a packet after it quoted it, so a change is between the last router
/// that shows what was sent and the first that does not, never at one of them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A result: a folder of parts, or a .parquet file
    #[arg(value_name = "RESULT")]
    result: PathBuf,

    /// Table of networks and the ASes that announce them: pfx2as, pyasn or MaxMind DB
    #[arg(long, value_name = "FILE")]
    as_table: Option<PathBuf>,

    /// Also show targets on whose path nothing was found
    #[arg(long)]
    all: bool,

    /// Output format: text, or one JSON object per target
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    signals::catch(false)?;
    let table = args.as_table.as_deref().map(AsTable::open).transpose()?;
    let (mut shown, mut read) = (0_u64, 0_u64);
    hops::read(&args.result, table.as_ref(), |target| {
        signals::check(|| "hops: it was not read to its end".to_owned())?;
        read += 1;
        if !args.all && target.findings.is_empty() {
            return Ok(());
        }
        shown += 1;
        match args.format {
            Format::Json => page::print_json_lines(&format!("{}\n", as_json(&target))),
            Format::Text => page::print(&text(&target)),
        }
    })?;
    if args.format == Format::Text {
        let rest = match (args.all, read - shown) {
            (_, 0) => String::new(),
            (_, rest) => format!(", {rest} without (--all shows them)"),
        };
        page::print(&format!("{} with a finding{rest}\n", counted(shown, "path[s]")))?;
    }
    Ok(Exit::Done)
}

/// Everything about a target.
fn text(target: &Target) -> String {
    let mut text = printable::line(&target.address).into_owned();
    if let Some(port) = target.port {
        text += &format!(" port {port}");
    }
    if let Some(name) = &target.name {
        text += &format!(", {}", printable::line(name));
    }
    text.push('\n');
    for finding in &target.findings {
        text += &place(finding);
    }
    if let Some(outcome) = target.outcome.as_ref().filter(|_| target.findings.is_empty()) {
        text += &format!("  no place was found: {}\n", printable::line(outcome));
    }
    for trace in &target.traces {
        text += &path(trace);
    }
    text
}

/// A finding, its two ends, and whose they are.
fn place(finding: &Finding) -> String {
    let about = finding.about.as_deref().map_or(String::new(), |about| format!("{about}: "));
    let what = match (finding.what.as_str(), finding.fields.as_str()) {
        ("changed", fields) => format!("{fields} changed"),
        ("intercepted", _) => "the packet was answered in place of the target".to_owned(),
        (what, "") => format!("the packet was {what}"),
        (what, fields) => format!("the packet was {what} ({fields} differs from the baseline)"),
    };
    let from = match &finding.before {
        Some(router) => format!("hop {}", router.hop),
        None => "this host".to_owned(),
    };
    let sure =
        finding.sure.map_or(String::new(), |sure| format!(", probability {}", percent(sure)));
    let line = format!("{about}{what} between {from} and hop {}{sure}", finding.by.hop);
    let mut text = format!("  {}\n", printable::line(&line));
    if let Some(router) = &finding.before {
        text += &format!("    {}: as sent\n", named(router));
    }
    let shows = match (finding.what.as_str(), &finding.value) {
        ("changed", Some(value)) => format!("quotes {}", printable::line(value)),
        ("changed", None) => "quotes something else".to_owned(),
        ("dropped", _) => "does not get the packet, but that of the baseline".to_owned(),
        (_, _) => "is not reached".to_owned(),
    };
    text += &format!("    {}: {shows}\n", named(&finding.by));
    if let Some(whose) = whose(finding) {
        text += &format!("    {whose}\n");
    }
    if finding.undone {
        text += "    A later hop shows the packet as sent: it was changed again, or took another way.\n";
    }
    text
}

/// A probability in percent: 100 % only if it is certain.
fn percent(share: f64) -> String {
    match 100.0 * share {
        100.0 => "100 %".to_owned(),
        share if share > 99.9 => "> 99.9 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

fn named(router: &Router) -> String {
    let mut text = format!("hop {}", router.hop);
    match router.address {
        Some(address) => text += &format!(" {address}"),
        None => text += " (silent)",
    }
    for asn in &router.origins {
        text += &format!(" AS{asn}");
    }
    text
}

/// Whose the place is; `None` without a table.
fn whose(finding: &Finding) -> Option<String> {
    let one = |router: &Router| match router.origins.as_slice() {
        [asn] => Some(*asn),
        _ => None,
    };
    let by = one(&finding.by);
    let before = finding.before.as_ref().and_then(one);
    match (before, by) {
        (Some(before), Some(by)) if before == by => Some(format!("Whose: inside AS{by}")),
        (Some(before), Some(by)) => Some(format!("Whose: where AS{before} meets AS{by}")),
        (None, Some(by)) if finding.before.is_none() => {
            Some(format!("Whose: between this host and AS{by}"))
        }
        (Some(asn), None) => Some(format!("Whose: AS{asn} or beyond")),
        (None, Some(asn)) => Some(format!("Whose: AS{asn} or before")),
        (None, None) => None,
    }
}

/// What each router quoted.
fn path(trace: &Trace) -> String {
    let of = trace.configuration.as_deref().map_or("flow".to_owned(), |name| format!("of {name}"));
    let mut text = format!("  path {}\n", printable::line(&of));
    for quote in &trace.quotes {
        let rtt = quote.rtt.map_or(String::new(), |rtt| format!(" {:.1} ms", rtt as f64 / 1e6));
        let changed = match quote.changed.as_str() {
            "" => "as sent".to_owned(),
            changed => format!("changed: {}", printable::line(changed)),
        };
        text += &format!("    {}{rtt} {changed}{}\n", named(&quote.router), extras(quote));
    }
    if let Some(reached) = trace.reached {
        text += &format!("    hop {reached} the target answered\n");
    }
    text
}

fn extras(quote: &Quote) -> String {
    let mut text = String::new();
    if let Some(octets) = quote.octets.filter(|octets| *octets < 20) {
        text += &format!(", quotes {octets} octets");
    }
    if let Some(labels) = &quote.labels {
        text += &format!(", MPLS {}", printable::line(labels));
    }
    if let Some(interface) = &quote.interface {
        text += &format!(", in by {}", printable::line(interface));
    }
    text
}

fn as_json(target: &Target) -> Value {
    let router = |router: &Router| json!({ "hop": router.hop, "address": router.address, "as": router.origins });
    let finding = |finding: &Finding| {
        json!({
            "about": finding.about, "fields": finding.fields, "what": finding.what,
            "before": finding.before.as_ref().map(router), "by": router(&finding.by),
            "value": finding.value, "sure": finding.sure, "undone": finding.undone,
            "whose": whose(finding),
        })
    };
    let quote = |quote: &Quote| {
        json!({
            "router": router(&quote.router), "rtt": quote.rtt, "changed": quote.changed,
            "quote_octets": quote.octets, "labels": quote.labels, "ifname": quote.interface,
        })
    };
    let trace = |trace: &Trace| {
        json!({
            "configuration": trace.configuration, "reached": trace.reached,
            "quotes": trace.quotes.iter().map(quote).collect::<Vec<_>>(),
        })
    };
    json!({
        "address": target.address, "port": target.port, "name": target.name,
        "outcome": target.outcome,
        "findings": target.findings.iter().map(finding).collect::<Vec<_>>(),
        "paths": target.traces.iter().map(trace).collect::<Vec<_>>(),
    })
}
