//! Who is admitted, and when: several sessions with one peer, several incarnations of it, and room for it.

use std::net::SocketAddr;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::{ADDRESS, Bench, INTERVAL, MS, SECOND, foreign_hello, heartbeat, hint, intro, live, members, node, offer, timed_out};
use crate::wire::message::Control;
use crate::{Action, Close, ClusterConfig, ClusterError, ClusterEvent, ConnId, Input, Limits};

#[test]
fn no_more_nodes_are_up_than_may_be_though_several_are_chosen_at_once() {
    let mut bench = Bench::new(Limits { members: 2, ..Limits::default() });
    let [a, b, c] = ["a", "b", "c"].map(|name| bench.authenticate(&node(name), 1, ADDRESS));
    for conn in [a, b, c] {
        bench.say(conn, &[offer()]);
    }
    assert_eq!(bench.members[&c].heard, [Control::Refused(4)]);
    // One of the two chosen ones goes before it is up: there is room again.
    bench.feed(Input::Closed { conn: a });
    let z = bench.authenticate(&node("z"), 1, ADDRESS);
    bench.say(z, &[intro(1)]);
    bench.say(b, &[intro(1)]);
    assert_eq!(bench.machine.connected_node_count(), Ok(2));
    let y = bench.authenticate(&node("y"), 1, ADDRESS);
    bench.say(y, &[intro(1)]);
    assert_eq!(bench.members[&y].heard, [offer(), Control::Refused(4)]);
    // One of the two that are up goes.
    bench.feed(Input::Closed { conn: z });
    bench.up_as(&node("x"), 1, ADDRESS);
}

#[test]
fn sessions_with_one_peer_are_bounded() {
    let mut bench = Bench::new(Limits::default());
    let b = node("b");
    let first = bench.authenticate(&b, 1, ADDRESS);
    let waiting: Vec<ConnId> = (0..100).map(|_| bench.authenticate(&b, 1, ADDRESS)).collect();
    let refused = |bench: &Bench| waiting.iter().filter(|conn| !bench.members[conn].heard.is_empty()).count();
    // One and 31 more are the 32 that there may be.
    assert_eq!(refused(&bench), 100 - 31);
    bench.say(first, &[offer(), intro(1)]);
    assert_eq!(bench.machine.is_node_connected(&b), Ok(true));
    // Another node is not concerned.
    bench.up_as(&node("c"), 1, ADDRESS);
}

/// With each of these nodes a session is up, and 31 of another incarnation wait for it, each to be replaced by the next.
fn with_waiting(names: impl Iterator<Item = char>) -> (Bench, Vec<ConnId>) {
    let mut bench = Bench::new(Limits::default());
    let mut used = vec![];
    for name in names {
        let id = node(&name.to_string());
        let first = bench.authenticate(&id, 1, ADDRESS);
        let waiting: Vec<ConnId> = (0..31).map(|_| bench.authenticate(&id, 2, ADDRESS)).collect();
        bench.say(first, &[intro(1)]);
        for (conn, n) in waiting.iter().zip(0..) {
            bench.say(*conn, &[intro(1000 - n)]);
        }
        used.push(first);
    }
    bench.actions.clear();
    (bench, used)
}

fn ended(bench: &Bench) -> usize {
    bench.actions.iter().filter(|action| matches!(action, Action::Close { .. })).count()
}

// Where debug assertions are on, an effect that performs others panics: so none of these ends lies within another.

#[test]
fn all_who_wait_for_a_session_have_their_turn_in_one_input() {
    let (mut bench, used) = with_waiting("z".chars());
    bench.say(used[0], &[Control::Goodbye]);
    // All but the last one have replaced each other.
    assert_eq!((bench.machine.connected_node_count(), ended(&bench)), (Ok(1), 31));
    assert_eq!(bench.machine.counters().replaced, 30);
}

#[test]
fn four_hundred_sessions_that_wait_end_in_one_input() {
    let (mut bench, used) = with_waiting("nopqrstuvwxyz".chars());
    bench.machine.handle(bench.now, Input::Stop);
    let actions = std::iter::from_fn(|| bench.machine.poll_action());
    bench.actions = actions.collect();
    assert_eq!((used.len(), ended(&bench)), (13, 13 * 32));
}

#[test]
fn what_came_before_the_probe_is_no_answer_to_it() {
    // The greater: an introduction was on its way when its incarnation died, and another one waits.
    let mut bench = Bench::new(Limits::default());
    let b = node("b");
    let old = bench.authenticate(&b, 1, ADDRESS);
    bench.say(old, &[offer()]);
    let new = bench.authenticate(&b, 2, ADDRESS);
    bench.say(new, &[offer()]);
    bench.say(old, &[intro(1)]);
    assert_eq!((bench.machine.is_node_connected(&b), bench.members[&new].heard.last()), (Ok(true), None));
    // The probe fails.
    bench.run(3 * SECOND);
    assert!(matches!(bench.members[&new].heard[..], [Control::Intro { .. }]));
    let conflict = |action: &Action| matches!(action, Action::Event(ClusterEvent::Error(ClusterError::IdentityConflict { .. })));
    assert!(!bench.actions.iter().any(conflict));
}

