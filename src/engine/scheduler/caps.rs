//! Caps for each address and each prefix: how soon a target may be asked, and what is put off until then.
//!
//! Starts in a prefix are kept a cap's share of a second apart, so that no second, wherever it begins, has more than the
//! cap. What is put off waits in a queue of its prefix (or address) and holds nobody else up. What is remembered are the
//! starts of the last second and what is put off, no more.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::Job;

/// Connections started in any one second to one neighbour, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// To an address; no limit if `None`.
    pub per_address: Option<u32>,
    /// To all addresses of a prefix together; no limit if `None`.
    pub per_prefix: Option<u32>,
    /// How long a prefix is, of IPv4 and of IPv6.
    pub lengths: (u8, u8),
}

impl Default for Caps {
    /// None, and the prefixes that are usual.
    fn default() -> Self {
        Self { per_address: None, per_prefix: None, lengths: (24, 56) }
    }
}

impl Caps {
    /// The prefix that an address is in: its first address.
    pub fn prefix(&self, address: IpAddr) -> IpAddr {
        let length = if address.is_ipv4() { self.lengths.0 } else { self.lengths.1 };
        IpNet::new(address, length).map_or(address, |net| net.network())
    }

    /// How far apart two starts must be: to an address, and to a prefix.
    pub fn gaps(&self) -> [Option<Duration>; 2] {
        // Rounded up: a gap that is too short by a part of a nanosecond lets one too many into a second.
        let gap = |cap: u32| Duration::from_nanos(1_000_000_000_u64.div_ceil(cap.max(1).into()));
        [self.per_address.map(gap), self.per_prefix.map(gap)]
    }
}

/// Whose cap it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Key {
    Address(IpAddr),
    Prefix(IpAddr),
}

/// What was started lately, and what is put off.
#[derive(Debug)]
pub(super) struct Neighbours {
    caps: Caps,
    /// When each may be asked again; what may be asked now may be missing.
    free: HashMap<Key, Duration, RandomState>,
    /// With so many it is looked for those that may be forgotten.
    sweep_at: usize,
    /// What is put off, the oldest first.
    put_off: HashMap<Key, VecDeque<Job>, RandomState>,
    /// When to look at each queue of `put_off`; each has one entry.
    due: BinaryHeap<Reverse<(Duration, Key)>>,
}

const SWEEP: usize = 1024;

impl Neighbours {
    pub fn new(caps: Caps) -> Self {
        Self {
            caps,
            free: HashMap::default(),
            sweep_at: SWEEP,
            put_off: HashMap::default(),
            due: BinaryHeap::new(),
        }
    }

    fn keys(&self, address: IpAddr) -> impl Iterator<Item = (Key, Duration)> + use<> {
        let prefix = Key::Prefix(self.caps.prefix(address));
        let keys = [Key::Address(address), prefix].into_iter().zip(self.caps.gaps());
        keys.filter_map(|(key, gap)| Some((key, gap?)))
    }

    /// Whose cap says that an address must not be asked now, and until when; the latest of several.
    fn held(&self, address: IpAddr, now: Duration) -> Option<(Duration, Key)> {
        let free = |(key, _)| self.free.get(&key).map(|free| (*free, key));
        self.keys(address).filter_map(free).filter(|(free, _)| *free > now).max()
    }

    /// Gives the job back if it may start now, else keeps it for later.
    pub fn admit(&mut self, job: Job, address: IpAddr, now: Duration) -> Option<Job> {
        let Some((until, key)) = self.held(address, now) else { return Some(job) };
        self.keep(job, until, key);
        None
    }

    fn keep(&mut self, job: Job, until: Duration, key: Key) {
        let queue = self.put_off.entry(key).or_default();
        queue.push_back(job);
        if queue.len() == 1 {
            self.due.push(Reverse((until, key)));
        }
    }

    /// A job that was put off and may start now.
    pub fn poll(&mut self, now: Duration, address: impl Fn(Job) -> IpAddr) -> Option<Job> {
        while let Some(Reverse((at, key))) =
            self.due.peek().copied().filter(|Reverse((at, _))| *at <= now)
        {
            self.due.pop();
            let Some(queue) = self.put_off.get(&key) else { continue };
            let Some(job) = queue.front().copied() else { continue };
            let held = self.held(address(job), now);
            match held {
                // The one before it in the queue was started meanwhile.
                Some((until, by)) if by == key => {
                    self.due.push(Reverse((until, key)));
                    continue;
                }
                _ => self.take(key, at),
            }
            match held {
                Some((until, by)) => self.keep(job, until, by),
                None => return Some(job),
            }
        }
        None
    }

    /// Takes the first out of a queue; the rest is looked at when its turn comes.
    fn take(&mut self, key: Key, at: Duration) {
        let Some(queue) = self.put_off.get_mut(&key) else { return };
        queue.pop_front();
        match queue.is_empty() {
            true => drop(self.put_off.remove(&key)),
            false => self.due.push(Reverse((at, key))),
        }
    }

    /// When to look again for what is put off; `None` if nothing is.
    pub fn due(&self) -> Option<Duration> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// An address was asked.
    pub fn handle_started(&mut self, address: IpAddr, now: Duration) {
        for (key, gap) in self.keys(address) {
            self.free.insert(key, now + gap);
        }
        if self.free.len() >= self.sweep_at {
            self.free.retain(|_, free| *free > now);
            self.sweep_at = SWEEP.max(2 * self.free.len());
        }
    }

    /// How many are remembered.
    #[cfg(test)]
    pub fn remembered(&self) -> usize {
        self.free.len()
    }

    /// Drops what is put off.
    pub fn clear(&mut self) {
        self.put_off.clear();
        self.due.clear();
    }
}
