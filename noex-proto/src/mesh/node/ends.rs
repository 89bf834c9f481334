//! The end of a connection, and all that follows from it; the end of the node.

use alloc::vec::Vec;

use super::Node;
use crate::mesh::close::{CloseReason, Ended};
use crate::mesh::cx::{Cx, Timer, Wait};
use crate::mesh::dialler::{After, Target};
use crate::mesh::links::Phase;
use crate::mesh::pairing::Stage;
use crate::mesh::session::Session;
use crate::wire::message::Control;
use crate::wire::refuse_code::RefuseCode;
use crate::{ConnId, NodeDownReason, NodeId};

impl Node {
    // Connections

    /// The read side ended, or a graceful close is done.
    pub(super) fn closed(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if !self.links.is_closed(conn) {
            cx.close(conn, CloseReason::Closed);
        }
    }

    /// Ends a connection that is still there, asks the driver to close it unless it never was, and draws the
    /// consequences, always in this order: its slot or its place is free, the request for members on it is over, the
    /// node is down where the session was up and is dialled again, the lost are capped, its dial goes on. A turn for
    /// those that waited, dials for the free slot and the next request are queued. What ended it was reported before.
    pub(super) fn end_conn(&mut self, cx: &mut Cx<'_>, conn: ConnId, reason: CloseReason) {
        if matches!(self.links.get(conn).map(|link| &link.phase), Some(Phase::Reaching(_))) {
            self.dialler.slots_mut().release_probe();
            cx.start_dials();
        }
        let Some(link) = self.links.end(cx, conn, reason) else { return };
        if let Phase::Session(session) = link.phase {
            self.session_ended(cx, conn, &session, reason.down_reason());
        }
        if let Some(target) = link.target {
            self.dial_ended(cx, &target, conn, reason.retry());
        }
    }

    /// A session is no more. If it was chosen or in use, whatever waited for it has its turn.
    fn session_ended(&mut self, cx: &mut Cx<'_>, conn: ConnId, session: &Session, reason: NodeDownReason) {
        self.forget_request(cx, conn);
        let id = &session.id;
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.pair.end(conn);
        if peer.pair.chosen() == Some(conn) {
            self.peers.choose(id, None);
            cx.turn(id);
        } else if peer.session() == Some(conn) {
            peer.pair.unused();
            cx.local.waits.cancel(&Wait::Probe(conn));
            self.go_down(cx, conn, session, reason);
            cx.turn(id);
        }
        self.forget_if_never_up(cx, id);
        self.cap_disconnected(cx);
    }

    /// The session in use is no more: the node is down, and dialled again. While this node stops, nobody goes down for it.
    fn go_down(&mut self, cx: &mut Cx<'_>, conn: ConnId, session: &Session, reason: NodeDownReason) {
        let id = &session.id;
        self.peers.go_down(cx, id, session.incarnation, reason);
        cx.local.timers.cancel(&Timer::Steady(conn));
        cx.local.waits.cancel(&Wait::Above(conn));
        let left = self.peers.up().filter_map(|(_, _, conn)| Some(self.links.session(conn)?.interval()));
        self.detector.down(cx.local.settings.heartbeat_interval, conn, &session.watch, left);
        if !cx.is_running() {
            return;
        }
        // Before the cap, which may forget this very node, and its dial with it.
        let left = reason == NodeDownReason::GracefulShutdown;
        if left {
            self.remove_dial(cx, &Target::Node(id.clone()));
        }
        self.dialler.redial(cx, id, left);
        self.cap_disconnected(cx);
    }

    /// A dialled connection ended before its session was up: the dial tries its next address, or is over.
    fn dial_ended(&mut self, cx: &mut Cx<'_>, target: &Target, conn: ConnId, ended: Ended) {
        let (dialler, known) = self.dialling();
        match dialler.ended(cx, target, conn, ended, &known) {
            None => {}
            Some(After::Next(connect)) => self.connect(cx, connect),
            Some(After::Over(failed)) => {
                if let Some(why) = failed {
                    self.dial_missed(cx, target, why);
                }
                cx.start_dials();
            }
        }
    }

    /// The last session with a node has ended. If it was never up and nobody dials it, its entry holds nothing and is forgotten; where
    /// others told of it meanwhile, which is not said twice, it is dialled.
    fn forget_if_never_up(&mut self, cx: &mut Cx<'_>, id: &NodeId) {
        if !self.peers.is_never_up(id) || self.dialler.contains(&Target::Node(id.clone())) {
            return;
        }
        let rumored = self.peers.get(id).is_some_and(|peer| peer.incarnation.is_some());
        if !rumored || self.dialler.seed_at(id).is_some() {
            self.peers.forget(id);
        } else {
            self.dialler.dial_node(cx, id.clone(), cx.now() + cx.local.settings.reconnect_base_delay);
        }
    }

    // The node

    /// Admits and dials nobody any more, and gives up what is not a session in use.
    pub(crate) fn drain(&mut self, cx: &mut Cx<'_>) {
        self.dialler.clear(cx);
        self.links.stop(&cx.local.settings.limits);
        let conns: Vec<ConnId> = self.links.iter().map(|(conn, _)| conn).collect();
        for conn in conns {
            match self.links.session(conn).map(|session| &session.stage) {
                Some(Stage::Last(_) | Stage::Up) => {}
                Some(_) => self.refuse(cx, conn, RefuseCode::Leaving),
                None => cx.close(conn, CloseReason::GivenUp(Ended::Harmless)),
            }
        }
        self.settle(cx);
    }

    /// Says goodbye to every peer, behind all that is queued for it.
    pub(crate) fn leave(&mut self, cx: &mut Cx<'_>) {
        let up: Vec<ConnId> = self.peers.up().map(|(_, _, conn)| conn).collect();
        for conn in up {
            self.send_last(cx, conn, Control::Goodbye);
        }
        self.settle(cx);
    }

    /// The stop has taken as long as it may.
    pub(super) fn stop_deadline(&mut self, cx: &mut Cx<'_>) {
        self.links.abort(cx.host);
        self.links.forget_closing();
    }

    /// Whether nothing is left of the node that its stop waits for. Unauthenticated peers cannot hold it up.
    pub(crate) fn is_over(&self) -> bool {
        self.links.session_count() == 0 && self.links.closing().is_empty()
    }
}
