//! Controls: a share of the targets that is asked under the baseline alone, and what that says of the labels.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use crate::rule::{COMPARED, INSUFFICIENT, ONLINE};

/// The column of records that says whether it is of a control.
pub const CONTROL: &str = "control";

/// The quantile of the normal distribution for an interval of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// A share of the targets, the same in every run, shard and session.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(f64);

impl Share {
    /// Reads `5%` or `0.05`.
    ///
    /// # Errors
    /// What to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (number, unit) = text.strip_suffix('%').map_or((text, 1.0), |number| (number, 100.0));
        let share = number.trim().parse::<f64>().ok().map(|number| number / unit);
        match share.filter(|share| *share > 0.0 && *share < 1.0) {
            Some(share) => Ok(Self(share)),
            None => Err("must be more than 0 and less than all: 5% or 0.05".into()),
        }
    }

    /// Whether the target at this position is a control.
    pub fn has(self, position: u64) -> bool {
        // Of 53 bits a float knows each.
        ((mixed(position) >> 11) as f64) < self.0 * (1u64 << 53) as f64
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Numbers that follow each other, far apart: the finalizer of SplitMix64 (Steele, Lea, Flood: Fast splittable
/// pseudorandom number generators, 2014).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the records of controls say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controls {
    /// How many there are.
    pub records: u64,
    /// How often each label was given to one.
    pub labels: BTreeMap<String, u64>,
}

/// How often a label was given where the experiment was not there to bring it about.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alarms {
    /// To so many controls.
    pub given: u64,
    /// Of so many, of which its condition says anything.
    pub of: u64,
    /// Between which shares of all the rate is, with 95 %.
    pub interval: [f64; 2],
}

impl Controls {
    /// The false alarms of a label: those of one that alarms nobody are none.
    pub fn alarms(&self, label: &str) -> Option<Alarms> {
        let (condition, word) = taken_apart(label);
        let calm = [COMPARED[0].0, COMPARED[3].0, ONLINE[0].0, INSUFFICIENT];
        if self.records == 0 || calm.contains(&word) {
            return None;
        }
        let tell = self.labels.iter().filter(|(label, _)| {
            let (of, word) = taken_apart(label);
            of == condition && word != INSUFFICIENT
        });
        let of = tell.map(|(_, count)| count).sum();
        let given = self.labels.get(label).copied().unwrap_or(0);
        (of > 0).then(|| Alarms { given, of, interval: wilson(given, of) })
    }

    /// What several results say together, each as [`Controls::to_json`] has it; nothing where none has controls.
    pub fn together<'t>(texts: impl Iterator<Item = &'t str>) -> Option<Value> {
        let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or_default();
        let mut all = Self::default();
        let mut given = BTreeMap::new();
        for one in texts.filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
            all.records += number(one.get("records"));
            let labels = one.get("conditions").and_then(Value::as_object).into_iter().flatten();
            for (label, count) in labels {
                *all.labels.entry(label.clone()).or_default() += number(Some(count));
            }
            let alarms = one.get("false_alarms").and_then(Value::as_object).into_iter().flatten();
            given.extend(alarms.map(|(label, _)| (label.clone(), 0)));
        }
        (all.records > 0).then(|| all.to_json(&given))
    }

    /// For programs: what there is to be said, label by label, of those given and those given to controls.
    pub fn to_json(&self, labels: &BTreeMap<String, u64>) -> Value {
        let all = labels.keys().chain(self.labels.keys().filter(|l| !labels.contains_key(*l)));
        let alarms = all.filter_map(|label| {
            let Alarms { given, of, interval: [low, high] } = self.alarms(label)?;
            let rate = given as f64 / of as f64;
            let value = json!({ "given": given, "of": of, "rate": rate, "low": low, "high": high });
            Some((label.clone(), value))
        });
        json!({
            "records": self.records, "conditions": self.labels,
            "interval": "Wilson score, 95 %",
            "false_alarms": Value::Object(alarms.collect()),
        })
    }
}

impl fmt::Display for Alarms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [low, high] = self.interval.map(|share| 100.0 * share);
        let Self { given, of, .. } = self;
        let rate = 100.0 * *given as f64 / *of as f64;
        write!(f, "false alarms {given} of {of}: {rate:.1} % ({low:.1} to {high:.1} %)")
    }
}

