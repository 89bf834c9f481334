//! A session to its use, by the steps of `pairing`.

use alloc::boxed::Box;
use core::time::Duration;

use super::Node;
use crate::mesh::close::{CloseReason, Ended};
use crate::mesh::cx::{Cx, Timer, Wait};
use crate::mesh::event::{MeshEvent, Up};
use crate::mesh::pairing::{Consent, Decision, Intro, Offer, Situation, Stage};
use crate::mesh::session::Session;
use crate::wire::message::Control;
use crate::wire::refuse_code::{RefuseCode, refusal};
use crate::{ClusterError, ConnId, NodeId, PeerFault, Refusal, Unreached, WallTime};

/// How long each message of the admission may take.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(10);

impl Node {
    // Inputs

    /// A new session: is it admissible at all, and whose turn is it?
    pub(super) fn admit(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(session) = self.links.session(conn) else { return };
        let (id, incarnation) = (session.id.clone(), session.incarnation);
        if id == cx.local.id {
            return self.met_oneself(cx, conn, incarnation == cx.local.incarnation);
        }
        if !cx.is_running() {
            return self.refuse(cx, conn, RefuseCode::Leaving);
        }
        // Everyone whom this node told of the peer would dial itself.
        if id.is_loopback() && !self.is_near(cx, conn) {
            let fault = PeerFault::LoopbackIdentity;
            self.count_fault(cx, conn, fault);
            return self.refuse_as(cx, conn, RefuseCode::LoopbackIdentity, Ended::Failed(Unreached::Fault(fault)));
        }
        let full = match self.peers.get(&id) {
            Some(peer) => peer.pair.is_full(),
            None => !self.make_peer_room(cx, true),
        };
        if full || self.links.session_count() > cx.local.settings.limits.members.saturating_mul(2) {
            return self.refuse(cx, conn, RefuseCode::LimitReached);
        }
        self.peers.met(cx.now(), &id).pair.begin(conn);
        Self::await_admission(cx, conn);
        self.found_at_seed(cx, conn, &id);
        if cx.local.id < id {
            self.set_stage(conn, Stage::Keyed);
            self.offer(cx, conn);
        }
    }

    /// The offerer's offer has come.
    pub(super) fn offered(&mut self, cx: &mut Cx<'_>, conn: ConnId, offer: Offer) -> Result<(), PeerFault> {
        let Some(session) = self.links.session(conn) else { return Ok(()) };
        if !matches!(session.stage, Stage::AwaitOffer) {
            return Err(PeerFault::UnexpectedOffer);
        }
        self.set_stage(conn, Stage::Waiting(offer));
        Self::await_admission(cx, conn);
        let replaces = self.decide(cx, conn);
        if !replaces && matches!(self.stage(conn), Some(Stage::Waiting(_))) {
            cx.host.counters.offers_deferred += 1;
        }
        Ok(())
    }

    /// INTRO has come: to the offerer the decider's choice, to the decider the offerer's consent.
    pub(super) fn introduced(&mut self, cx: &mut Cx<'_>, conn: ConnId, intro: Intro, wall: WallTime) -> Result<(), PeerFault> {
        let Some(session) = self.links.session(conn) else { return Ok(()) };
        match session.stage {
            Stage::Offered => {
                self.set_stage(conn, Stage::Introduced(Box::new((intro, wall))));
                Self::await_admission(cx, conn);
                self.consent(cx, conn);
                Ok(())
            }
            Stage::Chosen => {
                let id = session.id.clone();
                self.peers.choose(&id, None);
                let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
                peer.pair.used(intro.count);
                self.go_up(cx, conn, &intro, wall);
                cx.turn(&id);
                Ok(())
            }
            _ => Err(PeerFault::UnexpectedMessage),
        }
    }

    /// The peer refuses the session. Without a secret anyone can say so: it is reported and backed off from, no more.
    pub(super) fn refused(&mut self, cx: &mut Cx<'_>, conn: ConnId, code: u8) -> Result<(), PeerFault> {
        let reason = refusal(code);
        match reason {
            Refusal::Duplicate | Refusal::ToSelf => {}
            Refusal::IdentityConflict => cx.report_own_conflict(),
            reason => self.report_refusal(cx, conn, reason),
        }
        cx.close(conn, CloseReason::Refused(reason));
        Ok(())
    }

