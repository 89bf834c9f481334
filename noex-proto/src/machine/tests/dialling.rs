//! Seeds whose address others are told of, and dials that wait.

use std::format;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use super::{
    ADDRESS, Bench, INTERVAL, MS, Rogue, SECOND, SECRET, hint, intro, live, live_in_agreement, members, node, offer, status, told,
};
use crate::id::incarnation::Incarnation;
use crate::wire::handshake::{LocalHello, RejectCode, Responder, ResponderStep, reject_frame};
use crate::wire::keys::Secrets;
use crate::wire::message::Control;
use crate::{
    Action, ClusterConfig, ClusterError, ClusterEvent, ConnId, ConnectError, Input, Limits, LocalNetwork, NodeId, NodeStatus,
    PeerFault, Secret,
};

/// A node with these seeds, whose interval is that of the tests.
fn seeded(seeds: &[&str], limits: Limits) -> Bench {
    Bench::of(ClusterConfig::new("m").heartbeat_interval(INTERVAL).seeds(seeds).limits(limits))
}

/// The node dialled, and this member answers.
fn answer_dial(bench: &mut Bench, conn: ConnId, id: &NodeId, incarnation: u8) {
    let secrets = Secrets::new(Some(&Secret::from(SECRET)), &[]);
    let hello = LocalHello {
        caps: 0,
        context: "noex",
        id,
        incarnation: Incarnation([incarnation; 16]),
        interval: INTERVAL,
        secrets: &secrets,
    };
    let since = bench.actions.len();
    bench.feed(Input::Connected { conn, remote: SocketAddr::from((ADDRESS, 1)) });
    let mut responder = Responder::new([9; 32]);
    let Ok(ResponderStep::Send(challenge)) = responder.on_frame(&hello, &bench.frame(conn, since)) else { panic!("hello") };
    let since = bench.actions.len();
    bench.receive(conn, challenge);
    let Ok(ResponderStep::Done(auth_ok, keyed)) = responder.on_frame(&hello, &bench.frame(conn, since)) else { panic!("auth") };
    let member = Rogue { id: id.clone(), sealer: keyed.sealer, opener: keyed.opener, heard: vec![] };
    bench.members.insert(conn, member);
    bench.receive(conn, auth_ok);
}

#[test]
fn who_is_told_of_at_a_seeds_address_under_another_name_is_given_up_like_others() {
    // Given: a seed that does not answer, and a member that tells of a node there.
    let mut bench = seeded(&["seed@10.0.1.1:1"], Limits::default());
    let dial = bench.dials_to(1)[0];
    bench.feed(Input::DialFailed { conn: dial, error: ConnectError::Refused });
    let b = bench.up_as(&"b@10.0.9.9:2".parse().expect("an id"), 1, ADDRESS);
    bench.actions.clear();
    bench.say(b, &[members(vec![told("y", 1)])]);
    assert_eq!(status(&bench, &node("y")), Some(NodeStatus::Connecting));
    let dial = bench.dials_to(1)[0];
    bench.feed(Input::DialFailed { conn: dial, error: ConnectError::Refused });
    assert_eq!(status(&bench, &node("y")), Some(NodeStatus::Disconnected));
    live_in_agreement(&mut bench, &[b], 4000 * SECOND);
    assert_eq!(status(&bench, &node("y")), None);
}

#[test]
fn who_is_told_of_at_a_seeds_address_keeps_nobody_out() {
    for host in ["10.0.5.5", "10.0.1.1"] {
        let mut bench = seeded(&[&format!("seed@{host}:1")], Limits { members: 3, disconnected_nodes: 1, ..Limits::default() });
        let b = bench.up_as(&"b@10.0.9.9:2".parse().expect("an id"), 1, ADDRESS);
        bench.say(b, &[members(vec![told("y1", 1), told("y2", 2), told("y3", 3)])]);
        for conn in bench.dials_to(1) {
            bench.feed(Input::DialFailed { conn, error: ConnectError::Refused });
        }
        let k = bench.authenticate(&node("k"), 1, ADDRESS);
        bench.say(k, &[offer()]);
        assert!(matches!(bench.members[&k].heard.last(), Some(Control::Intro { .. })), "{host}");
    }
}

