//! How sure an interval is: Bayes' rule over the place of the change, with a flat prior.

/// The probability that a quote shows another state than that of the packet: re-marked on the way back, or another way.
const WRONG_QUOTE: f64 = 0.03;
/// The probability that a copy that is dropped further up is answered all the same.
const IMPOSSIBLE: f64 = 0.001;

/// The copies of the experiment with one TTL, as far as they count.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Count {
    pub(super) ttl: u8,
    /// Copies that came there unchanged.
    pub(super) same: u8,
    /// Copies that were changed or stopped before.
    pub(super) changed: u8,
    /// The probability that a copy that was not stopped looks as if it was.
    pub(super) lost: f64,
}

impl Count {
    /// Quotes that show the feature.
    pub(super) fn of_quotes(ttl: u8, same: u8, changed: u8) -> Self {
        Self { ttl, same, changed, lost: WRONG_QUOTE }
    }

    /// The probability of these answers if the change comes at or before this TTL.
    fn likelihood(&self, is_changed: bool, stops: bool) -> f64 {
        let wrong = if stops { IMPOSSIBLE } else { WRONG_QUOTE };
        let (same, changed) =
            if is_changed { (wrong, 1.0 - wrong) } else { (1.0 - self.lost, self.lost) };
        same.powi(self.same.into()) * changed.powi(self.changed.into())
    }
}

/// The probability that the first TTL that shows the change is above `last_same` and at most `first_changed`. `stops` says
/// whether copies are stopped rather than changed.
pub(super) fn sure(counts: &[Count], last_same: u8, first_changed: u8, stops: bool) -> f64 {
    let most = counts.iter().map(|count| count.ttl).max().unwrap_or_default().max(first_changed);
    let at = |first: u8| -> f64 {
        counts.iter().map(|count| count.likelihood(count.ttl >= first, stops)).product()
    };
    // One more for "nowhere".
    let all: f64 = (1..=most + 1).map(at).sum();
    let inside: f64 = (last_same + 1..=first_changed).map(at).sum();
    if all > 0.0 { inside / all } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(quotes: &[(u8, u8, u8)], interval: (u8, u8)) -> f64 {
        let counts: Vec<Count> = quotes
            .iter()
            .map(|(ttl, same, changed)| Count::of_quotes(*ttl, *same, *changed))
            .collect();
        sure(&counts, interval.0, interval.1, false)
    }

    #[test]
    fn quotes_decide() {
        // One quote of each of ten hops, hop 5 silent.
        let one: Vec<_> =
            (1..=10).filter(|t| *t != 5).map(|t| (t, u8::from(t < 5), u8::from(t > 5))).collect();
        let sure = of(&one, (4, 6));
        assert!((0.94..0.98).contains(&sure), "{sure}");
        let three: Vec<_> =
            one.iter().map(|(t, same, changed)| (*t, 3 * same, 3 * changed)).collect();
        assert!(of(&three, (4, 6)) > 0.999);
        // A quote of hop 4 that disagrees with the one of hop 3: two places.
        let dissent = [(1, 1, 0), (2, 1, 0), (3, 0, 1), (4, 1, 0), (5, 0, 1)];
        let sure = of(&dissent, (4, 5));
        assert!((0.4..0.6).contains(&sure), "{sure}");
    }
}
