//! Nodes on tokio, over sockets of the loopback interface: `cargo bench -p noex-bench --bench sockets -- <what>`.
//!
//! Each measurement is repeated, and is a row with its median, the lowest and the highest. What is compared is measured by turns in one
//! run. It reads the times of the process from `/proc`, so it is for Linux.
#![forbid(unsafe_code)]

mod calls;
mod casts;
mod idle;
mod mesh;
mod payloads;
mod ping;
mod process;
mod reads;
mod system;
mod table;

use std::process::ExitCode;

use noex_tokio::{Cluster, ClusterConfig, Limits};

const USAGE: &str = "mesh [nodes [processes [rounds [dials in flight]]]] | payloads | ping | calls | casts | local | reads | idle [nodes [seconds]]";
const SECRET: &str = "a secret of the benchmarks";

fn main() -> ExitCode {
    // Cargo adds an argument of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |place: usize, default: usize| args.get(place).and_then(|arg| arg.parse().ok()).unwrap_or(default);
    match args.first().map(String::as_str) {
        Some("mesh") => mesh::measure(number(1, 50), number(2, 1), number(3, 5), number(4, Limits::default().dials_in_flight)),
        Some("mesh-part") => mesh::part([1, 2, 3, 4].map(|place| number(place, 0))),
        Some("payloads") => payloads::measure(),
        Some("ping") => ping::measure(),
        Some("calls") => calls::measure(),
        Some("casts") => casts::measure(),
        Some("local") => calls::local(),
        Some("reads") => reads::measure(),
        Some("idle") => idle::measure(number(1, 100), number(2, 60)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// A configuration with authentication, and defaults for the rest.
fn config(node: usize) -> ClusterConfig {
    ClusterConfig::new(format!("node{node:04}")).host("127.0.0.1").port(0).cluster_secret(SECRET)
}

/// Starts a node that has this seed, if any.
async fn start(node: usize, seed: Option<&str>) -> Cluster {
    let cluster = Cluster::new();
    cluster.start(config(node).seeds(seed)).await.expect("it can listen");
    cluster
}

/// The identity of a node, as a seed.
fn seed(cluster: &Cluster) -> String {
    cluster.local_node_id().expect("it runs").to_string()
}
