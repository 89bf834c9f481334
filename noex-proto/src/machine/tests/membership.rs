//! Who is known, and for how long.

use std::vec;
use std::vec::Vec;

use super::{ADDRESS, Bench, INTERVAL, MS, SECOND, heartbeat, hint, intro, live, members, node, offer, status, told};
use crate::wire::message::{Control, Member};
use crate::{ClusterConfig, ConnId, ConnectError, Input, Limits, NodeId, NodeStatus};

fn known(bench: &Bench) -> Vec<NodeId> {
    bench.machine.node_ids().expect("running")
}

/// A member whose view differs for the first time since the last call with another digest is asked, and tells of these. The ports that are
/// dialled for it.
fn tell(bench: &mut Bench, conn: ConnId, digest: u64, told: Vec<Member>) -> Vec<u16> {
    live(bench, &[conn], INTERVAL);
    bench.say(conn, &[heartbeat(digest), heartbeat(digest)]);
    assert_eq!(bench.requests(conn), 1);
    bench.members.get_mut(&conn).expect("up").heard.clear();
    bench.actions.clear();
    bench.say(conn, &[members(told)]);
    bench.dials()
}

fn close(bench: &mut Bench, conn: ConnId) {
    bench.feed(Input::Closed { conn });
}

// Who was never up

#[test]
fn who_was_never_up_is_known_as_long_as_a_session_may_come_up() {
    let mut bench = Bench::new(Limits::default());
    let (first, second) = (bench.authenticate(&node("z"), 1, ADDRESS), bench.authenticate(&node("z"), 1, ADDRESS));
    assert_eq!(status(&bench, &node("z")), Some(NodeStatus::Connecting));
    close(&mut bench, second);
    assert_eq!(known(&bench), [node("z")]);
    close(&mut bench, first);
    assert_eq!(known(&bench), []);
}

#[test]
fn who_was_never_up_is_known_as_long_as_it_is_dialled() {
    let mut bench = Bench::new(Limits::default());
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    bench.say(b, &[members(vec![told("z", 1)])]);
    let conn = bench.authenticate(&node("z"), 1, ADDRESS);
    close(&mut bench, conn);
    assert_eq!(known(&bench), [node("b"), node("z")]);
    assert_eq!(bench.machine.usage().disconnected_nodes, 0, "nor is it lost");
}

#[test]
fn who_was_told_of_while_a_session_might_have_come_up_is_dialled_when_that_has_ended() {
    let mut bench = Bench::new(Limits::default());
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    let conn = bench.authenticate(&node("z"), 1, ADDRESS);
    bench.actions.clear();
    bench.say(b, &[members(vec![told("z", 1)])]);
    live(&mut bench, &[b], 5 * SECOND);
    assert!(bench.dials().is_empty(), "one session with it is enough");
    close(&mut bench, conn);
    assert_eq!(known(&bench), [node("b"), node("z")]);
    live(&mut bench, &[b], SECOND);
    assert_eq!(bench.dials(), [1]);
}

#[test]
fn who_was_reported_as_unreachable_stays_known() {
    let mut bench = Bench::of(ClusterConfig::new("m").heartbeat_interval(INTERVAL).seeds(["z@10.0.1.1:1"]));
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    bench.say(b, &[members(vec![told("z", 1)])]);
    let dial = bench.dials_to(1)[0];
    bench.feed(Input::DialFailed { conn: dial, error: ConnectError::Refused });
    assert_eq!(status(&bench, &node("z")), Some(NodeStatus::Disconnected));
    // When it dials, and its session ends before it is up.
    let conn = bench.authenticate(&node("z"), 1, ADDRESS);
    close(&mut bench, conn);
    assert_eq!(status(&bench, &node("z")), Some(NodeStatus::Disconnected));
    assert_eq!(bench.machine.usage().disconnected_nodes, 1);
}

// Who was lost

#[test]
fn who_is_coming_back_is_not_forgotten() {
    let forget_after = 60 * SECOND;
    let mut bench = Bench::of(ClusterConfig::new("m").heartbeat_interval(INTERVAL).forget_after(forget_after));
    let conn = bench.up("z");
    close(&mut bench, conn);
    bench.run(forget_after - SECOND);
    let conn = bench.authenticate(&node("z"), b'z', ADDRESS);
    assert_eq!(bench.machine.usage().disconnected_nodes, 0, "it may come up yet");
    bench.run(2 * SECOND);
    assert_eq!(known(&bench), [node("z")]);
    bench.say(conn, &[intro(2)]);
    assert_eq!(status(&bench, &node("z")), Some(NodeStatus::Connected));
}

