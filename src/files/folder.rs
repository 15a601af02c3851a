//! An open folder. Names in it are looked up without following links.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat, fstat, linkat, mkdirat,
    openat, openat2, renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::owner::{self, REMEDY};
use super::walk::{self, Named};
use crate::error::{Doing as _, Error, Result};

/// An open folder: names are looked up in it, wherever its path leads by now.
#[derive(Debug)]
pub struct Folder {
    handle: OwnedFd,
    path: PathBuf,
}

impl Folder {
    /// Opens the folder that the user named. A link at that name is followed if the user owns it.
    ///
    /// # Errors
    /// [`Error::Usage`] if it does not exist, or if other users could redirect what is written to it.
    pub fn open(path: &Path) -> Result<Self> {
        let refuse = |why: String| Error::Usage(format!("open folder {}: {why}", path.display()));
        let (folder, name, about) = Self::walk(path).map_err(refuse)?;
        match (name, about) {
            (None, _) => Ok(folder),
            (Some(_), None) => Err(refuse("it does not exist".into())),
            (Some(name), Some(_)) => folder.folder(&name),
        }
    }

    /// Opens the folder that the user named, or creates it; returns whether it was created.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn make(path: &Path) -> Result<(Self, bool)> {
        Self::make_with(path, 0o777)
    }

    /// The same with a mode, to which the umask applies.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn make_with(path: &Path, mode: u32) -> Result<(Self, bool)> {
        let refuse = |why: String| Error::Usage(format!("make folder {}: {why}", path.display()));
        let (folder, name, _) = Self::walk(path).map_err(refuse)?;
        let Some(name) = name else { return Ok((folder, false)) };
        let made = match mkdirat(&folder.handle, &name, Mode::from_bits_truncate(mode)) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(why) => return Err(refuse(why.to_string())),
        };
        Ok((folder.folder(&name)?, made))
    }

    /// Where a path leads: its folder, its last name unless it ends in `..` or `/`, and the metadata of that name.
    pub(super) fn walk(path: &Path) -> Result<(Self, Option<OsString>, Option<Stat>), String> {
        let Named { folder, path, name, about, .. } = walk::walk(path)?;
        Ok((Self { handle: folder, path }, name, about))
    }

    /// Opens a folder by its name in this one.
    ///
    /// # Errors
    /// [`Error::Usage`] if it is not a folder, or if other users own it where root must own it.
    pub fn folder(&self, name: &OsStr) -> Result<Self> {
        let path = self.join(name);
        let refuse = |why: String| Error::Usage(format!("open folder {}: {why}", path.display()));
        self.about(name).map_err(|why| refuse(why.to_string())).and_then(|about| match about {
            None => Err(refuse("it does not exist".into())),
            Some(about) if owner::kind(&about) == FileType::Directory => Ok(()),
            Some(about) => {
                let what = owner::called(owner::kind(&about));
                Err(refuse(format!("it is {what}, not a folder")))
            }
        })?;
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let handle = self.open_at(name, flags).map_err(|why| refuse(why.to_string()))?;
        let about = fstat(&handle).map_err(|why| refuse(why.to_string()))?;
        let above = self.stat().map_err(|why| refuse(why.to_string()))?;
        if let Some(why) = owner::foreign(&about, &above) {
            return Err(refuse(format!("{why}; {REMEDY}")));
        }
        Ok(Self { handle, path })
    }

    /// Its path for messages.
    pub fn path(&self) -> &Path {
        if self.path.as_os_str().is_empty() { Path::new(".") } else { &self.path }
    }

    /// The path of a name in it, for messages.
    pub fn join(&self, name: &OsStr) -> PathBuf {
        self.path.join(name)
    }

    /// A second handle.
    ///
    /// # Errors
    /// If the process or the kernel has no descriptors left.
    pub fn try_clone(&self) -> Result<Self> {
        let doing = || format!("open {}", self.path().display());
        Ok(Self { handle: self.handle.try_clone().doing(doing)?, path: self.path.clone() })
    }

    /// Creates a file; the name must not exist.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn create_new(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        self.open_at(name, flags).map(File::from)
    }

    /// Opens a regular file of this folder for reading.
    ///
    /// # Errors
    /// [`Error::Usage`] if it does not exist, is not a regular file, or belongs to another user where root must own
    /// it.
    pub fn read(&self, name: &OsStr) -> Result<File> {
        let path = self.join(name);
        self.regular(name, OFlags::RDONLY, |_, _| None)
            .map_err(|why| Error::Usage(format!("read {}: {why}", path.display())))
    }

    /// Opens a regular file of this folder for reading and appending, or creates it; returns whether it was created.
    ///
    /// # Errors
    /// As [`read`](Folder::read), and if it has several hard links.
    pub fn append(&self, name: &OsStr) -> Result<(File, bool)> {
        let path = self.join(name);
        let flags = OFlags::RDWR | OFlags::APPEND;
        match self.open_at(name, flags | OFlags::CREATE | OFlags::EXCL) {
            Ok(file) => return Ok((file.into(), true)),
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
            Err(why) => return Err(why).doing(|| format!("open {}", path.display())),
        }
        let opened = self.regular(name, flags, owner::linked);
        let file = opened.map_err(|why| Error::Usage(format!("open {}: {why}", path.display())))?;
        Ok((file, false))
    }

    /// Opens a regular file if the checks allow it.
    fn regular(
        &self,
        name: &OsStr,
        flags: OFlags,
        more: impl Fn(&Stat, &Stat) -> Option<String>,
    ) -> Result<File, String> {
        let words = |why: io::Error| why.to_string();
        // Before opening, since opening a pipe or a device has side effects.
        let about = self.about(name).map_err(words)?.ok_or("it does not exist")?;
        self.usable(&about, &more)?;
        let file = self.open_at(name, flags).map_err(words)?;
        self.usable(&fstat(&file).map_err(|why| why.to_string())?, &more)?;
        Ok(file.into())
    }

    /// Rejects what is not a regular file, or what other users put there.
    fn usable(
        &self,
        about: &Stat,
        more: impl Fn(&Stat, &Stat) -> Option<String>,
    ) -> Result<(), String> {
        let kind = owner::kind(about);
        if kind != FileType::RegularFile {
            return Err(format!("it is {}, not a regular file", owner::called(kind)));
        }
        let folder = self.stat().map_err(|why| why.to_string())?;
        match owner::foreign(about, &folder).or_else(|| more(about, &folder)) {
            Some(why) => Err(format!("{why}; {REMEDY}")),
            None => Ok(()),
        }
    }

    /// Whether [`append`](Folder::append) would open or create a file; opens nothing.
    ///
    /// # Errors
    /// As [`append`](Folder::append).
    pub fn can_append(&self, name: &OsStr) -> Result<()> {
        let refuse = |why| Error::Usage(format!("open {}: {why}", self.join(name).display()));
        match self.about(name).map_err(|why| refuse(why.to_string()))? {
            Some(about) => self.usable(&about, owner::linked).map_err(refuse),
            None => Ok(()),
        }
    }

    /// The metadata of a name, if it exists.
    pub(super) fn about(&self, name: &OsStr) -> io::Result<Option<Stat>> {
        match statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) => Ok(Some(about)),
            Err(Errno::NOENT) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }

    /// Checks that its path still leads to it.
    ///
    /// # Errors
    /// If the folder was renamed or removed.
    pub fn is_in_its_place(&self) -> io::Result<()> {
        let (here, there) = (self.stat()?, rustix::fs::stat(self.path())?);
        match (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) {
            true => Ok(()),
            false => Err(io::Error::other("another folder is in its place")),
        }
    }

    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    pub(super) fn stat(&self) -> io::Result<Stat> {
        Ok(fstat(&self.handle)?)
    }

    /// Opens a name in this folder: follows no links, and does not wait for the peer of a pipe.
    fn open_at(&self, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = match flags.contains(OFlags::PATH) {
            true => flags | OFlags::CLOEXEC,
            false => flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
        };
        let mode = match flags.contains(OFlags::CREATE) {
            true => Mode::from_bits_truncate(0o666),
            false => Mode::empty(),
        };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match openat2(&self.handle, name, flags, mode, resolve) {
            // Before Linux 5.6, and where a container forbids it. A single name has nothing else to resolve.
            Err(Errno::NOSYS | Errno::PERM) if !name.as_bytes().contains(&b'/') => {
                Ok(openat(&self.handle, name, flags | OFlags::NOFOLLOW, mode)?)
            }
            other => Ok(other?),
        }
    }

    /// The names in it, sorted.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn names(&self) -> Result<Vec<OsString>> {
        let doing = || format!("read {}", self.path().display());
        let folder = self.readable().doing(doing)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(&folder).doing(doing)? {
            let entry = entry.doing(doing)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// A handle for syncing it to disk.
    ///
    /// # Errors
    /// If it may not be read.
    pub fn file(&self) -> io::Result<File> {
        self.readable().map(File::from)
    }

    fn readable(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(&self.handle, ".", flags, Mode::empty())?)
    }

    /// Renames a file or folder within this folder, and replaces what has the new name.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.handle, from, &self.handle, to)?)
    }

    /// Renames a file of this folder to one of another folder on the same file system, and replaces what has that name.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn move_to(&self, from: &OsStr, other: &Self, to: &OsStr) -> io::Result<()> {
        Ok(renameat(&self.handle, from, &other.handle, to)?)
    }

    /// Exchanges two names in this folder in one step.
    ///
    /// # Errors
    /// As the kernel says; not every file system can do it.
    pub fn exchange(&self, a: &OsStr, b: &OsStr) -> io::Result<()> {
        Ok(renameat_with(&self.handle, a, &self.handle, b, RenameFlags::EXCHANGE)?)
    }

    /// Gives a file of this folder a second name, in another folder on the same file system.
    ///
    /// # Errors
    /// As the kernel says; not every file system can do it.
    pub fn link_to(&self, name: &OsStr, other: &Self) -> io::Result<()> {
        Ok(linkat(&self.handle, name, &other.handle, name, AtFlags::empty())?)
    }

    /// Creates a folder in this one; the name must not exist.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn make_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(mkdirat(&self.handle, name, Mode::from_bits_truncate(0o777))?)
    }

    /// Removes a file.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, AtFlags::empty())?)
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn remove_folder(&self, name: &OsStr) -> io::Result<()> {
        Ok(unlinkat(&self.handle, name, AtFlags::REMOVEDIR)?)
    }

    /// Syncs its names to disk.
    ///
    /// # Errors
    /// As the kernel says.
    pub fn sync(&self) -> io::Result<()> {
        // A folder that may be written but not read, or a file system without the notion: the files are on disk all
        // the same.
        let harmless = [Errno::ACCESS, Errno::INVAL, Errno::NOTSUP].map(Errno::raw_os_error);
        match self.readable().and_then(|folder| Ok(rustix::fs::fsync(folder.as_fd())?)) {
            Err(why) if why.raw_os_error().is_some_and(|code| harmless.contains(&code)) => Ok(()),
            other => other,
        }
    }
}
