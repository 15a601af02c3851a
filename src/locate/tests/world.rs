//! A network in virtual time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::locate::bucket::{BURST, Bucket, EACH};
use crate::locate::{
    Answer, Goal, Limits, Located, Next, Pace, Phase, Sending, Shown, Side, Subject,
};

/// Random numbers (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, most: u64) -> u64 {
        self.roll() % most
    }

    pub fn chance(&mut self, share: f64) -> bool {
        (self.roll() >> 11) as f64 / (1_u64 << 53) as f64 > 1.0 - share
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Rewrites,
    Drops,
    Resets,
    Intercepts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Ingress,
    Egress,
}

#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub does: Does,
    pub at: u8,
    pub place: Place,
}

#[derive(Debug, Clone, Default)]
pub struct Router {
    pub address: Option<IpAddr>,
    /// Whether it never answers.
    pub is_silent: bool,
    /// Whether its quotes have eight octets only.
    pub is_short: bool,
    /// The address of the other branch, per packet.
    pub branch: Option<IpAddr>,
    pub undoes: bool,
}

#[derive(Debug, Clone)]
pub struct Path {
    pub target: IpAddr,
    pub routers: Vec<Router>,
    pub fault: Option<Fault>,
    /// Whether the target answers.
    pub is_up: bool,
}

impl Path {
    pub fn new(number: u32, hops: u8) -> Self {
        let routers = (1..=hops).map(|hop| Router {
            address: Some(Ipv4Addr::from(0x0a00_0000 | number << 8 | u32::from(hop)).into()),
            ..Router::default()
        });
        let target = Ipv4Addr::from(0xc000_0200_u32.wrapping_add(number << 8)).into();
        Self { target, routers: routers.collect(), fault: None, is_up: true }
    }

    /// The last answering TTL that shows no fault, and the first that shows it.
    pub fn truth(&self) -> (u8, u8) {
        let fault = self.fault.unwrap();
        let first = fault.at + u8::from(fault.place == Place::Egress);
        // A reset does not come from the router.
        let silence = fault.does == Does::Rewrites || fault.does == Does::Drops;
        let is_box = |ttl: u8| ttl >= first && !silence;
        let answers = |ttl: &u8| {
            is_box(*ttl) || self.routers.get(usize::from(*ttl) - 1).is_none_or(|r| !r.is_silent)
        };
        let last = (1..first).rev().find(answers).unwrap_or(0);
        (last, (first..).find(answers).unwrap())
    }

    /// The answer to a copy.
    fn walk(&self, side: Side, ttl: u8, dice: &mut Dice) -> Option<Answer> {
        let mut changed = false;
        for (at, router) in (1..).zip(&self.routers) {
            let fault = self.fault.filter(|fault| fault.at == at && side == Side::One);
            for place in [Place::Ingress, Place::Egress] {
                match fault.filter(|fault| fault.place == place).map(|fault| fault.does) {
                    Some(Does::Rewrites) => changed = true,
                    Some(Does::Drops) => return None,
                    Some(Does::Resets) => return Some(Answer::Reset),
                    Some(Does::Intercepts) => return Some(Answer::Reply { ttl: Some(64 - at) }),
                    None => {}
                }
                if place == Place::Ingress && ttl == at {
                    let shown = match changed {
                        _ if router.is_short => Shown::Hidden,
                        true => Shown::Changed,
                        false => Shown::Same,
                    };
                    let other = router.branch.filter(|_| dice.below(2) == 0);
                    let from = other.or(router.address).unwrap();
                    // The headers of the two differ in length.
                    let header = if side == Side::One { 28 } else { 20 };
                    let octets = if router.is_short { 8 } else { header };
                    let quote = Answer::Quote { from, shown, octets };
                    return (!router.is_silent).then_some(quote);
                }
            }
            changed &= !router.undoes;
        }
        self.is_up.then_some(Answer::Reply { ttl: Some(64 - self.routers.len() as u8) })
    }
}

/// The network, and what it counted.
pub struct World {
    pub paths: Vec<Path>,
    pub loss: f64,
    /// Whether routers answer one copy a second, and a burst.
    pub limits_answers: bool,
    pub dice: Dice,
    /// When copies came to each hop, whether it answered or not.
    pub asked: HashMap<IpAddr, Vec<Duration>>,
    answering: HashMap<IpAddr, Bucket>,
    /// How long the prober does nothing, after every 150 copies.
    pub stalls: Duration,
    pub took: Duration,
}

