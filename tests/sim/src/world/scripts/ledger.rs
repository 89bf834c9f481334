//! What is true of all processes, calls, casts and monitors of a run, on whatever host: what no machine knows, and what all that they say is
//! judged by.

use std::collections::BTreeMap;
use std::time::Duration;

use noex_proto::{CallError, ExitReason, NodeId, ProcessId};

use super::Script;
use crate::HostId;
use crate::safety::{Check, Invariant};

/// The up-period of a node with itself: it ends with its run.
pub(super) const OWN: u64 = u64::MAX;

/// A run of a node, by a number that no other run of any node has, and the up-period of the receiver there.
pub(super) type Epoch = (u64, u64);

/// Whom a message or a monitor is for.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Target {
    Named(NodeId, usize),
    Process(usize),
}

/// All that is known.
#[derive(Clone, Debug, Default)]
pub(in crate::world) struct Ledger {
    pub(super) processes: Vec<Known>,
    by_id: BTreeMap<ProcessId, usize>,
    /// The last process of each host in each place.
    last: BTreeMap<(HostId, usize), usize>,
    pub(super) messages: Vec<Message>,
    pub(super) monitors: Vec<Watch>,
    pub(super) names: super::names::Claimed,
    /// How many casts were taken for a receiver.
    sent: BTreeMap<(Epoch, Target), u64>,
}

/// A process.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) host: HostId,
    /// The run of its node.
    pub(super) origin: u64,
    pub(super) id: ProcessId,
    pub(super) slot: usize,
    /// When the run of its node began.
    pub(super) began: u64,
    pub(super) script: Script,
    /// When it ended, and why: none where its node was gone.
    pub(super) end: Option<(u64, Option<ExitReason>)>,
    /// The message of each run of a node that it has seen last.
    last: BTreeMap<u64, usize>,
    streams: BTreeMap<(Epoch, bool), Stream>,
    /// The casts that it was told to have missed.
    missed: u64,
}

/// The casts of one sender to one receiver.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    next: u64,
    /// What the receiver had been told to have missed with the last one.
    missed: u64,
}

/// A call or a cast.
#[derive(Clone, Debug)]
pub(super) enum Message {
    Call(Box<Call>),
    Cast { epoch: Epoch, number: u64, to: Target },
}

/// A call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) epoch: Epoch,
    pub(super) node: NodeId,
    pub(super) to: Target,
    /// Whether it is of the protocol of all scripts.
    pub(super) spoken: bool,
    pub(super) answer: usize,
    /// How often it was passed on.
    pub(super) depth: u32,
    pub(super) host: HostId,
    pub(super) timeout: Duration,
    /// On the clock of its host.
    pub(super) deadline: Duration,
    /// The process that has handled it.
    pub(super) handled: Option<usize>,
    pub(super) word: Option<Word>,
    pub(super) state: State,
    /// The outcomes that it may have at most, where it is made at rest.
    pub(super) expected: Option<Expected>,
}

/// What the process that was called did with a call in the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Word {
    Answered,
    AnswerDropped,
    Dropped,
    NotUnderstood,
}

/// How a call stands with its caller.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum State {
    Open,
    Cancelled,
    Answered,
    Failed(CallError),
    /// Its node was gone before.
    Lost,
}

/// What a call comes to where nothing is wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Expected {
    Answer,
    Dropped,
    Exited,
    NotUnderstood,
    TimedOut,
}

/// A monitor.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    pub(super) epoch: Epoch,
    pub(super) node: NodeId,
    pub(super) to: Target,
    /// The process that is to hear, unless a task is.
    pub(super) watcher: Option<usize>,
    pub(super) is_set: bool,
    /// What the watcher has to have seen of the process's node before it hears of its end.
    due: Option<(Epoch, u64)>,
}

fn broken<T>(invariant: Invariant, detail: String) -> Result<T, (Invariant, String)> {
    Err((invariant, detail))
}

impl Ledger {
    // Processes

    pub(super) fn opened(&mut self, host: HostId, origin: u64, id: ProcessId, slot: usize, script: Script, began: u64) -> usize {
        let known = self.processes.len();
        self.by_id.insert(id.clone(), known);
        self.last.insert((host, slot), known);
        let (last, streams) = (BTreeMap::new(), BTreeMap::new());
        self.processes.push(Known { host, origin, id, slot, began, script, end: None, last, streams, missed: 0 });
        known
    }

