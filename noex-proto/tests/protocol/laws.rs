//! Laws of the machine that hold for any inputs: chunking, timeouts, stale inputs, pauses, determinism.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::abstraction::Written;
use bytes::Bytes;
use noex_proto::testing::Contract;
use noex_proto::{
    Action, Close, ClusterConfig, ClusterStatus, ConnId, ConnectError, Input, Instant, Limits, Machine, NodeId, Recording,
    Secret, WallTime,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

fn address(side: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, [1, 2][side]], 4369))
}

fn id(side: usize) -> NodeId {
    format!("{}@{}", ["a", "b"][side], address(side)).parse().unwrap()
}

fn config(side: usize) -> ClusterConfig {
    ClusterConfig::new(["a", "b"][side])
        .host(address(side).ip().to_string())
        .seeds([id(1 - side).to_string(), "seed.example".into(), "seed.example.:7000".into(), "c@other.example:1".into()])
        .cluster_secret("correct horse battery staple")
        .heartbeat_interval(Duration::from_secs(1))
        .limits(
            Limits::default()
                .half_open(6)
                .half_open_per_address(4)
                .closing_connections(3)
                .lookups_in_flight(2)
                .send_window_bytes(64),
        )
}

/// Two machines, and between them queues whose inputs come in any order of the two sides.
#[derive(Clone, Debug)]
struct Link {
    now: [Instant; 2],
    machines: [Machine; 2],
    contracts: [Contract; 2],
    pending: [VecDeque<Input>; 2],
    /// Where each connection of a side ends.
    ends: [BTreeMap<ConnId, ConnId>; 2],
    log: [Vec<(Instant, Input)>; 2],
    actions: [Vec<Action>; 2],
    /// What each machine was to be woken for after each input, and how its state looked.
    outlook: [Vec<(Option<Instant>, Vec<u8>)>; 2],
    /// Whether that is noted.
    watched: bool,
}

impl Link {
    fn new() -> Self {
        let mut link = Self::stopped();
        link.start(0, 0);
        link.start(1, 0);
        link
    }

    /// Two machines that ran for the same time before they heard of each other. Of these gaps between two inputs, in milliseconds, each
    /// that is longer than half an interval is a pause.
    fn aged(gaps: &[u64]) -> Self {
        let mut link = Self::stopped();
        for side in [0, 1] {
            link.feed(side, Input::Start(Box::new(config(side).seeds([""; 0]))));
            link.feed(side, Input::Listening { entropy: [side as u8; 32], local: address(side), network: Box::default() });
            for gap in gaps {
                link.step(Step::Advance(side, *gap));
                link.step(Step::Tick(side));
            }
            link.step(Step::Seeds(side, u8::MAX));
        }
        link.watched = true;
        link
    }

    fn stopped() -> Self {
        Self {
            now: [Instant::START; 2],
            machines: [Machine::with_recorder(usize::MAX), Machine::new()],
            contracts: Default::default(),
            pending: Default::default(),
            ends: Default::default(),
            log: Default::default(),
            actions: Default::default(),
            outlook: Default::default(),
            watched: false,
        }
    }

    fn start(&mut self, side: usize, random: u8) {
        self.feed(side, Input::Start(Box::new(config(side))));
        let mut entropy = [random; 32];
        entropy[0] = u8::try_from(side).unwrap();
        self.feed(side, Input::Listening { entropy, local: address(side), network: Box::default() });
    }

    fn feed(&mut self, side: usize, input: Input) {
        self.log[side].push((self.now[side], input.clone()));
        let fed = self.contracts[side].feed(&mut self.machines[side], self.now[side], input);
        for action in fed.unwrap_or_else(|broken| panic!("at {side}: {broken}")) {
            self.actions[side].push(action.clone());
            self.act(side, action);
        }
        if self.watched {
            let mut state = Written::default();
            self.machines[side].hash_abstraction(Duration::from_nanos(1), &mut state);
            self.outlook[side].push((self.machines[side].poll_timeout(), state.0));
        }
    }

