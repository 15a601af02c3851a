//! Small files of the fleet: read whole, and written so that a crash leaves the old one or the new one.

use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{Doing as _, Error, Result};
use crate::files::{self, Folder};
use crate::hex::hex;
use crate::sink::Temporary;

/// The octets of a file; `None` if it does not exist.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let mut octets = Vec::new();
    match files::regular(path).and_then(|mut file| file.read_to_end(&mut octets)) {
        Ok(_) => Ok(Some(octets)),
        Err(why) if why.kind() == ErrorKind::NotFound => Ok(None),
        Err(why) => Err(why).doing(|| format!("read {}", path.display())),
    }
}

/// The octets of a file that must exist.
pub fn need(path: &Path) -> Result<Vec<u8>> {
    read(path)?.ok_or_else(|| Error::Usage(format!("read {}: it does not exist", path.display())))
}

/// The text of a file that must exist.
pub fn text(path: &Path) -> Result<String> {
    let text = String::from_utf8(need(path)?);
    text.map_err(|_| Error::Usage(format!("read {}: it is not UTF-8", path.display())))
}

/// Writes a file whole; it is on disk when this returns.
pub fn write(path: &Path, octets: &[u8]) -> Result<()> {
    let temporary = Temporary::create(path)?;
    let written = temporary.writer()?.write_all(octets);
    written.doing(|| format!("write {}", path.display()))?;
    temporary.keep().map(drop)
}

/// Writes a file unless it exists; returns whether it was new. Only one process writes to the folder.
pub fn write_once(folder: &Path, name: &str, octets: &[u8]) -> Result<bool> {
    let path = folder.join(name);
    match path.exists() {
        true => Ok(false),
        false => write(&path, octets).map(|()| true),
    }
}

/// Makes a folder below an existing one, and those between.
pub fn make(root: &Path, below: &[&str]) -> Result<std::path::PathBuf> {
    let mut path = root.to_owned();
    for name in below {
        path.push(name);
        Folder::make(&path)?;
    }
    Ok(path)
}

/// The names in a folder; none if it does not exist.
pub fn names(path: &Path) -> Result<Vec<String>> {
    if !path.is_dir() {
        return Ok(Vec::new());
    }
    let names = Folder::open(path)?.names()?;
    Ok(names.into_iter().filter_map(|name| name.into_string().ok()).collect())
}

/// Removes a file if it exists.
pub fn remove(path: &Path) -> Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    if !path.exists() {
        return Ok(());
    }
    Folder::open(folder)?.remove(name).doing(|| format!("remove {}", path.display()))
}

/// The SHA-256 of octets in hexadecimal.
pub fn digest(octets: &[u8]) -> String {
    hex(&Sha256::digest(octets))
}
