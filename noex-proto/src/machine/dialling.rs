//! Whom to dial and when: the nodes and seeds that should be connected against those that are.

use core::net::SocketAddr;
use core::time::Duration;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::node::{Dial, Ended, InstanceId, Node, Peer, Phase, Place, Prospect, Target, Timer, Wait};
use crate::backoff::Backoff;
use crate::dial_plan::CONNECT_TIMEOUT;
use crate::{
    Action, Close, ClusterError, ClusterEvent, ClusterStatus, ConnId, DialError, DialPlan, Instant, NodeId, NodeStatus, Refusal,
    Unreached,
};

/// The time over which dials are counted for their rate.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// The most addresses of one name that are remembered as this node's own.
const SKIP_MAX: usize = 16;

/// The most identities that are remembered as found at one seed's address, so that each is reported once.
const MISMATCHES_MAX: usize = 16;

/// A dial that has been in flight for this long and led to no session is likely to take as long the next time.
const SLOW: Duration = Duration::from_secs(1);

/// The longest that the greater of two ids leaves the dial to the lesser.
const COURTESY: Duration = Duration::from_secs(1);

impl Node {
    // Targets

    pub(super) fn add_dial(&mut self, target: Target) {
        let dial = Dial {
            backoff: Backoff::new(self.settings.reconnect_base_delay, self.settings.reconnect_max_delay),
            conn: None,
            queued: None,
            slow: false,
            reported: None,
            found: None,
            mismatches: VecDeque::new(),
            dead_ends: 0,
            skip: Vec::new(),
        };
        self.dials.entry(target).or_insert_with(|| Box::new(dial));
    }

    pub(super) fn remove_dial(&mut self, target: &Target) {
        self.dial_timers.cancel(target);
        let Some(mut dial) = self.dials.remove(target) else { return };
        dial.leave(&mut self.dial_queue);
        let Some(conn) = dial.conn else { return };
        // What is still under way would be in flight beyond the limit, for nobody.
        if matches!(self.conns.get(&conn).map(|conn| &conn.phase), Some(Phase::Dialling | Phase::Initiating(_))) {
            self.end_conn(conn, Some(Close::Abort), Ended::Harmless);
        }
        self.free_dial();
    }

    /// The seeds that lead to this node.
    fn seeds_of(&self, id: &NodeId) -> impl Iterator<Item = Target> {
        let seeds = self.settings.seeds.iter().enumerate().map(|(place, seed)| (Target::Seed(place), seed));
        let leading = seeds.filter(move |(target, seed)| {
            let found = self.dials.get(target).and_then(|dial| dial.found.as_ref());
            found.unwrap_or(seed) == id
        });
        leading.map(|(target, _)| target)
    }

    /// Whether a seed leads to this node.
    pub(super) fn is_seed(&self, id: &NodeId) -> bool {
        self.seeds_of(id).next().is_some()
    }

    /// What is dialled to reach this node: itself, and the seeds that lead to it.
    fn targets_of(&self, id: &NodeId) -> Vec<Target> {
        let own = Target::Node(id.clone());
        let own = self.dials.contains_key(&own).then_some(own);
        self.seeds_of(id).chain(own).collect()
    }

    /// The seed that leads to this node and is dialled at its very address, if there is one: it needs no dial of its own then.
    pub(super) fn seed_at(&self, id: &NodeId) -> Option<Target> {
        self.seeds_of(id).find(|target| {
            let seed = self.address_of(target);
            seed.port() == id.port() && seed.host() == id.host()
        })
    }

