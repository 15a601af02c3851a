//! Rules: how the facts of a record become conditions.
//!
//! A rule is written as SQL expressions over the record's own columns (`zero.x`, `one.x`,
//! `target.x`), is type-checked against the record's schema before a run, and is evaluated a
//! batch at a time in SQL's three-valued logic: the same text pasted into DuckDB over the stored
//! records gives the same answer.
//!
//! Three things come out of a rule, never two: a label; *not applicable*; or *insufficient*, with
//! the reason, when a fact that it needs is unknown. What is unknown is never taken for false.
//!
//! Imports [`error`](crate::error) only.

mod eval;
mod expr;
mod judge;
mod never;
mod parse;
mod typing;

use std::collections::HashSet;

use arrow::datatypes::Schema;

pub use parse::Sql;
pub use typing::Elsewhere;

use crate::error::Diagnostic;
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

/// A rule as a file has it.
#[derive(Debug, Clone)]
pub struct RuleSource {
    /// Its name, `ecn.negotiation`.
    pub name: String,
    /// When it applies: always, if there is none.
    pub given: Option<Sql>,
    /// What it asks.
    pub question: Question<Sql>,
    /// The two configurations that `compare` compares; without, zero and one.
    pub between: Option<[&'static str; 2]>,
}

/// What a rule asks, with expressions of type `E`.
#[derive(Debug, Clone)]
pub enum Question<E> {
    /// Of a boolean column, under zero and under one: [`COMPARED`].
    Compare(E),
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

/// A compiled expression beside its text.
#[derive(Debug, Clone)]
struct Compiled {
    text: String,
    expr: Expr,
}

/// A rule that has been checked.
#[derive(Debug, Clone)]
pub struct Rule {
    name: String,
    given: Option<Compiled>,
    question: Question<Compiled>,
    /// For `compare`: the column under zero. The question has the one under one.
    baseline: Option<Compiled>,
}

/// All rules of a measurement.
#[derive(Debug, Clone, Default)]
pub struct Rules(Vec<Rule>);

/// The configurations that a rule may refer to.
const CONFIGURATIONS: [&str; 8] = ["zero", "one", "two", "three", "four", "five", "six", "seven"];

impl Rules {
    /// Checks rules against the schema of a record (structs `target`, `zero`, `one`). Returns
    /// those that are right, and every mistake. `elsewhere` says, for a column that the record
    /// lacks, what to add to have it.
    pub fn compile(
        sources: &[RuleSource],
        schema: &Schema,
        elsewhere: Elsewhere<'_>,
    ) -> (Self, Vec<Diagnostic>) {
        let mut mistakes = Vec::new();
        let mut rules = Vec::new();
        for source in sources {
            let mut compiler = Compiler { schema, elsewhere, mistakes: &mut mistakes };
            rules.extend(compiler.rule(source));
        }
        (Self(rules), mistakes)
    }

    /// The rules, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }
}

struct Compiler<'a> {
    schema: &'a Schema,
    elsewhere: Elsewhere<'a>,
    mistakes: &'a mut Vec<Diagnostic>,
}

impl Compiler<'_> {
    fn typer<'b>(&'b mut self, sql: &'b Sql) -> Typer<'b> {
        Typer { schema: self.schema, elsewhere: self.elsewhere, sql, mistakes: self.mistakes }
    }

    fn condition(&mut self, sql: &Sql) -> Option<Compiled> {
        let expr = self.typer(sql).condition()?;
        if expr.is_never_true() {
            let help = "remove it, or let it look at a column such as one.ok";
            let message = "this is never true, whatever a record says";
            self.mistakes.push(sql.diagnostic("E0407", sql.whole(), message, Some(help.into())));
        }
        Some(Compiled { text: sql.text.clone(), expr })
    }

    /// Everything is looked at before the first mistake ends it, so that all are reported.
    fn rule(&mut self, source: &RuleSource) -> Option<Rule> {
        let given = source.given.as_ref().map(|sql| self.condition(sql));
        let mut baseline = None;
        let question = match &source.question {
            Question::Compare(column) => {
                let [zero, one, ..] = CONFIGURATIONS;
                let pair = self.compared(column, source.between.unwrap_or([zero, one]));
                let (zero, one) = pair?;
                baseline = Some(zero);
                Some(Question::Compare(one))
            }
            Question::Value(sql) => {
                let expr = self.typer(sql).whole();
                expr.map(|expr| Question::Value(Compiled { text: sql.text.clone(), expr }))
            }
            Question::FirstOf(choices) => {
                let choices = choices.iter().map(|choice| {
                    let when = choice.when.as_ref().map(|sql| self.condition(sql));
                    (choice.is.clone(), when)
                });
                let choices: Vec<_> = choices.collect();
                let choices = choices.into_iter().map(|(is, when)| match when {
                    None => Some(Choice { is, when: None }),
                    Some(when) => Some(Choice { is, when: Some(when?) }),
                });
                choices.collect::<Option<_>>().map(Question::FirstOf)
            }
        };
        let given = match given {
            None => None,
            Some(given) => Some(given?),
        };
        Some(Rule { name: source.name.clone(), given, question: question?, baseline })
    }

