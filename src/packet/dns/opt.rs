//! The OPT record of a DNS message: what its sender says of EDNS (RFC 6891, 6.1).

/// The type of the record.
pub const OPT: u16 = 41;
/// The option with which a message is padded (RFC 7830).
pub const PADDING: u16 = 12;

/// Octets of type, class, lifetime and length of a record.
const FIELDS: usize = 10;

/// An OPT record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opt {
    /// The largest message in octets that its sender can receive over UDP.
    pub buffer: u16,
    /// The upper eight bits of the RCODE.
    pub rcode_high: u8,
    /// The version of EDNS.
    pub version: u8,
    /// The flags; the highest is DO (RFC 3225).
    pub flags: u16,
    /// Octets of the option Padding, if there is one.
    pub padding: Option<u16>,
}

/// The flag DO: DNSSEC records are welcome (RFC 3225).
pub const DO: u16 = 1 << 15;

/// The first OPT record of the additional section; `at` is the end of the question section, `before` the number of
/// records before the section, and `count` that of its records. `None` if there is none, or if a record before it cannot
/// be read.
pub(super) fn read(octets: &[u8], mut at: usize, before: u32, count: u16) -> Option<Opt> {
    let all = before + u32::from(count);
    for number in 0..all {
        let is_root = octets.get(at) == Some(&0);
        at = skip(octets, at)?;
        let fields: &[u8; FIELDS] = octets.get(at..)?.first_chunk()?;
        let [t, y, c, l, rcode_high, version, f, g, n, m] = *fields;
        let start = at + FIELDS;
        at = start + usize::from(u16::from_be_bytes([n, m]));
        let data = octets.get(start..at)?;
        if number >= before && is_root && u16::from_be_bytes([t, y]) == OPT {
            let (buffer, flags) = (u16::from_be_bytes([c, l]), u16::from_be_bytes([f, g]));
            return Some(Opt { buffer, rcode_high, version, flags, padding: padding(data) });
        }
    }
    None
}

/// Octets of the option Padding.
fn padding(mut options: &[u8]) -> Option<u16> {
    while let Some(([c, d, l, n], rest)) = options.split_first_chunk() {
        let length = u16::from_be_bytes([*l, *n]);
        if u16::from_be_bytes([*c, *d]) == PADDING {
            return Some(length);
        }
        options = rest.get(usize::from(length)..)?;
    }
    None
}

/// Where the name at an offset ends there.
fn skip(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += usize::from(length) + 1,
            // A pointer has two octets (RFC 1035, 4.1.4).
            0xc0.. => return Some(at + 2),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNED: &[u8] = b"\x01a\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\xc0\0\x02\x01";
    const COOKIE: &[u8] = b"\0\x0a\0\x02xy";
    const PADDED: &[u8] = b"\0\x0c\0\x03\0\0\0";

    /// An OPT record with a buffer of 1232 octets, RCODE 16, version 1, and DO.
    fn opt(options: &[u8]) -> Vec<u8> {
        let length = (options.len() as u16).to_be_bytes();
        [&b"\0\0\x29\x04\xd0\x01\x01\x80\0"[..], &length, options].concat()
    }

    #[test]
    fn the_record_is_found_behind_others() {
        let padded = [COOKIE, PADDED].concat();
        for (records, before, count, padding) in [
            (vec![opt(b"")], 0, 1, Some(None)),
            (vec![OWNED.to_vec(), opt(COOKIE)], 1, 1, Some(None)),
            (vec![OWNED.to_vec(), OWNED.to_vec(), opt(&padded)], 1, 2, Some(Some(3))),
            (vec![opt(PADDED), opt(b"")], 0, 2, Some(Some(3))),
            // In another section, behind a record that is cut, of another owner, and not counted.
            (vec![opt(b""), OWNED.to_vec()], 1, 1, None),
            (vec![OWNED[..9].to_vec(), opt(b"")], 1, 1, None),
            (vec![[b"\x01a", &opt(b"")[..]].concat()], 0, 1, None),
            (vec![opt(b"")], 0, 0, None),
        ] {
            let octets = records.concat();
            let found = read(&octets, 0, before, count);
            assert_eq!(found.map(|opt| opt.padding), padding, "{octets:?}");
            if let Some(Opt { buffer, rcode_high, version, flags, .. }) = found {
                assert_eq!((buffer, rcode_high, version, flags), (1232, 1, 1, DO));
            }
            for length in 0..octets.len() {
                read(&octets[..length], 0, before, count);
            }
        }
    }
}
