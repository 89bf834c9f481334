//! Admission: of all sessions with one peer the node with the greater id chooses one; the lesser offers.
//!
//! The rules are those of `docs/wire.md`, Admission. They keep a session in use as long as both ends believe in it, and replace it as
//! soon as one of them is known not to.

use alloc::boxed::Box;
use core::time::Duration;

use super::connection::GRACEFUL;
use super::node::{Ended, Intro, Node, Peer, Session, Stage, Wait};
use super::session::probe_timeout;
use crate::message::Control;
use crate::millis;
use crate::{Close, ClusterError, ClusterStatus, ConnId, NodeDownReason, NodeId, PeerFault, Refusal, Unreached, WallTime};

/// How long each message of the admission may take.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);

/// The most sessions with one peer, in use or not. An honest one has as many as it lost unnoticed within the time of an admission.
const SESSIONS_PER_PEER: usize = 32;

impl Node {
    // Inputs

    /// A new session: is it admissible at all, and whose turn is it?
    pub(super) fn admit(&mut self, conn: ConnId) {
        let Some(session) = self.conn_session(conn) else { return };
        let (id, instance) = (session.id.clone(), session.instance);
        if id == self.id {
            return self.met_oneself(conn, instance == self.instance);
        }
        if self.out.status != ClusterStatus::Running {
            return self.refuse(conn, Refusal::Leaving);
        }
        // Everyone whom this node told of the peer would dial itself.
        if id.is_loopback() && !self.conns.get(&conn).is_some_and(|conn| self.is_near(conn)) {
            let fault = PeerFault::LoopbackIdentity;
            self.count_fault(conn, fault);
            return self.refuse_as(conn, Refusal::LoopbackIdentity, Ended::Failed(Unreached::Fault(fault)));
        }
        let full = match self.peers.get(&id) {
            Some(peer) => peer.admission.sessions.len() >= SESSIONS_PER_PEER,
            None => !self.make_peer_room(true),
        };
        if full || self.session_count > self.settings.limits.members.saturating_mul(2) {
            return self.refuse(conn, Refusal::LimitReached);
        }
        let now = self.now;
        let peer = self.peers.entry(id.clone()).or_insert_with(|| Box::new(Peer::new(now)));
        // As a rule it is the only one.
        peer.admission.sessions.reserve_exact(1);
        peer.admission.sessions.push(conn);
        self.waits.set(Wait::Admission(conn), self.run + ADMISSION_TIMEOUT);
        self.found_at_seed(conn, &id);
        if self.id < id {
            self.set_stage(conn, Stage::Keyed);
            self.offer(conn);
        }
    }

    /// The lesser's offer has come.
    pub(super) fn offered(&mut self, conn: ConnId, count: u64, holds: bool) -> Result<(), PeerFault> {
        let Some(session) = self.conn_session(conn) else { return Ok(()) };
        if !matches!(session.stage, Stage::AwaitOffer) {
            return Err(PeerFault::UnexpectedOffer);
        }
        self.set_stage(conn, Stage::Waiting { count, holds });
        self.waits.set(Wait::Admission(conn), self.run + ADMISSION_TIMEOUT);
        self.decide(conn);
        if matches!(self.conn_session(conn).map(|session| &session.stage), Some(Stage::Waiting { .. })) {
            self.out.counters.offers_deferred += 1;
        }
        Ok(())
    }

    /// INTRO has come: to the lesser the greater's choice, to the greater the lesser's consent.
    pub(super) fn introduced(&mut self, conn: ConnId, intro: Intro, wall: WallTime) -> Result<(), PeerFault> {
        let Some(session) = self.conn_session(conn) else { return Ok(()) };
        match session.stage {
            Stage::Offered => {
                self.set_stage(conn, Stage::Introduced(Box::new((intro, wall))));
                self.waits.set(Wait::Admission(conn), self.run + ADMISSION_TIMEOUT);
                self.consent(conn);
                Ok(())
            }
            Stage::Chosen => {
                let id = session.id.clone();
                let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
                peer.admission.chosen = None;
                peer.admission.named = intro.count;
                self.chosen_count -= 1;
                self.go_up(conn, &intro, wall);
                self.decide_all(&id);
                Ok(())
            }
            _ => Err(PeerFault::UnexpectedMessage),
        }
    }

    /// The peer refuses the session. Without a secret anyone can say so: it is reported and backed off from, no more.
    pub(super) fn refused(&mut self, conn: ConnId, code: u8) -> Result<(), PeerFault> {
        let reason = Refusal::from_code(code);
        let down = match reason {
            Refusal::Leaving => NodeDownReason::GracefulShutdown,
            _ => NodeDownReason::ConnectionClosed,
        };
        match reason {
            Refusal::Duplicate | Refusal::ToSelf => {}
            Refusal::IdentityConflict => self.report_own_conflict(),
            reason => self.report_refusal(conn, reason),
        }
        self.end_conn_as(conn, Some(GRACEFUL), Ended::from(reason), down);
        Ok(())
    }

