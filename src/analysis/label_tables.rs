//! Labels with their intervals next to those of the controls, and what confirmation rounds said.

use super::about::Condition;
use super::account::{Account, Counts, MORE};
use super::cell::{Cell, Form, Table, thousands};
use super::interval::{difference, score};
use super::sql::name;
use crate::rule::COMPARED;
use crate::rule::confirm::{CONFIRMED, COUNTS};

/// A table for each condition.
pub(super) fn labels(account: &Account) -> Vec<Table> {
    let conditions = account.about.conditions.iter().zip(&account.conditions);
    conditions.map(|(condition, counts)| of(account, condition, counts)).collect()
}

/// Whether a label reports a fault, so that controls with it are false alarms.
pub fn is_alarm(condition: &Condition, word: &str) -> bool {
    let compared = &COMPARED[1..3];
    condition.compares && compared.iter().chain(&CONFIRMED).any(|(known, _)| *known == word)
}

/// The labels of other targets and of controls, those given most often first, then by name.
fn sorted(counts: &Counts) -> Vec<(&str, [u64; 2])> {
    let mut labels: Vec<(&str, [u64; 2])> =
        counts.labels.iter().map(|(word, count)| (word.as_str(), *count)).collect();
    labels.sort_unstable_by(|a, b| (b.1[0], b.1[1]).cmp(&(a.1[0], a.1[1])).then(a.0.cmp(b.0)));
    if counts.more != [0; 2] {
        labels.push((MORE, counts.more));
    }
    labels
}

fn of(account: &Account, condition: &Condition, counts: &Counts) -> Table {
    let (judged, controls) = (counts.judged(0), counts.judged(1));
    let compared = condition.compares && account.controls > 0;
    let mut columns = vec![
        ("label", Form::Text),
        ("targets", Form::Count),
        ("share", Form::Share),
        ("low", Form::Share),
        ("high", Form::Share),
    ];
    if compared {
        columns.extend([
            ("controls", Form::Count),
            ("false alarms", Form::Share),
            ("excess", Form::Share),
            ("excess low", Form::Share),
            ("excess high", Form::Share),
        ]);
    }
    let rows = sorted(counts).into_iter().map(|(word, [count, control])| {
        let ends = score(count, judged).map_or([None; 2], |ends| ends.map(Some));
        let mut row = vec![Cell::text(word), Cell::Count(count), Cell::share(count, judged)];
        row.extend(ends.map(Cell::from));
        if compared {
            row.push(Cell::Count(control));
            row.extend(match is_alarm(condition, word) {
                true => alarms((count, judged), (control, controls)),
                false => [const { Cell::Missing }; 4],
            });
        }
        row
    });
    let mut caption = format!("{}: labels of {} judged targets", condition.name, thousands(judged));
    if compared {
        caption += &format!(", and of {} judged controls", thousands(controls));
    }
    Table::new(format!("labels-{}", condition.name), caption, &columns)
        .with_rows(rows)
        .with_sql(sql(account, condition, compared))
}

/// The share among controls, and the excess over it with its interval.
fn alarms(others: (u64, u64), controls: (u64, u64)) -> [Cell; 4] {
    let share = |(count, of): (u64, u64)| (of > 0).then(|| count as f64 / of as f64);
    let excess = share(others).zip(share(controls)).map(|(a, b)| a - b);
    let ends = difference(others, controls);
    [
        share(controls).into(),
        excess.into(),
        ends.map(|[low, _]| low).into(),
        ends.map(|[_, high]| high).into(),
    ]
}

fn sql(account: &Account, condition: &Condition, compared: bool) -> String {
    let column = name(&condition.column);
    let others = account.others_sql;
    let alarms = if compared {
        let words: Vec<String> =
            COMPARED[1..3].iter().chain(&CONFIRMED).map(|(word, _)| format!("'{word}'")).collect();
        let alarm = format!("label IN ({})", words.join(", "));
        let when = |value: &str| format!("CASE WHEN {alarm} THEN {value} END");
        format!(
            ", c, {}, {}, {}, {}",
            when("share(c, m)"),
            when("share(n, judged) - share(c, m)"),
            when("difference_low(n, judged, c, m)"),
            when("difference_high(n, judged, c, m)")
        )
    } else {
        String::new()
    };
    format!(
        "SELECT label, n, share(n, judged), wilson_low(n, judged), wilson_high(n, judged){alarms}\n\
         FROM (SELECT label(verdict.{column}) AS label, count(*) FILTER ({others}) AS n, count(*) FILTER (NOT ({others})) AS c, \
         CAST(sum(n) OVER () AS BIGINT) AS judged, CAST(sum(c) OVER () AS BIGINT) AS m FROM records WHERE \
         label(verdict.{column}) IS NOT NULL GROUP BY 1)\nORDER BY n DESC, c DESC, label"
    )
}

/// A table for each condition with confirmation rounds.
pub(super) fn confirmation(account: &Account) -> Vec<Table> {
    let conditions = account.about.conditions.iter().zip(&account.conditions);
    conditions
        .filter(|(_, counts)| !counts.rounds.is_empty())
        .map(|(c, n)| rounds(account, c, n))
        .collect()
}

fn rounds(account: &Account, condition: &Condition, counts: &Counts) -> Table {
    let mut columns = vec![("label in the end", Form::Text), ("targets", Form::Count)];
    columns.extend(COUNTS.iter().map(|(name, _)| (*name, Form::Count)));
    let mut rows: Vec<(&String, &[u64; 1 + COUNTS.len()])> = counts.rounds.iter().collect();
    rows.sort_by(|a, b| b.1[0].cmp(&a.1[0]).then(a.0.cmp(b.0)));
    let probed: u64 = rows.iter().map(|(_, counts)| counts[0]).sum();
    let rows = rows.into_iter().map(|(word, counts)| {
        let counts = counts.iter().map(|count| Cell::Count(*count));
        std::iter::once(Cell::text(&**word)).chain(counts).collect()
    });
    let column = name(&condition.column);
    let sums: Vec<String> = COUNTS
        .iter()
        .map(|(count, _)| format!("CAST(sum(confirm.{column}.{count}) AS BIGINT)"))
        .collect();
    let sql = format!(
        "SELECT coalesce(verdict.{column}, 'insufficient') AS label, count(*) AS n, {}\nFROM records WHERE {} AND \
         confirm.{column}.rounds IS NOT NULL GROUP BY 1 ORDER BY n DESC, label",
        sums.join(", "),
        account.others_sql
    );
    let caption = format!(
        "{}: {} targets looked broken or transient at first and were probed again; the results of all their rounds",
        condition.name,
        thousands(probed)
    );
    Table::new(format!("confirmation-{}", condition.name), caption, &columns)
        .with_rows(rows)
        .with_sql(sql)
}
