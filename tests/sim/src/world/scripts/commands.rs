//! What applications do with processes, their own and those of others.

use std::time::Duration;

use bytes::Bytes;
use noex_proto::{
    CallError, CallId, CastError, ClusterStatus, Destination, ExitReason, Instant, MonitorError, MonitorId, NodeId, RequestId,
};

use super::ledger::{Call, Epoch, Expected, OWN, State, Target, Word};
use super::{Claim, DEEPEST, FOREIGN, HOLD, PROTOCOL, ROUNDING, STALE, Script, Task, body, name};
use crate::safety::{Check, Invariant};
use crate::world::{HostId, World};

/// A process, by its host and its place there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) host: HostId,
    pub(crate) slot: usize,
    /// Whether it is reached by its name, whoever has it at the moment.
    pub(crate) named: bool,
}

/// A call that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ask {
    pub(crate) size: usize,
    /// The size of its answer.
    pub(crate) answer: usize,
    pub(crate) timeout: Duration,
    /// When its future is dropped.
    pub(crate) cancel: Option<Duration>,
    /// Whether it is of a protocol that no process has.
    pub(crate) foreign: bool,
    /// Whether nothing is wrong, so that it comes to what its process does.
    pub(crate) at_rest: bool,
}

impl World {
    /// Whether the application on a host can do anything with processes.
    pub(super) fn can_speak(&self, host: HostId) -> bool {
        let at = &self.hosts[host];
        at.alive && !at.frozen && at.rogue.is_none() && !self.is_withheld("input Process") && self.violation.is_none()
    }

    /// What an address leads to: none where no process was ever there.
    fn target(&self, to: Address) -> Option<(Destination, Target, NodeId)> {
        let known = self.ledger.last(to.host, to.slot)?;
        let process = &self.ledger.processes[known];
        if !to.named {
            return Some((Destination::Process(process.id.clone()), Target::Process(known), process.id.node().clone()));
        }
        let node = self.hosts[to.host].ids.iter().rev().find_map(Clone::clone)?;
        let destination = Destination::Named { node: node.clone(), name: name(to.slot) };
        Some((destination, Target::Named(node.clone(), to.slot), node))
    }

    /// The run of a host's node, and its up-period with another one: 0 where that is not up.
    fn epoch(&self, host: HostId, node: &NodeId) -> Epoch {
        let at = &self.hosts[host];
        let own = at.machine.local_node_id().is_ok_and(|own| own == *node);
        let period = if own { OWN } else { at.monitor.up.get(node).map_or(0, |up| up.period) };
        (at.origin, period)
    }

    /// Whether a node's session that a message was for lives, as its sender sees it.
    fn lives(&self, host: HostId, node: &NodeId, (origin, period): Epoch) -> bool {
        let at = &self.hosts[host];
        at.origin == origin
            && if period == OWN { at.monitor.status != ClusterStatus::Stopped } else { self.period(host, node) == Some(period) }
    }

    // Calls

    /// The application on a host calls a process.
    pub(crate) fn call_checked(&mut self, from: HostId, to: Address, ask: Ask) {
        self.make_call(from, to, ask, 0);
    }

    fn make_call(&mut self, from: HostId, to: Address, ask: Ask, depth: u32) -> Option<usize> {
        let Ask { size, answer, timeout, cancel, foreign, at_rest } = ask;
        let (destination, target, node) = self.target(to).filter(|_| self.can_speak(from))?;
        let epoch = self.epoch(from, &node);
        let at = &self.hosts[from];
        let (now, origin) = (at.local(self.now), at.origin);
        let deadline = now + timeout;
        let expected = match target {
            Target::Process(known) if at_rest && self.ledger.processes[known].end.is_none() => {
                expected(self.ledger.processes[known].script)
            }
            _ => None,
        };
        let serial = self.ledger.call(Call {
            epoch,
            node: node.clone(),
            to: target,
            spoken: !foreign,
            answer,
            depth,
            host: from,
            timeout,
            deadline: deadline.since_start(),
            handled: None,
            word: None,
            state: State::Open,
            expected,
        });
        let bytes = body(serial as u64, origin, size);
        let protocol = if foreign { FOREIGN } else { PROTOCOL };
        let called = self.hosts[from].machine.call(now, &destination, protocol, bytes, deadline);
        self.hosts[from].scripts.touched = true;
        match called {
            Ok(call) => {
                self.hosts[from].scripts.calls.insert(call, serial);
                if let Some(cancel) = cancel {
                    self.later(from, cancel, Task::Cancel(call));
                }
            }
            Err(error) => {
                let check = self.check_refusal(from, serial, &error);
                self.judge(from, check);
                if let Some(call) = self.ledger.call_mut(serial) {
                    call.state = State::Failed(error);
                }
            }
        }
        self.settle(from);
        Some(serial)
    }

