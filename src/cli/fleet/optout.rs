//! `pathspider fleet optout`: targets that no agent probes.

use clap::Subcommand;

use super::OfHub;
use crate::error::{Exit, Result};
use crate::fleet::optout;
use crate::report::page;
use crate::words::counted;

/// Add targets that no agent may probe, also in campaigns that run, and list them
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add prefixes, addresses or names
    ///
    /// Agents that are connected hear it at once, others when they next connect; runs in progress begin no connection to them from then
    /// on. Nothing can be removed through the hub: only the owner of a host can, from the file `optout` of its agent.
    Add {
        /// A prefix, an address, a name, or a name with all subdomains (.example.org)
        #[arg(value_name = "TARGET", required = true)]
        entries: Vec<String>,

        #[command(flatten)]
        hub: OfHub,
    },
    /// List what was added
    List {
        #[command(flatten)]
        hub: OfHub,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    match &args.command {
        Command::Add { entries, hub } => {
            let hub = hub.open()?;
            let scratch = hub.folder().join("optout.new");
            let list = optout::add(&hub.connect()?, entries, &scratch)?;
            let count = counted(list.lines.len() as u64, "entr[y|ies]");
            page::print(&format!("opt-out list, version {}: {count}\n", list.version))?;
        }
        Command::List { hub } => {
            let list = optout::list(&hub.open()?.connect()?)?;
            page::print(&list.lines.iter().map(|line| format!("{line}\n")).collect::<String>())?;
        }
    }
    Ok(Exit::Done)
}
