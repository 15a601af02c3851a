//! One run: a measurement of one list over one network. [`Run::start`] takes a [`Spec`], reports to [`Events`] and
//! returns an [`Outcome`].
//!
//! A run knows nothing of a command line, a terminal or signals. Its caller loads the measurement, opens the list,
//! shows the progress and ends it early by a [`Handle`].
//!
//! | files | what |
//! | --- | --- |
//! | `spec` `events` `handle` `outcome` | input and result |
//! | `source` `feed` `prepare` `again` `excluded` `disturbed` | probing |
//! | `wave` `writer` `held` `locating` `record` `totals` `verdicts` | recording |
//! | `catalogue` `dictionary` | what the columns of a record mean |
//! | `keys` `site` `clock` `offloads` | what the results say of the run and of this host |
//! | `output` `identity` `about` `host` `interface` `route` `source_ports` | where, which run, on what host |
//! | `evidence` | packets of targets with certain labels |
//! | `account` `counts` `controls` `port_outcomes` `forecast` `memory` `available` | adding up |
//! | `live` `snapshot` `telemetry` | progress |

pub mod about;
pub mod account;
mod again;
pub mod available;
pub mod catalogue;
mod clock;
pub mod contact;
pub mod controls;
pub mod counts;
pub mod dictionary;
pub mod distribution;
pub mod disturbed;
pub mod events;
pub mod evidence;
mod excluded;
mod feed;
pub mod forecast;
pub mod form;
pub mod handle;
mod held;
pub mod host;
mod identity;
pub mod interface;
pub mod keys;
pub mod live;
mod locating;
mod measure;
pub mod memory;
pub mod networks;
mod offloads;
pub mod outcome;
pub mod output;
pub mod port_outcomes;
mod preflight;
mod prepare;
pub mod record;
mod route;
pub mod site;
pub mod snapshot;
pub mod source;
pub mod source_ports;
pub mod spec;
pub mod telemetry;
pub mod totals;
pub mod verdicts;
mod wave;
mod writer;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arrow_schema::SchemaRef;

pub use self::events::Events;
pub use self::handle::Handle;
pub use self::outcome::Outcome;
pub use self::spec::Spec;

use self::dictionary::Dictionary;
use self::excluded::Excluded;
use self::forecast::Forecast;
use self::host::Host;
use self::identity::Identity;
use self::networks::Networks;
use self::output::{Earlier, Output};
use self::port_outcomes::PortOutcomes;
use self::spec::Order;
use crate::connect;
use crate::cost;
use crate::engine::ports::Pool;
use crate::engine::{driver, scheduler};
use crate::error::{Error, Result, Setting};
use crate::measurement::{self, Plan};
use crate::observer::capture::SNAP_LENGTH;
use crate::observer::ring::Ring;
use crate::packet::protocol;
use crate::privilege::{self, needs::Needs};
use crate::sink::{Metadata, RUN_ID, Sink};
use crate::step::Slot;
use crate::targets::Reader;

/// The network that a run sends through.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// The interface to watch.
    pub interface: String,
    /// The interface to bind sockets to, if any.
    pub bound: Option<String>,
    /// Whether the network belongs to the run and ends with it, as the lab does. Such a network needs no lock, no caps
    /// and no restore.
    pub own: bool,
    /// The resolver of such a network.
    pub resolver: Option<SocketAddr>,
    /// The name of the prober's situation in such a network.
    pub situation: Option<&'static str>,
}

/// One run.
pub struct Run<'a> {
    spec: &'a Spec,
    plan: &'a Plan,
    /// The name of the measurement's file, for messages.
    origin: &'a str,
    network: &'a Network,
    handle: &'a Handle,
    events: &'a dyn Events,
    pool: Pool,
    ring: Ring,
    needs: Needs,
    host: Host,
    excluded: Rc<Excluded>,
    networks: Networks,
}

