//! Scripted processes: the applications on hosts that open mailboxes, answer calls or do not, and watch each other.
//!
//! They keep the contract of a driver: a process looks at the items of a batch one by one, skips what is over, and says how many it has
//! looked at when it ends. `ledger` is what is true of all of them, `commands` is what applications do with processes that they do not own,
//! `handling` is what a process does with what it takes.

mod commands;
mod handling;
mod ledger;
mod names;
mod rest;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use noex_proto::{
    CallError, CallId, ClaimId, ClusterStatus, ExitReason, Instant, MailboxItem, MonitorId, ProcessAction, ProcessName,
    ProtocolHash, RequestId,
};
use serde::{Deserialize, Serialize};

pub(crate) use commands::{Address, Ask};
pub(super) use ledger::Ledger;
use ledger::{OWN, State, Target};
pub(crate) use names::{NAMES, Wish};

use super::host::Waiting;
use super::queue::Happening;
use super::{HostId, World};
use crate::safety::Invariant;

/// The protocol of all scripts, and one that none of them speaks.
const PROTOCOL: ProtocolHash = ProtocolHash(*b"scripted");
const FOREIGN: ProtocolHash = ProtocolHash(*b"foreign ");

/// How often a call is passed on at most.
const DEEPEST: u32 = 2;
/// What a deadline is rounded up by at most, beside 1/32.
const ROUNDING: Duration = Duration::from_millis(2);
/// For how long after a pause what has come meanwhile is read, before anything is judged: a quarter of the shortest interval, of 5 s at most.
const HOLD: Duration = Duration::from_millis(1300);
/// For how long a session that has come up may be one with a former run of its node.
const STALE: u64 = 5 * super::SECOND;
/// How late a script answers that does so when nobody waits any more.
const LATE: Duration = Duration::from_millis(5);

/// What a process does with the calls that it takes. Every process takes casts, and ends where it is asked to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Script {
    /// It calls the process in the same place on the caller's node, and answers when it has heard from there.
    CallsBack,
    /// It drops the port.
    Drops,
    /// It answers.
    Echo,
    /// It ends while it handles one.
    Exits,
    /// It answers when the deadline has passed.
    Late,
    /// It cannot decode one.
    Misreads,
    /// It keeps the port and never answers.
    Silent,
    /// It answers after so many milliseconds, and takes nothing meanwhile.
    Slow {
        /// How many.
        ms: u64,
    },
}

/// The processes on a host, and what its tasks wait for.
#[derive(Clone, Debug, Default)]
pub(super) struct Scripts {
    owners: BTreeMap<u64, Owner>,
    /// Calls whose outcome is open, by the number of the message.
    calls: BTreeMap<CallId, usize>,
    /// Monitors that were not removed, and whose end was not heard of.
    monitors: BTreeMap<MonitorId, usize>,
    /// Calls that were handed to processes, and are not over.
    requests: BTreeMap<RequestId, u64>,
    /// Calls that a process makes to answer another one.
    backs: BTreeMap<usize, (u64, RequestId)>,
    /// What is to be true when all actions of an input were taken: an up-period that is said to have ended.
    claims: Vec<Claim>,
    names: names::Desk,
    /// Something was asked of the machine, or heard of it, since its counts were compared.
    touched: bool,
    /// When each node came up last.
    ups: BTreeMap<noex_proto::NodeId, u64>,
    /// When its process last went on after a pause.
    thawed: Instant,
    /// Whether nodes went down since it was looked for what should have ended with them, and whether its own has stopped.
    downs: bool,
    stopped: bool,
}

impl Scripts {
    /// The process in a place, with its number.
    fn owner_at(&self, slot: usize) -> Option<(u64, &Owner)> {
        self.owners.iter().find(|(_, owner)| owner.slot == slot).map(|(number, owner)| (*number, owner))
    }

    pub(super) fn node_is_up(&mut self, id: &noex_proto::NodeId, at: u64) {
        self.ups.insert(id.clone(), at);
    }

    pub(super) const fn node_is_down(&mut self) {
        self.downs = true;
    }

    pub(super) const fn node_is_stopped(&mut self) {
        self.stopped = true;
    }

    pub(super) const fn goes_on(&mut self, now: Instant) {
        self.thawed = now;
    }
}

/// What a machine says of itself or of a session.
#[derive(Clone, Debug)]
enum Claim {
    /// The up-period of a node has ended.
    Ended(noex_proto::NodeId, u64, String),
    /// The machine's own node stops.
    Stops(String),
}

