//! What other nodes tell, and their coming and going.

use core::time::Duration;

use super::rank::Rank;
use super::seen::Came;
use super::{ClaimError, Effect, Names, Step};
use crate::id::incarnation::Incarnation;
use crate::process::id::ProcessName;
use crate::time::RunTime;
use crate::wire::names::{Ack, Claim, Told, Word, read_acks, read_names};
use crate::{ConnId, NodeId, PeerFault};

/// The least time that a peer has to acknowledge a claim. On a slow link a full send window may stand before the claim, and another one before
/// its acknowledgement: at 20 KB/s each takes 13 s. Less than the default timeout of a claim, which settles when the peer is closed.
const PATIENCE: Duration = Duration::from_secs(25);

/// A session that has come up.
#[derive(Clone, Debug)]
pub(crate) struct Newcomer<'a> {
    pub(crate) peer: ConnId,
    pub(crate) id: &'a NodeId,
    pub(crate) incarnation: Incarnation,
    /// Whether both ends have processes.
    pub(crate) capable: bool,
    /// The longest silence of it that is no failure.
    pub(crate) silence: Duration,
}

impl Names {
    // Sessions

    /// A session is up. A claim that has just begun waits for its node too.
    pub(in crate::process) fn up(&mut self, step: &mut Step<'_>, newcomer: &Newcomer<'_>) {
        let Some(window) = self.run.as_ref().map(|run| run.window) else { return };
        let Newcomer { peer, id, incarnation, capable, silence } = *newcomer;
        if capable {
            let node = self.sessions.up(peer, id, incarnation, silence.max(PATIENCE));
            if self.sessions.is_full() {
                for forgotten in self.sessions.forget_down() {
                    self.own.forget_node(forgotten);
                }
            }
            self.seen.up(peer);
            self.pend(peer);
            for number in self.own.tentative() {
                if let Some(claim) = self.own.get_mut(number).filter(|claim| step.now <= claim.begun + window) {
                    claim.wait_for(node);
                }
            }
        }
        if !self.is_open {
            self.open(step);
        }
        if capable {
            self.guard_all(step);
            self.all_freed(step);
        }
    }

    /// A session has ended: the claims of its node are gone, and nobody waits for it any more.
    pub(in crate::process) fn down(&mut self, step: &mut Step<'_>, peer: ConnId) {
        let Some(node) = self.sessions.down(peer) else { return };
        self.pending.remove(&peer);
        self.rewaited.remove(&peer);
        let was_synced = self.are_synced();
        self.own.unheard(node);
        let gone = self.seen.down(peer);
        if !self.watched.is_empty() || !self.standbys.is_empty() {
            for name in gone {
                self.gone(step, &name);
            }
        }
        for number in self.own.tentative() {
            self.node_is_down(step, number, node);
        }
        self.guard_all(step);
        self.all_freed(step);
        if self.sessions.is_empty() {
            self.own.forget_withdrawn();
        }
        if !self.own.has_witness(node) {
            self.sessions.forget(node);
        }
        self.tell_if_synced(was_synced);
    }

    /// A claim waits no more for a node that is down. It fails if that node was said to have a better one: nobody else will say what became of
    /// it.
    fn node_is_down(&mut self, step: &mut Step<'_>, number: u64, node: u32) {
        let Some(claim) = self.own.get_mut(number).filter(|claim| claim.waits_for(node)) else { return };
        match claim.wait_no_more(node) {
            Some((by, settled)) => self.fail(step, number, ClaimError::Taken { by, settled }),
            None => self.settle(step, number),
        }
    }

    fn guard_all(&mut self, step: &mut Step<'_>) {
        for number in self.own.guarded() {
            self.guard(step, number);
        }
    }

    /// Another node's claim to a name is not in sight any more.
    fn gone(&mut self, step: &mut Step<'_>, name: &ProcessName) {
        self.changed(name);
        self.freed(step, name);
    }

    fn tell_if_synced(&mut self, before: bool) {
        if !before && self.are_synced() {
            self.tell(Effect::Synced);
        }
    }

