//! The bounded queue of one process.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use super::id::{ExitReason, MonitorId, ProcessId, ProcessName, RequestId};
use super::line::{Line, Place};

/// What a message costs in a mailbox beyond its bytes, so that empty ones are bounded too.
pub(super) const MESSAGE_OVERHEAD: usize = 64;

/// What a message with a body of this size costs.
pub(super) const fn cost(size: usize) -> usize {
    size + MESSAGE_OVERHEAD
}

/// What waits in a mailbox. The body of a call is with the call.
#[derive(Clone, Debug)]
pub(super) enum Waiting {
    Call(RequestId, usize),
    Cast(Bytes),
    Down(MonitorId, ExitReason),
    NameLost(Box<(ProcessName, Option<ProcessId>)>),
    Overrun(u64),
    Stop(ExitReason),
}

impl Waiting {
    /// What it counts against the limits. Notices are bounded by what they belong to.
    fn cost(&self) -> Option<usize> {
        match self {
            Self::Call(_, cost) => Some(*cost),
            Self::Cast(body) => Some(cost(body.len())),
            Self::Down(..) | Self::NameLost(_) | Self::Overrun(_) | Self::Stop(_) => None,
        }
    }
}

/// The limits of a mailbox that are left to be had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    pub(super) messages: usize,
    pub(super) bytes: usize,
    /// What all mailboxes together may still take.
    pub(super) in_all: usize,
}

/// The mailbox of a process. A batch that its owner took counts until the owner takes the next one.
#[derive(Clone, Debug, Default)]
pub(super) struct Mailbox {
    line: Line<Waiting>,
    /// The calls of the last batch, by their place in it.
    batch: Vec<Option<RequestId>>,
    batch_messages: usize,
    batch_bytes: usize,
    messages: usize,
    bytes: usize,
    /// The notes of casts that found no room.
    overruns: usize,
    /// Names that the process has lost, which go before all that is queued.
    lost: VecDeque<Box<(ProcessName, Option<ProcessId>)>>,
    stop: Stop,
}

/// Whether the process was asked to stop.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) enum Stop {
    #[default]
    No,
    /// In its place among the messages.
    Queued,
    /// Before all that is queued.
    Ahead(ExitReason),
    /// The owner knows.
    Taken,
}

