//! What the application does with names, and how claims settle and end.

use alloc::vec::Vec;
use core::time::Duration;

use super::own::{Asked, Claim};
use super::{ClaimError, ClaimOptions, Due, Effect, Names, Step, WatchNameError};
use crate::ClusterNotStartedError;
use crate::process::id::{ClaimId, ProcessId, ProcessName, ProtocolHash};

/// A claim that is to begin.
#[derive(Clone, Debug)]
pub(in crate::process) struct Claiming {
    pub(in crate::process) name: ProcessName,
    pub(in crate::process) process: u64,
    pub(in crate::process) protocol: ProtocolHash,
    pub(in crate::process) options: ClaimOptions,
    /// Whether to wait until the name is free.
    pub(in crate::process) when_free: bool,
    /// How many names this node's processes have lost of which they have not heard: they take room.
    pub(in crate::process) lost: usize,
}

impl Names {
    // What the application does

    pub(in crate::process) fn claim(&mut self, step: &mut Step<'_>, claiming: Claiming) -> Result<ClaimId, ClaimError> {
        let Claiming { name, process, protocol, options, when_free, lost } = claiming;
        if self.run.is_none() {
            return Err(ClaimError::NotStarted(ClusterNotStartedError));
        }
        if self.is_draining {
            return Err(ClaimError::Stopped);
        }
        if when_free && let Some(standby) = self.standbys.get(&name) {
            let by = self.own_process(standby.asked.process).ok_or(ClaimError::Stopped)?;
            return Err(ClaimError::Taken { by, settled: false });
        }
        if !when_free && let Some((by, settled)) = self.in_sight(&name) {
            return Err(ClaimError::Taken { by, settled });
        }
        let limit = step.limits.names;
        if self.used() + lost >= limit {
            return Err(ClaimError::TooMany { limit });
        }
        let asked = Asked { name, process, protocol, options };
        if !when_free {
            return Ok(ClaimId(self.begin(step, asked, None)));
        }
        let caller = ClaimId(self.own.next_number());
        self.standbys.add(caller, asked);
        self.try_standby(step, caller);
        Ok(caller)
    }

    /// The caller of a claim is about to hear that it has settled: which process has which name from here on. None where it is lost.
    pub(in crate::process) fn claim_returned(&mut self, caller: ClaimId) -> Option<(u64, ProcessName)> {
        let number = self.claim_of(caller)?;
        let claim = self.own.get_mut(number).filter(|claim| claim.is_settled())?;
        claim.caller = None;
        let has = (claim.process, claim.name.clone());
        self.standbys.remove(caller);
        Some(has)
    }

    /// The number of a caller's claim.
    fn claim_of(&self, caller: ClaimId) -> Option<u64> {
        let number = self.standbys.of_caller(caller).map_or(Some(caller.0), super::standbys::Standby::claim)?;
        self.own.get(number).filter(|claim| claim.caller == Some(caller)).map(|_| number)
    }

    /// The caller waits no more.
    pub(in crate::process) fn drop_claim(&mut self, step: &mut Step<'_>, caller: ClaimId) {
        let number = self.claim_of(caller);
        self.forget_standby(caller);
        if let Some(number) = number {
            self.withdraw(step, number);
        }
    }

    /// A process gives a name back: whether it had it, claimed it, or stood by for it.
    pub(in crate::process) fn release(&mut self, step: &mut Step<'_>, process: u64, name: &ProcessName) -> bool {
        let stands = self.standbys.get(name).filter(|standby| standby.asked.process == process).map(|standby| standby.caller);
        let claims = self.own.named(name).filter(|(_, claim)| claim.process == process).map(|(number, _)| number);
        if let Some(caller) = stands {
            self.end_standby(step, caller, ClaimError::Released);
        }
        if let Some(number) = claims {
            self.end(step, number, ClaimError::Released);
        }
        stands.is_some() || claims.is_some()
    }

    /// A process ends, and with it its claims.
    pub(in crate::process) fn exit(&mut self, step: &mut Step<'_>, process: u64) {
        for caller in self.standbys.of_process(process) {
            self.end_standby(step, caller, ClaimError::NoProcess);
        }
        for number in self.own.of_process(process) {
            self.end(step, number, ClaimError::NoProcess);
        }
    }

    /// The node begins to stop: nothing that has not settled will.
    pub(in crate::process) fn drain(&mut self, step: &mut Step<'_>) {
        self.is_draining = true;
        let standing: Vec<ClaimId> = self.standbys.iter().map(|(_, standby)| standby.caller).collect();
        for caller in standing {
            self.end_standby(step, caller, ClaimError::Stopped);
        }
        for number in self.own.tentative() {
            self.end(step, number, ClaimError::Stopped);
        }
    }

