//! Records, messages and payloads.

use bytes::Bytes;

use super::Node;
use crate::mesh::close::CloseReason;
use crate::mesh::cx::{Cx, Local, Wait};
use crate::mesh::event::{MeshEvent, PeerKey, Up};
use crate::mesh::pairing::{Intro, Offer, Stage};
use crate::mesh::send_queue::SendQueue;
use crate::mesh::session::Session;
use crate::time::RunTime;
use crate::wire::message::{Control, kind as message_kind};
use crate::wire::signal::HEAD_MAX;
use crate::{ConnId, NodeId, PeerFault, SecretUse, SendError, WallTime};

impl Node {
    // Getters

    /// Whether the application may queue a payload of this size now.
    pub(crate) fn can_send(&self, local: &Local, to: &NodeId, size: usize) -> Result<(), SendError> {
        local.can_be_sent(size)?;
        let limit = local.settings.limits.send_queue_bytes;
        match self.queue_to(local, to)?.has_room(size, limit) {
            true => Ok(()),
            false => Err(SendError::QueueFull { limit, to: to.clone() }),
        }
    }

    /// Whether the queue to a node has drained so far that senders which found it full go on.
    pub(crate) fn has_room(&self, local: &Local, to: &NodeId) -> Result<bool, SendError> {
        let limits = &local.settings.limits;
        Ok(self.queue_to(local, to)?.has_drained(limits.message_bytes, limits.send_queue_bytes))
    }

    fn queue_to(&self, local: &Local, to: &NodeId) -> Result<&SendQueue, SendError> {
        if *to == local.id {
            return Err(SendError::ToSelf);
        }
        let session = self.session_with(to).ok_or_else(|| SendError::NotConnected { to: to.clone() })?;
        Ok(&session.queue)
    }

    pub(crate) fn secret_use(&self, local: &Local, id: &NodeId) -> Option<SecretUse> {
        let session = self.session_with(id)?;
        Some(local.settings.secrets.use_of(&session.root))
    }

    /// The session in use with this node.
    pub(super) fn session_with(&self, id: &NodeId) -> Option<&Session> {
        self.links.session(self.peers.session(id)?)
    }

    // In

    /// A record came in. Nothing of it is decoded before its tag is verified.
    pub(super) fn record(&mut self, cx: &mut Cx<'_>, conn: ConnId, record: &Bytes, wall: WallTime) {
        let Some(session) = self.links.session_mut(conn) else { return };
        let messages = match session.opener.open(record) {
            Ok(messages) => messages,
            Err(fault) => return self.fault(cx, conn, fault),
        };
        session.watch.heard(cx.run());
        // A record that leads to the question, as an introduction may, is no answer to it.
        let asked = session.probing;
        for message in messages {
            let outcome = message.and_then(|(kind, body)| self.message(cx, conn, record, kind, body, wall));
            if let Err(fault) = outcome {
                return self.fault(cx, conn, fault);
            }
            // Nothing of a record is read behind what ends its session.
            self.perform(cx);
        }
        if asked {
            self.heard_from(cx, conn);
        }
    }

    /// One message of a record, which has its body.
    fn message(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        record: &Bytes,
        kind: u8,
        body: &[u8],
        wall: WallTime,
    ) -> Result<(), PeerFault> {
        // The connection may have ended with an earlier message of the same record.
        let Some(session) = self.links.session(conn) else { return Ok(()) };
        if matches!(session.stage, Stage::Last(_)) {
            return Ok(());
        }
        let (of, more) = (kind & !message_kind::MORE, kind & message_kind::MORE != 0);
        if of == message_kind::PAYLOAD || of == message_kind::SIGNAL && session.takes_signals() {
            return self.piece(cx, conn, record, body, (of, more));
        }
        if matches!(kind, message_kind::NAMES | message_kind::NAMES_ACK) && session.takes_signals() {
            if !session.is_up() {
                return Err(PeerFault::UnexpectedMessage);
            }
            cx.host.tell(MeshEvent::Names { peer: PeerKey(conn), kind, bytes: record.slice_ref(body) });
            return Ok(());
        }
        let Some(control) = Control::decode(kind, body)? else { return Ok(()) };
        match control {
            Control::Offer { n, holds } => self.offered(cx, conn, Offer { count: n, holds }),
            Control::Intro { count, members, process_count, uptime_ms, .. } => {
                self.introduced(cx, conn, Intro { count, members, process_count, uptime_ms }, wall)
            }
            Control::Refused(code) => self.refused(cx, conn, code),
            _ if !session.is_up() => Err(PeerFault::UnexpectedMessage),
            Control::Goodbye => {
                cx.close(conn, CloseReason::Goodbye);
                Ok(())
            }
            Control::Heartbeat { digest, process_count, uptime_ms } => {
                let own = self.peers.digest();
                let Some(peer) = self.peers.get_mut(&session.id) else { return Ok(()) };
                peer.beat(cx.now(), process_count, uptime_ms, wall);
                if digest == own {
                    peer.view.agreed(cx.now());
                } else if self.gossip.differs(cx, &mut peer.view, own, digest) {
                    self.ask(cx, conn, false);
                }
                Ok(())
            }
            Control::Members { digest, last, members } => self.members_told(cx, conn, digest, last, members),
            Control::MembersRequest { digest } => self.members_requested(cx, conn, digest),
            Control::Ping(echo) => self.pinged(cx, conn, echo),
            Control::Pong { leaving, .. } => {
                if leaving && session.probing {
                    cx.close(conn, CloseReason::MakesRoom);
                }
                Ok(())
            }
        }
    }

