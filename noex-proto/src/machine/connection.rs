//! Connections up to authentication: whom to let in, the handshake, and how a connection ends.

use alloc::boxed::Box;
use core::cmp::Reverse;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use bytes::Bytes;
use rand_chacha::rand_core::Rng;

use super::cx::Cx;
use super::node::{Conn, Ended, Node, Phase, Session, Target, Timer, Wait};
use crate::frame::{FrameBuffer, HANDSHAKE_FRAME_MAX, RECORD_MAX};
use crate::handshake::{
    HandshakeFailure, Initiator, InitiatorStep, Keyed, RejectCode, Responder, ResponderStep, Said, reject_frame,
};
use crate::reports::PeerReport;
use crate::{
    Action, Close, ClusterError, ClusterEvent, ClusterStatus, ConnId, NodeDownReason, NodeId, PeerFault, Refusal, Unreached,
    WallTime,
};

/// How long a handshake may take, on each side, however its bytes trickle in.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// A stranger younger than this makes room only where no older one exists.
const EVICTION_AGE: Duration = Duration::from_secs(1);

/// How long a graceful close may take, but for that of a stop, which has a deadline of its own.
const LINGER: Duration = Duration::from_secs(2);

/// The most that is read, to no end, of a connection that closes gracefully: a peer that has proved nothing has little to say after it
/// was refused.
const LINGER_BYTES: usize = 64 * 1024;

/// The same of an authenticated session, on which much may be on its way.
const LINGER_BYTES_OF_SESSION: usize = 16 * 1024 * 1024;

/// The close that lets a last message arrive.
pub(super) const GRACEFUL: Close = Close::Graceful { linger: LINGER, read_at_most: LINGER_BYTES };

/// Where an accepted connection comes from, for the limit per address: an IPv4 address, or the first 64 bits of an IPv6 one.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Origin {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let mut prefix = [0; 8];
                prefix.copy_from_slice(&address.octets()[..8]);
                Self::V6(prefix)
            }
        }
    }
}

impl Node {
    // Beginnings

    /// A stranger came in.
    pub(super) fn accepted(&mut self, cx: &mut Cx<'_>, conn: ConnId, remote: SocketAddr) {
        cx.host.new_conn();
        cx.host.counters.accepted += 1;
        self.make_room(cx, Origin::from(remote.ip()));
        let mut nonce = [0; 32];
        cx.local.rng.fill_bytes(&mut nonce);
        let phase = Phase::Responding(Box::new(Responder::new(nonce)));
        self.insert_conn(cx, conn, None, Some(remote), phase);
        self.half_open.entry(Origin::from(remote.ip())).or_default().insert(conn);
        self.half_open_count += 1;
        cx.local.waits.set(Wait::Handshake(conn), cx.run() + HANDSHAKE_TIMEOUT);
    }

    /// A dial succeeded.
    pub(super) fn connected(&mut self, cx: &mut Cx<'_>, conn: ConnId, remote: SocketAddr) {
        match self.conns.get(&conn).map(|conn| &conn.phase) {
            Some(Phase::Dialling) => self.begin_handshake(cx, conn, remote),
            Some(Phase::Reaching(session)) => {
                let session = *session;
                self.end_conn(cx, conn, Some(Close::Abort), Ended::Harmless);
                self.reach_answered(cx, session);
            }
            _ => {}
        }
    }

    fn begin_handshake(&mut self, cx: &mut Cx<'_>, conn: ConnId, remote: SocketAddr) {
        let mut nonce = [0; 32];
        cx.local.rng.fill_bytes(&mut nonce);
        let target = match self.conns.get(&conn).and_then(|conn| conn.target.clone()) {
            Some(Target::Node(id)) => Some(id),
            _ => None,
        };
        let (initiator, hello) = Initiator::start(&cx.local.hello(), nonce, target.as_ref());
        cx.local.waits.cancel(&Wait::Connect(conn));
        cx.local.waits.set(Wait::Handshake(conn), cx.run() + HANDSHAKE_TIMEOUT);
        let now = cx.now();
        if let Some(conn) = self.conns.get_mut(&conn) {
            conn.remote = Some(remote);
            conn.asked = now;
            conn.phase = Phase::Initiating(Box::new(initiator));
        }
        self.send_frame(cx, conn, hello);
    }

    pub(super) fn insert_conn(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        target: Option<Target>,
        remote: Option<SocketAddr>,
        phase: Phase,
    ) {
        let (since, asked, frames) = (cx.now(), cx.now(), FrameBuffer::default());
        self.conns.insert(conn, Box::new(Conn { target, remote, since, asked, frames, in_flight: 0, phase }));
    }

