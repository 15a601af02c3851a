//! Two results of one measurement over the same targets: what changed.

use std::collections::BTreeMap;

use super::about::{About, Condition};
use super::column::Words;
use super::matched::{COLUMNS, Targets, same};
use super::network::Network;
use super::source::Source;
use super::sql;
use crate::error::{Error, Result};
use crate::rule::INSUFFICIENT;
use crate::run::controls::CONTROL;

/// The most conditions that are compared.
const CONDITIONS: usize = 8;
/// The word for a target to which a condition does not apply.
pub const NOT_APPLICABLE: &str = "does not apply";
/// The most words of a condition that are distinguished.
const WORDS: usize = 250;
/// The word for further ones.
const MORE: &str = "(others)";

/// Targets by what they were before and after.
pub type Transitions = BTreeMap<(String, String), u64>;

/// A network and its targets with both results, those that broke and those that recovered.
pub type Changed = (Network, [u64; 3]);

/// The comparison of a condition.
#[derive(Debug)]
pub struct Compared {
    /// The condition.
    pub condition: Condition,
    /// Targets of both results, without controls of either, by their labels.
    pub transitions: Transitions,
    /// Networks with a target that went from works to broken or back.
    pub networks: Vec<Changed>,
}

impl Compared {
    /// Targets with these labels.
    pub fn of(&self, before: &str, after: &str) -> u64 {
        self.transitions.get(&(before.to_owned(), after.to_owned())).copied().unwrap_or_default()
    }

    /// All targets that are compared.
    pub fn targets(&self) -> u64 {
        self.transitions.values().sum()
    }
}

/// Two results.
pub struct Comparison {
    /// What the first says of itself.
    pub about: About,
    /// The names of both.
    pub names: [String; 2],
    /// When they were measured.
    pub times: [String; 2],
    /// Definitions that the SQL needs.
    pub prelude: String,
    /// Targets of both, of the first alone, of the second alone, and controls of either among those of both.
    pub targets: [u64; 4],
    /// How SQL names the network of a target of the first.
    pub network_sql: String,
    /// The SQL of targets that are no controls in either.
    pub others_sql: &'static str,
    /// The conditions.
    pub conditions: Vec<Compared>,
}

/// What a target was in one of the results: the code of its word, 0 without a record.
type Code = u8;

/// The words of a condition by code.
struct Codes(Vec<String>);

impl Codes {
    fn code(&mut self, word: &str) -> Code {
        let known = self.0.iter().position(|known| known == word);
        let at = known.unwrap_or_else(|| match self.0.len() < WORDS {
            true => {
                self.0.push(word.to_owned());
                self.0.len() - 1
            }
            false => 0,
        });
        Code::try_from(at + 1).unwrap_or(1)
    }

    fn word(&self, code: Code) -> &str {
        self.0.get(usize::from(code).wrapping_sub(1)).map_or(MORE, String::as_str)
    }
}

/// What is known of the targets while results are read.
#[derive(Default)]
struct States {
    targets: Targets,
    /// The position of the record that counts, of each target in each result.
    positions: Vec<[Option<u64>; 2]>,
    controls: Vec<[bool; 2]>,
    /// For each target and condition the codes in both results.
    codes: Vec<[Code; 2]>,
}

impl Comparison {
    /// Reads two results.
    ///
    /// # Errors
    /// If they are not two results of one measurement, or cannot be read.
    pub fn of(sources: &[Source]) -> Result<Self> {
        let [before, after] = sources else {
            return Err(Error::Usage(format!(
                "report: --compare takes two results, not {}",
                sources.len()
            )));
        };
        same(sources)?;
        let about = About::of(before);
        let conditions: Vec<Condition> =
            about.conditions.iter().take(CONDITIONS).cloned().collect();
        let mut states = States::default();
        let mut words: Vec<Codes> =
            conditions.iter().map(|_| Codes(vec![MORE.to_owned()])).collect();
        for (which, source) in [before, after].into_iter().enumerate() {
            read(source, which, &conditions, &mut states, &mut words)?;
        }
        let has = |path: &[&str]| sources.iter().all(|source| source.has(path));
        let time = |source: &Source| source.value("started").unwrap_or("time unknown").to_owned();
        let network = if has(&["target", "prefix"]) {
            "before.target.prefix"
        } else {
            "network(before.target.ip)"
        };
        Ok(Self {
            names: [before.name(), after.name()],
            times: [time(before), time(after)],
            prelude: sql::prelude_of(&[("before", before), ("after", after)]),
            targets: states.counts(),
            network_sql: network.to_owned(),
            others_sql: if has(&[CONTROL]) {
                "NOT before.control AND NOT after.control"
            } else {
                "true"
            },
            conditions: conditions
                .into_iter()
                .zip(&words)
                .enumerate()
                .map(|(at, (condition, words))| states.compared(at, condition, words))
                .collect(),
            about,
        })
    }
}

