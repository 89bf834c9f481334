//! That what is checked bites: each kind of fault takes place and has its effect, and each invariant is broken by a broken machine.

mod books;
mod faults;
mod invariants;
mod names;
mod plans;
mod processes;
mod recovery;
mod situations;
mod storms;

use noex_proto::{ClusterConfig, ClusterEvent};

use crate::{Chunking, HostId, Latency, NodePlan, Op, Plan, STEP_BOUND, Seed, Step, World};

/// Three nodes that seed the first, and nothing that goes wrong.
fn quiet() -> Plan {
    let node = |node: usize| NodePlan {
        name: ["a", "b", "c"][node].into(),
        start_ms: 0,
        heartbeat_ms: 200,
        threshold: 3,
        base_ms: 50,
        max_ms: 500,
        forget_ms: 3_600_000,
        seeds: if node == 0 { Vec::new() } else { vec![Seed::Node(0)] },
        own_secret: None,
        twin_of: None,
        members: None,
        processes: Vec::new(),
    };
    Plan {
        seed: 1,
        faults: Vec::new(),
        nodes: (0..3).map(node).collect(),
        names: Vec::new(),
        rogues: Vec::new(),
        long_names: false,
        secret: true,
        small_limits: false,
        bytes_per_second: None,
        window_bytes: 128 << 10,
        chunking: Chunking::Whole,
        reset_cuts: false,
        latency: Latency::Constant { us: 1000 },
        path_latencies: Vec::new(),
        undialable: Vec::new(),
        steps: Vec::new(),
        heal_ms: 20_000,
        core: vec![0, 1, 2],
        watch_ms: 2000,
    }
}

/// The quiet plan with this kind of fault in it.
fn with(fault: crate::Fault, steps: impl IntoIterator<Item = (u64, Op)>) -> Plan {
    let steps = steps.into_iter().map(|(at_ms, op)| Step { at_ms, op }).collect();
    Plan { faults: vec![fault], steps, ..quiet() }
}

/// Runs a plan that must break nothing, and keeps all of its transitions.
fn run(plan: &Plan) -> World {
    assert_eq!(plan.check(), Ok(()));
    let mut world = World::new(plan.seed);
    world.keep_lines(100_000);
    let outcome = plan.run_in(&mut world, STEP_BOUND);
    assert_eq!(outcome.violation, None, "{}", world.text());
    world
}

/// The ups and downs that the application on a host was told of until then, as `+b` and `-b connection_closed`.
fn told(world: &World, host: HostId, until_ms: u128) -> Vec<String> {
    let events = world.events(host).iter().filter(|(at, _)| at.as_millis() <= until_ms);
    events
        .filter_map(|(_, event)| match event {
            ClusterEvent::NodeDown { id, reason } => Some(format!("-{} {reason}", id.name())),
            ClusterEvent::NodeUp(info) => Some(format!("+{}", info.id.name())),
            _ => None,
        })
        .collect()
}

/// When the application on a host was first told this.
fn when(world: &World, host: HostId, what: impl Fn(&ClusterEvent) -> bool) -> Option<u128> {
    world.events(host).iter().find(|(_, event)| what(event)).map(|(at, _)| at.as_millis())
}

/// The errors that the application on a host was told of, as text.
fn errors(world: &World, host: HostId) -> Vec<String> {
    let errors = world.events(host).iter().filter_map(|(_, event)| match event {
        ClusterEvent::Error(error) => Some(error.to_string()),
        _ => None,
    });
    errors.collect()
}

/// Two hosts, `a` and `b`, of which the second seeds the first.
fn pair() -> World {
    let mut world = World::new(1);
    start(&mut world, 0, "a", &[]);
    start(&mut world, 1, "b", &[("a", 0)]);
    world
}

fn start(world: &mut World, host: HostId, name: &str, seeds: &[(&str, HostId)]) {
    let seeds: Vec<String> = seeds.iter().map(|(name, host)| world.id(name, *host).to_string()).collect();
    let config = ClusterConfig::new(name).host(world.id(name, host).host()).seeds(seeds);
    world.start(host, config).expect("a valid configuration");
}
