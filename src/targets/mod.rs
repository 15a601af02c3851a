//! Target lists: what to measure, read in batches.
//!
//! A list is NDJSON (`{"dip": "192.0.2.1", "dp": 80, "domain": "example.org"}`) or CSV, with a header or as
//! `ip,port,name,rank`; the first line decides (`format`). Lists of any length are read in constant memory. A line
//! that cannot be used is counted, reported with its number and reason ([`Refusals`]) and skipped; it never ends a
//! run.
//!
//! Every target has a *position*, the number of its line, by which resumed runs and shards identify it; the same
//! target on two lines is two targets. Each target read is either handed out or counted under the [`Reason`] why not.
//!
//! Other values of a list become columns, whose types are inferred from the first lines ([`Reader::fields`]), so a
//! result can be read without its list.
//!
//! Imports [`error`](crate::error) only.

mod address;
mod cell;
mod columns;
mod digest;
mod entries;
mod format;
mod infer;
mod lines;
mod list;
mod name;
mod optout;
mod permutation;
mod positions;
mod prefixes;
mod raw;
mod refusal;
mod scattered;
mod shard;
mod special;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;

use arrow_schema::Fields;

use crate::error::{Error, Interrupted, Result};
use crate::files::{self, Input};

pub use address::usable;
pub use columns::columns;
pub use digest::of_file as file_digest;
pub use entries::{Entries, Entry};
pub use format::tool::{TOOLS, Tool};
pub use infer::FixedColumn;
pub use name::check as check_name;
pub use optout::OptOuts;
pub use permutation::scrambled;
pub use positions::Positions;
pub use prefixes::{ListDigest, Prefixes};
pub use raw::Want;
pub use refusal::{Reason, Refusal, Refusals, shown};
pub use shard::Shard;
pub use special::{SPECIAL, Special, special};
pub use writer::{Listing, Writer};

use digest::Digest;
use infer::Layout;
use list::List;
use permutation::Permutation;
use raw::Raw;
use scattered::Scattered;

/// Number of lines from which the names and types of the other columns are inferred.
const SAMPLE_LINES: usize = 1000;
/// Maximum number of bytes of lines kept in memory, for the sample or for one batch.
const HELD_BYTES: u64 = 16 * 1024 * 1024;

/// The reason for rejecting a line without an address, if names are not resolved.
const NO_ADDRESS: &str = "no address (dip, ip or addr): `pathspider targets resolve` resolves names, and so does a \
                          measurement with prepare.resolve";

/// One thing to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// The number of its line, from 1; for targets given in memory, its index plus 1.
    pub position: u64,
    /// Its address; an IPv4-mapped IPv6 address is stored as the IPv4 address. `None` if the list has only a name,
    /// which must be resolved; handed out only after [`Reader::names`].
    pub addr: Option<IpAddr>,
    /// Its port, never 0.
    pub port: u16,
    /// Its name, if the list has one.
    pub name: Option<String>,
    /// The list's other values, in the order of the reader's fields; may be shorter.
    pub more: Vec<Option<Value>>,
    /// Values without a column, or that do not fit their column's type, as the text of a JSON object.
    pub extra: Option<String>,
}

impl Target {
    /// A target without other columns.
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

/// How to read a list.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The port of lines without one; if `None`, such lines are rejected.
    pub default_port: Option<u16>,
    /// The name of the list in messages: the file's name.
    pub origin: String,
    /// The length of the list in bytes, if known; only for progress.
    pub total_bytes: Option<u64>,
    /// Columns with fixed types.
    pub columns: Vec<FixedColumn>,
}

/// Options for lists whose lines without a port use this one.
impl From<Option<u16>> for Options {
    fn from(default_port: Option<u16>) -> Self {
        Self { default_port, ..Self::default() }
    }
}

impl Options {
    /// The error for a list that cannot be read, as shown by a line.
    fn refuse(&self, number: u64, why: &str) -> Error {
        Error::Usage(format!("read {}: line {number}: {why}", self.origin))
    }
}

/// Returns the reason why a target must not be probed, if there is one.
pub type Policy = Box<dyn Fn(&Target) -> Option<Reason>>;

/// Reads a target list.
pub struct Reader {
    source: Source,
    layout: Layout,
    refusals: Refusals,
    /// Number of targets handed out.
    given: u64,
    /// Whether targets without an address are handed out.
    names: bool,
    /// The shard to hand out; `None` means the whole list.
    shard: Option<Shard>,
    /// Positions that are skipped because they have their records.
    done: Positions,
    /// The exclusion policy.
    policy: Option<Policy>,
    /// Positions that the policy excluded.
    withheld: Positions,
}

