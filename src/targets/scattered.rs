//! Reads a list in an order drawn by a seed, so that neighbours are not probed in a row.
//!
//! It keeps the offset of each line (8 bytes per line) and reads each line when its turn comes. Columns, positions
//! and rejected lines are the same in any order.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::SystemTime;

use super::infer::Layout;
use super::lines::{self, LONGEST, Lines};
use super::list::{List, Meaning};
use super::permutation::Permutation;
use super::raw::Raw;
use super::{Options, Positions, Refusals, Want, open};
use crate::error::{Doing as _, Result};
use crate::files;

/// Buffer size for the sequential pass over the file.
const BUFFER: usize = 256 * 1024;

/// A list that is read out of order.
pub struct Scattered {
    file: File,
    /// The offset of each line, and the end of the last one.
    starts: Vec<u64>,
    order: Permutation,
    meaning: Meaning,
    digest: String,
    /// Length and modification time when the file was first read.
    before: (u64, Option<SystemTime>),
    lines_read: u64,
    bytes_read: u64,
    buffer: Vec<u8>,
    ended: bool,
}

impl Scattered {
    /// Opens a file or standard input; infers the columns from its first lines.
    pub fn open(path: &Path, options: Options, seed: u64) -> Result<(Self, Layout)> {
        let (mut input, options) = open(path, options)?;
        let origin = options.origin.clone();
        let doing = || format!("read {origin}");
        let file = match options.total_bytes {
            Some(_) => files::regular(path).doing(doing)?,
            None => {
                let mut copy = nameless().doing(|| "make a temporary file for the target list")?;
                io::copy(&mut input, &mut copy).doing(|| format!("copy {origin} to a file"))?;
                copy
            }
        };
        drop(input);
        let before = state(&file).doing(doing)?;
        let from_start = || -> io::Result<_> {
            let mut again = file.try_clone()?;
            again.seek(SeekFrom::Start(0))?;
            Ok(Box::new(BufReader::with_capacity(BUFFER, again)))
        };
        let options = Options { total_bytes: Some(before.0), ..options };
        let mut list = List::new(from_start().doing(doing)?, Want::Targets, options);
        let sample = list.sample(&mut Refusals::quiet())?;
        let layout = Layout::infer(list.header(), &sample, &list.meaning.options.columns);
        let mut meaning = list.meaning;
        meaning.vacant = Positions::default();
        let mut lines = Lines::new(from_start().doing(doing)?);
        let mut starts = vec![0];
        let mut memory = meaning.format.as_mut().filter(|format| format.has_memory());
        while let Some(line) = lines.next().doing(doing)? {
            if let (Some(format), Ok(text)) = (&mut memory, line.text) {
                format.note(text);
            }
            starts.push(lines.bytes());
        }
        let scattered = Self {
            file,
            order: Permutation::new(lines.number(), seed),
            starts,
            meaning,
            digest: lines.digest().unwrap_or_default(),
            before,
            lines_read: 0,
            bytes_read: 0,
            buffer: Vec::new(),
            ended: false,
        };
        Ok((scattered, layout))
    }

    /// The name of the list.
    pub fn origin(&self) -> &str {
        &self.meaning.options.origin
    }

    /// The next usable line and its length; `None` after the last one.
    pub fn next(&mut self, refusals: &mut Refusals) -> Result<Option<(Raw, u64)>> {
        while let Some(place) = self.order.next() {
            let number = place + 1;
            self.line(place)?;
            if let Some(raw) =
                self.meaning.read(number, lines::text(number, &self.buffer), refusals)?
            {
                return Ok(Some(raw));
            }
        }
        self.end()?;
        Ok(None)
    }

    /// Reads a line into the buffer, at most enough to see that it is too long.
    fn line(&mut self, place: u64) -> Result<()> {
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        let (start, end) = match self.starts.get(at..at.saturating_add(2)) {
            Some([start, end]) => (*start, *end),
            _ => (0, 0),
        };
        let length = (end - start).min(LONGEST as u64 + 4);
        self.buffer.resize(usize::try_from(length).unwrap_or(LONGEST), 0);
        let origin = &self.meaning.options.origin;
        let doing = || format!("read line {} of {origin}", place + 1);
        self.file.read_exact_at(&mut self.buffer, start).doing(doing)?;
        self.lines_read += 1;
        self.bytes_read += end - start;
        Ok(())
    }

    /// Checks that the file did not change: only then was each of its lines read.
    fn end(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let origin = &self.meaning.options.origin;
        let doing = || format!("read {origin}");
        if state(&self.file).doing(doing)? == self.before {
            return Ok(());
        }
        let mut again = self.file.try_clone().doing(doing)?;
        again.seek(SeekFrom::Start(0)).doing(doing)?;
        let mut lines = Lines::new(Box::new(BufReader::with_capacity(BUFFER, again)));
        while lines.next().doing(doing)?.is_some() {}
        self.digest = lines.digest().unwrap_or_default();
        Ok(())
    }

    /// The SHA-256 of the list in hexadecimal; `None` until all lines were read.
    pub fn digest(&self) -> Option<String> {
        self.ended.then(|| self.digest.clone())
    }

    /// The last position of the list, and the positions read so far that have no target.
    pub fn positions(&self) -> (u64, Positions) {
        (self.starts.len() as u64 - 1, self.meaning.vacant.clone())
    }

    /// Marks a line as having no target.
    pub fn vacate(&mut self, position: u64) -> bool {
        self.meaning.vacant.insert(position)
    }

    /// Number of lines read.
    pub fn lines_read(&self) -> u64 {
        self.lines_read
    }

    /// Bytes of the lines read so far, and of all lines.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.bytes_read, self.meaning.options.total_bytes)
    }
}

fn state(file: &File) -> io::Result<(u64, Option<SystemTime>)> {
    let about = file.metadata()?;
    Ok((about.len(), about.modified().ok()))
}

/// An unnamed file in the temporary directory, which disappears with this process.
fn nameless() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("pathspider-{:032x}", rand::random::<u128>()));
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).mode(0o600).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}