fn read(
    source: &Source,
    which: usize,
    conditions: &[Condition],
    states: &mut States,
    words: &mut [Codes],
) -> Result<()> {
    let mut columns: Vec<String> = COLUMNS.iter().map(|name| (*name).to_owned()).collect();
    for condition in conditions {
        columns.push(format!("verdict.{}", condition.column));
        columns.push(format!("insufficient.{}", condition.column));
    }
    let width = conditions.len();
    source.read(&columns, |batch| {
        let rows = states.targets.of(batch);
        let count = states.targets.len();
        states.positions.resize(count, [None; 2]);
        states.controls.resize(count, [false; 2]);
        states.codes.resize(count * width, [0; 2]);
        let of = |name: &str, column: &str| Words::of(batch, &[name, column]);
        let labels: Vec<[Words; 2]> = conditions
            .iter()
            .map(|condition| ["verdict", "insufficient"].map(|name| of(name, &condition.column)))
            .collect();
        for row in rows {
            // Of a target that is listed several times, the first record counts.
            let known = &mut states.positions[row.target][which];
            if known.is_some_and(|known| known <= row.position) {
                continue;
            }
            *known = Some(row.position);
            states.controls[row.target][which] = row.is_control;
            for (at, ([label, reason], words)) in labels.iter().zip(words.iter_mut()).enumerate() {
                let word = match (label.at(row.row), reason.at(row.row)) {
                    (Some(word), _) => word,
                    (None, Some(_)) => INSUFFICIENT,
                    (None, None) => NOT_APPLICABLE,
                };
                states.codes[row.target * width + at][which] = words.code(word);
            }
        }
        Ok(())
    })
}

impl States {
    fn counts(&self) -> [u64; 4] {
        let mut counts = [0; 4];
        for (positions, controls) in self.positions.iter().zip(&self.controls) {
            match positions {
                [Some(_), Some(_)] => {
                    counts[0] += 1;
                    counts[3] += u64::from(controls[0] || controls[1]);
                }
                [Some(_), None] => counts[1] += 1,
                [None, Some(_)] => counts[2] += 1,
                [None, None] => {}
            }
        }
        counts
    }

    fn compared(&self, at: usize, condition: Condition, words: &Codes) -> Compared {
        let width = self.codes.len() / self.positions.len().max(1);
        let mut by_code: BTreeMap<[Code; 2], u64> = BTreeMap::new();
        let mut networks: std::collections::HashMap<Network, [u64; 3]> =
            std::collections::HashMap::new();
        for (target, controls) in self.controls.iter().enumerate() {
            let both = self.positions[target].iter().all(Option::is_some);
            if !both || controls[0] || controls[1] {
                continue;
            }
            let codes = self.codes[target * width + at];
            *by_code.entry(codes).or_default() += 1;
            let Some(network) = self.targets.networks[target].filter(|_| condition.compares) else {
                continue;
            };
            let counts = networks.entry(network).or_default();
            counts[0] += 1;
            match codes.map(|code| words.word(code)) {
                ["works", "broken"] => counts[1] += 1,
                ["broken", "works"] => counts[2] += 1,
                _ => {}
            }
        }
        let mut transitions = Transitions::new();
        for (codes, count) in by_code {
            let [before, after] = codes.map(|code| words.word(code).to_owned());
            *transitions.entry((before, after)).or_default() += count;
        }
        let networks =
            networks.into_iter().filter(|(_, counts)| counts[1] + counts[2] > 0).collect();
        Compared { condition, transitions, networks }
    }
}
