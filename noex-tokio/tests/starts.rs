//! Starts that meet stops and other starts while they bind: on a runtime that takes its time for it, and counts who listens.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use futures_lite::future;
use noex_conformance::common::{PATIENCE, config};
use noex_driver::{Bound, Cause, Cluster, Runtime, StartError};
use noex_tokio::Tokio;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The listeners that there are, and the most that there were.
static LISTENERS: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
static BOUND: Notify = Notify::const_new();

/// Tokio, where to bind takes a while after the port is taken.
#[derive(Clone, Debug)]
struct Slow(Tokio);

struct Counted(TcpListener);

impl Drop for Counted {
    fn drop(&mut self) {
        // For others to come between.
        thread::sleep(Duration::from_micros(500));
        LISTENERS.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Runtime for Slow {
    type Listener = Counted;
    type Reader = <Tokio as Runtime>::Reader;
    type Writer = <Tokio as Runtime>::Writer;

    fn current() -> Result<Self, Cause> {
        Tokio::current().map(Self)
    }

    async fn accept(&self, listener: &Counted) -> io::Result<(Self::Reader, Self::Writer, SocketAddr)> {
        self.0.accept(&listener.0).await
    }

    async fn bind(&self, addr: SocketAddr) -> io::Result<Bound<Counted>> {
        let bound = self.0.bind(addr).await?.try_map(|listener| Ok(Counted(listener)))?;
        MOST.fetch_max(LISTENERS.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        BOUND.notify_one();
        sleep(Duration::from_millis(3)).await;
        Ok(bound)
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<(Self::Reader, Self::Writer)> {
        self.0.connect(addr).await
    }

    fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        self.0.enter(code)
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    async fn read(&self, reader: &mut Self::Reader, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(reader, buffer).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.0.resolve(host, port).await
    }

    async fn shutdown(&self, writer: &mut Self::Writer) -> io::Result<()> {
        self.0.shutdown(writer).await
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        self.0.sleep_until(deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    async fn write(&self, writer: &mut Self::Writer, data: &[u8]) -> io::Result<usize> {
        self.0.write(writer, data).await
    }
}

/// One test, since the count is the process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_starts_and_stops_that_meet_one_listens_and_none_is_left() {
    let cluster = Cluster::<Slow>::new();
    // Given: a start that binds, whether or not anybody polls it meanwhile. A stop waits for its port.
    for polled in [true, false] {
        let start = Box::pin(cluster.start(config("a")));
        let mut start = future::or(start, future::pending());
        assert!(future::poll_once(&mut start).await.is_none());
        BOUND.notified().await;
        assert_eq!(LISTENERS.load(Ordering::SeqCst), 1);
        let stop = async {
            timeout(PATIENCE, cluster.stop()).await.expect("the stop ends");
            assert_eq!(LISTENERS.load(Ordering::SeqCst), 0, "the port is free");
        };
        match polled {
            true => assert_eq!(future::zip(&mut start, stop).await.0, Err(StartError::Stopped)),
            false => stop.await,
        }
    }
    // Many of each, at once.
    let starts = (0..2).map(|_| {
        let cluster = cluster.clone();
        tokio::spawn(async move {
            for _ in 0..100 {
                let outcome = timeout(PATIENCE, cluster.start(config("a"))).await.expect("a start ends");
                assert!(matches!(outcome, Ok(()) | Err(StartError::AlreadyRunning | StartError::Stopped)), "{outcome:?}");
            }
        })
    });
    let starts: Vec<_> = starts.collect();
    while !starts.iter().all(JoinHandle::is_finished) {
        timeout(PATIENCE, cluster.stop()).await.expect("a stop ends");
    }
    for start in starts {
        start.await.expect("it does not panic");
    }
    cluster.stop().await;
    assert_eq!(LISTENERS.load(Ordering::SeqCst), 0, "the port is free");
    assert_eq!(MOST.load(Ordering::SeqCst), 1, "never two listeners");
}
