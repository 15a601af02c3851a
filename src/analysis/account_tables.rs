//! The account: from the lines of the list to the targets that were judged.

use serde_json::Value;

use super::account::Account;
use super::cell::{Cell, Form, Table};
use super::sql::{name, text};
use crate::targets::Reason;

/// A row of the account.
struct Step {
    name: String,
    targets: u64,
    sql: String,
}

/// The funnel from the list to the records without controls.
pub(super) fn account(account: &Account) -> Vec<Table> {
    let mut steps = Vec::new();
    let sum = |key: &str| {
        format!(
            "(SELECT CAST(sum(CAST(value AS BIGINT)) AS BIGINT) FROM about WHERE key = {})",
            text(key)
        )
    };
    let mut metadata = |label: &str, key: &str, always: bool| {
        if let Some(targets) = account.number(key).filter(|targets| always || *targets > 0) {
            steps.push(Step { name: label.to_owned(), targets, sql: sum(key) });
        }
    };
    metadata("targets read from the list", "targets_read", true);
    let refused: Option<Value> =
        account.value("targets_refused").and_then(|text| serde_json::from_str(text).ok());
    for (reason, words) in [
        (Reason::ALL[0].1, "left out: the line is no target"),
        (Reason::ALL[1].1, "left out: another shard's"),
        (Reason::ALL[2].1, "left out: recorded in an earlier session"),
        (Reason::ALL[3].1, "left out: reserved address"),
        (Reason::ALL[4].1, "left out: excluded or opted out"),
    ] {
        let count =
            refused.as_ref().and_then(|refused| refused.get(reason)).and_then(Value::as_u64);
        if let Some(targets) = count.filter(|count| *count > 0) {
            let sql = format!(
                "(SELECT CAST(sum(CAST(json_extract_string(value, {}) AS BIGINT)) AS BIGINT) FROM about WHERE key = \
                 'targets_refused')",
                text(&format!("$.{reason}"))
            );
            steps.push(Step { name: words.to_owned(), targets, sql });
        }
    }
    let mut metadata = |label: &str, key: &str, always: bool| {
        if let Some(targets) = account.number(key).filter(|targets| always || *targets > 0) {
            steps.push(Step { name: label.to_owned(), targets, sql: sum(key) });
        }
    };
    metadata("unfinished when the run ended", "targets_unfinished", false);
    let others = account.others_sql;
    let mut records = |name: &str, targets: u64, condition: &str| {
        let sql = format!("(SELECT count(*) FROM records WHERE {condition})");
        steps.push(Step { name: name.to_owned(), targets, sql });
    };
    records("records", account.records, "true");
    if account.controls > 0 {
        records("controls", account.controls, &format!("NOT ({others})"));
    }
    records("targets in the shares below", account.others(), others);
    records(
        "of these without a flag",
        account.others() - account.flagged,
        &format!("{others} AND len(flags) = 0"),
    );
    let sql: Vec<String> = steps
        .iter()
        .enumerate()
        .map(|(at, step)| format!("({at}, {}, {})", text(&step.name), step.sql))
        .collect();
    let table = Table::new(
        "account",
        "From the list to the targets in the shares below",
        &[("step", Form::Text), ("targets", Form::Count)],
    );
    let rows = steps.iter().map(|step| vec![Cell::text(&*step.name), Cell::Count(step.targets)]);
    let sql = format!(
        "SELECT step, targets FROM (VALUES\n{}) AS steps(place, step, targets) ORDER BY place",
        sql.join(",\n")
    );
    vec![table.with_rows(rows).with_sql(sql)]
}

/// How many targets each condition judged.
pub(super) fn judged(account: &Account) -> Vec<Table> {
    if account.about.conditions.is_empty() {
        return Vec::new();
    }
    let rows =
        account.about.conditions.iter().zip(&account.conditions).map(|(condition, counts)| {
            let judged = counts.judged(0);
            vec![
                Cell::text(&*condition.name),
                Cell::Count(account.others()),
                Cell::Count(counts.not_applicable[0]),
                Cell::Count(counts.insufficient[0]),
                Cell::Count(judged),
                Cell::share(judged, account.others()),
            ]
        });
    let table = Table::new(
        "judged",
        "Targets that each condition judged, controls left out",
        &[
            ("condition", Form::Text),
            ("targets", Form::Count),
            ("does not apply", Form::Count),
            ("insufficient", Form::Count),
            ("judged", Form::Count),
            ("of targets", Form::Share),
        ],
    );
    let selects: Vec<String> = account
        .about
        .conditions
        .iter()
        .enumerate()
        .map(|(at, condition)| {
            let column = name(&condition.column);
            format!(
                "SELECT {at} AS place, {} AS condition, count(*) AS targets, count(*) FILTER (label(verdict.{column}) IS NULL AND \
                 insufficient.{column} IS NULL), count(insufficient.{column}), count(label(verdict.{column})) AS judged, \
                 share(judged, targets) FROM records WHERE {}",
                text(&condition.name),
                account.others_sql
            )
        })
        .collect();
    let sql = format!(
        "SELECT * EXCLUDE (place) FROM (\n{}\n) ORDER BY place",
        selects.join("\nUNION ALL ")
    );
    vec![table.with_rows(rows).with_sql(sql)]
}
