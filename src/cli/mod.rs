//! The command line: clap's structs, and one file per command.
//!
//! May import every module.

#[cfg(feature = "fleet")]
mod agent;
mod attribution;
mod check;
mod codes;
mod complete;
mod describe;
mod explain;
mod export;
#[cfg(feature = "fleet")]
mod fleet;
mod guide;
mod hops;
mod judge;
mod lab;
mod list;
mod manual;
mod merge;
mod new;
mod observe;
mod options;
mod reference;
mod report;
mod restore;
mod run;
mod schema;
mod shell;
mod signals;
mod source;
mod targets;
mod upload;
mod verify;
mod words;

use std::io;

use clap::{FromArgMatches as _, Parser, Subcommand};

use crate::barrier;
use crate::error::{Error, Exit, Setting};
use crate::measurement::Plan;
use crate::report::format::Format;
use crate::report::{page, progress};
use crate::{printable, program, version};

/// The program.
#[derive(Debug, Parser)]
#[command(
    name = "pathspider",
    version,
    long_version = version::long(),
    about = "Measure what the path does to your packets: connect to each target under two configurations, \
             watch the wire, compare",
    after_help = after_help(),
    max_term_width = 100
)]
struct Cli {
    /// Log more: phases (-v), attempts (-vv), packets (-vvv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    /// Show no progress and no warnings, except for rejected lines of lists
    #[arg(short, long, global = true)]
    quiet: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Check(check::Args),
    Explain(explain::Args),
    New(new::Args),
    List(list::Args),
    Schema(schema::Args),
    Reference(reference::Args),
    Guide(guide::Args),
    Observe(observe::Args),
    Judge(judge::Args),
    Merge(merge::Args),
    Describe(describe::Args),
    Export(export::Args),
    Hops(hops::Args),
    Verify(verify::Args),
    Upload(upload::Args),
    Report(report::Args),
    Targets(targets::Args),
    Restore(restore::Args),
    Attribution(attribution::Args),
    Lab(lab::Args),
    #[cfg(feature = "fleet")]
    Fleet(fleet::Args),
    #[cfg(feature = "fleet")]
    Agent(agent::Args),
    Completions(shell::Completions),
    Man(shell::Man),
    #[command(name = "__complete", hide = true)]
    Complete(complete::Args),
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
    // Determined now, before privileges are dropped.
    let _ = program::is_raised();
    let mut command = manual::command();
    let parsed = command
        .try_get_matches_from_mut(options::confidence::join_labels(std::env::args_os()))
        .and_then(|mut matches| Cli::from_arg_matches_mut(&mut matches))
        .map_err(|error| error.format(&mut command));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as errors too.
            usage(&error);
            return if error.use_stderr() { Exit::BadInput } else { Exit::Done };
        }
    };
    progress::start_logging(cli.verbose, cli.quiet);
    barrier::install_quiet();
    let outcome = barrier::contain(|| dispatch(cli));
    let outcome = outcome.unwrap_or_else(|crash| Err(Error::Failed(crash)));
    let (exit, said) = match outcome {
        Ok(exit) => (exit, String::new()),
        Err(error) => {
            report(&error);
            (error.exit(), error.to_string())
        }
    };
    // Report a panic even if the command handled it.
    let Some(crash) = barrier::crashed().map(ToString::to_string) else { return exit };
    if crash != said {
        report(&Error::Failed(crash));
    }
    Exit::Failed
}

/// Calls the command.
fn dispatch(cli: Cli) -> crate::error::Result<Exit> {
    match cli.command {
        Command::Run(args) => run::run(*args, cli.quiet),
        Command::Check(args) => check::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::New(args) => new::run(&args),
        Command::List(args) => list::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Reference(args) => reference::run(&args),
        Command::Guide(args) => guide::run(&args),
        Command::Observe(args) => observe::run(&args, cli.quiet),
        Command::Judge(args) => judge::run(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Describe(args) => describe::run(&args, cli.quiet),
        Command::Export(args) => export::run(&args, cli.quiet),
        Command::Hops(args) => hops::run(&args),
        Command::Verify(args) => verify::run(&args, cli.quiet),
        Command::Upload(args) => upload::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Targets(args) => targets::run(&args, cli.quiet),
        Command::Restore(args) => restore::run(&args),
        Command::Attribution(args) => attribution::run(&args),
        Command::Lab(args) => lab::run(&args),
        #[cfg(feature = "fleet")]
        Command::Fleet(args) => fleet::run(&args),
        #[cfg(feature = "fleet")]
        Command::Agent(args) => agent::run(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::Complete(args) => complete::run(&args),
    }
}

/// Prints on standard error what stopped a command.
fn report(error: &Error) {
    match error {
        Error::File(report) => page::tell_page(&report.render(page::colors(&io::stderr()))),
        Error::NeedsSetting { operation, setting } => {
            page::tell(&format!("pathspider: {operation}{}", advice(*setting)));
        }
        other => page::tell(&format!("pathspider: {other}")),
    }
}

/// The option for a setting, appended to the operation that needs it.
fn advice(setting: Setting) -> &'static str {
    match setting {
        Setting::AllowCommands => ": programs are run only with --allow-commands",
        Setting::State => "; say where with --state DIR",
        Setting::Concurrency => ": lower --concurrency, or raise the limit (ulimit -Hn)",
        Setting::Targets => {
            ": name a file with --targets FILE (or pipe one in), or try --lab, which brings its own"
        }
        Setting::TargetFile => "; name the list with --targets FILE",
        Setting::MaxPackets => {
            "; set it with --max-packets-per-target; `pathspider explain` says what is sent"
        }
        Setting::SourcePorts => ", or choose a larger range with --source-ports LOW-HIGH",
        Setting::Interface => "; choose an interface with -i",
        Setting::Resolvers => "; name one with --resolver",
        Setting::User => " (--user)",
        Setting::Filter => " (--filter)",
        Setting::Rights => {
            ". As root, --user NAME keeps no more than these. `run --lab`, `check`, `explain`, `observe FILE`, `judge` and \
             `merge` need no privilege"
        }
        Setting::Output => "; choose another place with -o, or start as root with --user OWNER",
    }
}

/// Prints clap's message: help, or an error of the command line, which may quote untrusted text (file names).
fn usage(error: &clap::Error) {
    let text = error.render().to_string();
    match error.use_stderr() && text.chars().any(|c| c != '\n' && !printable::is_plain(c)) {
        true => page::tell(text.trim_end()),
        // If the terminal is gone, the message is lost.
        false => drop(error.print()),
    }
}

/// Prints the warnings about a measurement on standard error.
fn warn(plan: &Plan, origin: &str) {
    if !plan.warnings.is_empty() {
        report(&plan.warnings(origin).into());
    }
}

/// Reports an error in the chosen format: with JSON, mistakes of a file are JSON lines on standard output, as `check`
/// writes them. For commands with `--format`.
fn report_as(error: &Error, format: Format) -> crate::error::Result<()> {
    match (error, format) {
        (Error::File(report), Format::Json) => page::print_json_lines(&report.json_lines()),
        _ => {
            report(error);
            Ok(())
        }
    }
}
