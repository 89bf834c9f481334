//! What the application does.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::command::{MailboxItem, ProcessInput, RequestFailure};
use super::deadlines::{TIMEOUT_MAX, Ticket};
use super::error::{AnswerError, CallError, CastError, MonitorError, OpenError, RegisterError};
use super::id::{CallId, ClaimId, Destination, ExitReason, MonitorId, ProcessId, ProcessName, ProtocolHash, RequestId};
use super::mailbox::Waiting;
use super::names::{ClaimError, ClaimOptions, Claiming, WatchNameError};
use super::outbox::{Cast, Outbox, Owed};
use super::peers::{Call, CallState, LOCAL, Monitor, MonitorState, QueuedCall, Request, RequestState};
use super::slots::place;
use super::table::{NotNamed, Table};
use super::{Cx, Due, Phase, ProcessAction, Processes, Up};
use crate::wire::signal::{Failure, To};
use crate::{ClusterError, ClusterNotStartedError, ConnId, Instant};

/// What an input of the application leads to, beside actions.
#[derive(Debug)]
pub(crate) enum Done {
    Answered(Result<(), AnswerError>),
    Called(Result<CallId, CallError>),
    Cast(Result<(), CastError>),
    Claimed(Result<ClaimId, ClaimError>),
    Is(bool),
    Monitored(Result<MonitorId, MonitorError>),
    Nothing,
    Opened(Result<ProcessId, OpenError>),
    Registered(Result<(), RegisterError>),
    Taken(Vec<MailboxItem>),
    Watched(Result<(), WatchNameError>),
}

/// Where something goes.
enum Route {
    /// To this process of this peer.
    To(ConnId, To),
    /// To a process that is known to be no more.
    Nowhere,
}

impl Processes {
    /// The application does something.
    pub(crate) fn command(&mut self, cx: &mut Cx<'_>, input: ProcessInput) -> Done {
        let done = match input {
            ProcessInput::Open { protocol } => Done::Opened(self.open(cx, protocol)),
            ProcessInput::Register { process, name } => Done::Registered(self.register(cx, process, &name)),
            ProcessInput::Unregister { name } => {
                self.table.unregister(&name);
                Done::Nothing
            }
            ProcessInput::Take { process, most } => Done::Taken(self.take(cx, process, most)),
            ProcessInput::TakeAhead { process } => Done::Taken(self.take_ahead(process)),
            ProcessInput::Exit { process, passed, reason } => {
                self.exit(cx, process, &reason.of_a_process(), passed);
                Done::Nothing
            }
            ProcessInput::Cast { body, protocol, to } => Done::Cast(self.cast(cx, &to, protocol, body)),
            ProcessInput::Call { body, deadline, protocol, to } => Done::Called(self.call(cx, &to, protocol, body, deadline)),
            ProcessInput::Cancel { call } => {
                self.cancel(cx, call);
                Done::Nothing
            }
            ProcessInput::Answer { body, or_wait, request } => Done::Answered(self.answer(cx, request, body, or_wait)),
            ProcessInput::Fail { failure, request } => {
                self.fail_request(
                    cx,
                    request,
                    match failure {
                        RequestFailure::Dropped => Failure::Dropped,
                        RequestFailure::NotUnderstood(text) => Failure::NotUnderstood(super::id::cut(&text)),
                    },
                );
                Done::Nothing
            }
            ProcessInput::CastNotUnderstood { cause, process } => {
                self.cast_not_understood(cx, process, &cause);
                Done::Nothing
            }
            ProcessInput::Monitor { to, watcher } => Done::Monitored(self.monitor(cx, watcher, &to)),
            ProcessInput::Demonitor { monitor, watcher } => {
                self.demonitor(watcher, monitor);
                Done::Nothing
            }
            ProcessInput::Claim { name, options, process, when_free } => {
                Done::Claimed(self.claim(cx, process, name, options, when_free))
            }
            ProcessInput::ClaimReturned { claim } => Done::Is(self.claim_returned(claim)),
            ProcessInput::DropClaim { claim } => {
                self.with_names(cx, |names, step| names.drop_claim(step, claim));
                Done::Nothing
            }
            ProcessInput::Release { name, process } => {
                Done::Is(self.with_names(cx, |names, step| names.release(step, process, &name)))
            }
            ProcessInput::WatchName { name } => Done::Watched(self.names.watch(&name, cx.limits.watched_names)),
            ProcessInput::UnwatchName { name } => {
                self.names.unwatch(&name);
                Done::Nothing
            }
            ProcessInput::RequestStop { reason, to } => Done::Cast(self.request_stop(cx, &to, reason.of_a_process())),
        };
        self.deliver_locally(cx);
        done
    }

