//! Durations: columns of nanoseconds, differences of times, and what may be combined with them.
//!
//! A duration meets durations, among them texts such as `'100ms'`. A number without a unit counts as nanoseconds,
//! with a warning. A column that is another number does not fit at all.

use sqlparser::ast;

use super::expr::{Arithmetic, Expr, Literal, Node, Type};
use super::literal;
use super::typing::Typer;

/// From here (10 microseconds) ...
const LEAST: f64 = 1e4;
/// ... to here (an hour), a number of nanoseconds is a plausible time between a packet and its answer.
const MOST: f64 = 3.6e12;

impl Typer<'_> {
    /// If one of these expressions is a duration: makes durations of the texts and numbers among the others.
    pub(super) fn durations(&mut self, typed: &mut [(&ast::Expr, Option<Expr>)]) -> Option<()> {
        let is_duration = |expr: &Option<Expr>| expr.as_ref().is_some_and(Expr::is_duration);
        let Some((duration, _)) = typed.iter().find(|(_, expr)| is_duration(expr)) else {
            return Some(());
        };
        let duration = *duration;
        for (at, expr) in typed {
            if let Some(given) = expr.take() {
                *expr = Some(self.as_duration(duration, at, given)?);
            }
        }
        Some(())
    }

    /// What stands next to `duration`, as a duration.
    fn as_duration(&mut self, duration: &ast::Expr, at: &ast::Expr, given: Expr) -> Option<Expr> {
        match (given.ty, &given.node) {
            _ if given.is_duration() => Some(given),
            (Type::Text, Node::Literal(Literal::Text(text))) => {
                match literal::duration(text, None) {
                    Ok(value) => {
                        Some(Expr::new(Type::Duration, Node::Literal(Literal::Duration(value))))
                    }
                    Err((message, help)) => self.mistake("E0404", at, message, help),
                }
            }
            (Type::Decimal, node) => {
                let help = match node {
                    Node::Literal(Literal::Float(value)) => with_unit(*value),
                    _ => String::new(),
                };
                let message = format!("{duration} is a duration, and {at} has no unit");
                self.mistake("E0404", at, message, &help)
            }
            (Type::Int | Type::Float, _) if given.columns().is_empty() => {
                self.without_unit(duration, at, &given);
                Some(if given.ty == Type::Int { given.to(Type::Duration) } else { given })
            }
            (Type::Int | Type::Float, _) => {
                let message =
                    format!("{duration} is a duration, and {at} is a number without a unit");
                let help = format!("multiply it by its unit: ({at}) * INTERVAL '1 millisecond'");
                self.mistake("E0404", at, message, &help)
            }
            // Whoever combines them finds that the types differ.
            _ => Some(given),
        }
    }

    fn without_unit(&mut self, duration: &ast::Expr, at: &ast::Expr, given: &Expr) {
        match given.number() {
            Some(0.0) => {}
            Some(number) if !(LEAST..=MOST).contains(&number.abs()) => {
                let message = format!(
                    "{duration} is in nanoseconds, and {at} ns is not a plausible time between packets"
                );
                self.warn("W0403", at, message, &with_unit(number));
            }
            number => {
                let message = format!(
                    "{duration} is a duration, and {at} has no unit: it counts as nanoseconds"
                );
                let help = match number.and_then(in_units) {
                    Some(text) => format!("write '{text}'"),
                    None => "write a duration with its unit, such as '100ms'".to_owned(),
                };
                self.warn("W0403", at, message, &help);
            }
        }
    }
}

/// The hint for a number that was meant in another unit.
fn with_unit(number: f64) -> String {
    let size = number.abs();
    if size > MOST {
        "write the unit: an hour is '1h', a second '1s'".to_owned()
    } else if size < 1.0 || size.fract() != 0.0 {
        let meant = in_units((number * 1e9).round()).unwrap_or_else(|| format!("{number}s"));
        format!("write '{meant}' if {number} seconds are meant")
    } else {
        format!("write '{number}ms' if milliseconds are meant, or '{number}s' for seconds")
    }
}

/// Whole nanoseconds in the largest unit of which they are a whole number: `100ms`. `None` if they are no whole number
/// of microseconds, to which databases round.
fn in_units(nanoseconds: f64) -> Option<String> {
    let units = [(1e9, "s"), (1e6, "ms"), (1e3, "us")];
    let (length, unit) = units.into_iter().find(|(length, _)| nanoseconds % length == 0.0)?;
    Some(format!("{}{unit}", nanoseconds / length))
}

impl Expr {
    /// Whether it is an amount of time: a duration, or a float computed from durations in the same unit.
    pub(super) fn is_duration(&self) -> bool {
        match (&self.node, self.ty) {
            (_, Type::Duration) => true,
            (Node::Cast(a) | Node::Negate(a), Type::Float) => a.is_duration(),
            (Node::Arithmetic(op, a, b), Type::Float) => {
                let (a, b) = (a.is_duration(), b.is_duration());
                match op {
                    Arithmetic::Multiply => a != b,
                    Arithmetic::Divide => a && !b,
                    _ => a || b,
                }
            }
            (Node::Case(case), Type::Float) => {
                let thens = case.branches.iter().map(|(_, then)| then);
                thens.chain(case.otherwise.as_deref()).any(Expr::is_duration)
            }
            (Node::Coalesce(list), Type::Float) => list.iter().any(Expr::is_duration),
            _ => false,
        }
    }
}
