//! Connections that are gone before they are accepted, on a runtime that meets some.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use noex_conformance::common::{PATIENCE, Watch, eventually, lively, patient, seed};
use noex_driver::{Bound, Cause, Cluster, ClusterError, LocalFault, Runtime};
use noex_tokio::Tokio;

/// How many connections are gone before the next one that is not.
static GONE: AtomicUsize = AtomicUsize::new(0);

/// Tokio, among such peers.
#[derive(Clone, Debug)]
struct Among(Tokio);

impl Runtime for Among {
    type Listener = <Tokio as Runtime>::Listener;
    type Reader = <Tokio as Runtime>::Reader;
    type Writer = <Tokio as Runtime>::Writer;

    fn current() -> Result<Self, Cause> {
        Tokio::current().map(Self)
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Reader, Self::Writer, SocketAddr)> {
        let left = GONE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        self.0.accept(listener).await
    }

    async fn bind(&self, addr: SocketAddr) -> io::Result<Bound<Self::Listener>> {
        self.0.bind(addr).await
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

/// One test, since the number is the process's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_are_gone_before_they_are_accepted_cost_no_pause_and_no_report_unless_they_never_end() {
    let a = Cluster::<Among>::new();
    let mut watch = Watch::new(&a);
    GONE.store(100, Ordering::SeqCst);
    patient(a.start(lively("a"))).await.expect("it starts");
    let b = Cluster::<Tokio>::new();
    patient(b.start(lively("b").seeds([seed(&a)]))).await.expect("it starts");
    patient(a.wait_for_nodes(1, PATIENCE)).await.expect("they meet");
    watch.read().await;
    let is_told = |error: &&ClusterError| matches!(error, ClusterError::Local(LocalFault::Accept { .. }));
    assert_eq!((GONE.load(Ordering::SeqCst), watch.errors().iter().filter(is_told).count()), (0, 0));

    // When it does not end, it is told, with a pause after every 128.
    GONE.store(1_000_000, Ordering::SeqCst);
    let _waiting = std::net::TcpStream::connect(("127.0.0.1", a.local_node_id().expect("running").port()));
    eventually("it is tried again", || a.counters().reports_held_back >= 1).await;
    watch.read().await;
    assert_eq!(watch.errors().iter().filter(is_told).count(), 1);
    let tries = 1_000_000 - GONE.load(Ordering::SeqCst);
    let pauses = 1 + usize::try_from(a.counters().reports_held_back).expect("few");
    assert!(tries <= 129 * (pauses + 1), "{tries} tries with {pauses} pauses");
    GONE.store(0, Ordering::SeqCst);
}
