//! What a member can do that does not keep to the rules: it has the secret, and says what it likes.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::format;
use std::net::SocketAddr;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use bytes::Bytes;

use super::Machine;
use crate::id::incarnation::Incarnation;
use crate::wire::handshake::{Initiator, InitiatorStep, LocalHello};
use crate::wire::keys::Secrets;
use crate::wire::message::{Control, Member, kind};
use crate::wire::record::{Opener, RecordBuilder, Sealer};
use crate::wire::refuse_code::RefuseCode;
use crate::{
    Action, ClusterConfig, ClusterError, ClusterEvent, ClusterStatus, ConnId, Input, Instant, Limits, LocalNetwork,
    NodeDownReason, NodeId, NodeStatus, PeerFault, Refusal, Secret, WallTime,
};

mod admission;
#[cfg(debug_assertions)]
mod audit;
mod clocks;
mod credit;
mod dialling;
mod gossip;
mod membership;
mod memory;
mod names;
mod signals;
mod subscribers;
mod targets;

/// Where members are.
const ADDRESS: [u8; 4] = [10, 0, 1, 1];
const SECRET: &str = "correct horse battery staple";
const INTERVAL: Duration = Duration::from_secs(2);
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A member of whom the test says what it says.
#[derive(Debug)]
struct Rogue {
    id: NodeId,
    sealer: Sealer,
    opener: Opener,
    heard: Vec<Control>,
}

/// The machine under test, `m@10.0.0.1:4369`, and the members it has sessions with.
struct Bench {
    machine: Machine,
    now: Instant,
    actions: Vec<Action>,
    members: BTreeMap<ConnId, Rogue>,
    /// Nothing that the machine sends leaves its adapter.
    clogged: bool,
    /// What members announce that they can do.
    caps: u64,
}

fn node(name: &str) -> NodeId {
    format!("{name}@10.0.1.1:1").parse().expect("an id")
}

/// What the lesser says of a peer that it has no session with, and that it never admitted.
fn offer() -> Control {
    Control::Offer { n: 0, holds: false }
}

fn status(bench: &Bench, id: &NodeId) -> Option<NodeStatus> {
    bench.machine.node(id).expect("running").map(|info| info.status)
}

/// Whether somebody was told to have been silent for too long.
fn timed_out(bench: &Bench) -> bool {
    let silent = |action: &Action| {
        matches!(action, Action::Event(ClusterEvent::NodeDown { reason: NodeDownReason::HeartbeatTimeout, .. }))
    };
    bench.actions.iter().any(silent)
}