impl<'a> Run<'a> {
    /// Runs a measurement over the targets of `reader`. `origin` names the measurement's file in messages.
    ///
    /// # Errors
    /// Errors before the run starts; then nothing was sent, and the host is unchanged. Later errors are in the outcome.
    pub fn start(
        spec: &'a Spec,
        (plan, origin): (&'a Plan, &'a str),
        network: &'a Network,
        reader: &mut Reader,
        handle: &'a Handle,
        events: &'a dyn Events,
    ) -> Result<Outcome> {
        let excluded = choose(spec, plan, network, reader)?;
        let networks = Networks::open(spec)?;
        let output = Output::of(&spec.output, spec.form);
        privilege::check_output(&spec.output)?;
        output.look()?;
        if let Some(evidence) = &spec.evidence {
            privilege::check_output(&evidence.folder)?;
            evidence.check(plan)?;
        }
        let needs = Needs::of(plan);
        let needs = if network.bound.is_some() { needs.bound() } else { needs };
        privilege::require(&needs)?;
        privilege::check_programs(plan, spec.allow_commands)?;
        preflight::inspect(plan, origin)?;
        // Too few ports are an error before any lock is taken.
        pool(spec, plan, Slot::default())?;
        check_ended(handle, plan)?;
        let host = match network.own {
            true => Host::default(),
            false => Host::hold(spec.state.as_deref(), plan, handle)?,
        };
        let pool = pool(spec, plan, host.slot())?;
        let ring = memory::ring(spec.capture_buffer, spec.rate);
        let run = Run {
            spec,
            plan,
            origin,
            network,
            handle,
            events,
            pool,
            ring,
            needs,
            host,
            excluded,
            networks,
        };
        run.check_ended()?;
        run.measure(reader, &output)
    }

    /// Reads the list to its end and returns the forecast of a run over it. Nothing is sent or changed.
    ///
    /// # Errors
    /// As [`Run::start`], as far as the list and the measurement are concerned.
    pub fn forecast(
        spec: &Spec,
        plan: &Plan,
        network: &Network,
        reader: &mut Reader,
    ) -> Result<Forecast> {
        choose(spec, plan, network, reader)?;
        reader.only(spec.shard);
        let pool = pool(spec, plan, Slot::default())?;
        let largest = pool.largest_wave(source_ports::per_target(plan));
        let wave = spec.wave.unwrap_or(usize::MAX).min(largest);
        let ring = memory::ring(spec.capture_buffer, spec.rate);
        let size = (spec.concurrency, spec.wave, spec.evidence.is_some());
        let memory = memory::of_run(plan, size, &pool, ring);
        let forecast = forecast::read(plan, reader, &spec.limits(network.own), wave)?;
        Ok(Forecast { memory, ring: Some(ring), ..forecast })
    }
}

/// Configures the reader for the targets and the order of the spec.
fn choose(
    spec: &Spec,
    plan: &Plan,
    network: &Network,
    reader: &mut Reader,
) -> Result<Rc<Excluded>> {
    let (_, most) = cost::in_all(plan);
    let most = most.packets + cost::of_locate(plan).packets;
    if most > spec.max_packets_per_target {
        return Err(Error::needs(
            Setting::MaxPackets,
            format!(
                "run {}: a target could be sent {most} packets, more than the limit of {}",
                plan.name, spec.max_packets_per_target
            ),
        ));
    }
    if plan.prepare.resolve {
        reader.names();
    }
    if spec.order == Order::Random {
        reader.scatter(spec.seed);
    }
    let allow_reserved = spec.allow_reserved || network.own;
    let excluded = Excluded::read(&spec.exclude, allow_reserved, plan.prepare.resolve)?;
    let excluded = Rc::new(excluded);
    excluded.withhold(reader);
    Ok(excluded)
}

/// Fails if the run was ended before anything was sent.
fn check_ended(handle: &Handle, plan: &Plan) -> Result<()> {
    handle.check(|| format!("run {}: nothing was sent, and the host is as it was", plan.name))
}

/// The source ports of a run.
fn pool(spec: &Spec, plan: &Plan, slot: Slot) -> Result<Pool> {
    source_ports::pool(spec.source_ports.as_ref(), slot, source_ports::per_target(plan))
}

