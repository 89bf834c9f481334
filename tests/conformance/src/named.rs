//! A runtime with names of its own, around a real one.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_io::Timer;
use noex_driver::{Bound, Cause, Runtime};

/// What a name leads to.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// These addresses, after this time.
    Addresses(&'static [IpAddr], Duration),
    /// The resolver says that it has no answer.
    Fails,
    /// Nothing, for ever.
    Never,
}

static ANSWERS: Mutex<BTreeMap<String, Answer>> = Mutex::new(BTreeMap::new());

/// Says what a name leads to. Each test has names of its own.
pub fn name(host: &str, answer: Answer) {
    ANSWERS.lock().unwrap_or_else(PoisonError::into_inner).insert(host.into(), answer);
}

/// A runtime whose resolver knows the names that [`name`] was told of. The others go to that of the real one.
#[derive(Clone, Debug)]
pub struct Named<R>(R);

impl<R: Runtime> Runtime for Named<R> {
    type Listener = R::Listener;
    type Reader = R::Reader;
    type Writer = R::Writer;

    fn current() -> Result<Self, Cause> {
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

    fn now(&self) -> Instant {
        self.0.now()
    }

    async fn read(&self, reader: &mut R::Reader, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(reader, buffer).await
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let answer = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner).get(host).copied();
        match answer {
            None => self.0.resolve(host, port).await,
            Some(Answer::Addresses(addresses, time)) => {
                Timer::after(time).await;
                Ok(addresses.iter().map(|ip| SocketAddr::new(*ip, port)).collect())
            }
            Some(Answer::Fails) => Err(io::Error::other("try again")),
            Some(Answer::Never) => std::future::pending().await,
        }
    }

    async fn shutdown(&self, writer: &mut R::Writer) -> io::Result<()> {
        self.0.shutdown(writer).await
    }

    async fn sleep_until(&self, deadline: Instant) {
        self.0.sleep_until(deadline).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    async fn write(&self, writer: &mut R::Writer, data: &[u8]) -> io::Result<usize> {
        self.0.write(writer, data).await
    }
}
