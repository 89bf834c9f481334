//! Name lookups: one at a time for each host, and a bounded number in all.
//!
//! A lookup cannot be cancelled and may outlast a run of the node, so it counts against the limit until its answer arrives.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use crate::{Instant, LookupId};

/// Lookups under way, queued lookups, and the targets (`W`) that wait for each answer.
#[derive(Clone, Debug)]
pub(crate) struct Lookups<W> {
    /// By host, under way or queued.
    hosts: BTreeMap<String, Lookup<W>>,
    last: u64,
    /// Queued hosts that are likely to resolve soon.
    good: VecDeque<String>,
    /// Queued hosts that may take long. They may use three quarters of the limit, rounded up.
    others: VecDeque<String>,
    under_way: BTreeMap<LookupId, String>,
}

#[derive(Clone, Debug)]
struct Lookup<W> {
    id: Option<LookupId>,
    since: Instant,
    waiting: Vec<W>,
}

/// A lookup that has ended.
#[derive(Debug)]
pub(crate) struct Answered<W> {
    pub(crate) host: String,
    /// When it began.
    pub(crate) since: Instant,
    pub(crate) waiting: Vec<W>,
}

impl<W> Default for Lookups<W> {
    fn default() -> Self {
        Self { hosts: BTreeMap::new(), last: 0, good: VecDeque::new(), others: VecDeque::new(), under_way: BTreeMap::new() }
    }
}

impl<W: PartialEq> Lookups<W> {
    /// The number of lookups under way.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Adds `waiter` to those that want the addresses of a host. Returns the lookup if one of this host is under way: its answer will do.
    pub(crate) fn want(&mut self, host: &str, waiter: W, good: bool) -> Option<LookupId> {
        if let Some(lookup) = self.hosts.get_mut(host) {
            if !lookup.waiting.contains(&waiter) {
                lookup.waiting.push(waiter);
            }
            return lookup.id;
        }
        let queue = if good { &mut self.good } else { &mut self.others };
        queue.push_back(host.into());
        self.hosts.insert(host.into(), Lookup { id: None, since: Instant::START, waiting: alloc::vec![waiter] });
        None
    }

    /// Begins the next queued lookup, unless `limit` are under way.
    pub(crate) fn begin(&mut self, now: Instant, limit: usize) -> Option<(LookupId, String)> {
        let under_way = self.under_way.len();
        let queue = match (self.good.is_empty(), self.others.is_empty()) {
            (false, _) if under_way < limit => &mut self.good,
            (true, false) if under_way < limit - limit / 4 => &mut self.others,
            _ => return None,
        };
        let host = queue.pop_front()?;
        let lookup = self.hosts.get_mut(&host)?;
        self.last += 1;
        let id = LookupId(self.last);
        lookup.id = Some(id);
        lookup.since = now;
        self.under_way.insert(id, host.clone());
        Some((id, host))
    }

    /// The targets that wait for a lookup under way.
    pub(crate) fn waiting(&self, id: LookupId) -> &[W] {
        let lookup = self.under_way.get(&id).and_then(|host| self.hosts.get(host));
        lookup.map_or(&[], |lookup| &lookup.waiting)
    }

    /// Ends a lookup. A number that is not under way is ignored.
    pub(crate) fn answered(&mut self, id: LookupId) -> Option<Answered<W>> {
        let host = self.under_way.remove(&id)?;
        let Lookup { since, waiting, .. } = self.hosts.remove(&host)?;
        Some(Answered { host, since, waiting })
    }

    /// Removes a target that waits. A queued lookup goes with its last one.
    pub(crate) fn leave(&mut self, host: &str, waiter: &W) {
        let Some(lookup) = self.hosts.get_mut(host) else { return };
        lookup.waiting.retain(|other| other != waiter);
        if lookup.waiting.is_empty() && lookup.id.is_none() {
            self.hosts.remove(host);
            self.good.retain(|other| other != host);
            self.others.retain(|other| other != host);
        }
    }

    /// Removes all targets, and with them all queued lookups.
    pub(crate) fn abandon(&mut self) {
        self.good.clear();
        self.others.clear();
        self.hosts.retain(|_, lookup| lookup.id.is_some());
        self.hosts.values_mut().for_each(|lookup| lookup.waiting.clear());
    }

