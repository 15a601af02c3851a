//! `pathspider observe`: the observer without the engine.

mod about;
mod account;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_schema::{Field, Schema, SchemaRef};
use indicatif::{ProgressBar, ProgressStyle};
use nix::sys::stat::{FileStat, SFlag, fstat, stat};

use super::options::noted::Noted;
use super::options::rights::Rights;
use super::signals;
use crate::barrier;
use crate::chain::{GROUPS, Selection};
use crate::error::{Error, Exit, Result};
use crate::flags;
use crate::measurement::{self, Plan};
use crate::observer::offline::{self, Observed};
use crate::observer::ring::Ring;
use crate::observer::{self, Flows, capture, file};
use crate::packet::owner::PortSet;
use crate::packet::{Unread, link};
use crate::privilege;
use crate::privilege::needs::Needs;
use crate::report::page;
use crate::run::available;
use crate::run::dictionary::Dictionary;
use crate::sink::{self, Sink};
use about::About;
use account::Account;

/// Watch packets, live or from a capture file, and write a record for each flow
///
/// A file is pcap or pcapng, plain or compressed by gzip or zstd, whatever its name. A live capture
/// (-i) needs CAP_NET_RAW; Ctrl-C ends it, and everything is written. A capture does not say
/// which configuration a flow belongs to, so with --measurement only facts are written, no
/// conclusions.
#[derive(Debug, clap::Args)]
#[command(after_long_help = link_types())]
pub struct Args {
    /// The capture file, `-` for standard input
    #[arg(
        value_name = "FILE",
        required_unless_present = "interface",
        conflicts_with = "interface"
    )]
    file: Option<PathBuf>,

    /// Watch this interface
    #[arg(short, long, value_name = "NAME")]
    interface: Option<String>,

    /// Groups of functions, separated by commas [default: all but hops]
    #[arg(long = "use", value_name = "GROUPS", value_delimiter = ',')]
    groups: Vec<String>,

    /// Take the functions and their chains from this measurement
    #[arg(long, value_name = "FILE", conflicts_with = "groups")]
    measurement: Option<String>,

    /// Where the records go: .parquet, .ndjson, or - for NDJSON on standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Only process packets that match this pcap filter
    #[arg(long, value_name = "BPF")]
    filter: Option<String>,

    /// Idle time, in packet time, after which a flow is complete
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = measurement::duration)]
    idle_timeout: Duration,

    /// Time, in packet time, from the end of a flow (both FINs, or a RST) to its completion
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = measurement::duration)]
    expiry_timeout: Duration,

    /// Maximum number of concurrent flows; above it the oldest is completed early. A long file is processed by two tables
    /// with half of this each, unless it is less than the default. In a live capture it also limits the finished flows
    /// pending in memory; above it their facts are lost
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = crate::cli::options::at_least_one)]
    max_flows: usize,

    #[command(flatten)]
    noted: Noted,

    #[command(flatten)]
    rights: Rights,
}

/// The supported link types, for the help.
fn link_types() -> String {
    let rows =
        link::TYPES.iter().map(|row| format!("\n  {:>3} {:<20} {}", row.number, row.name, row.doc));
    format!("Supported link types, by their number in a capture file:{}", rows.collect::<String>())
}

/// Runs the command.
pub fn run(args: &Args, quiet: bool) -> Result<Exit> {
    // Before any file is opened, so that files are opened with the remaining privileges.
    if args.interface.is_some() {
        privilege::hold(args.rights.user.as_deref(), false)?;
    }
    let selection = args.selection()?;
    let fields: Vec<Field> = selection.columns().chain([flags::field()]).collect();
    let schema = Arc::new(Schema::new(fields));
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let limits = observer::Limits {
        expiry_timeout: nanoseconds(args.expiry_timeout),
        idle_timeout: nanoseconds(args.idle_timeout),
        max_flows: args.max_flows,
        // Flows of a file wait no longer than its piece.
        max_finished: if args.interface.is_some() { args.max_flows } else { usize::MAX },
        first_packets: false,
    };
    signals::catch(false)?;
    match (&args.interface, &args.file) {
        (Some(interface), _) => live(args, interface, &selection, limits, schema),
        (None, Some(_)) if args.rights.user.is_some() => {
            Err(Error::Usage("--user: a file needs no root; read it as that user".into()))
        }
        (None, Some(path)) => offline(args, path, &selection, limits, schema, quiet),
        // clap requires one of them.
        (None, None) => Err(Error::Usage("name a capture file, or an interface with -i".into())),
    }
}

