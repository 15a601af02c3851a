//! Names that can be looked up in the DNS.
//!
//! Host names as in RFC 1123, 2.1, and `_`, which names in use contain as well. Names in other scripts than ASCII are
//! rejected, not encoded: only the author of the list knows which encoding was meant (IDNA 2003 or 2008).

use std::net::IpAddr;

use super::refusal::shown;

/// The longest name in octets, dots included (RFC 1035, 2.3.4).
const LONGEST: usize = 253;
/// The longest label in octets.
const LONGEST_LABEL: usize = 63;

/// The name without the dot at its end.
///
/// # Errors
/// A lowercase fragment that says why it cannot be a name.
pub fn check(text: &str) -> Result<&str, String> {
    let text = text.trim();
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err("an empty name".into());
    }
    let refuse = |why: &str| Err(format!("{} {why}", shown(text)));
    if name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
        return refuse("is an address, not a name");
    }
    if !name.is_ascii() {
        return refuse("is not ASCII: give its xn-- form");
    }
    if name.len() > LONGEST {
        return refuse("is longer than 253 octets");
    }
    for label in name.split('.') {
        if label.is_empty() {
            return refuse("has an empty label: two dots, or a dot in front");
        }
        if label.len() > LONGEST_LABEL {
            return refuse("has a label of more than 63 octets");
        }
        if let Some(bad) =
            label.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
        {
            return refuse(&format!("has {bad:?}, which is not allowed in names"));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return refuse("has a label that begins or ends with a hyphen");
        }
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn valid_and_invalid_names() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        for name in
            ["example.org", "EXAMPLE.org", "_dmarc.example.org", "3com", "xn--nxasmq6b", &longest]
        {
            assert_eq!(check(name), Ok(name));
            assert_eq!(check(&format!(" {name}. ")), Ok(name));
        }
        for (name, why) in [
            ("", "an empty name"),
            (".", "an empty name"),
            ("a..b", "an empty label"),
            (".a", "an empty label"),
            ("-a.b", "a hyphen"),
            ("a-.b", "a hyphen"),
            ("a b", "\' \', which is not allowed in names"),
            ("a/b", "\'/\'"),
            ("http://a", "\':\'"),
            ("a\u{1b}[31m", "\"a\\u{1b}[31m\" has \'\\u{1b}\'"),
            ("bücher.example", "xn--"),
            ("192.0.2.1", "an address"),
            ("[2001:db8::1]", "an address"),
            (&format!("{label}a.b"), "63"),
            (&format!("{longest}b"), "253"),
        ] {
            let said = check(name).unwrap_err();
            assert!(said.contains(why), "{name:?}: {said}");
        }
    }
}
