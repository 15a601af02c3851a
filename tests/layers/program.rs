//! The part of a source file that is the program, and the paths that it names.

/// The lines that are the program: no comments, no items under `#[cfg(test)]`.
pub fn lines(text: &str) -> Vec<(usize, &str)> {
    let mut lines = Vec::new();
    // Inside a test item: the number of open braces, `None` before the first.
    let mut test_item: Option<Option<usize>> = None;
    for (number, line) in text.lines().enumerate() {
        let code = code_of(line);
        if let Some(open) = &mut test_item {
            let mut depth = open.unwrap_or(0) + code.matches('{').count();
            let began = open.is_some() || depth > 0;
            depth = depth.saturating_sub(code.matches('}').count());
            let attribute = code.trim().starts_with("#[");
            if (began && depth == 0) || (!began && !attribute && code.trim_end().ends_with(';')) {
                test_item = None;
            } else if began {
                *open = Some(depth);
            }
            continue;
        }
        if code.trim().starts_with("#[cfg(test)]") {
            test_item = Some(None);
        } else if !code.trim().is_empty() {
            lines.push((number + 1, code));
        }
    }
    lines
}

/// A line without its comment.
fn code_of(line: &str) -> &str {
    match line.find("//") {
        // Not the `//` of a URL in a string.
        Some(at) if !line[..at].ends_with(':') => &line[..at],
        _ => line,
    }
}

/// A path in the program, such as `crate::rule::Rules`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The line of its last segment.
    pub line: usize,
    pub segments: Vec<String>,
    /// The name that it has here: its last segment, or the one after `as`.
    pub name: String,
    /// Whether it is in a `use` declaration.
    pub is_use: bool,
}

/// Every path of two or more segments; groups (`use crate::{a, b::c}`) are expanded.
pub fn paths(lines: &[(usize, &str)]) -> Vec<Named> {
    let mut code = String::new();
    let mut starts = Vec::new();
    for (number, line) in lines {
        starts.push((code.len(), *number));
        code.push_str(line);
        code.push('\n');
    }
    let mut parser = Parser { code: &code, starts, found: Vec::new() };
    let mut at = 0;
    let mut in_use = false;
    while let Some(c) = code[at..].chars().next() {
        let word = word(&code[at..]);
        if word.is_empty() {
            in_use &= c != ';';
            at += c.len_utf8();
            continue;
        }
        in_use |= word == "use";
        // Not a field, a method, or the rest of `<T as Trait>::path`.
        let begins = !code[..at].ends_with("::") && !code[..at].ends_with('.');
        at = match begins && code[at + word.len()..].starts_with("::") {
            true => parser.tree(&mut Vec::new(), at, in_use),
            false => at + word.len(),
        };
    }
    parser.found
}

struct Parser<'a> {
    code: &'a str,
    /// The offset of each line, and its number.
    starts: Vec<(usize, usize)>,
    found: Vec<Named>,
}

impl Parser<'_> {
    /// Parses what follows `prefix`; returns where it ends.
    fn tree(&mut self, prefix: &mut Vec<String>, at: usize, is_use: bool) -> usize {
        let at = self.skip_blanks(at);
        if self.code[at..].starts_with('{') {
            return self.group(prefix, at + 1, is_use);
        }
        let word = match word(&self.code[at..]) {
            "" if self.code[at..].starts_with('*') => "*",
            word => word,
        };
        let end = at + word.len();
        prefix.push(word.to_owned());
        let next = self.skip_blanks(end);
        let goes_on = self.code[next..].starts_with("::") && !self.code[next..].starts_with("::<");
        let end = if goes_on {
            self.tree(prefix, next + 2, is_use)
        } else {
            self.add(prefix, end, is_use);
            end
        };
        prefix.pop();
        end
    }

    fn group(&mut self, prefix: &mut Vec<String>, mut at: usize, is_use: bool) -> usize {
        loop {
            at = self.skip_blanks(at);
            match self.code[at..].chars().next() {
                None => return at,
                Some('}') => return at + 1,
                Some(c) if c == '*' || !word(&self.code[at..]).is_empty() => {
                    at = self.tree(prefix, at, is_use);
                }
                Some(c) => at += c.len_utf8(),
            }
        }
    }

    fn add(&mut self, segments: &[String], end: usize, is_use: bool) {
        // `use a::{self}` names `a`.
        let segments = match segments {
            [path @ .., last] if last == "self" && !path.is_empty() => path,
            whole => whole,
        };
        let after = &self.code[self.skip_blanks(end)..];
        let alias = after.strip_prefix("as ").map(|alias| word(alias.trim_start()));
        let last = segments.last().map_or("", String::as_str);
        let line = self.starts.iter().rev().find(|(start, _)| *start < end).map_or(0, |(_, n)| *n);
        self.found.push(Named {
            line,
            name: alias.unwrap_or(last).to_owned(),
            segments: segments.to_vec(),
            is_use,
        });
    }

    fn skip_blanks(&self, at: usize) -> usize {
        at + self.code[at..].len() - self.code[at..].trim_start().len()
    }
}

/// The identifier at the beginning of a text.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}
