//! `pathspider run`: the main job.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use arrow::datatypes::SchemaRef;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::account::Account;
use super::feed::{Fed, Feed};
use super::host::Host;
use super::output::{Earlier, Identity, Output};
use super::prepare::Preparation;
use super::summary::{self, Outcome};
use super::writer::{self, Known, Wave, Writer};
use super::{interface, prepare, progress, records, restore};
use crate::engine::{driver, ports, scheduler};
use crate::error::{Doing as _, Error, Exit, Result};
use crate::lab::{self, Lab, Tally};
use crate::measurement::{self, Overrides, Plan};
use crate::observer::{self, capture};
use crate::packet::protocol;
use crate::sink::{Metadata, Sink};
use crate::targets::{self, Reader, Shard, Target};

/// Run a measurement: ask every target under each configuration, watch the packets, conclude
///
/// Needs CAP_NET_RAW for the capture and, for sysctl steps, CAP_NET_ADMIN; with --lab it needs
/// neither. Targets are NDJSON lines ({"dip": "192.0.2.1", "dp": 80, "domain": "example.org"}) or CSV,
/// with a header or as ip,port,name,rank. Ctrl-C ends a run in order: settings are put back and
/// what was finished is written.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The measurement: a file, or a name such as `ecn`
    measurement: String,

    /// Give a param of the measurement another value than the file's default; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = Overrides::assignment)]
    set: Vec<(String, String)>,

    /// Connect in another way than the measurement does by itself: one of its `kinds`
    #[arg(long, value_name = "KIND")]
    connect: Option<String>,

    /// Measure the lab, an Internet of network namespaces with known faults, and hold every
    /// condition to the truth
    #[arg(long, conflicts_with_all = ["targets", "interface"])]
    lab: bool,

    /// File of targets, `-` for standard input (the default unless that is a terminal)
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,

    /// Port of targets that come without one
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    /// Interface to send through and to watch; without it, the one of the default route
    #[arg(short, long, value_name = "NAME")]
    interface: Option<String>,

    /// Ask only the targets of one shard: `2/8` is the second of eight. Other machines ask the others, and
    /// `merge` puts their results together
    #[arg(long, value_name = "K/N", value_parser = Shard::parse)]
    shard: Option<Shard>,

    /// Where the records go: .parquet, .ndjson, a folder (with a / at the end) for Parquet in parts, or -
    /// for NDJSON on standard output [default: NAME-TIME.parquet]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Go on with a run that was killed or interrupted, into its folder or .parquet file; everything else as it
    /// was given before
    #[arg(long, value_name = "OUTPUT", conflicts_with = "output")]
    resume: Option<PathBuf>,

    /// Connections in flight at the same time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one)]
    concurrency: usize,

    /// Connections started in any one second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Targets asked under one configuration before the next takes its turn
    /// [default: as many as source ports allow]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    wave: Option<usize>,

    #[command(flatten)]
    names: prepare::Names,

    /// Let `command` steps of the measurement run their programs
    #[arg(long)]
    allow_commands: bool,

    #[command(flatten)]
    form: records::Form,

    #[command(flatten)]
    state: restore::State,
}

