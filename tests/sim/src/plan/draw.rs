//! Drawing a plan from a seed, with a stream of random numbers for each kind of fault.

use super::{Fault, NodePlan, Op, Plan, Seed, Step, claims, names, processes, situations};
use crate::random::Random;
use crate::{Chunking, Dialling, Latency, Rogue, Tampering};

/// Streams that belong to no kind of fault.
const SHAPE: u64 = 1000;
const TRAFFIC: u64 = 1001;
const SWARM: u64 = 1002;
const RECORDS: u64 = 1003;
const MANY: u64 = 1004;
const PROCESSES: u64 = 1005;
const CLAIMS: u64 = 1006;

/// Heartbeat intervals: together they are the whole range that a configuration may have. Where one is long, a run takes hours, in which the
/// shortest ones would be dear; mixed ones differ a hundredfold at most.
const SHORT_MS: [u64; 8] = [100, 200, 500, 500, 1000, 1000, 2000, 5000];
const LONG_MS: [u64; 4] = [20_000, 60_000, 200_000, 600_000];
const MIXED_MS: [[u64; 5]; 5] = [
    [100, 200, 500, 1000, 2000],
    [200, 500, 1000, 2000, 5000],
    [200, 500, 1000, 5000, 20_000],
    [1000, 2000, 5000, 20_000, 60_000],
    [6000, 20_000, 60_000, 200_000, 600_000],
];

/// About how many heartbeats a run may have: what a run costs grows with them, and little is learnt from more.
const HEARTBEATS: u64 = 10_000;
/// The shortest time for faults that is drawn where there would be too many heartbeats.
const SHORTEST_MS: u64 = 60_000;
/// About how long the core takes to agree, and all to leave.
const SETTLING_MS: u64 = 60_000;

/// How many heartbeats all nodes together send within this time, where each sees all others.
fn heartbeats(nodes: &[NodePlan], ms: u64) -> u64 {
    let peers = nodes.len() as u64 - 1;
    nodes.iter().map(|node| peers * ms / node.heartbeat_ms).sum()
}

/// Lengthens all intervals alike where the run would have too many heartbeats.
fn bound_heartbeats(plan: &mut Plan) {
    while heartbeats(&plan.nodes, plan.heal_ms + SETTLING_MS) > HEARTBEATS {
        plan.nodes.iter_mut().for_each(|node| node.heartbeat_ms *= 2);
    }
    plan.watch_ms = watch_ms(plan.nodes.iter().map(|node| node.heartbeat_ms).max().unwrap_or(0));
}

/// How many heartbeats may be missed: fewer of long ones, which would be waited for all day.
fn draw_threshold(heartbeat_ms: u64, random: &mut Random) -> u32 {
    if heartbeat_ms > 5000 { random.pick(&[1, 2]) } else { random.pick(&[1, 2, 3, 3, 3, 5]) }
}

/// The kinds of faults that a cluster of many nodes has: few, and no dear ones.
const OF_MANY: [Fault; 11] = [
    Fault::Crash,
    Fault::Freeze,
    Fault::HalfOpen,
    Fault::Halt,
    Fault::Latency,
    Fault::Leave,
    Fault::NewSeeds,
    Fault::Partition,
    Fault::PowerOff,
    Fault::Reset,
    Fault::WallClock,
];

/// One of a hundred seeds has so many nodes with so long identities that a page has no room for all that one may tell another of.
fn many(seed: u64) -> Option<Random> {
    let mut random = Random::new(seed, MANY);
    random.permille(10).then_some(random)
}

/// The name of a node; with `long`, one to which some bytes may still be added.
fn name(node: usize, long: bool, random: &mut Random) -> String {
    let letter = char::from(b'a' + random.below(26) as u8);
    let name = format!("{letter}{node}");
    if long { format!("{name:-<60}") } else { name }
}

