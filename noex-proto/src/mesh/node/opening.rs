//! A connection from its beginning to its session.

use core::net::SocketAddr;

use bytes::Bytes;

use super::Node;
use crate::mesh::close::{CloseReason, Ended};
use crate::mesh::cx::Cx;
use crate::mesh::dialler::Target;
use crate::mesh::links::{Phase, Read};
use crate::mesh::reports::PeerReport;
use crate::mesh::session::Session;
use crate::wire::handshake::{HandshakeFailure, Keyed, RejectCode, Said, reject_frame};
use crate::{ClusterError, ConnId, ConnectError, DialError, NodeId, PeerFault, Refusal, Unreached, WallTime};

impl Node {
    // Beginnings

    /// An unauthenticated peer came in.
    pub(super) fn accepted(&mut self, cx: &mut Cx<'_>, conn: ConnId, remote: SocketAddr) {
        cx.host.new_conn();
        cx.host.counters.accepted += 1;
        if let Some(victim) = self.links.victim(cx, remote) {
            cx.host.counters.evicted += 1;
            self.reject(cx, victim, RejectCode::Busy);
            self.perform(cx);
        }
        self.links.accept(cx, conn, remote);
    }

    /// A connect succeeded.
    pub(super) fn connected(&mut self, cx: &mut Cx<'_>, conn: ConnId, remote: SocketAddr) {
        let Some(link) = self.links.get(conn) else { return };
        match link.phase {
            Phase::Dialling => {
                let node = match &link.target {
                    Some(Target::Node(id)) => Some(id.clone()),
                    _ => None,
                };
                self.links.begin_handshake(cx, conn, remote, node.as_ref());
            }
            Phase::Reaching(session) => {
                cx.close(conn, CloseReason::GivenUp(Ended::Harmless));
                self.port_accepts(cx, session);
            }
            _ => {}
        }
    }

    /// The connection was not made.
    pub(super) fn dial_failed(&mut self, cx: &mut Cx<'_>, conn: ConnId, error: ConnectError) {
        self.connect_is_over(cx, conn, CloseReason::NotConnected, error);
    }

    /// The connection was not made in time.
    pub(super) fn dial_overdue(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.connect_is_over(cx, conn, CloseReason::GivenUp, ConnectError::TimedOut);
    }

    fn connect_is_over(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: fn(Ended) -> CloseReason, error: ConnectError) {
        let Some(link) = self.links.get(conn) else { return };
        match link.phase {
            Phase::Dialling => {
                let ended = match error {
                    ConnectError::Local(cause) => {
                        if let Some(target) = &link.target {
                            self.dialler.missed_locally(target, cause);
                        }
                        Ended::Local
                    }
                    ConnectError::Refused => Ended::Failed(Unreached::Dial(DialError::Refused)),
                    ConnectError::TimedOut => Ended::Failed(Unreached::Dial(DialError::TimedOut)),
                    ConnectError::Unreachable => Ended::Failed(Unreached::Dial(DialError::Unreachable)),
                };
                cx.close(conn, reason(ended));
            }
            Phase::Reaching(session) => {
                cx.close(conn, reason(Ended::Harmless));
                self.port_fails(cx, session, error == ConnectError::Refused);
            }
            _ => {}
        }
    }

    // Bytes

    /// Takes the next frame from bytes that came in; it goes where the connection's phase says. False where there is none.
    #[inline]
    pub(crate) fn read(&mut self, cx: &mut Cx<'_>, conn: ConnId, data: &mut Bytes, wall: WallTime) -> bool {
        match self.links.read(conn, data) {
            Ok(Some(Read::Record(record))) => self.record(cx, conn, &record, wall),
            Ok(Some(Read::Handshake(frame))) => self.handshake_frame(cx, conn, &frame),
            Ok(None) => return false,
            Err(fault) => self.fault(cx, conn, fault),
        }
        self.settle(cx);
        true
    }

