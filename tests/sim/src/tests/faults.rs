//! One test per kind of fault: it takes place, and it has the effect that belongs to it.

use std::time::Duration;

use noex_proto::{ClusterError, ClusterEvent, DialError, NodeDownReason, Unreached};

use super::{errors, pair, run, situations, start, told, when, with};
use crate::{Addr, Chunking, Dialling, Fault, Latency, NamePlan, Op, Plan, Resolving, Rogue, Seed, Tampering, World};

/// A new kind does not compile before it has a test.
const _: fn(Fault) -> fn() = |fault| match fault {
    Fault::AcceptedSecrets => situations::the_last_of_several_accepted_secrets_is_tried,
    Fault::FewMembers => situations::a_node_without_room_for_all_has_as_many_members_as_it_may,
    Fault::FirstSecret => situations::a_first_secret_hurts_no_session_and_shuts_out_who_has_none,
    Fault::Halt => situations::a_node_whose_runtime_is_shut_down_is_gone_and_comes_back,
    Fault::NewSeeds => situations::new_seeds_lead_to_others_and_end_no_session,
    Fault::LateCloses => situations::a_close_that_is_confirmed_late_holds_its_place,
    Fault::Renames => situations::a_host_comes_back_under_another_name_and_then_under_its_own,
    Fault::Adversary => an_adversary_touches_bytes_and_the_session_ends,
    Fault::Bandwidth => a_large_message_takes_the_time_that_the_bandwidth_says,
    Fault::ClockRate => a_fast_clock_counts_more_time,
    Fault::Descriptors => without_descriptors_nothing_is_said_of_the_seed,
    Fault::Crash => a_crash_resets_connections_and_the_node_comes_back,
    Fault::CrashLoop => a_crash_loop_is_a_down_and_an_up_for_each_round,
    Fault::DialFaults => each_dial_fault_is_reported_as_what_it_is,
    Fault::DuplicateId => a_second_process_with_an_identity_is_a_conflict_and_hurts_nobody,
    Fault::Fragmentation => pieces_of_one_byte_are_read_one_by_one,
    Fault::Freeze => a_frozen_node_is_silent_and_its_tick_is_late,
    Fault::HalfOpen => a_half_open_connection_is_replaced,
    Fault::Latency => latency_holds_for_each_direction,
    Fault::Leave => who_leaves_is_down_by_its_own_word,
    Fault::MixedIntervals => silence_is_measured_by_the_interval_of_the_silent,
    Fault::MixedSecrets => another_secret_keeps_out,
    Fault::Misuse => misuse_is_ignored,
    Fault::Names => names_lead_to_a_node_in_the_end,
    Fault::OneWayDials => a_pair_that_can_dial_one_way_connects,
    Fault::Partition => a_partition_is_silent_or_resets,
    Fault::PowerOff => a_host_without_power_is_silent,
    Fault::Reset => a_reset_ends_a_connection_at_both_ends,
    Fault::Rogues => strangers_are_accepted_and_closed,
    Fault::Rotation => a_rotation_drops_nobody_and_shuts_the_old_secret_out,
    Fault::Seeds => odd_seeds_are_reported_or_passed_over,
    Fault::SmallLimits => small_limits_are_reached,
    Fault::Stall => what_is_stalled_comes_later,
    Fault::WallClock => a_jump_of_the_wall_clock_is_seen_and_means_nothing,
};

const B_UP: &str = "+b";

fn is_down(event: &ClusterEvent, name: &str) -> bool {
    matches!(event, ClusterEvent::NodeDown { id, .. } if id.name() == name)
}

