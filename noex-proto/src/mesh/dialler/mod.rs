//! Whom to dial and when: the nodes and seeds that should be connected against those that are.

mod dial;
mod lookup;
mod seeds;
mod slots;
pub(crate) mod target;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::hash::Hasher;
use core::net::SocketAddr;
use core::time::Duration;

use crate::mesh::abstraction::{Abstract, Abstraction};

pub(crate) use dial::Dial;
pub(crate) use slots::Slots;
pub(crate) use target::Target;

use self::dial::{Place, Prospect};
use super::close::Ended;
#[cfg(debug_assertions)]
use super::cx::Local;
use super::cx::{Cx, Timer};
use crate::mesh::addresses::{CONNECT_TIMEOUT, Miss};
use crate::time::timers::Timers;
use crate::{
    Cause, ClusterError, ConnId, Contact, DialError, Instant, Limits, LocalFault, NodeId, PeerFault, Refusal, Unreached,
};

/// A dial that has been in flight for this long and led to no session is likely to take as long the next time; so is a lookup.
const SLOW: Duration = Duration::from_secs(1);

/// The longest that the greater of two ids leaves the dial to the lesser.
const COURTESY: Duration = Duration::from_secs(1);

/// Whom this node dials, and when.
#[derive(Clone, Debug)]
pub(crate) struct Dialler {
    /// The configured seeds, by the number that each got when it was set.
    seeds: BTreeMap<usize, Contact>,
    next_seed: usize,
    /// A seed has been met since the start, or an address of one turned out to be this node's own.
    seed_met: bool,
    dials: BTreeMap<Target, Box<Dial>>,
    /// When to dial each target, if it still has to be.
    timers: Timers<Target, Instant>,
    /// Targets that are due and wait for a free slot.
    queue: BTreeMap<Place, Target>,
    /// Of those without good prospects, a hint was dialled last.
    hint_had_its_turn: bool,
    slots: Slots,
}

/// What the dialler has to know of the nodes that are known.
pub(super) trait Known {
    /// Whether a session with this node is up.
    fn is_up(&self, id: &NodeId) -> bool;
    /// Whether this node was ever up, and not only told of.
    fn was_up(&self, id: &NodeId) -> bool;
    /// Whether another node that is up has this very address.
    fn is_taken(&self, id: &NodeId) -> bool;
    /// Where the nodes that are up are known to listen.
    fn addresses_up(&self) -> Vec<SocketAddr>;
}

/// A connect that begins.
#[derive(Debug)]
pub(super) struct Connect {
    pub(super) conn: ConnId,
    pub(super) target: Target,
    pub(super) remote: SocketAddr,
    /// How long it may take.
    pub(super) patience: Duration,
}

/// What the end of a dialled connection leads to.
#[derive(Debug)]
pub(super) enum After {
    /// The dial tries its next address.
    Next(Connect),
    /// The dial is over, and its slot free. It failed in this way, if it failed.
    Over(Option<Unreached>),
}

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

