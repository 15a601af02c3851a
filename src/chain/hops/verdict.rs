//! From the quotes of one field to the interval between two hops in which it was changed, and how sure that is.

use std::net::IpAddr;

use crate::packet::quoted::Value;

/// The probability that a quote misleads: it was changed on the way back, or took another branch.
const MISLEADS: f64 = 0.03;

/// What one quote shows of one field.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Look<'a> {
    /// The TTL with which the quoted packet was sent.
    pub(super) ttl: u8,
    /// The router.
    pub(super) from: IpAddr,
    /// Whether the field differs from what was sent.
    pub(super) changed: bool,
    /// The value, if it has one.
    pub(super) value: Option<&'a Value>,
}

/// Where a field was changed. All of it is `None` if no quote shows the field.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Verdict {
    /// The largest TTL before the change whose quotes all show what was sent, and a router there.
    pub(super) same: Option<(u8, IpAddr)>,
    /// The smallest TTL with a quote that shows something else, and the router.
    pub(super) changed: Option<(u8, IpAddr)>,
    /// What it shows.
    pub(super) value: Option<Value>,
    /// Whether all quotes of a larger TTL show again what was sent.
    pub(super) undone: Option<bool>,
    /// The probability that the change is in the interval, if there is one.
    pub(super) sure: Option<f64>,
}

/// What is known of one TTL: quotes as sent, and quotes with a change.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    same: u32,
    changed: u32,
}

/// The verdict of these quotes. `far` is the largest TTL with an answer of any kind.
pub(super) fn verdict(looks: &[Look<'_>], far: u8) -> Verdict {
    let mut counts = [Counts::default(); 256];
    for look in looks {
        let counts = &mut counts[usize::from(look.ttl)];
        if look.changed { counts.changed += 1 } else { counts.same += 1 }
    }
    let first = looks.iter().filter(|look| look.changed).min_by_key(|look| look.ttl);
    let is_same = |ttl: u8| counts[usize::from(ttl)].changed == 0;
    let before = |ttl: u8| first.is_none_or(|first| ttl < first.ttl);
    let last = looks.iter().filter(|look| is_same(look.ttl) && before(look.ttl));
    let same = last.max_by_key(|look| look.ttl).map(|look| (look.ttl, look.from));
    let Some(first) = first else {
        return Verdict { same, undone: same.map(|_| false), ..Verdict::default() };
    };
    let undone = looks.iter().any(|look| look.ttl > first.ttl && is_same(look.ttl));
    Verdict {
        same,
        changed: Some((first.ttl, first.from)),
        value: first.value.cloned(),
        undone: Some(undone),
        sure: Some(sure(&counts, same.map_or(0, |(ttl, _)| ttl), first.ttl, far)),
    }
}

/// The probability that the change is at a hop above `same` and at most `changed`, if every hop up to the one after
/// `far` is as likely before any quote was seen.
fn sure(counts: &[Counts; 256], same: u8, changed: u8, far: u8) -> f64 {
    let last = usize::from(far.max(changed)) + 1;
    // The logarithms of the likelihoods, so that many quotes do not underflow.
    let (right, wrong) = ((1.0 - MISLEADS).ln(), MISLEADS.ln());
    let likelihood = |hop: usize| -> f64 {
        let of = |(ttl, counts): (usize, &Counts)| {
            let (as_sent, changed) = (f64::from(counts.same), f64::from(counts.changed));
            if ttl < hop {
                as_sent * right + changed * wrong
            } else {
                as_sent * wrong + changed * right
            }
        };
        counts.iter().enumerate().map(of).sum()
    };
    let all: Vec<f64> = (1..=last).map(likelihood).collect();
    let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |range: &[f64]| range.iter().map(|log| (log - most).exp()).sum::<f64>();
    let inside = weight(&all[usize::from(same)..usize::from(changed)]);
    inside / weight(&all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(looks: &[(u8, bool)]) -> Verdict {
        let looks: Vec<Look<'_>> = looks
            .iter()
            .map(|(ttl, changed)| Look {
                ttl: *ttl,
                from: IpAddr::from([192, 0, 2, *ttl]),
                changed: *changed,
                value: None,
            })
            .collect();
        verdict(&looks, looks.iter().map(|look| look.ttl).max().unwrap_or(0))
    }

    fn interval(verdict: &Verdict) -> (Option<u8>, Option<u8>) {
        (verdict.same.map(|(ttl, _)| ttl), verdict.changed.map(|(ttl, _)| ttl))
    }

    #[test]
    fn the_change_is_between_the_last_as_sent_and_the_first_changed() {
        let one_silent = of(&[(1, false), (2, false), (3, false), (5, true), (6, true)]);
        assert_eq!(interval(&one_silent), (Some(3), Some(5)));
        assert_eq!(one_silent.undone, Some(false));
        let sure = one_silent.sure.unwrap();
        assert!((0.95..0.99).contains(&sure), "{sure}");
        let thrice: Vec<(u8, bool)> =
            [(3, false), (5, true)].into_iter().flat_map(|look| [look; 3]).collect();
        assert!(of(&thrice).sure.unwrap() > 0.999);
        assert_eq!(interval(&of(&[(1, true), (2, true)])), (None, Some(1)));
    }

    #[test]
    fn no_change_is_no_interval() {
        let clean = of(&[(1, false), (4, false), (2, false)]);
        assert_eq!(interval(&clean), (Some(4), None));
        assert_eq!((clean.undone, clean.sure), (Some(false), None));
        assert_eq!(of(&[]), Verdict::default());
    }

    #[test]
    fn a_later_quote_as_sent_undoes_and_makes_unsure() {
        let verdict = of(&[(1, false), (2, true), (3, false), (4, true)]);
        assert_eq!(interval(&verdict), (Some(1), Some(2)));
        assert_eq!(verdict.undone, Some(true));
        assert!(verdict.sure.unwrap() < 0.6);
        // A TTL whose quotes differ is not as sent.
        let verdict = of(&[(1, false), (2, false), (2, true), (3, true)]);
        assert_eq!(interval(&verdict), (Some(1), Some(2)));
        assert_eq!(verdict.undone, Some(false));
    }

    #[test]
    fn the_extremes_of_ttls_are_in_range() {
        for looks in [&[(0, true)][..], &[(255, true)], &[(0, false), (255, true)], &[(255, false)]]
        {
            let verdict = of(looks);
            assert!(verdict.sure.is_none_or(|sure| (0.0..=1.0).contains(&sure)), "{looks:?}");
        }
    }
}