fn told(name: &str, incarnation: u8) -> Member {
    (node(name), Incarnation([incarnation; 16]))
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self::with(INTERVAL, limits)
    }

    fn with(interval: Duration, limits: Limits) -> Self {
        Self::of(ClusterConfig::new("m").heartbeat_interval(interval).limits(limits))
    }

    fn of(config: ClusterConfig) -> Self {
        Self::on(config, LocalNetwork::default())
    }

    /// On a machine with such a network.
    fn at(network: LocalNetwork) -> Self {
        Self::on(ClusterConfig::new("m").heartbeat_interval(INTERVAL), network)
    }

    fn on(config: ClusterConfig, network: LocalNetwork) -> Self {
        let mut machine = Machine::new();
        let local = SocketAddr::from(([10, 0, 0, 1], 4369));
        let config = config.host("10.0.0.1").cluster_secret(SECRET);
        machine.start(Instant::START, config).expect("valid");
        let mut bench = Self { machine, now: Instant::START, actions: vec![], members: BTreeMap::new(), clogged: false, caps: 0 };
        bench.feed(Input::Listening { entropy: [3; 32], local, network: Box::new(network) });
        bench
    }

    fn feed(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        while let Some(action) = self.machine.poll_action() {
            if let Action::Transmit { conn, data } = &action {
                if let Some(member) = self.members.get_mut(conn) {
                    for message in member.opener.open(&data[4..]).expect("well sealed") {
                        let (kind, body) = message.expect("well formed");
                        if !matches!(kind, kind::NAMES | kind::NAMES_ACK | kind::PAYLOAD) {
                            member.heard.extend(Control::decode(kind, body).expect("well formed"));
                        }
                    }
                }
                if !self.clogged {
                    self.machine.handle(self.now, Input::Transmitted { bytes: data.len(), conn: *conn });
                }
            }
            self.actions.push(action);
        }
    }

    fn receive(&mut self, conn: ConnId, data: Bytes) {
        self.feed(Input::Received { conn, data, wall: WallTime::default() });
    }

    /// Lets time pass, tick by tick, so that none of it counts as a pause.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + Duration::from_millis(10)).min(end);
            if self.machine.poll_timeout().is_some_and(|at| at <= self.now) {
                self.feed(Input::Tick);
            }
        }
    }

    /// The next frame that the machine sent on a connection since this many actions.
    fn frame(&self, conn: ConnId, since: usize) -> Bytes {
        let frame = self.actions[since..].iter().find_map(|action| match action {
            Action::Transmit { conn: on, data } if *on == conn => Some(data.slice(4..)),
            _ => None,
        });
        frame.expect("a frame")
    }

    /// A member dials and proves itself. It says nothing more.
    fn authenticate(&mut self, id: &NodeId, incarnation: u8, remote: [u8; 4]) -> ConnId {
        let secrets = Secrets::new(Some(&Secret::from(SECRET)), &[]);
        let incarnation = Incarnation([incarnation; 16]);
        let hello = LocalHello { caps: self.caps, context: "noex", id, incarnation, interval: INTERVAL, secrets: &secrets };
        let conn = self.machine.next_conn();
        self.feed(Input::Accepted { conn, remote: SocketAddr::from((remote, 1)) });
        let (mut initiator, first) = Initiator::start(&hello, [7; 32], None);
        let since = self.actions.len();
        self.receive(conn, first);
        let Ok(InitiatorStep::Send(auth)) = initiator.on_frame(&hello, &self.frame(conn, since)) else { panic!("no challenge") };
        // AUTH_OK may be followed by records at once, which are read with the keys that it gives.
        let since = self.actions.len();
        self.machine.handle(self.now, Input::Received { conn, data: auth, wall: WallTime::default() });
        let Some(Action::Transmit { data: auth_ok, .. }) = self.machine.poll_action() else { panic!("no AUTH_OK") };
        let bytes = auth_ok.len();
        self.actions.push(Action::Transmit { conn, data: auth_ok });
        let Ok(InitiatorStep::Done(keyed)) = initiator.on_frame(&hello, &self.frame(conn, since)) else { panic!("no proof") };
        let member = Rogue { id: id.clone(), sealer: keyed.sealer, opener: keyed.opener, heard: vec![] };
        self.members.insert(conn, member);
        self.feed(if self.clogged { Input::Tick } else { Input::Transmitted { bytes, conn } });
        conn
    }

    fn up_as(&mut self, id: &NodeId, incarnation: u8, remote: [u8; 4]) -> ConnId {
        self.announce(id, incarnation, remote, 1)
    }

    /// A node comes up that says of how many members it knows.
    fn announce(&mut self, id: &NodeId, incarnation: u8, remote: [u8; 4], members: u64) -> ConnId {
        let conn = self.authenticate(id, incarnation, remote);
        if *id < self.machine.local_node_id().expect("running") {
            self.say(conn, &[offer()]);
        }
        self.say(conn, &[Control::Intro { count: 1, digest: 1, members, process_count: 0, uptime_ms: 0 }]);
        assert_eq!(self.machine.is_node_connected(id), Ok(true));
        conn
    }

    /// A node is up, and its first answer to a question for members, if there was one, is that there are none.
    fn up(&mut self, name: &str) -> ConnId {
        let conn = self.up_as(&node(name), name.as_bytes()[0], ADDRESS);
        if self.requests(conn) > 0 {
            self.say(conn, &[members(vec![])]);
        }
        self.members.get_mut(&conn).expect("up").heard.clear();
        self.actions.clear();
        conn
    }

    fn say(&mut self, conn: ConnId, messages: &[Control]) {
        let mut record = RecordBuilder::with_capacity(0);
        for message in messages {
            record.push(message.kind(), |body| message.encode_into(body));
        }
        let record = self.members.get_mut(&conn).expect("a member").sealer.seal(record);
        self.receive(conn, record);
    }

    fn requests(&self, conn: ConnId) -> usize {
        self.members[&conn].heard.iter().filter(|message| matches!(message, Control::MembersRequest { .. })).count()
    }

    /// The answers to its questions for members, taken out.
    fn answers(&mut self, conn: ConnId) -> Vec<Vec<NodeId>> {
        let heard = std::mem::take(&mut self.members.get_mut(&conn).expect("a member").heard);
        let answers = heard.into_iter().filter_map(|message| match message {
            Control::Members { members, .. } => Some(members.into_iter().map(|(id, _)| id).collect()),
            _ => None,
        });
        answers.collect()
    }

    /// The ports of the dials since the last look, which stand for the nodes.
    fn dials(&mut self) -> Vec<u16> {
        let dials = std::mem::take(&mut self.actions).into_iter().filter_map(|action| match action {
            Action::Connect { remote, .. } => Some(remote.port()),
            _ => None,
        });
        dials.collect()
    }

    /// The connections that are dialled to this port, since the last look at the dials.
    fn dials_to(&self, port: u16) -> Vec<ConnId> {
        let dials = self.actions.iter().filter_map(|action| match action {
            Action::Connect { conn, remote } if remote.port() == port => Some(*conn),
            _ => None,
        });
        dials.collect()
    }

    /// The digest of the machine's view.
    fn digest(&self) -> u64 {
        self.machine.active().expect("it runs").node.peers.digest()
    }

    fn faults(&self) -> Vec<PeerFault> {
        let faults = self.actions.iter().filter_map(|action| match action {
            Action::Event(ClusterEvent::Error(ClusterError::Peer { fault, .. })) => Some(*fault),
            _ => None,
        });
        faults.collect()
    }
}

