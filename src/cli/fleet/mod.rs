//! `pathspider fleet`: the hub of a campaign with many vantage points.

mod agents;
mod campaign;
mod dataset;
mod init;
mod optout;

use std::path::PathBuf;
use std::time::SystemTime;

use clap::Subcommand;

use crate::error::{Exit, Result};
use crate::fleet::hub::Hub;

/// Measure from many vantage points: agents, campaigns, and one dataset
///
/// A campaign gives shards of one list to agents on other machines (`pathspider agent`), which measure them as `run --shard`
/// does. The hub is a NATS server with JetStream. One machine needs none of it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Agent(agents::Args),
    Plan(campaign::Plan),
    Start(campaign::Start),
    Status(campaign::Status),
    Stop(campaign::Stop),
    Continue(campaign::Continue),
    #[command(name = "optout")]
    OptOut(optout::Args),
    Ingest(dataset::Ingest),
    Verify(dataset::Verify),
    Export(dataset::Export),
}

/// The folder of the hub.
#[derive(Debug, clap::Args)]
struct OfHub {
    /// The folder of the hub, as `fleet init` made it
    #[arg(long = "hub", value_name = "DIR", default_value = "hub")]
    hub_folder: PathBuf,
}

impl OfHub {
    fn open(&self) -> Result<Hub> {
        Hub::open(&self.hub_folder)
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    match &args.command {
        Command::Init(args) => init::run(args),
        Command::Agent(args) => agents::run(args),
        Command::Plan(args) => campaign::plan(args),
        Command::Start(args) => campaign::start(args),
        Command::Status(args) => campaign::status(args),
        Command::Stop(args) => campaign::stop(args),
        Command::Continue(args) => campaign::go_on(args),
        Command::OptOut(args) => optout::run(args),
        Command::Ingest(args) => dataset::ingest(args),
        Command::Verify(args) => dataset::verify(args),
        Command::Export(args) => dataset::export(args),
    }
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
