//! Peer-to-peer clusters of processes, on tokio.
//!
//! Nodes find each other through seeds and gossip, keep one session with each other, detect failures, reconnect by themselves, and
//! tell the application who came, who went, and why; they carry its messages, and processes on them call each other.
//!
//! ```no_run
//! use noex_tokio::{Cluster, ClusterConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = Cluster::new();
//! cluster.on_node_up(|node| println!("{} up", node.id));
//! cluster.on_node_down(|id, reason| println!("{id} down: {reason}"));
//! cluster.on_error(|error| eprintln!("{error}"));
//! cluster.on_message(|message| println!("{}: {} bytes", message.from, message.payload.len()));
//! cluster.start(ClusterConfig::new("app1").port(4369).seeds(["app2@192.168.1.2:4369"])).await?;
//!
//! cluster.wait_for_nodes(1, std::time::Duration::from_secs(10)).await?;
//! cluster.broadcast("hello")?;
//! cluster.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! A process is whoever owns a [`Mailbox`], from [`Cluster::open`]; any node can call it by its [`Address`], with typed
//! requests and answers ([`Protocol`]), and watch it. A [`CallError`] says whether the request may have been handled. A process that claims a
//! name ([`Mailbox::claim`]) is found by it on every node ([`Cluster::whereis`]); another one can stand by for it.
//!
//! With a secret ([`ClusterConfig::cluster_secret`]) nodes prove to each other that they know it, and every record carries a tag that shows
//! where it comes from. Nothing is encrypted: where the network must not read what nodes say, run noex inside a tunnel.
//!
//! The feature `tracing` turns logs on: errors that need somebody as warnings, those that pass by themselves
//! ([`ClusterError::is_transient`]) and what happens to nodes at info, bytes at trace.
//!
//! The runtime needs its I/O and time drivers (`enable_all`). Multi-threaded, current-thread and paused-clock runtimes all do.
//! A paused clock does not wait for name lookups, which are on threads of their own, and counts them as overdue at once: where a test
//! pauses it, let [`ClusterConfig::host`] and seeds be addresses.
#![cfg_attr(docsrs, feature(doc_cfg))]

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Instant;

use noex_driver::{Bound, Runtime};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time;

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

/// A node of a cluster, on tokio: this process, as the others see it, and the others, as it sees them.
///
#[doc = noex_driver::cluster_doc!()]
pub type Cluster = noex_driver::Cluster<Tokio>;

/// A handle that does not keep the node running, for handlers.
pub type WeakCluster = noex_driver::WeakCluster<Tokio>;

/// A tokio runtime.
#[derive(Clone, Debug)]
pub struct Tokio(Handle);

impl Tokio {
    /// Polls a future inside the runtime, on whatever thread that is: to open a socket there is a panic elsewhere.
    async fn inside<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        poll_fn(|cx| self.enter(|| future.as_mut().poll(cx))).await
    }
}

impl Runtime for Tokio {
    type Listener = TcpListener;
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    fn current() -> Result<Self, Cause> {
        Handle::try_current().map(Self).map_err(Cause::new)
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(OwnedReadHalf, OwnedWriteHalf, SocketAddr)> {
        let (stream, remote) = self.inside(listener.accept()).await?;
        // Fails where the peer is gone already, which is no fault of the listener.
        let _gone = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Ok((reader, writer, remote))
    }

    async fn bind(&self, addr: SocketAddr) -> io::Result<Bound<TcpListener>> {
        self.enter(|| Bound::listen(addr)?.try_map(TcpListener::from_std))
    }

    async fn connect(&self, addr: SocketAddr) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
        let stream = self.inside(TcpStream::connect(addr)).await?;
        if stream.local_addr()? == addr {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_nodelay(true)?;
        Ok(stream.into_split())
    }

    fn enter<T>(&self, code: impl FnOnce() -> T) -> T {
        let _inside = self.0.enter();
        code()
    }

    fn now(&self) -> Instant {
        // Entered, since a paused clock is known only inside its runtime.
        self.enter(|| time::Instant::now().into_std())
    }

    async fn read(&self, reader: &mut OwnedReadHalf, buffer: &mut [u8]) -> io::Result<usize> {
        reader.read(buffer).await
    }

    async fn shutdown(&self, writer: &mut OwnedWriteHalf) -> io::Result<()> {
        writer.shutdown().await
    }

    fn sleep_until(&self, deadline: Instant) -> impl Future<Output = ()> + Send {
        self.enter(|| time::sleep_until(deadline.into()))
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(task);
    }

    async fn write(&self, writer: &mut OwnedWriteHalf, data: &[u8]) -> io::Result<usize> {
        writer.write(data).await
    }
}
