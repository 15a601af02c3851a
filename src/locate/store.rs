//! What the searches of a run share: which hop is at which TTL, what it has shown, and how many copies it got.
//!
//! The hops near this host are the same for nearly all targets. A hop at which the feature of earlier copies was as sent
//! needs no further copies, and no hop gets more copies than it may. Before a copy is sent, its hop is predicted: from
//! what the target's own copies met, from other targets of its prefix, from the hops that came before one that was met, or,
//! if all targets had the same hop at this TTL, that hop. An unknown hop has the bucket of its TTL, from which the hop that
//! answers inherits.
//!
//! # Memory
//!
//! Each of the tables has at most [`MOST`] entries; above that, what is older than [`FRESH`] is forgotten, then everything.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::Shown;
use super::bucket::{Bucket, EACH};
use super::search::{Known, MOST_HOPS};

/// The most entries of a table.
const MOST: usize = 1 << 16;
/// How long what was seen at a hop counts: paths change.
const FRESH: Duration = Duration::from_secs(600);
/// How many targets must have met the same hop at a TTL, and none another, before the rest is taken to meet it, too.
const ALL: u32 = 8;

/// The hop that a copy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// The hop with this address.
    Hop(IpAddr),
    /// A hop that is not known, of IPv6 or not, at this TTL.
    Unknown(bool, u8),
}

/// The hops of a path by TTL.
type Path = [Option<IpAddr>; MOST_HOPS as usize + 1];

/// The hops at one TTL of all paths.
#[derive(Debug, Default)]
struct Level {
    /// How many targets met each address.
    met: HashMap<IpAddr, u32, RandomState>,
    all: u32,
}

impl Level {
    /// The only address that was met.
    fn only(&self) -> Option<IpAddr> {
        let mut met = self.met.keys();
        met.next().copied().filter(|_| met.next().is_none())
    }

    /// How many copies may be sent to unknown hops while one is sent to a known hop: at most half of the copies that the
    /// commonest hop may get.
    fn spread(&self) -> u32 {
        let most = self.met.values().max().copied().unwrap_or_default();
        ((self.all + 2) / (2 * (most + 1))).max(1)
    }
}

/// What copies of an experiment showed at a hop.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    same: u16,
    changed: u16,
    last: Duration,
}

/// Shared knowledge.
#[derive(Debug, Default)]
pub(super) struct Store {
    by_prefix: HashMap<IpNet, Path, RandomState>,
    /// The hops before one that was met at this TTL.
    before: HashMap<(IpAddr, u8), Path, RandomState>,
    levels: HashMap<(bool, u8), Level, RandomState>,
    seen: HashMap<(u64, IpAddr, u8), Seen, RandomState>,
    buckets: HashMap<Key, Bucket, RandomState>,
    /// The same of copies when they were sent: later than they were to be, if this host was busy or other limits held them.
    sent: HashMap<Key, Bucket, RandomState>,
}

/// The prefix whose addresses have the same path: /24 or /48.
fn prefix(target: IpAddr) -> IpNet {
    let length = if target.is_ipv4() { 24 } else { 48 };
    IpNet::new(target, length).map_or_else(|_| target.into(), |net| net.trunc())
}

impl Store {
    /// The hop at a TTL on the way to a target, and whether it is certain enough to take over what others saw there. `own`
    /// are the hops that the target's copies met.
    pub(super) fn predict(&self, target: IpAddr, own: &Path, ttl: u8) -> Option<(IpAddr, bool)> {
        let at = usize::from(ttl);
        let met = own.get(at).copied().flatten();
        let of_prefix = || self.by_prefix.get(&prefix(target))?.get(at).copied().flatten();
        let before = || {
            let next = (at + 1..own.len()).find_map(|next| Some((own[next]?, next as u8)));
            self.before.get(&next?)?.get(at).copied().flatten()
        };
        if let Some(address) = met.or_else(of_prefix).or_else(before) {
            return Some((address, true));
        }
        let level = self.levels.get(&(target.is_ipv6(), ttl))?;
        level.only().map(|address| (address, level.all >= ALL))
    }

    /// What others saw at the hop that this path has at a TTL.
    pub(super) fn known(
        &self,
        feature: u64,
        target: IpAddr,
        own: &Path,
        ttl: u8,
        now: Duration,
    ) -> Option<Known> {
        let (address, _) = self.predict(target, own, ttl).filter(|(_, certain)| *certain)?;
        let seen = self.seen.get(&(feature, address, ttl))?;
        let fresh = seen.last + FRESH >= now;
        fresh.then_some(Known { same: seen.same, changed: seen.changed })
    }

