//! Dials, lookups and seeds.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Node;
use crate::mesh::close::{CloseReason, Ended};
use crate::mesh::cx::Cx;
use crate::mesh::dialler::{Connect, Dialler, Target};
use crate::{Cause, ClusterError, ConnId, Contact, DialError, Instant, LookupId, NodeId, Unreached};

impl Node {
    // Dials

    /// A target's time has come.
    pub(super) fn dial_due(&mut self, cx: &mut Cx<'_>, target: Target) {
        let (dialler, known) = self.dialling();
        if dialler.begin(cx, target, &known) {
            cx.start_dials();
        }
    }

    /// Starts the dials that wait, as far as their number and their rate allow.
    pub(super) fn start_queued_dials(&mut self, cx: &mut Cx<'_>) {
        loop {
            let (dialler, known) = self.dialling();
            let Some(connect) = dialler.start_next(cx, &known) else { return };
            self.connect(cx, connect);
        }
    }

    pub(super) fn connect(&mut self, cx: &mut Cx<'_>, Connect { conn, target, remote, patience }: Connect) {
        self.links.dial(cx, conn, target, remote, patience);
    }

    /// Dials a target no more.
    pub(super) fn remove_dial(&mut self, cx: &mut Cx<'_>, target: &Target) {
        let Some(conn) = self.dialler.remove(cx, target) else { return };
        // What is still under way would be in flight beyond the limit, for nobody.
        if self.links.is_on_its_way(conn) {
            cx.close(conn, CloseReason::GivenUp(Ended::Harmless));
        }
        self.dialler.slots_mut().release();
        cx.start_dials();
    }

    /// A try has failed: schedules the next one and reports the failure.
    pub(super) fn retry(&mut self, cx: &mut Cx<'_>, target: &Target, ended: Ended) {
        let (dialler, known) = self.dialling();
        if let Some(why) = dialler.retry(cx, target, ended, &known) {
            self.dial_missed(cx, target, why);
        }
    }

    /// A target was not reached: a node that was never up is given up, which is told, since it cannot go down.
    pub(super) fn dial_missed(&mut self, cx: &mut Cx<'_>, target: &Target, why: Unreached) {
        let (dialler, known) = self.dialling();
        if let Some(id) = dialler.missed(cx, target, why, &known)
            && self.peers.give_up(cx, &id)
        {
            cx.host.report(ClusterError::NodeUnreachable { id, why });
            self.cap_disconnected(cx);
        }
    }

    /// A session has held for an interval.
    pub(super) fn session_held(&mut self, cx: &mut Cx<'_>, conn: ConnId) {
        let Some(session) = self.links.session(conn) else { return };
        for target in self.dialler.targets_of(&session.id) {
            match target {
                Target::Node(_) => self.remove_dial(cx, &target),
                Target::Seed(_) => self.dialler.held(&target),
            }
        }
    }

    // Lookups

    /// A lookup is overdue: the targets that wait for it are reported, and go on waiting.
    pub(super) fn lookup_overdue(&mut self, cx: &mut Cx<'_>, lookup: LookupId) {
        for target in cx.host.lookups.waiting(lookup).to_vec() {
            self.dialler.lookup_overdue(&target);
            self.dial_missed(cx, &target, Unreached::Dial(DialError::LookupTimedOut));
        }
    }

    /// A lookup has ended: the targets that waited are dialled at its addresses.
    pub(super) fn resolved(&mut self, cx: &mut Cx<'_>, lookup: LookupId, addrs: Result<Vec<SocketAddr>, Cause>) {
        let Some((waiting, slow)) = Dialler::lookup_ended(cx, lookup, addrs.as_ref().err()) else { return };
        for target in waiting {
            if !self.dialler.looked_up(&target, slow) {
                continue;
            }
            match &addrs {
                Ok(addrs) if addrs.is_empty() => {
                    self.retry(cx, &target, Ended::Failed(Unreached::Dial(DialError::Unresolved)));
                }
                Ok(addrs) => {
                    let (dialler, known) = self.dialling();
                    dialler.enqueue(target, addrs.clone(), &known);
                    cx.start_dials();
                }
                Err(_) => self.retry(cx, &target, Ended::Local),
            }
        }
        Dialler::begin_lookups(cx);
    }

    // Seeds

    /// Replaces the seeds. Seeds that stay are left alone, new ones are dialled. A node that only a removed seed led to stays known, and is
    /// dialled at its own address unless it is up.
    pub(super) fn set_seeds(&mut self, cx: &mut Cx<'_>, contacts: Vec<Contact>) {
        let (removed, added) = self.dialler.new_seeds(contacts, cx.local.settings.limits.members);
        for target in removed {
            let id = self.dialler.node_at(&target).cloned();
            self.remove_dial(cx, &target);
            self.dialler.remove_seed(&target);
            if let Some(id) = id {
                self.led_to_no_more(cx, id, cx.now());
            }
        }
        for seed in added {
            if let Some(id) = seed.id().filter(|id| seed.is_address_of(id)) {
                // The seed's dial leads to the same address.
                let own = Target::Node(id.clone());
                self.remove_dial(cx, &own);
            }
            let (dialler, known) = self.dialling();
            let target = dialler.add_seed(cx, seed, &known);
            self.dial_due(cx, target);
        }
    }

    /// A seed leads to this node no more. Unless the node is up or has left, or is dialled anyhow, by itself or by another seed at its very
    /// address, its own address is dialled: a name that led to it once may lead elsewhere.
    pub(super) fn led_to_no_more(&mut self, cx: &mut Cx<'_>, id: NodeId, at: Instant) {
        let lost = self.peers.get(&id).is_some_and(|peer| peer.session().is_none()) && !self.peers.has_left(&id);
        if lost && !self.dialler.contains(&Target::Node(id.clone())) && self.dialler.seed_at(&id).is_none() {
            self.dialler.dial_node(cx, id, at);
        }
    }
}
