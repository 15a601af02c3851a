//! `pathspider targets`: makes lists of targets, and lists out of lists.

pub(super) mod columns;
pub(super) mod dns;
mod failures;
mod filter;
mod output;
mod pace;
pub(super) mod question;
mod resolve;
pub(super) mod servers;

use std::io::{self, ErrorKind, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use clap::Subcommand;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Doing as _, Error, Exit, Result};
use crate::files;

/// Make lists of targets: resolve names to addresses, filter lists
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
    let outcome = match &args.command {
        Command::Resolve(args) => resolve::run(args, quiet),
        Command::Filter(args) => filter::run(args, quiet),
    };
    match outcome {
        // A reader that has seen enough (`| head`) is no error.
        Err(Error::Os { source, .. }) if source.kind() == ErrorKind::BrokenPipe => Ok(Exit::Done),
        outcome => outcome,
    }
}

/// The list to read: standard input if none is named, unless nothing would come from there.
fn input(path: Option<&Path>, what: &str) -> Result<PathBuf> {
    match path {
        Some(path) => Ok(path.to_owned()),
        None if io::stdin().is_terminal() => {
            Err(Error::Usage(format!("no {what}: name a file, or pipe a list in")))
        }
        None => Ok(PathBuf::from("-")),
    }
}

/// A number that a signal sets.
fn watch_signals() -> Result<Arc<AtomicUsize>> {
    let stop = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, stop.clone(), number)
            .doing(|| "watch for signals")?;
    }
    files::end_waits_on(&[SIGINT, SIGTERM, SIGHUP])?;
    Ok(stop)
}
