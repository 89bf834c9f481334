//! The claims of this node.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::bits::Bits;
use super::claim::ClaimOptions;
use super::rank::Rank;
use crate::process::id::{ClaimId, ProcessId, ProcessName, ProtocolHash};
use crate::wire::names::WITNESSES_MAX;
use crate::{Instant, NodeId};

/// The withdrawals that are remembered for sessions that were not told of them. One that lags behind gets a new snapshot.
pub(super) const WITHDRAWN_MAX: usize = 65_536;

/// The claims of this node's processes, of which each name has one at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    claims: BTreeMap<u64, Box<Claim>>,
    names: BTreeMap<ProcessName, u64>,
    processes: BTreeSet<(u64, u64)>,
    /// Those that have not settled.
    tentative: BTreeSet<u64>,
    /// Those that go by a number of nodes that has to be connected.
    guarded: BTreeSet<u64>,
    /// In the order of their last changes, by the stamp of that.
    changes: BTreeMap<u64, u64>,
    /// Claims that are no more, in the order of their ends.
    withdrawn: BTreeMap<u64, u64>,
    /// Withdrawals with stamps up to this one are forgotten.
    forgotten: u64,
    /// The stamp of the last change.
    stamp: u64,
    /// The last number given, of all runs.
    last: u64,
}

/// A claim of this node.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) name: ProcessName,
    pub(super) process: u64,
    pub(super) protocol: ProtocolHash,
    pub(super) options: ClaimOptions,
    /// The caller that has not heard of its outcome.
    pub(super) caller: Option<ClaimId>,
    pub(super) begun: Instant,
    settled: bool,
    /// The nodes that gave a clean acknowledgement.
    witnesses: Bits,
    count: u32,
    /// The nodes whose acknowledgement is to come.
    waits: Bits,
    /// Of those: whose better claim a third node has named, and whether that has settled.
    blamed: BTreeMap<u32, (ProcessId, bool)>,
    /// The nodes that were told of it in their present sessions.
    heard: Bits,
    /// The nodes that were told what it is now.
    told: Bits,
    changed: u64,
}

/// What a claim is made of.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) name: ProcessName,
    pub(super) process: u64,
    pub(super) protocol: ProtocolHash,
    pub(super) options: ClaimOptions,
}

impl Own {
    pub(super) fn len(&self) -> usize {
        self.claims.len()
    }

    pub(super) fn get(&self, number: u64) -> Option<&Claim> {
        self.claims.get(&number).map(|claim| &**claim)
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Claim> {
        self.claims.get_mut(&number).map(|claim| &mut **claim)
    }

    /// The claim to a name, with its number.
    pub(super) fn named(&self, name: &ProcessName) -> Option<(u64, &Claim)> {
        let number = *self.names.get(name)?;
        Some((number, self.get(number)?))
    }

    /// All claims, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Claim)> {
        self.names.values().filter_map(|number| Some((*number, self.get(*number)?)))
    }

    /// The numbers of a process's claims.
    pub(super) fn of_process(&self, process: u64) -> Vec<u64> {
        self.processes.range((process, 0)..=(process, u64::MAX)).map(|(_, number)| *number).collect()
    }

    /// The numbers of those that have not settled.
    pub(super) fn tentative(&self) -> Vec<u64> {
        self.tentative.iter().copied().collect()
    }

    /// The numbers of those that go by how many nodes are connected.
    pub(super) fn guarded(&self) -> Vec<u64> {
        self.guarded.iter().copied().collect()
    }

    /// A number that was never given.
    pub(super) const fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Begins a claim. `caller`: who waits for it; none where that is known by the claim's own number. `waits`: who has to acknowledge it.
    pub(super) fn begin(&mut self, asked: Asked, caller: Option<ClaimId>, waits: Bits, now: Instant) -> u64 {
        let number = self.next_number();
        let Asked { name, process, protocol, options } = asked;
        self.stamp += 1;
        self.names.insert(name.clone(), number);
        self.processes.insert((process, number));
        self.tentative.insert(number);
        self.changes.insert(self.stamp, number);
        if options.min_nodes > 0 {
            self.guarded.insert(number);
        }
        let claim = Claim {
            name,
            process,
            protocol,
            options,
            caller: Some(caller.unwrap_or(ClaimId(number))),
            begun: now,
            settled: false,
            witnesses: Bits::default(),
            count: 0,
            waits,
            blamed: BTreeMap::new(),
            heard: Bits::default(),
            told: Bits::default(),
            changed: self.stamp,
        };
        self.claims.insert(number, Box::new(claim));
        number
    }

    /// A claim has settled: every node is to be told.
    pub(super) fn settle(&mut self, number: u64) {
        let Some(claim) = self.claims.get_mut(&number) else { return };
        self.changes.remove(&claim.changed);
        self.stamp += 1;
        claim.changed = self.stamp;
        claim.settled = true;
        claim.told.clear();
        self.changes.insert(self.stamp, number);
        self.tentative.remove(&number);
    }

    /// Takes a claim out. Every node that was told of it is to be told.
    pub(super) fn withdraw(&mut self, number: u64) -> Option<Box<Claim>> {
        let claim = self.claims.remove(&number)?;
        self.names.remove(&claim.name);
        self.processes.remove(&(claim.process, number));
        self.tentative.remove(&number);
        self.guarded.remove(&number);
        self.changes.remove(&claim.changed);
        self.stamp += 1;
        self.withdrawn.insert(self.stamp, number);
        while self.withdrawn.len() > WITHDRAWN_MAX
            && let Some((stamp, _)) = self.withdrawn.pop_first()
        {
            self.forgotten = stamp;
        }
        Some(claim)
    }

