//! Parquet: the format for analysis.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::arrow_writer::ArrowRowGroupWriterFactory;
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::pages::Stores;
use super::row_group::RowGroup;
use super::seal::{self, Digested, Digesting};
use super::temporary::Temporary;
use super::{METADATA_PREFIX, Sink, Written, write_error};
use crate::error::{Error, Result};

/// Maximum rows of a row group.
const GROUP_ROWS: usize = 64 * 1024;
/// Maximum memory of a row group before it is written out. The writer keeps one group, so this bounds the memory of a
/// run of any length.
const GROUP_BYTES: usize = 64 * 1024 * 1024;
/// More than half of what higher levels save, in a fraction of their time.
const ZSTD_LEVEL: i32 = 1;

/// Writes one Parquet file.
pub struct ParquetSink {
    writer: SerializedFileWriter<Digesting<File>>,
    columns: ArrowRowGroupWriterFactory,
    /// Where the columns of the current row group put their pages.
    stores: Arc<Stores>,
    group: Option<RowGroup>,
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
        // Counters and measured values are too diverse for a dictionary, but have small differences.
        for column in columns.columns() {
            if matches!(column.physical_type(), Type::INT32 | Type::INT64) {
                let path = column.path();
                properties = properties
                    .set_column_dictionary_enabled(path.clone(), false)
                    .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED);
            }
        }
        let properties = Some(properties.build());
        let writer = ArrowWriter::try_new(Digesting::new(file.writer()?), schema, properties)
            .map_err(|error| failed(file.path(), error))?;
        let (writer, columns) =
            writer.into_serialized_writer().map_err(|error| failed(file.path(), error))?;
        let stores = Arc::<Stores>::default();
        let columns = columns.with_page_store_factory(stores.clone());
        Ok(Self { writer, columns, stores, group: None, file, rows: 0 })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let mut from = 0;
        while from < batch.num_rows() {
            let mut group = match self.group.take() {
                Some(group) => group,
                None => {
                    let place = self.writer.flushed_row_groups().len();
                    let columns = self.columns.create_column_writers(place)?;
                    RowGroup::new(columns, self.stores.take())
                }
            };
            let rows = (batch.num_rows() - from).min(GROUP_ROWS - group.rows());
            group.write(&batch.slice(from, rows))?;
            from += rows;
            let full = group.rows() == GROUP_ROWS || group.memory_size() > GROUP_BYTES;
            self.group = Some(group);
            if full {
                end_group(&mut self.group, &mut self.writer)?;
            }
        }
        Ok(())
    }
}

impl Sink for ParquetSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.add(batch).map_err(|error| failed(self.file.path(), error))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(self: Box<Self>, metadata: &[(String, String)]) -> Result<Written> {
        let Self { mut writer, mut group, file, rows, .. } = *self;
        end_group(&mut group, &mut writer).map_err(|error| failed(file.path(), error))?;
        let seal = seal::entries();
        let seal = seal.iter().map(|(key, value)| (*key, value));
        for (key, value) in metadata.iter().map(|(key, value)| (key.as_str(), value)).chain(seal) {
            writer.append_key_value_metadata(KeyValue::new(
                format!("{METADATA_PREFIX}{key}"),
                value.clone(),
            ));
        }
        writer.inner_mut().hold();
        let digesting = writer.into_inner().map_err(|error| failed(file.path(), error))?;
        let sealed = digesting.seal().map_err(|error| write_error(file.path(), error))?;
        let Digested { bytes, sha256 } = sealed;
        Ok(Written { path: file.keep()?, bytes, sha256, rows, parts: None })
    }
}

/// Writes the row group, if there is one.
fn end_group(
    group: &mut Option<RowGroup>,
    writer: &mut SerializedFileWriter<Digesting<File>>,
) -> Result<(), ParquetError> {
    let Some(group) = group.take() else { return Ok(()) };
    let mut place = writer.next_row_group()?;
    for column in group.close()? {
        column.append(&mut place)?;
    }
    place.close().map(drop)
}

/// Uses the operating system's error text, if the operating system caused the error.
fn failed(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => write_error(path, *source),
            Err(other) => Error::failed(format!("write {}", path.display()), other),
        },
        other => Error::failed(format!("write {}", path.display()), other),
    }
}
