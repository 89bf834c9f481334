//! What a member can do that does not keep to the rules: it has the secret, and says what it likes.

use std::collections::BTreeMap;
use std::format;
use std::net::SocketAddr;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use bytes::Bytes;

use super::Machine;
use crate::handshake::{Initiator, InitiatorStep, LocalHello};
use crate::keys::Secrets;
use crate::message::{Control, Member, kind};
use crate::record::{Opener, RecordBuilder, Sealer};
use crate::{
    Action, ClusterConfig, ClusterError, ClusterEvent, ConnId, Input, Instant, Limits, NodeId, PeerFault, Refusal, Secret,
    WallTime,
};

mod memory;

const SECRET: &str = "correct horse battery staple";
const INTERVAL: Duration = Duration::from_secs(2);

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
}

fn node(name: &str) -> NodeId {
    format!("{name}@10.0.1.1:1").parse().expect("an id")
}

fn told(name: &str, instance: u8) -> Member {
    (node(name), [instance; 16])
}

impl Bench {
    fn new(limits: Limits) -> Self {
        Self::with(INTERVAL, limits)
    }

    fn with(interval: Duration, limits: Limits) -> Self {
        let mut machine = Machine::new();
        let local = SocketAddr::from(([10, 0, 0, 1], 4369));
        let config = ClusterConfig::new("m").host("10.0.0.1").cluster_secret(SECRET).heartbeat_interval(interval).limits(limits);
        machine.start(Instant::START, config).expect("valid");
        let mut bench = Self { machine, now: Instant::START, actions: vec![], members: BTreeMap::new(), clogged: false };
        bench.feed(Input::Listening { entropy: [3; 32], interface: None, local, route: None });
        bench
    }

