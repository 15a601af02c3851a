//! Source ports: chosen by the engine, so that an attempt's flow is known before its first packet.
//!
//! A run has a [`Pool`] of ports, split at random into two [`Bank`]s. A wave uses one bank; the wave before it may still
//! have packets in the network and has the other. Within a wave no port is used twice, so the key of a flow (port, target
//! address, target port) is unique even if a target is listed many times.
//!
//! The assignment of a bank's ports to configurations is drawn anew for each wave. So whatever a host on the path does to
//! some ports, it does to all configurations alike. In confirmation rounds two configurations exchange the very ports that
//! they had ([`exchanged`]): an effect of a port then appears under the other configuration.
//!
//! The draw is keyed with a secret of the run: a host off the path cannot predict the next port.

use std::fmt;
use std::ops::RangeInclusive;

use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::connect::State;
use crate::packet::owner::PortSet;
use crate::step::{SLOTS, Slot};

/// The source ports that a run may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// In ascending order.
    ports: Vec<u16>,
}

impl Pool {
    /// The ports of this range that are not reserved.
    pub fn new(range: RangeInclusive<u16>, reserved: impl Fn(u16) -> bool) -> Self {
        Self { ports: range.filter(|port| *port != 0 && !reserved(*port)).collect() }
    }

    /// The part of a slot: the first has eight tenths, the others have one tenth each.
    pub fn part(&self, slot: Slot) -> Self {
        let tenth = self.ports.len() / 10;
        let others = tenth * usize::from(SLOTS - 1);
        let first = self.ports.len() - others;
        let range = match usize::from(slot.number()) {
            0 => 0..first,
            number => first + (number - 1) * tenth..first + number * tenth,
        };
        Self { ports: self.ports.get(range).unwrap_or_default().to_vec() }
    }

    /// The number of ports.
    pub fn len(&self) -> usize {
        self.ports.len()
    }

    /// Whether there are no ports.
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// The lowest and the highest port; an empty range for an empty pool.
    pub fn bounds(&self) -> RangeInclusive<u16> {
        match (self.ports.first(), self.ports.last()) {
            (Some(low), Some(high)) => *low..=*high,
            _ => RangeInclusive::new(1, 0),
        }
    }

    /// The first port of the upper half.
    pub fn middle(&self) -> u16 {
        self.ports.get(self.ports.len() / 2).copied().unwrap_or_default()
    }

    /// The largest number of targets in a wave under this many configurations. Some ports are spare, in case other programs
    /// hold them.
    pub fn largest_wave(&self, configurations: usize) -> usize {
        self.ports.len() / 2 / configurations.max(1) * 15 / 16
    }
}

/// From the lowest port to the highest: `32768-60999`.
impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bounds = self.bounds();
        write!(f, "{}-{}", bounds.start(), bounds.end())
    }
}

/// One half of the pool, used by every second wave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Bank {
    /// The first half.
    #[default]
    First,
    /// The second half.
    Second,
}

impl Bank {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Bank::First => Bank::Second,
            Bank::Second => Bank::First,
        }
    }
}

/// Deals the ports of a pool.
#[derive(Debug)]
pub struct Ports {
    banks: [Vec<u16>; 2],
    /// The first port of the pool's upper half.
    middle: u16,
    secret: u64,
}

impl Ports {
    /// The ports of a pool, drawn by a secret.
    pub fn new(pool: &Pool, secret: u64) -> Self {
        let mut first = pool.ports.clone();
        first.shuffle(&mut StdRng::seed_from_u64(secret));
        let mut second = first.split_off(first.len().div_ceil(2));
        first.sort_unstable();
        second.sort_unstable();
        Self { banks: [first, second], middle: pool.middle(), secret }
    }

    /// The ports of a wave.
    pub fn deal(&self, bank: Bank, wave: u64) -> Deal {
        let mut rng = StdRng::seed_from_u64(self.secret);
        // Each wave has a draw of its own; the secret itself has drawn the banks.
        let key = rng.next_u64() ^ wave.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut rng = StdRng::seed_from_u64(key);
        let ports = &self.banks[bank as usize];
        let mut classes: [Vec<u16>; CLASSES] = Default::default();
        for port in ports {
            classes[usize::from(*port >= self.middle) << 1 | usize::from(port & 1)].push(*port);
        }
        classes.iter_mut().for_each(|class| class.shuffle(&mut rng));
        let (reserved, taken) = (PortSet::default(), PortSet::default());
        Deal {
            classes,
            bank: ports.iter().copied().collect(),
            turn: rng.next_u64(),
            reserved,
            taken,
        }
    }
}

/// Ports have four classes: in the lower or the upper half of the pool, even or odd.
const CLASSES: usize = 4;

