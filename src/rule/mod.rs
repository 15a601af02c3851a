//! Rules: how the facts of a record become conditions.
//!
//! A rule consists of SQL expressions over the record's own columns (`zero.x`, `one.x`, `target.x`). It is
//! type-checked against the record's schema before a run, and evaluated batch by batch in SQL's three-valued logic.
//! [`Rule::sql`] returns the whole rule as one expression with the same result in DuckDB over the stored records. For
//! records without missing facts, the text from the file also gives the same result there or an error (DuckDB fails
//! if integers overflow their column's type, and cannot subtract times of nanoseconds).
//!
//! Addresses are text; IPv6 in the form of RFC 5952.
//!
//! A rule has three outcomes, not two: a label; *not applicable*; or *insufficient*, with the reason, if a required
//! fact is unknown. Unknown is never treated as false: a NULL of a flow that was not observed stays NULL through IS
//! NULL, COALESCE and CASE, whereas a NULL that means "there was none" is a value there.
//!
//! Imports [`error`](crate::error), [`flags`](crate::flags), [`field`](crate::field) and [`record`].

mod arithmetic;
mod columns;
mod compare;
pub mod confirm;
mod duration;
mod eval;
mod expr;
mod filter;
mod judge;
mod kernel;
mod known;
mod literal;
mod metric;
mod misnamed;
mod never;
mod packets;
mod parse;
mod quote;
mod sql;
mod typing;
mod warn;
mod wording;

use arrow_schema::{DataType, Schema};

pub use columns::{About, Columns, Known};
pub use filter::Filter;
pub use judge::{ADDED, words};
pub use metric::{METRIC, Metric, MetricSource, TIME_UNITS};
pub use packets::{packet_condition, packet_value};
pub use parse::Sql;

use crate::error::Diagnostic;
use crate::record;
use compare::Side;
use expr::Expr;
use typing::Typer;

/// The word of a rule whose facts were not all observed.
pub const INSUFFICIENT: &str = "insufficient";

/// The words of a rule that compares the baseline with the experiment, with their meaning.
pub const COMPARED: [(&str, &str); 4] = [
    ("works", "true under zero and under one"),
    ("broken", "true under zero only"),
    ("transient", "true under one only"),
    ("offline", "true under neither"),
];

/// The meaning of the same words for the column `ok`, in the same order.
pub const COMPARED_OK: [&str; 4] = [
    "complete under zero and under one, or answered with the same word under both",
    "a lower rank under one than under zero, or another answer",
    "a higher rank under one than under zero",
    "no answer under zero or one",
];

/// How `compare` ranks attempts, in two sentences.
pub const COMPARE_RANKS: &str = "\
    Of `ok`, `compare` ranks an attempt as complete (the exchange went as the kind wants it), answered (the peer answered \
    something else, which the column `answer` names) or silent: equal rank and equal answer is `works`, the \
    experiment lower or answered with another word is `broken`, higher is `transient`, and both silent is `offline`. So a \
    host that refuses in the same way under both configurations works, and an alert or a page that a middlebox injects \
    under one of them shows.";

/// The words of such a rule if there is nothing to compare with, with their meaning.
pub const ONLINE: [(&str, &str); 2] = [
    ("online", "true; for ok: there was any answer"),
    ("offline", "false; for ok: there was no answer"),
];

/// A rule as written in a file.
#[derive(Debug, Clone)]
pub struct RuleSource {
    /// Its name, `ecn.negotiation`.
    pub name: String,
    /// When it applies; `None` means always.
    pub given: Option<Sql>,
    /// The question it answers.
    pub question: Question<Sql>,
}

/// The question of a rule, with expressions of type `E`.
#[derive(Debug, Clone)]
pub enum Question<E> {
    /// A boolean column under zero and under one: [`COMPARED`]. In results with a single configuration: [`ONLINE`].
    Compare(E),
    /// The same for two configurations by name.
    CompareBetween {
        /// The column.
        column: E,
        /// The baseline configuration.
        baseline: String,
        /// The configuration compared with it.
        experiment: String,
    },
    /// The first choice whose expression is true; one without an expression always is.
    FirstOf(Vec<Choice<E>>),
    /// The value of this expression.
    Value(E),
}

/// One possible answer.
#[derive(Debug, Clone)]
pub struct Choice<E> {
    /// The last word of the label.
    pub is: String,
    /// When it applies.
    pub when: Option<E>,
}

/// A checked rule.
#[derive(Debug, Clone)]
pub struct Rule {
    source: RuleSource,
    /// The configuration that the word `one` stands for, if it is another one.
    one: Option<String>,
    given: Option<Expr>,
    asked: Asked,
    /// The configurations that it refers to, in record order.
    configurations: Vec<String>,
    /// Whether the records have the counts of its confirmation rounds.
    confirmed: bool,
}