    /// A process answers a call when it has heard of another.
    pub(super) fn call_back(&mut self, host: HostId, number: u64, request: RequestId, serial: usize, deadline: Instant) {
        let Some(call) = self.ledger.get_call(serial) else { return };
        let (caller, depth, size) = (call.host, call.depth, call.answer.min(4096));
        let slot = self.hosts[host].scripts.owners.get(&number).map_or(0, |owner| owner.slot);
        let back = if depth < DEEPEST {
            let timeout = deadline - self.hosts[host].local(self.now);
            let ask = Ask { size, answer: size, timeout, cancel: None, foreign: false, at_rest: false };
            self.make_call(host, Address { host: caller, slot, named: true }, ask, depth + 1)
        } else {
            None
        };
        match back.filter(|back| self.ledger.get_call(*back).is_some_and(|call| call.state == State::Open)) {
            Some(back) => {
                self.hosts[host].scripts.backs.insert(back, (number, request));
            }
            None => self.answer(host, number, request),
        }
    }

    /// The future of a call is dropped.
    pub(super) fn cancel_call(&mut self, host: HostId, call: CallId) {
        let at = &mut self.hosts[host];
        let Some(serial) = at.scripts.calls.remove(&call) else { return };
        let now = at.local(self.now);
        at.machine.cancel(now, call);
        at.scripts.touched = true;
        self.coverage.note("call: cancelled");
        if let Some(call) = self.ledger.call_mut(serial) {
            call.state = State::Cancelled;
        }
        self.settle(host);
    }

    /// A call that cannot begin has a reason.
    fn check_refusal(&mut self, host: HostId, serial: usize, error: &CallError) -> Check {
        let Some(call) = self.ledger.get_call(serial) else { return Ok(()) };
        let at = &self.hosts[host];
        let (running, up) = (at.monitor.status == ClusterStatus::Running, call.epoch.1 != 0);
        let holds = match error {
            CallError::NotStarted(_) => !running,
            CallError::NotConnected { .. } => !up,
            CallError::NoProcess => self.may_be_missing(host, &call.to),
            CallError::QueueFull { .. } => true,
            CallError::TooLarge { limit, size } => size > limit,
            _ => false,
        };
        self.coverage.note(outcome_name(error));
        if holds { Ok(()) } else { Err((Invariant::OutcomesAreTrue, format!("call {serial} cannot begin: {error}"))) }
    }

    /// Whether a host may say that there is no such process: it has ended, its node takes nothing, or the host has its session with another
    /// run of that, or with another node that claims its identity, so that it knows of no such process.
    pub(super) fn may_be_missing(&self, host: HostId, to: &Target) -> bool {
        let Target::Process(known) = to else { return true };
        let process = &self.ledger.processes[*known];
        let met = self.hosts[host].scripts.ups.get(process.id.node());
        let former = met.is_some_and(|met| *met < process.began + STALE);
        process.end.is_some() || !self.takes_messages(to) || former || self.has_twin(process.host, process.id.node())
    }

    /// Whether a node on another host than this one has, or had, this identity.
    pub(super) fn has_twin(&self, host: HostId, id: &NodeId) -> bool {
        let others = self.hosts.iter().enumerate().filter(|(other, _)| *other != host);
        others.flat_map(|(_, other)| other.ids.iter().flatten()).any(|other| other == id)
    }

