//! Writes a rule as SQL: one expression that gives its verdict, for pasting into DuckDB.
//!
//! It is generated from the typed tree, not from the text of the file, so that it states what databases would
//! otherwise decide themselves: integers have 64 bits, fractions are floats, times are nanoseconds since 1970 (DuckDB
//! cannot subtract its times of nanoseconds), and what cannot be computed is NULL instead of an error that ends the
//! query.

use arrow_schema::DataType;

use super::confirm::{CONFIRM, CONFIRMED, needs_confirmation};
use super::expr::{Arithmetic, Case, Comparison, Expr, Literal, Node, Type};
use super::quote::{identifier, quoted};
use super::{Asked, COMPARED, INSUFFICIENT, ONLINE, Rule};

/// Operator precedence.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Or,
    And,
    Operator,
    Atom,
}

impl Rule {
    /// Its verdict as one SQL expression over the stored records: equal to its column of the struct `verdict`, with
    /// `insufficient` where facts are missing and NULL where it does not apply.
    pub fn sql(&self) -> String {
        let mut whens: Vec<(String, String)> = Vec::new();
        let local: Vec<String> = self
            .configurations
            .iter()
            .map(|name| format!("{}.state = 'local_error'", identifier(name)))
            .collect();
        if !local.is_empty() {
            whens.push((local.join(" OR "), quoted(INSUFFICIENT)));
        }
        if let Some(given) = &self.given {
            whens.push((is_null(given), quoted(INSUFFICIENT)));
            whens.push((format!("NOT {}", at_least(given, Level::Atom)), "NULL".into()));
        }
        let mut otherwise = None;
        match &self.asked {
            Asked::Compare { zero, one } => {
                let unknown = format!("{} OR {}", is_null(&zero.truth), is_null(&one.truth));
                whens.push((unknown, quoted(INSUFFICIENT)));
                let [works, broken, transient, offline] = COMPARED.map(|(word, _)| self.word(word));
                whens.extend(
                    Self::compare_sql(zero, one).into_iter().zip([works, broken, transient]),
                );
                otherwise = Some(offline);
            }
            Asked::Online(side) => {
                let [online, offline] = ONLINE.map(|(word, _)| quoted(word));
                whens.push((is_null(&side.truth), quoted(INSUFFICIENT)));
                whens.push((side.answered_sql(), online));
                otherwise = Some(offline);
            }
            Asked::FirstOf(choices) => {
                for (is, when) in choices {
                    match when {
                        Some(when) => {
                            // An unknown condition is not skipped.
                            whens.push((is_null(when), quoted(INSUFFICIENT)));
                            whens.push((text(when), self.word(is)));
                        }
                        None => {
                            otherwise = Some(self.word(is));
                            break;
                        }
                    }
                }
            }
            Asked::Value(value) => {
                whens.push((is_null(value), quoted(INSUFFICIENT)));
                otherwise = Some(label(value));
            }
        }
        let mut sql = String::from("CASE");
        for (when, then) in &whens {
            sql += &format!(" WHEN {when} THEN {then}");
        }
        match (whens.is_empty(), otherwise) {
            (true, otherwise) => otherwise.unwrap_or_else(|| "NULL".into()),
            (false, Some(otherwise)) => sql + " ELSE " + &otherwise + " END",
            (false, None) => sql + " END",
        }
    }
}

impl Rule {
    /// A word, or the one that its rounds put in its place. Without rounds their counts are NULL, so the word stands.
    fn word(&self, word: &str) -> String {
        let word_quoted = quoted(word);
        if !self.confirmed || !needs_confirmation(word) {
            return word_quoted;
        }
        let rounds = format!("{CONFIRM}.{}", identifier(&self.column()));
        let [intermittent, not_confirmed] = CONFIRMED.map(|(word, _)| quoted(word));
        let insufficient = quoted(INSUFFICIENT);
        let other = if word == "broken" { "transient" } else { "broken" };
        format!(
            "CASE WHEN {rounds}.works = 0 AND {rounds}.broken = 0 AND {rounds}.transient = 0 THEN {insufficient} \
             WHEN {rounds}.{word} = 0 THEN {not_confirmed} \
             WHEN {rounds}.works > 0 OR {rounds}.{other} > 0 THEN {intermittent} ELSE {word_quoted} END"
        )
    }
}

fn is_null(expr: &Expr) -> String {
    format!("{} IS NULL", at_least(expr, Level::Atom))
}

