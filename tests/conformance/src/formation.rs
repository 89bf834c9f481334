//! How nodes find each other.

#![expect(missing_docs, reason = "the name of a scenario says what must hold")]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use noex_driver::{
    Cluster, ClusterConfig, ClusterError, ClusterEvent, ClusterStatus, NodeDownReason, NodeStatus, Refusal, Runtime, SendError,
};

use crate::common::*;
use crate::proxy::Proxy;

/// Nodes that seed each other, with their watches, and none started yet.
fn seeding_each_other<R: Runtime>(count: usize) -> (Vec<Cluster<R>>, Vec<ClusterConfig>, Vec<Watch>) {
    let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
    let seeds: Vec<String> = ports.iter().enumerate().map(|(n, port)| format!("n{n}@127.0.0.1:{port}")).collect();
    let clusters: Vec<Cluster<R>> = (0..count).map(|_| Cluster::new()).collect();
    let configs = ports.iter().enumerate().map(|(n, port)| crowded(&format!("n{n}")).port(*port).seeds(&seeds)).collect();
    let watches = clusters.iter().map(Watch::new).collect();
    (clusters, configs, watches)
}

/// Eight nodes may share one thread, which shakes hands for all of them.
fn crowded(name: &str) -> ClusterConfig {
    lively(name).heartbeat_miss_threshold(4 * MISSED)
}

async fn start_at_once<R: Runtime>(clusters: &[Cluster<R>], configs: Vec<ClusterConfig>) {
    for started in all(clusters.iter().zip(configs).map(|(cluster, config)| cluster.start(config))).await {
        started.unwrap();
    }
    let others = clusters.len() - 1;
    for met in all(clusters.iter().map(|cluster| cluster.wait_for_nodes(others, PATIENCE))).await {
        met.unwrap();
    }
}

async fn exactly_one_up_each(watches: &mut [Watch]) {
    let (mut ups, mut downs) = (0, Vec::new());
    for watch in watches.iter_mut() {
        watch.read().await;
        ups += watch.ups().len();
        downs.extend(watch.downs());
    }
    assert_eq!((ups, downs), (watches.len() * (watches.len() - 1), vec![]), "ups and downs");
}

pub async fn eight_nodes_that_start_at_once_come_up_once_each<R: Runtime>() {
    let (clusters, configs, mut watches) = seeding_each_other::<R>(8);
    start_at_once(&clusters, configs).await;
    exactly_one_up_each(&mut watches).await;
    heartbeats(&clusters.iter().collect::<Vec<_>>(), 4).await;
    exactly_one_up_each(&mut watches).await;
    assert_eq!(clusters.iter().map(|cluster| cluster.counters().downs).sum::<u64>(), 0);
}

pub async fn eight_nodes_that_talk_from_the_first_up_on_lose_nothing<R: Runtime>() {
    const EACH: u32 = 200;
    let (clusters, configs, mut watches) = seeding_each_other::<R>(8);
    let mut streams: Vec<_> = clusters.iter().map(Cluster::messages).collect();
    for cluster in &clusters {
        let weak = cluster.downgrade();
        cluster.on_node_up(move |node| {
            let cluster = weak.upgrade().unwrap();
            for number in 0..EACH {
                cluster.send(&node.id, number.to_be_bytes().to_vec()).unwrap();
            }
        });
    }
    start_at_once(&clusters, configs).await;
    for stream in &mut streams {
        let mut next = BTreeMap::new();
        for _ in 0..EACH * 7 {
            let message = message(stream).await;
            let expected = next.entry(message.from).or_insert(0_u32);
            if message.payload != expected.to_be_bytes()[..] {
                // A node that was down and up again is told everything from the beginning.
                exactly_one_up_each(&mut watches).await;
                panic!("{:?} in place of {expected}", message.payload);
            }
            *expected += 1;
        }
        assert!(next.len() == 7 && next.values().all(|&count| count == EACH));
    }
    heartbeats(&clusters.iter().collect::<Vec<_>>(), 2).await;
    exactly_one_up_each(&mut watches).await;
}

/// The interval is the longest there is, so that a join that waited for a heartbeat would take minutes.
pub async fn one_seed_is_enough_and_no_join_waits_for_a_heartbeat<R: Runtime>() {
    let calm = |name: &str| config(name).heartbeat_interval(Duration::from_secs(600));
    let mut clusters = vec![start::<R>(calm("n0")).await];
    let contact = seed(&clusters[0]);
    let mut watches = vec![Watch::new(&clusters[0])];
    for n in 1..6 {
        let cluster = Cluster::new();
        watches.push(Watch::new(&cluster));
        cluster.start(calm(&format!("n{n}")).seeds([&contact])).await.unwrap();
        clusters.push(cluster);
    }
    for met in all(clusters.iter().map(|cluster| cluster.wait_for_nodes(5, PATIENCE))).await {
        met.unwrap();
    }
    exactly_one_up_each(&mut watches).await;
}

