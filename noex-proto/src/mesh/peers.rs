//! The nodes that are known: who is up, the digest of the view, and how long the lost and those that left are remembered.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::Hasher;
use core::mem::discriminant;
use core::ops::Bound;
use core::time::Duration;

use super::cx::{Cx, Timer};
use super::event::{MeshEvent, PeerKey};
use super::gossip::View;
use super::pairing::{Intro, Pair};
#[cfg(debug_assertions)]
use super::{cx::Local, session::Session};
use crate::app::subscription::Member;
use crate::id::incarnation::Incarnation;
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::time::Moment;
use crate::wire::digest::member_digest;
use crate::{ConnId, Instant, LastDown, Limits, NodeDownReason, NodeId, NodeInfo, NodeStatus, WallTime};

/// The nodes that are known, the view, and the tombstones.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    // A row is boxed: the nodes of a tree are half empty.
    table: BTreeMap<NodeId, Box<Peer>>,
    up_count: usize,
    /// The number of peers with a chosen session, which is not up yet.
    chosen_count: usize,
    /// The digest of the view: this node and all that are up.
    digest: u64,
    /// The nodes that left, each with the incarnation that did and when, so that a late rumor does not bring it back.
    departed: BTreeMap<NodeId, (Incarnation, Instant)>,
}

/// What is known of another node.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    state: PeerState,
    process_count: u64,
    uptime_ms: u64,
    last_down: Option<LastDown>,
    last_heartbeat_at: Option<WallTime>,
    /// The incarnation that was up last, or that others told of.
    pub(crate) incarnation: Option<Incarnation>,
    /// The number of the present or last up-period, 0 before the first.
    epoch: u64,
    /// When it was last known or told to be alive.
    alive_at: Instant,
    pub(crate) pair: Pair,
    /// The newcomer that was last reported as a conflict.
    pub(crate) conflict: Option<Box<Incarnation>>,
    pub(crate) view: View,
}

/// How a node stands to this one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum PeerState {
    /// Others told of it, or it is about to be admitted. It was never up.
    Rumored,
    /// It was never up, and a dial to it has failed.
    GivenUp,
    /// It is up, by the session on this connection.
    Up(ConnId),
    /// It was up.
    Lost,
}

impl Peer {
    fn new(now: Instant) -> Self {
        Self {
            state: PeerState::Rumored,
            process_count: 0,
            uptime_ms: 0,
            last_down: None,
            last_heartbeat_at: None,
            incarnation: None,
            epoch: 0,
            alive_at: now,
            pair: Pair::default(),
            conflict: None,
            view: View::default(),
        }
    }

    pub(crate) const fn status(&self) -> NodeStatus {
        match self.state {
            PeerState::Rumored => NodeStatus::Connecting,
            PeerState::Up(_) => NodeStatus::Connected,
            PeerState::GivenUp | PeerState::Lost => NodeStatus::Disconnected,
        }
    }

    /// The connection of the session in use.
    pub(crate) const fn session(&self) -> Option<ConnId> {
        match self.state {
            PeerState::Up(conn) => Some(conn),
            PeerState::Rumored | PeerState::GivenUp | PeerState::Lost => None,
        }
    }

    /// Whether it was ever up.
    pub(super) const fn was_up(&self) -> bool {
        matches!(self.state, PeerState::Up(_) | PeerState::Lost)
    }

    /// Whether it was never up, no dial to it has failed, and nothing is under way that could bring it up but a dial.
    fn is_mere_rumor(&self) -> bool {
        self.state == PeerState::Rumored && self.pair.sessions.is_empty()
    }

    /// The node as the application sees it.
    pub(crate) fn info(&self, id: &NodeId) -> NodeInfo {
        let uptime = Duration::from_millis(self.uptime_ms);
        NodeInfo {
            id: id.clone(),
            last_down: self.last_down.clone(),
            last_heartbeat_at: self.last_heartbeat_at,
            process_count: self.process_count,
            started_at: self.last_heartbeat_at.map(|at| at - uptime),
            status: self.status(),
            uptime,
        }
    }

    /// A heartbeat came.
    pub(super) fn beat(&mut self, now: Instant, process_count: u64, uptime_ms: u64, wall: WallTime) {
        self.process_count = process_count;
        self.uptime_ms = uptime_ms;
        self.last_heartbeat_at = Some(wall);
        self.alive_at = now;
    }

    /// Whether this newcomer with its identity was not reported yet. It is from now on.
    pub(super) fn is_new_conflict(&mut self, newcomer: Incarnation) -> bool {
        let news = self.conflict.as_deref() != Some(&newcomer);
        if news {
            self.conflict = Some(Box::new(newcomer));
        }
        news
    }

