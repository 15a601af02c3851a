//! Warnings: expressions that can be evaluated, but probably do not say what their author means.
//!
//! Each is found where an operator meets its operands, so its place is that comparison.

use arrow_schema::DataType;
use sqlparser::ast;

use super::columns::Known;
use super::expr::{Comparison, Expr, Literal, Node, Type};
use super::typing::Typer;

/// An operand: its place and its expression.
pub(super) type Operand<'a> = (&'a ast::Expr, &'a Expr);

impl Typer<'_> {
    /// Checks a comparison at `at`.
    pub(super) fn compared(&mut self, at: &ast::Expr, op: Comparison, a: Operand, b: Operand) {
        for ((this, expr), (_, with), op) in [(a, b, op), (b, a, op.turned())] {
            if with.is_null_literal() {
                let not = if op == Comparison::NotEq { "NOT " } else { "" };
                let help = match expr.is_never_null() {
                    true => "remove it: this column is never NULL",
                    false => &format!("write {this} IS {not}NULL"),
                };
                let message =
                    format!("nothing is equal to NULL or different from it: {at} is never true");
                return self.warn("W0401", at, message, help);
            }
            let Some(number) = with.number() else { continue };
            // A number without a unit has its own warning.
            if expr.is_duration() && number != 0.0 {
                return;
            }
            if let Some(outcome) = expr.bounds().and_then(|bounds| op.outcome(bounds, number)) {
                return self.one_outcome(at, this, expr, outcome);
            }
        }
    }

    /// Checks the list of an IN.
    pub(super) fn listed(&mut self, (this, expr): Operand, list: &[ast::Expr], typed: &[Expr]) {
        for operand in list.iter().zip(typed) {
            let (at, with) = operand;
            if with.is_null_literal() {
                let message = "nothing is equal to NULL: it never makes IN true, and with it NOT IN is never true";
                self.warn(
                    "W0401",
                    at,
                    message,
                    &format!("leave it out, and test {this} IS NULL separately"),
                );
            } else {
                self.compared_in(at, (this, expr), operand);
            }
        }
    }

    fn compared_in(&mut self, at: &ast::Expr, (this, expr): Operand, (_, with): Operand) {
        let Some(number) = with.number() else { return };
        if expr.is_duration() && number != 0.0 {
            return;
        }
        let outcome = expr.bounds().and_then(|bounds| Comparison::Eq.outcome(bounds, number));
        if outcome == Some(false) {
            let message = format!("{at} is not a value of {this}, which is {}", expr.range());
            self.warn("W0402", at, message, "leave it out, or write the value that is meant");
        }
    }

    /// Checks a BETWEEN.
    pub(super) fn between(
        &mut self,
        at: &ast::Expr,
        (this, expr): Operand,
        low: Operand,
        high: Operand,
    ) {
        for (bound, with) in [low, high] {
            if with.is_null_literal() {
                let message = "nothing is between NULL and anything";
                return self.warn(
                    "W0401",
                    bound,
                    message,
                    "write the bound that is meant as one comparison: <= or >=",
                );
            }
        }
        if expr.is_duration() {
            return;
        }
        let (Some((least, most)), Some(low), Some(high)) =
            (expr.bounds(), low.1.number(), high.1.number())
        else {
            return;
        };
        if high < least || low > most || low > high {
            self.one_outcome(at, this, expr, false);
        } else if low <= least && high >= most {
            self.one_outcome(at, this, expr, true);
        }
    }

    /// Checks a test for NULL.
    pub(super) fn null_tested(&mut self, at: &ast::Expr, expr: &Expr) {
        if expr.is_never_null() {
            let message = match expr.is_observed() {
                true => format!(
                    "{at} is never NULL in a flow that was observed; other flows conclude nothing"
                ),
                false => format!("{at} is never NULL"),
            };
            self.warn(
                "W0402",
                at,
                message,
                "remove the test, or compare the value: FALSE and 0 mean that there was none",
            );
        }
    }

    /// Checks an expression for a label.
    pub(super) fn labelled(&mut self, expr: &Expr) {
        if expr.is_duration() || expr.ty == Type::Time {
            let message = "nearly every record has another number here, and so another label";
            let help = "name ranges with `first_of`, or report the number itself with [[metrics]]";
            let diagnostic =
                self.sql.diagnostic("W0404", self.sql.whole(), message, Some(help.into()));
            self.mistakes.push(diagnostic);
        }
    }

    fn one_outcome(&mut self, at: &ast::Expr, this: &ast::Expr, expr: &Expr, outcome: bool) {
        let range = expr.range();
        let optional = expr.column().is_some_and(|column| column.about.optional);
        let (message, help) = match (outcome, optional) {
            (true, true) => (
                format!(
                    "{at} is true wherever there is a value; where there was none, {this} is NULL and the condition \
                     ends as insufficient"
                ),
                format!("write {this} IS NOT NULL"),
            ),
            (true, false) => (
                format!("{at} is always true: {this} is {range}"),
                "remove it, or compare with another number".to_owned(),
            ),
            (false, _) => (
                format!("{at} is never true: {this} is {range}"),
                "compare with a number that it can be".to_owned(),
            ),
        };
        self.warn("W0402", at, message, &help);
    }

    pub(super) fn warn(
        &mut self,
        code: &'static str,
        at: &ast::Expr,
        message: impl Into<String>,
        help: &str,
    ) {
        let help = (!help.is_empty()).then(|| help.to_owned());
        let warning = self.sql.diagnostic(code, self.sql.of(at), message, help);
        self.mistakes.push(warning);
    }
}