pub(super) fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("must be a whole number".into()),
    }
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> Result<Exit> {
    let stop = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let number = usize::try_from(signal).unwrap_or_default();
        signal_hook::flag::register_usize(signal, stop.clone(), number)
            .doing(|| "watch for signals")?;
    }
    args.form.check(args.output.as_deref().or(args.resume.as_deref()))?;
    if let Some(path) = &args.resume {
        Output::of(path, &args.form).can_resume()?;
    }
    let (origin, text) = measurement::find(&args.measurement)?;
    // The file is judged before anything is built or opened; once more when its targets are known.
    let base = Reader::from_targets(Vec::new()).fields();
    let overrides = Overrides::new(args.set.clone()).connect(args.connect.clone());
    let (mut port, mut names) = (0, false);
    if args.lab {
        let plan = Plan::load_with(&origin, &text, &base, &overrides)?;
        (port, names) = (plan.port(), plan.prepare.resolve);
        // Before any thread exists: a namespace of users is for the whole process.
        lab::enter()?;
    }
    let lab = args
        .lab
        .then(lab::Spec::internet)
        .transpose()?
        .map(|spec| Lab::build(&spec))
        .transpose()?;
    let (mut reader, interface) = match &lab {
        Some(lab) => (lab_targets(lab, port, names), lab.interface().to_owned()),
        None => {
            let reader = open_targets(&args)?;
            let interface = args.interface.clone().map_or_else(interface::default, Ok)?;
            (reader, interface)
        }
    };
    let plan = Plan::load_with(&origin, &text, &reader.fields(), &overrides)?;
    if plan.prepare.resolve {
        reader.names();
    }
    let mut tally = lab.as_ref().map(|lab| Tally::new(lab.hosts(), &plan.name));
    let path = args.output.clone().or(args.resume.clone());
    let path = path.unwrap_or_else(|| default_output(&plan.name, args.form.extension()));
    let output = Output::of(&path, &args.form);
    // The lab's namespace is nobody else's and vanishes with this process.
    let host = match lab {
        Some(_) => Host::default(),
        None => Host::hold(args.state.folder.as_deref(), &plan)?,
    };
    let run = Run {
        args: &args,
        plan: &plan,
        interface: &interface,
        host: &host,
        stop: &stop,
        quiet,
        resolver: lab.as_ref().map(Lab::resolver),
    };
    let outcome = run.measure(&mut reader, tally.as_mut(), &output)?;
    summary::print(
        &outcome,
        &plan,
        lab.as_ref().zip(tally.as_ref()),
        args.form.summary(),
        path == Path::new("-"),
    )
}

/// The lab's targets. If names are looked up, the first of each kind is known by name only, and there is one whose
/// name nobody knows.
fn lab_targets(lab: &Lab, port: u16, names: bool) -> Reader {
    let hosts = lab.hosts();
    let name = |host: usize| hosts.get(host).map(|host| host.name.clone());
    let targets = lab.targets().iter();
    let mut targets: Vec<Target> =
        targets.map(|t| Target::new(t.addr, port, name(t.host))).collect();
    if names {
        let mut seen = BTreeSet::new();
        let first = |target: &&mut Target| seen.insert(target.name.clone());
        targets.iter_mut().filter(first).for_each(|target| target.addr = None);
        let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        targets.push(Target { addr: None, ..Target::new(nobody, port, Some(NO_SUCH_NAME.into())) });
    }
    Reader::from_targets(targets)
}

fn open_targets(args: &Args) -> Result<Reader> {
    let path = match &args.targets {
        Some(path) => path.clone(),
        None if io::stdin().is_terminal() => return Err(no_targets()),
        None => PathBuf::from("-"),
    };
    Reader::open(&path, args.port)
}

/// What the list is known by, if it can be read more than once.
fn list_digest(args: &Args, reader: &Reader) -> Result<Option<String>> {
    match &args.targets {
        _ if args.lab => Ok(reader.digest()),
        Some(path) if path.as_os_str() != "-" => targets::file_digest(path),
        _ => Ok(None),
    }
}

fn no_targets() -> Error {
    Error::Usage(
        "no targets: name a file with --targets FILE (or pipe one in), or try --lab, which brings its own".into(),
    )
}

fn default_output(name: &str, extension: &str) -> PathBuf {
    let now = summary::utc(SystemTime::now()).replace([':', '-'], "");
    PathBuf::from(format!("{name}-{now}.{extension}"))
}

/// A name that the lab's resolver does not know.
const NO_SUCH_NAME: &str = "no-such-name.invalid";

/// One run, ready to go.
struct Run<'a> {
    args: &'a Args,
    plan: &'a Plan,
    interface: &'a str,
    host: &'a Host,
    stop: &'a AtomicUsize,
    quiet: bool,
    /// The lab's resolver.
    resolver: Option<SocketAddr>,
}