pub async fn a_seed_that_comes_up_late_is_found<R: Runtime>() {
    let port = free_port();
    let a = Cluster::<R>::new();
    let mut watch = Watch::new(&a);
    a.start(config("a").seeds([format!("b@127.0.0.1:{port}")])).await.unwrap();
    watch.error("the seed is missed", |error| matches!(error, ClusterError::SeedUnreachable { .. })).await;
    assert_eq!(a.nodes(), Ok(vec![]), "a seed is no node before its identity is proved");
    eventually("the seed is tried again", || a.counters().dial_failures >= 4).await;

    let b = start(config("b").port(port)).await;
    meet(&a, &b).await;
    watch.up(&id(&b)).await;
    assert_eq!(watch.errors().len(), 1, "reported once, however often it was tried");
    assert_eq!(watch.downs(), []);
}

/// A listener that takes no connection: its backlog is full. The connections in it are given too, to keep it so.
fn full_listener() -> (TcpListener, SocketAddr, Vec<TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(1).unwrap();
    let listener = TcpListener::from(socket);
    let addr = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
        waiting.push(stream);
    }
    (listener, addr, waiting)
}

pub async fn seeds_that_swallow_packets_delay_nothing<R: Runtime>() {
    let (_full, unanswered, _waiting) = full_listener();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let b = start::<R>(config("b")).await;
    let a = Cluster::<R>::new();
    let mut watch = Watch::new(&a);
    let swallowing = [format!("x@{unanswered}"), format!("y@{}", silent.local_addr().unwrap())];
    a.start(config("a").seeds(swallowing.into_iter().chain([seed(&b)]))).await.unwrap();
    assert_eq!(a.status(), ClusterStatus::Running);
    watch.read().await;
    assert_eq!(watch.errors(), [], "the start waited for no seed to fail");
    watch.up(&id(&b)).await;
    assert_eq!(watch.errors(), [], "nor did the good seed");
    assert!(a.counters().dials >= 3, "all of them were dialled");
    patient(a.stop()).await;
    assert_eq!(watch.downs(), []);
}

/// Names so that the one that cannot be dialled is the lesser of the two once, and the greater once.
pub async fn nodes_of_which_one_cannot_be_dialled_connect<R: Runtime>() {
    for (hidden, open) in [("a", "m"), ("z", "m")] {
        let m = start::<R>(lively(open)).await;
        // Nobody listens at this address.
        let h = start(lively(hidden).advertise_host("127.9.9.9").seeds([seed(&m)])).await;
        assert_eq!(id(&h).host(), "127.9.9.9");
        meet(&h, &m).await;
        // Who learns of it by gossip cannot dial it, and is dialled by it.
        let third = Cluster::new();
        let mut watch = Watch::new(&third);
        third.start(lively("n").seeds([seed(&m)])).await.unwrap();
        meet(&h, &third).await;
        meet(&m, &third).await;
        heartbeats(&[&h, &m, &third], 2).await;
        watch.read().await;
        assert_eq!((watch.ups().len(), watch.downs()), (2, vec![]));
    }
}

pub async fn a_cluster_on_ipv6_forms<R: Runtime>() {
    if TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("skipped: this machine has no IPv6 loopback");
    }
    let on = |name: &str, host: &str| config(name).host(host);
    let a = start::<R>(on("a", "::1")).await;
    assert_eq!(seed(&a), format!("a@[::1]:{}", id(&a).port()));
    assert_eq!((id(&a).host(), a.local_node_info().unwrap().host()), ("::1", "::1"));
    // In brackets, without, and uncompressed.
    let b = start(on("b", "[::1]").seeds([format!("a@::1:{}", id(&a).port())])).await;
    let c = start(on("c", "::1").seeds([format!("a@[0:0:0:0:0:0:0:1]:{}", id(&a).port())])).await;
    for (one, other) in [(&a, &b), (&a, &c), (&b, &c)] {
        meet(one, other).await;
    }
    let mut messages = b.messages();
    c.send(&id(&b), "six").unwrap();
    assert_eq!(message(&mut messages).await.payload, "six");
}

