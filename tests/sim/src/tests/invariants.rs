//! One test per invariant: a machine that breaks it is found out, and by that invariant.
//!
//! The machine is sound, so what it does is bent on its way into the world; where it cannot be bent, the check is given what a broken
//! machine would show.

use std::time::Duration;

use bytes::Bytes;
use noex_proto::testing::Rule;
use noex_proto::{
    Action, Close, ClusterConfig, ClusterError, ClusterEvent, ClusterStatus, ConnId, DialError, LocalFault, LookupId, Machine,
    NodeDownReason, NodeId, Unreached,
};

use super::recovery::{
    a_death_that_is_noticed_late, a_lost_session_that_is_not_replaced, a_pair_that_stays_apart_without_a_cause,
    a_question_that_is_not_answered,
};
use super::{pair, quiet, start, with};
use crate::safety::{self, Monitor, Picture};
use crate::world::{Bend, BendAction};
use crate::{Addr, Fault, Invariant, Op, Plan, Resolving, Rogue, STEP_BOUND, Scenario, Violation, World};

/// A new invariant does not compile before it has a test.
const _: fn(Invariant) -> fn() = |invariant| match invariant {
    Invariant::ActionsOnOpenConnections => a_connection_that_is_closed_twice,
    Invariant::AddressesTried => a_machine_that_never_tries_the_seventeenth_address,
    Invariant::Agreement => a_pair_that_never_connects,
    Invariant::AnswersAreTrue => super::processes::an_answer_of_another,
    Invariant::ApartForACause => a_pair_that_stays_apart_without_a_cause,
    Invariant::BlameIsTrue => a_seed_that_is_blamed_for_what_is_ones_own_fault,
    Invariant::BooksBalance => super::books::counts_that_drift,
    Invariant::Bounded => more_than_a_limit_allows,
    Invariant::CallsEndInTime => super::processes::a_call_that_does_not_end,
    Invariant::CallsEndOnce => super::processes::a_call_that_ends_twice,
    Invariant::ChunkingIsIrrelevant => messages_that_depend_on_chunks,
    Invariant::ConflictReported => a_conflict_that_nobody_hears_of,
    Invariant::CountersGrow | Invariant::NoDuplicate | Invariant::Timers => rules_of_the_contract_that_no_bent_machine_breaks,
    Invariant::DeathReported => a_death_that_is_noticed_late,
    Invariant::DepartedStayAway => one_who_left_and_is_dialled,
    Invariant::DownsAreTrue => super::processes::a_down_for_another_reason,
    Invariant::EventsAlternate => a_down_that_is_told_twice,
    Invariant::EventsMatchView => an_up_that_is_not_told,
    Invariant::FreshNonces => a_nonce_that_is_used_again,
    Invariant::HandledAsSaid => super::processes::a_call_that_is_handled_and_said_not_to_be,
    Invariant::MessagesInOrder => super::processes::messages_out_of_order,
    Invariant::MonitorsFireOnce => super::processes::a_monitor_that_fires_twice_or_never,
    Invariant::NamesAgree => super::names::nodes_that_do_not_agree_on_a_name,
    Invariant::NamesAreTrue => super::names::what_is_not_so_of_a_name,
    Invariant::NoFalseDown => a_down_without_a_cause,
    Invariant::NoPanic => a_panic,
    Invariant::NoSelf => a_node_that_is_its_own_member,
    Invariant::NoStorm => super::storms::a_storm_of_records,
    Invariant::NothingIsLeft => super::processes::calls_that_are_left,
    Invariant::NothingAfterStop => a_dial_after_the_stop,
    Invariant::OneHolder => super::names::a_name_that_two_have,
    Invariant::OneSession => duplicates_that_are_not_closed,
    Invariant::OutcomesAreTrue => super::processes::an_outcome_that_is_not_so,
    Invariant::PayloadsArePrefixes => payloads_that_are_no_prefix,
    Invariant::ProcessesServe => super::processes::a_process_that_is_not_woken,
    Invariant::QuestionsAnswered => a_question_that_is_not_answered,
    Invariant::RecoveryWithoutSilence => a_connection_that_only_silence_ends,
    Invariant::RedialInTime => a_peer_that_is_not_dialled_again,
    Invariant::ReplacedInTime => a_lost_session_that_is_not_replaced,
    Invariant::SessionBeforeUp => an_up_without_a_session,
    Invariant::SlowSubscriber => a_subscriber_that_is_forgotten,
    Invariant::StepBound => a_run_without_an_end,
    Invariant::StopInTime => a_stop_that_waits,
    Invariant::StrangersChangeNothing => a_stranger_that_is_heard,
};

