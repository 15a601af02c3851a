//! Octets of ours, spoilt by bolero.

use bolero::{TypeGenerator, produce};

/// What is done to octets of ours; places are taken modulo their length.
#[derive(Debug, TypeGenerator)]
pub struct Spoilt {
    /// Which of some octets it was.
    pub which: u32,
    #[generator(produce::<Vec<Deed>>().with().len(1usize..=5))]
    deeds: Vec<Deed>,
}

/// A bad thing done to some bytes.
#[derive(Debug, TypeGenerator)]
pub enum Deed {
    Set(u32, u8),
    Flip(u32, #[generator(0u8..8)] u8),
    Extreme(u32, #[generator(0usize..5)] usize),
    /// A length, near what it was.
    Shift(u32, #[generator(-4i8..=4)] i8),
    /// Four octets of one number, the largest and the smallest ones.
    Four(u32, #[generator(0usize..4)] usize),
    Cut(u32),
    Repeat(Range, u32),
    Remove(Range),
    Overwrite(Range, u32),
}

#[derive(Debug, TypeGenerator)]
pub struct Range {
    from: u32,
    #[generator(1usize..=64)]
    length: usize,
}

impl Range {
    fn of(&self, bytes: &[u8]) -> std::ops::Range<usize> {
        let from = place(self.from, bytes.len());
        from..(from + self.length).min(bytes.len())
    }
}

/// A place in octets of this length.
pub fn place(number: u32, length: usize) -> usize {
    number as usize % length.max(1)
}

impl Spoilt {
    pub fn of(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for deed in &self.deeds {
            if bytes.is_empty() {
                break;
            }
            deed.done_to(&mut bytes);
        }
        bytes
    }
}

impl Deed {
    pub fn done_to(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        match self {
            Deed::Set(at, value) => bytes[place(*at, length)] = *value,
            Deed::Flip(at, bit) => bytes[place(*at, length)] ^= 1 << bit,
            Deed::Extreme(at, which) => {
                bytes[place(*at, length)] = [0, 1, 0x7f, 0x80, 0xff][*which]
            }
            Deed::Shift(at, by) => {
                let octet = &mut bytes[place(*at, length)];
                *octet = octet.wrapping_add_signed(*by);
            }
            Deed::Four(at, which) => {
                let four = [[0xff; 4], [0; 4], [0x7f, 0xff, 0xff, 0xff], [0, 0, 0, 1]][*which];
                let old = bytes.iter_mut().skip(place(*at, length));
                old.zip(four).for_each(|(old, new)| *old = new);
            }
            Deed::Cut(at) => bytes.truncate(place(*at, length)),
            Deed::Repeat(range, at) => {
                let (again, at) = (bytes[range.of(bytes)].to_vec(), place(*at, length));
                bytes.splice(at..at, again);
            }
            Deed::Remove(range) => drop(bytes.drain(range.of(bytes))),
            Deed::Overwrite(range, at) => {
                let (again, at) = (bytes[range.of(bytes)].to_vec(), place(*at, length));
                bytes.splice(at..(at + again.len()).min(length), again);
            }
        }
    }
}