    /// When the acknowledgement that a session owes next comes too late.
    pub(in crate::process) fn overdue_at(&mut self, peer: ConnId) -> Option<RunTime> {
        let Self { own, sessions, .. } = self;
        let session = sessions.get_mut(peer)?;
        let node = session.node;
        session.overdue_at(|number| own.get(number).is_some_and(|claim| claim.waits_for(node)))
    }

    /// Takes the sessions for which that may have changed.
    pub(in crate::process) fn take_rewaited(&mut self) -> alloc::collections::BTreeSet<ConnId> {
        core::mem::take(&mut self.rewaited)
    }

    // What they tell

    /// A node tells of its claims.
    pub(in crate::process) fn told(&mut self, step: &mut Step<'_>, peer: ConnId, body: &[u8]) -> Result<(), PeerFault> {
        read_names(body, |told| self.take(step, peer, told))
    }

    pub(super) fn take(&mut self, step: &mut Step<'_>, peer: ConnId, told: Told) -> Result<(), PeerFault> {
        match told {
            Told::Begin => self.seen.begin(peer)?,
            Told::Claim(claim) => self.claim_arrived(step, peer, &claim)?,
            Told::Withdrawn(number) => {
                if let Some(name) = self.seen.withdrawn(peer, number)? {
                    self.gone(step, &name);
                }
            }
            Told::End => {
                let was_synced = self.are_synced();
                for name in self.seen.end(peer)? {
                    self.gone(step, &name);
                }
                self.tell_if_synced(was_synced);
            }
        }
        self.is_full_told &= self.seen.len() > step.limits.names_of_others / 2;
        Ok(())
    }

    fn claim_arrived(&mut self, step: &mut Step<'_>, peer: ConnId, claim: &Claim) -> Result<(), PeerFault> {
        let came = self.seen.claim(peer, claim, step.limits.names_of_others)?;
        match came {
            Came::NotKept => self.not_kept(step, peer, claim),
            Came::Old => {}
            Came::New | Came::Changed => {
                self.meet(step, peer, claim);
                self.changed(&claim.name);
            }
        }
        Ok(())
    }

    /// A claim found no room. One that has not settled is answered so, and fails.
    fn not_kept(&mut self, step: &mut Step<'_>, peer: ConnId, claim: &Claim) {
        step.counters.names_not_kept += 1;
        if claim.settled.is_none() {
            self.pend(peer);
        }
        if !core::mem::replace(&mut self.is_full_told, true)
            && let Some(by) = self.process(peer, claim.process)
        {
            self.tell(Effect::NotKept { name: claim.name.clone(), by });
        }
    }

    /// A claim of another node has come into sight, or has become better.
    fn meet(&mut self, step: &mut Step<'_>, peer: ConnId, claim: &Claim) {
        let (Some(run), Some(id)) = (&self.run, self.sessions.id_of(peer)) else { return };
        let Claim { number, name, settled, .. } = claim;
        let rank = Rank { settled: *settled, node: id };
        if let Some((own, mine)) = self.own.named(name) {
            if rank < mine.rank(&run.id) {
                let Some(by) = self.process(peer, claim.process) else { return };
                if mine.is_settled() {
                    self.lose(step, own, Some((by, settled.is_some())));
                } else {
                    self.fail(step, own, ClaimError::Taken { by, settled: settled.is_some() });
                }
            } else if mine.is_settled() && settled.is_some() {
                self.report_loser(peer, claim);
            }
        }
        if settled.is_none() || self.is_alone(peer, claim) {
            self.owe_ack(peer, *number);
        }
        self.owe_tell(peer, name);
    }

    /// Whether a claim that has settled is the only one to its name, so that this node can become its witness.
    fn is_alone(&self, peer: ConnId, claim: &Claim) -> bool {
        let mut named = self.seen.named(&claim.name);
        let alone = named.all(|(other, sight)| other == peer && !sight.attested);
        alone && self.own.named(&claim.name).is_none()
    }

