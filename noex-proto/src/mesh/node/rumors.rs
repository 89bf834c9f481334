//! Requests for members, their answers, and forgetting.

use alloc::boxed::Box;

use super::Node;
use crate::id::incarnation::Incarnation;
use crate::mesh::close::Ended;
use crate::mesh::cx::Cx;
use crate::mesh::dialler::Target;
use crate::mesh::gossip::{Answer, Heard};
use crate::wire::message::{Control, Members};
use crate::{ConnId, NodeId, PeerFault};

impl Node {
    // Asking

    /// A session has come up. Its INTRO was sent before this node counted there: a node that comes in between is missing from it. So the
    /// first session and those with seeds are asked at once, whatever was announced, and others if they announced more than is known; the
    /// rest when the view has settled.
    pub(super) fn ask_on_joining(&mut self, cx: &mut Cx<'_>, id: &NodeId, announced: u64) {
        let entrance = self.peers.up_count() == 1 || self.dialler.is_seed(id);
        if let Some(peer) = self.peers.get_mut(id) {
            peer.view.up(announced, entrance);
        }
        self.gossip.unsettled(cx);
        cx.ask_next();
    }

    /// Asks the next peer that is to be asked for its members, if there is one.
    pub(super) fn ask_next(&mut self, cx: &mut Cx<'_>) {
        // Without this node, which no INTRO that it got has counted.
        let known = self.peers.len() as u64;
        let views = self.peers.up().map(|(_, peer, conn)| (&peer.view, conn));
        if let Some((conn, joining)) = self.gossip.next_question(cx, known, views) {
            self.ask(cx, conn, joining);
        }
    }

    pub(super) fn ask(&mut self, cx: &mut Cx<'_>, conn: ConnId, joining: bool) {
        let Some(session) = self.links.session(conn) else { return };
        let Some(peer) = self.peers.get_mut(&session.id) else { return };
        self.gossip.ask(cx, (conn, session.id.clone()), session.interval(), &mut peer.view, joining);
        let digest = self.peers.digest();
        self.send_control(cx, conn, Control::MembersRequest { digest });
    }

    /// A request is over: answered, or not.
    fn question_is_over(&mut self, cx: &mut Cx<'_>, answered: bool) {
        let Some(asked) = self.gossip.take_question(cx) else { return };
        let session = self.links.session(asked.conn).filter(|_| answered);
        let within = answered.then(|| session.map(|session| session.interval()).unwrap_or_default());
        if let Some(peer) = self.peers.get_mut(&asked.id) {
            peer.view.question_is_over(cx, &asked, within);
        }
    }

    pub(super) fn answer_overdue(&mut self, cx: &mut Cx<'_>) {
        self.question_is_over(cx, false);
        cx.ask_next();
    }

    /// The session that was asked is no more.
    pub(super) fn forget_request(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if self.gossip.asked().is_some_and(|asked| asked.conn == conn) {
            self.answer_overdue(cx);
        }
    }

    // Answering

    /// A peer asks for the members. It is not answered while an answer is still on its way out.
    pub(super) fn members_requested(&mut self, cx: &mut Cx<'_>, conn: ConnId, digest: u64) -> Result<(), PeerFault> {
        let own = self.peers.digest();
        let Some(session) = self.links.session(conn) else { return Ok(()) };
        let answering = session.answer.is_some() || session.queue.has_members();
        let Some(peer) = self.peers.get_mut(&session.id) else { return Ok(()) };
        if digest == own {
            peer.view.agreed(cx.now());
        }
        // Twice in an interval at most.
        if answering || !peer.view.answers(cx, cx.local.settings.heartbeat_interval / 2) {
            return Ok(());
        }
        if digest == own {
            self.send_control(cx, conn, Control::Members { digest, last: true, members: Members::new() });
        } else {
            self.answer(cx, conn, Answer { after: None, digest: own });
        }
        Ok(())
    }

    /// The next page of an answer is made once the one before has been released, so that no more than one takes memory.
    pub(super) fn continue_answer(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if let Some(session) = self.links.session_mut(conn)
            && !session.queue.has_members()
            && let Some(answer) = session.answer.take()
        {
            self.answer(cx, conn, *answer);
        }
    }

