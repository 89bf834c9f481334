//! A queue from whose middle an item can be taken.

use alloc::collections::VecDeque;

/// Where an item stands in a [`Line`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Place(u64);

/// A queue, first in, first out, from which an item can also be taken by its place. Gaps never take more room than items do.
#[derive(Clone, Debug)]
pub(super) struct Line<T> {
    /// In order of their places; none where an item was taken.
    items: VecDeque<(Place, Option<T>)>,
    len: usize,
    next: u64,
}

/// The items that an empty line keeps room for.
const AT_REST: usize = 16;

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { items: VecDeque::new(), len: 0, next: 0 }
    }
}

impl<T> Line<T> {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().filter_map(|(_, item)| item.as_ref())
    }

    pub(super) fn back_mut(&mut self) -> Option<&mut T> {
        self.items.back_mut().and_then(|(_, item)| item.as_mut())
    }

    pub(super) fn front(&self) -> Option<&T> {
        self.items.front().and_then(|(_, item)| item.as_ref())
    }

    pub(super) fn push(&mut self, item: T) -> Place {
        let place = Place(self.next);
        self.next += 1;
        self.items.push_back((place, Some(item)));
        self.len += 1;
        place
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let (_, item) = self.items.pop_front()?;
        self.len -= 1;
        self.tidy();
        Some(item.expect("no gap is at the front"))
    }

    /// Takes an item out of the line, unless it has left it.
    pub(super) fn take(&mut self, place: Place) -> Option<T> {
        let index = self.items.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        let item = self.items[index].1.take()?;
        self.len -= 1;
        self.tidy();
        Some(item)
    }

    /// Keeps no room while it is empty.
    pub(super) fn rest(&mut self) {
        if self.items.is_empty() {
            self.items = VecDeque::new();
        }
    }

    /// Merges neighbours: `merge` says whether the first has taken the second in, whose place is no more.
    pub(super) fn merge(&mut self, mut merge: impl FnMut(&mut T, &T) -> bool) {
        self.items.retain(|(_, item)| item.is_some());
        for (place, item) in core::mem::take(&mut self.items) {
            let merged = item.as_ref().zip(self.back_mut()).is_some_and(|(item, last)| merge(last, item));
            if !merged {
                self.items.push_back((place, item));
            }
        }
        self.len = self.items.len();
    }

    /// No gap is at either end, and there are no more gaps than items.
    fn tidy(&mut self) {
        while self.items.front().is_some_and(|(_, item)| item.is_none()) {
            self.items.pop_front();
        }
        while self.items.back().is_some_and(|(_, item)| item.is_none()) {
            self.items.pop_back();
        }
        if self.items.len() > 2 * self.len {
            self.items.retain(|(_, item)| item.is_some());
        }
        if self.items.is_empty() {
            self.items.shrink_to(AT_REST);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Push,
        Pop,
        Take(usize),
        /// Each odd number takes in the odd ones behind it.
        Merge,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Push),
            4 => Just(Step::Pop),
            4 => any::<usize>().prop_map(Step::Take),
            1 => Just(Step::Merge)
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn a_line_is_a_list_from_which_anything_can_be_taken_once(steps in steps()) {
            let mut line = Line::default();
            let mut model: Vec<(Place, usize)> = Vec::new();
            let mut gone: Vec<Place> = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push => {
                        let place = line.push(number);
                        model.push((place, number));
                    }
                    Step::Pop => {
                        let expected = (!model.is_empty()).then(|| model.remove(0));
                        gone.extend(expected.map(|(place, _)| place));
                        prop_assert_eq!(line.pop(), expected.map(|(_, number)| number));
                    }
                    Step::Take(at) if !model.is_empty() => {
                        let (place, number) = model.remove(at % model.len());
                        gone.push(place);
                        prop_assert_eq!(line.take(place), Some(number));
                    }
                    Step::Take(_) => {}
                    Step::Merge => {
                        line.merge(|first, second| *first % 2 == 1 && *second % 2 == 1);
                        let kept = |(at, item): &(usize, (Place, usize))| *at == 0 || item.1.is_multiple_of(2) || model[*at - 1].1.is_multiple_of(2);
                        let (rest, merged): (Vec<_>, Vec<_>) = model.iter().copied().enumerate().partition(kept);
                        gone.extend(merged.iter().map(|(_, (place, _))| *place));
                        model = rest.into_iter().map(|(_, item)| item).collect();
                    }
                }
                prop_assert_eq!(line.len(), model.len());
                prop_assert_eq!(line.front(), model.first().map(|(_, number)| number));
                prop_assert_eq!(line.iter().copied().collect::<Vec<_>>(), model.iter().map(|(_, number)| *number).collect::<Vec<_>>());
                prop_assert!(line.items.len() <= 2 * line.len(), "gaps");
                for place in &gone {
                    prop_assert_eq!(line.take(*place), None);
                }
            }
        }
    }
}
