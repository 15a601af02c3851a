//! `pathspider run`: the main job.

mod measure;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow::datatypes::SchemaRef;

use super::courtesy::{Courtesy, Excluded};
use super::host::Host;
use super::live;
use super::output::{Earlier, Identity, Output};
use super::port_outcomes::PortOutcomes;
use super::privilege::{self, needs::Needs};
use super::stop::Stop;
use super::summary::{self, Outcome};
use super::targets::columns::FixedColumns;
use super::writer;
use super::{
    confirm, ending, forecast, interface, memory, preflight, prepare, records, restore,
    run_targets, source_ports,
};
use crate::barrier;
use crate::connect;
use crate::engine::ports::Pool;
use crate::engine::{driver, scheduler};
use crate::error::{Error, Exit, Result};
use crate::lab::{self, Lab, Tally};
use crate::measurement::{self, Overrides, Plan};
use crate::packet::protocol;
use crate::sink::{Metadata, RUN_ID, Sink};
use crate::step::Slot;
use crate::targets::{Reader, Shard};

/// Run a measurement: ask every target under each configuration, watch the packets, conclude
///
/// Needs CAP_NET_RAW for the capture and, for most steps, CAP_NET_ADMIN (`explain` says which and why); all
/// other rights are given up first of all. With --lab it needs neither. Targets are NDJSON lines ({"dip": "192.0.2.1", "dp": 80, "domain": "example.org"}) or CSV,
/// with a header or as ip,port,name,rank. Ctrl-C ends a run in order: the wave in hand goes to its end,
/// settings are put back and what was finished is written. A second Ctrl-C does not wait for the wave.
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

    #[command(flatten)]
    prober: super::lab::Prober,

    /// File of targets, `-` for standard input (the default unless that is a terminal)
    #[arg(long, value_name = "FILE")]
    targets: Option<PathBuf>,

    /// Port of targets that come without one
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,

    #[command(flatten)]
    columns: FixedColumns,

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

    /// Source ports to use, in place of the kernel's own (net.ipv4.ip_local_port_range); ports of
    /// net.ipv4.ip_local_reserved_ports are left out of either
    #[arg(long, value_name = "LOW-HIGH", value_parser = source_ports::parse)]
    source_ports: Option<RangeInclusive<u16>>,

    #[command(flatten)]
    names: prepare::Names,

    /// Let `command` steps of the measurement run their programs
    #[arg(long)]
    allow_commands: bool,

    #[command(flatten)]
    sure: confirm::Sureness,

    #[command(flatten)]
    form: records::Form,

    #[command(flatten)]
    state: restore::State,

    #[command(flatten)]
    privilege: privilege::Rights,

    #[command(flatten)]
    live: live::Options,

    #[command(flatten)]
    courtesy: Courtesy,
}

impl Args {
    /// How much is sent at most.
    fn limits(&self) -> scheduler::Limits {
        self.courtesy.limits(self.concurrency, self.rate, self.lab)
    }
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
    ending::catch(args.courtesy.takes_hangup())?;
    // Before any file is opened: each with the rights that the run keeps.
    privilege::hold_run(&args.privilege, args.state.folder.is_none(), args.lab)?;
    let records_on_stdout = args.output.as_deref().is_some_and(|path| path.as_os_str() == "-");
    let (mut status, server) = args.live.open(records_on_stdout)?;
    // A panic, too, ends with a last line of the status.
    let ended = barrier::contain(|| whole(&args, quiet, status.as_mut(), server))
        .unwrap_or_else(|crash| Err(Error::Failed(crash)));
    let ended = match (ended, barrier::crashed()) {
        // What failed after it failed because of it.
        (Err(_), Some(crash)) => Err(Error::Failed(crash.to_string())),
        (Ok((outcome, _)), Some(_)) => Ok((outcome, Exit::Failed)),
        (ended, None) => ended,
    };
    let told = ended.as_ref().map(|(outcome, exit)| (outcome.as_ref(), *exit));
    if let Some(status) = &mut status {
        status.end(&summary::utc(SystemTime::now()), told);
    }
    ended.map(|(_, exit)| exit)
}

