//! What a simulator puts in the place of sockets, threads and the wall clock: the [`Port`] of a process on a simulated host. It is no part of
//! what an application uses; `noex-sim` does, and turns the feature `sim` on for it.
//!
//! A node that is started in a process with a port has no task, no socket and no timer of its own. The simulator has its machine, and lends it to
//! the node's handle while the process runs: [`give`](Port::give), then [`take`](Port::take). What the application asks of the machine stays in it
//! as actions, which the simulator performs; what it tells the application comes back by [`tell`](Port::tell).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, MutexGuard, OnceLock};
use std::thread;

use event_listener::Event;
use noex_proto::{Action, Cause, ClusterConfig, Instant, Machine, ProcessAction, WallTime};

use crate::drive::{AnyRuntime, Run, Shared, State};
use crate::error::StartError;
use crate::slots::{Once, Told};
use crate::{Runtime, log, run};

/// A task that a node needs in the process that it is in.
pub type Task = Pin<Box<dyn Future<Output = ()>>>;

thread_local! {
    static ENTERED: RefCell<Option<Port>> = const { RefCell::new(None) };
    static WAITS: RefCell<bool> = const { RefCell::new(false) };
}

/// The port of one process on a simulated host.
#[derive(Clone)]
pub struct Port(Rc<Inner>);

struct Inner {
    marks: RefCell<Vec<(String, String)>>,
    /// The node that was started in this process last.
    node: RefCell<Option<Arc<Shared>>>,
    spawn: Box<dyn Fn(Task)>,
    starts: RefCell<VecDeque<Start>>,
}

/// What a node in a simulation has beside its state.
pub(crate) struct Sim {
    /// How often something was asked of the machine since it was given.
    drives: u64,
    /// Whether the simulator has the machine.
    lent: bool,
    pub(crate) now: Instant,
    /// Whether something was dropped while the machine was lent, which it did not hear of.
    unheard: bool,
    pub(crate) wall: WallTime,
}

/// A start that a program asks for.
pub struct Start {
    config: ClusterConfig,
    outcome: Arc<Once<Result<(), StartError>>>,
    rt: Arc<dyn AnyRuntime>,
    shared: Arc<Shared>,
}

/// How many processes, calls, and calls that processes have a node's handle knows.
pub type Books = (usize, usize, usize);

/// The port is entered until this is dropped.
#[derive(Debug)]
pub struct Entered(Option<Port>);

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.with_borrow_mut(|entered| mem::swap(entered, &mut self.0));
    }
}

impl Port {
    /// A port. `spawn` runs a task in the process.
    #[must_use]
    pub fn new(spawn: impl Fn(Task) + 'static) -> Self {
        Self(Rc::new(Inner {
            marks: RefCell::default(),
            node: RefCell::default(),
            spawn: Box::new(spawn),
            starts: RefCell::default(),
        }))
    }

    /// The calling thread runs this process until what is given back is dropped.
    #[must_use]
    pub fn enter(&self) -> Entered {
        Entered(ENTERED.replace(Some(self.clone())))
    }

    /// The calling thread belongs to a process, and is not the one that the simulation runs on: where it meets a machine that is lent, it waits.
    pub fn wait_for_lent() {
        WAITS.set(true);
    }

    /// The port of the process that the calling thread runs.
    pub(crate) fn entered() -> Option<Self> {
        ENTERED.with_borrow(Clone::clone)
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        (self.0.spawn)(Box::pin(task));
    }

    /// The marks that the program has made since they were taken last, by [`mark!`](crate::mark): names and values.
    #[must_use]
    pub fn take_marks(&self) -> Vec<(String, String)> {
        self.0.marks.take()
    }

    // Starts

    /// The next start that the program waits for.
    #[must_use]
    pub fn next_start(&self) -> Option<Start> {
        let mut starts = self.0.starts.borrow_mut();
        // The future of one that nobody waits for any more is gone.
        iter_pop(&mut starts).find(|start| Arc::strong_count(&start.outcome) > 1)
    }

