//! A row group on its way into a Parquet file. Encoding columns is most of a sink's work, and of the time after the
//! last record, so two threads share it.

use std::sync::{Mutex, PoisonError};

use arrow_array::RecordBatch;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, compute_leaves};
use parquet::errors::{ParquetError, Result};

use super::pages::{Column, Pages};

/// Number of rows above which a second thread pays off.
const MANY: usize = 1024;

/// The columns of an unfinished row group.
pub(super) struct RowGroup {
    columns: Vec<(ArrowColumnWriter, Pages)>,
    rows: usize,
}

impl RowGroup {
    /// A row group whose columns go to these writers, which put their pages into `pages`.
    pub(super) fn new(columns: Vec<ArrowColumnWriter>, pages: Vec<Pages>) -> Self {
        Self { columns: columns.into_iter().zip(pages).collect(), rows: 0 }
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Memory in octets.
    pub(super) fn memory_size(&self) -> usize {
        self.columns.iter().map(|(column, _)| column.memory_size()).sum()
    }

    /// Adds rows.
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let mut leaves = Vec::with_capacity(self.columns.len());
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            leaves.extend(compute_leaves(field, array)?);
        }
        self.rows += batch.num_rows();
        let columns: Vec<_> = self.columns.iter_mut().zip(leaves).collect();
        let much = batch.num_rows() >= MANY;
        shared(columns, much, |((column, _), leaf)| column.write(&leaf)).map(drop)
    }

    /// Finishes it and returns its columns as they go into the file.
    pub(super) fn close(self) -> Result<Vec<Column>> {
        let close =
            |(column, pages): (ArrowColumnWriter, Pages)| Column::new(&pages, &column.close()?);
        shared(self.columns, self.rows >= MANY, close)
    }
}

/// Applies `each` to all items; if there are many, on two threads that take the next item in turn.
fn shared<T: Send, R: Send>(
    all: Vec<T>,
    much: bool,
    each: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    if !much {
        return all.into_iter().map(each).collect();
    }
    let queue = Mutex::new(all.into_iter().enumerate());
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let some = std::iter::from_fn(next);
        some.map(|(place, one)| Ok((place, each(one)?))).collect::<Result<Vec<_>>>()
    };
    std::thread::scope(|scope| {
        let other = std::thread::Builder::new().name("columns".into()).spawn_scoped(scope, work);
        let other = other.map_err(|error| ParquetError::External(Box::new(error)))?;
        let done = work();
        let panicked = |_| ParquetError::General("the encoding thread panicked".into());
        let (mut done, others) = (done?, other.join().map_err(panicked)??);
        done.extend(others);
        done.sort_unstable_by_key(|(place, _)| *place);
        Ok(done.into_iter().map(|(_, one)| one).collect())
    })
}