    fn answer(&mut self, cx: &mut Cx<'_>, conn: ConnId, Answer { after, digest }: Answer) {
        let near = self.is_near(cx, conn);
        let Some(session) = self.links.session_mut(conn) else { return };
        let up = self.peers.up_after(after.as_ref());
        let told = up.filter(|(member, _)| **member != session.id && (near || !member.is_loopback()));
        let mut members = told.filter_map(|(member, peer)| Some((member.clone(), peer.incarnation?))).peekable();
        let (page, after) = Control::members_page(digest, &mut members);
        drop(members);
        session.answer = after.map(|after| Box::new(Answer { after: Some(after), digest }));
        self.send_control(cx, conn, page);
    }

    /// A page of members.
    pub(super) fn members_told(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        digest: u64,
        last: bool,
        members: Members,
    ) -> Result<(), PeerFault> {
        let near = self.is_near(cx, conn);
        let Some(page) = self.gossip.page(cx.local.settings.limits.members, conn, last, members, near) else { return Ok(()) };
        if let Some(asked) = self.gossip.asked()
            && let Some(peer) = self.peers.get_mut(&asked.id)
        {
            peer.view.exchanged(digest);
        }
        if page.last {
            self.question_is_over(cx, true);
        }
        // What waits is ingested in its time.
        if page.first {
            self.ingest(cx);
        }
        Ok(())
    }

    // Rumors

    /// Ingests some of the gossiped members. When there is none left, others may be asked.
    pub(super) fn ingest(&mut self, cx: &mut Cx<'_>) {
        let mut taken = 0;
        while let Some(Heard { id, incarnation, joining, near }) = self.gossip.next_heard(cx, &mut taken) {
            if near || !id.is_loopback() {
                self.learn(cx, id, incarnation, joining);
            }
        }
        cx.ask_next();
    }

    /// A live peer lists this node: a hint to dial it, never a fact.
    fn learn(&mut self, cx: &mut Cx<'_>, id: NodeId, incarnation: Incarnation, joining: bool) {
        if id == cx.local.id || self.peers.is_departed(&id, &incarnation) {
            return;
        }
        if self.peers.get(&id).is_none() && !self.make_peer_room(cx, false) {
            return;
        }
        if !self.peers.rumor(cx, &id, incarnation) {
            return self.dialler.rumored_again(cx.now(), id);
        }
        let target = self.dialler.seed_at(&id).unwrap_or_else(|| Target::Node(id.clone()));
        self.dialler.add(cx, target.clone());
        if !self.peers.has_room_for_member(&cx.local.settings.limits) {
            // It would be refused here. A node that wants to be a member meanwhile dials this one.
            self.retry(cx, &target, Ended::Later);
        } else if let Some(target) = self.dialler.rumored(cx, target, &id, joining) {
            self.dial_due(cx, target);
        }
    }

    /// Whether the peer of a connection is on this machine.
    pub(super) fn is_near(&self, cx: &Cx<'_>, conn: ConnId) -> bool {
        self.links.get(conn).is_some_and(|link| cx.local.is_near(link.remote))
    }

    // Forgetting

    /// Forgets the nodes that were lost long ago and are not listed by any live peer, and tombstones.
    pub(super) fn forget(&mut self, cx: &mut Cx<'_>) {
        for id in self.peers.forgettable(cx, self.gossip.is_ingesting(), self.detector.pulse()) {
            self.forget_node(cx, &id);
        }
    }

    fn forget_node(&mut self, cx: &mut Cx<'_>, id: &NodeId) {
        self.peers.forget(id);
        self.remove_dial(cx, &Target::Node(id.clone()));
    }

    /// Whether one more node can be known: if need be, one is forgotten for it.
    pub(super) fn make_peer_room(&mut self, cx: &mut Cx<'_>, proved: bool) -> bool {
        let room = self.peers.room(&cx.local.settings.limits, proved);
        if let Some(Some(id)) = &room {
            self.forget_node(cx, id);
        }
        room.is_some()
    }

    /// Forgets those lost longest where more are disconnected than may be.
    pub(super) fn cap_disconnected(&mut self, cx: &mut Cx<'_>) {
        while let Some(id) = self.peers.over_the_cap(&cx.local.settings.limits) {
            self.forget_node(cx, &id);
        }
    }
}
