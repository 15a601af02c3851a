//! `pathspider verify`: whether results are what was written, and whole.

mod contents;
mod lines;
mod problem;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::meter::Meter;
use super::{Format, out};
use crate::error::{Error, Exit, Result};
use crate::printable;
use crate::sink::{self, Checked, Damage, JOURNAL, Metadata, Stored};
use crate::words::counted;
use contents::{About, Contents};
pub(super) use problem::CHECKS;
use problem::{Check, Problem, Weight};

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
        match verify(path, quiet) {
            Ok(report) => {
                match args.format {
                    Format::Json => out::print_json(&report.json())?,
                    Format::Text => out::print(&report.text())?,
                }
                exit = worse(exit, report.exit());
            }
            Err(error) => {
                super::report(&error);
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

/// What was found of one result.
struct Report {
    path: PathBuf,
    /// Files of records that were read.
    files: usize,
    /// Records in them.
    records: u64,
    problems: Vec<Problem>,
    /// What was not looked at, and why.
    notes: Vec<String>,
}

impl Report {
    /// The worst that was found.
    fn weight(&self) -> Option<Weight> {
        self.problems.iter().map(|problem| problem.weight).max()
    }

    fn exit(&self) -> Exit {
        match self.weight() {
            None => Exit::Done,
            Some(Weight::Unchecked | Weight::Incomplete) => Exit::Lossy,
            Some(Weight::Spoiled) => Exit::Failed,
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for problem in &self.problems {
            text += &format!("{}\n", printable::line(&problem.to_string()));
        }
        let shown = self.path.display().to_string();
        let shown = printable::line(&shown);
        for note in &self.notes {
            text += &format!("{shown}: {note}\n");
        }
        let of = match self.weight() {
            None => "ok".to_owned(),
            Some(weight) => {
                let problems = counted(self.problems.len() as u64, "problem[s]");
                format!("{}, {problems}", weight.word())
            }
        };
        let files = counted(self.files as u64, "file[s]");
        let records = counted(self.records, "record[s]");
        text + &format!("{shown}: {of}: {files}, {records}\n")
    }

    fn json(&self) -> Value {
        json!({
            "result": self.path.display().to_string(),
            "outcome": self.weight().map_or("ok", Weight::word),
            "files": self.files,
            "records": self.records,
            "notes": self.notes,
            "problems": self.problems.iter().map(Problem::json).collect::<Vec<_>>(),
        })
    }
}

/// Checks one result.
fn verify(path: &Path, quiet: bool) -> Result<Report> {
    if !path.exists() {
        return Err(Error::Usage(format!("verify {}: there is no such result", path.display())));
    }
    let mut meter = Meter::new("records", quiet);
    // Read twice: for the digests, then for what it says.
    let (all, mut read) = (Some(2 * Checked::size(path)), 0);
    let checked = sink::check(path, &mut |octets| {
        read += octets;
        meter.show(0, (read, all), "digests");
    })?;
    let mut problems = of_checked(path, &checked);
    let mut contents = Contents::default();
    let about = About::new(metadata(path, &checked, &mut problems));
    for file in &checked.files {
        let before = contents.records;
        contents.read(file, &about, &mut problems, &mut |done| {
            meter.show(before + done, (read, all), "records");
        });
        read += Checked::size(file);
    }
    meter.end();
    contents.conclude(path, &checked, &about, &mut problems);
    Ok(Report {
        path: path.to_owned(),
        files: checked.files.len(),
        records: contents.records,
        notes: contents.notes,
        problems,
    })
}

/// What the digests and the journal say.
fn of_checked(path: &Path, checked: &Checked) -> Vec<Problem> {
    let mut problems = Vec::new();
    for file in &checked.spoiled {
        let lost = file.rows.map(|rows| counted(rows, "record[s]"));
        let mut message = file.why.clone();
        if let Some(lost) =
            lost.filter(|_| !matches!(file.damage, Damage::Copied | Damage::Foreign))
        {
            message += &format!(
                "; {lost} of it are lost, unless `run --resume` measures their targets again"
            );
        }
        problems.push(Problem::spoiled(Check::Digest, &file.path, message));
    }
    for file in &checked.unchecked {
        problems.push(Problem::unchecked(
            Check::Digest,
            file,
            "it has no SHA-256 and no page checksums: an earlier version wrote it",
        ));
    }
    match &checked.journal {
        Some(journal) => {
            let at = path.join(JOURNAL);
            for line in &journal.spoiled {
                let why = format!("line {line} is not as it was written");
                problems.push(Problem::spoiled(Check::Journal, &at, why));
            }
            if !journal.ended {
                problems.push(Problem::incomplete(
                    Check::Journal,
                    path,
                    "the run was not finished; --resume goes on with it",
                ));
            }
        }
        None if path.is_dir() => {
            let why = format!("there is no {JOURNAL}, so that a part may be missing");
            problems.push(Problem::unchecked(Check::Journal, path, why));
        }
        None => {}
    }
    problems
}

/// The metadata of the whole: of the run if it has ended, else of its last part.
fn metadata(path: &Path, checked: &Checked, problems: &mut Vec<Problem>) -> Metadata {
    let run = path.join(sink::RUN);
    let beside = sink::metadata_of(path);
    let is_whole = |file: &Path| checked.spoiled.iter().all(|spoiled| spoiled.path != file);
    let read = match () {
        () if run.is_file() && is_whole(&run) => sink::read_json(&run),
        () if path.is_file() && sink::is_lines(path) && beside.is_file() && is_whole(&beside) => {
            sink::read_json(&beside)
        }
        () if path.is_file() && sink::is_lines(path) => return Metadata::new(),
        () => match checked.files.last() {
            Some(last) => Stored::open(last).map(|stored| stored.metadata()),
            None => return Metadata::new(),
        },
    };
    read.unwrap_or_else(|error| {
        problems.push(Problem::spoiled(Check::Metadata, path, error.to_string()));
        Metadata::new()
    })
}
