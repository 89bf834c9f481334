//! Handlers: subscriptions whose items are handed to a function of the application, one after the other, on a thread that may block.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::{mem, thread};

use futures_lite::future;
use noex_proto::{Input, LocalFault, SubscriptionId};

use crate::Subscribed;
use crate::drive::Shared;

/// A registered handler, which is no stream, with [`unsubscribe`](Self::unsubscribe). Dropping this keeps the handler.
#[derive(Debug)]
pub struct Subscription {
    id: SubscriptionId,
    shared: Arc<Shared>,
}

impl Subscription {
    /// Removes the handler: once this returns, it is not called for anything further, but for a call that is under way or just begins.
    /// Handlers may call this, also for themselves; calling it twice is harmless.
    pub fn unsubscribe(&self) {
        self.shared.lock().machine.unsubscribe(self.id);
        // Its thread has to learn that it is done.
        self.shared.wake();
    }
}

/// Calls a handler for each item, on a thread of its own: it may block without holding up anybody, and outlives every runtime.
pub(crate) fn register<T: 'static>(mut subscribed: Subscribed<T>, mut handler: impl FnMut(T) + Send + 'static) -> Subscription {
    let subscription = Subscription { id: subscribed.id, shared: subscribed.shared.clone() };
    #[cfg(feature = "sim")]
    if let Some(port) = crate::sim::Port::entered() {
        port.spawn(async move {
            while let Some(item) = subscribed.next().await {
                hand(&subscribed.shared, item, &mut handler);
            }
        });
        return subscription;
    }
    thread::spawn(move || {
        while let Some(item) = future::block_on(subscribed.next()) {
            hand(&subscribed.shared, item, &mut handler);
        }
    });
    subscription
}

/// Hands an item to a handler, within the runtime.
fn hand<T>(shared: &Arc<Shared>, item: T, handler: &mut impl FnMut(T)) {
    let run = shared.lock().run().clone();
    let mut item = Some(item);
    let mut call = || item.take().into_iter().for_each(&mut *handler);
    if let Some(message) = panic_of(|| run.rt.enter(&mut call)) {
        // What logs this may panic too.
        panic_of(|| shared.feed(Input::Report(LocalFault::HandlerPanicked { message })));
    }
}

/// Runs code of the application; the message of its panic, if it panics.
pub(crate) fn panic_of(code: impl FnOnce()) -> Option<String> {
    catch_unwind(AssertUnwindSafe(code)).err().map(panic_text)
}

/// The message of a panic.
pub(crate) fn panic_text(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("a value that is no text").to_owned();
    // The value is the application's too, and so is its drop.
    let _dropped = catch_unwind(AssertUnwindSafe(|| drop(panic))).map_err(mem::forget);
    text
}