/// A process that is open, with its owner's state.
#[derive(Clone, Debug)]
struct Owner {
    known: usize,
    slot: usize,
    script: Script,
    batch: VecDeque<MailboxItem>,
    passed: usize,
    has_turn: bool,
    /// Names that it has claimed anew since it took its batch.
    renewed: BTreeSet<ProcessName>,
    /// Calls of its batch that are over.
    over: BTreeSet<RequestId>,
    /// Monitors that were removed, whose notice may be in its batch.
    removed: BTreeSet<MonitorId>,
    /// Calls that it has and has not answered, by the number of the message.
    held: BTreeMap<RequestId, usize>,
}

/// Something that an application does later.
#[derive(Clone, Debug)]
pub(super) struct Job {
    host: HostId,
    /// The process of the operating system that it belongs to.
    process: u32,
    task: Task,
}

#[derive(Clone, Debug)]
enum Task {
    Answer(u64, RequestId),
    Cancel(CallId),
    ClaimReturns(ClaimId),
    Demonitor(Option<u64>, MonitorId),
    DropClaim(ClaimId),
    Open(usize),
    Turn(u64),
}

impl World {
    // Processes

    /// Which processes each node on a host opens when it starts.
    pub(crate) fn set_scripts(&mut self, host: HostId, scripts: &[Script]) {
        self.scripts.insert(host, scripts.to_vec());
    }

    /// The node on a host runs: its processes are opened.
    pub(super) fn open_scripts(&mut self, host: HostId) {
        for slot in 0..self.scripts.get(&host).map_or(0, Vec::len) {
            self.open_script(host, slot);
        }
        if self.scripts.get(&host).is_some_and(|scripts| !scripts.is_empty()) && !self.is_withheld("input Process") {
            self.watch_names(host);
        }
    }

    fn open_script(&mut self, host: HostId, slot: usize) {
        let Some(script) = self.scripts.get(&host).and_then(|scripts| scripts.get(slot)).copied() else { return };
        let at = &mut self.hosts[host];
        let there = at.scripts.owner_at(slot).is_some();
        if there || at.monitor.status != ClusterStatus::Running || self.is_withheld("input Process") {
            return;
        }
        let at = &mut self.hosts[host];
        let now = at.local(self.now);
        let Ok(id) = at.machine.open(now, PROTOCOL) else {
            self.coverage.note("process: not opened");
            return self.settle(host);
        };
        let named = at.machine.register(now, id.number(), &name(slot));
        let (number, origin) = (id.number(), at.origin);
        self.line(Some(host), &format!("opens {id}"));
        let known = self.ledger.opened(host, origin, id, slot, script, self.hosts[host].since);
        let owner = Owner {
            known,
            slot,
            script,
            batch: VecDeque::new(),
            passed: 0,
            has_turn: false,
            renewed: BTreeSet::new(),
            over: BTreeSet::new(),
            removed: BTreeSet::new(),
            held: BTreeMap::new(),
        };
        self.hosts[host].scripts.owners.insert(number, owner);
        if let Err(error) = named {
            self.violate(Some(host), Invariant::HandledAsSaid, format!("a name that is free is not given: {error}"));
        }
        self.settle(host);
    }

    /// A process on a host ends, and is opened again in its place after some time.
    fn end_script(&mut self, host: HostId, number: u64, reason: ExitReason, again: Duration) {
        let Some(owner) = self.hosts[host].scripts.owners.get(&number) else { return };
        let (known, passed, slot) = (owner.known, owner.passed, owner.slot);
        self.last_words(host, known);
        self.script_ended(host, number, Some(reason.clone()));
        let at = &mut self.hosts[host];
        let now = at.local(self.now);
        at.machine.exit(now, number, reason, passed);
        self.settle(host);
        self.later(host, again, Task::Open(slot));
    }

    /// What is known of a process that has ended.
    fn script_ended(&mut self, host: HostId, number: u64, reason: Option<ExitReason>) {
        let at = &mut self.hosts[host];
        let Some(owner) = at.scripts.owners.remove(&number) else { return };
        at.scripts.names.process_ended(number);
        let text = format!("process {number} ends: {}", reason.as_ref().map(ToString::to_string).unwrap_or_default());
        // Of what it has looked at the machine tells that it is over.
        for item in &owner.batch {
            if let MailboxItem::Call { request, .. } = item {
                at.scripts.requests.remove(request);
            }
        }
        for watch in at.scripts.monitors.values() {
            let watch = &mut self.ledger.monitors[*watch];
            if watch.watcher == Some(owner.known) {
                watch.is_set = false;
            }
        }
        let monitors = &self.ledger.monitors;
        at.scripts.monitors.retain(|_, watch| monitors[*watch].is_set);
        let (own, up) = (self.ledger.processes[owner.known].id.node().clone(), &at.monitor.up);
        let period = |node: &noex_proto::NodeId| if *node == own { Some(OWN) } else { up.get(node).map(|up| up.period) };
        self.ledger.ended(owner.known, self.now, reason, period);
        self.line(Some(host), &text);
    }

