//! Distributions of numbers.

use super::account::Account;
use super::cell::{Cell, Form, Table};
use super::series::Series;
use super::sql::text;

/// The shares whose quantiles a table has, with the names of the columns.
const SHARES: [(f64, &str); 9] = [
    (0.0, "least"),
    (0.01, "1 %"),
    (0.05, "5 %"),
    (0.25, "25 %"),
    (0.5, "median"),
    (0.75, "75 %"),
    (0.95, "95 %"),
    (0.99, "99 %"),
    (1.0, "most"),
];

/// The groups of series, in order.
pub fn groups(account: &Account) -> Vec<Vec<&Series>> {
    let mut groups: Vec<Vec<&Series>> = Vec::new();
    for series in &account.series {
        match groups.iter_mut().find(|group| group[0].group == series.group) {
            Some(group) => group.push(series),
            None => groups.push(vec![series]),
        }
    }
    groups
}

/// A table for each group of series.
pub(super) fn metrics(account: &Account) -> Vec<Table> {
    groups(account).into_iter().map(|group| of(account, &group)).collect()
}

/// The title of a group.
pub fn title(account: &Account, group: &[&Series]) -> String {
    let Some(first) = group.first() else { return String::new() };
    let zero = account.about.configurations.first().map_or("zero", |(name, _)| name.as_str());
    match first.group.as_str() {
        "handshake" => "Time of the TCP handshake".to_owned(),
        "difference" => format!("Paired difference of the handshake from {zero}"),
        metric => format!("Metric {metric}"),
    }
}

/// The decimals with which numbers of a series are shown.
pub fn decimals(group: &[&Series]) -> usize {
    let largest = group
        .iter()
        .flat_map(|series| [series.quantile(0.05), series.quantile(0.95)])
        .flatten()
        .fold(0.0f64, |most, number| most.max(number.abs()));
    match largest {
        _ if largest >= 1000.0 => 1,
        _ if largest >= 1.0 => 3,
        _ => 5,
    }
}

fn of(account: &Account, group: &[&Series]) -> Table {
    let decimals = decimals(group);
    let unit = group.first().and_then(|series| series.unit.as_deref());
    let caption = match unit {
        Some(unit) => format!("{}, quantiles in {unit}, controls left out", title(account, group)),
        None => format!("{}, quantiles, controls left out", title(account, group)),
    };
    let mut columns = vec![("of", Form::Text), ("numbers", Form::Count)];
    columns.extend(SHARES.map(|(_, name)| (name, Form::Real(decimals))));
    let rows = group.iter().map(|series| {
        let quantiles = SHARES.iter().map(|(share, _)| Cell::from(series.quantile(*share)));
        [Cell::text(&*series.name), Cell::Count(series.count)]
            .into_iter()
            .chain(quantiles)
            .collect()
    });
    let id = group.first().map_or("", |series| series.group.as_str());
    let table = Table::new(format!("metrics-{id}"), caption, &columns).with_rows(rows);
    if let Some(sample) = group.iter().find_map(|series| series.sample()) {
        return table.with_note(format!(
            "Quantiles are those of a sample of {sample} numbers, chosen by position; the counts are exact."
        ));
    }
    let selects: Vec<String> = group
        .iter()
        .enumerate()
        .map(|(at, series)| {
            let quantiles: Vec<String> =
                SHARES.iter().map(|(share, _)| format!("quantile_cont(x, {share:?})")).collect();
            format!(
                "SELECT {at} AS place, {} AS series, count(x), {} FROM (SELECT CAST({} AS DOUBLE) AS x FROM records WHERE {})",
                text(&series.name),
                quantiles.join(", "),
                series.sql,
                account.others_sql
            )
        })
        .collect();
    let sql = format!(
        "SELECT * EXCLUDE (place) FROM (\n{}\n) ORDER BY place",
        selects.join("\nUNION ALL ")
    );
    table.with_sql(sql)
}
