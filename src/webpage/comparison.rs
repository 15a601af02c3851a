//! The page about two results.

use super::figures;
use super::page::{Block, Page, Section, Tile};
use super::sections::section;
use crate::analysis::cell::thousands;
use crate::analysis::compare::{Compared, Comparison};
use crate::analysis::compare_tables as tables;
use crate::analysis::interval::mcnemar;
use crate::words::{counted, inflected};

/// The page about two results of one measurement.
pub fn comparison(of: &Comparison) -> Page {
    let [before, after] = &of.names;
    let mut sections = vec![
        section("sentence", "In a sentence", "In a sentence", sentences(of)),
        section("targets", "The targets", "The targets", vec![Block::Table(tables::targets(of))]),
    ];
    let tests = tables::tests(of).map(Block::Table).into_iter().collect();
    sections.push(section("mcnemar", "Discordant targets", "Discordant targets", tests));
    let mut blocks = Vec::new();
    for compared in &of.conditions {
        blocks.push(Block::Heading(compared.condition.name.clone()));
        blocks.push(Block::Table(tables::transitions(of, compared)));
    }
    sections.push(section("transitions", "Labels before and after", "Before and after", blocks));
    let mut blocks = Vec::new();
    for compared in of.conditions.iter().filter(|compared| !compared.networks.is_empty()) {
        let table = tables::networks(of, compared);
        let caption = "Targets that worked before and are broken after, by network";
        blocks.extend(figures::counts(&table, 2, &table.caption, caption));
        blocks.push(Block::Table(table));
    }
    sections.push(section("networks", "By network", "By network", blocks));
    sections.push(definitions(&of.prelude));
    Page {
        title: format!("{}: {before} and {after}", of.about.title),
        subtitle: format!("{before}, {} \u{b7} {after}, {}", of.times[0], of.times[1]),
        warnings: Vec::new(),
        tiles: tiles(of),
        sections: sections.into_iter().flatten().collect(),
    }
}

/// The definitions that the SQL needs.
pub(super) fn definitions(prelude: &str) -> Option<Section> {
    let heading = "Definitions for the SQL of all tables (DuckDB, in the folder of the results)";
    let blocks = vec![
        Block::Text(
            "Of a target that is listed several times, the first record counts. Intervals, tests and classes are described with \
             their tables."
                .to_owned(),
        ),
        Block::Code(heading.to_owned(), prelude.to_owned()),
    ];
    section("methods", "Methods", "Methods", blocks)
}

fn comparing(of: &Comparison) -> impl Iterator<Item = &Compared> {
    of.conditions.iter().filter(|compared| compared.condition.compares)
}

fn sentences(of: &Comparison) -> Vec<Block> {
    let [both, before, after, controls] = of.targets;
    let mut blocks = vec![Block::Text(format!(
        "{} in both results, {} in the first alone, {} in the second alone; {} left out as controls.",
        counted(both, "target[s] [is|are]"),
        thousands(before),
        thousands(after),
        thousands(controls)
    ))];
    for compared in comparing(of) {
        let (broke, recovered) = (compared.of("works", "broken"), compared.of("broken", "works"));
        let p = mcnemar(broke, recovered);
        let p = if p < 0.0001 { "p < 0.0001".to_owned() } else { format!("p = {p:.4}") };
        blocks.insert(
            blocks.len() - 1,
            Block::Lead(format!(
                "{}: {} first and {} broken later, {} broken first and worked later, and {} broken in both (McNemar's mid-p: {p}).",
                compared.condition.name,
                counted(broke, "target[s] worked"),
                inflected(broke, "[was|were]"),
                counted(recovered, "[was|were]"),
                counted(compared.of("broken", "broken"), "[was|were]"),
            )),
        );
    }
    blocks
}

fn tiles(of: &Comparison) -> Vec<Tile> {
    let mut tiles = vec![Tile {
        value: thousands(of.targets[0] - of.targets[3]),
        what: "targets compared".to_owned(),
        of: format!("{} vanished, {} new", thousands(of.targets[1]), thousands(of.targets[2])),
    }];
    for compared in comparing(of).take(2) {
        for (before, after) in [("works", "broken"), ("broken", "works")] {
            tiles.push(Tile {
                value: thousands(compared.of(before, after)),
                what: format!("{before} \u{2192} {after}"),
                of: compared.condition.name.clone(),
            });
        }
    }
    tiles
}
