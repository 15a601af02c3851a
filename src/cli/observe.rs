//! `pathspider observe`: the observer without the engine.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressStyle};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::privilege::{self, needs::Needs};
use crate::chain::{GROUPS, Selection};
use crate::error::{Doing as _, Error, Exit, Result};
use crate::measurement::{self, Plan};
use crate::observer::offline::{self, Observed};
use crate::observer::{self, Flows, capture, file};
use crate::packet::owner::PortSet;
use crate::sink::{self, Sink};
use crate::words::counted;

/// Watch packets, live or from a capture file, and write a record for each flow
///
/// A file is pcap or pcapng, plain or compressed by gzip or zstd, whatever its name. A live capture
/// (-i) needs CAP_NET_RAW and ends by Ctrl-C, with everything written. From a capture alone nobody can
/// tell which configuration a flow was made under, so with --measurement only the facts are
/// written, no conclusions.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The capture file, `-` for standard input
    #[arg(
        value_name = "FILE",
        required_unless_present = "interface",
        conflicts_with = "interface"
    )]
    file: Option<PathBuf>,

    /// Watch this interface instead
    #[arg(short, long, value_name = "NAME")]
    interface: Option<String>,

    /// Groups of functions, separated by commas [default: all]
    #[arg(long = "use", value_name = "GROUPS", value_delimiter = ',')]
    groups: Vec<String>,

    /// Take the functions, and where they are placed, from this measurement
    #[arg(long, value_name = "FILE", conflicts_with = "groups")]
    measurement: Option<String>,

    /// Where the records go: .parquet, .ndjson, or - for NDJSON on standard output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,

    /// Look only at packets that this pcap filter lets through
    #[arg(long, value_name = "BPF")]
    filter: Option<String>,

    /// Packet time without a packet after which a flow is complete
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = measurement::duration)]
    idle_timeout: Duration,

    /// Packet time from the end of a flow (both FINs, or a RST) to its completion
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = measurement::duration)]
    expiry_timeout: Duration,

    /// Flows at the same time; above it the oldest is completed early. Two tables share a long file: half of it each
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = super::run::at_least_one)]
    max_flows: usize,

    #[command(flatten)]
    privilege: privilege::Rights,
}

/// Runs the command.
pub fn run(args: &Args, quiet: bool) -> Result<Exit> {
    let selection = args.selection()?;
    let fields: Vec<Field> = selection.fields().map(|field| field.arrow()).collect();
    let schema = Arc::new(Schema::new(fields));
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let limits = observer::Limits {
        expiry_timeout: nanoseconds(args.expiry_timeout),
        idle_timeout: nanoseconds(args.idle_timeout),
        max_flows: args.max_flows,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone()).doing(|| "watch for signals")?;
    }
    match (&args.interface, &args.file) {
        (Some(interface), _) => live(args, interface, &selection, limits, schema, &stop),
        (None, Some(_)) if args.privilege.user.is_some() => {
            Err(Error::Usage("--user: a file needs no root; read it as that user".into()))
        }
        (None, Some(path)) => offline(args, path, &selection, limits, schema, &stop, quiet),
        // clap asks for one of them.
        (None, None) => Err(Error::Usage("name a capture file, or an interface with -i".into())),
    }
}