pub(super) fn draw(seed: u64) -> Plan {
    let mut swarm = Random::new(seed, SWARM);
    // Most seeds have about half of the kinds, some a few, and some none.
    let share = swarm.pick(&[0, 80, 80, 250, 500, 500, 500, 500, 500, 500, 800]);
    let mut faults: Vec<Fault> = Fault::ALL.into_iter().filter(|_| swarm.permille(share)).collect();
    let many = many(seed);
    if many.is_some() {
        faults.retain(|fault| OF_MANY.contains(fault));
    }
    let mut plan = shape(seed, &faults, many);
    for (stream, fault) in Fault::ALL.into_iter().enumerate() {
        if faults.contains(&fault) {
            let mut random = Random::new(seed, stream as u64);
            add(&mut plan, fault, &mut random);
        }
    }
    traffic(&mut plan, &mut Random::new(seed, TRAFFIC));
    situations::fill_records(&mut plan, &mut Random::new(seed, RECORDS));
    processes::draw(&mut plan, &mut Random::new(seed, PROCESSES));
    claims::draw(&mut plan, &mut Random::new(seed, CLAIMS));
    let longest = plan.nodes.iter().map(|node| node.heartbeat_ms).max().unwrap_or(0);
    if longest > SHORT_MS[SHORT_MS.len() - 1] {
        // What cannot be reached is dialled for hours.
        plan.nodes.iter_mut().for_each(|node| node.max_ms = 30_000);
    }
    plan.faults = faults;
    plan.steps.sort_by_key(|step| step.at_ms);
    plan
}

/// How long a core at rest is watched: for six heartbeats, or two long ones.
fn watch_ms(heartbeat_ms: u64) -> u64 {
    (heartbeat_ms * 6).clamp(20_000, 40_000.max(heartbeat_ms * 2))
}

/// The cluster without its faults.
fn shape(seed: u64, faults: &[Fault], many: Option<Random>) -> Plan {
    let mut random = Random::new(seed, SHAPE);
    let mut count = random.within(3, 9) as usize;
    let mut heartbeat_ms = if random.permille(100) { random.pick(&LONG_MS) } else { random.pick(&SHORT_MS) };
    let long_names = many.is_some();
    if let Some(mut many) = many {
        (count, heartbeat_ms) = (many.within(27, 30) as usize, 5000);
    }
    let threshold = draw_threshold(heartbeat_ms, &mut random);
    let base_ms = random.pick(&[20, 100, 500, 1000]);
    let max_ms = random.pick(&[1000, 3000, 10_000]);
    let heal_ms = 1000 * if long_names { random.within(15, 30) } else { random.within(40, 300) };
    let together = random.permille(500);
    let topology = random.below(4);
    let mut core: Vec<usize> = (0..count).filter(|node| *node == 0 || random.permille(750)).collect();
    if core.len() < 2 {
        core = vec![0, 1];
    }
    let mut nodes = Vec::new();
    for node in 0..count {
        let seeds = match (topology, node) {
            // Everybody, oneself included, which is skipped.
            (0, _) => (0..count).map(Seed::Node).collect(),
            (_, 0) => {
                if random.permille(300) {
                    vec![Seed::Node(1)]
                } else {
                    Vec::new()
                }
            }
            (1, _) => vec![Seed::Node(0), Seed::Node(random.index(count))],
            (2, _) => {
                // A chain through the core.
                let before = core.iter().rev().find(|other| **other < node).copied().unwrap_or(0);
                vec![Seed::Node(before)]
            }
            (_, _) => vec![Seed::Node(0)],
        };
        nodes.push(NodePlan {
            name: name(node, long_names, &mut random),
            start_ms: if together { 0 } else { random.below(10_000) },
            heartbeat_ms,
            threshold,
            base_ms,
            max_ms,
            forget_ms: random.pick(&[5000, 60_000, 3_600_000]),
            seeds,
            own_secret: None,
            twin_of: None,
            members: None,
            processes: Vec::new(),
        });
    }
    let mut plan = Plan {
        seed,
        faults: Vec::new(),
        nodes,
        rogues: Vec::new(),
        long_names,
        secret: random.permille(850),
        small_limits: faults.contains(&Fault::SmallLimits),
        bytes_per_second: None,
        names: Vec::new(),
        window_bytes: 128 << 10,
        chunking: Chunking::Whole,
        reset_cuts: false,
        latency: Latency::Uniform { min_us: 200, max_us: random.pick(&[300, 1000, 10_000]) },
        path_latencies: Vec::new(),
        undialable: Vec::new(),
        steps: Vec::new(),
        heal_ms,
        core,
        watch_ms: 0,
    };
    while plan.heal_ms > SHORTEST_MS && heartbeats(&plan.nodes, plan.heal_ms + SETTLING_MS) > HEARTBEATS {
        plan.heal_ms -= 1000;
    }
    bound_heartbeats(&mut plan);
    plan
}