    /// A verified record came: whoever was probed lives, so the newcomer with its identity is refused.
    pub(super) fn heard_from(&mut self, conn: ConnId) {
        let Some(session) = self.conn_session_mut(conn) else { return };
        if !core::mem::take(&mut session.probing) {
            return;
        }
        let id = session.id.clone();
        self.waits.cancel(&Wait::Probe(conn));
        let Some(peer) = self.peers.get(&id) else { return };
        for newcomer in peer.admission.sessions.clone() {
            let Some(session) = self.conn_session(newcomer) else { continue };
            let instance = session.instance;
            let pending = matches!(session.stage, Stage::Keyed | Stage::Introduced(_) | Stage::Waiting { .. });
            if pending && self.is_other_instance(session) {
                self.report_conflict_with(id.clone(), instance);
                self.refuse(newcomer, Refusal::IdentityConflict);
            }
        }
    }

    /// The probed instance says that it is leaving: it makes room at once.
    pub(super) fn said_leaving(&mut self, conn: ConnId) {
        self.end_conn(conn, Some(GRACEFUL), Ended::Harmless);
    }

    /// The probed session gave no sign of life.
    pub(super) fn probe_overdue(&mut self, conn: ConnId) {
        self.end_conn(conn, Some(Close::Abort), Ended::Harmless);
    }

    /// The next message of the admission did not come in time.
    pub(super) fn admission_overdue(&mut self, conn: ConnId) {
        match self.conn_session(conn).map(|session| &session.stage) {
            Some(Stage::AwaitOffer | Stage::Chosen | Stage::Offered) => self.fault(conn, PeerFault::HandshakeTimeout),
            _ => self.end_conn(conn, Some(Close::Abort), Ended::Harmless),
        }
    }

    /// A session is no more. If it was chosen or in use, whatever waited for it has its turn.
    pub(super) fn session_ended(&mut self, conn: ConnId, session: &Session, reason: NodeDownReason) {
        self.session_count -= 1;
        self.waits.cancel(&Wait::Admission(conn));
        self.forget_request(conn);
        let id = &session.id;
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.admission.sessions.retain(|other| *other != conn);
        // Nothing is left that a late INTRO could come on, and who named a high count once keeps nobody out.
        if peer.admission.sessions.is_empty() {
            peer.admission.accepted = 0;
        }
        if peer.admission.chosen == Some(conn) {
            peer.admission.chosen = None;
            self.chosen_count -= 1;
            self.decide_all(id);
        } else if peer.session == Some(conn) {
            peer.admission.named = 0;
            self.waits.cancel(&Wait::Probe(conn));
            self.go_down(id, conn, session, reason);
            self.decide_all(id);
        }
        self.forget_if_never_up(id);
        self.cap_disconnected();
    }

    // Decisions

    /// Gives every session that waits with this peer its turn: the newest first, since it is the least likely to have died unnoticed. Who
    /// stops admits nobody.
    fn decide_all(&mut self, id: &NodeId) {
        if self.out.status != ClusterStatus::Running {
            return;
        }
        let Some(peer) = self.peers.get(id) else { return };
        for conn in peer.admission.sessions.clone().into_iter().rev() {
            match self.conn_session(conn).map(|session| &session.stage) {
                Some(Stage::Keyed) => self.offer(conn),
                Some(Stage::Waiting { .. }) => self.decide(conn),
                Some(Stage::Introduced(_)) => self.consent(conn),
                _ => {}
            }
        }
    }

    /// The lesser offers the session, once no other instance of the peer is in the way.
    fn offer(&mut self, conn: ConnId) {
        if self.probe_other_instance(conn) {
            return;
        }
        let Some(session) = self.conn_session(conn) else { return };
        let Some(peer) = self.peers.get(&session.id) else { return };
        let admission = &peer.admission;
        let count = if admission.instance == session.instance { admission.admitted } else { 0 };
        let holds = peer.session.is_some();
        self.set_stage(conn, Stage::Offered);
        self.waits.set(Wait::Admission(conn), self.run + ADMISSION_TIMEOUT);
        self.send_control(conn, Control::Offer { holds, n: count });
    }

    /// The greater chooses this session, lets it wait, or refuses it.
    fn decide(&mut self, conn: ConnId) {
        let Some(session) = self.conn_session(conn) else { return };
        let Stage::Waiting { count, holds } = session.stage else { return };
        let id = session.id.clone();
        let waits = self.peers.get(&id).is_none_or(|peer| peer.admission.chosen.is_some());
        if waits || self.probe_other_instance(conn) {
            return;
        }
        let Some(peer) = self.peers.get(&id) else { return };
        let named = peer.admission.named;
        if let Some(used) = peer.session {
            if count < named || count == named && holds {
                self.out.counters.duplicates += 1;
                return self.refuse(conn, Refusal::Duplicate);
            }
            self.out.counters.replaced += 1;
            // Its turn comes by the end of the session in use.
            return self.end_conn(used, Some(Close::Abort), Ended::Harmless);
        }
        if !self.has_room_for_member() {
            return self.refuse(conn, Refusal::LimitReached);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.admission.chosen = Some(conn);
            self.chosen_count += 1;
        }
        self.set_stage(conn, Stage::Chosen);
        self.waits.set(Wait::Admission(conn), self.run + ADMISSION_TIMEOUT);
        self.send_intro(conn);
    }