    fn cast_not_understood(&mut self, cx: &mut Cx<'_>, process: u64, cause: &str) {
        cx.host.counters.casts_not_understood += 1;
        let Some(id) = self.process_id(process).filter(|_| self.table.get(process).is_some()) else { return };
        if self.cast_reports.admit(cx.now, process) {
            cx.host.report(ClusterError::CastNotUnderstood { cause: super::id::cut(cause), process: id });
        } else {
            cx.host.counters.reports_held_back += 1;
        }
    }

    fn is_running(&self) -> Result<(), ClusterNotStartedError> {
        if self.phase == Phase::Running { Ok(()) } else { Err(ClusterNotStartedError) }
    }

    /// Whether anything may be said to other processes: while this node stops, too.
    fn may_speak(&self) -> Result<(), ClusterNotStartedError> {
        if self.phase == Phase::Stopped { Err(ClusterNotStartedError) } else { Ok(()) }
    }

    // Processes

    fn open(&mut self, cx: &Cx<'_>, protocol: ProtocolHash) -> Result<ProcessId, OpenError> {
        self.is_running().map_err(OpenError::NotStarted)?;
        let limit = cx.limits.processes;
        if self.table.len() >= limit {
            return Err(OpenError::TooMany { limit });
        }
        let number = self.table.open(protocol);
        self.process_id(number).ok_or(OpenError::NotStarted(ClusterNotStartedError))
    }

    fn register(&mut self, cx: &Cx<'_>, process: u64, name: &ProcessName) -> Result<(), RegisterError> {
        self.is_running().map_err(RegisterError::NotStarted)?;
        let limit = cx.limits.local_names;
        self.table.register(process, name, limit).map_err(|why| match why {
            NotNamed::NoProcess => RegisterError::NoProcess,
            NotNamed::TooMany => RegisterError::TooMany { limit },
            NotNamed::Taken(by) => match self.process_id(by) {
                Some(by) => RegisterError::Taken { by },
                None => RegisterError::NoProcess,
            },
        })
    }

    /// The process of this node with a local name.
    pub(crate) fn named(&self, name: &ProcessName) -> Option<ProcessId> {
        self.process_id(self.table.named(name)?)
    }

    fn take(&mut self, cx: &Cx<'_>, process: u64, most: usize) -> Vec<MailboxItem> {
        let mut items = Vec::new();
        self.table.mailbox(process, super::mailbox::Mailbox::begin_batch);
        while items.len() < most
            && let Some(Some(waiting)) = self.table.mailbox(process, super::mailbox::Mailbox::next)
        {
            let item = match waiting {
                Waiting::Cast(body) => Some(MailboxItem::Cast { body }),
                Waiting::NameLost(lost) => Some(name_lost(*lost)),
                Waiting::Overrun(missed) => Some(MailboxItem::Overrun { missed }),
                Waiting::Stop(reason) => Some(MailboxItem::Stop(reason)),
                Waiting::Down(monitor, reason) => {
                    if let Some(process) = self.table.get_mut(process) {
                        process.monitors.remove(&monitor);
                    }
                    Some(MailboxItem::Down { monitor, reason })
                }
                Waiting::Call(request, _) => self.take_call(cx, process, request),
            };
            let Some(item) = item else { continue };
            let call = if let MailboxItem::Call { request, .. } = &item { Some(*request) } else { None };
            self.table.mailbox(process, |mailbox| mailbox.handed_out(call));
            items.push(item);
        }
        if items.is_empty() {
            self.table.rest(process);
        }
        items
    }