enum Source {
    List { list: Box<List>, sample: VecDeque<Raw> },
    Scattered(Box<Scattered>),
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
    /// Reads from `input`. Up to a thousand lines are read at once to infer the columns.
    ///
    /// # Errors
    /// If reading fails, or the list has a form that cannot be read (a JSON array on one line). A list without a
    /// single target is not an error here.
    pub fn new(input: Box<dyn BufRead + Send>, options: Options) -> Result<Self> {
        let mut refusals = Refusals::new(&options.origin);
        let mut list = List::new(input, Want::Targets, options);
        let sample = list.sample(&mut refusals)?;
        let fixed = &list.meaning.options.columns;
        let layout = Layout::infer(list.header(), &sample, fixed);
        Ok(Self::over(Source::List { list: Box::new(list), sample }, layout, refusals))
    }

    /// Reads the file `path`, or standard input if it is `-`.
    ///
    /// # Errors
    /// As [`Reader::new`]; [`Error::Usage`] if a file cannot be opened.
    pub fn open(path: &Path, options: impl Into<Options>) -> Result<Self> {
        let (input, options) = open(path, options.into())?;
        Self::new(input, options)
    }

    /// Reads the file `path`, or standard input if it is `-`, in an order drawn by `seed`. Input that is not a
    /// regular file is first copied to an unnamed temporary file. Takes 8 bytes of memory per line.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_scattered(path: &Path, options: impl Into<Options>, seed: u64) -> Result<Self> {
        let (scattered, layout) = Scattered::open(path, options.into(), seed)?;
        let refusals = Refusals::new(scattered.origin());
        Ok(Self::over(Source::Scattered(Box::new(scattered)), layout, refusals))
    }

    /// Hands out known targets, without other columns.
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
        let (done, withheld) = <(Positions, Positions)>::default();
        let (names, shard, policy) = (false, None, None);
        Self { source, layout, refusals, given: 0, names, shard, done, policy, withheld }
    }

    /// Also hands out targets that have a name but no address; by default they are rejected.
    pub fn names(&mut self) {
        self.names = true;
    }

    /// Shuffles in-memory targets by `seed`; must be called before the first batch. Lists use
    /// [`Reader::open_scattered`].
    pub fn scatter(&mut self, seed: u64) {
        if let Source::Given { targets, .. } = &mut self.source {
            let listed = targets.as_slice();
            let order = Permutation::new(listed.len() as u64, seed);
            let at = |at: u64| listed.get(usize::try_from(at).ok()?).cloned();
            *targets = order.filter_map(at).collect::<Vec<_>>().into_iter();
        }
    }

    /// Excludes targets for which `policy` returns a reason.
    pub fn withhold(&mut self, policy: Policy) {
        self.policy = Some(policy);
    }

    /// Positions of targets that the policy excluded.
    pub fn withheld(&self) -> &Positions {
        &self.withheld
    }

    /// Hands out only this shard, or the whole list.
    pub fn only(&mut self, shard: Option<Shard>) {
        self.shard = shard;
    }

    /// Skips targets that have their records already.
    pub fn skip(&mut self, done: Positions) {
        self.done = done;
    }

    /// The columns of a record's `target`: `ip`, `port`, `name`, the list's own, and `extra` (always present; NULL if
    /// empty).
    pub fn fields(&self) -> Fields {
        self.layout.fields()
    }

    /// The next targets, at most `max`. A short batch does not mean the end of the list (batches of long lines are
    /// smaller, to bound memory); an empty one does.
    ///
    /// # Errors
    /// If reading fails.
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
                Source::Scattered(list) => {
                    let raw = list.next(&mut self.refusals)?;
                    raw.map(|(raw, bytes)| (self.layout.place(raw), bytes))
                }
            };
            let Some((target, bytes)) = target else { break };
            if target.addr.is_none() && !self.names {
                self.refusals.add(target.position, NO_ADDRESS.to_owned());
                match &mut self.source {
                    Source::List { list, .. } => list.meaning.vacant.insert(target.position),
                    Source::Scattered(list) => list.vacate(target.position),
                    Source::Given { .. } => false,
                };
                continue;
            }
            let reason = skipped(self.shard, &self.done, target.position).or_else(|| {
                let reason = self.policy.as_ref()?(&target)?;
                self.withheld.insert(target.position);
                Some(reason)
            });
            match reason {
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

    /// Whether any target was read that will be probed, was probed before, or belongs to another shard.
    pub fn has_targets(&self) -> bool {
        let elsewhere =
            [Reason::OtherShard, Reason::Resumed].map(|reason| self.refusals.of(reason));
        self.given > 0 || elsewhere.iter().any(|count| *count > 0)
    }

    /// Number of targets read so far: those handed out and those skipped.
    pub fn targets_read(&self) -> u64 {
        self.given + self.refusals.total()
    }

    /// The SHA-256 of the list in hexadecimal; `None` until its end was reached.
    pub fn digest(&self) -> Option<String> {
        match &self.source {
            Source::List { list, .. } => list.lines.digest(),
            Source::Scattered(list) => list.digest(),
            Source::Given { digest, .. } => Some(digest.clone()),
        }
    }

    /// The last position that was read, and the positions up to it that have no target: blank lines, comments, a
    /// header, rejected lines.
    pub fn positions(&self) -> (u64, Positions) {
        match &self.source {
            Source::List { list, .. } => (list.lines.number(), list.meaning.vacant.clone()),
            Source::Scattered(list) => list.positions(),
            Source::Given { total, .. } => (*total as u64, Positions::default()),
        }
    }

    /// The lines and targets rejected so far.
    pub fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    /// Number of lines read so far, of any kind; 0 for targets that were given.
    pub fn lines_read(&self) -> u64 {
        match &self.source {
            Source::List { list, .. } => list.lines.number(),
            Source::Scattered(list) => list.lines_read(),
            Source::Given { .. } => 0,
        }
    }

    /// Total number of targets to hand out, estimated from the length of the list, or known once all of it was read;
    /// `None` while it cannot be estimated.
    pub fn expected(&self) -> Option<u64> {
        let estimate = |handed: u64, bytes: u64, total: u64| match bytes {
            0 => None,
            // Targets that have their records count for the number of lines, but are not handed out.
            _ => {
                let done = self.refusals.of(Reason::Resumed);
                let all = u128::from(handed + done) * u128::from(total) / u128::from(bytes);
                Some(u64::try_from(all).unwrap_or(u64::MAX).saturating_sub(done).max(handed))
            }
        };
        match &self.source {
            Source::List { list, sample } => {
                let handed = self.given + sample.len() as u64;
                let total = match list.lines.digest() {
                    Some(_) => Some(list.lines.bytes()),
                    None => list.meaning.options.total_bytes,
                };
                estimate(handed, list.lines.bytes(), total?)
            }
            Source::Scattered(list) => {
                let (bytes, total) = list.progress();
                estimate(self.given, bytes, total?)
            }
            Source::Given { targets, .. } => Some(self.given + targets.len() as u64),
        }
    }

    /// How much was read, and the total if it is known: in bytes, or in targets if those were given. The first
    /// thousand lines count as read from the start.
    pub fn progress(&self) -> (u64, Option<u64>) {
        match &self.source {
            Source::List { list, .. } => (list.lines.bytes(), list.meaning.options.total_bytes),
            Source::Scattered(list) => list.progress(),
            Source::Given { targets, total, .. } => {
                ((total - targets.len()) as u64, Some(*total as u64))
            }
        }
    }
}

