//! What operators, drivers and hosts bring about: it takes place, it has its effect, and what is expected of it bites.

use std::time::Duration;

use noex_proto::{ClusterConfig, Limits};

use super::{errors, pair, quiet, run, start, told, with};
use crate::world::Bend;
use crate::{Fault, Invariant, Op, Plan, STEP_BOUND, Seed, Step, World};

const B_UP: &str = "+b";

#[test]
pub(super) fn the_last_of_several_accepted_secrets_is_tried() {
    let mut plan = with(Fault::AcceptedSecrets, [(5000, Op::Rotate { to: 1, ms: 1000, more: vec![150, 151] })]);
    // So that handshakes have to cross in the middle of the rotation.
    plan.faults.push(Fault::Reset);
    let world = run(&plan);
    let of_b: Vec<_> = told(&world, 0, 29_000).into_iter().filter(|line| line.contains('b')).collect();
    assert_eq!(of_b, [B_UP, "-b connection_closed", B_UP], "{}", world.text());
}

/// A cluster without a secret that is given one after five seconds, but for its third node.
fn first_secret() -> Plan {
    let steps = [(5000, Op::FirstSecret { ms: 1000, without: Some(2) }), (8000, Op::Crash { node: 2, ms: Some(500) })];
    let mut plan = with(Fault::FirstSecret, steps);
    plan.faults.push(Fault::Crash);
    (plan.secret, plan.core) = (false, vec![0, 1]);
    plan.heal_ms = 60_000;
    plan
}

#[test]
pub(super) fn a_first_secret_hurts_no_session_and_shuts_out_who_has_none() {
    let world = run(&first_secret());
    let mut seen = told(&world, 0, 100_000);
    assert_eq!(seen.split_off(2), ["-c connection_closed"], "{}", world.text());
    assert!(!errors(&world, 2).is_empty());
}

#[test]
pub(super) fn a_close_that_is_confirmed_late_holds_its_place() {
    let closing = |late| {
        let mut world = World::new(1);
        world.add_host();
        world.set_late_closes(0, Duration::from_secs(late));
        start(&mut world, 0, "a", &[]);
        // It has a secret, and the other none: it is turned away.
        let b = ClusterConfig::new("b").host("10.0.0.2").seeds([world.id("a", 0).to_string()]).cluster_secret("0123456789abcdef");
        world.start(1, b).expect("a valid configuration");
        world.run_for(Duration::from_secs(2)).expect("no violation");
        world.crash(1);
        world.run_for(Duration::from_secs(10)).expect("no violation");
        world.machine(0).usage().closing_connections
    };
    assert_eq!(closing(0), 0);
    assert!(closing(60) > 0);
}

/// The third node has room for so many members.
fn few_members(members: usize) -> Plan {
    let mut plan = with(Fault::FewMembers, []);
    plan.nodes[2].members = Some(members);
    plan
}

#[test]
pub(super) fn a_node_without_room_for_all_has_as_many_members_as_it_may() {
    let world = run(&few_members(1));
    assert_eq!(told(&world, 2, 20_000), ["+a"]);
    assert_eq!(told(&world, 1, 20_000), ["+a"]);
    let said = errors(&world, 1);
    assert!(said.iter().any(|error| error.contains("as many members as it may")), "{said:?}");
}

#[test]
fn a_node_that_leaves_a_place_empty() {
    // Of two places that it has it gives one.
    let config = |config: ClusterConfig| {
        let third = format!("{config:?}").contains("node_name: \"c\"");
        if third { config.limits(Limits::default().members(1)) } else { config }
    };
    let plan = few_members(2);
    let mut world = World::new(plan.seed);
    world.bend = Bend { config: Some(config), ..Bend::default() };
    let violation = plan.run_in(&mut world, STEP_BOUND).violation.expect("a violation");
    assert_eq!(violation.invariant, Invariant::Agreement, "{violation}");
    assert!(violation.detail.contains("1 members at most, of 2"), "{violation}");
}

#[test]
pub(super) fn a_host_comes_back_under_another_name_and_then_under_its_own() {
    let world = run(&with(Fault::Renames, [(5000, Op::Rename { node: 1, ms: 1000 })]));
    let of_b: Vec<_> = told(&world, 0, 29_000).into_iter().filter(|line| line.contains('b')).collect();
    assert_eq!(of_b, [B_UP, "-b connection_closed", "+re-b", "-re-b connection_closed", B_UP], "{}", world.text());
}

#[test]
pub(super) fn a_node_whose_runtime_is_shut_down_is_gone_and_comes_back() {
    let world = run(&with(Fault::Halt, [(5000, Op::Halt { node: 1, ms: Some(1000) })]));
    let of_b: Vec<_> = told(&world, 0, 20_000).into_iter().filter(|line| line.contains('b')).collect();
    assert_eq!(of_b, [B_UP, "-b connection_closed", B_UP], "{}", world.text());
    // The process is the same, and its application hears of nobody: the node stopped.
    assert_eq!(told(&world, 1, 20_000), ["+a", "+c", "+a", "+c"]);
}

