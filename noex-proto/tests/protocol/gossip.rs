//! What members tell each other of third ones: hints whom to dial, at next to no cost.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::condition::network;
use super::pauses::interval;
use crate::net::{Host, MS, Net, SECOND, Wire, address, config, id};
use noex_proto::{Input, Limits, NodeStatus};
use proptest::prelude::*;

/// The sizes of all records by their first message's type. In a record the type stands in the clear.
type Traffic = Rc<RefCell<BTreeMap<u8, Vec<usize>>>>;

const HEARTBEAT: u8 = 0x10;
const MEMBERS: u8 = 0x11;
const MEMBERS_REQUEST: u8 = 0x12;

fn watch(net: &mut Net) -> Traffic {
    let traffic = Traffic::default();
    let copy = Rc::clone(&traffic);
    net.wire = Some(Wire(Box::new(move |_, _, data| {
        copy.borrow_mut().entry(data[4]).or_default().push(data.len());
        data
    })));
    traffic
}

fn count(traffic: &Traffic, kind: u8) -> usize {
    traffic.borrow().get(&kind).map_or(0, Vec::len)
}

fn cluster(n: usize) -> Net {
    cluster_with(n, n, |host| config("n", host))
}

fn cluster_with(n: usize, hosts: usize, config: impl Fn(Host) -> noex_proto::ClusterConfig) -> Net {
    let mut net = network(hosts);
    for host in 0..n {
        net.start(host, config(host).seeds((host > 0).then(|| id("n", 0).to_string())));
    }
    net.run(10 * SECOND);
    assert!(net.is_mesh(&(0..n).collect::<Vec<_>>()));
    net
}

fn answers(net: &Net) -> u64 {
    net.nodes.iter().map(|node| node.machine.counters().member_answers).sum()
}

#[test]
fn an_idle_cluster_sends_heartbeats_and_nothing_else() {
    let n = 10;
    let mut net = cluster(n);
    let traffic = watch(&mut net);
    net.run(600 * SECOND);
    assert_eq!(traffic.borrow().keys().copied().collect::<Vec<_>>(), [HEARTBEAT]);
    let beats = count(&traffic, HEARTBEAT);
    let pairs = n * (n - 1);
    // They come early by one to two 32nds.
    assert!((pairs * 619..=pairs * 640).contains(&beats), "{beats}");
    // No processes, an uptime that takes 3 or 5 bytes, a digest that takes 9.
    assert!(traffic.borrow()[&HEARTBEAT].iter().all(|size| [39, 41].contains(size)));
}

#[test]
fn the_cost_of_a_heartbeat_does_not_depend_on_the_number_of_members() {
    let largest = |n| {
        let mut net = cluster(n);
        let traffic = watch(&mut net);
        net.run(30 * SECOND);
        *traffic.borrow()[&HEARTBEAT].iter().max().unwrap()
    };
    assert_eq!(largest(2), largest(30));
}

#[test]
fn a_partitioned_pair_costs_one_exchange_with_each_of_the_others_in_a_long_time() {
    let n = 6;
    let mut net = cluster(n);
    net.cut_both(0, 1);
    net.reset(0, 1);
    net.run(20 * SECOND);
    assert_eq!(net.nodes[2].machine.connected_node_count(), Ok(n - 1));
    assert_eq!(net.nodes[0].machine.connected_node_count(), Ok(n - 2));
    let before = answers(&net);
    let traffic = watch(&mut net);
    net.run(280 * SECOND);
    assert_eq!(answers(&net), before, "neither view has changed");
    assert_eq!(count(&traffic, MEMBERS_REQUEST), 0);
    // Each of the two differs from the others, and the others from them: four times each of the others in 300 s.
    net.run(600 * SECOND);
    assert_eq!(answers(&net) - before, 2 * 4 * (n as u64 - 2));
    assert_eq!(net.nodes[0].machine.node(&id("n", 1)).unwrap().unwrap().status, NodeStatus::Disconnected);
    // Dials go on at the longest delay.
    let dials = net.nodes[0].machine.counters().dials;
    net.run(300 * SECOND);
    let dials = net.nodes[0].machine.counters().dials - dials;
    assert!((5..=30).contains(&dials), "{dials}");
    // Healed, all is as before.
    net.heal();
    net.run(60 * SECOND);
    assert!(net.is_mesh(&[0, 1, 2, 3, 4, 5]));
    let healed = answers(&net);
    net.run(600 * SECOND);
    assert_eq!(answers(&net), healed);
}

