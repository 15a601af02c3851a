//! How attempts ended, what was lost, and what that could change at most.

use super::about::is_count;
use super::account::{Account, MORE};
use super::cell::{Cell, Form, Table};
use super::sql::{name, text};
use crate::flags::{self, Flag};

/// Attempts by how they ended.
pub(super) fn ends(account: &Account) -> Vec<Table> {
    if account.ends.is_empty() {
        return Vec::new();
    }
    let name_of = |at: usize| account.about.configurations[at].0.as_str();
    let mut rows: Vec<_> = account.ends.iter().collect();
    rows.sort_by(|(a, n), (b, m)| (a.0, *m, &a.1, &a.2, &a.3).cmp(&(b.0, *n, &b.1, &b.2, &b.3)));
    let is_cut = rows.iter().any(|(end, _)| end.1 == MORE);
    let rows = rows.into_iter().map(|((at, state, stage, error), count)| {
        let words = [name_of(*at), state, stage, error].map(|word| match word {
            "" => Cell::Missing,
            word => Cell::text(word),
        });
        words
            .into_iter()
            .chain([Cell::Count(*count), Cell::share(*count, account.others())])
            .collect()
    });
    let table = Table::new(
        "ends",
        "Attempts of the first round by how they ended, controls left out",
        &[
            ("configuration", Form::Text),
            ("state", Form::Text),
            ("stage", Form::Text),
            ("error", Form::Text),
            ("targets", Form::Count),
            ("share", Form::Share),
        ],
    );
    let table = table.with_rows(rows);
    if is_cut {
        return vec![table.with_note(
            "There are so few places for rare errors that the rarest are counted together.",
        )];
    }
    let selects: Vec<String> = account
        .about
        .configurations
        .iter()
        .enumerate()
        .map(|(at, (configuration, _))| {
            let column = name(configuration);
            format!(
                "SELECT {at} AS place, {} AS c, {column}.state AS state, {column}.stage AS stage, {column}.error AS error, \
                 count(*) AS n FROM records WHERE {} GROUP BY ALL",
                text(configuration),
                account.others_sql
            )
        })
        .collect();
    let sql = format!(
        "SELECT c, state, stage, error, n, share(n, {}) FROM (\n{}\n)\nORDER BY place, n DESC, coalesce(state, ''), coalesce(stage, \
         ''), coalesce(error, '')",
        account.others(),
        selects.join("\nUNION ALL ")
    );
    vec![table.with_sql(sql)]
}

/// Keys of what can be lost, and the meaning of each.
const LOST: [(&str, &str); 17] = [
    ("packets_dropped", "packets that the kernel dropped before the capture"),
    ("packets_dropped_by_interface", "packets that the interface dropped"),
    ("packets_not_understood", "packets that could not be dissected"),
    ("packets_unexpected", "packets that did not fit the flow whose ports they had"),
    ("flows_evicted", "flows that the full flow table completed early"),
    ("flows_of_others", "flows that belonged to no attempt"),
    ("attempts_local_error", "attempts that this host could not make"),
    ("attempts_not_observed", "attempts whose packets were not seen"),
    ("attempts_not_delivered", "attempts whose answer did not reach the socket"),
    ("attempts_starved", "attempts that this host was too busy to time"),
    ("attempts_port_dependent", "attempts from source ports that fail far more often"),
    ("attempts_unfounded_error", "attempts with an error that no packet explains"),
    ("attempts_internal_error", "attempts that a defect of this program ended"),
    ("flows_internal_error", "flows that a defect of this program ended"),
    ("waves_repeated", "waves repeated after a disturbance"),
    ("waves_disturbed", "waves disturbed twice, whose attempts conclude nothing"),
    ("targets_unfinished", "targets unfinished when the run ended"),
];

