//! Processes in plans: which ones each node opens, and what is done with them, mostly when something else happens to their nodes.

use super::{Op, Plan, Step};
use crate::Script;
use crate::random::Random;
use crate::world::scripts::{Address, Ask};

use super::run::Run;
use std::time::Duration;

/// The smallest limits.
pub(super) const FEW_CALLS: usize = 6;
pub(super) const FEW_MESSAGES: usize = 4;
/// Enough for a message of the smallest limit on those.
pub(super) const SMALL_MAILBOX: usize = 6000;

/// A call at rest may take so long, beside what its bytes do.
const AT_REST: Duration = Duration::from_secs(6);

/// Draws processes for each node, and what is done with them.
pub(super) fn draw(plan: &mut Plan, random: &mut Random) {
    let nodes = plan.nodes.len();
    for node in 0..nodes {
        let count = random.within(1, 3);
        plan.nodes[node].processes = (0..count).map(|_| script(random)).collect();
    }
    let stories = random.within(8, 24);
    for _ in 0..stories {
        let (at, named) = moment(plan, random);
        let mut pick = |place: usize| named.get(place).copied().unwrap_or_else(|| random.index(nodes));
        let (one, other) = (pick(0), pick(1));
        let (from, to) = if random.permille(500) { (one, other) } else { (other, one) };
        let from = if random.permille(100) { to } else { from };
        story(plan, at, from, to, random);
    }
}

fn script(random: &mut Random) -> Script {
    match random.below(12) {
        0 | 1 => Script::CallsBack,
        2 => Script::Drops,
        3 => Script::Exits,
        4 => Script::Late,
        5 => Script::Misreads,
        6 => Script::Silent,
        7 | 8 => Script::Slow { ms: random.pick(&[1, 20, 100, 300]) },
        _ => Script::Echo,
    }
}

/// A time, and the nodes to which something happens then: mostly at a step of the plan, a little before it or behind it.
pub(super) fn moment(plan: &Plan, random: &mut Random) -> (u64, Vec<usize>) {
    let faults: Vec<&Step> = plan.steps.iter().filter(|step| !step.op.kinds().is_empty()).collect();
    if faults.is_empty() || random.permille(300) {
        return (random.below(plan.heal_ms), Vec::new());
    }
    let step = faults[random.index(faults.len())];
    let mut op = step.op.clone();
    let mut nodes: Vec<usize> = op.nodes_mut().into_iter().map(|node| *node).collect();
    nodes.dedup();
    if nodes.len() > 1 {
        let turn = random.index(nodes.len());
        nodes.rotate_left(turn);
    }
    let lasts = op.duration_mut().map_or(0, |ms| *ms);
    let at = match random.below(8) {
        0 | 1 => step.at_ms,
        2 => step.at_ms + random.within(0, 5),
        3 => step.at_ms + lasts,
        4 => step.at_ms + lasts / 2,
        5 => step.at_ms.saturating_sub(random.within(0, 200)),
        _ => step.at_ms.saturating_sub(random.within(0, 5)),
    };
    (at.min(plan.heal_ms - 1), nodes)
}

/// Something that applications do.
fn story(plan: &mut Plan, at_ms: u64, from: usize, to: usize, random: &mut Random) {
    let place = |node: usize, random: &mut Random| random.index(plan.nodes[node].processes.len());
    let (process, by) = (place(to, random), place(from, random));
    let named = random.permille(250);
    let mut ops = Vec::new();
    let call = |random: &mut Random| call(plan, from, to, process, named, random);
    let cast = |random: &mut Random| {
        let (size, count) = size(random);
        Op::Cast { from, to, process, named, size, count }
    };
    let watch = |random: &mut Random| {
        let (by, ms) = (random.permille(600).then_some(by), random.permille(250).then(|| random.within(0, 2000)));
        Op::Monitor { from, by, to, process, named, ms }
    };
    match random.below(10) {
        0..=3 => {
            ops.push(call(random));
            if random.permille(400) {
                ops.push(cast(random));
                ops.push(call(random));
            }
        }
        4 => ops.extend([cast(random), cast(random)]),
        5 => ops.push(watch(random)),
        // One that is watched ends, behind much that it has to say, or while it is called.
        6 | 7 => {
            ops.push(watch(random));
            if random.permille(500) {
                ops.push(Op::Cast { from: to, to: from, process: by, named: false, size: 200, count: 24 });
            }
            if random.permille(500) {
                ops.push(call(random));
            }
            ops.push(match random.below(3) {
                0 => Op::RequestStop { from, to, process },
                _ => Op::Exit { node: to, process, ms: random.within(0, 1000) },
            });
        }
        8 => ops.extend([call(random), Op::RequestStop { from, to, process }, call(random)]),
        _ => ops.extend([call(random), Op::Exit { node: to, process, ms: random.within(0, 1000) }, call(random)]),
    }
    let mut at_ms = at_ms;
    for op in ops {
        plan.steps.push(Step { at_ms, op });
        at_ms = (at_ms + random.pick(&[0, 0, 1, 5, 50])).min(plan.heal_ms - 1);
    }
}

