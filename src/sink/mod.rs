//! Result files: Parquet, NDJSON in a file or on standard output, and the NDJSON of upstream; CSV and Arrow for flat
//! records.
//!
//! The name of the output selects the format ([`open`]). A file grows under a temporary name in its folder and is
//! renamed when it is complete and on disk (`temporary`), so no reader sees a partial result, and only a finished
//! result replaces an older one. A sink that is dropped without [`Sink::finish`] leaves nothing.
//!
//! A run's Parquet grows in parts (`parts`), from which an interrupted run is resumed.
//!
//! Every Parquet file has a checksum per page (`pages`) and its own digest (`seal`). The digests of parts are in
//! their journal, and [`check`] compares a result with them.
//!
//! Imports [`error`](crate::error), [`files`], [`printable`](crate::printable) and
//! [`words`](crate::words) only; the columns of a record are defined elsewhere.

mod checked;
mod compact;
mod csv;
pub mod decode;
mod encode;
mod folder;
mod head;
mod ipc;
mod journal;
mod names;
mod ndjson;
mod pages;
mod parquet;
mod parts;
mod plain;
mod row_group;
mod seal;
mod sorted;
mod stored;
mod temporary;
mod upstream;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::files;

pub use checked::{Checked, Damage, Journaled, Spoiled, check};
pub use csv::CsvSink;
pub use folder::{Folder, can_hold, discard, parts_of};
pub use ipc::ArrowSink;
pub use journal::{NAME as JOURNAL, RUN_ID};
pub use names::{RECORDS, RUN, records_of};
pub use parts::{PartsSink, SingleSink, can_be};
pub use plain::plain;
pub use stored::{Leaf, Stored, is_lines, parquet_files, read_json};
pub use temporary::Temporary;
pub use upstream::{Known, check as check_upstream, open as open_upstream};

/// The prefix of every metadata key that a sink stores.
pub const METADATA_PREFIX: &str = "pathspider.";
/// The metadata key for the size of NDJSON, in its metadata file.
const RECORDS_BYTES: &str = "records_bytes";
/// The metadata key for the SHA-256 of NDJSON, in its metadata file.
const RECORDS_SHA256: &str = "records_sha256";

/// Metadata of a result: keys without [`METADATA_PREFIX`], and values.
pub type Metadata = Vec<(String, String)>;

/// Writes records in batches.
pub trait Sink: Send + fmt::Debug {
    /// Writes the rows of `batch`, which has the schema that the sink was opened with.
    ///
    /// # Errors
    /// Names the file, for example when the disk is full. After an error the sink can only be dropped.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Syncs the records to disk, if this sink can do that before its end and it is time: `elapsed` is the time since
    /// the run began. `known` returns the metadata so far.
    ///
    /// # Errors
    /// Names the file.
    fn checkpoint(&mut self, _elapsed: Duration, _known: &dyn Fn() -> Metadata) -> Result<()> {
        Ok(())
    }

    /// Rows written, without those of a part that failed.
    fn rows(&self) -> u64;

    /// Stores `metadata` (with [`METADATA_PREFIX`] before each key), syncs everything to disk and renames the file.
    ///
    /// # Errors
    /// Names the file; then there is no output, and an older one at its place is unchanged.
    fn finish(self: Box<Self>, metadata: &[(String, String)]) -> Result<Written>;
}

/// What a finished sink has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file, `-` for standard output.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal; empty for a folder of parts, each of which has its own.
    pub sha256: String,
    /// Rows in it.
    pub rows: u64,
    /// The folder of its parts, from which the run can be resumed.
    pub parts: Option<PathBuf>,
}

/// Opens the sink for `path`: `*.parquet`, `*.ndjson` or `*.jsonl`, or `-` for NDJSON on standard output.
///
/// NDJSON has no place for metadata: it goes to a separate file, `NAME.meta.json`. On standard output the metadata is
/// not written.
///
/// # Errors
/// [`Error::Usage`] for any other name and for a folder that does not exist or is not writable: fail now rather than
/// after a run of days.
pub fn open(path: &Path, schema: SchemaRef) -> Result<Box<dyn Sink>> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(ndjson::NdjsonSink::stdout()));
    }
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("parquet") => Ok(Box::new(parquet::ParquetSink::create(path, schema)?)),
        Some("ndjson" | "jsonl") => Ok(Box::new(ndjson::NdjsonSink::create(path)?)),
        _ => Err(Error::Usage(format!(
            "write {}: unknown kind of file; the name must end in .parquet, .ndjson or \
             .jsonl, or in / for a folder of Parquet files, or be - for NDJSON on standard output",
            path.display()
        ))),
    }
}

/// As [`open`], for a whole run: rows are sorted by position within each row group of Parquet.
///
/// # Errors
/// As [`open`].
pub fn open_sorted(path: &Path, schema: SchemaRef) -> Result<Box<dyn Sink>> {
    match path.extension().is_some_and(|end| end.eq_ignore_ascii_case("parquet")) {
        true => Ok(Box::new(parquet::ParquetSink::create_sorted(path, schema)?)),
        false => open(path, schema),
    }
}

/// The records of a batch as objects, with the same values as in NDJSON.
///
/// # Errors
/// Why a column has no form in JSON.
pub fn objects(batch: &RecordBatch) -> std::result::Result<Vec<Map<String, Value>>, String> {
    let mut text = Vec::new();
    encode::lines(batch, &mut text).map_err(|error| error.to_string())?;
    let lines = serde_json::Deserializer::from_slice(&text).into_iter();
    lines.collect::<std::result::Result<_, _>>().map_err(|error| error.to_string())
}

/// The metadata file of NDJSON.
pub fn metadata_of(path: &Path) -> PathBuf {
    let mut metadata = path.as_os_str().to_owned();
    metadata.push(".meta.json");
    metadata.into()
}

/// An unused name in a folder for a spoiled file.
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