#[test]
fn a_seed_that_left_is_dialled_at_the_longest_delay_though_its_dial_was_due() {
    // Given: one dial at a time, and the seed that comes up by itself and leaves while its own dial waits.
    let limits = Limits { dials_in_flight: 1, ..Limits::default() };
    let mut bench = seeded(&["a@10.0.3.1:7", "z@10.0.1.1:1"], limits);
    let slow = bench.dials_to(7)[0];
    let z = bench.up_as(&"z@10.0.1.1:1".parse().expect("an id"), 1, ADDRESS);
    bench.run(10 * MS);
    bench.say(z, &[Control::Goodbye]);
    bench.actions.clear();
    bench.feed(Input::DialFailed { conn: slow, error: ConnectError::TimedOut });
    assert_eq!(bench.dials_to(1), []);
}

#[test]
fn who_was_told_of_at_a_seeds_address_where_another_is_found_is_forgotten() {
    let mut bench =
        Bench::of(ClusterConfig::new("m").heartbeat_interval(INTERVAL).seeds(["s@10.0.1.1:1"]).forget_after(30 * SECOND));
    let dial = bench.dials_to(1)[0];
    let b = bench.up_as(&"b@10.0.9.9:2".parse().expect("an id"), 1, ADDRESS);
    bench.say(b, &[members(vec![told("s", 1)])]);
    assert_eq!(status(&bench, &node("s")), Some(NodeStatus::Connecting));
    answer_dial(&mut bench, dial, &node("t"), 4);
    bench.say(dial, &[intro(1)]);
    assert_eq!(status(&bench, &node("t")), Some(NodeStatus::Connected));
    live_in_agreement(&mut bench, &[b, dial], 120 * SECOND);
    assert_eq!(status(&bench, &node("s")), None);
}

#[test]
fn who_is_always_busy_is_forgotten_like_others() {
    let mut bench = Bench::of(ClusterConfig::new("m").heartbeat_interval(INTERVAL).forget_after(10 * SECOND).limits(Limits {
        members: 3,
        disconnected_nodes: 1,
        ..Limits::default()
    }));
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    bench.say(b, &[members(vec![hint("x", 11), hint("x", 12), hint("x", 13)])]);
    // Given: each dial is answered by one who has no time, which is no failure.
    for _ in 0..40 {
        for port in [11, 12, 13] {
            for conn in bench.dials_to(port) {
                bench.feed(Input::Connected { conn, remote: SocketAddr::from((ADDRESS, port)) });
                bench.receive(conn, reject_frame(RejectCode::Busy));
            }
        }
        bench.actions.clear();
        live_in_agreement(&mut bench, &[b], SECOND);
    }
    assert_eq!(bench.machine.node_ids().expect("running"), [node("b")]);
}

#[test]
fn tries_after_a_peer_had_no_time_come_at_random_points_and_no_later_each_time() {
    let config = ClusterConfig::new("m").heartbeat_interval(INTERVAL).seeds(["b@10.0.1.1:1"]).reconnect_base_delay(SECOND);
    let mut bench = Bench::of(config);
    let mut delays = vec![];
    for _ in 0..40 {
        let conn = bench.dials_to(1)[0];
        bench.feed(Input::Connected { conn, remote: SocketAddr::from((ADDRESS, 1)) });
        bench.receive(conn, reject_frame(RejectCode::Busy));
        bench.actions.clear();
        let begin = bench.now;
        while bench.dials_to(1).is_empty() {
            bench.run(10 * MS);
        }
        delays.push(bench.now - begin);
    }
    assert!(delays.iter().all(|delay| (490 * MS..=1010 * MS).contains(delay)), "{delays:?}");
    assert!(delays.iter().any(|delay| *delay < 650 * MS) && delays.iter().any(|delay| *delay > 850 * MS), "{delays:?}");
}

#[test]
fn a_far_peer_cannot_make_the_node_dial_its_own_loopback() {
    let mut bench = Bench::new(Limits::default());
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    bench.actions.clear();
    bench.say(b, &[members(vec![("x@127.0.0.1:22".parse().expect("an id"), Incarnation([1; 16]))])]);
    assert_eq!(bench.dials(), Vec::<u16>::new());
}

