//! What the application is told: statuses, nodes, reasons, events.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{ClusterError, NodeId, NodeInfo, ProcessId, ProcessName, SendError, TimeFormat, WallTime};

/// The status of the local node: whether it takes part in a cluster.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClusterStatus {
    /// It takes part: it listens, and the cluster can be read.
    Running,
    /// `start` was called, and the node does not listen yet.
    Starting,
    /// Neither started nor on its way.
    #[default]
    Stopped,
    /// `stop` was called: peers are being told.
    Stopping,
}

/// The state of the session with another node, as the local node knows it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeStatus {
    /// An authenticated session is up.
    Connected,
    /// Not up yet and not given up: it is being dialled for the first time, or its first session waits to be admitted.
    Connecting,
    /// The session was lost, or the node was never reached.
    Disconnected,
}

/// Why a node went down.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeDownReason {
    /// The connection ended or was reset, or a new session took the place of one that had died.
    ConnectionClosed,
    /// The node was silent, and its address refuses connections: its process is gone.
    ConnectionRefused,
    /// The node said that it leaves.
    GracefulShutdown,
    /// The node was silent for longer than its heartbeats and the local threshold allow.
    HeartbeatTimeout,
}

/// Something that happened in the cluster, or to the local node. `F` says which type wall-clock times have.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClusterEvent<F: TimeFormat = WallTime> {
    /// A fault, by culprit. Never fatal.
    Error(ClusterError),
    /// This subscriber was too slow and `missed` events were dropped. What follows at once brings its picture up to date: the downs and
    /// ups by which the members it was told of differ from those there are.
    Lagged {
        /// How many events were dropped.
        missed: u64,
    },
    /// Two processes of different nodes had the same name, as after a partition, and one has lost it. The loser's node tells so, and the
    /// winner's where it saw both.
    NameConflict {
        /// The name.
        name: ProcessName,
        /// The process that keeps it.
        winner: ProcessId,
        /// The process that has lost it.
        loser: ProcessId,
    },
    /// A node's session ended.
    NodeDown {
        /// Which node.
        id: NodeId,
        /// Why.
        reason: NodeDownReason,
    },
    /// A session with a node is authenticated and admitted by both sides.
    NodeUp(NodeInfo<F>),
    /// The local node's status changed. With `Stopped`, every node that was up counts as gone, without a down.
    StatusChange(ClusterStatus),
}

impl<F: TimeFormat> ClusterEvent<F> {
    /// The error, if this is one.
    #[must_use]
    pub fn into_error(self) -> Option<ClusterError> {
        if let Self::Error(error) = self { Some(error) } else { None }
    }

    /// The node that went down, and why, if one did.
    #[must_use]
    pub fn into_node_down(self) -> Option<(NodeId, NodeDownReason)> {
        if let Self::NodeDown { id, reason } = self { Some((id, reason)) } else { None }
    }

    /// The node that came up, if one did.
    #[must_use]
    pub fn into_node_up(self) -> Option<NodeInfo<F>> {
        if let Self::NodeUp(node) = self { Some(node) } else { None }
    }

    /// The local node's new status, if it changed.
    #[must_use]
    pub fn into_status_change(self) -> Option<ClusterStatus> {
        if let Self::StatusChange(status) = self { Some(status) } else { None }
    }

    /// The same event with another type of wall-clock time.
    #[must_use]
    pub fn into_format<G: TimeFormat>(self) -> ClusterEvent<G> {
        match self {
            Self::Error(error) => ClusterEvent::Error(error),
            Self::Lagged { missed } => ClusterEvent::Lagged { missed },
            Self::NameConflict { name, winner, loser } => ClusterEvent::NameConflict { name, winner, loser },
            Self::NodeDown { id, reason } => ClusterEvent::NodeDown { id, reason },
            Self::NodeUp(node) => ClusterEvent::NodeUp(node.into_format()),
            Self::StatusChange(status) => ClusterEvent::StatusChange(status),
        }
    }
}

/// The result of a broadcast: what became of a message to all nodes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Broadcast {
    /// For how many nodes it was queued.
    pub queued: usize,
    /// For which nodes that are up it was not, and why, in the order of their ids; mostly [`SendError::QueueFull`]. Sent again to these
    /// alone, it comes to nobody twice.
    pub refused: Vec<(NodeId, SendError)>,
}

/// Bytes that another node sent to this one.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Message {
    /// The node whose session they came over.
    pub from: NodeId,
    /// The bytes, as they were given to `send`.
    pub payload: Bytes,
}

impl Message {
    /// A message, such as one for the test of a handler.
    #[must_use]
    pub fn new(from: NodeId, payload: impl Into<Bytes>) -> Self {
        Self { from, payload: payload.into() }
    }
}

/// This subscriber was too slow, and messages were dropped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct MessagesLagged {
    /// How many messages were dropped.
    pub missed: u64,
}

impl fmt::Display for MessagesLagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "subscriber too slow, {} messages dropped", self.missed)
    }
}

impl core::error::Error for MessagesLagged {}

/// Which of the local node's secrets a session was authenticated with.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum SecretUse {
    /// One of the secrets that are accepted beside the primary one, by its place in that list.
    Accepted(usize),
    /// None: neither side has one, and the session proves nothing.
    Open,
    /// The secret that this node proves itself with.
    Primary,
    /// One that has been taken out of use since the session began.
    Retired,
}

impl fmt::Display for ClusterStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Starting => "starting",
            Self::Stopped => "stopped",
            Self::Stopping => "stopping",
        })
    }
}

impl fmt::Display for NodeStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Connected => "connected",
            Self::Connecting => "connecting",
            Self::Disconnected => "disconnected",
        })
    }
}

impl fmt::Display for NodeDownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ConnectionClosed => "connection_closed",
            Self::ConnectionRefused => "connection_refused",
            Self::GracefulShutdown => "graceful_shutdown",
            Self::HeartbeatTimeout => "heartbeat_timeout",
        })
    }
}

impl<F: TimeFormat> fmt::Display for ClusterEvent<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error(error) => write!(f, "error: {error}"),
            Self::Lagged { missed } => write!(f, "lagged: {missed} events missed"),
            Self::NameConflict { name, winner, loser } => {
                write!(f, "name conflict: {winner} keeps {name}, and {loser} has lost it")
            }
            Self::NodeDown { id, reason } => write!(f, "node down: {id} ({reason})"),
            Self::NodeUp(node) => write!(f, "node up: {node}"),
            Self::StatusChange(status) => write!(f, "status: {status}"),
        }
    }
}
