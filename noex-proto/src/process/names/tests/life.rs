//! The life of a claim, from its beginning to its end.

use super::net::{Net, SECOND, name, process};
use super::*;

fn ended(claim: ClaimId, outcome: Result<(), ClaimError>) -> Effect {
    Effect::Ended(claim, outcome)
}

#[test]
fn a_claim_settles_once_every_node_has_acknowledged_it_and_then_all_find_it() {
    let mut net = Net::new(3);
    let claim = net.claim(0, "db").expect("it is free");
    for j in [1, 2] {
        assert_eq!((net.holder("db"), net.effects(0)), (None, vec![]));
        net.say(0, j);
        net.hear(0, j);
        net.say(j, 0);
        net.hear(j, 0);
    }
    assert_eq!(net.effects(0), [ended(claim, Ok(()))]);
    assert_eq!((net.whereis(0, "db"), net.whereis(1, "db")), (Some(process(0, 1)), None), "the others are told next");
    net.settle();
    assert_eq!(net.holder("db"), Some(process(0, 1)));
    assert!(net.nodes[0].names.claim_returned(claim).is_some());
    let counters = net.nodes[0].counters;
    assert_eq!((counters.claims, counters.claims_settled, counters.claims_failed), (1, 1, 0));
}

#[test]
fn a_name_that_is_in_sight_is_taken() {
    let mut net = Net::new(2);
    let claim = net.claim(0, "db").expect("it is free");
    assert_eq!(net.claim(0, "db"), Err(ClaimError::Taken { by: process(0, 1), settled: false }));
    net.say(0, 1);
    net.hear(0, 1);
    assert_eq!(net.claim(1, "db"), Err(ClaimError::Taken { by: process(0, 1), settled: false }));
    net.settle();
    assert_eq!(net.claim(1, "db"), Err(ClaimError::Taken { by: process(0, 1), settled: true }));
    assert_eq!(net.claim(0, "db"), Err(ClaimError::Taken { by: process(0, 1), settled: true }));
    assert_eq!(net.effects(0), [ended(claim, Ok(()))]);
}

#[test]
fn of_two_claims_that_cross_the_lesser_nodes_settles_and_the_other_is_told_taken() {
    let mut net = Net::new(2);
    let (first, second) = (net.claim(1, "db").expect("free"), net.claim(0, "db").expect("free"));
    net.settle();
    assert_eq!(net.effects(1), [ended(first, Err(ClaimError::Taken { by: process(0, 1), settled: false }))]);
    assert_eq!(net.effects(0), [ended(second, Ok(()))]);
    assert_eq!(net.holder("db"), Some(process(0, 1)));
}

#[test]
fn a_node_alone_has_a_name_at_once_and_one_with_seeds_once_it_has_met_somebody_or_waited() {
    let mut net = Net::apart(2, Limits::default());
    let claim = net.claim(0, "db").expect("it is free");
    assert_eq!(net.effects(0), [ended(claim, Ok(()))]);

    // One with seeds waits for an interval, at most 5 s.
    net.nodes[1].names = started(1, true);
    let claim = net.claim(1, "db").expect("it is free");
    net.pass(5 * SECOND - Duration::from_millis(1));
    assert_eq!(net.effects(1), []);
    net.pass(Duration::from_millis(1));
    assert_eq!(net.effects(1), [ended(claim, Ok(()))]);

    // Or for its first session, whose node is waited for.
    net.nodes[1].names = started(1, true);
    let claim = net.claim(1, "db").expect("it is free");
    net.connect(0, 1);
    assert_eq!(net.effects(1), []);
    net.settle();
    assert_eq!(net.effects(1)[0], ended(claim, Err(ClaimError::Taken { by: process(0, 1), settled: true })));
    assert_eq!(net.holder("db"), Some(process(0, 1)), "who restarts takes nothing away");
}

#[test]
fn a_node_without_processes_opens_the_way_and_is_not_waited_for() {
    let mut net = Net::apart(2, Limits::default());
    net.nodes[0].names = started(0, true);
    let claim = net.claim(0, "db").expect("it is free");
    net.up(0, 1, false);
    assert_eq!(net.effects(0), [ended(claim, Ok(()))]);
    assert!(!net.nodes[0].names.waits(ConnId(1)));
    net.down(0, 1);
    assert_eq!(net.whereis(0, "db"), Some(process(0, 1)));
}

