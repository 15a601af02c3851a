//! The limit on copies to one hop: one a second, five at once, as routers limit their own errors (RFC 4443, 2.4 (f)).
//! Linux sends six at once, then one a second.

use std::time::Duration;

/// The time that one copy takes up.
pub(super) const EACH: Duration = Duration::from_secs(1);
/// How many copies may come at once.
pub(super) const BURST: u32 = 5;
/// The least time between two copies.
const GAP: Duration = Duration::from_millis(50);

/// A token bucket, kept as the time at which it is full again.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    full: Duration,
    last: Option<Duration>,
}

impl Bucket {
    /// When the next copy may be sent, not before `now`; each takes up this time.
    pub(super) fn free(&self, now: Duration, each: Duration) -> Duration {
        let room = each * (BURST - 1);
        let after = self.last.map_or(Duration::ZERO, |last| last + GAP.min(each));
        now.max(self.full.saturating_sub(room)).max(after)
    }

    /// A copy is sent, or reserved, for this time.
    pub(super) fn take(&mut self, at: Duration, each: Duration) {
        self.full = self.full.max(at) + each;
        self.last = self.last.max(Some(at));
    }

    /// Whether nothing is remembered of earlier copies.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.full <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_burst_and_one_a_second() {
        let (mut bucket, mut sent) = (Bucket::default(), Vec::new());
        let mut now = Duration::from_secs(100);
        for _ in 0..40 {
            now = bucket.free(now, EACH);
            bucket.take(now, EACH);
            sent.push(now);
        }
        for (at, first) in sent.iter().enumerate() {
            for (more, last) in sent[at..].iter().enumerate() {
                let allowed = u64::from(BURST) + (*last - *first).as_secs();
                assert!((more as u64) < allowed, "{more} in {:?}", *last - *first);
            }
        }
        assert!(sent.windows(2).all(|two| two[1] - two[0] >= GAP));
        assert_eq!((*sent.last().unwrap() - sent[0]).as_secs(), 35);
    }
}
