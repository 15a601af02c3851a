//! The index of the flow table: maps a flow's tag, a part of its hash, to its slot.
//!
//! Open addressing in entries of eight octets: a look-up reads one cache line where a map of keys
//! reads three, and growing reads no flow. The flow table is usually larger than the L2 cache, where
//! look-ups dominate the cost of a packet.

/// The slot of an empty entry.
const VACANT: u32 = u32::MAX;
/// Entries of the smallest table.
const FEWEST: usize = 1024;

#[derive(Clone, Copy)]
struct Entry {
    tag: u32,
    slot: u32,
}

const EMPTY: Entry = Entry { tag: 0, slot: VACANT };

/// Slots by tag. Two flows may have the same tag.
#[derive(Default)]
pub(super) struct Index {
    /// Their number is a power of two, or 0.
    entries: Vec<Entry>,
    live: usize,
}

impl Index {
    /// Limit on the flows in it.
    pub(super) const MOST: usize = VACANT as usize;

    /// The number of flows in it.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// The slot with this tag for which `is` holds.
    #[inline(always)]
    pub(super) fn find(&self, tag: u32, is: impl Fn(u32) -> bool) -> Option<u32> {
        self.place(tag, is).map(|at| self.entries[at].slot)
    }

    /// Loads the entry where the search for a tag begins into the cache. The result has no meaning.
    pub(super) fn touch(&self, tag: u32) -> u32 {
        self.entries.get(tag as usize & self.mask()).map_or(0, |entry| entry.slot)
    }

    /// Adds a slot that is not in the index.
    pub(super) fn insert(&mut self, tag: u32, slot: u32) {
        // At most two thirds full, so that searches stay short.
        if (self.live + 1) * 3 > self.entries.len() * 2 {
            let larger = (self.entries.len() * 2).max(FEWEST);
            let entries = std::mem::replace(&mut self.entries, vec![EMPTY; larger]);
            entries
                .into_iter()
                .filter(|entry| entry.slot != VACANT)
                .for_each(|entry| self.put(entry));
        }
        self.put(Entry { tag, slot });
        self.live += 1;
    }

    /// Removes a slot.
    pub(super) fn remove(&mut self, tag: u32, slot: u32) {
        let Some(mut hole) = self.place(tag, |other| other == slot) else { return };
        self.live -= 1;
        // Move up the entries that were displaced by this one.
        let mut at = hole;
        loop {
            at = self.after(at);
            let entry = self.entries[at];
            if entry.slot == VACANT {
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

    /// The position of the entry with this tag for which `is` holds.
    #[inline(always)]
    fn place(&self, tag: u32, is: impl Fn(u32) -> bool) -> Option<usize> {
        let mut at = tag as usize & self.mask();
        loop {
            let entry = *self.entries.get(at)?;
            if entry.slot == VACANT {
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
        while self.entries[at].slot != VACANT {
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
            // Few tags, so that many flows share one or collide.
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
    fn an_empty_index_finds_nothing() {
        let mut index = Index::default();
        assert_eq!(index.find(1, |_| true), None);
        index.remove(1, 1);
        assert_eq!(index.len(), 0);
    }
}
