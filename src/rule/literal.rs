//! Literals, mainly those of time: the texts after TIMESTAMP, TIMESTAMPTZ and INTERVAL.
//!
//! Texts that databases read differently or round are rejected, with a hint what to write.

use sqlparser::ast::{self, TimezoneInfo, Value};

use super::expr::{Expr, Literal, Node, Type};
use super::typing::Typer;

/// Nanoseconds of each unit, with DuckDB's words for it. Months and years are missing, since they have no fixed
/// length.
const UNITS: [(i64, &[&str]); 7] = [
    (1_000, &["us", "usec", "usecs", "microsecond", "microseconds"]),
    (1_000_000, &["ms", "msec", "msecs", "millisecond", "milliseconds"]),
    (1_000_000_000, &["s", "sec", "secs", "second", "seconds"]),
    (60_000_000_000, &["m", "min", "mins", "minute", "minutes"]),
    (3_600_000_000_000, &["h", "hr", "hrs", "hour", "hours"]),
    (86_400_000_000_000, &["d", "day", "days"]),
    (604_800_000_000_000, &["w", "week", "weeks"]),
];

/// What is wrong with a literal, and what to write.
pub(super) type Refusal = (String, &'static str);

const DURATION: &str = "write INTERVAL '100 milliseconds', with a whole number or a decimal fraction of microseconds, \
    milliseconds, seconds, minutes, hours, days or weeks";
const TIME: &str =
    "write TIMESTAMP '2026-11-22 18:30:00', in UTC, or TIMESTAMPTZ '2026-11-22 18:30:00+00'";

impl Typer<'_> {
    /// A number, a text, TRUE, FALSE or NULL.
    pub(super) fn literal(&mut self, at: &ast::Expr, value: &Value) -> Option<Expr> {
        let (ty, literal) = match value {
            Value::Null => (Type::Null, Literal::Null),
            Value::Boolean(value) => (Type::Bool, Literal::Bool(*value)),
            Value::SingleQuotedString(text) => (Type::Text, Literal::Text(text.clone())),
            Value::Number(digits, false) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                match digits.parse() {
                    Ok(value) => (Type::Int, Literal::Int(value)),
                    Err(_) => {
                        return self.mistake("E0404", at, "this number is beyond 64 bits", "");
                    }
                }
            }
            Value::Number(digits, false) => match digits.parse::<f64>() {
                Ok(value) if value.is_finite() => {
                    let exponent = digits.contains(['e', 'E']);
                    let ty = if exponent { Type::Float } else { Type::Decimal };
                    (ty, Literal::Float(value))
                }
                _ => return self.mistake("E0404", at, "this number is out of range", ""),
            },
            _ => return self.refuse(at, "this literal"),
        };
        Some(Expr::new(ty, Node::Literal(literal)))
    }

    /// TIMESTAMP '...'
    pub(super) fn time(&mut self, at: &ast::Expr, typed: &ast::TypedString) -> Option<Expr> {
        let zoned = match typed.data_type {
            ast::DataType::Timestamp(None, TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                false
            }
            ast::DataType::Timestamp(None, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => true,
            _ => return self.refuse(at, &format!("{} '...'", typed.data_type)),
        };
        match &typed.value.value {
            Value::SingleQuotedString(text) if !typed.uses_odbc_syntax => match time(text, zoned) {
                Ok(value) => Some(Expr::new(Type::Time, Node::Literal(Literal::Time(value)))),
                Err((message, help)) => self.mistake("E0404", at, message, help),
            },
            _ => self.refuse(at, "this literal"),
        }
    }

    /// INTERVAL '...' or INTERVAL 1 SECOND
    pub(super) fn duration(&mut self, at: &ast::Expr, interval: &ast::Interval) -> Option<Expr> {
        let plain = interval.leading_precision.is_none()
            && interval.last_field.is_none()
            && interval.fractional_seconds_precision.is_none();
        let unit = interval.leading_field.as_ref().map(ToString::to_string);
        let text = match interval.value.as_ref() {
            ast::Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => Some(text),
                Value::Number(text, false) if unit.is_some() => Some(text),
                _ => None,
            },
            _ => None,
        };
        match text {
            Some(text) if plain => match duration(text, unit.as_deref()) {
                Ok(value) => {
                    Some(Expr::new(Type::Duration, Node::Literal(Literal::Duration(value))))
                }
                Err((message, help)) => self.mistake("E0404", at, message, help),
            },
            _ => self.refuse(at, "this kind of INTERVAL"),
        }
    }
}

