//! Alone in its file, since the limit is one of the whole process.

use noex_conformance::descriptors;
use noex_smol::Smol;

#[test]
fn the_limit_on_open_files_is_survived() {
    smol::block_on(descriptors::the_limit_on_open_files_is_survived::<Smol>());
}
