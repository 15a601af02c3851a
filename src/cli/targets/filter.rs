//! `pathspider targets filter`: selects targets of a list.

use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use indicatif::HumanCount;
use sha2::{Digest as _, Sha256};

use crate::cli::signals;
use crate::cli::targets::input;
use crate::cli::targets::output::{Destination, Output};
use crate::error::{Error, Exit, Result};
use crate::report::meter::Meter;
use crate::report::page;
use crate::targets::{Entries, Entry, Prefixes, Want};
use crate::words::counted;

/// Select targets of a list, in one pass and in constant memory
///
/// Reads NDJSON or CSV as `run` does and writes either; every column is passed on and the order is
/// kept. A target must pass all filters, in the order family, port, only, exclude, unique, sample;
/// dropped targets are counted by the first filter that they fail. Invalid lines are reported with
/// their number, counted, and dropped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// File of targets, - for standard input (the default unless that is a terminal)
    #[arg(value_name = "TARGETS")]
    targets: Option<PathBuf>,

    #[command(flatten)]
    destination: Destination,

    /// Keep only addresses of this family; an IPv4-mapped IPv6 address is IPv4
    #[arg(long, value_enum)]
    family: Option<Family>,

    /// Keep only targets with this port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Set the port of every target
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    set_port: Option<u16>,

    /// Keep only addresses in these networks: one prefix or address per line, # for comments; repeatable
    #[arg(long, value_name = "FILE")]
    only: Vec<PathBuf>,

    /// Drop addresses in these networks; repeatable
    #[arg(long, value_name = "FILE")]
    exclude: Vec<PathBuf>,

    /// Keep the first of targets with the same address, port and name; needs about 40 bytes of memory per target kept
    #[arg(long)]
    unique: bool,

    /// Keep a random sample of N targets, or of P% of them
    ///
    /// Address, port, name and seed determine the draw, so that it is the same for a target in every list. N targets are
    /// held in memory and written at the end; with P% nothing is held, and the share is approximate.
    #[arg(long, value_name = "N|P%", value_parser = sample)]
    sample: Option<Share>,

    /// Seed of the sample
    #[arg(long, value_name = "N", default_value_t = 0, requires = "sample")]
    seed: u64,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Family {
    /// IPv4.
    #[value(name = "4")]
    V4,
    /// IPv6.
    #[value(name = "6")]
    V6,
}

/// The size of the sample.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Share {
    Number(usize),
    /// Targets whose hash is at most this.
    Lots(u64),
}

fn sample(text: &str) -> Result<Share, String> {
    let wrong =
        || "must be a whole number, or a share such as 2.5% (above 0, up to 100)".to_owned();
    match text.strip_suffix('%') {
        None => text.parse().ok().filter(|n| *n > 0).map(Share::Number).ok_or_else(wrong),
        Some(percent) => {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            if !(percent > 0.0 && percent <= 100.0) {
                return Err(wrong());
            }
            // A float as large as u64::MAX saturates to it.
            Ok(Share::Lots((percent / 100.0 * u64::MAX as f64) as u64))
        }
    }
}

/// Runs the command.
pub fn run(args: &Args, quiet: bool) -> Result<Exit> {
    let mut filter = Filter::new(args)?;
    let entries = Entries::open(&input(args.targets.as_deref(), "targets")?, Want::Addresses);
    let unwritten = || "targets filter: nothing was written".to_owned();
    // A signal ended a blocking read.
    signals::check(unwritten)?;
    let mut entries = entries?;
    let output = args.destination.open(&mut entries);
    signals::check(unwritten)?;
    let mut output = output?;
    let mut meter = Meter::new("targets", quiet);
    while signals::came().is_none() {
        let entry = match entries.next() {
            // Targets read so far are written.
            Err(_) if signals::came().is_some() => break,
            entry => entry?,
        };
        let Some(entry) = entry else { break };
        filter.take(entry, &mut output)?;
        // Reading the clock costs time, so not for every line.
        if filter.read.is_multiple_of(1024) {
            meter.show(filter.read, entries.progress(), "filtering");
        }
    }
    filter.draw(&mut output)?;
    meter.end();
    let refused = entries.refusals().count;
    let stopped = signals::came().is_some();
    let (kept, dropped) = output.finish()?;
    if filter.read == 0 && !stopped {
        return Err(Error::Usage(entries.refusals().of_nothing("targets")));
    }
    let mut text =
        format!("{} read, {} kept\n", counted(filter.read, "target[s]"), HumanCount(kept));
    for (why, count) in &filter.left_out {
        text += &format!("  {:>9}  {}\n", HumanCount(*count).to_string(), why.words());
    }
    if refused > 0 {
        text += &counted(refused, "line[s] [was|were] refused\n");
    }
    if dropped > 0 {
        let what = "value[s] [does|do] not fit the CSV and [is|are] lost: write NDJSON to keep [it|them]\n";
        text += &counted(dropped, what);
    }
    text += &signals::ended_early();
    page::tell(text.trim_end());
    Ok(match (stopped, dropped) {
        (true, _) => Exit::Interrupted,
        (false, 1..) => Exit::Lossy,
        (false, 0) => Exit::Done,
    })
}

