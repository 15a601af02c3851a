//! Records the jumps of a capture's clock, to find the flows that were live at one.

use crate::field::Timestamp;

/// Jumps that are kept in addition to two for each live flow.
const SPARE: usize = 1024;

/// A jump: the generation of the newest flow at that point, and the clock.
type Step = (u32, i64);

/// The jumps that live flows may have seen, in order.
///
/// Generations wrap around, so they are compared by age.
#[derive(Debug, Default)]
pub(super) struct Steps(Vec<Step>);

impl Steps {
    /// Adds a jump at `clock`. `now` is the newest flow's generation, `live` are the generations of the `count` live
    /// flows.
    pub(super) fn add(
        &mut self,
        now: u32,
        clock: Timestamp,
        count: usize,
        live: impl Iterator<Item = u32>,
    ) {
        // No flow began since the last jump, so every flow that is live now has seen that one.
        if self.0.last().is_some_and(|(generation, _)| *generation == now) {
            return;
        }
        if self.0.len() > 2 * count + SPARE {
            let oldest = live.map(|generation| now.wrapping_sub(generation)).max().unwrap_or(0);
            self.0.retain(|(generation, _)| now.wrapping_sub(*generation) <= oldest);
        }
        self.0.push((now, clock.0));
    }

    /// Whether the clock jumped after the flow of generation `flow` began and before the time `silent`.
    pub(super) fn between(&self, flow: u32, now: u32, silent: i64) -> bool {
        let age = now.wrapping_sub(flow);
        let first = self.0.partition_point(|(generation, _)| now.wrapping_sub(*generation) > age);
        self.0.get(first).is_some_and(|(_, clock)| *clock < silent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_has_the_jumps_between_its_begin_and_its_idle_time() {
        let mut steps = Steps::default();
        assert!(!steps.between(1, 1, i64::MAX));
        for (now, clock) in [(5, 100), (5, 110), (9, 200)] {
            steps.add(now, Timestamp(clock), 9, 0..now);
        }
        for (flow, silent, seen) in [
            (5, 100, false),
            (5, 101, true),
            (1, 500, true),
            (6, 150, false),
            (6, 201, true),
            (10, 500, false),
        ] {
            assert_eq!(steps.between(flow, 12, silent), seen, "{flow} {silent}");
        }
    }

    #[test]
    fn generations_wrap_and_jumps_older_than_every_flow_are_dropped() {
        let mut steps = Steps::default();
        let first = u32::MAX - 2000;
        for step in 0..100_000u32 {
            let now = first.wrapping_add(step);
            // Only the last ten flows are live.
            let live = (0..10).map(|age| now.wrapping_sub(age));
            steps.add(now, Timestamp(step.into()), 10, live);
            assert!(steps.0.len() <= SPARE + 22);
        }
        let now = first.wrapping_add(99_999);
        assert!(steps.between(now.wrapping_sub(9), now, i64::MAX));
        assert!(!steps.between(now.wrapping_sub(9), now, 99_990));
        assert!(!steps.between(now.wrapping_add(1), now.wrapping_add(1), i64::MAX));
    }
}