    /// What a call came to is what has become of it.
    pub(super) fn check_outcome(&mut self, host: HostId, serial: usize, outcome: &Result<Bytes, CallError>) -> Check {
        let Some(call) = self.ledger.get_call(serial).cloned() else { return Ok(()) };
        let lives = self.lives(host, &call.node, call.epoch);
        let wrong = |invariant, why: String| Err((invariant, format!("call {serial}: {why}")));
        let error = match outcome {
            Ok(bytes) => {
                self.coverage.note("call: answered");
                let said = (super::serial(bytes), bytes.get(8..).and_then(super::serial));
                if said != (Some(serial), call.handled) || call.word != Some(Word::Answered) || !lives {
                    let why = format!(
                        "the answer says {said:?}, {:?} has handled it: {:?}; the session lives: {lives}",
                        call.handled, call.word
                    );
                    return wrong(Invariant::AnswersAreTrue, why);
                }
                return self.check_rest(serial, &call, outcome);
            }
            Err(error) => error,
        };
        self.coverage.note(outcome_name(error));
        if !error.may_have_run() && call.handled.is_some() {
            return wrong(Invariant::HandledAsSaid, format!("{error}, and it was handled"));
        }
        let at = &self.hosts[host];
        let now = at.local(self.now).since_start();
        let ended = |process: usize| self.ledger.processes[process].end.clone();
        let holds = match error {
            CallError::Expired | CallError::TimedOut => now >= call.deadline,
            // Judged once all is told.
            CallError::NotConnected { .. } | CallError::Disconnected(_) | CallError::Stopped => true,
            CallError::NoProcess => self.may_be_missing(host, &call.to),
            CallError::Busy => true,
            CallError::WrongProtocol => !call.spoken,
            CallError::NotUnderstood(_) => call.word == Some(Word::NotUnderstood),
            CallError::Dropped => call.word == Some(Word::Dropped),
            CallError::AnswerDropped => call.word == Some(Word::AnswerDropped),
            CallError::Exited(reason) => {
                let by = call.handled.or(if let Target::Process(process) = call.to { Some(process) } else { None });
                by.is_none_or(|by| ended(by).is_some_and(|(_, why)| why.as_ref() == Some(reason)))
            }
            _ => false,
        };
        if !holds {
            return wrong(
                Invariant::OutcomesAreTrue,
                format!("{error}; handled by {:?}, which has done {:?}", call.handled, call.word),
            );
        }
        let slack = call.timeout / 32 + ROUNDING;
        let thawed = at.scripts.thawed.since_start();
        if let CallError::NotConnected { .. } | CallError::Disconnected(_) = error {
            let claim = Claim::Ended(call.node.clone(), call.epoch.1, format!("call {serial} says that the session has ended"));
            self.hosts[host].scripts.claims.push(claim);
        }
        if *error == CallError::Stopped {
            self.hosts[host].scripts.claims.push(Claim::Stops(format!("call {serial}")));
        }
        if matches!(error, CallError::Expired | CallError::TimedOut) && now > (call.deadline + slack).max(thawed + HOLD) {
            return wrong(Invariant::CallsEndInTime, format!("it ends at {now:?}, of a deadline at {:?}", call.deadline));
        }
        self.check_rest(serial, &call, outcome)
    }

    /// A call that was made at rest comes to what its process does.
    fn check_rest(&self, serial: usize, call: &Call, outcome: &Result<Bytes, CallError>) -> Check {
        let Some(expected) = call.expected else { return Ok(()) };
        let fits = match (expected, outcome) {
            (Expected::Answer, Ok(_))
            | (Expected::Dropped, Err(CallError::Dropped))
            // Whoever ends at each call may be between two of its lives.
            | (Expected::Exited, Err(CallError::Exited(_) | CallError::NoProcess))
            | (Expected::NotUnderstood, Err(CallError::NotUnderstood(_)))
            | (Expected::TimedOut, Err(CallError::TimedOut)) => true,
            _ => false,
        };
        if fits {
            return Ok(());
        }
        let got = outcome.as_ref().map(Bytes::len);
        Err((Invariant::ProcessesServe, format!("call {serial}, at rest, to {:?}: {got:?} in place of {expected:?}", call.to)))
    }

    // Casts

    /// The application on a host casts to a process.
    pub(crate) fn cast_checked(&mut self, from: HostId, to: Address, size: usize) {
        let Some((destination, target, node)) = self.target(to).filter(|_| self.can_speak(from)) else { return };
        self.cast(from, &destination, target, &node, size);
        self.settle(from);
    }

    fn cast(&mut self, from: HostId, destination: &Destination, target: Target, node: &NodeId, size: usize) {
        let epoch = self.epoch(from, node);
        let serial = self.ledger.cast(epoch, target);
        let at = &mut self.hosts[from];
        let now = at.local(self.now);
        let running = at.monitor.status == ClusterStatus::Running;
        let cast = at.machine.cast(now, destination, PROTOCOL, body(serial as u64, 0, size));
        if let Err(error) = cast {
            self.ledger.refused();
            let holds = match &error {
                CastError::NotConnected { .. } => epoch.1 == 0,
                CastError::NotStarted(_) => !running,
                CastError::QueueFull { .. } => {
                    self.coverage.note("cast: queue full");
                    true
                }
                CastError::TooLarge { limit, size } => size > limit,
                _ => false,
            };
            if !holds {
                self.violate(Some(from), Invariant::OutcomesAreTrue, format!("a cast to {destination}: {error}"));
            }
        }
    }