impl Args {
    fn selection(&self) -> Result<Selection> {
        if let Some(name) = &self.measurement {
            let (origin, text) = measurement::find(name)?;
            let base = crate::targets::Reader::from_targets(Vec::new()).fields();
            log::warn!(
                "a capture does not tell which configuration made a flow: facts only, no conclusions"
            );
            return Ok(Plan::load(&origin, &text, &base)?.selection);
        }
        if self.groups.is_empty() {
            return Ok(Selection::everything());
        }
        let mut selection = Selection::default();
        for name in &self.groups {
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
    fn open(path: &Path, schema: SchemaRef) -> Result<Self> {
        Ok(Self { sink: sink::open(path, schema.clone())?, schema, flows: 0, broken: 0 })
    }

    fn write(&mut self, flows: Flows) -> Result<()> {
        if flows.keys.is_empty() {
            return Ok(());
        }
        self.flows += flows.keys.len() as u64;
        self.broken += flows.broken() as u64;
        let batch = RecordBatch::try_new(self.schema.clone(), flows.columns)
            .map_err(|why| Error::failed("put flows together", why))?;
        self.sink.write(&batch)
    }
}

/// What was seen, and what was not.
struct Counts {
    seen: observer::Counts,
    dropped: u64,
}

impl Counts {
    /// The last words, on standard error; the exit code.
    fn end(&self, output: Output, args: &Args, error: Option<Error>) -> Result<Exit> {
        let (flows, broken) = (output.flows, output.broken);
        let mut metadata = self.metadata(args, error.as_ref());
        metadata.push(("flows_internal_error".to_owned(), broken.to_string()));
        let written = output.sink.finish(&metadata)?;
        let mut words =
            format!("{}, {}", counted(self.seen.packets, "packet[s]"), counted(flows, "flow[s]"));
        for (count, what) in [
            (self.seen.not_ip, "not IP"),
            (self.seen.unknown_link, "of a link type that is not understood"),
            (self.seen.bad_ip, "with a broken IP header"),
            (self.seen.bad_transport, "with a broken transport header"),
        ] {
            if count > 0 {
                words.push_str(&format!(", {} {what}", HumanCount(count)));
            }
        }
        if self.seen.refused > 0 {
            words += "; ";
            words += &counted(self.seen.refused, "flow[s] refused and ignored");
        }
        if args.output.as_os_str() != "-" {
            words.push_str(&format!(
                "; {} ({})",
                written.path.display(),
                HumanBytes(written.bytes)
            ));
        }
        eprintln!("{words}");
        for (count, what) in [
            (self.dropped, "packet[s] dropped: the capture was not fast enough"),
            (self.seen.evicted, "flow[s] completed early: --max-flows was reached"),
            (
                broken,
                "flow[s] without facts because of an internal error (please report what -v logs)",
            ),
        ] {
            if count > 0 {
                log::warn!("lost: {}", counted(count, what));
            }
        }
        match error {
            Some(error) => {
                log::error!("{error}");
                Ok(Exit::Lossy)
            }
            None if self.dropped + self.seen.evicted + broken > 0 => Ok(Exit::Lossy),
            None => Ok(Exit::Done),
        }
    }

    fn metadata(&self, args: &Args, error: Option<&Error>) -> Vec<(String, String)> {
        let source = match (&args.interface, &args.file) {
            (Some(interface), _) => interface.clone(),
            (_, path) => path.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        };
        [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("observed", source),
            ("complete", error.is_none().to_string()),
            ("packets_seen", self.seen.packets.to_string()),
            ("packets_dropped", self.dropped.to_string()),
            ("packets_not_ip", self.seen.not_ip.to_string()),
            ("packets_of_unknown_link", self.seen.unknown_link.to_string()),
            ("packets_bad_ip", self.seen.bad_ip.to_string()),
            ("packets_bad_transport", self.seen.bad_transport.to_string()),
            ("flows_evicted", self.seen.evicted.to_string()),
            ("flows_refused", self.seen.refused.to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

fn offline(
    args: &Args,
    path: &Path,
    selection: &Selection,
    limits: observer::Limits,
    schema: SchemaRef,
    stop: &AtomicBool,
    quiet: bool,
) -> Result<Exit> {
    let file = file::File::open(path, args.filter.as_deref())?;
    let mut output = Output::open(&args.output, schema)?;
    let bar = Bar::new(path, file.position(), quiet);
    let observed = offline::observe(file, selection, limits, stop, |flows| {
        bar.tick();
        output.write(flows)
    });
    bar.end();
    let Observed { counts, end } = observed?;
    let exit = Counts { seen: counts, dropped: 0 }.end(output, args, end.err())?;
    Ok(if stop.load(Relaxed) { Exit::Interrupted } else { exit })
}

/// Progress by bytes of the file, if it takes long enough to be worth it.
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
        // The template is a constant of this function; a broken one would show the default bar.
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
            // A file that grows while it is read is longer than it was.
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
    stop: &AtomicBool,
) -> Result<Exit> {
    privilege::hold(&args.privilege, false)?;
    privilege::check_output(&args.output)?;
    let needs = Needs::of_capture();
    privilege::require(&needs)?;
    super::interface::exists(interface)?;
    let opened = capture::open(interface, args.filter.as_deref().unwrap_or_default())?;
    let mut output = Output::open(&args.output, schema)?;
    privilege::keep(&needs)?;
    let capture = opened.start(selection, limits, None)?;
    let counters = capture.counters.clone();
    eprintln!("watching {interface}; Ctrl-C ends it");
    let mut failed = None;
    while !stop.load(Relaxed) && capture.is_alive() && failed.is_none() {
        // What is complete, about every tenth of a second; nothing is completed for it.
        let begun = Instant::now();
        match capture.flush(PortSet::default()).recv() {
            Ok(flows) => failed = output.write(flows).err(),
            Err(_) => break,
        }
        log::trace!("written after {:?}", begun.elapsed());
    }
    let end = capture.stop();
    let load = |count: &AtomicU64| count.load(Relaxed);
    let seen = observer::Counts {
        packets: load(&counters.packets),
        not_ip: load(&counters.not_ip),
        bad_ip: load(&counters.bad_ip),
        bad_transport: load(&counters.bad_transport),
        unknown_link: 0,
        evicted: load(&counters.evicted),
        refused: load(&counters.refused),
    };
    let dropped = load(&counters.dropped) + load(&counters.interface_dropped);
    let counts = Counts { seen, dropped };
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
    use arrow::array::new_null_array;
    use clap::Parser as _;

    #[test]
    fn flows_without_facts_are_counted_and_a_loss() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flows.ndjson");
        let words = ["pathspider", "observe", "x.pcap", "-o", path.to_str().unwrap()];
        let Command::Observe(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        let selection = chain::Selection::everything();
        let fields: Vec<Field> = selection.fields().map(|field| field.arrow()).collect();
        let columns = fields.iter().map(|field| new_null_array(field.data_type(), 2)).collect();
        let end = |address: u8| ([192, 0, 2, address].into(), 80);
        let (source, destination) = (end(1), end(2));
        let key = FlowKey { protocol: protocol::TCP, has_ports: true, source, destination };
        let flags = vec![Flags::default(), Flag::InternalError.into()];
        let mut output = Output::open(&path, Arc::new(Schema::new(fields))).unwrap();
        output.write(Flows { keys: vec![key; 2], flags, columns, ..Flows::default() }).unwrap();
        let counts = Counts { seen: observer::Counts::default(), dropped: 0 };
        assert_eq!(counts.end(output, &args, None).unwrap(), Exit::Lossy);
        let metadata = std::fs::read_to_string(folder.path().join("flows.ndjson.meta.json"));
        let metadata: serde_json::Value = serde_json::from_str(&metadata.unwrap()).unwrap();
        assert_eq!(metadata["pathspider.flows_internal_error"], "1", "{metadata}");
    }
}
