//! Results of one measurement from several vantage points: which labels depend on the path.
//!
//! A vantage point is *for* a fault where its label is `broken`, *against* where it is `works`; other labels say nothing.
//! A vantage point that is for a fault at half of the targets where most others are against explains them by itself, for
//! example through its own provider: it is reported, and left out of the classes.

use std::collections::BTreeMap;

use super::about::{About, Condition};
use super::column::{self, Words};
use super::matched::{COLUMNS, Targets, same};
use super::source::Source;
use super::sql;
use crate::error::{Error, Result};
use crate::words::counted;

/// With fewer vantage points that say something of a target, it takes a split to conclude anything.
pub const LEAST: u32 = 6;
/// Nanoseconds within which results are of the same time.
pub const CONCURRENT: i64 = 3_600_000_000_000;
/// The fewest targets for which a vantage point is compared with the others.
pub const COMPARED: u64 = 10;
/// The most vantage points.
const MOST: usize = 64;
/// The most conditions.
const CONDITIONS: usize = 4;

/// The classes of targets, with their meaning.
pub const CLASSES: [(&str, &str); 6] = [
    ("path_dependent", "broken from some vantage points and works from others, within an hour"),
    ("not_concurrent", "broken from some and works from others, more than an hour apart"),
    ("unstable", "intermittent from one vantage point at least"),
    ("site", "broken from all of six or more conclusive vantage points"),
    ("works", "works from all of six or more conclusive vantage points"),
    ("insufficient", "no split, and fewer than six conclusive vantage points"),
];

/// What vantage points say of a target: a bit for each.
#[derive(Debug, Clone, Copy, Default)]
struct Said {
    works: u64,
    broken: u64,
    unstable: u64,
}

/// A vantage point, in one condition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Point {
    /// Targets that work or are broken.
    pub conclusive: u64,
    /// Broken ones.
    pub broken: u64,
    /// Targets that work from most other vantage points, of which two or more are conclusive.
    pub others_work: u64,
    /// Those of them that are broken from here.
    pub alone: u64,
}

impl Point {
    /// Whether it explains faults by itself.
    pub fn is_cause(&self) -> bool {
        self.others_work >= COMPARED && 2 * self.alone >= self.others_work
    }
}

/// A condition from all vantage points.
#[derive(Debug)]
pub struct Seen {
    /// The condition.
    pub condition: Condition,
    /// The vantage points, in order.
    pub points: Vec<Point>,
    /// Targets by class, in the order of [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    /// Path-dependent targets by the vantage points from which they are broken: a bit for each.
    pub sets: BTreeMap<u64, u64>,
}

/// Results from several vantage points.
pub struct Vantages {
    /// What the first says of itself.
    pub about: About,
    /// The names of the vantage points.
    pub names: Vec<String>,
    /// Definitions that the SQL needs.
    pub prelude: String,
    /// All targets.
    pub targets: u64,
    /// The SQL of records that are no controls.
    pub others_sql: &'static str,
    /// The conditions that compare configurations.
    pub conditions: Vec<Seen>,
}

/// What is known while results are read.
#[derive(Default)]
struct States {
    targets: Targets,
    /// The position of the record that counts in the current result.
    positions: Vec<Option<u64>>,
    /// The first and the last start.
    times: Vec<Option<[i64; 2]>>,
    said: Vec<Said>,
}

