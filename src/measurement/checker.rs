//! Resolves names and records mistakes: the part that all checks share.

use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::Spanned;

use super::bounds::{LONGEST, read_duration};
use super::extends::Sources;
use super::mistake::Path;
use super::sweep::Swept;
use super::words::Text;
use crate::error::{Diagnostic, did_you_mean};

/// Resolves the names in a file, and records the mistakes that it finds. Each module checks its part of the file with
/// methods of its own.
pub(super) struct Checker<'a> {
    pub(super) text: &'a str,
    pub(super) sources: &'a Sources,
    pub(super) mistakes: Vec<Diagnostic>,
    pub(super) removed: Vec<Path>,
    /// The swept values of every configuration, by its number.
    pub(super) swept: Vec<Vec<Swept>>,
    /// The number of confirmation rounds that the user wants.
    pub(super) rounds: Option<u16>,
}

impl Checker<'_> {
    pub(super) fn mistake(
        &mut self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.mistakes.push(Diagnostic {
            code,
            span,
            message: message.into(),
            label: String::new(),
            help,
        });
    }

    /// Whether the parser removed something from this table (or all of it), so that a missing key
    /// may be in the file.
    pub(super) fn was_removed(&self, table: &[String]) -> bool {
        self.removed.iter().any(|path| path.starts_with(table) || table.starts_with(path))
    }

    /// Records that a table lacks a required key.
    pub(super) fn missing(
        &mut self,
        table: &[String],
        span: Range<usize>,
        message: &str,
        help: &str,
    ) {
        let parent = |path: &Path| path.len() == table.len() + 1 && path.starts_with(table);
        if !self.removed.iter().any(|path| parent(path) || table.starts_with(path)) {
            self.mistake("E0103", span, message, Some(help.into()));
        }
    }

    /// The place of a key that is missing at the top of the file: its first line with text.
    pub(super) fn top(&self) -> Range<usize> {
        let start = self.text.len() - self.text.trim_start().len();
        let line = self.text[start..].lines().next().map_or(0, |line| line.trim_end().len());
        start..start + line
    }

    /// Resolves one of some words.
    pub(super) fn word<T: Copy>(
        &mut self,
        written: &Text,
        what: &str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let text = written.get_ref();
        if let Some((_, thing)) = words.iter().find(|(word, _)| word == text) {
            return Some(*thing);
        }
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let help = did_you_mean(text, all.iter().copied())
            .unwrap_or_else(|| format!("valid here: {}", all.join(", ")));
        self.mistake("E0211", written.span(), format!("unknown {what} `{text}`"), Some(help));
        None
    }

    /// Checks that a number is within its bounds.
    pub(super) fn range(
        &mut self,
        name: &str,
        span: Range<usize>,
        value: i64,
        range: &RangeInclusive<i64>,
    ) -> Option<()> {
        if range.contains(&value) {
            return Some(());
        }
        let message = format!("`{name}` cannot be {value}");
        let help = format!("write a number from {} to {}", range.start(), range.end());
        self.mistake("E0214", span, message, Some(help));
        None
    }

    /// A duration that is more than zero and at most an hour.
    pub(super) fn duration(&mut self, written: Option<&Text>, default: &str) -> Option<Duration> {
        let text = written.map_or(default, |written| written.get_ref());
        let span = written.map_or(0..0, Spanned::span);
        match read_duration(text) {
            Some(duration) if !duration.is_zero() && duration <= LONGEST => Some(duration),
            Some(_) => {
                let message = "a timeout is more than zero and at most an hour";
                self.mistake("E0207", span, message, Some(format!("{default} is usual")));
                None
            }
            None => {
                let help = super::bounds::duration_meant(text).map_or_else(
                    || "write a whole number and a unit, without space: 500ms, 5s or 1m".to_owned(),
                    |meant| format!("write {meant}: a whole number and a unit, without space"),
                );
                let message = format!("`{text}` is not a duration");
                self.mistake("E0206", span, message, Some(help));
                None
            }
        }
    }
}
