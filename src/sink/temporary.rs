//! A file that exists only once it is complete.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::write_error;
use crate::error::{Error, Result};
use crate::files::{Folder, Place};

/// A file under an unguessable temporary name (`.NAME.tmp-RANDOM`, in the folder of the final one), removed on drop
/// unless it was [kept](Temporary::keep). It is locked while it is open, so a leftover of a killed process can be
/// distinguished from a file that is being written.
#[derive(Debug)]
pub struct Temporary {
    /// The final name and its folder.
    place: Place,
    path: PathBuf,
    /// The folder in which it grows, if that is another one.
    home: Option<Folder>,
    temporary: OsString,
    /// `None` once there is nothing left to remove.
    file: Option<File>,
}

impl Temporary {
    /// Starts the file that will be `path`.
    ///
    /// # Errors
    /// [`Error::Usage`] if it can never get this name.
    pub fn create(path: &Path) -> Result<Self> {
        Self::at(Place::of(path)?)
    }

    /// Starts the file of this place.
    ///
    /// # Errors
    /// As [`Temporary::create`].
    pub fn at(place: Place) -> Result<Self> {
        Self::grown_in(place, None)
    }

    /// Starts a file in a folder of ours. It grows in `home`, which must be on the same file system: a folder of
    /// which readers expect that it has whole files only never has another one.
    ///
    /// # Errors
    /// As [`Temporary::create`].
    pub(super) fn by_way_of(home: &Folder, folder: &Folder, name: &str) -> Result<Self> {
        Self::grown_in(Place::within(folder, name)?, Some(home.try_clone()?))
    }

    fn grown_in(place: Place, home: Option<Folder>) -> Result<Self> {
        let path = place.path();
        let temporary = hidden(place.name(), &format!("tmp-{:032x}", rand::random::<u128>()));
        let at = home.as_ref().unwrap_or(place.folder());
        let file = at.create_new(&temporary).map_err(|error| {
            let folder = at.path().display();
            Error::Usage(format!("write {}: cannot write in {folder}: {error}", path.display()))
        })?;
        // Without file locks, leftovers stay.
        let _ = file.try_lock();
        Ok(Self { place, path, home, temporary, file: Some(file) })
    }

    /// Starts a file in a folder of ours.
    ///
    /// # Errors
    /// As [`Temporary::create`].
    pub(super) fn within(folder: &Folder, name: &str) -> Result<Self> {
        Self::at(Place::within(folder, name)?)
    }

    /// Starts another file whose name has this suffix. Does not follow a link of that name.
    ///
    /// # Errors
    /// As [`Temporary::create`].
    pub(super) fn sibling(&self, ending: &str) -> Result<Self> {
        let mut name = self.place.name().to_owned();
        name.push(ending);
        Self::at(self.place.sibling(name)?)
    }

    /// Starts another version of this file, to be kept instead of it.
    ///
    /// # Errors
    /// As [`Temporary::create`].
    pub(super) fn again(&self) -> Result<Self> {
        Self::at(Place::within(self.place.folder(), self.place.name())?)
    }

    /// Removes what killed processes have left of the file of this place.
    pub fn sweep(place: &Place) {
        let hidden = hidden(place.name(), "tmp-");
        let folder = place.folder();
        for name in folder.names().unwrap_or_default() {
            let left = name.as_encoded_bytes().starts_with(hidden.as_encoded_bytes())
                && folder.read(&name).is_ok_and(|file| file.try_lock().is_ok());
            if left {
                // A hidden file does no harm.
                let _ = folder.remove(&name);
            }
        }
    }

    /// A second handle for writing.
    pub fn writer(&self) -> Result<File> {
        self.file().and_then(File::try_clone).map_err(|error| write_error(&self.path, error))
    }

    /// The final name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the contents to disk, so that [`keep`](Temporary::keep) cannot fail for lack of space.
    pub fn sync(&self) -> Result<()> {
        self.file().and_then(File::sync_all).map_err(|error| write_error(&self.path, error))
    }

    /// Renames the file; from here on it exists, also after a power failure.
    pub fn keep(mut self) -> Result<PathBuf> {
        self.sync()?;
        let (home, folder) = (self.home(), self.place.folder());
        let kept = home.move_to(&self.temporary, folder, self.place.name());
        kept.map_err(|error| write_error(&self.path, error))?;
        self.file = None;
        self.place.folder().sync().map_err(|error| write_error(&self.path, error))?;
        Ok(self.path.clone())
    }

    fn home(&self) -> &Folder {
        self.home.as_ref().unwrap_or(self.place.folder())
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// A temporary file whose contents go somewhere else, to make writes fail.
    #[cfg(test)]
    pub fn onto(path: &Path, file: File) -> Self {
        let place = Place::of(path).unwrap();
        let path = path.to_owned();
        Self { place, path, home: None, temporary: ".never".into(), file: Some(file) }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.file.is_some() {
            // The error cannot be reported from here, and a hidden file does no harm.
            let _ = self.home().remove(&self.temporary);
        }
    }
}

/// `.NAME.ending`
pub(super) fn hidden(name: &OsStr, ending: &str) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(".");
    hidden.push(ending);
    hidden
}