    fn is_connected(&self, id: &NodeId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.session.is_some())
    }

    /// What is dialled for a target.
    fn address_of<'a>(&'a self, target: &'a Target) -> &'a NodeId {
        match target {
            Target::Node(id) => id,
            Target::Seed(place) => &self.settings.seeds[*place],
        }
    }

    /// Whether a session with the target is up.
    fn is_reached(&self, target: &Target) -> bool {
        let found = self.dials.get(target).and_then(|dial| dial.found.as_ref());
        self.is_connected(found.unwrap_or_else(|| self.address_of(target)))
    }

    // Dials

    /// A target's time has come.
    pub(super) fn dial_due(&mut self, target: Target) {
        if self.out.status != ClusterStatus::Running {
            return;
        }
        let hint = self.is_hint(&target);
        let Some(dial) = self.dials.get_mut(&target) else { return };
        if dial.conn.is_some() || dial.queued.is_some() {
            return;
        }
        let prospect = match dial.slow {
            _ if hint => Prospect::Hint,
            true => Prospect::Doubtful,
            false => Prospect::Good,
        };
        let last = self.dial_queue.range((prospect, 0)..=(prospect, u64::MAX)).next_back();
        let place = (prospect, last.map_or(0, |((_, place), _)| place + 1));
        dial.queued = Some(place);
        self.dial_queue.insert(place, target);
        self.start_queued_dials();
    }

    /// Whether others only told of it.
    fn is_hint(&self, target: &Target) -> bool {
        matches!(target, Target::Node(id) if self.peers.get(id).is_none_or(|peer| peer.up == 0))
    }

    /// One dial less is in flight: another may begin.
    pub(super) fn free_dial(&mut self) {
        self.dials_in_flight -= 1;
        self.start_queued_dials();
    }

    /// Which of the dials that wait is next: one with good prospects, else a doubtful one and a hint in turn.
    fn next_dial(&self) -> Option<Place> {
        let first = |prospect| self.dial_queue.range((prospect, 0)..=(prospect, u64::MAX)).next().map(|(place, _)| *place);
        let (doubtful, hint) = (first(Prospect::Doubtful), first(Prospect::Hint));
        let in_turn = if self.hint_had_its_turn { doubtful.or(hint) } else { hint.or(doubtful) };
        first(Prospect::Good).or(in_turn)
    }

    /// Starts the dials that wait, as far as their number and their rate allow. Where four or more may be in flight, a quarter is for good
    /// prospects: where packets vanish, the others take the rest for as long as a connect may take.
    pub(super) fn start_queued_dials(&mut self) {
        if self.now - self.dial_tokens_at >= RATE_WINDOW {
            self.dial_tokens_at = self.now;
            self.dial_tokens = self.settings.limits.dials_per_second;
        }
        let limit = self.settings.limits.dials_in_flight;
        while let Some(place @ (prospect, _)) = self.next_dial() {
            let most = if prospect == Prospect::Good { limit } else { limit - limit / 4 };
            if self.dials_in_flight >= most {
                return;
            }
            if self.dial_tokens == 0 {
                self.timers.set(Timer::DialRate, self.dial_tokens_at + RATE_WINDOW);
                return;
            }
            let Some(target) = self.dial_queue.remove(&place) else { return };
            if prospect != Prospect::Good {
                self.hint_had_its_turn = prospect == Prospect::Hint;
            }
            let reached = self.is_reached(&target);
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            dial.queued = None;
            if !reached {
                self.start_dial(target);
            }
        }
    }

    fn start_dial(&mut self, target: Target) {
        let conn = self.out.new_conn();
        let address = self.address_of(&target);
        let (host, port) = (address.host().into(), address.port());
        let Some(dial) = self.dials.get_mut(&target) else { return };
        dial.conn = Some(conn);
        let plan = DialPlan::new(dial.skip.clone(), dial.dead_ends);
        let connect = Action::Connect { conn, host, plan, port };
        self.dials_in_flight += 1;
        self.dial_tokens -= 1;
        self.out.counters.dials += 1;
        self.insert_conn(conn, Some(target), None, Phase::Dialling);
        self.waits.set(Wait::Connect(conn), self.run + CONNECT_TIMEOUT);
        self.out.actions.push_back(connect);
    }

    /// The connection was not made.
    pub(super) fn dial_failed(&mut self, conn: ConnId, error: DialError) {
        self.dial_is_over(conn, None, error);
    }

    /// The connection was not made in time.
    pub(super) fn dial_overdue(&mut self, conn: ConnId) {
        self.dial_is_over(conn, Some(Close::Abort), DialError::TimedOut);
    }

    fn dial_is_over(&mut self, conn: ConnId, how: Option<Close>, error: DialError) {
        match self.conns.get(&conn).map(|conn| &conn.phase) {
            Some(Phase::Dialling) => {
                let ended = match error {
                    DialError::Exhausted => Ended::Later,
                    error => Ended::Failed(Unreached::Dial(error)),
                };
                self.end_conn(conn, how, ended);
            }
            Some(Phase::Reaching(session)) => {
                let session = *session;
                self.end_conn(conn, how, Ended::Harmless);
                self.reach_failed(session, error);
            }
            _ => {}
        }
    }

    /// A dialled connection ended before a session on it was up: when is the next try?
    pub(super) fn dial_ended(&mut self, target: &Target, conn: ConnId, remote: Option<SocketAddr>, ended: Ended, took: Duration) {
        let Some(dial) = self.dials.get_mut(target) else { return };
        if dial.conn != Some(conn) {
            return;
        }
        dial.conn = None;
        self.dials_in_flight -= 1;
        self.seed_met |= ended == Ended::ToSelf && matches!(target, Target::Seed(_));
        if ended == Ended::ToSelf
            && let Some(remote) = remote
            && dial.skip.len() < SKIP_MAX
        {
            dial.skip.push(remote);
            self.dial_due(target.clone());
            return;
        }
        dial.slow = took >= SLOW;
        dial.dead_ends = dial.dead_ends.wrapping_add(remote.is_some().into());
        dial.skip.clear();
        let delay = match ended {
            Ended::Harmless => dial.backoff.shortest(&mut self.rng),
            // Nothing but a start of this node anew changes what it is called.
            Ended::Failed(Unreached::Refused(Refusal::LoopbackIdentity)) | Ended::Later | Ended::ToSelf => {
                dial.backoff.longest(&mut self.rng)
            }
            Ended::Failed(_) => dial.backoff.next(&mut self.rng),
        };
        self.dial_timers.set(target.clone(), self.now + delay);
        if let Ended::Failed(why) = ended {
            self.out.counters.dial_failures += 1;
            self.report_unreachable(target, why);
        }
        self.start_queued_dials();
    }

    /// Reports a failure once: who was never up cannot go down.
    fn report_unreachable(&mut self, target: &Target, why: Unreached) {
        if self.is_reached(target) {
            return;
        }
        let Some(dial) = self.dials.get_mut(target) else { return };
        let reported = dial.reported.replace(why).is_some();
        let found = dial.found.clone();
        let address = self.address_of(target).clone();
        if matches!(target, Target::Seed(_)) && !reported {
            self.out.emit(ClusterEvent::Error(ClusterError::SeedUnreachable { seed: address.clone(), why }));
        }
        let id = found.unwrap_or(address);
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.status == NodeStatus::Connecting
            && peer.admission.sessions.is_empty()
        {
            peer.status = NodeStatus::Disconnected;
            peer.alive_at = self.now;
            self.timers.set_earliest(Timer::Forget, self.now + self.settings.forget_after);
            self.out.emit(ClusterEvent::Error(ClusterError::NodeUnreachable { id, why }));
            self.cap_disconnected();
        }
    }

    // Consequences of ups and downs

    /// The node behind a seed has proved its identity.
    pub(super) fn found_at_seed(&mut self, conn: ConnId, id: &NodeId) {
        let Some(Target::Seed(place)) = self.conns.get(&conn).and_then(|conn| conn.target.clone()) else { return };
        let Some(dial) = self.dials.get_mut(&Target::Seed(place)) else { return };
        dial.found = Some(id.clone());
        let seed = &self.settings.seeds[place];
        if seed != id && !dial.mismatches.contains(id) {
            if dial.mismatches.len() == MISMATCHES_MAX {
                dial.mismatches.pop_front();
            }
            dial.mismatches.push_back(id.clone());
            let error = ClusterError::SeedMismatch { found: id.clone(), seed: seed.clone() };
            self.out.emit(ClusterEvent::Error(error));
        }
        self.seed_met |= self.is_connected(id);
    }

    /// A session is up: whatever leads to its node need not be dialled.
    pub(super) fn dials_are_done(&mut self, id: &NodeId, conn: ConnId) {
        for target in self.targets_of(id) {
            self.dial_timers.cancel(&target);
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            dial.reported = None;
            dial.slow = false;
            dial.dead_ends = 0;
            dial.leave(&mut self.dial_queue);
            if dial.conn == Some(conn) {
                dial.conn = None;
                dial.skip.clear();
                self.dials_in_flight -= 1;
            }
        }
        self.start_queued_dials();
    }

    /// A session has held for an interval: the next loss is a new one. Of a seed is remembered where it led.
    pub(super) fn session_held(&mut self, conn: ConnId) {
        let Some(id) = self.conn_session(conn).map(|session| session.id.clone()) else { return };
        for target in self.targets_of(&id) {
            if let Target::Node(_) = target {
                self.remove_dial(&target);
            } else if let Some(dial) = self.dials.get_mut(&target) {
                dial.backoff.reset();
            }
        }
    }

    /// A node that was up is dialled again; one that left is not, but for a configured seed, at the longest delay.
    pub(super) fn redial_after_down(&mut self, id: &NodeId, left: bool) {
        let own = Target::Node(id.clone());
        if left {
            self.remove_dial(&own);
        } else if self.seed_at(id).is_none() {
            self.add_dial(own);
        }
        for target in self.targets_of(id) {
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            dial.reported = Some(Unreached::Closed);
            dial.leave(&mut self.dial_queue);
            let delay = if left { dial.backoff.longest(&mut self.rng) } else { dial.backoff.next(&mut self.rng) };
            self.dial_timers.set(target, self.now + delay);
        }
    }

    /// A live peer lists this node: a hint to dial it, never a fact. Whoever joins dials at once; later the lesser id does, and the
    /// greater if nothing has come of that.
    pub(super) fn learn(&mut self, id: NodeId, instance: InstanceId, joining: bool) {
        if id == self.id || self.departed.get(&id).is_some_and(|(left, _)| *left == instance) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.alive_at = self.now;
            let news = peer.status == NodeStatus::Disconnected && peer.instance != Some(instance);
            if news || peer.status == NodeStatus::Connecting {
                peer.instance = Some(instance);
            }
            if !news {
                return;
            }
        } else {
            if !self.make_peer_room(false) {
                return;
            }
            let mut peer = Box::new(Peer::new(self.now));
            peer.instance = Some(instance);
            self.peers.insert(id.clone(), peer);
            self.timers.set_earliest(Timer::Forget, self.now + self.settings.forget_after);
        }
        let target = self.seed_at(&id).unwrap_or_else(|| Target::Node(id.clone()));
        self.add_dial(target.clone());
        if joining || self.id < id {
            self.dial_timers.cancel(&target);
            self.dial_due(target);
        } else {
            let at = self.now + COURTESY.min(self.settings.heartbeat_interval);
            self.dial_by(target, at);
        }
    }

    pub(super) fn dial_by(&mut self, target: Target, at: Instant) {
        self.dial_timers.set_earliest(target, at);
    }
}
