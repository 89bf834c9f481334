//! An application that writes only where it sees most of its nodes: two that are cut off stop within the time of failure detection.

use std::time::Duration;

use noex_sim::World;
use noex_sim::noex_proto::ClusterConfig;

const NODES: usize = 5;

fn writes(world: &World, host: usize) -> bool {
    world.machine(host).connected_node_count().is_ok_and(|others| 2 * (others + 1) > NODES)
}

fn minority_stops_within(allowed: Duration) {
    for seed in 0..20 {
        let mut world = World::new(seed);
        for host in 0..NODES {
            let config = ClusterConfig::new(format!("n{host}")).host(format!("10.0.0.{}", host + 1));
            world.start(host, config.seeds(["n0@10.0.0.1:4369"])).expect("a valid configuration");
        }
        world.run_for(Duration::from_secs(5 + seed)).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        for (one, other) in [0, 1].into_iter().flat_map(|one| (2..NODES).map(move |other| (one, other))) {
            world.cut(one, other);
            world.cut(other, one);
        }
        let cut_at = world.now();
        while world.step(cut_at + Duration::from_secs(60)) {
            let in_time = world.now() <= cut_at + allowed || !(0..2).any(|host| writes(&world, host));
            assert!(in_time, "seed {seed}: a minority writes {:?} after the cut\n{}", world.now() - cut_at, world.text());
        }
        world.check().unwrap_or_else(|broken| panic!("seed {seed}: {broken}\n{}", world.text()));
    }
}

#[test]
fn a_minority_stops_writing() {
    minority_stops_within(Duration::from_secs(18));
}

#[test]
#[should_panic(expected = "seed 0: a minority writes")]
fn a_failure_names_its_seed() {
    minority_stops_within(Duration::from_secs(1));
}
