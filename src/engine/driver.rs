//! The driver: one mio event loop that does what the scheduler decides.
//!
//! It owns the sockets, the clock and the steps in force; the course of a connection is up to the state machine of its kind
//! in [`connect`].

mod barrier;
mod control;
mod forged;
mod link;
mod locate;
mod progress;
mod rehearsal;
mod settings;
mod wave;
mod way;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::RawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Poll, Token};

pub use super::clocks::now;
pub use locate::{Trace, Traced};
pub use progress::Progress;
pub use settings::{Address, Configuration, Settings};

use self::link::Link;
use self::wave::{Wave, ended};
use self::way::Way;

use super::clock::Clock;
use super::clocks;
use super::closer::{self, Closer};
use super::connection::Connection;
use super::disturbance::Disturbance;
use super::guarded::Guarded;
use super::pauses::Pauses;
use super::ports::{Bank, Deal, Ports};
use super::raw::Raw;
use super::ready::Ready;
use super::scheduler::{Job, Next, Scheduler};
use super::slots::{Place, Slots};
use super::socket::{Channel, Opening, Unsent, allow_descriptors, at_once, from_some_port};
use crate::barrier::panic_point;
use crate::connect::{self, Ended, Ending, KindDef, Machine, Peer, Stage, State};
use crate::error::{Doing as _, Result};
use crate::locate::Phase;
use crate::packet::owner::{Owners, PortSet};
use crate::step::{self, Applied, CommandOutput, Turns};

/// Poll interval of an idle loop for the request to stop.
const IDLE_POLL: Duration = Duration::from_millis(100);

/// The largest number of command outputs that are kept.
const MOST_OUTPUTS: usize = 64;

/// Tokens of the sockets that receive for packets made by hand; every other token is that of an attempt.
const EAR_V4: usize = usize::MAX - 1;
const EAR_V6: usize = usize::MAX - 2;

/// The attempts of one wave: by configuration, then by target. `None` if the run stopped before.
pub type Attempts = Vec<Vec<Option<Ended>>>;

/// The outcome of a wave.
#[derive(Debug, Default)]
pub struct Asked {
    /// The attempts for each target, under each configuration.
    pub attempts: Attempts,
    /// Source ports of attempts that were repeated: their flows belong to no record.
    pub repeated: Vec<u16>,
    /// Every source port of the wave.
    pub ports: PortSet,
    /// Targets with an attempt that was not started because they were withdrawn.
    pub withdrawn: BTreeSet<usize>,
    /// Whether the system's clock stepped during the wave.
    pub clock_step: bool,
    /// What else disturbed the wave.
    pub disturbed: Vec<Disturbance>,
}

/// The engine of one run.
pub struct Engine<'a> {
    settings: Rc<Settings>,
    ways: Vec<Way>,
    other: control::Other,
    progress: &'a Progress,
    ports: Ports,
    /// The bank of the next wave.
    bank: Bank,
    /// The ports of the next wave, once it has used some.
    deal: Option<Deal>,
    owners: Arc<Owners>,
    poll: Poll,
    events: Events,
    scheduler: Scheduler,
    turns: Turns,
    /// Dropped before the steps in force, which its resets need.
    closer: Closer,
    /// Whether the limit of open files allows for the sockets that the closer still has.
    closes_later: bool,
    in_force: Applied,
    /// The configurations of these steps.
    configurations: Range<usize>,
    /// With overlapping turns, the steps that all configurations of the wave have.
    common: Option<Applied>,
    /// The configurations whose attempts may be in flight.
    in_flight: Range<usize>,
    link: Option<Link>,
    pauses: Pauses,
    /// The outputs of `command` steps, as far as they are kept.
    outputs: Vec<CommandOutput>,
    epoch: Instant,
    clock: Clock,
    wave: u64,
    connections: Slots<Connection>,
    /// By configuration: its attempts have the same timeout, so they time out in the order of their start.
    deadlines: Vec<VecDeque<Deadline>>,
    raw: Raw,
    /// The searches for the places of labels, once there is one.
    phase: Option<Phase>,
    buffer: Box<[u8]>,
    /// Makes the machine of an attempt.
    start: fn(&KindDef, &connect::Options, Peer<'_>) -> Box<dyn Machine>,
}

/// An attempt in flight.
struct Begun {
    /// Its channel, and how much of `out` went with the SYN.
    opened: (Channel, usize),
    port: u16,
    machine: Guarded,
    out: Vec<u8>,
}

/// When an attempt times out.
struct Deadline {
    at: Instant,
    place: Place,
}