/// Messages all the time, from small ones to some of several records.
fn traffic(plan: &mut Plan, random: &mut Random) {
    let end = plan.heal_ms;
    let count = random.within(10, 60);
    for _ in 0..count {
        let (from, to) = random.pair(plan.nodes.len());
        let size = match random.below(12) {
            0 => random.within(60_000, 300_000),
            1 => 65_536 + random.below(3) - 1,
            2 | 3 => random.within(1000, 20_000),
            _ => random.within(32, 200),
        } as usize;
        let count = if size < 30_000 { random.within(1, 30) as usize } else { 1 };
        push(plan, random.below(end), Op::Send { from, to, size, count });
    }
    for node in 0..plan.nodes.len() {
        if random.permille(300) {
            push(plan, random.below(end), Op::Processes { node, count: random.below(100) });
        }
    }
    for _ in 0..random.within(1, 6) {
        let size = random.pick(&[32, 32, 1000, 4096, 70_000]);
        push(plan, random.below(end), Op::Broadcast { from: random.index(plan.nodes.len()), size, count: 1 });
    }
    for _ in 0..random.below(4) {
        let ms = random.within(100, end);
        push(plan, random.below(end), Op::Subscribe { node: random.index(plan.nodes.len()), ms });
    }
}

fn push(plan: &mut Plan, at_ms: u64, op: Op) {
    plan.steps.push(Step { at_ms, op });
}

/// How long a fault lasts: mostly around the time that it takes to be noticed.
fn lasting(plan: &Plan, random: &mut Random) -> u64 {
    let notice = plan.nodes[0].heartbeat_ms * (u64::from(plan.nodes[0].threshold) + 1);
    match random.below(4) {
        0 => random.within(1, 500),
        1 => random.within(1, 2 * notice),
        2 => random.within(notice / 2, notice * 3 / 2),
        _ => random.within(1000, 40_000),
    }
}