/// What comes of two nodes, of which the second crashes at 3 s and comes back, where the actions of all machines are bent.
pub(super) fn broken_pair(bend: BendAction) -> Violation {
    let mut world = pair();
    world.bend.action = Some(bend);
    let run = |world: &mut World| {
        world.run_for(Duration::from_secs(3))?;
        world.crash(1);
        world.run_for(Duration::from_secs(1))?;
        start(world, 1, "b", &[("a", 0)]);
        world.run_for(Duration::from_secs(10))
    };
    run(&mut world).expect_err("a violation")
}

pub(super) fn broken_plan(plan: &Plan, bend: Bend) -> Violation {
    assert_eq!(plan.check(), Ok(()));
    let sound = plan.run_in(&mut World::new(plan.seed), STEP_BOUND);
    assert_eq!(sound.violation, None, "the sound machine breaks nothing\n{}", sound.text);
    let mut world = World::new(plan.seed);
    world.bend = bend;
    plan.run_in(&mut world, STEP_BOUND).violation.expect("a violation")
}

pub(super) fn bent(action: BendAction) -> Bend {
    Bend { action: Some(action), ..Bend::default() }
}

pub(super) fn configured(config: fn(ClusterConfig) -> ClusterConfig) -> Bend {
    Bend { config: Some(config), ..Bend::default() }
}

pub(super) fn of(check: safety::Check) -> Option<Invariant> {
    check.err().map(|(invariant, _)| invariant)
}

#[test]
fn a_connection_that_is_closed_twice() {
    let twice = broken_pair(|_, _, action| match action {
        Action::Close { .. } => vec![action.clone(), action],
        action => vec![action],
    });
    assert_eq!(twice.invariant, Invariant::ActionsOnOpenConnections, "{twice}");
    // Data after the close, and a close of what never was.
    let after = broken_pair(|_, _, action| match action {
        Action::Close { conn, .. } => vec![action, Action::Transmit { conn, data: Bytes::from_static(b"more") }],
        action => vec![action],
    });
    assert_eq!(after.invariant, Invariant::ActionsOnOpenConnections, "{after}");
    let unknown = broken_pair(|_, _, action| match action {
        Action::Close { how, .. } => vec![Action::Close { conn: ConnId(99), how }],
        action => vec![action],
    });
    assert_eq!(unknown.invariant, Invariant::ActionsOnOpenConnections, "{unknown}");
}

/// A name of sixteen addresses that are dead, and of one that lives.
fn seventeen() -> Plan {
    let mut addrs = vec![Addr::Unreachable; 16];
    addrs.push(Addr::Node(0));
    super::faults::named(addrs, (5, 5), [])
}

#[test]
fn a_machine_that_never_tries_the_seventeenth_address() {
    // It begins each dial with the first ones.
    let first: BendAction = |world, host, action| match action {
        Action::Connect { conn, remote } if host == 1 && remote.ip().to_string() == "10.0.0.1" && world.now().as_secs() < 20 => {
            vec![Action::Connect { conn, remote: "10.203.0.0:4369".parse().expect("an address") }]
        }
        action => vec![action],
    };
    let violation = broken_plan(&seventeen(), bent(first));
    assert_eq!(violation.invariant, Invariant::AddressesTried, "{violation}");
}

