//! A page as a manual page: Markdown's headings, paragraphs, lists, tables and code in roff.

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};
use roff::{Inline, Roff, bold, italic, line_break, roman};

use super::Page;

/// A page as a manual page of section 7, `pathspider-TOPIC`, with a date (`2026-01-31`).
pub fn man(page: &Page, date: &str) -> String {
    let name = format!("pathspider-{}", page.topic);
    let mut out = Writer::default();
    let version = concat!("pathspider ", env!("CARGO_PKG_VERSION"));
    out.roff.control("TH", [name.as_str(), "7", date, version, "The guide of pathspider"]);
    out.roff.control("SH", ["NAME"]);
    out.roff.text([roman(format!("{name} - {}", page.about))]);
    let mut parser = Parser::new_ext(page.text, Options::ENABLE_TABLES);
    parser.by_ref().for_each(|event| out.event(event));
    out.end();
    tidy(&out.roff.render())
}

/// Removes requests for space where there is none to be: next to a heading, and next to others. `mandoc -T lint` warns of
/// them. Removes repeated definitions of the apostrophe, which each part of a page brings.
pub fn tidy(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines() {
        let last = lines.last().copied();
        let heading = last.is_some_and(|last| last.starts_with(".SH") || last.starts_with(".SS"));
        let repeated = (line.starts_with(".ie \\n(.g") || line.starts_with(".el .ds Aq"))
            && lines.contains(&line);
        match line {
            ".PP" if heading || last == Some(".PP") => continue,
            ".br" if last == Some("") => continue,
            "" if last == Some(".br") => drop(lines.pop()),
            _ if repeated => continue,
            _ => {}
        }
        lines.push(line);
    }
    named_backslashes(&lines.join("\n")) + "\n"
}

/// Writes a backslash by its name: mandoc takes `\\\\`, which the renderer writes, for an unknown escape.
fn named_backslashes(text: &str) -> String {
    let mut named = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(next) = rest.next() {
        match next {
            '\\' => match rest.next() {
                Some('\\') => named.push_str("\\(rs"),
                escaped => named.extend(['\\'].into_iter().chain(escaped)),
            },
            other => named.push(other),
        }
    }
    named
}

/// The manual page written so far.
#[derive(Default)]
struct Writer {
    roff: Roff,
    /// Text of the current block.
    inlines: Vec<Inline>,
    /// Text of the current block if it must be plain: a heading, or code.
    plain: Option<String>,
    font: Font,
    /// Number of the next item of each open list; none for bullets.
    lists: Vec<Option<u64>>,
    /// Whether the next text is the first of an item.
    item: bool,
    /// The page of the guide to which the open link leads, if it leads to one.
    linked: Option<String>,
    /// Cells of the current table row.
    cells: Vec<Vec<Inline>>,
}

#[derive(Default, Clone, Copy)]
enum Font {
    #[default]
    Roman,
    Bold,
    Italic,
}

