//! Gossip: who asks whom for its members, and what becomes of the answer. Nothing is sent while the views agree.

use alloc::boxed::Box;
use core::ops::Bound;
use core::time::Duration;

use super::cx::Cx;
use super::node::{Node, PeerView, Session, Timer, Wait};
use crate::message::{Control, Members};
use crate::time::RunTime;
use crate::{ClusterStatus, ConnId, Instant, NodeId, PeerFault};

/// How many heartbeats in a row must carry another digest before members are asked for: what is only on its way settles by itself.
const DIFFERENCES: u32 = 2;

/// How long an answer may take before another peer is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long no session has come up when the view has settled.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// How many members that were told of are taken in at once: each new one takes its place in the tables, so that a message could make this
/// node allocate many times its own size.
const TAKEN_AT_ONCE: usize = 16;

/// How long the others wait.
const TAKEN_EVERY: Duration = Duration::from_millis(1);

/// The longest time after which an exchange between unchanged views is repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(300);

/// A request for members that is under way.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// When, on the clock on which a pause of this node is nobody's fault.
    pub(super) at: RunTime,
    pub(super) conn: ConnId,
    pub(super) id: NodeId,
    /// The node joins: it dials whom it learns of at once.
    pub(super) joining: bool,
    /// How many ids have come.
    pub(super) received: usize,
    /// When.
    pub(super) since: Instant,
}

/// A page of members that is still to be taken in.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// The node joins: it dials whom it learns of at once.
    pub(super) joining: bool,
    pub(super) members: Members,
    /// Whether who told is on this machine.
    pub(super) near: bool,
}

/// The rest of an answer to a question for members.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// The last member that was told of.
    pub(super) after: Option<NodeId>,
    /// The digest of the view when the question came.
    pub(super) digest: u64,
}

impl Node {
    // Asking

    /// A session has come up. Its INTRO was sent before this node counted there: who comes in between is missing from it. So the first
    /// session and those with seeds are asked at once, whatever was announced, and others if they announced more than is known; the rest
    /// when the view has settled.
    pub(super) fn ask_on_joining(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(id) = self.conn_session(conn).map(|session| session.id.clone()) else { return };
        let entrance = self.up_count == 1 || self.is_seed(&id);
        if entrance && let Some(peer) = self.peers.get_mut(&id) {
            peer.view.announced = u64::MAX;
        }
        cx.local.timers.set(Timer::Settled, cx.now() + SETTLED_AFTER.min(cx.local.settings.heartbeat_interval));
        self.ask_next(cx);
    }

    /// Whether an answer is still to come, or to be taken in.
    fn is_asking(&self) -> bool {
        self.asked.is_some() || !self.told.is_empty()
    }

    /// Asks the peer that announced most, if that is more than is known now. Once the view has settled, all are asked that were not yet
    /// and whose view may be another: of two nodes that came up at a third, the later has asked it then, and knows of the earlier.
    pub(super) fn ask_next(&mut self, cx: &mut Cx<'_>) {
        if cx.host.status != ClusterStatus::Running || self.is_asking() {
            return;
        }
        // Without this node, which no INTRO that it got has counted.
        let known = self.peers.len() as u64;
        let enough = cx.local.timers.get(&Timer::Settled).map_or(0, |_| known);
        // Who let its last question run out would take each turn by a new session.
        let waits = |view: &PeerView| view.unanswered && cx.now() < view.ask_after;
        let unasked = self.peers.values().filter(|peer| peer.view.announced > enough && !waits(&peer.view));
        // Who let its last question run out comes last.
        let rank = |view: &PeerView| (!view.unanswered, view.announced);
        let next = unasked.filter_map(|peer| Some((rank(&peer.view), peer.session?))).max_by_key(|(rank, _)| *rank);
        if let Some(((_, announced), conn)) = next {
            self.ask(cx, conn, announced > known);
        }
    }

