//! Alone in its file, since the end of the process is what counts.

use noex_conformance::resolver;
use noex_smol::Smol;

const TEST: &str = "a_stop_and_the_end_of_the_runtime_wait_for_no_lookup";

#[test]
fn a_stop_and_the_end_of_the_runtime_wait_for_no_lookup() {
    resolver::a_stop_and_the_end_of_the_runtime_wait_for_no_lookup::<Smol>(TEST, |inside| smol::block_on(inside.run()));
}
