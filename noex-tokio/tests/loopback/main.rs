//! noex on tokio, on real sockets of the loopback interface.
//!
//! The scenarios are functions of a runtime and name none; this file alone runs them on tokio.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod formation;
mod proxy;

macro_rules! on_tokio {
    ($($theme:ident: $($scenario:ident)*;)*) => {
        mod on_tokio {
            $(mod $theme {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    crate::$theme::$scenario::<noex_tokio::Tokio>().await;
                })*
            })*
        }
    };
}

on_tokio! {
    formation:
        a_cluster_on_ipv6_forms
        a_connection_that_is_cut_comes_back
        a_seed_that_comes_up_late_is_found
        a_seed_that_is_the_node_itself_is_no_node
        a_silent_peer_times_out_and_comes_back
        a_silent_peer_whose_port_refuses_is_gone
        eight_nodes_that_start_at_once_come_up_once_each
        eight_nodes_that_talk_from_the_first_up_on_lose_nothing
        nodes_of_which_one_cannot_be_dialled_connect
        nodes_that_are_named_by_name_meet
        of_two_nodes_with_one_identity_the_first_stays
        one_seed_is_enough_and_no_join_waits_for_a_heartbeat
        seeds_that_swallow_packets_delay_nothing
        the_identity_is_the_one_proved_whatever_the_seed_said
        who_was_lost_is_kept_until_it_is_forgotten;
}
