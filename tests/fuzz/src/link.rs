//! Two machines and the network between them: bytes are cut anyhow and late, connections break, sides pause, stop and start. Up
//! and down alternate, what is received in an up-period is a prefix of what was sent in one, and in the end both sides agree.
//!
//! A process of each side is called, cast to and watched by the other. Casts arrive in order, each call ends once, by its own answer where
//! it is answered, each monitor fires at most once, and in the end nothing is open.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use noex_proto::testing::Phase;
use noex_proto::{
    Action, CallId, ClusterConfig, ClusterEvent, ClusterStatus, ConnId, ConnectError, Destination, ExitReason, Input, Instant,
    Limits, MailboxItem, MonitorId, NodeId, ProcessAction, ProcessName, ProtocolHash, SubscriptionId, WallTime,
};

use crate::driven::{self, Driven};
use crate::peer::SECRET;
use crate::processes::PROTOCOL;
use crate::victim;

/// The last octets of the two addresses.
const SIDES: [u8; 2] = [1, 2];

/// After the last fault the sides have this much time to agree: the detection of silence, a handshake, an admission with its
/// probe and the longest backoff.
const AGREEMENT: Duration = Duration::from_secs(60);

/// So many pieces of one delivery are small, then the rest comes in one: or megabytes, a byte at a time, would take seconds.
const PIECES: usize = 200;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Op {
    /// A connection breaks; each side may notice or not.
    Break {
        conn: u8,
        noticed: [bool; 2],
    },
    /// Some of what is on its way on a connection arrives.
    Deliver {
        bytes: u16,
        conn: u8,
        to: bool,
    },
    /// Everything arrives that is on its way, the first [`PIECES`] in pieces of at most this size.
    DeliverAll {
        piece: u8,
    },
    /// The answer to a dial arrives.
    Dialled {
        refused: bool,
        side: bool,
    },
    Halt(bool),
    /// One side's application does something with the process of the other, or with its own.
    Process {
        side: bool,
        size: u16,
        what: What,
    },
    Send {
        side: bool,
        size: u16,
    },
    Start(bool),
    Stop(bool),
    /// Time passes, and both sides look, or one of them or none.
    Tick {
        looks: [bool; 2],
        millis: u16,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum What {
    Call,
    Cancel,
    Cast,
    /// Its own process ends, and there is another one.
    End,
    Unwatch,
    Watch,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// Nothing comes after the bytes.
    ended: bool,
}

/// A connection: its number at each side, and what is on its way to each.
#[derive(Debug)]
struct Wire {
    ends: [ConnId; 2],
    /// Lost: nothing passes any more.
    broken: bool,
    pipes: [Pipe; 2],
}

/// The payloads of one up-period: they begin with the period and their number.
#[derive(Debug, Default)]
struct Period {
    /// How often the peer has been up, this time included.
    own: u32,
    sent: u32,
    /// The up-period at the peer from which payloads come.
    theirs: Option<u32>,
    received: u32,
}

/// One machine, and what its application knows.
#[derive(Debug)]
struct Side {
    driven: Driven,
    messages: SubscriptionId,
    period: Period,
    /// The last up-period at the peer from which a payload came.
    heard: Option<u32>,
    starts: u8,
    /// Dials of this side that were not answered yet.
    dials: VecDeque<ConnId>,
    /// Its process.
    process: Option<u64>,
    /// Its calls and monitors that are open; each call has a number in its body.
    calls: BTreeMap<CallId, u64>,
    monitors: BTreeSet<MonitorId>,
    /// How many calls and casts it has begun, and the last cast that it heard of.
    said: u64,
    last_cast: u64,
}

struct Link {
    now: Instant,
    sides: [Side; 2],
    wires: Vec<Wire>,
}

fn limits() -> Limits {
    victim::limits().half_open(64).half_open_per_address(64).closing_connections(64).message_bytes_per_subscriber(16 << 20)
}

fn config(side: usize) -> ClusterConfig {
    victim::config(["a", "b"][side], SIDES[side], Some(SECRET))
        .seeds([id(1 - side).to_string()])
        .reconnect_base_delay(Duration::from_millis(100))
        .reconnect_max_delay(Duration::from_secs(1))
        .limits(limits())
}

fn id(side: usize) -> NodeId {
    format!("{}@{}", ["a", "b"][side], victim::address(SIDES[side])).parse().expect("valid")
}

/// What happens to the link.
pub(crate) fn run(data: &[u8]) -> Option<()> {
    let mut input = Unstructured::new(data);
    let mut link = Link { now: Instant::START, sides: [Side::new(), Side::new()], wires: Vec::new() };
    link.start(0);
    link.start(1);
    while !input.is_empty() {
        link.step(input.arbitrary().ok()?);
    }
    link.settle();
    Some(())
}

fn name() -> ProcessName {
    ProcessName::new("a").expect("valid")
}

fn protocol() -> ProtocolHash {
    ProtocolHash(PROTOCOL.to_be_bytes())
}

/// The number at the front of a call or a cast.
fn told(body: &[u8]) -> u64 {
    u64::from_be_bytes(*body.first_chunk().expect("eight bytes"))
}

impl Side {
    fn new() -> Self {
        let mut driven = Driven::new(noex_proto::Machine::new());
        let messages = driven.machine.subscribe_messages();
        Self {
            driven,
            messages,
            period: Period::default(),
            heard: None,
            starts: 0,
            dials: VecDeque::new(),
            process: None,
            calls: BTreeMap::new(),
            monitors: BTreeSet::new(),
            said: 0,
            last_cast: 0,
        }
    }
}

impl Link {
    fn start(&mut self, side: usize) {
        if self.sides[side].driven.status() == ClusterStatus::Stopped {
            self.sides[side].starts = self.sides[side].starts.wrapping_add(1);
            let entropy = self.sides[side].starts.wrapping_mul(2) + SIDES[side];
            self.feed(side, Input::Start(Box::new(config(side))));
            self.feed(side, victim::listening(SIDES[side], entropy));
            self.open(side);
        }
    }

    fn feed(&mut self, side: usize, input: Input) {
        let actions = self.sides[side].driven.feed(self.now, input);
        self.perform(side, actions);
    }

    fn perform(&mut self, side: usize, actions: Vec<Action>) {
        let mut credits = Vec::new();
        let mut processes = Vec::new();
        for action in actions {
            match action {
                Action::Connect { conn, .. } => self.sides[side].dials.push_back(conn),
                Action::Resolve { lookup, .. } => credits.push(driven::resolved(lookup)),
                Action::Transmit { conn, data } => {
                    credits.push(Input::Transmitted { bytes: data.len(), conn });
                    if let Some(wire) = self.wire(side, conn) {
                        wire.pipes[1 - side].bytes.extend(&data);
                    }
                }
                Action::Close { conn, .. } => {
                    self.sides[side].dials.retain(|dial| *dial != conn);
                    if let Some(wire) = self.wire(side, conn) {
                        wire.pipes[1 - side].ended = true;
                    }
                }
                Action::Event(ClusterEvent::NodeUp(_)) => {
                    let Period { own, .. } = self.sides[side].period;
                    self.sides[side].period = Period { own: own + 1, ..Period::default() };
                }
                Action::Message => self.read(side),
                Action::Process(action) => processes.push(action),
                Action::Event(_) | Action::Stopped => {}
            }
        }
        // The kernel takes everything, but not before all of it was handed over in its order.
        for credit in credits {
            self.feed(side, credit);
        }
        for action in processes {
            self.notice(side, action);
        }
    }

    // Processes

    fn open(&mut self, side: usize) {
        let Side { driven, process, .. } = &mut self.sides[side];
        let Ok(opened) = driven.machine.open(self.now, protocol()) else { return };
        *process = Some(opened.number());
        driven.machine.register(self.now, opened.number(), &name()).expect("the name is free");
        let actions = driven.called();
        self.perform(side, actions);
    }

    fn end(&mut self, side: usize, number: u64) {
        let Side { driven, process, .. } = &mut self.sides[side];
        driven.machine.exit(self.now, number, ExitReason::Normal, usize::MAX);
        *process = process.filter(|process| *process != number);
        let actions = driven.called();
        self.perform(side, actions);
    }

    fn notice(&mut self, side: usize, action: ProcessAction) {
        let Side { calls, monitors, process, .. } = &mut self.sides[side];
        match action {
            ProcessAction::CallEnded { call, outcome } => {
                let number = calls.remove(&call).expect("a call ends once");
                assert!(outcome.is_err() || outcome.is_ok_and(|body| told(&body) == number), "the answer to another call");
            }
            ProcessAction::NamesSynced => {}
            ProcessAction::ClaimEnded { .. } | ProcessAction::NameChanged(_) => unreachable!("nobody claims or watches a name"),
            ProcessAction::Ended(number) => *process = process.filter(|process| *process != number),
            ProcessAction::Mailbox(number) | ProcessAction::Stopping(number) => self.take(side, number),
            ProcessAction::MonitorFired { monitor, .. } => assert!(monitors.remove(&monitor), "a monitor fires once"),
            ProcessAction::AnswerRoom(_) => unreachable!("nobody waits for it"),
            ProcessAction::RequestOver(_) => unreachable!("each call is answered at once"),
        }
    }

    /// The process of a side takes what there is, and answers each call by what it said.
    fn take(&mut self, side: usize, number: u64) {
        loop {
            let now = self.now;
            let Side { driven, last_cast, .. } = &mut self.sides[side];
            let items = driven.machine.take(now, number, 2);
            if items.is_empty() {
                return;
            }
            let mut stops = false;
            for item in items {
                match item {
                    MailboxItem::Call { body, request, .. } => {
                        let _too_large_or_no_room = driven.machine.answer(now, request, body, false);
                    }
                    MailboxItem::Cast { body } => {
                        assert!(*last_cast < told(&body), "a cast comes twice, or out of its order");
                        *last_cast = told(&body);
                    }
                    MailboxItem::Overrun { .. } => {}
                    MailboxItem::Stop(_) => stops = true,
                    item => unreachable!("{item:?}"),
                }
            }
            let actions = driven.called();
            self.perform(side, actions);
            if stops {
                return self.end(side, number);
            }
        }
    }

    fn act(&mut self, side: usize, size: u16, what: What) {
        let to = Destination::Named { node: id(1 - side), name: name() };
        let now = self.now;
        let Side { driven, calls, monitors, process, said, .. } = &mut self.sides[side];
        *said += 1;
        let mut body = said.to_be_bytes().to_vec();
        body.resize(8 + usize::from(size) * 2, 7);
        match what {
            What::Call => {
                let deadline = now + Duration::from_millis(size.into());
                if let Ok(call) = driven.machine.call(now, &to, protocol(), body.into(), deadline) {
                    calls.insert(call, *said);
                }
            }
            What::Cancel => {
                if let Some((call, _)) = calls.pop_first() {
                    driven.machine.cancel(now, call);
                }
            }
            What::Cast => drop(driven.machine.cast(now, &to, protocol(), body.into())),
            What::End => {
                if let Some(number) = *process {
                    self.end(side, number);
                    return self.open(side);
                }
            }
            What::Unwatch => {
                if let Some(monitor) = monitors.pop_first() {
                    driven.machine.demonitor(now, None, monitor);
                }
            }
            What::Watch => {
                if let Ok(monitor) = driven.machine.monitor(now, None, &to) {
                    monitors.insert(monitor);
                }
            }
        }
        let actions = self.sides[side].driven.called();
        self.perform(side, actions);
    }

    fn wire(&mut self, side: usize, conn: ConnId) -> Option<&mut Wire> {
        self.wires.iter_mut().find(|wire| wire.ends[side] == conn)
    }

    /// What is received in an up-period comes from one at the peer, from its beginning, in order, once.
    fn read(&mut self, side: usize) {
        let Side { driven, heard, messages, period, .. } = &mut self.sides[side];
        while let Some(message) = driven.machine.poll_message(*messages) {
            let payload = message.expect("it is read at once").payload;
            let [theirs, number] = [0, 4].map(|at| u32::from_be_bytes(*payload[at..].first_chunk().expect("eight bytes")));
            if period.theirs.is_none() {
                assert!(*heard < Some(theirs), "payloads of one up-period in two");
                (period.theirs, *heard) = (Some(theirs), Some(theirs));
            }
            assert_eq!(period.theirs, Some(theirs), "payloads of two up-periods in one");
            assert_eq!(number, period.received, "a payload is lost, or comes twice");
            assert!(payload[8..].iter().all(|byte| u32::from(*byte) == number % 251), "a payload is damaged");
            period.received += 1;
        }
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Break { conn, noticed } => {
                let alive: Vec<usize> = (0..self.wires.len()).filter(|wire| !self.wires[*wire].broken).collect();
                if alive.is_empty() {
                    return;
                }
                let wire = &mut self.wires[alive[usize::from(conn) % alive.len()]];
                wire.broken = true;
                let ends = wire.ends;
                for side in [0, 1] {
                    if noticed[side] {
                        self.feed(side, Input::Closed { conn: ends[side] });
                    }
                }
            }
            Op::Deliver { bytes, conn, to } => {
                if !self.wires.is_empty() {
                    let wire = usize::from(conn) % self.wires.len();
                    self.deliver(wire, to.into(), bytes.into());
                }
            }
            Op::DeliverAll { piece } => self.deliver_all(piece.max(1).into()),
            Op::Dialled { refused, side } => self.answer_dial(side.into(), refused),
            Op::Halt(side) => self.feed(side.into(), Input::Halt),
            Op::Process { side, size, what } => self.act(side.into(), size, what),
            Op::Send { side, size } => {
                let side = usize::from(side);
                let Side { driven, period, .. } = &mut self.sides[side];
                let mut payload = [period.own.to_be_bytes(), period.sent.to_be_bytes()].concat();
                payload.resize(8 + usize::from(size) * 2, u8::try_from(period.sent % 251).expect("a byte"));
                if driven.machine.send(self.now, &id(1 - side), Bytes::from(payload)).is_ok() {
                    period.sent += 1;
                }
                let actions = driven.called();
                self.perform(side, actions);
            }
            Op::Start(side) => self.start(side.into()),
            Op::Stop(side) => self.feed(side.into(), Input::Stop),
            Op::Tick { looks, millis } => {
                self.now = self.now + Duration::from_millis(millis.into());
                for side in [0, 1] {
                    if looks[side] {
                        self.feed(side, Input::Tick);
                    }
                }
            }
        }
    }

    /// The oldest dial of a side reaches the other, or is refused there.
    fn answer_dial(&mut self, side: usize, refused: bool) {
        let Some(conn) = self.sides[side].dials.pop_front() else { return };
        let (there, other) = (1 - side, &self.sides[1 - side].driven);
        if refused || !matches!(other.status(), ClusterStatus::Running | ClusterStatus::Stopping) {
            return self.feed(side, Input::DialFailed { conn, error: ConnectError::Refused });
        }
        let accepted = other.machine.next_conn();
        let mut ends = [conn; 2];
        ends[there] = accepted;
        self.wires.push(Wire { ends, broken: false, pipes: Default::default() });
        self.feed(there, Input::Accepted { conn: accepted, remote: victim::address(SIDES[side]) });
        self.feed(side, Input::Connected { conn, remote: victim::address(SIDES[there]) });
    }

    /// Some bytes of a wire arrive at a side, and behind the last of them the end. Whether anything did.
    fn deliver(&mut self, wire: usize, to: usize, bytes: usize) -> bool {
        let Wire { ends, broken, pipes } = &mut self.wires[wire];
        let (conn, pipe) = (ends[to], &mut pipes[to]);
        if *broken || self.sides[to].driven.is(conn, Phase::Closed) {
            pipe.bytes.clear();
            return false;
        }
        let count = bytes.min(pipe.bytes.len());
        if count > 0 {
            let data: Bytes = pipe.bytes.drain(..count).collect();
            self.feed(to, Input::Received { conn, data, wall: WallTime::default() });
            return true;
        }
        if pipe.ended && bytes > 0 && pipe.bytes.is_empty() {
            self.feed(to, Input::Closed { conn });
            return true;
        }
        false
    }

    fn deliver_all(&mut self, piece: usize) {
        let mut pieces = 0;
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for wire in 0..self.wires.len() {
                for to in [0, 1] {
                    pieces += 1;
                    moved |= self.deliver(wire, to, if pieces > PIECES { usize::MAX } else { piece });
                }
            }
        }
    }

    /// Both sides run, and the network is well: in time, both are up for each other, over one connection.
    fn settle(&mut self) {
        let end = self.now + AGREEMENT;
        while self.now < end && !self.agree() {
            for side in [0, 1] {
                self.start(side);
                self.give_up(side);
                while !self.sides[side].dials.is_empty() {
                    self.answer_dial(side, false);
                }
            }
            self.deliver_all(usize::MAX);
            let next = self.sides.iter().filter_map(|side| side.driven.machine.poll_timeout()).min();
            self.now = next.unwrap_or(self.now).clamp(self.now, end);
            for side in [0, 1] {
                if self.sides[side].driven.machine.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.feed(side, Input::Tick);
                }
            }
        }
        assert!(self.agree(), "no agreement within {AGREEMENT:?}");
        // The end of each process is heard of, and then nothing is left.
        for side in [0, 1] {
            self.act(side, 0, What::End);
        }
        self.deliver_all(usize::MAX);
        for side in &self.sides {
            assert!(side.monitors.is_empty(), "the end of a process is not heard of");
        }
    }

    /// A graceful close that the other side cannot hear of ends by itself.
    fn give_up(&mut self, side: usize) {
        let closing: Vec<ConnId> = self.sides[side].driven.conns(Phase::Closing).collect();
        for conn in closing {
            if self.wire(side, conn).is_none_or(|wire| wire.broken) {
                self.feed(side, Input::Closed { conn });
            }
        }
    }

    /// Whether each side is up for the other over one connection, and nothing else is open or on its way.
    fn agree(&self) -> bool {
        let up = |side: usize| self.sides[side].driven.machine.is_node_connected(&id(1 - side)) == Ok(true);
        let open = |side: usize| {
            let mut open = self.sides[side].driven.conns(Phase::Open);
            open.next().filter(|_| open.next().is_none())
        };
        let (Some(first), Some(second)) = (open(0), open(1)) else { return false };
        let whole = self.wires.iter().any(|wire| wire.ends == [first, second] && !wire.broken);
        let silent = self.wires.iter().all(|wire| wire.broken || wire.pipes.iter().all(|pipe| pipe.bytes.is_empty()));
        let done = |side: usize| self.sides[side].dials.is_empty() && self.sides[side].calls.is_empty();
        whole && silent && [0, 1].into_iter().all(|side| up(side) && done(side))
    }
}
