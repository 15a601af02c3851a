//! `pathspider run`: the main job.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Instant, SystemTime};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::host::Host;
use super::summary::{self, Outcome};
use super::writer::{self, Totals, Wave, Writer};
use super::{interface, progress, records, restore};
use crate::engine::{driver, ports, scheduler};
use crate::error::{Doing as _, Error, Exit, Result};
use crate::lab::{self, Lab, Tally};
use crate::measurement::{self, Overrides, Plan};
use crate::observer::{self, capture};
use crate::packet::protocol;
use crate::targets::{Reader, Target};

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

    /// Where the records go: .parquet, .ndjson, or - for NDJSON on standard output
    /// [default: NAME-TIME.parquet]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

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
    args.form.check(args.output.as_deref())?;
    let (origin, text) = measurement::find(&args.measurement)?;
    // The file is judged before anything is built or opened; once more when its targets are known.
    let base = Reader::from_targets(Vec::new()).fields();
    let overrides = Overrides::new(args.set.clone()).connect(args.connect.clone());
    let mut port = 0;
    if args.lab {
        let plan = runnable(Plan::load_with(&origin, &text, &base, &overrides)?)?;
        port = plan.port();
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
        Some(lab) => (lab_targets(lab, port), lab.interface().to_owned()),
        None => {
            let reader = open_targets(&args)?;
            let interface = args.interface.clone().map_or_else(interface::default, Ok)?;
            (reader, interface)
        }
    };
    let plan = runnable(Plan::load_with(&origin, &text, &reader.fields(), &overrides)?)?;
    let mut tally = lab.as_ref().map(|lab| Tally::new(lab.hosts(), &plan.name));
    let path =
        args.output.clone().unwrap_or_else(|| default_output(&plan.name, args.form.extension()));
    // The lab's namespace is nobody else's and vanishes with this process.
    let host = match lab {
        Some(_) => Host::default(),
        None => Host::hold(args.state.folder.as_deref(), &plan)?,
    };
    let run =
        Run { args: &args, plan: &plan, interface: &interface, host: &host, stop: &stop, quiet };
    let outcome = run.measure(&mut reader, tally.as_mut(), &path)?;
    summary::print(
        &outcome,
        &plan,
        lab.as_ref().zip(tally.as_ref()),
        args.form.summary(),
        path == Path::new("-"),
    )
}

/// Refuses what this version cannot run, before anything is changed.
fn runnable(plan: Plan) -> Result<Plan> {
    match plan.not_runnable() {
        Some(reason) => Err(Error::Usage(reason)),
        None => Ok(plan),
    }
}

fn lab_targets(lab: &Lab, port: u16) -> Reader {
    let hosts = lab.hosts();
    let name = |host: usize| hosts.get(host).map(|host| host.name.clone());
    let targets = lab.targets().iter();
    Reader::from_targets(targets.map(|t| Target::new(t.addr, port, name(t.host))).collect())
}

fn open_targets(args: &Args) -> Result<Reader> {
    let path = match &args.targets {
        Some(path) => path.clone(),
        None if io::stdin().is_terminal() => return Err(no_targets()),
        None => PathBuf::from("-"),
    };
    Reader::open(&path, args.port)
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

/// One run, ready to go.
struct Run<'a> {
    args: &'a Args,
    plan: &'a Plan,
    interface: &'a str,
    host: &'a Host,
    stop: &'a AtomicUsize,
    quiet: bool,
}