/// The ports of one wave that are still free.
///
/// The baseline's port is in one half, those of the experiments are in the other, so that a filter on one half of the ports
/// does not affect both: it makes a target look broken or transient, which confirmation rounds correct, and not offline.
/// With one experiment, one of the two ports is even and the other odd.
#[derive(Debug)]
pub struct Deal {
    /// In the order of the draw, the last one first.
    classes: [Vec<u16>; CLASSES],
    bank: PortSet,
    /// Decides how classes take turns among targets.
    turn: u64,
    /// Kept for attempts that want exactly these.
    reserved: PortSet,
    taken: PortSet,
}

impl Deal {
    /// Keeps a port for an attempt that wants it later.
    pub fn reserve(&mut self, port: u16) {
        if self.bank.contains(port) {
            self.reserved.insert(port);
        }
    }

    /// The port to try for an attempt (its target and configuration), after this many others failed.
    pub fn draw(
        &mut self,
        (target, configuration): (usize, usize),
        wanted: Option<u16>,
        tried: u32,
    ) -> Option<u16> {
        /// How many ports similar to the wanted one to try.
        const LIKE: u32 = 8;
        let wish = match (wanted, tried) {
            (Some(port), 0) => self.exactly(port).or_else(|| self.like(port)),
            (Some(port), 1..LIKE) => self.like(port),
            _ => None,
        };
        wish.or_else(|| self.next(target, configuration))
    }

    /// The wanted port, if it belongs to this wave and is not taken.
    fn exactly(&mut self, port: u16) -> Option<u16> {
        let free = self.bank.contains(port) && !self.taken.contains(port);
        free.then(|| self.take(port))
    }

    /// A free port that is similar: near this one, and odd if it is odd. What a filter does to one it probably does to the
    /// other.
    fn like(&mut self, port: u16) -> Option<u16> {
        /// How far to search, in both directions.
        const FAR: u16 = 512;
        let steps = (2..=FAR).step_by(2);
        let near = steps.flat_map(|step| [port.checked_add(step), port.checked_sub(step)]);
        let found = near.flatten().find(|port| self.is_free(*port))?;
        Some(self.take(found))
    }

    /// The next port of the class whose turn it is; of another one if that is used up.
    fn next(&mut self, target: usize, configuration: usize) -> Option<u16> {
        // Each four consecutive targets have one class each; the draw decides which.
        let turn = self.turn.rotate_left((target / CLASSES % 64) as u32) as usize;
        // Every experiment has the other half; odd and even ones take turns.
        let other = match configuration {
            0 => 0b00,
            experiment => 0b10 | experiment & 1,
        };
        let class = (target.wrapping_add(turn) % CLASSES) ^ other;
        for class in (0..CLASSES).map(|more| class ^ more) {
            while let Some(port) = self.classes[class].pop() {
                if self.is_free(port) {
                    return Some(self.take(port));
                }
            }
        }
        None
    }

    /// The ports that are taken.
    pub fn taken(&self) -> &PortSet {
        &self.taken
    }

    fn is_free(&self, port: u16) -> bool {
        self.bank.contains(port) && !self.taken.contains(port) && !self.reserved.contains(port)
    }

    fn take(&mut self, port: u16) -> u16 {
        self.taken.insert(port);
        port
    }
}