    /// Every session was told of all withdrawals.
    pub(super) fn forget_withdrawn(&mut self) {
        self.forgotten = self.stamp;
        self.withdrawn = BTreeMap::new();
    }

    // What was not told

    /// The stamp of the last change.
    pub(super) const fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Whether withdrawals with greater stamps are all remembered.
    pub(super) const fn remembers(&self, stamp: u64) -> bool {
        stamp >= self.forgotten
    }

    /// The next claim that has changed since, with the stamp of that.
    pub(super) fn next_change(&self, since: u64) -> Option<(u64, u64)> {
        self.changes.range(since + 1..).next().map(|(stamp, number)| (*stamp, *number))
    }

    /// The next withdrawal since, likewise.
    pub(super) fn next_withdrawn(&self, since: u64) -> Option<(u64, u64)> {
        self.withdrawn.range(since + 1..).next().map(|(stamp, number)| (*stamp, *number))
    }

    /// The session with a node has ended: whatever it was told is over.
    pub(super) fn unheard(&mut self, node: u32) {
        for claim in self.claims.values_mut() {
            claim.heard.remove(node);
            claim.told.remove(node);
        }
    }

    /// Every claim is to be told to a node once more.
    pub(super) fn untold(&mut self, node: u32) {
        for claim in self.claims.values_mut() {
            claim.told.remove(node);
        }
    }

    /// Whether a node is a witness of any claim.
    pub(super) fn has_witness(&self, node: u32) -> bool {
        self.claims.values().any(|claim| claim.witnesses.contains(node))
    }

    /// A node's place is another's from here on. That it was a witness stays counted.
    pub(super) fn forget_node(&mut self, node: u32) {
        for claim in self.claims.values_mut() {
            claim.witnesses.remove(node);
        }
    }

    /// Nothing is claimed any more. Numbers go on.
    pub(super) fn reset(&mut self) {
        *self = Self { last: self.last, ..Self::default() };
    }

    #[cfg(test)]
    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    #[cfg(debug_assertions)]
    pub(super) fn audit(&self) {
        for (number, claim) in &self.claims {
            assert_eq!(self.names.get(&claim.name), Some(number), "the claim to a name");
            assert!(self.processes.contains(&(claim.process, *number)), "a process's claim");
            assert_eq!(self.changes.get(&claim.changed), Some(number), "the last change of a claim");
            assert_eq!(self.tentative.contains(number), !claim.settled, "claims that have not settled");
            assert_eq!(self.guarded.contains(number), claim.options.min_nodes > 0, "claims that go by connected nodes");
            assert!(!claim.settled || claim.waits.is_empty(), "a settled claim waits");
            assert!(claim.blamed.keys().all(|node| claim.waits.contains(*node)), "a node that is blamed is waited for");
            assert!(claim.told.iter().all(|node| claim.heard.contains(node)), "who was told has heard");
            assert!(claim.count <= WITNESSES_MAX && claim.witnesses.iter().count() <= claim.count as usize, "witnesses");
        }
        let counts = [self.names.len(), self.processes.len(), self.changes.len()];
        assert_eq!(counts, [self.claims.len(); 3], "claims in the indexes");
        assert!(self.withdrawn.len() <= WITHDRAWN_MAX, "withdrawals");
        assert!(
            self.tentative.iter().chain(&self.guarded).all(|number| self.claims.contains_key(number)),
            "claims that are over"
        );
    }
}

impl Claim {
    pub(super) const fn is_settled(&self) -> bool {
        self.settled
    }

    /// The witnesses, where it has settled.
    pub(super) fn settled(&self) -> Option<u32> {
        self.settled.then_some(self.count)
    }

    /// How many witnesses it has.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn rank<'a>(&self, node: &'a NodeId) -> Rank<'a> {
        Rank { settled: self.settled(), node }
    }

    pub(super) const fn waits(&self) -> &Bits {
        &self.waits
    }

    pub(super) const fn witnesses(&self) -> &Bits {
        &self.witnesses
    }

    pub(super) const fn blamed(&self) -> &BTreeMap<u32, (ProcessId, bool)> {
        &self.blamed
    }

    pub(super) fn waits_for(&self, node: u32) -> bool {
        self.waits.contains(node)
    }

    /// A node has come up that has to acknowledge it too.
    pub(super) fn wait_for(&mut self, node: u32) {
        self.waits.insert(node);
    }

    /// A node is not waited for any more: the better claim of its own that another one has named.
    pub(super) fn wait_no_more(&mut self, node: u32) -> Option<(ProcessId, bool)> {
        self.waits.remove(node);
        self.blamed.remove(&node)
    }

    /// A third node has named a better claim of this node, which is waited for.
    pub(super) fn blame(&mut self, node: u32, by: ProcessId, settled: bool) {
        self.blamed.insert(node, (by, settled));
    }

    /// A node acknowledged it cleanly: whether the number of witnesses has grown. It is counted once.
    pub(super) fn witness(&mut self, node: u32) -> bool {
        let grows = self.count < WITNESSES_MAX && self.witnesses.insert(node);
        if grows {
            self.count += 1;
            if self.settled {
                self.told.clear();
            }
        }
        grows
    }

    /// Whether a node was told of it.
    pub(super) fn has_heard(&self, node: u32) -> bool {
        self.heard.contains(node)
    }

    /// Whether a node was told what it is now.
    pub(super) fn is_told(&self, node: u32) -> bool {
        self.told.contains(node)
    }

    /// A node is told: whether that is the first that it hears of it.
    pub(super) fn tell(&mut self, node: u32) -> bool {
        self.told.insert(node);
        self.heard.insert(node)
    }

    #[cfg(test)]
    pub(super) fn waits_for_nobody(&mut self) {
        self.waits.clear();
        self.blamed.clear();
    }
}
