//! Who is to be asked again, and when: a queue without a clock.
//!
//! Targets that look broken or transient come back from the writer in *groups*, those of one wave together. A
//! group is asked again whole, not before its time, in the next wave that has room for it; the rest of that wave
//! are targets that were never asked. So rounds cost a run no waves of their own but at its end.

use std::collections::VecDeque;
use std::time::Duration;

use crate::engine::ports::Bank;
use crate::targets::Target;

/// With more targets than this on the way, no others are taken from the list: the facts of each wait in memory.
const MOST: usize = 20_000;

/// Targets that are asked again together.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// By which the writer knows it.
    pub id: u64,
    /// Its targets, in the order of the writer's records.
    pub targets: Vec<Target>,
    /// The source port that each wants under each configuration.
    pub wanted: Vec<Vec<Option<u16>>>,
    /// Which of the two halves of the ports these are of.
    pub bank: Bank,
    /// Whether they are controls.
    pub is_control: bool,
}

/// Groups and their times.
#[derive(Debug)]
pub struct Again {
    spread: Duration,
    /// In the order of their times: each waits equally long.
    groups: VecDeque<(Duration, Group)>,
    waiting: usize,
    /// Of each wave that the writer has not answered yet: how many of its targets were asked again.
    sent: VecDeque<usize>,
}

impl Again {
    /// Nobody yet; `spread` is the least time between two askings of a target.
    pub fn new(spread: Duration) -> Self {
        Self { spread, groups: VecDeque::new(), waiting: 0, sent: VecDeque::new() }
    }

    /// A wave went to the writer, so many of whose targets were asked again.
    pub fn handle_sent(&mut self, again: usize) {
        self.sent.push_back(again);
    }

    /// The writer has answered the oldest wave: these are to be asked again. The time is not before that wave's end.
    pub fn handle_answer(&mut self, now: Duration, groups: Vec<Group>) {
        self.sent.pop_front();
        for group in groups {
            self.waiting += group.targets.len();
            self.groups.push_back((now + self.spread, group));
        }
    }

    /// The groups whose time has come, as far as they have room: all controls or none, and all of one bank, which
    /// is not `taken`. `only` says whether the wave is of controls, if that is known.
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
            let alike = due.first().is_none_or(|first| first.is_control == next.is_control);
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

    /// When somebody is to be asked again, if that is known.
    pub fn next(&self) -> Option<Duration> {
        self.groups.front().map(|(at, _)| *at)
    }

    /// Whether the writer owes an answer.
    pub fn is_owed(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Whether nobody is to be asked again, and nobody will be unless more are asked.
    pub fn is_over(&self) -> bool {
        self.groups.is_empty() && self.sent.is_empty()
    }

    /// Whether no others should be asked before some of these.
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
        Group { id, targets: vec![target; targets], wanted, bank: Bank::First, is_control }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn polled(again: &mut Again, now: u64, room: usize) -> Vec<u64> {
        again.poll(seconds(now), room, None, None).iter().map(|group| group.id).collect()
    }

    #[test]
    fn nobody_is_asked_again_before_its_time() {
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
    fn a_group_is_asked_whole_and_those_before_it_first() {
        let mut again = Again::new(SPREAD);
        again.handle_sent(0);
        again.handle_answer(seconds(0), vec![group(1, 4, false), group(2, 4, false)]);
        again.handle_sent(0);
        again.handle_answer(seconds(1), vec![group(3, 1, false)]);
        assert_eq!(polled(&mut again, 9, 7), [1]);
        assert_eq!(polled(&mut again, 9, 7), [2, 3]);
    }

    #[test]
    fn controls_go_among_themselves() {
        let mut again = Again::new(Duration::ZERO);
        again.handle_sent(0);
        let groups = vec![group(1, 1, false), group(2, 1, true), group(3, 1, true)];
        again.handle_answer(seconds(0), groups);
        assert_eq!(polled(&mut again, 0, 9), [1]);
        assert_eq!(polled(&mut again, 0, 9), [2, 3]);
    }

    #[test]
    fn controls_whose_turn_it_is_go_first() {
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
    fn it_is_full_with_all_that_is_on_the_way() {
        let mut again = Again::new(SPREAD);
        again.handle_sent(0);
        again.handle_answer(seconds(0), vec![group(1, MOST - 1, false), group(2, 1, false)]);
        assert!(again.is_full());
        assert_eq!(polled(&mut again, 5, MOST - 1), [1]);
        assert!(!again.is_full(), "they are asked now");
        again.handle_sent(MOST - 1);
        assert!(again.is_full(), "and may come back");
        again.handle_answer(seconds(6), Vec::new());
        assert!(!again.is_full());
    }
}
