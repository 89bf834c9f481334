//! Five nodes on loopback: they find each other, one calls a process of another, one is killed, one freezes, both
//! come back, one leaves. It takes half a minute.
//!
//! ```sh
//! cargo run -p noex-tokio --example demo
//! ```
//!
//! In a terminal it draws who sees whom; `q` ends it early. Elsewhere, or with `--plain`, it prints lines. It succeeds only if all that
//! it tells was seen to happen. What is played stands in `tests/examples/src/demo/script.rs` and does not depend on the runtime.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use noex_examples::demo;
use noex_tokio::Tokio;
use tokio::runtime::{Builder, Runtime};

/// A runtime of one worker for each node: what befalls it befalls that node alone.
struct Host(Runtime);

impl demo::Host for Host {
    type Runtime = Tokio;

    fn new() -> io::Result<Self> {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().map(Self)
    }

    fn freeze(&self, until: Receiver<()>) {
        self.0.spawn(async move {
            // Blocks the only worker, so no task of the node gets on.
            let _thawed = until.recv();
        });
    }

    fn kill(self) {
        self.0.shutdown_background();
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.block_on(future)
    }
}

fn main() -> ExitCode {
    demo::run::<Host>()
}
