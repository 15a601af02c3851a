//! The queue of confirmation rounds and searches. Time is an argument.
//!
//! The writer returns targets that look broken or transient in *groups*, one per wave. A group is re-probed as a whole,
//! when it is due, in the next wave with room for it. New targets fill the rest of that wave. So confirmation rounds
//! need waves of their own only at the end of a run.

use std::collections::VecDeque;
use std::time::Duration;

use crate::engine::driver::Trace;
use crate::engine::ports::Bank;
use crate::targets::Target;

/// Limit on pending targets, whose facts are held in memory. Above it no new targets are taken from the list.
const MOST: usize = 20_000;

/// Targets that are re-probed together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The writer's identifier of the group.
    pub id: u64,
    /// Its targets, in the order of the writer's records.
    pub targets: Vec<Target>,
    /// The source port wanted by each target under each configuration.
    pub wanted: Vec<Vec<Option<u16>>>,
    /// The bank (half of the range) that these ports are in.
    pub bank: Bank,
    /// Whether the targets are controls.
    pub is_control: bool,
    /// What to search for, by target; empty for a confirmation round.
    pub traces: Vec<Trace>,
}

impl Group {
    /// Whether the place of a label is searched for, rather than a round made.
    fn is_locate(&self) -> bool {
        !self.traces.is_empty()
    }
}

/// Groups and their due times.
#[derive(Debug)]
pub struct Again {
    spread: Duration,
    /// Ordered by due time.
    groups: VecDeque<(Duration, Group)>,
    waiting: usize,
    /// For each wave that the writer has not answered: how many of its targets were re-probed.
    sent: VecDeque<usize>,
}

impl Again {
    /// An empty queue; `spread` is the minimum time between two probes of a target.
    pub fn new(spread: Duration) -> Self {
        Self { spread, groups: VecDeque::new(), waiting: 0, sent: VecDeque::new() }
    }

    /// A wave went to the writer; `again` of its targets were re-probed.
    pub fn handle_sent(&mut self, again: usize) {
        self.sent.push_back(again);
    }

    /// The writer has answered the oldest wave: `groups` must be re-probed. `now` is not before the end of that wave.
    pub fn handle_answer(&mut self, now: Duration, groups: Vec<Group>) {
        self.sent.pop_front();
        for group in groups {
            self.waiting += group.targets.len();
            // Paths change, so a search follows at once.
            let due = if group.is_locate() { now } else { now + self.spread };
            let place = self.groups.partition_point(|(at, _)| *at <= due);
            self.groups.insert(place, (due, group));
        }
    }

    /// Takes the due groups that fit: all controls or none, all searches or none, and all of one bank, which is not `taken`. `only` says
    /// whether the wave is a control wave, if that is decided.
    pub fn poll(
        &mut self,
        now: Duration,
        room: usize,
        taken: Option<Bank>,
        only: Option<bool>,
    ) -> Vec<Group> {
        let mut due: Vec<Group> = Vec::new();
        let mut left = room;
        let mut at = 0;
        while let Some((_, next)) = self.groups.get(at).filter(|(time, _)| *time <= now) {
            let alike = due.first().is_none_or(|first| {
                (first.is_control, first.is_locate()) == (next.is_control, next.is_locate())
            });
            let same = due.first().is_none_or(|first| first.bank == next.bank);
            let other = only.is_some_and(|is_control| is_control != next.is_control);
            if Some(next.bank) == taken || !same || other {
                at += 1;
                continue;
            }
            if next.targets.len() > left || !alike {
                break;
            }
            left -= next.targets.len();
            due.extend(self.groups.remove(at).map(|(_, group)| group));
        }
        self.waiting -= room - left;
        due
    }

    /// When the next group is due, if one is queued.
    pub fn next(&self) -> Option<Duration> {
        self.groups.front().map(|(at, _)| *at)
    }