/// Why a target was dropped, in the order of the filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    Family,
    Port,
    NotOnly,
    Excluded,
    Twice,
    NotDrawn,
}

impl Why {
    fn words(self) -> &'static str {
        match self {
            Why::Family => "of the other family",
            Why::Port => "with another port or none",
            Why::NotOnly => "outside the networks of --only",
            Why::Excluded => "inside the networks of --exclude",
            Why::Twice => "duplicates",
            Why::NotDrawn => "not sampled",
        }
    }
}

struct Filter<'a> {
    args: &'a Args,
    only: Option<Prefixes>,
    exclude: Prefixes,
    seen: Seen,
    /// The targets with the lowest hashes so far, the highest of them on top.
    drawn: BinaryHeap<Drawn>,
    read: u64,
    left_out: BTreeMap<Why, u64>,
}

impl<'a> Filter<'a> {
    fn new(args: &'a Args) -> Result<Self> {
        Ok(Self {
            args,
            only: match args.only.as_slice() {
                [] => None,
                files => Some(Prefixes::read(files)?),
            },
            exclude: Prefixes::read(&args.exclude)?,
            seen: Seen::default(),
            drawn: BinaryHeap::new(),
            read: 0,
            left_out: BTreeMap::new(),
        })
    }

    /// Writes the entry, holds it, or drops it.
    fn take(&mut self, mut entry: Entry, output: &mut Output) -> Result<()> {
        self.read += 1;
        let Some(addr) = entry.addr else { return Ok(()) };
        if let Some(why) = self.refuses(&mut entry, addr) {
            *self.left_out.entry(why).or_default() += 1;
            return Ok(());
        }
        match self.args.sample {
            None => output.write(&entry, addr),
            Some(Share::Lots(most)) if self.lot(&entry, addr) <= most => output.write(&entry, addr),
            Some(Share::Lots(_)) => {
                *self.left_out.entry(Why::NotDrawn).or_default() += 1;
                Ok(())
            }
            Some(Share::Number(number)) => {
                let drawn = Drawn { lot: self.lot(&entry, addr), place: self.read, addr, entry };
                self.drawn.push(drawn);
                if self.drawn.len() > number {
                    self.drawn.pop();
                    *self.left_out.entry(Why::NotDrawn).or_default() += 1;
                }
                Ok(())
            }
        }
    }

    fn refuses(&mut self, entry: &mut Entry, addr: IpAddr) -> Option<Why> {
        let args = self.args;
        match args.family {
            Some(Family::V4) if !addr.is_ipv4() => return Some(Why::Family),
            Some(Family::V6) if !addr.is_ipv6() => return Some(Why::Family),
            _ => {}
        }
        if args.port.is_some() && entry.port != args.port {
            return Some(Why::Port);
        }
        if self.only.as_ref().is_some_and(|only| !only.contains(addr)) {
            return Some(Why::NotOnly);
        }
        if self.exclude.contains(addr) {
            return Some(Why::Excluded);
        }
        entry.port = args.set_port.or(entry.port);
        (args.unique && !self.seen.insert(entry, addr)).then_some(Why::Twice)
    }

    /// The target's hash for sampling: the same on every machine and in every version.
    fn lot(&self, entry: &Entry, addr: IpAddr) -> u64 {
        let mut hash = Sha256::new();
        hash.update(self.args.seed.to_be_bytes());
        match addr {
            IpAddr::V4(v4) => hash.update(v4.to_ipv6_mapped().octets()),
            IpAddr::V6(v6) => hash.update(v6.octets()),
        }
        hash.update(entry.port.unwrap_or(0).to_be_bytes());
        hash.update(entry.name.as_deref().unwrap_or_default().as_bytes());
        let digest = hash.finalize();
        digest.iter().take(8).fold(0, |lot, byte| lot << 8 | u64::from(*byte))
    }

    /// Writes the sample, in the order of the list.
    fn draw(&mut self, output: &mut Output) -> Result<()> {
        let mut drawn = std::mem::take(&mut self.drawn).into_vec();
        drawn.sort_unstable_by_key(|drawn| drawn.place);
        drawn.iter().try_for_each(|drawn| output.write(&drawn.entry, drawn.addr))
    }
}

/// A target of the sample so far.
struct Drawn {
    lot: u64,
    place: u64,
    addr: IpAddr,
    entry: Entry,
}

impl Ord for Drawn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.lot, self.place).cmp(&(other.lot, other.place))
    }
}

impl PartialOrd for Drawn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Drawn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Drawn {}

/// Targets seen, as 128 bits of two keyed hashes each. The probability of a collision among 10^9 targets is below 10^-20.
#[derive(Default)]
struct Seen {
    keys: [RandomState; 2],
    hashes: HashSet<u128, foldhash::fast::RandomState>,
}

impl Seen {
    /// Adds a target; returns whether it is new.
    fn insert(&mut self, entry: &Entry, addr: IpAddr) -> bool {
        let target = (addr, entry.port, entry.name.as_deref().map(str::to_ascii_lowercase));
        let [high, low] = [0, 1].map(|key| u128::from(self.keys[key].hash_one(&target)));
        self.hashes.insert(high << 64 | low)
    }
}