    fn act(&mut self, side: usize, action: Action) {
        let other = 1 - side;
        match action {
            Action::Connect { conn, .. } => {
                if self.contracts[other].status() != ClusterStatus::Running {
                    self.pending[side].push_back(Input::DialFailed { conn, error: ConnectError::Refused });
                    return;
                }
                let remote = self.machines[other].next_conn();
                let from = SocketAddr::new(address(side).ip(), 50_000);
                self.ends[side].insert(conn, remote);
                self.ends[other].insert(remote, conn);
                self.feed(other, Input::Accepted { conn: remote, remote: from });
                self.pending[side].push_back(Input::Connected { conn, remote: address(other) });
            }
            Action::Resolve { lookup, .. } => {
                let addrs = match lookup.0 % 4 {
                    0 => Err("try again".into()),
                    1 => Ok(Vec::new()),
                    _ => Ok(vec![address(side), address(other)]),
                };
                self.pending[side].push_back(Input::Resolved { addrs, lookup });
            }
            Action::Transmit { conn, data } => {
                self.pending[side].push_back(Input::Transmitted { bytes: data.len(), conn });
                if let Some(conn) = self.ends[side].get(&conn) {
                    self.pending[other].push_back(Input::Received { conn: *conn, data, wall: WallTime::default() });
                }
            }
            Action::Close { conn, how } => {
                if let Some(conn) = self.ends[side].get(&conn) {
                    self.pending[other].push_back(Input::Closed { conn: *conn });
                }
                if matches!(how, Close::Graceful { .. }) {
                    self.pending[side].push_back(Input::Closed { conn });
                }
            }
            Action::Event(_) | Action::Message | Action::Process(_) | Action::Stopped => {}
        }
    }

    fn deliver(&mut self, side: usize) {
        if let Some(input) = self.pending[side].pop_front() {
            self.feed(side, input);
        }
    }

    /// Delivers everything and then lets this much time pass.
    fn settle(&mut self, time: Duration) {
        while self.pending.iter().any(|pending| !pending.is_empty()) {
            self.deliver(0);
            self.deliver(1);
        }
        for side in [0, 1] {
            self.now[side] = self.now[side] + time;
            self.feed(side, Input::Tick);
        }
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis / 10 {
            self.settle(Duration::from_millis(10));
        }
    }
}

