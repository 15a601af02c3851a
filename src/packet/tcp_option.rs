//! TCP options (RFC 9293, section 3.2) of every kind, known or not.

/// Kinds of options (IANA, TCP option kind numbers).
pub mod kind {
    /// Maximum segment size (RFC 9293).
    pub const MSS: u8 = 2;
    /// Window scale (RFC 7323).
    pub const WINDOW_SCALE: u8 = 3;
    /// Selective acknowledgment permitted (RFC 2018).
    pub const SACK_PERMITTED: u8 = 4;
    /// Selective acknowledgment (RFC 2018).
    pub const SACK: u8 = 5;
    /// Timestamps (RFC 7323).
    pub const TIMESTAMPS: u8 = 8;
    /// Multipath TCP (RFC 8684).
    pub const MPTCP: u8 = 30;
    /// Fast Open cookie (RFC 7413).
    pub const FAST_OPEN: u8 = 34;
    /// Shared by experiments (RFC 6994), which the first two octets distinguish.
    pub const EXPERIMENT_1: u8 = 253;
    /// Like 253.
    pub const EXPERIMENT_2: u8 = 254;
}

/// The experiment identifier of TCP Fast Open before it had a number (RFC 7413, 4.1.1).
pub const FAST_OPEN_EXPERIMENT: [u8; 2] = [0xf9, 0x89];

/// One option: its kind, and the octets after kind and length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpOption<'a> {
    /// Kind.
    pub kind: u8,
    /// Value.
    pub value: &'a [u8],
}

/// The options of a header, up to its end, an End of Option List, or an option with an invalid length.
pub fn options(mut bytes: &[u8]) -> impl Iterator<Item = TcpOption<'_>> {
    std::iter::from_fn(move || {
        loop {
            match *bytes.first()? {
                0 => return None,
                1 => bytes = &bytes[1..],
                kind => {
                    let length = usize::from(*bytes.get(1)?);
                    // Shorter than its own head or longer than the header: the rest cannot be trusted.
                    let value = bytes.get(2..length)?;
                    bytes = &bytes[length..];
                    return Some(TcpOption { kind, value });
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(bytes: &[u8]) -> Vec<u8> {
        options(bytes).map(|option| option.kind).collect()
    }

    #[test]
    fn unknown_kinds_do_not_end_the_list() {
        let bytes = [2, 4, 5, 180, 1, 76, 3, 9, 30, 4, 0, 0, 3, 3, 7, 0, 8, 10];
        assert_eq!(kinds(&bytes), [2, 76, 30, 3]);
    }

    #[test]
    fn a_length_of_zero_one_or_beyond_the_header_ends_it() {
        for length in [0, 1, 200] {
            assert_eq!(kinds(&[4, 2, 2, length, 5, 180]), [4], "{length}");
        }
        assert_eq!(kinds(&[4, 2, 2]), [4], "no length at all");
    }
}
