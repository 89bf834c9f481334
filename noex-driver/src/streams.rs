//! Subscriptions, as streams.

use std::pin::Pin;
use std::sync::Arc;

use event_listener::Event;
use futures_core::Stream;
use futures_lite::stream;
use noex_proto::{Machine, Message, MessagesLagged, SubscriptionId};

use crate::shared::Shared;
use crate::{ClusterEvent, Runtime};

/// A stream of [`ClusterEvent`]s, from [`Cluster::events`](crate::Cluster::events).
///
/// Like [`MessageStream`], it gives what happens from its creation on, in order. Its queue is bounded by the limits of the configuration,
/// and what was dropped is said. It stays open while the cluster is stopped, for a later start, and ends when the last handle is gone
/// and what was queued is read. Dropping it ends the subscription. It may be polled on any runtime, or on none.
pub type EventStream = Pin<Box<dyn Stream<Item = ClusterEvent> + Send>>;

/// A stream of [`Message`]s, from [`Cluster::messages`](crate::Cluster::messages), and otherwise as an [`EventStream`] is. An item that
/// is an error says how many messages were dropped at this place because the stream was read too slowly.
pub type MessageStream = Pin<Box<dyn Stream<Item = Result<Message, MessagesLagged>> + Send>>;

/// What there is for one subscriber. Dropping it ends the subscription.
pub(crate) struct Queue<R: Runtime, T> {
    pub(crate) id: SubscriptionId,
    poll: fn(&mut Machine, SubscriptionId) -> Option<T>,
    pub(crate) shared: Arc<Shared<R>>,
    /// What is notified when there may be more.
    wakes: fn(&Shared<R>) -> &Event,
}

impl<R: Runtime, T: Send + 'static> Queue<R, T> {
    pub(crate) fn new(
        shared: &Arc<Shared<R>>,
        subscribe: fn(&mut Machine) -> SubscriptionId,
        poll: fn(&mut Machine, SubscriptionId) -> Option<T>,
        wakes: fn(&Shared<R>) -> &Event,
    ) -> Self {
        let id = subscribe(&mut shared.lock().machine);
        Self { id, poll, shared: shared.clone(), wakes }
    }

    /// The next item, once there is one; `None` where there will be none.
    pub(crate) async fn next(&self) -> Option<T> {
        let next = self.shared.until((self.wakes)(&self.shared), |state| match (self.poll)(&mut state.machine, self.id) {
            None if state.machine.is_subscribed(self.id) && !(state.orphaned && state.is_stopped()) => None,
            item => Some(item),
        });
        next.await
    }

    pub(crate) fn stream(self) -> Pin<Box<dyn Stream<Item = T> + Send>> {
        Box::pin(stream::unfold(self, async |queue| Some((queue.next().await?, queue))))
    }
}

impl<R: Runtime, T> Drop for Queue<R, T> {
    fn drop(&mut self) {
        self.shared.lock().machine.unsubscribe(self.id);
    }
}
