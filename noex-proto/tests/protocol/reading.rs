//! What can be read of a machine at any time: itself, the others, and how full everything is.

use std::time::Duration;

use crate::net::{MS, Net, SECOND, address, config, id};
use noex_proto::{
    ClusterEvent, ClusterNotStartedError, ClusterStatus, Counters, Input, Instant, LastDown, Limits, Machine, NodeDownReason,
    NodeId, NodeInfo, NodeStatus, Readiness, ReadinessReason, Usage, WallTime,
};

/// `a` and `b` are up; `c`, a seed of `b`, never was.
fn formed() -> Net {
    let mut net = Net::new(3);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string(), id("c", 2).to_string()]));
    net.run(100 * MS);
    assert!(net.is_mesh(&[0, 1]));
    net
}

#[test]
fn a_node_reads_itself() {
    let mut net = formed();
    net.run(5 * SECOND);
    let (now, wall) = (net.now, WallTime(Duration::from_secs(99)));
    net.feed(1, Input::Tick);
    let machine = &net.nodes[1].machine;
    assert_eq!((machine.status(), machine.now()), (ClusterStatus::Running, now));
    let info = machine.local_node_info(now, wall).unwrap();
    assert_eq!((info.host(), info.port()), (&*address(1).ip().to_string(), address(1).port()));
    assert_eq!((info.id, info.status, info.process_count), (id("b", 1), NodeStatus::Connected, 0));
    assert_eq!(info.last_heartbeat_at, Some(wall));
    assert_eq!(info.uptime, 5 * SECOND + 100 * MS);
    assert_eq!(machine.uptime(now), Ok(info.uptime));
    assert_eq!(machine.local_node_id(), Ok(id("b", 1)));
    assert_eq!(machine.node(&id("a", 0)).unwrap().unwrap().status, NodeStatus::Connected);
    assert_eq!(machine.node(&id("x", 0)), Ok(None));
    assert!(machine.nodes().unwrap().iter().map(|info| &info.id).eq(&machine.node_ids().unwrap()));
}

#[test]
fn a_life_in_numbers() {
    let mut net = formed();
    net.send(0, &id("b", 1), "to b").unwrap();
    for _ in 0..2 {
        net.send(1, &id("a", 0), "to a").unwrap();
    }
    net.run(10 * MS);
    let conn = net.stranger(0, address(2));
    net.say(0, conn, "GET / HTTP/1.1\r\n");
    net.crash(1);
    net.run(100 * MS);
    let mut expected = Counters::default();
    (expected.accepted, expected.handshakes, expected.faults) = (2, 1, 1);
    (expected.ups, expected.downs, expected.member_answers) = (1, 1, 1);
    (expected.messages_received, expected.messages_sent) = (2, 1);
    assert_eq!(net.nodes[0].machine.counters(), expected);
}

#[test]
fn nothing_is_read_of_a_node_that_is_not_started_but_its_status() {
    let machine = Machine::new();
    let wall = WallTime::default();
    assert_eq!(machine.local_node_info(Instant::START, wall), Err(ClusterNotStartedError::default()));
    assert_eq!(machine.uptime(Instant::START), Err(ClusterNotStartedError::default()));
    assert_eq!(machine.connected_node_count(), Err(ClusterNotStartedError::default()));
    assert_eq!((machine.limits(), machine.usage()), (None, Usage::default()));
    assert_eq!(machine.status(), ClusterStatus::Stopped);
}

fn last_down(net: &Net, host: usize, of: &NodeId) -> Option<LastDown> {
    net.nodes[host].machine.node(of).unwrap().unwrap().last_down
}

#[test]
fn a_node_that_left_is_told_from_one_that_was_lost() {
    let mut net = formed();
    let (a, b) = (id("a", 0), id("b", 1));
    assert_eq!(last_down(&net, 1, &a), None);
    // What is carried is stamped when it is sent, so that estimates are late by a latency at most.
    let check = |net: &Net, host: usize, of: &NodeId, reason, at: Duration| {
        let down = last_down(net, host, of).unwrap();
        assert_eq!(down.reason, reason);
        assert!(down.at.0 <= at && at - down.at.0 <= 2 * net.latency, "{:?} for {at:?}", down.at);
    };

    // A close has no wall-clock time in it.
    net.run(7 * SECOND);
    net.crash(0);
    let closed = net.now.since_start() + net.latency;
    net.run(SECOND);
    check(&net, 1, &a, NodeDownReason::ConnectionClosed, closed);

    // It is back, and what was before is still known; then it leaves.
    net.start(0, config("a", 0).seeds([b.to_string()]));
    net.run(SECOND);
    assert!(net.is_up(1, &a));
    check(&net, 1, &a, NodeDownReason::ConnectionClosed, closed);
    assert_eq!(last_down(&net, 0, &b), None, "of another run nothing is known");
    net.feed(0, Input::Stop);
    let left = net.now.since_start() + net.latency;
    net.run(SECOND);
    check(&net, 1, &a, NodeDownReason::GracefulShutdown, left);

    // Nor has a tick: the last bytes came seconds before.
    net.start(0, config("a", 0).seeds([b.to_string()]));
    net.run(SECOND);
    net.clear_events();
    net.lose_power(0);
    net.run(20 * SECOND);
    let (silent, _) = net.nodes[1].events.iter().find(|(_, event)| matches!(event, ClusterEvent::NodeDown { .. })).unwrap();
    check(&net, 1, &a, NodeDownReason::HeartbeatTimeout, *silent);
}

