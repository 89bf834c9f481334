//! A system that has no randomness to give: no node starts on it, since its keys would be known.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use noex_driver::{Bound, Cause, Cluster, ClusterConfig, ClusterStatus, Runtime, StartError};
use noex_tokio::Tokio;

/// Tokio, without randomness.
#[derive(Clone, Debug)]
struct Predictable(Tokio);

impl Runtime for Predictable {
    type Listener = <Tokio as Runtime>::Listener;
    type Reader = <Tokio as Runtime>::Reader;
    type Writer = <Tokio as Runtime>::Writer;

    fn current() -> Result<Self, Cause> {
        Tokio::current().map(Self)
    }

    fn entropy(&self) -> io::Result<[u8; 32]> {
        Err(io::Error::other("none yet"))
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Reader, Self::Writer, SocketAddr)> {
        self.0.accept(listener).await
    }

    async fn bind(&self, addr: SocketAddr) -> io::Result<Bound<Self::Listener>> {
        self.0.bind(addr).await
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<(Self::Reader, Self::Writer)> {
        self.0.connect(addr).await
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

#[tokio::test]
async fn without_randomness_no_node_starts() {
    let cluster = Cluster::<Predictable>::new();
    let outcome = cluster.start(ClusterConfig::new("a").host("127.0.0.1").port(0)).await;
    assert_eq!(outcome, Err(StartError::Entropy { cause: "none yet".into() }));
    assert_eq!(cluster.status(), ClusterStatus::Stopped);
}
