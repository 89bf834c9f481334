//! How full everything is that has a limit.

use super::Machine;
use crate::Limits;
use crate::mesh::node::Node;

/// How much of each of the [`Limits`] is in use, under the same names. Where a limit holds for each peer, address or subscriber, it is the
/// most that any of them has.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Usage {
    /// Calls to one peer that are open, or whose cancel waits to be sent.
    pub calls_per_peer: usize,
    /// Calls of one peer that wait or are being handled.
    pub calls_served_per_peer: usize,
    /// Connections that were ended and whose last bytes are still on their way.
    pub closing_connections: usize,
    /// Connections of any kind: being dialled, strangers, sessions.
    pub connections: usize,
    /// Control messages waiting to be sent to one peer.
    pub control_messages: usize,
    /// Nodes that left and are remembered.
    pub departed_nodes: usize,
    /// Dials under way.
    pub dials_in_flight: usize,
    /// Nodes that were lost, or were never reached, and are kept for a reconnection.
    pub disconnected_nodes: usize,
    /// Events waiting for one subscriber.
    pub events_per_subscriber: usize,
    /// Accepted connections that are not authenticated yet.
    pub half_open: usize,
    /// The same from one address.
    pub half_open_per_address: usize,
    /// Local names of processes.
    pub local_names: usize,
    /// Name lookups under way.
    pub lookups_in_flight: usize,
    /// Bytes of messages in one mailbox, and in the batch that its owner took last, with what a mailbox itself costs.
    pub mailbox_bytes: usize,
    /// Messages in one mailbox, and in the batch that its owner took last.
    pub mailbox_messages: usize,
    /// Bytes of messages in all mailboxes, with what they themselves cost.
    pub mailboxes_bytes: usize,
    /// Nodes with a session that is up.
    pub members: usize,
    /// Bytes of messages waiting for one subscriber, with what the queue itself costs.
    pub message_bytes_per_subscriber: usize,
    /// Monitors of one process, and notices of them that it has not taken.
    pub monitors_per_process: usize,
    /// Names of the cluster that this node's processes have, claim, or wait for, and notices of a loss that they have not taken.
    pub names: usize,
    /// Names of other nodes that are kept.
    pub names_of_others: usize,
    /// Nodes that are known, connected or not.
    pub nodes: usize,
    /// Open processes.
    pub processes: usize,
    /// Bytes of messages waiting to be sent to one peer, with what the queue itself costs.
    pub send_queue_bytes: usize,
    /// Bytes that were handed to the adapter for one peer and have not left it.
    pub send_window_bytes: usize,
    /// Bytes of calls and casts, or of answers, waiting to be sent to one peer, with what the queue itself costs. Each may be
    /// [`Limits::send_queue_bytes`].
    pub signal_bytes: usize,
    /// Names of the cluster whose holders are watched.
    pub watched_names: usize,
}

impl Machine {
    /// The limits in force; `None` while the node neither runs nor stops.
    #[must_use]
    pub const fn limits(&self) -> Option<&Limits> {
        match self.active() {
            Some(active) => Some(&active.local.settings.limits),
            None => None,
        }
    }

    /// How much of each limit is in use. While the node is stopped, only what waits for subscribers is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let (events, bytes) = self.host.subscriptions.fullest();
        let of_processes = Usage {
            events_per_subscriber: events,
            lookups_in_flight: self.host.lookups.under_way(),
            message_bytes_per_subscriber: bytes,
            ..self.processes.usage()
        };
        self.active().map_or(of_processes, |active| active.node.usage(of_processes))
    }
}

impl Node {
    fn usage(&self, rest: Usage) -> Usage {
        let queues = self.links.sessions().map(|(_, session)| session.queue());
        let (control_messages, send_queue_bytes, send_window_bytes) =
            queues.fold((0, 0, 0), |(control, queued, in_flight), queue| {
                (queue.control_len().max(control), queue.queued().max(queued), queue.in_flight().max(in_flight))
            });
        let half_open = self.links.half_open();
        Usage {
            closing_connections: self.links.closing().len(),
            connections: self.links.len(),
            control_messages,
            departed_nodes: self.peers.departed().len(),
            dials_in_flight: self.dialler.slots().in_flight(),
            disconnected_nodes: self.peers.disconnected(),
            half_open: half_open.count(),
            half_open_per_address: half_open.origins().map(alloc::collections::BTreeSet::len).max().unwrap_or(0),
            members: self.peers.up_count(),
            nodes: self.peers.len(),
            send_queue_bytes,
            send_window_bytes,
            ..rest
        }
    }
}