    /// A process that is to end before what waits takes the reason, and the names that it has lost. Its last batch stays as it is.
    fn take_ahead(&mut self, process: u64) -> Vec<MailboxItem> {
        let mut items = Vec::new();
        while let Some(Some(waiting)) = self.table.mailbox(process, super::mailbox::Mailbox::next_ahead) {
            match waiting {
                Waiting::NameLost(lost) => items.push(name_lost(*lost)),
                Waiting::Stop(reason) => items.push(MailboxItem::Stop(reason)),
                other => unreachable!("{other:?} goes ahead of nothing"),
            }
        }
        items
    }

    /// A process takes a call, unless that came to its deadline meanwhile.
    fn take_call(&mut self, cx: &Cx<'_>, process: u64, request: RequestId) -> Option<MailboxItem> {
        let requests = &mut self.peers.get_mut(ConnId(request.peer))?.requests;
        let entry = requests.get_mut(&place(request.number))?;
        let RequestState::Waiting { body, deadline, ticket, .. } = &mut entry.state else { return None };
        let (body, deadline, ticket) = (core::mem::take(body), *deadline, *ticket);
        if deadline <= cx.now {
            requests.remove(&place(request.number));
            self.deadlines.remove(ticket);
            return None;
        }
        entry.state = RequestState::Taken { refused: None, ticket };
        self.table.get_mut(process)?.requests.insert(request);
        Some(MailboxItem::Call { body, deadline, request })
    }

    // Names of the cluster

    /// A claim returns. That its process had lost the name before, which it stood by for meanwhile, is of no interest any more.
    fn claim_returned(&mut self, claim: ClaimId) -> bool {
        let Some((process, name)) = self.names.claim_returned(claim) else { return false };
        self.table.mailbox(process, |mailbox| mailbox.forget_loss(&name));
        true
    }

    fn claim(
        &mut self,
        cx: &mut Cx<'_>,
        process: u64,
        name: ProcessName,
        options: ClaimOptions,
        when_free: bool,
    ) -> Result<ClaimId, ClaimError> {
        match self.phase {
            Phase::Running => {}
            Phase::Draining => return Err(ClaimError::Stopped),
            Phase::Stopped => return Err(ClaimError::NotStarted(ClusterNotStartedError)),
        }
        let protocol = self.table.get(process).ok_or(ClaimError::NoProcess)?.protocol;
        let lost = self.table.lost();
        let claiming = Claiming { name: name.clone(), process, protocol, options, when_free, lost };
        let claimed = self.with_names(cx, |names, step| names.claim(step, claiming));
        if claimed.is_ok() {
            self.table.mailbox(process, |mailbox| mailbox.forget_loss(&name));
        }
        claimed
    }

    // Messages

    fn route(&self, cx: &Cx<'_>, to: &Destination) -> Result<Route, CastError> {
        self.may_speak().map_err(CastError::NotStarted)?;
        let node = to.node();
        let up = match &self.own {
            Some((id, incarnation)) if id == node => Some(Up { peer: LOCAL, incarnation: *incarnation, capable: true }),
            _ => (cx.find)(node),
        };
        let Up { peer, incarnation, capable } = up.ok_or_else(|| CastError::NotConnected { to: node.clone() })?;
        if !capable {
            return Err(CastError::Unsupported { to: node.clone() });
        }
        Ok(match to {
            Destination::Named { name, .. } => Route::To(peer, To::Name(name.clone())),
            Destination::Process(process) if process.incarnation() == incarnation => {
                Route::To(peer, To::Number(process.number()))
            }
            Destination::Process(_) => Route::Nowhere,
        })
    }