#[test]
fn an_answer_to_a_probe_is_not_followed_by_another_for_nobody() {
    let mut bench = Bench::new(Limits::default());
    let b = node("b");
    let old = bench.up_as(&b, 1, ADDRESS);
    for _ in 0..2 {
        let new = bench.authenticate(&b, 2, ADDRESS);
        bench.say(new, &[offer()]);
    }
    bench.say(old, &[Control::Pong { echo: 1, leaving: false }]);
    assert_eq!(bench.machine.counters().probes, 1);
    // It is silent for less than it may be.
    bench.run(3 * SECOND);
    assert_eq!(bench.machine.is_node_connected(&b), Ok(true));
}

/// A peer is up that reads nothing, and its window is full.
fn clogged() -> (Bench, ConnId) {
    let mut bench = Bench::new(Limits { control_messages: 8, send_window_bytes: 1000, ..Limits::default() });
    let conn = bench.up_as(&node("b"), 1, ADDRESS);
    bench.clogged = true;
    bench.machine.send(bench.now, &node("b"), vec![0; 5000].into()).expect("queued");
    bench.feed(Input::Tick);
    (bench, conn)
}

#[test]
fn probes_of_a_reader_that_takes_nothing_are_bounded() {
    let (mut bench, old) = clogged();
    for _ in 0..100 {
        let new = bench.authenticate(&node("b"), 2, ADDRESS);
        bench.say(new, &[offer()]);
        bench.say(old, &[heartbeat(1)]);
    }
    assert_eq!((bench.machine.is_node_connected(&node("b")), bench.machine.counters().probes), (Ok(true), 100));
    assert!(bench.machine.usage().control_messages <= 2);
}

#[test]
fn questions_to_a_reader_that_takes_nothing_are_bounded() {
    let (mut bench, conn) = clogged();
    for n in 0..200 {
        bench.run(INTERVAL / 4);
        bench.say(conn, &[heartbeat(5 + n), members(vec![])]);
    }
    assert_eq!(bench.machine.is_node_connected(&node("b")), Ok(true));
    assert!(bench.machine.usage().control_messages <= 2);
}

#[test]
fn of_two_instances_of_a_node_one_is_up_also_when_its_session_is_replaced() {
    let mut bench = Bench::new(Limits::default());
    let z = node("z");
    // Given: one incarnation comes up, and another, whom the node offered a session before, waits for a sign of life of it.
    let other = bench.authenticate(&z, 2, ADDRESS);
    bench.up_as(&z, 1, ADDRESS);
    bench.say(other, &[intro(7)]);
    bench.actions.clear();
    // When the first incarnation comes with another session, it has lost the one in use, and lives.
    let again = bench.authenticate(&z, 1, ADDRESS);
    bench.say(again, &[intro(2)]);
    let story: Vec<bool> = bench
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Event(ClusterEvent::NodeDown { .. }) => Some(false),
            Action::Event(ClusterEvent::NodeUp(_)) => Some(true),
            _ => None,
        })
        .collect();
    assert_eq!((story, bench.machine.connected_node_count()), (vec![false, true], Ok(1)));
    // The other one waits for a sign of life of that session now, and is refused when there is one.
    assert_eq!(bench.members[&other].heard, [offer()]);
    bench.say(again, &[Control::Pong { echo: 2, leaving: false }]);
    assert_eq!(bench.members[&other].heard.last(), Some(&Control::Refused(1)));
}

#[test]
fn an_instance_that_waits_for_another_does_not_come_up_when_the_node_stops() {
    let mut bench = Bench::new(Limits::default());
    let z = node("z");
    let (first, other) = (bench.authenticate(&z, 1, ADDRESS), bench.authenticate(&z, 2, ADDRESS));
    bench.say(first, &[intro(1)]);
    bench.say(other, &[intro(7)]);
    bench.actions.clear();
    bench.feed(Input::Stop);
    assert!(!bench.actions.iter().any(|action| matches!(action, Action::Event(ClusterEvent::NodeUp(_)))));
    assert_eq!(bench.members[&other].heard.last(), Some(&Control::Refused(3)));
}

#[test]
fn who_waited_for_a_probe_is_not_silent_when_it_comes_up() {
    let mut bench = Bench::of(ClusterConfig::new("m").heartbeat_interval(INTERVAL).heartbeat_miss_threshold(1));
    let z = node("z");
    let (first, other) = (bench.authenticate(&z, 1, ADDRESS), bench.authenticate(&z, 2, ADDRESS));
    bench.say(first, &[intro(1)]);
    bench.say(other, &[intro(7)]);
    bench.run(2100 * MS);
    assert_eq!(bench.machine.session(&z), Ok(Some(other)), "the probe has failed");
    bench.actions.clear();
    // Its first heartbeat is due within an interval of being up.
    bench.run(1500 * MS);
    assert!(!timed_out(&bench));
}

