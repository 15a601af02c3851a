//! The charts that are made of tables.

use super::chart::{self, Line, Row, Says};
use super::page::Block;
use crate::analysis::account::Account;
use crate::analysis::cell::{Cell, Form, Table};
use crate::analysis::label_tables::is_alarm;
use crate::analysis::series::Series;
use crate::analysis::series_tables;

/// The most rows of a chart; the table has all.
const ROWS: usize = 20;
/// Points of a distribution.
const POINTS: usize = 200;

fn number(cell: Option<&Cell>) -> Option<f64> {
    match cell {
        Some(Cell::Count(count)) => Some(*count as f64),
        Some(Cell::Real(number)) => Some(*number),
        _ => None,
    }
}

/// Rows of a table: the first column is the name, these columns are the value and the ends of its interval.
fn rows(table: &Table, value: usize, ends: Option<(usize, usize)>) -> Vec<Row> {
    let of = |row: &Vec<Cell>| {
        let form = table.columns.get(value).map_or(Form::Text, |column| column.form);
        let first = table.columns.first().map_or(Form::Text, |column| column.form);
        let interval =
            ends.and_then(|(low, high)| Some([number(row.get(low))?, number(row.get(high))?]));
        Some(Row {
            name: first.shown(row.first()?),
            value: number(row.get(value))?,
            interval,
            text: form.shown(row.get(value)?),
            affected: false,
        })
    };
    table.rows.iter().filter_map(of).take(ROWS).collect()
}

/// The funnel of the account.
pub(super) fn funnel(table: &Table) -> Block {
    let mut rows = rows(table, 1, None);
    for row in &mut rows {
        row.affected = row.name.starts_with("left out") || row.name.starts_with("unfinished");
    }
    let first = rows.first().map(|row| row.text.clone()).unwrap_or_default();
    let last = rows.last().map(|row| row.text.clone()).unwrap_or_default();
    let finding = format!("Of {first} targets read, {last} are in the shares and have no flag.");
    let says =
        Says { id: "chart-account", title: "From the list to the shares", finding: &finding };
    Block::Figure(
        chart::bars(says, &rows),
        "Targets at each step, from the list to the shares".to_owned(),
    )
}

/// The labels of a condition.
pub(super) fn labels(account: &Account, at: usize, table: &Table) -> Option<Block> {
    let condition = account.about.conditions.get(at)?;
    let mut rows = rows(table, 2, Some((3, 4)));
    for row in &mut rows {
        row.affected = is_alarm(condition, &row.name);
    }
    let most = rows.first()?;
    let finding = format!("{} is the most frequent label, of {}.", most.name, most.text);
    let title = format!("Labels of {}", condition.name);
    let says = Says { id: &format!("chart-{}", table.id), title: &title, finding: &finding };
    let caption = "Share of judged targets with each label, and its 95 % score interval".to_owned();
    Some(Block::Figure(chart::bars(says, &rows), caption))
}

/// Groups with their shares.
pub(super) fn groups(table: &Table, caption: &str) -> Option<Block> {
    let mut rows = rows(table, 4, Some((5, 6)));
    for (row, cells) in rows.iter_mut().zip(&table.rows) {
        let counts = [3, 2].map(|at| Form::Count.shown(cells.get(at).unwrap_or(&Cell::Missing)));
        row.text = format!("{} of {}", counts[0], counts[1]);
        row.affected = true;
    }
    let first = rows.first()?;
    let finding = format!("The first is {}, with {}.", first.name, first.text);
    let says =
        Says { id: &format!("chart-{}", table.id), title: &table.caption, finding: &finding };
    Some(Block::Figure(chart::dots(says, &rows, true), caption.to_owned()))
}

/// The distributions of a group of series.
pub(super) fn series(account: &Account, group: &[&Series], id: &str) -> Option<Block> {
    let lines: Vec<Line> = group.iter().map(|series| line(series)).collect();
    let first = group.first()?;
    let unit = first.unit.clone().unwrap_or_default();
    let decimals = series_tables::decimals(group);
    let medians: Vec<String> = group
        .iter()
        .filter_map(|series| {
            let median = Form::Real(decimals).shown(&Cell::Real(series.quantile(0.5)?));
            Some(format!("{median} {unit} of {}", series.name))
        })
        .collect();
    let title = series_tables::title(account, group);
    let finding = format!("The medians are {}.", medians.join(", "));
    let says = Says { id: &format!("chart-{id}"), title: &title, finding: &finding };
    let caption = format!(
        "{title}: share of targets with at most this number{}",
        if unit.is_empty() { String::new() } else { format!(", in {unit}") }
    );
    Some(Block::Figure(chart::distributions(says, &lines, &unit), caption))
}

fn line(series: &Series) -> Line {
    let quantiles = (0..=POINTS).filter_map(|at| series.quantile(at as f64 / POINTS as f64));
    Line { name: series.name.clone(), quantiles: quantiles.collect() }
}

/// Words of groups that are affected.
const AFFECTED: [&str; 6] =
    ["broken", "transient", "intermittent", "path_dependent", "site", "unstable"];

/// Bars of counts: the first column is the name, this one the count.
pub(super) fn counts(table: &Table, value: usize, title: &str, caption: &str) -> Option<Block> {
    let mut rows = rows(table, value, None);
    for row in &mut rows {
        row.affected = AFFECTED.contains(&row.name.as_str());
    }
    let most = rows.iter().max_by(|a, b| a.value.total_cmp(&b.value))?;
    let finding = format!("The most are {}: {}.", most.name, most.text);
    let says = Says { id: &format!("chart-{}", table.id), title, finding: &finding };
    Some(Block::Figure(chart::bars(says, &rows), caption.to_owned()))
}
