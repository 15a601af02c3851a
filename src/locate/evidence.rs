//! What was sent to each TTL, and what came back.

use std::net::IpAddr;

use super::{Answer, Shown, Side};

/// The copies of one configuration with one TTL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) sent: u8,
    /// Quotes that show the feature as it was sent.
    pub(super) same: u8,
    /// Quotes that show it changed.
    pub(super) changed: u8,
    /// Quotes too short to show it.
    pub(super) hidden: u8,
    /// "Destination unreachable".
    pub(super) refused: u8,
    /// Answers with the target's address.
    pub(super) replies: u8,
    pub(super) resets: u8,
    /// Copies without an answer.
    pub(super) silent: u8,
}

impl Tally {
    /// Quotes of any sort: the copy came as far as this hop.
    pub(super) fn quotes(&self) -> u8 {
        self.same + self.changed + self.hidden
    }

    /// Answers of any sort.
    pub(super) fn answers(&self) -> u8 {
        self.quotes() + self.refused + self.replies + self.resets
    }

    /// Whether most quotes that show the feature show it as it was sent, or changed; `None` if neither.
    pub(super) fn majority(&self) -> Option<Shown> {
        match self.same.cmp(&self.changed) {
            std::cmp::Ordering::Greater => Some(Shown::Same),
            std::cmp::Ordering::Less => Some(Shown::Changed),
            std::cmp::Ordering::Equal => None,
        }
    }

    fn add(&mut self, answer: Option<Answer>) {
        let count = match answer {
            None => &mut self.silent,
            Some(Answer::Quote { shown: Shown::Same, .. }) => &mut self.same,
            Some(Answer::Quote { shown: Shown::Changed, .. }) => &mut self.changed,
            Some(Answer::Quote { shown: Shown::Hidden, .. }) => &mut self.hidden,
            Some(Answer::Refused { .. }) => &mut self.refused,
            Some(Answer::Reply { .. }) => &mut self.replies,
            Some(Answer::Reset) => &mut self.resets,
        };
        *count = count.saturating_add(1);
    }
}

/// What is known of one TTL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Hop {
    pub(super) zero: Tally,
    pub(super) one: Tally,
    /// The addresses that quotes came from: with each, whether copies of the baseline and of the experiment met it.
    pub(super) from: Vec<(IpAddr, [bool; 2])>,
    /// An address on the exclude list answered: no copy is sent to this TTL any more.
    pub(super) excluded: bool,
    /// Too many searches ask this hop: no copy is sent to it any more.
    pub(super) limited: bool,
}

impl Hop {
    pub(super) fn side(&self, side: Side) -> &Tally {
        match side {
            Side::Zero => &self.zero,
            Side::One => &self.one,
        }
    }

    /// A copy was sent.
    pub(super) fn handle_sent(&mut self, side: Side) {
        let tally = match side {
            Side::Zero => &mut self.zero,
            Side::One => &mut self.one,
        };
        tally.sent = tally.sent.saturating_add(1);
    }

    /// Whether copies may be sent to it.
    pub(super) fn is_open(&self) -> bool {
        !self.excluded && !self.limited
    }

    /// An answer came for a copy that was counted as silent.
    pub(super) fn handle_late(&mut self, side: Side, answer: Answer) {
        let tally = match side {
            Side::Zero => &mut self.zero,
            Side::One => &mut self.one,
        };
        tally.silent = tally.silent.saturating_sub(1);
        self.handle_answer(side, Some(answer));
    }

    /// A copy was answered, or not in time.
    pub(super) fn handle_answer(&mut self, side: Side, answer: Option<Answer>) {
        match side {
            Side::Zero => self.zero.add(answer),
            Side::One => self.one.add(answer),
        }
        if let Some(Answer::Quote { from, .. }) = answer {
            let place = self.from.iter().position(|(known, _)| *known == from);
            let place = place.unwrap_or_else(|| {
                self.from.push((from, [false; 2]));
                self.from.len() - 1
            });
            self.from[place].1[usize::from(side == Side::One)] = true;
        }
    }

    /// The address that answered here, the experiment's first.
    pub(super) fn address(&self) -> Option<IpAddr> {
        let by = |side: usize| self.from.iter().find(|(_, by)| by[side]).map(|(from, _)| *from);
        by(1).or_else(|| by(0))
    }

    /// How many addresses answered copies of the same configuration: more than one if packets of a flow take more than one
    /// way.
    pub(super) fn branches(&self) -> u8 {
        let of = |side: usize| self.from.iter().filter(|(_, by)| by[side]).count();
        u8::try_from(of(0).max(of(1))).unwrap_or(u8::MAX)
    }

    /// Whether copies were sent, and none was answered.
    pub(super) fn is_silent(&self) -> bool {
        let (zero, one) = (&self.zero, &self.one);
        zero.silent + one.silent > 0 && zero.answers() + one.answers() == 0
    }
}