    /// The lesser consents to the session that the greater chose.
    fn consent(&mut self, conn: ConnId) {
        let Some(session) = self.conn_session(conn) else { return };
        let Stage::Introduced(introduced) = &session.stage else { return };
        let (id, instance, (intro, wall)) = (session.id.clone(), session.instance, **introduced);
        if self.probe_other_instance(conn) {
            return;
        }
        let Some(peer) = self.peers.get(&id) else { return };
        let admission = &peer.admission;
        if admission.instance == instance && intro.count <= admission.accepted {
            self.out.counters.stale_admissions += 1;
            return self.end_conn(conn, Some(Close::Abort), Ended::Harmless);
        }
        if let Some(dead) = peer.session {
            self.out.counters.replaced += 1;
            // Its turn comes by the end of that session.
            return self.end_conn(dead, Some(Close::Abort), Ended::Harmless);
        }
        if !self.has_room_for_member() {
            return self.refuse(conn, Refusal::LimitReached);
        }
        self.send_intro(conn);
        let admitted = self.admissions;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.admission.instance = instance;
            peer.admission.admitted = admitted;
            peer.admission.accepted = intro.count;
        }
        self.go_up(conn, &intro, wall);
    }

    /// Whether one more node may be up, beside those that are and those that are chosen and will be.
    pub(super) fn has_room_for_member(&self) -> bool {
        self.up_count + self.chosen_count < self.settings.limits.members
    }

    fn send_intro(&mut self, conn: ConnId) {
        self.admissions += 1;
        let intro = Control::Intro {
            count: self.admissions,
            digest: self.digest,
            members: self.up_count as u64 + 1,
            process_count: self.out.process_count,
            uptime_ms: millis::count(self.now - self.started),
        };
        self.send_control(conn, intro);
    }

    // Restarts and conflicts

    fn is_other_instance(&self, session: &Session) -> bool {
        self.session_with(&session.id).is_some_and(|used| used.instance != session.instance)
    }

    /// Whether a session with another instance of the same node is in use. It is asked for a sign of life then.
    fn probe_other_instance(&mut self, conn: ConnId) -> bool {
        let Some(session) = self.conn_session(conn) else { return false };
        if !self.is_other_instance(session) {
            return false;
        }
        let Some(used) = self.peers.get(&session.id).and_then(|peer| peer.session) else { return false };
        let Some(session) = self.conn_session_mut(used) else { return false };
        if !core::mem::replace(&mut session.probing, true) {
            let round_trip = session.round_trip_ms;
            self.out.counters.probes += 1;
            self.waits.set(Wait::Probe(used), self.run + probe_timeout(Duration::from_millis(round_trip.into())));
            self.send_control(used, Control::Ping(self.out.counters.probes));
        }
        true
    }

    /// The peer has this node's own id: it is this node, or another process that claims the same identity.
    fn met_oneself(&mut self, conn: ConnId, same_instance: bool) {
        let dialled = self.conns.get(&conn).is_some_and(|conn| conn.target.is_some());
        let reason = if same_instance { Refusal::ToSelf } else { Refusal::IdentityConflict };
        if !same_instance {
            self.report_own_conflict();
        }
        if dialled {
            self.end_conn(conn, Some(GRACEFUL), Ended::from(reason));
        } else {
            self.refuse(conn, reason);
        }
    }

    /// Reports that another running process claims this node's own identity: not more often than once in the longest delay.
    fn report_own_conflict(&mut self) {
        if self.conflict_reported.is_none_or(|at| self.now - at >= self.settings.reconnect_max_delay) {
            self.conflict_reported = Some(self.now);
            let id = self.id.clone();
            self.report_limited(ClusterError::IdentityConflict { id });
        }
    }

    /// Reports, once per newcomer, that a node's identity is claimed by another running process.
    fn report_conflict_with(&mut self, id: NodeId, newcomer: [u8; 16]) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.conflict.as_deref() != Some(&newcomer) {
            peer.conflict = Some(Box::new(newcomer));
            self.report_limited(ClusterError::IdentityConflict { id });
        }
    }

    /// Refuses a session by its last message.
    pub(super) fn refuse(&mut self, conn: ConnId, reason: Refusal) {
        self.refuse_as(conn, reason, Ended::from(reason));
    }

    /// [`Node::refuse`] with what it comes to where this node dialled.
    fn refuse_as(&mut self, conn: ConnId, reason: Refusal, ended: Ended) {
        if let Some(code) = reason.code() {
            self.set_stage(conn, Stage::Last(ended));
            self.send_last(conn, Control::Refused(code));
        }
    }

    fn set_stage(&mut self, conn: ConnId, stage: Stage) {
        if let Some(session) = self.conn_session_mut(conn) {
            session.stage = stage;
        }
    }
}
