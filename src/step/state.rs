//! State folders: where journals are kept, safe from other users.
//!
//! What a journal says is done with the rights of the process that reads it, programs included. So a folder, and every file
//! in it, must belong to the user of that process, and no other user may write to it; links are not followed.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Uid, UnlinkatFlags, geteuid, unlinkat};

use crate::error::{Doing as _, Error, Result, Setting};
use crate::files;

/// The mode bits that let other users write.
const OTHERS_WRITE: u32 = 0o022;

/// A folder of journals.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    handle: File,
}

/// The folder in /run: `pathspider` for root, `pathspider-UID` for other users, which root must make.
fn own(uid: Uid) -> PathBuf {
    PathBuf::from(if uid.is_root() {
        "/run/pathspider".into()
    } else {
        format!("/run/pathspider-{uid}")
    })
}

/// Makes the journal folder of a user that root is about to become, if it is missing. If it cannot be made, that user's
/// run looks for another.
pub fn make_for(uid: Uid, gid: Gid) {
    let path = own(uid);
    let made = DirBuilder::new().mode(0o700).create(&path);
    if let Err(why) = made.and_then(|()| lchown(&path, Some(uid.as_raw()), Some(gid.as_raw()))) {
        log::debug!("not made: {}: {why}", path.display());
    }
}

/// Where journals may be, the best first: the folder that the user chose, otherwise `/run/pathspider` for root and
/// `/run/pathspider-UID` for others, `$XDG_RUNTIME_DIR/pathspider`, `~/.local/state/pathspider`.
fn places(chosen: Option<&Path>) -> Vec<PathBuf> {
    if let Some(chosen) = chosen {
        return vec![chosen.to_owned()];
    }
    let variable =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    [
        Some(own(geteuid())),
        variable("XDG_RUNTIME_DIR").map(|path| path.join("pathspider")),
        variable("HOME").map(|path| path.join(".local/state/pathspider")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

impl Folder {
    /// Every state folder that exists.
    ///
    /// # Errors
    /// If the one that the user chose cannot be trusted or opened; others are skipped.
    pub fn existing(chosen: Option<&Path>) -> Result<Vec<Self>> {
        let mut folders = Vec::new();
        for place in places(chosen) {
            match Self::open(&place) {
                Ok(folder) => folders.push(folder),
                Err(Error::Os { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(why) if chosen.is_some() => return Err(why),
                Err(why) => log::debug!("not looked at: {why}"),
            }
        }
        Ok(folders)
    }

    /// The first usable state folder; it is made if it is missing.
    pub fn first(chosen: Option<&Path>) -> Result<Self> {
        let mut reason = "no place for it is known".to_owned();
        for place in places(chosen) {
            match make(&place).and_then(|()| Self::open(&place)) {
                Ok(folder) => return Ok(folder),
                Err(why) => reason = why.to_string(),
            }
        }
        let operation = format!("keep a journal of changes to this host: {reason}");
        Err(Error::NeedsSetting { operation, setting: Setting::State })
    }

    fn open(path: &Path) -> Result<Self> {
        let doing = || format!("open {}", path.display());
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // A link that another user put into the path is not followed either.
        let handle = match path.symlink_metadata().doing(doing)?.is_dir() {
            true => files::Folder::open(path)?.file().doing(doing)?,
            false => File::from(open(path, flags, Mode::empty()).doing(doing)?),
        };
        trusted(&handle, &path.display().to_string())?;
        Ok(Self { path: path.to_owned(), handle })
    }

    /// The path of one of its files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The names of its files, in order.
    pub fn names(&self) -> Result<Vec<String>> {
        let doing = || format!("read {}", self.path.display());
        // Of its own: a handle remembers how far it was read.
        let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut folder = Dir::openat(&self.handle, ".", flags, Mode::empty()).doing(doing)?;
        let mut names = Vec::new();
        for entry in folder.iter() {
            names.extend(entry.doing(doing)?.file_name().to_str().map(str::to_owned).ok());
        }
        names.sort();
        Ok(names)
    }

    /// A new file, for appending.
    pub fn create(&self, name: &str) -> Result<File> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_APPEND;
        let mode = Mode::S_IRUSR | Mode::S_IWUSR;
        let file = openat(&self.handle, name, flags | OFlag::O_CLOEXEC, mode);
        file.map(File::from).doing(|| format!("make {}", self.path(name).display()))
    }

    /// A file for reading and appending.
    pub fn file(&self, name: &str) -> Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let path = self.path(name).display().to_string();
        // A pipe that another process left there must not block.
        let file = openat(&self.handle, name, flags | OFlag::O_NONBLOCK, Mode::empty());
        let file = File::from(file.doing(|| format!("open {path}"))?);
        trusted(&file, &path)?;
        Ok(file)
    }

    /// Removes a file.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        unlinkat(self.handle.as_fd(), name, UnlinkatFlags::NoRemoveDir)?;
        self.sync()
    }

    /// Writes the list of its files to disk.
    pub fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }
}

/// Makes a folder, and those above it, if they are missing.
fn make(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    above.map_or(Ok(()), make)?;
    files::Folder::make_with(path, 0o700).map(drop)
}

/// Rejects what another user could have written.
fn trusted(file: &File, path: &str) -> Result<()> {
    let about = file.metadata().doing(|| format!("look at {path}"))?;
    let user = geteuid().as_raw();
    let why = match (about.uid() == user, about.mode() & OTHERS_WRITE) {
        (true, 0) => return Ok(()),
        (false, _) => format!("it belongs to user {}, not to user {user}", about.uid()),
        (true, _) => "others may write to it".to_owned(),
    };
    Err(Error::failed(format!("trust {path}"), why))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn folders_writable_by_others_are_not_trusted() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("deep/state");
        assert!(Folder::existing(Some(&path)).unwrap().is_empty());
        let folder = Folder::first(Some(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        folder.create("a").unwrap().write_all(b"x").unwrap();
        assert_eq!(fs::metadata(path.join("a")).unwrap().mode() & 0o777, 0o600);
        assert!(folder.create("a").is_err());
        folder.file("a").unwrap();
        assert!(folder.names().unwrap().contains(&"a".to_owned()));

        fs::set_permissions(path.join("a"), fs::Permissions::from_mode(0o666)).unwrap();
        let error = folder.file("a").unwrap_err().to_string();
        assert!(error.contains("others may write"), "{error}");
        symlink("a", path.join("b")).unwrap();
        assert!(folder.file("b").is_err());
        folder.remove("a").unwrap();

        fs::set_permissions(&path, fs::Permissions::from_mode(0o770)).unwrap();
        for error in
            [Folder::existing(Some(&path)).unwrap_err(), Folder::first(Some(&path)).unwrap_err()]
        {
            assert!(error.to_string().contains("others may write"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        let link = base.path().join("link");
        symlink(&path, &link).unwrap();
        assert!(Folder::existing(Some(&link)).is_err());
    }
}
