//! Seeds whose address others are told of, and dials that wait.

use std::format;
use std::vec;

use super::{Bench, INTERVAL, MS, SECOND, live, members, node, told};
use crate::message::Control;
use crate::{ClusterConfig, DialError, Input, Limits, NodeStatus};

const ADDRESS: [u8; 4] = [10, 0, 1, 1];

/// A node with these seeds, whose interval is that of the tests.
fn seeded(seeds: &[&str], limits: Limits) -> Bench {
    Bench::of(ClusterConfig::new("m").heartbeat_interval(INTERVAL).seeds(seeds).limits(limits))
}

#[test]
fn who_is_told_of_at_a_seeds_address_under_another_name_is_given_up_like_others() {
    // Given: a seed that does not answer, and a member that tells of a node there.
    let mut bench = seeded(&["seed@10.0.1.1:1"], Limits::default());
    let dial = bench.dials_to(1)[0];
    bench.feed(Input::DialFailed { conn: dial, error: DialError::Refused });
    let b = bench.up_as(&"b@10.0.9.9:2".parse().expect("an id"), 1, ADDRESS);
    bench.actions.clear();
    bench.say(b, &[members(vec![told("y", 1)])]);
    let status = |bench: &Bench| bench.machine.node(&node("y")).expect("running").map(|info| info.status);
    assert_eq!(status(&bench), Some(NodeStatus::Connecting));
    let dial = bench.dials_to(1)[0];
    bench.feed(Input::DialFailed { conn: dial, error: DialError::Refused });
    assert_eq!(status(&bench), Some(NodeStatus::Disconnected));
    live(&mut bench, &[b], 4000 * SECOND);
    assert_eq!(status(&bench), None);
}

#[test]
fn who_is_told_of_at_a_seeds_address_keeps_nobody_out() {
    for host in ["10.0.5.5", "10.0.1.1"] {
        let mut bench = seeded(&[&format!("seed@{host}:1")], Limits { members: 3, disconnected_nodes: 1, ..Limits::default() });
        let b = bench.up_as(&"b@10.0.9.9:2".parse().expect("an id"), 1, ADDRESS);
        bench.say(b, &[members(vec![told("y1", 1), told("y2", 2), told("y3", 3)])]);
        for conn in bench.dials_to(1) {
            bench.feed(Input::DialFailed { conn, error: DialError::Refused });
        }
        let k = bench.authenticate(&node("k"), 1, ADDRESS);
        bench.say(k, &[Control::Offer { n: 0, holds: false }]);
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
    bench.feed(Input::DialFailed { conn: slow, error: DialError::TimedOut });
    assert_eq!(bench.dials_to(1), []);
}
