//! What plans have for applications: faults among hosts of which nothing but the names is known.

use super::{Fault, NodePlan, Plan, draw};
use crate::random::Random;
use crate::{Chunking, Latency};

impl Plan {
    /// A plan for hosts on which programs run: of a node's configuration the defaults.
    pub(crate) fn of_hosts(seed: u64, names: &[String], heal_ms: u64) -> Self {
        let node = |name: &String| NodePlan {
            name: name.clone(),
            start_ms: 0,
            heartbeat_ms: 5000,
            threshold: 3,
            base_ms: 1000,
            max_ms: 30_000,
            forget_ms: 3_600_000,
            seeds: Vec::new(),
            own_secret: None,
            twin_of: None,
            members: None,
            processes: Vec::new(),
        };
        Self {
            seed,
            faults: Vec::new(),
            nodes: names.iter().map(node).collect(),
            names: Vec::new(),
            rogues: Vec::new(),
            long_names: false,
            secret: false,
            small_limits: false,
            bytes_per_second: None,
            window_bytes: 128 << 10,
            chunking: Chunking::Whole,
            reset_cuts: false,
            latency: Latency::Uniform { min_us: 200, max_us: 1000 },
            path_latencies: Vec::new(),
            undialable: Vec::new(),
            steps: Vec::new(),
            heal_ms,
            core: Vec::new(),
            watch_ms: 0,
        }
    }

    /// Draws faults of a kind.
    pub(crate) fn add_fault(&mut self, fault: Fault, random: &mut Random) {
        draw::add(self, fault, random);
    }
}
