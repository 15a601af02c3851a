//! Origins and URLs (RFC 6454, RFC 3986): their host and port.

use std::net::IpAddr;

use crate::targets::refusal::shown;

/// The port of each known scheme.
const SCHEMES: [(&str, u16); 4] = [("https", 443), ("http", 80), ("wss", 443), ("ws", 80)];

/// Whether a text begins like a URL.
pub fn is_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, rest)| {
        !rest.is_empty() && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// Host and port of a URL.
///
/// # Errors
/// A lowercase fragment that says what is wrong.
pub fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    let refuse = |why: &str| Err(format!("{} {why}", shown(text)));
    let Some((scheme, rest)) = text.split_once("://") else {
        return refuse("is not a URL");
    };
    let Some((_, usual)) = SCHEMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(scheme))
    else {
        return refuse("has a scheme whose port is not known (http and https are)");
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = &rest[..end];
    if authority.contains('@') {
        return refuse("has a user name");
    }
    // The colons of an IPv6 address are in brackets.
    let after_bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[after_bracket..].rfind(':') {
        Some(at) => {
            let at = after_bracket + at;
            (&authority[..at], Some(&authority[at + 1..]))
        }
        None => (authority, None),
    };
    if host.is_empty() {
        return refuse("has no host");
    }
    match port {
        None | Some("") => Ok((host, *usual)),
        Some(digits) => match digits.parse::<u16>() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => Ok((host, port)),
            _ => refuse("has a port that is not 1 to 65535"),
        },
    }
}

/// The address in a URL's host part, if it is not a name.
pub fn address(host: &str) -> Option<&str> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(|_| bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_a_host_and_a_port() {
        for (url, host, port) in [
            ("https://www.a.example", "www.a.example", 443),
            ("HTTP://m.b.example/", "m.b.example", 80),
            ("http://c.example:8080", "c.example", 8080),
            ("https://d.example:/x?y=a:b#z", "d.example", 443),
            ("https://[2001:db8::1]", "[2001:db8::1]", 443),
            ("http://[2001:db8::1]:81/a", "[2001:db8::1]", 81),
            ("http://192.0.2.1?q=1", "192.0.2.1", 80),
        ] {
            assert_eq!(host_and_port(url), Ok((host, port)), "{url}");
            assert!(is_url(url));
        }
        assert_eq!(address("[2001:db8::1]"), Some("2001:db8::1"));
        assert_eq!(address("a.example"), None);
    }

    #[test]
    fn bad_urls_are_rejected() {
        for (url, why) in [
            ("a.example", "is not a URL"),
            ("ftp://a.example", "scheme"),
            ("https://user@a.example", "user name"),
            ("https://", "no host"),
            ("https://:443", "no host"),
            ("https://a.example:0", "port"),
            ("https://a.example:65536", "port"),
            ("https://a.example:+80", "port"),
        ] {
            let said = host_and_port(url).unwrap_err();
            assert!(said.contains(why), "{url}: {said}");
        }
    }
}
