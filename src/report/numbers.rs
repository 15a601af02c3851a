//! Metrics, and conditions with many different numbers, in summaries.

use serde_json::{Map, Value};

use crate::printable;
use crate::rule::Rules;
use crate::run::distribution::{Distribution, Quantiles};
use crate::run::totals::Totals;
use crate::words::counted;

/// A distribution to show.
struct Row<'a> {
    name: &'a str,
    unit: Option<&'a str>,
    /// Whether each number is computed from several configurations.
    paired: bool,
    numbers: Option<&'a Distribution>,
}

fn metrics<'a>(rules: &'a Rules, totals: &'a Totals) -> impl Iterator<Item = Row<'a>> {
    rules.metrics().map(|metric| Row {
        name: metric.name(),
        unit: metric.unit(),
        paired: metric.is_paired(),
        numbers: totals.metrics.get(&metric.column()),
    })
}

fn values<'a>(rules: &'a Rules, totals: &'a Totals) -> impl Iterator<Item = Row<'a>> {
    totals.values.iter().filter_map(|(name, values)| {
        let numbers = Some(values.many()?);
        let rule = rules.iter().find(|rule| rule.name() == name);
        let unit = rule.and_then(|rule| rule.value_unit());
        let paired = rule.is_some_and(|rule| rule.configurations().len() > 1);
        Some(Row { name, unit, paired, numbers })
    })
}

/// The metrics as a JSON object by name; `None` for a metric without numbers.
pub fn metrics_json(rules: &Rules, totals: &Totals) -> Value {
    object(metrics(rules, totals))
}

/// The same of the conditions whose values have too many different numbers for labels.
pub fn values_json(rules: &Rules, totals: &Totals) -> Value {
    object(values(rules, totals))
}

fn object<'a>(rows: impl Iterator<Item = Row<'a>>) -> Value {
    let rows = rows.map(|row| {
        let quantiles = row.numbers.and_then(Distribution::quantiles);
        let none = || serde_json::json!({ "unit": row.unit, "n": 0 });
        let value = quantiles.map_or_else(none, |of| of.to_json(row.unit, row.paired));
        (row.name.to_owned(), value)
    });
    Value::Object(rows.collect::<Map<_, _>>())
}

/// A table of all of them; empty if there are none.
pub fn lines(rules: &Rules, totals: &Totals) -> Vec<String> {
    let rows: Vec<Row> = metrics(rules, totals).chain(values(rules, totals)).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let (mut paired, mut sampled) = (false, None);
    let head = ["", "n", "median", "", "p10", "p90", "min", "max"].map(str::to_owned);
    let mut table = vec![head];
    for row in &rows {
        let unit = row.unit.map_or(String::new(), |unit| format!(" ({unit})"));
        let name = printable::short(&format!("{}{unit}", row.name));
        let Some(of) = row.numbers.and_then(Distribution::quantiles) else {
            let mut cells = <[String; 8]>::default();
            cells[0] = name;
            cells[1] = "0".into();
            table.push(cells);
            continue;
        };
        let Quantiles { count, ends: [min, max], p10, median, p90, interval, sample } = of;
        let interval = interval.filter(|_| row.paired);
        paired |= interval.is_some();
        sampled = sampled.or(sample);
        let interval = interval
            .map_or(String::new(), |[low, high]| format!("[{}, {}]", short(low), short(high)));
        let [median, p10, p90, min, max] = [median, p10, p90, min, max].map(short);
        table.push([name, count.to_string(), median, interval, p10, p90, min, max]);
    }
    let mut lines = aligned(&table);
    if paired {
        lines.push(
            "  [a, b]: 95 % bootstrap interval of the median over targets, each with its own pair"
                .into(),
        );
    }
    if let Some(sample) = sampled {
        let of = counted(sample as u64, "record[s]");
        lines.push(format!(
            "  Of more than {sample} numbers, median, interval, p10 and p90 are those of a sample of {of}."
        ));
    }
    lines
}

fn aligned(table: &[[String; 8]]) -> Vec<String> {
    let width = |column: usize| {
        table.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    let line = |row: &[String; 8]| {
        let mut line = format!(" {:1$}", "", 1) + &format!("{:1$}", row[0], widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1).filter(|(_, width)| *width > 0) {
            line += &format!("  {cell:>width$}");
        }
        line.trim_end().to_owned()
    };
    table.iter().map(line).collect()
}

/// A number with four significant digits.
fn short(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (number.fract() == 0.0 && size < 1e7) {
        return format!("{number:.0}").replace("-0", "0");
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{number:.3e}");
    }
    let digits = match size {
        1000.0.. => 0,
        100.0.. => 1,
        10.0.. => 2,
        1.0.. => 3,
        0.1.. => 4,
        0.01.. => 5,
        _ => 6,
    };
    format!("{number:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1460.0, "1460"),
            (-0.123_456, "-0.1235"),
            (12.345_6, "12.35"),
            (1234.5, "1234"),
            (0.000_012_3, "1.230e-5"),
            (123_456_789.0, "1.235e8"),
        ] {
            assert_eq!(short(number), text);
        }
    }
}