impl Mailbox {
    /// What its messages cost, with those of the last batch.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes + self.batch_bytes
    }

    /// The messages in it, with those of the last batch.
    pub(super) const fn messages(&self) -> usize {
        self.messages + self.batch_messages
    }

    /// The names that the process has lost and has not heard of.
    pub(super) fn lost(&self) -> usize {
        self.lost.len()
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.line.iter()
    }

    /// The calls of the last batch, by their place in it.
    pub(super) fn batch(&self) -> &[Option<RequestId>] {
        &self.batch
    }

    /// How far a request to stop has come.
    pub(super) const fn stage(&self) -> core::mem::Discriminant<Stop> {
        core::mem::discriminant(&self.stop)
    }

    /// Whether a message with a body of this size finds room. A first one always does where all mailboxes together have some.
    pub(super) fn has_room(&self, size: usize, room: Room) -> bool {
        let fits = self.messages() == 0 || self.bytes() + cost(size) <= room.bytes;
        fits && self.messages() < room.messages && cost(size) <= room.in_all
    }

    /// Adds a message that finds room, or a notice: its place, and whether the owner is to be woken.
    pub(super) fn push(&mut self, item: Waiting) -> (Place, bool) {
        if let Some(cost) = item.cost() {
            self.messages += 1;
            self.bytes += cost;
        }
        let wake = self.line.is_empty() && self.lost.is_empty() && self.stop != Stop::Taken;
        (self.line.push(item), wake)
    }

    /// The process has lost a name, which it hears before all that is queued. Whether the owner is to be woken.
    pub(super) fn lose(&mut self, name: ProcessName, winner: Option<ProcessId>) -> bool {
        if self.stop == Stop::Taken {
            return false;
        }
        let wake = self.line.is_empty() && self.lost.is_empty();
        self.lost.push_back(Box::new((name, winner)));
        wake
    }

    /// The process has claimed a name anew: that it lost it is of no interest any more.
    pub(super) fn forget_loss(&mut self, name: &ProcessName) {
        self.lost.retain(|lost| lost.0 != *name);
    }

    /// Notes a cast that found no room. Whether the owner is to be woken.
    pub(super) fn overrun(&mut self) -> bool {
        if let Some(Waiting::Overrun(missed)) = self.line.back_mut() {
            *missed += 1;
            return false;
        }
        let (_, wake) = self.push(Waiting::Overrun(1));
        self.overruns += 1;
        // A peer that cancels its calls between its casts takes away what stood between the notes.
        if self.overruns > 2 * (self.line.len() - self.overruns + 1) {
            self.merge_overruns();
        }
        wake
    }

    /// Makes one of the notes between which nothing is left.
    fn merge_overruns(&mut self) {
        let Self { line, overruns, .. } = self;
        line.merge(|first, second| match (first, second) {
            (Waiting::Overrun(first), Waiting::Overrun(second)) => {
                *first += second;
                *overruns -= 1;
                true
            }
            _ => false,
        });
    }

    /// Asks the process to stop behind what is queued, unless it was asked before. Whether the owner is to be woken.
    pub(super) fn request_stop(&mut self, reason: ExitReason) -> bool {
        if self.stop != Stop::No {
            return false;
        }
        self.stop = Stop::Queued;
        self.push(Waiting::Stop(reason)).1
    }

    /// Asks the process to stop before what is queued. Whether that is news.
    pub(super) fn stop_ahead(&mut self, reason: ExitReason) -> bool {
        let news = matches!(self.stop, Stop::No | Stop::Queued);
        if news {
            self.stop = Stop::Ahead(reason);
        }
        news
    }

    /// Takes out what waits at this place.
    pub(super) fn take_out(&mut self, place: Place) {
        if let Some(item) = self.line.take(place) {
            self.left(&item);
        }
    }

    /// The owner takes a batch: all of the last one is behind it. What it takes counts until it takes the next.
    pub(super) fn begin_batch(&mut self) {
        (self.batch_messages, self.batch_bytes) = (0, 0);
        self.batch.clear();
    }

    /// The owner has found nothing: no room is kept for what may come.
    pub(super) fn rest(&mut self) {
        self.batch = Vec::new();
        self.line.rest();
    }

    /// The next item for the owner. None behind a request to stop.
    pub(super) fn next(&mut self) -> Option<Waiting> {
        let item = match &self.stop {
            Stop::Taken => return None,
            _ if !self.lost.is_empty() => Waiting::NameLost(self.lost.pop_front()?),
            Stop::Ahead(_) => {
                let Stop::Ahead(reason) = mem::replace(&mut self.stop, Stop::Taken) else { return None };
                Waiting::Stop(reason)
            }
            Stop::No | Stop::Queued => self.line.pop()?,
        };
        self.left(&item);
        if let Some(cost) = item.cost() {
            self.batch_messages += 1;
            self.batch_bytes += cost;
        }
        if let Waiting::Stop(_) = item {
            self.stop = Stop::Taken;
        }
        if self.lost.is_empty() {
            self.lost = VecDeque::new();
        }
        Some(item)
    }

    /// The next item that goes before the batch: none unless the process is to end before what waits.
    pub(super) fn next_ahead(&mut self) -> Option<Waiting> {
        matches!(self.stop, Stop::Ahead(_)).then(|| self.next()).flatten()
    }

    /// Notes an item as one of the batch: its call, if it is one.
    pub(super) fn handed_out(&mut self, call: Option<RequestId>) {
        self.batch.push(call);
    }

    fn left(&mut self, item: &Waiting) {
        if let Some(cost) = item.cost() {
            self.messages -= 1;
            self.bytes -= cost;
        }
        if let Waiting::Overrun(_) = item {
            self.overruns -= 1;
        }
    }

    /// Panics where the counts are not what is queued.
    #[cfg(debug_assertions)]
    pub(super) fn audit(&self) {
        let costs = || self.line.iter().filter_map(Waiting::cost);
        assert_eq!((self.messages, self.bytes), (costs().count(), costs().sum()), "messages of a mailbox");
        let overruns = self.line.iter().filter(|item| matches!(item, Waiting::Overrun(_))).count();
        assert_eq!(self.overruns, overruns, "notes of a mailbox");
    }
}
