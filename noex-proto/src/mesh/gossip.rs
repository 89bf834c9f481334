//! Gossip: who asks whom for its members, and what becomes of the answer. Nothing is sent while the views agree.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use core::hash::Hasher;
use core::time::Duration;

use super::cx::{Cx, Timer, Wait};
use crate::id::incarnation::Incarnation;
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::time::RunTime;
use crate::wire::message::Members;
use crate::{ConnId, Instant, NodeId};

/// How many heartbeats in a row must carry another digest before members are asked for: what is only on its way settles by itself.
const DIFFERENCES: u32 = 2;

/// How long an answer may take before another peer is asked.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long no session has come up when the view has settled.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// How many gossiped members are ingested at once: each new one takes its place in the tables, so that a message could make this node
/// allocate many times its own size.
const TAKEN_AT_ONCE: usize = 16;

/// How long the others wait.
const TAKEN_EVERY: Duration = Duration::from_millis(1);

/// The longest time after which an exchange between unchanged views is repeated.
const REPEAT_AFTER: Duration = Duration::from_secs(300);

/// The request for members that is under way, and the answers that wait to be ingested.
#[derive(Clone, Debug)]
pub(crate) struct Gossip {
    asked: Option<Asked>,
    told: VecDeque<Told>,
    /// When members may next be asked for because of a difference of digests.
    next_exchange: Instant,
}

/// A request for members that is under way.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    /// When, on the clock on which a pause of this node is nobody's fault.
    at: RunTime,
    pub(crate) conn: ConnId,
    pub(crate) id: NodeId,
    /// The node joins: it dials whom it learns of at once.
    joining: bool,
    /// How many ids have come.
    received: usize,
    /// When.
    pub(crate) since: Instant,
}

/// A page of members that is still to be ingested.
#[derive(Clone, Debug)]
struct Told {
    /// The node joins: it dials whom it learns of at once.
    joining: bool,
    members: Members,
    /// Whether the peer that told is on this machine.
    near: bool,
}

/// The rest of an answer to a request for members.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The last member that was told of.
    pub(crate) after: Option<NodeId>,
    /// The digest of the view when the request came.
    pub(crate) digest: u64,
}

/// What a peer has said of its view.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The number of members that its INTRO announced, until it has been asked for them or its view is known to be the same; the
    /// greatest number where it is to be asked in any case.
    announced: u64,
    /// How many heartbeats in a row had another digest than the local one.
    differs: u32,
    /// The digests, own and the peer's, for which members were exchanged last, and when.
    exchanged: Option<Box<(u64, u64, Instant)>>,
    /// When it may be asked about a difference again.
    ask_after: Instant,
    /// When it was last known: by a heartbeat of the local digest, or by a request that was answered.
    known_at: Instant,
    /// Its last request was not answered.
    unanswered: bool,
    /// When members were last sent to it.
    answered: Option<Instant>,
}

impl View {
    /// The peer is up, and its INTRO announced so many members. `entrance`: it is asked whatever it announced, since it led this node into
    /// the cluster.
    pub(super) fn up(&mut self, announced: u64, entrance: bool) {
        self.announced = if entrance { u64::MAX } else { announced };
        self.answered = None;
        self.differs = 0;
        self.exchanged = None;
    }

    /// It is the local one.
    pub(super) const fn agreed(&mut self, now: Instant) {
        self.announced = 0;
        self.differs = 0;
        self.known_at = now;
    }

    /// When it was last known.
    pub(super) const fn known_at(&self) -> Instant {
        self.known_at
    }

    /// A page of members came with this digest: the view that it tells of may be another than the one whose heartbeats led to the request.
    pub(super) fn exchanged(&mut self, digest: u64) {
        if let Some(exchanged) = &mut self.exchanged {
            exchanged.1 = digest;
        }
    }

