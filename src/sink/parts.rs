//! Results in parts: Parquet files, each complete and on disk, so a killed run loses no more than the waves in flight
//! and the open part, and can be resumed.
//!
//! The parts define what is done. The journal has the run's identity and its counts, and the digest of each part. At
//! the end of a run, small parts are joined (`compact`).

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde_json::{Map, Value, json};

use super::checked::Part;
use super::folder::{Folder, part_line, sweep_parts, with_counts};
use super::names::{RUN, name, number};
use super::parquet::ParquetSink;
use super::plain::plain;
use super::seal;
use super::temporary::Temporary;
use super::{METADATA_PREFIX, Metadata, Sink, Written, compact, write_error};
use crate::error::Result;
use crate::files::Place;

/// Maximum rows of a part, whatever its age.
const MOST_ROWS: u64 = 512 * 1024;
/// Minimum age of a part that is closed for its age.
const YOUNGEST: Duration = Duration::from_secs(1);
/// Age at which any part is closed.
const OLDEST: Duration = Duration::from_secs(300);
/// Between the two, a part is closed when it holds this share of the run's time: so a run of a day has some 400 parts
/// before they are joined, and a kill loses at most a twentieth of it, and five minutes.
const SHARE: u32 = 20;

/// Writes records in parts.
#[derive(Debug)]
pub struct PartsSink {
    folder: Folder,
    schema: SchemaRef,
    /// Metadata keys that go into the journal.
    journaled: &'static [&'static str],
    /// The number of the next part.
    next: u32,
    /// The open part.
    part: Option<ParquetSink>,
    /// Rows in it.
    fresh: u64,
    /// When the last part was closed, since the start of the run.
    closed: Duration,
    /// Rows and bytes of all parts on disk.
    rows: u64,
    bytes: u64,
    /// Whether small parts are joined at the end.
    compacts: bool,
}

impl PartsSink {
    /// Continues after the parts that are in the folder.
    pub fn new(
        folder: Folder,
        schema: SchemaRef,
        journaled: &'static [&'static str],
    ) -> Result<Self> {
        let (mut rows, mut bytes, mut next) = (0, 0, 0);
        for part in folder.parts() {
            let (stored, length) = (folder.stored(part)?, folder.length(part)?);
            rows += stored.rows();
            bytes += length;
            next = next.max(number(part).map_or(0, |number| number + 1));
        }
        // Names of lost parts are not used again.
        for part in folder.lines().iter().flat_map(Part::of_line) {
            next = next.max(number(Path::new(&part.name)).map_or(0, |number| number + 1));
        }
        // It describes a run that has ended.
        let _ = folder.place.remove(OsStr::new(RUN));
        let part = None;
        let closed = Duration::ZERO;
        let compacts = false;
        Ok(Self { folder, schema, journaled, next, part, fresh: 0, closed, rows, bytes, compacts })
    }

    /// Joins small parts at the end.
    pub fn compacting(self) -> Self {
        Self { compacts: true, ..self }
    }

    /// The folder with the files on disk.
    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    fn part(&mut self) -> Result<&mut ParquetSink> {
        let name = format!("part-{:05}.parquet", self.next);
        match &mut self.part {
            Some(part) => Ok(part),
            none => {
                let file = self.folder.part(&name)?;
                // Readers of a folder take the descriptions of columns from its first file. They are as large as a small part.
                let schema = match self.folder.parts.is_empty() {
                    true => self.schema.clone(),
                    false => plain(&self.schema),
                };
                Ok(none.insert(ParquetSink::into_file(file, schema)?))
            }
        }
    }

    /// Closes the open part.
    fn close(&mut self, metadata: &[(String, String)]) -> Result<()> {
        let Some(part) = self.part.take() else { return Ok(()) };
        self.fresh = 0;
        let Written { path, bytes, sha256, rows, .. } = Box::new(part).finish(metadata)?;
        self.next += 1;
        self.rows += rows;
        self.bytes += bytes;
        let part = Part { name: name(&path), rows, digest: Some((bytes, sha256)) };
        self.folder.parts.push(self.folder.part_path(&part.name));
        self.folder.note(&part_line(&part, metadata, self.journaled))
    }

    /// Closes what is open and syncs everything to disk, the metadata of the whole run last.
    pub(super) fn end(&mut self, metadata: &[(String, String)]) -> Result<Written> {
        if self.folder.parts.is_empty() {
            // Readers of a dataset expect at least one file.
            self.part()?;
        }
        self.close(metadata)?;
        if self.compacts {
            self.bytes = compact::join(&mut self.folder, &self.schema, metadata, &mut self.next)?;
        }
        self.folder.note(&with_counts(json!({ "ended": true }), metadata, self.journaled))?;
        let object: Map<String, Value> = metadata
            .iter()
            .map(|(key, value)| (format!("{METADATA_PREFIX}{key}"), value.as_str().into()))
            .collect();
        self.folder.is_in_its_place()?;
        let file = Temporary::within(&self.folder.place, RUN)?;
        let write = file.writer()?.write_all(seal::json(object).as_bytes());
        write.map_err(|error| write_error(file.path(), error))?;
        file.keep()?;
        let path = self.folder.path.clone();
        let (bytes, rows) = (self.bytes, self.rows);
        Ok(Written { parts: Some(path.clone()), path, bytes, sha256: String::new(), rows })
    }
}

