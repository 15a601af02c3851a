//! Header compression of HTTP/2 (HPACK, RFC 7541): a decoder for hostile input, and a stateless encoder.
//!
//! # Bounds
//!
//! The caller bounds the block ([`headers`](super::headers)). The dynamic table holds at most [`TABLE`]
//! octets as the RFC counts them, or 128 entries, so one connection's table takes less than
//! 16 KiB. A field is passed to the caller by reference and not kept. Every octet of a block is read once, and a
//! field copies at most [`TABLE`] octets.

mod fixed;
mod huffman;

use std::borrow::Cow;
use std::collections::VecDeque;

use self::fixed::STATIC;
use super::wrong::{UNDECODABLE, Wrong};

/// The default size of the dynamic table (RFC 7541, 4.2, and RFC 9113, 6.5.2).
pub(super) const TABLE: usize = 4096;
/// The overhead counted per entry (RFC 7541, 4.1).
const ENTRY: usize = 32;

/// Name and value.
type Field<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// Decodes the header blocks of one connection, in order.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The newest entry first.
    entries: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// The counted size of the entries.
    size: usize,
    /// The largest size, as the peer's encoder chose it.
    most: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, most: TABLE }
    }
}

impl Decoder {
    /// Decodes a complete block, and calls `each` with name and value of every field.
    ///
    /// # Errors
    ///
    /// If the block violates RFC 7541. The connection is then unusable: the tables differ.
    pub(super) fn decode(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Wrong> {
        let mut rest = block;
        let mut fields = 0;
        while let Some(first) = rest.first() {
            match first {
                // An indexed field (6.1).
                0x80.. => {
                    let index = integer(&mut rest, 7)?;
                    let (name, value) = self.entry(index)?;
                    each(name, value);
                }
                // A literal that becomes an entry (6.2.1).
                0x40.. => {
                    let (name, value) = self.literal(&mut rest, 6)?;
                    each(&name, &value);
                    let (name, value) = (name.into_owned(), value.into_owned());
                    self.insert(name, value);
                }
                // A change of the table's size (6.3), allowed only at the beginning of a block (4.2).
                0x20.. => {
                    let most = integer(&mut rest, 5)?;
                    if most > TABLE || fields > 0 {
                        return Err(UNDECODABLE);
                    }
                    self.most = most;
                    self.evict(0);
                    continue;
                }
                // A literal that does not, or must not, become an entry (6.2.2 and 6.2.3).
                _ => {
                    let (name, value) = self.literal(&mut rest, 4)?;
                    each(&name, &value);
                }
            }
            fields += 1;
        }
        Ok(())
    }

    /// The field with an index in both tables (2.3.3).
    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Wrong> {
        let place = index.checked_sub(1).ok_or(UNDECODABLE)?;
        if let Some((name, value)) = STATIC.get(place) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = self.entries.get(place - STATIC.len());
        entry.map(|(name, value)| (name.as_slice(), value.as_slice())).ok_or(UNDECODABLE)
    }

    /// A literal field, whose name may refer to an entry.
    fn literal<'a, 'b: 'a>(&'a self, rest: &mut &'b [u8], prefix: u32) -> Result<Field<'a>, Wrong> {
        let name = match integer(rest, prefix)? {
            0 => string(rest)?,
            index => Cow::Borrowed(self.entry(index)?.0),
        };
        Ok((name, string(rest)?))
    }

    /// Adds an entry, if an empty table has room for it (4.4).
    fn insert(&mut self, name: Vec<u8>, value: Vec<u8>) {
        let size = name.len() + value.len() + ENTRY;
        self.evict(size);
        if size <= self.most {
            self.size += size;
            self.entries.push_front((name, value));
        }
    }

    /// Removes the oldest entries until there is room for this many octets, or none is left.
    fn evict(&mut self, room: usize) {
        while self.size + room > self.most
            && let Some((name, value)) = self.entries.pop_back()
        {
            self.size -= name.len() + value.len() + ENTRY;
        }
    }
}

/// An integer with this many bits in its first octet (5.1).
fn integer(rest: &mut &[u8], prefix: u32) -> Result<usize, Wrong> {
    let (first, mut after) = rest.split_first().ok_or(UNDECODABLE)?;
    let full = (1usize << prefix) - 1;
    let mut value = usize::from(*first) & full;
    if value == full {
        let mut shift = 0;
        loop {
            let (octet, more) = after.split_first().ok_or(UNDECODABLE)?;
            after = more;
            // No valid value is that large or needs that many octets.
            if shift > 21 {
                return Err(UNDECODABLE);
            }
            value += (usize::from(*octet) & 0x7f) << shift;
            shift += 7;
            if octet & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = after;
    Ok(value)
}

/// A string (5.2).
fn string<'a>(rest: &mut &'a [u8]) -> Result<Cow<'a, [u8]>, Wrong> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (octets, after) = rest.split_at_checked(length).ok_or(UNDECODABLE)?;
    *rest = after;
    match coded {
        true => huffman::decode(octets).map(Cow::Owned),
        false => Ok(Cow::Borrowed(octets)),
    }
}

/// A block of fields. No field becomes an entry, so blocks do not depend on each other.
pub(crate) fn encode<'a>(fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        let place = |is: &dyn Fn(&(&str, &str)) -> bool| STATIC.iter().position(is);
        if let Some(place) = place(&|entry| *entry == (name, value)) {
            write_integer(&mut block, 0x80, 7, place + 1);
            continue;
        }
        match place(&|(known, _)| *known == name) {
            Some(place) => write_integer(&mut block, 0, 4, place + 1),
            None => {
                block.push(0);
                write_string(&mut block, name);
            }
        }
        write_string(&mut block, value);
    }
    block
}

fn write_string(block: &mut Vec<u8>, text: &str) {
    write_integer(block, 0, 7, text.len());
    block.extend_from_slice(text.as_bytes());
}

fn write_integer(block: &mut Vec<u8>, pattern: u8, prefix: u32, value: usize) {
    let full = (1usize << prefix) - 1;
    // A value below `full` fits the prefix.
    let first = value.min(full);
    block.push(pattern | first as u8);
    if first < full {
        return;
    }
    let mut left = value - full;
    while left >= 0x80 {
        block.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    block.push(left as u8);
}

#[cfg(test)]
mod tests;
