//! The forecast of a run: its size and duration, computed without sending anything.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::account::Account;
use crate::cost::{self, Sum};
use crate::engine::scheduler::Limits;
use crate::error::{Error, ErrorKind, Result};
use crate::measurement::{Connection, Plan};
use crate::observer::ring::Ring;
use crate::step::Turns;
use crate::targets::Reader;

/// The forecast of a run.
#[derive(Debug)]
pub struct Forecast {
    /// The account of the list.
    pub account: Account,
    /// Targets to probe.
    pub targets: u64,
    /// Connections to start.
    pub attempts: u64,
    /// Minimum, usual and maximum.
    pub sums: [Sum; 3],
    /// Maximum octets that are read of what targets send.
    pub read: u64,
    /// Minimum, and if no target answers.
    pub seconds: [Duration; 2],
    /// The limit that determines the minimum time.
    pub bound: &'static str,
    /// Maximum octets of memory.
    pub memory: u64,
    /// The capture's ring, which is part of it.
    pub ring: Option<Ring>,
}

/// Targets per address and per prefix, for the caps.
#[derive(Debug, Default)]
struct Crowds {
    targets: u64,
    addresses: HashMap<IpAddr, u64>,
    prefixes: HashMap<IpAddr, u64>,
}

/// Octets of the smallest first packet of an attempt: IPv4 with UDP, or with a TCP header without options.
const LEAST: u64 = 28;

/// Reads the list to its end and returns the forecast of a run over it.
///
/// # Errors
/// When reading fails, or when there is no target.
pub(super) fn read(
    plan: &Plan,
    reader: &mut Reader,
    limits: &Limits,
    wave: usize,
) -> Result<Forecast> {
    let mut crowds = Crowds::default();
    loop {
        let batch = reader.next_batch(4096)?;
        if batch.is_empty() {
            break;
        }
        crowds.targets += batch.len() as u64;
        for target in batch {
            // Names are looked up when they are probed.
            let Some(address) = target.addr else { continue };
            if limits.caps.per_address.is_some() {
                *crowds.addresses.entry(address).or_default() += 1;
            }
            if limits.caps.per_prefix.is_some() {
                *crowds.prefixes.entry(limits.caps.prefix(address)).or_default() += 1;
            }
        }
    }
    if !reader.has_targets() {
        let why = reader.refusals().in_words().unwrap_or_else(|| "the list is empty".into());
        return Err(Error::refused(ErrorKind::NothingToSend, format!("no targets: {why}")));
    }
    Ok(Forecast::of(plan, &crowds, limits, wave, Account::of(reader)))
}

impl Forecast {
    fn of(plan: &Plan, crowds: &Crowds, limits: &Limits, wave: usize, account: Account) -> Self {
        let targets = crowds.targets;
        let times =
            |connection: &Connection| (u64::from(connection.options.repeat()), connection.timeout);
        let configurations = plan.configs.iter().map(|config| times(&config.connection));
        let asked: u64 = configurations.clone().map(|(times, _)| times).sum();
        let probe = plan.probe().map(|probe| times(&probe.connection));
        let probes = probe.map_or(0, |(times, _)| times);
        let per_target = asked + probes;
        let all = configurations.chain(probe);
        let silent = all.map(|(times, timeout)| timeout * clamp(times));
        let [silent, slowest] =
            [silent.clone().sum::<Duration>(), silent.max().unwrap_or_default()];
        let attempts = targets * per_target;
        // A name may have no address, and targets that are down are not probed further.
        let fewest = match (plan.prepare.resolve, probe) {
            (true, _) => 0,
            (false, Some(_)) => targets * probes,
            (false, None) => attempts,
        };
        let (usual, most) = cost::in_all(plan);
        let all = |sum: Sum| Sum { packets: sum.packets * targets, octets: sum.octets * targets };
        let least = Sum { packets: fewest, octets: fewest * LEAST };
        let fewest_each = fewest.checked_div(targets).unwrap_or(0);
        let largest = |crowd: &HashMap<IpAddr, u64>| crowd.values().max().copied().unwrap_or(0);
        let [address, prefix] = limits.caps.gaps();
        let rate = limits.rate.map(|rate| Duration::from_secs(1) / rate.max(1));
        // The first connection to each address or prefix does not wait.
        let span = |gap: Option<Duration>, starts: u64| {
            gap.map_or(Duration::ZERO, |gap| gap.mul_f64(starts.saturating_sub(1) as f64))
        };
        let bounds = [
            (Duration::ZERO, "nothing: no rate limit is set"),
            (span(rate, fewest), "the rate limit"),
            (span(address, largest(&crowds.addresses) * fewest_each), "the rate limit per address"),
            (span(prefix, largest(&crowds.prefixes) * fewest_each), "the rate limit per prefix"),
        ];
        let (shortest, bound) =
            bounds.into_iter().max_by_key(|(span, _)| *span).unwrap_or_default();
        // `concurrency` attempts at a time; then the last ones of each turn wait for their timeout.
        let together = targets.div_ceil(limits.concurrency.max(1) as u64);
        let waves = clamp(targets.div_ceil(wave.max(1) as u64));
        let last = match (plan.turns(), probe.is_some()) {
            (Turns::Waves, _) => silent * waves,
            (Turns::Overlapping, false) => slowest * waves,
            // The probes of a wave end before its other attempts start.
            (Turns::Overlapping, true) => slowest * 2 * waves,
            (Turns::AtOnce, _) => silent,
        };
        let longest = shortest + silent * clamp(together) + last;
        let seconds = [shortest, longest];
        let sums = [least, all(usual), all(most)];
        let read = cost::read_in_all(plan) * targets;
        Self { account, targets, attempts, sums, read, seconds, bound, memory: 0, ring: None }
    }
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
