//! NDJSON: one JSON object per line, for people and for pipes.
//!
//! Nulls are written, so every line has every column, and the first lines of a file have a value of each column that has
//! any (`head`), so that tools infer its type; times are ISO 8601 in UTC with nanoseconds
//! (`2026-03-01T12:00:00.000000123Z`).

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::ArrowError;

use super::encode;
use super::head::Head;
use super::seal::{self, Digested, Digesting};
use super::temporary::Temporary;
use super::{METADATA_PREFIX, RECORDS_BYTES, RECORDS_SHA256, Sink, Written, write_error};
use crate::error::{Error, Result};
use crate::printable::Printable;

/// Writes NDJSON to a file or to standard output.
pub struct NdjsonSink {
    writer: Digesting<BufWriter<Box<dyn Write + Send>>>,
    target: Target,
    /// The lines to put first; for a file only.
    head: Head,
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
        let writer = Digesting::new(BufWriter::new(to));
        Self { writer, target, head: Head::default(), rows: 0 }
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
        let path = self.path();
        encode::lines(batch, &mut self.writer).map_err(|why| failed(&path, why))?;
        if matches!(self.target, Target::File { .. }) {
            self.head.note(batch).map_err(|why| failed(&path, why))?;
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

fn failed(path: &Path, why: ArrowError) -> Error {
    match why {
        ArrowError::IoError(_, source) => write_error(path, source),
        other => Error::failed(format!("write {}", path.display()), other),
    }
}

/// The same lines in another file, with these first.
fn reordered(
    records: &Temporary,
    first: &BTreeMap<u64, RecordBatch>,
) -> Result<(Temporary, Digested)> {
    let (other, path) = (records.again()?, records.path());
    let mut writer = Digesting::new(BufWriter::new(other.writer()?));
    for line in first.values() {
        encode::lines(line, &mut writer).map_err(|why| failed(path, why))?;
    }
    let mut file = records.writer()?;
    let copied = move || -> io::Result<Digested> {
        file.seek(SeekFrom::Start(0))?;
        let (mut reader, mut line) = (BufReader::new(file), Vec::new());
        for number in 0.. {
            line.clear();
            if reader.read_until(b'\n', &mut line)? == 0 {
                break;
            }
            if !first.contains_key(&number) {
                writer.write_all(&line)?;
            }
        }
        writer.finish()
    };
    let digested = copied().map_err(|why| write_error(path, why))?;
    Ok((other, digested))
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
        let Digested { mut bytes, mut sha256 } = finished;
        if let Target::File { mut records, metadata: file } = self.target {
            if let Some(first) = self.head.to_move() {
                let (other, digested) = reordered(&records, first)?;
                (*records, bytes, sha256) = (other, digested.bytes, digested.sha256);
            }
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
