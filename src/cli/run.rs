//! `pathspider run`: runs a measurement.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::SystemTime;

use arrow_array::RecordBatch;
use signal_hook::consts::SIGHUP;

use super::options::columns::FixedColumns;
use super::options::confidence::Confidence;
use super::options::courtesy::Courtesy;
use super::options::evidence::Evidence;
use super::options::form::Form;
use super::options::lab::LabFile;
use super::options::names::Names;
use super::options::noted::Noted;
use super::options::prober::Prober;
use super::options::rights::Rights;
use super::options::state::State;
use super::options::watch::Watched;
use super::{options, signals, source};
use crate::as_table;
use crate::barrier;
use crate::error::{Doing as _, Error, Exit, Result};
use crate::lab::{self, Lab, Tally};
use crate::measurement::{self, Locate, Overrides, Plan};
use crate::privilege;
use crate::report::server::Server;
use crate::report::status::Status;
use crate::report::{forecast, lab_table, summary, watch};
use crate::run::networks::Networks;
use crate::run::output::Output;
use crate::run::telemetry::Telemetry;
use crate::run::{
    self, Events, Handle, Network, Outcome, Run, Spec, about, interface, source_ports,
};
use crate::targets::{Reader, Shard};

/// Run a measurement: probe every target under each configuration, watch the packets, conclude
///
/// Needs CAP_NET_RAW for the capture and, for most steps, CAP_NET_ADMIN (`explain` says which and why); all
/// other privileges are dropped at the start. With --lab it needs neither. Targets are NDJSON lines ({"dip": "192.0.2.1", "dp": 80, "domain": "example.org"}) or CSV,
/// with a header or as ip,port,name,rank. Ctrl-C stops a run gracefully: the wave in flight is
/// completed, settings are restored and finished records are written. A second Ctrl-C does not wait for the wave.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The measurement: a file, or a name such as `ecn`
    #[arg(required_unless_present = "lab")]
    measurement: Option<String>,

    /// Override the default of a param of the measurement; repeatable
    #[arg(long, value_name = "NAME=VALUE", value_parser = Overrides::assignment)]
    set: Vec<(String, String)>,

    /// Override the connection kind: one of the measurement's `kinds`
    #[arg(long, value_name = "KIND")]
    connect: Option<String>,

    /// Measure the lab, an Internet of network namespaces with known faults, and compare every condition with the
    /// truth; or the lab that a file describes
    #[arg(long, value_name = "FILE", conflicts_with_all = ["targets", "interface"])]
    lab: Option<Option<PathBuf>>,

    #[command(flatten)]
    prober: Prober,

    /// File of targets, `-` for standard input (the default unless that is a terminal)
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,

    /// Port of targets without one; with --lab, of every host of the lab
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    #[command(flatten)]
    columns: FixedColumns,

    /// Table of networks and the ASes that originate them, for the column target.asn: pfx2as of CAIDA (also .gz), .dat of
    /// pyasn, or MaxMind .mmdb
    #[arg(long, value_name = "FILE")]
    as_table: Option<PathBuf>,

    /// Interface to send through and to watch [default: that of the default route]
    #[arg(short, long, value_name = "NAME")]
    interface: Option<String>,

    /// Probe only the targets of one shard: `2/8` is the second of eight. Other machines probe the others, and
    /// `merge` merges their results
    #[arg(long, value_name = "K/N", value_parser = Shard::parse)]
    shard: Option<Shard>,

    /// Where the records go: .parquet, .ndjson, a folder (with a / at the end) for Parquet in parts, or -
    /// for NDJSON on standard output [default: NAME-TIME.parquet]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Continue a killed or interrupted run, in its folder or .parquet file; all other options must be as before
    #[arg(long, value_name = "OUTPUT", conflicts_with = "output")]
    resume: Option<PathBuf>,

    /// Connections in flight at the same time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = options::at_least_one)]
    concurrency: usize,

    /// Connections started in any one second, at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Targets probed under one configuration before the next takes its turn
    /// [default: as many as source ports allow]
    #[arg(long, value_name = "N", value_parser = options::at_least_one)]
    wave: Option<usize>,

    /// Source ports to use instead of the kernel's (net.ipv4.ip_local_port_range), without those of
    /// net.ipv4.ip_local_reserved_ports
    #[arg(long, value_name = "LOW-HIGH", value_parser = source_ports::parse)]
    source_ports: Option<RangeInclusive<u16>>,

    /// Memory for captured packets that are not processed yet: octets, or with K, M or G, from 1M to 1G
    /// [default: by --rate and available memory]
    #[arg(long, value_name = "SIZE", value_parser = options::buffer)]
    capture_buffer: Option<u64>,

    #[command(flatten)]
    names: Names,

    /// Allow `command` steps of the measurement to run their programs
    #[arg(long)]
    allow_commands: bool,

    #[command(flatten)]
    confidence: Confidence,

    #[command(flatten)]
    noted: Noted,

    #[command(flatten)]
    form: Form,

    #[command(flatten)]
    evidence: Evidence,

    #[command(flatten)]
    state: State,

    #[command(flatten)]
    rights: Rights,

    #[command(flatten)]
    watched: Watched,

    #[command(flatten)]
    courtesy: Courtesy,
}

