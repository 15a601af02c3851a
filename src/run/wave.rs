//! A completed wave, passed from the engine's thread to the writer.

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
    /// The result of each target's preparation, if the measurement has one.
    pub prepared: Vec<Prepared>,
    /// The attempts of each target, by configuration.
    pub asked: Asked,
    /// The channel of its flows.
    pub flows: Receiver<observer::Flows>,
    /// What the capture had lost when the wave began.
    pub lost: Lost,
    /// The bank of source ports that it used.
    pub bank: Bank,
    /// The re-probed groups with their sizes; their targets come first.
    pub again: Vec<(u64, usize)>,
    /// Whether its targets are controls.
    pub is_control: bool,
}

/// Losses of a capture that cannot be attributed to a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    dropped: u64,
    short: u64,
}

impl Lost {
    /// The losses so far.
    pub fn now(counters: &Counters) -> Self {
        let load = |count: &AtomicU64| count.load(Relaxed);
        let dropped = load(&counters.dropped) + load(&counters.interface_dropped);
        Self { dropped, short: load(&counters.bad_ip) }
    }

    /// Flags for records of the time between `self` and `later`.
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
    fn losses_flag_the_records_of_their_time() {
        let before = Lost { dropped: 3, short: 1 };
        assert!(before.flags(before).is_empty(), "lost before");
        assert_eq!(before.flags(Lost { dropped: 4, ..before }), Flag::CaptureDropped.into());
        assert_eq!(before.flags(Lost { short: 2, ..before }), Flag::ShortPacket.into());
    }
}
