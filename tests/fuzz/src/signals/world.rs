//! The machine under attack, its application, and the two members.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use noex_proto::{
    Action, ClusterError, ClusterEvent, ClusterStatus, ConnId, Destination, ExitReason, Input, Instant, NodeId, PeerFault,
    ProcessName, ProtocolHash, RequestFailure,
};

use super::Whom;
use super::application::{Application, Deed, Script};
use super::say::{self, NAMES};
use super::talk::{Talk, Verdict};
use crate::driven::Driven;
use crate::member::{HARM, HONEST, Line, MEMBERS, Members, id};
use crate::peer::{Announcement, body, kind, message};
use crate::processes::PROTOCOL;
use crate::signal::{Signal, To};
use crate::victim;

/// How long an honest call may take.
const LEFT: u64 = 5000;

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) driven: Driven,
    pub(super) application: Application,
    pub(super) lines: [Option<Line<Talk>>; 2],
    /// How often each member has joined.
    pub(super) joins: [u8; 2],
    /// Whether the member that does harm speaks of processes.
    pub(super) capable: bool,
    /// Nothing is known of the bytes that it says from here on.
    pub(super) garbled: bool,
    /// The fault that the machine last told of.
    pub(super) fault: Option<PeerFault>,
    /// What the honest member is to say, and what it has got.
    pub(super) replies: Vec<Signal>,
    pub(super) answers: BTreeMap<u64, Result<Vec<u8>, u64>>,
    pub(super) unique: u32,
}

pub(super) const fn protocol() -> ProtocolHash {
    ProtocolHash(PROTOCOL.to_be_bytes())
}

impl World {
    // The machine

    /// The actions of a method of the machine.
    pub(super) fn called(&mut self) {
        let actions = self.driven.called();
        self.perform(actions);
    }

    pub(super) fn runs(&self) -> bool {
        self.driven.status() == ClusterStatus::Running
    }

    pub(super) fn perform(&mut self, actions: Vec<Action>) {
        let mut inputs = Vec::new();
        for action in actions {
            match self.perform_on_network(action) {
                Ok(input) => inputs.extend(input),
                Err(Action::Event(ClusterEvent::Error(ClusterError::Peer { fault, .. }))) => self.fault = Some(fault),
                Err(Action::Process(action)) => self.application.notice(action),
                Err(Action::Event(_) | Action::Message | Action::Stopped) => {}
                Err(action) => unreachable!("{action:?} is about the network"),
            }
        }
        for input in inputs {
            self.feed(input);
        }
    }

    /// The honest member hears something: it answers at once, and there is no process at its node.
    pub(super) fn reply(&mut self, signal: Signal) {
        match signal {
            Signal::Call { number, body, .. } => self.replies.push(Signal::Answer { number, body }),
            Signal::Monitor { number, .. } => self.replies.push(Signal::Down { number, reason: 3, text: String::new() }),
            Signal::Answer { number, body } => drop(self.answers.insert(number, Ok(body))),
            Signal::Failure { number, code, .. } => drop(self.answers.insert(number, Err(code))),
            Signal::Cancel { .. }
            | Signal::Cast { .. }
            | Signal::Demonitor { .. }
            | Signal::Down { .. }
            | Signal::Stop { .. } => {}
        }
    }

    // Members

    /// A member makes a connection, and of that a session that is up.
    pub(super) fn join(&mut self, member: usize) {
        if self.lines[member].is_some() || !self.runs() {
            return;
        }
        self.joins[member] = self.joins[member].wrapping_add(1);
        let mut announcement = Announcement::new(MEMBERS[member].0, self.joins[member], self.joins[member]);
        announcement.caps = u64::from(member == HONEST || self.capable);
        self.greet(member, &announcement);
        if member == HARM {
            self.garbled = false;
        }
    }

    /// The member that does harm says these signals, each in one message of a record. A lie ends its session, and nothing else does.
    pub(super) fn say(&mut self, signals: &[Vec<u8>]) {
        self.fault = None;
        let Some(verdicts) = self.judge(signals) else { return };
        let messages: Vec<u8> = signals.iter().flat_map(|signal| message(kind::SIGNAL, signal)).collect();
        self.record(HARM, &messages);
        self.check(&verdicts);
    }

    /// What may come of these signals of the member that does harm, which are noted as said.
    pub(super) fn judge(&mut self, signals: &[Vec<u8>]) -> Option<Vec<Verdict>> {
        let line = self.lines[HARM].as_mut()?;
        line.talk.begin_record();
        let mut verdicts = Vec::new();
        for signal in signals {
            if !self.capable {
                verdicts.push(Verdict::Bad(PeerFault::UnknownMessage));
                break;
            }
            let verdict = line.talk.said(signal, self.now, self.application.begun());
            verdicts.push(verdict);
            if let Verdict::Bad(_) = verdict {
                break;
            }
            if let Some(Signal::Call { to, body, .. } | Signal::Cast { to, body, .. }) = Signal::decode(signal) {
                let named = |name: &str| self.driven.machine.whereis_local(&ProcessName::new(name).ok()?).map(|id| id.number());
                let process = match to {
                    To::Name(name) => named(&name),
                    To::Number(number) => Some(number),
                };
                self.application.said(process.unwrap_or_default(), body);
            }
        }
        Some(verdicts)
    }

