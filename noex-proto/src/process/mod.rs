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
//! | `deadlines`, `slots`, `line` | timeouts, numbered tables, and queues from whose middle an item can be taken |
//! | `cast_reports` | what was told lately of casts that could not be decoded |
//! | `commands` | what the application does |
//! | `arrivals` | what a peer's signals lead to |
//! | `ends` | the end of a process, of a session and of a run, and deadlines |
//! | `release` | signals on their way to the wire |
//! | `usage` | how much is open, and how full everything is |

mod abstraction;
mod arrivals;
mod cast_reports;
mod command;
mod commands;
mod deadlines;
mod ends;
mod error;
mod id;
mod line;
mod mailbox;
mod outbox;
mod peers;
mod release;
mod slots;
mod table;
#[cfg(test)]
mod tests;
mod usage;

use alloc::collections::BTreeSet;

pub use command::{MailboxItem, ProcessAction, ProcessInput, RequestFailure};
pub(crate) use commands::Done;
pub use error::{AnswerError, CallError, CastError, MonitorError, OpenError, RegisterError};
pub use id::{
    CallId, Destination, ExitReason, InvalidProcessNameError, MonitorId, ProcessId, ProcessName, ProtocolHash, RequestId,
};
pub(crate) use id::{NAME_MAX, REASON_MAX};

use cast_reports::CastReports;
use deadlines::Deadlines;
use mailbox::{Mailbox, Waiting};
use outbox::{Outbox, Owed};
pub(crate) use peers::LOCAL;
use peers::Peers;
#[cfg(debug_assertions)]
use peers::{Peer, RequestState, WatchedState};
#[cfg(debug_assertions)]
use table::Process;
use table::Table;

use crate::id::incarnation::Incarnation;
use crate::mesh::event::Up;
use crate::mesh::host::Host;
use crate::{Action, ConnId, Instant, Limits, NodeId};

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
    cast_reports: CastReports,
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
    pub(crate) fn start(&mut self, id: &NodeId, incarnation: Incarnation) {
        self.phase = Phase::Running;
        self.own = Some((id.clone(), incarnation));
    }

    // Getters

    /// The number of processes.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// The next moment at which something falls due, or an earlier one.
    pub(crate) const fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Whether there are peers for which something was queued since they were last taken.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Takes the peers for which something was queued since it was last asked.
    pub(crate) fn take_dirty(&mut self) -> BTreeSet<ConnId> {
        core::mem::take(&mut self.dirty)
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
        self.peers.iter().map(|(_, row)| open(row)).sum::<usize>() + self.table.iter().map(|(_, row)| waiting(row)).sum::<usize>()
    }

    /// Panics where what is remembered is not what is there.
    #[cfg(debug_assertions)]
    pub(crate) fn audit(&self) {
        self.table.audit();
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