#[test]
fn an_adversary_touches_bytes_and_the_session_ends() {
    use Tampering::{Drop, Flip, Insert, Reflect, Replay, Splice, Truncate};
    for how in [Drop, Flip, Insert, Reflect, Replay, Splice, Truncate] {
        let tamper = Op::Tamper { one: 0, other: 1, how, permille: 1000, ms: 2000 };
        let world = run(&with(Fault::Adversary, [(5000, tamper)]));
        let seen = world.coverage.iter().find(|(what, _)| *what == "tampered bytes");
        assert!(seen.is_some_and(|(_, count)| count > 0), "{how:?}");
        for (host, peer) in [(0, "b"), (1, "a")] {
            let down = when(&world, host, |event| is_down(event, peer));
            assert!(down.is_some_and(|at| (5000..8000).contains(&at)), "{how:?}: {:?}", told(&world, host, 20_000));
        }
        assert_eq!(told(&world, 2, 20_000).len(), 2, "{how:?}: {:?}", told(&world, 2, 20_000));
    }
}

#[test]
fn a_large_message_takes_the_time_that_the_bandwidth_says() {
    let time = |rate| {
        let mut world = pair();
        world.set_transport(Chunking::Whole, 4096, rate);
        world.run_for(Duration::from_secs(3)).expect("no violation");
        let to = world.id("a", 0);
        world.send_checked(1, &to, 200_000);
        let (sent, most) = (world.now(), Duration::from_secs(20));
        assert!(world.run_while(most, |world| world.messages(0).is_empty()).expect("no violation"));
        world.now() - sent
    };
    assert!(time(None) < Duration::from_secs(1));
    assert!(time(Some(100_000)) >= Duration::from_secs(2));
}

#[test]
fn a_fast_clock_counts_more_time() {
    let mut world = pair();
    let b = world.id("b", 1);
    world.run_for(Duration::from_secs(10)).expect("no violation");
    world.set_clock_rate(1, 2000);
    world.run_for(Duration::from_secs(20)).expect("no violation");
    let uptime = world.machine(0).node(&b).expect("running").expect("known").uptime;
    assert!((Duration::from_secs(40)..=Duration::from_secs(50)).contains(&uptime), "{uptime:?} after 10 s and twice 20 s");
}

#[test]
fn a_crash_resets_connections_and_the_node_comes_back() {
    let world = run(&with(Fault::Crash, [(5000, Op::Crash { node: 1, ms: Some(3000) })]));
    assert_eq!(
        told(&world, 2, 20_000).iter().filter(|line| line.contains('b')).collect::<Vec<_>>(),
        [B_UP, "-b connection_closed", B_UP]
    );
    let down = when(&world, 2, |event| is_down(event, "b"));
    assert!(down.is_some_and(|at| (5000..5100).contains(&at)), "a reset tells at once: {down:?}");
}

#[test]
fn a_crash_loop_is_a_down_and_an_up_for_each_round() {
    let rounds = [5000, 7000, 9000].map(|at| (at, Op::Crash { node: 1, ms: Some(500) }));
    let world = run(&with(Fault::CrashLoop, rounds));
    let of_b: Vec<_> = told(&world, 0, 20_000).into_iter().filter(|line| line.contains('b')).collect();
    let down = "-b connection_closed";
    assert_eq!(of_b, [B_UP, down, B_UP, down, B_UP, down, B_UP]);
}

#[test]
fn each_dial_fault_is_reported_as_what_it_is() {
    let report = |how| {
        let mut world = pair();
        world.set_dialling(1, 0, how);
        world.run_for(Duration::from_secs(30)).expect("no violation");
        let up = when(&world, 1, |event| matches!(event, ClusterEvent::NodeUp(_)));
        let why = world.events(1).iter().find_map(|(_, event)| match event {
            ClusterEvent::Error(ClusterError::SeedUnreachable { why, .. }) => Some(*why),
            _ => None,
        });
        (up, why)
    };
    assert_eq!(report(Dialling::Dropped), (None, Some(Unreached::Dial(DialError::TimedOut))));
    assert_eq!(report(Dialling::Refused), (None, Some(Unreached::Dial(DialError::Refused))));
    assert_eq!(report(Dialling::Unreachable), (None, Some(Unreached::Dial(DialError::Unreachable))));
    assert!(report(Dialling::Late).0.is_some_and(|at| at > 1000), "{:?}", report(Dialling::Late));
    assert!(report(Dialling::Normal).0.is_some_and(|at| at < 100));
}

