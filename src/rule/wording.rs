//! What to write in place of words and signs of other languages.

use sqlparser::tokenizer::Token;

/// Signs of other languages, and those of SQL.
const SIGNS: &[(&str, &str)] = &[
    ("&&", "write AND"),
    ("||", "write OR"),
    ("!", "write NOT"),
    ("~", "write NOT; texts are compared with = or IN"),
    ("!~", "texts are compared with <> or NOT IN"),
    ("^", "write <> between two truths; numbers have & and |"),
    ("**", "write a product: a * a"),
    ("//", "/ divides: 7 / 2 is 3.5"),
    ("===", "write ="),
    ("=>", "write >="),
    ("=<", "write <="),
    ("<=>", "write =, and IS NULL for what may be missing"),
    ("<<", "write the product: 46 * 4"),
    (">>", "write the quotient: one.tos / 4"),
    ("::", "values have one type each: CAST is not needed"),
];

/// The remedy for a sign that the parser does not know.
pub(super) fn of_operator(sign: &str) -> Option<&'static str> {
    SIGNS.iter().find(|(known, _)| *known == sign).map(|(_, help)| *help)
}

/// The remedy for a token that no expression has.
pub(super) fn of_token(token: &Token) -> Option<&'static str> {
    let is_sign = matches!(
        token,
        Token::Overlap
            | Token::StringConcat
            | Token::ExclamationMark
            | Token::Tilde
            | Token::Caret
            | Token::Spaceship
            | Token::ShiftLeft
            | Token::ShiftRight
            | Token::RArrow
            | Token::DoubleColon
    );
    if is_sign { of_operator(&token.to_string()) } else { None }
}

/// The remedy for a word that is not a column.
pub(super) fn of_word(word: &str) -> Option<String> {
    let lower = word.to_ascii_lowercase();
    if let Some(dscp) = codepoint(&lower) {
        return Some(format!(
            "the DSCP {} is the number {dscp}: write {dscp}",
            lower.to_uppercase()
        ));
    }
    let help = match lower.as_str() {
        "none" | "nil" | "undefined" | "nan" => "write IS NULL, or IS NOT NULL",
        "yes" | "on" => "write TRUE",
        "no" | "off" => "write FALSE",
        "not_ect" | "notect" | "ect0" | "ect1" | "ce" => {
            "ECN marks are boolean columns, such as one.ecn_ce_data_rev"
        }
        _ => return None,
    };
    Some(help.to_owned())
}

/// The remedy for a function.
pub(super) fn of_function(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "abs" => "write both directions: a - b > 10 OR b - a > 10",
        "ifnull" | "nvl" | "isnull" => "write COALESCE(a, b)",
        "if" | "iif" => "write CASE WHEN ... THEN ... ELSE ... END",
        "max" | "greatest" => "write CASE WHEN a > b THEN a ELSE b END",
        "min" | "least" => "write CASE WHEN a < b THEN a ELSE b END",
        "count" | "sum" | "avg" | "median" => {
            "an expression is about one record; the summary counts labels"
        }
        "contains" | "starts_with" | "ends_with" | "startswith" | "endswith" | "regexp_matches" => {
            "texts are compared as a whole: write = or IN"
        }
        "lower" | "upper" => "write each spelling: IN ('a', 'A')",
        "round" | "floor" | "ceil" | "trunc" => "compare with < and >: no rounding is needed",
        _ => return None,
    })
}

/// The number of a DSCP's name (RFC 2474, 2597, 3246, 8622), in lower-case letters.
fn codepoint(name: &str) -> Option<u8> {
    let digit = |at: usize, least: u8, most: u8| {
        let digit = name.as_bytes().get(at)?.checked_sub(b'0')?;
        (least..=most).contains(&digit).then_some(digit)
    };
    match (name, name.len()) {
        ("ef", _) => Some(46),
        ("le", _) => Some(1),
        (_, 3) if name.starts_with("cs") => Some(8 * digit(2, 0, 7)?),
        (_, 4) if name.starts_with("af") => Some(8 * digit(2, 1, 4)? + 2 * digit(3, 1, 3)?),
        _ => None,
    }
}
