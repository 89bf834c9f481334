//! The tokio runtime of noex, on a network that loses and delays.
//!
//! TCP repeats what is lost, so loss shows as delay: what arrives at an idle connection is late by Linux's least retransmission timeout if it was
//! lost, and by more if it was lost again. What arrives meanwhile waits behind it. So each read counts as one segment, and nothing is
//! repeated earlier, as TCP does where further segments tell it of the loss.

use std::io;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use noex_driver::{Bound, Cause, Runtime};
use noex_tokio::Tokio;
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::network::Network;

/// Linux's least retransmission timeout, and that before the first measurement of a round trip.
const TIMEOUT: Duration = Duration::from_millis(200);
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);

/// The network of this process, as [`Runtime::current`] takes no argument.
pub(crate) static NETWORK: OnceLock<Network> = OnceLock::new();

#[derive(Clone, Debug)]
pub(crate) struct Impaired {
    network: Network,
    rt: Tokio,
}

pub(crate) struct Reader {
    /// When what has arrived may be read, if that is late.
    due: Option<Instant>,
    half: OwnedReadHalf,
}

impl Runtime for Impaired {
    type Listener = TcpListener;
    type Reader = Reader;
    type Writer = OwnedWriteHalf;

    fn current() -> Result<Self, Cause> {
        let network = *NETWORK.get().ok_or("no network")?;
        Ok(Self { network, rt: Tokio::current()? })
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(Reader, OwnedWriteHalf, SocketAddr)> {
        let (half, writer, remote) = self.rt.accept(listener).await?;
        Ok((Reader { due: None, half }, writer, remote))
    }

    async fn bind(&self, addr: SocketAddr) -> io::Result<Bound<TcpListener>> {
        self.rt.bind(addr).await
    }

    /// A packet each way has to arrive.
    async fn connect(&self, addr: SocketAddr) -> io::Result<(Reader, OwnedWriteHalf)> {
        let delay = self.network.delay() + self.network.delay() + self.network.retransmission(2, FIRST_TIMEOUT);
        if !delay.is_zero() {
            self.sleep_until(self.now() + delay).await;
        }
        let (half, writer) = self.rt.connect(addr).await?;
        Ok((Reader { due: None, half }, writer))
    }

    fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        self.rt.enter(code)
    }

    fn now(&self) -> Instant {
        self.rt.now()
    }

    async fn read(&self, reader: &mut Reader, buffer: &mut [u8]) -> io::Result<usize> {
        if reader.due.is_none() {
            reader.half.peek(&mut [0]).await?;
            let delay = self.network.delay() + self.network.retransmission(1, TIMEOUT);
            reader.due = (!delay.is_zero()).then(|| self.now() + delay);
        }
        // Kept until the read, as this future may be dropped and asked for anew.
        if let Some(due) = reader.due {
            self.sleep_until(due).await;
        }
        let length = self.rt.read(&mut reader.half, buffer).await?;
        reader.due = None;
        Ok(length)
    }

    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        self.rt.resolve(host, port).await
    }

    async fn shutdown(&self, writer: &mut OwnedWriteHalf) -> io::Result<()> {
        self.rt.shutdown(writer).await
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        self.rt.sleep_until(deadline)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.rt.spawn(task);
    }

    async fn write(&self, writer: &mut OwnedWriteHalf, data: &[u8]) -> io::Result<usize> {
        self.rt.write(writer, data).await
    }
}
