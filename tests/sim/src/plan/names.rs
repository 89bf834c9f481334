//! Names of seeds: what they lead to, and how a plan's seeds come to have them.

use std::net::IpAddr;
use std::time::Duration;

use super::{Addr, Fault, NamePlan, Op, Plan, Seed, Step, name};
use crate::random::Random;
use crate::world::network::{self, Target};
use crate::{Resolving, World};

/// How many seeds of a node get a name of their own.
const NAMED: usize = 2;

impl NamePlan {
    /// Whom the name is there for: the first node that it leads to.
    pub(super) fn node(&self) -> Option<usize> {
        self.addrs.iter().find_map(|addr| if let Addr::Node(node) = addr { Some(*node) } else { None })
    }
}

impl Plan {
    /// Tells a world of a name.
    pub(super) fn set_name(&self, world: &mut World, number: usize) {
        let plan = &self.names[number];
        let addr = |(place, addr): (usize, &Addr)| -> IpAddr {
            let odd = |target| network::odd_ip(target, (number * 256 + place) as u16);
            match addr {
                Addr::Node(node) => network::ip(*node),
                Addr::Refusing => odd(Target::Nobody),
                Addr::Silent => odd(Target::Silence),
                Addr::Unreachable => odd(Target::Nowhere),
            }
        };
        let addrs = plan.addrs.iter().enumerate().map(addr).collect();
        let (least, most) = plan.lookup_ms;
        world.set_addresses(&name(number), addrs, plan.shuffled, (Duration::from_millis(least), Duration::from_millis(most)));
    }
}

/// Gives names to some seeds, and lets resolvers fail.
///
/// A name leads to the node whose address it stands for, and else to nobody: a node that finds another one there is content with that one,
/// and would not look for the rest of the cluster. The name that leads to all nodes is one more seed.
pub(super) fn draw(plan: &mut Plan, times: u64, random: &mut Random) {
    for node in 0..plan.nodes.len() {
        for place in 0..plan.nodes[node].seeds.len() {
            let Seed::Node(of) = plan.nodes[node].seeds[place] else { continue };
            let named = plan.nodes[node].seeds.iter().filter(|seed| matches!(seed, Seed::Name(_))).count();
            if of == node || named == NAMED || !random.permille(500) {
                continue;
            }
            let others = random.pick(&[0, 0, 1, 2, 7, 15, 16, 16, 19, 39]);
            let mut addrs: Vec<Addr> = (0..others)
                .map(|_| match random.below(8) {
                    0 => Addr::Node(node),
                    1 | 2 => Addr::Refusing,
                    3 | 4 => Addr::Silent,
                    _ => Addr::Unreachable,
                })
                .collect();
            let at = if random.permille(500) { others } else { random.index(others + 1) };
            addrs.insert(at, Addr::Node(of));
            // Oneself, as the name's own node, would stand before it.
            addrs[..at].iter_mut().filter(|addr| **addr == Addr::Node(node)).for_each(|addr| *addr = Addr::Refusing);
            plan.nodes[node].seeds[place] = add(plan, addrs, random);
        }
    }
    if random.permille(300) {
        let nodes = plan.nodes.iter().enumerate().filter(|(_, node)| node.twin_of.is_none());
        let all = nodes.map(|(node, _)| Addr::Node(node)).collect();
        let seed = add(plan, all, random);
        plan.nodes.iter_mut().for_each(|node| node.seeds.push(seed));
    }
    for _ in 0..times {
        let node = random.index(plan.nodes.len());
        let how = random.pick(&[Resolving::Fails, Resolving::Nothing, Resolving::Partly, Resolving::Slow]);
        let (at_ms, ms) = (random.below(plan.heal_ms), random.within(1000, 60_000));
        plan.steps.push(Step { at_ms, op: Op::Resolver { node, how, ms } });
        // Something that makes it look names up once more.
        if plan.faults.contains(&Fault::Reset) {
            plan.steps.push(Step { at_ms, op: Op::Reset { one: node, other: (node + 1) % plan.nodes.len() } });
        }
    }
}

fn add(plan: &mut Plan, addrs: Vec<Addr>, random: &mut Random) -> Seed {
    let lookup_ms = random.pick(&[(1, 50), (1, 50), (1, 50), (100, 3000), (9000, 20_000)]);
    plan.names.push(NamePlan { addrs, shuffled: random.permille(400), lookup_ms });
    Seed::Name(plan.names.len() - 1)
}