impl<'a> Engine<'a> {
    /// Prepares the loop; the capture learns from `owners` which flows belong to the run.
    ///
    /// # Errors
    /// If this host does not allow the limits.
    pub fn new(settings: Settings, progress: &'a Progress, owners: Arc<Owners>) -> Result<Self> {
        let forges = settings.configurations.iter().any(|c| c.options.packet.is_some());
        let concurrency = settings.limits.concurrency;
        let closing = allow_descriptors(concurrency, closer::MOST_OPEN);
        let closes_later = closing.is_ok();
        if forges {
            closing?;
        } else if !closes_later {
            allow_descriptors(concurrency, 0)?;
        }
        let steps = settings.configurations.iter().flat_map(|c| &c.steps);
        step::check(steps, &settings.context())?;
        let poll = Poll::new().doing(|| "create the event loop")?;
        let configurations = &settings.configurations;
        let measured = configurations[settings.measured()].iter();
        let turns = Turns::of(measured.map(|c| (c.steps.as_slice(), c.options.repeat())));
        Ok(Self {
            ports: Ports::new(&settings.pool, rand::random()),
            bank: Bank::default(),
            deal: None,
            owners,
            ways: Way::all(&settings),
            scheduler: Scheduler::new(settings.limits, turns),
            deadlines: configurations.iter().map(|_| VecDeque::new()).collect(),
            other: control::Other::control(&settings),
            link: settings.interface.as_deref().map(Link::watch).transpose()?,
            pauses: Pauses::default(),
            configurations: 0..0,
            raw: Raw::new(settings.pool.bounds()),
            settings: Rc::new(settings),
            progress,
            poll,
            events: Events::with_capacity(1024),
            turns,
            closer: Closer::default(),
            closes_later,
            in_force: Applied::default(),
            common: None,
            in_flight: 0..0,
            outputs: Vec::new(),
            epoch: Instant::now(),
            clock: Clock::default(),
            wave: 0,
            connections: Slots::new(),
            phase: None,
            buffer: vec![0; 64 << 10].into_boxed_slice(),
            start: connect::start,
        })
    }

    /// The largest number of targets in a wave.
    pub fn largest_wave(&self) -> usize {
        let repeats = self.ways.iter().map(|way| way.repeat as usize).max().unwrap_or(1);
        (self.settings.pool.largest_wave(self.ways.len()) / repeats).max(1)
    }

    /// Sets the bank of ports for the next wave. No wave that still waits for flows may use the same.
    pub fn use_bank(&mut self, bank: Bank) {
        self.bank = bank;
    }

    /// Probes every target of a wave under every configuration, until done or until `keep_going` returns false. Attempts for a
    /// target that is `withdrawn` are not started.
    pub fn run_wave(
        &mut self,
        targets: &[Address],
        keep_going: impl Fn() -> bool,
        withdrawn: impl Fn(&Address) -> bool,
    ) -> Result<Asked> {
        let mut asked =
            self.probe_wave(targets, self.settings.measured(), keep_going, withdrawn)?;
        asked.attempts.truncate(self.settings.measured().len());
        asked.ports = self.deal.take().map(|deal| deal.taken().clone()).unwrap_or_default();
        self.wave += 1;
        Ok(asked)
    }

    /// Checks the liveness of targets of the next wave: probes them in another way, with no step in force.
    pub fn probe(
        &mut self,
        targets: &[Address],
        keep_going: impl Fn() -> bool,
        withdrawn: impl Fn(&Address) -> bool,
    ) -> Result<Vec<Option<Ended>>> {
        debug_assert!(self.settings.probe);
        let probe = self.settings.measured().end;
        let mut asked = self.probe_wave(targets, probe..probe + 1, &keep_going, &withdrawn)?;
        if !asked.disturbed.is_empty() && keep_going() {
            asked = self.probe_wave(targets, probe..probe + 1, keep_going, withdrawn)?;
        }
        for disturbance in &asked.disturbed {
            log::warn!("{}", disturbance.why);
            disturbance.void(&mut asked.attempts);
        }
        Ok(asked.attempts.pop().unwrap_or_default())
    }

