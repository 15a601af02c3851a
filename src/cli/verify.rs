//! `pathspider verify`: checks that results are intact and complete.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::{Exit, Result};
use crate::printable;
use crate::report::format::Format;
use crate::report::meter::Meter;
use crate::report::page;
use crate::results::verify::{CHECKS, Problem, Report, Weight, verify};
use crate::words::counted;

/// Verify that results are intact and complete
///
/// Compares every file with the SHA-256 in the journal or in the file itself, reads every page, and compares the contents
/// with the metadata: records, targets, columns, and labels, which are computed again from the facts. Changes nothing and
/// needs no privileges.
///
/// Exits with 0 if all results are complete; with 1 if one is corrupt or contradicts itself; with 2 if one does not exist;
/// with 3 if one is intact but lacks records (an unfinished run), or cannot be checked because an earlier version wrote no
/// checksums.
#[derive(Debug, clap::Args)]
#[command(after_help = checks())]
pub struct Args {
    /// Results: folders of parts, .parquet files, or .ndjson files
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,

    /// Output format; with json, one object per result and line
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// The part of the help that lists the checks.
fn checks() -> String {
    let width = CHECKS.iter().map(|check| check.name().len()).max().unwrap_or_default();
    let lines = CHECKS.iter().map(|check| format!("  {:width$}  {}\n", check.name(), check.doc()));
    format!("What is checked:\n{}", lines.collect::<String>())
}

/// Runs the command.
pub fn run(args: &Args, quiet: bool) -> Result<Exit> {
    let mut exit = Exit::Done;
    for path in &args.results {
        let mut meter = Meter::new("records", quiet);
        let verified = verify(path, &mut |done, of, what| meter.show(done, of, what));
        meter.end();
        match verified {
            Ok(report) => {
                match args.format {
                    Format::Json => page::print_json(&json(&report))?,
                    Format::Text => page::print(&text(&report))?,
                }
                exit = worse(exit, exit_of(&report));
            }
            Err(error) => {
                crate::cli::report(&error);
                exit = worse(exit, error.exit());
            }
        }
    }
    Ok(exit)
}

/// The worse of two exit codes: spoiled, then missing, then incomplete.
fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Done => 0,
        Exit::Lossy => 1,
        Exit::BadInput => 2,
        _ => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// The exit code of a report.
fn exit_of(report: &Report) -> Exit {
    match report.weight() {
        None => Exit::Done,
        Some(Weight::Unchecked | Weight::Incomplete) => Exit::Lossy,
        Some(Weight::Spoiled) => Exit::Failed,
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for problem in &report.problems {
        text += &format!("{}\n", printable::line(&problem.to_string()));
    }
    let shown = report.path.display().to_string();
    let shown = printable::line(&shown);
    for note in &report.notes {
        text += &format!("{shown}: {note}\n");
    }
    let of = match report.weight() {
        None => "ok".to_owned(),
        Some(weight) => {
            let problems = counted(report.problems.len() as u64, "problem[s]");
            format!("{}, {problems}", weight.word())
        }
    };
    let files = counted(report.files as u64, "file[s]");
    let records = counted(report.records, "record[s]");
    text + &format!("{shown}: {of}: {files}, {records}\n")
}

fn json(report: &Report) -> Value {
    json!({
        "result": report.path.display().to_string(),
        "outcome": report.weight().map_or("ok", Weight::word),
        "files": report.files,
        "records": report.records,
        "notes": report.notes,
        "problems": report.problems.iter().map(Problem::json).collect::<Vec<_>>(),
    })
}
