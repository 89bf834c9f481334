//! Deadlines of calls, which cost the same however many there are.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{Instant, millis};

/// So many timeouts have a list each, to the millisecond. Any other is rounded up to a list of its size, by at most 1/32.
const EXACT_LISTS: usize = 64;

/// The deadlines that an empty table keeps room for.
const AT_REST: usize = 64;

/// No node.
const NONE: u32 = u32::MAX;

/// The longest timeout, some 49 days: what a call can say of the time that it has left.
pub(super) const TIMEOUT_MAX: Duration = Duration::from_millis(u32::MAX as u64);

/// Where a deadline is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Ticket(u32);

/// Deadlines. Those with the same timeout are a list, which time itself keeps in order, so that none has to be sorted in.
#[derive(Clone, Debug)]
pub(super) struct Deadlines<K> {
    /// By the timeout in milliseconds, in order of it.
    lists: Vec<(u32, List)>,
    nodes: Vec<Entry<K>>,
    /// The first node of those that are free, linked by `next`.
    free: u32,
    len: usize,
    /// No deadline is due before. It may be early.
    earliest: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

#[derive(Clone, Debug)]
struct Entry<K> {
    key: K,
    at: Instant,
    list: u32,
    before: u32,
    next: u32,
}

impl<K> Default for Deadlines<K> {
    fn default() -> Self {
        Self { lists: Vec::new(), nodes: Vec::new(), free: NONE, len: 0, earliest: None }
    }
}

/// Rounds up to a number of six significant bits.
const fn coarse(millis: u32) -> u32 {
    let bits = (u32::BITS - millis.leading_zeros()).saturating_sub(6);
    millis.saturating_add((1 << bits) - 1) >> bits << bits
}

impl<K: Copy> Deadlines<K> {
    /// Notes a deadline so long after `now`, which never goes back. A timeout longer than [`TIMEOUT_MAX`] is that.
    pub(super) fn insert(&mut self, now: Instant, timeout: Duration, key: K) -> Ticket {
        let millis = u32::try_from(millis::count_up(timeout)).unwrap_or(u32::MAX);
        let (list, found) = match self.find(millis) {
            Err(_) if self.lists.len() >= EXACT_LISTS => (coarse(millis), self.find(coarse(millis))),
            found => (millis, found),
        };
        let at = now + Duration::from_millis(list.into());
        let before = found.map_or(NONE, |index| self.lists[index].1.last);
        let ticket = self.place(Entry { key, at, list, before, next: NONE });
        match found {
            Ok(index) => {
                self.node(before).next = ticket;
                self.lists[index].1.last = ticket;
            }
            Err(index) => self.lists.insert(index, (list, List { first: ticket, last: ticket })),
        }
        self.len += 1;
        self.earliest = Some(self.earliest.map_or(at, |earliest| earliest.min(at)));
        Ticket(ticket)
    }

    /// Drops a deadline, which was not dropped before and has not been due.
    pub(super) fn remove(&mut self, Ticket(ticket): Ticket) {
        let Entry { list, before, next, .. } = *self.node(ticket);
        if before != NONE {
            self.node(before).next = next;
        }
        if next != NONE {
            self.node(next).before = before;
        }
        let index = self.find(list).expect("a deadline is in its list");
        if before == NONE && next == NONE {
            self.lists.remove(index);
        } else if before == NONE {
            self.lists[index].1.first = next;
        } else if next == NONE {
            self.lists[index].1.last = before;
        }
        self.node(ticket).next = core::mem::replace(&mut self.free, ticket);
        self.len -= 1;
        if self.len == 0 {
            self.earliest = None;
            if self.nodes.len() > AT_REST {
                *self = Self::default();
            }
        }
    }

    /// Takes a deadline that is due out.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<K> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return None;
        }
        let first = self.lists.iter().map(|(_, list)| list.first).min_by_key(|first| self.nodes[*first as usize].at)?;
        let Entry { key, at, .. } = self.nodes[first as usize];
        self.earliest = Some(at);
        if at > now {
            return None;
        }
        self.remove(Ticket(first));
        Some(key)
    }

    #[cfg(debug_assertions)]
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// When to look again: never later than the next deadline.
    pub(super) const fn next(&self) -> Option<Instant> {
        self.earliest
    }

    /// Where the list of a timeout is, or else belongs.
    fn find(&self, list: u32) -> Result<usize, usize> {
        self.lists.binary_search_by_key(&list, |(list, _)| *list)
    }

    fn place(&mut self, node: Entry<K>) -> u32 {
        if self.free != NONE {
            let free = self.free;
            self.free = self.node(free).next;
            *self.node(free) = node;
            return free;
        }
        self.nodes.push(node);
        u32::try_from(self.nodes.len() - 1).expect("there are fewer calls than 2^32")
    }

    fn node(&mut self, ticket: u32) -> &mut Entry<K> {
        &mut self.nodes[ticket as usize]
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_coarse_timeout_is_longer_by_a_thirty_second_at_most() {
        for millis in (0..100_000).chain([u32::MAX >> 1]) {
            let coarse = coarse(millis);
            assert!(coarse >= millis && coarse - millis <= millis / 32, "{millis} becomes {coarse}");
        }
        let sizes: std::collections::BTreeSet<u32> = (0..=u32::MAX).step_by(997).map(coarse).collect();
        assert!(sizes.len() < 1100, "{} lists", sizes.len());
    }

    proptest! {
        #[test]
        fn each_deadline_is_due_once_in_time_and_in_order(
            steps in prop::collection::vec((0..200_u64, prop_oneof![Just(50), 0..20_000_u64], any::<Option<usize>>()), 0..300)
        ) {
            let mut now = Instant::START;
            let mut deadlines = Deadlines::default();
            let mut open: Vec<(usize, Ticket, Instant, Duration)> = Vec::new();
            for (number, (passed, timeout, remove)) in steps.into_iter().enumerate() {
                now = now + Duration::from_millis(passed);
                while let Some(key) = deadlines.pop_due(now) {
                    let index = open.iter().position(|(open, ..)| *open == key);
                    let (_, _, at, timeout) = open.remove(index.expect("it was not removed"));
                    prop_assert!(at <= now, "too early");
                    prop_assert!(now - at <= Duration::from_millis(200) + timeout / 32 + Duration::from_millis(1), "too late");
                }
                prop_assert!(deadlines.next().is_none_or(|next| next > now));
                let late = |at: &Instant, timeout: &Duration| now > *at + *timeout / 32 + Duration::from_millis(1);
                prop_assert!(!open.iter().any(|(_, _, at, timeout)| late(at, timeout)), "missed");
                match remove.filter(|_| !open.is_empty()) {
                    Some(remove) => {
                        let (_, ticket, ..) = open.remove(remove % open.len());
                        deadlines.remove(ticket);
                    }
                    None => {
                        let timeout = Duration::from_millis(timeout);
                        open.push((number, deadlines.insert(now, timeout, number), now + timeout, timeout));
                    }
                }
                prop_assert_eq!(deadlines.len, open.len());
            }
        }
    }
}
