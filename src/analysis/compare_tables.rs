//! The tables of a comparison.

use super::cell::{Cell, Form, Table, thousands};
use super::compare::{Compared, Comparison, NOT_APPLICABLE};
use super::interval::mcnemar;
use super::matched::join;
use super::sql::{name, text};
use crate::rule::INSUFFICIENT;

/// The targets of both results.
pub fn targets(of: &Comparison) -> Table {
    let [both, before, after, controls] = of.targets;
    let rows = [
        ("in both results", both),
        ("in the first alone (vanished)", before),
        ("in the second alone (new)", after),
        ("in both, but a control in either: left out", controls),
    ];
    let on = join("before", "after");
    let sql = format!(
        "WITH pairs AS (SELECT before.target IS NOT NULL AS b, after.target IS NOT NULL AS a, before.target IS NOT NULL AND \
         after.target IS NOT NULL AND NOT coalesce({}, false) AS c FROM before FULL JOIN after ON {on})\nSELECT * FROM (VALUES \
         {}) AS rows(what, targets)",
        of.others_sql,
        [
            ("in both results", "b AND a"),
            ("in the first alone (vanished)", "b AND NOT a"),
            ("in the second alone (new)", "a AND NOT b"),
            ("in both, but a control in either: left out", "c"),
        ]
        .map(|(what, when)| format!("({}, (SELECT count(*) FROM pairs WHERE {when}))", text(what)))
        .join(", ")
    );
    let table = Table::new(
        "compared",
        "Targets of both results, by address, port and name",
        &[("targets", Form::Text), ("count", Form::Count)],
    );
    table
        .with_rows(rows.map(|(what, count)| vec![Cell::text(what), Cell::Count(count)]))
        .with_sql(sql)
}

/// McNemar's test of each condition that compares configurations.
pub fn tests(of: &Comparison) -> Option<Table> {
    let compared = || of.conditions.iter().filter(|compared| compared.condition.compares);
    let rows: Vec<Vec<Cell>> = compared()
        .map(|compared| {
            let (broke, recovered) =
                (compared.of("works", "broken"), compared.of("broken", "works"));
            let unsteady = unsteady(compared);
            vec![
                Cell::text(&*compared.condition.name),
                Cell::Count(compared.of("works", "works")),
                Cell::Count(compared.of("broken", "broken")),
                Cell::Count(broke),
                Cell::Count(recovered),
                Cell::Real(mcnemar(broke, recovered)),
                Cell::Count(unsteady),
            ]
        })
        .collect();
    let selects: Vec<String> = compared()
        .enumerate()
        .map(|(at, compared)| {
            let column = name(&compared.condition.column);
            format!(
                "SELECT {at} AS place, {} AS condition, count(*) FILTER (x = 'works' AND y = 'works') AS ww, count(*) FILTER (x = \
                 'broken' AND y = 'broken') AS bb, count(*) FILTER (x = 'works' AND y = 'broken') AS wb, count(*) FILTER (x = \
                 'broken' AND y = 'works') AS bw, count(*) FILTER (x IN ('intermittent', 'not_confirmed') OR y IN ('intermittent', \
                 'not_confirmed')) AS unsteady FROM (SELECT before.verdict.{column} AS x, after.verdict.{column} AS y FROM before \
                 JOIN after ON {} WHERE {})",
                text(&compared.condition.name),
                join("before", "after"),
                of.others_sql
            )
        })
        .collect();
    let sql = format!(
        "WITH pairs AS (\n{}\n), terms AS (SELECT place, unnest(range(least(wb, bw) + 1)) AS k, wb + bw AS n, least(wb, bw) AS m \
         FROM pairs), p AS (SELECT place, least(1, sum(CASE WHEN k < m THEN 2 ELSE 1 END * exp(lgamma(n + 1) - lgamma(k + 1) - \
         lgamma(n - k + 1) - n * ln(2)))) AS p FROM terms GROUP BY place)\nSELECT condition, ww, bb, wb, bw, p, unsteady FROM pairs \
         JOIN p USING (place) ORDER BY place",
        selects.join("\nUNION ALL ")
    );
    let table = Table::new(
        "mcnemar",
        "Discordant targets, and the mid-p value of McNemar's exact test",
        &[
            ("condition", Form::Text),
            ("works in both", Form::Count),
            ("broken in both", Form::Count),
            ("works, then broken", Form::Count),
            ("broken, then works", Form::Count),
            ("p", Form::Real(4)),
            ("unsteady in either", Form::Count),
        ],
    )
    .with_note(
        "Unsteady targets were intermittent or not confirmed in one of the runs: a change of such a target is no news. The test \
         takes targets for independent, which targets of one network are not.",
    );
    (!rows.is_empty()).then(|| table.with_rows(rows).with_sql(sql))
}

