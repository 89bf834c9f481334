//! What can be asked of a machine at any time.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Active, Machine};
use crate::{
    ClusterNotStartedError, ClusterStatus, ConnId, Counters, Instant, NodeId, NodeInfo, NodeStatus, SecretUse, SendError,
    WallTime,
};

impl Machine {
    /// Whether the node takes part in a cluster.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        self.host.status
    }

    /// The local node's identity.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn local_node_id(&self) -> Result<NodeId, ClusterNotStartedError> {
        self.running().map(|active| active.local.id.clone())
    }

    /// The local node, as of now: `now` and `wall` are the driver's present times.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn local_node_info(&self, now: Instant, wall: WallTime) -> Result<NodeInfo, ClusterNotStartedError> {
        let process_count = self.host.process_count();
        self.running().map(|Active { local, .. }| NodeInfo {
            id: local.id.clone(),
            last_down: None,
            last_heartbeat_at: Some(wall),
            process_count,
            started_at: Some(wall - (now - local.started)),
            status: NodeStatus::Connected,
            uptime: now - local.started,
        })
    }

    /// All other nodes that are known, connected or not, in the order of their ids.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn nodes(&self) -> Result<Vec<NodeInfo>, ClusterNotStartedError> {
        self.running().map(|active| active.node.peers.iter().map(|(id, peer)| peer.info(id)).collect())
    }

    /// The other nodes with which a session is up, in the order of their ids.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn connected_nodes(&self) -> Result<Vec<NodeInfo>, ClusterNotStartedError> {
        self.running().map(|active| active.node.peers.members().map(|(info, _)| info).collect())
    }

    /// The ids of all other nodes that are known, in order.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn node_ids(&self) -> Result<Vec<NodeId>, ClusterNotStartedError> {
        self.running().map(|active| active.node.peers.iter().map(|(id, _)| id.clone()).collect())
    }

    /// One other node, if it is known.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn node(&self, id: &NodeId) -> Result<Option<NodeInfo>, ClusterNotStartedError> {
        self.running().map(|active| active.node.peers.get(id).map(|peer| peer.info(id)))
    }

    /// Whether a session with the node is up.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn is_node_connected(&self, id: &NodeId) -> Result<bool, ClusterNotStartedError> {
        self.running().map(|active| active.node.peers.is_up(id))
    }

    /// The number of other nodes with which a session is up.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn connected_node_count(&self) -> Result<usize, ClusterNotStartedError> {
        self.running().map(|active| active.node.peers.up_count())
    }

    /// How long the node has been running.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn uptime(&self, now: Instant) -> Result<Duration, ClusterNotStartedError> {
        self.running().map(|active| now - active.local.started)
    }

    /// Which of the local secrets the session with the node was authenticated with; `None` while no session is up.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn secret_use(&self, id: &NodeId) -> Result<Option<SecretUse>, ClusterNotStartedError> {
        self.running().map(|active| active.node.secret_use(&active.local, id))
    }

    /// The connection of the session with the node; `None` while no session is up.
    ///
    /// # Errors
    /// While the status is not `Running`.
    pub fn session(&self, id: &NodeId) -> Result<Option<ConnId>, ClusterNotStartedError> {
        self.running().map(|active| active.node.peers.session(id))
    }

    /// Whether the queue to the node has drained to its low-water mark: half of
    /// [`Limits::send_queue_bytes`](crate::Limits::send_queue_bytes) is free, and any message finds room. A driver asks after it has
    /// written, for senders that wait since [`SendError::QueueFull`].
    ///
    /// # Errors
    /// Those of [`send`](Self::send) that say that no session takes messages to the node.
    pub fn has_room(&self, to: &NodeId) -> Result<bool, SendError> {
        let Active { local, node, .. } = self.speaking().map_err(SendError::NotStarted)?;
        node.has_room(local, to)
    }

    /// What the machine has counted since it was made.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.host.counters
    }

    /// The latest moment that an input came at.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.host.now
    }

    /// The number that the next [`Input::Accepted`](crate::Input::Accepted) must carry.
    #[must_use]
    pub fn next_conn(&self) -> ConnId {
        ConnId(self.host.last_conn + 1)
    }
}
