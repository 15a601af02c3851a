//! The search for one target: which copy to send next, and what follows from the answers.
//!
//! It keeps no plan: every decision is made anew from the evidence by TTL, so a lost or late answer only changes the
//! evidence. First one copy of each configuration goes to the target itself. Then copies of the experiment bisect the
//! path, and where one is not answered a copy of the baseline finds out whether the hop answers at all. In the end both
//! are sent to the hops on either side of the border until each has been seen [`rounds`](Limits::rounds) times.

use std::time::Duration;

use super::evidence::{Hop, Tally};
use super::posterior::{Count, sure};
use super::{Answer, Shown, Side};

/// The largest TTL that is searched.
pub(super) const MOST_HOPS: u8 = 32;
/// The TTL of copies to the target itself, as an index of the evidence.
pub(super) const FULL: u8 = 0;

/// The distance of a target of which nothing is known.
const USUAL_HOPS: u8 = 16;

/// The distance of a host whose packets come with this TTL: hosts begin with 64, 128 or 255.
fn distance(ttl: u8) -> u8 {
    let from = [64_u8, 128, 255].into_iter().find(|from| *from >= ttl).unwrap_or(255);
    (from - ttl).saturating_add(1)
}

/// The limits of a search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest TTL: 1 to 32.
    pub hops: u8,
    /// Copies of each configuration to each hop at the border.
    pub rounds: u8,
    /// The most packets that a target is sent: copies, and the resets of what they opened.
    pub packets: u16,
    /// How long an answer is waited for.
    pub patience: Duration,
    /// How long a search may take.
    pub longest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hops: MOST_HOPS,
            rounds: 3,
            packets: 40,
            patience: Duration::from_secs(1),
            longest: Duration::from_secs(120),
        }
    }
}

/// What the label says of the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// It did not work: its packet, or the answer, was dropped or reset.
    Stopped,
    /// It was answered, and its feature was lost.
    Changed,
}

/// The result of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Outcome {
    /// The change is between two hops.
    Located,
    /// The evidence is not enough.
    #[default]
    Unlocated,
    /// The copies of the experiment came through now: there is nothing to locate.
    Gone,
    /// The copies came unchanged as far as the target: it changed on the way back, or the target did it.
    Clean,
    /// A hop shows the change, and one further up does not.
    Undone,
    /// The target did not answer the baseline either.
    Offline,
    /// The target was excluded, or the run ended.
    Ended,
}

impl Outcome {
    /// The word in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Located => "located",
            Self::Unlocated => "unlocated",
            Self::Gone => "gone",
            Self::Clean => "clean",
            Self::Undone => "undone",
            Self::Offline => "offline",
            Self::Ended => "ended",
        }
    }
}

/// What other searches have seen at a hop that this path has, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) same: u16,
    pub(super) changed: u16,
}

/// A copy that the search wants to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) side: Side,
    pub(super) ttl: u8,
}

/// What happens to the experiment's packet, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It is changed, or nothing is.
    Changes,
    /// It does not arrive.
    Stops,
}

/// What is known of the experiment's packet at a TTL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Untested,
    /// It came there as it was sent; the flag says that only others have seen it.
    Same(bool),
    Changed(bool),
    /// Quotes of both sorts, as many of each.
    Disputed,
    /// It was not answered, and it is not known whether the hop answers the baseline.
    Doubtful,
    /// The hop does not answer, or not enough to tell.
    Dark,
    /// The target itself answered.
    Target,
}

/// The search of one target.
#[derive(Debug, Clone)]
pub(super) struct Search {
    pub(super) limits: Limits,
    goal: Goal,
    /// By TTL; [`FULL`] is the target itself.
    pub(super) hops: Vec<Hop>,
    /// What others know, by TTL.
    known: Vec<Option<Known>>,
    pub(super) sent: u16,
    pub(super) resets: u16,
    /// The distance that the answer's TTL suggests.
    guess: u8,
}

impl Search {
    pub(super) fn new(goal: Goal, limits: Limits, answer_ttl: Option<u8>) -> Self {
        let hops = usize::from(limits.hops.clamp(1, MOST_HOPS)) + 1;
        Self {
            limits,
            goal,
            hops: vec![Hop::default(); hops],
            known: vec![None; hops],
            sent: 0,
            resets: 0,
            guess: answer_ttl.map_or(USUAL_HOPS, distance).min(limits.hops),
        }
    }

