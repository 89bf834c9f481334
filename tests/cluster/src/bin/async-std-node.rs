//! The example `node` on async-std, for tests of processes.

use std::process::ExitCode;

fn main() -> ExitCode {
    async_std::task::block_on(noex_examples::node::run::<noex_async_std::AsyncStd>())
}