/// All of it but the end of what is told. Of a dry run there is no outcome.
fn whole(
    args: &Args,
    quiet: bool,
    status: Option<&mut live::Status>,
    server: Option<live::Server>,
) -> Result<(Option<Outcome>, Exit)> {
    args.form.check(args.output.as_deref().or(args.resume.as_deref()))?;
    if let Some(path) = &args.resume {
        Output::of(path, &args.form).can_resume()?;
    }
    if args.prober.situation().is_some() && !args.lab {
        return Err(Error::Usage(
            "--lab-prober is for the lab: write --lab too, or use `lab shell --lab-prober`".into(),
        ));
    }
    let (origin, text) = measurement::find(&args.measurement)?;
    // The file is judged before anything is built or opened; once more when its targets are known.
    let base = Reader::from_targets(Vec::new()).fields();
    let overrides = Overrides::new(args.set.clone()).connect(args.connect.clone());
    let overrides = overrides.rounds(args.sure.confirm);
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
        .map(|spec| args.prober.build(&spec, args.source_ports.as_ref()))
        .transpose()?;
    let (mut reader, interface) = match &lab {
        Some(lab) => (run_targets::of_lab(lab, port, names), lab.interface().to_owned()),
        None => {
            let reader = run_targets::open(
                args.targets.as_deref(),
                &args.courtesy,
                args.columns.options(args.port),
            );
            // A read that waited was ended by it.
            check_signals(&args.measurement)?;
            let reader = reader?;
            let interface = interface::watched(args.interface.as_deref())?;
            (reader, interface)
        }
    };
    let plan = Plan::load_with(&origin, &text, &reader.fields(), &overrides)?;
    if !quiet {
        super::warn(&plan, &origin);
    }
    if plan.prepare.resolve {
        reader.names();
    }
    args.courtesy.check(&plan)?;
    args.courtesy.scatter(&mut reader);
    let excluded = args.courtesy.withhold(&mut reader, &plan, args.lab)?;
    if args.courtesy.dry_run {
        reader.only(args.shard);
        let pool = pool(args, &plan, Slot::default())?;
        let wave =
            args.wave.unwrap_or(usize::MAX).min(pool.largest_wave(source_ports::per_target(&plan)));
        forecast::print(&plan, &mut reader, &args.limits(), wave, args.form.summary())?;
        return Ok((None, Exit::Done));
    }
    let tally = |lab: &Lab| Tally::new(lab.hosts(), &plan.name).in_situation(lab.situation());
    let mut tally = lab.as_ref().map(tally);
    let path = args.output.clone().or(args.resume.clone());
    let path = path.unwrap_or_else(|| default_output(&plan.name, args.form.extension()));
    let output = Output::of(&path, &args.form);
    privilege::check_output(&path)?;
    output.look()?;
    let needs = Needs::of(&plan);
    let needs = if args.interface.is_some() { needs.bound() } else { needs };
    privilege::require(&needs)?;
    privilege::check_programs(&plan, args.allow_commands)?;
    preflight::inspect(&plan, &origin)?;
    // Too few ports are an error before anything is held.
    pool(args, &plan, Slot::default())?;
    check_signals(&plan.name)?;
    // The lab's namespace is nobody else's and vanishes with this process.
    let host = match lab {
        Some(_) => Host::default(),
        None => Host::hold(args.state.folder.as_deref(), &plan)?,
    };
    let stop = Stop::default();
    let run = Run {
        args,
        plan: &plan,
        pool: pool(args, &plan, host.slot())?,
        origin: &origin,
        interface: &interface,
        needs,
        host: &host,
        stop: &stop,
        excluded: &excluded,
        quiet,
        resolver: lab.as_ref().map(Lab::resolver),
    };
    let watched = Watched { status, server };
    run.check_signals()?;
    let outcome = run.measure(&mut reader, tally.as_mut(), &output, watched)?;
    let exit = summary::print(
        &outcome,
        &plan,
        lab.as_ref().zip(tally.as_ref()),
        args.form.summary(),
        path == Path::new("-") || args.live.on_stdout(),
    )?;
    Ok((Some(outcome), exit))
}

/// How a run is watched from outside, and ended.
struct Watched<'a> {
    status: Option<&'a mut live::Status>,
    server: Option<live::Server>,
}

/// Ends a run that has not sent anything yet if a signal came.
fn check_signals(name: &str) -> Result<()> {
    ending::check(|| format!("run {name}: nothing was sent, and the host is as it was"))
}

/// The source ports of a run.
fn pool(args: &Args, plan: &Plan, slot: Slot) -> Result<Pool> {
    source_ports::pool(args.source_ports.as_ref(), slot, source_ports::per_target(plan))
}

fn default_output(name: &str, extension: &str) -> PathBuf {
    let now = summary::utc(SystemTime::now()).replace([':', '-'], "");
    PathBuf::from(format!("{name}-{now}.{extension}"))
}

/// One run, ready to go.
struct Run<'a> {
    args: &'a Args,
    plan: &'a Plan,
    pool: Pool,
    /// The name of its file, for messages.
    origin: &'a str,
    interface: &'a str,
    needs: Needs,
    host: &'a Host,
    stop: &'a Stop,
    excluded: &'a Excluded,
    quiet: bool,
    /// The lab's resolver.
    resolver: Option<SocketAddr>,
}