#[test]
pub(super) fn new_seeds_lead_to_others_and_end_no_session() {
    // Three who do not know each other, until the third is given the others as seeds, and none again.
    let all = vec![Seed::Node(0), Seed::Node(1)];
    let steps = [
        (5000, Op::SetSeeds { node: 2, seeds: all, keep: false }),
        (10_000, Op::SetSeeds { node: 2, seeds: Vec::new(), keep: false }),
    ];
    let mut plan = with(Fault::NewSeeds, steps);
    plan.nodes.iter_mut().for_each(|node| node.seeds.clear());
    let world = run(&plan);
    assert!(told(&world, 2, 4999).is_empty());
    assert_eq!(told(&world, 2, 20_000), ["+a", "+b"]);
    assert_eq!(told(&world, 0, 20_000), ["+c", "+b"], "by way of the third");
}

#[test]
fn seeds_that_are_given_later_are_kept_beside_the_own_ones_or_not() {
    let seeds_at = |keep| {
        let mut plan = with(Fault::NewSeeds, [(5000, Op::SetSeeds { node: 1, seeds: vec![Seed::Missing], keep })]);
        plan.heal_ms = 60_000;
        let steps = [(1000, Op::Crash { node: 0, ms: Some(9000) })];
        plan.steps.extend(steps.map(|(at_ms, op)| Step { at_ms, op }));
        plan.steps.sort_by_key(|step| step.at_ms);
        plan.faults.push(Fault::Crash);
        // Who is lost is soon forgotten, if it is no seed.
        plan.nodes.iter_mut().for_each(|node| node.forget_ms = 1000);
        plan.core = vec![0, 1];
        plan.nodes.truncate(2);
        told(&run(&plan), 1, 59_000)
    };
    assert_eq!(seeds_at(true), ["+a", "-a connection_closed", "+a"]);
    assert_eq!(seeds_at(false), ["+a", "-a connection_closed"]);
}

#[test]
fn a_message_to_all_comes_to_each_that_is_up() {
    let plan = Plan { steps: vec![Step { at_ms: 5000, op: Op::Broadcast { from: 1, size: 5000, count: 2 } }], ..quiet() };
    let world = run(&plan);
    for host in [0, 2] {
        let got = world.messages(host).iter().filter(|(from, payload)| from.name() == "b" && payload.len() == 5000);
        assert_eq!(got.count(), 2, "{host}");
    }
}

#[test]
fn a_message_to_all_that_one_of_them_does_not_get() {
    let mut world = World::new(1);
    (0..3).for_each(|host| start(&mut world, host, ["a", "b", "c"][host], &[("a", 0)]));
    world.run_for(Duration::from_secs(1)).expect("no violation");
    // The third is told of a message that is not for it: of one for all when it was not up.
    let payload = crate::safety::broadcast(1, &std::collections::BTreeMap::new(), 100);
    world.send(1, &world.id("c", 2), payload.into()).expect("a member");
    let violation = world.run_for(Duration::from_secs(1)).expect_err("a violation");
    assert_eq!(violation.invariant, Invariant::PayloadsArePrefixes, "{violation}");
    assert!(violation.detail.contains("which this node was not"), "{violation}");
}

#[test]
fn a_later_subscriber_that_is_given_less() {
    let subscribed = |steal: bool| {
        let mut world = pair();
        world.run_for(Duration::from_secs(1)).expect("no violation");
        world.subscribe(0);
        let to = world.id("a", 0);
        world.send_checked(1, &to, 100);
        while world.messages(0).is_empty() {
            world.step(Duration::from_secs(2));
        }
        if steal {
            world.steal_message(0);
        }
        world.run_for(Duration::from_secs(1))?;
        world.unsubscribe(0);
        world.run_for(Duration::from_secs(10))
    };
    assert_eq!(subscribed(false), Ok(()));
    let violation = subscribed(true).expect_err("a violation");
    assert_eq!(violation.invariant, Invariant::SlowSubscriber, "{violation}");
}

#[test]
fn members_with_long_identities_are_told_in_pages() {
    let many = |seed: &u64| Plan::draw(*seed).long_names;
    let plan = Plan::draw((0..1000).find(many).expect("one of a hundred"));
    let outcome = plan.run();
    assert_eq!(outcome.violation, None, "{}", outcome.text);
    assert!(outcome.coverage.counts().any(|count| count.0 == "members told in pages" && count.1 > 0));
}

#[test]
fn odd_orders_of_these_kinds_are_refused() {
    let says = |plan: &Plan| plan.check().expect_err("an error").to_string();
    let mut plan = first_secret();
    plan.secret = true;
    assert!(says(&plan).contains("a secret from the start"));
    let mut plan = first_secret();
    plan.core = vec![0, 2];
    assert!(says(&plan).contains("never gets the secret"));
    let plan = with(Fault::AcceptedSecrets, [(5000, Op::Rotate { to: 1, ms: 1000, more: vec![1; 8] })]);
    assert!(says(&plan).contains("8 further secrets"));
    let mut plan = quiet();
    plan.nodes.iter_mut().for_each(|node| node.members = Some(1));
    assert!(says(&plan).contains("the core is empty"));
    plan.nodes[0].members = None;
    plan.nodes[2].seeds.push(Seed::Node(1));
    assert!(says(&plan).contains("seeds"));
    let plan = with(Fault::NewSeeds, [(5000, Op::SetSeeds { node: 1, seeds: vec![Seed::Name(0)], keep: true })]);
    assert!(says(&plan).contains("a name or a stranger"));
    let slow = Op::Resolver { node: 1, how: crate::Resolving::Slow, ms: 1000 };
    let plan = Plan { long_names: true, ..with(Fault::Names, [(5000, slow)]) };
    assert!(says(&plan).contains("every host has a name"));
}
