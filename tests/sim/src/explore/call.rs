//! One process, one call to it and one monitor of it: what the caller, the process and a judge of both know.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use bytes::Bytes;
use noex_proto::{
    CallError, CallId, Destination, ExitReason, MailboxItem, MonitorId, ProcessAction, ProcessId, ProtocolHash, RequestId,
};

use super::state::{Checked, Move, State};
use crate::HostId;
use crate::safety::Invariant;

/// Where the caller is, and where the process.
pub(super) const CALLER: HostId = 0;
pub(super) const CALLED: HostId = 1;

pub(super) const PROTOCOL: ProtocolHash = ProtocolHash(*b"explored");
const TIMEOUT: Duration = Duration::from_secs(3);
/// After this time all that the caller waits for is over.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// What is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Calling {
    process: Option<ProcessId>,
    /// The process that the last call is to, and whether that has ended.
    called: Option<ProcessId>,
    gone: bool,
    call: Option<CallId>,
    monitor: Option<MonitorId>,
    /// Something may be taken from the mailbox.
    awake: bool,
    held: Option<RequestId>,
    /// Whether the call was handled, whether its answer was taken, and whether it certainly was not handled.
    handled: bool,
    answered: bool,
    denied: bool,
}

impl Hash for Calling {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.process.is_some(), self.process == self.called, self.gone, self.call.is_some(), self.monitor.is_some()).hash(state);
        (self.awake, self.held.is_some(), self.handled, self.answered, self.denied).hash(state);
    }
}

impl State {
    /// What the process can do next.
    pub(super) fn add_turns(&self, moves: &mut Vec<Move>) {
        let known = &self.calling;
        if known.awake && known.process.is_some() {
            moves.push(Move::Take);
        }
        if known.held.is_some() {
            moves.push(Move::Answer);
        }
    }

    /// What may be done with the process, within the budget.
    pub(super) fn add_calls(&self, moves: &mut Vec<Move>) {
        let (known, budget) = (&self.calling, &self.budget);
        let idle = known.call.is_none() && known.monitor.is_none();
        if budget.calls > 0 && known.process.is_some() && idle && self.hosts[CALLER].is_running() {
            moves.push(Move::Call);
        }
        if budget.cancels > 0 && known.call.is_some() {
            moves.push(Move::Cancel);
        }
        if budget.exits > 0 && known.process.is_some() && self.hosts[CALLED].is_running() {
            moves.push(Move::Exit);
        }
    }

    /// The process ends, and another one takes its place.
    pub(super) fn replace(&mut self) -> Checked {
        self.exit(ExitReason::Normal)?;
        self.open_process();
        self.drain(CALLED)
    }

    /// The node of the process runs.
    pub(super) fn open_process(&mut self) {
        let at = self.host_mut(CALLED);
        let opened = at.machine.open(at.now, PROTOCOL);
        self.calling.process = opened.ok();
        (self.calling.awake, self.calling.held) = (false, None);
    }

    /// The node of the process, or of the caller, is gone at once.
    pub(super) fn calling_crashed(&mut self, host: HostId) {
        let known = &mut self.calling;
        if host == CALLER {
            (known.call, known.monitor) = (None, None);
        } else {
            known.gone |= known.process == known.called;
            (known.process, known.held, known.awake) = (None, None, false);
        }
    }

    /// The caller calls the process, and watches it.
    pub(super) fn call(&mut self) -> Checked {
        let Some(process) = self.calling.process.clone() else { return Ok(()) };
        let to = Destination::Process(process.clone());
        let at = self.host_mut(CALLER);
        let now = at.now;
        let monitor = at.machine.monitor(now, None, &to).ok();
        let call = at.machine.call(now, &to, PROTOCOL, Bytes::from_static(b"?"), now + TIMEOUT);
        let denied = call.as_ref().is_err_and(|error| !error.may_have_run());
        self.line(Some(CALLER), || format!("calls: {call:?}"));
        let (awake, held) = (self.calling.awake, self.calling.held);
        let (handled, answered) = (false, false);
        let called = Some(process.clone());
        let (process, call) = (Some(process), call.ok());
        self.calling = Calling { process, called, gone: false, call, monitor, awake, held, handled, answered, denied };
        self.drain(CALLER)
    }

    /// The caller waits no more.
    pub(super) fn cancel(&mut self) -> Checked {
        let Some(call) = self.calling.call.take() else { return Ok(()) };
        let at = self.host_mut(CALLER);
        at.machine.cancel(at.now, call);
        self.line(Some(CALLER), || "cancels".into());
        self.drain(CALLER)
    }