impl Writer {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.finish(tag),
            Event::Text(text) => self.text(&text),
            // Manual pages set what is typed in bold.
            Event::Code(text) => match &mut self.plain {
                Some(plain) => plain.push_str(&text),
                None => self.inlines.push(bold(text.into_string())),
            },
            Event::SoftBreak => self.text(" "),
            Event::HardBreak => self.inlines.push(line_break()),
            Event::Rule
            | Event::Html(_)
            | Event::InlineHtml(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::FootnoteReference(_)
            | Event::TaskListMarker(_) => {}
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Heading { .. } => {
                self.end();
                self.plain = Some(String::new());
            }
            Tag::CodeBlock(_) => {
                self.end();
                self.plain = Some(String::new());
            }
            Tag::Paragraph if !self.item => {
                self.end();
                self.roff.control(if self.lists.is_empty() { "PP" } else { "IP" }, []);
            }
            Tag::List(number) => {
                self.end();
                if !self.lists.is_empty() {
                    self.roff.control("RS", []);
                }
                self.lists.push(*number);
            }
            Tag::Item => {
                self.end();
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}.", *number - 1)
                    }
                    _ => "\\(bu".to_owned(),
                };
                self.roff.control("IP", [mark.as_str(), "4"]);
                self.item = true;
            }
            Tag::TableHead | Tag::TableRow => self.cells.clear(),
            Tag::Emphasis => self.font = Font::Italic,
            Tag::Strong => self.font = Font::Bold,
            Tag::Link { dest_url, .. } => {
                let file = dest_url.split('#').next().unwrap_or_default();
                let topic = file.strip_suffix(".md").filter(|topic| super::find(topic).is_some());
                self.linked = topic.map(str::to_owned);
            }
            _ => {}
        }
    }

    fn finish(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => {
                let text = self.plain.take().unwrap_or_default();
                // The title is that of the manual page, and NAME says what it is about.
                match level as u8 {
                    1 => self.roff.control("SH", ["DESCRIPTION"]),
                    2 => self.roff.control("SH", [text.to_uppercase().as_str()]),
                    _ => self.roff.control("SS", [text.as_str()]),
                };
            }
            TagEnd::CodeBlock => {
                let text = self.plain.take().unwrap_or_default();
                self.roff.control("PP", []);
                self.roff.control("EX", []);
                for line in text.lines() {
                    self.roff.text([roman(line)]);
                }
                self.roff.control("EE", []);
            }
            TagEnd::Paragraph | TagEnd::Item => {
                self.end();
                self.item = false;
            }
            TagEnd::List(_) => {
                self.end();
                self.lists.pop();
                if !self.lists.is_empty() {
                    self.roff.control("RE", []);
                }
            }
            TagEnd::TableCell => self.cells.push(std::mem::take(&mut self.inlines)),
            // A row is its first cell, and the others below it.
            TagEnd::TableRow => {
                let mut cells = std::mem::take(&mut self.cells).into_iter();
                self.roff.control("TP", []);
                self.roff.text(cells.next().unwrap_or_default());
                let mut rest = Vec::new();
                for cell in cells {
                    if !rest.is_empty() {
                        rest.push(roman("; "));
                    }
                    rest.extend(cell);
                }
                self.roff.text(rest);
            }
            TagEnd::TableHead => self.cells.clear(),
            TagEnd::Emphasis | TagEnd::Strong => self.font = Font::Roman,
            // A manual page cannot be clicked: it names the page.
            TagEnd::Link => {
                if let Some(topic) = self.linked.take() {
                    self.inlines.push(roman(" ("));
                    self.inlines.push(bold(format!("pathspider-{topic}")));
                    self.inlines.push(roman("(7))"));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, text: &str) {
        if let Some(plain) = &mut self.plain {
            plain.push_str(text);
            return;
        }
        self.inlines.push(match self.font {
            Font::Roman => roman(text),
            Font::Bold => bold(text),
            Font::Italic => italic(text),
        });
    }

    /// Writes the text of the current block.
    fn end(&mut self) {
        if !self.inlines.is_empty() {
            self.roff.text(std::mem::take(&mut self.inlines));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_roff() {
        let text = "# Title\n\nSome *words*\nand `code`, [see](lab.md#x).\n\n## Part one\n\n* first\n* second\n  line\n\n1. a\n2. b\n\n\
                    | who | what |\n| --- | --- |\n| me | this \\| that |\n\n    .code -x\n\n### Sub\n\n.dot 'quote' \\n\n";
        let page = Page { topic: "test", about: "a test", text };
        let roff = man(&page, "2026-01-31");
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            ".TH pathspider-test 7 2026-01-31 \"pathspider {version}\" \"The guide of pathspider\"\n\
             .SH NAME\npathspider\\-test \\- a test\n.SH DESCRIPTION\nSome \\fIwords\\fR and \\fBcode\\fR, see (\\fBpathspider\\-lab\\fR(7)).\n\
             .SH \"PART ONE\"\n.IP \\(bu 4\nfirst\n.IP \\(bu 4\nsecond line\n.IP 1. 4\na\n.IP 2. 4\nb\n\
             .TP\nme\nthis | that\n.PP\n.EX\n\\&.code \\-x\n.EE\n.SS Sub\n\\&.dot \\*(Aqquote\\*(Aq \\(rsn\n"
        );
        let (_, page) = roff.split_once(".TH").unwrap();
        assert_eq!(format!(".TH{page}"), expected);
    }
}
