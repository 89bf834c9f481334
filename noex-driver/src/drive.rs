//! The machine, what belongs to it, and the one function that drives it. None of it depends on the type of the runtime.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant as RealInstant};

use async_channel::Receiver;
use event_listener::{Event, EventListener};
use noex_proto::{Action, ClusterEvent, ClusterStatus, ConnId, Input, Instant, LookupId, Machine, NodeId, WallTime};

use crate::error::StartError;
use crate::link::{Link, Orders};
use crate::log;
use crate::slots::{Slots, Told};
use crate::time::{YEAR, wall};

/// What the handles, the streams and the tasks of one cluster share.
pub(crate) struct Shared {
    /// Notified when there are events, and with them whenever the status, the members or the end of a run may have changed, or all names are known.
    pub(crate) events: Event,
    /// Notified when there are messages.
    pub(crate) messages: Event,
    /// Notified when the timer has to look at its deadline again.
    pub(crate) timer: Event,
    state: Mutex<State>,
}

/// What the lock guards.
pub(crate) struct State {
    /// The deadline that the timer goes by, once it has looked at it.
    pub(crate) armed: Option<Instant>,
    /// The connections that the machine has not closed.
    pub(crate) links: BTreeMap<ConnId, Link>,
    pub(crate) machine: Machine,
    /// Whether the last handle is gone, so that there will be no further run.
    pub(crate) orphaned: bool,
    /// The last run.
    pub(crate) run: Option<Arc<Run>>,
    /// Where it belongs to a simulated host.
    #[cfg(feature = "sim")]
    pub(crate) sim: Option<crate::sim::Sim>,
    /// Who waits for what of processes.
    pub(crate) slots: Slots,
}

/// One run's runtime and clock. The machine's time goes on from where it stood, whatever clock the next runtime has.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) began: RealInstant,
    /// Set once the port is free again, which is a little after the machine has stopped: what a start is told that still waits.
    pub(crate) end: OnceLock<StartError>,
    pub(crate) machine_began: Instant,
    pub(crate) rt: Arc<dyn AnyRuntime>,
}

impl Run {
    /// A moment by the runtime's clock, as the machine counts.
    pub(crate) fn machine_time(&self, at: RealInstant) -> Instant {
        self.machine_began + at.saturating_duration_since(self.began)
    }

    /// A moment of the machine's, by the runtime's clock; a moment that this clock does not reach is a year away.
    pub(crate) fn real_time(&self, at: Instant) -> RealInstant {
        let since = at - self.machine_began;
        self.began.checked_add(since).unwrap_or_else(|| self.rt.now() + YEAR)
    }
}

/// A [`Runtime`](crate::Runtime), whatever its types are.
pub(crate) trait AnyRuntime: fmt::Debug + Send + Sync {
    /// Something comes after this time, or a year, unless the receiver is dropped before; an error comes where the runtime ends.
    fn alarm(&self, after: Duration) -> Receiver<()>;

    /// Spawns the task of an outgoing connection.
    fn dial(&self, shared: &Arc<Shared>, orders: Orders, remote: SocketAddr);

    /// Runs code as [`Runtime::enter`](crate::Runtime::enter) does.
    fn enter(&self, code: &mut dyn FnMut());

    /// Spawns the task of a lookup, which belongs to this run.
    fn look_up(&self, shared: &Arc<Shared>, run: &Arc<Run>, lookup: LookupId, host: String);

    /// The time by the runtime's clock.
    fn now(&self) -> RealInstant;
}

/// What a step leads to beyond the machine: what is to be spawned, and who is to be woken. Both may run code of the application, so they wait
/// until the lock is released.
#[derive(Default)]
struct Outcome {
    dials: Vec<(Orders, SocketAddr)>,
    events: Vec<ClusterEvent>,
    lookups: Vec<(LookupId, String)>,
    messages: bool,
    rearm: bool,
    /// What those wait for who found a queue full and may go on.
    rooms: Vec<Event>,
    /// The run that it is spawned in.
    run: Option<Arc<Run>>,
    told: Told,
}

impl Shared {
    pub(crate) fn new(machine: Machine) -> Self {
        let state = State {
            armed: None,
            links: BTreeMap::new(),
            machine,
            orphaned: false,
            run: None,
            #[cfg(feature = "sim")]
            sim: None,
            slots: Slots::default(),
        };
        Self { events: Event::new(), messages: Event::new(), timer: Event::new(), state: Mutex::new(state) }
    }

