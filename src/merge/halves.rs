//! Outcomes by the half of the source ports that attempts came from.
//!
//! Ports are drawn at random, so a target's outcome does not depend on its port. Fisher's exact test gives the
//! probability that a difference between the halves is due to chance (Fisher: The logic of inductive inference,
//! 1935).

/// Attempts from the lower and the upper half of a run's ports: how many were `ok` and how many were not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Halves {
    /// From the lower half: `ok`, and not.
    pub low: [u64; 2],
    /// From the upper half.
    pub high: [u64; 2],
}

impl Halves {
    /// Counts an attempt.
    pub fn count(&mut self, is_high: bool, is_ok: bool) {
        let half = if is_high { &mut self.high } else { &mut self.low };
        half[usize::from(!is_ok)] += 1;
    }

    /// The probability, if the halves are alike, of a difference at least this unlikely (two-sided).
    pub fn p(&self) -> f64 {
        fisher([self.low, self.high])
    }

    /// Whether failures are more frequent in the upper half.
    pub fn is_high_worse(&self) -> bool {
        let ([low_ok, low_failed], [high_ok, high_failed]) = (self.low, self.high);
        u128::from(high_failed) * u128::from(low_ok) > u128::from(low_failed) * u128::from(high_ok)
    }
}

/// The two-sided p value of a table with these rows: the sum over all tables with the same margins that are no more
/// likely.
fn fisher([[a, b], [c, d]]: [[u64; 2]; 2]) -> f64 {
    let (row, column, all) = (a + b, a + c, a + b + c + d);
    let (least, most) = ((row + column).saturating_sub(all), row.min(column));
    if least >= most {
        return 1.0;
    }
    // The first cell has a hypergeometric distribution. Weights follow from each other, outwards from the most likely
    // one, whose weight is 1: no factorials, and no overflow.
    let odds = |x: u64| {
        let up = (row - x) as f64 * (column - x) as f64;
        up / ((x + 1) as f64 * (all + x + 1 - row - column) as f64)
    };
    // The quotient is at most `row`.
    let mode = (u128::from(row + 1) * u128::from(column + 1) / u128::from(all + 2)) as u64;
    let mode = mode.clamp(least, most);
    let mut weights = Vec::new();
    let mut weight = 1.0;
    for x in (least..mode).rev() {
        weight /= odds(x);
        if weight == 0.0 {
            break;
        }
        weights.push((x, weight));
    }
    weight = 1.0;
    weights.push((mode, weight));
    for x in mode..most {
        weight *= odds(x);
        if weight == 0.0 {
            break;
        }
        weights.push((x + 1, weight));
    }
    let seen = weights.iter().find(|(x, _)| *x == a).map_or(0.0, |(_, weight)| *weight);
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    // Equal weights may differ by rounding.
    let unlikely = weights.iter().filter(|(_, weight)| *weight <= seen * (1.0 + 1e-7));
    (unlikely.map(|(_, weight)| weight).sum::<f64>() / total).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_are_those_of_exact_fractions() {
        // From exact fractions, equal to R's fisher.test.
        for (table, expected) in [
            ([[3, 1], [1, 3]], 0.485_714_285_7),
            ([[10, 2], [3, 15]], 0.000_536_724_119_1),
            ([[100, 0], [0, 100]], 2.208_760_693e-59),
            ([[0, 10], [0, 20]], 1.0),
            ([[5, 5], [5, 5]], 1.0),
        ] {
            let p = fisher(table);
            assert!((p - expected).abs() <= 1e-6 * expected, "{table:?}: {p}");
        }
        assert_eq!(fisher([[0, 0], [0, 0]]), 1.0);
        assert_eq!(fisher([[1_000_000, 0], [0, 1_000_000]]), 0.0, "underflows to zero");
        let p = fisher([[500_000, 1000], [499_500, 1000]]);
        assert!((0.9..=1.0).contains(&p), "{p}");
    }

    #[test]
    fn the_worse_half_is_where_failures_are_more_frequent() {
        for (low, high, expected) in
            [([9, 1], [5, 5], true), ([5, 5], [9, 1], false), ([0, 5], [0, 5], false)]
        {
            assert_eq!(Halves { low, high }.is_high_worse(), expected, "{low:?} {high:?}");
        }
    }
}
