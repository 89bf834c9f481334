//! Processes of two nodes that talk over a network of queues.

mod calls;
mod casts;
mod hostile;
mod laws;
mod memory;
mod monitors;
mod stops;

use std::boxed::Box;
use std::collections::VecDeque;
use std::string::ToString;
use std::time::Duration;
use std::vec::Vec;

use bytes::Bytes;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

use super::command::{MailboxItem, ProcessAction, ProcessInput};
use super::*;
use crate::wire::signal::Signal;
use crate::{NodeDownReason, PeerFault};

const P: ProtocolHash = ProtocolHash(*b"protocol");
const OTHER: ProtocolHash = ProtocolHash(*b"another ");
const SECOND: Duration = Duration::from_secs(1);

/// A node: its processes, and what they said to the driver.
struct Side {
    processes: Processes,
    host: Host,
    id: NodeId,
    incarnation: Incarnation,
    /// The session with the other node, as this one numbers it.
    peer: ConnId,
    up: bool,
    capable: bool,
}

/// Two nodes, and the signals that are on their way.
struct World {
    now: Instant,
    limits: Limits,
    sides: [Side; 2],
    /// To each side, encoded.
    wires: [VecDeque<Bytes>; 2],
    /// Whether the books are audited after each step.
    audits: bool,
}

/// A run without seeds.
fn begin(id: &NodeId, incarnation: Incarnation) -> Begin<'_> {
    let random = ChaCha12Rng::from_seed(Default::default());
    Begin { id, incarnation, interval: 5 * SECOND, has_seeds: false, now: Instant::START, random }
}

const A: usize = 0;
const B: usize = 1;

