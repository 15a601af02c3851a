//! Rate limit of queries: at most N in any one second, without large bursts.

use std::time::{Duration, Instant};

/// A token bucket; time is an argument.
#[derive(Debug)]
pub struct Pace {
    bucket: Option<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    /// Maximum number of tokens: the burst after a pause.
    most: f64,
    /// Tokens per second.
    refill: f64,
    tokens: f64,
    at: Instant,
}

impl Pace {
    /// For a rate per second; without one, there is no limit.
    pub fn new(rate: Option<u32>, now: Instant) -> Self {
        let bucket = rate.map(|rate| {
            // The burst is a hundredth of a second's worth, so that coarse timers do not slow it down.
            // At most `most - 1 + refill` queries are sent in any one second: that is the rate.
            let rate = f64::from(rate.max(1));
            let most = (rate / 100.0).floor().max(1.0);
            Bucket { most, refill: rate - (most - 1.0), tokens: most, at: now }
        });
        Self { bucket }
    }

    /// Takes a token: `None` if there was one, else how long to wait.
    pub fn wait(&mut self, now: Instant) -> Option<Duration> {
        let wait = self.peek(now);
        if let (None, Some(bucket)) = (wait, &mut self.bucket) {
            bucket.tokens -= 1.0;
        }
        wait
    }

    /// How long to wait for a token, `None` if there is one.
    pub fn peek(&mut self, now: Instant) -> Option<Duration> {
        let bucket = self.bucket.as_mut()?;
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.at = bucket.at.max(now);
        bucket.tokens = (bucket.tokens + passed * bucket.refill).min(bucket.most);
        let missing = 1.0 - bucket.tokens;
        // Tolerates rounding errors of fractions.
        (missing > 1e-6).then(|| Duration::from_secs_f64(missing / bucket.refill))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_never_exceeded_and_nearly_reached() {
        for rate in [1, 2, 7, 99, 100, 250, 5000] {
            let start = Instant::now();
            let mut pace = Pace::new(Some(rate), start);
            let mut sent = Vec::new();
            let mut now = start;
            while now < start + Duration::from_secs(3) {
                match pace.wait(now) {
                    None => sent.push(now),
                    // A timer of whole milliseconds.
                    Some(wait) => now += Duration::from_millis(wait.as_millis() as u64 + 1),
                }
            }
            let rate = rate as usize;
            for (index, first) in sent.iter().enumerate() {
                let end = *first + Duration::from_secs(1);
                let within = sent[index..].iter().take_while(|at| **at < end).count();
                assert!(within <= rate, "{within} in a second at a rate of {rate}");
            }
            assert!(sent.len() >= rate * 2, "{} in three seconds at {rate}", sent.len());
        }
        let mut free = Pace::new(None, Instant::now());
        assert!((0..1000).all(|_| free.wait(Instant::now()).is_none()));
    }
}
