//! What an application does with processes, made of small numbers, whether it makes sense or not.

use std::collections::VecDeque;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use noex_proto::{
    CallId, Destination, ExitReason, Instant, Machine, MailboxItem, MonitorId, NodeId, ProcessId, ProcessName, ProtocolHash,
    RequestFailure, RequestId,
};

use crate::signal::{Signal, To};

/// The protocol of all processes.
pub(crate) const PROTOCOL: u64 = 0x0102_0304_0506_0708;

/// Their local names.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "nobody"];

/// So many of the latest of each kind are remembered.
const REMEMBERED: usize = 8;

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) enum Do {
    Answer { deliver: bool, request: u8, size: u16 },
    Call { left: u16, node: u8, size: u16, to: u8 },
    Cancel(u8),
    Cast { node: u8, size: u16, to: u8 },
    CastNotUnderstood(u8),
    Demonitor { monitor: u8, watcher: Option<u8> },
    Exit { passed: u8, process: u8, reason: u8 },
    Fail { dropped: bool, request: u8 },
    Monitor { node: u8, to: u8, watcher: Option<u8> },
    Open,
    Register { name: u8, process: u8 },
    RequestStop { node: u8, to: u8 },
    Take { most: u8, process: u8 },
    Unregister(u8),
}

/// What an application has heard of, over or not.
#[derive(Debug, Default)]
pub(crate) struct Known {
    calls: VecDeque<CallId>,
    monitors: VecDeque<(MonitorId, Option<u64>)>,
    processes: VecDeque<ProcessId>,
    requests: VecDeque<RequestId>,
}

fn remember<T>(known: &mut VecDeque<T>, one: T) {
    known.push_back(one);
    if known.len() > REMEMBERED {
        known.pop_front();
    }
}

fn pick<T: Clone>(known: &VecDeque<T>, number: u8) -> Option<T> {
    known.get(usize::from(number) % known.len().max(1)).cloned()
}

fn name(number: u8) -> ProcessName {
    ProcessName::new(NAMES[usize::from(number) % NAMES.len()]).expect("valid")
}

fn body(size: u16) -> Bytes {
    Bytes::from(vec![7; usize::from(size)])
}

impl Known {
    fn process(&self, number: u8) -> u64 {
        pick(&self.processes, number).map_or(u64::from(number), |process| process.number())
    }

    /// A process of a node, by its local name or, where it is one of the application's own, by itself.
    fn destination(&self, node: NodeId, to: u8) -> Destination {
        match pick(&self.processes, to / 4) {
            Some(process) if to.is_multiple_of(4) => Destination::Process(process),
            _ => Destination::Named { node, name: name(to) },
        }
    }

    /// Does something; `node` says which node a number means.
    pub(crate) fn act(&mut self, machine: &mut Machine, now: Instant, what: Do, node: impl Fn(u8) -> NodeId) {
        let protocol = ProtocolHash(PROTOCOL.to_be_bytes());
        match what {
            Do::Answer { deliver, request, size } => {
                if let Some(request) = pick(&self.requests, request) {
                    let _over = machine.answer(now, request, body(size), deliver);
                }
            }
            Do::Call { left, node: of, size, to } => {
                let deadline = now + Duration::from_millis(left.into());
                if let Ok(call) = machine.call(now, &self.destination(node(of), to), protocol, body(size), deadline) {
                    remember(&mut self.calls, call);
                }
            }
            Do::Cancel(call) => {
                if let Some(call) = pick(&self.calls, call) {
                    machine.cancel(now, call);
                }
            }
            Do::Cast { node: of, size, to } => {
                let _refused = machine.cast(now, &self.destination(node(of), to), protocol, body(size));
            }
            Do::CastNotUnderstood(process) => machine.cast_not_understood(now, self.process(process), "no".into()),
            Do::Demonitor { monitor, watcher } => {
                if let Some((monitor, set_by)) = pick(&self.monitors, monitor) {
                    // Now and then, another one than has set it.
                    let watcher = watcher.map_or(set_by, |watcher| Some(self.process(watcher)));
                    machine.demonitor(now, watcher, monitor);
                }
            }
            Do::Exit { passed, process, reason } => {
                let reasons =
                    [ExitReason::Normal, ExitReason::Shutdown, ExitReason::NoProcess, ExitReason::error("x".repeat(300))];
                let reason = reasons[usize::from(reason) % reasons.len()].clone();
                machine.exit(now, self.process(process), reason, passed.into());
            }
            Do::Fail { dropped, request } => {
                let failure =
                    if dropped { RequestFailure::Dropped } else { RequestFailure::NotUnderstood("ü".repeat(200).into()) };
                if let Some(request) = pick(&self.requests, request) {
                    machine.fail(now, request, failure);
                }
            }
            Do::Monitor { node: of, to, watcher } => {
                let watcher = watcher.map(|watcher| self.process(watcher));
                if let Ok(monitor) = machine.monitor(now, watcher, &self.destination(node(of), to)) {
                    remember(&mut self.monitors, (monitor, watcher));
                }
            }
            Do::Open => {
                if let Ok(process) = machine.open(now, protocol) {
                    remember(&mut self.processes, process);
                }
            }
            Do::Register { name: number, process } => {
                let _refused = machine.register(now, self.process(process), &name(number));
            }
            Do::RequestStop { node: of, to } => {
                let _refused = machine.request_stop(now, &self.destination(node(of), to), ExitReason::Shutdown);
            }
            Do::Take { most, process } => {
                for item in machine.take(now, self.process(process), most.into()) {
                    if let MailboxItem::Call { request, .. } = item {
                        remember(&mut self.requests, request);
                    }
                }
            }
            Do::Unregister(number) => machine.unregister(now, &name(number)),
        }
    }
}

/// A signal of a peer that says anything.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Saying {
    code: u8,
    kind: u8,
    number: u8,
    size: u8,
    to: u8,
}

impl Saying {
    pub(crate) fn signal(self) -> Signal {
        // Few numbers, so that they meet.
        let number = u64::from(self.number >> 4) << 16 | u64::from(self.number % 8);
        let body = vec![5; usize::from(self.size) * 16];
        let to = if self.to < 128 { To::Number((self.to % 16).into()) } else { To::Name(NAMES[usize::from(self.to) % 3].into()) };
        let protocol = if self.code == 255 { 0 } else { PROTOCOL };
        let text = |tells: bool| if tells { "why".into() } else { String::new() };
        match self.kind % 9 {
            0 => Signal::Cast { to, protocol, body },
            1 => Signal::Call { number, to, protocol, left: u64::from(self.code) * 40, body },
            2 => Signal::Answer { number, body },
            3 => Signal::Failure { number, code: (self.code % 10).into(), text: text(matches!(self.code % 10, 3 | 8)) },
            4 => Signal::Cancel { number },
            5 => Signal::Monitor { number, to },
            6 => Signal::Demonitor { number },
            7 => Signal::Down { number, reason: (self.code % 5).into(), text: text(self.code % 5 == 2) },
            _ => Signal::Stop { to, reason: (self.code % 4).into(), text: text(self.code % 4 == 2) },
        }
    }
}
