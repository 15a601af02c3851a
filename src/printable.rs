//! Makes text from peers and files safe to print: control characters, and those that change the reading order of
//! letters, are escaped (`\u{1b}`, `\u{202e}`).
//!
//! Everything that is printed goes through here, by way of `cli::out`. Imports nothing from this crate.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Maximum number of characters shown of a short text.
const SHORT: usize = 120;

/// Whether a character can be printed unchanged. Others are control characters, marks that change the order of
/// letters, zero-width marks, and unassigned characters.
pub fn is_plain(c: char) -> bool {
    c.is_ascii_graphic() || c == ' ' || c.is_alphanumeric() || (!c.is_ascii() && shows(c))
}

/// Rust's debug format leaves visible characters unchanged.
fn shows(c: char) -> bool {
    c.escape_debug().len() == 1
}

/// A text of one line.
pub fn line(text: &str) -> Cow<'_, str> {
    match text.chars().all(is_plain) {
        true => Cow::Borrowed(text),
        false => Cow::Owned(escaped(text.chars())),
    }
}

/// As [`line()`], truncated if it is long.
pub fn short(text: &str) -> String {
    let mut chars = text.chars();
    let mut out = escaped(chars.by_ref().take(SHORT));
    if chars.next().is_some() {
        out.push_str("...");
    }
    out
}

/// A text of several lines, whose ends are kept.
pub fn lines(text: &str) -> Cow<'_, str> {
    match text.chars().all(|c| c == '\n' || is_plain(c)) {
        true => Cow::Borrowed(text),
        false => {
            let lines: Vec<Cow<'_, str>> = text.split('\n').map(line).collect();
            Cow::Owned(lines.join("\n"))
        }
    }
}

/// Equivalent JSON: there, such characters occur only in strings, where they are written as `\u202e`.
pub fn json(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c == '\n' || is_plain(c);
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_plain(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    Cow::Owned(out)
}

/// Forwards a text through [`json`] or [`lines`]. A character may arrive in several pieces.
#[derive(Debug)]
pub struct Printable<W> {
    inner: W,
    how: fn(&str) -> Cow<'_, str>,
    /// The first bytes of an incomplete character.
    begun: Vec<u8>,
}

impl<W: Write> Printable<W> {
    /// Forwards JSON to `inner`.
    pub fn json(inner: W) -> Self {
        Self { inner, how: json, begun: Vec::new() }
    }

    /// Forwards lines to `inner`.
    pub fn lines(inner: W) -> Self {
        Self { inner, how: lines, begun: Vec::new() }
    }
}

impl<W: Write> Write for Printable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.begun) {
            Ok(text) => text.len(),
            // Bytes that are not UTF-8 are forwarded unchanged.
            Err(why) if why.error_len().is_some() => {
                self.inner.write_all(&std::mem::take(&mut self.begun))?;
                return Ok(bytes.len());
            }
            Err(why) => why.valid_up_to(),
        };
        let rest = self.begun.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.begun, rest));
        self.inner.write_all((self.how)(&text.unwrap_or_default()).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn escaped(chars: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    for c in chars {
        match is_plain(c) {
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
    fn control_characters_are_escaped() {
        assert_eq!(
            short("http.server:caf\u{e9} \"x\" \u{2192}"),
            "http.server:caf\u{e9} \"x\" \u{2192}"
        );
        assert_eq!(short("a\u{1b}[2J\r\nb\u{202e}"), "a\\u{1b}[2J\\r\\nb\\u{202e}");
        assert_eq!(short(&"x".repeat(200)).len(), 123);
        let long = format!("{}\n\u{9b}2J", "x".repeat(200));
        assert_eq!(lines(&long), format!("{}\n\\u{{9b}}2J", "x".repeat(200)));
        assert_eq!(line("a\nb\tc"), "a\\nb\\tc");
    }

    #[test]
    fn no_control_and_no_bidi_character_is_plain() {
        let bidi = ['\u{61c}', '\u{200e}', '\u{200f}'].into_iter();
        let bidi = bidi.chain('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}');
        let controls = ('\0'..='\u{9f}').filter(|c| c.is_control());
        for c in bidi.chain(controls).chain(['\u{2028}', '\u{200b}', '\u{feff}', '\u{e0041}']) {
            assert!(!is_plain(c), "{c:?}");
        }
        for c in ['a', ' ', '\u{e9}', '\u{4e2d}', '\u{5d0}', '\u{1f600}', '\u{2026}', '\u{b5}'] {
            assert!(is_plain(c), "{c:?}");
        }
    }

    #[test]
    fn json_may_come_in_pieces_of_characters() {
        let text = "{\"a\": \"\u{9b}\u{202e}\u{4e2d}x\"}\n";
        for size in 1..4 {
            let mut to = Printable::json(Vec::new());
            text.as_bytes().chunks(size).for_each(|piece| to.write_all(piece).unwrap());
            assert_eq!(to.inner, json(text).as_bytes(), "{size}");
        }
        let mut to = Printable::json(Vec::new());
        to.write_all(b"a\xff\x1b").unwrap();
        assert_eq!(to.inner, b"a\xff\x1b");
    }

    #[test]
    fn json_means_the_same() {
        let value = serde_json::json!({ "a\u{7f}\u{9b}": ["\u{202e}\u{e0041}\u{1b}", "\u{e9}\n"] });
        let text = value.to_string();
        let shown = json(&text);
        assert!(shown.chars().all(is_plain), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        assert_eq!(json("{\"a\": 1}\n"), "{\"a\": 1}\n");
    }
}
