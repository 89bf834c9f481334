//! The end of a process, of a session and of a run; and deadlines.

use alloc::vec::Vec;

use super::mailbox::Waiting;
use super::outbox::Owed;
use super::peers::{CallState, LOCAL, Monitor, MonitorState, Peer, WatchedState};
use super::slots::place;
use super::{CallError, CallId, Cx, ExitReason, MonitorId, Phase, ProcessAction, Processes, RequestId};
use crate::wire::signal::Failure;
use crate::{ConnId, NodeDownReason, NodeId};

impl Processes {
    // A process

    /// A process ends. `passed`: how many items of its last batch it has looked at. The order is a promise: its names are free, what it has
    /// not taken fails, what it has taken fails, and then its watchers hear.
    pub(super) fn exit(&mut self, cx: &mut Cx<'_>, number: u64, reason: &ExitReason, passed: usize) {
        let Some(mut process) = self.table.close(number) else { return };
        self.with_names(cx, |names, step| names.exit(step, number));
        let waiting: Vec<RequestId> = process.waiting_calls().collect();
        let unseen: Vec<RequestId> = process.mailbox().batch().iter().skip(passed).flatten().copied().collect();
        for request in waiting.into_iter().chain(unseen) {
            process.requests.remove(&request);
            self.fail_request(cx, request, Failure::NoProcess);
        }
        for request in core::mem::take(&mut process.requests) {
            self.fail_request(cx, request, Failure::Exited(reason.clone()));
            // Its port may be with a task that outlives the process.
            cx.act(ProcessAction::RequestOver(request));
        }
        for (monitor, _) in core::mem::take(&mut process.monitors) {
            self.demonitor(None, monitor);
        }
        for (peer, watch) in core::mem::take(&mut process.watchers) {
            let Some(row) = self.peers.get_mut(peer) else { continue };
            if let Some(watched) = row.watched.get_mut(&place(watch)) {
                let place = Self::owe(&mut row.outbox, &mut self.dirty, peer, Owed::Down(watch), 0);
                watched.state = WatchedState::Ended { place, reason: reason.clone() };
            }
        }
    }

    // A session

    /// A session has ended. Its node's names are gone, and nothing finds its row any more: its calls fail, then its monitors say that there
    /// is no connection.
    pub(crate) fn down(&mut self, cx: &mut Cx<'_>, peer: ConnId, id: &NodeId, reason: NodeDownReason) {
        self.with_names(cx, |names, step| names.down(step, peer));
        if let Some(mut row) = self.peers.down(peer) {
            self.end_calls(cx, peer, &mut row, |queued| {
                if queued { CallError::NotConnected { to: id.clone() } } else { CallError::Disconnected(reason) }
            });
            self.end_row(cx, peer, &mut row);
            self.deliver_locally(cx);
        }
        self.dirty.remove(&peer);
    }

    /// Calls without an outcome end. `outcome`: that of one that was not sent, or was.
    fn end_calls(&mut self, cx: &mut Cx<'_>, peer: ConnId, row: &mut Peer, outcome: impl Fn(bool) -> CallError) {
        for (number, call) in row.calls.drain() {
            let (ticket, queued) = match call.state {
                CallState::Queued(call) => (call.ticket, true),
                CallState::Sent(ticket) => (ticket, false),
                CallState::Cancelled => continue,
            };
            self.deadlines.remove(ticket);
            self.ended(cx, CallId { peer: peer.0, number }, Err(outcome(queued)));
        }
    }

    /// Monitors that have not fired say that there is no connection.
    fn end_monitors(&mut self, cx: &mut Cx<'_>, peer: ConnId, row: &mut Peer) {
        for (number, Monitor { watcher, state }) in row.monitors.drain() {
            if !matches!(state, MonitorState::Removed(_)) {
                self.fire(cx, MonitorId { peer: peer.0, number }, watcher, ExitReason::NoConnection);
            }
        }
    }

    fn end_row(&mut self, cx: &mut Cx<'_>, peer: ConnId, row: &mut Peer) {
        self.end_monitors(cx, peer, row);
        for request in core::mem::take(&mut row.requests).into_values() {
            if let Some((ticket, handed)) = Self::decide_request(&mut self.table, &mut row.outbox, peer, &request) {
                self.deadlines.remove(ticket);
                if handed {
                    cx.act(ProcessAction::RequestOver(RequestId { peer: peer.0, number: request.number }));
                }
            }
        }
        for watched in core::mem::take(&mut row.watched).into_values() {
            if let WatchedState::Alive(process) = watched.state
                && let Some(process) = self.table.get_mut(process)
            {
                process.watchers.remove(&(peer, watched.number));
            }
        }
        row.outbox = super::Outbox::default();
    }