impl World {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        let side = |n: u8| {
            let id: NodeId = std::format!("{}@10.0.0.{}:4369", ["a", "b"][usize::from(n)], n + 1).parse().expect("valid");
            let mut processes = Processes::default();
            processes.start(begin(&id, Incarnation([n; 16])));
            Side {
                processes,
                host: Host::default(),
                id,
                incarnation: Incarnation([n; 16]),
                peer: ConnId(7),
                up: false,
                capable: true,
            }
        };
        let mut world = Self { now: Instant::START, limits, sides: [side(0), side(1)], wires: Default::default(), audits: true };
        world.connect();
        world
    }

    fn connect(&mut self) {
        for n in [A, B] {
            let side = &mut self.sides[n];
            side.peer = ConnId(side.peer.0 + 1);
            side.up = true;
        }
    }

    /// The session ends for one side; what was on its way to it is lost.
    fn disconnect_one(&mut self, n: usize) {
        let (peer, other) = (self.sides[n].peer, self.sides[1 - n].id.clone());
        self.sides[n].up = false;
        self.wires[n].clear();
        self.with(n, |processes, cx| processes.down(cx, peer, &other, NodeDownReason::ConnectionClosed));
    }

    fn disconnect(&mut self) {
        self.disconnect_one(A);
        self.disconnect_one(B);
    }

    fn with<T>(&mut self, n: usize, work: impl FnOnce(&mut Processes, &mut Cx<'_>) -> T) -> T {
        let (id, incarnation) = (self.sides[1 - n].id.clone(), self.sides[1 - n].incarnation);
        let Side { processes, host, peer, up, capable, .. } = &mut self.sides[n];
        let other = Up { peer: *peer, incarnation, capable: *capable };
        let find = |node: &NodeId| (*up && *node == id).then_some(other);
        let done = work(processes, &mut Cx { host, limits: &self.limits, now: self.now, find: &find });
        if self.audits {
            processes.audit();
        }
        done
    }

    fn command(&mut self, n: usize, input: ProcessInput) -> Done {
        self.with(n, |processes, cx| processes.command(cx, input))
    }

    /// Everything that a node has to say leaves it.
    fn release(&mut self, n: usize) {
        while self.release_one(n) {}
    }

    fn release_one(&mut self, n: usize) -> bool {
        let peer = self.sides[n].peer;
        let Some(signal) = self.with(n, |processes, cx| processes.release(cx, peer)) else { return false };
        let mut bytes = Vec::new();
        signal.encode_head(&mut bytes);
        bytes.extend_from_slice(&signal.into_body());
        self.wires[1 - n].push_back(bytes.into());
        true
    }

    /// Everything that is on its way to a node arrives.
    fn deliver(&mut self, n: usize) {
        while let Some(bytes) = self.wires[n].pop_front() {
            assert_eq!(self.receive(n, &bytes), Ok(()), "a fault of an honest peer: {:?}", Signal::decode(&bytes));
        }
    }

    fn receive(&mut self, n: usize, bytes: &Bytes) -> Result<(), PeerFault> {
        let (peer, now) = (self.sides[n].peer, self.now);
        self.with(n, |processes, cx| processes.received(cx, peer, bytes, now))
    }

    /// A signal that an honest peer would not have sent.
    fn forge(&mut self, n: usize, signal: &Signal) -> Result<(), PeerFault> {
        let mut bytes = Vec::new();
        signal.encode_head(&mut bytes);
        bytes.extend_from_slice(&signal.clone().into_body());
        self.receive(n, &bytes.into())
    }

    /// Both nodes say and hear all there is.
    fn settle(&mut self) {
        for _ in 0..10 {
            self.release(A);
            self.release(B);
            self.deliver(A);
            self.deliver(B);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for n in [A, B] {
            self.with(n, Processes::tick);
        }
    }

    /// What the driver of a node was told since it was last asked.
    fn actions(&mut self, n: usize) -> Vec<ProcessAction> {
        let actions = self.sides[n].host.actions.drain(..);
        actions.filter_map(|action| if let Action::Process(action) = action { Some(action) } else { None }).collect()
    }

    /// The outcomes of calls since it was last asked.
    fn outcomes(&mut self, n: usize) -> Vec<Result<Bytes, CallError>> {
        let ended = |action| if let ProcessAction::CallEnded { outcome, .. } = action { Some(outcome) } else { None };
        self.actions(n).into_iter().filter_map(ended).collect()
    }

    // The application

    fn open(&mut self, n: usize) -> ProcessId {
        match self.command(n, ProcessInput::Open { protocol: P }) {
            Done::Opened(opened) => opened.expect("a process can be opened"),
            done => unreachable!("{done:?}"),
        }
    }

    fn call(&mut self, n: usize, to: &ProcessId, body: &'static [u8]) -> CallId {
        self.try_call(n, &Destination::Process(to.clone()), body).expect("the call can begin")
    }

    fn try_call(&mut self, n: usize, to: &Destination, body: &'static [u8]) -> Result<CallId, CallError> {
        let (to, deadline) = (Box::new(to.clone()), self.now + 5 * SECOND);
        match self.command(n, ProcessInput::Call { body: Bytes::from_static(body), deadline, protocol: P, to }) {
            Done::Called(called) => called,
            done => unreachable!("{done:?}"),
        }
    }

    fn cast(&mut self, n: usize, to: &ProcessId, body: impl Into<Bytes>) -> Result<(), CastError> {
        let to = Box::new(Destination::Process(to.clone()));
        match self.command(n, ProcessInput::Cast { body: body.into(), protocol: P, to }) {
            Done::Cast(cast) => cast,
            done => unreachable!("{done:?}"),
        }
    }

    fn take(&mut self, process: &ProcessId) -> Vec<MailboxItem> {
        match self.command(self.side_of(process), ProcessInput::Take { process: process.number(), most: 64 }) {
            Done::Taken(items) => items,
            done => unreachable!("{done:?}"),
        }
    }

    /// The calls that a process takes.
    fn requests(&mut self, process: &ProcessId) -> Vec<RequestId> {
        let request = |item| if let MailboxItem::Call { request, .. } = item { Some(request) } else { None };
        self.take(process).into_iter().filter_map(request).collect()
    }

    fn answer(&mut self, n: usize, request: RequestId, body: &'static [u8]) -> Result<(), AnswerError> {
        self.answer_with(n, request, Bytes::from_static(body), false)
    }

    fn answer_with(&mut self, n: usize, request: RequestId, body: Bytes, or_wait: bool) -> Result<(), AnswerError> {
        match self.command(n, ProcessInput::Answer { body, or_wait, request }) {
            Done::Answered(answered) => answered,
            done => unreachable!("{done:?}"),
        }
    }

    fn exit(&mut self, process: &ProcessId, reason: ExitReason, passed: usize) {
        let number = process.number();
        self.command(self.side_of(process), ProcessInput::Exit { process: number, passed, reason });
    }

    fn try_monitor(&mut self, n: usize, watcher: Option<&ProcessId>, to: &Destination) -> Result<MonitorId, MonitorError> {
        let watcher = watcher.map(ProcessId::number);
        match self.command(n, ProcessInput::Monitor { to: Box::new(to.clone()), watcher }) {
            Done::Monitored(monitored) => monitored,
            done => unreachable!("{done:?}"),
        }
    }

    fn monitor(&mut self, n: usize, watcher: Option<&ProcessId>, to: &ProcessId) -> MonitorId {
        self.try_monitor(n, watcher, &Destination::Process(to.clone())).expect("the monitor can be set")
    }

    fn side_of(&self, process: &ProcessId) -> usize {
        usize::from(*process.node() == self.sides[B].id)
    }

    /// Nothing is left of anything but of the processes themselves.
    fn assert_nothing_is_open(&self) {
        for side in &self.sides {
            for (_, row) in side.processes.peers.iter() {
                let open = (row.calls.len(), row.requests.len(), row.monitors.len(), row.watched.len(), row.outbox.is_empty());
                assert_eq!(open, (0, 0, 0, 0, true), "what is open at {}", side.id);
            }
            assert_eq!(side.processes.deadlines.next().map(|next| next.to_string()), None, "deadlines");
        }
    }
}
