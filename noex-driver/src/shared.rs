//! The machine, what belongs to it, and the one function that drives it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant as RealInstant;

use event_listener::Event;
use noex_proto::{Action, ClusterStatus, ConnId, Input, Instant, Machine, StartError};

use crate::connection::{Connection, Link};
use crate::lookup::Lookup;
use crate::{Runtime, log};

/// What the handles, the streams and the tasks of one cluster share.
pub(crate) struct Shared<R: Runtime> {
    /// Notified when there are events, and with them whenever the status, the members or the end of a run may have changed.
    pub(crate) events: Event,
    /// Notified when there are messages.
    pub(crate) messages: Event,
    /// Notified when the timer has to look at its deadline again.
    pub(crate) timer: Event,
    state: Mutex<State<R>>,
}

/// What the lock guards.
pub(crate) struct State<R: Runtime> {
    /// The connections that the machine has not closed.
    pub(crate) links: BTreeMap<ConnId, Link>,
    pub(crate) machine: Machine,
    /// Whether the last handle is gone, so that there will be no further run.
    pub(crate) orphaned: bool,
    /// The last run.
    pub(crate) run: Option<Arc<Run<R>>>,
}

/// One run's runtime and clock. The machine's time goes on from where it stood, whatever clock the next runtime has.
#[derive(Debug)]
pub(crate) struct Run<R> {
    pub(crate) began: RealInstant,
    /// Set once the port is free again, which is a little after the machine has stopped: what a start is told that still waits.
    pub(crate) end: OnceLock<StartError>,
    pub(crate) machine_began: Instant,
    pub(crate) rt: R,
}

impl<R: Runtime> Shared<R> {
    pub(crate) fn new(machine: Machine) -> Self {
        let state = State { links: BTreeMap::new(), machine, orphaned: false, run: None };
        Self { events: Event::new(), messages: Event::new(), timer: Event::new(), state: Mutex::new(state) }
    }

    /// For reading, and for what queues no action. Never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds the machine one input and does all that follows.
    pub(crate) fn feed(self: &Arc<Self>, input: Input) {
        self.drive(|state| state.handle(input));
    }

    /// Takes one step under the lock, performs every action that it leads to, and re-arms the timer.
    pub(crate) fn drive<T>(self: &Arc<Self>, step: impl FnOnce(&mut State<R>) -> T) -> T {
        let (mut dials, mut lookups, mut events, mut messages, mut rearm) = (Vec::new(), Vec::new(), Vec::new(), false, false);
        // Declared first, so that it is dropped outside the lock should anything below panic.
        let result;
        let mut guard = self.lock();
        let state = &mut *guard;
        let armed = state.machine.poll_timeout();
        result = step(state);
        while let Some(action) = state.machine.poll_action() {
            match action {
                Action::Close { conn, how } => {
                    // To send, here and below, fails where the task is gone with its runtime.
                    let _gone = state.links.remove(&conn).map(|link| link.close.try_send(how));
                }
                Action::Connect { conn, remote } => {
                    let rt = state.runtime();
                    dials.push((Connection::link(self, &rt, conn, &mut state.links).dial(remote), rt));
                }
                Action::Event(event) => events.push(event),
                Action::Message => messages = true,
                Action::Resolve { host, lookup } => lookups.push(Lookup::new(self, state.run(), lookup, host)),
                Action::Transmit { conn, data } => {
                    let _gone = state.links.get(&conn).map(|link| link.data.try_send(data));
                }
                Action::Stopped => rearm = true,
            }
        }
        // A deadline that only moved later needs no wake: the timer finds out when it wakes at the old one.
        rearm |= state.machine.poll_timeout().is_some_and(|due| armed.is_none_or(|armed| due < armed));
        // What follows may run code of the application.
        drop(guard);
        dials.into_iter().for_each(|(dial, rt)| rt.spawn(dial));
        lookups.into_iter().for_each(Lookup::spawn);
        if rearm {
            self.timer.notify(usize::MAX);
        }
        if messages {
            self.messages.notify(usize::MAX);
        }
        if !events.is_empty() {
            self.events.notify(usize::MAX);
            events.iter().for_each(log::event);
        }
        result
    }

    /// Waits until `check` gives something. It is called under the lock, at first and when `wakes` is notified, and queues no action.
    pub(crate) async fn until<T>(&self, wakes: &Event, mut check: impl FnMut(&mut State<R>) -> Option<T>) -> T {
        let mut changed = None;
        loop {
            let found = check(&mut self.lock());
            if let Some(found) = found {
                return found;
            }
            // Once more with a listener in place, for what came before it was.
            match changed.take() {
                None => changed = Some(wakes.listen()),
                Some(changed) => changed.await,
            }
        }
    }

    /// Wakes all who wait for events or messages, where they have come to an end.
    pub(crate) fn wake(&self) {
        self.events.notify(usize::MAX);
        self.messages.notify(usize::MAX);
    }
}

impl<R: Runtime> State<R> {
    /// The machine's time.
    pub(crate) fn now(&self) -> Instant {
        let run = self.run.as_ref();
        run.map_or(Instant::START, |run| run.machine_began + run.rt.now().saturating_duration_since(run.began))
    }

    pub(crate) fn handle(&mut self, input: Input) {
        self.machine.handle(self.now(), input);
    }

    /// The last run.
    pub(crate) fn run(&self) -> &Arc<Run<R>> {
        self.run.as_ref().expect("nothing happens before the first run")
    }

    /// The runtime of the last run.
    pub(crate) fn runtime(&self) -> R {
        self.run().rt.clone()
    }

    /// Whether the machine has stopped, and the task of its run has not freed the port yet.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_stopped() && self.run.as_ref().is_some_and(|run| run.end.get().is_none())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.machine.status() == ClusterStatus::Stopped
    }
}

impl<R: Runtime> fmt::Debug for Shared<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.lock().machine.status();
        f.debug_struct("Shared").field("status", &status).finish_non_exhaustive()
    }
}
