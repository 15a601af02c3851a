//! The command line: clap's structs, and one file per command.
//!
//! May import every module.

#![expect(clippy::print_stdout, reason = "what a command was asked for goes to standard output")]

mod interface;
mod judge;
mod lab;
mod progress;
mod run;
mod summary;
mod writer;

use std::io::IsTerminal as _;

use clap::{Parser, Subcommand, ValueEnum};

use crate::error::{Error, Exit};

/// The program.
#[derive(Debug, Parser)]
#[command(
    name = "pathspider",
    version,
    about = "Measure what the path does to your packets: connect to each target under two configurations, \
             watch the wire, compare",
    after_help = after_help(),
    max_term_width = 100
)]
struct Cli {
    /// Say more: each phase (-v), each attempt (-vv), each packet's fate (-vvv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    /// Show no progress
    #[arg(short, long, global = true)]
    quiet: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Judge(judge::Args),
    Lab(lab::Args),
}

/// How a command writes its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs: one JSON object.
    Json,
}

fn after_help() -> String {
    let mut help = String::from(
        "Try it without privileges, on an Internet made of network namespaces:\n  \
         pathspider run measurements/ecn.toml --lab\n\nExit codes:\n",
    );
    for (exit, meaning) in Exit::ALL {
        help.push_str(&format!("  {}  {meaning}\n", exit as u8));
    }
    help
}

/// Runs the program on this process's command line.
pub fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors too; if the terminal is gone nobody can be told.
            let _ = error.print();
            return if error.use_stderr() { Exit::BadInput } else { Exit::Done };
        }
    };
    progress::start_logging(cli.verbose, cli.quiet);
    let outcome = match cli.command {
        Command::Run(args) => run::run(args, cli.quiet),
        Command::Judge(args) => judge::run(&args),
        Command::Lab(args) => lab::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        report(&error);
        error.exit()
    })
}

fn report(error: &Error) {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    match error {
        Error::File(report) => eprintln!("{}", report.render(color)),
        other => eprintln!("pathspider: {other}"),
    }
}
