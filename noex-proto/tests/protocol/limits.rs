//! Every limit: at it, and one above.

use std::net::SocketAddr;

use crate::net::{MS, Net, SECOND, address, config, id};
use bytes::Bytes;
use noex_proto::{
    Action, Close, ClusterConfig, ClusterError, ConnId, ConnectError, Input, Instant, Limits, Machine, NodeDownReason, NodeId,
    PeerFault, Refusal, SendError, Unreached, WallTime,
};

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn minimum() -> Limits {
    Limits::default()
        .closing_connections(1)
        .control_messages(1)
        .departed_nodes(1)
        .dials_in_flight(1)
        .dials_per_second(1)
        .disconnected_nodes(1)
        .error_reports_per_second(1)
        .events_per_subscriber(1)
        .half_open(1)
        .half_open_per_address(1)
        .lookups_in_flight(1)
        .members(1)
        .message_bytes(1)
        .message_bytes_per_subscriber(1)
        .send_queue_bytes(1)
        .send_window_bytes(1)
}

/// `b` dials `a`, each with its limits.
fn pair(a: Limits, b: Limits) -> Net {
    let mut net = Net::new(3);
    net.start(0, config("a", 0).limits(a));
    net.start(1, config("b", 1).limits(b).seeds([id("a", 0).to_string()]));
    net.run(30 * MS);
    assert!(net.is_mesh(&[0, 1]), "{:#?}", net.all_events());
    net
}

/// A machine without a network.
fn lone(config: ClusterConfig) -> Machine {
    let mut machine = Machine::new();
    machine.start(Instant::START, config).unwrap();
    let local = address(0);
    machine.handle(Instant::START, Input::Listening { entropy: [1; 32], local, network: Box::default() });
    machine
}

fn actions(machine: &mut Machine) -> Vec<Action> {
    std::iter::from_fn(|| machine.poll_action()).collect()
}

fn connects(machine: &mut Machine) -> Vec<ConnId> {
    let connects = actions(machine).into_iter().filter_map(|action| match action {
        Action::Connect { conn, .. } => Some(conn),
        _ => None,
    });
    connects.collect()
}

fn stranger(machine: &mut Machine, last: u8) -> (ConnId, Vec<Action>) {
    let conn = machine.next_conn();
    let remote = SocketAddr::from(([192, 0, 2, last], 1));
    machine.handle(Instant::START, Input::Accepted { conn, remote });
    (conn, actions(machine))
}

#[test]
fn whoever_connects_to_a_stopped_node_is_closed_and_takes_one_number() {
    let mut machine = Machine::new();
    for number in 1..=3 {
        let (conn, actions) = stranger(&mut machine, 1);
        assert_eq!(conn, ConnId(number));
        assert_eq!(actions, [Action::Close { conn, how: Close::Abort }]);
    }
}

#[test]
fn a_node_with_the_least_of_everything_works() {
    let mut net = pair(minimum(), minimum());
    for round in 0..10 {
        net.run(6 * SECOND);
        for (from, to) in [(0, id("b", 1)), (1, id("a", 0))] {
            assert_eq!(net.send(from, &to, vec![round]), Ok(()));
        }
    }
    net.run(SECOND);
    assert_eq!((net.total_ups(), net.total_downs()), (2, 0), "{:#?}", net.all_events());
    for host in [0, 1] {
        let payloads: Vec<u8> = net.nodes[host].messages.iter().map(|(_, payload)| payload[0]).collect();
        assert_eq!(payloads, (0..10).collect::<Vec<u8>>());
    }
    net.reset(0, 1);
    net.run(5 * SECOND);
    assert!(net.is_mesh(&[0, 1]));
    net.feed(0, Input::Stop);
    net.run(SECOND);
    assert_eq!(net.nodes[0].stopped, 1);
    assert_eq!(net.downs(1).last(), Some(&(id("a", 0), NodeDownReason::GracefulShutdown)));
}

#[test]
fn closing_connections() {
    let mut machine = lone(config("a", 0).limits(limits(|limits| {
        // Half of them for strangers.
        limits.closing_connections = 4;
        limits.half_open = 1;
        limits.half_open_per_address = 1;
    })));
    actions(&mut machine);
    let mut closes = vec![];
    let mut conns = vec![];
    for last in 0..5 {
        let (conn, actions) = stranger(&mut machine, last);
        conns.push(conn);
        closes.extend(actions.into_iter().filter_map(|action| match action {
            Action::Close { conn, how } => Some((conn, how == Close::Abort)),
            _ => None,
        }));
        if last == 3 {
            machine.handle(Instant::START, Input::Closed { conn: conns[0] });
        }
    }
    let [one, two, three, four, _] = conns[..] else { panic!() };
    assert_eq!(closes, [(one, false), (two, false), (three, true), (four, false)]);
}

