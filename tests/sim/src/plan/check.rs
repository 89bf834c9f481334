//! What a plan must not order, and where in its text it does.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use super::{Addr, Op, Plan, Seed};
use crate::Chunking;
use crate::world::scripts::NAMES;

/// The longest that anything in a plan may last: a week.
const LONGEST_MS: u64 = 7 * 24 * 3_600_000;
/// The most messages, or connections of a stranger, of one step.
const MOST: usize = 100_000;
/// The most addresses of a name: a node keeps no more.
const MOST_ADDRESSES: usize = 256;
/// The most secrets that are accepted beside the one that is needed: a node takes no more than eight.
const MOST_SECRETS: usize = 7;
/// The most bytes of one message: more than any limit allows.
const MOST_BYTES: usize = 64 << 20;

/// A part of a plan.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    Field(&'static str),
    Item(&'static str, usize),
}

impl Place {
    /// The line on which the part begins in the plan's text.
    pub(super) fn line(self, text: &str) -> Option<usize> {
        let fields: BTreeMap<&str, &RawValue> = serde_json::from_str(text).ok()?;
        let part = match self {
            Self::Field(name) => fields.get(name)?.get(),
            Self::Item(name, item) => {
                let items: Vec<&RawValue> = serde_json::from_str(fields.get(name)?.get()).ok()?;
                items.get(item)?.get()
            }
        };
        // The part is borrowed from the text.
        let offset = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
        Some(text.get(..offset)?.matches('\n').count() + 1)
    }
}

impl Plan {
    /// The first thing that cannot be ordered.
    pub(super) fn first_fault(&self) -> Option<(Place, String)> {
        let nodes = self.nodes.len();
        if nodes == 0 {
            return Some((Place::Field("nodes"), "no nodes".into()));
        }
        let missing = |node: &usize| *node >= nodes;
        let in_nodes = (0..nodes).find_map(|node| Some((Place::Item("nodes", node), self.node_fault(node)?)));
        let in_steps =
            || self.steps.iter().enumerate().find_map(|(step, _)| Some((Place::Item("steps", step), self.step_fault(step)?)));
        let in_lists = || {
            let undialable = self.undialable.iter().flat_map(|(one, other)| [*one, *other]).find(missing);
            let paths = self.path_latencies.iter().flat_map(|(one, other, _)| [*one, *other]).find(missing);
            let lists =
                [("core", self.core.iter().copied().find(missing)), ("undialable", undialable), ("path_latencies", paths)];
            let (field, node) = lists.into_iter().find_map(|(field, node)| Some((field, node?)))?;
            Some((Place::Field(field), format!("node {node} does not exist")))
        };
        let rest = || {
            if self.roomy_core().is_empty() {
                return Some((Place::Field("core"), "the core is empty".into()));
            }
            let apart = |node: &&usize| self.nodes[**node].twin_of.is_some() || self.nodes[**node].own_secret.is_some();
            if let Some(node) = self.core.iter().find(apart) {
                let detail = format!("node {node} is a twin or has a secret of its own: it never agrees with the others");
                return Some((Place::Field("core"), detail));
            }
            if matches!(self.chunking, Chunking::Pieces { most: 0 }) {
                return Some((Place::Field("chunking"), "pieces of no byte".into()));
            }
            if self.long_names && self.steps.iter().any(|step| matches!(step.op, Op::Resolver { .. })) {
                return Some((Place::Field("long_names"), "every host has a name, and a resolver fails".into()));
            }
            let long = [("heal_ms", self.heal_ms), ("watch_ms", self.watch_ms)].into_iter().find(|(_, ms)| *ms > LONGEST_MS);
            long.map(|(field, ms)| (Place::Field(field), format!("{ms} ms, more than a week")))
        };
        in_nodes.or_else(in_steps).or_else(in_lists).or_else(|| self.name_fault()).or_else(rest)
    }

    fn name_fault(&self) -> Option<(Place, String)> {
        let nodes = self.nodes.len();
        self.names.iter().enumerate().find_map(|(place, name)| {
            let missing = name.addrs.iter().find_map(|addr| match addr {
                Addr::Node(of) if *of >= nodes => Some(format!("name {place} leads to node {of}, which does not exist")),
                _ => None,
            });
            let many = || (name.addrs.len() > MOST_ADDRESSES).then(|| format!("name {place} has {} addresses", name.addrs.len()));
            let long =
                || (name.lookup_ms.0.max(name.lookup_ms.1) > LONGEST_MS).then(|| format!("a lookup of name {place} takes weeks"));
            missing.or_else(many).or_else(long).map(|fault| (Place::Field("names"), fault))
        })
    }

