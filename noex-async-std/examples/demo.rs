//! Five nodes on loopback: they find each other, one calls a process of another, one is killed, one freezes, both
//! come back, one leaves. It takes half a minute.
//!
//! ```sh
//! cargo run -p noex-async-std --example async-std-demo
//! ```
//!
//! In a terminal it draws who sees whom; `q` ends it early. Elsewhere, or with `--plain`, it prints lines. It succeeds only if all that
//! it tells was seen to happen. What is played stands in `tests/examples/src/demo/script.rs` and does not depend on the runtime.

use std::io;
use std::process::ExitCode;
use std::sync::mpsc::Receiver;

use async_std::task;
use noex_async_std::AsyncStd;
use noex_driver::Runtime;
use noex_examples::demo::{self, Gated};

/// The tasks of one node, as the process has one runtime for all nodes.
struct Host(Gated<AsyncStd>);

impl demo::Host for Host {
    type Runtime = Gated<AsyncStd>;

    fn new() -> io::Result<Self> {
        Gated::new().map(Self)
    }

    fn freeze(&self, until: Receiver<()>) {
        self.0.freeze(until);
    }

    fn kill(self) {
        self.0.kill();
    }

    fn run<T>(&self, future: impl Future<Output = T>) -> T {
        self.0.enter(|| task::block_on(future))
    }
}

fn main() -> ExitCode {
    demo::run::<Host>()
}
