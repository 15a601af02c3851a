//! `pathspider targets`: creates and filters lists of targets.

mod failures;
mod filter;
mod output;
mod resolve;

use std::io::{self, ErrorKind, IsTerminal as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::cli::signals;
use crate::error::{Error, Exit, Result};

/// Create lists of targets: resolve names to addresses, filter lists
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Resolve(resolve::Args),
    Filter(filter::Args),
}

/// Runs the command.
pub fn run(args: &Args, quiet: bool) -> Result<Exit> {
    signals::catch(false)?;
    let outcome = match &args.command {
        Command::Resolve(args) => resolve::run(args, quiet),
        Command::Filter(args) => filter::run(args, quiet),
    };
    match outcome {
        // A closed pipe (`| head`) is not an error.
        Err(Error::Os { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        outcome => outcome,
    }
}

/// The list to read: standard input if none is named, unless it is a terminal.
fn input(path: Option<&Path>, what: &str) -> Result<PathBuf> {
    match path {
        Some(path) => Ok(path.to_owned()),
        None if io::stdin().is_terminal() => {
            Err(Error::Usage(format!("no {what}: name a file, or pipe a list in")))
        }
        None => Ok(PathBuf::from("-")),
    }
}
