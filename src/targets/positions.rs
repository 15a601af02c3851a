//! Sets of positions in a target list.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;

/// Positions per chunk.
const CHUNK: u64 = 1 << 16;

/// A set of positions, in chunks of 65,536. A chunk with all or none of its positions takes a few octets, any other one
/// 8 KiB: so a million lines take 125 KB at most, and a range of any length takes little.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    chunks: Vec<Chunk>,
    count: u64,
}

#[derive(Debug, Clone, Default)]
struct Chunk {
    count: u32,
    /// A bit for each position; `None` if the chunk has all or none of them.
    bits: Option<Box<[u64; CHUNK as usize / 64]>>,
}

impl Chunk {
    fn is_full(&self) -> bool {
        u64::from(self.count) == CHUNK
    }

    fn contains(&self, at: u64) -> bool {
        self.bits
            .as_ref()
            .map_or(self.is_full(), |bits| bits[at as usize / 64] >> (at % 64) & 1 == 1)
    }

    /// Adds or removes a position; returns whether that changed anything.
    fn set(&mut self, at: u64, to: bool) -> bool {
        if self.contains(at) == to {
            return false;
        }
        let all = if self.is_full() { u64::MAX } else { 0 };
        let bits = self.bits.get_or_insert_with(|| Box::new([all; CHUNK as usize / 64]));
        bits[at as usize / 64] ^= 1 << (at % 64);
        self.count = if to { self.count + 1 } else { self.count - 1 };
        if self.count == 0 || self.is_full() {
            self.bits = None;
        }
        true
    }

    /// Each run of positions, relative to the chunk.
    fn runs(&self) -> impl Iterator<Item = (u64, u64)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let Some(bits) = &self.bits else {
                let whole = self.is_full() && at == 0;
                at = CHUNK;
                return whole.then_some((0, CHUNK - 1));
            };
            let next = |from: u64, set: bool| {
                let word = |at: u64| if set { bits[at as usize] } else { !bits[at as usize] };
                let first =
                    word(from.checked_div(64).filter(|word| *word < CHUNK / 64)?) >> (from % 64);
                if first != 0 {
                    return Some(from + u64::from(first.trailing_zeros()));
                }
                let found = (from / 64 + 1..CHUNK / 64).find(|at| word(*at) != 0)?;
                Some(found * 64 + u64::from(word(found).trailing_zeros()))
            };
            let first = next(at, true)?;
            at = next(first, false).unwrap_or(CHUNK);
            Some((first, at - 1))
        })
    }
}

impl Positions {
    /// No list has more lines, so no larger position is a line's.
    pub const MOST: u64 = 1 << 32;

    /// Adds a position; returns whether it was new.
    pub fn insert(&mut self, position: u64) -> bool {
        let new = self.chunk(position).set(position % CHUNK, true);
        self.count += u64::from(new);
        new
    }

    /// Adds a range of positions.
    pub fn insert_range(&mut self, range: RangeInclusive<u64>) {
        let mut at = *range.start();
        while at <= *range.end() {
            let chunk = self.chunk(at);
            if at.is_multiple_of(CHUNK) && range.end() - at >= CHUNK - 1 {
                let before = std::mem::replace(chunk, Chunk { count: CHUNK as u32, bits: None });
                self.count += CHUNK - u64::from(before.count);
                at += CHUNK;
            } else {
                self.insert(at);
                at += 1;
            }
        }
    }

    /// Adds the positions of another set.
    pub fn extend(&mut self, other: &Self) {
        other.ranges().for_each(|range| self.insert_range(range));
    }

    /// Removes a position.
    pub fn remove(&mut self, position: u64) {
        if self.contains(position) {
            self.chunk(position).set(position % CHUNK, false);
            self.count -= 1;
        }
    }

    /// Removes the positions of another set.
    pub fn subtract(&mut self, other: &Self) {
        for (own, other) in self.chunks.iter_mut().zip(&other.chunks) {
            self.count -= u64::from(own.count);
            if other.is_full() {
                *own = Chunk::default();
            }
            for (first, last) in other.runs() {
                (first..=last).for_each(|at| {
                    own.set(at, false);
                });
            }
            self.count += u64::from(own.count);
        }
    }

    fn chunk(&mut self, position: u64) -> &mut Chunk {
        // Larger positions share the last chunk's place; no line has them.
        let index = usize::try_from(position / CHUNK).unwrap_or(usize::MAX);
        if index >= self.chunks.len() {
            self.chunks.resize_with(index + 1, Chunk::default);
        }
        &mut self.chunks[index]
    }

    /// Whether a position is in the set.
    pub fn contains(&self, position: u64) -> bool {
        let index = usize::try_from(position / CHUNK).unwrap_or(usize::MAX);
        self.chunks.get(index).is_some_and(|chunk| chunk.contains(position % CHUNK))
    }

    /// Number of positions.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All positions, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        self.ranges().flatten()
    }

    /// Runs of positions, in order.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u64>> {
        let runs = (0u64..).zip(&self.chunks).flat_map(|(index, chunk)| {
            chunk.runs().map(move |(first, last)| (index * CHUNK + first, index * CHUNK + last))
        });
        let mut rest = runs.peekable();
        std::iter::from_fn(move || {
            let (first, mut last) = rest.next()?;
            while let Some((_, next)) = rest.next_if(|(next, _)| *next == last + 1) {
                last = next;
            }
            Some(first..=last)
        })
    }

    /// Parses what `Display` writes; `None` for anything else, and if it reaches beyond `last`, or if that is more than
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
            positions.insert_range(from..=to);
        }
        Some(positions)
    }
}

impl PartialEq for Positions {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.ranges().eq(other.ranges())
    }
}

impl Eq for Positions {}

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

    #[test]
    fn a_range_of_any_length_takes_little() {
        let last = Positions::MOST;
        let mut set = Positions::parse(&format!("1-{last}"), last).unwrap();
        assert_eq!((set.len(), set.to_string()), (last, format!("1-{last}")));
        // Only the chunks at both ends have bits.
        assert_eq!(set.chunks.iter().filter(|chunk| chunk.bits.is_some()).count(), 2);
        set.subtract(&Positions::parse("1-70000,200000", last).unwrap());
        assert_eq!(set.to_string(), format!("70001-199999,200001-{last}"));
        assert!(set.contains(70_001) && !set.contains(70_000) && !set.contains(200_000));
    }

    #[test]
    fn a_set_is_what_its_operations_say() {
        let mut random = 1_u64;
        let mut dice = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 33) % below
        };
        let (mut set, mut model) = (Positions::default(), std::collections::BTreeSet::new());
        for _ in 0..40 {
            let first = dice(3 * CHUNK);
            let last = first + dice(2 * CHUNK);
            match dice(4) {
                0 => {
                    set.insert_range(first..=last);
                    model.extend(first..=last);
                }
                1 => {
                    set.subtract(&(first..=last).collect());
                    model.retain(|at| !(first..=last).contains(at));
                }
                2 => assert_eq!(set.insert(first), model.insert(first)),
                _ => {
                    set.remove(first);
                    model.remove(&first);
                }
            }
            assert_eq!(set.len(), model.len() as u64);
        }
        assert!(set.iter().eq(model.iter().copied()) && !set.is_empty());
        assert_eq!(set, model.into_iter().collect());
    }
}
