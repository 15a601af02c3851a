//! `[[conditions]]`: checks them, and makes the sources of rules.

use std::ops::Range;

use toml::Spanned;

use super::checker::Checker;
use super::file::{Answer, Condition};
use super::words::Text;
use crate::error::did_you_mean;
use crate::rule::{Choice, INSUFFICIENT, Question, RuleSource, Sql, column_of};

impl Checker<'_> {
    /// The sources of the rules that can be compiled; mistakes of the others are recorded.
    /// `configs` are the names of the existing configurations.
    pub(super) fn conditions(
        &mut self,
        conditions: &[Spanned<Condition>],
        configs: &[&'static str],
    ) -> Vec<RuleSource> {
        let mut seen: Vec<(String, Range<usize>)> = Vec::new();
        let mut sources = Vec::new();
        for spanned in conditions {
            let condition = spanned.get_ref();
            let name = match &condition.name {
                Some(name) => {
                    self.condition_name(name, &mut seen);
                    name.get_ref().clone()
                }
                None => {
                    let help = "write name = \"ecn.negotiation\", the beginning of its labels";
                    self.incomplete("E0103", spanned.span(), "this condition has no `name`", help);
                    String::new()
                }
            };
            let given = condition.given.as_ref().map(|text| self.sql(text));
            let between = self.between(condition, configs);
            let Some(question) = self.question(condition, spanned.span()) else { continue };
            let question = match (between, question) {
                (Some(Some([baseline, experiment])), Question::Compare(column)) => {
                    let (baseline, experiment) = (baseline.to_owned(), experiment.to_owned());
                    Question::CompareBetween { column, baseline, experiment }
                }
                // Without two valid configurations, there is nothing to compare.
                (None, Question::Compare(_)) => continue,
                (_, question) => question,
            };
            sources.push(RuleSource { name, given, question });
        }
        sources
    }

    fn condition_name(&mut self, name: &Text, seen: &mut Vec<(String, Range<usize>)>) {
        let text = name.get_ref();
        if !text.split('.').all(is_word) {
            let likely = text.split('.').map(word_like).collect::<Vec<_>>().join(".");
            let likely = if likely.split('.').all(is_word) { &likely } else { "ecn.negotiation" };
            let help = format!(
                "write lower-case letters, digits and _, in parts joined by dots: \"{likely}\""
            );
            self.mistake(
                "E0301",
                name.span(),
                format!("`{text}` cannot begin a label"),
                Some(help),
            );
            return;
        }
        let column = column_of(text);
        match seen.iter().find(|(other, _)| column_of(other) == column) {
            Some((other, _)) => {
                let message = match other == text {
                    true => format!("there is already a condition `{text}`"),
                    false => {
                        format!("`{text}` and `{other}` would share the column verdict.{column}")
                    }
                };
                self.mistake("E0302", name.span(), message, Some("give it another name".into()));
            }
            None => seen.push((text.clone(), name.span())),
        }
    }

    /// The configurations that `compare` compares: two of the file, or `None` for the default. The outer `None`
    /// stands for a mistake.
    fn between(
        &mut self,
        condition: &Condition,
        configs: &[&'static str],
    ) -> Option<Option<[&'static str; 2]>> {
        let Some(between) = &condition.between else { return Some(None) };
        let span = between.span();
        if condition.compare.is_none() {
            let message = "`between` requires `compare`, which is missing";
            let help = "remove it; expressions name their configurations: one.ok, two.ok";
            self.incomplete("E0308", span, message, help);
            return None;
        }
        let [zero, one] = between.get_ref().as_slice() else {
            let help = "write the baseline and the experiment: [\"zero\", \"two\"]".to_owned();
            self.mistake("E0308", span, "`between` names two configurations", Some(help));
            return None;
        };
        let pair = [zero, one].map(|name| {
            let text = name.get_ref();
            let known = configs.iter().find(|known| *known == text).copied();
            if known.is_none() {
                let help = did_you_mean(text, configs.iter().copied())
                    .unwrap_or_else(|| format!("the configurations are: {}", configs.join(", ")));
                let message = format!("there is no configuration `{text}`");
                self.mistake("E0308", name.span(), message, Some(help));
            }
            known
        });
        let [Some(zero), Some(one)] = pair else { return None };
        if zero == one {
            let message = format!("`{one}` is compared with itself");
            let help = "write the baseline and the experiment: [\"zero\", \"two\"]".to_owned();
            self.mistake("E0308", span, message, Some(help));
            return None;
        }
        Some(Some([zero, one]))
    }

    fn question(&mut self, condition: &Condition, span: Range<usize>) -> Option<Question<Sql>> {
        match (&condition.compare, &condition.first_of, &condition.value) {
            (Some(column), None, None) => Some(Question::Compare(self.sql(column))),
            (None, Some(answers), None) => self.answers(answers),
            (None, None, Some(value)) => Some(Question::Value(self.sql(value))),
            (None, None, None) => {
                let message = "this condition has no `compare`, `first_of` or `value`";
                let help = "write one of them: compare = \"ok\" distinguishes works, broken, transient and offline";
                self.incomplete("E0303", span, message, help);
                None
            }
            (compare, first_of, value) => {
                let spans = [
                    compare.as_ref().map(Spanned::span),
                    first_of.as_ref().map(Spanned::span),
                    value.as_ref().map(Spanned::span),
                ];
                let last =
                    spans.into_iter().flatten().max_by_key(|span| span.start).unwrap_or(span);
                let message =
                    "this condition has more than one of `compare`, `first_of` and `value`";
                self.mistake("E0303", last, message, Some("split it into two conditions".into()));
                None
            }
        }
    }

    /// Reports something missing. If the parser removed anything from the conditions, it may have been
    /// that, and is already reported.
    fn incomplete(&mut self, code: &'static str, span: Range<usize>, message: &str, help: &str) {
        if !self.was_removed(&["conditions".into()]) {
            self.mistake(code, span, message, Some(help.into()));
        }
    }

    fn answers(&mut self, answers: &Spanned<Vec<Spanned<Answer>>>) -> Option<Question<Sql>> {
        let list = answers.get_ref();
        if list.is_empty() {
            let help =
                "write { is = \"...\", when = \"...\" } entries; the last may be without `when`";
            self.mistake("E0307", answers.span(), "`first_of` has no entries", Some(help.into()));
            return None;
        }
        let mut choices: Vec<Choice<Sql>> = Vec::new();
        for (index, spanned) in list.iter().enumerate() {
            let answer = spanned.get_ref();
            let is = match &answer.is {
                Some(is) => {
                    self.last_word(is, &choices);
                    is.get_ref().clone()
                }
                None => {
                    let help = "write { is = \"seen\", when = \"...\" }";
                    self.incomplete(
                        "E0103",
                        spanned.span(),
                        "this entry has no `is`, the label's last word",
                        help,
                    );
                    String::new()
                }
            };
            if answer.when.is_none() && index + 1 < list.len() {
                let message = "an entry without `when` always matches, so later ones never do";
                let help = "give it a `when`, or move it to the end";
                self.incomplete("E0306", spanned.span(), message, help);
            }
            let when = answer.when.as_ref().map(|text| self.sql(text));
            choices.push(Choice { is, when });
        }
        Some(Question::FirstOf(choices))
    }

    fn last_word(&mut self, is: &Text, before: &[Choice<Sql>]) {
        let text = is.get_ref();
        if !is_word(text) {
            let likely = word_like(text);
            let help = match is_word(&likely) {
                true => format!("write lower-case letters, digits and _: \"{likely}\""),
                false => "write lower-case letters, digits and _".to_owned(),
            };
            self.mistake("E0304", is.span(), format!("`{text}` cannot end a label"), Some(help));
        } else if text == INSUFFICIENT {
            let message =
                format!("`{INSUFFICIENT}` is reserved for conditions whose facts are missing");
            self.mistake("E0304", is.span(), message, Some("choose another word".into()));
        } else if before.iter().any(|choice| choice.is == *text) {
            let help = "join the two by OR, or choose another word";
            self.mistake(
                "E0305",
                is.span(),
                format!("there is already an entry `{text}`"),
                Some(help.into()),
            );
        }
    }

    /// An expression with its place in the file.
    pub(super) fn sql(&self, text: &Text) -> Sql {
        let span = text.span();
        let written = self.text.get(span.clone()).unwrap_or_default();
        let quotes: &[&str] =
            &["\"\"\"\r\n", "\"\"\"\n", "\"\"\"", "'''\r\n", "'''\n", "'''", "\"", "'"];
        let start =
            quotes.iter().find(|quote| written.starts_with(**quote)).map(|quote| quote.len());
        // Only if the file has the text verbatim, without escapes.
        let start = start.filter(|start| written[*start..].starts_with(text.get_ref().as_str()));
        Sql { text: text.get_ref().clone(), start: start.map(|start| span.start + start), span }
    }
}

/// The nearest text that can be a part of a label.
fn word_like(text: &str) -> String {
    let text = text.trim().to_lowercase();
    let kept = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    kept.collect::<String>().trim_matches('_').to_owned()
}

/// Whether a text can be a part of a label.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}
