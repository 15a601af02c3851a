//! `[locate]`: the labels whose place on the path is searched for, and the labels about that place.

use std::time::Duration;

use toml::Spanned;

use super::bounds::{LOCATE_HOPS, LOCATE_PACKETS, LOCATE_ROUNDS};
use super::checker::Checker;
use super::conditions::is_word;
use super::file;
use super::words::Text;
use crate::error::did_you_mean;
use crate::locate::{Goal, LOCATE, Limits};
use crate::rule::{Choice, INSUFFICIENT, Question, Rule, RuleSource, Rules, Sql};

/// The labels to locate, and the limits of a search.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locate {
    /// The labels, those that take precedence first.
    pub labels: Vec<Sought>,
    /// The limits of each search.
    pub limits: Limits,
}

/// A label to locate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// The label.
    pub label: String,
    /// The beginning of the labels about its place: its condition without the last part.
    pub subject: String,
    /// The column of its condition in the struct `verdict`.
    pub column: String,
    /// Its last word.
    pub word: String,
    /// The configuration whose packets are compared with those of the baseline.
    pub experiment: String,
    /// What the label says of the experiment.
    pub goal: Goal,
}

impl Locate {
    /// Each label, with the beginning of the labels about its place.
    pub fn subjects(&self) -> impl Iterator<Item = (String, String)> {
        self.labels.iter().map(|sought| (sought.label.clone(), sought.subject.clone()))
    }

    /// Adds the rules about the places: `X.hop`, `X.location` and `X.quote` for each subject X.
    pub(super) fn sources(&self) -> Vec<RuleSource> {
        let mut subjects: Vec<&str> = Vec::new();
        for sought in &self.labels {
            if !subjects.contains(&sought.subject.as_str()) {
                subjects.push(&sought.subject);
            }
        }
        subjects.into_iter().flat_map(rules).collect()
    }
}

/// The answers of `X.location` with their conditions, the first that is true counts.
const LOCATIONS: [(&str, &str); 9] = [
    ("gone", "locate.outcome = 'gone'"),
    ("undone", "locate.outcome = 'undone'"),
    ("branches", "locate.branches > 1 AND COALESCE(locate.sure, 0.0) < 0.9"),
    ("return_path", "locate.outcome = 'clean'"),
    ("unlocated", "locate.outcome <> 'located' OR COALESCE(locate.sure, 0.0) < 0.9"),
    ("first_as", "locate.changed_as = locate.source_as"),
    ("last_as", "locate.same_as = locate.target_as"),
    ("border", "locate.same_as <> locate.changed_as"),
    ("transit", "locate.changed_as IS NOT NULL"),
];

/// The answers of `X.quote`.
const QUOTES: [(&str, &str); 3] = [
    ("none", "locate.quote_min IS NULL"),
    ("short", "locate.quote_min < locate.header"),
    ("full", "locate.quote_min >= locate.header"),
];

/// The rules about the place of one subject.
fn rules(subject: &str) -> [RuleSource; 3] {
    let sql = |text: String| Sql { text, span: 0..0, start: None };
    // All columns are NULL for a target that was not searched for, and a rule does not apply there.
    let about =
        |column: &str| format!("locate.{column} IS NOT NULL AND locate.subject = '{subject}'");
    let choices = |answers: &[(&str, &str)]| {
        let choice = |(is, when): &(&str, &str)| {
            let (is, when) = ((*is).to_owned(), Some(sql((*when).to_owned())));
            Choice { is, when }
        };
        Question::FirstOf(answers.iter().map(choice).collect())
    };
    let sure = "locate.outcome = 'located' AND locate.sure >= 0.9";
    [
        RuleSource {
            name: format!("{subject}.hop"),
            given: Some(sql(format!("{} AND {sure}", about("hop")))),
            question: Question::Value(sql(format!("{LOCATE}.hop"))),
        },
        RuleSource {
            name: format!("{subject}.location"),
            given: Some(sql(about("outcome"))),
            question: choices(&LOCATIONS),
        },
        RuleSource {
            name: format!("{subject}.quote"),
            given: Some(sql(about("outcome"))),
            question: choices(&QUOTES),
        },
    ]
}

/// Whether a label about a place, such as `ecn.hop:4`, is one that locating a label of these rules can give.
pub fn is_about_place(label: &str, rules: &Rules) -> bool {
    let words = |answers: &[(&str, &str)], word: &str| {
        word == INSUFFICIENT || answers.iter().any(|(is, _)| *is == word)
    };
    let is_answer = |rest: &str| match (rest.split_once(':'), rest.split_once('.')) {
        (Some(("hop", number)), _) => {
            number.parse::<u8>().is_ok_and(|hop| hop > 0 && number == hop.to_string())
        }
        (_, Some(("hop", word))) => word == INSUFFICIENT,
        (_, Some(("location", word))) => words(&LOCATIONS, word),
        (_, Some(("quote", word))) => words(&QUOTES, word),
        _ => false,
    };
    let fits = |sought: &Sought| {
        let rest = label.strip_prefix(&sought.subject).and_then(|rest| rest.strip_prefix('.'));
        rest.is_some_and(is_answer)
    };
    let of = |rule: &Rule| {
        rule.labels().iter().filter_map(|label| sought(rule, label)).any(|s| fits(&s))
    };
    rules.iter().filter(|rule| !rule.is_value()).any(of)
}

