//! Machines that recover late: each is found out by the bound of what it recovers from.

use std::time::Duration;

use noex_proto::{Action, ClusterError, ClusterEvent, PeerFault};

use super::invariants::{bent, broken_plan, configured};
use super::with;
use crate::{Dialling, Fault, Invariant, Op, Plan};

/// The first node's connections end, which nobody notices, and then its process.
fn vanishes(silent: bool) -> Plan {
    let half_open = |with| (5000, Op::HalfOpen { at: 0, with, silent });
    let plan = with(Fault::HalfOpen, [half_open(1), half_open(2), (5001, Op::Crash { node: 0, ms: None })]);
    Plan { core: vec![1, 2], ..plan }
}

#[test]
pub(super) fn a_death_that_is_noticed_late() {
    // Whoever has a long interval of its own does not wait for that.
    let mut plan = with(Fault::MixedIntervals, [(30_000, Op::PowerOff { node: 1, ms: None })]);
    plan.faults.push(Fault::PowerOff);
    plan.nodes[0].heartbeat_ms = 60_000;
    plan.nodes[0].threshold = 1;
    (plan.core, plan.heal_ms, plan.watch_ms) = (vec![0, 2], 60_000, 360_000);
    let violation = broken_plan(&plan, configured(|config| config.heartbeat_miss_threshold(9)));
    assert_eq!((violation.invariant, violation.host), (Invariant::DeathReported, Some(0)), "{violation}");

    let plan = with(Fault::PowerOff, [(5000, Op::PowerOff { node: 1, ms: None })]);
    let plan = Plan { core: vec![0, 2], ..plan };
    let slow = configured(|config| config.heartbeat_interval(Duration::from_secs(5)));
    let violation = broken_plan(&plan, slow);
    assert_eq!(violation.invariant, Invariant::DeathReported, "{violation}");

    // Its port refuses, and nobody asks there.
    let mut plan = vanishes(true);
    plan.nodes[2].seeds.push(crate::Seed::Node(1));
    plan.nodes.iter_mut().for_each(|node| node.threshold = 10);
    let violation = broken_plan(
        &plan,
        bent(|world, _, action| match action {
            Action::Connect { conn, .. } if world.now() > Duration::from_secs(5) => {
                vec![Action::Connect { conn, remote: "10.201.0.0:4369".parse().expect("an address") }]
            }
            action => vec![action],
        }),
    );
    assert_eq!((violation.invariant, violation.at.as_millis()), (Invariant::DeathReported, 6001), "{violation}");

    // A heartbeat would be answered by a reset, and does not come.
    let mut plan = vanishes(false);
    plan.nodes[2].seeds.push(crate::Seed::Node(1));
    plan.nodes.iter_mut().for_each(|node| node.threshold = 10);
    let violation = broken_plan(&plan, configured(|config| config.heartbeat_interval(Duration::from_secs(10))));
    assert_eq!((violation.invariant, violation.at.as_millis()), (Invariant::DeathReported, 5501), "{violation}");

    // The next instance is there, and is left without an answer.
    let mut plan = with(Fault::PowerOff, [(5000, Op::PowerOff { node: 1, ms: Some(300) })]);
    plan.nodes.iter_mut().for_each(|node| node.heartbeat_ms = 10_000);
    (plan.heal_ms, plan.watch_ms) = (60_000, 60_000);
    let violation = broken_plan(
        &plan,
        bent(|world, host, action| match action {
            Action::Transmit { .. } if host == 0 && (5..15).contains(&world.now().as_secs()) => Vec::new(),
            action => vec![action],
        }),
    );
    assert_eq!((violation.invariant, violation.at.as_secs()), (Invariant::DeathReported, 7), "{violation}");
}

/// A plan of nodes that wait for their heartbeats for long, so that nothing but the loss itself tells of it.
fn patient(fault: Fault, steps: impl IntoIterator<Item = (u64, Op)>) -> Plan {
    let mut plan = with(fault, steps);
    plan.nodes.iter_mut().for_each(|node| node.heartbeat_ms = 10_000);
    (plan.heal_ms, plan.watch_ms) = (60_000, 60_000);
    plan
}

