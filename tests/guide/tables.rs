//! Tables of pages that are made from the registries: between two comments stands what
//! `pathspider reference` prints, or some of its columns and rows.
//!
//! `<!-- table: HEADING; columns: a, b; rows: x, y -->` is the first table with these columns below
//! that heading, and of it the rows whose first cell has one of these words.

use std::fmt::Write as _;

use super::pages::Page;

const BEGIN: &str = "<!-- table: ";
const END: &str = "<!-- end of table -->";

/// A table of the reference.
pub struct Table {
    heading: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(heading: &str, columns: [&str; 2], rows: Vec<[String; 2]>) -> Self {
        Self {
            heading: heading.into(),
            columns: columns.map(str::to_owned).into(),
            rows: rows.into_iter().map(Vec::from).collect(),
        }
    }
}

/// Every table of a page in Markdown.
pub fn read(markdown: &str) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    let (mut heading, mut inside) = (String::new(), false);
    for line in markdown.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
        let Some(cells) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            inside &= line.starts_with("| ---");
            continue;
        };
        let cells: Vec<String> = cells.split(" | ").map(str::to_owned).collect();
        match tables.last_mut() {
            Some(_) if inside && cells.iter().all(|cell| cell == "---") => {}
            Some(table) if inside => table.rows.push(cells),
            _ => {
                let heading = heading.clone();
                tables.push(Table { heading, columns: cells, rows: Vec::new() });
                inside = true;
            }
        }
    }
    tables
}

/// The page with all its tables made anew.
pub fn filled(page: &Page, tables: &[Table]) -> Result<String, String> {
    let mut text = String::new();
    let mut lines = page.text.lines();
    while let Some(line) = lines.next() {
        text.push_str(line);
        text.push('\n');
        let Some(wanted) = line.strip_prefix(BEGIN).and_then(|line| line.strip_suffix(" -->"))
        else {
            continue;
        };
        if lines.by_ref().all(|line| line != END) {
            return Err(format!("{}: no `{END}` after `{line}`", page.file));
        }
        text += &table(wanted, tables).map_err(|why| format!("{}: {why}", page.file))?;
        text.push_str(END);
        text.push('\n');
    }
    Ok(text)
}

fn table(wanted: &str, tables: &[Table]) -> Result<String, String> {
    let mut parts = wanted.split("; ");
    let heading = parts.next().unwrap_or_default();
    let (mut columns, mut rows): (Option<Vec<&str>>, Option<Vec<&str>>) = (None, None);
    for part in parts {
        match part.split_once(": ") {
            Some(("columns", names)) => columns = Some(names.split(", ").collect()),
            Some(("rows", names)) => rows = Some(names.split(", ").collect()),
            _ => return Err(format!("`{part}` is neither columns nor rows")),
        }
    }
    let has = |table: &&Table, columns: &[&str]| {
        columns.iter().all(|name| table.columns.iter().any(|column| column == name))
    };
    let below = tables.iter().filter(|table| table.heading == heading);
    let found = below.clone().find(|table| has(table, columns.as_deref().unwrap_or_default()));
    let found = found.ok_or_else(|| format!("the reference has no table `{wanted}`"))?;
    let columns = columns.unwrap_or_else(|| found.columns.iter().map(String::as_str).collect());
    let places: Vec<usize> = columns
        .iter()
        .filter_map(|name| found.columns.iter().position(|column| column == name))
        .collect();
    let is_wanted = |row: &&Vec<String>, word: &str| {
        row[0].split(|c: char| " `,".contains(c)).any(|part| part == word)
    };
    let chosen: Vec<&Vec<String>> = match rows {
        None => found.rows.iter().collect(),
        Some(words) => {
            let row = |word: &&str| {
                let row = found.rows.iter().find(|row| is_wanted(row, word));
                row.ok_or_else(|| format!("`{heading}` has no row `{word}`"))
            };
            words.iter().map(row).collect::<Result<_, _>>()?
        }
    };
    let mut text = format!("| {} |\n|{}\n", columns.join(" | "), " --- |".repeat(columns.len()));
    for row in chosen {
        let cells: Vec<&str> = places.iter().map(|place| row[*place].as_str()).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    Ok(text)
}
