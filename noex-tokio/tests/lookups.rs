//! Alone in its file, since the end of the process is what counts.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use noex_conformance::resolver;
use noex_tokio::Tokio;

const TEST: &str = "a_stop_and_the_end_of_the_runtime_wait_for_no_lookup";

#[test]
fn a_stop_and_the_end_of_the_runtime_wait_for_no_lookup() {
    resolver::a_stop_and_the_end_of_the_runtime_wait_for_no_lookup::<Tokio>(TEST, |inside| {
        tokio::runtime::Runtime::new().unwrap().block_on(inside.run());
    });
}
