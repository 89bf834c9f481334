//! Processes: mailboxes, calls and monitors.
//!
//! This layer stands above the mesh: it hears of sessions by events, and of what a peer sends by signals. It never looks at a node of
//! the mesh. `Processes` connects the parts; no part names another.
//!
//! | file | what it holds |
//! |---|---|
//! | `table`, `mailbox` | the processes of this node, their names, and what waits for each |
//! | `peers` | what is open with each peer: its calls, this node's calls, monitors both ways |
//! | `outbox` | what waits to be sent to a peer |
//! | `names` | names of the cluster: this node's claims, and those of others |
//! | `deadlines`, `slots`, `line` | timeouts, numbered tables, and queues from whose middle an item can be taken |
//! | `commands` | what the application does |
//! | `arrivals` | what a peer's signals lead to |
//! | `ends` | the end of a process, of a session and of a run, and deadlines |
//! | `release` | signals on their way to the wire |
//! | `usage` | how much is open, and how full everything is |

mod abstraction;
mod arrivals;
mod command;
mod commands;
mod deadlines;
mod ends;
mod error;
mod id;
mod line;
mod mailbox;
mod names;
mod outbox;
mod peers;
mod release;
mod slots;
mod table;
#[cfg(test)]
mod tests;
mod usage;

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

pub use command::{MailboxItem, ProcessAction, ProcessInput, RequestFailure};
pub(crate) use commands::Done;
pub use error::{AnswerError, CallError, CastError, MonitorError, OpenError, RegisterError};
pub use id::{
    CallId, ClaimId, Destination, ExitReason, InvalidProcessNameError, MonitorId, ProcessId, ProcessName, ProtocolHash, RequestId,
};
pub(crate) use id::{NAME_MAX, REASON_MAX};
pub use names::{ClaimError, ClaimOptions, Holder, WatchNameError};

use deadlines::Deadlines;
use mailbox::{Mailbox, Waiting};
pub(crate) use names::{Begin, Newcomer};
use names::{Effect, Names, Step};
use outbox::{Outbox, Owed};
pub(crate) use peers::LOCAL;
use peers::Peers;
#[cfg(debug_assertions)]
use peers::{Peer, RequestState, WatchedState};
#[cfg(debug_assertions)]
use table::Process;
use table::Table;

use crate::id::incarnation::Incarnation;
use crate::mesh::event::{MeshEvent, Up};
use crate::mesh::host::Host;
use crate::mesh::reports::OnceAMinute;
use crate::time::{Moment, RunTime};
use crate::wire::message::kind;
use crate::{Action, ClusterError, ClusterEvent, ConnId, Instant, Limits, NodeId, PeerFault};

/// What the process layer is handed beside its own state.
pub(crate) struct Cx<'a> {
    pub(crate) host: &'a mut Host,
    pub(crate) limits: &'a Limits,
    pub(crate) now: Instant,
    /// The session that is up with a node, for what the application asks.
    pub(crate) find: &'a dyn Fn(&NodeId) -> Option<Up>,
}

impl Cx<'_> {
    fn act(&mut self, action: ProcessAction) {
        self.host.actions.push_back(Action::Process(action));
    }
}

/// The processes of this node, and what is open between them and those of its peers. It outlives a run, so that no number is given twice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes {
    phase: Phase,
    /// This node, in its present or last run.
    own: Option<(NodeId, Incarnation)>,
    table: Table,
    peers: Peers,
    deadlines: Deadlines<Due>,
    /// The processes that could not decode a cast lately.
    cast_reports: OnceAMinute<u64>,
    names: Names,
    /// Peers for which something was queued since it was last asked.
    dirty: BTreeSet<ConnId>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Phase {
    #[default]
    Stopped,
    Running,
    /// The node stops: no process is opened, and none takes what comes.
    Draining,
}

/// What has a deadline: a call of this node, or one of a peer.
#[derive(Clone, Copy, Debug)]
struct Due {
    number: u64,
    // The peer, and one bit: these are many.
    peer: u64,
}

