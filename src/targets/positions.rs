//! Sets of positions in a target list.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;

/// A set of positions: a bit for each up to the largest, so a million lines take 125 KB.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Positions {
    words: Vec<u64>,
    count: u64,
}

impl Positions {
    /// No list has more lines: a larger position is no line's.
    pub const MOST: u64 = 1 << 32;

    /// Adds a position; says whether it was new.
    pub fn insert(&mut self, position: u64) -> bool {
        let (word, bit) = place(position);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(new);
        new
    }

    /// Takes a position out.
    pub fn remove(&mut self, position: u64) {
        let (word, bit) = place(position);
        if let Some(word) = self.words.get_mut(word).filter(|word| **word & bit != 0) {
            *word &= !bit;
            self.count -= 1;
        }
    }

    /// Whether a position is among them.
    pub fn contains(&self, position: u64) -> bool {
        let (word, bit) = place(position);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        (0u64..).zip(&self.words).flat_map(|(place, word)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * 64 + bit)
        })
    }

    /// Neighbours put together, in order.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let mut rest = self.iter().peekable();
        std::iter::from_fn(move || {
            let first = rest.next()?;
            let mut last = first;
            while let Some(next) = rest.next_if(|next| *next == last + 1) {
                last = next;
            }
            Some(first..=last)
        })
    }

    /// Reads what `Display` writes; `None` if it is something else, or reaches beyond `last`, or if that is more than
    /// [`Positions::MOST`].
    pub fn parse(text: &str, last: u64) -> Option<Self> {
        if last > Self::MOST {
            return None;
        }
        let mut positions = Self::default();
        for range in text.split(',').filter(|range| !range.is_empty()) {
            let (from, to) = range.split_once('-').unwrap_or((range, range));
            let (from, to): (u64, u64) = (from.parse().ok()?, to.parse().ok()?);
            if to > last {
                return None;
            }
            for position in from..=to {
                positions.insert(position);
            }
        }
        Some(positions)
    }
}

impl FromIterator<u64> for Positions {
    fn from_iter<T: IntoIterator<Item = u64>>(positions: T) -> Self {
        let mut set = Self::default();
        for position in positions {
            set.insert(position);
        }
        set
    }
}

/// `1,5-9,12`.
impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, range) in self.ranges().enumerate() {
            if number > 0 {
                f.write_char(',')?;
            }
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{first}")?,
                (first, last) => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

fn place(position: u64) -> (usize, u64) {
    // More words than memory has cannot be asked for: every position is a line that was read.
    (usize::try_from(position / 64).unwrap_or(usize::MAX), 1 << (position % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_written_as_ranges_and_read_back() {
        let set: Positions = [9, 1, 5, 6, 7, 63, 64, 65, 200, 5].into_iter().collect();
        assert_eq!((set.len(), set.to_string().as_str()), (9, "1,5-7,9,63-65,200"));
        assert_eq!(Positions::parse("1,5-7,9,63-65,200", 200), Some(set.clone()));
        assert!(set.contains(64) && !set.contains(8) && !set.contains(1 << 40));
        assert_eq!(Positions::parse("", 0), Some(Positions::default()));
        for bad in ["x", "1-", "1,2-x", "-3", "1-300"] {
            assert_eq!(Positions::parse(bad, 200), None, "{bad}");
        }
        assert_eq!(Positions::parse("1", u64::MAX), None);
    }
}
