//! The example `node` on tokio, for tests of processes.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    noex_examples::node::run::<noex_tokio::Tokio>().await
}
