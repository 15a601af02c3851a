//! Target lists: what is to be measured, read a batch at a time.
//!
//! A list is NDJSON (`{"dip": "192.0.2.1", "dp": 80, "domain": "example.org"}`) or CSV, with a
//! header or as `ip,port,name,rank`; its first line says which (`format`). It is read
//! in constant memory, however long it is. A line that cannot be used is counted, reported with
//! its number and its reason ([`Refusals`]) and skipped; it never ends a run.
//!
//! Every target has a *position*, the number of its line, by which a resumed run and the shards of a run know it;
//! the same target on two lines is two targets. Each one read is handed out or counted by the
//! [`Reason`] why not.
//!
//! What a list says beyond address, port and name goes into columns of its own, whose types
//! are found in the first lines ([`Reader::fields`]), so that a result can be read without the
//! list it came from.
//!
//! Imports [`error`](crate::error) only.

mod address;
mod columns;
mod digest;
mod entries;
mod format;
mod infer;
mod lines;
mod name;
mod positions;
mod prefixes;
mod refusal;
mod shard;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;

use arrow::datatypes::Fields;

use crate::error::{Doing as _, Error, Result};

pub use address::usable;
pub use columns::columns;
pub use digest::of_file as file_digest;
pub use entries::{Entries, Entry};
pub use format::Want;
pub use name::check as check_name;
pub use positions::Positions;
pub use prefixes::Prefixes;
pub use refusal::{Reason, Refusal, Refusals, shown};
pub use shard::Shard;
pub use writer::{Listing, Writer};

use digest::Digest;
use format::{Format, Raw};
use infer::Layout;
use lines::Lines;

/// Lines in which the names and types of further columns are looked for.
const SAMPLE_LINES: usize = 1000;
/// Bytes of lines that are kept at most, for the sample or for one batch.
const HELD_BYTES: u64 = 16 * 1024 * 1024;

/// Why a line without an address is refused, where names are not looked up.
const NO_ADDRESS: &str = "no address (dip, ip or addr): `pathspider targets resolve` looks names up, and so does a \
                          measurement with prepare.resolve";

/// One thing to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The number of its line, from 1; of targets that were given, its place among them.
    pub position: u64,
    /// Its address; an IPv4-mapped IPv6 address is the IPv4 address that it goes to. `None` if the list has only its
    /// name: then [`Reader::names`] was asked to hand such targets out, and they are to be looked up.
    pub addr: Option<IpAddr>,
    /// Its port, never 0.
    pub port: u16,
    /// Its name, if the list gave one.
    pub name: Option<String>,
    /// What else the list said, in the order of the reader's fields; may be shorter than they.
    pub more: Vec<Option<Value>>,
    /// What found no column, or does not fit its column's type, as the text of a JSON object.
    pub extra: Option<String>,
}

impl Target {
    /// A target without further columns.
    pub fn new(addr: IpAddr, port: u16, name: Option<String>) -> Self {
        Self { position: 0, addr: Some(addr), port, name, more: Vec::new(), extra: None }
    }
}

/// A value in one of the list's own columns.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `Boolean`.
    Bool(bool),
    /// `Int64`.
    Int(i64),
    /// `Float64`.
    Float(f64),
    /// `Utf8`; arrays and objects as JSON text.
    Text(String),
}

/// How a list is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The port of lines that do not give one; without it such a line is refused.
    pub default_port: Option<u16>,
    /// What the list is called in messages: the file's name.
    pub origin: String,
    /// How long the list is in bytes, if that is known: for progress only.
    pub total_bytes: Option<u64>,
}

/// Reads a target list.
pub struct Reader {
    source: Source,
    layout: Layout,
    refusals: Refusals,
    /// Targets handed out.
    given: u64,
    /// Whether targets without an address are handed out.
    names: bool,
    /// The share of the list that is handed out, if not all.
    shard: Option<Shard>,
    /// Those that are passed over because they have their records.
    done: Positions,
}

enum Source {
    List { list: Box<List>, sample: VecDeque<Raw> },
    Given { targets: std::vec::IntoIter<Target>, total: usize, digest: String },
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("layout", &self.layout)
            .field("refusals", &self.refusals)
            .field("progress", &self.progress())
            .finish()
    }
}

