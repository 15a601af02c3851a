//! Networks that may contain each other become ranges that do not overlap.

use std::collections::HashMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::{About, AsTable, MOST};

/// The number of the empty set.
const NONE: u32 = 0;

/// Addresses of one version of IP, as numbers.
pub(super) trait Address: Copy + Ord {
    /// The last address of the network of this length that begins here.
    fn last(self, length: u8) -> Self;
    /// The address after this one, if there is one.
    fn next(self) -> Option<Self>;
}

macro_rules! address {
    ($($type:ty)*) => {$(
        impl Address for $type {
            fn last(self, length: u8) -> Self {
                self | <$type>::MAX.checked_shr(length.into()).unwrap_or(0)
            }
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    )*};
}

address! { u32 u128 }

/// Where ranges begin, and the set of origins of each; a range ends where the next one begins.
#[derive(Debug)]
pub(super) struct Ranges<A> {
    starts: Vec<A>,
    sets: Vec<u32>,
}

impl<A: Ord + Copy> Ranges<A> {
    /// The number of the set of an address.
    pub(super) fn find(&self, address: A) -> usize {
        let after = self.starts.partition_point(|start| *start <= address);
        let set = after.checked_sub(1).and_then(|at| self.sets.get(at));
        set.map_or(0, |set| *set as usize)
    }
}

impl<A: Address> Ranges<A> {
    /// Of networks: start, length and set. A network that is there several times has the origins of all.
    fn of(mut networks: Vec<(A, u8, u32)>, sets: &mut Sets) -> Self {
        // A network comes before those in it.
        networks.sort_by_key(|(start, length, _)| (*start, *length));
        networks.dedup_by(|later, first| {
            let same = (later.0, later.1) == (first.0, first.1);
            if same {
                first.2 = sets.union(first.2, later.2);
            }
            same
        });
        let mut ranges = Self { starts: Vec::new(), sets: Vec::new() };
        // The networks around the place, the innermost last.
        let mut around: Vec<(A, u32)> = Vec::new();
        for (start, length, set) in networks {
            while let Some((last, _)) = around.pop_if(|(last, _)| *last < start) {
                ranges.end(last, &around);
            }
            ranges.begin(start, set);
            around.push((start.last(length), set));
        }
        while let Some((last, _)) = around.pop() {
            ranges.end(last, &around);
        }
        ranges.starts.shrink_to_fit();
        ranges.sets.shrink_to_fit();
        ranges
    }

    fn begin(&mut self, start: A, set: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.sets.pop();
        }
        if self.sets.last() != Some(&set) {
            self.starts.push(start);
            self.sets.push(set);
        }
    }

    /// After the end of a network, the one around it goes on.
    fn end(&mut self, last: A, around: &[(A, u32)]) {
        if let Some(next) = last.next() {
            self.begin(next, around.last().map_or(NONE, |(_, set)| *set));
        }
    }
}

/// Sets of origins; equal ones are stored once.
#[derive(Debug)]
struct Sets {
    known: HashMap<Box<[u32]>, u32, RandomState>,
    all: Vec<Box<[u32]>>,
}

impl Default for Sets {
    fn default() -> Self {
        let mut sets = Self { known: HashMap::default(), all: Vec::new() };
        sets.number(&[]);
        sets
    }
}

impl Sets {
    /// The number of a set, without repeated members.
    fn number(&mut self, origins: &[u32]) -> u32 {
        let mut set: Vec<u32> = Vec::with_capacity(origins.len());
        for origin in origins {
            if !set.contains(origin) {
                set.push(*origin);
            }
        }
        let set = set.into_boxed_slice();
        if let Some(number) = self.known.get(&set) {
            return *number;
        }
        // There are fewer sets than networks.
        let number = u32::try_from(self.all.len()).unwrap_or(NONE);
        self.all.push(set.clone());
        self.known.insert(set, number);
        number
    }

    fn union(&mut self, a: u32, b: u32) -> u32 {
        let of = |set: u32| self.all.get(set as usize).map_or(&[][..], |set| set);
        let both = [of(a), of(b)].concat();
        self.number(&both)
    }
}

/// A table that is being read.
#[derive(Debug, Default)]
pub(super) struct Builder {
    v4: Vec<(u32, u8, u32)>,
    v6: Vec<(u128, u8, u32)>,
    sets: Sets,
}

impl Builder {
    /// Number of networks.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Adds a network; bits of the address beyond its length are ignored.
    ///
    /// # Errors
    /// If there is no network of this length, or if there are too many.
    pub(super) fn add(
        &mut self,
        address: IpAddr,
        length: u8,
        origins: &[u32],
    ) -> Result<(), String> {
        if self.len() == MOST {
            return Err(format!("it has more than {MOST} networks"));
        }
        let too_long = || format!("{address} has no prefix of {length} bits");
        let set = self.sets.number(origins);
        match address {
            IpAddr::V4(v4) => {
                let rest = 32_u32.checked_sub(length.into()).ok_or_else(too_long)?;
                let mask = u32::MAX.checked_shl(rest).unwrap_or(0);
                self.v4.push((v4.to_bits() & mask, length, set));
            }
            IpAddr::V6(v6) => {
                let rest = 128_u32.checked_sub(length.into()).ok_or_else(too_long)?;
                let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
                self.v6.push((v6.to_bits() & mask, length, set));
            }
        }
        Ok(())
    }

    /// The table.
    pub(super) fn table(self, about: About) -> AsTable {
        let Self { v4, v6, mut sets } = self;
        let (v4, v6) = (Ranges::of(v4, &mut sets), Ranges::of(v6, &mut sets));
        let (mut origins, mut ends) = (Vec::new(), Vec::with_capacity(sets.all.len()));
        for set in &sets.all {
            origins.extend_from_slice(set);
            ends.push(origins.len());
        }
        AsTable { v4, v6, origins, ends, about }
    }
}