impl Run<'_> {
    fn settings(&self) -> driver::Settings {
        driver::Settings {
            configurations: self.plan.configs.iter().map(configuration).collect(),
            limits: scheduler::Limits { concurrency: self.args.concurrency, rate: self.args.rate },
            bind_device: self.args.interface.clone(),
            allow_commands: self.args.allow_commands,
            slot: self.host.slot(),
            journal: self.host.journal(),
            // A lab's namespace was made just now: its kernel remembers nobody.
            forget: !self.args.lab && self.plan.configs.iter().any(|c| c.connection.fast_open()),
        }
    }

    fn measure(
        &self,
        reader: &mut Reader,
        tally: Option<&mut Tally>,
        path: &Path,
    ) -> Result<Outcome> {
        let first = reader.next_batch(1)?;
        if first.is_empty() {
            let refused = reader.refusals().count;
            return Err(match refused {
                0 => no_targets(),
                _ => Error::Usage(format!("no targets: all {refused} lines were refused")),
            });
        }
        let progress = driver::Progress::default();
        let expected = AtomicU64::new(0);
        let mut engine = driver::Engine::new(self.settings(), &progress)?;
        let ports = ports::of(self.host.slot());
        let (low, high) = (ports.start(), ports.end());
        // Our connections, and what routers say about them.
        let udp =
            self.plan.configs.iter().any(|config| config.connection.protocol() == protocol::UDP);
        let udp = if udp { format!("udp portrange {low}-{high} or ") } else { String::new() };
        let filter = format!("tcp portrange {low}-{high} or {udp}icmp or icmp6");
        // The capture fills its ring from here on, before the first SYN.
        let capture = capture::open(self.interface, &filter)?;
        let schema = Arc::new(writer::schema(self.plan, &reader.fields()));
        let mut sink = self.args.form.open(path, schema)?;
        let capture = capture.start(&self.plan.selection, observer::Limits::default())?;
        let counters = capture.counters.clone();
        let started = SystemTime::now();
        let clock = Instant::now();

        let (asked, engine_end, written) = thread::scope(|scope| {
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
            let writer = Writer::new(self.plan, reader.fields(), sink.as_mut(), tally);
            let writer = scope.spawn(move || writer.run(&inbox));
            let keep_going =
                || self.stop.load(Relaxed) == 0 && capture.is_alive() && !writer.is_finished();
            let size = self.args.wave.unwrap_or(usize::MAX).min(engine.largest_wave());
            let mut feed = Feed {
                engine: &mut engine,
                reader,
                capture: &capture,
                waves,
                size,
                expected: &expected,
                asked: 0,
            };
            let engine_end = feed.run(first, &keep_going);
            // Whatever ended it, the host is put back before anything else.
            let engine_end = engine_end.and(feed.engine.finish());
            let asked = feed.asked;
            // Closes the channel, which tells the writer that this was all.
            drop(feed);
            let written = writer.join();
            drop(running);
            (asked, engine_end, written)
        });
        let capture_end = capture.stop();
        let seconds = clock.elapsed();
        // Whatever ended the run, what was merged is written and readable.
        let (totals, writer_end) = written.unwrap_or_else(|_| {
            (Totals::default(), Err(Error::Failed("the writer panicked".into())))
        });
        let error = engine_end.err().or(capture_end.err()).or(writer_end.err());
        let outputs = engine.outputs().to_vec();
        let mut outcome = Outcome::new(asked, totals, &progress, &counters, seconds);
        outcome.outputs = outputs;
        outcome.refused = reader.refusals().count;
        outcome.interface = self.interface.to_owned();
        outcome.signal = self.stop.load(Relaxed);
        outcome.error = error;
        outcome.started = summary::utc(started);
        outcome.ended = summary::utc(SystemTime::now());
        outcome.written = Some(sink.finish(&summary::metadata(&outcome, self.plan))?);
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

fn address(target: &Target) -> driver::Address {
    driver::Address { at: writer::address(target), name: target.name.clone() }
}

/// From targets to waves whose attempts have ended.
struct Feed<'a, 'e> {
    engine: &'a mut driver::Engine<'e>,
    reader: &'a mut Reader,
    capture: &'a capture::Capture,
    waves: mpsc::SyncSender<Wave>,
    /// The most targets of a wave.
    size: usize,
    /// Targets in all, as far as the list's length tells.
    expected: &'a AtomicU64,
    /// Targets handed to the engine.
    asked: u64,
}

impl Feed<'_, '_> {
    /// Runs wave after wave until the targets or the wish to go on are at an end.
    fn run(&mut self, mut batch: Vec<Target>, keep_going: &dyn Fn() -> bool) -> Result<()> {
        batch.extend(self.reader.next_batch(self.size.saturating_sub(batch.len()))?);
        while !batch.is_empty() && keep_going() {
            self.asked += batch.len() as u64;
            if let (read @ 1.., Some(total)) = self.reader.progress() {
                self.expected.store(self.asked.saturating_mul(total) / read, Relaxed);
            }
            let addresses: Vec<driver::Address> = batch.iter().map(address).collect();
            let ports = self.engine.next_ports();
            let asked = self.engine.run_wave(&addresses, keep_going)?;
            let flows = self
                .capture
                .flush(move |key| ports.iter().any(|range| range.contains(&key.source.1)));
            let wave = Wave { targets: batch, asked, flows, later: self.engine.next_ports() };
            if self.waves.send(wave).is_err() {
                // The writer has failed; its own error says why.
                return Ok(());
            }
            batch = self.reader.next_batch(self.size)?;
        }
        Ok(())
    }
}
