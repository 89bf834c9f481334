//! The contract between a machine and its driver, as a check that any driver can run beside it.
//!
//! A [`Contract`] sees each input and each action, keeps what a driver knows by them, and says which [`Rule`] was broken. It draws nothing from the
//! machine's tables but what it compares with its own: it is the machine's second bookkeeper. Cloning it clones what it knows.

mod bounds;
mod connections;
#[cfg(test)]
mod tests;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use connections::Connections;
pub use connections::Phase;

use crate::{
    Action, Books, ClusterEvent, ClusterStatus, ConnId, Counters, Input, Instant, Limits, LookupId, Machine, NodeId, Usage,
};

/// What a driver may rely on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// Connections are numbered in turn; each action is about one that is open, and each connection is closed once, unless its dial failed. What
    /// comes for one that is closed leads to no action.
    ActionsOnOpenConnections,
    /// What the machine counts is what its driver knows.
    BooksBalance,
    /// What is queued, what the driver holds, and every table stay within their limits. There is one lookup of a host at a time.
    Bounded,
    /// Counters never go back.
    CountersGrow,
    /// Ups and downs of a node alternate, and statuses follow each other.
    EventsAlternate,
    /// What was told by events is what can be read.
    EventsMatchView,
    /// No list of nodes names one twice.
    NoDuplicate,
    /// No node is its own member.
    NoSelf,
    /// No dial and no lookup begins unless the node runs. When its stop ends no connection and no deadline is left, and no action on one follows.
    NothingAfterStop,
    /// A timeout is due while an action is queued, and none is once those of a tick are taken.
    Timers,
}

/// A rule that was broken, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// What was found.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

impl core::error::Error for Violation {}

/// Where a machine knows more nodes than this, all its tables are looked at now and then.
const FEW: usize = 16;

type Checked = Result<(), Violation>;

/// The rule is kept where `holds`.
fn check(holds: bool, rule: Rule, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { rule, detail: detail() }) }
}

/// What a driver knows of its machine, and what it relies on.
///
/// It begins with a machine that is new, or whose actions were all still to be taken. [`Contract::feed`] is all that most drivers need. One that
/// performs each action before it takes the next calls [`input`](Self::input), [`Machine::handle`], then [`take`](Self::take) and
/// [`action`](Self::action) until there is none, and [`settled`](Self::settled); `balance`, `tables` and `view` as often as it can afford.
///
/// ```
/// use noex_proto::testing::{Contract, Phase};
/// use noex_proto::{Action, ClusterConfig, Input, Instant, Machine};
///
/// let (mut machine, mut contract) = (Machine::new(), Contract::default());
/// let listen_on = machine.start(Instant::START, ClusterConfig::new("a").host("10.0.0.1").seeds(["b@10.0.0.2:4369"]))?;
/// let local = format!("{}:{}", listen_on.host, listen_on.port).parse()?;
/// let listening = Input::Listening { entropy: [1; 32], local, network: Box::default() };
/// for action in contract.feed(&mut machine, Instant::START, listening)? {
///     if let Action::Connect { conn, .. } = action {
///         assert_eq!(contract.phase(conn), Some(Phase::Dialling));
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Contract {
    conns: Connections,
    told: Told,
    /// Those under way.
    lookups: BTreeMap<LookupId, String>,
    last_lookup: Option<LookupId>,
    /// The counters after the last input that led to actions.
    counters: Counters,
    /// Of the last run, since actions may be left of one that is over: the lookups in flight, and the bytes of one connection.
    most: (usize, usize),
    due: Option<Instant>,
    drains: u32,
    /// How many nodes the machine knew when all tables were looked at last.
    known: usize,
    // The present input.
    acted: bool,
    received: Option<ConnId>,
    stale: bool,
    tick: bool,
}

