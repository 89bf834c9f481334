//! Whom a node asks for its members and when, what it answers itself, and what it takes of an answer.

use std::format;
use std::time::Duration;
use std::vec;
use std::vec::Vec;

use super::{ADDRESS, Bench, INTERVAL, MS, SECOND, heartbeat, hint, live, members, node};
use crate::id::incarnation::Incarnation;
use crate::wire::message::{Control, Members};
use crate::wire::record::RecordBuilder;
use crate::{ClusterConfig, ConnId, Input, Limits, NodeId, PeerFault};

/// A node comes up that says of how many members it knows.
fn meet(bench: &mut Bench, name: &str, announced: u64) -> ConnId {
    bench.announce(&node(name), name.as_bytes()[0], ADDRESS, announced)
}

/// An answer for the view of this digest that tells of nobody.
fn nobody(digest: u64) -> Control {
    Control::Members { digest, last: true, members: Members::new() }
}

/// How often each was asked for its members.
fn asked<const N: usize>(bench: &Bench, conns: [ConnId; N]) -> [usize; N] {
    conns.map(|conn| bench.requests(conn))
}

// Who is asked

#[test]
fn one_is_asked_at_a_time_and_first_who_announces_most() {
    let mut bench = Bench::new(Limits::default());
    let b = meet(&mut bench, "b", 1);
    let c = meet(&mut bench, "c", 98);
    let d = meet(&mut bench, "d", 99);
    assert_eq!(asked(&bench, [b, c, d]), [1, 0, 0], "the first session");
    // When it tells of more than are taken in at once, the next one waits until all are.
    bench.say(b, &[members((1..40).map(|port| hint("x", port)).collect())]);
    assert_eq!(asked(&bench, [b, c, d]), [1, 0, 0]);
    bench.run(30 * MS);
    assert_eq!(asked(&bench, [b, c, d]), [1, 0, 1]);
    bench.say(d, &[members(vec![])]);
    assert_eq!(asked(&bench, [b, c, d]), [1, 1, 1]);
    bench.say(c, &[members(vec![])]);
    live(&mut bench, &[b, c, d], 10 * SECOND);
    assert_eq!(asked(&bench, [b, c, d]), [1, 1, 1], "once in a session");
}

#[test]
fn who_announces_no_more_than_is_known_is_asked_once_the_view_has_settled() {
    let mut bench = Bench::new(Limits::default());
    let b = bench.up("b");
    // Given: with it the node knows two, and itself.
    let c = meet(&mut bench, "c", 2);
    bench.run(990 * MS);
    assert_eq!(asked(&bench, [b, c]), [0, 0]);
    // When another comes, the view has not settled.
    let d = meet(&mut bench, "d", 3);
    bench.run(990 * MS);
    assert_eq!(asked(&bench, [b, c, d]), [0, 0, 0]);
    bench.run(10 * MS);
    assert_eq!(asked(&bench, [b, c, d]), [0, 0, 1]);
    // Then what is told is no news of a cluster that the node joins: the dial is left to the lesser id for a second.
    bench.actions.clear();
    bench.say(d, &[members(vec![hint("a", 1)])]);
    assert!(bench.dials().is_empty());
    assert_eq!(asked(&bench, [b, c, d]), [0, 1, 1]);
    bench.say(c, &[members(vec![])]);
    live(&mut bench, &[b, c, d], 10 * SECOND);
    assert_eq!(asked(&bench, [b, c, d]), [0, 1, 1], "once in a session");
}

#[test]
fn who_announces_more_than_is_known_is_asked_at_once_and_what_it_tells_is_dialled_at_once() {
    let mut bench = Bench::new(Limits::default());
    bench.up("b");
    let c = meet(&mut bench, "c", 3);
    assert_eq!(bench.requests(c), 1);
    bench.actions.clear();
    bench.say(c, &[members(vec![hint("a", 1)])]);
    assert_eq!(bench.dials(), [1]);
}

#[test]
fn a_seed_is_asked_at_once_though_it_is_not_the_first() {
    let mut bench = Bench::of(ClusterConfig::new("m").heartbeat_interval(INTERVAL).seeds(["c@10.0.1.1:1"]));
    bench.up("b");
    let c = meet(&mut bench, "c", 1);
    assert_eq!(bench.requests(c), 1);
}