#[test]
fn a_seed_that_is_blamed_for_what_is_ones_own_fault() {
    let blames: BendAction = |world, _, action| match action {
        Action::Event(ClusterEvent::Error(ClusterError::Local(fault))) => {
            let why = match fault {
                LocalFault::Lookup { .. } => DialError::Unresolved,
                LocalFault::Dial { .. } => DialError::Unreachable,
                _ => return Vec::new(),
            };
            let seed = if why == DialError::Unresolved { "seed0.example".into() } else { world.id("a", 0).to_string() };
            let seed = seed.parse().expect("a contact");
            vec![Action::Event(ClusterEvent::Error(ClusterError::SeedUnreachable { seed, why: Unreached::Dial(why) }))]
        }
        action => vec![action],
    };
    let fails = Op::Resolver { node: 1, how: Resolving::Fails, ms: 5000 };
    let lookup = super::faults::named(vec![Addr::Node(0)], (5, 5), [(500, fails)]);
    let mut dial = with(Fault::Descriptors, [(500, Op::Descriptors { node: 1, ms: 5000 })]);
    dial.nodes[1].start_ms = 1000;
    for plan in [lookup, dial] {
        let violation = broken_plan(&plan, bent(blames));
        assert_eq!(violation.invariant, Invariant::BlameIsTrue, "{violation}");
    }
}

#[test]
fn a_pair_that_never_connects() {
    let plan = Plan { undialable: vec![(1, 2), (2, 1)], ..quiet() };
    let violation = plan.run().violation.expect("a violation");
    assert_eq!(violation.invariant, Invariant::Agreement, "{violation}");
}

#[test]
fn more_than_a_limit_allows() {
    let held = broken_pair(|_, _, action| match action {
        Action::Transmit { conn, .. } => vec![Action::Transmit { conn, data: Bytes::from(vec![0; 500_000]) }],
        action => vec![action],
    });
    assert_eq!(held.invariant, Invariant::Bounded, "{held}");

    let mut world = pair();
    world.bend.usage = Some(|usage| usage.half_open *= 1000);
    let table = world.run_for(Duration::from_secs(1)).expect_err("a violation");
    assert_eq!(table.invariant, Invariant::Bounded, "{table}");

    // A stranger that is never closed, and a dial that is never given up.
    let mut plan = with(Fault::Rogues, [(5000, Op::RogueDials { rogue: 0, node: 0, count: 1 })]);
    plan.rogues.push(Rogue::Silent);
    let patient = bent(|_, _, action| if matches!(action, Action::Close { .. }) { Vec::new() } else { vec![action] });
    let stranger = broken_plan(&plan, patient);
    assert_eq!((stranger.invariant, stranger.at.as_secs()), (Invariant::Bounded, 12), "{stranger}");
    let silent = Op::Dials { from: 1, to: 0, how: crate::Dialling::Dropped, ms: 19_000 };
    let mut plan = with(Fault::DialFaults, [(0, silent)]);
    plan.nodes[1].start_ms = 10;
    let dial = broken_plan(
        &plan,
        bent(|_, _, action| match action {
            Action::Close { .. } | Action::Event(ClusterEvent::Error(_)) => Vec::new(),
            action => vec![action],
        }),
    );
    assert_eq!((dial.invariant, dial.at.as_secs()), (Invariant::Bounded, 12), "{dial}");

    // Two lookups of one host at a time, and more than are allowed.
    let twice = broken_plan(
        &super::faults::named(vec![Addr::Node(0)], (50, 50), []),
        bent(|_, _, action| match action {
            Action::Resolve { ref host, lookup } => {
                let again = Action::Resolve { host: host.clone(), lookup: LookupId(lookup.0 + 1000) };
                vec![action, again]
            }
            action => vec![action],
        }),
    );
    assert_eq!(twice.invariant, Invariant::Bounded, "{twice}");
}

#[test]
fn messages_that_depend_on_chunks() {
    let mut world = pair();
    world.run_for(Duration::from_secs(1)).expect("no violation");
    world.bend.twin = Some(Vec::clear);
    let to = world.id("a", 0);
    // The machine is compared with one that reads in pieces at one of 256 reads.
    let violation = (0..5000).find_map(|_| {
        world.send_checked(1, &to, 40);
        world.run_for(Duration::from_millis(5)).err()
    });
    assert_eq!(violation.expect("a violation").invariant, Invariant::ChunkingIsIrrelevant);
}

