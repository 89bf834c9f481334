//! What of a plan matters: what, taken out or changed, makes it another run.

use super::shrink::remove_fault;
use super::{Op, Plan};

/// A part of a plan, and how it is changed.
type Part = (&'static str, fn(&mut Plan));

/// Parts of every plan beside its kinds of faults, and how each is changed.
const PARTS: [Part; 9] = [
    ("base delay", |plan| plan.nodes.iter_mut().for_each(|node| node.base_ms = node.base_ms.div_ceil(2))),
    ("longest delay", |plan| plan.nodes.iter_mut().for_each(|node| node.max_ms *= 2)),
    ("forget after", |plan| plan.nodes.iter_mut().for_each(|node| node.forget_ms *= 2)),
    ("heartbeat interval", |plan| plan.nodes.iter_mut().for_each(|node| node.heartbeat_ms = 600_000.min(node.heartbeat_ms * 2))),
    ("messages", |plan| plan.steps.retain(|step| !matches!(step.op, Op::Send { .. }))),
    ("names of nodes", |plan| plan.nodes.iter_mut().for_each(|node| node.name.insert(0, 'z'))),
    ("number of processes", |plan| plan.steps.retain(|step| !matches!(step.op, Op::Processes { .. }))),
    ("secret", |plan| plan.secret = !plan.secret),
    ("threshold", |plan| plan.nodes.iter_mut().for_each(|node| node.threshold += 1)),
];

impl Plan {
    /// The kinds of faults and the other parts that this plan has, and whether the run without each, or with it changed, is another one.
    #[must_use]
    pub fn what_matters(&self) -> Vec<(&'static str, bool)> {
        let whole = self.run_keeping(0).hash;
        let kinds = self.faults.iter().filter(|fault| self.orders(**fault)).map(|fault| {
            let mut plan = self.clone();
            remove_fault(&mut plan, *fault);
            (fault.name(), plan)
        });
        let parts = PARTS.iter().map(|(name, change)| {
            let mut plan = self.clone();
            change(&mut plan);
            (*name, plan)
        });
        let runs = kinds.chain(parts).filter(|(_, plan)| plan != self && plan.check().is_ok());
        runs.map(|(name, plan)| (name, plan.run_keeping(0).hash != whole)).collect()
    }
}
