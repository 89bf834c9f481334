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
//! [`contract`] holds what is written on the methods of `Runtime`, [`scenarios`] what applications see. Given three runtimes, the
//! macro runs those scenarios that have more than one node, with nodes on different runtimes:
//!
//! ```ignore
//! noex_conformance::conformance!([One, Another, Third], block_on_all_of_them);
//! ```
//!
//! All sockets are on loopback. Nothing here asserts how fast a machine is; what takes a minute fails.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod contract;
pub mod scenarios;

use std::time::Duration;

use futures_lite::future;
use noex_driver::Runtime;

/// Longer than anything here takes on a machine that is busy with something else.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Makes a test of each rule and each scenario. See the [crate's documentation](crate).
#[macro_export]
macro_rules! conformance {
    ([$a:ty, $b:ty, $c:ty], $block_on:path) => {
        $crate::each_scenario!(($a, $b, $c, $block_on) pairs trios);
    };
    ($runtime:ty, $block_on:path) => {
        $crate::each_scenario!(($runtime, $runtime, $runtime, $block_on) contract singles pairs trios);
    };
}

/// The one list of tests, by the number of runtimes in them.
#[doc(hidden)]
#[macro_export]
macro_rules! each_scenario {
    ($context:tt $($group:ident)+) => { $($crate::each_scenario!(@$group $context);)+ };
    (@contract $context:tt) => {
        $crate::each_scenario!(@tests contract one $context
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
            an_end_of_a_stream_is_seen_by_its_peer
            code_that_blocks_holds_up_no_task
            entropy_differs
        );
    };
    (@singles $context:tt) => {
        $crate::each_scenario!(@tests scenarios one $context
            a_handler_may_stop_its_node
            a_handler_that_panics_is_reported_and_called_again
            a_node_starts_again_on_its_port_at_once
            a_silent_peer_does_not_keep_a_node_from_stopping
            a_start_that_cannot_listen_names_the_address
            a_start_that_is_dropped_leaves_the_node_stopped
            handlers_survive_a_restart
            waiting_for_nodes_says_how_it_ended
        );
    };
    (@pairs $context:tt) => {
        $crate::each_scenario!(@tests scenarios two $context
            a_handler_that_blocks_delays_nobody
            a_node_that_comes_back_is_down_and_up_again
            a_peer_that_is_not_read_fills_its_queue
            a_wrong_secret_is_refused_and_can_be_mended
            dropping_the_last_handle_leaves_and_ends_the_streams
            large_messages_arrive_whole_from_both_sides
            two_nodes_meet_talk_and_part
        );
    };
    (@trios $context:tt) => {
        $crate::each_scenario!(@tests scenarios three $context
            three_nodes_find_each_other
            three_nodes_talk_to_each_other
            two_nodes_carry_on_without_the_third
        );
    };
    (@tests $module:ident $count:ident $context:tt $($name:ident)+) => {
        $($crate::each_scenario!(@test $module $count $context $name);)+
    };
    (@test $module:ident one ($a:ty, $b:ty, $c:ty, $block_on:path) $name:ident) => {
        #[test]
        fn $name() {
            $block_on($crate::$module::$name::<$a>());
        }
    };
    (@test $module:ident two ($a:ty, $b:ty, $c:ty, $block_on:path) $name:ident) => {
        #[test]
        fn $name() {
            $block_on($crate::$module::$name::<$a, $b>());
        }
    };
    (@test $module:ident three ($a:ty, $b:ty, $c:ty, $block_on:path) $name:ident) => {
        #[test]
        fn $name() {
            $block_on($crate::$module::$name::<$a, $b, $c>());
        }
    };
}

/// The runtime that the test runs in.
fn current<R: Runtime>() -> R {
    R::current().expect("the test runs inside the runtime")
}

/// Waits, but not for ever.
async fn patient<R: Runtime, T>(future: impl Future<Output = T>) -> T {
    let rt = current::<R>();
    let late = async {
        rt.sleep_until(rt.now() + PATIENCE).await;
        None
    };
    future::or(async { Some(future.await) }, late).await.expect("it takes too long")
}

/// Waits until something holds that no event tells of.
async fn eventually<R: Runtime>(mut holds: impl FnMut() -> bool) {
    let rt = current::<R>();
    patient::<R, _>(async {
        while !holds() {
            rt.sleep_until(rt.now() + Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    /// A scenario that is on no list would never run.
    #[test]
    fn every_scenario_is_on_the_list() {
        let source = include_str!("lib.rs");
        let end = source.find("/// The runtime that the test runs in.").unwrap();
        let list: Vec<&str> = source[..end].split_whitespace().collect();
        let mut count = 0;
        for file in [include_str!("contract.rs"), include_str!("scenarios.rs")] {
            for line in file.lines().filter_map(|line| line.strip_prefix("pub async fn ")) {
                let name = line.split('<').next().unwrap();
                assert!(list.contains(&name), "{name} is missing in each_scenario!");
                count += 1;
            }
        }
        assert!(count > 30, "the search for scenarios finds only {count}");
    }
}
