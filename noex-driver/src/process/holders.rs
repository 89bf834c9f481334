//! Who has a name of the cluster, as it changes.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use event_listener::{Event, EventListener};
use futures_core::Stream;
use noex_proto::{ProcessId, ProcessName, WatchNameError};

use crate::drive::{Shared, State};
use crate::slots::Watched;

/// A stream of the processes that have a name of the cluster, from [`Cluster::watch_name`](crate::Cluster::watch_name): first the one that has it,
/// then one at each change, `None` where no process has it. A reader that is slow gets the last of several changes. It ends when the node stops.
#[derive(Debug)]
#[must_use = "a name is watched until this is dropped"]
pub struct HolderStream {
    changed: Arc<Event>,
    name: ProcessName,
    shared: Arc<Shared>,
    /// What was given last.
    told: Option<Option<ProcessId>>,
    waiting: Option<EventListener>,
}

impl HolderStream {
    pub(crate) fn new(shared: &Arc<Shared>, name: ProcessName) -> Result<Self, WatchNameError> {
        let changed = shared.drive(|state| {
            state.machine.watch_name(state.now(), &name)?;
            let watched = state.slots.names.entry(name.clone()).or_insert_with(Watched::default);
            watched.readers += 1;
            Ok(watched.changed.clone())
        })?;
        Ok(Self { changed, name, shared: shared.clone(), told: None, waiting: None })
    }

    /// The next process that has the name, or that none has it; `None` at the end and from then on. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Option<ProcessId>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }

    /// Whether it is of the run that goes on.
    fn is_open(&self, state: &State) -> bool {
        state.slots.names.get(&self.name).is_some_and(|watched| Arc::ptr_eq(&watched.changed, &self.changed))
    }

    /// What is new, or that nothing will be.
    fn look(&mut self) -> Poll<Option<Option<ProcessId>>> {
        let state = self.shared.lock();
        if !self.is_open(&state) {
            return Poll::Ready(None);
        }
        let holder = state.machine.whereis(&self.name).map(|holder| holder.process);
        drop(state);
        if self.told.as_ref() == Some(&holder) {
            return Poll::Pending;
        }
        self.told = Some(holder.clone());
        Poll::Ready(Some(holder))
    }
}

impl Stream for HolderStream {
    type Item = Option<ProcessId>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Poll::Ready(item) = self.look() {
                return Poll::Ready(item);
            }
            // Looked at once more with a listener in place, for what came before it was.
            match &mut self.waiting {
                None => self.waiting = Some(self.changed.listen()),
                Some(waiting) => {
                    ready!(Pin::new(waiting).poll(cx));
                    self.waiting = None;
                }
            }
        }
    }
}

impl Drop for HolderStream {
    fn drop(&mut self) {
        // It may be dropped as the thread ends, where a runtime's clock can be gone: the time is the machine's last.
        self.shared.drive_lent(|state| {
            if !self.is_open(state) {
                return;
            }
            state.machine.unwatch_name(state.machine.now(), &self.name);
            if let Some(watched) = state.slots.names.get_mut(&self.name) {
                watched.readers -= 1;
                if watched.readers == 0 {
                    state.slots.names.remove(&self.name);
                }
            }
        });
    }
}
