//! Whom to dial and when: the nodes and seeds that should be connected against those that are.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::cx::Cx;
use super::node::{Dial, Ended, InstanceId, Node, Peer, Phase, Place, Prospect, Target, Timer, Wait};
use crate::addresses::{Addresses, CONNECT_TIMEOUT, Miss};
use crate::backoff::Backoff;
use crate::{
    Action, Close, ClusterError, ClusterEvent, ClusterStatus, ConnId, ConnectError, DialError, Instant, LocalFault, NodeId,
    NodeStatus, PeerFault, Refusal, Unreached,
};

/// The time over which dials are counted for their rate.
const RATE_WINDOW: Duration = Duration::from_secs(1);

/// A dial that has been in flight for this long and led to no session is likely to take as long the next time; so is a lookup.
pub(super) const SLOW: Duration = Duration::from_secs(1);

/// The longest that the greater of two ids leaves the dial to the lesser.
const COURTESY: Duration = Duration::from_secs(1);

impl Unreached {
    /// Whether the dial met another node than the wanted one.
    const fn is_other_node(self) -> bool {
        matches!(self, Self::Fault(PeerFault::WrongTarget) | Self::Refused(Refusal::NotTheTarget))
    }

    /// Whether it concerns this address only, so that another address of the host may lead to the node.
    const fn is_of_address(self) -> bool {
        self.is_other_node() || matches!(self, Self::Dial(_))
    }
}

impl Node {
    // Targets

    pub(super) fn add_dial(&mut self, cx: &mut Cx<'_>, target: Target) {
        let dial = Dial {
            addresses: Addresses::new(),
            backoff: Backoff::new(cx.local.settings.reconnect_base_delay, cx.local.settings.reconnect_max_delay),
            began: (cx.now(), cx.run()),
            conn: None,
            queued: None,
            looking: false,
            slow_lookup: false,
            lookup_reported: false,
            slow: false,
            reported: None,
            lost: false,
            displaced: false,
            found: None,
            mismatches: VecDeque::new(),
        };
        self.dials.entry(target).or_insert_with(|| Box::new(dial));
    }

    pub(super) fn remove_dial(&mut self, cx: &mut Cx<'_>, target: &Target) {
        self.dial_timers.cancel(target);
        self.leave_lookup(cx, target);
        let Some(mut dial) = self.dials.remove(target) else { return };
        dial.leave(&mut self.dial_queue);
        let Some(conn) = dial.conn else { return };
        // What is still under way would be in flight beyond the limit, for nobody.
        if matches!(self.conns.get(&conn).map(|conn| &conn.phase), Some(Phase::Dialling | Phase::Initiating(_))) {
            self.end_conn(cx, conn, Some(Close::Abort), Ended::Harmless);
        }
        self.free_dial(cx);
    }

    /// What is dialled to reach this node: itself, and the seeds that lead to it.
    pub(super) fn targets_of(&self, id: &NodeId) -> Vec<Target> {
        let own = Target::Node(id.clone());
        let own = self.dials.contains_key(&own).then_some(own);
        self.seeds_of(id).chain(own).collect()
    }

    pub(super) fn is_connected(&self, id: &NodeId) -> bool {
        self.peers.get(id).is_some_and(|peer| peer.session.is_some())
    }

    /// Whether a session with the target is up.
    pub(super) fn is_reached(&self, target: &Target) -> bool {
        self.node_at(target).is_some_and(|id| self.is_connected(id))
    }

    // Dials

    /// A target's time has come. A name is looked up first.
    pub(super) fn dial_due(&mut self, cx: &mut Cx<'_>, target: Target) {
        if cx.host.status != ClusterStatus::Running {
            return;
        }
        let Some(dial) = self.dials.get(&target) else { return };
        if dial.conn.is_some() || dial.queued.is_some() || dial.looking {
            return;
        }
        match self.address_of(&target) {
            (Ok(ip), port) => self.queue_dial(cx, target, alloc::vec![SocketAddr::new(ip, port)]),
            (Err(host), _) => self.look_up(cx, target, &host),
        }
    }

