//! The SHA-256 of a file, in the file itself.
//!
//! A file is sealed by two texts near its end: [`OF`] explains how the digest is computed, [`KEY`] has the digest, 64
//! digits. It is the SHA-256 of the whole file with these digits as zeros. So a file that is copied alone can be
//! checked, and any changed octet is detected, also in the footer of a Parquet file. There are two texts so that a
//! file with an unreadable digest is not mistaken for one of an earlier version, which had none.
//!
//! Digests detect accidents. Whoever can write to a file can also reseal it.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::ops::Range;
use std::path::Path;

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::METADATA_PREFIX;
use crate::error::{Doing as _, Result};
use crate::files;
use crate::hex::hex;

/// The metadata key of the digest, without [`METADATA_PREFIX`].
pub(super) const KEY: &str = "sha256";
/// The metadata key of its explanation, without [`METADATA_PREFIX`].
pub(super) const OF: &str = "sha256_of";
/// The explanation.
pub(super) const EXPLANATION: &str = "this file, with the 64 digits of pathspider.sha256 as zeros";
/// Digits of a digest.
const DIGITS: usize = 64;
/// The octets between key and digits: in JSON, and in Thrift's compact protocol (a binary field of 64 octets).
const BETWEEN: [&[u8]; 2] = [b"\": \"", &[0x18, DIGITS as u8]];
/// The seal is within this many octets of a file's end.
const END: usize = 64 * 1024;

/// Whether a metadata key belongs to the seal, and so to one file alone.
pub(super) fn is_own(key: &str) -> bool {
    key == KEY || key == OF
}

