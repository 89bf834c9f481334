//! A node to play with and to script: it prints what happens, one line each, and sends what is typed to all the others.
//!
//! ```sh
//! export CLUSTER_SECRET='at least sixteen bytes'
//! cargo run -p noex-tokio --example node -- --name a --host 127.0.0.1 --port 4001
//! cargo run -p noex-tokio --example node -- --name b --host 127.0.0.1 --port 4002 --seed a@127.0.0.1:4001
//! ```
//!
//! `--help` names all options, and `tests/examples/src/node.rs` has the code: none of it depends on the runtime.
//! `tests/scenarios/three-nodes` reads the lines.

use std::process::ExitCode;

use noex_tokio::Tokio;

#[tokio::main]
async fn main() -> ExitCode {
    noex_examples::node::run::<Tokio>().await
}