pub(super) fn add(plan: &mut Plan, fault: Fault, random: &mut Random) {
    let nodes = plan.nodes.len();
    // A node of the original ones, since a twin or a stranger may come after them.
    let times = random.within(1, 4);
    match fault {
        Fault::Bandwidth => {
            plan.bytes_per_second = Some(random.pick(&[20_000, 100_000, 1_000_000]));
            plan.window_bytes = random.pick(&[1024, 4096, 16_384]);
        }
        Fault::Fragmentation => {
            plan.chunking = match random.below(3) {
                0 => Chunking::Coalesced,
                1 => Chunking::Pieces { most: 1 },
                _ => Chunking::Pieces { most: random.within(2, 100) as usize },
            };
        }
        Fault::Latency => {
            let most = (plan.nodes[0].heartbeat_ms * 250).min(400_000);
            plan.latency = draw_latency(random, most);
            for _ in 0..times {
                let (from, to) = random.pair(nodes);
                let latency = draw_latency(random, most);
                plan.path_latencies.push((from, to, latency));
            }
        }
        Fault::MixedIntervals => {
            let intervals = random.pick(&MIXED_MS);
            for node in &mut plan.nodes {
                node.heartbeat_ms = random.pick(&intervals);
                node.threshold = draw_threshold(node.heartbeat_ms, random);
                node.base_ms = random.pick(&[20, 500, 1000]);
            }
            let most = plan.nodes.iter().map(|node| node.heartbeat_ms).min().unwrap_or(200) * 250;
            let most = most.min(400_000);
            if plan.latency.longest().as_micros() > u128::from(most) {
                plan.latency = draw_latency(random, most);
            }
            plan.path_latencies.clear();
            bound_heartbeats(plan);
        }
        Fault::MixedSecrets if plan.secret => {
            let outside: Vec<usize> = (0..nodes).filter(|node| !plan.core.contains(node)).collect();
            if let Some(node) = outside.first() {
                // One that the cluster never had, or has until it is rotated away.
                plan.nodes[*node].own_secret = Some(random.pick(&[0, 200, 200]));
            }
        }
        Fault::OneWayDials => {
            if nodes > 3 && plan.nodes.iter().skip(1).all(|node| node.seeds.contains(&Seed::Node(0))) {
                let (one, other) = random.pair(nodes - 1);
                plan.undialable.push((one + 1, other + 1));
            }
        }
        Fault::Seeds => {
            for node in 0..nodes {
                let odd = match random.below(5) {
                    0 => Seed::Missing,
                    1 => Seed::Node(node),
                    2 => Seed::Misnamed(random.index(nodes)),
                    _ => continue,
                };
                plan.nodes[node].seeds.push(odd);
            }
            plan.nodes[0].start_ms = random.below(20_000);
        }
        Fault::Names => names::draw(plan, times, random),
        Fault::AcceptedSecrets | Fault::FewMembers | Fault::FirstSecret | Fault::LateCloses | Fault::Renames => {
            situations::draw(plan, fault, times, random);
        }
        Fault::SmallLimits | Fault::MixedSecrets => {}
        _ => {
            plan.reset_cuts |= fault == Fault::Reset;
            let at = 1000 + random.below(5000);
            for round in 0..times {
                let at = (at + round * plan.heal_ms / times).min(plan.heal_ms);
                let at = (at + random.below(plan.heal_ms / times)).min(plan.heal_ms - 1);
                add_steps(plan, fault, at, random);
            }
        }
    }
}

fn draw_latency(random: &mut Random, most: u64) -> Latency {
    let typical = random.pick(&[100, 1000, 20_000, 80_000]).min(most / 2);
    match random.below(4) {
        0 => Latency::Constant { us: typical },
        1 => Latency::Uniform { min_us: typical / 2, max_us: typical * 2 },
        2 => Latency::Exponential { min_us: typical / 2, mean_us: typical, max_us: most },
        _ => Latency::HeavyTail { scale_us: typical.max(2), max_us: most },
    }
}