    pub(super) fn check(&self, verdicts: &[Verdict]) {
        if self.garbled || !self.runs() {
            return;
        }
        let ended = self.lines[HARM].is_none();
        let bad = |verdict: &Verdict| if let Verdict::Bad(fault) = verdict { Some(*fault) } else { None };
        let doubtful = |verdict: &Verdict| if let Verdict::Doubtful(fault) = verdict { Some(*fault) } else { None };
        if let Some(fault) = verdicts.iter().find_map(bad) {
            assert!(ended, "a lie is borne: {fault}");
        }
        let fits =
            |fault: PeerFault| verdicts.iter().any(|verdict| bad(verdict) == Some(fault) || doubtful(verdict) == Some(fault));
        if ended {
            // Few faults are told of in a second.
            let fits = self.fault.map_or_else(|| verdicts.iter().any(|verdict| *verdict != Verdict::Good), fits);
            assert!(fits, "{:?} is found in what has {verdicts:?}", self.fault);
        }
    }

    // The application

    pub(super) fn open(&mut self, script: Script) -> Option<u64> {
        let room = self.application.processes().count() < victim::limits().processes;
        let opened = self.driven.machine.open(self.now, protocol());
        assert_eq!(opened.is_ok(), room && self.runs(), "{opened:?}");
        self.called();
        let opened = opened.ok()?;
        let number = opened.number();
        self.application.opened(opened, script);
        Some(number)
    }

    pub(super) fn register(&mut self, process: u64, name: &str) {
        let _refused = self.driven.machine.register(self.now, process, &ProcessName::new(name).expect("valid"));
        self.called();
    }

    pub(super) fn process(&self, number: u8) -> Option<u64> {
        let count = self.application.processes().count().max(1);
        self.application.processes().nth(usize::from(number) % count)
    }

    pub(super) fn destination(&self, whom: Whom) -> Destination {
        let named = |node: NodeId, name: &str| Destination::Named { node, name: ProcessName::new(name).expect("valid") };
        match whom {
            Whom::Harm => named(id(HARM), "a"),
            Whom::Honest => named(id(HONEST), "a"),
            Whom::Own(target) => {
                let own = victim::ID.parse().expect("valid");
                match target.to(&self.application) {
                    To::Name(name) => named(own, &name),
                    To::Number(number) => match self.application.id(number) {
                        Some(process) => Destination::Process(process.clone()),
                        None => named(own, NAMES[3]),
                    },
                }
            }
        }
    }

    /// The process of the machine's own that something goes to.
    pub(super) fn own(&self, to: &Destination) -> Option<u64> {
        match to {
            Destination::Process(process) => Some(process.number()),
            Destination::Named { node, name } if node.as_str() == victim::ID => {
                self.driven.machine.whereis_local(name).map(|id| id.number())
            }
            Destination::Named { .. } => None,
        }
    }

    pub(super) fn exit(&mut self, process: u64, reason: ExitReason, passed: usize) {
        self.driven.machine.exit(self.now, process, reason, passed);
        // It hears first which of its calls nobody waits for any more.
        self.called();
        self.application.ended(process);
    }

    /// A process takes a batch, and does with each item what its script says. Whether it has got any.
    pub(super) fn take(&mut self, process: u64, most: usize) -> bool {
        let items = self.driven.machine.take(self.now, process, most);
        self.called();
        self.application.took(process, &items);
        let took = !items.is_empty();
        assert!(items.len() <= most, "{} items", items.len());
        for (place, item) in items.into_iter().enumerate() {
            if let noex_proto::MailboxItem::Call { deadline, .. } = &item {
                assert!(*deadline > self.now, "a call is handed out after its deadline");
            }
            match self.application.takes(process, item) {
                None => {}
                Some(Deed::Answer(request, body)) => self.answer(process, request, body, false),
                Some(Deed::Drop(request)) => self.fail(process, request, RequestFailure::Dropped),
                Some(Deed::NotUnderstood(request)) => {
                    self.fail(process, request, RequestFailure::NotUnderstood("x".repeat(300).into()));
                }
                Some(Deed::End(reason)) => {
                    self.exit(process, reason, place + 1);
                    return false;
                }
            }
        }
        took
    }

