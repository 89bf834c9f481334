//! Handlers: subscriptions whose items are handed to a function of the application, one after the other, where it may block.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use event_listener::Event;
use noex_proto::{Input, LocalFault, SubscriptionId};

use crate::shared::Shared;
use crate::{Runtime, Subscribed};

/// The most items that a handler is given before the runtime has its thread back.
const BATCH: usize = 256;

/// A registered handler, with [`unsubscribe`](Self::unsubscribe). Dropping this keeps the handler.
#[derive(Debug)]
pub struct Subscription<R: Runtime> {
    id: SubscriptionId,
    /// Weak, since a handler may hold its own subscription.
    shared: Weak<Shared<R>>,
}

impl<R: Runtime> Subscription<R> {
    /// Removes the handler: once this returns, it is not called for anything further. A call that is under way goes on. Handlers may
    /// call this, also for themselves; calling it twice is harmless.
    pub fn unsubscribe(&self) {
        let Some(shared) = self.shared.upgrade() else { return };
        let removed = {
            let mut state = shared.lock();
            state.machine.unsubscribe(self.id);
            state.handlers.remove(&self.id)
        };
        // Dropped here, and not under the lock, for the application's values in it. Its task has to learn that it is done.
        drop(removed);
        shared.events.notify(usize::MAX);
        shared.messages.notify(usize::MAX);
    }
}

/// A handler's place. It outlives the tasks that serve it, one in each run, so that the handler survives its runtime.
pub(crate) struct Slot<R: Runtime> {
    /// Hands over the next item, if there is one. Locked while items are polled and handled, which keeps them in order even when
    /// the tasks of two runs meet.
    deliver: Mutex<Box<dyn FnMut() -> bool + Send>>,
    id: SubscriptionId,
    wakes: fn(&Shared<R>) -> &Event,
}

/// Registers a handler, and lets it be served if the cluster is running.
pub(crate) fn register<R: Runtime, T: 'static>(
    subscribed: Subscribed<R, T>,
    mut handler: impl FnMut(T) + Send + 'static,
) -> Subscription<R> {
    let (id, shared, wakes) = (subscribed.id, subscribed.shared.clone(), subscribed.wakes);
    // Holds what holds it, until it is unsubscribed, or the last handle is gone and the node has stopped.
    let deliver = Box::new(move || {
        let Some(item) = subscribed.next().flatten() else { return false };
        if let Some(message) = panic_of(|| handler(item)) {
            subscribed.shared.feed(Input::Report(LocalFault::HandlerPanicked { message }));
        }
        true
    });
    let slot = Arc::new(Slot { deliver: Mutex::new(deliver), id, wakes });
    shared.lock().handlers.insert(id, slot.clone());
    attend(&shared, [slot]);
    Subscription { id, shared: Arc::downgrade(&shared) }
}

/// Spawns the tasks of handlers for the current run, if there is one.
pub(crate) fn attend<R: Runtime>(shared: &Arc<Shared<R>>, slots: impl IntoIterator<Item = Arc<Slot<R>>>) {
    let (run, Some(rt)) = ({
        let state = shared.lock();
        (state.run, state.clock.as_ref().map(|clock| clock.rt.clone()))
    }) else {
        return;
    };
    for slot in slots {
        rt.spawn(serve(shared.clone(), rt.clone(), slot, run));
    }
}

/// Serves a handler until the run is over and what was queued is handled.
async fn serve<R: Runtime>(shared: Arc<Shared<R>>, rt: R, slot: Arc<Slot<R>>, run: u64) {
    loop {
        let more = (slot.wakes)(&shared).listen();
        // Asked before the queue is emptied, so that the last event of a run, which says that it is over, is handled too.
        let over = {
            let state = shared.lock();
            state.clock.is_none() || state.run != run || !state.handlers.contains_key(&slot.id)
        };
        let full = slot.clone();
        match rt.spawn_blocking(move || full.drain()).await {
            Some(true) => {}
            Some(false) if !over => more.await,
            Some(false) | None => return,
        }
    }
}

impl<R: Runtime> Slot<R> {
    /// Hands over what is queued; whether there may be more.
    fn drain(&self) -> bool {
        let mut deliver = self.deliver.lock().unwrap_or_else(PoisonError::into_inner);
        (0..BATCH).all(|_| deliver())
    }
}

/// Runs code of the application; the message of its panic, if it panics.
pub(crate) fn panic_of(code: impl FnOnce()) -> Option<String> {
    let panic = catch_unwind(AssertUnwindSafe(code)).err()?;
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Some(text.unwrap_or("a value that is no text").to_owned())
}
