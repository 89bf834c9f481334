//! Names of the cluster: claims of this node's processes, and what is known of those of others.
//!
//! Each node alone decides what becomes of its claims, and tells them on each of its sessions, in order. Nothing is relayed, and what a
//! node knows follows from its live sessions. `Names` connects the parts; no part names another.
//!
//! | file | what it holds |
//! |---|---|
//! | `own` | the claims of this node, and what they wait for |
//! | `seen` | the claims of others, and what each node is owed for its own |
//! | `sessions` | who is up, and what each was told |
//! | `standbys` | processes that wait until a name is free |
//! | `rank`, `bits` | which claim is the better one; sets of nodes |
//! | `claims` | what the application does, and how claims end |
//! | `arrivals` | what other nodes tell, and their coming and going |
//! | `telling` | what is told on its way to the wire |
//!
//! What a step leads to elsewhere is an [`Effect`], which the process layer carries out.

mod arrivals;
mod bits;
mod claim;
mod claims;
mod error;
mod own;
mod rank;
mod seen;
mod sessions;
mod standbys;
mod telling;
#[cfg(test)]
mod tests;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::hash::Hasher;
use core::time::Duration;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::Rng;

pub(crate) use arrivals::Newcomer;
pub use claim::{ClaimOptions, Holder};
pub(super) use claims::Claiming;
pub use error::{ClaimError, WatchNameError};

use bits::Bits;
use own::Own;
use rank::Rank;
use seen::Seen;
use sessions::Sessions;
use standbys::Standbys;

use super::id::{ClaimId, ProcessId, ProcessName};
use crate::id::incarnation::Incarnation;
use crate::mesh::abstraction::{Abstract, Abstraction};
use crate::time::timers::Timers;
use crate::{ConnId, Counters, Instant, Limits, NodeId};

/// A node that comes up within this time of a claim's begin is waited for, and a node that has just started waits so long for its first
/// session; where heartbeats are more frequent, an interval.
const WINDOW: Duration = Duration::from_secs(5);

/// What a step is handed.
pub(super) struct Step<'a> {
    pub(super) now: Instant,
    pub(super) limits: &'a Limits,
    pub(super) counters: &'a mut Counters,
}

/// What a step leads to elsewhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Effect {
    /// A name has another holder.
    Changed(ProcessName),
    /// Of two settled claims of different nodes one is no more.
    Conflict { name: ProcessName, winner: ProcessId, loser: ProcessId },
    /// A claim has an outcome.
    Ended(ClaimId, Result<(), ClaimError>),
    /// A process had a name and has lost it, and is asked to stop for it or not.
    Lost { process: u64, name: ProcessName, winner: Option<ProcessId>, stop: bool },
    /// A name of another node found no room, which was not told yet.
    NotKept { name: ProcessName, by: ProcessId },
    /// Every session has told all names of its node.
    Synced,
}

/// What falls due in real time.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
enum Due {
    /// A claim was not settled in time.
    Claim(u64),
    /// This node has waited long enough for its first session.
    Gate,
    /// Too few nodes have been connected for too long.
    Grace(u64),
    /// One that stands by tries.
    Try(ClaimId),
}

/// A run, as names go by it.
#[derive(Clone, Debug)]
struct Run {
    id: NodeId,
    incarnation: Incarnation,
    /// [`WINDOW`], or this node's heartbeat interval.
    window: Duration,
    interval: Duration,
    random: Box<ChaCha12Rng>,
}

/// What a run begins with.
#[derive(Debug)]
pub(crate) struct Begin<'a> {
    pub(crate) id: &'a NodeId,
    pub(crate) incarnation: Incarnation,
    /// The interval of this node's heartbeats.
    pub(crate) interval: Duration,
    /// Whether there are nodes to be met first.
    pub(crate) has_seeds: bool,
    pub(crate) now: Instant,
    pub(crate) random: ChaCha12Rng,
}

/// What this node knows of the names of the cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names {
    run: Option<Run>,
    own: Own,
    seen: Seen,
    sessions: Sessions,
    standbys: Standbys,
    /// The names that are watched, and how often.
    watched: BTreeMap<ProcessName, u64>,
    timers: Timers<Due, Instant>,
    /// Claims may settle: somebody has been met, or nobody came.
    is_open: bool,
    /// The node stops, and claims nothing.
    is_draining: bool,
    /// Sessions that were not told everything.
    pending: BTreeSet<ConnId>,
    /// There are more of them since that was asked.
    is_dirty: bool,
    /// Sessions whose first acknowledgement that is waited for may be another one.
    rewaited: BTreeSet<ConnId>,
    effects: Vec<Effect>,
    /// It was told that there is no room for names of others.
    is_full_told: bool,
}

impl Names {
    // A run

    pub(super) fn start(&mut self, begin: Begin<'_>) {
        let Begin { id, incarnation, interval, has_seeds, now, random } = begin;
        self.stop();
        let window = interval.min(WINDOW);
        self.run = Some(Run { id: id.clone(), incarnation, window, interval, random: Box::new(random) });
        self.is_open = !has_seeds;
        if has_seeds {
            self.set(Due::Gate, now + window);
        }
    }