    /// The column under both configurations.
    fn compared(&mut self, column: &Sql, between: [&str; 2]) -> Option<(Compiled, Compiled)> {
        let name = column.text.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let message = "`compare` takes the name of one boolean column";
            let help = Some("write compare = \"ok\"; it is looked up in zero and in one".into());
            self.mistakes.push(column.diagnostic("E0403", column.span.clone(), message, help));
            return None;
        }
        let mut pair = Vec::new();
        for table in between {
            let sql =
                Sql { text: format!("{table}.{name}"), span: column.span.clone(), start: None };
            let before = self.mistakes.len();
            pair.push(self.condition(&sql));
            // The same mistake in both is one mistake, and the column is written without its table.
            for mistake in &mut self.mistakes[before..] {
                let prefix = format!("{table}.");
                mistake.message = mistake.message.replace(&prefix, "");
                mistake.help =
                    mistake.help.take().map(|help| help.replace(&prefix, "").replace("one.", ""));
            }
            if self.mistakes.len() > before {
                return None;
            }
        }
        let one = pair.pop()??;
        Some((pair.pop()??, one))
    }
}

impl Rule {
    /// Its name: every label begins with it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its column in the structs `verdict` and `insufficient`.
    pub fn column(&self) -> String {
        column_of(&self.name)
    }

    /// Every label that it can give; the value of a `value` rule is written `...`.
    pub fn labels(&self) -> Vec<String> {
        let mut labels: Vec<String> = match &self.question {
            Question::Compare(_) => {
                COMPARED.iter().map(|(word, _)| format!("{}.{word}", self.name)).collect()
            }
            Question::FirstOf(choices) => {
                choices.iter().map(|c| format!("{}.{}", self.name, c.is)).collect()
            }
            Question::Value(_) => vec![format!("{}:...", self.name)],
        };
        labels.push(format!("{}.{INSUFFICIENT}", self.name));
        labels
    }

    /// Its verdict as one SQL expression over the stored records, for pasting into a database:
    /// NULL stands for not applicable as well as for insufficient, and local errors are not looked at.
    pub fn sql(&self) -> String {
        let verdict = match (&self.question, &self.baseline) {
            (Question::Compare(one), zero) => {
                let zero = zero.as_ref().map_or("NULL", |zero| zero.text.as_str());
                let one = &one.text;
                format!(
                    "CASE WHEN {zero} AND {one} THEN 'works' WHEN {zero} AND NOT {one} THEN 'broken' \
                     WHEN NOT {zero} AND {one} THEN 'transient' WHEN NOT {zero} AND NOT {one} THEN 'offline' END"
                )
            }
            (Question::Value(value), _) => pasted(&value.text),
            (Question::FirstOf(choices), _) => {
                let mut sql = "CASE".to_owned();
                for choice in choices {
                    match &choice.when {
                        // An unknown answer is not passed over.
                        Some(when) => {
                            let text = pasted(&when.text);
                            sql += &format!(
                                " WHEN ({text}) IS NULL THEN NULL WHEN {text} THEN '{}'",
                                choice.is
                            );
                        }
                        None if sql == "CASE" => return format!("'{}'", choice.is),
                        None => sql += &format!(" ELSE '{}'", choice.is),
                    }
                }
                sql + " END"
            }
        };
        match &self.given {
            Some(given) => format!("CASE WHEN {} THEN {verdict} END", pasted(&given.text)),
            None => verdict,
        }
    }

    fn expressions(&self) -> impl Iterator<Item = &Expr> {
        let choices = match &self.question {
            Question::Compare(e) | Question::Value(e) => vec![e],
            Question::FirstOf(choices) => choices.iter().filter_map(|c| c.when.as_ref()).collect(),
        };
        self.given.iter().chain(&self.baseline).chain(choices).map(|compiled| &compiled.expr)
    }

    /// The configurations that it refers to, in order.
    fn configurations(&self) -> Vec<&'static str> {
        let tables: HashSet<String> =
            self.expressions().flat_map(Expr::columns).map(|column| column.table).collect();
        CONFIGURATIONS.into_iter().filter(|name| tables.contains(*name)).collect()
    }
}

/// An expression as a part of a longer one: a remark at its end must not swallow what follows.
fn pasted(text: &str) -> String {
    let text = text.trim();
    if text.contains("--") { format!("{text}\n") } else { text.to_owned() }
}

/// The name of a rule as a column: dots become underscores.
pub fn column_of(name: &str) -> String {
    name.replace('.', "_")
}