impl Due {
    const fn call(call: CallId) -> Self {
        Self { number: call.number, peer: call.peer << 1 }
    }

    const fn request(request: RequestId) -> Self {
        Self { number: request.number, peer: request.peer << 1 | 1 }
    }

    const fn what(self) -> Result<CallId, RequestId> {
        let Self { number, peer } = self;
        if peer & 1 == 0 { Ok(CallId { peer: peer >> 1, number }) } else { Err(RequestId { peer: peer >> 1, number }) }
    }
}

impl Processes {
    // A run

    /// A run begins.
    pub(crate) fn start(&mut self, begin: Begin<'_>) {
        self.phase = Phase::Running;
        self.own = Some((begin.id.clone(), begin.incarnation));
        self.names.start(begin);
    }

    // Getters

    /// The number of processes.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) const fn names(&self) -> &Names {
        &self.names
    }

    /// The next moment at which something falls due, or an earlier one.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let next = self.deadlines.next().unwrap_or(Instant::NEVER).min(self.names.next_deadline());
        (next < Instant::NEVER).then_some(next)
    }

    /// Whether there are peers for which something was queued since they were last taken.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || self.names.is_dirty()
    }

    /// Takes the peers for which something was queued since it was last asked.
    pub(crate) fn take_dirty(&mut self) -> BTreeSet<ConnId> {
        let mut dirty = core::mem::take(&mut self.dirty);
        dirty.extend(self.names.take_pending());
        dirty
    }

    fn process_id(&self, number: u64) -> Option<ProcessId> {
        self.own.as_ref().map(|(id, incarnation)| ProcessId::new(id.clone(), *incarnation, number))
    }

    // Steps

    /// Queues a signal to a peer.
    fn owe(outbox: &mut Outbox, dirty: &mut BTreeSet<ConnId>, peer: ConnId, owed: Owed, size: usize) -> line::Place {
        // What this node says to itself is handed over at the end of each step.
        if peer != LOCAL {
            dirty.insert(peer);
        }
        outbox.push(owed, size)
    }

    /// Works on the names, and carries out what that leads to.
    fn with_names<T>(&mut self, cx: &mut Cx<'_>, work: impl FnOnce(&mut Names, &mut Step<'_>) -> T) -> T {
        let mut step = Step { now: cx.now, limits: cx.limits, counters: &mut cx.host.counters };
        let done = work(&mut self.names, &mut step);
        for effect in self.names.take_effects() {
            self.carry_out(cx, effect);
        }
        done
    }

    fn carry_out(&mut self, cx: &mut Cx<'_>, effect: Effect) {
        match effect {
            Effect::Changed(name) => cx.act(ProcessAction::NameChanged(name)),
            Effect::Conflict { name, winner, loser } => {
                cx.host.tell(MeshEvent::Above(Box::new(ClusterEvent::NameConflict { name, winner, loser })));
            }
            Effect::Ended(claim, outcome) => cx.act(ProcessAction::ClaimEnded { claim, outcome }),
            Effect::Lost { process, name, winner, stop } => {
                let reason = ExitReason::error(format_args!("lost the name {name}"));
                self.wake_if(cx, process, |mailbox| mailbox.lose(name, winner));
                if stop && self.table.mailbox(process, |mailbox| mailbox.stop_ahead(reason)) == Some(true) {
                    cx.act(ProcessAction::Stopping(process));
                }
            }
            Effect::NotKept { name, by } => {
                let limit = cx.limits.names_of_others;
                cx.host.report(ClusterError::NameNotKept { by, limit, name });
            }
            Effect::Synced => cx.act(ProcessAction::NamesSynced),
        }
    }

    // Names of other nodes

    /// A session is up.
    pub(crate) fn up(&mut self, cx: &mut Cx<'_>, newcomer: &Newcomer<'_>) {
        self.with_names(cx, |names, step| names.up(step, newcomer));
    }

    /// A node tells of its names, or acknowledges claims. An error where it breaks a rule that no honest peer can break.
    pub(crate) fn names_told(&mut self, cx: &mut Cx<'_>, peer: ConnId, kind: u8, body: &[u8]) -> Result<(), PeerFault> {
        self.with_names(cx, |names, step| match kind {
            kind::NAMES => names.told(step, peer, body),
            _ => names.acknowledged(step, peer, body),
        })
    }

    /// The sessions that may wait for another acknowledgement first: when that comes too late, if one is waited for.
    pub(crate) fn take_rewaited(&mut self) -> Vec<(ConnId, Option<RunTime>)> {
        let peers = self.names.take_rewaited();
        peers.into_iter().map(|peer| (peer, self.names.overdue_at(peer))).collect()
    }

    /// Whether an acknowledgement has not come in time.
    pub(crate) fn is_overdue(&mut self, peer: ConnId, run: RunTime) -> bool {
        self.names.overdue_at(peer).is_some_and(|at| at <= run)
    }

    /// Puts a notice into a mailbox, which always has room for it, and wakes its owner where that was empty.
    fn notify(&mut self, cx: &mut Cx<'_>, process: u64, item: Waiting) -> Option<line::Place> {
        let (place, wake) = self.table.mailbox(process, |mailbox| mailbox.push(item))?;
        if wake {
            cx.act(ProcessAction::Mailbox(process));
        }
        Some(place)
    }

    /// Works on a mailbox, and wakes its owner where that is said.
    fn wake_if(&mut self, cx: &mut Cx<'_>, process: u64, work: impl FnOnce(&mut Mailbox) -> bool) {
        if self.table.mailbox(process, work) == Some(true) {
            cx.act(ProcessAction::Mailbox(process));
        }
    }

    /// Hands the signals that this node's processes send each other over, until there is none left.
    fn deliver_locally(&mut self, cx: &mut Cx<'_>) {
        while let Some(signal) = self.release(cx, LOCAL) {
            // Its own words break no rule.
            let fault = self.arrived(cx, LOCAL, signal, cx.now);
            debug_assert_eq!(fault, Ok(()), "a fault of this node's own");
        }
        cx.host.open_processes = self.table.len() as u64;
    }

    /// The entries that an audit reads.
    #[cfg(debug_assertions)]
    pub(crate) fn audited(&self) -> usize {
        let open = |row: &Peer| row.calls.len() + row.requests.len() + row.monitors.len() + row.watched.len() + row.outbox.len();
        let waiting = |process: &Process| 1 + process.mailbox().messages() + process.watchers.len() + process.monitors.len();
        self.names.audited()
            + self.peers.iter().map(|(_, row)| open(row)).sum::<usize>()
            + self.table.iter().map(|(_, row)| waiting(row)).sum::<usize>()
    }

    /// Panics where what is remembered is not what is there.
    #[cfg(debug_assertions)]
    pub(crate) fn audit(&self) {
        self.table.audit();
        self.names.audit();
        let mut deadlines = 0;
        for (peer, row) in self.peers.iter() {
            row.outbox.audit();
            deadlines += row.calls.iter().filter(|(_, call)| call.is_open()).count();
            for request in row.requests.values() {
                let id = RequestId { peer: peer.0, number: request.number };
                let process = self.table.get(request.process);
                let is_taken = process.is_some_and(|process| process.requests.contains(&id));
                assert_eq!(is_taken, matches!(request.state, RequestState::Taken { .. }), "calls that a process has");
                assert!(process.is_some() || !request.state.is_open(), "a call that waits for nobody");
                deadlines += usize::from(request.state.is_open());
            }
            for watched in row.watched.values() {
                let WatchedState::Alive(process) = watched.state else { continue };
                let process = self.table.get(process);
                assert!(process.is_some_and(|process| process.watchers.contains(&(peer, watched.number))), "watchers");
            }
        }
        assert_eq!(self.deadlines.len(), deadlines, "deadlines of calls");
    }
}
