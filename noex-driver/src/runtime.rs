//! What the driver needs of an asynchronous runtime.

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use crate::{Bound, Cause, resolver};

/// An asynchronous runtime with TCP: all that differs between one adapter and the next.
///
/// A value stands for one running instance of the runtime. Its methods may be called from any thread, also from one that the
/// runtime does not know, and its futures may be polled there. None of them may block, but for what
/// [`enter`](Self::enter) is given.
///
/// Errors are passed on as the operating system gave them, `Interrupted` and `WouldBlock` apart: those are the adapter's business.
/// No method decides anything about the protocol, retries, or limits time: the driver drops a future that it has no use for any more.
pub trait Runtime: Clone + Debug + Send + Sync + 'static {
    /// A listening socket. Dropping it frees the port before the drop returns.
    type Listener: Send + Sync + 'static;
    /// The read side of a connection, to be used at the same time as the write side. Dropping both closes the connection at once.
    type Reader: Send + 'static;
    /// The write side of a connection.
    type Writer: Send + 'static;

    /// The runtime that the caller runs in.
    ///
    /// # Errors
    /// Says what is missing where there is none.
    fn current() -> Result<Self, Cause>;

    /// Waits for the next connection; gives it and its peer's address, without delay for small writes (`TCP_NODELAY`).
    ///
    /// Dropping the future loses no connection that would otherwise be given by the next call. An error concerns this one call:
    /// the listener stays usable.
    fn accept(
        &self,
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer, SocketAddr)>> + Send;

    /// Listens. A port that was in use by connections which ended lately must not count as taken. The unspecified IPv6 address serves IPv4
    /// too where the system allows, whatever its default is. [`Bound::listen`] does all that with a socket of the system's.
    fn bind(&self, addr: SocketAddr) -> impl Future<Output = io::Result<Bound<Self::Listener>>> + Send;

    /// Connects, without delay for small writes. Dropping the future gives the attempt up.
    ///
    /// A connection whose two ends are the same socket, which TCP makes where nobody listens on a port that is then chosen as the
    /// local one, is an error of kind `ConnectionRefused`.
    fn connect(&self, addr: SocketAddr) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer)>> + Send;

    /// Runs code on the calling thread such that the runtime's own functions work in it, as [`current`](Self::current) does; also
    /// where the runtime has been shut down. As it stands it is for a runtime whose functions work on every thread.
    fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        code()
    }

    /// Randomness that is fit for keys.
    ///
    /// # Errors
    /// Fails where the system has none to give.
    fn entropy(&self) -> io::Result<[u8; 32]> {
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy)?;
        Ok(entropy)
    }

    /// The time, by the clock that [`sleep_until`](Self::sleep_until) goes by. It never runs backwards; it may be a test's clock.
    fn now(&self) -> Instant;

    /// Reads what is there, at least one byte, or waits for it; 0 is the end of the stream, and `buffer` is never empty.
    ///
    /// Dropping the future loses no byte. What arrived before the connection broke is given before the error.
    fn read(&self, reader: &mut Self::Reader, buffer: &mut [u8]) -> impl Future<Output = io::Result<usize>> + Send;

    /// The addresses of a host, in the order in which to try them, each with `port`. A name that has none is no error; an error says that
    /// the system could not ask, or that its resolver gave no answer. An address, an IPv6 one without brackets, is its own, without asking
    /// a resolver. A dot may end a name, and keeps the resolver from its search domains.
    ///
    /// A lookup may take minutes. It takes no thread of the application's, holds up neither the end of the runtime nor that of `main`, and
    /// goes on after its future is dropped only where it cannot be helped. The driver bounds how many there are. As it stands it asks the
    /// system's resolver on a thread of its own.
    fn resolve(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Vec<SocketAddr>>> + Send {
        resolver::resolve(host, port)
    }

    /// Ends writing, so that the peer reads to the end, and leaves reading open.
    fn shutdown(&self, writer: &mut Self::Writer) -> impl Future<Output = io::Result<()>> + Send;

    /// Sleeps until `deadline` by [`now`](Self::now). Waking early is harmless, waking late delays the detection of failures.
    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send;

    /// Runs a task in the background. Where the runtime is shut down the task is dropped, at once or then; this is no panic.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// Hands bytes to the operating system, at least one, and gives their number, which may be fewer than there are in `data`;
    /// `data` is never empty. No buffer of the adapter's own holds them back.
    ///
    /// Dropping a future that has not completed means that nothing was written. After an error [`read`](Self::read) ends soon.
    fn write(&self, writer: &mut Self::Writer, data: &[u8]) -> impl Future<Output = io::Result<usize>> + Send;
}
