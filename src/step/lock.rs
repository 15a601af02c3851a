//! The lock: which runs are active in this network namespace.
//!
//! A run holds a [`Slot`] by a socket whose name is unique in the network namespace (an abstract Unix socket). So the lock
//! belongs to the namespace, whatever the user, the container or the state folder, and the kernel releases it with the
//! process, also after `kill -9`. Each slot has three names:
//!
//! * `pathspider/SLOT`: the lock itself.
//! * `pathspider/SLOT/is/PID/STARTED/SINCE/MEASUREMENT`: the holder, which any user can read in `/proc/net/unix`.
//! * `pathspider/SLOT/busy/PID/STARTED`: inherited by every program that the run starts, so that it is known whether one
//!   still works after the run itself was killed (`wait_for_programs`).

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen,
    socket, sockopt,
};
use serde::{Deserialize, Serialize};

use super::slot::Slot;
use crate::error::{Doing as _, Error, ErrorKind, Result};

/// A socket name has at most 107 bytes; this is the share of the measurement's name.
const LONGEST: usize = 48;

/// A run, as other processes see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Its process.
    pub pid: u32,
    /// When that process began, in clock ticks since boot: distinguishes it from later processes with the same id.
    pub started: u64,
    /// When it took the lock, in seconds since 1970.
    pub since: u64,
    /// The measurement's name.
    pub measurement: String,
}

impl Run {
    /// This process, beginning a run now.
    pub fn this(measurement: &str) -> Result<Self> {
        let stat = fs::read_to_string("/proc/self/stat").doing(|| "read /proc/self/stat")?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Ok(Self {
            pid: std::process::id(),
            started: started(&stat).unwrap_or_default(),
            since,
            measurement: measurement.to_owned(),
        })
    }

