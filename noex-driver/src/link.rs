//! What runs between the machine and the task of a connection: orders to write and to close.

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use event_listener::Event;
use noex_proto::{Close, ConnId, NodeId};

/// The machine's end of a connection that it has not closed. To send fails where the task is gone with its runtime.
pub(crate) struct Link {
    pub(crate) close: Sender<Close>,
    /// What to write; the machine bounds how much by the credit that it has. Dropped, it ends the stream once that is written.
    pub(crate) data: Sender<Bytes>,
    /// Whom senders wait for, and what is notified when they may go on: there is room, or the session or the run is over.
    pub(crate) room: Option<(NodeId, Event)>,
}

/// The task's end of a connection.
pub(crate) struct Orders {
    pub(crate) close: Receiver<Close>,
    pub(crate) conn: ConnId,
    pub(crate) data: Receiver<Bytes>,
}

impl Link {
    /// Both ends for a new connection.
    pub(crate) fn new(conn: ConnId) -> (Self, Orders) {
        let (close, closed) = async_channel::bounded(1);
        let (data, queued) = async_channel::unbounded();
        (Self { close, data, room: None }, Orders { close: closed, conn, data: queued })
    }
}
