//! Subscriptions, as streams.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use event_listener::{Event, EventListener};
use futures_core::Stream;
use noex_proto::{Machine, Message, MessagesLagged, SubscriptionId};

use crate::ClusterEvent;
use crate::drive::Shared;

/// A stream of [`ClusterEvent`]s, from [`Cluster::events`](crate::Cluster::events): [`next`](Subscribed::next) gives them.
pub type EventStream = Subscribed<ClusterEvent>;

/// A stream of [`Message`]s, from [`Cluster::messages`](crate::Cluster::messages): [`next`](Subscribed::next) gives them. An item that is an error says how many messages
/// were dropped at this place because the stream was read too slowly.
pub type MessageStream = Subscribed<Result<Message, MessagesLagged>>;

/// A stream of events or messages: what happens from its creation on, in order.
///
/// Its queue is bounded by the limits of the configuration, and what was dropped is said. It stays open while the cluster is
/// stopped, for a later start, and ends when the last handle is gone and what was queued is read. Dropping it ends the
/// subscription. It may be polled on any runtime, or on none; a waker of one's own must neither panic nor drop the stream
/// while it wakes. [`next`](Self::next) needs no trait in scope; what else streams can do comes with `futures-lite` or its like.
#[derive(Debug)]
#[must_use = "what is not read is dropped"]
pub struct Subscribed<T> {
    pub(crate) id: SubscriptionId,
    poll: fn(&mut Machine, SubscriptionId) -> Option<T>,
    pub(crate) shared: Arc<Shared>,
    waiting: Option<EventListener>,
    /// What is notified when there may be more.
    wakes: fn(&Shared) -> &Event,
}

impl<T> Subscribed<T> {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        subscribe: fn(&mut Machine) -> SubscriptionId,
        poll: fn(&mut Machine, SubscriptionId) -> Option<T>,
        wakes: fn(&Shared) -> &Event,
    ) -> Self {
        let id = subscribe(&mut shared.lock().machine);
        Self { id, poll, shared: shared.clone(), waiting: None, wakes }
    }

    /// The next item, once there is one; `None` at the end and from then on. Dropping the future loses no item.
    pub async fn next(&mut self) -> Option<T> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// The next item, or that there will be none.
    fn look(&self) -> Poll<Option<T>> {
        let mut state = self.shared.lock();
        match (self.poll)(&mut state.machine, self.id) {
            None if state.machine.is_subscribed(self.id) && !(state.orphaned && state.is_stopped()) => Poll::Pending,
            item => Poll::Ready(item),
        }
    }
}

impl<T> Stream for Subscribed<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            if let Poll::Ready(item) = self.look() {
                return Poll::Ready(item);
            }
            // Looked at once more with a listener in place, for what came before it was.
            match &mut self.waiting {
                None => self.waiting = Some((self.wakes)(&self.shared).listen()),
                Some(waiting) => {
                    ready!(Pin::new(waiting).poll(cx));
                    self.waiting = None;
                }
            }
        }
    }
}

impl<T> Drop for Subscribed<T> {
    fn drop(&mut self) {
        self.shared.lock_lent().machine.unsubscribe(self.id);
    }
}
