//! What a peer's signals lead to.

use alloc::boxed::Box;
use alloc::collections::btree_map::Entry;
use core::time::Duration;

use bytes::Bytes;

use super::mailbox::Waiting;
use super::outbox::Owed;
use super::peers::{CallState, MonitorState, Request, RequestState, Watched, WatchedState};
use super::slots::place;
use super::{CallError, CallId, Cx, Due, ExitReason, MonitorId, Phase, ProcessAction, Processes, ProtocolHash, RequestId};
use crate::wire::signal::{Failure, Signal, To};
use crate::{ConnId, Instant, PeerFault};

impl Processes {
    /// A signal came in, whose first piece arrived at `since`. An error where it breaks a rule that no honest peer can break.
    pub(crate) fn received(&mut self, cx: &mut Cx<'_>, peer: ConnId, signal: &Bytes, since: Instant) -> Result<(), PeerFault> {
        let signal = Signal::decode(signal)?;
        self.arrived(cx, peer, signal, since)?;
        self.deliver_locally(cx);
        Ok(())
    }

    pub(super) fn arrived(&mut self, cx: &mut Cx<'_>, peer: ConnId, signal: Signal, since: Instant) -> Result<(), PeerFault> {
        match signal {
            Signal::Cast { to, protocol, body } => self.cast_arrived(cx, &to, protocol, body),
            Signal::Call { number, to, protocol, left, body } => {
                let deadline = since + Duration::from_millis(left.into());
                return self.call_arrived(cx, RequestId { peer: peer.0, number }, &to, protocol, body, deadline);
            }
            Signal::Answer { number, body } => return self.outcome_arrived(cx, CallId { peer: peer.0, number }, Ok(body)),
            Signal::Failure { number, failure } => {
                return self.outcome_arrived(cx, CallId { peer: peer.0, number }, Err(failure.into()));
            }
            Signal::Cancel { number } => self.cancelled(cx, RequestId { peer: peer.0, number }),
            Signal::Monitor { number, to } => return self.monitor_arrived(peer, number, &to),
            Signal::Demonitor { number } => self.unwatched(peer, number),
            Signal::Down { number, reason } => return self.down_arrived(cx, MonitorId { peer: peer.0, number }, reason),
            Signal::Stop { to, reason } => {
                if let Some(process) = self.find(&to) {
                    self.wake_if(cx, process, |mailbox| mailbox.request_stop(reason));
                }
            }
        }
        Ok(())
    }

    /// The process that a peer means.
    fn find(&self, to: &To) -> Option<u64> {
        match to {
            To::Name(name) => self.table.named(name),
            To::Number(number) => self.table.get(*number).map(|_| *number),
        }
    }

    /// The same for a message. While the node stops, no process takes any.
    fn find_receiver(&self, to: &To) -> Option<u64> {
        self.find(to).filter(|_| self.phase == Phase::Running)
    }

    fn cast_arrived(&mut self, cx: &mut Cx<'_>, to: &To, protocol: ProtocolHash, body: Bytes) {
        let room = self.table.room(cx.limits);
        let found = self.find_receiver(to).and_then(|number| Some((number, self.table.get(number)?)));
        let Some((number, _)) = found.filter(|(_, process)| process.protocol == protocol) else {
            cx.host.counters.casts_dropped += 1;
            return;
        };
        if self.table.mailbox(number, |mailbox| mailbox.has_room(body.len(), room)) == Some(true) {
            cx.host.counters.casts_received += 1;
            self.notify(cx, number, Waiting::Cast(body));
        } else {
            cx.host.counters.casts_dropped += 1;
            self.wake_if(cx, number, super::Mailbox::overrun);
        }
    }

    fn call_arrived(
        &mut self,
        cx: &mut Cx<'_>,
        request: RequestId,
        to: &To,
        protocol: ProtocolHash,
        body: Bytes,
        deadline: Instant,
    ) -> Result<(), PeerFault> {
        let found = self.find_receiver(to);
        let peer = ConnId(request.peer);
        let row = self.peers.meet(peer);
        let served = row.requests.len();
        let Entry::Vacant(entry) = row.requests.entry(place(request.number)) else { return Err(PeerFault::NumberInUse) };
        cx.host.counters.requests += 1;
        let room = self.table.room(cx.limits);
        let process = found.and_then(|number| self.table.get(number));
        let failure = match process {
            None => Some(Failure::NoProcess),
            Some(process) if process.protocol != protocol => Some(Failure::WrongProtocol),
            Some(_) if served >= cx.limits.calls_served_per_peer => Some(Failure::Busy),
            Some(process) if !process.mailbox().has_room(body.len(), room) => Some(Failure::Busy),
            Some(_) => None,
        };
        let process = found.unwrap_or_default();
        let number = request.number;
        if let Some(failure) = failure {
            let place = Self::owe(&mut row.outbox, &mut self.dirty, peer, Owed::Failure(number), 0);
            entry.insert(Request { number, process, state: RequestState::Failed { failure: Box::new(failure), place } });
            cx.host.counters.requests_failed += 1;
            return Ok(());
        }
        let ticket = self.deadlines.insert(cx.now, deadline - cx.now, Due::request(request));
        let cost = super::mailbox::cost(body.len());
        let pushed = self.table.mailbox(process, |mailbox| mailbox.push(Waiting::Call(request, cost)));
        let (place, wake) = pushed.expect("the process was found");
        entry.insert(Request { number, process, state: RequestState::Waiting { body, deadline, place, ticket } });
        if wake {
            cx.act(ProcessAction::Mailbox(process));
        }
        Ok(())
    }