    /// What others know of the hop at a TTL.
    pub(super) fn learn(&mut self, ttl: u8, known: Option<Known>) {
        if let Some(slot) = self.known.get_mut(usize::from(ttl)) {
            *slot = known;
        }
    }

    pub(super) fn last_ttl(&self) -> u8 {
        u8::try_from(self.hops.len() - 1).unwrap_or(MOST_HOPS)
    }

    pub(super) fn handle_sent(&mut self, want: Want) {
        self.sent += 1;
        if let Some(hop) = self.hops.get_mut(usize::from(want.ttl)) {
            hop.handle_sent(want.side);
        }
    }

    /// The answer to a copy; `None` if there was none in time.
    pub(super) fn handle_answer(&mut self, want: Want, answer: Option<Answer>) {
        if let Some(Answer::Reply { ttl: Some(ttl) }) = answer
            && want.ttl == FULL
            && want.side == Side::Zero
        {
            self.guess = distance(ttl).min(self.last_ttl());
        }
        if let Some(hop) = self.hops.get_mut(usize::from(want.ttl)) {
            hop.handle_answer(want.side, answer);
        }
    }

    /// An address on the exclude list answered.
    pub(super) fn handle_excluded(&mut self, ttl: u8) {
        if let Some(hop) = self.hops.get_mut(usize::from(ttl)) {
            hop.excluded = true;
        }
    }

    /// The hop at this TTL cannot be asked in time: too many searches ask it.
    pub(super) fn handle_limited(&mut self, ttl: u8) {
        if let Some(hop) = self.hops.get_mut(usize::from(ttl)) {
            hop.limited = true;
        }
    }

    fn hop(&self, ttl: u8) -> Option<&Hop> {
        self.hops.get(usize::from(ttl))
    }

    fn tally(&self, side: Side, ttl: u8) -> Tally {
        self.hop(ttl).map_or_else(Tally::default, |hop| *hop.side(side))
    }

    /// The smallest TTL with which the target itself answered the baseline.
    pub(super) fn reached(&self, side: Side) -> Option<u8> {
        (1..=self.last_ttl()).find(|ttl| self.tally(side, *ttl).replies > 0)
    }

    /// The largest TTL at which a router quoted a copy.
    pub(super) fn far(&self, side: Side) -> Option<u8> {
        (1..=self.last_ttl()).rev().find(|ttl| self.tally(side, *ttl).quotes() > 0)
    }

    /// The largest TTL worth a copy.
    fn upper(&self) -> u8 {
        let own = self.reached(Side::Zero);
        let far = self.far(Side::Zero).max(self.far(Side::One)).unwrap_or_default();
        own.unwrap_or_else(|| {
            self.guess.max(far + u8::from(far >= self.guess)).min(self.last_ttl())
        })
    }

    fn fault(&self) -> Option<Fault> {
        let one = self.tally(Side::One, FULL);
        let zero = self.tally(Side::Zero, FULL);
        let alike = (one.replies > 0 && zero.replies > 0) || (one.resets > 0 && zero.resets > 0);
        match self.goal {
            _ if one.answers() > 0 && !alike => Some(Fault::Stops),
            Goal::Changed if one.answers() > 0 => Some(Fault::Changes),
            // Two lost copies in a row are rarer than a fault that the label did not say.
            Goal::Changed if one.silent >= 2 => Some(Fault::Stops),
            Goal::Stopped if one.silent > 0 => Some(Fault::Stops),
            _ => None,
        }
    }