    /// The run is over. Numbers go on.
    pub(super) fn stop(&mut self) {
        let mut own = core::mem::take(&mut self.own);
        own.reset();
        *self = Self { own, ..Self::default() };
    }

    // Getters

    pub(crate) fn whereis(&self, name: &ProcessName) -> Option<Holder> {
        let run = self.run.as_ref()?;
        let own = self.own.named(name).map(|(_, claim)| claim).filter(|claim| claim.is_settled());
        let seen = self.seen.named(name).filter_map(|(peer, sight)| Some((sight.settled().map(Some)?, peer, sight)));
        let seen =
            seen.filter_map(|(settled, peer, sight)| Some((Rank { settled, node: self.sessions.id_of(peer)? }, peer, sight)));
        match (own, seen.min_by_key(|(rank, ..)| *rank)) {
            (Some(claim), best) if best.as_ref().is_none_or(|(rank, ..)| claim.rank(&run.id) < *rank) => {
                let process = ProcessId::new(run.id.clone(), run.incarnation, claim.process);
                Some(Holder { process, protocol: claim.protocol })
            }
            (_, Some((_, peer, sight))) => Some(Holder { process: self.process(peer, sight.process)?, protocol: sight.protocol }),
            (_, None) => None,
        }
    }

    pub(crate) fn list(&self) -> Vec<(ProcessName, Holder)> {
        let mut names: Vec<&ProcessName> = self.own.iter().map(|(_, claim)| &claim.name).collect();
        let mut last = None;
        for (name, ..) in self.seen.iter() {
            if last != Some(name) {
                names.push(name);
            }
            last = Some(name);
        }
        names.sort_unstable();
        names.dedup();
        names.into_iter().filter_map(|name| Some((name.clone(), self.whereis(name)?))).collect()
    }

    pub(crate) const fn are_synced(&self) -> bool {
        self.seen.are_synced()
    }

    /// How many names this node's processes have, claim, or wait for.
    pub(super) fn used(&self) -> usize {
        self.own.len() + self.standbys.waiting()
    }

    /// How many names of others are kept, and how many are watched.
    pub(super) fn kept_and_watched(&self) -> (usize, usize) {
        (self.seen.len(), self.watched.len())
    }

    /// When something falls due next, [`Moment::NEVER`] where nothing does.
    pub(super) const fn next_deadline(&self) -> Instant {
        self.timers.next()
    }

    /// A process of the node of a session.
    fn process(&self, peer: ConnId, number: u64) -> Option<ProcessId> {
        let incarnation = self.sessions.get(peer)?.incarnation;
        Some(ProcessId::new(self.sessions.id_of(peer)?.clone(), incarnation, number))
    }

    /// A process of this node.
    fn own_process(&self, number: u64) -> Option<ProcessId> {
        self.run.as_ref().map(|run| ProcessId::new(run.id.clone(), run.incarnation, number))
    }

    /// The best of the claims of others to a name: its process, and whether it has settled. `but`: a session that does not count.
    fn best_seen(&self, name: &ProcessName, but: Option<ConnId>) -> Option<(Rank<'_>, ConnId, u64)> {
        let others = self.seen.named(name).filter(|(peer, _)| Some(*peer) != but);
        let ranked = others.filter_map(|(peer, sight)| {
            Some((Rank { settled: sight.settled(), node: self.sessions.id_of(peer)? }, peer, sight.process))
        });
        ranked.min_by_key(|(rank, ..)| *rank)
    }

    /// The process whose claim to a name is in sight, and whether it has settled.
    fn in_sight(&self, name: &ProcessName) -> Option<(ProcessId, bool)> {
        if let Some((_, claim)) = self.own.named(name) {
            return Some((self.own_process(claim.process)?, claim.is_settled()));
        }
        let (rank, peer, process) = self.best_seen(name, None)?;
        Some((self.process(peer, process)?, rank.settled.is_some()))
    }

    // Steps

    fn tell(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Takes what the last steps lead to elsewhere.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        core::mem::take(&mut self.effects)
    }

    /// The holder of a name may have changed.
    fn changed(&mut self, name: &ProcessName) {
        if self.watched.contains_key(name) {
            self.tell(Effect::Changed(name.clone()));
        }
    }

    fn set(&mut self, due: Due, at: Instant) {
        self.timers.set(due, at);
    }

    fn cancel(&mut self, due: Due) {
        self.timers.cancel(&due);
    }

    /// A random part of a span.
    fn random(&mut self, span: Duration) -> Duration {
        let Some(run) = &mut self.run else { return span };
        span.saturating_mul(run.random.next_u32()) / u32::MAX
    }

    /// Time has passed.
    #[inline]
    pub(super) fn tick(&mut self, step: &mut Step<'_>) {
        if self.timers.next() <= step.now {
            self.end_due(step);
        }
    }

    fn end_due(&mut self, step: &mut Step<'_>) {
        while let Some(due) = self.timers.pop_due(step.now) {
            match due {
                Due::Claim(number) => self.claim_overdue(step, number),
                Due::Gate => self.open(step),
                Due::Grace(number) => self.lose(step, number, None),
                Due::Try(caller) => self.try_standby(step, caller),
            }
        }
    }