    fn node_fault(&self, place: usize) -> Option<String> {
        let (nodes, node) = (self.nodes.len(), &self.nodes[place]);
        if let Some(of) = node.twin_of
            && (of >= nodes || of == place || self.nodes[of].twin_of.is_some())
        {
            return Some(format!("node {place} is the twin of node {of}, which does not exist or is a twin"));
        }
        for seed in &node.seeds {
            match *seed {
                Seed::Node(of) | Seed::Misnamed(of) if of >= nodes => {
                    return Some(format!("node {place} has node {of} as a seed, which does not exist"));
                }
                Seed::Rogue(rogue) if rogue >= self.rogues.len() => {
                    return Some(format!("node {place} has stranger {rogue} as a seed, which does not exist"));
                }
                Seed::Name(of) if of >= self.names.len() => {
                    return Some(format!("node {place} has name {of} as a seed, which does not exist"));
                }
                Seed::Name(of) if node.seeds.iter().filter(|seed| **seed == Seed::Name(of)).count() > 1 => {
                    return Some(format!("node {place} has name {of} as a seed twice"));
                }
                Seed::Missing | Seed::Misnamed(_) | Seed::Name(_) | Seed::Node(_) | Seed::Rogue(_) => {}
            }
        }
        // The identities of others, which are its seeds, are built of names that are looked at in their turn.
        match self.config(place).check() {
            Err(error) => Some(format!("node {place}: {error}")),
            Ok(()) if node.start_ms > LONGEST_MS => {
                Some(format!("node {place} starts after {} ms, more than a week", node.start_ms))
            }
            Ok(()) => None,
        }
    }

    fn step_fault(&self, place: usize) -> Option<String> {
        let step = &self.steps[place];
        let mut op = step.op.clone();
        let named: Vec<usize> = op.nodes_mut().into_iter().map(|node| *node).collect();
        if let Some(node) = named.iter().find(|node| **node >= self.nodes.len()) {
            return Some(format!("step {place} names node {node}, which does not exist: {:?}", step.op));
        }
        if step.at_ms > self.heal_ms {
            return Some(format!("step {place} is at {} ms, after the end of the faults at {} ms", step.at_ms, self.heal_ms));
        }
        if let Some((node, process)) = step.op.process().filter(|(node, process)| *process >= self.nodes[*node].processes.len()) {
            return Some(format!("step {place} names process {process} of node {node}, which does not exist: {:?}", step.op));
        }
        let fault = match step.op {
            Op::FirstSecret { .. } if self.secret => Some("the cluster has a secret from the start".into()),
            Op::FirstSecret { without: Some(node), .. } if self.core.contains(&node) => {
                Some("a node of the core that never gets the secret".into())
            }
            Op::Rotate { ref more, .. } if more.len() > MOST_SECRETS => Some(format!("{} further secrets", more.len())),
            Op::Clock { permille: 0, .. } => Some("a clock cannot stand still".into()),
            Op::Broadcast { size, .. } | Op::Call { size, .. } | Op::Cast { size, .. } | Op::Send { size, .. }
                if size > MOST_BYTES =>
            {
                Some(format!("{size} bytes in one message, of at most {MOST_BYTES}"))
            }
            Op::Claim { name, .. } | Op::Release { name, .. } if name >= NAMES => Some(format!("name {name}, of {NAMES}")),
            Op::Claim { timeout_ms: 0, .. } => Some("a claim takes time".into()),
            Op::RogueDials { rogue, .. } if rogue >= self.rogues.len() => Some(format!("stranger {rogue} does not exist")),
            Op::Broadcast { count, .. }
            | Op::Call { count, .. }
            | Op::Cast { count, .. }
            | Op::RogueDials { count, .. }
            | Op::Send { count, .. }
                if count > MOST =>
            {
                Some(format!("{count} at once, of at most {MOST}"))
            }
            ref op if !op.is_among(&self.faults) => {
                Some(format!("a fault of a kind that is not among `faults`: {:?}", op.kinds()))
            }
            Op::SetSeeds { ref seeds, .. } if seeds.iter().any(|seed| matches!(seed, Seed::Name(_) | Seed::Rogue(_))) => {
                Some("a name or a stranger as a new seed".into())
            }
            Op::Call { answer, .. } if answer > MOST_BYTES => {
                Some(format!("{answer} bytes in one answer, of at most {MOST_BYTES}"))
            }
            Op::Cut { .. } | Op::SetSeeds { .. } => None,
            ref op if op.process().is_some() => None,
            _ if named.len() == 2 && named[0] == named[1] => Some(format!("node {} and itself", named[0])),
            _ => None,
        };
        let long = op.duration_mut().filter(|ms| **ms > LONGEST_MS).map(|ms| format!("{ms} ms, more than a week"));
        fault.or(long).map(|fault| format!("step {place}: {fault}: {:?}", step.op))
    }
}
