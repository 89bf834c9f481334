//! The one queue of everything that is to happen.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What happens, by the numbers of hosts and connections. Small, since the queue moves it around.
#[derive(Clone, Copy, Debug)]
pub(super) enum Happening {
    /// The next step of a dial: the connection.
    Dial(u32),
    /// An application does what it meant to do now, by the number of that.
    Job(u32),
    /// A lookup is over.
    Lookup(u32),
    /// A graceful close has taken as long as it may: the connection and its end.
    Linger(u32, u8),
    /// The driver confirms a graceful close: the connection and its end.
    Confirm(u32, u8),
    /// Bytes can have arrived: the connection and the end that sent them.
    Arrive(u32, u8),
    /// The kernel may have room for more bytes: the connection and the end that sends them.
    Pump(u32, u8),
    /// A host's timer.
    Wake(u32),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: u64,
    number: u64,
    happening: Happening,
}

impl Ord for Entry {
    /// The earliest is the greatest, and of one moment the one that was queued first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    number: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, happening: Happening) {
        self.number += 1;
        self.heap.push(Entry { at, number: self.number, happening });
    }

    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|entry| entry.at)
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Happening)> {
        self.heap.pop().map(|entry| (entry.at, entry.happening))
    }
}
