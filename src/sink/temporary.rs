//! A file that is there when it is whole, and otherwise not at all.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use super::write_error;
use crate::error::{Error, Result};

/// A file under a temporary name (`.NAME.tmp-PID`, beside the final one), removed on drop unless
/// it was [kept](Temporary::keep). It is locked while it is open, so that one whose process was killed can be told
/// from one that is being written.
#[derive(Debug)]
pub struct Temporary {
    /// The name that the file will have.
    path: PathBuf,
    temporary: PathBuf,
    /// `None` once there is nothing left to remove.
    file: Option<File>,
}

impl Temporary {
    /// Starts the file that will be `path`.
    ///
    /// # Errors
    /// [`Error::Usage`] if it cannot ever get this name.
    pub fn create(path: &Path) -> Result<Self> {
        let refuse = |why: String| Error::Usage(format!("write {}: {why}", path.display()));
        // The result goes where a link points to; the link stays.
        let path = if path.is_symlink() {
            fs::canonicalize(path).map_err(|error| refuse(error.to_string()))?
        } else {
            path.to_owned()
        };
        if path.exists() && !path.is_file() {
            return Err(refuse("it exists and is not a regular file".into()));
        }
        let Some(name) = path.file_name() else {
            return Err(refuse("this is not the name of a file".into()));
        };
        let folder = folder(&path);
        if !folder.is_dir() {
            return Err(refuse(format!("there is no folder {}", folder.display())));
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".tmp-{}", process::id()));
        let temporary = folder.join(hidden);
        // The name can be guessed, and the folder may be everybody's: never write through a link
        // that somebody left there. A leftover of a killed run with this number goes.
        let _ = fs::remove_file(&temporary);
        let file = File::create_new(&temporary)
            .map_err(|error| refuse(format!("cannot write in {}: {error}", folder.display())))?;
        // Where there are no locks, leftovers stay.
        let _ = file.try_lock();
        Ok(Self { path, temporary, file: Some(file) })
    }

    /// Removes what processes that were killed have left of the file `path`.
    pub fn sweep(path: &Path) {
        let Some(name) = path.file_name() else { return };
        let hidden = format!(".{}.tmp-", name.to_string_lossy());
        let Ok(entries) = fs::read_dir(folder(path)) else { return };
        for entry in entries.flatten() {
            let left = entry.file_name().to_string_lossy().starts_with(&hidden)
                && entry.file_type().is_ok_and(|kind| kind.is_file())
                && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
            if left {
                // A hidden file does no harm.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// A second handle to write with.
    pub fn writer(&self) -> Result<File> {
        self.file().and_then(File::try_clone).map_err(|error| write_error(&self.path, error))
    }

    /// The name that the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the contents to disk, so that [`keep`](Temporary::keep) cannot fail for lack of
    /// room.
    pub fn sync(&self) -> Result<()> {
        self.file().and_then(File::sync_all).map_err(|error| write_error(&self.path, error))
    }

    /// Gives the file its name; from here on it is there, also after a power failure.
    pub fn keep(mut self) -> Result<PathBuf> {
        self.sync()?;
        fs::rename(&self.temporary, &self.path).map_err(|error| write_error(&self.path, error))?;
        self.file = None;
        sync_folder(folder(&self.path)).map_err(|error| write_error(&self.path, error))?;
        Ok(self.path.clone())
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A temporary file whose contents go somewhere else, to see writes fail.
    #[cfg(test)]
    pub fn onto(path: &Path, file: File) -> Self {
        Self { path: path.to_owned(), temporary: path.with_extension("never"), file: Some(file) }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Nobody is left to tell, and a hidden file does no harm.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// The folder that a file stands in.
pub(super) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The rename itself is on disk only when the folder is.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // A folder that may be written but not read, or a file system without the notion: the
        // file itself is on disk all the same.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::PermissionDenied
                    | io::ErrorKind::InvalidInput
                    | io::ErrorKind::Unsupported
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}
