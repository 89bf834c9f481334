//! Seeds: contact addresses, and the nodes that were found there.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::cx::Cx;
use super::node::{Node, Target};
use crate::{ClusterError, ClusterEvent, ConnId, Contact, Instant, NodeId};

/// The most identities that are remembered as found at one seed's address, so that each is reported once.
const MISMATCHES_MAX: usize = 16;

impl Node {
    /// Replaces the seeds. Seeds that stay are left alone, new ones are dialled. A node that only a removed seed led to stays known, and is
    /// dialled at its own address unless it is up.
    pub(super) fn set_seeds(&mut self, cx: &mut Cx<'_>, contacts: Vec<Contact>) {
        let mut wanted: BTreeMap<String, Contact> =
            contacts.iter().take(cx.local.settings.limits.members).map(|seed| (seed.to_string(), seed.clone())).collect();
        let kept = |seed: &Contact| wanted.get(&seed.to_string()) == Some(seed);
        let removed: Vec<usize> = self.seeds.iter().filter(|(_, seed)| !kept(seed)).map(|(number, _)| *number).collect();
        for seed in self.seeds.values() {
            wanted.remove(&seed.to_string());
        }
        for number in removed {
            self.remove_seed(cx, number);
        }
        for seed in contacts {
            // In the order given, each once.
            if wanted.remove(&seed.to_string()).is_some() {
                self.add_seed(cx, seed);
            }
        }
    }

    fn add_seed(&mut self, cx: &mut Cx<'_>, seed: Contact) {
        let target = Target::Seed(self.next_seed);
        self.next_seed += 1;
        // Nobody is dialled for a node that is up.
        self.seed_met |= seed.id().is_some_and(|id| self.is_connected(id));
        if let Some(id) = seed.id().filter(|id| seed.is_address_of(id)) {
            // The seed's dial leads to the same address.
            self.remove_dial(cx, &Target::Node(id.clone()));
        }
        if let Target::Seed(number) = target {
            self.seeds.insert(number, seed);
        }
        self.add_dial(cx, target.clone());
        self.dial_due(cx, target);
    }

    fn remove_seed(&mut self, cx: &mut Cx<'_>, number: usize) {
        let target = Target::Seed(number);
        let id = self.node_at(&target).cloned();
        self.remove_dial(cx, &target);
        self.seeds.remove(&number);
        if let Some(id) = id {
            self.led_to_no_more(cx, id, cx.now());
        }
    }

    /// A seed leads to this node no more. Unless another one does, or the node is up or has left, it is dialled at its own address.
    fn led_to_no_more(&mut self, cx: &mut Cx<'_>, id: NodeId, at: Instant) {
        let Some(peer) = self.peers.get(&id) else { return };
        let left = self.departed.get(&id).is_some_and(|(left, _)| peer.instance == Some(*left));
        if peer.session.is_none() && !left && self.targets_of(&id).is_empty() {
            let own = Target::Node(id);
            self.add_dial(cx, own.clone());
            self.dial_by(own, at);
        }
    }

    /// The contact address, where the target is a seed.
    pub(super) fn contact_of(&self, target: &Target) -> Option<&Contact> {
        if let Target::Seed(number) = target { self.seeds.get(number) } else { None }
    }

    /// The node behind a target. For a seed it is the one that was found there, or else the one that its name announces, if it has a name.
    pub(super) fn node_at<'a>(&'a self, target: &'a Target) -> Option<&'a NodeId> {
        let found = self.dials.get(target).and_then(|dial| dial.found.as_ref());
        found.or_else(|| match target {
            Target::Node(id) => Some(id),
            Target::Seed(number) => self.seeds.get(number)?.id(),
        })
    }

    /// Where a target is dialled: an IP address, or a name in the spelling for the resolver, and a port.
    pub(super) fn address_of(&self, target: &Target) -> (Result<IpAddr, String>, u16) {
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
    pub(super) fn is_seed(&self, id: &NodeId) -> bool {
        self.seeds_of(id).next().is_some()
    }

    /// The seed that leads to this node and is dialled at its very address, if there is one: it needs no dial of its own then.
    pub(super) fn seed_at(&self, id: &NodeId) -> Option<Target> {
        self.seeds_of(id).find(|target| self.contact_of(target).is_some_and(|seed| seed.is_address_of(id)))
    }

    /// The node behind a seed has proved its identity.
    pub(super) fn found_at_seed(&mut self, cx: &mut Cx<'_>, conn: ConnId, id: &NodeId) {
        let Some(target @ Target::Seed(number)) = self.conns.get(&conn).and_then(|conn| conn.target.clone()) else { return };
        let before = self.node_at(&target).cloned();
        let Some(dial) = self.dials.get_mut(&target) else { return };
        dial.found = Some(id.clone());
        let expected = self.seeds.get(&number).and_then(Contact::id);
        if let Some(seed) = expected.filter(|expected| *expected != id)
            && !dial.mismatches.contains(id)
        {
            if dial.mismatches.len() == MISMATCHES_MAX {
                dial.mismatches.pop_front();
            }
            dial.mismatches.push_back(id.clone());
            let error = ClusterError::SeedMismatch { found: id.clone(), seed: seed.clone() };
            cx.host.emit(ClusterEvent::Error(error));
        }
        self.seed_met |= self.is_connected(id);
        // Behind a name may be many nodes, of which the one that was there before is still to be met.
        if let Some(before) = before.filter(|before| before != id) {
            self.led_to_no_more(cx, before, cx.now() + cx.local.settings.reconnect_base_delay);
        }
    }
}
