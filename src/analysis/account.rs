//! The account of results: everything that a report counts, in one pass over the records.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use arrow_array::{Array as _, BooleanArray, RecordBatch};
use arrow_schema::DataType;

use super::about::{About, together};
use super::column::{self, Words};
use super::groups::{Groups, MOST};
use super::network::Network;
use super::series::Series;
use super::source::Source;
use super::sql;
use crate::error::{Error, Result};
use crate::flags;
use crate::rule::INSUFFICIENT;
use crate::rule::confirm::{CONFIRM, COUNTS};
use crate::run::controls::CONTROL;
use crate::run::record::POSITION;
use crate::sink::Leaf;

/// The most findings that are broken down by network, rank and so on.
const FINDINGS: usize = 8;
/// The most different labels of a condition, or ends of attempts, that are counted apart.
const WORDS: usize = 4096;
/// The most values of a column of the list that make it one of categories.
pub const CATEGORIES: usize = 20;
/// The most series of numbers.
const SERIES: usize = 16;
/// The most configurations whose handshakes are compared.
const HANDSHAKES: usize = 4;
/// The number of a handshake's time.
const HANDSHAKE: &str = "tcp_handshake_rtt";

/// A label that is broken down: by network, by rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The place of its condition.
    pub condition: usize,
    /// The word of the label.
    pub word: String,
}

/// What is counted of a condition. Pairs are other targets, and controls.
#[derive(Debug, Default)]
pub struct Counts {
    /// Records by label.
    pub labels: HashMap<String, [u64; 2], foldhash::fast::RandomState>,
    /// Records with labels that are not counted apart.
    pub more: [u64; 2],
    /// Records for which facts were missing.
    pub insufficient: [u64; 2],
    /// Records to which it does not apply.
    pub not_applicable: [u64; 2],
    /// Why facts were missing, without controls.
    pub reasons: HashMap<String, u64, foldhash::fast::RandomState>,
    /// Confirmation rounds by label: targets with rounds, then [`COUNTS`] in order; without controls.
    pub rounds: BTreeMap<String, [u64; 1 + COUNTS.len()]>,
}

impl Counts {
    /// Records with a label.
    pub fn judged(&self, slot: usize) -> u64 {
        self.labels.values().map(|count| count[slot]).sum::<u64>() + self.more[slot]
    }

    /// Records with this label.
    pub fn of(&self, word: &str, slot: usize) -> u64 {
        self.labels.get(word).map_or(0, |count| count[slot])
    }
}

/// Targets by the values of a column of the list.
#[derive(Debug)]
pub enum Own {
    /// By the number of digits of a rank.
    Ranks(Groups<u32>),
    /// By value, if there are at most [`CATEGORIES`].
    Values(Groups<String>),
}

/// How an attempt ended: configuration, state, stage, error.
pub type End = (usize, String, String, String);

/// Everything that is counted.
pub struct Account {
    /// What the result says of itself.
    pub about: About,
    /// Its metadata; of several results the sums.
    pub metadata: BTreeMap<String, String>,
    /// The name of the first result.
    pub name: String,
    /// Definitions that the SQL of the tables needs.
    pub prelude: String,
    /// Whether the autonomous systems are those of the records, rather than of a table.
    pub has_asn: bool,
    /// How SQL names the autonomous systems of a record.
    pub asn_sql: &'static str,
    /// The SQL of records that are no controls.
    pub others_sql: &'static str,
    /// How SQL names the network of a record.
    pub network_sql: String,
    /// All records.
    pub records: u64,
    /// Those of them that are controls.
    pub controls: u64,
    /// Records with flags that are no controls.
    pub flagged: u64,
    /// Records by flag.
    pub flags: BTreeMap<String, u64>,
    /// The conditions' counts, in the order of [`About::conditions`].
    pub conditions: Vec<Counts>,
    /// The labels that are broken down.
    pub findings: Vec<Finding>,
    /// Targets by network.
    pub networks: Groups<Network>,
    /// Targets by autonomous system.
    pub systems: Groups<String>,
    /// Targets by columns of the list.
    pub own: Vec<(String, Own)>,
    /// Numbers.
    pub series: Vec<Series>,
    /// How attempts ended, without controls.
    pub ends: HashMap<End, u64, foldhash::fast::RandomState>,
    /// The leaf columns.
    pub leaves: Vec<Leaf>,
    /// The columns with their types and descriptions.
    pub schema: arrow_schema::SchemaRef,
}