    /// The addresses of a target are known: it waits for a dial slot.
    pub(super) fn queue_dial(&mut self, cx: &mut Cx<'_>, target: Target, addrs: Vec<SocketAddr>) {
        let (_, port) = self.address_of(&target);
        let hint = self.is_hint(&target);
        let Some(dial) = self.dials.get_mut(&target) else { return };
        dial.addresses.begin(addrs, port);
        let prospect = match dial.slow {
            _ if hint => Prospect::Hint,
            true => Prospect::Doubtful,
            false => Prospect::Good,
        };
        let last = self.dial_queue.range((prospect, 0)..=(prospect, u64::MAX)).next_back();
        let place = (prospect, last.map_or(0, |((_, place), _)| place + 1));
        dial.queued = Some(place);
        self.dial_queue.insert(place, target);
        self.start_queued_dials(cx);
    }

    /// Whether others only told of it.
    pub(super) fn is_hint(&self, target: &Target) -> bool {
        matches!(target, Target::Node(id) if self.peers.get(id).is_none_or(|peer| peer.up == 0))
    }

    /// One dial less is in flight: another may begin.
    pub(super) fn free_dial(&mut self, cx: &mut Cx<'_>) {
        self.dials_in_flight -= 1;
        self.start_queued_dials(cx);
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
    pub(super) fn start_queued_dials(&mut self, cx: &mut Cx<'_>) {
        if cx.now() - self.dial_tokens_at >= RATE_WINDOW {
            self.dial_tokens_at = cx.now();
            self.dial_tokens = cx.local.settings.limits.dials_per_second;
        }
        let limit = cx.local.settings.limits.dials_in_flight;
        while let Some(place @ (prospect, _)) = self.next_dial() {
            let most = if prospect == Prospect::Good { limit } else { limit - limit / 4 };
            if self.dials_in_flight >= most {
                return;
            }
            if self.dial_tokens == 0 {
                cx.local.timers.set(Timer::DialRate, self.dial_tokens_at + RATE_WINDOW);
                return;
            }
            let Some(target) = self.dial_queue.remove(&place) else { return };
            if prospect != Prospect::Good {
                self.hint_had_its_turn = prospect == Prospect::Hint;
            }
            let reached = self.is_reached(&target);
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            dial.queued = None;
            if !reached || self.leads_elsewhere(&target) {
                self.start_dial(cx, &target);
            }
        }
    }

    /// Whether a seed that is reached has addresses at which nobody was met yet. Behind one name may be nodes that know nothing of each
    /// other, since each met another one first.
    fn leads_elsewhere(&mut self, target: &Target) -> bool {
        if !self.is_unnamed(target) {
            return false;
        }
        let up = self.addresses_up();
        let Some(dial) = self.dials.get_mut(target) else { return false };
        dial.addresses.keep_untried(|addr| !up.contains(addr));
        let elsewhere = dial.addresses.has_next();
        if !elsewhere {
            dial.addresses.reset();
        }
        elsewhere
    }

    /// Whether it is a seed at which no node of a certain name is expected.
    fn is_unnamed(&self, target: &Target) -> bool {
        self.contact_of(target).is_some_and(|seed| seed.id().is_none())
    }

    fn start_dial(&mut self, cx: &mut Cx<'_>, target: &Target) {
        let Some(dial) = self.dials.get_mut(target) else { return };
        dial.began = (cx.now(), cx.run());
        self.dials_in_flight += 1;
        self.dial_tokens -= 1;
        self.connect_next(cx, target);
    }

    /// Connects to the next address of a dial, if it has one left to try.
    fn connect_next(&mut self, cx: &mut Cx<'_>, target: &Target) -> bool {
        let Some(dial) = self.dials.get_mut(target) else { return false };
        let left = CONNECT_TIMEOUT.saturating_sub(cx.run() - dial.began.1);
        let Some((remote, patience)) = dial.addresses.next_address(left) else { return false };
        let conn = cx.host.new_conn();
        dial.conn = Some(conn);
        cx.host.counters.dials += 1;
        self.insert_conn(cx, conn, Some(target.clone()), None, Phase::Dialling);
        cx.local.waits.set(Wait::Connect(conn), cx.run() + patience);
        cx.host.actions.push_back(Action::Connect { conn, remote });
        true
    }

    /// The connection was not made.
    pub(super) fn dial_failed(&mut self, cx: &mut Cx<'_>, conn: ConnId, error: ConnectError) {
        self.connect_is_over(cx, conn, None, error);
    }

    /// The connection was not made in time.
    pub(super) fn dial_overdue(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        self.connect_is_over(cx, conn, Some(Close::Abort), ConnectError::TimedOut);
    }

    fn connect_is_over(&mut self, cx: &mut Cx<'_>, conn: ConnId, how: Option<Close>, error: ConnectError) {
        let Some(state) = self.conns.get(&conn) else { return };
        match &state.phase {
            Phase::Dialling => {
                let ended = match error {
                    ConnectError::Local(cause) => {
                        if let Some(dial) = state.target.as_ref().and_then(|target| self.dials.get_mut(target)) {
                            dial.addresses.missed(Miss::Local(cause));
                        }
                        Ended::Local
                    }
                    ConnectError::Refused => Ended::Failed(Unreached::Dial(DialError::Refused)),
                    ConnectError::TimedOut => Ended::Failed(Unreached::Dial(DialError::TimedOut)),
                    ConnectError::Unreachable => Ended::Failed(Unreached::Dial(DialError::Unreachable)),
                };
                self.end_conn(cx, conn, how, ended);
            }
            Phase::Reaching(session) => {
                let session = *session;
                self.end_conn(cx, conn, how, Ended::Harmless);
                self.reach_failed(cx, session, &error);
            }
            _ => {}
        }
    }

    /// Whether this connection met another node than the dialled one without that being a failure: the dial has another address to try, or
    /// the dialled node is up by now.
    pub(super) fn is_detour(&self, conn: ConnId, why: Unreached) -> bool {
        let Some(target) = self.conns.get(&conn).and_then(|conn| conn.target.as_ref()) else { return false };
        let Some(dial) = self.dials.get(target).filter(|dial| dial.conn == Some(conn)) else { return false };
        why.is_other_node() && (dial.addresses.has_next() || self.is_reached(target))
    }

    /// A dialled connection ended before its session was up: the dial tries its next address, or is over.
    pub(super) fn dial_ended(&mut self, cx: &mut Cx<'_>, target: &Target, conn: ConnId, ended: Ended) {
        let Some(dial) = self.dials.get_mut(target) else { return };
        if dial.conn != Some(conn) {
            return;
        }
        dial.conn = None;
        let of_address = match ended {
            Ended::Failed(why) if why.is_of_address() => {
                dial.addresses.missed(Miss::Unreached(why));
                true
            }
            Ended::Local => true,
            Ended::ToSelf => {
                dial.addresses.missed(Miss::ToSelf);
                self.seed_met |= matches!(target, Target::Seed(_));
                true
            }
            _ => false,
        };
        if of_address && cx.host.status == ClusterStatus::Running && self.connect_next(cx, target) {
            return;
        }
        self.dials_in_flight -= 1;
        let Some(dial) = self.dials.get_mut(target) else { return };
        dial.slow = cx.now() - dial.began.0 >= SLOW;
        let outcome = if of_address { dial.addresses.outcome() } else { None };
        let ended = match outcome {
            None => ended,
            Some(Miss::Local(cause)) => {
                cx.host.report_local(LocalFault::Dial { cause });
                Ended::Local
            }
            Some(Miss::ToSelf) => Ended::ToSelf,
            Some(Miss::Unreached(why)) => Ended::Failed(why),
        };
        self.retry(cx, target, ended);
        self.start_queued_dials(cx);
    }

    /// A try has failed: schedules the next one and reports the failure.
    pub(super) fn retry(&mut self, cx: &mut Cx<'_>, target: &Target, ended: Ended) {
        let displaced =
            matches!((target, ended), (Target::Node(id), Ended::Failed(why)) if why.is_other_node() && self.is_taken(id));
        // What was dialled is up by another dial: after the next loss, this one's failure is no reason to wait.
        let is_reached = self.is_reached(target);
        let Some(dial) = self.dials.get_mut(target) else { return };
        dial.displaced |= displaced;
        let delay = match ended {
            Ended::Failed(_) | Ended::Local if is_reached => dial.backoff.shortest(&mut cx.local.rng),
            Ended::Harmless => dial.backoff.shortest(&mut cx.local.rng),
            Ended::Failed(_) if displaced => dial.backoff.longest(&mut cx.local.rng),
            // Nothing but a start of this node anew changes what it is called.
            Ended::Failed(Unreached::Refused(Refusal::LoopbackIdentity)) => dial.backoff.longest(&mut cx.local.rng),
            Ended::Failed(_) | Ended::Local => dial.backoff.next(&mut cx.local.rng),
            Ended::Later | Ended::ToSelf => dial.backoff.longest(&mut cx.local.rng),
        };
        self.dial_timers.set(target.clone(), cx.now() + delay);
        match ended {
            Ended::Failed(why) => self.dial_missed(cx, target, why),
            Ended::Local => cx.host.counters.dial_failures += 1,
            Ended::Harmless | Ended::Later | Ended::ToSelf => {}
        }
    }

    /// A target was not reached.
    pub(super) fn dial_missed(&mut self, cx: &mut Cx<'_>, target: &Target, why: Unreached) {
        cx.host.counters.dial_failures += 1;
        self.report_unreachable(cx, target, why);
    }

    /// Where the nodes that are up are known to listen.
    fn addresses_up(&self) -> Vec<SocketAddr> {
        let up = self.peers.iter().filter_map(|(id, peer)| Some((id, self.conns.get(&peer.session?)?)));
        let known = up.flat_map(|(id, conn)| {
            let own = id.host_ip().map(|ip| SocketAddr::new(ip, id.port()));
            [own, conn.remote.filter(|_| conn.target.is_some())]
        });
        known.flatten().collect()
    }

    /// Whether another node that is up has this very address.
    fn is_taken(&self, id: &NodeId) -> bool {
        let others = self.peers.iter().filter(|(other, peer)| peer.session.is_some() && *other != id);
        others.into_iter().any(|(other, _)| other.port() == id.port() && other.host() == id.host())
    }

    /// Reports a seed's failure once per reason, and that of a node that was never up once: it cannot go down.
    fn report_unreachable(&mut self, cx: &mut Cx<'_>, target: &Target, why: Unreached) {
        if self.is_reached(target) {
            return;
        }
        let id = self.node_at(target).cloned();
        let Some(dial) = self.dials.get_mut(target) else { return };
        let told = core::mem::take(&mut dial.lost);
        // A lookup that takes long each time goes before other failures, and is no news after them.
        let news = match why {
            Unreached::Dial(DialError::LookupTimedOut) if dial.lookup_reported => false,
            Unreached::Dial(DialError::LookupTimedOut) => {
                dial.lookup_reported = true;
                dial.reported = None;
                true
            }
            why => dial.reported.replace(why) != Some(why),
        };
        if news
            && !told
            && let Some(seed) = self.contact_of(target)
        {
            let error = ClusterError::SeedUnreachable { seed: seed.clone(), why };
            cx.host.emit(ClusterEvent::Error(error));
        }
        if let Some(id) = id
            && let Some(peer) = self.peers.get_mut(&id)
            && peer.status == NodeStatus::Connecting
            && peer.admission.sessions.is_empty()
        {
            peer.status = NodeStatus::Disconnected;
            peer.alive_at = cx.now();
            cx.local.timers.set_earliest(Timer::Forget, cx.now() + cx.local.settings.forget_after);
            cx.host.emit(ClusterEvent::Error(ClusterError::NodeUnreachable { id, why }));
            self.cap_disconnected(cx);
        }
    }

    // Consequences of ups and downs

    /// A session is up: whatever leads to its node need not be dialled.
    pub(super) fn dials_are_done(&mut self, cx: &mut Cx<'_>, id: &NodeId, conn: ConnId) {
        for target in self.targets_of(id) {
            self.dial_timers.cancel(&target);
            let unnamed = self.is_unnamed(&target);
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            // Whoever else its name leads to is met next.
            dial.addresses.keep_untried(|_| unnamed);
            let others = dial.addresses.has_next();
            if !others {
                dial.addresses.reset();
            }
            dial.reported = None;
            dial.lookup_reported = false;
            dial.lost = false;
            dial.displaced = false;
            dial.slow = false;
            dial.leave(&mut self.dial_queue);
            if dial.conn == Some(conn) {
                dial.conn = None;
                self.dials_in_flight -= 1;
            }
            self.leave_lookup(cx, &target);
            if others {
                self.dial_by(target, cx.now() + cx.local.settings.reconnect_base_delay);
            }
        }
        self.start_queued_dials(cx);
    }

    /// A session has held for an interval: the next loss is a new one. Of a seed is remembered where it led.
    pub(super) fn session_held(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(id) = self.conn_session(conn).map(|session| session.id.clone()) else { return };
        for target in self.targets_of(&id) {
            if let Target::Node(_) = target {
                self.remove_dial(cx, &target);
            } else if let Some(dial) = self.dials.get_mut(&target) {
                dial.backoff.reset();
            }
        }
    }

    /// A node that was up is dialled again; one that left is not, but for a configured seed, at the longest delay.
    pub(super) fn redial_after_down(&mut self, cx: &mut Cx<'_>, id: &NodeId, left: bool) {
        let own = Target::Node(id.clone());
        if left {
            self.remove_dial(cx, &own);
        } else if self.seed_at(id).is_none() {
            self.add_dial(cx, own);
        }
        for target in self.targets_of(id) {
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            dial.reported = None;
            dial.lookup_reported = false;
            dial.lost = true;
            dial.leave(&mut self.dial_queue);
            let delay = if left { dial.backoff.longest(&mut cx.local.rng) } else { dial.backoff.next(&mut cx.local.rng) };
            self.dial_timers.set(target, cx.now() + delay);
        }
    }

    /// A live peer lists this node: a hint to dial it, never a fact. Whoever joins dials at once; later the lesser id does, and the
    /// greater if nothing has come of that.
    pub(super) fn learn(&mut self, cx: &mut Cx<'_>, id: NodeId, instance: InstanceId, joining: bool) {
        if id == cx.local.id || self.departed.get(&id).is_some_and(|(left, _)| *left == instance) {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.alive_at = cx.now();
            let news = peer.status == NodeStatus::Disconnected && peer.instance != Some(instance);
            if news || peer.status == NodeStatus::Connecting {
                peer.instance = Some(instance);
            }
            if !news {
                return self.gossiped_again(cx, id);
            }
        } else {
            if !self.make_peer_room(cx, false) {
                return;
            }
            let mut peer = Box::new(Peer::new(cx.now()));
            peer.instance = Some(instance);
            self.peers.insert(id.clone(), peer);
            cx.local.timers.set_earliest(Timer::Forget, cx.now() + cx.local.settings.forget_after);
        }
        let target = self.seed_at(&id).unwrap_or_else(|| Target::Node(id.clone()));
        self.add_dial(cx, target.clone());
        if !self.has_room_for_member(cx) {
            // It would be refused here. Whoever wants to be a member meanwhile dials this node.
            self.retry(cx, &target, Ended::Later);
        } else if joining || cx.local.id < id {
            self.dial_timers.cancel(&target);
            self.dial_due(cx, target);
        } else {
            let at = cx.now() + COURTESY.min(cx.local.settings.heartbeat_interval);
            self.dial_by(target, at);
        }
    }

    pub(super) fn dial_by(&mut self, target: Target, at: Instant) {
        self.dial_timers.set_earliest(target, at);
    }

    /// A live peer lists a known node that is not up here. A node that had lost its address to another is dialled without delay again: it
    /// may have the address back.
    fn gossiped_again(&mut self, cx: &mut Cx<'_>, id: NodeId) {
        let target = Target::Node(id);
        if let Some(dial) = self.dials.get_mut(&target)
            && core::mem::take(&mut dial.displaced)
        {
            dial.backoff.reset();
            self.dial_by(target, cx.now());
        }
    }
}
