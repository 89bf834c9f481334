//! How clusters form: seeds, simultaneous dials, gossip on joining.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::net::{Host, MS, Net, SECOND, address, config, id};
use noex_proto::{ClusterError, ClusterEvent, ConnId};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

#[test]
fn two_nodes_find_each_other_through_a_seed() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(20 * MS);
    assert!(net.is_up(0, &id("b", 1)), "{:#?}", net.all_events());
    assert!(net.is_up(1, &id("a", 0)));
    let machine = &net.nodes[0].machine;
    assert_eq!(machine.session(&id("b", 1)), Ok(Some(ConnId(1))));
    assert_eq!(machine.session(&id("c", 2)), Ok(None));
    net.run(60 * SECOND);
    assert_eq!((net.total_ups(), net.total_downs()), (2, 0));
}

#[test]
fn n_nodes_that_all_seed_each_other_and_start_at_once_come_up_once_each() {
    for n in 2..=9 {
        let mut net = Net::new(n);
        for host in 0..n {
            let seeds: Vec<String> = (0..n).map(|seed| id("n", seed).to_string()).collect();
            net.start(host, config("n", host).seeds(seeds));
        }
        net.run(60 * SECOND);
        assert_eq!((net.total_ups(), net.total_downs()), (n * (n - 1), 0), "{n}: {:#?}", net.all_events());
    }
}

#[test]
fn nodes_that_join_through_one_seed_at_once_all_find_each_other_without_a_heartbeat() {
    for n in [3, 4, 8, 20, 50] {
        // Of the least id and of the greatest: one of them counts the other before it tells it of its members.
        for seed in [0, n - 1] {
            let mut net = Net::new(n);
            for host in 0..n {
                net.start(host, config("n", host).seeds((host != seed).then(|| id("n", seed).to_string())));
            }
            // At this latency a join is 12 one-way trips; no heartbeat is sent within the first of them.
            net.run(24 * MS);
            assert_eq!((net.total_ups(), net.total_downs()), (n * (n - 1), 0), "{n} through {seed}");
        }
    }
}

#[test]
fn nodes_that_join_through_different_seeds_all_find_each_other_at_once() {
    let n = 20;
    let mut net = Net::new(n);
    for host in 0..n {
        let seeds = if host < 3 { vec![0, 1, 2] } else { vec![host % 3, (host + 1) % 3] };
        net.start(host, config("n", host).seeds(seeds.into_iter().map(|seed| id("n", seed).to_string())));
    }
    net.run(40 * MS);
    assert_eq!((net.total_ups(), net.total_downs()), (n * (n - 1), 0));
}

#[test]
fn a_seed_that_comes_up_late_is_found_within_a_backoff_delay() {
    let mut net = Net::new(3);
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.start(2, config("c", 2).seeds([id("a", 0).to_string()]));
    net.run(5 * SECOND);
    let unreachable = |error: &ClusterError| matches!(error, ClusterError::SeedUnreachable { .. });
    assert_eq!(net.errors(1).iter().filter(|error| unreachable(error)).count(), 1, "reported once, not per retry");
    net.start(0, config("a", 0));
    net.run(8 * SECOND);
    assert!(net.is_mesh(&[0, 1, 2]));
    assert_eq!((net.total_ups(), net.total_downs()), (6, 0));
}

#[test]
fn a_seed_that_is_another_node_is_reported_once_and_used() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.start(1, config("b", 1).seeds([id("zebra", 0).to_string()]));
    net.run(30 * SECOND);
    assert!(net.is_mesh(&[0, 1]));
    assert_eq!(net.errors(1), [ClusterError::SeedMismatch { found: id("a", 0), seed: id("zebra", 0) }]);
}

#[test]
fn each_of_those_that_take_turns_at_a_seeds_address_is_reported_once() {
    let mut net = Net::new(2);
    net.start(1, config("b", 1).seeds([id("zebra", 0).to_string()]));
    for name in ["a", "c", "a", "c"] {
        net.start(0, config(name, 0));
        net.run(60 * SECOND);
        net.crash(0);
    }
    let mismatch = |name| ClusterError::SeedMismatch { found: id(name, 0), seed: id("zebra", 0) };
    let mut errors = net.errors(1);
    errors.retain(|error| matches!(error, ClusterError::SeedMismatch { .. }));
    assert_eq!(errors, [mismatch("a"), mismatch("c")]);
}

#[test]
fn a_seed_that_is_oneself_is_skipped_and_retried_at_the_longest_delay() {
    let mut net = Net::new(2);
    net.names.insert("cluster".into(), vec![address(0), address(1)]);
    net.start(0, config("a", 0).seeds(["x@cluster:4369"]));
    net.start(1, config("b", 1));
    net.run(30 * MS);
    assert!(net.is_mesh(&[0, 1]), "the name's other address was tried: {:#?}", net.all_events());
    let mut alone = Net::new(1);
    alone.start(0, config("a", 0).seeds([id("a", 0).to_string()]));
    alone.run(14 * SECOND);
    assert_eq!(alone.nodes[0].dials.len(), 1);
    assert_eq!(alone.errors(0), []);
    alone.run(17 * SECOND);
    assert_eq!(alone.nodes[0].dials.len(), 2);
}

#[test]
fn node_up_shows_the_process_count_set_before() {
    let mut net = Net::new(2);
    net.start(0, config("a", 0));
    net.feed(0, noex_proto::Input::SetProcessCount(42));
    net.start(1, config("b", 1).seeds([id("a", 0).to_string()]));
    net.run(20 * MS);
    let up = net.nodes[1].events.iter().find_map(|(_, event)| match event {
        ClusterEvent::NodeUp(info) => Some(info.process_count),
        _ => None,
    });
    assert_eq!(up, Some(42));
}

/// Which nodes each seeds, when it starts, and how long what one sends to another takes, both in half milliseconds.
#[derive(Clone, Debug)]
struct Joining {
    seeds: Vec<BTreeSet<Host>>,
    starts: Vec<u32>,
    latencies: Vec<Vec<u32>>,
}

fn joining() -> impl Strategy<Value = Joining> {
    (3..9_usize).prop_flat_map(|n| {
        // Whoever seeds one that comes before it in the list is on a way to the first of it.
        let seeds = (0..n).map(|host| btree_set(0..host.max(1), 1..3)).collect::<Vec<_>>();
        let latencies = vec(vec(1..60_u32, n), n);
        (seeds, vec(0..40_u32, n), latencies).prop_map(|(seeds, starts, latencies)| Joining { seeds, starts, latencies })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_join_waits_for_a_heartbeat_whoever_comes_when_and_through_whom(Joining { seeds, starts, latencies } in joining()) {
        const UNIT: Duration = Duration::from_micros(500);
        let n = seeds.len();
        let mut net = Net::new(n);
        for (from, latencies) in latencies.iter().enumerate() {
            for (to, &latency) in latencies.iter().enumerate() {
                net.set_latency(from, to, latency * UNIT);
            }
        }
        for tick in 0..40 {
            for host in (0..n).filter(|&host| starts[host] == tick) {
                let calm = config("n", host).heartbeat_interval(600 * SECOND).reconnect_max_delay(SECOND);
                net.start(host, calm.seeds(seeds[host].iter().map(|&seed| id("n", seed).to_string())));
            }
            net.run(UNIT);
        }
        net.run(20 * SECOND);
        prop_assert_eq!((net.total_ups(), net.total_downs()), (n * (n - 1), 0));
    }
}