#[test]
fn a_conflict_that_nobody_hears_of() {
    let violation = broken_plan(
        &super::faults::twins(),
        bent(|_, _, action| match action {
            Action::Event(ClusterEvent::Error(ClusterError::IdentityConflict { .. })) => Vec::new(),
            action => vec![action],
        }),
    );
    assert_eq!(violation.invariant, Invariant::ConflictReported, "{violation}");
}

#[test]
fn one_who_left_and_is_dialled() {
    let plan = with(Fault::Crash, [(5000, Op::Crash { node: 1, ms: None })]);
    let plan = Plan { core: vec![0, 2], ..plan };
    let left = bent(|_, _, action| match action {
        Action::Event(ClusterEvent::NodeDown { id, .. }) => {
            vec![Action::Event(ClusterEvent::NodeDown { id, reason: NodeDownReason::GracefulShutdown })]
        }
        action => vec![action],
    });
    let violation = broken_plan(&plan, left);
    assert_eq!(violation.invariant, Invariant::DepartedStayAway, "{violation}");
}

#[test]
fn a_peer_that_is_not_dialled_again() {
    let plan = with(Fault::Crash, [(5000, Op::Crash { node: 1, ms: None })]);
    let plan = Plan { core: vec![0, 2], ..plan };
    let violation = broken_plan(&plan, configured(|config| config.reconnect_base_delay(Duration::from_millis(400))));
    assert_eq!(violation.invariant, Invariant::RedialInTime, "{violation}");
}

/// What exploring a scenario finds where all nodes are configured otherwise.
fn explored(scenario: &str, change: fn(ClusterConfig) -> ClusterConfig) -> Option<Invariant> {
    let found = Scenario::named(scenario).expect("a scenario").with(change).explore(100, 2000);
    found.violation.map(|violation| violation.invariant)
}

#[test]
fn a_connection_that_only_silence_ends() {
    // A node that does not dial again in time leaves it to silence to end what the other holds.
    let late = |config: ClusterConfig| {
        let hour = Duration::from_secs(3600);
        config.reconnect_base_delay(hour).reconnect_max_delay(hour)
    };
    for scenario in ["half-open", "restart"] {
        assert_eq!(explored(scenario, |config| config), None);
        assert_eq!(explored(scenario, late), Some(Invariant::RecoveryWithoutSilence), "{scenario}");
    }
}

#[test]
fn a_down_that_is_told_twice() {
    let violation = broken_pair(|_, _, action| match action {
        Action::Event(ClusterEvent::NodeDown { .. }) => vec![action.clone(), action],
        action => vec![action],
    });
    assert_eq!(violation.invariant, Invariant::EventsAlternate, "{violation}");
    let status = broken_pair(|_, _, action| match action {
        Action::Event(ClusterEvent::StatusChange(ClusterStatus::Starting)) => Vec::new(),
        action => vec![action],
    });
    assert_eq!(status.invariant, Invariant::EventsAlternate, "{status}");
}

#[test]
fn an_up_that_is_not_told() {
    let violation = broken_pair(|_, _, action| match action {
        Action::Event(ClusterEvent::NodeUp(_)) => Vec::new(),
        action => vec![action],
    });
    assert_eq!(violation.invariant, Invariant::EventsMatchView, "{violation}");
    // Told, and not as the peer has said.
    let young = broken_pair(|_, _, action| match action {
        Action::Event(ClusterEvent::NodeUp(mut info)) => {
            info.uptime = Duration::ZERO;
            vec![Action::Event(ClusterEvent::NodeUp(info))]
        }
        action => vec![action],
    });
    assert_eq!(young.invariant, Invariant::EventsMatchView, "{young}");
    assert!(young.detail.ends_with("is said to be up for 0ns"), "{young}");
}