#[test]
fn when_a_node_was_started_is_known_and_stays() {
    let mut net = formed();
    let info = |net: &Net| net.nodes[1].machine.node(&id("a", 0)).unwrap().unwrap();
    let before = info(&net);
    net.run(5 * SECOND);
    let after = info(&net);
    assert!(after.uptime > before.uptime);
    // The first starts at once, and what tells of it is stamped when it is sent.
    for node in [before, after] {
        assert_eq!(node.started_at.unwrap().0.as_millis(), 0, "{node:?}");
    }
    let wall = WallTime(Duration::from_secs(99));
    let own = net.nodes[1].machine.local_node_info(net.now, wall).unwrap();
    assert_eq!(own.started_at, Some(WallTime(wall.0 - own.uptime)));
    assert_eq!(own.last_down, None);
}

#[test]
fn nodes_are_written_in_milliseconds() {
    let mut net = formed();
    net.crash(0);
    net.run(SECOND);
    let mut node = net.nodes[1].machine.node(&id("a", 0)).unwrap().unwrap();
    node.last_heartbeat_at = Some(WallTime(Duration::from_millis(1_800_000_000_123)));
    let mut down: LastDown = serde_json::from_str(r#"{"at_ms":5,"reason":"heartbeat_timeout"}"#).unwrap();
    let whole = down.clone();
    down.at = WallTime(Duration::from_micros(5_999));
    node.last_down = Some(down);
    node.started_at = Some(WallTime(Duration::from_millis(7)));
    let text = serde_json::to_string(&node).unwrap();
    let (id, uptime) = (id("a", 0), node.uptime.as_millis());
    let expected = format!(
        r#"{{"id":"{id}","last_down":{{"at_ms":5,"reason":"heartbeat_timeout"}},"last_heartbeat_at_ms":1800000000123,"process_count":0,"started_at_ms":7,"status":"disconnected","uptime_ms":{uptime}}}"#
    );
    assert_eq!(text, expected);
    node.last_down = Some(whole);
    assert_eq!(serde_json::from_str::<NodeInfo>(&text).unwrap(), node, "but for what is less than a millisecond");
    // Nothing is known of a node that was never met.
    (node.last_down, node.last_heartbeat_at, node.started_at) = (None, None, None);
    assert_eq!(serde_json::from_str::<NodeInfo>(&serde_json::to_string(&node).unwrap()).unwrap(), node);
}

fn readiness(net: &Net, host: usize, min_nodes: usize) -> ReadinessReason {
    let Readiness { ready, why, .. } = net.nodes[host].machine.readiness(min_nodes);
    assert_eq!(ready, matches!(why, ReadinessReason::Ready { .. }));
    why
}

#[test]
fn a_node_is_ready_once_a_seed_was_met_and_as_many_nodes_as_wanted_are_up() {
    use ReadinessReason::{NoSeedMet, NotRunning, Ready, TooFewNodes};
    let mut net = Net::new(3);
    assert_eq!(readiness(&net, 1, 0), NotRunning(ClusterStatus::Stopped));

    // Without seeds it has nobody to meet.
    net.start(0, config("a", 0));
    assert_eq!(readiness(&net, 0, 0), Ready { connected: 0 });
    assert_eq!(readiness(&net, 0, 1), TooFewNodes { connected: 0, wanted: 1 });

    // One seed of two is enough, and one that is lost afterwards was met all the same.
    net.start(1, config("b", 1).seeds([id("a", 0).to_string(), id("c", 2).to_string()]));
    assert_eq!(readiness(&net, 1, 0), NoSeedMet);
    net.run(100 * MS);
    assert_eq!(readiness(&net, 1, 1), Ready { connected: 1 });
    assert_eq!(readiness(&net, 1, 2), TooFewNodes { connected: 1, wanted: 2 });
    net.crash(0);
    net.run(100 * MS);
    assert_eq!(readiness(&net, 1, 0), Ready { connected: 0 });

    // A new start begins anew.
    net.feed(1, Input::Stop);
    net.run(SECOND);
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(SECOND);
    assert_eq!(readiness(&net, 1, 0), NoSeedMet);
}

/// Pods that start one after the other, each when the one before is ready, have the first one as their seed, or a name that leads to all.
#[test]
fn the_first_of_nodes_with_one_list_of_seeds_is_ready_alone() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0).seeds([id("a", 0).to_string()]));
    net.run(100 * MS);
    assert_eq!(readiness(&net, 0, 0), ReadinessReason::Ready { connected: 0 }, "its own address is a seed that was met");
}

