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
use parquet::file::metadata::{KeyValue, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;

use super::names::{LOOKED_UP, SORTED_BY};
use super::pages::Stores;
use super::row_group::RowGroup;
use super::seal::{self, Digested, Digesting};
use super::sorted::{Unsorted, can_sort};
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
/// How often the Bloom filter of a row group has a value that the row group does not have.
const FALSE_POSITIVES: f64 = 0.01;

/// Writes one Parquet file.
pub struct ParquetSink {
    writer: SerializedFileWriter<Digesting<File>>,
    columns: ArrowRowGroupWriterFactory,
    /// Where the columns of the current row group put their pages.
    stores: Arc<Stores>,
    group: Option<RowGroup>,
    /// Rows of the next row group, until it can be sorted.
    unsorted: Option<Unsorted>,
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

    /// Starts the file that will be `path`, with the rows of each row group sorted by position.
    pub(super) fn create_sorted(path: &Path, schema: SchemaRef) -> Result<Self> {
        Self::sorted(Temporary::create(path)?, schema)
    }

    /// Writes into this file, with the rows of each row group sorted by position if records have one.
    pub(super) fn sorted(file: Temporary, schema: SchemaRef) -> Result<Self> {
        let can_sort = can_sort(&schema);
        Self::new(file, schema, can_sort)
    }

    pub(super) fn into_file(file: Temporary, schema: SchemaRef) -> Result<Self> {
        Self::new(file, schema, false)
    }

    fn new(file: Temporary, schema: SchemaRef, sorted: bool) -> Result<Self> {
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(|error| failed(file.path(), error))?;
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("pathspider ", env!("CARGO_PKG_VERSION")).into())
            .set_compression(Compression::ZSTD(level))
            .set_dictionary_enabled(true)
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_bloom_filter_for_dictionary_encoded_chunks(true);
        let converted = ArrowSchemaConverter::new().convert(&schema);
        let columns = converted.map_err(|error| failed(file.path(), error))?;
        // Counters and measured values are too diverse for a dictionary, but have small differences.
        for (column, index) in columns.columns().iter().zip(0..) {
            if sorted && column.path().string() == SORTED_BY {
                let by = SortingColumn { column_idx: index, descending: false, nulls_first: false };
                properties = properties.set_sorting_columns(Some(vec![by]));
            }
            if LOOKED_UP.contains(&column.path().string().as_str()) {
                // Folded to the size that the values of a row group need.
                properties = properties
                    .set_column_bloom_filter_enabled(column.path().clone(), true)
                    .set_column_bloom_filter_max_ndv(column.path().clone(), GROUP_ROWS as u64)
                    .set_column_bloom_filter_fpp(column.path().clone(), FALSE_POSITIVES);
            }
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
        let unsorted = sorted.then(Unsorted::default);
        Ok(Self { writer, columns, stores, group: None, unsorted, file, rows: 0 })
    }

    /// Takes rows, and writes them out when a row group is full.
    fn take(&mut self, batch: &RecordBatch) -> Result<(), ParquetError> {
        let Some(mut unsorted) = self.unsorted.take() else { return self.add(batch) };
        let mut from = 0;
        while from < batch.num_rows() {
            let rows = (batch.num_rows() - from).min(GROUP_ROWS - unsorted.rows);
            unsorted.push(&batch.slice(from, rows))?;
            from += rows;
            if unsorted.rows == GROUP_ROWS || unsorted.bytes > GROUP_BYTES {
                self.add_group(unsorted.take()?)?;
            }
        }
        self.unsorted = Some(unsorted);
        Ok(())
    }

    /// Writes sorted rows as a row group.
    fn add_group(&mut self, sorted: Option<RecordBatch>) -> Result<(), ParquetError> {
        match sorted {
            Some(batch) => {
                self.add(&batch)?;
                end_group(&mut self.group, &mut self.writer)
            }
            None => Ok(()),
        }
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
        self.take(batch).map_err(|error| failed(self.file.path(), error))?;
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn finish(self: Box<Self>, metadata: &[(String, String)]) -> Result<Written> {
        let mut this = *self;
        if let Some(mut unsorted) = this.unsorted.take() {
            let last = unsorted.take().map_err(ParquetError::from);
            let last = last.and_then(|sorted| this.add_group(sorted));
            last.map_err(|error| failed(this.file.path(), error))?;
        }
        let Self { mut writer, mut group, file, rows, .. } = this;
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
