//! Intervals and tests: all of 95 %, all deterministic.

use crate::run::controls::wilson;
use crate::targets::scrambled;

/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 2000;
/// The seed of every bootstrap.
pub const SEED: u64 = 1;

/// The score interval of a share (Wilson 1927); `None` of nothing.
pub fn score(given: u64, of: u64) -> Option<[f64; 2]> {
    (of > 0).then(|| wilson(given, of))
}

/// The interval of the difference of two shares (Newcombe: Interval estimation for the difference between independent
/// proportions, 1998, method 10); `None` if either has no denominator.
pub fn difference(a: (u64, u64), b: (u64, u64)) -> Option<[f64; 2]> {
    let ([a_low, a_high], [b_low, b_high]) = (score(a.0, a.1)?, score(b.0, b.1)?);
    let (p, q) = (a.0 as f64 / a.1 as f64, b.0 as f64 / b.1 as f64);
    let square = |x: f64| x * x;
    let below = (square(p - a_low) + square(b_high - q)).sqrt();
    let above = (square(a_high - p) + square(q - b_low)).sqrt();
    Some([p - q - below, p - q + above])
}

/// The mid-p value of McNemar's exact test on discordant pairs (Fagerland, Lydersen, Laake: The McNemar test for
/// binary matched-pairs data, 2013): two-sided, 1 without discordant pairs.
pub fn mcnemar(b: u64, c: u64) -> f64 {
    let n = b + c;
    if n == 0 {
        return 1.0;
    }
    let less = b.min(c);
    let half = 0.5f64.ln() * n as f64;
    let (mut log, mut sum, mut last) = (half, 0.0, 0.0);
    for k in 0..=less {
        if k > 0 {
            log += ((n - k + 1) as f64).ln() - (k as f64).ln();
        }
        last = log.exp();
        sum += last;
    }
    (2.0 * sum - last).clamp(0.0, 1.0)
}

/// Clusters of targets that are alike: how many clusters, and in each of them how many targets were judged and how
/// many were hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alike {
    /// Judged targets of each.
    pub judged: u64,
    /// Those of them with the label.
    pub hit: u64,
    /// How many clusters.
    pub clusters: u64,
}

/// The percentile bootstrap interval of a share whose targets come in clusters: clusters are drawn, not targets. With
/// [`RESAMPLES`] resamples from [`SEED`]; each cluster is drawn a Poisson number of times with mean 1, which for a ratio
/// of sums is the bootstrap without the need to draw a fixed number. `None` with fewer than two clusters, or without a
/// hit.
pub fn clustered(alike: &[Alike]) -> Option<[f64; 2]> {
    let clusters: u64 = alike.iter().map(|of| of.clusters).sum();
    if clusters < 2 || alike.iter().all(|of| of.hit == 0) {
        return None;
    }
    let mut random = Random(SEED);
    let mut shares: Vec<f64> = Vec::with_capacity(RESAMPLES);
    while shares.len() < RESAMPLES {
        let (mut judged, mut hit) = (0.0, 0.0);
        for of in alike {
            let times = random.poisson(of.clusters);
            judged += times * of.judged as f64;
            hit += times * of.hit as f64;
        }
        if judged > 0.0 {
            shares.push(hit / judged);
        }
    }
    shares.sort_by(f64::total_cmp);
    let at = |share: f64| shares[(share * (RESAMPLES - 1) as f64).round() as usize];
    Some([at(0.025), at(0.975)])
}

/// Random numbers that are the same everywhere.
struct Random(u64);

/// A Poisson number with a larger mean is drawn from the normal distribution.
const NORMAL: u64 = 40;

impl Random {
    /// Between 0 and 1.
    fn share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(1);
        (scrambled(self.0) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A Poisson number.
    fn poisson(&mut self, mean: u64) -> f64 {
        if mean > NORMAL {
            // The sum of twelve uniform numbers has variance 1 and is normal to well within the width of an interval.
            let normal = (0..12).map(|_| self.share()).sum::<f64>() - 6.0;
            return (mean as f64 + (mean as f64).sqrt() * normal).round().max(0.0);
        }
        let least = (-(mean as f64)).exp();
        let (mut times, mut product) = (0.0, self.share());
        while product > least {
            times += 1.0;
            product *= self.share();
        }
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_equal_published_ones() {
        // Newcombe 1998, table II, method 10.
        let rounded = |a, b| difference(a, b).unwrap_or_default().map(|x| (x * 1e4).round() / 1e4);
        assert_eq!(rounded((56, 70), (48, 80)), [0.0524, 0.3339]);
        assert_eq!(rounded((9, 10), (3, 10)), [0.1705, 0.8090]);
        assert_eq!(rounded((10, 10), (0, 20)), [0.6791, 1.0]);
        assert_eq!(difference((0, 0), (1, 2)), None);
    }

    #[test]
    fn the_mid_p_value_is_that_of_the_paper() {
        // Fagerland et al. 2013: airway hyper-responsiveness, 1 and 7 discordant pairs.
        assert!((mcnemar(1, 7) - 0.0391).abs() < 5e-5, "{}", mcnemar(1, 7));
        assert_eq!(mcnemar(1, 7), mcnemar(7, 1));
        assert_eq!((mcnemar(0, 0), mcnemar(5, 5)), (1.0, 1.0));
        assert!(mcnemar(900, 100) < 1e-100);
    }

    #[test]
    fn clusters_widen_an_interval() {
        // 20 networks of 100 targets, two of them wholly broken: the truth is a binomial number of 20.
        let alike = [
            Alike { judged: 100, hit: 0, clusters: 18 },
            Alike { judged: 100, hit: 100, clusters: 2 },
        ];
        let [low, high] = clustered(&alike).unwrap_or_default();
        assert!(low < 0.01 && (0.2..0.3).contains(&high), "{low} {high}");
        assert_eq!(clustered(&alike), clustered(&alike));
        // Independent targets: the interval is the binomial one.
        let single = [
            Alike { judged: 1, hit: 0, clusters: 900 },
            Alike { judged: 1, hit: 1, clusters: 100 },
        ];
        let [low, high] = clustered(&single).unwrap_or_default();
        assert!((low - 0.081).abs() < 0.004 && (high - 0.119).abs() < 0.004, "{low} {high}");
        assert_eq!(clustered(&[Alike { judged: 9, hit: 0, clusters: 9 }]), None);
    }
}