    fn owe_ack(&mut self, peer: ConnId, number: u64) {
        self.seen.owe(peer, number, |owed| owed.ack = true);
        self.pend(peer);
    }

    /// A node whose claim to a name is in sight is to know how many witnesses this node's own has.
    fn owe_tell(&mut self, peer: ConnId, name: &ProcessName) {
        let Some(node) = self.sessions.get(peer).map(|session| session.node) else { return };
        let is_untold = self.own.named(name).is_some_and(|(_, own)| own.is_settled() && !own.is_told(node));
        if is_untold && let Some(number) = self.seen.get_mut(name, peer).map(|sight| sight.number) {
            self.seen.owe(peer, number, |owed| owed.tell = true);
            self.pend(peer);
        }
    }

    /// A settled claim of another node has met a better one of this node, which is told once.
    fn report_loser(&mut self, peer: ConnId, claim: &Claim) {
        let is_news = |sight: &mut super::seen::Sight| !core::mem::replace(&mut sight.reported, true);
        if !self.seen.get_mut(&claim.name, peer).is_some_and(is_news) {
            return;
        }
        let winner = self.own.named(&claim.name).and_then(|(_, own)| self.own_process(own.process));
        if let (Some(winner), Some(loser)) = (winner, self.process(peer, claim.process)) {
            self.tell(Effect::Conflict { name: claim.name.clone(), winner, loser });
        }
    }

    // What they acknowledge

    /// A node acknowledges claims of this one.
    pub(in crate::process) fn acknowledged(&mut self, step: &mut Step<'_>, peer: ConnId, body: &[u8]) -> Result<(), PeerFault> {
        read_acks(body, |ack| self.ack_arrived(step, peer, ack))
    }

    pub(super) fn ack_arrived(&mut self, step: &mut Step<'_>, peer: ConnId, Ack { number, word }: Ack) -> Result<(), PeerFault> {
        let session = self.sessions.get(peer).ok_or(PeerFault::UnexpectedMessage)?;
        let node = session.node;
        if number > session.highest {
            return Err(PeerFault::NeverAsked);
        }
        if let Word::Better { by, .. } = &word
            && (Some(by.node()) == self.sessions.id(node) || self.run.as_ref().is_some_and(|run| run.id == *by.node()))
        {
            // It would have told its own claim, and this node knows its own.
            return Err(PeerFault::MalformedBody);
        }
        let Some(claim) = self.own.get_mut(number) else { return Ok(()) };
        if !claim.has_heard(node) {
            return Err(PeerFault::NeverAsked);
        }
        let settled = claim.is_settled();
        match word {
            Word::Clean => {
                let grows = claim.witness(node);
                if settled && grows {
                    let name = claim.name.clone();
                    self.grown(&name);
                }
            }
            Word::Full | Word::Better { .. } if settled => return Ok(()),
            Word::Full => {
                let Some(at) = self.sessions.id(node).cloned() else { return Ok(()) };
                self.fail(step, number, ClaimError::Full { at });
                return Ok(());
            }
            Word::Better { by, settled } => match self.sessions.up_at(by.node()) {
                // What that node itself tells decides.
                Some(third) if claim.waits_for(third) => claim.blame(third, by, settled),
                Some(_) => {}
                None => {
                    self.fail(step, number, ClaimError::Taken { by, settled });
                    return Ok(());
                }
            },
        }
        if let Some(claim) = self.own.get_mut(number).filter(|claim| claim.waits_for(node)) {
            claim.wait_no_more(node);
            self.rewaited.insert(peer);
            self.settle(step, number);
        }
        Ok(())
    }

    /// A settled claim has another witness: the nodes whose claims to the name are in sight are to know.
    fn grown(&mut self, name: &ProcessName) {
        let peers: alloc::vec::Vec<ConnId> = self.seen.named(name).map(|(peer, _)| peer).collect();
        for peer in peers {
            self.owe_tell(peer, name);
        }
    }
}
