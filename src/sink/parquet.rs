//! Parquet: the form that analysts get.

use std::fmt;
use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::temporary::Temporary;
use super::{Counted, METADATA_PREFIX, Sink, Written, write_error};
use crate::error::{Error, Result};

/// Rows of a row group, at most.
const GROUP_ROWS: usize = 64 * 1024;
/// Bytes that a row group may take in memory before it is written out. The writer keeps one
/// group, so this bounds the memory of a run of any length.
const GROUP_BYTES: usize = 64 * 1024 * 1024;
/// Better than half of what higher levels save, at a fraction of their time.
const ZSTD_LEVEL: i32 = 1;

/// Writes one Parquet file.
pub struct ParquetSink {
    writer: ArrowWriter<Counted<File>>,
    // After the writer: the file is removed when nothing writes to it any more.
    file: Temporary,
    rows: u64,
}

impl fmt::Debug for ParquetSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParquetSink").field("file", &self.file).field("rows", &self.rows).finish()
    }
}

impl ParquetSink {
    /// Starts the file that will be `path`.
    pub fn create(path: &Path, schema: SchemaRef) -> Result<Self> {
        Self::into_file(Temporary::create(path)?, schema)
    }

    pub(super) fn into_file(file: Temporary, schema: SchemaRef) -> Result<Self> {
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|error| failed(file.path(), error))?;
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("pathspider ", env!("CARGO_PKG_VERSION")).into())
            .set_compression(Compression::ZSTD(level))
            .set_dictionary_enabled(true)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(GROUP_ROWS));
        let converted = ArrowSchemaConverter::new().convert(&schema);
        let columns = converted.map_err(|error| failed(file.path(), error))?;
        for column in columns.columns() {
            if matches!(column.physical_type(), Type::INT32 | Type::INT64) {
                let path = column.path();
                properties = properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
            }
        }
        let properties = Some(properties.build());
        let writer = ArrowWriter::try_new(Counted::new(file.writer()?), schema, properties)
            .map_err(|error| failed(file.path(), error))?;
        Ok(Self { writer, file, rows: 0 })
    }
}

impl Sink for ParquetSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.writer.write(batch).map_err(|error| failed(self.file.path(), error))?;
        if self.writer.memory_size() > GROUP_BYTES {
            self.writer.flush().map_err(|error| failed(self.file.path(), error))?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>, metadata: &[(String, String)]) -> Result<Written> {
        let Self { mut writer, file, rows } = *self;
        for (key, value) in metadata {
            writer.append_key_value_metadata(KeyValue::new(
                format!("{METADATA_PREFIX}{key}"),
                value.clone(),
            ));
        }
        let counted = writer.into_inner().map_err(|error| failed(file.path(), error))?;
        let bytes = counted.bytes;
        Ok(Written { path: file.keep()?, bytes, rows })
    }
}

/// Says in the operating system's words what it said, if it was the one who refused.
fn failed(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => write_error(path, *source),
            Err(other) => Error::failed(format!("write {}", path.display()), other),
        },
        other => Error::failed(format!("write {}", path.display()), other),
    }
}