    fn feed(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        while let Some(action) = self.machine.poll_action() {
            if let Action::Send { conn, data } = &action {
                if let Some(member) = self.members.get_mut(conn) {
                    for message in member.opener.open(&data[4..]).expect("well sealed") {
                        let (kind, body) = message.expect("well formed");
                        if kind != kind::PAYLOAD {
                            member.heard.extend(Control::decode(kind, body).expect("well formed"));
                        }
                    }
                }
                if !self.clogged {
                    self.machine.handle(self.now, Input::Sent { bytes: data.len(), conn: *conn });
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
            Action::Send { conn: on, data } if *on == conn => Some(data.slice(4..)),
            _ => None,
        });
        frame.expect("a frame")
    }

    /// A member dials and proves itself. It says nothing more.
    fn authenticate(&mut self, id: &NodeId, instance: u8, remote: [u8; 4]) -> ConnId {
        let secrets = Secrets::new(Some(&Secret::from(SECRET)), &[]);
        let instance = [instance; 16];
        let hello = LocalHello { caps: 0, context: "noex", id, instance, interval: INTERVAL, secrets: &secrets };
        let conn = self.machine.next_conn();
        self.feed(Input::Accepted { conn, remote: SocketAddr::from((remote, 1)) });
        let (mut initiator, first) = Initiator::start(&hello, [7; 32], None);
        let since = self.actions.len();
        self.receive(conn, first);
        let Ok(InitiatorStep::Send(auth)) = initiator.on_frame(&hello, &self.frame(conn, since)) else { panic!("no challenge") };
        // AUTH_OK may be followed by records at once, which are read with the keys that it gives.
        let since = self.actions.len();
        self.machine.handle(self.now, Input::Received { conn, data: auth, wall: WallTime::default() });
        let Some(auth_ok @ Action::Send { .. }) = self.machine.poll_action() else { panic!("no AUTH_OK") };
        self.actions.push(auth_ok);
        let Ok(InitiatorStep::Done(keyed)) = initiator.on_frame(&hello, &self.frame(conn, since)) else { panic!("no proof") };
        let member = Rogue { id: id.clone(), sealer: keyed.sealer, opener: keyed.opener, heard: vec![] };
        self.members.insert(conn, member);
        self.feed(Input::Tick);
        conn
    }

    fn up_as(&mut self, id: &NodeId, instance: u8, remote: [u8; 4]) -> ConnId {
        let conn = self.authenticate(id, instance, remote);
        if *id < self.machine.local_node_id().expect("running") {
            self.say(conn, &[Control::Offer { n: 0, holds: false }]);
        }
        self.say(conn, &[intro(1)]);
        assert_eq!(self.machine.is_node_connected(id), Ok(true));
        conn
    }

    /// A node is up, and its first answer to a question for members, if there was one, is that there are none.
    fn up(&mut self, name: &str) -> ConnId {
        let conn = self.up_as(&node(name), name.as_bytes()[0], [10, 0, 1, 1]);
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
            Action::Connect { port, .. } => Some(port),
            _ => None,
        });
        dials.collect()
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

/// A member whose id has this name and port, and an instance of that number.
fn hint(name: &str, port: u8) -> Member {
    (format!("{name}@10.0.2.1:{port}").parse().expect("an id"), [port; 16])
}

#[test]
fn the_first_answer_is_dialled_at_once_by_whoever_has_the_greater_id_too() {
    let mut bench = Bench::new(Limits::default());
    let conn = bench.up_as(&node("b"), 1, [10, 0, 1, 1]);
    assert_eq!(bench.requests(conn), 1, "it is the first session");
    bench.say(conn, &[members(vec![hint("a", 1), hint("z", 2), (node("b"), [1; 16])])]);
    assert_eq!(bench.dials(), [1, 2]);
}

#[test]
fn later_the_lesser_dials_at_once_and_the_greater_after_a_second_or_an_interval() {
    for (interval, courtesy) in [(500, 500), (2000, 1000)] {
        let mut bench = Bench::with(Duration::from_millis(interval), Limits::default());
        let conn = bench.up("b");
        bench.say(conn, &[heartbeat(5)]);
        bench.say(conn, &[heartbeat(5)]);
        assert_eq!(bench.requests(conn), 1);
        bench.say(conn, &[members(vec![hint("a", 1), hint("z", 2)])]);
        assert_eq!(bench.dials(), [2]);
        bench.run(Duration::from_millis(courtesy - 10));
        assert!(bench.dials().is_empty());
        bench.run(Duration::from_millis(10));
        assert_eq!(bench.dials(), [1]);
    }
}

#[test]
fn members_that_nobody_asked_for_tell_nothing() {
    let mut bench = Bench::new(Limits::default());
    let conn = bench.up("b");
    bench.say(conn, &[members(vec![hint("a", 1), hint("z", 2)])]);
    bench.run(Duration::from_secs(2));
    assert!(bench.dials().is_empty());
    assert_eq!(bench.machine.node_ids(), Ok(vec![node("b")]));
    // Nor do those of another than the one that was asked, nor a second answer.
    let other = bench.up("c");
    bench.say(conn, &[heartbeat(5)]);
    bench.say(conn, &[heartbeat(5)]);
    assert_eq!(bench.requests(conn), 1);
    bench.say(other, &[members(vec![hint("y", 3)])]);
    bench.say(conn, &[members(vec![]), members(vec![hint("x", 4)])]);
    assert!(bench.dials().is_empty());
}

#[test]
fn a_difference_is_asked_about_once_until_a_view_changes_or_a_long_time_has_passed() {
    let mut bench = Bench::new(Limits::default());
    let conn = bench.up("b");
    bench.say(conn, &[heartbeat(5)]);
    assert_eq!(bench.requests(conn), 0, "what is only on its way settles by itself");
    let beat = |bench: &mut Bench, digest, beats| {
        for _ in 0..beats {
            bench.run(INTERVAL);
            bench.say(conn, &[heartbeat(digest)]);
            if bench.requests(conn) > 0 {
                bench.say(conn, &[members(vec![])]);
            }
        }
        let requests = bench.requests(conn);
        bench.members.get_mut(&conn).expect("up").heard.clear();
        requests
    };
    assert_eq!(beat(&mut bench, 5, 1), 1);
    assert_eq!(beat(&mut bench, 5, 149), 0, "for five minutes");
    assert_eq!(beat(&mut bench, 5, 2), 1);
    assert_eq!(beat(&mut bench, 6, 1), 1, "its view has changed");
    assert_eq!(beat(&mut bench, 6, 20), 0);
}

#[test]
fn questions_for_members_are_answered_twice_in_an_interval_at_most() {
    let mut bench = Bench::new(Limits::default());
    let conn = bench.up("b");
    bench.up("c");
    let ask = Control::MembersRequest { digest: 5 };
    for _ in 0..10 {
        bench.say(conn, &[ask.clone(), ask.clone()]);
    }
    assert_eq!(bench.answers(conn), [[node("c")]]);
    bench.run(INTERVAL / 2 - Duration::from_millis(10));
    bench.say(conn, std::slice::from_ref(&ask));
    assert_eq!(bench.answers(conn), Vec::<Vec<NodeId>>::new());
    bench.run(Duration::from_millis(10));
    bench.say(conn, &[ask]);
    assert_eq!(bench.answers(conn), [[node("c")]]);
}

#[test]
fn ids_on_loopback_are_told_on_loopback_only() {
    let mut bench = Bench::new(Limits::default());
    let near: NodeId = "l@127.0.0.1:1".parse().expect("an id");
    bench.up_as(&near, 1, [127, 0, 0, 1]);
    let far = bench.up("b");
    let other = bench.up_as(&"k@127.0.0.1:2".parse().expect("an id"), 2, [127, 0, 0, 1]);
    bench.answers(other);
    for conn in [far, other] {
        bench.say(conn, &[Control::MembersRequest { digest: 5 }]);
    }
    assert_eq!(bench.answers(far), [Vec::<NodeId>::new()]);
    assert_eq!(bench.answers(other), [[node("b"), near]]);
}

#[test]
fn a_departed_instance_is_not_dialled_and_the_number_of_the_remembered_is_bounded() {
    let mut bench = Bench::new(Limits { departed_nodes: 1, disconnected_nodes: 1, ..Limits::default() });
    let conn = bench.up("b");
    for name in ["x", "y"] {
        let leaving = bench.up(name);
        bench.run(Duration::from_millis(10));
        bench.say(leaving, &[Control::Goodbye]);
    }
    let tell = |bench: &mut Bench, digest, told: Vec<Member>| {
        bench.run(INTERVAL);
        bench.say(conn, &[heartbeat(digest)]);
        bench.say(conn, &[heartbeat(digest)]);
        assert_eq!(bench.requests(conn), 1);
        bench.members.get_mut(&conn).expect("up").heard.clear();
        bench.actions.clear();
        bench.say(conn, &[members(told)]);
        bench.dials().len()
    };
    assert_eq!(tell(&mut bench, 5, vec![told("y", b'y')]), 0, "a late rumour");
    assert_eq!(tell(&mut bench, 6, vec![told("y", 200)]), 1, "it has started again");
    assert_eq!(tell(&mut bench, 7, vec![told("x", b'x')]), 1, "forgotten: only one is remembered");
}

#[test]
fn who_left_is_remembered_longer_than_it_is_listed() {
    let mut bench = Bench::new(Limits { disconnected_nodes: 1, ..Limits::default() });
    let conn = bench.up("b");
    for name in ["x", "y"] {
        let leaving = bench.up(name);
        bench.run(Duration::from_millis(10));
        bench.say(leaving, &[Control::Goodbye]);
    }
    assert_eq!(bench.machine.node_ids(), Ok(vec![node("b"), node("y")]));
    bench.say(conn, &[heartbeat(5), heartbeat(5)]);
    assert_eq!(bench.requests(conn), 1);
    bench.say(conn, &[members(vec![told("x", b'x')])]);
    assert!(bench.dials().is_empty());
    assert_eq!(bench.machine.node_ids(), Ok(vec![node("b"), node("y")]));
}

#[test]
fn hints_beyond_the_nodes_that_may_be_known_are_passed_over() {
    let mut bench = Bench::new(Limits { members: 3, disconnected_nodes: 1, ..Limits::default() });
    let conn = bench.up_as(&node("b"), 1, [10, 0, 1, 1]);
    let page = |ports: std::ops::Range<u8>| members(ports.map(|port| hint("x", port)).collect());
    bench.say(conn, &[page(1..4)]);
    assert_eq!(bench.dials(), [1, 2, 3]);
    bench.say(conn, &[heartbeat(5), heartbeat(5), page(4..7)]);
    assert_eq!(bench.requests(conn), 2);
    assert!(bench.dials().is_empty());
    assert_eq!(bench.machine.node_ids().map(|ids| ids.len()), Ok(4));
}

#[test]
fn no_more_members_are_learned_from_an_answer_than_there_may_be() {
    let mut bench = Bench::new(Limits { members: 3, ..Limits::default() });
    let conn = bench.up_as(&node("b"), 1, [10, 0, 1, 1]);
    let page = |ports: std::ops::Range<u8>, last| Control::Members {
        digest: 1,
        last,
        members: ports.map(|port| hint("x", port)).collect(),
    };
    bench.say(conn, &[page(1..4, false), page(4..5, false), page(5..6, true)]);
    assert_eq!(bench.dials(), [1, 2, 3]);
}

#[test]
fn hints_that_are_no_ids_are_a_fault() {
    let mut bench = Bench::new(Limits::default());
    let conn = bench.up_as(&node("b"), 1, [10, 0, 1, 1]);
    let good = members(vec![hint("a", 1)]);
    let mut record = RecordBuilder::with_capacity(0);
    record.push(good.kind(), |body| {
        good.encode_into(body);
        let name = body.windows(2).position(|pair| pair == b"a@").expect("the id");
        body[name] = b'1';
    });
    let record = bench.members.get_mut(&conn).expect("up").sealer.seal(record);
    bench.receive(conn, record);
    assert_eq!(bench.faults(), [PeerFault::MalformedBody]);
    assert!(bench.dials().is_empty());
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
    let offer = Control::Offer { n: 0, holds: false };
    let cases: [(&str, Vec<Control>, PeerFault); 8] = [
        ("b", vec![heartbeat(1)], PeerFault::UnexpectedMessage),
        ("b", vec![offer.clone(), Control::Goodbye], PeerFault::UnexpectedMessage),
        ("b", vec![intro(1)], PeerFault::UnexpectedMessage),
        ("b", vec![offer.clone(), offer.clone()], PeerFault::UnexpectedOffer),
        ("z", vec![offer.clone()], PeerFault::UnexpectedOffer),
        ("z", vec![intro(1), intro(2)], PeerFault::UnexpectedMessage),
        ("b", vec![offer.clone(), intro(1), offer], PeerFault::UnexpectedOffer),
        ("z", vec![Control::Ping(1)], PeerFault::UnexpectedMessage),
    ];
    for (name, messages, fault) in cases {
        let mut bench = Bench::new(Limits::default());
        let conn = bench.authenticate(&node(name), 1, [10, 0, 1, 1]);
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
        let conn = bench.authenticate(&node("z"), 1, [10, 0, 1, 1]);
        bench.say(conn, &[Control::Refused(code)]);
        bench.actions.into_iter().find_map(|action| match action {
            Action::Event(ClusterEvent::Error(error)) => Some(error),
            _ => None,
        })
    };
    let own = "m@10.0.0.1:4369".parse().expect("an id");
    let refused = |reason| Some(ClusterError::Refused { addr: SocketAddr::from(([10, 0, 1, 1], 1)), reason });
    assert_eq!(reported(1), Some(ClusterError::IdentityConflict { id: own }));
    assert_eq!(reported(2), None, "that it is this node itself is no fault");
    assert_eq!(reported(3), refused(Refusal::Leaving));
    assert_eq!(reported(4), refused(Refusal::LimitReached));
    assert_eq!(reported(5), refused(Refusal::NotAdmitted));
    assert_eq!(reported(6), None, "that there is a session already is no fault");
    assert_eq!(reported(7), refused(Refusal::Unknown(7)));
}
