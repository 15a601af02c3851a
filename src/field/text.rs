//! Columns of short ASCII texts, written without the formatter: every flow has some.

use std::net::Ipv6Addr;
use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray, builder::NullBufferBuilder};
use arrow_buffer::{Buffer, OffsetBuffer, ScalarBuffer};

use super::Nullable;

/// Builder of such a column.
#[derive(Debug)]
pub struct Texts {
    bytes: Vec<u8>,
    /// The offset of each text, and the end of the last one.
    places: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Default for Texts {
    fn default() -> Self {
        Self { bytes: Vec::new(), places: vec![0], nulls: NullBufferBuilder::new(0) }
    }
}

/// The decimal digits of each octet, and their number.
static DECIMALS: [([u8; 4], usize); 256] = {
    let mut all = [([0; 4], 0); 256];
    let mut number = 0;
    while number < 256 {
        let [a, b, c] = [
            b'0' + (number / 100) as u8,
            b'0' + (number / 10 % 10) as u8,
            b'0' + (number % 10) as u8,
        ];
        all[number] = match number {
            0..10 => ([c, 0, 0, 0], 1),
            10..100 => ([b, c, 0, 0], 2),
            _ => ([a, b, c, 0], 3),
        };
        number += 1;
    }
    all
};

/// The first of the longest runs of two or more zero groups, as (begin, end), indexed by which groups are zero (bit 0
/// is the first group).
static RUNS: [(u8, u8); 256] = {
    let mut all = [(8, 8); 256];
    let mut zeros = 0;
    while zeros < 256 {
        let (mut longest, mut begin) = (1, 0);
        while begin < 8 {
            let mut end = begin;
            while end < 8 && zeros >> end & 1 == 1 {
                end += 1;
            }
            if end - begin > longest {
                longest = end - begin;
                all[zeros] = (begin as u8, end as u8);
            }
            begin = end + 1;
        }
        zeros += 1;
    }
    all
};

impl Texts {
    /// Maximum numbers in one text: the options of a TCP header, of two octets each or more.
    pub(crate) const MOST: usize = 20;

    /// The column of some cells. Neighbours are often equal: the same source address, the options of the same kernel.
    pub(crate) fn of<'a, T: Nullable<Column = Self> + PartialEq + 'a>(
        cells: impl Iterator<Item = Option<&'a T>>,
    ) -> ArrayRef {
        let mut column = Self::default();
        let mut last = (None, 0..0);
        for cell in cells {
            match cell {
                None => column.add_null(),
                Some(_) if last.0 == cell => {
                    column.bytes.extend_from_within(last.1.clone());
                    column.end(true);
                }
                Some(value) => {
                    let begin = column.bytes.len();
                    value.append(&mut column);
                    last = (cell, begin..column.bytes.len());
                }
            }
        }
        column.finish()
    }

    /// Appends a text.
    fn add(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.end(true);
    }

    /// Appends a null.
    pub(crate) fn add_null(&mut self) {
        self.end(false);
    }

    fn end(&mut self, known: bool) {
        // A batch is far smaller than that.
        self.places.push(self.bytes.len() as i32);
        self.nulls.append(known);
    }

    /// Appends numbers with a separator, at most [`MOST`](Self::MOST).
    pub(crate) fn add_numbers(&mut self, numbers: &[u8], between: u8) {
        let mut text = [0; 4 * Self::MOST];
        let mut end = 0;
        for number in &numbers[..numbers.len().min(Self::MOST)] {
            let (digits, count) = DECIMALS[usize::from(*number)];
            text[end..end + 4].copy_from_slice(&digits);
            text[end + count] = between;
            end += count + 1;
        }
        self.add(&text[..end.saturating_sub(1)]);
    }

    /// Appends an IPv6 address in its canonical form (RFC 5952): the first of the longest runs of two or more zero
    /// groups is left out.
    pub(crate) fn add_v6(&mut self, address: Ipv6Addr) {
        if let Some(v4) = address.to_ipv4_mapped() {
            return self.add(format!("::ffff:{v4}").as_bytes());
        }
        let groups = address.segments();
        let zeros =
            groups.iter().rev().fold(0, |zeros, group| zeros << 1 | usize::from(*group == 0));
        let (begin, after) = RUNS[zeros];
        let mut text = [0; 8 * 5 + 4];
        let mut end = 0;
        for (place, group) in (0..).zip(groups) {
            if (begin..after).contains(&place) {
                // One colon ends the groups before it, if there are any; here is the other.
                let colons = match place {
                    0 => 2,
                    _ => usize::from(place == begin),
                };
                text[end..end + 2].copy_from_slice(b"::");
                end += colons;
                continue;
            }
            // Nibbles to digits; the leading zeros are shifted out.
            let skipped = (group | 1).leading_zeros() / 4;
            let spread =
                [12, 8, 4, 0].map(|shift| b"0123456789abcdef"[usize::from(group >> shift & 0xf)]);
            let digits = u32::from_be_bytes(spread) << (8 * skipped);
            text[end..end + 4].copy_from_slice(&digits.to_be_bytes());
            end += 4 - skipped as usize;
            text[end] = b':';
            end += 1;
        }
        // The last group has a colon after it that must go.
        self.add(&text[..end - usize::from(after != 8 || begin == 8)]);
    }

    /// Takes the column and leaves an empty one.
    pub(crate) fn finish(&mut self) -> ArrayRef {
        let Self { bytes, places, mut nulls } = std::mem::take(self);
        let places = OffsetBuffer::new(ScalarBuffer::from(places));
        let count = places.len() - 1;
        let texts = StringArray::try_new(places, Buffer::from_vec(bytes), nulls.finish());
        // Only ASCII was added.
        Arc::new(texts.unwrap_or_else(|_| StringArray::new_null(count)))
    }
}