#[test]
fn a_nonce_that_is_used_again() {
    let violation = broken_pair(|_, _, action| match action {
        Action::Transmit { conn, data } if data.get(5..9) == Some(b"NOEX") => {
            let mut bytes = data.to_vec();
            bytes[13..45].fill(7);
            vec![Action::Transmit { conn, data: bytes.into() }]
        }
        action => vec![action],
    });
    assert_eq!(violation.invariant, Invariant::FreshNonces, "{violation}");
}

pub(super) fn id(name: &str) -> NodeId {
    format!("{name}@10.0.0.1:4369").parse().expect("a valid id")
}

#[test]
fn a_node_that_is_its_own_member() {
    let violation = broken_pair(|world, host, action| match action {
        Action::Event(ClusterEvent::NodeUp(mut info)) => {
            info.id = world.machine(host).local_node_id().expect("running");
            vec![Action::Event(ClusterEvent::NodeUp(info))]
        }
        action => vec![action],
    });
    assert_eq!(violation.invariant, Invariant::NoSelf, "{violation}");
}

#[test]
fn a_down_without_a_cause() {
    // Records that are signed wrongly for a while.
    let wrong = broken_plan(
        &quiet(),
        bent(|world, host, action| match action {
            Action::Transmit { conn, data } if host == 0 && (5..6).contains(&world.now().as_secs()) => {
                let mut bytes = data.to_vec();
                *bytes.last_mut().expect("not empty") ^= 1;
                vec![Action::Transmit { conn, data: bytes.into() }]
            }
            action => vec![action],
        }),
    );
    assert_eq!(wrong.invariant, Invariant::NoFalseDown, "{wrong}");

    // A node that takes a short pause for silence.
    let mut plan = with(Fault::Freeze, [(5000, Op::Freeze { node: 1, ms: 700 })]);
    plan.nodes.iter_mut().for_each(|node| node.threshold = 6);
    let impatient = broken_plan(&plan, configured(|config| config.heartbeat_miss_threshold(1)));
    assert_eq!(impatient.invariant, Invariant::NoFalseDown, "{impatient}");
    assert!(impatient.detail.contains("without a pause to match"), "{impatient}");

    // One who left, and is told to have been lost.
    let lost = broken_plan(
        &quiet(),
        bent(|_, _, action| match action {
            Action::Event(ClusterEvent::NodeDown { id, .. }) => {
                vec![Action::Event(ClusterEvent::NodeDown { id, reason: noex_proto::NodeDownReason::ConnectionClosed })]
            }
            action => vec![action],
        }),
    );
    assert_eq!(lost.invariant, Invariant::NoFalseDown, "{lost}");
}

#[test]
fn a_panic() {
    let violation = broken_plan(
        &quiet(),
        bent(|world, _, action| {
            assert!(world.now() < Duration::from_secs(5), "a machine that breaks");
            vec![action]
        }),
    );
    assert_eq!(violation.invariant, Invariant::NoPanic, "{violation}");
    assert!(violation.detail.contains("a machine that breaks"), "{violation}");
}

#[test]
fn a_dial_after_the_stop() {
    let stopped = |bend: BendAction| {
        let mut world = pair();
        world.run_for(Duration::from_secs(1)).expect("no violation");
        world.bend.action = Some(bend);
        world.stop(1);
        world.run_for(Duration::from_secs(10)).expect_err("a violation")
    };
    let dials = stopped(|world, host, action| match action {
        Action::Close { .. } if host == 1 => {
            let conn = world.machine(host).next_conn();
            vec![action, Action::Connect { conn, remote: "10.0.0.1:4369".parse().expect("an address") }]
        }
        action => vec![action],
    });
    assert_eq!(dials.invariant, Invariant::NothingAfterStop, "{dials}");
    let closes = stopped(|_, _, action| match action {
        Action::Stopped => vec![action, Action::Close { conn: ConnId(1), how: Close::Abort }],
        action => vec![action],
    });
    assert_eq!(closes.invariant, Invariant::NothingAfterStop, "{closes}");
}