    pub(in crate::process) fn watch(&mut self, name: &ProcessName, limit: usize) -> Result<(), WatchNameError> {
        if self.run.is_none() {
            return Err(WatchNameError::NotStarted(ClusterNotStartedError));
        }
        if let Some(count) = self.watched.get_mut(name) {
            *count += 1;
        } else if self.watched.len() >= limit {
            return Err(WatchNameError::TooMany { limit });
        } else {
            self.watched.insert(name.clone(), 1);
        }
        Ok(())
    }

    pub(in crate::process) fn unwatch(&mut self, name: &ProcessName) {
        if let Some(count) = self.watched.get_mut(name) {
            *count -= 1;
            if *count == 0 {
                self.watched.remove(name);
            }
        }
    }

    // The life of a claim

    /// A claim begins, to a name of which none is in sight.
    fn begin(&mut self, step: &mut Step<'_>, asked: Asked, caller: Option<ClaimId>) -> u64 {
        step.counters.claims += 1;
        let timeout = asked.options.timeout;
        let number = self.own.begin(asked, caller, self.sessions.nodes(), step.now);
        self.set(Due::Claim(number), step.now + timeout);
        self.pend_all();
        self.settle(step, number);
        number
    }

    /// A claim settles if nobody is waited for.
    pub(super) fn settle(&mut self, step: &mut Step<'_>, number: u64) {
        let Some(claim) = self.own.get(number) else { return };
        if claim.is_settled() || !claim.waits().is_empty() || !self.is_open {
            return;
        }
        let (found, min_nodes) = (claim.count() as usize, claim.options.min_nodes);
        if found < min_nodes {
            return self.fail(step, number, ClaimError::TooFew { found, min_nodes });
        }
        let (name, caller) = (claim.name.clone(), claim.caller);
        self.own.settle(number);
        self.cancel(Due::Claim(number));
        step.counters.claims_settled += 1;
        self.pend_all();
        self.changed(&name);
        if let Some(caller) = caller {
            self.tell(Effect::Ended(caller, Ok(())));
        }
        self.guard(step, number);
    }

    /// This node has waited for its first session long enough, or has met somebody.
    pub(super) fn open(&mut self, step: &mut Step<'_>) {
        self.is_open = true;
        self.cancel(Due::Gate);
        for number in self.own.tentative() {
            self.settle(step, number);
        }
    }

    /// A claim that has settled is given up where too few nodes are connected for too long.
    pub(super) fn guard(&mut self, step: &mut Step<'_>, number: u64) {
        let Some(claim) = self.own.get(number).filter(|claim| claim.is_settled()) else { return };
        let ClaimOptions { min_nodes, grace, .. } = claim.options;
        if self.sessions.len() >= min_nodes {
            self.cancel(Due::Grace(number));
        } else if grace == Duration::ZERO {
            self.lose(step, number, None);
        } else if self.timers.get(&Due::Grace(number)).is_none() {
            self.set(Due::Grace(number), step.now + grace);
        }
    }

    pub(super) fn claim_overdue(&mut self, step: &mut Step<'_>, number: u64) {
        let Some(claim) = self.own.get(number) else { return };
        let mut waiting_for: Vec<_> = claim.waits().iter().filter_map(|node| self.sessions.id(node).cloned()).collect();
        waiting_for.sort();
        self.fail(step, number, ClaimError::TimedOut { waiting_for });
    }

    // Its end

    /// A claim that has not settled fails.
    pub(super) fn fail(&mut self, step: &mut Step<'_>, number: u64, error: ClaimError) {
        let Some(claim) = self.withdraw(step, number) else { return };
        self.try_again_or_end(step, &claim, error);
    }

    /// A claim loses: to a better one, or for want of nodes.
    pub(super) fn lose(&mut self, step: &mut Step<'_>, number: u64, winner: Option<(ProcessId, bool)>) {
        let found = self.sessions.len();
        let Some(claim) = self.withdraw(step, number) else { return };
        let by = winner.as_ref().map(|(by, _)| by.clone());
        let Claim { name, process, options, .. } = &*claim;
        if claim.is_settled()
            && let (Some(winner), Some(loser)) = (by.clone(), self.own_process(*process))
        {
            self.tell(Effect::Conflict { name: name.clone(), winner, loser });
        }
        if claim.caller.is_none() {
            step.counters.names_lost += 1;
            let (process, name, stop) = (*process, name.clone(), !options.keep_on_loss);
            return self.tell(Effect::Lost { process, name, winner: by, stop });
        }
        let error = match winner {
            Some((by, settled)) => ClaimError::Taken { by, settled },
            None => ClaimError::TooFew { found, min_nodes: options.min_nodes },
        };
        self.try_again_or_end(step, &claim, error);
    }

