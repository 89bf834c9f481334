//! What a node says of itself and of the others: getters, handlers, streams, waiting.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_lite::future;
use noex_driver::{
    Cluster, ClusterConfig, ClusterError, ClusterEvent, ClusterNotStartedError, ClusterStatus, Limits, LocalFault,
    NodeDownReason, NodeId, NodeInfo, NodeStatus, ReadinessReason, Runtime, SendError, WaitError, defaults,
};

use crate::common::*;

/// Every getter says that the node is not running.
async fn nothing_is_said<R: Runtime>(cluster: &Cluster<R>, peer: &NodeId) {
    let not_started = ClusterNotStartedError::default();
    assert_ne!(cluster.status(), ClusterStatus::Running);
    assert_eq!(cluster.local_node_id(), Err(not_started));
    assert_eq!(cluster.local_node_info(), Err(not_started));
    assert_eq!(cluster.nodes(), Err(not_started));
    assert_eq!(cluster.connected_nodes(), Err(not_started));
    assert_eq!(cluster.node_ids(), Err(not_started));
    assert_eq!(cluster.node(peer), Err(not_started));
    assert_eq!(cluster.is_node_connected(peer), Err(not_started));
    assert_eq!(cluster.connected_node_count(), Err(not_started));
    assert_eq!(cluster.uptime(), Err(not_started));
    assert_eq!(cluster.secret_use(peer), Err(not_started));
    assert_eq!(cluster.send(peer, "x"), Err(SendError::NotStarted(not_started)));
    assert_eq!(cluster.broadcast("x"), Err(SendError::NotStarted(not_started)));
    assert_eq!(cluster.readiness(0).why, ReadinessReason::NotRunning(cluster.status()));
    assert_eq!(cluster.wait_for_nodes(0, PATIENCE).await, Err(WaitError::NotStarted(not_started)));
}

pub async fn a_node_that_does_not_run_says_so<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let b_id = id(&b);
    nothing_is_said(&Cluster::<R>::new(), &b_id).await;
    a.stop().await;
    assert_eq!(a.status(), ClusterStatus::Stopped);
    nothing_is_said(&a, &b_id).await;
    a.start(config("a")).await.unwrap();
    assert_eq!(a.nodes(), Ok(vec![]), "a new run begins with nobody");
}

pub async fn a_node_knows_itself_and_the_others<R: Runtime>() {
    let before = SystemTime::now();
    let a = Cluster::<R>::new();
    a.set_process_count(7);
    a.start(lively("a")).await.unwrap();
    let b = start(lively("b").seeds([seed(&a)])).await;
    meet(&a, &b).await;
    let (a_id, b_id) = (id(&a), id(&b));

    let own = a.local_node_info().unwrap();
    assert_eq!((&own.id, own.host(), own.port()), (&a_id, "127.0.0.1", a_id.port()));
    assert_eq!((own.status, own.process_count), (NodeStatus::Connected, 7));
    assert!(own.last_heartbeat_at.unwrap() >= before, "now");
    assert_eq!(own.started_at.unwrap() + own.uptime, own.last_heartbeat_at.unwrap());

    // The local node is not among the others.
    assert_eq!(a.node_ids(), Ok(vec![b_id.clone()]));
    assert_eq!(a.connected_node_count(), Ok(1));
    assert_eq!(a.is_node_connected(&b_id), Ok(true));
    assert_eq!((a.node(&a_id), a.is_node_connected(&a_id)), (Ok(None), Ok(false)));
    let stranger: NodeId = "stranger@example.org:1".parse().unwrap();
    assert_eq!((b.node(&stranger), b.is_node_connected(&stranger)), (Ok(None), Ok(false)));
    assert_eq!(b.send(&stranger, "x"), Err(SendError::NotConnected { to: stranger }));

    let nodes = b.nodes().unwrap();
    assert_eq!((nodes.len(), nodes.clone()), (1, b.connected_nodes().unwrap()));
    assert_eq!(b.node(&a_id), Ok(Some(nodes[0].clone())));
    assert_eq!((&nodes[0].id, nodes[0].status, nodes[0].process_count), (&a_id, NodeStatus::Connected, 7));
    assert!(nodes[0].last_heartbeat_at.unwrap() >= before);
    assert_eq!(nodes[0].started_at.unwrap() + nodes[0].uptime, nodes[0].last_heartbeat_at.unwrap());
    assert_eq!(nodes[0].last_down, None);

    // Both uptimes grow, the other's by what its heartbeats say.
    let (own, other) = (a.uptime().unwrap(), nodes[0].uptime);
    heartbeats(&[&a, &b], 1).await;
    assert!(a.uptime().unwrap() > own && a.uptime().unwrap() >= b.node(&a_id).unwrap().unwrap().uptime);
    assert!(b.node(&a_id).unwrap().unwrap().uptime > other);

    // The process count is in the next heartbeat, and outlives a restart.
    a.set_process_count(8);
    assert_eq!(a.local_node_info().unwrap().process_count, 8);
    eventually("the count is told", || b.node(&a_id).unwrap().unwrap().process_count == 8).await;

    b.stop().await;
    eventually("it is down", || a.connected_node_count() == Ok(0)).await;
    let lost = a.node(&b_id).unwrap().unwrap();
    let last_down = lost.last_down.clone().unwrap();
    assert_eq!(last_down.reason, NodeDownReason::GracefulShutdown);
    assert!((before..=SystemTime::now()).contains(&last_down.at), "{last_down:?}");
    assert_eq!((lost.status, a.nodes().unwrap()), (NodeStatus::Disconnected, vec![lost]));
    assert_eq!(a.connected_nodes(), Ok(vec![]));
}

