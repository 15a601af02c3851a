//! Many searches at a time.
//!
//! Each has one copy in flight. Which one it sends next is up to [`Search`]; when, to the hop that it asks, to the rate of
//! the run, and to the limits of the target's address and prefix.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::RandomState;
use ipnet::IpNet;

use super::search::{FULL, Goal, Limits, MOST_HOPS, Outcome, Search, Want};
use super::store::{Key, Store};
use super::{Answer, Located, Shown, Side};

/// A target to search for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    /// Its address.
    pub target: IpAddr,
    /// Stands for the experiment: what is seen at a hop counts for all subjects with the same number.
    pub feature: u64,
    /// What the label says.
    pub goal: Goal,
    /// The TTL with which the target's answers came, if it is known.
    pub answer_ttl: Option<u8>,
}

/// A copy that is to be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sending {
    /// The number of the subject.
    pub subject: usize,
    /// Whose packet it is.
    pub side: Side,
    /// The TTL; `None` is that of the packet itself.
    pub ttl: Option<u8>,
    /// Distinguishes it from all other copies for the subject; from 1.
    pub number: u16,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Send this copy now.
    Send(Sending),
    /// Nothing until this time, or until an answer comes.
    Wait(Duration),
    /// All searches are over.
    Done,
}

/// The limits on what is sent, besides those of a search.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Searches at the same time.
    pub concurrency: usize,
    /// The least time between two copies.
    pub gap: Duration,
    /// The least time between two copies to an address.
    pub per_address: Duration,
    /// The least time between two copies to a prefix.
    pub per_prefix: Duration,
    /// The length of a prefix, for IPv4 and for IPv6.
    pub lengths: (u8, u8),
}

impl Default for Pace {
    fn default() -> Self {
        let none = Duration::ZERO;
        Self { concurrency: 256, gap: none, per_address: none, per_prefix: none, lengths: (24, 56) }
    }
}

impl Pace {
    /// The prefix of an address, as the first address in it.
    fn prefix(&self, address: IpAddr) -> IpAddr {
        let length = if address.is_ipv4() { self.lengths.0 } else { self.lengths.1 };
        IpNet::new(address, length).map_or(address, |net| net.network())
    }
}

/// A copy that was sent, or is to be.
#[derive(Debug, Clone, Copy)]
struct Flight {
    want: Want,
    asked: (Key, Duration),
    number: u16,
    at: Duration,
    is_sent: bool,
}

#[derive(Debug)]
struct Entry {
    subject: Subject,
    search: Search,
    started: Duration,
    flight: Option<Flight>,
    /// Copies whose answers may still come.
    overdue: Vec<Flight>,
    numbers: u16,
    /// The shortest quotes of the baseline and of the experiment.
    quote_min: [Option<u16>; 2],
    /// How it ended if not by itself.
    ended: Option<Outcome>,
    is_over: bool,
}

/// The searches of a wave.
#[derive(Debug)]
pub struct Phase {
    limits: Limits,
    pace: Pace,
    store: Store,
    entries: Vec<Entry>,
    /// The first that has not begun.
    next: usize,
    active: usize,
    queue: BinaryHeap<Reverse<(Duration, usize)>>,
    free: Duration,
    free_at: HashMap<(bool, IpAddr), Duration, RandomState>,
    stopping: bool,
}

impl Phase {
    /// Searches with these limits; there are no subjects yet.
    pub fn new(limits: Limits, pace: Pace) -> Self {
        Self {
            limits,
            pace,
            store: Store::default(),
            entries: Vec::new(),
            next: 0,
            active: 0,
            queue: BinaryHeap::new(),
            free: Duration::ZERO,
            free_at: HashMap::default(),
            stopping: false,
        }
    }

    /// Begins a wave: forgets the subjects of the one before, and keeps what is known of hops.
    pub fn handle_wave(&mut self, subjects: impl IntoIterator<Item = Subject>) {
        let limits = self.limits;
        let entry = |subject: Subject| Entry {
            subject,
            search: Search::new(subject.goal, limits, subject.answer_ttl),
            started: Duration::ZERO,
            flight: None,
            overdue: Vec::new(),
            numbers: 0,
            quote_min: [None; 2],
            ended: None,
            is_over: false,
        };
        self.entries = subjects.into_iter().map(entry).collect();
        (self.next, self.active) = (0, 0);
        self.queue.clear();
    }