    /// Whether the start is one of the node that the simulator has the machine of.
    #[must_use]
    pub fn is_own(&self, start: &Start) -> bool {
        self.0.node.borrow().as_ref().is_some_and(|node| Arc::ptr_eq(node, &start.shared))
    }

    /// Takes the machine of the node that is to be started, which belongs to this process from now on. None where it belongs to another one.
    #[must_use]
    pub fn adopt(&self, start: &Start) -> Option<Machine> {
        let mut state = start.shared.lock_lent();
        if state.sim.is_some() {
            return None;
        }
        let now = state.machine.now();
        state.sim = Some(Sim { drives: 0, lent: true, now, unheard: false, wall: WallTime::default() });
        self.0.node.replace(Some(start.shared.clone()));
        Some(mem::take(&mut state.machine))
    }

    // Turns

    /// Gives the machine to the handle, with the times of its host. Without a node nothing happens.
    pub fn give(&self, machine: &mut Machine, now: Instant, wall: WallTime) {
        self.exchange(machine, |sim| (sim.lent, sim.now, sim.wall) = (false, now, wall));
    }

    /// Takes the machine back. How often something was asked of it meanwhile.
    pub fn take(&self, machine: &mut Machine) -> u64 {
        self.exchange(machine, |sim| {
            sim.lent = true;
            mem::take(&mut sim.drives)
        })
        .unwrap_or(0)
    }

    fn exchange<T>(&self, machine: &mut Machine, change: impl FnOnce(&mut Sim) -> T) -> Option<T> {
        let node = self.0.node.borrow();
        let mut state = node.as_ref()?.lock_lent();
        let State { machine: own, sim, .. } = &mut *state;
        mem::swap(own, machine);
        sim.as_mut().map(change)
    }

    /// Tells the application what the machine asked for, and wakes who waits for that.
    ///
    /// # Errors
    /// What the handle knows nothing of: a call or a monitor that was over before, a call that no process was handed.
    pub fn tell(&self, machine: &Machine, actions: Vec<Action>) -> Result<(), String> {
        let Some(node) = self.0.node.borrow().clone() else { return Ok(()) };
        let (mut told, mut events, mut messages, mut unknown) = (Told::default(), Vec::new(), false, Ok(()));
        let mut state = node.lock_lent();
        for action in actions {
            match action {
                Action::Event(event) => events.push(event),
                Action::Message => messages = true,
                Action::Process(action) => {
                    unknown = unknown.and_then(|()| state.known(&action));
                    state.slots.perform(action, &mut told);
                }
                Action::Stopped => {
                    let _ended = state.run.as_ref().map(|run| run.end.get_or_init(|| StartError::Stopped));
                    state.slots.stop(&mut told);
                }
                _ => {}
            }
        }
        let rooms = state.free_rooms(machine);
        drop(state);
        rooms.iter().for_each(|room| {
            room.notify(usize::MAX);
        });
        let synced = told.synced;
        told.tell();
        if messages {
            node.messages.notify(usize::MAX);
        }
        if synced || !events.is_empty() {
            node.events.notify(usize::MAX);
            events.iter().for_each(log::event);
        }
        unknown
    }

    /// What the handle knows of processes; none where it may know less than the machine.
    #[must_use]
    pub fn books(&self) -> Option<Books> {
        let node = self.0.node.borrow();
        let state = node.as_ref()?.lock_lent();
        let slots = &state.slots;
        let heard = state.sim.as_ref().is_some_and(|sim| !sim.unheard);
        heard.then_some((slots.mailboxes.len(), slots.calls.len(), slots.requests.len()))
    }

    /// Whether the last handle of the node is gone.
    #[must_use]
    pub fn is_orphaned(&self) -> bool {
        self.0.node.borrow().as_ref().is_some_and(|node| node.lock_lent().orphaned)
    }

    /// The process is gone: to whoever still has a handle the node is stopped.
    pub fn end(&self) {
        let Some(node) = self.0.node.take() else { return };
        let mut state = node.lock_lent();
        state.machine = Machine::new();
        state.sim = None;
        state.links.clear();
        let _ended = state.run.as_ref().map(|run| run.end.get_or_init(|| StartError::Stopped));
    }
}