    /// A process that is about to end casts to each that watches it.
    pub(super) fn last_words(&mut self, host: HostId, known: usize) {
        let watches = self.ledger.monitors.iter().filter(|watch| watch.is_set && watch.to == Target::Process(known));
        let watchers: Vec<usize> = watches.filter_map(|watch| watch.watcher).filter(|watcher| *watcher != known).collect();
        for watcher in watchers {
            let id = self.ledger.processes[watcher].id.clone();
            let node = id.node().clone();
            self.cast(host, &Destination::Process(id), Target::Process(watcher), &node, 100);
        }
    }

    // Monitors

    /// A process on a host, or a task where none is named, watches another one, for some time or for good.
    pub(crate) fn monitor_checked(&mut self, from: HostId, by: Option<usize>, to: Address, removed: Option<Duration>) {
        let Some((destination, target, node)) = self.target(to).filter(|_| self.can_speak(from)) else { return };
        let epoch = self.epoch(from, &node);
        let watcher = by.and_then(|slot| self.hosts[from].scripts.owner_at(slot));
        if by.is_some() && watcher.is_none() {
            return;
        }
        let (number, known) = watcher.map(|(number, owner)| (number, owner.known)).unzip();
        let at = &mut self.hosts[from];
        let (now, running) = (at.local(self.now), at.monitor.status == ClusterStatus::Running);
        let set = at.machine.monitor(now, number, &destination);
        at.scripts.touched = true;
        match set {
            Ok(monitor) => {
                let watch = self.ledger.watch(epoch, node, target, known);
                self.hosts[from].scripts.monitors.insert(monitor, watch);
                if let Some(removed) = removed {
                    self.later(from, removed, Task::Demonitor(number, monitor));
                }
            }
            Err(MonitorError::QueueFull { .. }) => self.coverage.note("monitor: queue full"),
            Err(MonitorError::NotStarted(_)) if !running => {}
            Err(error) => {
                self.violate(Some(from), Invariant::OutcomesAreTrue, format!("a monitor of {destination}: {error}"));
            }
        }
        self.settle(from);
    }

    pub(super) fn demonitor(&mut self, host: HostId, watcher: Option<u64>, monitor: MonitorId) {
        let at = &mut self.hosts[host];
        let Some(watch) = at.scripts.monitors.remove(&monitor) else { return };
        self.ledger.monitors[watch].is_set = false;
        if let Some(owner) = watcher.and_then(|watcher| at.scripts.owners.get_mut(&watcher)) {
            owner.removed.insert(monitor);
        }
        let now = at.local(self.now);
        at.machine.demonitor(now, watcher, monitor);
        self.coverage.note("monitor: removed");
        self.settle(host);
    }

    // Ends

    /// A process on a host ends of itself, and is opened again after some time.
    pub(crate) fn exit_checked(&mut self, host: HostId, slot: usize, again: Duration) {
        let Some((number, _)) = self.hosts[host].scripts.owner_at(slot) else { return };
        if self.can_speak(host) {
            let reason = if slot.is_multiple_of(2) { ExitReason::Normal } else { ExitReason::error("told to") };
            self.end_script(host, number, reason, again);
        }
    }

    /// The application on a host asks a process to stop.
    pub(crate) fn request_stop_checked(&mut self, from: HostId, to: Address) {
        let Some((destination, _, node)) = self.target(to).filter(|_| self.can_speak(from)) else { return };
        let epoch = self.epoch(from, &node);
        let at = &mut self.hosts[from];
        let (now, running) = (at.local(self.now), at.monitor.status == ClusterStatus::Running);
        let holds = match at.machine.request_stop(now, &destination, ExitReason::Shutdown) {
            Ok(()) | Err(CastError::QueueFull { .. }) => true,
            Err(CastError::NotConnected { .. }) => epoch.1 == 0,
            Err(CastError::NotStarted(_)) => !running,
            Err(_) => false,
        };
        if !holds {
            self.violate(Some(from), Invariant::OutcomesAreTrue, format!("a request to stop {destination} is refused"));
        }
        self.settle(from);
    }

    // After an input

