//! Who wants to hear of the end of a process.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use noex_proto::{Destination, ExitReason, MonitorError, MonitorId};

use crate::drive::Shared;
use crate::slots::{Once, lock};

/// A monitor of a mailbox's, from [`Mailbox::monitor`](crate::Mailbox::monitor). Dropping it removes the monitor: what it would have told is not
/// told then.
#[derive(Debug)]
#[must_use = "dropping it removes the monitor"]
pub struct Monitor {
    id: MonitorId,
    shared: Arc<Shared>,
    watcher: u64,
    watches: Arc<Watches>,
}

impl Monitor {
    pub(super) fn new(shared: &Arc<Shared>, watches: &Arc<Watches>, watcher: u64, id: MonitorId) -> Self {
        Self { id, shared: shared.clone(), watcher, watches: watches.clone() }
    }

    /// Its number, which [`Item::Down`](crate::Item::Down) has.
    #[must_use]
    pub const fn id(&self) -> MonitorId {
        self.id
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if self.watches.remove(self.id) {
            // It may be dropped as the thread ends, where a runtime's clock can be gone: the time is the machine's last.
            self.shared.drive_lent(|state| state.machine.demonitor(state.machine.now(), Some(self.watcher), self.id));
        }
    }
}

/// The monitors of one mailbox that have told nothing and were not removed.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashSet<MonitorId>>);

impl Watches {
    pub(super) fn insert(&self, id: MonitorId) {
        lock(&self.0).insert(id);
    }

    /// Whether it was one of them.
    pub(super) fn remove(&self, id: MonitorId) -> bool {
        lock(&self.0).remove(&id)
    }
}

/// A monitor of a task's, which belongs to no mailbox.
pub(super) struct Watch {
    id: MonitorId,
    shared: Arc<Shared>,
    slot: Arc<Once<ExitReason>>,
}

impl Watch {
    pub(super) fn set(shared: &Arc<Shared>, to: &Destination) -> Result<Self, MonitorError> {
        let slot = Once::new();
        let id = shared.drive(|state| {
            let id = state.machine.monitor(state.now(), None, to)?;
            state.slots.monitors.insert(id, slot.clone());
            Ok(id)
        })?;
        Ok(Self { id, shared: shared.clone(), slot })
    }

    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<ExitReason> {
        self.slot.poll(cx)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.drive_lent(|state| {
            let set = state.slots.monitors.remove(&self.id);
            if set.is_some() {
                state.machine.demonitor(state.machine.now(), None, self.id);
            }
            set
        });
    }
}