impl Run<'_> {
    fn settings(&self) -> driver::Settings {
        let (configurations, probe) = (self.plan.configs.iter(), self.plan.probe());
        driver::Settings {
            configurations: configurations.chain(&probe).map(configuration).collect(),
            probe: probe.is_some(),
            limits: scheduler::Limits { concurrency: self.args.concurrency, rate: self.args.rate },
            bind_device: self.args.interface.clone(),
            allow_commands: self.args.allow_commands,
            slot: self.host.slot(),
            journal: self.host.journal(),
            // A lab's namespace was made just now: its kernel remembers nobody.
            forget: !self.args.lab && self.plan.configs.iter().any(|c| c.connection.fast_open()),
        }
    }

    /// What the run is known by.
    fn identity(&self, digest: Option<&str>, columns: &SchemaRef) -> Identity {
        let Args { connect, port, shard, .. } = self.args;
        let options = [
            ("--connect", connect.clone().unwrap_or_default()),
            ("--port", port.map_or_else(String::new, |port| port.to_string())),
            ("--shard", shard.map_or_else(String::new, |shard| shard.to_string())),
            ("--prefer", self.args.names.preferred().to_owned()),
        ];
        Identity::new(self.plan, digest, columns, &options)
    }

    /// Opens the output, and has the reader pass over what is done and what others do.
    fn open(
        &self,
        reader: &mut Reader,
        tally: Option<&mut Tally>,
        output: &Output,
    ) -> Result<(Box<dyn Sink>, Earlier, Option<String>)> {
        let digest = list_digest(self.args, reader)?;
        let resume = self.args.resume.is_some();
        if resume && digest.is_none() {
            return Err(Error::Usage(
                "--resume: standard input cannot be read once more; give the list as a file, by --targets FILE".into(),
            ));
        }
        let schema: SchemaRef = Arc::new(writer::schema(self.plan, &reader.fields()));
        let identity = self.identity(digest.as_deref(), &schema);
        let (sink, mut earlier) =
            output.open(resume, &self.args.form, &identity, &schema, tally)?;
        reader.pass_over(std::mem::take(&mut earlier.done));
        if let Some(shard) = self.args.shard {
            reader.only(shard);
        }
        Ok((sink, earlier, digest))
    }

    /// What the metadata say from the beginning on.
    fn about(&self, started: &str, digest: Option<&str>, sessions: u64) -> Metadata {
        let Args { connect, port, shard, .. } = self.args;
        let more = [
            ("targets_sha256", digest.map(str::to_owned)),
            ("connect", connect.clone()),
            ("port", port.map(|port| port.to_string())),
            ("shard", shard.map(|shard| shard.to_string())),
            ("sessions", Some(sessions.to_string())),
        ];
        let more = more.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        summary::about(self.plan, self.interface, started, more.collect())
    }

    fn capture_filter(&self) -> String {
        let ports = ports::of(self.host.slot());
        let (low, high) = (ports.start(), ports.end());
        // Our connections, and what routers say about them.
        let udp =
            self.plan.configs.iter().any(|config| config.connection.protocol() == protocol::UDP);
        let udp = if udp { format!("udp portrange {low}-{high} or ") } else { String::new() };
        format!("tcp portrange {low}-{high} or {udp}icmp or icmp6")
    }

    fn measure(
        &self,
        reader: &mut Reader,
        mut tally: Option<&mut Tally>,
        output: &Output,
    ) -> Result<Outcome> {
        let (mut sink, mut earlier, digest) = self.open(reader, tally.as_deref_mut(), output)?;
        let first = reader.next_batch(1)?;
        if first.is_empty() && reader.refusals().total() == reader.refusals().count {
            return Err(match reader.refusals().count {
                0 => no_targets(),
                refused => Error::Usage(format!("no targets: all {refused} lines were refused")),
            });
        }
        let progress = driver::Progress::default();
        let expected = AtomicU64::new(0);
        let preparation = Preparation::new(self.plan, &self.args.names, self.resolver)?;
        let mut engine = driver::Engine::new(self.settings(), &progress)?;
        // The capture fills its ring from here on, before the first SYN.
        let capture = capture::open(self.interface, &self.capture_filter())?;
        let capture = capture.start(&self.plan.selection, observer::Limits::default())?;
        let counters = capture.counters.clone();
        let clock = Instant::now();
        let started = earlier.started.take().unwrap_or_else(|| summary::utc(SystemTime::now()));
        let about = self.about(&started, digest.as_deref(), earlier.sessions + 1);
        let before = earlier.totals.records;

        let (fed, engine_end, written) = thread::scope(|scope| {
            // No room in between: a wave is taken when the one before has its flows. So two waves at most
            // are under way, which is what their source ports can tell apart.
            let (waves, inbox) = mpsc::sync_channel::<Wave>(0);
            let (running, done) = mpsc::channel::<()>();
            let shown = progress::Shown {
                engine: &progress,
                capture: &counters,
                configurations: self.plan.configs.len() as u64,
                targets: &expected,
                quiet: self.quiet,
            };
            scope.spawn(move || shown.watch(&done));
            let known = Known {
                about: &about,
                progress: &progress,
                counters: &counters,
                earlier: &earlier.counts,
                began: clock,
            };
            let totals = std::mem::take(&mut earlier.totals);
            let writer =
                Writer::new(self.plan, reader.fields(), sink.as_mut(), tally, known, totals);
            let writer = scope.spawn(move || writer.run(&inbox));
            let keep_going =
                || self.stop.load(Relaxed) == 0 && capture.is_alive() && !writer.is_finished();
            let size = self.args.wave.unwrap_or(usize::MAX).min(engine.largest_wave());
            let mut feed = Feed {
                engine: &mut engine,
                reader,
                preparation,
                capture: &capture,
                waves,
                size,
                expected: &expected,
                fed: Fed::default(),
            };
            let engine_end = feed.run(first, &keep_going);
            // Whatever ended it, the host is put back before anything else.
            let engine_end = engine_end.and(feed.engine.finish());
            let fed = std::mem::take(&mut feed.fed);
            // Closes the channel, which tells the writer that this was all.
            drop(feed);
            let written = writer.join();
            drop(running);
            (fed, engine_end, written)
        });
        let capture_end = capture.stop();
        let elapsed = clock.elapsed();
        // Whatever ended the run, what was merged is written and readable.
        let (written, writer_end) = written.unwrap_or_else(|_| {
            (writer::Written::default(), Err(Error::Failed("the writer panicked".into())))
        });
        let error = engine_end.err().or(capture_end.err()).or(writer_end.err());
        let counts = written.counts(&progress, &counters, &earlier.counts);
        let meanwhile = || summary::metadata_meanwhile(&about, &counts, written.totals.records);
        // All records are on disk before they are counted.
        let error = error.or(sink.checkpoint(Duration::MAX, &meanwhile).err());
        let mut account = Account::of(reader);
        account.records = sink.rows() - before;
        account.unfinished = fed.unasked + written.unfinished;
        let changed = digest.is_some() && account.digest.is_some() && digest != account.digest;
        let changed = changed
            .then(|| Error::Failed("the target list was changed while the run went on".into()));
        let mut outcome = Outcome {
            asked: fed.asked,
            account,
            totals: written.totals,
            counts,
            elapsed,
            interface: self.interface.to_owned(),
            started,
            ended: summary::utc(SystemTime::now()),
            signal: self.stop.load(Relaxed),
            error: error.or(changed),
            outputs: engine.outputs().to_vec(),
            records: sink.rows(),
            written: None,
            resume: None,
        };
        outcome.close(sink, &about, output, digest.is_some());
        Ok(outcome)
    }
}

/// What the engine needs to know of a configuration.
fn configuration(of: &measurement::Configuration) -> driver::Configuration {
    driver::Configuration {
        steps: of.steps.clone(),
        kind: of.connection.kind,
        options: of.connection.options.clone(),
        timeout: of.connection.timeout,
    }
}
