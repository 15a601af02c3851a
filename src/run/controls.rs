//! Controls: a share of the targets that is probed under the baseline alone. Decides when, and estimates false-alarm rates.

use std::collections::BTreeMap;
use std::fmt;

use arrow_array::temporal_conversions::timestamp_ns_to_datetime;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::field;
use crate::rule::{COMPARED, INSUFFICIENT, ONLINE};
use crate::targets::scrambled;

/// The column that marks records of controls.
pub const CONTROL: &str = "control";

/// The quantile of the normal distribution for a 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// A share of the targets, the same in every run, shard and session.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
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
        // A float represents integers of 53 bits exactly.
        ((scrambled(position) >> 11) as f64) < self.0 * (1u64 << 53) as f64
    }
}

impl TryFrom<String> for Share {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Share> for String {
    fn from(share: Share) -> String {
        share.to_string()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Decides when a control wave is due. Controls have waves of their own, since the engine applies the baseline in place
/// of every configuration there. Control waves are spread over the run, so that false alarms and other labels are
/// measured at the same time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    /// Targets taken since the last control wave.
    since: u64,
}

/// Minimum number of control waves in a run that has enough controls.
const TURNS: u64 = 3;
/// Limit on control waves that are less than a quarter full: each takes as long as a full one.
const SMALL_TURNS: u64 = 8;

impl Turn {
    /// Maximum size of a wave between two control waves; `expected` is the length of the list, if known.
    pub fn room(&self, size: usize, expected: Option<u64>) -> usize {
        let share =
            expected.map_or(size, |all| usize::try_from(all.div_ceil(TURNS)).unwrap_or(usize::MAX));
        share.clamp(1, size.max(1))
    }

    /// Whether a control wave is due: the pending controls (at least one) fill a quarter of a wave, or enough other
    /// targets were probed since the last one.
    pub fn is_due(&self, controls: usize, size: usize, expected: Option<u64>) -> bool {
        let room = self.room(size, expected) as u64;
        // A wave may be smaller than its limit if some of the targets read were controls.
        let share = expected.map_or(room, |all| (all / SMALL_TURNS).max(room / 2));
        controls * 4 >= size || self.since > share
    }

    /// Records what the last wave was.
    pub fn handle_taken(&mut self, controls: bool, targets: usize) {
        self.since = if controls { 0 } else { self.since + targets as u64 };
    }
}

/// Results of the controls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Controls {
    /// Number of controls.
    pub records: u64,
    /// How often each label was given to a control.
    pub labels: BTreeMap<String, u64>,
    /// Start times of the first and the last control.
    pub started: Span,
    /// Start times of the first and the last other target.
    pub others_started: Span,
}

/// The earliest and the latest of some times, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span(Option<[i64; 2]>);

impl Span {
    /// Extends the span to include a time.
    pub fn add(&mut self, time: i64) {
        let [first, last] = self.0.unwrap_or([time; 2]);
        self.0 = Some([first.min(time), last.max(time)]);
    }

    fn to_json(self) -> Value {
        self.0.map_or(
            Value::Null,
            |[first, last]| json!({ "first": utc_of(first), "last": utc_of(last) }),
        )
    }

    fn add_json(&mut self, span: Option<&Value>) {
        let texts = ["first", "last"].iter().filter_map(|key| span?.get(*key)?.as_str());
        texts.filter_map(field::time::parse).for_each(|at| self.add(at));
    }
}

/// `2026-11-22T18:30:00.123Z`.
fn utc_of(nanoseconds: i64) -> String {
    let time = timestamp_ns_to_datetime(nanoseconds);
    time.map_or_else(String::new, |time| time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
}

/// How often a label was given to controls, where the experiment cannot be the cause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alarms {
    /// Controls with the label.
    pub given: u64,
    /// Controls for which the condition has a result.
    pub of: u64,
    /// The 95 % confidence interval of the rate.
    pub interval: [f64; 2],
}

impl Controls {
    /// False-alarm rate of a label; `None` for labels that report no fault.
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

    /// The sum of several results, each in the form of [`Controls::to_json`]; `None` if none has controls.
    pub fn together<'t>(texts: impl Iterator<Item = &'t str>) -> Option<Value> {
        let number = |value: Option<&Value>| value.and_then(Value::as_u64).unwrap_or_default();
        let mut all = Self::default();
        let mut given = BTreeMap::new();
        for one in texts.filter_map(|text| serde_json::from_str::<Value>(text).ok()) {
            all.records += number(one.get("records"));
            all.started.add_json(one.get("started"));
            all.others_started.add_json(one.get("others_started"));
            let labels = one.get("conditions").and_then(Value::as_object).into_iter().flatten();
            for (label, count) in labels {
                *all.labels.entry(label.clone()).or_default() += number(Some(count));
            }
            let alarms = one.get("false_alarms").and_then(Value::as_object).into_iter().flatten();
            given.extend(alarms.map(|(label, _)| (label.clone(), 0)));
        }
        (all.records > 0).then(|| all.to_json(&given))
    }

