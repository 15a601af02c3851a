//! Standard output: written whole, in colour only on a terminal, and quietly ended by a reader
//! that has seen enough (`pathspider reference | head -1`).

use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use anstyle::Style;

use crate::error::{Doing as _, Result};

/// No line is longer, however wide the terminal is: eyes do not like it.
const WIDEST: usize = 100;

/// Writes a text to standard output. That nobody reads it is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.doing(|| "write to standard output"),
    }
}

/// Writes a JSON value and a line's end to standard output.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    print(&format!("{value}\n"))
}

/// Whether what goes there may be coloured: a terminal, and the user did not say NO_COLOR.
pub fn colors(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// How a command's text looks on standard output.
#[derive(Debug, Clone, Copy)]
pub struct Page {
    heading: Style,
    width: usize,
}

impl Page {
    /// For the standard output of this process.
    pub fn of_stdout() -> Self {
        let stdout = io::stdout();
        let heading = if colors(&stdout) { Style::new().bold() } else { Style::new() };
        let width = match stdout.is_terminal() {
            true => usize::from(console::Term::stdout().size().1).clamp(40, WIDEST),
            false => WIDEST,
        };
        Self { heading, width }
    }

    /// A line that says what follows.
    pub fn heading(&self, text: &str) -> String {
        let style = self.heading;
        format!("{style}{text}{style:#}\n")
    }

    /// Words in lines, every one after `indent` spaces.
    pub fn prose(&self, indent: usize, text: &str) -> String {
        self.hanging(&" ".repeat(indent), indent, text)
    }

    /// Rows of cells below each other; the words of the last cell are broken into lines.
    pub fn table<const N: usize>(&self, indent: usize, rows: &[[String; N]]) -> String {
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let widths: Vec<usize> = (0..N.saturating_sub(1)).map(width).collect();
        let mut out = String::new();
        for row in rows {
            let mut line = " ".repeat(indent);
            for (cell, width) in row.iter().zip(&widths) {
                line += &format!("{cell:width$}  ");
            }
            let column = line.chars().count();
            out += &self.hanging(&line, column, row.last().map_or("", String::as_str));
        }
        out
    }

    /// `first`, then words, the lines after the first with `indent` spaces before them.
    fn hanging(&self, first: &str, indent: usize, text: &str) -> String {
        // Where there is hardly room beside the other cells, a terminal's own breaks serve better.
        let width = if indent + 20 > self.width { usize::MAX } else { self.width };
        let mut out = String::new();
        let mut line = first.to_owned();
        let mut fresh = true;
        for word in text.split_whitespace() {
            let longer = line.chars().count() + usize::from(!fresh) + word.chars().count();
            if !fresh && longer > width {
                out += line.trim_end();
                out.push('\n');
                line = " ".repeat(indent);
            } else if !fresh {
                line.push(' ');
            }
            line += word;
            fresh = false;
        }
        out + line.trim_end() + "\n"
    }
}

/// A text that may have come from the network, with what a terminal would obey written out: control
/// characters and the like (`\u{1b}`). Longer ones are cut.
pub fn printable(text: &str) -> String {
    const LONGEST: usize = 120;
    let mut chars = text.chars();
    let mut out = escaped(chars.by_ref().take(LONGEST));
    if chars.next().is_some() {
        out.push_str("...");
    }
    out
}

/// As [`printable`], whole and line by line: for messages, into which texts of others may have come in many ways.
pub fn message(text: &str) -> String {
    text.split('\n').map(|line| escaped(line.chars())).collect::<Vec<_>>().join("\n")
}

fn escaped(chars: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    for c in chars {
        match c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric() {
            true => out.push(c),
            false => out.extend(c.escape_debug()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(printable("http.server:caf\u{e9} \"x\""), "http.server:caf\u{e9} \"x\"");
        assert_eq!(printable("a\u{1b}[2J\r\nb\u{202e}"), "a\\u{1b}[2J\\r\\nb\\u{202e}");
        assert_eq!(printable(&"x".repeat(200)).len(), 123);
        let long = format!("{}\n\u{9b}2J", "x".repeat(200));
        assert_eq!(message(&long), format!("{}\n\\u{{9b}}2J", "x".repeat(200)));
    }

    #[test]
    fn the_last_cell_is_broken_into_lines() {
        let page = Page { heading: Style::new(), width: 40 };
        let rows = [["a", "one two three four five six seven"], ["long", ""]];
        let text = page.table(2, &rows.map(|row| row.map(str::to_owned)));
        assert_eq!(text, "  a     one two three four five six\n        seven\n  long\n");
        assert_eq!(page.prose(1, ""), "\n");
    }
}
