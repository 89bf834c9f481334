//! Situations that an operator or a driver brings about, and payloads at the edges of a record.

use super::{Addr, Fault, Op, Plan, Seed, Step};
use crate::random::Random;

/// The most that the messages of one record take, and the head of each.
const RECORD: usize = 64 * 1024 + 64 - 16;
const HEAD: usize = 5;
/// The longest piece of a payload.
const PIECE: usize = 64 * 1024;
/// The smallest limit on a message, and what each costs in a queue beside its bytes.
const SMALLEST: usize = 4096;
const IN_QUEUE: usize = 64;

pub(super) fn draw(plan: &mut Plan, fault: Fault, times: u64, random: &mut Random) {
    match fault {
        Fault::AcceptedSecrets => accepted_secrets(plan, random),
        Fault::FewMembers => few_members(plan, random),
        Fault::FirstSecret if !plan.secret => {
            let outside: Vec<usize> = outsiders(plan);
            let without = (!outside.is_empty() && random.permille(700)).then(|| random.pick(&outside));
            let at_ms = random.below(plan.heal_ms / 2);
            plan.steps.push(Step { at_ms, op: Op::FirstSecret { ms: random.within(0, 20_000), without } });
        }
        Fault::LateCloses => {
            for node in 0..plan.nodes.len() {
                let at_ms = random.below(plan.heal_ms / 2);
                let by_ms = random.pick(&[100, 3000, 20_000, 200_000]);
                plan.steps.push(Step { at_ms, op: Op::LateCloses { node, by_ms, ms: random.within(1000, plan.heal_ms) } });
            }
        }
        Fault::Renames => {
            let nodes = plan.nodes.iter().filter(|node| node.twin_of.is_none()).count();
            for _ in 0..times {
                let at_ms = random.below(plan.heal_ms);
                let op = Op::Rename { node: random.index(nodes), ms: random.within(1, 5000) };
                plan.steps.push(Step { at_ms, op });
            }
        }
        _ => {}
    }
}

/// The nodes outside of the core that are nobody's twin.
fn outsiders(plan: &Plan) -> Vec<usize> {
    (0..plan.nodes.len()).filter(|node| !plan.core.contains(node) && plan.nodes[*node].twin_of.is_none()).collect()
}

/// Two to four secrets are accepted at once.
fn accepted_secrets(plan: &mut Plan, random: &mut Random) {
    if !plan.secret {
        return;
    }
    if !plan.steps.iter().any(|step| matches!(step.op, Op::Rotate { .. })) {
        let op = Op::Rotate { to: 1, ms: random.within(100, 5000), more: Vec::new() };
        plan.steps.push(Step { at_ms: random.below(plan.heal_ms), op });
    }
    for step in &mut plan.steps {
        if let Op::Rotate { more, .. } = &mut step.op {
            *more = (150..150 + random.within(1, 3) as u8).collect();
        }
    }
}

/// One node of the core has room for fewer members than there are in it. Nobody needs it to find the others.
fn few_members(plan: &mut Plan, random: &mut Random) {
    if plan.core.len() < 3 {
        return;
    }
    let node = plan.core[1 + random.index(plan.core.len() - 1)];
    let leads = |seed: &Seed| match seed {
        Seed::Misnamed(of) | Seed::Node(of) => *of == node,
        Seed::Name(number) => plan.names[*number].addrs.contains(&Addr::Node(node)),
        Seed::Missing | Seed::Rogue(_) => false,
    };
    let lost: Vec<usize> = (1..plan.nodes.len()).filter(|other| plan.nodes[*other].seeds.iter().any(leads)).collect();
    for other in lost.into_iter().filter(|other| *other != node) {
        if !plan.nodes[other].seeds.contains(&Seed::Node(0)) {
            plan.nodes[other].seeds.push(Seed::Node(0));
        }
    }
    plan.nodes[node].seeds = vec![Seed::Node(0)];
    plan.nodes[node].members = Some(random.within(1, plan.core.len() as u64 - 2) as usize);
}

/// Messages that fill a record to the byte, or miss that by one, behind one that the kernel does not take at once; and messages and
/// queues at the smallest limits.
pub(super) fn fill_records(plan: &mut Plan, random: &mut Random) {
    if !random.permille(500) {
        return;
    }
    let edge = |size: usize, random: &mut Random| size + random.index(3) - 1;
    for _ in 0..random.within(1, 3) {
        let (from, to) = random.pair(plan.nodes.len());
        let at_ms = random.below(plan.heal_ms);
        let mut send = |size| plan.steps.push(Step { at_ms, op: Op::Send { from, to, size, count: 1 } });
        send(if plan.small_limits { SMALLEST } else { plan.window_bytes + PIECE });
        let whole = random.pick(&[RECORD - HEAD, PIECE, 2 * PIECE, SMALLEST, SMALLEST - IN_QUEUE, SMALLEST - 2 * IN_QUEUE]);
        if random.permille(500) {
            send(edge(whole, random));
        } else {
            let first = random.within(32, whole as u64 - 100) as usize;
            send(first);
            send(edge(whole - first - HEAD, random));
        }
        send(random.within(32, 100) as usize);
    }
}