    fn state(&self, ttl: u8, fault: Fault) -> State {
        let Some(hop) = self.hop(ttl) else { return State::Dark };
        let (zero, one) = (&hop.zero, &hop.one);
        let own = match fault {
            // Something answers for the target where the baseline's copy is still in flight.
            Fault::Changes if one.replies > 0 && zero.quotes() > 0 => State::Changed(false),
            Fault::Changes if one.replies > 0 && zero.sent == 0 && hop.is_open() => State::Doubtful,
            Fault::Changes if one.replies + one.resets > 0 => State::Target,
            Fault::Changes => match one.majority() {
                Some(Shown::Same) => State::Same(false),
                Some(_) => State::Changed(false),
                None if one.same > 0 => State::Disputed,
                None if one.hidden + one.refused > 0 || one.silent > 0 => State::Dark,
                None => State::Untested,
            },
            Fault::Stops => {
                let asked = zero.answers() > 0;
                if one.quotes() > 0 || (one.replies > 0 && zero.quotes() == 0 && zero.replies > 0) {
                    State::Same(false)
                } else if one.resets + one.refused > 0 || one.replies > 0 && zero.quotes() > 0 {
                    State::Changed(false)
                } else if one.replies > 0 {
                    State::Doubtful
                } else if one.silent > 0 && asked {
                    State::Changed(false)
                } else if one.silent > 0 && zero.sent >= 2 {
                    State::Dark
                } else if one.silent > 0 {
                    State::Doubtful
                } else {
                    State::Untested
                }
            }
        };
        let known = self.known.get(usize::from(ttl)).copied().flatten();
        match (own, known) {
            (State::Untested | State::Doubtful, _) if hop.excluded => State::Dark,
            (State::Untested, Some(known)) if known.same > 0 && known.changed == 0 => {
                State::Same(true)
            }
            (State::Untested | State::Doubtful, _) if hop.limited => match self.known_change(ttl) {
                true => State::Changed(true),
                false => State::Dark,
            },
            (own, _) => own,
        }
    }

    /// The last TTL that shows the packet as it was sent, below the first that shows it changed.
    fn border(&self, fault: Fault) -> (u8, Option<u8>) {
        let all: Vec<State> = (0..=self.upper()).map(|ttl| self.state(ttl, fault)).collect();
        let at = |ttl: u8| all.get(usize::from(ttl)).copied().unwrap_or(State::Untested);
        let is_same = |ttl: &u8| matches!(at(*ttl), State::Same(_));
        let is_changed = |ttl: &u8| matches!(at(*ttl), State::Changed(_));
        match fault {
            Fault::Changes => {
                let first = (1..=self.upper()).find(is_changed);
                let below = first.unwrap_or(self.upper() + 1);
                ((1..below).rev().find(is_same).unwrap_or(0), first)
            }
            // What came through was not stopped before: silence there was loss.
            Fault::Stops => {
                let own = |ttl: &u8| at(*ttl) == State::Same(false);
                let last = (1..=self.upper()).rev().find(own).unwrap_or(0);
                let first = (last + 1..=self.upper()).find(is_changed);
                let below = first.unwrap_or(self.upper() + 1);
                ((1..below).rev().find(is_same).unwrap_or(0), first)
            }
        }
    }

    /// Whether no more packets may be sent. A reply of the target costs a reset, too.
    fn is_spent(&self) -> bool {
        self.sent + self.resets + 2 > self.limits.packets
    }

    /// The copies that are worth sending next, the best first; none if the search is over.
    pub(super) fn wants(&self) -> Vec<Want> {
        if self.is_spent() {
            return Vec::new();
        }
        let want = |side, ttl| Want { side, ttl };
        let (zero, one) = (self.tally(Side::Zero, FULL), self.tally(Side::One, FULL));
        if zero.answers() == 0 {
            let tries = if zero.sent < 2 { vec![want(Side::Zero, FULL)] } else { Vec::new() };
            return tries;
        }
        let Some(fault) = self.fault() else {
            let over = one.answers() > 0 || one.sent >= 3;
            return if over { Vec::new() } else { vec![want(Side::One, FULL)] };
        };
        let (last, first) = self.border(fault);
        let top = first.unwrap_or(self.upper() + 1);
        let open = self.between(last, top, fault);
        if !open.is_empty() {
            return open;
        }
        match (first, fault) {
            (Some(first), _) => self.settle(last, first, fault),
            (None, Fault::Changes) => self.whole_path(),
            (None, Fault::Stops) => self.further(),
        }
    }

