//! Peer-to-peer clusters of processes, on smol.

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Instant;

use noex_driver::Bound;
use smol::Timer;
use smol::io::{AsyncReadExt, AsyncWriteExt};
use smol::net::{TcpListener, TcpStream};

#[doc(inline)]
pub use noex_driver::{
    Address, Broadcast, Bytes, Call, CallError, CastError, Cause, Claim, ClaimError, ClusterConfig, ClusterError, ClusterEvent,
    ClusterNotStartedError, ClusterStatus, Contact, Counters, DeliverError, Destination, DialError, Ending, EventStream,
    ExitReason, FromEnv, FromEnvError, HolderStream, IntoSecret, InvalidClusterConfigError, InvalidContactError,
    InvalidNodeIdError, InvalidProcessNameError, Item, LastDown, Limits, LocalFault, Mailbox, Message, MessageStream,
    MessagesLagged, Monitor, MonitorError, MonitorId, NodeDownReason, NodeId, NodeIdFault, NodeInfo, NodeStatus, OpenError,
    PeerFault, ProcessId, ProcessName, Protocol, Readiness, ReadinessReason, Refusal, RegisterError, Reply, Secret, SecretUse,
    SendError, SetSecretsError, SetSeedsError, StartError, Subscription, Unreached, WaitError, WatchNameError, WhereisError,
    bounds, defaults, mark, run,
};

/// A node of a cluster, on smol: this process, as the others see it, and the others, as it sees them.
///
#[doc = noex_driver::cluster_doc!()]
pub type Cluster = noex_driver::Cluster<Smol>;

/// A handle that does not keep the node running, for handlers.
pub type WeakCluster = noex_driver::WeakCluster<Smol>;

/// The smol runtime: the executor and the reactor that a process has one of.
#[derive(Clone, Debug)]
pub struct Smol(());

impl noex_driver::Runtime for Smol {
    type Listener = TcpListener;
    type Reader = TcpStream;
    type Writer = TcpStream;

    fn current() -> Result<Self, Cause> {
        // It begins by itself at the first use, so it is always there.
        Ok(Self(()))
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, TcpStream, SocketAddr)> {
        let (stream, remote) = listener.accept().await?;
        // Fails where the peer is gone already, which is no fault of the listener.
        let _gone = stream.set_nodelay(true);
        // Two handles to one socket, which is closed with the second of them.
        Ok((stream.clone(), stream, remote))
    }

    async fn bind(&self, addr: SocketAddr) -> io::Result<Bound<TcpListener>> {
        Bound::listen(addr)?.try_map(TcpListener::try_from)
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<(TcpStream, TcpStream)> {
        let stream = TcpStream::connect(addr).await?;
        if stream.local_addr()? == addr {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        Ok((stream.clone(), stream))
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    async fn read(&self, reader: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        reader.read(buffer).await
    }

    async fn shutdown(&self, writer: &mut TcpStream) -> io::Result<()> {
        writer.shutdown(Shutdown::Write)
    }

    async fn sleep_until(&self, deadline: Instant) {
        Timer::at(deadline).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        smol::spawn(task).detach();
    }

    async fn write(&self, writer: &mut TcpStream, data: &[u8]) -> io::Result<usize> {
        writer.write(data).await
    }
}