    fn ask(&mut self, cx: &mut Cx<'_>, conn: ConnId, joining: bool) {
        let Some(session) = self.conn_session(conn) else { return };
        let (id, spacing) = (session.id.clone(), self.spacing(cx, session));
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.view.announced = 0;
            peer.view.ask_after = peer.view.ask_after.max(cx.now() + spacing);
        }
        self.asked = Some(Asked { at: cx.run(), conn, id, joining, received: 0, since: cx.now() });
        cx.local.waits.set(Wait::Answer, cx.run() + ANSWER_TIMEOUT);
        self.send_control(cx, conn, Control::MembersRequest { digest: self.digest });
    }

    /// How long after a question a peer is not asked again: it need not answer sooner than half its interval. And where it beats more often
    /// than this node, others have a time in which to be asked.
    fn spacing(&self, cx: &Cx<'_>, session: &Session) -> Duration {
        session.interval().max(cx.local.settings.heartbeat_interval) / 2
    }

    /// A question is over: answered, or not. Who took long keeps nobody from being asked: twice that time is for the others.
    fn question_is_over(&mut self, cx: &mut Cx<'_>, answered: bool) {
        let Some(Asked { at, conn, id, since, .. }) = self.asked.take() else { return };
        cx.local.waits.cancel(&Wait::Answer);
        // The next question may take less time to arrive than this one did, and the peer counts from when this one came: before the answer.
        // A sixteenth more is for clocks that differ.
        let spacing = self.conn_session(conn).filter(|_| answered).map(|session| self.spacing(cx, session)).unwrap_or_default();
        let next = cx.now() + spacing + spacing / 16;
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let view = &mut peer.view;
        view.ask_after = view.ask_after.max(next).max(cx.now() + 2 * (cx.run() - at));
        view.unanswered = !answered;
        if answered {
            view.known_at = since;
        } else {
            view.exchanged = None;
        }
    }

    pub(super) fn answer_overdue(&mut self, cx: &mut Cx<'_>) {
        self.question_is_over(cx, false);
        self.ask_next(cx);
    }

    /// The session that was asked is no more.
    pub(super) fn forget_request(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if self.asked.as_ref().is_some_and(|asked| asked.conn == conn) {
            self.question_is_over(cx, false);
            self.ask_next(cx);
        }
    }

    /// A heartbeat carries the digest of its sender's view. A difference that lasts leads to one exchange, which is not repeated while
    /// neither view changes until a long time has passed.
    pub(super) fn view_differs(&mut self, cx: &mut Cx<'_>, conn: ConnId, id: &NodeId, digest: u64) {
        let (asking, own) = (self.is_asking(), self.digest);
        let repeat = REPEAT_AFTER.min(cx.local.settings.forget_after / 4);
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.view.differs = peer.view.differs.saturating_add(1);
        let settled = matches!(peer.view.exchanged.as_deref(), Some((ours, theirs, at)) if *ours == own && *theirs == digest && cx.now() - *at < repeat);
        let soon = cx.now() < peer.view.ask_after.max(self.next_exchange);
        if peer.view.differs < DIFFERENCES || settled || soon || asking {
            return;
        }
        peer.view.exchanged = Some(Box::new((own, digest, cx.now())));
        self.next_exchange = cx.now() + cx.local.settings.heartbeat_interval / 4;
        self.ask(cx, conn, false);
    }

    // Answering

    /// A peer asks for the members: not more often than twice in an interval, and not while an answer is still on its way out.
    pub(super) fn members_requested(&mut self, cx: &mut Cx<'_>, conn: ConnId, digest: u64) -> Result<(), PeerFault> {
        let Some(session) = self.conn_session(conn) else { return Ok(()) };
        let id = session.id.clone();
        let answering = session.answer.is_some() || session.queue.has_members();
        let spacing = cx.local.settings.heartbeat_interval / 2;
        let agreed = digest == self.digest;
        let Some(peer) = self.peers.get_mut(&id) else { return Ok(()) };
        if agreed {
            peer.view.agreed(cx.now());
        }
        if answering || peer.view.answered.is_some_and(|at| cx.now() - at < spacing) {
            return Ok(());
        }
        peer.view.answered = Some(cx.now());
        cx.host.counters.member_answers += 1;
        if agreed {
            self.send_control(cx, conn, Control::Members { digest, last: true, members: Members::new() });
        } else {
            self.answer(cx, conn, Answer { after: None, digest: self.digest });
        }
        Ok(())
    }

    /// The next page of an answer is made once the one before has been released, so that no more than one takes memory.
    pub(super) fn continue_answer(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        if let Some(session) = self.conn_session_mut(conn)
            && !session.queue.has_members()
            && let Some(answer) = session.answer.take()
        {
            self.answer(cx, conn, *answer);
        }
    }

    fn answer(&mut self, cx: &mut Cx<'_>, conn: ConnId, Answer { after, digest }: Answer) {
        let near = self.conns.get(&conn).is_some_and(|conn| cx.local.is_near(conn.remote));
        let Some(session) = self.conns.get_mut(&conn).and_then(|state| state.session_mut()) else { return };
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let up = self.peers.range((from, Bound::Unbounded)).filter(|(_, peer)| peer.session.is_some());
        let told = up.filter(|(member, _)| **member != session.id && (near || !member.is_loopback()));
        let mut members = told.filter_map(|(member, peer)| Some((member.clone(), peer.instance?))).peekable();
        let (page, after) = Control::members_page(digest, &mut members);
        session.answer = after.map(|after| Box::new(Answer { after: Some(after), digest }));
        self.send_control(cx, conn, page);
    }

    /// A page of members. One that nobody asked for, or that comes too late, tells nothing.
    pub(super) fn members_told(
        &mut self,
        cx: &mut Cx<'_>,
        conn: ConnId,
        digest: u64,
        last: bool,
        mut members: Members,
    ) -> Result<(), PeerFault> {
        let limit = cx.local.settings.limits.members;
        let near = self.conns.get(&conn).is_some_and(|conn| cx.local.is_near(conn.remote));
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.conn == conn) else { return Ok(()) };
        let room = limit.saturating_sub(asked.received);
        asked.received += members.len();
        // The view that it tells of may be another than the one whose heartbeats led to the question.
        if let Some(exchanged) = self.peers.get_mut(&asked.id).and_then(|peer| peer.view.exchanged.as_mut()) {
            exchanged.1 = digest;
        }
        let (joining, last) = (asked.joining, last || asked.received >= limit);
        members.split_off(room.min(members.len()));
        let taking = !self.told.is_empty();
        if !members.is_empty() {
            self.told.push_back(Told { joining, members, near });
        }
        if last {
            self.question_is_over(cx, true);
        }
        // What waits is taken in in its time.
        if !taking {
            self.take_in(cx);
        }
        Ok(())
    }

    /// Takes in some of the members that were told of. When there is none left, others may be asked.
    pub(super) fn take_in(&mut self, cx: &mut Cx<'_>) {
        let mut room = TAKEN_AT_ONCE;
        while let Some(told) = self.told.front_mut() {
            let (joining, near) = (told.joining, told.near);
            let Some((id, instance)) = told.members.pop_front() else {
                self.told.pop_front();
                continue;
            };
            if near || !id.is_loopback() {
                self.learn(cx, id, instance, joining);
            }
            room -= 1;
            if room == 0 {
                cx.local.timers.set(Timer::TakeIn, cx.now() + TAKEN_EVERY);
                return;
            }
        }
        self.ask_next(cx);
    }
}
