//! Alone in its file, since the limit is one of the whole process.

use noex_async_std::AsyncStd;
use noex_conformance::descriptors;

#[test]
fn the_limit_on_open_files_is_survived() {
    async_std::task::block_on(descriptors::the_limit_on_open_files_is_survived::<AsyncStd>());
}