impl Comparison {
    /// The same with its sides exchanged.
    fn turned(self) -> Self {
        match self {
            Comparison::Less => Comparison::Greater,
            Comparison::LessEq => Comparison::GreaterEq,
            Comparison::Greater => Comparison::Less,
            Comparison::GreaterEq => Comparison::LessEq,
            same => same,
        }
    }

    /// The result for every value within bounds, if it is the same for all.
    fn outcome(self, (least, most): (f64, f64), number: f64) -> Option<bool> {
        let (always, never) = match self {
            Comparison::Eq => (least == most && least == number, number < least || number > most),
            Comparison::NotEq => {
                (number < least || number > most, least == most && least == number)
            }
            Comparison::Less => (most < number, least >= number),
            Comparison::LessEq => (most <= number, least > number),
            Comparison::Greater => (least > number, most <= number),
            Comparison::GreaterEq => (least >= number, most < number),
        };
        always.then_some(true).or(never.then_some(false))
    }
}

impl Expr {
    /// The column, converted to another type or not.
    fn column(&self) -> Option<&super::expr::Column> {
        match &self.node {
            Node::Column(column) => Some(column),
            Node::Cast(inner) => inner.column(),
            _ => None,
        }
    }

    fn is_null_literal(&self) -> bool {
        match &self.node {
            Node::Literal(Literal::Null) => true,
            Node::Cast(inner) => inner.is_null_literal(),
            _ => false,
        }
    }

    /// The number as written.
    pub(super) fn number(&self) -> Option<f64> {
        match &self.node {
            Node::Literal(Literal::Int(value)) => Some(*value as f64),
            Node::Literal(Literal::Float(value)) => Some(*value),
            Node::Cast(inner) => inner.number(),
            _ => None,
        }
    }

    /// The smallest and largest value of an integer column, if known.
    fn bounds(&self) -> Option<(f64, f64)> {
        let column = self.column()?;
        let (least, most) = column.about.bounds.or(match column.stored {
            DataType::UInt8 => Some((0, u8::MAX.into())),
            DataType::UInt16 => Some((0, u16::MAX.into())),
            DataType::UInt32 => Some((0, u32::MAX.into())),
            DataType::UInt64 => Some((0, i64::MAX)),
            _ => None,
        })?;
        Some((least as f64, most as f64))
    }

    /// Its bounds in words.
    fn range(&self) -> String {
        match self.bounds() {
            Some((least, most)) if most < f64::from(u32::MAX) => format!("from {least} to {most}"),
            Some((least, _)) => format!("{least} or more"),
            None => "any number".to_owned(),
        }
    }

    /// Whether it is a column with a value in every record in which it is known.
    fn is_never_null(&self) -> bool {
        self.column().is_some_and(|column| !column.about.optional)
    }

    fn is_observed(&self) -> bool {
        self.column().is_some_and(|column| column.about.known == Known::Added)
    }

    /// How to make a condition from a value that is not boolean: `text` is the expression as written.
    pub(super) fn comparison_to_write(&self, text: &str) -> String {
        let text = text.trim();
        match self.ty {
            _ if self.is_duration() => format!("compare it with a duration: {text} > '100ms'"),
            Type::Int | Type::Decimal | Type::Float if self.is_never_null() => {
                format!("compare it with the number that is meant, such as: {text} > 0")
            }
            Type::Text if self.is_never_null() => {
                format!("compare it with the word that is meant, such as: {text} = 'ok'")
            }
            Type::Int | Type::Decimal | Type::Float | Type::Text if self.column().is_some() => {
                format!("compare it with the value that is meant, or write {text} IS NOT NULL")
            }
            _ => "write a comparison, or a boolean column such as one.ok".to_owned(),
        }
    }
}