impl Vantages {
    /// Reads results.
    ///
    /// # Errors
    /// If they are not of one measurement that compares configurations, or cannot be read.
    pub fn of(sources: &[Source]) -> Result<Self> {
        if !(2..=MOST).contains(&sources.len()) {
            return Err(Error::Usage(format!(
                "report: --vantage takes 2 to {MOST} results, not {}",
                sources.len()
            )));
        }
        same(sources)?;
        let about = About::of(&sources[0]);
        let conditions: Vec<Condition> =
            about.conditions.iter().filter(|c| c.compares).take(CONDITIONS).cloned().collect();
        if conditions.is_empty() {
            return Err(Error::Usage(
                "report: --vantage needs a condition that compares configurations, and this measurement has none".into(),
            ));
        }
        let has_control = sources.iter().all(|source| source.has(&[crate::run::controls::CONTROL]));
        let mut states = States::default();
        for (which, source) in sources.iter().enumerate() {
            read(source, which, &conditions, &mut states)?;
        }
        let width = conditions.len();
        let seen = conditions.into_iter().enumerate().map(|(at, condition)| {
            let said: Vec<(Said, bool)> = states
                .times
                .iter()
                .enumerate()
                .map(|(target, times)| {
                    let apart = times.map_or(0, |[first, last]| last.saturating_sub(first));
                    (states.said[target * width + at], apart <= CONCURRENT)
                })
                .collect();
            classify(condition, sources.len(), &said)
        });
        Ok(Self {
            names: sources.iter().map(vantage).collect(),
            prelude: prelude(sources),
            targets: states.targets.len() as u64,
            others_sql: if has_control { "NOT control" } else { "true" },
            conditions: seen.collect(),
            about,
        })
    }
}

/// The name of a vantage point: that of the run, or of its result.
fn vantage(source: &Source) -> String {
    let stated = source.value("vantage").filter(|name| !name.is_empty());
    stated.map_or_else(|| source.name(), str::to_owned)
}

fn prelude(sources: &[Source]) -> String {
    let names: Vec<String> = (0..sources.len()).map(|at| format!("v{at}")).collect();
    let views: Vec<(&str, &Source)> = names.iter().map(String::as_str).zip(sources).collect();
    let all: Vec<String> = views
        .iter()
        .enumerate()
        .map(|(at, (view, source))| {
            format!("SELECT {at} AS v, {} AS vantage, * FROM {view}", sql::text(&vantage(source)))
        })
        .collect();
    format!("{}CREATE VIEW seen AS {};\n", sql::prelude_of(&views), all.join(" UNION ALL BY NAME "))
}

fn read(
    source: &Source,
    which: usize,
    conditions: &[Condition],
    states: &mut States,
) -> Result<()> {
    let mut columns: Vec<String> = COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    columns.push("zero.started".to_owned());
    columns.extend(conditions.iter().map(|condition| format!("verdict.{}", condition.column)));
    let (width, bit) = (conditions.len(), 1u64 << which);
    states.positions.fill(None);
    source.read(&columns, |batch| {
        let rows = states.targets.of(batch);
        let count = states.targets.len();
        states.positions.resize(count, None);
        states.times.resize(count, None);
        states.said.resize(count * width, Said::default());
        let started = column::find(batch, &["zero", "started"]);
        let started = started.map(|column| column::wholes(&column)).unwrap_or_default();
        let labels: Vec<Words> =
            conditions.iter().map(|c| Words::of(batch, &["verdict", &c.column])).collect();
        for row in rows {
            let known = &mut states.positions[row.target];
            if known.is_some_and(|known| known <= row.position) {
                continue;
            }
            *known = Some(row.position);
            if let Some(at) = started.get(row.row).copied().flatten() {
                let times = &mut states.times[row.target];
                let [first, last] = times.unwrap_or([at; 2]);
                *times = Some([first.min(at), last.max(at)]);
            }
            for (at, label) in labels.iter().enumerate() {
                let said = &mut states.said[row.target * width + at];
                said.works &= !bit;
                said.broken &= !bit;
                said.unstable &= !bit;
                match label.at(row.row).filter(|_| !row.is_control) {
                    Some("works") => said.works |= bit,
                    Some("broken") => said.broken |= bit,
                    Some("intermittent") => said.unstable |= bit,
                    _ => {}
                }
            }
        }
        Ok(())
    })
}

