//! The driver: one mio event loop that does what the scheduler says.
//!
//! It owns the sockets, the clock and the steps in force; a connection's own course is up to its
//! kind's state machine in [`connect`](crate::connect).

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::ops::RangeInclusive;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use super::ports::{Draw, Ports};
use super::scheduler::{Limits, Next, Scheduler};
use crate::connect::tcp::{Action, Event, Fault, Tcp};
use crate::connect::{Attempt, State};
use crate::error::{Doing as _, Error, Result};
use crate::field::Timestamp;
use crate::step::sockopt::{Family, Sockopt};
use crate::step::{Applied, Context, Flows, Step, mark, needs_mark};

/// How often a quiet loop looks whether it should stop.
const LOOK_UP: Duration = Duration::from_millis(100);

/// What the engine needs to know of a measurement and its run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The steps of each configuration.
    pub configurations: Vec<Vec<Step>>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// Limits on what is sent.
    pub limits: Limits,
    /// Send through this interface, whatever the routing table prefers.
    pub bind_device: Option<String>,
}

/// How far the run is, readable from other threads.
#[derive(Debug, Default)]
pub struct Progress {
    /// Attempts started.
    pub started: AtomicU64,
    /// Attempts that ended `ok`.
    pub ok: AtomicU64,
    /// Attempts that ended `failed`.
    pub failed: AtomicU64,
    /// Attempts that ended `timeout`.
    pub timeout: AtomicU64,
    /// Attempts that ended `local_error`.
    pub local_error: AtomicU64,
}

impl Progress {
    /// Attempts that ended, however they did.
    pub fn ended(&self) -> u64 {
        [&self.ok, &self.failed, &self.timeout, &self.local_error]
            .iter()
            .map(|count| count.load(Relaxed))
            .sum()
    }
}

/// The attempts of one wave: by configuration, then by target. `None` where a stop came first.
pub type Attempts = Vec<Vec<Option<Attempt>>>;

/// The engine of one run.
pub struct Engine<'a> {
    settings: Settings,
    /// The socket options of each configuration.
    options: Vec<Vec<Sockopt>>,
    progress: &'a Progress,
    ports: Ports,
    poll: Poll,
    events: Events,
    scheduler: Scheduler,
    epoch: Instant,
    wave: u64,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Slots freed while events are handled: a late event must not meet their next owner.
    freed: Vec<usize>,
    deadlines: VecDeque<Deadline>,
    generation: u64,
    buffer: Box<[u8]>,
}

struct Connection {
    socket: Socket,
    machine: Tcp,
    target: usize,
    configuration: usize,
    generation: u64,
    started: Timestamp,
    port: u16,
}

/// All attempts have the same timeout, so they time out in the order of their start.
struct Deadline {
    at: Instant,
    slot: usize,
    generation: u64,
}

impl<'a> Engine<'a> {
    /// Prepares the loop. Fails if the limits cannot be kept on this host.
    pub fn new(settings: Settings, progress: &'a Progress) -> Result<Self> {
        allow_descriptors(settings.limits.concurrency)?;
        let poll = Poll::new().doing(|| "create the event loop")?;
        let scheduler = Scheduler::new(settings.limits, settings.configurations.len());
        Ok(Self {
            ports: Ports::new(settings.configurations.len()),
            options: settings.configurations.iter().map(|steps| options(steps)).collect(),
            settings,
            progress,
            poll,
            events: Events::with_capacity(1024),
            scheduler,
            epoch: Instant::now(),
            wave: 0,
            connections: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            deadlines: VecDeque::new(),
            generation: 0,
            buffer: vec![0; 16 << 10].into_boxed_slice(),
        })
    }

    /// The most targets that a wave may have.
    pub fn largest_wave(&self) -> usize {
        self.ports.largest_wave()
    }

    /// The source ports of the wave that comes next, by configuration.
    pub fn next_ports(&self) -> Vec<RangeInclusive<u16>> {
        let configurations = 0..self.settings.configurations.len();
        configurations.map(|configuration| self.ports.range(configuration, self.wave)).collect()
    }

    /// Asks every target of a wave under every configuration in turn, until done or until
    /// `keep_going` says no. Whatever happens, the steps are undone.
    pub fn run_wave(
        &mut self,
        targets: &[SocketAddr],
        keep_going: impl Fn() -> bool,
    ) -> Result<Attempts> {
        debug_assert!(targets.len() <= self.largest_wave());
        let draw = |configuration| self.ports.draw(configuration, self.wave);
        let mut ports: Vec<Draw> = (0..self.settings.configurations.len()).map(draw).collect();
        self.wave += 1;
        let mut attempts: Attempts = vec![vec![None; targets.len()]; ports.len()];
        let mut in_force = Applied::default();
        self.scheduler.handle_wave(targets.len());
        loop {
            if !keep_going() {
                self.scheduler.handle_stop();
                self.abandon();
            }
            let wait = loop {
                match self.scheduler.poll(self.epoch.elapsed()) {
                    Next::Apply(configuration) => {
                        std::mem::take(&mut in_force).undo()?;
                        log::info!("wave {}: configuration {configuration}", self.wave);
                        in_force = self.apply(configuration)?;
                        self.scheduler.handle_applied();
                    }
                    Next::Start(target) => {
                        let configuration = self.scheduler.configuration();
                        let ended = self.start(
                            target,
                            targets[target],
                            configuration,
                            &mut ports[configuration],
                        );
                        self.scheduler.handle_started(self.epoch.elapsed());
                        if let Some(attempt) = ended {
                            self.end(&mut attempts[configuration][target], attempt);
                        }
                    }
                    Next::Wait(until) => break until,
                    Next::WaveDone => return in_force.undo().map(|()| attempts),
                }
            };
            let wait = wait.map(|until| until.saturating_sub(self.epoch.elapsed()));
            self.turn(wait.unwrap_or(LOOK_UP).min(LOOK_UP), &mut attempts)?;
        }
    }

