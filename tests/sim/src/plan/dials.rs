//! What is expected of dials: a peer that was lost is dialled again soon, and one that left is not dialled.

use std::collections::BTreeMap;
use std::time::Duration;

use super::promises::MARGIN;
use super::{Addr, Plan, Seed};
use crate::world::{Contact, Meeting};
use crate::{HostId, Invariant, World};

/// What the dials of a run are judged by. Times are those of the hosts' own clocks.
#[derive(Debug, Default)]
pub(super) struct DialJudge {
    /// Since when a session was up, by host and peer, where nothing else was under way between the two.
    up: BTreeMap<(HostId, HostId), Duration>,
    /// Peers that are to be dialled again, and until when.
    lost: BTreeMap<(HostId, HostId), (u32, Duration)>,
    /// Peers that left, and for how long that is remembered.
    left: BTreeMap<(HostId, HostId), (u32, Duration)>,
    /// How often each node has started.
    starts: BTreeMap<HostId, u32>,
}

impl DialJudge {
    pub(super) fn started(&mut self, host: HostId) {
        *self.starts.entry(host).or_default() += 1;
        // What a node knew of others ends with its run.
        for judged in [&mut self.lost, &mut self.left] {
            judged.retain(|(at, _), _| *at != host);
        }
    }

    /// A host that stands still is late with everything.
    pub(super) fn frozen(&mut self, host: HostId) {
        self.up.retain(|(at, _), _| *at != host);
        self.lost.retain(|(at, _), _| *at != host);
    }

    /// Judges what has happened since the last look. With limits at their minimum dials wait for each other and what left is soon
    /// forgotten, and a second claim to an identity has its own delays.
    pub(super) fn look(&mut self, plan: &Plan, world: &mut World, contacts: &[Contact]) {
        if plan.small_limits || plan.nodes.iter().any(|node| node.twin_of.is_some() || node.members.is_some()) {
            return;
        }
        for contact in contacts {
            self.judge(plan, world, contact);
        }
        self.lost.retain(|(host, _), (process, _)| world.running(*host).is_some_and(|(running, _)| running == *process));
        for ((host, peer), (_, until)) in &self.lost {
            if world.running(*host).is_some_and(|(_, now)| now > *until) {
                let detail = format!("{} was to be dialled again until {until:?} of its time", plan.id(*peer));
                return world.violate(Some(*host), Invariant::RedialInTime, detail);
            }
        }
    }

    fn judge(&mut self, plan: &Plan, world: &mut World, contact: &Contact) {
        let pair = (contact.host, contact.peer);
        let Some(node) = plan.nodes.get(contact.host).filter(|_| contact.peer < plan.nodes.len()) else { return };
        if !matches!(contact.what, Meeting::Down { .. })
            && let Some((process, until)) = self.lost.remove(&pair)
            && process == contact.process
            && contact.local > until
        {
            let detail = format!("{} was to be dialled again until {until:?} of its time", plan.id(contact.peer));
            world.violate(Some(contact.host), Invariant::RedialInTime, detail);
        }
        match contact.what {
            Meeting::Dial => {
                if let Some((process, until)) = self.left.get(&pair)
                    && *process == contact.process
                    && contact.local < *until
                    && self.starts.get(&contact.peer) == Some(&1)
                {
                    let detail = format!("{} left, and is dialled", plan.id(contact.peer));
                    world.violate(Some(contact.host), Invariant::DepartedStayAway, detail);
                }
            }
            Meeting::Down { left, free, .. } => {
                let since = self.up.remove(&pair);
                let remembered = contact.local + Duration::from_millis(node.forget_ms);
                // Of a node that started more than once, a rumour may tell of another instance than the one that left.
                if left && self.starts.get(&contact.peer) == Some(&1) && !has_seed(plan, contact.host, contact.peer, true) {
                    self.left.insert(pair, (contact.process, remembered));
                }
                let held = since.is_some_and(|since| contact.local >= since + 2 * Duration::from_millis(node.heartbeat_ms));
                // A seed under another name is dialled at its own pace until it has been reached once.
                let misnamed = has_seed(plan, contact.host, contact.peer, plan.is_renamed(contact.peer));
                if held && free && !left && !misnamed {
                    let until = contact.local + Duration::from_millis(node.base_ms) + plan.on_any_clock(plan.lookup()) + MARGIN;
                    self.lost.insert(pair, (contact.process, until));
                }
            }
            Meeting::Up { alone } => {
                self.left.remove(&pair);
                // The process before may have ended without a down.
                self.up.remove(&pair);
                if alone {
                    self.up.insert(pair, contact.local);
                }
            }
        }
    }
}

/// Whether the peer is ever a seed of the node under another name, or `named` under its own.
fn has_seed(plan: &Plan, node: HostId, peer: HostId, named: bool) -> bool {
    plan.seeds_of(node).any(|seed| match seed {
        Seed::Misnamed(of) => *of == peer,
        Seed::Name(number) => named && plan.names[*number].addrs.contains(&Addr::Node(peer)),
        Seed::Node(of) => named && *of == peer,
        Seed::Missing | Seed::Rogue(_) => false,
    })
}