/// It would be listed, told of, and dialled when it is lost: each node would meet itself.
#[test]
fn a_far_peer_with_an_identity_on_loopback_is_refused_and_never_listed() {
    let mut bench = Bench::new(Limits::default());
    for text in ["x@127.0.0.1:22", "x@[::1]:22", "x@localhost:22", "x@0.0.0.0:22"] {
        let conn = bench.authenticate(&text.parse().expect("an id"), 1, ADDRESS);
        bench.say(conn, &[offer()]);
        assert_eq!(bench.members[&conn].heard, [Control::Refused(7)], "{text}");
    }
    assert_eq!(bench.faults(), [PeerFault::LoopbackIdentity; 4]);
    assert_eq!(bench.machine.node_ids(), Ok(vec![]));
    bench.run(60 * SECOND);
    assert_eq!(bench.dials(), Vec::<u16>::new());
}

/// Whichever of the machine's addresses the peer comes from; so many of them are remembered.
#[test]
fn a_near_peer_may_have_an_identity_on_loopback() {
    let own = |number: u16| IpAddr::from([172, 16, (number >> 8) as u8, number as u8]);
    let mut bench = Bench::at(LocalNetwork { own: (0..=1024).map(own).collect(), ..LocalNetwork::default() });
    bench.up_as(&"a@127.0.0.1:1".parse().expect("an id"), 1, [127, 0, 0, 1]);
    bench.up_as(&"b@127.0.0.1:2".parse().expect("an id"), 2, [172, 16, 0, 0]);
    bench.up_as(&"c@127.0.0.1:3".parse().expect("an id"), 3, [172, 16, 3, 255]);
    bench.authenticate(&"d@127.0.0.1:4".parse().expect("an id"), 4, [172, 16, 4, 0]);
    assert_eq!(bench.faults(), [PeerFault::LoopbackIdentity]);
    assert_eq!(bench.machine.connected_node_count(), Ok(3));
}

#[test]
fn a_seed_that_left_is_dialled_at_the_longest_delay_though_its_dial_waited() {
    let config = ClusterConfig::new("m").heartbeat_interval(INTERVAL).seeds(["z@10.0.1.1:1", "a@10.0.3.1:7"]);
    let mut bench = Bench::of(config.limits(Limits { dials_in_flight: 1, ..Limits::default() }));
    let dial = bench.dials_to(1)[0];
    // The seed comes up by itself; the dial to it is answered by one who has no time; the other seed swallows packets.
    let z = bench.up_as(&node("z"), 1, ADDRESS);
    bench.feed(Input::Connected { conn: dial, remote: SocketAddr::from((ADDRESS, 1)) });
    bench.receive(dial, reject_frame(RejectCode::Busy));
    let slow = bench.dials_to(7)[0];
    live(&mut bench, &[z], 1500 * MS);
    bench.say(z, &[Control::Goodbye]);
    bench.actions.clear();
    bench.feed(Input::DialFailed { conn: slow, error: ConnectError::TimedOut });
    assert_eq!(bench.dials_to(1), []);
}

#[test]
fn dials_that_took_long_and_hints_leave_a_quarter_of_those_in_flight_to_others() {
    // Given: a dozen lost nodes to which packets vanish, and others that were only told of.
    let mut bench = Bench::new(Limits { dials_in_flight: 4, ..Limits::default() });
    for port in 100..112 {
        let conn = bench.up_as(&format!("x@10.0.3.1:{port}").parse().expect("an id"), 1, ADDRESS);
        bench.say(conn, &[members(vec![])]);
        bench.feed(Input::Closed { conn });
    }
    bench.run(60 * SECOND);
    let (b, z) = (bench.up_as(&node("b"), 1, ADDRESS), bench.up("z"));
    bench.say(b, &[members((2..20).map(|port| hint("y", port)).collect())]);
    live(&mut bench, &[b, z], 15 * SECOND);
    // When another is lost, it need not wait for any of them.
    bench.actions.clear();
    assert_eq!(bench.machine.usage().dials_in_flight, 3);
    bench.feed(Input::Closed { conn: z });
    while bench.dials().is_empty() {
        assert_eq!(bench.machine.usage().dials_in_flight, 3, "none of them ends meanwhile");
        bench.run(10 * MS);
    }
    assert_eq!(bench.machine.usage().dials_in_flight, 4);
}

