//! Subscriptions: what a late reader hears first, and what one hears that cannot keep up.

use crate::net::{MS, Net, SECOND, config, id};
use noex_proto::{ClusterEvent, ClusterStatus, Input, Limits, LocalFault, NodeDownReason, NodeId, SubscriptionId};

/// So many events may wait for a reader.
fn few(events_per_subscriber: usize) -> Limits {
    Limits::default().events_per_subscriber(events_per_subscriber)
}

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

/// One that is passed on each time.
fn report() -> Input {
    Input::Report(LocalFault::HandlerPanicked { message: "oh".into() })
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
    let mut net = cluster(4, few(4));
    let slow = net.nodes[0].machine.subscribe_events();
    let told = events(&mut net, 0, slow);
    assert_eq!(told.len(), 3);
    // Four events fit.
    net.feed(1, Input::Stop);
    net.run(10 * MS);
    net.crash(2);
    net.run(10 * MS);
    for _ in 0..2 {
        net.feed(0, report());
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
fn what_is_told_again_is_not_counted_as_missed() {
    let mut net = cluster(4, few(1));
    let slow = net.nodes[0].machine.subscribe_events();
    // The three ups that a subscription begins with, and those of a catch-up, are told again in the next one.
    for reports in [2, 3] {
        for _ in 0..reports {
            net.feed(0, report());
        }
        assert_eq!(net.nodes[0].machine.poll_event(slow), Some(ClusterEvent::Lagged { missed: reports }));
    }
    assert_eq!(events(&mut net, 0, slow).len(), 3);
}

#[test]
fn ups_and_downs_alternate_for_a_subscriber_who_ignores_that_it_lags() {
    let mut net = cluster(3, few(2));
    let slow = net.nodes[0].machine.subscribe_events();
    let mut up = std::collections::BTreeSet::new();
    let mut statuses = vec![];
    for round in 0..60 {
        match round % 6 {
            0 => net.reset(0, 1),
            1 => net.reset(0, 2),
            3 => net.feed(0, Input::Stop),
            4 => net.start(0, config("n", 0).seeds([id("n", 1).to_string()]).limits(few(2))),
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
                other => unreachable!("{other:?} is new"),
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
    let mut net = cluster(2, few(1));
    let slow = net.nodes[0].machine.subscribe_events();
    assert_eq!(events(&mut net, 0, slow).len(), 1);
    net.feed(0, Input::Stop);
    net.run(SECOND);
    let found = events(&mut net, 0, slow);
    assert_eq!(found, [ClusterEvent::Lagged { missed: 2 }, ClusterEvent::StatusChange(ClusterStatus::Stopped)]);
    // Stopped and started again: the member it was told of before counts as gone, and is up anew.
    net.start(0, config("n", 0).limits(few(1)));
    net.run(40 * SECOND);
    assert!(net.is_up(0, &id("n", 1)));
    let _ = events(&mut net, 0, slow);
    net.feed(0, Input::Stop);
    net.run(SECOND);
    net.start(0, config("n", 0).limits(few(1)));
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
    let mut net = cluster(3, few(2));
    let slow = net.nodes[0].machine.subscribe_events();
    assert_eq!(events(&mut net, 0, slow).len(), 2);
    net.reset(0, 2);
    for _ in 0..2 {
        net.feed(0, report());
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
    let room = Limits::default().message_bytes(100).message_bytes_per_subscriber(3 * (100 + 64));
    let mut net = cluster(2, room);
    let slow = net.nodes[0].machine.subscribe_messages();
    let say = |net: &mut Net, byte: u8| {
        net.send(1, &id("n", 0), vec![byte; 100]).unwrap();
        net.run(5 * MS);
    };
    for byte in 0..5 {
        say(&mut net, byte);
    }
    let poll = |net: &mut Net| {
        net.nodes[0].machine.poll_message(slow).map(|item| match item {
            Ok(message) => Ok(message.payload[0]),
            Err(lagged) => Err(lagged.missed),
        })
    };
    assert_eq!(poll(&mut net), Some(Ok(0)));
    say(&mut net, 5);
    let rest: Vec<_> = std::iter::from_fn(|| poll(&mut net)).collect();
    assert_eq!(rest, [Ok(1), Ok(2), Err(2), Ok(5)]);
    assert_eq!(net.nodes[0].messages.len(), 6, "the other subscriber has them all");
}
