//! `run --dry-run`: what a run would be, before anything is changed or sent.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, HumanDuration};
use serde_json::{Value, json};

use super::account::Account;
use super::explain::{self, Sum};
use super::{Format, out};
use crate::engine::scheduler::Limits;
use crate::error::{Error, Result};
use crate::measurement::{Connection, Plan};
use crate::step::Turns;
use crate::targets::Reader;

/// What a run would be.
#[derive(Debug)]
struct Forecast {
    /// Targets that would be asked.
    targets: u64,
    /// Connections started.
    attempts: u64,
    /// At the least, usually, and at most.
    sums: [Sum; 3],
    /// At the least, and if nobody answers.
    seconds: [Duration; 2],
    /// What the shortest time comes from.
    bound: &'static str,
}

/// Targets by whom a cap is for.
#[derive(Debug, Default)]
struct Crowds {
    targets: u64,
    addresses: HashMap<IpAddr, u64>,
    prefixes: HashMap<IpAddr, u64>,
}

/// Octets of the smallest packet that an attempt begins with: IPv4 and UDP, or a TCP header without options.
const LEAST: u64 = 28;

/// Reads the list to its end and says what a run over it would be.
///
/// # Errors
/// When reading fails.
pub fn print(
    plan: &Plan,
    reader: &mut Reader,
    limits: &Limits,
    wave: usize,
    format: Format,
) -> Result<()> {
    let mut crowds = Crowds::default();
    loop {
        let batch = reader.next_batch(4096)?;
        if batch.is_empty() {
            break;
        }
        crowds.targets += batch.len() as u64;
        for target in batch {
            // What a name leads to is found out when it is asked.
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
        return Err(Error::Usage(format!("no targets: {why}")));
    }
    let account = Account::of(reader);
    let forecast = Forecast::of(plan, &crowds, limits, wave);
    match format {
        Format::Text => out::print(&forecast.text(plan, &account)),
        Format::Json => out::print_json(&forecast.json(plan, &account)),
    }
}

impl Forecast {
    fn of(plan: &Plan, crowds: &Crowds, limits: &Limits, wave: usize) -> Self {
        let targets = crowds.targets;
        let times =
            |connection: &Connection| (u64::from(connection.options.repeat()), connection.timeout);
        let configurations = plan.configs.iter().map(|config| times(&config.connection));
        let asked: u64 = configurations.clone().map(|(times, _)| times).sum();
        let probe = plan.probe().map(|probe| times(&probe.connection));
        let probes = probe.map_or(0, |(times, _)| times);
        let per_target = asked + probes;
        let all = configurations.chain(probe);
        let silent: Duration = all.map(|(times, timeout)| timeout * clamp(times)).sum();
        let attempts = targets * per_target;
        // A name may lead nowhere, and who is down is asked no more.
        let fewest = match (plan.prepare.resolve, probe) {
            (true, _) => 0,
            (false, Some(_)) => targets * probes,
            (false, None) => attempts,
        };
        let (usual, most) = explain::in_all(plan);
        let all = |sum: Sum| Sum { packets: sum.packets * targets, octets: sum.octets * targets };
        let least = Sum { packets: fewest, octets: fewest * LEAST };
        let fewest_each = fewest.checked_div(targets).unwrap_or(0);
        let largest = |crowd: &HashMap<IpAddr, u64>| crowd.values().max().copied().unwrap_or(0);
        let [address, prefix] = limits.caps.gaps();
        let rate = limits.rate.map(|rate| Duration::from_secs(1) / rate.max(1));
        // The first one of each waits for nobody.
        let span = |gap: Option<Duration>, starts: u64| {
            gap.map_or(Duration::ZERO, |gap| gap.mul_f64(starts.saturating_sub(1) as f64))
        };
        let bounds = [
            (Duration::ZERO, "nothing: no --rate is given"),
            (span(rate, fewest), "--rate"),
            (span(address, largest(&crowds.addresses) * fewest_each), "--rate-per-address"),
            (span(prefix, largest(&crowds.prefixes) * fewest_each), "--rate-per-prefix"),
        ];
        let (shortest, bound) =
            bounds.into_iter().max_by_key(|(span, _)| *span).unwrap_or_default();
        // So many at a time, and the last ones of each turn wait for their timeout.
        let together = targets.div_ceil(limits.concurrency.max(1) as u64);
        let waves = match plan.turns() {
            Turns::Waves => targets.div_ceil(wave.max(1) as u64),
            Turns::AtOnce => 1,
        };
        let longest = shortest + silent * clamp(together + waves);
        let seconds = [shortest, longest];
        Self { targets, attempts, sums: [least, all(usual), all(most)], seconds, bound }
    }

    fn text(&self, plan: &Plan, account: &Account) -> String {
        let [least, usual, most] = self.sums;
        let [shortest, longest] = self.seconds;
        let count = |sum: Sum| HumanCount(sum.packets).to_string();
        let bytes = |sum: Sum| HumanBytes(sum.octets).to_string();
        let mut lines = vec![
            format!("{}: nothing was sent and nothing was changed. A run would be", plan.title),
            format!(
                "  targets      {} of {} read",
                HumanCount(self.targets),
                HumanCount(account.read)
            ),
            format!("  connections  {}", HumanCount(self.attempts)),
            format!(
                "  packets      usually {}, at least {}, at most {}",
                count(usual),
                count(least),
                count(most)
            ),
            format!(
                "  octets       usually {}, at least {}, at most {}",
                bytes(usual),
                bytes(least),
                bytes(most)
            ),
            format!(
                "  time         at least {}, by {}; about {} if nobody answers",
                HumanDuration(shortest),
                self.bound,
                HumanDuration(longest)
            ),
        ];
        lines.extend(account.notes().into_iter().map(|note| format!("  {note}")));
        lines.join("\n") + "\n"
    }

    fn json(&self, plan: &Plan, account: &Account) -> Value {
        let [packets, octets] = [|sum: &Sum| sum.packets, |sum: &Sum| sum.octets].map(|of| {
            let [least, usual, most] = &self.sums;
            json!({ "least": of(least), "usual": of(usual), "most": of(most) })
        });
        let [least, silent] = self.seconds.map(|span| span.as_secs_f64());
        json!({
            "measurement": plan.name,
            "dry_run": true,
            "targets": { "read": account.read, "asked": self.targets, "refused": account.refusals() },
            "attempts": self.attempts,
            "packets": packets,
            "octets": octets,
            "seconds": { "least": least, "if_silent": silent, "bound": self.bound },
        })
    }
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