/// Targets that a run's own confirmation found unsteady.
fn unsteady(compared: &Compared) -> u64 {
    let is = |word: &String| word == "intermittent" || word == "not_confirmed";
    let all = compared.transitions.iter().filter(|((before, after), _)| is(before) || is(after));
    all.map(|(_, count)| count).sum()
}

/// The transitions of a condition.
pub fn transitions(of: &Comparison, compared: &Compared) -> Table {
    let column = name(&compared.condition.column);
    let all = compared.targets();
    let mut rows: Vec<(&(String, String), &u64)> = compared.transitions.iter().collect();
    rows.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let rows = rows.into_iter().map(|((before, after), count)| {
        vec![
            Cell::text(&**before),
            Cell::text(&**after),
            Cell::Count(*count),
            Cell::share(*count, all),
        ]
    });
    let word = |view: &str| {
        format!(
            "coalesce({view}.verdict.{column}, CASE WHEN {view}.insufficient.{column} IS NOT NULL THEN '{INSUFFICIENT}' ELSE \
             '{NOT_APPLICABLE}' END)"
        )
    };
    let sql = format!(
        "SELECT {} AS b, {} AS a, count(*) AS n, n / sum(n) OVER () FROM before JOIN after ON {} WHERE {} GROUP BY 1, 2\nORDER BY n \
         DESC, b, a",
        word("before"),
        word("after"),
        join("before", "after"),
        of.others_sql
    );
    let caption = format!(
        "{}: labels before and after, of {} targets",
        compared.condition.name,
        thousands(all)
    );
    let columns = [
        ("before", Form::Text),
        ("after", Form::Text),
        ("targets", Form::Count),
        ("share", Form::Share),
    ];
    Table::new(format!("transitions-{}", compared.condition.name), caption, &columns)
        .with_rows(rows)
        .with_sql(sql)
}

/// The networks in which targets broke or recovered.
pub fn networks(of: &Comparison, compared: &Compared) -> Table {
    let mut rows: Vec<(String, [u64; 3])> =
        compared.networks.iter().map(|(network, counts)| (network.to_string(), *counts)).collect();
    rows.sort_by(|(a, [_, x, y]), (b, [_, z, w])| (z + w).cmp(&(x + y)).then_with(|| a.cmp(b)));
    let rows = rows.into_iter().map(|(network, counts)| {
        std::iter::once(Cell::text(network)).chain(counts.map(Cell::Count)).collect()
    });
    let column = name(&compared.condition.column);
    let sql = format!(
        "SELECT {} AS k, count(*) AS n, count(*) FILTER (before.verdict.{column} = 'works' AND after.verdict.{column} = 'broken') \
         AS broke, count(*) FILTER (before.verdict.{column} = 'broken' AND after.verdict.{column} = 'works') AS recovered FROM \
         before JOIN after ON {} WHERE {} AND k IS NOT NULL GROUP BY 1 HAVING broke + recovered > 0\nORDER BY broke + recovered \
         DESC, k",
        of.network_sql,
        join("before", "after"),
        of.others_sql
    );
    let caption =
        format!("{}: networks in which targets broke or recovered", compared.condition.name);
    let columns = [
        ("network", Form::Text),
        ("targets", Form::Count),
        ("works, then broken", Form::Count),
        ("broken, then works", Form::Count),
    ];
    Table::new(format!("changed-{}", compared.condition.name), caption, &columns)
        .with_rows(rows)
        .with_sql(sql)
}

/// All tables of a comparison.
pub fn all(of: &Comparison) -> Vec<Table> {
    let mut tables = vec![targets(of)];
    tables.extend(tests(of));
    for compared in &of.conditions {
        tables.push(transitions(of, compared));
        if !compared.networks.is_empty() {
            tables.push(networks(of, compared));
        }
    }
    tables
}