    /// Whether the peer's request for members is answered: not more often than this.
    pub(super) fn answers(&mut self, cx: &mut Cx<'_>, spacing: Duration) -> bool {
        let now = cx.now();
        let answers = self.answered.is_none_or(|at| now - at >= spacing);
        if answers {
            self.answered = Some(now);
            cx.host.counters.member_answers += 1;
        }
        answers
    }

    /// A request is over. A peer that took long keeps nobody else from being asked: twice that time is for the others.
    pub(super) fn question_is_over(&mut self, cx: &Cx<'_>, asked: &Asked, answered_within: Option<Duration>) {
        // The next request may take less time to arrive than this one did, and the peer counts from when this one came: before the answer.
        // A sixteenth more is for clocks that differ.
        let spacing = answered_within.map(|interval| spacing(cx, interval)).unwrap_or_default();
        let next = cx.now() + spacing + spacing / 16;
        let answered = answered_within.is_some();
        self.ask_after = self.ask_after.max(next).max(cx.now() + 2 * (cx.run() - asked.at));
        self.unanswered = !answered;
        if answered {
            self.known_at = asked.since;
        } else {
            self.exchanged = None;
        }
    }
}

/// A member that a live peer lists: a rumor, never a fact.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) id: NodeId,
    pub(crate) incarnation: Incarnation,
    /// The node joins: it dials whom it learns of at once.
    pub(crate) joining: bool,
    /// Whether the peer that told is on this machine.
    pub(crate) near: bool,
}

/// What a page of members leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    /// It was the last one.
    pub(crate) last: bool,
    /// Nothing else is being ingested.
    pub(crate) first: bool,
}

