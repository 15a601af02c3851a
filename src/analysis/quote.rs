//! Names and texts in SQL.

/// A text in quotes.
pub fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A name in quotes where it is none of plain letters.
pub fn name(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match plain && !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty() {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(
            ["a_1", "A", "1a", "", "a\"b"].map(name),
            ["a_1", "\"A\"", "\"1a\"", "\"\"", "\"a\"\"b\""]
        );
    }
}