#[test]
fn a_seed_that_was_up_since_its_dial_took_long_does_not_wait_for_hints() {
    type Failure = fn(&mut Bench, ConnId);
    let failures: [(Failure, bool); 3] = [
        (|bench, _| bench.run(10 * SECOND), false),
        (
            |bench, conn| {
                bench.feed(Input::Connected { conn, remote: SocketAddr::from((ADDRESS, 1)) });
                bench.run(5 * SECOND);
            },
            false,
        ),
        (|bench, conn| bench.feed(Input::DialFailed { conn, error: ConnectError::Unreachable }), true),
    ];
    for (fail, at_once) in failures {
        for was_up in [false, true] {
            // Given: hints to which packets vanish, and a seed that could not be reached.
            let mut bench = seeded(&["z@10.0.1.1:1"], Limits { dials_in_flight: 4, ..Limits::default() });
            let dial = bench.dials_to(1)[0];
            fail(&mut bench, dial);
            if was_up {
                let conn = bench.up("z");
                live(&mut bench, &[conn], 2 * INTERVAL);
                bench.feed(Input::Closed { conn });
            }
            let b = bench.up_as(&node("b"), 1, ADDRESS);
            bench.actions.clear();
            bench.say(b, &[members((2..20).map(|port| hint("y", port)).collect())]);
            live(&mut bench, &[b], 2500 * MS);
            assert_eq!(!bench.dials_to(1).is_empty(), at_once || was_up, "at once: {at_once}, up: {was_up}");
        }
    }
}

#[test]
fn of_those_found_at_a_seeds_address_the_last_sixteen_are_remembered() {
    let mut bench = seeded(&["s@10.0.1.1:1"], Limits::default());
    let mut mismatch = |name: &str| {
        while bench.dials_to(1).is_empty() {
            bench.run(100 * MS);
        }
        let dial = bench.dials_to(1)[0];
        answer_dial(&mut bench, dial, &node(name), 1);
        let found = |action: &Action| matches!(action, Action::Event(ClusterEvent::Error(ClusterError::SeedMismatch { .. })));
        let reported = bench.actions.iter().any(found);
        bench.actions.clear();
        bench.feed(Input::Closed { conn: dial });
        bench.actions.clear();
        reported
    };
    let names: Vec<_> = (0..17).map(|n| format!("n{n}")).collect();
    for name in &names[..16] {
        assert!(mismatch(name), "{name}");
    }
    assert!(!mismatch(&names[0]));
    assert!(mismatch(&names[16]));
    assert!(!mismatch(&names[1]));
    assert!(mismatch(&names[0]), "forgotten");
}

#[test]
fn hints_and_dials_that_took_long_take_turns() {
    // Given: one dial at a time, two seeds to which packets vanish, so that one of them always waits, and one that refuses at once.
    let config =
        ClusterConfig::new("m").heartbeat_interval(INTERVAL).seeds(["s@10.0.1.1:101", "s@10.0.1.1:102", "s@10.0.1.1:103"]);
    let mut bench = Bench::of(config.reconnect_max_delay(SECOND).limits(Limits { dials_in_flight: 1, ..Limits::default() }));
    let pass = |bench: &mut Bench, conns: &[ConnId], time: Duration| {
        let (mut dials, end) = (vec![], bench.now + time);
        while bench.now < end {
            live(bench, conns, 100 * MS);
            for conn in bench.dials_to(103) {
                bench.feed(Input::DialFailed { conn, error: ConnectError::Refused });
            }
            dials.extend(bench.dials().into_iter().filter(|port| *port != 103));
        }
        dials
    };
    pass(&mut bench, &[], 30 * SECOND);
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    bench.say(b, &[members((1..4).map(|port| hint("y", port)).collect())]);
    bench.actions.clear();
    let dials = pass(&mut bench, &[b], 100 * SECOND);
    let hints: Vec<bool> = dials.iter().map(|port| *port < 100).collect();
    assert!(dials.len() >= 7, "{dials:?}");
    assert!(hints.windows(2).all(|pair| pair[0] != pair[1]), "{dials:?}");
}