impl Contract {
    /// Feeds an input, and takes all actions. All tables are looked at where there are any, and few nodes are known; else now and then.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn feed(&mut self, machine: &mut Machine, now: Instant, input: Input) -> Result<Vec<Action>, Violation> {
        self.input(&input);
        machine.handle(now, input);
        self.drain(machine)
    }

    /// Takes all actions, as after a command such as [`Machine::send`].
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn drain(&mut self, machine: &mut Machine) -> Result<Vec<Action>, Violation> {
        let mut actions = Vec::new();
        while let Some(action) = self.take(machine)? {
            self.action(machine, &action)?;
            actions.push(action);
        }
        self.balance(machine.books(), |conn| machine.bytes_in_flight(conn))?;
        self.settled(machine)?;
        // To look at all tables takes long. Where nothing was asked for, hardly any has changed.
        self.drains = self.drains.wrapping_add(1);
        let few = self.known <= FEW;
        if self.drains.is_multiple_of(if few { 8 } else { 1024 }) || few && !actions.is_empty() {
            let usage = machine.usage();
            self.known = usage.nodes;
            self.tables(&usage, machine.limits())?;
            self.origins(&usage)?;
            self.view(machine)?;
            self.list(machine)?;
        }
        Ok(actions)
    }

    /// The machine is about to get this input.
    pub fn input(&mut self, input: &Input) {
        self.tick = matches!(input, Input::Tick);
        self.stale = self.conns.is_stale(input);
        self.received = if let Input::Received { conn, .. } = input { Some(*conn) } else { None };
        if let Input::Resolved { lookup, .. } = input {
            self.lookups.remove(lookup);
        }
        self.conns.input(input);
    }

    /// Takes the next action, which is not checked yet.
    ///
    /// # Errors
    /// [`Rule::Timers`].
    pub fn take(&mut self, machine: &mut Machine) -> Result<Option<Action>, Violation> {
        self.due = machine.poll_timeout();
        let action = machine.poll_action();
        if action.is_some() {
            bounds::check_timeout(self.due, machine.now(), true, false)?;
        }
        if let Some(limits) = machine.limits() {
            self.most = (limits.lookups_in_flight, limits.send_window_bytes + bounds::RECORD);
        }
        if let Some(conn) = self.received.take() {
            self.conns.received(conn, machine.counters().handshakes);
        }
        Ok(action)
    }

    /// The machine asks for this action.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn action(&mut self, machine: &Machine, action: &Action) -> Checked {
        self.acted = true;
        check(!self.stale, Rule::ActionsOnOpenConnections, || {
            format!("an input for a connection that is closed leads to {action:?}")
        })?;
        match action {
            Action::Close { conn, how } => {
                let open = matches!(self.phase(*conn), Some(Phase::Dialling | Phase::Open));
                self.on_open(open, || format!("close of {conn}, which is not open"))?;
                self.conns.close(*conn, *how);
            }
            Action::Connect { conn, remote } => {
                self.running(|| format!("dial of {remote}"))?;
                check(self.conns.dial(*conn), Rule::ActionsOnOpenConnections, || format!("dial of {conn} out of turn"))?;
            }
            Action::Event(event) => {
                if let ClusterEvent::NodeUp(info) = event {
                    let own = machine.local_node_id();
                    check(own.as_ref() != Ok(&info.id), Rule::NoSelf, || format!("{} is up at itself", info.id))?;
                    if let Ok(Some(conn)) = machine.session(&info.id) {
                        self.conns.up(conn);
                    }
                }
                self.told.event(event)?;
                if matches!(event, ClusterEvent::StatusChange(ClusterStatus::Stopping | ClusterStatus::Stopped)) {
                    self.conns.forget_closing();
                }
            }
            Action::Message => {
                check(self.status() != ClusterStatus::Stopped, Rule::NothingAfterStop, || "a message after the stop".into())?;
            }
            Action::Process(action) => {
                check(self.status() != ClusterStatus::Stopped, Rule::NothingAfterStop, || format!("{action:?} after the stop"))?;
            }
            Action::Resolve { host, lookup } => self.resolve(host, *lookup)?,
            Action::Stopped => {
                let (status, left) = (self.status(), self.open());
                check(status == ClusterStatus::Stopped, Rule::NothingAfterStop, || {
                    format!("the stop is complete while {status}")
                })?;
                check(left == 0, Rule::NothingAfterStop, || format!("{left} connections are left"))?;
                self.conns.stopped();
            }
            Action::Transmit { conn, data } => {
                let open = self.phase(*conn) == Some(Phase::Open) && !data.is_empty();
                self.on_open(open, || format!("send of {} bytes on {conn}", data.len()))?;
                let held = self.conns.transmit(*conn, data.len());
                check(held <= self.most.1, Rule::Bounded, || format!("{held} bytes of {conn} wait in the driver"))?;
            }
        }
        Ok(())
    }

    /// All actions were taken.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn settled(&mut self, machine: &Machine) -> Checked {
        let (tick, acted) = (core::mem::take(&mut self.tick), core::mem::take(&mut self.acted));
        self.stale = false;
        self.conns.settled();
        bounds::check_timeout(self.due, machine.now(), false, tick)?;
        if acted {
            let before = core::mem::replace(&mut self.counters, machine.counters());
            check(bounds::grow(&before, &self.counters), Rule::CountersGrow, || "a counter went back".into())?;
            let (read, told) = (machine.connected_node_count().unwrap_or(0), self.told.up.len());
            let agrees = read == told || self.status() != ClusterStatus::Running;
            check(agrees, Rule::EventsMatchView, || format!("{read} connected, {told} told up"))?;
        }
        Ok(())
    }

    /// What the machine counts is what its driver knows, also of the bytes of each connection that the present input concerns. Before
    /// [`settled`](Self::settled).
    ///
    /// # Errors
    /// [`Rule::BooksBalance`].
    pub fn balance(&self, counted: Books, in_flight: impl Fn(ConnId) -> Option<usize>) -> Checked {
        let known = self.conns.expected(counted, self.lookups.len());
        check(counted == known, Rule::BooksBalance, || format!("the machine counts {counted:?}, and its driver {known:?}"))?;
        self.conns.touched().try_for_each(|(conn, known)| {
            let counted = in_flight(conn);
            check(counted == known, Rule::BooksBalance, || {
                format!("of {conn} the machine counts {counted:?} bytes in flight, and its driver {known:?}")
            })
        })
    }

    /// No table of a machine, which has limits unless it is stopped, holds more than its limit.
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn tables(&self, usage: &Usage, limits: Option<&Limits>) -> Checked {
        match limits {
            Some(limits) => bounds::check_limits(usage, limits, self.status() != ClusterStatus::Running),
            None => bounds::check_stopped(usage, self.due),
        }
    }

    /// The most half-open connections of one address are as many as the driver counts.
    ///
    /// # Errors
    /// [`Rule::BooksBalance`].
    pub fn origins(&self, usage: &Usage) -> Checked {
        let (counted, known) = (usage.half_open_per_address, self.conns.half_open_per_address());
        check(counted == known, Rule::BooksBalance, || {
            format!("the machine counts {counted} half-open connections of one address, and its driver {known}")
        })
    }

    /// What can be read of a machine is what was told.
    ///
    /// # Errors
    /// [`Rule::EventsMatchView`].
    pub fn view(&self, machine: &Machine) -> Checked {
        let (status, told) = (machine.status(), self.status());
        check(status == told, Rule::EventsMatchView, || format!("the status is {status}, and was told to be {told}"))?;
        let Ok(count) = machine.connected_node_count() else { return Ok(()) };
        let up = &self.told.up;
        let agrees = count == up.len() && up.iter().all(|id| machine.is_node_connected(id) == Ok(true));
        check(agrees, Rule::EventsMatchView, || format!("told up are {up:?}, read {:?}", machine.connected_nodes()))
    }

    /// The nodes that a machine lists are in order, each once, and without the own.
    ///
    /// # Errors
    /// [`Rule::NoDuplicate`] and [`Rule::NoSelf`].
    pub fn list(&self, machine: &Machine) -> Checked {
        let (Ok(ids), Ok(own)) = (machine.node_ids(), machine.local_node_id()) else { return Ok(()) };
        bounds::check_list(&ids, &own)
    }

    /// How a connection stands; `None` for one that never was.
    #[must_use]
    pub fn phase(&self, conn: ConnId) -> Option<Phase> {
        self.conns.phase(conn)
    }

    /// The connections in a phase, by number.
    pub fn conns(&self, phase: Phase) -> impl Iterator<Item = ConnId> {
        self.conns.all().filter(move |(_, of)| *of == phase).map(|(conn, _)| conn)
    }

    /// Whether a lookup was asked for that has no answer.
    #[must_use]
    pub fn is_asked(&self, lookup: LookupId) -> bool {
        self.lookups.contains_key(&lookup)
    }

    /// How many connections were not closed, dials included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.conns.open()
    }

    /// The status that was told last.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        self.told.status
    }

    /// What was told by events.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.told
    }

    /// The counters as they were after the last input that led to actions.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The timeout after the last action was taken.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    fn resolve(&mut self, host: &str, lookup: LookupId) -> Checked {
        self.running(|| format!("lookup of {host}"))?;
        let (twice, fresh) = (self.lookups.values().any(|other| other == host), self.last_lookup < Some(lookup));
        check(!twice, Rule::Bounded, || format!("two lookups of {host} at a time"))?;
        check(fresh, Rule::ActionsOnOpenConnections, || format!("{lookup:?} is used again"))?;
        self.last_lookup = Some(lookup);
        self.lookups.insert(lookup, host.into());
        let (count, most) = (self.lookups.len(), self.most.0);
        check(count <= most, Rule::Bounded, || format!("{count} lookups at a time, {most} allowed"))
    }

    fn running(&self, what: impl FnOnce() -> String) -> Checked {
        let status = self.status();
        check(status == ClusterStatus::Running, Rule::NothingAfterStop, || format!("{} while {status}", what()))
    }

    fn on_open(&self, open: bool, what: impl FnOnce() -> String) -> Checked {
        let stopped = self.status() == ClusterStatus::Stopped;
        check(open, if stopped { Rule::NothingAfterStop } else { Rule::ActionsOnOpenConnections }, what)
    }
}