    /// Puts the steps of a configuration in force.
    fn apply(&self, configuration: usize) -> Result<Applied> {
        let steps = &self.settings.configurations[configuration];
        let [even, odd] = [0, 1].map(|wave| self.ports.range(configuration, wave));
        let flows = Flows { mark: mark(configuration), ports: *even.start()..=*odd.end() };
        let interface = self.settings.bind_device.clone();
        Applied::apply(&[(steps, &flows)], &Context { interface, allow_commands: false })
    }

    /// Waits for events at most this long and handles them and what has timed out.
    fn turn(&mut self, mut wait: Duration, attempts: &mut Attempts) -> Result<()> {
        if let Some(first) = self.deadlines.front() {
            wait = wait.min(first.at.saturating_duration_since(Instant::now()));
        }
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(why) if why.kind() != io::ErrorKind::Interrupted => {
                return Err(why).doing(|| "wait for events");
            }
            _ => {}
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.handle(event.token().0, event.is_writable() || event.is_error(), attempts);
        }
        self.events = events;
        self.free.append(&mut self.freed);
        let now = Instant::now();
        while let Some(first) = self.deadlines.front().filter(|first| first.at <= now) {
            let (slot, generation) = (first.slot, first.generation);
            self.deadlines.pop_front();
            if self.connections[slot].as_ref().is_some_and(|c| c.generation == generation) {
                self.step(slot, Event::TimedOut, attempts);
            }
        }
        Ok(())
    }

    /// Starts an attempt; gives it back if it is over at once.
    fn start(
        &mut self,
        target: usize,
        address: SocketAddr,
        configuration: usize,
        ports: &mut Draw,
    ) -> Option<Attempt> {
        self.progress.started.fetch_add(1, Relaxed);
        let started = now();
        let (socket, port) = match self.connect(address, configuration, ports) {
            Ok(connected) => connected,
            Err((why, port)) => {
                let fault = at_once(&why);
                let state = if fault.local { State::LocalError } else { State::Failed };
                return Some(attempt(started, port, state, Some(fault.word)));
            }
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        let fd = socket.as_raw_fd();
        if let Err(why) = self.poll.registry().register(&mut SourceFd(&fd), Token(slot), interest) {
            self.free.push(slot);
            return Some(attempt(started, Some(port), State::LocalError, Some(fault(&why).word)));
        }
        log::debug!("{address} from port {port}, configuration {configuration}");
        self.generation += 1;
        let generation = self.generation;
        self.deadlines.push_back(Deadline {
            at: Instant::now() + self.settings.timeout,
            slot,
            generation,
        });
        let machine = Tcp::default();
        self.connections[slot] =
            Some(Connection { socket, machine, target, configuration, generation, started, port });
        None
    }

    /// A socket whose SYN is sent, from the next port that can be had.
    fn connect(
        &self,
        address: SocketAddr,
        configuration: usize,
        ports: &mut Draw,
    ) -> Result<(Socket, u16), (io::Error, Option<u16>)> {
        loop {
            let Some(port) = ports.next() else { return Err((Errno::EADDRNOTAVAIL.into(), None)) };
            match self.connect_from(port, address, configuration) {
                // Another program listens there, or the kernel still remembers a connection to this very
                // target: the next port will do.
                Err(why) if matches!(errno(&why), Errno::EADDRINUSE | Errno::EADDRNOTAVAIL) => {}
                Err(why) => return Err((why, Some(port))),
                Ok(socket) => return Ok((socket, port)),
            }
        }
    }

    fn connect_from(
        &self,
        port: u16,
        address: SocketAddr,
        configuration: usize,
    ) -> io::Result<Socket> {
        let kind = Type::STREAM.nonblocking();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        // Ports are shared: the other end makes the difference.
        socket.set_reuse_address(true)?;
        if let Some(device) = &self.settings.bind_device {
            socket.bind_device(Some(device.as_bytes()))?;
        }
        let source: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
        for option in &self.options[configuration] {
            option.set(socket.as_fd(), family)?;
        }
        if needs_mark(&self.settings.configurations[configuration]) {
            socket.set_mark(mark(configuration))?;
        }
        socket.bind(&SocketAddr::new(source, port).into())?;
        match socket.connect(&address.into()) {
            Err(why) if errno(&why) != Errno::EINPROGRESS => Err(why),
            // A connection made on the spot is writable, which the loop is told like any other.
            _ => Ok(socket),
        }
    }

    /// Handles what happened on a socket.
    fn handle(&mut self, slot: usize, writable: bool, attempts: &mut Attempts) {
        let Some(Some(connection)) = self.connections.get(slot) else { return };
        if connection.machine == Tcp::Connecting && writable {
            let event = match connection.socket.take_error() {
                Ok(None) => Event::Connected,
                Ok(Some(why)) | Err(why) => Event::Failed(fault(&why)),
            };
            self.step(slot, event, attempts);
        }
        while let Some(Some(connection)) = self.connections.get(slot) {
            if connection.machine == Tcp::Connecting {
                return;
            }
            let event = match (&connection.socket).read(&mut self.buffer) {
                Ok(0) => Event::PeerClosed,
                Ok(bytes) => Event::Data(bytes),
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => return,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => Event::Failed(fault(&why)),
            };
            self.step(slot, event, attempts);
        }
    }

    /// Feeds one event to a connection's state machine and does what it says.
    fn step(&mut self, slot: usize, event: Event, attempts: &mut Attempts) {
        let Some(connection) = &mut self.connections[slot] else { return };
        match connection.machine.handle(event) {
            Action::Wait => {}
            Action::HalfClose => {
                // Fails only if the peer has reset meanwhile, which reading will tell.
                let _ = connection.socket.shutdown(Shutdown::Write);
            }
            Action::Close(state, error) => {
                let Some(connection) = self.connections[slot].take() else { return };
                self.freed.push(slot);
                let Connection { target, configuration, started, port, .. } = connection;
                let ended = attempt(started, Some(port), state, error);
                self.end(&mut attempts[configuration][target], ended);
            }
        }
    }

    fn end(&mut self, place: &mut Option<Attempt>, attempt: Attempt) {
        self.scheduler.handle_ended();
        log::debug!(
            "from port {:?}: {} {}",
            attempt.source_port,
            attempt.state.as_str(),
            attempt.error.unwrap_or("")
        );
        let count = match attempt.state {
            State::Ok => &self.progress.ok,
            State::Failed => &self.progress.failed,
            State::Timeout => &self.progress.timeout,
            State::LocalError => &self.progress.local_error,
        };
        count.fetch_add(1, Relaxed);
        *place = Some(attempt);
    }

    /// Closes what is under way; those attempts did not happen.
    fn abandon(&mut self) {
        for (slot, connection) in self.connections.iter_mut().enumerate() {
            if connection.take().is_some() {
                self.free.push(slot);
                self.scheduler.handle_ended();
            }
        }
        self.deadlines.clear();
    }
}