    /// Releases a frame of a handshake. Its bytes are in flight like those of records, also where the session has begun meanwhile.
    fn send_frame(&mut self, cx: &mut Cx<'_>, conn: ConnId, data: Bytes) {
        if let Some(state) = self.conns.get_mut(&conn) {
            state.in_flight += data.len();
            cx.host.actions.push_back(Action::Transmit { conn, data });
        }
    }

    /// Makes room for one more stranger where there is none: the oldest of the address with the most goes, and none younger than a
    /// second while an older one exists.
    fn make_room(&mut self, cx: &mut Cx<'_>, origin: Origin) {
        let limits = &cx.local.settings.limits;
        let of_origin = self.half_open.get(&origin).map_or(0, |conns| conns.len());
        let victim = if of_origin >= limits.half_open_per_address {
            self.half_open.get(&origin).and_then(|conns| conns.first().copied())
        } else if self.half_open_count >= limits.half_open {
            self.eviction_candidate(cx)
        } else {
            None
        };
        if let Some(victim) = victim {
            cx.host.counters.evicted += 1;
            self.reject(cx, victim, RejectCode::Busy);
        }
    }

    fn eviction_candidate(&self, cx: &Cx<'_>) -> Option<ConnId> {
        let oldest = |conns: &alloc::collections::BTreeSet<ConnId>| conns.first().copied();
        let is_old = |conn: ConnId| self.conns.get(&conn).is_some_and(|conn| cx.now() - conn.since >= EVICTION_AGE);
        let crowded = |of_age: bool| {
            self.half_open
                .values()
                .filter(|conns| !of_age || oldest(conns).is_some_and(is_old))
                .max_by_key(|conns| (conns.len(), Reverse(oldest(conns))))
                .and_then(oldest)
        };
        crowded(true).or_else(|| crowded(false))
    }

    // Bytes

    /// Bytes came in; frame by frame they go where the connection's phase says.
    pub(super) fn received(&mut self, cx: &mut Cx<'_>, conn: ConnId, mut data: Bytes, wall: WallTime) {
        while let Some(state) = self.conns.get_mut(&conn) {
            let (limit, in_session) = match state.phase {
                Phase::Initiating(_) | Phase::Responding(_) => (HANDSHAKE_FRAME_MAX, false),
                Phase::Session(_) => (RECORD_MAX, true),
                Phase::Dialling | Phase::Reaching(_) => return,
            };
            // What begins by no length of a frame is of another protocol: the first bytes of HTTP, TLS or SSH are a large number.
            let first = match &state.phase {
                Phase::Initiating(handshake) => !handshake.is_half_done(),
                Phase::Responding(handshake) => !handshake.is_half_done(),
                _ => false,
            };
            match state.frames.next(&mut data, limit) {
                Ok(Some(frame)) if in_session => self.record(cx, conn, &frame, wall),
                Ok(Some(frame)) => self.handshake_frame(cx, conn, &frame),
                Ok(None) => return,
                Err(_) if first => return self.fault(cx, conn, PeerFault::InvalidMagic),
                Err(fault) => return self.fault(cx, conn, fault),
            }
        }
    }

    fn handshake_frame(&mut self, cx: &mut Cx<'_>, conn: ConnId, frame: &[u8]) {
        // The handshake is taken out of its place while it reads the node's own part.
        let Some(state) = self.conns.get_mut(&conn) else { return };
        let mut phase = core::mem::replace(&mut state.phase, Phase::Dialling);
        let outcome = match &mut phase {
            Phase::Initiating(handshake) => self.initiator_frame(cx, conn, handshake, frame),
            Phase::Responding(handshake) => self.responder_frame(cx, conn, handshake, frame),
            Phase::Dialling | Phase::Reaching(_) | Phase::Session(_) => Ok(None),
        };
        if let Some(state) = self.conns.get_mut(&conn) {
            state.phase = phase;
        }
        match outcome {
            Ok(None) => {
                if let Some(state) = self.conns.get_mut(&conn) {
                    state.asked = cx.now();
                }
            }
            Ok(Some(keyed)) => self.authenticated(cx, conn, keyed),
            Err(HandshakeFailure::Refused(reason)) => self.rejected(cx, conn, reason),
            Err(HandshakeFailure::Fault { fault, reject: None }) => self.fault(cx, conn, fault),
            Err(HandshakeFailure::Fault { fault, reject: Some(code) }) => {
                self.count_fault(cx, conn, fault);
                self.reject(cx, conn, code);
            }
        }
    }