    /// The last process of a host in this place, whether it lives or not.
    pub(super) fn last(&self, host: HostId, slot: usize) -> Option<usize> {
        self.last.get(&(host, slot)).copied()
    }

    /// A process has ended. `periods`: the up-period of each node that its own has a session with.
    pub(super) fn ended(&mut self, known: usize, at: u64, reason: Option<ExitReason>, period: impl Fn(&NodeId) -> Option<u64>) {
        let origin = self.processes[known].origin;
        self.processes[known].end.get_or_insert((at, reason));
        for watch in &mut self.monitors {
            if watch.is_set
                && watch.to == Target::Process(known)
                && let Some(watcher) = watch.watcher
                && let Some(period) = period(self.processes[watcher].id.node())
            {
                let epoch = (origin, period);
                let sent = self.sent.get(&(epoch, Target::Process(watcher))).copied().unwrap_or(0);
                watch.due = Some((epoch, sent));
            }
        }
    }

    /// A node is gone, and all that it had.
    pub(in crate::world) fn gone(&mut self, origin: u64, at: u64) {
        for process in self.processes.iter_mut().filter(|process| process.origin == origin) {
            process.end.get_or_insert((at, None));
        }
        for message in &mut self.messages {
            if let Message::Call(call) = message
                && call.epoch.0 == origin
                && call.state == State::Open
            {
                call.state = State::Lost;
            }
        }
        for watch in self.monitors.iter_mut().filter(|watch| watch.epoch.0 == origin) {
            watch.is_set = false;
        }
    }

    /// Whether a process is one that a message is for.
    pub(super) fn is_for(&self, to: &Target, process: usize) -> bool {
        match to {
            Target::Process(known) => *known == process,
            Target::Named(node, slot) => {
                let process = &self.processes[process];
                process.id.node() == node && process.slot == *slot
            }
        }
    }

    // Messages

    /// A message has come to a process, in order.
    fn came(&mut self, process: usize, origin: u64, serial: usize) -> Check {
        let known = &mut self.processes[process];
        let before = known.last.insert(origin, serial);
        if let Some(before) = before.filter(|before| *before > serial) {
            let detail = format!("{}: message {serial} of a node after its message {before}", known.id);
            return broken(Invariant::MessagesInOrder, detail);
        }
        Ok(())
    }

    /// Notes a cast that a machine has taken. Its number.
    pub(super) fn cast(&mut self, epoch: Epoch, to: Target) -> usize {
        let sent = self.sent.entry((epoch, to.clone())).or_default();
        let number = *sent;
        *sent += 1;
        self.messages.push(Message::Cast { epoch, number, to });
        self.messages.len() - 1
    }

    /// Takes the last message back: it was refused.
    pub(super) fn refused(&mut self) {
        if let Some(Message::Cast { epoch, to, .. }) = self.messages.pop()
            && let Some(sent) = self.sent.get_mut(&(epoch, to))
        {
            *sent -= 1;
        }
    }

    /// A process has taken a cast from its mailbox.
    pub(super) fn cast_came(&mut self, process: usize, serial: usize) -> Check {
        let Some(Message::Cast { epoch, number, to }) = self.messages.get(serial).cloned() else {
            return broken(Invariant::MessagesInOrder, format!("{serial} is no cast"));
        };
        if !self.is_for(&to, process) {
            let detail = format!("{} has a cast for {to:?}", self.processes[process].id);
            return broken(Invariant::MessagesInOrder, detail);
        }
        self.came(process, epoch.0, serial)?;
        let known = &mut self.processes[process];
        let named = matches!(to, Target::Named(..));
        // Whoever has a name only now has not heard what was for it before.
        let first = Stream { next: if named { number } else { 0 }, missed: 0 };
        let stream = known.streams.entry((epoch, named)).or_insert(first);
        let told = known.missed - stream.missed;
        let wrong = number < stream.next || number - stream.next > told;
        if wrong {
            let detail = format!("{}: cast {number} in place of {}, and {told} were missed", known.id, stream.next);
            return broken(Invariant::MessagesInOrder, detail);
        }
        *stream = Stream { next: number + 1, missed: known.missed };
        Ok(())
    }

    /// A process was told that it had missed casts.
    pub(super) fn overrun(&mut self, process: usize, missed: u64) {
        self.processes[process].missed += missed;
    }

