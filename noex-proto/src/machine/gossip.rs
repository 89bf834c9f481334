//! Gossip: who asks whom for its members, and what becomes of the answer. Nothing is sent while the views agree.

use alloc::vec::Vec;
use core::time::Duration;

use super::node::{Asked, Node, Wait};
use crate::message::{Control, Member};
use crate::{ClusterStatus, ConnId, NodeId, PeerFault};

/// How many heartbeats in a row must carry another digest before members are asked for: what is only on its way settles by itself.
const DIFFERENCES: u32 = 2;

/// How long an answer may take before another peer is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest time after which an exchange between unchanged views is repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(300);

impl Node {
    // Asking

    /// A session has come up. A node that joins asks for the members at once, and so does one that knows of fewer than were announced.
    /// The first session's INTRO, and that of a seed with a greater id, was sent before this node counted there: others that join at
    /// the same time may be missing from it, so these are asked whatever they announced.
    pub(super) fn ask_on_joining(&mut self, conn: ConnId) {
        let seed = self.conns.get(&conn).is_some_and(|conn| matches!(conn.target, Some(super::node::Target::Seed(_))));
        let Some(id) = self.conn_session(conn).map(|session| session.id.clone()) else { return };
        let early = self.up_count == 1 || seed && id > self.id;
        if early && let Some(peer) = self.peers.get_mut(&id) {
            peer.view.announced = u64::MAX;
        }
        if self.asked.is_none() && self.announces_more(&id) {
            self.ask(conn, true);
        }
    }

    fn announces_more(&self, id: &NodeId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.view.announced > self.peers.len() as u64 + 1)
    }

    /// After one answer: does another peer announce more than is known now?
    fn ask_next(&mut self) {
        if self.out.status != ClusterStatus::Running {
            return;
        }
        let known = self.peers.len() as u64 + 1;
        let up = self.peers.values().filter(|peer| peer.view.announced > known);
        let next = up.filter_map(|peer| Some((peer.view.announced, peer.session?))).max_by_key(|(announced, _)| *announced);
        if let Some((_, conn)) = next {
            self.ask(conn, true);
        }
    }

    fn ask(&mut self, conn: ConnId, joining: bool) {
        let Some(id) = self.conn_session(conn).map(|session| session.id.clone()) else { return };
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.view.announced = 0;
        }
        self.asked = Some(Asked { conn, joining, received: 0 });
        self.waits.set(Wait::Answer, self.run + ANSWER_TIMEOUT);
        self.send_control(conn, Control::MembersRequest { digest: self.digest });
    }

    pub(super) fn answer_overdue(&mut self) {
        self.asked = None;
        self.ask_next();
    }

    /// The session that was asked is no more.
    pub(super) fn forget_request(&mut self, conn: ConnId) {
        if self.asked.as_ref().is_some_and(|asked| asked.conn == conn) {
            self.waits.cancel(&Wait::Answer);
            self.asked = None;
            self.ask_next();
        }
    }

    /// A heartbeat carries the digest of its sender's view. A difference that lasts leads to one exchange, which is not repeated while
    /// neither view changes until a long time has passed.
    pub(super) fn compare_views(&mut self, conn: ConnId, id: &NodeId, digest: u64) {
        let own = self.digest;
        let repeat = REPEAT_AFTER.min(self.settings.forget_after / 4);
        let Some(peer) = self.peers.get_mut(id) else { return };
        if digest == own {
            peer.view.differs = 0;
            return;
        }
        peer.view.differs = peer.view.differs.saturating_add(1);
        let settled =
            peer.view.exchanged.is_some_and(|(ours, theirs, at)| ours == own && theirs == digest && self.now - at < repeat);
        if peer.view.differs < DIFFERENCES || settled || self.asked.is_some() || self.now < self.next_exchange {
            return;
        }
        peer.view.exchanged = Some((own, digest, self.now));
        self.next_exchange = self.now + self.settings.heartbeat_interval / 4;
        self.ask(conn, false);
    }

    // Answering

    /// A peer asks for the members: not more often than twice in an interval, and not while an answer is still on its way out.
    pub(super) fn members_requested(&mut self, conn: ConnId, digest: u64) -> Result<(), PeerFault> {
        let Some(session) = self.conn_session(conn) else { return Ok(()) };
        let id = session.id.clone();
        let answering = session.queue.has_members();
        let spacing = self.settings.heartbeat_interval / 2;
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if answering || peer.view.answered.is_some_and(|at| self.now - at < spacing) {
            return Ok(());
        }
        peer.view.answered = Some(self.now);
        self.out.counters.member_answers += 1;
        let near =
            self.conns.get(&conn).and_then(|conn| conn.remote).is_some_and(|remote| remote.ip().to_canonical().is_loopback());
        let told = |member: &NodeId| digest != self.digest && *member != id && (near || !member.is_loopback());
        let members = self.peers.iter().filter(|(member, peer)| peer.session.is_some() && told(member));
        let members: Vec<Member> = members.filter_map(|(member, peer)| Some((member.clone(), peer.instance?))).collect();
        let mut members = members.into_iter().peekable();
        loop {
            let page = Control::members_page(self.digest, &mut members);
            self.send_control(conn, page);
            if members.peek().is_none() {
                return Ok(());
            }
        }
    }

    /// A page of members. One that nobody asked for, or that comes too late, tells nothing.
    pub(super) fn members_told(&mut self, conn: ConnId, last: bool, members: Vec<Member>) -> Result<(), PeerFault> {
        let limit = self.settings.limits.members;
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.conn == conn) else { return Ok(()) };
        let room = limit.saturating_sub(asked.received);
        asked.received += members.len();
        let (joining, last) = (asked.joining, last || asked.received >= limit);
        for (id, instance) in members.into_iter().take(room) {
            self.learn(id, instance, joining);
        }
        if last {
            self.waits.cancel(&Wait::Answer);
            self.asked = None;
            self.ask_next();
        }
        Ok(())
    }
}
