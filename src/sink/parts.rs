//! Results in parts: a folder of Parquet files, each whole and on disk, so that a run that is killed loses no
//! more than the waves in hand and can be resumed.
//!
//! ```text
//! results/journal.ndjson      which run this is; a line for each part
//!         part-00000.parquet  records, under their own name only when on disk
//!         part-00001.parquet
//!         run.json            metadata of the whole, when the run has ended
//! ```
//!
//! What is done is what is in the parts. The journal holds the run's identity and its counts.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde_json::{Map, Value, json};

use super::journal::Journal;
use super::parquet::ParquetSink;
use super::temporary::{Temporary, sync_folder};
use super::{METADATA_PREFIX, Metadata, Sink, Written, stored, write_error};
use crate::error::{Doing as _, Error, Result};

/// Metadata of the whole run, when it has ended.
pub const RUN: &str = "run.json";

/// Rows after which a part is closed, however young it is.
const MOST_ROWS: u64 = 64 * 1024;
/// The least age of a part that is closed for its age.
const YOUNGEST: Duration = Duration::from_secs(1);
/// The age at which any part is closed.
const OLDEST: Duration = Duration::from_secs(60);
/// In between, a part is closed when it holds this share of the run's time: a long run has no more than some
/// thousand parts, and a kill costs it one hundredth.
const SHARE: u32 = 100;

/// A folder that holds the parts of a run.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    journal: Journal,
    parts: Vec<PathBuf>,
    /// Whether it was made just now.
    made: bool,
    /// Whether its journal was begun just now.
    begun: bool,
}

impl Folder {
    /// Begins a run in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Usage`] if the folder cannot be made, if parts of a run are there already, or if another run
    /// writes there. `resume` is what to write to go on with them.
    pub fn begin(path: &Path, resume: &Path) -> Result<Self> {
        let made = match fs::create_dir(path) {
            Ok(()) => true,
            Err(_) if path.is_dir() => false,
            Err(error) => {
                return Err(Error::Usage(format!("make folder {}: {error}", path.display())));
            }
        };
        if !stored::files(path)?.is_empty() {
            let (path, resume) = (path.display(), resume.display());
            return Err(Error::Usage(format!(
                "write {path}: there are results already; go on with them by --resume {resume}, name another output, \
                 or remove them"
            )));
        }
        let opened = Self::open(path).inspect_err(|_| {
            // It has no journal, or that of another run: then it is not empty, and stays.
            if made {
                let _ = fs::remove_dir(path);
            }
        });
        let mut folder = opened?;
        // A run that was killed before its first part.
        folder.journal.clear()?;
        folder.begun = true;
        for folder in [path, super::temporary::folder(path)] {
            sync_folder(folder).doing(|| format!("write {}", folder.display()))?;
        }
        folder.made = made;
        Ok(folder)
    }

    /// Opens the folder of a run to go on with it. What was not finished there is removed.
    pub fn resume(path: &Path) -> Result<Self> {
        let mut folder = Self::open(path)?;
        folder.parts = stored::files(path)?;
        Ok(folder)
    }

    fn open(path: &Path) -> Result<Self> {
        let journal = Journal::open(path)?;
        // Nobody else writes here: whatever has a temporary name was left by a run that was killed.
        let doing = || format!("read {}", path.display());
        for entry in fs::read_dir(path).doing(doing)? {
            let entry = entry.doing(doing)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(".part-") && name.contains(".parquet.tmp-") {
                fs::remove_file(entry.path()).doing(|| format!("remove {name}"))?;
            }
        }
        Ok(Self { path: path.to_owned(), journal, parts: Vec::new(), made: false, begun: false })
    }

    /// The files of its parts.
    pub fn parts(&self) -> &[PathBuf] {
        &self.parts
    }

    /// What its journal says.
    pub fn lines(&self) -> &[Value] {
        self.journal.lines()
    }

    /// Adds a line to its journal; it is on disk when this returns.
    pub fn note(&self, line: &Value) -> Result<()> {
        self.journal.add(line)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.parts.is_empty() && self.begun {
            // The run ended before there was anything to keep. Nothing can report it if this fails.
            let _ = fs::remove_file(self.path.join(super::journal::NAME));
            if self.made {
                let _ = fs::remove_dir(&self.path);
            }
        }
    }
}

/// Writes records in parts.
#[derive(Debug)]
pub struct PartsSink {
    folder: Folder,
    schema: SchemaRef,
    /// Keys of the metadata that go into the journal.
    journaled: &'static [&'static str],
    /// The number of the next part.
    next: u32,
    /// The part in hand.
    part: Option<ParquetSink>,
    /// Rows in it.
    fresh: u64,
    /// When the last part was closed, since the run began.
    closed: Duration,
    /// Rows and bytes of all parts on disk.
    rows: u64,
    bytes: u64,
}

