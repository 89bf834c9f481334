//! One session per pair: simultaneous dials, sessions that died on one side only, restarts, conflicts, and what payloads are promised.

use std::time::Duration;

use super::condition::{network, watching};
use crate::net::{Host, MS, Net, SECOND, address, config, id};
use bytes::Bytes;
use noex_proto::{ClusterError, ClusterEvent, Input, NodeId};
use proptest::prelude::*;

/// `a` on host 0 and `b` on host 1; the dialler knows the other as a seed.
fn pair(dialler: Host) -> Net {
    let ids = [id("a", 0), id("b", 1)];
    let mut net = network(2);
    for (host, name) in ["a", "b"].into_iter().enumerate() {
        let seeds = (host == dialler).then(|| ids[1 - host].to_string());
        let interval = if host == 0 { SECOND } else { watching(SECOND) };
        let patient = config(name, host).heartbeat_interval(interval).heartbeat_miss_threshold(30);
        net.start(host, patient.seeds(seeds));
    }
    net.run(5 * SECOND);
    assert_eq!((net.total_ups(), net.total_downs()), (2, 0));
    net.clear_events();
    net
}

/// A node `m` on host 0, a lesser and a greater peer; it finds them as seeds at each start.
fn restarting(interval: Duration) -> (Net, noex_proto::ClusterConfig) {
    let mut net = network(4);
    let m = config("m", 0).heartbeat_interval(interval).seeds([id("a", 1).to_string(), id("z", 2).to_string()]);
    net.start(1, config("a", 1).heartbeat_interval(watching(interval)));
    net.start(2, config("z", 2).heartbeat_interval(watching(interval)));
    net.start(0, m.clone());
    (net, m)
}

/// Another process with the identity of `m`, on host 3, which tells the address of the first; it finds the same peers.
fn successor(interval: Duration) -> noex_proto::ClusterConfig {
    let config = config("m", 3).advertise_host(address(0).ip().to_string()).heartbeat_interval(interval);
    config.seeds([id("a", 1).to_string(), id("z", 2).to_string()])
}

fn when(net: &Net, host: Host, what: impl Fn(&ClusterEvent) -> bool) -> Duration {
    net.nodes[host].events.iter().find(|(_, event)| what(event)).unwrap().0
}

fn is_down(event: &ClusterEvent) -> bool {
    matches!(event, ClusterEvent::NodeDown { .. })
}

fn is_up(event: &ClusterEvent) -> bool {
    matches!(event, ClusterEvent::NodeUp(_))
}

// One session per pair

#[test]
fn dials_that_cross_end_in_one_session_at_every_latency() {
    for there in 0..=20 {
        for back in 0..=20 {
            let mut net = network(2);
            net.set_latency(0, 1, there * MS);
            net.set_latency(1, 0, back * MS);
            net.start(0, config("a", 0).seeds([id("b", 1).to_string()]));
            net.start(1, config("b", 1).heartbeat_interval(watching(SECOND)).seeds([id("a", 0).to_string()]));
            net.run(10 * SECOND);
            assert_eq!((net.story(0), net.story(1)), (vec!["up b".into()], vec!["up a".into()]), "{there} {back}");
            let counters = [net.nodes[0].machine.counters(), net.nodes[1].machine.counters()];
            assert_eq!(counters.map(|counters| counters.dial_failures + counters.faults), [0, 0], "{there} {back}");
            assert_eq!(counters[0].duplicates, 0, "the greater refuses");
            assert_eq!(counters[1].duplicates, 1, "{there} {back}");
            assert_eq!(counters.map(|counters| counters.dials), [1, 1], "a duplicate is not tried again");
            assert_eq!(counters.map(|counters| counters.offers_deferred), [0, 1], "until the chosen one is up");
        }
    }
}

#[test]
fn a_session_that_died_unnoticed_is_replaced_whoever_lost_it_and_whoever_dialled() {
    for dialler in 0..2 {
        for lost_at in 0..2 {
            let mut net = pair(dialler);
            net.break_unnoticed(lost_at, 1 - lost_at);
            net.run(20 * SECOND);
            assert_eq!(net.story(0), ["down b connection_closed", "up b"], "{dialler} {lost_at}");
            assert_eq!(net.story(1), ["down a connection_closed", "up a"], "{dialler} {lost_at}");
            let other = 1 - lost_at;
            assert_eq!([lost_at, other].map(|host| net.nodes[host].machine.counters().replaced), [0, 1]);
            let gap = when(&net, other, is_up) - when(&net, other, is_down);
            assert!(gap <= 2 * MS, "who still believed in it is down and up again in one admission: {gap:?}");
        }
    }
}

