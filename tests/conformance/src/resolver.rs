//! A runtime whose name servers swallow the questions for one name.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use futures_lite::future;
use noex_driver::{Bound, Runtime};

/// The name that nobody answers for.
pub const SWALLOWED: &str = "swallowed.test";

/// The runtime, but for that.
#[derive(Clone, Debug)]
pub struct Unanswered<R>(R);

impl<R: Runtime> Runtime for Unanswered<R> {
    type Listener = R::Listener;
    type Reader = R::Reader;
    type Writer = R::Writer;

    fn current() -> Result<Self, String> {
        R::current().map(Self)
    }

    async fn accept(&self, listener: &R::Listener) -> io::Result<(R::Reader, R::Writer, SocketAddr)> {
        self.0.accept(listener).await
    }

    async fn bind(&self, addr: SocketAddr) -> io::Result<Bound<R::Listener>> {
        self.0.bind(addr).await
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<(R::Reader, R::Writer)> {
        self.0.connect(addr).await
    }

    fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        self.0.enter(code)
    }

    fn entropy(&self) -> io::Result<[u8; 32]> {
        self.0.entropy()
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    async fn read(&self, reader: &mut R::Reader, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(reader, buffer).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if host == SWALLOWED {
            return future::pending().await;
        }
        self.0.resolve(host, port).await
    }

    async fn shutdown(&self, writer: &mut R::Writer) -> io::Result<()> {
        self.0.shutdown(writer).await
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        self.0.sleep_until(deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    async fn write(&self, writer: &mut R::Writer, data: &[u8]) -> io::Result<usize> {
        self.0.write(writer, data).await
    }
}
