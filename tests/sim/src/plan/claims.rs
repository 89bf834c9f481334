//! Names of the cluster in plans: who claims which, mostly when something else happens to their nodes.

use std::time::Duration;

use super::processes::moment;
use super::run::Run;
use super::{Op, Plan, Step};
use crate::random::Random;
use crate::world::scripts::{NAMES, Wish};

/// How long a claim may take.
const TIMEOUTS_MS: [u64; 5] = [50, 1000, 5000, 30_000, 30_000];

/// Draws what is claimed, given back and lost.
pub(super) fn draw(plan: &mut Plan, random: &mut Random) {
    if random.permille(300) {
        return;
    }
    for _ in 0..random.within(2, 12) {
        let (at, named) = moment(plan, random);
        let nodes = plan.nodes.len();
        let mut pick = |place: usize| named.get(place).copied().unwrap_or_else(|| random.index(nodes));
        let (one, other) = (pick(0), pick(1));
        story(plan, at, one, other, random);
    }
}

/// One or two processes want a name, and one of them may give it back, or end.
fn story(plan: &mut Plan, at_ms: u64, one: usize, other: usize, random: &mut Random) {
    // One name is mostly wanted.
    let name = usize::from(random.permille(200));
    let process = |node: usize, random: &mut Random| random.index(plan.nodes[node].processes.len());
    let claim = |node: usize, when_free: bool, random: &mut Random| Op::Claim {
        node,
        process: process(node, random),
        name,
        when_free,
        min_nodes: if random.permille(200) { random.within(1, plan.nodes.len() as u64) as usize } else { 0 },
        keep: random.permille(400),
        timeout_ms: random.pick(&TIMEOUTS_MS),
        drop_ms: random.permille(150).then(|| random.pick(&[0, 1, 5, 100, 3000])),
    };
    let mut ops = vec![claim(one, random.permille(300), random)];
    match random.below(6) {
        0 | 1 => ops.push(claim(other, false, random)),
        2 => ops.push(claim(other, true, random)),
        3 => ops.extend([claim(other, true, random), Op::Release { node: one, process: process(one, random), name }]),
        4 => {
            let again = Op::Exit { node: one, process: process(one, random), ms: random.within(0, 1000) };
            ops.extend([claim(other, random.permille(500), random), again]);
        }
        _ => {}
    }
    let mut at_ms = at_ms;
    for op in ops {
        plan.steps.push(Step { at_ms, op });
        at_ms = (at_ms + random.pick(&[0, 0, 1, 5, 50, 500])).min(plan.heal_ms - 1);
    }
}

impl Run<'_> {
    /// A process of the first node of the core stands by for each name, so that each has a holder in the end.
    pub(super) fn stand_by(&mut self) {
        let first = self.plan.roomy_core()[0];
        for name in 0..NAMES {
            let timeout = Duration::from_secs(30);
            let wish = Wish { slot: 0, name, when_free: true, min_nodes: 0, keep_on_loss: true, timeout, dropped: None };
            self.world.claim_checked(first, wish);
        }
    }

    /// At the end of the watch. Where some see others whom the rest does not see, they may see other names too.
    pub(super) fn judge_names(&mut self) {
        let core = self.plan.roomy_core();
        if core.len() == self.plan.nodes.len() {
            self.world.check_names_at_rest(&core);
        }
    }
}
