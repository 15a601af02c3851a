//! The journal of a run whose records are in parts: the identity of the run, and its progress. JSON lines, each
//! synced to disk before the run goes on. A torn last line (a crash during a write) is ignored.
//!
//! Each line ends with a checksum (`crc`: CRC-32) of itself and of the checksum before it, so a line that was
//! changed, removed, repeated or moved is detected. Journals of earlier versions have none; the first line with a
//! checksum covers them.

use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::write_error;
use crate::error::{self, Doing as _, Error, Result};
use crate::files::{self, Folder};

/// Its name in the folder of the parts.
pub const NAME: &str = "journal.ndjson";

/// Its beginning: the first line identifies the run.
const BEGINNING: &[u8] = b"{\"run\":";

/// The end of a line with a checksum: this, eight digits and [`CRC_END`].
const CRC: &[u8] = b",\"crc\":\"";
const CRC_END: &[u8] = b"\"}";
/// Octets of that end.
const CRC_LENGTH: usize = CRC.len() + 8 + CRC_END.len();

/// The lines of a journal.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The lines that can be trusted.
    pub values: Vec<Value>,
    /// The numbers of the others, from 1.
    pub spoiled: Vec<usize>,
    /// Whether any line has a checksum.
    pub checked: bool,
    /// Whether the first line has one.
    pub checked_from_start: bool,
    /// The checksum of the last line as stated, and as computed. They differ if the line is spoiled; the next line
    /// fits one of them, whether the line itself or its checksum was changed.
    state: u32,
    computed: u32,
    /// Octets of complete lines; anything after them is a torn line.
    whole: usize,
    /// Whether the last line lacks only its line feed.
    unended: bool,
}

impl Lines {
    /// Parses the contents of a journal.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        let mut lines = Self::default();
        let mut rest = bytes;
        for number in 1.. {
            let end = rest.iter().position(|octet| *octet == b'\n');
            let Some(end) = end else {
                if !rest.is_empty() {
                    lines.last(number, rest);
                }
                return lines;
            };
            let (line, after) = rest.split_at(end + 1);
            rest = after;
            lines.whole += line.len();
            lines.line(number, line);
        }
        lines
    }

    /// Reads the journal of a folder, if it has one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn of_folder(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(NAME);
        let mut bytes = Vec::new();
        match files::regular(&path).and_then(|mut file| file.read_to_end(&mut bytes)) {
            Ok(_) => Ok(Some(Self::parse(&bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).doing(|| format!("read {}", path.display())),
        }
    }

    /// Parses a line, including its line feed.
    fn line(&mut self, number: usize, line: &[u8]) {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let value = serde_json::from_slice::<Value>(text).ok();
        match (checksum(text), value) {
            (Some((body, crc)), value) => {
                self.checked = true;
                self.checked_from_start |= number == 1;
                let fits = self.fits(body, crc);
                self.computed = crc_of(self.state, body);
                self.state = crc;
                match value.filter(|_| fits) {
                    Some(mut value) => {
                        value.as_object_mut().map(|line| line.shift_remove("crc"));
                        self.values.push(value);
                    }
                    None => self.spoiled.push(number),
                }
            }
            // After the first line with a checksum, all lines have one.
            (None, _) if self.checked => {
                let body = text.len().saturating_sub(CRC_LENGTH);
                self.computed = crc_of(self.state, &text[..body]);
                self.spoiled.push(number);
            }
            (None, value) => {
                self.set_state(crc_of(self.state, line));
                // An earlier version left a torn line where it was.
                self.values.extend(value);
            }
        }
    }

    fn fits(&self, body: &[u8], crc: u32) -> bool {
        [self.state, self.computed].iter().any(|before| crc_of(*before, body) == crc)
    }

    fn set_state(&mut self, state: u32) {
        (self.state, self.computed) = (state, state);
    }

    /// Parses what comes after the last line feed.
    fn last(&mut self, number: usize, text: &[u8]) {
        let fits = |text: &[u8]| checksum(text).is_some_and(|(body, crc)| self.fits(body, crc));
        let is_whole = match self.checked {
            true => fits(text),
            false => fits(text) || serde_json::from_slice::<Value>(text).is_ok(),
        };
        if is_whole {
            self.unended = true;
            self.whole += text.len();
            self.line(number, &[text, b"\n"].concat());
        } else if text.split_last().is_some_and(|(_, all_but_last)| fits(all_but_last)) {
            // Its line feed was changed into another octet.
            self.spoiled.push(number);
        }
    }

    /// The text of the next line, which is an object.
    fn text(&mut self, line: &Value) -> String {
        let text = line.to_string();
        let body = text.strip_suffix('}').unwrap_or(&text);
        self.set_state(crc_of(self.state, body.as_bytes()));
        format!("{body},\"crc\":\"{:08x}\"}}\n", self.state)
    }

    /// The first value with this key.
    pub(super) fn find(&self, name: &str) -> Option<&Value> {
        self.values.iter().find_map(|line| line.get(name))
    }

    /// The ID of its run; journals of earlier versions have none.
    pub(super) fn run_id(&self) -> Option<&str> {
        self.find(RUN_ID)?.as_str()
    }
}