/// However the session came about: the seed's name may be another, and the seed may have dialled.
#[test]
fn a_seed_under_another_name_is_met_too() {
    for first in [0, 1] {
        let mut net = Net::new(2);
        // Who starts first finds nobody, and the other dials it.
        for host in [first, 1 - first] {
            let seed = [id("b", 1), id("x", 0)][host].to_string();
            net.start(host, config(["a", "b"][host], host).seeds([seed]));
            net.run(100 * MS);
        }
        assert!(net.is_mesh(&[0, 1]));
        net.run(5 * SECOND);
        assert_eq!(readiness(&net, 1, 1), ReadinessReason::Ready { connected: 1 });
    }
}

#[test]
fn a_seed_that_is_set_while_its_node_is_up_is_met() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(100 * MS);
    let now = net.now;
    net.nodes[0].machine.set_seeds(now, &[id("b", 1).to_string()]).unwrap();
    net.perform(0);
    assert_eq!(readiness(&net, 0, 0), ReadinessReason::Ready { connected: 1 });
}

#[test]
fn subscriptions_are_there_until_they_are_ended() {
    let mut machine = Machine::new();
    assert!(!machine.has_event_subscribers());
    let (events, messages) = (machine.subscribe_events(), machine.subscribe_messages());
    assert!(machine.has_event_subscribers());
    assert!(machine.is_subscribed(events) && machine.is_subscribed(messages));
    machine.unsubscribe(events);
    machine.unsubscribe(messages);
    assert!(!machine.has_event_subscribers());
    assert!(!machine.is_subscribed(events) && !machine.is_subscribed(messages));
}

#[test]
fn the_usage_says_how_full_each_limit_is() {
    let mut net = formed();
    let reader = net.nodes[1].machine.subscribe_events();
    assert_eq!(net.nodes[1].machine.limits(), Some(&Limits::default()));

    // The dials of c have failed; a seed that nobody has met is no node that is known.
    net.run(SECOND);
    let usage = net.nodes[1].machine.usage();
    assert_eq!((usage.members, usage.nodes, usage.connections), (1, 1, 1));
    assert_eq!(usage.events_per_subscriber, 1, "that a is up");
    net.nodes[1].machine.unsubscribe(reader);

    // Two strangers of one address, and one of another.
    for remote in ["10.9.9.9:1", "10.9.9.9:2", "10.9.9.8:1"] {
        net.stranger(1, remote.parse().unwrap());
    }
    let usage = net.nodes[1].machine.usage();
    assert_eq!((usage.half_open, usage.half_open_per_address, usage.connections), (3, 2, 4));

    // What a does not take stays in flight, and behind the window in the queue.
    let window = Limits::default().send_window_bytes;
    net.clog(1, 0);
    for _ in 0..3 {
        net.send(1, &id("a", 0), vec![7; window]).unwrap();
    }
    let usage = net.nodes[1].machine.usage();
    assert!(usage.send_window_bytes >= window, "{usage:?}");
    assert!((window..3 * window).contains(&usage.send_queue_bytes), "{usage:?}");

    // What nobody reads.
    let messages = net.nodes[0].machine.subscribe_messages();
    net.send(0, &id("b", 1), vec![7; 10]).unwrap();
    net.unclog();
    net.run(SECOND);
    assert!(net.nodes[0].machine.usage().message_bytes_per_subscriber >= 3 * window);
    net.nodes[0].machine.unsubscribe(messages);

    // A lost node is kept, one that left is remembered.
    net.crash(0);
    net.run(SECOND);
    let usage = net.nodes[1].machine.usage();
    assert_eq!((usage.members, usage.nodes, usage.disconnected_nodes, usage.departed_nodes), (0, 1, 1, 0));
}

#[test]
fn the_usage_counts_who_comes_and_who_goes() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    assert_eq!(net.nodes[1].machine.usage().dials_in_flight, 1);
    net.run(SECOND);
    assert_eq!(net.nodes[1].machine.usage().dials_in_flight, 0);

    net.feed(0, Input::Stop);
    assert_eq!(net.nodes[0].machine.usage().closing_connections, 1, "until its last bytes are written");
    net.run(SECOND);
    assert_eq!(net.nodes[1].machine.usage().departed_nodes, 1);
}