/// One occurrence of a fault.
fn add_steps(plan: &mut Plan, fault: Fault, at: u64, random: &mut Random) {
    let nodes = plan.nodes.iter().filter(|node| node.twin_of.is_none()).count();
    let node = random.index(nodes);
    let (one, other) = random.pair(nodes);
    let ms = lasting(plan, random);
    let again = random.permille(800).then_some(ms);
    match fault {
        Fault::Adversary => {
            use Tampering::{Drop, Flip, Insert, Reflect, Replay, Splice, Truncate};
            let how = random.pick(&[Drop, Flip, Insert, Reflect, Replay, Splice, Truncate]);
            let permille = random.pick(&[20, 200, 1000]);
            push(plan, at, Op::Tamper { one, other, how, permille, ms });
        }
        Fault::ClockRate => push(plan, at, Op::Clock { node, permille: random.within(500, 2000), ms }),
        Fault::Crash => push(plan, at, Op::Crash { node, ms: again }),
        Fault::CrashLoop => {
            let pause = random.within(1, 3000);
            for round in 0..random.within(3, 6) {
                let at = at + round * (pause + random.within(1, 3000));
                if at < plan.heal_ms {
                    push(plan, at, Op::Crash { node, ms: Some(pause) });
                }
            }
        }
        Fault::Descriptors => {
            push(plan, at, Op::Descriptors { node, ms });
            push(plan, at, Op::Descriptors { node: one, ms });
        }
        Fault::DialFaults => {
            let how = random.pick(&[Dialling::Dropped, Dialling::Late, Dialling::Refused, Dialling::Unreachable]);
            push(plan, at, Op::Dials { from: one, to: other, how, ms });
            if random.permille(500) {
                push(plan, at, Op::Reset { one, other });
            }
        }
        Fault::DuplicateId => {
            if plan.nodes.iter().any(|node| node.twin_of.is_some()) {
                return;
            }
            let mut twin = plan.nodes[node].clone();
            twin.twin_of = Some(node);
            twin.start_ms = at;
            twin.seeds = vec![Seed::Node(0), Seed::Node(other)];
            plan.nodes.push(twin);
        }
        Fault::Freeze => push(plan, at, Op::Freeze { node, ms }),
        Fault::Halt => push(plan, at, Op::Halt { node, ms: again }),
        Fault::NewSeeds => {
            let own = plan.nodes[node].seeds.clone();
            let mut seeds: Vec<Seed> = own.into_iter().filter(|seed| matches!(seed, Seed::Node(_))).collect();
            seeds.retain(|_| random.permille(500));
            for seed in [Seed::Node(one), Seed::Missing, Seed::Misnamed(other)] {
                if random.permille(300) && !seeds.contains(&seed) {
                    seeds.push(seed);
                }
            }
            push(plan, at, Op::SetSeeds { node, seeds, keep: random.permille(400) });
        }
        Fault::HalfOpen if random.permille(300) => vanish(plan, node, at, random),
        Fault::HalfOpen => push(plan, at, Op::HalfOpen { at: one, with: other, silent: random.permille(500) }),
        Fault::Leave => push(plan, at, Op::Leave { node, ms: again }),
        Fault::Misuse => push(plan, at, Op::Misuse { node }),
        Fault::Partition => {
            let all: Vec<usize> = (0..nodes).collect();
            let split = random.within(1, nodes as u64 - 1) as usize;
            let rotated: Vec<usize> = all.iter().map(|place| (place + node) % nodes).collect();
            let (from, to) = rotated.split_at(split);
            let reset = random.permille(300);
            match random.below(6) {
                // Halves, or an isolated node.
                0 | 1 => {
                    push(plan, at, Op::Cut { from: from.into(), to: to.into(), ms, reset });
                    push(plan, at, Op::Cut { from: to.into(), to: from.into(), ms, reset });
                }
                // One way.
                2 => push(plan, at, Op::Cut { from: from.into(), to: to.into(), ms, reset }),
                // A bridge: one node sees both halves.
                3 => {
                    let to: Vec<usize> = to.iter().copied().skip(1).collect();
                    if !to.is_empty() {
                        push(plan, at, Op::Cut { from: from.into(), to: to.clone(), ms, reset });
                        push(plan, at, Op::Cut { from: to, to: from.into(), ms, reset });
                    }
                }
                // One leaves, and one other does not hear of it: what that one tells is out of date.
                4 => {
                    push(plan, at, Op::Cut { from: vec![one], to: vec![other], ms: ms.max(10_000), reset: false });
                    push(plan, (at + 50).min(plan.heal_ms), Op::Leave { node: one, ms: None });
                }
                // A ring: each sees its neighbours alone.
                _ => {
                    for place in 0..nodes {
                        let far: Vec<usize> = (2..nodes - 1).map(|step| rotated[(place + step) % nodes]).collect();
                        if !far.is_empty() {
                            push(plan, at, Op::Cut { from: vec![rotated[place]], to: far, ms, reset });
                        }
                    }
                }
            }
        }
        Fault::PowerOff => push(plan, at, Op::PowerOff { node, ms: again }),
        Fault::Reset if random.permille(300) => push(plan, at, Op::ResetOne { one, other }),
        Fault::Reset => push(plan, at, Op::Reset { one, other }),
        Fault::Rogues => {
            let kind = random.pick(&[Rogue::Garbage, Rogue::Lengths, Rogue::Reflect, Rogue::Replay, Rogue::Silent]);
            plan.rogues.push(kind);
            let rogue = plan.rogues.len() - 1;
            push(plan, at, Op::RogueDials { rogue, node, count: random.within(1, 40) as usize });
            if random.permille(300) {
                plan.nodes[node].seeds.push(Seed::Rogue(rogue));
            }
        }
        Fault::Rotation => {
            if plan.secret {
                let to = 1 + plan.steps.iter().filter(|step| matches!(step.op, Op::Rotate { .. })).count();
                push(plan, at, Op::Rotate { to: to as u8, ms: random.within(100, 5000), more: Vec::new() });
            }
        }
        Fault::Stall if random.permille(300) => read_late(plan, node, at),
        Fault::Stall => {
            if random.permille(500) {
                push(plan, at, Op::StallReader { reader: one, from: other, ms });
            } else {
                push(plan, at, Op::StallWriter { from: one, to: other, ms });
            }
            let size = random.within(1000, 50_000) as usize;
            push(plan, at, Op::Send { from: other, to: one, size, count: 20 });
        }
        Fault::WallClock => {
            let ms = random.within(1, 200_000_000).cast_signed();
            push(plan, at, Op::WallClock { node, ms: if random.permille(500) { -ms } else { ms } });
        }
        Fault::AcceptedSecrets
        | Fault::Bandwidth
        | Fault::FewMembers
        | Fault::FirstSecret
        | Fault::Fragmentation
        | Fault::LateCloses
        | Fault::Latency
        | Fault::MixedIntervals
        | Fault::MixedSecrets
        | Fault::Names
        | Fault::OneWayDials
        | Fault::Renames
        | Fault::Seeds
        | Fault::SmallLimits => {}
    }
}

