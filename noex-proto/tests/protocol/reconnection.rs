//! Reconnection: how long the delays are, when they begin anew, how many dials there are, and what a seed is.

use std::time::Duration;

use crate::net::{Host, MS, Net, SECOND, address, config, id};
use noex_proto::{Close, ClusterError, DialError, Limits, NodeStatus, Refusal, Unreached};

/// When this host dialled that one.
fn dials(net: &Net, from: Host, to: Host) -> Vec<Duration> {
    let name = address(to).ip().to_string();
    net.nodes[from].dials.iter().filter(|(_, host, _)| *host == name).map(|(at, ..)| *at).collect()
}

/// The delay after the `k`th failure, from 0: doubled from the base up to the maximum, and between the half of that and all of it.
fn assert_delay(delay: Duration, k: u32, (base, max): (Duration, Duration)) {
    let full = (base * 2_u32.pow(k.min(20))).min(max);
    assert!((full / 2..=full).contains(&delay), "{k}: {delay:?} of {full:?}");
}

// Delays

#[test]
fn delays_grow_from_the_base_to_the_maximum_with_jitter() {
    let bounds = (SECOND, 9 * SECOND);
    let mut net = Net::new(2);
    let b = config("b", 1).reconnect_base_delay(bounds.0).reconnect_max_delay(bounds.1);
    net.start(1, b.seeds([id("a", 0).to_string()]));
    net.run(200 * SECOND);
    let times = dials(&net, 1, 0);
    assert!(times.len() > 20);
    let counters = net.nodes[1].machine.counters();
    assert_eq!((counters.dials, counters.dial_failures), (times.len() as u64, times.len() as u64));
    let mut shares = Vec::new();
    for (k, pair) in (0..).zip(times.windows(2)) {
        // A refusal takes a trip there and one back.
        let delay = pair[1] - pair[0] - 2 * MS;
        assert_delay(delay, k, bounds);
        shares.push(delay.div_duration_f64((bounds.0 * 2_u32.pow(k.min(20))).min(bounds.1)));
    }
    assert!(shares.iter().any(|share| *share < 0.65) && shares.iter().any(|share| *share > 0.85), "{shares:?}");
    let seed = id("a", 0);
    assert_eq!(net.errors(1), [ClusterError::SeedUnreachable { seed: seed.into(), why: Unreached::Dial(DialError::Refused) }]);
}

#[test]
fn delays_begin_anew_only_after_a_session_has_held_for_an_interval() {
    let bounds = (SECOND, 20 * SECOND);
    // The interval is the node's own, and not the peer's.
    for interval in [SECOND, 20 * SECOND] {
        let mut net = Net::new(2);
        net.no_dial(0, 1);
        net.start(0, config("a", 0).heartbeat_interval(interval));
        let b = config("b", 1).reconnect_base_delay(bounds.0).reconnect_max_delay(bounds.1);
        net.start(1, b.seeds([id("a", 0).to_string()]));
        net.run(2 * SECOND);
        let mut flap = |held: Duration, k: u32| {
            net.run(held);
            assert!(net.is_up(1, &id("a", 0)));
            net.reset(0, 1);
            let down = net.now.since_start();
            let ups = net.ups(1) + 1;
            net.run_until(21 * SECOND, |net| net.ups(1) == ups);
            let dial = *dials(&net, 1, 0).last().unwrap();
            assert_delay(dial - down, k, bounds);
        };
        flap(SECOND, 0);
        for k in 1..7 {
            flap(990 * MS, k);
        }
        flap(SECOND + 10 * MS, 0);
        flap(SECOND + 10 * MS, 0);
        flap(MS, 1);
    }
}

#[test]
fn a_dial_that_fails_while_the_node_is_up_by_another_is_no_reason_to_wait() {
    let bounds = (SECOND, 20 * SECOND);
    let mut net = Net::new(2);
    // Given: b's dial of a leads nowhere, which takes ten seconds to find out, and a has long reached b.
    net.no_dial(1, 0);
    let a = config("a", 0).reconnect_base_delay(20 * SECOND).reconnect_max_delay(20 * SECOND);
    net.start(0, a.seeds([id("b", 1).to_string()]));
    let b = config("b", 1).reconnect_base_delay(bounds.0).reconnect_max_delay(bounds.1);
    net.start(1, b.seeds([id("a", 0).to_string()]));
    net.run(15 * SECOND);
    assert!(net.is_up(1, &id("a", 0)));
    assert_eq!(net.nodes[1].machine.counters().dial_failures, 1);
    // The session is lost: b dials again after the shortest delay.
    net.reset(0, 1);
    let down = net.now.since_start();
    net.run(2 * SECOND);
    let again = dials(&net, 1, 0).into_iter().find(|at| *at > down).expect("it dials again");
    assert_delay(again - down, 0, bounds);
}

