//! Detects that the program could not run: it was stopped, or the machine was asleep.
//!
//! Time in which the loop did not handle attempts must not count as theirs. Time is an argument here: the driver reads both
//! clocks at every turn of its loop.

use std::time::Duration;

/// The longest normal turn of the loop.
const TURN: Duration = Duration::from_millis(300);
/// After a pause this long, attempts in flight are void: peers may have given up in the meantime.
const LONG: Duration = Duration::from_secs(5);

/// One reading of the clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reading {
    /// Time since any fixed moment.
    pub monotonic: Duration,
    /// The same, including the time that the machine was asleep.
    pub boot: Duration,
    /// The processor time of this thread: a busy thread is not paused.
    pub busy: Duration,
}

/// Compares the turns of the loop with the clocks.
#[derive(Debug, Default)]
pub struct Pauses {
    last: Reading,
    longest: Duration,
}

impl Pauses {
    /// Nothing was in flight until now.
    pub fn handle_rest(&mut self, now: Reading) {
        self.last = now;
    }

    /// A turn of the loop, with attempts in flight; returns how much time was lost on the monotonic clock, which times them.
    pub fn handle_turn(&mut self, now: Reading) -> Duration {
        let before = std::mem::replace(&mut self.last, now);
        let passed = now.monotonic.saturating_sub(before.monotonic);
        let asleep = now.boot.saturating_sub(before.boot).saturating_sub(passed);
        let busy = now.busy.saturating_sub(before.busy);
        let lost = if passed > TURN { passed } else { Duration::ZERO };
        self.longest = self.longest.max(lost.saturating_sub(busy) + asleep);
        lost
    }

    /// The longest pause since the last call, if it was a long one.
    pub fn poll_long(&mut self) -> Option<Duration> {
        Some(std::mem::take(&mut self.longest)).filter(|pause| *pause >= LONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn at(monotonic: u64, boot: u64, busy: u64) -> Reading {
        Reading { monotonic: MS(monotonic), boot: MS(boot), busy: MS(busy) }
    }

    #[test]
    fn a_busy_turn_is_not_a_pause() {
        let mut pauses = Pauses::default();
        pauses.handle_rest(at(0, 0, 0));
        assert_eq!(
            pauses.handle_turn(at(9000, 9000, 8000)),
            MS(9000),
            "attempts get it back all the same"
        );
        assert_eq!(pauses.poll_long(), None);
    }

    #[test]
    fn normal_turns_lose_no_time() {
        let mut pauses = Pauses::default();
        pauses.handle_rest(at(5000, 9000, 0));
        assert_eq!(pauses.handle_turn(at(5100, 9100, 0)), Duration::ZERO);
        assert_eq!(pauses.handle_turn(at(5400, 9400, 0)), Duration::ZERO);
        assert_eq!(pauses.poll_long(), None);
    }

    #[test]
    fn attempts_of_a_stopped_process_get_the_time_back() {
        let mut pauses = Pauses::default();
        pauses.handle_rest(at(0, 0, 0));
        assert_eq!(pauses.handle_turn(at(900, 900, 0)), MS(900));
        assert_eq!(pauses.poll_long(), None, "that was not a long pause");
        assert_eq!(pauses.handle_turn(at(6900, 6900, 0)), MS(6000));
        assert_eq!(pauses.handle_turn(at(7000, 7000, 0)), Duration::ZERO);
        assert_eq!(pauses.poll_long(), Some(MS(6000)));
        assert_eq!(pauses.poll_long(), None, "it is reported once");
    }

    #[test]
    fn sleep_is_detected_by_the_boot_clock() {
        let mut pauses = Pauses::default();
        pauses.handle_rest(at(0, 0, 0));
        // The monotonic clock stood still: attempts were not timed while asleep.
        assert_eq!(pauses.handle_turn(at(100, 3_600_100, 0)), Duration::ZERO);
        assert_eq!(pauses.poll_long(), Some(MS(3_600_000)));
    }

    #[test]
    fn time_between_waves_is_not_a_pause() {
        let mut pauses = Pauses::default();
        pauses.handle_rest(at(60_000, 90_000, 0));
        pauses.handle_turn(at(60_100, 90_100, 0));
        assert_eq!(pauses.poll_long(), None);
    }
}