/// Gives the autonomous system of an address.
pub type Origins<'a> = &'a dyn Fn(IpAddr) -> Option<String>;

impl Account {
    /// Reads results that belong together. `labels` are to be broken down instead of `broken` of each condition;
    /// `origins` gives the autonomous systems instead of the records.
    ///
    /// # Errors
    /// If a result cannot be read, or has no such label.
    pub fn of(sources: &[Source], labels: &[String], origins: Option<Origins<'_>>) -> Result<Self> {
        let Some(first) = sources.first() else {
            return Err(Error::Usage("report: name at least one result".into()));
        };
        let mut account = Self::begin(sources, first, labels)?;
        account.has_asn &= origins.is_none();
        let columns = account.columns(first);
        for source in sources {
            source.read(&columns, |batch| {
                account.add(batch, origins);
                Ok(())
            })?;
            for leaf in source.leaves()? {
                match account.leaves.iter_mut().find(|known| known.path == leaf.path) {
                    Some(known) => known.add(&leaf),
                    None => account.leaves.push(leaf),
                }
            }
        }
        account.series.iter_mut().for_each(Series::close);
        account.series.retain(|series| series.count > 0);
        Ok(account)
    }

    fn begin(sources: &[Source], first: &Source, labels: &[String]) -> Result<Self> {
        let about = About::of(first);
        let findings = findings(&about, labels, first)?;
        let records = sources.iter().try_fold(0, |sum, s| Ok::<_, Error>(sum + s.rows()?))?;
        let count = findings.len();
        let has = |name: &str| first.has(&["target", name]);
        Ok(Self {
            metadata: together(sources),
            name: first.name(),
            prelude: sql::prelude(sources),
            has_asn: has("asn"),
            asn_sql: match first.fields("target").find("asn").map(|(_, asn)| asn.data_type()) {
                Some(DataType::List(_)) => "nullif(array_to_string(target.asn, '_'), '')",
                _ => "CAST(target.asn AS VARCHAR)",
            },
            others_sql: if first.has(&[CONTROL]) { "NOT control" } else { "true" },
            network_sql: if has("prefix") { "target.prefix" } else { "network(target.ip)" }.into(),
            records: 0,
            controls: 0,
            flagged: 0,
            flags: BTreeMap::new(),
            conditions: about.conditions.iter().map(|_| Counts::default()).collect(),
            networks: Groups::new(count, MOST),
            systems: Groups::new(count, MOST),
            own: own(first, count),
            series: series(first, &about, records),
            ends: HashMap::default(),
            leaves: Vec::new(),
            schema: first.schema.clone(),
            findings,
            about,
        })
    }

    /// The columns that are read.
    fn columns(&self, source: &Source) -> Vec<String> {
        let plain =
            [POSITION, flags::COLUMN, CONTROL, "verdict", "insufficient", CONFIRM, "metric"];
        let mut columns: Vec<String> = plain.iter().map(|name| (*name).to_owned()).collect();
        let target = source.fields("target");
        let target = target.iter().map(|field| field.name().as_str());
        let target = target.filter(|name| !["port", "name", "extra"].contains(name));
        columns.extend(target.map(|name| format!("target.{name}")));
        for (name, _) in &self.about.configurations {
            for column in ["state", "stage", "error", HANDSHAKE] {
                columns.push(format!("{name}.{column}"));
            }
        }
        columns
    }

    fn add(&mut self, batch: &RecordBatch, origins: Option<Origins<'_>>) {
        let rows = batch.num_rows();
        let control = column::truth(batch, &[CONTROL]);
        let is_control =
            |row: usize| control.as_ref().is_some_and(|c| c.is_valid(row) && c.value(row));
        let before = self.records;
        self.records += rows as u64;
        self.controls += (0..rows).filter(|row| is_control(*row)).count() as u64;
        self.add_flags(batch, &is_control);
        let found = self.add_verdicts(batch, &is_control);
        self.add_groups(batch, &is_control, &found, origins);
        self.add_numbers(batch, before, &is_control);
        self.add_ends(batch, &is_control);
    }

