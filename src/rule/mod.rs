//! Rules: how the facts of a record become conditions.
//!
//! A rule is written as SQL expressions over the record's own columns (`zero.x`, `one.x`,
//! `target.x`), is type-checked against the record's schema before a run, and is evaluated a
//! batch at a time in SQL's three-valued logic. [`Rule::sql`] gives the whole rule as one
//! expression that has the same answer in DuckDB over the stored records. Of records in which nothing
//! is missing, the text of the file, pasted there as it is, has the same answer or is an error there
//! (DuckDB stops where integers leave their column's bits, and cannot subtract times of nanoseconds).
//!
//! Addresses are text, in the form of RFC 5952 for IPv6.
//!
//! Three things come out of a rule, never two: a label; *not applicable*; or *insufficient*, with
//! the reason, when a fact that it needs is unknown. What is unknown is never taken for false: a NULL of a
//! flow that was not observed stays NULL through IS NULL, COALESCE and CASE, whereas a NULL because
//! there was none is an answer there.
//!
//! Imports [`error`](crate::error), [`flags`](crate::flags), [`field`](crate::field) and [`record`](crate::record).

mod compare;
pub mod confirm;
mod eval;
mod expr;
mod judge;
mod known;
mod literal;
mod never;
mod parse;
mod sql;
mod typing;
mod warn;

use arrow::datatypes::{DataType, Schema};

pub use judge::ADDED;
pub use known::{About, Columns, Known};
pub use parse::Sql;

use crate::error::Diagnostic;
use crate::record;
use compare::Side;
use expr::Expr;
use typing::Typer;

/// The word for a rule whose facts were not all observed.
pub const INSUFFICIENT: &str = "insufficient";

/// The words of a rule that compares the baseline with the experiment, with their meaning.
pub const COMPARED: [(&str, &str); 4] = [
    ("works", "true under zero and under one"),
    ("broken", "true under zero only"),
    ("transient", "true under one only"),
    ("offline", "true under neither"),
];

/// What the same words mean where the column is `ok`, in the same order.
pub const COMPARED_OK: [&str; 4] = [
    "complete under zero and under one, or answered with the same word under both",
    "less was answered under one than under zero, or another word",
    "more was answered under one than under zero",
    "nothing was answered under zero nor under one",
];

/// How `compare` ranks attempts, in two sentences.
pub const COMPARE_RANKS: &str = "\
    Of `ok`, `compare` ranks an attempt as complete (the exchange went as the kind wants it), answered (the peer answered \
    something else, which the column `answer` names) or silent: equal rank and equal answer is `works`, the \
    experiment lower or answered with another word is `broken`, higher is `transient`, and both silent is `offline`. So a \
    host that refuses in the same way under both configurations works, and an alert or a page that a middlebox injects \
    under one of them shows.";

/// The words of such a rule where there is nothing to compare with, with their meaning.
pub const ONLINE: [(&str, &str); 2] = [
    ("online", "true; of ok: anything was answered"),
    ("offline", "false; of ok: nothing was answered"),
];

/// A rule as a file has it.
#[derive(Debug, Clone)]
pub struct RuleSource {
    /// Its name, `ecn.negotiation`.
    pub name: String,
    /// When it applies: always, if there is none.
    pub given: Option<Sql>,
    /// What it asks.
    pub question: Question<Sql>,
}

/// What a rule asks, with expressions of type `E`.
#[derive(Debug, Clone)]
pub enum Question<E> {
    /// Of a boolean column, under zero and under one: [`COMPARED`]. Of results with a single
    /// configuration: [`ONLINE`].
    Compare(E),
    /// The same of two configurations by name.
    CompareBetween {
        /// The column.
        column: E,
        /// The configuration that is held to be normal.
        baseline: String,
        /// The one that is compared with it.
        experiment: String,
    },
    /// Which of these is the first that is true? One without expression is always.
    FirstOf(Vec<Choice<E>>),
    /// Which value has this expression?
    Value(E),
}

/// One possible answer.
#[derive(Debug, Clone)]
pub struct Choice<E> {
    /// The last word of the label.
    pub is: String,
    /// When it is the answer.
    pub when: Option<E>,
}

/// A rule that has been checked.
#[derive(Debug, Clone)]
pub struct Rule {
    source: RuleSource,
    /// The configuration that the word `one` stands for, if another.
    one: Option<String>,
    given: Option<Expr>,
    asked: Asked,
    /// The configurations that it refers to, in the order of the record.
    configurations: Vec<String>,
    /// Whether the records have the counts of its further rounds.
    confirmed: bool,
}

/// What a rule asks, checked.
#[derive(Debug, Clone)]
enum Asked {
    Compare { zero: Box<Side>, one: Box<Side> },
    Online(Box<Side>),
    FirstOf(Vec<(String, Option<Expr>)>),
    Value(Expr),
}