    /// Where a message of this size goes, which finds room in the queue.
    fn route_with_room(&self, cx: &Cx<'_>, to: &Destination, size: usize) -> Result<Route, CastError> {
        let limit = cx.limits.message_bytes;
        if size > limit {
            return Err(CastError::TooLarge { limit, size });
        }
        let route = self.route(cx, to)?;
        if let Route::To(peer, _) = route
            && let Some(row) = self.peers.get(peer)
            && !row.outbox.has_room(size, cx.limits.send_queue_bytes)
        {
            return Err(CastError::QueueFull { to: to.node().clone() });
        }
        Ok(route)
    }

    fn cast(&mut self, cx: &mut Cx<'_>, to: &Destination, protocol: ProtocolHash, body: Bytes) -> Result<(), CastError> {
        let size = body.len();
        let route = self.route_with_room(cx, to, size)?;
        cx.host.counters.casts_sent += 1;
        match route {
            Route::Nowhere => cx.host.counters.casts_dropped += 1,
            Route::To(peer, to) => {
                let cast = Owed::Cast(Box::new(Cast { to, protocol, body }));
                Self::owe(&mut self.peers.meet(peer).outbox, &mut self.dirty, peer, cast, size);
            }
        }
        Ok(())
    }

    fn request_stop(&mut self, cx: &Cx<'_>, to: &Destination, reason: ExitReason) -> Result<(), CastError> {
        if let Route::To(peer, to) = self.route_with_room(cx, to, 0)? {
            Self::owe(&mut self.peers.meet(peer).outbox, &mut self.dirty, peer, Owed::Stop(Box::new((to, reason))), 0);
        }
        Ok(())
    }

    // Calls

    fn call(
        &mut self,
        cx: &mut Cx<'_>,
        to: &Destination,
        protocol: ProtocolHash,
        body: Bytes,
        deadline: Instant,
    ) -> Result<CallId, CallError> {
        let size = body.len();
        let Route::To(peer, process) = self.route_with_room(cx, to, size)? else { return Err(CallError::NoProcess) };
        let full = || CallError::QueueFull { to: to.node().clone() };
        let row = self.peers.meet(peer);
        let number = row.calls.next_number().filter(|_| row.calls.len() < cx.limits.calls_per_peer).ok_or_else(full)?;
        let call = CallId { peer: peer.0, number };
        let timeout = (deadline - cx.now).min(TIMEOUT_MAX);
        let deadline = cx.now + timeout;
        let ticket = self.deadlines.insert(cx.now, timeout, Due::call(call));
        let place = Self::owe(&mut row.outbox, &mut self.dirty, peer, Owed::Call(number), size);
        let queued = QueuedCall { to: process, protocol, body, place, ticket };
        row.calls.insert(Call { deadline, state: CallState::Queued(Box::new(queued)) });
        cx.host.counters.calls += 1;
        Ok(call)
    }

    fn cancel(&mut self, cx: &mut Cx<'_>, call: CallId) {
        if let Some((ticket, _)) = self.withdraw(call) {
            self.deadlines.remove(ticket);
            cx.host.counters.calls_cancelled += 1;
        }
    }

    /// Takes a call out of the queue, or owes its cancel: its deadline, and whether any of it had left. None where it is over.
    pub(super) fn withdraw(&mut self, CallId { peer, number }: CallId) -> Option<(Ticket, bool)> {
        let peer = ConnId(peer);
        let row = self.peers.get_mut(peer)?;
        let entry = row.calls.get_mut(number)?;
        match &entry.state {
            CallState::Queued(queued) => {
                let QueuedCall { place, ticket, .. } = **queued;
                row.outbox.take_out(place);
                row.calls.remove(number);
                Some((ticket, false))
            }
            CallState::Sent(ticket) => {
                let ticket = *ticket;
                entry.state = CallState::Cancelled;
                Self::owe(&mut row.outbox, &mut self.dirty, peer, Owed::Cancel(number), 0);
                Some((ticket, true))
            }
            CallState::Cancelled => None,
        }
    }

