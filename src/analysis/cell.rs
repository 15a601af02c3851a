//! A table: a caption, columns, rows of values, and the SQL that gives them.

use crate::printable;
pub use crate::words::thousands;

/// The most rows of a table that a page shows.
pub const SHOWN: usize = 50;

/// A value of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// A text, as it is in the records: not escaped.
    Text(String),
    /// A number of things.
    Count(u64),
    /// Any other number.
    Real(f64),
    /// NULL.
    Missing,
}

impl Cell {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A share of a count; NULL of nothing.
    pub fn share(part: u64, of: u64) -> Self {
        if of == 0 { Self::Missing } else { Self::Real(part as f64 / of as f64) }
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        number.map_or(Self::Missing, Self::Real)
    }
}

/// How the values of a column are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text, aligned left.
    Text,
    /// A whole number with separated thousands.
    Count,
    /// A share between -1 and 1, as a percentage with two decimals.
    Share,
    /// A number with this many decimals.
    Real(usize),
}

impl Form {
    /// The text of a value. Control characters are escaped; HTML is not.
    pub fn shown(self, cell: &Cell) -> String {
        match (self, cell) {
            (_, Cell::Missing) => "\u{2013}".to_owned(),
            (_, Cell::Text(text)) => printable::line(text).into_owned(),
            (Self::Share, Cell::Real(share)) => percent(*share),
            (Self::Real(decimals), Cell::Real(number)) => real(*number, decimals),
            (_, Cell::Real(number)) => number.to_string(),
            (_, Cell::Count(count)) => thousands(*count),
        }
    }

    /// Whether it is a number, which is aligned right.
    pub fn is_number(self) -> bool {
        self != Self::Text
    }
}

/// `1.91 %`.
pub fn percent(share: f64) -> String {
    format!("{} %", real(share * 100.0, 2))
}

/// A number with decimals, without the sign of a zero.
pub fn real(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.chars().all(|c| c == '0' || c == '.') => rest.to_owned(),
        _ => text,
    }
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its heading; also its name in CSV.
    pub name: String,
    /// How its values are shown.
    pub form: Form,
}

/// A table.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// A name that is unique among the tables of a report: letters, digits and `-`.
    pub id: String,
    /// What it is about, and of how many.
    pub caption: String,
    /// Its columns. Every row has one value for each.
    pub columns: Vec<Column>,
    /// Its rows, all of them.
    pub rows: Vec<Vec<Cell>>,
    /// The SQL that gives the same rows in the same order, after [`prelude`](super::sql::prelude); `None` if the numbers
    /// do not come from the records alone.
    pub sql: Option<String>,
    /// A remark under the table.
    pub note: Option<String>,
    /// The most rows that a page shows.
    pub shown: usize,
}

impl Table {
    /// A table without rows.
    pub fn new(
        id: impl Into<String>,
        caption: impl Into<String>,
        columns: &[(&str, Form)],
    ) -> Self {
        let columns =
            columns.iter().map(|(name, form)| Column { name: (*name).to_owned(), form: *form });
        Self {
            id: identifier(&id.into()),
            caption: caption.into(),
            columns: columns.collect(),
            rows: Vec::new(),
            sql: None,
            note: None,
            shown: SHOWN,
        }
    }

    /// The table with these rows.
    pub fn with_rows(mut self, rows: impl IntoIterator<Item = Vec<Cell>>) -> Self {
        self.rows.extend(rows);
        self
    }

    /// The table with its SQL.
    pub fn with_sql(mut self, sql: impl Into<String>) -> Self {
        self.sql = Some(sql.into());
        self
    }

    /// The table with a remark.
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// All rows as CSV (RFC 4180), shares as fractions. A text that a spreadsheet would take for a formula begins with
    /// an apostrophe.
    pub fn csv(&self) -> String {
        let mut csv = String::new();
        let names: Vec<String> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        csv += &names.join(",");
        csv += "\r\n";
        self.rows.iter().for_each(|row| csv += &csv_row(row));
        csv
    }
}

/// A row of CSV.
pub fn csv_row(cells: &[Cell]) -> String {
    let cells: Vec<String> = cells.iter().map(csv_cell).collect();
    cells.join(",") + "\r\n"
}

fn csv_cell(cell: &Cell) -> String {
    match cell {
        Cell::Missing => String::new(),
        Cell::Count(count) => count.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) if text.starts_with(['=', '+', '-', '@', '\t', '\r']) => {
            quoted(&format!("'{text}"))
        }
        Cell::Text(text) => quoted(text),
    }
}

/// A text of CSV, in quotes where they are needed.
fn quoted(text: &str) -> String {
    match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// A name of letters, digits and `-`.
pub fn identifier(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_takes_no_cell_for_a_formula() {
        let columns = [("name", Form::Text), ("n", Form::Count), ("share", Form::Share)];
        let row = |name: &str| vec![Cell::text(name), Cell::Count(1200), Cell::Real(0.25)];
        let table = Table::new("a.b", "", &columns).with_rows([
            row("=1+1"),
            row("a,\"b\"\n"),
            vec![Cell::text("x"), Cell::Missing, Cell::Missing],
        ]);
        let expected = "name,n,share\r\n'=1+1,1200,0.25\r\n\"a,\"\"b\"\"\n\",1200,0.25\r\nx,,\r\n";
        assert_eq!((table.id.as_str(), table.csv().as_str()), ("a-b", expected));
    }

    #[test]
    fn values_are_shown_in_the_form_of_their_column() {
        for (form, cell, shown) in [
            (Form::Count, Cell::Count(1_234_567), "1,234,567"),
            (Form::Share, Cell::Real(0.019_076), "1.91 %"),
            (Form::Share, Cell::Real(-0.000_001), "0.00 %"),
            (Form::Real(3), Cell::Real(-0.5), "-0.500"),
            (Form::Share, Cell::share(1, 0), "\u{2013}"),
            (Form::Text, Cell::text("a\u{202e}b\n"), "a\\u{202e}b\\n"),
        ] {
            assert_eq!(form.shown(&cell), shown);
        }
    }
}