/// All rules of a measurement.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Checks rules against the schema of a record (the struct `target` and one per
    /// configuration). Returns those that are right, and every mistake. `columns` says what is known of
    /// the columns, also of those that the record lacks.
    pub fn compile(
        sources: &[RuleSource],
        schema: &Schema,
        columns: &dyn Columns,
    ) -> (Self, Vec<Diagnostic>) {
        let mut rules = Self::default();
        let mistakes =
            sources.iter().flat_map(|source| rules.add(source, None, schema, columns)).collect();
        (rules, mistakes)
    }

    /// Checks one more rule, as [`Rules::compile`] does, and adds it if it is right. With `one`,
    /// the word `one` in it stands for that configuration: so a rule of a sweep is added once per
    /// configuration, and the places of its mistakes are still those of the file.
    pub fn add(
        &mut self,
        source: &RuleSource,
        one: Option<&str>,
        schema: &Schema,
        columns: &dyn Columns,
    ) -> Vec<Diagnostic> {
        let mut mistakes = Vec::new();
        let mut compiler = Compiler { schema, one, columns, mistakes: &mut mistakes };
        self.0.extend(compiler.rule(source));
        mistakes
    }

    /// The same rules checked against other records: those of an older file, say.
    ///
    /// # Errors
    ///
    /// Every column that those records lack, and every one that has another type there.
    pub fn against(&self, schema: &Schema, columns: &dyn Columns) -> Result<Self, Vec<Diagnostic>> {
        let mut rules = Self::default();
        let again =
            self.0.iter().flat_map(|r| rules.add(&r.source, r.one.as_deref(), schema, columns));
        let mistakes: Vec<Diagnostic> = again.filter(Diagnostic::is_error).collect();
        if mistakes.is_empty() { Ok(rules) } else { Err(mistakes) }
    }

    /// Whether a rule compares `ok` in records that have no column `answer`, those of an earlier version: then it
    /// takes an answer that is not the one asked for to be none.
    pub fn lack_answers(&self) -> bool {
        self.0.iter().any(|rule| match &rule.asked {
            Asked::Compare { zero, one } => zero.lacks_answers() || one.lacks_answers(),
            Asked::Online(side) => side.lacks_answers(),
            Asked::FirstOf(_) | Asked::Value(_) => false,
        })
    }

    /// The rules, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }
}

struct Compiler<'a> {
    schema: &'a Schema,
    one: Option<&'a str>,
    columns: &'a dyn Columns,
    mistakes: &'a mut Vec<Diagnostic>,
}