    fn add_flags(&mut self, batch: &RecordBatch, is_control: &dyn Fn(usize) -> bool) {
        let Some(lists) = column::lists(batch, flags::COLUMN) else { return };
        for (row, words) in lists.into_iter().enumerate() {
            self.flagged += u64::from(!words.is_empty() && !is_control(row));
            words.into_iter().for_each(|word| *self.flags.entry(word).or_default() += 1);
        }
    }

    /// Counts the labels; returns for every row and finding whether the condition has a label, and that one.
    fn add_verdicts(
        &mut self,
        batch: &RecordBatch,
        is_control: &dyn Fn(usize) -> bool,
    ) -> Vec<Vec<Option<bool>>> {
        let rows = batch.num_rows();
        let mut found = vec![vec![None; self.findings.len()]; rows];
        for (at, (condition, counts)) in
            self.about.conditions.iter().zip(&mut self.conditions).enumerate()
        {
            let verdict = Words::of(batch, &["verdict", &condition.column]);
            let reason = Words::of(batch, &["insufficient", &condition.column]);
            let rounds = Rounds::of(batch, &condition.column);
            let of_it: Vec<(usize, &str)> = self
                .findings
                .iter()
                .enumerate()
                .filter(|(_, finding)| finding.condition == at)
                .map(|(number, finding)| (number, finding.word.as_str()))
                .collect();
            for (row, found) in found.iter_mut().enumerate() {
                let slot = usize::from(is_control(row));
                let word = verdict.at(row).filter(|word| *word != INSUFFICIENT);
                match (word, reason.at(row)) {
                    (Some(word), _) => add_label(counts, word, slot),
                    (None, Some(reason)) => {
                        counts.insufficient[slot] += 1;
                        if slot == 0 {
                            add_capped(&mut counts.reasons, reason);
                        }
                    }
                    (None, None) => counts.not_applicable[slot] += 1,
                }
                if slot == 0 {
                    rounds.add(row, word.unwrap_or(INSUFFICIENT), counts);
                }
                for (number, label) in &of_it {
                    found[*number] = word.map(|word| word == *label);
                }
            }
        }
        found
    }

    fn add_groups(
        &mut self,
        batch: &RecordBatch,
        is_control: &dyn Fn(usize) -> bool,
        found: &[Vec<Option<bool>>],
        origins: Option<Origins<'_>>,
    ) {
        let ips = Words::of(batch, &["target", "ip"]);
        let prefixes = Words::of(batch, &["target", "prefix"]);
        let systems = column::find(batch, &["target", "asn"]).map(|column| column::joined(&column));
        for (row, found) in found.iter().enumerate().filter(|(row, _)| !is_control(*row)) {
            let ip = || ips.at(row).and_then(|ip| ip.parse::<IpAddr>().ok());
            let network = match prefixes.is_there() {
                true => prefixes.at(row).and_then(Network::parse),
                false => ip().map(Network::of),
            };
            if let Some(network) = network {
                self.networks.add(network, found);
            }
            let system = match origins {
                Some(origins) => ip().and_then(origins),
                None => systems.as_ref().and_then(|systems| systems(row)),
            };
            if let Some(system) = system {
                self.systems.add(system, found);
            }
        }
        for (name, own) in &mut self.own {
            let Some(column) = column::find(batch, &["target", name]) else { continue };
            let others = (0..batch.num_rows()).filter(|row| !is_control(*row));
            match own {
                Own::Ranks(groups) => {
                    let ranks = column::wholes(&column);
                    for row in others {
                        if let Some(rank) = ranks.get(row).copied().flatten().filter(|n| *n > 0) {
                            groups.add(rank.ilog10(), &found[row]);
                        }
                    }
                }
                Own::Values(groups) => {
                    let words = Values::of(&column);
                    for row in others {
                        if let Some(word) = words.at(row) {
                            groups.add(word, &found[row]);
                        }
                    }
                }
            }
        }
    }

