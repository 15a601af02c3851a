//! Where a path leads, resolved component by component.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::owner::{self, REMEDY};

/// Maximum number of links followed, the same as in the kernel.
const MOST_LINKS: u32 = 40;

/// The end of a path.
pub(super) struct Named {
    /// The folder that it is in.
    pub folder: OwnedFd,
    /// The path of that folder, for messages.
    pub path: PathBuf,
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
        named.path = shown.to_owned();
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
                    return self.end(Some(name), about);
                }
                _ => {
                    let at = self.folder(&name)?;
                    self.step(at, &name);
                }
            }
        }
        self.end(None, None)
    }

    fn end(self, name: Option<OsString>, about: Option<Stat>) -> Result<Named, String> {
        let folder = self.at.ok_or("no folder")?;
        Ok(Named { folder, path: self.shown, name, about, is_as_written: !self.elsewhere })
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
