//! What every adapter of noex must do, written once and run over any of them.
//!
//! An adapter's whole test is a line:
//!
//! ```ignore
//! noex_conformance::conformance!(my_adapter::MyRuntime, my_runtime::block_on);
//! ```
//!
//! The first argument implements [`noex_driver::Runtime`]. The second is a function that runs a future to its end inside the runtime,
//! `fn block_on<T>(future: impl Future<Output = T>) -> T`. Each test runs in a call of its own.
//!
//! [`contract`] holds what is written on the methods of `Runtime`, the other modules what applications see. Given three runtimes, the
//! macro runs the latter with the nodes of each test on the three in turn:
//!
//! ```ignore
//! noex_conformance::conformance!([One, Another, Third], block_on_all_of_them);
//! ```
//!
//! Only [`descriptors`] and [`resolver`] are left out, each of which needs a process of its own.
//!
//! All sockets are on loopback. Nothing here asserts how fast a machine is; what takes a minute fails.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod calls;
pub mod claims;
pub mod common;
pub mod contract;
#[cfg(unix)]
pub mod descriptors;
pub mod formation;
pub mod handlers;
pub mod load;
mod mixed;
pub mod named;
pub mod names;
pub mod payloads;
pub mod processes;
pub mod proxy;
pub mod reading;
pub mod recording;
pub mod replies;
#[cfg(unix)]
pub mod resolver;
pub mod secrets;
pub mod starting;
pub mod stopping;
pub mod strangers;

pub use mixed::Mixed;

/// Makes a test of each rule and each scenario. See the [crate's documentation](crate).
#[macro_export]
macro_rules! conformance {
    ([$a:ty, $b:ty, $c:ty], $block_on:path) => {
        $crate::each_test!(scenarios $crate::Mixed<$a, $b, $c>, $block_on);
    };
    ($runtime:ty, $block_on:path) => {
        $crate::each_test!(contract $runtime, $block_on);
        $crate::each_test!(scenarios $runtime, $block_on);
    };
}

