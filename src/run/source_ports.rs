//! The source ports of a run: a given range, or the host's ephemeral ports.
//!
//! Host and cloud firewalls expect client ports in the kernel's own range (ip_local_port_range). That is the default,
//! without the ports reserved for servers (ip_local_reserved_ports; both in the kernel's ip-sysctl.rst).

use std::fs;
use std::ops::RangeInclusive;

use crate::engine::ports::Pool;
use crate::error::{Doing as _, Error, Result, Setting};
use crate::measurement::Plan;
use crate::step::Slot;

const RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";

/// Reads `LOW-HIGH`.
///
/// # Errors
/// What to write instead.
pub fn parse(text: &str) -> Result<RangeInclusive<u16>, String> {
    let range = text.split_once('-').and_then(|(low, high)| {
        Some(low.trim().parse::<u16>().ok()?..=high.trim().parse::<u16>().ok()?)
    });
    match range {
        Some(range) if *range.start() > 0 && range.start() < range.end() => Ok(range),
        Some(_) => Err("the first port must be 1 or more and below the last: 32768-60999".into()),
        None => Err("must be a range of ports: 32768-60999".into()),
    }
}

/// Ports per target in a wave: one for each configuration, and one for a preparatory probe.
pub fn per_target(plan: &Plan) -> usize {
    plan.configs.len() + usize::from(plan.prepare.probe.is_some())
}

/// The ports of a run in a slot, enough for waves with this many configurations. A `given` range is used whole; the
/// host's range is shared with other runs.
///
/// # Errors
/// When too few ports are left, or the host's range cannot be read.
pub fn pool(
    given: Option<&RangeInclusive<u16>>,
    slot: Slot,
    configurations: usize,
) -> Result<Pool> {
    let reserved = ranges(&read(RESERVED).unwrap_or_default());
    let is_reserved = |port| reserved.iter().any(|range| range.contains(&port));
    let (pool, range) = match given {
        Some(range) => (Pool::new(range.clone(), is_reserved), range.clone()),
        None => {
            let range = local(&read(RANGE)?)?;
            (Pool::new(range.clone(), is_reserved).part(slot), range)
        }
    };
    if pool.largest_wave(configurations) == 0 {
        return Err(Error::needs(
            Setting::SourcePorts,
            format!(
                "source ports: of {}-{} only {} are left for {configurations} configurations; reserve fewer \
                 (net.ipv4.ip_local_reserved_ports)",
                range.start(),
                range.end(),
                pool.len()
            ),
        ));
    }
    Ok(pool)
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).doing(|| format!("read {path}"))
}

/// Parses a range as the kernel writes it: two numbers with white space between them.
fn local(text: &str) -> Result<RangeInclusive<u16>> {
    let mut numbers = text.split_whitespace().map(str::parse::<u16>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(low)), Some(Ok(high))) if low < high => Ok(low..=high),
        _ => Err(Error::Failed(format!("read {RANGE}: `{}` is not a range", text.trim()))),
    }
}

/// Parses `8080,9000-9010`; invalid entries are skipped.
fn ranges(text: &str) -> Vec<RangeInclusive<u16>> {
    let one = |part: &str| {
        let (low, high) = part.split_once('-').unwrap_or((part, part));
        Some(low.parse().ok()?..=high.parse().ok()?)
    };
    text.trim().split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_kernel_writes_them() {
        assert_eq!(local("32768\t60999\n").unwrap(), 32768..=60999);
        assert!(local("no").is_err());
        assert_eq!(ranges("8080,9000-9010\n"), [8080..=8080, 9000..=9010]);
        assert!(ranges("\n").is_empty());
        assert_eq!(parse("1024-2047"), Ok(1024..=2047));
        for wrong in ["", "1024", "0-9", "9-9", "10-9", "1-65536", "a-b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_given_range_is_used_whole_and_must_suffice() {
        let range = 20_000..=20_999;
        let all = Slot::all().map(|slot| pool(Some(&range), slot, 2).unwrap().len());
        assert_eq!(all.collect::<Vec<_>>(), [1000; 3]);
        let error = pool(Some(&(20_000..=20_002)), Slot::default(), 2).unwrap_err();
        assert!(
            matches!(error, Error::NeedsSetting { setting: Setting::SourcePorts, .. }),
            "{error}"
        );
    }
}