/// Puts targets into classes; each comes with whether its records are of the same time.
fn classify(condition: Condition, count: usize, said: &[(Said, bool)]) -> Seen {
    let mut points = vec![Point::default(); count];
    for (said, _) in said {
        let (works, broken) = (said.works.count_ones(), said.broken.count_ones());
        for (at, point) in points.iter_mut().enumerate() {
            let is = |bits: u64| bits >> at & 1;
            let (here_works, here_broken) = (is(said.works), is(said.broken));
            point.conclusive += here_works + here_broken;
            point.broken += here_broken;
            let others_work = u64::from(works) - here_works;
            let others_broken = u64::from(broken) - here_broken;
            if here_works + here_broken > 0
                && others_work > others_broken
                && others_work + others_broken > 1
            {
                point.others_work += 1;
                point.alone += here_broken;
            }
        }
    }
    let causes = points.iter().enumerate().filter(|(_, point)| point.is_cause());
    let causes = causes.fold(0u64, |bits, (at, _)| bits | 1 << at);
    let mut classes = [0; CLASSES.len()];
    let mut sets = BTreeMap::new();
    for (said, concurrent) in said {
        let (works, broken) = (said.works & !causes, said.broken & !causes);
        let conclusive = (works | broken).count_ones();
        let class = match (works, broken) {
            _ if said.unstable & !causes != 0 => 2,
            (1.., 1..) if *concurrent => 0,
            (1.., 1..) => 1,
            (0, 1..) if conclusive >= LEAST => 3,
            (1.., 0) if conclusive >= LEAST => 4,
            _ => 5,
        };
        classes[class] += 1;
        if class == 0 {
            *sets.entry(broken).or_default() += 1;
        }
    }
    Seen { condition, points, classes, sets }
}

/// The smallest share of paths with a fault whose split a number of vantage points misses in at most 5 % of cases, if
/// there is one: `f^n + (1 - f)^n <= 0.05`.
pub fn detectable(points: usize) -> Option<f64> {
    let missed = |share: f64| {
        let n = points as f64;
        share.powf(n) + (1.0 - share).powf(n)
    };
    (1..=50).map(|percent| f64::from(percent) / 100.0).find(|share| missed(*share) <= 0.05)
}

/// What the number of vantage points allows to conclude.
pub fn power(points: usize) -> String {
    let count = counted(points as u64, "vantage point[s]");
    match detectable(points) {
        Some(share) => format!(
            "With {count}, a fault on {:.0} % or more of the paths to a target is seen as a split in 95 % of cases.",
            100.0 * share
        ),
        None => format!(
            "With {count}, a fault on half of the paths to a target is missed in more than 5 % of cases: targets without a split \
             are insufficient, whatever the others say."
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition() -> Condition {
        Condition { name: "a.b".into(), column: "a_b".into(), compares: true }
    }

    fn said(works: u64, broken: u64, unstable: u64) -> Said {
        Said { works, broken, unstable }
    }

    #[test]
    fn targets_are_classified_by_who_sees_the_fault() {
        let all = 0b11_1111;
        let targets = [
            (said(0b11_1100, 0b11, 0), true),
            (said(0b11_1100, 0b11, 0), false),
            (said(0b11_1110, 0, 1), true),
            (said(0, all, 0), true),
            (said(all, 0, 0), true),
            (said(0b1_1111, 0, 0), true),
            (said(0, 0, 0), true),
        ];
        let seen = classify(condition(), 6, &targets);
        assert_eq!(seen.classes, [1, 1, 1, 1, 1, 2]);
        assert_eq!(seen.sets, BTreeMap::from([(0b11, 1)]));
    }

    #[test]
    fn a_vantage_point_that_is_alone_with_its_faults_is_left_out() {
        let mut targets = vec![(said(0b110, 0b001, 0), true); 20];
        targets.push((said(0b001, 0b110, 0), true));
        let seen = classify(condition(), 3, &targets);
        assert_eq!(
            seen.points[0],
            Point { conclusive: 21, broken: 20, others_work: 20, alone: 20 }
        );
        assert!(seen.points[0].is_cause() && !seen.points[1].is_cause());
        assert_eq!(seen.classes, [0, 0, 0, 0, 0, 21], "the rest says too little");
    }

    #[test]
    fn six_vantage_points_see_a_fault_of_half_of_the_paths() {
        assert_eq!(detectable(5), None);
        let of = |points| (detectable(points).unwrap_or_default() * 10.0).round() / 10.0;
        assert_eq!([6, 9, 14, 29].map(of), [0.4, 0.3, 0.2, 0.1]);
    }
}
