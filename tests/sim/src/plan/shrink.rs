//! Shrinking: the smallest plan that still breaks the same invariant.
//!
//! What is left has to be a plan that a sound machine passes. So a kind of fault leaves [`Plan::faults`], which says what is excused,
//! only together with all that belongs to it; and nodes that could find each other still can.

use super::{Addr, Fault, Op, Plan, Seed};
use crate::{Chunking, Invariant, Latency};

/// With how many seeds a smaller plan is tried: what is left out shifts the randomness of all that remains.
const SEEDS: u64 = 4;

impl Plan {
    /// Removes and simplifies what it can while the same invariant is broken, in at most `runs` runs: steps from the back, then nodes,
    /// then kinds of faults, then durations and values.
    #[must_use]
    pub fn shrink(&self, invariant: Invariant, runs: usize) -> Self {
        let breaks = |plan: &Self| plan.run_keeping(0).violation.is_some_and(|violation| violation.invariant == invariant);
        Shrinker { best: self.clone(), breaks, joined: is_joined(self), runs }.shrink()
    }
}

struct Shrinker<F> {
    best: Plan,
    /// Whether a plan still breaks the invariant.
    breaks: F,
    /// Whether all nodes could find each other at first.
    joined: bool,
    runs: usize,
}

impl<F: FnMut(&Plan) -> bool> Shrinker<F> {
    fn shrink(mut self) -> Plan {
        while self.runs > 0 {
            let before = self.best.clone();
            self.steps();
            self.nodes();
            self.faults();
            self.durations();
            self.values();
            if self.best == before {
                break;
            }
        }
        self.best
    }

    /// Keeps the plan with this change if it still breaks the invariant.
    fn change(&mut self, seeds: u64, change: impl FnOnce(&mut Plan)) -> bool {
        let mut plan = self.best.clone();
        change(&mut plan);
        if plan == self.best || plan.check().is_err() || self.joined && !is_joined(&plan) {
            return false;
        }
        for _ in 0..seeds {
            if self.runs == 0 {
                return false;
            }
            self.runs -= 1;
            if (self.breaks)(&plan) {
                self.best = plan;
                return true;
            }
            plan.seed += 1;
        }
        false
    }

    /// All steps, halves of them, quarters, and so on, from the back.
    fn steps(&mut self) {
        let mut size = self.best.steps.len();
        while size > 0 {
            let mut end = self.best.steps.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                self.change(if size > 2 { SEEDS } else { 1 }, |plan| drop(plan.steps.drain(start..end)));
                end = start;
            }
            size /= 2;
        }
    }

    fn nodes(&mut self) {
        for node in (0..self.best.nodes.len()).rev() {
            // With a node its twin may have gone.
            if self.best.nodes.len() > 2 && node < self.best.nodes.len() {
                self.change(SEEDS, |plan| remove_node(plan, node));
            }
        }
    }

    fn faults(&mut self) {
        for fault in self.best.faults.clone().into_iter().rev() {
            self.change(2, |plan| remove_fault(plan, fault));
        }
    }

    fn durations(&mut self) {
        let last = self.best.steps.iter().map(|step| step.at_ms).max().unwrap_or(0);
        let heal_ms = self.best.heal_ms;
        for shorter in [last + 1, last + 1000, last + 10_000, last + (heal_ms - last) / 2] {
            if shorter < heal_ms && self.change(2, |plan| plan.heal_ms = shorter) {
                break;
            }
        }
        for place in 0..self.best.steps.len() {
            self.change(1, |plan| {
                let earlier = place.checked_sub(1).map_or(0, |before| plan.steps[before].at_ms);
                let gap = plan.steps[place].at_ms - earlier;
                plan.steps[place..].iter_mut().for_each(|step| step.at_ms -= gap / 2);
            });
            self.change(1, |plan| {
                if let Some(ms) = plan.steps[place].op.duration_mut() {
                    *ms = ms.div_ceil(2);
                }
            });
        }
    }

    /// Ordinary values in place of drawn ones.
    fn values(&mut self) {
        let simplify: [fn(&mut Plan); 11] = [
            |plan| plan.nodes.iter_mut().for_each(|node| node.processes.clear()),
            |plan| plan.latency = Latency::Constant { us: 1000 },
            |plan| plan.long_names = false,
            |plan| plan.nodes.iter_mut().for_each(|node| node.start_ms = 0),
            |plan| plan.nodes.iter_mut().for_each(|node| node.heartbeat_ms = 1000),
            |plan| plan.nodes.iter_mut().for_each(|node| node.threshold = 3),
            |plan| plan.nodes.iter_mut().for_each(|node| (node.base_ms, node.max_ms) = (100, 1000)),
            |plan| plan.nodes.iter_mut().for_each(|node| node.forget_ms = 3_600_000),
            |plan| plan.watch_ms = 20_000.max(6 * plan.nodes.iter().map(|node| node.heartbeat_ms).max().unwrap_or(0)),
            |plan| {
                for step in &mut plan.steps {
                    if let Op::Broadcast { size, .. } | Op::Call { size, .. } | Op::Cast { size, .. } | Op::Send { size, .. } =
                        &mut step.op
                    {
                        *size = 32;
                    }
                    if let Op::Call { answer, .. } = &mut step.op {
                        *answer = 32;
                    }
                }
            },
            |plan| {
                for step in &mut plan.steps {
                    if let Op::Broadcast { count, .. }
                    | Op::Call { count, .. }
                    | Op::Cast { count, .. }
                    | Op::Send { count, .. } = &mut step.op
                    {
                        *count = 1;
                    }
                }
            },
        ];
        for change in simplify {
            self.change(1, change);
        }
    }
}

