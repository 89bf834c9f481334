//! Who is up: node up, node down, the digest of the view, and how long the lost are remembered.

use alloc::vec::Vec;
use core::time::Duration;

use rand_chacha::rand_core::Rng;

use super::cx::Cx;
use super::node::{Intro, Node, Peer, Session, Stage, Target, Timer, Wait};
use crate::digest::member_digest;
use crate::time::Moment;
use crate::{ClusterEvent, ClusterStatus, ConnId, Instant, LastDown, NodeDownReason, NodeId, NodeStatus, WallTime};

impl Node {
    /// INTRO was sent and received: the node is up.
    pub(super) fn go_up(&mut self, cx: &mut Cx<'_>, conn: ConnId, intro: &Intro, wall: WallTime) {
        let run = cx.run();
        let Some(session) = self.conn_session_mut(conn) else { return };
        session.stage = Stage::Up;
        // What came before was no silence: until then nothing had to be said.
        session.heard = run;
        let (id, instance, interval) = (session.id.clone(), session.instance, session.interval());
        let Some(peer) = self.peers.get_mut(&id) else { return };
        cx.host.ups += 1;
        cx.host.counters.ups += 1;
        peer.status = NodeStatus::Connected;
        peer.process_count = intro.process_count;
        peer.uptime_ms = intro.uptime_ms;
        peer.last_heartbeat_at = Some(wall);
        peer.instance = Some(instance);
        peer.session = Some(conn);
        peer.up = cx.host.ups;
        peer.alive_at = cx.now();
        peer.conflict = None;
        peer.view.announced = intro.members;
        peer.view.answered = None;
        peer.view.differs = 0;
        peer.view.exchanged = None;
        let (info, up) = (peer.info(&id), peer.up);
        self.up_count += 1;
        self.digest = self.digest.wrapping_add(member_digest(&instance, &id));
        self.departed.remove(&id);
        self.quicken(cx, interval);
        cx.local.waits.cancel(&Wait::Admission(conn));
        cx.host.emit_up(ClusterEvent::NodeUp(info), up);
        // The first heartbeat comes at a random point of the interval, so that those to many peers are spread over it.
        let first = fraction(cx.local.settings.heartbeat_interval, cx.local.rng.next_u32()).max(Duration::from_millis(1));
        let at = cx.now() + first;
        if let Some(session) = self.conn_session_mut(conn) {
            session.heartbeat_at = at;
            self.heartbeats.insert(conn, at);
        }
        cx.local.timers.set(Timer::Steady(conn), cx.now() + cx.local.settings.heartbeat_interval);
        self.seed_met = self.seed_met || self.is_seed(&id);
        self.watch(cx, conn);
        self.dials_are_done(cx, &id, conn);
        self.ask_on_joining(cx, conn);
    }

    /// The session in use is no more: the node is down. While this node stops, nobody goes down for it.
    pub(super) fn go_down(&mut self, cx: &mut Cx<'_>, id: &NodeId, conn: ConnId, session: &Session, reason: NodeDownReason) {
        let last_down = LastDown { at: cx.local.wall_time(), reason };
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.session = None;
        peer.status = NodeStatus::Disconnected;
        peer.last_down = Some(last_down);
        peer.alive_at = cx.now();
        self.up_count -= 1;
        self.digest = self.digest.wrapping_sub(member_digest(&session.instance, id));
        self.heartbeats.remove(conn, session.heartbeat_at);
        cx.local.timers.cancel(&Timer::Steady(conn));
        self.looks.remove(conn, session.look_at);
        self.find_pulse(cx, session.interval());
        if cx.host.status != ClusterStatus::Running {
            return;
        }
        cx.host.counters.downs += 1;
        cx.host.emit(ClusterEvent::NodeDown { id: id.clone(), reason });
        let left = reason == NodeDownReason::GracefulShutdown;
        if left {
            self.departed.insert(id.clone(), (session.instance, cx.now()));
            self.cap_departed(cx);
        }
        cx.local.timers.set_earliest(Timer::Forget, cx.now() + cx.local.settings.forget_after);
        // Before the cap, which may forget this very node, and its dial with it.
        self.redial_after_down(cx, id, left);
        self.cap_disconnected(cx);
    }

    /// The shortest interval may have gone with this one.
    fn find_pulse(&mut self, cx: &mut Cx<'_>, gone: Duration) {
        if gone > self.pulse || gone == cx.local.settings.heartbeat_interval {
            return;
        }
        let up = self.peers.values().filter_map(|peer| self.conn_session(peer.session?));
        self.pulse = up.map(Session::interval).fold(cx.local.settings.heartbeat_interval, Duration::min);
    }