    /// A claim is over before its caller has heard that it settled: one that stands by tries again, at the next change of what is in sight,
    /// or after a while.
    fn try_again_or_end(&mut self, step: &mut Step<'_>, claim: &Claim, error: ClaimError) {
        let Some(caller) = claim.caller else { return };
        if self.standbys.of_caller(caller).is_none() {
            return self.tell(Effect::Ended(caller, Err(error)));
        }
        self.standbys.claims(&claim.name, None);
        if self.in_sight(&claim.name).is_none() {
            let half = self.run.as_ref().map_or(Duration::ZERO, |run| run.interval / 2);
            let delay = half + self.random(half);
            self.set(Due::Try(caller), step.now + delay);
        }
    }

    /// A claim ends by the application's will, or with its process.
    fn end(&mut self, step: &mut Step<'_>, number: u64, error: ClaimError) {
        if let Some(claim) = self.withdraw(step, number)
            && let Some(caller) = claim.caller
        {
            self.tell(Effect::Ended(caller, Err(error)));
        }
    }

    /// Takes a claim out: all nodes are told.
    fn withdraw(&mut self, step: &mut Step<'_>, number: u64) -> Option<alloc::boxed::Box<Claim>> {
        let claim = self.own.withdraw(number)?;
        self.cancel(Due::Claim(number));
        self.cancel(Due::Grace(number));
        if !claim.is_settled() {
            step.counters.claims_failed += 1;
        }
        // Nobody is to acknowledge it any more.
        for node in claim.waits().iter() {
            self.rewaited.extend(self.sessions.session_at(node));
        }
        self.pend_all();
        if self.own.len() == 0 {
            self.sessions.forget_down();
        }
        if claim.is_settled() {
            self.changed(&claim.name);
        }
        self.freed(step, &claim.name);
        Some(claim)
    }

    // Those that stand by

    /// Forgets one that stands by.
    fn forget_standby(&mut self, caller: ClaimId) -> bool {
        self.cancel(Due::Try(caller));
        self.standbys.remove(caller).is_some()
    }

    /// One that stands by ends, and its claim.
    fn end_standby(&mut self, step: &mut Step<'_>, caller: ClaimId, error: ClaimError) {
        let number = self.claim_of(caller);
        if self.forget_standby(caller) {
            if let Some(number) = number {
                self.withdraw(step, number);
            }
            self.tell(Effect::Ended(caller, Err(error)));
        }
    }

    /// One that stands by claims the name if that is free.
    pub(super) fn try_standby(&mut self, step: &mut Step<'_>, caller: ClaimId) {
        self.cancel(Due::Try(caller));
        let Some(standby) = self.standbys.of_caller(caller).filter(|standby| standby.claim().is_none()) else { return };
        let asked = standby.asked.clone();
        if self.in_sight(&asked.name).is_none() {
            // It may fail before it is noted, and is not to be taken for one that claims then.
            let name = asked.name.clone();
            let number = self.begin(step, asked, Some(caller));
            let is_there = self.own.get(number).is_some();
            self.standbys.claims(&name, is_there.then_some(number));
        }
    }

    /// A claim to a name is no more: whoever stands by for it tries soon, at a random moment, since others do too.
    pub(super) fn freed(&mut self, step: &mut Step<'_>, name: &ProcessName) {
        let Some(standby) = self.standbys.get(name).filter(|standby| standby.claim().is_none()) else { return };
        let caller = standby.caller;
        if self.in_sight(name).is_some() {
            return;
        }
        let members = u32::try_from(self.sessions.len() + 1).unwrap_or(u32::MAX);
        let soon = step.now + self.random(Duration::from_millis(1) * members);
        if self.timers.get(&Due::Try(caller)).is_none_or(|at| soon < at) {
            self.set(Due::Try(caller), soon);
        }
    }

    /// Nodes have come or gone: all that stand by try.
    pub(super) fn all_freed(&mut self, step: &mut Step<'_>) {
        if !self.standbys.is_empty() {
            for name in self.standbys.names() {
                self.freed(step, &name);
            }
        }
    }
}