    /// The hop that a copy is for, and the time that it takes up there.
    pub(super) fn asks(&self, target: IpAddr, own: &Path, ttl: u8) -> (Key, Duration) {
        match self.predict(target, own, ttl) {
            Some((address, _)) => (Key::Hop(address), EACH),
            None => {
                let v6 = target.is_ipv6();
                let spread = self.levels.get(&(v6, ttl)).map_or(1, Level::spread);
                (Key::Unknown(v6, ttl), EACH / spread)
            }
        }
    }

    /// When a copy may be sent there.
    pub(super) fn free(&self, (key, each): (Key, Duration), now: Duration) -> Duration {
        self.buckets.get(&key).map_or(now, |bucket| bucket.free(now, each))
    }

    /// A copy will be sent there at this time.
    pub(super) fn take(&mut self, (key, each): (Key, Duration), at: Duration) {
        make_room(&mut self.buckets, |bucket| !bucket.is_idle(at));
        self.buckets.entry(key).or_default().take(at, each);
    }

    /// When a copy that is due may be sent there, given those that were.
    pub(super) fn due(&self, (key, each): (Key, Duration), now: Duration) -> Duration {
        self.sent.get(&key).map_or(now, |bucket| bucket.free(now, each))
    }

    /// A copy is sent there now.
    pub(super) fn handle_sent(&mut self, (key, each): (Key, Duration), now: Duration) {
        make_room(&mut self.sent, |bucket| !bucket.is_idle(now));
        self.sent.entry(key).or_default().take(now, each);
    }

    /// A hop answered a copy that was sent at `sent` and asked `asked`. `is_new` says whether it is the first answer from there
    /// to the target.
    pub(super) fn handle_quote(
        &mut self,
        (target, ttl): (IpAddr, u8),
        own: &Path,
        from: IpAddr,
        (asked, sent): (Key, Duration),
        is_new: bool,
    ) {
        let key = Key::Hop(from);
        if asked != key {
            for buckets in [&mut self.buckets, &mut self.sent] {
                let inherited = match asked {
                    Key::Unknown(..) => buckets.get(&asked).copied(),
                    Key::Hop(_) => None,
                };
                match (buckets.contains_key(&key), inherited) {
                    (false, Some(bucket)) => drop(buckets.insert(key, bucket)),
                    _ => buckets.entry(key).or_default().take(sent, EACH),
                }
            }
        }
        if !is_new {
            return;
        }
        make_room(&mut self.by_prefix, |_| false);
        let path = self.by_prefix.entry(prefix(target)).or_insert([None; MOST_HOPS as usize + 1]);
        if let Some(slot) = path.get_mut(usize::from(ttl)) {
            *slot = Some(from);
        }
        make_room(&mut self.before, |_| false);
        let before = self.before.entry((from, ttl)).or_insert([None; MOST_HOPS as usize + 1]);
        for (known, own) in before.iter_mut().zip(own).take(usize::from(ttl)) {
            *known = known.or(*own);
        }
        let level = self.levels.entry((target.is_ipv6(), ttl)).or_default();
        make_room(&mut level.met, |_| false);
        *level.met.entry(from).or_default() += 1;
        level.all += 1;
    }

    /// What a copy showed at a hop.
    pub(super) fn handle_seen(
        &mut self,
        (feature, from, ttl): (u64, IpAddr, u8),
        shown: Shown,
        now: Duration,
    ) {
        make_room(&mut self.seen, |seen| seen.last + FRESH >= now);
        let seen = self.seen.entry((feature, from, ttl)).or_default();
        if seen.last + FRESH < now {
            *seen = Seen::default();
        }
        seen.last = now;
        match shown {
            Shown::Same => seen.same = seen.same.saturating_add(1),
            Shown::Changed => seen.changed = seen.changed.saturating_add(1),
            Shown::Hidden => {}
        }
    }
}

/// Forgets what need not be kept if a table is full.
fn make_room<K: Eq + Hash, V>(table: &mut HashMap<K, V, RandomState>, keep: impl Fn(&V) -> bool) {
    if table.len() >= MOST {
        table.retain(|_, value| keep(value));
        if table.len() >= MOST {
            table.clear();
        }
    }
}
