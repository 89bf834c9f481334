//! What an abstraction of the machine's state tells apart, and what it does not.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::time::Duration;

use crate::net::{Host, MS, Net, SECOND, config, id};
use bytes::Bytes;
use noex_proto::Input;

const HOUR: Duration = Duration::from_secs(3600);

/// All that is written, so that nothing is equal by chance.
#[derive(Default)]
struct Written(Vec<u8>);

impl Hasher for Written {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn finish(&self) -> u64 {
        unreachable!("the bytes are compared")
    }
}

fn abstraction(net: &Net, host: Host, grain: Duration) -> Vec<u8> {
    let mut written = Written::default();
    net.nodes[host].machine.hash_abstraction(grain, &mut written);
    written.0
}

/// `a` on host 0 and `b` on host 1, started at `start`; strangers came to `a` and went before `b` found it.
fn formed(start: Duration, strangers: usize) -> Net {
    let mut net = Net::new(2);
    net.run(start);
    net.start(0, config("a", 0));
    for _ in 0..strangers {
        let conn = net.stranger(0, "10.9.9.9:50000".parse().unwrap());
        net.feed(0, Input::Closed { conn });
    }
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(100 * MS);
    assert!(net.is_mesh(&[0, 1]));
    net
}

#[test]
fn nonces_keys_times_and_numbers_of_connections_make_no_difference() {
    let (plain, late) = (formed(Duration::ZERO, 0), formed(100 * SECOND, 3));
    assert_ne!(plain.nodes[0].machine.next_conn(), late.nodes[0].machine.next_conn());
    for host in 0..2 {
        assert_eq!(abstraction(&plain, host, HOUR), abstraction(&late, host, HOUR), "host {host}");
    }
    assert_ne!(abstraction(&plain, 0, HOUR), abstraction(&plain, 1, HOUR));
}

#[test]
fn how_long_ago_and_how_far_off_makes_a_difference_within_the_grain() {
    let (mut early, mut late) = (formed(Duration::ZERO, 0), formed(Duration::ZERO, 0));
    early.feed(0, Input::Tick);
    late.run(200 * MS);
    late.feed(0, Input::Tick);
    assert_ne!(abstraction(&early, 0, MS), abstraction(&late, 0, MS));
    assert_eq!(abstraction(&early, 0, HOUR), abstraction(&late, 0, HOUR));
}

#[test]
fn members_phases_counters_and_queues_make_a_difference() {
    let mut seen = BTreeMap::new();
    let mut note = |net: &Net, what: &'static str| {
        let same = seen.insert(abstraction(net, 0, HOUR), what);
        assert_eq!(same, None, "{what}");
    };
    let mut net = Net::new(2);
    note(&net, "stopped");
    net.start(0, config("a", 0));
    note(&net, "alone");
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    for what in ["accepted", "challenged", "offered", "introduced"] {
        net.run(2 * MS);
        note(&net, what);
    }
    net.run(100 * MS);
    net.clog(0, 1);
    note(&net, "clogged");
    for what in ["a payload is released", "another waits"] {
        net.send(0, &id("b", 1), Bytes::from_static(b"payload")).unwrap();
        note(&net, what);
    }
    net.unclog();
    net.reset(0, 1);
    net.run(10 * MS);
    note(&net, "down");
    net.run(3 * SECOND);
    assert!(net.is_mesh(&[0, 1]));
    note(&net, "up again, by a later admission");
    net.feed(0, Input::Stop);
    note(&net, "stopping");
}

#[test]
fn each_step_of_a_dialler_makes_a_difference() {
    let mut net = Net::new(2);
    net.latency = 10 * MS;
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    let mut steps = vec![abstraction(&net, 1, HOUR)];
    while !net.is_mesh(&[0, 1]) {
        net.run(MS);
        let step = abstraction(&net, 1, HOUR);
        if steps.last() != Some(&step) {
            assert!(!steps.contains(&step), "step {} is like one before", steps.len());
            steps.push(step);
        }
    }
    assert_eq!(steps.len(), 5, "it dials, has said hello, has proved itself, has offered, is up");
}
