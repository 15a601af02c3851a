//! `pathspider fleet plan`, `start`, `status`, `stop` and `continue`.

use std::path::PathBuf;

use indicatif::HumanBytes;
use serde_json::json;

use super::agents::heard;
use super::{OfHub, now};
use crate::error::{Error, Exit, Result};
use crate::fleet::coordinator::{self, Prepared};
use crate::fleet::message::{self, VERSION};
use crate::report::format::Format;
use crate::report::page;
use crate::words::counted;

/// Show what a campaign would do, and send nothing
#[derive(Debug, clap::Args)]
pub struct Plan {
    /// The campaign file
    #[arg(value_name = "FILE")]
    campaign_file: PathBuf,

    #[command(flatten)]
    hub: OfHub,
}

/// Start a campaign: sign it, and hand its units to the agents
///
/// May be repeated with the same file, for instance after an interruption; nothing is measured twice.
#[derive(Debug, clap::Args)]
pub struct Start {
    /// The campaign file
    #[arg(value_name = "FILE")]
    campaign_file: PathBuf,

    #[command(flatten)]
    hub: OfHub,
}

/// Show the state of campaigns
#[derive(Debug, clap::Args)]
pub struct Status {
    /// A campaign [default: all]
    #[arg(value_name = "CAMPAIGN")]
    campaign_name: Option<String>,

    /// Output format; with json, one object per campaign and line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,

    #[command(flatten)]
    hub: OfHub,
}

/// Stop a campaign, or all: agents complete the wave in flight, and begin no other
#[derive(Debug, clap::Args)]
pub struct Stop {
    #[command(flatten)]
    which: Which,

    /// Stop at once, without completing the wave in flight
    #[arg(long)]
    now: bool,

    /// Why, for the owners of agents
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,

    #[command(flatten)]
    hub: OfHub,
}

/// Lift a stop
#[derive(Debug, clap::Args)]
pub struct Continue {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    hub: OfHub,
}

/// One campaign or all.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// A campaign
    #[arg(value_name = "CAMPAIGN")]
    campaign_name: Option<String>,

    /// Every campaign, also later ones
    #[arg(long)]
    all: bool,
}

/// Runs `fleet plan`.
pub fn plan(args: &Plan) -> Result<Exit> {
    let prepared = Prepared::read(&args.campaign_file, &args.hub.open()?.agents()?)?;
    let (document, most) = (&prepared.document, prepared.most());
    let mut text = format!(
        "{}: {} over {} by {}\n",
        prepared.campaign.name,
        document.measurement,
        counted(document.list.targets, "target[s]"),
        counted(document.agents.len() as u64, "agent[s]"),
    );
    text += &format!(
        "each agent: {}, at most {} and {}\n",
        counted(document.units, "unit[s]"),
        counted(most.packets, "packet[s]"),
        HumanBytes(most.octets)
    );
    if let Some(seconds) = prepared.seconds() {
        text += &format!(
            "each agent: at least {} at the rate of the campaign\n",
            counted(seconds, "second[s]")
        );
    }
    text += &format!("agents: {}\n", document.agents.join(", "));
    page::print(&text)?;
    Ok(Exit::Done)
}

/// Runs `fleet start`.
pub fn start(args: &Start) -> Result<Exit> {
    let hub = args.hub.open()?;
    let Prepared { campaign, document, list, .. } =
        Prepared::read(&args.campaign_file, &hub.agents()?)?;
    if campaign.not_after < now() {
        return Err(Error::Usage(format!("start {}: its not_after has passed", campaign.name)));
    }
    let octets = coordinator::sign(&document, &hub.campaign_key()?)?;
    let nats = hub.connect()?;
    hub.keep(&campaign.name, &octets, &list)?;
    coordinator::publish(&nats, &document, octets, list)?;
    let (units, agents) = (document.units, document.agents.len() as u64);
    page::print(&format!(
        "{}: started: {} for {}\n",
        campaign.name,
        counted(units, "unit[s]"),
        counted(agents, "agent[s]")
    ))?;
    Ok(Exit::Done)
}

