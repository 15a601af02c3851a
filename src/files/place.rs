//! Where a path leads, resolved component by component.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::Folder;
use super::owner::{self, REMEDY};
use crate::error::{Error, Result};

/// Maximum number of links followed, the same as in the kernel.
const MOST_LINKS: u32 = 40;

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
        let named = walk(path).map_err(refuse)?;
        let Named { folder, name, about, .. } = named;
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

/// The end of a path.
pub(super) struct Named {
    pub folder: Folder,
    /// `None` if the path ends in a folder that has no name of its own (`..`, `/`).
    pub name: Option<OsString>,
    /// Its metadata, if it exists. Never a link.
    pub about: Option<Stat>,
    /// Whether it is at the very name, and not at the target of a link there.
    is_as_written: bool,
}

/// Resolves a path up to its last name, and a link there, as far as [`owner`] allows.
///
/// # Errors
/// In words, without the path.
pub(super) fn walk(path: &Path) -> Result<Named, String> {
    let mut walk =
        Walk { at: None, shown: PathBuf::new(), left: Vec::new(), links: 0, elsewhere: false };
    walk.push(path)?;
    let mut named = walk.go()?;
    if let Some(name) = named.is_as_written.then_some(&named.name) {
        let shown = if name.is_some() { path.parent().unwrap_or(path) } else { path };
        named.folder = named.folder.called(shown.to_owned());
    }
    Ok(named)
}

struct Walk {
    /// `None` before the first step.
    at: Option<OwnedFd>,
    /// Its path for messages.
    shown: PathBuf,
    /// The remaining components, the last first.
    left: Vec<OsString>,
    links: u32,
    /// Whether a link at the very name was followed.
    elsewhere: bool,
}

impl Walk {
    /// Prepends a path to the remaining components.
    fn push(&mut self, path: &Path) -> Result<(), String> {
        if path.as_os_str().is_empty() {
            return Err("an empty name".into());
        }
        let components: Vec<Component<'_>> = path.components().collect();
        for component in components.iter().rev() {
            match component {
                Component::RootDir | Component::Prefix(_) => {}
                other => self.left.push(other.as_os_str().to_owned()),
            }
        }
        if path.is_absolute() {
            self.at = None;
            self.shown = PathBuf::from("/");
        }
        if self.at.is_none() {
            let start = if path.is_absolute() { "/" } else { "." };
            self.at = Some(self.folder(OsStr::new(start))?);
        }
        Ok(())
    }

    fn folder(&self, name: &OsStr) -> Result<OwnedFd, String> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = match &self.at {
            Some(at) => openat(at, name, flags, Mode::empty()),
            None => openat(CWD, name, flags, Mode::empty()),
        };
        opened.map_err(|why| no_folder(&self.shown.join(name), why))
    }

    fn go(mut self) -> Result<Named, String> {
        while let Some(name) = self.left.pop() {
            let is_last = self.left.is_empty();
            if name == "." || name == ".." {
                let at = self.folder(&name)?;
                self.step(at, &name);
                continue;
            }
            let Some(at) = &self.at else { return Err("no folder to start from".into()) };
            let about = match statat(at, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(about) => Some(about),
                Err(Errno::NOENT) if is_last => None,
                Err(why) => return Err(no_folder(&self.shown.join(&name), why)),
            };
            match about {
                Some(about) if owner::kind(&about) == FileType::Symlink => {
                    self.follow(&name, &about, is_last)?;
                }
                about if is_last => {
                    let at = self.at.take().ok_or("no folder")?;
                    let folder = Folder::of(at, self.shown);
                    let is_as_written = !self.elsewhere;
                    return Ok(Named { folder, name: Some(name), about, is_as_written });
                }
                _ => {
                    let at = self.folder(&name)?;
                    self.step(at, &name);
                }
            }
        }
        let at = self.at.take().ok_or("no folder")?;
        let (folder, is_as_written) = (Folder::of(at, self.shown), !self.elsewhere);
        Ok(Named { folder, name: None, about: None, is_as_written })
    }

    fn step(&mut self, at: OwnedFd, name: &OsStr) {
        self.at = Some(at);
        self.shown.push(name);
    }

    fn follow(&mut self, name: &OsStr, about: &Stat, is_last: bool) -> Result<(), String> {
        let shown = self.shown.join(name);
        let failed = |why: Errno| format!("{}: {why}", shown.display());
        let at = self.at.as_ref().ok_or("no folder")?;
        let folder = fstat(at).map_err(failed)?;
        if let Some(why) = owner::link(about, &folder, is_last) {
            let place = if is_last { String::new() } else { format!("{}: ", shown.display()) };
            return Err(format!("{place}{why}, which is not followed; {REMEDY}"));
        }
        self.elsewhere |= is_last;
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(failed(Errno::LOOP));
        }
        let target = readlinkat(at, name, Vec::new()).map_err(failed)?.into_bytes();
        self.push(Path::new(&OsString::from_vec(target)))
    }
}

fn no_folder(path: &Path, why: Errno) -> String {
    match why {
        Errno::NOENT | Errno::NOTDIR => format!("there is no folder {}", path.display()),
        why => format!("open {}: {why}", path.display()),
    }
}