fn intro(count: u64) -> Control {
    Control::Intro { count, digest: 1, members: 1, process_count: 0, uptime_ms: 0 }
}

fn heartbeat(digest: u64) -> Control {
    Control::Heartbeat { digest, process_count: 0, uptime_ms: 0 }
}

fn members(members: Vec<Member>) -> Control {
    Control::Members { digest: 1, last: true, members: members.into_iter().collect() }
}

/// A member whose id has this name and port, and an incarnation of that number.
fn hint(name: &str, port: u8) -> Member {
    (format!("{name}@10.0.2.1:{port}").parse().expect("an id"), Incarnation([port; 16]))
}

/// Time passes, and all these show that they live, without a word of their views.
fn live(bench: &mut Bench, conns: &[ConnId], time: Duration) {
    let end = bench.now + time;
    while bench.now < end {
        for conn in conns {
            bench.say(*conn, &[Control::Ping(0)]);
        }
        bench.run((end - bench.now).min(SECOND));
    }
}

/// Time passes, and all these show that they live, and that their views are the local one.
fn live_in_agreement(bench: &mut Bench, conns: &[ConnId], time: Duration) {
    let end = bench.now + time;
    while bench.now < end {
        for conn in conns {
            let digest = bench.digest();
            bench.say(*conn, &[heartbeat(digest)]);
        }
        bench.run((end - bench.now).min(SECOND));
    }
}

#[test]
fn who_asks_more_than_it_reads_is_disconnected() {
    let mut bench = Bench::new(Limits { control_messages: 8, send_window_bytes: 1, ..Limits::default() });
    let conn = bench.up("b");
    bench.clogged = true;
    // The first answer fills the window, and stays there.
    for n in 0..9 {
        bench.say(conn, &[Control::Ping(n)]);
    }
    assert_eq!(bench.faults(), []);
    assert_eq!(bench.machine.usage().control_messages, 8);
    bench.say(conn, &[Control::Ping(9)]);
    assert_eq!(bench.faults(), [PeerFault::ControlFlood]);
    assert_eq!(bench.machine.is_node_connected(&node("b")), Ok(false));

    let mut bench = Bench::new(Limits { control_messages: 8, send_window_bytes: 1, ..Limits::default() });
    let conn = bench.up("b");
    for n in 0..1000 {
        bench.say(conn, &[Control::Ping(n)]);
        bench.feed(Input::Tick);
    }
    let answers: Vec<u64> = bench.members[&conn]
        .heard
        .iter()
        .filter_map(|message| match message {
            Control::Pong { echo, leaving: false } => Some(*echo),
            _ => None,
        })
        .collect();
    assert_eq!(answers, (0..1000).collect::<Vec<_>>(), "who reads may ask on");
}

#[test]
fn a_question_of_the_node_itself_makes_no_flood_of_a_peers_first() {
    let mut bench = Bench::new(Limits { control_messages: 1, send_window_bytes: 1, ..Limits::default() });
    let b = bench.up("b");
    live(&mut bench, &[b], INTERVAL);
    bench.clogged = true;
    // An answer fills the window, and the node's question waits behind it.
    bench.say(b, &[Control::Ping(1)]);
    bench.say(b, &[heartbeat(5), heartbeat(5), Control::Ping(2)]);
    assert_eq!(bench.faults(), []);
    bench.say(b, &[Control::Ping(3)]);
    assert_eq!(bench.faults(), [PeerFault::ControlFlood]);
}

