//! What makes the attempts of a wave worthless: something that should have held while they were under way did not.

use std::ops::Range;

use crate::connect::{Ended, State};
use crate::flags::Flag;

/// One such thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disturbance {
    /// The configurations whose attempts were under way.
    pub configurations: Range<usize>,
    /// What stands in records that are kept all the same.
    pub flag: Flag,
    /// What happened, in words.
    pub why: String,
}

impl Disturbance {
    /// Takes from the attempts of these configurations what they seem to say: nothing may be concluded from them. Gives
    /// the source ports of the flows that belong to no record then.
    pub fn void(&self, attempts: &mut [Vec<Option<Ended>>]) -> Vec<u16> {
        let attempts = attempts.get_mut(self.configurations.clone()).unwrap_or_default();
        attempts.iter_mut().flatten().flatten().filter_map(|ended| self.void_one(ended)).collect()
    }

    fn void_one(&self, ended: &mut Ended) -> Option<u16> {
        ended.reply = None;
        let attempt = &mut ended.attempt;
        attempt.ok = None;
        attempt.state = State::LocalError;
        attempt.error = Some(self.flag.word().into());
        attempt.source_port.take()
    }
}
