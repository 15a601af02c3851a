//! `pathspider fleet agent`: the register of agents.

use clap::Subcommand;
use serde_json::json;

use super::{OfHub, now};
use crate::error::{Error, Exit, Result};
use crate::fleet::hub::Registered;
use crate::fleet::message::{Heartbeat, parse};
use crate::fleet::transport::HubSide as _;
use crate::report::format::Format;
use crate::report::page;

/// Add agents, and list them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add an agent: make its token, its queue and its store at the hub
    ///
    /// Prints the file with the token, NAME.jwt, which is no secret: copy it into the folder of the agent as agent.jwt.
    /// May be repeated, to change group and tags.
    Add {
        /// The name: small letters, digits and hyphens. It is the vantage in the dataset
        #[arg(value_name = "NAME")]
        agent: String,

        /// The public key, as `agent enroll` printed it
        #[arg(long, value_name = "KEY")]
        key: String,

        /// A group, for campaigns
        #[arg(long, value_name = "NAME")]
        group: Option<String>,

        /// A tag, for campaigns, such as as=64496; repeatable
        #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
        tag: Vec<(String, String)>,

        #[command(flatten)]
        hub: OfHub,
    },
    /// List the agents, and when each was last heard of
    List {
        /// Output format
        #[arg(long, value_enum, default_value = "text")]
        format: Format,

        #[command(flatten)]
        hub: OfHub,
    },
}

fn tag(text: &str) -> Result<(String, String), String> {
    let parts = text.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty());
    let (key, value) = parts.ok_or("write a tag as KEY=VALUE, such as as=64496")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    match &args.command {
        Command::Add { agent, key, group, tag, hub } => {
            if let Some(group) = group {
                crate::fleet::campaign::name_of(group)
                    .map_err(|why| Error::Usage(format!("--group {group}: the name {why}")))?;
            }
            let hub = hub.open()?;
            let tags = tag.iter().cloned().collect();
            // First at the server, so that an agent with a token has its queue.
            let nats = hub.connect()?;
            let row = Registered { key: key.clone(), group: group.clone(), tags };
            let token = hub.register(agent, row, now())?;
            nats.add_agent(agent)?;
            page::print(&format!("{}\n", token.display()))?;
        }
        Command::List { format, hub } => list(hub, *format)?,
    }
    Ok(Exit::Done)
}

fn list(hub: &OfHub, format: Format) -> Result<()> {
    let hub = hub.open()?;
    let (agents, nats) = (hub.agents()?, hub.connect()?);
    let mut rows = Vec::new();
    for (name, row) in &agents {
        let beat = nats.heartbeat(name)?.and_then(|octets| parse::<Heartbeat>(&octets).ok());
        match format {
            Format::Json => page::print_json(&json!({
                "name": name, "key": row.key, "group": row.group, "tags": row.tags,
                "heard": beat.as_ref().map(|beat| beat.at), "unit": beat.as_ref().and_then(|beat| beat.unit.clone()),
                "pathspider": beat.map(|beat| beat.pathspider),
            }))?,
            Format::Text => {
                let tags: Vec<String> =
                    row.tags.iter().map(|(key, value)| format!("{key}={value}")).collect();
                rows.push([
                    name.clone(),
                    row.group.clone().unwrap_or_else(|| "-".into()),
                    if tags.is_empty() { "-".into() } else { tags.join(" ") },
                    heard(beat.as_ref()),
                ]);
            }
        }
    }
    if format == Format::Text {
        page::print_page(&page::Page::of_stdout().table(0, &rows))?;
    }
    Ok(())
}

/// When an agent was last heard of, and what it does.
pub fn heard(beat: Option<&Heartbeat>) -> String {
    let Some(beat) = beat else { return "silent".into() };
    let ago = now().saturating_sub(beat.at);
    let doing = match (&beat.unit, beat.stopped) {
        (Some(unit), _) => format!("measures {unit}"),
        (None, Some(_)) => "stopped".into(),
        (None, None) => "waits".into(),
    };
    format!("{doing} ({ago} s ago)")
}