impl Run<'_> {
    fn check_ended(&self) -> Result<()> {
        check_ended(self.handle, self.plan)
    }

    fn limits(&self) -> scheduler::Limits {
        self.spec.limits(self.network.own)
    }

    fn look_at_lists(&self) {
        if self.handle.takes_reread() {
            self.excluded.reread();
        }
    }

    fn settings(&self) -> driver::Settings {
        let (configurations, probe) = (self.plan.configs.iter(), self.plan.probe());
        driver::Settings {
            configurations: configurations
                .chain(&probe)
                .map(|config| configuration(config, self.spec.contact.clone()))
                .collect(),
            probe: probe.is_some(),
            limits: self.limits(),
            bind_device: self.network.bound.clone(),
            interface: Some(self.network.interface.clone()),
            allow_commands: self.spec.allow_commands,
            pool: self.pool.clone(),
            slot: self.host.slot(),
            journal: self.host.journal(),
            // The kernel of a new network has no cookies.
            forget: !self.network.own && self.plan.configs.iter().any(|c| c.connection.fast_open()),
        }
    }

    /// The identity of the run.
    fn identity(&self, digest: Option<&str>, columns: &SchemaRef) -> Identity {
        let situation = self.network.situation.unwrap_or_default().to_owned();
        let settings = self.spec.identity().chain([("--lab-prober", situation)]);
        Identity::new(self.plan, digest, columns, settings)
    }

    /// Opens the output, and makes the reader skip targets with records and those of other shards.
    fn open(
        &self,
        reader: &mut Reader,
        output: &Output,
    ) -> Result<(Box<dyn Sink>, Earlier, Option<String>)> {
        let digest = source::digest(self.spec.list.as_deref(), self.network.own, reader)?;
        if self.spec.resume && digest.is_none() {
            return Err(Error::needs(
                Setting::TargetFile,
                format!("resume {}: standard input cannot be read again", output.path().display()),
            ));
        }
        let columns = Networks::fields(self.spec, &reader.fields())?;
        let schema = record::schema(self.plan, &columns);
        let schema: SchemaRef = Arc::new(match self.spec.evidence {
            Some(_) => evidence::with_column(&schema),
            None => schema,
        });
        let identity = self.identity(digest.as_deref(), &schema);
        let described = Dictionary::of(self.plan).describe(&schema);
        let (sink, mut earlier) =
            output.open(self.spec, &identity, &described, self.events, self.outcomes())?;
        reader.skip(std::mem::take(&mut earlier.done));
        reader.only(self.spec.shard);
        Ok((sink, earlier, digest))
    }

    /// The metadata known at the start.
    fn about(
        &self,
        started: &str,
        digest: Option<&str>,
        earlier: &Earlier,
        size: usize,
    ) -> Metadata {
        let limits = self.limits();
        let Spec { concurrency, wave, evidence, .. } = self.spec;
        let in_memory = (*concurrency, *wave, evidence.is_some());
        let memory = memory::of_run(self.plan, in_memory, &self.pool, self.ring);
        let cap = |cap: Option<u32>| {
            Some(cap.map_or_else(|| keys::NONE.to_owned(), |cap| cap.to_string()))
        };
        let more = [
            ("confirm_rounds", Some(self.plan.confirm.rounds.to_string())),
            ("confirm_spread", Some(self.spread().as_secs_f64().to_string())),
            ("targets_sha256", digest.map(str::to_owned)),
            ("wave", Some(size.to_string())),
            ("source_ports", Some(self.pool.to_string())),
            ("lab_prober", self.network.situation.map(str::to_owned)),
            ("sessions", Some((earlier.sessions + 1).to_string())),
            (RUN_ID, Some(earlier.run_id.clone())),
            ("memory_bound", Some(memory.to_string())),
            ("capture_buffer", Some(self.ring.octets.to_string())),
            ("capture_snaplen", Some(SNAP_LENGTH.to_string())),
            ("capture_filter", Some(self.capture_filter())),
            ("exclude", Some(self.excluded.json().to_string())),
            ("rate", cap(limits.rate)),
            ("rate_per_address", cap(limits.caps.per_address)),
            ("rate_per_prefix", cap(limits.caps.per_prefix)),
        ];
        let more = more.into_iter().chain(self.spec.metadata());
        let more = more.filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let more = more.chain(self.networks.metadata());
        let (interface, invoked_by) = (&self.network.interface, &self.spec.invoked_by);
        about::about(self.plan, interface, started, invoked_by, more.collect())
    }

    /// The metadata known at the end only.
    fn closing(&self) -> Metadata {
        let closing = [
            ("clock_ended", site::clock_state()),
            ("exclude", Some(self.excluded.json().to_string())),
            ("exclude_rereads", Some(self.excluded.rereads().to_string())),
        ];
        closing.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    /// The least time between two probes of a target. Paths of the lab do not change with time.
    fn spread(&self) -> Duration {
        if self.network.own { Duration::ZERO } else { self.plan.confirm.spread }
    }

    /// Outcomes by port, initially empty.
    fn outcomes(&self) -> PortOutcomes {
        let names = self.plan.configs.iter().map(|config| config.name.to_owned());
        PortOutcomes::new(self.pool.middle(), names)
    }

    /// The interface through which packets to this address leave, if it is not the watched one.
    fn elsewhere(&self, to: Option<IpAddr>) -> Option<String> {
        preflight::elsewhere(&self.network.interface, self.network.bound.as_deref(), to?)
    }

    fn capture_filter(&self) -> String {
        let ports = &self.pool;
        // The run's connections, and ICMP errors about them.
        let udp =
            self.plan.configs.iter().any(|config| config.connection.protocol() == protocol::UDP);
        let udp = if udp { format!("udp portrange {ports} or ") } else { String::new() };
        format!("tcp portrange {ports} or {udp}icmp or icmp6")
    }
}

/// A configuration as the engine needs it.
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