    // Turns

    fn later(&mut self, host: HostId, after: Duration, task: Task) {
        let job = u32::try_from(self.jobs.len()).unwrap_or(u32::MAX);
        self.jobs.push(Job { host, process: self.hosts[host].process, task });
        let at = self.now + u64::try_from(after.as_nanos()).unwrap_or(u64::MAX / 4);
        self.queue.push(at, Happening::Job(job));
    }

    /// The owner of a mailbox is awake, soon.
    fn wake_owner(&mut self, host: HostId, number: u64) {
        if let Some(owner) = self.hosts[host].scripts.owners.get_mut(&number)
            && !std::mem::replace(&mut owner.has_turn, true)
        {
            let soon = if self.script_random.permille(800) { 0 } else { self.script_random.below(3_000_000) };
            self.later(host, Duration::from_nanos(soon), Task::Turn(number));
        }
    }

    /// An application does what it meant to do now.
    pub(super) fn job(&mut self, place: u32) {
        let Job { host, process, task } = self.jobs[place as usize].clone();
        let at = &mut self.hosts[host];
        if at.process != process || !at.alive || self.violation.is_some() {
            return;
        }
        if at.frozen {
            return at.waiting.push_back(Waiting::Job(place));
        }
        match task {
            Task::Answer(number, request) => self.answer(host, number, request),
            Task::Cancel(call) => self.cancel_call(host, call),
            Task::ClaimReturns(claim) => self.claim_returns(host, claim),
            Task::Demonitor(watcher, monitor) => self.demonitor(host, watcher, monitor),
            Task::DropClaim(claim) => self.drop_claim(host, claim),
            Task::Open(slot) => self.open_script(host, slot),
            Task::Turn(number) => self.turn(host, number),
        }
    }

    /// A process looks at what it has, and takes a batch where it has nothing.
    fn turn(&mut self, host: HostId, number: u64) {
        let Some(owner) = self.hosts[host].scripts.owners.get_mut(&number) else { return };
        owner.has_turn = false;
        if owner.batch.is_empty() && !self.take(host, number) {
            return;
        }
        while let Some(owner) = self.hosts[host].scripts.owners.get_mut(&number)
            && let Some(item) = owner.batch.pop_front()
        {
            owner.passed += 1;
            if let Some(busy) = self.look_at(host, number, item) {
                if let Some(owner) = self.hosts[host].scripts.owners.get_mut(&number) {
                    owner.has_turn = true;
                    self.later(host, busy, Task::Turn(number));
                }
                return;
            }
            if self.violation.is_some() {
                return;
            }
        }
        if let Some(owner) = self.hosts[host].scripts.owners.get_mut(&number) {
            owner.has_turn = true;
            self.later(host, Duration::ZERO, Task::Turn(number));
        }
    }

    /// Takes a batch. Whether there is anything in it.
    fn take(&mut self, host: HostId, number: u64) -> bool {
        let most = self.script_random.pick(&[1, 3, 64]);
        let at = &mut self.hosts[host];
        let now = at.local(self.now);
        #[cfg_attr(not(test), expect(unused_mut, reason = "a test changes them"))]
        let mut items = at.machine.take(now, number, most);
        #[cfg(test)]
        if let Some(bend) = self.bend.items {
            bend(&mut items);
        }
        let mut expired = None;
        let Some(owner) = at.scripts.owners.get_mut(&number) else { return false };
        owner.passed = 0;
        owner.renewed.clear();
        owner.over.clear();
        owner.removed.clear();
        for item in &items {
            if let MailboxItem::Call { request, deadline, .. } = item {
                at.scripts.requests.insert(*request, number);
                if *deadline <= now {
                    expired = Some((*request, *deadline));
                }
            }
        }
        owner.batch = items.into();
        let found = !owner.batch.is_empty();
        if let Some((request, deadline)) = expired {
            let detail = format!("{request:?} is taken at {now}, after its deadline at {deadline}");
            self.violate(Some(host), Invariant::HandledAsSaid, detail);
        }
        self.settle(host);
        found
    }

    // What a machine asks for

