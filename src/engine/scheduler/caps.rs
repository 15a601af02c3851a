//! Caps for each address and each prefix: how soon a target may be probed, and the attempts that are deferred until then.
//!
//! Starts in a prefix are kept a cap's share of a second apart, so that no second, wherever it begins, has more than the
//! cap. A deferred attempt waits in a queue of its prefix (or address) and delays no other. Only the starts of the last
//! second and the deferred attempts are remembered.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::job::Job;

/// The most connections started in any one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// To an address; no limit if `None`.
    pub per_address: Option<u32>,
    /// To all addresses of a prefix together; no limit if `None`.
    pub per_prefix: Option<u32>,
    /// The length of a prefix, for IPv4 and for IPv6.
    pub lengths: (u8, u8),
}

impl Default for Caps {
    /// No caps, and the usual prefixes.
    fn default() -> Self {
        Self { per_address: None, per_prefix: None, lengths: (24, 56) }
    }
}

impl Caps {
    /// The prefix of an address, as the first address in it.
    pub fn prefix(&self, address: IpAddr) -> IpAddr {
        let length = if address.is_ipv4() { self.lengths.0 } else { self.lengths.1 };
        IpNet::new(address, length).map_or(address, |net| net.network())
    }

    /// The smallest interval between two starts: to an address, and to a prefix.
    pub fn gaps(&self) -> [Option<Duration>; 2] {
        // Rounded up: a gap that is too short by a part of a nanosecond would allow one start too many in a second.
        let gap = |cap: u32| Duration::from_nanos(1_000_000_000_u64.div_ceil(cap.max(1).into()));
        [self.per_address.map(gap), self.per_prefix.map(gap)]
    }
}

/// What a cap applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Address(IpAddr),
    Prefix(IpAddr),
}

/// Recent starts, and deferred attempts.
#[derive(Debug)]
pub(super) struct Neighbours {
    caps: Caps,
    /// When each may be probed again; keys that may be probed now can be missing.
    free: HashMap<Key, Duration, RandomState>,
    /// The number of entries at which stale ones are swept.
    sweep_at: usize,
    /// Deferred attempts, the oldest first.
    deferred: HashMap<Key, VecDeque<Job>, RandomState>,
    /// When to poll each queue of `deferred`; each has one entry.
    due: BinaryHeap<Reverse<(Duration, Key)>>,
}

const SWEEP: usize = 1024;

impl Neighbours {
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            free: HashMap::default(),
            sweep_at: SWEEP,
            deferred: HashMap::default(),
            due: BinaryHeap::new(),
        }
    }

    fn keys(&self, address: IpAddr) -> impl Iterator<Item = (Key, Duration)> + use<> {
        let prefix = Key::Prefix(self.caps.prefix(address));
        let keys = [Key::Address(address), prefix].into_iter().zip(self.caps.gaps());
        keys.filter_map(|(key, gap)| Some((key, gap?)))
    }

    /// Which cap forbids a start to an address now, and until when; the latest of several.
    fn blocked(&self, address: IpAddr, now: Duration) -> Option<(Duration, Key)> {
        let free = |(key, _)| self.free.get(&key).map(|free| (*free, key));
        self.keys(address).filter_map(free).filter(|(free, _)| *free > now).max()
    }

    /// Returns the job if it may start now, otherwise defers it.
    pub fn admit(&mut self, job: Job, address: IpAddr, now: Duration) -> Option<Job> {
        let Some((until, key)) = self.blocked(address, now) else { return Some(job) };
        self.defer(job, until, key);
        None
    }

    fn defer(&mut self, job: Job, until: Duration, key: Key) {
        let queue = self.deferred.entry(key).or_default();
        queue.push_back(job);
        if queue.len() == 1 {
            self.due.push(Reverse((until, key)));
        }
    }

    /// A deferred job that may start now.
    pub fn poll(&mut self, now: Duration, address: impl Fn(Job) -> IpAddr) -> Option<Job> {
        while let Some(Reverse((at, key))) =
            self.due.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            self.due.pop();
            let Some(queue) = self.deferred.get(&key) else { continue };
            let Some(job) = queue.front().copied() else { continue };
            let blocked = self.blocked(address(job), now);
            match blocked {
                // The job before it in the queue has started in the meantime.
                Some((until, by)) if by == key => {
                    self.due.push(Reverse((until, key)));
                    continue;
                }
                _ => self.take(key, at),
            }
            match blocked {
                Some((until, by)) => self.defer(job, until, by),
                None => return Some(job),
            }
        }
        None
    }

    /// Takes the first job out of a queue; the rest is polled when its turn comes.
    fn take(&mut self, key: Key, at: Duration) {
        let Some(queue) = self.deferred.get_mut(&key) else { return };
        queue.pop_front();
        match queue.is_empty() {
            true => drop(self.deferred.remove(&key)),
            false => self.due.push(Reverse((at, key))),
        }
    }

    /// When to poll again for deferred jobs; `None` if there are none.
    pub fn due(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// An attempt to an address has started.
    pub fn handle_started(&mut self, address: IpAddr, now: Duration) {
        for (key, gap) in self.keys(address) {
            self.free.insert(key, now + gap);
        }
        if self.free.len() >= self.sweep_at {
            self.free.retain(|_, free| *free > now);
            self.sweep_at = SWEEP.max(2 * self.free.len());
        }
    }

    /// The number of remembered starts.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.free.len()
    }

    /// Drops the deferred jobs.
    pub fn clear(&mut self) {
        self.deferred.clear();
        self.due.clear();
    }
}