/// The key of a run's id, in the journal and in the metadata.
pub const RUN_ID: &str = "run_id";

/// The part of a line that its checksum covers, and the checksum.
fn checksum(text: &[u8]) -> Option<(&[u8], u32)> {
    let (body, end) = text.split_at(text.len().checked_sub(CRC_LENGTH)?);
    let digits = end.strip_prefix(CRC)?.strip_suffix(CRC_END)?;
    let digits = std::str::from_utf8(digits).ok()?;
    let is_ours = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    let crc = digits.bytes().all(is_ours).then(|| u32::from_str_radix(digits, 16).ok())??;
    Some((body, crc))
}

/// The checksum of a text that follows others.
fn crc_of(before: u32, text: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(before);
    crc.update(text);
    crc.finalize()
}

/// An open journal. While it is open, no other run can open it.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// The lines it had when it was opened.
    lines: Lines,
    /// Whether a run has begun it.
    ours: bool,
    /// Locks out other runs where the file system has no locks.
    _name: Option<UnixListener>,
}

impl Journal {
    /// Opens the journal of a folder, or creates one.
    ///
    /// # Errors
    /// [`Error::Usage`] if another run has it open, or if it is not our file (see [`Folder::append`]).
    pub fn open(folder: &Folder) -> Result<Self> {
        Self::open_with(folder, File::try_lock)
    }

    fn open_with(
        folder: &Folder,
        lock: impl Fn(&File) -> std::result::Result<(), TryLockError>,
    ) -> Result<Self> {
        let path = folder.path().join(NAME);
        let doing = || format!("open {}", path.display());
        let (mut file, is_new) = folder.append(OsStr::new(NAME))?;
        let (place, folder) = (folder, folder.path());
        let mut name = None;
        match lock(&file) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(taken(folder)),
            Err(TryLockError::Error(why)) => {
                log::warn!(
                    "{}: this file system has no locks ({why}): only runs in this network namespace are locked out",
                    folder.display()
                );
                let locked = lock_by_name(&file, folder).inspect_err(|_| {
                    // No other run has begun it: that run would hold the name.
                    if is_new {
                        let _ = place.remove(OsStr::new(NAME));
                    }
                });
                name = Some(locked?);
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).doing(doing)?;
        let lines = Lines::parse(&bytes);
        // The first line may be torn as well.
        let ours = bytes.iter().zip(BEGINNING).all(|(byte, known)| byte == known);
        let journal = Self { path, file, lines, ours, _name: name };
        if journal.ours && journal.lines.spoiled.is_empty() {
            if journal.lines.whole < bytes.len() {
                let cut = journal.file.set_len(journal.lines.whole as u64);
                cut.map_err(|error| write_error(&journal.path, error))?;
            } else if journal.lines.unended {
                journal.append(b"\n")?;
            }
        }
        Ok(journal)
    }

    /// The lines it had when it was opened.
    pub(super) fn lines(&self) -> &Lines {
        &self.lines
    }