#[test]
fn a_dial_that_nobody_answers_is_given_up_after_ten_seconds() {
    let mut net = Net::new(2);
    net.no_dial(1, 0);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(10 * SECOND - MS);
    assert_eq!(net.story(1), Vec::<String>::new());
    net.run(MS);
    let seed = id("a", 0);
    assert_eq!(net.errors(1), [ClusterError::SeedUnreachable { seed: seed.into(), why: Unreached::Dial(DialError::TimedOut) }]);
    net.heal();
    net.run(SECOND + 10 * MS);
    let times = dials(&net, 1, 0);
    assert_eq!(times.len(), 2);
    assert_delay(times[1] - times[0] - 10 * SECOND, 0, (SECOND, SECOND));
    assert!(net.is_mesh(&[0, 1]));
}

#[test]
fn a_node_that_cannot_be_reached_is_reported_once_and_comes_up_when_it_can() {
    let mut net = Net::new(3);
    // Given: b and c know of each other from a, and no connection between them is possible.
    net.cut_both(1, 2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(SECOND);
    net.start(2, config("c", 2).seeds([id("a", 0).to_string()]));
    net.run(SECOND);
    let status = |net: &Net| net.nodes[2].machine.node(&id("b", 1)).unwrap().unwrap().status;
    assert_eq!(status(&net), NodeStatus::Connecting);
    net.run(120 * SECOND);
    assert_eq!(status(&net), NodeStatus::Disconnected);
    let why = Unreached::Dial(DialError::TimedOut);
    assert_eq!(net.errors(1), [ClusterError::NodeUnreachable { id: id("c", 2), why }]);
    assert_eq!(net.errors(2), [ClusterError::NodeUnreachable { id: id("b", 1), why }]);
    assert!(net.nodes[1].dials.len() > 4 && net.nodes[2].dials.len() > 4);
    net.heal();
    net.run(41 * SECOND);
    assert!(net.is_mesh(&[0, 1, 2]));
    assert_eq!((net.total_ups(), net.total_downs()), (6, 0));
    assert_eq!((net.errors(1).len(), net.errors(2).len()), (1, 1));
}

// How many

#[test]
fn dials_in_flight_are_bounded() {
    let seeds = 30;
    let mut net = Net::new(seeds + 1);
    for seed in 1..=seeds {
        net.no_dial(0, seed);
    }
    let limits = Limits::default().dials_in_flight(10);
    net.start(0, config("a", 0).seeds((1..=seeds).map(|seed| id("s", seed).to_string())).limits(limits));
    for (seconds, dialled) in [(9, 10), (19, 20), (29, 30)] {
        net.run(seconds * SECOND - net.now.since_start());
        assert_eq!(net.nodes[0].dials.len(), dialled, "after {seconds} s");
    }
    assert!((1..=seeds).all(|seed| dials(&net, 0, seed).len() == 1), "each has its turn");
}

#[test]
fn dials_that_lead_to_sessions_are_in_flight_no_longer() {
    let seeds = 30;
    let mut net = Net::new(seeds + 1);
    for seed in 1..=seeds {
        net.start(seed, config("s", seed));
    }
    let limits = Limits::default().dials_in_flight(1);
    net.start(0, config("a", 0).seeds((1..=seeds).map(|seed| id("s", seed).to_string())).limits(limits));
    net.run(SECOND);
    assert_eq!(net.ups(0), seeds);
    net.run(60 * SECOND);
    assert_eq!(net.total_downs(), 0);
}

#[test]
fn the_rate_of_dials_is_bounded() {
    let seeds = 120;
    let mut net = Net::new(seeds + 1);
    let limits = Limits::default().dials_per_second(50);
    let a = config("a", 0).reconnect_max_delay(SECOND).limits(limits);
    net.start(0, a.seeds((1..=seeds).map(|seed| id("s", seed).to_string())));
    for second in 1..=20 {
        net.run(SECOND - MS);
        let dialled = net.nodes[0].dials.len();
        assert!(dialled <= 50 * second, "{dialled} in {second} s");
        // There is always more to do than may be done.
        assert_eq!(dialled, 50 * second);
        net.run(MS);
        assert!(net.nodes[0].dials.len() <= 50 * (second + 1));
    }
    assert!((1..=seeds).all(|seed| (6..=12).contains(&dials(&net, 0, seed).len())), "each has its turn");
}

// Seeds

#[test]
fn names_are_resolved_at_each_try() {
    let mut net = Net::new(3);
    net.start(1, config("b", 1));
    net.start(2, config("c", 2));
    let a = config("a", 0).reconnect_max_delay(2 * SECOND);
    net.start(0, a.seeds(["x@cluster:4369"]));
    net.run(5 * SECOND);
    let seed: noex_proto::NodeId = "x@cluster:4369".parse().unwrap();
    let unresolved = ClusterError::SeedUnreachable { seed: seed.clone().into(), why: Unreached::Dial(DialError::Unresolved) };
    let mismatch = |found| ClusterError::SeedMismatch { found, seed: seed.clone() };
    net.names.insert("cluster".into(), vec![address(1)]);
    net.run(2 * SECOND + 20 * MS);
    // A name that is gone from the resolver's answer disconnects nobody.
    net.names.clear();
    net.run(60 * SECOND);
    net.crash(1);
    net.names.insert("cluster".into(), vec![address(2)]);
    net.run(20 * SECOND);
    let story = [
        format!("error: {unresolved}"),
        format!("error: {}", mismatch(id("b", 1))),
        "up b".into(),
        "down b connection_closed".into(),
        format!("error: {}", mismatch(id("c", 2))),
        "up c".into(),
    ];
    assert_eq!(net.story(0), story);
}

#[test]
fn addresses_of_a_name_that_take_connections_and_lead_nowhere_have_turns_with_the_others() {
    // Given: of three nodes behind a name, always in this order, two are frozen; their systems take connections.
    let mut net = Net::new(4);
    for host in 1..4 {
        net.start(host, config(["", "b", "c", "d"][host], host));
    }
    net.freeze(1);
    net.freeze(2);
    net.names.insert("cluster".into(), vec![address(1), address(2), address(3)]);
    net.start(0, config("a", 0).seeds(["x@cluster:4369"]));
    // Two handshakes run out, and two delays pass.
    net.run(2 * 5 * SECOND + 3 * SECOND + 50 * MS);
    assert!(net.is_up(0, &id("d", 3)), "{:#?}", net.story(0));
    // A loss begins with the resolver's order again.
    net.thaw(1);
    net.crash(3);
    net.run(5 * SECOND);
    assert!(net.is_up(0, &id("b", 1)), "{:#?}", net.story(0));
}

#[test]
fn who_was_found_by_name_is_dialled_again_though_the_name_is_gone() {
    let mut net = Net::new(2);
    net.no_dial(1, 0);
    net.names.insert("cluster".into(), vec![address(1)]);
    net.start(1, config("b", 1));
    net.start(0, config("a", 0).seeds(["x@cluster:4369"]));
    net.run(5 * SECOND);
    net.names.clear();
    net.reset(0, 1);
    net.run(5 * SECOND);
    let story: Vec<String> = net.story(0).into_iter().filter(|event| !event.contains("error")).collect();
    assert_eq!(story, ["up b", "down b connection_closed", "up b"]);
}

#[test]
fn a_seed_that_is_someone_else_reconnects_after_each_loss() {
    let mut net = Net::new(2);
    net.no_dial(0, 1);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("zebra", 0).to_string()]));
    net.run(5 * SECOND);
    net.reset(0, 1);
    net.run(5 * SECOND);
    net.crash(0);
    net.run(SECOND);
    net.start(0, config("a", 0));
    net.run(5 * SECOND);
    // Another node takes the address.
    net.crash(0);
    net.start(0, config("c", 0));
    net.run(60 * SECOND);
    let mismatch = |found| format!("error: {}", ClusterError::SeedMismatch { found, seed: id("zebra", 0) });
    let (up, down) = ("up a".to_string(), "down a connection_closed".to_string());
    let story: Vec<String> = net.story(1).into_iter().filter(|event| !event.contains("fault")).collect();
    let refused = "error: refused by peer at 10.0.0.1:4369: the peer is another node than was dialled".to_string();
    let story: Vec<String> = story.into_iter().filter(|event| *event != refused).collect();
    assert_eq!(
        story,
        [mismatch(id("a", 0)), up.clone(), down.clone(), up.clone(), down.clone(), up, down, mismatch(id("c", 0)), "up c".into()]
    );
}