/// The ports that a target's configurations want in a confirmation round, given those of the first round: the baseline
/// exchanges its port with a configuration whose attempt ended differently, or with the first one if none did. The others
/// want no certain port.
///
/// If a port alone made the difference, the baseline then fails where the experiment did, or the experiment succeeds where
/// the baseline did; either way the round does not confirm it.
pub fn exchanged(first: &[(Option<u16>, State)]) -> Vec<Option<u16>> {
    let mut wanted = vec![None; first.len()];
    let Some(((port, state), others)) = first.split_first() else { return wanted };
    let is_ok = |state: State| state == State::Ok;
    let other = others.iter().position(|(_, other)| is_ok(*other) != is_ok(*state));
    let other = other.unwrap_or(0) + 1;
    if let Some((others_port, _)) = first.get(other) {
        wanted[0] = *others_port;
        wanted[other] = *port;
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn pool() -> Pool {
        Pool::new(32768..=60999, |_| false)
    }

    #[test]
    fn attempts_and_consecutive_waves_share_no_port() {
        for (configurations, slot) in (1..=8).flat_map(|n| Slot::all().map(move |slot| (n, slot))) {
            let pool = pool().part(slot);
            let ports = Ports::new(&pool, 7);
            let mut seen = HashSet::new();
            for bank in [Bank::First, Bank::Second] {
                let mut deal = ports.deal(bank, 5);
                for configuration in 0..configurations {
                    for target in 0..pool.largest_wave(configurations) {
                        let port = deal.next(target, configuration).unwrap();
                        assert!(pool.ports.contains(&port) && seen.insert(port), "{port}");
                        assert!(deal.taken().contains(port));
                    }
                }
            }
        }
    }

    #[test]
    fn experiments_and_baseline_are_in_different_halves() {
        let pool = pool().part(Slot::default());
        let wave = pool.largest_wave(2);
        let mut deal = Ports::new(&pool, 11).deal(Bank::Second, 3);
        let wave = wave * 2 / 3;
        let [zero, one, two] = [0, 1, 2].map(|configuration| -> Vec<u16> {
            (0..wave).filter_map(|target| deal.next(target, configuration)).collect()
        });
        let is_high = |port: &u16| *port >= pool.middle();
        for others in [&one, &two] {
            let opposite = zero.iter().zip(others).filter(|(a, b)| is_high(a) != is_high(b));
            // The classes of a bank have only about the same size.
            assert!(opposite.count() > wave * 9 / 10);
        }
        assert!(zero.iter().zip(&one).filter(|(a, b)| *a % 2 != *b % 2).count() > wave * 9 / 10);
        let low = zero.iter().filter(|port| **port < pool.middle()).count();
        assert!((wave * 2 / 5..wave * 3 / 5).contains(&low), "{low} of {wave}");
    }

    #[test]
    fn slots_share_no_port_and_use_the_whole_pool() {
        let pool = Pool::new(32768..=60999, |port| port % 7 == 0);
        let parts = Slot::all().map(|slot| pool.part(slot).ports);
        assert_eq!(parts.collect::<Vec<_>>().concat(), pool.ports);
        assert!(pool.part(Slot::default()).len() > 8 * pool.len() / 10 - 10);
        assert_eq!(Pool::new(5..=5, |_| true).bounds().count(), 0);
    }

    #[test]
    fn each_wave_and_each_run_draws_anew() {
        let first = |secret, wave| -> Vec<u16> {
            let mut deal = Ports::new(&pool(), secret).deal(Bank::First, wave);
            (0..50).filter_map(|target| deal.next(target, 0)).collect()
        };
        let draws = [first(1, 0), first(1, 2), first(2, 0)];
        assert_eq!(first(1, 0), draws[0], "a draw can be repeated");
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            let common = draws[a].iter().filter(|port| draws[b].contains(port)).count();
            assert!(common < 10, "{common} of 50 ports come again");
        }
        let middle = pool().middle();
        let low = draws.concat().into_iter().filter(|port| *port < middle).count();
        assert!((40..110).contains(&low), "{low} of 150 ports are in the lower half");
        let ascending = draws[0].windows(2).filter(|pair| pair[0] < pair[1]).count();
        assert!((10..40).contains(&ascending), "ports do not come in order");
    }

    #[test]
    fn a_reserved_port_is_for_the_attempt_that_wants_it() {
        let ports = Ports::new(&Pool::new(1000..=1039, |_| false), 3);
        let kept = ports.banks[0][7];
        let mut deal = ports.deal(Bank::First, 1);
        deal.reserve(kept);
        let others: Vec<u16> =
            (0..20).filter_map(|number| deal.next(number / 2, number % 2)).collect();
        assert_eq!(others.len(), 19, "a class that is used up takes from another");
        assert!(!others.contains(&kept));
        assert_eq!(deal.exactly(kept), Some(kept));
        assert_eq!(deal.exactly(kept), None, "it is taken once");
        assert_eq!(deal.exactly(ports.banks[1][0]), None, "it belongs to the other bank");
        assert_eq!((deal.next(0, 0), deal.like(kept)), (None, None));
    }

    #[test]
    fn a_similar_port_is_near_and_of_the_same_parity() {
        let ports = Ports::new(&pool(), 3);
        let mut deal = ports.deal(Bank::First, 1);
        for wanted in [40_000, 40_001] {
            let like = deal.like(wanted).unwrap();
            assert!(like.abs_diff(wanted) < 100 && like % 2 == wanted % 2, "{like}");
        }
    }

    #[test]
    fn the_baseline_exchanges_its_port_with_a_differing_configuration() {
        use State::{Failed, Ok, Timeout};
        let look = |states: &[State]| -> Vec<Option<u16>> {
            let ports = (1..).map(Some);
            exchanged(&ports.zip(states.iter().copied()).collect::<Vec<_>>())
        };
        assert_eq!(look(&[Ok, Failed]), [Some(2), Some(1)]);
        assert_eq!(look(&[Ok, Ok]), [Some(2), Some(1)]);
        assert_eq!(look(&[Ok, Ok, Timeout]), [Some(3), None, Some(1)]);
        assert_eq!(look(&[Timeout, Failed, Ok]), [Some(3), None, Some(1)]);
        assert_eq!(look(&[Ok]), [None]);
        assert!(look(&[]).is_empty());
    }
}