#[test]
fn whoever_has_the_same_view_need_not_be_asked() {
    for says in [heartbeat as fn(u64) -> Control, |digest| Control::MembersRequest { digest }] {
        let mut bench = Bench::new(Limits::default());
        bench.up("b");
        let c = meet(&mut bench, "c", 2);
        bench.say(c, &[Control::MembersRequest { digest: 5 }]);
        let digest = bench.members[&c].heard.iter().find_map(|message| match message {
            Control::Members { digest, .. } => Some(*digest),
            _ => None,
        });
        bench.say(c, &[says(digest.expect("an answer"))]);
        live(&mut bench, &[c], 5 * SECOND);
        assert_eq!(bench.requests(c), 0, "{:?}", says(0));
    }
}

#[test]
fn another_is_asked_when_no_answer_comes_for_ten_seconds() {
    let mut bench = Bench::new(Limits::default());
    let b = meet(&mut bench, "b", 1);
    let c = meet(&mut bench, "c", 9);
    live(&mut bench, &[b, c], 10 * SECOND - 10 * MS);
    assert_eq!(asked(&bench, [b, c]), [1, 0]);
    bench.run(10 * MS);
    assert_eq!(asked(&bench, [b, c]), [1, 1]);
}

#[test]
fn another_is_asked_when_the_session_that_was_asked_ends() {
    let mut bench = Bench::new(Limits::default());
    let b = meet(&mut bench, "b", 1);
    let c = meet(&mut bench, "c", 8);
    let d = meet(&mut bench, "d", 9);
    bench.feed(Input::Closed { conn: d });
    assert_eq!(asked(&bench, [b, c]), [1, 0], "the end of another changes nothing");
    bench.feed(Input::Closed { conn: b });
    assert_eq!(bench.requests(c), 1);
}

#[test]
fn a_node_that_stops_asks_nobody() {
    let mut bench = Bench::new(Limits::default());
    let b = meet(&mut bench, "b", 1);
    let c = meet(&mut bench, "c", 9);
    bench.clogged = true;
    bench.feed(Input::Stop);
    bench.feed(Input::Closed { conn: b });
    assert_eq!(bench.requests(c), 0);
}

#[test]
fn differences_are_asked_about_one_at_a_time_and_not_more_often_than_four_times_in_an_interval() {
    let mut bench = Bench::new(Limits::default());
    let all = [bench.up("b"), bench.up("c"), bench.up("d")];
    let [b, c, d] = all;
    live(&mut bench, &all, 2 * SECOND);
    bench.say(d, &[members(vec![])]);
    bench.say(c, &[members(vec![])]);
    live(&mut bench, &all, INTERVAL);
    let before = asked(&bench, all);
    let differ = |bench: &mut Bench, conn, digest| {
        bench.say(conn, &[heartbeat(digest), heartbeat(digest)]);
        let now = asked(bench, all);
        [now[0] - before[0], now[1] - before[1], now[2] - before[2]]
    };
    assert_eq!(differ(&mut bench, b, 5), [1, 0, 0]);
    bench.run(INTERVAL / 2);
    assert_eq!(differ(&mut bench, c, 5), [1, 0, 0], "the answer of the other is still to come");
    bench.say(b, &[members(vec![])]);
    assert_eq!(differ(&mut bench, c, 5), [1, 1, 0]);
    bench.say(c, &[members(vec![])]);
    bench.run(INTERVAL / 4 - 10 * MS);
    assert_eq!(differ(&mut bench, d, 5), [1, 1, 0], "too soon");
    bench.run(10 * MS);
    assert_eq!(differ(&mut bench, d, 5), [1, 1, 1]);
}

#[test]
fn a_peer_is_asked_about_a_difference_twice_in_its_interval_at_most() {
    let mut bench = Bench::new(Limits::default());
    let b = bench.up("b");
    // Given: it was asked just now, when its session came up, and has answered. It need not answer sooner than half an interval after that.
    bench.run(INTERVAL / 2 + INTERVAL / 32 - 10 * MS);
    bench.say(b, &[heartbeat(5), heartbeat(5)]);
    assert_eq!(bench.requests(b), 0);
    bench.run(10 * MS);
    bench.say(b, &[heartbeat(5)]);
    assert_eq!(bench.requests(b), 1);
}

