//! Expressions over the headers of one packet: the same language as that of conditions, with packet fields for columns.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema};

use super::columns::{About, Columns};
use super::expr::{Arithmetic, Comparison, Expr, Literal, Node, Type};
use super::parse::Sql;
use super::typing::Typer;
use crate::chain::own::{
    AT_LEAST, AT_MOST, EQUAL, Kind, Of, Operator, PACKET_FIELDS, Program, Value, packet_field,
};
use crate::error::Diagnostic;

struct NoOthers;

impl Columns for NoOthers {
    fn elsewhere(&self, _: &str) -> Option<String> {
        None
    }

    fn about(&self, _: &str) -> About {
        About::ALWAYS
    }
}

/// The headers as structs, so that a field has the form of a column.
fn schema() -> Schema {
    let mut headers: Vec<(&str, Vec<Arc<Field>>)> = Vec::new();
    for field in PACKET_FIELDS {
        let data_type = match field.kind {
            Kind::Truth => DataType::Boolean,
            Kind::Number => DataType::Int64,
        };
        let column = Arc::new(Field::new(field.name, data_type, true));
        match headers.iter_mut().find(|(header, _)| *header == field.header) {
            Some((_, fields)) => fields.push(column),
            None => headers.push((field.header, vec![column])),
        }
    }
    let structs = headers
        .into_iter()
        .map(|(header, fields)| Field::new(header, DataType::Struct(Fields::from(fields)), false));
    Schema::new(structs.collect::<Vec<_>>())
}

/// Compiles an expression that says which packets count. Its mistakes are added to `mistakes`.
pub fn packet_condition(sql: &Sql, mistakes: &mut Vec<Diagnostic>) -> Option<Program> {
    let schema = schema();
    let expr =
        Typer { schema: &schema, one: None, columns: &NoOthers, sql, mistakes }.condition()?;
    if expr.is_never_true() {
        let help = "remove it, or let it look at a field such as tcp.window".to_owned();
        let message = "this is never true for any packet";
        mistakes.push(sql.diagnostic("E0407", sql.whole(), message, Some(help)));
        return None;
    }
    compiled(&expr, sql, mistakes)
}

/// Compiles an expression whose value is taken of each packet, with its type.
pub fn packet_value(sql: &Sql, mistakes: &mut Vec<Diagnostic>) -> Option<(Program, Of)> {
    let schema = schema();
    let expr = Typer { schema: &schema, one: None, columns: &NoOthers, sql, mistakes }.whole()?;
    let of = match expr.ty {
        Type::Bool => Of::Truth,
        Type::Int => Of::Int,
        Type::Float | Type::Decimal => Of::Float,
        ty => {
            let message = format!("this is of type {ty}, but a boolean or a number is needed here");
            let help = Some("write a field such as tcp.window".to_owned());
            mistakes.push(sql.diagnostic("E0404", sql.whole(), message, help));
            return None;
        }
    };
    compiled(&expr, sql, mistakes).map(|program| (program, of))
}

fn compiled(expr: &Expr, sql: &Sql, mistakes: &mut Vec<Diagnostic>) -> Option<Program> {
    let program = program(expr);
    if program.is_none() {
        let message = "packets have no text, times or durations";
        let help = Some("see `pathspider list packet-fields`".to_owned());
        mistakes.push(sql.diagnostic("E0404", sql.whole(), message, help));
    }
    program
}

/// The program of a typed expression; `None` if it has a text, a time or a duration.
fn program(expr: &Expr) -> Option<Program> {
    let boxed = |expr: &Expr| program(expr).map(Box::new);
    let list = |list: &[Expr]| list.iter().map(program).collect::<Option<Vec<_>>>();
    Some(match &expr.node {
        Node::Column(column) => Program::Field(packet_field(&column.table, &column.name)?),
        Node::Literal(literal) => Program::Constant(match literal {
            Literal::Null => Value::Null,
            Literal::Bool(value) => Value::Truth(*value),
            Literal::Int(value) if expr.ty == Type::Int => Value::Int(*value),
            Literal::Float(value) => Value::Float(*value),
            Literal::Int(_) | Literal::Text(_) | Literal::Time(_) | Literal::Duration(_) => {
                return None;
            }
        }),
        Node::Cast(a) if a.ty == Type::Null => Program::Constant(Value::Null),
        Node::Cast(a) => Program::Float(boxed(a)?),
        Node::Not(a) => Program::Not(boxed(a)?),
        Node::And(a, b) => Program::And(boxed(a)?, boxed(b)?),
        Node::Or(a, b) => Program::Or(boxed(a)?, boxed(b)?),
        Node::Compare(op, a, b) => {
            let orders = match op {
                Comparison::Eq => EQUAL,
                Comparison::NotEq => [true, false, true],
                Comparison::Less => [true, false, false],
                Comparison::LessEq => AT_MOST,
                Comparison::Greater => [false, false, true],
                Comparison::GreaterEq => AT_LEAST,
            };
            Program::Compare(orders, boxed(a)?, boxed(b)?)
        }
        Node::Arithmetic(op, a, b) => {
            let op = match op {
                Arithmetic::Add => Operator::Add,
                Arithmetic::Subtract => Operator::Subtract,
                Arithmetic::Multiply => Operator::Multiply,
                Arithmetic::Divide => Operator::Divide,
                Arithmetic::Remainder => Operator::Remainder,
                Arithmetic::BitAnd => Operator::BitAnd,
                Arithmetic::BitOr => Operator::BitOr,
            };
            Program::Arithmetic(op, boxed(a)?, boxed(b)?)
        }
        Node::Negate(a) => {
            let zero = match a.ty {
                Type::Int => Value::Int(0),
                _ => Value::Float(-0.0),
            };
            Program::Arithmetic(Operator::Subtract, Box::new(Program::Constant(zero)), boxed(a)?)
        }
        Node::IsNull(a) => Program::IsNull(boxed(a)?),
        Node::Is(truth, a) => Program::Is(*truth, boxed(a)?),
        Node::In(a, items) => Program::In(boxed(a)?, list(items)?),
        Node::Between(a, low, high) => Program::And(
            Box::new(Program::Compare(AT_LEAST, boxed(a)?, boxed(low)?)),
            Box::new(Program::Compare(AT_MOST, boxed(a)?, boxed(high)?)),
        ),
        Node::Case(case) => {
            let branches = case.branches.iter();
            let branches = branches.map(|(when, then)| Some((program(when)?, program(then)?)));
            let otherwise = match &case.otherwise {
                Some(otherwise) => boxed(otherwise)?,
                None => Box::new(Program::Constant(Value::Null)),
            };
            Program::Case(branches.collect::<Option<_>>()?, otherwise)
        }
        Node::Coalesce(items) => Program::Coalesce(list(items)?),
    })
}