    pub(super) fn process_action(&mut self, host: HostId, action: ProcessAction) {
        self.hosts[host].scripts.touched = true;
        match action {
            ProcessAction::AnswerRoom(request) => {
                if let Some(number) = self.hosts[host].scripts.requests.get(&request) {
                    let number = *number;
                    self.later(host, Duration::ZERO, Task::Answer(number, request));
                }
            }
            ProcessAction::CallEnded { call, outcome } => self.call_ended(host, call, outcome),
            ProcessAction::NamesSynced => {}
            ProcessAction::ClaimEnded { claim, outcome } => self.claim_ended(host, claim, outcome),
            ProcessAction::NameChanged(name) => self.name_changed(host, &name),
            ProcessAction::Ended(number) => {
                self.coverage.note("process: ended by the machine");
                self.script_ended(host, number, Some(ExitReason::Shutdown));
            }
            ProcessAction::Mailbox(number) => self.wake_owner(host, number),
            ProcessAction::MonitorFired { monitor, reason } => self.fired(host, monitor, &reason),
            ProcessAction::RequestOver(request) => {
                let Some(number) = self.hosts[host].scripts.requests.remove(&request) else {
                    let detail = format!("{request:?} is over, and was never handed out");
                    return self.violate(Some(host), Invariant::HandledAsSaid, detail);
                };
                self.coverage.note("process: a call over before its answer");
                if let Some(owner) = self.hosts[host].scripts.owners.get_mut(&number)
                    && !owner.held.contains_key(&request)
                {
                    owner.over.insert(request);
                }
            }
            ProcessAction::Stopping(number) => {
                if let Some(owner) = self.hosts[host].scripts.owners.get_mut(&number) {
                    owner.batch.clear();
                }
                self.wake_owner(host, number);
            }
        }
    }

    /// A call has its outcome.
    fn call_ended(&mut self, host: HostId, id: CallId, outcome: Result<Bytes, CallError>) {
        let text = match &outcome {
            Ok(body) => format!("{} bytes", body.len()),
            Err(error) => error.to_string(),
        };
        self.trace.mix_bytes(text.as_bytes());
        let Some(serial) = self.hosts[host].scripts.calls.remove(&id) else {
            let detail = format!("{id:?} is over, which was over before, or cancelled: {text}");
            return self.violate(Some(host), Invariant::CallsEndOnce, detail);
        };
        self.line(Some(host), &format!("call {serial} ends: {text}"));
        let check = self.check_outcome(host, serial, &outcome);
        self.judge(host, check);
        let Some(call) = self.ledger.call_mut(serial) else { return };
        call.state = match outcome {
            Ok(_) => State::Answered,
            Err(error) => State::Failed(error),
        };
        if let Some((number, request)) = self.hosts[host].scripts.backs.remove(&serial) {
            self.later(host, Duration::ZERO, Task::Answer(number, request));
        }
    }

    /// A monitor has fired, as a task or the owner of a mailbox hears.
    fn fired(&mut self, host: HostId, monitor: MonitorId, reason: &ExitReason) {
        self.trace.mix_bytes(reason.to_string().as_bytes());
        let Some(watch) = self.hosts[host].scripts.monitors.remove(&monitor) else {
            let detail = format!("{monitor:?} fires, which has fired before, or was removed: {reason}");
            return self.violate(Some(host), Invariant::MonitorsFireOnce, detail);
        };
        let of = &self.ledger.monitors[watch];
        self.coverage.note(match reason {
            ExitReason::NoConnection => "monitor: no connection",
            ExitReason::NoProcess => "monitor: no process",
            _ => "monitor: a process ended",
        });
        if *reason == ExitReason::NoConnection && of.epoch.1 != 0 {
            let claim = Claim::Ended(of.node.clone(), of.epoch.1, format!("monitor {watch} says that there is no connection"));
            self.hosts[host].scripts.claims.push(claim);
        }
        let missing = self.may_be_missing(host, &of.to);
        let process = if let Target::Process(process) = of.to { Some(process) } else { None };
        self.line(Some(host), &format!("monitor {watch} fires: {reason}"));
        let check = self.ledger.fired(watch, reason, missing);
        self.judge(host, check);
        // Of one that was not there nothing is known.
        if let Some(process) = process.filter(|_| *reason != ExitReason::NoProcess) {
            self.check_names_of(host, process);
        }
    }

    /// Whether the node of a process runs, and does not stop.
    fn takes_messages(&self, to: &Target) -> bool {
        let Target::Process(process) = to else { return true };
        let process = &self.ledger.processes[*process];
        let at = &self.hosts[process.host];
        at.origin == process.origin && at.alive && at.monitor.status == ClusterStatus::Running
    }
}

/// The name of the process in a place.
fn name(slot: usize) -> ProcessName {
    ProcessName::new(&format!("s{slot}")).expect("a short name")
}

fn nanos(at: Instant) -> u64 {
    u64::try_from(at.since_start().as_nanos()).unwrap_or(u64::MAX / 4000)
}

/// A body of so many bytes, and at least of those that say what it is.
fn body(serial: u64, known: u64, size: usize) -> Bytes {
    let mut bytes = [serial.to_be_bytes(), known.to_be_bytes()].concat();
    bytes.resize(size.max(bytes.len()), serial.to_be_bytes()[7]);
    bytes.into()
}

fn serial(body: &[u8]) -> Option<usize> {
    usize::try_from(u64::from_be_bytes(*body.first_chunk()?)).ok()
}