    /// The casts to a process that were sent, and have neither come nor were missed.
    pub(super) fn casts_lost(&self, process: usize, epoch: Epoch) -> u64 {
        let sent = self.sent.get(&(epoch, Target::Process(process))).copied().unwrap_or(0);
        sent.saturating_sub(self.seen(process, epoch))
    }

    /// How many casts of an epoch a process has seen, or may have been told that it missed.
    fn seen(&self, process: usize, epoch: Epoch) -> u64 {
        let known = &self.processes[process];
        let stream = known.streams.get(&(epoch, false)).copied().unwrap_or_default();
        stream.next + known.missed - stream.missed
    }

    // Calls

    /// Notes a call that is made. Its number.
    pub(super) fn call(&mut self, call: Call) -> usize {
        self.messages.push(Message::Call(Box::new(call)));
        self.messages.len() - 1
    }

    pub(super) fn call_mut(&mut self, serial: usize) -> Option<&mut Call> {
        match self.messages.get_mut(serial) {
            Some(Message::Call(call)) => Some(call),
            _ => None,
        }
    }

    pub(super) fn get_call(&self, serial: usize) -> Option<&Call> {
        match self.messages.get(serial) {
            Some(Message::Call(call)) => Some(call),
            _ => None,
        }
    }

    /// A process begins to handle a call.
    pub(super) fn handled(&mut self, process: usize, serial: usize) -> Check {
        let Some(call) = self.get_call(serial) else {
            return broken(Invariant::HandledAsSaid, format!("{serial} is no call"));
        };
        let id = &self.processes[process].id;
        if !self.is_for(&call.to, process) || !call.spoken {
            return broken(Invariant::HandledAsSaid, format!("{id} handles call {serial} for {:?}", call.to));
        }
        if let Some(before) = call.handled {
            let before = &self.processes[before].id;
            return broken(Invariant::HandledAsSaid, format!("{id} handles call {serial}, which {before} has handled"));
        }
        if let State::Failed(why) = &call.state
            && !why.may_have_run()
        {
            return broken(Invariant::HandledAsSaid, format!("{id} handles call {serial}, which had failed: {why}"));
        }
        let origin = call.epoch.0;
        self.came(process, origin, serial)?;
        if let Some(call) = self.call_mut(serial) {
            call.handled = Some(process);
        }
        Ok(())
    }

    // Monitors

    pub(super) fn watch(&mut self, epoch: Epoch, node: NodeId, to: Target, watcher: Option<usize>) -> usize {
        self.monitors.push(Watch { epoch, node, to, watcher, is_set: true, due: None });
        self.monitors.len() - 1
    }

    /// A monitor has fired. `missing`: whether it may be said that there is no such process.
    pub(super) fn fired(&mut self, watch: usize, reason: &ExitReason, missing: bool) -> Check {
        let Some(Watch { to, watcher, is_set, due, .. }) = self.monitors.get(watch).cloned() else { return Ok(()) };
        if !is_set {
            return broken(
                Invariant::MonitorsFireOnce,
                format!("monitor {watch} of {to:?} fires once more, or was removed: {reason}"),
            );
        }
        self.monitors[watch].is_set = false;
        let Target::Process(process) = to else {
            // Whoever has the name at the moment at which the monitor comes is watched.
            return Ok(());
        };
        let known = &self.processes[process];
        let holds = match reason {
            // Judged by whoever knows of the session.
            ExitReason::NoConnection => true,
            ExitReason::NoProcess => missing,
            reason => known.end.as_ref().is_some_and(|(_, why)| why.as_ref() == Some(reason)),
        };
        if !holds {
            let detail = format!("{} is down by {reason}, and {:?}", known.id, known.end);
            return broken(Invariant::DownsAreTrue, detail);
        }
        if let (Some(watcher), Some((of, sent))) = (watcher, due)
            && !matches!(reason, ExitReason::NoConnection | ExitReason::NoProcess)
            && self.seen(watcher, of) < sent
        {
            let (known, watcher, seen) = (&self.processes[process], &self.processes[watcher], self.seen(watcher, of));
            let detail = format!("{} hears of the end of {} after {seen} of {sent} casts", watcher.id, known.id);
            return broken(Invariant::MessagesInOrder, detail);
        }
        Ok(())
    }

    /// Whether a process that is watched has ended.
    pub(super) fn is_over(&self, to: &Target) -> bool {
        matches!(to, Target::Process(process) if self.processes[*process].end.is_some())
    }
}
