//! What operators, drivers and hosts bring about: it takes place, it has its effect, and what is expected of it bites.

use std::time::Duration;

use noex_proto::{ClusterConfig, Limits};

use super::{errors, quiet, run, start, told, with};
use crate::world::Bend;
use crate::{Fault, Invariant, Op, Plan, STEP_BOUND, Seed, World};

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
        if third { config.limits(Limits { members: 1, ..Limits::default() }) } else { config }
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
}