#[test]
fn what_a_reader_that_takes_nothing_makes_the_node_hold_is_bounded() {
    let limits = Limits { control_messages: 64, send_window_bytes: 1000, ..Limits::default() };
    let mut bench = Bench::new(limits);
    let conn = bench.up("b");
    bench.clogged = true;
    let size = |bench: &Bench| format!("{:?}", bench.machine).len();
    let before = size(&bench);
    for _ in 0..500 {
        bench.run(INTERVAL / 4);
        bench.say(conn, &[heartbeat(5), Control::MembersRequest { digest: 5 }, members(vec![hint("a", 1)])]);
    }
    assert_eq!(bench.faults(), []);
    assert!(size(&bench) < before + 6000, "{before} -> {}", size(&bench));
}

#[test]
fn messages_out_of_their_order_end_the_session() {
    let cases: [(&str, Vec<Control>, PeerFault); 8] = [
        ("b", vec![heartbeat(1)], PeerFault::UnexpectedMessage),
        ("b", vec![offer(), Control::Goodbye], PeerFault::UnexpectedMessage),
        ("b", vec![intro(1)], PeerFault::UnexpectedMessage),
        ("b", vec![offer(), offer()], PeerFault::UnexpectedOffer),
        ("z", vec![offer()], PeerFault::UnexpectedOffer),
        ("z", vec![intro(1), intro(2)], PeerFault::UnexpectedMessage),
        ("b", vec![offer(), intro(1), offer()], PeerFault::UnexpectedOffer),
        ("z", vec![Control::Ping(1)], PeerFault::UnexpectedMessage),
    ];
    for (name, messages, fault) in cases {
        let mut bench = Bench::new(Limits::default());
        let conn = bench.authenticate(&node(name), 1, ADDRESS);
        bench.say(conn, &messages);
        assert_eq!(bench.faults(), [fault], "{name} {messages:?}");
        assert_ne!(bench.machine.is_node_connected(&node(name)), Ok(true));
        let id = bench.members[&conn].id.clone();
        assert_eq!(id, node(name));
    }
}

#[test]
fn a_message_that_is_longer_than_its_record_ends_the_session() {
    let mut bench = Bench::new(Limits::default());
    let conn = bench.up("b");
    let mut record = RecordBuilder::with_capacity(0);
    record.push_bytes(kind::PAYLOAD, &[]);
    // The first one claims more than the second one takes.
    record.push_bytes(kind::PAYLOAD, &[]);
    record.push(kind::PAYLOAD, |record| record[8] = 11);
    let record = bench.members.get_mut(&conn).expect("up").sealer.seal(record);
    bench.receive(conn, record);
    assert_eq!(bench.faults(), [PeerFault::MalformedRecord]);
}

#[test]
fn each_refusal_of_a_member_is_reported_with_its_reason() {
    let reported = |code| {
        let mut bench = Bench::new(Limits::default());
        let conn = bench.authenticate(&node("z"), 1, ADDRESS);
        bench.say(conn, &[Control::Refused(code)]);
        bench.actions.into_iter().find_map(|action| match action {
            Action::Event(ClusterEvent::Error(error)) => Some(error),
            _ => None,
        })
    };
    let own = "m@10.0.0.1:4369".parse().expect("an id");
    let refused = |reason| Some(ClusterError::Refused { addr: SocketAddr::from((ADDRESS, 1)), reason });
    assert_eq!(reported(1), Some(ClusterError::IdentityConflict { id: own }));
    assert_eq!(reported(2), None, "that it is this node itself is no fault");
    assert_eq!(reported(3), refused(Refusal::Leaving));
    assert_eq!(reported(4), refused(Refusal::LimitReached));
    assert_eq!(reported(5), refused(Refusal::NotAdmitted));
    assert_eq!(reported(6), None, "that there is a session already is no fault");
    assert_eq!(reported(7), refused(Refusal::LoopbackIdentity));
    assert_eq!(reported(8), refused(Refusal::Unknown(8)));
}

