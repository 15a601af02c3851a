//! Parses SQL text with sqlparser, and maps its places back to bytes of the file.

use std::ops::Range;

use sqlparser::ast::{Expr, Spanned as _};
use sqlparser::dialect::{Dialect, Precedence};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, Tokenizer};

use super::wording;
use crate::error::Diagnostic;

/// SQL text as written in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sql {
    /// The text.
    pub text: String,
    /// The bytes of the file that contain it, including quotes.
    pub span: Range<usize>,
    /// The offset of the text in the file, if it is there verbatim; `None` if escapes make places inside it inexact.
    pub start: Option<usize>,
}

/// Maximum length of an expression, in bytes and in tokens: far more than anyone can read, and small enough that no
/// tree of it exhausts a stack.
const MOST_BYTES: usize = 16 * 1024;
const MOST_TOKENS: usize = 1000;
/// Maximum nesting of parentheses and operands that start an expression.
const DEEPEST: usize = 40;

/// The grammar of expressions, for messages.
pub(super) const ALLOWED: &str = "expressions have AND OR NOT, = <> < <= > >=, IS [NOT] NULL/TRUE/FALSE, [NOT] IN (...), \
    [NOT] BETWEEN, + - * / % & |, CASE, COALESCE, numbers, 'text', TRUE FALSE NULL, TIMESTAMP '...', INTERVAL '...', \
    and columns such as one.ok";

/// The hint for a number with a unit.
const UNITS: &str = "write a number with a unit in quotes: '100ms', or INTERVAL '100 milliseconds'";

/// The part of DuckDB's dialect in use: words, numbers and precedences are DuckDB's, since expressions are meant to
/// be pasted there.
#[derive(Debug)]
struct Subset;

impl Dialect for Subset {
    fn is_identifier_start(&self, ch: char) -> bool {
        ch.is_alphabetic() || ch == '_'
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        ch.is_alphanumeric() || ch == '_'
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        match precedence {
            // DuckDB has all bit operators on one level, from left to right.
            Precedence::Ampersand | Precedence::Pipe => 21,
            // The same values as the trait's default.
            Precedence::Period => 100,
            Precedence::DoubleColon => 50,
            Precedence::AtTz => 41,
            Precedence::MulDivModOp => 40,
            Precedence::PlusMinus => 30,
            Precedence::Xor => 24,
            Precedence::Caret => 22,
            Precedence::Colon | Precedence::PgOther => 21,
            Precedence::Between | Precedence::Eq => 20,
            Precedence::Like => 19,
            Precedence::Is => 17,
            Precedence::UnaryNot => 15,
            Precedence::And => 10,
            Precedence::Or => 5,
        }
    }
}

impl Sql {
    /// The bytes of the file for a part of the text.
    fn bytes(&self, part: Range<usize>) -> Range<usize> {
        match self.start {
            Some(start) => start + part.start..start + part.end,
            None => self.span.clone(),
        }
    }

    /// The bytes of the file for a part of the tree; the whole expression if it has no place.
    pub(super) fn place(&self, span: Span) -> Range<usize> {
        match (self.offset(span.start), self.offset(span.end)) {
            (Some(start), Some(end)) if start < end => self.bytes(start..end),
            _ => self.whole(),
        }
    }

    /// The bytes of the file for the whole expression.
    pub(super) fn whole(&self) -> Range<usize> {
        if self.text.is_empty() { self.span.clone() } else { self.bytes(0..self.text.len()) }
    }

    /// The tokenizer's lines and columns count from one; columns count characters.
    fn offset(&self, at: Location) -> Option<usize> {
        let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
        let column = usize::try_from(at.column).ok()?.checked_sub(1)?;
        let start = match line {
            0 => 0,
            n => self.text.match_indices('\n').nth(n - 1)?.0 + 1,
        };
        let rest = self.text.get(start..)?;
        Some(start + rest.char_indices().nth(column).map_or(rest.len(), |(offset, _)| offset))
    }