// Outages

#[test]
fn after_an_outage_of_all_nodes_all_come_back() {
    let n = 6;
    for lose_power in [false, true] {
        let mut net = Net::new(n);
        let seeds = [id("n", 0).to_string(), id("n", 1).to_string()];
        let config = |host| config("n", host).seeds(&seeds);
        for host in 0..n {
            net.start(host, config(host));
        }
        net.run(5 * SECOND);
        assert_eq!((net.total_ups(), net.total_downs()), (n * (n - 1), 0));
        for host in 0..n {
            if lose_power {
                net.lose_power(host);
            } else {
                net.crash(host);
            }
        }
        net.run(60 * SECOND);
        net.clear_events();
        // The seeds are the last to come back.
        for host in (0..n).rev() {
            net.start(host, config(host));
            net.run(SECOND);
        }
        net.run(10 * SECOND);
        assert_eq!((net.total_ups(), net.total_downs()), (n * (n - 1), 0));
    }
}

#[test]
fn after_an_outage_of_the_network_all_come_back() {
    let n = 6;
    let hosts: Vec<Host> = (0..n).collect();
    let mut net = Net::new(n);
    for host in 0..n {
        net.start(host, config("n", host).seeds([id("n", 0).to_string()]));
    }
    net.run(5 * SECOND);
    for one in 0..n {
        for other in one + 1..n {
            net.cut_both(one, other);
        }
    }
    net.run(600 * SECOND);
    assert_eq!((net.total_ups(), net.total_downs()), (n * (n - 1), n * (n - 1)));
    net.heal();
    // A dial that nobody answers takes 10 s, the longest delay 30 s.
    net.run(41 * SECOND);
    assert!(net.is_mesh(&hosts));
    assert_eq!((net.total_ups(), net.total_downs()), (2 * n * (n - 1), n * (n - 1)));
}

