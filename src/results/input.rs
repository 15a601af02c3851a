//! The results of one run, as an input of what is done with finished results.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::{Schema, SchemaRef};

use crate::barrier::panic_point;
use crate::error::{Error, ErrorKind, Result};
use crate::run::dictionary::plain;
use crate::sink::{self, Stored};

/// Metadata that must be equal in all results, with a description of each.
const SAME: [(&str, &str); 7] = [
    ("measurement_sha256", "measurement"),
    ("params", "values of params"),
    ("connect", "kind of connection (--connect)"),
    ("confirm_rounds", "confirmation rounds (--confirm)"),
    ("control_share", "share of controls (--control)"),
    ("targets_sha256", "target list"),
    ("port", "default port (--port)"),
];

/// The remedy for a spoiled result.
const REMEDY: &str = "`run --resume` with the command of the run puts what is spoiled aside and measures its targets again; \
                      --allow-incomplete leaves it out";

/// The results of one run.
pub struct Input {
    /// Their path.
    pub path: PathBuf,
    /// The files of records.
    files: Vec<PathBuf>,
    /// The columns of the records, with what the file says of them.
    pub described: SchemaRef,
    /// The columns of the records.
    pub schema: SchemaRef,
    /// How many files of it are spoiled and left out.
    pub spoiled: usize,
    /// The metadata, without the prefix of keys.
    pub metadata: BTreeMap<String, String>,
}

impl Input {
    /// Opens a result for an operation. Spoiled files are an error, or left out if `incomplete` is allowed.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no such result, or if it is spoiled.
    pub fn open(path: &Path, operation: &str, incomplete: bool) -> Result<Self> {
        let checked = sink::check(path, &mut |_| ())?;
        if incomplete && !checked.files.is_empty() {
            checked.note();
            checked.spoiled.iter().for_each(|file| log::warn!("{file}; it is left out"));
        } else {
            checked.require(operation, REMEDY)?;
        }
        let run = path.join(sink::RUN);
        let run_is_whole = checked.spoiled.iter().all(|file| file.path != run);
        let spoiled = checked.spoiled.len();
        let files = checked.files;
        let Some(last) = files.last() else {
            return Err(Error::Usage(format!(
                "{operation} {}: there are no Parquet files",
                path.display()
            )));
        };
        let stored = Stored::open(last)?;
        // The schema must not carry the metadata of the file.
        let described = match files.first() {
            Some(first) if first != last => Stored::open(first)?.schema().fields().clone(),
            _ => stored.schema().fields().clone(),
        };
        let described = SchemaRef::new(Schema::new(described));
        let schema = plain(stored.schema());
        let metadata = match run.is_file() && run_is_whole {
            true => sink::read_json(&run)?,
            // A file, or the folder of an unfinished run.
            false => stored.metadata(),
        };
        let metadata = metadata.into_iter().collect();
        Ok(Self { path: path.to_owned(), files, described, schema, spoiled, metadata })
    }

    /// A value of the metadata.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// A numeric value of the metadata.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }

    /// The values of the measurement's params.
    pub fn params(&self) -> Vec<(String, String)> {
        let values: Option<BTreeMap<String, String>> =
            self.value("params").and_then(|text| serde_json::from_str(text).ok());
        values.unwrap_or_default().into_iter().collect()
    }

    /// Whether its run was completed.
    pub fn is_complete(&self) -> bool {
        self.value("complete") == Some("true")
    }

    /// Fails if another result does not belong to the same run or sharded run.
    pub fn fits(&self, other: &Input) -> Result<()> {
        let refuse = |what: &str, here: &str, there: &str| {
            let (a, b) = (self.path.display(), other.path.display());
            Err(Error::refused(
                ErrorKind::OtherRun,
                format!(
                    "merge: {a} and {b} do not belong together: they differ in their {what} ({here}, {there})"
                ),
            ))
        };
        for (key, what) in SAME {
            let (here, there) = (self.value(key), other.value(key));
            if here != there {
                return refuse(what, here.unwrap_or("not stated"), there.unwrap_or("not stated"));
            }
        }
        if self.schema != other.schema {
            let columns =
                |input: &Input| format!("version {}", input.value("version").unwrap_or("?"));
            return refuse("columns", &columns(self), &columns(other));
        }
        Ok(())
    }

    /// The number of its records, by the footers of its files.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn records(&self) -> Result<u64> {
        self.files.iter().map(|file| Ok(Stored::open(file)?.rows())).sum()
    }

    /// The files of its records.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Reads these columns of its records, all if none is named.
    ///
    /// # Errors
    /// When a file cannot be read, and those of `each`.
    pub fn read(
        &self,
        columns: &[&str],
        mut each: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let mut each = |batch| {
            panic_point("merge");
            each(batch)
        };
        self.files.iter().try_for_each(|file| Stored::open(file)?.read(columns, &mut each))
    }
}

/// The positions of records.
///
/// # Errors
/// If they have none.
pub fn positions(batch: &RecordBatch, input: &Input) -> Result<Vec<u64>> {
    crate::run::record::positions(batch).ok_or_else(|| {
        Error::Usage(format!("merge {}: its records have no positions", input.path.display()))
    })
}
