//! Subscriptions, as streams.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use event_listener::{Event, EventListener};
use futures_core::Stream;
use noex_proto::{Machine, Message, MessagesLagged, SubscriptionId};

use crate::shared::{Shared, system_time};
use crate::{ClusterEvent, Runtime};

/// A stream of [`ClusterEvent`]s, from [`Cluster::events`](crate::Cluster::events).
pub type EventStream<R> = Subscribed<R, ClusterEvent>;

/// A stream of [`Message`]s, from [`Cluster::messages`](crate::Cluster::messages). An item that is an error says how many messages
/// were dropped at this place because the stream was read too slowly.
pub type MessageStream<R> = Subscribed<R, Result<Message, MessagesLagged>>;

/// A subscription as a stream: what happens from its creation on, in order.
///
/// Its queue is bounded by the limits of the configuration, and what was dropped is said. It stays open while the cluster is
/// stopped, for a later start, and ends when the last handle is gone and what was queued is read. Dropping it ends the
/// subscription. It may be polled on any runtime, or on none.
#[derive(Debug)]
#[must_use = "what is not read is dropped"]
pub struct Subscribed<R: Runtime, T> {
    pub(crate) id: SubscriptionId,
    poll: fn(&mut Machine, SubscriptionId) -> Option<T>,
    pub(crate) shared: Arc<Shared<R>>,
    waiting: Option<EventListener>,
    /// What is notified when there may be more.
    pub(crate) wakes: fn(&Shared<R>) -> &Event,
}

impl<R: Runtime> EventStream<R> {
    pub(crate) fn events(shared: Arc<Shared<R>>) -> Self {
        let id = shared.lock().machine.subscribe_events();
        let poll = |machine: &mut Machine, id| machine.poll_event(id).map(|event| event.map_time(system_time));
        Self { id, poll, shared, waiting: None, wakes: |shared| &shared.events }
    }
}

impl<R: Runtime> MessageStream<R> {
    pub(crate) fn messages(shared: Arc<Shared<R>>) -> Self {
        let id = shared.lock().machine.subscribe_messages();
        Self { id, poll: Machine::poll_message, shared, waiting: None, wakes: |shared| &shared.messages }
    }
}

impl<R: Runtime, T> Subscribed<R, T> {
    /// The next item, or that there will be none; `None` while there may be one later.
    pub(crate) fn next(&self) -> Option<Option<T>> {
        let mut state = self.shared.lock();
        match (self.poll)(&mut state.machine, self.id) {
            None if state.orphaned && state.is_stopped() => Some(None),
            item => item.map(Some),
        }
    }
}

impl<R: Runtime, T> Stream for Subscribed<R, T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(Pin::new(waiting).poll(cx));
                self.waiting = None;
            }
            if let Some(item) = self.next() {
                return Poll::Ready(item);
            }
            let waiting = (self.wakes)(&self.shared).listen();
            // Looked at again, for what came before the listener was there.
            if let Some(item) = self.next() {
                return Poll::Ready(item);
            }
            self.waiting = Some(waiting);
        }
    }
}

impl<R: Runtime, T> Drop for Subscribed<R, T> {
    fn drop(&mut self) {
        self.shared.lock().machine.unsubscribe(self.id);
    }
}