    /// A live peer lists it, with this incarnation. Whether that is a reason to dial it.
    fn rumored(&mut self, now: Instant, incarnation: Incarnation) -> bool {
        self.alive_at = now;
        let news = self.status() == NodeStatus::Disconnected && self.incarnation != Some(incarnation);
        if news || self.state == PeerState::Rumored {
            self.incarnation = Some(incarnation);
        }
        news
    }
}

impl Peers {
    /// `incarnation` and `id` are those of this node.
    pub(crate) fn new(incarnation: &Incarnation, id: &NodeId) -> Self {
        let digest = member_digest(incarnation, id);
        Self { table: BTreeMap::new(), up_count: 0, chosen_count: 0, digest, departed: BTreeMap::new() }
    }

    // Getters

    pub(crate) fn get(&self, id: &NodeId) -> Option<&Peer> {
        self.table.get(id).map(|peer| &**peer)
    }

    pub(super) fn get_mut(&mut self, id: &NodeId) -> Option<&mut Peer> {
        self.table.get_mut(id).map(|peer| &mut **peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.table.iter().map(|(id, peer)| (id, &**peer))
    }

    /// The nodes that are up, each with the connection of its session.
    pub(super) fn up(&self) -> impl Iterator<Item = (&NodeId, &Peer, ConnId)> {
        self.iter().filter_map(|(id, peer)| Some((id, peer, peer.session()?)))
    }

    /// The same from behind this id.
    pub(super) fn up_after<'a>(&'a self, after: Option<&'a NodeId>) -> impl Iterator<Item = (&'a NodeId, &'a Peer)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rest = self.table.range::<NodeId, _>((from, Bound::Unbounded));
        rest.filter(|(_, peer)| peer.session().is_some()).map(|(id, peer)| (id, &**peer))
    }

    /// The nodes that are up as the application sees them, each with the number of its up-period.
    pub(crate) fn members(&self) -> impl Iterator<Item = Member> {
        self.up().map(|(id, peer, _)| (peer.info(id), peer.epoch))
    }

    pub(crate) const fn up_count(&self) -> usize {
        self.up_count
    }

    #[cfg(debug_assertions)]
    pub(super) const fn chosen_count(&self) -> usize {
        self.chosen_count
    }

    pub(crate) const fn digest(&self) -> u64 {
        self.digest
    }

    pub(crate) const fn departed(&self) -> &BTreeMap<NodeId, (Incarnation, Instant)> {
        &self.departed
    }

    /// The connection of the session in use with a node.
    pub(crate) fn session(&self, id: &NodeId) -> Option<ConnId> {
        self.table.get(id)?.session()
    }

    pub(crate) fn is_up(&self, id: &NodeId) -> bool {
        self.session(id).is_some()
    }

    /// Whether the present incarnation of a node has left, as far as is known.
    pub(super) fn has_left(&self, id: &NodeId) -> bool {
        let left = self.departed.get(id).map(|(left, _)| *left);
        left.is_some() && self.table.get(id).is_some_and(|peer| peer.incarnation == left)
    }

    /// Whether one more node may be up, beside those that are and those that are chosen and will be.
    pub(super) const fn has_room_for_member(&self, limits: &Limits) -> bool {
        self.up_count + self.chosen_count < limits.members
    }

    // Sessions

    /// A session with this node is authenticated: its row, which is made where there is none.
    pub(super) fn met(&mut self, now: Instant, id: &NodeId) -> &mut Peer {
        self.table.entry(id.clone()).or_insert_with(|| Box::new(Peer::new(now)))
    }

    /// Chooses a session with a node, or takes the choice back.
    pub(super) fn choose(&mut self, id: &NodeId, conn: Option<ConnId>) {
        let Some(peer) = self.table.get_mut(id) else { return };
        let before = core::mem::replace(&mut peer.pair.chosen, conn);
        self.chosen_count += usize::from(conn.is_some());
        self.chosen_count -= usize::from(before.is_some());
    }

    /// A session with the node is up. The node as the application sees it, and the number of this up-period among all.
    pub(super) fn go_up(
        &mut self,
        cx: &mut Cx<'_>,
        id: &NodeId,
        conn: ConnId,
        incarnation: Incarnation,
        intro: &Intro,
        wall: WallTime,
    ) -> Option<(NodeInfo, u64)> {
        let peer = self.table.get_mut(id)?;
        cx.host.ups += 1;
        cx.host.counters.ups += 1;
        peer.state = PeerState::Up(conn);
        peer.beat(cx.now(), intro.process_count, intro.uptime_ms, wall);
        peer.incarnation = Some(incarnation);
        peer.epoch = cx.host.ups;
        peer.conflict = None;
        self.up_count += 1;
        self.digest = self.digest.wrapping_add(member_digest(&incarnation, id));
        self.departed.remove(id);
        Some((peer.info(id), peer.epoch))
    }

