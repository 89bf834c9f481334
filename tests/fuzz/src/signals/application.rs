//! The application of the machine under attack: processes that follow scripts, calls and monitors, and what each of them may hear.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use arbitrary::Arbitrary;
use bytes::Bytes;
use noex_proto::{CallError, CallId, Destination, ExitReason, MailboxItem, MonitorId, ProcessAction, ProcessId, RequestId};

/// What a process does with what it takes.
#[derive(Arbitrary, Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Script {
    /// It takes nothing by itself.
    Deaf,
    /// It drops each call.
    Drops,
    /// It answers each call by what it said.
    Echo,
    /// It ends at the first message.
    Ends,
    /// It keeps each call, until something is done with it.
    Keeps,
    /// It understands nothing.
    Puzzled,
}

/// What a process does next.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    Answer(RequestId, Bytes),
    Drop(RequestId),
    End(ExitReason),
    NotUnderstood(RequestId),
}

#[derive(Debug)]
struct Process {
    id: ProcessId,
    script: Script,
    /// What was said to it and may still come, in order.
    said: VecDeque<Vec<u8>>,
    /// What its last batch costs, which counts until the next.
    batch: usize,
    /// The calls that it has.
    requests: BTreeSet<RequestId>,
}

/// What a message costs in a mailbox.
fn cost(body: &[u8]) -> usize {
    body.len() + 64
}

#[derive(Debug, Default)]
pub(crate) struct Application {
    processes: BTreeMap<u64, Process>,
    /// The calls that are open.
    calls: BTreeMap<CallId, Destination>,
    /// The monitors whose word is still to come, each with the process that has set it, or none where a task has.
    monitors: BTreeMap<MonitorId, (Option<u64>, Destination)>,
    /// How many calls and monitors it has begun.
    begun: u64,
    /// Processes with something in their mailboxes, or that are to end.
    pub(crate) woken: BTreeSet<u64>,
}

