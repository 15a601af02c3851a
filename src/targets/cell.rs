//! Values of a list as written, and the types that they look like.
//!
//! Numbers stay text: JSON bounds neither the size of integers nor the digits of fractions, and a list that passes
//! through this program keeps its digits.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// A value as written in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// A field of a CSV record; its type is inferred from its text.
    Csv(String),
    /// A JSON string.
    Text(String),
    /// A JSON boolean.
    Bool(bool),
    /// A JSON number, as written.
    Number(String),
    /// A JSON array or object, without whitespace between its tokens.
    Nested(String),
}

impl Cell {
    /// From a JSON value; `None` for null.
    pub fn of_json(value: &RawValue) -> Option<Self> {
        let text = value.get();
        Some(match text.as_bytes().first()? {
            b'n' => return None,
            b't' => Cell::Bool(true),
            b'f' => Cell::Bool(false),
            // A lone surrogate is not valid text: keep the source form.
            b'"' => match serde_json::from_str(text) {
                Ok(text) => Cell::Text(text),
                Err(_) => Cell::Nested(text.to_owned()),
            },
            b'[' | b'{' => Cell::Nested(compact(text)),
            _ => Cell::Number(text.to_owned()),
        })
    }

    /// The value as a boolean, if it is one.
    pub fn bool(&self) -> Option<bool> {
        match self {
            Cell::Bool(value) => Some(*value),
            Cell::Csv(text) => match text.as_str() {
                "true" | "True" => Some(true),
                "false" | "False" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The value as a 64-bit integer, if it is written as one. A leading zero or plus means that the text is
    /// something else, for example a telephone number.
    pub fn int(&self) -> Option<i64> {
        match self {
            Cell::Csv(text) | Cell::Number(text) => {
                text.parse::<i64>().ok().filter(|value| value.to_string() == *text)
            }
            _ => None,
        }
    }

    /// The value as a number with a fraction or an exponent, if it is one.
    pub fn float(&self) -> Option<f64> {
        match self {
            Cell::Csv(text) | Cell::Number(text) if has_fraction(text) => {
                text.parse::<f64>().ok().filter(|value| value.is_finite())
            }
            _ => None,
        }
    }

    /// The value as text, for CSV and for text columns; arrays and objects become JSON.
    pub fn into_text(self) -> String {
        match self {
            Cell::Csv(text) | Cell::Text(text) | Cell::Number(text) | Cell::Nested(text) => text,
            Cell::Bool(value) => value.to_string(),
        }
    }

    /// The value as JSON. A CSV field becomes a string.
    pub fn json(&self) -> Cow<'_, str> {
        match self {
            Cell::Csv(text) | Cell::Text(text) => quoted(text).into(),
            Cell::Number(text) | Cell::Nested(text) => text.into(),
            Cell::Bool(true) => "true".into(),
            Cell::Bool(false) => "false".into(),
        }
    }

    /// The value as JSON, with the type that a CSV field looks like.
    pub fn looks_like_json(&self) -> Cow<'_, str> {
        let Cell::Csv(text) = self else { return self.json() };
        if let Some(value) = self.bool() {
            return value.to_string().into();
        }
        let digits = text.strip_prefix('-').unwrap_or(text);
        let number = digits.starts_with(|c: char| c.is_ascii_digit());
        let raw = || serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get() == text);
        if number && raw() { text.into() } else { self.json() }
    }
}

/// Whether a number has a fraction or an exponent and is written as numbers are, without leading zeros.
fn has_fraction(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    digits.first().is_some_and(u8::is_ascii_digit)
        && !(digits[0] == b'0' && digits.get(1).is_some_and(u8::is_ascii_digit))
        && digits.iter().any(|digit| matches!(digit, b'.' | b'e' | b'E'))
}

/// A text as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// JSON without whitespace outside its strings.
fn compact(text: &str) -> String {
    let (mut inside, mut escaped) = (false, false);
    text.chars()
        .filter(|&letter| {
            let kept = inside || !letter.is_ascii_whitespace();
            match letter {
                _ if escaped => escaped = false,
                '\\' => escaped = inside,
                '"' => inside = !inside,
                _ => {}
            }
            kept
        })
        .collect()
}

/// A JSON object whose member values are JSON already.
pub fn object<'a>(members: impl Iterator<Item = (&'a str, Cow<'a, str>)>) -> String {
    let mut text = String::from("{");
    for (key, value) in members {
        if text.len() > 1 {
            text.push(',');
        }
        text += &quoted(key);
        text.push(':');
        text += &value;
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(json: &str) -> Cell {
        Cell::of_json(&serde_json::from_str::<Box<RawValue>>(json).unwrap()).unwrap()
    }

    #[test]
    fn numbers_keep_their_digits() {
        for number in [
            "340282366920938463463374607431768211455",
            "-340282366920938463463374607431768211456",
            "1e400",
            "0.1234567890123456789012345",
            "9007199254740993",
            "1.50",
        ] {
            assert_eq!(cell(number).json(), number);
            assert_eq!(Cell::Csv(number.into()).looks_like_json(), number);
        }
        assert_eq!(cell("340282366920938463463374607431768211455").int(), None);
        assert_eq!(cell("1e400").float(), None);
        assert_eq!(cell("1.50").float(), Some(1.5));
        for text in ["+1", "007", "1.", ".5", "1 2", "1,", "-", "--1", "1 ", "NaN"] {
            assert_eq!(Cell::Csv(text.into()).looks_like_json(), quoted(text), "{text}");
        }
    }

    #[test]
    fn nested_values_lose_only_their_whitespace() {
        let written = r#"{ "a b" : [ 1 , 340282366920938463463374607431768211455, "x \" y" ] }"#;
        let kept = r#"{"a b":[1,340282366920938463463374607431768211455,"x \" y"]}"#;
        assert_eq!(cell(written).into_text(), kept);
    }
}
