//! Processes of this node that wait until a name is free.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::own::Asked;
use crate::process::id::{ClaimId, ProcessName};

/// Those that stand by, of which each name has one at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Standbys {
    rows: BTreeMap<ProcessName, Standby>,
    callers: BTreeMap<ClaimId, ProcessName>,
    processes: BTreeSet<(u64, ClaimId)>,
    /// How many of them have a claim.
    claiming: usize,
}

/// One that stands by until its caller has heard that it has the name.
#[derive(Clone, Debug)]
pub(super) struct Standby {
    pub(super) caller: ClaimId,
    pub(super) asked: Asked,
    /// The claim that it has made, while there is one.
    claim: Option<u64>,
}

impl Standby {
    pub(super) const fn claim(&self) -> Option<u64> {
        self.claim
    }
}

impl Standbys {
    /// How many wait, and have no claim.
    pub(super) fn waiting(&self) -> usize {
        self.rows.len() - self.claiming
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn get(&self, name: &ProcessName) -> Option<&Standby> {
        self.rows.get(name)
    }

    pub(super) fn of_caller(&self, caller: ClaimId) -> Option<&Standby> {
        self.rows.get(self.callers.get(&caller)?)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ProcessName, &Standby)> {
        self.rows.iter()
    }

    /// The names that somebody stands by for.
    pub(super) fn names(&self) -> Vec<ProcessName> {
        self.rows.keys().cloned().collect()
    }

    /// The callers of a process.
    pub(super) fn of_process(&self, process: u64) -> Vec<ClaimId> {
        let range = (process, ClaimId(0))..=(process, ClaimId(u64::MAX));
        self.processes.range(range).map(|(_, caller)| *caller).collect()
    }

    /// Stands by for a name for which nobody of this node does.
    pub(super) fn add(&mut self, caller: ClaimId, asked: Asked) {
        let name = asked.name.clone();
        self.callers.insert(caller, name.clone());
        self.processes.insert((asked.process, caller));
        self.rows.insert(name, Standby { caller, asked, claim: None });
    }

    /// It claims, or does no more.
    pub(super) fn claims(&mut self, name: &ProcessName, claim: Option<u64>) {
        let Some(row) = self.rows.get_mut(name) else { return };
        self.claiming = self.claiming - usize::from(row.claim.is_some()) + usize::from(claim.is_some());
        row.claim = claim;
    }

    pub(super) fn remove(&mut self, caller: ClaimId) -> Option<Standby> {
        let row = self.rows.remove(&self.callers.remove(&caller)?)?;
        self.processes.remove(&(row.asked.process, caller));
        self.claiming -= usize::from(row.claim.is_some());
        Some(row)
    }

    #[cfg(debug_assertions)]
    pub(super) fn audit(&self) {
        assert_eq!([self.callers.len(), self.processes.len()], [self.rows.len(); 2], "those that stand by");
        for (name, row) in &self.rows {
            assert_eq!(self.callers.get(&row.caller), Some(name), "who stands by for a name");
            assert!(self.processes.contains(&(row.asked.process, row.caller)), "the process that stands by");
        }
        assert_eq!(self.rows.values().filter(|row| row.claim.is_some()).count(), self.claiming, "those that claim");
    }
}
