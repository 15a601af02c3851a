//! Results in parts: a folder of Parquet files, each complete and on disk, so a killed run loses no more than the
//! waves in flight and can be resumed.
//!
//! ```text
//! results/journal.ndjson      identifies the run; one line for each part
//!         part-00000.parquet  records, renamed to this only when on disk
//!         part-00001.parquet
//!         run.json            metadata of the whole run, when it has ended
//! ```
//!
//! The parts define what is done. The journal has the run's identity and its counts, and the digest of each part.

use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde_json::{Map, Value, json};

use super::checked::{self, Damage, Part, Spoiled};
use super::journal::Journal;
use super::names::{RUN, name, number};
use super::parquet::ParquetSink;
use super::plain::plain;
use super::seal;
use super::temporary::{Temporary, hidden};
use super::{METADATA_PREFIX, Metadata, Sink, Written, stored, write_error};
use crate::error::{Doing as _, Error, Result};
use crate::files::{self, Place};

/// Maximum rows of a part, whatever its age.
const MOST_ROWS: u64 = 64 * 1024;
/// Minimum age of a part that is closed for its age.
const YOUNGEST: Duration = Duration::from_secs(1);
/// Age at which any part is closed.
const OLDEST: Duration = Duration::from_secs(60);
/// Between the two, a part is closed when it holds this share of the run's time: so a long run has at most a few
/// thousand parts, and a kill loses one hundredth of it.
const SHARE: u32 = 100;

/// A folder that holds the parts of a run.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The open folder: parts are looked up in it, wherever its path leads by now.
    place: files::Folder,
    journal: Journal,
    parts: Vec<PathBuf>,
    /// Whether the folder was created just now.
    made: bool,
    /// Whether its journal was created just now.
    begun: bool,
}

impl Folder {
    /// Starts a run in a folder, which is created if it does not exist.
    ///
    /// # Errors
    /// [`Error::Usage`] if the folder cannot be created, if it has parts of a run already, or if another run writes
    /// to it. `resume` is the command-line value that continues them.
    pub fn begin(path: &Path, resume: &Path) -> Result<Self> {
        let (place, made) = files::Folder::make(path)?;
        if !parts(&place)?.is_empty() {
            let (path, resume) = (path.display(), resume.display());
            return Err(Error::Usage(format!(
                "write {path}: there are results already; continue them with --resume {resume}, choose another output, \
                 or remove them"
            )));
        }
        let opened = Self::open(path, place).inspect_err(|_| {
            // It has no journal, or one of another run: then it is not empty, and stays.
            if made {
                let _ = remove(path);
            }
        });
        let mut folder = opened?;
        // A run that was killed before its first part.
        folder.journal.clear()?;
        folder.begun = true;
        let doing = || format!("write {}", path.display());
        folder.place.sync().doing(doing)?;
        if made {
            above(path)?.sync().doing(doing)?;
        }
        folder.made = made;
        Ok(folder)
    }

    /// Opens the folder of a run to continue it. Unfinished files are removed.
    pub fn resume(path: &Path) -> Result<Self> {
        let mut folder = Self::open(path, files::Folder::open(path)?)?;
        folder.parts = parts(&folder.place)?.iter().map(|name| path.join(name)).collect();
        if !folder.parts.is_empty() && folder.journal.lines().find("run").is_none() {
            // Reports what is wrong with the journal, if it is spoiled.
            folder.journal.repair(&folder.place)?;
        }
        Ok(folder)
    }

    fn open(path: &Path, place: files::Folder) -> Result<Self> {
        let journal = Journal::open(&place)?;
        // No other run writes here: a file with a temporary name was left by a killed run.
        for name in place.names()? {
            let shown = name.to_string_lossy();
            if shown.starts_with(".part-") && shown.contains(".parquet.tmp-") {
                place.remove(&name).doing(|| format!("remove {shown}"))?;
            }
        }
        let (path, parts) = (path.to_owned(), Vec::new());
        Ok(Self { path, place, journal, parts, made: false, begun: false })
    }

    /// Fails if the folder was renamed or removed, since its results would not be found.
    fn is_in_its_place(&self) -> Result<()> {
        self.place.is_in_its_place().doing(|| format!("write {}", self.path.display()))
    }

    /// Opens one of its parts for reading.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is not a Parquet file, or one that must not be trusted.
    pub fn stored(&self, part: &Path) -> Result<stored::Stored> {
        let name = part.file_name().unwrap_or_default();
        stored::Stored::of(part, self.place.read(name)?)
    }