/// The condition of a label and what it says.
fn taken_apart(label: &str) -> (&str, &str) {
    label.split_once(':').or_else(|| label.rsplit_once('.')).unwrap_or((label, ""))
}

/// The score interval of a share (Wilson: Probable inference, the law of succession, and statistical inference,
/// 1927), which is also right for none of few.
fn wilson(given: u64, of: u64) -> [f64; 2] {
    let n = of.max(1) as f64;
    let share = given as f64 / n;
    let middle = share + Z * Z / (2.0 * n);
    let width = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let whole = 1.0 + Z * Z / n;
    [((middle - width) / whole).max(0.0), ((middle + width) / whole).min(1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_in_both_ways() {
        assert_eq!(Share::parse("5%"), Share::parse("0.05"));
        for wrong in ["0", "100%", "1", "-1%", "five", "", "NaN", "inf"] {
            assert!(Share::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_is_about_as_large_as_it_says_and_no_pattern() {
        for (text, share) in [("5%", 0.05), ("50%", 0.5), ("0.1%", 0.001)] {
            let share = (Share::parse(text).unwrap(), share * 100_000.0);
            let chosen: Vec<u64> = (1..=100_000).filter(|at| share.0.has(*at)).collect();
            let off = (chosen.len() as f64 - share.1).abs();
            assert!(off < 5.0 * share.1.sqrt(), "{text}: {}", chosen.len());
            // Nor in any of the shards of a run.
            let even = chosen.iter().filter(|at| *at % 2 == 0).count() as f64;
            assert!((even - share.1 / 2.0).abs() < 5.0 * share.1.sqrt(), "{text}: {even} even");
        }
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        let rounded = |given, of| wilson(given, of).map(|share| (share * 1e4).round() / 1e4);
        // Newcombe: Two-sided confidence intervals for the single proportion, 1998, table I.
        assert_eq!(rounded(81, 263), [0.2553, 0.3662]);
        assert_eq!(rounded(15, 148), [0.0624, 0.1605]);
        assert_eq!(rounded(0, 20), [0.0, 0.1611]);
        assert_eq!(rounded(1, 29), [0.0061, 0.1718]);
    }

    #[test]
    fn results_that_are_put_together_add_up() {
        let of = |records, broken| {
            let labels = [("a.works", records - broken), ("a.broken", broken)];
            let labels = labels.map(|(label, count)| (label.to_owned(), count)).into();
            Controls { records, labels }.to_json(&BTreeMap::new()).to_string()
        };
        let all = Controls::together([&*of(10, 1), &*of(30, 0), "no JSON"].into_iter()).unwrap();
        assert_eq!((&all["records"], &all["conditions"]["a.works"]), (&json!(40), &json!(39)));
        let broken = &all["false_alarms"]["a.broken"];
        assert_eq!((&broken["given"], &broken["of"]), (&json!(1), &json!(40)));
        assert_eq!(Controls::together(std::iter::empty()), None);
    }

    #[test]
    fn only_what_alarms_is_a_false_alarm() {
        let labels = [
            ("a.b.works", 90),
            ("a.b.broken", 6),
            ("a.b.offline", 4),
            ("a.b.insufficient", 9),
            ("a.v:46", 2),
        ];
        let labels = labels.map(|(label, count)| (label.to_owned(), count));
        let controls = Controls { records: 109, labels: labels.into() };
        let of = |label: &str| controls.alarms(label).map(|alarms| (alarms.given, alarms.of));
        assert_eq!(of("a.b.broken"), Some((6, 100)));
        assert_eq!(of("a.b.intermittent"), Some((0, 100)), "not given is 0 of as many");
        assert_eq!(of("a.v:46"), Some((2, 2)));
        for calm in ["a.b.works", "a.b.offline", "a.b.insufficient", "c.unknown"] {
            assert_eq!(of(calm), None, "{calm}");
        }
        assert_eq!(Controls::default().alarms("a.b.broken"), None);
        let text = controls.alarms("a.b.broken").unwrap().to_string();
        assert_eq!(text, "false alarms 6 of 100: 6.0 % (2.8 to 12.5 %)");
    }
}
