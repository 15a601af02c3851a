//! Detects outcomes that depend on the source port: a filter on this host or on the path.
//!
//! Source ports are random, so the outcome of a target does not depend on the half of the range that its port is in. If
//! a configuration fails far more often in one half, a device on the path filters by port.

use arrow_array::{Array as _, RecordBatch, StructArray, cast::AsArray as _, types::UInt16Type};
use serde_json::{Map, Value, json};

use crate::connect::State;
use crate::merge::Halves;

/// Below this probability the summary warns.
const ALARM: f64 = 0.001;

/// Outcomes by configuration and half of the ports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PortOutcomes {
    /// The first port of the upper half.
    middle: u16,
    configurations: Vec<(String, Halves)>,
}

impl PortOutcomes {
    /// Empty counts; `middle` is the first port of the upper half.
    pub fn new(middle: u16, configurations: impl Iterator<Item = String>) -> Self {
        let configurations = configurations.map(|name| (name, Halves::default())).collect();
        Self { middle, configurations }
    }

    /// The first port of the upper half.
    pub fn middle(&self) -> u16 {
        self.middle
    }

    /// The columns needed for counting.
    pub fn columns(&self) -> Vec<String> {
        let names = self.configurations.iter().map(|(name, _)| name);
        names.flat_map(|name| [format!("{name}.source_port"), format!("{name}.state")]).collect()
    }

    /// Counts the attempts of records. Records leave out attempts of confirmation rounds, which are of failing targets
    /// whatever their ports.
    pub fn count(&mut self, records: &RecordBatch) {
        let middle = self.middle;
        for (name, halves) in &mut self.configurations {
            let of = records.column_by_name(name).and_then(|column| column.as_struct_opt());
            if let Some(of) = of {
                count(halves, of, middle);
            }
        }
    }

    /// A warning for each configuration whose outcomes depend on the ports.
    pub fn warnings(&self) -> Vec<String> {
        let suspicious = self.configurations.iter().filter_map(|(name, halves)| {
            let p = halves.p();
            (p < ALARM).then(|| {
                let [low, high] = [halves.low, halves.high].map(share);
                format!(
                    "outcomes of {name} depend on the source port: {low} of the attempts from ports below {} failed, \
                     {high} of the others (p = {p:.1e}, Fisher's exact test); look for a filter on ports, on this \
                     host first",
                    self.middle
                )
            })
        });
        suspicious.collect()
    }

    /// The same as JSON.
    pub fn json(&self) -> Value {
        let configurations = self.configurations.iter().map(|(name, halves)| {
            let of = |[ok, failed]: [u64; 2]| json!({ "ok": ok, "failed": failed });
            let value = json!({ "low": of(halves.low), "high": of(halves.high), "p": halves.p() });
            (name.clone(), value)
        });
        let configurations: Map<String, Value> = configurations.collect();
        json!({ "middle": self.middle, "configurations": configurations })
    }
}

/// Counts the attempts of a configuration.
fn count(halves: &mut Halves, of: &StructArray, middle: u16) {
    let column = |name| of.column_by_name(name);
    let ports = column("source_port").and_then(|ports| ports.as_primitive_opt::<UInt16Type>());
    let states = column("state").and_then(|states| states.as_string_opt::<i32>());
    let (Some(ports), Some(states)) = (ports, states) else { return };
    for row in (0..of.len()).filter(|row| ports.is_valid(*row) && states.is_valid(*row)) {
        halves.count(ports.value(row) >= middle, states.value(row) == State::Ok.as_str());
    }
}

fn share([ok, failed]: [u64; 2]) -> String {
    format!("{:.1} %", 100.0 * failed as f64 / (ok + failed).max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_depends_on_ports_warns() {
        let halves = |low, high| ("one".to_owned(), Halves { low, high });
        let of = |half| PortOutcomes { middle: 40_000, configurations: vec![half] };
        assert!(of(halves([50, 2], [48, 3])).warnings().is_empty());
        let warnings = of(halves([50, 0], [0, 50])).warnings();
        assert!(warnings[0].starts_with("outcomes of one depend on the source port: 0.0 %"));
        let json = of(halves([50, 0], [0, 50])).json();
        assert_eq!(json["configurations"]["one"]["high"], json!({ "ok": 0, "failed": 50 }));
    }
}