    /// The last session with a node has ended. If it was never up and nobody dials it, its entry holds nothing and is forgotten; where
    /// others told of it meanwhile, which is not said twice, it is dialled.
    pub(super) fn forget_if_never_up(&mut self, cx: &mut Cx<'_>, id: &NodeId) {
        let own = Target::Node(id.clone());
        let Some(peer) = self.peers.get(id) else { return };
        if peer.status != NodeStatus::Connecting || !peer.admission.sessions.is_empty() || self.dials.contains_key(&own) {
            return;
        }
        if peer.instance.is_none() || self.seed_at(id).is_some() {
            self.peers.remove(id);
        } else {
            self.add_dial(cx, own.clone());
            self.dial_by(own, cx.now() + cx.local.settings.reconnect_base_delay);
        }
    }

    /// Until when it is known what the live peers list: none of them listed anybody then who was not known to be alive later. What was told
    /// and is still to be taken in may hold anybody.
    fn views_known(&self) -> Instant {
        if !self.told.is_empty() {
            return Instant::START;
        }
        let live = self.peers.values().filter(|peer| peer.session.is_some());
        live.map(|peer| peer.view.known_at).min().unwrap_or(Instant::NEVER)
    }

    /// Forgets who was lost long ago and is not listed by any live peer, and rumours of who left. A live peer that has not yet shown, by a
    /// heartbeat or an answer, that it does not list the lost may list them: intervals may be longer than the time after which to forget.
    pub(super) fn forget(&mut self, cx: &mut Cx<'_>) {
        let after = cx.local.settings.forget_after;
        let known = self.views_known();
        let mut next: Option<Instant> = None;
        let mut gone = Vec::new();
        for (id, peer) in &self.peers {
            if peer.status != NodeStatus::Connected {
                let pending = !peer.admission.sessions.is_empty();
                let mut due = if pending { cx.now() + after } else { peer.alive_at + after };
                if due <= cx.now() && peer.alive_at < known {
                    gone.push(id.clone());
                } else {
                    due = due.max(cx.now() + self.pulse);
                    next = Some(next.map_or(due, |next| next.min(due)));
                }
            }
        }
        for id in gone {
            self.forget_node(cx, &id);
        }
        self.departed.retain(|_, (_, at)| {
            let due = *at + after;
            let keep = due > cx.now();
            if keep {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
            keep
        });
        if let Some(next) = next {
            cx.local.timers.set(Timer::Forget, next);
        }
    }

    fn forget_node(&mut self, cx: &mut Cx<'_>, id: &NodeId) {
        self.peers.remove(id);
        self.remove_dial(cx, &Target::Node(id.clone()));
    }

    /// Whether one more node can be known: if need be, the one that has been lost longest is forgotten, and for one that has proved itself
    /// also one that others only told of.
    pub(super) fn make_peer_room(&mut self, cx: &mut Cx<'_>, proved: bool) -> bool {
        let limits = &cx.local.settings.limits;
        if self.peers.len() < limits.members.saturating_add(limits.disconnected_nodes) {
            return true;
        }
        let hint = || proved.then(|| self.oldest(NodeStatus::Connecting)).flatten();
        match self.oldest(NodeStatus::Disconnected).or_else(hint) {
            Some(id) => {
                self.forget_node(cx, &id);
                true
            }
            None => false,
        }
    }

    /// Forgets those lost longest where more are disconnected than may be.
    pub(super) fn cap_disconnected(&mut self, cx: &mut Cx<'_>) {
        let limit = cx.local.settings.limits.disconnected_nodes;
        while self.peers.len() - self.up_count > limit
            && self.without_session(NodeStatus::Disconnected).count() > limit
            && let Some(id) = self.oldest(NodeStatus::Disconnected)
        {
            self.forget_node(cx, &id);
        }
    }

    /// The nodes of a status with which there is no session, admitted or not.
    fn without_session(&self, status: NodeStatus) -> impl Iterator<Item = (&NodeId, &Peer)> {
        let known = self.peers.iter().map(|(id, peer)| (id, &**peer));
        known.filter(move |(_, peer)| peer.status == status && peer.admission.sessions.is_empty())
    }

    /// Of those the one that has been lost, or not been heard of, for the longest time; first of all one that was never up, of which
    /// others only told.
    fn oldest(&self, status: NodeStatus) -> Option<NodeId> {
        self.without_session(status).min_by_key(|(_, peer)| (peer.up > 0, peer.alive_at)).map(|(id, _)| id.clone())
    }

    fn cap_departed(&mut self, cx: &mut Cx<'_>) {
        if self.departed.len() > cx.local.settings.limits.departed_nodes {
            let oldest = self.departed.iter().min_by_key(|(_, (_, at))| *at).map(|(id, _)| id.clone());
            if let Some(id) = oldest {
                self.departed.remove(&id);
            }
        }
    }
}

/// A random share of a duration, uniform from none of it to all.
pub(super) fn fraction(whole: Duration, random: u32) -> Duration {
    whole.mul_f64(f64::from(random) / f64::from(u32::MAX))
}
