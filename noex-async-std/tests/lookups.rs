//! Alone in its file, since the end of the process is what counts.

use noex_async_std::AsyncStd;
use noex_conformance::resolver;

const TEST: &str = "a_stop_and_the_end_of_the_runtime_wait_for_no_lookup";

#[test]
fn a_stop_and_the_end_of_the_runtime_wait_for_no_lookup() {
    resolver::a_stop_and_the_end_of_the_runtime_wait_for_no_lookup::<AsyncStd>(TEST, |inside| {
        async_std::task::block_on(inside.run())
    });
}
