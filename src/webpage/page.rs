//! The template and what fills it.

use askama::Template;

use super::style;
use crate::analysis::cell::{Cell, Table, thousands};
use crate::error::{Error, Result};
use crate::printable;

/// The most octets of a page.
pub const MOST_BYTES: usize = 200_000;
/// Rows that tables are cut to, one after the other, until a page is small enough.
const CUTS: [usize; 5] = [usize::MAX, 100, 25, 10, 3];
/// Characters of code that are shown at each cut.
const CODE: [usize; 5] = [30_000, 15_000, 6_000, 2_000, 500];

/// A page.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// What and when, in short.
    pub subtitle: String,
    /// What must be said before anything else.
    pub warnings: Vec<String>,
    /// The numbers that it begins with: value, what it is, its interval.
    pub tiles: Vec<Tile>,
    /// Its sections.
    pub sections: Vec<Section>,
}

/// A number that a page begins with.
#[derive(Debug, Clone, Default)]
pub struct Tile {
    /// The number.
    pub value: String,
    /// What it is.
    pub what: String,
    /// Its interval, or what it is of.
    pub of: String,
}

/// A section.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its anchor.
    pub id: String,
    /// Its heading.
    pub title: String,
    /// Its name in the list of contents.
    pub short: String,
    /// What it consists of.
    pub blocks: Vec<Block>,
}

/// A part of a section.
#[derive(Debug, Clone)]
pub enum Block {
    /// A paragraph that is larger than others.
    Lead(String),
    /// A paragraph.
    Text(String),
    /// A heading below that of the section.
    Heading(String),
    /// A chart: SVG, and its caption.
    Figure(String, String),
    /// A table.
    Table(Table),
    /// Code: a heading, and the text.
    Code(String, String),
    /// A list of links or names.
    List(Vec<String>),
}

/// A table as the template shows it.
#[derive(Debug, Clone)]
pub struct TableView {
    id: String,
    caption: String,
    heads: Vec<(String, bool)>,
    rows: Vec<Vec<(String, bool)>>,
    more: String,
    note: String,
    sql: String,
}

impl TableView {
    fn of(table: &Table, most: usize) -> Self {
        let shown = table.shown.min(most);
        let more = match table.rows.len().saturating_sub(shown) {
            0 => String::new(),
            more if table.sql.is_some() => {
                format!("and {} more: the SQL below gives all", thousands(more as u64))
            }
            more => format!("and {} more", thousands(more as u64)),
        };
        let row = |row: &Vec<Cell>| {
            let cells = row.iter().zip(&table.columns);
            cells.map(|(cell, column)| (column.form.shown(cell), column.form.is_number())).collect()
        };
        Self {
            id: table.id.clone(),
            caption: printable::line(&table.caption).into_owned(),
            heads: table
                .columns
                .iter()
                .map(|c| (printable::line(&c.name).into_owned(), c.form.is_number()))
                .collect(),
            rows: table.rows.iter().take(shown).map(row).collect(),
            more,
            note: table.note.clone().unwrap_or_default(),
            sql: table
                .sql
                .as_deref()
                .map(|sql| printable::lines(sql).into_owned())
                .unwrap_or_default(),
        }
    }
}

/// A block as the template shows it.
enum Shown {
    Lead(String),
    Text(String),
    Heading(String),
    Figure(String, String),
    Table(TableView),
    Code(String, String),
    List(Vec<String>),
}

struct ShownSection {
    id: String,
    title: String,
    short: String,
    blocks: Vec<Shown>,
}

#[derive(Template)]
#[template(path = "page.html", config = "src/webpage/askama.toml")]
struct Html {
    page: Page,
    sections: Vec<ShownSection>,
    css: &'static str,
    policy: String,
    version: &'static str,
}

impl Page {
    /// The page as HTML, of at most [`MOST_BYTES`]: tables and code are cut further until it is.
    ///
    /// # Errors
    /// If the template cannot be filled, or no cut suffices.
    pub fn html(&self) -> Result<String> {
        let mut html = String::new();
        for (rows, code) in CUTS.into_iter().zip(CODE) {
            html = self.cut_to(rows, code)?;
            if html.len() <= MOST_BYTES {
                return Ok(html);
            }
        }
        Err(Error::failed("make the page", format!("it has {} octets after every cut", html.len())))
    }

    /// What comes before the sections, without control characters.
    fn head(&self) -> Self {
        let line = |text: &String| printable::line(text).into_owned();
        let tile = |tile: &Tile| Tile {
            value: line(&tile.value),
            what: line(&tile.what),
            of: line(&tile.of),
        };
        Self {
            title: line(&self.title),
            subtitle: line(&self.subtitle),
            warnings: self.warnings.iter().map(line).collect(),
            tiles: self.tiles.iter().map(tile).collect(),
            sections: Vec::new(),
        }
    }

    fn cut_to(&self, rows: usize, code: usize) -> Result<String> {
        let sections = self.sections.iter().map(|section| ShownSection {
            id: section.id.clone(),
            title: printable::line(&section.title).into_owned(),
            short: printable::line(&section.short).into_owned(),
            blocks: section.blocks.iter().map(|block| shown(block, rows, code)).collect(),
        });
        let html = Html {
            page: self.head(),
            sections: sections.collect(),
            css: style::CSS,
            policy: style::policy(),
            version: env!("CARGO_PKG_VERSION"),
        };
        html.render().map_err(|why| Error::failed("make the page", why))
    }
}

fn shown(block: &Block, rows: usize, code: usize) -> Shown {
    let line = |text: &String| printable::line(text).into_owned();
    match block {
        Block::Lead(text) => Shown::Lead(unbroken(&line(text))),
        Block::Text(text) => Shown::Text(unbroken(&line(text))),
        Block::Heading(text) => Shown::Heading(line(text)),
        Block::Figure(svg, caption) => Shown::Figure(svg.clone(), line(caption)),
        Block::Table(table) => Shown::Table(TableView::of(table, rows)),
        Block::Code(heading, text) => {
            Shown::Code(line(heading), cut(&printable::lines(text), code))
        }
        Block::List(items) => Shown::List(items.iter().map(line).collect()),
    }
}

/// A text whose percentages are not divided between lines.
fn unbroken(text: &str) -> String {
    text.replace(" %", "\u{a0}%")
}

/// The beginning of a long text.
fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!(
            "{}\n... and {} more characters, in the metadata of the result",
            &text[..at],
            text[at..].chars().count()
        ),
    }
}