#[test]
fn a_session_that_died_while_dials_cross_is_replaced_once() {
    // Both lose it at moments that lie so close that each is still admitting the other's dial, or has just done so.
    for apart in 0..=60 {
        for first in 0..2 {
            let mut net = pair(0);
            net.set_latency(0, 1, 7 * MS);
            net.set_latency(1, 0, 3 * MS);
            net.break_unnoticed(first, 1 - first);
            net.run_until(2 * SECOND, |net| net.ups(first) == 1);
            net.run(apart * MS);
            let was_up = net.ups(1 - first);
            net.break_unnoticed(1 - first, first);
            net.run(20 * SECOND);
            assert!(net.is_mesh(&[0, 1]), "{apart}");
            for (host, times) in [(first, 2), (1 - first, 1 + was_up)] {
                let other = if host == 0 { "b" } else { "a" };
                let once = [format!("down {other} connection_closed"), format!("up {other}")];
                assert_eq!(net.story(host), vec![once; times].concat(), "{apart} {first} {host}");
            }
        }
    }
}

#[test]
fn two_nodes_of_which_only_one_can_dial_the_other_connect() {
    // Whoever joins later dials at once; the other learns of it by a heartbeat, and dials at once or, the greater, a little later.
    for (blocked, later) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut net = network(3);
        net.no_dial(blocked, 1 - blocked);
        net.start(2, config("c", 2));
        for host in [1 - later, later] {
            net.start(host, config(["a", "b"][host], host).seeds([id("c", 2).to_string()]));
            net.run(5 * SECOND);
        }
        assert!(net.is_mesh(&[0, 1, 2]), "{blocked} {later}");
        net.reset(0, 1);
        net.run(3 * SECOND);
        assert!(net.is_mesh(&[0, 1, 2]), "{blocked} {later}");
        assert_eq!((net.total_ups(), net.total_downs()), (8, 2), "{blocked} {later}");
    }
}

