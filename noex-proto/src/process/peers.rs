//! The nodes with which a session is up, and this node itself: what is open with each.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use bytes::Bytes;

use super::deadlines::Ticket;
use super::id::{ExitReason, ProtocolHash};
use super::line::Place;
use super::outbox::Outbox;
use super::slots::Slots;
use crate::id::incarnation::Incarnation;
use crate::wire::signal::{Failure, To};
use crate::{ConnId, Instant, NodeId};

/// This node itself, as a peer: no connection has this number.
pub(super) const LOCAL: ConnId = ConnId(0);

/// The peers. A row lasts as long as its session.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    rows: BTreeMap<ConnId, Box<Peer>>,
    by_id: BTreeMap<NodeId, ConnId>,
}

/// A peer, and what is open with it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) id: NodeId,
    pub(super) incarnation: Incarnation,
    /// Whether both ends speak signals.
    pub(super) capable: bool,
    /// Calls of this node.
    pub(super) calls: Slots<Call>,
    /// Calls of the peer, by the place of their number.
    pub(super) requests: BTreeMap<u16, Request>,
    /// Monitors of this node.
    pub(super) monitors: Slots<Monitor>,
    /// Monitors of the peer, by the place of their number.
    pub(super) watched: BTreeMap<u16, Watched>,
    pub(super) outbox: Outbox,
}

/// A call of this node. Its outcome was not told yet, unless its cancel waits.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) deadline: Instant,
    pub(super) state: CallState,
}

#[derive(Clone, Debug)]
pub(super) enum CallState {
    /// It waits to be sent.
    Queued(Box<QueuedCall>),
    /// A piece of it has left.
    Sent(Ticket),
    /// Its outcome is decided, and its cancel waits to be sent.
    Cancelled,
}

#[derive(Clone, Debug)]
pub(super) struct QueuedCall {
    pub(super) to: To,
    pub(super) protocol: ProtocolHash,
    pub(super) body: Bytes,
    pub(super) place: Place,
    pub(super) ticket: Ticket,
}

/// A call of a peer.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) number: u64,
    pub(super) process: u64,
    pub(super) state: RequestState,
}

#[derive(Clone, Debug)]
pub(super) enum RequestState {
    /// It waits in the mailbox.
    Waiting { body: Bytes, deadline: Instant, place: Place, ticket: Ticket },
    /// The process has it. `refused`: its answer waits for room.
    Taken { refused: Option<Place>, ticket: Ticket },
    /// Its answer waits to be sent.
    Answered { body: Bytes, place: Place },
    /// Its failure waits to be sent.
    Failed { failure: Box<Failure>, place: Place },
}

/// A monitor of this node.
#[derive(Clone, Debug)]
pub(super) struct Monitor {
    /// The process that hears of it; none where a task does.
    pub(super) watcher: Option<u64>,
    pub(super) state: MonitorState,
}

#[derive(Clone, Debug)]
pub(super) enum MonitorState {
    /// It waits to be sent.
    Queued {
        place: Place,
        to: Box<To>,
    },
    Sent,
    /// It was removed, which waits to be sent.
    Removed(Place),
}

/// A monitor of a peer.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) number: u64,
    pub(super) state: WatchedState,
}

#[derive(Clone, Debug)]
pub(super) enum WatchedState {
    /// The process lives.
    Alive(u64),
    /// It has ended, which waits to be sent.
    Ended { place: Place, reason: ExitReason },
}

impl Peer {
    fn new(id: NodeId, incarnation: Incarnation, capable: bool) -> Self {
        Self {
            id,
            incarnation,
            capable,
            calls: Slots::default(),
            requests: BTreeMap::new(),
            monitors: Slots::default(),
            watched: BTreeMap::new(),
            outbox: Outbox::default(),
        }
    }
}

impl Peers {
    pub(super) fn get(&self, peer: ConnId) -> Option<&Peer> {
        self.rows.get(&peer).map(|row| &**row)
    }

    pub(super) fn get_mut(&mut self, peer: ConnId) -> Option<&mut Peer> {
        self.rows.get_mut(&peer).map(|row| &mut **row)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Peer)> {
        self.rows.iter().map(|(peer, row)| (*peer, &**row))
    }

    /// The present session with a node, or this node itself.
    pub(super) fn by_id(&self, id: &NodeId) -> Option<ConnId> {
        self.by_id.get(id).copied()
    }

    pub(super) fn up(&mut self, peer: ConnId, id: NodeId, incarnation: Incarnation, capable: bool) {
        self.by_id.insert(id.clone(), peer);
        self.rows.insert(peer, Box::new(Peer::new(id, incarnation, capable)));
    }

    /// Takes a peer out: nothing finds its row any more.
    pub(super) fn down(&mut self, peer: ConnId) -> Option<Box<Peer>> {
        let row = self.rows.remove(&peer)?;
        self.by_id.remove(&row.id);
        Some(row)
    }

    /// A run begins, of a node with this identity. What it numbers itself goes on from the run before.
    pub(super) fn begin(&mut self, id: NodeId, incarnation: Incarnation) {
        let mut own = self.down(LOCAL).unwrap_or_else(|| Box::new(Peer::new(id.clone(), incarnation, true)));
        (own.id, own.incarnation) = (id.clone(), incarnation);
        self.by_id.insert(id, LOCAL);
        self.rows.insert(LOCAL, own);
    }

    /// Keeps the row of this node itself for the next run.
    pub(super) fn keep(&mut self, own: Box<Peer>) {
        self.rows.insert(LOCAL, own);
    }

    /// The keys of all rows.
    pub(super) fn keys(&self) -> alloc::vec::Vec<ConnId> {
        self.rows.keys().copied().collect()
    }
}