/// The entries of a seal without a digest, in order.
pub(super) fn entries() -> [(&'static str, String); 2] {
    [(OF, EXPLANATION.to_owned()), (KEY, "0".repeat(DIGITS))]
}

/// Counts and digests what is written. After [`hold`](Digesting::hold) it buffers, so that the end can be sealed.
#[derive(Debug)]
pub(super) struct Digesting<W> {
    inner: W,
    bytes: u64,
    digest: Sha256,
    end: Option<Vec<u8>>,
}

/// What was written to a file.
#[derive(Debug)]
pub(super) struct Digested {
    /// Its size in octets.
    pub bytes: u64,
    /// Its SHA-256 on disk, in hexadecimal.
    pub sha256: String,
}

impl<W: Write> Digesting<W> {
    pub(super) fn new(inner: W) -> Self {
        Self { inner, bytes: 0, digest: Sha256::new(), end: None }
    }

    /// From here on the file's end is written.
    pub(super) fn hold(&mut self) {
        self.end = Some(Vec::new());
    }

    /// Writes the end with the digest in it.
    pub(super) fn seal(mut self) -> io::Result<Digested> {
        let mut end = self.end.take().unwrap_or_default();
        let Some(place) = place(&end) else {
            return Err(io::Error::other("the file's end has no place for its digest"));
        };
        let zeroed = hex(&self.digest.clone().chain_update(&end).finalize());
        end[place].copy_from_slice(zeroed.as_bytes());
        self.write_all(&end)?;
        self.finish()
    }

    /// Ends without a seal.
    pub(super) fn finish(mut self) -> io::Result<Digested> {
        self.inner.flush()?;
        Ok(Digested { bytes: self.bytes, sha256: hex(&self.digest.finalize()) })
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Some(end) = &mut self.end {
            end.extend_from_slice(data);
            return Ok(data.len());
        }
        let written = self.inner.write(data)?;
        self.bytes += written as u64;
        self.digest.update(&data[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The text of a sealed JSON file: an object of strings.
pub(super) fn json(mut object: Map<String, Value>) -> String {
    for (key, value) in entries() {
        object.insert(format!("{METADATA_PREFIX}{key}"), value.into());
    }
    let mut text = format!("{:#}\n", Value::Object(object));
    if let Some(place) = place(text.as_bytes()) {
        let digest = hex(&Sha256::digest(&text));
        text.replace_range(place, &digest);
    }
    text
}

/// A file that was read and digested.
#[derive(Debug)]
pub(super) struct Read {
    pub bytes: u64,
    /// Its SHA-256 as it is, in hexadecimal.
    pub sha256: String,
    pub seal: Seal,
}

/// The state of a file's seal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seal {
    /// The digest is right.
    Whole,
    /// There is none: an earlier version wrote the file, or another program.
    None,
    /// The file is not as it was written, for this reason.
    Broken(String),
}

/// Digests a file. Calls `progress` with the octets read since the last call.
///
/// # Errors
/// If it cannot be read.
pub(super) fn read(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<Read> {
    let file = files::regular(path).doing(|| format!("read {}", path.display()))?;
    of_file(path, file, progress)
}

/// The same for an open file; `path` is for messages.
pub(super) fn of_file(path: &Path, mut file: File, progress: &mut dyn FnMut(u64)) -> Result<Read> {
    let doing = || format!("read {}", path.display());
    let size = file.metadata().doing(doing)?.len();
    let before_end = size.saturating_sub(END as u64);
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    while bytes < before_end {
        let most = usize::try_from(before_end - bytes).unwrap_or(usize::MAX).min(buffer.len());
        match file.read(&mut buffer[..most]).doing(doing)? {
            0 => break,
            read => {
                digest.update(&buffer[..read]);
                bytes += read as u64;
                progress(read as u64);
            }
        }
    }
    let mut end = Vec::new();
    file.read_to_end(&mut end).doing(doing)?;
    bytes += end.len() as u64;
    progress(end.len() as u64);
    let sha256 = hex(&digest.clone().chain_update(&end).finalize());
    let seal = match place(&end) {
        Some(place) => {
            let stated = end[place.clone()].to_vec();
            end[place].fill(b'0');
            let found = hex(&digest.chain_update(&end).finalize());
            match stated == found.as_bytes() {
                true => Seal::Whole,
                false => Seal::Broken("it does not have the SHA-256 that it states".into()),
            }
        }
        None if find(&end, format!("{METADATA_PREFIX}{OF}").as_bytes()).is_some() => {
            Seal::Broken("the SHA-256 that it should state cannot be found".into())
        }
        None => Seal::None,
    };
    Ok(Read { bytes, sha256, seal })
}

/// The range of the digits: those of the last seal, since a metadata text may contain anything.
fn place(end: &[u8]) -> Option<Range<usize>> {
    let places = BETWEEN.iter().filter_map(|between| {
        let mut pattern = format!("{METADATA_PREFIX}{KEY}").into_bytes();
        pattern.extend_from_slice(between);
        let from = find(end, &pattern)? + pattern.len();
        (from + DIGITS <= end.len()).then_some(from..from + DIGITS)
    });
    places.max_by_key(|place| place.start)
}

/// The last position of a pattern.
fn find(text: &[u8], pattern: &[u8]) -> Option<usize> {
    text.windows(pattern.len()).rposition(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn seal_of(folder: &Path, octets: &[u8]) -> Seal {
        let path = folder.join("x");
        fs::write(&path, octets).unwrap();
        read(&path, &mut |_| ()).unwrap().seal
    }

    #[test]
    fn any_flipped_bit_of_a_sealed_file_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let object = Map::from_iter([("pathspider.version".to_owned(), Value::from("1"))]);
        let text = json(object).into_bytes();
        assert_eq!(seal_of(folder.path(), &text), Seal::Whole);
        for bit in 0..8 * text.len() {
            let mut spoiled = text.clone();
            spoiled[bit / 8] ^= 1 << (bit % 8);
            let seal = seal_of(folder.path(), &spoiled);
            assert!(matches!(seal, Seal::Broken(_)), "bit {bit}: {seal:?}");
        }
        assert_eq!(seal_of(folder.path(), b"{}\n"), Seal::None);
        let cut = &text[..text.len() - 20];
        assert!(matches!(seal_of(folder.path(), cut), Seal::Broken(_)));
    }

    #[test]
    fn a_digest_is_that_of_the_file_on_disk_also_of_a_large_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut writer = Digesting::new(File::create(&path).unwrap());
        writer.write_all(&vec![7; 3 * END]).unwrap();
        writer.hold();
        writer
            .write_all(json(Map::new()).replace(|c: char| c.is_ascii_hexdigit(), "0").as_bytes())
            .unwrap();
        // All digits were zeros, also those in the words, so the seal is not found.
        assert!(writer.seal().is_err());
        let mut writer = Digesting::new(File::create(&path).unwrap());
        writer.write_all(&vec![7; 3 * END]).unwrap();
        writer.hold();
        let [(of, explanation), (key, zeros)] = entries();
        let end =
            format!("\"pathspider.{of}\": \"{explanation}\", \"pathspider.{key}\": \"{zeros}\"");
        writer.write_all(end.as_bytes()).unwrap();
        let digested = writer.seal().unwrap();
        let mut seen = 0;
        let found = read(&path, &mut |octets| seen += octets).unwrap();
        assert_eq!((found.bytes, found.sha256), (digested.bytes, digested.sha256));
        assert_eq!((found.seal, seen), (Seal::Whole, digested.bytes));
    }
}