#[test]
fn a_difference_leads_to_an_exchange_after_two_heartbeats_and_not_before() {
    let mut net = cluster(3);
    net.cut_both(0, 1);
    net.reset(0, 1);
    let traffic = watch(&mut net);
    let begin = net.now;
    // The first heartbeat that differs comes within a second, the second one in the next.
    net.run(900 * MS);
    assert_eq!(count(&traffic, MEMBERS_REQUEST), 0);
    net.run_until(3 * SECOND, |_| count(&traffic, MEMBERS_REQUEST) > 0);
    assert!(net.now - begin < 2100 * MS);
    net.run(30 * SECOND);
    assert_eq!((count(&traffic, MEMBERS_REQUEST), count(&traffic, MEMBERS)), (4, 4));
}

#[test]
fn two_halves_that_one_node_joins_are_one_cluster_after_two_heartbeats() {
    // 0 and 1 know each other, 2 and 3 do too; then 2 meets 1.
    let mut net = network(4);
    net.start(0, config("n", 0));
    net.start(1, config("n", 1).seeds([id("n", 0).to_string(), id("n", 2).to_string()]));
    net.start(3, config("n", 3).seeds([id("n", 2).to_string()]));
    net.no_dial(1, 2);
    net.start(2, config("n", 2));
    net.run(20 * SECOND);
    assert!(net.nodes[0].machine.connected_node_count() == Ok(1) && net.nodes[3].machine.connected_node_count() == Ok(1));
    net.heal();
    net.run_until(40 * SECOND, |net| net.is_up(1, &id("n", 2)));
    net.run(5 * SECOND);
    assert!(net.is_mesh(&[0, 1, 2, 3]), "{:#?}", net.all_events());
    assert_eq!(net.total_downs(), 0);
}

#[test]
fn who_left_is_not_brought_back_by_a_late_rumour_but_a_new_start_of_it_is() {
    let mut net = cluster_with(3, 4, |host| config("n", host));
    // 1 does not hear that 2 leaves, and goes on listing it.
    net.cut(2, 1);
    net.feed(2, Input::Stop);
    net.run(100 * MS);
    assert!(net.is_up(1, &id("n", 2)) && !net.is_up(0, &id("n", 2)));
    net.clear_events();
    net.run(2900 * MS);
    // 3 joins, and hears of 2 from 1: it dials in vain.
    assert!(answers(&net) > 0);
    let dialled =
        |net: &Net, host: Host| net.nodes[host].dials.iter().filter(|(_, to, _)| *to == address(2).ip().to_string()).count();
    assert_eq!(dialled(&net, 0), 0, "{:?}", net.nodes[0].dials);
    assert_eq!(net.nodes[0].machine.node(&id("n", 2)).unwrap().unwrap().status, NodeStatus::Disconnected);
    net.run(60 * SECOND);
    assert_eq!(dialled(&net, 0), 0);
    net.heal();
    net.start(2, config("n", 2).seeds([id("n", 1).to_string()]));
    net.run(5 * SECOND);
    assert!(net.is_mesh(&[0, 1, 2]));
}

#[test]
fn the_lost_are_kept_while_a_live_peer_lists_them_and_forgotten_after_that() {
    let mut net = cluster_with(3, 3, |host| config("n", host).forget_after(60 * SECOND));
    net.cut_both(0, 1);
    net.reset(0, 1);
    net.run(600 * SECOND);
    assert_eq!(net.nodes[0].machine.node_ids(), Ok(vec![id("n", 1), id("n", 2)]), "2 still lists it");
    net.crash(1);
    net.run(MS);
    let lost = net.now;
    net.run(55 * SECOND);
    assert_eq!(net.nodes[2].machine.node_ids(), Ok(vec![id("n", 0), id("n", 1)]));
    net.run(6 * SECOND);
    assert_eq!(net.nodes[2].machine.node_ids(), Ok(vec![id("n", 0)]), "{:?}", net.now - lost);
    assert_eq!(net.nodes[0].machine.node_ids(), Ok(vec![id("n", 2)]));
    net.clear_events();
    net.run(600 * SECOND);
    assert_eq!((net.nodes[0].dials.len(), net.nodes[2].dials.len()), (0, 0), "nor is it dialled");
}