#[test]
fn a_stop_closes_every_session_gracefully_whatever_is_closing_already() {
    let mut net = Net::new(6);
    let few = limits(|limits| limits.closing_connections = 1);
    net.start(0, config("a", 0).limits(few));
    for host in 1..6 {
        net.start(host, config("n", host).seeds([id("a", 0).to_string()]));
    }
    net.run(SECOND);
    net.nodes[0].closes.clear();
    net.feed(0, Input::Stop);
    net.run(SECOND);
    assert_eq!(net.nodes[0].closes.len(), 5);
    assert!(net.nodes[0].closes.iter().all(|(_, how)| matches!(how, Close::Graceful { .. })));
    assert_eq!(net.nodes[0].stopped, 1);
}

#[test]
fn dials_in_flight() {
    let seeds: Vec<String> = (1..6).map(|host| id("n", host).to_string()).collect();
    let mut machine = lone(config("a", 0).seeds(seeds).limits(limits(|limits| limits.dials_in_flight = 2)));
    let first = connects(&mut machine);
    assert_eq!(first.len(), 2);
    machine.handle(Instant::START, Input::DialFailed { conn: first[0], error: ConnectError::Refused });
    assert_eq!(connects(&mut machine).len(), 1, "the next one takes its place");
    // One that leads to a handshake is still in flight.
    machine.handle(Instant::START, Input::Connected { conn: first[1], remote: address(2) });
    assert_eq!(connects(&mut machine), []);
    machine.handle(Instant::START, Input::Closed { conn: first[1] });
    assert_eq!(connects(&mut machine).len(), 1);
}

#[test]
fn dials_per_second() {
    let seeds: Vec<String> = (1..6).map(|host| id("n", host).to_string()).collect();
    let mut machine = lone(config("a", 0).seeds(seeds).limits(limits(|limits| limits.dials_per_second = 2)));
    assert_eq!(connects(&mut machine).len(), 2);
    machine.handle(Instant::from_millis(999), Input::Tick);
    assert_eq!(connects(&mut machine), []);
    assert_eq!(machine.poll_timeout(), Some(Instant::from_millis(1000)));
    machine.handle(Instant::from_millis(1000), Input::Tick);
    assert_eq!(connects(&mut machine).len(), 2);
    machine.handle(Instant::from_millis(2000), Input::Tick);
    assert_eq!(connects(&mut machine).len(), 1);
}

#[test]
fn disconnected_nodes() {
    let mut net = Net::new(4);
    net.start(0, config("a", 0).limits(limits(|limits| limits.disconnected_nodes = 2)));
    for host in 1..4 {
        net.start(host, config("n", host).seeds([id("a", 0).to_string()]));
    }
    net.run(SECOND);
    for host in [2, 1] {
        net.crash(host);
        net.run(10 * MS);
    }
    assert_eq!(net.nodes[0].machine.node_ids(), Ok(vec![id("n", 1), id("n", 2), id("n", 3)]));
    net.crash(3);
    net.run(10 * MS);
    assert_eq!(net.nodes[0].machine.node_ids(), Ok(vec![id("n", 1), id("n", 3)]), "who was lost first is forgotten");
    net.clear_events();
    net.run(60 * SECOND);
    assert!(net.nodes[0].dials.iter().all(|(_, host, _)| *host != address(2).ip().to_string()), "and not dialled");
}

#[test]
fn of_nodes_lost_in_one_moment_none_is_dialled_that_is_forgotten() {
    let mut net = Net::new(4);
    net.start(0, config("a", 0).limits(limits(|limits| limits.disconnected_nodes = 1)));
    for host in 1..4 {
        net.start(host, config("n", host).seeds([id("a", 0).to_string()]));
    }
    net.run(SECOND);
    for host in [3, 2, 1] {
        net.reset(0, host);
        net.cut_both(0, host);
    }
    net.run(MS);
    let known = net.nodes[0].machine.node_ids().unwrap();
    assert_eq!(known.len(), 1);
    net.clear_events();
    net.run(60 * SECOND);
    let dialled: Vec<&String> =
        net.nodes[0].dials.iter().map(|(_, host, _)| host).filter(|host| *host != known[0].host()).collect();
    assert_eq!(dialled, Vec::<&String>::new());
}