    /// Rewrites the journal with the trusted lines if there are others, and keeps the old file under another name.
    ///
    /// # Errors
    /// [`Error::Usage`] if the line that identifies the run is spoiled.
    pub fn repair(&mut self, place: &Folder) -> Result<Option<PathBuf>> {
        if self.lines.spoiled.is_empty() {
            return Ok(None);
        }
        let shown = self.path.display();
        let numbers =
            self.lines.spoiled.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if self.lines.find("run").is_none() {
            return Err(Error::Usage(format!(
                "read {shown}: it is spoiled (line {numbers}) and no longer identifies the run, so the run cannot be resumed; \
                 `merge --allow-incomplete` merges the intact parts into one file"
            )));
        }
        let aside = super::aside(place, OsStr::new(NAME))?;
        let doing = || format!("write {}", place.join(&aside).display());
        let mut bytes = Vec::new();
        let mut file = place.read(OsStr::new(NAME))?;
        file.read_to_end(&mut bytes).doing(|| format!("read {shown}"))?;
        let mut copy = place.create_new(&aside).doing(doing)?;
        copy.write_all(&bytes).and_then(|()| copy.sync_all()).doing(doing)?;
        place.sync().doing(doing)?;
        let aside = place.join(&aside);
        log::warn!(
            "{shown} is spoiled (line {numbers}): it is kept as {}, and a new journal has the intact lines",
            aside.display()
        );
        let values = std::mem::take(&mut self.lines.values);
        self.lines = Lines::default();
        let text: String = values.iter().map(|value| self.lines.text(value)).collect();
        // Rewritten in place, since the lock is on this file; the copy is made already.
        let rewritten = self.file.set_len(0);
        let rewritten = rewritten.and_then(|()| (&self.file).write_all(text.as_bytes()));
        let rewritten = rewritten.and_then(|()| self.file.sync_data());
        rewritten.map_err(|error| write_error(&self.path, error))?;
        self.lines = Lines::parse(text.as_bytes());
        Ok(Some(aside))
    }

    /// Truncates it.
    ///
    /// # Errors
    /// [`Error::Usage`] if the file is not a journal.
    pub fn clear(&mut self) -> Result<()> {
        if !self.ours {
            let path = self.path.display();
            return Err(Error::Usage(format!(
                "write {path}: the file exists and is not a run journal"
            )));
        }

        self.lines = Lines::default();
        let cleared = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cleared.map(drop).map_err(|error| write_error(&self.path, error))
    }

    /// Appends a line; it is on disk when this returns.
    pub fn add(&mut self, line: &Value) -> Result<()> {
        let text = self.lines.text(line);
        self.append(text.as_bytes())
    }

    fn append(&self, bytes: &[u8]) -> Result<()> {
        let written = (&self.file).write_all(bytes).and_then(|()| self.file.sync_data());
        written.map_err(|error| write_error(&self.path, error))
    }
}

fn taken(folder: &Path) -> Error {
    Error::refused(
        error::ErrorKind::Busy,
        format!("write {}: another run is writing there", folder.display()),
    )
}