pub async fn the_identity_is_the_one_proved_whatever_the_seed_said<R: Runtime>() {
    let b = start::<R>(lively("b")).await;
    let port = id(&b).port();
    let a = Cluster::<R>::new();
    let mut watch = Watch::new(&a);
    a.start(lively("a").seeds([format!("b@localhost:{port}"), format!("other@127.0.0.1:{port}"), seed(&b)])).await.unwrap();
    meet(&a, &b).await;
    for host in ["localhost", "127.0.0.1"] {
        let found = |error: &ClusterError| matches!(error, ClusterError::SeedMismatch { found, seed } if *found == id(&b) && seed.host() == host);
        watch.error("a mismatch is reported", found).await;
    }
    heartbeats(&[&a, &b], 2).await;
    watch.read().await;
    assert_eq!(a.node_ids(), Ok(vec![id(&b)]), "one node, by its own name");
    assert_eq!((watch.ups().len(), watch.downs()), (1, vec![]));
}

pub async fn nodes_that_are_named_by_name_meet<R: Runtime>() {
    let named = |name: &str| config(name).host("localhost");
    let a = start::<R>(named("a")).await;
    assert_eq!(id(&a).host(), "localhost");
    let b = start(named("b").seeds([seed(&a)])).await;
    let c = start(config("c").seeds([seed(&b)])).await;
    for (one, other) in [(&a, &b), (&a, &c), (&b, &c)] {
        meet(one, other).await;
    }
}

/// A node may stand in its own list of seeds, under any name.
pub async fn a_seed_that_is_the_node_itself_is_no_node<R: Runtime>() {
    let port = free_port();
    let a = Cluster::<R>::new();
    let mut watch = Watch::new(&a);
    a.start(config("a").port(port).seeds([format!("a@127.0.0.1:{port}"), format!("a@localhost:{port}")])).await.unwrap();
    let b = start(config("b").seeds([seed(&a)])).await;
    meet(&a, &b).await;
    watch.read().await;
    assert_eq!(a.node_ids(), Ok(vec![id(&b)]));
    assert_eq!((watch.ups().len(), watch.downs()), (1, vec![]));
}

pub async fn a_connection_that_is_cut_comes_back<R: Runtime>() {
    let b = start::<R>(config("b")).await;
    let proxy = Proxy::new(id(&b).port());
    let a = start(config("a").seeds([proxy.seed("b")])).await;
    meet(&a, &b).await;
    let (mut at_a, mut at_b) = (Watch::new(&a), Watch::new(&b));
    at_a.forget().await;
    at_b.forget().await;
    proxy.cut();
    for (watch, peer) in [(&mut at_a, id(&b)), (&mut at_b, id(&a))] {
        assert_eq!(watch.down(&peer).await, NodeDownReason::ConnectionClosed);
        watch.up(&peer).await;
        assert_eq!((watch.ups().len(), watch.downs().len()), (1, 1));
        assert!(matches!(watch.seen[..], [ClusterEvent::NodeDown { .. }, .., ClusterEvent::NodeUp(_)]));
    }
}

pub async fn a_silent_peer_times_out_and_comes_back<R: Runtime>() {
    // Neither can go round the proxy to reach the other.
    let brisk = |name: &str| lively(name).heartbeat_miss_threshold(3);
    let b = start::<R>(brisk("b").advertise_host("127.9.9.9")).await;
    let proxy = Proxy::new(id(&b).port());
    let a = start(brisk("a").advertise_host("127.9.9.9").seeds([proxy.seed("b")])).await;
    meet(&a, &b).await;
    heartbeats(&[&a, &b], 1).await;
    let (mut at_a, mut at_b) = (Watch::new(&a), Watch::new(&b));
    at_a.forget().await;
    at_b.forget().await;
    proxy.freeze();
    let timed_out = all([at_a.down(&id(&b)), at_b.down(&id(&a))]).await;
    assert_eq!(timed_out, [NodeDownReason::HeartbeatTimeout; 2], "a close cannot pass the proxy");
    proxy.thaw();
    at_a.up(&id(&b)).await;
    at_b.up(&id(&a)).await;
}

pub async fn a_silent_peer_whose_port_refuses_is_gone<R: Runtime>() {
    // By its silence alone it would be down after minutes.
    let patient = |name: &str| lively(name).heartbeat_miss_threshold(1000);
    let b = start::<R>(patient("b")).await;
    let proxy = Proxy::new(id(&b).port());
    let a = start(patient("a").seeds([proxy.seed("b")])).await;
    meet(&a, &b).await;
    let mut watch = Watch::new(&a);
    proxy.freeze();
    proxy.close();
    assert_eq!(watch.down(&id(&b)).await, NodeDownReason::ConnectionRefused);
}