    fn probe_wave(
        &mut self,
        targets: &[Address],
        configurations: Range<usize>,
        keep_going: impl Fn() -> bool,
        withdrawn: impl Fn(&Address) -> bool,
    ) -> Result<Asked> {
        debug_assert!(targets.len() <= self.largest_wave());
        let (ports, bank, wave) = (&self.ports, self.bank, self.wave);
        let deal = self.deal.get_or_insert_with(|| ports.deal(bank, wave));
        let wanted = targets.iter().flat_map(|target| &target.wanted).flatten();
        wanted.for_each(|port| deal.reserve(*port));
        let attempts = self.ways.iter().map(|_| targets.iter().map(|_| None).collect()).collect();
        let mut wave = Wave {
            targets,
            left: self.ways.iter().map(|way| vec![way.repeat; targets.len()]).collect(),
            asked: Asked { attempts, ..Asked::default() },
        };
        self.rest()?;
        if self.settings.forget {
            let addresses: Vec<IpAddr> = targets.iter().map(|target| target.at.ip()).collect();
            step::metrics::forget(&addresses)?;
        }
        let addresses = targets.iter().map(|target| target.at.ip()).collect();
        self.scheduler.handle_wave(addresses, configurations.clone());
        loop {
            if !keep_going() {
                self.scheduler.handle_stop();
                self.abandon();
            }
            let wait = loop {
                match self.scheduler.poll(self.epoch.elapsed()) {
                    Next::Apply(in_turn) => {
                        self.apply(in_turn, &configurations, &mut wave.asked)?;
                        self.scheduler.handle_applied();
                    }
                    Next::Start(job) if withdrawn(&targets[job.target]) => {
                        self.scheduler.handle_withdrawn();
                        wave.asked.withdrawn.insert(job.target);
                    }
                    Next::Start(job) => {
                        let ended = self.start(job, &mut wave);
                        self.scheduler.handle_started(self.epoch.elapsed());
                        if let Some(ended) = ended {
                            self.end(job, ended, &mut wave);
                        }
                    }
                    Next::Wait(until) => break until,
                    Next::WaveDone => {
                        clocks::read(&mut self.clock, self.epoch);
                        wave.asked.clock_step = self.clock.poll_stepped();
                        self.end_turns(&mut wave.asked)?;
                        return Ok(wave.asked);
                    }
                }
            };
            let wait = wait.map(|until| until.saturating_sub(self.epoch.elapsed()));
            self.turn(wait.unwrap_or(IDLE_POLL).min(IDLE_POLL), &mut wave)?;
        }
    }

    /// Counts an attempt that ended before it was started.
    pub fn handle_unasked(&self, state: State) {
        self.progress.started.fetch_add(1, Relaxed);
        self.progress.count(state);
        if state == State::Skipped {
            self.progress.skipped_by_probe.fetch_add(1, Relaxed);
        }
    }