/// `100 milliseconds`, `100ms`, `1 minute 30 seconds`; `unit` is the word after the quotes, if there is one.
pub(super) fn duration(text: &str, unit: Option<&str>) -> Result<i64, Refusal> {
    let refuse = || (format!("`{}` is not a duration", text.trim()), DURATION);
    let mut rest = text.trim();
    if let Some(unit) = unit {
        return part(rest, unit);
    }
    let mut total: i64 = 0;
    if rest.is_empty() {
        return Err(refuse());
    }
    while !rest.is_empty() {
        let number = rest.len()
            - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-').len();
        let (number, after) = rest.split_at(number);
        let after = after.trim_start();
        let word = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (word, after) = after.split_at(word);
        if word.is_empty() {
            return Err(refuse());
        }
        total = total.checked_add(part(number, word)?).ok_or_else(refuse)?;
        rest = after.trim_start();
    }
    Ok(total)
}

/// One number with its unit.
fn part(number: &str, unit: &str) -> Result<i64, Refusal> {
    let refuse = || (format!("`{number} {unit}` is not a duration"), DURATION);
    let unit = unit.to_ascii_lowercase();
    if ["month", "months", "mon", "mons", "year", "years", "y", "quarter", "quarters"]
        .contains(&unit.as_str())
    {
        let message = format!("a {} has no fixed length", unit.trim_end_matches('s'));
        return Err((message, "write days: INTERVAL '30 days'"));
    }
    let known = UNITS.iter().find(|(_, words)| words.contains(&unit.as_str()));
    let (length, _) = known.ok_or_else(refuse)?;
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(fraction) || digits.ends_with('.') {
        return Err(refuse());
    }
    let whole: i128 = whole.parse().map_err(|_| refuse())?;
    let scale = 10_i128
        .checked_pow(u32::try_from(fraction.len()).map_err(|_| refuse())?)
        .ok_or_else(refuse)?;
    let fraction: i128 =
        if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| refuse())? };
    let length = i128::from(*length);
    let part = fraction.checked_mul(length).ok_or_else(refuse)?;
    let nanoseconds = whole.checked_mul(length).and_then(|n| n.checked_add(part / scale));
    let nanoseconds = nanoseconds.ok_or_else(refuse)?;
    if part % scale != 0 || nanoseconds % 1000 != 0 {
        let message = format!("`{number} {unit}` is finer than a microsecond");
        return Err((message, "databases round it; write whole microseconds"));
    }
    i64::try_from(sign * nanoseconds).map_err(|_| refuse())
}

/// `2026-11-22 18:30:00.123456`, with an offset if it has a zone.
fn time(text: &str, zoned: bool) -> Result<i64, Refusal> {
    let text = text.trim();
    let refuse = || (format!("`{text}` is not a time"), TIME);
    let (date, rest) = match text.find([' ', 'T']) {
        Some(at) => (text.get(..at).ok_or_else(refuse)?, text.get(at + 1..).ok_or_else(refuse)?),
        None => (text, ""),
    };
    let mut parts = date.split('-');
    let mut next = |digits: usize| parts.next().and_then(|part| number(part, digits));
    let (year, month, day) = match (next(4), next(2), next(2)) {
        (Some(year), Some(month), Some(day)) => (year, month, day),
        _ => return Err(refuse()),
    };
    if parts.next().is_some()
        || !(1..=12).contains(&month)
        || day < 1
        || day > days_of_month(year, month)
    {
        return Err(refuse());
    }
    let at = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at(at);
    if zoned && zone.is_empty() {
        let message = "a time with time zone but without an offset is ambiguous";
        return Err((message.into(), "write the offset: TIMESTAMPTZ '2026-11-22 18:30:00+00'"));
    }
    if !zoned && !zone.is_empty() {
        return Err(("TIMESTAMP has no offset".into(), "write TIMESTAMPTZ"));
    }
    let offset = offset(zone).ok_or_else(refuse)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    if fraction.len() > 6 {
        let message = format!("`{text}` is finer than a microsecond");
        return Err((message, "databases truncate it; write at most six digits of a second"));
    }
    let seconds = match clock {
        "" if at == 0 && fraction == "0" => 0,
        _ => seconds_of_day(clock).ok_or_else(refuse)?,
    };
    let micros = number(&format!("{fraction:0<6}"), 6).ok_or_else(refuse)?;
    let days = days_since_1970(year, month, day);
    let seconds = days.checked_mul(86_400).and_then(|s| s.checked_add(seconds - offset));
    let nanoseconds = seconds.and_then(|s| s.checked_mul(1_000_000_000));
    let beyond = || (format!("`{text}` is out of range"), "times reach from 1678 to 2261");
    nanoseconds.and_then(|n| n.checked_add(micros * 1000)).ok_or_else(beyond)
}