    /// What holds of processes after each input: what was said to have ended has, and the counts are those of the driver.
    pub(in crate::world) fn check_scripts(&mut self, host: HostId) {
        let at = &mut self.hosts[host];
        // A node that stops has said its farewell to others before it tells of the end of their sessions.
        let stops = at.monitor.status != ClusterStatus::Running;
        for claim in std::mem::take(&mut at.scripts.claims) {
            let (holds, what) = match claim {
                Claim::Ended(node, OWN, what) => (at.machine.local_node_id().is_ok_and(|own| own != node), what),
                Claim::Ended(node, period, what) => (at.monitor.up.get(&node).is_none_or(|up| up.period != period), what),
                Claim::Stops(what) => (false, what),
            };
            if !holds && !stops {
                return self.violate(Some(host), Invariant::OutcomesAreTrue, format!("{what}, and that is up"));
            }
        }
        if std::mem::take(&mut at.scripts.downs) {
            self.check_downs(host);
            self.check_names_of_downs(host);
        }
        let at = &mut self.hosts[host];
        if std::mem::take(&mut at.scripts.stopped) {
            let left = (at.scripts.owners.len(), at.scripts.calls.len());
            let origin = at.origin;
            at.scripts.monitors.clear();
            at.scripts.requests.clear();
            self.check_names_stopped(host);
            self.ledger.gone(origin, self.now);
            if left != (0, 0) {
                let detail = format!("it is stopped, and {left:?} processes and calls are left");
                return self.violate(Some(host), Invariant::NothingIsLeft, detail);
            }
        }
        let at = &mut self.hosts[host];
        if !std::mem::take(&mut at.scripts.touched) || self.is_bent() {
            return;
        }
        let at = &self.hosts[host];
        let known = (at.scripts.owners.len(), at.scripts.calls.len(), at.scripts.requests.len());
        self.check_counts(host, known);
    }

    /// Nothing is left of an up-period that is over.
    fn check_downs(&mut self, host: HostId) {
        let at = &self.hosts[host];
        let calls = at.scripts.calls.values().filter_map(|serial| {
            let call = self.ledger.get_call(*serial)?;
            Some((format!("call {serial}"), &call.node, call.epoch))
        });
        let watches = at.scripts.monitors.values().filter_map(|watch| {
            let of = &self.ledger.monitors[*watch];
            // What waits in a mailbox has fired.
            of.watcher.is_none().then(|| (format!("monitor {watch}"), &of.node, of.epoch))
        });
        let left = calls.chain(watches).find(|(_, node, epoch)| epoch.1 != 0 && !self.lives(host, node, *epoch));
        if let Some((what, node, _)) = left {
            let detail = format!("{what} is open, and the session with {node} has ended");
            self.violate(Some(host), Invariant::CallsEndInTime, detail);
        }
    }

    /// Whether a host's calls are over in time, as far as its clock and its process went on.
    pub(crate) fn check_calls(&mut self, host: HostId) {
        let at = &self.hosts[host];
        if !at.alive || at.frozen {
            return;
        }
        let now = at.local(self.now).since_start();
        let late = at.scripts.calls.values().find_map(|serial| {
            let call = self.ledger.get_call(*serial)?;
            let held = at.scripts.thawed.since_start() + HOLD;
            (now > held.max(call.deadline + call.timeout / 32 + ROUNDING)).then_some((*serial, call.deadline))
        });
        if let Some((serial, deadline)) = late {
            let detail = format!("call {serial} is open at {now:?}, and its deadline was at {deadline:?}");
            self.violate(Some(host), Invariant::CallsEndInTime, detail);
        }
    }
}

/// What a call to such a process comes to where nothing is wrong, if that does not depend on others.
const fn expected(script: Script) -> Option<Expected> {
    Some(match script {
        Script::CallsBack => return None,
        Script::Echo | Script::Slow { .. } => Expected::Answer,
        Script::Drops => Expected::Dropped,
        Script::Exits => Expected::Exited,
        Script::Late | Script::Silent => Expected::TimedOut,
        Script::Misreads => Expected::NotUnderstood,
    })
}

/// The name of an outcome, for the counters.
fn outcome_name(error: &CallError) -> &'static str {
    match error {
        CallError::NotStarted(_) => "call: not started",
        CallError::NotConnected { .. } => "call: not connected",
        CallError::Unsupported { .. } => "call: unsupported",
        CallError::QueueFull { .. } => "call: queue full",
        CallError::TooLarge { .. } => "call: too large",
        CallError::Expired => "call: expired",
        CallError::NoProcess => "call: no process",
        CallError::Busy => "call: busy",
        CallError::WrongProtocol => "call: wrong protocol",
        CallError::NotUnderstood(_) => "call: not understood",
        CallError::TimedOut => "call: timed out",
        CallError::Disconnected(_) => "call: disconnected",
        CallError::Exited(_) => "call: exited",
        CallError::Dropped => "call: dropped",
        CallError::AnswerDropped => "call: answer dropped",
        CallError::Stopped => "call: stopped",
        other => unreachable!("{other:?} is the driver's own"),
    }
}