/// What a reader of events was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The status.
    pub status: ClusterStatus,
    /// The nodes that are up.
    pub up: BTreeSet<NodeId>,
}

impl Told {
    /// The next event of all that there are.
    fn event(&mut self, event: &ClusterEvent) -> Checked {
        use ClusterStatus::{Running, Starting, Stopped, Stopping};
        let status = self.status;
        match event {
            ClusterEvent::NodeDown { .. } | ClusterEvent::NodeUp(_) => {
                check(status == Running, Rule::EventsMatchView, || format!("{event} while {status}"))?;
            }
            ClusterEvent::StatusChange(next) => {
                let legal = matches!(
                    (status, next),
                    (Stopped, Starting)
                        | (Starting, Running | Stopping | Stopped)
                        | (Running, Stopping)
                        | (Stopping | Running, Stopped)
                );
                check(legal, Rule::EventsAlternate, || format!("{status} to {next}"))?;
            }
            ClusterEvent::Lagged { .. } => {
                return check(false, Rule::EventsAlternate, || "an action that says lagged".into());
            }
            ClusterEvent::Error(_) | ClusterEvent::NameConflict { .. } => {}
        }
        self.read(event)
    }

    /// The next event that a subscriber reads, who may have missed some: a status may follow any other one, but ups and downs alternate.
    ///
    /// # Errors
    /// [`Rule::EventsAlternate`].
    pub fn read(&mut self, event: &ClusterEvent) -> Checked {
        match event {
            ClusterEvent::Error(_) | ClusterEvent::Lagged { .. } | ClusterEvent::NameConflict { .. } => Ok(()),
            ClusterEvent::NodeDown { id, .. } => {
                check(self.up.remove(id), Rule::EventsAlternate, || format!("{id} is down and was not up"))
            }
            ClusterEvent::NodeUp(info) => {
                check(self.up.insert(info.id.clone()), Rule::EventsAlternate, || format!("{} is up twice", info.id))
            }
            ClusterEvent::StatusChange(status) => {
                self.status = *status;
                if *status == ClusterStatus::Stopped {
                    self.up.clear();
                }
                Ok(())
            }
        }
    }
}
