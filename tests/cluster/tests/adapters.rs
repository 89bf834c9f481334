//! The conformance suite on tokio, and over clusters whose nodes run on different runtimes in one process.
//!
//! The adapters for async-std and smol run it in their own crates.

use noex_async_std::AsyncStd;
use noex_conformance::conformance;
use noex_smol::Smol;
use noex_tokio::Tokio;
use tokio::runtime::Builder;

/// Runs a future in a tokio runtime of several threads. The others are there for the whole process.
fn threads<T>(future: impl Future<Output = T>) -> T {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime").block_on(future)
}

/// Runs a future in a tokio runtime of this one thread.
fn one_thread<T>(future: impl Future<Output = T>) -> T {
    Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

mod tokio_on_threads {
    use super::*;
    conformance!(Tokio, threads);
}

mod tokio_on_one_thread {
    use super::*;
    conformance!(Tokio, one_thread);
}

// Each runtime comes first once, and each pair of them.
mod tokio_async_std_smol {
    use super::*;
    conformance!([Tokio, AsyncStd, Smol], threads);
}

mod async_std_smol_tokio {
    use super::*;
    conformance!([AsyncStd, Smol, Tokio], one_thread);
}

mod smol_tokio_async_std {
    use super::*;
    conformance!([Smol, Tokio, AsyncStd], threads);
}
