//! What nodes tell each other, in which order, and what none may tell.

use super::net::{Net, P, SECOND, name, process};
use super::*;
use crate::PeerFault;
use crate::wire::names::{Claim, Word};

fn told(number: u64, text: &str, settled: Option<u32>) -> Said {
    Said::Told(Told::Claim(Claim { number, name: name(text), process: 1, protocol: P, settled }))
}

fn ack(number: u64, word: Word) -> Said {
    Said::Ack(Ack { number, word })
}

#[test]
fn a_session_begins_with_all_claims_and_tells_changes_from_there_on() {
    let mut net = Net::apart(2, Limits::default());
    net.hold(0, "db", ClaimOptions::default());
    net.hold(0, "web", ClaimOptions::default());
    net.connect(0, 1);
    assert!(!net.nodes[1].names.are_synced());
    let snapshot = net.say_one(0, 1);
    let begin_and_end = (Said::Told(Told::Begin), Said::Told(Told::End));
    assert_eq!(snapshot, [begin_and_end.0, told(1, "db", Some(0)), told(2, "web", Some(0)), begin_and_end.1]);
    net.settle();
    assert!(net.nodes[1].names.are_synced());
    assert!(net.effects(1).contains(&Effect::Synced));

    // Withdrawals come first, and nothing is said of what began and ended meanwhile.
    net.with(0, |names, step| names.release(step, 1, &name("web")));
    net.claim(0, "cache").expect("it is free");
    net.claim(0, "log").expect("it is free");
    net.with(0, |names, step| names.release(step, 1, &name("log")));
    assert_eq!(net.say_one(0, 1), [Said::Told(Told::Withdrawn(2)), told(3, "cache", None)]);
    assert!(!net.nodes[0].names.waits(ConnId(1)));
}

#[test]
fn acknowledgements_go_before_claims_and_behind_the_own_claim_to_that_name() {
    let mut net = Net::new(2);
    net.claim(1, "db").expect("free");
    net.say(1, 0);
    // Given: many claims that were not told, the last of which crosses the other one's.
    for number in 0..3 {
        net.claim(0, &std::format!("n{number}")).expect("free");
    }
    net.claim(0, "db").expect("free");
    net.hear(1, 0);
    let said = net.say_one(0, 1);
    assert_eq!(said[..2], [told(4, "db", None), ack(1, Word::Clean)]);
    let rest: Vec<_> = said[2..].iter().collect();
    assert_eq!(rest, [&told(1, "n0", None), &told(2, "n1", None), &told(3, "n2", None)]);
}

#[test]
fn a_better_claim_of_a_third_node_is_named_and_heeded_where_there_is_no_session_with_it() {
    // a-c-b: the first and the second see the third, and not each other.
    let mut net = Net::apart(3, Limits::default());
    net.connect(0, 2);
    net.connect(1, 2);
    net.settle();
    net.hold(0, "db", ClaimOptions::default());
    net.effects(1);
    let claim = net.claim(1, "db").expect("it is not in sight");
    net.settle();
    let taken = ClaimError::Taken { by: process(0, 1), settled: true };
    assert_eq!(net.effects(1), [Effect::Ended(claim, Err(taken))]);
}

#[test]
fn a_third_nodes_word_is_not_heeded_where_there_is_a_session_with_the_other_claimant() {
    let mut net = Net::new(3);
    net.claim(0, "db").expect("free");
    net.say(0, 2);
    net.hear(0, 2);
    // The claim is withdrawn, of which the second node has heard and the third has not.
    net.with(0, |names, step| names.release(step, 1, &name("db")));
    net.say(0, 1);
    net.hear(0, 1);
    let claim = net.claim(1, "db").expect("it is free");
    net.effects(1);
    net.say(1, 2);
    net.hear(1, 2);
    net.say(2, 1);
    net.hear(2, 1);
    assert_eq!(net.effects(1), [], "it is waited for the node that was named");
    net.settle();
    assert_eq!(net.effects(1), [Effect::Ended(claim, Ok(()))]);
}