    /// For reading, and for what queues no action. Never held across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.lock_lent();
        #[cfg(feature = "sim")]
        let state = crate::sim::own(self, state);
        state
    }

    /// The same in a drop, which must not panic: a simulator may have the machine, and what is asked of the one in its place comes to nothing.
    pub(crate) fn lock_lent(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Feeds the machine one input and does all that follows.
    pub(crate) fn feed(self: &Arc<Self>, input: Input) {
        self.drive(|state| state.handle(input));
    }

    /// Takes one step under the lock, performs every action that it leads to, and re-arms the timer.
    pub(crate) fn drive<T>(self: &Arc<Self>, step: impl FnOnce(&mut State) -> T) -> T {
        self.drive_locked(self.lock(), step)
    }

    /// The same in a drop.
    pub(crate) fn drive_lent<T>(self: &Arc<Self>, step: impl FnOnce(&mut State) -> T) -> T {
        self.drive_locked(self.lock_lent(), step)
    }

    fn drive_locked<'a, T>(self: &'a Arc<Self>, state: MutexGuard<'a, State>, step: impl FnOnce(&mut State) -> T) -> T {
        // Declared first, so that it is dropped outside the lock should anything below panic.
        let result;
        let mut state = state;
        result = step(&mut state);
        #[cfg(feature = "sim")]
        if state.is_simulated() {
            drop(state);
            return result;
        }
        let outcome = state.perform();
        drop(state);
        self.follow(outcome);
        result
    }

    /// Spawns and wakes what a step led to.
    fn follow(self: &Arc<Self>, outcome: Outcome) {
        let Outcome { dials, events, lookups, messages, rearm, rooms, run, told } = outcome;
        if let Some(run) = run {
            dials.into_iter().for_each(|(orders, remote)| run.rt.dial(self, orders, remote));
            lookups.into_iter().for_each(|(lookup, host)| run.rt.look_up(self, &run, lookup, host));
        }
        if rearm {
            self.timer.notify(usize::MAX);
        }
        if messages {
            self.messages.notify(usize::MAX);
        }
        for room in rooms {
            room.notify(usize::MAX);
        }
        let synced = told.synced;
        told.tell();
        if synced || !events.is_empty() {
            self.events.notify(usize::MAX);
            events.iter().for_each(log::event);
        }
    }

    /// Waits until `check` gives something. It is called under the lock, at first and when `wakes` is notified, and queues no action.
    pub(crate) async fn until<T>(&self, wakes: &Event, mut check: impl FnMut(&mut State) -> Option<T>) -> T {
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

impl State {
    /// Performs all actions that are queued.
    fn perform(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut written = Vec::new();
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Close { conn, how } => {
                    let Some(link) = self.links.remove(&conn) else { continue };
                    // To send, here and below, fails where the task is gone with its runtime.
                    let _gone = link.close.try_send(how);
                    outcome.rooms.extend(link.room.map(|(_, room)| room));
                }
                Action::Connect { conn, remote } => outcome.dials.push((self.link(conn), remote)),
                Action::Event(event) => {
                    if let ClusterEvent::StatusChange(_) = event {
                        let rooms = self.links.values_mut().filter_map(|link| link.room.take());
                        outcome.rooms.extend(rooms.map(|(_, room)| room));
                    }
                    outcome.events.push(event);
                }
                Action::Message => outcome.messages = true,
                Action::Resolve { host, lookup } => outcome.lookups.push((lookup, host)),
                Action::Transmit { conn, data } => {
                    let Some(link) = self.links.get(&conn) else { continue };
                    let _gone = link.data.try_send(data);
                    if link.room.is_some() && written.last() != Some(&conn) {
                        written.push(conn);
                    }
                }
                Action::Stopped => {
                    outcome.rearm = true;
                    self.slots.stop(&mut outcome.told);
                }
                Action::Process(action) => self.slots.perform(action, &mut outcome.told),
            }
        }
        for conn in written {
            let Some(link) = self.links.get_mut(&conn) else { continue };
            let room = link.room.take_if(|(to, _)| self.machine.has_room(to) != Ok(false));
            outcome.rooms.extend(room.map(|(_, room)| room));
        }
        // A deadline that only moved later needs no wake: the timer finds out when it wakes at the old one.
        let due = self.machine.poll_timeout();
        if due.is_some_and(|due| self.armed.is_none_or(|armed| due < armed)) {
            self.armed = due;
            outcome.rearm = true;
        }
        if !outcome.dials.is_empty() || !outcome.lookups.is_empty() {
            outcome.run = Some(self.run().clone());
        }
        outcome
    }

    /// Is notified when who found the queue of this session full may go on.
    pub(crate) fn room(&mut self, conn: ConnId, to: &NodeId) -> Option<EventListener> {
        // On a simulated host nothing else needs a link.
        #[cfg(feature = "sim")]
        if self.sim.is_some() {
            self.links.entry(conn).or_insert_with(|| Link::new(conn).0);
        }
        let room = &mut self.links.get_mut(&conn)?.room;
        Some(room.get_or_insert_with(|| (to.clone(), Event::new())).1.listen())
    }

    /// Links a new connection to the machine; before the machine hears of it, since that may close it at once.
    pub(crate) fn link(&mut self, conn: ConnId) -> Orders {
        let (link, orders) = Link::new(conn);
        self.links.insert(conn, link);
        orders
    }

    /// The machine's time.
    pub(crate) fn now(&self) -> Instant {
        #[cfg(feature = "sim")]
        if let Some(sim) = &self.sim {
            return sim.now;
        }
        let run = self.run.as_ref();
        run.map_or(Instant::START, |run| run.machine_time(run.rt.now()))
    }

    /// The wall-clock time.
    pub(crate) fn wall(&self) -> WallTime {
        #[cfg(feature = "sim")]
        if let Some(sim) = &self.sim {
            return sim.wall;
        }
        wall()
    }

    pub(crate) fn handle(&mut self, input: Input) {
        self.machine.handle(self.now(), input);
    }

    /// The last run.
    pub(crate) fn run(&self) -> &Arc<Run> {
        self.run.as_ref().expect("nothing happens before the first run")
    }

    /// Whether the machine has stopped, and the task of its run has not freed the port yet.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_stopped() && self.run.as_ref().is_some_and(|run| run.end.get().is_none())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.machine.status() == ClusterStatus::Stopped
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.lock_lent().machine.status();
        f.debug_struct("Shared").field("status", &status).finish_non_exhaustive()
    }
}