/// Where bytes and closes are aimed: at a connection that is, or was, or never will be.
#[derive(Clone, Debug)]
enum Step {
    Advance(usize, u64),
    Back(usize, u64),
    Closed(usize, u64),
    Connected(usize, u64),
    Deliver(usize),
    DeliverAll,
    DialFailed(usize, u64),
    Drop(usize),
    Garbage(usize, u64, Vec<u8>),
    Halt(usize),
    Listening(usize),
    Repeat(usize),
    Secrets(usize, bool),
    Seeds(usize, u8),
    Send(usize, usize),
    Sent(usize, u64, usize),
    Settle(u64),
    Start(usize, u8),
    Stop(usize),
    Stranger(usize, u8),
    Swap(usize),
    Tick(usize),
    WrongAccept(usize, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let side = || 0..2_usize;
    let conn = || 1..12_u64;
    prop_oneof![
        20 => side().prop_map(Step::Deliver),
        10 => Just(Step::DeliverAll),
        8 => (0..1500_u64).prop_map(Step::Settle),
        3 => (side(), 0..3000_u64).prop_map(|(side, millis)| Step::Advance(side, millis)),
        1 => (side(), 0..5000_u64).prop_map(|(side, millis)| Step::Back(side, millis)),
        2 => (side(), conn()).prop_map(|(side, conn)| Step::Closed(side, conn)),
        1 => (side(), conn()).prop_map(|(side, conn)| Step::Connected(side, conn)),
        1 => (side(), conn()).prop_map(|(side, conn)| Step::DialFailed(side, conn)),
        2 => side().prop_map(Step::Drop),
        2 => side().prop_map(Step::Repeat),
        1 => side().prop_map(Step::Swap),
        2 => (side(), conn(), vec(any::<u8>(), 0..40)).prop_map(|(side, conn, bytes)| Step::Garbage(side, conn, bytes)),
        1 => side().prop_map(Step::Halt),
        1 => side().prop_map(Step::Listening),
        1 => (side(), any::<bool>()).prop_map(|(side, new)| Step::Secrets(side, new)),
        1 => (side(), any::<u8>()).prop_map(|(side, seeds)| Step::Seeds(side, seeds)),
        4 => (side(), 0..70_000_usize).prop_map(|(side, size)| Step::Send(side, size)),
        2 => (side(), conn(), 0..1000_usize).prop_map(|(side, conn, bytes)| Step::Sent(side, conn, bytes)),
        3 => (side(), any::<u8>()).prop_map(|(side, random)| Step::Start(side, random)),
        1 => side().prop_map(Step::Stop),
        2 => (side(), any::<u8>()).prop_map(|(side, from)| Step::Stranger(side, from)),
        3 => side().prop_map(Step::Tick),
        1 => (side(), conn()).prop_map(|(side, conn)| Step::WrongAccept(side, conn)),
    ]
}

impl Link {
    fn step(&mut self, step: Step) {
        match step {
            Step::Advance(side, millis) => self.now[side] = self.now[side] + Duration::from_millis(millis),
            Step::Back(side, millis) => {
                let back = self.now[side].since_start().saturating_sub(Duration::from_millis(millis));
                self.now[side] = Instant::new(back);
                self.feed(side, Input::Tick);
            }
            Step::Closed(side, conn) => self.feed(side, Input::Closed { conn: ConnId(conn) }),
            Step::Connected(side, conn) => self.feed(side, Input::Connected { conn: ConnId(conn), remote: address(side) }),
            Step::Deliver(side) => self.deliver(side),
            Step::DeliverAll => self.settle(Duration::ZERO),
            Step::DialFailed(side, conn) => {
                self.feed(side, Input::DialFailed { conn: ConnId(conn), error: ConnectError::TimedOut });
            }
            Step::Drop(side) => drop(self.pending[side].pop_front()),
            Step::Garbage(side, conn, bytes) => {
                self.feed(side, Input::Received { conn: ConnId(conn), data: bytes.into(), wall: WallTime::default() });
            }
            Step::Halt(side) => self.feed(side, Input::Halt),
            Step::Listening(side) => {
                self.feed(side, Input::Listening { entropy: [9; 32], local: address(side), network: Box::default() });
            }
            Step::Repeat(side) => {
                if let Some(input) = self.pending[side].front().cloned() {
                    self.feed(side, input);
                }
            }
            Step::Secrets(side, new) => {
                let [primary, accepted] = if new {
                    ["a quite different secret", "correct horse battery staple"]
                } else {
                    ["correct horse battery staple", "a quite different secret"]
                };
                self.feed(side, Input::SetSecrets { accepted: vec![Secret::from(accepted)], primary: Secret::from(primary) });
            }
            Step::Seeds(side, seeds) => {
                let all =
                    [id(1 - side).to_string(), "seed.example:4369".into(), "last.example".into(), "c@other.example:1".into()];
                let seeds = all.iter().enumerate().filter(|(place, _)| seeds >> place & 1 == 1);
                let contacts = seeds.map(|(_, seed)| seed.parse().unwrap()).collect();
                self.feed(side, Input::SetSeeds(contacts));
            }
            Step::Send(side, size) => {
                let now = self.now[side];
                let _ = self.machines[side].send(now, &id(1 - side), Bytes::from(vec![7; size]));
                self.feed(side, Input::Send { payload: Bytes::from_static(b"payload"), to: id(1 - side) });
            }
            Step::Sent(side, conn, bytes) => self.feed(side, Input::Transmitted { bytes, conn: ConnId(conn) }),
            Step::Settle(millis) => self.settle(Duration::from_millis(millis)),
            Step::Start(side, random) => self.start(side, random),
            Step::Stop(side) => self.feed(side, Input::Stop),
            Step::Stranger(side, from) => {
                let conn = self.machines[side].next_conn();
                self.feed(side, Input::Accepted { conn, remote: SocketAddr::from(([192, 0, 2, from % 4], 1)) });
            }
            Step::Swap(side) => {
                if self.pending[side].len() > 1 {
                    self.pending[side].swap(0, 1);
                }
            }
            Step::Tick(side) => self.feed(side, Input::Tick),
            Step::WrongAccept(side, conn) => {
                let conn = ConnId(conn);
                if conn != self.machines[side].next_conn() {
                    self.feed(side, Input::Accepted { conn, remote: address(1 - side) });
                }
            }
        }
    }
}

/// A session up to its end, as each side saw it.
fn session() -> Link {
    let mut link = Link::new();
    link.run(200);
    assert_eq!(link.contracts[0].told().up.len(), 1);
    for size in [0, 1, 1000, 200_000, 3] {
        for side in [0, 1] {
            link.feed(side, Input::Send { payload: Bytes::from(vec![5; size]), to: id(1 - side) });
        }
        link.run(50);
    }
    link.run(2000);
    link.feed(0, Input::Stop);
    link.run(100);
    assert_eq!(link.contracts[0].status(), ClusterStatus::Stopped);
    link
}

fn replay(log: impl IntoIterator<Item = (Instant, Input)>) -> Vec<Action> {
    let mut machine = Machine::new();
    let mut actions = vec![];
    for (at, input) in log {
        machine.handle(at, input);
        while let Some(action) = machine.poll_action() {
            actions.push(action);
        }
    }
    actions
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_chunking_of_the_bytes_gives_the_same_actions(sizes in vec(1..5000_usize, 1..50), single in any::<bool>()) {
        let link = session();
        for side in [0, 1] {
            let mut sizes = sizes.iter().cycle();
            let mut small = 0;
            let chunked = link.log[side].iter().cloned().flat_map(|(at, input)| match input {
                Input::Received { conn, mut data, wall } => {
                    let mut pieces = vec![];
                    while !data.is_empty() {
                        small += 1;
                        let size = if single && small < 2000 { 1 } else { *sizes.next().unwrap() };
                        let piece = data.split_to(size.min(data.len()));
                        pieces.push((at, Input::Received { conn, data: piece, wall }));
                    }
                    pieces
                }
                input => vec![(at, input)],
            });
            // Whoever reads less at a time is woken more often.
            let said = |actions: Vec<Action>| actions.into_iter().filter(|action| *action != Action::Message).collect::<Vec<_>>();
            prop_assert_eq!(said(replay(chunked)), said(link.actions[side].clone()));
        }
    }

    #[test]
    fn bytes_that_came_together_may_come_in_one_piece(seed in any::<u8>()) {
        // Without credit in between, what was received in a row is received at once.
        let mut link = Link::new();
        link.start(0, seed);
        link.run(100);
        for side in [0, 1] {
            let mut joined: Vec<(Instant, Input)> = vec![];
            for (at, input) in link.log[side].clone() {
                match (joined.last_mut(), input) {
                    (Some((before, Input::Received { conn, data, .. })), Input::Received { conn: next, data: more, .. })
                        if *before == at && *conn == next =>
                    {
                        *data = [data.as_ref(), more.as_ref()].concat().into();
                    }
                    (_, input) => joined.push((at, input)),
                }
            }
            prop_assert_eq!(replay(joined), link.actions[side].clone());
        }
    }
}

#[test]
fn a_stop_may_refuse_a_session_that_was_chosen() {
    let mut link = Link::new();
    link.run(0);
    for step in [
        Step::Deliver(0),
        Step::Send(0, 0),
        Step::Settle(849),
        Step::Settle(607),
        Step::Halt(0),
        Step::Deliver(0),
        Step::Settle(1040),
        Step::DeliverAll,
        Step::Advance(0, 0),
        Step::Start(0, 0),
        Step::Deliver(0),
        Step::Deliver(0),
        Step::Deliver(1),
        Step::Drop(1),
        Step::DeliverAll,
        Step::Stop(1),
    ] {
        link.step(step);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_inputs_break_the_rules_of_actions_and_timeouts(up in any::<bool>(), steps in vec(step(), 0..120)) {
        let mut link = Link::new();
        link.run(if up { 100 } else { 0 });
        for step in steps {
            link.step(step);
        }
        for side in [0, 1] {
            link.feed(side, Input::Halt);
            prop_assert_eq!((link.contracts[side].status(), link.contracts[side].open()), (ClusterStatus::Stopped, 0));
            let said = link.actions[side].len();
            link.feed(side, Input::Tick);
            link.feed(side, Input::Closed { conn: ConnId(1) });
            prop_assert_eq!(link.actions[side].len(), said, "nothing comes after the stop");
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_actions_and_a_clone_goes_on_alike(steps in vec(step(), 0..80), cut in any::<Index>()) {
        let mut link = Link::new();
        let mut clone = None;
        let cut = cut.index(steps.len() + 1);
        for (place, step) in steps.iter().enumerate() {
            if place == cut {
                clone = Some(link.clone());
            }
            link.step(step.clone());
        }
        if let Some(mut clone) = clone {
            for step in &steps[cut..] {
                clone.step(step.clone());
            }
            prop_assert_eq!(&clone.actions, &link.actions);
        }
        let mut again = Link::new();
        for step in steps {
            again.step(step);
        }
        prop_assert_eq!(again.actions, link.actions);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_deadline_depends_on_pauses_before_it_was_set(steps in vec(step(), 0..120)) {
        // Both have run for as long, and one of them paused for thirty seconds of that.
        let (awake, paused) = ([500; 74], [[5500; 6].as_slice(), &[500; 8]].concat());
        let mut links = [Link::aged(&awake), Link::aged(&paused)];
        for link in &mut links {
            for step in &steps {
                link.step(step.clone());
            }
            link.run(3000);
        }
        for side in [0, 1] {
            prop_assert_eq!(links[0].now[side], links[1].now[side]);
            prop_assert_eq!(&links[0].actions[side], &links[1].actions[side]);
            prop_assert_eq!(&links[0].outlook[side], &links[1].outlook[side]);
        }
    }

    #[test]
    fn a_replayed_recording_gives_the_same_actions(up in any::<bool>(), steps in vec(step(), 0..120)) {
        let mut link = Link::new();
        link.run(if up { 100 } else { 0 });
        for step in steps {
            link.step(step);
        }
        let recording = link.machines[0].take_recording();
        let mut secrets = link.log[0].iter().flat_map(|(_, input)| match input {
            Input::SetSecrets { accepted, primary } => [vec![primary.clone()], accepted.clone()].concat(),
            Input::Start(_) => vec![Secret::from("correct horse battery staple")],
            _ => vec![],
        });
        let mut machine = Machine::new();
        let mut actions = vec![];
        for recorded in Recording::new(&recording).unwrap() {
            let recorded = recorded.unwrap();
            let (at, count) = (recorded.at, recorded.actions);
            machine.handle(at, recorded.into_input(&mut secrets).unwrap());
            let before = actions.len();
            actions.extend(std::iter::from_fn(|| machine.poll_action()));
            prop_assert_eq!(count, Some(actions.len() - before));
        }
        prop_assert!(secrets.next().is_none());
        prop_assert_eq!(&actions, &link.actions[0]);
    }
}

#[test]
fn the_deadline_of_a_quiet_machine_is_none() {
    let mut machine = Machine::new();
    assert_eq!(machine.poll_timeout(), None);
    machine.start(Instant::START, ClusterConfig::new("a").host("127.0.0.1")).unwrap();
    assert_eq!(machine.poll_timeout(), Some(Instant::START), "an action is queued");
    while machine.poll_action().is_some() {}
    assert_eq!(machine.poll_timeout(), None);
}

#[test]
fn the_network_of_these_tests_does_get_past_authentication() {
    let link = session();
    for side in [0, 1] {
        assert_eq!(link.machines[side].counters().ups, 1);
        assert_eq!(link.machines[side].counters().messages_received, 5);
    }
}
