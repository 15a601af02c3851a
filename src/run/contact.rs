//! The contact that a run names to those it probes.

/// Maximum octets of a contact in the User-Agent, so that a request fits a segment.
const LONGEST_CONTACT: usize = 120;

/// A URI of RFC 9511's kinds that can stand in a comment of a User-Agent (RFC 9110, 5.6.5).
///
/// # Errors
/// What it must be.
pub fn contact(text: &str) -> Result<String, String> {
    let known = ["https://", "mailto:", "tel:"];
    let Some(scheme) = known.into_iter().find(|scheme| text.starts_with(scheme)) else {
        return Err("must be a URI that begins with https://, mailto: or tel: (RFC 9511)".into());
    };
    let fits =
        |b: u8| b.is_ascii_graphic() && !matches!(b, b'(' | b')' | b'"' | b'\\' | b'<' | b'>');
    match text.len() {
        length if length == scheme.len() => Err(format!("there is nothing after {scheme}")),
        length if length > LONGEST_CONTACT => {
            Err(format!("is longer than {LONGEST_CONTACT} octets"))
        }
        _ if !text.bytes().all(fits) => {
            Err("must be visible ASCII without spaces, parentheses, quotes or backslashes".into())
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_that_fit_a_user_agent() {
        for (text, good) in [
            ("https://example.org/probing.txt", true),
            ("mailto:lab@example.org", true),
            ("tel:+1-201-555-0123", true),
            ("http://example.org", false),
            ("example.org", false),
            ("mailto:", false),
            ("mailto:a b", false),
            ("mailto:a)\r\nX: y", false),
            ("https://example.org/(x)", false),
        ] {
            assert_eq!(contact(text).is_ok(), good, "{text:?}");
        }
        assert!(contact(&format!("mailto:{}", "a".repeat(LONGEST_CONTACT))).is_err());
    }
}