/// A value as a label suffix.
fn label(value: &Expr) -> String {
    let sql = text(value);
    match value.ty {
        Type::Text => sql,
        // The sign of a NaN depends on the processor.
        Type::Float | Type::Decimal => {
            format!("CASE WHEN isnan({sql}) THEN 'nan' ELSE CAST({sql} AS VARCHAR) END")
        }
        Type::Time => format!("replace(CAST(make_timestamp_ns({sql}) AS VARCHAR), ' ', 'T')"),
        _ => format!("CAST({sql} AS VARCHAR)"),
    }
}

fn text(expr: &Expr) -> String {
    write(expr).0
}

/// With parentheses, unless its precedence is at least `level`.
fn at_least(expr: &Expr, level: Level) -> String {
    let (sql, own) = write(expr);
    if own >= level { sql } else { format!("({sql})") }
}

fn write(expr: &Expr) -> (String, Level) {
    let atom = |expr: &Expr| at_least(expr, Level::Atom);
    let list = |list: &[Expr]| list.iter().map(text).collect::<Vec<_>>().join(", ");
    match &expr.node {
        Node::Column(column) => {
            let sql = format!("{}.{}", identifier(&column.table), identifier(&column.name));
            let sql = if expr.ty == Type::Time { format!("epoch_ns({sql})") } else { sql };
            (column.sure_sql(sql, expr.ty), Level::Atom)
        }
        Node::Literal(literal) => (self::literal(literal), Level::Atom),
        Node::Cast(a) => match &a.node {
            Node::Literal(Literal::Int(value)) if expr.ty == Type::Float => {
                (format!("{value}e0"), Level::Atom)
            }
            _ => (format!("CAST({} AS {})", text(a), name(expr.ty)), Level::Atom),
        },
        Node::Not(a) => (format!("NOT {}", atom(a)), Level::Operator),
        Node::And(a, b) => {
            (format!("{} AND {}", at_least(a, Level::And), at_least(b, Level::And)), Level::And)
        }
        Node::Or(a, b) => {
            (format!("{} OR {}", at_least(a, Level::Or), at_least(b, Level::Or)), Level::Or)
        }
        Node::Compare(op, a, b) => {
            let op = match op {
                Comparison::Eq => "=",
                Comparison::NotEq => "<>",
                Comparison::Less => "<",
                Comparison::LessEq => "<=",
                Comparison::Greater => ">",
                Comparison::GreaterEq => ">=",
            };
            (format!("{} {op} {}", atom(a), atom(b)), Level::Operator)
        }
        Node::Arithmetic(op, a, b) => arithmetic(*op, a, b),
        Node::Negate(a) if a.is_integral() => {
            (format!("TRY(-{})", wide(a, is_wide(a))), Level::Atom)
        }
        Node::Negate(a) => (format!("(-{})", atom(a)), Level::Atom),
        Node::IsNull(a) => match a.missing().sql() {
            None => (format!("{} IS NULL", atom(a)), Level::Operator),
            Some(missing) => {
                let value = atom(a);
                let sql = format!(
                    "CASE WHEN {value} IS NOT NULL THEN FALSE WHEN {missing} THEN NULL ELSE TRUE END"
                );
                (sql, Level::Atom)
            }
        },
        Node::Is(truth, a) => match a.missing().sql() {
            None => {
                let truth = if *truth { "TRUE" } else { "FALSE" };
                (format!("{} IS {truth}", atom(a)), Level::Operator)
            }
            Some(missing) => {
                let value = if *truth { text(a) } else { format!("NOT {}", atom(a)) };
                (or_else(&value, &missing, "FALSE"), Level::Atom)
            }
        },
        Node::In(a, items) => (format!("{} IN ({})", atom(a), list(items)), Level::Operator),
        Node::Between(a, low, high) => {
            (format!("{} BETWEEN {} AND {}", atom(a), atom(low), atom(high)), Level::Operator)
        }
        Node::Case(case) => (self::case(case), Level::Atom),
        Node::Coalesce(items) => (coalesce(items), Level::Atom),
    }
}

/// A value, or another one where it is NULL and nothing is missing.
fn or_else(value: &str, missing: &str, other: &str) -> String {
    format!("COALESCE({value}, CASE WHEN {missing} THEN NULL ELSE {other} END)")
}