/// A process is gone while nothing passes on its connections, so that no reset tells of it: what tells is that its port refuses.
fn vanish(plan: &mut Plan, node: usize, at: u64, random: &mut Random) {
    for other in (0..plan.nodes.len()).filter(|other| *other != node) {
        push(plan, at, Op::HalfOpen { at: node, with: other, silent: true });
    }
    let slowest = plan.nodes.iter().map(|node| node.heartbeat_ms * u64::from(node.threshold + 1)).max().unwrap_or(0);
    push(plan, at, Op::Crash { node, ms: Some(slowest + random.within(0, 10_000)) });
}

/// A node starts again, its connection to a seed is reset while it is being admitted, and the one that has to consent reads of the
/// admission only after that of the next connection.
fn read_late(plan: &mut Plan, node: usize, at: u64) {
    const ONE_WAY_MS: u64 = 20;
    let of = |seed: &Seed| if let Seed::Node(of) = seed { Some(*of) } else { None };
    let Some(seed) = plan.nodes[node].seeds.iter().filter_map(of).find(|of| *of != node) else { return };
    // The lesser consents: having dialled, it reads of its admission after four round trips, and else after three and a half.
    let (reader, from, round_trips) = if plan.id(node) < plan.id(seed) { (node, seed, 7) } else { (seed, node, 6) };
    let stalled = at + 5 + ONE_WAY_MS * round_trips;
    if stalled + 60 >= plan.heal_ms {
        return;
    }
    for (from, to) in [(node, seed), (seed, node)] {
        plan.path_latencies.push((from, to, Latency::Constant { us: 1000 * ONE_WAY_MS }));
    }
    push(plan, at, Op::Crash { node, ms: Some(5) });
    push(plan, stalled, Op::StallReader { reader, from, ms: 4000 });
    push(plan, stalled + 60, Op::ResetOne { one: node, other: seed });
}
