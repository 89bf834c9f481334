//! A node to play with and to script: it prints what happens, one line each, and sends what is typed to all the others.
//!
//! ```sh
//! export CLUSTER_SECRET='at least sixteen bytes'
//! cargo run -p noex-async-std --example async-std-node -- --name a --host 127.0.0.1 --port 4001
//! cargo run -p noex-async-std --example async-std-node -- --name b --host 127.0.0.1 --port 4002 --seed a@127.0.0.1:4001
//! ```
//!
//! `--help` names all options, and `tests/examples/src/node.rs` has the code: none of it depends on the runtime.

use std::process::ExitCode;

use noex_async_std::AsyncStd;

fn main() -> ExitCode {
    async_std::task::block_on(noex_examples::node::run::<AsyncStd>())
}
