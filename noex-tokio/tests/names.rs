//! Names of the cluster on real sockets, many times over: who of many gets one, and how soon another has it when its holder is killed.
//!
//! `NOEX_ROUNDS=100 cargo test -p noex-tokio --release --test names -- --nocapture` prints figures.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::env;
use std::time::{Duration, Instant};

use futures_lite::{FutureExt, future};
use noex_conformance::common::{PATIENCE, all, config, eventually, free_port, id, meet, patient, seed, start};
use noex_conformance::processes::Counter;
use noex_tokio::{Claim, ClaimError, Cluster, ClusterEvent, EventStream, Item, Mailbox, NodeId, Tokio};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn rounds(few: usize) -> usize {
    env::var("NOEX_ROUNDS").map_or(few, |rounds| rounds.parse().unwrap())
}

async fn down(mut events: EventStream, node: NodeId) -> Instant {
    while let Some(event) = events.next().await {
        if matches!(event, ClusterEvent::NodeDown { id, .. } if id == node) {
            break;
        }
    }
    Instant::now()
}

/// Stands by for the name on a node.
fn stand_by(cluster: &Cluster) -> (Mailbox<Counter>, Claim) {
    let mailbox = cluster.open::<Counter>().unwrap();
    let claim = mailbox.claim_when_free("leader");
    (mailbox, claim)
}

#[test]
fn when_the_node_of_the_holder_is_killed_one_that_stands_by_has_the_name_soon() {
    let home = runtime();
    let (a, b) = home.block_on(async {
        let a = start::<Tokio>(config("a")).await;
        let b = start::<Tokio>(config("b").seeds([seed(&a)])).await;
        meet(&a, &b).await;
        (a, b)
    });
    let mut took = Vec::new();
    for _ in 0..rounds(5) {
        // Given: a node of its own runtime with the name, and two processes that stand by.
        let away = runtime();
        let (c, holder) = away.block_on(async {
            let c = start::<Tokio>(config("c").seeds([seed(&a), seed(&b)])).await;
            meet(&a, &c).await;
            meet(&b, &c).await;
            let holder = c.open::<Counter>().unwrap();
            assert_eq!(patient(holder.claim("leader")).await, Ok(()));
            (c, holder)
        });
        let taken = home.block_on(async {
            eventually("all know", || [&a, &b].iter().all(|node| node.whereis::<Counter>("leader").unwrap().is_some())).await;
            let ((_first, mut one), (_second, mut other)) = (stand_by(&a), stand_by(&b));
            assert!(future::poll_once(&mut one).await.is_none() && future::poll_once(&mut other).await.is_none());
            let downs = [&a, &b].map(|node| tokio::spawn(down(node.events(), id(&c))));
            // When: its sockets close without a word.
            away.shutdown_background();
            assert_eq!(patient(one.or(other)).await, Ok(()));
            let taken = Instant::now();
            let mut last = None;
            for down in downs {
                last = last.max(Some(patient(down).await.unwrap()));
            }
            taken.saturating_duration_since(last.unwrap())
        });
        took.push(taken);
        drop((holder, c));
        home.block_on(eventually("it is free", || {
            [&a, &b].iter().all(|node| node.whereis::<Counter>("leader").unwrap().is_none())
        }));
    }
    took.sort_unstable();
    println!("from the later of two downs on: {took:?}");
    // Far more than it takes, as the machine may be busy.
    assert!(took.iter().all(|took| *took < Duration::from_secs(2)), "{took:?}");
}

/// Starts nodes at the same time, each of which claims the name at once. How many heard that they have it, and how many of those that they
/// have lost it, when all see each other.
async fn race(count: usize, all_are_seeds: bool) -> (usize, usize) {
    let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
    let seeds: Vec<String> =
        ports.iter().take(if all_are_seeds { count } else { 1 }).map(|port| format!("127.0.0.1:{port}")).collect();
    let run = |(number, port): (usize, &u16)| {
        let config = config(&format!("n{number}")).port(*port).seeds(&seeds);
        async move {
            let cluster = start::<Tokio>(config).await;
            let mailbox = cluster.open::<Counter>().unwrap();
            let outcome = patient(mailbox.claim("leader").keep_on_loss()).await;
            (cluster, mailbox, outcome)
        }
    };
    let mut nodes = all(ports.iter().enumerate().map(run)).await;
    for (cluster, ..) in &nodes {
        cluster.wait_for_nodes(count - 1, PATIENCE).await.unwrap();
        patient(cluster.names_synced()).await.unwrap();
    }
    let holder = |cluster: &Cluster| cluster.whereis::<Counter>("leader").unwrap().map(|address| address.destination().clone());
    eventually("all know one holder", || {
        let known = holder(&nodes[0].0);
        known.is_some() && nodes.iter().all(|(cluster, ..)| holder(cluster) == known)
    })
    .await;
    let (mut has, mut lost) = (0, 0);
    for (_, mailbox, outcome) in &mut nodes {
        match outcome {
            Ok(()) => has += 1,
            Err(ClaimError::Taken { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        while let Some(Some(item)) = future::poll_once(mailbox.next_item()).await {
            assert!(matches!(item, Item::NameLost { .. }), "{item:?}");
            lost += 1;
        }
    }
    assert_eq!(has - lost, 1, "one has it");
    let clusters: Vec<Cluster> = nodes.into_iter().map(|(cluster, ..)| cluster).collect();
    patient(all(clusters.iter().map(Cluster::stop))).await;
    (has, lost)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ten_nodes_that_start_at_once_one_has_the_name() {
    for _ in 0..rounds(2) {
        assert_eq!(race(10, false).await, (1, 0), "from one seed nobody hears that it has lost what it had");
    }
    let mut losses = Vec::new();
    for _ in 0..rounds(2) {
        losses.push(race(10, true).await.1);
    }
    println!("where all are seeds, so many lost it again: {losses:?}");
}