#[test]
fn a_newcomer_is_waited_for_within_five_seconds_of_the_claims_begin() {
    for (late, outcomes) in [(Duration::ZERO, 0), (Duration::from_millis(1), 1)] {
        let mut net = Net::apart(3, Limits::default());
        net.connect(0, 1);
        net.settle();
        net.effects(0);
        net.claim(0, "db").expect("it is free");
        net.pass(5 * SECOND + late);
        net.connect(0, 2);
        net.say(0, 1);
        net.hear(0, 1);
        net.say(1, 0);
        net.hear(1, 0);
        assert_eq!(net.effects(0).len(), outcomes, "{late:?} too late");
        net.connect(1, 2);
        net.settle();
        assert_eq!(net.holder("db"), Some(process(0, 1)));
    }
}

#[test]
fn a_claim_times_out_and_says_who_has_not_acknowledged_it() {
    let mut net = Net::new(3);
    let claim = net.claim(0, "db").expect("it is free");
    net.say(0, 1);
    net.hear(0, 1);
    net.say(1, 0);
    net.hear(1, 0);
    net.pass(30 * SECOND - Duration::from_millis(1));
    assert_eq!(net.effects(0), []);
    net.pass(Duration::from_millis(1));
    assert_eq!(net.effects(0), [ended(claim, Err(ClaimError::TimedOut { waiting_for: vec![id(2)] }))]);
    net.settle();
    assert_eq!(net.claim(1, "db").map(|_| ()), Ok(()), "it is free again");
    assert_eq!(net.nodes[0].counters.claims_failed, 1);
}

#[test]
fn a_claim_that_is_dropped_before_it_returns_is_withdrawn_though_it_has_settled() {
    let mut net = Net::new(2);
    for settles in [false, true] {
        let claim = net.claim(0, "db").expect("it is free");
        if settles {
            net.settle();
        }
        net.with(0, |names, step| names.drop_claim(step, claim));
        assert!(net.nodes[0].names.claim_returned(claim).is_none());
        net.settle();
        assert_eq!(net.holder("db"), None);
    }
    // One that has returned is not dropped any more.
    let claim = net.hold(0, "db", ClaimOptions::default());
    net.with(0, |names, step| names.drop_claim(step, claim));
    assert_eq!(net.holder("db"), Some(process(0, 1)));
}

#[test]
fn a_name_is_free_once_its_process_gives_it_back_or_ends() {
    let mut net = Net::new(2);
    net.hold(0, "db", ClaimOptions::default());
    assert!(!net.with(0, |names, step| names.release(step, 2, &name("db"))), "another process has it");
    assert!(net.with(0, |names, step| names.release(step, 1, &name("db"))));
    assert!(!net.with(0, |names, step| names.release(step, 1, &name("db"))));
    net.settle();
    assert_eq!(net.holder("db"), None);

    net.hold(1, "db", ClaimOptions::default());
    let (open, waits) = (net.claim(1, "web").expect("free"), net.stand_by(1, "db"));
    net.with(1, |names, step| names.exit(step, 1));
    let no_process = |claim| ended(claim, Err(ClaimError::NoProcess));
    assert_eq!(net.effects(1), [no_process(waits), no_process(open)]);
    net.settle();
    assert_eq!((net.holder("db"), net.holder("web")), (None, None));
}

#[test]
fn a_claim_that_is_given_back_before_it_settles_ends() {
    let mut net = Net::new(2);
    let claim = net.claim(0, "db").expect("it is free");
    assert!(net.with(0, |names, step| names.release(step, 1, &name("db"))));
    let waits = {
        net.hold(1, "db", ClaimOptions::default());
        net.stand_by(0, "db")
    };
    assert!(net.with(0, |names, step| names.release(step, 1, &name("db"))));
    let released = |claim| ended(claim, Err(ClaimError::Released));
    assert_eq!(net.effects(0), [released(claim), released(waits)]);
}