    /// An answer or a failure came.
    fn outcome_arrived(&mut self, cx: &mut Cx<'_>, call: CallId, outcome: Result<Bytes, CallError>) -> Result<(), PeerFault> {
        let row = self.peers.meet(ConnId(call.peer));
        match row.calls.get(call.number).map(|call| &call.state) {
            Some(CallState::Sent(ticket)) => {
                self.deadlines.remove(*ticket);
                row.calls.remove(call.number);
                self.ended(cx, call, outcome);
                Ok(())
            }
            // It crossed the cancel.
            Some(CallState::Cancelled) => {
                cx.host.counters.late_answers += 1;
                Ok(())
            }
            None if row.calls.was_given(call.number) => {
                cx.host.counters.late_answers += 1;
                Ok(())
            }
            Some(CallState::Queued(_)) | None => Err(PeerFault::NeverAsked),
        }
    }

    /// A peer waits for a call no more.
    fn cancelled(&mut self, cx: &mut Cx<'_>, request: RequestId) {
        let Some(row) = self.peers.get_mut(ConnId(request.peer)) else { return };
        let Entry::Occupied(entry) = row.requests.entry(place(request.number)) else { return };
        if entry.get().number != request.number {
            return;
        }
        let entry = entry.remove();
        if let Some((ticket, handed)) = Self::decide_request(&mut self.table, &mut row.outbox, ConnId(request.peer), &entry) {
            self.deadlines.remove(ticket);
            if handed {
                cx.act(ProcessAction::RequestOver(request));
            }
        } else if let RequestState::Answered { place, .. } | RequestState::Failed { place, .. } = entry.state {
            row.outbox.take_out(place);
        }
    }

    fn monitor_arrived(&mut self, peer: ConnId, number: u64, to: &To) -> Result<(), PeerFault> {
        let found = self.find(to);
        let row = self.peers.meet(peer);
        let Entry::Vacant(entry) = row.watched.entry(place(number)) else { return Err(PeerFault::NumberInUse) };
        let state = match found.and_then(|found| Some((found, self.table.get_mut(found)?))) {
            Some((found, process)) => {
                process.watchers.insert((peer, number));
                WatchedState::Alive(found)
            }
            None => {
                let place = Self::owe(&mut row.outbox, &mut self.dirty, peer, Owed::Down(number), 0);
                WatchedState::Ended { place, reason: ExitReason::NoProcess }
            }
        };
        entry.insert(Watched { number, state });
        Ok(())
    }

    /// A peer watches a process no more.
    fn unwatched(&mut self, peer: ConnId, number: u64) {
        let Some(row) = self.peers.get_mut(peer) else { return };
        let Entry::Occupied(entry) = row.watched.entry(place(number)) else { return };
        if entry.get().number != number {
            return;
        }
        match entry.remove().state {
            WatchedState::Alive(process) => {
                if let Some(process) = self.table.get_mut(process) {
                    process.watchers.remove(&(peer, number));
                }
            }
            WatchedState::Ended { place, .. } => row.outbox.take_out(place),
        }
    }

    /// A process that this node watches has ended.
    fn down_arrived(&mut self, cx: &mut Cx<'_>, monitor: MonitorId, reason: ExitReason) -> Result<(), PeerFault> {
        let row = self.peers.meet(ConnId(monitor.peer));
        match row.monitors.get(monitor.number).map(|monitor| (&monitor.state, monitor.watcher)) {
            Some((MonitorState::Sent, watcher)) => {
                row.monitors.remove(monitor.number);
                self.fire(cx, monitor, watcher, reason);
                Ok(())
            }
            // It crossed the removal, which needs no word any more.
            Some((MonitorState::Removed(place), _)) => {
                row.outbox.take_out(*place);
                row.monitors.remove(monitor.number);
                Ok(())
            }
            None if row.monitors.was_given(monitor.number) => Ok(()),
            Some((MonitorState::Queued { .. }, _)) | None => Err(PeerFault::NeverAsked),
        }
    }
}

impl From<Failure> for CallError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoProcess => Self::NoProcess,
            Failure::Busy => Self::Busy,
            Failure::WrongProtocol => Self::WrongProtocol,
            Failure::NotUnderstood(text) => Self::NotUnderstood(text),
            Failure::Dropped => Self::Dropped,
            Failure::AnswerDropped => Self::AnswerDropped,
            Failure::Exited(reason) => Self::Exited(reason),
        }
    }
}