/// The quiet plan, whose second and third node start late and have a seed with this name.
pub(super) fn named(addrs: Vec<Addr>, lookup_ms: (u64, u64), steps: impl IntoIterator<Item = (u64, Op)>) -> Plan {
    let mut plan = with(Fault::Names, steps);
    plan.names.push(NamePlan { addrs, shuffled: false, lookup_ms });
    for node in &mut plan.nodes[1..] {
        (node.start_ms, node.seeds) = (1000, vec![Seed::Name(0)]);
    }
    plan
}

fn is_up(event: &ClusterEvent) -> bool {
    matches!(event, ClusterEvent::NodeUp(_))
}

#[test]
fn names_lead_to_a_node_in_the_end() {
    // The seventeenth is the one that lives.
    let mut addrs = vec![Addr::Unreachable; 16];
    addrs.push(Addr::Node(0));
    let world = run(&named(addrs, (5, 5), []));
    assert!(when(&world, 1, is_up).is_some_and(|at| at < 3000), "{:?}", errors(&world, 1));
    assert!(world.coverage.iter().any(|(what, count)| what == "address beyond the sixteenth" && count > 0));

    // Each takes its time.
    let world = run(&named(vec![Addr::Silent, Addr::Refusing, Addr::Node(0)], (5, 5), []));
    assert!(when(&world, 1, is_up).is_some_and(|at| (3000..4000).contains(&at)), "{:?}", errors(&world, 1));

    // A lookup that takes longer than a dial may.
    let world = run(&named(vec![Addr::Node(0)], (12_000, 12_000), []));
    assert!(when(&world, 1, is_up).is_some_and(|at| (13_000..13_100).contains(&at)));
    assert!(errors(&world, 1).iter().any(|error| error.contains("name lookup timed out")), "{:?}", errors(&world, 1));

    for (how, says) in [
        (Resolving::Fails, "the lookup of seed0.example failed on this machine: try again"),
        (Resolving::Nothing, "seed seed0.example:4369 is unreachable"),
        (Resolving::Partly, ""),
        (Resolving::Slow, "name lookup timed out"),
    ] {
        let world = run(&named(vec![Addr::Node(0)], (5, 5), [(500, Op::Resolver { node: 1, how, ms: 5000 })]));
        let up = when(&world, 1, is_up).expect("up in the end");
        match how {
            Resolving::Partly => {}
            Resolving::Slow => assert!((11_000..21_100).contains(&up), "{up}"),
            _ => assert!((5500..6500).contains(&up), "{how:?}: {up}"),
        }
        let told = errors(&world, 1);
        assert!(how == Resolving::Partly || told.iter().any(|error| error.contains(says)), "{how:?}: {told:?}");
        assert!(how != Resolving::Fails || told.iter().all(|error| !error.contains("unreachable")), "{told:?}");
        assert!(when(&world, 2, is_up).is_some_and(|at| at < 1100), "its resolver answers");
    }
}

#[test]
fn without_descriptors_nothing_is_said_of_the_seed() {
    let mut plan = with(Fault::Descriptors, [(500, Op::Descriptors { node: 1, ms: 5000 })]);
    plan.nodes[1].start_ms = 1000;
    let world = run(&plan);
    assert!(when(&world, 1, is_up).is_some_and(|at| (5500..6500).contains(&at)), "{:?}", told(&world, 1, 20_000));
    let told = errors(&world, 1);
    assert!(told.iter().any(|error| error.contains("dialling failed on this machine")), "{told:?}");
    assert!(told.iter().all(|error| !error.contains("unreachable")), "{told:?}");
}

/// The quiet plan with a second process that claims to be `b`.
pub(super) fn twins() -> Plan {
    let mut plan = with(Fault::DuplicateId, []);
    let mut twin = plan.nodes[1].clone();
    twin.twin_of = Some(1);
    twin.start_ms = 3000;
    plan.nodes.push(twin);
    plan.heal_ms = 60_000;
    plan
}