#[test]
fn a_claim_fails_where_the_node_goes_down_that_was_named() {
    let mut net = Net::new(3);
    net.claim(0, "db").expect("free");
    net.say(0, 2);
    net.hear(0, 2);
    let claim = net.claim(1, "db").expect("it is not in sight");
    net.say(1, 2);
    net.hear(1, 2);
    net.say(2, 1);
    net.hear(2, 1);
    net.effects(1);
    net.down(1, 0);
    let taken = ClaimError::Taken { by: process(0, 1), settled: false };
    assert_eq!(net.effects(1), [Effect::Ended(claim, Err(taken))]);
}

#[test]
fn an_acknowledgement_has_25_seconds_from_the_telling_or_the_silence_that_is_allowed() {
    let mut net = Net::new(2);
    let peer = net.nodes[0].sessions[&1];
    let overdue = |net: &mut Net| net.nodes[0].names.overdue_at(peer);
    net.claim(0, "db").expect("free");
    net.pass(SECOND);
    assert_eq!(overdue(&mut net), None, "it was not told");
    net.say(0, 1);
    assert_eq!(net.nodes[0].names.take_rewaited().into_iter().collect::<Vec<_>>(), [peer]);
    // The net's nodes may be silent for 40 seconds.
    assert_eq!(overdue(&mut net), Some(RunTime::START + 41 * SECOND));
    net.pass(SECOND);
    net.claim(0, "web").expect("free");
    net.say(0, 1);
    assert_eq!(overdue(&mut net), Some(RunTime::START + 41 * SECOND), "the first one counts");
    net.hear(0, 1);
    net.say(1, 0);
    net.hear_one(1, 0);
    assert_eq!(overdue(&mut net), Some(RunTime::START + 42 * SECOND));
    net.hear(1, 0);
    assert_eq!(overdue(&mut net), None);

    // What is withdrawn is not waited for.
    net.claim(0, "cache").expect("free");
    net.say(0, 1);
    net.with(0, |names, step| names.release(step, 1, &name("cache")));
    assert_eq!(overdue(&mut net), None);
}

#[test]
fn a_peer_that_lags_behind_too_many_withdrawals_hears_anew_what_there_is() {
    let mut net = Net::new(2);
    net.audits = false;
    net.hold(0, "stays", ClaimOptions::default());
    for number in 0..10 {
        net.hold(0, &std::format!("goes{number}"), ClaimOptions::default());
    }
    assert_eq!(net.nodes[1].names.list().len(), 11);
    for number in 0..10 {
        net.with(0, |names, step| names.release(step, 1, &name(&std::format!("goes{number}"))));
    }
    for _ in 0..super::super::own::WITHDRAWN_MAX {
        net.claim(0, "x").expect("free");
        net.with(0, |names, step| names.release(step, 1, &name("x")));
    }
    let peer = net.nodes[0].sessions[&1];
    assert!(net.nodes[0].names.owes_withdrawals(peer), "no process is told to have ended yet");
    let said = net.say_one(0, 1);
    assert_eq!(said, [Said::Told(Told::Begin), told(1, "stays", Some(1)), Said::Told(Told::End)]);
    assert!(!net.nodes[0].names.owes_withdrawals(peer));
    net.audits = true;
    net.settle();
    let names: Vec<_> = net.nodes[1].names.list().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [name("stays")]);
}

#[test]
fn what_has_no_room_in_a_record_comes_in_the_next() {
    let mut net = Net::apart(2, Limits::default());
    let texts: Vec<_> = (0..1000).map(|number| std::format!("{number:0200}")).collect();
    net.audits = false;
    for text in &texts {
        net.claim(0, text).expect("free");
    }
    net.connect(0, 1);
    let mut records = 0;
    while net.nodes[0].names.waits(ConnId(1)) {
        assert!(!net.say_one(0, 1).is_empty());
        records += 1;
        net.hear(0, 1);
        assert_eq!(net.nodes[1].names.are_synced(), !net.nodes[0].names.waits(ConnId(1)));
    }
    assert!((6..10).contains(&records), "{records} records for 230 kB");
    net.audits = true;
    net.settle();
    assert_eq!(net.nodes[1].names.list().len(), 1000);
}

