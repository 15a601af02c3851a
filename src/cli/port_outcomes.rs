//! Whether outcomes depend on source ports: a filter on some of them, on this host or on the way.
//!
//! Ports are drawn, so a target's outcome has nothing to do with the half of the range that its port is in. If
//! failures of a configuration are more frequent in one half, something looks at ports. Fisher's exact test says
//! how likely such a difference is by chance (Fisher: The logic of inductive inference, 1935).

use arrow::array::{Array as _, AsArray as _, RecordBatch, StructArray};
use arrow::datatypes::UInt16Type;
use serde_json::{Map, Value, json};

use crate::connect::State;

/// Below this probability the summary warns.
const ALARM: f64 = 0.001;

/// Outcomes by configuration and half of the ports.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PortOutcomes {
    /// The first port of the upper half.
    middle: u16,
    configurations: Vec<(String, Halves)>,
}

/// Attempts of a configuration: `ok` and not, from low and from high ports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Halves {
    low: [u64; 2],
    high: [u64; 2],
}

impl PortOutcomes {
    /// Nothing yet; `middle` is the first port of the upper half.
    pub fn new(middle: u16, configurations: impl Iterator<Item = String>) -> Self {
        let configurations = configurations.map(|name| (name, Halves::default())).collect();
        Self { middle, configurations }
    }

    /// The columns that are needed to count.
    pub fn columns(&self) -> Vec<String> {
        let names = self.configurations.iter().map(|(name, _)| name);
        names.flat_map(|name| [format!("{name}.source_port"), format!("{name}.state")]).collect()
    }

    /// Counts the attempts of records. Attempts of further rounds are not in records: targets that fail come
    /// back, which is no matter of ports.
    pub fn count(&mut self, records: &RecordBatch) {
        let middle = self.middle;
        for (name, halves) in &mut self.configurations {
            let of = records.column_by_name(name).and_then(|column| column.as_struct_opt());
            if let Some(of) = of {
                halves.count(of, middle);
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

    /// For programs.
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

impl Halves {
    fn count(&mut self, of: &StructArray, middle: u16) {
        let column = |name| of.column_by_name(name);
        let ports = column("source_port").and_then(|ports| ports.as_primitive_opt::<UInt16Type>());
        let states = column("state").and_then(|states| states.as_string_opt::<i32>());
        let (Some(ports), Some(states)) = (ports, states) else { return };
        for row in (0..of.len()).filter(|row| ports.is_valid(*row) && states.is_valid(*row)) {
            let failed = states.value(row) != State::Ok.as_str();
            let half = if ports.value(row) < middle { &mut self.low } else { &mut self.high };
            half[usize::from(failed)] += 1;
        }
    }

    /// The probability, if the halves are alike, of a difference that is at least this unlikely (two-sided).
    fn p(&self) -> f64 {
        let [[a, b], [c, d]] = [self.low, self.high];
        fisher([[a, b], [c, d]])
    }
}

fn share([ok, failed]: [u64; 2]) -> String {
    format!("{:.1} %", 100.0 * failed as f64 / (ok + failed).max(1) as f64)
}

/// The two-sided p value of a table with these rows: the sum over all tables with the same margins that are no
/// more likely.
fn fisher([[a, b], [c, d]]: [[u64; 2]; 2]) -> f64 {
    let (row, column, all) = (a + b, a + c, a + b + c + d);
    let (least, most) = ((row + column).saturating_sub(all), row.min(column));
    if least >= most {
        return 1.0;
    }
    // The number of the first cell has a hypergeometric distribution. Weights follow from each other, outwards
    // from the most likely one, whose weight is 1: no factorial, and nothing overflows.
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
        // By exact fractions, as fisher.test of R has it.
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
        assert_eq!(fisher([[1_000_000, 0], [0, 1_000_000]]), 0.0, "too small for a number");
        let p = fisher([[500_000, 1000], [499_500, 1000]]);
        assert!((0.9..=1.0).contains(&p), "{p}");
    }

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