    /// The session in use is no more: the node is down, which is told. A node that left is remembered as such.
    pub(super) fn go_down(&mut self, cx: &mut Cx<'_>, id: &NodeId, incarnation: Incarnation, reason: NodeDownReason) {
        let Some(peer) = self.table.get_mut(id) else { return };
        if let Some(conn) = peer.session() {
            cx.host.tell(MeshEvent::Down { peer: PeerKey(conn), id: id.clone(), reason });
        }
        peer.state = PeerState::Lost;
        peer.last_down = Some(LastDown { at: cx.local.wall_time(), reason });
        peer.alive_at = cx.now();
        self.up_count -= 1;
        self.digest = self.digest.wrapping_sub(member_digest(&incarnation, id));
        if !cx.is_running() {
            return;
        }
        cx.host.counters.downs += 1;
        if reason == NodeDownReason::GracefulShutdown {
            self.departed.insert(id.clone(), (incarnation, cx.now()));
            self.cap_departed(cx);
        }
        Self::forget_later(cx);
    }

    /// A node that was only told of was not reached. Whether that is news.
    pub(super) fn give_up(&mut self, cx: &mut Cx<'_>, id: &NodeId) -> bool {
        let Some(peer) = self.table.get_mut(id).filter(|peer| peer.is_mere_rumor()) else { return false };
        peer.state = PeerState::GivenUp;
        peer.alive_at = cx.now();
        Self::forget_later(cx);
        true
    }

    // Rumors

    /// A live peer lists a node. Whether that is a reason to dial it: it was not known, or not by this incarnation.
    pub(super) fn rumor(&mut self, cx: &mut Cx<'_>, id: &NodeId, incarnation: Incarnation) -> bool {
        if let Some(peer) = self.table.get_mut(id) {
            return peer.rumored(cx.now(), incarnation);
        }
        let mut peer = Box::new(Peer::new(cx.now()));
        peer.incarnation = Some(incarnation);
        self.table.insert(id.clone(), peer);
        Self::forget_later(cx);
        true
    }

    /// Whether a late rumor tells of an incarnation that has left.
    pub(super) fn is_departed(&self, id: &NodeId, incarnation: &Incarnation) -> bool {
        self.departed.get(id).is_some_and(|(left, _)| left == incarnation)
    }

    // Forgetting

    fn forget_later(cx: &mut Cx<'_>) {
        let at = cx.now() + cx.local.settings.forget_after;
        cx.local.timers.set_earliest(Timer::Forget, at);
    }

    pub(super) fn forget(&mut self, id: &NodeId) {
        self.table.remove(id);
    }

    /// Whether the row of a node whose last session has ended holds nothing that anybody goes by: it was never up.
    pub(super) fn is_never_up(&self, id: &NodeId) -> bool {
        self.table.get(id).is_some_and(|peer| peer.is_mere_rumor())
    }

