//! The counts that the machine goes by, for a judge who counts the same by other means.

use super::Machine;
use crate::{ConnId, Instant, NodeId};

/// The machine's own counts, each as it is kept: nothing is derived from a table here. All are 0 while the node is stopped, but for lookups,
/// which cannot be taken back.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Books {
    /// Connections that were ended gracefully and not confirmed as closed.
    pub closing: usize,
    /// Connections that were not ended.
    pub connections: usize,
    /// Dials that take one of the places for them, from their start until their session is up or they have failed.
    pub dials: usize,
    /// Accepted connections that are not authenticated.
    pub half_open: usize,
    /// Name lookups under way.
    pub lookups: usize,
    /// Authenticated connections that were not ended.
    pub sessions: usize,
}

/// What is open between a machine's processes and those of its peers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OpenWith {
    /// Calls of this node whose outcome was not told.
    pub calls: usize,
    /// Calls of this node that are over, and of which the peer is still to hear.
    pub cancelled: usize,
    /// Calls of peers that a process was handed and has not answered.
    pub handed: usize,
    /// Monitors of this node that have not fired and were not removed.
    pub monitors: usize,
    /// Signals that wait to be sent.
    pub owed: usize,
    /// Calls of peers that wait, or that a process was handed and has not answered.
    pub requests: usize,
    /// Monitors of peers, until it was sent that they have fired.
    pub watched: usize,
}

impl Machine {
    /// What is open with a node that is up or with this one, or with all.
    #[must_use]
    pub fn open_with(&self, node: Option<&NodeId>) -> OpenWith {
        let Some(node) = node else { return self.processes.open_with(None) };
        let session = self.active().and_then(|active| active.node.peers.session(node));
        self.processes.open_with(session.or(Some(crate::process::LOCAL)))
    }

    /// How many processes are open.
    #[must_use]
    pub fn process_count(&self) -> usize {
        self.processes.len()
    }

    /// The machine's own counts.
    #[must_use]
    pub fn books(&self) -> Books {
        let lookups = self.host.lookups.under_way();
        let Some(active) = self.active() else { return Books { lookups, ..Books::default() } };
        Books {
            closing: active.node.links.closing().len(),
            connections: active.node.links.len(),
            dials: active.node.dialler.slots().in_flight(),
            half_open: active.node.links.half_open().count(),
            lookups,
            sessions: active.node.links.session_count(),
        }
    }

    /// Whom the node asks for members, and since when, as long as no answer has come.
    #[must_use]
    pub fn question(&self) -> Option<(NodeId, Instant)> {
        self.active()?.node.gossip.asked().map(|asked| (asked.id.clone(), asked.since))
    }

    /// How many bytes of a connection were handed over and, by the machine's count, not reported as sent. `None` for one that it has ended,
    /// or never had.
    #[must_use]
    pub fn bytes_in_flight(&self, conn: ConnId) -> Option<usize> {
        let link = self.active()?.node.links.get(conn)?;
        Some(link.session().map_or(link.in_flight, |session| session.queue().in_flight()))
    }
}
