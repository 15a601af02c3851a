//! Verifies that a result is as it was written. Every reader of results uses this.
//!
//! A part is compared with the digest in its journal line. A part without a line (the run was killed in between) and
//! a standalone file are compared with their own seal; so is the metadata file of NDJSON, which has the digest of the
//! records. Results of earlier versions have no digests; they are read and reported as unchecked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::journal::{Lines, RUN_ID};
use super::seal::{self, Seal};
use super::stored::{self, Stored};
use super::{Metadata, RECORDS_BYTES, RECORDS_SHA256, RUN, metadata_of, names};
use crate::error::{Doing as _, Error, Result};
use crate::files;

/// The result of a check.
#[derive(Debug, Default)]
pub struct Checked {
    /// Files of records that are intact or cannot be checked, sorted by name.
    pub files: Vec<PathBuf>,
    /// Files that are not as they were written.
    pub spoiled: Vec<Spoiled>,
    /// Files without a digest.
    pub unchecked: Vec<PathBuf>,
    /// What the journal says, if the folder has one.
    pub journal: Option<Journaled>,
    /// Whole parts without a line in the journal: the run was killed between the two.
    pub(super) unlisted: Vec<Part>,
}

/// The contents of a folder's journal.
#[derive(Debug)]
pub struct Journaled {
    /// Numbers of the lines that cannot be trusted, from 1.
    pub spoiled: Vec<usize>,
    /// Whether the run has ended, by the journal.
    pub ended: bool,
    /// The id of the run.
    pub run_id: Option<String>,
    /// Records in the parts that it lists, and in those that have no line yet.
    pub rows: u64,
}

/// A file that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spoiled {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, as a lowercase fragment.
    pub why: String,
    /// Number of records it had, if known.
    pub rows: Option<u64>,
    /// The kind of damage.
    pub damage: Damage,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// Its contents changed or cannot be read.
    Changed,
    /// It does not exist.
    Missing,
    /// It is a copy of another file.
    Copied,
    /// It does not belong to the run.
    Foreign,
    /// It is intact but has the name of another file.
    Misnamed,
    /// It cannot be trusted: a pipe, a link, or another user's file.
    Untrusted,
}

/// A part by its journal line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub name: String,
    pub rows: u64,
    /// Size and SHA-256; earlier versions did not write them.
    pub digest: Option<(u64, String)>,
}

impl Part {
    /// The parts in a line of the journal: one that was written, or those that others were joined to.
    pub(super) fn of_line(line: &Value) -> Vec<Self> {
        match line.get("joined").and_then(Value::as_array) {
            Some(joined) => joined.iter().filter_map(Self::from_json).collect(),
            None => Self::from_json(line).into_iter().collect(),
        }
    }

    fn from_json(line: &Value) -> Option<Self> {
        let digest =
            || Some((line.get("bytes")?.as_u64()?, line.get("sha256")?.as_str()?.to_owned()));
        Some(Self {
            name: line.get("part")?.as_str()?.to_owned(),
            rows: line.get("rows").and_then(Value::as_u64).unwrap_or_default(),
            digest: digest(),
        })
    }

    /// As it is in the journal.
    pub(super) fn to_json(&self) -> Value {
        let mut line = json!({ "part": self.name, "rows": self.rows });
        if let Some((bytes, sha256)) = &self.digest {
            line["bytes"] = (*bytes).into();
            line["sha256"] = sha256.as_str().into();
        }
        line
    }
}

/// The key of a journal line that says that parts were not joined to this one, although an earlier line announces it.
pub(super) const NOT_JOINED: &str = "not_joined";

/// The parts that a journal lists.
#[derive(Debug, Default)]
pub(super) struct Listed {
    /// Those that must exist: without those that it reports as lost, or as joined to others.
    parts: BTreeMap<String, Part>,
    /// Those that were joined to others.
    replaced: Vec<Part>,
    /// Those that others were to be joined to, which did not happen, and of which no later line says so.
    pub(super) announced: Vec<String>,
}