#[test]
fn a_node_that_stops_ends_what_has_not_settled_and_still_acknowledges() {
    let mut net = Net::new(2);
    net.hold(0, "db", ClaimOptions::default());
    let (open, waits) = (net.claim(0, "web").expect("free"), net.stand_by(0, "db"));
    net.with(0, Names::drain);
    let stopped = |claim| ended(claim, Err(ClaimError::Stopped));
    assert_eq!(net.effects(0), [stopped(waits), stopped(open)]);
    assert_eq!(net.claim(0, "cache"), Err(ClaimError::Stopped));
    let claim = net.claim(1, "cache").expect("it is free");
    net.settle();
    assert_eq!(net.effects(1), [ended(claim, Ok(()))]);
    assert_eq!(net.holder("db"), Some(process(0, 1)), "until its process ends");

    net.nodes[0].names.stop();
    assert_eq!(net.claim(0, "db"), Err(ClaimError::NotStarted(crate::ClusterNotStartedError)));
    assert_eq!(net.whereis(0, "cache"), None);
}

// After a partition

/// Two nodes that have the same name, of which the second one's claim is older and has a witness more; they are not connected.
fn parted(first: ClaimOptions, second: ClaimOptions) -> Net {
    let mut net = Net::apart(3, Limits::default());
    net.connect(1, 2);
    net.settle();
    for (i, options) in [(0, first), (1, second)] {
        let claim = net.claim_with(i, 1, "db", options, false).expect("it is not in sight");
        net.settle();
        assert!(net.nodes[i].names.claim_returned(claim).is_some());
        net.effects(i);
    }
    net
}

#[test]
fn after_a_partition_the_holder_of_the_larger_side_keeps_the_name_and_the_other_is_told() {
    for keeps in [false, true] {
        let mut net = parted(ClaimOptions::default().keep_on_loss(keeps), ClaimOptions::default());
        net.connect(0, 1);
        net.settle();
        let winner = process(1, 1);
        let conflict = Effect::Conflict { name: name("db"), winner: winner.clone(), loser: process(0, 1) };
        let lost = Effect::Lost { process: 1, name: name("db"), winner: Some(winner.clone()), stop: !keeps };
        assert_eq!(net.effects(0), [conflict.clone(), lost, Effect::Synced]);
        assert_eq!(net.effects(1), [conflict, Effect::Synced], "the winner's node saw both");
        net.connect(0, 2);
        net.settle();
        assert_eq!(net.holder("db"), Some(winner));
        assert_eq!((net.nodes[0].counters.names_lost, net.nodes[1].counters.names_lost), (1, 0));
    }
}

#[test]
fn a_loss_before_the_claim_has_returned_is_its_outcome() {
    let mut net = Net::apart(2, Limits::default());
    net.hold(0, "db", ClaimOptions::default());
    let claim = net.claim(1, "db").expect("it is not in sight");
    assert_eq!(net.effects(1), [ended(claim, Ok(()))]);
    net.connect(0, 1);
    net.settle();
    assert!(net.nodes[1].names.claim_returned(claim).is_none());
    let taken = ended(claim, Err(ClaimError::Taken { by: process(0, 1), settled: true }));
    let told: Vec<Effect> = net.effects(1).into_iter().filter(|effect| matches!(effect, Effect::Ended(..))).collect();
    assert_eq!(told, [taken]);
}

#[test]
fn a_further_witness_is_told_where_it_decides() {
    // Given: the same number of witnesses on both sides, so that the lesser node would win.
    let mut net = Net::apart(4, Limits::default());
    net.connect(1, 2);
    net.settle();
    net.hold(0, "db", ClaimOptions::default());
    net.hold(1, "db", ClaimOptions::default());
    // A node joins the second side and becomes its witness, which nobody else is told.
    net.connect(1, 3);
    net.settle();
    let (_, own) = net.nodes[1].names.own.named(&name("db")).expect("it has it");
    assert_eq!(own.settled(), Some(2));
    net.connect(0, 1);
    net.settle();
    assert_eq!(net.whereis(0, "db"), Some(process(1, 1)));
}

