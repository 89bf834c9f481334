//! Authenticated sessions: records in, records out, payloads, credit.

use alloc::boxed::Box;
use core::time::Duration;

use bytes::Bytes;

use super::connection::GRACEFUL;
use super::cx::{Cx, Local};
use super::node::{Ended, Intro, Node, Phase, Reach, Session, Stage, Wait};
use crate::handshake::Keyed;
use crate::message::{Control, kind as message_kind};
use crate::millis;
use crate::send_queue::SendQueue;
use crate::time::{Moment, RunTime};
use crate::{Action, ClusterStatus, ConnId, Instant, Message, NodeDownReason, NodeId, PeerFault, SecretUse, SendError, WallTime};

impl Node {
    // Getters

    /// Whether the application may queue a payload of this size now.
    pub(super) fn can_send(&self, local: &Local, to: &NodeId, size: usize) -> Result<(), SendError> {
        local.can_be_sent(size)?;
        if *to == local.id {
            return Err(SendError::ToSelf);
        }
        let limits = &local.settings.limits;
        let session = self.session_with(to).ok_or_else(|| SendError::NotConnected { to: to.clone() })?;
        if !session.queue.has_room(size, limits.send_queue_bytes) {
            return Err(SendError::QueueFull { limit: limits.send_queue_bytes, to: to.clone() });
        }
        Ok(())
    }

    pub(super) fn secret_use(&self, local: &Local, id: &NodeId) -> Option<SecretUse> {
        let session = self.session_with(id)?;
        Some(local.settings.secrets.use_of(&session.root))
    }

    /// The session in use with this node.
    pub(super) fn session_with(&self, id: &NodeId) -> Option<&Session> {
        self.conn_session(self.peers.get(id)?.session?)
    }

    // Inputs

    /// The handshake is complete: the connection becomes a session, which still has to be admitted.
    pub(super) fn authenticated(&mut self, cx: &mut Cx<'_>, conn: ConnId, keyed: Keyed) {
        let Some(state) = self.conns.get(&conn) else { return };
        let round_trip = cx.now() - state.asked;
        let (remote, in_flight) = (state.remote, state.in_flight);
        cx.local.waits.cancel(&Wait::Handshake(conn));
        self.leave_half_open(conn, remote);
        cx.host.counters.handshakes += 1;
        let session = Session {
            id: keyed.id,
            instance: keyed.instance,
            interval_ms: keyed.interval_ms,
            root: keyed.root,
            sealer: keyed.sealer,
            opener: keyed.opener,
            stage: Stage::AwaitOffer,
            heard: cx.run(),
            round_trip_ms: u32::try_from(round_trip.as_millis()).unwrap_or(u32::MAX),
            queue: SendQueue::after(in_flight),
            assembler: Default::default(),
            answer: None,
            reach: Reach::Open,
            reach_at: None,
            heartbeat_at: Instant::NEVER,
            look_at: RunTime::NEVER,
            probing: false,
        };
        self.session_count += 1;
        if let Some(state) = self.conns.get_mut(&conn) {
            state.phase = Phase::Session(Box::new(session));
        }
        self.admit(cx, conn);
    }

    /// A record came in. Nothing of it is decoded before its tag is verified.
    pub(super) fn record(&mut self, cx: &mut Cx<'_>, conn: ConnId, frame: &Bytes, wall: WallTime) {
        let run = cx.run();
        let Some(session) = self.conn_session_mut(conn) else { return };
        let messages = match session.opener.open(frame) {
            Ok(messages) => messages,
            Err(fault) => return self.fault(cx, conn, fault),
        };
        session.heard = run;
        session.reach = Reach::Open;
        // A record that leads to the question, as an introduction may, is no answer to it.
        let asked = session.probing;
        for message in messages {
            let outcome = message.and_then(|(kind, body)| self.message(cx, conn, frame, kind, body, wall));
            if let Err(fault) = outcome {
                return self.fault(cx, conn, fault);
            }
        }
        if asked {
            self.heard_from(cx, conn);
        }
        self.flush(cx, conn);
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
        let Some(session) = self.conn_session(conn) else { return Ok(()) };
        if matches!(session.stage, Stage::Last(_)) {
            return Ok(());
        }
        if kind & !message_kind::MORE == message_kind::PAYLOAD {
            return self.payload(cx, conn, record, body, kind & message_kind::MORE != 0);
        }
        let Some(control) = Control::decode(kind, body)? else { return Ok(()) };
        match control {
            Control::Offer { n, holds } => self.offered(cx, conn, n, holds),
            Control::Intro { count, members, process_count, uptime_ms, .. } => {
                self.introduced(cx, conn, Intro { count, members, process_count, uptime_ms }, wall)
            }
            Control::Refused(code) => self.refused(cx, conn, code),
            _ if !session.is_up() => Err(PeerFault::UnexpectedMessage),
            Control::Goodbye => {
                self.end_conn_as(cx, conn, Some(GRACEFUL), Ended::Harmless, NodeDownReason::GracefulShutdown);
                Ok(())
            }
            Control::Heartbeat { digest, process_count, uptime_ms } => {
                self.heartbeat(cx, conn, digest, process_count, uptime_ms, wall)
            }
            Control::Members { digest, last, members } => self.members_told(cx, conn, digest, last, members),
            Control::MembersRequest { digest } => self.members_requested(cx, conn, digest),
            Control::Ping(echo) => {
                let leaving = cx.host.status != ClusterStatus::Running;
                self.push_pong(cx, conn, echo, leaving)
            }
            Control::Pong { leaving, .. } => {
                if leaving && session.probing {
                    self.said_leaving(cx, conn);
                }
                Ok(())
            }
        }
    }

