//! Types of arithmetic: numbers, times and durations.
//!
//! A duration is never mixed with a plain number: it can be added to durations and times, multiplied and divided by
//! numbers, and divided by a duration, which gives a ratio.

use sqlparser::ast::{self, BinaryOperator};

use super::expr::{Arithmetic, Expr, Node, Type};
use super::parse::ALLOWED;
use super::typing::Typer;
use super::wording;

/// An operand: its place and its expression.
type Operand<'a> = (&'a ast::Expr, Expr);

impl Typer<'_> {
    /// `left op right`, where `op` is neither a comparison nor AND or OR.
    pub(super) fn arithmetic(
        &mut self,
        at: &ast::Expr,
        left: &ast::Expr,
        sign: &BinaryOperator,
        right: &ast::Expr,
        depth: usize,
    ) -> Option<Expr> {
        let op = match sign {
            BinaryOperator::Plus => Arithmetic::Add,
            BinaryOperator::Minus => Arithmetic::Subtract,
            BinaryOperator::Multiply => Arithmetic::Multiply,
            BinaryOperator::Divide => Arithmetic::Divide,
            BinaryOperator::Modulo => Arithmetic::Remainder,
            BinaryOperator::BitwiseAnd => Arithmetic::BitAnd,
            BinaryOperator::BitwiseOr => Arithmetic::BitOr,
            _ => {
                let help = wording::of_operator(&sign.to_string()).unwrap_or(ALLOWED);
                let message = format!("`{sign}` is not part of expressions");
                return self.mistake("E0402", at, message, help);
            }
        };
        let (a, b) = (self.expr(left, depth), self.expr(right, depth));
        let (a, b) = (a?, b?);
        let ty = match (op, a.ty, b.ty) {
            (Arithmetic::Subtract, Type::Time, Type::Time) => Some(Type::Duration),
            (Arithmetic::Add | Arithmetic::Subtract, Type::Time, Type::Duration)
            | (Arithmetic::Add, Type::Duration, Type::Time) => Some(Type::Time),
            _ => None,
        };
        if let Some(ty) = ty {
            return Some(combined(op, ty, a, b));
        }
        let (a, b) = ((left, a), (right, b));
        match (op, a.1.is_duration(), b.1.is_duration()) {
            (_, false, false) => self.of_numbers(at, op, sign, a, b),
            (Arithmetic::BitAnd | Arithmetic::BitOr, ..) => {
                self.mistake("E0404", at, format!("`{sign}` needs integers"), "")
            }
            (Arithmetic::Multiply, true, true) => {
                let message = "a duration cannot be multiplied by a duration";
                self.mistake("E0404", at, message, "divide one by the other for their ratio")
            }
            (Arithmetic::Multiply, true, false) => self.multiple(op, a, b),
            (Arithmetic::Multiply, false, true) => self.multiple(op, b, a),
            (Arithmetic::Divide, ..) => {
                let [a, b] = [a, b].map(|(place, expr)| match expr.is_duration() {
                    true => Some(expr),
                    false => self.number(place, expr),
                });
                Some(combined(op, Type::Float, a?.to(Type::Float), b?.to(Type::Float)))
            }
            _ => self.of_durations(op, a, b),
        }
    }

    fn of_numbers(
        &mut self,
        at: &ast::Expr,
        op: Arithmetic,
        sign: &BinaryOperator,
        (left, a): Operand,
        (right, b): Operand,
    ) -> Option<Expr> {
        let (a, b) = (self.number(left, a), self.number(right, b));
        let (a, b) = (a?, b?);
        let ty = match (op, a.ty.common(b.ty)) {
            // As in DuckDB: 7 / 2 is 3.5.
            (Arithmetic::Divide, _) => Type::Float,
            (Arithmetic::BitAnd | Arithmetic::BitOr, _)
                if (a.ty, b.ty) != (Type::Int, Type::Int) =>
            {
                return self.mistake("E0404", at, format!("`{sign}` needs integers"), "");
            }
            (_, Some(ty @ (Type::Int | Type::Float))) => ty,
            _ => {
                let fraction = if a.ty == Type::Decimal { left } else { right };
                return self.decimal(fraction);
            }
        };
        Some(combined(op, ty, a.to(ty), b.to(ty)))
    }

    /// A duration times a number: whole nanoseconds if the number is whole.
    fn multiple(
        &mut self,
        op: Arithmetic,
        (_, duration): Operand,
        (place, number): Operand,
    ) -> Option<Expr> {
        let number = self.number(place, number)?;
        match (duration.ty, number.ty) {
            (_, Type::Decimal) => self.decimal(place),
            (Type::Duration, Type::Int) => Some(combined(op, Type::Duration, duration, number)),
            _ => {
                let [a, b] = [duration, number].map(|expr| expr.to(Type::Float));
                Some(combined(op, Type::Float, a, b))
            }
        }
    }

    /// A sum, a difference or a remainder of durations.
    fn of_durations(
        &mut self,
        op: Arithmetic,
        (left, a): Operand,
        (right, b): Operand,
    ) -> Option<Expr> {
        let mut pair = [(left, Some(a)), (right, Some(b))];
        self.durations(&mut pair)?;
        let [(_, Some(a)), (_, Some(b))] = pair else { return None };
        match a.ty.common(b.ty) {
            Some(ty @ (Type::Duration | Type::Float)) => Some(combined(op, ty, a.to(ty), b.to(ty))),
            _ => {
                let (place, other) = if a.is_duration() { (right, b) } else { (left, a) };
                let message =
                    format!("this is of type {}, but a duration is needed here", other.ty);
                self.mistake("E0404", place, message, "")
            }
        }
    }

    /// Databases compute 1.5 in decimals unless it meets a float: with other results, and errors if there are too few
    /// digits.
    pub(super) fn decimal<T>(&mut self, at: &ast::Expr) -> Option<T> {
        let message = "databases compute this fraction in decimals, not in floats";
        self.mistake("E0404", at, message, &format!("write a float with an exponent: {at}e0"))
    }
}

fn combined(op: Arithmetic, ty: Type, a: Expr, b: Expr) -> Expr {
    Expr::new(ty, Node::Arithmetic(op, Box::new(a), Box::new(b)))
}
