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
mod refusal;
mod scattered;
mod shard;
mod special;
mod writer;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;

use arrow::datatypes::Fields;

use crate::error::{Doing as _, Error, Result};
use crate::signals::Interruptible;

pub use address::usable;
pub use columns::columns;
pub use digest::of_file as file_digest;
pub use entries::{Entries, Entry};
pub use format::Want;
pub use format::tool::{TOOLS, Tool};
pub use infer::FixedColumn;
pub use name::check as check_name;
pub use optout::OptOuts;
pub use positions::Positions;
pub use prefixes::Prefixes;
pub use refusal::{Reason, Refusal, Refusals, shown};
pub use shard::Shard;
pub use special::{SPECIAL, Special, special};
pub use writer::{Listing, Writer};

use digest::Digest;
use format::Raw;
use infer::Layout;
use list::List;
use permutation::Permutation;
use scattered::Scattered;

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
    /// Columns whose types are fixed, whatever the list looks like.
    pub columns: Vec<FixedColumn>,
}

/// Lists whose lines without a port have this one.
impl From<Option<u16>> for Options {
    fn from(default_port: Option<u16>) -> Self {
        Self { default_port, ..Self::default() }
    }
}

impl Options {
    /// The error of a list that cannot be read, as a line shows.
    fn refuse(&self, number: u64, why: &str) -> Error {
        Error::Usage(format!("read {}: line {number}: {why}", self.origin))
    }
}

/// Says of a target why it must not be asked, if it must not.
pub type Policy = Box<dyn Fn(&Target) -> Option<Reason>>;

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
    /// Whom not to ask.
    policy: Option<Policy>,
    /// Those that were not asked because of it.
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
    /// Reads from `input`. Up to a thousand lines are read at once, to find the columns.
    ///
    /// # Errors
    /// When reading fails, and when the list is of a kind that nothing can be read from (a JSON
    /// array). A list without a single target is not an error here.
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
    /// As [`Reader::new`]; a file that cannot be opened is [`Error::Usage`].
    pub fn open(path: &Path, options: impl Into<Options>) -> Result<Self> {
        let (input, options) = open(path, options.into())?;
        Self::new(input, options)
    }

    /// Reads the file `path`, or standard input if it is `-`, in an order that the seed draws. What is no
    /// file is first copied to one without a name, in the folder of temporary files; 8 bytes a line are kept in memory.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_scattered(path: &Path, options: impl Into<Options>, seed: u64) -> Result<Self> {
        let (scattered, layout) = Scattered::open(path, options.into(), seed)?;
        let refusals = Refusals::new(scattered.origin());
        Ok(Self::over(Source::Scattered(Box::new(scattered)), layout, refusals))
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
        let (done, withheld) = <(Positions, Positions)>::default();
        let (names, shard, policy) = (false, None, None);
        Self { source, layout, refusals, given: 0, names, shard, done, policy, withheld }
    }

    /// Hands out targets that have a name and no address, too; otherwise they are refused.
    pub fn names(&mut self) {
        self.names = true;
    }

    /// Hands targets that were given, and of which none was handed out yet, out in an order that the seed draws; a list is
    /// opened so.
    pub fn scatter(&mut self, seed: u64) {
        if let Source::Given { targets, .. } = &mut self.source {
            let listed = targets.as_slice();
            let order = Permutation::new(listed.len() as u64, seed);
            let at = |at: u64| listed.get(usize::try_from(at).ok()?).cloned();
            *targets = order.filter_map(at).collect::<Vec<_>>().into_iter();
        }
    }

    /// Refuses targets for which this has a reason.
    pub fn withhold(&mut self, policy: Policy) {
        self.policy = Some(policy);
    }

    /// Positions of targets that were refused by that.
    pub fn withheld(&self) -> &Positions {
        &self.withheld
    }

    /// Hands out only this share of the list, or all of it.
    pub fn only(&mut self, shard: Option<Shard>) {
        self.shard = shard;
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
            let reason = passed_over(self.shard, &self.done, target.position).or_else(|| {
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

    /// Whether any target was read that is to be asked, was asked before or is asked elsewhere.
    pub fn has_targets(&self) -> bool {
        let elsewhere =
            [Reason::OtherShard, Reason::Resumed].map(|reason| self.refusals.of(reason));
        self.given > 0 || elsewhere.iter().any(|count| *count > 0)
    }

    /// Targets read so far: those handed out, and those refused.
    pub fn targets_read(&self) -> u64 {
        self.given + self.refusals.total()
    }

    /// The SHA-256 of the list, in hexadecimal; `None` until its end was reached.
    pub fn digest(&self) -> Option<String> {
        match &self.source {
            Source::List { list, .. } => list.lines.digest(),
            Source::Scattered(list) => list.digest(),
            Source::Given { digest, .. } => Some(digest.clone()),
        }
    }

    /// The last position that was read, and those up to it that have no target: blank lines, comments, a header, lines
    /// that could not be used.
    pub fn positions(&self) -> (u64, Positions) {
        match &self.source {
            Source::List { list, .. } => (list.lines.number(), list.meaning.vacant.clone()),
            Source::Scattered(list) => list.positions(),
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
            Source::Scattered(list) => list.lines_read(),
            Source::Given { .. } => 0,
        }
    }

    /// How many targets are handed out in all, estimated from the length of the list, or known once all of it was read;
    /// `None` while that cannot be told.
    pub fn expected(&self) -> Option<u64> {
        let estimate = |handed: u64, bytes: u64, total: u64| match bytes {
            0 => None,
            // Those that have their records say how many lines there are, and are none of the rest.
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

    /// How much was read, of how much if that is known: in bytes, or in targets if those were
    /// given. The first thousand lines count as read from the start.
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

/// Why the target at this position is not handed out, if it is not.
fn passed_over(shard: Option<Shard>, done: &Positions, position: u64) -> Option<Reason> {
    if shard.is_some_and(|shard| !shard.has(position)) {
        return Some(Reason::OtherShard);
    }
    done.contains(position).then_some(Reason::Resumed)
}

/// Opens the file `path`, or standard input if it is `-`.
fn open(path: &Path, options: Options) -> Result<(Box<dyn BufRead + Send>, Options)> {
    if path.as_os_str() == "-" {
        let origin = "standard input".to_owned();
        let stdin = Interruptible::stdin().doing(|| format!("read {origin}"))?;
        let input = not_packed(&origin, BufReader::new(stdin))?;
        return Ok((input, Options { origin, total_bytes: None, ..options }));
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
    let input = match total_bytes {
        Some(_) => not_packed(&origin, BufReader::with_capacity(256 * 1024, file))?,
        None => not_packed(&origin, BufReader::new(Interruptible(file)))?,
    };
    Ok((input, Options { origin, total_bytes, ..options }))
}

/// Refuses an input that is compressed, as ranked lists are when they are fetched.
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
    // A read error is reported where lines are read.
    let start = input.fill_buf().unwrap_or_default();
    match PACKED.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, how)) => Err(Error::Usage(format!("read {origin}: not text but {how}"))),
        None => Ok(Box::new(input)),
    }
}

#[cfg(test)]
mod tests;
