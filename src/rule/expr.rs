//! Typed expressions.

use std::fmt;

use arrow_schema::DataType;

use super::columns::About;

/// The types of expressions. Every integer column is widened to the one integer type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// The literal NULL, which fits every type.
    Null,
    Bool,
    Int,
    /// A literal such as 1.5. Databases compute it in decimals until it meets a float.
    Decimal,
    Float,
    Text,
    /// Nanoseconds since 1970 in UTC.
    Time,
    /// Nanoseconds.
    Duration,
}

impl Type {
    /// The expression type of a record's column, if expressions can use it.
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Null => Type::Null,
            DataType::Boolean => Type::Bool,
            t if t.is_integer() => Type::Int,
            t if t.is_floating() => Type::Float,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Type::Text,
            DataType::Timestamp(..) => Type::Time,
            DataType::Dictionary(_, words) => return Self::of(words),
            _ => return None,
        })
    }

    /// The Arrow type in which its values are computed.
    pub(super) fn arrow(self) -> DataType {
        match self {
            // An untyped NULL is computed as a boolean that is always NULL.
            Type::Null | Type::Bool => DataType::Boolean,
            Type::Int | Type::Time | Type::Duration => DataType::Int64,
            Type::Decimal | Type::Float => DataType::Float64,
            Type::Text => DataType::Utf8,
        }
    }

    /// The type to which values of both can be converted.
    pub(super) fn common(self, other: Self) -> Option<Self> {
        match (self, other) {
            (a, b) if a == b => Some(a),
            (Type::Null, t) | (t, Type::Null) => Some(t),
            (Type::Int | Type::Decimal, Type::Float) | (Type::Float, Type::Int | Type::Decimal) => {
                Some(Type::Float)
            }
            // Of the same unit: see `durations`.
            (Type::Duration, Type::Float) | (Type::Float, Type::Duration) => Some(Type::Float),
            _ => None,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Null => "NULL",
            Type::Bool => "boolean",
            Type::Int => "integer",
            Type::Decimal => "decimal",
            Type::Float => "float",
            Type::Text => "text",
            Type::Time => "timestamp",
            Type::Duration => "duration",
        })
    }
}

/// A column of a record: `one.tcp_connected`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    /// The struct: `target`, or a configuration.
    pub(super) table: String,
    /// The field of the struct.
    pub(super) name: String,
    /// The stored type.
    pub(super) stored: DataType,
    /// What is known of it besides its type.
    pub(super) about: About,
    /// Whether the records have flags, which mark where packets may have been missed.
    pub(super) has_flags: bool,
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.name)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    /// Nanoseconds since 1970.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comparison {
    Eq,
    NotEq,
    Less,
    LessEq,
    Greater,
    GreaterEq,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
    BitAnd,
    BitOr,
}

/// An expression with its type. Combined operands have a common type.
#[derive(Debug, Clone)]
pub(super) struct Expr {
    pub(super) ty: Type,
    pub(super) node: Node,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    Column(Column),
    Literal(Literal),
    /// The operand converted to this expression's type.
    Cast(Box<Expr>),
    Not(Box<Expr>),
    And(Box<Expr>, Box<Expr>),
    Or(Box<Expr>, Box<Expr>),
    Compare(Comparison, Box<Expr>, Box<Expr>),
    Arithmetic(Arithmetic, Box<Expr>, Box<Expr>),
    Negate(Box<Expr>),
    IsNull(Box<Expr>),
    /// IS TRUE, IS FALSE.
    Is(bool, Box<Expr>),
    In(Box<Expr>, Vec<Expr>),
    Between(Box<Expr>, Box<Expr>, Box<Expr>),
    Case(Case),
    Coalesce(Vec<Expr>),
}

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) branches: Vec<(Expr, Expr)>,
    pub(super) otherwise: Option<Box<Expr>>,
}

impl Expr {
    pub(super) fn new(ty: Type, node: Node) -> Self {
        Self { ty, node }
    }

    /// Converts this expression to a type, which must be a common one.
    pub(super) fn to(self, ty: Type) -> Self {
        match (self.ty, ty) {
            (from, to) if from == to => self,
            // The same numbers: only databases distinguish them.
            (Type::Decimal, Type::Float) | (Type::Int, Type::Duration) => Self::new(ty, self.node),
            _ => Self::new(ty, Node::Cast(Box::new(self))),
        }
    }

    /// The columns it uses, each once: first those whose NULL makes the whole expression NULL, in order of
    /// appearance; then those inside IS, CASE and COALESCE, which handle NULL.
    pub(super) fn columns(&self) -> Vec<Column> {
        let (mut bare, mut guarded) = (Vec::new(), Vec::new());
        self.collect(false, &mut bare, &mut guarded);
        let mut all: Vec<Column> = Vec::new();
        for column in bare.into_iter().chain(guarded) {
            if !all.contains(column) {
                all.push(column.clone());
            }
        }
        all
    }

    fn collect<'a>(
        &'a self,
        guard: bool,
        bare: &mut Vec<&'a Column>,
        guarded: &mut Vec<&'a Column>,
    ) {
        let mut each = |expr: &'a Expr, guard| expr.collect(guard, bare, guarded);
        match &self.node {
            Node::Column(column) if guard => guarded.push(column),
            Node::Column(column) => bare.push(column),
            Node::Literal(_) => {}
            Node::Cast(a) | Node::Not(a) | Node::Negate(a) => each(a, guard),
            Node::IsNull(a) | Node::Is(_, a) => each(a, true),
            Node::And(a, b) | Node::Or(a, b) => {
                each(a, guard);
                each(b, guard);
            }
            Node::Compare(_, a, b) | Node::Arithmetic(_, a, b) => {
                each(a, guard);
                each(b, guard);
            }
            Node::Between(a, b, c) => [a, b, c].into_iter().for_each(|e| each(e, guard)),
            Node::In(a, list) => {
                each(a, guard);
                list.iter().for_each(|e| each(e, guard));
            }
            Node::Case(case) => {
                for (when, then) in &case.branches {
                    each(when, true);
                    each(then, true);
                }
                case.otherwise.iter().for_each(|e| each(e, true));
            }
            Node::Coalesce(list) => list.iter().for_each(|e| each(e, true)),
        }
    }
}
