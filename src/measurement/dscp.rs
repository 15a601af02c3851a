//! The names of DSCPs, and the socket options that contain one.

use crate::step::sockopt::SockoptDef;

/// Whether an option is the TOS byte or the traffic class.
pub(super) fn is_class(row: &SockoptDef) -> bool {
    matches!(row.name, "ip_tos" | "ipv6_tclass")
}

/// The DSCP of a name: cs1, af11, ef, le.
pub(super) fn codepoint(name: &str) -> Option<i64> {
    let name = name.to_lowercase();
    let digits =
        |text: &str| text.bytes().map(|b| char::from(b).to_digit(10)).collect::<Option<Vec<_>>>();
    match (name.as_str(), name.get(..2), name.get(2..).and_then(digits).as_deref()) {
        ("ef", ..) => Some(46),
        ("le", ..) => Some(1),
        (_, Some("cs"), Some([class @ 0..8])) => Some(i64::from(8 * class)),
        (_, Some("af"), Some([class @ 1..5, drop @ 1..4])) => Some(i64::from(8 * class + 2 * drop)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_codepoints() {
        for (name, dscp) in
            [("EF", 46), ("cs0", 0), ("CS7", 56), ("af11", 10), ("AF43", 38), ("le", 1)]
        {
            assert_eq!(codepoint(name), Some(dscp), "{name}");
        }
        for name in ["", "e", "cs8", "af50", "af14", "af1", "ä", "cs", "efs"] {
            assert_eq!(codepoint(name), None, "{name}");
        }
    }
}