#[test]
fn a_second_process_with_an_identity_is_a_conflict_and_hurts_nobody() {
    let world = run(&twins());
    for host in [0, 3] {
        assert!(errors(&world, host).iter().any(|error| error.contains("identity")), "{host}: {:?}", errors(&world, host));
    }
    for host in [0, 1, 2] {
        assert_eq!(told(&world, host, 59_000).len(), 2, "{host}: {:?}", told(&world, host, 59_000));
    }
}

#[test]
fn pieces_of_one_byte_are_read_one_by_one() {
    let steps = |chunking| run(&Plan { chunking, ..with(Fault::Fragmentation, []) }).steps();
    let whole = steps(Chunking::Whole);
    assert!(steps(Chunking::Pieces { most: 1 }) > 2 * whole);
    assert!(steps(Chunking::Coalesced) <= whole);
}

#[test]
fn a_frozen_node_is_silent_and_its_tick_is_late() {
    // At a moment after which its tick is due before anything comes in.
    let mut worlds = (5000..5500).step_by(50).map(|at| run(&with(Fault::Freeze, [(at, Op::Freeze { node: 1, ms: 5000 })])));
    let late_tick = |world: &World| world.coverage.iter().any(|(what, count)| what == "late tick" && count > 0);
    let world = worlds.find(late_tick).expect("a moment after which a tick is due");
    for host in [0, 2] {
        assert!(told(&world, host, 20_000).contains(&"-b heartbeat_timeout".into()), "{:?}", told(&world, host, 20_000));
    }
    assert!(!told(&world, 1, 20_000).iter().any(|line| line.contains("heartbeat_timeout")), "{:?}", told(&world, 1, 20_000));
}

#[test]
fn a_half_open_connection_is_replaced() {
    for silent in [true, false] {
        let world = run(&with(Fault::HalfOpen, [(5000, Op::HalfOpen { at: 1, with: 0, silent })]));
        let at_both = [(0, "-b connection_closed"), (1, "-a connection_closed")];
        for (host, down) in at_both {
            assert!(told(&world, host, 20_000).contains(&down.into()), "{silent}: {:?}", told(&world, host, 20_000));
        }
        let (one, other) = (when(&world, 1, |event| is_down(event, "a")), when(&world, 0, |event| is_down(event, "b")));
        assert!(one.is_some() && other > one, "the other end finds out later: {one:?}, {other:?}");
    }
}

#[test]
fn latency_holds_for_each_direction() {
    let up = |forth, back| {
        let mut world = World::new(1);
        world.set_path_latency(1, 0, Latency::Constant { us: forth });
        world.set_path_latency(0, 1, Latency::Constant { us: back });
        start(&mut world, 0, "a", &[]);
        start(&mut world, 1, "b", &[("a", 0)]);
        world.run_for(Duration::from_secs(5)).expect("no violation");
        when(&world, 1, |event| matches!(event, ClusterEvent::NodeUp(_))).expect("up")
    };
    // To connect, for the handshake, and for INTRO, which `a` sends on the lesser's part at once after AUTH_OK.
    let (short, forth, back) = (up(1000, 1000), up(100_000, 1000), up(1000, 100_000));
    assert!(short < 10, "{short}");
    assert!((300..=500).contains(&forth), "{forth}");
    assert!((300..=500).contains(&back), "{back}");
}

#[test]
fn who_leaves_is_down_by_its_own_word() {
    let world = run(&with(Fault::Leave, [(5000, Op::Leave { node: 1, ms: Some(3000) })]));
    for host in [0, 2] {
        assert_eq!(told(&world, host, 20_000)[2..], ["-b graceful_shutdown", B_UP], "{host}");
    }
}

#[test]
fn silence_is_measured_by_the_interval_of_the_silent() {
    let mut plan =
        with(Fault::MixedIntervals, [(5000, Op::PowerOff { node: 1, ms: None }), (5000, Op::PowerOff { node: 2, ms: None })]);
    plan.faults.push(Fault::PowerOff);
    plan.nodes[2].heartbeat_ms = 2000;
    plan.core = vec![0];
    let world = run(&plan);
    let (fast, slow) = (when(&world, 0, |event| is_down(event, "b")), when(&world, 0, |event| is_down(event, "c")));
    assert!(fast.is_some_and(|at| (5400..6000).contains(&at)), "{fast:?}");
    assert!(slow.is_some_and(|at| (9000..12_100).contains(&at)), "{slow:?}");
}