    fn answer(&mut self, cx: &mut Cx<'_>, request: RequestId, body: Bytes, or_wait: bool) -> Result<(), AnswerError> {
        let (peer, size) = (ConnId(request.peer), body.len());
        let Some(row) = self.peers.get_mut(peer) else { return Err(AnswerError::Over) };
        let entry = row.requests.get_mut(&place(request.number)).filter(|entry| entry.number == request.number);
        let Some(entry) = entry else { return Err(AnswerError::Over) };
        let RequestState::Taken { refused, ticket } = entry.state else { return Err(AnswerError::Over) };
        if size > cx.limits.message_bytes {
            self.fail_request(cx, request, Failure::AnswerDropped);
            return Err(AnswerError::Dropped);
        }
        if !row.outbox.has_room_for_answer(size, cx.limits.send_queue_bytes) {
            if !or_wait {
                self.fail_request(cx, request, Failure::AnswerDropped);
                return Err(AnswerError::Dropped);
            }
            let refused = refused.unwrap_or_else(|| row.outbox.refuse(request));
            entry.state = RequestState::Taken { refused: Some(refused), ticket };
            return Err(AnswerError::Full);
        }
        Self::decide_request(&mut self.table, &mut row.outbox, peer, entry);
        self.deadlines.remove(ticket);
        let place = Self::owe(&mut row.outbox, &mut self.dirty, peer, Owed::Answer(request.number), size);
        entry.state = RequestState::Answered { body, place };
        Ok(())
    }

    /// A call of a peer is decided: it leaves the mailbox, or the process that was handed it. Its deadline, and whether it was handed out.
    /// None where it was decided before.
    pub(super) fn decide_request(
        table: &mut Table,
        outbox: &mut Outbox,
        ConnId(peer): ConnId,
        request: &Request,
    ) -> Option<(Ticket, bool)> {
        match request.state {
            RequestState::Waiting { place, ticket, .. } => {
                table.mailbox(request.process, |mailbox| mailbox.take_out(place));
                Some((ticket, false))
            }
            RequestState::Taken { refused, ticket } => {
                if let Some(refused) = refused {
                    outbox.give_up(refused);
                }
                if let Some(process) = table.get_mut(request.process) {
                    process.requests.remove(&RequestId { peer, number: request.number });
                }
                Some((ticket, true))
            }
            RequestState::Answered { .. } | RequestState::Failed { .. } => None,
        }
    }

    /// Fails a call of a peer that waits in a mailbox, or that a process has.
    pub(super) fn fail_request(&mut self, cx: &mut Cx<'_>, request: RequestId, failure: Failure) {
        let peer = ConnId(request.peer);
        let Some(row) = self.peers.get_mut(peer) else { return };
        let entry = row.requests.get_mut(&place(request.number)).filter(|entry| entry.number == request.number);
        let Some(entry) = entry else { return };
        let Some((ticket, _)) = Self::decide_request(&mut self.table, &mut row.outbox, peer, entry) else { return };
        self.deadlines.remove(ticket);
        let place = Self::owe(&mut row.outbox, &mut self.dirty, peer, Owed::Failure(request.number), 0);
        entry.state = RequestState::Failed { failure: Box::new(failure), place };
        cx.host.counters.requests_failed += 1;
    }

    // Monitors