#[test]
fn a_peer_that_has_answered_has_half_its_interval_from_then_on() {
    let mut bench = Bench::new(Limits::default());
    let b = bench.up("b");
    live(&mut bench, &[b], INTERVAL);
    // Given: a question that was long on its way, so that the peer counts from just before its answer.
    bench.say(b, &[heartbeat(5), heartbeat(5)]);
    assert_eq!(bench.requests(b), 1);
    bench.run(INTERVAL / 4);
    bench.say(b, &[members(vec![])]);
    // The next one may be there at once.
    bench.run(INTERVAL / 2);
    bench.say(b, &[heartbeat(6), heartbeat(6)]);
    assert_eq!(bench.requests(b), 1);
    bench.run(INTERVAL / 32);
    bench.say(b, &[heartbeat(6)]);
    assert_eq!(bench.requests(b), 2);
}

#[test]
fn a_question_that_the_end_of_a_session_cut_off_is_asked_in_the_next() {
    for answered in [false, true] {
        let mut bench = Bench::new(Limits::default());
        let c = bench.up("c");
        live(&mut bench, &[c], 2 * INTERVAL);
        bench.say(c, &[heartbeat(5), heartbeat(5)]);
        assert_eq!(bench.requests(c), 1);
        if answered {
            bench.say(c, &[members(vec![])]);
        }
        bench.feed(Input::Closed { conn: c });
        let c = bench.up("c");
        live(&mut bench, &[c], INTERVAL);
        bench.say(c, &[heartbeat(5), heartbeat(5)]);
        assert_eq!(bench.requests(c), 1, "the same difference, answered before: {answered}");
    }
}

#[test]
fn who_let_a_question_run_out_is_asked_again_after_twenty_seconds() {
    let mut bench = Bench::new(Limits::default());
    let b = bench.up("b");
    live(&mut bench, &[b], INTERVAL);
    bench.say(b, &[heartbeat(5), heartbeat(5)]);
    assert_eq!(bench.requests(b), 1);
    live(&mut bench, &[b], 30 * SECOND - 10 * MS);
    bench.say(b, &[heartbeat(5)]);
    assert_eq!(bench.requests(b), 1);
    bench.run(10 * MS);
    bench.say(b, &[heartbeat(5)]);
    assert_eq!(bench.requests(b), 2);
}

#[test]
fn a_pause_of_this_node_does_not_put_the_next_question_off() {
    let mut bench = Bench::new(Limits::default());
    let b = bench.up("b");
    live(&mut bench, &[b], INTERVAL);
    bench.say(b, &[heartbeat(5), heartbeat(5)]);
    assert_eq!(bench.requests(b), 1);
    bench.now = bench.now + 3600 * SECOND;
    bench.say(b, &[members(vec![])]);
    live(&mut bench, &[b], 5 * SECOND);
    bench.say(b, &[heartbeat(6), heartbeat(6)]);
    assert_eq!(bench.requests(b), 2);
}

#[test]
fn an_answer_of_many_pages_is_made_page_by_page() {
    let mut bench = Bench::new(Limits::default());
    let ids: Vec<NodeId> = (10..60).map(|n| format!("n{n}@{}h:1", "h.".repeat(120)).parse().expect("an id")).collect();
    for (id, n) in ids.iter().zip(1..) {
        bench.up_as(id, n, [10, 0, 2, n]);
    }
    let conn = bench.up("b");
    bench.say(conn, &[Control::MembersRequest { digest: 5 }]);
    let pages = bench.answers(conn);
    assert_eq!(pages.len(), 2);
    assert_eq!(pages.concat(), ids);
}

// What becomes of an answer

#[test]
fn the_first_answer_is_dialled_at_once_by_whoever_has_the_greater_id_too() {
    let mut bench = Bench::new(Limits::default());
    let conn = bench.up_as(&node("b"), 1, ADDRESS);
    assert_eq!(bench.requests(conn), 1, "it is the first session");
    bench.say(conn, &[members(vec![hint("a", 1), hint("z", 2), (node("b"), Incarnation([1; 16]))])]);
    assert_eq!(bench.dials(), [1, 2]);
}