    fn payload(&mut self, cx: &mut Cx<'_>, conn: ConnId, record: &Bytes, body: &[u8], more: bool) -> Result<(), PeerFault> {
        let limit = cx.local.settings.limits.message_bytes;
        let Some(session) = self.conn_session_mut(conn) else { return Ok(()) };
        if !session.is_up() {
            return Err(PeerFault::UnexpectedMessage);
        }
        if let Some(payload) = session.assembler.push(record, body, more, limit)? {
            let message = Message { from: session.id.clone(), payload };
            cx.host.counters.messages_received += 1;
            cx.host.subscriptions.push_message(&message, cx.local.settings.limits.message_bytes_per_subscriber);
            if cx.host.actions.back() != Some(&Action::Message) {
                cx.host.actions.push_back(Action::Message);
            }
        }
        Ok(())
    }

    /// The application sends. What [`Node::can_send`] refuses is dropped.
    pub(super) fn send_payload(&mut self, cx: &mut Cx<'_>, to: &NodeId, payload: Bytes) {
        if cx.host.status != ClusterStatus::Running || self.can_send(cx.local, to, payload.len()).is_err() {
            return;
        }
        let Some(conn) = self.peers.get(to).and_then(|peer| peer.session) else { return };
        if let Some(session) = self.conn_session_mut(conn) {
            session.queue.push_payload(payload);
            cx.host.counters.messages_sent += 1;
            self.flush(cx, conn);
        }
    }

    /// Bytes left the adapter's queue.
    pub(super) fn sent(&mut self, cx: &mut Cx<'_>, conn: ConnId, bytes: usize) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let Some(session) = state.session_mut() else {
            state.in_flight = state.in_flight.saturating_sub(bytes);
            return;
        };
        session.queue.sent(bytes);
        let answers = session.answer.is_some();
        self.flush(cx, conn);
        if answers {
            self.continue_answer(cx, conn);
        }
    }

    // Outputs

    /// Queues an answer to PING. A peer that makes this node queue more than it reads breaks a rule.
    fn push_pong(&mut self, cx: &mut Cx<'_>, conn: ConnId, echo: u64, leaving: bool) -> Result<(), PeerFault> {
        let limit = cx.local.settings.limits.control_messages;
        let is_full = |session: &mut Session| session.queue.has_pongs(limit);
        // One record may ask for more than is queued at a time: what the peer takes is no fault.
        if self.conn_session_mut(conn).is_some_and(is_full) {
            self.flush(cx, conn);
        }
        let Some(session) = self.conn_session_mut(conn) else { return Ok(()) };
        if is_full(session) {
            return Err(PeerFault::ControlFlood);
        }
        session.queue.push_control(Control::Pong { echo, leaving });
        Ok(())
    }

    /// Queues a control message of the node's own making, and releases it. So that a peer which takes nothing makes no queue grow, it takes
    /// the place of one of its kind that still waits.
    pub(super) fn send_control(&mut self, cx: &mut Cx<'_>, conn: ConnId, control: Control) {
        if let Some(session) = self.conn_session_mut(conn) {
            session.queue.replace_control(control);
            self.flush(cx, conn);
        }
    }

    /// Queues the last message of a session behind everything else; once it is released, the connection is closed gracefully.
    pub(super) fn send_last(&mut self, cx: &mut Cx<'_>, conn: ConnId, control: Control) {
        if let Some(session) = self.conn_session_mut(conn) {
            session.queue.push_last(control);
            self.flush(cx, conn);
        }
    }

    /// Releases what the credit window allows.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let window = cx.local.settings.limits.send_window_bytes;
        let Some(session) = self.conns.get_mut(&conn).and_then(|conn| conn.session_mut()) else { return };
        if session.queue.is_finished() {
            return;
        }
        let heartbeat = Control::Heartbeat {
            digest: self.digest,
            process_count: cx.host.process_count,
            uptime_ms: millis::count(cx.now() - cx.local.started),
        };
        let mut finished = false;
        while let Some((record, last)) = session.queue.next_record(window, &heartbeat) {
            let data = session.sealer.seal(record);
            session.queue.released(data.len());
            cx.host.actions.push_back(Action::Transmit { conn, data });
            finished |= last;
        }
        if finished {
            let ended = match &session.stage {
                Stage::Last(ended) => *ended,
                _ => Ended::Harmless,
            };
            self.end_conn(cx, conn, Some(GRACEFUL), ended);
        }
    }
}

/// How long a probe of a session may take: four round trips, within bounds.
pub(super) fn probe_timeout(round_trip: Duration) -> Duration {
    (round_trip * 4).clamp(Duration::from_secs(2), Duration::from_secs(8))
}
