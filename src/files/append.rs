//! A file that lines are appended to: `--status`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, fcntl_getfl, fcntl_setfl, fstat, open, openat};
use rustix::io::Errno;

use super::input::duplicate;
use super::owner::{self, REMEDY};
use super::{Folder, descriptor};
use crate::error::{Error, Result};

/// A file, pipe or terminal to which lines are appended.
#[derive(Debug)]
pub struct Log {
    folder: Folder,
    name: std::ffi::OsString,
    /// Its metadata when the user named it.
    about: Stat,
}

/// The result of opening.
#[derive(Debug)]
pub enum Opened {
    /// Writable now.
    File(File),
    /// A pipe without a reader; [`Log::try_open`] succeeds once there is one.
    NoReader(Log),
}

impl Log {
    /// Opens what the user named and creates it if it does not exist; `-` is standard output. Never blocks.
    ///
    /// # Errors
    /// [`Error::Usage`] if it cannot be opened, or if others could redirect what is written (see
    /// [`files`](crate::files)).
    pub fn open(path: &Path, option: &str) -> Result<Opened> {
        let refuse = |why: String| Error::Usage(format!("open {option} {}: {why}", path.display()));
        let words = |why: io::Error| refuse(why.to_string());
        if path.as_os_str() == "-" {
            let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(words)?;
            return Ok(Opened::File(stdout.into()));
        }
        if let Some(number) = descriptor(path) {
            // A new open file description with its own position, if permitted.
            let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY;
            let again = open(path, flags | OFlags::NONBLOCK, Mode::empty());
            let file = match again {
                Ok(file) => blocking(file.into()),
                Err(why) => duplicate(number).map_err(|_| why.into()),
            };
            return file.map(Opened::File).map_err(words);
        }
        let (folder, name, _) = Folder::walk(path).map_err(refuse)?;
        let name = name.ok_or_else(|| refuse("this is not the name of a file".into()))?;
        let flags = OFlags::CREATE | OFlags::EXCL;
        match openat_of(&folder, &name, flags) {
            Ok(file) => return Ok(Opened::File(file)),
            Err(Errno::EXIST) => {}
            Err(why) => return Err(refuse(why.to_string())),
        }
        let about = folder
            .about(&name)
            .map_err(words)?
            .ok_or_else(|| refuse("it was removed meanwhile".into()))?;
        let log = Self { folder, name, about };
        log.check(&about).map_err(refuse)?;
        match log.try_open().map_err(words)? {
            Some(file) => Ok(Opened::File(file)),
            None => Ok(Opened::NoReader(log)),
        }
    }

    fn check(&self, about: &Stat) -> Result<(), String> {
        let folder = self.folder.stat().map_err(|why| why.to_string())?;
        let kind = owner::kind(about);
        if matches!(kind, FileType::Directory | FileType::Symlink | FileType::Socket) {
            return Err(format!(
                "it is {}, and lines cannot be appended to that",
                owner::called(kind)
            ));
        }
        let why = owner::foreign(about, &folder).or_else(|| owner::linked(about, &folder));
        why.map_or(Ok(()), |why| Err(format!("{why}; {REMEDY}")))
    }

    /// Opens it again; `None` if it is a pipe without a reader.
    ///
    /// # Errors
    /// If it cannot be opened, or the path leads to another file now.
    pub fn try_open(&self) -> io::Result<Option<File>> {
        let file = match openat_of(&self.folder, &self.name, OFlags::empty()) {
            Ok(file) => file,
            Err(Errno::NXIO) if owner::kind(&self.about) == FileType::Fifo => return Ok(None),
            Err(why) => return Err(why.into()),
        };
        let now = fstat(&file)?;
        if (now.st_dev, now.st_ino) != (self.about.st_dev, self.about.st_ino) {
            return Err(io::Error::other("it is another file by now"));
        }
        Ok(Some(blocking(file)?))
    }

    /// Its name in messages.
    pub fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }
}

fn openat_of(folder: &Folder, name: &std::ffi::OsStr, more: OFlags) -> Result<File, Errno> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = flags | OFlags::NOCTTY | OFlags::CLOEXEC | more;
    openat(folder.handle(), name, flags, Mode::from_bits_truncate(0o666)).map(File::from)
}

/// Only opening must not block; each write checks beforehand whether it would.
fn blocking(file: File) -> io::Result<File> {
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}