pub async fn who_was_lost_is_kept_until_it_is_forgotten<R: Runtime>() {
    let (a, b) = pair::<R>(config("a").forget_after(Duration::from_secs(1)), config("b")).await;
    let b_id = id(&b);
    let mut watch = Watch::new(&a);
    b.stop().await;
    assert_eq!(watch.down(&b_id).await, NodeDownReason::GracefulShutdown);
    if let Some(node) = a.node(&b_id).unwrap() {
        assert_eq!(node.status, NodeStatus::Disconnected);
    }
    assert_eq!(a.connected_nodes(), Ok(vec![]));
    assert_eq!(a.is_node_connected(&b_id), Ok(false));
    let dials = a.counters().dials;
    eventually("it is forgotten", || a.nodes() == Ok(vec![])).await;
    assert_eq!(a.counters().dials, dials, "who left is not dialled");
}

/// Two nodes that advertise one identity: the one that came first keeps it, and both sides of the refusal say so.
pub async fn of_two_nodes_with_one_identity_the_first_stays<R: Runtime>() {
    if TcpListener::bind("[::1]:0").is_err() {
        return eprintln!("skipped: this machine has no IPv6 loopback to put the second one at");
    }
    let port = free_port();
    let m = start::<R>(config("m")).await;
    let twin = |host: &str| config("twin").host(host).port(port).advertise_host("127.9.9.9").seeds([seed(&m)]);
    let first = start(twin("127.0.0.1")).await;
    meet(&first, &m).await;
    let mut at_m = Watch::new(&m);
    at_m.forget().await;
    let second = Cluster::<R>::new();
    let mut at_second = Watch::new(&second);
    second.start(twin("::1")).await.unwrap();
    at_m.error("who is asked reports it", |error| matches!(error, ClusterError::IdentityConflict { .. })).await;
    let refused = |error: &ClusterError| {
        matches!(error, ClusterError::IdentityConflict { .. } | ClusterError::Refused { reason: Refusal::IdentityConflict, .. })
    };
    at_second.error("who is refused reports it", refused).await;
    assert!(m.is_node_connected(&id(&first)).unwrap() && first.is_node_connected(&id(&m)).unwrap());
    assert_eq!(second.connected_node_count(), Ok(0));
    assert_eq!((at_m.ups(), at_m.downs()), (vec![], vec![]));
}

/// Under the same identity, which is free again.
pub async fn a_node_that_comes_back_is_down_and_up_again<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let (a_id, b_id) = (id(&a), id(&b));
    let mut watch = Watch::new(&a);
    for _ in 0..3 {
        watch.up(&b_id).await;
        watch.forget().await;
        patient(b.stop()).await;
        assert_eq!(watch.down(&b_id).await, NodeDownReason::GracefulShutdown);
        assert_eq!(a.send(&b_id, "too late"), Err(SendError::NotConnected { to: b_id.clone() }));
        patient(b.start(config("b").port(b_id.port()).seeds([seed(&a)]))).await.unwrap();
        watch.up(&b_id).await;
        assert_eq!((watch.ups().len(), watch.downs().len()), (1, 1));
        meet(&a, &b).await;
        let mut messages = a.messages();
        b.send(&a_id, "here again").unwrap();
        assert_eq!(message(&mut messages).await.payload, "here again");
    }
}

/// The one that all had joined through; and it finds its way back.
pub async fn two_nodes_carry_on_without_the_third<R: Runtime>() {
    let (a, b) = pair::<R>(config("a"), config("b")).await;
    let c = start(config("c").seeds([seed(&a)])).await;
    meet(&b, &c).await;
    meet(&a, &c).await;
    let a_id = id(&a);
    let mut watches = [Watch::new(&b), Watch::new(&c)];
    for watch in &mut watches {
        watch.forget().await;
    }
    patient(a.stop()).await;
    for watch in &mut watches {
        assert_eq!(watch.down(&a_id).await, NodeDownReason::GracefulShutdown);
    }
    assert!(b.is_node_connected(&id(&c)).unwrap() && c.is_node_connected(&id(&b)).unwrap());
    patient(a.start(config("a").port(a_id.port()).seeds([seed(&b)]))).await.unwrap();
    a.wait_for_nodes(2, PATIENCE).await.unwrap();
    for watch in &mut watches {
        watch.up(&a_id).await;
        assert_eq!((watch.ups(), watch.downs().len()), (vec![a_id.clone()], 1), "nobody else was down meanwhile");
    }
}
