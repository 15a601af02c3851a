//! The page about several vantage points.

use super::comparison::definitions;
use super::figures;
use super::page::{Block, Page, Tile};
use super::sections::section;
use crate::analysis::cell::thousands;
use crate::analysis::vantage::{CLASSES, Seen, Vantages, power};
use crate::analysis::vantage_tables as tables;
use crate::words::counted;

/// The page about results from several vantage points.
pub fn vantages(of: &Vantages) -> Page {
    let mut sections = vec![section("sentence", "In a sentence", "In a sentence", sentences(of))];
    for seen in &of.conditions {
        let name = &seen.condition.name;
        let classes = tables::classes(of, seen);
        let mut blocks = Vec::new();
        blocks.extend(figures::counts(&classes, 1, &classes.caption, "Targets by class"));
        blocks.push(Block::Table(classes));
        blocks.push(Block::Table(tables::points(of, seen)));
        let sets = tables::sets(of, seen);
        if !sets.rows.is_empty() {
            blocks.extend(figures::counts(
                &sets,
                1,
                &sets.caption,
                "Path-dependent targets by the set of vantage points",
            ));
            blocks.push(Block::Table(sets));
        }
        let id = crate::analysis::cell::identifier(&format!("c-{name}"));
        sections.push(section(&id, name, name, blocks));
    }
    sections.push(definitions(&of.prelude));
    let first = of.conditions.first();
    Page {
        title: format!(
            "{}: {}",
            of.about.title,
            counted(of.names.len() as u64, "vantage point[s]")
        ),
        subtitle: of.names.join(" \u{b7} "),
        warnings: Vec::new(),
        tiles: first.map(|seen| tiles(of, seen)).unwrap_or_default(),
        sections: sections.into_iter().flatten().collect(),
    }
}

fn sentences(of: &Vantages) -> Vec<Block> {
    let mut blocks = Vec::new();
    for seen in &of.conditions {
        let [path, ..] = seen.classes;
        let causes: Vec<&str> = of
            .names
            .iter()
            .zip(&seen.points)
            .filter(|(_, point)| point.is_cause())
            .map(|(name, _)| name.as_str())
            .collect();
        let mut text = format!(
            "{}: the label of {} on the path: broken from some vantage points, while it works from others.",
            seen.condition.name,
            counted(path, "target[s] depends"),
        );
        if !causes.is_empty() {
            let from = counted(causes.len() as u64, "vantage point[s]");
            text += &format!(
                " From {from} ({}), most targets are broken that work from most others; such faults are of the vantage point, and \
                 not counted as path dependence.",
                causes.join(", ")
            );
        }
        blocks.push(Block::Lead(text));
    }
    blocks.push(Block::Text(power(of.names.len())));
    blocks.push(Block::Text(
        "Vantage points are taken to be in different networks. Anycast and DNS may lead them to different hosts of one name or \
         address, which this page cannot distinguish from a difference of paths."
            .to_owned(),
    ));
    blocks
}

fn tiles(of: &Vantages, seen: &Seen) -> Vec<Tile> {
    let mut tiles = vec![Tile {
        value: thousands(of.targets),
        what: "targets of any vantage point".to_owned(),
        of: counted(of.names.len() as u64, "vantage point[s]"),
    }];
    for (at, word) in [(0, "path-dependent"), (3, "broken from everywhere"), (5, "insufficient")] {
        tiles.push(Tile {
            value: thousands(seen.classes[at]),
            what: word.to_owned(),
            of: CLASSES[at].1.to_owned(),
        });
    }
    tiles
}