/// Runs `fleet status`.
pub fn status(args: &Status) -> Result<Exit> {
    let hub = args.hub.open()?;
    let names = match &args.campaign_name {
        Some(name) => vec![name.clone()],
        None => hub.campaigns()?,
    };
    let (agents, nats) = (hub.agents()?, hub.connect()?);
    for name in names {
        let (document, _) = hub.document(&name)?;
        let status = coordinator::status(&nats, &document, &agents)?;
        match args.format {
            Format::Json => page::print_json(&as_json(&name, &status))?,
            Format::Text => page::print(&as_text(&name, &status))?,
        }
    }
    Ok(Exit::Done)
}

fn as_json(name: &str, status: &coordinator::Status) -> serde_json::Value {
    let ended = |word: &str| status.ended.get(word).copied().unwrap_or_default();
    json!({
        "campaign": name, "units": status.units, "done": ended("done"), "refused": ended("refused"),
        "expired": ended("expired"), "stored": status.stored, "records": status.records,
        "reasons": status.refused, "wrong": status.wrong,
        "stopped": status.stop.as_ref().map(|stop| stop.reason.clone()),
        "agents": status.agents.iter().map(|(name, beat)| json!({
            "name": name, "heard": beat.as_ref().map(|beat| beat.at),
            "unit": beat.as_ref().and_then(|beat| beat.unit.clone()),
            "stopped": beat.as_ref().is_some_and(|beat| beat.stopped.is_some()),
            "optout": beat.as_ref().map(|beat| beat.optout),
        })).collect::<Vec<_>>(),
    })
}

fn as_text(name: &str, status: &coordinator::Status) -> String {
    let ended: u64 = status.ended.values().sum();
    let state = match &status.stop {
        Some(stop) if stop.reason.is_empty() => "stopped".into(),
        Some(stop) => format!("stopped ({})", stop.reason),
        None if ended == status.units => "ended".into(),
        None => "running".to_owned(),
    };
    let parts = status.ended.iter().map(|(word, count)| format!("{count} {word}"));
    let parts = parts.chain([format!("{} stored", status.stored)]).collect::<Vec<_>>().join(", ");
    let mut text = format!(
        "{name}: {state}: {ended} of {} ended: {parts}; {}\n",
        counted(status.units, "unit[s]"),
        counted(status.records, "record[s]")
    );
    for (why, count) in &status.refused {
        text += &format!("  {}: {why}\n", counted(*count, "unit[s] refused"));
    }
    for why in &status.wrong {
        text += &format!("  does not count: {why}\n");
    }
    for (agent, beat) in &status.agents {
        text += &format!("  {agent}: {}\n", heard(beat.as_ref()));
    }
    text
}

/// Runs `fleet stop`.
pub fn stop(args: &Stop) -> Result<Exit> {
    set(&args.hub, &args.which, (true, args.now), &args.reason)
}

/// Runs `fleet continue`.
pub fn go_on(args: &Continue) -> Result<Exit> {
    set(&args.hub, &args.which, (false, false), "")
}

fn set(
    hub: &OfHub,
    which: &Which,
    (stopped, now_at_once): (bool, bool),
    reason: &str,
) -> Result<Exit> {
    let hub = hub.open()?;
    if let Some(name) = &which.campaign_name {
        hub.document(name)?;
    }
    let stop =
        message::Stop { v: VERSION, stopped, now: now_at_once, reason: reason.into(), at: now() };
    coordinator::stop(&hub.connect()?, which.campaign_name.as_deref(), &stop)?;
    let of = which.campaign_name.as_deref().unwrap_or("all campaigns");
    page::print(&format!("{of}: {}\n", if stopped { "stopped" } else { "continued" }))?;
    Ok(Exit::Done)
}