impl Application {
    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }

    pub(crate) fn opened(&mut self, id: ProcessId, script: Script) {
        let process = Process { id, script, said: VecDeque::new(), batch: 0, requests: BTreeSet::new() };
        let before = self.processes.insert(process.id.number(), process);
        assert!(before.is_none(), "a number of a process is given twice");
    }

    /// The numbers of the processes.
    pub(crate) fn processes(&self) -> impl Iterator<Item = u64> {
        self.processes.keys().copied()
    }

    pub(crate) fn id(&self, process: u64) -> Option<&ProcessId> {
        self.processes.get(&process).map(|process| &process.id)
    }

    pub(crate) fn script(&self, process: u64) -> Option<Script> {
        self.processes.get(&process).map(|process| process.script)
    }

    /// A call that a process has.
    pub(crate) fn request(&self, process: u64, number: u8) -> Option<RequestId> {
        let requests = &self.processes.get(&process)?.requests;
        requests.iter().nth(usize::from(number) % requests.len().max(1)).copied()
    }

    pub(crate) fn call(&self, number: u8) -> Option<CallId> {
        self.calls.keys().nth(usize::from(number)).copied()
    }

    pub(crate) fn monitor(&self, number: u8) -> Option<(MonitorId, Option<u64>)> {
        self.monitors.iter().nth(usize::from(number)).map(|(monitor, (watcher, _))| (*monitor, *watcher))
    }

    /// Something is said to a process, which may hear it or not.
    pub(crate) fn said(&mut self, process: u64, body: Vec<u8>) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.said.push_back(body);
        }
    }

    pub(crate) fn called(&mut self, call: CallId, to: Destination) {
        self.begun += 1;
        assert_eq!(self.calls.insert(call, to), None, "a call is numbered twice");
    }

    pub(crate) fn cancelled(&mut self, call: CallId) {
        self.calls.remove(&call);
    }

    pub(crate) fn monitored(&mut self, monitor: MonitorId, watcher: Option<u64>, to: Destination) {
        self.begun += 1;
        assert_eq!(self.monitors.insert(monitor, (watcher, to)), None, "a monitor is numbered twice");
    }

    pub(crate) fn demonitored(&mut self, monitor: MonitorId) {
        self.monitors.remove(&monitor);
    }

    pub(crate) fn answered(&mut self, process: u64, request: RequestId) {
        if let Some(process) = self.processes.get_mut(&process) {
            process.requests.remove(&request);
        }
    }

    pub(crate) fn ended(&mut self, process: u64) {
        self.processes.remove(&process);
        self.woken.remove(&process);
        // A process that is no more hears of nothing.
        self.monitors.retain(|_, (watcher, _)| *watcher != Some(process));
    }

    pub(crate) fn notice(&mut self, action: ProcessAction) {
        match action {
            // Whoever waits for it tries again when it likes.
            ProcessAction::AnswerRoom(_) => {}
            ProcessAction::CallEnded { call, outcome } => {
                let to = self.calls.remove(&call).expect("a call ends once");
                assert!(
                    !matches!(outcome, Err(CallError::NotStarted(_) | CallError::TooLarge { .. })),
                    "{to}: {outcome:?} is late"
                );
            }
            ProcessAction::NamesSynced => {}
            ProcessAction::ClaimEnded { .. } | ProcessAction::NameChanged(_) => unreachable!("nobody claims or watches a name"),
            ProcessAction::Ended(process) => self.ended(process),
            ProcessAction::Mailbox(process) | ProcessAction::Stopping(process) => {
                assert!(self.processes.contains_key(&process), "what is woken is no more");
                self.woken.insert(process);
            }
            ProcessAction::MonitorFired { monitor, .. } => {
                let watcher = self.monitors.remove(&monitor).map(|(watcher, _)| watcher);
                assert_eq!(watcher, Some(None), "a monitor of a task fires once");
            }
            ProcessAction::RequestOver(request) => {
                let had = self.processes.values_mut().any(|process| process.requests.remove(&request));
                assert!(had, "a call is over that no process has");
            }
        }
    }

    /// A process has taken a batch.
    pub(crate) fn took(&mut self, process: u64, items: &[MailboxItem]) {
        let cost = |item: &MailboxItem| match item {
            MailboxItem::Call { body, .. } | MailboxItem::Cast { body } => cost(body),
            _ => 0,
        };
        if let Some(process) = self.processes.get_mut(&process) {
            process.batch = items.iter().map(cost).sum();
        }
    }

    /// What the mailboxes hold at most.
    pub(crate) fn held(&self) -> usize {
        let held = |process: &Process| process.said.iter().map(|body| cost(body)).sum::<usize>() + process.batch;
        self.processes.values().map(held).sum()
    }

    /// A process takes an item: what it does then.
    pub(crate) fn takes(&mut self, number: u64, item: MailboxItem) -> Option<Deed> {
        let process = self.processes.get_mut(&number).expect("it took something");
        let mut hear = |body: &Bytes| {
            let place = process.said.iter().position(|said| *said == **body);
            let place = place.unwrap_or_else(|| panic!("{body:02x?} was not said, or comes out of its order"));
            process.said.drain(..=place);
        };
        match item {
            MailboxItem::Cast { body } => {
                hear(&body);
                (process.script == Script::Ends).then_some(Deed::End(ExitReason::Normal))
            }
            MailboxItem::Call { body, request, .. } => {
                hear(&body);
                assert!(process.requests.insert(request), "a call is handed out twice");
                match process.script {
                    Script::Deaf | Script::Keeps => None,
                    Script::Drops => Some(Deed::Drop(request)),
                    Script::Echo => Some(Deed::Answer(request, body)),
                    Script::Ends => Some(Deed::End(ExitReason::error("ended by a call"))),
                    Script::Puzzled => Some(Deed::NotUnderstood(request)),
                }
            }
            MailboxItem::Down { monitor, .. } => {
                let watcher = self.monitors.remove(&monitor).map(|(watcher, _)| watcher);
                assert_eq!(watcher, Some(Some(number)), "a monitor of a process fires once, for it");
                None
            }
            MailboxItem::Overrun { missed } => {
                assert!(missed > 0);
                None
            }
            MailboxItem::Stop(reason) => Some(Deed::End(reason)),
            item => unreachable!("{item:?}"),
        }
    }

    /// Whether a call to that node is open, or a monitor there whose word is still to come and not in a mailbox.
    pub(crate) fn waits_for(&self, node: &noex_proto::NodeId) -> bool {
        let calls = self.calls.values().any(|to| to.node() == node);
        calls || self.monitors.values().any(|(watcher, to)| watcher.is_none() && to.node() == node)
    }

    /// Nothing is open any more.
    pub(crate) fn assert_nothing_is_open(&self) {
        assert!(self.processes.is_empty(), "{:?} are left", self.processes.keys());
        assert!(self.calls.is_empty(), "{:?} are open", self.calls);
        assert!(self.monitors.is_empty(), "{:?} are open", self.monitors);
    }
}