impl Sink for PartsSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.part()?;
        // After an error or a panic the open part is lost, and the closed ones are intact.
        let (part, fresh) = (self.part.take(), std::mem::take(&mut self.fresh));
        if let Some(mut part) = part {
            part.write(batch)?;
            (self.part, self.fresh) = (Some(part), fresh + batch.num_rows() as u64);
        }
        Ok(())
    }

    fn checkpoint(&mut self, elapsed: Duration, known: &dyn Fn() -> Metadata) -> Result<()> {
        let age = elapsed.saturating_sub(self.closed);
        let due = (elapsed / SHARE).clamp(YOUNGEST, OLDEST);
        if self.fresh > 0 && (age >= due || self.fresh >= MOST_ROWS) {
            self.close(&known())?;
            self.closed = elapsed;
        }
        Ok(())
    }

    fn rows(&self) -> u64 {
        self.rows + self.fresh
    }

    fn finish(mut self: Box<Self>, metadata: &[(String, String)]) -> Result<Written> {
        self.end(metadata)
    }
}

/// Checks that a file can get this name: fail now rather than after a run of days. Removes what a killed run left of
/// it.
///
/// # Errors
/// A usage error if it cannot.
pub fn can_be(path: &Path) -> Result<Place> {
    let place = Place::of(path)?;
    Temporary::sweep(&place);
    sweep_parts(&place);
    Temporary::at(Place::of(path)?)?;
    Ok(place)
}

/// Writes records in parts and, at the end, one file.
#[derive(Debug)]
pub struct SingleSink {
    parts: PartsSink,
    place: Option<Place>,
}

impl SingleSink {
    /// The file will be at `place`; `parts` writes to the folder `parts_of` of that file.
    pub fn new(place: Place, parts: PartsSink) -> Self {
        Self { parts, place: Some(place) }
    }
}

impl Sink for SingleSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.parts.write(batch)
    }

    fn checkpoint(&mut self, elapsed: Duration, known: &dyn Fn() -> Metadata) -> Result<()> {
        self.parts.checkpoint(elapsed, known)
    }

    fn rows(&self) -> u64 {
        self.parts.rows()
    }

    fn finish(mut self: Box<Self>, metadata: &[(String, String)]) -> Result<Written> {
        let parts = self.parts.end(metadata)?;
        let Some(place) = self.place.take() else { return Ok(parts) };
        let file = Temporary::at(place)?;
        let mut whole = Box::new(ParquetSink::sorted(file, self.parts.schema.clone())?);
        let folder = self.parts.folder();
        for part in folder.parts() {
            folder.stored(part)?.read(&[], |batch| whole.write(&batch))?;
        }
        Ok(Written { parts: parts.parts, ..whole.finish(metadata)? })
    }
}