#[test]
fn a_name_that_finds_no_room_is_not_found_and_its_claim_fails() {
    let mut net = Net::apart(2, Limits::default().names_of_others(2));
    net.hold(0, "a", ClaimOptions::default());
    net.hold(0, "b", ClaimOptions::default());
    net.hold(0, "c", ClaimOptions::default());
    net.connect(0, 1);
    net.settle();
    let not_kept = Effect::NotKept { name: name("c"), by: process(0, 1) };
    assert!(net.effects(1).contains(&not_kept));
    assert_eq!((net.whereis(1, "b"), net.whereis(1, "c")), (Some(process(0, 1)), None));
    net.effects(0);
    let claim = net.claim(0, "d").expect("free");
    net.settle();
    assert_eq!(net.effects(0), [Effect::Ended(claim, Err(ClaimError::Full { at: id(1) }))]);
    assert_eq!((net.effects(1), net.nodes[1].counters.names_not_kept), (vec![], 2), "it is told once");

    // Until half of it is free.
    for text in ["a", "b"] {
        net.with(0, |names, step| names.release(step, 1, &name(text)));
    }
    net.settle();
    net.hold(0, "a", ClaimOptions::default());
    net.hold(0, "b", ClaimOptions::default());
    net.claim(0, "e").expect("free");
    net.settle();
    assert!(net.effects(1).contains(&Effect::NotKept { name: name("e"), by: process(0, 1) }));
}

#[test]
fn what_no_honest_node_says_is_a_fault_and_changes_no_other_name() {
    let mut net = Net::new(3);
    net.hold(0, "db", ClaimOptions::default());
    let claim = net.claim(0, "web").expect("free");
    let number = net.nodes[0].names.own.named(&name("web")).expect("claimed").0;
    net.say(0, 1);
    let third = |node| Word::Better { by: process(node, 1), settled: true };
    let faults = [
        // An acknowledgement of what was never claimed, or was not told.
        (ack(number + 1, Word::Clean), PeerFault::NeverAsked),
        (ack(number, Word::Clean), PeerFault::NeverAsked),
        // A claim of its own that is better, and of this node's.
        (ack(1, third(2)), PeerFault::MalformedBody),
        (ack(1, third(0)), PeerFault::MalformedBody),
        // The end of what it never claimed, and of a snapshot that has not begun.
        (Said::Told(Told::Withdrawn(1)), PeerFault::NeverClaimed),
        (Said::Told(Told::End), PeerFault::UnexpectedMessage),
    ];
    for (said, fault) in faults {
        assert_eq!(net.forge(2, 0, said.clone()), Err(fault), "{said:?}");
    }
    // What is late is no fault.
    for said in [ack(1, Word::Full), ack(1, third(1)), told(7, "cache", None), Said::Told(Told::Withdrawn(7))] {
        assert_eq!(net.forge(2, 0, said.clone()), Ok(()), "{said:?}");
    }
    assert_eq!(net.forge(2, 0, Said::Told(Told::Withdrawn(7))), Ok(()), "it is over");
    net.settle();
    assert_eq!(net.holder("db"), Some(process(0, 1)));
    assert!(net.effects(0).contains(&Effect::Ended(claim, Ok(()))));
}

#[test]
fn a_node_is_a_witness_once_however_often_it_comes() {
    let mut net = Net::new(2);
    net.hold(0, "db", ClaimOptions::default());
    for _ in 0..3 {
        net.disconnect(0, 1);
        net.connect(0, 1);
        net.settle();
    }
    let (_, own) = net.nodes[0].names.own.named(&name("db")).expect("it has it");
    assert_eq!(own.settled(), Some(1));
}
