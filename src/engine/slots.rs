//! The attempts in flight, each in a slot, and the tokens of their sockets.
//!
//! A socket can have events until the closer has closed it, when its attempt has ended and another one may have the slot.
//! So a token is the slot and the end of the attempt's number: an event of an earlier owner finds nothing.

/// Half of the bits of a token are the slot, the others the end of the number.
const HALF: u32 = usize::BITS / 2;
/// The bits of the slot.
const SLOT: usize = usize::MAX >> HALF;

/// A slot, and the number of the attempt that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: usize,
    number: u64,
}

impl Place {
    /// The token of the attempt's socket.
    pub(super) fn token(self) -> usize {
        #[expect(clippy::cast_possible_truncation, reason = "only the end of it is needed")]
        let number = self.number as usize;
        self.slot & SLOT | number << HALF
    }
}

/// Values by slot.
#[derive(Debug)]
pub(super) struct Slots<T> {
    entries: Vec<Option<(Place, T)>>,
    free: Vec<usize>,
    numbers: u64,
}

impl<T> Slots<T> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new(), numbers: 0 }
    }

    /// Reserves a slot for the next attempt. It is in use until it is released, or until what is put there is taken.
    pub(super) fn reserve(&mut self) -> Place {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.numbers += 1;
        Place { slot, number: self.numbers }
    }

    /// Gives back a slot in which nothing was put.
    pub(super) fn release(&mut self, place: Place) {
        self.free.push(place.slot);
    }

    /// Puts an attempt into its slot.
    pub(super) fn put(&mut self, place: Place, value: T) -> &mut T {
        &mut self.entries[place.slot].insert((place, value)).1
    }

    /// The attempt whose socket has this token, and its slot.
    pub(super) fn of_token(&mut self, token: usize) -> Option<(usize, &mut T)> {
        let slot = token & SLOT;
        let (place, value) = self.entries.get_mut(slot)?.as_mut()?;
        (place.token() == token).then_some((slot, value))
    }

    /// The attempt at a place, if it has not ended.
    pub(super) fn of_place(&mut self, wanted: Place) -> Option<&mut T> {
        let (place, value) = self.entries.get_mut(wanted.slot)?.as_mut()?;
        (*place == wanted).then_some(value)
    }

    /// The attempt in a slot.
    pub(super) fn of_slot(&mut self, slot: usize) -> Option<&mut T> {
        self.entries.get_mut(slot)?.as_mut().map(|(_, value)| value)
    }

    /// Takes the attempt out of a slot, which is free then.
    pub(super) fn take(&mut self, slot: usize) -> Option<T> {
        let (_, value) = self.entries.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(value)
    }

    /// Drops all attempts; returns how many there were.
    pub(super) fn clear(&mut self) -> usize {
        (0..self.entries.len()).filter(|slot| self.take(*slot).is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_an_earlier_socket_finds_nothing() {
        let mut slots = Slots::new();
        let first = slots.reserve();
        slots.put(first, "first");
        assert_eq!(slots.of_token(first.token()), Some((first.slot, &mut "first")));
        assert_eq!(slots.take(first.slot), Some("first"));
        assert_eq!(slots.of_token(first.token()), None);

        let second = slots.reserve();
        slots.put(second, "second");
        assert_eq!(second.slot, first.slot);
        assert_eq!(slots.of_token(first.token()), None);
        assert_eq!(slots.of_place(first), None);
        assert_eq!(slots.of_token(second.token()), Some((second.slot, &mut "second")));
        assert_eq!(slots.of_place(second), Some(&mut "second"));
    }

    #[test]
    fn slots_are_used_again() {
        let mut slots = Slots::new();
        let unused = slots.reserve();
        slots.release(unused);
        let places = [slots.reserve(), slots.reserve()];
        assert_eq!(places.map(|place| place.slot), [0, 1]);
        for place in places {
            slots.put(place, ());
        }
        assert_eq!((slots.clear(), slots.clear()), (2, 0));
        assert!(slots.of_slot(0).is_none() && slots.reserve().slot < 2);
    }

    #[test]
    fn tokens_of_attempts_are_not_those_of_other_sockets() {
        for number in [0, 1, u64::MAX] {
            for slot in [0, 65_000] {
                assert!(Place { slot, number }.token() < usize::MAX - 2);
            }
        }
    }
}
