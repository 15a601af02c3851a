//! Where records go: Parquet, NDJSON in a file, NDJSON on standard output, and the NDJSON of upstream.
//!
//! The name of the output says which ([`open`]). A file grows under a temporary name in the
//! folder where it will stand and gets its own name when it is whole and on disk
//! (`temporary`), so nobody ever reads half a result, and an older result is replaced only by
//! a finished one. A sink that is dropped without [`Sink::finish`] leaves nothing behind.
//!
//! A run's Parquet grows in parts (`parts`), from which it can be resumed after anything.
//!
//! Every Parquet file has a checksum per page (`pages`) and its own digest (`seal`), the digests of parts are in their journal, and
//! [`check`] holds a result to them.
//!
//! Imports [`error`](crate::error), [`files`](crate::files), [`printable`](crate::printable) and
//! [`words`](crate::words) only; what a record consists of is decided elsewhere.

mod checked;
mod journal;
mod ndjson;
mod pages;
mod parquet;
mod parts;
mod row_group;
mod seal;
mod stored;
mod temporary;
mod upstream;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::{Error, Result};
use crate::files;

pub use checked::{Checked, Damage, Journaled, Spoiled, check};
pub use journal::{NAME as JOURNAL, RUN_ID};
pub use parts::{Folder, PartsSink, RUN, SingleSink, beside, can_be, can_hold, discard};
pub use stored::{Stored, is_lines, parquet_files, read_json};
pub use temporary::Temporary;
pub use upstream::{Known, check as check_upstream, open as open_upstream};

/// What stands before every key of the metadata that a sink stores.
pub const METADATA_PREFIX: &str = "pathspider.";
/// The metadata key of the size of NDJSON, in the file beside it.
const RECORDS_BYTES: &str = "records_bytes";
/// The metadata key of the SHA-256 of NDJSON, in the file beside it.
const RECORDS_SHA256: &str = "records_sha256";

/// What is said of records as a whole: keys without [`METADATA_PREFIX`], and values.
pub type Metadata = Vec<(String, String)>;

/// Takes records, a batch at a time.
pub trait Sink: Send + fmt::Debug {
    /// Adds the rows of `batch`, which has the schema that the sink was opened with.
    ///
    /// # Errors
    /// Names the file, for instance when the disk is full. After an error the sink can only be
    /// dropped.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Brings to disk what was written so far, if this sink can do so before its end and it is time: `elapsed`
    /// since the run began. `known` gives the metadata as far as it is known.
    ///
    /// # Errors
    /// Names the file.
    fn checkpoint(&mut self, _elapsed: Duration, _known: &dyn Fn() -> Metadata) -> Result<()> {
        Ok(())
    }

    /// Rows that were written; those of a part that failed are not among them.
    fn rows(&self) -> u64;

    /// Stores `metadata` (keys without [`METADATA_PREFIX`], which is put before them), brings
    /// everything to disk and gives the file its name.
    ///
    /// # Errors
    /// Names the file; then there is no output, and one that stood there before stands still.
    fn finish(self: Box<Self>, metadata: &[(String, String)]) -> Result<Written>;
}

/// What a finished sink has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file, `-` for standard output.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal; empty for a folder of parts, of which each has its own.
    pub sha256: String,
    /// Rows in it.
    pub rows: u64,
    /// The folder of its parts, from which the run can be resumed.
    pub parts: Option<PathBuf>,
}

/// Opens the sink that `path` names: `*.parquet`, `*.ndjson` or `*.jsonl`, or `-` for NDJSON on
/// standard output.
///
/// NDJSON has no place for metadata: it goes to a file beside it, `NAME.meta.json`. With
/// standard output there is no file beside it and the metadata is not written.
///
/// # Errors
/// [`Error::Usage`] for any other name and for a folder that is not there or cannot be
/// written: better told now than after a run of days.
pub fn open(path: &Path, schema: SchemaRef) -> Result<Box<dyn Sink>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(ndjson::NdjsonSink::stdout()));
    }
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("parquet") => Ok(Box::new(parquet::ParquetSink::create(path, schema)?)),
        Some("ndjson" | "jsonl") => Ok(Box::new(ndjson::NdjsonSink::create(path)?)),
        _ => Err(Error::Usage(format!(
            "write {}: do not know this kind of file; the name must end in .parquet, .ndjson or \
             .jsonl, or in / for a folder of Parquet files, or be - for NDJSON on standard output",
            path.display()
        ))),
    }
}

/// The file that has the metadata of NDJSON.
pub fn metadata_beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".meta.json");
    beside.into()
}

/// A name that no file of a folder has, for one that is spoiled.
fn aside(place: &files::Folder, name: &OsStr) -> Result<OsString> {
    let mut number = 1;
    loop {
        let mut aside = name.to_owned();
        aside.push(".spoiled");
        if number > 1 {
            aside.push(format!("-{number}"));
        }
        if !place.names()?.contains(&aside) {
            return Ok(aside);
        }
        number += 1;
    }
}

/// The error of a write to `path`.
fn write_error(path: &Path, source: io::Error) -> Error {
    Error::Os { operation: format!("write {}", path.display()), source }
}

#[cfg(test)]
mod tests;
