//! Deadlines: the next one found in O(1), set and cancelled in O(log n). A table belongs to one clock, and takes no moment of another.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::time::Moment;

/// Deadlines of one clock, `T`, in their order. Whoever adds one keeps it, to name it where it has to be taken out.
#[derive(Clone, Debug)]
pub(crate) struct Queue<K, T> {
    deadlines: BTreeSet<(T, K)>,
    /// The earliest of them: it is asked for far more often than it changes.
    next: T,
}

impl<K: Ord, T: Moment> Queue<K, T> {
    pub(crate) const fn new() -> Self {
        Self { deadlines: BTreeSet::new(), next: T::NEVER }
    }

    /// The earliest deadline, [`Moment::NEVER`] where there is none.
    pub(crate) const fn next(&self) -> T {
        self.next
    }

    /// All deadlines, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, T)> {
        self.deadlines.iter().map(|(at, key)| (key, *at))
    }

    /// Adds a deadline.
    pub(crate) fn insert(&mut self, key: K, at: T) {
        self.next = self.next.min(at);
        self.deadlines.insert((at, key));
    }

    /// Takes a deadline out, if it is there.
    pub(crate) fn remove(&mut self, key: K, at: T) {
        self.deadlines.remove(&(at, key));
        self.find_next();
    }

    /// Takes the earliest key whose deadline is not after `now`.
    pub(crate) fn pop_due(&mut self, now: T) -> Option<K> {
        if self.next > now {
            return None;
        }
        let (_, key) = self.deadlines.pop_first()?;
        self.find_next();
        Some(key)
    }

    fn find_next(&mut self) {
        self.next = self.deadlines.first().map_or(T::NEVER, |(at, _)| *at);
    }
}

#[cfg(debug_assertions)]
impl<K: Ord, T: Moment> Queue<K, T> {
    pub(crate) fn len(&self) -> usize {
        self.deadlines.len()
    }

    pub(crate) fn contains(&self, key: K, at: T) -> bool {
        self.deadlines.contains(&(at, key))
    }

    /// Panics where the earliest deadline is not the one that is remembered.
    pub(crate) fn audit(&self) {
        assert!(self.next == self.deadlines.first().map_or(T::NEVER, |(at, _)| *at), "the next deadline");
    }
}

/// Deadlines by key, of one clock: one per key.
#[derive(Clone, Debug)]
pub(crate) struct Timers<K, T> {
    by_key: BTreeMap<K, T>,
    queue: Queue<K, T>,
}

impl<K: Clone + Ord, T: Moment> Default for Timers<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Ord, T: Moment> Timers<K, T> {
    pub(crate) const fn new() -> Self {
        Self { by_key: BTreeMap::new(), queue: Queue::new() }
    }

    /// The earliest deadline, [`Moment::NEVER`] where there is none.
    pub(crate) const fn next(&self) -> T {
        self.queue.next()
    }

    /// All deadlines, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, T)> {
        self.queue.iter()
    }

    pub(crate) fn get(&self, key: &K) -> Option<T> {
        self.by_key.get(key).copied()
    }

    /// Sets the key's deadline, in place of the one it had.
    pub(crate) fn set(&mut self, key: K, at: T) {
        if let Some(old) = self.by_key.insert(key.clone(), at) {
            if old == at {
                return;
            }
            self.queue.remove(key.clone(), old);
        }
        self.queue.insert(key, at);
    }

    /// Sets the key's deadline unless it has an earlier one.
    pub(crate) fn set_earliest(&mut self, key: K, at: T) {
        if self.by_key.get(&key).is_none_or(|set| at < *set) {
            self.set(key, at);
        }
    }

    pub(crate) fn cancel(&mut self, key: &K) {
        if let Some(at) = self.by_key.remove(key) {
            self.queue.remove(key.clone(), at);
        }
    }

    /// Takes the earliest key whose deadline is not after `now`.
    pub(crate) fn pop_due(&mut self, now: T) -> Option<K> {
        let key = self.queue.pop_due(now)?;
        self.by_key.remove(&key);
        Some(key)
    }

    /// Panics where the two tables differ.
    #[cfg(debug_assertions)]
    pub(crate) fn audit(&self) {
        self.queue.audit();
        assert_eq!(self.by_key.len(), self.queue.len(), "deadlines by key and in order");
        assert!(self.iter().all(|(key, at)| self.get(key) == Some(at)), "a deadline that its key does not have");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instant;

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn given_deadlines_in_any_order_they_are_due_in_theirs() {
        let mut timers = Timers::new();
        timers.set("late", at(30));
        timers.set("early", at(10));
        timers.set("middle", at(20));
        assert_eq!(timers.next(), at(10));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(20)), Some("early"));
        assert_eq!(timers.pop_due(at(20)), Some("middle"));
        assert_eq!(timers.pop_due(at(20)), None);
        assert_eq!(timers.next(), at(30));
    }

    #[test]
    fn a_key_has_one_deadline() {
        let mut timers = Timers::new();
        timers.set("a", at(10));
        timers.set("a", at(20));
        timers.set_earliest("a", at(30));
        assert_eq!(timers.next(), at(20));
        timers.set_earliest("a", at(5));
        assert_eq!(timers.next(), at(5));
        timers.cancel(&"a");
        assert_eq!(timers.get(&"a"), None);
        assert_eq!(timers.next(), Instant::NEVER);
    }
}