#[test]
fn a_seed_that_is_connected_is_not_reported_as_unreachable() {
    let mut bench = Bench::of(ClusterConfig::new("m").heartbeat_interval(INTERVAL).seeds(["z@10.0.1.1:1"]));
    let dial = bench.dials_to(1)[0];
    bench.up_as(&node("z"), 1, ADDRESS);
    bench.feed(Input::DialFailed { conn: dial, error: ConnectError::TimedOut });
    let wrong = |action: &&Action| matches!(action, Action::Event(ClusterEvent::Error(ClusterError::SeedUnreachable { .. })));
    assert_eq!(bench.actions.iter().find(wrong), None);
}

#[test]
fn a_lost_node_is_dialled_soon_and_kept_though_a_member_told_of_many_with_room_for_all() {
    lost_among_hints(Limits { disconnected_nodes: 10_000, ..Limits::default() });
}

#[test]
fn a_lost_node_is_dialled_soon_though_a_member_told_of_many_that_do_not_answer() {
    lost_among_hints(Limits::default());
}

fn lost_among_hints(limits: Limits) {
    let mut bench = Bench::new(limits);
    let (b, z) = (bench.up_as(&node("b"), 1, ADDRESS), bench.up_as(&"z@10.0.7.7:9999".parse().expect("an id"), 2, ADDRESS));
    let hints: Vec<_> = (0..3000_u16)
        .map(|n| (std::format!("h{n}@10.0.{}.{}:1", 100 + n / 250, 1 + n % 250).parse().expect("an id"), Incarnation([9; 16])))
        .collect();
    for page in hints.chunks(1000) {
        let last = page.len() < 1000 || page.as_ptr_range().end == hints.as_ptr_range().end;
        bench.say(b, &[Control::Members { digest: 1, last, members: page.iter().cloned().collect() }]);
    }
    live(&mut bench, &[b, z], 5 * SECOND);
    bench.actions.clear();
    bench.feed(Input::Closed { conn: z });
    let mut waited = Duration::ZERO;
    let mut forgotten = None;
    while bench.dials_to(9999).is_empty() && waited < 1200 * SECOND {
        live(&mut bench, &[b], 5 * SECOND);
        waited += 5 * SECOND;
        if status(&bench, &"z@10.0.7.7:9999".parse().expect("an id")).is_none() {
            forgotten.get_or_insert(waited);
        }
    }
    assert!(waited < 60 * SECOND, "{waited:?}, forgotten after {forgotten:?}");
}

#[test]
fn a_node_whose_address_another_has_is_dialled_at_the_longest_delay_until_it_is_gossiped_again() {
    // Given: a member that lists y, and z, which is up and has y's address.
    let mut bench = seeded(&[], Limits::default());
    let b = bench.up_as(&"b@10.0.9.9:2".parse().expect("an id"), 1, ADDRESS);
    bench.say(b, &[members(vec![told("y", 1)])]);
    let z = bench.up_as(&node("z"), 9, ADDRESS);
    bench.say(z, &[members(vec![])]);
    let meet_z = |bench: &mut Bench| {
        let [dial] = bench.dials_to(1)[..] else { panic!("{:?}", bench.actions) };
        bench.feed(Input::Connected { conn: dial, remote: SocketAddr::from((ADDRESS, 1)) });
        bench.receive(dial, reject_frame(RejectCode::WrongTarget));
        bench.actions.clear();
    };
    meet_z(&mut bench);
    // The longest delay is 30 s, and half of it may be taken off.
    live(&mut bench, &[b, z], 14 * SECOND);
    assert_eq!(bench.dials_to(1), []);
    for _ in 0..17 {
        if bench.dials_to(1).is_empty() {
            live(&mut bench, &[b, z], SECOND);
        }
    }
    meet_z(&mut bench);
    live(&mut bench, &[b, z], 2 * SECOND);
    assert_eq!(bench.dials_to(1), []);
    // The member lists it again, as the same incarnation that it knew.
    for _ in 0..2 {
        bench.say(b, &[Control::Heartbeat { digest: 77, process_count: 0, uptime_ms: 0 }]);
    }
    bench.say(b, &[members(vec![told("y", 1)])]);
    live(&mut bench, &[b, z], 10 * MS);
    meet_z(&mut bench);
}
