//! How much memory a run takes at most, whatever targets and strangers send.
//!
//! Each part has a bound of its own: the capture's ring its size, the flow table one flow for each source port (nothing
//! else is kept, see [`owner`](crate::packet::owner)), an attempt what its kind holds
//! ([`KindDef::memory`](crate::connect::KindDef::memory)), a wave its records. What a run reads itself (lists of
//! exclusions, indexes of target lists, records that wait for confirmation rounds) is not in it.

use super::source_ports;
use crate::connect::MOST_TRANSIENT;
use crate::engine::ports::Pool;
use crate::measurement::Plan;
use crate::observer::{FlowTable, capture};

/// Octets of the program itself, and of what is bounded by constants: fragments that are remembered, buffers.
const PROGRAM: usize = 64 << 20;
/// Octets of one attempt in a record, as columns and while rules read them.
const ATTEMPT: usize = 1 << 10;
/// Waves whose records are in memory: one is sent, one merged and one written.
const WAVES: usize = 3;
/// Connections in flight of a run as it comes.
pub const CONCURRENCY: usize = 1000;
/// Source ports of a host as it comes (32768 to 60999).
pub const USUAL_PORTS: usize = 28_232;

/// The most octets that a run takes with this many connections in flight, source ports, and targets in a wave.
pub fn bound(plan: &Plan, concurrency: usize, ports: usize, wave: usize) -> u64 {
    let kinds = plan.configs.iter().map(|config| config.connection.kind.memory);
    let attempts = concurrency.min(ports).saturating_mul(kinds.max().unwrap_or(0));
    let records = wave.saturating_mul(plan.configs.len()).saturating_mul(WAVES * ATTEMPT);
    let parts =
        [PROGRAM, capture::RING, ports * FlowTable::FLOW, attempts, MOST_TRANSIENT, records];
    parts.into_iter().map(|part| part as u64).sum()
}

/// The bound of a run, for its metadata.
pub fn of_run(plan: &Plan, concurrency: usize, wave: Option<usize>, pool: &Pool) -> String {
    let largest = pool.largest_wave(source_ports::per_target(plan));
    let wave = wave.unwrap_or(largest).min(largest);
    bound(plan, concurrency, pool.len(), wave).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::SHIPPED;

    #[test]
    fn a_handshake_takes_less_than_300_mb_and_more_flows_take_more() {
        let (name, text) = SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap();
        let fields = crate::targets::Reader::from_targets(Vec::new()).fields();
        let plan = Plan::load(name, text, &fields).unwrap();
        let usual = bound(&plan, 1000, USUAL_PORTS, 5293);
        assert!((128 << 20..300_000_000).contains(&usual), "{usual}");
        assert!(bound(&plan, 2000, USUAL_PORTS, 5293) > usual);
        assert!(bound(&plan, 1000, 60_000, 5293) > usual);
        assert!(bound(&plan, 1000, USUAL_PORTS, 6000) > usual);
    }
}