impl Args {
    /// The measurement. Without one, the word after `--lab` was meant as the measurement and not as a lab's file.
    fn measurement(&self) -> Cow<'_, str> {
        match (&self.measurement, &self.lab) {
            (Some(name), _) => name.into(),
            (None, Some(Some(word))) => word.to_string_lossy(),
            (None, _) => "".into(),
        }
    }

    /// The lab's file; `None` for the built-in lab.
    fn lab_file(&self) -> Option<&Path> {
        self.lab.as_ref()?.as_deref().filter(|_| self.measurement.is_some())
    }

    /// Turns the options into a run's spec; `output` is where the records go.
    fn spec(&self, output: PathBuf) -> Spec {
        let mut spec = Spec {
            concurrency: self.concurrency,
            rate: self.rate,
            wave: self.wave,
            source_ports: self.source_ports.clone(),
            capture_buffer: self.capture_buffer,
            shard: self.shard,
            port: self.port,
            set: self.set.clone(),
            connect: self.connect.clone(),
            give_up_rights: true,
            allow_commands: self.allow_commands,
            as_table: self.as_table.clone().map(as_table::Source::File),
            list: self.targets.clone(),
            output,
            form: self.form.records(),
            resume: self.resume.is_some(),
            state: self.state.folder.clone(),
            vantage: self.noted.vantage.clone(),
            notes: self.noted.note.clone(),
            invoked_by: options::command_line(),
            ..Spec::default()
        };
        self.courtesy.fill(&mut spec);
        self.names.fill(&mut spec);
        self.confidence.fill(&mut spec);
        self.evidence.fill(&mut spec);
        spec
    }
}

/// Runs the command.
pub fn run(args: Args, quiet: bool) -> Result<Exit> {
    signals::catch(args.courtesy.takes_hangup())?;
    let handle = Handle::with(signals::came);
    if args.courtesy.takes_hangup() {
        signal_hook::flag::register(SIGHUP, handle.reread()).doing(|| "watch for SIGHUP")?;
    }
    // Before any file is opened, so that files are opened with the remaining privileges.
    privilege::hold_run(
        args.rights.user.as_deref(),
        args.state.folder.is_none(),
        args.lab.is_some(),
    )?;
    let records_on_stdout = args.output.as_deref().is_some_and(|path| path.as_os_str() == "-");
    let (mut status, server) = args.watched.open(records_on_stdout)?;
    // The status gets its last line even after a panic.
    let ended = barrier::contain(|| whole(&args, quiet, &handle, status.as_mut(), server))
        .unwrap_or_else(|crash| Err(Error::Failed(crash)));
    let ended = match (ended, barrier::crashed()) {
        // Later failures are consequences of the panic.
        (Err(_), Some(crash)) => Err(Error::Failed(crash.to_string())),
        (Ok((outcome, _)), Some(_)) => Ok((outcome, Exit::Failed)),
        (ended, None) => ended,
    };
    let last = ended.as_ref().map(|(outcome, exit)| (outcome.as_ref(), *exit));
    if let Some(status) = &mut status {
        status.end(&about::utc(SystemTime::now()), last);
    }
    ended.map(|(_, exit)| exit)
}