    // Sessions that are to be told something

    /// A session was not told everything.
    fn pend(&mut self, peer: ConnId) {
        self.pending.insert(peer);
        self.is_dirty = true;
    }

    /// No session was told everything.
    fn pend_all(&mut self) {
        self.is_dirty |= !self.sessions.is_empty();
        self.pending.extend(self.sessions.keys());
        if self.sessions.is_empty() {
            self.own.forget_withdrawn();
        }
    }

    /// Whether a session was not told everything.
    pub(super) fn waits(&self, peer: ConnId) -> bool {
        !self.pending.is_empty() && self.pending.contains(&peer)
    }

    /// Whether sessions are to be told something that were not since that was taken, or wait for another acknowledgement first.
    pub(super) fn is_dirty(&self) -> bool {
        self.is_dirty || !self.rewaited.is_empty()
    }

    /// Takes the sessions that are to be told something.
    pub(super) fn take_pending(&mut self) -> Vec<ConnId> {
        if core::mem::take(&mut self.is_dirty) { self.pending.iter().copied().collect() } else { Vec::new() }
    }

    #[cfg(debug_assertions)]
    pub(super) fn audited(&self) -> usize {
        self.own.len() + self.seen.len() + self.sessions.len()
    }

    /// Panics where what is remembered is not what is there.
    #[cfg(debug_assertions)]
    pub(super) fn audit(&self) {
        self.own.audit();
        self.seen.audit();
        self.sessions.audit();
        self.standbys.audit();
        assert!(self.effects.is_empty(), "an effect waits between two inputs");
        assert!(
            self.pending.iter().all(|peer| self.sessions.get(*peer).is_some()),
            "a session that has ended is to be told something"
        );
        for (peer, session) in self.sessions.iter() {
            assert!(!self.has_news(peer) || self.pending.contains(&peer), "what {peer} was not told");
            let waits = |number: u64| self.own.get(number).is_some_and(|claim| claim.waits_for(session.node));
            let awaited: BTreeSet<u64> = session.awaited().map(|(_, number)| number).filter(|number| waits(*number)).collect();
            let heard = self.own.iter().filter(|(_, claim)| claim.waits_for(session.node) && claim.has_heard(session.node));
            assert_eq!(awaited, heard.map(|(number, _)| number).collect(), "claims that {peer} is to acknowledge");
        }
        let nodes = self.sessions.nodes();
        for (number, claim) in self.own.iter() {
            assert!(claim.waits().iter().all(|node| nodes.contains(node)), "a claim waits for a node that is not up");
            let is_ready = claim.is_settled() || !claim.waits().is_empty() || !self.is_open;
            assert!(is_ready, "a claim waits for nobody");
            let timed = self.timers.get(&Due::Claim(number)).is_some();
            assert_eq!(timed, !claim.is_settled(), "the deadline of a claim");
        }
    }
}

impl Abstract for Names {
    fn write(&self, to: &mut Abstraction<'_, impl Hasher>) {
        let Self {
            run: _,
            own,
            seen,
            sessions,
            standbys,
            watched,
            timers,
            is_open,
            is_draining,
            pending,
            is_dirty: _,
            rewaited: _,
            effects: _,
            is_full_told,
        } = self;
        to.write((is_open, is_draining, is_full_told, watched));
        // Numbers are replaced by their order.
        let ids = |nodes: &Bits| nodes.iter().filter_map(|node| sessions.id(node).cloned()).collect::<BTreeSet<_>>();
        for (_, claim) in own.iter() {
            to.write((&claim.name, claim.protocol, &claim.options, claim.caller.is_some(), claim.settled()));
            to.write((ids(claim.waits()), ids(claim.witnesses())));
            to.write(claim.blamed().keys().filter_map(|node| sessions.id(*node)).collect::<Vec<_>>());
            to.write((!claim.is_settled()).then(|| to.age(claim.begun)));
        }
        for (name, peer, sight) in seen.iter() {
            to.write((name, to.place(peer), sight.protocol, sight.settled(), sight.attested, sight.reported));
        }
        for (peer, session) in sessions.iter() {
            to.write((to.place(peer), session.snapshot, session.again, pending.contains(&peer)));
            let untold = own.iter().filter(|(_, claim)| !claim.is_told(session.node));
            to.write(untold.map(|(_, claim)| (&claim.name, claim.has_heard(session.node))).collect::<Vec<_>>());
            to.write(own.next_withdrawn(session.withdrawn_to).is_some());
            to.write(seen.owed(peer).map(|(number, owed)| (seen.name(peer, number), owed)).collect::<Vec<_>>());
            to.write(session.awaited().next().map(|(at, _)| to.run_until(at)));
        }
        for (name, standby) in standbys.iter() {
            to.write((name, standby.claim().is_some()));
        }
        for (due, at) in timers.iter() {
            to.write((core::mem::discriminant(due), to.until(at)));
        }
    }
}