#[test]
pub(super) fn a_lost_session_that_is_not_replaced() {
    // The other end does not know of it, and refuses every new one for a while.
    let plan = patient(Fault::HalfOpen, [(15_000, Op::HalfOpen { at: 1, with: 0, silent: true })]);
    let violation = broken_plan(
        &plan,
        bent(|world, host, action| match action {
            Action::Transmit { .. } if host == 0 && (15..25).contains(&world.now().as_secs()) => Vec::new(),
            action => vec![action],
        }),
    );
    assert_eq!((violation.invariant, violation.at.as_millis()), (Invariant::ReplacedInTime, 15_500), "{violation}");
}

#[test]
pub(super) fn a_pair_that_stays_apart_without_a_cause() {
    // Dials were refused for a while, and go on to lead nowhere when they are not.
    let refused = |from, to| (15_000, Op::Dials { from, to, how: Dialling::Refused, ms: 3000 });
    let plan = patient(Fault::DialFaults, [refused(0, 1), refused(1, 0), (15_001, Op::Reset { one: 1, other: 0 })]);
    let violation = broken_plan(
        &plan,
        bent(|world, _, action| match action {
            Action::Connect { conn, .. } if (15..40).contains(&world.now().as_secs()) => {
                vec![Action::Connect { conn, remote: "10.203.0.0:4369".parse().expect("an address") }]
            }
            action => vec![action],
        }),
    );
    assert_eq!((violation.invariant, violation.at.as_millis()), (Invariant::ApartForACause, 18_500), "{violation}");
}

#[test]
pub(super) fn a_question_that_is_not_answered() {
    // Once they are up, whoever is asked says nothing for some seconds.
    let plan = patient(Fault::Crash, [(15_000, Op::Crash { node: 2, ms: Some(50) })]);
    let violation = broken_plan(
        &plan,
        bent(|world, host, action| match action {
            Action::Transmit { .. } if host == 0 && (15_058..20_000).contains(&world.now().as_millis()) => Vec::new(),
            action => vec![action],
        }),
    );
    assert_eq!((violation.invariant, violation.at.as_millis()), (Invariant::QuestionsAnswered, 19_050), "{violation}");
}

#[test]
pub(super) fn a_peer_that_is_blamed_for_what_it_has_not_done() {
    // It has another secret, and no other fault.
    let mut plan = with(Fault::MixedSecrets, []);
    plan.nodes[2].own_secret = Some(200);
    plan.core = vec![0, 1];
    let violation = broken_plan(
        &plan,
        bent(|_, _, action| match action {
            Action::Event(ClusterEvent::Error(ClusterError::Peer { addr, claimed, id, wanted, .. })) => {
                let fault = PeerFault::UnexpectedMessage;
                vec![Action::Event(ClusterEvent::Error(ClusterError::Peer { addr, claimed, fault, id, wanted }))]
            }
            action => vec![action],
        }),
    );
    assert_eq!(violation.invariant, Invariant::BlameIsTrue, "{violation}");
}

#[test]
pub(super) fn a_first_session_that_is_lost_and_not_dialled_again() {
    // It was lost before it had held, and no dial has had a reason to fail.
    let plan = patient(Fault::Reset, [(500, Op::Reset { one: 1, other: 0 })]);
    let violation = broken_plan(
        &plan,
        bent(|world, _, action| match action {
            Action::Connect { conn, .. } if (500..5000).contains(&world.now().as_millis()) => {
                vec![Action::Connect { conn, remote: "10.203.0.0:4369".parse().expect("an address") }]
            }
            action => vec![action],
        }),
    );
    assert_eq!(violation.invariant, Invariant::RedialInTime, "{violation}");
    assert!(violation.at.as_millis() <= 1000, "{violation}");
}