    #[cfg(debug_assertions)]
    pub(crate) fn is_under_way(&self, id: LookupId) -> bool {
        self.under_way.contains_key(&id)
    }

    /// All targets that wait.
    #[cfg(debug_assertions)]
    pub(crate) fn waiters(&self) -> impl Iterator<Item = &W> {
        self.hosts.values().flat_map(|lookup| &lookup.waiting)
    }

    /// Panics where the tables and the queues differ.
    #[cfg(debug_assertions)]
    pub(crate) fn audit(&self) {
        let id = |host: &String| self.hosts.get(host).map(|lookup| lookup.id);
        assert!(self.under_way.iter().all(|(number, host)| id(host) == Some(Some(*number))), "lookups under way");
        assert!(self.good.iter().chain(&self.others).all(|host| id(host) == Some(None)), "lookups that wait");
        assert_eq!(self.hosts.len(), self.under_way.len() + self.good.len() + self.others.len(), "hosts that are looked up");
    }

    /// The hosts that are wanted, in order, and whether each lookup is under way.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (&str, bool)> {
        self.hosts.iter().map(|(host, lookup)| (&**host, lookup.id.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    const NOW: Instant = Instant::START;

    /// Begins all that may begin.
    fn begin(lookups: &mut Lookups<u8>, limit: usize) -> Vec<(u64, String)> {
        core::iter::from_fn(|| lookups.begin(NOW, limit)).map(|(id, host)| (id.0, host)).collect()
    }

    #[test]
    fn a_host_is_looked_up_once_for_all_who_want_it() {
        let mut lookups = Lookups::default();
        assert_eq!(lookups.want("a", 1, true), None);
        assert_eq!(lookups.want("a", 2, true), None);
        assert_eq!(begin(&mut lookups, 4), [(1, "a".to_string())]);
        assert_eq!(lookups.want("a", 3, true), Some(LookupId(1)));
        assert_eq!(lookups.want("a", 3, true), Some(LookupId(1)));
        assert_eq!(begin(&mut lookups, 4), []);
        lookups.leave("a", &2);
        let answered = lookups.answered(LookupId(1)).expect("it was under way");
        assert_eq!((answered.host.as_str(), answered.waiting), ("a", alloc::vec![1, 3]));
        assert!(lookups.answered(LookupId(1)).is_none());
        // The next one asks anew.
        assert_eq!(lookups.want("a", 1, true), None);
        assert_eq!(begin(&mut lookups, 4), [(2, "a".to_string())]);
    }

    #[test]
    fn lookups_are_bounded_and_a_quarter_is_for_those_that_are_likely_to_be_found() {
        let mut lookups = Lookups::default();
        for host in ["s1", "s2", "s3", "s4"] {
            lookups.want(host, 0, false);
        }
        assert_eq!(begin(&mut lookups, 4).len(), 3);
        lookups.want("g1", 0, true);
        lookups.want("g2", 0, true);
        assert_eq!(begin(&mut lookups, 4), [(4, "g1".to_string())]);
        assert_eq!(lookups.under_way(), 4);
        lookups.answered(LookupId(1));
        assert_eq!(begin(&mut lookups, 4), [(5, "g2".to_string())]);
        lookups.answered(LookupId(2));
        lookups.answered(LookupId(4));
        assert_eq!(begin(&mut lookups, 4), [(6, "s4".to_string())]);
        // A single one is for all.
        let mut lookups = Lookups::default();
        lookups.want("s1", 0, false);
        assert_eq!(begin(&mut lookups, 1).len(), 1);
    }

    #[test]
    fn what_nobody_waits_for_does_not_begin_and_what_began_counts_to_its_end() {
        let mut lookups = Lookups::default();
        lookups.want("a", 1, true);
        lookups.want("b", 1, true);
        assert_eq!(begin(&mut lookups, 1), [(1, "a".to_string())]);
        lookups.leave("b", &1);
        lookups.leave("a", &1);
        assert_eq!(begin(&mut lookups, 2), []);
        lookups.want("c", 1, true);
        lookups.abandon();
        assert_eq!(lookups.wanted().collect::<Vec<_>>(), [("a", true)]);
        // The next run waits for the same answer.
        assert_eq!(lookups.want("a", 2, true), Some(LookupId(1)));
        assert_eq!(lookups.waiting(LookupId(1)), [2]);
        assert_eq!(begin(&mut lookups, 1), []);
    }
}