#[test]
fn half_open_of_one() {
    let mut machine = lone(config("a", 0).limits(limits(|limits| {
        limits.half_open = 2;
        limits.half_open_per_address = 1;
    })));
    actions(&mut machine);
    let (one, _) = stranger(&mut machine, 1);
    let closed = |actions: Vec<Action>| {
        let closed = actions.into_iter().filter_map(|action| match action {
            Action::Close { conn, .. } => Some(conn),
            _ => None,
        });
        closed.collect::<Vec<_>>()
    };
    let (two, actions) = stranger(&mut machine, 1);
    assert_eq!(closed(actions), [one], "of the same address");
    let (_, actions) = stranger(&mut machine, 2);
    assert_eq!(closed(actions), []);
    let (_, actions) = stranger(&mut machine, 3);
    assert_eq!(closed(actions), [two], "in all");
}

#[test]
fn members() {
    let mut net = Net::new(3);
    net.start(0, config("a", 0).limits(limits(|limits| limits.members = 1)));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(SECOND);
    net.start(2, config("c", 2).seeds([id("a", 0).to_string()]));
    net.run(20 * MS);
    let refused = ClusterError::Refused { addr: address(0), reason: Refusal::LimitReached };
    let seed = ClusterError::SeedUnreachable { seed: id("a", 0).into(), why: Unreached::Refused(Refusal::LimitReached) };
    assert_eq!(net.errors(2)[..2], [refused, seed]);
    assert!(net.is_mesh(&[0, 1]));
    assert_eq!(net.ups(2), 0);
    net.feed(1, Input::Stop);
    net.run(60 * SECOND);
    assert!(net.is_up(0, &id("c", 2)), "there is room now");
    let error = config("a", 0).seeds(["b@b:1", "c@c:1"]).limits(limits(|limits| limits.members = 1)).check().unwrap_err();
    assert_eq!(error.field(), "seeds");
}

#[test]
fn a_full_node_refuses_its_own_seed_too() {
    let mut net = Net::new(3);
    net.start(0, config("a", 0).limits(limits(|limits| limits.members = 1)).seeds([id("c", 2).to_string()]));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(100 * MS);
    assert!(net.is_mesh(&[0, 1]));
    net.clear_events();
    let dials = net.nodes[0].dials.len();
    net.start(2, config("c", 2));
    net.run(60 * SECOND);
    assert_eq!((net.ups(0), net.ups(2)), (0, 0));
    let errors = net.errors(2);
    assert!(matches!(errors[0], ClusterError::Refused { reason: Refusal::LimitReached, .. }), "{errors:?}");
    assert!((2..20).contains(&(net.nodes[0].dials.len() - dials)), "the delays grow as after any failure");
}

#[test]
fn sessions_that_are_not_up() {
    // Given: four nodes prove themselves at once, and are heard no more. Their sessions hold places until the admission's time is over.
    let refused = |members, disconnected_nodes| {
        let mut net = Net::new(5);
        net.latency = 10 * MS;
        net.start(
            0,
            config("a", 0).limits(limits(|limits| (limits.members, limits.disconnected_nodes) = (members, disconnected_nodes))),
        );
        for host in 1..5 {
            net.start(host, config("b", host).seeds([id("a", 0).to_string()]));
        }
        net.run(55 * MS);
        (1..5).for_each(|host| net.cut_both(0, host));
        net.run(SECOND);
        assert_eq!((net.ups(0), net.nodes[0].machine.usage().half_open), (0, 0));
        net.nodes[0].closes.len()
    };
    assert_eq!(refused(1, 9), 2, "there may be two sessions for each member");
    assert_eq!(refused(2, 1), 1, "and as many nodes as members and lost ones");
    assert_eq!(refused(2, 2), 0);
}

#[test]
fn message_bytes() {
    let small = || limits(|limits| limits.message_bytes = 70_000);
    let mut net = pair(small(), Limits::default());
    assert_eq!(net.send(0, &id("b", 1), vec![0; 70_000]), Ok(()));
    assert_eq!(net.send(0, &id("b", 1), vec![0; 70_001]), Err(SendError::TooLarge { limit: 70_000, size: 70_001 }));
    assert_eq!(net.send(1, &id("a", 0), vec![0; 70_000]), Ok(()));
    net.run(10 * MS);
    assert_eq!((net.nodes[0].messages.len(), net.nodes[1].messages.len()), (1, 1));
    // The peer has a larger limit. What it sends is refused as soon as the sum of its pieces is too large.
    assert_eq!(net.send(1, &id("a", 0), vec![0; 70_001]), Ok(()));
    net.run(10 * MS);
    assert_eq!(net.nodes[0].messages.len(), 1);
    let errors = net.errors(0);
    let [ClusterError::Peer { fault: PeerFault::MessageTooLarge, id: Some(found), .. }] = &errors[..] else {
        panic!("{errors:?}")
    };
    assert_eq!(*found, id("b", 1));
    assert_eq!(net.downs(0), [(id("b", 1), NodeDownReason::ConnectionClosed)]);
}

