//! Whose interval a duty goes by: the node's own is a twentieth of its peers', or twenty times it.

use std::time::Duration;
use std::vec;

use super::{Bench, INTERVAL, MS, SECOND, heartbeat, live, members};
use crate::wire::message::Control;
use crate::{ConnId, Limits};

/// The intervals of the node under test, beside that of its peers.
const UNLIKE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(40)];

/// How many heartbeats this peer has heard, taken out.
fn heartbeats(bench: &mut Bench, conn: ConnId) -> usize {
    let heard = std::mem::take(&mut bench.members.get_mut(&conn).expect("a member").heard);
    heard.iter().filter(|message| matches!(message, Control::Heartbeat { .. })).count()
}

// The own interval

#[test]
fn heartbeats_leave_once_in_the_own_interval_whatever_the_peers_is() {
    for own in UNLIKE {
        let mut bench = Bench::with(own, Limits::default());
        let b = bench.up("b");
        // The first comes within an interval; of the others each is up to a sixteenth early.
        live(&mut bench, &[b], own);
        assert!((1..=2).contains(&heartbeats(&mut bench, b)), "{own:?}");
        live(&mut bench, &[b], 15 * own);
        assert!((15..=16).contains(&heartbeats(&mut bench, b)), "{own:?}");
    }
}

#[test]
fn members_are_told_twice_in_the_own_interval_whatever_the_peers_is() {
    for own in UNLIKE {
        let mut bench = Bench::with(own, Limits::default());
        let b = bench.up("b");
        let question = [Control::MembersRequest { digest: 5 }];
        bench.say(b, &question);
        assert_eq!(bench.answers(b).len(), 1, "{own:?}");
        live(&mut bench, &[b], own / 2 - 10 * MS);
        bench.say(b, &question);
        assert_eq!(bench.answers(b).len(), 0, "{own:?}");
        live(&mut bench, &[b], 10 * MS);
        bench.say(b, &question);
        assert_eq!(bench.answers(b).len(), 1, "{own:?}");
    }
}

#[test]
fn the_view_has_settled_after_the_own_interval_if_that_is_short() {
    let mut bench = Bench::with(100 * MS, Limits::default());
    bench.up("b");
    let c = bench.announce(&super::node("c"), 9, super::ADDRESS, 2);
    bench.run(90 * MS);
    assert_eq!(bench.requests(c), 0);
    bench.run(10 * MS);
    assert_eq!(bench.requests(c), 1);
}

#[test]
fn of_peers_that_differ_the_next_is_asked_after_a_quarter_of_the_own_interval() {
    for own in UNLIKE {
        let mut bench = Bench::with(own, Limits::default());
        let [b, c] = ["b", "c"].map(|name| bench.up(name));
        // Given: both were asked on joining, and have answered.
        live(&mut bench, &[b, c], SECOND);
        bench.say(c, &[members(vec![])]);
        live(&mut bench, &[b, c], own.max(INTERVAL));
        for conn in [b, c] {
            bench.members.get_mut(&conn).expect("up").heard.clear();
        }
        bench.say(b, &[heartbeat(5), heartbeat(5)]);
        bench.say(b, &[members(vec![])]);
        assert_eq!(bench.requests(b), 1, "{own:?}");
        live(&mut bench, &[b, c], own / 4 - 5 * MS);
        bench.say(c, &[heartbeat(5), heartbeat(5)]);
        assert_eq!(bench.requests(c), 0, "{own:?}");
        live(&mut bench, &[b, c], 5 * MS);
        bench.say(c, &[heartbeat(5)]);
        assert_eq!(bench.requests(c), 1, "{own:?}");
    }
}

// The longer of two

#[test]
fn a_peer_is_asked_about_a_difference_twice_in_the_longer_interval() {
    for own in UNLIKE {
        let mut bench = Bench::with(own, Limits::default());
        // Given: it was asked just now, when its session came up.
        let b = bench.up("b");
        let spacing = own.max(INTERVAL) / 2;
        live(&mut bench, &[b], spacing + spacing / 16 - 10 * MS);
        bench.say(b, &[heartbeat(5), heartbeat(5)]);
        assert_eq!(bench.requests(b), 0, "{own:?}");
        live(&mut bench, &[b], 10 * MS);
        bench.say(b, &[heartbeat(5)]);
        assert_eq!(bench.requests(b), 1, "{own:?}");
    }
}
