//! The names of DSCPs, and the socket options that contain one.

use crate::step::sockopt::SockoptDef;

/// Whether an option is the TOS byte or the traffic class.
pub(super) fn is_class(row: &SockoptDef) -> bool {
    matches!(row.name, "ip_tos" | "ipv6_tclass")
}

/// Every name (RFC 2474, 2597, 3246, 5865, 8622, 9956) with its DSCP.
pub(super) const NAMES: [(&str, i64); 25] = [
    ("df", 0),
    ("cs0", 0),
    ("cs1", 8),
    ("cs2", 16),
    ("cs3", 24),
    ("cs4", 32),
    ("cs5", 40),
    ("cs6", 48),
    ("cs7", 56),
    ("af11", 10),
    ("af12", 12),
    ("af13", 14),
    ("af21", 18),
    ("af22", 20),
    ("af23", 22),
    ("af31", 26),
    ("af32", 28),
    ("af33", 30),
    ("af41", 34),
    ("af42", 36),
    ("af43", 38),
    ("ef", 46),
    ("va", 44),
    ("le", 1),
    ("nqb", 45),
];

/// The DSCP of a name: cs1, af11, ef, le.
pub(super) fn codepoint(name: &str) -> Option<i64> {
    let name = name.to_lowercase();
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, dscp)| *dscp)
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