#[test]
fn send_errors() {
    let mut net = pair(Limits::default(), Limits::default());
    assert_eq!(net.send(0, &id("c", 2), "x"), Err(SendError::NotConnected { to: id("c", 2) }));
    let own = id("a", 0);
    assert_eq!(net.send(0, &own, "x"), Err(SendError::ToSelf));
    // An input is not answered: what would be refused is dropped.
    let before = net.nodes[0].machine.counters();
    for to in [id("b", 1), id("c", 2)] {
        let payload = vec![0; Limits::default().message_bytes + 1].into();
        net.feed(0, Input::Send { payload, to });
    }
    assert_eq!((net.nodes[0].machine.counters(), net.nodes[0].machine.usage().send_queue_bytes), (before, 0));
    let mut stopped = Machine::new();
    assert!(matches!(stopped.send(Instant::START, &own, Bytes::new()), Err(SendError::NotStarted(_))));
    net.nodes[0].clogged = true;
    net.feed(0, Input::Stop);
    assert!(matches!(net.send(0, &id("b", 1), "x"), Err(SendError::NotStarted(_))));
}

#[test]
fn a_reader_that_takes_nothing_costs_a_bounded_amount_while_heartbeats_flow() {
    let mut net = pair(
        limits(|limits| {
            limits.message_bytes = 100_000;
            limits.send_queue_bytes = 1_000_000;
            limits.send_window_bytes = 200_000;
        }),
        Limits::default(),
    );
    let before = net.nodes[0].sent;
    net.nodes[0].clogged = true;
    let mut taken = 0;
    let full = loop {
        assert!(taken < 100, "it takes whatever comes");
        match net.send(0, &id("b", 1), vec![1; 50_000]) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full, SendError::QueueFull { limit: 1_000_000, to: id("b", 1) });
    let released = net.nodes[0].sent - before;
    assert!((200_000..200_000 + 65_604).contains(&released), "the window and less than a record: {released}");
    assert!(taken * 50_000 <= 1_000_000 + released);
    assert!(taken * 50_064 > 1_000_000, "{taken}");
    // Nothing more is released, whatever comes to be sent.
    net.cut(1, 0);
    for _ in 0..30 {
        net.run(100 * MS);
        assert_eq!(net.send(0, &id("b", 1), vec![1; 50_000]), Err(SendError::QueueFull { limit: 1_000_000, to: id("b", 1) }));
    }
    assert_eq!(net.nodes[0].sent - before, released);
}

#[test]
fn heartbeats_flow_both_ways_beside_a_full_queue() {
    let mut net = pair(
        limits(|limits| {
            limits.message_bytes = 100_000;
            limits.send_queue_bytes = 1_000_000;
            limits.send_window_bytes = 1000;
        }),
        Limits::default(),
    );
    net.nodes[0].slow = 300 * MS;
    for _ in 0..600 {
        let taken = (0..20).take_while(|_| net.send(0, &id("b", 1), vec![1; 90_000]).is_ok()).count();
        assert!(taken < 20, "it takes whatever comes");
        net.run(100 * MS);
    }
    assert_eq!(net.total_downs(), 0);
    let lag = |host: usize, of: NodeId| {
        let info = net.nodes[host].machine.node(&of).unwrap().unwrap();
        net.now.since_start() - info.last_heartbeat_at.unwrap().0
    };
    assert!(lag(1, id("a", 0)) < 1400 * MS && lag(0, id("b", 1)) < 1100 * MS);
}

#[test]
fn a_handshake_frame_is_judged_before_it_is_there() {
    let mut machine = lone(config("a", 0));
    actions(&mut machine);
    let (conn, _) = stranger(&mut machine, 1);
    let wall = WallTime::default();
    machine.handle(Instant::START, Input::Received { conn, data: Bytes::from_static(&[0, 0, 4, 1]), wall });
    assert!(actions(&mut machine).contains(&Action::Close { conn, how: Close::Abort }));
}
