//! The index of the flow table: from a part of a flow's hash, its tag, to its slot.
//!
//! Open addressing in entries of eight octets: a look-up reads one cache line where a map of keys
//! reads three, and to grow no flow is read. Most flows are found in a table that is larger than the
//! processor's nearer caches, where this is the larger part of a packet's cost.

/// The slot of an entry that nobody has.
const NOBODY: u32 = u32::MAX;
/// Entries of the smallest table.
const FEWEST: usize = 1024;

#[derive(Clone, Copy)]
struct Entry {
    tag: u32,
    slot: u32,
}

const EMPTY: Entry = Entry { tag: 0, slot: NOBODY };

/// Slots by tag. Two flows may have one tag.
#[derive(Default)]
pub(super) struct Index {
    /// As many as a power of two, or none.
    entries: Vec<Entry>,
    live: usize,
}

impl Index {
    /// So many flows can be in it.
    pub(super) const MOST: usize = NOBODY as usize;

    /// How many flows are in it.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// The slot with this tag that is the right one.
    #[inline(always)]
    pub(super) fn find(&self, tag: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.place(tag, is).map(|at| self.entries[at].slot)
    }

    /// Reads the place where the search for a tag begins, so that it is near when it is searched. Says
    /// nothing of use.
    pub(super) fn touch(&self, tag: u32) -> u32 {
        self.entries.get(tag as usize & self.mask()).map_or(0, |entry| entry.slot)
    }

    /// Adds a slot that is not in it.
    pub(super) fn insert(&mut self, tag: u32, slot: u32) {
        // At most two thirds full: a search passes few entries that are not its own.
        if (self.live + 1) * 3 > self.entries.len() * 2 {
            let larger = (self.entries.len() * 2).max(FEWEST);
            let entries = std::mem::replace(&mut self.entries, vec![EMPTY; larger]);
            entries
                .into_iter()
                .filter(|entry| entry.slot != NOBODY)
                .for_each(|entry| self.put(entry));
        }
        self.put(Entry { tag, slot });
        self.live += 1;
    }

    /// Takes a slot out.
    pub(super) fn remove(&mut self, tag: u32, slot: u32) {
        let Some(mut hole) = self.place(tag, |other| other == slot) else { return };
        self.live -= 1;
        // Entries that were put further on because this one was in their way move up.
        let mut at = hole;
        loop {
            at = self.after(at);
            let entry = self.entries[at];
            if entry.slot == NOBODY {
                break;
            }
            let from_home = at.wrapping_sub(entry.tag as usize) & self.mask();
            let from_hole = at.wrapping_sub(hole) & self.mask();
            if from_home >= from_hole {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = EMPTY;
    }

    /// Where the entry with this tag and the right slot is.
    #[inline(always)]
    fn place(&self, tag: u32, is: impl Fn(u32) -> bool) -> Option<usize> {
        let mut at = tag as usize & self.mask();
        loop {
            let entry = *self.entries.get(at)?;
            if entry.slot == NOBODY {
                return None;
            }
            if entry.tag == tag && is(entry.slot) {
                return Some(at);
            }
            at = self.after(at);
        }
    }

    fn put(&mut self, entry: Entry) {
        let mut at = entry.tag as usize & self.mask();
        while self.entries[at].slot != NOBODY {
            at = self.after(at);
        }
        self.entries[at] = entry;
    }

    fn after(&self, at: usize) -> usize {
        (at + 1) & self.mask()
    }

    fn mask(&self) -> usize {
        self.entries.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn it_holds_what_a_map_holds() {
        let (mut index, mut map) = (Index::default(), HashMap::new());
        let mut dice = 0x9e37_79b9_7f4a_7c15u64;
        for step in 0..200_000 {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            // Few tags, so that many share one or stand in each other's way.
            let (slot, tag) = ((dice % 3000) as u32, (dice % 3000 / 7) as u32);
            if map.remove(&slot).is_some() {
                index.remove(tag, slot);
            } else {
                map.insert(slot, tag);
                index.insert(tag, slot);
            }
            assert_eq!(index.len(), map.len());
            if step % 1000 == 0 {
                for slot in 0..3000 {
                    let found = index.find(slot / 7, |other| other == slot);
                    assert_eq!(found.is_some(), map.contains_key(&slot), "{slot}");
                }
            }
        }
    }

    #[test]
    fn an_empty_one_has_nothing() {
        let mut index = Index::default();
        assert_eq!(index.find(1, |_| true), None);
        index.remove(1, 1);
        assert_eq!(index.len(), 0);
    }
}
