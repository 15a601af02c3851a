//! Labels by network, by autonomous system, and by columns of the list.

use super::account::{Account, CATEGORIES, Finding, Own};
use super::cell::{Cell, Form, Table, thousands};
use super::groups::{Group, Groups};
use super::interval::{clustered, score};
use super::sql::{name, text};

/// The label of a finding in full.
pub fn label(account: &Account, finding: &Finding) -> String {
    format!("{}.{}", account.about.conditions[finding.condition].name, finding.word)
}

/// How concentrated a label is among groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Concentration {
    /// Groups with judged targets.
    pub groups: usize,
    /// Groups with the label, those with most targets first.
    pub affected: Vec<Group<String>>,
    /// Targets with the label.
    pub hit: u64,
    /// The fewest groups that have at least half of them.
    pub half: usize,
    /// The interval of the share, by a bootstrap over groups.
    pub interval: Option<[f64; 2]>,
    /// The share among all judged targets in groups.
    pub share: f64,
}

/// The concentration of a label among groups.
pub fn concentration<K>(groups: &Groups<K>, finding: usize) -> Concentration
where
    K: std::hash::Hash + Eq + Clone + ToString,
{
    let affected = groups.affected(finding);
    let alike = groups.alike(finding);
    let hit: u64 = affected.iter().map(|group| group.hit).sum();
    let judged: u64 = alike.iter().map(|of| of.judged * of.clusters).sum();
    let mut seen = 0;
    let half = affected.iter().take_while(|group| {
        let before = seen;
        seen += group.hit;
        2 * before < hit
    });
    Concentration {
        half: half.count(),
        groups: alike.iter().map(|of| of.clusters as usize).sum(),
        hit,
        interval: clustered(&alike),
        share: if judged > 0 { hit as f64 / judged as f64 } else { 0.0 },
        affected,
    }
}

/// By network.
pub(super) fn networks(account: &Account) -> Vec<Table> {
    let key = account.network_sql.clone();
    by(account, "networks", "network", &account.networks, Some(key))
}

/// By autonomous system.
pub(super) fn systems(account: &Account) -> Vec<Table> {
    let key = account.has_asn.then(|| account.asn_sql.to_owned());
    by(account, "systems", "AS", &account.systems, key)
}

fn by<K>(
    account: &Account,
    id: &str,
    what: &str,
    groups: &Groups<K>,
    key: Option<String>,
) -> Vec<Table>
where
    K: std::hash::Hash + Eq + Clone + ToString,
{
    if groups.is_empty() {
        return Vec::new();
    }
    let findings = account.findings.iter().enumerate();
    let tables = findings.map(|(at, finding)| {
        let affected = groups.affected(at);
        let caption = format!(
            "{}: the {} of {} {what}s that have affected targets, controls left out",
            label(account, finding),
            thousands(affected.len() as u64),
            thousands(groups.len() as u64)
        );
        let table =
            Table::new(format!("{id}-{}", label(account, finding)), caption, &columns(what));
        let table =
            table.with_rows(affected.iter().map(|group| row(Cell::text(&*group.key), group)));
        let table = match groups.rest {
            0 if key.is_none() => {
                table.with_note("The numbers of the ASes are those of the table that was named, not of the records.")
            }
            0 => table,
            rest => table.with_note(format!(
                "{} targets are in further {what}s, which are not counted apart.",
                thousands(rest)
            )),
        };
        match &key {
            Some(key) if groups.rest == 0 => table.with_sql(sql(
                account,
                finding,
                key,
                "HAVING hit > 0",
                "hit DESC, judged DESC, k",
            )),
            _ => table,
        }
    });
    tables.collect()
}

fn columns(what: &str) -> [(&str, Form); 7] {
    [
        (what, Form::Text),
        ("targets", Form::Count),
        ("judged", Form::Count),
        ("affected", Form::Count),
        ("share", Form::Share),
        ("low", Form::Share),
        ("high", Form::Share),
    ]
}

fn row<K>(key: Cell, group: &Group<K>) -> Vec<Cell> {
    let Group { targets, judged, hit, .. } = *group;
    let ends = score(hit, judged).map_or([None; 2], |ends| ends.map(Some));
    let [low, high] = ends.map(Cell::from);
    let counts = [targets, judged, hit].map(Cell::Count);
    std::iter::once(key).chain(counts).chain([Cell::share(hit, judged), low, high]).collect()
}

fn sql(account: &Account, finding: &Finding, key: &str, having: &str, order: &str) -> String {
    let column = name(&account.about.conditions[finding.condition].column);
    format!(
        "SELECT k, n, judged, hit, share(hit, judged), wilson_low(hit, judged), wilson_high(hit, judged)\nFROM (SELECT \
         {key} AS k, count(*) AS n, count(label(verdict.{column})) AS judged, count(*) FILTER (label(verdict.{column}) = {}) AS hit FROM \
         records WHERE {} AND k IS NOT NULL GROUP BY 1 {having})\nORDER BY {order}",
        text(&finding.word),
        account.others_sql
    )
}

/// By rank and by columns with few values.
pub(super) fn list(account: &Account) -> Vec<Table> {
    let mut tables = Vec::new();
    for (at, finding) in account.findings.iter().enumerate() {
        for (column, own) in &account.own {
            let id = format!("list-{column}-{}", label(account, finding));
            let caption = format!("{} by {column}, controls left out", label(account, finding));
            let target = format!("target.{}", name(column));
            match own {
                Own::Ranks(groups) if !groups.is_empty() => {
                    let mut rows: Vec<Group<u32>> = groups.all(at).collect();
                    rows.sort_by_key(|group| group.key);
                    let first = |key: u32| 10u64.saturating_pow(key);
                    let rows = rows.iter().map(|group| row(Cell::Count(first(group.key)), group));
                    let mut columns = columns("rank from");
                    columns[0].1 = Form::Count;
                    let key = format!(
                        "CASE WHEN {target} > 0 THEN CAST(concat('1', repeat('0', CAST(length(CAST({target} AS VARCHAR)) - 1 AS \
                         BIGINT))) AS BIGINT) END"
                    );
                    let sql = sql(account, finding, &key, "", "k");
                    let note = "Each row ends where the next power of ten begins.";
                    let table = Table::new(id, caption, &columns);
                    tables.push(table.with_rows(rows).with_sql(sql).with_note(note));
                }
                Own::Values(groups)
                    if groups.rest == 0 && (2..=CATEGORIES).contains(&groups.len()) =>
                {
                    let mut rows: Vec<Group<String>> = groups.all(at).collect();
                    rows.sort_by(|a, b| b.targets.cmp(&a.targets).then_with(|| a.key.cmp(&b.key)));
                    let rows = rows.iter().map(|group| row(Cell::text(&*group.key), group));
                    let key = format!("CAST({target} AS VARCHAR)");
                    let sql = sql(account, finding, &key, "", "n DESC, k");
                    tables.push(
                        Table::new(id, caption, &columns(column)).with_rows(rows).with_sql(sql),
                    );
                }
                _ => {}
            }
        }
    }
    tables
}
