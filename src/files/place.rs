//! The place of a file that the user named.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use super::Folder;
use super::owner::{self, REMEDY};
use crate::error::{Error, Result};

/// The place of a file that the user named: an open folder and the name of a regular file, which may not exist yet.
#[derive(Debug)]
pub struct Place {
    folder: Folder,
    name: OsString,
}

impl Place {
    /// The place of a file to be written.
    ///
    /// # Errors
    /// [`Error::Usage`] if the folder does not exist, if the name belongs to something other than a regular file, or
    /// if other users could redirect what is written (see [`files`](crate::files)).
    pub fn of(path: &Path) -> Result<Self> {
        let refuse = |why: String| Error::Usage(format!("write {}: {why}", path.display()));
        let (folder, name, about) = Folder::walk(path).map_err(refuse)?;
        let Some(name) = name else {
            return Err(refuse("this is not the name of a file".into()));
        };
        let place = Self { folder, name };
        place.check(about.as_ref()).map_err(|why| match why.starts_with("it exists") {
            true => refuse(why),
            false => refuse(format!("{why}; {REMEDY}")),
        })?;
        Ok(place)
    }

    /// The place of another file in the same folder. Does not follow a link there.
    ///
    /// # Errors
    /// As [`Place::of`].
    pub fn sibling(&self, name: OsString) -> Result<Self> {
        let place = Self { folder: self.folder.try_clone()?, name };
        let refuse = |why: String| Error::Usage(format!("write {}: {why}", place.path().display()));
        let about = place.folder.about(&place.name).map_err(|why| refuse(why.to_string()))?;
        place.check(about.as_ref()).map_err(refuse)?;
        Ok(place)
    }

    /// A new file or folder in an open folder.
    pub(crate) fn within(folder: &Folder, name: impl Into<OsString>) -> Result<Self> {
        Ok(Self { folder: folder.try_clone()?, name: name.into() })
    }

    fn check(&self, about: Option<&Stat>) -> Result<(), String> {
        let Some(about) = about else { return Ok(()) };
        match owner::kind(about) {
            FileType::RegularFile => {}
            FileType::Symlink => {
                return Err("it exists and is a link, which is not followed".into());
            }
            _ => return Err("it exists and is not a regular file".into()),
        }
        let folder = self.folder.stat().map_err(|why| why.to_string())?;
        owner::foreign(about, &folder).map_or(Ok(()), Err)
    }

    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The name in it.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The path, for messages.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

/// Creates a file that must not exist. A link at its name counts as existing.
///
/// # Errors
/// [`Error::Usage`] if other users could redirect what is written; the inner error is the kernel's.
pub fn create_new(path: &Path) -> Result<io::Result<File>> {
    let refuse = |why: String| Error::Usage(format!("write {}: {why}", path.display()));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Some(name) = path.file_name() else {
        return Err(refuse("this is not the name of a file".into()));
    };
    Ok(Folder::open(folder.unwrap_or(Path::new(".")))?.create_new(name))
}