/// Whether seeds lead from any node to any other one, if need be by way of others that have room for all.
fn is_joined(plan: &Plan) -> bool {
    let roomy = |node: &usize| plan.nodes[*node].members.is_none();
    let leads = |from: usize, to: usize| {
        let (from, to) = (&plan.nodes[from], to);
        from.seeds.iter().any(|seed| match seed {
            Seed::Misnamed(of) | Seed::Node(of) => *of == to,
            Seed::Name(number) => plan.names[*number].addrs.contains(&Addr::Node(to)),
            Seed::Missing | Seed::Rogue(_) => false,
        })
    };
    let mut reached: Vec<usize> = (0..plan.nodes.len()).find(roomy).into_iter().collect();
    let mut next = 0;
    while next < reached.len() {
        let node = reached[next];
        let fresh = (0..plan.nodes.len())
            .filter(roomy)
            .filter(|other| !reached.contains(other) && (leads(node, *other) || leads(*other, node)));
        let fresh: Vec<usize> = fresh.collect();
        reached.extend(fresh);
        next += 1;
    }
    reached.len() == (0..plan.nodes.len()).filter(roomy).count()
}

/// Takes a kind of fault out, with its steps and its configuration.
pub(super) fn remove_fault(plan: &mut Plan, fault: Fault) {
    plan.faults.retain(|other| *other != fault);
    let faults = &plan.faults;
    plan.steps.retain(|step| step.op.is_among(faults));
    match fault {
        Fault::Bandwidth => (plan.bytes_per_second, plan.window_bytes) = (None, 128 << 10),
        Fault::DuplicateId => {
            while let Some(twin) = plan.nodes.iter().position(|node| node.twin_of.is_some()) {
                remove_node(plan, twin);
            }
        }
        Fault::Fragmentation => plan.chunking = Chunking::Whole,
        Fault::Latency => {
            plan.path_latencies.clear();
            plan.latency = Latency::Constant { us: 1000 };
        }
        Fault::MixedIntervals => {
            let (heartbeat_ms, threshold, base_ms) = (plan.nodes[0].heartbeat_ms, plan.nodes[0].threshold, plan.nodes[0].base_ms);
            for node in &mut plan.nodes {
                (node.heartbeat_ms, node.threshold) = (heartbeat_ms, threshold);
                node.base_ms = base_ms.min(node.max_ms);
            }
        }
        Fault::AcceptedSecrets => {
            for step in &mut plan.steps {
                if let Op::Rotate { more, .. } = &mut step.op {
                    more.clear();
                }
            }
        }
        Fault::FewMembers => plan.nodes.iter_mut().for_each(|node| node.members = None),
        Fault::MixedSecrets => plan.nodes.iter_mut().for_each(|node| node.own_secret = None),
        Fault::OneWayDials => plan.undialable.clear(),
        Fault::Reset => plan.reset_cuts = false,
        Fault::Rogues => {
            plan.rogues.clear();
            plan.nodes.iter_mut().for_each(|node| node.seeds.retain(|seed| !matches!(seed, Seed::Rogue(_))));
        }
        Fault::Seeds => {
            for (place, node) in plan.nodes.iter_mut().enumerate() {
                node.seeds.retain(|seed| !matches!(seed, Seed::Misnamed(_) | Seed::Missing) && *seed != Seed::Node(place));
            }
        }
        Fault::Names => {
            // The node in place of its name.
            for place in 0..plan.nodes.len() {
                let seeds = std::mem::take(&mut plan.nodes[place].seeds);
                let plain = |seed| match seed {
                    Seed::Name(number) => plan.names[number].node().filter(|of| *of != place).map(Seed::Node),
                    seed => Some(seed),
                };
                plan.nodes[place].seeds = seeds.into_iter().filter_map(plain).collect();
            }
            plan.names.clear();
        }
        Fault::SmallLimits => plan.small_limits = false,
        Fault::Adversary
        | Fault::ClockRate
        | Fault::Crash
        | Fault::CrashLoop
        | Fault::Descriptors
        | Fault::DialFaults
        | Fault::FirstSecret
        | Fault::Freeze
        | Fault::HalfOpen
        | Fault::Halt
        | Fault::LateCloses
        | Fault::Leave
        | Fault::Misuse
        | Fault::NewSeeds
        | Fault::Partition
        | Fault::PowerOff
        | Fault::Renames
        | Fault::Rotation
        | Fault::Stall
        | Fault::WallClock => {}
    }
}

