//! Whether the program was kept from its work: stopped, or the machine asleep.
//!
//! Who does not look after attempts must not find that they took too long. Time is an argument here: the driver reads
//! both clocks at every turn of its loop.

use std::time::Duration;

/// A turn of the loop may take this long.
const TURN: Duration = Duration::from_millis(300);
/// After so long attempts that were under way say nothing any more: peers may have given up meanwhile.
const LONG: Duration = Duration::from_secs(2);

/// Compares the turns of the loop with the clocks.
#[derive(Debug, Default)]
pub struct Pauses {
    /// Time since any fixed moment, without and with the time that the machine was asleep.
    last: (Duration, Duration),
    longest: Duration,
}

impl Pauses {
    /// Nothing was under way until now.
    pub fn handle_rest(&mut self, monotonic: Duration, boot: Duration) {
        self.last = (monotonic, boot);
    }

    /// A turn of the loop, with attempts under way; gives how much time it lost of the monotonic clock, by which they are
    /// timed.
    pub fn handle_turn(&mut self, monotonic: Duration, boot: Duration) -> Duration {
        let (monotonic_before, boot_before) = std::mem::replace(&mut self.last, (monotonic, boot));
        let passed = monotonic.saturating_sub(monotonic_before);
        let asleep = boot.saturating_sub(boot_before).saturating_sub(passed);
        let lost = if passed > TURN { passed } else { Duration::ZERO };
        self.longest = self.longest.max(lost + asleep);
        lost
    }

    /// The longest pause since this was last asked, if it was a long one.
    pub fn poll_long(&mut self) -> Option<Duration> {
        Some(std::mem::take(&mut self.longest)).filter(|pause| *pause >= LONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn turns_that_take_their_time_lose_none() {
        let mut pauses = Pauses::default();
        pauses.handle_rest(MS(5000), MS(9000));
        assert_eq!(pauses.handle_turn(MS(5100), MS(9100)), Duration::ZERO);
        assert_eq!(pauses.handle_turn(MS(5400), MS(9400)), Duration::ZERO);
        assert_eq!(pauses.poll_long(), None);
    }

    #[test]
    fn a_stopped_process_is_given_its_time_back() {
        let mut pauses = Pauses::default();
        pauses.handle_rest(MS(0), MS(0));
        assert_eq!(pauses.handle_turn(MS(900), MS(900)), MS(900));
        assert_eq!(pauses.poll_long(), None, "that was no long pause");
        assert_eq!(pauses.handle_turn(MS(4900), MS(4900)), MS(4000));
        assert_eq!(pauses.handle_turn(MS(5000), MS(5000)), Duration::ZERO);
        assert_eq!(pauses.poll_long(), Some(MS(4000)));
        assert_eq!(pauses.poll_long(), None, "it is told once");
    }

    #[test]
    fn sleep_is_seen_by_the_clock_that_goes_on() {
        let mut pauses = Pauses::default();
        pauses.handle_rest(MS(0), MS(0));
        // The monotonic clock stood still: attempts were not timed meanwhile.
        assert_eq!(pauses.handle_turn(MS(100), MS(3_600_100)), Duration::ZERO);
        assert_eq!(pauses.poll_long(), Some(MS(3_600_000)));
    }

    #[test]
    fn what_comes_between_waves_is_no_pause() {
        let mut pauses = Pauses::default();
        pauses.handle_rest(MS(60_000), MS(90_000));
        pauses.handle_turn(MS(60_100), MS(90_100));
        assert_eq!(pauses.poll_long(), None);
    }
}