impl PartsSink {
    /// Goes on behind the parts that are in the folder.
    pub fn new(
        folder: Folder,
        schema: SchemaRef,
        journaled: &'static [&'static str],
    ) -> Result<Self> {
        let (mut rows, mut bytes, mut next) = (0, 0, 0);
        for part in folder.parts() {
            rows += stored::Stored::open(part)?.rows();
            bytes += part.metadata().doing(|| format!("read {}", part.display()))?.len();
            next = next.max(number(part).map_or(0, |number| number + 1));
        }
        // It tells of a run that has ended.
        let _ = fs::remove_file(folder.path.join(RUN));
        let part = None;
        let closed = Duration::ZERO;
        Ok(Self { folder, schema, journaled, next, part, fresh: 0, closed, rows, bytes })
    }

    /// The files on disk.
    pub(super) fn parts(&self) -> &[PathBuf] {
        self.folder.parts()
    }

    fn part(&mut self) -> Result<&mut ParquetSink> {
        let path = self.folder.path.join(format!("part-{:05}.parquet", self.next));
        match &mut self.part {
            Some(part) => Ok(part),
            none => Ok(none.insert(ParquetSink::create(&path, self.schema.clone())?)),
        }
    }

    /// Closes the part in hand.
    fn close(&mut self, metadata: &[(String, String)]) -> Result<()> {
        let Some(part) = self.part.take() else { return Ok(()) };
        self.fresh = 0;
        let Written { path, bytes, rows, .. } = Box::new(part).finish(metadata)?;
        self.next += 1;
        self.rows += rows;
        self.bytes += bytes;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.folder.parts.push(path);
        self.note(json!({ "part": name, "rows": rows }), metadata)
    }

    /// Adds a line with the counts to the journal.
    fn note(&self, mut line: Value, metadata: &[(String, String)]) -> Result<()> {
        let counts = metadata.iter().filter(|(key, _)| self.journaled.contains(&key.as_str()));
        let counts: Map<String, Value> =
            counts.map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        line["counts"] = Value::Object(counts);
        self.folder.note(&line)
    }

    /// Closes what is open and brings everything to disk, the metadata of the whole last.
    pub(super) fn end(&mut self, metadata: &[(String, String)]) -> Result<Written> {
        if self.folder.parts.is_empty() {
            // Readers of a dataset want at least one file.
            self.part()?;
        }
        self.close(metadata)?;
        self.note(json!({ "ended": true }), metadata)?;
        let object: Map<String, Value> = metadata
            .iter()
            .map(|(key, value)| (format!("{METADATA_PREFIX}{key}"), value.as_str().into()))
            .collect();
        let file = Temporary::create(&self.folder.path.join(RUN))?;
        let text = format!("{:#}\n", Value::Object(object));
        let write = file.writer()?.write_all(text.as_bytes());
        write.map_err(|error| write_error(file.path(), error))?;
        file.keep()?;
        let path = self.folder.path.clone();
        Ok(Written { parts: Some(path.clone()), path, bytes: self.bytes, rows: self.rows })
    }
}

impl Sink for PartsSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.part()?;
        // After an error or a panic the open part is lost, and the closed ones are whole.
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

/// The number in the name of a part.
fn number(part: &Path) -> Option<u32> {
    part.file_stem()?.to_str()?.strip_prefix("part-")?.parse().ok()
}

/// Whether a file can have this name: better told before a run of days than behind it. What a killed run left of it
/// is removed.
///
/// # Errors
/// [`Error::Usage`] if it cannot.
pub fn can_be(path: &Path) -> Result<()> {
    Temporary::sweep(path);
    Temporary::create(path).map(drop)
}

/// The folder in which the parts of a single file are kept until it is whole.
pub fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".parts");
    path.with_file_name(name)
}

/// Writes records in parts and, at the end, one file.
#[derive(Debug)]
pub struct SingleSink {
    parts: PartsSink,
    path: PathBuf,
}

impl SingleSink {
    /// The file will be `path`; `parts` writes to [`beside`] it.
    pub fn new(path: &Path, parts: PartsSink) -> Self {
        Self { parts, path: path.to_owned() }
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
        let mut whole = Box::new(ParquetSink::create(&self.path, self.parts.schema.clone())?);
        for part in self.parts.parts() {
            stored::Stored::open(part)?.read(&[], |batch| whole.write(&batch))?;
        }
        Ok(Written { parts: parts.parts, ..whole.finish(metadata)? })
    }
}

/// Removes the parts of a single file that is whole.
pub fn discard(parts: &Path) -> Result<()> {
    let doing = || format!("remove {}", parts.display());
    // First out of the way in one step: parts without some of them would be taken for a run to go on with.
    let mut away = parts.as_os_str().to_owned();
    away.push(".done");
    let _ = fs::remove_dir_all(&away);
    fs::rename(parts, &away).doing(doing)?;
    sync_folder(super::temporary::folder(parts)).doing(doing)?;
    fs::remove_dir_all(&away).doing(doing)
}
