//! Packets that this host dropped between an interface and the capture.
//!
//! The kernel queues received packets per processor, at most `net.core.netdev_max_backlog` of them, if the driver does not
//! poll (veth, loopback) or packets are steered to another processor. Above that it drops them, before any capture
//! sees them and without a count that libpcap reads. The counts of the interface do not help: they include frames of
//! protocols that no program on this host reads.

use std::path::Path;

use crate::files;

/// Where the kernel reports its queues: a line per processor, hexadecimal columns, the second of which is the number of
/// packets dropped (Documentation/networking/scaling.rst; `softnet_seq_show` in net/core/net-procfs.c).
const SOFTNET: &str = "/proc/net/softnet_stat";

/// Packets dropped by all queues since the host started; `None` if the kernel does not say.
fn now() -> Option<u64> {
    let text = files::read_to_string(Path::new(SOFTNET))
        .inspect_err(|why| log::debug!("read {SOFTNET}: {why}"));
    dropped(&text.ok()?)
}

fn dropped(text: &str) -> Option<u64> {
    let of = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
    text.lines().map(of).sum()
}

/// The packets dropped since the start of a capture.
#[derive(Debug)]
pub(super) struct Backlog {
    before: Option<u64>,
}

impl Backlog {
    pub(super) fn start() -> Self {
        Self { before: now() }
    }

    /// How many packets were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        // The count of one processor has 32 bits, so a sum can wrap; it is then less than before.
        self.before.zip(now()).map_or(0, |(before, now)| now.saturating_sub(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_are_summed_over_processors() {
        let text = "11b5518d 00000468 0000002c 00000000\n11e4f406 000000ed 00000031 00000000\n";
        assert_eq!(dropped(text), Some(0x468 + 0xed));
        assert_eq!(dropped("11b5518d 0000000a\n"), Some(10));
        assert_eq!(dropped("nonsense\n"), None);
    }

    #[test]
    fn this_kernel_counts_its_drops() {
        assert!(now().is_some());
        assert_eq!(Backlog { before: None }.dropped(), 0);
        assert_eq!(Backlog { before: Some(u64::MAX) }.dropped(), 0);
        assert_eq!(Backlog { before: Some(0) }.dropped(), now().unwrap_or_default());
    }
}