/// The reason for skipping the target at this position, if there is one.
fn skipped(shard: Option<Shard>, done: &Positions, position: u64) -> Option<Reason> {
    if shard.is_some_and(|shard| !shard.has(position)) {
        return Some(Reason::OtherShard);
    }
    done.contains(position).then_some(Reason::Resumed)
}

/// Opens the file `path`, or standard input if it is `-`.
fn open(path: &Path, options: Options) -> Result<(Box<dyn BufRead + Send>, Options)> {
    if path.as_os_str() == "-" {
        let origin = "standard input".to_owned();
        let stdin = Input::stdin().map_err(|error| files::refuse(&origin, error))?;
        let input = not_packed(&origin, BufReader::with_capacity(64 * 1024, stdin))?;
        return Ok((input, Options { origin, total_bytes: None, ..options }));
    }
    let origin = path.display().to_string();
    let unusable = |why: &dyn fmt::Display| Error::Usage(format!("read {origin}: {why}"));
    let file = Input::open(path).map_err(|error| files::refuse(&origin, error))?;
    let about = file.about().clone();
    if about.is_dir() {
        return Err(unusable(&"it is a folder, not a target list"));
    }
    // The length of a pipe means nothing.
    let total_bytes = about.is_file().then_some(about.len());
    let input = not_packed(&origin, BufReader::with_capacity(256 * 1024, file))?;
    Ok((input, Options { origin, total_bytes, ..options }))
}

/// Rejects compressed input; ranked lists are often distributed so.
fn not_packed<R: io::Read + Send + 'static>(
    origin: &str,
    mut input: BufReader<R>,
) -> Result<Box<dyn BufRead + Send>> {
    const PACKED: [(&[u8], &str); 4] = [
        (b"\x1f\x8b", "gzip: gunzip -c FILE | ... -"),
        (b"PK\x03\x04", "zip: unzip -p FILE | ... -"),
        (b"\x28\xb5\x2f\xfd", "zstd: zstd -dc FILE | ... -"),
        (b"PAR1", "Parquet: export it as CSV or NDJSON"),
    ];
    // A read error is reported when lines are read; no need to retry after a signal here.
    let start = match input.fill_buf() {
        Err(why) if why.get_ref().is_some_and(|inner| inner.is::<Interrupted>()) => {
            return Err(files::refuse(origin, why));
        }
        other => other.unwrap_or_default(),
    };
    match PACKED.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, how)) => Err(Error::Usage(format!("read {origin}: not text but {how}"))),
        None => Ok(Box::new(input)),
    }
}

#[cfg(test)]
mod tests;
