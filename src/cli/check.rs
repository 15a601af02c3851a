//! `pathspider check`: every mistake of every file, and nothing else.

use std::io;
use std::path::{Path, PathBuf};

use arrow::datatypes::Fields;

use super::targets::columns::FixedColumns;
use super::{Format, out};
use crate::error::{Doing as _, Error, Exit, Report, Result};
use crate::measurement::{self, Plan};
use crate::targets::Reader;
use crate::words::counted;

/// Check measurement files: every mistake with its place and its remedy
///
/// Runs nothing, changes nothing and opens no socket. Exits with 0 if all files are right, with 2 if
/// any is not.
///
/// With --format json each mistake is a JSON object on a line of its own: file, code, line, column,
/// end_line, end_column, message, label, help. Lines and columns count from 1, columns in
/// characters; the end is the first character behind. `pathspider explain CODE` says more of a
/// code.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, folders (every .toml in and below them), or names such as `ecn`
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,

    /// A target list whose columns the conditions may use, as target.rank
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,

    #[command(flatten)]
    columns: FixedColumns,

    /// How mistakes are written
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<Exit> {
    let columns = target_columns(args.targets.as_deref(), &args.columns)?;
    let mut exit = Exit::Done;
    let mut named = Vec::new();
    for file in &args.files {
        match files(file) {
            Ok(files) => named.extend(files),
            Err(error) => {
                super::report(&error);
                exit = exit.max(error.exit());
            }
        }
    }
    // A file is checked once, however often it is named.
    let mut seen = std::collections::HashSet::new();
    named.retain(|name| seen.insert(name.clone()));
    for name in &named {
        let outcome = measurement::find(name).and_then(|(origin, text)| {
            let checked = Plan::load(&origin, &text, &columns);
            out::print(&told(&origin, checked.as_ref(), args.format))?;
            Ok(if checked.is_ok() { Exit::Done } else { Exit::BadInput })
        });
        exit = exit.max(outcome.unwrap_or_else(|error| {
            super::report(&error);
            error.exit()
        }));
    }
    Ok(exit)
}

/// The columns of a target list; without one, those that every list has.
pub fn target_columns(list: Option<&Path>, fixed: &FixedColumns) -> Result<Fields> {
    let reader = match list {
        // A list whose ports are given later has its columns all the same.
        Some(list) => Reader::open(list, fixed.options(Some(1)))?,
        None => Reader::from_targets(Vec::new()),
    };
    Ok(reader.fields())
}

/// What is said of one file.
fn told(origin: &str, checked: Result<&Plan, &Report>, format: Format) -> String {
    match (checked, format) {
        (Ok(_), Format::Json) => String::new(),
        (Ok(plan), Format::Text) => format!("{origin}: ok: {}\n", plan.title),
        (Err(report), Format::Json) => report.json_lines(),
        (Err(report), Format::Text) => {
            let count = report.diagnostics.len();
            let rendered = report.render(out::colors(&io::stdout()));
            format!("{rendered}\n{origin}: {}\n", counted(count as u64, "mistake[s]"))
        }
    }
}

/// The measurements that a word on the command line means: itself, or what is in the folder.
fn files(word: &str) -> Result<Vec<String>> {
    let path = Path::new(word);
    if !path.is_dir() {
        return Ok(vec![word.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        let reading = || format!("read the folder {}", folder.display());
        for entry in std::fs::read_dir(&folder).doing(reading)? {
            let entry = entry.doing(reading)?;
            let path = entry.path();
            // Links to folders are not followed: they may lead round in circles.
            if entry.file_type().doing(reading)?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "toml")
                && path.is_file()
            {
                found.push(path.display().to_string());
            }
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(Error::Usage(format!("there is no .toml file in the folder {word}"))),
        false => Ok(found),
    }
}