    /// A verified record came: the probed incarnation lives, so that the newcomer with its identity is refused.
    pub(super) fn heard_from(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(session) = self.links.session_mut(conn) else { return };
        if !core::mem::take(&mut session.probing) {
            return;
        }
        let id = session.id.clone();
        cx.local.waits.cancel(&Wait::Probe(conn));
        let Some(peer) = self.peers.get(&id) else { return };
        for newcomer in peer.pair.sessions().to_vec() {
            let Some(session) = self.links.session(newcomer) else { continue };
            let incarnation = session.incarnation;
            let pending = matches!(session.stage, Stage::Keyed | Stage::Introduced(_) | Stage::Waiting(_));
            if pending && self.is_other_incarnation(session) {
                if self.peers.get_mut(&id).is_some_and(|peer| peer.is_new_conflict(incarnation)) {
                    cx.report(ClusterError::IdentityConflict { id: id.clone() });
                }
                self.refuse(cx, newcomer, RefuseCode::IdentityConflict);
            }
        }
    }

    /// The next message of the admission did not come in time.
    pub(super) fn admission_overdue(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        match self.stage(conn) {
            Some(Stage::AwaitOffer | Stage::Chosen | Stage::Offered) => self.fault(cx, conn, PeerFault::HandshakeTimeout),
            _ => cx.close(conn, CloseReason::Superseded),
        }
    }

    // Steps

    /// Gives every session that waits with this peer its turn: the newest first, since it is the least likely to have died unnoticed. Where
    /// one replaces the session in use, the others have theirs when that has ended.
    pub(super) fn decide_all(&mut self, cx: &mut Cx<'_>, id: &NodeId) {
        let Some(peer) = self.peers.get(id) else { return };
        for conn in peer.pair.sessions().to_vec().into_iter().rev() {
            let replaces = match self.stage(conn) {
                Some(Stage::Keyed) => {
                    self.offer(cx, conn);
                    false
                }
                Some(Stage::Waiting(_)) => self.decide(cx, conn),
                Some(Stage::Introduced(_)) => self.consent(cx, conn),
                _ => false,
            };
            if replaces {
                return;
            }
        }
    }

    /// What a step of this session's admission depends on.
    fn situation(&self, cx: &Cx<'_>, session: &Session) -> Situation {
        Situation {
            other_incarnation: self.is_other_incarnation(session),
            in_use: self.peers.is_up(&session.id),
            room: self.peers.has_room_for_member(&cx.local.settings.limits),
        }
    }

    /// Offers the session, once no other incarnation of the peer is in the way.
    fn offer(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(session) = self.links.session(conn) else { return };
        let Some(peer) = self.peers.get(&session.id) else { return };
        if self.is_other_incarnation(session) {
            return self.probe(cx, peer.session());
        }
        let Offer { count, holds } = peer.pair.offer(&session.incarnation, peer.session().is_some());
        self.set_stage(conn, Stage::Offered);
        Self::await_admission(cx, conn);
        self.send_control(cx, conn, Control::Offer { holds, n: count });
    }

    /// Chooses this session, lets it wait, or refuses it. True where it is to replace the one in use, and has its turn once that has ended.
    fn decide(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> bool {
        let Some(session) = self.links.session(conn) else { return false };
        let Stage::Waiting(offer) = session.stage else { return false };
        let Some(peer) = self.peers.get(&session.id) else { return false };
        match peer.pair.decide(offer, self.situation(cx, session)) {
            Decision::Wait => {}
            Decision::Probe => self.probe(cx, peer.session()),
            Decision::RefuseDuplicate => {
                cx.host.counters.duplicates += 1;
                self.refuse(cx, conn, RefuseCode::Duplicate);
            }
            Decision::Replace => return Self::replace(cx, peer.session()),
            Decision::Full => self.refuse(cx, conn, RefuseCode::LimitReached),
            Decision::Choose => {
                let id = session.id.clone();
                self.peers.choose(&id, Some(conn));
                self.set_stage(conn, Stage::Chosen);
                Self::await_admission(cx, conn);
                self.send_intro(cx, conn);
            }
        }
        false
    }

    /// Consents to the session that the decider chose, or not. True as of [`Node::decide`].
    fn consent(&mut self, cx: &mut Cx<'_>, conn: ConnId) -> bool {
        let Some(session) = self.links.session(conn) else { return false };
        let Stage::Introduced(introduced) = &session.stage else { return false };
        let (id, incarnation, (intro, wall)) = (session.id.clone(), session.incarnation, **introduced);
        let Some(peer) = self.peers.get(&id) else { return false };
        match peer.pair.consent(&incarnation, intro.count, self.situation(cx, session)) {
            Consent::Probe => self.probe(cx, peer.session()),
            Consent::Stale => {
                cx.host.counters.stale_admissions += 1;
                cx.close(conn, CloseReason::Superseded);
            }
            Consent::Replace => return Self::replace(cx, peer.session()),
            Consent::Full => self.refuse(cx, conn, RefuseCode::LimitReached),
            Consent::Admit => {
                self.send_intro(cx, conn);
                let own = cx.local.admissions;
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.pair.admitted(incarnation, own, intro.count);
                }
                self.go_up(cx, conn, &intro, wall);
            }
        }
        false
    }

