//! The clock of a capture: packet time without the jumps of the capturing machine's clock.
//!
//! Packets are in file order, and their timestamps usually are too. On a quiet network the timestamp leaps
//! forward, and that ends flows. A clock that was set, or one damaged record, must not end them. The packet
//! after a leap distinguishes the two: after a real silence, time continues from the new value.

use crate::field::Timestamp;

/// A difference in nanoseconds between consecutive packets above which it is a leap. Captures of several
/// interfaces or queues are out of order by less.
const LEAP: i64 = 5_000_000_000;

/// Elapsed packet time; it never decreases.
#[derive(Debug, Default)]
pub(super) struct Clock {
    now: Timestamp,
    /// Nanoseconds by which the machine's clock has been set back so far.
    behind: i64,
    /// Whether the next packet is the first of a section.
    restarts: bool,
}

impl Clock {
    /// The clock at a packet with this timestamp. `None` if the timestamp leaps: the next packet is needed, see
    /// [`settle`](Self::settle).
    #[inline]
    pub(super) fn tick(&mut self, time: Timestamp) -> Option<Timestamp> {
        if time == Timestamp::UNKNOWN {
            return Some(self.now);
        }
        if std::mem::take(&mut self.restarts) && self.now != Timestamp::UNKNOWN {
            // Elapsed time goes on from here, or leaps forward to a later section.
            let back = self.now.0.saturating_sub(self.of(time).0).max(0);
            self.behind = self.behind.saturating_add(back);
        }
        let at = self.of(time);
        // The usual case, without the care for times near both ends.
        if at >= self.now && at.0.wrapping_sub(self.now.0).cast_unsigned() <= LEAP.cast_unsigned() {
            self.now = at;
            return Some(at);
        }
        let ahead = at.0.saturating_sub(self.now.0);
        if (0..=LEAP).contains(&ahead) || self.now == Timestamp::UNKNOWN {
            self.now = at;
        } else if !(-LEAP..=0).contains(&ahead) {
            return None;
        }
        Some(self.now)
    }

    /// A section of pcapng begins. Each is a capture of its own, so times before those of the last one are no jump.
    pub(super) fn restart(&mut self) {
        self.restarts = true;
    }

    /// The clock at a packet whose timestamp leaps, given the next packet's timestamp if there is one. The flag is
    /// true if the machine's clock jumped or this packet's timestamp is wrong.
    pub(super) fn settle(&mut self, time: Timestamp, next: Option<Timestamp>) -> (Timestamp, bool) {
        let at = self.of(time);
        let next = next.filter(|next| *next != Timestamp::UNKNOWN).map(|next| self.of(next));
        if at > self.now {
            // If the next packet goes back, this timestamp was wrong.
            let wrong = next.is_some_and(|next| at.0.saturating_sub(next.0) > LEAP);
            if !wrong {
                self.now = at;
            }
            (self.now, wrong)
        } else {
            let returns = next.is_some_and(|next| self.now.0.saturating_sub(next.0) <= LEAP);
            if !returns {
                // The clock was set back: elapsed time continues from here.
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

    /// The clock at each packet, in seconds, and the number of jumps.
    fn seconds(times: &[i64]) -> (Vec<i64>, usize) {
        let (mut clock, mut jumps) = (Clock::default(), 0);
        let time = |place: usize| times.get(place).map(|time| Timestamp(time * SECOND));
        let clocks = (0..times.len()).map(|place| {
            let now = clock.tick(time(place).unwrap()).unwrap_or_else(|| {
                let (now, jump) = clock.settle(time(place).unwrap(), time(place + 1));
                jumps += usize::from(jump);
                now
            });
            now.0 / SECOND
        });
        (clocks.collect(), jumps)
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
        // Also if the next packet comes later, or if the wrong timestamp is in the past.
        assert_eq!(seconds(&[10, 5000, 20, 21]), (vec![10, 10, 20, 21], 1));
        assert_eq!(seconds(&[5000, 1, 5001]), (vec![5000, 5000, 5001], 1));
        // A wrong first timestamp, and two in a row, look like a clock that was set.
        assert_eq!(seconds(&[5000, 10, 11, 17]), (vec![5000, 5000, 5001, 5007], 1));
        assert_eq!(seconds(&[10, 5000, 5001, 11, 12]), (vec![10, 5000, 5001, 5001, 5002], 1));
    }

    #[test]
    fn after_a_step_back_time_continues() {
        let (clocks, jumps) = seconds(&[100, 101, 50, 51, 91, 92, 20, 30]);
        assert_eq!((clocks, jumps), (vec![100, 101, 101, 102, 142, 143, 143, 153], 2));
    }

    #[test]
    fn a_section_may_be_earlier_than_the_last_one() {
        let mut clock = Clock::default();
        let mut at = |time: i64| clock.tick(Timestamp(time * SECOND)).map(|now| now.0 / SECOND);
        assert_eq!([at(100), at(103)], [Some(100), Some(103)]);
        clock.restart();
        let mut at = |time: i64| clock.tick(Timestamp(time * SECOND)).map(|now| now.0 / SECOND);
        assert_eq!([at(50), at(52)], [Some(103), Some(105)], "no jump");
        assert_eq!(at(40), None, "a jump within a section");
    }

    #[test]
    fn the_smallest_and_the_largest_time_do_not_overflow() {
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