/// The question of a rule, checked.
#[derive(Debug, Clone)]
enum Asked {
    Compare { zero: Box<Side>, one: Box<Side> },
    Online(Box<Side>),
    FirstOf(Vec<(String, Option<Expr>)>),
    Value(Expr),
}

/// All rules and metrics of a measurement.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    metrics: Vec<Metric>,
}

impl Rules {
    /// Checks rules against the schema of a record (the struct `target` and one per configuration). Returns the
    /// correct ones, and every mistake. `columns` has information about the columns, including those that the record
    /// lacks.
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

    /// Checks one more rule like [`Rules::compile`], and adds it if it is correct. With `one`, the word `one` stands
    /// for that configuration: a rule of a sweep is added once per configuration, and the places of its mistakes are
    /// still those in the file.
    pub fn add(
        &mut self,
        source: &RuleSource,
        one: Option<&str>,
        schema: &Schema,
        columns: &dyn Columns,
    ) -> Vec<Diagnostic> {
        let mut mistakes = Vec::new();
        let mut compiler = Compiler { schema, one, columns, mistakes: &mut mistakes };
        self.rules.extend(compiler.rule(source));
        mistakes
    }

    /// Checks the same rules against other records, for example those of an older file.
    ///
    /// # Errors
    ///
    /// Every column that those records lack, or that has another type there.
    pub fn against(&self, schema: &Schema, columns: &dyn Columns) -> Result<Self, Vec<Diagnostic>> {
        let mut rules = Self::default();
        let again =
            self.rules.iter().flat_map(|r| rules.add(&r.source, r.one.as_deref(), schema, columns));
        let mut mistakes: Vec<Diagnostic> = again.filter(Diagnostic::is_error).collect();
        let metrics: Vec<MetricSource> = self.metrics().map(|m| m.source().clone()).collect();
        let metrics = rules.add_metrics(&metrics, schema, columns);
        mistakes.extend(metrics.into_iter().filter(Diagnostic::is_error));
        if mistakes.is_empty() { Ok(rules) } else { Err(mistakes) }
    }

    /// Whether a rule compares `ok` in records without the column `answer`, from an earlier version: then an answer
    /// other than the requested one counts as none.
    pub fn lack_answers(&self) -> bool {
        self.rules.iter().any(|rule| match &rule.asked {
            Asked::Compare { zero, one } => zero.lacks_answers() || one.lacks_answers(),
            Asked::Online(side) => side.lacks_answers(),
            Asked::FirstOf(_) | Asked::Value(_) => false,
        })
    }

    /// The rules in file order.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
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
            let message = "this is never true for any record";
            self.mistakes.push(sql.diagnostic("E0407", sql.whole(), message, Some(help.into())));
        }
        Some(expr)
    }

    /// Checks everything before returning, so that all mistakes are reported.
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

    /// Whether records have the confirmation rounds of a rule.
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
            let is_text = mistake.message.contains("text");
            let op = if is_text { "<>" } else { ">" };
            // A number is better reported than labelled.
            let metric = match is_text || mistake.message.contains("time") {
                true => String::new(),
                false => format!(", or [[metrics]] with value = \"one.{name} - zero.{name}\""),
            };
            mistake.help = match mistake.code {
                // A comparison is not allowed here.
                "E0405" => Some(format!(
                    "`compare` takes a boolean column such as ok; for {name}, write first_of entries, such as when = \
                     \"one.{name} {op} zero.{name}\"{metric}"
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
    /// Its name, the prefix of every label.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// Its column in the structs `verdict` and `insufficient`.
    pub fn column(&self) -> String {
        column_of(self.name())
    }

    /// Whether it gives a value rather than a word.
    pub fn is_value(&self) -> bool {
        matches!(self.asked, Asked::Value(_))
    }

    /// The unit of its values, if it gives durations.
    pub fn value_unit(&self) -> Option<&'static str> {
        match &self.asked {
            Asked::Value(value) if value.is_duration() => Some("ns"),
            _ => None,
        }
    }

    /// The configurations that it refers to, in record order.
    pub fn configurations(&self) -> &[String] {
        &self.configurations
    }

    /// Every label that it can produce; the value of a `value` rule is written `...`.
    pub fn labels(&self) -> Vec<String> {
        let name = self.name();
        let mut labels = match &self.asked {
            Asked::Value(_) => vec![format!("{name}:...")],
            _ => self.words().into_iter().map(|word| format!("{name}.{word}")).collect(),
        };
        labels.push(format!("{name}.{INSUFFICIENT}"));
        labels
    }

    /// The words it chooses from; empty for a `value` rule.
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

/// The column name of a rule: dots become underscores.
pub fn column_of(name: &str) -> String {
    name.replace('.', "_")
}
