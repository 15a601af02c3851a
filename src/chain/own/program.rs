//! Typed expressions over the fields of one packet, evaluated in SQL's three-valued logic with a fourth value: what was
//! not captured is unknown, and everything that depends on it.

use std::cmp::Ordering;

use super::fields::PacketField;
use super::value::Value;
use crate::packet::Packet;

/// An operator on two numbers of the same type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `+`; NULL on overflow, as the others.
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`, of floats.
    Divide,
    /// `%`
    Remainder,
    /// `&`
    BitAnd,
    /// `|`
    BitOr,
}

/// Which orders make a comparison true: less, equal, greater.
pub type Orders = [bool; 3];

/// A compiled expression.
#[derive(Debug, Clone, PartialEq)]
pub enum Program {
    /// A constant.
    Constant(Value),
    /// A field of the packet.
    Field(&'static PacketField),
    /// The operand as a float.
    Float(Box<Program>),
    /// NOT.
    Not(Box<Program>),
    /// AND.
    And(Box<Program>, Box<Program>),
    /// OR.
    Or(Box<Program>, Box<Program>),
    /// A comparison of values of the same type.
    Compare(Orders, Box<Program>, Box<Program>),
    /// Arithmetic.
    Arithmetic(Operator, Box<Program>, Box<Program>),
    /// IS NULL.
    IsNull(Box<Program>),
    /// IS TRUE, IS FALSE.
    Is(bool, Box<Program>),
    /// IN.
    In(Box<Program>, Vec<Program>),
    /// CASE: the conditions with their results, and the result otherwise.
    Case(Vec<(Program, Program)>, Box<Program>),
    /// COALESCE.
    Coalesce(Vec<Program>),
}

/// Equal.
pub const EQUAL: Orders = [false, true, false];
/// Less or equal.
pub const AT_MOST: Orders = [true, true, false];
/// Greater or equal.
pub const AT_LEAST: Orders = [false, true, true];

impl Program {
    /// Its value for a packet.
    pub fn evaluate(&self, packet: &Packet<'_>) -> Value {
        match self {
            Self::Constant(value) => *value,
            Self::Field(field) => (field.read)(packet),
            Self::Float(a) => match a.evaluate(packet) {
                Value::Int(value) => Value::Float(value as f64),
                other => other,
            },
            Self::Not(a) => match a.evaluate(packet) {
                Value::Truth(value) => Value::Truth(!value),
                other => other,
            },
            Self::And(a, b) => match a.evaluate(packet) {
                Value::Truth(false) => Value::Truth(false),
                a => both(a, b.evaluate(packet), false),
            },
            Self::Or(a, b) => match a.evaluate(packet) {
                Value::Truth(true) => Value::Truth(true),
                a => both(a, b.evaluate(packet), true),
            },
            Self::Compare(orders, a, b) => compare(*orders, a.evaluate(packet), b.evaluate(packet)),
            Self::Arithmetic(op, a, b) => arithmetic(*op, a.evaluate(packet), b.evaluate(packet)),
            Self::IsNull(a) => match a.evaluate(packet) {
                Value::Unknown => Value::Unknown,
                value => Value::Truth(value == Value::Null),
            },
            Self::Is(truth, a) => match a.evaluate(packet) {
                Value::Unknown => Value::Unknown,
                value => Value::Truth(value == Value::Truth(*truth)),
            },
            Self::In(a, list) => {
                let a = a.evaluate(packet);
                list.iter().fold(Value::Truth(false), |found, item| {
                    both(found, compare(EQUAL, a, item.evaluate(packet)), true)
                })
            }
            Self::Case(branches, otherwise) => {
                for (when, then) in branches {
                    match when.evaluate(packet) {
                        Value::Truth(true) => return then.evaluate(packet),
                        Value::Unknown => return Value::Unknown,
                        _ => {}
                    }
                }
                otherwise.evaluate(packet)
            }
            Self::Coalesce(list) => {
                let mut values = list.iter().map(|item| item.evaluate(packet));
                values.find(|value| *value != Value::Null).unwrap_or(Value::Null)
            }
        }
    }
}

/// AND, which FALSE decides, or OR, which TRUE decides.
fn both(a: Value, b: Value, decides: bool) -> Value {
    match (a, b) {
        (Value::Truth(value), _) | (_, Value::Truth(value)) if value == decides => {
            Value::Truth(decides)
        }
        (Value::Unknown, _) | (_, Value::Unknown) => Value::Unknown,
        (Value::Null, _) | (_, Value::Null) => Value::Null,
        _ => Value::Truth(!decides),
    }
}

fn compare(orders: Orders, a: Value, b: Value) -> Value {
    let order = match (a, b) {
        (Value::Unknown, _) | (_, Value::Unknown) => return Value::Unknown,
        (Value::Int(a), Value::Int(b)) => a.cmp(&b),
        (Value::Truth(a), Value::Truth(b)) => a.cmp(&b),
        (Value::Float(a), Value::Float(b)) => order(a, b),
        _ => return Value::Null,
    };
    let [less, equal, greater] = orders;
    Value::Truth(match order {
        Ordering::Less => less,
        Ordering::Equal => equal,
        Ordering::Greater => greater,
    })
}

/// In SQL, NaN is equal to itself and larger than every number.
pub(super) fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

fn arithmetic(op: Operator, a: Value, b: Value) -> Value {
    match (a, b) {
        (Value::Unknown, _) | (_, Value::Unknown) => Value::Unknown,
        (Value::Int(a), Value::Int(b)) => {
            let value = match op {
                Operator::Add => a.checked_add(b),
                Operator::Subtract => a.checked_sub(b),
                Operator::Multiply => a.checked_mul(b),
                Operator::Divide => a.checked_div(b),
                Operator::Remainder if b == -1 => Some(0),
                Operator::Remainder => a.checked_rem(b),
                Operator::BitAnd => Some(a & b),
                Operator::BitOr => Some(a | b),
            };
            value.map_or(Value::Null, Value::Int)
        }
        (Value::Float(a), Value::Float(b)) => match op {
            Operator::Add => Value::Float(a + b),
            Operator::Subtract => Value::Float(a - b),
            Operator::Multiply => Value::Float(a * b),
            Operator::Divide => Value::Float(a / b),
            Operator::Remainder => Value::Float(a % b),
            Operator::BitAnd | Operator::BitOr => Value::Null,
        },
        _ => Value::Null,
    }
}
