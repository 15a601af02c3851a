//! A line of bash as words. Bash itself divides words at `=` and `:`, too, so its words are not those that a program gets.

/// The words of a line; the last one is being typed, and empty after a space. Variables and commands in it are not
/// expanded.
pub fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quote, mut between) = (None, true);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => quote = Some(c),
            ('\\', None | Some('"')) => extend(&mut words, chars.next()),
            (c, None) if c.is_whitespace() => {
                if !between {
                    words.push(String::new());
                }
                between = true;
                continue;
            }
            (c, _) => extend(&mut words, Some(c)),
        }
        between = false;
    }
    words
}

/// Adds to the last word.
fn extend(words: &mut [String], c: Option<char>) {
    if let Some(last) = words.last_mut() {
        last.extend(c);
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn lines_become_words() {
        assert_eq!(words("a bc  d"), ["a", "bc", "d"]);
        assert_eq!(words("a bc "), ["a", "bc", ""]);
        assert_eq!(words("  a"), ["a"]);
        assert_eq!(words(r#"a 'b c' "d\"e" f\ g"#), ["a", "b c", "d\"e", "f g"]);
        assert_eq!(words("a 'b "), ["a", "b "]);
        assert_eq!(words("a '' "), ["a", "", ""]);
        assert_eq!(words("a --set x=1"), ["a", "--set", "x=1"]);
        assert_eq!(words(""), [""]);
        assert_eq!(words("a \\"), ["a", ""]);
    }
}