    /// A mistake in this expression.
    pub(super) fn diagnostic(
        &self,
        code: &'static str,
        span: Range<usize>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Diagnostic {
        Diagnostic { code, span, message: message.into(), label: String::new(), help }
    }

    /// sqlparser's own errors end with the place, in words.
    fn refused(&self, error: &ParserError) -> Diagnostic {
        let text = match error {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text,
            ParserError::RecursionLimitExceeded => return self.too_much("it is nested too deeply"),
        };
        let (message, place) = text.rsplit_once(" at Line: ").unwrap_or((text, ""));
        let start = place.split_once(", Column: ").and_then(|(line, column)| {
            self.offset(Location { line: line.parse().ok()?, column: column.parse().ok()? })
        });
        let span = match start.and_then(|start| Some((start, self.text.get(start..)?))) {
            Some((start, rest)) if !rest.trim().is_empty() => {
                let word = rest.find(|c: char| c.is_whitespace() || "(),".contains(c));
                let first = rest.chars().next().map_or(0, char::len_utf8);
                self.bytes(start..start + word.unwrap_or(rest.len()).max(first))
            }
            _ => self.whole(),
        };
        let message =
            message.replace("Expected: ", "expected ").replace("found: EOF", "but it ends here");
        let help = Some(ALLOWED.into());
        self.diagnostic("E0401", span, format!("cannot parse this expression: {message}"), help)
    }

    pub(super) fn too_much(&self, why: &str) -> Diagnostic {
        let help = "divide it: several entries of `first_of` are tried in order, and IN (...) holds long lists";
        self.diagnostic(
            "E0406",
            self.whole(),
            format!("this expression is too complex: {why}"),
            Some(help.into()),
        )
    }

    /// Parses the text.
    pub(super) fn parse(&self) -> Result<Expr, Diagnostic> {
        if self.text.len() > MOST_BYTES {
            return Err(self.too_much(&format!("it has more than {MOST_BYTES} bytes")));
        }
        if self.text.trim().is_empty() {
            let help = Some("write a condition such as one.tcp_connected".into());
            return Err(self.diagnostic(
                "E0401",
                self.span.clone(),
                "this expression is empty",
                help,
            ));
        }
        let tokens = match Tokenizer::new(&Subset, &self.text).tokenize_with_location() {
            Ok(tokens) => tokens,
            Err(error) => return Err(self.refused(&error.into())),
        };
        let words = tokens.iter().filter(|t| !matches!(t.token, Token::Whitespace(_))).count();
        if words > MOST_TOKENS {
            return Err(self.too_much(&format!("it has more than {MOST_TOKENS} words and signs")));
        }
        if let Some(hex) = tokens.iter().find(|t| matches!(t.token, Token::HexStringLiteral(_))) {
            return Err(self.hexadecimal(hex.span));
        }
        if let Some((token, help)) = tokens
            .iter()
            .find_map(|token| wording::of_token(&token.token).map(|help| (token, help)))
        {
            let message = format!("`{}` is not part of expressions", token.token);
            return Err(self.diagnostic(
                "E0402",
                self.place(token.span),
                message,
                Some(help.into()),
            ));
        }
        let mut parser =
            Parser::new(&Subset).with_recursion_limit(DEEPEST).with_tokens_with_locations(tokens);
        let expr = parser.parse_expr().map_err(|error| self.refused(&error))?;
        let next = parser.peek_token();
        if next.token == Token::EOF {
            return Ok(expr);
        }
        let message =
            format!("cannot parse this expression: it should end before `{}`", next.token);
        let help = match next.token.to_string().as_str() {
            // A unit right after a number.
            "ns" | "us" | "ms" | "s" | "sec" | "min" => UNITS,
            _ => ALLOWED,
        };
        Err(self.diagnostic("E0401", self.place(next.span), message, Some(help.into())))
    }

    /// DuckDB reads 0x40 as 0 with the alias x40, silently, so it is rejected here.
    fn hexadecimal(&self, span: Span) -> Diagnostic {
        let place = self.place(span);
        let digits = match (self.offset(span.start), self.offset(span.end)) {
            (Some(start), Some(end)) => self.text.get(start..end).unwrap_or_default(),
            _ => "",
        };
        let value = digits.strip_prefix("0x").and_then(|d| i64::from_str_radix(d, 16).ok());
        let help = match value {
            Some(value) => format!("write it in decimal: {value} (DuckDB reads {digits} as 0)"),
            None => ALLOWED.into(),
        };
        self.diagnostic(
            "E0402",
            place,
            "hexadecimal numbers are not part of expressions",
            Some(help),
        )
    }

    /// The place of a part of the tree.
    pub(super) fn of(&self, expr: &Expr) -> Range<usize> {
        self.place(expr.span())
    }
}