impl Run<'_> {
    fn check_signals(&self) -> Result<()> {
        check_signals(&self.plan.name)
    }

    fn settings(&self) -> driver::Settings {
        let (configurations, probe) = (self.plan.configs.iter(), self.plan.probe());
        driver::Settings {
            configurations: configurations
                .chain(&probe)
                .map(|config| configuration(config, self.args.courtesy.agent()))
                .collect(),
            probe: probe.is_some(),
            limits: self.args.limits(),
            bind_device: self.bind_device(),
            interface: Some(self.interface.to_owned()),
            allow_commands: self.args.allow_commands,
            pool: self.pool.clone(),
            slot: self.host.slot(),
            journal: self.host.journal(),
            // A lab's namespace was made just now: its kernel remembers nobody.
            forget: !self.args.lab && self.plan.configs.iter().any(|c| c.connection.fast_open()),
        }
    }

    /// The interface that sockets are bound to.
    fn bind_device(&self) -> Option<String> {
        let bound = self.args.prober.situation().is_some_and(|situation| situation.binds);
        self.args.interface.clone().or_else(|| bound.then(|| self.interface.to_owned()))
    }

    /// What the run is known by.
    fn identity(&self, digest: Option<&str>, columns: &SchemaRef) -> Identity {
        let Args { connect, port, shard, sure, .. } = self.args;
        let options = [
            ("--confirm", sure.confirm.map_or_else(String::new, |rounds| rounds.to_string())),
            ("--control", sure.control.map_or_else(String::new, |share| share.to_string())),
            ("--connect", connect.clone().unwrap_or_default()),
            ("--port", port.map_or_else(String::new, |port| port.to_string())),
            ("--shard", shard.map_or_else(String::new, |shard| shard.to_string())),
            ("--prefer", self.args.names.preferred().to_owned()),
            ("--lab-prober", self.args.prober.name().to_owned()),
        ];
        let options = [&options[..], &self.args.courtesy.identity()].concat();
        Identity::new(self.plan, digest, columns, &options)
    }

    /// Opens the output, and has the reader pass over what is done and what others do.
    fn open(
        &self,
        reader: &mut Reader,
        tally: Option<&mut Tally>,
        output: &Output,
    ) -> Result<(Box<dyn Sink>, Earlier, Option<String>)> {
        let digest = run_targets::digest(self.args.targets.as_deref(), self.args.lab, reader)?;
        let resume = self.args.resume.is_some();
        if resume && digest.is_none() {
            return Err(Error::Usage(
                "--resume: standard input cannot be read once more; give the list as a file, by --targets FILE".into(),
            ));
        }
        let schema: SchemaRef = Arc::new(writer::schema(self.plan, &reader.fields()));
        let identity = self.identity(digest.as_deref(), &schema);
        let (sink, mut earlier) =
            output.open(resume, &self.args.form, &identity, &schema, tally, self.outcomes())?;
        reader.skip(std::mem::take(&mut earlier.done));
        reader.only(self.args.shard);
        Ok((sink, earlier, digest))
    }

    /// What the metadata say from the beginning on.
    fn about(&self, started: &str, digest: Option<&str>, earlier: &Earlier) -> Metadata {
        let Args { connect, port, shard, sure, concurrency, wave, .. } = self.args;
        let more = [
            ("confirm_rounds", Some(self.plan.confirm.rounds.to_string())),
            ("control_share", sure.control.map(|share| share.to_string())),
            ("targets_sha256", digest.map(str::to_owned)),
            ("connect", connect.clone()),
            ("port", port.map(|port| port.to_string())),
            ("shard", shard.map(|shard| shard.to_string())),
            ("source_ports", Some(self.pool.to_string())),
            ("lab_prober", self.args.prober.situation().map(|row| row.name.to_owned())),
            ("sessions", Some((earlier.sessions + 1).to_string())),
            (RUN_ID, Some(earlier.run_id.clone())),
            ("memory_bound", Some(memory::of_run(self.plan, *concurrency, *wave, &self.pool))),
        ];
        let more = more.into_iter().chain(self.args.courtesy.about(&self.args.limits()));
        let more = more.filter_map(|(key, value)| Some((key.to_owned(), value?)));
        summary::about(self.plan, self.interface, started, more.collect())
    }

    /// The least time between two askings of a target. Paths of the lab do not change with time.
    fn spread(&self) -> Duration {
        if self.args.lab { Duration::ZERO } else { self.plan.confirm.spread }
    }

    /// Outcomes by ports, none counted yet.
    fn outcomes(&self) -> PortOutcomes {
        let names = self.plan.configs.iter().map(|config| config.name.to_owned());
        PortOutcomes::new(self.pool.middle(), names)
    }

    /// Another interface than the watched one, if packets to this address leave by it.
    fn elsewhere(&self, to: Option<IpAddr>) -> Option<String> {
        let bound = self.args.interface.as_deref();
        preflight::elsewhere(self.interface, bound, to?)
    }

    fn capture_filter(&self) -> String {
        let ports = &self.pool;
        // Our connections, and what routers say about them.
        let udp =
            self.plan.configs.iter().any(|config| config.connection.protocol() == protocol::UDP);
        let udp = if udp { format!("udp portrange {ports} or ") } else { String::new() };
        format!("tcp portrange {ports} or {udp}icmp or icmp6")
    }
}

/// What the engine needs to know of a configuration.
fn configuration(
    of: &measurement::Configuration,
    contact: Option<String>,
) -> driver::Configuration {
    driver::Configuration {
        steps: of.steps.clone(),
        kind: of.connection.kind,
        options: connect::Options { contact, ..of.connection.options.clone() },
        timeout: of.connection.timeout,
    }
}