// A number of nodes

#[test]
fn a_claim_with_too_few_witnesses_fails() {
    let mut net = Net::new(2);
    let two = ClaimOptions::default().min_nodes(2);
    let claim = net.claim_with(0, 1, "db", two.clone(), false).expect("it is free");
    net.settle();
    assert_eq!(net.effects(0), [ended(claim, Err(ClaimError::TooFew { found: 1, min_nodes: 2 }))]);
    let mut net = Net::new(3);
    net.hold(0, "db", two);
    assert_eq!(net.holder("db"), Some(process(0, 1)));
}

#[test]
fn a_name_is_given_up_where_too_few_nodes_are_connected_for_too_long() {
    let options = ClaimOptions::default().min_nodes(2);
    let lost = Effect::Lost { process: 1, name: name("db"), winner: None, stop: true };
    let mut net = Net::new(3);
    net.hold(0, "db", options.clone());
    net.disconnect(0, 2);
    assert_eq!(net.effects(0), std::slice::from_ref(&lost));
    net.settle();
    assert_eq!((net.whereis(0, "db"), net.whereis(1, "db")), (None, None));

    // With some grace a node that is back in time is none the worse.
    let mut net = Net::new(3);
    net.hold(0, "db", options.grace(2 * SECOND));
    net.disconnect(0, 2);
    net.pass(2 * SECOND - Duration::from_millis(1));
    net.connect(0, 2);
    net.pass(SECOND);
    net.settle();
    assert_eq!(net.holder("db"), Some(process(0, 1)));
    net.disconnect(0, 1);
    net.disconnect(0, 2);
    net.effects(0);
    net.pass(2 * SECOND);
    assert_eq!(net.effects(0), [lost]);
}

// Standing by

#[test]
fn one_that_stands_by_has_the_name_soon_after_it_is_free() {
    let mut net = Net::new(3);
    net.hold(0, "db", ClaimOptions::default());
    let (first, second) = (net.stand_by(1, "db"), net.stand_by(2, "db"));
    net.settle();
    assert_eq!(net.effects(1), []);
    net.with(0, |names, step| names.exit(step, 1));
    net.settle();
    // Each tries at a random moment within a millisecond for each node.
    for _ in 0..30 {
        net.pass(Duration::from_micros(100));
        net.settle();
    }
    let holder = net.holder("db").expect("one of them has it");
    let (claim, i) = if holder == process(1, 1) { (first, 1) } else { (second, 2) };
    assert_eq!(net.effects(i), [ended(claim, Ok(()))]);
    assert!(net.nodes[i].names.claim_returned(claim).is_some());
    assert_eq!(net.effects(3 - i), [], "the other one waits");

    // The node of the new holder dies, and the other one has it.
    net.disconnect(i, 0);
    net.disconnect(i, 3 - i);
    net.pass(Duration::from_millis(3));
    net.settle();
    assert_eq!(net.whereis(0, "db"), Some(process(3 - i, 1)));
}

#[test]
fn one_process_of_a_node_stands_by_for_a_name_at_a_time() {
    let mut net = Net::new(2);
    net.hold(0, "db", ClaimOptions::default());
    let waits = net.stand_by(1, "db");
    let again = net.claim_with(1, 2, "db", ClaimOptions::default(), true);
    assert_eq!(again, Err(ClaimError::Taken { by: process(1, 1), settled: false }));
    net.with(1, |names, step| names.drop_claim(step, waits));
    net.claim_with(1, 2, "db", ClaimOptions::default(), true).expect("nobody else does");
}

#[test]
fn one_that_stands_by_and_fails_tries_again_after_half_an_interval_or_a_whole_one() {
    let mut net = Net::new(2);
    let options = ClaimOptions::default().min_nodes(2);
    let claim = net.claim_with(0, 1, "db", options, true).expect("it can stand by");
    net.settle();
    assert_eq!((net.effects(0), net.nodes[0].counters.claims), (vec![], 1));
    net.pass(2499 * Duration::from_millis(1));
    assert_eq!(net.nodes[0].counters.claims, 1);
    net.pass(2501 * Duration::from_millis(1));
    assert_eq!(net.nodes[0].counters.claims, 2);
    net.settle();
    assert_eq!(net.nodes[0].counters.claims_failed, 2);
    let dropped = net.with(0, |names, step| {
        names.drop_claim(step, claim);
        names.next_deadline()
    });
    assert!(dropped == crate::time::Moment::NEVER, "nothing is left of it");
}

