//! A table of deadlines: one per key, the next one found in O(1), set and cancelled in O(log n).

use alloc::collections::{BTreeMap, BTreeSet};

use crate::Instant;

/// Deadlines by key, of one clock.
#[derive(Clone, Debug)]
pub(crate) struct Timers<K> {
    deadlines: BTreeMap<K, Instant>,
    queue: BTreeSet<(Instant, K)>,
}

impl<K: Clone + Ord> Timers<K> {
    pub(crate) const fn new() -> Self {
        Self { deadlines: BTreeMap::new(), queue: BTreeSet::new() }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// All deadlines, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, Instant)> {
        self.queue.iter().map(|(at, key)| (key, *at))
    }

    pub(crate) fn get(&self, key: &K) -> Option<Instant> {
        self.deadlines.get(key).copied()
    }

    /// Sets the key's deadline, in place of the one it had.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        if let Some(old) = self.deadlines.insert(key.clone(), at) {
            if old == at {
                return;
            }
            self.queue.remove(&(old, key.clone()));
        }
        self.queue.insert((at, key));
    }

    /// Sets the key's deadline unless it has an earlier one.
    pub(crate) fn set_earliest(&mut self, key: K, at: Instant) {
        if self.deadlines.get(&key).is_none_or(|set| at < *set) {
            self.set(key, at);
        }
    }

    pub(crate) fn cancel(&mut self, key: &K) {
        if let Some(at) = self.deadlines.remove(key) {
            self.queue.remove(&(at, key.clone()));
        }
    }

    /// Takes the earliest key whose deadline is not after `now`.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.next()? > now {
            return None;
        }
        let (_, key) = self.queue.pop_first()?;
        self.deadlines.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn given_deadlines_in_any_order_they_are_due_in_theirs() {
        let mut timers = Timers::new();
        timers.set("late", at(30));
        timers.set("early", at(10));
        timers.set("middle", at(20));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(20)), Some("early"));
        assert_eq!(timers.pop_due(at(20)), Some("middle"));
        assert_eq!(timers.pop_due(at(20)), None);
        assert_eq!(timers.next(), Some(at(30)));
    }

    #[test]
    fn a_key_has_one_deadline() {
        let mut timers = Timers::new();
        timers.set("a", at(10));
        timers.set("a", at(20));
        timers.set_earliest("a", at(30));
        assert_eq!(timers.next(), Some(at(20)));
        timers.set_earliest("a", at(5));
        assert_eq!(timers.next(), Some(at(5)));
        timers.cancel(&"a");
        assert_eq!(timers.get(&"a"), None);
        assert_eq!(timers.next(), None);
    }
}
