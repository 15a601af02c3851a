//! Upper bound of a run's memory, whatever targets and other hosts send.
//!
//! Each part is bounded: the capture's ring by its size, the flow table by one flow per source port (nothing
//! else is kept, see [`owner`](crate::packet::owner)), an attempt what its kind holds
//! ([`KindDef::memory`](crate::connect::KindDef::memory)), a wave its records. What a run reads itself (exclusion
//! lists, indexes of target lists, records pending confirmation) is not included.

use super::{available, evidence, source_ports};
use crate::connect::MOST_TRANSIENT;
use crate::engine::ports::Pool;
use crate::measurement::Plan;
use crate::observer::FlowTable;
use crate::observer::ring::{self, Ring};

/// Octets of the program itself and of parts bounded by constants: remembered fragments, buffers.
const PROGRAM: usize = 64 << 20;
/// Octets of an attempt in a record, as columns and while rules read it.
const ATTEMPT: usize = 1 << 10;
/// Waves with records in memory: one in flight, one merged and one written.
const WAVES: usize = 3;
/// Default number of connections in flight.
pub const CONCURRENCY: usize = 1000;
/// Octets of the largest ring that a run chooses.
pub const MOST_RING: u64 = ring::MOST;
/// Source ports of a host with the kernel's default range (32768 to 60999).
pub const USUAL_PORTS: usize = 28_232;

/// Maximum octets of a run with this many connections in flight, source ports, targets in a wave, and octets of the
/// capture's ring.
pub fn bound(plan: &Plan, concurrency: usize, ports: usize, wave: usize, ring: u64) -> u64 {
    let kinds = plan.configs.iter().map(|config| config.connection.kind.memory);
    let attempts = concurrency.min(ports).saturating_mul(kinds.max().unwrap_or(0));
    let records = wave.saturating_mul(plan.configs.len()).saturating_mul(WAVES * ATTEMPT);
    let parts = [PROGRAM, ports * FlowTable::FLOW, attempts, MOST_TRANSIENT, records];
    parts.into_iter().map(|part| part as u64).chain([ring]).sum()
}

/// The capture's ring of a run: of the given size, or by its rate and the memory that is available now.
pub fn ring(given: Option<u64>, rate: Option<u32>) -> Ring {
    match given {
        Some(octets) => Ring::given(octets),
        None => Ring::fitting(rate, available::octets()),
    }
}

/// The bound of a run; `evidence` says whether it keeps packets.
pub fn of_run(
    plan: &Plan,
    (concurrency, wave, evidence): (usize, Option<usize>, bool),
    pool: &Pool,
    ring: Ring,
) -> u64 {
    let largest = pool.largest_wave(source_ports::per_target(plan));
    let wave = wave.unwrap_or(largest).min(largest);
    let evidence = if evidence { evidence::MEMORY as u64 } else { 0 };
    bound(plan, concurrency, pool.len(), wave, ring.octets) + evidence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measurement::SHIPPED;

    #[test]
    fn a_handshake_is_below_300_mb_and_more_flows_take_more() {
        let (name, text) = SHIPPED.iter().find(|(name, _)| *name == "ecn").unwrap();
        let fields = crate::targets::Reader::from_targets(Vec::new()).fields();
        let plan = Plan::load(name, text, &fields).unwrap();
        let usual = bound(&plan, 1000, USUAL_PORTS, 5293, ring::MOST);
        assert!((128 << 20..300_000_000).contains(&usual), "{usual}");
        assert!(bound(&plan, 2000, USUAL_PORTS, 5293, ring::MOST) > usual);
        assert!(bound(&plan, 1000, 60_000, 5293, ring::MOST) > usual);
        assert!(bound(&plan, 1000, USUAL_PORTS, 6000, ring::MOST) > usual);
        assert_eq!(bound(&plan, 1000, USUAL_PORTS, 5293, 0), usual - ring::MOST);
    }
}