#[test]
fn one_that_stands_by_and_loses_before_its_caller_has_heard_waits_on() {
    let mut net = Net::apart(2, Limits::default());
    net.hold(0, "db", ClaimOptions::default());
    let claim = net.stand_by(1, "db");
    assert_eq!(net.effects(1), [ended(claim, Ok(()))]);
    net.connect(0, 1);
    net.settle();
    assert!(net.nodes[1].names.claim_returned(claim).is_none());
    net.effects(1);
    net.with(0, |names, step| names.exit(step, 1));
    net.settle();
    net.pass(Duration::from_millis(2));
    net.settle();
    assert_eq!(net.effects(1), [ended(claim, Ok(()))]);
    assert!(net.nodes[1].names.claim_returned(claim).is_some());
}

// Limits, and what is watched

#[test]
fn claims_and_those_that_stand_by_are_bounded() {
    let mut net = Net::apart(2, Limits::default().names(3).watched_names(1));
    net.connect(0, 1);
    net.settle();
    net.hold(1, "db", ClaimOptions::default());
    net.claim(0, "a").expect("there is room");
    net.claim(0, "b").expect("there is room");
    net.stand_by(0, "db");
    let too_many = Err(ClaimError::TooMany { limit: 3 });
    assert_eq!(net.claim(0, "c"), too_many);
    assert_eq!(net.claim_with(0, 1, "c", ClaimOptions::default(), true), too_many);
    net.with(0, |names, step| names.release(step, 1, &name("a")));
    net.claim(0, "c").expect("there is room again");

    let names = &mut net.nodes[0].names;
    assert_eq!(names.watch(&name("a"), 1), Ok(()));
    assert_eq!(names.watch(&name("a"), 1), Ok(()), "it takes no more room");
    assert_eq!(names.watch(&name("b"), 1), Err(WatchNameError::TooMany { limit: 1 }));
    names.unwatch(&name("a"));
    assert_eq!(names.watch(&name("b"), 1), Err(WatchNameError::TooMany { limit: 1 }));
    names.unwatch(&name("a"));
    assert_eq!(names.watch(&name("b"), 1), Ok(()));
    names.stop();
    assert_eq!(names.watch(&name("b"), 1), Err(WatchNameError::NotStarted(crate::ClusterNotStartedError)));
}

#[test]
fn who_watches_a_name_hears_of_each_holder() {
    let mut net = Net::new(2);
    let changed = [Effect::Changed(name("db"))];
    net.nodes[1].names.watch(&name("db"), 10).expect("there is room");
    net.hold(0, "db", ClaimOptions::default());
    assert!(net.effects(1).ends_with(&changed));
    net.with(0, |names, step| names.release(step, 1, &name("db")));
    net.settle();
    assert_eq!(net.effects(1), changed);
    net.hold(0, "db", ClaimOptions::default());
    net.effects(1);
    net.disconnect(0, 1);
    assert_eq!((net.effects(1), net.whereis(1, "db")), (changed.to_vec(), None));
    net.claim(1, "db").expect("it is free");
    assert_eq!(net.effects(1)[..1], changed);
}

#[test]
fn names_are_listed_in_order_with_their_holders() {
    let mut net = Net::new(2);
    net.hold(1, "web", ClaimOptions::default());
    net.hold(0, "db", ClaimOptions::default());
    net.claim(0, "cache").expect("it is free");
    for node in &net.nodes {
        let names = node.names.list();
        let found: Vec<_> = names.iter().map(|(name, holder)| (name.as_str(), &holder.process, holder.protocol)).collect();
        let expected = [("db", &process(0, 1), super::net::P), ("web", &process(1, 1), super::net::P)];
        assert_eq!(found, expected);
    }
}