    /// The process takes what it has.
    pub(super) fn take(&mut self) -> Checked {
        let Some(process) = self.calling.process.clone() else { return Ok(()) };
        self.calling.awake = false;
        let at = self.host_mut(CALLED);
        let (now, items) = (at.now, at.machine.take(at.now, process.number(), 8));
        self.line(Some(CALLED), || format!("takes {} items", items.len()));
        for item in items {
            match item {
                MailboxItem::Call { request, deadline, .. } => {
                    if deadline <= now {
                        continue;
                    }
                    let known = &mut self.calling;
                    if known.handled || known.denied || known.called.as_ref() != Some(&process) {
                        let detail = format!("a call is handled: {known:?}");
                        return self.violate(CALLED, Invariant::HandledAsSaid, detail);
                    }
                    (known.handled, known.held) = (true, Some(request));
                }
                MailboxItem::Stop(reason) => return self.exit(reason),
                other => return self.violate(CALLED, Invariant::MessagesInOrder, format!("{other:?}, which nobody sent")),
            }
        }
        self.drain(CALLED)
    }

    /// The process answers.
    pub(super) fn answer(&mut self) -> Checked {
        let Some(request) = self.calling.held.take() else { return Ok(()) };
        let at = self.host_mut(CALLED);
        let answered = at.machine.answer(at.now, request, Bytes::from_static(b"!"), false);
        self.line(Some(CALLED), || format!("answers: {answered:?}"));
        self.calling.answered = answered.is_ok();
        if answered.is_err() {
            return self.violate(CALLED, Invariant::HandledAsSaid, format!("the answer is refused: {answered:?}"));
        }
        self.drain(CALLED)
    }

    /// The process ends.
    pub(super) fn exit(&mut self, reason: ExitReason) -> Checked {
        let Some(process) = self.calling.process.take() else { return Ok(()) };
        let known = &mut self.calling;
        known.gone |= known.called.as_ref() == Some(&process);
        (known.held, known.awake) = (None, false);
        let at = self.host_mut(CALLED);
        // It has looked at all that it has taken.
        at.machine.exit(at.now, process.number(), reason, usize::MAX);
        self.line(Some(CALLED), || "the process ends".into());
        self.drain(CALLED)
    }

    /// What a machine asks for with processes.
    pub(super) fn process_action(&mut self, host: HostId, action: ProcessAction) -> Checked {
        if self.rules.claims {
            return self.claim_action(host, action);
        }
        self.line(Some(host), || format!("{action:?}"));
        // A node that stops has no process for others.
        let stops = !self.hosts[CALLED].is_running();
        let known = &mut self.calling;
        match action {
            ProcessAction::CallEnded { call, outcome } => {
                if known.call.take() != Some(call) {
                    return self.violate(host, Invariant::CallsEndOnce, "a call ends that is over, or was cancelled".into());
                }
                match outcome {
                    Ok(_) if !known.answered || !known.handled => {
                        return self.violate(host, Invariant::AnswersAreTrue, "an answer that the process has not given".into());
                    }
                    Err(CallError::Exited(_) | CallError::NoProcess) if !known.gone && !stops => {
                        return self.violate(host, Invariant::OutcomesAreTrue, "the process has not ended".into());
                    }
                    Err(error) if !error.may_have_run() => {
                        known.denied = true;
                        if known.handled {
                            return self.violate(host, Invariant::HandledAsSaid, format!("{error}, and it was handled"));
                        }
                    }
                    _ => {}
                }
            }
            ProcessAction::MonitorFired { monitor, reason } => {
                if known.monitor.take() != Some(monitor) {
                    return self.violate(host, Invariant::MonitorsFireOnce, "a monitor fires that has fired".into());
                }
                if !known.gone && !stops && reason != ExitReason::NoConnection {
                    return self.violate(host, Invariant::DownsAreTrue, format!("{reason}, and the process lives"));
                }
            }
            ProcessAction::Mailbox(_) | ProcessAction::Stopping(_) => known.awake = true,
            ProcessAction::RequestOver(request) => {
                if known.held == Some(request) {
                    known.held = None;
                }
            }
            ProcessAction::Ended(_) => {
                known.gone |= known.process == known.called;
                (known.process, known.held) = (None, None);
            }
            ProcessAction::AnswerRoom(_) | ProcessAction::NamesSynced => {}
            ProcessAction::ClaimEnded { .. } | ProcessAction::NameChanged(_) => unreachable!("nobody claims or watches a name"),
        }
        Ok(())
    }

    /// After all deadlines: nothing is open but a monitor of a process that lives.
    pub(super) fn judge_calling(&mut self) -> Checked {
        let known = &self.calling;
        if known.call.is_some() {
            return self.violate(CALLER, Invariant::CallsEndInTime, "the call has not ended".into());
        }
        if known.monitor.is_some() && known.gone {
            return self.violate(
                CALLER,
                Invariant::MonitorsFireOnce,
                "the process has ended, and its monitor has not fired".into(),
            );
        }
        let set = usize::from(known.monitor.is_some());
        for host in [CALLER, CALLED] {
            let open = self.hosts[host].machine.open_with(None);
            let monitors = if host == CALLER { open.monitors } else { open.watched };
            if (open.calls, open.cancelled, open.requests, open.owed, monitors) != (0, 0, 0, 0, set) {
                return self.violate(host, Invariant::NothingIsLeft, format!("{open:?}, of {set} monitors"));
            }
        }
        Ok(())
    }
}
