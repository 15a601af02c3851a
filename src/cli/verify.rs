//! `pathspider verify`: whether results are what was written, and whole.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::{Exit, Result};
use crate::printable;
use crate::report::format::Format;
use crate::report::meter::Meter;
use crate::report::page;
use crate::results::verify::{CHECKS, Problem, Report, Weight, verify};
use crate::words::counted;

/// Check results: whether they are what was written, and whole
///
/// Holds every file to the SHA-256 in the journal or in the file itself, reads every page of it, and compares what it has with
/// what its metadata say: records, targets, columns, and the labels, which are computed anew from the facts. Changes nothing and
/// needs no privilege.
///
/// Exits with 0 if all results are whole; with 1 if something is not as it was written, or its parts contradict each other;
/// with 2 if there is no result by a name; with 3 if what is there is right but records are missing (a run that was not finished), or
/// if it cannot be checked, as earlier versions wrote no checksums.
#[derive(Debug, clap::Args)]
#[command(after_help = checks())]
pub struct Args {
    /// Results: folders of parts, .parquet files, or .ndjson files
    #[arg(required = true, value_name = "RESULT")]
    results: Vec<PathBuf>,

    /// How problems are written: with json, an object per result on a line of its own
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// The part of the help that says what is checked.
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

/// Of two ends, the one that matters more: a spoiled result, then one that is not there, then one that is not whole.
fn worse(a: Exit, b: Exit) -> Exit {
    let rank = |exit: Exit| match exit {
        Exit::Done => 0,
        Exit::Lossy => 1,
        Exit::BadInput => 2,
        _ => 3,
    };
    if rank(b) > rank(a) { b } else { a }
}

/// The exit code that a report means.
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