    /// The copy in the middle of an open interval, then its neighbours.
    fn between(&self, last: u8, top: u8, fault: Fault) -> Vec<Want> {
        let mut open: Vec<(u8, Side)> = Vec::new();
        for ttl in last + 1..top {
            match self.state(ttl, fault) {
                State::Untested => open.push((ttl, Side::One)),
                State::Doubtful => return vec![Want { side: Side::Zero, ttl }],
                State::Disputed if self.tally(Side::One, ttl).sent < 2 * self.limits.rounds => {
                    return vec![Want { side: Side::One, ttl }];
                }
                _ => {}
            }
        }
        let middle = (u16::from(last) + u16::from(top)) / 2;
        open.sort_by_key(|(ttl, _)| u16::from(*ttl).abs_diff(middle));
        open.into_iter().map(|(ttl, side)| Want { side, ttl }).collect()
    }

    /// The copies that confirm a border.
    fn settle(&self, last: u8, first: u8, fault: Fault) -> Vec<Want> {
        let rounds = self.limits.rounds;
        let mut needs: Vec<(u8, Side, u8)> = Vec::new();
        let shared = |ttl: u8| {
            let known = self.known.get(usize::from(ttl)).copied().flatten();
            known.is_some_and(|known| known.same >= rounds.into() && known.changed == 0)
        };
        needs.push((first, Side::One, rounds));
        needs.push((first, Side::Zero, if fault == Fault::Stops { rounds } else { 1 }));
        if last > 0 && shared(last) {
            // A box may treat targets differently, so what others saw is checked once.
            needs.push((last, Side::One, 1));
        } else if last > 0 {
            needs.push((last, Side::One, if fault == Fault::Stops { 2 } else { rounds }));
            needs.push((last, Side::Zero, 1));
        }
        // Silent hops in between get a second chance.
        needs.extend((last + 1..first).map(|ttl| (ttl, Side::One, 2)));
        if first < self.upper() {
            needs.push((first + 1, Side::One, 1));
        }
        if fault == Fault::Changes {
            // The last hop before the target shows whether the change is undone on the way.
            let end = self.upper().saturating_sub(1);
            if end > first {
                needs.push((end, Side::One, 1));
            }
            // A hop further up that shows no change must be seen again.
            let same = (first + 1..=self.upper()).find(|ttl| self.tally(Side::One, *ttl).same > 0);
            needs.extend(same.map(|ttl| (ttl, Side::One, rounds)));
        }
        needs.retain(|(ttl, side, most)| {
            let hop = self.hop(*ttl);
            hop.is_some_and(|hop| hop.is_open() && hop.side(*side).sent < *most)
        });
        needs.sort_by_key(|(ttl, side, _)| self.tally(*side, *ttl).sent);
        needs.into_iter().map(|(ttl, side, _)| Want { side, ttl }).collect()
    }

    /// No hop shows a change so far: looks at each, for one that is undone again further up.
    fn whole_path(&self) -> Vec<Want> {
        let rest = (1..=self.upper()).rev().filter(|ttl| {
            let hop = self.hop(*ttl);
            hop.is_some_and(|hop| hop.one.sent == 0 && hop.is_open())
        });
        rest.map(|ttl| Want { side: Side::One, ttl }).collect()
    }

    /// Nothing stops the packet as far as hops answer: looks further, up to the target.
    fn further(&self) -> Vec<Want> {
        if self.reached(Side::Zero).is_some() {
            return Vec::new();
        }
        let next = (self.upper()..=self.last_ttl())
            .find(|ttl| self.hop(*ttl).is_some_and(|hop| hop.zero.sent == 0 && hop.is_open()));
        next.map(|ttl| Want { side: Side::Zero, ttl }).into_iter().collect()
    }