impl Reader {
    /// Reads from `input`. Up to a thousand lines are read at once, to find the columns.
    ///
    /// # Errors
    /// When reading fails, and when the list is of a kind that nothing can be read from (a JSON
    /// array). A list without a single target is not an error here.
    pub fn new(input: Box<dyn BufRead + Send>, options: Options) -> Result<Self> {
        let mut refusals = Refusals::new(&options.origin);
        let mut list = List::new(input, Want::Targets, options);
        let mut sample = VecDeque::new();
        let mut held = 0;
        while sample.len() < SAMPLE_LINES && held < HELD_BYTES {
            let Some((raw, bytes)) = list.next(&mut refusals)? else { break };
            held += bytes;
            sample.push_back(raw);
        }
        let header = list.format.as_ref().map(Format::header).unwrap_or_default();
        let layout = Layout::infer(header, &sample);
        Ok(Self::over(Source::List { list: Box::new(list), sample }, layout, refusals))
    }

    /// Reads the file `path`, or standard input if it is `-`.
    ///
    /// # Errors
    /// As [`Reader::new`]; a file that cannot be opened is [`Error::Usage`].
    pub fn open(path: &Path, default_port: Option<u16>) -> Result<Self> {
        let (input, options) = open(path)?;
        Self::new(input, Options { default_port, ..options })
    }

    /// Hands out targets that are known already, without columns beyond the common ones.
    pub fn from_targets(mut targets: Vec<Target>) -> Self {
        let total = targets.len();
        let mut digest = Digest::default();
        for (position, target) in (1..).zip(&mut targets) {
            target.position = position;
            let Target { addr, port, name, .. } = target;
            let addr = addr.map_or_else(String::new, |addr| addr.to_string());
            digest.add(format!("{addr},{port},{}\n", name.as_deref().unwrap_or("")).as_bytes());
        }
        let source = Source::Given { targets: targets.into_iter(), total, digest: digest.text() };
        Self::over(source, Layout::default(), Refusals::new("the targets"))
    }

    fn over(source: Source, layout: Layout, refusals: Refusals) -> Self {
        let done = Positions::default();
        Self { source, layout, refusals, given: 0, names: false, shard: None, done }
    }

    /// Hands out targets that have a name and no address, too; otherwise they are refused.
    pub fn names(&mut self) {
        self.names = true;
    }

    /// Hands out only this share of the list.
    pub fn only(&mut self, shard: Shard) {
        self.shard = Some(shard);
    }

    /// Passes over targets that have their records already.
    pub fn pass_over(&mut self, done: Positions) {
        self.done = done;
    }

    /// The columns of a record's `target`: `ip`, `port`, `name`, the list's own, and `extra`
    /// (always there; NULL where it has nothing to say).
    pub fn fields(&self) -> Fields {
        self.layout.fields()
    }

    /// The next targets, `max` at most. Fewer do not mean that the list is at its end (long
    /// lines are given out earlier, to bound memory); none do.
    ///
    /// # Errors
    /// When reading fails.
    pub fn next_batch(&mut self, max: usize) -> Result<Vec<Target>> {
        let mut batch = Vec::with_capacity(max.min(4096));
        let mut held = 0;
        while batch.len() < max && held < HELD_BYTES {
            let target = match &mut self.source {
                Source::Given { targets, .. } => targets.next().map(|target| (target, 0)),
                Source::List { list, sample } => {
                    let raw = match sample.pop_front() {
                        Some(raw) => Some((raw, 0)),
                        None => list.next(&mut self.refusals)?,
                    };
                    raw.map(|(raw, bytes)| (self.layout.place(raw), bytes))
                }
            };
            let Some((target, bytes)) = target else { break };
            if target.addr.is_none() && !self.names {
                self.refusals.add(target.position, NO_ADDRESS.to_owned());
                if let Source::List { list, .. } = &mut self.source {
                    list.vacant.insert(target.position);
                }
                continue;
            }
            match passed_over(self.shard, &self.done, target.position) {
                Some(reason) => self.refusals.pass(reason),
                None => {
                    held += bytes;
                    batch.push(target);
                }
            }
        }
        self.given += batch.len() as u64;
        Ok(batch)
    }

    /// Targets read so far: those handed out, and those refused.
    pub fn targets_read(&self) -> u64 {
        self.given + self.refusals.total()
    }

    /// The SHA-256 of the list, in hexadecimal; `None` until its end was reached.
    pub fn digest(&self) -> Option<String> {
        match &self.source {
            Source::List { list, .. } => list.lines.digest(),
            Source::Given { digest, .. } => Some(digest.clone()),
        }
    }