    pub(super) fn answer(&mut self, process: u64, request: noex_proto::RequestId, body: Bytes, deliver: bool) {
        let answered = self.driven.machine.answer(self.now, request, body, deliver);
        match answered {
            Ok(()) | Err(noex_proto::AnswerError::Dropped) => self.application.answered(process, request),
            Err(noex_proto::AnswerError::Full) => assert!(deliver, "who does not wait is not told to"),
            Err(error) => panic!("a call that the process has: {error}"),
        }
        self.called();
    }

    pub(super) fn fail(&mut self, process: u64, request: noex_proto::RequestId, failure: RequestFailure) {
        self.driven.machine.fail(self.now, request, failure);
        self.application.answered(process, request);
        self.called();
    }

    // Steps

    /// Until nobody has anything to do: processes that were woken take all there is, and the honest member has said what it owes.
    pub(super) fn settle(&mut self) {
        loop {
            if let Some(reply) = self.replies.pop() {
                let heard = |line: &mut Line<Talk>| {
                    line.talk.begin_record();
                    line.talk.said(&reply.encode(), Instant::START, 0)
                };
                if self.lines[HONEST].as_mut().map(heard).is_some() {
                    self.record(HONEST, &message(kind::SIGNAL, &reply.encode()));
                }
                continue;
            }
            if let Some(process) = self.application.woken.pop_first() {
                if self.application.script(process) != Some(Script::Deaf) {
                    while self.take(process, 3) {}
                }
                continue;
            }
            let echo = ProcessName::new(NAMES[0]).expect("valid");
            if self.runs() && self.driven.machine.whereis_local(&echo).is_none() {
                let room = self.application.processes().count() < victim::limits().processes;
                let last = self.application.processes().last().filter(|_| !room);
                if let Some(last) = last {
                    self.exit(last, ExitReason::Normal, 0);
                }
                let opened = self.open(Script::Echo).expect("there is room");
                self.driven.machine.unregister(self.now, &ProcessName::new(NAMES[1]).expect("valid"));
                self.register(opened, NAMES[0]);
                continue;
            }
            break;
        }
        assert!(!self.runs() || self.lines[HONEST].is_some(), "an honest session ends: {:?}", self.fault);
        for member in [HARM, HONEST] {
            if self.lines[member].is_none() {
                assert!(!self.application.waits_for(&id(member)), "something outlives the session with {}", id(member));
            }
        }
    }

    /// The honest member calls, and is answered.
    pub(super) fn serve(&mut self) {
        let room = victim::limits().mailboxes_bytes;
        let held = self.application.held();
        let Some(line) = &mut self.lines[HONEST] else { return };
        line.talk.begin_record();
        let number = line.talk.free_number();
        let body = say::body(&mut self.unique, 3);
        let to = To::Name(NAMES[0].into());
        let call = Signal::Call { number, to, protocol: PROTOCOL, left: LEFT, body: body.clone() }.encode();
        let verdict = line.talk.said(&call, self.now, 0);
        assert_eq!(verdict, Verdict::Good, "an honest call");
        let echo = self.driven.machine.whereis_local(&ProcessName::new(NAMES[0]).expect("valid"));
        self.application.said(echo.map(|echo| echo.number()).unwrap_or_default(), body.clone());
        self.record(HONEST, &message(kind::SIGNAL, &call));
        self.settle();
        let answer = self.answers.remove(&number);
        let busy = answer == Some(Err(1)) && held + 100 > room;
        assert!(busy || answer == Some(Ok(body)), "the honest member is not served: {answer:?}");
    }

    /// Both members show that they live, and time passes, in steps that the machine looks at.
    pub(super) fn tick(&mut self, millis: u64) {
        const STEP: u64 = 500;
        let steps = (millis / STEP).max(1);
        for _ in 0..steps {
            self.now = self.now + Duration::from_millis(millis / steps);
            for member in [HARM, HONEST] {
                self.record(member, &message(kind::HEARTBEAT, &body::array(&[1, 2, 3], None)));
            }
            self.feed(Input::Tick);
            self.settle();
        }
    }
}

impl Members for World {
    type Talk = Talk;

    fn driven(&mut self) -> &mut Driven {
        &mut self.driven
    }

    fn lines(&mut self) -> &mut [Option<Line<Talk>>; 2] {
        &mut self.lines
    }

    fn feed(&mut self, input: Input) {
        let actions = self.driven.feed(self.now, input);
        self.perform(actions);
    }

    fn transmitted(&mut self, conn: ConnId, data: &[u8]) -> Option<usize> {
        let member = self.lines.iter().position(|line| line.as_ref().is_some_and(|line| line.conn == conn))?;
        let line = self.lines[member].as_mut()?;
        let mut heard = Vec::new();
        line.hear(data, |talk, kind, body| heard.extend(talk.heard(kind, body)));
        if member == HARM && line.has_session() {
            line.waiting += data.len();
            return None;
        }
        if member == HONEST {
            heard.into_iter().for_each(|signal| self.reply(signal));
        }
        Some(data.len())
    }
}