/// The counts of the metadata.
pub(super) fn lost(account: &Account) -> Vec<Table> {
    let known: Vec<(&str, &str, u64)> = LOST
        .iter()
        .filter(|(key, _)| is_count(key))
        .filter_map(|(key, meaning)| Some((*key, *meaning, account.number(key)?)))
        .collect();
    if known.is_empty() {
        return Vec::new();
    }
    let values: Vec<String> = known
        .iter()
        .enumerate()
        .map(|(at, (key, meaning, _))| format!("({at}, {}, {})", text(key), text(meaning)))
        .collect();
    let sql = format!(
        "SELECT key, meaning, CAST(sum(CAST(value AS BIGINT)) AS BIGINT) FROM (VALUES\n{}) AS lost(place, key, meaning) JOIN about \
         USING (key) GROUP BY ALL, place ORDER BY place",
        values.join(",\n")
    );
    let rows = known.into_iter().map(|(key, meaning, count)| {
        vec![Cell::text(key), Cell::text(meaning), Cell::Count(count)]
    });
    let table = Table::new(
        "lost",
        "What the run counted as lost, disturbed or not its own",
        &[("key", Form::Text), ("meaning", Form::Text), ("count", Form::Count)],
    );
    vec![
        table
            .with_rows(rows)
            .with_sql(sql.replace("GROUP BY ALL, place", "GROUP BY place, key, meaning")),
    ]
}

/// Records by flag.
pub(super) fn flags(account: &Account) -> Vec<Table> {
    if account.flags.is_empty() {
        return Vec::new();
    }
    let mut rows: Vec<(&String, &u64)> = account.flags.iter().collect();
    rows.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    let meaning = |word: &str| {
        let known = Flag::ALL.iter().find(|(_, known, _)| *known == word);
        known.map_or("", |(.., meaning)| *meaning)
    };
    let rows = rows.into_iter().map(|(word, count)| {
        vec![
            Cell::text(&**word),
            Cell::Count(*count),
            Cell::share(*count, account.records),
            Cell::text(meaning(word)),
        ]
    });
    let meanings: Vec<String> = account
        .flags
        .keys()
        .map(|word| format!("WHEN {} THEN {}", text(word), text(meaning(word))))
        .collect();
    let sql = format!(
        "SELECT flag, count(*) AS n, share(n, {}), CASE flag {} END FROM (SELECT unnest({}) AS flag FROM records) GROUP BY flag \
         ORDER BY n DESC, flag",
        account.records,
        meanings.join(" "),
        flags::COLUMN
    );
    let table = Table::new(
        "flags",
        "Records with a flag, controls included",
        &[
            ("flag", Form::Text),
            ("records", Form::Count),
            ("share", Form::Share),
            ("meaning", Form::Text),
        ],
    );
    vec![table.with_rows(rows).with_sql(sql)]
}

/// The share of each finding if all targets with missing facts had the label, and if none had.
pub(super) fn bounds(account: &Account) -> Vec<Table> {
    if account.findings.is_empty() {
        return Vec::new();
    }
    let mut selects = Vec::new();
    let mut rows = Vec::new();
    for (at, finding) in account.findings.iter().enumerate() {
        let condition = &account.about.conditions[finding.condition];
        let counts = &account.conditions[finding.condition];
        let (judged, hit) = (counts.judged(0), counts.of(&finding.word, 0));
        let unknown = counts.insufficient[0];
        let label = format!("{}.{}", condition.name, finding.word);
        rows.push(vec![
            Cell::text(&*label),
            Cell::Count(judged),
            Cell::Count(unknown),
            Cell::share(hit, judged),
            Cell::share(hit, judged + unknown),
            Cell::share(hit + unknown, judged + unknown),
        ]);
        let column = name(&condition.column);
        selects.push(format!(
            "SELECT {at} AS place, {} AS label, count(label(verdict.{column})) AS judged, count(insufficient.{column}) AS unknown, \
             count(*) FILTER (label(verdict.{column}) = {}) AS hit FROM records WHERE {}",
            text(&label),
            text(&finding.word),
            account.others_sql
        ));
    }
    let sql = format!(
        "SELECT label, judged, unknown, share(hit, judged), share(hit, judged + unknown), share(hit + unknown, judged + \
         unknown) FROM (\n{}\n) ORDER BY place",
        selects.join("\nUNION ALL ")
    );
    let table = Table::new(
        "bounds",
        "The shares if none of the targets with missing facts had the label, and if all had",
        &[
            ("label", Form::Text),
            ("judged", Form::Count),
            ("insufficient", Form::Count),
            ("share", Form::Share),
            ("at least", Form::Share),
            ("at most", Form::Share),
        ],
    );
    vec![table.with_rows(rows).with_sql(sql)]
}