    /// [`since`](Run::since) as people write it: `2026-11-22T18:30:00Z`.
    pub fn since_utc(&self) -> String {
        let seconds = i64::try_from(self.since).unwrap_or_default();
        arrow_array::temporal_conversions::timestamp_s_to_datetime(seconds)
            .map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    /// The nftables chain that identifies it.
    pub(super) fn chain(&self) -> String {
        format!("run_{}_{}", self.pid, self.started)
    }

    fn is_name(&self, slot: Slot) -> String {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let name: String = self.measurement.chars().filter(|c| plain(*c)).take(LONGEST).collect();
        let Self { pid, started, since, .. } = self;
        format!("pathspider/{slot}/is/{pid}/{started}/{since}/{name}")
    }

    fn busy_name(&self, slot: Slot) -> String {
        format!("pathspider/{slot}/busy/{}/{}", self.pid, self.started)
    }
}

/// The 22nd word of `/proc/PID/stat`; the second, a name in brackets, may contain anything.
fn started(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Slots that this process holds until this is dropped.
#[derive(Debug)]
pub struct Lock {
    slots: Vec<Slot>,
    sockets: Vec<OwnedFd>,
}

impl Lock {
    /// Takes what a run needs: every slot if it changes the whole namespace, otherwise the first free one.
    ///
    /// # Errors
    /// If another run holds it; the text names that run.
    pub fn take(run: &Run, alone: bool) -> Result<Self> {
        let mut lock = Lock { slots: Vec::new(), sockets: Vec::new() };
        let mut refused = None;
        for slot in Slot::all() {
            match (lock.add(run, slot)?, alone) {
                (true, false) => return Ok(lock),
                (true, true) => {}
                (false, true) => return Err(refusal(slot, alone)),
                (false, false) => refused = Some(slot),
            }
        }
        match refused {
            None => Ok(lock),
            Some(_) => Err(refusal(Slot::default(), alone)),
        }
    }

    /// Takes one slot; `None` if a run holds it.
    pub fn slot(run: &Run, slot: Slot) -> Result<Option<Self>> {
        let mut lock = Lock { slots: Vec::new(), sockets: Vec::new() };
        Ok(lock.add(run, slot)?.then_some(lock))
    }

    /// The first slot that it holds: that of the run.
    pub fn first(&self) -> Slot {
        self.slots.first().copied().unwrap_or_default()
    }

    /// Whether it holds a slot.
    pub fn holds(&self, slot: Slot) -> bool {
        self.slots.contains(&slot)
    }

    fn add(&mut self, run: &Run, slot: Slot) -> Result<bool> {
        let doing = || format!("lock slot {slot} of this network namespace");
        let lock = match named(&format!("pathspider/{slot}"), SockFlag::SOCK_CLOEXEC) {
            Err(Errno::EADDRINUSE) => return Ok(false),
            other => other.doing(doing)?,
        };
        let is = named(&run.is_name(slot), SockFlag::SOCK_CLOEXEC).doing(doing)?;
        // Not closed by exec: programs that the run starts inherit it.
        let busy = named(&run.busy_name(slot), SockFlag::empty()).doing(doing)?;
        self.slots.push(slot);
        self.sockets.extend([lock, is, busy]);
        Ok(true)
    }
}

/// A socket with a name in this network namespace.
fn named(name: &str, flags: SockFlag) -> nix::Result<OwnedFd> {
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    bind(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
    listen(&socket, Backlog::new(128)?)?;
    Ok(socket)
}

/// A connection to a name; `None` if no process has it.
fn connected(name: &str) -> Option<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None).ok()?;
    let address = UnixAddr::new_abstract(name.as_bytes()).ok()?;
    connect(socket.as_raw_fd(), &address).ok().map(|()| socket)
}

/// The run that holds a slot, if one does and has published its name.
pub fn holder(slot: Slot) -> Option<Run> {
    let sockets = fs::read_to_string("/proc/thread-self/net/unix").ok()?;
    let before = format!("@pathspider/{slot}/is/");
    let name = sockets.lines().find_map(|line| line.split_once(&before))?.1;
    let words: Vec<&str> = name.splitn(4, '/').collect();
    let [pid, started, since, measurement] = words[..] else { return None };
    Some(Run {
        pid: pid.parse().ok()?,
        started: started.parse().ok()?,
        since: since.parse().ok()?,
        measurement: measurement.trim_end().to_owned(),
    })
}

/// Why a run cannot begin.
fn refusal(slot: Slot, alone: bool) -> Error {
    let holder = match holder(slot) {
        Some(run) => format!(
            "a run of `{}` is active in this network namespace: process {}, since {}",
            run.measurement,
            run.pid,
            run.since_utc()
        ),
        None => {
            let pid = connected(&format!("pathspider/{slot}"))
                .and_then(|socket| getsockopt(&socket, sockopt::PeerCredentials).ok())
                .map(|peer| format!(": process {}", peer.pid()));
            format!(
                "another program holds the lock of this network namespace{}",
                pid.unwrap_or_default()
            )
        }
    };
    let why = match alone {
        true => "this measurement changes the whole namespace, so no other run may be active",
        false => "it changes the whole namespace, or active runs use all source ports",
    };
    Error::stopped(ErrorKind::Busy, format!("{holder}; {why}; wait until it ends"))
}

/// Makes others wait for programs that this process starts as for those of a killed run; `None` if some of that run's own
/// are still working.
pub(super) fn stand_in(run: &Run, slot: Slot) -> Option<OwnedFd> {
    named(&run.busy_name(slot), SockFlag::empty()).ok()
}

/// Waits, for a bounded time, until all programs that a killed run has started have ended; returns whether they have.
pub(super) fn wait_for_programs(run: &Run, slot: Slot, most: Duration) -> io::Result<bool> {
    let Some(socket) = connected(&run.busy_name(slot)) else { return Ok(true) };
    log::info!("waiting for a program of the killed run {} to end", run.pid);
    let until = std::time::Instant::now() + most;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let wait = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        // No one ever answers; but the kernel reports when the last process with the name is gone.
        let mut ready = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, wait) {
            Ok(1..) => return Ok(true),
            Ok(_) if left.is_zero() => return Ok(false),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(why) => return Err(why.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_identified_by_its_start() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 2 3";
        assert_eq!(started(stat), Some(4711));
        assert!(Run::this("ecn").unwrap().started > 0);
    }

    #[test]
    fn a_socket_name_fits_whatever_the_measurement_is_called() {
        let run = Run {
            pid: u32::MAX,
            started: 1 << 40,
            since: 1 << 34,
            measurement: "a/ b\n".repeat(100),
        };
        let name = run.is_name(Slot::all().last().unwrap());
        assert!(name.len() <= 107 && !name.contains(char::is_whitespace), "{name}");
    }

    #[test]
    fn programs_of_a_killed_run_are_waited_for() {
        let run = Run { pid: 1, started: u64::MAX, since: 0, measurement: "x".into() };
        let slot = Slot::default();
        assert!(wait_for_programs(&run, slot, Duration::ZERO).unwrap());
        let busy = named(&run.busy_name(slot), SockFlag::SOCK_CLOEXEC).unwrap();
        assert!(!wait_for_programs(&run, slot, Duration::from_millis(20)).unwrap());
        std::thread::scope(|scope| {
            let waits =
                scope.spawn(|| wait_for_programs(&run, slot, Duration::from_secs(60)).unwrap());
            drop(busy);
            assert!(waits.join().unwrap());
        });
    }
}