    /// Whether the writer owes an answer.
    pub fn is_owed(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Whether no group is queued and the writer owes none.
    pub fn is_over(&self) -> bool {
        self.groups.is_empty() && self.sent.is_empty()
    }

    /// Whether the queue is full: no new targets before some groups are done.
    pub fn is_full(&self) -> bool {
        self.waiting + self.sent.iter().sum::<usize>() >= MOST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPREAD: Duration = Duration::from_secs(2);

    fn group(id: u64, targets: usize, is_control: bool) -> Group {
        let target = Target::new([192, 0, 2, 1].into(), 80, None);
        let wanted = vec![Vec::new(); targets];
        let traces = Vec::new();
        Group { id, targets: vec![target; targets], wanted, bank: Bank::First, is_control, traces }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn polled(again: &mut Again, now: u64, room: usize) -> Vec<u64> {
        again.poll(seconds(now), room, None, None).iter().map(|group| group.id).collect()
    }

    #[test]
    fn no_group_is_polled_before_it_is_due() {
        let mut again = Again::new(SPREAD);
        assert!(again.is_over());
        again.handle_sent(0);
        assert!(again.is_owed() && !again.is_over());
        again.handle_answer(seconds(10), vec![group(1, 3, false)]);
        assert!(!again.is_owed() && !again.is_over());
        assert_eq!(again.next(), Some(seconds(12)));
        assert!(polled(&mut again, 11, 100).is_empty());
        assert_eq!(polled(&mut again, 12, 100), [1]);
        again.handle_sent(3);
        assert!(!again.is_over(), "the writer may want a further round");
        again.handle_answer(seconds(13), Vec::new());
        assert!(again.is_over());
    }

    #[test]
    fn a_group_is_polled_whole_and_in_order() {
        let mut again = Again::new(SPREAD);
        again.handle_sent(0);
        again.handle_answer(seconds(0), vec![group(1, 4, false), group(2, 4, false)]);
        again.handle_sent(0);
        again.handle_answer(seconds(1), vec![group(3, 1, false)]);
        assert_eq!(polled(&mut again, 9, 7), [1]);
        assert_eq!(polled(&mut again, 9, 7), [2, 3]);
    }

    #[test]
    fn controls_are_not_mixed_with_other_targets() {
        let mut again = Again::new(Duration::ZERO);
        again.handle_sent(0);
        let groups = vec![group(1, 1, false), group(2, 1, true), group(3, 1, true)];
        again.handle_answer(seconds(0), groups);
        assert_eq!(polled(&mut again, 0, 9), [1]);
        assert_eq!(polled(&mut again, 0, 9), [2, 3]);
    }

    #[test]
    fn due_controls_come_first() {
        let mut again = Again::new(Duration::ZERO);
        again.handle_sent(0);
        let groups = vec![group(1, 1, false), group(2, 1, true), group(3, 1, false)];
        again.handle_answer(seconds(0), groups);
        let ids = |groups: Vec<Group>| groups.iter().map(|group| group.id).collect::<Vec<_>>();
        assert_eq!(ids(again.poll(seconds(0), 9, None, Some(true))), [2]);
        assert_eq!(ids(again.poll(seconds(0), 9, None, Some(true))), [0; 0]);
        assert_eq!(polled(&mut again, 0, 9), [1, 3]);
    }

    #[test]
    fn groups_wait_for_their_bank() {
        let mut again = Again::new(Duration::ZERO);
        again.handle_sent(0);
        let second = Group { bank: Bank::Second, ..group(2, 1, false) };
        again.handle_answer(seconds(0), vec![group(1, 1, false), second, group(3, 1, false)]);
        let ids = |groups: Vec<Group>| groups.iter().map(|group| group.id).collect::<Vec<_>>();
        assert_eq!(ids(again.poll(seconds(0), 9, Some(Bank::First), None)), [2]);
        assert_eq!(ids(again.poll(seconds(0), 9, None, None)), [1, 3]);
    }

    #[test]
    fn pending_targets_count_towards_the_limit() {
        let mut again = Again::new(SPREAD);
        again.handle_sent(0);
        again.handle_answer(seconds(0), vec![group(1, MOST - 1, false), group(2, 1, false)]);
        assert!(again.is_full());
        assert_eq!(polled(&mut again, 5, MOST - 1), [1]);
        assert!(!again.is_full(), "they are in flight now");
        again.handle_sent(MOST - 1);
        assert!(again.is_full(), "they may come back");
        again.handle_answer(seconds(6), Vec::new());
        assert!(!again.is_full());
    }
}
