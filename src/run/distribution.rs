//! The distribution of numbers of many records, in bounded memory.
//!
//! Up to [`EXACT`] numbers everything is exact. Of more, a sample of that size is kept: the numbers of the records
//! whose scrambled position is smallest, so the sample depends neither on order nor on how a run was divided into
//! sessions. The share of numbers below a quantile of the sample then has a standard error of at most 0.4 %
//! (`sqrt(q (1 - q) / 20000)`). Count, smallest and largest number are always exact.

use std::collections::BinaryHeap;

use serde_json::{Value, json};

use crate::targets::scrambled;

/// The numbers that are kept.
pub const EXACT: usize = 20_000;
/// With fewer numbers, a resample is often the whole range.
const LEAST: usize = 6;

/// Numbers of records.
#[derive(Debug, Clone, Default)]
pub struct Distribution {
    count: u64,
    ends: Option<[f64; 2]>,
    /// The sample, by scrambled position.
    kept: BinaryHeap<(u64, Bits)>,
}

/// The bits of a float, in any order.
type Bits = u64;

/// Quantiles, in the unit of the numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quantiles {
    /// How many numbers there are.
    pub count: u64,
    /// The smallest and the largest.
    pub ends: [f64; 2],
    /// A tenth is smaller.
    pub p10: f64,
    /// The median.
    pub median: f64,
    /// A tenth is larger.
    pub p90: f64,
    /// The 95 % bootstrap interval of the median.
    pub interval: Option<[f64; 2]>,
    /// The size of the sample, if they are estimated.
    pub sample: Option<usize>,
}

impl Distribution {
    /// Adds the number of the record at a position.
    pub fn add(&mut self, position: u64, number: f64) {
        let [least, most] = self.ends.unwrap_or([number; 2]);
        self.ends = Some([least.min(number), most.max(number)]);
        self.count += 1;
        let at = scrambled(position);
        if self.kept.len() < EXACT {
            self.kept.push((at, number.to_bits()));
        } else if self.kept.peek().is_some_and(|(last, _)| at < *last) {
            self.kept.pop();
            self.kept.push((at, number.to_bits()));
        }
    }

    /// The quantiles, interpolated between neighbours as by DuckDB's `quantile_cont`; `None` without numbers.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let ends = self.ends?;
        let mut kept: Vec<f64> = self.kept.iter().map(|(_, bits)| f64::from_bits(*bits)).collect();
        kept.sort_by(f64::total_cmp);
        let interval = (kept.len() >= LEAST).then(|| interval(&kept));
        let sample = (self.count > kept.len() as u64).then_some(kept.len());
        let [p10, median, p90] = [0.1, 0.5, 0.9].map(|share| quantile(&kept, share));
        Some(Quantiles { count: self.count, ends, p10, median, p90, interval, sample })
    }
}

impl Quantiles {
    /// As JSON; `paired` says whether the interval is shown.
    pub fn to_json(&self, unit: Option<&str>, paired: bool) -> Value {
        let Self { count, ends: [min, max], p10, median, p90, interval, sample } = self;
        json!({
            "unit": unit, "n": count, "median": median, "p10": p10, "p90": p90, "min": min, "max": max,
            "median_interval": interval.filter(|_| paired), "sample": sample,
        })
    }
}

/// The number below which a share of sorted numbers lies; there is at least one.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let below = place.floor();
    let at = |place: f64| sorted.get(place as usize).copied().unwrap_or_default();
    let (low, high) = (at(below), at(place.ceil()));
    low + (high - low) * (place - below)
}

/// The percentile bootstrap interval of the median of sorted numbers (Efron: Bootstrap methods, 1979), over all
/// resamples instead of a random thousand of them: a resample's median is at most the i-th of n numbers if at least
/// half of n draws are among the first i, which is a binomial probability. So the interval is the same in every run.
fn interval(sorted: &[f64]) -> [f64; 2] {
    let n = sorted.len();
    let mut logs = vec![0.0; n + 1];
    for i in 1..=n {
        logs[i] = logs[i - 1] + (i as f64).ln();
    }
    // The probability that at least half of n draws are among the first i.
    let half_among = |i: usize| -> f64 {
        if i >= n {
            return 1.0;
        }
        let (yes, no) = ((i as f64 / n as f64).ln(), ((n - i) as f64 / n as f64).ln());
        let term = |k: usize| {
            (logs[n] - logs[k] - logs[n - k] + k as f64 * yes + (n - k) as f64 * no).exp()
        };
        (n.div_ceil(2)..=n).map(term).sum()
    };
    let first = |share: f64| {
        let (mut low, mut high) = (1, n);
        while low < high {
            let middle = usize::midpoint(low, high);
            if half_among(middle) >= share { high = middle } else { low = middle + 1 }
        }
        sorted[low - 1]
    };
    [first(0.025), first(0.975)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: impl IntoIterator<Item = f64>) -> Distribution {
        let mut all = Distribution::default();
        (1..).zip(numbers).for_each(|(position, number)| all.add(position, number));
        all
    }

    #[test]
    fn quantiles_are_those_of_databases() {
        // SELECT quantile_cont(x, [0.1, 0.5, 0.9]) FROM unnest([4, 1, 3, 2]) t(x)
        let few = of([4.0, 1.0, 3.0, 2.0]).quantiles().unwrap();
        assert_eq!((few.count, few.ends, few.median), (4, [1.0, 4.0], 2.5));
        assert!((few.p10 - 1.3).abs() < 1e-12 && (few.p90 - 3.7).abs() < 1e-12, "{few:?}");
        assert_eq!((few.interval, few.sample), (None, None));
        assert_eq!(of([7.0]).quantiles().unwrap().p90, 7.0);
        assert_eq!(of([]).quantiles(), None);
    }

    #[test]
    fn the_interval_is_that_of_many_resamples() {
        let numbers: Vec<f64> = (0..31).map(|i| f64::from(i * i)).collect();
        let exact = of(numbers.iter().copied()).quantiles().unwrap().interval.unwrap();
        let mut state = 1u64;
        let mut below = |n: usize| {
            state = state.wrapping_add(1);
            (scrambled(state) % n as u64) as usize
        };
        let mut medians: Vec<f64> = (0..20_000)
            .map(|_| {
                let mut resample: Vec<f64> = (0..31).map(|_| numbers[below(31)]).collect();
                resample.sort_by(f64::total_cmp);
                resample[15]
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        assert_eq!(exact, [medians[500], medians[19_499]]);
    }

    #[test]
    fn many_numbers_are_estimated_within_the_error_that_is_stated() {
        let many = 400_000u32;
        // In order of position, so a sample of the first ones would be far off.
        let forwards = of((0..many).map(f64::from)).quantiles().unwrap();
        let mut backwards = Distribution::default();
        (1..=u64::from(many)).rev().for_each(|at| backwards.add(at, (at - 1) as f64));
        assert_eq!(backwards.quantiles(), Some(forwards), "the order does not matter");
        let Quantiles { count, ends, p10, median, p90, interval, sample } = forwards;
        assert_eq!((count, ends), (u64::from(many), [0.0, f64::from(many - 1)]));
        assert_eq!(sample, Some(EXACT));
        for (value, share) in [(p10, 0.1), (median, 0.5), (p90, 0.9)] {
            let off = value / f64::from(many) - share;
            assert!(off.abs() < 4.0 * 0.0036, "{share}: {off}");
        }
        let [low, high] = interval.unwrap();
        let width = (high - low) / f64::from(many);
        assert!(low < median && median < high && (0.01..0.02).contains(&width), "{width}");
    }
}