    /// Ends the session in use: the other one has its turn by that.
    fn replace(cx: &mut Cx<'_>, used: Option<ConnId>) -> bool {
        let Some(used) = used else { return false };
        cx.host.counters.replaced += 1;
        cx.close(used, CloseReason::Superseded);
        true
    }

    fn send_intro(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let intro = cx.intro(self.peers.digest(), self.peers.up_count() as u64 + 1);
        self.send_control(cx, conn, intro);
    }

    /// INTRO was sent and received: the node is up. What follows comes always in this order: the event, heartbeats and
    /// idle checks, the slot of its dial is free; dials and the next request for members are queued.
    fn go_up(&mut self, cx: &mut Cx<'_>, conn: ConnId, intro: &Intro, wall: WallTime) {
        let dialled = self.links.is_dialled(conn);
        let Some(session) = self.links.session_mut(conn) else { return };
        session.stage = Stage::Up;
        let id = session.id.clone();
        cx.local.waits.cancel(&Wait::Admission(conn));
        if let Some((info, up)) = self.peers.go_up(cx, &id, conn, session.incarnation, intro, wall) {
            let of = Up { peer: conn, incarnation: session.incarnation, capable: session.takes_signals() };
            let silence = session.watch.allowed_silence(cx.local.settings.heartbeat_miss_threshold);
            cx.host.tell(MeshEvent::Up { session: of, silence, info: Box::new(info), up });
        }
        self.detector.up(cx, conn, &mut session.watch, dialled);
        let held_at = cx.now() + cx.local.settings.heartbeat_interval;
        cx.local.timers.set(Timer::Steady(conn), held_at);
        self.dialler.done(cx, &id, conn);
        cx.start_dials();
        self.ask_on_joining(cx, &id, intro.members);
    }

    // Restarts and conflicts

    /// Whether a session with another incarnation of the same node is in use.
    fn is_other_incarnation(&self, session: &Session) -> bool {
        self.session_with(&session.id).is_some_and(|used| used.incarnation != session.incarnation)
    }

    /// Asks the session in use, with another incarnation of its node, for a sign of life.
    fn probe(&mut self, cx: &mut Cx<'_>, used: Option<ConnId>) {
        let Some(used) = used else { return };
        let Some(session) = self.links.session_mut(used) else { return };
        if !core::mem::replace(&mut session.probing, true) {
            let timeout = session.probe_timeout();
            cx.host.counters.probes += 1;
            cx.local.waits.set(Wait::Probe(used), cx.local.run + timeout);
            self.send_control(cx, used, Control::Ping(cx.host.counters.probes));
        }
    }

    /// The peer has this node's own id: it is this node, or another process that claims the same identity.
    fn met_oneself(&mut self, cx: &mut Cx<'_>, conn: ConnId, same_incarnation: bool) {
        let reason = if same_incarnation { RefuseCode::ToSelf } else { RefuseCode::IdentityConflict };
        if !same_incarnation {
            cx.report_own_conflict();
        }
        if self.links.is_dialled(conn) {
            cx.close(conn, CloseReason::Said(Ended::from(Refusal::from(reason))));
        } else {
            self.refuse(cx, conn, reason);
        }
    }

    /// The node behind a seed has proved its identity.
    fn found_at_seed(&mut self, cx: &mut Cx<'_>, conn: ConnId, id: &NodeId) {
        let (dialler, known) = self.dialling();
        let Some(target) = known.links.target(conn) else { return };
        // Behind a name may be many nodes, of which the one that was there before is still to be met.
        if let Some(before) = dialler.found(cx, target, id, &known) {
            self.led_to_no_more(cx, before, cx.now() + cx.local.settings.reconnect_base_delay);
        }
    }

    // Refusals

    /// Refuses a session by its last message.
    pub(super) fn refuse(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: RefuseCode) {
        self.refuse_as(cx, conn, reason, Ended::from(Refusal::from(reason)));
    }

    /// [`Node::refuse`] with what it comes to where this node dialled.
    fn refuse_as(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: RefuseCode, ended: Ended) {
        self.set_stage(conn, Stage::Last(ended));
        self.send_last(cx, conn, Control::Refused(reason.code()));
    }

    fn stage(&self, conn: ConnId) -> Option<&Stage> {
        self.links.session(conn).map(|session| &session.stage)
    }

    fn set_stage(&mut self, conn: ConnId, stage: Stage) {
        if let Some(session) = self.links.session_mut(conn) {
            session.stage = stage;
        }
    }

    /// The next message of a session's admission may take this long.
    fn await_admission(cx: &mut Cx<'_>, conn: ConnId) {
        cx.local.waits.set(Wait::Admission(conn), cx.local.run + ADMISSION_TIMEOUT);
    }
}