#[test]
fn the_lost_are_forgotten_also_where_views_never_agree() {
    for forget in [SECOND, 60 * SECOND] {
        let mut net = cluster_with(4, 4, |host| config("n", host).forget_after(forget));
        // Given: 0 and 3 have lost each other for good, so that the view of 1, which has both, is never that of 0.
        net.cut_both(0, 3);
        net.reset(0, 3);
        net.run(100 * SECOND);
        net.crash(2);
        net.run(forget + 60 * SECOND);
        assert_eq!(net.nodes[0].machine.node_ids(), Ok(vec![id("n", 1), id("n", 3)]), "{forget:?}");
    }
}

#[test]
fn who_left_is_forgotten_too() {
    let mut net = cluster_with(2, 2, |host| config("n", host).forget_after(60 * SECOND));
    net.feed(1, Input::Stop);
    net.run(59 * SECOND);
    assert_eq!(net.nodes[0].machine.node_ids(), Ok(vec![id("n", 1)]));
    net.run(2 * SECOND);
    assert_eq!(net.nodes[0].machine.node_ids(), Ok(vec![]));
    assert_eq!(net.timeout(0), None);
}

#[test]
fn of_those_told_of_at_most_as_many_are_kept_as_may_be() {
    // 0 may know 3 others in all.
    let few = Limits::default().members(2).disconnected_nodes(1);
    let mut net = network(8);
    for host in 1..8 {
        net.start(host, config("n", host).seeds((host > 1).then(|| id("n", 1).to_string())));
    }
    net.run(SECOND);
    net.start(0, config("n", 0).seeds([id("n", 1).to_string()]).limits(few));
    for _ in 0..100 {
        net.run(100 * MS);
        assert!(net.nodes[0].machine.nodes().unwrap().len() <= 3);
        assert!(net.nodes[0].machine.connected_node_count().unwrap() <= 2);
    }
}

/// c is behind a firewall: nobody can dial it, so that it depends on what it is told.
#[test]
fn a_peer_that_was_frozen_while_it_was_asked_is_asked_again() {
    let calm = |name, host| config(name, host).heartbeat_interval(5 * SECOND);
    let mut net = network(3);
    net.no_dial(0, 2);
    net.no_dial(1, 2);
    net.start(0, calm("a", 0));
    net.start(1, calm("b", 1).seeds([id("a", 0).to_string()]));
    net.run(20 * SECOND);
    net.start(2, calm("c", 2).seeds([id("a", 0).to_string()]));
    net.run_until(SECOND, |net| net.is_up(2, &id("a", 0)));
    net.freeze(0);
    // Longer than an answer may take, and no failure.
    net.run(12 * SECOND);
    net.thaw(0);
    net.run_until(30 * SECOND, |net| net.is_up(2, &id("b", 1)));
    assert_eq!(net.total_downs(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_is_listed_by_a_live_peer_is_known_at_every_look_whatever_the_intervals(
        intervals in prop::array::uniform3(interval()),
        forget in prop_oneof![Just(SECOND), Just(5 * SECOND), Just(60 * SECOND), Just(600 * SECOND)],
    ) {
        let mut net = network(3);
        for (host, interval) in intervals.into_iter().enumerate() {
            let config = config("n", host).heartbeat_interval(interval).forget_after(forget);
            net.start(host, config.seeds((host > 0).then(|| id("n", 0).to_string())));
            net.run(SECOND);
        }
        prop_assert!(net.is_mesh(&[0, 1, 2]));
        // Given: 0 and 2 lose each other for good, and 1 has both.
        net.cut_both(0, 2);
        net.reset(0, 2);
        let longest = intervals.into_iter().max().unwrap();
        let looks = 300;
        for look in 0..looks {
            net.run((4 * longest + 2 * forget) / looks);
            prop_assert!(net.is_up(1, &id("n", 0)) && net.is_up(1, &id("n", 2)));
            prop_assert!(net.nodes[0].machine.node(&id("n", 2)).unwrap().is_some(), "unknown at look {}", look);
            prop_assert!(net.nodes[2].machine.node(&id("n", 0)).unwrap().is_some(), "unknown at look {}", look);
        }
        // When nobody lists it any more, it is forgotten, after the time and some intervals.
        net.crash(2);
        net.run(forget + 4 * longest + 60 * SECOND);
        prop_assert_eq!(net.nodes[0].machine.node_ids(), Ok(vec![id("n", 1)]));
        prop_assert_eq!(net.nodes[1].machine.node_ids(), Ok(vec![id("n", 0)]));
    }
}
