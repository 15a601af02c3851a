//! The journal: what undoes a run, on disk before anything is changed.
//!
//! A file per run, in lines of JSON. The first identifies the owner: the namespace and the run. Then each change has up to
//! four lines under one number: `make`, with all the data to undo it, is on disk before the change begins; `made` says that
//! the change has ended; `undo` that undoing it has begun; `undone` that this has ended, or that nothing was changed. A
//! change without `undone` is one that a killed run may have left. When all changes are undone, the file is truncated to
//! its first line, so it stays small; at the end of the run it is removed.
//!
//! The last line may be torn. A torn `make` belongs to a change that was not begun.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::lock::{Lock, Run};
use super::namespace::Namespace;
use super::slot::Slot;
use super::state::Folder;
use super::undo::Undo;
use crate::error::{Doing as _, Error, Result};

/// The suffix of journals' names.
const SUFFIX: &str = ".journal";
/// The version of the format.
const FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    format: u32,
    pub namespace: Namespace,
    pub slot: Slot,
    pub run: Run,
}

/// Every other line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Make { n: u64, undo: Undo },
    Made { n: u64 },
    Undo { n: u64 },
    Undone { n: u64 },
}

/// The progress of a change, or of undoing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// It was made.
    Made,
    /// Undoing it begins.
    Undo,
    /// It is undone, or was never made.
    Undone,
}

/// A journal that is being written. Copies share it.
#[derive(Debug, Clone)]
pub struct Journal {
    run: Run,
    writer: Arc<Mutex<Writer>>,
}

#[derive(Debug)]
struct Writer {
    file: File,
    folder: Arc<Folder>,
    name: String,
    /// The length of the first line, in bytes.
    first: u64,
    next: u64,
    /// The number of changes that are not undone.
    open: usize,
}

impl Journal {
    /// Begins the journal of a run that holds the lock, in the folder that the user chose or the first usable one.
    ///
    /// # Errors
    /// If there is no place for it: then nothing may be changed.
    pub fn create(chosen: Option<&Path>, run: &Run, lock: &Lock) -> Result<Self> {
        let header = Header {
            format: FORMAT,
            namespace: Namespace::current()?,
            slot: lock.first(),
            run: run.clone(),
        };
        Self::begin(Folder::first(chosen)?, &header)
    }

    pub(super) fn begin(folder: Folder, header: &Header) -> Result<Self> {
        let Header { namespace, slot, run, .. } = header;
        let name = format!("{}-{slot}-{}-{}{SUFFIX}", namespace.file_name(), run.pid, run.started);
        let mut file = folder.create(&name)?;
        let doing = || format!("write {}", folder.path(&name).display());
        let line = line(header)?;
        file.write_all(&line).and_then(|()| file.sync_all()).doing(doing)?;
        folder.sync().doing(doing)?;
        let first = line.len() as u64;
        let writer = Writer { file, folder: Arc::new(folder), name, first, next: 1, open: 0 };
        Ok(Self { run: run.clone(), writer: Arc::new(Mutex::new(writer)) })
    }

    /// The run that it belongs to.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Writes to disk how a change is undone; only then may it be made.
    pub(super) fn make(&self, undo: &Undo) -> Result<u64> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let n = writer.next;
        let text = line(&Line::Make { n, undo: undo.clone() })?;
        let written = writer.append(&text).and_then(|()| writer.file.sync_data());
        written.doing(|| format!("write {}", writer.folder.path(&writer.name).display()))?;
        writer.next += 1;
        writer.open += 1;
        Ok(n)
    }

    /// Notes the progress of a change. The note is not synced, and its loss is not an error: without it a change is undone
    /// again, which does no harm.
    pub(super) fn note(&self, n: u64, mark: Mark) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(why) = writer.note(n, mark) {
            log::warn!("write {}: {why}", writer.folder.path(&writer.name).display());
        }
    }
}

impl Writer {
    fn note(&mut self, n: u64, mark: Mark) -> Result<()> {
        let text = line(&match mark {
            Mark::Made => Line::Made { n },
            Mark::Undo => Line::Undo { n },
            Mark::Undone => Line::Undone { n },
        })?;
        if mark == Mark::Undone {
            self.open = self.open.saturating_sub(1);
            if self.open == 0 {
                return self.file.set_len(self.first).doing(|| "truncate the journal");
            }
        }
        self.append(&text).doing(|| "note the progress of a change")
    }