    fn add_numbers(
        &mut self,
        batch: &RecordBatch,
        before: u64,
        is_control: &dyn Fn(usize) -> bool,
    ) {
        let positions =
            column::find(batch, &[POSITION]).map(|c| column::wholes(&c)).unwrap_or_default();
        let position = |row: usize| {
            let known = positions.get(row).copied().flatten().and_then(|at| u64::try_from(at).ok());
            known.unwrap_or(before + row as u64)
        };
        let first = self.about.configurations.first().map_or("zero", |(name, _)| name.as_str());
        let times = |name: &str| {
            let column = column::find(batch, &[name, HANDSHAKE]);
            column.map(|column| column::wholes(&column)).unwrap_or_default()
        };
        let zero = times(first);
        for series in &mut self.series {
            let numbers: Vec<Option<f64>> = match series.group.as_str() {
                "handshake" => {
                    times(&series.name).into_iter().map(|n| Some(n? as f64 / 1e6)).collect()
                }
                "difference" => times(&series.name)
                    .iter()
                    .zip(&zero)
                    .map(|(one, zero)| Some((one.as_ref()? - zero.as_ref()?) as f64 / 1e6))
                    .collect(),
                _ => column::find(batch, &["metric", &series.group])
                    .map(|column| column::reals(&column))
                    .unwrap_or_default(),
            };
            for (row, number) in numbers.into_iter().enumerate() {
                if let Some(number) = number.filter(|n| n.is_finite() && !is_control(row)) {
                    series.add(position(row), number);
                }
            }
        }
    }

    fn add_ends(&mut self, batch: &RecordBatch, is_control: &dyn Fn(usize) -> bool) {
        for (at, (name, _)) in self.about.configurations.iter().enumerate() {
            let [state, stage, error] =
                ["state", "stage", "error"].map(|column| Words::of(batch, &[name, column]));
            if !state.is_there() {
                continue;
            }
            // Most attempts end alike.
            let mut last: Option<(End, u64)> = None;
            for row in (0..batch.num_rows()).filter(|row| !is_control(*row)) {
                let [a, b, c] =
                    [&state, &stage, &error].map(|words| words.at(row).unwrap_or_default());
                match &mut last {
                    Some((end, times)) if (&*end.1, &*end.2, &*end.3) == (a, b, c) => *times += 1,
                    _ => {
                        let end = (at, a.to_owned(), b.to_owned(), c.to_owned());
                        if let Some((end, times)) = last.replace((end, 1)) {
                            add_end(&mut self.ends, end, times);
                        }
                    }
                }
            }
            if let Some((end, times)) = last {
                add_end(&mut self.ends, end, times);
            }
        }
    }

    /// A value of the metadata.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A numeric value of the metadata.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.value(key)?.parse().ok()
    }

    /// Targets that are not controls.
    pub fn others(&self) -> u64 {
        self.records - self.controls
    }
}

/// The word for ends and labels beyond the limit.
pub const MORE: &str = "(others)";

fn add_end(ends: &mut HashMap<End, u64, foldhash::fast::RandomState>, end: End, times: u64) {
    let full = ends.len() >= WORDS && !ends.contains_key(&end);
    let end = if full { (end.0, MORE.into(), String::new(), String::new()) } else { end };
    *ends.entry(end).or_default() += times;
}

fn add_label(counts: &mut Counts, word: &str, slot: usize) {
    let full = counts.labels.len() >= WORDS;
    match counts.labels.get_mut(word) {
        Some(count) => count[slot] += 1,
        None if full => counts.more[slot] += 1,
        None => counts.labels.entry(word.to_owned()).or_default()[slot] += 1,
    }
}

fn add_capped(counts: &mut HashMap<String, u64, foldhash::fast::RandomState>, word: &str) {
    let word = if counts.len() >= WORDS && !counts.contains_key(word) { MORE } else { word };
    match counts.get_mut(word) {
        Some(count) => *count += 1,
        None => drop(counts.insert(word.to_owned(), 1)),
    }
}

/// The values of a column of the list as text.
enum Values {
    Words(Words),
    Truths(BooleanArray),
    Wholes(Vec<Option<i64>>),
}

impl Values {
    fn of(column: &arrow_array::ArrayRef) -> Self {
        use arrow_array::cast::AsArray as _;
        match column.as_boolean_opt() {
            Some(truths) => Self::Truths(truths.clone()),
            None => match column::wholes(column) {
                numbers if numbers.is_empty() => Self::Words(Words::from(column)),
                numbers => Self::Wholes(numbers),
            },
        }
    }

    fn at(&self, row: usize) -> Option<String> {
        match self {
            Self::Words(words) => words.at(row).map(str::to_owned),
            Self::Truths(truths) => truths.is_valid(row).then(|| truths.value(row).to_string()),
            Self::Wholes(numbers) => numbers.get(row).copied().flatten().map(|n| n.to_string()),
        }
    }
}

