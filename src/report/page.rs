//! Standard output: coloured only on a terminal; a closed pipe ends it quietly (`pathspider reference | head -1`).

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};

use anstyle::Style;
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use textwrap::WordSplitter;
use textwrap::core::display_width;

use super::bar;
use crate::error::{Doing as _, Result};
use crate::printable;

/// Maximum line width, for readability.
const WIDEST: usize = 100;
/// Minimum width of wrapped text.
const NARROWEST: usize = 20;
/// Spaces between the columns of a table.
const GAP: usize = 2;

/// Writes a text to standard output, with control characters escaped. A closed pipe is not an error.
pub fn print(text: &str) -> Result<()> {
    write(&printable::lines(text))
}

/// Writes a text whose only control characters are this program's styles, such as one made by a [`Page`].
pub fn print_page(text: &str) -> Result<()> {
    write(&shown(text, colors(&io::stdout())))
}

/// Writes a text of this program unchanged: a script, a manual page.
pub fn print_own(text: &str) -> Result<()> {
    write(text)
}

fn write(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.doing(|| "write to standard output"),
    }
}

/// Writes a JSON value and a newline to standard output.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    print_json_lines(&format!("{value}\n"))
}

/// Writes lines of JSON to standard output.
pub fn print_json_lines(text: &str) -> Result<()> {
    write(&printable::json(text))
}

/// Writes a JSON text and a newline to standard output, or to standard error if records go to standard output.
pub fn json(text: &str, records_on_stdout: bool) -> Result<()> {
    match records_on_stdout {
        true => {
            tell_json(text);
            Ok(())
        }
        false => print_json_lines(&format!("{text}\n")),
    }
}

/// The same for plain text.
pub fn text(text: &str, records_on_stdout: bool) -> Result<()> {
    match records_on_stdout {
        true => {
            tell(text);
            Ok(())
        }
        false => print(&format!("{text}\n")),
    }
}

/// Writes lines to standard error, with control characters escaped and the bar hidden.
pub fn tell(text: &str) {
    bar::around_bar(format!("{}\n", printable::lines(text)).as_bytes());
}

/// The same for JSON.
pub fn tell_json(text: &str) {
    bar::around_bar(format!("{}\n", printable::json(text)).as_bytes());
}

/// The same for a text whose only control characters are this program's styles.
pub fn tell_page(text: &str) {
    bar::around_bar(shown(text, colors(&io::stderr())).as_bytes());
}

/// Escapes control characters; with `styles`, keeps those that set colours.
fn shown(text: &str, styles: bool) -> Cow<'_, str> {
    if !styles || !text.contains('\u{1b}') {
        return printable::lines(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        out += &printable::lines(&rest[..at]);
        let style = style(&rest[at..]).unwrap_or(0);
        out += &rest[at..at + style];
        let end = at + style.max(1);
        if style == 0 {
            out += &printable::lines(&rest[at..end]);
        }
        rest = &rest[end..];
    }
    Cow::Owned(out + &printable::lines(rest))
}

/// The length of the style at the start of a text: `ESC [ digits m`.
fn style(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

/// Whether to use colours: on a terminal without NO_COLOR.
pub fn colors(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Lays out a command's text on standard output.
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

    /// A heading.
    pub fn heading(&self, text: &str) -> String {
        let (style, text) = (self.heading, printable::line(text));
        format!("{style}{text}{style:#}\n")
    }

    /// Wraps words into lines, each after `indent` spaces.
    pub fn prose(&self, indent: usize, text: &str) -> String {
        let lines = wrapped(&spaced(text), self.room(indent));
        textwrap::indent(&lines, &" ".repeat(indent)) + "\n"
    }

    /// A table; the last cell of each row is wrapped.
    pub fn table<const N: usize>(&self, indent: usize, rows: &[[String; N]]) -> String {
        let rows: Vec<[String; N]> =
            rows.iter().map(|row| std::array::from_fn(|column| spaced(&row[column]))).collect();
        let width = |column: usize| rows.iter().map(|row| display_width(&row[column])).max();
        let before: usize = (0..N.saturating_sub(1)).filter_map(width).map(|w| w + GAP).sum();
        let last = self.room(indent + before);
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        for row in rows {
            let [cells @ .., text] = &row[..] else { continue };
            let text = wrapped(text, last);
            table.add_row(cells.iter().chain([&text]));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP as u16));
        }
        if let Some(first) = table.column_mut(0) {
            first.set_padding((indent as u16, GAP as u16));
        }
        match table.is_empty() {
            true => String::new(),
            false => table.trim_fmt() + "\n",
        }
    }

    /// The width left after this many columns. If it is too small, the terminal's own line breaks are better.
    fn room(&self, before: usize) -> usize {
        if before + NARROWEST > self.width { usize::MAX } else { self.width - before }
    }
}

/// Replaces newlines and tabs by spaces, and escapes other control characters.
fn spaced(text: &str) -> String {
    printable::line(&text.replace(['\n', '\t', '\r'], " ")).into_owned()
}

/// Wraps a text to this width without breaking words.
fn wrapped(text: &str, width: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let options = textwrap::Options::new(width).break_words(false);
    textwrap::fill(&words.join(" "), options.word_splitter(WordSplitter::NoHyphenation))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_of_cells_are_escaped() {
        let page = Page { heading: Style::new().bold(), width: 40 };
        let evil = "a\u{1b}[31m \u{202e}b\u{9b}2J";
        let row = [[evil.to_owned(), evil.to_owned()]];
        let text = page.heading(evil) + &page.prose(0, evil) + &page.table(0, &row);
        let (plain, shown) = ("a\\u{1b}[31m", shown(&text, true));
        assert_eq!(shown.matches(plain).count(), 4, "{shown}");
        assert_eq!(shown.matches('\u{1b}').count(), 2, "of the heading: {shown}");
        let without = super::shown(&text, false);
        assert!(without.chars().all(|c| c == '\n' || printable::is_plain(c)), "{without}");
    }

    #[test]
    fn only_styles_reach_a_terminal_unescaped() {
        let text = "\u{1b}[1;31mred\u{1b}[0m \u{1b}[2J\u{1b}]0;title\u{7}\u{1b}\n";
        let expected = "\u{1b}[1;31mred\u{1b}[0m \\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{1b}\n";
        assert_eq!(shown(text, true), expected);
    }

    #[test]
    fn the_last_cell_is_wrapped() {
        let page = Page { heading: Style::new(), width: 40 };
        let rows = [["a", "one two three four five six seven"], ["long", ""]];
        let text = page.table(2, &rows.map(|row| row.map(str::to_owned)));
        assert_eq!(text, "  a     one two three four five six\n        seven\n  long\n");
        assert_eq!(page.prose(1, ""), "\n");
    }
}