impl Args {
    fn selection(&self) -> Result<Selection> {
        if let Some(name) = &self.measurement {
            let (origin, text) = measurement::find(name)?;
            let base = crate::targets::Reader::from_targets(Vec::new()).fields();
            log::warn!(
                "a capture does not say which configuration a flow belongs to: facts only, no conclusions"
            );
            return Ok(Plan::load(&origin, &text, &base)?.selection);
        }
        if self.groups.is_empty() {
            return Ok(Selection::usual());
        }
        let mut selection = Selection::default();
        for name in self.groups.iter().map(|name| name.trim()) {
            let group = GROUPS.iter().find(|group| group.name == name).ok_or_else(|| {
                let known: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
                Error::Usage(format!(
                    "--use {name}: there is no such group; there are {}",
                    known.join(", ")
                ))
            })?;
            selection.place_group(group);
        }
        Ok(selection)
    }
}

/// Where the flows go.
struct Output {
    sink: Box<dyn Sink>,
    schema: SchemaRef,
    flows: u64,
    /// Flows without facts, because a function panicked.
    broken: u64,
}

impl Output {
    fn open(path: &Path, schema: SchemaRef, dictionary: Dictionary<'_>) -> Result<Self> {
        let sink = sink::open(path, dictionary.describe(&schema))?;
        Ok(Self { sink, schema, flows: 0, broken: 0 })
    }

    fn write(&mut self, flows: Flows) -> Result<()> {
        if flows.keys.is_empty() {
            return Ok(());
        }
        self.flows += flows.keys.len() as u64;
        self.broken += flows.broken() as u64;
        let mut columns = flows.columns;
        columns.push(flags::column(&flows.flags));
        let batch = RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(|why| Error::failed("assemble flows", why))?;
        self.sink.write(&batch)
    }
}

/// Fails if the output is the same file as the input, also through links.
fn refuse_input(input: &Path, output: &Path) -> Result<()> {
    let input = match input.as_os_str() == "-" {
        true => identity(fstat(std::io::stdin()).ok()),
        false => identity(stat(input).ok()),
    };
    let written = match output.as_os_str() == "-" {
        true => identity(fstat(std::io::stdout()).ok()),
        false => identity(stat(output).ok()),
    };
    if input.is_some() && input == written {
        return Err(Error::Usage(format!(
            "write {}: this is the capture being read; choose another output file",
            output.display()
        )));
    }
    Ok(())
}

/// Device and inode of a regular file. A terminal may well be both input and output.
fn identity(about: Option<FileStat>) -> Option<(u64, u64)> {
    let regular = |about: &FileStat| {
        SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG
    };
    about.filter(regular).map(|about| (about.st_dev, about.st_ino))
}

fn offline(
    args: &Args,
    path: &Path,
    selection: &Selection,
    limits: observer::Limits,
    schema: SchemaRef,
    quiet: bool,
) -> Result<Exit> {
    refuse_input(path, &args.output)?;
    let file = file::File::open(path, args.filter.as_deref());
    // The signal ended a blocking read.
    signals::check(|| "observe: nothing was written".into())?;
    let file = file?;
    let mut output = Output::open(&args.output, schema, Dictionary::observed(selection))?;
    let about = About::begin(args, selection, None);
    let (position, digest) = (file.position(), file.digest());
    let bar = Bar::new(path, position.clone(), quiet);
    let observed = offline::observe(file, selection, limits, &stopped, |flows| {
        bar.tick();
        output.write(flows)
    });
    bar.end();
    let Observed { counts, end } = observed?;
    // A read ended by a signal is not an error of the file.
    let end = if stopped() { end.or(Ok(())) } else { end };
    let dropped = "packet[s] dropped during the capture, according to the file";
    let about = about.of_file(position.load(Relaxed), digest.get());
    let exit = Account { seen: counts, dropped, about }.end(output, args, end.err())?;
    Ok(interrupted().unwrap_or(exit))
}

/// Whether to stop early.
fn stopped() -> bool {
    signals::came().is_some() || barrier::crashed().is_some()
}

/// The exit code of a file that was not read to its end, and why on standard error.
fn interrupted() -> Option<Exit> {
    signals::came().map(|_| {
        page::tell(signals::ended_early().trim_end());
        Exit::Interrupted
    })
}

/// Progress by bytes of the file, shown if it takes long enough.
struct Bar {
    bar: Option<ProgressBar>,
    position: Arc<AtomicU64>,
}

impl Bar {
    fn new(path: &Path, position: Arc<AtomicU64>, quiet: bool) -> Self {
        let total =
            std::fs::metadata(path).ok().filter(|about| about.is_file()).map(|about| about.len());
        let shown = !quiet && std::io::stderr().is_terminal();
        let template = match total {
            Some(_) => "{bar:30} {percent}%  {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left",
            None => "{spinner} {bytes}, {bytes_per_sec}, {elapsed}",
        };
        // The template is a constant of this function; an invalid one falls back to the default bar.
        let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
        let bar = shown.then(|| match total {
            Some(total) => ProgressBar::new(total).with_style(style),
            None => ProgressBar::no_length().with_style(style),
        });
        Self { bar, position }
    }