#[test]
fn duplicates_that_are_not_closed() {
    let mut plan = quiet();
    for node in &mut plan.nodes {
        node.seeds = (0..3).map(crate::Seed::Node).collect();
    }
    let violation = broken_plan(
        &plan,
        bent(|world, _, action| match action {
            Action::Close { how: Close::Graceful { .. }, .. } if world.now() < Duration::from_secs(1) => Vec::new(),
            action => vec![action],
        }),
    );
    assert_eq!(violation.invariant, Invariant::OneSession, "{violation}");
}

#[test]
fn payloads_that_are_no_prefix() {
    let (from, other) = (id("a"), id("b"));
    let up = || {
        let mut monitor = Monitor::default();
        monitor.status = ClusterStatus::Running;
        for id in [&from, &other] {
            monitor.up.insert(id.clone(), safety::Up::default());
        }
        monitor
    };
    let payload = |period, number| safety::payload(7, period, number, 100);
    let mut sound = up();
    for number in 0..3 {
        assert_eq!(sound.received(None, &from, &payload(1, number)), Ok(()));
    }
    let mut bytes = payload(1, 3);
    bytes[60] ^= 1;
    for (what, payload) in
        [("again", payload(1, 2)), ("a gap", payload(1, 4)), ("another period", payload(2, 3)), ("bytes", bytes)]
    {
        let check = sound.clone().received(None, &from, &payload);
        assert_eq!(of(check), Some(Invariant::PayloadsArePrefixes), "{what}");
    }
    assert_eq!(of(sound.received(None, &other, &payload(1, 3))), Some(Invariant::PayloadsArePrefixes), "a second up-period");
    assert_eq!(of(sound.received(None, &id("c"), &payload(3, 0))), Some(Invariant::PayloadsArePrefixes), "one who is not up");

    // A world whose sender leaves one out.
    let mut world = pair();
    world.run_for(Duration::from_secs(1)).expect("no violation");
    let to = world.id("a", 0);
    world.send_checked(1, &to, 100);
    world.send(1, &to, safety::payload(2, 1, 7, 100).into()).expect("a member");
    let violation = world.run_for(Duration::from_secs(1)).expect_err("a violation");
    assert_eq!(violation.invariant, Invariant::PayloadsArePrefixes, "{violation}");

    // Machines whose applications never hear of a message.
    let lost: BendAction = |_, _, action| if action == Action::Message { Vec::new() } else { vec![action] };
    let violation = broken_plan(&with(Fault::Reset, []), bent(lost));
    assert_eq!(violation.invariant, Invariant::PayloadsArePrefixes, "{violation}");

    // The same where most of what was sent is still on a slow way when all is mended: it is waited for, and missed.
    let much = Op::Send { from: 1, to: 0, size: 40_000, count: 20 };
    let mut slow = Plan { bytes_per_second: Some(1_000_000), window_bytes: 1024, ..with(Fault::Bandwidth, [(19_999, much)]) };
    slow.latency = crate::Latency::Constant { us: 40_000 };
    slow.nodes.iter_mut().for_each(|node| node.heartbeat_ms = 5000);
    let late: BendAction = |world, _, action| match action {
        Action::Message if world.now() > Duration::from_secs(60) => Vec::new(),
        action => vec![action],
    };
    let violation = broken_plan(&slow, bent(late));
    assert_eq!(violation.invariant, Invariant::PayloadsArePrefixes, "{violation}");
    assert!(violation.detail.contains("which has received"), "{violation}");
}

#[test]
fn an_up_without_a_session() {
    let stranger = broken_pair(|_, _, action| match action {
        Action::Event(ClusterEvent::NodeUp(mut info)) => {
            info.id = "nobody@10.0.0.9:4369".parse().expect("a valid id");
            vec![Action::Event(ClusterEvent::NodeUp(info))]
        }
        action => vec![action],
    });
    assert_eq!(stranger.invariant, Invariant::SessionBeforeUp, "{stranger}");
    // Nodes that let in whoever comes.
    let mut plan = with(Fault::MixedSecrets, []);
    plan.nodes[2].own_secret = Some(200);
    plan.core = vec![0, 1];
    let open = broken_plan(&plan, configured(|config| config.cluster_secret("the same for everybody")));
    assert_eq!(open.invariant, Invariant::SessionBeforeUp, "{open}");
}