#[test]
fn another_instance_of_the_lost_is_dialled_at_once_and_the_same_in_its_time() {
    let mut bench = Bench::of(
        ClusterConfig::new("m").heartbeat_interval(INTERVAL).reconnect_base_delay(60 * SECOND).reconnect_max_delay(60 * SECOND),
    );
    let (b, z) = (bench.up("b"), bench.up("z"));
    close(&mut bench, z);
    assert!(tell(&mut bench, b, 5, vec![told("z", b'z')]).is_empty());
    assert_eq!(tell(&mut bench, b, 6, vec![told("z", 200)]), [1]);
    // While the dial is under way, what is told of yet another changes nothing.
    assert!(tell(&mut bench, b, 7, vec![told("z", 201)]).is_empty());
}

// Who left

#[test]
fn a_departed_instance_is_not_dialled_and_the_number_of_the_remembered_is_bounded() {
    let mut bench = Bench::new(Limits { departed_nodes: 1, disconnected_nodes: 1, ..Limits::default() });
    let conn = bench.up("b");
    for name in ["x", "y"] {
        let leaving = bench.up(name);
        bench.run(10 * MS);
        bench.say(leaving, &[Control::Goodbye]);
    }
    assert_eq!(tell(&mut bench, conn, 5, vec![told("y", b'y')]).len(), 0, "a late rumour");
    assert_eq!(tell(&mut bench, conn, 6, vec![told("y", 200)]).len(), 1, "it has started again");
    assert_eq!(tell(&mut bench, conn, 7, vec![told("x", b'x')]).len(), 1, "forgotten: only one is remembered");
}

#[test]
fn who_left_is_remembered_longer_than_it_is_listed() {
    let mut bench = Bench::new(Limits { disconnected_nodes: 1, ..Limits::default() });
    let conn = bench.up("b");
    for name in ["x", "y"] {
        let leaving = bench.up(name);
        bench.run(10 * MS);
        bench.say(leaving, &[Control::Goodbye]);
    }
    assert_eq!(bench.machine.node_ids(), Ok(vec![node("b"), node("y")]));
    live(&mut bench, &[conn], INTERVAL);
    bench.say(conn, &[heartbeat(5), heartbeat(5)]);
    assert_eq!(bench.requests(conn), 1);
    bench.say(conn, &[members(vec![told("x", b'x')])]);
    assert!(bench.dials().is_empty());
    assert_eq!(bench.machine.node_ids(), Ok(vec![node("b"), node("y")]));
}

#[test]
fn of_those_who_left_as_many_are_remembered_as_may_be() {
    // Given: of the lost only one is listed.
    let mut bench = Bench::new(Limits { departed_nodes: 2, disconnected_nodes: 1, ..Limits::default() });
    let b = bench.up("b");
    for name in ["x", "y", "z"] {
        let leaving = bench.up(name);
        bench.run(10 * MS);
        bench.say(leaving, &[Control::Goodbye]);
    }
    assert_eq!((known(&bench), bench.machine.usage().departed_nodes), (vec![node("b"), node("z")], 2));
    assert!(tell(&mut bench, b, 5, vec![told("y", b'y')]).is_empty(), "a late rumour");
    assert_eq!(tell(&mut bench, b, 6, vec![told("x", b'x')]), [1], "the oldest is no longer remembered");
}

#[test]
fn each_of_those_who_left_is_remembered_for_its_own_time() {
    let mut bench = Bench::of(
        ClusterConfig::new("m")
            .heartbeat_interval(INTERVAL)
            .forget_after(60 * SECOND)
            .limits(Limits { disconnected_nodes: 1, ..Limits::default() }),
    );
    let b = bench.up("b");
    // Given: x left 30 s before y, and both are listed no longer.
    for name in ["x", "y"] {
        let leaving = bench.up(name);
        bench.say(leaving, &[Control::Goodbye]);
        live(&mut bench, &[b], 30 * SECOND);
    }
    let lost = bench.up("z");
    close(&mut bench, lost);
    assert_eq!(known(&bench), [node("b"), node("z")]);
    live(&mut bench, &[b], SECOND);
    assert!(tell(&mut bench, b, 5, vec![told("y", b'y')]).is_empty());
    assert_eq!(tell(&mut bench, b, 6, vec![told("x", b'x')]), [1]);
}

