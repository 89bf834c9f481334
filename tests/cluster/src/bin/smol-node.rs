//! The node of the examples on smol, for tests of processes.

use std::process::ExitCode;

fn main() -> ExitCode {
    smol::block_on(noex_examples::node::run::<noex_smol::Smol>())
}
