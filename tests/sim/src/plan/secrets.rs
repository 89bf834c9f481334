//! The cluster's secrets in the course of a run: its first one, rotations, and who has to stay out.

use std::time::Duration;

use noex_proto::{ClusterConfig, ClusterStatus, NodeId, Secret};

use super::run::{Act, Run};
use super::{Fault, Op};
use crate::Invariant;

/// The number of the secret that a rotation in its middle leads to.
const HALFWAY: u8 = 99;
/// After so long no handshake goes on that began with other secrets.
const HANDSHAKE: Duration = Duration::from_secs(40);

/// The secret of this number.
fn secret(number: u8) -> Secret {
    Secret::from(format!("secret of simulation {number:03}"))
}

impl Run<'_> {
    /// Whether a node has a secret at present, if it runs.
    fn has_secret(&self, node: usize) -> bool {
        self.plan.secret || self.secured[node]
    }

    /// A node's configuration, with its present secrets.
    pub(super) fn with_secrets(&mut self, node: usize, config: ClusterConfig) -> ClusterConfig {
        if !self.has_secret(node) {
            return config;
        }
        self.secured_at[node].get_or_insert(self.world.now());
        let own = self.plan.nodes[node].own_secret;
        let config = config.cluster_secret(secret(own.unwrap_or(self.secrets.0)));
        let accepted = if own.is_none() { self.secrets.1.as_slice() } else { &[] };
        config.accepted_secrets(accepted.iter().map(|number| secret(*number)))
    }

    /// Gives a running node the cluster's present secrets.
    pub(super) fn give_secrets(&mut self, node: usize) {
        let running = self.world.is_alive(node) && self.world.machine(node).status() == ClusterStatus::Running;
        let foreign = self.plan.nodes[node].own_secret.is_some();
        if !self.has_secret(node) || foreign || !running || self.world.is_frozen(node) {
            return;
        }
        self.secured_at[node].get_or_insert(self.world.now());
        let accepted = self.secrets.1.iter().map(|number| secret(*number)).collect();
        let given = self.world.set_secrets(node, secret(self.secrets.0), accepted);
        debug_assert!(given.is_ok(), "{given:?}");
    }

    /// Gives a node that goes on what it could not be told while it stood still.
    pub(super) fn give_secrets_late(&mut self, node: usize) {
        if self.secured_at[node].is_some() {
            // Handshakes of before may have waited with it.
            self.secured_at[node] = Some(self.world.now());
        }
        let changing = [Fault::AcceptedSecrets, Fault::FirstSecret, Fault::Rotation];
        if changing.iter().any(|fault| self.plan.faults.contains(fault)) {
            self.give_secrets(node);
        }
    }

    /// From now on the cluster has these secrets.
    pub(super) fn set_secrets(&mut self, primary: u8, accepted: Vec<u8>) {
        let now = self.world.now();
        let kept = |number: &u8| *number == primary || accepted.contains(number);
        let old = std::mem::replace(&mut self.secrets, (primary, accepted.clone()));
        self.dropped.extend(old.1.into_iter().chain([old.0]).filter(|number| !kept(number)).map(|number| (number, now)));
        self.dropped.retain(|number, _| !kept(number));
        self.world.coverage.note("rotation");
        self.disturb(None);
        for node in 0..self.plan.nodes.len() {
            self.give_secrets(node);
        }
    }

    /// Three phases: the new secret is accepted, becomes the primary one, and the old one is dropped. What is needed stands last among
    /// the accepted ones.
    pub(super) fn rotate(&mut self, to: u8, ms: u64, more: &[u8]) {
        let from = self.secrets.0;
        let with = |number: u8| more.iter().copied().chain([number]).collect();
        self.set_secrets(from, with(to));
        self.after(ms, Act::Secrets(to, with(from)));
        self.after(2 * ms, Act::Secrets(to, Vec::new()));
    }

    /// The nodes of a cluster without a secret are given one, but for the one that stays without.
    pub(super) fn first_secret(&mut self, ms: u64, without: Option<usize>) {
        let nodes = self.plan.nodes.len() as u64;
        for node in (0..self.plan.nodes.len()).filter(|node| Some(*node) != without) {
            self.after(ms * node as u64 / nodes, Act::Secure(node));
        }
    }

    /// A node has the cluster's secret from now on.
    pub(super) fn secure(&mut self, node: usize) {
        self.secured[node] = true;
        self.disturb(None);
        self.give_secrets(node);
    }

    /// Where secrets are rotated, the core stands in the middle of it: half of it has the new secret first, the others the old one, and all
    /// accept both. What is connected is reset, if it may be, so that handshakes have to cross.
    pub(super) fn halve_rotation(&mut self) {
        let plan = self.plan;
        let more = plan.steps.iter().find_map(|step| match &step.op {
            Op::Rotate { more, .. } => Some(more.as_slice()),
            _ => None,
        });
        let rotated = plan.faults.contains(&Fault::Rotation) || more.is_some();
        if !plan.secret || !rotated {
            return;
        }
        for (place, &node) in plan.core.iter().enumerate().filter(|(_, node)| plan.nodes[**node].own_secret.is_none()) {
            let (first, second) = if place % 2 == 0 { (self.secrets.0, HALFWAY) } else { (HALFWAY, self.secrets.0) };
            let accepted = more.unwrap_or_default().iter().copied().chain([second]).map(secret).collect();
            let given = self.world.set_secrets(node, secret(first), accepted);
            debug_assert!(given.is_ok(), "{given:?}");
        }
        if !plan.is_calm() {
            plan.core.windows(2).for_each(|pair| self.world.reset(pair[0], pair[1]));
        }
    }

    /// Nobody comes up with a node that has a secret which the others never had, or dropped some time ago, or that has none where they
    /// have their first one.
    pub(super) fn judge_secrets(&mut self) {
        let plan = self.plan;
        // A twin may have the right one.
        if plan.nodes.iter().any(|twin| twin.twin_of.is_some()) {
            return;
        }
        let now = self.world.now();
        let over = |since: Duration| since + HANDSHAKE < now;
        for node in 0..plan.nodes.len() {
            let own = plan.nodes[node].own_secret;
            if own.is_none() && plan.secret {
                continue;
            }
            let Ok(id) = plan.id(node).parse::<NodeId>() else { continue };
            let is_told = |other: usize| !self.cut_short || plan.core.contains(&other);
            let others = (0..plan.nodes.len()).filter(|other| plan.nodes[*other].own_secret.is_none() && is_told(*other));
            for other in others.collect::<Vec<_>>() {
                let foreign = match own {
                    Some(own) => match self.dropped.get(&own) {
                        Some(at) => over(*at),
                        None => own != self.secrets.0 && !self.secrets.1.contains(&own),
                    },
                    None => !self.has_secret(node) && self.secured_at[other].is_some_and(over),
                };
                if node == other {
                    continue;
                }
                let period = self.world.period(other, &id);
                let before = match period {
                    Some(period) => self.foreign.insert((other, node), period),
                    None => None,
                };
                if foreign && period.is_some() && before != period {
                    let has = own.map_or("none".into(), |own| format!("the secret {own}, which is none of the cluster's"));
                    let detail = format!("{id} is up, and has {has}");
                    self.world.violate(Some(other), Invariant::SessionBeforeUp, detail);
                }
            }
        }
    }
}