/// Takes a node out, and its twin: nodes after it move up, and who had it as a seed has in its place the first of its own, or else the
/// first node.
fn remove_node(plan: &mut Plan, gone: usize) {
    if let Some(twin) = plan.nodes.iter().position(|node| node.twin_of == Some(gone)) {
        remove_node(plan, twin);
        return remove_node(plan, gone - usize::from(twin < gone));
    }
    let moved = |node: usize| node - usize::from(node > gone);
    let own = plan.nodes.remove(gone);
    let roomy = |node: &usize| plan.nodes[*node].members.is_none();
    let next = own.seeds.iter().find_map(|seed| match seed {
        Seed::Name(number) => plan.names[*number].node().filter(|of| *of != gone).map(moved).filter(roomy),
        Seed::Node(of) if *of != gone => Some(moved(*of)).filter(roomy),
        _ => None,
    });
    let next = next.or_else(|| (0..plan.nodes.len()).find(roomy)).unwrap_or(0);
    for name in &mut plan.names {
        for addr in &mut name.addrs {
            if let Addr::Node(of) = addr {
                *of = if *of == gone { next } else { moved(*of) };
            }
        }
    }
    for (place, node) in plan.nodes.iter_mut().enumerate() {
        node.twin_of = node.twin_of.map(moved);
        let mut seeds = Vec::new();
        for seed in &node.seeds {
            let seed = match *seed {
                Seed::Misnamed(of) | Seed::Node(of) if of == gone && next == place => continue,
                Seed::Misnamed(of) | Seed::Node(of) if of == gone => Seed::Node(next),
                Seed::Misnamed(of) => Seed::Misnamed(moved(of)),
                Seed::Node(of) => Seed::Node(moved(of)),
                seed => seed,
            };
            if !seeds.contains(&seed) {
                seeds.push(seed);
            }
        }
        node.seeds = seeds;
    }
    plan.core.retain(|node| *node != gone);
    plan.core.iter_mut().for_each(|node| *node = moved(*node));
    if plan.roomy_core().is_empty() {
        plan.core.push(next);
    }
    plan.undialable.retain(|(one, other)| *one != gone && *other != gone);
    plan.undialable.iter_mut().for_each(|(one, other)| (*one, *other) = (moved(*one), moved(*other)));
    plan.path_latencies.retain(|(one, other, _)| *one != gone && *other != gone);
    plan.path_latencies.iter_mut().for_each(|(one, other, _)| (*one, *other) = (moved(*one), moved(*other)));
    plan.steps.retain_mut(|step| step.op.forget(gone));
}

