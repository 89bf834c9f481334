//! Clusters of processes on all three runtimes, which are killed, stopped, restarted and cut off from each other.
//!
//! After each scenario all that run are connected within the time that the rules allow, ups and downs alternate in every log, no node
//! that was left alone saw another such node go down, and no process keeps memory or descriptors.
//!
//! The short form runs with all other tests; the full one has 20 nodes: `cargo test -p noex-cluster-tests --test chaos -- --ignored`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod cluster;
mod command;
mod log;
mod namespaces;
mod processes;
mod proxied;

use std::time::Duration;

/// How much of everything.
#[derive(Debug)]
pub(crate) struct Form {
    nodes: usize,
    /// Restarts in a row of one node.
    restarts: usize,
    /// How long a node reads nothing.
    unread: Duration,
}

/// How many heartbeats may be missed: enough for a machine that is busy with all other tests.
const THRESHOLD: u32 = 6;

const SHORT: Form = Form { nodes: 5, restarts: 5, unread: Duration::from_secs(3) };
const FULL: Form = Form { nodes: 20, restarts: 50, unread: Duration::from_secs(60) };

macro_rules! chaos {
    ($($theme:ident: $($scenario:ident)+;)+) => {
        mod short {
            $($(#[test]
            fn $scenario() {
                crate::$theme::$scenario(&crate::SHORT);
            })+)+
        }
        mod full {
            $($(#[test]
            #[ignore = "takes minutes: run it alone, with --ignored"]
            fn $scenario() {
                crate::$theme::$scenario(&crate::FULL);
            })+)+
        }
    };
}

chaos! {
    namespaces:
        a_network_that_delays_and_loses_is_borne
        halves_that_hear_nothing_of_each_other_meet_again
        halves_of_which_one_hears_nothing_of_the_other_meet_again;
    processes:
        a_node_frozen_for_twice_the_detection_time_comes_back
        a_node_that_reads_nothing_costs_a_bounded_queue
        all_leave_and_come_back_one_after_the_other
        all_restart_at_once
        half_of_them_are_killed_at_once
        one_restarts_again_and_again;
    proxied:
        bytes_that_come_one_by_one_are_heard
        connections_that_are_torn_within_a_frame_come_back
        ends_that_hear_nothing_of_their_peers_end_are_replaced
        frozen_connections_time_out_and_come_back
        slow_ways_are_borne;
}
