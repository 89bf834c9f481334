//! Reading the members while the cluster lives.

use std::hint::black_box;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_lite::future;
use noex_tokio::{Cluster, ClusterEvent};
use tokio::runtime::Builder;

use crate::system::allow_open_files;
use crate::table::{Samples, head, row};
use crate::{config, seed, start};

const ROUNDS: usize = 101;
const READS: u32 = 1_000;
/// How many reads per second disturb the cluster, for how long.
const RATE: u32 = 1_000_000;
const SECONDS: u32 = 10;
/// So that a missed heartbeat is a down within that time.
const INTERVAL: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures reads of a node with one peer and of one with a hundred, from a thread of the application's own.
pub(crate) fn measure() {
    allow_open_files(16_000);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    head("reading the members");
    for peers in [1, 100] {
        let clusters = runtime.block_on(mesh(peers + 1, None));
        cost(peers, &clusters[0]);
    }
    let clusters = runtime.block_on(mesh(10, Some(INTERVAL)));
    disturb(&clusters);
}

async fn mesh(nodes: usize, interval: Option<Duration>) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    for node in 0..nodes {
        let seed = clusters.first().map(seed);
        match interval {
            None => clusters.push(start(node, seed.as_deref()).await),
            Some(interval) => {
                let cluster = Cluster::new();
                cluster.start(config(node).heartbeat_interval(interval).seeds(seed)).await.expect("it can listen");
                clusters.push(cluster);
            }
        }
    }
    for cluster in &clusters {
        cluster.wait_for_nodes(nodes - 1, PATIENCE).await.expect("the mesh forms");
    }
    clusters
}

fn cost(peers: usize, cluster: &Cluster) {
    let ids = cluster.node_ids().expect("it runs");
    let id = &ids[ids.len() / 2];
    let time = |read: &dyn Fn()| {
        let begin = Instant::now();
        (0..READS).for_each(|_| read());
        begin.elapsed().as_secs_f64() / f64::from(READS) * 1e9
    };
    let sample = |read: &dyn Fn()| Samples::new((0..ROUNDS).map(|_| time(read)).collect());
    let connected = sample(&|| assert!(black_box(cluster).is_node_connected(id).expect("it runs")));
    let nodes = sample(&|| assert_eq!(black_box(cluster).nodes().expect("it runs").len(), peers));
    row(&format!("is_node_connected, {peers} peer(s), ns"), 0, &connected);
    row(&format!("nodes, {peers} peer(s), ns"), 0, &nodes);
}

/// Reads one of ten nodes at that rate, every tenth time all members, and sees whether anybody goes down.
fn disturb(clusters: &[Cluster]) {
    let mut events: Vec<_> = clusters.iter().map(Cluster::events).collect();
    let ids = clusters[0].node_ids().expect("it runs");
    let (begin, mut reads) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs(SECONDS.into()) {
        let due = (begin.elapsed().as_secs_f64() * f64::from(RATE)) as u64;
        while reads < due {
            match reads % 10 {
                0 => drop(black_box(clusters[0].nodes())),
                n => drop(black_box(clusters[0].is_node_connected(&ids[n as usize % ids.len()]))),
            }
            reads += 1;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    let downs: usize = events.iter_mut().map(downs).sum();
    row("reads beside a live cluster, million/s", 3, &Samples::new(vec![reads as f64 / f64::from(SECONDS) / 1e6]));
    row("downs meanwhile", 0, &Samples::new(vec![downs as f64]));
    assert_eq!(downs, 0, "no heartbeat is disturbed");
}

fn downs(events: &mut noex_tokio::EventStream) -> usize {
    let mut downs = 0;
    while let Some(Some(event)) = future::block_on(future::poll_once(pin!(events.next()))) {
        downs += usize::from(matches!(event, ClusterEvent::NodeDown { .. }));
    }
    downs
}
