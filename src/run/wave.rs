//! What the engine's thread hands to the writer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::Receiver;

use crate::connect::Prepared;
use crate::engine::driver::Asked;
use crate::engine::ports::Bank;
use crate::flags::{Flag, Flags};
use crate::observer;
use crate::observer::capture::Counters;
use crate::targets::Target;

/// A wave whose attempts have ended.
pub struct Wave {
    /// Its targets.
    pub targets: Vec<Target>,
    /// What was found out about each before, if anything was to be.
    pub prepared: Vec<Prepared>,
    /// What became of each, under each configuration.
    pub asked: Asked,
    /// Where its flows will come from.
    pub flows: Receiver<observer::Flows>,
    /// What the capture had lost when it began.
    pub lost: Lost,
    /// The half of the source ports that it used.
    pub bank: Bank,
    /// The groups among its targets that were asked again, and how many each has: they come before the others.
    pub again: Vec<(u64, usize)>,
    /// Whether its targets are controls.
    pub is_control: bool,
}

/// What a capture has lost that cannot be put to any flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    dropped: u64,
    short: u64,
}

impl Lost {
    /// So far.
    pub fn now(counters: &Counters) -> Self {
        let load = |count: &AtomicU64| count.load(Relaxed);
        let dropped = load(&counters.dropped) + load(&counters.interface_dropped);
        Self { dropped, short: load(&counters.bad_ip) }
    }

    /// What is to be said of records during whose time `self` became `later`.
    pub(super) fn flags(self, later: Lost) -> Flags {
        let dropped = (later.dropped > self.dropped).then_some(Flag::CaptureDropped);
        let short = (later.short > self.short).then_some(Flag::ShortPacket);
        dropped.into_iter().chain(short).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_meanwhile_flags_the_records_of_that_time() {
        let before = Lost { dropped: 3, short: 1 };
        assert!(before.flags(before).is_empty(), "it was lost before");
        assert_eq!(before.flags(Lost { dropped: 4, ..before }), Flag::CaptureDropped.into());
        assert_eq!(before.flags(Lost { short: 2, ..before }), Flag::ShortPacket.into());
    }
}
