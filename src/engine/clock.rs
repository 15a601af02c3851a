//! Detects steps of the system's clock: attempts and packets are stamped with it, and nothing else reports a step.
//!
//! Time is an argument here: the driver reads both clocks.

use std::time::Duration;

/// Largest difference between two readings: less than any step that would spoil a result, more than reading takes.
const TOLERANCE: Duration = Duration::from_millis(10);
/// A clock that is slewed runs faster or slower by at most this share (adjtimex(2): 500 parts per million).
const SLEW: u32 = 1000;

/// Compares the system's clock with the monotonic one.
#[derive(Debug, Default)]
pub struct Clock {
    last: Option<(Duration, Duration)>,
    stepped: bool,
}

impl Clock {
    /// Takes a reading of both clocks: time since 1970, and monotonic time since any fixed moment.
    pub fn handle_reading(&mut self, wall: Duration, monotonic: Duration) {
        if let Some((wall_before, before)) = self.last.replace((wall, monotonic)) {
            let passed = monotonic.saturating_sub(before);
            // Where the wall clock should be now.
            let off = wall.abs_diff(wall_before + passed);
            if off > TOLERANCE + passed / SLEW {
                log::warn!("the system's clock was set by {} ms", off.as_millis());
                self.stepped = true;
            }
        }
    }

    /// Whether it stepped since the last call.
    pub fn poll_stepped(&mut self) -> bool {
        std::mem::take(&mut self.stepped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Readings in milliseconds, of the wall clock and of the monotonic clock.
    fn steps(readings: &[(u64, u64)]) -> Vec<bool> {
        let mut clock = Clock::default();
        let each = readings.iter().map(|(wall, monotonic)| {
            clock.handle_reading(Duration::from_millis(*wall), Duration::from_millis(*monotonic));
            clock.poll_stepped()
        });
        each.collect()
    }

    #[test]
    fn a_step_in_either_direction_is_reported_once() {
        let day = 86_400_000;
        assert_eq!(
            steps(&[(day, 0), (day + 100, 100), (2 * day, 200), (2 * day + 100, 300), (day, 400)]),
            [false, false, true, false, true]
        );
    }

    #[test]
    fn a_slewed_clock_does_not_step() {
        assert_eq!(steps(&[(1000, 0), (1105, 100), (601_400, 600_100)]), [false; 3]);
        assert_eq!(steps(&[(1000, 0), (1111, 100)]), [false, true]);
    }
}