/// For a probe: whom it has met, and how many are up.
pub async fn a_node_is_ready_once_it_has_met_a_seed<R: Runtime>() {
    use ReadinessReason::{NoSeedMet, NotRunning, Ready, TooFewNodes};
    let port = free_port();
    let a = Cluster::<R>::new();
    let ready = |a: &Cluster<R>, nodes| {
        let readiness = a.readiness(nodes);
        (readiness.ready, readiness.why)
    };
    assert_eq!(a.readiness(0).why, NotRunning(ClusterStatus::Stopped));
    a.start(config("a").seeds([format!("b@127.0.0.1:{port}")])).await.unwrap();
    assert_eq!(ready(&a, 0), (false, NoSeedMet));
    let b = start::<R>(config("b").port(port)).await;
    assert_eq!(b.readiness(0).why, Ready { connected: b.connected_node_count().unwrap() }, "it has no seed to meet");
    meet(&a, &b).await;
    assert_eq!(ready(&a, 1), (true, Ready { connected: 1 }));
    assert_eq!(ready(&a, 2), (false, TooFewNodes { connected: 1, wanted: 2 }));
    a.stop().await;
    assert_eq!(a.readiness(0).why.to_string(), "the node is stopped");
}

pub async fn waiting_for_nodes_counts_the_others<R: Runtime>() {
    let a = start::<R>(config("a")).await;
    a.wait_for_nodes(0, Duration::ZERO).await.unwrap();
    let late = a.wait_for_nodes(1, Duration::ZERO).await;
    assert_eq!(late, Err(WaitError::TimedOut { connected: 0, wanted: 1 }));
    assert_eq!(late.unwrap_err().to_string(), "timed out with 0 of 1 nodes connected");
    let (waited, (b, c)) = future::zip(a.wait_for_nodes(2, PATIENCE), async {
        let contact = seed(&a);
        (start::<R>(config("b").seeds([&contact])).await, start::<R>(config("c").seeds([&contact])).await)
    })
    .await;
    assert_eq!((waited, a.connected_node_count()), (Ok(()), Ok(2)));
    // So many that no clock reaches the deadline.
    let forever = future::or(a.wait_for_nodes(3, Duration::MAX), async {
        b.wait_for_nodes(2, PATIENCE).await.unwrap();
        Err(WaitError::TimedOut { connected: 9, wanted: 9 })
    });
    assert_eq!(forever.await, Err(WaitError::TimedOut { connected: 9, wanted: 9 }));
    drop(c);
}

