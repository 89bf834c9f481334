//! Admission: of all sessions with one peer the node with the greater id chooses one; the lesser offers.
//!
//! The rules are those of `docs/wire.md`, Admission. They keep a session in use as long as both ends believe in it, and replace it as
//! soon as one of them is known not to.

use alloc::boxed::Box;
use core::time::Duration;

use super::connection::GRACEFUL;
use super::cx::Cx;
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
    pub(super) fn admit(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(session) = self.conn_session(conn) else { return };
        let (id, instance) = (session.id.clone(), session.instance);
        if id == cx.local.id {
            return self.met_oneself(cx, conn, instance == cx.local.instance);
        }
        if cx.host.status != ClusterStatus::Running {
            return self.refuse(cx, conn, Refusal::Leaving);
        }
        // Everyone whom this node told of the peer would dial itself.
        if id.is_loopback() && !self.conns.get(&conn).is_some_and(|conn| cx.local.is_near(conn.remote)) {
            let fault = PeerFault::LoopbackIdentity;
            self.count_fault(cx, conn, fault);
            return self.refuse_as(cx, conn, Refusal::LoopbackIdentity, Ended::Failed(Unreached::Fault(fault)));
        }
        let full = match self.peers.get(&id) {
            Some(peer) => peer.admission.sessions.len() >= SESSIONS_PER_PEER,
            None => !self.make_peer_room(cx, true),
        };
        if full || self.session_count > cx.local.settings.limits.members.saturating_mul(2) {
            return self.refuse(cx, conn, Refusal::LimitReached);
        }
        let now = cx.now();
        let peer = self.peers.entry(id.clone()).or_insert_with(|| Box::new(Peer::new(now)));
        // As a rule it is the only one.
        peer.admission.sessions.reserve_exact(1);
        peer.admission.sessions.push(conn);
        cx.local.waits.set(Wait::Admission(conn), cx.run() + ADMISSION_TIMEOUT);
        self.found_at_seed(cx, conn, &id);
        if cx.local.id < id {
            self.set_stage(conn, Stage::Keyed);
            self.offer(cx, conn);
        }
    }

    /// The lesser's offer has come.
    pub(super) fn offered(&mut self, cx: &mut Cx<'_>, conn: ConnId, count: u64, holds: bool) -> Result<(), PeerFault> {
        let Some(session) = self.conn_session(conn) else { return Ok(()) };
        if !matches!(session.stage, Stage::AwaitOffer) {
            return Err(PeerFault::UnexpectedOffer);
        }
        self.set_stage(conn, Stage::Waiting { count, holds });
        cx.local.waits.set(Wait::Admission(conn), cx.run() + ADMISSION_TIMEOUT);
        self.decide(cx, conn);
        if matches!(self.conn_session(conn).map(|session| &session.stage), Some(Stage::Waiting { .. })) {
            cx.host.counters.offers_deferred += 1;
        }
        Ok(())
    }

    /// INTRO has come: to the lesser the greater's choice, to the greater the lesser's consent.
    pub(super) fn introduced(&mut self, cx: &mut Cx<'_>, conn: ConnId, intro: Intro, wall: WallTime) -> Result<(), PeerFault> {
        let Some(session) = self.conn_session(conn) else { return Ok(()) };
        match session.stage {
            Stage::Offered => {
                self.set_stage(conn, Stage::Introduced(Box::new((intro, wall))));
                cx.local.waits.set(Wait::Admission(conn), cx.run() + ADMISSION_TIMEOUT);
                self.consent(cx, conn);
                Ok(())
            }
            Stage::Chosen => {
                let id = session.id.clone();
                let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
                peer.admission.chosen = None;
                peer.admission.named = intro.count;
                self.chosen_count -= 1;
                self.go_up(cx, conn, &intro, wall);
                self.decide_all(cx, &id);
                Ok(())
            }
            _ => Err(PeerFault::UnexpectedMessage),
        }
    }

    /// The peer refuses the session. Without a secret anyone can say so: it is reported and backed off from, no more.
    pub(super) fn refused(&mut self, cx: &mut Cx<'_>, conn: ConnId, code: u8) -> Result<(), PeerFault> {
        let reason = Refusal::from_code(code);
        let down = match reason {
            Refusal::Leaving => NodeDownReason::GracefulShutdown,
            _ => NodeDownReason::ConnectionClosed,
        };
        match reason {
            Refusal::Duplicate | Refusal::ToSelf => {}
            Refusal::IdentityConflict => self.report_own_conflict(cx),
            reason => self.report_refusal(cx, conn, reason),
        }
        self.end_conn_as(cx, conn, Some(GRACEFUL), Ended::from(reason), down);
        Ok(())
    }

    /// A verified record came: whoever was probed lives, so the newcomer with its identity is refused.
    pub(super) fn heard_from(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(session) = self.conn_session_mut(conn) else { return };
        if !core::mem::take(&mut session.probing) {
            return;
        }
        let id = session.id.clone();
        cx.local.waits.cancel(&Wait::Probe(conn));
        let Some(peer) = self.peers.get(&id) else { return };
        for newcomer in peer.admission.sessions.clone() {
            let Some(session) = self.conn_session(newcomer) else { continue };
            let instance = session.instance;
            let pending = matches!(session.stage, Stage::Keyed | Stage::Introduced(_) | Stage::Waiting { .. });
            if pending && self.is_other_instance(session) {
                self.report_conflict_with(cx, id.clone(), instance);
                self.refuse(cx, newcomer, Refusal::IdentityConflict);
            }
        }
    }

    /// The probed instance says that it is leaving: it makes room at once.
    pub(super) fn said_leaving(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.end_conn(cx, conn, Some(GRACEFUL), Ended::Harmless);
    }

    /// The probed session gave no sign of life.
    pub(super) fn probe_overdue(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.end_conn(cx, conn, Some(Close::Abort), Ended::Harmless);
    }

    /// The next message of the admission did not come in time.
    pub(super) fn admission_overdue(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        match self.conn_session(conn).map(|session| &session.stage) {
            Some(Stage::AwaitOffer | Stage::Chosen | Stage::Offered) => self.fault(cx, conn, PeerFault::HandshakeTimeout),
            _ => self.end_conn(cx, conn, Some(Close::Abort), Ended::Harmless),
        }
    }

    /// A session is no more. If it was chosen or in use, whatever waited for it has its turn.
    pub(super) fn session_ended(&mut self, cx: &mut Cx<'_>, conn: ConnId, session: &Session, reason: NodeDownReason) {
        self.session_count -= 1;
        cx.local.waits.cancel(&Wait::Admission(conn));
        self.forget_request(cx, conn);
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
            self.decide_all(cx, id);
        } else if peer.session == Some(conn) {
            peer.admission.named = 0;
            cx.local.waits.cancel(&Wait::Probe(conn));
            self.go_down(cx, id, conn, session, reason);
            self.decide_all(cx, id);
        }
        self.forget_if_never_up(cx, id);
        self.cap_disconnected(cx);
    }

    // Decisions

    /// Gives every session that waits with this peer its turn: the newest first, since it is the least likely to have died unnoticed. Who
    /// stops admits nobody.
    fn decide_all(&mut self, cx: &mut Cx<'_>, id: &NodeId) {
        if cx.host.status != ClusterStatus::Running {
            return;
        }
        let Some(peer) = self.peers.get(id) else { return };
        for conn in peer.admission.sessions.clone().into_iter().rev() {
            match self.conn_session(conn).map(|session| &session.stage) {
                Some(Stage::Keyed) => self.offer(cx, conn),
                Some(Stage::Waiting { .. }) => self.decide(cx, conn),
                Some(Stage::Introduced(_)) => self.consent(cx, conn),
                _ => {}
            }
        }
    }

    /// The lesser offers the session, once no other instance of the peer is in the way.
    fn offer(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if self.probe_other_instance(cx, conn) {
            return;
        }
        let Some(session) = self.conn_session(conn) else { return };
        let Some(peer) = self.peers.get(&session.id) else { return };
        let admission = &peer.admission;
        let count = if admission.instance == session.instance { admission.admitted } else { 0 };
        let holds = peer.session.is_some();
        self.set_stage(conn, Stage::Offered);
        cx.local.waits.set(Wait::Admission(conn), cx.run() + ADMISSION_TIMEOUT);
        self.send_control(cx, conn, Control::Offer { holds, n: count });
    }

    /// The greater chooses this session, lets it wait, or refuses it.
    fn decide(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(session) = self.conn_session(conn) else { return };
        let Stage::Waiting { count, holds } = session.stage else { return };
        let id = session.id.clone();
        let waits = self.peers.get(&id).is_none_or(|peer| peer.admission.chosen.is_some());
        if waits || self.probe_other_instance(cx, conn) {
            return;
        }
        let Some(peer) = self.peers.get(&id) else { return };
        let named = peer.admission.named;
        if let Some(used) = peer.session {
            if count < named || count == named && holds {
                cx.host.counters.duplicates += 1;
                return self.refuse(cx, conn, Refusal::Duplicate);
            }
            cx.host.counters.replaced += 1;
            // Its turn comes by the end of the session in use.
            return self.end_conn(cx, used, Some(Close::Abort), Ended::Harmless);
        }
        if !self.has_room_for_member(cx) {
            return self.refuse(cx, conn, Refusal::LimitReached);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.admission.chosen = Some(conn);
            self.chosen_count += 1;
        }
        self.set_stage(conn, Stage::Chosen);
        cx.local.waits.set(Wait::Admission(conn), cx.run() + ADMISSION_TIMEOUT);
        self.send_intro(cx, conn);
    }

    /// The lesser consents to the session that the greater chose.
    fn consent(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(session) = self.conn_session(conn) else { return };
        let Stage::Introduced(introduced) = &session.stage else { return };
        let (id, instance, (intro, wall)) = (session.id.clone(), session.instance, **introduced);
        if self.probe_other_instance(cx, conn) {
            return;
        }
        let Some(peer) = self.peers.get(&id) else { return };
        let admission = &peer.admission;
        if admission.instance == instance && intro.count <= admission.accepted {
            cx.host.counters.stale_admissions += 1;
            return self.end_conn(cx, conn, Some(Close::Abort), Ended::Harmless);
        }
        if let Some(dead) = peer.session {
            cx.host.counters.replaced += 1;
            // Its turn comes by the end of that session.
            return self.end_conn(cx, dead, Some(Close::Abort), Ended::Harmless);
        }
        if !self.has_room_for_member(cx) {
            return self.refuse(cx, conn, Refusal::LimitReached);
        }
        self.send_intro(cx, conn);
        let admitted = self.admissions;
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.admission.instance = instance;
            peer.admission.admitted = admitted;
            peer.admission.accepted = intro.count;
        }
        self.go_up(cx, conn, &intro, wall);
    }

    /// Whether one more node may be up, beside those that are and those that are chosen and will be.
    pub(super) fn has_room_for_member(&self, cx: &Cx<'_>) -> bool {
        self.up_count + self.chosen_count < cx.local.settings.limits.members
    }

    fn send_intro(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.admissions += 1;
        let intro = Control::Intro {
            count: self.admissions,
            digest: self.digest,
            members: self.up_count as u64 + 1,
            process_count: cx.host.process_count,
            uptime_ms: millis::count(cx.now() - cx.local.started),
        };
        self.send_control(cx, conn, intro);
    }

    // Restarts and conflicts

    fn is_other_instance(&self, session: &Session) -> bool {
        self.session_with(&session.id).is_some_and(|used| used.instance != session.instance)
    }

    /// Whether a session with another instance of the same node is in use. It is asked for a sign of life then.
    fn probe_other_instance(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> bool {
        let Some(session) = self.conn_session(conn) else { return false };
        if !self.is_other_instance(session) {
            return false;
        }
        let Some(used) = self.peers.get(&session.id).and_then(|peer| peer.session) else { return false };
        let Some(session) = self.conn_session_mut(used) else { return false };
        if !core::mem::replace(&mut session.probing, true) {
            let round_trip = session.round_trip_ms;
            cx.host.counters.probes += 1;
            cx.local.waits.set(Wait::Probe(used), cx.run() + probe_timeout(Duration::from_millis(round_trip.into())));
            self.send_control(cx, used, Control::Ping(cx.host.counters.probes));
        }
        true
    }

    /// The peer has this node's own id: it is this node, or another process that claims the same identity.
    fn met_oneself(&mut self, cx: &mut Cx<'_>, conn: ConnId, same_instance: bool) {
        let dialled = self.conns.get(&conn).is_some_and(|conn| conn.target.is_some());
        let reason = if same_instance { Refusal::ToSelf } else { Refusal::IdentityConflict };
        if !same_instance {
            self.report_own_conflict(cx);
        }
        if dialled {
            self.end_conn(cx, conn, Some(GRACEFUL), Ended::from(reason));
        } else {
            self.refuse(cx, conn, reason);
        }
    }

    /// Reports that another running process claims this node's own identity: not more often than once in the longest delay.
    fn report_own_conflict(&mut self, cx: &mut Cx<'_>) {
        if self.conflict_reported.is_none_or(|at| cx.now() - at >= cx.local.settings.reconnect_max_delay) {
            self.conflict_reported = Some(cx.now());
            let id = cx.local.id.clone();
            self.report_limited(cx, ClusterError::IdentityConflict { id });
        }
    }

    /// Reports, once per newcomer, that a node's identity is claimed by another running process.
    fn report_conflict_with(&mut self, cx: &mut Cx<'_>, id: NodeId, newcomer: [u8; 16]) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.conflict.as_deref() != Some(&newcomer) {
            peer.conflict = Some(Box::new(newcomer));
            self.report_limited(cx, ClusterError::IdentityConflict { id });
        }
    }

    /// Refuses a session by its last message.
    pub(super) fn refuse(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: Refusal) {
        self.refuse_as(cx, conn, reason, Ended::from(reason));
    }

    /// [`Node::refuse`] with what it comes to where this node dialled.
    fn refuse_as(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: Refusal, ended: Ended) {
        if let Some(code) = reason.code() {
            self.set_stage(conn, Stage::Last(ended));
            self.send_last(cx, conn, Control::Refused(code));
        }
    }

    fn set_stage(&mut self, conn: ConnId, stage: Stage) {
        if let Some(session) = self.conn_session_mut(conn) {
            session.stage = stage;
        }
    }
}