fn options(steps: &[Step]) -> Vec<Sockopt> {
    let options = steps.iter().filter_map(|step| match step {
        Step::Sockopt(option) => Some(option.clone()),
        _ => None,
    });
    options.collect()
}

fn attempt(
    started: Timestamp,
    port: Option<u16>,
    state: State,
    error: Option<&'static str>,
) -> Attempt {
    Attempt {
        ok: (state != State::LocalError).then_some(state == State::Ok),
        state,
        error,
        started,
        ended: now(),
        source_port: port,
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

fn errno(why: &io::Error) -> Errno {
    Errno::from_raw(why.raw_os_error().unwrap_or(0))
}

/// An error that came back from the network, or later than the call that sent the SYN.
fn fault(why: &io::Error) -> Fault {
    let errno = errno(why);
    use Errno::*;
    let local = matches!(
        errno,
        EADDRINUSE
            | EADDRNOTAVAIL
            | EMFILE
            | ENFILE
            | ENOBUFS
            | ENOMEM
            | ENETDOWN
            | ENODEV
            | EBADF
            | EINVAL
    );
    Fault { word: errno.desc(), local }
}

/// An error of the very call that should have sent the SYN: no packet of the path's can have
/// caused it, but for a reset that came back on the spot.
fn at_once(why: &io::Error) -> Fault {
    let errno = errno(why);
    let answered = matches!(errno, Errno::ECONNREFUSED | Errno::ECONNRESET);
    Fault { word: errno.desc(), local: !answered }
}

/// Sees to it that so many sockets can be open at once.
fn allow_descriptors(concurrency: usize) -> Result<()> {
    // The capture, the files of the run, the event loop and what libraries hold.
    const OTHERS: u64 = 64;
    let needed = u64::try_from(concurrency).unwrap_or(u64::MAX).saturating_add(OTHERS);
    let limits = getrlimit(Resource::RLIMIT_NOFILE).doing(|| "read the limit of open files")?;
    let (soft, hard) = limits;
    if soft >= needed {
        return Ok(());
    }
    if hard < needed {
        return Err(Error::Usage(format!(
            "--concurrency {concurrency} needs {needed} open files, the limit is {hard}: lower it, or raise the limit (ulimit -Hn)"
        )));
    }
    setrlimit(Resource::RLIMIT_NOFILE, needed, hard).doing(|| "raise the limit of open files")
}