pub async fn the_status_changes_in_order<R: Runtime>() {
    use ClusterStatus::{Running, Starting, Stopped, Stopping};
    let a = Cluster::<R>::new();
    let mut watch = Watch::new(&a);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let by_handler = heard.clone();
    a.on_status_change(move |status| by_handler.lock().unwrap().push(status));
    assert_eq!(a.status(), Stopped);
    for _ in 0..2 {
        a.start(config("a")).await.unwrap();
        a.stop().await;
    }
    let twice = [Starting, Running, Stopping, Stopped, Starting, Running, Stopping, Stopped];
    watch.read().await;
    assert_eq!(watch.statuses(), twice);
    eventually("the handler hears the same", || *heard.lock().unwrap() == twice).await;
}

/// Beyond loopback nothing is sent here: the nodes only listen there.
pub async fn a_node_without_a_secret_warns_beyond_loopback<R: Runtime>() {
    let listen = async |config: ClusterConfig| {
        let node = Cluster::<R>::new();
        let mut watch = Watch::new(&node);
        node.start(config.host("0.0.0.0").advertise_host("127.0.0.1")).await.unwrap();
        watch.read().await;
        watch.errors()
    };
    assert_eq!(listen(config("a")).await, [ClusterError::Local(LocalFault::NoSecret)]);
    assert_eq!(listen(config("a").cluster_secret("0123456789abcdef")).await, []);
    let a = Cluster::<R>::new();
    let mut watch = Watch::new(&a);
    a.start(config("a")).await.unwrap();
    watch.read().await;
    assert_eq!(watch.errors(), [], "nobody else can join on loopback");

    // Nobody can be told to dial the address of every interface.
    let everywhere = start::<R>(config("a").host("0.0.0.0").cluster_secret("0123456789abcdef")).await;
    assert_ne!(id(&everywhere).host(), "0.0.0.0");
}

pub async fn a_subscriber_that_lags_is_told_and_catches_up<R: Runtime>() {
    let limits = Limits::default().events_per_subscriber(4);
    let a = start::<R>(config("a").limits(limits)).await;
    let mut slow = Watch::new(&a);
    let mut quick = Watch::new(&a);
    let mut present = Vec::new();
    for name in ["b", "c", "d", "e", "f", "g"] {
        let node = start::<R>(config(name).seeds([seed(&a)])).await;
        let known = id(&node);
        quick.up(&known).await;
        if ["b", "d", "f"].contains(&name) {
            node.stop().await;
            quick.down(&known).await;
        } else {
            present.push(node);
        }
    }
    slow.read().await;
    assert!(matches!(slow.seen[0], ClusterEvent::Lagged { missed } if missed >= 9), "{:?}", slow.seen[0]);
    // What it never heard of it is not told the end of.
    assert_eq!(slow.downs(), []);
    assert_eq!(slow.ups().into_iter().collect::<BTreeSet<_>>(), present.iter().map(id).collect());
    // From here on it is told everything again.
    let leaver = present.remove(0);
    let gone = id(&leaver);
    leaver.stop().await;
    assert_eq!(slow.down(&gone).await, NodeDownReason::GracefulShutdown);
}

pub async fn a_reader_that_lags_is_told_how_many_messages_it_missed<R: Runtime>() {
    let limits = Limits::default().message_bytes(1_000).message_bytes_per_subscriber(2_000);
    let (a, b) = pair::<R>(config("a"), config("b").limits(limits)).await;
    let mut slow = b.messages();
    for number in 0..10_u8 {
        a.send(&id(&b), vec![number; 900]).unwrap();
    }
    eventually("all have arrived", || b.counters().messages_received == 10).await;
    for number in [0, 1] {
        assert_eq!(message(&mut slow).await.payload, vec![number; 900]);
    }
    assert_eq!(slow.next().await.map(|item| item.map_err(|lagged| lagged.missed)), Some(Err(8)));
    a.send(&id(&b), "again").unwrap();
    assert_eq!(message(&mut slow).await.payload, "again");
}