#[test]
fn the_lost_are_bounded_though_their_last_sessions_never_came_up() {
    let mut bench = Bench::new(Limits { disconnected_nodes: 1, ..Limits::default() });
    // Given: nodes that are lost while another session with each is not admitted yet.
    let pending = ["w", "x", "y", "z"].map(|name| {
        let up = bench.up(name);
        let pending = bench.authenticate(&node(name), name.as_bytes()[0], ADDRESS);
        bench.feed(Input::Closed { conn: up });
        pending
    });
    for conn in pending {
        bench.feed(Input::Closed { conn });
    }
    assert_eq!(bench.machine.usage().disconnected_nodes, 1);
}

#[test]
fn limits_may_be_as_large_as_can_be() {
    for limits in
        [Limits { members: usize::MAX, ..Limits::default() }, Limits { disconnected_nodes: usize::MAX, ..Limits::default() }]
    {
        let mut bench = Bench::new(limits);
        bench.up_as(&node("b"), 1, ADDRESS);
    }
}

#[test]
fn who_is_lost_while_others_are_dialled_is_kept() {
    let mut bench = Bench::new(Limits { members: 10, disconnected_nodes: 1, ..Limits::default() });
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    bench.say(b, &[members(vec![hint("x", 11), hint("x", 12), hint("x", 13)])]);
    let c = bench.up("c");
    bench.feed(Input::Closed { conn: c });
    assert_eq!(status(&bench, &node("c")), Some(NodeStatus::Disconnected));
}

#[test]
fn who_is_unreachable_while_others_are_dialled_is_kept() {
    let mut bench = Bench::new(Limits { members: 10, disconnected_nodes: 1, ..Limits::default() });
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    bench.say(b, &[members(vec![hint("x", 11), hint("x", 12), hint("x", 13)])]);
    let dial = bench.dials_to(11)[0];
    bench.feed(Input::DialFailed { conn: dial, error: ConnectError::Refused });
    assert_eq!(bench.machine.usage().disconnected_nodes, 1);
}

#[test]
fn who_proves_itself_has_room_before_those_that_others_tell_of() {
    let mut bench = Bench::new(Limits { members: 3, disconnected_nodes: 1, ..Limits::default() });
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    bench.say(b, &[members(vec![hint("x", 11), hint("x", 12), hint("x", 13)])]);
    let k = bench.authenticate(&node("k"), 1, ADDRESS);
    bench.say(k, &[offer()]);
    assert!(matches!(bench.members[&k].heard.last(), Some(Control::Intro { .. })));
}

#[test]
fn who_was_coming_back_when_it_was_to_be_forgotten_is_forgotten_later() {
    let forget_after = 60 * SECOND;
    let mut bench = Bench::of(ClusterConfig::new("m").heartbeat_interval(INTERVAL).forget_after(forget_after));
    let conn = bench.up("z");
    bench.feed(Input::Closed { conn });
    bench.run(forget_after - SECOND);
    let conn = bench.authenticate(&node("z"), b'z', ADDRESS);
    bench.run(2 * SECOND);
    bench.feed(Input::Closed { conn });
    for _ in 0..2000 {
        let dials = bench.dials_to(1);
        bench.actions.clear();
        for conn in dials {
            bench.feed(Input::DialFailed { conn, error: ConnectError::Refused });
        }
        bench.run(SECOND);
    }
    assert_eq!(status(&bench, &node("z")), None);
}

#[test]
fn one_that_always_differs_and_never_answers_keeps_no_more_of_the_lost_than_may_be() {
    let limits = Limits { disconnected_nodes: 3, ..Limits::default() };
    let config = ClusterConfig::new("m").heartbeat_interval(INTERVAL).forget_after(10 * SECOND).limits(limits);
    let mut bench = Bench::of(config);
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    let lost: Vec<ConnId> = ["c", "d", "e", "x", "y"].map(|name| bench.up_as(&node(name), 1, ADDRESS)).into();
    for conn in lost {
        bench.feed(Input::Closed { conn });
    }
    for number in 0..200 {
        bench.say(b, &[heartbeat(number)]);
        bench.run(SECOND);
    }
    assert_eq!(bench.machine.node_ids().map(|ids| ids.len()), Ok(1 + 3));
    bench.feed(Input::Closed { conn: b });
    bench.run(12 * SECOND);
    assert_eq!(bench.machine.node_ids(), Ok(vec![]));
}