    fn handshake_frame(&mut self, cx: &mut Cx<'_>, conn: ConnId, frame: &[u8]) {
        match self.links.handshake_frame(cx, conn, frame) {
            Ok(None) => {}
            Ok(Some(keyed)) => self.authenticated(cx, conn, keyed),
            Err(HandshakeFailure::Refused(reason)) => self.rejected(cx, conn, reason),
            Err(HandshakeFailure::Fault { fault, reject: None }) => self.fault(cx, conn, fault),
            Err(HandshakeFailure::Fault { fault, reject: Some(code) }) => {
                self.count_fault(cx, conn, fault);
                self.reject(cx, conn, code);
            }
        }
    }

    /// The handshake is complete: the connection becomes a session, which still has to be admitted.
    fn authenticated(&mut self, cx: &mut Cx<'_>, conn: ConnId, keyed: Keyed) {
        self.links.authenticated(cx, conn, keyed);
        self.admit(cx, conn);
    }

    /// The peer said, unauthenticated, why it does not want this node.
    fn rejected(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: Refusal) {
        self.report_refusal(cx, conn, reason);
        cx.close(conn, CloseReason::Refused(reason));
    }

    /// Refuses an unauthenticated peer with a hint for its log, which may be lost.
    fn reject(&mut self, cx: &mut Cx<'_>, conn: ConnId, code: RejectCode) {
        self.links.send_frame(cx, conn, reject_frame(code));
        cx.close(conn, CloseReason::TurnedAway);
    }

    // Faults

    /// The peer broke a rule: the connection ends without a reply.
    pub(super) fn fault(&self, cx: &mut Cx<'_>, conn: ConnId, fault: PeerFault) {
        self.count_fault(cx, conn, fault);
        cx.close(conn, CloseReason::Fault(fault));
    }

    pub(super) fn count_fault(&self, cx: &mut Cx<'_>, conn: ConnId, fault: PeerFault) {
        let Some(link) = self.links.get(conn) else { return };
        cx.host.counters.faults += 1;
        let (Some(addr), why) = (link.remote, Unreached::Fault(fault)) else { return };
        if self.is_no_news(conn, why) {
            return;
        }
        let session = link.session();
        let id = session.map(|session| session.id.clone());
        let Said { claimed, wanted } = link.said();
        if link.target.is_some() || session.is_some_and(Session::is_up) {
            cx.report(ClusterError::Peer { addr, claimed, fault, id, wanted });
            return;
        }
        // Nodes that advertise one name are met on the way to each other.
        let own = &cx.local.id;
        let is_shared = |id: &NodeId| id.host_ip().is_none() && id.host() == own.host() && id.port() == own.port();
        if fault == PeerFault::WrongTarget && wanted.as_ref().is_some_and(is_shared) {
            return;
        }
        // Whoever dials without ever coming up may do so for ever.
        let ip = addr.ip().to_canonical();
        let report = PeerReport { claimed: claimed.clone(), id: id.clone(), ip, wanted: wanted.clone(), why };
        cx.report_once(report, ClusterError::Peer { addr, claimed, fault, id, wanted });
    }

    pub(super) fn report_refusal(&self, cx: &mut Cx<'_>, conn: ConnId, reason: Refusal) {
        let why = Unreached::Refused(reason);
        let Some(link) = self.links.get(conn).filter(|_| !self.is_no_news(conn, why)) else { return };
        let Some(addr) = link.remote else { return };
        let error = ClusterError::Refused { addr, reason };
        let session = link.session().filter(|session| link.target.is_none() && !session.is_up());
        let Some(id) = session.map(|session| session.id.clone()) else {
            cx.report(error);
            return;
        };
        // A node that has no room dials too, and refuses its own session.
        let ip = addr.ip().to_canonical();
        cx.report_once(PeerReport { claimed: None, id: Some(id), ip, wanted: None, why }, error);
    }

    /// Whether the end of a connection in this way is no failure of its dial, or was reported of it.
    fn is_no_news(&self, conn: ConnId, why: Unreached) -> bool {
        let known = self.known();
        self.links.target(conn).is_some_and(|target| {
            self.dialler.is_detour(target, conn, why, &known) || self.dialler.is_reported(target, conn, why)
        })
    }
}
