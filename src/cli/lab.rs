//! `pathspider lab`: describes the lab, and opens a shell in it.

use std::path::PathBuf;
use std::process::Command as Process;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Subcommand;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGQUIT};

use super::options::lab::LabFile;
use super::options::prober::Prober;
use crate::error::{Doing as _, Error, Exit, Result};
use crate::lab::chain::{Branch, Edits, Errors, Fault};
use crate::lab::prober::SITUATIONS;
use crate::lab::spec::HostSpec;
use crate::lab::truth::Truth;
use crate::lab::{self, Spec};
use crate::report::format::Format;
use crate::report::page;

/// Inspect the lab: hosts in network namespaces, each with a known fault on its path
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the hosts: behaviour, addresses, path and known truth of each; then the situations of the prober
    List {
        /// Output format
        #[arg(long, value_enum, default_value = "text")]
        format: Format,

        /// The lab that a file describes, instead of the built-in one
        #[arg(long, value_name = "FILE")]
        lab: Option<PathBuf>,

        #[command(flatten)]
        prober: Prober,
    },
    /// List the addresses as targets, in NDJSON: a list for `run --targets` in `lab shell`
    Targets {
        #[command(flatten)]
        size: Size,
    },
    /// Print the AS table of the lab, for --as-table
    AsTable {
        /// The lab that a file describes, instead of the built-in one
        #[arg(long, value_name = "FILE")]
        lab: Option<PathBuf>,
    },

    /// Build the lab and open a shell at the prober
    ///
    /// The lab exists until the shell ends. You are root in it, but nothing done there affects this machine's network.
    Shell {
        #[command(flatten)]
        size: Size,

        #[command(flatten)]
        prober: Prober,

        /// A command with arguments to run instead of $SHELL
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// Which lab it is.
#[derive(Debug, Clone, clap::Args)]
struct Size {
    /// The lab that a file describes, instead of the built-in one
    #[arg(long, value_name = "FILE", conflicts_with = "size")]
    lab: Option<PathBuf>,

    /// Build a lab without faults, with N addresses per family that all answer, for load tests
    #[arg(long, value_name = "N", value_parser = crate::cli::options::at_least_one)]
    size: Option<usize>,
}

impl Size {
    fn spec(&self) -> Result<Spec> {
        match self.size {
            Some(size) => Spec::plain(size, 0),
            None => LabFile::read(self.lab.as_deref())?.spec(),
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    match &args.command {
        Command::List { format, lab, prober } => {
            let spec = prober.truths(LabFile::read(lab.as_deref())?.spec()?);
            match format {
                Format::Json => list_json(&spec)?,
                Format::Text => page::print(&list_text(&spec))?,
            }
        }
        Command::AsTable { lab } => {
            let spec = LabFile::read(lab.as_deref())?.spec()?;
            page::print_own(&lab::hops::as_table(&spec))?;
        }
        Command::Targets { size } => print_targets(&size.spec()?)?,
        Command::Shell { size, prober, command } => return shell(&size.spec()?, *prober, command),
    }
    Ok(Exit::Done)
}

fn list_json(spec: &Spec) -> Result<()> {
    let hosts = spec.hosts.iter().map(|host| {
        let (addresses_v4, addresses_v6): (Vec<_>, Vec<_>) = (0..host.count)
            .map(|index| (host.address_v4(index).to_string(), host.address_v6(index).to_string()))
            .unzip();
        let known = host.host();
        json!({
            "name": host.name, "title": host.title, "count": host.count,
            "prefix_v4": known.prefix_v4, "prefix_v6": known.prefix_v6,
            "addresses_v4": addresses_v4, "addresses_v6": addresses_v6,
            "path": host.path, "path_back": host.path_back, "delay_ms": host.delay_ms,
            "mtu": host.mtu, "icmp": host.icmp,
            "hops": host.hops(spec), "behind": spec.router_name(host.behind),
            "faults": host.faults.iter().map(|fault| fault_json(spec, fault)).collect::<Vec<_>>(),
            "located_v4": host.located_v4, "located_v6": host.located_v6,
            "truth_v4": host.truth_v4, "truth_v6": host.truth_v6, "unmeasured": host.unmeasured,
            "late_v4": host.late_v4, "late_v6": host.late_v6,
        })
    });
    let probers = SITUATIONS.iter().map(|row| {
        json!({
            "name": row.name, "title": row.title, "expected": row.expected,
            "absent": row.absent.as_str(), "unconfirmed": row.unconfirmed,
        })
    });
    let routers = lab::hops::Router::all(spec).map(|router| {
        json!({
            "name": router.name, "hop": router.hop, "behind": router.behind, "asn": router.asn,
            "address_v4": router.address_v4, "address_v6": router.address_v6,
        })
    });
    page::print_json(&json!({
        "hosts": hosts.collect::<Vec<_>>(), "routers": routers.collect::<Vec<_>>(), "probers": probers.collect::<Vec<_>>(),
    }))
}

/// A fault, with the hops between which it shows.
fn fault_json(spec: &Spec, fault: &Fault) -> Value {
    let (unchanged, changed) = spec.interval(fault);
    let errors_per_second = match fault.errors {
        Errors::All => None,
        Errors::None => Some(0),
        Errors::PerSecond(number) => Some(number),
    };
    let shows = fault.shows();
    json!({
        "router": spec.router_name(fault.router), "router_hop": spec.hop(fault.router),
        "hook": fault.hook.as_str(), "path": fault.path, "path_back": fault.path_back,
        "errors_per_second": errors_per_second,
        "unchanged_hop": shows.then_some(unchanged), "changed_hop": shows.then_some(changed),
    })
}

/// Describes a fault at a router of a host's path.
fn fault_text(spec: &Spec, fault: &Fault) -> String {
    let mut text = String::new();
    let (name, hook) = (spec.router_name(fault.router), fault.hook.as_str());
    for (direction, rules) in [("out", &fault.path), ("back", &fault.path_back)] {
        for rule in rules {
            text += &format!("  {direction}, {name} {hook}: {rule}\n");
        }
    }
    match fault.errors {
        Errors::All => {}
        Errors::None => text += &format!("  {name} reports no errors\n"),
        Errors::PerSecond(number) => {
            text += &format!("  {name} reports at most {number} errors per second\n");
        }
    }
    if fault.edits != Edits::default() {
        text += &format!("  {name} {hook}: {}\n", edits_text(&fault.edits));
    }
    if fault.shows() {
        let (unchanged, changed) = spec.interval(fault);
        text += &match unchanged {
            0 => format!("  shows at hop {changed}, the first\n"),
            _ => format!("  shows between hops {unchanged} and {changed}\n"),
        };
    }
    text
}

/// What a router in user space does, as phrases.
fn edits_text(edits: &Edits) -> String {
    let mut all = Vec::new();
    all.extend(edits.dscp.map(|dscp| format!("sets the codepoint {dscp}")));
    all.extend(edits.ecn.map(|ecn| format!("sets the ECN bits to {ecn}")));
    all.extend(edits.clear_ae.then(|| "clears AE in SYNs".to_owned()));
    all.extend(edits.strip.iter().map(|kind| format!("removes the TCP option {kind}")));
    all.extend(edits.repair.then(|| "repairs the marks in quotes".to_owned()));
    all.extend(edits.branch.map(|branch| {
        let by = match branch {
            Branch::Flow => "by source port",
            Branch::Packet => "in turn",
        };
        format!("in one of two branches, {by}")
    }));
    all.extend(edits.quote.map(|octets| format!("quotes {octets} octets of the transport")));
    all.extend(edits.labels.as_ref().map(|labels| format!("reports the labels {labels:?}")));
    all.extend(edits.interface.as_ref().map(|name| format!("reports the interface {name}")));
    all.join(", ")
}

/// Every address, a line each.
fn print_targets(spec: &Spec) -> Result<()> {
    // Many lines per write, but never all of them in memory.
    const LINES: usize = 1000;
    for targets in lab::targets(spec).chunks(LINES) {
        let lines = targets.iter().map(|target| {
            let name = spec.hosts.get(target.host).map(|host| host.name.as_str());
            format!("{}\n", json!({ "dip": target.addr, "dp": target.port, "domain": name }))
        });
        page::print_json_lines(&lines.collect::<String>())?;
    }
    Ok(())
}

/// Describes each host, and the truth specific to it.
fn list_text(spec: &Spec) -> String {
    let mut text = String::new();
    let add = |text: &mut String, host: &HostSpec| {
        let (name, title, known) = (&host.name, &host.title, host.host());
        *text += &format!("{name}\n  {title}\n");
        let count = host.count;
        *text += &format!("  {count} in {}, {count} in {}\n", known.prefix_v4, known.prefix_v6);
        for (direction, rules) in [("out", &host.path), ("back", &host.path_back)] {
            for rule in rules {
                *text += &format!("  {direction}: {rule}\n");
            }
        }
        if host.behind.is_some() {
            let (hops, last) = (host.hops(spec), spec.router_name(host.behind));
            *text += &format!("  {hops} hops, the last of them {last}\n");
        }
        for fault in &host.faults {
            *text += &fault_text(spec, fault);
        }
        if host.delay_ms > 0 {
            *text += &format!("  out: delayed by {} ms\n", host.delay_ms);
        }
        if let Some(mtu) = host.mtu {
            *text += &format!("  out: at most {mtu} octets\n");
        }
        if !host.icmp {
            *text += "  out: the router reports no errors\n";
        }
        let (own_v4, own_v6) =
            (differing(&host.truth_v4, &spec.truth_v4), differing(&host.truth_v6, &spec.truth_v6));
        for (measurement, labels) in &own_v4 {
            let family = if own_v6.get(measurement) == Some(labels) { "" } else { " (IPv4)" };
            *text += &true_of(measurement, family, labels);
        }
        for (measurement, labels) in &own_v6 {
            if own_v4.get(measurement) != Some(labels) {
                *text += &true_of(measurement, " (IPv6)", labels);
            }
        }
        for measurement in &host.unmeasured {
            *text += &format!("  {measurement}: not compared\n");
        }
        let own_v4 = differing(&host.located_v4, &spec.located_v4);
        let own_v6 = differing(&host.located_v6, &spec.located_v6);
        *text += &located_text(&own_v4, &own_v6);
    };
    for host in &spec.hosts {
        add(&mut text, host);
    }
    text += "\nRouters, by hop:\n";
    for router in lab::hops::Router::all(spec) {
        let lab::hops::Router { name, hop, asn, address_v4, address_v6, .. } = router;
        text += &format!("  {hop} {name} {address_v4} {address_v6} AS{asn}\n");
    }
    text += "\nTrue of every host unless stated otherwise:\n";
    for (measurement, labels) in &spec.truth_v4 {
        let family = if spec.truth_v6.get(measurement) == Some(labels) { "" } else { " (IPv4)" };
        text += &true_of(measurement, family, labels);
    }
    for (measurement, labels) in &differing(&spec.truth_v6, &spec.truth_v4) {
        text += &true_of(measurement, " (IPv6)", labels);
    }
    text += &located_text(&spec.located_v4, &spec.located_v6);
    text += "\nSituations of the prober (--lab-prober NAME), where conditions may be absent but not wrong:\n";
    for row in SITUATIONS {
        text += &format!("{}\n  {}\n  what is left: {}\n", row.name, row.title, row.expected);
    }
    text
}

/// What is true besides if a run locates a label.
fn located_text(v4: &Truth, v6: &Truth) -> String {
    let line =
        |(measurement, labels): (&String, &Vec<String>), family: &str| match labels.is_empty() {
            true => format!("  {measurement}{family}, located: not compared\n"),
            false => true_of(measurement, &format!("{family}, located"), labels),
        };
    let of_v4 = v4.iter().map(|stated| match v6.get(stated.0) == Some(stated.1) {
        true => line(stated, ""),
        false => line(stated, " (IPv4)"),
    });
    let of_v6 = v6.iter().filter(|(measurement, labels)| v4.get(*measurement) != Some(*labels));
    of_v4.chain(of_v6.map(|stated| line(stated, " (IPv6)"))).collect()
}

/// The entries that differ from `there`.
fn differing(here: &Truth, there: &Truth) -> Truth {
    here.iter()
        .filter(|(measurement, labels)| there.get(*measurement) != Some(labels))
        .map(|(measurement, labels)| (measurement.clone(), labels.clone()))
        .collect()
}

fn true_of(measurement: &str, family: &str, labels: &[String]) -> String {
    let labels = if labels.is_empty() { "no condition".to_owned() } else { labels.join(", ") };
    format!("  {measurement}{family}: {labels}\n")
}

/// Runs a shell, or a command, at the prober of the lab.
fn shell(spec: &Spec, prober: Prober, command: &[String]) -> Result<Exit> {
    // Before any thread exists: a user namespace is for the whole process.
    lab::enter()?;
    let lab = prober.build(spec, None)?;
    // Signals are for the foreground process; the lab exists until that ends.
    for signal in [SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))
            .doing(|| "watch for signals")?;
    }
    let mut child = match command {
        [program, arguments @ ..] => {
            let mut child = Process::new(program);
            child.args(arguments);
            child
        }
        [] => {
            let (interface, text) = (lab.interface(), lab.describe());
            page::print(&format!(
                "The lab: {text}\nThis shell is inside; {interface} leads to the hosts. Leave it to take the lab down.\n"
            ))?;
            Process::new(std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into()))
        }
    };
    let named = format!("run {} in the lab", child.get_program().display());
    let status = child.status().doing(|| named.clone())?;
    // The exit status of an interactive shell is irrelevant.
    if command.is_empty() || status.success() {
        return Ok(Exit::Done);
    }
    Err(Error::failed(named, status))
}