    /// The nodes to forget now: those lost long ago that no live peer lists. Tombstones that are old enough are forgotten. A live peer that
    /// has not yet shown, by a heartbeat or an answer, that it does not list the lost may list them: intervals may be longer than the time
    /// after which to forget. `ingesting`: what was told and is still to be ingested may hold anybody. `pulse`: the shortest interval.
    pub(super) fn forgettable(&mut self, cx: &mut Cx<'_>, ingesting: bool, pulse: Duration) -> Vec<NodeId> {
        let (now, after) = (cx.now(), cx.local.settings.forget_after);
        let known = if ingesting { Instant::START } else { self.views_known() };
        let mut next: Option<Instant> = None;
        let mut gone = Vec::new();
        for (id, peer) in self.iter() {
            if peer.session().is_none() {
                let pending = !peer.pair.sessions.is_empty();
                let mut due = if pending { now + after } else { peer.alive_at + after };
                if due <= now && peer.alive_at < known {
                    gone.push(id.clone());
                } else {
                    due = due.max(now + pulse);
                    next = Some(next.map_or(due, |next| next.min(due)));
                }
            }
        }
        self.departed.retain(|_, (_, at)| {
            let due = *at + after;
            let keep = due > now;
            if keep {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
            keep
        });
        if let Some(next) = next {
            cx.local.timers.set(Timer::Forget, next);
        }
        gone
    }

    /// Until when it is known what the live peers list: none of them listed anybody then that was not known to be alive later.
    fn views_known(&self) -> Instant {
        self.up().map(|(_, peer, _)| peer.view.known_at()).min().unwrap_or(Instant::NEVER)
    }

    /// Whether one more node can be known, and the one to forget for it: the one that has been lost longest, and for one that has proved
    /// itself also one that others only told of.
    pub(super) fn room(&self, limits: &Limits, proved: bool) -> Option<Option<NodeId>> {
        if self.table.len() < limits.members.saturating_add(limits.disconnected_nodes) {
            return Some(None);
        }
        let hint = || proved.then(|| self.oldest(NodeStatus::Connecting)).flatten();
        self.oldest(NodeStatus::Disconnected).or_else(hint).map(Some)
    }

    /// The one lost longest, where more are disconnected than may be.
    pub(super) fn over_the_cap(&self, limits: &Limits) -> Option<NodeId> {
        let limit = limits.disconnected_nodes;
        let over = self.table.len() - self.up_count > limit && self.without_session(NodeStatus::Disconnected).count() > limit;
        over.then(|| self.oldest(NodeStatus::Disconnected)).flatten()
    }

    /// How many nodes were lost, or were never reached, and have no session.
    pub(crate) fn disconnected(&self) -> usize {
        self.without_session(NodeStatus::Disconnected).count()
    }

    /// The nodes of a status with which there is no session, admitted or not.
    fn without_session(&self, status: NodeStatus) -> impl Iterator<Item = (&NodeId, &Peer)> {
        self.iter().filter(move |(_, peer)| peer.status() == status && peer.pair.sessions.is_empty())
    }

    /// Of those the one that has been lost, or not been heard of, for the longest time; first of all one that was never up, of which
    /// others only told.
    fn oldest(&self, status: NodeStatus) -> Option<NodeId> {
        self.without_session(status).min_by_key(|(_, peer)| (peer.was_up(), peer.alive_at)).map(|(id, _)| id.clone())
    }

    fn cap_departed(&mut self, cx: &Cx<'_>) {
        if self.departed.len() > cx.local.settings.limits.departed_nodes {
            let oldest = self.departed.iter().min_by_key(|(_, (_, at))| *at).map(|(id, _)| id.clone());
            if let Some(id) = oldest {
                self.departed.remove(&id);
            }
        }
    }
}

#[cfg(debug_assertions)]
impl Peers {
    /// Panics where a count, the digest or a row is not what the table and the sessions say.
    pub(super) fn audit<'a>(&self, local: &Local, session_on: impl Fn(ConnId) -> Option<&'a Session>) {
        let mut counts = (0, 0);
        let mut digest = member_digest(&local.incarnation, &local.id);
        for (id, peer) in self.iter() {
            assert_eq!(peer.was_up(), peer.epoch > 0, "whether {id} was up");
            let pair = &peer.pair;
            let is_its = |conn: &ConnId| session_on(*conn).is_some_and(|session| session.id == *id);
            assert!(pair.sessions().iter().all(is_its), "the sessions of {id}");
            let of_peer = |conn: Option<ConnId>| conn.is_none_or(|conn| pair.sessions().contains(&conn));
            assert!(of_peer(pair.chosen()) && of_peer(peer.session()), "{id} has a session that is not among its own");
            counts.0 += usize::from(pair.chosen().is_some());
            if let Some(session) = peer.session().and_then(&session_on) {
                counts.1 += 1;
                digest = digest.wrapping_add(member_digest(&session.incarnation, id));
            }
        }
        assert_eq!((self.chosen_count, self.up_count), counts, "peers with a chosen session, and peers that are up");
        assert_eq!(self.digest, digest, "the digest of the view");
    }

    /// How the books of this part can drift.
    #[cfg(test)]
    pub(crate) const DRIFTS: [fn(&mut Self); 5] = [
        |peers| peers.chosen_count += 1,
        |peers| peers.digest += 1,
        |peers| peers.up_count += 1,
        |peers| peers.table.values_mut().for_each(|peer| peer.state = PeerState::Lost),
        |peers| peers.table.values_mut().for_each(|peer| peer.pair = Pair::default()),
    ];
}

impl Abstract for Peers {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { table, up_count, chosen_count: _, digest, departed } = self;
        to.write((up_count, digest, departed.len()));
        for (id, peer) in table {
            to.write(id);
            to.part(&**peer);
        }
        for (id, (incarnation, _)) in departed {
            to.write((id, incarnation));
        }
    }
}

impl Abstract for Peer {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self {
            state,
            process_count: _,
            uptime_ms: _,
            last_down: _,
            last_heartbeat_at: _,
            incarnation,
            epoch: _,
            alive_at: _,
            pair,
            conflict,
            view,
        } = self;
        to.write((discriminant(state), incarnation, conflict, self.session().map(|conn| to.place(conn))));
        to.part(pair);
        to.part(view);
    }
}