    /// The result of what is known.
    pub(super) fn verdict(&self) -> Verdict {
        let (zero, one) = (self.tally(Side::Zero, FULL), self.tally(Side::One, FULL));
        if zero.answers() == 0 {
            let outcome = if zero.silent >= 2 { Outcome::Offline } else { Outcome::Unlocated };
            return Verdict { outcome, ..Verdict::default() };
        }
        let Some(fault) = self.fault() else {
            let gone = self.goal == Goal::Stopped && one.answers() > 0;
            let outcome = if gone { Outcome::Gone } else { Outcome::Unlocated };
            return Verdict { outcome, ..Verdict::default() };
        };
        let (last, first) = self.border(fault);
        let Some(first) = first else {
            let whole = fault == Fault::Changes && self.far(Side::One).is_some();
            let seen = (1..=self.upper()).any(|ttl| self.tally(Side::One, ttl).same > 0);
            let outcome = match fault {
                Fault::Changes if whole && seen && self.whole_path().is_empty() => Outcome::Clean,
                Fault::Stops if self.reached(Side::One).is_some() => Outcome::Gone,
                _ => Outcome::Unlocated,
            };
            return Verdict {
                outcome,
                last: Some(last).filter(|last| *last > 0),
                ..Verdict::default()
            };
        };
        let stops = fault == Fault::Stops;
        let counts = self.counts(fault);
        let sure = sure(&counts, last, first, stops);
        let again = |ttl: u8| {
            let one = self.tally(Side::One, ttl);
            one.same >= 2 && one.majority() == Some(Shown::Same)
        };
        let undone = !stops && (first + 1..=self.upper()).any(again);
        let undone = undone && self.tally(Side::One, first).changed >= 2;
        let shared = matches!(self.state(last, fault), State::Same(true));
        let hop = self.tally(Side::One, first);
        let what = match fault {
            Fault::Changes if hop.replies > 0 => "intercepted",
            Fault::Changes => "changed",
            Fault::Stops if hop.resets > 0 => "reset",
            Fault::Stops if hop.refused > 0 => "rejected",
            Fault::Stops if hop.replies > 0 => "intercepted",
            Fault::Stops => "dropped",
        };
        Verdict {
            outcome: if undone { Outcome::Undone } else { Outcome::Located },
            fault: Some(what),
            last: Some(last),
            first: Some(first),
            sure: Some(sure),
            shared,
        }
    }

    /// The experiment's answers by TTL.
    fn counts(&self, fault: Fault) -> Vec<Count> {
        let rounds = u16::from(self.limits.rounds);
        let of = |ttl: u8| -> Vec<Count> {
            let Some(hop) = self.hop(ttl) else { return Vec::new() };
            let (zero, one) = (&hop.zero, &hop.one);
            if one.sent == 0 {
                let known = self.known.get(usize::from(ttl)).copied().flatten();
                let known = known.filter(|known| known.changed == 0 || self.known_change(ttl));
                let most = |count: u16| u8::try_from(count.min(rounds)).unwrap_or_default();
                let count =
                    |known: Known| Count::of_quotes(ttl, most(known.same), most(known.changed));
                return known.map(count).into_iter().collect();
            }
            let through = if zero.quotes() > 0 { 0 } else { one.replies };
            let intercepted = one.replies - through;
            if fault == Fault::Changes {
                return vec![Count::of_quotes(ttl, one.same, one.changed + intercepted)];
            }
            let same = one.quotes() + through;
            let mut counts =
                vec![Count::of_quotes(ttl, same, one.resets + one.refused + intercepted)];
            // A hop that does not answer the baseline says nothing.
            if zero.answers() > 0 {
                let asked = f64::from(zero.sent.max(zero.answers()));
                let lost = 1.0 - (f64::from(zero.answers()) + 1.0) / (asked + 2.0);
                counts.push(Count { ttl, same: 0, changed: one.silent, lost: lost.max(0.02) });
            }
            counts
        };
        (1..=self.upper()).flat_map(of).collect()
    }

    /// Whether other searches have seen the change at this hop, often enough that this one need not ask it.
    fn known_change(&self, ttl: u8) -> bool {
        let known = self.known.get(usize::from(ttl)).copied().flatten();
        known.is_some_and(|known| known.changed >= self.limits.rounds.into() && known.same == 0)
    }
}

/// The result of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Verdict {
    pub(super) outcome: Outcome,
    pub(super) fault: Option<&'static str>,
    /// The last TTL that shows the packet as it was sent; 0 if none does.
    pub(super) last: Option<u8>,
    /// The first TTL that shows the change.
    pub(super) first: Option<u8>,
    /// The probability that the change is between them.
    pub(super) sure: Option<f64>,
    /// Whether the last unchanged hop was seen by other searches only.
    pub(super) shared: bool,
}
