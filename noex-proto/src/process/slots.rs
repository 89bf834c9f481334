//! A table whose rows have numbers that a peer hears.

use alloc::vec::Vec;

/// How many rows a table may have: the open calls, and the monitors, of one peer in one direction. A constant of the protocol, since the
/// number of a row has sixteen bits for its place.
pub(super) const SLOTS_MAX: usize = 1 << PLACE_BITS;

const PLACE_BITS: u32 = 16;

/// The rows that an empty table keeps room for.
const AT_REST: usize = 64;

/// The place of a number: the lower bits. No two rows that are open at a time share it.
pub(super) const fn place(number: u64) -> u16 {
    let [.., high, low] = number.to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// A table of what this node has asked a peer for. Each row has a number that is never given again.
#[derive(Clone, Debug)]
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// Places without a row, below `slots.len()`. The last is taken first.
    free: Vec<u16>,
    /// The turn of any place that has no slot yet.
    turn: u64,
}

#[derive(Clone, Debug)]
struct Slot<T> {
    /// How often the place was given, with the turns before the table was last cut down.
    turn: u64,
    row: Option<T>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), turn: 0 }
    }
}

impl<T> Slots<T> {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of the next row; none where the table is full.
    pub(super) fn next_number(&self) -> Option<u64> {
        let (place, turn) = match self.free.last() {
            Some(place) => (*place, self.slots[usize::from(*place)].turn),
            None if self.slots.len() == SLOTS_MAX => return None,
            None => (u16::try_from(self.slots.len()).ok()?, self.turn),
        };
        Some((turn + 1) << PLACE_BITS | u64::from(place))
    }

    /// Adds a row: its number. None where the table is full.
    pub(super) fn insert(&mut self, row: T) -> Option<u64> {
        let number = self.next_number()?;
        let turn = number >> PLACE_BITS;
        match self.free.pop() {
            Some(place) => self.slots[usize::from(place)] = Slot { turn, row: Some(row) },
            None => self.slots.push(Slot { turn, row: Some(row) }),
        }
        Some(number)
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        let slot = self.slots.get(usize::from(place(number)))?;
        slot.row.as_ref().filter(|_| slot.turn == number >> PLACE_BITS)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(usize::from(place(number)))?;
        slot.row.as_mut().filter(|_| slot.turn == number >> PLACE_BITS)
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let slot = self.slots.get_mut(usize::from(place(number)))?;
        let row = slot.row.take_if(|_| slot.turn == number >> PLACE_BITS)?;
        self.free.push(place(number));
        if self.is_empty() && self.slots.len() > AT_REST {
            self.turn = self.slots.iter().map(|slot| slot.turn).max().unwrap_or_default();
            (self.slots, self.free) = (Vec::new(), Vec::new());
        }
        Some(row)
    }

    /// Whether a row had this number, or has it.
    pub(super) fn was_given(&self, number: u64) -> bool {
        let turn = number >> PLACE_BITS;
        let last = self.slots.get(usize::from(place(number))).map_or(self.turn, |slot| slot.turn);
        (1..=last).contains(&turn)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.slots.iter().zip(0_u64..).filter_map(|(slot, place)| Some((slot.turn << PLACE_BITS | place, slot.row.as_ref()?)))
    }

    /// Takes all rows out, in the order of their places.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (u64, T)> {
        self.turn = self.slots.iter().map(|slot| slot.turn).max().unwrap_or(self.turn).max(self.turn);
        self.free = Vec::new();
        let slots = core::mem::take(&mut self.slots);
        slots.into_iter().zip(0_u64..).filter_map(|(slot, place)| Some((slot.turn << PLACE_BITS | place, slot.row?)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_given_once_and_no_two_rows_share_a_place(steps in prop::collection::vec((any::<bool>(), any::<usize>()), 0..400)) {
            let mut slots = Slots::default();
            let mut open: BTreeMap<u64, usize> = BTreeMap::new();
            let mut given = BTreeSet::new();
            for (insert, value) in steps {
                if insert || open.is_empty() {
                    let expected = slots.next_number();
                    let number = slots.insert(value).expect("there is room");
                    prop_assert_eq!(Some(number), expected);
                    prop_assert!(given.insert(number), "given twice");
                    prop_assert!(!open.keys().any(|other| place(*other) == place(number)), "a place shared");
                    open.insert(number, value);
                } else {
                    let number = *open.keys().nth(value % open.len()).expect("not empty");
                    prop_assert_eq!(slots.remove(number), open.remove(&number));
                    prop_assert_eq!(slots.remove(number), None);
                }
                prop_assert_eq!(slots.len(), open.len());
                prop_assert!(given.iter().all(|number| slots.was_given(*number)));
                prop_assert!(!slots.was_given(slots.next_number().expect("there is room")));
                prop_assert_eq!(slots.iter().map(|(number, row)| (number, *row)).collect::<BTreeMap<_, _>>(), open.clone());
            }
        }
    }

    #[test]
    fn a_table_is_full_at_the_constant_of_the_protocol() {
        let mut slots = Slots::default();
        for row in 0..SLOTS_MAX {
            slots.insert(row).expect("there is room");
        }
        assert_eq!(slots.insert(0), None);
        assert_eq!(slots.drain().count(), SLOTS_MAX);
        assert!(slots.is_empty() && slots.insert(0).is_some());
    }
}