impl Dialler {
    pub(crate) const fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            seeds: BTreeMap::new(),
            next_seed: 0,
            seed_met: false,
            dials: BTreeMap::new(),
            timers: Timers::new(),
            queue: BTreeMap::new(),
            hint_had_its_turn: false,
            slots: Slots::new(now, limits),
        }
    }

    // Getters

    pub(crate) const fn slots(&self) -> &Slots {
        &self.slots
    }

    pub(super) const fn slots_mut(&mut self) -> &mut Slots {
        &mut self.slots
    }

    /// When the next dial is due.
    pub(crate) const fn next_deadline(&self) -> Instant {
        self.timers.next()
    }

    /// Whether this target is dialled until a session with it is up.
    pub(super) fn contains(&self, target: &Target) -> bool {
        self.dials.contains_key(target)
    }

    /// What is dialled to reach this node: itself, and the seeds that lead to it.
    pub(super) fn targets_of(&self, id: &NodeId) -> Vec<Target> {
        let own = Target::Node(id.clone());
        let own = self.dials.contains_key(&own).then_some(own);
        self.seeds_of(id).chain(own).collect()
    }

    /// Whether a session with the target is up.
    pub(super) fn is_reached(&self, target: &Target, known: &impl Known) -> bool {
        self.node_at(target).is_some_and(|id| known.is_up(id))
    }

    /// The dial of a target, as long as this is its connection.
    fn dial_on(&self, target: &Target, conn: ConnId) -> Option<&Dial> {
        self.dials.get(target).filter(|dial| dial.conn == Some(conn)).map(|dial| &**dial)
    }

    /// Whether this connection met another node than the dialled one without that being a failure: the dial has another address to try, or
    /// the dialled node is up by now.
    pub(super) fn is_detour(&self, target: &Target, conn: ConnId, why: Unreached, known: &impl Known) -> bool {
        let dial = self.dial_on(target, conn).filter(|_| why.is_other_node());
        dial.is_some_and(|dial| dial.addresses.has_next() || self.is_reached(target, known))
    }

    /// Whether a dial failed in just this way before: a failure is reported once, not at each try.
    pub(super) fn is_reported(&self, target: &Target, conn: ConnId, why: Unreached) -> bool {
        self.dial_on(target, conn).is_some_and(|dial| dial.reported == Some(why))
    }

    // Targets

    pub(super) fn add(&mut self, cx: &Cx<'_>, target: Target) {
        let dial = || Box::new(Dial::new(cx));
        self.dials.entry(target).or_insert_with(dial);
    }

    /// Dials a target no more. The connection of its dial, if one is under way: its slot is still taken.
    pub(super) fn remove(&mut self, cx: &mut Cx<'_>, target: &Target) -> Option<ConnId> {
        self.timers.cancel(target);
        self.leave_lookup(cx, target);
        let mut dial = self.dials.remove(target)?;
        dial.leave(&mut self.queue);
        dial.conn
    }

    /// Gives up all dials. What is under way ends with its connection.
    pub(super) fn clear(&mut self, cx: &mut Cx<'_>) {
        self.dials.clear();
        self.queue.clear();
        cx.host.lookups.abandon();
        self.slots.release_dials();
    }

    /// Dials a node at its own address, at this time or earlier.
    pub(super) fn dial_node(&mut self, cx: &Cx<'_>, id: NodeId, at: Instant) {
        let own = Target::Node(id);
        self.add(cx, own.clone());
        self.dial_by(own, at);
    }

    /// Dials a target at this time, or earlier where it is due earlier.
    pub(super) fn dial_by(&mut self, target: Target, at: Instant) {
        self.timers.set_earliest(target, at);
    }

    // Dials

    /// Takes a target whose time has come.
    pub(super) fn due(&mut self, now: Instant) -> Option<Target> {
        self.timers.pop_due(now)
    }

    /// A target's time has come. A name is looked up first. Whether it waits for a slot now.
    pub(super) fn begin(&mut self, cx: &mut Cx<'_>, target: Target, known: &impl Known) -> bool {
        if !cx.is_running() {
            return false;
        }
        let Some(dial) = self.dials.get(&target) else { return false };
        if dial.conn.is_some() || dial.queued.is_some() || dial.looking {
            return false;
        }
        match self.address_of(&target) {
            (Ok(ip), port) => self.enqueue(target, alloc::vec![SocketAddr::new(ip, port)], known),
            (Err(host), _) => {
                self.look_up(cx, target, &host, known);
                false
            }
        }
    }

    /// The addresses of a target are known: it waits for a slot, unless it is not dialled any more.
    pub(super) fn enqueue(&mut self, target: Target, addrs: Vec<SocketAddr>, known: &impl Known) -> bool {
        let (_, port) = self.address_of(&target);
        let hint = Self::is_hint(&target, known);
        let Some(dial) = self.dials.get_mut(&target) else { return false };
        dial.addresses.begin(addrs, port);
        let prospect = match dial.slow {
            _ if hint => Prospect::Hint,
            true => Prospect::Doubtful,
            false => Prospect::Good,
        };
        let last = self.queue.range((prospect, 0)..=(prospect, u64::MAX)).next_back();
        let place = (prospect, last.map_or(0, |((_, place), _)| place + 1));
        dial.queued = Some(place);
        self.queue.insert(place, target);
        true
    }

    /// Whether others only told of it.
    fn is_hint(target: &Target, known: &impl Known) -> bool {
        matches!(target, Target::Node(id) if !known.was_up(id))
    }

    /// Which of the dials that wait is next: one with good prospects, else a doubtful one and a hint in turn.
    fn next_place(&self) -> Option<Place> {
        let first = |prospect| self.queue.range((prospect, 0)..=(prospect, u64::MAX)).next().map(|(place, _)| *place);
        let (doubtful, hint) = (first(Prospect::Doubtful), first(Prospect::Hint));
        let in_turn = if self.hint_had_its_turn { doubtful.or(hint) } else { hint.or(doubtful) };
        first(Prospect::Good).or(in_turn)
    }

    /// Starts the next of the dials that wait, as far as their number and their rate allow.
    pub(super) fn start_next(&mut self, cx: &mut Cx<'_>, known: &impl Known) -> Option<Connect> {
        self.slots.refill(cx.now(), &cx.local.settings.limits);
        while let Some(place @ (prospect, _)) = self.next_place() {
            if !self.slots.has_room(&cx.local.settings.limits, prospect == Prospect::Good) {
                return None;
            }
            if let Some(at) = self.slots.next_tokens() {
                cx.local.timers.set(Timer::DialRate, at);
                return None;
            }
            let target = self.queue.remove(&place)?;
            if prospect != Prospect::Good {
                self.hint_had_its_turn = prospect == Prospect::Hint;
            }
            let reached = self.is_reached(&target, known);
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            dial.queued = None;
            if !reached || self.leads_elsewhere(&target, known) {
                return self.start(cx, &target);
            }
        }
        None
    }

    /// Whether a seed that is reached has addresses at which nobody was met yet. Behind one name may be nodes that know nothing of each
    /// other, since each met another one first.
    fn leads_elsewhere(&mut self, target: &Target, known: &impl Known) -> bool {
        if !self.is_unnamed(target) {
            return false;
        }
        let up = known.addresses_up();
        let Some(dial) = self.dials.get_mut(target) else { return false };
        dial.addresses.keep_untried(|addr| !up.contains(addr));
        let elsewhere = dial.addresses.has_next();
        if !elsewhere {
            dial.addresses.reset();
        }
        elsewhere
    }

    fn start(&mut self, cx: &mut Cx<'_>, target: &Target) -> Option<Connect> {
        let dial = self.dials.get_mut(target)?;
        dial.began = (cx.now(), cx.run());
        self.slots.take();
        self.connect_next(cx, target)
    }

    /// Connects to the next address of a dial, if it has one left to try.
    fn connect_next(&mut self, cx: &mut Cx<'_>, target: &Target) -> Option<Connect> {
        let dial = self.dials.get_mut(target)?;
        let left = CONNECT_TIMEOUT.saturating_sub(cx.run() - dial.began.1);
        let (remote, patience) = dial.addresses.next_address(left)?;
        let conn = cx.host.new_conn();
        dial.conn = Some(conn);
        cx.host.counters.dials += 1;
        Some(Connect { conn, target: target.clone(), remote, patience })
    }

    /// The local system could not connect, for this reason.
    pub(super) fn missed_locally(&mut self, target: &Target, cause: Cause) {
        if let Some(dial) = self.dials.get_mut(target) {
            dial.addresses.missed(Miss::Local(cause));
        }
    }

    /// A dialled connection ended before its session was up: the dial tries its next address, or is over. None where it is not the
    /// connection of its dial any more.
    pub(super) fn ended(
        &mut self,
        cx: &mut Cx<'_>,
        target: &Target,
        conn: ConnId,
        ended: Ended,
        known: &impl Known,
    ) -> Option<After> {
        let dial = self.dials.get_mut(target)?;
        if dial.conn != Some(conn) {
            return None;
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
        if of_address
            && cx.is_running()
            && let Some(connect) = self.connect_next(cx, target)
        {
            return Some(After::Next(connect));
        }
        self.slots.release();
        let dial = self.dials.get_mut(target)?;
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
        Some(After::Over(self.retry(cx, target, ended, known)))
    }

    /// A try has failed: schedules the next one. Why the target was not reached, where that is a failure.
    pub(super) fn retry(&mut self, cx: &mut Cx<'_>, target: &Target, ended: Ended, known: &impl Known) -> Option<Unreached> {
        let displaced =
            matches!((target, ended), (Target::Node(id), Ended::Failed(why)) if why.is_other_node() && known.is_taken(id));
        // What was dialled is up by another dial: after the next loss, this one's failure is no reason to wait.
        let is_reached = self.is_reached(target, known);
        let dial = self.dials.get_mut(target)?;
        dial.displaced |= displaced;
        let rng = &mut cx.local.rng;
        let delay = match ended {
            Ended::Failed(_) | Ended::Local if is_reached => dial.backoff.shortest(rng),
            Ended::Harmless => dial.backoff.shortest(rng),
            Ended::Failed(_) if displaced => dial.backoff.longest(rng),
            // Nothing but a start of this node anew changes what it is called.
            Ended::Failed(Unreached::Refused(Refusal::LoopbackIdentity)) => dial.backoff.longest(rng),
            Ended::Failed(_) | Ended::Local => dial.backoff.next(rng),
            Ended::Later | Ended::ToSelf => dial.backoff.longest(rng),
        };
        self.timers.set(target.clone(), cx.now() + delay);
        match ended {
            Ended::Failed(why) => return Some(why),
            Ended::Local => cx.host.counters.dial_failures += 1,
            Ended::Harmless | Ended::Later | Ended::ToSelf => {}
        }
        None
    }

    /// A target was not reached. A seed's failure is reported once per reason. The node behind it, if that is not up.
    pub(super) fn missed(&mut self, cx: &mut Cx<'_>, target: &Target, why: Unreached, known: &impl Known) -> Option<NodeId> {
        cx.host.counters.dial_failures += 1;
        if self.is_reached(target, known) {
            return None;
        }
        let id = self.node_at(target).cloned();
        let dial = self.dials.get_mut(target)?;
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
            cx.host.report(error);
        }
        id
    }

    // Consequences of ups and downs

    /// A session is up: whatever leads to its node need not be dialled.
    pub(super) fn done(&mut self, cx: &mut Cx<'_>, id: &NodeId, conn: ConnId) {
        self.seed_met |= self.is_seed(id);
        for target in self.targets_of(id) {
            self.timers.cancel(&target);
            let unnamed = self.is_unnamed(&target);
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            // Whoever else its name leads to is met next.
            dial.addresses.keep_untried(|_| unnamed);
            let others = dial.addresses.has_next();
            if !others {
                dial.addresses.reset();
            }
            dial.lost = false;
            dial.displaced = false;
            dial.slow = false;
            dial.forget_failures(&mut self.queue);
            if dial.conn == Some(conn) {
                dial.conn = None;
                self.slots.release();
            }
            self.leave_lookup(cx, &target);
            if others {
                self.dial_by(target, cx.now() + cx.local.settings.reconnect_base_delay);
            }
        }
    }

    /// A session has held for an interval: the next loss is a new one. Of a seed is remembered where it led.
    pub(super) fn held(&mut self, target: &Target) {
        if let Some(dial) = self.dials.get_mut(target) {
            dial.backoff.reset();
        }
    }

    /// A node that was up is dialled again: one that left at the longest delay, where a seed leads to it.
    pub(super) fn redial(&mut self, cx: &mut Cx<'_>, id: &NodeId, left: bool) {
        if !left && self.seed_at(id).is_none() {
            self.add(cx, Target::Node(id.clone()));
        }
        for target in self.targets_of(id) {
            let Some(dial) = self.dials.get_mut(&target) else { continue };
            dial.lost = true;
            dial.forget_failures(&mut self.queue);
            let rng = &mut cx.local.rng;
            let delay = if left { dial.backoff.longest(rng) } else { dial.backoff.next(rng) };
            self.timers.set(target, cx.now() + delay);
        }
    }

    /// A rumor tells of a node that is to be dialled: at once by a node that joins, and later by the lesser id; by the greater if nothing
    /// has come of that. The target that is due now, if it is.
    pub(super) fn rumored(&mut self, cx: &mut Cx<'_>, target: Target, id: &NodeId, joining: bool) -> Option<Target> {
        if joining || cx.local.id < *id {
            self.timers.cancel(&target);
            return Some(target);
        }
        self.dial_by(target, cx.now() + COURTESY.min(cx.local.settings.heartbeat_interval));
        None
    }

    /// A live peer lists a known node that is not up here. A node that had lost its address to another is dialled without delay again: it
    /// may have the address back.
    pub(super) fn rumored_again(&mut self, now: Instant, id: NodeId) {
        let target = Target::Node(id);
        if let Some(dial) = self.dials.get_mut(&target)
            && core::mem::take(&mut dial.displaced)
        {
            dial.backoff.reset();
            self.dial_by(target, now);
        }
    }
}

