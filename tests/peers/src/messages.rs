//! Messages between two nodes of one process, one way and there and back.

use std::future::Future;
use std::time::Instant;

use noex_tokio::Bytes;
use tokio::runtime::Builder;

use crate::noex::NoexPair;
use crate::processes::ProcessPair;
use crate::ractor::RactorPair;
use crate::raw::RawPair;
use crate::report::{Figure, print};
use crate::system::Cpu;
use crate::table::head;

/// The size of an answer, and of a message that is answered whole.
pub(crate) const SMALL: usize = 64;
const PINGS: usize = 10_000;

const FIGURES: [Figure; 6] = [
    ("64 B one way, million messages/s", 3),
    ("64 B one way, processor time a message, both ends and the kernel, ns", 0),
    ("64 KiB one way, GB/s", 3),
    ("64 KiB one way, processor time a message, both ends and the kernel, us", 1),
    ("64 B there and back, us", 1),
    ("64 B there and back, processor time, us", 1),
];

/// Two nodes with a connection, seen from one of them.
pub(crate) trait Pair: Send + Sized + 'static {
    /// Makes them in the current runtime.
    fn open() -> impl Future<Output = Self> + Send;

    /// Sends a message. If it [is asked](is_asked) to, the other node answers with the first [`SMALL`] bytes; otherwise it drops it.
    fn send(&mut self, message: &Bytes) -> impl Future<Output = ()> + Send;

    /// Waits for the next answer.
    fn answer(&mut self) -> impl Future<Output = ()> + Send;
}

/// A message of so many bytes.
pub(crate) fn message(size: usize, asked: bool) -> Bytes {
    let mut message = vec![7; size];
    message[0] = asked.into();
    message.into()
}

pub(crate) fn is_asked(message: &[u8]) -> bool {
    message.first() == Some(&1)
}

/// Measures by turns.
pub(crate) fn compare(rounds: u32) {
    head("messages between two nodes in one process, a runtime of two threads");
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    // On a thread of the runtime, as an application's tasks are.
    let measured = runtime.block_on(runtime.spawn(async move {
        let (mut noex, mut processes) = (NoexPair::open().await, ProcessPair::open().await);
        let (mut ractor, mut raw) = (RactorPair::open().await, RawPair::open().await);
        let mut measured = ["noex", "noex, a process", "ractor_cluster", "bare tokio"].map(|library| (library, Vec::new()));
        for _ in 0..rounds {
            measured[0].1.push(round(&mut noex).await);
            measured[1].1.push(round(&mut processes).await);
            measured[2].1.push(round(&mut ractor).await);
            measured[3].1.push(round(&mut raw).await);
        }
        measured
    }));
    print(&FIGURES, &measured.expect("it ends"));
}

/// What [`FIGURES`] name.
async fn round(pair: &mut impl Pair) -> Vec<f64> {
    let small = Stream { batch: 1024, batches: 512, size: SMALL, window: 64 };
    let (small_time, small_cpu) = timed(small.run(pair)).await;
    let large = Stream { batch: 16, batches: 512, size: 64 << 10, window: 12 };
    let (large_time, large_cpu) = timed(large.run(pair)).await;
    let ping = message(SMALL, true);
    let (ping_time, ping_cpu) = timed(async {
        for _ in 0..PINGS {
            pair.send(&ping).await;
            pair.answer().await;
        }
    })
    .await;
    let (smalls, larges, pings) = (small.messages(), large.messages(), PINGS as f64);
    vec![
        smalls / small_time / 1e6,
        small_cpu / smalls * 1e9,
        larges * large.size as f64 / large_time / 1e9,
        large_cpu / larges * 1e6,
        ping_time / pings * 1e6,
        ping_cpu / pings * 1e6,
    ]
}

/// Seconds by the clock, and of processor time.
pub(crate) async fn timed(work: impl Future<Output = ()>) -> (f64, f64) {
    let (begin, before) = (Instant::now(), Cpu::now());
    work.await;
    (begin.elapsed().as_secs_f64(), (Cpu::now() - before).total())
}

/// Messages one way. The last of each batch is answered, over the same connection, and so many batches may lack their answers: that
/// bounds what is on its way, also where a library does not.
struct Stream {
    batch: usize,
    batches: usize,
    size: usize,
    window: usize,
}

impl Stream {
    async fn run(&self, pair: &mut impl Pair) {
        let (plain, last) = (message(self.size, false), message(self.size, true));
        for number in 0..self.batches {
            if number >= self.window {
                pair.answer().await;
            }
            for _ in 1..self.batch {
                pair.send(&plain).await;
            }
            pair.send(&last).await;
        }
        for _ in 0..self.window {
            pair.answer().await;
        }
    }

    fn messages(&self) -> f64 {
        (self.batch * self.batches) as f64
    }
}
