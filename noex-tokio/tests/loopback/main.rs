//! noex on tokio, on real sockets of the loopback interface.
//!
//! The scenarios are functions of a runtime and name none; this file alone runs them on tokio.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod busy;
mod common;
mod formation;
mod payloads;
mod proxy;
mod reading;
mod starting;
mod stopping;
mod strangers;

macro_rules! on_tokio {
    ($($theme:ident: $($scenario:ident)*;)*) => {
        mod one_thread {
            $(mod $theme {
                $(#[tokio::test(flavor = "current_thread")]
                async fn $scenario() {
                    crate::$theme::$scenario::<noex_tokio::Tokio>().await;
                })*
            })*
        }
        mod threads {
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
    payloads:
        a_slow_reader_costs_a_bounded_queue_and_no_heartbeat
        messages_of_every_size_arrive_whole_and_in_order
        nothing_comes_twice_or_too_early_when_connections_break;
    reading:
        a_node_knows_itself_and_the_others
        a_node_that_does_not_run_says_so
        a_node_without_a_secret_warns_beyond_loopback
        a_reader_that_lags_is_told_how_many_messages_it_missed
        a_subscriber_that_lags_is_told_and_catches_up
        each_handler_hears_its_own_in_order
        nodes_and_configurations_are_written_and_read
        the_status_changes_in_order
        waiting_for_nodes_counts_the_others
        who_is_unsubscribed_is_not_called;
    starting:
        a_second_start_is_refused_at_any_stage
        a_session_without_a_secret_is_open
        an_invalid_configuration_is_refused_before_anything_listens
        an_occupied_port_is_named
        only_who_knows_the_secret_joins
        secrets_are_rotated_without_a_down;
    stopping:
        a_seed_that_left_and_comes_back_is_found
        a_stop_is_no_down_for_its_own_subscribers
        all_who_stop_at_once_return
        nodes_that_stop_at_once_stop
        peers_that_read_nothing_delay_a_stop_for_its_timeout_only
        the_last_handle_stops_the_node
        what_was_queued_arrives_before_the_leave;
    strangers:
        strangers_harm_nobody_and_keep_nobody_out;
}