    /// Adds a line. If there is room for a part of it only, that part is removed, so that the next line is whole.
    fn append(&mut self, text: &[u8]) -> std::io::Result<()> {
        let length = self.file.metadata()?.len();
        self.file.write_all(text).inspect_err(|_| {
            // If this fails too, the journal cannot be read, which `restore` reports.
            let _ = self.file.set_len(length);
        })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // The next run, or `restore`, undoes the rest.
        if self.open == 0
            && let Err(why) = self.folder.remove(&self.name)
        {
            log::warn!("remove {}: {why}", self.folder.path(&self.name).display());
        }
    }
}

fn line(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text =
        serde_json::to_vec(value).map_err(|why| Error::failed("write a journal's line", why))?;
    text.push(b'\n');
    Ok(text)
}

/// The content of a journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub header: Header,
    /// The changes that are not undone, by number.
    pub open: BTreeMap<u64, Undo>,
    /// The change that was being made or undone when the last line was written.
    pub unsettled: Option<u64>,
    /// The length of the first line, in bytes.
    first: u64,
    /// The length of all whole lines, in bytes.
    whole: u64,
}

/// Reads a journal. `None` if even its first line is incomplete: then nothing was changed.
///
/// # Errors
/// If it is not a journal of this version, or a line before the last cannot be read.
fn read(bytes: &[u8]) -> Result<Option<Read>, String> {
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut lines = bytes[..whole].split_inclusive(|byte| *byte == b'\n');
    let Some(first) = lines.next() else { return Ok(None) };
    let header: Header =
        serde_json::from_slice(first).map_err(|why| format!("its first line: {why}"))?;
    if header.format != FORMAT {
        return Err(format!("it has format {}, this version knows {FORMAT}", header.format));
    }
    let mut read = Read {
        header,
        open: BTreeMap::new(),
        unsettled: None,
        first: first.len() as u64,
        whole: first.len() as u64,
    };
    for (number, text) in lines.enumerate() {
        let line = match serde_json::from_slice(text) {
            Ok(line) => line,
            // Written in part, after which the disk may have any octets.
            Err(_) if read.whole + text.len() as u64 == bytes.len() as u64 => break,
            Err(why) => return Err(format!("line {}: {why}", number + 2)),
        };
        read.whole += text.len() as u64;
        read.unsettled = None;
        match line {
            Line::Make { n, undo } => {
                read.open.insert(n, undo);
                read.unsettled = Some(n);
            }
            Line::Made { .. } => {}
            Line::Undo { n } => read.unsettled = Some(n),
            Line::Undone { n } => drop(read.open.remove(&n)),
        }
    }
    Ok(Some(read))
}

/// A journal that exists.
#[derive(Debug)]
pub(super) struct Found {
    folder: Arc<Folder>,
    name: String,
}

impl Found {
    /// Every journal of a folder.
    pub fn all(folder: Folder) -> Result<Vec<Self>> {
        let folder = Arc::new(folder);
        let names = folder.names()?.into_iter().filter(|name| name.ends_with(SUFFIX));
        Ok(names.map(|name| Self { folder: folder.clone(), name }).collect())
    }

    /// Its path.
    pub fn path(&self) -> String {
        self.folder.path(&self.name).display().to_string()
    }