impl Listed {
    /// Of a journal in a folder with these parts. Parts are joined in one step, which may not have happened although
    /// the journal announces it: it has not if there are only parts that it would have replaced. A run that goes on
    /// from there notes it.
    pub(super) fn of(lines: &Lines, files: &[PathBuf]) -> Self {
        let is_there = |name: &str| files.iter().any(|file| names::name(file) == name);
        let noted = lines.values.iter().filter_map(|line| line.get(NOT_JOINED)?.as_str());
        let noted: Vec<&str> = noted.collect();
        let mut listed = Self::default();
        for line in &lines.values {
            let parts = Part::of_line(line);
            let is_noted = |part: &Part| noted.contains(&part.name.as_str());
            if line.get("joined").is_some() && parts.iter().any(is_noted) {
                continue;
            }
            if let Some(replaced) = line.get("replaced").and_then(Value::as_array) {
                let replaced: Vec<&str> = replaced.iter().filter_map(Value::as_str).collect();
                let has_new = parts.iter().any(|part| is_there(&part.name));
                if !has_new && replaced.iter().any(|name| is_there(name)) {
                    listed.announced.extend(parts.into_iter().map(|part| part.name));
                    continue;
                }
                let gone = replaced.iter().filter_map(|name| listed.parts.remove(*name));
                listed.replaced.extend(gone);
            }
            if let Some(name) = line.get("lost").and_then(Value::as_str) {
                listed.parts.remove(name);
            }
            listed.parts.extend(parts.into_iter().map(|part| (part.name.clone(), part)));
        }
        listed
    }
}

/// Checks a result: a folder of parts, a Parquet file, or NDJSON with its metadata file. Calls `progress` with the
/// number of octets read since the last call.
///
/// # Errors
/// [`Error::Usage`] if there is no result by this name. Damage is reported in [`Checked::spoiled`].
pub fn check(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<Checked> {
    if path.is_dir() {
        return folder(path, progress);
    }
    files::regular(path).map_err(|why| files::unreadable(path, why))?;
    let mut checked = Checked { files: vec![path.to_owned()], ..Checked::default() };
    if stored::is_lines(path) {
        lines(path, &mut checked, progress);
    } else {
        match seal::read(path, progress).map(|read| read.seal) {
            Ok(Seal::Whole) => {}
            Ok(Seal::None) => match Stored::open(path) {
                Ok(_) => checked.unchecked.push(path.to_owned()),
                // A file that is not Parquet at all was never a result.
                Err(error) if !stored::begins_as_parquet(path) => return Err(error),
                Err(_) => {
                    checked.spoil(path, "it is not a Parquet file, or not whole", Damage::Changed)
                }
            },
            // Another program has written it anew, and copied our digest of the file that it was.
            Ok(Seal::Broken(_)) if Stored::open(path).is_ok_and(|stored| !stored.is_ours()) => {
                checked.unchecked.push(path.to_owned());
            }
            Ok(Seal::Broken(why)) => checked.spoil(path, why, Damage::Changed),
            Err(error) => checked.spoil(path, error.to_string(), Damage::Changed),
        }
    }
    Ok(checked)
}

impl Checked {
    fn spoil(&mut self, path: &Path, why: impl Into<String>, damage: Damage) {
        self.spoiled.push(Spoiled { path: path.to_owned(), why: why.into(), rows: None, damage });
        self.files.retain(|file| file != path);
    }

    /// Size in octets of the files of a result, for progress.
    pub fn size(path: &Path) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |about| about.len());
        match path.is_dir() {
            true => {
                stored::parquet_files(path).unwrap_or_default().iter().map(|file| size(file)).sum()
            }
            false => size(path),
        }
    }

    /// Fails if a result is damaged; logs a note if it cannot be checked.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the damage, the loss and, from `remedy`, what to do.
    pub fn require(&self, operation: &str, remedy: &str) -> Result<()> {
        self.note();
        let journal = self.journal.as_ref().filter(|journal| !journal.spoiled.is_empty());
        let journal = journal.map(|journal| spoiled_lines(&journal.spoiled));
        let faults: Vec<String> =
            self.spoiled.iter().map(Spoiled::to_string).chain(journal).collect();
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Error::Usage(format!("{operation}: {}; {remedy}", faults.join("; ")))),
        }
    }

    /// Logs which files have no digest.
    pub fn note(&self) {
        if let Some(first) = self.unchecked.first() {
            let others = match self.unchecked.len() - 1 {
                0 => String::new(),
                others => format!(" and {others} more"),
            };
            log::warn!(
                "{}{others}: no checksums (an earlier version or another program wrote this), so damage cannot be detected",
                first.display()
            );
        }
    }
}

/// Reports the spoiled lines of a journal.
fn spoiled_lines(numbers: &[usize]) -> String {
    let numbers = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    format!("{} is spoiled (line {numbers})", super::JOURNAL)
}

/// `results/part-00003.parquet is spoiled: its SHA-256 is not the one in the journal (1,234 records)`
impl std::fmt::Display for Spoiled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is spoiled: {}", self.path.display(), self.why)?;
        match self.rows {
            Some(rows) => write!(f, " ({} are in it)", crate::words::counted(rows, "record[s]")),
            None => Ok(()),
        }
    }
}

