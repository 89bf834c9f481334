//! What the mesh tells the layers above it, in the order in which it came about.

use alloc::boxed::Box;
use core::time::Duration;

use bytes::Bytes;

use crate::id::incarnation::Incarnation;
use crate::{ClusterError, ClusterEvent, ClusterStatus, ConnId, Instant, NodeDownReason, NodeId, NodeInfo};

/// One up-period of one peer: the connection of its session. No number of a connection is used twice, so what comes too
/// late cannot reach a later period.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct PeerKey(pub(crate) ConnId);

/// A session that is up, as a layer above finds it by its node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Up {
    /// Its connection.
    pub(crate) peer: ConnId,
    pub(crate) incarnation: Incarnation,
    /// Whether both ends take signals.
    pub(crate) capable: bool,
}

/// What the mesh tells.
#[derive(Clone, Debug)]
pub(crate) enum MeshEvent {
    /// A node is up. `up` numbers this up-period among all, `session` is what a layer above finds then, and longer silence than `silence` is a failure.
    Up {
        session: Up,
        silence: Duration,
        info: Box<NodeInfo>,
        up: u64,
    },
    /// A node is down, also while this node stops: its subscribers hear nothing of that then. There is none for a session
    /// that a halt, or the deadline of a stop, cut off.
    Down {
        peer: PeerKey,
        id: NodeId,
        reason: NodeDownReason,
    },
    /// A payload came, whole.
    Payload {
        from: NodeId,
        bytes: Bytes,
    },
    /// A signal came, whole. Its first piece arrived at `since`, in real time.
    Signal {
        peer: PeerKey,
        bytes: Bytes,
        since: Instant,
    },
    /// What a node tells of its names, or acknowledges of this one's: the kind of message, and its body.
    Names {
        peer: PeerKey,
        kind: u8,
        bytes: Bytes,
    },
    /// The layer above has waited for the peer for as long as it said.
    WaitedFor {
        peer: PeerKey,
    },
    Status(ClusterStatus),
    Error(Box<ClusterError>),
    /// What the layer above tells the application, in its place among the others.
    Above(Box<ClusterEvent>),
}
