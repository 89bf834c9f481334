//! Small configurations in every order of events, as deep as an unoptimized build gets in a moment. `noex-sim explore` goes to the
//! end.

use noex_sim::Scenario;

/// Explores to this depth, and expects at least so many states there, so that no test passes for want of anything to look at.
fn explore(name: &str, depth: usize, states: usize) {
    let found = Scenario::named(name).expect("a scenario").explore(depth, usize::MAX);
    assert_eq!(found.violation, None, "{}", found.text);
    assert_eq!(found.depth, depth);
    assert!(found.states >= states, "{} states", found.states);
}

#[test]
fn simultaneous_dials_in_every_order() {
    explore("dial", 12, 1000);
}

#[test]
fn admission_with_a_reset_in_every_order() {
    explore("reset", 9, 1000);
}

#[test]
fn a_restart_under_the_same_id_in_every_order() {
    explore("restart", 11, 1000);
}

#[test]
fn a_leave_and_a_return_in_every_order() {
    explore("leave", 12, 900);
}

#[test]
fn a_join_of_three_by_gossip_in_every_order() {
    explore("gossip", 21, 1000);
}

#[test]
fn two_processes_of_one_identity_in_every_order() {
    explore("twin", 8, 1000);
    explore("lesser-twin", 8, 1000);
}

#[test]
fn a_leave_beside_two_processes_of_one_identity_in_every_order() {
    explore("twin-leave", 8, 1000);
}

#[test]
fn an_end_that_never_hears_of_a_reset_in_every_order() {
    explore("half-open", 13, 1000);
    explore("silent-restart", 13, 1000);
}

#[test]
fn messages_on_their_way_in_every_order() {
    explore("payload", 13, 1000);
    explore("payload-leave", 15, 1000);
}

#[test]
fn a_rotation_of_secrets_in_every_order() {
    explore("rotation", 8, 1000);
}

#[test]
fn pauses_in_every_order() {
    explore("pause", 7, 1000);
}

#[test]
fn heartbeats_of_other_intervals_in_every_order() {
    explore("mixed", 8, 1000);
}

#[test]
fn room_for_one_member_in_every_order() {
    explore("full", 14, 1000);
    explore("lesser-full", 14, 1000);
}