#[test]
fn conflicts_are_reported_at_a_bounded_rate() {
    let mut bench = Bench::new(Limits::default());
    let old = bench.up_as(&node("b"), 1, ADDRESS);
    for n in 2..33 {
        let conn = bench.authenticate(&node("b"), n, ADDRESS);
        bench.say(conn, &[offer()]);
    }
    bench.say(old, &[Control::Pong { echo: 1, leaving: false }]);
    // All newcomers are refused at once.
    let conflict = |action: &&Action| matches!(action, Action::Event(ClusterEvent::Error(ClusterError::IdentityConflict { .. })));
    let told = bench.actions.iter().filter(conflict).count();
    assert_eq!((told, bench.machine.counters().reports_held_back), (16, 15));
}

#[test]
fn who_was_impersonated_can_come_back() {
    let mut bench = Bench::new(Limits::default());
    let z = node("z");
    bench.up_as(&z, 1, ADDRESS);
    let forged = bench.authenticate(&z, 1, [10, 6, 6, 6]);
    bench.say(forged, &[intro(u64::MAX)]);
    bench.feed(Input::Closed { conn: forged });
    // The true one tries to come back for 50 minutes, again and again.
    for n in 2..100 {
        let conn = bench.authenticate(&z, 1, ADDRESS);
        bench.say(conn, &[intro(n)]);
        if bench.machine.is_node_connected(&z) == Ok(true) {
            return;
        }
        bench.run(30 * SECOND);
    }
    panic!("never: {:?} stale", bench.machine.counters().stale_admissions);
}

#[test]
fn claims_to_the_own_identity_are_reported_at_a_bounded_rate_whatever_the_delays() {
    let config = ClusterConfig::new("m").heartbeat_interval(INTERVAL).reconnect_base_delay(MS).reconnect_max_delay(MS);
    let mut bench = Bench::of(config);
    bench.actions.clear();
    for _ in 0..100 {
        bench.now = bench.now + 5 * MS;
        let conn = bench.authenticate(&node("z"), 1, ADDRESS);
        bench.say(conn, &[Control::Refused(1)]);
    }
    let conflict = |action: &&Action| matches!(action, Action::Event(ClusterEvent::Error(ClusterError::IdentityConflict { .. })));
    assert!(bench.actions.iter().filter(conflict).count() <= 16);
}

#[test]
fn newcomers_during_a_stop_pass_no_limit_of_closing_connections() {
    let mut bench = Bench::new(Limits { closing_connections: 4, ..Limits::default() });
    bench.up("b");
    bench.clogged = true;
    bench.feed(Input::Stop);
    for n in 0..50 {
        bench.authenticate(&node("z"), n, ADDRESS);
    }
    assert!(bench.machine.usage().closing_connections <= 5, "{}", bench.machine.usage().closing_connections);
}

#[test]
fn who_has_a_session_is_told_why_it_is_refused_whatever_strangers_do() {
    let mut bench = Bench::new(Limits::default());
    bench.up("b");
    for port in 0..256 {
        let conn = bench.machine.next_conn();
        bench.feed(Input::Accepted { conn, remote: SocketAddr::from(([10, 9, 9, 9], port)) });
        bench.receive(conn, foreign_hello());
    }
    let again = bench.authenticate(&node("b"), b'b', ADDRESS);
    bench.say(again, &[offer()]);
    assert_eq!(bench.members[&again].heard, [Control::Refused(6)]);
    let how = bench.actions.iter().find_map(|action| match action {
        Action::Close { conn, how } if *conn == again => Some(*how),
        _ => None,
    });
    assert!(matches!(how, Some(Close::Graceful { .. })), "{how:?}");
}

#[test]
fn a_node_without_room_that_dials_again_and_again_is_reported_once() {
    let mut bench = Bench::new(Limits::default());
    let mut reported = |name, code| {
        let conn = bench.authenticate(&node(name), 1, ADDRESS);
        bench.actions.clear();
        bench.say(conn, &[Control::Refused(code)]);
        bench.actions.iter().filter(|action| matches!(action, Action::Event(ClusterEvent::Error(_)))).count()
    };
    assert_eq!([reported("z", 4), reported("z", 4), reported("z", 4)], [1, 0, 0]);
    // Another reason is news, and so is another node.
    assert_eq!([reported("z", 5), reported("y", 4)], [1, 1]);
}

#[test]
fn a_node_without_room_dials_what_it_is_told_of_at_the_longest_delay() {
    let mut bench = Bench::new(Limits { members: 1, ..Limits::default() });
    let b = bench.announce(&node("b"), 1, ADDRESS, 9);
    bench.actions.clear();
    bench.say(b, &[members(vec![hint("z", 7)])]);
    // That is 30 s, and half of it may be taken off.
    live(&mut bench, &[b], 14 * SECOND);
    assert_eq!(bench.dials_to(7), []);
    live(&mut bench, &[b], 17 * SECOND);
    assert_eq!(bench.dials_to(7).len(), 1);
}