    fn pinged(&mut self, cx: &mut Cx<'_>, conn: ConnId, echo: u64) -> Result<(), PeerFault> {
        let (limit, leaving) = (cx.local.settings.limits.control_messages, !cx.is_running());
        // One record may ask for more than is queued at a time: what the peer takes is no fault. So this cannot wait for its end.
        let digest = self.peers.digest();
        let Some(session) = self.links.session_mut(conn) else { return Ok(()) };
        if session.queue.has_pongs(limit) {
            session.flush(cx, conn, digest);
        }
        session.push_pong(limit, echo, leaving)?;
        cx.flush(conn);
        Ok(())
    }

    /// A payload or a signal came in, or a piece of one.
    fn piece(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        record: &Bytes,
        body: &[u8],
        (kind, more): (u8, bool),
    ) -> Result<(), PeerFault> {
        let limit = cx.local.settings.limits.message_bytes;
        let Some(session) = self.links.session_mut(conn) else { return Ok(()) };
        let peer = PeerKey(conn);
        if kind == message_kind::SIGNAL {
            if let Some((bytes, since)) = session.piece(record, body, (kind, more), limit + HEAD_MAX, cx.now())? {
                cx.host.tell(MeshEvent::Signal { peer, bytes, since });
            }
        } else if let Some((bytes, _)) = session.piece(record, body, (kind, more), limit, cx.now())? {
            cx.host.counters.messages_received += 1;
            cx.host.tell(MeshEvent::Payload { from: session.id.clone(), bytes });
        }
        Ok(())
    }

    // The layer above

    /// The session that is up with a node.
    pub(crate) fn up(&self, id: &NodeId) -> Option<Up> {
        let peer = self.peers.session(id)?;
        let session = self.links.session(peer)?;
        Some(Up { peer, incarnation: session.incarnation, capable: session.takes_signals() })
    }

    /// The layer above has something to send to a peer.
    pub(crate) fn send_signals(&mut self, cx: &mut Cx<'_>, peer: PeerKey) {
        self.flush(cx, peer.0);
        self.settle(cx);
    }

    /// The layer above waits for a peer until then, or for nothing.
    pub(crate) fn wait_for(&self, local: &mut Local, PeerKey(conn): PeerKey, until: Option<RunTime>) {
        match until.filter(|_| self.links.session(conn).is_some_and(Session::is_up)) {
            Some(until) => local.waits.set(Wait::Above(conn), until),
            None => local.waits.cancel(&Wait::Above(conn)),
        }
    }

    /// A peer broke a rule of the layer above. Nothing is taken that stands behind it in the same record.
    pub(crate) fn blame(&mut self, cx: &mut Cx<'_>, peer: PeerKey, fault: PeerFault) {
        let blamed = self.links.session(peer.0).map(|session| &session.id);
        cx.host.events.retain(|event| match event {
            MeshEvent::Names { peer: of, .. } | MeshEvent::Signal { peer: of, .. } => *of != peer,
            MeshEvent::Payload { from, .. } => Some(from) != blamed,
            _ => true,
        });
        self.fault(cx, peer.0, fault);
        self.settle(cx);
    }

    // Out

    /// The application sends. What [`Node::can_send`] refuses is dropped.
    pub(super) fn send_payload(&mut self, cx: &mut Cx<'_>, to: &NodeId, payload: Bytes) {
        if self.can_send(cx.local, to, payload.len()).is_err() {
            return;
        }
        let Some(conn) = self.peers.session(to) else { return };
        if let Some(session) = self.links.session_mut(conn) {
            session.queue.push_payload(payload);
            cx.host.counters.messages_sent += 1;
            cx.flush(conn);
        }
    }

    /// Bytes left the driver's queue.
    pub(super) fn transmitted(&mut self, cx: &mut Cx<'_>, conn: ConnId, bytes: usize) {
        if self.links.transmitted(conn, bytes) {
            return;
        }
        let digest = self.peers.digest();
        let Some(session) = self.links.session_mut(conn) else { return };
        session.queue.sent(bytes);
        session.flush(cx, conn, digest);
        // The next page of an answer waits for the one before to be released.
        if session.answer.is_some() {
            self.continue_answer(cx, conn);
        }
    }

    /// Queues a control message of the node's own making. So that a peer which takes nothing makes no queue grow, it takes
    /// the place of one of its kind that still waits.
    pub(super) fn send_control(&mut self, cx: &mut Cx<'_>, conn: ConnId, control: Control) {
        if let Some(session) = self.links.session_mut(conn) {
            session.queue.replace_control(control);
            cx.flush(conn);
        }
    }

    /// Queues the last message of a session behind everything else; once it is released, the connection is closed gracefully.
    pub(super) fn send_last(&mut self, cx: &mut Cx<'_>, conn: ConnId, control: Control) {
        if let Some(session) = self.links.session_mut(conn) {
            session.queue.push_last(control);
            cx.flush(conn);
        }
    }

    /// Releases what the credit window allows.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let digest = self.peers.digest();
        if let Some(session) = self.links.session_mut(conn) {
            session.flush(cx, conn, digest);
        }
    }
}
