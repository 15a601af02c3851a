//! Reads what a sink has written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::{METADATA_PREFIX, Metadata, names, seal};
use crate::error::{Doing as _, Error, Result};
use crate::files;

/// Rows per batch.
const BATCH: usize = 8192;

/// A file of which only the end has been read.
#[derive(Debug)]
pub struct Stored {
    path: PathBuf,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

/// A leaf column of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// The names on the way to it.
    pub path: Vec<String>,
    /// How many values it has, NULL included.
    pub values: u64,
    /// How many of them are NULL, if the file says so.
    pub nulls: Option<u64>,
}

impl Leaf {
    /// Adds the same column of another file.
    pub fn add(&mut self, more: &Self) {
        self.values += more.values;
        self.nulls = self.nulls.zip(more.nulls).map(|(a, b)| a + b);
    }
}

impl Stored {
    /// Opens a Parquet file.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is not Parquet, or incomplete.
    pub fn open(path: &Path) -> Result<Self> {
        let file = files::regular(path).map_err(|why| files::unreadable(path, why))?;
        Self::of(path, file)
    }

    /// From an open Parquet file; `path` is for messages.
    ///
    /// # Errors
    /// As [`Stored::open`].
    pub(super) fn of(path: &Path, file: File) -> Result<Self> {
        let failed = |error: ParquetError| {
            let path = path.display();
            Error::Usage(format!("read {path}: it is not a Parquet file, or incomplete ({error})"))
        };
        let metadata =
            ArrowReaderMetadata::load(&file, ArrowReaderOptions::default()).map_err(failed)?;
        // What other programs state in `ARROW:schema` are their own types, such as large lists and views of texts. Those
        // of Parquet are enough.
        let metadata = match is_ours(metadata.metadata()) {
            true => metadata,
            false => {
                let plain = ArrowReaderOptions::default().with_skip_arrow_metadata(true);
                ArrowReaderMetadata::try_new(metadata.metadata().clone(), plain).map_err(failed)?
            }
        };
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
        Ok(Self { path: path.to_owned(), builder })
    }

    /// Whether this program wrote it; another one knows nothing of our digests.
    pub(super) fn is_ours(&self) -> bool {
        is_ours(self.builder.metadata())
    }

    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        self.builder.schema()
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        u64::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or_default()
    }

    /// The metadata in the file's order, without the prefix and the file's own digest.
    pub fn metadata(&self) -> Metadata {
        let pairs = self.builder.metadata().file_metadata().key_value_metadata();
        let own = pairs.into_iter().flatten().filter_map(|pair| {
            let key = pair.key.strip_prefix(METADATA_PREFIX).filter(|key| !seal::is_own(key))?;
            Some((key.to_owned(), pair.value.clone().unwrap_or_default()))
        });
        own.collect()
    }

    /// Its leaf columns (`zero.ok`), with the number of values and of NULLs by the statistics of its row groups.
    pub fn leaves(&self) -> Vec<Leaf> {
        let groups = self.builder.metadata().row_groups();
        let columns = self.builder.parquet_schema().columns().iter().enumerate();
        let leaves = columns.map(|(at, column)| {
            let mut leaf = Leaf { path: column.path().parts().to_vec(), values: 0, nulls: Some(0) };
            for group in groups {
                let chunk = group.column(at);
                let nulls = chunk.statistics().and_then(|statistics| statistics.null_count_opt());
                leaf.values += u64::try_from(chunk.num_values()).unwrap_or_default();
                leaf.nulls = leaf.nulls.zip(nulls).map(|(sum, nulls)| sum + nulls);
            }
            leaf
        });
        leaves.collect()
    }

    /// Reads batches: only these columns (`target.ip`), or all if none is named.
    ///
    /// # Errors
    /// Those of `each`, and if the file cannot be read.
    pub fn read(
        self,
        columns: &[&str],
        mut each: impl FnMut(RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let failed = |why: String| Error::failed(format!("read {}", self.path.display()), why);
        let mut builder = self.builder.with_batch_size(BATCH);
        if !columns.is_empty() {
            let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(mask);
        }
        for batch in builder.build().map_err(|error| failed(error.to_string()))? {
            each(batch.map_err(|error| failed(error.to_string()))?)?;
        }
        Ok(())
    }
}

/// Whether a file says that this program created it.
fn is_ours(metadata: &ParquetMetaData) -> bool {
    let by = metadata.file_metadata().created_by();
    by.is_some_and(|by| by.starts_with("pathspider "))
}

/// Whether a name is one of NDJSON.
pub fn is_lines(path: &Path) -> bool {
    let extension = path.extension().map(|extension| extension.to_ascii_lowercase());
    extension.is_some_and(|extension| extension == "ndjson" || extension == "jsonl")
}

/// Whether a file begins like Parquet.
pub(super) fn begins_as_parquet(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = files::regular(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"PAR1"
}

/// The metadata in a JSON file, without the prefix and the file's own digest.
///
/// # Errors
/// [`Error::Usage`] if it is not such a file.
pub fn read_json(path: &Path) -> Result<Metadata> {
    let mut text = String::new();
    let read = files::regular(path).and_then(|mut file| file.read_to_string(&mut text));
    read.doing(|| format!("read {}", path.display()))?;
    let object: BTreeMap<String, String> = serde_json::from_str(&text)
        .map_err(|why| Error::Usage(format!("read {}: {why}", path.display())))?;
    let own = object
        .into_iter()
        .filter_map(|(key, value)| Some((key.strip_prefix(METADATA_PREFIX)?.to_owned(), value)));
    Ok(own.filter(|(key, _)| !seal::is_own(key)).collect())
}

/// The parts in the folder of a run, sorted by name: every Parquet file in its folder of records, or in itself if it
/// has none.
///
/// # Errors
/// If the folder cannot be read.
pub fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let folder = names::records_of(folder);
    let doing = || format!("read {}", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).doing(doing)? {
        let path = entry.doing(doing)?.path();
        // A part under its temporary name has another ending.
        if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