    /// The length of one of its parts in bytes.
    fn length(&self, part: &Path) -> Result<u64> {
        let file = self.place.read(part.file_name().unwrap_or_default())?;
        Ok(file.metadata().doing(|| format!("read {}", part.display()))?.len())
    }

    /// The files of its parts.
    pub fn parts(&self) -> &[PathBuf] {
        &self.parts
    }

    /// The trusted lines of its journal.
    pub fn lines(&self) -> &[Value] {
        &self.journal.lines().values
    }

    /// The ID of its run, if the journal has it.
    pub fn run_id(&self) -> Option<&str> {
        self.journal.lines().run_id()
    }

    /// Appends a line to its journal; it is on disk when this returns.
    pub fn note(&mut self, line: &Value) -> Result<()> {
        self.journal.add(line)
    }

    /// Checks what exists before a run continues it. A damaged part is renamed, never removed, and no longer belongs
    /// to the run: its targets have no records. A whole part without a journal line gets its line, with the counts
    /// (`counts`) from its metadata.
    ///
    /// # Errors
    /// [`Error::Usage`] if the journal no longer identifies the run, or if the user has to rename or remove a file.
    pub fn repair(&mut self, counts: &[&str]) -> Result<()> {
        self.journal.repair(&self.place)?;
        let open = |part: &Path| self.place.read(part.file_name().unwrap_or_default());
        let lines = Some(self.journal.lines());
        let checked = checked::of_parts(&self.path, lines, &self.parts, &open, &mut |_| ());
        checked.note();
        for part in &checked.spoiled {
            let refused = match part.damage {
                Damage::Misnamed | Damage::Untrusted => true,
                Damage::Foreign => number(&part.path).is_none(),
                Damage::Changed | Damage::Missing | Damage::Copied => false,
            };
            if refused {
                return Err(Error::Usage(format!("resume {}: {part}", self.path.display())));
            }
        }
        for part in &checked.spoiled {
            self.give_up(part)?;
        }
        for part in &checked.unlisted {
            let stored = self.stored(Path::new(&part.name))?;
            self.journal.add(&part_line(part, &stored.metadata(), counts))?;
        }
        self.parts = checked.files;
        Ok(())
    }

    /// Sets a spoiled part aside.
    fn give_up(&mut self, part: &Spoiled) -> Result<()> {
        let mut line = json!({ "lost": name(&part.path), "why": part.why });
        let measured = match part.damage {
            Damage::Copied => "",
            _ => ": its targets are measured again",
        };
        if part.damage == Damage::Missing {
            log::warn!("{part}{measured}");
        } else {
            let doing = || format!("rename {}", part.path.display());
            let from = part.path.file_name().unwrap_or_default();
            let aside = super::aside(&self.place, from)?;
            self.place.rename(from, &aside).and_then(|()| self.place.sync()).doing(doing)?;
            let aside = aside.to_string_lossy();
            log::warn!("{part}; it is kept as {aside}{measured}");
            line["kept_as"] = aside.into();
        }
        self.journal.add(&line)
    }
}

/// The journal line of a part.
fn part_line(part: &Part, metadata: &[(String, String)], counts: &[&str]) -> Value {
    let mut line = json!({ "part": part.name, "rows": part.rows });
    if let Some((bytes, sha256)) = &part.digest {
        line["bytes"] = (*bytes).into();
        line["sha256"] = sha256.as_str().into();
    }
    with_counts(line, metadata, counts)
}

/// A line with the metadata entries that are counts.
fn with_counts(mut line: Value, metadata: &[(String, String)], counts: &[&str]) -> Value {
    let counts = metadata.iter().filter(|(key, _)| counts.contains(&key.as_str()));
    let counts: Map<String, Value> =
        counts.map(|(key, value)| (key.clone(), value.as_str().into())).collect();
    line["counts"] = Value::Object(counts);
    line
}

/// The names of the parts in a folder, sorted.
fn parts(place: &files::Folder) -> Result<Vec<OsString>> {
    let mut names = place.names()?;
    // A part under its temporary name has another ending.
    names.retain(|name| Path::new(name).extension().is_some_and(|end| end == "parquet"));
    Ok(names)
}

/// The parent of a folder.
fn above(path: &Path) -> Result<files::Folder> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    files::Folder::open(above.unwrap_or(Path::new(".")))
}