fn coalesce(items: &[Expr]) -> String {
    let Some((first, rest)) = items.split_first() else { return "NULL".into() };
    // Operands for which nothing can be missing need only a list.
    let plain = items.iter().take_while(|item| item.missing().sql().is_none()).count();
    match (first.missing().sql(), rest) {
        (_, []) => text(first),
        (Some(missing), _) => or_else(&text(first), &missing, &coalesce(rest)),
        (None, _) => {
            let mut list: Vec<String> = items[..plain].iter().map(text).collect();
            if plain < items.len() {
                list.push(coalesce(&items[plain..]));
            }
            format!("COALESCE({})", list.join(", "))
        }
    }
}

fn case(case: &Case) -> String {
    let otherwise = case.otherwise.as_deref().map(text);
    if case.branches.iter().all(|(when, _)| when.missing().sql().is_none()) {
        let whens = case.branches.iter();
        let whens = whens.map(|(when, then)| format!(" WHEN {} THEN {}", text(when), text(then)));
        let otherwise = otherwise.map_or(String::new(), |otherwise| format!(" ELSE {otherwise}"));
        return format!("CASE{}{otherwise} END", whens.collect::<String>());
    }
    // An unknown condition ends it: so each is written once, with the rest nested inside.
    let last = otherwise.unwrap_or_else(|| "NULL".into());
    case.branches.iter().rev().fold(last, |rest, (when, then)| match when.missing().sql() {
        None => format!("CASE WHEN {} THEN {} ELSE {rest} END", text(when), text(then)),
        Some(missing) => {
            let when = or_else(&text(when), &missing, "FALSE");
            format!("CASE {when} WHEN TRUE THEN {} WHEN FALSE THEN {rest} END", text(then))
        }
    })
}

fn arithmetic(op: Arithmetic, a: &Expr, b: &Expr) -> (String, Level) {
    let sign = match op {
        Arithmetic::Add => "+",
        Arithmetic::Subtract => "-",
        Arithmetic::Multiply => "*",
        Arithmetic::Divide => "/",
        Arithmetic::Remainder => "%",
        Arithmetic::BitAnd => "&",
        Arithmetic::BitOr => "|",
    };
    if !a.is_integral() || matches!(op, Arithmetic::BitAnd | Arithmetic::BitOr) {
        let [a, b] = [a, b].map(|e| at_least(e, Level::Atom));
        return (format!("{a} {sign} {b}"), Level::Operator);
    }
    // A literal is as wide as the other operand, which is wide itself or is made so.
    let is_literal = |e: &Expr| matches!(e.node, Node::Literal(_));
    let left = is_wide(a) || (is_literal(a) && !is_literal(b));
    let right = is_wide(b) || is_literal(b);
    (format!("TRY({} {sign} {})", wide(a, left), wide(b, right)), Level::Atom)
}

/// An operand that does not overflow below 64 bits.
fn wide(expr: &Expr, already: bool) -> String {
    if already { at_least(expr, Level::Atom) } else { format!("CAST({} AS BIGINT)", text(expr)) }
}

/// Whether a database computes it in signed 64 bits.
fn is_wide(expr: &Expr) -> bool {
    match &expr.node {
        Node::Column(column) => column.stored == DataType::Int64 || expr.ty == Type::Time,
        Node::Arithmetic(op, ..) => !matches!(op, Arithmetic::BitAnd | Arithmetic::BitOr),
        Node::Negate(_) | Node::Cast(_) => true,
        _ => false,
    }
}

impl Expr {
    /// The expression in SQL.
    pub(super) fn sql(&self) -> String {
        text(self)
    }

    fn is_integral(&self) -> bool {
        matches!(self.ty, Type::Int | Type::Time | Type::Duration)
    }
}

fn literal(literal: &Literal) -> String {
    match literal {
        Literal::Null => "NULL".into(),
        Literal::Bool(true) => "TRUE".into(),
        Literal::Bool(false) => "FALSE".into(),
        Literal::Int(value) | Literal::Time(value) | Literal::Duration(value) if *value < 0 => {
            format!("({value})")
        }
        Literal::Int(value) | Literal::Time(value) | Literal::Duration(value) => value.to_string(),
        // With an exponent, or it would be a decimal.
        Literal::Float(value) => format!("{value:e}"),
        Literal::Text(text) => quoted(text),
    }
}

fn name(ty: Type) -> &'static str {
    match ty {
        Type::Null | Type::Bool => "BOOLEAN",
        Type::Int | Type::Time | Type::Duration => "BIGINT",
        Type::Decimal | Type::Float => "DOUBLE",
        Type::Text => "VARCHAR",
    }
}
