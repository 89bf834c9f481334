//! Subscriptions: a bounded queue of events or of messages per subscriber, and what becomes of one who is too slow.

use alloc::collections::{BTreeMap, VecDeque};

use crate::{ClusterEvent, ClusterStatus, Message, MessagesLagged, NodeDownReason, NodeId, NodeInfo};

/// A subscriber's queue, as given by [`Machine::subscribe_events`](crate::Machine::subscribe_events) and
/// [`Machine::subscribe_messages`](crate::Machine::subscribe_messages). Never reused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SubscriptionId(pub(crate) u64);

/// What a message costs in a queue beyond its bytes, so that empty ones are bounded too.
pub(crate) const MESSAGE_OVERHEAD: usize = 64;

/// The items that an empty queue keeps room for.
const AT_REST: usize = 16;

/// A member as a subscriber may have to be told of it: its data, and the number of its present up-period.
pub(crate) type Member = (NodeInfo, u64);

#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriptions {
    events: BTreeMap<SubscriptionId, EventQueue>,
    messages: BTreeMap<SubscriptionId, MessageQueue>,
    next: u64,
}

/// An event with the number of the up-period that it begins, 0 for any other event.
#[derive(Clone, Debug)]
struct Queued {
    event: ClusterEvent,
    up: u64,
}

#[derive(Clone, Debug, Default)]
struct EventQueue {
    queue: VecDeque<Queued>,
    /// How many were queued at once: at the subscription, or after an overflow.
    given: usize,
    /// Set while events are dropped, from an overflow to the next read.
    resync: Option<Resync>,
    /// The members that the subscriber was told are up, by what it has read.
    told: BTreeMap<NodeId, u64>,
}

/// What has to be made up for when the subscriber reads next.
#[derive(Clone, Debug, Default)]
struct Resync {
    missed: u64,
    reasons: BTreeMap<NodeId, NodeDownReason>,
    status: Option<ClusterStatus>,
    /// All members that the subscriber was told of went with a stop.
    stopped: bool,
}

impl Resync {
    fn miss(&mut self, event: ClusterEvent, told: &BTreeMap<NodeId, u64>) {
        match event {
            ClusterEvent::NodeDown { id, reason } if told.contains_key(&id) => {
                self.reasons.insert(id, reason);
            }
            ClusterEvent::StatusChange(status) => {
                self.status = Some(status);
                self.stopped |= status == ClusterStatus::Stopped;
            }
            ClusterEvent::Error(_)
            | ClusterEvent::Lagged { .. }
            | ClusterEvent::NameConflict { .. }
            | ClusterEvent::NodeDown { .. }
            | ClusterEvent::NodeUp(_) => {}
        }
    }
}

#[derive(Clone, Debug)]
enum Delivery {
    Lagged(u64),
    Message(Message),
}

#[derive(Clone, Debug, Default)]
struct MessageQueue {
    bytes: usize,
    queue: VecDeque<Delivery>,
}

impl Subscriptions {
    pub(crate) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// The events of the longest queue, and the cost of the messages of the largest one.
    pub(crate) fn fullest(&self) -> (usize, usize) {
        let events = self.events.values().map(|events| events.queue.len()).max();
        let messages = self.messages.values().map(|messages| messages.bytes).max();
        (events.unwrap_or(0), messages.unwrap_or(0))
    }

    /// Panics where the cost of a subscriber's messages is not what is remembered.
    #[cfg(debug_assertions)]
    pub(crate) fn audit(&self) {
        for messages in self.messages.values() {
            let costs =
                messages.queue.iter().map(|delivery| if let Delivery::Message(message) = delivery { cost(message) } else { 0 });
            assert_eq!(messages.bytes, costs.sum::<usize>(), "bytes of a subscriber's messages");
        }
    }

    /// A new queue of events that begins with the members that are up now.
    pub(crate) fn subscribe_events(&mut self, members: impl Iterator<Item = Member>) -> SubscriptionId {
        let id = self.new_id();
        let queue: VecDeque<Queued> = members.map(|(info, up)| Queued { event: ClusterEvent::NodeUp(info), up }).collect();
        self.events.insert(id, EventQueue { given: queue.len(), queue, ..EventQueue::default() });
        id
    }

    pub(crate) fn subscribe_messages(&mut self) -> SubscriptionId {
        let id = self.new_id();
        self.messages.insert(id, MessageQueue::default());
        id
    }

    pub(crate) fn contains(&self, id: SubscriptionId) -> bool {
        self.events.contains_key(&id) || self.messages.contains_key(&id)
    }

    pub(crate) fn unsubscribe(&mut self, id: SubscriptionId) {
        self.events.remove(&id);
        self.messages.remove(&id);
    }

    /// Queues an event for every subscriber; `up` numbers the up-period that a node up begins.
    pub(crate) fn push_event(&mut self, event: &ClusterEvent, up: u64, limit: usize) {
        for queue in self.events.values_mut() {
            queue.push(event, up, limit);
        }
    }

    pub(crate) fn push_message(&mut self, message: &Message, limit: usize) {
        for queue in self.messages.values_mut() {
            queue.push(message, limit);
        }
    }

    /// The subscriber's next event. `members` lists those that are up now.
    pub(crate) fn poll_event<I: Iterator<Item = Member>>(
        &mut self,
        id: SubscriptionId,
        members: impl FnOnce() -> I,
    ) -> Option<ClusterEvent> {
        let queue = self.events.get_mut(&id)?;
        if let Some(resync) = queue.resync.take() {
            queue.catch_up(resync, members());
        }
        queue.pop()
    }