/// The one list of tests.
#[doc(hidden)]
#[macro_export]
macro_rules! each_test {
    (contract $runtime:ty, $block_on:path) => {
        $crate::each_test! { @modules ($runtime, $block_on)
            contract:
                a_bound_port_is_free_once_the_listener_is_dropped
                a_connect_that_nobody_listens_for_is_refused
                a_connection_to_itself_is_refused
                a_dropped_accept_loses_no_connection
                a_dropped_read_loses_no_byte
                a_dropped_write_wrote_nothing
                a_name_has_addresses_with_the_port
                a_port_that_is_taken_is_said_to_be
                a_shutdown_ends_one_direction
                a_sleep_ends_at_its_deadline
                a_task_runs_without_being_waited_for
                a_thread_that_the_runtime_does_not_know_may_use_it
                an_end_of_a_connection_is_seen_by_its_peer
                code_that_entered_finds_the_runtime
                entropy_differs
                every_interface_is_of_both_families_where_the_system_allows;
        }
    };
    (scenarios $runtime:ty, $block_on:path) => {
        $crate::each_test! { @modules ($runtime, $block_on)
            calls:
                a_call_beyond_those_that_may_be_open_is_not_sent
                a_call_that_a_process_takes_and_does_not_answer_may_have_run
                a_call_that_cannot_begin_says_why
                a_call_that_has_timed_out_is_not_given_to_its_process
                a_cast_that_cannot_be_sent_says_why
                a_call_that_is_dropped_is_cancelled_at_its_process
                a_call_that_its_process_has_not_taken_certainly_has_not_run
                a_process_that_calls_itself_in_its_own_loop_times_out
                a_reply_is_answered_later_and_elsewhere_and_its_deadline_is_passed_on
                a_request_of_another_protocol_or_version_fails_alone
                an_address_travels_in_a_message_and_in_an_answer
                answers_wait_for_a_caller_that_reads_slowly_where_they_are_delivered
                large_requests_and_answers_arrive_whole
                open_calls_end_with_the_session_and_with_the_node
                ten_thousand_calls_at_once_end_once_each;
            claims:
                a_claim_ends_with_its_process_and_its_node
                a_claim_that_is_dropped_before_it_has_returned_is_withdrawn
                a_claim_that_too_few_nodes_agree_to_fails
                a_name_is_of_one_process_of_the_cluster_until_that_gives_it_back_or_ends
                a_name_that_is_none_or_of_another_protocol_is_said_to_be
                a_process_is_found_by_its_name_and_called
                a_process_that_loses_its_name_does_not_see_what_waited
                a_process_that_stands_by_has_the_name_once_it_is_free
                a_process_that_stands_by_takes_over_when_the_holders_node_is_lost
                of_many_who_claim_a_name_at_once_one_has_it
                of_two_who_claimed_a_name_apart_one_loses_it_when_they_meet
                the_names_of_a_node_that_comes_up_are_known_once_they_are_synced
                who_has_a_name_is_watched_on_every_node;
            formation:
                a_cluster_on_ipv6_forms
                a_connection_that_is_cut_comes_back
                a_node_that_comes_back_is_down_and_up_again
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
                two_nodes_carry_on_without_the_third
                who_was_lost_is_kept_until_it_is_forgotten;
            handlers:
                a_handler_may_unsubscribe_itself_and_stop_the_node
                a_handler_runs_inside_the_runtime
                a_handler_that_blocks_delays_nobody
                a_handler_that_panics_is_reported_and_called_again
                each_handler_hears_its_own_in_order
                handlers_survive_a_restart
                who_is_unsubscribed_is_not_called;
            load:
                payloads_at_full_speed_are_bounded_whoever_reads
                ten_thousand_events_reach_a_hundred_subscribers;
            names:
                a_lookup_that_never_ends_holds_up_neither_others_nor_a_stop
                a_name_whose_lookup_takes_long_is_joined_when_it_ends
                a_resolver_that_fails_says_nothing_of_the_name
                of_many_addresses_of_a_name_each_is_tried
                seeds_are_replaced_while_a_node_runs;
            payloads:
                a_broadcast_reaches_all_who_are_up_and_says_whom_not
                a_slow_reader_costs_a_bounded_queue_and_no_heartbeat
                a_subscriber_that_does_not_read_holds_up_nobody
                messages_of_every_size_arrive_whole_and_in_order
                nothing_comes_twice_or_too_early_when_connections_break
                senders_that_wait_for_room_go_on_together
                three_nodes_talk_to_each_other
                waiting_for_room_ends_with_the_session_or_the_node;
            processes:
                a_full_mailbox_is_busy_for_calls_and_says_what_casts_it_missed
                a_function_that_is_a_process_ends_it_with_its_result
                a_mailbox_may_be_read_on_any_thread
                a_message_reaches_its_process_among_many
                a_monitor_tells_once_behind_the_last_words_and_not_after_it_was_removed
                a_monitor_that_is_removed_while_its_notice_waits_tells_nothing
                a_name_is_of_one_process_of_its_node_until_that_ends
                a_node_that_does_not_run_has_no_processes
                a_process_ends_with_a_true_reason
                a_process_is_opened_called_and_named_from_both_nodes
                a_request_to_stop_ends_the_loop_behind_what_was_sent_before
                messages_from_one_node_arrive_in_order
                peers_see_how_many_processes_there_are
                the_end_of_a_node_is_no_connection_for_those_who_watch_its_processes
                the_end_of_a_process_is_waited_for_in_a_task_of_its_own
                what_a_function_gives_after_a_request_to_stop_is_the_reason_or_that_of_the_request;
            reading:
                a_node_is_ready_once_it_has_met_a_seed
                a_node_knows_itself_and_the_others
                a_node_that_does_not_run_says_so
                a_node_without_a_secret_warns_beyond_loopback
                a_reader_that_lags_is_told_how_many_messages_it_missed
                a_subscriber_that_lags_is_told_and_catches_up
                nodes_and_configurations_are_written_and_read
                the_status_changes_in_order
                waiting_for_a_node_ends_when_that_one_is_up
                waiting_for_nodes_counts_the_others
                waiting_for_nodes_says_how_it_ended;
            recording:
                a_replayed_recording_tells_what_the_node_was_told;
            replies:
                a_handler_that_fails_or_panics_tells_its_caller_why
                a_port_that_another_task_drops_fails_at_once_where_its_process_waits
                a_port_that_is_dropped_by_a_process_that_goes_on_fails_at_its_next_wait
                a_port_that_outlives_its_process_is_over
                a_process_that_is_aborted_tells_its_callers_that_it_ended
                a_process_that_is_asked_to_stop_tells_the_callers_that_it_kept_waiting;
            secrets:
                a_session_without_a_secret_is_open
                a_wrong_secret_is_refused_and_can_be_mended
                only_who_knows_the_secret_joins
                secrets_are_rotated_without_a_down;
            starting:
                a_node_starts_again_on_the_same_port_at_once
                a_second_start_is_refused_at_any_stage
                a_start_that_is_dropped_or_stopped_on_its_way_is_over
                a_start_waits_for_its_hosts_addresses_for_its_time_or_until_a_stop
                an_invalid_configuration_is_refused_before_anything_listens
                an_occupied_port_is_named;
            stopping:
                a_seed_that_left_and_comes_back_is_found
                a_silent_peer_does_not_keep_a_node_from_stopping
                a_stop_beside_a_restart_returns
                a_stop_is_no_down_for_its_own_subscribers
                all_who_stop_at_once_return
                dropping_the_last_handle_stops_the_node_and_ends_its_streams
                nodes_that_stop_at_once_stop
                peers_that_read_nothing_delay_a_stop_for_its_timeout_only
                what_was_queued_arrives_before_the_leave;
            strangers:
                a_stranger_that_was_refused_and_writes_on_is_cut_off_and_not_recorded
                strangers_harm_nobody_and_keep_nobody_out;
        }
    };
    (@modules $context:tt $($module:ident: $($name:ident)+;)+) => {
        $($($crate::each_test!(@test $context $module $name);)+)+
    };
    (@test ($runtime:ty, $block_on:path) $module:ident $name:ident) => {
        #[test]
        fn $name() {
            $block_on($crate::$module::$name::<$runtime>());
        }
    };
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    /// A scenario that is on no list would never run.
    #[test]
    fn every_scenario_is_on_the_list() {
        let source = include_str!("lib.rs");
        let list: Vec<&str> = source.split_whitespace().map(|word| word.trim_end_matches(';')).collect();
        let mut count = 0;
        for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap() {
            let path = file.unwrap().path();
            // One has no scenarios, the others some that need a process of their own.
            if path.file_stem().is_some_and(|name| ["common", "descriptors", "resolver"].iter().any(|other| name == *other)) {
                continue;
            }
            for line in fs::read_to_string(path).unwrap().lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let name = line.split('<').next().unwrap();
                assert!(list.contains(&name), "{name} is missing in each_test!");
                count += 1;
            }
        }
        assert!(count > 50, "the search for scenarios finds only {count}");
    }
}