/// Removes a folder, if it is empty.
fn remove(path: &Path) -> Result<()> {
    let removed = above(path)?.remove_folder(path.file_name().unwrap_or_default());
    removed.doing(|| format!("remove {}", path.display()))
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.parts.is_empty() && self.begun {
            // The run ended before there was anything to keep. A failure cannot be reported here.
            let _ = self.place.remove(OsStr::new(super::journal::NAME));
            if self.made {
                let _ = remove(&self.path);
            }
        }
    }
}

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
        for line in folder.lines() {
            let part = line.get("part").and_then(Value::as_str);
            let number = part.and_then(|part| number(Path::new(part)));
            next = next.max(number.map_or(0, |number| number + 1));
        }
        // It describes a run that has ended.
        let _ = folder.place.remove(OsStr::new(RUN));
        let part = None;
        let closed = Duration::ZERO;
        Ok(Self { folder, schema, journaled, next, part, fresh: 0, closed, rows, bytes })
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
                self.folder.is_in_its_place()?;
                let file = Temporary::within(&self.folder.place, &name)?;
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
        self.folder.parts.push(self.folder.path.join(&part.name));
        self.folder.note(&part_line(&part, metadata, self.journaled))
    }

    /// Closes what is open and syncs everything to disk, the metadata of the whole run last.
    pub(super) fn end(&mut self, metadata: &[(String, String)]) -> Result<Written> {
        if self.folder.parts.is_empty() {
            // Readers of a dataset expect at least one file.
            self.part()?;
        }
        self.close(metadata)?;
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
/// [`Error::Usage`] if it cannot.
pub fn can_be(path: &Path) -> Result<Place> {
    let place = Place::of(path)?;
    Temporary::sweep(&place);
    sweep_parts(&place);
    Temporary::at(Place::of(path)?)?;
    Ok(place)
}

/// Checks that a folder of parts and its journal can be written to, as far as they exist. Creates and opens nothing.
///
/// # Errors
/// [`Error::Usage`] if other users put them there, or if they are something else.
pub fn can_hold(parts: &Path) -> Result<()> {
    if !parts.is_symlink() && !parts.exists() {
        return Ok(());
    }
    files::Folder::open(parts)?.can_append(OsStr::new(super::journal::NAME))
}

/// The folder for the parts of a single file until it is complete.
pub fn parts_of(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".parts");
    path.with_file_name(name)
}

/// Writes records in parts and, at the end, one file.
#[derive(Debug)]
pub struct SingleSink {
    parts: PartsSink,
    place: Option<Place>,
}

impl SingleSink {
    /// The file will be at `place`; `parts` writes to the folder [`parts_of`] of that file.
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
        let mut whole = Box::new(ParquetSink::into_file(file, self.parts.schema.clone())?);
        let folder = self.parts.folder();
        for part in folder.parts() {
            folder.stored(part)?.read(&[], |batch| whole.write(&batch))?;
        }
        Ok(Written { parts: parts.parts, ..whole.finish(metadata)? })
    }
}

/// Removes the parts of a complete single file.
pub fn discard(parts: &Path) -> Result<()> {
    let doing = || format!("remove {}", parts.display());
    let above = above(parts)?;
    let name = parts.file_name().unwrap_or_default();
    let folder = above.folder(name)?;
    // First renamed in one step: an incomplete set of parts would look like a run to be continued.
    let mut away = name.to_owned();
    away.push(format!("{DONE}{:032x}", rand::random::<u128>()));
    above.rename(name, &away).doing(doing)?;
    above.sync().doing(doing)?;
    empty(&folder).doing(doing)?;
    above.remove_folder(&away).doing(doing)
}

/// The suffix of a folder whose parts are no longer needed.
const DONE: &str = ".done-";

/// Removes the files of a folder.
fn empty(folder: &files::Folder) -> std::io::Result<()> {
    let names = folder.names().map_err(std::io::Error::other)?;
    names.iter().try_for_each(|name| folder.remove(name))
}

/// Removes folders of parts that were left when [`discard`] was killed.
fn sweep_parts(place: &Place) {
    let (folder, done) = (place.folder(), hidden(place.name(), &format!("parts{DONE}")));
    for name in folder.names().unwrap_or_default() {
        if name.as_encoded_bytes().starts_with(done.as_encoded_bytes())
            && let Ok(left) = folder.folder(&name)
        {
            // A leftover does no harm.
            let _ = empty(&left);
            let _ = folder.remove_folder(&name);
        }
    }
}