    fn monitor(&mut self, cx: &mut Cx<'_>, watcher: Option<u64>, to: &Destination) -> Result<MonitorId, MonitorError> {
        let full = || MonitorError::QueueFull { to: to.node().clone() };
        if let Some(process) = watcher.and_then(|watcher| self.table.get(watcher))
            && process.monitors.len() >= cx.limits.monitors_per_process
        {
            return Err(full());
        }
        let (peer, process) = match self.route_with_room(cx, to, 0) {
            Ok(Route::To(peer, process)) => (peer, process),
            Ok(Route::Nowhere) => return self.fire_at_once(cx, watcher, ExitReason::NoProcess).ok_or_else(full),
            Err(CastError::NotConnected { .. }) => {
                return self.fire_at_once(cx, watcher, ExitReason::NoConnection).ok_or_else(full);
            }
            Err(CastError::NotStarted(error)) => return Err(MonitorError::NotStarted(error)),
            Err(CastError::Unsupported { to }) => return Err(MonitorError::Unsupported { to }),
            Err(_) => return Err(full()),
        };
        let row = self.peers.meet(peer);
        let number = row.monitors.next_number().ok_or_else(full)?;
        let place = Self::owe(&mut row.outbox, &mut self.dirty, peer, Owed::Monitor(number), 0);
        row.monitors.insert(Monitor { watcher, state: MonitorState::Queued { place, to: Box::new(process) } });
        let monitor = MonitorId { peer: peer.0, number };
        if let Some(process) = watcher.and_then(|watcher| self.table.get_mut(watcher)) {
            process.monitors.insert(monitor, None);
        }
        Ok(monitor)
    }

    /// A monitor of what is known to be no more, or out of reach, has a number of this node's own. None where those are used up.
    fn fire_at_once(&mut self, cx: &mut Cx<'_>, watcher: Option<u64>, reason: ExitReason) -> Option<MonitorId> {
        let row = self.peers.meet(LOCAL);
        let number = row.monitors.insert(Monitor { watcher, state: MonitorState::Sent })?;
        row.monitors.remove(number);
        let monitor = MonitorId { peer: LOCAL.0, number };
        self.fire(cx, monitor, watcher, reason);
        Some(monitor)
    }

    /// A monitor, which is in no table any more, has fired: its watcher is told.
    pub(super) fn fire(&mut self, cx: &mut Cx<'_>, monitor: MonitorId, watcher: Option<u64>, reason: ExitReason) {
        let Some(watcher) = watcher else {
            cx.act(ProcessAction::MonitorFired { monitor, reason });
            return;
        };
        let place = self.notify(cx, watcher, Waiting::Down(monitor, reason));
        if let Some(process) = self.table.get_mut(watcher) {
            process.monitors.insert(monitor, place);
        }
    }

    /// Removes a monitor; `watcher` is what it was set with. One whose notice waits is not told of any more.
    pub(super) fn demonitor(&mut self, watcher: Option<u64>, monitor: MonitorId) {
        let process = watcher.and_then(|watcher| self.table.get_mut(watcher));
        if let (Some(watcher), Some(process)) = (watcher, process)
            && let Some(Some(place)) = process.monitors.remove(&monitor)
        {
            self.table.mailbox(watcher, |mailbox| mailbox.take_out(place));
        }
        let peer = ConnId(monitor.peer);
        let Some(row) = self.peers.get_mut(peer) else { return };
        let Some(entry) = row.monitors.get_mut(monitor.number) else { return };
        match &entry.state {
            MonitorState::Queued { place, .. } => {
                row.outbox.take_out(*place);
                row.monitors.remove(monitor.number);
            }
            MonitorState::Sent => {
                let place = Self::owe(&mut row.outbox, &mut self.dirty, peer, Owed::Demonitor(monitor.number), 0);
                entry.state = MonitorState::Removed(place);
            }
            MonitorState::Removed(_) => {}
        }
    }
}

fn name_lost((name, winner): (ProcessName, Option<ProcessId>)) -> MailboxItem {
    MailboxItem::NameLost { name, winner }
}
