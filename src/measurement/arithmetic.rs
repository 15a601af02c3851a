//! Calculations in `${...}`: whole numbers, names, `+ - * / %` and parentheses.
//!
//! They are exact: an overflow, a division by zero and a division with a remainder have no result.

use std::ops::Range;

use super::scalar::Scalar;

/// Maximum nesting of parentheses and signs.
const DEEPEST: usize = 40;

/// Why a calculation has no result: the part of its text that is the cause, what is wrong, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) part: Range<usize>,
    pub(super) cause: Cause,
}

/// What is wrong with a part of a calculation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The name is unknown, or its value is wrong, which is already reported.
    Unknown(String),
    /// Anything else, with its remedy.
    Other(String, String),
}

/// What a name stands for.
pub(super) enum Operand {
    Unknown,
    Value(Scalar),
    List,
}

/// The names in a calculation.
pub(super) fn names(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with(|c: char| c.is_ascii_lowercase() || c == '_'))
}

/// Calculates the result of a text.
pub(super) fn evaluate(text: &str, lookup: &dyn Fn(&str) -> Operand) -> Result<i64, Fault> {
    let mut parser = Parser { text, at: 0, depth: 0, lookup };
    let result = parser.sum()?;
    match parser.peek() {
        None => Ok(result),
        Some(c) => Err(parser.unexpected(c)),
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    lookup: &'t dyn Fn(&str) -> Operand,
}

const ALLOWED: &str =
    "a calculation has whole numbers, names, + - * / % and parentheses: ${codepoint * 4}";

impl<'t> Parser<'t> {
    /// The next character that is not white space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    /// Takes the next character if it is one of these.
    fn take(&mut self, of: &[char]) -> Option<char> {
        let c = self.peek().filter(|c| of.contains(c))?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn sum(&mut self) -> Result<i64, Fault> {
        let start = self.start();
        let mut value = self.product()?;
        while let Some(sign) = self.take(&['+', '-']) {
            let other = self.product()?;
            let result =
                if sign == '+' { value.checked_add(other) } else { value.checked_sub(other) };
            value = result.ok_or_else(|| self.overflow(start))?;
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<i64, Fault> {
        let start = self.start();
        let mut value = self.factor()?;
        while let Some(sign) = self.take(&['*', '/', '%']) {
            let (divided, other) = (value, self.factor()?);
            if sign != '*' && other == 0 {
                let message = format!("`{}` divides by zero", self.text[start..self.at].trim());
                return Err(self.fault(start, message, "write a divisor that is not zero"));
            }
            let result = match sign {
                '*' => value.checked_mul(other),
                '/' => value.checked_div(other),
                _ => value.checked_rem(other),
            };
            value = result.ok_or_else(|| self.overflow(start))?;
            if sign == '/' && divided.checked_rem(other) != Some(0) {
                let message = format!("{divided} / {other} is not a whole number");
                let help = "calculations are exact; (a - a % b) / b rounds down";
                return Err(self.fault(start, message, help));
            }
        }
        Ok(value)
    }

    fn factor(&mut self) -> Result<i64, Fault> {
        let start = self.start();
        if self.depth > DEEPEST {
            return Err(self.fault(
                start,
                "this is nested too deeply".into(),
                "use fewer parentheses",
            ));
        }
        if self.take(&['-']).is_some() {
            self.depth += 1;
            let value = self.factor()?.checked_neg().ok_or_else(|| self.overflow(start))?;
            self.depth -= 1;
            return Ok(value);
        }
        if self.take(&['(']).is_some() {
            self.depth += 1;
            let value = self.sum()?;
            self.depth -= 1;
            return match self.take(&[')']) {
                Some(_) => Ok(value),
                None => Err(self.fault(start, "this `(` is not closed".into(), "add a `)`")),
            };
        }
        let word = self.word();
        match word.chars().next() {
            None => match self.peek() {
                Some(c) => Err(self.unexpected(c)),
                None => {
                    let message = "this calculation ends too early".to_owned();
                    Err(self.fault(0, message, ALLOWED))
                }
            },
            Some('0'..='9') => match word.parse() {
                Ok(value) => Ok(value),
                Err(_) if word.bytes().all(|b| b.is_ascii_digit()) => Err(self.overflow(start)),
                Err(_) => {
                    let message = format!("`{word}` is not a whole number");
                    Err(self.fault(start, message, ALLOWED))
                }
            },
            Some(_) => self.named(start, word),
        }
    }

    fn named(&self, start: usize, name: &str) -> Result<i64, Fault> {
        let is = |what: &str| {
            let help =
                "calculations are for whole numbers; write the name alone for its value as it is";
            Err(self.fault(start, format!("`{name}` is {what}, not a whole number"), help))
        };
        match (self.lookup)(name) {
            Operand::Value(Scalar::Integer(value)) => Ok(value),
            Operand::Value(value @ Scalar::Text(_)) => is(&format!("the text \"{value}\"")),
            Operand::Value(value) => is(&value.to_string()),
            Operand::List => is("a list"),
            Operand::Unknown => {
                let part = start..start + name.len();
                Err(Fault { part, cause: Cause::Unknown(name.to_owned()) })
            }
        }
    }

    /// Takes letters, digits and dots.
    fn word(&mut self) -> &'t str {
        self.peek();
        let text = self.text;
        let rest = &text[self.at..];
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let word = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// Where the next part starts.
    fn start(&mut self) -> usize {
        self.peek();
        self.at
    }

    fn fault(&self, start: usize, message: String, help: &str) -> Fault {
        let part = start..start + self.text[start..self.at].trim_end().len();
        Fault { part, cause: Cause::Other(message, help.to_owned()) }
    }

    fn unexpected(&self, c: char) -> Fault {
        let part = self.at..self.at + c.len_utf8();
        let message = format!("`{c}` has no place in a calculation here");
        Fault { part, cause: Cause::Other(message, ALLOWED.to_owned()) }
    }

    fn overflow(&self, start: usize) -> Fault {
        let message = format!("`{}` is beyond 64 bits", self.text[start..self.at].trim());
        self.fault(start, message, "write smaller numbers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(text: &str) -> Result<i64, String> {
        let lookup = |name: &str| match name {
            "n" => Operand::Value(Scalar::Integer(46)),
            "word" => Operand::Value(Scalar::Text("ef".into())),
            "list" => Operand::List,
            _ => Operand::Unknown,
        };
        evaluate(text, &lookup).map_err(|fault| {
            let message = match fault.cause {
                Cause::Unknown(name) => format!("unknown {name}"),
                Cause::Other(message, _) => message,
            };
            format!("{}: {message}", &text[fault.part])
        })
    }

    #[test]
    fn whole_numbers_are_calculated() {
        for (text, expected) in [
            ("n * 4", 184),
            ("4*n+1", 185),
            ("1 + 2 * 3", 7),
            ("(1 + 2) * 3", 9),
            ("10 - 4 - 3", 3),
            ("100 / 5 / 2", 10),
            ("7 % 4", 3),
            ("-7 % 4", -3),
            ("-(n)", -46),
            ("- -3", 3),
            ("9223372036854775807", i64::MAX),
        ] {
            assert_eq!(result(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_has_no_result_is_placed_at_its_cause() {
        for (text, expected) in [
            ("n / 4", "n / 4: 46 / 4 is not a whole number"),
            ("1 + n / (n - 46)", "n / (n - 46): `n / (n - 46)` divides by zero"),
            ("n % 0", "n % 0: `n % 0` divides by zero"),
            (
                "9223372036854775807 + 1",
                "9223372036854775807 + 1: `9223372036854775807 + 1` is beyond 64 bits",
            ),
            (
                "1 + 9223372036854775808",
                "9223372036854775808: `9223372036854775808` is beyond 64 bits",
            ),
            (
                "-9223372036854775807 - 2",
                "-9223372036854775807 - 2: `-9223372036854775807 - 2` is beyond 64 bits",
            ),
            ("word * 4", "word: `word` is the text \"ef\", not a whole number"),
            ("2 * list", "list: `list` is a list, not a whole number"),
            ("2 * no", "no: unknown no"),
            ("1.5 * 2", "1.5: `1.5` is not a whole number"),
            ("0x10 + 1", "0x10: `0x10` is not a whole number"),
            ("(n", "(n: this `(` is not closed"),
            ("n n", "n: `n` has no place in a calculation here"),
            ("n ^ 2", "^: `^` has no place in a calculation here"),
            ("n *", "n *: this calculation ends too early"),
            ("", ": this calculation ends too early"),
        ] {
            assert_eq!(result(text), Err(expected.to_owned()), "{text}");
        }
        assert!(result(&"(".repeat(100_000)).is_err());
        assert!(result(&"-".repeat(100_000)).is_err());
    }
}
