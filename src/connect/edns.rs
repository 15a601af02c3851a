//! EDNS in a query: its OPT record (RFC 6891), and padding (RFC 7830).

use std::ops::RangeInclusive;

use crate::packet::dns::{DO, OPT, PADDING};

/// Sizes that `buffer` may have. A responder treats smaller ones as 512 (RFC 6891, 6.2.3).
pub const BUFFERS: RangeInclusive<i64> = 512..=65_535;
/// Versions that `version` may have; there is only 0 (RFC 6891).
pub const VERSIONS: RangeInclusive<i64> = 0..=255;
/// Block sizes that `padding` may have: up to the largest message that should be sent over UDP (RFC 9715, 3.1).
pub const BLOCKS: RangeInclusive<i64> = 1..=1400;

/// Octets of an OPT record without options, and of the header of an option.
const RECORD: usize = 11;
const OPTION: usize = 4;
/// Where a message counts the records of its additional section.
const COUNT: usize = 10;

/// What a query says by EDNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edns {
    /// The largest answer in octets over UDP.
    pub buffer: u16,
    /// The flag DO.
    pub dnssec: bool,
    /// The version.
    pub version: u8,
    /// The query is padded to a multiple of this many octets (RFC 8467, 4.1).
    pub padding: Option<u16>,
}

impl Default for Edns {
    fn default() -> Self {
        Self { buffer: 1232, dnssec: false, version: 0, padding: None }
    }
}

impl Edns {
    /// A description for people.
    pub fn describe(&self) -> String {
        let mut words = format!("EDNS with a buffer of {} octets", self.buffer);
        if self.version != 0 {
            words = words.replace("EDNS", &format!("EDNS version {}", self.version));
        }
        if self.dnssec {
            words.push_str(", DO");
        }
        match self.padding {
            Some(block) => format!("{words}, padded to multiples of {block} octets"),
            None => words,
        }
    }

    /// Octets of a query that has this many without its OPT record.
    pub(super) fn octets(&self, query: usize) -> usize {
        match self.padding {
            Some(block) => (query + RECORD + OPTION).next_multiple_of(usize::from(block.max(1))),
            None => query + RECORD,
        }
    }

    /// Appends the record to a query that has none; pads it to `exactly` this many octets, if given. `None` if it is longer.
    pub(super) fn append(&self, query: &mut Vec<u8>, exactly: Option<usize>) -> Option<()> {
        let padded = exactly.or_else(|| self.padding.map(|_| self.octets(query.len())));
        let options = match padded {
            Some(length) => Some(length.checked_sub(query.len() + RECORD + OPTION)?),
            None => None,
        };
        let count = query.get_mut(COUNT..)?.first_chunk_mut()?;
        *count = u16::from_be_bytes(*count).checked_add(1)?.to_be_bytes();
        let length = options.map_or(0, |padding| padding + OPTION);
        // The root, then type, class (the buffer), lifetime (upper RCODE, version, flags) and length.
        query.push(0);
        query.extend(OPT.to_be_bytes());
        query.extend(self.buffer.to_be_bytes());
        query.extend([0, self.version]);
        query.extend((if self.dnssec { DO } else { 0 }).to_be_bytes());
        query.extend(u16::try_from(length).ok()?.to_be_bytes());
        if let Some(padding) = options {
            query.extend(PADDING.to_be_bytes());
            query.extend(u16::try_from(padding).ok()?.to_be_bytes());
            query.resize(query.len() + padding, 0);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::dns::{Message, Opt};

    const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";

    #[test]
    fn the_record_is_what_a_server_reads() {
        let plain = Edns::default();
        for (edns, exactly, octets, padding) in [
            (plain, None, Some(QUERY.len() + 11), None),
            (Edns { buffer: 4096, dnssec: true, version: 1, ..plain }, None, Some(30), None),
            (Edns { padding: Some(128), ..plain }, None, Some(128), Some(94)),
            (Edns { padding: Some(1), ..plain }, None, Some(34), Some(0)),
            (Edns { padding: Some(128), ..plain }, Some(1472), Some(1472), Some(1438)),
            (plain, Some(34), Some(34), Some(0)),
            (plain, Some(33), None, None),
        ] {
            let mut query = QUERY.to_vec();
            let whole = edns.append(&mut query, exactly).map(|()| query.len());
            assert_eq!(whole, octets, "{edns:?}");
            if whole.is_none() {
                continue;
            }
            let opt = Message::read(&query).unwrap().opt();
            let Edns { buffer, version, dnssec, .. } = edns;
            let flags = if dnssec { DO } else { 0 };
            assert_eq!(opt, Some(Opt { buffer, rcode_high: 0, version, flags, padding }));
            assert!(exactly.is_some() || query.len() == edns.octets(QUERY.len()), "{edns:?}");
        }
    }
}