#[test]
fn later_the_lesser_dials_at_once_and_the_greater_after_a_second_or_an_interval() {
    for (interval, courtesy) in [(500, 500), (2000, 1000)] {
        let mut bench = Bench::with(Duration::from_millis(interval), Limits::default());
        let conn = bench.up("b");
        live(&mut bench, &[conn], INTERVAL);
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
                bench.say(conn, &[nobody(digest)]);
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
fn what_was_told_is_of_the_view_that_the_answer_names() {
    let mut bench = Bench::new(Limits::default());
    let conn = bench.up("b");
    // Given: b has a member more, and has lost it when the question arrives, so that it tells of none.
    live(&mut bench, &[conn], INTERVAL);
    bench.say(conn, &[heartbeat(5), heartbeat(5)]);
    assert_eq!(bench.requests(conn), 1);
    bench.say(conn, &[nobody(1)]);
    // When that member is there again, with the same digest, b is asked again.
    live(&mut bench, &[conn], INTERVAL);
    bench.say(conn, &[heartbeat(5), heartbeat(5)]);
    assert_eq!(bench.requests(conn), 2);
    bench.say(conn, &[nobody(5)]);
    live(&mut bench, &[conn], INTERVAL);
    bench.say(conn, &[heartbeat(5), heartbeat(5)]);
    assert_eq!(bench.requests(conn), 2, "now it has told of this view");
}

#[test]
fn questions_for_members_are_answered_twice_in_an_interval_at_most() {
    let mut bench = Bench::new(Limits::default());
    let (conn, other) = (bench.up("b"), bench.up("c"));
    // Given: a node that has run for some time.
    live(&mut bench, &[conn, other], 10 * INTERVAL);
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
fn hints_beyond_the_nodes_that_may_be_known_are_passed_over() {
    let mut bench = Bench::new(Limits { members: 3, disconnected_nodes: 1, ..Limits::default() });
    let conn = bench.up_as(&node("b"), 1, ADDRESS);
    let page = |ports: std::ops::Range<u8>| members(ports.map(|port| hint("x", port)).collect());
    bench.say(conn, &[page(1..4)]);
    assert_eq!(bench.dials(), [1, 2, 3]);
    live(&mut bench, &[conn], INTERVAL);
    bench.say(conn, &[heartbeat(5), heartbeat(5), page(4..7)]);
    assert_eq!(bench.requests(conn), 2);
    assert!(bench.dials().is_empty());
    assert_eq!(bench.machine.node_ids().map(|ids| ids.len()), Ok(4));
}

#[test]
fn no_more_members_are_learned_from_an_answer_than_there_may_be() {
    let mut bench = Bench::new(Limits { members: 3, ..Limits::default() });
    let conn = bench.up_as(&node("b"), 1, ADDRESS);
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
    let conn = bench.up_as(&node("b"), 1, ADDRESS);
    let good = members(vec![hint("a", 1)]);
    let mut record = RecordBuilder::with_capacity(0);
    record.push(good.kind(), |body| {
        good.encode_into(body);
        let name = body.windows(2).position(|pair| pair == b"a@").expect("the id");
        body[name] = b'-';
    });
    let record = bench.members.get_mut(&conn).expect("up").sealer.seal(record);
    bench.receive(conn, record);
    assert_eq!(bench.faults(), [PeerFault::MalformedBody]);
    assert!(bench.dials().is_empty());
}

#[test]
fn one_that_never_answers_does_not_keep_others_from_being_asked() {
    let mut bench = Bench::new(Limits::default());
    let (b, c) = (bench.up("b"), bench.up("c"));
    for _ in 0..2 {
        live(&mut bench, &[b, c], 3 * SECOND);
        for conn in [b, c] {
            if bench.requests(conn) > 0 {
                bench.say(conn, &[members(vec![])]);
            }
        }
    }
    for conn in [b, c] {
        bench.members.get_mut(&conn).expect("up").heard.clear();
    }
    let mut digest = 100;
    for step in 0..30_000_u64 {
        digest += 1;
        bench.say(b, &[heartbeat(digest), heartbeat(digest)]);
        bench.run(10 * MS);
        // c, whose view lastingly differs, keeps to its interval.
        if step % 200 == 57 {
            bench.say(c, &[heartbeat(5)]);
        }
    }
    assert!(bench.requests(b) > 0);
    assert_ne!(bench.requests(c), 0);
}

#[test]
fn one_that_answers_late_and_always_differs_does_not_keep_others_from_being_asked() {
    let mut bench = Bench::new(Limits::default());
    let (b, c) = (bench.up("b"), bench.up("c"));
    live(&mut bench, &[b, c], 3 * SECOND);
    bench.say(c, &[members(vec![])]);
    bench.members.get_mut(&c).expect("up").heard.clear();
    let (mut answered, mut due) = (0, None);
    for step in 0..6_000 {
        // b has another view at each moment, and lets each question wait for nine seconds; c keeps to its interval.
        if due.is_none() && bench.requests(b) > answered {
            due = Some(bench.now + 9 * SECOND);
        }
        if due.is_some_and(|due| due <= bench.now) {
            due = None;
            answered += 1;
            bench.say(b, &[members(vec![])]);
        }
        bench.say(b, &[heartbeat(100 + step), heartbeat(100 + step)]);
        bench.run(10 * MS);
        if step % 193 == 57 {
            bench.say(c, &[heartbeat(5)]);
        }
    }
    assert!(answered > 0);
    assert_ne!(bench.requests(c), 0);
}

#[test]
fn one_that_beats_often_and_always_differs_does_not_keep_others_from_being_asked() {
    // Given: b's interval is shorter than the node's own.
    let mut bench = Bench::with(4 * INTERVAL, Limits::default());
    let (b, c) = (bench.up("b"), bench.up("c"));
    live(&mut bench, &[b, c], 3 * SECOND);
    bench.say(c, &[members(vec![])]);
    bench.members.get_mut(&c).expect("up").heard.clear();
    let mut answered = 0;
    for step in 0..6_000 {
        bench.say(b, &[heartbeat(100 + step), heartbeat(100 + step)]);
        if bench.requests(b) > answered {
            answered += 1;
            bench.say(b, &[members(vec![])]);
        }
        bench.run(10 * MS);
        if step % 193 == 57 {
            bench.say(c, &[heartbeat(5)]);
        }
    }
    assert!(answered > 0);
    assert_ne!(bench.requests(c), 0);
}

#[test]
fn one_that_comes_again_and_again_does_not_keep_others_from_being_asked() {
    let mut bench = Bench::new(Limits::default());
    let c = bench.up("c");
    live(&mut bench, &[c], 3 * SECOND);
    for _ in 0..10 {
        // b announces much, answers nothing, and has a new session each time before a question runs out. c keeps to its interval.
        let b = bench.announce(&node("b"), 1, ADDRESS, 1000);
        for _ in 0..5 {
            live(&mut bench, &[b, c], INTERVAL - 20 * MS);
            bench.say(c, &[heartbeat(5)]);
        }
        bench.feed(Input::Closed { conn: b });
    }
    assert_ne!(bench.requests(c), 0);
}

#[test]
fn who_answers_again_comes_no_longer_last() {
    let mut bench = Bench::new(Limits::default());
    let (b, d) = (bench.announce(&node("b"), 1, ADDRESS, 1), bench.up("d"));
    // Given: b let its first question run out, and answered the next.
    live(&mut bench, &[b, d], 31 * SECOND);
    assert_eq!(asked(&bench, [b]), [1]);
    bench.say(b, &[heartbeat(5), heartbeat(5), members(vec![])]);
    assert_eq!(asked(&bench, [b]), [2]);
    bench.feed(Input::Closed { conn: b });
    // When it comes again while d is asked, with more to tell than another.
    live(&mut bench, &[d], 10 * SECOND);
    bench.say(d, &[heartbeat(5), heartbeat(5)]);
    let b = bench.announce(&node("b"), 1, ADDRESS, 99);
    let c = meet(&mut bench, "c", 98);
    assert_eq!(asked(&bench, [b, c]), [0, 0]);
    bench.say(d, &[members(vec![])]);
    assert_eq!(asked(&bench, [b, c]), [1, 0]);
}

#[test]
fn members_are_taken_in_by_steps_though_pages_follow_at_once() {
    let mut bench = Bench::new(Limits::default());
    let b = bench.up_as(&node("b"), 1, ADDRESS);
    let page = |members: Members| Control::Members { digest: 1, last: false, members };
    let mut pages = vec![page((1..113).map(|port| hint("x", port)).collect())];
    pages.extend((0..6).map(|_| page(Members::new())));
    bench.say(b, &pages);
    assert_eq!(bench.machine.node_ids().expect("running").len(), 1 + 16);
}

#[test]
fn two_that_announce_much_and_answer_nothing_do_not_keep_a_third_from_being_asked() {
    let mut bench = Bench::new(Limits::default());
    let mut rogues = [bench.announce(&node("a"), 1, ADDRESS, u64::MAX), bench.announce(&node("b"), 1, ADDRESS, u64::MAX)];
    let c = bench.announce(&node("c"), 1, ADDRESS, 50);
    for turn in 0..40 {
        let again = (turn + 1) % 2;
        live(&mut bench, &[rogues[0], rogues[1], c], 9 * SECOND);
        if turn > 0 {
            bench.feed(Input::Closed { conn: rogues[again] });
            rogues[again] = bench.announce(&node(["a", "b"][again]), 1, ADDRESS, u64::MAX);
        }
        live(&mut bench, &[rogues[0], rogues[1], c], SECOND);
    }
    assert_ne!(bench.requests(c), 0);
}