    pub(crate) fn poll_message(&mut self, id: SubscriptionId) -> Option<Result<Message, MessagesLagged>> {
        let queue = self.messages.get_mut(&id)?;
        let delivery = queue.queue.pop_front()?;
        if queue.queue.is_empty() {
            queue.queue.shrink_to(AT_REST);
        }
        Some(match delivery {
            Delivery::Lagged(missed) => Err(MessagesLagged { missed }),
            Delivery::Message(message) => {
                queue.bytes -= cost(&message);
                Ok(message)
            }
        })
    }

    const fn new_id(&mut self) -> SubscriptionId {
        self.next += 1;
        SubscriptionId(self.next)
    }
}

impl EventQueue {
    fn push(&mut self, event: &ClusterEvent, up: u64, limit: usize) {
        if self.resync.is_none() && self.queue.len() < limit.saturating_add(self.given) {
            self.queue.push_back(Queued { event: event.clone(), up });
            return;
        }
        let resync = self.resync.get_or_insert_default();
        // What was given at once is given again by the next read, as far as it still holds.
        resync.missed += 1 + self.queue.len().saturating_sub(self.given) as u64;
        for queued in self.queue.drain(..) {
            resync.miss(queued.event, &self.told);
        }
        resync.miss(event.clone(), &self.told);
    }

    /// Brings the subscriber's picture from what it was told to the members there are.
    fn catch_up(&mut self, resync: Resync, members: impl Iterator<Item = Member>) {
        if resync.stopped {
            self.told.clear();
        }
        let mut gone = self.told.clone();
        let mut ups = VecDeque::new();
        for (info, up) in members {
            if gone.get(&info.id) == Some(&up) {
                gone.remove(&info.id);
            } else {
                ups.push_back(Queued { event: ClusterEvent::NodeUp(info), up });
            }
        }
        let mut first = VecDeque::new();
        let mut tell = |event| first.push_back(Queued { event, up: 0 });
        tell(ClusterEvent::Lagged { missed: resync.missed });
        if resync.stopped && resync.status != Some(ClusterStatus::Stopped) {
            // Those that were up before went with this stop.
            tell(ClusterEvent::StatusChange(ClusterStatus::Stopped));
        }
        if let Some(status) = resync.status {
            tell(ClusterEvent::StatusChange(status));
        }
        for id in gone.into_keys() {
            // Without a reason it did not go down: it goes with the stop that is under way.
            if let Some(reason) = resync.reasons.get(&id).copied() {
                tell(ClusterEvent::NodeDown { id, reason });
            }
        }
        first.append(&mut ups);
        self.given = first.len();
        self.queue = first;
    }

    fn pop(&mut self) -> Option<ClusterEvent> {
        let Queued { event, up } = self.queue.pop_front()?;
        if self.queue.is_empty() {
            self.queue.shrink_to(AT_REST);
        }
        self.given = self.given.saturating_sub(1);
        match &event {
            ClusterEvent::NodeUp(info) => {
                self.told.insert(info.id.clone(), up);
            }
            ClusterEvent::NodeDown { id, .. } => {
                self.told.remove(id);
            }
            ClusterEvent::StatusChange(ClusterStatus::Stopped) => self.told.clear(),
            ClusterEvent::Error(_)
            | ClusterEvent::Lagged { .. }
            | ClusterEvent::NameConflict { .. }
            | ClusterEvent::StatusChange(_) => {}
        }
        Some(event)
    }
}

impl MessageQueue {
    fn push(&mut self, message: &Message, limit: usize) {
        let cost = cost(message);
        if self.bytes > 0 && self.bytes + cost > limit {
            match self.queue.back_mut() {
                Some(Delivery::Lagged(missed)) => *missed += 1,
                _ => self.queue.push_back(Delivery::Lagged(1)),
            }
            return;
        }
        self.bytes += cost;
        self.queue.push_back(Delivery::Message(message.clone()));
    }
}

const fn cost(message: &Message) -> usize {
    message.payload.len() + MESSAGE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::Bytes;

    #[test]
    fn whoever_missed_a_start_is_told_of_no_stop() {
        let mut subscriptions = Subscriptions::default();
        let id = subscriptions.subscribe_events(core::iter::empty());
        for status in [ClusterStatus::Starting, ClusterStatus::Running] {
            subscriptions.push_event(&ClusterEvent::StatusChange(status), 0, 1);
        }
        let told = core::iter::from_fn(|| subscriptions.poll_event(id, core::iter::empty::<Member>));
        let running = ClusterEvent::StatusChange(ClusterStatus::Running);
        assert_eq!(told.collect::<Vec<_>>(), [ClusterEvent::Lagged { missed: 2 }, running]);
    }

    #[test]
    fn whoever_has_read_all_messages_holds_no_room_for_them() {
        let mut subscriptions = Subscriptions::default();
        let id = subscriptions.subscribe_messages();
        let message = Message { from: "a@10.0.0.1:1".parse().expect("a valid id"), payload: Bytes::from_static(b"x") };
        for _ in 0..1000 {
            subscriptions.push_message(&message, usize::MAX);
        }
        for _ in 0..1000 {
            assert_eq!(subscriptions.poll_message(id), Some(Ok(message.clone())));
        }
        assert!(subscriptions.messages[&id].queue.capacity() <= 2 * AT_REST);
    }
}
