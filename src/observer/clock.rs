//! The clock of a capture: packet time without the jumps of the machine that captured.
//!
//! Packets come in the order of the file, their times mostly too. A quiet network makes time leap forward, and
//! that ends flows; a clock that was set, or one damaged record, must not. The packet after a leap tells them
//! apart: after silence, time goes on from there.

use crate::field::Timestamp;

/// Nanoseconds between the times of two packets in a row above which their order matters: more than captures
/// of several interfaces or queues are out of order by.
const LEAP: i64 = 5_000_000_000;

/// Time as it has passed so far; never goes back.
#[derive(Debug, Default)]
pub(super) struct Clock {
    now: Timestamp,
    /// Nanoseconds by which the machine's clock was set back so far.
    behind: i64,
}

impl Clock {
    /// Where the clock stands at a packet with this time. `None` if it depends on the next packet: then
    /// [`settle`](Self::settle) knows.
    #[inline]
    pub(super) fn tick(&mut self, time: Timestamp) -> Option<Timestamp> {
        if time == Timestamp::UNKNOWN {
            return Some(self.now);
        }
        let at = self.of(time);
        let ahead = at.0.saturating_sub(self.now.0);
        if (0..=LEAP).contains(&ahead) || self.now == Timestamp::UNKNOWN {
            self.now = at;
        } else if !(-LEAP..=0).contains(&ahead) {
            return None;
        }
        Some(self.now)
    }

    /// Where the clock stands at a packet with a time that leaps, when the next packet's time is known, or that
    /// there is none. Says whether the machine's clock jumped, or this packet's time is wrong.
    pub(super) fn settle(&mut self, time: Timestamp, next: Option<Timestamp>) -> (Timestamp, bool) {
        let at = self.of(time);
        let next = next.filter(|next| *next != Timestamp::UNKNOWN).map(|next| self.of(next));
        if at > self.now {
            // Time that goes back from there never was there.
            let wrong = next.is_some_and(|next| at.0.saturating_sub(next.0) > LEAP);
            if !wrong {
                self.now = at;
            }
            (self.now, wrong)
        } else {
            let returns = next.is_some_and(|next| self.now.0.saturating_sub(next.0) <= LEAP);
            if !returns {
                // From here on this is what the machine takes for now.
                let back = self.now.0.saturating_sub(at.0);
                self.behind = self.behind.saturating_add(back);
            }
            (self.now, true)
        }
    }

    fn of(&self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_add(self.behind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Where the clock stands at each packet, in seconds, and how many jumps there were.
    fn seconds(times: &[i64]) -> (Vec<i64>, usize) {
        let (mut clock, mut jumps) = (Clock::default(), 0);
        let time = |place: usize| times.get(place).map(|time| Timestamp(time * SECOND));
        let stands = (0..times.len()).map(|place| {
            let now = clock.tick(time(place).unwrap()).unwrap_or_else(|| {
                let (now, jump) = clock.settle(time(place).unwrap(), time(place + 1));
                jumps += usize::from(jump);
                now
            });
            now.0 / SECOND
        });
        (stands.collect(), jumps)
    }

    #[test]
    fn silence_is_time_and_disorder_is_not() {
        assert_eq!(seconds(&[1, 2, 100, 101, 9000]), (vec![1, 2, 100, 101, 9000], 0));
        assert_eq!(seconds(&[10, 12, 9, 13]), (vec![10, 12, 12, 13], 0));
        assert_eq!(seconds(&[0, 100, 200, 300]), (vec![0, 100, 200, 300], 0));
    }

    #[test]
    fn one_wrong_time_does_not_move_the_clock() {
        assert_eq!(seconds(&[10, 5000, 11, 12]), (vec![10, 10, 11, 12], 1));
        // Also if it is a while until the next packet, or before the epoch of the others.
        assert_eq!(seconds(&[10, 5000, 20, 21]), (vec![10, 10, 20, 21], 1));
        assert_eq!(seconds(&[5000, 1, 5001]), (vec![5000, 5000, 5001], 1));
        // The first one, and two in a row, look like a clock that was set.
        assert_eq!(seconds(&[5000, 10, 11, 17]), (vec![5000, 5000, 5001, 5007], 1));
        assert_eq!(seconds(&[10, 5000, 5001, 11, 12]), (vec![10, 5000, 5001, 5001, 5002], 1));
    }

    #[test]
    fn after_a_step_back_time_goes_on() {
        let (stands, jumps) = seconds(&[100, 101, 50, 51, 91, 92, 20, 30]);
        assert_eq!((stands, jumps), (vec![100, 101, 101, 102, 142, 143, 143, 153], 2));
    }

    #[test]
    fn times_at_both_ends_of_what_can_be_said_are_survived() {
        let mut clock = Clock::default();
        let (first, last) = (Timestamp::FIRST, Timestamp(i64::MAX));
        assert_eq!(clock.tick(Timestamp::UNKNOWN), Some(Timestamp::UNKNOWN));
        assert_eq!(clock.tick(first), Some(first));
        assert_eq!(clock.tick(last), None);
        assert_eq!(clock.settle(last, None), (last, false));
        assert_eq!(clock.tick(Timestamp::UNKNOWN), Some(last));
        assert_eq!(clock.tick(first), None);
        assert_eq!(clock.settle(first, Some(first)), (last, true));
    }
}
