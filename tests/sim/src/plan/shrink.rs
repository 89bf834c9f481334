//! Shrinking: the smallest plan that still breaks the same invariant.

use super::{Op, Plan};
use crate::{Chunking, Invariant, Latency};

impl Plan {
    /// Removes and simplifies what it can while the same invariant is broken, in at most `runs` runs: steps from the back, then nodes,
    /// then kinds of configuration, then durations.
    #[must_use]
    pub fn shrink(&self, invariant: Invariant, runs: usize) -> Self {
        let mut shrinker = Shrinker { best: self.clone(), invariant, runs };
        while shrinker.runs > 0 {
            let before = shrinker.best.clone();
            shrinker.steps();
            shrinker.nodes();
            shrinker.configuration();
            shrinker.durations();
            if shrinker.best == before {
                break;
            }
        }
        shrinker.best
    }
}

struct Shrinker {
    best: Plan,
    invariant: Invariant,
    runs: usize,
}

impl Shrinker {
    fn accept(&mut self, plan: Plan) -> bool {
        if self.runs == 0 || plan == self.best || plan.check().is_err() {
            return false;
        }
        self.runs -= 1;
        let same = plan.run_keeping(0).violation.is_some_and(|violation| violation.invariant == self.invariant);
        if same {
            self.best = plan;
        }
        same
    }

    /// Halves of the steps, quarters, and so on, from the back.
    fn steps(&mut self) {
        let mut size = self.best.steps.len();
        while size > 0 {
            let mut end = self.best.steps.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let mut plan = self.best.clone();
                plan.steps.drain(start..end.min(plan.steps.len()));
                self.accept(plan);
                end = start;
            }
            size /= 2;
        }
    }

    fn nodes(&mut self) {
        for node in (1..self.best.nodes.len()).rev() {
            if self.best.nodes.len() <= 2 {
                return;
            }
            if let Some(plan) = without(&self.best, node) {
                self.accept(plan);
            }
        }
    }

    /// The kinds of faults stay: they say what the plan excuses.
    fn configuration(&mut self) {
        let simplify: [fn(&mut Plan); 10] = [
            |plan| plan.small_limits = false,
            |plan| plan.bytes_per_second = None,
            |plan| plan.window_bytes = 128 << 10,
            |plan| plan.chunking = Chunking::Whole,
            |plan| plan.reset_cuts = false,
            |plan| plan.path_latencies.clear(),
            |plan| plan.latency = Latency::Constant { us: 1000 },
            |plan| plan.undialable.clear(),
            |plan| plan.nodes.iter_mut().for_each(|node| node.start_ms = 0),
            |plan| plan.nodes.iter_mut().for_each(|node| node.own_secret = None),
        ];
        for change in simplify {
            let mut plan = self.best.clone();
            change(&mut plan);
            self.accept(plan);
        }
        if !self.best.steps.iter().any(|step| matches!(step.op, Op::RogueDials { .. })) {
            let mut plan = self.best.clone();
            plan.rogues.clear();
            let rogue = |seed: &super::Seed| matches!(seed, super::Seed::Rogue(_));
            plan.nodes.iter_mut().for_each(|node| node.seeds.retain(|seed| !rogue(seed)));
            self.accept(plan);
        }
    }

    fn durations(&mut self) {
        let mut plan = self.best.clone();
        let last = plan.steps.iter().map(|step| step.at_ms).max().unwrap_or(0);
        plan.heal_ms = last + 1;
        if !self.accept(plan) {
            let mut plan = self.best.clone();
            plan.heal_ms = last + (plan.heal_ms - last) / 2;
            self.accept(plan);
        }
        for place in 0..self.best.steps.len() {
            let mut plan = self.best.clone();
            let earlier = place.checked_sub(1).map_or(0, |before| plan.steps[before].at_ms);
            let gap = plan.steps[place].at_ms - earlier;
            for step in &mut plan.steps[place..] {
                step.at_ms -= gap / 2;
            }
            self.accept(plan);
        }
    }
}

/// The plan without a node: nodes after it move up.
fn without(plan: &Plan, node: usize) -> Option<Plan> {
    let mut value = plan.clone();
    let moved = |other: usize| if other > node { other - 1 } else { other };
    value.nodes.remove(node);
    for other in &mut value.nodes {
        if other.twin_of == Some(node) {
            return None;
        }
        other.twin_of = other.twin_of.map(moved);
        other.seeds.retain(|seed| !matches!(seed, super::Seed::Node(of) | super::Seed::Misnamed(of) if *of == node));
        for seed in &mut other.seeds {
            if let super::Seed::Node(of) | super::Seed::Misnamed(of) = seed {
                *of = moved(*of);
            }
        }
    }
    value.core.retain(|other| *other != node);
    value.core.iter_mut().for_each(|other| *other = moved(*other));
    if value.core.is_empty() {
        return None;
    }
    value.undialable.retain(|(one, other)| *one != node && *other != node);
    value.undialable.iter_mut().for_each(|(one, other)| (*one, *other) = (moved(*one), moved(*other)));
    value.path_latencies.retain(|(one, other, _)| *one != node && *other != node);
    value.path_latencies.iter_mut().for_each(|(one, other, _)| (*one, *other) = (moved(*one), moved(*other)));
    value.steps.retain_mut(|step| step.op.forget(node));
    Some(value)
}

impl Op {
    /// Takes a node out, and moves those after it up. Whether the step still means something.
    fn forget(&mut self, gone: usize) -> bool {
        if let Self::Cut { from, to, .. } = self {
            for side in [from, to] {
                side.retain(|node| *node != gone);
                side.iter_mut().for_each(|node| *node -= usize::from(*node > gone));
                if side.is_empty() {
                    return false;
                }
            }
            return true;
        }
        if self.nodes().contains(&gone) {
            return false;
        }
        let moved = |node: &mut usize| *node -= usize::from(*node > gone);
        match self {
            Self::Clock { node, .. }
            | Self::Crash { node, .. }
            | Self::Freeze { node, .. }
            | Self::Leave { node, .. }
            | Self::Misuse { node }
            | Self::PowerOff { node, .. }
            | Self::Processes { node, .. }
            | Self::RogueDials { node, .. }
            | Self::WallClock { node, .. } => moved(node),
            Self::Dials { from: one, to: other, .. }
            | Self::Send { from: one, to: other, .. }
            | Self::StallWriter { from: one, to: other, .. }
            | Self::HalfOpen { at: one, with: other, .. }
            | Self::Reset { one, other }
            | Self::ResetOne { one, other }
            | Self::Tamper { one, other, .. }
            | Self::StallReader { reader: one, from: other, .. } => {
                moved(one);
                moved(other);
            }
            Self::Cut { .. } | Self::Rotate { .. } => {}
        }
        true
    }
}
