//! The journal of a run whose records are in parts: what run it is, and what is done. JSON lines, each on disk
//! before the run goes on; a line that was cut off by the end of the world is passed over.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::write_error;
use crate::error::{Doing as _, Error, Result};
use crate::files::Folder;

/// Its name in the folder of the parts.
pub const NAME: &str = "journal.ndjson";

/// How it begins: its first line says which run it is of.
const BEGINNING: &[u8] = b"{\"run\":";

/// An open journal. As long as it is open no other run can open it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// The lines that were there when it was opened.
    lines: Vec<Value>,
    /// Whether a run has begun it.
    ours: bool,
    /// What keeps other runs out where the file system has no locks.
    _name: Option<UnixListener>,
}

impl Journal {
    /// Opens the journal of a folder, or begins one.
    ///
    /// # Errors
    /// [`Error::Usage`] if another run has it, or if it is no file of ours (see [`Folder::append`]).
    pub fn open(folder: &Folder) -> Result<Self> {
        Self::open_with(folder, File::try_lock)
    }

    fn open_with(
        folder: &Folder,
        lock: impl Fn(&File) -> std::result::Result<(), TryLockError>,
    ) -> Result<Self> {
        let path = folder.path().join(NAME);
        let doing = || format!("open {}", path.display());
        let (mut file, is_new) = folder.append(OsStr::new(NAME))?;
        let (place, folder) = (folder, folder.path());
        let mut name = None;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(folder)),
            Err(TryLockError::Error(why)) => {
                log::warn!(
                    "{}: this file system has no locks ({why}): only runs of this network namespace are kept out",
                    folder.display()
                );
                let locked = lock_by_name(&file, folder).inspect_err(|_| {
                    // Nobody else has begun it: a run that has would keep its name.
                    if is_new {
                        let _ = place.remove(OsStr::new(NAME));
                    }
                });
                name = Some(locked?);
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).doing(doing)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        // The first line may have been cut off, too.
        let ours = bytes.iter().zip(BEGINNING).all(|(byte, known)| byte == known);
        let journal = Self { path, file, lines, ours, _name: name };
        if journal.ours && !bytes.is_empty() && !bytes.ends_with(b"\n") {
            journal.append(b"\n")?;
        }
        Ok(journal)
    }

    /// The lines that were there when it was opened.
    pub fn lines(&self) -> &[Value] {
        &self.lines
    }

    /// Makes it empty.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is something else of this name.
    pub fn clear(&mut self) -> Result<()> {
        if !self.ours {
            let path = self.path.display();
            return Err(Error::Usage(format!(
                "write {path}: it is there and is no journal of a run"
            )));
        }

        self.lines.clear();
        let cleared = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cleared.map(drop).map_err(|error| write_error(&self.path, error))
    }

    /// Adds a line; it is on disk when this returns.
    pub fn add(&self, line: &Value) -> Result<()> {
        self.append(format!("{line}\n").as_bytes())
    }

    fn append(&self, bytes: &[u8]) -> Result<()> {
        let written = (&self.file).write_all(bytes).and_then(|()| self.file.sync_data());
        written.map_err(|error| write_error(&self.path, error))
    }
}

fn taken(folder: &Path) -> Error {
    Error::Usage(format!("write {}: another run writes there now", folder.display()))
}

/// Keeps other runs out by a socket whose name says which file it is about. A network namespace has each name once, and
/// the kernel frees it with the process.
fn lock_by_name(file: &File, folder: &Path) -> Result<UnixListener> {
    let doing = || format!("lock {}", folder.display());
    let about = file.metadata().doing(doing)?;
    let name = format!("pathspider/output/{}/{}", about.dev(), about.ino());
    let address = SocketAddr::from_abstract_name(name).doing(doing)?;
    match UnixListener::bind_addr(&address) {
        Err(why) if why.kind() == ErrorKind::AddrInUse => Err(taken(folder)),
        other => other.doing(doing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    fn at(folder: &tempfile::TempDir) -> Folder {
        Folder::open(folder.path()).unwrap()
    }

    #[test]
    fn a_line_that_was_cut_off_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&at(&folder)).unwrap();
        journal.add(&json!({"run": 1})).unwrap();
        drop(journal);
        let path = folder.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + "{\"part\": \"pa").unwrap();
        let journal = Journal::open(&at(&folder)).unwrap();
        assert_eq!(journal.lines(), [json!({"run": 1})]);
        journal.add(&json!({"part": 2})).unwrap();
        drop(journal);
        let mut journal = Journal::open(&at(&folder)).unwrap();
        assert_eq!(journal.lines(), [json!({"run": 1}), json!({"part": 2})]);
        journal.clear().unwrap();
        journal.add(&json!(3)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        drop(journal);
        let why = Journal::open(&at(&folder)).unwrap().clear().unwrap_err();
        assert!(why.to_string().contains("no journal"), "{why}");
    }

    #[test]
    fn two_runs_do_not_write_to_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Journal::open(&at(&folder)).unwrap();
        let why = Journal::open(&at(&folder)).unwrap_err();
        assert!(why.to_string().contains("another run"), "{why}");
    }

    #[test]
    fn a_file_system_without_locks_keeps_runs_out_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let none = |_: &File| Err(TryLockError::Error(ErrorKind::Unsupported.into()));
        let first = Journal::open_with(&at(&folder), none).unwrap();
        first.add(&json!({"run": 1})).unwrap();
        let why = Journal::open_with(&at(&folder), none).unwrap_err();
        assert!(matches!(why, Error::Usage(_)) && why.to_string().contains("another run"), "{why}");
        drop(first);
        assert_eq!(Journal::open_with(&at(&folder), none).unwrap().lines().len(), 1);
    }
}
