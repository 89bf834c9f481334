//! What a cluster costs that does nothing, at the default heartbeat interval.

use std::time::{Duration, Instant};

use noex_tokio::Cluster;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::system::{Cpu, allow_open_files};
use crate::table::{Samples, head, row};
use crate::{seed, start};

const ROUNDS: usize = 5;

/// Measures the processor time of a mesh in one process for so many seconds, in several rounds.
pub(crate) fn measure(nodes: usize, seconds: usize) {
    allow_open_files((nodes * nodes * 3 / 2 + 1_000) as u64);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let first = start(0, None).await;
        let name = seed(&first);
        let mut starts = JoinSet::new();
        for node in 1..nodes {
            let name = name.clone();
            starts.spawn(async move { start(node, Some(&name)).await });
        }
        let mut clusters: Vec<Cluster> = starts.join_all().await;
        clusters.push(first);
        for cluster in &clusters {
            cluster.wait_for_nodes(nodes - 1, Duration::from_secs(60)).await.expect("the mesh forms");
        }
        // The first heartbeats are over, and all agree.
        tokio::time::sleep(Duration::from_secs(10)).await;
        let rounds = rest(nodes, seconds).await;
        head(&format!("a mesh of {nodes} nodes at rest, one process, {seconds} s in all"));
        let column = |of: fn(Cpu) -> f64| Samples::new(rounds.iter().copied().map(of).collect());
        row("processor time a node, % of one core", 3, &column(Cpu::total));
        row("of it outside the kernel, %", 3, &column(|cpu| cpu.user));
        row("of it in the kernel, %", 3, &column(|cpu| cpu.kernel));
    });
}

/// Percent of one core for each node, in each round.
async fn rest(nodes: usize, seconds: usize) -> Vec<Cpu> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let (before, begin) = (Cpu::now(), Instant::now());
        tokio::time::sleep(Duration::from_secs_f64(seconds as f64 / ROUNDS as f64)).await;
        let (spent, scale) = (Cpu::now() - before, 100.0 / begin.elapsed().as_secs_f64() / nodes as f64);
        rounds.push(Cpu { kernel: spent.kernel * scale, user: spent.user * scale });
    }
    rounds
}