impl World {
    pub fn new(paths: Vec<Path>, loss: f64, seed: u64) -> Self {
        let (asked, answering) = (HashMap::new(), HashMap::new());
        let dice = Dice(seed);
        let (stalls, took) = (Duration::ZERO, Duration::ZERO);
        Self { paths, loss, limits_answers: true, dice, asked, answering, stalls, took }
    }

    /// Searches for every target.
    pub fn locate(&mut self, goal: Goal) -> Vec<Located> {
        self.locate_with(goal, Limits::default(), Pace::default())
    }

    pub fn locate_with(&mut self, goal: Goal, limits: Limits, pace: Pace) -> Vec<Located> {
        let mut phase = Phase::new(limits, pace);
        let subject =
            |path: &Path| Subject { target: path.target, feature: 7, goal, answer_ttl: None };
        phase.handle_wave(self.paths.iter().map(subject).collect::<Vec<_>>());
        let mut now = Duration::from_secs(1000);
        let mut answers: BinaryHeap<Reverse<(Duration, usize)>> = BinaryHeap::new();
        let mut sent: Vec<(Sending, Answer)> = Vec::new();
        let handle = |phase: &mut Phase, (copy, answer): (Sending, Answer), now: Duration| {
            phase.handle_answer(copy.subject, copy.number, answer, false, now);
            if matches!(answer, Answer::Reply { .. }) {
                phase.handle_reset(copy.subject);
            }
        };
        let mut copies = 0;
        loop {
            match phase.poll(now) {
                Next::Done => break,
                Next::Send(copy) => {
                    if let Some((delay, answer)) = self.send(copy, now) {
                        answers.push(Reverse((now + delay, sent.len())));
                        sent.push((copy, answer));
                    }
                    copies += 1;
                    if copies % 150 != 0 || self.stalls.is_zero() {
                        continue;
                    }
                    now += self.stalls;
                    // What has come counts before what is overdue.
                    while let Some(Reverse((_, number))) = answers.pop() {
                        handle(&mut phase, sent[number], now);
                    }
                }
                Next::Wait(until) => match answers.peek().copied() {
                    Some(Reverse((at, number))) if at <= until => {
                        answers.pop();
                        now = at;
                        handle(&mut phase, sent[number], now);
                    }
                    _ => now = until,
                },
            }
        }
        self.took = now - Duration::from_secs(1000);
        (0..self.paths.len()).map(|number| phase.located(number)).collect()
    }

    fn send(&mut self, copy: Sending, now: Duration) -> Option<(Duration, Answer)> {
        let path = &self.paths[copy.subject];
        let ttl = copy.ttl.unwrap_or(64);
        if self.dice.chance(self.loss) {
            return None;
        }
        let answer = path.walk(copy.side, ttl, &mut self.dice);
        let hop = usize::from(ttl) - 1;
        // A copy that a box stops does not come to the hop of its TTL.
        let arrives = !matches!(answer, Some(Answer::Reset));
        let fault = path.fault.filter(|fault| fault.does == Does::Drops && copy.side == Side::One);
        let stopped = fault.is_some_and(|fault| {
            usize::from(fault.at + u8::from(fault.place == Place::Egress)) <= usize::from(ttl)
        });
        if arrives
            && !stopped
            && let Some(router) = path.routers.get(hop)
        {
            let address = match answer {
                Some(Answer::Quote { from, .. }) => from,
                _ => router.address.unwrap(),
            };
            self.asked.entry(address).or_default().push(now);
            let bucket = self.answering.entry(address).or_default();
            if self.limits_answers && bucket.free(now, EACH) > now + Duration::from_millis(50) {
                return None;
            }
            bucket.take(now, EACH);
        }
        if self.dice.chance(self.loss) {
            return None;
        }
        let hops = u32::from(ttl.min(path.routers.len() as u8 + 1));
        Some((Duration::from_millis(4) * hops, answer?))
    }

    /// The most copies that a hop got beyond one a second, with the hop; at most [`BURST`] are allowed.
    pub fn worst(&self) -> i64 {
        let worst = self.asked.values().map(|times| {
            let mut worst = 0;
            for (at, first) in times.iter().enumerate() {
                for (more, last) in times[at..].iter().enumerate().take(40) {
                    worst = worst.max(more as i64 + 1 - (*last - *first).as_secs() as i64);
                }
            }
            worst
        });
        worst.max().unwrap_or_default()
    }
}

pub const ALLOWED: i64 = BURST as i64;
