//! Arrow: the columns as they are in memory, for programs that map the file. A file has the format with an index at its
//! end (also known as Feather 2), standard output that of a stream. Nothing is compressed.
//!
//! The metadata stand in the schema, before the records.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Stdout, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::writer::{FileWriter, StreamWriter};
use arrow_schema::{ArrowError, Schema};

use super::seal::{Digested, Digesting};
use super::temporary::Temporary;
use super::{METADATA_PREFIX, Metadata, Sink, Written, write_error};
use crate::error::{Error, Result};

/// Writes Arrow to a file or to standard output.
pub struct ArrowSink {
    writer: Writer,
    schema: Arc<Schema>,
    rows: u64,
}

/// The destination.
enum Writer {
    File(Box<FileWriter<Digesting<BufWriter<File>>>>, Temporary),
    Stdout(Box<StreamWriter<Stdout>>),
}

impl fmt::Debug for ArrowSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ArrowSink").field("to", &self.path()).field("rows", &self.rows).finish()
    }
}

impl ArrowSink {
    /// Starts the file that will be `path`, or a stream on standard output if it is `-`.
    ///
    /// # Errors
    /// As [`open`](super::open).
    pub fn create(path: &Path, schema: &Schema, metadata: &Metadata) -> Result<Self> {
        let metadata = metadata.iter();
        let metadata: HashMap<String, String> = metadata
            .map(|(key, value)| (format!("{METADATA_PREFIX}{key}"), value.clone()))
            .collect();
        let schema = schema.clone().with_metadata(metadata);
        let writer = match path.as_os_str() == "-" {
            true => Writer::Stdout(Box::new(
                StreamWriter::try_new(io::stdout(), &schema).map_err(|why| failed(path, why))?,
            )),
            false => {
                let file = Temporary::create(path)?;
                let writer = Digesting::new(BufWriter::new(file.writer()?));
                let writer = FileWriter::try_new(writer, &schema);
                Writer::File(Box::new(writer.map_err(|why| failed(path, why))?), file)
            }
        };
        Ok(Self { writer, schema: Arc::new(schema), rows: 0 })
    }

    fn path(&self) -> PathBuf {
        match &self.writer {
            Writer::File(_, file) => file.path().to_owned(),
            Writer::Stdout(_) => PathBuf::from("-"),
        }
    }
}

impl Sink for ArrowSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let batch = RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec());
        let written = batch.and_then(|batch| match &mut self.writer {
            Writer::File(writer, _) => writer.write(&batch).map(|()| batch.num_rows()),
            Writer::Stdout(writer) => writer.write(&batch).map(|()| batch.num_rows()),
        });
        self.rows += written.map_err(|why| failed(&self.path(), why))? as u64;
        Ok(())
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(self: Box<Self>, _: &[(String, String)]) -> Result<Written> {
        let (path, rows) = (self.path(), self.rows);
        let failed = |why| failed(&path, why);
        match self.writer {
            Writer::File(writer, file) => {
                let mut writer = *writer;
                writer.finish().map_err(failed)?;
                let digesting = writer.into_inner().map_err(failed)?;
                let finished = digesting.finish().map_err(|why| write_error(&path, why))?;
                let Digested { bytes, sha256 } = finished;
                Ok(Written { path: file.keep()?, bytes, sha256, rows, parts: None })
            }
            Writer::Stdout(mut writer) => {
                writer.finish().map_err(failed)?;
                writer.get_mut().flush().map_err(|why| write_error(&path, why))?;
                Ok(Written { path, bytes: 0, sha256: String::new(), rows, parts: None })
            }
        }
    }
}

/// Uses the operating system's error text, if the operating system caused the error.
fn failed(path: &Path, error: ArrowError) -> Error {
    match error {
        ArrowError::IoError(_, source) => write_error(path, source),
        other => Error::failed(format!("write {}", path.display()), other),
    }
}
