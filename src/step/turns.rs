//! How configurations follow each other: derived from the scopes of their steps, never declared.

use super::kinds::Step;

/// How configurations follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// Every step is scoped to packets or a socket: all configurations are in force at once, and each target is probed under
    /// one after the other without a barrier.
    AtOnce,
    /// Some step is for the namespace or the world: a wave of targets under each configuration,
    /// with a barrier between.
    Waves,
}

impl Turns {
    /// The order that the scopes of all configurations' steps allow.
    pub fn of<'a>(steps: impl IntoIterator<Item = &'a Step>) -> Self {
        match steps.into_iter().all(|step| step.scope().shares()) {
            true => Turns::AtOnce,
            false => Turns::Waves,
        }
    }
}
