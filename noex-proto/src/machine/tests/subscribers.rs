//! Subscribers that read late, or never.

use std::format;
use std::vec;

use super::{ADDRESS, Bench};
use crate::wire::message::Control;
use crate::{ClusterEvent, Input, Limits, LocalFault};

#[test]
fn a_subscriber_who_reads_nothing_costs_a_bounded_amount() {
    let mut bench =
        Bench::new(Limits { events_per_subscriber: 1, disconnected_nodes: 1, departed_nodes: 1, ..Limits::default() });
    let _subscription = bench.machine.subscribe_events();
    let churn = |bench: &mut Bench, from: u32, to: u32| {
        for n in from..to {
            let conn = bench.up_as(&format!("n{n}@10.0.3.1:1").parse().expect("an id"), 1, ADDRESS);
            bench.say(conn, &[Control::Goodbye]);
            bench.feed(Input::Closed { conn });
        }
        format!("{:?}", bench.machine).len()
    };
    let before = churn(&mut bench, 100, 200);
    let after = churn(&mut bench, 200, 500);
    assert!(after < before + 1000, "{before} -> {after}");
}

#[test]
fn a_late_subscriber_who_keeps_pace_hears_of_the_members() {
    let mut bench = Bench::new(Limits { events_per_subscriber: 2, ..Limits::default() });
    for name in ["a", "b", "c", "d", "e"] {
        bench.up(name);
    }
    let subscription = bench.machine.subscribe_events();
    let mut heard = vec![];
    for _ in 0..100 {
        bench.feed(Input::Report(LocalFault::HandlerPanicked { message: "oh".into() }));
        heard.extend(bench.machine.poll_event(subscription));
    }
    assert!(heard.iter().any(|event| matches!(event, ClusterEvent::NodeUp(_))));
}
