//! Alone in its file, since the limit is one of the whole process.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use noex_conformance::descriptors;
use noex_tokio::Tokio;

#[test]
fn the_limit_on_open_files_is_survived() {
    tokio::runtime::Runtime::new().unwrap().block_on(descriptors::the_limit_on_open_files_is_survived::<Tokio>());
}