impl Compiler<'_> {
    fn typer<'b>(&'b mut self, sql: &'b Sql) -> Typer<'b> {
        Typer {
            schema: self.schema,
            one: self.one,
            columns: self.columns,
            sql,
            mistakes: self.mistakes,
        }
    }

    fn condition(&mut self, sql: &Sql) -> Option<Expr> {
        let expr = self.typer(sql).condition()?;
        if expr.is_never_true() {
            let help = "remove it, or let it look at a column such as one.ok";
            let message = "this is never true, whatever a record says";
            self.mistakes.push(sql.diagnostic("E0407", sql.whole(), message, Some(help.into())));
        }
        Some(expr)
    }

    /// Everything is looked at before the first mistake ends it, so that all are reported.
    fn rule(&mut self, source: &RuleSource) -> Option<Rule> {
        let given = source.given.as_ref().map(|sql| self.condition(sql));
        let asked = match &source.question {
            Question::Compare(column) => self.compared(column, None),
            Question::CompareBetween { column, baseline, experiment } => {
                self.compared(column, Some((baseline, experiment)))
            }
            Question::Value(sql) => self.typer(sql).value().map(Asked::Value),
            Question::FirstOf(choices) => {
                let choices = choices.iter().map(|choice| {
                    let when = choice.when.as_ref().map(|sql| self.condition(sql));
                    (choice.is.clone(), when)
                });
                let choices: Vec<_> = choices.collect();
                let choices = choices.into_iter().map(|(is, when)| match when {
                    None => Some((is, None)),
                    Some(when) => Some((is, Some(when?))),
                });
                choices.collect::<Option<_>>().map(Asked::FirstOf)
            }
        };
        let given = match given {
            None => None,
            Some(given) => Some(given?),
        };
        let asked = asked?;
        let tables: Vec<String> = given
            .iter()
            .chain(asked.expressions())
            .flat_map(Expr::columns)
            .map(|column| column.table)
            .collect();
        let mut configurations: Vec<&str> = record::configurations(self.schema).collect();
        configurations.retain(|name| tables.iter().any(|table| table == name));
        let configurations = configurations.into_iter().map(str::to_owned).collect();
        let one = self.one.map(str::to_owned);
        let source = source.clone();
        let mut rule = Rule { source, one, given, asked, configurations, confirmed: false };
        rule.confirmed = rule.compares() && self.has_rounds(rule.name());
        Some(rule)
    }

    /// Whether records have the further rounds of a rule.
    fn has_rounds(&self, rule: &str) -> bool {
        let confirm = self.schema.field_with_name(confirm::CONFIRM).ok();
        confirm.is_some_and(|field| match field.data_type() {
            DataType::Struct(rules) => rules.find(&column_of(rule)).is_some(),
            _ => false,
        })
    }

    /// The column under two configurations: those named, or zero and one.
    fn compared(&mut self, column: &Sql, between: Option<(&str, &str)>) -> Option<Asked> {
        let name = column.text.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = "`compare` takes the name of one boolean column";
            let help = Some("write compare = \"ok\"; it is looked up in zero and in one".into());
            self.mistakes.push(column.diagnostic("E0403", column.span.clone(), message, help));
            return None;
        }
        let there: Vec<&str> = record::configurations(self.schema).collect();
        if let (None, None, [only]) = (between, self.one, there.as_slice()) {
            return Some(Asked::Online(self.side(only, name, column)?));
        }
        let (baseline, experiment) = between.unwrap_or(("zero", "one"));
        let zero = self.side(baseline, name, column)?;
        Some(Asked::Compare { zero, one: self.side(experiment, name, column)? })
    }

    fn side(&mut self, configuration: &str, name: &str, column: &Sql) -> Option<Box<Side>> {
        let truth = self.under(configuration, name, column)?;
        let answer = Side::answer_of(&truth, self.schema).and_then(|text| {
            let sql = Sql { text, span: column.span.clone(), start: None };
            self.typer(&sql).value()
        });
        Some(Box::new(Side::new(truth, answer)))
    }

    fn under(&mut self, configuration: &str, name: &str, column: &Sql) -> Option<Expr> {
        let text = format!("{configuration}.{name}");
        let sql = Sql { text, span: column.span.clone(), start: None };
        let before = self.mistakes.len();
        let expr = self.condition(&sql);
        // The column is written without its table.
        let prefix = format!("{configuration}.");
        for mistake in &mut self.mistakes[before..] {
            mistake.message = mistake.message.replace(&prefix, "");
            let op = if mistake.message.contains("text") { "<>" } else { ">" };
            mistake.help = match mistake.code {
                // A comparison has no place here.
                "E0405" => Some(format!(
                    "`compare` takes a boolean column such as ok; of {name}, write first_of entries, such as when = \
                     \"one.{name} {op} zero.{name}\""
                )),
                _ => mistake.help.take().map(|help| help.replace(&prefix, "").replace("one.", "")),
            };
        }
        expr
    }
}

impl Asked {
    fn expressions(&self) -> Vec<&Expr> {
        match self {
            Asked::Compare { zero, one } => vec![&zero.truth, &one.truth],
            Asked::Online(side) => vec![&side.truth],
            Asked::Value(expr) => vec![expr],
            Asked::FirstOf(choices) => choices.iter().filter_map(|c| c.1.as_ref()).collect(),
        }
    }
}

impl Rule {
    /// Its name: every label begins with it.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Its column in the structs `verdict` and `insufficient`.
    pub fn column(&self) -> String {
        column_of(self.name())
    }

    /// The configurations that it refers to, in the order of the record.
    pub fn configurations(&self) -> &[String] {
        &self.configurations
    }

    /// Every label that it can give; the value of a `value` rule is written `...`.
    pub fn labels(&self) -> Vec<String> {
        let name = self.name();
        let mut labels = match &self.asked {
            Asked::Value(_) => vec![format!("{name}:...")],
            _ => self.words().into_iter().map(|word| format!("{name}.{word}")).collect(),
        };
        labels.push(format!("{name}.{INSUFFICIENT}"));
        labels
    }

    /// The words it chooses from; of a `value` rule, none.
    fn words(&self) -> Vec<&str> {
        let mut words: Vec<&str> = match &self.asked {
            Asked::Compare { .. } => COMPARED.iter().map(|(word, _)| *word).collect(),
            Asked::Online(_) => ONLINE.iter().map(|(word, _)| *word).collect(),
            Asked::FirstOf(choices) => choices.iter().map(|(is, _)| is.as_str()).collect(),
            Asked::Value(_) => Vec::new(),
        };
        if self.confirmed {
            words.extend(confirm::CONFIRMED.map(|(word, _)| word));
        }
        words
    }
}

/// The name of a rule as a column: dots become underscores.
pub fn column_of(name: &str) -> String {
    name.replace('.', "_")
}