#[test]
fn another_secret_keeps_out() {
    let mut plan = with(Fault::MixedSecrets, []);
    plan.nodes[2].own_secret = Some(200);
    plan.core = vec![0, 1];
    let world = run(&plan);
    assert_eq!(told(&world, 2, 60_000), [""; 0]);
    assert!(!errors(&world, 2).is_empty() && !errors(&world, 0).is_empty());
    assert_eq!(told(&world, 0, 20_000), [B_UP]);
}

#[test]
fn misuse_is_ignored() {
    let world = run(&with(Fault::Misuse, [(5000, Op::Misuse { node: 0 }), (6000, Op::Misuse { node: 1 })]));
    assert!(world.lines().filter(|line| line.what.contains("misuses the machine")).count() == 2);
    for host in 0..3 {
        assert_eq!(told(&world, host, 20_000).len(), 2, "{:?}", told(&world, host, 20_000));
    }
}

#[test]
fn a_pair_that_can_dial_one_way_connects() {
    // `c` and `b` learn of each other from `a`; the lesser, which dials first, cannot reach the greater.
    let world = run(&Plan { undialable: vec![(1, 2)], ..with(Fault::OneWayDials, []) });
    assert!(told(&world, 1, 20_000).contains(&"+c".into()) && told(&world, 2, 20_000).contains(&B_UP.into()));
}

#[test]
fn a_partition_is_silent_or_resets() {
    let cut = |from: &[usize], to: &[usize], reset| (5000, Op::Cut { from: from.into(), to: to.into(), ms: 5000, reset });
    for (reset, reason) in [(false, "heartbeat_timeout"), (true, "connection_closed")] {
        let world = run(&with(Fault::Partition, [cut(&[0], &[1, 2], reset), cut(&[1, 2], &[0], reset)]));
        assert_eq!(told(&world, 1, 20_000)[2..], [format!("-a {reason}"), "+a".into()]);
        assert!(told(&world, 0, 20_000).contains(&format!("-b {reason}")), "{:?}", told(&world, 0, 20_000));
        assert!(when(&world, 1, |event| matches!(event, ClusterEvent::NodeUp(info) if info.id.name() == "a")).is_some());
    }
    // One way: only who hears nothing is the first to know.
    let world = run(&with(Fault::Partition, [cut(&[0], &[1], false)]));
    assert!(told(&world, 1, 20_000).contains(&"-a heartbeat_timeout".into()));
    assert!(told(&world, 0, 20_000).contains(&"-b connection_closed".into()), "{:?}", told(&world, 0, 20_000));
    assert_eq!(told(&world, 2, 20_000).len(), 2);
}

#[test]
fn a_host_without_power_is_silent() {
    let world = run(&with(Fault::PowerOff, [(5000, Op::PowerOff { node: 1, ms: Some(4000) })]));
    for host in [0, 2] {
        assert_eq!(told(&world, host, 20_000)[2..], ["-b heartbeat_timeout", B_UP], "{host}");
    }
}

#[test]
fn a_reset_ends_a_connection_at_both_ends() {
    for op in [Op::Reset { one: 0, other: 1 }, Op::ResetOne { one: 0, other: 1 }] {
        let world = run(&with(Fault::Reset, [(5000, op)]));
        assert_eq!(told(&world, 0, 20_000)[2..], ["-b connection_closed", B_UP]);
        assert_eq!(told(&world, 1, 20_000)[2..], ["-a connection_closed", "+a"]);
        assert_eq!(told(&world, 2, 20_000).len(), 2);
    }
    // Where resets cut what is on its way before them, that share of the stream is lost.
    let send = Op::Send { from: 1, to: 0, size: 200_000, count: 5 };
    let faults = vec![Fault::Crash, Fault::Reset];
    let steps = [(5000, send), (5001, Op::Crash { node: 1, ms: Some(100) })];
    let plan = Plan { reset_cuts: true, faults, ..with(Fault::Reset, steps) };
    let cut = |plan: &Plan| run(plan).coverage.iter().any(|(what, count)| what == "reset within a frame" && count > 0);
    assert!((1..20).any(|seed| cut(&Plan { seed, ..plan.clone() })));
}

