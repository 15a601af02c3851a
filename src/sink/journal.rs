//! The journal of a run whose records are in parts: what run it is, and what is done. JSON lines, each on disk
//! before the run goes on; a line that was cut off by the end of the world is passed over.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::write_error;
use crate::error::{Doing as _, Error, Result};

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
}

impl Journal {
    /// Opens the journal of a folder, or begins one.
    ///
    /// # Errors
    /// [`Error::Usage`] if another run has it.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(NAME);
        let doing = || format!("open {}", path.display());
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(&path).doing(doing)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let path = folder.display();
                return Err(Error::Usage(format!("write {path}: another run writes there now")));
            }
            Err(TryLockError::Error(source)) => return Err(source).doing(doing),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).doing(doing)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        // The first line may have been cut off, too.
        let ours = bytes.iter().zip(BEGINNING).all(|(byte, known)| byte == known);
        let journal = Self { path, file, lines, ours };
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    #[test]
    fn a_line_that_was_cut_off_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        journal.add(&json!({"run": 1})).unwrap();
        drop(journal);
        let path = folder.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + "{\"part\": \"pa").unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.lines(), [json!({"run": 1})]);
        journal.add(&json!({"part": 2})).unwrap();
        drop(journal);
        let mut journal = Journal::open(folder.path()).unwrap();
        assert_eq!(journal.lines(), [json!({"run": 1}), json!({"part": 2})]);
        journal.clear().unwrap();
        journal.add(&json!(3)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "3\n");
        drop(journal);
        let why = Journal::open(folder.path()).unwrap().clear().unwrap_err();
        assert!(why.to_string().contains("no journal"), "{why}");
    }

    #[test]
    fn two_runs_do_not_write_to_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Journal::open(folder.path()).unwrap();
        let why = Journal::open(folder.path()).unwrap_err();
        assert!(why.to_string().contains("another run"), "{why}");
    }
}