    /// What to do at this time.
    pub fn poll(&mut self, now: Duration) -> Next {
        loop {
            while !self.stopping
                && self.active < self.pace.concurrency
                && self.next < self.entries.len()
            {
                let begun = self.next;
                self.next += 1;
                self.active += 1;
                self.entries[begun].started = now;
                self.decide(begun, now);
            }
            let Some(Reverse((at, number))) = self.queue.peek().copied() else {
                return Next::Done;
            };
            if at > now {
                return Next::Wait(at);
            }
            self.queue.pop();
            if let Some(sending) = self.handle_due(number, at, now) {
                return Next::Send(sending);
            }
        }
    }

    /// Something is due for a search: its copy is to be sent, or was not answered in time.
    fn handle_due(&mut self, number: usize, at: Duration, now: Duration) -> Option<Sending> {
        let patience = self.limits.patience;
        let entry = self.entries.get_mut(number).filter(|entry| !entry.is_over)?;
        let flight = entry.flight.filter(|flight| flight.at == at)?;
        if flight.is_sent {
            entry.flight = None;
            entry.overdue.push(flight);
            entry.search.handle_answer(flight.want, None);
            self.decide(number, now);
            return None;
        }
        let (target, prefix) = (entry.subject.target, self.pace.prefix(entry.subject.target));
        let keys = [(true, target), (false, prefix)];
        let mut free = self.free.max(self.store.due(flight.asked, now));
        for key in keys {
            free = free.max(self.free_at.get(&key).copied().unwrap_or_default());
        }
        if free > now {
            entry.flight = Some(Flight { at: free, ..flight });
            self.queue.push(Reverse((free, number)));
            return None;
        }
        self.store.handle_sent(flight.asked, now);
        self.free = now + self.pace.gap;
        for (key, gap) in keys.into_iter().zip([self.pace.per_address, self.pace.per_prefix]) {
            if !gap.is_zero() {
                self.free_at.insert(key, now + gap);
            }
        }
        entry.numbers += 1;
        let sent = Flight { at: now + patience, is_sent: true, number: entry.numbers, ..flight };
        entry.flight = Some(sent);
        entry.search.handle_sent(flight.want);
        self.queue.push(Reverse((sent.at, number)));
        let ttl = Some(flight.want.ttl).filter(|ttl| *ttl != FULL);
        Some(Sending { subject: number, side: flight.want.side, ttl, number: sent.number })
    }

    /// Chooses the next copy of a search, and the time at which it is sent.
    fn decide(&mut self, number: usize, now: Duration) {
        let Self { store, entries, limits, queue, .. } = self;
        let Some(entry) = entries.get_mut(number) else { return };
        let Subject { target, feature, .. } = entry.subject;
        loop {
            let own = path(&entry.search);
            for ttl in 1..=entry.search.last_ttl() {
                let known = store.known(feature, target, &own, ttl, now);
                entry.search.learn(ttl, known);
            }
            let wants = if entry.ended.is_some() { Vec::new() } else { entry.search.wants() };
            // The first of those that can be sent soonest.
            let asks = |want: &Want| match want.ttl {
                FULL => (Key::Hop(target), super::bucket::EACH),
                ttl if entry.search.reached(Side::Zero).is_some_and(|reached| ttl >= reached) => {
                    (Key::Hop(target), super::bucket::EACH)
                }
                ttl => store.asks(target, &own, ttl),
            };
            let timed = wants.iter().map(|want| (store.free(asks(want), now), *want, asks(want)));
            let Some((at, want, asked)) = timed.min_by_key(|(at, ..)| *at) else {
                entry.is_over = true;
                self.active = self.active.saturating_sub(1);
                return;
            };
            if at > entry.started + limits.longest {
                if want.ttl == FULL {
                    entry.ended = Some(Outcome::Unlocated);
                }
                entry.search.handle_limited(want.ttl);
                continue;
            }
            store.take(asked, at);
            entry.flight = Some(Flight { want, asked, number: 0, at, is_sent: false });
            queue.push(Reverse((at, number)));
            return;
        }
    }