    fn initiator_frame(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        handshake: &mut Initiator,
        frame: &[u8],
    ) -> Result<Option<Keyed>, HandshakeFailure> {
        match handshake.on_frame(&cx.local.hello(), frame)? {
            InitiatorStep::Send(auth) => {
                self.send_frame(cx, conn, auth);
                Ok(None)
            }
            InitiatorStep::Done(keyed) => Ok(Some(*keyed)),
        }
    }

    fn responder_frame(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        handshake: &mut Responder,
        frame: &[u8],
    ) -> Result<Option<Keyed>, HandshakeFailure> {
        let (reply, keyed) = match handshake.on_frame(&cx.local.hello(), frame)? {
            ResponderStep::Send(challenge) => (challenge, None),
            ResponderStep::Done(auth_ok, keyed) => (auth_ok, Some(*keyed)),
        };
        self.send_frame(cx, conn, reply);
        Ok(keyed)
    }

    /// The peer said, unauthenticated, why it does not want this node.
    fn rejected(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: Refusal) {
        self.report_refusal(cx, conn, reason);
        self.end_conn(cx, conn, Some(GRACEFUL), Ended::from(reason));
    }

    // Ends

    /// The read side ended, or a graceful close is done.
    pub(super) fn closed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if !self.closing.remove(&conn) {
            self.end_conn(cx, conn, Some(Close::Abort), Ended::Failed(Unreached::Closed));
        }
    }

    pub(super) fn handshake_overdue(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.fault(cx, conn, PeerFault::HandshakeTimeout);
    }

    /// The peer broke a rule: the connection ends without a reply.
    pub(super) fn fault(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: PeerFault) {
        self.count_fault(cx, conn, fault);
        self.end_conn(cx, conn, Some(Close::Abort), Ended::Failed(Unreached::Fault(fault)));
    }

    pub(super) fn count_fault(&mut self, cx: &mut Cx<'_>, conn: ConnId, fault: PeerFault) {
        let Some(state) = self.conns.get(&conn) else { return };
        cx.host.counters.faults += 1;
        let Some(addr) = state.remote else { return };
        if self.is_detour(conn, Unreached::Fault(fault)) || self.is_reported(conn, Unreached::Fault(fault)) {
            return;
        }
        let session = state.session();
        let id = session.map(|session| session.id.clone());
        let Said { claimed, wanted } = match &state.phase {
            Phase::Responding(handshake) => handshake.said().clone(),
            _ => Said::default(),
        };
        if state.target.is_some() || session.is_some_and(Session::is_up) {
            self.report_limited(cx, ClusterError::Peer { addr, claimed, fault, id, wanted });
            return;
        }
        // Nodes that advertise one name are met on the way to each other.
        let is_shared =
            |id: &NodeId| id.host_ip().is_none() && id.host() == cx.local.id.host() && id.port() == cx.local.id.port();
        if fault == PeerFault::WrongTarget && wanted.as_ref().is_some_and(is_shared) {
            return;
        }
        // Whoever dials without ever coming up may do so for ever.
        let (ip, why) = (addr.ip().to_canonical(), Unreached::Fault(fault));
        let report = PeerReport { claimed: claimed.clone(), id: id.clone(), ip, wanted: wanted.clone(), why };
        self.report_once(cx, report, ClusterError::Peer { addr, claimed, fault, id, wanted });
    }

    /// Reports what a peer that dialled may do again and again.
    fn report_once(&mut self, cx: &mut Cx<'_>, report: PeerReport, error: ClusterError) {
        if !self.peer_reports.is_told(cx.now(), &report) && self.report_limited(cx, error) {
            self.peer_reports.told(cx.now(), report);
        }
    }

    /// Whether a dial failed in just this way before: a failure is reported once, not at each try.
    fn is_reported(&self, conn: ConnId, why: Unreached) -> bool {
        let target = self.conns.get(&conn).and_then(|conn| conn.target.as_ref());
        let dial = target.and_then(|target| self.dials.get(target));
        dial.is_some_and(|dial| dial.conn == Some(conn) && dial.reported == Some(why))
    }

    pub(super) fn report_refusal(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: Refusal) {
        if self.is_detour(conn, Unreached::Refused(reason)) || self.is_reported(conn, Unreached::Refused(reason)) {
            return;
        }
        let Some(state) = self.conns.get(&conn) else { return };
        let Some(addr) = state.remote else { return };
        let error = ClusterError::Refused { addr, reason };
        let session = state.session().filter(|session| state.target.is_none() && !session.is_up());
        let Some(id) = session.map(|session| session.id.clone()) else {
            self.report_limited(cx, error);
            return;
        };
        // A node that has no room dials too, and refuses its own session.
        let (ip, why) = (addr.ip().to_canonical(), Unreached::Refused(reason));
        self.report_once(cx, PeerReport { claimed: None, id: Some(id), ip, wanted: None, why }, error);
    }

    /// Reports an error that an unauthenticated peer can cause, unless there have been too many. Whether it was told.
    pub(super) fn report_limited(&mut self, cx: &mut Cx<'_>, error: ClusterError) -> bool {
        let admitted = self.reports.admit(cx.now(), cx.local.settings.limits.error_reports_per_second);
        if admitted {
            cx.host.emit(ClusterEvent::Error(error));
        } else {
            cx.host.counters.reports_held_back += 1;
            cx.local.timers.set_earliest(Timer::Reports, self.reports.due());
        }
        admitted
    }

    pub(super) fn sum_up_reports(&mut self, cx: &mut Cx<'_>) {
        let count = self.reports.take_held_back();
        cx.host.emit(ClusterEvent::Error(ClusterError::Suppressed { count }));
    }

    /// Refuses a stranger with a hint for its log, which may be lost: where this node stops, since it waits for no stranger, and where many
    /// are refused, since half of the room is for those who proved themselves.
    fn reject(&mut self, cx: &mut Cx<'_>, conn: ConnId, code: RejectCode) {
        self.send_frame(cx, conn, reject_frame(code));
        let room = self.closing.len() < cx.local.settings.limits.closing_connections.div_ceil(2);
        let how = if room && cx.host.status == ClusterStatus::Running { GRACEFUL } else { Close::Abort };
        self.end_conn(cx, conn, Some(how), Ended::Harmless);
    }

    /// Takes a connection out of the tables, asks the driver to close it unless it never was, and draws the consequences: the node is
    /// down where the session was up, another session may have its turn, the dial is retried.
    pub(super) fn end_conn(&mut self, cx: &mut Cx<'_>, conn: ConnId, how: Option<Close>, ended: Ended) {
        self.end_conn_as(cx, conn, how, ended, NodeDownReason::ConnectionClosed);
    }

    /// [`Node::end_conn`] with the reason of the down, if there is one.
    pub(super) fn end_conn_as(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        how: Option<Close>,
        ended: Ended,
        reason: NodeDownReason,
    ) {
        let Some(state) = self.conns.remove(&conn) else { return };
        let authenticated = state.session().is_some();
        match state.phase {
            Phase::Dialling => cx.local.waits.cancel(&Wait::Connect(conn)),
            Phase::Reaching(_) => {
                cx.local.waits.cancel(&Wait::Connect(conn));
                self.reaching -= 1;
                self.free_dial(cx);
            }
            Phase::Initiating(_) => cx.local.waits.cancel(&Wait::Handshake(conn)),
            Phase::Responding(_) => {
                cx.local.waits.cancel(&Wait::Handshake(conn));
                self.leave_half_open(conn, state.remote);
            }
            Phase::Session(_) => {}
        }
        if let Some(how) = how {
            self.close(cx, conn, how, authenticated);
        }
        if let Phase::Session(session) = state.phase {
            self.session_ended(cx, conn, &session, reason);
        }
        if let Some(target) = state.target {
            self.dial_ended(cx, &target, conn, ended);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, conn: ConnId, how: Close, authenticated: bool) {
        let mut how = how;
        if let Close::Graceful { linger, read_at_most } = &mut how {
            if self.closing.len() >= self.closing_most {
                how = Close::Abort;
            } else {
                if let Some(deadline) = cx.local.timers.get(&Timer::Stop) {
                    *linger = deadline - cx.now();
                }
                if authenticated {
                    *read_at_most = LINGER_BYTES_OF_SESSION;
                }
                self.closing.insert(conn);
            }
        }
        cx.host.actions.push_back(Action::Close { conn, how });
    }

    pub(super) fn leave_half_open(&mut self, conn: ConnId, remote: Option<SocketAddr>) {
        let Some(origin) = remote.map(|remote| Origin::from(remote.ip())) else { return };
        if let Some(conns) = self.half_open.get_mut(&origin)
            && conns.remove(&conn)
        {
            self.half_open_count -= 1;
            if conns.is_empty() {
                self.half_open.remove(&origin);
            }
        }
    }
}
