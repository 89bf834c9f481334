//! What an abstraction of the machine's state tells apart, and what it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;
use std::time::Duration;

use crate::faults::{HELLO, Hello};
use crate::net::{Host, MS, Net, SECOND, address, config, id};
use bytes::Bytes;
use noex_proto::Input;

const HOUR: Duration = Duration::from_secs(3600);

/// All that is written, so that nothing is equal by chance.
#[derive(Default)]
pub(crate) struct Written(pub(crate) Vec<u8>);

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

/// `a` alone, with two strangers of one address. One of them sends `bytes` at this time; half a second is over.
fn visited(speaker: usize, at: Duration, bytes: &[u8]) -> Net {
    let mut net = Net::new(1);
    net.start(0, config("a", 0));
    let conns = [(); 2].map(|()| net.stranger(0, address(1)));
    net.run(at);
    net.say(0, conns[speaker], bytes.to_vec());
    net.run(SECOND / 2 - at);
    net
}

#[test]
fn which_of_two_connections_is_closing_makes_a_difference() {
    let stray = Hello { target: b"x@10.0.0.1:4369", ..HELLO }.frame();
    let [first, second] = [0, 1].map(|speaker| visited(speaker, MS * 499, &stray));
    assert_eq!(first.nodes[0].machine.usage().closing_connections, 1);
    assert_ne!(abstraction(&first, 0, HOUR), abstraction(&second, 0, HOUR));
}

#[test]
fn how_long_ago_a_stranger_was_challenged_makes_a_difference_within_the_grain() {
    let [early, late] = [1, 400].map(|at| visited(0, MS * at, &HELLO.frame()));
    assert_ne!(abstraction(&early, 0, MS), abstraction(&late, 0, MS));
    assert_eq!(abstraction(&early, 0, HOUR), abstraction(&late, 0, HOUR));
}

#[test]
fn which_process_of_a_node_was_lost_makes_a_difference() {
    let lost = |crashes: usize| {
        let mut net = Net::new(2);
        for _ in 0..crashes {
            net.start(1, config("b", 1));
            net.crash(1);
        }
        net.start(0, config("a", 0));
        net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
        net.run(100 * MS);
        assert!(net.is_mesh(&[0, 1]));
        net.crash(1);
        net.run(2 * MS);
        abstraction(&net, 0, HOUR)
    };
    assert_eq!(lost(1), lost(1));
    assert_ne!(lost(1), lost(2));
}

#[test]
fn how_often_a_dial_has_failed_makes_a_difference() {
    let mut net = Net::new(1);
    net.start(0, config("a", 0).seeds(["b@10.0.0.9:4369"]));
    let mut seen = BTreeSet::new();
    for _ in 0..1000 {
        net.run(100 * MS);
        seen.insert(abstraction(&net, 0, HOUR));
    }
    assert!(seen.len() >= 6, "{} states, and six delays until the longest", seen.len());
}
