//! Calls between two nodes of one process, one at a time and many in flight.

use std::collections::VecDeque;
use std::future::Future;

use noex_tokio::Bytes;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;

use crate::messages::{SMALL, message, timed};
use crate::processes::Process;
use crate::ractor::RactorCaller;
use crate::report::{Figure, print};
use crate::table::head;
use crate::tarpc::Tarpc;

const PINGS: usize = 10_000;
const CALLS: usize = 100_000;
/// How many are in flight at a time: what tarpc allows by default.
const WINDOW: usize = 1_000;

const FIGURES: [Figure; 4] = [
    ("64 B, one at a time, us", 1),
    ("64 B, one at a time, processor time at both ends and in the kernel, us", 1),
    ("64 B, 1,000 in flight, a task per call, thousand calls/s", 0),
    ("64 B, 1,000 in flight, processor time a call, us", 1),
];

/// What can be called from another node.
pub(crate) trait Caller: Clone + Send + Sized + 'static {
    /// Makes both ends in the current runtime.
    fn open() -> impl Future<Output = Self> + Send;

    /// Sends a message and waits for its answer, which is as long.
    fn call(self, message: Bytes) -> impl Future<Output = ()> + Send;
}

/// Measures by turns.
pub(crate) fn compare(rounds: u32) {
    head("calls between two nodes in one process, a runtime of two threads");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // On a thread of the runtime, as an application's tasks are.
    let measured = runtime.block_on(runtime.spawn(async move {
        let (noex, ractor, tarpc) = (Process::open().await, RactorCaller::open().await, Tarpc::open().await);
        let mut measured = ["noex", "ractor_cluster", "tarpc"].map(|library| (library, Vec::new()));
        for _ in 0..rounds {
            measured[0].1.push(round(&noex).await);
            measured[1].1.push(round(&ractor).await);
            measured[2].1.push(round(&tarpc).await);
        }
        measured
    }));
    print(&FIGURES, &measured.expect("it ends"));
}

/// What [`FIGURES`] name.
async fn round(caller: &impl Caller) -> Vec<f64> {
    let message = message(SMALL, true);
    let (ping_time, ping_cpu) = timed(async {
        for _ in 0..PINGS {
            caller.clone().call(message.clone()).await;
        }
    })
    .await;
    let (time, cpu) = timed(async {
        let mut tasks: VecDeque<JoinHandle<()>> = VecDeque::with_capacity(WINDOW);
        for _ in 0..CALLS {
            if tasks.len() == WINDOW {
                tasks.pop_front().expect("not empty").await.expect("it ends");
            }
            tasks.push_back(tokio::spawn(caller.clone().call(message.clone())));
        }
        for task in tasks {
            task.await.expect("it ends");
        }
    })
    .await;
    let (pings, calls) = (PINGS as f64, CALLS as f64);
    vec![ping_time / pings * 1e6, ping_cpu / pings * 1e6, calls / time / 1e3, cpu / calls * 1e6]
}
