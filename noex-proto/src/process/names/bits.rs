//! A set of small numbers.

use alloc::vec::Vec;

/// A set of small numbers, a bit each: of nodes, by their place among those that this node has met.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub(super) struct Bits {
    /// The last is not 0, so that equal sets are equal.
    words: Vec<u64>,
}

const fn place(number: u32) -> (usize, u64) {
    ((number / u64::BITS) as usize, 1 << (number % u64::BITS))
}

impl Bits {
    pub(super) fn contains(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Adds a number: whether it is new.
    pub(super) fn insert(&mut self, number: u32) -> bool {
        let (word, bit) = place(number);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        is_new
    }

    /// Removes a number: whether it was there.
    pub(super) fn remove(&mut self, number: u32) -> bool {
        let (word, bit) = place(number);
        let was_there = self.contains(number);
        if was_there {
            self.words[word] &= !bit;
            while self.words.last() == Some(&0) {
                self.words.pop();
            }
        }
        was_there
    }

    pub(super) fn clear(&mut self) {
        self.words.clear();
    }

    /// The numbers in it, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let of_word = |(at, word): (u32, u64)| (0..u64::BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at + bit);
        (0..).step_by(u64::BITS as usize).zip(self.words.iter().copied()).flat_map(of_word)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..200_u32), 0..100)) {
            let (mut bits, mut model) = (Bits::default(), BTreeSet::new());
            for (add, number) in steps {
                if add {
                    prop_assert_eq!(bits.insert(number), model.insert(number));
                } else {
                    prop_assert_eq!(bits.remove(number), model.remove(&number));
                }
                prop_assert_eq!(bits.is_empty(), model.is_empty());
                prop_assert_eq!(bits.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                prop_assert!((0..200).all(|number| bits.contains(number) == model.contains(&number)));
                let mut same = Bits::default();
                for number in model.iter().rev() {
                    same.insert(*number);
                }
                prop_assert_eq!(&same, &bits);
            }
        }
    }
}
