//! Types sqlparser's tree: looks up columns, converts operands to a common type, and rejects what is not part of the
//! subset.

use std::net::IpAddr;

use arrow_schema::{DataType, Fields, Schema};
use sqlparser::ast::{
    self, BinaryOperator, FunctionArg, FunctionArgExpr, FunctionArguments, Spanned as _,
    UnaryOperator,
};

use super::columns::{About, Columns, Known};
use super::confirm::CONFIRM;
use super::expr::{Case, Column, Comparison, Expr, Literal, Node, Type};
use super::parse::{ALLOWED, Sql};
use super::wording;
use crate::error::{Diagnostic, nearest};
use crate::flags;
use crate::record;

/// Maximum depth of the tree: each AND of a chain is one level.
const DEEPEST: usize = 100;

/// The columns that hold addresses.
const ADDRESSES: [&str; 3] = ["ip", "sip", "dip"];

/// Types one expression and collects every mistake in it.
pub(super) struct Typer<'a> {
    pub(super) schema: &'a Schema,
    /// The configuration that the word `one` stands for, if it is another one.
    pub(super) one: Option<&'a str>,
    pub(super) columns: &'a dyn Columns,
    pub(super) sql: &'a Sql,
    pub(super) mistakes: &'a mut Vec<Diagnostic>,
}