/// NDJSON: its metadata has its digest.
fn lines(path: &Path, checked: &mut Checked, progress: &mut dyn FnMut(u64)) {
    let metadata_file = metadata_of(path);
    let metadata = match json(&metadata_file) {
        Ok(Some(Ok(metadata))) => metadata,
        Ok(Some(Err(why))) => return checked.spoil(&metadata_file, why, Damage::Changed),
        Ok(None) => match stored::read_json(&metadata_file) {
            Ok(_) => return checked.unchecked.push(path.to_owned()),
            Err(error) => return checked.spoil(&metadata_file, error.to_string(), Damage::Changed),
        },
        Err(_) if !metadata_file.exists() => {
            checked.unchecked.push(path.to_owned());
            return;
        }
        Err(error) => return checked.spoil(&metadata_file, error.to_string(), Damage::Changed),
    };
    let value = |key: &str| metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value);
    let stated =
        value(RECORDS_SHA256).zip(value(RECORDS_BYTES).and_then(|bytes| bytes.parse().ok()));
    let read = seal::read(path, progress);
    match (stated, read) {
        (_, Err(error)) => checked.spoil(path, error.to_string(), Damage::Changed),
        (None, _) => checked.spoil(
            &metadata_file,
            "it does not have the SHA-256 of the records",
            Damage::Changed,
        ),
        (Some((sha256, bytes)), Ok(read)) => {
            if let Some(why) = differs(&read, bytes, sha256, "its metadata file") {
                checked.spoil(path, why, Damage::Changed);
            }
        }
    }
}

/// A sealed JSON file: its metadata, or what is wrong with it; `None` if it has no seal.
fn json(path: &Path) -> Result<Option<Result<Metadata, String>>> {
    match seal::read(path, &mut |_| ())?.seal {
        Seal::None => Ok(None),
        Seal::Broken(why) => Ok(Some(Err(why))),
        Seal::Whole => Ok(Some(stored::read_json(path).map_err(|error| error.to_string()))),
    }
}

/// The difference between a file and what was written.
fn differs(read: &seal::Read, bytes: u64, sha256: &str, stated_in: &str) -> Option<String> {
    match () {
        () if read.bytes != bytes => {
            Some(format!("it has {} octets, but {bytes} according to {stated_in}", read.bytes))
        }
        () if read.sha256 != *sha256 => Some(format!("its SHA-256 is not the one in {stated_in}")),
        () => None,
    }
}

/// A folder of parts.
fn folder(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<Checked> {
    let (parts, records) = (stored::parquet_files(path)?, names::records_of(path));
    let lines = Lines::of_folder(path)?;
    let open = |file: &Path| files::regular(file).doing(|| format!("read {}", file.display()));
    let mut checked = of_parts(&records, lines.as_ref(), &parts, &open, progress);
    let run = path.join(RUN);
    match run.is_file().then(|| json(&run)) {
        None => {
            if checked.journal.as_ref().is_some_and(|journal| journal.ended)
                && lines.as_ref().is_some_and(|lines| lines.checked)
            {
                checked.spoil(
                    &run,
                    "it does not exist, although the run has ended by its journal",
                    Damage::Missing,
                );
            }
        }
        Some(Err(error)) => checked.spoil(&run, error.to_string(), Damage::Changed),
        Some(Ok(None)) => match stored::read_json(&run) {
            Ok(_) => checked.unchecked.push(run),
            Err(error) => checked.spoil(&run, error.to_string(), Damage::Changed),
        },
        Some(Ok(Some(Err(why)))) => checked.spoil(&run, why, Damage::Changed),
        Some(Ok(Some(Ok(metadata)))) => {
            let of = checked.journal.as_ref().and_then(|journal| journal.run_id.as_deref());
            if of.is_some_and(|of| run_id(&metadata) != Some(of)) {
                checked.spoil(&run, "it belongs to another run", Damage::Foreign);
            }
        }
    }
    Ok(checked)
}

/// The parts in a folder of records, by the journal of the run if it has one.
pub(super) fn of_parts(
    folder: &Path,
    lines: Option<&Lines>,
    files: &[PathBuf],
    open: &dyn Fn(&Path) -> Result<File>,
    progress: &mut dyn FnMut(u64),
) -> Checked {
    let of_journal = lines.map(|lines| Listed::of(lines, files)).unwrap_or_default();
    let Listed { parts: listed, replaced, .. } = &of_journal;
    let mut checked = Checked { files: files.to_vec(), ..Checked::default() };
    let mut whole: BTreeMap<String, String> = BTreeMap::new();
    let mut unlisted = Vec::new();
    for file in files {
        let name = names::name(file);
        let read = match open(file).and_then(|open| seal::of_file(file, open, progress)) {
            Ok(read) => read,
            // A pipe, a link, or another user's file.
            Err(error @ Error::Usage(_)) => {
                checked.spoil(file, error.to_string(), Damage::Untrusted);
                continue;
            }
            Err(error) => {
                checked.spoil(file, error.to_string(), Damage::Changed);
                continue;
            }
        };
        let Some(part) = listed.get(&name) else {
            unlisted.push((file, name, read));
            continue;
        };
        let stated = part.digest.as_ref();
        match stated.map(|(bytes, sha256)| differs(&read, *bytes, sha256, "the journal")) {
            Some(None) => {
                whole.insert(read.sha256, name);
            }
            Some(Some(why)) => match listed.values().find(|other| other.has(&read.sha256)) {
                Some(other) => checked.spoil(
                    file,
                    format!("it is {}: rename it", other.name),
                    Damage::Misnamed,
                ),
                None => checked.spoil(file, why, Damage::Changed),
            },
            None => match read.seal {
                Seal::Broken(why) => checked.spoil(file, why, Damage::Changed),
                _ => checked.unchecked.push(file.clone()),
            },
        }
    }
    let known = Known { lines, listed, replaced, open };
    known.unlisted(unlisted, whole, &mut checked);
    for part in listed.values() {
        let path = folder.join(&part.name);
        if !files.contains(&path) {
            checked.spoil(&path, "it does not exist", Damage::Missing);
        }
    }
    for spoiled in &mut checked.spoiled {
        let part = listed.get(&names::name(&spoiled.path));
        spoiled.rows = part.filter(|_| spoiled.damage != Damage::Misnamed).map(|part| part.rows);
    }
    checked.journal = lines.map(|lines| Journaled {
        spoiled: lines.spoiled.clone(),
        ended: lines.values.last().is_some_and(|line| line.get("ended").is_some()),
        run_id: lines.run_id().map(str::to_owned),
        rows: listed.values().chain(&checked.unlisted).map(|part| part.rows).sum(),
    });
    checked
}

/// What the journal says about parts that it does not list.
struct Known<'a> {
    lines: Option<&'a Lines>,
    listed: &'a BTreeMap<String, Part>,
    replaced: &'a [Part],
    open: &'a dyn Fn(&Path) -> Result<File>,
}