    // Deadlines

    /// Time has passed: what is due ends.
    #[inline]
    pub(crate) fn tick(&mut self, cx: &mut Cx<'_>) {
        if self.deadlines.next().is_some_and(|next| next <= cx.now) {
            self.end_due(cx);
        }
        if self.names.next_deadline() <= cx.now {
            self.with_names(cx, super::names::Names::tick);
        }
    }

    fn end_due(&mut self, cx: &mut Cx<'_>) {
        while let Some(due) = self.deadlines.pop_due(cx.now) {
            match due.what() {
                Ok(call) => self.call_due(cx, call),
                Err(request) => self.request_due(cx, request),
            }
        }
        self.deliver_locally(cx);
    }

    fn call_due(&mut self, cx: &mut Cx<'_>, call: CallId) {
        if let Some((_, sent)) = self.withdraw(call) {
            self.ended(cx, call, Err(if sent { CallError::TimedOut } else { CallError::Expired }));
        }
    }

    /// Nobody waits for the answer to a call of a peer any more. The peer knows.
    fn request_due(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        let Some(row) = self.peers.get_mut(ConnId(request.peer)) else { return };
        let Some(entry) = row.requests.remove(&place(request.number)) else { return };
        let decided = Self::decide_request(&mut self.table, &mut row.outbox, ConnId(request.peer), &entry);
        let (_, handed) = decided.expect("what was decided before has no deadline");
        if handed {
            cx.act(ProcessAction::RequestOver(request));
        }
    }

    // A run

    /// The node begins to stop: every process is asked to, ahead of what it has not taken.
    pub(crate) fn drain(&mut self, cx: &mut Cx<'_>) {
        self.phase = Phase::Draining;
        self.with_names(cx, super::names::Names::drain);
        let numbers: Vec<u64> = self.table.iter().map(|(number, _)| number).collect();
        for number in numbers {
            if self.table.mailbox(number, |mailbox| mailbox.stop_ahead(ExitReason::Shutdown)) == Some(true) {
                cx.act(ProcessAction::Stopping(number));
            }
        }
    }

    /// The node has waited for its processes long enough: those that are left end.
    pub(crate) fn end_all(&mut self, cx: &mut Cx<'_>) {
        let numbers: Vec<u64> = self.table.iter().map(|(number, _)| number).collect();
        for number in numbers {
            // What it was handed it may have handled.
            self.exit(cx, number, &ExitReason::Shutdown, usize::MAX);
            cx.act(ProcessAction::Ended(number));
        }
        self.deliver_locally(cx);
    }

    /// The node says goodbye: what is open of its calls and monitors ends. What is queued still leaves.
    pub(crate) fn leave(&mut self, cx: &mut Cx<'_>) {
        self.phase = Phase::Stopped;
        for peer in self.peers.keys() {
            let Some(mut row) = self.peers.down(peer) else { continue };
            self.end_calls(cx, peer, &mut row, |_| CallError::Stopped);
            self.end_monitors(cx, peer, &mut row);
            self.peers.keep(peer, row);
        }
    }

    /// The node says nothing more: every process ends, and every call that is open.
    pub(crate) fn stop(&mut self, cx: &mut Cx<'_>) {
        self.with_names(cx, super::names::Names::drain);
        self.end_all(cx);
        self.names.stop();
        self.phase = Phase::Stopped;
        for peer in self.peers.keys() {
            let Some(mut row) = self.peers.down(peer) else { continue };
            self.end_calls(cx, peer, &mut row, |_| CallError::Stopped);
            self.end_row(cx, peer, &mut row);
            if peer == LOCAL {
                self.peers.keep(LOCAL, row);
            }
        }
        self.dirty.clear();
    }
}

impl super::table::Process {
    /// The calls that wait in its mailbox.
    fn waiting_calls(&self) -> impl Iterator<Item = RequestId> {
        self.mailbox().waiting().filter_map(|waiting| if let Waiting::Call(request, _) = waiting { Some(*request) } else { None })
    }
}