/// A size, and how many of that.
fn size(random: &mut Random) -> (usize, usize) {
    match random.below(12) {
        0 => (random.within(60_000, 200 << 10) as usize, 1),
        1 | 2 => (random.within(1000, 5000) as usize, random.within(1, 6) as usize),
        _ => (random.within(16, 200) as usize, random.within(1, 20) as usize),
    }
}

fn call(plan: &Plan, from: usize, to: usize, process: usize, named: bool, random: &mut Random) -> Op {
    let (size, count) = size(random);
    let (answer, _) = self::size(random);
    let round_trip = 2 * plan.latency.typical_ms().max(1);
    let timeout_ms = match random.below(8) {
        0 => random.within(0, 3),
        1 | 2 => random.within(round_trip / 2, 2 * round_trip),
        3 | 4 => random.within(10, 500),
        5 => random.within(5000, 30_000),
        _ => 5000,
    };
    let cancel_ms = random.permille(250).then(|| match random.below(3) {
        0 => random.within(0, 2),
        1 => random.within(round_trip / 2, round_trip + 1),
        _ => random.within(0, 1000),
    });
    let foreign = random.permille(40);
    Op::Call { from, to, process, named, foreign, size, answer, count, timeout_ms, cancel_ms }
}

impl Run<'_> {
    /// Each node of the core calls a process of each, its own included, and casts to it. How long it takes at most until all of that is over.
    pub(super) fn ask_all(&mut self) -> Duration {
        let core = self.plan.roomy_core();
        // What is on its way goes first, in both directions.
        let timeout = AT_REST + 2 * self.time_to_drain() + self.plan.time_to_pass(1000);
        for (turn, &from) in core.iter().enumerate() {
            for &host in core.iter().filter(|_| !self.plan.is_many() || turn == 0) {
                let places = self.plan.nodes[host].processes.len();
                if places > 0 {
                    let to = Address { host, slot: turn % places, named: false };
                    self.world.cast_checked(from, to, 32);
                    let ask =
                        Ask { size: 32, answer: 32, timeout, cancel: None, foreign: false, at_rest: !self.plan.small_limits };
                    self.world.call_checked(from, to, ask);
                }
            }
        }
        timeout + timeout / 16
    }

    /// Each node that stops has calls to others, monitors of them, and calls of them.
    pub(super) fn leave_pending(&mut self) {
        let core = self.plan.roomy_core();
        let first = core[0];
        for &other in core.iter().filter(|other| **other != first).take(3) {
            for (from, host) in [(first, other), (other, first)] {
                if !self.plan.nodes[host].processes.is_empty() {
                    let to = Address { host, slot: 0, named: false };
                    let timeout = Duration::from_secs(30);
                    let ask = Ask { size: 100, answer: 100, timeout, cancel: None, foreign: false, at_rest: false };
                    self.world.monitor_checked(from, None, to, None);
                    self.world.call_checked(from, to, ask);
                }
            }
        }
    }

    /// At the end of the watch, when all that was asked is over.
    pub(super) fn judge_processes(&mut self) {
        let core = self.plan.roomy_core();
        for &one in &core {
            for &other in &core {
                self.world.check_processes_at_rest(one, other);
            }
        }
    }
}