#[test]
fn a_choice_that_arrives_after_a_later_one_is_stale() {
    let mut net = network(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    // Given: the greater has chosen a session and lost it, and its INTRO on that is held up on the way.
    net.run(5 * MS);
    net.set_latency(1, 0, 3 * SECOND);
    net.run(MS);
    net.set_latency(1, 0, MS);
    net.break_unnoticed(1, 0);
    net.run(2 * SECOND);
    assert!(net.is_mesh(&[0, 1]), "on a second session");
    net.run(20 * SECOND);
    assert_eq!(net.nodes[0].machine.counters().stale_admissions, 1);
    assert_eq!((net.total_ups(), net.total_downs()), (2, 0));
}

// Restarts

#[test]
fn a_process_that_crashed_and_is_started_again_is_down_and_up() {
    let (mut net, m) = restarting(10 * SECOND);
    net.run(5 * SECOND);
    net.clear_events();
    net.crash(0);
    net.start(0, m);
    net.run(SECOND);
    for peer in [1, 2] {
        assert_eq!(net.story(peer), ["down m connection_closed", "up m"], "{peer}");
    }
    assert_eq!(net.ups(0), 2);
    net.run(100 * SECOND);
    assert_eq!((net.total_ups(), net.total_downs()), (4, 2));
}

#[test]
fn a_host_that_lost_power_and_is_back_at_once_is_down_and_up_when_the_probe_has_failed() {
    // The probe takes 2 s, or 4 round trips, at most 8 s.
    for (latency, probe) in [(MS, 2 * SECOND), (300 * MS, 2400 * MS), (990 * MS, 7920 * MS), (1200 * MS, 8 * SECOND)] {
        let (mut net, m) = restarting(60 * SECOND);
        net.latency = latency;
        net.run(30 * SECOND);
        assert_eq!((net.total_ups(), net.total_downs()), (6, 0));
        net.clear_events();
        net.lose_power(0);
        net.start(0, m);
        let back = net.now.since_start();
        net.run(30 * SECOND);
        for peer in [1, 2] {
            assert_eq!(net.story(peer), ["down m connection_closed", "up m"], "{latency:?} {peer}");
            assert_eq!(net.nodes[peer].machine.counters().probes, 1, "{latency:?} {peer}");
            // Five trips until the lesser has the keys and probes; the greater does so on the offer, two trips later.
            let trips = if peer == 1 { 5 } else { 7 };
            assert_eq!(when(&net, peer, is_down) - back, probe + latency * trips, "{latency:?} {peer}");
            // Where the probe and a round trip exceed the 10 s for INTRO, another dial profits from the probe's result.
            let most = if latency < SECOND { latency * 3 } else { 12 * SECOND };
            assert!(when(&net, peer, is_up) - when(&net, peer, is_down) <= most, "{latency:?} {peer}");
        }
        assert_eq!(net.ups(0), 2);
        net.run(100 * SECOND);
        assert_eq!((net.total_ups(), net.total_downs()), (4, 2), "{latency:?}");
    }
}

#[test]
fn the_result_of_a_probe_outlives_the_dial_that_caused_it() {
    let (mut net, m) = restarting(60 * SECOND);
    net.run(5 * SECOND);
    net.clear_events();
    net.lose_power(0);
    net.start(0, m);
    net.run(SECOND);
    net.crash(0);
    net.run(SECOND + 20 * MS);
    for peer in [1, 2] {
        assert_eq!(net.story(peer), ["down m connection_closed"], "{peer}");
    }
}

#[test]
fn a_choice_that_waits_for_a_probe_has_its_turn_when_the_probe_has_failed() {
    // Given: two processes of one identity come to the lesser at once, and when it has the second one's choice, the first one is up.
    let mut net = network(4);
    for (host, latency) in [(0, 10 * MS), (3, 12 * MS)] {
        net.set_latency(host, 1, latency);
        net.set_latency(1, host, latency);
    }
    net.start(1, config("a", 1).heartbeat_interval(60 * SECOND));
    net.start(0, config("m", 0).heartbeat_interval(60 * SECOND).seeds([id("a", 1).to_string()]));
    net.start(3, successor(60 * SECOND));
    net.run_until(SECOND, |net| net.ups(1) == 1);
    net.lose_power(0);
    net.run(4 * SECOND);
    assert_eq!(net.story(1), ["up m", "down m connection_closed", "up m"]);
    assert_eq!(net.nodes[1].machine.counters().handshakes, 2, "on the session that it was made on");
}

#[test]
fn of_two_running_processes_with_one_identity_the_first_stays() {
    let (mut net, _) = restarting(SECOND);
    net.run(5 * SECOND);
    net.clear_events();
    net.start(3, successor(SECOND));
    assert_eq!(net.nodes[3].machine.local_node_id(), Ok(id("m", 0)));
    net.run(14 * SECOND);
    let conflict = format!("error: {}", ClusterError::IdentityConflict { id: id("m", 0) });
    for host in [1, 2, 3] {
        assert_eq!(net.story(host), std::slice::from_ref(&conflict), "{host}");
    }
    assert_eq!(net.story(0), Vec::<String>::new(), "the first hears nothing of it");
    assert_eq!(net.nodes[3].dials.len(), 2, "one for each seed");
    // It tries again at the longest delay: 15 to 30 s.
    net.run(16 * SECOND + 100 * MS);
    assert_eq!(net.nodes[3].dials.len(), 4);
    net.run(300 * SECOND);
    for host in [1, 2] {
        assert_eq!(net.story(host), std::slice::from_ref(&conflict), "reported once for each newcomer");
    }
    assert_eq!((net.total_ups(), net.total_downs()), (0, 0));
    // When the first goes, the other takes its place.
    net.feed(0, Input::Stop);
    net.run(31 * SECOND);
    for peer in [1, 2] {
        assert_eq!(net.story(peer)[1..], ["down m graceful_shutdown", "up m"], "{peer}");
    }
}

#[test]
fn a_second_process_that_dials_the_first_hears_of_the_conflict() {
    let mut net = network(2);
    net.start(0, config("m", 0));
    net.start(1, config("m", 1).advertise_host(address(0).ip().to_string()).seeds([format!("x@{}", address(0))]));
    net.run(14 * SECOND);
    let conflict = format!("error: {}", ClusterError::IdentityConflict { id: id("m", 0) });
    assert_eq!(net.story(0), std::slice::from_ref(&conflict));
    assert_eq!(net.story(1), [conflict]);
    assert_eq!(net.nodes[1].dials.len(), 1);
}

#[test]
fn a_probed_process_that_leaves_makes_room_at_once() {
    let (mut net, _) = restarting(60 * SECOND);
    net.run(5 * SECOND);
    net.clear_events();
    for peer in [1, 2] {
        net.set_latency(0, peer, SECOND);
    }
    net.start(3, successor(60 * SECOND));
    net.feed(0, Input::Stop);
    net.run(SECOND + 20 * MS);
    for peer in [1, 2] {
        assert_eq!(net.story(peer), ["down m graceful_shutdown", "up m"], "{peer}");
    }
    assert!(net.is_mesh(&[1, 2, 3]) && net.errors(3).is_empty());
}

#[test]
fn a_probed_process_that_says_in_its_answer_that_it_leaves_makes_room_at_once() {
    let (mut net, _) = restarting(60 * SECOND);
    net.run(5 * SECOND);
    net.clear_events();
    // Given: it leaves, and its GOODBYE waits behind what is queued.
    net.withhold_credit(0);
    for to in [id("a", 1), id("z", 2)] {
        net.feed(0, Input::Send { payload: Bytes::from(vec![0; 1 << 20]), to });
    }
    net.feed(0, Input::Stop);
    net.run(SECOND);
    net.start(3, successor(60 * SECOND));
    net.run(SECOND);
    assert_eq!((net.total_ups(), net.total_downs()), (0, 0));
    net.give_credit(0);
    net.run(10 * MS);
    for peer in [1, 2] {
        assert_eq!(net.story(peer), ["down m connection_closed", "up m"], "{peer}");
    }
    assert!(net.is_mesh(&[1, 2, 3]) && net.errors(3).is_empty());
}

#[test]
fn a_leaving_process_for_which_nobody_waits_sends_all_that_is_queued() {
    let (mut net, _) = restarting(60 * SECOND);
    net.run(5 * SECOND);
    net.clear_events();
    net.withhold_credit(0);
    for to in [id("a", 1), id("z", 2)] {
        net.feed(0, Input::Send { payload: Bytes::from(vec![0; 1 << 20]), to });
    }
    net.feed(0, Input::Stop);
    net.run(SECOND);
    // Given: a process with its identity asks for a place. It is refused, since what still comes is a sign of life.
    for peer in [1, 2] {
        net.clog(0, peer);
    }
    net.give_credit(0);
    net.start(3, successor(60 * SECOND));
    net.run(SECOND);
    net.unclog();
    net.run(10 * MS);
    let conflict = format!("error: {}", ClusterError::IdentityConflict { id: id("m", 0) });
    for peer in [1, 2] {
        assert_eq!(net.story(peer), [conflict.clone(), "down m graceful_shutdown".into()], "{peer}");
        assert_eq!(net.nodes[peer].messages.len(), 1);
    }
}

// Payloads

#[derive(Clone, Debug)]
enum Step {
    Break { at: Host, with: Host },
    Cut { from: Host, to: Host },
    CutBoth { one: Host, other: Host },
    Freeze { host: Host },
    Heal,
    Reset { one: Host, other: Host },
}

fn step() -> impl Strategy<Value = Step> {
    let two = (0..3_usize, 1..3_usize).prop_map(|(one, further)| (one, (one + further) % 3));
    prop_oneof![
        3 => two.clone().prop_map(|(one, other)| Step::Reset { one, other }),
        3 => two.clone().prop_map(|(at, with)| Step::Break { at, with }),
        1 => two.clone().prop_map(|(from, to)| Step::Cut { from, to }),
        1 => two.prop_map(|(one, other)| Step::CutBoth { one, other }),
        1 => (0..3_usize).prop_map(|host| Step::Freeze { host }),
        2 => Just(Step::Heal),
    ]
}

/// What is sent tells the sender's up-period and its place therein.
fn payload(period: u32, place: u32) -> Bytes {
    Bytes::from([period.to_be_bytes(), place.to_be_bytes()].concat())
}

/// In each up-period a prefix of what was sent in one up-period of the sender is received.
fn check_prefixes(net: &Net, receiver: Host, sender: &NodeId) {
    let node = &net.nodes[receiver];
    let mut messages = node.messages.iter().zip(&node.message_marks).filter(|((from, _), _)| from == sender).peekable();
    let mut last = 0;
    for (place, (_, event)) in node.events.iter().enumerate() {
        let until = match event {
            ClusterEvent::NodeUp(info) if info.id == *sender => {
                let down =
                    |(_, event): &&(Duration, ClusterEvent)| matches!(event, ClusterEvent::NodeDown { id, .. } if id == sender);
                node.events[place..].iter().position(|event| down(&event)).map_or(usize::MAX, |after| place + after)
            }
            _ => continue,
        };
        let mut expected = None;
        while let Some(((_, data), _)) = messages.next_if(|(_, mark)| **mark > place && **mark <= until) {
            let period = u32::from_be_bytes(data[..4].try_into().unwrap());
            let (period, place) = expected.unwrap_or((period, 0));
            assert!(expected.is_some() || period > last, "a period of the sender is received in one of the receiver");
            assert_eq!(*data, payload(period, place));
            last = period;
            expected = Some((period, place + 1));
        }
    }
    assert!(messages.next().is_none(), "a message of a node that was not up");
}

/// Three nodes that send each other payloads all the time, while this happens to them; then all of it heals.
fn play(steps: Vec<(u32, Step)>, latencies: [u32; 6]) {
    let mut net = network(3);
    let pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)];
    for ((from, to), latency) in pairs.into_iter().zip(latencies) {
        net.set_latency(from, to, latency * MS);
    }
    let ids = [id("n", 0), id("n", 1), id("n", 2)];
    for host in 0..3 {
        let seeds = (host > 0).then(|| ids[0].to_string());
        let interval = if host == 2 { watching(300 * MS) } else { 300 * MS };
        net.start(host, config("n", host).heartbeat_interval(interval).reconnect_max_delay(4 * SECOND).seeds(seeds));
    }
    let mut places = std::collections::BTreeMap::new();
    let mut run = |net: &mut Net, time: Duration| {
        for _ in 0..time.as_millis() / 10 {
            net.run(10 * MS);
            for (from, to) in pairs {
                let up = |event: &ClusterEvent| matches!(event, ClusterEvent::NodeUp(info) if info.id == ids[to]);
                let period = net.nodes[from].events.iter().filter(|(_, event)| up(event)).count();
                if net.is_up(from, &ids[to]) && !net.is_frozen(from) {
                    let place = places.entry((from, to, period)).or_insert(0);
                    net.feed(from, Input::Send { payload: payload(u32::try_from(period).unwrap(), *place), to: ids[to].clone() });
                    *place += 1;
                }
            }
        }
    };
    let mut frozen = None;
    run(&mut net, SECOND);
    for (pause, step) in steps {
        match step {
            Step::Break { at, with } => net.break_unnoticed(at, with),
            Step::Cut { from, to } => net.cut(from, to),
            Step::CutBoth { one, other } => net.cut_both(one, other),
            Step::Freeze { host } => {
                if frozen.is_none() {
                    net.freeze(host);
                    frozen = Some(host);
                }
            }
            Step::Heal => {
                net.heal();
                if let Some(host) = frozen.take() {
                    net.thaw(host);
                }
            }
            Step::Reset { one, other } => net.reset(one, other),
        }
        run(&mut net, pause * MS);
    }
    net.heal();
    if let Some(host) = frozen {
        net.thaw(host);
    }
    // A dial that no one answers takes 10 s, the longest delay 4 s.
    run(&mut net, 16 * SECOND);
    assert!(net.is_mesh(&[0, 1, 2]), "{:#?}", net.all_events());
    for (receiver, sender) in pairs {
        check_prefixes(&net, receiver, &ids[sender]);
    }
    let received: usize = net.nodes.iter().map(|node| node.messages.len()).sum();
    assert!(received > 1000, "{received}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_breaks_payloads_are_prefixes_and_all_come_back(
        steps in proptest::collection::vec((0..1500_u32, step()), 1..14),
        latencies in proptest::array::uniform6(0..30_u32),
    ) {
        play(steps, latencies);
    }
}

#[test]
fn of_sessions_that_wait_the_newest_has_its_turn_first() {
    // Two dials that cross both die at the lesser during their admission, unnoticed by the greater, who has chosen one of them. When that
    // one's time is over, the lesser's third dial is waiting too, and it is the only one alive.
    let steps = vec![
        (190, Step::Freeze { host: 2 }),
        (1250, Step::Reset { one: 0, other: 1 }),
        (880, Step::Heal),
        (1080, Step::Break { at: 2, with: 1 }),
        (830, Step::Reset { one: 0, other: 1 }),
        (30, Step::Break { at: 0, with: 2 }),
        (0, Step::Break { at: 0, with: 1 }),
    ];
    play(steps, [23, 7, 20, 4, 14, 13]);
}