/// A number with exactly this many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    let right = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit());
    if right { text.parse().ok() } else { None }
}

fn seconds_of_day(clock: &str) -> Option<i64> {
    let parts: Vec<i64> = clock.split(':').map(|part| number(part, 2)).collect::<Option<_>>()?;
    match parts.as_slice() {
        [hour @ 0..=23, minute @ 0..=59] => Some(hour * 3600 + minute * 60),
        [hour @ 0..=23, minute @ 0..=59, second @ 0..=59] => {
            Some(hour * 3600 + minute * 60 + second)
        }
        _ => None,
    }
}

/// Seconds east of Greenwich: `Z`, `+02`, `-05:30` or nothing.
fn offset(zone: &str) -> Option<i64> {
    let (sign, rest) = match zone.split_at_checked(1) {
        None | Some(("Z", "")) => return Some(0),
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    (hours < 16 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_of_month(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// In the Gregorian calendar, also before its introduction. The year begins in March here, so a leap day is its last
/// day.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    before + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_by_databases() {
        for (text, unit, nanoseconds) in [
            ("100 milliseconds", None, 100_000_000),
            (" 1  minute 30 seconds ", None, 90_000_000_000),
            ("-1.5s", None, -1_500_000_000),
            ("1 second -500 ms", None, 500_000_000),
            ("1.5", Some("MILLISECONDS"), 1_500_000),
            ("2", Some("week"), 1_209_600_000_000_000),
        ] {
            assert_eq!(duration(text, unit), Ok(nanoseconds), "{text}");
        }
        for bad in
            ["", "1", "second", "1 parsec", "1. s", ".5 s", "+1 s", "1 month", "0.5 us", "1e3 s"]
        {
            assert!(duration(bad, None).is_err(), "{bad}");
        }
        assert!(duration("99999999999999999999999999999999999999999 s", None).is_err());
        assert!(duration("99999999999 s", None).is_err());
    }

    #[test]
    fn times_are_read_as_by_databases() {
        for (text, zoned, nanoseconds) in [
            ("1970-01-01", false, 0),
            ("2023-11-14 22:13:20.123456", false, 1_700_000_000_123_456_000),
            ("2023-11-14T22:13:20Z", true, 1_700_000_000_000_000_000),
            ("2023-11-14 17:13:20-05:00", true, 1_700_000_000_000_000_000),
            ("2023-11-14 22:13+00", true, 1_699_999_980_000_000_000),
            ("1969-12-31 23:59:59", false, -1_000_000_000),
            ("2024-02-29", false, 1_709_164_800_000_000_000),
        ] {
            assert_eq!(time(text, zoned), Ok(nanoseconds), "{text}");
        }
        for bad in [
            "",
            "now",
            "2023-02-29",
            "2023-13-01",
            "23-01-01",
            "2023-01-01 24:00:00",
            "2023-01-01 10",
            "2023-01-01 10:00:60",
            "2023-01-01 10:00:00.1234567",
            "2023-01-01 10:00:00Z",
            "0001-01-01",
            "2023-01-01-01",
            "2023-01-01 10:00.5ä",
            "ä-ä",
        ] {
            assert!(time(bad, false).is_err(), "{bad}");
        }
        assert!(time("2023-01-01 10:00:00", true).is_err());
        assert!(time("2023-01-01 10:00:00+5", true).is_err());
    }
}