#[cfg(debug_assertions)]
impl Dialler {
    pub(crate) fn len(&self) -> usize {
        self.dials.len()
    }

    #[cfg(test)]
    pub(crate) fn seeds(&self) -> impl Iterator<Item = Target> {
        self.seeds.keys().map(|number| Target::Seed(*number))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Target, &Dial)> {
        self.dials.iter().map(|(target, dial)| (target, &**dial))
    }

    /// How many ways lead to the next dial of a target: a deadline, the queue, a lookup, or a connection whose end it is.
    pub(super) fn ways(&self, target: &Target) -> usize {
        let Some(dial) = self.dials.get(target) else { return 0 };
        let ways = [dial.queued.is_some(), dial.looking, dial.conn.is_some()];
        let ways = ways.into_iter().filter(|way| *way).count();
        ways + usize::from(ways == 0 && self.timers.get(target).is_some())
    }

    /// Panics where slots, queue or deadlines are not what the dials say. `probes`: how many port probes are under way.
    pub(super) fn audit(&self, local: &Local, stopping: bool, probes: usize) {
        self.timers.audit();
        let mut counts = (0, 0);
        for (target, dial) in self.iter() {
            let queued = dial.queued.map(|place| self.queue.get(&place));
            assert!(queued.is_none_or(|queued| queued == Some(target)), "the place of {target:?}");
            counts.0 += usize::from(dial.conn.is_some());
            counts.1 += usize::from(dial.queued.is_some());
        }
        assert_eq!(self.slots.probes(), probes, "port probes");
        assert_eq!(self.slots.in_flight(), counts.0 + probes, "dials in flight");
        assert_eq!(self.queue.len(), counts.1, "dials that wait");
        let full = !self.slots.has_room(&local.settings.limits, false);
        let waits = full || local.timers.get(&Timer::DialRate).is_some();
        assert!(self.queue.is_empty() || waits, "a free slot is not taken");
        let known = |(target, _): (&Target, _)| self.dials.contains_key(target);
        assert!(stopping || self.timers.iter().all(known), "a time for no dial");
    }

    /// How the books of this part can drift.
    #[cfg(test)]
    pub(crate) const DRIFTS: [fn(&mut Self); 5] = [
        |dialler| dialler.slots.release(),
        |dialler| dialler.slots.take_probe(),
        |dialler| dialler.timers.set(Target::Seed(9), Instant::START),
        |dialler| dialler.dials.values_mut().for_each(|dial| dial.conn = None),
        |dialler| dialler.dials.clear(),
    ];
}

impl Abstract for Dialler {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self { seeds: _, next_seed: _, seed_met: _, dials, timers, queue, hint_had_its_turn, slots } = self;
        to.write(hint_had_its_turn);
        to.part(slots);
        for (target, at) in timers.iter() {
            to.write((target, to.until(at)));
        }
        for (target, dial) in dials {
            to.write(target);
            to.part(&**dial);
        }
        for target in queue.values() {
            to.write(target);
        }
    }
}
