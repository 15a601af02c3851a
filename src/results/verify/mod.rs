//! Verifies that results are intact and complete.

mod contents;
mod lines;
mod problem;

use std::path::{Path, PathBuf};

use self::contents::{About, Contents};
pub use self::problem::{CHECKS, Check, Problem, Weight};
use crate::error::{Error, Result};
use crate::sink::{self, Checked, Damage, JOURNAL, Metadata, Stored};
use crate::words::counted;

/// Receives the progress: records, (octets read, total octets), and the phase.
pub type Progress<'a> = dyn FnMut(u64, (u64, Option<u64>), &str) + 'a;

/// The findings about one result.
pub struct Report {
    /// Its path.
    pub path: PathBuf,
    /// Files of records that were read.
    pub files: usize,
    /// Records in them.
    pub records: u64,
    /// The problems.
    pub problems: Vec<Problem>,
    /// What was not checked, and why.
    pub notes: Vec<String>,
}

impl Report {
    /// The weight of the worst problem.
    pub fn weight(&self) -> Option<Weight> {
        self.problems.iter().map(|problem| problem.weight).max()
    }
}

/// Checks one result.
///
/// `progress` gets the records read, the octets read, all octets, and what is done.
///
/// # Errors
/// If there is no such result, or it cannot be read.
pub fn verify(path: &Path, progress: &mut Progress<'_>) -> Result<Report> {
    if !path.exists() {
        return Err(Error::Usage(format!("verify {}: there is no such result", path.display())));
    }
    // Read twice: for the digests, then for the contents.
    let (all, mut read) = (Some(2 * Checked::size(path)), 0);
    let checked = sink::check(path, &mut |octets| {
        read += octets;
        progress(0, (read, all), "digests");
    })?;
    let mut problems = of_checked(path, &checked);
    let mut contents = Contents::default();
    let about = About::new(metadata(path, &checked, &mut problems));
    for file in &checked.files {
        let before = contents.records;
        read_file(&mut contents, file, (&about, &mut problems), &mut |done| {
            progress(before + done, (read, all), "records");
        });
        read += Checked::size(file);
    }
    contents.conclude(path, &checked, &about, &mut problems);
    Ok(Report {
        path: path.to_owned(),
        files: checked.files.len(),
        records: contents.records,
        notes: contents.notes,
        problems,
    })
}

/// The problems found by digests and journal.
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
            "it has neither a SHA-256 nor page checksums: an earlier version wrote it",
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
                    "the run was not finished; --resume continues it",
                ));
            }
        }
        None if path.is_dir() => {
            let why = format!("there is no {JOURNAL}, so a part may be missing");
            problems.push(Problem::unchecked(Check::Journal, path, why));
        }
        None => {}
    }
    problems
}

/// The metadata of the whole: those of the run if it has ended, else those of its last part.
fn metadata(path: &Path, checked: &Checked, problems: &mut Vec<Problem>) -> Metadata {
    let run = path.join(sink::RUN);
    let stated = sink::metadata_of(path);
    let is_whole = |file: &Path| checked.spoiled.iter().all(|spoiled| spoiled.path != file);
    let read = match () {
        () if run.is_file() && is_whole(&run) => sink::read_json(&run),
        () if path.is_file() && sink::is_lines(path) && stated.is_file() && is_whole(&stated) => {
            sink::read_json(&stated)
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

/// Reads a file of records; `progress` is called with its records so far.
fn read_file(
    contents: &mut Contents,
    file: &Path,
    (about, problems): (&About, &mut Vec<Problem>),
    progress: &mut dyn FnMut(u64),
) {
    let read = match sink::is_lines(file) {
        true => lines::read(contents, file, about, problems, progress),
        false => contents.parquet(file, about, problems, progress),
    };
    if let Err(error) = read {
        contents.give_up(file, &error, problems);
    }
}