    /// The last position that was read, and those up to it that have no target: blank lines, comments, a header, lines
    /// that could not be used.
    pub fn positions(&self) -> (u64, Positions) {
        match &self.source {
            Source::List { list, .. } => (list.lines.number(), list.vacant.clone()),
            Source::Given { total, .. } => (*total as u64, Positions::default()),
        }
    }

    /// The lines that could not be used, so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Lines read so far, of any kind; 0 for targets that were given.
    pub fn lines_read(&self) -> u64 {
        match &self.source {
            Source::List { list, .. } => list.lines.number(),
            Source::Given { .. } => 0,
        }
    }

    /// How much was read, of how much if that is known: in bytes, or in targets if those were
    /// given. The first thousand lines count as read from the start.
    pub fn progress(&self) -> (u64, Option<u64>) {
        match &self.source {
            Source::List { list, .. } => (list.lines.bytes(), list.options.total_bytes),
            Source::Given { targets, total, .. } => {
                ((total - targets.len()) as u64, Some(*total as u64))
            }
        }
    }
}

/// The list itself: lines and what they mean.
struct List {
    lines: Lines,
    want: Want,
    /// Known from the first line that says anything.
    format: Option<Format>,
    options: Options,
    /// Lines that have no target.
    vacant: Positions,
}

/// Why the target at this position is not handed out, if it is not.
fn passed_over(shard: Option<Shard>, done: &Positions, position: u64) -> Option<Reason> {
    if shard.is_some_and(|shard| !shard.has(position)) {
        return Some(Reason::OtherShard);
    }
    done.contains(position).then_some(Reason::Resumed)
}

/// Opens the file `path`, or standard input if it is `-`.
fn open(path: &Path) -> Result<(Box<dyn BufRead + Send>, Options)> {
    if path.as_os_str() == "-" {
        let origin = "standard input".to_owned();
        let options = Options { default_port: None, origin, total_bytes: None };
        return Ok((Box::new(BufReader::new(io::stdin())), options));
    }
    let origin = path.display().to_string();
    let unusable = |why: &dyn fmt::Display| Error::Usage(format!("read {origin}: {why}"));
    let file = File::open(path).map_err(|error| unusable(&error))?;
    let about = file.metadata().map_err(|error| unusable(&error))?;
    if about.is_dir() {
        return Err(unusable(&"it is a folder, not a target list"));
    }
    // A pipe has no length that means anything.
    let total_bytes = about.is_file().then_some(about.len());
    let input = BufReader::with_capacity(256 * 1024, file);
    Ok((Box::new(input), Options { default_port: None, origin, total_bytes }))
}

impl List {
    fn new(input: Box<dyn BufRead + Send>, want: Want, options: Options) -> Self {
        Self { lines: Lines::new(input), want, format: None, options, vacant: Positions::default() }
    }

    /// The next usable line and its length; `None` at the end.
    fn next(&mut self, refusals: &mut Refusals) -> Result<Option<(Raw, u64)>> {
        loop {
            let origin = &self.options.origin;
            let Some(line) = self.lines.next().doing(|| format!("read {origin}"))? else {
                return Ok(None);
            };
            let number = line.number;
            // Until a target is found in it.
            self.vacant.insert(number);
            let text = match line.text {
                Ok(text) => text,
                Err(reason) => {
                    refusals.add(number, reason);
                    continue;
                }
            };
            let start = text.trim_start();
            if start.is_empty() || start.starts_with('#') {
                continue;
            }
            let first = self.format.is_none();
            let format = match &mut self.format {
                Some(format) => format,
                None => {
                    let (format, is_header) =
                        Format::of_first_line(text, self.want).map_err(|why| {
                            Error::Usage(format!("read {origin}: line {number}: {why}"))
                        })?;
                    let format = self.format.insert(format);
                    if is_header {
                        continue;
                    }
                    format
                }
            };
            match format.read(text, self.want, self.options.default_port) {
                Ok(raw) => {
                    self.vacant.remove(number);
                    return Ok(Some((Raw { line: number, ..raw }, text.len() as u64)));
                }
                // Perhaps it was meant as a header.
                Err(reason) if first && matches!(format, Format::Csv(_)) => {
                    refusals.add(number, format!("{reason} ({})", self.want.header_hint()));
                }
                Err(reason) => refusals.add(number, reason),
            }
        }
    }
}

#[cfg(test)]
mod tests;