#[test]
fn a_subscriber_that_is_forgotten() {
    let mut world = pair();
    world.forget_slow_subscriber(0);
    let violation = world.run_for(Duration::from_secs(1)).expect_err("a violation");
    assert_eq!(violation.invariant, Invariant::SlowSubscriber, "{violation}");
}

#[test]
fn a_run_without_an_end() {
    let outcome = quiet().run_within(10, 1000);
    let violation = outcome.violation.expect("a violation");
    assert_eq!(violation.invariant, Invariant::StepBound, "{violation}");
    assert!(outcome.steps <= 1010 && violation.detail.contains("1000 inputs"), "{violation}");
}

#[test]
fn a_stop_that_waits() {
    // While things go wrong, where a peer takes nothing of what it would be told.
    let steps = [
        (5000, Op::StallWriter { from: 1, to: 0, ms: 14_000 }),
        (5000, Op::Send { from: 1, to: 0, size: 30_000, count: 20 }),
        (5500, Op::Leave { node: 1, ms: None }),
    ];
    let mut plan = with(Fault::Stall, steps);
    plan.faults.push(Fault::Leave);
    plan.core = vec![0, 2];
    plan.nodes.iter_mut().for_each(|node| node.heartbeat_ms = 5000);
    let violation = broken_plan(&plan, configured(|config| config.stop_timeout(Duration::from_secs(9))));
    assert_eq!((violation.invariant, violation.at.as_secs()), (Invariant::StopInTime, 11), "{violation}");

    // At the end.
    let violation = broken_plan(
        &quiet(),
        Bend {
            action: Some(|world, _, action| match action {
                Action::Close { .. } if world.now() > Duration::from_secs(40) => Vec::new(),
                action => vec![action],
            }),
            config: Some(|config| config.stop_timeout(Duration::from_secs(30))),
            ..Bend::default()
        },
    );
    assert_eq!(violation.invariant, Invariant::StopInTime, "{violation}");
}

#[test]
fn a_stranger_that_is_heard() {
    let mut world = World::new(1);
    start(&mut world, 0, "a", &[]);
    let rogue = world.add_rogue(Rogue::Lengths);
    world.run_for(Duration::from_secs(1)).expect("no violation");
    world.bend.action = Some(|_, _, action| match action {
        Action::Close { .. } => vec![Action::Message, action],
        action => vec![action],
    });
    world.rogue_dials(rogue, 0, 1);
    let violation = world.run_for(Duration::from_secs(10)).expect_err("a violation");
    assert_eq!(violation.invariant, Invariant::StrangersChangeNothing, "{violation}");

    let close = |conn| Action::Close { conn, how: Close::Abort };
    assert_eq!(safety::check_answer(ConnId(1), &close(ConnId(1))), Ok(()));
    assert_eq!(of(safety::check_answer(ConnId(1), &close(ConnId(2)))), Some(Invariant::StrangersChangeNothing));
    // A node that runs, where one was stopped.
    let changed = Picture::of(&Machine::new()).check(&Picture::of(world.machine(0)));
    assert_eq!(of(changed), Some(Invariant::StrangersChangeNothing));
}

/// What a machine cannot be bent to do is shown where the contract is.
#[test]
fn rules_of_the_contract_that_no_bent_machine_breaks() {
    for rule in [Rule::CountersGrow, Rule::NoDuplicate, Rule::Timers] {
        assert_eq!(format!("{:?}", Invariant::from(rule)), format!("{rule:?}"));
        let mut world = pair();
        let broken = Err::<(), _>(noex_proto::testing::Violation { rule, detail: "found".into() });
        assert_eq!(world.kept(0, broken), None);
        assert_eq!(world.check().expect_err("a violation").invariant, Invariant::from(rule));
    }
}
