//! Fifty nodes in one process. Alone in its file, so that it runs beside no other test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_lite::future;
use noex_tokio::{Cluster, ClusterConfig, ClusterEvent, EventStream};

const NODES: usize = 50;
const PATIENCE: Duration = Duration::from_secs(120);
/// Two for each session, as many again for dials that cross, and the listeners.
const DESCRIPTORS: u64 = 6_000;

async fn count(streams: &mut [EventStream]) -> (usize, usize) {
    let (mut ups, mut downs) = (0, 0);
    for stream in streams {
        while let Some(Some(event)) = future::poll_once(pin!(stream.next())).await {
            match event {
                ClusterEvent::NodeUp(_) => ups += 1,
                ClusterEvent::NodeDown { .. } => downs += 1,
                _ => {}
            }
        }
    }
    (ups, downs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_nodes_form_a_full_mesh_from_one_seed() {
    match rlimit::increase_nofile_limit(DESCRIPTORS) {
        Ok(limit) if limit >= DESCRIPTORS => {}
        limit => return eprintln!("skipped: it takes {DESCRIPTORS} open files, and the limit is {limit:?}"),
    }
    let begin = Instant::now();
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut streams: Vec<EventStream> = Vec::new();
    let mut seeds = Vec::new();
    for n in 0..NODES {
        let cluster = Cluster::new();
        streams.push(cluster.events());
        let config = ClusterConfig::new(format!("n{n}")).host("127.0.0.1").port(0).seeds(&seeds);
        cluster.start(config.cluster_secret("sixteen bytes or more")).await.unwrap();
        if n == 0 {
            seeds.push(cluster.local_node_id().unwrap().to_string());
        }
        clusters.push(cluster);
    }
    for cluster in &clusters {
        cluster.wait_for_nodes(NODES - 1, PATIENCE).await.unwrap();
    }
    println!("{NODES} nodes formed a full mesh in {:?}", begin.elapsed());
    assert_eq!(count(&mut streams).await, (NODES * (NODES - 1), 0), "ups and downs");

    // Each has heard a heartbeat of each other one, and nobody was lost meanwhile.
    let first: Vec<_> = clusters.iter().map(|cluster| cluster.nodes().unwrap()).collect();
    let silent = || {
        let mut silent = Vec::new();
        for (cluster, first) in clusters.iter().zip(&first) {
            let now = cluster.nodes().unwrap();
            assert_eq!(now.len(), NODES - 1);
            silent.extend(now.into_iter().zip(first).filter(|(now, then)| now.uptime <= then.uptime).map(|(now, _)| now));
        }
        silent
    };
    let deadline = Instant::now() + PATIENCE;
    let mut looked = Instant::now();
    loop {
        let silent = silent();
        if silent.is_empty() {
            break;
        }
        let pause = looked.elapsed();
        assert!(Instant::now() < deadline, "{} are silent, the last look was {pause:?} ago: {}", silent.len(), silent[0]);
        looked = Instant::now();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(count(&mut streams).await, (0, 0), "ups and downs after the formation");
    println!("and heard a heartbeat of each other after {:?}", begin.elapsed());
    for cluster in &clusters {
        cluster.stop().await;
    }
    println!("and stopped one after the other after {:?}", begin.elapsed());
}