    /// Waits for events at most this long, then handles them and timeouts.
    fn turn(&mut self, mut wait: Duration, wave: &mut Wave<'_>) -> Result<()> {
        let now = Instant::now();
        for first in self.deadlines.iter().filter_map(VecDeque::front) {
            wait = wait.min(first.at.saturating_duration_since(now));
        }
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(why) if why.kind() != io::ErrorKind::Interrupted => {
                return Err(why).doing(|| "wait for events");
            }
            _ => {}
        }
        panic_point("engine");
        let now = self.take_time();
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let mut buffer = std::mem::take(&mut self.buffer);
        for event in &events {
            let token = event.token().0;
            if matches!(token, EAR_V4 | EAR_V6) {
                self.hear(token == EAR_V6, &mut buffer, wave);
                continue;
            }
            if let Some((slot, connection)) = self.connections.of_token(token)
                && let Some(ending) = connection.ready(Ready::of(event), &mut buffer)
            {
                self.close(slot, ending, wave);
            }
        }
        self.buffer = buffer;
        self.events = events;
        self.closer.pass_on();
        for configuration in 0..self.deadlines.len() {
            while let Some(first) = self.deadlines[configuration].pop_front_if(|d| d.at <= now) {
                if let Some(connection) = self.connections.of_place(first.place) {
                    let ending = connection.time_out(&mut self.buffer);
                    self.close(first.place.slot, ending, wave);
                }
            }
        }
        Ok(())
    }

    /// Starts an attempt; returns it if it ends at once.
    fn start(&mut self, job: Job, wave: &mut Wave<'_>) -> Option<Ended> {
        self.progress.started.fetch_add(1, Relaxed);
        let started = clocks::now();
        let target = &wave.targets[job.target];
        if let Some(why) = self.ways[job.configuration].skips(target.at) {
            return Some(ended(
                target.at,
                started,
                None,
                Ending::new(State::Skipped, Stage::Connect, Some(why)),
            ));
        }
        let settings = self.settings.clone();
        let configuration = &settings.configurations[job.configuration];
        let peer = Peer {
            address: target.at.ip(),
            port: target.at.port(),
            name: target.name.as_deref(),
            random: rand::random(),
        };
        let place = self.connections.reserve();
        // The record is about the last repetition.
        let is_last = wave.left[job.configuration][job.target] == 1;
        let wanted = target.wanted.get(job.configuration).copied().flatten();
        let wanted = wanted.filter(|_| is_last);
        let begun = match self.ways[job.configuration].packet.clone() {
            Some(packet) => self.forge(packet, peer, target.at, job, place.slot, wanted),
            None => {
                let (kind, options) = (configuration.kind, &configuration.options);
                let mut machine = Guarded::new(|| (self.start)(kind, options, peer));
                let mut early = Vec::new();
                if self.ways[job.configuration].early {
                    machine.early(&mut early);
                }
                if let Some(ending) = machine.broken() {
                    self.connections.release(place);
                    return Some(ended(target.at, started, None, ending));
                }
                self.connect(target.at, job, &early, wanted).map(|(opened, port)| Begun {
                    opened,
                    port,
                    machine,
                    out: early,
                })
            }
        };
        let begun = begun.and_then(|begun| match begun.opened.0.hears {
            true => {
                let watched = self.watch(begun.opened.0.fd(), place.token());
                watched.map(|()| begun).map_err(|why| (why, None))
            }
            false => Ok(begun),
        });
        let Begun { opened, port, machine, out } = match begun {
            Ok(begun) => begun,
            Err((why, port)) => {
                self.connections.release(place);
                return Some(ended(
                    target.at,
                    started,
                    port,
                    Ending::failed(at_once(&why), Stage::Connect),
                ));
            }
        };
        log::debug!("{} from port {port}, configuration {}", target.at, job.configuration);
        let at = Instant::now() + configuration.timeout;
        self.deadlines[job.configuration].push_back(Deadline { at, place });
        let when = (started, port);
        let by_hand = !opened.0.hears;
        let connection = Connection::new(opened, machine, out, job, when);
        let connection = self.connections.put(place, connection);
        // No socket reports that it is ready.
        if by_hand && let Some(ending) = connection.ready(Ready::UNKNOWN, &mut []) {
            self.connections.take(place.slot);
            self.raw.forget(port, target.at);
            return Some(ended(target.at, started, Some(port), ending));
        }
        None
    }

    /// Makes the event loop watch a descriptor.
    fn watch(&self, fd: RawFd, token: usize) -> io::Result<()> {
        self.poll.registry().register(&mut SourceFd(&fd), Token(token), Ready::INTEREST)
    }

    /// The properties of an attempt's socket.
    fn opening<'e>(
        &'e self,
        address: SocketAddr,
        configuration: usize,
        early: &'e [u8],
    ) -> Opening<'e> {
        let way = &self.ways[configuration];
        Opening {
            transport: way.transport,
            address,
            device: self.settings.bind_device.as_deref(),
            mark: way.mark,
            options: &way.options,
            early: way.early.then_some(early),
        }
    }

    /// A channel whose SYN is sent, from the next usable port, and how much of the early data went with it.
    fn connect(
        &mut self,
        address: SocketAddr,
        Job { target, configuration }: Job,
        early: &[u8],
        wanted: Option<u16>,
    ) -> Result<((Channel, usize), u16), Unsent> {
        let mut deal = self.deal.take();
        let opening = self.opening(address, configuration, early);
        let opened = from_some_port(
            |tried| deal.as_mut()?.draw((target, configuration), wanted, tried),
            |port| opening.claim(&self.owners, self.ways[configuration].protocol, port),
        );
        self.deal = deal;
        opened
    }

    /// Removes a connection that has ended.
    fn close(&mut self, slot: usize, ending: Ending, wave: &mut Wave<'_>) {
        let Some(connection) = self.connections.take(slot) else { return };
        let Connection { job, started, port, .. } = connection;
        let target = wave.targets[job.target].at;
        let ended = connection.complete(ended(target, started, Some(port), ending));
        if !connection.channel.hears {
            self.raw.forget(port, target);
            let (channel, packet) = connection.into_last();
            self.closer.take(channel, packet);
        } else if self.closes_later && connection.is_over() {
            self.closer.take(connection.channel, Vec::new());
        }
        self.end(job, ended, wave);
    }

    fn end(&mut self, job: Job, ended: Ended, wave: &mut Wave<'_>) {
        let attempt = &ended.attempt;
        log::debug!(
            "from port {:?}: {} {}",
            attempt.source_port,
            attempt.state.as_str(),
            attempt.error.as_deref().unwrap_or("").escape_debug()
        );
        self.progress.count(attempt.state);
        if attempt.is_internal_error() {
            self.progress.internal_error.fetch_add(1, Relaxed);
        }
        let left = &mut wave.left[job.configuration][job.target];
        *left -= 1;
        match *left {
            0 => {
                self.scheduler.handle_ended();
                wave.asked.attempts[job.configuration][job.target] = Some(ended);
            }
            _ => {
                self.scheduler.handle_repeat(job);
                wave.asked.repeated.extend(attempt.source_port);
            }
        }
    }

    /// Closes all connections in flight; those attempts are discarded.
    fn abandon(&mut self) {
        (0..self.connections.clear()).for_each(|_| self.scheduler.handle_ended());
        self.raw.forget_all();
        self.deadlines.iter_mut().for_each(VecDeque::clear);
    }
}

#[cfg(test)]
mod tests;