/// Locks out other runs by a socket whose name identifies the file. A network namespace has each name once, and the
/// kernel frees it with the process.
fn lock_by_name(file: &File, folder: &Path) -> Result<UnixListener> {
    let doing = || format!("lock {}", folder.display());
    let about = file.metadata().doing(doing)?;
    let name = format!("pathspider/output/{}/{}", about.dev(), about.ino());
    let address = SocketAddr::from_abstract_name(name).doing(doing)?;
    match UnixListener::bind_addr(&address) {
        Err(why) if why.kind() == ErrorKind::AddrInUse => Err(taken(folder)),
        other => other.doing(doing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::fs;

    fn at(folder: &tempfile::TempDir) -> Folder {
        Folder::open(folder.path()).unwrap()
    }

    fn values(journal: &Journal) -> Vec<Value> {
        assert!(journal.lines().spoiled.is_empty(), "{:?}", journal.lines());
        journal.lines().values.clone()
    }

    #[test]
    fn a_torn_line_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&at(&folder)).unwrap();
        journal.add(&json!({"run": 1})).unwrap();
        drop(journal);
        let path = folder.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + "{\"part\": \"pa").unwrap();
        let mut journal = Journal::open(&at(&folder)).unwrap();
        assert_eq!(values(&journal), [json!({"run": 1})]);
        journal.add(&json!({"part": 2})).unwrap();
        drop(journal);
        // Only the line feed is missing.
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.trim_end()).unwrap();
        let mut journal = Journal::open(&at(&folder)).unwrap();
        assert_eq!(values(&journal), [json!({"run": 1}), json!({"part": 2})]);
        journal.clear().unwrap();
        journal.add(&json!({"other": 3})).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("{\"other\":3,\"crc\":\""), "{text}");
        drop(journal);
        let why = Journal::open(&at(&folder)).unwrap().clear().unwrap_err();
        assert!(why.to_string().contains("not a run journal"), "{why}");
    }

    /// A journal of four lines.
    fn written(folder: &tempfile::TempDir) -> Vec<u8> {
        let mut journal = Journal::open(&at(folder)).unwrap();
        for line in
            [json!({"run": {"a": "b"}}), json!({"x": 1}), json!({"x": 2}), json!({"end": []})]
        {
            journal.add(&line).unwrap();
        }
        fs::read(folder.path().join(NAME)).unwrap()
    }

    #[test]
    fn any_flipped_bit_of_a_journal_is_found_or_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let text = written(&folder);
        let good = Lines::parse(&text);
        assert!(good.checked_from_start && good.spoiled.is_empty() && good.values.len() == 4);
        for bit in 0..8 * text.len() {
            let mut spoiled = text.clone();
            spoiled[bit / 8] ^= 1 << (bit % 8);
            let lines = Lines::parse(&spoiled);
            let shown = String::from_utf8_lossy(&spoiled);
            assert!(!lines.spoiled.is_empty() && lines.values.len() > 1, "bit {bit}: {shown}");
        }
    }

    #[test]
    fn lines_that_are_removed_repeated_or_exchanged_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let text = String::from_utf8(written(&folder)).unwrap();
        let [a, b, c, d] = text.split_inclusive('\n').collect::<Vec<_>>()[..] else { panic!() };
        for wrong in
            [[a, b, b, c, d].concat(), [a, c, d].concat(), [a, c, b, d].concat(), [b, a].concat()]
        {
            assert!(!Lines::parse(wrong.as_bytes()).spoiled.is_empty(), "{wrong}");
        }
        // A cut between lines looks like an earlier end.
        assert!(Lines::parse([a, b].concat().as_bytes()).spoiled.is_empty());
    }

    #[test]
    fn lines_of_an_earlier_version_are_read_and_covered_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "{\"run\":1}\n{\"cut o\n{\"part\":1}\n").unwrap();
        let mut journal = Journal::open(&at(&folder)).unwrap();
        assert_eq!(values(&journal), [json!({"run": 1}), json!({"part": 1})]);
        journal.add(&json!({"part": 2})).unwrap();
        let mut text = fs::read(&path).unwrap();
        let lines = Lines::parse(&text);
        assert!(lines.spoiled.is_empty() && lines.checked && !lines.checked_from_start);
        text[7] ^= 1;
        assert_eq!(Lines::parse(&text).spoiled, [4]);
    }

    #[test]
    fn a_spoiled_journal_is_rewritten_unless_it_no_longer_identifies_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        let mut text = written(&folder);
        let octet = text.len() - 40;
        text[octet] ^= 1;
        fs::write(&path, &text).unwrap();
        let mut journal = Journal::open(&at(&folder)).unwrap();
        let aside = journal.repair(&at(&folder)).unwrap().unwrap();
        assert_eq!(fs::read(aside).unwrap(), text);
        assert_eq!(journal.lines().values.len(), 3);
        journal.add(&json!({"x": 3})).unwrap();
        drop(journal);
        assert_eq!(values(&Journal::open(&at(&folder)).unwrap()).len(), 4);
        let mut text = fs::read(&path).unwrap();
        text[10] ^= 1;
        fs::write(&path, &text).unwrap();
        let why = Journal::open(&at(&folder)).unwrap().repair(&at(&folder)).unwrap_err();
        assert!(why.to_string().contains("cannot be resumed"), "{why}");
        assert_eq!(fs::read(&path).unwrap(), text);
    }

    #[test]
    fn two_runs_do_not_write_to_one_folder() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Journal::open(&at(&folder)).unwrap();
        let why = Journal::open(&at(&folder)).unwrap_err();
        assert!(why.to_string().contains("another run"), "{why}");
    }

    #[test]
    fn runs_are_locked_out_on_a_file_system_without_locks() {
        let folder = tempfile::tempdir().unwrap();
        let none = |_: &File| Err(TryLockError::Error(ErrorKind::Unsupported.into()));
        let mut first = Journal::open_with(&at(&folder), none).unwrap();
        first.add(&json!({"run": 1})).unwrap();
        let why = Journal::open_with(&at(&folder), none).unwrap_err();
        assert!(
            why.kind() == error::ErrorKind::Busy && why.to_string().contains("another run"),
            "{why}"
        );
        drop(first);
        assert_eq!(Journal::open_with(&at(&folder), none).unwrap().lines().values.len(), 1);
    }
}