#[test]
fn strangers_are_accepted_and_closed() {
    for kind in [Rogue::Garbage, Rogue::Lengths, Rogue::Reflect, Rogue::Replay, Rogue::Silent] {
        let mut plan = with(Fault::Rogues, [(5000, Op::RogueDials { rogue: 0, node: 0, count: 20 })]);
        plan.rogues.push(kind);
        let world = run(&plan);
        let counters = world.machine(0).counters();
        assert!(counters.accepted >= 20, "{kind:?}: {counters:?}");
        assert!(counters.faults + counters.evicted >= 20, "{kind:?}: {counters:?}");
        assert_eq!(told(&world, 0, 20_000).len(), 2, "{kind:?}");
    }
}

#[test]
fn a_rotation_drops_nobody_and_shuts_the_old_secret_out() {
    // `c` keeps the secret that is rotated away, and is a stranger to the others once it has lost its sessions.
    let steps = [(5000, Op::Rotate { to: 1, ms: 1000, more: Vec::new() }), (55_000, Op::Crash { node: 2, ms: Some(1000) })];
    let mut plan = with(Fault::Rotation, steps);
    plan.faults.extend([Fault::Crash, Fault::MixedSecrets]);
    plan.nodes[2].own_secret = Some(0);
    (plan.core, plan.heal_ms) = (vec![0, 1], 70_000);
    let world = run(&plan);
    assert_eq!(told(&world, 0, 54_000).len(), 2);
    assert_eq!(told(&world, 0, 70_000)[2..], ["-c connection_closed"]);
    assert_eq!(
        world.lines().filter(|line| line.what == "has new secrets").count(),
        (3 + 1 + 1) * 2,
        "three rounds, the healing, and its halves"
    );
}

#[test]
fn who_stood_still_in_a_rotation_is_told_of_it_then() {
    let mut plan = with(
        Fault::Rotation,
        [(5000, Op::Rotate { to: 1, ms: 1000, more: Vec::new() }), (5500, Op::Freeze { node: 1, ms: 5000 })],
    );
    plan.faults.push(Fault::Freeze);
    let world = run(&plan);
    let told = world.lines().filter(|line| line.host == Some(1) && line.what == "has new secrets");
    let at: Vec<_> = told.map(|line| line.at.as_secs()).collect();
    assert_eq!(at[..2], [5, 10], "the first round, and when it goes on");
}

#[test]
fn odd_seeds_are_reported_or_passed_over() {
    let mut plan = with(Fault::Seeds, []);
    plan.nodes[0].start_ms = 3000;
    plan.nodes[1].seeds = vec![Seed::Missing, Seed::Misnamed(0), Seed::Node(1)];
    let world = run(&plan);
    let told_of = |what: fn(&ClusterError) -> bool| {
        world.events(1).iter().any(|(_, event)| matches!(event, ClusterEvent::Error(error) if what(error)))
    };
    assert!(told_of(|error| matches!(error, ClusterError::SeedUnreachable { .. })));
    assert!(told_of(|error| matches!(error, ClusterError::SeedMismatch { .. })));
    assert!(!told_of(|error| matches!(error, ClusterError::IdentityConflict { .. })), "oneself is no conflict");
    let up = when(&world, 1, |event| matches!(event, ClusterEvent::NodeUp(_)));
    assert!(up.is_some_and(|at| at >= 3000), "the seed came late: {up:?}");
}