/// A label of a rule as it may be located.
fn sought(rule: &Rule, label: &str) -> Option<Sought> {
    // A measurement with the baseline alone copies that.
    let experiment = rule.configurations().iter().rfind(|name| *name != "zero");
    let experiment = experiment.map_or("zero", String::as_str).to_owned();
    let (condition, word) = label.rsplit_once('.')?;
    let subject = condition.rsplit_once('.').map_or(condition, |(before, _)| before);
    let goal = if word == "broken" { Goal::Stopped } else { Goal::Changed };
    let (label, subject, word) = (label.to_owned(), subject.to_owned(), word.to_owned());
    Some(Sought { label, subject, column: rule.column(), word, experiment, goal })
}

/// Whether a label fits a pattern, in which `*` stands for one part.
fn fits(pattern: &str, label: &str) -> bool {
    let (mut parts, mut given) = (pattern.split('.'), label.split('.'));
    loop {
        match (parts.next(), given.next()) {
            (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(part), Some(given)) if part == given => {}
            _ => return false,
        }
    }
}

/// The labels of these rules that fit a pattern.
pub(super) fn matching(pattern: &str, rules: &Rules) -> Vec<Sought> {
    let of = |rule: &Rule| -> Vec<Sought> {
        let words = rule.labels().into_iter();
        let labels = words.filter(|label| fits(pattern, label) && !label.ends_with(INSUFFICIENT));
        labels.filter_map(|label| sought(rule, &label)).collect()
    };
    rules.iter().filter(|rule| !rule.is_value()).flat_map(of).collect()
}

/// What to write instead of a label that no condition gives.
pub(super) fn likely(pattern: &str, rules: &Rules) -> String {
    let labels: Vec<String> =
        rules.iter().filter(|rule| !rule.is_value()).flat_map(Rule::labels).collect();
    did_you_mean(pattern, labels.iter().map(String::as_str)).unwrap_or_else(|| {
        "write a label of a condition, such as \"ecn.connectivity.broken\"; * stands for one part"
            .to_owned()
    })
}

impl Checker<'_> {
    /// The table of the file; `None` if it has none.
    pub(super) fn locate(
        &mut self,
        written: Option<&file::Locate>,
        rules: &Rules,
    ) -> Option<Locate> {
        let written = written?;
        let mut labels: Vec<Sought> = Vec::new();
        for label in written.labels.as_ref().map(Spanned::get_ref).into_iter().flatten() {
            labels.extend(self.located_label(label, rules));
        }
        match &written.labels {
            None => {
                let help = "write labels = [\"ecn.connectivity.broken\"]";
                self.missing(&["locate".into()], self.top(), "`locate` has no `labels`", help);
            }
            Some(list) if list.get_ref().is_empty() => {
                let help =
                    "write labels = [\"ecn.connectivity.broken\"], or remove the table".to_owned();
                self.mistake("E0320", list.span(), "`locate` names no label", Some(help));
            }
            Some(_) => {}
        }
        let mut limits = Limits::default();
        for (key, value, bounds) in [
            ("hops", &written.hops, &LOCATE_HOPS),
            ("rounds", &written.rounds, &LOCATE_ROUNDS),
            ("packets", &written.packets, &LOCATE_PACKETS),
        ] {
            let Some(value) = value else { continue };
            self.range(key, value.span(), *value.get_ref(), bounds);
            let number = u8::try_from(*value.get_ref()).unwrap_or(u8::MAX);
            match key {
                "hops" => limits.hops = number,
                "rounds" => limits.rounds = number,
                _ => limits.packets = number.into(),
            }
        }
        limits.longest = LONGEST;
        Some(Locate { labels, limits })
    }

    fn located_label(&mut self, label: &Text, rules: &Rules) -> Vec<Sought> {
        let text = label.get_ref();
        let is_label = text.split('.').all(|part| part == "*" || is_word(part));
        let found = matching(text, rules);
        if found.is_empty() && !(is_label && self.was_removed(&["conditions".into()])) {
            let message = format!("no condition gives the label `{text}`");
            self.mistake("E0320", label.span(), message, Some(likely(text, rules)));
        }
        found
    }
}

/// How long a search may wait for hops that other searches ask.
const LONGEST: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_part() {
        for (pattern, label, is) in [
            ("ecn.connectivity.broken", "ecn.connectivity.broken", true),
            ("*.connectivity.broken", "sack.connectivity.broken", true),
            ("dscp.*.connectivity.broken", "dscp.46.connectivity.broken", true),
            ("*.connectivity.broken", "dscp.46.connectivity.broken", false),
            ("ecn.connectivity", "ecn.connectivity.broken", false),
            ("ecn.connectivity.broken.x", "ecn.connectivity.broken", false),
        ] {
            assert_eq!(fits(pattern, label), is, "{pattern} {label}");
        }
    }
}
