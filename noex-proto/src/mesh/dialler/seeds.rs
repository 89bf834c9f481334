//! Seeds: contact addresses, and the nodes that were found there.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{Dialler, Known, Target};
use crate::mesh::cx::Cx;
use crate::{ClusterError, Contact, NodeId};

/// The most identities that are remembered as found at one seed's address, so that each is reported once.
const MISMATCHES_MAX: usize = 16;

impl Dialler {
    // Getters

    pub(crate) const fn seed_met(&self) -> bool {
        self.seed_met
    }

    pub(crate) fn has_seeds(&self) -> bool {
        !self.seeds.is_empty()
    }

    /// The contact address, where the target is a seed.
    pub(super) fn contact_of(&self, target: &Target) -> Option<&Contact> {
        if let Target::Seed(number) = target { self.seeds.get(number) } else { None }
    }

    /// The node behind a target. For a seed it is the one that was found there, or else the one that its name announces, if it has a name.
    pub(crate) fn node_at<'a>(&'a self, target: &'a Target) -> Option<&'a NodeId> {
        let found = self.dials.get(target).and_then(|dial| dial.found.as_ref());
        found.or_else(|| match target {
            Target::Node(id) => Some(id),
            Target::Seed(number) => self.seeds.get(number)?.id(),
        })
    }

    /// Where a target is dialled: an IP address, or a name in the spelling for the resolver, and a port.
    pub(crate) fn address_of(&self, target: &Target) -> (Result<IpAddr, String>, u16) {
        let (ip, name, port) = match (target, self.contact_of(target)) {
            (Target::Node(id), _) => (id.host_ip(), id.host().to_string(), id.port()),
            (_, Some(seed)) => (seed.host_ip(), seed.lookup(), seed.port()),
            (Target::Seed(_), None) => (None, String::new(), 0),
        };
        (ip.ok_or(name), port)
    }

    /// The seeds that lead to this node.
    pub(super) fn seeds_of(&self, id: &NodeId) -> impl Iterator<Item = Target> {
        let targets = self.seeds.keys().map(|number| Target::Seed(*number));
        targets.filter(move |target| self.node_at(target) == Some(id))
    }

    /// Whether a seed leads to this node.
    pub(in crate::mesh) fn is_seed(&self, id: &NodeId) -> bool {
        self.seeds_of(id).next().is_some()
    }

    /// The seed that leads to this node and is dialled at its very address, if there is one: it needs no dial of its own then.
    pub(in crate::mesh) fn seed_at(&self, id: &NodeId) -> Option<Target> {
        self.seeds_of(id).find(|target| self.contact_of(target).is_some_and(|seed| seed.is_address_of(id)))
    }

    /// Whether it is a seed at which no node of a certain name is expected.
    pub(super) fn is_unnamed(&self, target: &Target) -> bool {
        self.contact_of(target).is_some_and(|seed| seed.id().is_none())
    }

    // Changes

    /// Which seeds to remove and which to add, so that these are left, `most` of them. Seeds that stay are left alone.
    pub(in crate::mesh) fn new_seeds(&self, contacts: Vec<Contact>, most: usize) -> (Vec<Target>, Vec<Contact>) {
        let mut wanted: BTreeMap<String, Contact> =
            contacts.iter().take(most).map(|seed| (seed.to_string(), seed.clone())).collect();
        let kept = |seed: &Contact| wanted.get(&seed.to_string()) == Some(seed);
        let removed = self.seeds.iter().filter(|(_, seed)| !kept(seed)).map(|(number, _)| Target::Seed(*number)).collect();
        for seed in self.seeds.values() {
            wanted.remove(&seed.to_string());
        }
        // In the order given, each once.
        let added = contacts.into_iter().filter(|seed| wanted.remove(&seed.to_string()).is_some()).collect();
        (removed, added)
    }

    /// Adds a seed, which is due.
    pub(in crate::mesh) fn add_seed(&mut self, cx: &Cx<'_>, seed: Contact, known: &impl Known) -> Target {
        let target = Target::Seed(self.next_seed);
        // Nobody is dialled for a node that is up.
        self.seed_met |= seed.id().is_some_and(|id| known.is_up(id));
        self.seeds.insert(self.next_seed, seed);
        self.next_seed += 1;
        self.add(cx, target.clone());
        target
    }

    /// Forgets a seed that is not dialled any more.
    pub(in crate::mesh) fn remove_seed(&mut self, target: &Target) {
        if let Target::Seed(number) = target {
            self.seeds.remove(number);
        }
    }

    /// The node behind a seed has proved its identity. The node that was there before, if it is another one.
    pub(in crate::mesh) fn found(&mut self, cx: &mut Cx<'_>, target: &Target, id: &NodeId, known: &impl Known) -> Option<NodeId> {
        let Target::Seed(number) = target else { return None };
        let before = self.node_at(target).cloned();
        let dial = self.dials.get_mut(target)?;
        dial.found = Some(id.clone());
        let expected = self.seeds.get(number).and_then(Contact::id);
        if let Some(seed) = expected.filter(|expected| *expected != id)
            && !dial.mismatches.contains(id)
        {
            if dial.mismatches.len() == MISMATCHES_MAX {
                dial.mismatches.pop_front();
            }
            dial.mismatches.push_back(id.clone());
            let error = ClusterError::SeedMismatch { found: id.clone(), seed: seed.clone() };
            cx.host.report(error);
        }
        self.seed_met |= known.is_up(id);
        before.filter(|before| before != id)
    }
}