#[test]
fn small_limits_are_reached() {
    let sends = (0..4).map(|round| (5000 + round, Op::Send { from: 1, to: 0, size: 3000, count: 10 }));
    let mut plan = Plan { small_limits: true, window_bytes: 1024, ..with(Fault::SmallLimits, sends) };
    plan.faults.push(Fault::Crash);
    plan.steps.push(crate::Step { at_ms: 6000, op: Op::Crash { node: 2, ms: Some(1000) } });
    let world = run(&plan);
    for what in ["full queue", "slow subscriber lagged"] {
        assert!(world.coverage.iter().any(|(name, count)| name == what && count > 0), "{what}");
    }
}

#[test]
fn what_is_stalled_comes_later() {
    let arrives = |stall: fn(&mut World, bool)| {
        let mut world = pair();
        world.run_for(Duration::from_secs(1)).expect("no violation");
        stall(&mut world, true);
        let to = world.id("a", 0);
        world.send_checked(1, &to, 100);
        world.run_for(Duration::from_secs(1)).expect("no violation");
        let stalled = world.messages(0).len();
        stall(&mut world, false);
        world.run_for(Duration::from_secs(1)).expect("no violation");
        (stalled, world.messages(0).len())
    };
    assert_eq!(arrives(|world, stalled| world.stall_reader(0, 1, stalled)), (0, 1));
    assert_eq!(arrives(|world, stalled| world.stall_writer(1, 0, stalled)), (0, 1));
}

#[test]
fn a_jump_of_the_wall_clock_is_seen_and_means_nothing() {
    let plan = with(
        Fault::WallClock,
        [(5000, Op::WallClock { node: 0, ms: 100_000_000 }), (9000, Op::WallClock { node: 0, ms: -100_000_000 })],
    );
    for host in 0..3 {
        assert_eq!(told(&run(&plan), host, 20_000).len(), 2);
    }
    let mut world = pair();
    let b = world.id("b", 1);
    let heard = |world: &World| {
        let info = world.machine(0).node(&b).expect("running").expect("known");
        info.last_heartbeat_at.expect("heard").0
    };
    world.run_for(Duration::from_secs(20)).expect("no violation");
    let before = heard(&world);
    world.jump_wall_clock(0, 100_000_000);
    world.run_for(Duration::from_secs(20)).expect("no violation");
    assert!(heard(&world) - before >= Duration::from_secs(100_000));
}

#[test]
fn a_silent_peer_whose_port_refuses_is_down_as_refused() {
    let steps = [
        (5000, Op::HalfOpen { at: 0, with: 1, silent: true }),
        (5000, Op::HalfOpen { at: 0, with: 2, silent: true }),
        (5000, Op::Crash { node: 0, ms: Some(5000) }),
    ];
    let world = run(&with(Fault::HalfOpen, steps));
    let refused =
        |event: &ClusterEvent| matches!(event, ClusterEvent::NodeDown { reason: NodeDownReason::ConnectionRefused, .. });
    assert!((1..3).all(|host| when(&world, host, refused).is_some()), "{:?}", told(&world, 1, 20_000));
}

#[test]
fn an_admission_that_is_read_after_a_later_one_is_stale() {
    // `a` is the lesser and dials; its reader of that connection is stalled when INTRO is on its way, `b` loses the connection,
    // and dials itself.
    let mut plan = with(Fault::Stall, []);
    plan.nodes.truncate(2);
    plan.nodes[0].seeds = vec![Seed::Node(1)];
    plan.nodes[1].seeds = vec![Seed::Node(0)];
    plan.nodes[1].base_ms = 500;
    plan.core = vec![0, 1];
    plan.latency = Latency::Constant { us: 20_000 };
    for (at_ms, op) in [
        (5000, Op::Crash { node: 0, ms: Some(5) }),
        (5145, Op::StallReader { reader: 0, from: 1, ms: 4000 }),
        (5205, Op::ResetOne { one: 0, other: 1 }),
    ] {
        plan.steps.push(crate::Step { at_ms, op });
    }
    let world = run(&plan);
    assert!(world.machine(0).counters().stale_admissions > 0, "{}", world.text());
}