impl Known<'_> {
    /// Judges files that the journal does not list: parts that a kill left without a line, copies, or strangers. `whole`
    /// has the digests of the parts that are as the journal says, with their names.
    fn unlisted(
        &self,
        unlisted: Vec<(&PathBuf, String, seal::Read)>,
        mut whole: BTreeMap<String, String>,
        checked: &mut Checked,
    ) {
        let Self { lines, listed, replaced, open } = self;
        // The run that the parts must belong to.
        let mut run = lines.and_then(Lines::run_id).map(str::to_owned);
        let has_own = lines.is_some_and(|lines| lines.checked_from_start);
        for (file, name, read) in unlisted {
            if let Some(of) = whole.get(&read.sha256) {
                checked.spoil(file, format!("it is a copy of {of}"), Damage::Copied);
                continue;
            }
            if let Some(other) = listed.values().find(|other| other.has(&read.sha256)) {
                checked.spoil(file, format!("it is {}: rename it", other.name), Damage::Misnamed);
                continue;
            }
            if let Some(old) = replaced.iter().find(|old| old.has(&read.sha256)) {
                let why = format!("it is {}, whose records were joined to another part", old.name);
                checked.spoil(file, why, Damage::Copied);
                continue;
            }
            match read.seal {
                Seal::Broken(why) => checked.spoil(file, why, Damage::Changed),
                Seal::None if has_own => {
                    checked.spoil(file, "it is not in the journal", Damage::Foreign);
                }
                Seal::None => checked.unchecked.push(file.clone()),
                Seal::Whole => {
                    let stored = match open(file).and_then(|open| Stored::of(file, open)) {
                        Ok(stored) => stored,
                        Err(error) => {
                            checked.spoil(file, error.to_string(), Damage::Changed);
                            continue;
                        }
                    };
                    let metadata = stored.metadata();
                    let of = run_id(&metadata);
                    let fits = match &run {
                        Some(run) => of == Some(run.as_str()),
                        None => true,
                    };
                    if !fits || lines.is_some() && names::number(file).is_none() {
                        checked.spoil(file, "it does not belong to this run", Damage::Foreign);
                        continue;
                    }
                    run = run.or(of.map(str::to_owned));
                    whole.insert(read.sha256.clone(), name.clone());
                    let digest = Some((read.bytes, read.sha256));
                    checked.unlisted.push(Part { name, rows: stored.rows(), digest });
                }
            }
        }
    }
}

impl Part {
    fn has(&self, sha256: &str) -> bool {
        self.digest.as_ref().is_some_and(|(_, stated)| stated == sha256)
    }
}

fn run_id(metadata: &[(String, String)]) -> Option<&str> {
    metadata.iter().find(|(key, _)| key == RUN_ID).map(|(_, value)| value.as_str())
}