    fn tick(&self) {
        if let Some(bar) = &self.bar {
            let position = self.position.load(Relaxed);
            // A file may grow while it is read.
            bar.set_position(bar.length().map_or(position, |total| position.min(total)));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn live(
    args: &Args,
    interface: &str,
    selection: &Selection,
    limits: observer::Limits,
    schema: SchemaRef,
) -> Result<Exit> {
    privilege::check_output(&args.output)?;
    let needs = Needs::of_capture();
    privilege::require(&needs)?;
    crate::run::interface::exists(interface)?;
    let ring = Ring::fitting(None, available::octets());
    let opened = capture::open(interface, args.filter.as_deref().unwrap_or_default(), ring)?;
    let mut output = Output::open(&args.output, schema, Dictionary::observed(selection))?;
    let about = About::begin(args, selection, Some((interface, ring)));
    privilege::keep(&needs)?;
    let capture = opened.start(selection, limits, None)?;
    let counters = capture.counters.clone();
    page::tell(&format!("watching {interface}; Ctrl-C ends it"));
    let mut failed = None;
    while !stopped() && capture.is_alive() && failed.is_none() {
        // Write complete flows about every tenth of a second; this completes none early.
        let begun = Instant::now();
        match capture.flush(PortSet::default()).recv() {
            Ok(flows) => failed = output.write(flows).err(),
            Err(_) => break,
        }
        log::trace!("written after {:?}", begun.elapsed());
    }
    let end = capture.stop();
    let load = |count: &AtomicU64| count.load(Relaxed);
    let mut seen = observer::Counts {
        packets: load(&counters.packets),
        dropped: load(&counters.dropped) + load(&counters.interface_dropped),
        evicted: load(&counters.evicted),
        refused: load(&counters.refused),
        unexpected: load(&counters.unexpected),
        lost: load(&counters.lost),
        ..observer::Counts::default()
    };
    for (reason, count) in [
        (Unread::NotIp, &counters.not_ip),
        (Unread::BadIp, &counters.bad_ip),
        (Unread::BadTransport, &counters.bad_transport),
    ] {
        seen.unread[reason as usize] = load(count);
    }
    let unread = load(&counters.not_ip) + load(&counters.bad_ip);
    seen.understood = seen.packets.saturating_sub(unread);
    let dropped = "packet[s] dropped: the capture was not fast enough";
    let counts = Account { seen, dropped, about };
    if let Some(error) = failed {
        return Err(error);
    }
    match end {
        Ok(flows) => {
            output.write(flows)?;
            counts.end(output, args, None)
        }
        Err(error) => counts.end(output, args, Some(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain;
    use crate::cli::{Cli, Command};
    use crate::flags::{Flag, Flags};
    use crate::packet::{FlowKey, protocol};
    use arrow_array::new_null_array;
    use clap::Parser as _;

    #[test]
    fn flows_without_facts_count_as_a_loss() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.ndjson");
        let words = ["pathspider", "observe", "x.pcap", "-o", path.to_str().unwrap()];
        let Command::Observe(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        let selection = chain::Selection::everything();
        let mut fields: Vec<Field> = selection.fields().map(|field| field.arrow()).collect();
        let columns = fields.iter().map(|field| new_null_array(field.data_type(), 2)).collect();
        let end = |address: u8| ([192, 0, 2, address].into(), 80);
        let (source, destination) = (end(1), end(2));
        let key = FlowKey { protocol: protocol::TCP, has_ports: true, source, destination };
        let flags = vec![Flags::default(), Flag::InternalError.into()];
        fields.push(crate::flags::field());
        let mut output =
            Output::open(&path, Arc::new(Schema::new(fields)), Dictionary::default()).unwrap();
        output.write(Flows { keys: vec![key; 2], flags, columns, ..Flows::default() }).unwrap();
        let seen = observer::Counts { packets: 1, ..observer::Counts::default() };
        let about = About::begin(&args, &selection, None);
        let account = Account { seen, dropped: "packet[s] dropped", about };
        assert_eq!(account.end(output, &args, None).unwrap(), Exit::Lossy);
        let metadata = std::fs::read_to_string(folder.path().join("flows.ndjson.meta.json"));
        let metadata: serde_json::Value = serde_json::from_str(&metadata.unwrap()).unwrap();
        assert_eq!(metadata["pathspider.flows_internal_error"], "1", "{metadata}");
    }
}