/// The confirmation rounds of a condition in a batch.
struct Rounds(Vec<Vec<Option<i64>>>);

impl Rounds {
    fn of(batch: &RecordBatch, condition: &str) -> Self {
        let columns = COUNTS.iter().map(|(name, _)| {
            let column = column::find(batch, &[CONFIRM, condition, name]);
            column.map(|column| column::wholes(&column)).unwrap_or_default()
        });
        Self(columns.collect())
    }

    fn add(&self, row: usize, word: &str, counts: &mut Counts) {
        let of = |column: &Vec<Option<i64>>| column.get(row).copied().flatten();
        if self.0.first().and_then(of).is_none() {
            return;
        }
        let all = match counts.rounds.get_mut(word) {
            Some(all) => all,
            None => counts.rounds.entry(word.to_owned()).or_default(),
        };
        all[0] += 1;
        for (sum, column) in all[1..].iter_mut().zip(&self.0) {
            *sum += of(column).and_then(|n| u64::try_from(n).ok()).unwrap_or_default();
        }
    }
}

/// The labels to break down: those named, or `broken` of each condition that compares.
fn findings(about: &About, labels: &[String], source: &Source) -> Result<Vec<Finding>> {
    if labels.is_empty() {
        let comparing = about.conditions.iter().enumerate().filter(|(_, c)| c.compares);
        let broken = comparing.map(|(condition, _)| Finding { condition, word: "broken".into() });
        return Ok(broken.take(FINDINGS).collect());
    }
    if labels.len() > FINDINGS {
        return Err(Error::Usage(format!("report: at most {FINDINGS} labels can be broken down")));
    }
    let find = |label: &String| match about.label(label) {
        Some((condition, word)) => Ok(Finding { condition, word }),
        None => {
            let names: Vec<&str> = about.conditions.iter().map(|c| c.name.as_str()).collect();
            Err(Error::Usage(format!(
                "report {}: no condition has the label {label}; the conditions are {}",
                source.path().display(),
                names.join(", ")
            )))
        }
    };
    labels.iter().map(find).collect()
}

/// The columns of the list by which targets are grouped.
fn own(source: &Source, findings: usize) -> Vec<(String, Own)> {
    const KNOWN: [&str; 6] = ["ip", "port", "name", "extra", "prefix", "asn"];
    let fields = source.fields("target");
    let fields = fields.iter().filter(|field| !KNOWN.contains(&field.name().as_str()));
    let own = fields.filter_map(|field| {
        let own = match field.data_type() {
            data_type if data_type.is_integer() && field.name() == "rank" => {
                Own::Ranks(Groups::new(findings, CATEGORIES))
            }
            DataType::Utf8 | DataType::Boolean | DataType::Dictionary(..) => {
                Own::Values(Groups::new(findings, CATEGORIES))
            }
            data_type if data_type.is_integer() => Own::Values(Groups::new(findings, CATEGORIES)),
            _ => return None,
        };
        Some((field.name().clone(), own))
    });
    own.collect()
}

/// The series of numbers: handshakes, their paired differences, and metrics.
fn series(source: &Source, about: &About, records: u64) -> Vec<Series> {
    let mut all = Vec::new();
    let timed: Vec<&str> = about
        .configurations
        .iter()
        .map(|(name, _)| name.as_str())
        .filter(|name| source.has(&[name, HANDSHAKE]))
        .take(HANDSHAKES)
        .collect();
    let of = |name: &str| format!("CAST({}.{HANDSHAKE} AS BIGINT)", sql::name(name));
    for name in &timed {
        let sql = format!("{} / 1e6", of(name));
        all.push(Series::new("handshake", name, Some("ms"), sql, records));
    }
    if let Some((zero, others)) = timed.split_first() {
        for name in others {
            let sql = format!("({} - {}) / 1e6", of(name), of(zero));
            all.push(Series::new("difference", name, Some("ms"), sql, records));
        }
    }
    for (column, unit) in &about.metrics {
        let sql = format!("metric.{}", sql::name(column));
        all.push(Series::new(column, column, unit.as_deref(), sql, records));
    }
    all.truncate(SERIES);
    all
}