impl Typer<'_> {
    /// Types the whole expression.
    pub(super) fn whole(&mut self) -> Option<Expr> {
        match self.sql.parse() {
            Ok(tree) => self.expr(&tree, 0),
            Err(mistake) => {
                self.mistakes.push(mistake);
                None
            }
        }
    }

    /// Types the whole expression, which must be boolean.
    pub(super) fn condition(&mut self) -> Option<Expr> {
        let expr = self.whole()?;
        if matches!(expr.ty, Type::Bool | Type::Null) {
            return Some(expr.to(Type::Bool));
        }
        let message = format!("this is of type {}, not boolean", expr.ty);
        let help = expr.comparison_to_write(&self.sql.text);
        self.mistakes.push(self.sql.diagnostic("E0405", self.sql.whole(), message, Some(help)));
        None
    }

    /// Types the whole expression, whose value must have a text for a label.
    pub(super) fn value(&mut self) -> Option<Expr> {
        let expr = self.whole()?;
        self.labelled(&expr);
        Some(expr)
    }

    /// Types the whole expression, which must be a number or a duration.
    pub(super) fn number_only(&mut self) -> Option<Expr> {
        let expr = self.whole()?;
        match expr.ty {
            Type::Int | Type::Float | Type::Duration => return Some(expr),
            Type::Decimal => return Some(expr.to(Type::Float)),
            _ => {}
        }
        let message = format!("this is of type {}, but a metric is a number", expr.ty);
        let help = Some("write a condition for what is not a number".to_owned());
        self.mistakes.push(self.sql.diagnostic("E0404", self.sql.whole(), message, help));
        None
    }

    pub(super) fn mistake<T>(
        &mut self,
        code: &'static str,
        at: &ast::Expr,
        message: impl Into<String>,
        help: &str,
    ) -> Option<T> {
        let help = (!help.is_empty()).then(|| help.to_owned());
        self.mistakes.push(self.sql.diagnostic(code, self.sql.of(at), message, help));
        None
    }

    pub(super) fn refuse<T>(&mut self, at: &ast::Expr, what: &str) -> Option<T> {
        self.mistake("E0402", at, format!("{what} is not part of expressions"), ALLOWED)
    }

    pub(super) fn expr(&mut self, at: &ast::Expr, depth: usize) -> Option<Expr> {
        if depth > DEEPEST {
            self.mistakes.push(self.sql.too_much("it is nested too deeply"));
            return None;
        }
        let deeper = depth + 1;
        match at {
            ast::Expr::Nested(inner) => self.expr(inner, deeper),
            ast::Expr::CompoundIdentifier(parts) => match parts.as_slice() {
                [table, name] => self.column(at, &table.value, &name.value),
                _ => self.mistake("E0403", at, "a column has two parts", "write it as one.ok"),
            },
            ast::Expr::Identifier(name) if name.quote_style == Some('"') => {
                self.quoted(at, &name.value)
            }
            ast::Expr::Identifier(name) => self.bare(at, &name.value),
            ast::Expr::Value(value) => self.literal(at, &value.value),
            ast::Expr::TypedString(typed) => self.time(at, typed),
            ast::Expr::Interval(interval) => self.duration(at, interval),
            ast::Expr::UnaryOp { op, expr } => self.unary(at, *op, expr, deeper),
            ast::Expr::BinaryOp { left, op, right } => self.binary(at, left, op, right, deeper),
            ast::Expr::IsNull(a) => self.is_null(a, deeper),
            ast::Expr::IsNotNull(a) => Some(not(self.is_null(a, deeper)?)),
            ast::Expr::IsTrue(a) => self.is(true, a, deeper),
            ast::Expr::IsNotTrue(a) => Some(not(self.is(true, a, deeper)?)),
            ast::Expr::IsFalse(a) => self.is(false, a, deeper),
            ast::Expr::IsNotFalse(a) => Some(not(self.is(false, a, deeper)?)),
            ast::Expr::IsUnknown(_) | ast::Expr::IsNotUnknown(_) => {
                self.mistake("E0402", at, "IS UNKNOWN is not part of expressions", "write IS NULL")
            }
            ast::Expr::InList { expr, list, negated } => self.in_list(expr, list, *negated, deeper),
            ast::Expr::Between { expr, negated, low, high } => {
                self.in_between(at, [expr, low, high], *negated, deeper)
            }
            ast::Expr::Case { operand, conditions, else_result, .. } => {
                self.case(at, operand.as_deref(), conditions, else_result.as_deref(), deeper)
            }
            ast::Expr::Function(function) => self.coalesce(at, function, deeper),
            ast::Expr::Like { .. } | ast::Expr::ILike { .. } => {
                let help = "write = for a whole text, or IN ('...', '...') for several";
                self.mistake("E0402", at, "LIKE is not part of expressions", help)
            }
            ast::Expr::Cast { .. } => self.refuse(at, "CAST"),
            ast::Expr::InSubquery { .. } | ast::Expr::Subquery(_) | ast::Expr::Exists { .. } => {
                self.refuse(at, "a subquery")
            }
            _ => self.refuse(at, "this"),
        }
    }

    /// The structs of a record that expressions can refer to.
    pub(super) fn tables(&self) -> Vec<&str> {
        let tables = self.schema.fields().iter();
        let tables = tables.filter(|field| matches!(field.data_type(), DataType::Struct(_)));
        tables.map(|field| field.name().as_str()).filter(|table| *table != CONFIRM).collect()
    }

    pub(super) fn fields(&self, table: &str) -> Option<&Fields> {
        match self.schema.field_with_name(table).ok().filter(|_| table != CONFIRM)?.data_type() {
            DataType::Struct(fields) => Some(fields),
            _ => None,
        }
    }

    fn column(&mut self, at: &ast::Expr, table: &str, name: &str) -> Option<Expr> {
        let table = self.one.filter(|_| table == "one").unwrap_or(table);
        let Some(fields) = self.fields(table) else {
            let tables = self.tables();
            let message = format!("there is no `{table}` in a record");
            return self.mistake("E0403", at, message, &format!("it has {}", tables.join(", ")));
        };
        let Some((_, field)) = fields.find(name) else {
            let near = nearest(name, fields.iter().map(|f| f.name().as_str()));
            let help = match self.columns.elsewhere(name) {
                Some(remedy) if table != "target" => remedy,
                _ => match near {
                    Some(near) => format!("did you mean `{table}.{near}`?"),
                    None => {
                        let names: Vec<&str> = fields.iter().map(|f| f.name().as_str()).collect();
                        format!("{table} has {}", names.join(", "))
                    }
                },
            };
            return self.mistake("E0403", at, format!("unknown column `{table}.{name}`"), &help);
        };
        let Some(ty) = Type::of(field.data_type()) else {
            let message = format!(
                "`{table}.{name}` is of type {}, which expressions cannot use",
                field.data_type()
            );
            return self.mistake("E0404", at, message, "");
        };
        let stored = field.data_type().clone();
        // Without the column that would show it, nothing counts as missing.
        let about = match record::configurations(self.schema).any(|known| known == table) {
            true => self.columns.about(name),
            false => About::ALWAYS,
        };
        let says = |column: &str| fields.find(column).is_some();
        let about = match about.known {
            Known::Sent if !says("state") => About { known: Known::Always, ..about },
            Known::Seen | Known::Added if !says("observed") => {
                About { known: Known::Always, ..about }
            }
            _ => about,
        };
        let has_flags = self.schema.field_with_name(flags::COLUMN).is_ok();
        let ty = if about.nanoseconds && ty == Type::Int { Type::Duration } else { ty };
        let column = Column { table: table.into(), name: name.into(), stored, about, has_flags };
        Some(Expr::new(ty, Node::Column(column)))
    }

    fn unary(
        &mut self,
        at: &ast::Expr,
        op: UnaryOperator,
        inner: &ast::Expr,
        depth: usize,
    ) -> Option<Expr> {
        match op {
            UnaryOperator::Not => Some(not(self.boolean(inner, depth)?)),
            UnaryOperator::Minus => {
                let expr = self.expr(inner, depth)?;
                let expr = if expr.ty == Type::Duration { expr } else { self.number(inner, expr)? };
                let negated = match &expr.node {
                    Node::Literal(Literal::Int(value)) => Some(Literal::Int(-value)),
                    Node::Literal(Literal::Float(value)) => Some(Literal::Float(-value)),
                    Node::Literal(Literal::Duration(value)) => Some(Literal::Duration(-value)),
                    _ => None,
                };
                Some(match negated {
                    Some(literal) => Expr::new(expr.ty, Node::Literal(literal)),
                    None => Expr::new(expr.ty, Node::Negate(Box::new(expr))),
                })
            }
            UnaryOperator::Plus => {
                let expr = self.expr(inner, depth)?;
                self.number(inner, expr)
            }
            _ => {
                let help = wording::of_operator(&op.to_string()).unwrap_or(ALLOWED);
                self.mistake("E0402", at, format!("`{op}` is not part of expressions"), help)
            }
        }
    }

    fn boolean(&mut self, at: &ast::Expr, depth: usize) -> Option<Expr> {
        let expr = self.expr(at, depth)?;
        match expr.ty {
            Type::Bool | Type::Null => Some(expr.to(Type::Bool)),
            ty => self.mistake(
                "E0404",
                at,
                format!("this is of type {ty}, but boolean is needed here"),
                "",
            ),
        }
    }

    /// An integer or a float; a bare NULL counts as an integer.
    pub(super) fn number(&mut self, at: &ast::Expr, expr: Expr) -> Option<Expr> {
        match expr.ty {
            Type::Int | Type::Decimal | Type::Float => Some(expr),
            Type::Null => Some(expr.to(Type::Int)),
            ty => self.mistake(
                "E0404",
                at,
                format!("this is of type {ty}, but a number is needed here"),
                "",
            ),
        }
    }

    /// An operand of a comparison must not be a bare comparison: databases disagree on its meaning.
    fn unchained(&mut self, at: &ast::Expr) -> Option<()> {
        let comparison = match at {
            ast::Expr::BinaryOp { op, .. } => comparison(op).is_some(),
            ast::Expr::InList { .. } | ast::Expr::Between { .. } => true,
            ast::Expr::IsNull(_) | ast::Expr::IsNotNull(_) => true,
            ast::Expr::IsTrue(_) | ast::Expr::IsNotTrue(_) => true,
            ast::Expr::IsFalse(_) | ast::Expr::IsNotFalse(_) => true,
            _ => false,
        };
        if comparison {
            let help = "put parentheses around this one, or join the two with AND";
            return self.mistake(
                "E0402",
                at,
                "a comparison inside a comparison is ambiguous",
                help,
            );
        }
        Some(())
    }

    fn is_null(&mut self, at: &ast::Expr, depth: usize) -> Option<Expr> {
        self.unchained(at)?;
        let expr = self.expr(at, depth)?;
        self.null_tested(at, &expr);
        Some(Expr::new(Type::Bool, Node::IsNull(Box::new(expr))))
    }

    fn is(&mut self, truth: bool, at: &ast::Expr, depth: usize) -> Option<Expr> {
        self.unchained(at)?;
        Some(Expr::new(Type::Bool, Node::Is(truth, Box::new(self.boolean(at, depth)?))))
    }

    // Rare cases are in separate functions: deep expressions need deep stacks.

    fn in_list(
        &mut self,
        expr: &ast::Expr,
        list: &[ast::Expr],
        negated: bool,
        depth: usize,
    ) -> Option<Expr> {
        self.unchained(expr)?;
        let (first, rest) = self.list(Some(expr), list, depth)?;
        let first = first?;
        self.listed((expr, &first), list, &rest);
        let node = Expr::new(Type::Bool, Node::In(Box::new(first), rest));
        Some(if negated { not(node) } else { node })
    }

    fn in_between(
        &mut self,
        at: &ast::Expr,
        operands: [&ast::Expr; 3],
        negated: bool,
        depth: usize,
    ) -> Option<Expr> {
        for operand in operands {
            self.unchained(operand)?;
        }
        let [expr, low, high] = operands;
        let (first, rest) = self.list(Some(expr), &[low.clone(), high.clone()], depth)?;
        let first = first?;
        self.unordered(expr, &first)?;
        let mut rest = rest.into_iter();
        let (lowest, highest) = (rest.next()?, rest.next()?);
        self.between(at, (expr, &first), (low, &lowest), (high, &highest));
        let [first, low, high] = [first, lowest, highest].map(Box::new);
        let node = Expr::new(Type::Bool, Node::Between(first, low, high));
        Some(if negated { not(node) } else { node })
    }

    fn binary(
        &mut self,
        at: &ast::Expr,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        depth: usize,
    ) -> Option<Expr> {
        if let Some(comparison) = comparison(op) {
            return self.comparison(at, left, comparison, right, depth);
        }
        if matches!(op, BinaryOperator::And | BinaryOperator::Or) {
            // Both sides first, so that mistakes in both are reported.
            let (a, b) = (self.boolean(left, depth), self.boolean(right, depth));
            let (a, b) = (Box::new(a?), Box::new(b?));
            let node = if *op == BinaryOperator::And { Node::And(a, b) } else { Node::Or(a, b) };
            return Some(Expr::new(Type::Bool, node));
        }
        self.arithmetic(at, left, op, right, depth)
    }

    fn comparison(
        &mut self,
        at: &ast::Expr,
        left: &ast::Expr,
        op: Comparison,
        right: &ast::Expr,
        depth: usize,
    ) -> Option<Expr> {
        self.unchained(left)?;
        self.unchained(right)?;
        let (a, rest) = self.list(Some(left), std::slice::from_ref(right), depth)?;
        let (a, b) = (a?, rest.into_iter().next()?);
        if !matches!(op, Comparison::Eq | Comparison::NotEq) {
            self.unordered(left, &a)?;
            self.unordered(right, &b)?;
        }
        self.compared(at, op, (left, &a), (right, &b));
        Some(Expr::new(Type::Bool, Node::Compare(op, Box::new(a), Box::new(b))))
    }

    /// Converts expressions to one type: the first, if there is one, and the others.
    fn list(
        &mut self,
        first: Option<&ast::Expr>,
        rest: &[ast::Expr],
        depth: usize,
    ) -> Option<(Option<Expr>, Vec<Expr>)> {
        let mut typed = Vec::new();
        for at in first.into_iter().chain(rest) {
            let expr = self.expr(at, depth);
            typed.push((at, expr));
        }
        self.durations(&mut typed)?;
        let mut ty = Type::Null;
        for (at, expr) in &typed {
            let found = expr.as_ref()?.ty;
            ty = match ty.common(found) {
                Some(ty) => ty,
                None if [ty, found] == [Type::Int, Type::Decimal]
                    || [ty, found] == [Type::Decimal, Type::Int] =>
                {
                    return self.decimal(at);
                }
                None => {
                    let message = format!("this is of type {found}, but it is combined with {ty}");
                    let help = match (ty, found) {
                        (Type::Bool, Type::Int) => "write TRUE or FALSE, or NOT",
                        (Type::Int | Type::Float, Type::Text) => "write numbers without quotes",
                        (Type::Text, Type::Int | Type::Decimal) => "write a text in quotes: '...'",
                        (Type::Time, Type::Text) | (Type::Text, Type::Time) => {
                            "write TIMESTAMP before a time: TIMESTAMP '2026-11-22 18:30:00'"
                        }
                        (Type::Duration, _) | (_, Type::Duration) => {
                            "write a duration as '100ms' or INTERVAL '100 milliseconds'"
                        }
                        _ => "",
                    };
                    return self.mistake("E0404", at, message, help);
                }
            };
        }
        self.addresses(&typed)?;
        let mut exprs = typed.into_iter().filter_map(|(_, expr)| Some(expr?.to(ty)));
        let first = first.and_then(|_| exprs.next());
        Some((first, exprs.collect()))
    }

    /// Addresses are text: next to one, an address in another form would never be equal.
    fn addresses(&mut self, typed: &[(&ast::Expr, Option<Expr>)]) -> Option<()> {
        let exprs = || typed.iter().filter_map(|(at, expr)| Some((*at, expr.as_ref()?)));
        if !exprs().any(|(_, expr)| is_address(expr)) {
            return Some(());
        }
        for (at, expr) in exprs() {
            let Node::Literal(Literal::Text(text)) = &expr.node else { continue };
            let Ok(address) = text.parse::<IpAddr>() else { continue };
            if address.to_string() != *text {
                let message = "addresses are text, and records have this one in another form";
                return self.mistake("E0404", at, message, &format!("write '{address}'"));
            }
        }
        Some(())
    }

    /// The text order of addresses is meaningless.
    fn unordered(&mut self, at: &ast::Expr, expr: &Expr) -> Option<()> {
        if is_address(expr) {
            let message = "addresses are text: this would compare them letter by letter";
            return self.mistake("E0404", at, message, "compare them with =, <> or IN");
        }
        Some(())
    }

    fn case(
        &mut self,
        at: &ast::Expr,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
        depth: usize,
    ) -> Option<Expr> {
        let whens: Vec<ast::Expr> = conditions.iter().map(|c| c.condition.clone()).collect();
        let mut thens: Vec<ast::Expr> = conditions.iter().map(|c| c.result.clone()).collect();
        thens.extend(otherwise.cloned());
        let whens: Vec<Option<Expr>> = match operand {
            // Each is compared separately, as in databases: they are not all converted to one type.
            Some(operand) => {
                let pair = |when: &ast::Expr| {
                    let (a, b) = self.list(Some(operand), std::slice::from_ref(when), depth)?;
                    let (a, b) = (a?, b.into_iter().next()?);
                    self.compared(when, Comparison::Eq, (operand, &a), (when, &b));
                    let (a, b) = (Box::new(a), Box::new(b));
                    Some(Expr::new(Type::Bool, Node::Compare(Comparison::Eq, a, b)))
                };
                whens.iter().map(pair).collect()
            }
            None => whens.iter().map(|when| self.boolean(when, depth)).collect(),
        };
        let whens: Vec<Expr> = whens.into_iter().collect::<Option<_>>()?;
        let (_, mut thens) = self.list(None, &thens, depth)?;
        let Some(ty) = thens.first().map(|then| then.ty) else {
            return self.refuse(at, "CASE without WHEN");
        };
        let otherwise = otherwise.and_then(|_| thens.pop()).map(Box::new);
        let branches = whens.into_iter().zip(thens).collect();
        Some(Expr::new(ty, Node::Case(Case { branches, otherwise })))
    }

    fn coalesce(&mut self, at: &ast::Expr, function: &ast::Function, depth: usize) -> Option<Expr> {
        let name = function.name.to_string();
        if !name.eq_ignore_ascii_case("coalesce") {
            let span = self.sql.place(function.name.span());
            let message = format!("the function {name} is not part of expressions");
            let help = wording::of_function(&name).unwrap_or(ALLOWED);
            self.mistakes.push(self.sql.diagnostic("E0402", span, message, Some(help.into())));
            return None;
        }
        let FunctionArguments::List(list) = &function.args else {
            return self.refuse(at, "COALESCE without arguments");
        };
        let plain = list.clauses.is_empty()
            && list.duplicate_treatment.is_none()
            && function.filter.is_none()
            && function.over.is_none()
            && function.null_treatment.is_none()
            && function.within_group.is_empty()
            && function.parameters == FunctionArguments::None;
        let args = list.args.iter().map(|arg| match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
            _ => None,
        });
        let args: Vec<ast::Expr> = match args.collect::<Option<_>>() {
            Some(args) if plain => args,
            _ => return self.refuse(at, "COALESCE with anything but expressions"),
        };
        let (_, args) = self.list(None, &args, depth)?;
        match args.first().map(|arg| arg.ty) {
            Some(ty) => Some(Expr::new(ty, Node::Coalesce(args))),
            None => self.refuse(at, "COALESCE without arguments"),
        }
    }
}

/// A column of addresses, in the form of RFC 5952.
fn is_address(expr: &Expr) -> bool {
    matches!(&expr.node, Node::Column(column) if ADDRESSES.contains(&column.name.as_str()))
}

fn not(expr: Expr) -> Expr {
    Expr::new(Type::Bool, Node::Not(Box::new(expr)))
}

fn comparison(op: &BinaryOperator) -> Option<Comparison> {
    Some(match op {
        BinaryOperator::Eq => Comparison::Eq,
        BinaryOperator::NotEq => Comparison::NotEq,
        BinaryOperator::Lt => Comparison::Less,
        BinaryOperator::LtEq => Comparison::LessEq,
        BinaryOperator::Gt => Comparison::Greater,
        BinaryOperator::GtEq => Comparison::GreaterEq,
        _ => return None,
    })
}
