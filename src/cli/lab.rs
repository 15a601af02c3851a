//! `pathspider lab`: what the lab is made of.

use clap::Subcommand;

use super::Format;
use crate::error::{Exit, Result};
use crate::lab;

/// Look at the lab: hosts in network namespaces, each with a known fault on its path
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the hosts, what each does, and what is true of it
    List {
        /// How the list is written
        #[arg(long, value_enum, default_value = "text")]
        format: Format,
    },
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let Command::List { format } = args.command;
    let spec = lab::Spec::internet()?;
    match format {
        Format::Json => println!("{}", spec.to_json()),
        Format::Text => println!("{}", spec.to_text()),
    }
    Ok(Exit::Done)
}