impl Gossip {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { asked: None, told: VecDeque::new(), next_exchange: now }
    }

    // Getters

    /// The request that is under way.
    pub(crate) const fn asked(&self) -> Option<&Asked> {
        self.asked.as_ref()
    }

    /// Whether gossiped members wait to be ingested, which may be anybody.
    pub(crate) fn is_ingesting(&self) -> bool {
        !self.told.is_empty()
    }

    /// Whether an answer is still to come, or to be ingested.
    fn is_asking(&self) -> bool {
        self.asked.is_some() || self.is_ingesting()
    }

    // Asking

    /// A session has come up: the view settles later.
    pub(super) fn unsettled(&self, cx: &mut Cx<'_>) {
        let at = cx.now() + SETTLED_AFTER.min(cx.local.settings.heartbeat_interval);
        cx.local.timers.set(Timer::Settled, at);
    }

    /// Which of the peers with these views to ask now, and whether this node joins by it: the one that announced most, if that is more than
    /// the number that is `known` now. Once the view has settled, all are asked that were not yet and whose view may be another: of two
    /// nodes that came up at a third, the later has asked it then, and knows of the earlier.
    pub(super) fn next_question<'a>(
        &self,
        cx: &Cx<'_>,
        known: u64,
        views: impl Iterator<Item = (&'a View, ConnId)>,
    ) -> Option<(ConnId, bool)> {
        if self.is_asking() {
            return None;
        }
        let enough = cx.local.timers.get(&Timer::Settled).map_or(0, |_| known);
        // A peer whose last request timed out must not jump the queue by reconnecting.
        let waits = |view: &View| view.unanswered && cx.now() < view.ask_after;
        let unasked = views.filter(|(view, _)| view.announced > enough && !waits(view));
        // It comes last, too.
        let next = unasked.map(|(view, conn)| ((!view.unanswered, view.announced), conn)).max_by_key(|(rank, _)| *rank);
        next.map(|((_, announced), conn)| (conn, announced > known))
    }

    /// A peer is asked for its members. `interval`: that of its heartbeats.
    pub(super) fn ask(
        &mut self,
        cx: &mut Cx<'_>,
        (conn, id): (ConnId, NodeId),
        interval: Duration,
        view: &mut View,
        joining: bool,
    ) {
        view.announced = 0;
        view.ask_after = view.ask_after.max(cx.now() + spacing(cx, interval));
        self.asked = Some(Asked { at: cx.run(), conn, id, joining, received: 0, since: cx.now() });
        cx.local.waits.set(Wait::Answer, cx.local.run + ANSWER_TIMEOUT);
    }

    /// Takes the request that is over.
    pub(super) fn take_question(&mut self, cx: &mut Cx<'_>) -> Option<Asked> {
        let asked = self.asked.take()?;
        cx.local.waits.cancel(&Wait::Answer);
        Some(asked)
    }

    /// Whether a difference between the digest of a peer's heartbeat and the local one leads to an exchange now. One that lasts does so once,
    /// and again only where either view changes or a long time has passed.
    pub(super) fn differs(&mut self, cx: &Cx<'_>, view: &mut View, own: u64, digest: u64) -> bool {
        let now = cx.now();
        let repeat = REPEAT_AFTER.min(cx.local.settings.forget_after / 4);
        view.differs = view.differs.saturating_add(1);
        let settled = matches!(view.exchanged.as_deref(), Some((ours, theirs, at)) if *ours == own && *theirs == digest && now - *at < repeat);
        let soon = now < view.ask_after.max(self.next_exchange);
        if view.differs < DIFFERENCES || settled || soon || self.is_asking() {
            return false;
        }
        view.exchanged = Some(Box::new((own, digest, now)));
        self.next_exchange = now + cx.local.settings.heartbeat_interval / 4;
        true
    }

    // Ingesting

    /// A page of members. One that nobody asked for, or that comes too late, tells nothing.
    pub(super) fn page(&mut self, limit: usize, conn: ConnId, last: bool, mut members: Members, near: bool) -> Option<Page> {
        let asked = self.asked.as_mut().filter(|asked| asked.conn == conn)?;
        let room = limit.saturating_sub(asked.received);
        asked.received += members.len();
        let (joining, last) = (asked.joining, last || asked.received >= limit);
        members.split_off(room.min(members.len()));
        let first = self.told.is_empty();
        if !members.is_empty() {
            self.told.push_back(Told { joining, members, near });
        }
        Some(Page { last, first })
    }

    /// Takes the next gossiped member. `taken` counts those that were taken at once: after so many, the others wait.
    pub(super) fn next_heard(&mut self, cx: &mut Cx<'_>, taken: &mut usize) -> Option<Heard> {
        if *taken == TAKEN_AT_ONCE {
            return None;
        }
        while let Some(Told { joining, members, near }) = self.told.front_mut() {
            if let Some((id, incarnation)) = members.pop_front() {
                *taken += 1;
                if *taken == TAKEN_AT_ONCE {
                    cx.local.timers.set(Timer::TakeIn, cx.local.now + TAKEN_EVERY);
                }
                return Some(Heard { id, incarnation, joining: *joining, near: *near });
            }
            self.told.pop_front();
        }
        None
    }
}

/// How long after a request a peer is not asked again: it need not answer sooner than half its interval. And where it beats more often
/// than this node, others have a time in which to be asked.
fn spacing(cx: &Cx<'_>, interval: Duration) -> Duration {
    interval.max(cx.local.settings.heartbeat_interval) / 2
}

impl Abstract for Gossip {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { asked, told, next_exchange } = self;
        to.write(to.until(*next_exchange));
        to.write(asked.as_ref().map(|asked| (asked.joining, asked.received, to.place(asked.conn))));
        for Told { joining, members, near } in told {
            to.write((joining, near, members));
        }
    }
}

impl Abstract for View {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { announced, differs, exchanged, ask_after, known_at: _, unanswered, answered } = self;
        to.write((announced, differs, unanswered, to.until(*ask_after)));
        to.write(exchanged.as_deref().map(|(own, theirs, at)| (own, theirs, to.age(*at))));
        to.write(answered.map(|at| to.age(at)));
    }
}

impl Abstract for Answer {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { after, digest } = self;
        to.write((after, digest));
    }
}
