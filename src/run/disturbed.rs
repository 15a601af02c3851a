//! Disturbed waves: probed again once, and flagged if disturbed again.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::engine::driver::Asked;
use crate::flags::Flags;
use crate::words::counted;

/// How often waves were disturbed, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Disturbed {
    /// Waves that were repeated.
    pub repeated: u64,
    /// Waves that were disturbed again, whose records are flagged.
    pub marked: u64,
    /// The distinct causes.
    why: BTreeSet<String>,
}

/// Maximum number of causes kept.
const MOST: usize = 16;

impl Disturbed {
    /// Whether to repeat a wave. If not, and it was disturbed again, its records are flagged.
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

    /// Flags for all records of a wave.
    pub fn flags(asked: &Asked) -> Flags {
        asked.disturbed.iter().map(|disturbance| disturbance.flag).collect()
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

/// What the writer gets of a wave that is repeated: the flows of its attempts belong to no record.
pub fn nothing(asked: &Asked, more: &[u16]) -> Asked {
    let ports = asked.attempts.iter().flatten().flatten().filter_map(|e| e.attempt.source_port);
    Asked {
        attempts: asked.attempts.iter().map(|_| Vec::new()).collect(),
        repeated: asked.repeated.iter().chain(more).copied().chain(ports).collect(),
        ports: asked.ports.clone(),
        ..Asked::default()
    }
}

/// Whether no attempt of a wave reached the network.
pub fn is_stuck(asked: &Asked) -> bool {
    let mut ended = asked.attempts.iter().flatten().flatten().peekable();
    ended.peek().is_some() && ended.all(|e| e.attempt.state == crate::connect::State::LocalError)
}
