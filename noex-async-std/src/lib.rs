//! Peer-to-peer clusters of processes, on async-std.
//!
//! Nodes find each other through seeds and gossip, keep one session with each other, detect failures, reconnect, and
//! tell the application who came, who went, and why; they carry its messages, and processes on them call each other.
//!
//! ```no_run
//! use noex_async_std::{Cluster, ClusterConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # async_std::task::block_on(async {
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
//! # })
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
//! async-std is one runtime for the whole process, which begins by itself: a node can be started anywhere, and runs on.
//!
//! async-std is discontinued, which tools such as `cargo deny` report as RUSTSEC-2025-0052. This crate is for programs that have it in
//! place; its README says what that means and where to go from here.
#![cfg_attr(docsrs, feature(doc_cfg))]

use std::io;
use std::net::{Shutdown, SocketAddr};
use std::time::Instant;

use async_std::io::{ReadExt, WriteExt};
use async_std::net::{TcpListener, TcpStream};
use async_std::task;
use noex_driver::Bound;

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

/// A node of a cluster, on async-std: this process, as the others see it, and the others, as it sees them.
///
#[doc = noex_driver::cluster_doc!()]
pub type Cluster = noex_driver::Cluster<AsyncStd>;

/// A handle that does not keep the node running, for handlers.
pub type WeakCluster = noex_driver::WeakCluster<AsyncStd>;

/// The async-std runtime, of which a process has one.
#[derive(Clone, Debug)]
pub struct AsyncStd(());

impl noex_driver::Runtime for AsyncStd {
    type Listener = TcpListener;
    type Reader = TcpStream;
    type Writer = TcpStream;

    fn current() -> Result<Self, Cause> {
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
        Bound::listen(addr)?.try_map(|listener| Ok(listener.into()))
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
        task::sleep(deadline.saturating_duration_since(Instant::now())).await;
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        // Without its handle it runs on by itself.
        drop(task::spawn(task));
    }

    async fn write(&self, writer: &mut TcpStream, data: &[u8]) -> io::Result<usize> {
        writer.write(data).await
    }
}
