//! The same targets in several results: a number for each target, by address, port and name.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::net::IpAddr;

use arrow_array::{Array as _, RecordBatch};

use super::column::{self, Words};
use super::network::Network;
use super::source::Source;
use crate::error::{Error, Result};
use crate::run::controls::CONTROL;
use crate::run::record::POSITION;

/// The first columns of a record that identify its target.
pub const COLUMNS: [&str; 6] =
    [POSITION, CONTROL, "target.ip", "target.port", "target.name", "target.prefix"];

/// Targets of several results.
#[derive(Debug, Default)]
pub struct Targets {
    index: HashMap<u128, u32, foldhash::fast::RandomState>,
    /// The network of each.
    pub networks: Vec<Option<Network>>,
}

/// A record of a batch.
pub struct Row {
    /// Its row.
    pub row: usize,
    /// The number of its target.
    pub target: usize,
    /// Its position in the list.
    pub position: u64,
    /// Whether it is a control.
    pub is_control: bool,
}

impl Targets {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.networks.len()
    }

    /// The targets of a batch. Those that were not there before get numbers.
    pub fn of(&mut self, batch: &RecordBatch) -> Vec<Row> {
        let ips = Words::of(batch, &["target", "ip"]);
        let names = Words::of(batch, &["target", "name"]);
        let prefixes = Words::of(batch, &["target", "prefix"]);
        let wholes = |path: &[&str]| {
            column::find(batch, path).map(|column| column::wholes(&column)).unwrap_or_default()
        };
        let (ports, positions) = (wholes(&["target", "port"]), wholes(&[POSITION]));
        let control = column::truth(batch, &[CONTROL]);
        let rows = (0..batch.num_rows()).map(|row| {
            let ip = ips.at(row);
            let port = ports.get(row).copied().flatten();
            let key = key(ip, port, names.at(row));
            let next = self.networks.len();
            let at = *self.index.entry(key).or_insert(u32::try_from(next).unwrap_or(u32::MAX));
            if at as usize == next {
                let of_ip = || ip.and_then(|ip| ip.parse::<IpAddr>().ok()).map(Network::of);
                let network = match prefixes.is_there() {
                    true => prefixes.at(row).and_then(Network::parse),
                    false => of_ip(),
                };
                self.networks.push(network);
            }
            let position = positions.get(row).copied().flatten();
            Row {
                row,
                target: at as usize,
                position: position.and_then(|at| u64::try_from(at).ok()).unwrap_or_default(),
                is_control: control.as_ref().is_some_and(|c| c.is_valid(row) && c.value(row)),
            }
        });
        rows.collect()
    }
}

/// A key of 128 bits: two of a billion targets share one with a probability below 1e-20.
fn key(ip: Option<&str>, port: Option<i64>, name: Option<&str>) -> u128 {
    let half = |seed: u64| {
        let state = foldhash::quality::FixedState::with_seed(seed);
        u128::from(state.hash_one((ip, port, name)))
    };
    half(0) << 64 | half(1)
}

/// Fails unless results are of the same measurement with the same values of params.
///
/// # Errors
/// Names the two, and what differs.
pub fn same(sources: &[Source]) -> Result<()> {
    let Some((first, others)) = sources.split_first() else { return Ok(()) };
    for other in others {
        for (key, what) in [("measurement_sha256", "measurement"), ("params", "values of params")] {
            if first.value(key) != other.value(key) {
                return Err(Error::Usage(format!(
                    "report: {} and {} cannot be compared: they differ in their {what}",
                    first.path().display(),
                    other.path().display()
                )));
            }
        }
    }
    Ok(())
}

/// The SQL that joins two views on the same target.
pub fn join(a: &str, b: &str) -> String {
    let same =
        |column: &str| format!("{a}.target.{column} IS NOT DISTINCT FROM {b}.target.{column}");
    ["ip", "port", "name"].map(same).join(" AND ")
}