    /// Its content; `None` if it is gone, or its first line is incomplete.
    pub fn read(&self) -> Result<Option<Read>> {
        let mut file = match self.folder.file(&self.name) {
            Err(Error::Os { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).doing(|| format!("read {}", self.path()))?;
        read(&bytes).map_err(|why| Error::failed(format!("understand {}", self.path()), why))
    }

    /// Continues it after the last whole line.
    pub fn resume(self, read: &Read) -> Result<Journal> {
        let file = self.folder.file(&self.name)?;
        file.set_len(read.whole).doing(|| format!("truncate {}", self.path()))?;
        let Self { folder, name } = self;
        let next = read.open.keys().next_back().map_or(1, |last| last + 1);
        let writer = Writer { file, folder, name, first: read.first, next, open: read.open.len() };
        Ok(Journal { run: read.header.run.clone(), writer: Arc::new(Mutex::new(writer)) })
    }

    /// Removes it.
    pub fn remove(&self) -> Result<()> {
        self.folder.remove(&self.name).doing(|| format!("remove {}", self.path()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn undo(word: &str) -> Undo {
        let data = json!({ "Command": { "run": [word], "timeout": { "secs": 3, "nanos": 0 } } });
        serde_json::from_value(data).unwrap()
    }

    fn begun() -> (tempfile::TempDir, Journal) {
        let place = tempfile::tempdir().unwrap();
        let header = Header {
            format: FORMAT,
            namespace: Namespace::current().unwrap(),
            slot: Slot::default(),
            run: Run::this("ecn").unwrap(),
        };
        let journal = Journal::begin(Folder::first(Some(place.path())).unwrap(), &header).unwrap();
        (place, journal)
    }

    fn bytes(place: &tempfile::TempDir) -> Vec<u8> {
        let entry = fs::read_dir(place.path()).unwrap().next().unwrap().unwrap();
        fs::read(entry.path()).unwrap()
    }

    #[test]
    fn changes_that_are_not_undone_stay_open() {
        let (place, journal) = begun();
        let one = journal.make(&undo("one")).unwrap();
        let read = |place| super::read(&bytes(place)).unwrap().unwrap();
        assert_eq!((read(&place).open.len(), read(&place).unsettled), (1, Some(one)));
        journal.note(one, Mark::Made);
        let two = journal.make(&undo("two")).unwrap();
        journal.note(two, Mark::Undone);
        assert_eq!(read(&place).open, BTreeMap::from([(one, undo("one"))]));
        assert_eq!(read(&place).unsettled, None);
        journal.note(one, Mark::Undo);
        assert_eq!(read(&place).unsettled, Some(one));
        journal.note(one, Mark::Undone);
        // It is truncated to its first line.
        let read = read(&place);
        assert_eq!((read.whole, read.open.len()), (bytes(&place).len() as u64, 0));
        assert_eq!(read.first, read.whole);
        drop(journal);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_journal_cut_anywhere_has_every_change_that_was_begun() {
        let (place, journal) = begun();
        for word in ["one", "two", "three"] {
            let n = journal.make(&undo(word)).unwrap();
            journal.note(n, Mark::Made);
        }
        let all = bytes(&place);
        let ends: Vec<usize> =
            all.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
        for length in 0..=all.len() {
            let read = read(&all[..length]).unwrap();
            // The header, then `make` on every other line.
            let makes = ends.iter().skip(1).step_by(2).filter(|end| **end <= length).count();
            match read {
                None => assert!(length < ends[0]),
                Some(read) => assert_eq!(read.open.len(), makes, "{length}"),
            }
        }
        // The disk may have other octets in place of the last line.
        let mut torn = all[..ends[5]].to_vec();
        torn.extend(b"\0\0\0\0\n");
        assert_eq!(read(&torn).unwrap().unwrap().open.len(), 3);
        torn.extend(&all[ends[5]..]);
        assert!(read(&torn).unwrap_err().starts_with("line 7: "));
    }

    #[test]
    fn a_journal_continues_after_a_torn_line() {
        let (place, journal) = begun();
        let one = journal.make(&undo("one")).unwrap();
        let two = journal.make(&undo("two")).unwrap();
        drop(journal);
        let path = fs::read_dir(place.path()).unwrap().next().unwrap().unwrap().path();
        let mut text = fs::read(&path).unwrap();
        text.extend(br#"{"made":{"#);
        fs::write(&path, text).unwrap();
        let found = || Found::all(Folder::first(Some(place.path())).unwrap()).unwrap().remove(0);
        let read = found().read().unwrap().unwrap();
        let journal = found().resume(&read).unwrap();
        journal.note(two, Mark::Undone);
        assert_eq!(found().read().unwrap().unwrap().open, BTreeMap::from([(one, undo("one"))]));
        journal.note(one, Mark::Undone);
        drop(journal);
        assert!(!path.exists());
    }

    #[test]
    fn other_formats_are_rejected() {
        let (place, journal) = begun();
        let text = String::from_utf8(bytes(&place)).unwrap();
        let newer = text.replacen("\"format\":1", "\"format\":2", 1);
        assert!(read(newer.as_bytes()).unwrap_err().contains("format 2"));
        assert!(read(b"nonsense\n").is_err());
        drop(journal);
    }
}
