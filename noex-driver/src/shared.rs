//! The machine, what belongs to it, and the one function that drives it.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant as RealInstant, SystemTime, UNIX_EPOCH};

use event_listener::Event;
use noex_proto::{Action, Close, ClusterEvent, ClusterStatus, ConnId, Input, Instant, Machine, SubscriptionId, WallTime};

use crate::Runtime;
use crate::connection::{self, Link};
use crate::handlers::Slot;
use crate::log;

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
    /// When the timer wakes; `None` while it waits for a notification only.
    pub(crate) armed: Option<Instant>,
    /// The clock and runtime of the current run: from `start` until the machine has stopped.
    pub(crate) clock: Option<Clock<R>>,
    pub(crate) handlers: BTreeMap<SubscriptionId, Arc<Slot<R>>>,
    /// The connections that the machine has not closed.
    pub(crate) links: BTreeMap<ConnId, Arc<Link>>,
    /// Whether the listener of this or the last run is still open: from the bind until the task that serves it is gone.
    pub(crate) listening: bool,
    pub(crate) machine: Machine,
    /// The machine's time as of the last look at the clock. It stands still between two runs.
    now: Instant,
    /// Whether the last handle is gone, so that there will be no further run.
    pub(crate) orphaned: bool,
    /// The number of runs so far, which tells a late task that its run is over.
    pub(crate) run: u64,
}

/// The clock of one run. The machine's time goes on from where it stood, whatever clock the next runtime has.
pub(crate) struct Clock<R> {
    pub(crate) rt: R,
    machine: Instant,
    real: RealInstant,
}

/// What is to be told after the lock is released, since that may run code of the application.
#[derive(Default)]
struct News {
    events: Vec<ClusterEvent>,
    messages: bool,
}

impl<R: Runtime> Shared<R> {
    pub(crate) fn new(machine: Machine) -> Self {
        let state = State {
            armed: None,
            clock: None,
            handlers: BTreeMap::new(),
            links: BTreeMap::new(),
            listening: false,
            machine,
            now: Instant::START,
            orphaned: false,
            run: 0,
        };
        Self { events: Event::new(), messages: Event::new(), timer: Event::new(), state: Mutex::new(state) }
    }

    /// For reading, and for what queues no action. Never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds the machine one input and does all that follows.
    pub(crate) fn feed(self: &Arc<Self>, input: Input) {
        self.drive(|state, now| state.machine.handle(now, input));
    }

    /// Takes one step under the lock, performs every action that it leads to, and re-arms the timer.
    pub(crate) fn drive<T>(self: &Arc<Self>, step: impl FnOnce(&mut State<R>, Instant) -> T) -> T {
        let mut news = News::default();
        let mut state = self.lock();
        let now = state.now();
        let result = step(&mut state, now);
        while let Some(action) = state.machine.poll_action() {
            self.perform(&mut state, action, &mut news);
        }
        let stopped = state.is_stopped();
        let ended = stopped && state.clock.take().is_some();
        // Their tasks still hand over what is queued. Dropped after the lock, for the application's values in them.
        let _unheard = (stopped && state.orphaned).then(|| mem::take(&mut state.handlers));
        // A deadline that only moved later needs no wake: the timer finds out when it wakes at the old one.
        let due = state.machine.poll_timeout();
        let earlier = due.is_some_and(|due| state.armed.is_none_or(|armed| due < armed));
        if earlier {
            state.armed = due;
        }
        drop(state);
        if earlier || ended {
            self.timer.notify(usize::MAX);
        }
        if news.messages || ended {
            self.messages.notify(usize::MAX);
        }
        if !news.events.is_empty() || ended {
            news.events.iter().for_each(log::event);
            self.events.notify(usize::MAX);
        }
        result
    }

    /// Waits until `check` gives something. It is called under the lock, at first and after each event.
    pub(crate) async fn until<T>(&self, mut check: impl FnMut(&mut State<R>) -> Option<T>) -> T {
        loop {
            let changed = self.events.listen();
            let found = check(&mut self.lock());
            match found {
                Some(found) => return found,
                None => changed.await,
            }
        }
    }

    fn perform(self: &Arc<Self>, state: &mut State<R>, action: Action, news: &mut News) {
        match action {
            Action::Close { conn, how } => {
                if let Some(link) = state.links.remove(&conn) {
                    link.close(how);
                }
            }
            Action::Connect { conn, host, port, skip } => {
                if let Some(Clock { rt, .. }) = &state.clock {
                    let link = state.links.entry(conn).or_default();
                    rt.spawn(connection::dial(self.clone(), rt.clone(), conn, link.clone(), (host, port, skip)));
                }
            }
            Action::Event(event) => news.events.push(event),
            Action::Message => news.messages = true,
            Action::Send { conn, data } => {
                if let Some(link) = state.links.get(&conn) {
                    link.push(data);
                }
            }
            Action::Stopped => mem::take(&mut state.links).values().for_each(|link| link.close(Close::Abort)),
        }
    }
}

impl<R: Runtime> State<R> {
    /// The machine's time.
    pub(crate) fn now(&mut self) -> Instant {
        if let Some(clock) = &self.clock {
            self.now = self.now.max(clock.machine + clock.rt.now().saturating_duration_since(clock.real));
        }
        self.now
    }

    /// Begins a run: from now on time passes by the clock of `rt`.
    pub(crate) fn set_clock(&mut self, rt: R) {
        self.clock = Some(Clock { machine: self.now, real: rt.now(), rt });
        self.armed = None;
        self.run += 1;
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.machine.status() == ClusterStatus::Stopped
    }

    /// Makes the node leave. A start that does not listen yet is over at once, since nobody may be polling it any more.
    pub(crate) fn leave(&mut self, now: Instant) {
        self.machine.handle(now, Input::Stop);
        if !self.listening && !self.is_stopped() {
            self.machine.handle(now, Input::BindFailed);
        }
    }
}

impl<R: Runtime> Clock<R> {
    /// The runtime's time at a moment of the machine's.
    pub(crate) fn real(&self, at: Instant) -> RealInstant {
        // Longer than any deadline of the machine, and short enough to be added to any clock.
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.real + (at - self.machine).min(FAR)
    }
}

impl<R: Runtime> fmt::Debug for Shared<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.lock().machine.status();
        f.debug_struct("Shared").field("status", &status).finish_non_exhaustive()
    }
}

/// The wall-clock time, for the machine.
pub(crate) fn wall() -> WallTime {
    WallTime(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

/// The machine's wall-clock time, for the application.
pub(crate) fn system_time(wall: WallTime) -> SystemTime {
    UNIX_EPOCH.checked_add(wall.0).unwrap_or(UNIX_EPOCH)
}
