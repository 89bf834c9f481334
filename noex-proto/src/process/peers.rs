//! What is open with each node with which a session is up, and within this node itself.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use bytes::Bytes;

use super::deadlines::Ticket;
use super::id::{ExitReason, ProtocolHash};
use super::line::Place;
use super::outbox::Outbox;
use super::slots::Slots;
use crate::wire::signal::{Failure, To};
use crate::{ConnId, Instant};

/// This node itself, as a peer: no connection has this number.
pub(crate) const LOCAL: ConnId = ConnId(0);

/// The peers, by the connection of their session, which is never used again. A row is made when something is asked of its peer or by it,
/// and lasts as long as the session.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    rows: BTreeMap<ConnId, Box<Peer>>,
}

/// What is open with a peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
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

impl Call {
    /// Whether its outcome was not told yet.
    #[cfg(any(debug_assertions, feature = "testing"))]
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self.state, CallState::Cancelled)
    }
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

impl RequestState {
    /// Whether it waits, or a process has it.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self, Self::Taken { .. } | Self::Waiting { .. })
    }
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

#[cfg(feature = "testing")]
impl MonitorState {
    /// Whether it has not fired, and was not removed.
    pub(super) const fn is_open(&self) -> bool {
        !matches!(self, Self::Removed(_))
    }
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

    /// The row of a peer with which a session is up, or of this node itself.
    pub(super) fn meet(&mut self, peer: ConnId) -> &mut Peer {
        self.rows.entry(peer).or_default()
    }

    /// Takes a peer out: nothing finds its row any more.
    pub(super) fn down(&mut self, peer: ConnId) -> Option<Box<Peer>> {
        self.rows.remove(&peer)
    }

    /// Puts a row back.
    pub(super) fn keep(&mut self, peer: ConnId, row: Box<Peer>) {
        self.rows.insert(peer, row);
    }

    /// The keys of all rows.
    pub(super) fn keys(&self) -> alloc::vec::Vec<ConnId> {
        self.rows.keys().copied().collect()
    }
}
