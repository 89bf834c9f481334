//! Every limit: at it, and one above.

use std::net::SocketAddr;

use crate::net::{MS, Net, SECOND, address, config, id};
use bytes::Bytes;
use noex_proto::{
    Action, Close, ClusterConfig, ClusterError, ClusterEvent, ClusterStatus, ConnId, DialError, Input, Instant, Limits, Machine,
    MessagesLagged, NodeDownReason, NodeId, PeerFault, Refusal, SendError, SubscriptionId, Unreached, WallTime,
};

fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    change(&mut limits);
    limits
}

fn minimum() -> Limits {
    Limits {
        closing_connections: 1,
        control_messages: 1,
        departed_nodes: 1,
        dials_in_flight: 1,
        dials_per_second: 1,
        disconnected_nodes: 1,
        error_reports_per_second: 1,
        events_per_subscriber: 1,
        half_open: 1,
        half_open_per_address: 1,
        members: 1,
        message_bytes: 1,
        message_bytes_per_subscriber: 1,
        send_queue_bytes: 1,
        send_window_bytes: 1,
    }
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
    machine.handle(Instant::START, Input::Listening { entropy: [1; 32], interface: None, local, route: None });
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
        limits.closing_connections = 2;
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
    machine.handle(Instant::START, Input::DialFailed { conn: first[0], error: DialError::Refused });
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
    let seed = ClusterError::SeedUnreachable { seed: id("a", 0), why: Unreached::Refused(Refusal::LimitReached) };
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
    assert_eq!(net.send(0, &own, "x"), Err(SendError::NotConnected { to: own.clone() }));
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

// Subscriptions

fn events(net: &mut Net, host: usize, subscription: SubscriptionId) -> Vec<ClusterEvent> {
    let machine = &mut net.nodes[host].machine;
    std::iter::from_fn(|| machine.poll_event(subscription)).collect()
}

fn is_up(event: &ClusterEvent, of: &NodeId) -> bool {
    matches!(event, ClusterEvent::NodeUp(info) if info.id == *of)
}

fn down(of: NodeId, reason: NodeDownReason) -> ClusterEvent {
    ClusterEvent::NodeDown { id: of, reason }
}

fn cluster(n: usize, of_first: Limits) -> Net {
    let mut net = Net::new(n + 1);
    net.start(0, config("n", 0).limits(of_first));
    for host in 1..n {
        net.start(host, config("n", host).seeds([id("n", 0).to_string()]));
    }
    net.run(SECOND);
    net
}

#[test]
fn a_late_subscriber_gets_the_members_first() {
    let mut net = cluster(3, Limits::default());
    let late = net.nodes[0].machine.subscribe_events();
    net.crash(1);
    net.run(10 * MS);
    let found = events(&mut net, 0, late);
    assert_eq!(found.len(), 3);
    assert!(is_up(&found[0], &id("n", 1)) && is_up(&found[1], &id("n", 2)));
    assert_eq!(found[2], down(id("n", 1), NodeDownReason::ConnectionClosed));
    net.nodes[0].machine.unsubscribe(late);
    assert_eq!(net.nodes[0].machine.poll_event(late), None);
}

#[test]
fn a_lagging_subscriber_is_told_how_many_it_missed_and_by_what_its_picture_differs() {
    let mut net = cluster(4, limits(|limits| limits.events_per_subscriber = 4));
    let slow = net.nodes[0].machine.subscribe_events();
    let told = events(&mut net, 0, slow);
    assert_eq!(told.len(), 3);
    // Four events fit.
    net.feed(1, Input::Stop);
    net.run(10 * MS);
    net.crash(2);
    net.run(10 * MS);
    for _ in 0..2 {
        net.feed(0, Input::Report(noex_proto::LocalFault::NoSecret));
    }
    let mut copy = net.nodes[0].machine.clone();
    assert_eq!(std::iter::from_fn(|| copy.poll_event(slow)).count(), 4);
    // The fifth does not, and all are dropped.
    net.start(4, config("n", 4).seeds([id("n", 0).to_string()]));
    net.run(20 * MS);
    // A node that went and came again in the meantime is down and up for the subscriber too.
    net.reset(0, 3);
    net.run(3 * SECOND);
    assert!(net.is_up(0, &id("n", 3)) && net.is_up(0, &id("n", 4)));
    let since = net.nodes[0].events.len();
    let found = events(&mut net, 0, slow);
    assert_eq!(found[0], ClusterEvent::Lagged { missed: 7 }, "{found:#?}");
    assert_eq!(found[1], down(id("n", 1), NodeDownReason::GracefulShutdown));
    assert_eq!(found[2], down(id("n", 2), NodeDownReason::ConnectionClosed));
    assert_eq!(found[3], down(id("n", 3), NodeDownReason::ConnectionClosed));
    assert!(is_up(&found[4], &id("n", 3)) && is_up(&found[5], &id("n", 4)));
    assert_eq!(found.len(), 6);
    // From here on it hears everything again.
    net.feed(4, Input::Stop);
    net.run(20 * MS);
    assert_eq!(events(&mut net, 0, slow), [down(id("n", 4), NodeDownReason::GracefulShutdown)]);
    assert_eq!(net.nodes[0].events.len(), since + 1);
}

#[test]
fn ups_and_downs_alternate_for_a_subscriber_who_ignores_that_it_lags() {
    let mut net = cluster(3, limits(|limits| limits.events_per_subscriber = 2));
    let slow = net.nodes[0].machine.subscribe_events();
    let mut up = std::collections::BTreeSet::new();
    let mut statuses = vec![];
    for round in 0..60 {
        match round % 6 {
            0 => net.reset(0, 1),
            1 => net.reset(0, 2),
            3 => net.feed(0, Input::Stop),
            4 => net.start(
                0,
                config("n", 0).seeds([id("n", 1).to_string()]).limits(limits(|limits| limits.events_per_subscriber = 2)),
            ),
            _ => {}
        }
        net.run(50 * MS + SECOND * (round % 5));
        for _ in 0..round % 4 {
            let Some(event) = net.nodes[0].machine.poll_event(slow) else { break };
            match event {
                ClusterEvent::NodeUp(info) => assert!(up.insert(info.id)),
                ClusterEvent::NodeDown { id, .. } => assert!(up.remove(&id)),
                ClusterEvent::StatusChange(status) => {
                    statuses.push(status);
                    if status == ClusterStatus::Stopped {
                        up.clear();
                    }
                }
                ClusterEvent::Error(_) | ClusterEvent::Lagged { .. } => {}
            }
        }
    }
    while let Some(event) = net.nodes[0].machine.poll_event(slow) {
        match event {
            ClusterEvent::NodeUp(info) => assert!(up.insert(info.id)),
            ClusterEvent::NodeDown { id, .. } => assert!(up.remove(&id)),
            _ => {}
        }
    }
    let connected = net.nodes[0].machine.connected_nodes().unwrap();
    assert!(connected.iter().map(|info| &info.id).eq(&up), "{up:?}");
    assert_eq!(statuses.last(), Some(&ClusterStatus::Running));
}

#[test]
fn a_status_change_is_not_lost_across_a_lag() {
    let mut net = cluster(2, limits(|limits| limits.events_per_subscriber = 1));
    let slow = net.nodes[0].machine.subscribe_events();
    assert_eq!(events(&mut net, 0, slow).len(), 1);
    net.feed(0, Input::Stop);
    net.run(SECOND);
    let found = events(&mut net, 0, slow);
    assert_eq!(found, [ClusterEvent::Lagged { missed: 2 }, ClusterEvent::StatusChange(ClusterStatus::Stopped)]);
    // Stopped and started again: the member it was told of before counts as gone, and is up anew.
    net.start(0, config("n", 0).limits(limits(|limits| limits.events_per_subscriber = 1)));
    net.run(40 * SECOND);
    assert!(net.is_up(0, &id("n", 1)));
    let _ = events(&mut net, 0, slow);
    net.feed(0, Input::Stop);
    net.run(SECOND);
    net.start(0, config("n", 0).limits(limits(|limits| limits.events_per_subscriber = 1)));
    net.run(40 * SECOND);
    let found = events(&mut net, 0, slow);
    assert!(matches!(found[0], ClusterEvent::Lagged { .. }));
    assert!(
        found.contains(&ClusterEvent::StatusChange(ClusterStatus::Stopped)),
        "without it, the up would be a second one: {found:#?}"
    );
    let stopped = found.iter().position(|event| *event == ClusterEvent::StatusChange(ClusterStatus::Stopped));
    assert_eq!(
        found.iter().rev().find(|event| matches!(event, ClusterEvent::StatusChange(_))),
        Some(&ClusterEvent::StatusChange(ClusterStatus::Running))
    );
    assert!(found.iter().position(|event| is_up(event, &id("n", 1))) > stopped);
}

#[test]
fn a_subscriber_that_lags_while_the_node_stops_hears_of_no_downs_for_it() {
    let mut net = cluster(3, limits(|limits| limits.events_per_subscriber = 2));
    let slow = net.nodes[0].machine.subscribe_events();
    assert_eq!(events(&mut net, 0, slow).len(), 2);
    net.reset(0, 2);
    for _ in 0..2 {
        net.feed(0, Input::Report(noex_proto::LocalFault::NoSecret));
    }
    net.feed(0, Input::Stop);
    let found = events(&mut net, 0, slow);
    assert_eq!(
        found,
        [
            ClusterEvent::Lagged { missed: 4 },
            ClusterEvent::StatusChange(ClusterStatus::Stopping),
            down(id("n", 2), NodeDownReason::ConnectionClosed)
        ]
    );
    net.run(SECOND);
    assert_eq!(events(&mut net, 0, slow), [ClusterEvent::StatusChange(ClusterStatus::Stopped)]);
}

#[test]
fn a_subscriber_to_messages_is_told_how_many_it_missed_where_they_were() {
    let room = limits(|limits| {
        limits.message_bytes = 100;
        limits.message_bytes_per_subscriber = 3 * (100 + 64);
    });
    let mut net = pair(room, Limits::default());
    let slow = net.nodes[0].machine.subscribe_messages();
    let say = |net: &mut Net, byte: u8| {
        net.send(1, &id("a", 0), vec![byte; 100]).unwrap();
        net.run(5 * MS);
    };
    for byte in 0..5 {
        say(&mut net, byte);
    }
    let poll = |net: &mut Net| net.nodes[0].machine.poll_message(slow).map(|message| message.map(|message| message.payload[0]));
    assert_eq!(poll(&mut net), Some(Ok(0)));
    say(&mut net, 5);
    let rest: Vec<_> = std::iter::from_fn(|| poll(&mut net)).collect();
    assert_eq!(rest, [Ok(1), Ok(2), Err(MessagesLagged { missed: 2 }), Ok(5)]);
    assert_eq!(net.nodes[0].messages.len(), 6, "the other subscriber has them all");
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
