//! The folder of a run: its journal, and the folder of its parts.
//!
//! ```text
//! results/journal.ndjson              identifies the run; a line for each part
//!         run.json                    metadata of the whole run, when it has ended
//!         records/part-00000.parquet  records, renamed to this only when on disk
//!                 part-00001.parquet
//! ```
//!
//! The folder of records has nothing but whole parts in it at any time, so every reader of Parquet can open it. A part
//! grows next to the journal, and what is set aside is kept there.

use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::checked::{self, Damage, Part, Spoiled};
use super::journal::Journal;
use super::names::{NEXT_RECORDS, RECORDS, name, number};
use super::stored;
use super::temporary::{Temporary, hidden};
use crate::error::{Doing as _, Error, Result};
use crate::files::{self, Place};

/// A folder that holds the parts of a run.
#[derive(Debug)]
pub struct Folder {
    pub(super) path: PathBuf,
    /// The open folder: names are looked up in it, wherever its path leads by now.
    pub(super) place: files::Folder,
    /// The folder of the parts; in a run of an earlier version the same.
    pub(super) records: files::Folder,
    pub(super) journal: Journal,
    pub(super) parts: Vec<PathBuf>,
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
        if !parts(&place)?.is_empty() || has_records(&place)? {
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
        folder.parts = folder.part_files()?;
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
        remove_folder(&place, OsStr::new(NEXT_RECORDS))
            .doing(|| format!("remove {}", path.join(NEXT_RECORDS).display()))?;
        let records = match parts(&place)?.is_empty() {
            true => records(&place)?,
            // An earlier version began this run.
            false if place.names()?.iter().all(|name| name != RECORDS) => place.try_clone()?,
            false => records(&place)?,
        };
        let (path, parts) = (path.to_owned(), Vec::new());
        Ok(Self { path, place, records, journal, parts, made: false, begun: false })
    }

    /// Whether the parts have a folder of their own.
    pub(super) fn has_own_records(&self) -> bool {
        self.records.path() != self.place.path()
    }

    /// The files of the parts, sorted by name.
    pub(super) fn part_files(&self) -> Result<Vec<PathBuf>> {
        Ok(parts(&self.records)?.iter().map(|name| self.part_path(name)).collect())
    }

    /// The path of a part, for messages.
    pub(super) fn part_path(&self, name: impl AsRef<Path>) -> PathBuf {
        match self.has_own_records() {
            true => self.path.join(RECORDS).join(name),
            false => self.path.join(name),
        }
    }

    /// Starts a part.
    pub(super) fn part(&self, name: &str) -> Result<Temporary> {
        self.is_in_its_place()?;
        Temporary::by_way_of(&self.place, &self.records, name)
    }

    /// Fails if the folder was renamed or removed, since its results would not be found.
    pub(super) fn is_in_its_place(&self) -> Result<()> {
        let both = self.place.is_in_its_place().and_then(|()| self.records.is_in_its_place());
        both.doing(|| format!("write {}", self.path.display()))
    }

    /// Opens one of its parts for reading.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is not a Parquet file, or one that must not be trusted.
    pub fn stored(&self, part: &Path) -> Result<stored::Stored> {
        let name = part.file_name().unwrap_or_default();
        stored::Stored::of(part, self.records.read(name)?)
    }

    /// The length of one of its parts in bytes.
    pub(super) fn length(&self, part: &Path) -> Result<u64> {
        let file = self.records.read(part.file_name().unwrap_or_default())?;
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
        for part in checked::Listed::of(self.journal.lines(), &self.parts).announced {
            self.journal.add(&json!({ checked::NOT_JOINED: part }))?;
        }
        let open = |part: &Path| self.records.read(part.file_name().unwrap_or_default());
        let lines = Some(self.journal.lines());
        let checked =
            checked::of_parts(&self.part_path(""), lines, &self.parts, &open, &mut |_| ());
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
            // Not among the parts: readers of a dataset would take it for one.
            let moved = self.records.move_to(from, &self.place, &aside);
            moved.and_then(|()| self.records.sync()).doing(doing)?;
            self.place.sync().doing(doing)?;
            let aside = aside.to_string_lossy();
            log::warn!("{part}; it is kept as {aside}{measured}");
            line["kept_as"] = aside.into();
        }
        self.journal.add(&line)
    }
}

/// The journal line of a part.
pub(super) fn part_line(part: &Part, metadata: &[(String, String)], counts: &[&str]) -> Value {
    with_counts(part.to_json(), metadata, counts)
}

/// A line with the metadata entries that are counts.
pub(super) fn with_counts(
    mut line: Value,
    metadata: &[(String, String)],
    counts: &[&str],
) -> Value {
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

/// Whether the folder of records has parts.
fn has_records(place: &files::Folder) -> Result<bool> {
    let name = OsStr::new(RECORDS);
    Ok(place.names()?.iter().any(|known| known == name) && !parts(&place.folder(name)?)?.is_empty())
}

/// The folder of records, which is created if it does not exist.
fn records(place: &files::Folder) -> Result<files::Folder> {
    let name = OsStr::new(RECORDS);
    match place.make_folder(name) {
        Err(why) if why.kind() != ErrorKind::AlreadyExists => {
            Err(why).doing(|| format!("make folder {}", place.join(name).display()))
        }
        _ => place.folder(name),
    }
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
            if self.has_own_records() {
                let _ = self.place.remove_folder(OsStr::new(RECORDS));
            }
            let _ = self.place.remove(OsStr::new(super::journal::NAME));
            if self.made {
                let _ = remove(&self.path);
            }
        }
    }
}

/// Checks that a folder of parts and its journal can be written to, as far as they exist. Creates and opens nothing.
///
/// # Errors
/// [`Error::Usage`] if other users put them there, or if they are something else.
pub fn can_hold(parts: &Path) -> Result<()> {
    if !parts.is_symlink() && !parts.exists() {
        return Ok(());
    }
    let folder = files::Folder::open(parts)?;
    if parts.join(RECORDS).exists() || parts.join(RECORDS).is_symlink() {
        folder.folder(OsStr::new(RECORDS))?;
    }
    folder.can_append(OsStr::new(super::journal::NAME))
}

/// The folder for the parts of a single file until it is complete.
pub fn parts_of(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".parts");
    path.with_file_name(name)
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
    drop(folder);
    remove_folder(&above, &away).doing(doing)
}

/// The suffix of a folder whose parts are no longer needed.
const DONE: &str = ".done-";

/// Removes a folder of ours with its files and the folder of records in it, if it exists.
pub(super) fn remove_folder(above: &files::Folder, name: &OsStr) -> std::io::Result<()> {
    if !above.names().map_err(std::io::Error::other)?.iter().any(|known| known == name) {
        return Ok(());
    }
    let folder = above.folder(name).map_err(std::io::Error::other)?;
    for name in folder.names().map_err(std::io::Error::other)? {
        match name == RECORDS || name == NEXT_RECORDS {
            true => remove_folder(&folder, &name)?,
            false => folder.remove(&name)?,
        }
    }
    above.remove_folder(name)
}

/// Removes folders of parts that were left when [`discard`] was killed.
pub(super) fn sweep_parts(place: &Place) {
    let (folder, done) = (place.folder(), hidden(place.name(), &format!("parts{DONE}")));
    for name in folder.names().unwrap_or_default() {
        if name.as_encoded_bytes().starts_with(done.as_encoded_bytes()) {
            // A leftover does no harm.
            let _ = remove_folder(folder, &name);
        }
    }
}