#[test]
fn a_dial_that_always_fails_alike_is_reported_once_and_again_when_it_fails_otherwise() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).cluster_secret("another secret altogether").seeds([id("a", 0).to_string()]));
    net.run(300 * SECOND);
    assert!(dials(&net, 1, 0).len() > 8);
    let refused = ClusterError::Refused { addr: address(0), reason: Refusal::AuthenticationFailed };
    let why = Unreached::Refused(Refusal::AuthenticationFailed);
    let unreachable = ClusterError::SeedUnreachable { seed: id("a", 0).into(), why };
    assert_eq!(net.errors(1), [refused.clone(), unreachable.clone()]);
    net.crash(0);
    net.run(60 * SECOND);
    net.start(0, config("a", 0));
    net.run(60 * SECOND);
    let nobody = ClusterError::SeedUnreachable { seed: id("a", 0).into(), why: Unreached::Dial(DialError::Refused) };
    assert_eq!(net.errors(1), [refused.clone(), unreachable.clone(), nobody, refused, unreachable]);
}

#[test]
fn a_dial_to_a_node_that_is_forgotten_makes_room_for_one_that_waits() {
    let mut net = Net::new(3);
    let limits = Limits::default().dials_in_flight(1);
    net.start(0, config("a", 0).limits(limits).forget_after(5 * SECOND));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.start(2, config("c", 2).seeds([id("a", 0).to_string()]));
    net.run(3 * SECOND);
    assert!(net.is_mesh(&[0, 1, 2]));
    // The dial to c is in flight, and will not be answered, when that to b falls due.
    net.cut_both(0, 2);
    net.run(2 * SECOND);
    net.cut_both(0, 1);
    net.run(5 * SECOND);
    assert_eq!((dials(&net, 0, 1).len(), dials(&net, 0, 2).len()), (0, 1));
    let closes = net.nodes[0].closes.len();
    net.run(2200 * MS);
    assert_eq!(net.nodes[0].machine.node(&id("c", 2)), Ok(None), "forgotten before its dial was over");
    assert_eq!(net.nodes[0].closes[closes..].iter().map(|(_, how)| *how).collect::<Vec<_>>(), [Close::Abort], "and given up");
    assert_eq!((dials(&net, 0, 1).len(), dials(&net, 0, 2).len()), (1, 1));
}