/// The whole run except the last line of its status. A dry run has no outcome.
fn whole(
    args: &Args,
    quiet: bool,
    handle: &Handle,
    status: Option<&mut Status>,
    server: Option<Server>,
) -> Result<(Option<Outcome>, Exit)> {
    args.form.check(args.output.as_deref().or(args.resume.as_deref()))?;
    if let Some(path) = &args.resume {
        Output::of(path, args.form.records()).can_resume()?;
    }
    if args.prober.situation().is_some() && args.lab.is_none() {
        return Err(Error::Usage(
            "--lab-prober needs --lab, or use `lab shell --lab-prober`".into(),
        ));
    }
    let name = args.measurement();
    if name.is_empty() {
        return Err(Error::Usage(
            "name a measurement: a file, or one of `pathspider list measurements`".into(),
        ));
    }
    let (origin, text) = measurement::find(&name)?;
    // Check the file before anything is built or opened, and again when its targets are known.
    let base = Reader::from_targets(Vec::new()).fields();
    let path = args.output.clone().or(args.resume.clone()).unwrap_or_default();
    let mut spec = args.spec(path);
    let overrides = spec.overrides();
    let (mut port, mut names) = (0, false);
    let file = args.lab.as_ref().map(|_| LabFile::read(args.lab_file())).transpose()?;
    if let Some(file) = &file {
        let plan = Plan::load_with(&origin, &text, &base, &overrides)?;
        file.fits(&plan)?;
        (port, names) = (args.port.unwrap_or(plan.port()), plan.prepare.resolve);
        // Before any thread exists: a user namespace is for the whole process.
        lab::enter()?;
    }
    let spec_of_lab = file.as_ref().map(LabFile::spec).transpose()?;
    if let Some(lab) = &spec_of_lab
        && spec.locate.is_some()
        && spec.as_table.is_none()
    {
        // Whose a hop is can be said only with a table, and the lab knows its own.
        spec.as_table = Some(as_table::Source::Text(lab::hops::as_table(lab)));
    }
    let lab =
        spec_of_lab.map(|spec| args.prober.build(&spec, args.source_ports.as_ref())).transpose()?;
    let (mut reader, network) = match &lab {
        Some(lab) => (source::of_lab(lab, port, names), network_of_lab(args, lab)),
        None => {
            let path = source::path(args.targets.as_deref())?;
            let options = args.columns.options(args.port);
            let reader = run::source::open(&path, &spec, options, !args.courtesy.dry_run);
            // A signal ended a blocking read.
            signals::check(|| nothing_sent(&name))?;
            let reader = reader?;
            let interface = interface::watched(args.interface.as_deref())?;
            (reader, Network { interface, bound: args.interface.clone(), ..Network::default() })
        }
    };
    let plan =
        Plan::load_with(&origin, &text, &Networks::fields(&spec, &reader.fields())?, &overrides)?;
    if !quiet {
        super::warn(&plan, &origin);
    }
    if args.courtesy.dry_run {
        let forecast = Run::forecast(&spec, &plan, &network, &mut reader)?;
        forecast::print(&forecast, &plan, args.form.summary())?;
        return Ok((None, Exit::Done));
    }
    if spec.output.as_os_str().is_empty() {
        spec.output = default_output(&plan.name, args.form.extension());
    }
    let sought: Vec<(String, String)> = plan.locate.iter().flat_map(Locate::subjects).collect();
    let tally = |lab: &Lab| {
        let tally = Tally::new(lab.hosts(), &plan.name).in_situation(lab.situation());
        tally.locating(lab.hosts(), &sought)
    };
    let shown = Shown {
        quiet,
        handle,
        status: Mutex::new(status),
        server: Mutex::new(server),
        tally: Mutex::new(lab.as_ref().map(tally)),
    };
    let outcome = Run::start(&spec, (&plan, &origin), &network, &mut reader, handle, &shown)?;
    let tally = shown.tally.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let exit = summary::print(
        &outcome,
        &plan,
        lab.as_ref().zip(tally.as_ref()),
        args.form.summary(),
        spec.output == Path::new("-") || args.watched.on_stdout(),
    )?;
    Ok((Some(outcome), exit))
}

fn nothing_sent(name: &str) -> String {
    format!("run {name}: nothing was sent, and the host is as it was")
}

/// The lab as the network of a run.
fn network_of_lab(args: &Args, lab: &Lab) -> Network {
    let situation = args.prober.situation();
    let interface = lab.interface().to_owned();
    Network {
        bound: situation.is_some_and(|situation| situation.binds).then(|| interface.clone()),
        interface,
        own: true,
        resolver: Some(lab.resolver()),
        situation: situation.map(|situation| situation.name),
    }
}

fn default_output(name: &str, extension: &str) -> PathBuf {
    let now = about::utc(SystemTime::now()).replace([':', '-'], "");
    PathBuf::from(format!("{name}-{now}.{extension}"))
}

/// Shows a run on the terminal, in the status and as metrics, stops it on signals, and compares its records with the
/// lab's truth.
struct Shown<'a> {
    quiet: bool,
    handle: &'a Handle,
    status: Mutex<Option<&'a mut Status>>,
    server: Mutex<Option<Server>>,
    tally: Mutex<Option<Tally>>,
}

impl Events for Shown<'_> {
    fn records(&self, records: &RecordBatch) {
        let mut tally = self.tally.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(tally) = tally.as_mut() {
            lab_table::count(tally, records);
        }
    }

    fn watch(&self, run: &Telemetry<'_>, ended: &Receiver<()>) -> Result<()> {
        let status = self.status.lock().ok().and_then(|mut status| status.take());
        let server = self.server.lock().ok().and_then(|mut server| server.take());
        let (pace, handle) = (Mutex::default(), self.handle);
        let pace = &pace;
        thread::scope(|scope| {
            // Dropped to end the threads, whatever ends this function.
            let watching = signals::Watching;
            let serving = server.as_ref().map(Server::running);
            let start = |name: &str| thread::Builder::new().name(name.into());
            let mut threads = vec![
                start("signals")
                    .spawn_scoped(scope, move || {
                        signals::watch(handle, &|| watch::remaining(run, pace));
                    })
                    .doing(|| "start the thread signals")?,
            ];
            if let Some(server) = server {
                let thread = start("metrics")
                    .spawn_scoped(scope, move || server.run(&|| watch::metrics(run)));
                threads.push(thread.doing(|| "start the thread metrics")?);
            }
            watch::show(run, ended, self.quiet, status, pace);
            drop((watching, serving));
            // Their panics are recorded already, and must not propagate to this thread.
            threads.into_iter().for_each(|thread| drop(thread.join()));
            Ok(())
        })
    }
}
