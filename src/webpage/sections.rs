//! The sections of the page about one result.

use super::figures;
use super::page::{Block, Page, Section, Tile};
use crate::analysis::account::Account;
use crate::analysis::cell::{Table, thousands};
use crate::analysis::methods;
use crate::analysis::registry::{TABLES, of};
use crate::analysis::series_tables;
use crate::words::counted;

/// Conditions that have a chart and a table of their own at once; further ones have a table only.
const CHARTS: usize = 12;
/// Conditions that have a table.
const TABLES_OF_CONDITIONS: usize = 60;
/// Numbers at the top.
const TILES: usize = 3;

/// Makes a section of a heading and blocks; none without blocks.
pub(super) fn section(id: &str, title: &str, short: &str, blocks: Vec<Block>) -> Option<Section> {
    let [id, title, short] = [id, title, short].map(str::to_owned);
    (!blocks.is_empty()).then_some(Section { id, title, short, blocks })
}

/// The page about one result.
pub fn of_account(account: &Account) -> Page {
    let sections = [
        in_a_sentence(account),
        denominators(account),
        labels(account),
        confirmation(account),
        networks(account),
        list(account),
        metrics(account),
        lost(account),
        method(account),
        provenance(account),
        dictionary(account),
    ];
    Page {
        title: account.about.title.clone(),
        subtitle: subtitle(account),
        warnings: methods::warnings(account),
        tiles: tiles(account),
        sections: sections.into_iter().flatten().collect(),
    }
}

fn subtitle(account: &Account) -> String {
    let mut parts = vec![account.name.clone()];
    if let Some((from, to)) = account.value("started").zip(account.value("ended")) {
        parts.push(format!("{from} to {to}"));
    }
    parts.extend(account.value("vantage").map(|name| format!("vantage point {name}")));
    parts.extend(account.value("version").map(|version| format!("pathspider {version}")));
    parts.join(" \u{b7} ")
}

fn tiles(account: &Account) -> Vec<Tile> {
    let mut tiles = vec![Tile {
        value: thousands(account.others()),
        what: "targets, controls left out".to_owned(),
        of: match account.controls {
            0 => counted(account.about.configurations.len() as u64, "configuration[s]"),
            controls => format!("and {}", counted(controls, "control[s]")),
        },
    }];
    let found = methods::statements(account).into_iter().take(TILES);
    tiles.extend(found.map(|of| Tile { value: of.share, what: of.label, of: of.interval }));
    let dropped = account.number("packets_dropped").map(|dropped| {
        dropped + account.number("packets_dropped_by_interface").unwrap_or_default()
    });
    if let Some((dropped, seen)) = dropped.zip(account.number("packets_seen")) {
        tiles.push(Tile {
            value: thousands(dropped),
            what: "packets lost by the capture".to_owned(),
            of: format!("of {} seen", thousands(seen)),
        });
    }
    tiles
}

fn in_a_sentence(account: &Account) -> Option<Section> {
    let mut blocks = Vec::new();
    for statement in methods::statements(account) {
        let (what, where_they_are) = statement.sentences.split_at(statement.sentences.len().min(2));
        blocks.push(Block::Lead(what.join(" ")));
        if !where_they_are.is_empty() {
            blocks.push(Block::Lead(where_they_are.join(" ")));
        }
    }
    if blocks.is_empty() {
        blocks.push(Block::Lead(format!(
            "{} probed under {}. No condition compares configurations, so the labels below speak for themselves.",
            counted(account.others(), "target[s] [was|were]"),
            counted(account.about.configurations.len() as u64, "configuration[s]")
        )));
    }
    section("sentence", "In a sentence", "In a sentence", blocks)
}

fn tables(account: &Account, name: &str) -> Vec<Table> {
    of(account, name)
}

/// What a kind of table shows, from the registry.
fn doc(name: &str) -> Block {
    let def = TABLES.iter().find(|def| def.name == name);
    Block::Text(def.map(|def| def.doc.to_owned()).unwrap_or_default())
}

fn denominators(account: &Account) -> Option<Section> {
    let mut blocks = vec![doc("account")];
    for table in tables(account, "account") {
        blocks.push(figures::funnel(&table));
        blocks.push(Block::Table(table));
    }
    blocks.extend(tables(account, "judged").into_iter().map(Block::Table));
    section("account", "The account", "The account", blocks)
}

fn labels(account: &Account) -> Option<Section> {
    let all = tables(account, "labels");
    let more = all.len().saturating_sub(TABLES_OF_CONDITIONS);
    let mut blocks = Vec::new();
    if account.controls > 0 && account.about.conditions.iter().any(|condition| condition.compares) {
        blocks.push(Block::Text(
            "False alarms are controls with a label that reports a fault; the excess is the share of targets minus that of \
             controls."
                .to_owned(),
        ));
    }
    for (at, table) in all.into_iter().take(TABLES_OF_CONDITIONS).enumerate() {
        let name = account.about.conditions.get(at).map(|condition| condition.name.clone());
        blocks.push(Block::Heading(name.unwrap_or_default()));
        if at < CHARTS {
            blocks.extend(figures::labels(account, at, &table));
        }
        blocks.push(Block::Table(table));
    }
    if more > 0 {
        blocks.push(Block::Text(format!("{} more.", counted(more as u64, "condition[s]"))));
    }
    section("labels", "Labels", "Labels", blocks)
}

