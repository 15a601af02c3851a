//! Disturbed waves: their attempts are worthless because something changed meanwhile. Such a wave is repeated, and its
//! records are marked if that happens again.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::engine::driver::Asked;
use crate::flags::{Flag, Flags};
use crate::words::counted;

/// Counts of disturbed waves, and the reasons.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disturbed {
    /// Waves that were repeated.
    pub repeated: u64,
    /// Waves that were disturbed again, whose records are marked.
    pub marked: u64,
    /// The distinct causes.
    why: BTreeSet<String>,
}

/// Reasons that are kept, at most.
const MOST: usize = 16;

impl Disturbed {
    /// Whether a wave must be repeated. If it was disturbed and must not, its attempts are voided and marked.
    pub fn again(&mut self, asked: &mut Asked, was_disturbed: bool, goes_on: bool) -> bool {
        if asked.disturbed.is_empty() {
            return false;
        }
        for disturbance in &asked.disturbed {
            log::warn!("{}", disturbance.why);
            if self.why.len() < MOST {
                self.why.insert(disturbance.why.clone());
            }
        }
        if !was_disturbed && goes_on {
            log::warn!("the wave is repeated");
            self.repeated += 1;
            return true;
        }
        self.marked += 1;
        for disturbance in &asked.disturbed {
            asked.repeated.extend(disturbance.void(&mut asked.attempts));
        }
        false
    }

    /// Lines of a summary.
    pub fn notes(&self) -> Vec<String> {
        let repeated = (self.repeated, "wave[s] [was|were] disturbed and repeated");
        let marked = (
            self.marked,
            "wave[s] [was|were] disturbed again: no conclusions from [its|their] attempts",
        );
        let counts = [repeated, marked].into_iter().filter(|(count, _)| *count > 0);
        let counts = counts.map(|(count, what)| counted(count, what));
        counts.chain(self.why.iter().map(|why| format!("  {why}"))).collect()
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        json!({ "waves_repeated": self.repeated, "waves_marked": self.marked, "why": self.why })
    }
}

/// Flags of all records of a wave.
pub fn flags(asked: &Asked) -> Flags {
    let step = asked.clock_step.then_some(Flag::ClockStep);
    asked.disturbed.iter().map(|disturbance| disturbance.flag).chain(step).collect()
}

/// The source ports of a wave that is repeated: their flows belong to no record.
pub fn ports(asked: &Asked) -> impl Iterator<Item = u16> {
    let ended = asked.attempts.iter().flatten().flatten();
    asked.repeated.iter().copied().chain(ended.filter_map(|ended| ended.attempt.source_port))
}

/// Whether no attempt of a wave reached the network.
pub fn is_stuck(asked: &Asked) -> bool {
    let mut ended = asked.attempts.iter().flatten().flatten().peekable();
    ended.peek().is_some() && ended.all(|e| e.attempt.state == crate::connect::State::LocalError)
}