#[test]
fn who_was_refused_is_told_that_reason_though_the_node_stops_before_it_reads() {
    let mut bench = Bench::new(Limits { members: 1, send_window_bytes: 1, ..Limits::default() });
    bench.up("b");
    // Given: an offer is on its way to it, and fills the window.
    bench.clogged = true;
    let conn = bench.authenticate(&node("z"), 1, ADDRESS);
    bench.say(conn, &[intro(1)]);
    bench.feed(Input::Stop);
    bench.feed(Input::Transmitted { bytes: 1000, conn });
    let refused = RefuseCode::LimitReached.code();
    assert_eq!(bench.members[&conn].heard, [offer(), Control::Refused(refused)]);
}

#[test]
fn a_gap_of_half_an_interval_is_no_pause_and_a_longer_one_is() {
    for (gap, down) in [(INTERVAL / 2, true), (INTERVAL / 2 + MS, false)] {
        let mut bench = Bench::new(Limits::default());
        bench.up("z");
        bench.run(3 * INTERVAL + INTERVAL / 2 + MS - gap);
        bench.feed(Input::Tick);
        bench.now = bench.now + gap;
        bench.feed(Input::Tick);
        assert_eq!(timed_out(&bench), down, "{gap:?}");
    }
}

/// HELLO of a version that there is not.
fn foreign_hello() -> Bytes {
    let mut hello = vec![0, 0, 0, 100, 1];
    hello.extend(b"NOEX");
    hello.extend([9, 9]);
    hello.resize(104, 0);
    hello.into()
}

#[test]
fn a_stranger_who_is_rejected_does_not_hold_up_a_stop() {
    for rejected_before in [true, false] {
        let mut bench = Bench::new(Limits::default());
        let b = bench.up("b");
        bench.clogged = true;
        let stranger = bench.machine.next_conn();
        let inputs = |bench: &mut Bench| {
            bench.feed(Input::Accepted { conn: stranger, remote: SocketAddr::from((ADDRESS, 9)) });
            bench.receive(stranger, foreign_hello());
        };
        if rejected_before {
            inputs(&mut bench);
            bench.feed(Input::Stop);
        } else {
            bench.feed(Input::Stop);
            inputs(&mut bench);
        }
        assert!(!bench.actions.contains(&Action::Stopped));
        bench.feed(Input::Closed { conn: b });
        assert!(bench.actions.contains(&Action::Stopped), "rejected before: {rejected_before}");
    }
}

#[test]
fn strangers_who_are_rejected_while_the_node_stops_are_not_waited_for() {
    let mut bench = Bench::new(Limits { half_open: 2, half_open_per_address: 2, ..Limits::default() });
    bench.up("b");
    bench.feed(Input::Stop);
    for port in 1..100 {
        let conn = bench.machine.next_conn();
        bench.feed(Input::Accepted { conn, remote: SocketAddr::from(([10, 9, 9, 9], port)) });
    }
    assert_eq!(bench.machine.usage().closing_connections, 1);
}

#[test]
fn at_the_end_of_time_a_tick_ends_too() {
    let mut bench = Bench::new(Limits::default());
    bench.up("b");
    bench.now = Instant::new(Duration::MAX);
    bench.feed(Input::Tick);
    assert_eq!(bench.machine.is_node_connected(&node("b")), Ok(true));
}

#[test]
fn who_reads_may_ask_many_times_in_a_record() {
    let mut bench = Bench::new(Limits::default());
    let b = bench.up("b");
    bench.say(b, &(0..1000).map(Control::Ping).collect::<Vec<_>>());
    assert_eq!(bench.faults(), []);
}

#[test]
fn what_is_held_back_is_summed_up_though_reports_come_just_before_each_tick() {
    let mut bench = Bench::new(Limits::default());
    bench.actions.clear();
    for second in 0..60 {
        for number in 0..17 {
            let conn = bench.machine.next_conn();
            bench.feed(Input::Accepted { conn, remote: SocketAddr::from(([10, 9, second, number], 1)) });
            bench.receive(conn, foreign_hello());
        }
        bench.feed(Input::Tick);
        bench.now = bench.now + SECOND;
    }
    let sums = bench
        .actions
        .iter()
        .filter(|action| matches!(action, Action::Event(ClusterEvent::Error(ClusterError::Suppressed { .. }))));
    assert!(sums.count() > 10);
}

#[test]
fn listening_on_port_0_ends_the_start() {
    let mut machine = Machine::new();
    machine.start(Instant::START, ClusterConfig::new("m").host("10.0.0.1")).expect("valid");
    let local = SocketAddr::from(([10, 0, 0, 1], 0));
    machine.handle(Instant::START, Input::Listening { entropy: [3; 32], local, network: Box::default() });
    assert_eq!(machine.status(), ClusterStatus::Stopped);
}