    /// The results by label as JSON; `labels` are those given to other targets.
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
            "started": self.started.to_json(), "others_started": self.others_started.to_json(),
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

/// Splits a label into its condition and its word.
fn taken_apart(label: &str) -> (&str, &str) {
    label.split_once(':').or_else(|| label.rsplit_once('.')).unwrap_or((label, ""))
}

/// The score interval of a share (Wilson: Probable inference, the law of succession, and statistical inference,
/// 1927), which also holds for small samples without a hit.
pub fn wilson(given: u64, of: u64) -> [f64; 2] {
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
    fn shares_are_read_in_both_forms() {
        assert_eq!(Share::parse("5%"), Share::parse("0.05"));
        for wrong in ["0", "100%", "1", "-1%", "five", "", "NaN", "inf"] {
            assert!(Share::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_share_has_about_its_size_and_no_pattern() {
        for (text, share) in [("5%", 0.05), ("50%", 0.5), ("0.1%", 0.001)] {
            let share = (Share::parse(text).unwrap(), share * 100_000.0);
            let chosen: Vec<u64> = (1..=100_000).filter(|at| share.0.has(*at)).collect();
            let off = (chosen.len() as f64 - share.1).abs();
            assert!(off < 5.0 * share.1.sqrt(), "{text}: {}", chosen.len());
            // The same holds in each shard of a run.
            let even = chosen.iter().filter(|at| *at % 2 == 0).count() as f64;
            assert!((even - share.1 / 2.0).abs() < 5.0 * share.1.sqrt(), "{text}: {even} even");
        }
    }

    /// The waves of a list in which every twentieth target is a control: whether of controls, and the size.
    fn waves(all: usize, size: usize, is_known: bool) -> Vec<(bool, usize)> {
        let (mut turn, mut waves) = (Turn::default(), Vec::new());
        let (mut listed, mut targets, mut controls) = (0, 0, 0);
        let expected = is_known.then_some(all as u64);
        loop {
            let room = turn.room(size, expected);
            while targets < room && listed < all {
                listed += 1;
                if listed % 20 == 0 { controls += 1 } else { targets += 1 }
            }
            let due = controls > 0 && (targets == 0 || turn.is_due(controls, size, expected));
            let (from, most) = if due { (&mut controls, size) } else { (&mut targets, room) };
            let taken = most.min(*from);
            if taken == 0 {
                return waves;
            }
            *from -= taken;
            turn.handle_taken(due, taken);
            waves.push((due, taken));
        }
    }

    #[test]
    fn control_waves_are_spread_over_the_run() {
        let (others, control) = (false, true);
        // A list that fits into one wave.
        let small = waves(300, 10_000, true);
        let whose: Vec<bool> = small.iter().map(|(whose, _)| *whose).collect();
        assert_eq!(whose, [others, control, others, control, others]);
        for (all, size, is_known) in
            [(300, 10_000, true), (3000, 1000, true), (100_000, 1000, true), (9000, 1000, false)]
        {
            let waves = waves(all, size, is_known);
            let controls: Vec<usize> =
                (0..waves.len()).filter(|at| waves[*at].0 == control).collect();
            let (first, last) = (controls[0], controls[controls.len() - 1]);
            let spread = 2 * first < waves.len() && 2 * last >= waves.len();
            assert!(spread, "{all} in waves of {size}: {waves:?}");
            let sum: usize = waves.iter().map(|(_, targets)| targets).sum();
            assert_eq!(sum, all);
            // A few controls do not get a wave after each other wave.
            let small = controls.iter().filter(|at| waves[**at].1 * 4 < size).count();
            assert!(small as u64 <= SMALL_TURNS + 1, "{all} in waves of {size}: {waves:?}");
        }
    }

    #[test]
    fn intervals_equal_published_ones() {
        let rounded = |given, of| wilson(given, of).map(|share| (share * 1e4).round() / 1e4);
        // Newcombe: Two-sided confidence intervals for the single proportion, 1998, table I.
        assert_eq!(rounded(81, 263), [0.2553, 0.3662]);
        assert_eq!(rounded(15, 148), [0.0624, 0.1605]);
        assert_eq!(rounded(0, 20), [0.0, 0.1611]);
        assert_eq!(rounded(1, 29), [0.0061, 0.1718]);
    }

    #[test]
    fn merged_results_add_up() {
        let of = |records, broken| {
            let labels = [("a.works", records - broken), ("a.broken", broken)];
            let labels = labels.map(|(label, count)| (label.to_owned(), count)).into();
            let mut controls = Controls { records, labels, ..Controls::default() };
            controls.started.add(i64::try_from(records).unwrap() * 1_000_000_000);
            controls.to_json(&BTreeMap::new()).to_string()
        };
        let all = Controls::together([&*of(10, 1), &*of(30, 0), "no JSON"].into_iter()).unwrap();
        assert_eq!((&all["records"], &all["conditions"]["a.works"]), (&json!(40), &json!(39)));
        let broken = &all["false_alarms"]["a.broken"];
        assert_eq!((&broken["given"], &broken["of"]), (&json!(1), &json!(40)));
        let span =
            json!({ "first": "1970-01-01T00:00:10.000Z", "last": "1970-01-01T00:00:30.000Z" });
        assert_eq!((&all["started"], &all["others_started"]), (&span, &Value::Null));
        assert_eq!(Controls::together(std::iter::empty()), None);
    }

    #[test]
    fn only_labels_that_report_a_fault_are_false_alarms() {
        let labels = [
            ("a.b.works", 90),
            ("a.b.broken", 6),
            ("a.b.offline", 4),
            ("a.b.insufficient", 9),
            ("a.v:46", 2),
        ];
        let labels = labels.map(|(label, count)| (label.to_owned(), count));
        let controls = Controls { records: 109, labels: labels.into(), ..Controls::default() };
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