impl Plan {
    /// Whether a fault of this kind is there, and not only excused: where a plan has no room for one, it is drawn for nothing.
    pub(super) fn orders(&self, fault: Fault) -> bool {
        match fault {
            Fault::AcceptedSecrets => {
                self.steps.iter().any(|step| matches!(&step.op, Op::Rotate { more, .. } if !more.is_empty()))
            }
            Fault::DuplicateId => self.nodes.iter().any(|node| node.twin_of.is_some()),
            Fault::FewMembers => self.nodes.iter().any(|node| node.members.is_some()),
            Fault::MixedSecrets => self.nodes.iter().any(|node| node.own_secret.is_some()),
            Fault::OneWayDials => !self.undialable.is_empty(),
            Fault::Bandwidth
            | Fault::Fragmentation
            | Fault::Latency
            | Fault::MixedIntervals
            | Fault::Seeds
            | Fault::SmallLimits => true,
            Fault::Names => !self.names.is_empty(),
            _ => self.steps.iter().any(|step| step.op.kinds().contains(&fault)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shrunk(plan: &Plan, breaks: impl FnMut(&Plan) -> bool) -> Plan {
        Shrinker { best: plan.clone(), breaks, joined: is_joined(plan), runs: 5000 }.shrink()
    }

    fn freezes(plan: &Plan) -> usize {
        plan.steps.iter().filter(|step| matches!(step.op, Op::Freeze { ms: 100.., .. })).count()
    }

    #[test]
    fn what_is_not_needed_goes() {
        let plans = (0..200).map(Plan::draw).filter(|plan| freezes(plan) > 0);
        for plan in plans.take(20) {
            let small = shrunk(&plan, |plan| freezes(plan) > 0);
            assert_eq!((small.steps.len(), small.nodes.len()), (1, 2), "seed {}\n{}", plan.seed, small.to_text());
            assert_eq!(small.faults, [Fault::Freeze], "seed {}", plan.seed);
            assert!(matches!(small.steps[0].op, Op::Freeze { ms: 100..200, .. }), "seed {}: {:?}", plan.seed, small.steps);
            assert!(small.nodes.iter().all(|node| node.start_ms == 0 && node.heartbeat_ms == 1000), "seed {}", plan.seed);
        }
    }

    #[test]
    fn what_is_left_is_a_plan_whose_nodes_can_find_each_other() {
        for plan in (0..60).map(Plan::draw) {
            for gone in 0..plan.nodes.len() {
                let mut smaller = plan.clone();
                remove_node(&mut smaller, gone);
                assert_eq!(smaller.check(), Ok(()), "seed {} without {gone}", plan.seed);
                assert!(is_joined(&smaller) || !is_joined(&plan), "seed {} without {gone}\n{}", plan.seed, smaller.to_text());
            }
            let small = shrunk(&plan, |plan| plan.nodes.len() >= 3);
            assert!(small.nodes.len() == 3 && is_joined(&small), "seed {}\n{}", plan.seed, small.to_text());
        }
    }

    #[test]
    fn a_kind_of_fault_leaves_with_all_that_belongs_to_it() {
        for plan in (0..100).map(Plan::draw) {
            for fault in plan.faults.clone() {
                let mut smaller = plan.clone();
                remove_fault(&mut smaller, fault);
                assert_eq!(smaller.check(), Ok(()), "seed {} without {fault:?}", plan.seed);
                let left = smaller.steps.iter().filter(|step| step.op.kinds() == [fault]).count();
                assert_eq!(left, 0, "seed {}: {fault:?}", plan.seed);
            }
        }
    }
}