pub async fn nodes_and_configurations_are_written_and_read<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let node = a.node(&id(&b)).unwrap().unwrap();
    let text = serde_json::to_string(&node).unwrap();
    assert!(text.contains(&format!(r#""id":"{}""#, id(&b))) && text.contains(r#""status":"connected""#), "{text}");
    let read: NodeInfo = serde_json::from_str(&text).unwrap();
    assert_eq!((&read.id, read.status, read.uptime), (&node.id, node.status, node.uptime));
    let late = |ours: Option<SystemTime>, written: Option<SystemTime>| ours.unwrap().duration_since(written.unwrap()).unwrap();
    assert!(late(node.started_at, read.started_at) < Duration::from_millis(1), "{text}");
    assert!(late(node.last_heartbeat_at, read.last_heartbeat_at) < Duration::from_millis(1), "{text}");
    // What is written is whole milliseconds, and the same in the core.
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    let core: noex_proto::NodeInfo = serde_json::from_str(&text).unwrap();
    assert_eq!((serde_json::to_string(&core).unwrap(), core.into_format()), (text, read));
    assert_eq!(node.to_string(), format!("{} (connected, 0 processes, up {}s)", id(&b), node.uptime.as_secs()));

    // As the original writes it, and as this one does.
    let file =
        format!(r#"{{"nodeName": "c", "host": "127.0.0.1", "port": 0, "seeds": ["{}"], "heartbeatIntervalMs": 200}}"#, seed(&a));
    let config: ClusterConfig = serde_json::from_str(&file).unwrap();
    let c = start::<R>(serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap()).await;
    meet(&a, &c).await;
    assert_eq!(id(&c).name(), "c");
    assert_eq!(defaults::HEARTBEAT_INTERVAL, Duration::from_secs(5));
    assert_eq!((defaults::HOST, defaults::PORT, defaults::PROTOCOL_VERSION), ("0.0.0.0", 4369, 1));
}

/// With the number of nodes, or that the node is not running.
pub async fn waiting_for_nodes_says_how_it_ended<R: Runtime>() {
    let a = start::<R>(config("a")).await;
    let late = patient(a.wait_for_nodes(3, Duration::from_millis(10))).await;
    assert_eq!(late, Err(WaitError::TimedOut { connected: 0, wanted: 3 }));
    let (waited, ()) = future::zip(a.wait_for_nodes(1, PATIENCE), patient(a.stop())).await;
    assert!(matches!(waited, Err(WaitError::NotStarted(_))));
}

/// Whoever waits, and however many do; another node that is up is not the one.
pub async fn waiting_for_a_node_ends_when_that_one_is_up<R: Runtime>() {
    let port = free_port();
    let c_id: NodeId = format!("c@127.0.0.1:{port}").parse().unwrap();
    let stopped = Cluster::<R>::new();
    assert!(matches!(stopped.wait_for_node(&c_id, PATIENCE).await, Err(WaitError::NotStarted(_))));
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    assert_eq!(a.wait_for_node(&id(&b), Duration::ZERO).await, Ok(()), "it is up");
    let late = patient(a.wait_for_node(&c_id, Duration::from_millis(10))).await;
    assert_eq!(late, Err(WaitError::NotConnected { id: c_id.clone() }));
    assert_eq!(a.wait_for_node(&id(&a), PATIENCE).await, Err(WaitError::ToSelf));

    // Given: a hundred who wait, and one who has given up.
    let mut waits: Vec<_> = (0..100).map(|_| Box::pin(a.wait_for_node(&c_id, PATIENCE))).collect();
    for wait in &mut waits {
        assert_eq!(future::poll_once(wait).await, None);
    }
    drop(waits.pop());
    let c = start::<R>(config("c").port(port).seeds([seed(&a)])).await;
    for wait in waits {
        assert_eq!(wait.await, Ok(()));
    }

    // A node that stops meanwhile has nothing to wait for.
    c.stop().await;
    eventually("it is gone", || a.is_node_connected(&c_id) == Ok(false)).await;
    let (waited, ()) = future::zip(a.wait_for_node(&c_id, PATIENCE), patient(a.stop())).await;
    assert!(matches!(waited, Err(WaitError::NotStarted(_))));
    drop(b);
}
