//! The digest that identifies a list: the SHA-256 of its bytes.

use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{Doing as _, Result};
use crate::files;
use crate::hex::hex;

/// The digest of the bytes read so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Digest(Sha256);

impl Digest {
    pub fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// As hexadecimal digits.
    pub fn text(&self) -> String {
        hex(&self.0.clone().finalize())
    }
}

/// The SHA-256 of a file in hexadecimal; `None` for input that can be read only once (a pipe).
///
/// # Errors
/// If the file cannot be read.
pub fn of_file(path: &Path) -> Result<Option<String>> {
    let doing = || format!("read {}", path.display());
    if !path.metadata().doing(doing)?.is_file() {
        return Ok(None);
    }
    let mut file = files::regular(path).doing(doing)?;
    let mut digest = Digest::default();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match file.read(&mut buffer).doing(doing)? {
            0 => return Ok(Some(digest.text())),
            read => digest.add(&buffer[..read]),
        }
    }
}