fn confirmation(account: &Account) -> Option<Section> {
    let tables = tables(account, "confirmation");
    if tables.is_empty() {
        return None;
    }
    let mut blocks = vec![Block::Text(
        "Targets that looked broken or transient at first were probed again under every configuration. A label stands only \
         if all conclusive rounds agree."
            .to_owned(),
    )];
    for table in tables {
        blocks.extend(figures::counts(
            &table,
            1,
            &table.caption,
            "Re-probed targets by the label they have in the end",
        ));
        blocks.push(Block::Table(table));
    }
    section("confirmation", "Confirmation", "Confirmation", blocks)
}

fn networks(account: &Account) -> Option<Section> {
    let mut blocks = Vec::new();
    for (kind, caption) in [
        (
            "systems",
            "Share of judged targets with the label in each AS, and its 95 % score interval",
        ),
        (
            "networks",
            "Share of judged targets with the label in each network, and its 95 % score interval",
        ),
    ] {
        for table in tables(account, kind).into_iter().filter(|table| !table.rows.is_empty()) {
            blocks.extend(figures::groups(&table, caption));
            blocks.push(Block::Table(table));
        }
    }
    if !blocks.is_empty() {
        let by = "Targets of one network share paths, so their labels are not independent: the first section has the intervals \
                  of a bootstrap over networks.";
        blocks.insert(0, Block::Text(by.to_owned()));
    }
    section("networks", "By network", "By network", blocks)
}

fn list(account: &Account) -> Option<Section> {
    let mut blocks = Vec::new();
    for table in tables(account, "list") {
        blocks.extend(figures::groups(
            &table,
            "Share of judged targets with the label, and its 95 % score interval",
        ));
        blocks.push(Block::Table(table));
    }
    section("list", "By the list's own columns", "By list column", blocks)
}

fn metrics(account: &Account) -> Option<Section> {
    let groups = series_tables::groups(account);
    let mut blocks = Vec::new();
    for (group, table) in groups.iter().zip(tables(account, "metrics")) {
        blocks.push(Block::Heading(series_tables::title(account, group)));
        blocks.extend(figures::series(account, group, &table.id));
        blocks.push(Block::Table(table));
    }
    section("metrics", "Times and metrics", "Times and metrics", blocks)
}

fn lost(account: &Account) -> Option<Section> {
    let mut blocks = vec![Block::Text(
        "What was lost makes facts missing, and a condition without its facts is insufficient, never broken. The bounds say how \
         much that could change at most."
            .to_owned(),
    )];
    for kind in ["bounds", "lost", "flags", "ends"] {
        blocks.extend(tables(account, kind).into_iter().map(Block::Table));
    }
    section("lost", "What was lost", "What was lost", blocks)
}

fn method(account: &Account) -> Option<Section> {
    let mut blocks = vec![Block::Text(
        "Text to adapt; every value is from the metadata of this result.".to_owned(),
    )];
    blocks.extend(methods::methods(account).into_iter().map(Block::Text));
    section("methods", "Methods", "Methods", blocks)
}

fn provenance(account: &Account) -> Option<Section> {
    let mut blocks = Vec::new();
    let about = &account.about;
    if !about.description.trim().is_empty() {
        blocks.extend(about.description.trim().split("\n\n").map(paragraph));
    }
    if !about.references.is_empty() {
        blocks.push(Block::List(about.references.clone()));
    }
    if let Some(text) = account.value("measurement") {
        blocks.push(Block::Code("The measurement (TOML)".to_owned(), text.to_owned()));
    }
    for (key, heading) in [
        ("conditions_sql", "Every condition as SQL over the records"),
        ("metrics_sql", "Every metric as SQL over the records"),
    ] {
        if let Some(text) = account.value(key).filter(|text| *text != "{}") {
            blocks.push(Block::Code(heading.to_owned(), pretty(text)));
        }
    }
    blocks.push(Block::Code(
        "Definitions for the SQL of all tables (DuckDB, in the folder of the result)".to_owned(),
        account.prelude.clone(),
    ));
    blocks.extend(tables(account, "provenance").into_iter().map(Block::Table));
    section("provenance", "The measurement and its provenance", "Provenance", blocks)
}

/// A paragraph of a description; its lines are joined.
fn paragraph(text: &str) -> Block {
    let items: Vec<&str> = text.split("\n* ").collect();
    let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.strip_prefix("* ") {
        Some(rest) => Block::List(rest.split("\n* ").map(joined).collect()),
        None if items.len() > 1 => Block::List(items.into_iter().map(joined).collect()),
        None => Block::Text(joined(text)),
    }
}

/// JSON objects with an entry per line.
fn pretty(json: &str) -> String {
    let value: Option<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(json).ok();
    let Some(entries) = value else { return json.to_owned() };
    let lines = entries
        .iter()
        .map(|(name, sql)| format!("-- {name}\n{}\n", sql.as_str().unwrap_or_default()));
    lines.collect::<Vec<_>>().join("\n")
}

fn dictionary(account: &Account) -> Option<Section> {
    let blocks = tables(account, "dictionary").into_iter().map(Block::Table).collect();
    section("dictionary", "The dictionary", "Dictionary", blocks)
}
