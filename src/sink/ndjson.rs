//! NDJSON: one JSON object per line, for people and for pipes.
//!
//! Nulls are written, so every line has every column; times are ISO 8601 in UTC with nanoseconds
//! (`2026-03-01T12:00:00.000000123Z`).

use std::fmt;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::encode;
use super::seal::{self, Digested, Digesting};
use super::temporary::Temporary;
use super::{METADATA_PREFIX, RECORDS_BYTES, RECORDS_SHA256, Sink, Written, write_error};
use crate::error::{Error, Result};
use crate::printable::Printable;

/// Writes NDJSON to a file or to standard output.
pub struct NdjsonSink {
    writer: Digesting<BufWriter<Box<dyn Write + Send>>>,
    target: Target,
    rows: u64,
}

/// The destination of the lines.
#[derive(Debug)]
enum Target {
    File { records: Box<Temporary>, metadata: Box<Temporary> },
    Stdout,
}

impl fmt::Debug for NdjsonSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NdjsonSink").field("to", &self.target).field("rows", &self.rows).finish()
    }
}

impl NdjsonSink {
    /// Lines on standard output, flushed after each batch.
    pub fn stdout() -> Self {
        Self::new(Box::new(Printable::json(io::stdout())), Target::Stdout)
    }

    /// Starts the file that will be `path`, and its metadata file.
    pub fn create(path: &Path) -> Result<Self> {
        let records = Temporary::create(path)?;
        let metadata = records.sibling(".meta.json")?;
        Self::into_files(records, metadata)
    }

    fn new(to: Box<dyn Write + Send>, target: Target) -> Self {
        Self { writer: Digesting::new(BufWriter::new(to)), target, rows: 0 }
    }

    /// Writes finished lines.
    pub(super) fn write_lines(&mut self, lines: &[u8], rows: u64) -> Result<()> {
        self.writer.write_all(lines).map_err(|error| write_error(&self.path(), error))?;
        self.written(rows)
    }

    /// Counts rows and flushes standard output, so that its reader gets them at once.
    fn written(&mut self, rows: u64) -> Result<()> {
        if matches!(self.target, Target::Stdout) {
            self.writer.flush().map_err(|error| write_error(&self.path(), error))?;
        }
        self.rows += rows;
        Ok(())
    }

    pub(super) fn into_files(records: Temporary, metadata: Temporary) -> Result<Self> {
        let writer = Box::new(records.writer()?);
        let (records, metadata) = (Box::new(records), Box::new(metadata));
        Ok(Self::new(writer, Target::File { records, metadata }))
    }

    fn path(&self) -> PathBuf {
        match &self.target {
            Target::File { records, .. } => records.path().to_owned(),
            Target::Stdout => PathBuf::from("-"),
        }
    }
}

impl Sink for NdjsonSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match encode::lines(batch, &mut self.writer) {
            Ok(()) => {}
            Err(ArrowError::IoError(_, source)) => return Err(write_error(&self.path(), source)),
            Err(other) => {
                return Err(Error::failed(format!("write {}", self.path().display()), other));
            }
        }
        self.written(batch.num_rows() as u64)
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(self: Box<Self>, metadata: &[(String, String)]) -> Result<Written> {
        self.finish_with(&[], metadata)
    }
}

impl NdjsonSink {
    /// [`Sink::finish`], with further metadata in front whose keys are not prefixed.
    pub(super) fn finish_with(
        self,
        bare: &[(String, String)],
        metadata: &[(String, String)],
    ) -> Result<Written> {
        let (path, rows) = (self.path(), self.rows);
        let finished = self.writer.finish().map_err(|error| write_error(&path, error))?;
        let Digested { bytes, sha256 } = finished;
        if let Target::File { records, metadata: file } = self.target {
            let own = [(RECORDS_BYTES, bytes.to_string()), (RECORDS_SHA256, sha256.clone())];
            let ours = metadata.iter().map(|(key, value)| (key.as_str(), value.as_str()));
            let ours = ours.chain(own.iter().map(|(key, value)| (*key, value.as_str())));
            let object: serde_json::Map<String, serde_json::Value> = bare
                .iter()
                .map(|(key, value)| (key.clone(), value.as_str()))
                .chain(ours.map(|(key, value)| (format!("{METADATA_PREFIX}{key}"), value)))
                .map(|(key, value)| (key, value.into()))
                .collect();
            file.writer()?
                .write_all(seal::json(object).as_bytes())
                .map_err(|error| write_error(file.path(), error))?;
            // Both are synced first, then both are renamed, the records last: when the records exist, everything
            // does.
            records.sync()?;
            file.keep()?;
            records.keep()?;
        }
        Ok(Written { path, bytes, sha256, rows, parts: None })
    }
}