    /// The answer to a copy of a subject. `is_excluded` says whether the address that sent it is on an exclude list: then it
    /// gets no further copies.
    pub fn handle_answer(
        &mut self,
        subject: usize,
        copy: u16,
        answer: Answer,
        is_excluded: bool,
        now: Duration,
    ) {
        let Some(entry) = self.entries.get_mut(subject).filter(|entry| !entry.is_over) else {
            return;
        };
        let in_flight = entry.flight.filter(|flight| flight.is_sent && flight.number == copy);
        let overdue = entry.overdue.iter().position(|flight| flight.number == copy);
        let flight = match (in_flight, overdue) {
            (Some(flight), _) => flight,
            (None, Some(at)) => entry.overdue.swap_remove(at),
            // Another answer to a copy that was answered.
            (None, None) => return,
        };
        let Flight { want, asked: (asked, _), at, .. } = flight;
        let target = entry.subject.target;
        if let Answer::Quote { from, shown, octets } = answer {
            let shortest = &mut entry.quote_min[usize::from(want.side == Side::One)];
            *shortest = Some(shortest.map_or(octets, |least| least.min(octets)));
            let hop = entry.search.hops.get(usize::from(want.ttl));
            let is_new = hop.is_some_and(|hop| hop.from.iter().all(|(known, _)| *known != from));
            let sent = at.saturating_sub(self.limits.patience);
            let own = path(&entry.search);
            self.store.handle_quote((target, want.ttl), &own, from, (asked, sent), is_new);
            if want.side == Side::One && shown != Shown::Hidden {
                self.store.handle_seen((entry.subject.feature, from, want.ttl), shown, now);
            }
        }
        if is_excluded {
            entry.search.handle_excluded(want.ttl);
        }
        if in_flight.is_some() {
            entry.search.handle_answer(want, Some(answer));
            entry.flight = None;
            self.decide(subject, now);
        } else if let Some(hop) = entry.search.hops.get_mut(usize::from(want.ttl)) {
            hop.handle_late(want.side, answer);
        }
    }

    /// A reset was sent for an answer of the target.
    pub fn handle_reset(&mut self, subject: usize) {
        if let Some(entry) = self.entries.get_mut(subject) {
            entry.search.resets += 1;
        }
    }

    /// A copy could not be sent, or the target must not be probed any more: its search ends.
    pub fn handle_ended(&mut self, subject: usize) {
        if let Some(entry) = self.entries.get_mut(subject).filter(|entry| !entry.is_over) {
            entry.ended = Some(Outcome::Ended);
            entry.is_over = true;
            self.active = self.active.saturating_sub(1);
        }
    }

    /// Sends nothing more.
    pub fn handle_stop(&mut self) {
        self.stopping = true;
        for subject in 0..self.entries.len() {
            self.handle_ended(subject);
        }
        self.queue.clear();
    }

    /// Whether the search of a subject is over.
    pub fn is_over(&self, subject: usize) -> bool {
        self.entries.get(subject).is_none_or(|entry| entry.is_over)
    }

    /// What was found for a subject.
    pub fn located(&self, subject: usize) -> Located {
        let Some(entry) = self.entries.get(subject) else { return Located::default() };
        let search = &entry.search;
        let mut verdict = search.verdict();
        if let Some(ended) = entry.ended {
            verdict.outcome = ended;
        }
        let hops = || search.hops.iter().skip(1);
        let count = |of: &dyn Fn(&&super::evidence::Hop) -> bool| {
            Some(u8::try_from(hops().filter(|hop| of(hop)).count()).unwrap_or(u8::MAX))
        };
        let own = path(search);
        let address = |ttl: Option<u8>| {
            let ttl = ttl.filter(|ttl| *ttl > 0)?;
            if search.reached(Side::Zero).is_some_and(|reached| ttl >= reached) {
                return Some(entry.subject.target);
            }
            let predicted = || self.store.predict(entry.subject.target, &own, ttl);
            own.get(usize::from(ttl))
                .copied()
                .flatten()
                .or_else(|| predicted().map(|(from, _)| from))
        };
        Located {
            outcome: Some(verdict.outcome.as_str()),
            fault: verdict.fault,
            hop: verdict.first,
            hop_before: verdict.last,
            changed_from: address(verdict.first),
            same_from: address(verdict.last),
            sure: verdict.sure,
            shared: verdict.first.map(|_| verdict.shared),
            reached_zero: search.reached(Side::Zero),
            reached_one: search.reached(Side::One),
            far_zero: search.far(Side::Zero),
            far_one: search.far(Side::One),
            answered_zero: count(&|hop| hop.zero.quotes() > 0),
            answered_one: count(&|hop| hop.one.quotes() > 0),
            silent: count(&|hop| hop.is_silent()),
            limited: count(&|hop| hop.limited),
            branches: Some(hops().map(super::evidence::Hop::branches).max().unwrap_or_default()),
            // Their headers may differ in length.
            quote_min: entry.quote_min[1].or(entry.quote_min[0]),
            packets: Some(search.sent),
            resets: Some(search.resets),
            ..Located::default()
        }
    }
}

/// The hops that a search has met.
fn path(search: &Search) -> [Option<IpAddr>; MOST_HOPS as usize + 1] {
    let mut path = [None; MOST_HOPS as usize + 1];
    for (slot, hop) in path.iter_mut().zip(&search.hops) {
        *slot = hop.address();
    }
    path
}
