//! What invalidates the attempts of a wave: a condition that should have held while they were in flight did not.

use std::ops::Range;

use crate::connect::{Ended, State};
use crate::flags::Flag;

/// One such event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disturbance {
    /// The configurations whose attempts were in flight.
    pub configurations: Range<usize>,
    /// The flag of records that are kept all the same.
    pub flag: Flag,
    /// What happened, in words.
    pub why: String,
}

impl Disturbance {
    /// Removes the results from the attempts of these configurations: nothing may be concluded from them. Returns the source
    /// ports of the flows, which then belong to no record.
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