fn iter_pop<T>(queue: &mut VecDeque<T>) -> impl Iterator<Item = T> {
    std::iter::from_fn(|| queue.pop_front())
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port").finish_non_exhaustive()
    }
}

impl Start {
    /// With what the node is to be started.
    #[must_use]
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// The node runs since this moment of its host.
    pub fn started(self, now: Instant) {
        let run = Run { began: self.rt.now(), end: OnceLock::new(), machine_began: now, rt: self.rt };
        let _last = self.shared.lock_lent().run.replace(Arc::new(run));
        self.outcome.set(Ok(()));
    }

    /// The machine refused the start.
    pub fn refused(self, error: noex_proto::StartError) {
        self.outcome.set(Err(run::refused(error)));
    }

    /// The node cannot be started here, and why.
    pub fn impossible(self, why: String) {
        self.outcome.set(Err(StartError::Runtime { cause: Cause::from(why.as_str()) }));
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start").finish_non_exhaustive()
    }
}

/// What [`mark!`](crate::mark) does.
#[doc(hidden)]
pub fn mark(name: &str, value: &dyn fmt::Display) {
    if let Some(port) = Port::entered() {
        port.0.marks.borrow_mut().push((name.to_owned(), value.to_string()));
    }
}

/// Asks the simulator for a start, where the calling thread runs one of its processes.
pub(crate) fn start<R: Runtime>(
    shared: &Arc<Shared>,
    config: &ClusterConfig,
) -> Option<impl Future<Output = Result<(), StartError>> + use<R>> {
    let port = Port::entered()?;
    let outcome = Once::new();
    let asked = R::current().map_err(|cause| StartError::Runtime { cause }).map(|rt| {
        let rt = run::any(rt);
        let (config, outcome, shared) = (config.clone(), outcome.clone(), shared.clone());
        port.0.starts.borrow_mut().push_back(Start { config, outcome, rt, shared });
    });
    Some(async move {
        asked?;
        std::future::poll_fn(|cx| outcome.poll(cx)).await
    })
}

/// The state, unless the simulator has the machine.
pub(crate) fn own<'a>(shared: &'a Shared, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
    while state.sim.as_ref().is_some_and(|sim| sim.lent) {
        drop(state);
        assert!(
            WAITS.with_borrow(|waits| *waits),
            "this node's machine is lent to the simulation: only the tasks of its own host may use the handle while the simulation runs. \
             Is the handle in a static, which all simulated hosts share, or on a thread of its own?"
        );
        thread::yield_now();
        state = shared.lock_lent();
    }
    state
}

impl State {
    /// Notes that something is asked of the machine. Whether it is a simulated one, whose actions stay in it.
    pub(crate) fn is_simulated(&mut self) -> bool {
        let Some(sim) = &mut self.sim else { return false };
        sim.drives += 1;
        sim.unheard |= sim.lent;
        true
    }

    /// Whether this is about something that the handle knows.
    fn known(&self, action: &ProcessAction) -> Result<(), String> {
        let slots = &self.slots;
        let known = match action {
            ProcessAction::CallEnded { call, .. } => slots.calls.contains_key(call),
            ProcessAction::MonitorFired { monitor, .. } => slots.monitors.contains_key(monitor),
            ProcessAction::RequestOver(request) => slots.requests.contains_key(request),
            _ => true,
        };
        let heard = self.sim.as_ref().is_none_or(|sim| !sim.unheard);
        if known || !heard { Ok(()) } else { Err(format!("{action:?}, of which the driver knows nothing")) }
    }

    /// What those wait for who found a queue full that has room now, or is gone.
    fn free_rooms(&mut self, machine: &Machine) -> Vec<Event> {
        let free = |link: &mut crate::link::Link| link.room.take_if(|(to, _)| machine.has_room(to) != Ok(false));
        let rooms = self.links.values_mut().filter_map(free).map(|(_, room)| room).collect();
        self.links.retain(|_, link| link.room.is_some());
        rooms
    }
}
